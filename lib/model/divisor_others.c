/* The std of the other members, three levels and more: 1/divisor = E[1/(s + epsilon)]. */
#include "model/divisor.h"

#include <math.h>

#include "base/numeric.h"
#include "model/model.h"

typedef struct others {
    const gra_expectation *expectation;
    const double *distribution;
} others;

/* 1/divisor, and its gradient over the classes unless NULL. 0 on short memory. */
static int evaluate(const gra_divisor *self, const double *policy, gra_arena *arena, double *value,
                    double *gradient)
{
    const others *data = self->data;
    const gra_expectation *e = data->expectation;
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *w = gra_arena_doubles(arena, e->levels);
    double *slope = gra_arena_doubles(arena, e->levels);
    int done = w != NULL && slope != NULL;
    if (done) {
        gra_game levels = {
            .classes = self->classes, .levels = e->levels, .distribution = data->distribution};
        gra_game_to_levels(&levels, policy, w);
        done = gra_expectation_inverse_divisor(e, w, value, gradient != NULL ? slope : NULL, arena);
        if (done && gradient != NULL) {
            gra_game_to_classes(&levels, slope, gradient);
        }
    }
    gra_arena_rewind(arena, mark);
    return done;
}

static int moments(const gra_divisor *self, int64_t k, const double *policy, int for_bounds,
                   gra_arena *arena, gra_moments *out)
{
    (void)k, (void)for_bounds;
    *out = (gra_moments){.own = 0.0};
    return evaluate(self, policy, arena, &out->own, NULL);
}

static double inverse(const gra_divisor *self, const gra_moments *of)
{
    (void)self;
    return of->own;
}

static int gradient(const gra_divisor *self, const double *policy, gra_arena *arena, double *out)
{
    double value;
    return evaluate(self, policy, arena, &value, out);
}

static double ceiling(const gra_divisor *self, const gra_moments *of)
{
    (void)of;
    return self->high;
}

static const gra_divisor_kind OTHERS = {
    .moments = moments, .inverse = inverse, .gradient = gradient, .ceiling = ceiling};

int gra_divisor_others(gra_divisor *out, int64_t classes, const gra_expectation *expectation,
                       const double *distribution, gra_arena *arena)
{
    const gra_expectation *e = expectation;
    double n = (double)e->members, range = e->x[e->levels - 1] - e->x[0], nearest = range;
    others *data = gra_arena_take(arena, 1, sizeof *data);
    if (data == NULL) {
        return 0;
    }
    for (int64_t l = 1; l < e->levels; l++) {
        nearest = fmin(nearest, e->x[l] - e->x[l - 1]);
    }
    *data = (others){expectation, distribution};
    *out =
        (gra_divisor){.kind = &OTHERS,
                      .data = data,
                      .classes = classes,
                      .low = fmin(e->raw, e->factor / (0.5 * range + e->epsilon)),
                      .high = fmax(e->raw, e->factor / (nearest * sqrt(n - 1.0) / n + e->epsilon))};
    return 1;
}
