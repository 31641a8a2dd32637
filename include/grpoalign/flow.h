/*
 * The training flow: mean-field GRPO on the logits of a tabular policy,
 *
 *     d theta_o / dt = pi_o (v_o - mean v),   v_o = u_o(pi) - beta g(log(pi_o/pi_ref,o)),
 *     pi = softmax(theta),
 *
 * g as in penalty.h: what training does in the limit of small steps and large batches. Time is
 * learning rate x steps, for a loss that is the mean over completions. The flow answers which
 * stationary policy training reaches, and on which way.
 */
#ifndef GRPOALIGN_FLOW_H
#define GRPOALIGN_FLOW_H

#include <grpoalign/export.h>
#include <grpoalign/solve.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

typedef struct grpoalign_flow grpoalign_flow;

/** Options of grpoalign_flow_new. Start from GRPOALIGN_FLOW_OPTIONS_INIT. It only grows at its end;
 *  a new field means its default when 0. */
typedef struct grpoalign_flow_options {
    uint32_t struct_size; /* sizeof the struct */
    int32_t max_steps;    /* of the integrator; default 20000 */
    double end_time;      /* > 0; default 1e30, longer than any run */
    double tolerance;     /* largest error of a logit per step, in (0, 1e-2]; default 1e-5 */
    GRPOALIGN_POINTER(const double *, start); /* start_count probabilities to start from, > 0 where
                             pi_ref is; NULL: pi_ref */
    int64_t start_count;  /* the number of outcomes, or 0 without a start */
    GRPOALIGN_POINTER(grpoalign_progress_fn, progress); /* or NULL; `beta` is that of the flow,
                             `change` that of the last step */
    GRPOALIGN_POINTER(void *, user);                    /* handed to progress */
} grpoalign_flow_options;

#define GRPOALIGN_FLOW_OPTIONS_INIT                                                                \
    {GRPOALIGN_SIZE(grpoalign_flow_options), 0, 0.0, 0.0, GRPOALIGN_NO_POINTER, 0,                 \
     GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER}

/** Sets every field within `size` bytes to its default. Pass sizeof *options. */
GRPOALIGN_API void grpoalign_flow_options_init(grpoalign_flow_options *options, uint32_t size);

/**
 * Follows the flow to its end.
 *
 * problem, beta: as for grpoalign_solve. options: NULL for defaults.
 * Returns OK when it ends at a stationary policy, COLLAPSED when it tends to the best outcomes
 * alone, NOT_CONVERGED when time or steps were over before; or ARGUMENT, HANDLE, DIMENSION,
 * STRUCT_SIZE, NOT_FINITE, PROBABILITY (start), MEMORY, CANCELLED, UNSUPPORTED, and TOO_LARGE above
 * 4096 outcomes.
 * It is integrated by an L-stable Rosenbrock method of order 4 with the exact Jacobian. It is taken
 * to have arrived within 1e-6 of a stationary policy that attracts; at one that repels (where
 * symmetry keeps it) after 40 times the time in which a disturbance grows by a factor e.
 *
 * @code
 * #include <grpoalign/grpoalign.h>
 *
 * int main(void)
 * {
 *     const double rewards[2] = {0.0, 1.0};
 *     grpoalign_model *model = NULL;
 *     grpoalign_penalty *penalty = NULL;
 *     grpoalign_reference *reference = NULL;
 *     grpoalign_problem *problem = NULL;
 *     grpoalign_flow *flow = NULL;
 *     grpoalign_flow_state last = GRPOALIGN_FLOW_STATE_INIT;
 *     int failed =
 *         grpoalign_model_new_group(rewards, 2, 8, NULL, &model, NULL) < 0 ||
 *         grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL) < 0 ||
 *         grpoalign_reference_new_uniform(2, NULL, &reference, NULL) < 0 ||
 *         grpoalign_problem_new(model, penalty, reference, NULL, &problem, NULL) < 0 ||
 *         grpoalign_flow_new(problem, 0.5, NULL, &flow, NULL) != GRPOALIGN_OK ||
 *         grpoalign_flow_state_at(flow, grpoalign_flow_count(flow) - 1, &last, NULL) < 0;
 *     failed = failed || last.expected_reward < 0.8;
 *     grpoalign_flow_free(flow), grpoalign_problem_free(problem);
 *     grpoalign_reference_free(reference), grpoalign_penalty_free(penalty);
 *     grpoalign_model_free(model);
 *     return failed;
 * }
 * @endcode
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_flow_new(const grpoalign_problem *problem, double beta,
                   const grpoalign_flow_options *options, grpoalign_flow **out,
                   grpoalign_error *error);

GRPOALIGN_API void grpoalign_flow_free(grpoalign_flow *flow);

/** The policy on the way, at one time. Only grows at its end. */
typedef struct grpoalign_flow_state {
    uint32_t struct_size;   /* in: sizeof the caller's struct; out: how many bytes were filled */
    int32_t reserved;       /* 0 */
    double time;            /* learning rate x steps */
    double expected_reward; /* sum pi r; NaN where the model has margins and no rewards */
    double kl_ref_policy;   /* KL(pi_ref || pi), nats */
    double kl_policy_ref;   /* KL(pi || pi_ref), nats */
    double entropy;         /* nats */
    double speed;           /* largest |d pi_o / dt| */
} grpoalign_flow_state;

#define GRPOALIGN_FLOW_STATE_INIT                                                                  \
    {GRPOALIGN_SIZE(grpoalign_flow_state), 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0}

/** The number of states, the start and one per step; 0 for NULL. */
GRPOALIGN_API int64_t grpoalign_flow_count(const grpoalign_flow *flow);

/** Fills the first state->struct_size bytes of state k, 0 <= k < count; start from
 *  GRPOALIGN_FLOW_STATE_INIT. Between neighbours no probability changes by more than 0.05. */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_flow_state_at(
    const grpoalign_flow *flow, int64_t k, grpoalign_flow_state *state, grpoalign_error *error);

/** Copies the policy of state k to out[0..n-1]. n must be the number of outcomes. */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_flow_policy_at(
    const grpoalign_flow *flow, int64_t k, double *out, int64_t n, grpoalign_error *error);

/** Where the flow ends, borrowed: it lives as long as the flow, and grpoalign_solution_free leaves
 *  it alone. NULL when time or steps were over before. */
GRPOALIGN_API const grpoalign_solution *grpoalign_flow_end(const grpoalign_flow *flow);

GRPOALIGN_END

#endif
