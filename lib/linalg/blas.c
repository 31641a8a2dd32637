#include "linalg/linalg.h"

#include <cblas.h>

#include "base/numeric.h"

#ifndef GRA_BLAS_DESCRIPTION
#define GRA_BLAS_DESCRIPTION "CBLAS"
#endif

const char *gra_linalg_description(void)
{
    return GRA_BLAS_DESCRIPTION;
}

void gra_matvec(int64_t rows, int64_t columns, const double *a, int64_t stride, const double *x,
                double *y)
{
    cblas_dgemv(CblasRowMajor, CblasNoTrans, (int)rows, (int)columns, 1.0, a, (int)stride, x, 1,
                0.0, y, 1);
}

void gra_matvec_transposed(int64_t rows, int64_t columns, const double *a, int64_t stride,
                           const double *x, double *y)
{
    cblas_dgemv(CblasRowMajor, CblasTrans, (int)rows, (int)columns, 1.0, a, (int)stride, x, 1, 0.0,
                y, 1);
}

void gra_matmul(int64_t rows, int64_t columns, int64_t inner, double alpha, const double *a,
                int64_t a_stride, const double *b, int64_t b_stride, double beta, double *c,
                int64_t c_stride)
{
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)columns, (int)inner,
                alpha, a, (int)a_stride, b, (int)b_stride, beta, c, (int)c_stride);
}

void gra_matmul_transposed(int64_t rows, int64_t columns, int64_t inner, double alpha,
                           const double *a, int64_t a_stride, const double *b, int64_t b_stride,
                           double beta, double *c, int64_t c_stride)
{
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)rows, (int)columns, (int)inner, alpha,
                a, (int)a_stride, b, (int)b_stride, beta, c, (int)c_stride);
}

void gra_matmul_by_transposed(int64_t rows, int64_t columns, int64_t inner, const double *a,
                              int64_t a_stride, const double *b, int64_t b_stride, double beta,
                              double *c, int64_t c_stride)
{
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)columns, (int)inner, 1.0,
                a, (int)a_stride, b, (int)b_stride, beta, c, (int)c_stride);
}

void gra_matvec_exact(int64_t rows, int64_t columns, const double *a, int64_t stride,
                      const double *x, double shift_high, double shift_low, double *y)
{
    for (int64_t i = 0; i < rows; i++) {
        const double *row = a + i * stride;
        gra_sum sum = {-shift_high, -shift_low};
        for (int64_t j = 0; j < columns; j++) {
            gra_sum_add_product(&sum, row[j], x[j]);
        }
        y[i] = gra_sum_value(sum);
    }
}
