/* KL(pi_ref || pi): price = pi_ref / pi. */
#include "penalty/penalty.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "base/numeric.h"

static double log_ratio(const gra_penalty *self, double price)
{
    (void)self;
    return -log(price);
}

static double price_of(const gra_penalty *self, double ratio)
{
    (void)self;
    return exp(-ratio);
}

static double log_slope(const gra_penalty *self, double price)
{
    (void)self;
    return 1.0 / price;
}

static double grown(const gra_penalty *self, double price, double growth)
{
    (void)self;
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
static double respond(const gra_penalty *self, const gra_prior *prior, double *price, double *policy)
{
    (void)self;
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
static double ray(const gra_penalty *self, const gra_prior *prior, const double *gap, double x, double *price,
                  double *policy)
{
    (void)self;
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

static void ray_bracket(const gra_penalty *self, const gra_prior *prior, const double *gap, double low, double high,
                        double *x_low, double *x_high, double *policy)
{
    (void)self, (void)policy;
    /* mass(gap 0) / e <= theta <= 1/e and theta >= mass / (widest + e). */
    double top = 0.0;
    for (int64_t c = 0; c < prior->classes; c++) {
        top += gap[c] == 0.0 ? prior->mass[c] : 0.0;
    }
    double widest = gra_max(gap, prior->classes);
    double smallest = fmax(DBL_MIN, fmax(top / high, gra_total(prior->mass, prior->classes) / high - widest));
    *x_high = -log(smallest) + 1e-12;
    *x_low = log(fmax(low, DBL_MIN)) - 1e-12;
}

static double meet(const gra_penalty *self, double mass, double log_mass, double level, double slope_of_price)
{
    (void)self, (void)log_mass;
    double root = sqrt(level * level + 4.0 * slope_of_price * mass);
    return level > 0.0 ? 2.0 * mass / (level + root) : (root - level) / (2.0 * slope_of_price);
}

static double price_at(const gra_penalty *self, double mass, double log_mass, double policy)
{
    (void)self, (void)log_mass;
    return mass / policy;
}

/* ref (t - 1 - log t): sums to the same as -ref log t, without its cancellation. */
static double divergence(const gra_penalty *self, double reference, double policy, double ratio)
{
    (void)self;
    return fabs(ratio) > 1.0 ? (policy - reference) - reference * ratio : reference * gra_k3(expm1(ratio));
}

static double normaliser(const gra_penalty *self, const gra_prior *prior, const double *advantage, double mean,
                         double mean_price)
{
    (void)self, (void)prior, (void)advantage, (void)mean_price;
    return 1.0 + mean;
}

static double residual(const gra_penalty *self, double reference, double policy, double ratio, double advantage,
                       double c)
{
    (void)self, (void)ratio;
    return policy * (c - advantage) - reference;
}

/* The clamp leaves no gradient outside. */
static double clamped_drive(const gra_penalty *self, double ratio, double *slope)
{
    int inside = ratio <= self->loose_above && exp(-ratio) <= self->price_most;
    *slope = inside ? -exp(-ratio) : 0.0;
    return inside ? exp(-ratio) : 1.0;
}

#define REVERSE_KL                                                                                                     \
    .form = GRA_SMOOTH, .outside = 1.0, .barrier = 1.0, .unit_price = 1.0, .convex = 1, .ray_origin = -600.0,          \
    .log_ratio = log_ratio, .price_of = price_of, .log_slope = log_slope, .grown = grown, .respond = respond,          \
    .ray = ray, .ray_bracket = ray_bracket, .meet = meet, .price_at = price_at, .divergence = divergence

const gra_penalty gra_reverse_kl = {.kind = GRPOALIGN_PENALTY_REVERSE_KL,
                                    .price_most = INFINITY,
                                    .mean_price = 1.0,
                                    .drive = gra_penalty_drive,
                                    .residual = residual,
                                    .normaliser = normaliser,
                                    REVERSE_KL};

/* The k3 estimator clamped at 10, as several trainers have it: exp(-l) - 1 + l > 10 has no gradient. Below that l = log(pi/pi_ref)
 * an outcome is lost; above the l at the other end the penalty no longer holds it back. */
const gra_penalty gra_clamped_kl = {.kind = GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED,
                                    .loose_above = 10.999983298020256,
                                    .price_most = 13.610868638149878,
                                    .lossy = 1,
                                    .mean_price = NAN,
                                    .drive = clamped_drive,
                                    .residual = gra_penalty_residual,
                                    .normaliser = gra_penalty_normaliser,
                                    REVERSE_KL};
