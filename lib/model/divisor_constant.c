/* One divisor for every policy: unscaled rewards. */
#include "model/divisor.h"

#include <float.h>
#include <math.h>

static int moments(const gra_divisor *self, int64_t k, const double *policy, int for_bounds,
                   gra_arena *arena, gra_moments *out)
{
    (void)self, (void)k, (void)policy, (void)for_bounds, (void)arena;
    *out = (gra_moments){.mean_gap = 0.0};
    return 1;
}

static double inverse(const gra_divisor *self, const gra_moments *of)
{
    (void)of;
    return self->low;
}

static int gradient(const gra_divisor *self, const double *policy, gra_arena *arena, double *out)
{
    (void)policy, (void)arena;
    for (int64_t c = 0; c < self->classes; c++) {
        out[c] = 0.0;
    }
    return 1;
}

static const gra_divisor_kind CONSTANT = {
    .moments = moments, .inverse = inverse, .gradient = gradient};

void gra_divisor_constant(gra_divisor *out, int64_t classes, double inverse_value)
{
    double value = fmin(inverse_value, DBL_MAX);
    *out = (gra_divisor){.kind = &CONSTANT,
                         .classes = classes,
                         .low = value,
                         .high = value,
                         .constant = 1,
                         .falls = 1,
                         .ratio_falls = 1};
}
