/*
 * Half the mean square of l = log(pi/pi_ref) under pi, which k2 with the differentiable ratio has
 * for its gradient: the score coefficient is l + l^2/2, least at l = -1. An outcome that would have
 * to fall below exp(-1) of its reference probability finds no hold, and is lost.
 */
#include "penalty/penalty.h"

#include <math.h>

/* Beyond the end the branch is reflected, which keeps it monotone. */
static double log_ratio(const gra_penalty *self, double slack)
{
    (void)self;
    return slack <= 0.5 ? sqrt(1.0 - 2.0 * slack) - 1.0 : -1.0 - sqrt(2.0 * slack - 1.0);
}

static double slack_of(const gra_penalty *self, double ratio)
{
    double from_end = ratio + 1.0;
    (void)self;
    return 0.5 - copysign(0.5 * from_end * from_end, from_end);
}

static double score(const gra_penalty *self, double ratio, double *slope)
{
    (void)self;
    *slope = -1.0 - ratio;
    return -ratio - 0.5 * ratio * ratio;
}

/* Infinite at the end itself. */
static double log_slope(const gra_penalty *self, double slack)
{
    const double steepest = 1e8;
    (void)self;
    return fmin(steepest, 1.0 / sqrt(fabs(1.0 - 2.0 * slack)));
}

static double divergence(const gra_penalty *self, double reference, double policy, double ratio)
{
    (void)self, (void)reference;
    return policy > 0.0 ? 0.5 * policy * ratio * ratio : 0.0;
}

const gra_penalty gra_squared_log_ratio = {.kind = GRPOALIGN_PENALTY_SQUARED_LOG_RATIO,
                                           .form = GRA_SMOOTH,
                                           .slack_most = 0.5,
                                           .outside = INFINITY,
                                           .lets_go = 1,
                                           .mean_slack = NAN,
                                           .path_origin = -600.0,
                                           .log_ratio = log_ratio,
                                           .slack_of = slack_of,
                                           .log_slope = log_slope,
                                           .score = score,
                                           .divergence = divergence,
                                           .grown = gra_penalty_grown,
                                           .respond = gra_penalty_respond,
                                           .path = gra_penalty_path,
                                           .path_bracket = gra_penalty_path_bracket,
                                           .resolvent = gra_penalty_resolvent,
                                           .slack_at = gra_penalty_slack_at,
                                           .normaliser = gra_penalty_normaliser,
                                           .residual = gra_penalty_residual};
