/*
 * Half the mean square of l = log(pi/pi_ref) under pi, which k2 with the differentiable ratio has for its gradient: the score
 * coefficient is l + l^2/2, least at l = -1. An outcome that would have to fall below exp(-1) of its reference probability finds no
 * hold, and is lost.
 */
#include "penalty/penalty.h"

#include <math.h>

/* Beyond the end the branch is reflected, which keeps it monotone. */
static double log_ratio(const gra_penalty *self, double price)
{
    (void)self;
    return price <= 0.5 ? sqrt(1.0 - 2.0 * price) - 1.0 : -1.0 - sqrt(2.0 * price - 1.0);
}

static double price_of(const gra_penalty *self, double ratio)
{
    double from_end = ratio + 1.0;
    (void)self;
    return 0.5 - copysign(0.5 * from_end * from_end, from_end);
}

static double drive(const gra_penalty *self, double ratio, double *slope)
{
    (void)self;
    *slope = -1.0 - ratio;
    return -ratio - 0.5 * ratio * ratio;
}

/* Infinite at the end itself. */
static double log_slope(const gra_penalty *self, double price)
{
    const double steepest = 1e8;
    (void)self;
    return fmin(steepest, 1.0 / sqrt(fabs(1.0 - 2.0 * price)));
}

static double divergence(const gra_penalty *self, double reference, double policy, double ratio)
{
    (void)self, (void)reference;
    return policy > 0.0 ? 0.5 * policy * ratio * ratio : 0.0;
}

const gra_penalty gra_squared_log_ratio = {.kind = GRPOALIGN_PENALTY_SQUARED_LOG_RATIO,
                                           .form = GRA_SMOOTH,
                                           .price_most = 0.5,
                                           .outside = INFINITY,
                                           .lossy = 1,
                                           .mean_price = NAN,
                                           .ray_origin = -600.0,
                                           .log_ratio = log_ratio,
                                           .price_of = price_of,
                                           .log_slope = log_slope,
                                           .drive = drive,
                                           .divergence = divergence,
                                           .grown = gra_penalty_grown,
                                           .respond = gra_penalty_respond,
                                           .ray = gra_penalty_ray,
                                           .ray_bracket = gra_penalty_ray_bracket,
                                           .meet = gra_penalty_meet,
                                           .price_at = gra_penalty_price_at,
                                           .normaliser = gra_penalty_normaliser,
                                           .residual = gra_penalty_residual};
