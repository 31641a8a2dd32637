/* KL(pi || pi_ref): g = l, without a pole. */
#include "penalty/direct_kl.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "base/numeric.h"

double gra_direct_kl_slack(const gra_penalty *self, double ratio)
{
    (void)self;
    return -ratio;
}

double gra_direct_kl_log_ratio(const gra_penalty *self, double slack)
{
    (void)self;
    return -slack;
}

double gra_direct_kl_log_slope(const gra_penalty *self, double slack)
{
    (void)self, (void)slack;
    return 1.0;
}

double gra_direct_kl_grown(const gra_penalty *self, double slack, double growth)
{
    (void)self;
    return slack - log1p(growth);
}

double gra_direct_kl_slack_at(const gra_penalty *self, double mass, double log_mass, double policy)
{
    (void)self, (void)mass;
    return log_mass - log(policy);
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

double gra_direct_kl_respond(const gra_penalty *self, const gra_class_reference *reference,
                             double *slack, double *policy)
{
    int64_t heaviest = 0;
    (void)self;
    for (int64_t c = 1; c < reference->classes; c++) {
        heaviest =
            reference->log_mass[c] - slack[c] > reference->log_mass[heaviest] - slack[heaviest]
                ? c
                : heaviest;
    }
    /* Measured from the class that holds most: a common shift could swallow the masses, and so
     * could the slack of a rare class that is far below the others. */
    double origin = slack[heaviest];
    for (int64_t c = 0; c < reference->classes; c++) {
        slack[c] -= origin;
    }
    double shift = log_sum(reference, slack, policy);
    for (int64_t c = 0; c < reference->classes; c++) {
        slack[c] += shift;
    }
    return shift - origin;
}

/* x = log theta. */
double gra_direct_kl_path(const gra_penalty *self, const gra_class_reference *reference,
                          const double *gap, double x, double *slack, double *policy)
{
    double theta = exp(x), top = -INFINITY, origin = 0.0;
    (void)self;
    for (int64_t c = 0; c < reference->classes; c++) {
        double height = reference->log_mass[c] - theta * gap[c];
        origin = height > top ? gap[c] : origin;
        top = fmax(top, height);
    }
    top = -INFINITY;
    for (int64_t c = 0; c < reference->classes; c++) {
        policy[c] = reference->log_mass[c] - theta * (gap[c] - origin);
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
            slack[c] = theta * (gap[c] - origin) + log_z;
        }
    }
    return theta;
}

void gra_direct_kl_path_bracket(const gra_penalty *self, const gra_class_reference *reference,
                                const double *gap, double low, double high, double *x_low,
                                double *x_high, double *policy)
{
    (void)self, (void)reference, (void)gap, (void)policy;
    *x_low = log(fmax(low, DBL_MIN)) - 1e-12;
    *x_high = log(fmin(high, DBL_MAX)) + 1e-12;
}

/* slope * policy = w with w + log w = log(slope * mass) - lambda. */
double gra_direct_kl_resolvent(const gra_penalty *self, double mass, double log_mass, double lambda,
                               double slope)
{
    (void)self, (void)mass;
    return gra_wright_omega(log(slope) + log_mass - lambda) / slope;
}

/* ref (t log t - t + 1): sums to the same as pi log t, without its cancellation. */
double gra_direct_kl_divergence(const gra_penalty *self, double reference, double policy,
                                double ratio)
{
    (void)self;
    if (policy == 0.0) {
        return reference;
    }
    return fabs(ratio) > 1.0 ? policy * (ratio - 1.0) + reference
                             : reference * gra_bregman(expm1(ratio));
}

/* log Z = log sum pi_ref exp(u/beta). */
double gra_direct_kl_normaliser(const gra_penalty *self, const gra_class_reference *reference,
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

double gra_direct_kl_residual(const gra_penalty *self, double reference, double policy,
                              double ratio, double advantage, double log_z)
{
    (void)self, (void)reference;
    /* Below the normal range the logarithm of the policy as printed has no meaning. */
    return policy >= DBL_MIN ? ratio - advantage + log_z : 0.0;
}

const gra_penalty gra_direct_kl = {.kind = GRPOALIGN_PENALTY_DIRECT_KL,
                                   GRA_DIRECT_KL_LAW,
                                   .slack_most = INFINITY,
                                   .rarest = -INFINITY,
                                   .loose_above = INFINITY,
                                   .score = gra_penalty_score,
                                   .form = GRA_SMOOTH,
                                   GRA_DIRECT_KL_TRAITS,
                                   GRA_DIRECT_KL_WAYS,
                                   .respond = gra_direct_kl_respond,
                                   .normaliser = gra_direct_kl_normaliser,
                                   .residual = gra_direct_kl_residual};
