/*
 * The engines, one row each. The first row that accepts a problem solves it.
 *
 * Engines do not call each other, nor this file. One that has a problem of its own to solve calls
 * problem->solve, which is set here.
 */
#include "solver/solver.h"

#include <math.h>

#include "base/numeric.h"
#include "base/status.h"

typedef struct engine {
    const char *name;
    int (*accepts)(const gra_problem *problem);
    gra_solver solve;
    /* The next three are for problems that may have several stationary policies. NULL: only one is
     * looked for, which is the only one if the penalty holds every outcome. */
    grpoalign_status (*points)(const gra_problem *problem, gra_answers *out);
    grpoalign_status (*folds)(const gra_problem *problem, double low, double high,
                              gra_answers *out);
    grpoalign_status (*curve)(const gra_problem *problem, double low, double high,
                              double resolution, gra_answers *out);
    /* NULL: there is a stationary policy at every beta. */
    grpoalign_status (*critical)(const gra_problem *problem, double *beta);
    /* NULL: take the nearest of the points, or the only one. */
    grpoalign_status (*near)(const gra_problem *problem, const double *policy, gra_answer *answer);
} engine;

static int is_unpenalised(const gra_problem *problem)
{
    return problem->penalty->form == GRA_ABSENT;
}

static int loses_outcomes(const gra_problem *problem)
{
    return problem->penalty->lets_go && !problem->keeps_all;
}

static int is_flat(const gra_problem *problem)
{
    return problem->structure->kind == GRA_FLAT;
}

static int is_step(const gra_problem *problem)
{
    return problem->penalty->form == GRA_STEP;
}

static int is_ranked(const gra_problem *problem)
{
    return problem->structure->kind == GRA_RANKED;
}

static int is_affine(const gra_problem *problem)
{
    return problem->structure->kind == GRA_AFFINE;
}

static int has_margins(const gra_problem *problem)
{
    return problem->structure->kind == GRA_GAME && problem->structure->game.margins != NULL;
}

static int is_any(const gra_problem *problem)
{
    (void)problem;
    return 1;
}

/* clang-format off */
static const engine ENGINES[] = {
    {"unpenalised",     is_unpenalised, gra_solve_unpenalised,
        NULL, NULL, NULL, NULL, NULL},
    {"active set",      loses_outcomes, gra_solve_active_set,
        NULL, NULL, NULL, NULL, NULL},
    {"flat",            is_flat,        gra_solve_flat,
        NULL, NULL, NULL, NULL, NULL},
    {"total variation", is_step,        gra_solve_total_variation,
        NULL, NULL, NULL, NULL, NULL},
    {"closed form",     is_ranked,      gra_solve_ranked,
        NULL, NULL, NULL, NULL, NULL},
    {"scalar",          is_affine,      gra_solve_affine,
        gra_points_affine, gra_folds_affine, gra_curve_affine, gra_critical_affine, NULL},
    {"central path",    has_margins,    gra_solve_game,
        NULL, NULL, NULL, NULL, NULL},
    /* Advantages of finite groups are continuous in the policy on the whole simplex: there is a
     * fixed point at every beta. */
    {"continuation",    is_any,         gra_solve_game,
        gra_points_game, gra_folds_game, gra_curve_game, NULL, gra_near_game},
};
/* clang-format on */

static const engine *find_engine(const gra_problem *problem)
{
    const engine *row = ENGINES;
    while (!row->accepts(problem)) { /* the last one accepts any */
        row++;
    }
    return row;
}

/* What callers get as problem->solve. */
static grpoalign_status solve(const gra_problem *problem, gra_answer *answer)
{
    gra_problem handed = *problem;
    handed.solve = solve;
    gra_answer_start(answer, problem);
    return find_engine(problem)->solve(&handed, answer);
}

grpoalign_status gra_solve_classes(const gra_problem *problem, gra_answer *answer)
{
    answer->iterations = answer->factorizations = 0;
    return solve(problem, answer);
}

grpoalign_status gra_find_points(const gra_problem *problem, gra_answers *out)
{
    const engine *row = find_engine(problem);
    gra_problem handed = *problem;
    handed.solve = solve;
    gra_answers_start(out);
    if (row->points != NULL) {
        return row->points(&handed, out);
    }
    gra_answer *answer = gra_answers_add(out, problem);
    if (answer == NULL) {
        return gra_fail_memory(problem->error);
    }
    GRA_TRY(solve(problem, answer));
    int none = answer->status == GRPOALIGN_COLLAPSED || answer->status == GRPOALIGN_UNSETTLED;
    out->count = none ? 0 : 1;
    out->connected = none ? -1 : 0;
    out->complete = gra_penalty_holds(problem->penalty) || is_unpenalised(problem);
    return GRPOALIGN_OK;
}

grpoalign_status gra_find_folds(const gra_problem *problem, double low, double high,
                                gra_answers *out)
{
    const engine *row = find_engine(problem);
    gra_answers_start(out);
    if (row->folds != NULL) {
        return row->folds(problem, low, high, out);
    }
    out->complete = gra_penalty_holds(problem->penalty);
    return GRPOALIGN_OK;
}

grpoalign_status gra_find_curve(const gra_problem *problem, double low, double high,
                                double resolution, gra_answers *out)
{
    const engine *row = find_engine(problem);
    gra_problem handed = *problem;
    handed.solve = solve;
    gra_answers_start(out);
    return (row->curve != NULL ? row->curve : gra_curve_single)(&handed, low, high, resolution,
                                                                out);
}

grpoalign_status gra_find_path(const gra_problem *problem, const double *betas, int64_t count,
                               gra_answers *out)
{
    gra_problem handed = *problem;
    handed.solve = solve;
    return gra_path_single(&handed, betas, count, out);
}

grpoalign_status gra_find_critical(const gra_problem *problem, double *beta)
{
    const engine *row = find_engine(problem);
    *beta = 0.0;
    return row->critical != NULL ? row->critical(problem, beta) : GRPOALIGN_OK;
}

/* The nearest of all points, which are looked for at the first call. */
static grpoalign_status nearest_of(const engine *row, const gra_problem *problem,
                                   const double *policy, gra_answers *points, gra_answer *answer)
{
    double least = INFINITY;
    int64_t n = problem->reference.classes, nearest = -1;
    if (points->count < 0) {
        gra_answers_start(points);
        GRA_TRY(row->points(problem, points));
    }
    for (int64_t k = 0; k < points->count; k++) {
        double distance = gra_largest_difference(points->items[k].policy, policy, n);
        nearest = distance < least ? k : nearest;
        least = fmin(least, distance);
    }
    if (nearest >= 0) {
        gra_answer_copy(&points->items[nearest], answer, n);
    } else {
        answer->status = GRPOALIGN_NOT_CONVERGED;
    }
    return GRPOALIGN_OK;
}

/* The stationary policy nearest to a policy of the classes, as far as one can tell from there;
 * NOT_CONVERGED when there is none. */
static grpoalign_status solve_near(const gra_problem *problem, const double *policy,
                                   gra_answers *points, gra_answer *answer)
{
    const engine *row = find_engine(problem);
    gra_problem quiet = *problem;
    quiet.progress = NULL;
    quiet.solve = solve;
    if (row->near == NULL && row->points != NULL) {
        return nearest_of(row, &quiet, policy, points, answer);
    }
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    gra_answer_start(answer, problem);
    answer->iterations = answer->factorizations = 0;
    grpoalign_status status =
        row->near != NULL ? row->near(&quiet, policy, answer) : row->solve(&quiet, answer);
    gra_arena_rewind(problem->arena, mark);
    return status;
}

grpoalign_status gra_follow_flow(const gra_problem *problem, const double *start,
                                 const gra_flow_limits *limits, gra_flow_sink sink, void *user,
                                 gra_answer *answer)
{
    const gra_flow_calls calls = {sink, user, solve_near};
    return gra_run_flow(problem, start, limits, &calls, answer);
}
