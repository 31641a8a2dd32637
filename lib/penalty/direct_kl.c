/* KL(pi || pi_ref): price = -log(pi / pi_ref). */
#include "penalty/penalty.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "base/numeric.h"

static double log_ratio(double price)
{
    return -price;
}

static double price_of(double ratio)
{
    return -ratio;
}

static double log_slope(double price)
{
    (void)price;
    return 1.0;
}

static double grown(double price, double growth)
{
    return price - log1p(growth);
}

/* policy = exp(log_mass - price); returns log of its sum. */
static double log_sum(const gra_prior *prior, const double *price, double *policy)
{
    double top = -INFINITY;
    for (int64_t c = 0; c < prior->classes; c++) {
        policy[c] = prior->log_mass[c] - price[c];
        top = fmax(top, policy[c]);
    }
    gra_sum sum = {0.0, 0.0};
    for (int64_t c = 0; c < prior->classes; c++) {
        policy[c] = exp(policy[c] - top);
        gra_sum_add(&sum, policy[c]);
    }
    double total = gra_sum_value(sum);
    for (int64_t c = 0; c < prior->classes; c++) {
        policy[c] /= total;
    }
    return top + log(total);
}

static double respond(const gra_prior *prior, double *price, double *policy)
{
    double shift = log_sum(prior, price, policy);
    for (int64_t c = 0; c < prior->classes; c++) {
        price[c] += shift;
    }
    return shift;
}

/* x = log theta. */
static double ray(const gra_prior *prior, const double *gap, double x, double *price, double *policy)
{
    double theta = exp(x), top = -INFINITY;
    for (int64_t c = 0; c < prior->classes; c++) {
        policy[c] = prior->log_mass[c] - theta * gap[c];
        top = fmax(top, policy[c]);
    }
    gra_sum sum = {0.0, 0.0};
    for (int64_t c = 0; c < prior->classes; c++) {
        policy[c] = exp(policy[c] - top);
        gra_sum_add(&sum, policy[c]);
    }
    double total = gra_sum_value(sum), log_z = top + log(total);
    for (int64_t c = 0; c < prior->classes; c++) {
        policy[c] /= total;
        if (price != NULL) {
            price[c] = theta * gap[c] + log_z;
        }
    }
    return theta;
}

static void ray_bracket(const gra_prior *prior, const double *gap, double low, double high, double *x_low,
                        double *x_high)
{
    (void)prior, (void)gap;
    *x_low = log(fmax(low, DBL_MIN)) - 1e-12;
    *x_high = log(fmin(high, DBL_MAX)) + 1e-12;
}

/* slope * policy = w with w + log w = log(slope * mass) - level. */
static double meet(double mass, double log_mass, double level, double slope_of_price)
{
    (void)mass;
    return gra_wright_omega(log(slope_of_price) + log_mass - level) / slope_of_price;
}

static double price_at(double mass, double log_mass, double policy)
{
    (void)mass;
    return log_mass - log(policy);
}

/* ref (t log t - t + 1): sums to the same as pi log t, without its cancellation. */
static double divergence(double reference, double policy, double ratio)
{
    if (policy == 0.0) {
        return reference;
    }
    return fabs(ratio) > 1.0 ? policy * (ratio - 1.0) + reference : reference * gra_bregman(expm1(ratio));
}

/* log sum pi_ref exp(u / beta). */
static double normaliser(const gra_prior *prior, const double *advantage, double mean)
{
    double top = -INFINITY;
    gra_sum sum = {0.0, 0.0};
    (void)mean;
    for (int64_t c = 0; c < prior->classes; c++) {
        top = fmax(top, prior->log_mass[c] + advantage[c]);
    }
    for (int64_t c = 0; c < prior->classes; c++) {
        gra_sum_add(&sum, exp(prior->log_mass[c] + advantage[c] - top));
    }
    return top + log(gra_sum_value(sum));
}

static double residual(double reference, double policy, double ratio, double advantage, double log_z)
{
    (void)reference;
    /* Below the normal range the logarithm of the policy as printed has no meaning. */
    return policy >= DBL_MIN ? ratio - advantage + log_z : 0.0;
}

const gra_penalty_ops gra_direct_kl = {
    .kind = GRPOALIGN_PENALTY_DIRECT_KL,
    .name = "direct_kl",
    .barrier = 0.0,
    .entropy = 1.0,
    .mean_price = NAN,
    .log_ratio = log_ratio,
    .price_of = price_of,
    .unit_price = 0.0,
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
    .exponential = 1,
};

const gra_penalty_ops *gra_penalty_find(int32_t kind)
{
    switch (kind) {
    case GRPOALIGN_PENALTY_REVERSE_KL:
        return &gra_reverse_kl;
    case GRPOALIGN_PENALTY_DIRECT_KL:
        return &gra_direct_kl;
    default:
        return NULL;
    }
}
