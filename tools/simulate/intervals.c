#include "simulate/intervals.h"

#include <math.h>

/* log Gamma(x), x > 0, without the sign that lgamma leaves to all threads. */
static double log_gamma(double x)
{
    int sign;
    return lgamma_r(x, &sign);
}

/* The regularised incomplete beta function by Lentz's continued fraction, for x < (a + 1)/(a + b +
 * 2). */
static double beta_fraction(double a, double b, double x)
{
    double c = 1.0, d = 1.0 - (a + b) * x / (a + 1.0), f;
    d = 1.0 / d;
    f = d;
    for (int m = 1; m < 300; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        d = 1.0 / (1.0 + even * d);
        c = 1.0 + even / c;
        f *= c * d;
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1.0 / (1.0 + odd * d);
        c = 1.0 + odd / c;
        f *= c * d;
        if (fabs(c * d - 1.0) < 1e-15) {
            break;
        }
    }
    return f * exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * log(x) + b * log1p(-x)) / a;
}

/* P(|T| > t) of Student's distribution. */
static double outside(double t, double freedom)
{
    double x = freedom / (freedom + t * t), a = 0.5 * freedom, b = 0.5;
    return x < (a + 1.0) / (a + b + 2.0) ? beta_fraction(a, b, x)
                                         : 1.0 - beta_fraction(b, a, 1.0 - x);
}

/* The t with P(|T| > t) = 1 - level. */
static double student_quantile(double level, double freedom)
{
    double low = 0.0, high = 1.0;
    while (outside(high, freedom) > 1.0 - level) {
        high *= 2.0;
    }
    for (int i = 0; i < 100; i++) {
        double middle = 0.5 * (low + high);
        if (outside(middle, freedom) > 1.0 - level) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return high;
}

void intervals(const double *runs, int64_t repetitions, int64_t n, double level, double *mean,
               double *low, double *high)
{
    double each = pow(level, 1.0 / (double)(n > 2 ? n : 1));
    double quantile = student_quantile(each, (double)(repetitions - 1));
    for (int64_t o = 0; o < n; o++) {
        double sum = 0.0, squares = 0.0;
        for (int64_t k = 0; k < repetitions; k++) {
            sum += runs[k * n + o] / (double)repetitions;
        }
        for (int64_t k = 0; k < repetitions; k++) {
            double d = runs[k * n + o] - sum;
            squares += d * d;
        }
        double half = quantile * sqrt(squares / (double)(repetitions - 1) / (double)repetitions);
        mean[o] = sum;
        low[o] = sum - half;
        high[o] = sum + half;
    }
}
