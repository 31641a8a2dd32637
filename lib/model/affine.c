#include "model/affine.h"

#include <float.h>
#include <math.h>

#include "base/numeric.h"
#include "model/model.h"

static double reward_of(const gra_affine *affine, int64_t c)
{
    return affine->reward != NULL ? affine->reward[c] : -affine->gap[c];
}

gra_affine_centre gra_affine_find_centre(const gra_affine *affine, const double *policy)
{
    int64_t heaviest = 0;
    for (int64_t c = 1; c < affine->classes; c++) {
        heaviest = policy[c] > policy[heaviest] ? c : heaviest;
    }
    gra_affine_centre centre = {reward_of(affine, heaviest), 0.0};
    gra_sum sum = {0.0, 0.0};
    for (int64_t c = 0; c < affine->classes; c++) {
        gra_sum_add(&sum, policy[c] * (centre.pivot - reward_of(affine, c)));
    }
    centre.offset = gra_sum_value(sum);
    return centre;
}

double gra_affine_deviation(const gra_affine *affine, gra_affine_centre centre, int64_t c)
{
    return (centre.pivot - reward_of(affine, c)) - centre.offset;
}

double gra_affine_mean_gap(const gra_affine *affine, const double *policy)
{
    gra_sum sum = {0.0, 0.0};
    for (int64_t c = 0; c < affine->classes; c++) {
        gra_sum_add(&sum, policy[c] * affine->gap[c]);
    }
    return gra_sum_value(sum);
}

/* Where the strength is bounded beta falls to 0 at the end of every path, and no slope is asked
 * for. */
static double no_tail_slope(const gra_affine *self, const gra_affine_sample *a)
{
    (void)self, (void)a;
    return -INFINITY;
}

/* ---- unscaled: strength = constant
 * ---------------------------------------------------------------- */

static double constant_strength(const gra_affine *self, const double *policy)
{
    (void)policy;
    return self->constant;
}

static void constant_sample(const gra_affine *self, const double *policy, gra_affine_sample *sample)
{
    (void)policy;
    sample->log_strength = log(self->constant);
    sample->slope = 0.0;
}

static void constant_slope_bounds(const gra_affine *self, const gra_affine_piece *piece,
                                  double *low, double *high)
{
    (void)self, (void)piece;
    *low = *high = 0.0;
}

static double constant_ceiling(const gra_affine *self, const gra_affine_sample *a,
                               const double *policy)
{
    (void)a, (void)policy;
    return self->constant;
}

static double constant_tail_slope(const gra_affine *self, const gra_affine_sample *a)
{
    (void)self, (void)a;
    return 0.0;
}

static void constant_gradient(const gra_affine *self, const double *policy, double *gradient)
{
    (void)policy;
    for (int64_t c = 0; c < self->classes; c++) {
        gradient[c] = 0.0;
    }
}

void gra_affine_constant(gra_affine *affine, double strength)
{
    affine->constant = affine->low = affine->high = fmin(strength, DBL_MAX);
    affine->strength = constant_strength;
    affine->sample = constant_sample;
    affine->slope_bounds = constant_slope_bounds;
    affine->ceiling = constant_ceiling;
    affine->tail_slope = constant_tail_slope;
    affine->gradient = constant_gradient;
    affine->any_path = 1;
    affine->falling = 1;
    affine->over_sigma = 0;
    affine->reverse_unique = 1;
}

/* ---- large groups: strength = 1 / (sigma + epsilon)
 * ------------------------------------------------- */

typedef struct spread {
    double variance; /* sum pi ((gap - m)^2 + v) */
    double slope;    /* its derivative in theta */
} spread;

static spread limit_spread(const gra_affine *self, const double *policy, gra_affine_centre centre)
{
    gra_sum variance = {0.0, 0.0}, slope = {0.0, 0.0};
    for (int64_t c = 0; c < self->classes; c++) {
        double d = gra_affine_deviation(self, centre, c);
        double v = self->variance != NULL ? self->variance[c] : 0.0;
        gra_sum_add(&variance, policy[c] * (d * d + v));
        gra_sum_add(&slope, -policy[c] * d * (d * d + v));
    }
    spread result = {gra_sum_value(variance), gra_sum_value(slope)};
    return result;
}

static double limit_strength(const gra_affine *self, const double *policy)
{
    spread s = limit_spread(self, policy, gra_affine_find_centre(self, policy));
    return 1.0 / (sqrt(s.variance) + self->epsilon);
}

/* The best classes hold all but nothing: sigma^2 is what the others contribute, and the mean is the
 * best. */
static double limit_log_strength(const gra_affine *self, const double *log_policy)
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
static double slowest_gap(const gra_affine *self)
{
    double slowest = INFINITY;
    for (int64_t c = 0; c < self->classes; c++) {
        slowest = self->gap[c] > 0.0 ? fmin(slowest, self->gap[c]) : slowest;
    }
    return slowest;
}

static void limit_sample(const gra_affine *self, const double *policy, gra_affine_sample *sample)
{
    gra_affine_centre centre = gra_affine_find_centre(self, policy);
    spread s = limit_spread(self, policy, centre);
    sample->mean_gap = gra_affine_mean_gap(self, policy);
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
 * log sigma = X/2 - log Z, where Z = sum R e^(-theta g) and X = log(sigma^2 Z^2) are logarithms of
 * sums of exponentials in theta with positive coefficients, hence convex: their slopes only grow.
 */
static void limit_slope_bounds(const gra_affine *self, const gra_affine_piece *piece, double *low,
                               double *high)
{
    const gra_affine_sample *a = piece->a, *b = piece->b;
    double half_x_a = a->sigma_slope - a->mean_gap, half_x_b = b->sigma_slope - b->mean_gap;
    double falls = half_x_a + b->mean_gap, rises = half_x_b + a->mean_gap; /* of log sigma */
    double share_low = 1.0, share_high = 1.0;
    if (self->epsilon > 0.0) {
        double width = b->theta - a->theta;
        double top =
            fmin(a->log_sigma + fmax(rises, 0.0) * width, b->log_sigma + fmax(-falls, 0.0) * width);
        double bottom =
            fmax(a->log_sigma + fmin(falls, 0.0) * width, b->log_sigma - fmax(rises, 0.0) * width);
        share_high = 1.0 / (1.0 + self->epsilon * exp(-top));
        share_low =
            a->share > 0.0 && b->share > 0.0 ? 1.0 / (1.0 + self->epsilon * exp(-bottom)) : 0.0;
    }
    *low = -(rises > 0.0 ? share_high : share_low) * rises;
    *high = -(falls < 0.0 ? share_high : share_low) * falls;
}

static double limit_ceiling(const gra_affine *self, const gra_affine_sample *a,
                            const double *policy)
{
    /* The classes without gap only gain as theta grows, so sigma^2 stays above their share of
     * variance. */
    (void)a;
    double variance = 0.0;
    if (self->variance != NULL) {
        for (int64_t c = 0; c < self->classes; c++) {
            variance += self->gap[c] == 0.0 ? policy[c] * self->variance[c] : 0.0;
        }
    }
    return 1.0 / (sqrt(variance) + self->epsilon);
}

static double limit_tail_slope(const gra_affine *self, const gra_affine_sample *a)
{
    for (int64_t c = 0; self->variance != NULL && c < self->classes; c++) {
        if (self->gap[c] == 0.0 && self->variance[c] > 0.0) {
            return -INFINITY;
        }
    }
    double rises = -0.5 * slowest_gap(self) + a->mean_gap; /* bound on d log sigma / d theta */
    return rises < 0.0 && self->epsilon == 0.0 ? -rises : -fmax(rises, 0.0);
}

static void limit_gradient(const gra_affine *self, const double *policy, double *gradient)
{
    gra_affine_centre centre = gra_affine_find_centre(self, policy);
    double sigma = sqrt(limit_spread(self, policy, centre).variance);
    double strength = 1.0 / (sigma + self->epsilon);
    for (int64_t c = 0; c < self->classes; c++) {
        double d = gra_affine_deviation(self, centre, c);
        double v = self->variance != NULL ? self->variance[c] : 0.0;
        gradient[c] = sigma > 0.0 ? -strength * strength * (d * d + v) / (2.0 * sigma) : 0.0;
    }
}

void gra_affine_limit(gra_affine *affine, const double *variance, double epsilon)
{
    double widest = gra_max(affine->gap, affine->classes);
    double least = variance != NULL ? gra_min(variance, affine->classes) : 0.0;
    double most = variance != NULL ? gra_max(variance, affine->classes) : 0.0;
    affine->variance = variance;
    affine->epsilon = epsilon;
    affine->low = 1.0 / (sqrt(0.25 * widest * widest + most) + epsilon);
    affine->high = 1.0 / (sqrt(least) + epsilon);
    affine->strength = limit_strength;
    affine->log_strength = limit_log_strength;
    affine->sample = limit_sample;
    affine->slope_bounds = limit_slope_bounds;
    affine->ceiling = limit_ceiling;
    affine->tail_slope = limit_tail_slope;
    affine->gradient = limit_gradient;
    affine->over_sigma = 1;
    affine->reverse_unique = 1; /* theory, section 2: one monotone equation */
}

/* ---- large groups over their mean: strength = 1 / (mean + epsilon)
 * ------------------------------------------ */

static double mean_strength(const gra_affine *self, const double *policy)
{
    gra_sum mean = {0.0, 0.0};
    for (int64_t c = 0; c < self->classes; c++) {
        gra_sum_add_product(&mean, policy[c], self->reward[c]);
    }
    return 1.0 / (gra_sum_value(mean) + self->epsilon);
}

static void mean_sample(const gra_affine *self, const double *policy, gra_affine_sample *sample)
{
    double strength = mean_strength(self, policy);
    sample->mean_gap = gra_affine_mean_gap(self, policy);
    sample->log_strength = log(strength);
    sample->slope = -sample->spread * strength;
}

/* The mean grows along a path, and with it every bound. */
static void mean_slope_bounds(const gra_affine *self, const gra_affine_piece *piece, double *low,
                              double *high)
{
    (void)self;
    *low = -exp(piece->a->log_strength) * piece->most_spread;
    *high = -exp(piece->b->log_strength) * piece->least_spread;
}

static double mean_ceiling(const gra_affine *self, const gra_affine_sample *a, const double *policy)
{
    (void)self, (void)policy;
    return exp(a->log_strength);
}

static void mean_gradient(const gra_affine *self, const double *policy, double *gradient)
{
    double strength = mean_strength(self, policy);
    for (int64_t c = 0; c < self->classes; c++) {
        gradient[c] = -strength * strength * self->reward[c];
    }
}

void gra_affine_mean(gra_affine *affine, double best, double epsilon)
{
    affine->epsilon = epsilon;
    affine->low = 1.0 / (best + epsilon);
    affine->high = 1.0 / ((best - gra_max(affine->gap, affine->classes)) + epsilon);
    affine->strength = mean_strength;
    affine->sample = mean_sample;
    affine->slope_bounds = mean_slope_bounds;
    affine->ceiling = mean_ceiling;
    affine->tail_slope = no_tail_slope;
    affine->gradient = mean_gradient;
    affine->any_path = 1;
    affine->falling = 1;
    affine->reverse_unique = 1;
}

/* ---- two reward levels: strength = the gap of the advantages, a function of P(success)
 * --------------- */

static void success_probability(const gra_affine *self, const double *policy, double *p, double *q)
{
    gra_sum up = {0.0, 0.0}, down = {0.0, 0.0};
    for (int64_t c = 0; c < self->classes; c++) {
        gra_sum_add(&up, policy[c] * self->success[c]);
        gra_sum_add(&down, policy[c] * self->failure[c]);
    }
    *p = gra_sum_value(up);
    *q = gra_sum_value(down);
}

static double two_levels_strength(const gra_affine *self, const double *policy)
{
    double p, q;
    success_probability(self, policy, &p, &q);
    return gra_bernstein_gap(&self->contrast, p, q, NULL);
}

static void two_levels_sample(const gra_affine *self, const double *policy,
                              gra_affine_sample *sample)
{
    double slope, q;
    success_probability(self, policy, &sample->p, &q);
    double gap = gra_bernstein_gap(&self->contrast, sample->p, q, &slope);
    sample->mean_gap = gra_affine_mean_gap(self, policy);
    sample->log_sigma = sample->log_strength = log(gap);
    sample->share = slope;
    sample->slope = slope / gap * sample->spread;
}

typedef struct ends {
    double value, slope; /* end (p^n + q^n) and its derivative */
} ends;

static ends ends_at(const gra_affine *self, double p)
{
    double n = (double)self->contrast.group_size - 1.0, q = 1.0 - p;
    ends result = {0.0, 0.0};
    if (self->end != 0.0) {
        result.value = self->end * (pow(p, n) + pow(q, n));
        result.slope = self->end * n * (pow(p, n - 1.0) - pow(q, n - 1.0));
    }
    return result;
}

/*
 * d log gap / d theta = (gap'(p) / gap(p)) dp/d theta, where p = constant - mean gap grows with
 * theta. The gap is a convex function of p with its minimum at 1/2, and its ends, whose slope is
 * monotone and which are extreme at 1/2.
 */
static void two_levels_slope_bounds(const gra_affine *self, const gra_affine_piece *piece,
                                    double *low, double *high)
{
    const gra_affine_sample *a = piece->a, *b = piece->b;
    if (self->falling) {
        *low = -INFINITY;
        *high = 0.0;
        return;
    }
    ends at_a = ends_at(self, a->p), at_b = ends_at(self, b->p), middle = at_a;
    double convex_a = exp(a->log_sigma) - at_a.value, convex_b = exp(b->log_sigma) - at_b.value;
    double largest = fmax(convex_a, convex_b), smallest = fmin(convex_a, convex_b);
    if (a->p < 0.5 && b->p > 0.5) {
        middle = ends_at(self, 0.5);
        smallest = gra_bernstein_gap(&self->contrast, 0.5, 0.5, NULL) - middle.value;
    }
    largest = fmin(self->high, largest + fmax(middle.value, fmax(at_a.value, at_b.value)));
    smallest = fmax(self->low, smallest + fmin(middle.value, fmin(at_a.value, at_b.value)));
    double least = (a->share - at_a.slope) + fmin(at_a.slope, at_b.slope);
    double most = (b->share - at_b.slope) + fmax(at_a.slope, at_b.slope);
    *low =
        least < 0.0 ? least / smallest * piece->most_spread : least / largest * piece->least_spread;
    *high =
        most < 0.0 ? most / largest * piece->least_spread : most / smallest * piece->most_spread;
}

static double two_levels_ceiling(const gra_affine *self, const gra_affine_sample *a,
                                 const double *policy)
{
    (void)policy;
    /* p only grows from here, and a convex gap's largest value is at one end. */
    return self->end != 0.0
               ? self->high
               : fmax(exp(a->log_strength), gra_bernstein_gap(&self->contrast, 1.0, 0.0, NULL));
}

static void two_levels_gradient(const gra_affine *self, const double *policy, double *gradient)
{
    double p, q, slope;
    success_probability(self, policy, &p, &q);
    (void)gra_bernstein_gap(&self->contrast, p, q, &slope);
    for (int64_t c = 0; c < self->classes; c++) {
        gradient[c] = slope * self->success[c];
    }
}

/* Over the std of others the gap is convex but for groups whose others are alike, b_0 and b_(G-1).
 */
static double end_of(const gra_contrast *contrast)
{
    double size = (double)contrast->group_size, n = size - 1.0;
    double b[3];
    for (int k = 1; k <= 2; k++) {
        b[k] = contrast->factor / (sqrt(k * (n - k)) / n + contrast->epsilon);
    }
    return contrast->raw - (n >= 4.0 ? 2.0 * b[1] - b[2] : b[1]);
}

void gra_affine_two_levels(gra_affine *affine, const double *success, const double *failure,
                           const gra_contrast *contrast)
{
    double at_0 = gra_bernstein_gap(contrast, 0.0, 1.0, NULL),
           at_1 = gra_bernstein_gap(contrast, 1.0, 0.0, NULL);
    double n = (double)contrast->group_size - 1.0;
    affine->success = success;
    affine->failure = failure;
    affine->contrast = *contrast;
    affine->strength = two_levels_strength;
    affine->sample = two_levels_sample;
    affine->slope_bounds = two_levels_slope_bounds;
    affine->ceiling = two_levels_ceiling;
    affine->tail_slope = no_tail_slope;
    affine->gradient = two_levels_gradient;
    affine->any_path = 1;
    switch (contrast->divisor) {
    case GRA_OVER_MEAN:
        /* A success is worth less where they are many: b_k falls (tests/unit/test_expectation.c).
         */
        affine->low = at_1;
        affine->high = at_0;
        affine->falling = 1;
        affine->reverse_unique = 1;
        return;
    case GRA_OVER_STD_OF_OTHERS: {
        double widest = contrast->factor / (0.5 + contrast->epsilon);
        double tightest = contrast->factor / (sqrt(n - 1.0) / n + contrast->epsilon);
        affine->low = fmin(contrast->raw, widest);
        affine->high = fmax(contrast->raw, tightest);
        affine->end = end_of(contrast);
        return;
    }
    default:
        affine->low = gra_bernstein_gap(contrast, 0.5, 0.5, NULL);
        affine->high = at_0;
        /* theory, section 2 (i): proved when every outcome surely succeeds or surely fails. Inside
         * the root x/sqrt(x + epsilon) is as concave as sqrt(x). */
        affine->reverse_unique = 1;
        for (int64_t c = 0; c < affine->classes; c++) {
            if (success[c] != 0.0 && failure[c] != 0.0) {
                affine->reverse_unique = 0;
            }
        }
    }
}

/* ---- the std of others: strength = E[1 / (s + epsilon)]
 * ---------------------------------------------------- */

/* The strength, and its gradient over the classes unless NULL. */
static double others_evaluate(const gra_affine *self, const double *policy, double *gradient)
{
    const gra_expectation *e = self->expectation;
    gra_arena_mark_t mark = gra_arena_mark(self->arena);
    double *w = gra_arena_doubles(self->arena, e->levels), *slope = NULL, strength = NAN;
    if (gradient != NULL) {
        slope = gra_arena_doubles(self->arena, e->levels);
    }
    if (w != NULL && (gradient == NULL || slope != NULL)) {
        gra_game levels = {
            .classes = self->classes, .levels = e->levels, .distribution = self->distribution};
        gra_game_to_levels(&levels, policy, w);
        strength = gra_expectation_strength(e, w, slope, self->arena);
        if (gradient != NULL) {
            gra_game_to_classes(&levels, slope, gradient);
        }
    }
    gra_arena_rewind(self->arena, mark);
    return strength;
}

static double others_strength(const gra_affine *self, const double *policy)
{
    return others_evaluate(self, policy, NULL);
}

static void others_sample(const gra_affine *self, const double *policy, gra_affine_sample *sample)
{
    sample->log_strength = log(others_strength(self, policy));
    sample->slope = NAN;
}

static double others_ceiling(const gra_affine *self, const gra_affine_sample *a,
                             const double *policy)
{
    (void)a, (void)policy;
    return self->high;
}

static void others_gradient(const gra_affine *self, const double *policy, double *gradient)
{
    (void)others_evaluate(self, policy, gradient);
}

void gra_affine_others(gra_affine *affine, const gra_expectation *expectation,
                       const double *distribution, gra_arena *arena)
{
    const gra_expectation *e = expectation;
    double n = (double)e->members, range = e->x[e->levels - 1] - e->x[0], nearest = range;
    for (int64_t l = 1; l < e->levels; l++) {
        nearest = fmin(nearest, e->x[l] - e->x[l - 1]);
    }
    affine->expectation = expectation;
    affine->distribution = distribution;
    affine->arena = arena;
    affine->low = fmin(e->raw, e->factor / (0.5 * range + e->epsilon));
    affine->high = fmax(e->raw, e->factor / (nearest * sqrt(n - 1.0) / n + e->epsilon));
    affine->strength = others_strength;
    affine->sample = others_sample;
    affine->ceiling = others_ceiling;
    affine->tail_slope = no_tail_slope;
    affine->gradient = others_gradient;
}
