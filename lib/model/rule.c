/*
 * Any rule of a group, as a table over the compositions of the others: the advantages of the levels
 * are its expectations. Two levels are one unknown: the difference of their advantages is a
 * polynomial in the probability of the upper one, and the model declares its coefficients.
 */
#include "model/model.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/polynomial.h"
#include "base/status.h"
#include "expectation/compositions.h"

typedef struct rule_model {
    grpoalign_model base;
    gra_compositions rule;
    int64_t *level_of;
    double largest; /* |advantage| */
    /* Of two levels: u_1 - u_0 by the number of others at level 1, and its differences; or NULL. */
    double *contrast, *difference;
} rule_model;

static void rule_release(grpoalign_model *self)
{
    rule_model *model = (rule_model *)self;
    gra_compositions_free(&model->rule);
    gra_release(model->level_of);
    gra_release(model->contrast);
    gra_release(model->difference);
}

/* ---- advantages ------------------------------------------------------------------------------ */

static double *level_weights(const rule_model *model, const double *policy, gra_arena *arena)
{
    double *w = gra_arena_doubles(arena, model->rule.levels);
    if (w != NULL) {
        memset(w, 0, (size_t)model->rule.levels * sizeof *w);
        for (int64_t o = 0; o < model->base.outcomes; o++) {
            w[model->level_of[o]] += policy[o];
        }
    }
    return w;
}

static void centre(const double *w, int64_t levels, double *a)
{
    gra_sum mean = {0.0, 0.0};
    for (int64_t l = 0; l < levels; l++) {
        gra_sum_add_product(&mean, w[l], a[l]);
    }
    for (int64_t l = 0; l < levels; l++) {
        a[l] -= gra_sum_value(mean);
    }
}

/* Centred advantages of the levels. Those of two come from their difference, which keeps its
 * digits. 0 on short memory. */
static int level_advantages(const rule_model *model, const double *w, double *a, gra_arena *arena)
{
    if (model->contrast != NULL) {
        double h = gra_polynomial_value(model->contrast, model->rule.members, w[1], w[0]);
        a[0] = -w[1] * h;
        a[1] = w[0] * h;
        return 1;
    }
    a[0] = 0.0;
    if (model->rule.levels > 1) {
        if (!gra_compositions_advantage(&model->rule, w, a, arena)) {
            return 0;
        }
        centre(w, model->rule.levels, a);
    }
    return 1;
}

static grpoalign_status rule_advantage(const grpoalign_model *self, const double *policy,
                                       double *advantage, gra_arena *arena, grpoalign_error *error)
{
    const rule_model *model = (const rule_model *)self;
    double *w = level_weights(model, policy, arena);
    double *a = gra_arena_doubles(arena, model->rule.levels);
    if (w == NULL || a == NULL || !level_advantages(model, w, a, arena)) {
        return gra_fail_memory(error);
    }
    for (int64_t o = 0; o < self->outcomes; o++) {
        advantage[o] = a[model->level_of[o]];
    }
    return GRPOALIGN_OK;
}

/* d u_m / d w_l over levels for centred u: what the mean changes by is the same for all m. 0 on
 * short memory. */
static int level_slopes(const rule_model *model, const double *w, double *slopes, gra_arena *arena)
{
    int64_t levels = model->rule.levels;
    if (model->contrast != NULL) {
        double h = gra_polynomial_value(model->contrast, model->rule.members, w[1], w[0]);
        double by_p = gra_polynomial_slope(model->difference, model->rule.members, w[1], w[0]);
        slopes[0] = slopes[2] = 0.0;
        slopes[1] = -h - w[1] * by_p;
        slopes[3] = w[0] * by_p - h;
        return 1;
    }
    double *a = gra_arena_doubles(arena, levels);
    slopes[0] = 0.0;
    if (levels == 1) {
        return 1;
    }
    if (a == NULL || !level_advantages(model, w, a, arena) ||
        !gra_compositions_jacobian(&model->rule, w, slopes, arena)) {
        return 0;
    }
    for (int64_t l = 0; l < levels; l++) {
        gra_sum change = {a[l], 0.0};
        for (int64_t m = 0; m < levels; m++) {
            gra_sum_add_product(&change, w[m], slopes[m * levels + l]);
        }
        for (int64_t m = 0; m < levels; m++) {
            slopes[m * levels + l] -= gra_sum_value(change);
        }
    }
    return 1;
}

static grpoalign_status rule_jacobian(const grpoalign_model *self, const double *policy,
                                      double *jacobian, int64_t stride, gra_arena *arena,
                                      grpoalign_error *error)
{
    const rule_model *model = (const rule_model *)self;
    int64_t n = self->outcomes, levels = model->rule.levels;
    double *w = level_weights(model, policy, arena);
    double *slopes = gra_arena_doubles(arena, levels * levels);
    if (w == NULL || slopes == NULL || !level_slopes(model, w, slopes, arena)) {
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            jacobian[i * stride + j] = slopes[model->level_of[i] * levels + model->level_of[j]];
        }
    }
    return GRPOALIGN_OK;
}

/* ---- a game over the supported levels -------------------------------------------------------- */

typedef struct rule_game {
    const rule_model *model;
    const int64_t *at; /* the level of each class */
} rule_game;

/* Weights of all levels. */
static double *spread(const gra_game *self, const double *w, gra_arena *arena)
{
    const rule_game *game = self->data;
    int64_t levels = game->model->rule.levels;
    double *all = gra_arena_doubles(arena, levels);
    if (all != NULL) {
        memset(all, 0, (size_t)levels * sizeof *all);
        for (int64_t c = 0; c < self->classes; c++) {
            all[game->at[c]] = w[c];
        }
    }
    return all;
}

static int game_advantage(const gra_game *self, const double *w, double shift, int accuracy,
                          double *a, gra_arena *arena)
{
    const rule_game *game = self->data;
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *all = spread(self, w, arena);
    double *of_all = gra_arena_doubles(arena, game->model->rule.levels);
    int done = all != NULL && of_all != NULL && level_advantages(game->model, all, of_all, arena);
    (void)accuracy;
    for (int64_t c = 0; done && c < self->classes; c++) {
        a[c] = of_all[game->at[c]] - shift;
    }
    gra_arena_rewind(arena, mark);
    return done;
}

static int game_jacobian(const gra_game *self, const double *w, int accuracy, double *jacobian,
                         gra_arena *arena)
{
    const rule_game *game = self->data;
    int64_t levels = game->model->rule.levels;
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *all = spread(self, w, arena), *slopes = gra_arena_doubles(arena, levels * levels);
    int done = all != NULL && slopes != NULL && level_slopes(game->model, all, slopes, arena);
    (void)accuracy;
    for (int64_t c = 0; done && c < self->classes; c++) {
        for (int64_t k = 0; k < self->classes; k++) {
            jacobian[c * self->classes + k] = slopes[game->at[c] * levels + game->at[k]];
        }
    }
    gra_arena_rewind(arena, mark);
    return done;
}

/* u of level `high` less u of level `low` by the number of others at `high`, the rest being at
 * `low`. 0 on short memory. */
static int contrast_of(const gra_compositions *rule, int64_t low, int64_t high, double *contrast,
                       gra_arena *arena)
{
    int64_t *counts = gra_arena_take(arena, rule->levels, sizeof *counts);
    if (counts == NULL) {
        return 0;
    }
    memset(counts, 0, (size_t)rule->levels * sizeof *counts);
    for (int64_t k = 0; k <= rule->members; k++) {
        counts[low] = rule->members - k;
        counts[high] = k;
        const double *row = gra_compositions_row(rule, counts);
        contrast[k] = row[high] - row[low];
    }
    return 1;
}

/* Two classes. */
static int set_contrast(const rule_model *model, const int64_t *at, gra_structure *out,
                        gra_arena *arena)
{
    int64_t degree = model->rule.members;
    double *contrast = gra_arena_doubles(arena, degree + 1);
    if (contrast == NULL || !contrast_of(&model->rule, at[0], at[1], contrast, arena)) {
        return 0;
    }
    out->game.contrast = contrast;
    out->game.degree = degree;
    for (int64_t k = 0; k <= degree && out->kind == GRA_FLAT; k++) {
        out->kind = contrast[k] != 0.0 ? GRA_GAME : GRA_FLAT;
    }
    return 1;
}

static grpoalign_status rule_structure(const grpoalign_model *self, const unsigned char *supported,
                                       gra_structure *out, gra_arena *arena, grpoalign_error *error)
{
    const rule_model *model = (const rule_model *)self;
    int64_t *class_at, *at = gra_arena_take(arena, model->rule.levels, sizeof *at);
    rule_game *game = gra_arena_take(arena, 1, sizeof *game);
    if (at == NULL || game == NULL ||
        !gra_classes_from_levels(model->level_of, self->outcomes, model->rule.levels, supported,
                                 out, &class_at, arena)) {
        return gra_fail_memory(error);
    }
    for (int64_t l = 0; l < model->rule.levels; l++) {
        if (class_at[l] >= 0) {
            at[class_at[l]] = l;
        }
    }
    if (out->classes == 1) {
        return GRPOALIGN_OK;
    }
    /* Moving one of the G - 1 others changes an advantage by at most twice the largest, and the
     * total variation is half of sum |dw|. */
    double members = (double)model->rule.members;
    *game = (rule_game){.model = model, .at = at};
    out->game = (gra_game){.classes = out->classes,
                           .levels = out->classes,
                           .advantage = game_advantage,
                           .jacobian = game_jacobian,
                           .error = 1e-14 * model->largest,
                           .contraction = members * model->largest,
                           .unordered = 1,
                           .data = game};
    if (out->classes == 2) {
        return set_contrast(model, at, out, arena) ? GRPOALIGN_OK : gra_fail_memory(error);
    }
    out->kind = GRA_GAME;
    return GRPOALIGN_OK;
}

static const gra_model_ops RULE_OPS = {.release = rule_release,
                                       .advantage = rule_advantage,
                                       .jacobian = rule_jacobian,
                                       .structure = rule_structure};

/* ---- construction ---------------------------------------------------------------------------- */

static grpoalign_status start(const gra_rule_levels *levels, int64_t group_size, rule_model **out,
                              grpoalign_error *error)
{
    grpoalign_model *base;
    size_t bytes = (size_t)levels->outcomes * sizeof(int64_t);
    GRA_TRY(gra_model_allocate(sizeof(rule_model), &RULE_OPS, levels->outcomes, levels->rewards,
                               &base, error));
    rule_model *model = (rule_model *)base;
    base->by_mean_reward = 0;
    base->by_rule = 1;
    model->level_of = gra_alloc(levels->outcomes, sizeof *model->level_of);
    int taken = gra_compositions_init(&model->rule, levels->levels, group_size - 1);
    if (model->level_of == NULL || !taken) {
        gra_model_free(base);
        return gra_fail_memory(error);
    }
    memcpy(model->level_of, levels->level_of, bytes);
    *out = model;
    return GRPOALIGN_OK;
}

/* What follows from the table. 0 on short memory. */
static int finish(rule_model *model)
{
    int64_t degree = model->rule.members, elements = model->rule.count * model->rule.levels;
    gra_arena arena = GRA_ARENA_INIT;
    int done = 1;
    for (int64_t i = 0; i < elements; i++) {
        model->largest = fmax(model->largest, fabs(model->rule.table[i]));
    }
    if (model->rule.levels == 2) {
        model->contrast = gra_alloc(degree + 1, sizeof(double));
        model->difference = gra_alloc(degree, sizeof(double));
        done = model->contrast != NULL && model->difference != NULL &&
               contrast_of(&model->rule, 0, 1, model->contrast, &arena);
        for (int64_t k = 0; done && k < degree; k++) {
            model->difference[k] = model->contrast[k + 1] - model->contrast[k];
        }
    }
    gra_arena_free(&arena);
    return done;
}

static grpoalign_status hand_over(rule_model *model, grpoalign_status status, grpoalign_model **out,
                                  grpoalign_error *error)
{
    if (status >= 0 && !finish(model)) {
        status = gra_fail_memory(error);
    }
    if (status < 0) {
        gra_model_free(&model->base);
        return status;
    }
    *out = &model->base;
    return GRPOALIGN_OK;
}

grpoalign_status gra_rule_table_new(const double *rewards, int64_t n, const double *success,
                                    const double *failure, int64_t group_size,
                                    grpoalign_model **out, grpoalign_error *error)
{
    rule_model *model = NULL;
    gra_arena arena = GRA_ARENA_INIT;
    int64_t *level_of = gra_arena_take(&arena, n, sizeof *level_of);
    for (int64_t o = 0; level_of != NULL && o < n; o++) {
        level_of[o] = rewards[o] != 0.0;
    }
    const gra_rule_levels levels = {
        .outcomes = n, .levels = 2, .all = 2, .level_of = level_of, .rewards = rewards};
    grpoalign_status status =
        level_of != NULL ? start(&levels, group_size, &model, error) : gra_fail_memory(error);
    gra_arena_free(&arena);
    if (model == NULL) {
        return status;
    }
    for (int64_t k = 0; k < group_size; k++) {
        const int64_t counts[2] = {group_size - 1 - k, k};
        double *row = gra_compositions_row(&model->rule, counts);
        row[0] = failure[k];
        row[1] = success[k];
    }
    return hand_over(model, GRPOALIGN_OK, out, error);
}

/* The next composition in the order of the last levels first; 0 after the last one. */
static int next_composition(int64_t *counts, int64_t levels)
{
    int64_t l = 0;
    while (l < levels && counts[l] == 0) {
        l++;
    }
    if (l + 1 >= levels) {
        return 0;
    }
    int64_t moved = counts[l];
    counts[l] = 0;
    counts[0] = moved - 1;
    counts[l + 1]++;
    return 1;
}

/* Asks the rule about one composition, and enters what it says where the member itself is left
 * out. */
static grpoalign_status ask(const gra_rule_levels *levels, const gra_rule_host *host,
                            gra_compositions *rule, int64_t *counts, int64_t *told, double *given,
                            grpoalign_error *error)
{
    memset(given, 0, (size_t)levels->all * sizeof *given);
    for (int64_t l = 0; l < levels->levels; l++) {
        told[levels->name[l]] = counts[l];
    }
    if (host->rule(host->rule_user, told, levels->all, given) != 0) {
        return gra_fail(error, GRPOALIGN_ERR_CANCELLED, host->position, -1, "stopped by the rule");
    }
    for (int64_t l = 0; l < levels->levels; l++) {
        if (counts[l] == 0) {
            continue;
        }
        double advantage = given[levels->name[l]];
        if (!(fabs(advantage) <= GRA_LARGEST_ADVANTAGE)) {
            return gra_fail(
                error, isfinite(advantage) ? GRPOALIGN_ERR_ARGUMENT : GRPOALIGN_ERR_NOT_FINITE,
                host->position, levels->name[l],
                "the rule's advantages must be finite and at most %g (got %g at level %lld, which "
                "%lld members of the group are at)",
                GRA_LARGEST_ADVANTAGE, advantage, (long long)levels->name[l], (long long)counts[l]);
        }
        counts[l]--;
        gra_compositions_row(rule, counts)[l] = advantage;
        counts[l]++;
    }
    return GRPOALIGN_OK;
}

/* Compositions between two calls of the host. */
static const double BETWEEN = 4096.0;

static grpoalign_status tabulate(const gra_rule_levels *levels, const gra_rule_host *host,
                                 gra_compositions *rule, gra_arena *arena, grpoalign_error *error)
{
    int64_t *counts = gra_arena_take(arena, levels->levels, sizeof *counts);
    int64_t *told = gra_arena_take(arena, levels->all, sizeof *told);
    double *given = gra_arena_doubles(arena, levels->all);
    if (counts == NULL || told == NULL || given == NULL) {
        return gra_fail_memory(error);
    }
    memset(counts, 0, (size_t)levels->levels * sizeof *counts);
    memset(told, 0, (size_t)levels->all * sizeof *told);
    counts[0] = rule->members + 1;
    double group_size = (double)rule->members + 1.0, asked = 0.0;
    double all = (double)rule->count * (group_size + (double)levels->levels - 1.0) / group_size;
    do {
        if (fmod(asked, BETWEEN) == 0.0) {
            GRA_TRY(gra_ask_host(host->progress, host->user, 1.0 - asked / all, error));
        }
        asked += 1.0;
        GRA_TRY(ask(levels, host, rule, counts, told, given, error));
    } while (next_composition(counts, levels->levels));
    return GRPOALIGN_OK;
}

grpoalign_status gra_rule_new(const gra_rule_levels *levels, int64_t group_size,
                              const gra_rule_host *host, grpoalign_model **out,
                              grpoalign_error *error)
{
    rule_model *model = NULL;
    gra_arena arena = GRA_ARENA_INIT;
    if (levels->levels > 2 && gra_compositions_size(levels->levels, group_size - 1) < 0) {
        return gra_fail(error, GRPOALIGN_ERR_TOO_LARGE, 0, -1,
                        "groups of %lld over %lld levels have too many compositions: those of the "
                        "others, times the levels, must be at most %lld numbers",
                        (long long)group_size, (long long)levels->levels,
                        (long long)GRA_COMPOSITIONS_LIMIT);
    }
    GRA_TRY(start(levels, group_size, &model, error));
    grpoalign_status status = tabulate(levels, host, &model->rule, &arena, error);
    gra_arena_free(&arena);
    return hand_over(model, status, out, error);
}
