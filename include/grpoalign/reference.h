/* The reference policy pi_ref of one context. */
#ifndef GRPOALIGN_REFERENCE_H
#define GRPOALIGN_REFERENCE_H

#include <stdint.h>

#include <grpoalign/export.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

typedef struct grpoalign_reference grpoalign_reference;

/**
 * A reference policy from n probabilities.
 *
 * probabilities: n numbers >= 0 that sum to 1 within 1e-4; they are then normalised. An outcome with
 *                probability 0 keeps probability 0 in every policy.
 * out:           receives the handle; release it with grpoalign_reference_free.
 * Errors: ARGUMENT (NULL, n < 1), NOT_FINITE and PROBABILITY (with the index), MEMORY.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_reference_new(const double *probabilities, int64_t n, grpoalign_reference **out,
                        grpoalign_error *error);

/**
 * A reference policy from n natural logarithms of unnormalised probabilities, as trainers have them.
 * They are normalised by log-sum-exp and kept as logarithms, so that probabilities too small for a
 * double still count. -infinity means probability 0; at least one must be finite.
 * Errors: as above; NOT_FINITE for NaN or +infinity.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_reference_new_log(const double *log_probabilities, int64_t n, grpoalign_reference **out,
                            grpoalign_error *error);

/** The uniform reference policy over n >= 1 outcomes. */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_reference_new_uniform(int64_t n, grpoalign_reference **out, grpoalign_error *error);

GRPOALIGN_API void grpoalign_reference_free(grpoalign_reference *reference);

/** The number of outcomes; 0 for NULL or a dead handle. */
GRPOALIGN_API int64_t grpoalign_reference_outcomes(const grpoalign_reference *reference);

/** Copies the normalised probabilities to out[0..n-1]. n must be the number of outcomes. */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_reference_probabilities(const grpoalign_reference *reference, double *out, int64_t n,
                                  grpoalign_error *error);

GRPOALIGN_END

#endif
