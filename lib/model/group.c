/* Groups of finite size: A = (r - mean) / (std + epsilon), or over another divisor, or r - mean. */
#include "model/model.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"
#include "expectation/expectation.h"
#include "linalg/linalg.h"

typedef struct group_model {
    grpoalign_model base;
    gra_convention convention;
    int64_t levels;
    double *x;            /* distinct rewards, ascending, scaled: the range lies in [1/2, 1) */
    double unit;          /* caller's units per unit of the scale */
    double epsilon;       /* in the scale; inside the root, in its square */
    int64_t *level_of;    /* per outcome, or NULL for random rewards */
    double *distribution; /* outcomes x levels, rows sum to 1; NULL for one reward per outcome */
    gra_expectation expectation; /* set up when there are two levels or more and scale is std */
} group_model;

static void group_release(grpoalign_model *self)
{
    group_model *model = (group_model *)self;
    gra_release(model->x);
    gra_release(model->level_of);
    gra_release(model->distribution);
    gra_expectation_free(&model->expectation);
}

static int is_unscaled(const group_model *model)
{
    return model->convention.scale == GRPOALIGN_SCALE_NONE;
}

static int is_inside(const group_model *model)
{
    return model->convention.epsilon_place == GRPOALIGN_EPSILON_INSIDE;
}

/* r less the mean of the others is this times r less the mean of all. */
static double gain(const group_model *model)
{
    double size = (double)model->convention.group_size;
    return model->convention.baseline == GRPOALIGN_BASELINE_LEAVE_ONE_OUT ? size / (size - 1.0)
                                                                          : 1.0;
}

/* What is left of r less the expected reward: (1 - 1/G) when the mean contains the member itself,
 * else 1. */
static double own_share(const group_model *model)
{
    return model->convention.baseline == GRPOALIGN_BASELINE_LEAVE_ONE_OUT
               ? 1.0
               : 1.0 - 1.0 / (double)model->convention.group_size;
}

/* Whether epsilon swamps every std: then 1/(S + epsilon) = 1/epsilon to rounding, an unscaled
 * model. */
static int is_swamped(const group_model *model)
{
    return model->convention.scale == GRPOALIGN_SCALE_STD &&
           model->epsilon > (is_inside(model) ? 1e34 : 1e17);
}

/* A pair has one other, whose std is 0: nothing is divided. */
static int is_undivided_pair(const group_model *model)
{
    return model->convention.scale == GRPOALIGN_SCALE_STD_OF_OTHERS &&
           model->convention.group_size == 2;
}

/* The strength of the model where it is one constant. */
static double constant_strength(const group_model *model)
{
    double share = own_share(model);
    return !is_swamped(model) ? share * model->unit
           : is_inside(model) ? share / sqrt(model->epsilon)
                              : share / model->epsilon;
}

static int is_constant(const group_model *model)
{
    return is_unscaled(model) || is_swamped(model) || is_undivided_pair(model);
}

static gra_group_rule rule_of(const group_model *model)
{
    static const int32_t divisors[] = {[GRPOALIGN_SCALE_STD] = GRA_OVER_STD,
                                       [GRPOALIGN_SCALE_STD_OF_OTHERS] = GRA_OVER_STD_OF_OTHERS,
                                       [GRPOALIGN_SCALE_MEAN] = GRA_OVER_MEAN};
    const gra_convention *c = &model->convention;
    gra_group_rule rule = {.group_size = c->group_size,
                           .ddof = c->ddof,
                           .epsilon = model->epsilon,
                           .raw = model->unit};
    rule.divisor = is_inside(model) ? GRA_OVER_STD_INSIDE : divisors[c->scale];
    rule.gain = c->scale == GRPOALIGN_SCALE_STD_OF_OTHERS ? 1.0 : gain(model);
    return rule;
}

/* The mean reward of an outcome with random rewards, in the scale. */
static double mean_of_row(const group_model *model, int64_t o)
{
    gra_sum sum = {0.0, 0.0};
    for (int64_t l = 0; l < model->levels; l++) {
        gra_sum_add_product(&sum, model->distribution[o * model->levels + l], model->x[l]);
    }
    return gra_sum_value(sum);
}

/* The mean reward of each outcome, in the scale. */
static double *mean_rewards(const group_model *model, gra_arena *arena)
{
    double *mean = gra_arena_doubles(arena, model->base.outcomes);
    for (int64_t o = 0; mean != NULL && o < model->base.outcomes; o++) {
        mean[o] =
            model->distribution == NULL ? model->x[model->level_of[o]] : mean_of_row(model, o);
    }
    return mean;
}

static double *level_weights(const group_model *model, const double *policy, gra_arena *arena)
{
    double *w = gra_arena_doubles(arena, model->levels);
    if (w == NULL) {
        return NULL;
    }
    if (model->distribution != NULL) {
        gra_matvec_transposed(model->base.outcomes, model->levels, model->distribution,
                              model->levels, policy, w);
        return w;
    }
    memset(w, 0, (size_t)model->levels * sizeof(double));
    for (int64_t o = 0; o < model->base.outcomes; o++) {
        w[model->level_of[o]] += policy[o];
    }
    return w;
}

static grpoalign_status group_advantage(const grpoalign_model *self, const double *policy,
                                        double *advantage, gra_arena *arena, grpoalign_error *error)
{
    const group_model *model = (const group_model *)self;
    int64_t n = self->outcomes;
    if (model->levels == 1) {
        memset(advantage, 0, (size_t)n * sizeof(double));
        return GRPOALIGN_OK;
    }
    if (is_constant(model)) {
        gra_affine affine = {.classes = n, .reward = mean_rewards(model, arena)};
        if (affine.reward == NULL) {
            return gra_fail_memory(error);
        }
        double strength = constant_strength(model);
        gra_centre centre = gra_affine_centre(&affine, policy);
        for (int64_t o = 0; o < n; o++) {
            advantage[o] = -strength * gra_affine_deviation(&affine, centre, o);
        }
        return GRPOALIGN_OK;
    }
    double *w = level_weights(model, policy, arena), *a = gra_arena_doubles(arena, model->levels);
    if (w == NULL || a == NULL ||
        !gra_expectation_advantage(&model->expectation, w, GRA_EXACT, a, arena)) {
        return gra_fail_memory(error);
    }
    if (model->distribution != NULL) {
        gra_matvec(n, model->levels, model->distribution, model->levels, a, advantage);
        return GRPOALIGN_OK;
    }
    for (int64_t o = 0; o < n; o++) {
        advantage[o] = a[model->level_of[o]];
    }
    return GRPOALIGN_OK;
}

static grpoalign_status group_jacobian(const grpoalign_model *self, const double *policy,
                                       double *jacobian, int64_t stride, gra_arena *arena,
                                       grpoalign_error *error)
{
    const group_model *model = (const group_model *)self;
    int64_t n = self->outcomes, levels = model->levels;
    if (levels == 1 || is_constant(model)) {
        double *mean = levels > 1 ? mean_rewards(model, arena) : NULL;
        if (levels > 1 && mean == NULL) {
            return gra_fail_memory(error);
        }
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j < n; j++) {
                jacobian[i * stride + j] = mean != NULL ? -constant_strength(model) * mean[j] : 0.0;
            }
        }
        return GRPOALIGN_OK;
    }
    double *w = level_weights(model, policy, arena);
    double *slopes = levels <= GRA_DENSE_LIMIT ? gra_arena_doubles(arena, levels * levels) : NULL;
    if (levels > GRA_DENSE_LIMIT) {
        return gra_fail(
            error, GRPOALIGN_ERR_TOO_LARGE, 1, -1,
            "the Jacobian needs a dense matrix over %lld reward levels, the limit is %lld",
            (long long)levels, (long long)GRA_DENSE_LIMIT);
    }
    if (w == NULL || slopes == NULL ||
        !gra_expectation_jacobian(&model->expectation, w, GRA_EXACT, NULL, slopes, arena)) {
        return gra_fail_memory(error);
    }
    if (model->distribution != NULL) {
        double *half = gra_arena_doubles(arena, n * levels),
               *turned = gra_arena_doubles(arena, n * levels);
        if (half == NULL || turned == NULL) {
            return gra_fail_memory(error);
        }
        for (int64_t o = 0; o < n; o++) {
            for (int64_t l = 0; l < levels; l++) {
                turned[l * n + o] = model->distribution[o * levels + l];
            }
        }
        gra_matmul(n, levels, levels, 1.0, model->distribution, levels, slopes, levels, 0.0, half,
                   levels);
        gra_matmul(n, n, levels, 1.0, half, levels, turned, n, 0.0, jacobian, stride);
        return GRPOALIGN_OK;
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            jacobian[i * stride + j] = slopes[model->level_of[i] * levels + model->level_of[j]];
        }
    }
    return GRPOALIGN_OK;
}

/* ---- structure
 * --------------------------------------------------------------------------------------- */

typedef struct group_game {
    const gra_expectation *expectation;
    gra_expectation own; /* over the supported levels, when they are not all */
    double constant;     /* the strength where it is one, over the levels `x`; else 0 */
    const double *x;
} group_game;

/* u_l = constant (x_l - sum w x), less the shift, or its Jacobian. */
static void constant_game(const gra_game *self, const double *w, double shift, double *a,
                          double *jacobian)
{
    const group_game *game = self->data;
    int64_t n = self->levels;
    gra_affine affine = {.classes = n, .reward = game->x};
    gra_centre centre = gra_affine_centre(&affine, w);
    for (int64_t m = 0; m < n; m++) {
        if (a != NULL) {
            a[m] = -game->constant * gra_affine_deviation(&affine, centre, m) - shift;
        }
        for (int64_t l = 0; jacobian != NULL && l < n; l++) {
            jacobian[m * n + l] = game->constant * (game->x[0] - game->x[l]);
        }
    }
}

static int game_advantage(const gra_game *self, const double *w, double shift, int accuracy,
                          double *a, gra_arena *arena)
{
    const group_game *game = self->data;
    if (game->constant > 0.0) {
        constant_game(self, w, shift, a, NULL);
        return 1;
    }
    if (!gra_expectation_advantage(game->expectation, w, accuracy, a, arena)) {
        return 0;
    }
    for (int64_t l = 0; l < self->levels; l++) {
        a[l] -= shift;
    }
    return 1;
}

static int game_check(const gra_game *self, const double *w, double shift, double *a,
                      gra_arena *arena)
{
    const group_game *game = self->data;
    if (game->constant > 0.0) {
        return -1;
    }
    int done = gra_expectation_check(game->expectation, w, a, arena);
    for (int64_t l = 0; done > 0 && l < self->levels; l++) {
        a[l] -= shift;
    }
    return done;
}

static int game_jacobian(const gra_game *self, const double *w, int accuracy, double *jacobian,
                         gra_arena *arena)
{
    const group_game *game = self->data;
    if (game->constant > 0.0) {
        constant_game(self, w, 0.0, NULL, jacobian);
        return 1;
    }
    return gra_expectation_jacobian(game->expectation, w, accuracy, NULL, jacobian, arena);
}

static void game_release(gra_game *self)
{
    group_game *game = self->data;
    gra_expectation_free(&game->own);
    gra_release(game);
}

/*
 * The limit of large groups over the game's classes: one unknown, and near the game under reverse
 * KL even for groups of three, because both go to the best class alike.
 */
static int set_near(const group_model *model, const double *x, gra_game *game, gra_arena *arena)
{
    int64_t n = game->classes;
    double *reward = gra_arena_doubles(arena, n), *gap = gra_arena_doubles(arena, n);
    double *variance = game->distribution != NULL ? gra_arena_doubles(arena, n) : NULL;
    gra_affine *affine = gra_arena_take(arena, 1, sizeof *affine);
    if (reward == NULL || gap == NULL || affine == NULL ||
        (game->distribution != NULL && variance == NULL)) {
        return 0;
    }
    for (int64_t c = 0; c < n; c++) {
        if (game->distribution == NULL) {
            reward[c] = x[c];
            continue;
        }
        const double *row = game->distribution + c * game->levels;
        reward[c] = variance[c] = 0.0;
        for (int64_t l = 0; l < game->levels; l++) {
            reward[c] += row[l] * x[l];
        }
        for (int64_t l = 0; l < game->levels; l++) {
            variance[c] += row[l] * (x[l] - reward[c]) * (x[l] - reward[c]);
        }
    }
    double best = gra_max(reward, n);
    for (int64_t c = 0; c < n; c++) {
        gap[c] = best - reward[c];
    }
    *affine = (gra_affine){.classes = n, .gap = gap, .reward = reward};
    int done = 1;
    if (gra_max(gap, n) > 0.0) {
        double epsilon = is_inside(model) ? sqrt(model->epsilon) : model->epsilon;
        if (is_constant(model)) {
            gra_divisor_constant(&affine->divisor, n, constant_strength(model));
        } else if (model->convention.scale == GRPOALIGN_SCALE_MEAN) {
            done = gra_divisor_mean(&affine->divisor, n, reward, best, best - gra_max(gap, n),
                                    model->epsilon, arena);
        } else {
            done = gra_divisor_limit(&affine->divisor, n, gap, reward, variance, epsilon, arena);
        }
        game->near = affine;
    }
    return done;
}

/* A game over the levels at[0..levels-1] (ascending), the classes being the levels or, with a
 * distribution, `classes` rows of it. */
static grpoalign_status make_game(const group_model *model, const int64_t *at, int64_t levels,
                                  const double *distribution, int64_t classes, gra_structure *out,
                                  gra_arena *arena, grpoalign_error *error)
{
    if (levels > GRA_DENSE_LIMIT) {
        return gra_fail(error, GRPOALIGN_ERR_TOO_LARGE, 1, -1,
                        "solving needs dense matrices over %lld reward levels, the limit is %lld; "
                        "the large-group limit has none",
                        (long long)levels, (long long)GRA_DENSE_LIMIT);
    }
    const gra_convention *convention = &model->convention;
    group_game *game = gra_alloc(1, sizeof *game);
    double *x = gra_arena_doubles(arena, levels), size = (double)convention->group_size;
    if (game == NULL || x == NULL) {
        gra_release(game);
        return gra_fail_memory(error);
    }
    out->kind = GRA_GAME;
    out->game.classes = classes;
    out->game.levels = levels;
    out->game.distribution = distribution;
    out->game.advantage = game_advantage;
    out->game.jacobian = game_jacobian;
    out->game.check = game_check;
    out->game.data = game;
    out->game.release = game_release;
    game->expectation = &model->expectation;
    for (int64_t l = 0; l < levels; l++) {
        x[l] = model->x[at[l]];
    }
    if (!set_near(model, x, &out->game, arena)) {
        return gra_fail_memory(error);
    }
    if (is_constant(model)) {
        double range = x[levels - 1] - x[0];
        game->constant = constant_strength(model);
        game->x = x;
        out->game.error = 4.0 * DBL_EPSILON * game->constant * range;
        out->game.contraction = 0.5 * game->constant * range;
        return GRPOALIGN_OK;
    }
    if (levels < model->levels) {
        gra_group_rule rule = rule_of(model);
        int32_t method = convention->expectation == GRPOALIGN_EXPECTATION_BERNSTEIN && levels > 2
                             ? GRPOALIGN_EXPECTATION_AUTO
                             : convention->expectation;
        game->expectation = &game->own;
        GRA_TRY(gra_expectation_init(&game->own, x, levels, &rule, method, error));
    }
    /* tests/unit/test_expectation.c measures it against Bernstein sums; every advantage is below
     * sqrt(G), or over the mean below G. Moving one of the others changes it by at most twice that
     * (over the mean it is never below -1); there are G-1 others, and the total variation is half
     * of sum |dw|. */
    double most = convention->scale == GRPOALIGN_SCALE_MEAN ? size : gain(model) * sqrt(size);
    out->game.error = 1e-14 * most;
    out->game.coarse_error = 1e-4 * most;
    out->game.contraction =
        (size - 1.0) *
        (convention->scale == GRPOALIGN_SCALE_MEAN ? 0.5 * size : gain(model) * sqrt(size - 1.0));
    return GRPOALIGN_OK;
}

/* A affine over the classes from their gaps (>= 0, smallest 0; borrowed); flat when they are all 0.
 */
static gra_affine *make_affine(gra_structure *out, const double *gap)
{
    out->affine = (gra_affine){.classes = out->classes, .gap = gap};
    out->kind = gra_max(gap, out->classes) > 0.0 ? GRA_AFFINE : GRA_FLAT;
    return &out->affine;
}

/* Two levels, `low` and `high`: classes by the probability of the upper one. */
static grpoalign_status two_level_structure(const group_model *model,
                                            const unsigned char *supported, int64_t low,
                                            int64_t high, gra_structure *out, gra_arena *arena,
                                            grpoalign_error *error)
{
    int64_t n = model->base.outcomes, levels = 0;
    double *key = gra_arena_doubles(arena, n), *tie = gra_arena_doubles(arena, n);
    int64_t *level_of = gra_arena_take(arena, n, sizeof *level_of);
    int64_t *first = gra_arena_take(arena, n, sizeof *first), *class_at;
    if (key == NULL || tie == NULL || level_of == NULL || first == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t o = 0; o < n; o++) {
        key[o] = model->distribution != NULL ? model->distribution[o * model->levels + high]
                                             : (double)(model->level_of[o] == high);
        tie[o] = model->distribution != NULL ? -model->distribution[o * model->levels + low]
                                             : -(double)(model->level_of[o] == low);
    }
    if (!gra_levels_build(key, tie, n, level_of, first, &levels, arena) ||
        !gra_classes_from_levels(level_of, n, levels, supported, out, &class_at, arena)) {
        return gra_fail_memory(error);
    }
    double *success = gra_arena_doubles(arena, out->classes),
           *failure = gra_arena_doubles(arena, out->classes);
    double *gap = gra_arena_doubles(arena, out->classes);
    if (success == NULL || failure == NULL || gap == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t l = 0; l < levels; l++) {
        int64_t c = class_at[l];
        if (c >= 0) {
            success[c] = key[first[l]];
            failure[c] = -tie[first[l]];
        }
    }
    for (int64_t c = 0; c < out->classes; c++) {
        /* The smaller of the two carries the digits of a difference. */
        double top_s = success[out->classes - 1], top_f = failure[out->classes - 1];
        gap[c] = fmax(0.0, failure[c] < 0.5 ? failure[c] - top_f : top_s - success[c]);
    }
    gra_affine *affine = make_affine(out, gap);
    if (out->kind == GRA_AFFINE) {
        gra_contrast contrast = gra_contrast_of(&model->expectation, model->x[low], model->x[high]);
        if (!gra_divisor_two_levels(&affine->divisor, out->classes, success, failure, &contrast,
                                    arena)) {
            return gra_fail_memory(error);
        }
    }
    return GRPOALIGN_OK;
}

static grpoalign_status constant_structure(const group_model *model, const unsigned char *supported,
                                           gra_structure *out, gra_arena *arena,
                                           grpoalign_error *error)
{
    int64_t n = model->base.outcomes, levels = 0;
    double *mean = mean_rewards(model, arena), *reward, *gap;
    int64_t *level_of = gra_arena_take(arena, n, sizeof *level_of);
    int64_t *first = gra_arena_take(arena, n, sizeof *first), *class_at;
    if (mean == NULL || level_of == NULL || first == NULL ||
        !gra_levels_build(mean, NULL, n, level_of, first, &levels, arena) ||
        !gra_classes_from_levels(level_of, n, levels, supported, out, &class_at, arena) ||
        (reward = gra_arena_doubles(arena, out->classes)) == NULL ||
        (gap = gra_arena_doubles(arena, out->classes)) == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t l = 0; l < levels; l++) {
        if (class_at[l] >= 0) {
            reward[class_at[l]] = mean[first[l]];
        }
    }
    for (int64_t c = 0; c < out->classes; c++) {
        gap[c] = reward[out->classes - 1] - reward[c];
    }
    gra_affine *affine = make_affine(out, gap);
    affine->reward = reward;
    if (out->kind == GRA_AFFINE) {
        gra_divisor_constant(&affine->divisor, out->classes, constant_strength(model));
    }
    return GRPOALIGN_OK;
}

/* The margin of two levels in a group of two: half their distance over their std, which is that
 * too, or over their mean. */
static double pair_margin(const gra_expectation *e, double a, double b)
{
    double d = 0.5 * (a - b), divisor = e->divisor == GRA_OVER_MEAN ? 0.5 * (a + b) + e->epsilon
                                        : e->divisor == GRA_OVER_STD_INSIDE
                                            ? sqrt(d * d + e->epsilon)
                                            : fabs(d) + e->epsilon;
    return d != 0.0 ? e->factor * d / divisor : 0.0;
}

/* Over the std of others: a affine over classes with the mean rewards `reward`, ascending or not;
 * `distribution` as in a game. */
static grpoalign_status others_structure(const group_model *model, const double *reward,
                                         const double *distribution, gra_structure *out,
                                         gra_arena *arena, grpoalign_error *error)
{
    double *gap = gra_arena_doubles(arena, out->classes);
    if (gap == NULL) {
        return gra_fail_memory(error);
    }
    double best = gra_max(reward, out->classes);
    for (int64_t c = 0; c < out->classes; c++) {
        gap[c] = best - reward[c];
    }
    gra_affine *affine = make_affine(out, gap);
    affine->reward = reward;
    if (out->kind == GRA_AFFINE && !gra_divisor_others(&affine->divisor, out->classes,
                                                       &model->expectation, distribution, arena)) {
        return gra_fail_memory(error);
    }
    return GRPOALIGN_OK;
}

/* Groups of two are pairwise preferences: a matrix over the classes of equal rows. */
static grpoalign_status pair_structure(const group_model *model, const unsigned char *supported,
                                       const int64_t *at, int64_t levels, gra_structure *out,
                                       gra_arena *arena, grpoalign_error *error)
{
    int64_t n = model->base.outcomes;
    double *margins = gra_arena_doubles(arena, levels * levels);
    int64_t *class_of = gra_arena_take(arena, n, sizeof *class_of);
    int64_t *outcome_at = gra_arena_take(arena, n, sizeof *outcome_at);
    int64_t *merged = gra_arena_take(arena, n, sizeof *merged);
    if (margins == NULL || class_of == NULL || outcome_at == NULL || merged == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < levels; i++) {
        for (int64_t j = 0; j < levels; j++) {
            margins[i * levels + j] =
                pair_margin(&model->expectation, model->x[at[i]], model->x[at[j]]);
        }
    }
    int64_t kept = 0;
    for (int64_t o = 0; o < n; o++) {
        class_of[o] = -1;
        if (supported[o]) {
            outcome_at[kept++] = o;
        }
    }
    double *part = gra_arena_doubles(arena, kept * levels),
           *half = gra_arena_doubles(arena, kept * levels);
    double *matrix = gra_arena_doubles(arena, kept * kept);
    double *turned = gra_arena_doubles(arena, kept * levels);
    if (part == NULL || half == NULL || matrix == NULL || turned == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < kept; i++) {
        for (int64_t l = 0; l < levels; l++) {
            part[i * levels + l] = model->distribution[outcome_at[i] * model->levels + at[l]];
            turned[l * kept + i] = part[i * levels + l];
        }
    }
    gra_matmul(kept, levels, levels, 1.0, part, levels, margins, levels, 0.0, half, levels);
    gra_matmul(kept, kept, levels, 1.0, half, levels, turned, kept, 0.0, matrix, kept);
    for (int64_t i = 0; i < kept; i++) {
        matrix[i * kept + i] = 0.0;
        for (int64_t j = 0; j < i; j++) {
            double margin = 0.5 * (matrix[i * kept + j] - matrix[j * kept + i]) + 0.0;
            matrix[i * kept + j] = margin;
            matrix[j * kept + i] = 0.0 - margin;
        }
    }
    GRA_TRY(gra_margins_structure(matrix, kept, out, merged, arena, error));
    for (int64_t i = 0; i < kept; i++) {
        class_of[outcome_at[i]] = merged[i];
    }
    out->class_of = class_of;
    return GRPOALIGN_OK;
}

/* The matrix of pairs of outcomes is preferred to the game over levels up to this many outcomes. */
static const int64_t PAIR_LIMIT = 2048;

static grpoalign_status random_structure(const group_model *model, const unsigned char *supported,
                                         gra_structure *out, gra_arena *arena,
                                         grpoalign_error *error)
{
    int64_t n = model->base.outcomes, levels = 0, kept = 0;
    int64_t *at = gra_arena_take(arena, model->levels, sizeof *at);
    int64_t *class_of = gra_arena_take(arena, n, sizeof *class_of);
    if (at == NULL || class_of == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t o = 0; o < n; o++) {
        class_of[o] = supported[o] ? kept++ : -1;
    }
    for (int64_t l = 0; l < model->levels; l++) {
        int used = 0;
        for (int64_t o = 0; o < n && !used; o++) {
            used = supported[o] && model->distribution[o * model->levels + l] > 0.0;
        }
        if (used) {
            at[levels++] = l;
        }
    }
    out->classes = kept;
    out->class_of = class_of;
    out->kind = GRA_FLAT;
    if (levels == 1 || kept == 1) {
        return GRPOALIGN_OK;
    }
    int32_t asked = model->convention.expectation;
    int free_choice =
        asked == GRPOALIGN_EXPECTATION_AUTO || asked == GRPOALIGN_EXPECTATION_BERNSTEIN;
    if (levels == 2 && free_choice) {
        return two_level_structure(model, supported, at[0], at[1], out, arena, error);
    }
    if (model->convention.group_size == 2 && kept <= PAIR_LIMIT && free_choice) {
        return pair_structure(model, supported, at, levels, out, arena, error);
    }
    double *distribution = gra_arena_doubles(arena, kept * levels);
    if (distribution == NULL) {
        return gra_fail_memory(error);
    }
    if (model->convention.scale == GRPOALIGN_SCALE_STD_OF_OTHERS) {
        /* All levels, because the expectation is over them. */
        double *mean = mean_rewards(model, arena), *reward = gra_arena_doubles(arena, kept);
        double *rows = gra_arena_doubles(arena, kept * model->levels);
        if (mean == NULL || reward == NULL || rows == NULL) {
            return gra_fail_memory(error);
        }
        for (int64_t o = 0; o < n; o++) {
            if (class_of[o] >= 0) {
                reward[class_of[o]] = mean[o];
                memcpy(rows + class_of[o] * model->levels, model->distribution + o * model->levels,
                       (size_t)model->levels * sizeof(double));
            }
        }
        return others_structure(model, reward, rows, out, arena, error);
    }
    for (int64_t o = 0; o < n; o++) {
        for (int64_t l = 0; class_of[o] >= 0 && l < levels; l++) {
            distribution[class_of[o] * levels + l] = model->distribution[o * model->levels + at[l]];
        }
    }
    return make_game(model, at, levels, distribution, kept, out, arena, error);
}

static grpoalign_status group_structure(const grpoalign_model *self, const unsigned char *supported,
                                        gra_structure *out, gra_arena *arena,
                                        grpoalign_error *error)
{
    const group_model *model = (const group_model *)self;
    if (is_constant(model) && model->levels > 1 && self->dropping == 0) {
        return constant_structure(model, supported, out, arena, error);
    }
    if (model->distribution != NULL) {
        return random_structure(model, supported, out, arena, error);
    }
    int64_t *class_at, *at = gra_arena_take(arena, model->levels, sizeof *at);
    if (at == NULL || !gra_classes_from_levels(model->level_of, self->outcomes, model->levels,
                                               supported, out, &class_at, arena)) {
        return gra_fail_memory(error);
    }
    if (out->classes == 1) {
        return GRPOALIGN_OK;
    }
    for (int64_t l = 0; l < model->levels; l++) {
        if (class_at[l] >= 0) {
            at[class_at[l]] = l;
        }
    }
    int32_t asked = model->convention.expectation;
    if (self->dropping == 0 &&
        (asked == GRPOALIGN_EXPECTATION_AUTO || asked == GRPOALIGN_EXPECTATION_BERNSTEIN)) {
        if (out->classes == 2) {
            return two_level_structure(model, supported, at[0], at[1], out, arena, error);
        }
        if (model->convention.group_size == 2 && out->classes <= GRA_DENSE_LIMIT) {
            double *margins = gra_arena_doubles(arena, out->classes * out->classes);
            if (margins == NULL) {
                return gra_fail_memory(error);
            }
            for (int64_t i = 0; i < out->classes; i++) {
                for (int64_t j = 0; j < out->classes; j++) {
                    margins[i * out->classes + j] =
                        pair_margin(&model->expectation, model->x[at[i]], model->x[at[j]]);
                }
            }
            out->kind = GRA_GAME;
            gra_game_from_margins(&out->game, margins, out->classes);
            return GRPOALIGN_OK;
        }
    }
    if (model->convention.scale == GRPOALIGN_SCALE_STD_OF_OTHERS && self->dropping == 0) {
        /* The expectation is over all levels: where some have no class, rows say which have. */
        int some = out->classes < model->levels;
        double *reward = gra_arena_doubles(arena, out->classes);
        double *rows = some ? gra_arena_doubles(arena, out->classes * model->levels) : NULL;
        if (reward == NULL || (some && rows == NULL)) {
            return gra_fail_memory(error);
        }
        if (some) {
            memset(rows, 0, (size_t)(out->classes * model->levels) * sizeof(double));
        }
        for (int64_t c = 0; c < out->classes; c++) {
            reward[c] = model->x[at[c]];
            if (some) {
                rows[c * model->levels + at[c]] = 1.0;
            }
        }
        return others_structure(model, reward, rows, out, arena, error);
    }
    return make_game(model, at, out->classes, NULL, out->classes, out, arena, error);
}

static const gra_model_ops GROUP_OPS = {group_release, group_advantage, group_jacobian,
                                        group_structure};

/* ---- construction
 * -------------------------------------------------------------------------------------- */

static int build_distribution(group_model *model, int64_t k, const double *distribution,
                              int64_t stride, const int64_t *level_of)
{
    int64_t n = model->base.outcomes, elements;
    model->distribution = __builtin_mul_overflow(n, model->levels, &elements)
                              ? NULL
                              : gra_alloc(elements, sizeof(double));
    if (model->distribution == NULL) {
        return 0;
    }
    for (int64_t o = 0; o < n; o++) {
        double *row = model->distribution + o * model->levels;
        double total = gra_total(distribution + o * stride, k);
        for (int64_t l = 0; l < k; l++) {
            row[level_of[l]] += distribution[o * stride + l] / total;
        }
    }
    return 1;
}

static grpoalign_status build(group_model *model, const double *rewards, int64_t k,
                              const double *distribution, int64_t stride, gra_arena *arena,
                              grpoalign_error *error)
{
    int64_t *first = gra_arena_take(arena, k, sizeof *first);
    int64_t *level_of = gra_alloc(k, sizeof *level_of);
    int exponent = gra_range_exponent(rewards, k);
    if (distribution == NULL) {
        model->level_of = level_of;
    }
    int built = first != NULL && level_of != NULL &&
                gra_levels_build(rewards, NULL, k, level_of, first, &model->levels, arena);
    model->x = built ? gra_alloc(model->levels, sizeof(double)) : NULL;
    built = model->x != NULL;
    for (int64_t l = 0; built && l < model->levels; l++) {
        model->x[l] = ldexp(rewards[first[l]], -exponent);
    }
    model->unit = ldexp(1.0, exponent < 1024 ? exponent : 1023);
    model->epsilon =
        ldexp(model->convention.epsilon, -(is_inside(model) ? 2 * exponent : exponent));
    if (built && distribution != NULL) {
        built = build_distribution(model, k, distribution, stride, level_of);
        if (built) {
            for (int64_t o = 0; o < model->base.outcomes; o++) {
                model->base.rewards[o] = 0.0;
                for (int64_t l = 0; l < model->levels; l++) {
                    model->base.rewards[o] +=
                        model->distribution[o * model->levels + l] * rewards[first[l]];
                }
            }
        }
    }
    if (distribution != NULL) {
        gra_release(level_of);
    }
    if (!built) {
        return gra_fail_memory(error);
    }
    if (model->levels > 1 && !is_constant(model)) {
        gra_group_rule rule = rule_of(model);
        GRA_TRY(gra_expectation_init(&model->expectation, model->x, model->levels, &rule,
                                     model->convention.expectation, error));
        model->base.expectation = model->expectation.method;
    }
    return GRPOALIGN_OK;
}

/* The std of each outcome's reward, where rewards are random. 0 on short memory. */
static int set_deviations(group_model *model)
{
    int64_t levels = model->levels, n = model->base.outcomes;
    if (model->distribution == NULL) {
        return 1;
    }
    model->base.deviations = gra_alloc(n, sizeof(double));
    for (int64_t o = 0; model->base.deviations != NULL && o < n; o++) {
        double mean = mean_of_row(model, o);
        gra_sum square = {0.0, 0.0};
        for (int64_t l = 0; l < levels; l++) {
            double d = model->x[l] - mean;
            gra_sum_add(&square, model->distribution[o * levels + l] * d * d);
        }
        model->base.deviations[o] = model->unit * sqrt(gra_sum_value(square));
    }
    return model->base.deviations != NULL;
}

grpoalign_status gra_group_new(const double *rewards, int64_t k, const double *distribution,
                               int64_t n, int64_t stride, const gra_convention *convention,
                               grpoalign_model **out, grpoalign_error *error)
{
    grpoalign_model *base;
    gra_arena arena = GRA_ARENA_INIT;
    int dropping = convention->zero_variance == GRPOALIGN_ZERO_VARIANCE_DROP;
    if (convention->group_size == 2 && convention->scale == GRPOALIGN_SCALE_STD &&
        convention->epsilon == 0.0 && convention->expectation == GRPOALIGN_EXPECTATION_AUTO &&
        distribution == NULL && !dropping) {
        /* Two members differ from their mean by half their distance, which is also their std, and
         * from each other by all of it. */
        double share = convention->baseline == GRPOALIGN_BASELINE_LEAVE_ONE_OUT ? 2.0 : 1.0;
        return gra_ranked_new(rewards, n, share * sqrt((2.0 - convention->ddof) / 2.0), out, error);
    }
    GRA_TRY(gra_model_allocate(sizeof(group_model), &GROUP_OPS, n, NULL, &base, error));
    base->rewards = gra_alloc(n, sizeof(double));
    group_model *model = (group_model *)base;
    model->convention = *convention;
    grpoalign_status status = base->rewards != NULL
                                  ? build(model, rewards, k, distribution, stride, &arena, error)
                                  : gra_fail_memory(error);
    gra_arena_free(&arena);
    if (status < 0) {
        grpoalign_model_free(base);
        return status;
    }
    if (distribution == NULL) {
        memcpy(base->rewards, rewards, (size_t)n * sizeof(double));
    }
    if (is_unscaled(model)) {
        base->unscaled = own_share(model);
        base->group_size = convention->group_size;
        if (!set_deviations(model)) {
            grpoalign_model_free(base);
            return gra_fail_memory(error);
        }
    }
    base->by_mean_reward = distribution == NULL || is_constant(model);
    base->dropping = dropping ? convention->group_size : 0;
    *out = base;
    return GRPOALIGN_OK;
}
