/* Calls on the three parts of a problem, for tests that ask one thing of many parts: each makes the
 * problem, asks, and frees it before it looks at the result. */
#ifndef TESTS_SUPPORT_PARTS_H
#define TESTS_SUPPORT_PARTS_H

#include <grpoalign/grpoalign.h>

/* The arguments of the three parts. */
#define PARTS                                                                                      \
    const grpoalign_model *model, const grpoalign_penalty *penalty,                                \
        const grpoalign_reference *reference

/* An alpha divergence. */
grpoalign_status new_alpha(double alpha, grpoalign_penalty **out, grpoalign_error *error);

grpoalign_status solve_parts(PARTS, double beta, const grpoalign_solve_options *options,
                             grpoalign_solution **out, grpoalign_error *error);
grpoalign_status points_of_parts(PARTS, double beta, const grpoalign_solve_options *options,
                                 grpoalign_points **out, grpoalign_error *error);
grpoalign_status folds_of_parts(PARTS, double low, double high,
                                const grpoalign_solve_options *options, grpoalign_points **out,
                                grpoalign_error *error);
grpoalign_status curve_of_parts(PARTS, double low, double high, double resolution,
                                const grpoalign_solve_options *options, grpoalign_points **out,
                                grpoalign_error *error);
grpoalign_status path_of_parts(PARTS, const double *betas, int64_t count,
                               const grpoalign_solve_options *options, grpoalign_points **out,
                               grpoalign_error *error);
grpoalign_status flow_of_parts(PARTS, double beta, const grpoalign_flow_options *options,
                               grpoalign_flow **out, grpoalign_error *error);
grpoalign_status critical_beta_of_parts(PARTS, double *beta, grpoalign_error *error);
grpoalign_status batch_of_parts(const grpoalign_model *const *models,
                                const grpoalign_penalty *penalty,
                                const grpoalign_reference *const *references, int64_t count,
                                double beta, const grpoalign_batch_options *batch,
                                const grpoalign_solve_options *options, grpoalign_points **out,
                                double *std, grpoalign_error *error);

#endif
