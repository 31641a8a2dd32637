/* Contexts that share the std of their batch. */
#ifndef GRA_SOLVER_BATCH_H
#define GRA_SOLVER_BATCH_H

#include "solver/solver.h"

typedef struct gra_batch {
    gra_call *calls;       /* of the contexts; models unscaled, one penalty that holds outcomes */
    const double *weights; /* of the contexts; all sum to 1 */
    int64_t count;
    int of_advantages; /* the std is that of the advantages; else that of the rewards, which differ
                          between contexts too */
    double beta, epsilon; /* epsilon in units of the reward */
    gra_arena *arena;
    grpoalign_error *error;
} gra_batch;

/* Whether a divisor that all contexts share has any effect. */
int gra_batch_matters(const gra_penalty *law);

/*
 * The stationary policies of all contexts, one answer each, at the divisor that pi_ref leads to;
 * and the std, in units of the reward. What fails in one context leaves its number in *context.
 */
grpoalign_status gra_solve_batch(const gra_batch *batch, gra_answer *answers, double *std,
                                 int64_t *context);

#endif
