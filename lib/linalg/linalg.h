/*
 * Dense linear algebra in the shapes the library needs. Matrices are row-major with a stride. The
 * only files that include cblas.h and lapacke.h are the ones in this folder.
 */
#ifndef GRA_LINALG_LINALG_H
#define GRA_LINALG_LINALG_H

#include <stdint.h>

#include "base/alloc.h"

/* y = A x, A rows x columns. */
void gra_matvec(int64_t rows, int64_t columns, const double *a, int64_t stride, const double *x,
                double *y);

/* y = A^T x. */
void gra_matvec_transposed(int64_t rows, int64_t columns, const double *a, int64_t stride,
                           const double *x, double *y);

/* C = alpha A B + beta C, C rows x columns, inner dimension `inner`. */
void gra_matmul(int64_t rows, int64_t columns, int64_t inner, double alpha, const double *a,
                int64_t a_stride, const double *b, int64_t b_stride, double beta, double *c,
                int64_t c_stride);

/* C = A B^T, A rows x inner, B columns x inner. */
void gra_matmul_by_transposed(int64_t rows, int64_t columns, int64_t inner, const double *a,
                              int64_t a_stride, const double *b, int64_t b_stride, double beta,
                              double *c, int64_t c_stride);

/* C = alpha A^T B + beta C, A inner x rows, B inner x columns. */
void gra_matmul_transposed(int64_t rows, int64_t columns, int64_t inner, double alpha,
                           const double *a, int64_t a_stride, const double *b, int64_t b_stride,
                           double beta, double *c, int64_t c_stride);

/* LU factors of a square matrix, in place. pivots: n entries. Returns 0, or k > 0 when the k-th
 * pivot is exactly zero. */
int64_t gra_lu_factor(int64_t n, double *a, int64_t stride, int32_t *pivots);

/* Solves A X = B with the factors; B is n x columns, stored column after column (each n long). */
void gra_lu_solve(int64_t n, const double *factors, int64_t stride, const int32_t *pivots,
                  int64_t columns, double *b);

/* The same for A^T X = B. */
void gra_lu_solve_transposed(int64_t n, const double *factors, int64_t stride,
                             const int32_t *pivots, int64_t columns, double *b);

/* The sign of the determinant from the factors: -1, 0 or 1. */
int gra_lu_sign(int64_t n, const double *factors, int64_t stride, const int32_t *pivots);

/* Whether a symmetric matrix (lower triangle read, overwritten) is positive definite. */
int gra_is_positive_definite(int64_t n, double *a, int64_t stride);

/* The largest real part of the eigenvalues of a general matrix (overwritten); NaN where they
 * cannot be had. Returns 0 when memory is short. */
int gra_spectral_abscissa(int64_t n, double *a, int64_t stride, gra_arena *arena, double *abscissa);

/* y = A x with every dot product accumulated in twice the working precision, minus `shift`, rounded
 * once: y_i = fl(sum_j a_ij x_j - shift_high - shift_low). */
void gra_matvec_exact(int64_t rows, int64_t columns, const double *a, int64_t stride,
                      const double *x, double shift_high, double shift_low, double *y);

/* Text on the libraries behind this, for build information. */
const char *gra_linalg_description(void);

#endif
