#include "parts.h"

#include <stdlib.h>

grpoalign_status new_alpha(double alpha, grpoalign_penalty **out, grpoalign_error *error)
{
    grpoalign_penalty_options options = GRPOALIGN_PENALTY_OPTIONS_INIT;
    options.alpha = alpha;
    return grpoalign_penalty_new(GRPOALIGN_PENALTY_ALPHA, &options, out, error);
}

/* The problem of the parts; where there is none, what was to be made is NULL. */
static grpoalign_status open_problem(PARTS, grpoalign_problem **problem, void **out,
                                     grpoalign_error *error)
{
    if (out != NULL) {
        *out = NULL;
    }
    return grpoalign_problem_new(model, penalty, reference, NULL, problem, error);
}

#define ASK(out, call)                                                                             \
    grpoalign_problem *problem = NULL;                                                             \
    grpoalign_status status =                                                                      \
        open_problem(model, penalty, reference, &problem, (void **)(out), error);                  \
    if (status >= 0) {                                                                             \
        status = call;                                                                             \
    }                                                                                              \
    grpoalign_problem_free(problem);                                                               \
    return status

grpoalign_status solve_parts(PARTS, double beta, const grpoalign_solve_options *options,
                             grpoalign_solution **out, grpoalign_error *error)
{
    ASK(out, grpoalign_solve(problem, beta, options, out, error));
}

grpoalign_status points_of_parts(PARTS, double beta, const grpoalign_solve_options *options,
                                 grpoalign_points **out, grpoalign_error *error)
{
    ASK(out, grpoalign_points_new(problem, beta, options, out, error));
}

grpoalign_status folds_of_parts(PARTS, double low, double high,
                                const grpoalign_solve_options *options, grpoalign_points **out,
                                grpoalign_error *error)
{
    ASK(out, grpoalign_points_new_folds(problem, low, high, options, out, error));
}

grpoalign_status curve_of_parts(PARTS, double low, double high, double resolution,
                                const grpoalign_solve_options *options, grpoalign_points **out,
                                grpoalign_error *error)
{
    ASK(out, grpoalign_points_new_curve(problem, low, high, resolution, options, out, error));
}

grpoalign_status path_of_parts(PARTS, const double *betas, int64_t count,
                               const grpoalign_solve_options *options, grpoalign_points **out,
                               grpoalign_error *error)
{
    ASK(out, grpoalign_points_new_path(problem, betas, count, options, out, error));
}

grpoalign_status flow_of_parts(PARTS, double beta, const grpoalign_flow_options *options,
                               grpoalign_flow **out, grpoalign_error *error)
{
    ASK(out, grpoalign_flow_new(problem, beta, options, out, error));
}

grpoalign_status critical_beta_of_parts(PARTS, double *beta, grpoalign_error *error)
{
    ASK(NULL, grpoalign_critical_beta(problem, NULL, beta, error));
}

grpoalign_status batch_of_parts(const grpoalign_model *const *models,
                                const grpoalign_penalty *penalty,
                                const grpoalign_reference *const *references, int64_t count,
                                double beta, const grpoalign_batch_options *batch,
                                const grpoalign_solve_options *options, grpoalign_points **out,
                                double *std, grpoalign_error *error)
{
    size_t room = count > 0 ? (size_t)count : 1;
    grpoalign_problem **problems = calloc(room, sizeof *problems);
    grpoalign_status status = GRPOALIGN_OK;
    for (int64_t k = 0; models != NULL && references != NULL && k < count && status >= 0; k++) {
        status =
            grpoalign_problem_new(models[k], penalty, references[k], NULL, &problems[k], error);
        if (status < 0 && error != NULL) {
            error->index = k;
        }
    }
    if (out != NULL) {
        *out = NULL;
    }
    if (status >= 0) {
        const grpoalign_problem *const *given = (const grpoalign_problem *const *)problems;
        status = grpoalign_points_new_batch(models != NULL && references != NULL ? given : NULL,
                                            count, beta, batch, options, out, std, error);
    }
    for (int64_t k = 0; k < count; k++) {
        grpoalign_problem_free(problems[k]);
    }
    free(problems);
    return status;
}
