/*
 * No penalty: training goes on to the best outcomes alone, and any policy on them is stationary;
 * the one given keeps their reference proportions. Where no class beats all others (cyclic
 * preferences) training circles for ever.
 */
#include "solver/solver.h"

#include <float.h>
#include <math.h>

#include "base/status.h"

static void collapse_onto(const gra_problem *problem, int64_t best, gra_answer *answer)
{
    for (int64_t c = 0; c < problem->reference.classes; c++) {
        answer->policy[c] = c == best;
        answer->slack[c] = c == best ? problem->reference.log_mass[c] : INFINITY;
    }
}

/* The class that wins against every other when nearly all hold it, and how many such classes there
 * are. */
static grpoalign_status find_best(const gra_problem *problem, int64_t *best, int64_t *count)
{
    const gra_game *game = &problem->structure->game;
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    double *pure = gra_arena_doubles(problem->arena, game->classes);
    double *u = gra_arena_doubles(problem->arena, game->classes);
    double *w = gra_arena_doubles(problem->arena, game->levels),
           *a = gra_arena_doubles(problem->arena, game->levels);
    *count = 0;
    if (pure == NULL || u == NULL || w == NULL || a == NULL) {
        return gra_fail_memory(problem->error);
    }
    for (int64_t c = 0; c < game->classes; c++) {
        int wins = 1;
        for (int64_t k = 0; k < game->classes; k++) {
            pure[k] = k == c;
        }
        gra_game_to_levels(game, pure, w);
        if (!game->advantage(game, w, 0.0, GRA_EXACT, a, problem->arena)) {
            return gra_fail_memory(problem->error);
        }
        gra_game_to_classes(game, a, u);
        for (int64_t k = 0; k < game->classes; k++) {
            wins = wins && (k == c || u[k] < u[c]);
        }
        if (wins) {
            *best = c;
            (*count)++;
        }
    }
    gra_arena_rewind(problem->arena, mark);
    return GRPOALIGN_OK;
}

/* Training that circles does so around the limit of reverse KL as beta goes to 0. */
static const double NEARLY_NOTHING = 1e-9;

static grpoalign_status circle(const gra_problem *problem, gra_answer *answer)
{
    gra_problem held = *problem;
    held.penalty = &gra_reverse_kl;
    held.beta = NEARLY_NOTHING;
    GRA_TRY(problem->solve(&held, answer));
    answer->status = GRPOALIGN_UNSETTLED;
    answer->unique = -1;
    answer->stable = 0;
    for (int64_t c = 0; c < problem->reference.classes; c++) {
        answer->slack[c] = problem->reference.log_mass[c] - log(answer->policy[c]);
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_solve_unpenalised(const gra_problem *problem, gra_answer *answer)
{
    const gra_structure *structure = problem->structure;
    int64_t best = structure->classes - 1, count = 1; /* classes ascend in reward */
    answer->method = GRPOALIGN_METHOD_TRIVIAL;
    answer->policy_error = DBL_EPSILON;
    if (structure->kind == GRA_FLAT) {
        gra_answer_reference(problem, answer);
        answer->unique = 0; /* every policy is stationary */
        answer->status = GRPOALIGN_NOT_UNIQUE;
        return GRPOALIGN_OK;
    }
    if (structure->kind == GRA_AFFINE) {
        gra_answer_collapse(problem, answer);
        return GRPOALIGN_OK;
    }
    if (structure->kind == GRA_GAME &&
        (structure->game.distribution != NULL || structure->game.margins != NULL)) {
        GRA_TRY(find_best(problem, &best, &count));
    }
    if (count == 0) {
        return circle(problem, answer);
    }
    collapse_onto(problem, best, answer);
    answer->status = GRPOALIGN_COLLAPSED;
    answer->stable = 1;
    answer->unique = count == 1 ? -1 : 0;
    return GRPOALIGN_OK;
}
