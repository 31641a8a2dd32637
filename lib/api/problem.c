#include <grpoalign/problem.h>

#include "api/handles.h"

static const grpoalign_problem_options PROBLEM_DEFAULTS = {.struct_size =
                                                               sizeof(grpoalign_problem_options)};

void grpoalign_problem_options_init(grpoalign_problem_options *options, uint32_t size)
{
    gra_init_options(options, size, &PROBLEM_DEFAULTS, sizeof PROBLEM_DEFAULTS);
}

grpoalign_status grpoalign_problem_new(const grpoalign_model *model,
                                       const grpoalign_penalty *penalty,
                                       const grpoalign_reference *reference,
                                       const grpoalign_problem_options *options,
                                       grpoalign_problem **out, grpoalign_error *error)
{
    grpoalign_problem_options loaded = PROBLEM_DEFAULTS;
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 5, error));
    *out = NULL;
    GRA_TRY(gra_check_model(model, 1, error));
    GRA_TRY(gra_check_penalty(penalty, 2, error));
    GRA_TRY(gra_check_reference(reference, 3, error));
    GRA_TRY(gra_load_options(&loaded, sizeof loaded, options, 4, error));
    if (reference->outcomes != model->outcomes) {
        return gra_fail(error, GRPOALIGN_ERR_DIMENSION, 3, -1,
                        "reference has %lld outcomes, the model has %lld",
                        (long long)reference->outcomes, (long long)model->outcomes);
    }
    const gra_completions *completions = penalty->law.completions;
    if (completions != NULL && completions->count != model->outcomes) {
        return gra_fail(error, GRPOALIGN_ERR_DIMENSION, 2, -1,
                        "the penalty has %lld completions, the model has %lld outcomes",
                        (long long)completions->count, (long long)model->outcomes);
    }
    return gra_problem_new(model, penalty, reference, &loaded, out, error);
}

static int is_problem(const grpoalign_problem *problem)
{
    return problem != NULL && problem->handle.magic == GRA_PROBLEM_MAGIC;
}

void grpoalign_problem_free(grpoalign_problem *problem)
{
    if (is_problem(problem)) {
        gra_problem_free(problem);
    }
}

int64_t grpoalign_problem_outcomes(const grpoalign_problem *problem)
{
    return is_problem(problem) ? problem->model->outcomes : 0;
}
