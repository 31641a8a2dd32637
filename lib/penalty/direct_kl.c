/* KL(pi || pi_ref): price = -log(pi / pi_ref). */
#include "penalty/penalty.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "base/numeric.h"

static double log_ratio(const gra_penalty *self, double price)
{
    (void)self;
    return -price;
}

static double price_of(const gra_penalty *self, double ratio)
{
    (void)self;
    return -ratio;
}

static double log_slope(const gra_penalty *self, double price)
{
    (void)self, (void)price;
    return 1.0;
}

static double grown(const gra_penalty *self, double price, double growth)
{
    (void)self;
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

static double respond(const gra_penalty *self, const gra_prior *prior, double *price, double *policy)
{
    double least = gra_min(price, prior->classes);
    (void)self;
    for (int64_t c = 0; c < prior->classes; c++) {
        price[c] -= least; /* or a common shift could swallow the masses */
    }
    double shift = log_sum(prior, price, policy);
    for (int64_t c = 0; c < prior->classes; c++) {
        price[c] += shift;
    }
    return shift - least;
}

/* x = log theta. */
static double ray(const gra_penalty *self, const gra_prior *prior, const double *gap, double x, double *price,
                  double *policy)
{
    double theta = exp(x), top = -INFINITY;
    (void)self;
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

static void ray_bracket(const gra_penalty *self, const gra_prior *prior, const double *gap, double low, double high,
                        double *x_low, double *x_high, double *policy)
{
    (void)self, (void)prior, (void)gap, (void)policy;
    *x_low = log(fmax(low, DBL_MIN)) - 1e-12;
    *x_high = log(fmin(high, DBL_MAX)) + 1e-12;
}

/* slope * policy = w with w + log w = log(slope * mass) - level. */
static double meet(const gra_penalty *self, double mass, double log_mass, double level, double slope_of_price)
{
    (void)self, (void)mass;
    return gra_wright_omega(log(slope_of_price) + log_mass - level) / slope_of_price;
}

static double price_at(const gra_penalty *self, double mass, double log_mass, double policy)
{
    (void)self, (void)mass;
    return log_mass - log(policy);
}

/* ref (t log t - t + 1): sums to the same as pi log t, without its cancellation. */
static double divergence(const gra_penalty *self, double reference, double policy, double ratio)
{
    (void)self;
    if (policy == 0.0) {
        return reference;
    }
    return fabs(ratio) > 1.0 ? policy * (ratio - 1.0) + reference : reference * gra_bregman(expm1(ratio));
}

/* log sum pi_ref exp(u / beta). */
static double normaliser(const gra_penalty *self, const gra_prior *prior, const double *advantage, double mean,
                         double mean_price)
{
    double top = -INFINITY;
    gra_sum sum = {0.0, 0.0};
    (void)self, (void)mean, (void)mean_price;
    for (int64_t c = 0; c < prior->classes; c++) {
        top = fmax(top, prior->log_mass[c] + advantage[c]);
    }
    for (int64_t c = 0; c < prior->classes; c++) {
        gra_sum_add(&sum, exp(prior->log_mass[c] + advantage[c] - top));
    }
    return top + log(gra_sum_value(sum));
}

static double residual(const gra_penalty *self, double reference, double policy, double ratio, double advantage,
                       double log_z)
{
    (void)self, (void)reference;
    /* Below the normal range the logarithm of the policy as printed has no meaning. */
    return policy >= DBL_MIN ? ratio - advantage + log_z : 0.0;
}

/* Everything goes to the best, in its reference proportions; there is no level. */
static double respond_without(const gra_penalty *self, const gra_prior *prior, double *price, double *policy)
{
    double best = gra_min(price, prior->classes), top = -INFINITY, total = 0.0;
    (void)self;
    for (int64_t c = 0; c < prior->classes; c++) {
        top = price[c] == best ? fmax(top, prior->log_mass[c]) : top;
    }
    for (int64_t c = 0; c < prior->classes; c++) {
        policy[c] = price[c] == best ? exp(prior->log_mass[c] - top) : 0.0;
        total += policy[c];
    }
    for (int64_t c = 0; c < prior->classes; c++) {
        policy[c] /= total;
        price[c] = policy[c] > 0.0 ? top + log(total) : INFINITY;
    }
    return NAN;
}

static double level_without(const gra_penalty *self, const gra_prior *prior, const double *advantage, double mean,
                            double mean_price)
{
    (void)self, (void)prior, (void)advantage, (void)mean_price;
    return mean;
}

/* How far the advantages in the support are from equal. */
static double residual_without(const gra_penalty *self, double reference, double policy, double ratio, double advantage,
                               double level)
{
    (void)self, (void)reference, (void)ratio;
    return policy > 0.0 ? policy * (level - advantage) : 0.0;
}

static double no_drive(const gra_penalty *self, double ratio, double *slope)
{
    (void)self, (void)ratio;
    return *slope = 0.0;
}

#define DIRECT_KL                                                                                                      \
    .mean_price = NAN, .price_most = INFINITY, .outside = INFINITY, .exponential = 1, .convex = 1,                     \
    .ray_origin = -700.0, .log_ratio = log_ratio, .price_of = price_of, .log_slope = log_slope, .grown = grown,        \
    .ray = ray, .ray_bracket = ray_bracket, .meet = meet, .price_at = price_at, .divergence = divergence

#define EXPONENTIAL .drive = gra_penalty_drive, .respond = respond, .residual = residual, .normaliser = normaliser

const gra_penalty gra_direct_kl = {.kind = GRPOALIGN_PENALTY_DIRECT_KL, .form = GRA_SMOOTH, EXPONENTIAL, DIRECT_KL};

/* Inside the reward, where the policy is stationary once reward - beta log(pi/pi_ref) is the same for all. */
const gra_penalty gra_kl_in_reward = {
    .kind = GRPOALIGN_PENALTY_KL_IN_REWARD, .form = GRA_INSIDE_REWARD, EXPONENTIAL, DIRECT_KL};

/* No penalty: what is left of the direct KL at beta = 0. */
const gra_penalty gra_no_penalty = {.kind = GRPOALIGN_PENALTY_NONE,
                                    .form = GRA_ABSENT,
                                    .drive = no_drive,
                                    .respond = respond_without,
                                    .residual = residual_without,
                                    .normaliser = level_without,
                                    DIRECT_KL};
