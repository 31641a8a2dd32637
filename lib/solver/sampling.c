#include "solver/sampling.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

/* Betas are looked for in this range. */
static const double LEAST_BETA = 1e-148, MOST_BETA = 1e148;

/* ---- progress -------------------------------------------------------------------------------- */

/* The host hears of one search, not of many solves. */
static int32_t tell(void *user, const grpoalign_progress *progress)
{
    const gra_sampling *self = user;
    grpoalign_progress told = *progress;
    told.iteration += self->iterations;
    told.factorizations += self->factorizations;
    return self->progress(self->user, &told);
}

/* Some solves have no iterations that the host could hear of: it hears of each look. */
static grpoalign_status tell_look(gra_sampling *self, const gra_problem *at,
                                  const gra_answer *answer)
{
    const gra_answer none = {.method = answer->method, .iterations = 1};
    self->looks++;
    self->iterations += answer->iterations;
    self->factorizations += answer->factorizations;
    return gra_report_progress(at, &none, answer->beta, answer->policy_error);
}

/* ---- samples --------------------------------------------------------------------------------- */

grpoalign_status gra_sampling_open(gra_sampling *self, const grpoalign_problem *problem,
                                   const grpoalign_solve_options *options, grpoalign_error *error)
{
    memset(self, 0, sizeof *self);
    self->problem = problem;
    self->options = *options;
    self->progress = options->progress;
    self->user = options->user;
    self->error = error;
    if (options->progress != NULL) {
        self->options.progress = tell;
        self->options.user = self;
    }
    for (int k = 0; k < GRA_SAMPLE_DEPTH + 2; k++) {
        self->ends[k].solution = NULL;
    }
    return problem->filters ? GRPOALIGN_OK
                            : gra_call_open(&self->call, problem, 1.0, &self->options, error);
}

void gra_sampling_close(gra_sampling *self)
{
    for (int k = 0; k < GRA_SAMPLE_DEPTH + 2; k++) {
        gra_sample_clear(&self->ends[k]);
    }
    if (!self->problem->filters) {
        gra_call_close(&self->call);
    }
    gra_arena_free(&self->arena);
}

/* Room for the answer that others go on from. 0 on short memory. */
static int take_answer(gra_sampling *self, gra_sample *out)
{
    int64_t classes = self->call.at.reference.classes;
    if (!self->problem->filters && out->answer.slack == NULL) {
        out->answer.slack = gra_arena_doubles(&self->arena, classes);
        out->answer.policy = gra_arena_doubles(&self->arena, classes);
        return out->answer.slack != NULL && out->answer.policy != NULL;
    }
    return 1;
}

void gra_sample_clear(gra_sample *self)
{
    gra_solution_free(self->solution);
    self->solution = NULL;
}

/* The answer of an open call at a beta, and the solution that it stands for. */
static grpoalign_status solve_at(gra_sampling *self, gra_call *call, double beta,
                                 const gra_answer *before, int32_t stability, gra_answer *answer,
                                 grpoalign_solution **out)
{
    gra_problem at = call->at;
    at.beta = beta;
    at.before = before != NULL && before->on_branch && before->beta > beta ? before : NULL;
    if (!gra_answer_take(answer, &at)) {
        return gra_fail_memory(self->error);
    }
    GRA_TRY(gra_solve_classes(&at, answer));
    GRA_TRY(tell_look(self, &at, answer));
    GRA_TRY(gra_assess(&at, answer, stability));
    return gra_expand(call, answer, out, self->error);
}

static int is_there(grpoalign_status status)
{
    return status == GRPOALIGN_OK || status == GRPOALIGN_NOT_UNIQUE ||
           status == GRPOALIGN_ACCURACY_LIMITED;
}

/* Where groups are dropped every beta is a problem of its own. */
static grpoalign_status solve_alone(gra_sampling *self, double beta, int32_t stability,
                                    grpoalign_solution **out)
{
    gra_call call;
    gra_answer answer;
    grpoalign_status status =
        gra_call_open(&call, self->problem, beta, &self->options, self->error);
    if (status >= 0) {
        status = solve_at(self, &call, beta, NULL, stability, &answer, out);
    }
    gra_call_close(&call);
    return status;
}

static grpoalign_status solve_in_call(gra_sampling *self, double beta, const gra_answer *before,
                                      int32_t stability, gra_answer *keep, grpoalign_solution **out)
{
    gra_answer answer;
    gra_arena_mark_t mark = gra_arena_mark(&self->call.arena);
    grpoalign_status status = solve_at(self, &self->call, beta, before, stability, &answer, out);
    if (status >= 0 && keep != NULL) {
        gra_answer_copy(&answer, keep, self->call.at.reference.classes);
        keep->share = NULL; /* it goes with the arena */
    }
    gra_arena_rewind(&self->call.arena, mark);
    return status;
}

grpoalign_status gra_sampling_look(gra_sampling *self, double beta, const gra_sample *before,
                                   gra_sample *out)
{
    grpoalign_solution *found = NULL;
    const int32_t skip = GRPOALIGN_STABILITY_SKIP;
    if (!take_answer(self, out)) {
        return gra_fail_memory(self->error);
    }
    grpoalign_status status =
        self->problem->filters ? solve_alone(self, beta, skip, &found)
                               : solve_in_call(self, beta, before != NULL ? &before->answer : NULL,
                                               skip, &out->answer, &found);
    GRA_TRY(status);
    gra_sample_clear(out);
    out->solution = found;
    out->beta = beta;
    out->there = is_there(status);
    out->over = status == GRPOALIGN_COLLAPSED;
    return GRPOALIGN_OK;
}

grpoalign_status gra_sampling_solve(gra_sampling *self, double beta, int32_t stability,
                                    grpoalign_solution **out)
{
    return self->problem->filters ? solve_alone(self, beta, stability, out)
                                  : solve_in_call(self, beta, NULL, stability, NULL, out);
}

double gra_sampling_distance(const gra_sampling *self, const gra_sample *at)
{
    const grpoalign_reference *reference = self->problem->reference;
    double largest = 0.0;
    for (int64_t o = 0; o < reference->outcomes; o++) {
        if (reference->support[o]) {
            double log_reference = reference->logarithm[o],
                   ratio = fabs(at->solution->log_policy[o] - log_reference),
                   rounding = 4.0 * DBL_EPSILON * fabs(log_reference);
            largest = ratio > rounding ? fmax(largest, ratio) : largest;
        }
    }
    return at->there ? largest : INFINITY;
}

double gra_sampling_travelled(const gra_sample *a, const gra_sample *b)
{
    gra_sum sum = {0.0, 0.0};
    for (int64_t o = 0; o < a->solution->outcomes; o++) {
        gra_sum_add(&sum, fabs(a->solution->policy[o] - b->solution->policy[o]));
    }
    return gra_sum_value(sum);
}

double gra_sampling_stretch(const gra_sample *a, const gra_sample *b)
{
    return log1p((a->beta - b->beta) / b->beta);
}

/* ---- where to start -------------------------------------------------------------------------- */

/* Log ratios up to this follow u/beta within some percent, and fall as beta grows; */
static const double NEAR_REFERENCE = 1.0 / 64.0;
/* down to this they need not be looked at. */
static const double VERY_NEAR = 1.0 / 1024.0;

grpoalign_status gra_sampling_find_scale(gra_sampling *self, gra_sample *at)
{
    double beta = 1.0;
    GRA_TRY(gra_sampling_look(self, beta, NULL, at));
    double distance = gra_sampling_distance(self, at);
    while (distance > NEAR_REFERENCE && beta < MOST_BETA) {
        beta *= fmin(fmax(distance / NEAR_REFERENCE, 4.0), 1e3);
        GRA_TRY(gra_sampling_look(self, beta, NULL, at));
        distance = gra_sampling_distance(self, at);
    }
    while (distance < VERY_NEAR && beta > LEAST_BETA) {
        double next = beta * fmin(fmax(2.0 * distance / NEAR_REFERENCE, 1e-4), 0.5);
        GRA_TRY(gra_sampling_look(self, next, NULL, at));
        distance = gra_sampling_distance(self, at);
        if (distance > NEAR_REFERENCE) {
            break; /* it goes away in one leap */
        }
        beta = next;
    }
    self->scale = beta;
    return at->beta == beta ? GRPOALIGN_OK : gra_sampling_look(self, beta, NULL, at);
}

/* ---- on the way down ------------------------------------------------------------------------- */

/* A policy that travels no further between two samples shows all its bends. */
static const double SHORT_WAY = 0.3;
/* In log beta: what is shorter has no doubles within that tell more; a jump. */
static const double NO_STRETCH = 1e-14;
/* In log beta, near the reference and further away. */
static const double LONG_STRIDE = 1.0, STRIDE = 0.4;

int gra_sampling_is_long(const gra_sample *above, const gra_sample *below)
{
    if (gra_sampling_stretch(above, below) <= NO_STRETCH || (!above->there && !below->there)) {
        return 0;
    }
    return !above->there || !below->there || gra_sampling_travelled(above, below) > SHORT_WAY;
}

int gra_sampling_is_jump(const gra_sample *above, const gra_sample *below)
{
    return above->there != below->there ||
           (above->there && gra_sampling_travelled(above, below) > SHORT_WAY);
}

static void swap(gra_sample *a, gra_sample *b)
{
    gra_sample other = *a;
    *a = *b;
    *b = other;
}

/* The stretch between ends[0] and ends[1], piece by piece from above; what is not judged yet stands
 * further up. ends[0] is then the lower end. */
static grpoalign_status judge_stretch(gra_sampling *self, const gra_descent *descent, int *verdict)
{
    gra_sample *above = &self->ends[0];
    int depth = 1;
    while (depth > 0) {
        gra_sample *below = &self->ends[depth];
        GRA_TRY(descent->judge(descent->client, above, below, verdict));
        if (*verdict == GRA_STOP) {
            return GRPOALIGN_OK;
        }
        double middle = sqrt(above->beta) * sqrt(below->beta);
        int divisible = middle < above->beta && middle > below->beta && depth < GRA_SAMPLE_DEPTH;
        if (*verdict == GRA_HALVE && divisible) {
            depth++;
            GRA_TRY(gra_sampling_look(self, middle, above, &self->ends[depth]));
        } else {
            swap(above, below);
            depth--;
        }
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_sampling_descend(gra_sampling *self, const gra_descent *descent, double high,
                                      double low)
{
    int verdict = GRA_GO_ON;
    gra_sample *here = &self->ends[0];
    GRA_TRY(gra_sampling_look(self, high, NULL, here));
    while (verdict != GRA_STOP && here->beta > low && !here->over) {
        double stride = here->beta > self->scale ? LONG_STRIDE : STRIDE;
        double next = fmax(low, here->beta * exp(-stride));
        GRA_TRY(gra_sampling_look(self, next, here, &self->ends[1]));
        GRA_TRY(judge_stretch(self, descent, &verdict));
    }
    return GRPOALIGN_OK;
}
