/* Jensen-Shannon, half of KL(pi || m) + KL(pi_ref || m), m = (pi + pi_ref)/2: slack = -log(2t/(1 +
 * t))/2, t = pi/pi_ref. */
#include "penalty/penalty.h"

#include <math.h>

#include "base/numeric.h"

static const double HALF_LOG_2 = 0.34657359027997265471;
/* exp(-2 FAR) is nothing beside 1. */
static const double FAR = 20.0;

/* 1/t = 2 exp(2 slack) - 1. */
static double log_ratio(const gra_penalty *self, double slack)
{
    double inverse = 1.0 + 2.0 * expm1(2.0 * slack);
    (void)self;
    if (slack > FAR) {
        return -2.0 * (slack + HALF_LOG_2);
    }
    return inverse > 0.0 ? -log1p(2.0 * expm1(2.0 * slack)) : INFINITY;
}

static double slack_of(const gra_penalty *self, double ratio)
{
    (void)self;
    /* log((1 + 1/t)/2)/2, with its digits near t = 1 and without overflow. */
    return ratio > -1.0 ? 0.5 * log1p(0.5 * expm1(-ratio))
                        : 0.5 * (log1p(exp(ratio)) - ratio) - HALF_LOG_2;
}

static double log_slope(const gra_penalty *self, double slack)
{
    double growth = 2.0 * expm1(2.0 * slack);
    (void)self;
    return 2.0 + 2.0 / (1.0 + growth);
}

/* From the pole, -log(2)/2: 1/t = expm1(2 distance). */
static double beyond(const gra_penalty *self, double distance)
{
    (void)self;
    return distance > FAR ? -2.0 * distance : -log(expm1(2.0 * distance));
}

static double slope_beyond(const gra_penalty *self, double distance)
{
    (void)self;
    return -2.0 / expm1(-2.0 * distance);
}

static double distance_of(const gra_penalty *self, double ratio)
{
    (void)self;
    return 0.5 * (ratio > 0.0 ? log1p(exp(-ratio)) : log1p(exp(ratio)) - ratio);
}

/* With d = t - 1: f = (bregman(d) - 2 bregman(d/2))/2. */
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
                                        .slack_most = INFINITY,
                                        .outside = 0.34657359027997265471,
                                        .convex = 1,
                                        .log_ratio = log_ratio,
                                        .slack_of = slack_of,
                                        .log_slope = log_slope,
                                        .beyond = beyond,
                                        .slope_beyond = slope_beyond,
                                        .distance_of = distance_of,
                                        .divergence = divergence,
                                        GRA_BY_SLACK};
