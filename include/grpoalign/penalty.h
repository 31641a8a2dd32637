/*
 * Penalties: advantages -> policy.
 *
 * The names are the paper's; reinforcement-learning papers often use the two words the other way round,
 * so the formula is what counts.
 *
 *   reverse KL   KL(pi_ref || pi)   the k3 estimator in the loss, differentiated on-policy as trainers do
 *                                   (paper, eq. (11)):  pi_o = pi_ref,o / (1 - (u_o - mean u) / beta)
 *   direct KL    KL(pi || pi_ref)   k1 in the reward, k2 in the loss:  pi_o ~ pi_ref,o exp(u_o / beta)
 */
#ifndef GRPOALIGN_PENALTY_H
#define GRPOALIGN_PENALTY_H

#include <stdint.h>

#include <grpoalign/export.h>
#include <grpoalign/reference.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

typedef struct grpoalign_penalty grpoalign_penalty;

enum {
    GRPOALIGN_PENALTY_REVERSE_KL = 1, /* KL(pi_ref || pi) */
    GRPOALIGN_PENALTY_DIRECT_KL = 2   /* KL(pi || pi_ref) */
};

/** A penalty of the given kind, GRPOALIGN_PENALTY_*. Errors: ARGUMENT, MEMORY. */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_penalty_new(int32_t kind, grpoalign_penalty **out, grpoalign_error *error);

GRPOALIGN_API void grpoalign_penalty_free(grpoalign_penalty *penalty);

/** GRPOALIGN_PENALTY_*; 0 for NULL or a dead handle. */
GRPOALIGN_API int32_t grpoalign_penalty_kind(const grpoalign_penalty *penalty);

/** "reverse_kl", "direct_kl"; "unknown" for another number. Static storage. */
GRPOALIGN_API const char *grpoalign_penalty_name(int32_t kind);

/**
 * The response: the policy that is stationary for fixed advantages.
 *   reverse KL   pi_o = pi_ref,o / (c - u_o / beta), with the c > max u / beta that makes it sum to 1
 *   direct KL    pi_o = pi_ref,o exp(u_o / beta) / Z
 *
 * beta:       > 0, finite.
 * advantage:  n finite numbers; a common shift changes nothing.
 * policy:     receives n probabilities; may be the same array as advantage.
 * normaliser: receives c or log Z; may be NULL.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_penalty_respond(const grpoalign_penalty *penalty, const grpoalign_reference *reference,
                          double beta, const double *advantage, int64_t n, double *policy,
                          double *normaliser, grpoalign_error *error);

/**
 * The divergence between a policy and the reference: KL(pi_ref || pi) for reverse KL, KL(pi || pi_ref)
 * for direct KL, in nats; +infinity where it is.
 * policy: n probabilities summing to 1 within 1e-4; they are then normalised.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_penalty_divergence(const grpoalign_penalty *penalty, const grpoalign_reference *reference,
                             const double *policy, int64_t n, double *divergence,
                             grpoalign_error *error);

GRPOALIGN_END

#endif
