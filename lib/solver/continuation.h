/* The ways to a stationary policy of a game, as far as trace.c shares them. */
#ifndef GRA_SOLVER_CONTINUATION_H
#define GRA_SOLVER_CONTINUATION_H

#include "solver/newton.h"

/* The training flow from the current slacks, for at most `limit` steps, and Newton at its end. */
grpoalign_status gra_newton_flow(gra_newton *s, int limit, int *outcome, double *change);

#endif
