/*
 * Newton on the slacks, the engine of game.c and points.c.
 *
 * With slacks p (the policy being the response to them) stationarity is r = p + (u(pi(p)) -
 * level)/beta = 0. Linearised,
 *
 *     dp + (1/beta) (du/dpi) dpi = dlevel - r,   dpi = -q dp,   sum dpi = 0,
 *
 * one equation per class, or with u = distribution a(distribution^T pi) one per reward level,
 * whichever are few. A class that gains moves linearly in its probability, one that loses linearly
 * in its slack; so the iterate is a policy always.
 */
#ifndef GRA_SOLVER_NEWTON_H
#define GRA_SOLVER_NEWTON_H

#include "solver/solver.h"

typedef struct gra_newton {
    const gra_problem *problem;
    const gra_game *game;
    gra_answer *answer;
    double beta;
    int accuracy; /* of the advantages: GRA_EXACT, or GRA_COARSE on the way */
    double level; /* what u is relative to */
    double size;  /* max |r - mean r| of the current slacks */
    /* classes */
    double *u, *r, *step, *trial, *saved_slack, *saved_policy, *work, *first;
    double *slope, *log_slope; /* q = -d pi/d slack, and q / pi, where the equations were set up */
    double *q;                 /* q as used in the equations over levels */
    int32_t *stiff; /* the unknown of a class in the equations over classes is its probability */
    int64_t stiff_count;
    double *w, *a;   /* levels */
    int over_levels; /* which equations */
    int64_t order;   /* of the matrix */
    double *slopes, *matrix, *spread, *y;
    double damping; /* of the last factors */
    int32_t *pivots;
    int factored;
    int exact;  /* Jacobians to all digits: coarse ones cannot tell two points apart that meet in a
                   fold nearby */
    int jumped; /* a class grew by so much in the last move that the factors are stale */
} gra_newton;

/* How far a step goes: the largest change of a probability, and the largest relative change (the
 * natural norm of Newton's method here: it does not depend on the scale of slacks or advantages),
 * and that of the classes that gain. */
typedef struct gra_extent {
    double change, relative, growth;
} gra_extent;

enum { NEWTON_DONE, NEWTON_FAILED };

/* Takes the vectors and matrices from the arena; game, problem, answer, beta and accuracy are set
 * before. 0 on short memory. */
int gra_newton_take(gra_newton *s, gra_arena *arena);

/* r and its size at the current slacks. 0 on short memory. */
int gra_newton_evaluate(gra_newton *s);

/* Factorises the equations at the current slacks; damping > 0 shortens the step to an implicit step
 * along the flow. 0 on short memory; s->factored tells whether the matrix was regular. */
int gra_newton_factorise(gra_newton *s, double damping);

/* The change of slacks for the right side -r, with the level that keeps the sum of the policy.
 * Returns the sign of the determinant of the whole system. */
int gra_newton_direction(gra_newton *s, const double *r, double *step);

gra_extent gra_newton_measure(const gra_newton *s, const double *step);

/* Moves the slacks by length * step and responds. */
void gra_newton_move(gra_newton *s, const double *step, double length);

void gra_newton_save(gra_newton *s);
void gra_newton_restore(gra_newton *s);

/*
 * Newton from the current slacks with Deuflhard's natural monotonicity test: a step is judged by
 * the next correction that the same factors give. Ends when the next relative correction is below
 * `enough`, or with enough = 0 when nothing is left to correct. *change is the last change of a
 * probability; the sign of the determinant is left in the answer. Gives up after `limit`
 * iterations.
 */
grpoalign_status gra_newton_run(gra_newton *s, int limit, double enough, int *outcome,
                                double *change);

/* Slacks of the response to the advantages at a policy. */
grpoalign_status gra_newton_respond(gra_newton *s, const double *policy);

/* Slacks at pi_ref itself. */
void gra_newton_at_reference(gra_newton *s);

/* The training flow from the current slacks, for at most `limit` steps, and Newton at its end.
 * (game.c) */
grpoalign_status gra_newton_flow(gra_newton *s, int limit, int *outcome, double *change);

/* The last touch to an answer that Newton has found: small classes get all their digits, the error
 * is estimated. *valid is 0 when the answer keeps a class from probability it is due. (game.c) */
grpoalign_status gra_newton_polish(gra_newton *s, int *valid);

#endif
