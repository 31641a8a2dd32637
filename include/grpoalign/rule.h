/*
 * Models by any rule of the group: what a member is given may depend in any way on its own level
 * and on how many members are at each level. pass@k objectives, clipped or asymmetric advantages,
 * other baselines, filters of groups by their pass rate, and penalties on length relative to the
 * group are such rules.
 *
 * A rule need not be zero-sum in a group: advantages are reported centred, sum_o pi_o u_o(pi) = 0,
 * like those of other models. What a group gives to all its members alike is part of the rule all
 * the same: u is an expectation over groups, and differs by level.
 *
 * Where two levels are supported there is one unknown, P(upper level), and every stationary policy
 * is found. The KL inside the reward, no penalty and total variation go by which reward is better;
 * a rule need not, and problems of the two are UNSUPPORTED.
 */
#ifndef GRPOALIGN_RULE_H
#define GRPOALIGN_RULE_H

#include <grpoalign/model.h>

GRPOALIGN_BEGIN

/**
 * Rewards 0 and 1, with a table of what a group gives.
 *
 * rewards:    n numbers, each 0 or 1. Copied.
 * success:    group_size numbers: success[c - 1] is the advantage of a success in a group with c of
 *             them, c = 1 .. G. Copied.
 * failure:    group_size numbers: failure[c] is the advantage of a failure in a group with c
 *             successes, c = 0 .. G - 1. Copied.
 * group_size: G, 2 .. 2^31 - 1.
 * options:    NULL for defaults.
 * Errors: ARGUMENT (index: of a reward that is neither 0 nor 1, or of an advantage beyond 1e200),
 * NOT_FINITE, STRUCT_SIZE, MEMORY, CANCELLED.
 * Source: with p = P(success), u(success) = sum_k Bin(k; G-1, p) success[k] and u(failure) =
 * sum_k Bin(k; G-1, p) failure[k], less their mean.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_model_new_rule_table(
    const double *rewards, int64_t n, const double *success, const double *failure,
    int64_t group_size, const grpoalign_preference_options *options, grpoalign_model **out,
    grpoalign_error *error);

/**
 * A rule: the advantages of one group.
 *
 * counts:    how many members are at each level; they sum to the group size.
 * levels:    how many levels there are.
 * advantage: receives the advantage of a member at each level with counts > 0. What it holds for
 *            other levels has no effect; it is 0 before the call.
 * Returns 0, or another number to stop (ERR_CANCELLED).
 */
typedef int32_t (*grpoalign_rule_fn)(void *user, const int64_t *counts, int64_t levels,
                                     double *advantage);

/**
 * Groups of finite size by any rule. The levels are the distinct rewards, ascending.
 *
 * rewards:    n finite numbers. Copied.
 * group_size: G, 2 .. 2^31 - 1.
 * rule:       called once for every composition of a group over the levels, on the calling thread,
 *             before the constructor returns; never again.
 * rule_user:  handed to rule.
 * options:    NULL for defaults; progress is called between compositions.
 * Errors: ARGUMENT and NOT_FINITE (a reward, or an advantage that the rule gives, beyond 1e200 or
 * not finite: argument rule, index = the level), STRUCT_SIZE, MEMORY, CANCELLED, and TOO_LARGE with
 * three levels or more where the compositions of G - 1 members, times the levels, are more than
 * 2^22 numbers.
 * Source: u(m) = sum over compositions c of G - 1 others of P(c) A(m; c + m), less the mean of u.
 *
 * @code
 * #include <grpoalign/grpoalign.h>
 *
 * static int32_t best_alone(void *user, const int64_t *counts, int64_t levels, double *advantage)
 * {
 *     int64_t top = levels - 1;
 *     (void)user;
 *     while (counts[top] == 0) {
 *         top--;
 *     }
 *     advantage[top] = counts[top] == 1 ? 1.0 : 0.0;
 *     return 0;
 * }
 *
 * int main(void)
 * {
 *     const double rewards[3] = {0.0, 0.5, 1.0}, policy[3] = {0.6, 0.3, 0.1};
 *     double advantage[3];
 *     grpoalign_model *model = NULL;
 *     int failed = grpoalign_model_new_rule(rewards, 3, 4, best_alone, NULL, NULL, &model,
 *                                           NULL) < 0 ||
 *                  grpoalign_model_advantage(model, policy, 3, advantage, NULL) < 0;
 *     failed = failed || !(advantage[2] > advantage[1] && advantage[1] > advantage[0]);
 *     grpoalign_model_free(model);
 *     return failed;
 * }
 * @endcode
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_model_new_rule(
    const double *rewards, int64_t n, int64_t group_size, grpoalign_rule_fn rule, void *rule_user,
    const grpoalign_preference_options *options, grpoalign_model **out, grpoalign_error *error);

/**
 * The same with levels that are not rewards alone: classes of (reward, length), say.
 *
 * labels:  n numbers from 0 to levels - 1: the level of each outcome. Copied.
 * levels:  how many there are; rule is told counts of all of them, 0 for those that no outcome is
 *          at.
 * rewards: n finite numbers, which reports tell the expectation of and nothing else depends on; or
 *          NULL. Copied.
 * Errors: as above; ARGUMENT (index: of a label out of range).
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_model_new_rule_labelled(
    const int64_t *labels, int64_t n, int64_t levels, const double *rewards, int64_t group_size,
    grpoalign_rule_fn rule, void *rule_user, const grpoalign_preference_options *options,
    grpoalign_model **out, grpoalign_error *error);

/**
 * The table of pass@k in groups of G, for grpoalign_model_new_rule_table: with c successes,
 * m = 1 - C(G-c, k)/C(G, k) and s = sqrt(m (1 - m)) a success is given (1 - m)/s and a failure
 * (1 - m - C(G-1-c, k-1)/C(G-1, k-1))/s; 0 where s = 0.
 *
 * group_size: G, 2 .. 2^31 - 1. k: 1 .. G.
 * success, failure: receive group_size numbers each.
 * Errors: ARGUMENT.
 * Source: arXiv 2508.10751, in closed form over a group.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_rule_pass_at_k(
    int64_t group_size, int64_t k, double *success, double *failure, grpoalign_error *error);

GRPOALIGN_END

#endif
