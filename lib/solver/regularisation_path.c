#include "solver/regularisation_path.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"

/* The sums that bounds come from are good to this, relative to their terms: on an exponential
 * family, and where exponents of up to 700 are rounded. */
static const double SUM_ROUNDING = 1e-13, EXPONENT_ROUNDING = 1e-12;
/* Bounds on slopes with more rounding than this are not looked at. */
static const double TOO_ROUNDED = 1e-4;
/* Without bounds on slopes a piece this narrow has at most one root. */
static const double NARROW = 1e-3;

static int is_exponential(const gra_path *self)
{
    return !self->by_theta && self->penalty->exponential;
}

/*
 * Where a penalty has no pole, lambda may be as large as the slack at which the best classes hold
 * everything: added to a gap it leaves a slack with that many roundings.
 */
static double rounding_of(const gra_path_context *x, const gra_penalty *penalty)
{
    const gra_class_reference *reference = &x->problem->reference;
    double most = 0.0;
    for (int64_t c = 0; c < reference->classes && !gra_penalty_has_pole(penalty); c++) {
        if (x->gap == NULL || x->gap[c] == 0.0) {
            most = fmax(most, fabs(penalty->slack(penalty, -reference->log_mass[c])));
        }
    }
    return EXPONENT_ROUNDING + 4.0 * DBL_EPSILON * most;
}

int gra_path_start(gra_path *self, const gra_path_context *contexts, int64_t count,
                   const gra_divisor *divisor, int by_theta, gra_arena *arena)
{
    int64_t most = 0;
    *self = (gra_path){.context = contexts,
                       .count = count,
                       .by_theta = by_theta,
                       .penalty = contexts[0].problem->penalty,
                       .divisor = *divisor,
                       .arena = arena};
    for (int64_t k = 0; k < count; k++) {
        int64_t n = contexts[k].problem->reference.classes;
        most = n > most ? n : most;
    }
    self->slack = gra_arena_doubles(arena, most);
    self->policy = gra_arena_doubles(arena, most);
    self->scratch = gra_arena_doubles(arena, most);
    self->rate = gra_arena_doubles(arena, count);
    self->least = gra_arena_take(arena, count, sizeof *self->least);
    self->most = gra_arena_take(arena, count, sizeof *self->most);
    if (self->slack == NULL || self->policy == NULL || self->scratch == NULL ||
        self->rate == NULL || self->least == NULL || self->most == NULL) {
        return 0;
    }
    for (int64_t k = 0; k < count; k++) {
        self->rate[k] = contexts[k].rate;
    }
    return 1;
}

double gra_path_rounding(const gra_path *self)
{
    double most = 0.0;
    for (int64_t k = 0; k < self->count; k++) {
        most = fmax(most, rounding_of(&self->context[k], self->penalty));
    }
    return most;
}

int gra_path_prepare(gra_path *self)
{
    gra_divisor plain = self->divisor;
    self->rounding = gra_path_rounding(self);
    return plain.kind->prepare == NULL || plain.rising != NULL ||
           plain.kind->prepare(&plain, &self->divisor, self->arena);
}

int gra_path_is_bounded(const gra_path *self)
{
    return self->divisor.kind->bounds != NULL && (is_exponential(self) || self->penalty->convex);
}

int gra_path_point_take(const gra_path *self, gra_path_point *point)
{
    memset(point, 0, sizeof *point);
    point->lambda = gra_arena_doubles(self->arena, self->count);
    point->of = gra_arena_take(self->arena, self->count, sizeof *point->of);
    return point->lambda != NULL && point->of != NULL;
}

double gra_path_respond(gra_path *self, int64_t k, double theta)
{
    const gra_path_context *x = &self->context[k];
    const gra_class_reference *reference = &x->problem->reference;
    if (x->gap == NULL) {
        memcpy(self->policy, reference->mass, (size_t)reference->classes * sizeof(double));
        return 0.0;
    }
    for (int64_t c = 0; c < reference->classes; c++) {
        self->slack[c] = x->rate * x->gap[c] * theta;
    }
    return self->penalty->respond(self->penalty, reference, self->slack, self->policy);
}

/* log(1/divisor), also where no double holds the spread of the policy. */
static double log_inverse(const gra_path *self, const gra_moments *of)
{
    const gra_class_reference *reference = &self->context[0].problem->reference;
    const gra_divisor *divisor = &self->divisor;
    double value = log(divisor->kind->inverse(divisor, of));
    if (!isfinite(value) && divisor->kind->log_inverse != NULL && !self->by_theta) {
        for (int64_t c = 0; c < reference->classes; c++) {
            self->scratch[c] =
                reference->log_mass[c] + self->penalty->log_ratio(self->penalty, self->slack[c]);
        }
        value = divisor->kind->log_inverse(divisor, self->scratch);
    }
    return value;
}

int gra_path_look(gra_path *self, double x, int for_bounds, gra_path_point *out)
{
    const gra_divisor *divisor = &self->divisor;
    out->at.x = x;
    if (!self->by_theta) {
        const gra_path_context *only = &self->context[0];
        out->theta = self->penalty->path(self->penalty, &only->problem->reference, only->gap, x,
                                         self->slack, self->policy) /
                     only->rate;
        /* The slack of the best classes. */
        out->lambda[0] = for_bounds ? gra_min(self->slack, only->problem->reference.classes) : 0.0;
    } else {
        out->theta = exp(x);
    }
    for (int64_t k = 0; k < self->count; k++) {
        if (self->by_theta) {
            out->lambda[k] = gra_path_respond(self, k, out->theta);
        }
        if (!divisor->kind->moments(divisor, k, self->policy, for_bounds, self->arena,
                                    &out->of[k])) {
            return 0;
        }
    }
    out->at.scale = self->by_theta ? x : log(out->theta);
    out->at.value = log_inverse(self, out->of) - out->at.scale;
    return 1;
}

void gra_path_bracket(gra_path *self, double low, double high, double *x_low, double *x_high)
{
    if (self->by_theta) {
        *x_low = log(low);
        *x_high = log(high);
        return;
    }
    const gra_path_context *only = &self->context[0];
    self->penalty->path_bracket(self->penalty, &only->problem->reference, only->gap,
                                low * only->rate, high * only->rate, x_low, x_high, self->policy);
}

/* The covariances of context k with the q of slacks rate gap theta + lambda. */
static gra_covariance covariance_at(gra_path *self, int64_t k, double theta, double lambda)
{
    const gra_path_context *x = &self->context[k];
    const gra_class_reference *reference = &x->problem->reference;
    const double *rising = self->divisor.rising != NULL ? self->divisor.rising[k] : NULL;
    const double *falling = self->divisor.falling != NULL ? self->divisor.falling[k] : NULL;
    double *q = self->scratch;
    gra_sum total = {0.0, 0.0}, first = {0.0, 0.0}, second = {0.0, 0.0};
    gra_sum up = {0.0, 0.0}, down = {0.0, 0.0};
    gra_covariance out = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
    for (int64_t c = 0; c < reference->classes; c++) {
        double slack = x->rate * x->gap[c] * theta + lambda;
        double policy =
            exp(reference->log_mass[c] + self->penalty->log_ratio(self->penalty, slack));
        q[c] = policy > 0.0 ? policy * self->penalty->log_slope(self->penalty, slack) : 0.0;
        gra_sum_add(&total, q[c]);
        gra_sum_add(&first, q[c] * x->gap[c]);
    }
    out.total = gra_sum_value(total);
    double mean = gra_sum_value(first) / out.total;
    for (int64_t c = 0; c < reference->classes; c++) {
        double d = x->gap[c] - mean;
        gra_sum_add(&second, q[c] * d * d);
        if (rising != NULL) {
            gra_sum_add(&up, q[c] * d * rising[c]);
            out.size_rising += q[c] * x->gap[c] * rising[c];
        }
        if (falling != NULL) {
            gra_sum_add(&down, q[c] * d * falling[c]);
            out.size_falling += q[c] * x->gap[c] * falling[c];
        }
    }
    out.gap = out.total * gra_sum_value(second);
    out.rising = out.total * gra_sum_value(up);
    out.falling = out.total * gra_sum_value(down);
    out.size_rising *= out.total;
    out.size_falling *= out.total;
    return out;
}

static gra_divisor_bounds divisor_bounds(gra_path *self, const gra_path_point *a,
                                         const gra_path_point *b)
{
    gra_stretch stretch = {.theta_a = a->theta,
                           .theta_b = b->theta,
                           .a = a->of,
                           .b = b->of,
                           .rate = self->rate,
                           .rounding = self->rounding};
    int needs_none = is_exponential(self) && self->divisor.kind->convex_families;
    for (int64_t k = 0; k < self->count && !needs_none; k++) {
        /* lambda falls as theta grows, so every slack in the piece lies between these, and q falls
         * with the slack. */
        if (self->context[k].gap != NULL) {
            self->least[k] = covariance_at(self, k, b->theta, a->lambda[k]);
            self->most[k] = covariance_at(self, k, a->theta, b->lambda[k]);
        }
        stretch.least = self->least;
        stretch.most = self->most;
    }
    return self->divisor.kind->bounds(&self->divisor, &stretch);
}

/* The bounds on the slope of log beta in theta, with room for rounding. */
static gra_interval with_theta(gra_interval slope, double theta_a, double theta_b)
{
    slope.low -= 1.0 / theta_a + SUM_ROUNDING * (fabs(slope.low) + 1.0 / theta_a);
    slope.high -= 1.0 / theta_b - SUM_ROUNDING * (fabs(slope.high) + 1.0 / theta_b);
    return slope;
}

gra_piece gra_path_bound(gra_path *self, const gra_path_point *a, const gra_path_point *b)
{
    gra_divisor_bounds of = divisor_bounds(self, a, b);
    int exact = self->rounding < TOO_ROUNDED;
    gra_interval slope =
        exact ? with_theta(of.slope, a->theta, b->theta) : (gra_interval){-INFINITY, INFINITY};
    double at_a = a->at.value, at_b = b->at.value, width = b->theta - a->theta;
    gra_piece out = {.slope = slope.low > 0.0 ? 1 : slope.high < 0.0 ? -1 : 0};
    out.last = of.rough || (!exact && b->at.scale - a->at.scale < NARROW);
    out.value = (gra_interval){of.value.low - b->at.scale, of.value.high - a->at.scale};
    if (out.slope != 0) {
        out.value = (gra_interval){fmin(at_a, at_b), fmax(at_a, at_b)};
    } else if (isfinite(slope.low) && isfinite(slope.high)) {
        /* log beta stays inside the lines of extreme slope through both ends. */
        double opening = slope.high - slope.low;
        double low = at_a + slope.low * ((slope.high * width + at_a - at_b) / opening);
        double high = at_a + slope.high * ((at_b - at_a - slope.low * width) / opening);
        out.value = (gra_interval){fmax(out.value.low, low), fmin(out.value.high, high)};
    }
    double size = fmax(isfinite(at_a) ? fabs(at_a) : 0.0, fabs(a->at.scale));
    double noise = DBL_EPSILON * (8.0 + size);
    out.value.low -= noise;
    out.value.high += noise;
    return out;
}

double gra_path_slope(gra_path *self, const gra_path_point *at)
{
    gra_interval slope = divisor_bounds(self, at, at).slope;
    return 0.5 * (slope.low + slope.high) - 1.0 / at->theta;
}
