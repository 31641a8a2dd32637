/*
 * Affine structures: u_c = strength(pi) (m - gap_c). Every stationary policy lies on the penalty's
 * path pi(theta) with slacks theta gap + constant, and each policy of the path is stationary at
 * exactly one beta:
 *
 *     log beta(theta) = log strength(pi(theta)) - log theta,
 *
 * which falls from infinity at pi_ref. So the stationary policies at a beta are the level set of
 * one function, they appear and vanish where it turns, and below its least value there are none
 * where it rises for ever at the end of the path: training collapses there.
 *
 * Where that function is known to fall all the way (reverse KL, large groups and others) its root
 * is bracketed and refined. Elsewhere the path is divided until bounds on the slope
 * (model/affine.h) tell which way beta goes in every piece, or that the piece holds nothing wanted;
 * what is then found is all there is. Where no such bounds are known the path is looked at in
 * strides, which proves nothing. The first stationary policy on the path is where training
 * that started at pi_ref ends, and what pi_ref continues to as beta falls from infinity.
 */
#include "solver/solver.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

typedef struct interval {
    double low, high;
} interval;

/* Pieces of the path that hold something; the arena keeps them. */
typedef struct intervals {
    interval *items;
    int64_t count, capacity;
} intervals;

typedef struct line {
    const gra_problem *problem;
    const gra_affine *affine;
    double *slack, *policy; /* of the point of the path looked at last */
    double *scratch;
    double log_low, log_high; /* what is wanted: log beta in between */
    double finest;            /* relative width of the smallest pieces */
    intervals crossings;      /* of log beta = log_low where that is all that is wanted, each once,
                                 ascending */
    intervals
        turns; /* pieces too small to divide that may hold a turn with a beta that is wanted */
    int32_t calls;
    int exhausted; /* pieces were left undecided for want of calls */
    int short_memory;
} line;

static int start_line(line *self, const gra_problem *problem)
{
    int64_t n = problem->reference.classes;
    memset(self, 0, sizeof *self);
    self->problem = problem;
    self->affine = &problem->structure->affine;
    self->slack = gra_arena_doubles(problem->arena, n);
    self->policy = gra_arena_doubles(problem->arena, n);
    self->scratch = gra_arena_doubles(problem->arena, n);
    return self->slack != NULL && self->policy != NULL && self->scratch != NULL;
}

/* log beta(theta) at x, the path's parameter. */
static double log_beta_at(void *context, double x)
{
    line *self = context;
    const gra_problem *problem = self->problem;
    self->calls++;
    double theta = problem->penalty->path(problem->penalty, &problem->reference, self->affine->gap,
                                          x, self->slack, self->policy);
    double log_strength = log(self->affine->strength(self->affine, self->policy));
    if (!isfinite(log_strength) && self->affine->log_strength != NULL) {
        for (int64_t c = 0; c < problem->reference.classes; c++) {
            self->scratch[c] = problem->reference.log_mass[c] +
                               problem->penalty->log_ratio(problem->penalty, self->slack[c]);
        }
        log_strength = self->affine->log_strength(self->affine, self->scratch);
    }
    return log_strength - log(theta);
}

static double equation(void *context, double x)
{
    line *self = context;
    return log_beta_at(self, x) - log(self->problem->beta);
}

/* Weights exp(-theta gap) carry the rounding of their exponent, at most about 700. */
static double noise_at(double x)
{
    return DBL_EPSILON * (8.0 + fabs(x));
}

/* Fills an answer with the point at x, taken to be stationary at `beta`. */
static grpoalign_status settle(line *self, gra_answer *answer, double x, double beta)
{
    const gra_problem *problem = self->problem;
    int64_t n = problem->reference.classes;
    size_t bytes = (size_t)n * sizeof(double);
    /* How much the policy moves when log beta is off by the rounding of its terms. */
    double step = 1e-5, change = 0.0, weights = 0.0;
    double beyond = log_beta_at(self, x + step);
    memcpy(answer->policy, self->policy, bytes);
    double slope = (beyond - log_beta_at(self, x)) / step;
    for (int64_t c = 0; c < n; c++) {
        change = fmax(change, fabs(self->policy[c] - answer->policy[c]) / step);
        weights = fmax(weights, self->policy[c] * fabs(self->slack[c]));
    }
    double amplified = fabs(slope) > 0.0 ? change * noise_at(x) / fabs(slope) : 1.0;
    memcpy(answer->slack, self->slack, bytes);
    memcpy(answer->policy, self->policy, bytes);
    answer->beta = beta;
    answer->policy_error = fmin(1.0, amplified + DBL_EPSILON * (4.0 + weights));
    answer->method = GRPOALIGN_METHOD_SCALAR;
    answer->iterations = self->calls;
    return GRPOALIGN_OK;
}

/* ---- one root
 * -----------------------------------------------------------------------------------------------
 */

/* Whether there is one root, by theory. */
static int is_single(const gra_problem *problem)
{
    const gra_affine *affine = &problem->structure->affine;
    return affine->falling || (problem->penalty->std_ratio_falls && affine->reverse_unique);
}

static double single_root(line *self)
{
    const gra_problem *problem = self->problem;
    const gra_affine *affine = self->affine;
    double low, high;
    problem->penalty->path_bracket(problem->penalty, &problem->reference, affine->gap,
                                   affine->low / problem->beta, affine->high / problem->beta, &low,
                                   &high, self->policy);
    double f_low = equation(self, low), f_high = NAN;
    /* The bracket is exact but for rounding: let its lower end breathe, and come to the upper one
     * from below, because far beyond the root probabilities may be too small for a double. */
    for (int i = 0; i < 60 && f_low < 0.0; i++) {
        low -= ldexp(1e-9, i);
        f_low = equation(self, low);
    }
    double bottom = low, end = fmin(high + 1e-3, 708.0);
    for (int i = 0; f_low > 0.0; i++) {
        high = fmin(end, bottom + ldexp(0.25, i));
        f_high = equation(self, high);
        if (f_high <= 0.0 || high >= end) {
            break;
        }
        low = high;
        f_low = f_high;
    }
    if (f_low <= 0.0) {
        return low;
    }
    if (f_high >= 0.0) {
        return high;
    }
    return gra_root(equation, self, low, f_low, high, f_high);
}

/* ---- dividing the path
 * ------------------------------------------------------------------------------------------ */

/*
 * -d mean gap / d theta where the slacks are theta gap + level: the weighted variance of the gaps
 * with weights q = -d pi / d slack. As the minimum over m of sum q (gap - m)^2 it grows with every
 * q.
 */
static double spread_of(line *self, double theta, double level)
{
    const gra_problem *problem = self->problem;
    int64_t n = problem->reference.classes;
    double *q = self->scratch;
    gra_sum total = {0.0, 0.0}, first = {0.0, 0.0}, second = {0.0, 0.0};
    for (int64_t c = 0; c < n; c++) {
        double slack = theta * self->affine->gap[c] + level;
        q[c] = exp(problem->reference.log_mass[c] +
                   problem->penalty->log_ratio(problem->penalty, slack)) *
               problem->penalty->log_slope(problem->penalty, slack);
        gra_sum_add(&total, q[c]);
        gra_sum_add(&first, q[c] * self->affine->gap[c]);
    }
    double mean = gra_sum_value(first) / gra_sum_value(total);
    for (int64_t c = 0; c < n; c++) {
        double d = self->affine->gap[c] - mean;
        gra_sum_add(&second, q[c] * d * d);
    }
    return gra_sum_value(second);
}

static gra_affine_sample sample_at(line *self, double x)
{
    const gra_problem *problem = self->problem;
    gra_affine_sample sample;
    memset(&sample, 0, sizeof sample);
    self->calls++;
    sample.x = x;
    sample.theta = problem->penalty->path(problem->penalty, &problem->reference, self->affine->gap,
                                          x, self->slack, self->policy);
    /* slack = theta gap + level, and some gap is 0. */
    sample.level = gra_min(self->slack, problem->reference.classes);
    if (self->affine->any_path) {
        sample.spread = spread_of(self, sample.theta, sample.level);
    }
    self->affine->sample(self->affine, self->policy, &sample);
    return sample;
}

static gra_affine_sample sample_between(line *self, const gra_affine_sample *a,
                                        const gra_affine_sample *b)
{
    return sample_at(self, 0.5 * (a->x + b->x));
}

static double log_beta_of(const gra_affine_sample *sample)
{
    return sample->log_strength - log(sample->theta);
}

/* The sums that the bounds come from are good to this, relative to their terms. */
static const double ROUNDING = 1e-13;

/* Bounds on d log beta / d theta over a piece. */
static interval slope_bounds(line *self, const gra_affine_sample *a, const gra_affine_sample *b)
{
    interval slope;
    gra_affine_piece piece = {.a = a, .b = b};
    if (self->affine->any_path) {
        /* The level falls as theta grows, so every slack in the piece lies between these, and q
         * falls with the slack. */
        piece.least_spread = spread_of(self, b->theta, a->level);
        piece.most_spread = spread_of(self, a->theta, b->level);
    }
    self->affine->slope_bounds(self->affine, &piece, &slope.low, &slope.high);
    slope.low -= 1.0 / a->theta + ROUNDING * (fabs(slope.low) + 1.0 / a->theta);
    slope.high -= 1.0 / b->theta - ROUNDING * (fabs(slope.high) + 1.0 / b->theta);
    return slope;
}

/* Bounds on log beta over a piece: it stays inside the lines of extreme slope through the ends. */
static interval value_bounds(const gra_affine_sample *a, const gra_affine_sample *b, interval slope)
{
    double at_a = log_beta_of(a), at_b = log_beta_of(b), width = b->theta - a->theta;
    interval value = {-INFINITY, INFINITY};
    if (slope.low >= 0.0 || slope.high <= 0.0) {
        value = (interval){fmin(at_a, at_b), fmax(at_a, at_b)};
    } else if (isfinite(slope.low) && isfinite(slope.high)) {
        double opening = slope.high - slope.low;
        value.low = at_a + slope.low * ((slope.high * width + at_a - at_b) / opening);
        value.high = at_a + slope.high * ((at_b - at_a - slope.low * width) / opening);
    }
    value.low -= noise_at(at_a);
    value.high += noise_at(at_a);
    return value;
}

/* Adds a piece; joined to the last one when they touch and `join` is set. */
static void note(line *self, intervals *list, double low, double high, int join)
{
    if (join && list->count > 0 && list->items[list->count - 1].high >= low) {
        list->items[list->count - 1].high = high;
        return;
    }
    interval *items = gra_arena_grow(self->problem->arena, list->items, list->count,
                                     &list->capacity, sizeof *items);
    if (items == NULL) {
        self->short_memory = 1;
        return;
    }
    items[list->count++] = (interval){low, high};
    list->items = items;
}

static const int32_t MOST_CALLS = 200000;

static void divide(line *self, const gra_affine_sample *a, const gra_affine_sample *b)
{
    interval slope = slope_bounds(self, a, b), value = value_bounds(a, b, slope);
    if (value.high < self->log_low || value.low > self->log_high) {
        return;
    }
    int monotone = slope.low > 0.0 || slope.high < 0.0;
    int small = b->theta - a->theta <= self->finest * b->theta;
    if (!monotone && !small && self->calls < MOST_CALLS) {
        gra_affine_sample middle = sample_between(self, a, b);
        divide(self, a, &middle);
        divide(self, &middle, b);
        return;
    }
    self->exhausted = self->exhausted || (!monotone && !small);
    if (!monotone) {
        note(self, &self->turns, a->x, b->x, 1);
    }
    if (self->log_low == self->log_high &&
        (log_beta_of(a) > self->log_low) != (log_beta_of(b) > self->log_low)) {
        note(self, &self->crossings, a->x, b->x, 0);
    }
}

/* Steps of the parameter x of the path, which grows like log theta; exp(LARGEST_X) is still a
 * double. */
static const double STRIDE = 0.7, LARGEST_X = 700.0;

/*
 * Divides the whole path, as far as betas in [low, high] are met (0 and infinity: all). Returns 1
 * when beta rises for ever at the end: training that gets so far collapses onto the best outcomes.
 */
static int divide_path(line *self, double low, double high, double finest)
{
    const gra_affine *affine = self->affine;
    self->log_low = log(low);
    self->log_high = log(high);
    self->finest = finest;
    /* Below this beta exceeds `high`, because the strength is at least affine->low. */
    double start = fmax(affine->low / high * (1.0 - 1e-12), 1e-300), x, unused;
    self->problem->penalty->path_bracket(self->problem->penalty, &self->problem->reference,
                                         affine->gap, start, start, &x, &unused, self->policy);
    gra_affine_sample a = sample_at(self, x - STRIDE);
    while (self->calls < MOST_CALLS && !self->short_memory) {
        double ceiling = affine->ceiling(affine, &a, self->policy);
        double end = ceiling / low * (1.0 + 1e-12);
        if (end <= a.theta) {
            return 0; /* beta stays below `low` from here on */
        }
        int done = self->log_low < self->log_high || log_beta_of(&a) > self->log_high;
        if (isinf(ceiling) && done && affine->tail_slope(affine, &a) - 1.0 / a.theta >= 0.0) {
            return 1; /* rising for ever, with no turn nor crossing left */
        }
        if (isinf(a.log_strength)) {
            return 1; /* no spread left that a double could hold */
        }
        gra_affine_sample b = sample_at(self, a.x + STRIDE);
        divide(self, &a, &b);
        if (b.theta >= end || b.x > LARGEST_X) {
            return 0;
        }
        a = sample_at(self, b.x); /* leaves its policy behind, for `ceiling` */
    }
    self->exhausted = 1;
    return 0;
}

/* Whether dividing proves anything: bounds on the slope are known. */
static int is_divisible(const gra_problem *problem)
{
    const gra_affine *affine = &problem->structure->affine;
    return affine->slope_bounds != NULL &&
           (problem->penalty->exponential || (affine->any_path && problem->penalty->convex));
}

/* Relative width of pieces: a piece this small that no bound decides is a touching point within
 * rounding; the beta of a turn is good to the square of its width. */
static const double FINEST = 1e-12, FINEST_TURN = 1e-9;

/*
 * Where no bounds are known: the crossings of the problem's beta met in strides along the path, the
 * first alone or all. Proves nothing. Returns 1 when beta is still above at the end of what doubles
 * can hold.
 */
static int stride_path(line *self, int first_alone)
{
    const gra_problem *problem = self->problem;
    const gra_affine *affine = self->affine;
    const double stride = 0.5 * STRIDE;
    double x, end, high = affine->high / problem->beta;
    problem->penalty->path_bracket(problem->penalty, &problem->reference, affine->gap,
                                   affine->low / problem->beta, high, &x, &end, self->policy);
    double before = equation(self, x);
    while (x < LARGEST_X && !(first_alone && self->crossings.count > 0) && !self->short_memory) {
        double next = fmin(x + stride, LARGEST_X), here = equation(self, next);
        if (isnan(here)) {
            break;
        }
        if ((here > 0.0) != (before > 0.0)) {
            note(self, &self->crossings, x, next, 0);
        }
        if (here < 0.0 && next > end) {
            return 0;
        }
        x = next;
        before = here;
    }
    return before > 0.0;
}

/* The root in a bracket. */
static double refine(line *self, interval bracket)
{
    double f_low = equation(self, bracket.low), f_high = equation(self, bracket.high);
    /* Rounding may tell another story here than it did there. */
    return (f_low > 0.0) == (f_high > 0.0)
               ? (fabs(f_low) < fabs(f_high) ? bracket.low : bracket.high)
               : gra_root(equation, self, bracket.low, f_low, bracket.high, f_high);
}

/* ---- answers
 * ------------------------------------------------------------------------------------------------
 */

void gra_collapse_affine(const gra_problem *problem, gra_answer *answer)
{
    const gra_class_reference *reference = &problem->reference;
    const double *gap = problem->structure->affine.gap;
    double top = -INFINITY, sum = 0.0;
    for (int64_t c = 0; c < reference->classes; c++) {
        top = gap[c] == 0.0 ? fmax(top, reference->log_mass[c]) : top;
    }
    for (int64_t c = 0; c < reference->classes; c++) {
        answer->policy[c] = gap[c] == 0.0 ? exp(reference->log_mass[c] - top) : 0.0;
        sum += answer->policy[c];
    }
    for (int64_t c = 0; c < reference->classes; c++) {
        answer->policy[c] /= sum;
        answer->slack[c] =
            gap[c] == 0.0 ? problem->penalty->slack(problem->penalty, -(top + log(sum))) : INFINITY;
    }
    answer->method = GRPOALIGN_METHOD_SCALAR;
    answer->status = GRPOALIGN_COLLAPSED;
    answer->unique = -1; /* no stationary policy: uniqueness has no meaning */
    answer->stable = 1;  /* where training ends */
    answer->policy_error = DBL_EPSILON;
    answer->beta = problem->beta;
}

/*
 * Where slacks end (chi-squared and others) the path comes to the best classes at a finite theta,
 * and beyond it only slacks change: the best classes alone are stationary when their strength asks
 * for a theta there. So they are, within doubles, where a bounded strength leaves the others less
 * than the parameter of the path can tell from nothing and roots are `left` that were not seen.
 * Fills the answer if so.
 */
static int settle_corner(line *self, int left, gra_answer *answer)
{
    const gra_problem *problem = self->problem;
    const gra_penalty *penalty = problem->penalty;
    const gra_affine *affine = self->affine;
    int64_t n = problem->reference.classes, best = 0;
    if (penalty->lets_go || (isinf(penalty->slack_most) && !left)) {
        return 0;
    }
    gra_collapse_affine(problem, answer);
    answer->status = GRPOALIGN_OK;
    answer->stable = -1;
    for (int64_t c = 0; c < n; c++) {
        best = affine->gap[c] == 0.0 ? c : best;
    }
    double theta = affine->strength(affine, answer->policy) / problem->beta,
           level = answer->slack[best];
    if (!isfinite(theta)) {
        return 0;
    }
    for (int64_t c = 0; c < n; c++) {
        answer->slack[c] = theta * affine->gap[c] + level;
        double log_policy =
            problem->reference.log_mass[c] + penalty->log_ratio(penalty, answer->slack[c]);
        if (affine->gap[c] > 0.0 && answer->slack[c] < penalty->slack_most &&
            !(left && log_policy < -LARGEST_X)) {
            return 0;
        }
    }
    answer->stable = 1;
    answer->iterations = self->calls;
    return 1;
}

/* Whether epsilon swamps everything: the policy is the reference to the last bit. */
static int is_swamped(const gra_problem *problem)
{
    return problem->structure->affine.high / problem->beta < 1e-290;
}

/* With one strength for all policies the slacks are known but for their level: the policy is the
 * response to them, which has more digits above a pole than the path has. */
static void respond_to_strength(const gra_problem *problem, gra_answer *answer)
{
    const gra_penalty *penalty = problem->penalty;
    const gra_affine *affine = &problem->structure->affine;
    double theta = affine->constant / problem->beta, moved = 0.0;
    for (int64_t c = 0; c < problem->reference.classes; c++) {
        answer->slack[c] = theta * affine->gap[c];
    }
    (void)penalty->respond(penalty, &problem->reference, answer->slack, answer->policy);
    for (int64_t c = 0; c < problem->reference.classes; c++) {
        double p = answer->policy[c], slack = answer->slack[c];
        moved = fmax(moved, p > 0.0 ? p * slack * penalty->log_slope(penalty, slack) : 0.0);
    }
    answer->beta = problem->beta;
    answer->method = GRPOALIGN_METHOD_SCALAR;
    answer->policy_error = DBL_EPSILON * (4.0 + 2.0 * moved); /* two roundings of a slack */
    answer->unique = answer->stable = 1;
}

/* The answer where there is but one. */
static grpoalign_status solve_single(line *self, gra_answer *answer)
{
    const gra_problem *problem = self->problem;
    if (is_swamped(problem)) {
        GRA_TRY(settle(self, answer, problem->penalty->path_origin, problem->beta));
        answer->policy_error = DBL_EPSILON;
        answer->unique = answer->stable = 1;
        return GRPOALIGN_OK;
    }
    /* A product that is known keeps the digits of the path as well. */
    if (self->affine->constant > 0.0 && gra_penalty_has_pole(problem->penalty) &&
        !problem->penalty->complementary) {
        respond_to_strength(problem, answer);
        return GRPOALIGN_OK;
    }
    if (!settle_corner(self, 1, answer)) {
        GRA_TRY(settle(self, answer, single_root(self), problem->beta));
    }
    answer->unique = 1;
    return GRPOALIGN_OK;
}

/* The crossings of the problem's beta, or the first alone where that is cheaper. *collapses:
 * training that passes the last of them ends in the best outcomes. Returns whether nothing was left
 * undecided. */
static int find_roots(line *self, int first_alone, int *collapses)
{
    if (!is_divisible(self->problem)) {
        *collapses = stride_path(self, first_alone);
        return 0;
    }
    *collapses = divide_path(self, self->problem->beta, self->problem->beta, FINEST);
    return self->turns.count == 0 && !self->exhausted;
}

grpoalign_status gra_solve_affine(const gra_problem *problem, gra_answer *answer)
{
    line self;
    int collapses;
    if (!start_line(&self, problem)) {
        return gra_fail_memory(problem->error);
    }
    if (is_swamped(problem) || is_single(problem)) {
        return solve_single(&self, answer);
    }
    int proved = find_roots(&self, 1, &collapses);
    int64_t count = self.crossings.count;
    if (self.short_memory) {
        return gra_fail_memory(problem->error);
    }
    if (count == 0) {
        if (settle_corner(&self, 1, answer)) {
            answer->unique = proved ? 1 : -1;
            return GRPOALIGN_OK;
        }
        if (!collapses) {
            return gra_fail(problem->error, GRPOALIGN_ERR_INTERNAL, 0, -1,
                            "no stationary policy was found although one exists");
        }
        gra_collapse_affine(problem, answer);
        answer->iterations = self.calls;
        return GRPOALIGN_OK;
    }
    answer->unique = count > 1 || (collapses && is_divisible(problem)) ? 0 : proved ? 1 : -1;
    answer->status = answer->unique == 0 ? GRPOALIGN_NOT_UNIQUE : GRPOALIGN_OK;
    return settle(&self, answer, refine(&self, self.crossings.items[0]), problem->beta);
}

grpoalign_status gra_points_affine(const gra_problem *problem, gra_answers *out)
{
    line self;
    int collapses;
    if (!start_line(&self, problem)) {
        return gra_fail_memory(problem->error);
    }
    if (is_swamped(problem) || is_single(problem)) {
        gra_answer *answer = gra_answers_add(out, problem);
        if (answer == NULL) {
            return gra_fail_memory(problem->error);
        }
        GRA_TRY(solve_single(&self, answer));
        out->complete = answer->unique > 0;
        out->connected = 0;
        return GRPOALIGN_OK;
    }
    out->complete = find_roots(&self, 0, &collapses);
    int64_t count = self.crossings.count;
    for (int64_t k = 0; k < count && !self.short_memory; k++) {
        gra_answer *answer = gra_answers_add(out, problem);
        if (answer == NULL) {
            return gra_fail_memory(problem->error);
        }
        GRA_TRY(settle(&self, answer, refine(&self, self.crossings.items[k]), problem->beta));
    }
    gra_answer *corner = self.short_memory ? NULL : gra_answers_add(out, problem);
    if (corner == NULL) {
        return gra_fail_memory(problem->error);
    }
    if (!settle_corner(&self, collapses || count == 0, corner)) {
        out->count--;
    }
    for (int64_t k = 0; k < out->count; k++) {
        out->items[k].unique = out->count > 1 || (collapses && count > 0) ? 0
                               : out->complete                            ? 1
                                                                          : -1;
    }
    out->connected = out->count > 0 ? 0 : -1;
    return self.short_memory ? gra_fail_memory(problem->error) : GRPOALIGN_OK;
}

/* Whether beta(theta) falls before a piece and rises after it, or the other way round. */
static int is_turn(const gra_affine_sample *a, const gra_affine_sample *b)
{
    return (a->slope > 1.0 / a->theta) != (b->slope > 1.0 / b->theta);
}

grpoalign_status gra_folds_affine(const gra_problem *problem, double low, double high,
                                  gra_answers *out)
{
    line self;
    if (!start_line(&self, problem)) {
        return gra_fail_memory(problem->error);
    }
    if (is_single(problem) || !is_divisible(problem)) {
        out->complete = is_single(problem);
        return GRPOALIGN_OK;
    }
    (void)divide_path(&self, low, high, FINEST_TURN);
    out->complete = !self.exhausted;
    for (int64_t k = 0; k < self.turns.count && !self.short_memory; k++) {
        interval turn = self.turns.items[k];
        gra_affine_sample a = sample_at(&self, turn.low), b = sample_at(&self, turn.high);
        if (!is_turn(&a, &b)) {
            out->complete = 0; /* it only slows down there, or two turns are one within rounding */
            continue;
        }
        gra_affine_sample middle = sample_between(&self, &a, &b);
        double beta = exp(log_beta_of(&middle));
        gra_answer *answer = beta >= low && beta <= high ? gra_answers_add(out, problem) : NULL;
        if (beta >= low && beta <= high) {
            if (answer == NULL) {
                return gra_fail_memory(problem->error);
            }
            GRA_TRY(settle(&self, answer, middle.x, beta));
            answer->policy_error = fmax(turn.high - turn.low, FINEST_TURN);
            answer->unique = 0;
        }
    }
    return self.short_memory ? gra_fail_memory(problem->error) : GRPOALIGN_OK;
}

/* The lowest of the minima of beta along the path that strides show, where nothing bounds its
 * slope. */
static double least_on_path(line *self)
{
    const gra_problem *problem = self->problem;
    double x, end;
    problem->penalty->path_bracket(problem->penalty, &problem->reference, self->affine->gap,
                                   DBL_MIN, DBL_MIN, &x, &end, self->policy);
    return gra_least(log_beta_at, NULL, self, x, LARGEST_X, 0.5 * STRIDE);
}

grpoalign_status gra_critical_affine(const gra_problem *problem, double *beta)
{
    line self;
    if (!start_line(&self, problem)) {
        return gra_fail_memory(problem->error);
    }
    *beta = 0.0;
    /* A bounded strength lets beta fall to 0 along the path, and so does reverse KL, whose path
     * ends at a finite slack. */
    if (is_single(problem) || isfinite(self.affine->high) || problem->penalty->outlasts_std) {
        return GRPOALIGN_OK;
    }
    if (!is_divisible(problem)) {
        *beta = exp(least_on_path(&self));
        return self.short_memory ? gra_fail_memory(problem->error) : GRPOALIGN_OK;
    }
    if (!divide_path(&self, 0.0, INFINITY, FINEST_TURN)) {
        return self.short_memory ? gra_fail_memory(problem->error) : GRPOALIGN_OK;
    }
    double least = INFINITY;
    for (int64_t k = 0; k < self.turns.count; k++) {
        least = fmin(
            least, log_beta_at(&self, 0.5 * (self.turns.items[k].low + self.turns.items[k].high)));
    }
    *beta = self.turns.count > 0 ? exp(least) : 0.0;
    return self.short_memory ? gra_fail_memory(problem->error) : GRPOALIGN_OK;
}

/* ---- the curve
 * -----------------------------------------------------------------------------------------------
 */

/* The first or the last point of the path at a beta; 0 when there is none. */
static int path_end(line *self, double beta, int last, double *x)
{
    gra_problem at_beta = *self->problem;
    const gra_problem *kept = self->problem;
    int collapses, found = 1;
    at_beta.beta = beta;
    self->problem = &at_beta;
    if (is_swamped(&at_beta)) {
        *x = at_beta.penalty->path_origin;
    } else if (is_single(&at_beta)) {
        *x = single_root(self);
    } else {
        self->crossings.count = self->turns.count = 0;
        (void)find_roots(self, !last, &collapses);
        int64_t count = self->crossings.count;
        found = count > 0;
        *x = found ? refine(self, self->crossings.items[last ? count - 1 : 0]) : NAN;
    }
    self->problem = kept;
    return found;
}

static grpoalign_status add_at(line *self, double x, gra_answers *out)
{
    gra_answer *answer = gra_answers_add(out, self->problem);
    if (answer == NULL) {
        return gra_fail_memory(self->problem->error);
    }
    GRA_TRY(settle(self, answer, x, exp(log_beta_at(self, x))));
    /* A pair of policy and beta is known as well as the policy of the path, also where beta turns.
     */
    answer->policy_error = noise_at(x);
    return GRPOALIGN_OK;
}

/* The points after x = low up to x = high, halving until neighbours are near. */
static grpoalign_status fill(line *self, double low, double high, double resolution,
                             gra_answers *out)
{
    const gra_answer *before = &out->items[out->count - 1];
    double beta = exp(log_beta_at(self, high)), middle = 0.5 * (low + high);
    if (gra_are_near(before->policy, before->beta, self->policy, beta,
                     self->problem->reference.classes, resolution) ||
        !(middle > low && middle < high) || out->count >= GRA_LONGEST_CURVE) {
        return add_at(self, high, out);
    }
    GRA_TRY(fill(self, low, middle, resolution, out));
    return fill(self, middle, high, resolution, out);
}

grpoalign_status gra_curve_affine(const gra_problem *problem, double low, double high,
                                  double resolution, gra_answers *out)
{
    line self;
    double from, to, other;
    if (!start_line(&self, problem)) {
        return gra_fail_memory(problem->error);
    }
    if (!path_end(&self, high, 0, &from)) {
        out->complete = !self.exhausted;
        return self.short_memory ? gra_fail_memory(problem->error) : GRPOALIGN_OK;
    }
    (void)path_end(&self, high, 1, &to);
    if (path_end(&self, low, 1, &other)) {
        to = fmax(to, other);
    }
    self.crossings.count = self.turns.count = 0;
    if (!is_swamped(problem) && !is_single(problem) && is_divisible(problem)) {
        (void)divide_path(&self, low, high, FINEST_TURN);
    }
    GRA_TRY(add_at(&self, from, out));
    for (int64_t k = 0; k <= self.turns.count; k++) {
        double next =
            k < self.turns.count ? 0.5 * (self.turns.items[k].low + self.turns.items[k].high) : to;
        if (next > from && next <= to) {
            GRA_TRY(fill(&self, from, next, resolution, out));
            from = next;
        }
    }
    out->complete = !self.exhausted;
    return self.short_memory ? gra_fail_memory(problem->error) : GRPOALIGN_OK;
}
