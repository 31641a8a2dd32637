#include <grpoalign/batch.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/calls.h"
#include "base/numeric.h"
#include "solver/batch.h"

/* Where the arguments stand. */
enum { PROBLEMS = 1, COUNT, BETA, BATCH, OPTIONS, OUT };

static const grpoalign_batch_options BATCH_DEFAULTS = {
    .struct_size = sizeof(grpoalign_batch_options), .std = GRPOALIGN_BATCH_STD_OF_REWARDS};

void grpoalign_batch_options_init(grpoalign_batch_options *options, uint32_t size)
{
    gra_init_options(options, size, &BATCH_DEFAULTS, sizeof BATCH_DEFAULTS);
}

typedef struct batch_call {
    int64_t count;
    double beta;
    grpoalign_batch_options batch; /* loaded */
    gra_arena arena;
    gra_call *calls;
    double *weights; /* normalised */
    gra_answer *answers;
} batch_call;

static grpoalign_status load_batch_options(batch_call *self, const grpoalign_batch_options *batch,
                                           grpoalign_error *error)
{
    self->batch = BATCH_DEFAULTS;
    GRA_TRY(gra_load_options(&self->batch, sizeof self->batch, batch, BATCH, error));
    const grpoalign_batch_options *loaded = &self->batch;
    if (loaded->weight_count != (loaded->weights != NULL ? self->count : 0)) {
        return gra_fail(error, GRPOALIGN_ERR_DIMENSION, BATCH, -1,
                        "batch.weight_count must be the number of contexts, %lld, or 0 without "
                        "weights (got %lld)",
                        (long long)self->count, (long long)loaded->weight_count);
    }
    if (loaded->std != GRPOALIGN_BATCH_STD_OF_REWARDS &&
        loaded->std != GRPOALIGN_BATCH_STD_OF_ADVANTAGES) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, BATCH, -1,
                        "batch.std must be 0 or 1 (of rewards, of advantages) (got %d)",
                        (int)loaded->std);
    }
    if (!isfinite(loaded->epsilon) || loaded->epsilon < 0.0) {
        return gra_fail(
            error, isfinite(loaded->epsilon) ? GRPOALIGN_ERR_ARGUMENT : GRPOALIGN_ERR_NOT_FINITE,
            BATCH, -1, "batch.epsilon must be finite and >= 0 (got %g)", loaded->epsilon);
    }
    self->weights = gra_arena_doubles(&self->arena, self->count);
    if (self->weights == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t k = 0; k < self->count; k++) {
        double weight = loaded->weights != NULL ? loaded->weights[k] : 1.0;
        if (!(weight > 0.0 && weight <= 1e150)) {
            return gra_fail(error,
                            isfinite(weight) ? GRPOALIGN_ERR_ARGUMENT : GRPOALIGN_ERR_NOT_FINITE,
                            BATCH, k, "batch.weights[%lld] must be > 0 and at most 1e150 (got %g)",
                            (long long)k, weight);
        }
        self->weights[k] = weight;
    }
    double sum = gra_total(self->weights, self->count);
    for (int64_t k = 0; k < self->count; k++) {
        self->weights[k] /= sum;
    }
    return GRPOALIGN_OK;
}

/* Says in the message which context it is about. */
static grpoalign_status in_context(grpoalign_status status, int64_t k, grpoalign_error *error)
{
    if (status < 0 && error != NULL) {
        char message[sizeof error->message];
        memcpy(message, error->message, sizeof message);
        (void)snprintf(error->message, sizeof error->message, "context %lld: %.*s", (long long)k,
                       (int)(sizeof message - 40), message);
        error->index = k;
    }
    return status;
}

static grpoalign_status check_context(const grpoalign_problem *problem,
                                      const grpoalign_problem *first, grpoalign_error *error)
{
    const gra_penalty *law = &problem->penalty->law, *same = &first->penalty->law;
    if (law->completions != NULL) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, PROBLEMS, -1,
                        "penalties per token are not solved in batches");
    }
    if (law->kind != same->kind || law->parameter != same->parameter || law->parts != same->parts) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, PROBLEMS, -1,
                        "all problems must have the penalty of the first, %s (got %s)",
                        gra_penalty_row_of(same->kind)->name, gra_penalty_row_of(law->kind)->name);
    }
    if (problem->model->unscaled == 0.0) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, PROBLEMS, -1,
                        "the model must have rewards and options.scale none: the std of the batch "
                        "is its scale");
    }
    if (problem->model->filtered > 0 && law->form != GRA_ABSENT) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, PROBLEMS, -1,
                        "groups without spread that are dropped (zero_variance) are not solved in "
                        "batches");
    }
    return GRPOALIGN_OK;
}

/* What is the same for all contexts. */
static grpoalign_status check_penalty(batch_call *self, const gra_penalty *law,
                                      grpoalign_error *error)
{
    if (gra_batch_matters(law) && !gra_penalty_holds(law)) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, PROBLEMS, -1,
                        "batches are solved with penalties that hold every outcome, not with %s",
                        gra_penalty_row_of(law->kind)->name);
    }
    self->beta = law->form == GRA_ABSENT ? 1.0 /* it has no meaning */ : self->beta;
    return gra_check_beta(self->beta, "beta", BETA, -1, error);
}

static grpoalign_status open_context(batch_call *self, int64_t k,
                                     const grpoalign_problem *const *problems,
                                     const grpoalign_solve_options *options, grpoalign_error *error)
{
    GRA_TRY(gra_check_problem(problems[k], PROBLEMS, error));
    GRA_TRY(check_context(problems[k], problems[0], error));
    return gra_call_open(&self->calls[k], problems[k], self->beta, options, error);
}

static grpoalign_status open_contexts(batch_call *self, const grpoalign_problem *const *problems,
                                      const grpoalign_solve_options *options,
                                      grpoalign_error *error)
{
    GRA_TRY(in_context(gra_check_problem(problems[0], PROBLEMS, error), 0, error));
    GRA_TRY(check_penalty(self, &problems[0]->penalty->law, error));
    for (int64_t k = 0; k < self->count; k++) {
        GRA_TRY(in_context(open_context(self, k, problems, options, error), k, error));
    }
    return GRPOALIGN_OK;
}

/* Without a divisor that matters every context is on its own. */
static grpoalign_status solve_alone(batch_call *self, grpoalign_error *error)
{
    for (int64_t k = 0; k < self->count; k++) {
        gra_problem *at = &self->calls[k].at;
        gra_answer *answer = &self->answers[k];
        if (!gra_answer_take(answer, at)) {
            return gra_fail_memory(error);
        }
        GRA_TRY(in_context(gra_solve_classes(at, answer), k, error));
        GRA_TRY(in_context(gra_assess(at, answer, self->calls[k].options.stability), k, error));
    }
    return GRPOALIGN_OK;
}

static grpoalign_status solve_together(batch_call *self, double *std, grpoalign_error *error)
{
    const gra_batch batch = {
        .calls = self->calls,
        .weights = self->weights,
        .count = self->count,
        .of_advantages = self->batch.std == GRPOALIGN_BATCH_STD_OF_ADVANTAGES,
        .beta = self->beta,
        .epsilon = self->batch.epsilon,
        .arena = &self->arena,
        .error = error,
    };
    int64_t at = -1;
    grpoalign_status status = gra_solve_batch(&batch, self->answers, std, &at);
    return at >= 0 ? in_context(status, at, error) : status;
}

/* std: what was found, NAN where there is none to share. */
static grpoalign_status write_solutions(batch_call *self, double std, grpoalign_points **out,
                                        grpoalign_error *error)
{
    grpoalign_status worst = GRPOALIGN_OK;
    int spread_is_lost = std + self->batch.epsilon == 0.0;
    grpoalign_points *points = gra_points_allocate(self->count);
    if (points == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t k = 0; k < self->count; k++) {
        grpoalign_status status =
            gra_expand(&self->calls[k], &self->answers[k], &points->items[k], error);
        status = in_context(status, k, error);
        if (status < 0) {
            grpoalign_points_free(points);
            return status;
        }
        gra_lend(points->items[k]);
        if (spread_is_lost) {
            points->items[k]->report.beta = 0.0;
        }
        worst = status > worst ? status : worst;
    }
    *out = points;
    return worst;
}

static grpoalign_status solve_contexts(batch_call *self, grpoalign_points **out, double *std,
                                       grpoalign_error *error)
{
    double found = NAN;
    self->answers = gra_arena_take(&self->arena, self->count, sizeof *self->answers);
    if (self->answers == NULL) {
        return gra_fail_memory(error);
    }
    if (gra_batch_matters(self->calls[0].at.penalty)) {
        GRA_TRY(solve_together(self, &found, error));
    } else {
        GRA_TRY(solve_alone(self, error));
    }
    grpoalign_status status = write_solutions(self, found, out, error);
    if (status >= 0 && std != NULL) {
        *std = found;
    }
    return gra_qualify(status, error);
}

grpoalign_status grpoalign_points_new_batch(const grpoalign_problem *const *problems, int64_t count,
                                            double beta, const grpoalign_batch_options *batch,
                                            const grpoalign_solve_options *options,
                                            grpoalign_points **out, double *std,
                                            grpoalign_error *error)
{
    grpoalign_solve_options own;
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", OUT, error));
    *out = NULL;
    GRA_TRY(gra_check_pointer(problems, "problems", PROBLEMS, error));
    GRA_TRY(gra_load_solve_options(options, -1, OPTIONS, &own, error)); /* start: sizes differ */
    if (count < 1) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, COUNT, -1, "count must be >= 1 (got %lld)",
                        (long long)count);
    }
    batch_call self = {.count = count, .arena = GRA_ARENA_INIT, .beta = beta};
    self.calls = gra_alloc(count, sizeof *self.calls);
    grpoalign_status status =
        self.calls != NULL ? load_batch_options(&self, batch, error) : gra_fail_memory(error);
    status = status < 0 ? status : open_contexts(&self, problems, &own, error);
    status = status < 0 ? status : solve_contexts(&self, out, std, error);
    for (int64_t k = 0; self.calls != NULL && k < count; k++) {
        gra_call_close(&self.calls[k]);
    }
    gra_release(self.calls);
    gra_arena_free(&self.arena);
    return status;
}
