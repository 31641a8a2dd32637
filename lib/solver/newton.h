/*
 * Newton on the slacks: what central_path.c, continuation.c and trace.c share.
 *
 * With slacks p (the policy being the response to them) stationarity is r = p + (u(pi(p)) -
 * lambda)/beta = 0. Linearised,
 *
 *     dp + (1/beta) (du/dpi) dpi = dlambda - r,   dpi = -q dp,   sum dpi = 0,
 *
 * one equation per class, or with u = distribution a(distribution^T pi) one per reward level,
 * whichever are few. A class that gains moves linearly in its probability, one that loses linearly
 * in its slack; so the iterate is a policy always.
 */
#ifndef GRA_SOLVER_NEWTON_H
#define GRA_SOLVER_NEWTON_H

#include "solver/solver.h"

/* The linear equations, as set up at some slacks; over classes or over reward levels. */
typedef struct gra_equations {
    int over_levels;
    int64_t order;               /* of the matrix */
    double *slopes;              /* du/dpi, or da/dw over levels */
    double *matrix, *spread, *y; /* factors; scratch over levels; right sides */
    int32_t *pivots;
    double *slope, *log_slope; /* of each class: q = -d pi/d slack, and q / pi */
    double *q;                 /* over levels: q as the equations have it */
    int32_t *stiff; /* over classes: the unknown of a class is its probability, not its slack */
    int64_t stiff_count;
    double damping;
    int regular; /* whether they could be factorised */
} gra_equations;

typedef struct gra_newton {
    const gra_problem *problem;
    const gra_game *game;
    gra_answer *answer; /* its slacks and policy are the iterate */
    double beta;
    int accuracy; /* of the advantages: GRA_EXACT, or GRA_COARSE on the way */
    int exact;    /* Jacobians to all digits: coarse ones cannot tell two points apart that meet in
                     a fold nearby */
    int jumped;   /* a class grew by so much in the last move that the factors are stale */
    gra_equations equations;
    /* at the iterate */
    double *w, *a; /* weights and advantages of the reward levels */
    double *u, *r; /* advantages and residuals of the classes */
    double lambda; /* what u is relative to */
    double size;   /* max |r| */
    /* per class */
    double *step, *trial, *work, *first;
    double *saved_slack, *saved_policy;
} gra_newton;

/* How far a step goes: the largest change of a probability, and the largest relative change (the
 * natural norm of Newton's method here: it does not depend on the scale of slacks or advantages),
 * and that of the classes that gain. */
typedef struct gra_extent {
    double change, relative, growth;
} gra_extent;

enum { NEWTON_DONE, NEWTON_FAILED };

/* Newton for the game of a problem, with scratch from its arena. 0 on short memory. */
int gra_newton_start(gra_newton *s, const gra_problem *problem, gra_answer *answer);

/* r and its size at the current slacks. 0 on short memory. */
int gra_newton_evaluate(gra_newton *s);

/* Factorises the equations at the current slacks; damping > 0 shortens the step to an implicit step
 * along the flow. 0 on short memory; s->equations.regular tells whether the matrix was regular. */
int gra_newton_factorise(gra_newton *s, double damping);

/* The change of slacks for the right side -r, with the lambda that keeps the sum of the policy.
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

/* Whether the residual at the iterate is no more than roundings can make it. Away from folds a
 * solution is not found before it is. */
int gra_newton_is_settled(const gra_newton *s);

/* Slacks of the response to the advantages at a policy. */
grpoalign_status gra_newton_respond(gra_newton *s, const double *policy);

/* Slacks at pi_ref itself. */
void gra_newton_at_reference(gra_newton *s);

/* Newton from the response to the advantages at a policy, and from pi_ref. */
grpoalign_status gra_newton_from_policy(gra_newton *s, const double *policy, int limit,
                                        int *outcome, double *change);
grpoalign_status gra_newton_from_reference(gra_newton *s, int *outcome, double *change);

/* The training flow from the current slacks, for at most `limit` steps, and Newton at its end, to
 * what is `enough` for it (newton_flow.c). */
grpoalign_status gra_newton_flow(gra_newton *s, int limit, double enough, int *outcome,
                                 double *change);

/* The last touch to an answer that Newton has found: small classes get all their digits, the error
 * is estimated. *valid is 0 when the answer keeps a class from probability it is due (polish.c). */
grpoalign_status gra_newton_polish(gra_newton *s, int *valid);

/* Ends a solve: polishes the answer if Newton has found one, else it is NOT_CONVERGED. */
grpoalign_status gra_newton_finish(gra_newton *s, int outcome);

#endif
