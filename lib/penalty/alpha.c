/*
 * Alpha divergences, f(t) = (t^a - 1 - a (t - 1)) / (a (a - 1)), t = pi/pi_ref, with
 * g = f'(t) = (t^(a-1) - 1)/(a - 1): a = 1 is KL(pi || pi_ref), a = 0 is KL(pi_ref || pi), a = 1/2
 * Hellinger's, a = 2 Pearson's chi-squared. For a < 1 the pole of g is 1/(1 - a). For a > 1 slacks
 * end at 1/(a - 1), where nothing is left.
 */
#include "penalty/penalty.h"

#include <math.h>

/*
 * Above this slacks are measured from the reference. The pole is so far away, if there is one, that
 * distances from it have fewer digits: 1/(1 - a) roundings of a logarithm, where slacks from the
 * reference lose t^(1 - a).
 */
static const double POLE_IS_FAR = 0.95;
/* Logarithm of the last power t^(1 - a) that a slack from the reference can tell from none. */
static const double FAR_DIGITS = -36.0;
/* Above this the std of the rewards falls faster than b: it falls like b^(1/(2 (1 - a))). */
static const double STD_IS_OUTLASTED = 0.5;

/* From the pole: s = t^(a-1)/(1 - a). */
static double slack(const gra_penalty *self, double ratio)
{
    double power = self->parameter - 1.0;
    return exp(power * ratio) / -power;
}

static double log_ratio(const gra_penalty *self, double at)
{
    double power = self->parameter - 1.0;
    return at > 0.0 ? log(-power * at) / power : INFINITY;
}

static double log_slope(const gra_penalty *self, double at)
{
    return at > 0.0 ? 1.0 / ((1.0 - self->parameter) * at) : 0.0;
}

/* From the reference: s = -g. */
static double slack_far(const gra_penalty *self, double ratio)
{
    double power = self->parameter - 1.0;
    return -expm1(power * ratio) / power;
}

static double log_ratio_far(const gra_penalty *self, double at)
{
    double power = self->parameter - 1.0, part = -power * at;
    return part > -1.0 ? log1p(part) / power : power > 0.0 ? -INFINITY : INFINITY;
}

static double log_slope_far(const gra_penalty *self, double at)
{
    double rest = 1.0 - (self->parameter - 1.0) * at;
    return rest > 0.0 ? 1.0 / rest : 0.0;
}

/* f(t) = sum over k >= 2 of l^k/k! (1 + a + ... + a^(k-2)), l = log t. */
static double series(double a, double l)
{
    double sum = 0.0, power = 0.5 * l * l, geometric = 1.0;
    for (int k = 2; k < 40; k++) {
        sum += power * geometric;
        power *= l / (k + 1);
        geometric = 1.0 + a * geometric;
    }
    return sum;
}

static double divergence(const gra_penalty *self, double reference, double policy, double ratio)
{
    double a = self->parameter;
    if (fabs(a) < 1e-9) {
        return gra_reverse_kl.divergence(&gra_reverse_kl, reference, policy, ratio);
    }
    if (fabs(a - 1.0) < 1e-9) {
        return gra_direct_kl.divergence(&gra_direct_kl, reference, policy, ratio);
    }
    if (policy == 0.0) { /* t^a is 0 or infinite */
        return a > 0.0 ? reference / a : INFINITY;
    }
    if (fabs(ratio) * fmax(1.0, fabs(a)) < 1.0) {
        return reference * series(a, ratio);
    }
    return (reference * expm1(a * ratio) - a * (policy - reference)) / (a * (a - 1.0));
}

gra_penalty gra_alpha_law(double alpha)
{
    gra_penalty law = {.kind = GRPOALIGN_PENALTY_ALPHA,
                       .parameter = alpha,
                       .slack_most = alpha > 1.0 ? 1.0 / (alpha - 1.0) : INFINITY,
                       .loose_above = INFINITY,
                       .outside = alpha >= 1.0 ? INFINITY : 1.0 / (1.0 - alpha),
                       .score = gra_penalty_score,
                       .divergence = divergence,
                       .form = GRA_SMOOTH,
                       .convex = 1,
                       .outlasts_std = alpha < STD_IS_OUTLASTED,
                       .newton_above = 0.5,
                       GRA_DERIVED};
    if (alpha == 0.0 || alpha == 1.0) { /* these two have better ways of their own */
        law = alpha == 0.0 ? gra_reverse_kl : gra_direct_kl;
        law.kind = GRPOALIGN_PENALTY_ALPHA;
        law.parameter = alpha;
    } else if (alpha > POLE_IS_FAR) {
        law.pole = INFINITY;
        law.rarest = alpha > 1.0 ? -700.0 / (alpha - 1.0) : FAR_DIGITS / (1.0 - alpha);
        law.slack = slack_far;
        law.log_ratio = log_ratio_far;
        law.log_slope = log_slope_far;
    } else {
        law.pole = law.normaliser_from = 1.0 / (1.0 - alpha);
        law.rarest = GRA_RAREST / (1.0 - alpha);
        law.slack = slack;
        law.log_ratio = log_ratio;
        law.log_slope = log_slope;
    }
    return law;
}
