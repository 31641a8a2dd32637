/*
 * Contexts that share the std of their batch: every context is an unscaled problem at the
 * regularisation
 *
 *     b = beta (sigma + epsilon),   sigma^2 = sum_x w_x s_x sigma_x^2 (+ the variance over x of the
 *                                   mean rewards),
 *
 * and sigma comes from all the policies. Policies depend on b alone, so the batch has one unknown:
 * it is the search of scalar.c with several contexts under one divisor.
 */
#include "solver/batch.h"

#include <float.h>
#include <math.h>

#include "base/numeric.h"
#include "base/status.h"
#include "solver/scalar.h"

/* A context in the unit of the batch. */
typedef struct batch_context {
    const gra_problem *at;
    double rate;      /* slacks are rate gap theta + lambda */
    double factor;    /* of its variance in that of the batch */
    double gap_unit;  /* of the gaps of the affine advantages */
    double best;      /* its best reward less a common origin */
    double *variance; /* of the rewards within the classes, or NULL */
} batch_context;

/* What was found out about the divisor. */
typedef struct batch_divisor {
    double value;   /* std + epsilon, in the unit */
    double std;     /* that of the policies found */
    int32_t status; /* OK, NOT_UNIQUE, COLLAPSED or NOT_CONVERGED */
    int32_t unique, stable;
    int moves;     /* 0 when no context has anything to learn */
    double motion; /* the most a probability moves with the logarithm of the divisor, the coupling
                      included */
    double policy_error; /* what the divisor's rounding does to a probability */
} batch_divisor;

typedef struct shared {
    const gra_batch *batch;
    double
        unit; /* a power of two: all rewards, and the stds within outcomes, have ranges below 1 */
    batch_context *of;
    gra_path_context *contexts;
    gra_divisor divisor;
    gra_search search;
    gra_problem first; /* the first context's, at the batch's beta */
} shared;

int gra_batch_matters(const gra_penalty *law)
{
    return law->form != GRA_ABSENT && law->form != GRA_INSIDE_REWARD;
}

static int is_flat(const batch_context *x)
{
    return x->at->structure->kind == GRA_FLAT;
}

/* ---- the contexts in one unit --------------------------------------------------------------- */

static double best_reward(const gra_call *call)
{
    const gra_outcomes *outcomes = &call->at.outcomes;
    double best = -INFINITY;
    for (int64_t i = 0; i < outcomes->count; i++) {
        best = fmax(best, outcomes->model->rewards[outcomes->at[i]]);
    }
    return best;
}

/* Rewards this much below epsilon cannot matter. */
static const double SWAMPED = 1e-200;

static double find_unit(const gra_batch *batch)
{
    double range = SWAMPED * batch->epsilon, first = best_reward(&batch->calls[0]);
    for (int64_t k = 0; k < batch->count; k++) {
        const gra_outcomes *outcomes = &batch->calls[k].at.outcomes;
        const grpoalign_model *model = outcomes->model;
        /* offsets count between rewards alone */
        double from = batch->of_advantages ? best_reward(&batch->calls[k]) : first;
        for (int64_t i = 0; i < outcomes->count; i++) {
            int64_t o = outcomes->at[i];
            /* halves: the range of doubles is no double; but the least has no half */
            double half = fabs(0.5 * model->rewards[o] - 0.5 * from);
            range = fmax(range, half > 0.0 ? half : fabs(model->rewards[o] - from));
            range = model->deviations != NULL ? fmax(range, 0.5 * model->deviations[o]) : range;
        }
    }
    int exponent = 0;
    (void)frexp(range, &exponent);
    return range > 0.0 ? ldexp(1.0, exponent + 2 > 1023 ? 1023 : exponent + 2) : 1.0;
}

/* Variances within the classes, in the unit. 0 on short memory. */
static int class_variances(const gra_call *call, double unit, double **out, gra_arena *arena)
{
    const gra_outcomes *outcomes = &call->at.outcomes;
    const grpoalign_model *model = outcomes->model;
    int64_t classes = call->at.structure->classes;
    *out = NULL;
    if (model->deviations == NULL) {
        return 1;
    }
    double *variance = gra_arena_doubles(arena, classes);
    for (int64_t c = 0; variance != NULL && c < classes; c++) {
        variance[c] = 0.0;
    }
    for (int64_t i = 0; variance != NULL && i < outcomes->count; i++) {
        double deviation = model->deviations[outcomes->at[i]] / unit;
        variance[call->at.structure->class_of[outcomes->at[i]]] +=
            outcomes->share[i] * deviation * deviation;
    }
    *out = variance;
    return variance != NULL;
}

/* 0 on short memory. */
static int take_contexts(shared *self)
{
    const gra_batch *batch = self->batch;
    double top = -INFINITY;
    self->unit = find_unit(batch);
    self->of = gra_arena_take(batch->arena, batch->count, sizeof *self->of);
    for (int64_t k = 0; k < batch->count; k++) {
        top = fmax(top, best_reward(&batch->calls[k]));
    }
    for (int64_t k = 0; self->of != NULL && k < batch->count; k++) {
        const gra_call *call = &batch->calls[k];
        const grpoalign_model *model = call->at.outcomes.model;
        batch_context *x = &self->of[k];
        double size = (double)model->group_size, own = model->unscaled;
        *x = (batch_context){.at = &call->at, .rate = own, .factor = 1.0};
        if (batch->of_advantages && model->group_size > 0) {
            x->factor = own * own * size / (size - 1.0); /* of r less its baseline */
        }
        if (!batch->of_advantages) {
            x->best = best_reward(call) / self->unit - top / self->unit;
        }
        if (!is_flat(x)) {
            x->gap_unit = call->at.structure->affine.divisor.low / own / self->unit;
        }
        if (!class_variances(call, self->unit, &x->variance, batch->arena)) {
            return 0;
        }
    }
    return self->of != NULL;
}

/* A copy of n numbers times a factor; NULL stays NULL. 0 on short memory. */
static int scale(const double *from, int64_t n, double factor, const double **out, gra_arena *arena)
{
    double *scaled = from != NULL ? gra_arena_doubles(arena, n) : NULL;
    for (int64_t c = 0; scaled != NULL && c < n; c++) {
        scaled[c] = factor * from[c];
    }
    *out = scaled;
    return from == NULL || scaled != NULL;
}

/* The divisor that the contexts share. 0 on short memory. */
static int share_divisor(shared *self)
{
    const gra_batch *batch = self->batch;
    gra_arena *arena = batch->arena;
    gra_path_context *own = gra_arena_take(arena, batch->count, sizeof *own);
    gra_sigma_context *sigma = gra_arena_take(arena, batch->count, sizeof *sigma);
    self->contexts = own;
    if (own == NULL || sigma == NULL) {
        return 0;
    }
    for (int64_t k = 0; k < batch->count; k++) {
        const batch_context *x = &self->of[k];
        const gra_affine *affine = &x->at->structure->affine;
        int64_t n = x->at->reference.classes;
        sigma[k] = (gra_sigma_context){.classes = n,
                                       .variance = x->variance,
                                       .best = x->best,
                                       .weight = batch->weights[k],
                                       .factor = x->factor};
        if (!is_flat(x) && (!scale(affine->gap, n, x->gap_unit, &sigma[k].gap, arena) ||
                            !scale(affine->reward, n, x->gap_unit, &sigma[k].reward, arena))) {
            return 0;
        }
        own[k] = (gra_path_context){x->at, sigma[k].gap, x->rate};
    }
    return gra_divisor_sigma(&self->divisor, sigma, batch->count, !batch->of_advantages,
                             batch->epsilon / self->unit, arena);
}

/* ---- at the root ---------------------------------------------------------------------------- */

/* How the policies and sigma move with log b. */
typedef struct motion {
    double policy; /* the largest |d pi| */
    double slope;  /* of log b - log(sigma + epsilon) */
    double bound;  /* of the coupling: below 1 it cannot repel */
} motion;

/*
 * The linear training flow near the root is -P (H + s g^T): P > 0 and H = beta / q > 0 are what the
 * contexts would have alone, s = u / (sigma + epsilon)^2 and g = d sigma / d pi couple them. With a
 * number z, Re z >= 0, in the place of an eigenvalue
 * |g^T (H + P^-1 z)^-1 s| <= sqrt(g^T H^-1 g  s^T H^-1 s), context by context: where the sum of
 * these is below 1 no such eigenvalue exists.
 */
static void add_motion(shared *self, int64_t k, const gra_path_point *at, double sigma, double mean,
                       motion *out)
{
    const batch_context *x = &self->of[k];
    gra_path *path = &self->search.path;
    const double *gap = path->context[k].gap;
    int64_t n = x->at->reference.classes;
    (void)gra_path_respond(path, k, at->theta);
    double total = 0.0, gap_mean = 0.0, g_mean = 0.0, gap_gap = 0.0, gap_g = 0.0, g_g = 0.0;
    for (int64_t c = 0; c < n; c++) {
        /* q theta, in the place of the slack: q alone may underflow. */
        double p = path->policy[c];
        double slope =
            p > 0.0 ? at->theta * path->penalty->log_slope(path->penalty, path->slack[c]) : 0.0;
        path->slack[c] = p * slope;
        total += path->slack[c];
        gap_mean += path->slack[c] * gap[c];
        g_mean += path->slack[c] * gra_sigma_derivative(&path->divisor, k, at->of, mean, c);
    }
    for (int64_t c = 0; c < n && total > 0.0; c++) {
        double q = path->slack[c], d = gap[c] - gap_mean / total;
        double g = gra_sigma_derivative(&path->divisor, k, at->of, mean, c) - g_mean / total;
        gap_gap += q * d * d;
        gap_g += q * d * g;
        g_g += q * g * g;
        out->policy = fmax(out->policy, q * x->rate * fabs(d));
    }
    /* b theta = 1, and s falls as the gap grows */
    double epsilon = self->batch->epsilon / self->unit;
    double factor = self->batch->weights[k] * x->rate / (2.0 * sigma * (sigma + epsilon));
    out->slope -= factor * gap_g;
    out->bound += factor * sqrt(gap_gap * g_g);
}

static motion motion_at(shared *self, const gra_path_point *at)
{
    motion out = {0.0, 1.0, 0.0};
    const gra_divisor *divisor = &self->search.path.divisor;
    double sigma = gra_sigma_value(divisor, at->of), mean = gra_sigma_mean(divisor, at->of);
    for (int64_t k = 0; k < self->batch->count && sigma > 0.0; k++) {
        if (!is_flat(&self->of[k])) {
            add_motion(self, k, at, sigma, mean, &out);
        }
    }
    return out;
}

/* The divisor at the point x of the path. */
static grpoalign_status finish_divisor(shared *self, double x, batch_divisor *out)
{
    gra_path_point at;
    if (!gra_path_point_take(&self->search.path, &at) ||
        !gra_path_look(&self->search.path, x, 1, &at)) {
        return gra_fail_memory(self->batch->error);
    }
    motion near = motion_at(self, &at);
    out->value = 1.0 / (at.theta * self->batch->beta);
    out->motion = near.policy / fabs(near.slope);
    out->policy_error = fmin(1.0, out->motion * gra_position_noise(x));
    out->stable = near.bound < 1.0 ? 1 : -1;
    out->moves = 1;
    return GRPOALIGN_OK;
}

/* sigma of the policies that are there: of the references (answers NULL) or of the answers. */
static grpoalign_status sigma_of(shared *self, const gra_answer *answers, double *sigma)
{
    const gra_batch *batch = self->batch;
    gra_moments *of = gra_arena_take(batch->arena, batch->count, sizeof *of);
    for (int64_t k = 0; of != NULL && k < batch->count; k++) {
        const double *policy = answers != NULL ? answers[k].policy : self->of[k].at->reference.mass;
        if (!self->divisor.kind->moments(&self->divisor, k, policy, 0, batch->arena, &of[k])) {
            of = NULL;
        }
    }
    if (of == NULL) {
        return gra_fail_memory(batch->error);
    }
    *sigma = gra_sigma_value(&self->divisor, of);
    return GRPOALIGN_OK;
}

/* The divisor that pi_ref leads to. */
static grpoalign_status find_divisor(shared *self, batch_divisor *out)
{
    const gra_batch *batch = self->batch;
    int flat = 1;
    for (int64_t k = 0; k < batch->count; k++) {
        flat = flat && is_flat(&self->of[k]);
    }
    *out = (batch_divisor){.unique = 1, .stable = 1};
    if (flat) { /* nothing moves */
        GRA_TRY(sigma_of(self, NULL, &out->std));
        out->value = out->std + batch->epsilon / self->unit;
        return GRPOALIGN_OK;
    }
    GRA_TRY(gra_search_start(&self->search, &self->first, self->contexts, batch->count,
                             &self->divisor, 1));
    int end = gra_search_path(&self->search, batch->beta, batch->beta, GRA_FINEST_ROOT_OF_BATCH);
    const gra_brackets *roots = &self->search.isolation.roots;
    GRA_TRY(gra_search_stopped(&self->search));
    if (roots->count == 0 && end == GRA_COLLAPSES) {
        *out = (batch_divisor){.status = GRPOALIGN_COLLAPSED, .unique = -1, .stable = 1};
        return GRPOALIGN_OK;
    }
    if (roots->count == 0) {
        GRA_TRY(finish_divisor(self, self->search.nearest_x, out));
        out->status = GRPOALIGN_NOT_CONVERGED;
        out->unique = out->stable = -1;
        out->policy_error = 1.0;
        return GRPOALIGN_OK;
    }
    int proved = end != GRA_GAVE_UP && gra_isolation_is_proved(&self->search.isolation);
    int others = roots->count > 1 || end == GRA_COLLAPSES;
    double x = gra_search_refine(&self->search, roots->items[0]);
    GRA_TRY(gra_search_stopped(&self->search));
    GRA_TRY(finish_divisor(self, x, out));
    out->status = others ? GRPOALIGN_NOT_UNIQUE : GRPOALIGN_OK;
    out->unique = others ? 0 : proved ? 1 : -1;
    return GRPOALIGN_OK;
}

/* ---- the answers ---------------------------------------------------------------------------- */

/* What is left of beta when a nearly certain policy leaves the batch nearly without spread. */
static const double LEAST_BETA = 1e-304;

static grpoalign_status check_effective(const shared *self, const batch_divisor *divisor)
{
    double effective = self->batch->beta * divisor->value * self->unit;
    int moves = divisor->status != GRPOALIGN_COLLAPSED && divisor->moves;
    return !moves || (effective >= LEAST_BETA && effective <= 1.0 / LEAST_BETA)
               ? GRPOALIGN_OK
               : gra_fail(self->batch->error, GRPOALIGN_ERR_ARGUMENT, 3, -1,
                          "beta times the std of the batch must be from %g to %g (got %g)",
                          LEAST_BETA, 1.0 / LEAST_BETA, effective);
}

/* The answer of context k once the divisor is known. */
static grpoalign_status answer_context(shared *self, int64_t k, const batch_divisor *divisor,
                                       gra_answer *answer)
{
    gra_problem *at = &self->batch->calls[k].at;
    int flat = is_flat(&self->of[k]);
    if (!gra_answer_take(answer, at)) {
        return gra_fail_memory(self->batch->error);
    }
    /* Where no spread is left, the equation keeps beta itself: nothing else could divide. */
    at->beta = self->batch->beta * (divisor->value > 0.0 ? divisor->value * self->unit : 1.0);
    answer->beta = at->beta;
    if (flat) {
        gra_answer_reference(at, answer);
        return GRPOALIGN_OK;
    }
    if (divisor->status == GRPOALIGN_COLLAPSED) {
        gra_answer_collapse(at, answer);
        return GRPOALIGN_OK;
    }
    return gra_solve_affine(at, answer);
}

/* What the divisor adds to the answer of context k. */
static void qualify_answer(const shared *self, int64_t k, const batch_divisor *divisor,
                           gra_answer *answer)
{
    if (divisor->status != GRPOALIGN_COLLAPSED && !is_flat(&self->of[k])) {
        answer->status = answer->status == GRPOALIGN_OK ? divisor->status : answer->status;
        answer->policy_error = fmin(1.0, answer->policy_error + divisor->policy_error);
    }
    answer->unique = answer->unique > 0 ? divisor->unique : answer->unique;
    answer->iterations += (int32_t)self->search.looks;
    answer->stable = divisor->stable;
    answer->rate = NAN;
}

grpoalign_status gra_solve_batch(const gra_batch *batch, gra_answer *answers, double *std,
                                 int64_t *context)
{
    shared self = {.batch = batch, .first = batch->calls[0].at};
    batch_divisor divisor;
    self.first.beta = batch->beta;
    self.first.arena = batch->arena;
    if (!take_contexts(&self) || !share_divisor(&self)) {
        return gra_fail_memory(batch->error);
    }
    GRA_TRY(find_divisor(&self, &divisor));
    GRA_TRY(check_effective(&self, &divisor));
    for (int64_t k = 0; k < batch->count; k++) {
        *context = k;
        GRA_TRY(answer_context(&self, k, &divisor, &answers[k]));
    }
    *context = -1;
    if (divisor.status != GRPOALIGN_COLLAPSED) {
        /* Where the policies do not quite give what the divisor was taken to be, they are as
         * uncertain. */
        GRA_TRY(sigma_of(&self, answers, &divisor.std));
        if (divisor.motion > 0.0) {
            double ratio = (divisor.std + batch->epsilon / self.unit) / divisor.value;
            divisor.policy_error =
                fmin(1.0, divisor.policy_error + divisor.motion * fabs(log(ratio)));
        }
    }
    for (int64_t k = 0; k < batch->count; k++) {
        qualify_answer(&self, k, &divisor, &answers[k]);
    }
    *std = divisor.std * self.unit;
    return GRPOALIGN_OK;
}
