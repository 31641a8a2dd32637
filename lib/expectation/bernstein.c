/* Two reward levels: a Bernstein sum with positive terms, hence no cancellation (theory: section 2 (i)). */
#include "expectation/expectation.h"

#include <math.h>

/* b_k = A(success | k of the other n succeed) - A(failure | k of the other n succeed), n = G - 1. */
static double contrast(double k, double group_size, double epsilon)
{
    double up = group_size - k - 1.0, result = 0.0;
    if (up > 0.0) {
        result += up / (sqrt((k + 1.0) * up) + epsilon * group_size);
    }
    if (k > 0.0) {
        result += k / (sqrt(k * (group_size - k)) + epsilon * group_size);
    }
    return result;
}

/* Terms below this share of the sum so far are beyond rounding, and fall off faster than geometrically. */
static const double NEGLIGIBLE = 1e-19;

/*
 * E[f(k)] for k ~ Binomial(n, p), f = contrast or its forward difference. The probabilities come from their
 * ratios, outwards from the mode, and are normalised by their own sum, which takes out their common error.
 */
static double binomial_mean(double n, double p, double q, double group_size, double epsilon, int difference)
{
    double mode = floor((n + 1.0) * p);
    mode = mode > n ? n : mode;
    double at_mode = contrast(mode, group_size, epsilon);
    double above = difference ? contrast(mode + 1.0, group_size, epsilon) : 0.0;
    double sum = difference ? above - at_mode : at_mode, total = 1.0, probability = 1.0;
    double here = at_mode;
    for (double k = mode; k > 0.0 && probability > NEGLIGIBLE * total; k -= 1.0) {
        probability *= k / (n - k + 1.0) * (q / p);
        double next = contrast(k - 1.0, group_size, epsilon);
        sum += probability * (difference ? here - next : next);
        total += probability;
        here = next;
    }
    probability = 1.0;
    here = above;
    for (double k = mode; k < n && probability > NEGLIGIBLE * total; k += 1.0) {
        probability *= (n - k) / (k + 1.0) * (p / q);
        double next = contrast(k + (difference ? 2.0 : 1.0), group_size, epsilon);
        sum += probability * (difference ? next - here : next);
        total += probability;
        here = next;
    }
    return sum / total;
}

double gra_bernstein_gap(int64_t group_size, double epsilon, double p, double q, double *derivative)
{
    double size = (double)group_size, n = size - 1.0;
    if (derivative != NULL) {
        *derivative = n * binomial_mean(n - 1.0, p, q, size, epsilon, 1);
    }
    return binomial_mean(n, p, q, size, epsilon, 0);
}
