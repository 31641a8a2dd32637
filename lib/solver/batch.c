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

typedef struct shared {
    const gra_batch *batch;
    gra_path_context *contexts;
    gra_divisor divisor;
    gra_search search;
    gra_problem problem; /* the first context's, at the batch's beta */
} shared;

static int is_flat(const gra_batch_context *x)
{
    return x->problem->structure->kind == GRA_FLAT;
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

/* The contexts of a batch and the divisor they share. 0 on short memory. */
static int share_divisor(const gra_batch *batch, gra_path_context **contexts, gra_divisor *divisor)
{
    gra_arena *arena = batch->arena;
    gra_path_context *own = gra_arena_take(arena, batch->count, sizeof *own);
    gra_sigma_context *sigma = gra_arena_take(arena, batch->count, sizeof *sigma);
    if (own == NULL || sigma == NULL) {
        return 0;
    }
    for (int64_t k = 0; k < batch->count; k++) {
        const gra_batch_context *x = &batch->contexts[k];
        const gra_affine *affine = &x->problem->structure->affine;
        int64_t n = x->problem->reference.classes;
        sigma[k] = (gra_sigma_context){.classes = n,
                                       .variance = x->variance,
                                       .best = x->best,
                                       .weight = x->weight,
                                       .factor = x->share};
        if (!is_flat(x) && (!scale(affine->gap, n, x->gap_unit, &sigma[k].gap, arena) ||
                            !scale(affine->reward, n, x->gap_unit, &sigma[k].reward, arena))) {
            return 0;
        }
        own[k] = (gra_path_context){x->problem, sigma[k].gap, x->strength};
    }
    *contexts = own;
    return gra_divisor_sigma(divisor, sigma, batch->count, !batch->of_advantages, batch->epsilon,
                             arena);
}

/* ---- at the root ------------------------------------------------------------------------------- */

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
    const gra_batch_context *x = &self->batch->contexts[k];
    gra_path *path = &self->search.path;
    const double *gap = path->context[k].gap;
    int64_t n = x->problem->reference.classes;
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
        out->policy = fmax(out->policy, q * x->strength * fabs(d));
    }
    /* b theta = 1, and s falls as the gap grows */
    double factor = x->weight * x->strength / (2.0 * sigma * (sigma + self->batch->epsilon));
    out->slope -= factor * gap_g;
    out->bound += factor * sqrt(gap_gap * g_g);
}

static motion motion_at(shared *self, const gra_path_point *at)
{
    motion out = {0.0, 1.0, 0.0};
    const gra_divisor *divisor = &self->search.path.divisor;
    double sigma = gra_sigma_value(divisor, at->of), mean = gra_sigma_mean(divisor, at->of);
    for (int64_t k = 0; k < self->batch->count && sigma > 0.0; k++) {
        if (!is_flat(&self->batch->contexts[k])) {
            add_motion(self, k, at, sigma, mean, &out);
        }
    }
    return out;
}

/* The divisor at the point x of the path. */
static grpoalign_status finish_divisor(shared *self, double x, gra_batch_answer *out)
{
    gra_path_point at;
    if (!gra_path_point_take(&self->search.path, &at) ||
        !gra_path_look(&self->search.path, x, 1, &at)) {
        return gra_fail_memory(self->batch->error);
    }
    motion near = motion_at(self, &at);
    out->divisor = 1.0 / (at.theta * self->batch->beta);
    out->motion = near.policy / fabs(near.slope);
    out->policy_error = fmin(1.0, out->motion * gra_position_noise(x));
    out->stable = near.bound < 1.0 ? 1 : -1;
    out->moves = 1;
    return GRPOALIGN_OK;
}

/* Nothing moves: sigma is that of the references. */
static grpoalign_status finish_flat(shared *self, gra_batch_answer *out)
{
    gra_path *path = &self->search.path;
    gra_path_point *at = &self->search.here;
    for (int64_t k = 0; k < path->count; k++) {
        (void)gra_path_respond(path, k, 1.0);
        if (!path->divisor.kind->moments(&path->divisor, k, path->policy, 0, path->arena,
                                         &at->of[k])) {
            return gra_fail_memory(self->batch->error);
        }
    }
    *out = (gra_batch_answer){.divisor =
                                  gra_sigma_value(&path->divisor, at->of) + self->batch->epsilon,
                              .unique = 1,
                              .stable = 1};
    return GRPOALIGN_OK;
}

grpoalign_status gra_solve_batch(const gra_batch *batch, gra_batch_answer *out)
{
    shared self = {.batch = batch, .problem = *batch->contexts[0].problem};
    int flat = 1;
    self.problem.beta = batch->beta;
    self.problem.arena = batch->arena;
    self.problem.error = batch->error;
    for (int64_t k = 0; k < batch->count; k++) {
        flat = flat && is_flat(&batch->contexts[k]);
    }
    if (!share_divisor(batch, &self.contexts, &self.divisor)) {
        return gra_fail_memory(batch->error);
    }
    GRA_TRY(gra_search_start(&self.search, &self.problem, self.contexts, batch->count,
                             &self.divisor, 1));
    if (flat) {
        return finish_flat(&self, out);
    }
    int end = gra_search_path(&self.search, batch->beta, batch->beta, GRA_FINEST_ROOT_OF_BATCH);
    const gra_brackets *roots = &self.search.isolation.roots;
    GRA_TRY(gra_search_stopped(&self.search));
    if (roots->count == 0 && end == GRA_COLLAPSES) {
        *out = (gra_batch_answer){.status = GRPOALIGN_COLLAPSED, .unique = -1, .stable = 1};
    } else if (roots->count == 0) {
        GRA_TRY(finish_divisor(&self, self.search.nearest_x, out));
        out->status = GRPOALIGN_NOT_CONVERGED;
        out->unique = out->stable = -1;
        out->policy_error = 1.0;
    } else {
        int proved = end != GRA_GAVE_UP && gra_isolation_is_proved(&self.search.isolation);
        int others = roots->count > 1 || end == GRA_COLLAPSES;
        double x = gra_search_refine(&self.search, roots->items[0]);
        GRA_TRY(finish_divisor(&self, x, out));
        out->status = others ? GRPOALIGN_NOT_UNIQUE : GRPOALIGN_OK;
        out->unique = others ? 0 : proved ? 1 : -1;
    }
    out->iterations = (int32_t)self.search.looks;
    return gra_search_stopped(&self.search);
}

int gra_batch_check(const gra_batch *batch, const gra_answer *answers, gra_batch_answer *divisor)
{
    gra_path_context *contexts;
    gra_divisor shared_divisor;
    gra_moments *of = gra_arena_take(batch->arena, batch->count, sizeof *of);
    if (of == NULL || !share_divisor(batch, &contexts, &shared_divisor)) {
        return 0;
    }
    for (int64_t k = 0; k < batch->count; k++) {
        if (!shared_divisor.kind->moments(&shared_divisor, k, answers[k].policy, 0, batch->arena,
                                          &of[k])) {
            return 0;
        }
    }
    divisor->std = gra_sigma_value(&shared_divisor, of);
    if (divisor->motion > 0.0) {
        double drift = fabs(log((divisor->std + batch->epsilon) / divisor->divisor));
        divisor->policy_error = fmin(1.0, divisor->policy_error + divisor->motion * drift);
    }
    return 1;
}
