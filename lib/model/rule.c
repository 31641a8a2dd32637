/*
 * Groups by any rule: the advantage of a member is a function of its own class and of how many
 * members of the group are of each class.
 *
 * Success or failure: u(success) - u(failure) is the Bernstein polynomial whose coefficients are the
 * differences of the two tables, h(p) = sum_k Bin(k; G - 1, p) (success[k] - failure[k]), k being the
 * successes among the others. Any classes: a sum over all compositions of a group, which the rule
 * was asked about once.
 *
 * A rule need not be zero-sum in a group; advantages are given less their mean.
 */
#include "model/model.h"

#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

/* ---- success or failure --------------------------------------------------------------------- */

typedef struct table_model {
    grpoalign_model base;
    int64_t degree;      /* G - 1 */
    double *gap;         /* degree + 1 coefficients */
    unsigned char *good; /* per outcome */
} table_model;

static void table_release(grpoalign_model *self)
{
    gra_release(((table_model *)self)->gap);
    gra_release(((table_model *)self)->good);
}

double gra_bernstein(const double *coefficients, int64_t degree, double p, double q, double *slope)
{
    /* Outwards from the mode, by the ratios of neighbouring probabilities. */
    double n = (double)degree, mode = fmin(n, floor((n + 1.0) * p));
    gra_sum total = {0.0, 0.0}, value = {0.0, 0.0}, by_p = {0.0, 0.0};
    if (degree == 0 || p <= 0.0 || q <= 0.0) {
        int64_t end = p <= 0.0 ? 0 : degree;
        *slope = degree == 0 ? 0.0
                 : p <= 0.0  ? n * (coefficients[1] - coefficients[0])
                             : n * (coefficients[degree] - coefficients[degree - 1]);
        return coefficients[end];
    }
    for (int side = -1; side <= 1; side += 2) {
        double weight = 1.0;
        for (double k = side < 0 ? mode : mode + 1.0; k >= 0.0 && k <= n; k += side) {
            if (side > 0) {
                weight *= (n - k + 1.0) / k * (p / q);
            }
            gra_sum_add(&total, weight);
            gra_sum_add(&value, weight * coefficients[(int64_t)k]);
            gra_sum_add(&by_p, weight * coefficients[(int64_t)k] * (k - n * p));
            if (side < 0) {
                weight *= k / (n - k + 1.0) * (q / p);
            }
            if (weight < 1e-30) {
                break;
            }
        }
    }
    *slope = gra_sum_value(by_p) / (gra_sum_value(total) * p * q);
    return gra_sum_value(value) / gra_sum_value(total);
}

static void table_masses(const table_model *self, const double *policy, double *p, double *q)
{
    gra_sum up = {0.0, 0.0}, down = {0.0, 0.0};
    for (int64_t o = 0; o < self->base.outcomes; o++) {
        gra_sum_add(self->good[o] ? &up : &down, policy[o]);
    }
    *p = gra_sum_value(up);
    *q = gra_sum_value(down);
}

static grpoalign_status table_advantage(const grpoalign_model *model, const double *policy,
                                        double *advantage, gra_arena *arena, grpoalign_error *error)
{
    const table_model *self = (const table_model *)model;
    double p, q, slope;
    (void)arena, (void)error;
    table_masses(self, policy, &p, &q);
    double h = gra_bernstein(self->gap, self->degree, p, q, &slope);
    for (int64_t o = 0; o < model->outcomes; o++) {
        advantage[o] = self->good[o] ? q * h : -p * h;
    }
    return GRPOALIGN_OK;
}

static grpoalign_status table_jacobian(const grpoalign_model *model, const double *policy,
                                       double *jacobian, int64_t stride, gra_arena *arena,
                                       grpoalign_error *error)
{
    const table_model *self = (const table_model *)model;
    double p, q, slope;
    (void)arena, (void)error;
    table_masses(self, policy, &p, &q);
    double h = gra_bernstein(self->gap, self->degree, p, q, &slope);
    for (int64_t i = 0; i < model->outcomes; i++) {
        double by_p = self->good[i] ? q * slope - h : -p * slope - h;
        for (int64_t j = 0; j < model->outcomes; j++) {
            jacobian[i * stride + j] = self->good[j] ? by_p : 0.0;
        }
    }
    return GRPOALIGN_OK;
}

static int two_advantage(const gra_game *self, const double *w, double shift, int accuracy,
                         double *a, gra_arena *arena)
{
    double slope, h = gra_bernstein(self->bernstein, self->degree, w[1], w[0], &slope);
    (void)accuracy, (void)arena;
    a[0] = -w[1] * h - shift;
    a[1] = w[0] * h - shift;
    return 1;
}

static int two_jacobian(const gra_game *self, const double *w, int accuracy, double *jacobian,
                        gra_arena *arena)
{
    double slope, h = gra_bernstein(self->bernstein, self->degree, w[1], w[0], &slope);
    (void)accuracy, (void)arena;
    jacobian[0] = jacobian[2] = 0.0;
    jacobian[1] = -w[1] * slope - h;
    jacobian[3] = w[0] * slope - h;
    return 1;
}

static grpoalign_status table_structure(const grpoalign_model *model,
                                        const unsigned char *supported, gra_structure *out,
                                        gra_arena *arena, grpoalign_error *error)
{
    const table_model *self = (const table_model *)model;
    int64_t n = model->outcomes, *class_of = gra_arena_take(arena, n, sizeof *class_of);
    int64_t seen[2] = {0, 0};
    double most = 0.0, steepest = 0.0;
    if (class_of == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t o = 0; o < n; o++) {
        seen[self->good[o]] += supported[o];
        class_of[o] = supported[o] ? self->good[o] : -1;
    }
    for (int64_t k = 0; k <= self->degree; k++) {
        most = fmax(most, fabs(self->gap[k]));
        steepest = k > 0 ? fmax(steepest, fabs(self->gap[k] - self->gap[k - 1])) : steepest;
    }
    *out = (gra_structure){.kind = GRA_GAME, .classes = 2, .class_of = class_of};
    if (most == 0.0 || seen[0] == 0 || seen[1] == 0) {
        for (int64_t o = 0; o < n; o++) {
            class_of[o] = supported[o] ? 0 : -1;
        }
        out->kind = GRA_FLAT;
        out->classes = 1;
        return GRPOALIGN_OK;
    }
    out->game = (gra_game){.classes = 2,
                           .levels = 2,
                           .advantage = two_advantage,
                           .jacobian = two_jacobian,
                           .error = 4e-16 * most,
                           .contraction = most + (double)self->degree * steepest,
                           .bernstein = self->gap,
                           .degree = self->degree};
    return GRPOALIGN_OK;
}

static const gra_model_ops TABLE_OPS = {.release = table_release,
                                        .advantage = table_advantage,
                                        .jacobian = table_jacobian,
                                        .structure = table_structure};

grpoalign_status gra_rule_table_new(const double *rewards, int64_t n, const double *success,
                                    const double *failure, int64_t group_size,
                                    grpoalign_model **out, grpoalign_error *error)
{
    grpoalign_model *base;
    GRA_TRY(gra_model_allocate(sizeof(table_model), &TABLE_OPS, n, rewards, &base, error));
    table_model *self = (table_model *)base;
    base->by_mean_reward = 0; /* a rule may punish what is better */
    self->degree = group_size - 1;
    self->gap = gra_alloc(group_size, sizeof *self->gap);
    self->good = gra_alloc(n, sizeof *self->good);
    if (self->gap == NULL || self->good == NULL) {
        gra_model_free(base);
        return gra_fail_memory(error);
    }
    for (int64_t k = 0; k < group_size; k++) {
        self->gap[k] = success[k] - failure[k];
    }
    for (int64_t o = 0; o < n; o++) {
        self->good[o] = rewards[o] == 1.0;
    }
    *out = base;
    return GRPOALIGN_OK;
}

/* ---- any classes ---------------------------------------------------------------------------- */

typedef struct rule_model {
    grpoalign_model base;
    int64_t classes, group_size, compositions;
    int64_t *class_of; /* per outcome */
    int32_t *counts;   /* compositions x classes */
    double *advantage; /* compositions x classes; 0 where the class has no member */
    double *factorial; /* log k!, k = 0 .. group_size */
} rule_model;

static void rule_release(grpoalign_model *self)
{
    rule_model *rule = (rule_model *)self;
    gra_release(rule->class_of);
    gra_release(rule->counts);
    gra_release(rule->advantage);
    gra_release(rule->factorial);
}

/* The logarithm of the probability that the others are `counts` less one of `own` (and, where
 * `also` >= 0, of its derivative by the weight of that class). */
static double log_chance(const rule_model *self, const int32_t *counts, const double *log_w,
                         int64_t own, int64_t also)
{
    int64_t others = self->group_size - 1;
    double sum = self->factorial[others];
    for (int64_t k = 0; k < self->classes; k++) {
        int64_t m = counts[k] - (k == own);
        sum -= self->factorial[m];
        if (k == also) {
            if (m == 0) {
                return -INFINITY;
            }
            sum += log((double)m) + (m > 1 ? (double)(m - 1) * log_w[k] : 0.0);
        } else {
            sum += m > 0 ? (double)m * log_w[k] : 0.0;
        }
    }
    return sum;
}

static double *log_weights(const double *w, int64_t classes, gra_arena *arena)
{
    double *logs = gra_arena_doubles(arena, classes);
    for (int64_t k = 0; logs != NULL && k < classes; k++) {
        logs[k] = log(w[k]);
    }
    return logs;
}

/* a of every class at the weights of the classes, less their mean. 0 on short memory. */
static int class_advantages(const rule_model *self, const double *w, double *a, gra_arena *arena)
{
    gra_arena_mark_t mark = gra_arena_mark(arena);
    int64_t n = self->classes;
    double *logs = log_weights(w, n, arena);
    gra_sum *sum = gra_arena_take(arena, n, sizeof *sum), mean = {0.0, 0.0};
    if (logs == NULL || sum == NULL) {
        return 0;
    }
    memset(sum, 0, (size_t)n * sizeof *sum);
    for (int64_t c = 0; c < self->compositions; c++) {
        const int32_t *counts = self->counts + c * n;
        for (int64_t k = 0; k < n; k++) {
            if (counts[k] > 0) {
                gra_sum_add(&sum[k], exp(log_chance(self, counts, logs, k, -1)) *
                                         self->advantage[c * n + k]);
            }
        }
    }
    for (int64_t k = 0; k < n; k++) {
        a[k] = gra_sum_value(sum[k]);
        gra_sum_add_product(&mean, w[k], a[k]);
    }
    for (int64_t k = 0; k < n; k++) {
        a[k] -= gra_sum_value(mean);
    }
    gra_arena_rewind(arena, mark);
    return 1;
}

/* d a_k / d w_m, up to a constant of the column: the mean changes for all alike. */
static int class_slopes(const rule_model *self, const double *w, double *slopes, gra_arena *arena)
{
    gra_arena_mark_t mark = gra_arena_mark(arena);
    int64_t n = self->classes;
    double *logs = log_weights(w, n, arena), *a = gra_arena_doubles(arena, n);
    if (logs == NULL || a == NULL || !class_advantages(self, w, a, arena)) {
        return 0;
    }
    memset(slopes, 0, (size_t)(n * n) * sizeof(double));
    for (int64_t c = 0; c < self->compositions; c++) {
        const int32_t *counts = self->counts + c * n;
        for (int64_t k = 0; k < n; k++) {
            for (int64_t m = 0; counts[k] > 0 && m < n; m++) {
                slopes[k * n + m] +=
                    exp(log_chance(self, counts, logs, k, m)) * self->advantage[c * n + k];
            }
        }
    }
    for (int64_t m = 0; m < n; m++) {
        gra_sum mean = {a[m], 0.0};
        for (int64_t k = 0; k < n; k++) {
            gra_sum_add_product(&mean, w[k], slopes[k * n + m]);
        }
        for (int64_t k = 0; k < n; k++) {
            slopes[k * n + m] -= gra_sum_value(mean);
        }
    }
    gra_arena_rewind(arena, mark);
    return 1;
}

static double *weights_of(const rule_model *self, const double *policy, gra_arena *arena)
{
    double *w = gra_arena_doubles(arena, self->classes);
    if (w != NULL) {
        memset(w, 0, (size_t)self->classes * sizeof(double));
        for (int64_t o = 0; o < self->base.outcomes; o++) {
            w[self->class_of[o]] += policy[o];
        }
    }
    return w;
}

static grpoalign_status rule_advantage(const grpoalign_model *model, const double *policy,
                                       double *advantage, gra_arena *arena, grpoalign_error *error)
{
    const rule_model *self = (const rule_model *)model;
    double *w = weights_of(self, policy, arena), *a = gra_arena_doubles(arena, self->classes);
    if (w == NULL || a == NULL || !class_advantages(self, w, a, arena)) {
        return gra_fail_memory(error);
    }
    for (int64_t o = 0; o < model->outcomes; o++) {
        advantage[o] = a[self->class_of[o]];
    }
    return GRPOALIGN_OK;
}

static grpoalign_status rule_jacobian(const grpoalign_model *model, const double *policy,
                                      double *jacobian, int64_t stride, gra_arena *arena,
                                      grpoalign_error *error)
{
    const rule_model *self = (const rule_model *)model;
    int64_t n = self->classes;
    double *w = weights_of(self, policy, arena), *slopes = gra_arena_doubles(arena, n * n);
    if (w == NULL || slopes == NULL || !class_slopes(self, w, slopes, arena)) {
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < model->outcomes; i++) {
        for (int64_t j = 0; j < model->outcomes; j++) {
            jacobian[i * stride + j] = slopes[self->class_of[i] * n + self->class_of[j]];
        }
    }
    return GRPOALIGN_OK;
}

/* The classes that are supported, among all. */
typedef struct rule_game {
    const rule_model *model;
    const int64_t *at;
} rule_game;

static double *spread(const gra_game *game, const double *w, gra_arena *arena)
{
    const rule_game *self = game->data;
    double *all = gra_arena_doubles(arena, self->model->classes);
    if (all != NULL) {
        memset(all, 0, (size_t)self->model->classes * sizeof(double));
        for (int64_t c = 0; c < game->classes; c++) {
            all[self->at[c]] = w[c];
        }
    }
    return all;
}

static int game_advantage(const gra_game *game, const double *w, double shift, int accuracy,
                          double *a, gra_arena *arena)
{
    const rule_game *self = game->data;
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *all = spread(game, w, arena), *u = gra_arena_doubles(arena, self->model->classes);
    int done = all != NULL && u != NULL && class_advantages(self->model, all, u, arena);
    (void)accuracy;
    for (int64_t c = 0; done && c < game->classes; c++) {
        a[c] = u[self->at[c]] - shift;
    }
    gra_arena_rewind(arena, mark);
    return done;
}

static int game_jacobian(const gra_game *game, const double *w, int accuracy, double *jacobian,
                         gra_arena *arena)
{
    const rule_game *self = game->data;
    int64_t n = self->model->classes;
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *all = spread(game, w, arena), *slopes = gra_arena_doubles(arena, n * n);
    int done = all != NULL && slopes != NULL && class_slopes(self->model, all, slopes, arena);
    (void)accuracy;
    for (int64_t i = 0; done && i < game->classes; i++) {
        for (int64_t j = 0; j < game->classes; j++) {
            jacobian[i * game->classes + j] = slopes[self->at[i] * n + self->at[j]];
        }
    }
    gra_arena_rewind(arena, mark);
    return done;
}

static grpoalign_status rule_structure(const grpoalign_model *model, const unsigned char *supported,
                                       gra_structure *out, gra_arena *arena, grpoalign_error *error)
{
    const rule_model *self = (const rule_model *)model;
    int64_t *class_at, *at = gra_arena_take(arena, self->classes, sizeof *at);
    rule_game *data = gra_arena_take(arena, 1, sizeof *data);
    double most = 0.0;
    memset(out, 0, sizeof *out);
    if (at == NULL || data == NULL ||
        !gra_classes_from_levels(self->class_of, model->outcomes, self->classes, supported, out,
                                 &class_at, arena)) {
        return gra_fail_memory(error);
    }
    for (int64_t k = 0; k < self->classes; k++) {
        if (class_at[k] >= 0) {
            at[class_at[k]] = k;
        }
    }
    for (int64_t i = 0; i < self->compositions * self->classes; i++) {
        most = fmax(most, fabs(self->advantage[i]));
    }
    if (out->classes == 1 || most == 0.0) {
        return GRPOALIGN_OK; /* flat */
    }
    *data = (rule_game){self, at};
    out->kind = GRA_GAME;
    out->game = (gra_game){.classes = out->classes,
                           .levels = out->classes,
                           .advantage = game_advantage,
                           .jacobian = game_jacobian,
                           .error = 1e-14 * most,
                           .contraction = 2.0 * most * (double)self->group_size,
                           .data = data};
    return GRPOALIGN_OK;
}

static const gra_model_ops RULE_OPS = {.release = rule_release,
                                       .advantage = rule_advantage,
                                       .jacobian = rule_jacobian,
                                       .structure = rule_structure};

/* The most numbers that a rule is asked for. */
static const double MOST_ASKED = 1e7;

/* How many compositions there are, INFINITY beyond the limit. */
static double count_compositions(int64_t classes, int64_t group_size)
{
    double count = 1.0;
    for (int64_t k = 1; k < classes && count * (double)classes <= MOST_ASKED; k++) {
        count *= (double)(group_size + k) / (double)k;
    }
    return count * (double)classes <= MOST_ASKED ? round(count) : INFINITY;
}

/* The next composition; 0 after the last. */
static int next_composition(int64_t *counts, int64_t classes)
{
    int64_t k = 0;
    while (k < classes - 1 && counts[k] == 0) {
        k++;
    }
    if (k == classes - 1) {
        return 0;
    }
    int64_t moved = counts[k] - 1;
    counts[k] = 0;
    counts[0] = moved;
    counts[k + 1]++;
    return 1;
}

static grpoalign_status ask_rule(rule_model *self, grpoalign_rule_fn rule, void *user,
                                 gra_arena *arena, grpoalign_error *error)
{
    int64_t n = self->classes, *counts = gra_arena_take(arena, n, sizeof *counts), c = 0;
    double *a = gra_arena_doubles(arena, n);
    if (counts == NULL || a == NULL) {
        return gra_fail_memory(error);
    }
    memset(counts, 0, (size_t)n * sizeof *counts);
    counts[0] = self->group_size;
    do {
        memset(a, 0, (size_t)n * sizeof(double));
        if (rule(user, counts, n, a) != 0) {
            return gra_fail(error, GRPOALIGN_ERR_CANCELLED, 5, -1, "stopped by the rule");
        }
        for (int64_t k = 0; k < n; k++) {
            self->counts[c * n + k] = (int32_t)counts[k];
            self->advantage[c * n + k] = counts[k] > 0 ? a[k] : 0.0;
            if (!isfinite(self->advantage[c * n + k])) {
                return gra_fail(error, GRPOALIGN_ERR_NOT_FINITE, 5, k,
                                "the rule must give finite advantages (got %g for class %lld)",
                                a[k], (long long)k);
            }
        }
        c++;
    } while (c < self->compositions && next_composition(counts, n));
    return GRPOALIGN_OK;
}

grpoalign_status gra_rule_new(const int64_t *class_of, int64_t n, int64_t classes,
                              int64_t group_size, grpoalign_rule_fn rule, void *user,
                              grpoalign_model **out, grpoalign_error *error)
{
    double count = count_compositions(classes, group_size);
    grpoalign_model *base;
    if (isinf(count)) {
        return gra_fail(error, GRPOALIGN_ERR_TOO_LARGE, 3, -1,
                        "a rule is asked about every composition of a group: %lld members of %lld "
                        "classes have more than %g numbers",
                        (long long)group_size, (long long)classes, MOST_ASKED);
    }
    GRA_TRY(gra_model_allocate(sizeof(rule_model), &RULE_OPS, n, NULL, &base, error));
    rule_model *self = (rule_model *)base;
    gra_arena arena = GRA_ARENA_INIT;
    self->classes = classes;
    self->group_size = group_size;
    self->compositions = (int64_t)count;
    self->class_of = gra_alloc(n, sizeof *self->class_of);
    self->counts = gra_alloc(self->compositions * classes, sizeof *self->counts);
    self->advantage = gra_alloc(self->compositions * classes, sizeof *self->advantage);
    self->factorial = gra_alloc(group_size + 1, sizeof *self->factorial);
    grpoalign_status status = self->class_of && self->counts && self->advantage && self->factorial
                                  ? GRPOALIGN_OK
                                  : gra_fail_memory(error);
    if (status >= 0) {
        memcpy(self->class_of, class_of, (size_t)n * sizeof *class_of);
        for (int64_t k = 0; k <= group_size; k++) {
            self->factorial[k] = lgamma((double)k + 1.0);
        }
        status = ask_rule(self, rule, user, &arena, error);
    }
    gra_arena_free(&arena);
    if (status < 0) {
        gra_model_free(base);
        return status;
    }
    *out = base;
    return GRPOALIGN_OK;
}
