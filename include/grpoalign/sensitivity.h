/*
 * Sensitivities: how a stationary policy moves with what the problem was made of. Differentiating
 *
 *     u_o(pi, r) - beta g(log(pi_o/pi_ref,o)) = C/omega_o,   sum pi = 1
 *
 * gives one linear system for all of them, which is factorised once: derivatives by beta, by the
 * coefficients of a sum of penalties, by rewards, by the logarithms of the reference and by the
 * weights of completions, and vector-Jacobian products of a loss at one back-substitution.
 *
 * Outcomes of probability 0 stay there. Where an outcome is about to vanish, or two policies meet,
 * there is no derivative, or one on one side alone.
 */
#ifndef GRPOALIGN_SENSITIVITY_H
#define GRPOALIGN_SENSITIVITY_H

#include <grpoalign/export.h>
#include <grpoalign/problem.h>
#include <grpoalign/solve.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

typedef struct grpoalign_sensitivity grpoalign_sensitivity;

/* What a policy is differentiated by. */
typedef enum grpoalign_input {
    GRPOALIGN_INPUT_BETA = 1,        /* the problem's beta: a vector */
    GRPOALIGN_INPUT_COEFFICIENT = 2, /* beta times the coefficient of a part of a sum of penalties,
                                        in the order in which they were first given: a vector */
    GRPOALIGN_INPUT_ENTROPY = 3,     /* beta times the bonus on the entropy of completions */
    GRPOALIGN_INPUT_REWARDS = 4,     /* the rewards of the outcomes: a matrix */
    GRPOALIGN_INPUT_LOG_REFERENCE = 5, /* the logarithms that the reference is the softmax of */
    GRPOALIGN_INPUT_WEIGHTS = 6        /* the weights of completions in the loss; 1 where none are
                                          given */
} grpoalign_input;

/**
 * Prepares the sensitivities of a solution: the system is factorised.
 *
 * problem:  that the solution is one of; kept alive. Its penalty is smooth and has an answer of its
 *           own: not none, total variation, or with groups dropped.
 * solution: of this problem, at its report's beta, with a status other than COLLAPSED, UNSETTLED
 *           and NOT_CONVERGED.
 * out:      receives the handle; release it with grpoalign_sensitivity_free. Immutable.
 *
 * Errors: HANDLE, ARGUMENT, DIMENSION, MEMORY, TOO_LARGE (more than 4096 outcomes), UNSUPPORTED,
 * SINGULAR (a fold).
 *
 * @code
 * #include <grpoalign/grpoalign.h>
 *
 * int main(void)
 * {
 *     const double rewards[3] = {0.0, 0.5, 1.0};
 *     double by_beta[3] = {0.0, 0.0, 0.0};
 *     grpoalign_model *model = NULL;
 *     grpoalign_penalty *penalty = NULL;
 *     grpoalign_reference *reference = NULL;
 *     grpoalign_problem *problem = NULL;
 *     grpoalign_solution *solution = NULL;
 *     grpoalign_sensitivity *sensitivity = NULL;
 *     int failed =
 *         grpoalign_model_new_group(rewards, 3, 8, NULL, &model, NULL) < 0 ||
 *         grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL) < 0 ||
 *         grpoalign_reference_new_uniform(3, NULL, &reference, NULL) < 0 ||
 *         grpoalign_problem_new(model, penalty, reference, NULL, &problem, NULL) < 0 ||
 *         grpoalign_solve(problem, 0.5, NULL, &solution, NULL) < 0 ||
 *         grpoalign_sensitivity_new(problem, solution, &sensitivity, NULL) < 0 ||
 *         grpoalign_sensitivity_vector(sensitivity, GRPOALIGN_INPUT_BETA, 0, by_beta, 3, NULL) < 0;
 *     failed = failed || !(by_beta[0] > 0.0 && by_beta[2] < 0.0);
 *     grpoalign_sensitivity_free(sensitivity);
 *     grpoalign_solution_free(solution), grpoalign_problem_free(problem);
 *     grpoalign_reference_free(reference), grpoalign_penalty_free(penalty);
 *     grpoalign_model_free(model);
 *     return failed;
 * }
 * @endcode
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_sensitivity_new(const grpoalign_problem *problem, const grpoalign_solution *solution,
                          grpoalign_sensitivity **out, grpoalign_error *error);

GRPOALIGN_API void grpoalign_sensitivity_free(grpoalign_sensitivity *sensitivity);

/**
 * d pi_o by one number: BETA, COEFFICIENT or ENTROPY.
 *
 * index: of the part for COEFFICIENT; a penalty that is no sum has part 0, else 0.
 * out:   receives n numbers, n being the number of outcomes; they sum to 0.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_sensitivity_vector(const grpoalign_sensitivity *sensitivity, int32_t input, int64_t index,
                             double *out, int64_t n, grpoalign_error *error);

/**
 * d pi_o / d x_j, for x the REWARDS, LOG_REFERENCE or WEIGHTS: n x n, row = entry of the policy,
 * `stride` >= n elements between rows.
 *
 * REWARDS: a column is NaN where the derivative does not exist: the reward ties with another, and no
 * epsilon smooths what happens to a group of the tied alone. UNSUPPORTED for margins, sums of
 * models and random rewards, which have no one reward for each outcome. By differences of the
 * expectation to about 1e-11 of the change over the distance to the next reward.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_sensitivity_matrix(const grpoalign_sensitivity *sensitivity, int32_t input, double *out,
                             int64_t n, int64_t stride, grpoalign_error *error);

/** What grpoalign_sensitivity_vjp fills, where it is not NULL. Start from
 *  GRPOALIGN_GRADIENT_INIT. */
typedef struct grpoalign_gradient {
    uint32_t struct_size;                       /* sizeof the struct */
    int32_t reserved;                           /* 0 */
    double beta;                                /* out: by beta */
    GRPOALIGN_POINTER(double *, rewards);       /* n numbers, as the matrix has them */
    GRPOALIGN_POINTER(double *, log_reference); /* n numbers */
    GRPOALIGN_POINTER(double *, weights);       /* n numbers */
    GRPOALIGN_POINTER(double *, margins);       /* n x n, antisymmetric: half for margin[i][j], half
                                                   for -margin[j][i]; for a model of margins */
} grpoalign_gradient;

#define GRPOALIGN_GRADIENT_INIT                                                                    \
    {                                                                                              \
        GRPOALIGN_SIZE(grpoalign_gradient), 0, 0.0, GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER,    \
            GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER                                             \
    }

/** Sets every field within `size` bytes to its default. Pass sizeof *gradient. */
GRPOALIGN_API void grpoalign_gradient_init(grpoalign_gradient *gradient, uint32_t size);

/**
 * The vector-Jacobian product: from d loss/d pi to d loss by what `gradient` points to, at one
 * back-substitution.
 *
 * cotangent: n numbers, d loss/d pi_o; a common constant changes nothing.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_sensitivity_vjp(const grpoalign_sensitivity *sensitivity, const double *cotangent,
                          int64_t n, grpoalign_gradient *gradient, grpoalign_error *error);

GRPOALIGN_END

#endif
