/* clang-format off: tables */
/*
 * Penalties: advantages -> policy.
 *
 * The names are the paper's; reinforcement-learning papers often use "reverse" and "direct" the
 * other way round, so the formula is what counts. With l = log(pi/pi_ref), a policy is stationary
 * when u_o - beta g(l_o) is the same for all outcomes, g being what multiplies grad log pi in the
 * gradient of the penalty. g grows with l: an outcome that has gained is held back.
 *
 *   kind                penalty                     g(l)                     in trainers
 *   REVERSE_KL          KL(pi_ref || pi)            1 - exp(-l)              k3 in the loss
 *                                                                            (paper, eq. (11))
 *   DIRECT_KL           KL(pi || pi_ref)            l                        k2 in the loss, k1 in
 *                                                                            the reward after it is
 *                                                                            normalised, k1 or k3
 *                                                                            times the ratio
 *   NONE                none                        0                        beta = 0, or k1 in the
 *                                                                            loss
 *   KL_IN_REWARD        KL in the reward, before    -                        k1 in the reward
 *                       it is normalised                                     before that
 *   TOTAL_VARIATION     sum |pi - pi_ref|           sign(l)                  |l| in the loss
 *   SQUARED_LOG_RATIO   sum pi l^2 / 2              l + l^2/2                k2 times the ratio
 *   CHI_SQUARED         sum (pi - pi_ref)^2         exp(l) - 1               -
 *                       / (2 pi_ref)
 *   JENSEN_SHANNON      half of KL to the middle    log(2/(1 + exp(-l)))/2   -
 *   ALPHA               alpha divergences           (exp((a-1)l) - 1)/(a-1)  -
 *   REVERSE_KL_CLAMPED  KL(pi_ref || pi), clamped   1 - exp(-l) while        k3 clamped at 10 in
 *                                                   exp(-l) - 1 + l <= 10,   the loss
 *                                                   0 beyond
 *   DIRECT_KL_CLAMPED   KL(pi || pi_ref), clamped   l while                  k3 times the ratio,
 *                                                   exp(-l) - 1 + l <= 10,   clamped at 10
 *                                                   0 beyond
 *
 * Which have one answer. For fixed advantages: all but TOTAL_VARIATION, SQUARED_LOG_RATIO and the
 * clamped ones. At a stationary policy: see grpoalign_report.unique and doc/concepts.md.
 *
 * What can be lost. CHI_SQUARED and ALPHA with a > 1 leave an outcome without probability where its
 * advantage is bad enough. SQUARED_LOG_RATIO and the clamped ones have no hold on an outcome that
 * falls below exp(-1), or exp(-2.61), of its reference probability: training loses it for good, and
 * the solution has probability 0 there. Where an outcome stays inside, a policy without it may
 * attract training as well; the solution keeps it. The clamped ones do not hold back either what
 * rises above exp(11) of its reference probability: that is refused. TOTAL_VARIATION empties
 * outcomes one after the other.
 *
 * The numbers of a report. lambda is what u_o - beta g(l_o) is for every outcome; u are the
 * advantages that are balanced against the penalty, b is beta, E is the mean under pi. The residual
 * is the largest of these over the outcomes that the reference supports:
 *
 *   kind                     normaliser                        residual of an outcome
 *   REVERSE_KL, ALPHA at 0   c = 1 + E[u]/b                    |pi (c - u/b) - pi_ref|
 *   DIRECT_KL, ALPHA at 1,   log Z = log sum pi_ref exp(u/b)   |l - u/b + log Z|, 0 where pi is
 *   KL_IN_REWARD                                               below the normal range of a double
 *   REVERSE_KL_CLAMPED       c = E[u/b + exp(-l)]              pi |c - u/b - exp(-l)|
 *   NONE                     E[u]                              pi |E[u] - u|
 *   TOTAL_VARIATION          max u/b - 1 where the u differ    pi times the distance of u/b less
 *                            by more than 2 b, else            the normaliser from 1 above pi_ref,
 *                            (max u + min u)/(2 b)             -1 below it, [-1, 1] at it
 *   others                   E[u/b - g(l)]                     pi |normaliser - u/b + g(l)|
 *
 * At a stationary policy the normaliser is lambda/b, and 1 more where it is called c; NONE has no
 * lambda.
 */
/* clang-format on */
#ifndef GRPOALIGN_PENALTY_H
#define GRPOALIGN_PENALTY_H

#include <grpoalign/export.h>
#include <grpoalign/reference.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

typedef struct grpoalign_penalty grpoalign_penalty;

typedef enum grpoalign_penalty_code {
    GRPOALIGN_PENALTY_REVERSE_KL = 1, /* KL(pi_ref || pi) */
    GRPOALIGN_PENALTY_DIRECT_KL = 2,  /* KL(pi || pi_ref) */
    GRPOALIGN_PENALTY_NONE = 3,
    GRPOALIGN_PENALTY_KL_IN_REWARD = 4,
    GRPOALIGN_PENALTY_TOTAL_VARIATION = 5,
    GRPOALIGN_PENALTY_SQUARED_LOG_RATIO = 6,
    GRPOALIGN_PENALTY_CHI_SQUARED = 7,
    GRPOALIGN_PENALTY_JENSEN_SHANNON = 8,
    GRPOALIGN_PENALTY_ALPHA = 9, /* needs grpoalign_penalty_options.alpha */
    GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED = 10,
    GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED = 11,
    GRPOALIGN_PENALTY_SUM = 12 /* of grpoalign_penalty_new_sum alone (compose.h) */
} grpoalign_penalty_code;

/** Options of grpoalign_penalty_new. Start from GRPOALIGN_PENALTY_OPTIONS_INIT. It only grows at
 * its end; a new field means its default when 0. */
typedef struct grpoalign_penalty_options {
    uint32_t struct_size; /* sizeof the struct */
    int32_t reserved;     /* 0 */
    double alpha;         /* kind ALPHA only: in [0, 2] */
} grpoalign_penalty_options;

#define GRPOALIGN_PENALTY_OPTIONS_INIT {GRPOALIGN_SIZE(grpoalign_penalty_options), 0, 0.0}

/** Sets every field within `size` bytes to its default. Pass sizeof *options. */
GRPOALIGN_API void grpoalign_penalty_options_init(grpoalign_penalty_options *options,
                                                  uint32_t size);

/**
 * A penalty of the given kind, GRPOALIGN_PENALTY_*.
 *
 * ALPHA is the alpha divergence sum pi_ref (t^alpha - 1 - alpha (t - 1)) / (alpha (alpha - 1)),
 * with t = pi/pi_ref: KL(pi || pi_ref) at alpha = 1, KL(pi_ref || pi) at 0, Hellinger's (squared,
 * times 4) at 1/2, Pearson's chi-squared (half) at 2.
 *
 * options: NULL for defaults, but for ALPHA, which needs options.alpha.
 * Errors: ARGUMENT, NOT_FINITE, STRUCT_SIZE, MEMORY.
 *
 * @code
 * #include <grpoalign/grpoalign.h>
 *
 * int main(void)
 * {
 *     const double advantage[3] = {-1.0, 0.0, 1.0};
 *     double policy[3];
 *     grpoalign_penalty *penalty = NULL;
 *     grpoalign_reference *reference = NULL;
 *     grpoalign_penalty_options hellinger = GRPOALIGN_PENALTY_OPTIONS_INIT;
 *     hellinger.alpha = 0.5;
 *     int failed =
 *         grpoalign_penalty_new(GRPOALIGN_PENALTY_ALPHA, &hellinger, &penalty, NULL) < 0 ||
 *         grpoalign_reference_new_uniform(3, NULL, &reference, NULL) < 0 ||
 *         grpoalign_penalty_respond(penalty, reference, 2.0, advantage, 3, policy, NULL, NULL) < 0;
 *     failed = failed || !(policy[2] > policy[1] && policy[1] > policy[0]);
 *     grpoalign_reference_free(reference), grpoalign_penalty_free(penalty);
 *     return failed;
 * }
 * @endcode
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_penalty_new(int32_t kind, const grpoalign_penalty_options *options,
                      grpoalign_penalty **out, grpoalign_error *error);

GRPOALIGN_API void grpoalign_penalty_free(grpoalign_penalty *penalty);

/** GRPOALIGN_PENALTY_*; 0 for NULL. */
GRPOALIGN_API int32_t grpoalign_penalty_kind(const grpoalign_penalty *penalty);

/** "reverse_kl", "direct_kl", "none", ...; "unknown" for another number. Static storage. */
GRPOALIGN_API const char *grpoalign_penalty_name(int32_t kind);

/** What the penalty is, for people: "KL(pi_ref||pi)", "KL(pi||pi_ref)", ...; "?" for another
 * number. Static storage. */
GRPOALIGN_API const char *grpoalign_penalty_formula(int32_t kind);

/** The kind with that name; 0 for NULL or a name that no penalty has. */
GRPOALIGN_API int32_t grpoalign_penalty_find(const char *name);

/** The kinds one after the other, from k = 0 on; 0 for k < 0 and beyond the last. */
GRPOALIGN_API int32_t grpoalign_penalty_kind_at(int64_t k);

/**
 * The response: a policy that is stationary for fixed advantages.
 *   reverse KL   pi_o = pi_ref,o / (c - u_o / beta), with the c > max u / beta that makes them sum
 *                to 1
 *   direct KL    pi_o = pi_ref,o exp(u_o / beta) / Z; KL_IN_REWARD the same, from rewards instead
 *                of advantages
 *   none         pi_ref on the outcomes with the largest advantage alone
 *   others       g(log(pi/pi_ref)) = (u_o - lambda) / beta; of several, the one nearest to pi_ref
 *
 * beta:       > 0, finite.
 * advantage:  n finite numbers; a common shift changes nothing.
 * policy:     receives n probabilities; may be the same array as advantage.
 * normaliser: receives c or log Z, in general lambda / beta as above; NaN for NONE; may be NULL.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_penalty_respond(const grpoalign_penalty *penalty, const grpoalign_reference *reference,
                          double beta, const double *advantage, int64_t n, double *policy,
                          double *normaliser, grpoalign_error *error);

/**
 * The divergence between a policy and the reference that the penalty stands for, in nats
 * (KL(pi_ref || pi) for reverse KL, KL(pi || pi_ref) for direct KL and KL_IN_REWARD, ...; 0 for
 * none); +infinity where it is. A clamp is left out.
 * policy: n probabilities summing to 1 within 1e-4; they are then normalised.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_penalty_divergence(const grpoalign_penalty *penalty, const grpoalign_reference *reference,
                             const double *policy, int64_t n, double *divergence,
                             grpoalign_error *error);

GRPOALIGN_END

#endif
