/* Two reward levels: 1/divisor is the gap of their advantages, a function h of P(success). */
#include "model/divisor.h"

#include <math.h>

#include "base/numeric.h"

typedef struct two_levels {
    const double *success, *failure;
    gra_contrast contrast;
    double end; /* what h has beyond a convex function: end (p^(G-1) + q^(G-1)) */
} two_levels;

static double gap_at(const two_levels *data, double p, double q)
{
    return gra_bernstein_gap(&data->contrast, p, q, NULL);
}

static int moments(const gra_divisor *self, int64_t k, const double *policy, int for_bounds,
                   gra_arena *arena, gra_moments *out)
{
    const two_levels *data = self->data;
    gra_sum up = {0.0, 0.0}, down = {0.0, 0.0};
    (void)k, (void)arena;
    for (int64_t c = 0; c < self->classes; c++) {
        gra_sum_add(&up, policy[c] * data->success[c]);
        gra_sum_add(&down, policy[c] * data->failure[c]);
    }
    *out = (gra_moments){.success = gra_sum_value(up), .failure = gra_sum_value(down)};
    out->own = gra_bernstein_gap(&data->contrast, out->success, out->failure,
                                 for_bounds ? &out->slope : NULL);
    return 1;
}

static double inverse(const gra_divisor *self, const gra_moments *of)
{
    (void)self;
    return of->own;
}

static int gradient(const gra_divisor *self, const double *policy, gra_arena *arena, double *out)
{
    gra_moments of;
    (void)moments(self, 0, policy, 1, arena, &of);
    for (int64_t c = 0; c < self->classes; c++) {
        out[c] = of.slope * ((const two_levels *)self->data)->success[c];
    }
    return 1;
}

/* end (p^n + q^n), and its derivative. */
static double end_at(const two_levels *data, double p, double *slope)
{
    double n = (double)data->contrast.group_size - 1.0, q = 1.0 - p;
    *slope = data->end != 0.0 ? data->end * n * (pow(p, n - 1.0) - pow(q, n - 1.0)) : 0.0;
    return data->end != 0.0 ? data->end * (pow(p, n) + pow(q, n)) : 0.0;
}

/* Bounds on d gap / dtheta = -spread: the weighted variance of the gaps, as the least sum of
 * q (gap - m)^2 over m, grows with every q. */
static gra_interval spread_of(const gra_stretch *stretch)
{
    return (gra_interval){stretch->least[0].gap / stretch->least[0].total,
                          stretch->most[0].gap / stretch->most[0].total};
}

/*
 * d log h / dtheta = (h'(p) / h(p)) dp/dtheta, and p grows with theta as the mean gap falls. h is a
 * convex function of p with its minimum at 1/2, and its ends, whose slope is monotone and which are
 * extreme at 1/2. (doc/theory.md, sections 2.8 and 2.11)
 */
static gra_divisor_bounds bounds(const gra_divisor *self, const gra_stretch *stretch)
{
    const two_levels *data = self->data;
    const gra_moments *a = stretch->a, *b = stretch->b;
    double slope_a, slope_b, slope_middle;
    double end_a = end_at(data, a->success, &slope_a), end_b = end_at(data, b->success, &slope_b);
    double largest = fmax(a->own - end_a, b->own - end_b), most_end = fmax(end_a, end_b);
    double smallest = fmin(a->own - end_a, b->own - end_b), least_end = fmin(end_a, end_b);
    if (a->success < 0.5 && b->success > 0.5) {
        double end = end_at(data, 0.5, &slope_middle);
        smallest = gap_at(data, 0.5, 0.5) - end;
        most_end = fmax(most_end, end);
        least_end = fmin(least_end, end);
    }
    largest = fmin(self->high, largest + most_end);
    smallest = fmax(self->low, smallest + least_end);
    double least = (a->slope - slope_a) + fmin(slope_a, slope_b);
    double most = (b->slope - slope_b) + fmax(slope_a, slope_b);
    gra_interval spread = spread_of(stretch);
    gra_divisor_bounds out = {.value = {log(smallest), log(largest)}};
    out.slope.low = least < 0.0 ? least / smallest * spread.high : least / largest * spread.low;
    out.slope.high = most < 0.0 ? most / largest * spread.low : most / smallest * spread.high;
    return out;
}

/* p only grows from here, and a convex function is largest at an end. */
static double ceiling(const gra_divisor *self, const gra_moments *of)
{
    const two_levels *data = self->data;
    return data->end != 0.0 ? self->high : fmax(of->own, gap_at(data, 1.0, 0.0));
}

static const gra_divisor_kind TWO_LEVELS = {.moments = moments,
                                            .inverse = inverse,
                                            .gradient = gradient,
                                            .bounds = bounds,
                                            .ceiling = ceiling};

/* Over the std of others h is convex but for groups whose others are alike, b_0 and b_(G-1). */
static double end_of(const gra_contrast *contrast)
{
    double size = (double)contrast->group_size, n = size - 1.0;
    double b[3];
    for (int k = 1; k <= 2; k++) {
        b[k] = contrast->factor / (sqrt(k * (n - k)) / n + contrast->epsilon);
    }
    return contrast->raw - (n >= 4.0 ? 2.0 * b[1] - b[2] : b[1]);
}

/* Whether every outcome surely succeeds or surely fails. */
static int is_sure(const gra_divisor *self, const two_levels *data)
{
    for (int64_t c = 0; c < self->classes; c++) {
        if (data->success[c] != 0.0 && data->failure[c] != 0.0) {
            return 0;
        }
    }
    return 1;
}

int gra_divisor_two_levels(gra_divisor *out, int64_t classes, const double *success,
                           const double *failure, const gra_contrast *contrast, gra_arena *arena)
{
    two_levels *data = gra_arena_take(arena, 1, sizeof *data);
    if (data == NULL) {
        return 0;
    }
    *data = (two_levels){.success = success, .failure = failure, .contrast = *contrast};
    *out = (gra_divisor){.kind = &TWO_LEVELS, .data = data, .classes = classes};
    double at_0 = gap_at(data, 0.0, 1.0), n = (double)contrast->group_size - 1.0;
    switch (contrast->divisor) {
    case GRA_OVER_MEAN:
        /* A success is worth less where they are many: b_k falls
         * (tests/unit/test_expectation.c). */
        out->low = gap_at(data, 1.0, 0.0);
        out->high = at_0;
        out->falls = out->ratio_falls = 1;
        break;
    case GRA_OVER_STD_OF_OTHERS:
        out->low = fmin(contrast->raw, contrast->factor / (0.5 + contrast->epsilon));
        out->high = fmax(contrast->raw, contrast->factor / (sqrt(n - 1.0) / n + contrast->epsilon));
        data->end = end_of(contrast);
        break;
    default:
        /* doc/theory.md, section 3.5: proved for sure outcomes, epsilon inside the root or
         * outside. */
        out->low = gap_at(data, 0.5, 0.5);
        out->high = at_0;
        out->ratio_falls = is_sure(out, data);
    }
    return 1;
}
