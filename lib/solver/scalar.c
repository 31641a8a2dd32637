/*
 * Affine advantages, one unknown: the stationary policies are the roots of log beta along the
 * regularisation path (regularisation_path.h).
 *
 * Where that function is known to fall all the way (reverse KL in large groups, and others) its
 * root is bracketed and refined. Elsewhere the path is divided until bounds tell which way log beta
 * goes in every piece (isolate.h), so that what is found is all there is. Where no bounds are known
 * the path is looked at in strides, which proves nothing. The first stationary policy on the path
 * is where training that started at pi_ref ends, and what pi_ref continues to as beta falls from
 * infinity.
 */
#include "solver/scalar.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

/* More rounding than this in slacks leaves strides more digits than bounds. */
static const double TOO_ROUNDED = 1e-10;

typedef struct scalar {
    gra_search search;
    gra_path_context context;
    const gra_problem *problem;
    const gra_affine *affine;
    int divisible; /* dividing the path proves something: there are bounds, with digits */
    int pressed;   /* whatever comes farther on the path has lost the worst class */
} scalar;

/* Whether there is one root, by theory. */
static int is_single(const gra_problem *problem)
{
    const gra_divisor *divisor = &problem->structure->affine.divisor;
    return divisor->falls || (problem->penalty->std_ratio_falls && divisor->ratio_falls);
}

/*
 * Where covariances give the bounds, theta itself is the better position: the spread of a policy
 * may fall like exp(-theta), and a path whose slacks end goes on beyond its end. Elsewhere the
 * penalty's own positions keep more digits.
 */
static grpoalign_status start(scalar *self, const gra_problem *problem)
{
    const gra_penalty *penalty = problem->penalty;
    self->problem = problem;
    self->pressed = 0;
    self->affine = &problem->structure->affine;
    self->context = (gra_path_context){problem, self->affine->gap, 1.0};
    GRA_TRY(gra_search_start(&self->search, problem, &self->context, 1, &self->affine->divisor, 0));
    gra_path *path = &self->search.path;
    self->divisible = gra_path_is_bounded(path) &&
                      (penalty->exponential || gra_path_rounding(path) < TOO_ROUNDED);
    path->by_theta =
        self->divisible && !is_single(problem) && !penalty->exponential && !penalty->complementary;
    return GRPOALIGN_OK;
}

static double log_beta_at(void *context, double x)
{
    scalar *self = context;
    (void)gra_search_equation(&self->search, x);
    return self->search.stop == GRPOALIGN_OK ? self->search.here.at.value : NAN;
}

/* A position is one double: where the policy moves fast along the path a rounding of it moves the
 * policy by more than the equation allows. So much of a step is taken by the slopes at x. */
static const double FARTHEST_ROUNDING = 64.0;

/*
 * How far a probability moves when slacks are off by a rounding of each, in roundings: of the gap
 * times theta, which may be much more than the slack that is left of it, and of the slack itself.
 */
static double moved_by_roundings(const scalar *self, double theta)
{
    const gra_path *path = &self->search.path;
    const gra_penalty *penalty = self->problem->penalty;
    const double *gap = self->affine->gap;
    int64_t n = self->problem->reference.classes, heaviest = 0;
    double moved = 0.0;
    for (int64_t c = 1; c < n; c++) {
        heaviest = path->policy[c] > path->policy[heaviest] ? c : heaviest;
    }
    /* Above a pole slacks have their digits from the least on; elsewhere all are relative to the
     * class that holds most. */
    double shared = gra_penalty_has_pole(penalty) ? 0.0 : gap[heaviest];
    for (int64_t c = 0; c < n; c++) {
        double p = path->policy[c], slack = path->slack[c];
        double slope = p > 0.0 ? p * penalty->log_slope(penalty, slack) : 0.0;
        double size = fmax(fabs(slack), theta * fmax(gap[c], shared));
        moved = slope > 0.0 ? fmax(moved, slope * size) : moved;
    }
    return moved;
}

/* Fills an answer with the point at x, taken to be stationary at `beta`. */
static grpoalign_status finish(scalar *self, gra_answer *answer, double x, double beta)
{
    const gra_path *path = &self->search.path;
    int64_t n = self->problem->reference.classes;
    size_t bytes = (size_t)n * sizeof(double);
    /* How much the policy moves when log beta is off by the rounding of its terms. */
    double step = 1e-5, change = 0.0;
    double beyond = log_beta_at(self, x + step);
    memcpy(answer->policy, path->policy, bytes);
    memcpy(answer->slack, path->slack, bytes);
    double here = log_beta_at(self, x), slope = (beyond - here) / step;
    double noise = gra_position_noise(x), left = (log(beta) - here) / slope;
    /* Nothing is left to correct but what a rounding of the position explains. */
    left = fabs(left) <= FARTHEST_ROUNDING * noise ? left : 0.0;
    for (int64_t c = 0; c < n; c++) {
        double policy = path->policy[c], slack = path->slack[c];
        double by_x = (answer->policy[c] - policy) / step;
        double moved = slack + (answer->slack[c] - slack) / step * left;
        change = fmax(change, fabs(by_x));
        answer->policy[c] = left != 0.0 ? fmax(0.0, policy + by_x * left) : policy;
        answer->slack[c] = left != 0.0 && isfinite(moved) ? moved : slack;
    }
    double amplified = fabs(slope) > 0.0 ? change * noise / fabs(slope) : 1.0;
    double by_step = change * fabs(left) * step; /* slopes are differences */
    double weights = moved_by_roundings(self, self->search.here.theta);
    answer->beta = beta;
    answer->policy_error = fmin(1.0, amplified + by_step + DBL_EPSILON * (4.0 + weights));
    answer->method = GRPOALIGN_METHOD_SCALAR;
    answer->iterations = (int32_t)self->search.looks;
    return gra_search_stopped(&self->search);
}

/* Of theta: beyond it nothing is left of any class but the best. */
static const double STEEPEST = 1e300;

/* Where on the path the divisor's range puts the root. */
static void bracket_path(scalar *self, double *low, double *high)
{
    const gra_divisor *divisor = &self->affine->divisor;
    double beta = self->problem->beta;
    gra_path_bracket(&self->search.path, fmin(divisor->low / beta, STEEPEST),
                     fmin(divisor->high / beta, STEEPEST), low, high);
}

/* ---- one root -------------------------------------------------------------------------------- */

static double single_root(scalar *self)
{
    gra_search *search = &self->search;
    double low, high;
    bracket_path(self, &low, &high);
    double at_low = gra_search_equation(search, low), at_high = NAN;
    /* The bracket is exact but for rounding: its lower end may give way, and its upper end is come
     * to from below, because far beyond the root probabilities may be too small for a double. */
    for (int i = 0; i < 60 && at_low < 0.0; i++) {
        low -= ldexp(1e-9, i);
        at_low = gra_search_equation(search, low);
    }
    double bottom = low, end = fmin(high + 1e-3, 708.0);
    for (int i = 0; at_low > 0.0; i++) {
        high = fmin(end, bottom + ldexp(0.25, i));
        at_high = gra_search_equation(search, high);
        if (at_high <= 0.0 || high >= end) {
            break;
        }
        low = high;
        at_low = at_high;
    }
    if (!(at_low > 0.0)) {
        return low;
    }
    return at_high >= 0.0 ? high
                          : gra_root(gra_search_equation, search, low, at_low, high, at_high);
}

/* ---- several roots --------------------------------------------------------------------------- */

/* Of the end of a slack: a second class so far beyond it goes on to be lost. */
static const double FAR_BEYOND = 2.0;

/*
 * Whether a class is lost whatever comes farther on the path, for a penalty that lets classes go:
 * the slack of the worst one grows along the path, so that once beyond its end it stays there.
 * Where the penalty turns back one class may stay beyond the end, and two may not.
 */
static int is_lost_beyond(const scalar *self)
{
    const gra_penalty *penalty = self->problem->penalty;
    const double *gap = self->affine->gap, *slack = self->search.path.slack;
    int64_t n = self->affine->classes, worst = 0, second = -1;
    if (!penalty->lets_go) {
        return 0;
    }
    for (int64_t c = 1; c < n; c++) {
        worst = gap[c] > gap[worst] ? c : worst;
    }
    for (int64_t c = 0; c < n; c++) {
        second = c != worst && (second < 0 || gap[c] > gap[second]) ? c : second;
    }
    return penalty->turns_back ? second >= 0 && gap[second] > 0.0 &&
                                     slack[second] > FAR_BEYOND * penalty->slack_most
                               : slack[worst] > FAR_BEYOND * penalty->slack_most;
}

/* How far log beta is from the wanted one; context: a search, and the side it is on. */
typedef struct side {
    gra_search *search;
    double sign;
} side;

static double distance_on_side(void *context, double x)
{
    const side *self = context;
    return self->sign * gra_search_equation(self->search, x);
}

/*
 * Log beta less the wanted one has the same sign at three strides and comes nearest to 0 at the
 * middle one: it may cross 0 twice between them. *at is where it has crossed, if it has.
 */
static int crosses_twice(scalar *self, double low, double high, double sign, double *at)
{
    side on = {&self->search, sign};
    return gra_golden_sections(distance_on_side, &on, low, high, 0.0, at) < 0.0;
}

/*
 * Where no bounds are known: the crossings of the problem's beta met in strides along the path, the
 * first alone or all. Proves nothing. Returns whether log beta is still above at the end of what
 * doubles can hold.
 */
static int stride_path(scalar *self, int first_alone)
{
    gra_search *search = &self->search;
    gra_isolation *isolation = &search->isolation;
    const double stride = 0.5 * GRA_PATH_STRIDE;
    double x, end, turn;
    bracket_path(self, &x, &end);
    double earlier = NAN, before = gra_search_equation(search, x), back = x;
    isolation->roots.count = 0;
    while (x < GRA_PATH_LARGEST && !(first_alone && isolation->roots.count > 0)) {
        double next = fmin(x + stride, GRA_PATH_LARGEST), here = gra_search_equation(search, next);
        if (isnan(here)) {
            break;
        }
        int is_pressed = first_alone && is_lost_beyond(self);
        if ((here > 0.0) != (before > 0.0)) {
            gra_isolation_note(isolation, x, next);
        } else if ((earlier > 0.0) == (before > 0.0) && fabs(before) < fabs(earlier) &&
                   fabs(before) < fabs(here) &&
                   crosses_twice(self, back, next, copysign(1.0, before), &turn)) {
            gra_isolation_note(isolation, back, turn);
            gra_isolation_note(isolation, turn, next);
        }
        self->pressed = is_pressed && isolation->roots.count == 0;
        if (self->pressed || (here < 0.0 && next > end)) {
            return 0;
        }
        back = x;
        earlier = before;
        x = next;
        before = here;
    }
    return before > 0.0;
}

/* The crossings of the problem's beta, or the first alone where that is cheaper. *collapses:
 * training that passes the last of them ends in the best outcomes. Returns whether all are proved.
 */
static int find_roots(scalar *self, int first_alone, int *collapses)
{
    double beta = self->problem->beta;
    if (!self->divisible) {
        *collapses = stride_path(self, first_alone);
        return 0;
    }
    int end = gra_search_path(&self->search, beta, beta, GRA_FINEST_ROOT);
    *collapses = end == GRA_COLLAPSES;
    return end != GRA_GAVE_UP && gra_isolation_is_proved(&self->search.isolation);
}

/* ---- answers --------------------------------------------------------------------------------- */

/*
 * Where slacks end (chi-squared and others) the path comes to the best classes at a finite theta,
 * and beyond it only slacks change: the best classes alone are stationary when their divisor asks
 * for a theta there. So they are, within doubles, where a bounded divisor leaves the others less
 * than the position can tell from nothing and roots are `left` that were not seen. Fills the
 * answer, and says so in *found.
 */
static grpoalign_status finish_corner(scalar *self, int left, gra_answer *answer, int *found)
{
    const gra_problem *problem = self->problem;
    const gra_penalty *penalty = problem->penalty;
    const gra_affine *affine = self->affine;
    int64_t n = problem->reference.classes, best = 0;
    double inverse;
    *found = 0;
    if (self->search.path.by_theta || penalty->lets_go || (isinf(penalty->slack_most) && !left)) {
        return GRPOALIGN_OK;
    }
    gra_answer_collapse(problem, answer);
    answer->status = GRPOALIGN_OK;
    answer->stable = -1;
    for (int64_t c = 0; c < n; c++) {
        best = affine->gap[c] == 0.0 ? c : best;
    }
    if (!gra_affine_inverse(affine, answer->policy, problem->arena, &inverse)) {
        return gra_fail_memory(problem->error);
    }
    double theta = inverse / problem->beta, lambda = answer->slack[best];
    if (!isfinite(theta)) {
        return GRPOALIGN_OK;
    }
    for (int64_t c = 0; c < n; c++) {
        answer->slack[c] = theta * affine->gap[c] + lambda;
        double log_policy =
            problem->reference.log_mass[c] + penalty->log_ratio(penalty, answer->slack[c]);
        if (affine->gap[c] > 0.0 && answer->slack[c] < penalty->slack_most &&
            !(left && log_policy < -GRA_PATH_LARGEST)) {
            return GRPOALIGN_OK;
        }
    }
    answer->stable = 1;
    answer->iterations = (int32_t)self->search.looks;
    *found = 1;
    return GRPOALIGN_OK;
}

/* A position at which the policy is pi_ref to the last bit. */
static double origin_of(const scalar *self)
{
    return self->search.path.by_theta ? -GRA_PATH_LARGEST : self->problem->penalty->path_origin;
}

/* Whether epsilon swamps everything: the policy is the reference to the last bit. */
static int is_swamped(const gra_problem *problem)
{
    return problem->structure->affine.divisor.high / problem->beta < 1e-290;
}

/* With one divisor for all policies the slacks are known but for lambda: the policy is the response
 * to them. */
static void respond_to_constant(scalar *self, gra_answer *answer)
{
    const gra_problem *problem = self->problem;
    const gra_path *path = &self->search.path;
    size_t bytes = (size_t)problem->reference.classes * sizeof(double);
    double theta = fmin(self->affine->divisor.low / problem->beta, STEEPEST);
    (void)gra_path_respond(&self->search.path, 0, theta);
    memcpy(answer->policy, path->policy, bytes);
    memcpy(answer->slack, path->slack, bytes);
    answer->beta = problem->beta;
    answer->method = GRPOALIGN_METHOD_SCALAR;
    answer->policy_error = fmin(1.0, DBL_EPSILON * (4.0 + 2.0 * moved_by_roundings(self, theta)));
    answer->unique = answer->stable = 1;
}

/* The answer where there is but one. */
static grpoalign_status solve_single(scalar *self, gra_answer *answer)
{
    const gra_problem *problem = self->problem;
    int corner;
    if (is_swamped(problem)) {
        GRA_TRY(finish(self, answer, origin_of(self), problem->beta));
        answer->policy_error = DBL_EPSILON;
        answer->unique = answer->stable = 1;
        return GRPOALIGN_OK;
    }
    if (self->affine->divisor.constant && !problem->penalty->lets_go) {
        respond_to_constant(self, answer);
        return GRPOALIGN_OK;
    }
    GRA_TRY(finish_corner(self, 1, answer, &corner));
    if (!corner) {
        GRA_TRY(finish(self, answer, single_root(self), problem->beta));
    }
    answer->unique = 1;
    return GRPOALIGN_OK;
}

/* No root, and no collapse either: numbers ran out. The policy that came nearest. */
static grpoalign_status finish_nearest(scalar *self, gra_answer *answer)
{
    GRA_TRY(finish(self, answer, self->search.nearest_x, self->problem->beta));
    answer->status = GRPOALIGN_NOT_CONVERGED;
    answer->policy_error = 1.0;
    return GRPOALIGN_OK;
}

/* The active set takes the worst class out, and need not know more than that. */
static void finish_pressed(const scalar *self, gra_answer *answer)
{
    size_t bytes = (size_t)self->affine->classes * sizeof(double);
    memcpy(answer->policy, self->search.path.policy, bytes);
    memcpy(answer->slack, self->search.path.slack, bytes);
    answer->iterations = (int32_t)self->search.looks;
    answer->status = GRPOALIGN_NOT_CONVERGED;
}

grpoalign_status gra_solve_affine(const gra_problem *problem, gra_answer *answer)
{
    scalar self;
    int collapses, corner;
    GRA_TRY(start(&self, problem));
    if (is_swamped(problem) || is_single(problem)) {
        return solve_single(&self, answer);
    }
    int proved = find_roots(&self, 1, &collapses);
    const gra_brackets *roots = &self.search.isolation.roots;
    GRA_TRY(gra_search_stopped(&self.search));
    if (self.pressed) {
        finish_pressed(&self, answer);
        return GRPOALIGN_OK;
    }
    if (roots->count == 0) {
        GRA_TRY(finish_corner(&self, 1, answer, &corner));
        if (corner) {
            answer->unique = proved ? 1 : -1;
            return GRPOALIGN_OK;
        }
        if (!collapses) {
            return finish_nearest(&self, answer);
        }
        gra_answer_collapse(problem, answer);
        answer->iterations = (int32_t)self.search.looks;
        return GRPOALIGN_OK;
    }
    int others = roots->count > 1 || (collapses && self.divisible);
    answer->unique = others ? 0 : proved ? 1 : -1;
    answer->status = others ? GRPOALIGN_NOT_UNIQUE : GRPOALIGN_OK;
    return finish(&self, answer, gra_search_refine(&self.search, roots->items[0]), problem->beta);
}

grpoalign_status gra_points_affine(const gra_problem *problem, gra_answers *out)
{
    scalar self;
    int collapses, corner;
    GRA_TRY(start(&self, problem));
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
    const gra_brackets *roots = &self.search.isolation.roots;
    GRA_TRY(gra_search_stopped(&self.search));
    for (int64_t k = 0; k < roots->count; k++) {
        gra_answer *answer = gra_answers_add(out, problem);
        if (answer == NULL) {
            return gra_fail_memory(problem->error);
        }
        double x = gra_search_refine(&self.search, roots->items[k]);
        GRA_TRY(finish(&self, answer, x, problem->beta));
    }
    gra_answer *last = gra_answers_add(out, problem);
    if (last == NULL) {
        return gra_fail_memory(problem->error);
    }
    GRA_TRY(finish_corner(&self, collapses || roots->count == 0, last, &corner));
    out->count -= !corner;
    for (int64_t k = 0; k < out->count; k++) {
        int others = out->count > 1 || (collapses && roots->count > 0);
        out->items[k].unique = others ? 0 : out->complete ? 1 : -1;
    }
    out->connected = out->count > 0 ? 0 : -1;
    return GRPOALIGN_OK;
}

/* ---- folds, curve, critical beta ------------------------------------------------------------ */

/* The slope of log beta at x. */
static grpoalign_status slope_at(scalar *self, double x, double *slope)
{
    gra_search *search = &self->search;
    if (!gra_path_look(&search->path, x, 1, &search->here)) {
        return gra_fail_memory(self->problem->error);
    }
    *slope = gra_path_slope(&search->path, &search->here);
    return GRPOALIGN_OK;
}

/* Rounding finds turns as far from a corner as this, in positions. */
static const double CORNER = 1e-6;

/* How many classes have more than nothing at x. */
static int64_t held_at(scalar *self, double x)
{
    int64_t held = 0;
    (void)log_beta_at(self, x);
    for (int64_t c = 0; c < self->problem->reference.classes; c++) {
        held += self->search.path.policy[c] > 0.0;
    }
    return held;
}

/* Where slacks end, log beta has a corner at which a class is emptied: no two policies meet there
 * smoothly, and around it turns are rounding. */
static int is_corner(scalar *self, gra_bracket at)
{
    const gra_penalty *penalty = self->problem->penalty;
    return isfinite(penalty->slack_most) && !penalty->lets_go &&
           held_at(self, at.low - CORNER) != held_at(self, at.high + CORNER);
}

grpoalign_status gra_folds_affine(const gra_problem *problem, double low, double high,
                                  gra_answers *out)
{
    scalar self;
    GRA_TRY(start(&self, problem));
    if (is_single(problem) || !self.divisible) {
        out->complete = is_single(problem);
        return GRPOALIGN_OK;
    }
    int end = gra_search_path(&self.search, low, high, GRA_FINEST_FOLD);
    const gra_isolation *isolation = &self.search.isolation;
    out->complete = end != GRA_GAVE_UP && !isolation->exhausted;
    GRA_TRY(gra_search_stopped(&self.search));
    for (int64_t k = 0; k < isolation->unknown.count; k++) {
        gra_bracket fold = isolation->unknown.items[k];
        double before = NAN, behind = NAN, middle = 0.5 * (fold.low + fold.high);
        if (is_corner(&self, fold)) {
            continue;
        }
        GRA_TRY(slope_at(&self, fold.low, &before));
        GRA_TRY(slope_at(&self, fold.high, &behind));
        if ((before > 0.0) == (behind > 0.0)) {
            out->complete = 0; /* it only slows down there, or two folds are one within rounding */
            continue;
        }
        double beta = exp(log_beta_at(&self, middle));
        if (beta >= low && beta <= high) {
            gra_answer *answer = gra_answers_add(out, problem);
            if (answer == NULL) {
                return gra_fail_memory(problem->error);
            }
            GRA_TRY(finish(&self, answer, middle, beta));
            answer->policy_error = fmax(fold.high - fold.low, GRA_FINEST_FOLD);
            answer->unique = 0;
        }
    }
    return gra_search_stopped(&self.search);
}

/* log beta at x, seen as bounds see it. */
static double log_beta_for_bounds(void *context, double x)
{
    scalar *self = context;
    return gra_search_look(&self->search, x, 1) ? self->search.here.at.value : NAN;
}

static int is_over(void *context)
{
    const scalar *self = context;
    return gra_search_is_over(&self->search);
}

/* The lowest of the minima of log beta along the path that strides show. */
static double least_on_path(scalar *self)
{
    double x, end, start = DBL_EPSILON * self->affine->divisor.low; /* the policy is pi_ref */
    gra_path_bracket(&self->search.path, start, start, &x, &end);
    return gra_least(log_beta_for_bounds, is_over, self, x, GRA_PATH_LARGEST,
                     0.5 * GRA_PATH_STRIDE);
}

/* Whether there is a stationary policy at exp(log_beta). */
static int has_root(scalar *self, double log_beta)
{
    double beta = exp(log_beta);
    (void)gra_search_path(&self->search, beta, beta, GRA_FINEST_ROOT);
    return self->search.isolation.roots.count > 0;
}

/* A critical beta whose logarithm is below this is none, and none lies lower by less than this. */
static const double LEAST_LOG_BETA = -345.0, MISSED = 1e-3;

/* log beta grows without bound towards the reference policy, and is continuous: whatever lies above
 * a beta that has a stationary policy has one, too. Strides find the lowest; were there a lower one
 * between them, the isolation a little below would show it. */
grpoalign_status gra_critical_affine(const gra_problem *problem, double *beta)
{
    scalar self;
    double low = LEAST_LOG_BETA;
    GRA_TRY(start(&self, problem));
    *beta = 0.0;
    /* A bounded 1/divisor has a policy at any beta. */
    if (is_single(problem) || isfinite(self.affine->divisor.high) ||
        problem->penalty->outlasts_std) {
        return GRPOALIGN_OK;
    }
    if (!gra_path_prepare(&self.search.path)) {
        return gra_fail_memory(problem->error);
    }
    double high = least_on_path(&self);
    int lower = self.divisible && high > low && has_root(&self, high - MISSED);
    while (lower && high - low > MISSED && self.search.stop == GRPOALIGN_OK) {
        double middle = fmax(0.5 * (low + high), high - 1.0);
        *(has_root(&self, middle) ? &high : &low) = middle;
    }
    *beta = exp(high);
    return gra_search_stopped(&self.search);
}

/* The first or the last point of the path at a beta; 0 when there is none. */
static int path_end(scalar *self, double beta, int last, double *x)
{
    gra_problem at_beta = *self->problem;
    const gra_problem *kept = self->problem;
    int collapses, found = 1;
    at_beta.beta = beta;
    self->problem = self->search.problem = &at_beta;
    if (is_swamped(&at_beta)) {
        *x = origin_of(self);
    } else if (is_single(&at_beta)) {
        *x = single_root(self);
    } else {
        const gra_brackets *roots = &self->search.isolation.roots;
        (void)find_roots(self, !last, &collapses);
        found = roots->count > 0;
        *x = found ? gra_search_refine(&self->search, roots->items[last ? roots->count - 1 : 0])
                   : NAN;
    }
    self->problem = self->search.problem = kept;
    return found;
}

static grpoalign_status add_at(scalar *self, double x, gra_answers *out)
{
    gra_answer *answer = gra_answers_add(out, self->problem);
    if (answer == NULL) {
        return gra_fail_memory(self->problem->error);
    }
    GRA_TRY(finish(self, answer, x, exp(log_beta_at(self, x))));
    /* A pair of policy and beta is known as well as the policy of the path, also at a fold. */
    answer->policy_error = gra_position_noise(x);
    return GRPOALIGN_OK;
}

/* The points after x = low up to x = high, halved until neighbours are near. */
static grpoalign_status fill(scalar *self, double low, double high, double resolution,
                             gra_answers *out)
{
    double right[GRA_DEEPEST + 1] = {high};
    for (int depth = 0; depth >= 0;) {
        const gra_answer *before = &out->items[out->count - 1];
        double beta = exp(log_beta_at(self, right[depth])), middle = 0.5 * (low + right[depth]);
        if (gra_are_near(before->policy, before->beta, self->search.path.policy, beta,
                         self->problem->reference.classes, resolution) ||
            !(middle > low && middle < right[depth]) || out->count >= GRA_LONGEST_CURVE ||
            depth == GRA_DEEPEST) {
            GRA_TRY(add_at(self, right[depth], out));
            low = right[depth--];
        } else {
            right[++depth] = middle;
        }
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_curve_affine(const gra_problem *problem, double low, double high,
                                  double resolution, gra_answers *out)
{
    scalar self;
    double from, to, other;
    GRA_TRY(start(&self, problem));
    const gra_isolation *isolation = &self.search.isolation;
    int complete = 1;
    if (!path_end(&self, high, 0, &from)) {
        out->complete = !isolation->exhausted;
        return gra_search_stopped(&self.search);
    }
    (void)path_end(&self, high, 1, &to);
    if (path_end(&self, low, 1, &other)) {
        to = fmax(to, other);
    }
    int divides = !is_swamped(problem) && !is_single(problem) && self.divisible;
    if (divides) {
        complete = gra_search_path(&self.search, low, high, GRA_FINEST_FOLD) != GRA_GAVE_UP &&
                   !isolation->exhausted;
    }
    int64_t folds = divides ? isolation->unknown.count : 0;
    GRA_TRY(gra_search_stopped(&self.search));
    GRA_TRY(add_at(&self, from, out));
    for (int64_t k = 0; k <= folds; k++) {
        const gra_bracket *fold = k < folds ? &isolation->unknown.items[k] : NULL;
        double next = fold != NULL ? 0.5 * (fold->low + fold->high) : to;
        if (next > from && next <= to) {
            GRA_TRY(fill(&self, from, next, resolution, out));
            from = next;
        }
    }
    out->complete = complete;
    return gra_search_stopped(&self.search);
}
