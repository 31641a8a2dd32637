/*
 * Inverse questions: the beta at which a policy is as far from the reference as is wanted, the beta
 * that explains what a trained policy does, and the advantages that a policy implies.
 *
 * The first two go along the branch of stationary policies that grpoalign_solve gives, from large
 * beta, where the policy is pi_ref, down. A search starts at a beta above which the policy is too
 * near to pi_ref for an answer, as a bound on the log ratios there tells. It takes strides of a
 * factor of at most 1.5 in beta (3 where the policy is within a few percent of pi_ref), halved
 * where the policy changes by much. Where a branch jumps it is followed below the jump; where there
 * is no stationary policy left (COLLAPSED) the search ends.
 */
#ifndef GRPOALIGN_INVERSE_H
#define GRPOALIGN_INVERSE_H

#include <grpoalign/export.h>
#include <grpoalign/penalty.h>
#include <grpoalign/problem.h>
#include <grpoalign/progress.h>
#include <grpoalign/solve.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

/* What a policy may be asked to reach. */
typedef enum grpoalign_quantity {
    GRPOALIGN_QUANTITY_KL_POLICY_REF = 1,   /* KL(pi || pi_ref), nats */
    GRPOALIGN_QUANTITY_KL_REF_POLICY = 2,   /* KL(pi_ref || pi), nats */
    GRPOALIGN_QUANTITY_ENTROPY = 3,         /* of the policy, nats */
    GRPOALIGN_QUANTITY_EXPECTED_REWARD = 4, /* sum pi r; not of margins, which have no rewards */
    GRPOALIGN_QUANTITY_METRIC = 5           /* sum pi v, any v */
} grpoalign_quantity;

/** Options of the searches over beta. Start from GRPOALIGN_INVERSE_OPTIONS_INIT. It only grows at
 *  its end; a new field means its default when 0. */
typedef struct grpoalign_inverse_options {
    uint32_t struct_size;   /* sizeof the struct */
    int32_t max_iterations; /* of each solve, as in grpoalign_solve_options */
    double tolerance;       /* of each solve, as in grpoalign_solve_options */
    double beta_low;        /* the search ends here; default 1e-16 of the beta at which the policy
                               is within about a percent of pi_ref */
    double beta_high;       /* no beta above this is an answer; default: any may be */
    GRPOALIGN_POINTER(grpoalign_progress_fn, progress); /* or NULL; it hears of all solves */
    GRPOALIGN_POINTER(void *, user);                    /* handed to progress */
    int32_t stability;      /* of the answer: GRPOALIGN_STABILITY_*; default SIGN */
    int32_t reserved;       /* 0 */
} grpoalign_inverse_options;

#define GRPOALIGN_INVERSE_OPTIONS_INIT                                                             \
    {GRPOALIGN_SIZE(grpoalign_inverse_options), 0, 0.0, 0.0, 0.0, GRPOALIGN_NO_POINTER,            \
     GRPOALIGN_NO_POINTER, 0, 0}

/** Sets every field within `size` bytes to its default. Pass sizeof *options. */
GRPOALIGN_API void grpoalign_inverse_options_init(grpoalign_inverse_options *options,
                                                  uint32_t size);

/**
 * The largest beta at which a quantity of the stationary policy reaches a target: say, the beta
 * that spends a KL budget.
 *
 * quantity: GRPOALIGN_QUANTITY_*.
 * values:   METRIC: n finite numbers, one per outcome; for others NULL.
 * n:        METRIC: the number of outcomes; for others 0.
 * target:   finite; >= 0 for the divergences and the entropy.
 * options:  NULL for defaults.
 * out:      receives the solution there, whose report has the beta; NULL on failure. Release it
 *           with grpoalign_solution_free.
 *
 * Returns the status of the solution, as grpoalign_solve does; or UNREACHABLE, with the solution
 * whose value was the nearest on the way (the report has the status that grpoalign_solve gives
 * there). Errors: those of grpoalign_solve, and UNSUPPORTED without a penalty (beta has no meaning
 * there) and for the expected reward of margins.
 *
 * How sure it is. An answer is good to the last digits of beta that the quantity can tell. That no
 * larger beta reaches the target is certain as far as each outcome's part of the quantity only
 * rises or only falls between two betas that were looked at: a stretch without a change of sign is
 * halved until what its parts could do together cannot reach the target, or nothing is left to
 * halve. It is not proved that the parts do so. Where the branch jumps over the target, or ends
 * before it, the target is not reached there. A target that is the value at pi_ref itself is
 * reached at beta = infinity, which is no answer: the next beta below that reaches it again is, if
 * there is one.
 *
 * @code
 * #include <grpoalign/grpoalign.h>
 *
 * int main(void)
 * {
 *     const double rewards[2] = {0.0, 1.0}, before[2] = {0.9, 0.1};
 *     grpoalign_model *model = NULL;
 *     grpoalign_penalty *penalty = NULL;
 *     grpoalign_reference *reference = NULL;
 *     grpoalign_problem *problem = NULL;
 *     grpoalign_solution *solution = NULL;
 *     grpoalign_report report = GRPOALIGN_REPORT_INIT;
 *     int failed =
 *         grpoalign_model_new_group(rewards, 2, 8, NULL, &model, NULL) < 0 ||
 *         grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL) < 0 ||
 *         grpoalign_reference_new(before, 2, NULL, &reference, NULL) < 0 ||
 *         grpoalign_problem_new(model, penalty, reference, NULL, &problem, NULL) < 0 ||
 *         grpoalign_tune(problem, GRPOALIGN_QUANTITY_KL_POLICY_REF, NULL, 0, 0.2, NULL, &solution,
 *                        NULL) != GRPOALIGN_OK ||
 *         grpoalign_solution_report(solution, &report, NULL) < 0;
 *     failed = failed || !(report.kl_policy_ref > 0.1999999 && report.kl_policy_ref < 0.2000001);
 *     grpoalign_solution_free(solution), grpoalign_problem_free(problem);
 *     grpoalign_reference_free(reference), grpoalign_penalty_free(penalty);
 *     grpoalign_model_free(model);
 *     return failed;
 * }
 * @endcode
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_tune(const grpoalign_problem *problem, int32_t quantity, const double *values, int64_t n,
               double target, const grpoalign_inverse_options *options, grpoalign_solution **out,
               grpoalign_error *error);

/** What a fit found. Only grows at its end. */
typedef struct grpoalign_fit_report {
    uint32_t struct_size;    /* in: sizeof the caller's struct; out: how many bytes were filled */
    int32_t reserved;        /* 0 */
    double beta;             /* of the largest likelihood */
    double beta_se;          /* its standard error, from the curvature there: the observations are
                                taken to be independent draws. NaN where there is no curvature to
                                take: at an end of the range, at a jump of the branch */
    double log_likelihood;   /* sum observed log pi at that beta, nats */
    double log_likelihood_reference; /* the same of pi_ref: twice the difference tests whether
                                        there was any training */
    double log_likelihood_most;      /* the same of the observed frequencies, which no policy can
                                        exceed: twice the difference tests the model */
    double observations;     /* sum observed */
} grpoalign_fit_report;

#define GRPOALIGN_FIT_REPORT_INIT                                                                  \
    {GRPOALIGN_SIZE(grpoalign_fit_report), 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0}

/**
 * The beta that explains what a trained policy does: it makes the likelihood of the observed
 * outcomes the largest, among the stationary policies that pi_ref leads to.
 *
 * observed: n numbers >= 0 with a sum > 0: how often each outcome was seen, or its frequency. The
 *           standard error takes the sum for the number of observations.
 * n:        the number of outcomes.
 * options:  NULL for defaults.
 * out:      receives the solution there; NULL on failure. Release it with grpoalign_solution_free.
 * fit:      receives the numbers; start from GRPOALIGN_FIT_REPORT_INIT. Written where there is a
 *           solution.
 *
 * Returns the status of the solution, as grpoalign_solve does; or UNREACHABLE, with the end that is
 * the nearest, where the likelihood is the largest at an end of the range: as beta grows to
 * infinity (the observed are no more like training than pi_ref is), or at the lowest beta that has
 * a stationary policy. Errors: those of grpoalign_solve; PROBABILITY for an observed outcome that
 * pi_ref does not have, with its index; UNSUPPORTED without a penalty.
 *
 * The likelihood may have several maxima: all that strides show are refined, and the best is given.
 * Beta is good to about 1e-8 of itself, far below its standard error.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_fit(const grpoalign_problem *problem, const double *observed, int64_t n,
              const grpoalign_inverse_options *options, grpoalign_solution **out,
              grpoalign_fit_report *fit, grpoalign_error *error);

/**
 * The advantages that a policy implies, if it is stationary: u_o - mean u = beta (g(l_o) - mean g),
 * means under the policy, g as penalty.h has it. No model is needed. Under KL_IN_REWARD these are
 * mean rewards less their mean.
 *
 * policy:    n probabilities summing to 1 within 1e-4; they are then normalised.
 * beta:      > 0, finite.
 * advantage: receives n numbers; may be the same array as policy. Where the policy is 0 and pi_ref
 *            is not, the least that g has, which the advantage may only be below: -infinity, but
 *            for CHI_SQUARED and ALPHA with a > 1, where it is finite. NaN where nothing is
 *            implied: outside the support of pi_ref, and at 0 under penalties that let outcomes go.
 * Errors: HANDLE, ARGUMENT, DIMENSION, NOT_FINITE, PROBABILITY (also where the policy has an outcome
 * that pi_ref does not have, with its index), UNSUPPORTED for NONE and TOTAL_VARIATION, under which
 * a policy does not tell the advantages.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_penalty_implied(
    const grpoalign_penalty *penalty, const grpoalign_reference *reference, const double *policy,
    int64_t n, double beta, double *advantage, grpoalign_error *error);

GRPOALIGN_END

#endif
