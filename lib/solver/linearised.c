#include "solver/linearised.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"
#include "linalg/linalg.h"

/* More outcomes than this need more memory than the matrices may have. */
static const int64_t MOST_OUTCOMES = 4096;

/* A pivot this much smaller than the largest is none: a fold, to rounding. */
static const double NO_PIVOT = 1e-13;

static grpoalign_status take(gra_linearised *self, grpoalign_error *error)
{
    int64_t n = self->n, all = self->problem->model->outcomes;
    gra_arena *arena = &self->arena;
    self->at = gra_arena_take(arena, n, sizeof *self->at);
    self->log_mass = gra_arena_doubles(arena, n);
    self->advantage = gra_arena_doubles(arena, n);
    self->policy = gra_arena_doubles(arena, all);
    self->slopes = gra_arena_doubles(arena, n * n);
    self->factors = gra_arena_doubles(arena, n * n);
    self->pivots = gra_arena_take(arena, n, sizeof *self->pivots);
    return self->at && self->log_mass && self->advantage && self->policy && self->slopes &&
                   self->factors && self->pivots
               ? GRPOALIGN_OK
               : gra_fail_memory(error);
}

/* The tree: the penalty's, or one with a leaf for every outcome. */
static grpoalign_status plant(gra_linearised *self, grpoalign_error *error)
{
    const grpoalign_reference *reference = self->problem->reference;
    const gra_penalty *law = &self->problem->penalty->law;
    const gra_completions plain = {.count = reference->outcomes};
    int64_t n = self->n, next = 0, *supported = gra_arena_take(&self->arena, n, sizeof *supported);
    double *logs = gra_arena_doubles(&self->arena, n);
    if (supported == NULL || logs == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t o = 0; o < reference->outcomes; o++) {
        if (reference->support[o]) {
            logs[next] = reference->logarithm[o];
            supported[next++] = o;
        }
    }
    if (!gra_tree_build(law->completions != NULL ? law->completions : &plain, n, supported, logs,
                        &self->own, &self->arena) ||
        !gra_tree_response_take(&self->response, &self->own, law, &self->arena)) {
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < n; i++) {
        self->at[i] = supported[self->own.leaf[i]];
        self->log_mass[i] = logs[self->own.leaf[i]];
    }
    return GRPOALIGN_OK;
}

/* The advantages at the solution, and what the response is there. */
static grpoalign_status observe(gra_linearised *self, const grpoalign_solution *solution,
                                grpoalign_error *error)
{
    int64_t n = self->n;
    double *u = gra_arena_doubles(&self->arena, self->model->outcomes);
    double *policy = gra_arena_doubles(&self->arena, n);
    if (u == NULL || policy == NULL) {
        return gra_fail_memory(error);
    }
    memcpy(self->policy, solution->policy, (size_t)self->model->outcomes * sizeof(double));
    GRA_TRY(self->model->ops->advantage(self->model, self->policy, u, &self->arena, error));
    for (int64_t i = 0; i < n; i++) {
        self->advantage[i] = u[self->at[i]];
        policy[i] = self->policy[self->at[i]];
    }
    self->response.beta = solution->report.beta;
    gra_tree_observe(&self->response, policy, self->advantage);
    return GRPOALIGN_OK;
}

static grpoalign_status factorise(gra_linearised *self, grpoalign_error *error)
{
    int64_t n = self->n, all = self->model->outcomes;
    gra_arena_mark_t mark = gra_arena_mark(&self->arena);
    double *whole = gra_arena_doubles(&self->arena, all * all),
           *jacobian = gra_arena_doubles(&self->arena, n * n), least = INFINITY, most = 0.0;
    if (whole == NULL || jacobian == NULL ||
        !gra_tree_slopes(&self->response, self->slopes, &self->arena)) {
        return gra_fail_memory(error);
    }
    GRA_TRY(self->model->ops->jacobian(self->model, self->policy, whole, all, &self->arena, error));
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            jacobian[i * n + j] = whole[self->at[i] * all + self->at[j]];
        }
    }
    gra_matmul(n, n, n, -1.0, self->slopes, n, jacobian, n, 0.0, self->factors, n);
    for (int64_t i = 0; i < n; i++) {
        self->factors[i * n + i] += 1.0;
    }
    int64_t zero = gra_lu_factor(n, self->factors, n, self->pivots);
    for (int64_t i = 0; i < n; i++) {
        least = fmin(least, fabs(self->factors[i * n + i]));
        most = fmax(most, fabs(self->factors[i * n + i]));
    }
    gra_arena_rewind(&self->arena, mark);
    return zero == 0 && least > NO_PIVOT * most /* and no NaN */
               ? GRPOALIGN_OK
               : gra_fail(error, GRPOALIGN_ERR_SINGULAR, 2, -1,
                          "the solution has no derivatives: another stationary policy meets it in "
                          "a fold, or its advantages are not finite");
}

grpoalign_status gra_linearise(gra_linearised *self, const grpoalign_problem *problem,
                               const grpoalign_solution *solution, grpoalign_error *error)
{
    *self =
        (gra_linearised){.problem = problem,
                         .model = problem->surrogate != NULL ? problem->surrogate : problem->model,
                         .n = problem->reference->supported};
    if (problem->model->outcomes > MOST_OUTCOMES) {
        return gra_fail(error, GRPOALIGN_ERR_TOO_LARGE, 1, -1,
                        "sensitivities need dense matrices over %lld outcomes, the limit is %lld",
                        (long long)problem->model->outcomes, (long long)MOST_OUTCOMES);
    }
    GRA_TRY(take(self, error));
    GRA_TRY(plant(self, error));
    GRA_TRY(observe(self, solution, error));
    return factorise(self, error);
}

void gra_linearised_close(gra_linearised *self)
{
    gra_arena_free(&self->arena);
}

void gra_linearised_solve(const gra_linearised *self, int64_t count, double *columns)
{
    gra_lu_solve(self->n, self->factors, self->n, self->pivots, count, columns);
}

grpoalign_status gra_linearised_move(const gra_linearised *self, const gra_tree_change *by,
                                     double *out, gra_arena *arena, grpoalign_error *error)
{
    if (!gra_tree_move(&self->response, by, out, arena)) {
        return gra_fail_memory(error);
    }
    gra_linearised_solve(self, 1, out);
    return GRPOALIGN_OK;
}

void gra_linearised_pull_back(const gra_linearised *self, const double *cotangent, double *by_r,
                              double *by_u)
{
    memcpy(by_r, cotangent, (size_t)self->n * sizeof(double));
    gra_lu_solve_transposed(self->n, self->factors, self->n, self->pivots, 1, by_r);
    gra_matvec_transposed(self->n, self->n, self->slopes, self->n, by_r, by_u);
}
