/*
 * Batches: contexts (prompts) whose centred rewards are divided by one std, that of the batch they
 * are sampled in. It couples their stationary policies.
 */
#ifndef GRPOALIGN_BATCH_H
#define GRPOALIGN_BATCH_H

#include <grpoalign/export.h>
#include <grpoalign/points.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

/* What the std is of. */
typedef enum grpoalign_batch_std {
    GRPOALIGN_BATCH_STD_OF_REWARDS = 0, /* all rewards of the batch: sigma^2 = E_x sigma_x^2 +
                                           Var_x E r (TRL scale_rewards = "batch") */
    GRPOALIGN_BATCH_STD_OF_ADVANTAGES = 1 /* all rewards less their baselines: E_x sigma_x^2 times
                                           1 - 1/G (baseline mean) or G/(G-1) (leave one out)
                                           (REINFORCE++ with baseline) */
} grpoalign_batch_std;

/** Options of grpoalign_points_new_batch. Start from GRPOALIGN_BATCH_OPTIONS_INIT. It only grows at
 *  its end; a new field means its default when 0. */
typedef struct grpoalign_batch_options {
    uint32_t struct_size;  /* sizeof the struct */
    int32_t std;           /* GRPOALIGN_BATCH_STD_*; default OF_REWARDS */
    double epsilon;        /* >= 0, added to the std, in units of the reward; default 0 */
    GRPOALIGN_POINTER(const double *, weights); /* weight_count numbers > 0, how often each context
                              comes in the batch; NULL: equally often */
    int64_t weight_count;  /* the number of contexts, or 0 without weights */
} grpoalign_batch_options;

#define GRPOALIGN_BATCH_OPTIONS_INIT                                                               \
    {GRPOALIGN_SIZE(grpoalign_batch_options), 0, 0.0, GRPOALIGN_NO_POINTER, 0}

/** Sets every field within `size` bytes to its default. Pass sizeof *options. */
GRPOALIGN_API void grpoalign_batch_options_init(grpoalign_batch_options *options, uint32_t size);

/**
 * The stationary policies of contexts that are trained together, their advantages u_x divided by
 * sigma + epsilon, sigma being the std of the batch in the limit of many contexts in a batch (one
 * value, not one per group): in each context
 *
 *     u_x,o - b g(log(pi_x,o / pi_ref,x,o)) alike for all outcomes o,   b = beta (sigma + epsilon),
 *
 * g as in penalty.h, so that each is the stationary policy of its unscaled problem at b, and b is
 * the unknown. For penalties that hold every outcome (not: squared log ratio, the clamped ones,
 * total variation). Without a penalty, or with the KL inside the reward, the divisor has no effect.
 *
 * problems: `count` problems, all with the same penalty, whose models have scale NONE, in groups of
 *           finite size or the limit; not: groups dropped (zero_variance).
 * count:    >= 1. beta: as for grpoalign_solve; b must lie between 1e-304 and 1e304.
 * batch:    NULL for defaults. options: NULL for defaults; start is not used, and stability where
 *           the divisor has no effect only.
 * out:      receives solution k for context k: its policy, its unscaled advantages, and in its
 *           report beta = b, `unique` (1: the batch has no other stationary policies, proved) and
 *           `stable`, which are those of the batch. Of several the one that pi_ref leads to as beta
 *           falls from infinity. beta = 0 in the report of a batch that collapses; contexts whose
 *           rewards are all equal keep their reference, and are OK as such; unique and stable are
 *           the batch's there, too.
 * std:      receives sigma (NaN where it has no effect, 0 where the batch collapses), or NULL.
 *
 * Returns OK, NOT_UNIQUE, ACCURACY_LIMITED, COLLAPSED (with epsilon = 0: sigma vanishes faster than
 * the policies move) or NOT_CONVERGED (b is all but undetermined) with solutions; or the errors of
 * grpoalign_solve, with index = the context, and UNSUPPORTED.
 *
 * @code
 * #include <grpoalign/grpoalign.h>
 *
 * int main(void)
 * {
 *     const double hard[2] = {0.0, 1.0}, easy[2] = {0.0, 1.0};
 *     const double seldom[2] = {0.9, 0.1}, often[2] = {0.2, 0.8};
 *     const double *rewards[2], *before[2];
 *     grpoalign_reward_options unscaled = GRPOALIGN_REWARD_OPTIONS_INIT;
 *     grpoalign_penalty *penalty = NULL;
 *     grpoalign_problem *problems[2] = {NULL, NULL};
 *     grpoalign_points *points = NULL;
 *     double std = 0.0;
 *     int failed =
 *         grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL) < 0;
 *     rewards[0] = hard, rewards[1] = easy, before[0] = seldom, before[1] = often;
 *     unscaled.scale = GRPOALIGN_SCALE_NONE;
 *     for (int k = 0; k < 2 && !failed; k++) {
 *         grpoalign_model *model = NULL;
 *         grpoalign_reference *reference = NULL;
 *         failed = grpoalign_model_new_group(rewards[k], 2, 8, &unscaled, &model, NULL) < 0 ||
 *                  grpoalign_reference_new(before[k], 2, NULL, &reference, NULL) < 0 ||
 *                  grpoalign_problem_new(model, penalty, reference, NULL, &problems[k], NULL) < 0;
 *         grpoalign_model_free(model), grpoalign_reference_free(reference);
 *     }
 *     failed = failed || grpoalign_points_new_batch((const grpoalign_problem *const *)problems, 2,
 *                                                   0.5, NULL, NULL, &points, &std, NULL) < 0;
 *     failed = failed || grpoalign_points_count(points) != 2 || !(std > 0.0);
 *     grpoalign_points_free(points), grpoalign_penalty_free(penalty);
 *     grpoalign_problem_free(problems[0]), grpoalign_problem_free(problems[1]);
 *     return failed;
 * }
 * @endcode
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_points_new_batch(
    const grpoalign_problem *const *problems, int64_t count, double beta,
    const grpoalign_batch_options *batch, const grpoalign_solve_options *options,
    grpoalign_points **out, double *std, grpoalign_error *error);

GRPOALIGN_END

#endif
