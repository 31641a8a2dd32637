#include <grpoalign/reference.h>

#include <math.h>
#include <string.h>

#include "api/handles.h"
#include "base/numeric.h"

/* A handle with room for n outcomes, or NULL. */
static grpoalign_reference *allocate(int64_t n)
{
    grpoalign_reference *reference = gra_alloc(1, sizeof *reference);
    if (reference == NULL) {
        return NULL;
    }
    gra_handle_start(&reference->handle, GRA_REFERENCE_MAGIC);
    reference->outcomes = n;
    reference->probability = gra_alloc(n, sizeof(double));
    reference->logarithm = gra_alloc(n, sizeof(double));
    reference->support = gra_alloc(n, 1);
    if (reference->probability == NULL || reference->logarithm == NULL ||
        reference->support == NULL) {
        gra_reference_free(reference);
        return NULL;
    }
    return reference;
}

static void count_support(grpoalign_reference *reference)
{
    for (int64_t o = 0; o < reference->outcomes; o++) {
        reference->support[o] = reference->logarithm[o] > -INFINITY;
        reference->supported += reference->support[o];
    }
}

static const grpoalign_reference_options REFERENCE_DEFAULTS = {
    .struct_size = sizeof(grpoalign_reference_options), .sum_tolerance = GRA_SUM_TOLERANCE};

void grpoalign_reference_options_init(grpoalign_reference_options *options, uint32_t size)
{
    gra_init_options(options, size, &REFERENCE_DEFAULTS, sizeof REFERENCE_DEFAULTS);
}

/* The checks every constructor begins with; `n` stands at n_position, options and out follow it. */
static grpoalign_status begin(int64_t n, int32_t n_position,
                              const grpoalign_reference_options *options,
                              grpoalign_reference_options *loaded, grpoalign_reference **out,
                              grpoalign_error *error)
{
    int32_t position = n_position + 1;
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", n_position + 2, error));
    *out = NULL;
    *loaded = REFERENCE_DEFAULTS;
    GRA_TRY(gra_load_options(loaded, sizeof *loaded, options, position, error));
    loaded->sum_tolerance =
        loaded->sum_tolerance == 0.0 ? REFERENCE_DEFAULTS.sum_tolerance : loaded->sum_tolerance;
    if (!(loaded->sum_tolerance > 0.0 && loaded->sum_tolerance < 1.0)) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                        "options.sum_tolerance must lie in [0, 1) (got %g)", loaded->sum_tolerance);
    }
    return gra_check_n(n, n_position, error);
}

grpoalign_status grpoalign_reference_new(const double *probabilities, int64_t n,
                                         const grpoalign_reference_options *options,
                                         grpoalign_reference **out, grpoalign_error *error)
{
    grpoalign_reference_options loaded;
    GRA_TRY(begin(n, 2, options, &loaded, out, error));
    GRA_TRY(gra_check_pointer(probabilities, "probabilities", 1, error));
    GRA_TRY(gra_check_distribution(probabilities, n, 0, loaded.sum_tolerance, "probabilities", 1,
                                   error));
    grpoalign_reference *reference = allocate(n);
    if (reference == NULL) {
        return gra_fail_memory(error);
    }
    double sum = gra_total(probabilities, n);
    for (int64_t o = 0; o < n; o++) {
        reference->probability[o] = probabilities[o] / sum;
        reference->logarithm[o] = log(probabilities[o]) - log(sum);
    }
    count_support(reference);
    *out = reference;
    return GRPOALIGN_OK;
}

grpoalign_status grpoalign_reference_new_log(const double *log_probabilities, int64_t n,
                                             const grpoalign_reference_options *options,
                                             grpoalign_reference **out, grpoalign_error *error)
{
    grpoalign_reference_options loaded;
    GRA_TRY(begin(n, 2, options, &loaded, out, error));
    GRA_TRY(gra_check_pointer(log_probabilities, "log_probabilities", 1, error));
    for (int64_t o = 0; o < n; o++) {
        if (isnan(log_probabilities[o]) || log_probabilities[o] == INFINITY) {
            return gra_fail(error, GRPOALIGN_ERR_NOT_FINITE, 1, o,
                            "log_probabilities[%lld] must be finite or -infinity (got %g)",
                            (long long)o, log_probabilities[o]);
        }
    }
    double top = gra_max(log_probabilities, n);
    if (isinf(top)) {
        return gra_fail(error, GRPOALIGN_ERR_PROBABILITY, 1, -1,
                        "log_probabilities must hold a finite entry (all %lld are -infinity)",
                        (long long)n);
    }
    /* Relative to the largest, so that the probabilities sum to 1 however far below 0 the
     * logarithms lie. */
    gra_sum sum = {0.0, 0.0};
    for (int64_t o = 0; o < n; o++) {
        gra_sum_add(&sum, exp(log_probabilities[o] - top));
    }
    double total = gra_sum_value(sum);
    grpoalign_reference *reference = allocate(n);
    if (reference == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t o = 0; o < n; o++) {
        reference->logarithm[o] = (log_probabilities[o] - top) - log(total);
        reference->probability[o] = exp(log_probabilities[o] - top) / total;
    }
    count_support(reference);
    *out = reference;
    return GRPOALIGN_OK;
}

grpoalign_status grpoalign_reference_new_uniform(int64_t n,
                                                 const grpoalign_reference_options *options,
                                                 grpoalign_reference **out, grpoalign_error *error)
{
    grpoalign_reference_options loaded;
    GRA_TRY(begin(n, 1, options, &loaded, out, error));
    grpoalign_reference *reference = allocate(n);
    if (reference == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t o = 0; o < n; o++) {
        reference->probability[o] = 1.0 / (double)n;
        reference->logarithm[o] = -log((double)n);
    }
    count_support(reference);
    *out = reference;
    return GRPOALIGN_OK;
}

static int is_reference(const grpoalign_reference *reference)
{
    return reference != NULL && reference->handle.magic == GRA_REFERENCE_MAGIC;
}

void grpoalign_reference_free(grpoalign_reference *reference)
{
    if (is_reference(reference)) {
        gra_reference_free(reference);
    }
}

int64_t grpoalign_reference_outcomes(const grpoalign_reference *reference)
{
    return is_reference(reference) ? reference->outcomes : 0;
}

grpoalign_status grpoalign_reference_probabilities(const grpoalign_reference *reference,
                                                   double *out, int64_t n, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_reference(reference, 1, error));
    GRA_TRY(gra_check_pointer(out, "out", 2, error));
    GRA_TRY(gra_check_outcomes(n, reference->outcomes, 3, error));
    memcpy(out, reference->probability, (size_t)n * sizeof(double));
    return GRPOALIGN_OK;
}
