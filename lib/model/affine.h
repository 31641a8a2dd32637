/*
 * Affine advantages: u_c(pi) = (m - gap_c) / divisor(pi), m = sum pi gap, gap_c >= 0 being how far
 * the mean reward of class c falls short of the best. Large groups, unscaled rewards, two reward
 * levels and the std of others are of this kind; they differ in the divisor.
 */
#ifndef GRA_MODEL_AFFINE_H
#define GRA_MODEL_AFFINE_H

#include <stdint.h>

#include "model/divisor.h"

typedef struct gra_affine {
    int64_t classes;
    const double *gap;    /* >= 0, smallest 0, not all 0 */
    const double *reward; /* what the gaps are differences of, exact where the gaps are rounded;
                             NULL for -gap */
    gra_divisor divisor;
} gra_affine;

/*
 * The mean reward of a policy as pivot - offset, pivot being the reward of the class that weighs
 * most: differences from the mean then keep their digits when that class holds nearly everything.
 */
typedef struct gra_centre {
    int64_t heaviest;
    double pivot, offset;
} gra_centre;

/* reward: NULL for -gap. */
gra_centre gra_find_centre(int64_t classes, const double *gap, const double *reward,
                           const double *policy);

/* How far class c falls short of the mean reward (negative where it exceeds it). */
static inline double gra_deviation(const double *gap, const double *reward, gra_centre centre,
                                   int64_t c)
{
    return (centre.pivot - (reward != NULL ? reward[c] : -gap[c])) - centre.offset;
}

static inline gra_centre gra_affine_centre(const gra_affine *self, const double *policy)
{
    return gra_find_centre(self->classes, self->gap, self->reward, policy);
}

static inline double gra_affine_deviation(const gra_affine *self, gra_centre centre, int64_t c)
{
    return gra_deviation(self->gap, self->reward, centre, c);
}

/* 1/divisor at a policy, in *inverse. Returns 0 when memory is short. */
int gra_affine_inverse(const gra_affine *self, const double *policy, gra_arena *arena,
                       double *inverse);

#endif
