/*
 * Groups of finite size: A = (r - mean) / (std + epsilon), or over another divisor. Where the
 * divisor is one constant (unscaled rewards, and what amounts to that) the model is affine:
 * limit.c.
 */
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
    double *rest;         /* what rounding took from the distribution */
    gra_expectation expectation; /* set up when there are two levels or more */
} group_model;

static void group_release(grpoalign_model *self)
{
    group_model *model = (group_model *)self;
    gra_release(model->x);
    gra_release(model->level_of);
    gra_release(model->distribution);
    gra_release(model->rest);
    gra_expectation_free(&model->expectation);
}

static int is_inside(const gra_convention *convention)
{
    return convention->epsilon_place == GRPOALIGN_EPSILON_INSIDE;
}

/* r less the mean of the others is this times r less the mean of all. */
static double gain(const gra_convention *convention)
{
    double size = (double)convention->group_size;
    return convention->baseline == GRPOALIGN_BASELINE_LEAVE_ONE_OUT ? size / (size - 1.0) : 1.0;
}

static gra_group_rule rule_of(const group_model *model)
{
    static const int32_t divisors[] = {[GRPOALIGN_SCALE_STD] = GRA_OVER_STD,
                                       [GRPOALIGN_SCALE_STD_OF_OTHERS] = GRA_OVER_STD_OF_OTHERS,
                                       [GRPOALIGN_SCALE_MEAN] = GRA_OVER_MEAN};
    const gra_convention *c = &model->convention;
    return (gra_group_rule){
        .group_size = c->group_size,
        .ddof = c->ddof,
        .epsilon = model->epsilon,
        .raw = model->unit,
        .divisor = is_inside(c) ? GRA_OVER_STD_INSIDE : divisors[c->scale],
        .gain = c->scale == GRPOALIGN_SCALE_STD_OF_OTHERS ? 1.0 : gain(c),
    };
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
    if (levels == 1) {
        for (int64_t i = 0; i < n; i++) {
            memset(jacobian + i * stride, 0, (size_t)n * sizeof(double));
        }
        return GRPOALIGN_OK;
    }
    if (levels > GRA_DENSE_LIMIT) {
        return gra_fail(error, GRPOALIGN_ERR_TOO_LARGE, 1, -1,
                        "the Jacobian needs a dense matrix over %lld reward levels, the limit is "
                        "%lld",
                        (long long)levels, (long long)GRA_DENSE_LIMIT);
    }
    double *w = level_weights(model, policy, arena);
    double *slopes = gra_arena_doubles(arena, levels * levels);
    if (w == NULL || slopes == NULL ||
        !gra_expectation_jacobian(&model->expectation, w, GRA_EXACT, NULL, slopes, arena)) {
        return gra_fail_memory(error);
    }
    if (model->distribution != NULL) {
        double *half = gra_arena_doubles(arena, n * levels);
        if (half == NULL) {
            return gra_fail_memory(error);
        }
        gra_matmul(n, levels, levels, 1.0, model->distribution, levels, slopes, levels, 0.0, half,
                   levels);
        gra_matmul_by_transposed(n, n, levels, half, levels, model->distribution, levels, 0.0,
                                 jacobian, stride);
        return GRPOALIGN_OK;
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            jacobian[i * stride + j] = slopes[model->level_of[i] * levels + model->level_of[j]];
        }
    }
    return GRPOALIGN_OK;
}

/* ---- the supported part -------------------------------------------------------------------- */

/* The supported outcomes as classes, and the levels that they have. */
typedef struct part {
    int64_t classes, levels;
    int64_t *at;          /* the levels, by their numbers in the model */
    double *distribution; /* classes x levels; NULL: class c has level c */
    double *rest;         /* what rounding took from it */
} part;

/* How far a reward may go before an advantage is no longer smooth, in the scale; 0 where it is not
 * smooth at all, because it ties and no epsilon smooths that. */
static double distance_of(const group_model *model, int64_t level, int alone)
{
    const double *x = model->x;
    double epsilon = is_inside(&model->convention) ? sqrt(model->epsilon) : model->epsilon,
           distance = 1.0;
    distance = level > 0 ? fmin(distance, x[level] - x[level - 1]) : distance;
    distance = level + 1 < model->levels ? fmin(distance, x[level + 1] - x[level]) : distance;
    return alone ? distance : fmin(distance, epsilon);
}

static grpoalign_status group_by_rewards(const grpoalign_model *self, const double *policy,
                                         double *slopes, gra_arena *arena, grpoalign_error *error)
{
    const group_model *model = (const group_model *)self;
    int64_t n = self->outcomes, levels = model->levels;
    if (model->level_of == NULL) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 0, -1,
                        "outcomes with random rewards have no rewards to be changed one by one");
    }
    double *w = level_weights(model, policy, arena), *by = gra_arena_doubles(arena, levels + 1);
    if (w == NULL || by == NULL) {
        return gra_fail_memory(error);
    }
    gra_group_rule rule = rule_of(model);
    for (int64_t j = 0; j < n; j++) {
        int64_t level = model->level_of[j], same = 0;
        for (int64_t o = 0; o < n; o++) {
            same += model->level_of[o] == level;
        }
        gra_level_change change = {
            &rule, model->x,  w,         levels,
            level, policy[j], same == 1, distance_of(model, level, same == 1)};
        gra_arena_mark_t mark = gra_arena_mark(arena);
        memset(by, 0, (size_t)(levels + 1) * sizeof(double));
        if (change.distance > 0.0 && n > 1) {
            GRA_TRY(gra_expectation_by_value(&change, by, arena, error));
        }
        gra_arena_rewind(arena, mark);
        for (int64_t o = 0; o < n; o++) {
            slopes[o * n + j] = !(change.distance > 0.0) ? NAN
                                : o == j                 ? by[levels] / model->unit
                                                         : by[model->level_of[o]] / model->unit;
        }
    }
    return GRPOALIGN_OK;
}

/* One reward per outcome: the classes are the levels. */
static int take_levels(const group_model *model, const unsigned char *supported, gra_structure *out,
                       part *self, gra_arena *arena)
{
    int64_t *class_at;
    if (!gra_classes_from_levels(model->level_of, model->base.outcomes, model->levels, supported,
                                 out, &class_at, arena)) {
        return 0;
    }
    for (int64_t l = 0; l < model->levels; l++) {
        if (class_at[l] >= 0) {
            self->at[class_at[l]] = l;
        }
    }
    self->classes = self->levels = out->classes;
    return 1;
}

/* Random rewards: outcomes with the same distribution are a class. */
static int take_rows(const group_model *model, const unsigned char *supported, gra_structure *out,
                     part *self, gra_arena *arena)
{
    int64_t n = model->base.outcomes, levels = model->levels, kept = 0;
    int64_t *class_of = gra_arena_take(arena, n, sizeof *class_of);
    int64_t *class_at = gra_arena_take(arena, n, sizeof *class_at);
    int64_t *first = gra_arena_take(arena, n, sizeof *first);
    int64_t *outcome_at = gra_arena_take(arena, n, sizeof *outcome_at);
    double *rows = gra_arena_doubles(arena, n * levels);
    if (class_of == NULL || class_at == NULL || first == NULL || outcome_at == NULL ||
        rows == NULL) {
        return 0;
    }
    for (int64_t o = 0; o < n; o++) {
        if (supported[o]) {
            memcpy(rows + kept * levels, model->distribution + o * levels,
                   (size_t)levels * sizeof(double));
            outcome_at[kept++] = o;
        }
    }
    if (!gra_merge_equal_rows(rows, kept, levels, class_at, first, &self->classes, arena)) {
        return 0;
    }
    for (int64_t o = 0, i = 0; o < n; o++) {
        class_of[o] = supported[o] ? class_at[i++] : -1;
    }
    for (int64_t l = 0; l < levels; l++) {
        int used = 0;
        for (int64_t c = 0; c < self->classes && !used; c++) {
            used = rows[first[c] * levels + l] > 0.0;
        }
        if (used) {
            self->at[self->levels++] = l;
        }
    }
    self->distribution = gra_arena_doubles(arena, self->classes * self->levels);
    self->rest = gra_arena_doubles(arena, self->classes * self->levels);
    if (self->distribution == NULL || self->rest == NULL) {
        return 0;
    }
    for (int64_t c = 0; c < self->classes; c++) {
        const double *row = model->distribution + outcome_at[first[c]] * levels;
        const double *rest = model->rest + outcome_at[first[c]] * levels;
        for (int64_t l = 0; l < self->levels; l++) {
            self->distribution[c * self->levels + l] = row[self->at[l]];
            self->rest[c * self->levels + l] = rest[self->at[l]];
        }
    }
    out->kind = GRA_FLAT;
    out->classes = self->classes;
    out->class_of = class_of;
    return 1;
}

static int take_part(const group_model *model, const unsigned char *supported, gra_structure *out,
                     part *self, gra_arena *arena)
{
    *self = (part){.at = gra_arena_take(arena, model->levels, sizeof *self->at)};
    return self->at != NULL &&
           (model->distribution != NULL ? take_rows(model, supported, out, self, arena)
                                        : take_levels(model, supported, out, self, arena));
}

/* The mean of a distribution (row + rest, row alone where rest is NULL) less a centre. Whatever the
 * centre, its one error is the rounding of what is returned. */
static double mean_about(double centre, const double *x, int64_t levels, const double *row,
                         const double *rest)
{
    gra_sum mean = {0.0, 0.0};
    for (int64_t l = 0; l < levels; l++) {
        double lost, d = gra_two_sum(x[l], -centre, &lost);
        gra_sum_add_product(&mean, row[l], d);
        gra_sum_add_product(&mean, row[l], lost);
        gra_sum_add(&mean, rest != NULL ? rest[l] * d : 0.0);
    }
    return gra_sum_value(mean);
}

/* The mean rewards of the classes less that of the best of them, which is returned, so that small
 * gaps have all their digits; and, unless NULL, the variances within the classes. */
static double class_rewards(const part *self, const double *x, double *reward, double *variance)
{
    double best = -INFINITY;
    for (int64_t c = 0; c < self->classes; c++) {
        double mean =
            self->distribution == NULL
                ? x[c]
                : mean_about(0.0, x, self->levels, self->distribution + c * self->levels, NULL);
        best = fmax(best, mean);
    }
    for (int64_t c = 0; c < self->classes; c++) {
        if (self->distribution == NULL) {
            reward[c] = x[c] - best;
            continue;
        }
        const double *row = self->distribution + c * self->levels;
        reward[c] = mean_about(best, x, self->levels, row, self->rest + c * self->levels);
        gra_sum square = {0.0, 0.0};
        for (int64_t l = 0; l < self->levels; l++) {
            double d = (x[l] - best) - reward[c];
            gra_sum_add(&square, row[l] * d * d);
        }
        if (variance != NULL) {
            variance[c] = gra_sum_value(square);
        }
    }
    return best;
}

/* The rewards of the part's levels. */
static double *level_rewards(const group_model *model, const part *self, gra_arena *arena)
{
    return gra_arena_pick(arena, model->x, self->at, self->levels);
}

/* Affine advantages over the classes without their divisor, from mean rewards (borrowed). 0 on
 * short memory. */
static int start_affine(int64_t classes, const double *reward, gra_affine *out, gra_arena *arena)
{
    double *gap = gra_arena_doubles(arena, classes), best = gra_max(reward, classes);
    for (int64_t c = 0; gap != NULL && c < classes; c++) {
        gap[c] = best - reward[c];
    }
    *out = (gra_affine){.classes = classes, .gap = gap, .reward = reward};
    return gap != NULL;
}

/* ---- a game over levels ---------------------------------------------------------------------- */

typedef struct group_game {
    const gra_expectation *expectation;
    gra_expectation own; /* over the supported levels, when they are not all */
} group_game;

static void shift_by(double *a, int64_t n, double shift)
{
    for (int64_t l = 0; l < n; l++) {
        a[l] -= shift;
    }
}

static int game_advantage(const gra_game *self, const double *w, double shift, int accuracy,
                          double *a, gra_arena *arena)
{
    const group_game *game = self->data;
    int done = gra_expectation_advantage(game->expectation, w, accuracy, a, arena);
    shift_by(a, done ? self->levels : 0, shift);
    return done;
}

static int game_check(const gra_game *self, const double *w, double shift, double *a,
                      gra_arena *arena)
{
    const group_game *game = self->data;
    int done = gra_expectation_check(game->expectation, w, a, arena);
    shift_by(a, done > 0 ? self->levels : 0, shift);
    return done;
}

static int game_jacobian(const gra_game *self, const double *w, int accuracy, double *jacobian,
                         gra_arena *arena)
{
    const group_game *game = self->data;
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
static int set_near(const group_model *model, const part *self, const double *x, gra_game *game,
                    gra_arena *arena)
{
    int64_t n = self->classes;
    double epsilon = is_inside(&model->convention) ? sqrt(model->epsilon) : model->epsilon;
    double *reward = gra_arena_doubles(arena, n);
    double *variance = self->distribution != NULL ? gra_arena_doubles(arena, n) : NULL;
    gra_affine *affine = gra_arena_take(arena, 1, sizeof *affine);
    if (reward == NULL || affine == NULL || (self->distribution != NULL && variance == NULL)) {
        return 0;
    }
    double best = class_rewards(self, x, reward, variance);
    if (!start_affine(n, reward, affine, arena)) {
        return 0;
    }
    if (!(gra_max(affine->gap, n) > 0.0)) {
        return 1;
    }
    game->near = affine;
    if (model->convention.scale == GRPOALIGN_SCALE_MEAN) {
        for (int64_t c = 0; c < n; c++) {
            reward[c] += best; /* here it is more than a difference that counts */
        }
        return gra_divisor_mean(&affine->divisor, n, reward, gra_max(reward, n), gra_min(reward, n),
                                model->epsilon, arena);
    }
    return gra_divisor_limit(&affine->divisor, n, affine->gap, reward, variance, epsilon, arena);
}

static grpoalign_status game_structure(const group_model *model, const part *self,
                                       gra_structure *out, gra_arena *arena, grpoalign_error *error)
{
    if (self->levels > GRA_DENSE_LIMIT) {
        return gra_fail(error, GRPOALIGN_ERR_TOO_LARGE, 1, -1,
                        "solving needs dense matrices over %lld reward levels, the limit is %lld; "
                        "the large-group limit has none",
                        (long long)self->levels, (long long)GRA_DENSE_LIMIT);
    }
    const gra_convention *c = &model->convention;
    group_game *game = gra_alloc(1, sizeof *game);
    double *x = level_rewards(model, self, arena), size = (double)c->group_size;
    if (game == NULL || x == NULL) {
        gra_release(game);
        return gra_fail_memory(error);
    }
    int over_mean = c->scale == GRPOALIGN_SCALE_MEAN;
    /* tests/unit/test_expectation.c measures the error against Bernstein sums; every advantage is
     * below sqrt(G), or over the mean below G. Moving one of the others changes it by at most twice
     * that (over the mean it is never below -1); there are G-1 others, and the total variation is
     * half of sum |dw|. */
    double most = over_mean ? size : gain(c) * sqrt(size);
    out->kind = GRA_GAME;
    out->game = (gra_game){
        .classes = self->classes,
        .levels = self->levels,
        .distribution = self->distribution,
        .advantage = game_advantage,
        .jacobian = game_jacobian,
        .check = game_check,
        .data = game,
        .release = game_release,
        .error = 1e-14 * most,
        .coarse_error = 1e-4 * most,
        .contraction = (size - 1.0) * (over_mean ? 0.5 * size : gain(c) * sqrt(size - 1.0)),
    };
    game->expectation = &model->expectation;
    if (!set_near(model, self, x, &out->game, arena)) {
        return gra_fail_memory(error);
    }
    if (self->levels < model->levels) {
        gra_group_rule rule = rule_of(model);
        int bernstein = c->expectation == GRPOALIGN_EXPECTATION_BERNSTEIN && self->levels > 2;
        int32_t method = bernstein ? GRPOALIGN_EXPECTATION_AUTO : c->expectation;
        game->expectation = &game->own;
        GRA_TRY(gra_expectation_init(&game->own, x, self->levels, &rule, method, error));
    }
    return GRPOALIGN_OK;
}

/* ---- one unknown ---------------------------------------------------------------------------- */

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
        const double *row =
            model->distribution != NULL ? model->distribution + o * model->levels : NULL;
        key[o] = row != NULL ? row[high] : (double)(model->level_of[o] == high);
        tie[o] = row != NULL ? -row[low] : -(double)(model->level_of[o] == low);
    }
    if (!gra_levels_build(key, tie, n, level_of, first, &levels, arena) ||
        !gra_classes_from_levels(level_of, n, levels, supported, out, &class_at, arena)) {
        return gra_fail_memory(error);
    }
    double *success = gra_arena_doubles(arena, out->classes);
    double *failure = gra_arena_doubles(arena, out->classes);
    double *gap = gra_arena_doubles(arena, out->classes);
    double *rest = gra_arena_doubles(arena, out->classes);
    if (success == NULL || failure == NULL || gap == NULL || rest == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t l = 0; l < levels; l++) {
        int64_t c = class_at[l];
        if (c >= 0) {
            success[c] = key[first[l]];
            failure[c] = -tie[first[l]];
            /* of the one that carries the digits, as a part of the failure */
            rest[c] = model->rest == NULL ? 0.0
                      : failure[c] < 0.5  ? model->rest[first[l] * model->levels + low]
                                          : -model->rest[first[l] * model->levels + high];
        }
    }
    int64_t top = out->classes - 1;
    for (int64_t c = 0; c < out->classes; c++) {
        /* The smaller of the two carries the digits of a difference. */
        double by_rest = rest[c] - rest[top];
        gap[c] = fmax(0.0, failure[c] < 0.5 ? (failure[c] - failure[top]) + by_rest
                                            : (success[top] - success[c]) + by_rest);
    }
    if (!(gra_max(gap, out->classes) > 0.0)) {
        return GRPOALIGN_OK;
    }
    gra_contrast contrast = gra_contrast_of(&model->expectation, model->x[low], model->x[high]);
    out->kind = GRA_AFFINE;
    out->affine = (gra_affine){.classes = out->classes, .gap = gap};
    return gra_divisor_two_levels(&out->affine.divisor, out->classes, success, failure, &contrast,
                                  arena)
               ? GRPOALIGN_OK
               : gra_fail_memory(error);
}

/* Over the std of others, whose expectation is over all levels: where some have no class, rows say
 * which have. */
static grpoalign_status others_structure(const group_model *model, const part *self,
                                         gra_structure *out, gra_arena *arena,
                                         grpoalign_error *error)
{
    int64_t n = self->classes, levels = model->levels;
    double *x = level_rewards(model, self, arena), *reward = gra_arena_doubles(arena, n);
    double *rows = NULL;
    if (x == NULL || reward == NULL) {
        return gra_fail_memory(error);
    }
    (void)class_rewards(self, x, reward, NULL);
    if (self->distribution != NULL || n < levels) {
        rows = gra_arena_doubles(arena, n * levels);
        if (rows == NULL) {
            return gra_fail_memory(error);
        }
        memset(rows, 0, (size_t)(n * levels) * sizeof(double));
        for (int64_t c = 0; c < n; c++) {
            for (int64_t l = 0; l < self->levels; l++) {
                rows[c * levels + self->at[l]] = self->distribution != NULL
                                                     ? self->distribution[c * self->levels + l]
                                                     : (double)(c == l);
            }
        }
    }
    if (!start_affine(n, reward, &out->affine, arena)) {
        return gra_fail_memory(error);
    }
    if (gra_max(out->affine.gap, n) > 0.0) {
        out->kind = GRA_AFFINE;
        if (!gra_divisor_others(&out->affine.divisor, n, &model->expectation, rows, arena)) {
            return gra_fail_memory(error);
        }
    }
    return GRPOALIGN_OK;
}

/* ---- groups of two -------------------------------------------------------------------------- */

/* The margin of two levels in a group of two: half their distance over their std, which is that
 * too, or over their mean. */
static double pair_margin(const gra_expectation *e, double a, double b)
{
    double d = 0.5 * (a - b);
    double divisor = e->divisor == GRA_OVER_MEAN         ? 0.5 * (a + b) + e->epsilon
                     : e->divisor == GRA_OVER_STD_INSIDE ? hypot(d, sqrt(e->epsilon))
                                                         : fabs(d) + e->epsilon;
    return d != 0.0 ? e->factor * d / divisor : 0.0;
}

/* The antisymmetric part; adding 0 makes -0 into 0, so that equal rows are equal bit for bit. */
static void make_antisymmetric(double *matrix, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        matrix[i * n + i] = 0.0;
        for (int64_t j = 0; j < i; j++) {
            double margin = 0.5 * (matrix[i * n + j] - matrix[j * n + i]) + 0.0;
            matrix[i * n + j] = margin;
            matrix[j * n + i] = 0.0 - margin;
        }
    }
}

/* Groups of two are pairwise preferences: a matrix over the classes of equal rows. */
static grpoalign_status pair_structure(const group_model *model, const part *self,
                                       gra_structure *out, gra_arena *arena, grpoalign_error *error)
{
    int64_t n = self->classes, levels = self->levels, outcomes = model->base.outcomes;
    double *matrix = gra_arena_doubles(arena, levels * levels),
           *x = level_rewards(model, self, arena);
    int64_t *merged = gra_arena_take(arena, n, sizeof *merged);
    int64_t *class_of = gra_arena_take(arena, outcomes, sizeof *class_of);
    if (matrix == NULL || x == NULL || merged == NULL || class_of == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < levels; i++) {
        for (int64_t j = 0; j < levels; j++) {
            matrix[i * levels + j] = pair_margin(&model->expectation, x[i], x[j]);
        }
    }
    if (self->distribution != NULL) {
        const double *rows = self->distribution, *margins = matrix;
        double *half = gra_arena_doubles(arena, n * levels);
        matrix = gra_arena_doubles(arena, n * n);
        if (half == NULL || matrix == NULL) {
            return gra_fail_memory(error);
        }
        gra_matmul(n, levels, levels, 1.0, rows, levels, margins, levels, 0.0, half, levels);
        gra_matmul_by_transposed(n, n, levels, half, levels, rows, levels, 0.0, matrix, n);
    }
    make_antisymmetric(matrix, n);
    memcpy(class_of, out->class_of, (size_t)outcomes * sizeof *class_of);
    GRA_TRY(gra_margins_structure(matrix, n, out, merged, arena, error));
    for (int64_t o = 0; o < outcomes; o++) {
        class_of[o] = class_of[o] >= 0 ? merged[class_of[o]] : -1;
    }
    out->class_of = class_of;
    return GRPOALIGN_OK;
}

/* The matrix of pairs is preferred to the game over levels up to this many outcomes. */
static const int64_t PAIR_LIMIT = 2048;

static grpoalign_status group_structure(const grpoalign_model *self, const unsigned char *supported,
                                        gra_structure *out, gra_arena *arena,
                                        grpoalign_error *error)
{
    const group_model *model = (const group_model *)self;
    part own;
    if (!take_part(model, supported, out, &own, arena)) {
        return gra_fail_memory(error);
    }
    if (own.levels == 1 || own.classes == 1) {
        return GRPOALIGN_OK;
    }
    int32_t asked = model->convention.expectation;
    int free_choice =
        asked == GRPOALIGN_EXPECTATION_AUTO || asked == GRPOALIGN_EXPECTATION_BERNSTEIN;
    int64_t largest = own.distribution != NULL ? PAIR_LIMIT : GRA_DENSE_LIMIT;
    /* A filter of groups needs the levels for its classes. */
    if (self->filtered > 0) {
        return game_structure(model, &own, out, arena, error);
    }
    if (own.levels == 2 && free_choice) {
        return two_level_structure(model, supported, own.at[0], own.at[1], out, arena, error);
    }
    if (model->convention.group_size == 2 && free_choice && own.classes <= largest) {
        return pair_structure(model, &own, out, arena, error);
    }
    if (model->convention.scale == GRPOALIGN_SCALE_STD_OF_OTHERS) {
        return others_structure(model, &own, out, arena, error);
    }
    return game_structure(model, &own, out, arena, error);
}

static const gra_model_ops GROUP_OPS = {.release = group_release,
                                        .advantage = group_advantage,
                                        .jacobian = group_jacobian,
                                        .by_rewards = group_by_rewards,
                                        .structure = group_structure};

/* ---- construction --------------------------------------------------------------------------- */

/* Adds probability/total to high + low. */
static void add_share(double probability, gra_sum total, double *high, double *low)
{
    double lost, error, share = probability / gra_sum_value(total);
    double product = gra_two_product(share, total.high, &error);
    double left = ((probability - product) - error - share * total.low) / gra_sum_value(total);
    *high = gra_two_sum(*high, share, &lost);
    *low += left + lost;
}

/* Rows that sum to 1, in twice the digits. */
static int build_distribution(group_model *model, int64_t k, const double *distribution,
                              int64_t stride, const int64_t *level_of)
{
    int64_t n = model->base.outcomes, elements;
    int fits = !__builtin_mul_overflow(n, model->levels, &elements);
    model->distribution = fits ? gra_alloc(elements, sizeof(double)) : NULL;
    model->rest = fits ? gra_alloc(elements, sizeof(double)) : NULL;
    if (model->distribution == NULL || model->rest == NULL) {
        return 0;
    }
    for (int64_t o = 0; o < n; o++) {
        double *row = model->distribution + o * model->levels;
        double *rest = model->rest + o * model->levels;
        gra_sum total = {0.0, 0.0};
        for (int64_t l = 0; l < k; l++) {
            gra_sum_add(&total, distribution[o * stride + l]);
        }
        for (int64_t l = 0; l < k; l++) {
            int64_t at = level_of[l];
            add_share(distribution[o * stride + l], total, &row[at], &rest[at]);
        }
    }
    return 1;
}

/* In units of the range: what is divided by more than this is nothing beside anything else. */
static const double LARGEST_EPSILON = 1e150;

static grpoalign_status build(group_model *model, const double *rewards, int64_t k,
                              const double *distribution, int64_t stride, gra_arena *arena,
                              grpoalign_error *error)
{
    int64_t *first = gra_arena_take(arena, k, sizeof *first);
    int64_t *level_of = gra_alloc(k, sizeof *level_of);
    int exponent = gra_range_exponent(rewards, k);
    double *x = gra_scale_rewards(rewards, k, exponent, arena);
    model->level_of = level_of;
    if (first == NULL || level_of == NULL || x == NULL ||
        !gra_levels_build(x, NULL, k, level_of, first, &model->levels, arena)) {
        return gra_fail_memory(error);
    }
    model->x = gra_alloc(model->levels, sizeof(double));
    if (model->x == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t l = 0; l < model->levels; l++) {
        model->x[l] = x[first[l]];
    }
    model->unit = ldexp(1.0, exponent < 1024 ? exponent : 1023);
    model->epsilon =
        fmin(LARGEST_EPSILON, ldexp(model->convention.epsilon,
                                    -(is_inside(&model->convention) ? 2 * exponent : exponent)));
    if (distribution != NULL) {
        int built = build_distribution(model, k, distribution, stride, level_of);
        model->level_of = NULL;
        gra_release(level_of);
        if (!built) {
            return gra_fail_memory(error);
        }
    }
    if (model->levels > 1) {
        gra_group_rule rule = rule_of(model);
        GRA_TRY(gra_expectation_init(&model->expectation, model->x, model->levels, &rule,
                                     model->convention.expectation, error));
        model->base.expectation = model->expectation.method;
    }
    return GRPOALIGN_OK;
}

/* The factor of the model where u = factor (r - mean reward), else 0: unscaled rewards; a pair over
 * the std of others, which has none; and an epsilon that swamps every std, or every mean, so that
 * 1/(S + epsilon) is 1/epsilon to rounding. `top` is the largest reward. */
static double constant_factor(const gra_convention *c, int exponent, double top)
{
    double size = (double)c->group_size, epsilon = ldexp(c->epsilon, -exponent);
    /* What is left of r less the expected reward when the mean contains the member itself. */
    double own = c->baseline == GRPOALIGN_BASELINE_LEAVE_ONE_OUT ? 1.0 : 1.0 - 1.0 / size;
    if (c->scale == GRPOALIGN_SCALE_NONE ||
        (c->scale == GRPOALIGN_SCALE_STD_OF_OTHERS && c->group_size == 2)) {
        return own;
    }
    if (c->scale == GRPOALIGN_SCALE_STD && is_inside(c)) {
        return ldexp(epsilon, -exponent) > 1e34 ? own / sqrt(c->epsilon) : 0.0;
    }
    int swamps = c->scale == GRPOALIGN_SCALE_MEAN
                     ? 1e-17 * c->epsilon > top
                     : c->scale == GRPOALIGN_SCALE_STD && epsilon > 1e17;
    return swamps ? own / c->epsilon : 0.0;
}

/* The mean reward of each outcome less that of the best, which is returned, so that neither a
 * common shift nor a small gap costs digits; and the std within it. `support` is in units of
 * 2^exponent, so that no product leaves the doubles. */
static double outcome_rewards(const double *support, int exponent, int64_t k,
                              const double *distribution, int64_t n, int64_t stride, double *value,
                              double *deviation)
{
    double best = -INFINITY;
    for (int64_t o = 0; o < n; o++) {
        const double *row = distribution + o * stride;
        best = fmax(best,
                    support[0] + mean_about(support[0], support, k, row, NULL) / gra_total(row, k));
    }
    for (int64_t o = 0; o < n; o++) {
        const double *row = distribution + o * stride;
        double total = gra_total(row, k);
        gra_sum square = {0.0, 0.0};
        value[o] = mean_about(best, support, k, row, NULL) / total;
        for (int64_t l = 0; l < k; l++) {
            double d = (support[l] - best) - value[o];
            gra_sum_add(&square, row[l] / total * d * d);
        }
        deviation[o] = ldexp(sqrt(gra_sum_value(square)), exponent);
        value[o] = ldexp(value[o], exponent);
    }
    return ldexp(best, exponent);
}

/* A group whose divisor is one constant. */
static grpoalign_status constant_group(const double *rewards, const double *values,
                                       const double *deviations, int64_t n, double factor,
                                       const gra_convention *convention, grpoalign_model **out,
                                       grpoalign_error *error)
{
    const gra_affine_rewards affine = {
        .outcomes = n, .rewards = rewards, .values = values, .deviations = deviations};
    GRA_TRY(gra_affine_model_new(&affine, factor, convention, out, error));
    int filtered = convention->zero_variance == GRPOALIGN_ZERO_VARIANCE_DROP;
    (*out)->filtered = filtered ? convention->group_size : 0;
    return GRPOALIGN_OK;
}

/* Whether a group of two is the sign of its difference: two members differ from their mean by half
 * their distance, which is also their std, and from each other by all of it. */
static int is_sign_of_difference(const gra_convention *c)
{
    return c->group_size == 2 && c->scale == GRPOALIGN_SCALE_STD && c->epsilon == 0.0 &&
           c->expectation == GRPOALIGN_EXPECTATION_AUTO &&
           c->zero_variance != GRPOALIGN_ZERO_VARIANCE_DROP;
}

static grpoalign_status new_group(const double *rewards, int64_t k, const double *distribution,
                                  int64_t n, int64_t stride, const gra_convention *convention,
                                  gra_arena *arena, grpoalign_model **out, grpoalign_error *error)
{
    const double *reported = rewards;
    double *values = NULL, *deviations = NULL;
    int exponent = gra_range_exponent(rewards, k);
    double factor = constant_factor(convention, exponent, gra_max(rewards, k));
    if (distribution != NULL) {
        double *mean = gra_arena_doubles(arena, n);
        double *scaled = gra_scale_rewards(rewards, k, exponent, arena);
        values = gra_arena_doubles(arena, n);
        deviations = gra_arena_doubles(arena, n);
        if (mean == NULL || values == NULL || deviations == NULL || scaled == NULL) {
            return gra_fail_memory(error);
        }
        double best =
            outcome_rewards(scaled, exponent, k, distribution, n, stride, values, deviations);
        for (int64_t o = 0; o < n; o++) {
            mean[o] = best + values[o];
        }
        reported = mean;
    }
    if (factor > 0.0) {
        return constant_group(reported, values, deviations, n, factor, convention, out, error);
    }
    if (is_sign_of_difference(convention) && distribution == NULL) {
        double share = gain(convention);
        return gra_ranked_new(rewards, n, share * sqrt((2.0 - convention->ddof) / 2.0), out, error);
    }
    GRA_TRY(gra_model_allocate(sizeof(group_model), &GROUP_OPS, n, reported, out, error));
    group_model *model = (group_model *)*out;
    model->convention = *convention;
    GRA_TRY(build(model, rewards, k, distribution, stride, arena, error));
    int filtered = convention->zero_variance == GRPOALIGN_ZERO_VARIANCE_DROP;
    model->base.by_mean_reward = distribution == NULL;
    model->base.filtered = filtered ? convention->group_size : 0;
    return GRPOALIGN_OK;
}

grpoalign_status gra_group_new(const double *rewards, int64_t k, const double *distribution,
                               int64_t n, int64_t stride, const gra_convention *convention,
                               grpoalign_model **out, grpoalign_error *error)
{
    gra_arena arena = GRA_ARENA_INIT;
    grpoalign_status status =
        new_group(rewards, k, distribution, n, stride, convention, &arena, out, error);
    gra_arena_free(&arena);
    if (status < 0) {
        gra_model_free(*out);
        *out = NULL;
    }
    return status;
}
