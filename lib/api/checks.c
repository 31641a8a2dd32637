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
                                        const char *name, int32_t position, grpoalign_error *error)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            return gra_fail(error, GRPOALIGN_ERR_NOT_FINITE, position, first + i,
                            "%s[%lld] must be finite (got %g)", name, (long long)i, values[i]);
        }
        if (values[i] < 0.0 || values[i] > 1.0 + GRA_SUM_TOLERANCE) {
            return gra_fail(error, GRPOALIGN_ERR_PROBABILITY, position, first + i,
                            "%s[%lld] must lie in [0, 1] (got %.17g)", name, (long long)i,
                            values[i]);
        }
    }
    double sum = gra_total(values, n);
    if (!(fabs(sum - 1.0) <= GRA_SUM_TOLERANCE)) {
        return gra_fail(error, GRPOALIGN_ERR_PROBABILITY, position, first,
                        "%s must sum to 1 within %g (its %lld entries sum to %.17g)", name,
                        GRA_SUM_TOLERANCE, (long long)n, sum);
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
    if (model->magic != GRA_MODEL_MAGIC) {
        return gra_fail(error, GRPOALIGN_ERR_HANDLE, position, -1,
                        "model is not a live model handle");
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_check_penalty(const grpoalign_penalty *penalty, int32_t position,
                                   grpoalign_error *error)
{
    GRA_TRY(gra_check_pointer(penalty, "penalty", position, error));
    if (penalty->magic != GRA_PENALTY_MAGIC) {
        return gra_fail(error, GRPOALIGN_ERR_HANDLE, position, -1,
                        "penalty is not a live penalty handle");
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_check_reference(const grpoalign_reference *reference, int32_t position,
                                     grpoalign_error *error)
{
    GRA_TRY(gra_check_pointer(reference, "reference", position, error));
    if (reference->magic != GRA_REFERENCE_MAGIC) {
        return gra_fail(error, GRPOALIGN_ERR_HANDLE, position, -1,
                        "reference is not a live reference handle");
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
    memset(theirs, 0, size);
    memcpy(theirs, ours, size < ours_size ? size : ours_size);
    memcpy(theirs, &size, sizeof size);
    return GRPOALIGN_OK;
}

grpoalign_status gra_load_policy(const double *policy, int64_t n, const char *name,
                                 int32_t position, double *out, grpoalign_error *error)
{
    GRA_TRY(gra_check_distribution(policy, n, 0, name, position, error));
    double sum = gra_total(policy, n);
    for (int64_t i = 0; i < n; i++) {
        out[i] = policy[i] / sum;
    }
    return GRPOALIGN_OK;
}
