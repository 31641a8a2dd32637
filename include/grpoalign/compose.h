/*
 * What adds up: weighted sums of preference models, sums of penalties, and penalties that stand at
 * every token of a completion.
 *
 * In general a policy is stationary when, for every outcome o with probability > 0,
 *
 *     omega_o (sum_k w_k u_o^(k) - sum_i beta_i g_i(l_o)) = C,      l = log(pi/pi_ref),
 *
 * u^(k) being the advantages of models, g_i the laws of penalties (penalty.h), and omega the weights
 * of completions in the loss. Models close under weighted sums, penalties under sums.
 */
#ifndef GRPOALIGN_COMPOSE_H
#define GRPOALIGN_COMPOSE_H

#include <grpoalign/export.h>
#include <grpoalign/model.h>
#include <grpoalign/penalty.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

/**
 * The sum of models, u = sum_k weights[k] u^(k): several rewards, each normalised in the group by
 * itself (GDPO, arXiv 2601.05242), a judge's margins beside a verifier's reward, a length penalty
 * added after normalisation.
 *
 * models:  count handles over the same outcomes. The sum keeps them alive: they may be freed at
 *          once.
 * weights: count finite numbers of any sign.
 * count:   >= 1.
 *
 * Unscaled rewards add up to unscaled rewards. Margins, rankings and unscaled rewards add up to one
 * antisymmetric game, which has one stationary policy. The expected reward of the sum is the
 * weighted sum of rewards, where all models have some.
 *
 * Errors: ARGUMENT, HANDLE and DIMENSION (index = of the model), NOT_FINITE (index = of the weight,
 * or -1 where the weighted rewards leave the doubles), UNSUPPORTED (models that drop groups),
 * MEMORY. Problems of sums of scaled models or of margins have at most 4096 classes of outcomes
 * that differ in some term (TOO_LARGE).
 *
 * @code
 * #include <grpoalign/grpoalign.h>
 *
 * int main(void)
 * {
 *     const double correct[3] = {0.0, 1.0, 1.0}, brief[3] = {3.0, 1.0, 2.0}, weights[2] = {1, 0.5};
 *     const double policy[3] = {0.5, 0.3, 0.2};
 *     double advantage[3];
 *     grpoalign_model *parts[2] = {NULL, NULL}, *sum = NULL;
 *     int failed =
 *         grpoalign_model_new_group(correct, 3, 8, NULL, &parts[0], NULL) < 0 ||
 *         grpoalign_model_new_group(brief, 3, 8, NULL, &parts[1], NULL) < 0 ||
 *         grpoalign_model_new_sum((const grpoalign_model *const *)parts, weights, 2, &sum, NULL) < 0;
 *     grpoalign_model_free(parts[0]), grpoalign_model_free(parts[1]);
 *     failed = failed || grpoalign_model_advantage(sum, policy, 3, advantage, NULL) < 0;
 *     failed = failed || !(advantage[2] > advantage[1]);
 *     grpoalign_model_free(sum);
 *     return failed;
 * }
 * @endcode
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_model_new_sum(const grpoalign_model *const *models, const double *weights, int64_t count,
                        grpoalign_model **out, grpoalign_error *error);

/**
 * The sum of penalties, g = sum_i coefficients[i] g_i. The beta of a problem multiplies the whole.
 *
 * penalties:    count handles. Each holds every outcome whatever its advantage: reverse and direct
 *               KL, chi-squared, Jensen-Shannon, alpha divergences, and sums of them. Those that let
 *               outcomes go, jump, or are part of the reward have no sum (UNSUPPORTED), because the
 *               sum has no response of its own. They may be freed at once.
 * coefficients: count finite numbers >= 0, some > 0.
 * count:        >= 1.
 *
 * Its kind is SUM; normaliser and residual are those of "others" in penalty.h.
 * Errors: ARGUMENT and HANDLE (index = of the penalty or the coefficient), NOT_FINITE, UNSUPPORTED,
 * MEMORY.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_penalty_new_sum(const grpoalign_penalty *const *penalties, const double *coefficients,
                          int64_t count, grpoalign_penalty **out, grpoalign_error *error);

/** Completions as sequences of tokens, and their weights in the loss. Start from
 *  GRPOALIGN_COMPLETIONS_INIT. It only grows at its end; a new field means its default when 0. */
typedef struct grpoalign_completions {
    uint32_t struct_size;                        /* sizeof the struct */
    int32_t reserved;                            /* 0 */
    int64_t count;                               /* of completions: the outcomes of the problem */
    GRPOALIGN_POINTER(const int64_t *, offsets); /* count + 1 numbers, from 0 up to token_count:
                             completion o is tokens[offsets[o]] .. tokens[offsets[o + 1] - 1], and
                             its end. No two alike. NULL: each is one decision of its own */
    GRPOALIGN_POINTER(const int64_t *, tokens);  /* any numbers; equal ones are the same token */
    int64_t token_count;
    GRPOALIGN_POINTER(const double *, weights); /* count numbers >= 0, some > 0: how much a
                             completion counts in the loss, 1/length for means per sequence, 0 for
                             one that is masked. NULL: 1 */
    double entropy; /* >= 0: a bonus on the entropy at every token, over beta; default 0 */
} grpoalign_completions;

#define GRPOALIGN_COMPLETIONS_INIT                                                                 \
    {                                                                                              \
        GRPOALIGN_SIZE(grpoalign_completions), 0, 0, GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER,   \
            0, GRPOALIGN_NO_POINTER, 0.0                                                           \
    }

/** Sets every field within `size` bytes to its default. Pass sizeof *completions. */
GRPOALIGN_API void grpoalign_completions_init(grpoalign_completions *completions, uint32_t size);

/**
 * A penalty at every token. A trainer's KL term stands at every token and is differentiated there
 * alone; it does not feel what a token makes of later ones. At each prefix s and each next token a,
 *
 *     E_pi[omega u | s, a] - beta g(log pi(a|s)/pi_ref(a|s)) E_pi[omega | s, a] = c_s.
 *
 * Completions that share no prefix, all weights 1, have the base's own answer. With weights alone
 * (offsets NULL) completions that count less are moved less by what all of them have to give up:
 * under the direct KL log(pi_o/pi_ref,o) = u_o/beta + KL(pi||pi_ref) (1/omega_o)/E_pi[1/omega].
 * A completion of weight 0 stays in the statistics of its group, and takes what the others leave.
 *
 * base:        a penalty that holds every outcome, as in grpoalign_penalty_new_sum; its kind is kept.
 *              It may be freed at once.
 * completions: its arrays are copied. A problem must have as many outcomes.
 *
 * Problems of it are solved up to 4096 outcomes (TOO_LARGE); grpoalign_points_new gives the policy
 * that pi_ref leads to alone, and the flow and batches are UNSUPPORTED. The residual is the largest
 * pi(s) pi(a|s) times the violation, over beta; the normaliser is c at the root over beta.
 *
 * Errors: HANDLE, ARGUMENT, STRUCT_SIZE, NOT_FINITE (index of the completion, or of the offset),
 * UNSUPPORTED, MEMORY.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_penalty_new_per_token(
    const grpoalign_penalty *base, const grpoalign_completions *completions,
    grpoalign_penalty **out, grpoalign_error *error);

GRPOALIGN_END

#endif
