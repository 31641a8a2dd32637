#include "linalg/linalg.h"

#include <math.h>

#include <lapacke.h>

_Static_assert(sizeof(lapack_int) == sizeof(int32_t), "LAPACKE with 32-bit integers (LP64)");

/*
 * Only the column-major work interfaces are called: the row-major ones allocate and transpose, and
 * the high-level ones scan for NaN. A row-major matrix is the transpose of a column-major one, so a
 * system with it is solved with the factors of its transpose.
 */

int64_t gra_lu_factor(int64_t n, double *a, int64_t stride, int32_t *pivots)
{
    return LAPACKE_dgetrf_work(LAPACK_COL_MAJOR, (lapack_int)n, (lapack_int)n, a,
                               (lapack_int)stride, pivots);
}

void gra_lu_solve(int64_t n, const double *factors, int64_t stride, const int32_t *pivots,
                  int64_t columns, double *b)
{
    (void)LAPACKE_dgetrs_work(LAPACK_COL_MAJOR, 'T', (lapack_int)n, (lapack_int)columns, factors,
                              (lapack_int)stride, pivots, b, (lapack_int)n);
}

void gra_lu_solve_transposed(int64_t n, const double *factors, int64_t stride,
                             const int32_t *pivots, int64_t columns, double *b)
{
    (void)LAPACKE_dgetrs_work(LAPACK_COL_MAJOR, 'N', (lapack_int)n, (lapack_int)columns, factors,
                              (lapack_int)stride, pivots, b, (lapack_int)n);
}

int gra_lu_sign(int64_t n, const double *factors, int64_t stride, const int32_t *pivots)
{
    int sign = 1;
    for (int64_t i = 0; i < n; i++) {
        double pivot = factors[i * stride + i];
        if (pivot == 0.0) {
            return 0;
        }
        if ((pivot < 0.0) != (pivots[i] != (int32_t)(i + 1))) {
            sign = -sign;
        }
    }
    return sign;
}

int gra_is_positive_definite(int64_t n, double *a, int64_t stride)
{
    /* The lower triangle by rows is the upper one by columns. */
    return LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', (lapack_int)n, a, (lapack_int)stride) == 0;
}

int gra_spectral_abscissa(int64_t n, double *a, int64_t stride, gra_arena *arena, double *abscissa)
{
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *real = gra_arena_doubles(arena, 2 * n), size = 0.0;
    lapack_int order = (lapack_int)n, leading = (lapack_int)stride;
    *abscissa = NAN;
    (void)LAPACKE_dgeev_work(LAPACK_COL_MAJOR, 'N', 'N', order, a, leading, NULL, NULL, NULL, 1,
                             NULL, 1, &size, -1);
    double *work = gra_arena_doubles(arena, (int64_t)size);
    int taken = real != NULL && work != NULL;
    if (taken && LAPACKE_dgeev_work(LAPACK_COL_MAJOR, 'N', 'N', order, a, leading, real, real + n,
                                    NULL, 1, NULL, 1, work, (lapack_int)size) == 0) {
        *abscissa = -INFINITY;
        for (int64_t i = 0; i < n; i++) {
            *abscissa = real[i] > *abscissa ? real[i] : *abscissa;
        }
    }
    gra_arena_rewind(arena, mark);
    return taken;
}
