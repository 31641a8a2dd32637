/* KL(pi_ref || pi): price = pi_ref / pi. */
#include "penalty/penalty.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "base/numeric.h"

static double log_ratio(double price)
{
    return -log(price);
}

static double price_of(double ratio)
{
    return exp(-ratio);
}

static double log_slope(double price)
{
    return 1.0 / price;
}

static double grown(double price, double growth)
{
    return price / (1.0 + growth);
}

/* S(e) = sum mass / (base + e), base >= 0, and its derivative. */
static double mass_sum(const gra_prior *prior, const double *base, double e, double *derivative)
{
    gra_sum sum = {0.0, 0.0};
    double d = 0.0;
    for (int64_t c = 0; c < prior->classes; c++) {
        double share = prior->mass[c] / (base[c] + e);
        gra_sum_add(&sum, share);
        d -= share / (base[c] + e);
    }
    *derivative = d;
    return gra_sum_value(sum);
}

/*
 * The e > 0 with S(e) = 1, S falling from the mass at base 0 over e to 0. 1/S is concave and growing, so Newton on
 * it from below never overshoots, but may crawl where a tiny mass sits at base 0; log S as a function of log e is
 * then nearly straight. Both steps are tried inside a bracket, and the one that goes further is taken.
 */
static double respond(const gra_prior *prior, double *price, double *policy)
{
    int64_t n = prior->classes;
    double least = gra_min(price, n), low = 0.0, high = 1.0;
    for (int64_t c = 0; c < n; c++) {
        price[c] -= least;
        /* mass <= base + e for every class */
        low = fmax(low, prior->mass[c] - price[c]);
        low = price[c] == 0.0 ? fmax(low, prior->mass[c]) : low;
    }
    double e = low;
    for (int i = 0; i < 100; i++) {
        double derivative, s = mass_sum(prior, price, e, &derivative);
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
        price[c] += e;
        policy[c] = prior->mass[c] / price[c];
    }
    return e - least;
}

/* x = -log e, prices theta (gap + e), theta = sum mass / (gap + e). */
static double ray(const gra_prior *prior, const double *gap, double x, double *price, double *policy)
{
    double e = exp(-x), ignored, theta = mass_sum(prior, gap, e, &ignored);
    for (int64_t c = 0; c < prior->classes; c++) {
        double p = theta * (gap[c] + e);
        policy[c] = prior->mass[c] / p;
        if (price != NULL) {
            price[c] = p;
        }
    }
    return theta;
}

static void ray_bracket(const gra_prior *prior, const double *gap, double low, double high, double *x_low,
                        double *x_high)
{
    /* mass(gap 0) / e <= theta <= 1/e and theta >= 1 / (widest + e). */
    double top = 0.0;
    for (int64_t c = 0; c < prior->classes; c++) {
        top += gap[c] == 0.0 ? prior->mass[c] : 0.0;
    }
    double widest = gra_max(gap, prior->classes);
    double smallest = fmax(DBL_MIN, fmax(top / high, 1.0 / high - widest));
    *x_high = -log(smallest) + 1e-12;
    *x_low = log(fmax(low, DBL_MIN)) - 1e-12;
}

static double meet(double mass, double log_mass, double level, double slope_of_price)
{
    (void)log_mass;
    double root = sqrt(level * level + 4.0 * slope_of_price * mass);
    return level > 0.0 ? 2.0 * mass / (level + root) : (root - level) / (2.0 * slope_of_price);
}

static double price_at(double mass, double log_mass, double policy)
{
    (void)log_mass;
    return mass / policy;
}

/* ref (t - 1 - log t): sums to the same as -ref log t, without its cancellation. */
static double divergence(double reference, double policy, double ratio)
{
    return fabs(ratio) > 1.0 ? (policy - reference) - reference * ratio : reference * gra_k3(expm1(ratio));
}

static double normaliser(const gra_prior *prior, const double *advantage, double mean)
{
    (void)prior, (void)advantage;
    return 1.0 + mean;
}

static double residual(double reference, double policy, double ratio, double advantage, double c)
{
    (void)ratio;
    return policy * (c - advantage) - reference;
}

const gra_penalty_ops gra_reverse_kl = {
    .kind = GRPOALIGN_PENALTY_REVERSE_KL,
    .name = "reverse_kl",
    .barrier = 1.0,
    .entropy = 0.0,
    .mean_price = 1.0,
    .log_ratio = log_ratio,
    .price_of = price_of,
    .unit_price = 1.0,
    .log_slope = log_slope,
    .grown = grown,
    .respond = respond,
    .ray = ray,
    .ray_bracket = ray_bracket,
    .meet = meet,
    .price_at = price_at,
    .divergence = divergence,
    .residual = residual,
    .normaliser = normaliser,
    .exponential = 0,
};
