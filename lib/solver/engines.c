/*
 * The engines, one row each: the first row that accepts a problem solves it. A new engine is a file
 * and a row.
 *
 * Engines do not know each other, nor this file. One that has a problem of its own to solve calls
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
    int single; /* the policy that solve finds is proved to be the only one */
    /* These three are for problems that may have several. NULL: only one is looked for. */
    grpoalign_status (*points)(const gra_problem *problem, gra_answers *out);
    grpoalign_status (*folds)(const gra_problem *problem, double low, double high,
                              gra_answers *out);
    grpoalign_status (*curve)(const gra_problem *problem, double low, double high,
                              double resolution, gra_answers *out);
    /* NULL: there is a stationary policy at every beta. */
    grpoalign_status (*critical)(const gra_problem *problem, double *beta);
    /* The stationary policy near another policy. NULL: the nearest of the points, or the only
     * one. */
    grpoalign_status (*near)(const gra_problem *problem, const double *policy, gra_answer *answer);
} engine;

static int is_per_token(const gra_problem *problem)
{
    return problem->tree != NULL;
}

static int is_unpenalised(const gra_problem *problem)
{
    return problem->penalty->form == GRA_ABSENT;
}

/* Not within the active set's own solves, which keep all outcomes. */
static int lets_outcomes_go(const gra_problem *problem)
{
    return problem->penalty->lets_go && !problem->inner;
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

/* A piece is divided in degree^2 steps: beyond this that takes longer than to trace the curve. */
static const int64_t MOST_DEGREE = 2048;

static int has_contrast(const gra_problem *problem)
{
    const gra_structure *structure = problem->structure;
    return structure->kind == GRA_GAME && structure->game.contrast != NULL &&
           structure->game.degree <= MOST_DEGREE;
}

static int is_any(const gra_problem *problem)
{
    (void)problem;
    return 1;
}

static grpoalign_status solve_margins(const gra_problem *problem, gra_answer *answer)
{
    return gra_solve_margins(problem, gra_solve_game, answer);
}

/* clang-format off */
static const engine ENGINES[] = {
    {"per token",       is_per_token,     gra_solve_per_token,       0,
        NULL, NULL, NULL, NULL, NULL},
    {"unpenalised",     is_unpenalised,   gra_solve_unpenalised,     1,
        NULL, NULL, NULL, NULL, NULL},
    {"active set",      lets_outcomes_go, gra_solve_active_set,      0,
        NULL, NULL, NULL, NULL, NULL},
    {"flat",            is_flat,          gra_solve_flat,            1,
        NULL, NULL, NULL, NULL, NULL},
    {"total variation", is_step,          gra_solve_total_variation, 0,
        NULL, NULL, NULL, NULL, NULL},
    {"closed form",     is_ranked,        gra_solve_ranked,          1,
        NULL, NULL, NULL, NULL, NULL},
    {"scalar",          is_affine,        gra_solve_affine,          0,
        gra_points_affine, gra_folds_affine, gra_curve_affine, gra_critical_affine, NULL},
    {"central path",    has_margins,      solve_margins,             1,
        NULL, NULL, NULL, NULL, NULL},
    {"two classes",     has_contrast,     gra_solve_two_classes,     0,
        gra_points_two_classes, gra_folds_two_classes, gra_curve_two_classes, NULL, NULL},
    /* The advantages of finite groups are continuous in the policy on the whole simplex: there is a
     * fixed point at every beta. */
    {"continuation",    is_any,           gra_solve_game,            0,
        gra_points_game, gra_folds_game, gra_curve_game, NULL, gra_near_game},
};
/* clang-format on */

static const engine *engine_of(const gra_problem *problem)
{
    const engine *row = ENGINES;
    while (!row->accepts(problem)) { /* the last one accepts any */
        row++;
    }
    return row;
}

/* Goes on from the counts in the answer. */
static grpoalign_status solve(const gra_problem *problem, gra_answer *answer);

/* The problem as an engine is given it: with the way to solve others. */
static gra_problem hand_down(const gra_problem *problem)
{
    gra_problem own = *problem;
    own.solve = solve;
    return own;
}

static grpoalign_status solve(const gra_problem *problem, gra_answer *answer)
{
    gra_problem own = hand_down(problem);
    gra_answer_start(answer, problem);
    return engine_of(problem)->solve(&own, answer);
}

grpoalign_status gra_solve_classes(const gra_problem *problem, gra_answer *answer)
{
    answer->iterations = answer->factorizations = 0;
    return solve(problem, answer);
}

/* The one answer as a list. */
static grpoalign_status single_point(const gra_problem *problem, int complete, gra_answers *out)
{
    gra_answer *answer = gra_answers_add(out, problem);
    if (answer == NULL) {
        return gra_fail_memory(problem->error);
    }
    GRA_TRY(solve(problem, answer));
    int none = answer->status == GRPOALIGN_COLLAPSED || answer->status == GRPOALIGN_UNSETTLED;
    out->count = none ? 0 : 1;
    out->connected = none ? -1 : 0;
    out->complete = complete;
    return GRPOALIGN_OK;
}

grpoalign_status gra_find_points(const gra_problem *problem, gra_answers *out)
{
    gra_problem own = hand_down(problem);
    const engine *row = engine_of(problem);
    gra_answers_start(out);
    return row->points != NULL ? row->points(&own, out) : single_point(&own, row->single, out);
}

grpoalign_status gra_find_folds(const gra_problem *problem, double low, double high,
                                gra_answers *out)
{
    gra_problem own = hand_down(problem);
    const engine *row = engine_of(problem);
    gra_answers_start(out);
    if (row->folds != NULL) {
        return row->folds(&own, low, high, out);
    }
    out->complete =
        row->single && !is_unpenalised(problem); /* without a penalty beta means nothing */
    return GRPOALIGN_OK;
}

grpoalign_status gra_find_curve(const gra_problem *problem, double low, double high,
                                double resolution, gra_answers *out)
{
    gra_problem own = hand_down(problem);
    const engine *row = engine_of(problem);
    gra_answers_start(out);
    return row->curve != NULL ? row->curve(&own, low, high, resolution, out)
                              : gra_curve_single(&own, low, high, resolution, out);
}

grpoalign_status gra_find_path(const gra_problem *problem, const double *betas, int64_t count,
                               gra_answers *out)
{
    gra_problem own = hand_down(problem);
    return gra_path_single(&own, betas, count, out);
}

grpoalign_status gra_find_critical(const gra_problem *problem, double *beta)
{
    gra_problem own = hand_down(problem);
    const engine *row = engine_of(problem);
    *beta = 0.0;
    return row->critical != NULL ? row->critical(&own, beta) : GRPOALIGN_OK;
}

/* The nearest of all points, which are found at the first call, when their count is -1, and
 * kept. */
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

/* What the flow asks on its way; it does not speak to the host. */
static grpoalign_status solve_near(const gra_problem *problem, const double *policy,
                                   gra_answers *points, gra_answer *answer)
{
    gra_problem quiet = hand_down(problem);
    const engine *row = engine_of(problem);
    quiet.progress = NULL;
    gra_answer_start(answer, problem);
    answer->iterations = answer->factorizations = 0;
    if (row->near == NULL && row->points != NULL) {
        return nearest_of(row, &quiet, policy, points, answer);
    }
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    grpoalign_status status =
        row->near != NULL ? row->near(&quiet, policy, answer) : row->solve(&quiet, answer);
    gra_arena_rewind(problem->arena, mark);
    return status;
}

grpoalign_status gra_find_end(const gra_problem *problem, const double *start,
                              const gra_flow_limits *limits, gra_flow_sink sink, void *user,
                              gra_answer *answer)
{
    const gra_flow_calls calls = {sink, user, solve_near};
    return gra_follow_flow(problem, start, limits, &calls, answer);
}
