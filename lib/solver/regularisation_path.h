/*
 * The regularisation path: the policies with slacks rate gap theta + lambda, in one context or in
 * several that share a divisor. Each of them is stationary at exactly one beta,
 *
 *     log beta = log(1/divisor) - log theta,   theta = 1/b,   b = beta divisor,
 *
 * which falls from infinity at the reference policy. So the stationary policies at a beta are the
 * roots of one function of one unknown, whatever the divisor and however many the contexts; they
 * appear and vanish where it turns. (doc/theory.md, section 2.10)
 *
 * Positions on it come in two ways. With one context the position x is the penalty's own, which
 * keeps digits where the best outcomes hold nearly everything; but it ends where they hold all. In
 * a batch it is log theta, which goes on beyond that.
 */
#ifndef GRA_SOLVER_REGULARISATION_PATH_H
#define GRA_SOLVER_REGULARISATION_PATH_H

#include "solver/isolate.h"
#include "solver/solver.h"

typedef struct gra_path_context {
    const gra_problem *problem; /* flat, or affine; its beta and divisor have no meaning here */
    const double *gap;          /* in the unit of the divisor; NULL where all are 0 */
    double rate;
} gra_path_context;

typedef struct gra_path {
    const gra_path_context *context;
    int64_t count;
    int by_theta; /* positions are log theta */
    const gra_penalty *penalty;
    gra_divisor divisor;
    gra_arena *arena;
    double *slack, *policy; /* of the context looked at last */
    double *scratch;
    gra_covariance *least, *most; /* per context */
    double *rate;                 /* per context */
    double rounding;              /* of the sums that bounds come from, relative to their terms */
} gra_path;

/* A point of the path. */
typedef struct gra_path_point {
    gra_point at; /* scale: log theta; value: log beta */
    double theta;
    double *lambda;  /* per context */
    gra_moments *of; /* per context */
} gra_path_point;

/* Steps along the path, and the largest position: exp of it is still a double. */
#define GRA_PATH_STRIDE  0.7
#define GRA_PATH_LARGEST 700.0

/* Sets up a path, by positions of the penalty (one context) or by log theta; the arrays it takes
 * are the arena's. 0 on short memory. */
int gra_path_start(gra_path *self, const gra_path_context *contexts, int64_t count,
                   const gra_divisor *divisor, int by_theta, gra_arena *arena);

/* Makes what bounds need, once. 0 on short memory. */
int gra_path_prepare(gra_path *self);

/* How many roundings slacks have that bounds are made of, relative. */
double gra_path_rounding(const gra_path *self);

/* Whether there are bounds over pieces of the path. */
int gra_path_is_bounded(const gra_path *self);

int gra_path_point_take(const gra_path *self, gra_path_point *point);

/* The point at x, leaving the policy and the slacks of the last context behind. 0 on short
 * memory. */
int gra_path_look(gra_path *self, double x, int for_bounds, gra_path_point *out);

/* The position before which theta is below a number; and one beyond which it is above another. */
void gra_path_bracket(gra_path *self, double low, double high, double *x_low, double *x_high);

/* The policy of context k at theta, in self->slack and self->policy; returns lambda. */
double gra_path_respond(gra_path *self, int64_t k, double theta);

/* What is known of log beta between two points. */
gra_piece gra_path_bound(gra_path *self, const gra_path_point *a, const gra_path_point *b);

/* The slope of log beta in theta at a point, up to rounding; the path must be bounded. */
double gra_path_slope(gra_path *self, const gra_path_point *at);

#endif
