/*
 * Affine advantages of rewards: the limit of large groups, u = (r - mean) / (sigma + epsilon) or
 * (r - mean) / (mean + epsilon), and in groups of any size u = factor (r - mean).
 */
#include "model/model.h"

#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

typedef struct limit_model {
    grpoalign_model base;
    int64_t levels; /* distinct pairs (reward, variance), ascending in reward */
    int64_t *level_of;
    double *reward;   /* per level, scaled: the range lies in [1/2, 1) */
    double *variance; /* per level, in the same scale squared; NULL for none */
    double epsilon;   /* in the same scale */
    double unit;      /* caller's units per unit of the scale */
    double factor;    /* unscaled: u = factor (reward - mean), in the same scale */
    int32_t scale;
} limit_model;

static void limit_release(grpoalign_model *self)
{
    limit_model *model = (limit_model *)self;
    gra_release(model->level_of);
    gra_release(model->reward);
    gra_release(model->variance);
}

/* The affine over the levels listed in at[0..classes-1]. */
static int limit_affine(const limit_model *model, const int64_t *at, int64_t classes,
                        gra_affine *affine, gra_arena *arena)
{
    double *gap = gra_arena_doubles(arena, classes), *reward = gra_arena_doubles(arena, classes);
    double *variance = NULL;
    if (model->variance != NULL) {
        variance = gra_arena_doubles(arena, classes);
    }
    if (gap == NULL || reward == NULL || (model->variance != NULL && variance == NULL)) {
        return 0;
    }
    double best = -INFINITY;
    for (int64_t c = 0; c < classes; c++) {
        best = fmax(best, model->reward[at[c]]);
    }
    for (int64_t c = 0; c < classes; c++) {
        reward[c] = model->reward[at[c]];
        gap[c] = best - reward[c];
        if (variance != NULL) {
            variance[c] = model->variance[at[c]];
        }
    }
    *affine = (gra_affine){.classes = classes, .gap = gap, .reward = reward};
    if (model->scale == GRPOALIGN_SCALE_NONE) {
        gra_divisor_constant(&affine->divisor, classes, model->factor);
        return 1;
    }
    if (model->scale == GRPOALIGN_SCALE_MEAN) {
        double least = best - gra_max(gap, classes);
        return gra_divisor_mean(&affine->divisor, classes, reward, best, least, model->epsilon,
                                arena);
    }
    return gra_divisor_limit(&affine->divisor, classes, gap, reward, variance, model->epsilon,
                             arena);
}

static int all_levels(const limit_model *model, const double *policy, gra_affine *affine,
                      double **mass, gra_arena *arena)
{
    int64_t *at = gra_arena_take(arena, model->levels, sizeof *at);
    *mass = gra_arena_doubles(arena, model->levels);
    if (at == NULL || *mass == NULL) {
        return 0;
    }
    for (int64_t l = 0; l < model->levels; l++) {
        at[l] = l;
        (*mass)[l] = 0.0;
    }
    for (int64_t o = 0; o < model->base.outcomes; o++) {
        (*mass)[model->level_of[o]] += policy[o];
    }
    return limit_affine(model, at, model->levels, affine, arena);
}

static grpoalign_status limit_advantage(const grpoalign_model *self, const double *policy,
                                        double *advantage, gra_arena *arena, grpoalign_error *error)
{
    const limit_model *model = (const limit_model *)self;
    gra_affine affine;
    double *mass;
    if (!all_levels(model, policy, &affine, &mass, arena)) {
        return gra_fail_memory(error);
    }
    double inverse;
    if (!gra_affine_inverse(&affine, mass, arena, &inverse)) {
        return gra_fail_memory(error);
    }
    gra_centre centre = gra_affine_centre(&affine, mass);
    for (int64_t o = 0; o < self->outcomes; o++) {
        double d = -gra_affine_deviation(&affine, centre, model->level_of[o]);
        advantage[o] = d != 0.0 ? inverse * d : 0.0; /* 0/0 stands for 0 */
    }
    return GRPOALIGN_OK;
}

/* u_o = (m - gap_o)/divisor: d u_o = dm/divisor + (m - gap_o) d(1/divisor). */
static grpoalign_status limit_jacobian(const grpoalign_model *self, const double *policy,
                                       double *jacobian, int64_t stride, gra_arena *arena,
                                       grpoalign_error *error)
{
    const limit_model *model = (const limit_model *)self;
    gra_affine affine;
    double *mass, *gradient = gra_arena_doubles(arena, model->levels);
    if (gradient == NULL || !all_levels(model, policy, &affine, &mass, arena)) {
        return gra_fail_memory(error);
    }
    double inverse;
    if (!gra_affine_inverse(&affine, mass, arena, &inverse) ||
        !affine.divisor.kind->gradient(&affine.divisor, mass, arena, gradient)) {
        return gra_fail_memory(error);
    }
    gra_centre centre = gra_affine_centre(&affine, mass);
    for (int64_t i = 0; i < self->outcomes; i++) {
        double d = -gra_affine_deviation(&affine, centre, model->level_of[i]);
        for (int64_t j = 0; j < self->outcomes; j++) {
            int64_t l = model->level_of[j];
            double gap = affine.gap[l];
            jacobian[i * stride + j] = (gap != 0.0 ? inverse * gap : 0.0) + d * gradient[l];
        }
    }
    return GRPOALIGN_OK;
}

/* u_o = (r_o - m)/D: what a reward does by itself, through the mean, and through the divisor, which
 * feels pi_j (r_j - m)/D of it as a std with epsilon inside its root, over sigma as one with epsilon
 * outside, and pi_j as a mean. */
static grpoalign_status limit_by_rewards(const grpoalign_model *self, const double *policy,
                                         double *slopes, gra_arena *arena, grpoalign_error *error)
{
    const limit_model *model = (const limit_model *)self;
    int64_t n = self->outcomes;
    gra_affine affine;
    gra_moments of;
    double *mass, inverse;
    if (!all_levels(model, policy, &affine, &mass, arena) ||
        !gra_affine_inverse(&affine, mass, arena, &inverse) ||
        !affine.divisor.kind->moments(&affine.divisor, 0, mass, 0, arena, &of)) {
        return gra_fail_memory(error);
    }
    gra_centre centre = gra_affine_centre(&affine, mass);
    double sigma =
        model->scale == GRPOALIGN_SCALE_STD ? gra_sigma_value(&affine.divisor, &of) : 1.0;
    for (int64_t j = 0; j < n; j++) {
        double d = -gra_affine_deviation(&affine, centre, model->level_of[j]), p = policy[j];
        double widens = model->scale == GRPOALIGN_SCALE_NONE   ? 0.0
                        : model->scale == GRPOALIGN_SCALE_MEAN ? p
                        : sigma > 0.0                          ? p * d / sigma
                                                               : 0.0; /* nothing spreads */
        for (int64_t o = 0; o < n; o++) {
            double own = -gra_affine_deviation(&affine, centre, model->level_of[o]);
            slopes[o * n + j] = ((o == j) - p - own * inverse * widens) * inverse / model->unit;
        }
    }
    return GRPOALIGN_OK;
}

static grpoalign_status limit_structure(const grpoalign_model *self, const unsigned char *supported,
                                        gra_structure *out, gra_arena *arena,
                                        grpoalign_error *error)
{
    const limit_model *model = (const limit_model *)self;
    int64_t *class_at, *at = gra_arena_take(arena, model->levels, sizeof *at);
    if (at == NULL || !gra_classes_from_levels(model->level_of, self->outcomes, model->levels,
                                               supported, out, &class_at, arena)) {
        return gra_fail_memory(error);
    }
    int equal = 1;
    for (int64_t l = 0; l < model->levels; l++) {
        if (class_at[l] >= 0) {
            at[class_at[l]] = l;
            equal = equal && model->reward[l] == model->reward[at[0]];
        }
    }
    if (!equal) {
        out->kind = GRA_AFFINE;
        if (!limit_affine(model, at, out->classes, &out->affine, arena)) {
            return gra_fail_memory(error);
        }
    }
    return GRPOALIGN_OK;
}

static const gra_model_ops LIMIT_OPS = {.release = limit_release,
                                        .advantage = limit_advantage,
                                        .jacobian = limit_jacobian,
                                        .by_rewards = limit_by_rewards,
                                        .structure = limit_structure};

/* The distinct rewards, with their variances where those count. */
static grpoalign_status build(limit_model *model, const gra_affine_rewards *rewards,
                              const double *values, int varies, double inside, gra_arena *arena,
                              grpoalign_error *error)
{
    int64_t n = rewards->outcomes, *first = gra_arena_take(arena, n, sizeof *first);
    int exponent = gra_range_exponent(values, n);
    double *scaled = gra_scale_rewards(values, n, exponent, arena);
    model->level_of = gra_alloc(n, sizeof *model->level_of);
    if (first == NULL || model->level_of == NULL || scaled == NULL ||
        !gra_levels_build(scaled, varies ? rewards->deviations : NULL, n, model->level_of, first,
                          &model->levels, arena)) {
        return gra_fail_memory(error);
    }
    model->reward = gra_alloc(model->levels, sizeof(double));
    model->variance = varies ? gra_alloc(model->levels, sizeof(double)) : NULL;
    if (model->reward == NULL || (varies && model->variance == NULL)) {
        return gra_fail_memory(error);
    }
    for (int64_t l = 0; l < model->levels; l++) {
        double deviation = rewards->deviations != NULL ? rewards->deviations[first[l]] : 0.0;
        model->reward[l] = scaled[first[l]];
        if (varies) {
            /* The root is scaled, and beyond 1e150 ranges the range is nothing. */
            double root = fmin(ldexp(hypot(deviation, sqrt(inside)), -exponent), 1e150);
            model->variance[l] = root * root;
        }
    }
    model->unit = ldexp(1.0, exponent < 1024 ? exponent : 1023); /* or it is no double */
    return GRPOALIGN_OK;
}

/* A copy of a list that the model keeps, NULL for NULL; 0 on short memory. */
static int keep(double **kept, const double *list, int64_t count)
{
    *kept = list != NULL ? gra_alloc(count, sizeof(double)) : NULL;
    if (*kept != NULL) {
        memcpy(*kept, list, (size_t)count * sizeof(double));
    }
    return list == NULL || *kept != NULL;
}

grpoalign_status gra_affine_model_new(const gra_affine_rewards *rewards, double factor,
                                      const gra_convention *convention, grpoalign_model **out,
                                      grpoalign_error *error)
{
    /* sqrt(sigma^2 + epsilon): epsilon is one more variance within the outcomes. */
    int is_inside = convention->epsilon_place == GRPOALIGN_EPSILON_INSIDE;
    double inside = is_inside && factor == 0.0 ? convention->epsilon : 0.0;
    int varies = factor == 0.0 && (rewards->deviations != NULL || inside > 0.0);
    const double *values = rewards->values != NULL ? rewards->values : rewards->rewards;
    grpoalign_model *base;
    gra_arena arena = GRA_ARENA_INIT;
    GRA_TRY(gra_model_allocate(sizeof(limit_model), &LIMIT_OPS, rewards->outcomes, rewards->rewards,
                               &base, error));
    limit_model *model = (limit_model *)base;
    grpoalign_status status = build(model, rewards, values, varies, inside, &arena, error);
    gra_arena_free(&arena);
    if (status >= 0 && !keep(&base->values, rewards->values, base->outcomes)) {
        status = gra_fail_memory(error);
    }
    if (convention->scale == GRPOALIGN_SCALE_NONE) {
        base->unscaled = factor;
        base->group_size = convention->group_size;
        if (status >= 0 && !keep(&base->deviations, rewards->deviations, base->outcomes)) {
            status = gra_fail_memory(error);
        }
    }
    if (status < 0) {
        gra_model_free(base);
        return status;
    }
    model->epsilon = inside > 0.0 ? 0.0 : convention->epsilon / model->unit;
    model->scale = factor > 0.0 ? GRPOALIGN_SCALE_NONE : convention->scale;
    model->factor = factor * model->unit;
    *out = base;
    return GRPOALIGN_OK;
}

grpoalign_status gra_limit_new(const double *rewards, const double *variances, int64_t n,
                               const gra_convention *convention, grpoalign_model **out,
                               grpoalign_error *error)
{
    gra_arena arena = GRA_ARENA_INIT;
    double *deviations = variances != NULL ? gra_arena_doubles(&arena, n) : NULL;
    grpoalign_status status = GRPOALIGN_OK;
    for (int64_t o = 0; deviations != NULL && o < n; o++) {
        deviations[o] = sqrt(variances[o]);
    }
    if (variances != NULL && deviations == NULL) {
        status = gra_fail_memory(error);
    } else {
        const gra_affine_rewards affine = {
            .outcomes = n, .rewards = rewards, .deviations = deviations};
        double factor = convention->scale == GRPOALIGN_SCALE_NONE ? 1.0 : 0.0;
        status = gra_affine_model_new(&affine, factor, convention, out, error);
    }
    gra_arena_free(&arena);
    return status;
}
