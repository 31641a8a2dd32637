/* Pairwise preferences from a margin matrix: u = Gamma pi. */
#include "model/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"
#include "linalg/linalg.h"

typedef struct margins_model {
    grpoalign_model base;
    double *margins; /* outcomes x outcomes, exactly antisymmetric */
} margins_model;

static void margins_release(grpoalign_model *self)
{
    gra_release(((margins_model *)self)->margins);
}

static grpoalign_status margins_advantage(const grpoalign_model *self, const double *policy,
                                          double *advantage, gra_arena *arena,
                                          grpoalign_error *error)
{
    int64_t n = self->outcomes;
    (void)arena, (void)error;
    gra_matvec_exact(n, n, ((const margins_model *)self)->margins, n, policy, 0.0, 0.0, advantage);
    return GRPOALIGN_OK;
}

static grpoalign_status margins_jacobian(const grpoalign_model *self, const double *policy,
                                         double *jacobian, int64_t stride, gra_arena *arena,
                                         grpoalign_error *error)
{
    int64_t n = self->outcomes;
    (void)policy, (void)arena, (void)error;
    for (int64_t i = 0; i < n; i++) {
        memcpy(jacobian + i * stride, ((const margins_model *)self)->margins + i * n,
               (size_t)n * sizeof(double));
    }
    return GRPOALIGN_OK;
}

static int game_advantage(const gra_game *self, const double *w, double shift, int accuracy,
                          double *a, gra_arena *arena)
{
    (void)accuracy, (void)arena;
    gra_matvec_exact(self->classes, self->classes, self->margins, self->classes, w, shift, 0.0, a);
    return 1;
}

static int game_jacobian(const gra_game *self, const double *w, int accuracy, double *jacobian,
                         gra_arena *arena)
{
    (void)w, (void)accuracy, (void)arena;
    memcpy(jacobian, self->margins, (size_t)(self->classes * self->classes) * sizeof(double));
    return 1;
}

void gra_game_from_margins(gra_game *game, const double *margins, int64_t classes)
{
    game->classes = game->levels = classes;
    game->distribution = NULL;
    game->advantage = game_advantage;
    game->jacobian = game_jacobian;
    game->margins = margins;
    double largest = gra_max(margins, classes * classes);
    game->error = 1.2e-16 * fmax(1.0, largest); /* one rounding of a number below it */
    game->contraction = largest;
}

grpoalign_status gra_margins_structure(const double *margins, int64_t n, gra_structure *out,
                                       int64_t *class_of, gra_arena *arena, grpoalign_error *error)
{
    int64_t classes, *first = gra_arena_take(arena, n, sizeof *first);
    if (first == NULL || !gra_merge_equal_rows(margins, n, n, class_of, first, &classes, arena)) {
        return gra_fail_memory(error);
    }
    out->classes = classes;
    if (classes == 1) {
        out->kind = GRA_FLAT;
        return GRPOALIGN_OK;
    }
    if (classes == 2) {
        double margin = margins[first[0] * n + first[1]];
        out->kind = GRA_RANKED;
        out->ranked_scale = fabs(margin);
        for (int64_t i = 0; margin > 0.0 && i < n; i++) {
            class_of[i] = 1 - class_of[i]; /* classes ascend */
        }
        return GRPOALIGN_OK;
    }
    const double *matrix = margins;
    if (classes < n) {
        double *merged = gra_arena_doubles(arena, classes * classes);
        if (merged == NULL) {
            return gra_fail_memory(error);
        }
        for (int64_t i = 0; i < classes; i++) {
            for (int64_t j = 0; j < classes; j++) {
                merged[i * classes + j] = margins[first[i] * n + first[j]];
            }
        }
        matrix = merged;
    }
    out->kind = GRA_GAME;
    gra_game_from_margins(&out->game, matrix, classes);
    return GRPOALIGN_OK;
}

int gra_game_of(const gra_structure *structure, gra_game *own, const gra_game **game,
                gra_arena *arena)
{
    int64_t n = structure->classes;
    *game = own;
    if (structure->kind == GRA_GAME) {
        *game = &structure->game;
    } else if (structure->kind == GRA_AFFINE) {
        gra_game_from_affine(own, &structure->affine);
    } else { /* ranked: classes ascend */
        double *margins = gra_arena_doubles(arena, n * n);
        for (int64_t i = 0; margins != NULL && i < n * n; i++) {
            int64_t row = i / n, column = i % n;
            margins[i] = structure->ranked_scale * (double)((row > column) - (row < column));
        }
        *own = (gra_game){0};
        if (margins != NULL) {
            gra_game_from_margins(own, margins, n);
        }
        return margins != NULL;
    }
    return 1;
}

static grpoalign_status margins_structure(const grpoalign_model *self,
                                          const unsigned char *supported, gra_structure *out,
                                          gra_arena *arena, grpoalign_error *error)
{
    int64_t n = self->outcomes, kept = 0;
    const double *margins = ((const margins_model *)self)->margins;
    int64_t *class_of = gra_arena_take(arena, n, sizeof *class_of);
    int64_t *outcome_at = gra_arena_take(arena, n, sizeof *outcome_at);
    int64_t *class_at = gra_arena_take(arena, n, sizeof *class_at);
    if (class_of == NULL || outcome_at == NULL || class_at == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t o = 0; o < n; o++) {
        if (supported[o]) {
            outcome_at[kept++] = o;
        }
    }
    if (kept < n) {
        double *part = gra_arena_doubles(arena, kept * kept);
        if (part == NULL) {
            return gra_fail_memory(error);
        }
        for (int64_t i = 0; i < kept; i++) {
            for (int64_t j = 0; j < kept; j++) {
                part[i * kept + j] = margins[outcome_at[i] * n + outcome_at[j]];
            }
        }
        margins = part;
    }
    GRA_TRY(gra_margins_structure(margins, kept, out, class_at, arena, error));
    for (int64_t o = 0; o < n; o++) {
        class_of[o] = -1;
    }
    for (int64_t i = 0; i < kept; i++) {
        class_of[outcome_at[i]] = class_at[i];
    }
    out->class_of = class_of;
    return GRPOALIGN_OK;
}

static const gra_model_ops MARGINS_OPS = {.release = margins_release,
                                          .advantage = margins_advantage,
                                          .jacobian = margins_jacobian,
                                          .structure = margins_structure,
                                          .has_margins = 1};

grpoalign_status gra_margins_new(const double *margins, int64_t n, int64_t stride,
                                 grpoalign_model **out, grpoalign_error *error)
{
    grpoalign_model *base;
    GRA_TRY(gra_model_allocate(sizeof(margins_model), &MARGINS_OPS, n, NULL, &base, error));
    margins_model *model = (margins_model *)base;
    int64_t elements;
    model->margins =
        __builtin_mul_overflow(n, n, &elements) ? NULL : gra_alloc(elements, sizeof(double));
    if (model->margins == NULL) {
        gra_model_free(base);
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < i; j++) {
            /* Adding 0 makes -0 into 0, so that equal rows are equal bit for bit. */
            double margin = 0.5 * (margins[i * stride + j] - margins[j * stride + i]) + 0.0;
            model->margins[i * n + j] = margin;
            model->margins[j * n + i] = 0.0 - margin;
        }
    }
    *out = base;
    return GRPOALIGN_OK;
}
