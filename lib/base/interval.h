/* Intervals of doubles. Rounding is not directed: who needs it adds it. */
#ifndef GRA_BASE_INTERVAL_H
#define GRA_BASE_INTERVAL_H

#include <math.h>

typedef struct gra_interval {
    double low, high;
} gra_interval;

static inline gra_interval gra_interval_sum(gra_interval a, gra_interval b)
{
    return (gra_interval){a.low + b.low, a.high + b.high};
}

static inline gra_interval gra_interval_times(double factor, gra_interval a)
{
    return factor >= 0.0 ? (gra_interval){factor * a.low, factor * a.high}
                         : (gra_interval){factor * a.high, factor * a.low};
}

static inline gra_interval gra_interval_product(gra_interval a, gra_interval b)
{
    double p = a.low * b.low, q = a.low * b.high, r = a.high * b.low, s = a.high * b.high;
    return (gra_interval){fmin(fmin(p, q), fmin(r, s)), fmax(fmax(p, q), fmax(r, s))};
}

/* x^2 over an interval. */
static inline gra_interval gra_interval_square(gra_interval a)
{
    double p = a.low * a.low, q = a.high * a.high;
    return (gra_interval){a.low <= 0.0 && a.high >= 0.0 ? 0.0 : fmin(p, q), fmax(p, q)};
}

#endif
