#include <grpoalign/sensitivity.h>

#include <math.h>
#include <string.h>

#include "api/handles.h"
#include "base/numeric.h"
#include "solver/linearised.h"

struct grpoalign_sensitivity {
    gra_handle handle;
    gra_linearised at;
};

#define GRA_SENSITIVITY_MAGIC UINT64_C(0x736e65736d617267)

static const grpoalign_gradient GRADIENT_DEFAULTS = {.struct_size = sizeof(grpoalign_gradient)};

void grpoalign_gradient_init(grpoalign_gradient *gradient, uint32_t size)
{
    gra_init_options(gradient, size, &GRADIENT_DEFAULTS, sizeof GRADIENT_DEFAULTS);
}

/* ---- the handle ----------------------------------------------------------------------------- */

static grpoalign_status check_solution(const grpoalign_problem *problem,
                                       const grpoalign_solution *solution, grpoalign_error *error)
{
    const gra_penalty *law = &problem->penalty->law;
    GRA_TRY(gra_check_pointer(solution, "solution", 2, error));
    if (solution->handle.magic != GRA_SOLUTION_MAGIC) {
        return gra_fail(error, GRPOALIGN_ERR_HANDLE, 2, -1, "solution is not a handle of one");
    }
    if (solution->outcomes != problem->model->outcomes) {
        return gra_fail(error, GRPOALIGN_ERR_DIMENSION, 2, -1,
                        "solution has %lld outcomes, the problem has %lld",
                        (long long)solution->outcomes, (long long)problem->model->outcomes);
    }
    if (law->form == GRA_ABSENT || law->form == GRA_STEP || problem->filters) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 1, -1, "no derivatives are known %s",
                        problem->filters
                            ? "where groups without spread are dropped"
                            : "without a penalty, or with total variation: the policy jumps");
    }
    int32_t status = solution->report.status;
    if (status != GRPOALIGN_OK && status != GRPOALIGN_NOT_UNIQUE &&
        status != GRPOALIGN_ACCURACY_LIMITED) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1,
                        "solution must be stationary (its status is %s)",
                        grpoalign_status_name(status));
    }
    return GRPOALIGN_OK;
}

grpoalign_status grpoalign_sensitivity_new(const grpoalign_problem *problem,
                                           const grpoalign_solution *solution,
                                           grpoalign_sensitivity **out, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 3, error));
    *out = NULL;
    GRA_TRY(gra_check_problem(problem, 1, error));
    GRA_TRY(check_solution(problem, solution, error));
    grpoalign_sensitivity *self = gra_alloc(1, sizeof *self);
    if (self == NULL) {
        return gra_fail_memory(error);
    }
    gra_handle_start(&self->handle, GRA_SENSITIVITY_MAGIC);
    gra_handle_retain(&problem->handle);
    grpoalign_status status = gra_linearise(&self->at, problem, solution, error);
    if (status < 0) {
        grpoalign_sensitivity_free(self);
        return status;
    }
    *out = self;
    return GRPOALIGN_OK;
}

void grpoalign_sensitivity_free(grpoalign_sensitivity *self)
{
    if (self != NULL && self->handle.magic == GRA_SENSITIVITY_MAGIC &&
        gra_handle_release(&self->handle)) {
        gra_problem_free((grpoalign_problem *)(uintptr_t)self->at.problem);
        gra_linearised_close(&self->at);
        gra_release(self);
    }
}

static grpoalign_status check(const grpoalign_sensitivity *self, int64_t n, int32_t n_position,
                              grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_pointer(self, "sensitivity", 1, error));
    if (self->handle.magic != GRA_SENSITIVITY_MAGIC) {
        return gra_fail(error, GRPOALIGN_ERR_HANDLE, 1, -1, "sensitivity is not a handle of one");
    }
    return gra_check_outcomes(n, self->at.problem->model->outcomes, n_position, error);
}

/* ---- by one number -------------------------------------------------------------------------- */

/* The sum of the parts' pulls, or that of one of them (-1: of all, and of the bonus). */
static void fill_pull(const gra_linearised *at, int64_t part, double *pull)
{
    const gra_penalty *law = &at->problem->penalty->law;
    const gra_tree *tree = &at->own;
    for (int64_t e = 0; e < tree->edges; e++) {
        const gra_penalty *of = part >= 0 && law->part_count > 0 ? &law->parts[part] : law;
        pull[e] = gra_tree_pull(&at->response, of, e);
        if (part < 0 && tree->entropy > 0.0) {
            pull[e] += tree->entropy * gra_tree_pull(&at->response, NULL, e);
        }
    }
}

static grpoalign_status move_by_number(const gra_linearised *at, int32_t input, int64_t index,
                                       double *out, gra_arena *arena, grpoalign_error *error)
{
    double *pull = gra_arena_doubles(arena, at->own.edges + 1),
           *leaves = gra_arena_doubles(arena, at->n);
    if (pull == NULL || leaves == NULL) {
        return gra_fail_memory(error);
    }
    if (input == GRPOALIGN_INPUT_ENTROPY) {
        for (int64_t e = 0; e < at->own.edges; e++) {
            pull[e] = gra_tree_pull(&at->response, NULL, e);
        }
    } else {
        fill_pull(at, input == GRPOALIGN_INPUT_BETA ? -1 : index, pull);
    }
    const gra_tree_change by = {.pull = pull};
    GRA_TRY(gra_linearised_move(at, &by, leaves, arena, error));
    memset(out, 0, (size_t)at->problem->model->outcomes * sizeof(double));
    for (int64_t i = 0; i < at->n; i++) {
        out[at->at[i]] = leaves[i];
    }
    return GRPOALIGN_OK;
}

grpoalign_status grpoalign_sensitivity_vector(const grpoalign_sensitivity *sensitivity,
                                              int32_t input, int64_t index, double *out, int64_t n,
                                              grpoalign_error *error)
{
    GRA_TRY(check(sensitivity, n, 5, error));
    GRA_TRY(gra_check_pointer(out, "out", 4, error));
    if (input < GRPOALIGN_INPUT_BETA || input > GRPOALIGN_INPUT_ENTROPY) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1,
                        "input must be BETA, COEFFICIENT or ENTROPY (got %d)", (int)input);
    }
    int64_t parts = sensitivity->at.problem->penalty->law.part_count,
            most = input == GRPOALIGN_INPUT_COEFFICIENT && parts > 0 ? parts : 1;
    if (index < 0 || index >= most) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 3, -1,
                        "index must be from 0 to %lld (got %lld)", (long long)(most - 1),
                        (long long)index);
    }
    gra_arena arena = GRA_ARENA_INIT;
    grpoalign_status status = move_by_number(&sensitivity->at, input, index, out, &arena, error);
    gra_arena_free(&arena);
    return status;
}

/* ---- by a number of every outcome ----------------------------------------------------------- */

/* What is common to all logarithms changes nothing: column j less pi_ref,j times the sum of all. */
static void keep_normalised(const gra_linearised *at, double *columns)
{
    int64_t n = at->n;
    for (int64_t i = 0; i < n; i++) {
        double all = 0.0;
        for (int64_t j = 0; j < n; j++) {
            all += columns[j * n + i];
        }
        for (int64_t j = 0; j < n; j++) {
            columns[j * n + i] -= exp(at->log_mass[j]) * all;
        }
    }
}

/* d U / d r over the leaves: columns[j * n + i] = d u_i / d r_j. */
static grpoalign_status fill_by_rewards(const gra_linearised *at, double *columns, gra_arena *arena,
                                        grpoalign_error *error)
{
    const grpoalign_model *model = at->model;
    int64_t n = at->n, all = model->outcomes;
    if (model->ops->by_rewards == NULL) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 2, -1,
                        "the model has no rewards of its own to be changed one by one");
    }
    double *slopes = gra_arena_doubles(arena, all * all);
    if (slopes == NULL) {
        return gra_fail_memory(error);
    }
    GRA_TRY(model->ops->by_rewards(model, at->policy, slopes, arena, error));
    for (int64_t j = 0; j < n; j++) {
        for (int64_t i = 0; i < n; i++) {
            columns[j * n + i] = slopes[at->at[i] * all + at->at[j]];
        }
    }
    return GRPOALIGN_OK;
}

/* What R changes by the j-th number. */
static grpoalign_status fill_by_response(const gra_linearised *at, int32_t input, double *columns,
                                         gra_arena *arena, grpoalign_error *error)
{
    int64_t n = at->n;
    double *unit = gra_arena_doubles(arena, n);
    if (unit == NULL) {
        return gra_fail_memory(error);
    }
    memset(unit, 0, (size_t)n * sizeof(double));
    for (int64_t j = 0; j < n; j++) {
        gra_tree_change by = {.log_mass = at->log_mass, .at = at->advantage};
        unit[j] = 1.0;
        if (input == GRPOALIGN_INPUT_WEIGHTS) {
            by.weight = unit;
        } else {
            by.log_reference = unit;
        }
        if (!gra_tree_move(&at->response, &by, columns + j * n, arena)) {
            return gra_fail_memory(error);
        }
        unit[j] = 0.0;
    }
    if (input == GRPOALIGN_INPUT_LOG_REFERENCE) {
        keep_normalised(at, columns);
    }
    return GRPOALIGN_OK;
}

/* d pi / d x over the leaves, columns one after the other, before the system is solved. */
static grpoalign_status fill_sources(const gra_linearised *at, int32_t input, double *columns,
                                     gra_arena *arena, grpoalign_error *error)
{
    int64_t n = at->n;
    if (input != GRPOALIGN_INPUT_REWARDS) {
        return fill_by_response(at, input, columns, arena, error);
    }
    double *column = gra_arena_doubles(arena, n);
    if (column == NULL) {
        return gra_fail_memory(error);
    }
    GRA_TRY(fill_by_rewards(at, columns, arena, error));
    for (int64_t j = 0; j < n; j++) {
        const gra_tree_change by = {.advantage = columns + j * n};
        if (!gra_tree_move(&at->response, &by, column, arena)) {
            return gra_fail_memory(error);
        }
        memcpy(columns + j * n, column, (size_t)n * sizeof(double));
    }
    return GRPOALIGN_OK;
}

grpoalign_status grpoalign_sensitivity_matrix(const grpoalign_sensitivity *sensitivity,
                                              int32_t input, double *out, int64_t n, int64_t stride,
                                              grpoalign_error *error)
{
    GRA_TRY(check(sensitivity, n, 4, error));
    GRA_TRY(gra_check_pointer(out, "out", 3, error));
    if (input < GRPOALIGN_INPUT_REWARDS || input > GRPOALIGN_INPUT_WEIGHTS) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1,
                        "input must be REWARDS, LOG_REFERENCE or WEIGHTS (got %d)", (int)input);
    }
    if (stride < n) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 5, -1, "stride must be >= n (got %lld)",
                        (long long)stride);
    }
    const gra_linearised *at = &sensitivity->at;
    gra_arena arena = GRA_ARENA_INIT;
    double *columns = gra_arena_doubles(&arena, at->n * at->n);
    grpoalign_status status =
        columns != NULL ? fill_sources(at, input, columns, &arena, error) : gra_fail_memory(error);
    if (status >= 0) {
        gra_linearised_solve(at, at->n, columns);
        for (int64_t o = 0; o < n; o++) {
            memset(out + o * stride, 0, (size_t)n * sizeof(double));
        }
        for (int64_t j = 0; j < at->n; j++) {
            for (int64_t i = 0; i < at->n; i++) {
                out[at->at[i] * stride + at->at[j]] = columns[j * at->n + i];
            }
        }
    }
    gra_arena_free(&arena);
    return status;
}

/* ---- pulled back ---------------------------------------------------------------------------- */

/* y^T columns, over the outcomes. */
static void gather(const gra_linearised *at, const double *y, const double *columns, double *out)
{
    memset(out, 0, (size_t)at->problem->model->outcomes * sizeof(double));
    for (int64_t j = 0; j < at->n; j++) {
        gra_sum sum = {0.0, 0.0};
        for (int64_t i = 0; i < at->n; i++) {
            gra_sum_add_product(&sum, y[i], columns[j * at->n + i]);
        }
        out[at->at[j]] = gra_sum_value(sum);
    }
}

static void gather_margins(const gra_linearised *at, const double *by_u, double *out)
{
    int64_t all = at->problem->model->outcomes;
    memset(out, 0, (size_t)(all * all) * sizeof(double));
    for (int64_t i = 0; i < at->n; i++) {
        for (int64_t j = 0; j < at->n; j++) {
            out[at->at[i] * all + at->at[j]] =
                0.5 * (by_u[i] * at->policy[at->at[j]] - by_u[j] * at->policy[at->at[i]]);
        }
    }
}

/* d loss by all that may be asked for, before anything is written. */
typedef struct pulled {
    double beta, *rewards, *log_reference, *weights, *margins;
} pulled;

/* The product with what one input changes, in a vector of its own. */
static grpoalign_status pull_input(const gra_linearised *at, int32_t input, const double *y,
                                   double *columns, double **out, gra_arena *arena,
                                   grpoalign_error *error)
{
    *out = gra_arena_doubles(arena, at->problem->model->outcomes);
    if (*out == NULL) {
        return gra_fail_memory(error);
    }
    GRA_TRY(input == GRPOALIGN_INPUT_REWARDS ? fill_by_rewards(at, columns, arena, error)
                                             : fill_by_response(at, input, columns, arena, error));
    gather(at, y, columns, *out);
    return GRPOALIGN_OK;
}

static grpoalign_status pull_beta(const gra_linearised *at, const double *by_r, double *beta,
                                  gra_arena *arena, grpoalign_error *error)
{
    double *pull = gra_arena_doubles(arena, at->own.edges + 1),
           *moved = gra_arena_doubles(arena, at->n);
    const gra_tree_change by_beta = {.pull = pull};
    if (pull == NULL || moved == NULL) {
        return gra_fail_memory(error);
    }
    fill_pull(at, -1, pull);
    if (!gra_tree_move(&at->response, &by_beta, moved, arena)) {
        return gra_fail_memory(error);
    }
    gra_sum sum = {0.0, 0.0};
    for (int64_t i = 0; i < at->n; i++) {
        gra_sum_add_product(&sum, by_r[i], moved[i]);
    }
    *beta = gra_sum_value(sum);
    return GRPOALIGN_OK;
}

static grpoalign_status pull_back(const gra_linearised *at, const double *cotangent,
                                  const grpoalign_gradient *wanted, pulled *found, gra_arena *arena,
                                  grpoalign_error *error)
{
    int64_t n = at->n, all = at->problem->model->outcomes;
    double *packed = gra_arena_doubles(arena, n), *by_r = gra_arena_doubles(arena, n),
           *by_u = gra_arena_doubles(arena, n), *columns = gra_arena_doubles(arena, n * n);
    found->margins = wanted->margins != NULL ? gra_arena_doubles(arena, all * all) : NULL;
    if (packed == NULL || by_r == NULL || by_u == NULL || columns == NULL ||
        (wanted->margins != NULL && found->margins == NULL)) {
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < n; i++) {
        packed[i] = cotangent[at->at[i]];
    }
    gra_linearised_pull_back(at, packed, by_r, by_u);
    GRA_TRY(pull_beta(at, by_r, &found->beta, arena, error));
    if (wanted->rewards != NULL) {
        GRA_TRY(
            pull_input(at, GRPOALIGN_INPUT_REWARDS, by_u, columns, &found->rewards, arena, error));
    }
    if (wanted->log_reference != NULL) {
        GRA_TRY(pull_input(at, GRPOALIGN_INPUT_LOG_REFERENCE, by_r, columns, &found->log_reference,
                           arena, error));
    }
    if (wanted->weights != NULL) {
        GRA_TRY(
            pull_input(at, GRPOALIGN_INPUT_WEIGHTS, by_r, columns, &found->weights, arena, error));
    }
    if (wanted->margins != NULL) {
        gather_margins(at, by_u, found->margins);
    }
    return GRPOALIGN_OK;
}

static void hand_over(double *to, const double *from, int64_t count)
{
    if (to != NULL) {
        memcpy(to, from, (size_t)count * sizeof(double));
    }
}

grpoalign_status grpoalign_sensitivity_vjp(const grpoalign_sensitivity *sensitivity,
                                           const double *cotangent, int64_t n,
                                           grpoalign_gradient *gradient, grpoalign_error *error)
{
    grpoalign_gradient wanted = GRADIENT_DEFAULTS;
    GRA_TRY(check(sensitivity, n, 3, error));
    GRA_TRY(gra_check_pointer(cotangent, "cotangent", 2, error));
    GRA_TRY(gra_check_finite(cotangent, n, "cotangent", 2, error));
    GRA_TRY(gra_check_pointer(gradient, "gradient", 4, error));
    GRA_TRY(gra_load_options(&wanted, sizeof wanted, gradient, 4, error));
    if (wanted.margins != NULL && sensitivity->at.model->ops->has_margins == 0) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 4, -1,
                        "gradient.margins belongs to a model of margins");
    }
    gra_arena arena = GRA_ARENA_INIT;
    pulled found = {0};
    grpoalign_status status =
        pull_back(&sensitivity->at, cotangent, &wanted, &found, &arena, error);
    if (status >= 0) {
        if (gradient->struct_size >= offsetof(grpoalign_gradient, rewards)) {
            gradient->beta = found.beta;
        }
        hand_over(wanted.rewards, found.rewards, n);
        hand_over(wanted.log_reference, found.log_reference, n);
        hand_over(wanted.weights, found.weights, n);
        hand_over(wanted.margins, found.margins, n * n);
    }
    gra_arena_free(&arena);
    return status;
}
