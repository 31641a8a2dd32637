/*
 * Solving for the stationary policy: pi = response(u(pi)).
 */
#ifndef GRPOALIGN_SOLVE_H
#define GRPOALIGN_SOLVE_H

#include <stdint.h>

#include <grpoalign/export.h>
#include <grpoalign/model.h>
#include <grpoalign/penalty.h>
#include <grpoalign/reference.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

typedef struct grpoalign_solution grpoalign_solution;

/* How a solution was found. */
enum {
    GRPOALIGN_METHOD_TRIVIAL = 1,      /* all advantages are equal: the policy is the reference */
    GRPOALIGN_METHOD_CLOSED_FORM = 2,  /* a formula */
    GRPOALIGN_METHOD_SCALAR = 3,       /* the root of one equation in one unknown */
    GRPOALIGN_METHOD_CENTRAL_PATH = 4, /* primal-dual interior point, then Newton */
    GRPOALIGN_METHOD_NEWTON = 5,       /* Newton from the reference */
    GRPOALIGN_METHOD_CONTINUATION = 6, /* Newton along beta from large values down */
    GRPOALIGN_METHOD_FLOW = 7          /* implicit steps along the training flow, then Newton */
};

/** "trivial", "closed_form", "scalar", ...; "unknown" for another number. Static storage. */
GRPOALIGN_API const char *grpoalign_method_name(int32_t method);

/** What a progress callback is told. Only grows at its end. */
typedef struct grpoalign_progress {
    uint32_t struct_size;   /* set by the library */
    int32_t method;         /* GRPOALIGN_METHOD_* of the stage under way */
    int32_t iteration;      /* counted from 1 over all stages */
    int32_t factorizations; /* matrices factorised so far */
    double beta;            /* of the stage under way (continuation) */
    double change;          /* largest change of a probability in this iteration */
} grpoalign_progress;

/**
 * Called after every iteration on the calling thread; return non-zero to stop (ERR_CANCELLED).
 * It must return normally and must not free a handle in use.
 */
typedef int32_t (*grpoalign_progress_fn)(void *user, const grpoalign_progress *progress);

/* What is found out about the stability of a solution under mean-field training, d theta/dt in logits. */
enum {
    GRPOALIGN_STABILITY_SIGN = 0,     /* `stable`, the cheapest way */
    GRPOALIGN_STABILITY_SPECTRUM = 1, /* `rate` too: the eigenvalues of the flow, up to 400 outcomes */
    GRPOALIGN_STABILITY_SKIP = 2      /* nothing */
};

/**
 * Options of grpoalign_solve. Fill with grpoalign_solve_options_init, then set fields.
 * Only grows at its end; a new field means its default when 0.
 */
typedef struct grpoalign_solve_options {
    uint32_t struct_size;           /* set by grpoalign_solve_options_init */
    int32_t max_iterations;         /* of the iterative methods together; default 2000 */
    double tolerance;               /* largest acceptable estimated error of a probability, in (0, 1);
                                       default 1e-11. Solvers go on to what rounding allows; above the
                                       tolerance the status says ACCURACY_LIMITED */
    const double *start;            /* n probabilities to start from, or NULL: then the solution found is the
                                       one connected to pi_ref. Used by the general method only: elsewhere
                                       the answer does not depend on a start. A start chooses the solution
                                       where several exist */
    grpoalign_progress_fn progress; /* or NULL */
    void *user;                     /* handed to progress */
    int32_t stability;              /* GRPOALIGN_STABILITY_*; default SIGN */
    int32_t reserved;               /* 0 */
} grpoalign_solve_options;

/** Sets every field within `size` bytes to its default. Pass sizeof *options. */
GRPOALIGN_API void grpoalign_solve_options_init(grpoalign_solve_options *options, uint32_t size);

/** The numbers that go with a solution. Only grows at its end. */
typedef struct grpoalign_report {
    uint32_t struct_size;  /* in: sizeof the caller's struct; out: unchanged */
    int32_t status;        /* as returned by grpoalign_solve, >= 0 */
    int32_t method;        /* GRPOALIGN_METHOD_* */
    int32_t expectation;   /* GRPOALIGN_EXPECTATION_* used for the groups, 0 if none */
    int32_t iterations;    /* of the outermost loop of the method */
    int32_t factorizations; /* matrices factorised */
    int32_t stable;        /* 1: attracting for mean-field GRPO in logits; 0: not; -1: unknown */
    int32_t unique;        /* 1: the only stationary policy, proved; 0: others exist; -1: unknown */
    double residual;       /* reverse KL: max |pi (1 - (u - mean u)/beta) - pi_ref|;
                              direct KL: max |log(pi/pi_ref) - u/beta + log Z| where pi is a normal number;
                              infinite when COLLAPSED */
    double policy_error;   /* estimated largest error of a probability */
    double normaliser;     /* reverse KL: c = 1 + mean u / beta; direct KL: log Z */
    double expected_reward;           /* sum pi r; NaN where the model has margins and no rewards */
    double expected_reward_reference; /* sum pi_ref r */
    double kl_ref_policy;  /* KL(pi_ref || pi), nats */
    double kl_policy_ref;  /* KL(pi || pi_ref), nats */
    double entropy;        /* of the policy, nats */
    double beta;           /* that the policy is stationary at */
    double rate;           /* the largest real part of the eigenvalues of the training flow on the tangent space, per
                              unit of learning rate x steps: how fast training closes in (< 0) or leaves (> 0).
                              NaN unless asked for (STABILITY_SPECTRUM) or needed for `stable` */
} grpoalign_report;

/**
 * The stationary policy of a model under a penalty.
 *
 * model, penalty, reference: live handles; model and reference must have the same number of outcomes.
 * beta:    regularisation constant, > 0, finite, in units of the advantage.
 * options: NULL for defaults.
 * out:     receives the solution on status >= 0, NULL on failure; release with grpoalign_solution_free.
 *
 * Returns OK, NOT_UNIQUE, ACCURACY_LIMITED, COLLAPSED or NOT_CONVERGED with a solution; or HANDLE,
 * ARGUMENT, DIMENSION, STRUCT_SIZE, NOT_FINITE, PROBABILITY (start), MEMORY, TOO_LARGE, CANCELLED.
 * Safe from any thread; handles may be shared.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_solve(const grpoalign_model *model, const grpoalign_penalty *penalty,
                const grpoalign_reference *reference, double beta,
                const grpoalign_solve_options *options, grpoalign_solution **out,
                grpoalign_error *error);

GRPOALIGN_API void grpoalign_solution_free(grpoalign_solution *solution);

/** The number of outcomes; 0 for NULL or a dead handle. */
GRPOALIGN_API int64_t grpoalign_solution_outcomes(const grpoalign_solution *solution);

/** Copies the policy, its natural logarithm (-infinity at 0) or the advantages at it to out[0..n-1].
 *  n must be the number of outcomes. */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_solution_policy(const grpoalign_solution *solution, double *out, int64_t n,
                          grpoalign_error *error);
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_solution_log_policy(const grpoalign_solution *solution, double *out, int64_t n,
                              grpoalign_error *error);
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_solution_advantage(const grpoalign_solution *solution, double *out, int64_t n,
                             grpoalign_error *error);

/** Fills the first report->struct_size bytes of the report; set struct_size = sizeof *report before. */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_solution_report(const grpoalign_solution *solution, grpoalign_report *report,
                          grpoalign_error *error);

GRPOALIGN_END

#endif
