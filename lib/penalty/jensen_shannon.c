/*
 * Jensen-Shannon, half of KL(pi || m) + KL(pi_ref || m), m = (pi + pi_ref)/2:
 * g = -log((1 + exp(-l))/2)/2, with its pole at log(2)/2.
 */
#include "penalty/penalty.h"

#include <math.h>

#include "base/numeric.h"

#define HALF_LOG_2 0.34657359027997265471
/* exp(-2 FAR) is nothing beside 1. */
static const double FAR = 20.0;

static double slack(const gra_penalty *self, double ratio)
{
    (void)self;
    return 0.5 * (ratio > 0.0 ? log1p(exp(-ratio)) : log1p(exp(ratio)) - ratio);
}

/* pi_ref/pi = expm1(2 slack). */
static double log_ratio(const gra_penalty *self, double at)
{
    (void)self;
    return at > FAR ? -2.0 * at : at > 0.0 ? -log(expm1(2.0 * at)) : INFINITY;
}

static double log_slope(const gra_penalty *self, double at)
{
    (void)self;
    return -2.0 / expm1(-2.0 * at);
}

/* With d = pi/pi_ref - 1: (bregman(d) - 2 bregman(d/2))/2. */
static double divergence(const gra_penalty *self, double reference, double policy, double ratio)
{
    (void)self;
    if (policy == 0.0) {
        return reference * HALF_LOG_2;
    }
    if (ratio > 30.0) { /* half of pi log 2, less what pi_ref takes away */
        return policy * HALF_LOG_2 - 0.5 * reference * (ratio - 2.0 * HALF_LOG_2 + 1.0);
    }
    double d = expm1(ratio);
    return 0.5 * reference * (gra_bregman(d) - 2.0 * gra_bregman(0.5 * d));
}

const gra_penalty gra_jensen_shannon = {.kind = GRPOALIGN_PENALTY_JENSEN_SHANNON,
                                        .pole = HALF_LOG_2,
                                        .normaliser_from = HALF_LOG_2,
                                        .slack_most = INFINITY,
                                        .rarest = GRA_RAREST,
                                        .loose_above = INFINITY,
                                        .outside = HALF_LOG_2,
                                        .slack = slack,
                                        .log_ratio = log_ratio,
                                        .log_slope = log_slope,
                                        .score = gra_penalty_score,
                                        .divergence = divergence,
                                        .form = GRA_SMOOTH,
                                        .convex = 1,
                                        .newton_above = 0.5,
                                        GRA_DERIVED};
