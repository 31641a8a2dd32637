/* Which solver runs: by what the structure declares. */
#include "solver/solver.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

void gra_answer_reference(const gra_problem *problem, gra_answer *answer)
{
    for (int64_t c = 0; c < problem->reference.classes; c++) {
        answer->slack[c] = problem->penalty->slack(problem->penalty, 0.0);
        answer->policy[c] = problem->reference.mass[c];
    }
    if (problem->penalty->lets_go) { /* some of the reference may be lost */
        gra_answer_respond(problem, answer);
    }
    answer->method = GRPOALIGN_METHOD_TRIVIAL;
    answer->unique = answer->stable = 1;
    answer->policy_error = DBL_EPSILON;
}

/* An answer of which nothing is known yet. */
static void start_answer(const gra_problem *problem, gra_answer *answer)
{
    answer->beta = problem->beta;
    answer->unique = answer->stable = -1;
    answer->regular = answer->on_branch = 0;
    answer->status = GRPOALIGN_OK;
}

grpoalign_status gra_solve_classes(const gra_problem *problem, gra_answer *answer)
{
    start_answer(problem, answer);
    answer->iterations = answer->factorizations = 0;
    switch (problem->penalty->form) {
    case GRA_ABSENT:
        return gra_solve_unpenalised(problem, answer);
    case GRA_STEP:
        if (problem->structure->kind == GRA_FLAT) {
            gra_answer_reference(problem, answer);
            return GRPOALIGN_OK;
        }
        return gra_solve_total_variation(problem, answer);
    default:
        return problem->penalty->lets_go ? gra_solve_active_set(problem, answer)
                                         : gra_solve_smooth(problem, answer);
    }
}

grpoalign_status gra_solve_smooth(const gra_problem *problem, gra_answer *answer)
{
    start_answer(problem, answer);
    switch (problem->structure->kind) {
    case GRA_FLAT:
        gra_answer_reference(problem, answer);
        return GRPOALIGN_OK;
    case GRA_RANKED:
        return gra_solve_ranked(problem, answer);
    case GRA_AFFINE:
        return gra_solve_affine(problem, answer);
    default:
        return gra_solve_game(problem, answer);
    }
}

/* Whether points, folds and curves are looked for. */
static int is_held(const gra_problem *problem)
{
    return gra_penalty_holds(problem->penalty);
}

/* What has one stationary policy for every beta has one point and no fold. */
static int is_always_single(const gra_problem *problem)
{
    return is_held(problem) &&
           (problem->structure->kind == GRA_FLAT || problem->structure->kind == GRA_RANKED ||
            (problem->structure->kind == GRA_GAME && problem->structure->game.margins != NULL));
}

grpoalign_status gra_find_points(const gra_problem *problem, gra_answers *out)
{
    gra_answers_start(out);
    if (is_always_single(problem) || !is_held(problem)) {
        gra_answer *answer = gra_answers_add(out, problem);
        if (answer == NULL) {
            return gra_fail_memory(problem->error);
        }
        GRA_TRY(gra_solve_classes(problem, answer));
        int none = answer->status == GRPOALIGN_COLLAPSED || answer->status == GRPOALIGN_UNSETTLED;
        out->count = none ? 0 : 1;
        out->connected = none ? -1 : 0;
        out->complete = is_always_single(problem) || problem->penalty->form == GRA_ABSENT;
        return GRPOALIGN_OK;
    }
    return problem->structure->kind == GRA_AFFINE ? gra_points_affine(problem, out)
                                                  : gra_points_game(problem, out);
}

grpoalign_status gra_find_folds(const gra_problem *problem, double low, double high,
                                gra_answers *out)
{
    gra_answers_start(out);
    if (is_always_single(problem) || !is_held(problem)) {
        out->complete = is_always_single(problem);
        return GRPOALIGN_OK;
    }
    return problem->structure->kind == GRA_AFFINE ? gra_folds_affine(problem, low, high, out)
                                                  : gra_folds_game(problem, low, high, out);
}

grpoalign_status gra_find_curve(const gra_problem *problem, double low, double high,
                                double resolution, gra_answers *out)
{
    gra_answers_start(out);
    if (is_always_single(problem) || !is_held(problem)) {
        return gra_curve_single(problem, low, high, resolution, out);
    }
    return problem->structure->kind == GRA_AFFINE
               ? gra_curve_affine(problem, low, high, resolution, out)
               : gra_curve_game(problem, low, high, resolution, out);
}

/* The nearest of the points of a affine. */
static grpoalign_status near_affine(const gra_problem *problem, const double *policy,
                                    gra_answers *points, gra_answer *answer)
{
    double least = INFINITY;
    int64_t n = problem->reference.classes, nearest = -1;
    if (points->count < 0) {
        gra_answers_start(points);
        GRA_TRY(gra_points_affine(problem, points));
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

grpoalign_status gra_solve_near(const gra_problem *problem, const double *policy,
                                gra_answers *points, gra_answer *answer)
{
    gra_problem quiet = *problem;
    quiet.progress = NULL;
    int searched = is_held(problem) && !is_always_single(problem);
    if (searched && problem->structure->kind == GRA_AFFINE) {
        return near_affine(&quiet, policy, points, answer);
    }
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    grpoalign_status status =
        searched ? gra_near_game(&quiet, policy, answer) : gra_solve_classes(&quiet, answer);
    gra_arena_rewind(problem->arena, mark);
    return status;
}

grpoalign_status gra_find_critical(const gra_problem *problem, double *beta)
{
    *beta = 0.0;
    /* With finite groups the advantages are continuous in the policy on the whole simplex: there is
     * always a fixed point. */
    if (problem->structure->kind != GRA_AFFINE || !is_held(problem)) {
        return GRPOALIGN_OK;
    }
    return gra_critical_affine(problem, beta);
}

grpoalign_status gra_report_progress(const gra_problem *problem, const gra_answer *answer,
                                     double beta, double change)
{
    if (problem->progress == NULL) {
        return GRPOALIGN_OK;
    }
    grpoalign_progress progress;
    memset(&progress, 0, sizeof progress);
    progress.struct_size = sizeof progress;
    progress.method = answer->method;
    progress.iteration = answer->iterations;
    progress.factorizations = answer->factorizations;
    progress.beta = beta;
    progress.change = change;
    if (problem->progress(problem->user, &progress) != 0) {
        return gra_fail(problem->error, GRPOALIGN_ERR_CANCELLED, 0, -1,
                        "stopped by the progress function after %d iterations",
                        (int)answer->iterations);
    }
    return GRPOALIGN_OK;
}
