/*
 * All stationary policies of a game, as far as a search finds them, the folds where two of them
 * meet, and the curve of those that pi_ref is connected to.
 *
 * No proof is known that such a list is complete. Three searches feed it. The branch from large
 * beta is traced by pseudo-arclength through every fold. Newton, and where it fails the training
 * flow, starts from policies spread over the simplex, the pure ones first. Newton deflated of what
 * is known already is repelled by known solutions (Farrell, Birkisson and Funke).
 */
#include "solver/arclength.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

/* Steps along the branch. */
static const double LONGEST = 0.1;
/* Below the betas that are wanted the branch is followed by this factor more: it may come back. */
static const double BEYOND = 20.0;
/* Starts, fewer of them above MANY classes and fewer still above LARGE, and steps of the flow from
 * each. */
enum {
    MOST_VERTICES = 24,
    MIXTURES = 16,
    MANY = 32,
    LARGE = 100,
    FLOW_STEPS = 200,
    DEFLATED_STEPS = 30
};
/* Two answers closer than this are one, and so are two that the error of either explains, once that
 * is known. */
static const double SAME = 1e-9;

/* Appends the solver's answer. 0 on short memory. */
static int append(const gra_newton *s, gra_answers *out)
{
    gra_answer *added = gra_answers_add(out, s->problem);
    if (added == NULL) {
        return 0;
    }
    gra_answer_copy(s->answer, added, s->game->classes);
    added->beta = s->beta;
    added->method = GRPOALIGN_METHOD_NEWTON;
    added->status = GRPOALIGN_OK;
    added->unique = added->stable = -1;
    added->on_branch = 0;
    return 1;
}

/* Appends the solver's answer when it is new. 0 on short memory. */
static int append_new(const gra_newton *s, gra_answers *out)
{
    for (int64_t k = 0; k < out->count; k++) {
        if (gra_largest_difference(out->items[k].policy, s->answer->policy, s->game->classes) <
            SAME) {
            return 1;
        }
    }
    return append(s, out);
}

typedef struct listing {
    gra_visitor visitor;
    gra_answers *out;
    double low, high;
    int64_t last; /* curves: points up to the last crossing of a mark */
} listing;

static int list_crossing(gra_visitor *self, gra_newton *s)
{
    return append_new(s, ((listing *)self)->out);
}

/* What coarse advantages find is good to this at best. */
static const double ROUGHLY = 1e-4;

/* From where coarse advantages have led: the exact point, appended when it is new. */
static grpoalign_status finish_exactly(gra_newton *s, gra_answers *out)
{
    int outcome;
    double change;
    s->accuracy = GRA_EXACT;
    GRA_TRY(gra_newton_run(s, 30, 0.0, &outcome, &change));
    return outcome != NEWTON_DONE || append_new(s, out) ? GRPOALIGN_OK
                                                        : gra_fail_memory(s->problem->error);
}

/* From a policy: Newton, and where that fails the training flow for some steps. */
static grpoalign_status try_start(gra_newton *s, const double *policy, gra_answers *out)
{
    int outcome;
    double change;
    s->accuracy = GRA_COARSE;
    GRA_TRY(gra_newton_respond(s, policy));
    GRA_TRY(gra_newton_run(s, 40, ROUGHLY, &outcome, &change));
    if (outcome != NEWTON_DONE) {
        GRA_TRY(gra_newton_respond(s, policy));
        GRA_TRY(gra_newton_flow(s, FLOW_STEPS, ROUGHLY, &outcome, &change));
    }
    return outcome == NEWTON_DONE ? finish_exactly(s, out) : GRPOALIGN_OK;
}

/*
 * Newton from a policy with every known solution as a pole: the step of the deflated equations is
 * the plain step times 1 / (1 - <grad log M, step>), M = prod (1/|pi - known|^2 + 1).
 */
static grpoalign_status try_deflated(gra_newton *s, const double *policy, gra_answers *out)
{
    int64_t n = s->game->classes;
    s->exact = 0;
    s->accuracy = GRA_COARSE;
    GRA_TRY(gra_newton_respond(s, policy));
    for (int i = 0; i < DEFLATED_STEPS; i++) {
        if (!gra_newton_evaluate(s) || !gra_newton_factorise(s, 0.0)) {
            return gra_fail_memory(s->problem->error);
        }
        if (!s->equations.regular) {
            return GRPOALIGN_OK;
        }
        (void)gra_newton_direction(s, s->r, s->step);
        double lean = 0.0;
        for (int64_t k = 0; k < out->count; k++) {
            double squared = 0.0, along = 0.0;
            for (int64_t c = 0; c < n; c++) {
                double d = s->answer->policy[c] - out->items[k].policy[c];
                squared += d * d;
                along += d * -(s->equations.slope[c] * s->step[c]);
            }
            lean += -2.0 * along / fmax(squared * (1.0 + squared), 1e-300);
        }
        gra_extent size = gra_newton_measure(s, s->step);
        if (size.relative < 1e-4) {
            break;
        }
        double scale = 1.0 / (1.0 - lean), most = 0.2 / fmax(size.change, 1e-300);
        scale = fmin(fmax(scale, -most), fmin(most, 1.0));
        if (!isfinite(scale) || !isfinite(size.change)) {
            return GRPOALIGN_OK;
        }
        gra_newton_move(s, s->step, scale);
    }
    return finish_exactly(s, out);
}

/* The same starts every time: a small generator, splitmix64. */
static double next_uniform(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return ((double)((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53;
}

static grpoalign_status search(gra_newton *s, gra_answers *out)
{
    int64_t n = s->game->classes;
    double *start = gra_arena_doubles(s->problem->arena, n);
    uint64_t random = 1;
    int64_t few = n <= MANY ? 1 : n <= LARGE ? 2 : 4; /* a start costs as much as n^3 */
    int64_t vertices = n < MOST_VERTICES / few ? n : MOST_VERTICES / few, mixtures = MIXTURES / few;
    if (start == NULL) {
        return gra_fail_memory(s->problem->error);
    }
    for (int64_t k = 0; k < vertices; k++) {
        /* Classes come in ascending order of reward: the best ones are last. */
        for (int64_t c = 0; c < n; c++) {
            start[c] = 1e-6 * s->problem->reference.mass[c] + (c == n - 1 - k ? 1.0 - 1e-6 : 0.0);
        }
        GRA_TRY(try_start(s, start, out));
    }
    for (int64_t k = 0; k < mixtures; k++) {
        double total = 0.0;
        for (int64_t c = 0; c < n; c++) {
            total += start[c] = pow(-log(next_uniform(&random)), 1.0 + 2.0 * (double)(k % 3));
        }
        for (int64_t c = 0; c < n; c++) {
            start[c] /= total;
        }
        GRA_TRY(try_start(s, start, out));
        if (k % 4 == 0) {
            GRA_TRY(try_deflated(s, start, out));
        }
    }
    return try_deflated(s, s->problem->reference.mass, out);
}

/* Fills up what a point of the list lacks. Returns in *valid whether it is one. */
static grpoalign_status finish(gra_newton *s, gra_answer *item, int *valid)
{
    gra_answer_copy(item, s->answer, s->game->classes);
    s->beta = item->beta;
    s->exact = 1;
    s->accuracy = GRA_EXACT;
    if (!gra_newton_factorise(s, 0.0)) {
        return gra_fail_memory(s->problem->error);
    }
    GRA_TRY(gra_newton_polish(s, valid));
    gra_answer_copy(s->answer, item, s->game->classes);
    return GRPOALIGN_OK;
}

/* Whether an answer before `kept` is the same within the errors of both. */
static int is_listed(const gra_answers *out, int64_t kept, const gra_answer *item, int64_t classes)
{
    for (int64_t k = 0; k < kept; k++) {
        const gra_answer *other = &out->items[k];
        if (gra_largest_difference(other->policy, item->policy, classes) <
            fmax(SAME, other->policy_error + item->policy_error)) {
            return 1;
        }
    }
    return 0;
}

static grpoalign_status finish_points(gra_newton *s, gra_answers *out)
{
    int64_t kept = 0, connected = out->connected;
    for (int64_t k = 0; k < out->count; k++) {
        int valid = 1;
        if (k != connected) {
            GRA_TRY(finish(s, &out->items[k], &valid));
        }
        if (valid && !is_listed(out, kept, &out->items[k], s->game->classes)) {
            out->connected = k == connected ? kept : out->connected;
            out->items[kept++] = out->items[k];
        }
    }
    out->count = kept;
    for (int64_t k = 0; k < kept && kept > 1; k++) {
        out->items[k].unique = 0;
    }
    return GRPOALIGN_OK;
}

/* The limit of iterations is for one solve, not for a search of many. */
static int start_newton(gra_newton *s, gra_problem *plain, const gra_problem *problem)
{
    *plain = *problem;
    plain->max_iterations = INT32_MAX;
    plain->start = NULL;
    plain->before = NULL;
    gra_answer *answer = gra_arena_take(problem->arena, 1, sizeof *answer);
    return answer != NULL && gra_answer_take(answer, problem) && gra_newton_start(s, plain, answer);
}

grpoalign_status gra_points_game(const gra_problem *problem, gra_answers *out)
{
    gra_newton s;
    gra_problem plain;
    gra_answer *first = gra_answers_add(out, problem);
    if (first == NULL || !start_newton(&s, &plain, problem)) {
        return gra_fail_memory(problem->error);
    }
    GRA_TRY(problem->solve(problem, first));
    first->status = first->status == GRPOALIGN_NOT_UNIQUE ? GRPOALIGN_OK : first->status;
    out->connected = 0;
    if (first->status == GRPOALIGN_NOT_CONVERGED) {
        out->count = 0;
        out->connected = -1;
    } else if (first->unique == 1) {
        out->complete = 1; /* a contraction */
        return GRPOALIGN_OK;
    }
    listing list = {.visitor =
                        {
                            .crossing = list_crossing,
                            .marks = {problem->beta, 0.0},
                            .longest = LONGEST,
                        },
                    .out = out};
    GRA_TRY(gra_trace_branch(&s, problem->beta / BEYOND, problem->beta, &list.visitor));
    GRA_TRY(search(&s, out));
    return finish_points(&s, out);
}

static int list_fold(gra_visitor *self, gra_newton *s)
{
    listing *list = (listing *)self;
    return s->beta < list->low || s->beta > list->high || append(s, list->out);
}

/* The error of every point, at the end because it takes factors of its own. */
static grpoalign_status finish_curve(gra_newton *s, gra_answers *out)
{
    for (int64_t k = 0; k < out->count; k++) {
        int valid;
        GRA_TRY(finish(s, &out->items[k], &valid));
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_folds_game(const gra_problem *problem, double low, double high,
                                gra_answers *out)
{
    gra_newton s;
    gra_problem plain;
    if (!start_newton(&s, &plain, problem)) {
        return gra_fail_memory(problem->error);
    }
    listing list = {.visitor =
                        {
                            .fold = list_fold,
                            .longest = LONGEST,
                        },
                    .out = out,
                    .low = low,
                    .high = high};
    GRA_TRY(gra_trace_branch(&s, low / BEYOND, high, &list.visitor));
    GRA_TRY(finish_curve(&s, out));
    for (int64_t k = 0; k < out->count; k++) {
        out->items[k].unique = 0;
    }
    return GRPOALIGN_OK;
}

static int curve_crossing(gra_visitor *self, gra_newton *s)
{
    listing *list = (listing *)self;
    int good = append(s, list->out);
    list->last = list->out->count;
    return good;
}

/* Stations count from the first crossing on. */
static int curve_station(gra_visitor *self, gra_newton *s)
{
    listing *list = (listing *)self;
    return list->out->count == 0 || list->out->count >= GRA_LONGEST_CURVE || append(s, list->out);
}

grpoalign_status gra_curve_game(const gra_problem *problem, double low, double high,
                                double resolution, gra_answers *out)
{
    gra_newton s;
    gra_problem plain;
    if (!start_newton(&s, &plain, problem)) {
        return gra_fail_memory(problem->error);
    }
    listing list = {.visitor = {.crossing = curve_crossing,
                                .fold = curve_station,
                                .station = curve_station,
                                .marks = {high, low < high ? low : 0.0},
                                .longest = fmin(LONGEST, resolution),
                                .as_answers = 1},
                    .out = out};
    GRA_TRY(gra_trace_branch(&s, low / BEYOND, high, &list.visitor));
    out->count = list.last;
    return finish_curve(&s, out);
}
