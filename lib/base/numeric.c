#include "base/numeric.h"

#include <float.h>
#include <stddef.h>

static const double SQRT_PI = 1.7724538509055160273;

double gra_total(const double *x, int64_t n)
{
    gra_sum sum = {0.0, 0.0};
    for (int64_t i = 0; i < n; i++) {
        gra_sum_add(&sum, x[i]);
    }
    return gra_sum_value(sum);
}

double gra_max(const double *x, int64_t n)
{
    double best = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        best = x[i] > best ? x[i] : best;
    }
    return best;
}

double gra_min(const double *x, int64_t n)
{
    double best = INFINITY;
    for (int64_t i = 0; i < n; i++) {
        best = x[i] < best ? x[i] : best;
    }
    return best;
}

double gra_largest_difference(const double *a, const double *b, int64_t n)
{
    double largest = 0.0;
    for (int64_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(a[i] - b[i]));
    }
    return largest;
}

double gra_log_sum_exp(const double *x, int64_t n)
{
    double top = gra_max(x, n);
    if (isinf(top)) {
        return top;
    }
    gra_sum sum = {0.0, 0.0};
    for (int64_t i = 0; i < n; i++) {
        gra_sum_add(&sum, exp(x[i] - top));
    }
    return top + log(gra_sum_value(sum));
}

double gra_k3(double d)
{
    if (fabs(d) > 0.125) {
        return d - log1p(d);
    }
    /* d - log(1+d) = d^2/2 - d^3/3 + ..., by the atanh series: with s = d/(2+d),
     * log(1+d) = 2 (s + s^3/3 + s^5/5 + ...) and d - 2 s = d s. */
    double s = d / (2.0 + d), s2 = s * s, power = s2 * s, sum = 0.0;
    for (int i = 3; i <= 31; i += 2) {
        sum += power / i;
        power *= s2;
    }
    return d * s - 2.0 * sum;
}

double gra_bregman(double d)
{
    if (d <= -1.0) {
        return 1.0;
    }
    if (fabs(d) > 0.125) {
        return (1.0 + d) * log1p(d) - d;
    }
    /* (1+d) log(1+d) - d = (1+d)(d - k3(d)) - d = d^2 - (1+d) k3(d). */
    return d * d - (1.0 + d) * gra_k3(d);
}

double gra_std_weight(double z)
{
    if (z < 1.5) {
        return 2.0 / SQRT_PI - 2.0 * z * exp(z * z) * erfc(z);
    }
    /* sqrt(pi) z exp(z^2) erfc(z) = 1/(1+q), q = a1/(1+ 2 a1/(1+ 3 a1/(1+...))), a1 = 1/(2 z^2), so
     * that the weight is (2/sqrt(pi)) q/(1+q). Evaluated backwards; 25 + 200/z^2 terms reach
     * rounding. */
    double a = 0.5 / (z * z), q = 0.0;
    int terms = 25 + (int)(200.0 / (z * z));
    for (int k = terms; k >= 1; k--) {
        q = k * a / (1.0 + q);
    }
    return 2.0 / SQRT_PI * q / (1.0 + q);
}

double gra_wright_omega(double x)
{
    if (x < -36.0) {
        return exp(x); /* w = exp(x - w), and w < 3e-16 changes nothing */
    }
    double w = x > 1.0 ? x - log(x) : exp(x) / (1.0 + exp(x));
    if (x > 1e16) {
        return w;
    }
    for (int i = 0; i < 6; i++) {
        /* Fritsch-Shafer-Crowley: fourth order in the relative error. */
        double r = x - w - log(w);
        double t = 1.0 + w, u = t + 2.0 / 3.0 * r;
        double step = r / t * (2.0 * t * u - r) / (2.0 * t * u - 2.0 * r);
        w *= 1.0 + step;
        if (fabs(step) < 1e-5) {
            break; /* the step just made leaves an error below 1e-20 */
        }
    }
    return w;
}

double gra_root(gra_function f, void *context, double low, double f_low, double high, double f_high)
{
    if (f_low == 0.0) {
        return low;
    }
    if (f_high == 0.0) {
        return high;
    }
    /* Brent (1973): b is the best point, [b, c] the bracket, a the point before. */
    double a = low, fa = f_low, b = high, fb = f_high, c = a, fc = fa;
    double step = b - a, before = step;
    for (int i = 0; i < 200; i++) {
        if ((fb > 0.0) == (fc > 0.0)) {
            c = a;
            fc = fa;
            step = before = b - a;
        }
        if (fabs(fc) < fabs(fb)) {
            a = b;
            b = c;
            c = a;
            fa = fb;
            fb = fc;
            fc = fa;
        }
        double tolerance = DBL_EPSILON * fabs(b);
        double half = 0.5 * (c - b);
        if (fabs(half) <= tolerance || fb == 0.0) {
            return b;
        }
        if (fabs(before) >= tolerance && fabs(fa) > fabs(fb)) {
            double s = fb / fa, p, q;
            if (a == c) {
                p = 2.0 * half * s;
                q = 1.0 - s;
            } else {
                double u = fa / fc, v = fb / fc;
                p = s * (2.0 * half * u * (u - v) - (b - a) * (v - 1.0));
                q = (u - 1.0) * (v - 1.0) * (s - 1.0);
            }
            if (p > 0.0) {
                q = -q;
            } else {
                p = -p;
            }
            if (2.0 * p < fmin(3.0 * half * q - fabs(tolerance * q), fabs(before * q))) {
                before = step;
                step = p / q;
            } else {
                step = before = half;
            }
        } else {
            step = before = half;
        }
        a = b;
        fa = fb;
        b += fabs(step) > tolerance ? step : copysign(tolerance, half);
        fb = f(context, b);
    }
    return b;
}

double gra_golden_sections(gra_function f, void *context, double low, double high, double enough,
                           double *at)
{
    const double golden = 0.61803398874989484820, finest = 1e-8;
    double a = high - golden * (high - low), b = low + golden * (high - low);
    double at_a = f(context, a), at_b = f(context, b);
    while (high - low > finest && at_a > enough && at_b > enough) {
        if (at_a < at_b) {
            high = b;
            b = a;
            at_b = at_a;
            a = high - golden * (high - low);
            at_a = f(context, a);
        } else {
            low = a;
            a = b;
            at_a = at_b;
            b = low + golden * (high - low);
            at_b = f(context, b);
        }
    }
    *at = at_a < at_b ? a : b;
    return fmin(at_a, at_b);
}

double gra_least(gra_function f, int (*is_over)(void *context), void *context, double from,
                 double end, double stride)
{
    double x = from, before = INFINITY, here = f(context, x), least = here, at,
           step = from < end ? stride : -stride;
    /* The last minimum may lie between the point where all is over and the one before it: it shows
     * at one more stride. */
    int over = is_over != NULL && is_over(context), last = 0;
    while (!last && (from < end ? x < end : x > end)) {
        double next = f(context, x + step);
        if (isnan(next)) {
            break;
        }
        last = over;
        over = over || (is_over != NULL && is_over(context));
        if (here <= before && here <= next) {
            least = fmin(least,
                         gra_golden_sections(f, context, x - stride, x + stride, -INFINITY, &at));
        }
        least = fmin(least, next);
        before = here;
        here = next;
        x += step;
    }
    return least;
}
