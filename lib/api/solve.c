#include <grpoalign/solve.h>

#include <string.h>

#include "api/session.h"
#include "base/status.h"

_Static_assert(sizeof(grpoalign_report) == 112, "layout of version 0.1");

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

grpoalign_status grpoalign_solve(const grpoalign_model *model, const grpoalign_penalty *penalty,
                                 const grpoalign_reference *reference, double beta,
                                 const grpoalign_solve_options *options, grpoalign_solution **out,
                                 grpoalign_error *error)
{
    gra_session session;
    gra_answer answer;
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 6, error));
    *out = NULL;
    grpoalign_status status =
        gra_session_open(&session, model, penalty, reference, beta, 4, options, 5, error);
    if (status >= 0) {
        status = gra_answer_take(&answer, &session.problem)
                     ? gra_solve_classes(&session.problem, &answer)
                     : gra_fail_memory(error);
    }
    if (status >= 0) {
        status = gra_session_solution(&session, &answer, out, error);
    }
    gra_session_close(&session);
    return status;
}

int64_t grpoalign_solution_outcomes(const grpoalign_solution *solution)
{
    return solution != NULL && solution->magic == GRA_SOLUTION_MAGIC ? solution->outcomes : 0;
}

static grpoalign_status check_solution(const grpoalign_solution *solution, grpoalign_error *error)
{
    GRA_TRY(gra_check_pointer(solution, "solution", 1, error));
    if (solution->magic != GRA_SOLUTION_MAGIC) {
        return gra_fail(error, GRPOALIGN_ERR_HANDLE, 1, -1,
                        "solution is not a live solution handle");
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
