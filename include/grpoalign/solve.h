/*
 * Solving a problem: the stationary policy, where the policy that answers to the advantages is the
 * policy that they were computed at, pi = response(u(pi)).
 */
#ifndef GRPOALIGN_SOLVE_H
#define GRPOALIGN_SOLVE_H

#include <grpoalign/export.h>
#include <grpoalign/problem.h>
#include <grpoalign/progress.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

typedef struct grpoalign_solution grpoalign_solution;

/* How a solution was found. */
typedef enum grpoalign_method {
    GRPOALIGN_METHOD_TRIVIAL = 1,      /* all advantages are equal: the policy is the reference */
    GRPOALIGN_METHOD_CLOSED_FORM = 2,  /* a formula */
    GRPOALIGN_METHOD_SCALAR = 3,       /* the root of one equation in one unknown */
    GRPOALIGN_METHOD_CENTRAL_PATH = 4, /* primal-dual interior point, then Newton */
    GRPOALIGN_METHOD_NEWTON = 5,       /* Newton from the reference */
    GRPOALIGN_METHOD_CONTINUATION = 6, /* Newton along beta from large values down */
    GRPOALIGN_METHOD_FLOW = 7          /* implicit steps along the training flow, then Newton */
} grpoalign_method;

/** "trivial", "closed_form", "scalar", ...; "unknown" for another number. Static storage. */
GRPOALIGN_API const char *grpoalign_method_name(int32_t method);

/* What is found out about the stability of a solution under mean-field training, d theta/dt in
 * logits. */
typedef enum grpoalign_stability {
    GRPOALIGN_STABILITY_SIGN = 0,     /* `stable`, the cheapest way */
    GRPOALIGN_STABILITY_SPECTRUM = 1, /* `rate` too: the eigenvalues of the flow, up to 400
                                         outcomes */
    GRPOALIGN_STABILITY_SKIP = 2      /* nothing */
} grpoalign_stability;

/** Options of everything that solves. Start from GRPOALIGN_SOLVE_OPTIONS_INIT. It only grows at its
 *  end; a new field means its default when 0. */
typedef struct grpoalign_solve_options {
    uint32_t struct_size;   /* sizeof the struct */
    int32_t max_iterations; /* of the iterative methods together; default 2000 */
    double tolerance;       /* largest acceptable estimated error of a probability, in (0, 1);
                               default 1e-11. Solvers go on to what rounding allows; above the
                               tolerance the status says ACCURACY_LIMITED */
    GRPOALIGN_POINTER(const double *, start); /* start_count probabilities to start from, or NULL:
                               then the solution found is the one connected to pi_ref. Used by the
                               general method only: elsewhere the answer does not depend on a start.
                               A start chooses the solution where several exist */
    int64_t start_count;    /* the number of outcomes, or 0 without a start */
    GRPOALIGN_POINTER(grpoalign_progress_fn, progress); /* or NULL */
    GRPOALIGN_POINTER(void *, user);                    /* handed to progress */
    int32_t stability;      /* GRPOALIGN_STABILITY_*; default SIGN */
    int32_t reserved;       /* 0 */
} grpoalign_solve_options;

#define GRPOALIGN_SOLVE_OPTIONS_INIT                                                               \
    {GRPOALIGN_SIZE(grpoalign_solve_options), 0, 0.0, GRPOALIGN_NO_POINTER, 0,                     \
     GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER, 0, 0}

/** Sets every field within `size` bytes to its default. Pass sizeof *options. */
GRPOALIGN_API void grpoalign_solve_options_init(grpoalign_solve_options *options, uint32_t size);

/** The numbers that go with a solution. Only grows at its end. */
typedef struct grpoalign_report {
    uint32_t struct_size;   /* in: sizeof the caller's struct; out: how many bytes were filled */
    int32_t status;         /* as returned by grpoalign_solve, >= 0 */
    int32_t method;         /* GRPOALIGN_METHOD_* */
    int32_t expectation;    /* how expectations over groups were computed, 0 where there are none
                               (GRPOALIGN_EXPECTATION_*, experimental.h) */
    int32_t iterations;     /* of the outermost loop of the method */
    int32_t factorizations; /* matrices factorised */
    int32_t stable;         /* 1: attracts mean-field GRPO in logits; 0: does not; -1: unknown */
    int32_t unique; /* 1: the only stationary policy, proved; 0: others exist; -1: unknown */
    double residual;        /* largest violation of the equations of the penalty, as penalty.h
                               defines it for every penalty; infinite when COLLAPSED */
    double policy_error;    /* estimated largest error of a probability */
    double normaliser;      /* c, log Z or lambda/beta, as penalty.h defines it for every penalty */
    double expected_reward; /* sum pi r; NaN where the model has margins and no rewards */
    double expected_reward_reference; /* sum pi_ref r */
    double kl_ref_policy;   /* KL(pi_ref || pi), nats */
    double kl_policy_ref;   /* KL(pi || pi_ref), nats */
    double entropy;         /* of the policy, nats */
    double beta;            /* that the policy is stationary at */
    double rate;            /* the largest real part of the eigenvalues of the training flow on the
                               tangent space, per unit of learning rate x steps: how fast training
                               closes in (< 0) or leaves (> 0). NaN unless asked for
                               (STABILITY_SPECTRUM) or needed for `stable` */
} grpoalign_report;

#define GRPOALIGN_REPORT_INIT                                                                      \
    {GRPOALIGN_SIZE(grpoalign_report), 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,     \
     0.0, 0.0, 0.0}

/**
 * The stationary policy of a problem.
 *
 * beta:    regularisation constant, > 0, finite, in units of the advantage.
 * options: NULL for defaults.
 * out:     receives the solution on status >= 0, NULL on failure; release with
 *          grpoalign_solution_free.
 *
 * Returns OK, NOT_UNIQUE, ACCURACY_LIMITED, COLLAPSED, UNSETTLED or NOT_CONVERGED with a solution;
 * or HANDLE, ARGUMENT, DIMENSION, STRUCT_SIZE, NOT_FINITE, PROBABILITY (start), MEMORY, TOO_LARGE,
 * CANCELLED, UNSUPPORTED. Safe from any thread.
 *
 * @code
 * #include <grpoalign/grpoalign.h>
 *
 * int main(void)
 * {
 *     const double rewards[3] = {0.0, 0.5, 1.0}, before[3] = {0.6, 0.3, 0.1};
 *     double after[3] = {0.0, 0.0, 0.0};
 *     grpoalign_model *model = NULL;
 *     grpoalign_penalty *penalty = NULL;
 *     grpoalign_reference *reference = NULL;
 *     grpoalign_problem *problem = NULL;
 *     grpoalign_solution *solution = NULL;
 *     grpoalign_report report = GRPOALIGN_REPORT_INIT;
 *     int failed =
 *         grpoalign_model_new_group(rewards, 3, 8, NULL, &model, NULL) < 0 ||
 *         grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL) < 0 ||
 *         grpoalign_reference_new(before, 3, NULL, &reference, NULL) < 0 ||
 *         grpoalign_problem_new(model, penalty, reference, NULL, &problem, NULL) < 0 ||
 *         grpoalign_solve(problem, 0.5, NULL, &solution, NULL) < 0 ||
 *         grpoalign_solution_policy(solution, after, 3, NULL) < 0 ||
 *         grpoalign_solution_report(solution, &report, NULL) < 0;
 *     failed = failed || report.kl_policy_ref < 1.3 || after[2] < 0.78;
 *     grpoalign_solution_free(solution), grpoalign_problem_free(problem);
 *     grpoalign_reference_free(reference), grpoalign_penalty_free(penalty);
 *     grpoalign_model_free(model);
 *     return failed;
 * }
 * @endcode
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_solve(const grpoalign_problem *problem, double beta,
                const grpoalign_solve_options *options, grpoalign_solution **out,
                grpoalign_error *error);

/** Releases a solution of grpoalign_solve. One that is borrowed from a list or a flow is left
 * alone: its owner frees it. */
GRPOALIGN_API void grpoalign_solution_free(grpoalign_solution *solution);

/** The number of outcomes; 0 for NULL. */
GRPOALIGN_API int64_t grpoalign_solution_outcomes(const grpoalign_solution *solution);

/** Copies the policy, its natural logarithm (-infinity at 0) or the advantages at it to
 *  out[0..n-1]. n must be the number of outcomes. */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_solution_policy(
    const grpoalign_solution *solution, double *out, int64_t n, grpoalign_error *error);
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_solution_log_policy(
    const grpoalign_solution *solution, double *out, int64_t n, grpoalign_error *error);
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_solution_advantage(
    const grpoalign_solution *solution, double *out, int64_t n, grpoalign_error *error);

/** Fills the first report->struct_size bytes of the report, as far as the library knows them; start
 *  from GRPOALIGN_REPORT_INIT. */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_solution_report(
    const grpoalign_solution *solution, grpoalign_report *report, grpoalign_error *error);

GRPOALIGN_END

#endif
