/*
 * The training flow in logits, d y/dt = pi (v - mean v), v = u + beta slack, pi = softmax(log
 * pi_ref + y): the velocity and its Jacobian.
 */
#include "solver/flow_field.h"

#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

struct gra_flow_field {
    const gra_problem *problem;
    double beta;
    int64_t base; /* the outcome that logits are relative to, and values are measured from */
    double *policy, *everywhere, *u; /* the last two over all outcomes of the model */
    double *value;                   /* v relative to the base */
    double *stiffness;               /* -d slack/d log pi */
    double *column;                  /* scratch */
    double mean;                     /* of v */
};

gra_flow_field *gra_flow_field_take(const gra_problem *problem, double beta)
{
    gra_arena *arena = problem->arena;
    int64_t n = problem->outcomes.count, all = problem->outcomes.model->outcomes;
    gra_flow_field *field = gra_arena_take(arena, 1, sizeof *field);
    if (field == NULL) {
        return NULL;
    }
    *field = (gra_flow_field){.problem = problem, .beta = beta};
    field->policy = gra_arena_doubles(arena, n);
    field->everywhere = gra_arena_doubles(arena, all);
    field->u = gra_arena_doubles(arena, all);
    field->value = gra_arena_doubles(arena, n);
    field->stiffness = gra_arena_doubles(arena, n);
    field->column = gra_arena_doubles(arena, n);
    return field->policy && field->everywhere && field->u && field->value && field->stiffness &&
                   field->column
               ? field
               : NULL;
}

void gra_flow_set_base(gra_flow_field *field, double *state)
{
    int64_t n = field->problem->outcomes.count, base = 0;
    for (int64_t i = 1; i < n; i++) {
        base = field->problem->outcomes.log_mass[i] + state[i] >
                       field->problem->outcomes.log_mass[base] + state[base]
                   ? i
                   : base;
    }
    double shift = state[base];
    for (int64_t i = 0; i < n; i++) {
        state[i] -= shift;
    }
    field->base = base;
}

int64_t gra_flow_base(const gra_flow_field *field)
{
    return field->base;
}

grpoalign_status gra_flow_velocity(gra_flow_field *field, const double *state, double *policy,
                                   double *velocity)
{
    const gra_problem *problem = field->problem;
    const gra_outcomes *outcomes = &problem->outcomes;
    int64_t n = outcomes->count, base = field->base;
    double top = -INFINITY, total = 0.0;
    for (int64_t i = 0; i < n; i++) {
        top = fmax(top, outcomes->log_mass[i] + state[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        total += field->policy[i] = exp(outcomes->log_mass[i] + state[i] - top);
    }
    double shift = top + log(total);
    memset(field->everywhere, 0, (size_t)outcomes->model->outcomes * sizeof(double));
    for (int64_t i = 0; i < n; i++) {
        field->everywhere[outcomes->at[i]] = field->policy[i] /= total;
    }
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    grpoalign_status status = outcomes->model->ops->advantage(
        outcomes->model, field->everywhere, field->u, problem->arena, problem->error);
    gra_arena_rewind(problem->arena, mark);
    GRA_TRY(status);
    gra_sum mean = {0.0, 0.0};
    const gra_penalty *penalty = problem->penalty;
    double slope, base_slack = penalty->score(penalty, state[base] - shift, &slope);
    double base_u = field->u[outcomes->at[base]];
    for (int64_t i = 0; i < n; i++) {
        double slack = penalty->score(penalty, state[i] - shift, &slope);
        field->value[i] = (field->u[outcomes->at[i]] - base_u) + field->beta * (slack - base_slack);
        field->stiffness[i] = -slope;
        gra_sum_add_product(&mean, field->policy[i], field->value[i]);
    }
    field->mean = gra_sum_value(mean);
    double base_velocity = -field->policy[base] * field->mean;
    for (int64_t i = 0; i < n; i++) {
        policy[i] = field->policy[i];
        velocity[i] =
            i == base ? 0.0 : field->policy[i] * (field->value[i] - field->mean) - base_velocity;
    }
    return GRPOALIGN_OK;
}

/* A, of which J below is made, in `full`, from the slopes of the advantages over all outcomes. */
static void fill_matrix(gra_flow_field *field, const double *slopes, double *full)
{
    const gra_outcomes *outcomes = &field->problem->outcomes;
    int64_t n = outcomes->count, all = outcomes->model->outcomes;
    const double *pi = field->policy;
    double *mean = field->column;
    for (int64_t j = 0; j < n; j++) {
        mean[j] = pi[j] * field->value[j];
    }
    for (int64_t i = 0; i < n; i++) {
        double *row = full + i * n;
        const double *slope = slopes + outcomes->at[i] * all;
        for (int64_t j = 0; j < n; j++) {
            row[j] = slope[outcomes->at[j]] * pi[j];
        }
        row[i] -= field->beta * field->stiffness[i];
        for (int64_t j = 0; j < n; j++) {
            mean[j] += pi[i] * row[j];
        }
    }
    for (int64_t i = 0; i < n; i++) {
        double *row = full + i * n;
        for (int64_t j = 0; j < n; j++) {
            row[j] = pi[i] * (row[j] - mean[j]);
        }
        row[i] += pi[i] * (field->value[i] - field->mean);
    }
}

/* J from A: rows relative to the base's, and its row and column left out. */
static void reduce_to_base(const gra_flow_field *field, const double *full, double *jacobian)
{
    int64_t n = field->problem->outcomes.count, base = field->base;
    const double *there = full + base * n;
    for (int64_t i = 0, k = 0; i < n; i++) {
        if (i == base) {
            continue;
        }
        double *row = jacobian + k++ * (n - 1), sum = 0.0;
        const double *here = full + i * n;
        for (int64_t j = 0; j < n; j++) {
            sum += here[j] - there[j];
        }
        for (int64_t j = 0, l = 0; j < n; j++) {
            if (j != base) {
                row[l++] = here[j] - there[j] - sum * field->policy[j];
            }
        }
    }
}

/*
 * With e = dy - mean dy: d pi = pi e, d v = du/dpi (pi e) - beta stiffness e, and
 * d(pi (v - m)) = pi ((v - m) e + dv - dm), dm = sum (v pi e + pi dv). Rows of this matrix A,
 * relative to the base's, are then applied to e = dy - sum pi dy: J = A - (A 1) pi^T.
 */
grpoalign_status gra_flow_jacobian(gra_flow_field *field, double *jacobian)
{
    const gra_problem *problem = field->problem;
    const grpoalign_model *model = problem->outcomes.model;
    int64_t n = problem->outcomes.count, all = model->outcomes;
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    double *slopes = gra_arena_doubles(problem->arena, all * all),
           *full = gra_arena_doubles(problem->arena, n * n);
    if (slopes == NULL || full == NULL) {
        return gra_fail_memory(problem->error);
    }
    grpoalign_status status =
        model->ops->jacobian(model, field->everywhere, slopes, all, problem->arena, problem->error);
    if (status >= 0) {
        fill_matrix(field, slopes, full);
        reduce_to_base(field, full, jacobian);
    }
    gra_arena_rewind(problem->arena, mark);
    return status;
}
