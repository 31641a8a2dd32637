#include <grpoalign/solve.h>

#include <string.h>

#include "api/calls.h"

const char *grpoalign_method_name(int32_t method)
{
    switch (method) {
    case GRPOALIGN_METHOD_TRIVIAL:
        return "trivial";
    case GRPOALIGN_METHOD_CLOSED_FORM:
        return "closed_form";
    case GRPOALIGN_METHOD_SCALAR:
        return "scalar";
    case GRPOALIGN_METHOD_CENTRAL_PATH:
        return "central_path";
    case GRPOALIGN_METHOD_NEWTON:
        return "newton";
    case GRPOALIGN_METHOD_CONTINUATION:
        return "continuation";
    case GRPOALIGN_METHOD_FLOW:
        return "flow";
    default:
        return "unknown";
    }
}

/* beta, which has no meaning without a penalty. */
static grpoalign_status check_beta(const grpoalign_problem *problem, double *beta,
                                   grpoalign_error *error)
{
    if (problem->penalty->law.form == GRA_ABSENT) {
        *beta = 1.0;
    }
    return gra_check_beta(*beta, "beta", 2, -1, error);
}

grpoalign_status gra_open(gra_call *call, const grpoalign_problem *problem, double beta,
                          const grpoalign_solve_options *options, int32_t options_position,
                          grpoalign_error *error)
{
    grpoalign_solve_options loaded;
    memset(call, 0, sizeof *call);
    GRA_TRY(gra_check_problem(problem, 1, error));
    GRA_TRY(check_beta(problem, &beta, error));
    GRA_TRY(gra_load_solve_options(options, problem->model->outcomes, options_position, &loaded,
                                   error));
    return gra_call_open(call, problem, beta, &loaded, error);
}

/* The answer of an open call, and the solution that it stands for. */
static grpoalign_status solve(gra_call *call, grpoalign_solution **out, grpoalign_error *error)
{
    gra_answer answer;
    if (!gra_answer_take(&answer, &call->at)) {
        return gra_fail_memory(error);
    }
    GRA_TRY(gra_solve_classes(&call->at, &answer));
    GRA_TRY(gra_assess(&call->at, &answer, call->options.stability));
    return gra_expand(call, &answer, out, error);
}

grpoalign_status grpoalign_solve(const grpoalign_problem *problem, double beta,
                                 const grpoalign_solve_options *options, grpoalign_solution **out,
                                 grpoalign_error *error)
{
    gra_call call;
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 4, error));
    *out = NULL;
    grpoalign_status status = gra_open(&call, problem, beta, options, 3, error);
    status = status < 0 ? status : solve(&call, out, error);
    gra_call_close(&call);
    return gra_qualify(status, error);
}

static int is_solution(const grpoalign_solution *solution)
{
    return solution != NULL && solution->handle.magic == GRA_SOLUTION_MAGIC;
}

void grpoalign_solution_free(grpoalign_solution *solution)
{
    if (is_solution(solution) && !solution->borrowed) {
        gra_solution_free(solution);
    }
}

int64_t grpoalign_solution_outcomes(const grpoalign_solution *solution)
{
    return is_solution(solution) ? solution->outcomes : 0;
}

static grpoalign_status check_solution(const grpoalign_solution *solution, grpoalign_error *error)
{
    GRA_TRY(gra_check_pointer(solution, "solution", 1, error));
    if (!is_solution(solution)) {
        return gra_fail(error, GRPOALIGN_ERR_HANDLE, 1, -1,
                        "solution is not a handle of a solution");
    }
    return GRPOALIGN_OK;
}

static grpoalign_status copy_out(const grpoalign_solution *solution, const double *values,
                                 double *out, int64_t n, grpoalign_error *error)
{
    GRA_TRY(gra_check_pointer(out, "out", 2, error));
    GRA_TRY(gra_check_outcomes(n, solution->outcomes, 3, error));
    memcpy(out, values, (size_t)n * sizeof(double));
    return GRPOALIGN_OK;
}

grpoalign_status grpoalign_solution_policy(const grpoalign_solution *solution, double *out,
                                           int64_t n, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(check_solution(solution, error));
    return copy_out(solution, solution->policy, out, n, error);
}

grpoalign_status grpoalign_solution_log_policy(const grpoalign_solution *solution, double *out,
                                               int64_t n, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(check_solution(solution, error));
    return copy_out(solution, solution->log_policy, out, n, error);
}

grpoalign_status grpoalign_solution_advantage(const grpoalign_solution *solution, double *out,
                                              int64_t n, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(check_solution(solution, error));
    return copy_out(solution, solution->advantage, out, n, error);
}

grpoalign_status grpoalign_solution_report(const grpoalign_solution *solution,
                                           grpoalign_report *report, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(check_solution(solution, error));
    GRA_TRY(gra_check_pointer(report, "report", 2, error));
    return gra_fill_struct(report, "report", 2, &solution->report, sizeof solution->report, error);
}
