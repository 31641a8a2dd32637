/* The layout of every struct of the ABI: the same on every platform. doc/architecture.md has the
 * rules. */
#include <stddef.h>

#include <grpoalign/grpoalign.h>

#define SIZE(type, size) _Static_assert(sizeof(type) == (size), "layout of " #type)
#define AT(type, field, offset)                                                                    \
    _Static_assert(offsetof(type, field) == (offset), "place of " #type "." #field)

SIZE(grpoalign_error, 256);
SIZE(grpoalign_progress, 32);
SIZE(grpoalign_reference_options, 16);
SIZE(grpoalign_penalty_options, 16);
SIZE(grpoalign_preference_options, 24);
SIZE(grpoalign_reward_options, 56);
SIZE(grpoalign_problem_options, 24);
SIZE(grpoalign_solve_options, 56);
SIZE(grpoalign_report, 112);
SIZE(grpoalign_flow_options, 56);
SIZE(grpoalign_flow_state, 56);
SIZE(grpoalign_batch_options, 32);
SIZE(grpoalign_completions, 56);
SIZE(grpoalign_gradient, 48);
SIZE(grpoalign_bulk, 104);
SIZE(grpoalign_columns, 144);
SIZE(grpoalign_bulk_options, 40);
SIZE(grpoalign_convention, 120);
SIZE(grpoalign_inverse_options, 56);
SIZE(grpoalign_fit_report, 56);

AT(grpoalign_error, message, 16);
AT(grpoalign_reward_options, epsilon, 16);
AT(grpoalign_reward_options, progress, 40);
AT(grpoalign_solve_options, start, 16);
AT(grpoalign_solve_options, start_count, 24);
AT(grpoalign_solve_options, progress, 32);
AT(grpoalign_solve_options, stability, 48);
AT(grpoalign_flow_options, start, 24);
AT(grpoalign_flow_options, progress, 40);
AT(grpoalign_batch_options, weights, 16);
AT(grpoalign_batch_options, weight_count, 24);
AT(grpoalign_report, residual, 32);
AT(grpoalign_report, rate, 104);
AT(grpoalign_flow_state, time, 8);
AT(grpoalign_completions, offsets, 16);
AT(grpoalign_completions, weights, 40);
AT(grpoalign_gradient, rewards, 16);
AT(grpoalign_convention, name, 48);
AT(grpoalign_convention, estimator, 80);
AT(grpoalign_convention, clamp, 88);
AT(grpoalign_inverse_options, progress, 32);
AT(grpoalign_inverse_options, stability, 48);
AT(grpoalign_fit_report, beta, 8);
AT(grpoalign_fit_report, observations, 48);
