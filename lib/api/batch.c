#include <grpoalign/batch.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/points.h"
#include "api/session.h"
#include "base/numeric.h"
#include "base/status.h"
#include "solver/batch.h"

_Static_assert(sizeof(grpoalign_batch_options) == 24, "layout of version 0.1");

static const grpoalign_batch_options BATCH_DEFAULTS = {.struct_size =
                                                           sizeof(grpoalign_batch_options)};

void grpoalign_batch_options_init(grpoalign_batch_options *options, uint32_t size)
{
    gra_init_options(options, size, &BATCH_DEFAULTS, sizeof BATCH_DEFAULTS);
}

/* Positions of the arguments. */
enum { MODELS = 1, PENALTY, REFERENCES, COUNT, BETA, BATCH, OPTIONS, OUT };

/* One call: the contexts, each with a session of its own. */
typedef struct call {
    int64_t count;
    gra_session *sessions;
    gra_arena arena;
    grpoalign_batch_options batch;
    double *weights;   /* they sum to 1 */
    double beta, unit; /* unit: a power of two, of the rewards */
    const gra_penalty *law;
    gra_batch divided; /* what the divisor is found from */
    gra_answer *answers;
} call;

static grpoalign_status load_batch_options(call *self, const grpoalign_batch_options *batch,
                                           grpoalign_error *error)
{
    self->batch = BATCH_DEFAULTS;
    GRA_TRY(gra_load_options(&self->batch, sizeof self->batch, batch, BATCH, error));
    const grpoalign_batch_options *loaded = &self->batch;
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

static grpoalign_status check_context(const grpoalign_model *model, const gra_penalty *law,
                                      grpoalign_error *error)
{
    if (model->unscaled == 0.0) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, MODELS, -1,
                        "the model must have rewards and options.scale none: the std of the batch "
                        "is its scale");
    }
    if (model->dropping > 0 && law->form != GRA_ABSENT) {
        return gra_fail(
            error, GRPOALIGN_ERR_UNSUPPORTED, MODELS, -1,
            "groups without spread that are dropped (zero_variance) are not solved in batches");
    }
    return GRPOALIGN_OK;
}

/* Whether the divisor matters. */
static int has_divisor(const gra_penalty *law)
{
    return law->form != GRA_ABSENT && law->form != GRA_INSIDE_REWARD;
}

static grpoalign_status open_context(call *self, int64_t k, const grpoalign_model *model,
                                     const grpoalign_penalty *penalty,
                                     const grpoalign_reference *reference,
                                     const grpoalign_solve_options *options, grpoalign_error *error)
{
    gra_session *session = &self->sessions[k];
    grpoalign_status status = gra_session_open(session, model, penalty, reference, self->beta, BETA,
                                               options, OPTIONS, error);
    if (status >= 0 && has_divisor(&penalty->law)) {
        session->options.stability = GRPOALIGN_STABILITY_SKIP; /* it is the batch's */
    }
    return status < 0 ? status : check_context(model, &penalty->law, error);
}

static grpoalign_status open_contexts(call *self, const grpoalign_model *const *models,
                                      const grpoalign_penalty *penalty,
                                      const grpoalign_reference *const *references,
                                      const grpoalign_solve_options *options,
                                      grpoalign_error *error)
{
    for (int64_t k = 0; k < self->count; k++) {
        GRA_TRY(in_context(open_context(self, k, models[k], penalty, references[k], options, error),
                           k, error));
    }
    self->law = &penalty->law;
    if (self->law->form == GRA_ABSENT) {
        self->beta = 1.0; /* it has no meaning */
    }
    if (has_divisor(self->law) && !gra_penalty_holds(self->law)) {
        return gra_fail(
            error, GRPOALIGN_ERR_UNSUPPORTED, PENALTY, -1,
            "batches are solved with penalties whose slack holds every outcome, not with %s",
            grpoalign_penalty_name(self->law->kind));
    }
    return GRPOALIGN_OK;
}

/* Variances within the classes, in the unit; NULL where there are none or (*short_memory) no room.
 */
static double *class_variances(const call *self, gra_session *session, int *short_memory)
{
    const grpoalign_model *model = session->model;
    if (model->deviations == NULL) {
        return NULL;
    }
    double *variance = gra_arena_doubles(&session->arena, session->structure.classes);
    *short_memory = *short_memory || variance == NULL;
    if (variance != NULL) {
        memset(variance, 0, (size_t)session->structure.classes * sizeof *variance);
        for (int64_t o = 0; o < model->outcomes; o++) {
            int64_t c = session->structure.class_of[o];
            double deviation = model->deviations[o] / self->unit;
            if (c >= 0) {
                variance[c] += session->share[o] * deviation * deviation;
            }
        }
    }
    return variance;
}

static double best_reward(const gra_session *session)
{
    double best = -INFINITY;
    for (int64_t o = 0; o < session->model->outcomes; o++) {
        best = session->reference->support[o] ? fmax(best, session->model->rewards[o]) : best;
    }
    return best;
}

/* Rewards this much below epsilon cannot matter. */
static const double SWAMPED = 1e-200;

/* The power of two that brings all rewards, and the stds within outcomes, to ranges below 1. */
static double find_unit(const call *self)
{
    double range = SWAMPED * self->batch.epsilon, first = best_reward(&self->sessions[0]);
    int of_advantages = self->batch.std == GRPOALIGN_BATCH_STD_OF_ADVANTAGES;
    for (int64_t k = 0; k < self->count; k++) {
        const gra_session *session = &self->sessions[k];
        const grpoalign_model *model = session->model;
        double from =
            of_advantages ? best_reward(session) : first; /* offsets count between rewards alone */
        for (int64_t o = 0; o < model->outcomes; o++) {
            if (!session->reference->support[o]) {
                continue;
            }
            /* halves: the range of doubles is no double; but the least has no half */
            double half = fabs(0.5 * model->rewards[o] - 0.5 * from);
            range = fmax(range, half > 0.0 ? half : fabs(model->rewards[o] - from));
            range = model->deviations != NULL ? fmax(range, 0.5 * model->deviations[o]) : range;
        }
    }
    int exponent = 0;
    (void)frexp(range, &exponent);
    return range > 0.0 ? ldexp(1.0, exponent + 2 > 1023 ? 1023 : exponent + 2) : 1.0;
}

static grpoalign_status solve_divisor(call *self, gra_batch_answer *answer, grpoalign_error *error)
{
    gra_batch_context *contexts = gra_arena_take(&self->arena, self->count, sizeof *contexts);
    double top = -INFINITY;
    int short_memory = contexts == NULL;
    self->unit = find_unit(self);
    for (int64_t k = 0; k < self->count; k++) {
        top = fmax(top, best_reward(&self->sessions[k]));
    }
    for (int64_t k = 0; k < self->count && !short_memory; k++) {
        gra_session *session = &self->sessions[k];
        const grpoalign_model *model = session->model;
        int of_advantages = self->batch.std == GRPOALIGN_BATCH_STD_OF_ADVANTAGES;
        double size = (double)model->group_size, own = model->unscaled, share = 1.0;
        if (of_advantages && model->group_size > 0) {
            share =
                own * own * size / (size - 1.0); /* of r less its baseline: 1 - 1/G, or G/(G-1) */
        }
        contexts[k] = (gra_batch_context){
            .problem = &session->problem,
            .weight = self->weights[k],
            .strength = own,
            .share = share,
            .best = of_advantages ? 0.0 : best_reward(session) / self->unit - top / self->unit,
            .variance = class_variances(self, session, &short_memory)};
        if (session->structure.kind == GRA_AFFINE) {
            contexts[k].gap_unit = session->structure.affine.divisor.low / own / self->unit;
        }
    }
    if (short_memory) {
        return gra_fail_memory(error);
    }
    self->divided =
        (gra_batch){.contexts = contexts,
                    .count = self->count,
                    .of_advantages = self->batch.std == GRPOALIGN_BATCH_STD_OF_ADVANTAGES,
                    .beta = self->beta,
                    .epsilon = self->batch.epsilon / self->unit,
                    .arena = &self->arena,
                    .error = error};
    return gra_solve_batch(&self->divided, answer);
}

/* What is left of beta when a nearly certain policy leaves the batch nearly without spread. */
static const double LEAST_BETA = 1e-304;

/* The answer of a context once the divisor is known. */
static grpoalign_status settle_context(call *self, int64_t k, const gra_batch_answer *divisor,
                                       grpoalign_error *error)
{
    gra_session *session = &self->sessions[k];
    gra_answer *answer = &self->answers[k];
    int flat = session->structure.kind == GRA_FLAT;
    double beta = self->beta * divisor->divisor * self->unit;
    if (!gra_answer_take(answer, &session->problem)) {
        return gra_fail_memory(error);
    }
    if (flat && beta == 0.0) {
        beta = self->beta; /* nothing moves in this context */
    }
    if (divisor->status == GRPOALIGN_COLLAPSED && !flat) {
        gra_collapse_affine(&session->problem, answer);
        return GRPOALIGN_OK;
    }
    session->problem.beta = beta;
    return gra_solve_classes(&session->problem, answer);
}

static grpoalign_status write_solution(call *self, int64_t k, const gra_batch_answer *divisor,
                                       grpoalign_solution **out, grpoalign_error *error)
{
    gra_answer *answer = &self->answers[k];
    int flat = self->sessions[k].structure.kind == GRA_FLAT;
    if (divisor->status != GRPOALIGN_COLLAPSED && !flat) {
        answer->status = answer->status == GRPOALIGN_OK ? divisor->status : answer->status;
        answer->policy_error = fmin(1.0, answer->policy_error + divisor->policy_error);
    }
    answer->unique = answer->unique > 0 ? divisor->unique : answer->unique;
    answer->iterations += divisor->iterations;
    grpoalign_status status = gra_session_solution(&self->sessions[k], answer, out, error);
    if (status >= 0 && has_divisor(self->law)) {
        (*out)->report.stable = divisor->stable;
        (*out)->report.beta = self->beta * divisor->divisor * self->unit; /* 0 where it collapses */
    }
    return status;
}

static grpoalign_status write_solutions(call *self, const gra_batch_answer *divisor,
                                        grpoalign_points **out, grpoalign_error *error)
{
    grpoalign_status worst = GRPOALIGN_OK;
    grpoalign_points *points = gra_points_allocate(self->count);
    if (points == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t k = 0; k < self->count; k++) {
        grpoalign_status status =
            in_context(write_solution(self, k, divisor, &points->items[k], error), k, error);
        if (status < 0) {
            grpoalign_points_free(points);
            return status;
        }
        worst = status > worst ? status : worst;
    }
    *out = points;
    return worst;
}

/* Without a divisor every context is on its own. */
static grpoalign_status solve_contexts(call *self, grpoalign_points **out, double *std,
                                       grpoalign_error *error)
{
    gra_batch_answer divisor = {.std = NAN, .divisor = 1.0, .unique = 1, .stable = -1};
    self->answers = gra_arena_take(&self->arena, self->count, sizeof *self->answers);
    self->unit = 1.0;
    if (self->answers == NULL) {
        return gra_fail_memory(error);
    }
    if (has_divisor(self->law)) {
        GRA_TRY(solve_divisor(self, &divisor, error));
    }
    double effective = self->beta * divisor.divisor * self->unit;
    int settled = has_divisor(self->law) && divisor.status != GRPOALIGN_COLLAPSED && divisor.moves;
    if (settled && !(effective >= LEAST_BETA && effective <= 1.0 / LEAST_BETA)) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, BETA, -1,
                        "beta times the std of the batch must be from %g to %g (got %g)",
                        LEAST_BETA, 1.0 / LEAST_BETA, effective);
    }
    for (int64_t k = 0; k < self->count; k++) {
        GRA_TRY(in_context(settle_context(self, k, &divisor, error), k, error));
    }
    if (has_divisor(self->law) && divisor.status != GRPOALIGN_COLLAPSED &&
        !gra_batch_check(&self->divided, self->answers, &divisor)) {
        return gra_fail_memory(error);
    }
    grpoalign_status status = write_solutions(self, &divisor, out, error);
    if (status >= 0 && std != NULL) {
        *std = divisor.std * self->unit;
    }
    return status;
}

grpoalign_status
grpoalign_points_new_batch(const grpoalign_model *const *models, const grpoalign_penalty *penalty,
                           const grpoalign_reference *const *references, int64_t count, double beta,
                           const grpoalign_batch_options *batch,
                           const grpoalign_solve_options *options, grpoalign_points **out,
                           double *std, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", OUT, error));
    *out = NULL;
    GRA_TRY(gra_check_pointer(models, "models", MODELS, error));
    GRA_TRY(gra_check_pointer(references, "references", REFERENCES, error));
    grpoalign_solve_options own = {.struct_size = sizeof own};
    GRA_TRY(gra_load_options(&own, sizeof own, options, OPTIONS, error));
    own.struct_size = sizeof own;
    own.start = NULL; /* contexts are of different sizes */
    if (count < 1) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, COUNT, -1, "count must be >= 1 (got %lld)",
                        (long long)count);
    }
    call self = {.count = count, .arena = GRA_ARENA_INIT, .beta = beta};
    self.sessions = gra_alloc(count, sizeof *self.sessions);
    grpoalign_status status =
        self.sessions != NULL ? load_batch_options(&self, batch, error) : gra_fail_memory(error);
    status = status < 0 ? status : open_contexts(&self, models, penalty, references, &own, error);
    status = status < 0 ? status : solve_contexts(&self, out, std, error);
    for (int64_t k = 0; self.sessions != NULL && k < count; k++) {
        gra_session_close(&self.sessions[k]);
    }
    gra_release(self.sessions);
    gra_arena_free(&self.arena);
    return status;
}
