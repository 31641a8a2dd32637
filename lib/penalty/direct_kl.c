/* KL(pi || pi_ref): slack = -log(pi / pi_ref). */
#include "penalty/penalty.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "base/numeric.h"

static double log_ratio(const gra_penalty *self, double slack)
{
    (void)self;
    return -slack;
}

static double slack_of(const gra_penalty *self, double ratio)
{
    (void)self;
    return -ratio;
}

static double log_slope(const gra_penalty *self, double slack)
{
    (void)self, (void)slack;
    return 1.0;
}

static double grown(const gra_penalty *self, double slack, double growth)
{
    (void)self;
    return slack - log1p(growth);
}

/* policy = exp(log_mass - slack); returns log of its sum. */
static double log_sum(const gra_class_reference *reference, const double *slack, double *policy)
{
    double top = -INFINITY;
    for (int64_t c = 0; c < reference->classes; c++) {
        policy[c] = reference->log_mass[c] - slack[c];
        top = fmax(top, policy[c]);
    }
    gra_sum sum = {0.0, 0.0};
    for (int64_t c = 0; c < reference->classes; c++) {
        policy[c] = exp(policy[c] - top);
        gra_sum_add(&sum, policy[c]);
    }
    double total = gra_sum_value(sum);
    for (int64_t c = 0; c < reference->classes; c++) {
        policy[c] /= total;
    }
    return top + log(total);
}

static double respond(const gra_penalty *self, const gra_class_reference *reference, double *slack,
                      double *policy)
{
    double least = gra_min(slack, reference->classes);
    (void)self;
    for (int64_t c = 0; c < reference->classes; c++) {
        slack[c] -= least; /* or a common shift could swallow the masses */
    }
    double shift = log_sum(reference, slack, policy);
    for (int64_t c = 0; c < reference->classes; c++) {
        slack[c] += shift;
    }
    return shift - least;
}

/* x = log theta. */
static double path(const gra_penalty *self, const gra_class_reference *reference, const double *gap,
                   double x, double *slack, double *policy)
{
    double theta = exp(x), top = -INFINITY;
    (void)self;
    for (int64_t c = 0; c < reference->classes; c++) {
        policy[c] = reference->log_mass[c] - theta * gap[c];
        top = fmax(top, policy[c]);
    }
    gra_sum sum = {0.0, 0.0};
    for (int64_t c = 0; c < reference->classes; c++) {
        policy[c] = exp(policy[c] - top);
        gra_sum_add(&sum, policy[c]);
    }
    double total = gra_sum_value(sum), log_z = top + log(total);
    for (int64_t c = 0; c < reference->classes; c++) {
        policy[c] /= total;
        if (slack != NULL) {
            slack[c] = theta * gap[c] + log_z;
        }
    }
    return theta;
}

static void path_bracket(const gra_penalty *self, const gra_class_reference *reference,
                         const double *gap, double low, double high, double *x_low, double *x_high,
                         double *policy)
{
    (void)self, (void)reference, (void)gap, (void)policy;
    *x_low = log(fmax(low, DBL_MIN)) - 1e-12;
    *x_high = log(fmin(high, DBL_MAX)) + 1e-12;
}

/* slope * policy = w with w + log w = log(slope * mass) - level. */
static double resolvent(const gra_penalty *self, double mass, double log_mass, double level,
                        double slope_of_slack)
{
    (void)self, (void)mass;
    return gra_wright_omega(log(slope_of_slack) + log_mass - level) / slope_of_slack;
}

static double slack_at(const gra_penalty *self, double mass, double log_mass, double policy)
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
    return fabs(ratio) > 1.0 ? policy * (ratio - 1.0) + reference
                             : reference * gra_bregman(expm1(ratio));
}

/* log sum pi_ref exp(u / beta). */
static double normaliser(const gra_penalty *self, const gra_class_reference *reference,
                         const double *advantage, double mean, double mean_slack)
{
    double top = -INFINITY;
    gra_sum sum = {0.0, 0.0};
    (void)self, (void)mean, (void)mean_slack;
    for (int64_t c = 0; c < reference->classes; c++) {
        top = fmax(top, reference->log_mass[c] + advantage[c]);
    }
    for (int64_t c = 0; c < reference->classes; c++) {
        gra_sum_add(&sum, exp(reference->log_mass[c] + advantage[c] - top));
    }
    return top + log(gra_sum_value(sum));
}

static double residual(const gra_penalty *self, double reference, double policy, double ratio,
                       double advantage, double log_z)
{
    (void)self, (void)reference;
    /* Below the normal range the logarithm of the policy as printed has no meaning. */
    return policy >= DBL_MIN ? ratio - advantage + log_z : 0.0;
}

/* Everything goes to the best, in its reference proportions; there is no level. */
static double respond_without(const gra_penalty *self, const gra_class_reference *reference,
                              double *slack, double *policy)
{
    double best = gra_min(slack, reference->classes), top = -INFINITY, total = 0.0;
    (void)self;
    for (int64_t c = 0; c < reference->classes; c++) {
        top = slack[c] == best ? fmax(top, reference->log_mass[c]) : top;
    }
    for (int64_t c = 0; c < reference->classes; c++) {
        policy[c] = slack[c] == best ? exp(reference->log_mass[c] - top) : 0.0;
        total += policy[c];
    }
    for (int64_t c = 0; c < reference->classes; c++) {
        policy[c] /= total;
        slack[c] = policy[c] > 0.0 ? top + log(total) : INFINITY;
    }
    return NAN;
}

static double level_without(const gra_penalty *self, const gra_class_reference *reference,
                            const double *advantage, double mean, double mean_slack)
{
    (void)self, (void)reference, (void)advantage, (void)mean_slack;
    return mean;
}

/* How far the advantages in the support are from equal. */
static double residual_without(const gra_penalty *self, double reference, double policy,
                               double ratio, double advantage, double level)
{
    (void)self, (void)reference, (void)ratio;
    return policy > 0.0 ? policy * (level - advantage) : 0.0;
}

static double no_score(const gra_penalty *self, double ratio, double *slope)
{
    (void)self, (void)ratio;
    return *slope = 0.0;
}

#define DIRECT_KL                                                                                  \
    .mean_slack = NAN, .slack_most = INFINITY, .outside = INFINITY, .exponential = 1, .convex = 1, \
    .path_origin = -700.0, .log_ratio = log_ratio, .slack_of = slack_of, .log_slope = log_slope,   \
    .grown = grown, .path = path, .path_bracket = path_bracket, .resolvent = resolvent,            \
    .slack_at = slack_at, .divergence = divergence

#define EXPONENTIAL                                                                                \
    .score = gra_penalty_score, .respond = respond, .residual = residual, .normaliser = normaliser

const gra_penalty gra_direct_kl = {
    .kind = GRPOALIGN_PENALTY_DIRECT_KL, .form = GRA_SMOOTH, EXPONENTIAL, DIRECT_KL};

/* Inside the reward, where the policy is stationary once reward - beta log(pi/pi_ref) is the same
 * for all. */
const gra_penalty gra_kl_in_reward = {
    .kind = GRPOALIGN_PENALTY_KL_IN_REWARD, .form = GRA_INSIDE_REWARD, EXPONENTIAL, DIRECT_KL};

/* No penalty: what is left of the direct KL at beta = 0. */
const gra_penalty gra_no_penalty = {.kind = GRPOALIGN_PENALTY_NONE,
                                    .form = GRA_ABSENT,
                                    .score = no_score,
                                    .respond = respond_without,
                                    .residual = residual_without,
                                    .normaliser = level_without,
                                    DIRECT_KL};
