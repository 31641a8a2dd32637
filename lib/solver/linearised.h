/*
 * The stationarity equations around a solution. With the response R of the penalty and the
 * advantages U of the model, pi = R(U(pi)), so that
 *
 *     (I - S J) d pi = S dU + dR,      S = dR/du,  J = dU/d pi,
 *
 * dU and dR being what the inputs change by themselves. Any penalty is one per token here, if need
 * be with one token per outcome.
 */
#ifndef GRA_SOLVER_LINEARISED_H
#define GRA_SOLVER_LINEARISED_H

#include "problem/problem.h"

typedef struct gra_linearised {
    const grpoalign_problem *problem;
    const grpoalign_model *model; /* that is balanced against the penalty */
    gra_arena arena;
    int64_t n;    /* supported outcomes, in the order of the tree's leaves */
    int64_t *at;  /* the outcome of each leaf */
    gra_tree own; /* of a penalty that has none */
    gra_tree_response response;
    double *log_mass, *advantage;
    double *policy; /* of all outcomes */
    double *slopes; /* S */
    double *factors;
    int32_t *pivots;
} gra_linearised;

/* Call gra_linearised_close also after failure. */
grpoalign_status gra_linearise(gra_linearised *self, const grpoalign_problem *problem,
                               const grpoalign_solution *solution, grpoalign_error *error);
void gra_linearised_close(gra_linearised *self);

/* d pi of the leaves for a change of what the penalty is made of. Scratch from `arena`. */
grpoalign_status gra_linearised_move(const gra_linearised *self, const gra_tree_change *by,
                                     double *out, gra_arena *arena, grpoalign_error *error);

/* Makes columns of S dU + dR, one after the other, d pi. */
void gra_linearised_solve(const gra_linearised *self, int64_t count, double *columns);

/* From d loss/d pi of the leaves to what it is by changes of R: y, and by changes of U: S^T y. */
void gra_linearised_pull_back(const gra_linearised *self, const double *cotangent, double *by_r,
                              double *by_u);

#endif
