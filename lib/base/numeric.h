/* Small numerics: error-free transformations, compensated sums, log-sum-exp, a bracketed root. */
#ifndef GRA_BASE_NUMERIC_H
#define GRA_BASE_NUMERIC_H

#include <math.h>
#include <stdint.h>

/* s + e == a + b exactly (Knuth). */
static inline double gra_two_sum(double a, double b, double *e)
{
    double s = a + b;
    double t = s - a;
    *e = (a - (s - t)) + (b - t);
    return s;
}

/* p + e == a * b exactly; by fma where the machine has it, else by Dekker's splitting. */
static inline double gra_two_product(double a, double b, double *e)
{
    double p = a * b;
#ifdef FP_FAST_FMA
    *e = fma(a, b, -p);
#else
    double t = 134217729.0 * a;
    double ah = t - (t - a), al = a - ah;
    t = 134217729.0 * b;
    double bh = t - (t - b), bl = b - bh;
    *e = al * bl - (((p - ah * bh) - al * bh) - ah * bl);
#endif
    return p;
}

/* An unevaluated sum high + low of about 106 bits. */
typedef struct gra_sum {
    double high, low;
} gra_sum;

static inline void gra_sum_add(gra_sum *sum, double value)
{
    double e;
    sum->high = gra_two_sum(sum->high, value, &e);
    sum->low += e;
}

static inline void gra_sum_add_product(gra_sum *sum, double a, double b)
{
    double e, f;
    double p = gra_two_product(a, b, &e);
    sum->high = gra_two_sum(sum->high, p, &f);
    sum->low += e + f;
}

static inline double gra_sum_value(gra_sum sum)
{
    return sum.high + sum.low;
}

/* Compensated sum of n numbers: error of the order of one rounding, whatever n. */
double gra_total(const double *x, int64_t n);

/* log(sum exp(x)), -infinity for all -infinity. */
double gra_log_sum_exp(const double *x, int64_t n);

double gra_max(const double *x, int64_t n);
double gra_min(const double *x, int64_t n);

/* max |a - b|. */
double gra_largest_difference(const double *a, const double *b, int64_t n);

/* The integrands of the two divergences, without the cancellation near d = 0:
 * gra_k3(d) = d - log(1 + d) >= 0 and gra_bregman(d) = (1 + d) log(1 + d) - d >= 0, for d >= -1. */
double gra_k3(double d);
double gra_bregman(double d);

/* (1/sqrt(pi)) exp(-z^2)-scaled tail used by the quadrature: 2/sqrt(pi) - 2 z exp(z^2) erfc(z), z
 * >= 0, to full relative accuracy. */
double gra_std_weight(double z);

/* Solves w + log(w) = x for w > 0 (Wright omega function), to full relative accuracy. */
double gra_wright_omega(double x);

/*
 * The root of a continuous f in [low, high] with f(low) and f(high) of opposite signs (or zero), to
 * the last bit or two: Brent's safeguards around inverse interpolation, ending by bisection. `f`
 * may be called up to about 120 times; usually ten.
 */
typedef double (*gra_function)(void *context, double x);
/* The least value between low and high, one minimum being there, to a width that it is good to the
 * square of, or until one is as little as `enough`; *at is where. */
double gra_golden_sections(gra_function f, void *context, double low, double high, double enough,
                           double *at);

/* The least value of f from `from` on, in strides to `end` or until it is NaN or is_over (asked
 * after each stride; or NULL). Each minimum that strides show is refined by golden sections, to a
 * width that its value is good to the square of. */
double gra_least(gra_function f, int (*is_over)(void *context), void *context, double from,
                 double end, double stride);

double gra_root(gra_function f, void *context, double low, double f_low, double high,
                double f_high);

#endif
