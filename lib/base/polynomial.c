#include "base/polynomial.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* The number of successes that is most likely. */
static int64_t mode_of(int64_t n, double p)
{
    double mode = floor(((double)n + 1.0) * p);
    return mode >= (double)n ? n : (int64_t)fmax(mode, 0.0);
}

/* From their ratios, outwards from the mode, and normalised by their own sum, which takes out their
 * common error. */
void gra_binomial(int64_t n, double p, double q, double *probability)
{
    int64_t mode = mode_of(n, p);
    double total = 1.0;
    probability[mode] = 1.0;
    for (int64_t k = mode; k > 0; k--) {
        probability[k - 1] = probability[k] * ((double)k / (double)(n - k + 1) * (q / p));
        total += probability[k - 1];
    }
    for (int64_t k = mode; k < n; k++) {
        probability[k + 1] = probability[k] * ((double)(n - k) / (double)(k + 1) * (p / q));
        total += probability[k + 1];
    }
    for (int64_t k = 0; k <= n; k++) {
        probability[k] /= total;
    }
}

/* Terms below this share of the whole are beyond rounding, also where they alone have a
 * coefficient. */
static const double NEGLIGIBLE = 1e-40;

double gra_polynomial_value(const double *b, int64_t degree, double p, double q)
{
    int64_t mode = mode_of(degree, p);
    double sum = b[mode], total = 1.0, probability = 1.0;
    for (int64_t k = mode; k > 0 && probability > NEGLIGIBLE; k--) {
        probability *= (double)k / (double)(degree - k + 1) * (q / p);
        sum += probability * b[k - 1];
        total += probability;
    }
    probability = 1.0;
    for (int64_t k = mode; k < degree && probability > NEGLIGIBLE; k++) {
        probability *= (double)(degree - k) / (double)(k + 1) * (p / q);
        sum += probability * b[k + 1];
        total += probability;
    }
    return sum / total;
}

double gra_polynomial_slope(const double *difference, int64_t degree, double p, double q)
{
    return degree > 0 ? (double)degree * gra_polynomial_value(difference, degree - 1, p, q) : 0.0;
}

/* Roundings of a coefficient for each average that it goes through, twice over. */
static const double ROUNDINGS = 4.0 * DBL_EPSILON;

gra_interval gra_polynomial_bounds(const double *b, int64_t degree, gra_share low, gra_share high,
                                   double *work)
{
    /* First what is above `low`, then what of that is below `high`. */
    double largest = 0.0, width = low.p > 0.5 ? low.q - high.q : high.p - low.p;
    double inside = fmin(1.0, width / low.q), outside = fmin(1.0, high.q / low.q);
    memcpy(work, b, (size_t)(degree + 1) * sizeof *work);
    for (int64_t round = 0; low.p > 0.0 && round < degree; round++) {
        for (int64_t k = 0; k < degree - round; k++) {
            work[k] = low.q * work[k] + low.p * work[k + 1];
        }
    }
    for (int64_t round = 0; high.q > 0.0 && round < degree; round++) {
        for (int64_t k = degree; k > round; k--) {
            work[k] = outside * work[k - 1] + inside * work[k];
        }
    }
    gra_interval found = {work[0], work[0]};
    for (int64_t k = 0; k <= degree; k++) {
        found.low = fmin(found.low, work[k]);
        found.high = fmax(found.high, work[k]);
        largest = fmax(largest, fabs(b[k]));
    }
    double rounding = ROUNDINGS * (double)(degree + 1) * largest;
    return (gra_interval){found.low - rounding, found.high + rounding};
}
