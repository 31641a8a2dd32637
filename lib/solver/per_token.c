/*
 * Penalties per token, and weights of completions: the fixed point u = U(R(u)), where R is the
 * response of the tree and U are the model's advantages, by Newton's method on the advantages. Any
 * advantages have a policy that answers to them, so every iterate is a policy.
 *
 * The answer is the one that pi_ref leads to as beta falls from where the penalty has its way.
 */
#include "solver/solver.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"
#include "linalg/linalg.h"
#include "penalty/tree.h"

typedef struct fixed_point {
    const gra_problem *problem;
    const gra_tree *tree;
    gra_answer *answer;
    gra_tree_response response;
    int64_t n, outcomes;                /* leaves; outcomes of the model */
    double *full, *full_u;              /* over outcomes */
    double *u, *off, *step;             /* per leaf: advantages, u - U(R(u)), and Newton's step */
    double *trial, *kept, *end;         /* end: of training */
    double *slopes, *jacobian, *matrix; /* leaves x leaves */
    double *full_jacobian;
    int32_t *pivots;
    double size; /* of off */
} fixed_point;

/* More leaves than this need more memory than the four matrices may have. */
static const int64_t MOST_LEAVES = 4096;

static int take(fixed_point *self, const gra_problem *problem, gra_answer *answer)
{
    gra_arena *arena = problem->arena;
    int64_t n = problem->outcomes.count, all = problem->outcomes.model->outcomes;
    *self = (fixed_point){.problem = problem,
                          .tree = problem->tree,
                          .answer = answer,
                          .n = n,
                          .outcomes = all,
                          .full = gra_arena_doubles(arena, all),
                          .full_u = gra_arena_doubles(arena, all),
                          .u = gra_arena_doubles(arena, n),
                          .off = gra_arena_doubles(arena, n),
                          .step = gra_arena_doubles(arena, n),
                          .trial = gra_arena_doubles(arena, n),
                          .kept = gra_arena_doubles(arena, n),
                          .end = gra_arena_doubles(arena, n),
                          .slopes = gra_arena_doubles(arena, n * n),
                          .jacobian = gra_arena_doubles(arena, n * n),
                          .matrix = gra_arena_doubles(arena, n * n),
                          .full_jacobian = gra_arena_doubles(arena, all * all),
                          .pivots = gra_arena_take(arena, n, sizeof(int32_t))};
    return self->full && self->full_u && self->u && self->off && self->step && self->trial &&
           self->kept && self->end && self->slopes && self->jacobian && self->matrix &&
           self->full_jacobian && self->pivots &&
           gra_tree_response_take(&self->response, problem->tree, problem->penalty, arena);
}

static int64_t outcome_of(const fixed_point *self, int64_t leaf)
{
    return self->problem->outcomes.at[self->tree->leaf[leaf]];
}

/* The advantages at a policy given by the logarithms of its leaves. */
static grpoalign_status advantages_at(fixed_point *self, const double *log_policy, double *u)
{
    const grpoalign_model *model = self->problem->outcomes.model;
    memset(self->full, 0, (size_t)self->outcomes * sizeof(double));
    for (int64_t i = 0; i < self->n; i++) {
        self->full[outcome_of(self, i)] = exp(log_policy[i]);
    }
    gra_arena_mark_t mark = gra_arena_mark(self->problem->arena);
    GRA_TRY(model->ops->advantage(model, self->full, self->full_u, self->problem->arena,
                                  self->problem->error));
    gra_arena_rewind(self->problem->arena, mark);
    for (int64_t i = 0; i < self->n; i++) {
        u[i] = self->full_u[outcome_of(self, i)];
    }
    return GRPOALIGN_OK;
}

/* How far the advantages u are from those of the policy that answers to them. */
static grpoalign_status evaluate(fixed_point *self, const double *u)
{
    gra_tree_respond(&self->response, u);
    GRA_TRY(advantages_at(self, self->response.log_policy, self->off));
    self->size = 0.0;
    for (int64_t i = 0; i < self->n; i++) {
        self->off[i] = u[i] - self->off[i];
        self->size = isfinite(self->off[i]) ? fmax(self->size, fabs(self->off[i])) : INFINITY;
    }
    return GRPOALIGN_OK;
}

/* (1 + damping) I - J R', factorised, at the last evaluation. *sign is that of the determinant, 0
 * where it could not be. */
static grpoalign_status factorise(fixed_point *self, double damping, int *sign)
{
    const grpoalign_model *model = self->problem->outcomes.model;
    gra_arena *arena = self->problem->arena;
    int64_t n = self->n;
    gra_arena_mark_t mark = gra_arena_mark(arena);
    GRA_TRY(model->ops->jacobian(model, self->full, self->full_jacobian, self->outcomes, arena,
                                 self->problem->error));
    if (!gra_tree_slopes(&self->response, self->slopes, arena)) {
        return gra_fail_memory(self->problem->error);
    }
    gra_arena_rewind(arena, mark);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            self->jacobian[i * n + j] =
                self->full_jacobian[outcome_of(self, i) * self->outcomes + outcome_of(self, j)];
        }
    }
    gra_matmul(n, n, n, -1.0, self->jacobian, n, self->slopes, n, 0.0, self->matrix, n);
    int finite = 1;
    for (int64_t i = 0; i < n; i++) {
        self->matrix[i * n + i] += 1.0 + damping;
    }
    for (int64_t i = 0; i < n * n; i++) {
        finite = finite && isfinite(self->matrix[i]);
    }
    self->answer->factorizations++;
    int factored = finite && gra_lu_factor(n, self->matrix, n, self->pivots) == 0;
    *sign = factored ? gra_lu_sign(n, self->matrix, n, self->pivots) : 0;
    return GRPOALIGN_OK;
}

/* The largest change of a probability for a change of the advantages. */
static double moved(const fixed_point *self, const double *by, double *scratch)
{
    double most = 0.0;
    gra_matvec(self->n, self->n, self->slopes, self->n, by, scratch);
    for (int64_t i = 0; i < self->n; i++) {
        most = fmax(most, fabs(scratch[i]));
    }
    return most;
}

enum { MOST_NEWTON = 60, MOST_HALVINGS = 12 };
/* A step that moves no probability by more is rounding. */
static const double STILL = 4.0 * DBL_EPSILON;

/* Goes along the step as far as it helps; *taken is 0 where it does not. */
static grpoalign_status go(fixed_point *self, int *taken)
{
    double before = self->size, length = 1.0;
    *taken = 0;
    memcpy(self->kept, self->u, (size_t)self->n * sizeof(double));
    for (int i = 0; i < MOST_HALVINGS && !*taken; i++, length *= 0.5) {
        for (int64_t k = 0; k < self->n; k++) {
            self->u[k] = self->kept[k] + length * self->step[k];
        }
        GRA_TRY(evaluate(self, self->u));
        *taken = self->size < before * (1.0 - 0.1 * length);
    }
    if (!*taken) {
        memcpy(self->u, self->kept, (size_t)self->n * sizeof(double));
        GRA_TRY(evaluate(self, self->u));
    }
    return GRPOALIGN_OK;
}

static void find_step(fixed_point *self)
{
    for (int64_t k = 0; k < self->n; k++) {
        self->step[k] = -self->off[k];
    }
    gra_lu_solve(self->n, self->matrix, self->n, self->pivots, 1, self->step);
}

/* A correction that is small, but cannot be made: rounding of the advantages. */
static const double NEARLY_STILL = 1e-9;

/*
 * Whether the policy answers to its own advantages. Where a response is saturated a correction of
 * the advantages moves no probability, however large it is.
 */
static int answers_itself(fixed_point *self, double enough)
{
    double worst = 0.0;
    for (int64_t i = 0; i < self->n; i++) {
        self->trial[i] = exp(self->response.log_policy[i]);
        self->step[i] = self->u[i] - self->off[i];
    }
    gra_tree_respond(&self->response, self->step);
    for (int64_t i = 0; i < self->n; i++) {
        worst = fmax(worst, fabs(exp(self->response.log_policy[i]) - self->trial[i]));
    }
    return worst <= 100.0 * enough;
}

/*
 * Newton at the response's beta from the current advantages. *change is the last correction of a
 * probability, INFINITY where Newton failed, or where it came to a point that training does not come
 * to: along the branch of pi_ref the determinant is positive.
 */
static grpoalign_status run(fixed_point *self, double enough, double *change)
{
    int sign, taken;
    GRA_TRY(evaluate(self, self->u));
    *change = INFINITY;
    for (int i = 0; i < MOST_NEWTON && isfinite(self->size); i++) {
        GRA_TRY(gra_report_progress(self->problem, self->answer, self->response.beta, *change));
        self->answer->iterations++;
        GRA_TRY(factorise(self, 0.0, &sign));
        if (sign == 0) {
            *change = INFINITY;
            return GRPOALIGN_OK;
        }
        find_step(self);
        double correction = moved(self, self->step, self->trial);
        GRA_TRY(go(self, &taken));
        if (correction <= enough || !taken) {
            int found = sign > 0 && correction <= fmax(enough, NEARLY_STILL);
            found = found && answers_itself(self, fmax(enough, NEARLY_STILL));
            *change = found ? correction : INFINITY;
            return found ? GRPOALIGN_OK : evaluate(self, self->u);
        }
    }
    return GRPOALIGN_OK;
}

/* Implicit steps of du/dt = U(R(u)) - u, which grow while it calms down. */
enum { MOST_FLOW = 600 };
static const double FIRST_TIME = 0.3, LONGEST_TIME = 1e6, FASTER = 1.6, SLOWER = 0.3;
/* The least step, in units of the first. Advantages over a std that vanishes grow without end in a
 * finite time: as 1/sqrt(q), q being what the best outcome lacks, and each step may double them. */
static const double SHORTEST_TIME = 1e-9;

/* From pi_ref at the problem's beta to where advantages and answers agree, when the branch has ended
 * in a fold on the way. */
static grpoalign_status settle(fixed_point *self, double *change)
{
    double time = FIRST_TIME;
    int sign;
    *change = INFINITY;
    GRA_TRY(evaluate(self, self->u));
    for (int i = 0; i < MOST_FLOW && time < LONGEST_TIME && isfinite(self->size); i++) {
        double before = self->size;
        GRA_TRY(gra_report_progress(self->problem, self->answer, self->response.beta, before));
        self->answer->iterations++;
        GRA_TRY(factorise(self, 1.0 / time, &sign));
        if (sign <= 0) { /* an implicit step beyond the time in which things grow goes backwards */
            time *= SLOWER;
            if (time < FIRST_TIME * SHORTEST_TIME) {
                break;
            }
            continue;
        }
        find_step(self);
        memcpy(self->kept, self->u, (size_t)self->n * sizeof(double));
        for (int64_t k = 0; k < self->n; k++) {
            self->u[k] += self->step[k];
        }
        GRA_TRY(evaluate(self, self->u));
        if (!(self->size < 2.0 * before)) { /* too far for the slopes */
            memcpy(self->u, self->kept, (size_t)self->n * sizeof(double));
            GRA_TRY(evaluate(self, self->u));
            time *= SLOWER;
        } else {
            time *= FASTER;
        }
        if (time < FIRST_TIME * SHORTEST_TIME) {
            break;
        }
    }
    self->answer->method = GRPOALIGN_METHOD_FLOW;
    memcpy(self->end, self->u, (size_t)self->n * sizeof(double));
    GRA_TRY(run(self, STILL, change));
    if (!isfinite(*change)) { /* what training came to says more than where Newton went astray */
        memcpy(self->u, self->end, (size_t)self->n * sizeof(double));
        return evaluate(self, self->u);
    }
    return GRPOALIGN_OK;
}

/* Beta where Newton starts, in units of the largest advantage at the reference. */
static const double LARGE = 4.0;
/* Strides in log beta on the way, and the correction that is enough there. */
static const double FIRST_STRIDE = 1.4, SHORTEST = 1e-4, ON_THE_WAY = 1e-5;

static grpoalign_status start_at_reference(fixed_point *self)
{
    for (int64_t i = 0; i < self->n; i++) {
        self->trial[i] = self->problem->outcomes.log_mass[self->tree->leaf[i]];
    }
    return advantages_at(self, self->trial, self->u);
}

/* From large beta down. *change as in run. */
static grpoalign_status descend(fixed_point *self, double *change)
{
    const gra_problem *problem = self->problem;
    double top = 0.0;
    GRA_TRY(start_at_reference(self));
    for (int64_t i = 0; i < self->n; i++) {
        top = fmax(top, fabs(self->u[i]));
    }
    double here = log(fmax(problem->beta, LARGE * top)), end = log(problem->beta);
    self->response.beta = exp(here);
    GRA_TRY(run(self, here > end ? ON_THE_WAY : STILL, change));
    double stride = FIRST_STRIDE, *saved = gra_arena_doubles(problem->arena, self->n);
    if (saved == NULL) {
        return gra_fail_memory(problem->error);
    }
    while (here > end && isfinite(*change) && stride > SHORTEST &&
           self->answer->iterations < problem->max_iterations) {
        double next = fmax(end, here - stride);
        memcpy(saved, self->u, (size_t)self->n * sizeof(double));
        self->response.beta = next > end ? exp(next) : problem->beta;
        GRA_TRY(run(self, next > end ? ON_THE_WAY : STILL, change));
        if (isfinite(*change)) {
            here = next;
            stride *= 1.5;
        } else {
            memcpy(self->u, saved, (size_t)self->n * sizeof(double));
            stride *= 0.25;
            *change = 0.0; /* go on from here */
        }
    }
    self->response.beta = problem->beta;
    if (here > end || !isfinite(*change)) {
        GRA_TRY(start_at_reference(self));
        return settle(self, change);
    }
    return evaluate(self, self->u);
}

/* Advantages have roundings of this size, relative to the largest. */
static const double ROUNDED = 8.0 * DBL_EPSILON;

/* What is left to correct, and what the roundings of the advantages do. */
static grpoalign_status estimate(fixed_point *self, double change)
{
    int sign;
    double largest = 1.0;
    GRA_TRY(factorise(self, 0.0, &sign));
    for (int64_t i = 0; i < self->n; i++) {
        largest = fmax(largest, fabs(self->u[i]));
    }
    for (int64_t i = 0; i < self->n; i++) {
        self->step[i] = ((i & 1) != 0 ? ROUNDED : -ROUNDED) * largest;
    }
    if (sign != 0) {
        gra_lu_solve(self->n, self->matrix, self->n, self->pivots, 1, self->step);
    }
    double worst = sign != 0 ? moved(self, self->step, self->trial) : 1.0;
    self->answer->policy_error = fmin(1.0, worst + 2.0 * change + 2.0 * DBL_EPSILON);
    return GRPOALIGN_OK;
}

/* Training has come so close to one outcome where there is nothing stationary on the way. */
static const double NEARLY_ALL = 1.0 - 1e-9;

static void fill(fixed_point *self, double change)
{
    const gra_penalty *law = self->problem->penalty;
    gra_answer *answer = self->answer;
    double top = 0.0, sum = 0.0;
    for (int64_t i = 0; i < self->n; i++) {
        sum += exp(self->response.log_policy[i]);
    }
    if (!(fabs(sum - 1.0) < 1e-9)) { /* Newton has left the numbers */
        gra_answer_reference(self->problem, answer);
        answer->status = GRPOALIGN_NOT_CONVERGED;
        answer->unique = answer->stable = -1;
        answer->policy_error = 1.0;
        return;
    }
    for (int64_t i = 0; i < self->n; i++) {
        int64_t c = self->tree->leaf[i];
        double log_policy = self->response.log_policy[i],
               ratio = log_policy - self->problem->outcomes.log_mass[c];
        answer->policy[c] = exp(log_policy);
        answer->slack[c] = law->slack(law, ratio);
        top = fmax(top, answer->policy[c]);
    }
    answer->method = answer->method == 0 ? GRPOALIGN_METHOD_CONTINUATION : answer->method;
    if (!isfinite(change)) {
        answer->status = top > NEARLY_ALL ? GRPOALIGN_COLLAPSED : GRPOALIGN_NOT_CONVERGED;
        answer->policy_error = 1.0;
    }
}

/* ---- stability ------------------------------------------------------------------------------ */

/*
 * Training moves the logits of every choice by pi(s) pi(a|s) (f_a - mean f), f being what is equal
 * at a stationary policy. One column of its Jacobian: the logit of edge `moved` is raised.
 */
static void flow_column(fixed_point *self, int64_t at, int64_t moved_edge, double *ratio,
                        double *value, double *weight, double *force)
{
    const gra_tree *tree = self->tree;
    const gra_tree_response *r = &self->response;
    int64_t n = self->n;
    memset(ratio, 0, (size_t)tree->edges * sizeof(double));
    for (int64_t e = tree->node[at].first; e < tree->node[at].first + tree->node[at].count; e++) {
        ratio[e] = (e == moved_edge) - r->policy[moved_edge];
    }
    for (int64_t i = 0; i < n; i++) {
        self->trial[i] = 0.0;
    }
    for (int64_t e = tree->node[at].first; e < tree->node[at].first + tree->node[at].count; e++) {
        for (int64_t i = tree->edge[e].first; i < tree->edge[e].last; i++) {
            self->trial[i] = exp(r->log_policy[i]) * ratio[e];
        }
    }
    gra_matvec(n, n, self->jacobian, n, self->trial, self->step);
    for (int64_t k = tree->nodes - 1; k >= 0; k--) {
        int64_t end = tree->node[k].first + tree->node[k].count;
        for (int64_t e = tree->node[k].first; e < end; e++) {
            const gra_edge *edge = &tree->edge[e];
            value[e] = edge->node < 0 ? tree->weight[edge->first] * self->step[edge->first] : 0.0;
            weight[e] = 0.0;
            const gra_node *below = edge->node < 0 ? NULL : &tree->node[edge->node];
            for (int64_t b = below != NULL ? below->first : 0;
                 below != NULL && b < below->first + below->count; b++) {
                value[e] += r->policy[b] * (value[b] + ratio[b] * r->value[b]);
                weight[e] += r->policy[b] * (weight[b] + ratio[b] * r->weight[b]);
            }
        }
    }
    for (int64_t e = 0; e < tree->edges; e++) {
        if (!(r->policy[e] > 0.0)) { /* nothing there moves */
            force[e] = 0.0;
            continue;
        }
        double slope, slack = r->law->score(r->law, r->ratio[e], &slope);
        double g = (gra_penalty_has_pole(r->law) ? r->law->pole : 0.0) - slack;
        force[e] = value[e] - r->beta * (g * weight[e] - slope * r->weight[e] * ratio[e]) -
                   r->beta * tree->entropy * ratio[e];
    }
}

/* The columns of the Jacobian in the logits less that of the last choice at their prefix. */
static int fill_flow(fixed_point *self, double *matrix, int64_t order, gra_arena *arena)
{
    const gra_tree *tree = self->tree;
    const gra_tree_response *r = &self->response;
    double *ratio = gra_arena_doubles(arena, 4 * tree->edges), *reach;
    reach = gra_arena_doubles(arena, tree->nodes);
    if (ratio == NULL || reach == NULL) {
        return 0;
    }
    double *value = ratio + tree->edges, *weight = value + tree->edges,
           *force = weight + tree->edges;
    int64_t column = 0;
    reach[0] = 1.0;
    for (int64_t k = 0; k < tree->nodes; k++) {
        for (int64_t e = tree->node[k].first; e < tree->node[k].first + tree->node[k].count; e++) {
            if (tree->edge[e].node >= 0) {
                reach[tree->edge[e].node] = reach[k] * r->policy[e];
            }
        }
    }
    for (int64_t k = 0; k < tree->nodes; k++) {
        int64_t last = tree->node[k].first + tree->node[k].count - 1;
        for (int64_t e = tree->node[k].first; e < last; e++, column++) {
            flow_column(self, k, e, ratio, value, weight, force);
            int64_t row = 0;
            for (int64_t s = 0; s < tree->nodes; s++) {
                int64_t first = tree->node[s].first, end = first + tree->node[s].count - 1;
                double mean = 0.0;
                for (int64_t a = first; a <= end; a++) {
                    mean += r->policy[a] * force[a];
                }
                for (int64_t a = first; a < end; a++, row++) {
                    matrix[row * order + column] =
                        reach[s] *
                        (r->policy[a] * (force[a] - mean) - r->policy[end] * (force[end] - mean));
                }
            }
        }
    }
    return 1;
}

/* Eigenvalues are good to about this part of the largest entry, and those of what holds nothing are
 * 0. */
static const double SPECTRUM_ROUNDING = 1e-12;

static grpoalign_status assess(fixed_point *self)
{
    int64_t order = self->tree->edges - self->tree->nodes;
    gra_arena *arena = self->problem->arena;
    self->answer->stable = -1;
    if (order < 1 || order > GRA_SPECTRUM_LIMIT) {
        self->answer->stable = order < 1 ? 1 : -1;
        return GRPOALIGN_OK;
    }
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *matrix = gra_arena_doubles(arena, order * order), abscissa = NAN, size = 0.0;
    int finite = 1;
    if (matrix == NULL || !fill_flow(self, matrix, order, arena)) {
        return gra_fail_memory(self->problem->error);
    }
    for (int64_t i = 0; i < order * order; i++) {
        size = fmax(size, fabs(matrix[i]));
        finite = finite && isfinite(matrix[i]);
    }
    if (finite && !gra_spectral_abscissa(order, matrix, order, arena, &abscissa)) {
        return gra_fail_memory(self->problem->error);
    }
    gra_arena_rewind(arena, mark);
    self->answer->rate = abscissa;
    self->answer->stable = isnan(abscissa) ? -1 : abscissa <= SPECTRUM_ROUNDING * size;
    return GRPOALIGN_OK;
}

/* ---- the engine ----------------------------------------------------------------------------- */

grpoalign_status gra_solve_per_token(const gra_problem *problem, gra_answer *answer)
{
    fixed_point self;
    double change = INFINITY;
    if (problem->outcomes.model->outcomes > MOST_LEAVES) {
        return gra_fail(problem->error, GRPOALIGN_ERR_TOO_LARGE, 0, -1,
                        "a penalty per token, or with weights, is solved for at most %lld outcomes "
                        "(these are %lld)",
                        (long long)MOST_LEAVES, (long long)problem->outcomes.model->outcomes);
    }
    if (!take(&self, problem, answer)) {
        return gra_fail_memory(problem->error);
    }
    if (self.n == 1) {
        gra_answer_reference(problem, answer);
        return GRPOALIGN_OK;
    }
    GRA_TRY(descend(&self, &change));
    fill(&self, change);
    if (isfinite(change)) {
        GRA_TRY(estimate(&self, change));
        GRA_TRY(assess(&self));
        answer->on_branch = 1;
    }
    return GRPOALIGN_OK;
}
