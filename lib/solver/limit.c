/*
 * The limit of large groups over their std as a batch of one context (solver/batch.c): for
 * penalties whose path is not an exponential family, where no bounds are known along it, but are
 * along b = beta (sigma + epsilon).
 */
#include "solver/batch.h"
#include "solver/solver.h"

#include <math.h>

#include "base/numeric.h"
#include "base/status.h"

/* Slacks with more rounding than this leave the path more digits of a policy. */
static const double TOO_ROUNDED = 1e-10;
/* A b below this is not looked for, */
static const double LEAST_B = 1e-300;
/* nor a critical beta whose logarithm is beyond this, nor one that lies lower by less. */
static const double LARGEST_LOG_BETA = 345.0, MISSED = 1e-3;

typedef struct lone {
    const gra_problem *problem;
    gra_structure unscaled;
    gra_problem at_b; /* the unscaled problem; its beta is b */
    gra_batch_context context;
    gra_batch batch;
} lone;

static void start_lone(lone *self, const gra_problem *problem)
{
    const gra_affine *affine = &problem->structure->affine;
    self->problem = problem;
    self->unscaled = *problem->structure;
    gra_affine_constant(&self->unscaled.affine, 1.0);
    self->at_b = *problem;
    self->at_b.structure = &self->unscaled;
    self->context = (gra_batch_context){.problem = &self->at_b,
                                        .weight = 1.0,
                                        .strength = 1.0,
                                        .share = 1.0,
                                        .gap_unit = 1.0,
                                        .variance = affine->variance};
    self->batch = (gra_batch){.contexts = &self->context,
                              .count = 1,
                              .of_advantages = 1,
                              .beta = problem->beta,
                              .epsilon = affine->epsilon,
                              .arena = problem->arena,
                              .error = problem->error};
}

int gra_is_lone_batch(const gra_problem *problem)
{
    const gra_affine *affine = &problem->structure->affine;
    const gra_penalty *penalty = problem->penalty;
    if (problem->structure->kind != GRA_AFFINE || !affine->over_sigma || !penalty->convex ||
        penalty->exponential || penalty->lets_go || penalty->std_ratio_falls) {
        return 0;
    }
    /* The path still has a policy where epsilon alone leaves a b that doubles do not have, and a
     * better one where the best outcome has so little that levels lose the digits of slacks. */
    lone self;
    start_lone(&self, problem);
    return gra_batch_rounding(&self.batch) < TOO_ROUNDED &&
           (affine->epsilon == 0.0 || problem->beta * affine->epsilon > LEAST_B);
}

/* The policy at a divisor. */
static grpoalign_status settle(lone *self, gra_batch_answer *divisor, gra_answer *answer)
{
    self->at_b.beta = self->problem->beta * divisor->divisor;
    GRA_TRY(gra_solve_smooth(&self->at_b, answer));
    if (!gra_batch_check(&self->batch, answer, divisor)) {
        return gra_fail_memory(self->problem->error);
    }
    answer->beta = self->problem->beta;
    answer->stable = divisor->stable;
    answer->policy_error = fmin(1.0, answer->policy_error + divisor->policy_error);
    return GRPOALIGN_OK;
}

grpoalign_status gra_solve_lone(const gra_problem *problem, gra_answer *answer)
{
    lone self;
    gra_batch_answer divisor;
    start_lone(&self, problem);
    GRA_TRY(gra_solve_batch(&self.batch, &divisor));
    if (divisor.status == GRPOALIGN_COLLAPSED) {
        gra_collapse_affine(problem, answer);
    } else {
        GRA_TRY(settle(&self, &divisor, answer));
        answer->status = divisor.status;
        answer->unique = divisor.unique;
    }
    answer->iterations += divisor.iterations;
    return GRPOALIGN_OK;
}

grpoalign_status gra_points_lone(const gra_problem *problem, gra_answers *out)
{
    lone self;
    gra_batch_answers all;
    start_lone(&self, problem);
    GRA_TRY(gra_find_divisors(&self.batch, &all));
    for (int64_t k = 0; k < all.count; k++) {
        gra_answer *answer = gra_answers_add(out, problem);
        if (answer == NULL) {
            return gra_fail_memory(problem->error);
        }
        GRA_TRY(settle(&self, &all.items[k], answer));
        answer->unique = gra_batch_unique(&all);
        answer->iterations += all.iterations;
    }
    out->complete = all.complete;
    out->connected = all.count > 0 ? 0 : -1;
    return GRPOALIGN_OK;
}

/* Whether there is a stationary policy at exp(log_beta). */
static grpoalign_status has_divisor(lone *self, double log_beta, int *has)
{
    gra_batch_answers all;
    self->batch.beta = exp(log_beta);
    GRA_TRY(gra_find_divisors(&self->batch, &all));
    *has = all.count > 0;
    return GRPOALIGN_OK;
}

/* beta = b/sigma grows without bound with b, and is continuous: whatever lies above a beta that has
 * a stationary policy has one, too. Strides find the lowest; were there a lower one between them,
 * it would show a little below. */
grpoalign_status gra_critical_lone(const gra_problem *problem, double *beta)
{
    lone self;
    int lower = 0;
    double low = -LARGEST_LOG_BETA, high;
    start_lone(&self, problem);
    *beta = 0.0;
    /* A bounded strength has a policy at any beta. */
    if (isfinite(problem->structure->affine.high) || problem->penalty->outlasts_std) {
        return GRPOALIGN_OK;
    }
    GRA_TRY(gra_least_beta(&self.batch, &high));
    if (high > low) {
        GRA_TRY(has_divisor(&self, high - MISSED, &lower));
    }
    while (lower && high - low > MISSED) {
        int has;
        double middle = fmax(0.5 * (low + high), high - 1.0);
        GRA_TRY(has_divisor(&self, middle, &has));
        *(has ? &high : &low) = middle;
    }
    *beta = exp(high);
    return GRPOALIGN_OK;
}
