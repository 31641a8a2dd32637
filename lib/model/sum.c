/*
 * Weighted sums of preference models, u = sum_k w_k u^(k): several rewards, each normalised by
 * itself, margins beside rewards, and what else is added up.
 *
 * A term sees a policy through its own classes. Outcomes that are one class in every term are one
 * class of the sum. Unscaled rewards add up to unscaled rewards, and antisymmetric games to an
 * antisymmetric game (r_i - r_j is antisymmetric, too), which has one stationary policy whatever the
 * penalty; anything else is a game whose Jacobian is the sum of those of its terms.
 */
#include "model/model.h"

#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

typedef struct sum_model {
    grpoalign_model base;
    int64_t terms;
    const grpoalign_model **models; /* shares */
    double *weights;
} sum_model;

static void sum_release(grpoalign_model *self)
{
    sum_model *sum = (sum_model *)self;
    for (int64_t k = 0; sum->models != NULL && k < sum->terms; k++) {
        gra_model_free((grpoalign_model *)(uintptr_t)sum->models[k]);
    }
    gra_release(sum->models);
    gra_release(sum->weights);
}

static grpoalign_status sum_advantage(const grpoalign_model *self, const double *policy,
                                      double *advantage, gra_arena *arena, grpoalign_error *error)
{
    const sum_model *sum = (const sum_model *)self;
    int64_t n = self->outcomes;
    double *u = gra_arena_doubles(arena, n);
    gra_sum *total = gra_arena_take(arena, n, sizeof *total);
    if (u == NULL || total == NULL) {
        return gra_fail_memory(error);
    }
    memset(total, 0, (size_t)n * sizeof *total);
    for (int64_t k = 0; k < sum->terms; k++) {
        GRA_TRY(sum->models[k]->ops->advantage(sum->models[k], policy, u, arena, error));
        for (int64_t o = 0; o < n; o++) {
            gra_sum_add_product(&total[o], sum->weights[k], u[o]);
        }
    }
    for (int64_t o = 0; o < n; o++) {
        advantage[o] = gra_sum_value(total[o]);
    }
    return GRPOALIGN_OK;
}

static grpoalign_status sum_jacobian(const grpoalign_model *self, const double *policy,
                                     double *jacobian, int64_t stride, gra_arena *arena,
                                     grpoalign_error *error)
{
    const sum_model *sum = (const sum_model *)self;
    int64_t n = self->outcomes, elements;
    int fits = !__builtin_mul_overflow(n, n, &elements);
    double *slopes = fits ? gra_arena_doubles(arena, elements) : NULL,
           *sums = fits ? gra_arena_doubles(arena, elements) : NULL;
    if (slopes == NULL || sums == NULL) {
        return gra_fail_memory(error);
    }
    memset(sums, 0, (size_t)elements * sizeof(double));
    for (int64_t k = 0; k < sum->terms; k++) {
        GRA_TRY(sum->models[k]->ops->jacobian(sum->models[k], policy, slopes, n, arena, error));
        for (int64_t i = 0; i < elements; i++) {
            sums[i] += sum->weights[k] * slopes[i];
        }
    }
    for (int64_t i = 0; i < n; i++) {
        memcpy(jacobian + i * stride, sums + i * n, (size_t)n * sizeof(double));
    }
    return GRPOALIGN_OK;
}

/* ---- the structure -------------------------------------------------------------------------- */

/* A term over the outcomes that are supported. */
typedef struct term {
    gra_structure structure;
    double weight;
    const int64_t *class_at; /* of the term, per class of the sum */
    const gra_game *game;    /* of a sum that is a game */
    gra_game own;
} term;

typedef struct sum_game {
    int64_t count;
    term *terms; /* without those that are flat */
} sum_game;

static void release_terms(sum_game *self)
{
    for (int64_t k = 0; k < self->count; k++) {
        gra_structure_release(&self->terms[k].structure);
    }
    self->count = 0;
}

static grpoalign_status take_terms(const sum_model *sum, const unsigned char *supported,
                                   sum_game *self, gra_arena *arena, grpoalign_error *error)
{
    self->count = 0;
    self->terms = gra_arena_take(arena, sum->terms, sizeof *self->terms);
    if (self->terms == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t k = 0; k < sum->terms; k++) {
        term *at = &self->terms[self->count];
        memset(at, 0, sizeof *at);
        at->weight = sum->weights[k];
        grpoalign_status status =
            sum->models[k]->ops->structure(sum->models[k], supported, &at->structure, arena, error);
        if (status < 0) {
            gra_structure_release(&at->structure);
            return status;
        }
        self->count += at->structure.kind != GRA_FLAT;
    }
    return GRPOALIGN_OK;
}

/* Outcomes that are one class in every term. 0 on short memory. */
static int join_classes(const sum_game *self, int64_t outcomes, const unsigned char *supported,
                        gra_structure *out, gra_arena *arena)
{
    double *joint = gra_arena_doubles(arena, outcomes), *next = gra_arena_doubles(arena, outcomes);
    int64_t *level_of = gra_arena_take(arena, outcomes, sizeof *level_of), levels = 1;
    int64_t *first = gra_arena_take(arena, outcomes, sizeof *first);
    if (joint == NULL || next == NULL || level_of == NULL || first == NULL) {
        return 0;
    }
    memset(joint, 0, (size_t)outcomes * sizeof(double));
    memset(level_of, 0, (size_t)outcomes * sizeof *level_of);
    for (int64_t k = 0; k < self->count; k++) {
        for (int64_t o = 0; o < outcomes; o++) {
            joint[o] = (double)level_of[o];
            next[o] = (double)self->terms[k].structure.class_of[o];
        }
        if (!gra_levels_build(joint, next, outcomes, level_of, first, &levels, arena)) {
            return 0;
        }
    }
    if (!gra_classes_from_levels(level_of, outcomes, levels, supported, out, NULL, arena)) {
        return 0;
    }
    for (int64_t k = 0; k < self->count; k++) {
        int64_t *class_at = gra_arena_take(arena, out->classes, sizeof *class_at);
        for (int64_t o = 0; class_at != NULL && o < outcomes; o++) {
            if (out->class_of[o] >= 0) {
                class_at[out->class_of[o]] = self->terms[k].structure.class_of[o];
            }
        }
        self->terms[k].class_at = class_at;
        if (class_at == NULL) {
            return 0;
        }
    }
    return 1;
}

/* ---- antisymmetric terms ---- */

static int is_constant(const gra_structure *structure)
{
    return structure->kind == GRA_AFFINE && structure->affine.divisor.constant;
}

static int is_antisymmetric(const gra_structure *structure)
{
    return is_constant(structure) || structure->kind == GRA_RANKED ||
           (structure->kind == GRA_GAME && structure->game.margins != NULL);
}

/* What class i gains for each unit of class j. */
static double margin_of(const gra_structure *structure, int64_t i, int64_t j)
{
    const gra_affine *affine = &structure->affine;
    switch (structure->kind) {
    case GRA_RANKED:
        return structure->ranked_scale * (double)((i > j) - (i < j));
    case GRA_AFFINE:
        return affine->divisor.low * (affine->reward != NULL ? affine->reward[i] - affine->reward[j]
                                                             : affine->gap[j] - affine->gap[i]);
    default:
        return structure->game.margins[i * structure->game.classes + j];
    }
}

/* One matrix for the sum. */
static grpoalign_status sum_of_margins(const sum_game *self, int64_t outcomes, gra_structure *out,
                                       gra_arena *arena, grpoalign_error *error)
{
    int64_t n = out->classes, *merged_at = gra_arena_take(arena, n, sizeof *merged_at);
    int64_t *class_of = gra_arena_take(arena, outcomes, sizeof *class_of);
    double *margins = gra_arena_doubles(arena, n * n);
    if (merged_at == NULL || class_of == NULL || margins == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < n; i++) {
        margins[i * n + i] = 0.0;
        for (int64_t j = 0; j < i; j++) {
            gra_sum margin = {0.0, 0.0};
            for (int64_t k = 0; k < self->count; k++) {
                const term *at = &self->terms[k];
                gra_sum_add_product(&margin, at->weight,
                                    margin_of(&at->structure, at->class_at[i], at->class_at[j]));
            }
            margins[i * n + j] = gra_sum_value(margin) + 0.0; /* no -0 */
            margins[j * n + i] = 0.0 - margins[i * n + j];
        }
    }
    gra_structure merged = {0};
    GRA_TRY(gra_margins_structure(margins, n, &merged, merged_at, arena, error));
    for (int64_t o = 0; o < outcomes; o++) {
        class_of[o] = out->class_of[o] >= 0 ? merged_at[out->class_of[o]] : -1;
    }
    merged.class_of = class_of;
    *out = merged;
    return GRPOALIGN_OK;
}

/* ---- any terms ---- */

/* The advantages of a term's classes at a policy of the sum's, by `check` where that is set and
 * known. 0 on short memory. */
static int term_advantage(const term *self, int64_t classes, const double *policy, int accuracy,
                          int check, double *u, gra_arena *arena)
{
    const gra_game *game = self->game;
    double *own = gra_arena_doubles(arena, game->classes),
           *w = gra_arena_doubles(arena, game->levels), *a = gra_arena_doubles(arena, game->levels);
    if (own == NULL || w == NULL || a == NULL) {
        return 0;
    }
    memset(own, 0, (size_t)game->classes * sizeof(double));
    for (int64_t c = 0; c < classes; c++) {
        own[self->class_at[c]] += policy[c];
    }
    gra_game_to_levels(game, own, w);
    int done = check && game->check != NULL ? game->check(game, w, 0.0, a, arena) : -1;
    if (done < 0) {
        done = game->advantage(game, w, 0.0, accuracy, a, arena);
    }
    if (done) {
        gra_game_to_classes(game, a, u);
    }
    return done;
}

static int add_terms(const gra_game *self, const double *policy, double shift, int accuracy,
                     int check, double *a, gra_arena *arena)
{
    const sum_game *sum = self->data;
    int64_t n = self->classes;
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *u = gra_arena_doubles(arena, n);
    gra_sum *total = gra_arena_take(arena, n, sizeof *total);
    int done = total != NULL && u != NULL;
    for (int64_t c = 0; done && c < n; c++) {
        total[c] = (gra_sum){-shift, 0.0};
    }
    for (int64_t k = 0; done && k < sum->count; k++) {
        const term *at = &sum->terms[k];
        done = term_advantage(at, n, policy, accuracy, check, u, arena);
        for (int64_t c = 0; done && c < n; c++) {
            gra_sum_add_product(&total[c], at->weight, u[at->class_at[c]]);
        }
    }
    for (int64_t c = 0; done && c < n; c++) {
        a[c] = gra_sum_value(total[c]);
    }
    gra_arena_rewind(arena, mark);
    return done;
}

static int game_advantage(const gra_game *self, const double *w, double shift, int accuracy,
                          double *a, gra_arena *arena)
{
    return add_terms(self, w, shift, accuracy, 0, a, arena);
}

/* Roundings of a term's advantages, relative to the largest; one of a sum, to its terms. */
static const double TERM_ERROR = 1e-15, SUM_ERROR = 4e-16;

/* A term that has no second way is known to its roundings, which have alternating signs for the
 * worst. */
static int game_check(const gra_game *self, const double *w, double shift, double *a,
                      gra_arena *arena)
{
    const sum_game *sum = self->data;
    int64_t n = self->classes;
    double bound = 0.0;
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *u = gra_arena_doubles(arena, n);
    int done = u != NULL;
    for (int64_t k = 0; done && k < sum->count; k++) {
        const term *at = &sum->terms[k];
        if (at->game->check == NULL) {
            done = term_advantage(at, n, w, GRA_EXACT, 0, u, arena);
            for (int64_t c = 0; done && c < at->game->classes; c++) {
                bound = fmax(bound, TERM_ERROR * fabs(at->weight * u[c]));
            }
        }
    }
    done = done && add_terms(self, w, shift, GRA_EXACT, 1, a, arena);
    for (int64_t c = 0; done && c < n; c++) {
        a[c] += (c & 1) != 0 ? bound : -bound;
    }
    gra_arena_rewind(arena, mark);
    return done;
}

static int game_jacobian(const gra_game *self, const double *policy, int accuracy, double *jacobian,
                         gra_arena *arena)
{
    const sum_game *sum = self->data;
    int64_t n = self->classes;
    memset(jacobian, 0, (size_t)(n * n) * sizeof(double));
    for (int64_t k = 0; k < sum->count; k++) {
        const term *at = &sum->terms[k];
        const gra_game *game = at->game;
        int64_t m = game->classes;
        gra_arena_mark_t mark = gra_arena_mark(arena);
        double *own = gra_arena_doubles(arena, m), *w = gra_arena_doubles(arena, game->levels),
               *slopes = gra_arena_doubles(arena, m * m);
        int done = own != NULL && w != NULL && slopes != NULL;
        for (int64_t c = 0; done && c < m; c++) {
            own[c] = 0.0;
        }
        for (int64_t c = 0; done && c < n; c++) {
            own[at->class_at[c]] += policy[c];
        }
        if (done) {
            gra_game_to_levels(game, own, w);
            done = gra_game_class_jacobian(game, w, accuracy, slopes, arena);
        }
        for (int64_t i = 0; done && i < n * n; i++) {
            jacobian[i] += at->weight * slopes[at->class_at[i / n] * m + at->class_at[i % n]];
        }
        gra_arena_rewind(arena, mark);
        if (!done) {
            return 0;
        }
    }
    return 1;
}

static void game_release(gra_game *self)
{
    release_terms(self->data);
}

static grpoalign_status sum_of_games(const sum_game *terms, gra_structure *out, gra_arena *arena,
                                     grpoalign_error *error)
{
    sum_game *self = gra_arena_take(arena, 1, sizeof *self);
    if (self == NULL) {
        return gra_fail_memory(error);
    }
    *self = *terms;
    gra_game game = {.classes = out->classes,
                     .levels = out->classes,
                     .advantage = game_advantage,
                     .jacobian = game_jacobian,
                     .check = game_check,
                     .data = self,
                     .release = game_release};
    for (int64_t k = 0; k < self->count; k++) {
        term *at = &self->terms[k];
        double weight = fabs(at->weight);
        if (!gra_game_of(&at->structure, &at->own, &at->game, arena)) {
            return gra_fail_memory(error);
        }
        game.error += weight * (at->game->error + SUM_ERROR);
        game.coarse_error += weight * at->game->coarse_error;
        game.contraction += weight * at->game->contraction;
    }
    out->kind = GRA_GAME;
    out->game = game;
    return GRPOALIGN_OK;
}

/* ---- of all kinds ---- */

static grpoalign_status add_structures(sum_game *terms, int64_t outcomes, gra_structure *out,
                                       gra_arena *arena, grpoalign_error *error)
{
    int antisymmetric = 1;
    for (int64_t k = 0; k < terms->count; k++) {
        antisymmetric = antisymmetric && is_antisymmetric(&terms->terms[k].structure);
    }
    if (terms->count == 0) {
        return GRPOALIGN_OK; /* flat */
    }
    if (terms->count == 1 && terms->terms[0].weight == 1.0) {
        *out = terms->terms[0].structure;
        terms->count = 0; /* handed over */
        return GRPOALIGN_OK;
    }
    if (out->classes > GRA_DENSE_LIMIT) {
        return gra_fail(error, GRPOALIGN_ERR_TOO_LARGE, 0, -1,
                        "a sum of models may have at most %lld classes of outcomes that differ in "
                        "some term (these have %lld)",
                        (long long)GRA_DENSE_LIMIT, (long long)out->classes);
    }
    return antisymmetric ? sum_of_margins(terms, outcomes, out, arena, error)
                         : sum_of_games(terms, out, arena, error);
}

static grpoalign_status sum_structure(const grpoalign_model *self, const unsigned char *supported,
                                      gra_structure *out, gra_arena *arena, grpoalign_error *error)
{
    sum_game terms;
    memset(out, 0, sizeof *out);
    grpoalign_status status = take_terms((const sum_model *)self, supported, &terms, arena, error);
    if (status >= 0) {
        status = join_classes(&terms, self->outcomes, supported, out, arena)
                     ? GRPOALIGN_OK
                     : gra_fail_memory(error);
    }
    if (status >= 0) {
        status = add_structures(&terms, self->outcomes, out, arena, error);
    }
    if (status < 0 || out->kind != GRA_GAME || out->game.release != game_release) {
        release_terms(&terms);
    }
    return status;
}

static const gra_model_ops SUM_OPS = {.release = sum_release,
                                      .advantage = sum_advantage,
                                      .jacobian = sum_jacobian,
                                      .structure = sum_structure};

/* ---- constructors --------------------------------------------------------------------------- */

/* The rewards of the sum, times the factors of unscaled models where `scaled`; NULL on short
 * memory, or where a term has none. */
static double *add_rewards(const grpoalign_model *const *models, const double *weights,
                           int64_t count, int scaled, gra_arena *arena)
{
    int64_t n = models[0]->outcomes;
    double *sum = gra_arena_doubles(arena, n);
    for (int64_t o = 0; sum != NULL && o < n; o++) {
        gra_sum total = {0.0, 0.0};
        for (int64_t k = 0; k < count; k++) {
            double weight = weights[k] * (scaled ? models[k]->unscaled : 1.0);
            if (weight != 0.0) {
                gra_sum_add_product(&total, weight, models[k]->rewards[o]);
            }
        }
        sum[o] = gra_sum_value(total);
    }
    return sum;
}

/* Unscaled rewards are unscaled rewards again. */
static grpoalign_status sum_of_unscaled(const grpoalign_model *const *models, const double *weights,
                                        int64_t count, const double *rewards, grpoalign_model **out,
                                        gra_arena *arena, grpoalign_error *error)
{
    const gra_convention unscaled = {.scale = GRPOALIGN_SCALE_NONE};
    int64_t n = models[0]->outcomes;
    double *scaled = add_rewards(models, weights, count, 1, arena);
    if (scaled == NULL) {
        return gra_fail_memory(error);
    }
    GRA_TRY(gra_limit_new(scaled, NULL, n, &unscaled, out, error));
    memcpy((*out)->rewards, rewards, (size_t)n * sizeof(double));
    return GRPOALIGN_OK;
}

static grpoalign_status sum_of_any(const grpoalign_model *const *models, const double *weights,
                                   int64_t count, const double *rewards, grpoalign_model **out,
                                   grpoalign_error *error)
{
    grpoalign_model *base;
    GRA_TRY(gra_model_allocate(sizeof(sum_model), &SUM_OPS, models[0]->outcomes, rewards, &base,
                               error));
    sum_model *sum = (sum_model *)base;
    base->by_mean_reward = 0; /* each term has a scale of its own */
    sum->models = gra_alloc(count, sizeof *sum->models);
    sum->weights = gra_alloc(count, sizeof *sum->weights);
    if (sum->models == NULL || sum->weights == NULL) {
        gra_model_free(base);
        return gra_fail_memory(error);
    }
    for (int64_t k = 0; k < count; k++) {
        if (weights[k] != 0.0) {
            gra_handle_retain(&models[k]->handle);
            sum->models[sum->terms] = models[k];
            sum->weights[sum->terms++] = weights[k];
            base->expectation = base->expectation != 0 ? base->expectation : models[k]->expectation;
        }
    }
    *out = base;
    return GRPOALIGN_OK;
}

static int64_t first_not_finite(const double *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            return i;
        }
    }
    return -1;
}

grpoalign_status gra_sum_new(const grpoalign_model *const *models, const double *weights,
                             int64_t count, grpoalign_model **out, grpoalign_error *error)
{
    int unscaled = 1, rewarded = 1;
    gra_arena arena = GRA_ARENA_INIT;
    for (int64_t k = 0; k < count; k++) {
        unscaled = unscaled && models[k]->unscaled > 0.0 && models[k]->deviations == NULL;
        rewarded = rewarded && models[k]->rewards != NULL;
    }
    double *rewards = rewarded ? add_rewards(models, weights, count, 0, &arena) : NULL;
    int64_t beyond = rewards != NULL ? first_not_finite(rewards, models[0]->outcomes) : -1;
    grpoalign_status status =
        rewarded && rewards == NULL ? gra_fail_memory(error)
        : beyond >= 0               ? gra_fail(error, GRPOALIGN_ERR_NOT_FINITE, 2, -1,
                                               "the weighted rewards of outcome %lld must add up to a finite "
                                                             "number (they are %g)",
                                               (long long)beyond, rewards[beyond])
        : unscaled && rewards != NULL
            ? sum_of_unscaled(models, weights, count, rewards, out, &arena, error)
            : sum_of_any(models, weights, count, rewards, out, error);
    gra_arena_free(&arena);
    return status;
}
