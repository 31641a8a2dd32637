/* Problems and the calls on them: shares of the parts, and what belongs to one call. */
#include "problem/problem.h"

#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

void gra_reference_free(grpoalign_reference *reference)
{
    if (reference != NULL && gra_handle_release(&reference->handle)) {
        gra_release(reference->probability);
        gra_release(reference->logarithm);
        gra_release(reference->support);
        gra_release(reference);
    }
}

/* ---- the problem ---------------------------------------------------------------------------- */

static grpoalign_status build(grpoalign_problem *self, const grpoalign_problem_options *options,
                              grpoalign_error *error)
{
    const gra_penalty *law = &self->penalty->law;
    GRA_TRY(gra_ask_host(options->progress, options->user, 1.0, error));
    if (law->completions != NULL && self->model->filtered > 0) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 1, -1,
                        "groups without spread are dropped with their penalty, which is not known "
                        "for a penalty per token or weights of completions");
    }
    if (law->form == GRA_INSIDE_REWARD) {
        GRA_TRY(gra_surrogate_of_rewards(self->model, &self->surrogate, error));
    } else if (self->model->filtered > 0 && law->form != GRA_ABSENT) {
        GRA_TRY(gra_check_filter(law, error));
        self->filters = 1;
        return GRPOALIGN_OK;
    }
    const grpoalign_model *solved = self->surrogate != NULL ? self->surrogate : self->model;
    GRA_TRY(gra_reduce(solved, self->reference, law, &self->reduction, &self->arena, error));
    return gra_ask_host(options->progress, options->user, 0.0, error);
}

grpoalign_status gra_problem_new(const grpoalign_model *model, const grpoalign_penalty *penalty,
                                 const grpoalign_reference *reference,
                                 const grpoalign_problem_options *options, grpoalign_problem **out,
                                 grpoalign_error *error)
{
    grpoalign_problem *self = gra_alloc(1, sizeof *self);
    if (self == NULL) {
        return gra_fail_memory(error);
    }
    gra_handle_start(&self->handle, GRA_PROBLEM_MAGIC);
    gra_handle_retain(&model->handle);
    gra_handle_retain(&penalty->handle);
    gra_handle_retain(&reference->handle);
    self->model = model;
    self->penalty = penalty;
    self->reference = reference;
    grpoalign_status status = build(self, options, error);
    if (status < 0) {
        gra_problem_free(self);
        return status;
    }
    *out = self;
    return GRPOALIGN_OK;
}

void gra_problem_free(grpoalign_problem *self)
{
    if (self != NULL && gra_handle_release(&self->handle)) {
        gra_structure_release(&self->reduction.structure);
        gra_model_free(self->surrogate);
        gra_arena_free(&self->arena);
        /* The shares that gra_problem_new took; who gave the parts saw them as constant. */
        gra_model_free((grpoalign_model *)(uintptr_t)self->model);
        gra_penalty_free((grpoalign_penalty *)(uintptr_t)self->penalty);
        gra_reference_free((grpoalign_reference *)(uintptr_t)self->reference);
        gra_release(self);
    }
}

/* ---- one call ------------------------------------------------------------------------------- */

/* The start over classes. */
static grpoalign_status load_start(gra_call *self, grpoalign_error *error)
{
    const gra_structure *structure = &self->reduction->structure;
    double *start = gra_arena_doubles(&self->arena, structure->classes), total = 0.0;
    if (start == NULL) {
        return gra_fail_memory(error);
    }
    memset(start, 0, (size_t)structure->classes * sizeof(double));
    total = gra_total(self->options.start, self->problem->model->outcomes);
    for (int64_t o = 0; o < self->problem->model->outcomes; o++) {
        if (structure->class_of[o] >= 0) {
            start[structure->class_of[o]] += self->options.start[o] / total;
        }
    }
    self->at.start = start;
    return GRPOALIGN_OK;
}

grpoalign_status gra_call_open(gra_call *self, const grpoalign_problem *problem, double beta,
                               const grpoalign_solve_options *options, grpoalign_error *error)
{
    const gra_penalty *law = &problem->penalty->law;
    memset(self, 0, sizeof *self);
    self->problem = problem;
    self->options = *options;
    self->reduction = &problem->reduction;
    if (problem->filters) {
        GRA_TRY(gra_surrogate_of_filter(problem->model, law, problem->reference, beta,
                                        &self->surrogate, error));
        self->reduction = &self->own;
        GRA_TRY(
            gra_reduce(self->surrogate, problem->reference, law, &self->own, &self->arena, error));
    }
    self->at = (gra_problem){.structure = &self->reduction->structure,
                             .outcomes = self->reduction->outcomes,
                             .penalty = law,
                             .tree = self->reduction->tree,
                             .reference = self->reduction->reference,
                             .beta = beta,
                             .tolerance = options->tolerance,
                             .max_iterations = options->max_iterations,
                             .progress = options->progress,
                             .user = options->user,
                             .arena = &self->arena,
                             .error = error};
    return options->start != NULL ? load_start(self, error) : GRPOALIGN_OK;
}

void gra_call_close(gra_call *self)
{
    gra_structure_release(&self->own.structure);
    gra_model_free(self->surrogate);
    gra_arena_free(&self->arena);
}
