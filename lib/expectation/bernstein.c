/* Two reward levels: a Bernstein sum with positive terms, hence no cancellation (doc/theory.md,
 * section 2.4). */
#include "expectation/expectation.h"

#include <math.h>

gra_contrast gra_contrast_of(const gra_expectation *self, double low, double high)
{
    double distance = high - low;
    gra_contrast contrast = {
        .divisor = self->divisor, .group_size = self->group_size, .factor = self->factor};
    contrast.epsilon =
        self->epsilon / (self->divisor == GRA_OVER_STD_INSIDE ? distance * distance : distance);
    contrast.floor = (low + self->epsilon) / distance;
    contrast.raw = self->raw * distance;
    return contrast;
}

/* b_k = A(success | k of the other n succeed) - A(failure | k of the other n succeed), n = G - 1,
 * without the factor. */
static double contrast(const gra_contrast *c, double k)
{
    double size = (double)c->group_size, up = size - k - 1.0;
    switch (c->divisor) {
    case GRA_OVER_MEAN: {
        double with = c->floor + (k + 1.0) / size, without = c->floor + k / size;
        /* (floor + 1)/with - floor/without over their common divisor: both are nearly 1 where the
         * distance of the levels is nothing beside their mean. */
        return without > 0.0 ? (c->floor * (1.0 - 1.0 / size) + k / size) / (with * without)
                             : (c->floor + 1.0) / with - 1.0;
    }
    case GRA_OVER_STD_OF_OTHERS:
        /* The std with divisor n; factor and epsilon make it ddof 1. */
        return k > 0.0 && up > 0.0 ? 1.0 / (sqrt(k * up) / (size - 1.0) + c->epsilon)
                                   : c->raw / c->factor;
    case GRA_OVER_STD_INSIDE: {
        double inside = c->epsilon * size * size;
        return (up > 0.0 ? up / sqrt((k + 1.0) * up + inside) : 0.0) +
               (k > 0.0 ? k / sqrt(k * (up + 1.0) + inside) : 0.0);
    }
    default:
        return (up > 0.0 ? up / (sqrt((k + 1.0) * up) + c->epsilon * size) : 0.0) +
               (k > 0.0 ? k / (sqrt(k * (up + 1.0)) + c->epsilon * size) : 0.0);
    }
}

/* Terms below this share of the sum so far are beyond rounding, and fall off faster than
 * geometrically. */
static const double NEGLIGIBLE = 1e-19;

/*
 * E[f(k)] for k ~ Binomial(n, p), f = contrast or its forward difference. The probabilities come
 * from their ratios, outwards from the mode, and are normalised by their own sum, which takes out
 * their common error.
 */
static double binomial_mean(const gra_contrast *c, double n, double p, double q, int difference)
{
    double mode = floor((n + 1.0) * p);
    mode = mode > n ? n : mode;
    double at_mode = contrast(c, mode);
    double above = difference ? contrast(c, mode + 1.0) : 0.0;
    double sum = difference ? above - at_mode : at_mode, total = 1.0, probability = 1.0;
    double here = at_mode;
    for (double k = mode; k > 0.0 && probability > NEGLIGIBLE * total; k -= 1.0) {
        probability *= k / (n - k + 1.0) * (q / p);
        double next = contrast(c, k - 1.0);
        sum += probability * (difference ? here - next : next);
        total += probability;
        here = next;
    }
    probability = 1.0;
    here = above;
    for (double k = mode; k < n && probability > NEGLIGIBLE * total; k += 1.0) {
        probability *= (n - k) / (k + 1.0) * (p / q);
        double next = contrast(c, k + (difference ? 2.0 : 1.0));
        sum += probability * (difference ? next - here : next);
        total += probability;
        here = next;
    }
    return sum / total;
}

double gra_bernstein_gap(const gra_contrast *self, double p, double q, double *derivative)
{
    double n = (double)self->group_size - 1.0;
    if (derivative != NULL) {
        *derivative = self->factor * n * binomial_mean(self, n - 1.0, p, q, 1);
    }
    return self->factor * binomial_mean(self, n, p, q, 0);
}
