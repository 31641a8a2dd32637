/* KL(pi_ref || pi): g = 1 - exp(-l), with its pole at 1. The slack is pi_ref/pi. */
#include "penalty/reverse_kl.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "base/numeric.h"

double gra_reverse_kl_slack(const gra_penalty *self, double ratio)
{
    (void)self;
    return exp(-ratio);
}

double gra_reverse_kl_log_ratio(const gra_penalty *self, double slack)
{
    (void)self;
    return -log(slack);
}

double gra_reverse_kl_log_slope(const gra_penalty *self, double slack)
{
    (void)self;
    return 1.0 / slack;
}

double gra_reverse_kl_grown(const gra_penalty *self, double slack, double growth)
{
    (void)self;
    return slack / (1.0 + growth);
}

double gra_reverse_kl_slack_at(const gra_penalty *self, double mass, double log_mass, double policy)
{
    (void)self, (void)log_mass;
    return mass / policy;
}

/* S(e) = sum mass / (base + e), base >= 0, and its derivative. */
static double mass_sum(const gra_class_reference *reference, const double *base, double e,
                       double *derivative)
{
    gra_sum sum = {0.0, 0.0};
    double d = 0.0;
    for (int64_t c = 0; c < reference->classes; c++) {
        double share = reference->mass[c] / (base[c] + e);
        gra_sum_add(&sum, share);
        d -= share / (base[c] + e);
    }
    *derivative = d;
    return gra_sum_value(sum);
}

/*
 * The e > 0 with S(e) = 1, S falling from the mass at base 0 over e to 0. 1/S is concave and
 * growing, so Newton on it from below never overshoots, but may crawl where a tiny mass sits at
 * base 0; log S as a function of log e is then nearly straight. Both steps are tried inside a
 * bracket, and the one that goes further is taken.
 */
double gra_reverse_kl_respond(const gra_penalty *self, const gra_class_reference *reference,
                              double *slack, double *policy)
{
    (void)self;
    int64_t n = reference->classes;
    double least = gra_min(slack, n), low = 0.0, high = 1.0;
    for (int64_t c = 0; c < n; c++) {
        slack[c] -= least;
        /* mass <= base + e for every class */
        low = fmax(low, reference->mass[c] - slack[c]);
        low = slack[c] == 0.0 ? fmax(low, reference->mass[c]) : low;
    }
    double e = low;
    for (int i = 0; i < 100; i++) {
        double derivative, s = mass_sum(reference, slack, e, &derivative);
        if (s > 1.0) {
            low = fmax(low, e);
        } else {
            high = fmin(high, e);
        }
        if (fabs(s - 1.0) <= 2.0 * DBL_EPSILON || !(low < high)) {
            break;
        }
        double harmonic = e + s * (1.0 - s) / derivative; /* Newton on 1/S = 1 */
        double logarithmic = e * exp(-s * log(s) / (derivative * e));
        double next = s > 1.0 ? fmax(harmonic, logarithmic) : fmin(harmonic, logarithmic);
        if (!(next > low && next < high)) {
            next = low > 0.0 && high > 4.0 * low ? sqrt(low * high) : 0.5 * (low + high);
        }
        if (fabs(next - e) <= DBL_EPSILON * e) {
            e = next;
            break;
        }
        e = next;
    }
    for (int64_t c = 0; c < n; c++) {
        slack[c] += e;
        policy[c] = reference->mass[c] / slack[c];
    }
    return e - least;
}

/* x = -log e, slacks theta (gap + e), theta = sum mass / (gap + e). */
double gra_reverse_kl_path(const gra_penalty *self, const gra_class_reference *reference,
                           const double *gap, double x, double *slack, double *policy)
{
    (void)self;
    double e = exp(-x), ignored, theta = mass_sum(reference, gap, e, &ignored);
    for (int64_t c = 0; c < reference->classes; c++) {
        double p = theta * (gap[c] + e);
        policy[c] = reference->mass[c] / p;
        if (slack != NULL) {
            slack[c] = p;
        }
    }
    return theta;
}

void gra_reverse_kl_path_bracket(const gra_penalty *self, const gra_class_reference *reference,
                                 const double *gap, double low, double high, double *x_low,
                                 double *x_high, double *policy)
{
    (void)self, (void)policy;
    /* mass(gap 0) / e <= theta <= 1/e and theta >= mass / (widest + e). */
    double top = 0.0;
    for (int64_t c = 0; c < reference->classes; c++) {
        top += gap[c] == 0.0 ? reference->mass[c] : 0.0;
    }
    double widest = gra_max(gap, reference->classes);
    double smallest = fmax(
        DBL_MIN, fmax(top / high, gra_total(reference->mass, reference->classes) / high - widest));
    *x_high = -log(smallest) + 1e-12;
    *x_low = log(fmax(low, DBL_MIN)) - 1e-12;
}

double gra_reverse_kl_resolvent(const gra_penalty *self, double mass, double log_mass,
                                double lambda, double slope)
{
    (void)self, (void)log_mass;
    double root = sqrt(lambda * lambda + 4.0 * slope * mass);
    return lambda > 0.0 ? 2.0 * mass / (lambda + root) : (root - lambda) / (2.0 * slope);
}

/* ref (t - 1 - log t): sums to the same as -ref log t, without its cancellation. */
double gra_reverse_kl_divergence(const gra_penalty *self, double reference, double policy,
                                 double ratio)
{
    (void)self;
    return fabs(ratio) > 1.0 ? (policy - reference) - reference * ratio
                             : reference * gra_k3(expm1(ratio));
}

/* c: lambda/beta, which sum pi s = sum pi_ref = 1 gives away. */
static double normaliser(const gra_penalty *self, const gra_class_reference *reference,
                         const double *advantage, double mean, double mean_slack)
{
    (void)self, (void)reference, (void)advantage, (void)mean_slack;
    return 1.0 + mean;
}

/* pi (c - u/beta) - pi_ref. */
static double residual(const gra_penalty *self, double reference, double policy, double ratio,
                       double advantage, double c)
{
    (void)self, (void)ratio;
    return policy * (c - advantage) - reference;
}

const gra_penalty gra_reverse_kl = {.kind = GRPOALIGN_PENALTY_REVERSE_KL,
                                    GRA_REVERSE_KL_LAW,
                                    .slack_most = INFINITY,
                                    .rarest = -INFINITY,
                                    .loose_above = INFINITY,
                                    .score = gra_penalty_score,
                                    GRA_REVERSE_KL_TRAITS,
                                    GRA_REVERSE_KL_WAYS,
                                    .normaliser = normaliser,
                                    .residual = residual};
