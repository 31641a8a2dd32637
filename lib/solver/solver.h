/*
 * The inside of the solvers: find where a structure (from a model) and a penalty agree, over
 * classes of outcomes. What structure and penalty declare decides which engine runs (engines.c).
 */
#ifndef GRA_SOLVER_SOLVER_H
#define GRA_SOLVER_SOLVER_H

#include <stdint.h>

#include "problem/problem.h"

/* A list of answers, in order; the arena keeps them. */
typedef struct gra_answers {
    gra_answer *items;
    int64_t count, capacity;
    int64_t connected; /* all points: the one that pi_ref leads to, -1 for none */
    int complete;      /* proved to be all that there is of what was asked for */
} gra_answers;

/* ---- answers, which all files share (answers.c) ---------------------------------------------- */

/* Nothing is known of the answer yet but the beta; its arrays and its counts stay. */
void gra_answer_start(gra_answer *answer, const gra_problem *problem);

/* Starts an answer, with room for the classes of a problem; 0 on short memory. */
int gra_answer_take(gra_answer *answer, const gra_problem *problem);

/* Copies an answer, its arrays too; both belong to the same problem. */
void gra_answer_copy(const gra_answer *from, gra_answer *to, int64_t classes);

/* The policy of the answer's slacks, which are shifted so that it sums to 1. */
void gra_answer_respond(const gra_problem *problem, gra_answer *answer);

/* pi_ref itself: all advantages are equal. */
void gra_answer_reference(const gra_problem *problem, gra_answer *answer);

/* Affine advantages: the limit of the path, the best classes alone. */
void gra_answer_collapse(const gra_problem *problem, gra_answer *answer);

/* The structure of a problem as a game; *game may be `own`, whose arrays the arena keeps. Not for
 * flat structures. 0 on short memory. */
int gra_as_game(const gra_problem *problem, gra_game *own, const gra_game **game);

/* An empty list, connected being -1. */
void gra_answers_start(gra_answers *answers);

/* The next item, with room; NULL on short memory. */
gra_answer *gra_answers_add(gra_answers *answers, const gra_problem *problem);

/* The most points a curve may have. */
#define GRA_LONGEST_CURVE INT64_C(20000)

/* Whether no probability changes by more than the resolution, and beta by no more than ten times
 * that in decades. */
int gra_are_near(const double *policy, double beta, const double *other_policy, double other_beta,
                 int64_t classes, double resolution);

/* Calls the progress function; GRPOALIGN_ERR_CANCELLED when it asks to stop. */
grpoalign_status gra_report_progress(const gra_problem *problem, const gra_answer *answer,
                                     double beta, double change);

/* gra_find_path and gra_find_curve where problem->solve gives the one answer at each beta
 * (single.c). */
grpoalign_status gra_path_single(const gra_problem *problem, const double *betas, int64_t count,
                                 gra_answers *out);
grpoalign_status gra_curve_single(const gra_problem *problem, double low, double high,
                                  double resolution, gra_answers *out);

/* ---- what is asked for (engines.c) ----------------------------------------------------------- */

/* Returns GRPOALIGN_OK or an error; what qualifies the answer is in answer->status. */
grpoalign_status gra_solve_classes(const gra_problem *problem, gra_answer *answer);

/* All stationary policies at problem->beta. */
grpoalign_status gra_find_points(const gra_problem *problem, gra_answers *out);

/* The stationary policies with low <= beta <= high at which two of them meet, in the order of the
 * curve of all of them; problem->beta has no meaning. */
grpoalign_status gra_find_folds(const gra_problem *problem, double low, double high,
                                gra_answers *out);

/* The curve of stationary policies from beta = high on until it leaves [low, high] for good,
 * neighbours as near as gra_are_near tells; problem->beta has no meaning. */
grpoalign_status gra_find_curve(const gra_problem *problem, double low, double high,
                                double resolution, gra_answers *out);

/* The answers that gra_solve_classes gives at the betas, which must fall; each may start from the
 * one before. */
grpoalign_status gra_find_path(const gra_problem *problem, const double *betas, int64_t count,
                               gra_answers *out);

/* The beta below which there is no stationary policy, 0 where there always is one. */
grpoalign_status gra_find_critical(const gra_problem *problem, double *beta);

/* What is told of the flow on its way; `policy` per supported outcome. Returns 0 on short memory.
 */
typedef int (*gra_flow_sink)(void *user, double time, const double *policy, double speed);

typedef struct gra_flow_limits {
    int32_t max_steps;
    double end_time, tolerance;
} gra_flow_limits;

/*
 * Follows the flow from a policy over the supported outcomes to its end, which goes to the answer:
 * stationary (status OK), COLLAPSED, or NOT_CONVERGED when the limits came first.
 */
grpoalign_status gra_find_end(const gra_problem *problem, const double *start,
                              const gra_flow_limits *limits, gra_flow_sink sink, void *user,
                              gra_answer *answer);

/* ---- whether an answer attracts (stability.c) ------------------------------------------------ */

/* Finds out whether an answer attracts training, as far as asked for (GRPOALIGN_STABILITY_*): fills
 * its `stable` and `rate`. */
grpoalign_status gra_assess(const gra_problem *problem, gra_answer *answer, int32_t stability);

/* Whether the answer attracts mean-field GRPO: 1, 0, or -1 where only eigenvalues can tell. */
grpoalign_status gra_stability(const gra_problem *problem, const gra_answer *answer,
                               int32_t *stable);

/* The largest number of outcomes for which eigenvalues are computed. */
#define GRA_SPECTRUM_LIMIT INT64_C(400)

/*
 * The largest real part of the eigenvalues of the training flow over outcomes at a stationary
 * policy, on the tangent space. *rounding receives how much of it may be rounding. NaN when it
 * cannot be had.
 */
grpoalign_status gra_abscissa_of(const gra_problem *problem, const gra_answer *answer,
                                 double *abscissa, double *rounding);

/* ---- the engines, which engines.c alone calls ------------------------------------------------ */

grpoalign_status gra_solve_per_token(const gra_problem *problem, gra_answer *answer);
grpoalign_status gra_solve_unpenalised(const gra_problem *problem, gra_answer *answer);
grpoalign_status gra_solve_active_set(const gra_problem *problem, gra_answer *answer);
/* What the active set asks before it takes out a class that is beyond the end of its slack, where
 * the penalty turns back there: whether the branch has a stationary policy with the class beyond
 * the end. Then the answer, which has the class beyond the end of the slack gone on, becomes it. */
grpoalign_status gra_stay_beyond(const gra_problem *problem, int64_t at, gra_answer *answer,
                                 int *stays);
grpoalign_status gra_solve_total_variation(const gra_problem *problem, gra_answer *answer);
grpoalign_status gra_solve_flat(const gra_problem *problem, gra_answer *answer);
grpoalign_status gra_solve_ranked(const gra_problem *problem, gra_answer *answer);

grpoalign_status gra_solve_affine(const gra_problem *problem, gra_answer *answer);
grpoalign_status gra_points_affine(const gra_problem *problem, gra_answers *out);
grpoalign_status gra_folds_affine(const gra_problem *problem, double low, double high,
                                  gra_answers *out);
grpoalign_status gra_curve_affine(const gra_problem *problem, double low, double high,
                                  double resolution, gra_answers *out);
grpoalign_status gra_critical_affine(const gra_problem *problem, double *beta);

/* Two classes, their difference a polynomial (gra_game.contrast). */
grpoalign_status gra_solve_two_classes(const gra_problem *problem, gra_answer *answer);
grpoalign_status gra_points_two_classes(const gra_problem *problem, gra_answers *out);
grpoalign_status gra_folds_two_classes(const gra_problem *problem, double low, double high,
                                       gra_answers *out);
grpoalign_status gra_curve_two_classes(const gra_problem *problem, double low, double high,
                                       double resolution, gra_answers *out);

/* Margins. `fallback` solves where the central path does not lead to the answer. */
grpoalign_status gra_solve_margins(const gra_problem *problem, gra_solver fallback,
                                   gra_answer *answer);

grpoalign_status gra_solve_game(const gra_problem *problem, gra_answer *answer);
grpoalign_status gra_near_game(const gra_problem *problem, const double *policy,
                               gra_answer *answer);
grpoalign_status gra_points_game(const gra_problem *problem, gra_answers *out);
grpoalign_status gra_folds_game(const gra_problem *problem, double low, double high,
                                gra_answers *out);
grpoalign_status gra_curve_game(const gra_problem *problem, double low, double high,
                                double resolution, gra_answers *out);

/* What the flow calls. near: the stationary policy nearest to a policy of the classes, as far as
 * one can tell from there; NOT_CONVERGED when there is none. `points` may be kept from call to
 * call; their count is -1 at the first. */
typedef struct gra_flow_calls {
    gra_flow_sink sink;
    void *user;
    grpoalign_status (*near)(const gra_problem *problem, const double *policy, gra_answers *points,
                             gra_answer *answer);
} gra_flow_calls;

grpoalign_status gra_follow_flow(const gra_problem *problem, const double *start,
                                 const gra_flow_limits *limits, const gra_flow_calls *calls,
                                 gra_answer *answer);

#endif
