/* Contexts that share the std of their batch. */
#ifndef GRA_SOLVER_BATCH_H
#define GRA_SOLVER_BATCH_H

#include "solver/solver.h"

/* Rewards, gaps and variances in one unit for all contexts, rewards less a common origin. */
typedef struct gra_batch_context {
    const gra_problem
        *problem;           /* flat, or affine with a constant divisor; its beta has no meaning */
    double weight;          /* of the context in the batch; all sum to 1 */
    double strength;        /* the slack of a gap is strength gap / b */
    double share;           /* of its variance in that of the batch */
    double gap_unit;        /* of the gaps of the affine advantages */
    double best;            /* its best reward */
    const double *variance; /* of the rewards within the classes, or NULL */
} gra_batch_context;

typedef struct gra_batch {
    const gra_batch_context *contexts;
    int64_t count;
    int of_advantages; /* the std is that of the advantages; else that of the rewards, which differ
                          between contexts too */
    double beta, epsilon;
    gra_arena *arena;
    grpoalign_error *error;
} gra_batch;

typedef struct gra_batch_answer {
    double divisor; /* std + epsilon, in the unit */
    double std;     /* that of the policies found, once they are checked */
    int32_t status; /* OK, NOT_UNIQUE, COLLAPSED or NOT_CONVERGED */
    int32_t unique, stable, iterations;
    int moves;     /* 0 when no context has anything to learn */
    double motion; /* the most a probability moves with the logarithm of the divisor, the coupling
                      included */
    double policy_error; /* what the divisor's rounding does to a probability */
} gra_batch_answer;

/* The divisor that pi_ref leads to. */
grpoalign_status gra_solve_batch(const gra_batch *batch, gra_batch_answer *out);

/* Fills in the std that the policies of the answers give, one answer per context; where it is not
 * quite what the divisor was taken to be, they are as uncertain. 0 on short memory. */
int gra_batch_check(const gra_batch *batch, const gra_answer *answers, gra_batch_answer *divisor);

#endif
