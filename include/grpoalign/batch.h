/*
 * Batches: contexts (prompts) whose centred rewards are divided by one std, that of the batch they are sampled in. It couples
 * their stationary policies.
 */
#ifndef GRPOALIGN_BATCH_H
#define GRPOALIGN_BATCH_H

#include <stdint.h>

#include <grpoalign/export.h>
#include <grpoalign/points.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

/* What the std is of. */
enum {
    GRPOALIGN_BATCH_STD_OF_REWARDS = 0,   /* all rewards of the batch: sigma^2 = E_x sigma_x^2 + Var_x E r
                                             (TRL scale_rewards = "batch") */
    GRPOALIGN_BATCH_STD_OF_ADVANTAGES = 1 /* all rewards less their baselines: E_x sigma_x^2 times 1 - 1/G (baseline mean) or
                                             G/(G-1) (leave one out) (REINFORCE++ with baseline) */
};

/**
 * Options of grpoalign_points_new_batch. Fill with grpoalign_batch_options_init, then set fields.
 * Only grows at its end; a new field means its default when 0.
 */
typedef struct grpoalign_batch_options {
    uint32_t struct_size;  /* set by grpoalign_batch_options_init */
    int32_t std;           /* GRPOALIGN_BATCH_STD_*; default OF_REWARDS */
    double epsilon;        /* >= 0, added to the std, in units of the reward; default 0 */
    const double *weights; /* `count` numbers > 0, how often each context comes in the batch; NULL: equally often */
} grpoalign_batch_options;

/** Sets every field within `size` bytes to its default. Pass sizeof *options. */
GRPOALIGN_API void grpoalign_batch_options_init(grpoalign_batch_options *options, uint32_t size);

/**
 * The stationary policies of contexts that are trained together, their advantages u_x divided by sigma + epsilon, sigma being the
 * std of the batch in the limit of many contexts in a batch (one value, not one per group): in each context
 *
 *     u_x,o - b g(pi_x,o / pi_ref,x,o) alike for all outcomes o,   b = beta (sigma + epsilon),
 *
 * g being what the penalty adds to the gradient (penalty.h), so that each is the stationary policy of its unscaled model at b, and b
 * is the unknown. For penalties that hold every outcome (not: squared log ratio, clamped reverse KL, total variation). Without a
 * penalty, or with the KL inside the reward, the divisor has no effect.
 *
 * models:     `count` models with scale NONE, in groups of finite size or the limit; not: groups dropped (zero_variance).
 * references: `count` references, of as many outcomes as the models.
 * count:      >= 1. beta: as for grpoalign_solve; b must lie between 1e-304 and 1e304.
 * batch:      NULL for defaults. options: NULL for defaults; start is not used, and stability where the divisor has no effect only.
 * out:        receives solution k for context k: its policy, its unscaled advantages, and in its report beta = b, `unique` (1: the
 *             batch has no other stationary policies, proved) and `stable`, which are those of the batch. Of several the one that
 *             pi_ref leads to as beta falls from infinity. beta = 0 in the report of a batch that collapses; contexts whose
 *             rewards are all equal keep their reference, and are OK as such; unique and stable are the batch's there, too.
 * std:        receives sigma (NaN where it has no effect, 0 where the batch collapses), or NULL.
 *
 * Returns OK, NOT_UNIQUE, ACCURACY_LIMITED, COLLAPSED (with epsilon = 0: sigma vanishes faster than the policies move) or
 * NOT_CONVERGED (b is all but undetermined) with solutions; or the errors of grpoalign_solve, with index = the context, and
 * UNSUPPORTED.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_points_new_batch(
    const grpoalign_model *const *models, const grpoalign_penalty *penalty,
    const grpoalign_reference *const *references, int64_t count, double beta, const grpoalign_batch_options *batch,
    const grpoalign_solve_options *options, grpoalign_points **out, double *std, grpoalign_error *error);

GRPOALIGN_END

#endif
