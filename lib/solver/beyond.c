/*
 * A class beyond the end of its slack, where the penalty turns back: g is least at the end and
 * rises again below it (squared log ratio). A stationary policy may have one class there, held by
 * what the others feel, and it lies on the branch of the reference: as beta falls the class comes
 * to the end, passes it, and is lost at the fold of the branch, which comes later.
 *
 * The active set gives an answer for the slack gone on as a mirror image; its class `at` is beyond
 * the end. Let that class be held at a log ratio l, and the others be stationary around it. Then
 * F(l), its slack as training feels it less what its advantage asks for, is negative at that
 * answer: the mirror image asks for more than is there. Going down from there F rises as long as
 * the branch goes on, and turns where the branch folds. So the first zero of F on the way down is
 * the answer, and where F turns before it there is none. F is concave, so Newton's method comes to
 * the zero from one side and cannot step over it.
 */
#include "solver/solver.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"
#include "linalg/linalg.h"

/* Corrections below which the others are stationary: of a probability, and of a log ratio. */
static const double STILL = 1e-15, STEADY = 1e-12;
/* Newton for the others, and for the class itself, which halves its distance beside a fold. */
enum { INNER_ITERATIONS = 40, OUTER_ITERATIONS = 80 };
/* No log ratio changes by more in one iteration. */
static const double LONGEST = 1.0;

typedef struct held {
    const gra_problem *problem;
    const gra_game *game;
    int64_t n, at;
    double lambda;
    double *log_ratio, *policy, *u;
    double *w, *a, *slopes; /* of the game */
    double *matrix;         /* (n + 1) x (n + 1): log ratios and lambda */
    double *right, *own;    /* a right side; the row of `at`, which the matrix has not */
    int32_t *pivots;
} held;

static int held_take(held *s)
{
    gra_arena *arena = s->problem->arena;
    int64_t n = s->n, levels = s->game->levels;
    s->log_ratio = gra_arena_doubles(arena, n);
    s->policy = gra_arena_doubles(arena, n);
    s->u = gra_arena_doubles(arena, n);
    s->w = gra_arena_doubles(arena, levels);
    s->a = gra_arena_doubles(arena, levels);
    s->slopes = gra_arena_doubles(arena, n * n);
    s->matrix = gra_arena_doubles(arena, (n + 1) * (n + 1));
    s->right = gra_arena_doubles(arena, n + 1);
    s->own = gra_arena_doubles(arena, n + 1);
    s->pivots = gra_arena_take(arena, n + 1, sizeof *s->pivots);
    return s->log_ratio && s->policy && s->u && s->w && s->a && s->slopes && s->matrix &&
           s->right && s->own && s->pivots;
}

/* The slack of a class and its slope: as training feels it for the class itself, gone on as before
 * for the others, which may be beyond the end on the way. */
static double slack_of(const held *s, int64_t c, double *slope)
{
    const gra_penalty *penalty = s->problem->penalty;
    return c == s->at ? penalty->score(penalty, s->log_ratio[c], slope)
                      : gra_penalty_score(penalty, s->log_ratio[c], slope);
}

/* The residual u + beta slack - lambda of a class. */
static double residual_of(const held *s, int64_t c)
{
    double slope;
    return s->u[c] + s->problem->beta * slack_of(s, c, &slope) - s->lambda;
}

/* Policy, advantages and the equations at the log ratios. 0 on short memory. */
static int set_up(held *s)
{
    const gra_problem *problem = s->problem;
    int64_t n = s->n, width = n + 1;
    for (int64_t c = 0; c < n; c++) {
        s->policy[c] = exp(problem->reference.log_mass[c] + s->log_ratio[c]);
    }
    gra_game_to_levels(s->game, s->policy, s->w);
    if (!s->game->advantage(s->game, s->w, 0.0, GRA_EXACT, s->a, problem->arena) ||
        !gra_game_class_jacobian(s->game, s->w, GRA_EXACT, s->slopes, problem->arena)) {
        return 0;
    }
    gra_game_to_classes(s->game, s->a, s->u);
    for (int64_t i = 0; i < n; i++) {
        double *row = s->matrix + i * width, slope;
        (void)slack_of(s, i, &slope);
        for (int64_t j = 0; j < n; j++) {
            row[j] = s->slopes[i * n + j] * s->policy[j];
        }
        row[i] += problem->beta * slope;
        row[n] = -1.0;
    }
    memcpy(s->matrix + n * width, s->policy, (size_t)n * sizeof(double));
    s->matrix[n * width + n] = 0.0;
    for (int64_t c = 0; c < n; c++) {
        s->right[c] = -residual_of(s, c);
    }
    s->right[n] = 1.0 - gra_total(s->policy, n);
    return 1;
}

/* The class `at` keeps its log ratio: its equation is put aside. */
static void hold(held *s)
{
    int64_t width = s->n + 1;
    double *row = s->matrix + s->at * width;
    memcpy(s->own, row, (size_t)width * sizeof(double));
    for (int64_t j = 0; j < width; j++) {
        row[j] = j == s->at ? 1.0 : 0.0;
    }
    s->right[s->at] = 0.0;
}

/* Factorises and takes one step; *left is the largest correction of a probability, and 1 where a
 * log ratio is not steady. 0 when the equations are singular. */
static int step(held *s, double *left)
{
    int64_t width = s->n + 1;
    double largest = 0.0;
    *left = 0.0;
    if (gra_lu_factor(width, s->matrix, width, s->pivots) != 0) {
        return 0;
    }
    gra_lu_solve(width, s->matrix, width, s->pivots, 1, s->right);
    for (int64_t c = 0; c < s->n; c++) {
        double change = fabs(s->right[c]);
        largest = fmax(largest, change);
        *left = fmax(*left, s->policy[c] * change);
        if (!(change <= STEADY * (1.0 + fabs(s->log_ratio[c])))) {
            *left = fmax(*left, 1.0);
        }
    }
    double length = largest > LONGEST ? LONGEST / largest : 1.0;
    for (int64_t c = 0; c < s->n; c++) {
        s->log_ratio[c] += length * s->right[c];
    }
    s->lambda += length * s->right[s->n];
    return isfinite(largest) && isfinite(s->lambda);
}

/* Makes the others stationary around the class. *found is 0 where Newton does not converge. The
 * factors of the last step are left. */
static grpoalign_status settle_others(held *s, gra_answer *answer, int *found)
{
    double left = 1.0;
    *found = 1;
    for (int i = 0; i < INNER_ITERATIONS && *found && left > STILL; i++) {
        if (!set_up(s)) {
            return gra_fail_memory(s->problem->error);
        }
        hold(s);
        answer->factorizations++;
        *found = step(s, &left);
    }
    *found = *found && left <= STILL;
    return GRPOALIGN_OK;
}

/* dF/dl by the factors, from how the others move. */
static double slope_of_class(held *s)
{
    int64_t width = s->n + 1;
    double slope = 0.0;
    memset(s->right, 0, (size_t)width * sizeof(double));
    s->right[s->at] = 1.0;
    gra_lu_solve(width, s->matrix, width, s->pivots, 1, s->right);
    for (int64_t j = 0; j < width; j++) {
        slope += s->own[j] * s->right[j];
    }
    return slope;
}

/* Walks down to the first zero of F. */
static grpoalign_status walk_down(held *s, gra_answer *answer, int *stays)
{
    double *l = &s->log_ratio[s->at];
    *stays = 0;
    for (int i = 0; i < OUTER_ITERATIONS; i++) {
        int found;
        GRA_TRY(settle_others(s, answer, &found));
        double own_slope, slope = found ? slope_of_class(s) : 0.0;
        double slack = slack_of(s, s->at, &own_slope);
        double rounding = 4.0 * DBL_EPSILON *
                          (fabs(s->u[s->at]) + s->problem->beta * fabs(slack) + fabs(s->lambda));
        double excess = residual_of(s, s->at);
        answer->iterations++;
        if (!found || !isfinite(slope) || !(slope < 0.0)) {
            return GRPOALIGN_OK;
        }
        double change = -excess / slope;
        *stays = excess >= -rounding;
        if (*stays || fabs(change) <= DBL_EPSILON * fabs(*l)) {
            *stays = 1;
            return GRPOALIGN_OK;
        }
        *l += fmax(change, -LONGEST);
    }
    return GRPOALIGN_OK;
}

/* All equations together, for the last digits, and what roundings of them do to the policy. *done
 * is 0 where they are singular. */
static grpoalign_status finish(held *s, gra_answer *answer, int *done)
{
    const gra_problem *problem = s->problem;
    int64_t n = s->n, width = n + 1;
    double left = 1.0, error = 0.0;
    /* Over a std there is no bound, but that of roundings of the advantage. */
    double method = isfinite(s->game->error) ? s->game->error : 0.0;
    *done = 1;
    for (int i = 0; i < INNER_ITERATIONS && *done && left > STILL; i++) {
        if (!set_up(s)) {
            return gra_fail_memory(problem->error);
        }
        answer->factorizations++;
        *done = step(s, &left);
    }
    for (int side = 0; *done && side < 2; side++) {
        for (int64_t c = 0; c < n; c++) {
            double slope, slack = slack_of(s, c, &slope);
            double rounding = method + DBL_EPSILON * (4.0 * fabs(s->u[c]) + fabs(s->lambda) +
                                                      problem->beta * fabs(slack));
            s->right[c] = (side == 1 && (c & 1) != 0) != (c == s->at) ? rounding : -rounding;
        }
        s->right[n] = DBL_EPSILON;
        gra_lu_solve(width, s->matrix, width, s->pivots, 1, s->right);
        for (int64_t c = 0; c < n; c++) {
            error = fmax(error, s->policy[c] * fabs(s->right[c]));
        }
    }
    *done = *done && isfinite(error);
    answer->policy_error = fmin(1.0, 4.0 * (error + left) + 2.0 * DBL_EPSILON);
    return GRPOALIGN_OK;
}

/* What was found becomes the answer, unless it repels. */
static grpoalign_status take_over(const held *s, gra_answer *answer, int *stays)
{
    const gra_penalty *penalty = s->problem->penalty;
    double abscissa, rounding;
    for (int64_t c = 0; c < s->n; c++) {
        answer->policy[c] = exp(s->problem->reference.log_mass[c] + s->log_ratio[c]);
        answer->slack[c] = penalty->slack(penalty, s->log_ratio[c]);
    }
    answer->method = GRPOALIGN_METHOD_NEWTON;
    answer->status = GRPOALIGN_OK;
    GRA_TRY(gra_abscissa_of(s->problem, answer, &abscissa, &rounding));
    answer->stable = isnan(abscissa) ? -1 : abscissa <= rounding;
    *stays = answer->stable != 0;
    return GRPOALIGN_OK;
}

grpoalign_status gra_stay_beyond(const gra_problem *problem, int64_t at, gra_answer *answer,
                                 int *stays)
{
    const gra_penalty *penalty = problem->penalty;
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    gra_game own;
    held s = {.problem = problem, .n = problem->reference.classes, .at = at};
    *stays = 0;
    if (s.n > GRA_DENSE_LIMIT || problem->structure->kind == GRA_FLAT) {
        return GRPOALIGN_OK;
    }
    if (!gra_as_game(problem, &own, &s.game) || !held_take(&s)) {
        return gra_fail_memory(problem->error);
    }
    for (int64_t c = 0; c < s.n; c++) {
        s.log_ratio[c] = penalty->log_ratio(penalty, answer->slack[c]);
    }
    if (!set_up(&s)) {
        return gra_fail_memory(problem->error);
    }
    for (int64_t c = 0; c < s.n; c++) {
        s.lambda += c == at ? 0.0 : s.policy[c] * residual_of(&s, c) / (1.0 - s.policy[at]);
    }
    GRA_TRY(walk_down(&s, answer, stays));
    if (*stays) {
        GRA_TRY(finish(&s, answer, stays));
    }
    for (int64_t c = 0; c < s.n; c++) { /* two cannot be held */
        *stays =
            *stays && (c == at || penalty->slack(penalty, s.log_ratio[c]) <= penalty->slack_most);
    }
    if (*stays) {
        GRA_TRY(take_over(&s, answer, stays));
    }
    gra_arena_rewind(problem->arena, mark);
    return GRPOALIGN_OK;
}
