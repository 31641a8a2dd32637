/*
 * Alpha divergences, f(t) = (t^a - 1 - a (t - 1)) / (a (a - 1)), with slack -f'(t) = -(t^(a-1) -
 * 1)/(a - 1), t = pi/pi_ref: a = 1 is KL(pi || pi_ref), a = 0 is KL(pi_ref || pi), a = 1/2
 * Hellinger's, a = 2 Pearson's chi-squared. For a > 1 slacks end at 1/(a - 1), where nothing is
 * left.
 */
#include "penalty/penalty.h"

#include <math.h>

/* log t with (t^(a-1) - 1)/(a - 1) = -slack. */
static double log_ratio(const gra_penalty *self, double slack)
{
    double power = self->parameter - 1.0;
    if (power == 0.0) {
        return -slack;
    }
    double part = -power * slack;
    return part > -1.0 ? log1p(part) / power : power > 0.0 ? -INFINITY : INFINITY;
}

static double slack_of(const gra_penalty *self, double ratio)
{
    double power = self->parameter - 1.0;
    return power == 0.0 ? -ratio : -expm1(power * ratio) / power;
}

static double log_slope(const gra_penalty *self, double slack)
{
    double rest = 1.0 - (self->parameter - 1.0) * slack;
    return rest > 0.0 ? 1.0 / rest : 0.0;
}

/* From the pole of a < 1, 1/(a - 1): t^(a-1) = (1 - a) distance. */
static double beyond(const gra_penalty *self, double distance)
{
    double power = self->parameter - 1.0;
    return log(-power * distance) / power;
}

static double slope_beyond(const gra_penalty *self, double distance)
{
    return 1.0 / ((1.0 - self->parameter) * distance);
}

static double distance_of(const gra_penalty *self, double ratio)
{
    double power = self->parameter - 1.0;
    return exp(power * ratio) / -power;
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

const gra_penalty gra_alpha = {.kind = GRPOALIGN_PENALTY_ALPHA,
                               .slack_most = INFINITY,
                               .log_ratio = log_ratio,
                               .slack_of = slack_of,
                               .log_slope = log_slope,
                               .beyond = beyond,
                               .slope_beyond = slope_beyond,
                               .distance_of = distance_of,
                               .divergence = divergence,
                               GRA_BY_SLACK};

const gra_penalty gra_chi_squared = {.kind = GRPOALIGN_PENALTY_CHI_SQUARED,
                                     .parameter = 2.0,
                                     .slack_most = 1.0,
                                     .outside = INFINITY,
                                     .convex = 1,
                                     .log_ratio = log_ratio,
                                     .slack_of = slack_of,
                                     .log_slope = log_slope,
                                     .divergence = divergence,
                                     GRA_BY_SLACK};
