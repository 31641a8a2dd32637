/*
 * Whether a stationary policy attracts mean-field GRPO in logits, d theta/dt = pi * v, v = u + beta
 * slack (up to a constant).
 *
 * Linearised at a stationary policy, d theta' = -D M H d theta with D = diag(pi), H = D - pi pi^T
 * and M = beta diag(1/q) - du/dpi, q = -d pi/d slack. With x = H d theta (so that sum x = 0) and
 * sum pi M x = 0, d/dt |d theta|^2 / 2 = -x^T M x: the policy is stable when the symmetric part of
 * M is positive definite on sum x = 0. That decides for all monotone games. A negative determinant
 * means an odd number of growing modes: unstable. Between the two the eigenvalues decide, for as
 * many outcomes as GRA_SPECTRUM_LIMIT.
 */
#include "solver/flow_field.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"
#include "linalg/linalg.h"

/* M = beta diag(1/q) + a b^T on sum x = 0, a = gap - m, b = d(1/divisor) / d pi. 0 on short memory.
 */
static int affine_stability(const gra_problem *problem, const gra_answer *answer, int32_t *stable)
{
    const gra_affine *affine = &problem->structure->affine;
    int64_t n = affine->classes;
    double *gradient = gra_arena_doubles(problem->arena, n);
    if (gradient == NULL || !affine->divisor.kind->gradient(&affine->divisor, answer->policy,
                                                            problem->arena, gradient)) {
        return 0;
    }
    gra_centre centre = gra_affine_centre(affine, answer->policy);
    double total = 0.0, mean_a = 0.0, mean_b = 0.0;
    for (int64_t c = 0; c < n; c++) {
        double q =
            (answer->policy[c] * problem->penalty->log_slope(problem->penalty, answer->slack[c])) /
            answer->beta;
        q = fmin(q, 1e200);
        total += q;
        mean_a += q * gra_affine_deviation(affine, centre, c);
        mean_b += q * gradient[c];
    }
    double aa = 0.0, bb = 0.0, ab = 0.0;
    for (int64_t c = 0; c < n; c++) {
        double q =
            (answer->policy[c] * problem->penalty->log_slope(problem->penalty, answer->slack[c])) /
            answer->beta;
        q = fmin(q, 1e200);
        double a = gra_affine_deviation(affine, centre, c) - mean_a / total,
               b = gradient[c] - mean_b / total;
        aa += q * a * a;
        bb += q * b * b;
        ab += q * a * b;
    }
    *stable = -1;
    if (isfinite(aa) && isfinite(bb) && isfinite(ab)) {
        *stable = 1.0 + 0.5 * (ab - sqrt(aa * bb)) > 0.0 ? 1 : 1.0 + ab < 0.0 ? 0 : -1;
    }
    return 1;
}

/* The symmetric part of I - Q^(1/2) (du/dpi) Q^(1/2) / beta, with Q^(1/2) 1 projected out and
 * replaced by 1. */
static int symmetric_part_definite(int64_t n, const double *root_q, double *matrix)
{
    double norm = 0.0;
    for (int64_t i = 0; i < n; i++) {
        norm += root_q[i] * root_q[i];
    }
    /* P S P + v v^T with P = I - v v^T: S - v (Sv)^T - (Sv) v^T + (1 + v^T S v) v v^T. */
    double vsv = 0.0, *sv = matrix + n * n;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < i; j++) {
            double mean = 0.5 * (matrix[i * n + j] + matrix[j * n + i]);
            matrix[i * n + j] = matrix[j * n + i] = mean;
        }
    }
    for (int64_t i = 0; i < n; i++) {
        sv[i] = 0.0;
        for (int64_t j = 0; j < n; j++) {
            sv[i] += matrix[i * n + j] * root_q[j];
        }
        vsv += root_q[i] * sv[i];
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            matrix[i * n + j] += (-root_q[i] * sv[j] - sv[i] * root_q[j]) / norm +
                                 (1.0 + vsv / norm) * root_q[i] * root_q[j] / norm;
        }
    }
    return gra_is_positive_definite(n, matrix, n);
}

/* 0 on short memory. */
static int game_stability(const gra_problem *problem, const gra_answer *answer, int32_t *stable)
{
    const gra_game *game = &problem->structure->game;
    int64_t n = game->classes, k = game->levels;
    *stable = answer->regular < 0 ? 0 : -1;
    if (n > GRA_DENSE_LIMIT) {
        return 1;
    }
    gra_arena *arena = problem->arena;
    double *w = gra_arena_doubles(arena, k), *matrix = gra_arena_doubles(arena, n * n + n);
    double *root_q = gra_arena_doubles(arena, n);
    if (w == NULL || matrix == NULL || root_q == NULL) {
        return 0;
    }
    for (int64_t c = 0; c < n; c++) {
        root_q[c] = sqrt(fmin((answer->policy[c] *
                               problem->penalty->log_slope(problem->penalty, answer->slack[c])),
                              1e200) /
                         answer->beta);
    }
    gra_game_to_levels(game, answer->policy, w);
    if (!gra_game_class_jacobian(game, w, GRA_EXACT, matrix, arena)) {
        return 0;
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            matrix[i * n + j] = (i == j ? 1.0 : 0.0) - root_q[i] * matrix[i * n + j] * root_q[j];
        }
    }
    if (symmetric_part_definite(n, root_q, matrix)) {
        *stable = 1;
    }
    return 1;
}

grpoalign_status gra_stability(const gra_problem *problem, const gra_answer *answer,
                               int32_t *stable)
{
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    int done = 1;
    *stable = answer->stable;
    if (*stable < 0 && problem->structure->kind == GRA_AFFINE) {
        done = affine_stability(problem, answer, stable);
    } else if (*stable < 0 && problem->structure->kind == GRA_GAME) {
        done = game_stability(problem, answer, stable);
    }
    gra_arena_rewind(problem->arena, mark);
    return done ? GRPOALIGN_OK : gra_fail_memory(problem->error);
}

/* Whether an outcome of probability 0 holds a probability too small for a double, and is held there
 * by its slack. */
static int is_only_underflow(const gra_problem *problem, const gra_answer *answer)
{
    const gra_penalty *penalty = problem->penalty;
    return answer->status != GRPOALIGN_COLLAPSED && penalty->form == GRA_SMOOTH &&
           !penalty->lets_go && isinf(penalty->slack_most);
}

/* Takes the rows and columns of the outcomes with probability 0 out of the Jacobian over all but
 * the base. What is left: its order. Nothing depends on such an outcome, so the other eigenvalues
 * stay; its own is next to 0, and not above. */
static int64_t drop_empty(const double *policy, int64_t n, int64_t base, double *jacobian)
{
    int64_t kept = 0, order = n - 1;
    for (int64_t i = 0; i < order; i++) {
        for (int64_t j = 0; policy[i + (i >= base)] > 0.0 && j < order; j++) {
            if (policy[j + (j >= base)] > 0.0) {
                jacobian[kept++] = jacobian[i * order + j]; /* never ahead of what is read */
            }
        }
    }
    return (int64_t)(sqrt((double)kept) + 0.5);
}

/* *abscissa keeps its NaN where it cannot be had. */
static grpoalign_status flow_abscissa(const gra_problem *problem, double beta, const double *policy,
                                      int underflows, double *abscissa, double *rounding)
{
    gra_arena *arena = problem->arena;
    int64_t n = problem->outcomes.count, order = n - 1;
    gra_flow_field *field = gra_flow_field_take(problem, beta);
    double *state = gra_arena_doubles(arena, n), *seen = gra_arena_doubles(arena, n);
    double *jacobian = gra_arena_doubles(arena, order * order), largest = 0.0;
    if (field == NULL || state == NULL || seen == NULL || jacobian == NULL) {
        return gra_fail_memory(problem->error);
    }
    for (int64_t i = 0; i < n && order > 0; i++) {
        state[i] =
            log(underflows ? fmax(policy[i], DBL_MIN) : policy[i]) - problem->outcomes.log_mass[i];
        if (!isfinite(state[i])) {
            return GRPOALIGN_OK;
        }
    }
    if (order > 0) {
        gra_flow_set_base(field, state);
        GRA_TRY(gra_flow_velocity(field, state, seen, state));
        GRA_TRY(gra_flow_jacobian(field, jacobian));
        order = drop_empty(policy, n, gra_flow_base(field), jacobian);
    }
    if (order == 0) {
        *abscissa = -INFINITY;
        return GRPOALIGN_OK;
    }
    for (int64_t i = 0; i < order * order; i++) {
        if (!isfinite(jacobian[i])) {
            return GRPOALIGN_OK;
        }
        largest = fmax(largest, fabs(jacobian[i]));
    }
    *rounding = 8.0 * DBL_EPSILON * largest * (double)n;
    return gra_spectral_abscissa(order, jacobian, order, arena, abscissa)
               ? GRPOALIGN_OK
               : gra_fail_memory(problem->error);
}

grpoalign_status gra_abscissa_of(const gra_problem *problem, const gra_answer *answer,
                                 double *abscissa, double *rounding)
{
    const gra_outcomes *outcomes = &problem->outcomes;
    *abscissa = NAN;
    *rounding = 0.0;
    if (outcomes->count > GRA_SPECTRUM_LIMIT) {
        return GRPOALIGN_OK;
    }
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    double *policy = gra_arena_doubles(problem->arena, outcomes->count);
    for (int64_t i = 0; policy != NULL && i < outcomes->count; i++) {
        policy[i] =
            answer->policy[problem->structure->class_of[outcomes->at[i]]] * outcomes->share[i];
    }
    grpoalign_status status =
        policy == NULL ? gra_fail_memory(problem->error)
                       : flow_abscissa(problem, answer->beta, policy,
                                       is_only_underflow(problem, answer), abscissa, rounding);
    gra_arena_rewind(problem->arena, mark);
    if (status == GRPOALIGN_ERR_TOO_LARGE) { /* it cannot be had either */
        gra_clear(problem->error);
        status = GRPOALIGN_OK;
    }
    return status;
}

/* Whether the training flow is linear near a stationary policy. */
static int has_flow(const gra_penalty *penalty)
{
    return penalty->form == GRA_SMOOTH || penalty->form == GRA_ABSENT;
}

grpoalign_status gra_assess(const gra_problem *problem, gra_answer *answer, int32_t stability)
{
    if (problem->tree != NULL) { /* its engine knows */
        answer->stable = stability == GRPOALIGN_STABILITY_SKIP ? -1 : answer->stable;
        return GRPOALIGN_OK;
    }
    answer->rate = NAN;
    if (stability == GRPOALIGN_STABILITY_SKIP) {
        answer->stable = -1;
        return GRPOALIGN_OK;
    }
    GRA_TRY(gra_stability(problem, answer, &answer->stable));
    int spectrum = answer->stable < 0 || stability == GRPOALIGN_STABILITY_SPECTRUM;
    if (spectrum && has_flow(problem->penalty)) {
        double rounding;
        GRA_TRY(gra_abscissa_of(problem, answer, &answer->rate, &rounding));
        if (answer->stable < 0 && !isnan(answer->rate)) {
            answer->stable = answer->rate <= rounding;
        }
    }
    return GRPOALIGN_OK;
}
