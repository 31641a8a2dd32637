/* Polynomials in p by their Bernstein coefficients, sum_k b_k Bin(k; degree, p): their values are
 * expectations over a binomial, and lie between the least and the largest coefficient. */
#ifndef GRA_BASE_POLYNOMIAL_H
#define GRA_BASE_POLYNOMIAL_H

#include <stdint.h>

#include "base/interval.h"

/* The probabilities of 0 .. n successes, each p, q being 1 - p to all its digits. */
void gra_binomial(int64_t n, double p, double q, double *probability);

/* degree + 1 coefficients; q is 1 - p to all its digits. The error is a few roundings of the
 * largest coefficient that counts. */
double gra_polynomial_value(const double *b, int64_t degree, double p, double q);

/* Its derivative in p, from the differences b_(k+1) - b_k. */
double gra_polynomial_slope(const double *difference, int64_t degree, double p, double q);

/* A place between 0 and 1, with all digits at both ends. */
typedef struct gra_share {
    double p, q;
} gra_share;

/*
 * Bounds on the polynomial from low to high: the coefficients over that piece, which de Casteljau's
 * subdivision gives by averages alone, and what rounding may have done to them. They come to the
 * values as the square of the width. `work` holds degree + 1 numbers; takes degree^2 steps.
 */
gra_interval gra_polynomial_bounds(const double *b, int64_t degree, gra_share low, gra_share high,
                                   double *work);

#endif
