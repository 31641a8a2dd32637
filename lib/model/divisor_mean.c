/* Large groups over their mean: 1/divisor = 1/(mean + epsilon). The mean grows along a path. */
#include "model/divisor.h"

#include "base/numeric.h"

typedef struct mean_data {
    const double *reward;
    double epsilon;
} mean_data;

static int moments(const gra_divisor *self, int64_t k, const double *policy, int for_bounds,
                   gra_arena *arena, gra_moments *out)
{
    const mean_data *data = self->data;
    gra_sum mean = {0.0, 0.0};
    (void)k, (void)for_bounds, (void)arena;
    for (int64_t c = 0; c < self->classes; c++) {
        gra_sum_add_product(&mean, policy[c], data->reward[c]);
    }
    *out = (gra_moments){.own = gra_sum_value(mean)};
    return 1;
}

static double inverse(const gra_divisor *self, const gra_moments *of)
{
    return 1.0 / (of->own + ((const mean_data *)self->data)->epsilon);
}

static int gradient(const gra_divisor *self, const double *policy, gra_arena *arena, double *out)
{
    const mean_data *data = self->data;
    gra_moments of;
    (void)moments(self, 0, policy, 0, arena, &of);
    double value = inverse(self, &of);
    for (int64_t c = 0; c < self->classes; c++) {
        out[c] = -value * value * data->reward[c];
    }
    return 1;
}

static const gra_divisor_kind MEAN = {.moments = moments, .inverse = inverse, .gradient = gradient};

int gra_divisor_mean(gra_divisor *out, int64_t classes, const double *reward, double best,
                     double least, double epsilon, gra_arena *arena)
{
    mean_data *data = gra_arena_take(arena, 1, sizeof *data);
    if (data == NULL) {
        return 0;
    }
    *data = (mean_data){reward, epsilon};
    *out = (gra_divisor){.kind = &MEAN,
                         .data = data,
                         .classes = classes,
                         .low = 1.0 / (best + epsilon),
                         .high = 1.0 / (least + epsilon),
                         .falls = 1,
                         .ratio_falls = 1};
    return 1;
}
