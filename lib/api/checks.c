#include "api/handles.h"

#include <math.h>
#include <string.h>

#include "base/numeric.h"

grpoalign_status gra_check_pointer(const void *pointer, const char *name, int32_t position,
                                   grpoalign_error *error)
{
    if (pointer == NULL) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1, "%s must not be NULL", name);
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_check_n(int64_t n, int32_t position, grpoalign_error *error)
{
    return n >= 1 ? GRPOALIGN_OK
                  : gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                             "n must be >= 1 (got %lld)", (long long)n);
}

grpoalign_status gra_check_group_size(int64_t group_size, int32_t position, grpoalign_error *error)
{
    return group_size >= 2 && group_size <= INT32_MAX
               ? GRPOALIGN_OK
               : gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                          "group_size must be from 2 to 2147483647 (got %lld)",
                          (long long)group_size);
}

grpoalign_status gra_begin_model(const void *values, const char *name, int64_t n,
                                 int32_t n_position, grpoalign_model **out, int32_t out_position,
                                 grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", out_position, error));
    *out = NULL;
    GRA_TRY(gra_check_pointer(values, name, 1, error));
    return gra_check_n(n, n_position, error);
}

grpoalign_status gra_check_finite(const double *values, int64_t n, const char *name,
                                  int32_t position, grpoalign_error *error)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            return gra_fail(error, GRPOALIGN_ERR_NOT_FINITE, position, i,
                            "%s[%lld] must be finite (got %g)", name, (long long)i, values[i]);
        }
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_check_distribution(const double *values, int64_t n, int64_t first,
                                        double tolerance, const char *name, int32_t position,
                                        grpoalign_error *error)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            return gra_fail(error, GRPOALIGN_ERR_NOT_FINITE, position, first + i,
                            "%s[%lld] must be finite (got %g)", name, (long long)i, values[i]);
        }
        if (values[i] < 0.0 || values[i] > 1.0 + tolerance) {
            return gra_fail(error, GRPOALIGN_ERR_PROBABILITY, position, first + i,
                            "%s[%lld] must lie in [0, 1] (got %.17g)", name, (long long)i,
                            values[i]);
        }
    }
    double sum = gra_total(values, n);
    if (!(fabs(sum - 1.0) <= tolerance)) {
        return gra_fail(error, GRPOALIGN_ERR_PROBABILITY, position, first,
                        "%s must sum to 1 within %g (its %lld entries sum to %.17g)", name,
                        tolerance, (long long)n, sum);
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_check_beta(double beta, const char *name, int32_t position, int64_t index,
                                grpoalign_error *error)
{
    if (!isfinite(beta)) {
        return gra_fail(error, GRPOALIGN_ERR_NOT_FINITE, position, index,
                        "%s must be finite (got %g)", name, beta);
    }
    if (!(beta >= 1e-150 && beta <= 1e150)) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, index,
                        "%s must be > 0, from 1e-150 to 1e150 (got %.17g)", name, beta);
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_check_model(const grpoalign_model *model, int32_t position,
                                 grpoalign_error *error)
{
    GRA_TRY(gra_check_pointer(model, "model", position, error));
    if (model->handle.magic != GRA_MODEL_MAGIC) {
        return gra_fail(error, GRPOALIGN_ERR_HANDLE, position, -1,
                        "model is not a handle of a model");
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_check_penalty(const grpoalign_penalty *penalty, int32_t position,
                                   grpoalign_error *error)
{
    GRA_TRY(gra_check_pointer(penalty, "penalty", position, error));
    if (penalty->handle.magic != GRA_PENALTY_MAGIC) {
        return gra_fail(error, GRPOALIGN_ERR_HANDLE, position, -1,
                        "penalty is not a handle of a penalty");
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_check_reference(const grpoalign_reference *reference, int32_t position,
                                     grpoalign_error *error)
{
    GRA_TRY(gra_check_pointer(reference, "reference", position, error));
    if (reference->handle.magic != GRA_REFERENCE_MAGIC) {
        return gra_fail(error, GRPOALIGN_ERR_HANDLE, position, -1,
                        "reference is not a handle of a reference");
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_check_problem(const grpoalign_problem *problem, int32_t position,
                                   grpoalign_error *error)
{
    GRA_TRY(gra_check_pointer(problem, "problem", position, error));
    if (problem->handle.magic != GRA_PROBLEM_MAGIC) {
        return gra_fail(error, GRPOALIGN_ERR_HANDLE, position, -1,
                        "problem is not a handle of a problem");
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_check_outcomes(int64_t given, int64_t expected, int32_t position,
                                    grpoalign_error *error)
{
    if (given != expected) {
        return gra_fail(error, GRPOALIGN_ERR_DIMENSION, position, -1,
                        "n must be the number of outcomes, %lld (got %lld)", (long long)expected,
                        (long long)given);
    }
    return GRPOALIGN_OK;
}

void gra_init_options(void *theirs, uint32_t size, const void *defaults, uint32_t defaults_size)
{
    if (theirs != NULL && size >= sizeof size) {
        memset(theirs, 0, size);
        memcpy(theirs, defaults, size < defaults_size ? size : defaults_size);
        memcpy(theirs, &size, sizeof size);
    }
}

grpoalign_status gra_load_options(void *ours, uint32_t size, const void *theirs, int32_t position,
                                  grpoalign_error *error)
{
    uint32_t given;
    if (theirs == NULL) {
        return GRPOALIGN_OK;
    }
    memcpy(&given, theirs, sizeof given);
    if (given < 8 || given > 4096 || given % 8 != 0) {
        return gra_fail(
            error, GRPOALIGN_ERR_STRUCT_SIZE, position, -1,
            "options.struct_size must be sizeof of the struct (got %u); use the _init function",
            (unsigned)given);
    }
    const unsigned char *bytes = theirs;
    for (uint32_t i = size; i < given; i++) {
        if (bytes[i] != 0) {
            return gra_fail(
                error, GRPOALIGN_ERR_STRUCT_SIZE, position, (int64_t)i,
                "options are newer than this library (%u bytes, known %u) and byte %u is set",
                (unsigned)given, (unsigned)size, (unsigned)i);
        }
    }
    memcpy(ours, theirs, given < size ? given : size);
    memcpy(ours, &size, sizeof size);
    return GRPOALIGN_OK;
}

grpoalign_status gra_fill_struct(void *theirs, const char *name, int32_t position, const void *ours,
                                 uint32_t ours_size, grpoalign_error *error)
{
    uint32_t size;
    memcpy(&size, theirs, sizeof size);
    if (size < 8 || size > 4096 || size % 8 != 0) {
        return gra_fail(error, GRPOALIGN_ERR_STRUCT_SIZE, position, -1,
                        "%s.struct_size must be set to sizeof the struct (got %u)", name,
                        (unsigned)size);
    }
    uint32_t filled = size < ours_size ? size : ours_size;
    memset(theirs, 0, size);
    memcpy(theirs, ours, filled);
    memcpy(theirs, &filled, sizeof filled);
    return GRPOALIGN_OK;
}

grpoalign_status gra_load_policy(const double *policy, int64_t n, const char *name,
                                 int32_t position, double *out, grpoalign_error *error)
{
    GRA_TRY(gra_check_distribution(policy, n, 0, GRA_SUM_TOLERANCE, name, position, error));
    double sum = gra_total(policy, n);
    for (int64_t i = 0; i < n; i++) {
        out[i] = policy[i] / sum;
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_check_start(const double *start, int64_t count, int64_t n, int32_t position,
                                 grpoalign_error *error)
{
    if (start == NULL && count != 0) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                        "options.start_count must be 0 where options.start is NULL (got %lld)",
                        (long long)count);
    }
    if (start == NULL) {
        return GRPOALIGN_OK;
    }
    if (count != n) {
        return gra_fail(error, GRPOALIGN_ERR_DIMENSION, position, -1,
                        "options.start_count must be the number of outcomes, %lld (got %lld)",
                        (long long)n, (long long)count);
    }
    return gra_check_distribution(start, n, 0, GRA_SUM_TOLERANCE, "options.start", position, error);
}

static const grpoalign_solve_options SOLVE_DEFAULTS = {
    .struct_size = sizeof(grpoalign_solve_options),
    .max_iterations = 2000,
    .tolerance = 1e-11,
};

void grpoalign_solve_options_init(grpoalign_solve_options *options, uint32_t size)
{
    gra_init_options(options, size, &SOLVE_DEFAULTS, sizeof SOLVE_DEFAULTS);
}

grpoalign_status gra_load_solve_options(const grpoalign_solve_options *options, int64_t n,
                                        int32_t position, grpoalign_solve_options *loaded,
                                        grpoalign_error *error)
{
    *loaded = SOLVE_DEFAULTS;
    GRA_TRY(gra_load_options(loaded, sizeof *loaded, options, position, error));
    loaded->max_iterations =
        loaded->max_iterations == 0 ? SOLVE_DEFAULTS.max_iterations : loaded->max_iterations;
    loaded->tolerance = loaded->tolerance == 0.0 ? SOLVE_DEFAULTS.tolerance : loaded->tolerance;
    if (loaded->max_iterations < 0) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                        "options.max_iterations must be >= 0 (got %d)",
                        (int)loaded->max_iterations);
    }
    if (!(loaded->tolerance > 0.0 && loaded->tolerance < 1.0)) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                        "options.tolerance must lie in (0, 1) (got %g)", loaded->tolerance);
    }
    if (loaded->stability < GRPOALIGN_STABILITY_SIGN ||
        loaded->stability > GRPOALIGN_STABILITY_SKIP) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                        "options.stability must be 0, 1 or 2 (got %d)", (int)loaded->stability);
    }
    if (loaded->reserved != 0) {
        return gra_fail(error, GRPOALIGN_ERR_STRUCT_SIZE, position, -1,
                        "options.reserved must be 0 (got %d)", (int)loaded->reserved);
    }
    if (n < 0) {
        loaded->start = NULL;
        return GRPOALIGN_OK;
    }
    return gra_check_start(loaded->start, loaded->start_count, n, position, error);
}

grpoalign_status gra_qualify(grpoalign_status status, grpoalign_error *error)
{
    const char *what = NULL;
    switch (status) {
    case GRPOALIGN_NOT_UNIQUE:
        what = "other stationary policies exist; this is the one that the reference leads to";
        break;
    case GRPOALIGN_ACCURACY_LIMITED:
        what = "the estimated error of the policy, report.policy_error, exceeds options.tolerance";
        break;
    case GRPOALIGN_COLLAPSED:
        what = "no stationary policy has full support; the policy is the limit of training, on the "
               "best outcomes alone";
        break;
    case GRPOALIGN_NOT_CONVERGED:
        what = "the iteration ended before it converged; the policy is the best iterate";
        break;
    case GRPOALIGN_UNSETTLED:
        what = "training circles; the policy is what it circles around";
        break;
    default:
        return status;
    }
    return gra_fail(error, status, 0, -1, "%s", what);
}
