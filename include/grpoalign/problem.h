/*
 * Problems: a preference model and a penalty joined over a reference policy. Everything that is
 * asked of the three together, at any beta, is asked of a problem.
 */
#ifndef GRPOALIGN_PROBLEM_H
#define GRPOALIGN_PROBLEM_H

#include <grpoalign/export.h>
#include <grpoalign/model.h>
#include <grpoalign/penalty.h>
#include <grpoalign/progress.h>
#include <grpoalign/reference.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

typedef struct grpoalign_problem grpoalign_problem;

/** Options of grpoalign_problem_new. Start from GRPOALIGN_PROBLEM_OPTIONS_INIT. It only grows at
 * its end; a new field means its default when 0. */
typedef struct grpoalign_problem_options {
    uint32_t struct_size; /* sizeof the struct */
    int32_t reserved;     /* 0 */
    GRPOALIGN_POINTER(grpoalign_progress_fn, progress); /* called between the stages; or NULL */
    GRPOALIGN_POINTER(void *, user);                    /* handed to progress */
} grpoalign_problem_options;

#define GRPOALIGN_PROBLEM_OPTIONS_INIT                                                             \
    {GRPOALIGN_SIZE(grpoalign_problem_options), 0, GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER}

/** Sets every field within `size` bytes to its default. Pass sizeof *options. */
GRPOALIGN_API void grpoalign_problem_options_init(grpoalign_problem_options *options,
                                                  uint32_t size);

/**
 * A problem. Outcomes with the same advantages are merged once, here, and what does not depend on
 * beta is kept: a problem that is asked at many betas costs that work once.
 *
 * model, penalty, reference: model and reference must have the same number of outcomes. The problem
 *          keeps all three alive: they may be freed at once, in any order.
 * options: NULL for defaults.
 * out:     receives the handle; release it with grpoalign_problem_free. It is immutable and may be
 *          shared by any number of threads.
 * Errors: HANDLE, ARGUMENT, DIMENSION, STRUCT_SIZE, MEMORY, TOO_LARGE, CANCELLED, UNSUPPORTED (a
 * model and a penalty for which no method is known).
 *
 * @code
 * #include <grpoalign/grpoalign.h>
 *
 * int main(void)
 * {
 *     const double rewards[3] = {0.0, 0.5, 1.0};
 *     grpoalign_model *model = NULL;
 *     grpoalign_penalty *penalty = NULL;
 *     grpoalign_reference *reference = NULL;
 *     grpoalign_problem *problem = NULL;
 *     int failed = grpoalign_model_new_group(rewards, 3, 8, NULL, &model, NULL) < 0 ||
 *                  grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL) < 0 ||
 *                  grpoalign_reference_new_uniform(3, NULL, &reference, NULL) < 0 ||
 *                  grpoalign_problem_new(model, penalty, reference, NULL, &problem, NULL) < 0;
 *     grpoalign_model_free(model);
 *     grpoalign_penalty_free(penalty);
 *     grpoalign_reference_free(reference);
 *     grpoalign_problem_free(problem);
 *     return failed;
 * }
 * @endcode
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_problem_new(
    const grpoalign_model *model, const grpoalign_penalty *penalty,
    const grpoalign_reference *reference, const grpoalign_problem_options *options,
    grpoalign_problem **out, grpoalign_error *error);

GRPOALIGN_API void grpoalign_problem_free(grpoalign_problem *problem);

/** The number of outcomes; 0 for NULL. */
GRPOALIGN_API int64_t grpoalign_problem_outcomes(const grpoalign_problem *problem);

GRPOALIGN_END

#endif
