#include <grpoalign/reference.h>

#include <math.h>
#include <string.h>

#include "api/session.h"
#include "base/numeric.h"

/* A handle with room for n outcomes, or NULL. */
static grpoalign_reference *allocate(int64_t n)
{
    grpoalign_reference *reference = gra_alloc(1, sizeof *reference);
    if (reference == NULL) {
        return NULL;
    }
    reference->magic = GRA_REFERENCE_MAGIC;
    reference->outcomes = n;
    reference->probability = gra_alloc(n, sizeof(double));
    reference->logarithm = gra_alloc(n, sizeof(double));
    reference->support = gra_alloc(n, 1);
    if (reference->probability == NULL || reference->logarithm == NULL ||
        reference->support == NULL) {
        grpoalign_reference_free(reference);
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

static grpoalign_status begin(const void *values, const char *name, int64_t n,
                              grpoalign_reference **out, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 3, error));
    *out = NULL;
    GRA_TRY(gra_check_pointer(values, name, 1, error));
    if (n < 1) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1, "n must be >= 1 (got %lld)",
                        (long long)n);
    }
    return GRPOALIGN_OK;
}

grpoalign_status grpoalign_reference_new(const double *probabilities, int64_t n,
                                         grpoalign_reference **out, grpoalign_error *error)
{
    GRA_TRY(begin(probabilities, "probabilities", n, out, error));
    GRA_TRY(gra_check_distribution(probabilities, n, 0, "probabilities", 1, error));
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
                                             grpoalign_reference **out, grpoalign_error *error)
{
    GRA_TRY(begin(log_probabilities, "log_probabilities", n, out, error));
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

grpoalign_status grpoalign_reference_new_uniform(int64_t n, grpoalign_reference **out,
                                                 grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 2, error));
    *out = NULL;
    if (n < 1) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 1, -1, "n must be >= 1 (got %lld)",
                        (long long)n);
    }
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

void grpoalign_reference_free(grpoalign_reference *reference)
{
    if (reference != NULL && reference->magic == GRA_REFERENCE_MAGIC) {
        reference->magic = 0;
        gra_release(reference->probability);
        gra_release(reference->logarithm);
        gra_release(reference->support);
        gra_release(reference);
    }
}

int64_t grpoalign_reference_outcomes(const grpoalign_reference *reference)
{
    return reference != NULL && reference->magic == GRA_REFERENCE_MAGIC ? reference->outcomes : 0;
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

int gra_reference_of_classes(const grpoalign_reference *reference, const gra_structure *structure,
                             gra_class_reference *over_classes, double *share, gra_arena *arena)
{
    /* Sums in logarithms, so that masses below the doubles are right too. */
    int64_t classes = structure->classes;
    double *mass = gra_arena_doubles(arena, classes), *low = gra_arena_doubles(arena, classes);
    double *log_mass = gra_arena_doubles(arena, classes), *top = gra_arena_doubles(arena, classes);
    if (mass == NULL || low == NULL || log_mass == NULL || top == NULL) {
        return 0;
    }
    for (int64_t c = 0; c < classes; c++) {
        mass[c] = low[c] = 0.0;
        top[c] = -INFINITY;
    }
    for (int64_t o = 0; o < reference->outcomes; o++) {
        int64_t c = structure->class_of[o];
        if (c >= 0) {
            top[c] = fmax(top[c], reference->logarithm[o]);
        }
    }
    for (int64_t o = 0; o < reference->outcomes; o++) {
        int64_t c = structure->class_of[o];
        if (c >= 0) {
            gra_sum sum = {mass[c], low[c]};
            gra_sum_add(&sum, exp(reference->logarithm[o] - top[c]));
            mass[c] = sum.high;
            low[c] = sum.low;
        }
    }
    for (int64_t o = 0; o < reference->outcomes; o++) {
        int64_t c = structure->class_of[o];
        share[o] = c >= 0 ? exp(reference->logarithm[o] - top[c]) / (mass[c] + low[c]) : 0.0;
    }
    for (int64_t c = 0; c < classes; c++) {
        log_mass[c] = top[c] + log(mass[c] + low[c]);
    }
    /* Where the probabilities are ordinary doubles their sum is more exact than the exponential of
     * a logarithm. */
    memset(mass, 0, (size_t)classes * sizeof(double));
    memset(low, 0, (size_t)classes * sizeof(double));
    for (int64_t o = 0; o < reference->outcomes; o++) {
        int64_t c = structure->class_of[o];
        if (c >= 0) {
            gra_sum sum = {mass[c], low[c]};
            gra_sum_add(&sum, reference->probability[o]);
            mass[c] = sum.high;
            low[c] = sum.low;
        }
    }
    for (int64_t c = 0; c < classes; c++) {
        mass[c] += low[c];
    }
    for (int64_t o = 0; o < reference->outcomes; o++) {
        int64_t c = structure->class_of[o];
        if (c >= 0 && mass[c] > GRA_LEAST_MASS) {
            share[o] = reference->probability[o] / mass[c];
        }
    }
    for (int64_t c = 0; c < classes; c++) {
        log_mass[c] = mass[c] > GRA_LEAST_MASS ? log(mass[c]) : log_mass[c];
        mass[c] = fmax(mass[c], GRA_LEAST_MASS);
    }
    over_classes->classes = classes;
    over_classes->mass = mass;
    over_classes->log_mass = log_mass;
    return 1;
}
