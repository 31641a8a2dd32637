#include "model/tilt.h"

#include <float.h>
#include <math.h>

#include "base/numeric.h"
#include "expectation/expectation.h"

static double reward_of(const gra_tilt *tilt, int64_t c)
{
    return tilt->reward != NULL ? tilt->reward[c] : -tilt->gap[c];
}

gra_tilt_centre gra_tilt_find_centre(const gra_tilt *tilt, const double *policy)
{
    int64_t heaviest = 0;
    for (int64_t c = 1; c < tilt->classes; c++) {
        heaviest = policy[c] > policy[heaviest] ? c : heaviest;
    }
    gra_tilt_centre centre = {reward_of(tilt, heaviest), 0.0};
    gra_sum sum = {0.0, 0.0};
    for (int64_t c = 0; c < tilt->classes; c++) {
        gra_sum_add(&sum, policy[c] * (centre.pivot - reward_of(tilt, c)));
    }
    centre.offset = gra_sum_value(sum);
    return centre;
}

double gra_tilt_deviation(const gra_tilt *tilt, gra_tilt_centre centre, int64_t c)
{
    return (centre.pivot - reward_of(tilt, c)) - centre.offset;
}

double gra_tilt_mean_gap(const gra_tilt *tilt, const double *policy)
{
    gra_sum sum = {0.0, 0.0};
    for (int64_t c = 0; c < tilt->classes; c++) {
        gra_sum_add(&sum, policy[c] * tilt->gap[c]);
    }
    return gra_sum_value(sum);
}

/* ---- unscaled: strength = constant ---------------------------------------------------------------- */

static double constant_strength(const gra_tilt *self, const double *policy)
{
    (void)policy;
    return self->constant;
}

static void constant_sample(const gra_tilt *self, const double *policy, gra_tilt_sample *sample)
{
    (void)policy;
    sample->log_strength = log(self->constant);
    sample->slope = 0.0;
}

static void constant_slope_bounds(const gra_tilt *self, const gra_tilt_piece *piece, double *low, double *high)
{
    (void)self, (void)piece;
    *low = *high = 0.0;
}

static double constant_ceiling(const gra_tilt *self, const gra_tilt_sample *a, const double *policy)
{
    (void)a, (void)policy;
    return self->constant;
}

static double constant_tail_slope(const gra_tilt *self, const gra_tilt_sample *a)
{
    (void)self, (void)a;
    return 0.0;
}

static void constant_gradient(const gra_tilt *self, const double *policy, double *gradient)
{
    (void)policy;
    for (int64_t c = 0; c < self->classes; c++) {
        gradient[c] = 0.0;
    }
}

void gra_tilt_constant(gra_tilt *tilt, double strength)
{
    tilt->constant = tilt->low = tilt->high = fmin(strength, DBL_MAX);
    tilt->strength = constant_strength;
    tilt->sample = constant_sample;
    tilt->slope_bounds = constant_slope_bounds;
    tilt->ceiling = constant_ceiling;
    tilt->tail_slope = constant_tail_slope;
    tilt->gradient = constant_gradient;
    tilt->any_ray = 1;
    tilt->falling = 1;
    tilt->reverse_unique = 1;
}

/* ---- large groups: strength = 1 / (sigma + epsilon) ------------------------------------------------- */

typedef struct spread {
    double variance; /* sum pi ((gap - m)^2 + v) */
    double slope;    /* its derivative in theta */
} spread;

static spread limit_spread(const gra_tilt *self, const double *policy, gra_tilt_centre centre)
{
    gra_sum variance = {0.0, 0.0}, slope = {0.0, 0.0};
    for (int64_t c = 0; c < self->classes; c++) {
        double d = gra_tilt_deviation(self, centre, c);
        double v = self->variance != NULL ? self->variance[c] : 0.0;
        gra_sum_add(&variance, policy[c] * (d * d + v));
        gra_sum_add(&slope, -policy[c] * d * (d * d + v));
    }
    spread result = {gra_sum_value(variance), gra_sum_value(slope)};
    return result;
}

static double limit_strength(const gra_tilt *self, const double *policy)
{
    spread s = limit_spread(self, policy, gra_tilt_find_centre(self, policy));
    return 1.0 / (sqrt(s.variance) + self->epsilon);
}

/* The best classes hold all but nothing: sigma^2 is what the others contribute, and the mean is the best. */
static double limit_log_strength(const gra_tilt *self, const double *log_policy)
{
    double top = -INFINITY, sum = 0.0;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t c = 0; c < self->classes; c++) {
            double g = self->gap[c], v = self->variance != NULL ? self->variance[c] : 0.0;
            if (g * g + v > 0.0) {
                double term = log_policy[c] + log(g * g + v);
                top = pass == 0 ? fmax(top, term) : top;
                sum += pass == 0 ? 0.0 : exp(term - top);
            }
        }
    }
    double log_sigma = 0.5 * (top + log(sum));
    return self->epsilon > 0.0 ? -log(exp(log_sigma) + self->epsilon) : -log_sigma;
}

/* The slowest exponent in sigma^2 Z^2 other than those of the best classes among themselves. */
static double slowest_gap(const gra_tilt *self)
{
    double slowest = INFINITY;
    for (int64_t c = 0; c < self->classes; c++) {
        slowest = self->gap[c] > 0.0 ? fmin(slowest, self->gap[c]) : slowest;
    }
    return slowest;
}

static void limit_sample(const gra_tilt *self, const double *policy, gra_tilt_sample *sample)
{
    gra_tilt_centre centre = gra_tilt_find_centre(self, policy);
    spread s = limit_spread(self, policy, centre);
    sample->mean_gap = gra_tilt_mean_gap(self, policy);
    double sigma = sqrt(s.variance);
    sample->log_sigma = log(sigma);
    sample->sigma_slope = 0.5 * s.slope / s.variance;
    if (!(s.variance >= DBL_MIN)) {
        /* Too small for a double: only the best class and the next are left. */
        sample->log_sigma = 0.5 * log(DBL_MIN);
        sample->sigma_slope = -0.5 * slowest_gap(self);
    }
    sample->share = sigma / (sigma + self->epsilon);
    sample->share = isnan(sample->share) ? 1.0 : sample->share;
    sample->log_strength = -log(sigma + self->epsilon);
    sample->slope = -sample->share * sample->sigma_slope;
}

/*
 * log sigma = X/2 - log Z, where Z = sum R e^(-theta g) and X = log(sigma^2 Z^2) are logarithms of sums of
 * exponentials in theta with positive coefficients, hence convex: their slopes only grow.
 */
static void limit_slope_bounds(const gra_tilt *self, const gra_tilt_piece *piece, double *low, double *high)
{
    const gra_tilt_sample *a = piece->a, *b = piece->b;
    double half_x_a = a->sigma_slope - a->mean_gap, half_x_b = b->sigma_slope - b->mean_gap;
    double falls = half_x_a + b->mean_gap, rises = half_x_b + a->mean_gap; /* of log sigma */
    double share_low = 1.0, share_high = 1.0;
    if (self->epsilon > 0.0) {
        double width = b->theta - a->theta;
        double top = fmin(a->log_sigma + fmax(rises, 0.0) * width, b->log_sigma + fmax(-falls, 0.0) * width);
        double bottom = fmax(a->log_sigma + fmin(falls, 0.0) * width, b->log_sigma - fmax(rises, 0.0) * width);
        share_high = 1.0 / (1.0 + self->epsilon * exp(-top));
        share_low = a->share > 0.0 && b->share > 0.0 ? 1.0 / (1.0 + self->epsilon * exp(-bottom)) : 0.0;
    }
    *low = -(rises > 0.0 ? share_high : share_low) * rises;
    *high = -(falls < 0.0 ? share_high : share_low) * falls;
}

static double limit_ceiling(const gra_tilt *self, const gra_tilt_sample *a, const double *policy)
{
    /* The classes without gap only gain as theta grows, so sigma^2 stays above their share of variance. */
    (void)a;
    double variance = 0.0;
    if (self->variance != NULL) {
        for (int64_t c = 0; c < self->classes; c++) {
            variance += self->gap[c] == 0.0 ? policy[c] * self->variance[c] : 0.0;
        }
    }
    return 1.0 / (sqrt(variance) + self->epsilon);
}

static double limit_tail_slope(const gra_tilt *self, const gra_tilt_sample *a)
{
    for (int64_t c = 0; self->variance != NULL && c < self->classes; c++) {
        if (self->gap[c] == 0.0 && self->variance[c] > 0.0) {
            return -INFINITY;
        }
    }
    double rises = -0.5 * slowest_gap(self) + a->mean_gap; /* bound on d log sigma / d theta */
    return rises < 0.0 && self->epsilon == 0.0 ? -rises : -fmax(rises, 0.0);
}

static void limit_gradient(const gra_tilt *self, const double *policy, double *gradient)
{
    gra_tilt_centre centre = gra_tilt_find_centre(self, policy);
    double sigma = sqrt(limit_spread(self, policy, centre).variance);
    double strength = 1.0 / (sigma + self->epsilon);
    for (int64_t c = 0; c < self->classes; c++) {
        double d = gra_tilt_deviation(self, centre, c);
        double v = self->variance != NULL ? self->variance[c] : 0.0;
        gradient[c] = sigma > 0.0 ? -strength * strength * (d * d + v) / (2.0 * sigma) : 0.0;
    }
}

void gra_tilt_limit(gra_tilt *tilt, const double *variance, double epsilon)
{
    double widest = gra_max(tilt->gap, tilt->classes);
    double least = variance != NULL ? gra_min(variance, tilt->classes) : 0.0;
    double most = variance != NULL ? gra_max(variance, tilt->classes) : 0.0;
    tilt->variance = variance;
    tilt->epsilon = epsilon;
    tilt->low = 1.0 / (sqrt(0.25 * widest * widest + most) + epsilon);
    tilt->high = 1.0 / (sqrt(least) + epsilon);
    tilt->strength = limit_strength;
    tilt->log_strength = limit_log_strength;
    tilt->sample = limit_sample;
    tilt->slope_bounds = limit_slope_bounds;
    tilt->ceiling = limit_ceiling;
    tilt->tail_slope = limit_tail_slope;
    tilt->gradient = limit_gradient;
    tilt->reverse_unique = 1; /* theory, section 2: one monotone equation */
}

/* ---- two reward levels: strength = the gap of the advantages, a function of P(success) --------------- */

static void success_probability(const gra_tilt *self, const double *policy, double *p, double *q)
{
    gra_sum up = {0.0, 0.0}, down = {0.0, 0.0};
    for (int64_t c = 0; c < self->classes; c++) {
        gra_sum_add(&up, policy[c] * self->success[c]);
        gra_sum_add(&down, policy[c] * self->failure[c]);
    }
    *p = gra_sum_value(up);
    *q = gra_sum_value(down);
}

static double two_levels_strength(const gra_tilt *self, const double *policy)
{
    double p, q;
    success_probability(self, policy, &p, &q);
    return self->factor * gra_bernstein_gap(self->group_size, self->epsilon, p, q, NULL);
}

static void two_levels_sample(const gra_tilt *self, const double *policy, gra_tilt_sample *sample)
{
    double slope, q;
    success_probability(self, policy, &sample->p, &q);
    double gap = gra_bernstein_gap(self->group_size, self->epsilon, sample->p, q, &slope);
    sample->mean_gap = gra_tilt_mean_gap(self, policy);
    sample->log_sigma = log(gap);
    sample->log_strength = log(self->factor * gap);
    sample->share = slope;
    sample->slope = slope / gap * sample->spread;
}

/* d log gap / d theta = (gap'(p) / gap(p)) dp/d theta, where p = constant - mean gap grows with theta and the gap is convex in
 * p with its minimum at 1/2. */
static void two_levels_slope_bounds(const gra_tilt *self, const gra_tilt_piece *piece, double *low, double *high)
{
    const gra_tilt_sample *a = piece->a, *b = piece->b;
    double gap_a = exp(a->log_sigma), gap_b = exp(b->log_sigma);
    double largest = fmax(gap_a, gap_b), smallest = fmin(gap_a, gap_b);
    if (a->p < 0.5 && b->p > 0.5) {
        smallest = gra_bernstein_gap(self->group_size, self->epsilon, 0.5, 0.5, NULL);
    }
    *low = a->share < 0.0 ? a->share / smallest * piece->most_spread : a->share / largest * piece->least_spread;
    *high = b->share < 0.0 ? b->share / largest * piece->least_spread : b->share / smallest * piece->most_spread;
}

static double two_levels_ceiling(const gra_tilt *self, const gra_tilt_sample *a, const double *policy)
{
    (void)policy;
    /* p only grows from here, and the gap is convex: its largest value is at one end. */
    return fmax(exp(a->log_strength),
                self->factor * gra_bernstein_gap(self->group_size, self->epsilon, 1.0, 0.0, NULL));
}

static double two_levels_tail_slope(const gra_tilt *self, const gra_tilt_sample *a)
{
    (void)self, (void)a;
    return -INFINITY;
}

static void two_levels_gradient(const gra_tilt *self, const double *policy, double *gradient)
{
    double p, q, slope;
    success_probability(self, policy, &p, &q);
    (void)gra_bernstein_gap(self->group_size, self->epsilon, p, q, &slope);
    for (int64_t c = 0; c < self->classes; c++) {
        gradient[c] = self->factor * slope * self->success[c];
    }
}

void gra_tilt_two_levels(gra_tilt *tilt, const double *success, const double *failure, int64_t group_size,
                         double epsilon, double factor)
{
    tilt->success = success;
    tilt->failure = failure;
    tilt->group_size = group_size;
    tilt->epsilon = epsilon;
    tilt->factor = factor;
    tilt->low = factor * gra_bernstein_gap(group_size, epsilon, 0.5, 0.5, NULL);
    tilt->high = factor * gra_bernstein_gap(group_size, epsilon, 0.0, 1.0, NULL);
    tilt->strength = two_levels_strength;
    tilt->sample = two_levels_sample;
    tilt->slope_bounds = two_levels_slope_bounds;
    tilt->ceiling = two_levels_ceiling;
    tilt->tail_slope = two_levels_tail_slope;
    tilt->gradient = two_levels_gradient;
    tilt->any_ray = 1;
    /* theory, section 2 (i): proved when every outcome surely succeeds or surely fails. */
    tilt->reverse_unique = 1;
    for (int64_t c = 0; c < tilt->classes; c++) {
        if (success[c] != 0.0 && failure[c] != 0.0) {
            tilt->reverse_unique = 0;
        }
    }
}
