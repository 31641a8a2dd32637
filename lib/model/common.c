/* What all models share: the handle's head, and merging equal rewards into levels. */
#include "model/model.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"
#include "linalg/linalg.h"

grpoalign_status gra_model_allocate(size_t size, const gra_model_ops *ops, int64_t outcomes,
                                    const double *rewards, grpoalign_model **out,
                                    grpoalign_error *error)
{
    grpoalign_model *model = gra_alloc(1, size);
    double *copy = rewards != NULL ? gra_alloc(outcomes, sizeof(double)) : NULL;
    if (model == NULL || (rewards != NULL && copy == NULL)) {
        gra_release(model);
        gra_release(copy);
        return gra_fail_memory(error);
    }
    if (copy != NULL) {
        memcpy(copy, rewards, (size_t)outcomes * sizeof(double));
    }
    gra_handle_start(&model->handle, GRA_MODEL_MAGIC);
    model->ops = ops;
    model->outcomes = outcomes;
    model->rewards = copy;
    model->by_mean_reward = copy != NULL;
    *out = model;
    return GRPOALIGN_OK;
}

void gra_model_free(grpoalign_model *model)
{
    if (model != NULL && gra_handle_release(&model->handle)) {
        model->ops->release(model);
        gra_release(model->rewards);
        gra_release(model->deviations);
        gra_release(model->values);
        gra_release(model);
    }
}

void gra_structure_release(gra_structure *structure)
{
    if (structure->kind == GRA_GAME && structure->game.release != NULL) {
        structure->game.release(&structure->game);
        structure->game.release = NULL;
    }
}

void gra_game_to_levels(const gra_game *game, const double *classes, double *levels)
{
    if (game->distribution != NULL) {
        gra_matvec_transposed(game->classes, game->levels, game->distribution, game->levels,
                              classes, levels);
    } else {
        memcpy(levels, classes, (size_t)game->levels * sizeof(double));
    }
}

void gra_game_to_classes(const gra_game *game, const double *levels, double *classes)
{
    if (game->distribution != NULL) {
        gra_matvec(game->classes, game->levels, game->distribution, game->levels, levels, classes);
    } else {
        memcpy(classes, levels, (size_t)game->levels * sizeof(double));
    }
}

int gra_game_class_jacobian(const gra_game *game, const double *w, int accuracy, double *jacobian,
                            gra_arena *arena)
{
    int64_t n = game->classes, k = game->levels;
    if (game->distribution == NULL) {
        return game->jacobian(game, w, accuracy, jacobian, arena);
    }
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *slopes = gra_arena_doubles(arena, k * k), *half = gra_arena_doubles(arena, n * k);
    int done = slopes != NULL && half != NULL && game->jacobian(game, w, accuracy, slopes, arena);
    if (done) {
        gra_matmul(n, k, k, 1.0, game->distribution, k, slopes, k, 0.0, half, k);
        gra_matmul_by_transposed(n, n, k, half, k, game->distribution, k, 0.0, jacobian, n);
    }
    gra_arena_rewind(arena, mark);
    return done;
}

/* ---- equal rows -------------------------------------------------------------------------- */

typedef struct row_key {
    uint64_t hash;
    int64_t index;
} row_key;

static int compare_rows(const void *left, const void *right)
{
    const row_key *a = left, *b = right;
    if (a->hash != b->hash) {
        return a->hash < b->hash ? -1 : 1;
    }
    return (a->index > b->index) - (a->index < b->index);
}

int gra_merge_equal_rows(const double *matrix, int64_t n, int64_t width, int64_t *class_of,
                         int64_t *first, int64_t *classes, gra_arena *arena)
{
    gra_arena_mark_t mark = gra_arena_mark(arena);
    row_key *keys = gra_arena_take(arena, n, sizeof *keys);
    int64_t *same_as = gra_arena_take(arena, n, sizeof *same_as);
    if (keys == NULL || same_as == NULL) {
        return 0;
    }
    for (int64_t i = 0; i < n; i++) {
        uint64_t hash = UINT64_C(1469598103934665603);
        for (int64_t j = 0; j < width; j++) {
            uint64_t bits;
            memcpy(&bits, &matrix[i * width + j], sizeof bits);
            hash = (hash ^ bits) * UINT64_C(1099511628211);
            hash ^= hash >> 29;
        }
        keys[i].hash = hash;
        keys[i].index = i;
    }
    qsort(keys, (size_t)n, sizeof *keys, compare_rows);
    for (int64_t i = 0; i < n; i++) {
        int64_t row = keys[i].index;
        same_as[row] = row;
        for (int64_t j = i - 1; j >= 0 && keys[j].hash == keys[i].hash; j--) {
            int64_t other = keys[j].index;
            if (same_as[other] == other && memcmp(matrix + row * width, matrix + other * width,
                                                  (size_t)width * sizeof(double)) == 0) {
                same_as[row] = other;
                break;
            }
        }
    }
    *classes = 0;
    for (int64_t i = 0; i < n; i++) {
        if (same_as[i] == i) {
            first[*classes] = i;
            class_of[i] = (*classes)++;
        }
    }
    for (int64_t i = 0; i < n; i++) {
        class_of[i] = class_of[same_as[i]];
    }
    gra_arena_rewind(arena, mark);
    return 1;
}

/* ---- an affine structure as a game over its classes ---- */

static int affine_advantage(const gra_game *self, const double *w, double shift, int accuracy,
                            double *a, gra_arena *arena)
{
    const gra_affine *affine = self->near;
    double inverse;
    (void)accuracy;
    if (!gra_affine_inverse(affine, w, arena, &inverse)) {
        return 0;
    }
    gra_centre centre = gra_affine_centre(affine, w);
    for (int64_t c = 0; c < self->classes; c++) {
        a[c] = -inverse * gra_affine_deviation(affine, centre, c) - shift;
    }
    return 1;
}

/* u_c = (m - gap_c)/divisor: d u_c = dm/divisor + (m - gap_c) d(1/divisor). */
static int affine_jacobian(const gra_game *self, const double *w, int accuracy, double *jacobian,
                           gra_arena *arena)
{
    const gra_affine *affine = self->near;
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *gradient = gra_arena_doubles(arena, self->classes), inverse;
    (void)accuracy;
    int done = gradient != NULL && gra_affine_inverse(affine, w, arena, &inverse) &&
               affine->divisor.kind->gradient(&affine->divisor, w, arena, gradient);
    gra_centre centre = gra_affine_centre(affine, w);
    for (int64_t m = 0; done && m < self->classes; m++) {
        double d = gra_affine_deviation(affine, centre, m);
        for (int64_t l = 0; l < self->classes; l++) {
            jacobian[m * self->classes + l] = inverse * affine->gap[l] - d * gradient[l];
        }
    }
    gra_arena_rewind(arena, mark);
    return done;
}

void gra_game_from_affine(gra_game *game, const gra_affine *affine)
{
    double range = gra_max(affine->gap, affine->classes);
    *game = (gra_game){.classes = affine->classes,
                       .levels = affine->classes,
                       .advantage = affine_advantage,
                       .jacobian = affine_jacobian,
                       .near = affine,
                       .error = 4.0 * DBL_EPSILON * affine->divisor.high * range,
                       .contraction =
                           affine->divisor.constant ? 0.5 * affine->divisor.low * range : INFINITY};
}

typedef struct keyed {
    double key, tie;
    int64_t index;
} keyed;

static int compare_keyed(const void *left, const void *right)
{
    const keyed *a = left, *b = right;
    if (a->key != b->key) {
        return a->key < b->key ? -1 : 1;
    }
    if (a->tie != b->tie) {
        return a->tie < b->tie ? -1 : 1;
    }
    return (a->index > b->index) - (a->index < b->index);
}

int gra_levels_build(const double *keys, const double *ties, int64_t n, int64_t *level_of,
                     int64_t *first, int64_t *levels, gra_arena *arena)
{
    gra_arena_mark_t mark = gra_arena_mark(arena);
    keyed *items = gra_arena_take(arena, n, sizeof *items);
    if (items == NULL) {
        return 0;
    }
    for (int64_t i = 0; i < n; i++) {
        items[i].key = keys[i];
        items[i].tie = ties != NULL ? ties[i] : 0.0;
        items[i].index = i;
    }
    qsort(items, (size_t)n, sizeof *items, compare_keyed);
    int64_t level = -1;
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || items[i].key != items[i - 1].key || items[i].tie != items[i - 1].tie) {
            level++;
            first[level] = items[i].index;
        }
        level_of[items[i].index] = level;
    }
    *levels = level + 1;
    gra_arena_rewind(arena, mark);
    return 1;
}

int gra_classes_from_levels(const int64_t *level_of, int64_t outcomes, int64_t levels,
                            const unsigned char *supported, gra_structure *out, int64_t **class_at,
                            gra_arena *arena)
{
    int64_t *class_of = gra_arena_take(arena, outcomes, sizeof *class_of);
    int64_t *at = gra_arena_take(arena, levels, sizeof *at);
    if (class_of == NULL || at == NULL) {
        return 0;
    }
    for (int64_t l = 0; l < levels; l++) {
        at[l] = -1;
    }
    for (int64_t o = 0; o < outcomes; o++) {
        at[level_of[o]] = supported[o] ? 0 : at[level_of[o]];
    }
    int64_t classes = 0;
    for (int64_t l = 0; l < levels; l++) {
        at[l] = at[l] == 0 ? classes++ : -1;
    }
    for (int64_t o = 0; o < outcomes; o++) {
        class_of[o] = supported[o] ? at[level_of[o]] : -1;
    }
    out->kind = GRA_FLAT;
    out->classes = classes;
    out->class_of = class_of;
    if (class_at != NULL) {
        *class_at = at;
    }
    return 1;
}

int gra_range_exponent(const double *rewards, int64_t n)
{
    double top = gra_max(rewards, n), bottom = gra_min(rewards, n), range = top - bottom;
    int exponent = 0;
    if (isinf(range)) {
        (void)frexp(0.5 * top - 0.5 * bottom, &exponent);
        exponent += 1;
    } else if (range > 0.0) {
        (void)frexp(range, &exponent);
    }
    return exponent;
}

double *gra_scale_rewards(const double *rewards, int64_t n, int exponent, gra_arena *arena)
{
    const double least = 1e-300;
    double *scaled = gra_arena_doubles(arena, n);
    for (int64_t o = 0; scaled != NULL && o < n; o++) {
        double reward = ldexp(rewards[o], -exponent);
        scaled[o] = fabs(reward) < least ? 0.0 : reward;
    }
    return scaled;
}
