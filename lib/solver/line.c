/*
 * Tilt structures: u_c = strength(pi) (m - gap_c). Every stationary policy lies on the penalty's ray
 * pi(theta) with prices theta gap + constant, at a theta with
 *
 *     F(theta) = log strength(pi(theta)) - log theta - log beta = 0.
 *
 * F starts at +infinity. Where it is known to have one root (reverse KL, large groups and others) that root is
 * bracketed and refined. For exponential families all roots are found and proved to be all, by bisecting theta until
 * bounds on F' (model/tilt.h) decide every piece; the first one is where training started at pi_ref ends, and what pi_ref
 * continues to as beta falls from infinity.
 */
#include "solver/solver.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

typedef struct line {
    const gra_problem *problem;
    gra_answer *answer;
    const gra_tilt *tilt;
    double *log_policy; /* scratch */
    int32_t calls;
    /* all roots of an exponential family */
    int roots;
    double first_low, first_high; /* bracket of the first root */
    int doubtful;                 /* a piece where F touches zero within rounding */
} line;

static double equation(void *context, double x)
{
    line *self = context;
    const gra_problem *problem = self->problem;
    self->calls++;
    double theta =
        problem->penalty->ray(&problem->prior, self->tilt->gap, x, self->answer->price, self->answer->policy);
    double log_strength = log(self->tilt->strength(self->tilt, self->answer->policy));
    if (!isfinite(log_strength) && self->tilt->log_strength != NULL) {
        for (int64_t c = 0; c < problem->prior.classes; c++) {
            self->log_policy[c] = problem->prior.log_mass[c] + problem->penalty->log_ratio(self->answer->price[c]);
        }
        log_strength = self->tilt->log_strength(self->tilt, self->log_policy);
    }
    return log_strength - log(theta) - log(problem->beta);
}

static void set_answer(line *self, double x)
{
    const gra_problem *problem = self->problem;
    (void)problem->penalty->ray(&problem->prior, self->tilt->gap, x, self->answer->price, self->answer->policy);
}

/* How much the policy moves when F is off by the rounding of its terms. */
static grpoalign_status estimate_error(line *self, double x)
{
    const gra_problem *problem = self->problem;
    int64_t n = problem->prior.classes;
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    double *here = gra_arena_doubles(problem->arena, n);
    if (here == NULL) {
        return gra_fail_memory(problem->error);
    }
    double step = 1e-5, f = equation(self, x), change = 0.0;
    memcpy(here, self->answer->policy, (size_t)n * sizeof(double));
    double slope = (equation(self, x + step) - f) / step;
    for (int64_t c = 0; c < n; c++) {
        change = fmax(change, fabs(self->answer->policy[c] - here[c]) / step);
    }
    /* Weights exp(-theta gap) carry the rounding of their exponent, at most about 700. */
    double noise = DBL_EPSILON * (8.0 + fabs(x)), weights = 0.0;
    for (int64_t c = 0; c < n; c++) {
        weights = fmax(weights, here[c] * fabs(self->answer->price[c]));
    }
    gra_arena_rewind(problem->arena, mark);
    double amplified = fabs(slope) > 0.0 ? change * noise / fabs(slope) : 1.0;
    self->answer->policy_error = fmin(1.0, amplified + DBL_EPSILON * (4.0 + weights));
    return GRPOALIGN_OK;
}

/* ---- one root -------------------------------------------------------------------------------------- */

static double solve_single(line *self)
{
    const gra_problem *problem = self->problem;
    const gra_tilt *tilt = self->tilt;
    double low, high;
    problem->penalty->ray_bracket(&problem->prior, tilt->gap, tilt->low / problem->beta, tilt->high / problem->beta,
                                  &low, &high);
    double f_low = equation(self, low), f_high = NAN;
    /* The bracket is exact but for rounding: let its lower end breathe, and come to the upper one from below, because far
     * beyond the root probabilities may be too small for a double. */
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

/* ---- all roots of an exponential family -------------------------------------------------------------- */

static gra_tilt_sample sample_at(line *self, double theta)
{
    const gra_problem *problem = self->problem;
    gra_tilt_sample sample;
    memset(&sample, 0, sizeof sample);
    sample.theta = theta;
    self->calls++;
    (void)problem->penalty->ray(&problem->prior, self->tilt->gap, log(theta), self->answer->price,
                                self->answer->policy);
    /* price = theta gap + log Z, and some gap is 0. */
    sample.log_z = gra_min(self->answer->price, problem->prior.classes);
    sample.mean_gap = gra_tilt_mean_gap(self->tilt, self->answer->policy);
    self->tilt->sample(self->tilt, self->answer->policy, &sample);
    return sample;
}

static double value(const line *self, const gra_tilt_sample *sample)
{
    return sample->log_strength - log(sample->theta) - log(self->problem->beta);
}

static void note_root(line *self, double low, double high)
{
    if (self->roots++ == 0) {
        self->first_low = low;
        self->first_high = high;
    }
}

/* Relative width below which a piece that no bound decides is a touching point within rounding. */
static const double FINEST = 1e-12;
static const int32_t MOST_CALLS = 200000;

static void search(line *self, const gra_tilt_sample *a, const gra_tilt_sample *b)
{
    double fa = value(self, a), fb = value(self, b), low, high;
    double width = b->theta - a->theta;
    self->tilt->slope_bounds(self->tilt, a, b, &low, &high);
    low -= 1.0 / a->theta;
    high -= 1.0 / b->theta;
    if (low > 0.0 || high < 0.0) {
        if ((fa > 0.0) != (fb > 0.0)) {
            note_root(self, a->theta, b->theta);
        }
        return;
    }
    /* Between the ends F stays inside the lines of extreme slope through them, which cross at a share of the width. */
    if (isfinite(low) && isfinite(high) && fa > 0.0 && fb > 0.0 &&
        fa + low * (high * width + fa - fb) / (high - low) > 0.0) {
        return;
    }
    if (isfinite(low) && isfinite(high) && fa < 0.0 && fb < 0.0 &&
        fa + high * (fb - fa - low * width) / (high - low) < 0.0) {
        return;
    }
    if (width <= FINEST * b->theta || self->calls > MOST_CALLS) {
        if ((fa > 0.0) != (fb > 0.0)) {
            note_root(self, a->theta, b->theta);
        }
        self->doubtful = 1;
        return;
    }
    double middle = b->theta > 2.0 * a->theta ? sqrt(a->theta * b->theta) : 0.5 * (a->theta + b->theta);
    gra_tilt_sample m = sample_at(self, middle);
    search(self, a, &m);
    search(self, &m, b);
}

/*
 * Finds all roots. Returns 1 when every policy with larger theta is worse than none: F stays positive for ever, so that
 * training that gets past the last root collapses onto the best outcomes.
 */
static int search_all(line *self)
{
    const gra_problem *problem = self->problem;
    const gra_tilt *tilt = self->tilt;
    /* Below this F > 0, because the strength is at least `low`. */
    double start = fmax(tilt->low / problem->beta * (1.0 - 1e-12), 1e-300);
    gra_tilt_sample a = sample_at(self, start);
    while (self->calls < MOST_CALLS) {
        double ceiling = tilt->ceiling(tilt, &a, self->answer->policy);
        double end = ceiling / problem->beta * (1.0 + 1e-12);
        if (end <= a.theta) {
            return 0; /* F < 0 from here on */
        }
        if (isinf(ceiling) && value(self, &a) > 0.0 && tilt->tail_slope(tilt, &a) - 1.0 / a.theta >= 0.0) {
            return 1;
        }
        if (isinf(a.log_strength)) {
            return 1; /* no spread left that a double could hold */
        }
        gra_tilt_sample b = sample_at(self, fmin(2.0 * a.theta, fmin(end, 1e300)));
        search(self, &a, &b);
        if (b.theta >= end || b.theta >= 1e300) {
            return 0;
        }
        a = sample_at(self, b.theta); /* leaves the policy of `a` in the answer, for `ceiling` */
    }
    self->doubtful = 1;
    return 0;
}

/* The policy of the best classes alone: the limit of the ray. */
static void collapse(line *self)
{
    const gra_problem *problem = self->problem;
    const gra_prior *prior = &problem->prior;
    double top = -INFINITY, sum = 0.0;
    for (int64_t c = 0; c < prior->classes; c++) {
        if (self->tilt->gap[c] == 0.0) {
            top = fmax(top, prior->log_mass[c]);
        }
    }
    for (int64_t c = 0; c < prior->classes; c++) {
        double *policy = &self->answer->policy[c];
        *policy = self->tilt->gap[c] == 0.0 ? exp(prior->log_mass[c] - top) : 0.0;
        sum += *policy;
    }
    for (int64_t c = 0; c < prior->classes; c++) {
        self->answer->policy[c] /= sum;
        self->answer->price[c] = self->tilt->gap[c] == 0.0 ? top + log(sum) : INFINITY;
    }
}

grpoalign_status gra_solve_tilt(const gra_problem *problem, gra_answer *answer)
{
    line self = {.problem = problem, .answer = answer, .tilt = &problem->structure->tilt};
    answer->method = GRPOALIGN_METHOD_SCALAR;
    self.log_policy = gra_arena_doubles(problem->arena, problem->prior.classes);
    if (self.log_policy == NULL) {
        return gra_fail_memory(problem->error);
    }
    if (self.tilt->high / problem->beta < 1e-290) {
        /* epsilon swamps everything: the policy is the reference to the last bit. */
        set_answer(&self, problem->penalty->exponential ? -700.0 : -600.0);
        answer->unique = answer->stable = 1;
        answer->policy_error = DBL_EPSILON;
        return GRPOALIGN_OK;
    }
    double x;
    if (!problem->penalty->exponential || self.tilt->low == self.tilt->high) {
        x = solve_single(&self);
        answer->unique = self.tilt->low == self.tilt->high || self.tilt->reverse_unique ? 1 : -1;
    } else {
        int collapses = search_all(&self);
        if (self.roots == 0) {
            if (!collapses) {
                return gra_fail(problem->error, GRPOALIGN_ERR_INTERNAL, 0, -1,
                                "no stationary policy was found although one exists");
            }
            collapse(&self);
            answer->iterations = self.calls;
            answer->status = GRPOALIGN_COLLAPSED;
            answer->stable = 1; /* where training ends, though no stationary policy: uniqueness has no meaning */
            answer->policy_error = DBL_EPSILON;
            return GRPOALIGN_OK;
        }
        answer->unique = self.roots == 1 && !collapses && !self.doubtful ? 1 : self.roots > 1 || collapses ? 0 : -1;
        double low = log(self.first_low), high = log(self.first_high);
        double f_low = equation(&self, low), f_high = equation(&self, high);
        /* Rounding of log theta may have moved an end across the root it is next to. */
        x = (f_low > 0.0) == (f_high > 0.0) ? (fabs(f_low) < fabs(f_high) ? low : high)
                                            : gra_root(equation, &self, low, f_low, high, f_high);
    }
    set_answer(&self, x);
    GRA_TRY(estimate_error(&self, x));
    set_answer(&self, x);
    answer->iterations = self.calls;
    if (answer->unique == 0) {
        answer->status = GRPOALIGN_NOT_UNIQUE;
    }
    return GRPOALIGN_OK;
}
