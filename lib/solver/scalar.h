/* The search for every policy of a regularisation path that is stationary at some beta: shared by
 * scalar.c, one context, and batch.c, several. */
#ifndef GRA_SOLVER_SCALAR_H
#define GRA_SOLVER_SCALAR_H

#include "solver/regularisation_path.h"

/* How a search along the path ends: nothing is left beyond; log beta rises for ever, so that
 * training which gets so far collapses; or numbers or patience ran out. */
enum { GRA_FOUND_ALL, GRA_COLLAPSES, GRA_GAVE_UP };

typedef struct gra_search {
    gra_path path;
    gra_isolation isolation;
    const gra_problem *problem; /* for beta, progress and errors */
    gra_path_point *place[GRA_PLACES];
    gra_path_point here;       /* the point looked at last outside the isolation */
    double nearest_x, nearest; /* where log beta came nearest to what was wanted, and how near */
    int64_t looks;
    grpoalign_status stop; /* memory is short, or the host had enough */
} gra_search;

grpoalign_status gra_search_start(gra_search *self, const gra_problem *problem,
                                  const gra_path_context *contexts, int64_t count,
                                  const gra_divisor *divisor, int by_theta);

/* What stopped the search, as a status with its error filled in. */
grpoalign_status gra_search_stopped(const gra_search *self);

/* Looks along the whole path for log beta in [low, high] (one value: its roots; an interval: the
 * folds in it), from the reference policy on. Returns how it ended. */
int gra_search_path(gra_search *self, double low, double high, double finest);

/* Looks at x; the point is left in `here`. 0 when the search is stopped. */
int gra_search_look(gra_search *self, double x, int for_bounds);

/* Whether log beta has no minimum beyond the point in `here`, which is looked at for bounds. */
int gra_search_is_over(const gra_search *self);

/* log beta at x less the logarithm of a wanted one; `context` is a gra_search. */
double gra_search_equation(void *context, double x);

/* The root in a bracket. */
double gra_search_refine(gra_search *self, gra_bracket bracket);

/* Relative widths of the smallest pieces: a piece this small that no bound decides is a touching
 * point within rounding; the beta of a fold is good to the square of its width. */
#define GRA_FINEST_ROOT          1e-12
#define GRA_FINEST_FOLD          1e-9
#define GRA_FINEST_ROOT_OF_BATCH 1e-10

/* A position carries the rounding of exponents, at most about 700. */
double gra_position_noise(double x);

#endif
