/*
 * Contexts that share the std of their batch: every context is an unscaled problem at the
 * regularisation
 *
 *     b = beta (sigma + epsilon),     sigma^2 = sum_x w_x s_x sigma_x^2  (+ the variance over x of
 * the mean rewards),
 *
 * and sigma comes from all the policies. Policies depend on b alone, so the batch has one unknown,
 * and its stationary policies are the roots of
 *
 *     H(y) = y - log(sigma(y) + epsilon) - log beta,     y = log b.
 *
 * H is positive for large b, where all policies are pi_ref; the first root that is met as b falls
 * is what pi_ref leads to.
 *
 * In a piece a <= y <= b bounds on H follow from what is monotone. As b grows a policy moves its
 * probability to larger gaps, so sum pi f(gap) grows for every growing f: the mean gap e does, and
 * the second moment h. Variances within the outcomes are written as the difference of two growing
 * functions, their rises (which go to h) and their falls d. Bounds on the slope follow from
 *
 *     d/dy sum pi f = cov_q(f, slack),     q = -d pi / d slack,
 *
 * whose terms (1/2Q) q_k q_l (f_k - f_l)(slack_k - slack_l) are never negative, and from bounds on
 * q, which falls with the slack where the policy is a convex function of it. The range of y is
 * divided until every piece is free of roots or has a slope of one sign.
 */
#include "solver/batch.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

typedef struct sums {
    double mean_gap, second, fallen; /* e, h and d */
    double variance;                 /* sigma_x^2 */
    double pivot, offset; /* the mean reward is pivot - offset, pivot that of the heaviest class:
                             what is small keeps its digits */
} sums;

typedef struct sample {
    double y, b, value; /* value: H */
    double within;      /* sum w s sigma_x^2 */
    double mean;        /* sum w (mean reward) */
    double *level;      /* per context: slack = strength gap / b + level */
    sums *of;           /* per context */
} sample;

typedef struct interval {
    double low, high;
} interval;

typedef struct search {
    const gra_batch *batch;
    double log_beta;
    double **rise, **fall; /* per context and class: variance = rise - fall; NULL where there are no
                              variances */
    double *slack, *policy;
    interval root[GRA_MOST_DIVISORS]; /* brackets of roots, from above */
    int decided;                      /* whether the last is one root, proved */
    double nearest, least_value;      /* the y at which H came nearest to 0, and how near */
    int64_t roots;
    double *rounding; /* per context: of the bounds on its slopes */
    int proves;       /* levels have digits for such bounds */
    int undecided;
    grpoalign_status stop; /* memory is short, or the host had enough */
    int32_t samples;
} search;

static const double STRIDE = 0.7;
/* Bounds on slopes with more are not looked at. */
static const double TOO_ROUNDED = 1e-4;
/* H is flat to rounding as far as the root of that from where it touches 0. */
static const double TOUCH = 1e-6;
/* Where nothing proves more, a piece as small as this has at most one root. */
static const double NARROW = 1e-3;
/* A piece this small that no bound decides is a touching point within rounding. */
static const double FINEST = 1e-10;
/* Sums are good to this, relative to their terms: the exponential of up to 700 has 1.6e-13 of
 * rounding. */
static const double ROUNDING = 1e-12;
/* Bounds on sigma^2 whose rounding is this part of it tell nothing more, however small the piece.
 */
static const double ROUGH = 1e-3;
static const int32_t MOST_SAMPLES = 5000;
/* A sigma^2 below this counts as none, */
static const double LEAST_VARIANCE = 1e-300;
/* and so does a b below e to this. */
static const double LEAST_Y = -700.0;

static int is_flat(const gra_batch_context *x)
{
    return x->problem->structure->kind == GRA_FLAT;
}

static double gap_of(const gra_batch_context *x, int64_t c)
{
    return is_flat(x) ? 0.0 : x->problem->structure->affine.gap[c] * x->gap_unit;
}

static double variance_of(const gra_batch_context *x, int64_t c)
{
    return x->variance != NULL ? x->variance[c] : 0.0;
}

/* The two growing functions of the gap whose difference is gap^2 + variance. */
static double rising(const search *self, int64_t k, int64_t c)
{
    double gap = gap_of(&self->batch->contexts[k], c);
    return gap * gap + (self->rise[k] != NULL ? self->rise[k][c] : 0.0);
}

static double falling(const search *self, int64_t k, int64_t c)
{
    return self->fall[k] != NULL ? self->fall[k][c] : 0.0;
}

/* Splits the variances of a context, in the order of its gaps, into what they rise and what they
 * fall. */
static int split_variances(search *self, int64_t k)
{
    const gra_batch_context *x = &self->batch->contexts[k];
    int64_t n = x->problem->reference.classes, levels = 0;
    gra_arena *arena = self->batch->arena;
    self->rise[k] = self->fall[k] = NULL;
    if (x->variance == NULL) {
        return 1;
    }
    double *rise = gra_arena_doubles(arena, n), *fall = gra_arena_doubles(arena, n),
           *gap = gra_arena_doubles(arena, n);
    if (is_flat(x) && rise != NULL) { /* nothing moves: any function grows */
        memcpy(rise, x->variance, (size_t)n * sizeof *rise);
        self->rise[k] = rise;
        return 1;
    }
    int64_t *level_of = gra_arena_take(arena, n, sizeof *level_of),
            *first = gra_arena_take(arena, n, sizeof *first);
    if (rise == NULL || fall == NULL || gap == NULL || level_of == NULL || first == NULL) {
        return 0;
    }
    for (int64_t c = 0; c < n; c++) {
        gap[c] = gap_of(x, c);
    }
    if (!gra_levels_build(gap, x->variance, n, level_of, first, &levels, arena)) {
        return 0;
    }
    double risen = x->variance[first[0]], fallen = 0.0;
    for (int64_t l = 0; l < levels; l++) {
        double step = l > 0 ? x->variance[first[l]] - x->variance[first[l - 1]] : 0.0;
        risen += fmax(step, 0.0);
        fallen += fmax(-step, 0.0);
        rise[first[l]] = risen;
        fall[first[l]] = fallen;
    }
    for (int64_t c = 0; c < n; c++) {
        rise[c] = rise[first[level_of[c]]];
        fall[c] = fall[first[level_of[c]]];
    }
    self->rise[k] = rise;
    self->fall[k] = fall;
    return 1;
}

/* The slack at which the best classes would hold all is the largest that the level of the slacks
 * may have: added to a gap it leaves a slack, and the slope there, with that many roundings. */
static double rounding_of(const gra_batch_context *x)
{
    const gra_penalty *penalty = x->problem->penalty;
    const gra_class_reference *reference = &x->problem->reference;
    double most = 0.0;
    for (int64_t c = 0; c < reference->classes && !gra_penalty_has_pole(penalty); c++) {
        most = gap_of(x, c) == 0.0
                   ? fmax(most, fabs(penalty->slack(penalty, -reference->log_mass[c])))
                   : most;
    }
    return ROUNDING + 4.0 * DBL_EPSILON * most;
}

/* The policy of context k at b, in self->slack and self->policy; returns the level of the slacks.
 */
static double respond(search *self, int64_t k, double b)
{
    const gra_batch_context *x = &self->batch->contexts[k];
    const gra_class_reference *reference = &x->problem->reference;
    const gra_penalty *penalty = x->problem->penalty;
    if (is_flat(x)) {
        memcpy(self->policy, reference->mass, (size_t)reference->classes * sizeof(double));
        return 0.0;
    }
    for (int64_t c = 0; c < reference->classes; c++) {
        self->slack[c] = x->strength * gap_of(x, c) / b;
    }
    return penalty->respond(penalty, reference, self->slack, self->policy);
}

/* The variance of a context, and its mean reward as pivot and offset. */
static sums spread_of(const gra_batch_context *x, const double *policy)
{
    int64_t n = x->problem->reference.classes, heaviest = 0;
    gra_sum variance = {0.0, 0.0};
    gra_affine_centre centre = {0.0, 0.0};
    if (!is_flat(x)) {
        centre = gra_affine_find_centre(&x->problem->structure->affine, policy);
    }
    for (int64_t c = 0; c < n; c++) {
        double deviation =
            is_flat(x)
                ? 0.0
                : gra_affine_deviation(&x->problem->structure->affine, centre, c) * x->gap_unit;
        gra_sum_add(&variance, policy[c] * (deviation * deviation + variance_of(x, c)));
        heaviest = policy[c] > policy[heaviest] ? c : heaviest;
    }
    return (sums){.variance = gra_sum_value(variance),
                  .pivot = x->best - gap_of(x, heaviest),
                  .offset = centre.offset * x->gap_unit};
}

static sums sums_of(const search *self, int64_t k)
{
    const gra_batch_context *x = &self->batch->contexts[k];
    const double *policy = self->policy;
    gra_sum mean = {0.0, 0.0}, second = {0.0, 0.0}, fallen = {0.0, 0.0};
    for (int64_t c = 0; c < x->problem->reference.classes; c++) {
        gra_sum_add_product(&mean, policy[c], gap_of(x, c));
        gra_sum_add_product(&second, policy[c], rising(self, k, c));
        gra_sum_add_product(&fallen, policy[c], falling(self, k, c));
    }
    sums out = spread_of(x, policy);
    out.mean_gap = gra_sum_value(mean);
    out.second = gra_sum_value(second);
    out.fallen = gra_sum_value(fallen);
    return out;
}

/* The mean reward of a context less the pivot of the first. */
static double mean_from_first(const sums *of, int64_t k)
{
    return (of[k].pivot - of[0].pivot) - of[k].offset;
}

/* sum w s sigma_x^2. */
static double within_contexts(const gra_batch *batch, const sums *of)
{
    gra_sum within = {0.0, 0.0};
    for (int64_t k = 0; k < batch->count; k++) {
        gra_sum_add(&within, batch->contexts[k].weight * batch->contexts[k].share * of[k].variance);
    }
    return gra_sum_value(within);
}

/* sigma^2: within the contexts and between them. */
static double variance_from(const gra_batch *batch, const sums *of, double within)
{
    gra_sum mean = {0.0, 0.0}, total = {within, 0.0};
    for (int64_t k = 0; k < batch->count; k++) {
        gra_sum_add_product(&mean, batch->contexts[k].weight, mean_from_first(of, k));
    }
    for (int64_t k = 0; k < batch->count && !batch->of_advantages; k++) {
        double d = mean_from_first(of, k) - gra_sum_value(mean);
        gra_sum_add(&total, batch->contexts[k].weight * d * d);
    }
    return gra_sum_value(total);
}

static double variance_at(const gra_batch *batch, const sample *at)
{
    return variance_from(batch, at->of, at->within);
}

int gra_batch_check(const gra_batch *batch, const gra_answer *answers, gra_batch_answer *divisor)
{
    sums *of = gra_arena_take(batch->arena, batch->count, sizeof *of);
    if (of == NULL) {
        return 0;
    }
    for (int64_t k = 0; k < batch->count; k++) {
        of[k] = spread_of(&batch->contexts[k], answers[k].policy);
    }
    divisor->std = sqrt(variance_from(batch, of, within_contexts(batch, of)));
    if (divisor->motion > 0.0) {
        double drift = fabs(log((divisor->std + batch->epsilon) / divisor->divisor));
        divisor->policy_error = fmin(1.0, divisor->policy_error + divisor->motion * drift);
    }
    return 1;
}

/* Fills a sample whose arrays are there. */
static double look(search *self, double y, sample *at)
{
    const gra_batch *batch = self->batch;
    gra_sum mean = {0.0, 0.0};
    self->samples++;
    at->y = y;
    at->b = exp(y);
    for (int64_t k = 0; k < batch->count; k++) {
        const gra_batch_context *x = &batch->contexts[k];
        at->level[k] = respond(self, k, at->b);
        at->of[k] = sums_of(self, k);
        gra_sum_add(&mean, x->weight * (x->best - at->of[k].mean_gap));
    }
    at->within = within_contexts(batch, at->of);
    at->mean = gra_sum_value(mean);
    double sigma = sqrt(variance_at(batch, at));
    at->value = y - log(sigma + batch->epsilon) - self->log_beta;
    if (fabs(at->value) < self->least_value) {
        self->least_value = fabs(at->value);
        self->nearest = y;
    }
    const gra_answer state = {.method = GRPOALIGN_METHOD_SCALAR, .iterations = self->samples};
    if (self->stop == GRPOALIGN_OK) {
        self->stop = gra_report_progress(batch->contexts[0].problem, &state, at->b,
                                         fmin(1.0, fabs(at->value)));
    }
    return at->value;
}

static int take_sample(search *self, sample *at)
{
    int64_t count = self->batch->count;
    at->level = gra_arena_doubles(self->batch->arena, count);
    at->of = gra_arena_take(self->batch->arena, count, sizeof *at->of);
    if (at->level == NULL || at->of == NULL) {
        self->stop = GRPOALIGN_ERR_MEMORY;
    }
    return self->stop == GRPOALIGN_OK;
}

static interval product(interval a, interval b)
{
    double p = a.low * b.low, q = a.low * b.high, r = a.high * b.low, s = a.high * b.high;
    return (interval){fmin(fmin(p, q), fmin(r, s)), fmax(fmax(p, q), fmax(r, s))};
}

static interval sum(interval a, interval b)
{
    return (interval){a.low + b.low, a.high + b.high};
}

static interval times(double factor, interval a)
{
    return factor >= 0.0 ? (interval){factor * a.low, factor * a.high}
                         : (interval){factor * a.high, factor * a.low};
}

/* x^2 over an interval. */
static interval square(interval a)
{
    double p = a.low * a.low, q = a.high * a.high;
    return (interval){a.low <= 0.0 && a.high >= 0.0 ? 0.0 : fmin(p, q), fmax(p, q)};
}

/* Bounds on sigma between two samples, a->y < b->y. *rough tells that they are mostly rounding. */
static interval sigma_bounds(const search *self, const sample *a, const sample *b, int *rough)
{
    const gra_batch *batch = self->batch;
    double middle = 0.5 * (a->mean + b->mean), shift = 0.5 * (a->mean - b->mean), size = 0.0;
    interval total = {0.0, 0.0};
    for (int64_t k = 0; k < batch->count; k++) {
        const gra_batch_context *x = &batch->contexts[k];
        const sums *of_a = &a->of[k], *of_b = &b->of[k];
        interval gap = {of_a->mean_gap, of_b->mean_gap}, second = {of_a->second, of_b->second};
        interval fallen = {of_a->fallen, of_b->fallen};
        interval own = sum(sum(second, times(-1.0, fallen)), times(-1.0, square(gap)));
        own.low = fmax(own.low, 0.0);
        total = sum(total, times(x->weight * x->share, own));
        if (!batch->of_advantages) {
            interval mean = {x->best - gap.high - middle, x->best - gap.low - middle};
            total = sum(total, times(x->weight, square(mean)));
        }
        size += x->weight * fmax(1.0, x->share) * (second.high + fallen.high);
    }
    if (!batch->of_advantages) {
        total.low -= shift * shift;
    }
    *rough = !(ROUNDING * size <= ROUGH * total.high);
    return (interval){sqrt(fmax(0.0, total.low - ROUNDING * size)),
                      sqrt(fmax(0.0, total.high + ROUNDING * size))};
}

typedef struct covariance {
    double total; /* Q = sum q */
    double with_gap, with_second,
        with_fallen; /* Q times the covariance of the gap with itself, and what makes h and d */
    double size_gap, size_second, size_fallen; /* of the terms that they are differences of */
} covariance;

/* q over exp(unit), which keeps it from underflow. */
static covariance covariance_of(const search *self, int64_t k, double b, double level, double unit)
{
    const gra_batch_context *x = &self->batch->contexts[k];
    const gra_problem *problem = x->problem;
    gra_sum q0 = {0.0, 0.0}, q1 = {0.0, 0.0}, q2 = {0.0, 0.0};
    gra_sum f1 = {0.0, 0.0}, f2 = {0.0, 0.0}, g1 = {0.0, 0.0}, g2 = {0.0, 0.0};
    for (int64_t c = 0; c < problem->reference.classes; c++) {
        double gap = gap_of(x, c), slack = x->strength * gap / b + level, f = rising(self, k, c),
               g = falling(self, k, c);
        double q = exp(problem->reference.log_mass[c] +
                       problem->penalty->log_ratio(problem->penalty, slack) - unit);
        q = q > 0.0 ? q * problem->penalty->log_slope(problem->penalty, slack) : 0.0;
        gra_sum_add(&q0, q);
        gra_sum_add(&q1, q * gap);
        gra_sum_add(&q2, q * gap * gap);
        gra_sum_add(&f1, q * f);
        gra_sum_add(&f2, q * f * gap);
        gra_sum_add(&g1, q * g);
        gra_sum_add(&g2, q * g * gap);
    }
    double s0 = gra_sum_value(q0), s1 = gra_sum_value(q1), s2 = gra_sum_value(q2);
    double rise1 = gra_sum_value(f1), rise2 = gra_sum_value(f2), fall1 = gra_sum_value(g1),
           fall2 = gra_sum_value(g2);
    return (covariance){.total = s0,
                        .with_gap = s0 * s2 - s1 * s1,
                        .with_second = s0 * rise2 - s1 * rise1,
                        .with_fallen = s0 * fall2 - s1 * fall1,
                        .size_gap = s0 * s2,
                        .size_second = s0 * rise2,
                        .size_fallen = s0 * fall2};
}

/* Bounds on a quotient of positive numbers, whose numerators carry rounding. */
static interval quotient(double low, double high, double size_low, double size_high,
                         double total_low, double total_high, double rounding)
{
    interval bounds = {fmax(0.0, low - rounding * size_low) / (total_high * (1.0 + rounding)),
                       (high + rounding * size_high) / (total_low * (1.0 - rounding))};
    return (interval){isfinite(bounds.low) ? bounds.low : 0.0,
                      isfinite(bounds.high) ? bounds.high : INFINITY};
}

/* Bounds on dH/dy between two samples, sigma being in the given bounds. */
static interval slope_bounds(const search *self, const sample *a, const sample *b, interval sigma)
{
    const gra_batch *batch = self->batch;
    interval total = {0.0, 0.0}; /* d sigma^2 / dy */
    for (int64_t k = 0; k < batch->count; k++) {
        const gra_batch_context *x = &batch->contexts[k];
        if (is_flat(x)) {
            continue;
        }
        /* The level grows with y: every slack lies between these, and q falls with the slack. */
        covariance low = covariance_of(self, k, a->b, b->level[k], b->y);
        covariance high = covariance_of(self, k, b->b, a->level[k], b->y);
        interval rate = {x->strength, x->strength * (b->b / a->b)};
        interval gap = {a->of[k].mean_gap, b->of[k].mean_gap};
        double rounding = self->rounding[k];
        interval gap_slope =
            product(rate, quotient(low.with_gap, high.with_gap, low.size_gap, high.size_gap,
                                   low.total, high.total, rounding));
        interval second_slope =
            product(rate, quotient(low.with_second, high.with_second, low.size_second,
                                   high.size_second, low.total, high.total, rounding));
        interval fallen_slope =
            product(rate, quotient(low.with_fallen, high.with_fallen, low.size_fallen,
                                   high.size_fallen, low.total, high.total, rounding));
        interval own = sum(second_slope, times(-1.0, fallen_slope));
        own = sum(own, times(-2.0, product(gap, gap_slope)));
        total = sum(total, times(x->weight * x->share, own));
        if (!batch->of_advantages) {
            interval mean = {x->best - gap.high - a->mean, x->best - gap.low - b->mean};
            total = sum(total, times(-2.0 * x->weight, product(mean, gap_slope)));
        }
    }
    interval divisor = product(times(2.0, sigma),
                               (interval){sigma.low + batch->epsilon, sigma.high + batch->epsilon});
    interval inverse = {1.0 / divisor.high, 1.0 / divisor.low}, part = product(total, inverse);
    interval slope = {1.0 - part.high, 1.0 - part.low};
    return isnan(slope.low) || isnan(slope.high) ? (interval){-INFINITY, INFINITY} : slope;
}

/* Where H touches 0 its rounding crosses it many times: what is as near as that, undecided, is one
 * root. */
static void note(search *self, interval bracket, int decided)
{
    interval *last =
        self->roots > 0 && self->roots <= GRA_MOST_DIVISORS ? &self->root[self->roots - 1] : NULL;
    if (last != NULL && !decided && !self->decided && last->low - bracket.high < TOUCH) {
        last->low = bracket.low;
        return;
    }
    self->decided = decided;
    if (self->roots++ < GRA_MOST_DIVISORS) {
        self->root[self->roots - 1] = bracket;
    }
}

/* Notes the roots between two samples, a->y < b->y, from above. */
static void divide(search *self, const sample *a, const sample *b)
{
    const gra_batch *batch = self->batch;
    int rough;
    interval sigma = sigma_bounds(self, a, b, &rough);
    double noise = DBL_EPSILON * (8.0 + fabs(a->y));
    double least = a->y - log(sigma.high + batch->epsilon) - self->log_beta - noise;
    double most = b->y - log(sigma.low + batch->epsilon) - self->log_beta + noise;
    int crosses = (a->value > 0.0) != (b->value > 0.0);
    if (!crosses && (least > 0.0 || most < 0.0)) {
        return;
    }
    int small = b->y - a->y <= FINEST, spent = self->samples >= MOST_SAMPLES, monotone = 0;
    if (self->proves) {
        interval slope = slope_bounds(self, a, b, sigma);
        monotone = slope.low > 0.0 || slope.high < 0.0;
    }
    /* Without a proof a sign that changes is still one root, or some odd number. */
    int narrow = !self->proves && b->y - a->y < NARROW;
    if (monotone || small || spent || rough || narrow) {
        int decided =
            monotone && fmin(fabs(a->value), fabs(b->value)) > noise; /* signs are no rounding */
        self->undecided = self->undecided || !decided;
        if (crosses) {
            note(self, (interval){a->y, b->y}, decided);
        }
        return;
    }
    gra_arena_mark_t mark = gra_arena_mark(batch->arena);
    sample middle;
    if (take_sample(self, &middle)) {
        (void)look(self, 0.5 * (a->y + b->y), &middle);
        divide(self, &middle, b);
        divide(self, a, &middle);
    }
    gra_arena_rewind(batch->arena, mark);
}

/* The largest square of a context's mean reward about the mean of the best ones, for all b at and
 * below the sample's: mean rewards lie between what they are and the best. And the smallest. */
static interval distance_of(const gra_batch_context *x, const sums *of, double best)
{
    return square((interval){x->best - of->mean_gap - best, x->best - best});
}

static double mean_of_best(const gra_batch *batch)
{
    double best = 0.0;
    for (int64_t k = 0; k < batch->count; k++) {
        best += batch->contexts[k].weight * batch->contexts[k].best;
    }
    return best;
}

/* The least variance within the outcomes of a context for all b at and below the sample's: what
 * rises is least where the best classes alone are left, in the proportions of the reference. */
static double least_within(const search *self, int64_t k, const sums *of)
{
    const gra_batch_context *x = &self->batch->contexts[k];
    const gra_class_reference *reference = &x->problem->reference;
    double least = INFINITY, top = -INFINITY, mass = 0.0, risen = 0.0;
    for (int64_t c = 0; c < reference->classes; c++) {
        least = fmin(least, variance_of(x, c));
        top = gap_of(x, c) == 0.0 ? fmax(top, reference->log_mass[c]) : top;
    }
    for (int64_t c = 0; c < reference->classes && self->rise[k] != NULL; c++) {
        double weight = gap_of(x, c) == 0.0 ? exp(reference->log_mass[c] - top) : 0.0;
        mass += weight;
        risen += weight * self->rise[k][c];
    }
    return fmax(least, mass > 0.0 ? risen / mass - of->fallen : 0.0);
}

/* A lower bound on sigma for all b at and below the sample's. */
static double floor_of(const search *self, const sample *at)
{
    const gra_batch *batch = self->batch;
    double best = mean_of_best(batch), shift = 0.0, total = 0.0;
    for (int64_t k = 0; k < batch->count; k++) {
        const gra_batch_context *x = &batch->contexts[k];
        total += x->weight * x->share * least_within(self, k, &at->of[k]);
        if (!batch->of_advantages) {
            total += x->weight * distance_of(x, &at->of[k], best).low;
            shift += x->weight * at->of[k].mean_gap;
        }
    }
    return sqrt(fmax(0.0, total * (1.0 - ROUNDING) - shift * shift));
}

/* An upper bound on sigma^2 for all b at and below the sample's: moments about the best rewards
 * fall with b. */
static double ceiling_of(const search *self, const sample *at)
{
    const gra_batch *batch = self->batch;
    double best = mean_of_best(batch), total = 0.0;
    for (int64_t k = 0; k < batch->count; k++) {
        const gra_batch_context *x = &batch->contexts[k];
        total += x->weight * x->share * at->of[k].second;
        total += batch->of_advantages ? 0.0 : x->weight * distance_of(x, &at->of[k], best).high;
    }
    return total;
}

/* Whether no root lies below a sample with H <= 0. Under reverse KL sigma_x / b falls with b in
 * every context, as in the limit of large groups, and so does the root of their mean square. */
static int is_done(const search *self, const sample *at)
{
    const gra_batch *batch = self->batch;
    double beta = exp(self->log_beta);
    if (at->b * (1.0 + ROUNDING) < beta * (floor_of(self, at) + batch->epsilon)) {
        return 1;
    }
    return batch->contexts[0].problem->penalty->std_ratio_falls &&
           at->b * (1.0 + ROUNDING) < beta * sqrt(at->within);
}

static double look_at(void *context, double y)
{
    search *self = context;
    gra_arena_mark_t mark = gra_arena_mark(self->batch->arena);
    sample at;
    double value = take_sample(self, &at) ? look(self, y, &at) : NAN;
    gra_arena_rewind(self->batch->arena, mark);
    return value;
}

/* No std can be larger. */
static double largest_sigma(const gra_batch *batch)
{
    double low = INFINITY, high = -INFINITY, variance = 0.0, share = 1.0;
    for (int64_t k = 0; k < batch->count; k++) {
        const gra_batch_context *x = &batch->contexts[k];
        high = fmax(high, x->best);
        share = fmax(share, x->share);
        for (int64_t c = 0; c < x->problem->reference.classes; c++) {
            low = fmin(low, x->best - gap_of(x, c));
            variance = fmax(variance, variance_of(x, c));
        }
    }
    return sqrt(share * (0.25 * (high - low) * (high - low) + variance)) * (1.0 + 1e-9);
}

static void swap_samples(sample *a, sample *b)
{
    sample kept = *a;
    *a = *b;
    *b = kept;
}

/* How a search ends: nothing is left below; H stays positive as b goes to 0, so that training which
 * gets so far collapses; or numbers or patience ran out. */
enum { FOUND_ALL, COLLAPSES, GAVE_UP };

/* All roots from above. */
static int find_divisors(search *self)
{
    const gra_batch *batch = self->batch;
    double floor =
        batch->epsilon > 0.0 ? fmax(LEAST_Y, self->log_beta + log(batch->epsilon) - 1e-9) : LEAST_Y;
    int outlasts = batch->contexts[0].problem->penalty->outlasts_std;
    sample above, below;
    if (!take_sample(self, &above) || !take_sample(self, &below)) {
        return GAVE_UP;
    }
    (void)look(self, self->log_beta + log(largest_sigma(batch) + batch->epsilon) + 1e-9, &above);
    while (above.y > floor && self->stop == GRPOALIGN_OK) {
        if (above.value <= 0.0 && is_done(self, &above)) {
            return FOUND_ALL;
        }
        if (batch->epsilon == 0.0 && ceiling_of(self, &above) <= LEAST_VARIANCE) {
            /* No spread is left that a double could hold, nor will there be. */
            return above.value > 0.0 && !outlasts ? COLLAPSES : GAVE_UP;
        }
        (void)look(self, fmax(above.y - STRIDE, floor), &below);
        if (self->samples >= MOST_SAMPLES || isnan(above.value) || isnan(below.value)) {
            return GAVE_UP;
        }
        divide(self, &below, &above);
        swap_samples(&above, &below);
    }
    if (batch->epsilon > 0.0) {
        return above.value <= 0.0 ? FOUND_ALL : GAVE_UP;
    }
    return above.value > 0.0 && !outlasts ? COLLAPSES : GAVE_UP;
}

/* ---- at the root
 * ------------------------------------------------------------------------------------------------
 */

/* How the policies and sigma move with y. */
typedef struct motion {
    double policy; /* the largest |d pi / dy| */
    double slope;  /* dH/dy */
    double bound;  /* of the coupling: below 1 it cannot repel */
} motion;

/*
 * The linear training flow near the root is -P (H + s g^T): P > 0 and H = beta / q > 0 are what the
 * contexts would have alone, s = u / (sigma + epsilon)^2 and g = d sigma / d pi couple them. With a
 * number z, Re z >= 0, in the place of an eigenvalue |g^T (H + P^-1 z)^-1 s| <= sqrt(g^T H^-1 g s^T
 * H^-1 s), context by context: where the sum of these is below 1 no such eigenvalue exists.
 */
static motion motion_at(search *self, const sample *at, double sigma)
{
    const gra_batch *batch = self->batch;
    motion out = {0.0, 1.0, 0.0};
    if (!(sigma > 0.0)) {
        return out;
    }
    for (int64_t k = 0; k < batch->count; k++) {
        const gra_batch_context *x = &batch->contexts[k];
        const gra_penalty *penalty = x->problem->penalty;
        int64_t n = x->problem->reference.classes;
        if (is_flat(x)) {
            continue;
        }
        (void)respond(self, k, at->b);
        double total = 0.0, gap_mean = 0.0, g_mean = 0.0, gap_gap = 0.0, gap_g = 0.0, g_g = 0.0;
        /* g is measured from the mean of the context or, for the rewards of the batch, of all. */
        double centre = batch->of_advantages ? at->of[k].mean_gap : x->best - at->mean;
        for (int64_t c = 0; c < n; c++) {
            /* q over b, in place of the slack: q alone may underflow. */
            double p = self->policy[c],
                   q = p > 0.0 ? p / at->b * penalty->log_slope(penalty, self->slack[c]) : 0.0;
            double d = gap_of(x, c) - centre;
            self->slack[c] = q;
            total += q;
            gap_mean += q * gap_of(x, c);
            g_mean += q * x->share * (d * d + variance_of(x, c));
        }
        for (int64_t c = 0; c < n && total > 0.0; c++) {
            double q = self->slack[c], d = gap_of(x, c) - centre;
            double gap = gap_of(x, c) - gap_mean / total;
            double g = x->share * (d * d + variance_of(x, c)) - g_mean / total;
            gap_gap += q * gap * gap;
            gap_g += q * gap * g;
            g_g += q * g * g;
            out.policy = fmax(out.policy, q * x->strength * fabs(gap));
        }
        /* beta (sigma + epsilon) = b, and s falls as the gap grows */
        double factor = x->weight * x->strength / (2.0 * sigma * (sigma + batch->epsilon));
        out.slope -= factor * gap_g;
        out.bound += factor * sqrt(gap_gap * g_g);
    }
    return out;
}

static grpoalign_status stopped(const search *self)
{
    return self->stop == GRPOALIGN_ERR_MEMORY ? gra_fail_memory(self->batch->error) : self->stop;
}

static grpoalign_status start_search(search *self, const gra_batch *batch)
{
    *self = (search){.batch = batch, .log_beta = log(batch->beta), .least_value = INFINITY};
    int64_t most = 0;
    self->proves = 1;
    self->rounding = gra_arena_doubles(batch->arena, batch->count);
    for (int64_t k = 0; k < batch->count; k++) {
        int64_t n = batch->contexts[k].problem->reference.classes;
        most = n > most ? n : most;
    }
    self->slack = gra_arena_doubles(batch->arena, most);
    self->policy = gra_arena_doubles(batch->arena, most);
    self->rise = gra_arena_take(batch->arena, batch->count, sizeof *self->rise);
    self->fall = gra_arena_take(batch->arena, batch->count, sizeof *self->fall);
    if (self->slack == NULL || self->policy == NULL || self->rise == NULL || self->fall == NULL ||
        self->rounding == NULL) {
        return gra_fail_memory(batch->error);
    }
    for (int64_t k = 0; k < batch->count; k++) {
        self->rounding[k] = rounding_of(&batch->contexts[k]);
        self->proves = self->proves && self->rounding[k] < TOO_ROUNDED;
        if (!split_variances(self, k)) {
            return gra_fail_memory(batch->error);
        }
    }
    return GRPOALIGN_OK;
}

/* The divisor in a bracket. */
static grpoalign_status settle_divisor(search *self, interval bracket, gra_batch_answer *out)
{
    const gra_batch *batch = self->batch;
    gra_arena_mark_t mark = gra_arena_mark(batch->arena);
    sample at;
    double low = bracket.low, high = bracket.high, at_low = look_at(self, low),
           at_high = look_at(self, high);
    double y = (at_low > 0.0) == (at_high > 0.0)
                   ? (fabs(at_low) < fabs(at_high) ? low : high)
                   : gra_root(look_at, self, low, at_low, high, at_high);
    if (!take_sample(self, &at)) {
        return stopped(self);
    }
    (void)look(self, y, &at);
    if (self->stop < 0) {
        return stopped(self);
    }
    motion near = motion_at(self, &at, sqrt(variance_at(batch, &at)));
    out->divisor = at.b / batch->beta;
    out->motion = near.policy / fabs(near.slope);
    out->policy_error = fmin(1.0, out->motion * DBL_EPSILON * (8.0 + fabs(y)));
    out->stable = near.bound < 1.0 ? 1 : -1;
    out->moves = 1;
    gra_arena_rewind(batch->arena, mark);
    return GRPOALIGN_OK;
}

/* Nothing moves. */
static grpoalign_status settle_flat(search *self, gra_batch_answer *out)
{
    sample at;
    if (!take_sample(self, &at)) {
        return stopped(self);
    }
    (void)look(self, 0.0, &at);
    out->divisor = sqrt(variance_at(self->batch, &at)) + self->batch->epsilon;
    out->stable = 1;
    return GRPOALIGN_OK;
}

grpoalign_status gra_find_divisors(const gra_batch *batch, gra_batch_answers *out)
{
    search self;
    int flat = 1;
    *out = (gra_batch_answers){.count = 1, .complete = 1};
    GRA_TRY(start_search(&self, batch));
    for (int64_t k = 0; k < batch->count; k++) {
        flat = flat && is_flat(&batch->contexts[k]);
    }
    if (flat) {
        return settle_flat(&self, &out->items[0]);
    }
    int end = find_divisors(&self);
    if (self.stop < 0) {
        return stopped(&self);
    }
    out->iterations = self.samples;
    out->collapses = end == COLLAPSES;
    out->complete = !self.undecided && end != GAVE_UP && self.roots <= GRA_MOST_DIVISORS;
    out->count = self.roots < GRA_MOST_DIVISORS ? self.roots : GRA_MOST_DIVISORS;
    for (int64_t k = 0; k < out->count; k++) {
        GRA_TRY(settle_divisor(&self, self.root[k], &out->items[k]));
    }
    if (self.roots == 0 && end != COLLAPSES) {
        out->nearest = exp(self.nearest) / batch->beta;
    }
    return GRPOALIGN_OK;
}

/* A search for the least beta, which is over when no spread is left below the last y. */
typedef struct descent {
    search search;
    int is_over;
} descent;

static double descend(void *context, double y)
{
    descent *self = context;
    search *inner = &self->search;
    gra_arena_mark_t mark = gra_arena_mark(inner->batch->arena);
    sample at;
    double value = NAN;
    if (take_sample(inner, &at)) {
        value = look(inner, y, &at);
        self->is_over = inner->stop < 0 || !(ceiling_of(inner, &at) > LEAST_VARIANCE);
    }
    gra_arena_rewind(inner->batch->arena, mark);
    return value;
}

static int is_over(void *context)
{
    const descent *self = context;
    return self->is_over;
}

grpoalign_status gra_least_beta(const gra_batch *batch, double *log_beta)
{
    descent self = {.is_over = 0};
    gra_batch unit = *batch;
    unit.beta = 1.0; /* H is then the logarithm of the beta of b */
    GRA_TRY(start_search(&self.search, &unit));
    /* Beyond this b policies are pi_ref to the last bit. */
    double top = log(largest_sigma(&unit)) - log(DBL_EPSILON);
    *log_beta = gra_least(descend, is_over, &self, top, LEAST_Y, 0.5 * STRIDE);
    return self.search.stop < 0 ? stopped(&self.search) : GRPOALIGN_OK;
}

double gra_batch_rounding(const gra_batch *batch)
{
    double rounding = 0.0;
    for (int64_t k = 0; k < batch->count; k++) {
        rounding = fmax(rounding, rounding_of(&batch->contexts[k]));
    }
    return rounding;
}

int32_t gra_batch_unique(const gra_batch_answers *all)
{
    return all->count > 1 || all->collapses ? 0 : all->complete ? 1 : -1;
}

grpoalign_status gra_solve_batch(const gra_batch *batch, gra_batch_answer *out)
{
    gra_batch_answers all;
    GRA_TRY(gra_find_divisors(batch, &all));
    *out = all.items[0];
    out->iterations = all.iterations;
    if (all.count == 0 && all.collapses) {
        *out = (gra_batch_answer){.status = GRPOALIGN_COLLAPSED, .unique = -1, .stable = 1};
    } else if (all.count == 0) {
        *out = (gra_batch_answer){.status = GRPOALIGN_NOT_CONVERGED,
                                  .divisor = all.nearest,
                                  .unique = -1,
                                  .stable = -1,
                                  .moves = 1,
                                  .policy_error = 1.0};
    } else {
        out->unique = gra_batch_unique(&all);
        out->status = out->unique == 0 ? GRPOALIGN_NOT_UNIQUE : GRPOALIGN_OK;
    }
    return GRPOALIGN_OK;
}
