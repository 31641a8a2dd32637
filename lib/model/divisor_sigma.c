/*
 * The std of rewards: of one context in the limit of large groups, of all contexts of a batch.
 *
 * In a stretch of the path bounds on sigma follow from what is monotone. As theta grows a policy
 * moves its probability to smaller gaps, so sum pi f falls for every growing f of the gap: the mean
 * gap e does, and the second moment h. Variances within the classes are written as the difference
 * of two growing functions, their rises (which go to h) and their falls d. Then
 *
 *     variance = h - d - e^2,   and its slope follows from the covariances of the gap with each.
 *
 * On exponential families a tighter bound holds: log sigma = X/2 - log Z, where Z = sum R e^(-theta
 * gap) and X = log(sigma^2 Z^2) are logarithms of sums of exponentials in theta with positive
 * coefficients, hence convex. (doc/theory.md, section 2.11)
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "model/affine.h"
#include "model/model.h"

typedef struct sigma_data {
    const gra_sigma_context *context;
    int64_t count;
    int between;
    double epsilon;
    double slowest; /* the least gap above 0, one context */
} sigma_data;

/* Bounds on sigma^2 whose rounding is this part of it tell nothing more, however short the
 * stretch. */
static const double ROUGH = 1e-3;
/* A sigma^2 below this counts as none. */
static const double LEAST_VARIANCE = 1e-300;
/* Sums are good to this, relative to their terms: the exponential of up to 700 has 1.6e-13 of
 * rounding. */
static const double ROUNDING = 1e-12;

static double variance_of(const gra_sigma_context *x, int64_t c)
{
    return x->variance != NULL ? x->variance[c] : 0.0;
}

static void spread_at(const gra_sigma_context *x, const double *policy, gra_moments *out)
{
    gra_sum variance = {0.0, 0.0}, third = {0.0, 0.0};
    gra_centre centre = {0, 0.0, 0.0};
    if (x->gap != NULL) {
        centre = gra_find_centre(x->classes, x->gap, x->reward, policy);
    }
    for (int64_t c = 0; c < x->classes; c++) {
        double d = x->gap != NULL ? gra_deviation(x->gap, x->reward, centre, c) : 0.0;
        double square = d * d + variance_of(x, c);
        gra_sum_add(&variance, policy[c] * square);
        gra_sum_add(&third, policy[c] * d * square);
    }
    out->variance = gra_sum_value(variance);
    out->third = gra_sum_value(third);
    out->pivot = x->best - (x->gap != NULL ? x->gap[centre.heaviest] : 0.0);
    out->offset = centre.offset;
}

static int moments(const gra_divisor *self, int64_t k, const double *policy, int for_bounds,
                   gra_arena *arena, gra_moments *out)
{
    const gra_sigma_context *x = &((const sigma_data *)self->data)->context[k];
    const double *rising = self->rising != NULL ? self->rising[k] : NULL;
    const double *falling = self->falling != NULL ? self->falling[k] : NULL;
    gra_sum mean = {0.0, 0.0}, up = {0.0, 0.0}, down = {0.0, 0.0};
    (void)arena;
    *out = (gra_moments){.mean_gap = 0.0};
    spread_at(x, policy, out);
    for (int64_t c = 0; for_bounds && c < x->classes; c++) {
        gra_sum_add_product(&mean, policy[c], x->gap != NULL ? x->gap[c] : 0.0);
        gra_sum_add_product(&up, policy[c], rising != NULL ? rising[c] : 0.0);
        gra_sum_add_product(&down, policy[c], falling != NULL ? falling[c] : 0.0);
        out->own += x->gap == NULL || x->gap[c] == 0.0 ? policy[c] * variance_of(x, c) : 0.0;
    }
    out->mean_gap = gra_sum_value(mean);
    out->rising = gra_sum_value(up);
    out->falling = gra_sum_value(down);
    return 1;
}

/* The mean reward of a context less the pivot of the first. */
static double mean_from_first(const gra_moments *of, int64_t k)
{
    return (of[k].pivot - of[0].pivot) - of[k].offset;
}

/* The part of sigma^2 within the contexts. */
static double within(const sigma_data *data, const gra_moments *of)
{
    gra_sum sum = {0.0, 0.0};
    for (int64_t k = 0; k < data->count; k++) {
        gra_sum_add(&sum, data->context[k].weight * data->context[k].factor * of[k].variance);
    }
    return gra_sum_value(sum);
}

double gra_sigma_value(const gra_divisor *self, const gra_moments *of)
{
    const sigma_data *data = self->data;
    gra_sum mean = {0.0, 0.0}, total = {within(data, of), 0.0};
    for (int64_t k = 0; data->between && k < data->count; k++) {
        gra_sum_add_product(&mean, data->context[k].weight, mean_from_first(of, k));
    }
    for (int64_t k = 0; data->between && k < data->count; k++) {
        double d = mean_from_first(of, k) - gra_sum_value(mean);
        gra_sum_add(&total, data->context[k].weight * d * d);
    }
    return sqrt(gra_sum_value(total));
}

static double inverse(const gra_divisor *self, const gra_moments *of)
{
    return 1.0 / (gra_sigma_value(self, of) + ((const sigma_data *)self->data)->epsilon);
}

/* The best classes hold all but nothing: sigma^2 is what the others contribute, and the mean is the
 * best. */
static double log_inverse(const gra_divisor *self, const double *log_policy)
{
    const sigma_data *data = self->data;
    const gra_sigma_context *x = data->context;
    double top = -INFINITY, sum = 0.0;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t c = 0; c < x->classes; c++) {
            double square = x->gap[c] * x->gap[c] + variance_of(x, c);
            if (square > 0.0) {
                double term = log_policy[c] + log(square);
                top = pass == 0 ? fmax(top, term) : top;
                sum += pass == 0 ? 0.0 : exp(term - top);
            }
        }
    }
    double log_sigma = 0.5 * (top + log(sum));
    return data->epsilon > 0.0 ? -log(exp(log_sigma) + data->epsilon) : -log_sigma;
}

double gra_sigma_mean(const gra_divisor *self, const gra_moments *of)
{
    const sigma_data *data = self->data;
    gra_sum mean = {0.0, 0.0};
    for (int64_t k = 0; k < data->count; k++) {
        gra_sum_add(&mean, data->context[k].weight * (data->context[k].best - of[k].mean_gap));
    }
    return gra_sum_value(mean);
}

double gra_sigma_derivative(const gra_divisor *self, int64_t k, const gra_moments *of, double mean,
                            int64_t c)
{
    const sigma_data *data = self->data;
    const gra_sigma_context *x = &data->context[k];
    double d =
        (x->gap != NULL ? x->gap[c] : 0.0) - (data->between ? x->best - mean : of[k].mean_gap);
    return x->factor * (d * d + variance_of(x, c));
}

static int gradient(const gra_divisor *self, const double *policy, gra_arena *arena, double *out)
{
    const sigma_data *data = self->data;
    const gra_sigma_context *x = data->context;
    gra_moments of;
    (void)moments(self, 0, policy, 0, arena, &of);
    gra_centre centre = gra_find_centre(x->classes, x->gap, x->reward, policy);
    double sigma = gra_sigma_value(self, &of), value = inverse(self, &of);
    for (int64_t c = 0; c < x->classes; c++) {
        double d = gra_deviation(x->gap, x->reward, centre, c);
        out[c] = sigma > 0.0 ? -value * value * (d * d + variance_of(x, c)) / (2.0 * sigma) : 0.0;
    }
    return 1;
}

/* ---- bounds ---------------------------------------------------------------------------------- */

/* Splits the variances of a context, in the order of its gaps, into what they rise and what they
 * fall; rise receives gap^2 and the rises. */
static int split_variances(const gra_sigma_context *x, double *rise, double *fall, gra_arena *arena)
{
    int64_t n = x->classes, levels = 0;
    int64_t *level_of = gra_arena_take(arena, n, sizeof *level_of);
    int64_t *first = gra_arena_take(arena, n, sizeof *first);
    if (level_of == NULL || first == NULL ||
        !gra_levels_build(x->gap, x->variance, n, level_of, first, &levels, arena)) {
        return 0;
    }
    double risen = x->variance[first[0]], fallen = 0.0;
    for (int64_t l = 0; l < levels; l++) {
        double step = l > 0 ? x->variance[first[l]] - x->variance[first[l - 1]] : 0.0;
        double gap = x->gap[first[l]];
        risen += fmax(step, 0.0);
        fallen += fmax(-step, 0.0);
        rise[first[l]] = gap * gap + risen;
        fall[first[l]] = fallen;
    }
    for (int64_t c = 0; c < n; c++) {
        rise[c] = rise[first[level_of[c]]];
        fall[c] = fall[first[level_of[c]]];
    }
    return 1;
}

static int prepare(const gra_divisor *self, gra_divisor *out, gra_arena *arena)
{
    const sigma_data *data = self->data;
    const double **rising = gra_arena_take(arena, data->count, sizeof *rising);
    const double **falling = gra_arena_take(arena, data->count, sizeof *falling);
    *out = *self;
    if (rising == NULL || falling == NULL) {
        return 0;
    }
    for (int64_t k = 0; k < data->count; k++) {
        const gra_sigma_context *x = &data->context[k];
        int splits = x->variance != NULL && x->gap != NULL;
        double *rise = gra_arena_doubles(arena, x->classes);
        double *fall = splits ? gra_arena_doubles(arena, x->classes) : NULL;
        if (rise == NULL || (splits && fall == NULL) ||
            (splits && !split_variances(x, rise, fall, arena))) {
            return 0;
        }
        for (int64_t c = 0; !splits && c < x->classes; c++) {
            rise[c] = x->gap != NULL ? x->gap[c] * x->gap[c] : variance_of(x, c);
        }
        rising[k] = rise;
        falling[k] = fall;
    }
    out->rising = rising;
    out->falling = falling;
    return 1;
}

/* Bounds on sigma over a stretch. *rough tells that they are mostly rounding. */
static gra_interval sigma_over(const sigma_data *data, const gra_stretch *stretch, double mean_a,
                               double mean_b, int *rough)
{
    double middle = 0.5 * (mean_a + mean_b), shift = 0.5 * (mean_b - mean_a), size = 0.0;
    gra_interval total = {0.0, 0.0};
    for (int64_t k = 0; k < data->count; k++) {
        const gra_sigma_context *x = &data->context[k];
        const gra_moments *a = &stretch->a[k], *b = &stretch->b[k];
        gra_interval gap = {b->mean_gap, a->mean_gap};
        gra_interval own = {b->rising - a->falling, a->rising - b->falling};
        own = gra_interval_sum(own, gra_interval_times(-1.0, gra_interval_square(gap)));
        own.low = fmax(own.low, 0.0);
        total = gra_interval_sum(total, gra_interval_times(x->weight * x->factor, own));
        if (data->between) {
            gra_interval mean = {x->best - gap.high - middle, x->best - gap.low - middle};
            mean = gra_interval_square(mean);
            total = gra_interval_sum(total, gra_interval_times(x->weight, mean));
        }
        size += x->weight * fmax(1.0, x->factor) * (a->rising + a->falling);
    }
    total.low -= data->between ? shift * shift : 0.0;
    *rough = !(ROUNDING * size <= ROUGH * total.high);
    return (gra_interval){sqrt(fmax(0.0, total.low - ROUNDING * size)),
                          sqrt(fmax(0.0, total.high + ROUNDING * size))};
}

/* Bounds on a covariance, N/Q with N growing in every q; its terms carry rounding. */
static gra_interval covariance_over(double least, double size_least, double most, double size_most,
                                    const gra_covariance *low, const gra_covariance *high,
                                    double rounding)
{
    gra_interval out = {fmax(0.0, least - rounding * size_least) / (high->total * (1.0 + rounding)),
                        (most + rounding * size_most) / (low->total * (1.0 - rounding))};
    return (gra_interval){isfinite(out.low) ? out.low : 0.0,
                          isfinite(out.high) ? out.high : INFINITY};
}

/* Bounds on d sigma^2 / dtheta over a stretch. */
static gra_interval variance_slope(const gra_divisor *self, const gra_stretch *stretch,
                                   double mean_a, double mean_b)
{
    const sigma_data *data = self->data;
    gra_interval total = {0.0, 0.0};
    for (int64_t k = 0; k < data->count; k++) {
        const gra_sigma_context *x = &data->context[k];
        const gra_covariance *low = &stretch->least[k], *high = &stretch->most[k];
        gra_interval gap = {stretch->b[k].mean_gap, stretch->a[k].mean_gap};
        double rate = stretch->rate[k], rounding = stretch->rounding;
        if (x->gap == NULL) {
            continue;
        }
        gra_interval by_gap = {low->gap / low->total * (1.0 - rounding),
                               high->gap / high->total * (1.0 + rounding)};
        gra_interval rising = covariance_over(low->rising, low->size_rising, high->rising,
                                              high->size_rising, low, high, rounding);
        gra_interval falling = covariance_over(low->falling, low->size_falling, high->falling,
                                               high->size_falling, low, high, rounding);
        gra_interval own = gra_interval_sum(falling, gra_interval_times(-1.0, rising));
        own = gra_interval_sum(own, gra_interval_times(2.0, gra_interval_product(gap, by_gap)));
        total = gra_interval_sum(total, gra_interval_times(x->weight * x->factor * rate, own));
        if (data->between) {
            gra_interval mean = {x->best - gap.high - mean_b, x->best - gap.low - mean_a};
            mean = gra_interval_product(mean, by_gap);
            total = gra_interval_sum(total, gra_interval_times(2.0 * x->weight * rate, mean));
        }
    }
    return total;
}

static gra_divisor_bounds bounds_by_covariance(const gra_divisor *self, const gra_stretch *stretch)
{
    const sigma_data *data = self->data;
    double epsilon = data->epsilon;
    double mean_a = gra_sigma_mean(self, stretch->a), mean_b = gra_sigma_mean(self, stretch->b);
    gra_divisor_bounds out = {.slope = {-INFINITY, INFINITY}};
    gra_interval sigma = sigma_over(data, stretch, mean_a, mean_b, &out.rough);
    gra_interval total = variance_slope(self, stretch, mean_a, mean_b);
    gra_interval divisor = {2.0 * sigma.low * (sigma.low + epsilon),
                            2.0 * sigma.high * (sigma.high + epsilon)};
    gra_interval slope =
        gra_interval_product(total, (gra_interval){-1.0 / divisor.low, -1.0 / divisor.high});
    out.value = (gra_interval){-log(sigma.high + epsilon), -log(sigma.low + epsilon)};
    if (!isnan(slope.low) && !isnan(slope.high)) {
        out.slope = slope;
    }
    return out;
}

/* log sigma and its slope on an exponential family. What is too small for a double has the best
 * class and the next alone. */
static double log_sigma(const sigma_data *data, const gra_moments *of, double *slope)
{
    int normal = of->variance >= DBL_MIN;
    *slope = normal ? -0.5 * of->third / of->variance : -0.5 * data->slowest;
    return 0.5 * log(normal ? of->variance : DBL_MIN);
}

static gra_divisor_bounds bounds_by_convexity(const gra_divisor *self, const gra_stretch *stretch)
{
    const sigma_data *data = self->data;
    const gra_moments *a = stretch->a, *b = stretch->b;
    double slope_a, slope_b;
    double log_a = log_sigma(data, a, &slope_a), log_b = log_sigma(data, b, &slope_b);
    double falls = slope_a - a->mean_gap + b->mean_gap; /* bounds on the slope of log sigma */
    double rises = slope_b - b->mean_gap + a->mean_gap;
    gra_interval part = {1.0, 1.0}; /* of the slope that log(sigma + epsilon) has */
    if (data->epsilon > 0.0) {
        double width = stretch->theta_b - stretch->theta_a;
        double top = fmin(log_a + fmax(rises, 0.0) * width, log_b + fmax(-falls, 0.0) * width);
        double bottom = fmax(log_a + fmin(falls, 0.0) * width, log_b - fmax(rises, 0.0) * width);
        int both = a->variance > 0.0 && b->variance > 0.0;
        part.high = 1.0 / (1.0 + data->epsilon * exp(-top));
        part.low = both ? 1.0 / (1.0 + data->epsilon * exp(-bottom)) : 0.0;
    }
    return (gra_divisor_bounds){.value = {-INFINITY, INFINITY},
                                .slope = {-(rises > 0.0 ? part.high : part.low) * rises,
                                          -(falls < 0.0 ? part.high : part.low) * falls}};
}

static gra_divisor_bounds bounds(const gra_divisor *self, const gra_stretch *stretch)
{
    return stretch->least != NULL ? bounds_by_covariance(self, stretch)
                                  : bounds_by_convexity(self, stretch);
}

/* ---- the rest of the path ------------------------------------------------------------------- */

static double mean_of_best(const sigma_data *data)
{
    double best = 0.0;
    for (int64_t k = 0; k < data->count; k++) {
        best += data->context[k].weight * data->context[k].best;
    }
    return best;
}

/* The square of a context's mean reward about the mean of the best ones, from here on: mean rewards
 * lie between what they are and the best. */
static gra_interval distance_of(const gra_sigma_context *x, const gra_moments *of, double best)
{
    return gra_interval_square((gra_interval){x->best - of->mean_gap - best, x->best - best});
}

/* The least variance within the classes of a context from here on: the best classes only gain. */
static double least_within(const gra_sigma_context *x, const gra_moments *of)
{
    return x->variance != NULL ? fmax(gra_min(x->variance, x->classes), of->own) : 0.0;
}

/* From a lower bound on sigma. */
static double ceiling(const gra_divisor *self, const gra_moments *of)
{
    const sigma_data *data = self->data;
    double best = mean_of_best(data), shift = 0.0, total = 0.0;
    for (int64_t k = 0; k < data->count; k++) {
        const gra_sigma_context *x = &data->context[k];
        total += x->weight * x->factor * least_within(x, &of[k]);
        total += data->between ? x->weight * distance_of(x, &of[k], best).low : 0.0;
        shift += data->between ? x->weight * of[k].mean_gap : 0.0;
    }
    double floor = sqrt(fmax(0.0, total * (1.0 - ROUNDING) - shift * shift));
    return 1.0 / (floor + data->epsilon);
}

static double tail_slope(const gra_divisor *self, const gra_moments *of)
{
    const sigma_data *data = self->data;
    double rises = -0.5 * data->slowest + of->mean_gap; /* bound on the slope of log sigma */
    if (of->own > 0.0) {
        return -INFINITY;
    }
    return rises < 0.0 && data->epsilon == 0.0 ? -rises : -fmax(rises, 0.0);
}

static double ratio_part(const gra_divisor *self, const gra_moments *of)
{
    return sqrt(within(self->data, of));
}

/* Moments about the best rewards fall from here on. */
static int is_spent(const gra_divisor *self, const gra_moments *of)
{
    const sigma_data *data = self->data;
    double best = mean_of_best(data), total = 0.0;
    for (int64_t k = 0; k < data->count; k++) {
        const gra_sigma_context *x = &data->context[k];
        total += x->weight * x->factor * of[k].rising;
        total += data->between ? x->weight * distance_of(x, &of[k], best).high : 0.0;
    }
    return data->epsilon == 0.0 && total <= LEAST_VARIANCE;
}

static const gra_divisor_kind SIGMA = {.moments = moments,
                                       .inverse = inverse,
                                       .log_inverse = log_inverse,
                                       .gradient = gradient,
                                       .prepare = prepare,
                                       .convex_families = 1,
                                       .bounds = bounds,
                                       .ceiling = ceiling,
                                       .tail_slope = tail_slope,
                                       .ratio_part = ratio_part,
                                       .is_spent = is_spent};

/* Bounds on sigma over all policies, and the least gap above 0 of the first context. */
static gra_interval sigma_range(const gra_sigma_context *contexts, int64_t count, double *slowest)
{
    double low = INFINITY, high = -INFINITY, least = 0.0, most = 0.0, factor = 0.0;
    *slowest = INFINITY;
    for (int64_t k = 0; k < count; k++) {
        const gra_sigma_context *x = &contexts[k];
        double widest = x->gap != NULL ? gra_max(x->gap, x->classes) : 0.0;
        double own = x->variance != NULL ? gra_min(x->variance, x->classes) : 0.0;
        high = fmax(high, x->best);
        low = fmin(low, x->best - widest);
        factor = fmax(factor, x->factor);
        least += x->weight * x->factor * own;
        most = fmax(most, x->variance != NULL ? gra_max(x->variance, x->classes) : 0.0);
        for (int64_t c = 0; k == 0 && x->gap != NULL && c < x->classes; c++) {
            *slowest = x->gap[c] > 0.0 ? fmin(*slowest, x->gap[c]) : *slowest;
        }
    }
    factor = count > 1 ? fmax(factor, 1.0) : factor;
    return (gra_interval){sqrt(least), sqrt(factor * (0.25 * (high - low) * (high - low) + most))};
}

int gra_divisor_sigma(gra_divisor *out, const gra_sigma_context *contexts, int64_t count,
                      int between, double epsilon, gra_arena *arena)
{
    sigma_data *data = gra_arena_take(arena, 1, sizeof *data);
    if (data == NULL) {
        return 0;
    }
    *data =
        (sigma_data){.context = contexts, .count = count, .between = between, .epsilon = epsilon};
    gra_interval sigma = sigma_range(contexts, count, &data->slowest);
    *out = (gra_divisor){.kind = &SIGMA,
                         .data = data,
                         .classes = contexts[0].classes,
                         .low = 1.0 / (sigma.high + epsilon),
                         .high = 1.0 / (sigma.low + epsilon),
                         .ratio_falls = count == 1};
    return 1;
}

int gra_divisor_limit(gra_divisor *out, int64_t classes, const double *gap, const double *reward,
                      const double *variance, double epsilon, gra_arena *arena)
{
    gra_sigma_context *x = gra_arena_take(arena, 1, sizeof *x);
    if (x == NULL) {
        return 0;
    }
    *x = (gra_sigma_context){.classes = classes,
                             .gap = gap,
                             .reward = reward,
                             .variance = variance,
                             .weight = 1.0,
                             .factor = 1.0};
    return gra_divisor_sigma(out, x, 1, 0, epsilon, arena);
}
