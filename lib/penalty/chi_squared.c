/* Pearson's chi-squared, sum (pi - pi_ref)^2/(2 pi_ref): g = exp(l) - 1. Its slack ends at 1, where
 * an outcome has no probability: a corner of a convex problem. */
#include "penalty/penalty.h"

#include <math.h>

static double slack(const gra_penalty *self, double ratio)
{
    (void)self;
    return -expm1(ratio);
}

static double log_ratio(const gra_penalty *self, double at)
{
    (void)self;
    return at < 1.0 ? log1p(-at) : -INFINITY;
}

static double log_slope(const gra_penalty *self, double at)
{
    (void)self;
    return at < 1.0 ? 1.0 / (1.0 - at) : 0.0;
}

static double divergence(const gra_penalty *self, double reference, double policy, double ratio)
{
    double excess = policy > 0.0 ? expm1(ratio) : -1.0;
    (void)self;
    return 0.5 * reference * excess * excess;
}

const gra_penalty gra_chi_squared = {.kind = GRPOALIGN_PENALTY_CHI_SQUARED,
                                     .pole = INFINITY,
                                     .slack_most = 1.0,
                                     .rarest = -700.0,
                                     .loose_above = INFINITY,
                                     .outside = INFINITY,
                                     .slack = slack,
                                     .log_ratio = log_ratio,
                                     .log_slope = log_slope,
                                     .score = gra_penalty_score,
                                     .divergence = divergence,
                                     .form = GRA_SMOOTH,
                                     .convex = 1,
                                     .newton_above = 0.5,
                                     GRA_DERIVED};
