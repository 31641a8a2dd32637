/* Two classes whose difference of advantages is a polynomial in the probability of the second: the
 * points of the one curve, which two_classes.c looks for and two_classes_curve.c follows. */
#ifndef GRA_SOLVER_TWO_CLASSES_H
#define GRA_SOLVER_TWO_CLASSES_H

#include "base/polynomial.h"
#include "solver/isolate.h"
#include "solver/solver.h"

/*
 * A policy of two classes. The position is x = asinh(odds), odds being the logarithm of the ratio
 * of the classes less that of the reference: 0 at pi_ref, and with all digits at either end.
 */
typedef struct gra_pair {
    gra_point at;
    double odds;
    gra_share share;                         /* of the second class, p, and the first, q */
    double ratio[2], slack[2], stiffness[2]; /* log(pi/pi_ref), and -d slack/d ratio */
    double distance;                         /* slack[0] - slack[1], which rises with the odds */
    double contrast;                         /* u_1 - u_0 */
} gra_pair;

/* Width of positions: a piece this small that no bound decides is a touching point within
 * rounding. */
#define GRA_FINEST_ROOT 1e-12

/* What is looked for along the curve: distance - contrast/beta, which is 0 where a policy is
 * stationary; or contrast/distance, the beta that it is stationary at. */
enum { GRA_PAIR_EQUATION, GRA_PAIR_BETA };

typedef struct gra_pairs {
    const gra_problem *problem;
    gra_problem at_beta; /* it at another beta, while roots are looked for */
    const double *contrast;
    double *difference, *work;
    int64_t degree;
    double share[2], log_share[2], even; /* of the reference; even: the log ratio at odds 0 */
    gra_interval range, slopes;          /* of the contrast, and of its derivative in p */
    double largest;                      /* |coefficient| */
    int wanted, side;                    /* side: the sign of the odds, where it is beta */
    gra_pair place[GRA_PLACES], here;
    gra_isolation isolation;
    int32_t looks;
    grpoalign_status stop;
} gra_pairs;

/* Stationary policies, in the order of their odds; -INFINITY and INFINITY: one class alone. */
typedef struct gra_pair_roots {
    double *odds;
    int64_t count, connected; /* connected: the one that pi_ref leads to, -1 for none */
    int proved;               /* there are no others */
} gra_pair_roots;

grpoalign_status gra_pairs_start(gra_pairs *self, const gra_problem *problem);

void gra_pairs_place(gra_pairs *self, double odds, gra_pair *out);

/* The odds beyond which, in direction of `side`, no policy is stationary at beta or more; or where
 * nothing is left of a class. */
double gra_pairs_end(gra_pairs *self, int side, double beta);

/* Whether slacks end, so that a class may be empty. */
int gra_pairs_have_corners(const gra_pairs *self);

/* Looks through a stretch of odds for a value, or for turns at values in an interval. */
void gra_pairs_isolate(gra_pairs *self, double low, double high, gra_interval wanted,
                       double finest);

grpoalign_status gra_pairs_stopped(const gra_pairs *self);

/* The odds in a bracket of positions at which a policy is stationary at beta. */
double gra_pairs_refine(gra_pairs *self, gra_bracket at, double beta);

grpoalign_status gra_pairs_roots(gra_pairs *self, double beta, gra_pair_roots *out);

/* The answer at some odds, stationary at beta. */
void gra_pairs_finish(gra_pairs *self, double odds, double beta, gra_answer *answer);

/* contrast/distance, and the sign of its slope. */
double gra_pairs_beta(gra_pairs *self, double odds);
double gra_pairs_turn(gra_pairs *self, double odds);

#endif
