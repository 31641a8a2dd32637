/*
 * No penalty: training goes on to the best outcomes alone, and any policy on them is stationary;
 * the one given keeps their reference proportions. Where no class beats all others (cyclic
 * preferences) training circles for ever. (doc/theory.md, section 5.3)
 */
#include "solver/solver.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

/* Onto the classes that win, in proportion to the reference. */
static void collapse_onto(const gra_problem *problem, const unsigned char *wins, gra_answer *answer)
{
    const gra_class_reference *reference = &problem->reference;
    double top = -INFINITY, sum = 0.0;
    for (int64_t c = 0; c < reference->classes; c++) {
        top = wins[c] ? fmax(top, reference->log_mass[c]) : top;
    }
    for (int64_t c = 0; c < reference->classes; c++) {
        answer->policy[c] = wins[c] ? exp(reference->log_mass[c] - top) : 0.0;
        sum += answer->policy[c];
    }
    for (int64_t c = 0; c < reference->classes; c++) {
        answer->policy[c] /= sum;
        answer->slack[c] = wins[c] ? top + log(sum) : INFINITY;
    }
}

/*
 * The classes that win against every other when nearly all hold them, and how many they are. With
 * margins a tie is no loss: classes that tie with each other win together if every class outside
 * loses to one of them. `gains` has a row for each class: the signs of what others gain by leaving
 * it.
 */
static void find_winners(const gra_problem *problem, const signed char *gains, unsigned char *wins,
                         int64_t *count)
{
    int64_t n = problem->reference.classes, last = -1;
    int together = problem->structure->game.margins != NULL;
    *count = 0;
    for (int64_t c = 0; c < n; c++) {
        wins[c] = 1;
        for (int64_t k = 0; k < n; k++) {
            wins[c] = wins[c] && (k == c || gains[c * n + k] < (together ? 1 : 0));
        }
        *count += wins[c];
        last = wins[c] ? c : last;
    }
    for (int64_t k = 0; together && k < n; k++) {
        int loses = wins[k];
        for (int64_t c = 0; c < n; c++) {
            loses = loses || (wins[c] && gains[c * n + k] < 0);
        }
        *count = loses ? *count : 0;
    }
    for (int64_t c = 0; !together && c < n; c++) { /* each by itself: one of them is given */
        wins[c] = c == last;
    }
}

/* Row c: what every class gains where nearly all hold class c. */
static grpoalign_status find_gains(const gra_problem *problem, signed char *gains)
{
    const gra_game *game = &problem->structure->game;
    int64_t n = game->classes;
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    double *pure = gra_arena_doubles(problem->arena, n), *u = gra_arena_doubles(problem->arena, n);
    double *w = gra_arena_doubles(problem->arena, game->levels),
           *a = gra_arena_doubles(problem->arena, game->levels);
    if (pure == NULL || u == NULL || w == NULL || a == NULL) {
        return gra_fail_memory(problem->error);
    }
    for (int64_t c = 0; c < n; c++) {
        for (int64_t k = 0; k < n; k++) {
            pure[k] = k == c;
        }
        gra_game_to_levels(game, pure, w);
        if (!game->advantage(game, w, 0.0, GRA_EXACT, a, problem->arena)) {
            return gra_fail_memory(problem->error);
        }
        gra_game_to_classes(game, a, u);
        for (int64_t k = 0; k < n; k++) {
            gains[c * n + k] = (signed char)((u[k] > u[c]) - (u[k] < u[c]));
        }
    }
    gra_arena_rewind(problem->arena, mark);
    return GRPOALIGN_OK;
}

/*
 * Training that circles does so around the limit of reverse KL as beta goes to 0. Close to it the
 * policy is a power series in beta (doc/theory.md, section 5.3), so that three policies at beta,
 * beta/2 and beta/4 give the limit up to the third power.
 */
static const double NEARLY_NOTHING = 1e-9, LEAST_NOTHING = 1e-13, SHRINK = 0.01;
/* Of the limit, else a smaller beta is taken. */
static const double GOOD_LIMIT = 1e-13;
enum { POLICIES = 3 };

/* The limit from policies at beta, beta/2 and beta/4; returns its error. */
static double extrapolate(const gra_answer *at, int64_t n, double *policy)
{
    double error = 0.0;
    for (int64_t c = 0; c < n; c++) {
        double first = at[0].policy[c], second = at[1].policy[c], third = at[2].policy[c];
        /* A class that is lost falls like beta itself. */
        int lost = third < 0.5 * first;
        policy[c] = lost ? 0.0 : third + (5.0 * (third - second) - (second - first)) / 3.0;
        error = fmax(error, lost ? 0.0 : fabs(policy[c] - (2.0 * third - second)));
    }
    for (int k = 0; k < POLICIES; k++) {
        error = fmax(error, at[k].status == GRPOALIGN_OK ? 5.0 * at[k].policy_error : 1.0);
    }
    return error;
}

static grpoalign_status circle(const gra_problem *problem, gra_answer *answer)
{
    int64_t n = problem->reference.classes;
    gra_problem held = *problem;
    gra_answer at[POLICIES];
    double *limit = gra_arena_doubles(problem->arena, n), least = INFINITY;
    held.penalty = &gra_reverse_kl;
    for (int k = 0; k < POLICIES; k++) {
        if (!gra_answer_take(&at[k], problem) || limit == NULL) {
            return gra_fail_memory(problem->error);
        }
    }
    for (double beta = NEARLY_NOTHING; least > GOOD_LIMIT && beta >= LEAST_NOTHING;
         beta *= SHRINK) {
        for (int k = 0; k < POLICIES; k++) {
            held.beta = ldexp(beta, -k);
            GRA_TRY(problem->solve(&held, &at[k]));
            answer->iterations += at[k].iterations;
            answer->factorizations += at[k].factorizations;
        }
        double error = extrapolate(at, n, limit);
        if (error < least) {
            least = error;
            memcpy(answer->policy, limit, (size_t)n * sizeof(double));
        }
    }
    answer->method = at[0].method;
    answer->status = GRPOALIGN_UNSETTLED;
    answer->unique = -1;
    answer->stable = 0;
    answer->policy_error = fmin(1.0, least);
    double sum = gra_total(answer->policy, n);
    for (int64_t c = 0; c < n; c++) {
        answer->policy[c] /= sum;
        answer->slack[c] = problem->reference.log_mass[c] - log(answer->policy[c]);
    }
    return GRPOALIGN_OK;
}

/* Classes ascend in reward: the last one wins. */
static grpoalign_status give_the_best(const gra_problem *problem, gra_answer *answer)
{
    int64_t n = problem->reference.classes;
    for (int64_t c = 0; c < n; c++) {
        answer->policy[c] = c == n - 1;
        answer->slack[c] = c == n - 1 ? problem->reference.log_mass[c] : INFINITY;
    }
    answer->status = GRPOALIGN_COLLAPSED;
    answer->stable = 1;
    return GRPOALIGN_OK;
}

/* A game: onto the winners, or round and round. */
static grpoalign_status play(const gra_problem *problem, gra_answer *answer)
{
    int64_t n = problem->reference.classes, count = 0, squared;
    signed char *gains = __builtin_mul_overflow(n, n, &squared)
                             ? NULL
                             : gra_arena_take(problem->arena, squared, sizeof *gains);
    unsigned char *wins = gra_arena_take(problem->arena, n, sizeof *wins);
    if (gains == NULL || wins == NULL) {
        return gra_fail_memory(problem->error);
    }
    GRA_TRY(find_gains(problem, gains));
    find_winners(problem, gains, wins, &count);
    if (count == 0) {
        return circle(problem, answer);
    }
    collapse_onto(problem, wins, answer);
    answer->status = GRPOALIGN_COLLAPSED;
    answer->stable = 1;
    answer->unique = count == 1 ? -1 : 0;
    return GRPOALIGN_OK;
}

grpoalign_status gra_solve_unpenalised(const gra_problem *problem, gra_answer *answer)
{
    const gra_structure *structure = problem->structure;
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
    if (structure->kind == GRA_GAME && structure->game.unordered) {
        return gra_fail(problem->error, GRPOALIGN_ERR_UNSUPPORTED, 2, -1,
                        "without a penalty training is solved where it ends in the best outcomes, "
                        "or circles: not for group rules");
    }
    if (structure->kind == GRA_GAME &&
        (structure->game.distribution != NULL || structure->game.margins != NULL)) {
        return play(problem, answer);
    }
    return give_the_best(problem, answer);
}
