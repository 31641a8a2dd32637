/*
 * The branch of stationary policies that comes from large beta, traced by pseudo-arclength through
 * every fold: what trace.c lists.
 */
#ifndef GRA_SOLVER_ARCLENGTH_H
#define GRA_SOLVER_ARCLENGTH_H

#include "solver/newton.h"

/*
 * What the tracing meets, in the solver's answer: points of the branch at the marks, folds, and
 * every station. Each function may be NULL, and returns 0 on short memory.
 */
typedef struct gra_visitor {
    int (*crossing)(struct gra_visitor *self, gra_newton *s);
    int (*fold)(struct gra_visitor *self, gra_newton *s);
    int (*station)(struct gra_visitor *self, gra_newton *s);
    double marks[2]; /* betas, the larger first; 0 for none */
    double longest;  /* step */
    int as_answers;  /* stations are answers, not just on the way */
} gra_visitor;

/* Traces the branch from above `high` on, while beta >= low. */
grpoalign_status gra_trace_branch(gra_newton *s, double low, double high, gra_visitor *visitor);

#endif
