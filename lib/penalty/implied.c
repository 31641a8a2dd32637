/* The advantages that a stationary policy implies: u - mean u = beta (mean s - s), s being the
 * slack as training feels it. */
#include "penalty/penalty.h"

#include <math.h>

#include "base/numeric.h"

int gra_penalty_implies(const gra_penalty *self)
{
    return self->form == GRA_SMOOTH || self->form == GRA_INSIDE_REWARD;
}

/* Of one outcome with reference probability; NaN where it tells nothing. */
static double felt(const gra_penalty *self, double log_reference, double policy)
{
    double slope;
    return policy == 0.0 && self->lets_go ? NAN
                                          : self->score(self, log(policy) - log_reference, &slope);
}

void gra_penalty_implied(const gra_penalty *self, const double *log_reference, const double *policy,
                         int64_t n, double beta, double *advantage)
{
    gra_sum mean = {0.0, 0.0};
    for (int64_t o = 0; o < n; o++) {
        if (policy[o] > 0.0) {
            gra_sum_add_product(&mean, policy[o], felt(self, log_reference[o], policy[o]));
        }
    }
    for (int64_t o = 0; o < n; o++) {
        advantage[o] = isfinite(log_reference[o])
                           ? beta * (gra_sum_value(mean) - felt(self, log_reference[o], policy[o]))
                           : NAN;
    }
}
