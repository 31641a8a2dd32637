#include <grpoalign/experimental.h>
#include <grpoalign/model.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/handles.h"
#include "expectation/expectation.h"

static const grpoalign_reward_options REWARD_DEFAULTS = {
    .struct_size = sizeof(grpoalign_reward_options),
    .scale = GRPOALIGN_SCALE_STD,
    .ddof = 0,
    .expectation = GRPOALIGN_EXPECTATION_AUTO,
    .epsilon = 0.0,
};

void grpoalign_reward_options_init(grpoalign_reward_options *options, uint32_t size)
{
    gra_init_options(options, size, &REWARD_DEFAULTS, sizeof REWARD_DEFAULTS);
}

static const grpoalign_preference_options PREFERENCE_DEFAULTS = {
    .struct_size = sizeof(grpoalign_preference_options)};

void grpoalign_preference_options_init(grpoalign_preference_options *options, uint32_t size)
{
    gra_init_options(options, size, &PREFERENCE_DEFAULTS, sizeof PREFERENCE_DEFAULTS);
}

grpoalign_status gra_load_preference_options(const grpoalign_preference_options *options,
                                             int32_t position, grpoalign_preference_options *loaded,
                                             grpoalign_error *error)
{
    *loaded = PREFERENCE_DEFAULTS;
    return gra_load_options(loaded, sizeof *loaded, options, position, error);
}

const char *grpoalign_expectation_name(int32_t expectation)
{
    switch (expectation) {
    case GRPOALIGN_EXPECTATION_AUTO:
        return "auto";
    case GRPOALIGN_EXPECTATION_BERNSTEIN:
        return "bernstein";
    case GRPOALIGN_EXPECTATION_ENUMERATION:
        return "enumeration";
    case GRPOALIGN_EXPECTATION_QUADRATURE:
        return "quadrature";
    default:
        return "unknown";
    }
}

/* An option that must be one of the numbers from 0 to `most`. */
static grpoalign_status check_choice(int32_t value, int32_t most, const char *name,
                                     const char *meaning, int32_t position, grpoalign_error *error)
{
    return value >= 0 && value <= most ? GRPOALIGN_OK
                                       : gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                                                  "options.%s must be from 0 to %d (%s) (got %d)",
                                                  name, (int)most, meaning, (int)value);
}

/* What does not go together. NULL when all is well. */
static const char *contradiction(const grpoalign_reward_options *o, int groups)
{
    if (o->scale == GRPOALIGN_SCALE_NONE &&
        (o->ddof != 0 || o->epsilon != 0.0 || o->epsilon_place != 0)) {
        return "options.ddof, epsilon and epsilon_place belong to the std; with scale none they "
               "must be 0";
    }
    if (o->scale != GRPOALIGN_SCALE_STD && (o->ddof != 0 || o->epsilon_place != 0)) {
        return "options.ddof and options.epsilon_place belong to scale std; with another scale "
               "they must be 0";
    }
    if (o->scale == GRPOALIGN_SCALE_STD_OF_OTHERS &&
        o->baseline != GRPOALIGN_BASELINE_LEAVE_ONE_OUT) {
        return "options.scale std of others needs options.baseline leave one out";
    }
    if (o->scale == GRPOALIGN_SCALE_MEAN && o->baseline != GRPOALIGN_BASELINE_MEAN) {
        return "options.scale mean needs options.baseline mean";
    }
    if (!groups && (o->ddof != 0 || o->expectation != GRPOALIGN_EXPECTATION_AUTO)) {
        return "options.ddof and options.expectation belong to finite groups; here they must be 0";
    }
    if (!groups && o->zero_variance != 0) {
        return "options.zero_variance belongs to finite groups, large ones always have some "
               "variance; here it must be "
               "0";
    }
    return NULL;
}

static grpoalign_status load_reward_options(const grpoalign_reward_options *options,
                                            int32_t position, int groups,
                                            grpoalign_reward_options *loaded,
                                            grpoalign_error *error)
{
    *loaded = REWARD_DEFAULTS;
    GRA_TRY(gra_load_options(loaded, sizeof *loaded, options, position, error));
    GRA_TRY(check_choice(loaded->scale, GRPOALIGN_SCALE_MEAN, "scale",
                         "std, none, std of others, mean", position, error));
    GRA_TRY(check_choice(loaded->baseline, 1, "baseline", "mean, leave one out", position, error));
    GRA_TRY(check_choice(loaded->epsilon_place, 1, "epsilon_place", "outside, inside", position,
                         error));
    GRA_TRY(check_choice(loaded->zero_variance, 1, "zero_variance", "keep, drop", position, error));
    if (loaded->ddof != 0 && loaded->ddof != 1) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                        "options.ddof must be 0 or 1 (got %d)", (int)loaded->ddof);
    }
    if (loaded->expectation < GRPOALIGN_EXPECTATION_AUTO ||
        loaded->expectation > GRPOALIGN_EXPECTATION_QUADRATURE) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                        "options.expectation must be 0 to 3 (got %d)", (int)loaded->expectation);
    }
    if (!isfinite(loaded->epsilon) || loaded->epsilon < 0.0) {
        return gra_fail(
            error, isfinite(loaded->epsilon) ? GRPOALIGN_ERR_ARGUMENT : GRPOALIGN_ERR_NOT_FINITE,
            position, -1, "options.epsilon must be finite and >= 0 (got %g)", loaded->epsilon);
    }
    if (loaded->reserved != 0) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                        "options.reserved must be 0 (got %d)", (int)loaded->reserved);
    }
    const char *wrong = contradiction(loaded, groups);
    if (wrong != NULL) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1, "%s", wrong);
    }
    if (loaded->epsilon == 0.0) {
        loaded->epsilon_place = GRPOALIGN_EPSILON_OUTSIDE; /* nothing to be placed */
    }
    return GRPOALIGN_OK;
}

/* Rewards that are divided by their mean must not be negative. */
static grpoalign_status check_divisible(const grpoalign_reward_options *options,
                                        const double *rewards, int64_t n, const char *name,
                                        grpoalign_error *error)
{
    for (int64_t i = 0; options->scale == GRPOALIGN_SCALE_MEAN && i < n; i++) {
        if (rewards[i] < 0.0) {
            return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 1, i,
                            "%s[%lld] must be >= 0, because with options.scale mean it is divided "
                            "by a mean (got %g)",
                            name, (long long)i, rewards[i]);
        }
    }
    return GRPOALIGN_OK;
}

static gra_convention convention_of(const grpoalign_reward_options *options, int64_t group_size)
{
    return (gra_convention){
        group_size,        options->scale,         options->ddof,          options->expectation,
        options->baseline, options->epsilon_place, options->zero_variance, options->epsilon};
}

/* Margins may be antisymmetric, and above one, by this much. */
static const double MARGIN_TOLERANCE = 1e-9;

grpoalign_status grpoalign_model_new_pairwise(const double *margins, int64_t n, int64_t stride,
                                              const grpoalign_preference_options *options,
                                              grpoalign_model **out, grpoalign_error *error)
{
    grpoalign_preference_options loaded;
    GRA_TRY(gra_begin_model(margins, "margins", n, 2, out, 5, error));
    GRA_TRY(gra_load_preference_options(options, 4, &loaded, error));
    if (stride < n) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 3, -1,
                        "stride must be >= n = %lld (got %lld)", (long long)n, (long long)stride);
    }
    for (int64_t i = 0; i < n; i++) {
        GRA_TRY(gra_ask_host(loaded.progress, loaded.user, 1.0 - (double)i / (double)n, error));
        for (int64_t j = 0; j <= i; j++) {
            double here = margins[i * stride + j], there = margins[j * stride + i];
            if (!isfinite(here) || !isfinite(there)) {
                int64_t row = isfinite(here) ? j : i, column = isfinite(here) ? i : j;
                return gra_fail(error, GRPOALIGN_ERR_NOT_FINITE, 1, row * n + column,
                                "margins[%lld][%lld] must be finite (got %g)", (long long)row,
                                (long long)column, margins[row * stride + column]);
            }
            if (!(fabs(here) <= 1.0 + MARGIN_TOLERANCE)) {
                return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 1, i * n + j,
                                "margins[%lld][%lld] must lie in [-1, 1] (got %.17g)", (long long)i,
                                (long long)j, here);
            }
            if (!(fabs(here + there) <= MARGIN_TOLERANCE)) {
                return gra_fail(
                    error, GRPOALIGN_ERR_ANTISYMMETRY, 1, i * n + j,
                    "margins[%lld][%lld] = %.17g must be minus margins[%lld][%lld] = %.17g "
                    "within %g",
                    (long long)i, (long long)j, here, (long long)j, (long long)i, there,
                    MARGIN_TOLERANCE);
            }
        }
    }
    return gra_margins_new(margins, n, stride, out, error);
}

grpoalign_status grpoalign_model_new_ranked(const double *rewards, int64_t n,
                                            const grpoalign_preference_options *options,
                                            grpoalign_model **out, grpoalign_error *error)
{
    grpoalign_preference_options loaded;
    GRA_TRY(gra_begin_model(rewards, "rewards", n, 2, out, 4, error));
    GRA_TRY(gra_load_preference_options(options, 3, &loaded, error));
    GRA_TRY(gra_check_finite(rewards, n, "rewards", 1, error));
    GRA_TRY(gra_ask_host(loaded.progress, loaded.user, 1.0, error));
    return gra_ranked_new(rewards, n, 1.0, out, error);
}

grpoalign_status grpoalign_model_new_group(const double *rewards, int64_t n, int64_t group_size,
                                           const grpoalign_reward_options *options,
                                           grpoalign_model **out, grpoalign_error *error)
{
    grpoalign_reward_options loaded;
    GRA_TRY(gra_begin_model(rewards, "rewards", n, 2, out, 5, error));
    GRA_TRY(gra_check_group_size(group_size, 3, error));
    GRA_TRY(load_reward_options(options, 4, 1, &loaded, error));
    GRA_TRY(gra_check_finite(rewards, n, "rewards", 1, error));
    GRA_TRY(check_divisible(&loaded, rewards, n, "rewards", error));
    GRA_TRY(gra_ask_host(loaded.progress, loaded.user, 1.0, error));
    gra_convention convention = convention_of(&loaded, group_size);
    return gra_group_new(rewards, n, NULL, n, 0, &convention, out, error);
}

grpoalign_status grpoalign_model_new_group_random(const double *support, int64_t k,
                                                  const double *distribution, int64_t n,
                                                  int64_t stride, int64_t group_size,
                                                  const grpoalign_reward_options *options,
                                                  grpoalign_model **out, grpoalign_error *error)
{
    grpoalign_reward_options loaded;
    GRA_TRY(gra_begin_model(support, "support", n, 4, out, 8, error));
    GRA_TRY(gra_check_pointer(distribution, "distribution", 3, error));
    if (k < 1 || stride < k) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, k < 1 ? 2 : 5, -1,
                        "k must be >= 1 and stride >= k (got k = %lld, stride = %lld)",
                        (long long)k, (long long)stride);
    }
    GRA_TRY(gra_check_group_size(group_size, 6, error));
    GRA_TRY(load_reward_options(options, 7, 1, &loaded, error));
    GRA_TRY(gra_check_finite(support, k, "support", 1, error));
    GRA_TRY(check_divisible(&loaded, support, k, "support", error));
    if (loaded.zero_variance != GRPOALIGN_ZERO_VARIANCE_KEEP) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 7, -1,
                        "options.zero_variance = drop is solved for one reward per outcome, not "
                        "for random rewards");
    }
    for (int64_t o = 0; o < n; o++) {
        char row[48];
        (void)snprintf(row, sizeof row, "distribution[%lld]", (long long)o);
        GRA_TRY(gra_check_distribution(distribution + o * stride, k, o * k, GRA_SUM_TOLERANCE, row,
                                       3, error));
    }
    GRA_TRY(gra_ask_host(loaded.progress, loaded.user, 1.0, error));
    gra_convention convention = convention_of(&loaded, group_size);
    return gra_group_new(support, k, distribution, n, stride, &convention, out, error);
}

grpoalign_status grpoalign_model_new_limit(const double *rewards, const double *variances,
                                           int64_t n, const grpoalign_reward_options *options,
                                           grpoalign_model **out, grpoalign_error *error)
{
    grpoalign_reward_options loaded;
    GRA_TRY(gra_begin_model(rewards, "rewards", n, 3, out, 5, error));
    GRA_TRY(load_reward_options(options, 4, 0, &loaded, error));
    GRA_TRY(gra_check_finite(rewards, n, "rewards", 1, error));
    GRA_TRY(check_divisible(&loaded, rewards, n, "rewards", error));
    if (variances != NULL) {
        GRA_TRY(gra_check_finite(variances, n, "variances", 2, error));
        for (int64_t o = 0; o < n; o++) {
            if (variances[o] < 0.0) {
                return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, o,
                                "variances[%lld] must be >= 0 (got %g)", (long long)o,
                                variances[o]);
            }
        }
    }
    if (loaded.scale == GRPOALIGN_SCALE_STD_OF_OTHERS) {
        loaded.scale = GRPOALIGN_SCALE_STD; /* one member more or less makes no difference */
    }
    GRA_TRY(gra_ask_host(loaded.progress, loaded.user, 1.0, error));
    gra_convention convention = convention_of(&loaded, 0);
    return gra_limit_new(rewards, variances, n, &convention, out, error);
}

static int is_model(const grpoalign_model *model)
{
    return model != NULL && model->handle.magic == GRA_MODEL_MAGIC;
}

void grpoalign_model_free(grpoalign_model *model)
{
    if (is_model(model)) {
        gra_model_free(model);
    }
}

int64_t grpoalign_model_outcomes(const grpoalign_model *model)
{
    return is_model(model) ? model->outcomes : 0;
}

int32_t grpoalign_model_expectation(const grpoalign_model *model)
{
    return is_model(model) ? model->expectation : GRPOALIGN_EXPECTATION_AUTO;
}

grpoalign_status grpoalign_model_advantage(const grpoalign_model *model, const double *policy,
                                           int64_t n, double *advantage, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_model(model, 1, error));
    GRA_TRY(gra_check_pointer(policy, "policy", 2, error));
    GRA_TRY(gra_check_outcomes(n, model->outcomes, 3, error));
    GRA_TRY(gra_check_pointer(advantage, "advantage", 4, error));
    gra_arena arena = GRA_ARENA_INIT;
    double *own = gra_arena_doubles(&arena, n), *u = gra_arena_doubles(&arena, n);
    grpoalign_status status = own == NULL || u == NULL
                                  ? gra_fail_memory(error)
                                  : gra_load_policy(policy, n, "policy", 2, own, error);
    if (status >= 0) {
        status = model->ops->advantage(model, own, u, &arena, error);
    }
    if (status >= 0 && u != NULL) {
        memcpy(advantage, u, (size_t)n * sizeof(double));
    }
    gra_arena_free(&arena);
    return status;
}

grpoalign_status grpoalign_model_jacobian(const grpoalign_model *model, const double *policy,
                                          int64_t n, double *jacobian, int64_t stride,
                                          grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_model(model, 1, error));
    GRA_TRY(gra_check_pointer(policy, "policy", 2, error));
    GRA_TRY(gra_check_outcomes(n, model->outcomes, 3, error));
    GRA_TRY(gra_check_pointer(jacobian, "jacobian", 4, error));
    if (stride < n) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 5, -1,
                        "stride must be >= n = %lld (got %lld)", (long long)n, (long long)stride);
    }
    gra_arena arena = GRA_ARENA_INIT;
    double *own = gra_arena_doubles(&arena, n);
    grpoalign_status status =
        own == NULL ? gra_fail_memory(error) : gra_load_policy(policy, n, "policy", 2, own, error);
    if (status >= 0) {
        status = model->ops->jacobian(model, own, jacobian, stride, &arena, error);
    }
    gra_arena_free(&arena);
    return status;
}
