/* Which solver runs: by what the structure declares. */
#include "solver/solver.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/status.h"

static void answer_reference(const gra_problem *problem, gra_answer *answer)
{
    for (int64_t c = 0; c < problem->prior.classes; c++) {
        answer->price[c] = problem->penalty->unit_price;
    }
    (void)problem->penalty->respond(&problem->prior, answer->price, answer->policy);
    answer->method = GRPOALIGN_METHOD_TRIVIAL;
    answer->unique = answer->stable = 1;
    answer->policy_error = DBL_EPSILON;
}

grpoalign_status gra_solve_classes(const gra_problem *problem, gra_answer *answer)
{
    answer->unique = answer->stable = -1;
    answer->regular = 0;
    answer->status = GRPOALIGN_OK;
    switch (problem->structure->kind) {
    case GRA_FLAT:
        answer_reference(problem, answer);
        return GRPOALIGN_OK;
    case GRA_RANKED:
        return gra_solve_ranked(problem, answer);
    case GRA_TILT:
        return gra_solve_tilt(problem, answer);
    default:
        return gra_solve_game(problem, answer);
    }
}

grpoalign_status gra_report_progress(const gra_problem *problem, const gra_answer *answer, double beta, double change)
{
    if (problem->progress == NULL) {
        return GRPOALIGN_OK;
    }
    grpoalign_progress progress;
    memset(&progress, 0, sizeof progress);
    progress.struct_size = sizeof progress;
    progress.method = answer->method;
    progress.iteration = answer->iterations;
    progress.factorizations = answer->factorizations;
    progress.beta = beta;
    progress.change = change;
    if (problem->progress(problem->user, &progress) != 0) {
        return gra_fail(problem->error, GRPOALIGN_ERR_CANCELLED, 0, -1,
                        "stopped by the progress function after %d iterations", (int)answer->iterations);
    }
    return GRPOALIGN_OK;
}
