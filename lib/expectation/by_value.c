/*
 * How advantages change with the value of one reward, by differences of the expectation itself.
 *
 * An advantage is an analytic function of a reward up to the next value that it could tie with, or
 * as far as epsilon reaches beyond a tie. Central differences of three widths, a small part of that
 * distance, cancel the terms up to the sixth order: what they leave is below 1e-12 of the change
 * over the distance, and so is their rounding.
 */
#include "expectation/expectation.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/status.h"

/* The widest difference, as a part of the distance. */
static const double WIDEST = 0.02;

typedef struct shifted {
    const gra_level_change *change;
    double *x, *w, *a;
    int64_t levels, at; /* `at`: the level of what is shifted */
} shifted;

/* The levels with the part of one that is shifted. */
static void shift(shifted *self, double by)
{
    const gra_level_change *c = self->change;
    int alone = c->own == c->w[c->level] && c->alone;
    int64_t next = 0;
    for (int64_t l = 0; l < c->levels; l++) {
        int here = l == c->level;
        if (here && (alone || by < 0.0)) {
            self->at = next;
            self->x[next] = c->x[l] + by;
            self->w[next++] = c->own;
        }
        if (!here || !alone) {
            self->x[next] = c->x[l];
            self->w[next++] = here ? fmax(0.0, c->w[l] - c->own) : c->w[l];
        }
        if (here && !alone && by > 0.0) {
            self->at = next;
            self->x[next] = c->x[l] + by;
            self->w[next++] = c->own;
        }
    }
    self->levels = next;
}

/* Adds factor times the advantages of the shifted levels: the last entry is what is shifted. */
static grpoalign_status add(shifted *self, double by, double factor, double *out, gra_arena *arena,
                            grpoalign_error *error)
{
    const gra_level_change *c = self->change;
    gra_expectation expectation;
    shift(self, by);
    gra_arena_mark_t mark = gra_arena_mark(arena);
    grpoalign_status status =
        gra_expectation_init(&expectation, self->x, self->levels, c->rule, 0, error);
    if (status >= 0 &&
        !gra_expectation_advantage(&expectation, self->w, GRA_EXACT, self->a, arena)) {
        status = gra_fail_memory(error);
    }
    gra_expectation_free(&expectation);
    gra_arena_rewind(arena, mark);
    for (int64_t l = 0, from = 0; status >= 0 && l < self->levels; l++) {
        int is_it = l == self->at, splits = self->levels > c->levels;
        out[c->levels] += is_it ? factor * self->a[l] : 0.0;
        if (!is_it || !splits) {
            out[from++] += factor * self->a[l];
        }
    }
    return status;
}

grpoalign_status gra_expectation_by_value(const gra_level_change *change, double *out,
                                          gra_arena *arena, grpoalign_error *error)
{
    /* Differences of widths h, h/2 and h/4, extrapolated: (64 D(h/4) - 20 D(h/2) + D(h)) / 45. */
    static const double parts[] = {1.0, 0.5, 0.25},
                        factors[] = {1.0 / 45.0, -20.0 / 45.0, 64.0 / 45.0};
    int64_t most = change->levels + 1;
    shifted self = {.change = change,
                    .x = gra_arena_doubles(arena, most),
                    .w = gra_arena_doubles(arena, most),
                    .a = gra_arena_doubles(arena, most)};
    if (self.x == NULL || self.w == NULL || self.a == NULL) {
        return gra_fail_memory(error);
    }
    memset(out, 0, (size_t)most * sizeof(double));
    for (int i = 0; i < 3; i++) {
        double h = WIDEST * change->distance * parts[i];
        volatile double up = change->x[change->level] + h, down = change->x[change->level] - h;
        double width = up - down;
        if (!(width > 0.0)) {
            return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 0, -1,
                            "rewards are too near to tell their derivatives apart");
        }
        for (int side = -1; side <= 1; side += 2) {
            GRA_TRY(add(&self,
                        side > 0 ? up - change->x[change->level] : down - change->x[change->level],
                        side * factors[i] / width, out, arena, error));
        }
    }
    return GRPOALIGN_OK;
}
