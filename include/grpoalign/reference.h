/* The reference policy pi_ref of one context. */
#ifndef GRPOALIGN_REFERENCE_H
#define GRPOALIGN_REFERENCE_H

#include <grpoalign/export.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

typedef struct grpoalign_reference grpoalign_reference;

/** Options of the constructors. Start from GRPOALIGN_REFERENCE_OPTIONS_INIT. It only grows at its
 *  end; a new field means its default when 0. */
typedef struct grpoalign_reference_options {
    uint32_t struct_size; /* sizeof the struct */
    int32_t reserved;     /* 0 */
    double sum_tolerance; /* in [0, 1): how far from 1 the sum of probabilities may be before they
                             are normalised; 0 means 1e-4. Logarithms have none */
} grpoalign_reference_options;

#define GRPOALIGN_REFERENCE_OPTIONS_INIT {GRPOALIGN_SIZE(grpoalign_reference_options), 0, 0.0}

/** Sets every field within `size` bytes to its default. Pass sizeof *options. */
GRPOALIGN_API void grpoalign_reference_options_init(grpoalign_reference_options *options,
                                                    uint32_t size);

/**
 * A reference policy from n probabilities.
 *
 * probabilities: n numbers >= 0 that sum to 1 within the tolerance; they are then normalised. An
 *                outcome with probability 0 keeps probability 0 in every policy. Copied.
 * options:       NULL for defaults.
 * out:           receives the handle; release it with grpoalign_reference_free.
 * Errors: ARGUMENT (NULL, n < 1), NOT_FINITE and PROBABILITY (with the index), STRUCT_SIZE, MEMORY.
 *
 * @code
 * #include <grpoalign/grpoalign.h>
 *
 * int main(void)
 * {
 *     const double probabilities[3] = {0.6, 0.3, 0.1};
 *     grpoalign_reference *reference = NULL;
 *     grpoalign_error error;
 *     int failed = grpoalign_reference_new(probabilities, 3, NULL, &reference, &error) < 0;
 *     grpoalign_reference_free(reference);
 *     return failed;
 * }
 * @endcode
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_reference_new(
    const double *probabilities, int64_t n, const grpoalign_reference_options *options,
    grpoalign_reference **out, grpoalign_error *error);

/**
 * A reference policy from n natural logarithms of unnormalised probabilities, as trainers have
 * them. They are normalised by log-sum-exp and kept as logarithms, so that probabilities too small
 * for a double still count. -infinity means probability 0; at least one must be finite.
 * Errors: as above; NOT_FINITE for NaN or +infinity.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_reference_new_log(
    const double *log_probabilities, int64_t n, const grpoalign_reference_options *options,
    grpoalign_reference **out, grpoalign_error *error);

/** The uniform reference policy over n >= 1 outcomes. */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_reference_new_uniform(int64_t n, const grpoalign_reference_options *options,
                                grpoalign_reference **out, grpoalign_error *error);

GRPOALIGN_API void grpoalign_reference_free(grpoalign_reference *reference);

/** The number of outcomes; 0 for NULL. */
GRPOALIGN_API int64_t grpoalign_reference_outcomes(const grpoalign_reference *reference);

/** Copies the normalised probabilities to out[0..n-1]. n must be the number of outcomes. */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_reference_probabilities(const grpoalign_reference *reference, double *out, int64_t n,
                                  grpoalign_error *error);

GRPOALIGN_END

#endif
