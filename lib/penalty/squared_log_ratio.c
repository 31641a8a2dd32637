/*
 * Half the mean square of l = log(pi/pi_ref) under pi, whose gradient k2 times the differentiable
 * ratio gives: g = l + l^2/2, least at l = -1. The penalty has no hold on an outcome that would
 * have to fall below exp(-1) of its reference probability: it is lost.
 */
#include "penalty/penalty.h"

#include <math.h>

/* g goes on below its least value as its mirror image, which keeps the slack monotone. */
static double slack(const gra_penalty *self, double ratio)
{
    double from_end = ratio + 1.0;
    (void)self;
    return 0.5 - copysign(0.5 * from_end * from_end, from_end);
}

static double log_ratio(const gra_penalty *self, double at)
{
    (void)self;
    return at <= 0.5 ? sqrt(1.0 - 2.0 * at) - 1.0 : -1.0 - sqrt(2.0 * at - 1.0);
}

/* Infinite at the end itself. */
static double log_slope(const gra_penalty *self, double at)
{
    const double steepest = 1e8;
    (void)self;
    return fmin(steepest, 1.0 / sqrt(fabs(1.0 - 2.0 * at)));
}

static double score(const gra_penalty *self, double ratio, double *slope)
{
    (void)self;
    *slope = -1.0 - ratio;
    return -ratio - 0.5 * ratio * ratio;
}

static double divergence(const gra_penalty *self, double reference, double policy, double ratio)
{
    (void)self, (void)reference;
    return policy > 0.0 ? 0.5 * policy * ratio * ratio : 0.0;
}

/* Logarithms beyond this have too few digits left for their squares to tell anything. A class that
 * is rarer gains what can be seen only where advantages over beta reach 5e23. */
#define RAREST (-1e12)

const gra_penalty gra_squared_log_ratio = {.kind = GRPOALIGN_PENALTY_SQUARED_LOG_RATIO,
                                           .pole = INFINITY,
                                           .slack_most = 0.5,
                                           .rarest = RAREST,
                                           .loose_above = INFINITY,
                                           .outside = INFINITY,
                                           .slack = slack,
                                           .log_ratio = log_ratio,
                                           .log_slope = log_slope,
                                           .score = score,
                                           .divergence = divergence,
                                           .form = GRA_SMOOTH,
                                           .lets_go = 1,
                                           .turns_back = 1,
                                           .newton_above = 0.5,
                                           GRA_DERIVED};
