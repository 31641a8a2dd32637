/* KL(pi_ref || pi): slack = pi_ref / pi. */
#include "penalty/penalty.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "base/numeric.h"

static double log_ratio(const gra_penalty *self, double slack)
{
    (void)self;
    return -log(slack);
}

static double slack_of(const gra_penalty *self, double ratio)
{
    (void)self;
    return exp(-ratio);
}

static double log_slope(const gra_penalty *self, double slack)
{
    (void)self;
    return 1.0 / slack;
}

static double grown(const gra_penalty *self, double slack, double growth)
{
    (void)self;
    return slack / (1.0 + growth);
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
static double respond(const gra_penalty *self, const gra_class_reference *reference, double *slack,
                      double *policy)
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
static double path(const gra_penalty *self, const gra_class_reference *reference, const double *gap,
                   double x, double *slack, double *policy)
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

static void path_bracket(const gra_penalty *self, const gra_class_reference *reference,
                         const double *gap, double low, double high, double *x_low, double *x_high,
                         double *policy)
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

static double resolvent(const gra_penalty *self, double mass, double log_mass, double level,
                        double slope_of_slack)
{
    (void)self, (void)log_mass;
    double root = sqrt(level * level + 4.0 * slope_of_slack * mass);
    return level > 0.0 ? 2.0 * mass / (level + root) : (root - level) / (2.0 * slope_of_slack);
}

static double slack_at(const gra_penalty *self, double mass, double log_mass, double policy)
{
    (void)self, (void)log_mass;
    return mass / policy;
}

/* ref (t - 1 - log t): sums to the same as -ref log t, without its cancellation. */
static double divergence(const gra_penalty *self, double reference, double policy, double ratio)
{
    (void)self;
    return fabs(ratio) > 1.0 ? (policy - reference) - reference * ratio
                             : reference * gra_k3(expm1(ratio));
}

static double normaliser(const gra_penalty *self, const gra_class_reference *reference,
                         const double *advantage, double mean, double mean_slack)
{
    (void)self, (void)reference, (void)advantage, (void)mean_slack;
    return 1.0 + mean;
}

static double residual(const gra_penalty *self, double reference, double policy, double ratio,
                       double advantage, double c)
{
    (void)self, (void)ratio;
    return policy * (c - advantage) - reference;
}

/* The clamp leaves no gradient outside. */
static double clamped_score(const gra_penalty *self, double ratio, double *slope)
{
    int inside = ratio <= self->loose_above && exp(-ratio) <= self->slack_most;
    *slope = inside ? -exp(-ratio) : 0.0;
    return inside ? exp(-ratio) : 1.0;
}

#define REVERSE_KL                                                                                 \
    .form = GRA_SMOOTH, .outside = 1.0, .barrier = 1.0, .unit_slack = 1.0, .convex = 1,            \
    .path_origin = -600.0, .log_ratio = log_ratio, .slack_of = slack_of, .log_slope = log_slope,   \
    .grown = grown, .respond = respond, .path = path, .path_bracket = path_bracket,                \
    .resolvent = resolvent, .slack_at = slack_at, .divergence = divergence

const gra_penalty gra_reverse_kl = {.kind = GRPOALIGN_PENALTY_REVERSE_KL,
                                    .slack_most = INFINITY,
                                    .mean_slack = 1.0,
                                    .score = gra_penalty_score,
                                    .residual = residual,
                                    .normaliser = normaliser,
                                    REVERSE_KL};

/* The k3 estimator clamped at 10, as several trainers have it: exp(-l) - 1 + l > 10 has no
 * gradient. Below that l = log(pi/pi_ref) an outcome is lost; above the l at the other end the
 * penalty no longer holds it back. */
const gra_penalty gra_clamped_kl = {.kind = GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED,
                                    .loose_above = 10.999983298020256,
                                    .slack_most = 13.610868638149878,
                                    .lets_go = 1,
                                    .mean_slack = NAN,
                                    .score = clamped_score,
                                    .residual = gra_penalty_residual,
                                    .normaliser = gra_penalty_normaliser,
                                    REVERSE_KL};
