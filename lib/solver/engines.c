/*
 * Which engine solves a problem: one table, by what the structure and the penalty declare. A new
 * engine is a file and a row.
 */
#include "solver/solver.h"

#include <math.h>

#include "base/numeric.h"
#include "base/status.h"

typedef struct engine {
    const char *name;
    int (*accepts)(const gra_problem *problem);
    grpoalign_status (*solve)(const gra_problem *problem, gra_answer *answer);
    /* NULL where one answer at each beta is all that is looked for: then `single` tells whether it
     * is proved to be the only one. */
    grpoalign_status (*points)(const gra_problem *problem, gra_answers *out);
    grpoalign_status (*folds)(const gra_problem *problem, double low, double high,
                              gra_answers *out);
    grpoalign_status (*curve)(const gra_problem *problem, double low, double high,
                              double resolution, gra_answers *out);
    /* NULL where there is a stationary policy for every beta. */
    grpoalign_status (*critical)(const gra_problem *problem, double *beta);
    /* The stationary policy near another policy; NULL: the one that there is. */
    grpoalign_status (*near)(const gra_problem *problem, const double *policy, gra_answers *points,
                             gra_answer *answer);
    int single;
} engine;

static int is_unpenalised(const gra_problem *problem)
{
    return problem->penalty->form == GRA_ABSENT;
}

static int is_flat(const gra_problem *problem)
{
    return problem->structure->kind == GRA_FLAT;
}

static int is_step(const gra_problem *problem)
{
    return problem->penalty->form == GRA_STEP;
}

static int lets_go(const gra_problem *problem)
{
    return problem->penalty->lets_go && !problem->inner;
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

static int is_game(const gra_problem *problem)
{
    return problem->structure->kind == GRA_GAME;
}

static grpoalign_status solve_flat(const gra_problem *problem, gra_answer *answer)
{
    gra_answer_reference(problem, answer);
    return GRPOALIGN_OK;
}

/* The nearest of all points, which are found at the first call, when their count is -1. */
static grpoalign_status near_of_points(const gra_problem *problem, const double *policy,
                                       gra_answers *points, gra_answer *answer)
{
    double least = INFINITY;
    int64_t n = problem->reference.classes, nearest = -1;
    if (points->count < 0) {
        GRA_TRY(gra_find_points(problem, points));
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

/* The first row that accepts a problem is its engine. */
static const engine ENGINES[] = {
    {.name = "unpenalised", .accepts = is_unpenalised, .solve = gra_solve_unpenalised, .single = 1},
    {.name = "trivial", .accepts = is_flat, .solve = solve_flat, .single = 1},
    {.name = "total_variation", .accepts = is_step, .solve = gra_solve_total_variation},
    {.name = "active_set", .accepts = lets_go, .solve = gra_solve_active_set},
    {.name = "closed_form", .accepts = is_ranked, .solve = gra_solve_ranked, .single = 1},
    {.name = "scalar",
     .accepts = is_affine,
     .solve = gra_solve_affine,
     .points = gra_points_affine,
     .folds = gra_folds_affine,
     .curve = gra_curve_affine,
     .critical = gra_critical_affine,
     .near = near_of_points},
    {.name = "central_path", .accepts = has_margins, .solve = gra_solve_game, .single = 1},
    {.name = "continuation",
     .accepts = is_game,
     .solve = gra_solve_game,
     .points = gra_points_game,
     .folds = gra_folds_game,
     .curve = gra_curve_game,
     .near = gra_near_game},
};

static const engine *engine_of(const gra_problem *problem)
{
    const engine *row = ENGINES;
    while (!row->accepts(problem)) {
        row++; /* the last accepts every game, and there is no fifth kind of structure */
    }
    return row;
}

/* The problem as an engine is given it: with the way to solve others. */
static gra_problem hand_down(const gra_problem *problem)
{
    gra_problem own = *problem;
    own.solve = gra_solve_classes;
    return own;
}

grpoalign_status gra_solve_classes(const gra_problem *problem, gra_answer *answer)
{
    gra_problem own = hand_down(problem);
    if (!own.inner) {
        answer->iterations = answer->factorizations = 0;
    }
    gra_answer_start(answer, &own);
    return engine_of(&own)->solve(&own, answer);
}

/* The one answer as a list. */
static grpoalign_status single_point(const gra_problem *problem, int complete, gra_answers *out)
{
    gra_answer *answer = gra_answers_add(out, problem);
    if (answer == NULL) {
        return gra_fail_memory(problem->error);
    }
    GRA_TRY(gra_solve_classes(problem, answer));
    int none = answer->status == GRPOALIGN_COLLAPSED || answer->status == GRPOALIGN_UNSETTLED;
    out->count = none ? 0 : 1;
    out->connected = none ? -1 : 0;
    out->complete = complete;
    return GRPOALIGN_OK;
}

grpoalign_status gra_find_points(const gra_problem *problem, gra_answers *out)
{
    gra_problem own = hand_down(problem);
    const engine *row = engine_of(&own);
    gra_answers_start(out);
    return row->points != NULL ? row->points(&own, out) : single_point(&own, row->single, out);
}

grpoalign_status gra_find_folds(const gra_problem *problem, double low, double high,
                                gra_answers *out)
{
    gra_problem own = hand_down(problem);
    const engine *row = engine_of(&own);
    gra_answers_start(out);
    if (row->folds != NULL) {
        return row->folds(&own, low, high, out);
    }
    out->complete = row->single && !is_unpenalised(&own);
    return GRPOALIGN_OK;
}

grpoalign_status gra_find_curve(const gra_problem *problem, double low, double high,
                                double resolution, gra_answers *out)
{
    gra_problem own = hand_down(problem);
    const engine *row = engine_of(&own);
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
    const engine *row = engine_of(&own);
    *beta = 0.0;
    return row->critical != NULL ? row->critical(&own, beta) : GRPOALIGN_OK;
}

/* What the flow asks on its way; it must not speak to the host. */
static grpoalign_status solve_near(const gra_problem *problem, const double *policy,
                                   gra_answers *points, gra_answer *answer)
{
    gra_problem quiet = hand_down(problem);
    const engine *row = engine_of(&quiet);
    quiet.progress = NULL;
    if (row->near == near_of_points) {
        return row->near(&quiet, policy, points, answer); /* the points are kept */
    }
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    grpoalign_status status = row->near != NULL ? row->near(&quiet, policy, points, answer)
                                                : gra_solve_classes(&quiet, answer);
    gra_arena_rewind(problem->arena, mark);
    return status;
}

grpoalign_status gra_find_end(const gra_problem *problem, const double *start,
                              const gra_flow_limits *limits, gra_flow_sink sink, void *user,
                              gra_answer *answer)
{
    gra_problem own = hand_down(problem);
    return gra_follow_flow(&own, start, limits, sink, user, solve_near, answer);
}
