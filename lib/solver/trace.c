/*
 * All stationary policies of a game, as far as a search finds them, the folds where two of them
 * meet, and the curve of those that pi_ref is connected to.
 *
 * No proof is known that such a list is complete. Three searches feed it. The branch from large
 * beta is traced by pseudo-arclength through every fold. Newton, and where it fails the training
 * flow, starts from policies spread over the simplex, the pure ones first. Newton deflated of what
 * is known already is repelled by known solutions (Farrell, Birkisson and Funke).
 */
#include "solver/newton.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

/* ---- the branch ------------------------------------------------------------------------------ */

/*
 * What the tracing meets, in the solver's answer: points of the branch at the marks, folds, and
 * every station. Each function may be NULL, and returns 0 on short memory.
 */
typedef struct visitor {
    int (*crossing)(struct visitor *self, gra_newton *s);
    int (*fold)(struct visitor *self, gra_newton *s);
    int (*station)(struct visitor *self, gra_newton *s);
    double marks[2]; /* betas, the larger first; 0 for none */
    double longest;  /* step */
    double accuracy; /* of the stations: a correction of this size is the last */
} visitor;

/* One point of the branch with its unit tangent: changes of slacks and of log beta along the
 * arclength of the policy. */
typedef struct station {
    double *slack, *policy, *tangent; /* tangent: of the slacks */
    double log_beta, slope;           /* slope: d log beta along the arclength */
    double bend;                      /* folds: d slope along the arclength */
} station;

/* Arclength^2 = sum d pi^2 + (BETA_WEIGHT d log beta)^2. */
static const double BETA_WEIGHT = 0.05;
static const double LONGEST = 0.1, SHORTEST_STEP = 1e-7, FIRST_STEP = 0.02;
/* A correction of this size is the last one of a station: on the way, and where the station is an
 * answer. */
static const double ON_THE_WAY = 1e-6, AS_ANSWER = 1e-9;
/* The branch is followed as far as this, in units of the arclength. */
static const double LONGEST_BRANCH = 60.0;
/* Below the betas that are wanted the branch is followed by this factor more: it may come back. */
static const double BEYOND = 20.0;
enum { CORRECTIONS = 8, FOLD_STEPS = 12 };

static int station_take(station *self, int64_t n, gra_arena *arena)
{
    self->slack = gra_arena_doubles(arena, n);
    self->policy = gra_arena_doubles(arena, n);
    self->tangent = gra_arena_doubles(arena, n);
    return self->slack != NULL && self->policy != NULL && self->tangent != NULL;
}

/* <d pi, d pi'> of two changes of slacks at the point where the equations are set up. */
static double inner(const gra_newton *s, const double *a, const double *b)
{
    gra_sum sum = {0.0, 0.0};
    for (int64_t c = 0; c < s->game->classes; c++) {
        gra_sum_add(&sum, s->equations.slope[c] * a[c] * (s->equations.slope[c] * b[c]));
    }
    return gra_sum_value(sum);
}

/* The station at the current slacks and beta; `before` (or NULL) gives the way on. 1, 0 at a
 * singular point, -1 on short memory. */
static int make_station(gra_newton *s, const station *before, station *out)
{
    size_t bytes = (size_t)s->game->classes * sizeof(double);
    memcpy(out->slack, s->answer->slack, bytes);
    memcpy(out->policy, s->answer->policy, bytes);
    out->log_beta = log(s->beta);
    if (!gra_newton_evaluate(s) || !gra_newton_factorise(s, 0.0)) {
        return -1;
    }
    if (!s->equations.regular) {
        return 0;
    }
    (void)gra_newton_direction(s, s->answer->slack, out->tangent);
    double length = sqrt(inner(s, out->tangent, out->tangent) + BETA_WEIGHT * BETA_WEIGHT);
    double way = before == NULL ? -1.0
                                : inner(s, out->tangent, before->tangent) +
                                      BETA_WEIGHT * BETA_WEIGHT * before->slope;
    length = way < 0.0 ? -length : length;
    for (int64_t c = 0; c < s->game->classes; c++) {
        out->tangent[c] /= length;
    }
    out->slope = 1.0 / length;
    return isfinite(length);
}

static void return_to(gra_newton *s, const station *at)
{
    size_t bytes = (size_t)s->game->classes * sizeof(double);
    memcpy(s->answer->slack, at->slack, bytes);
    memcpy(s->answer->policy, at->policy, bytes);
    s->beta = exp(at->log_beta);
}

/* A step of the given length along the tangent, corrected at right angles to it. 1 when it arrived,
 * 0 if not, -1 on short memory. */
static int advance(gra_newton *s, const station *from, double length, double accuracy)
{
    int64_t n = s->game->classes;
    double before = INFINITY;
    return_to(s, from);
    if (!gra_newton_evaluate(s) || !gra_newton_factorise(s, 0.0)) {
        return -1;
    }
    gra_newton_move(s, from->tangent, length);
    s->beta = exp(from->log_beta + length * from->slope);
    for (int i = 0; i < CORRECTIONS; i++) {
        if (!gra_newton_evaluate(s) || !gra_newton_factorise(s, 0.0)) {
            return -1;
        }
        if (!s->equations.regular) {
            return 0;
        }
        (void)gra_newton_direction(s, s->r, s->step);
        (void)gra_newton_direction(s, s->answer->slack, s->trial);
        double bottom = inner(s, from->tangent, s->trial) + BETA_WEIGHT * BETA_WEIGHT * from->slope;
        double shift = -inner(s, from->tangent, s->step) / bottom;
        for (int64_t c = 0; c < n; c++) {
            s->step[c] += shift * s->trial[c];
        }
        gra_extent size = gra_newton_measure(s, s->step);
        double correction = fmax(size.relative, fabs(shift));
        if (!(correction < 0.9 * before) || correction > 10.0) {
            return 0;
        }
        before = correction;
        gra_newton_move(s, s->step, 1.0);
        s->beta *= exp(shift);
        if (correction < accuracy) {
            return 1;
        }
    }
    return 0;
}

/* Coarse Jacobians find a fold as far as NEARLY_FLAT; exact ones go on to FLAT: beta is off by
 * the square of it. */
static const double NEARLY_FLAT = 1e-3, FLAT = 1e-9;
enum { REFINEMENTS = 8 };

/* Secants from a point near the fold at `at` along the arclength, where d log beta changes by
 * `bend`. */
static int refine_fold(gra_newton *s, const station *from, double at, double bend, station *fold)
{
    double before = NAN, slope_before = NAN;
    for (int i = 0; i < REFINEMENTS; i++) {
        int arrived = advance(s, from, at, AS_ANSWER),
            made = arrived > 0 ? make_station(s, from, fold) : arrived;
        if (made <= 0) {
            return made < 0 ? -1 : i > 0;
        }
        double secant = (fold->slope - slope_before) / (at - before);
        bend = isfinite(secant) && secant * bend > 0.0 ? secant : bend;
        fold->bend = bend;
        if (fabs(fold->slope) < FLAT) {
            break;
        }
        before = at;
        slope_before = fold->slope;
        at -= fold->slope / bend;
    }
    return 1;
}

/* The fold between a station and the point `length` on, where d log beta changes its sign: false
 * position along the arclength. 1 with the fold, 0 when it was not found, -1 on short memory. */
static int locate_fold(gra_newton *s, const station *from, double length, double slope_end,
                       station *fold)
{
    double low = 0.0, high = length, slope_low = from->slope, slope_high = slope_end, at = 0.0;
    int found = 0;
    for (int i = 0; i < FOLD_STEPS && high - low > 1e-9 * length; i++) {
        at = low + (high - low) * fmin(0.95, fmax(0.05, slope_low / (slope_low - slope_high)));
        int arrived = advance(s, from, at, AS_ANSWER),
            made = arrived > 0 ? make_station(s, from, fold) : arrived;
        if (made <= 0) {
            return made < 0 ? -1 : found;
        }
        found = 1;
        if (fabs(fold->slope) < NEARLY_FLAT) {
            break;
        }
        if ((fold->slope > 0.0) == (slope_low > 0.0)) {
            low = at;
            slope_low = fold->slope;
        } else {
            high = at;
            slope_high = fold->slope;
        }
    }
    if (found) {
        double bend = (slope_high - slope_low) / (high - low);
        s->exact = 1;
        int refined = refine_fold(s, from, at, bend, fold);
        s->exact = 0;
        return refined;
    }
    return found;
}

/* Within this of a fold, along the arclength, beta is a parabola. */
static const double PARABOLIC = 0.01;

/* Slacks on the parabola of a fold, before or behind it, at some log beta; 0 where that is
 * too far. -1 on short memory. */
static int start_from_fold(gra_newton *s, const station *fold, int behind, double log_beta)
{
    double way = sqrt(2.0 * fmax(0.0, (log_beta - fold->log_beta) / fold->bend));
    if (!(way < PARABOLIC)) {
        return 0;
    }
    return_to(s, fold);
    if (!gra_newton_evaluate(s) || !gra_newton_factorise(s, 0.0)) {
        return -1;
    }
    gra_newton_move(s, fold->tangent, behind ? way : -way);
    return 1;
}

/* Visits the marks between two stations, one of them a fold or none: Newton there from a mean of
 * their slacks, or from the parabola of the fold. 0 on short memory. */
static int cross(gra_newton *s, const station *a, const station *b, const station *fold,
                 visitor *visit)
{
    int falls = b->log_beta < a->log_beta;
    for (int k = 0; k < 2; k++) {
        double beta = visit->marks[falls ? k : 1 - k];
        double log_beta = log(beta);
        if (beta == 0.0 || visit->crossing == NULL ||
            (a->log_beta > log_beta) == (b->log_beta > log_beta)) {
            continue;
        }
        int outcome;
        double change, part = (log_beta - a->log_beta) / (b->log_beta - a->log_beta);
        if (fold != NULL) { /* beta goes with the square of the way from a fold */
            part = fold == b ? 1.0 - sqrt(1.0 - part) : sqrt(part);
        }
        int started = fold != NULL ? start_from_fold(s, fold, fold == a, log_beta) : 0;
        if (started < 0) {
            return 0;
        }
        if (started == 0) {
            for (int64_t c = 0; c < s->game->classes; c++) {
                s->answer->slack[c] = a->slack[c] + part * (b->slack[c] - a->slack[c]);
            }
            gra_answer_respond(s->problem, s->answer);
        }
        s->beta = beta;
        if (gra_newton_run(s, 40, 0.0, &outcome, &change) < 0 ||
            (outcome == NEWTON_DONE && !visit->crossing(visit, s))) {
            return 0;
        }
    }
    return 1;
}

/* Visits all that lies between two stations and the second one; `fold` is room. 0 on short memory.
 */
static int visit_stretch(gra_newton *s, const station *from, double length, const station *to,
                         station *fold, visitor *visit)
{
    int folds = (from->slope > 0.0) != (to->slope > 0.0), good = 1;
    int found = folds ? locate_fold(s, from, length, to->slope, fold) : 0;
    if (found > 0) {
        good = cross(s, from, fold, fold, visit);
        return_to(s, fold);
        good = good && (visit->fold == NULL || visit->fold(visit, s)) &&
               cross(s, fold, to, fold, visit);
    } else {
        good = found == 0 && cross(s, from, to, NULL, visit);
    }
    return_to(s, to);
    return good && (visit->station == NULL || visit->station(visit, s));
}

/* Traces the branch of large beta, from above `high` on and while beta >= low. */
static grpoalign_status trace(gra_newton *s, double low, double high, visitor *visit)
{
    const gra_problem *problem = s->problem;
    station stations[3];
    double large = 1.5 * fmax(high, s->game->contraction), step = fmin(FIRST_STEP, visit->longest),
           change;
    int outcome, at = 0;
    for (int k = 0; k < 3; k++) {
        if (!station_take(&stations[k], s->game->classes, problem->arena)) {
            return gra_fail_memory(problem->error);
        }
    }
    s->beta = large;
    gra_newton_at_reference(s);
    GRA_TRY(gra_newton_respond(s, s->answer->policy));
    GRA_TRY(gra_newton_run(s, 60, 0.0, &outcome, &change));
    int made = outcome == NEWTON_DONE ? make_station(s, NULL, &stations[0]) : 0;
    double way = 0.0;
    while (made > 0 && way < LONGEST_BRANCH) {
        const station *from = &stations[at];
        station *to = &stations[1 - at];
        s->exact = 0;
        int arrived = advance(s, from, step, visit->accuracy);
        made = arrived > 0 ? make_station(s, from, to) : arrived;
        if (made < 0) {
            break;
        }
        s->answer->iterations++;
        GRA_TRY(gra_report_progress(problem, s->answer, s->beta, step));
        double turned = made > 0 ? fabs(to->slope - from->slope) * BETA_WEIGHT : 1.0;
        if (made == 0 || (turned > 0.5 && step > 1e-3)) {
            step *= 0.4;
            made = step > SHORTEST_STEP;
            continue;
        }
        if (!visit_stretch(s, from, step, to, &stations[2], visit)) {
            made = -1;
        }
        way += step;
        at = 1 - at;
        if (to->log_beta < log(low) || to->log_beta > log(large) + 1.0) {
            break;
        }
        step = fmin(visit->longest, step * (turned < 0.1 ? 1.6 : 1.0));
    }
    s->beta = problem->beta;
    return made < 0 ? gra_fail_memory(problem->error) : GRPOALIGN_OK;
}

/* ---- the list -------------------------------------------------------------------------------- */

/* Starts, fewer of them above LARGE classes, and steps of the flow from each. */
enum { MOST_VERTICES = 24, MIXTURES = 16, LARGE = 100, FLOW_STEPS = 200 };
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
    visitor visitor;
    gra_answers *out;
    double low, high;
    int64_t last; /* curves: points up to the last crossing of a mark */
} listing;

static int list_crossing(visitor *self, gra_newton *s)
{
    return append_new(s, ((listing *)self)->out);
}

/* From a policy: Newton, and where that fails the training flow for some steps. */
static grpoalign_status try_start(gra_newton *s, const double *policy, gra_answers *out)
{
    int outcome;
    double change;
    GRA_TRY(gra_newton_respond(s, policy));
    GRA_TRY(gra_newton_run(s, 40, 0.0, &outcome, &change));
    if (outcome != NEWTON_DONE) {
        GRA_TRY(gra_newton_respond(s, policy));
        GRA_TRY(gra_newton_flow(s, FLOW_STEPS, &outcome, &change));
    }
    return outcome != NEWTON_DONE || append_new(s, out) ? GRPOALIGN_OK
                                                        : gra_fail_memory(s->problem->error);
}

/*
 * Newton from a policy with every known solution as a pole: the step of the deflated equations is
 * the plain step times 1 / (1 - <grad log M, step>), M = prod (1/|pi - known|^2 + 1).
 */
static grpoalign_status try_deflated(gra_newton *s, const double *policy, gra_answers *out)
{
    int64_t n = s->game->classes;
    s->exact = 0;
    GRA_TRY(gra_newton_respond(s, policy));
    for (int i = 0; i < 60; i++) {
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
    int outcome;
    double change;
    GRA_TRY(gra_newton_run(s, 30, 0.0, &outcome, &change));
    return outcome != NEWTON_DONE || append_new(s, out) ? GRPOALIGN_OK
                                                        : gra_fail_memory(s->problem->error);
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
    int64_t few = n <= LARGE ? 1 : 4; /* a start costs as much as n^3 */
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
    listing list = {.visitor = {.crossing = list_crossing,
                                .marks = {problem->beta, 0.0},
                                .longest = LONGEST,
                                .accuracy = ON_THE_WAY},
                    .out = out};
    GRA_TRY(trace(&s, problem->beta / BEYOND, problem->beta, &list.visitor));
    GRA_TRY(search(&s, out));
    return finish_points(&s, out);
}

static int list_fold(visitor *self, gra_newton *s)
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
    listing list = {.visitor = {.fold = list_fold, .longest = LONGEST, .accuracy = ON_THE_WAY},
                    .out = out,
                    .low = low,
                    .high = high};
    GRA_TRY(trace(&s, low / BEYOND, high, &list.visitor));
    GRA_TRY(finish_curve(&s, out));
    for (int64_t k = 0; k < out->count; k++) {
        out->items[k].unique = 0;
    }
    return GRPOALIGN_OK;
}

static int curve_crossing(visitor *self, gra_newton *s)
{
    listing *list = (listing *)self;
    int good = append(s, list->out);
    list->last = list->out->count;
    return good;
}

/* Stations count from the first crossing on. */
static int curve_station(visitor *self, gra_newton *s)
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
                                .accuracy = AS_ANSWER},
                    .out = out};
    GRA_TRY(trace(&s, low / BEYOND, high, &list.visitor));
    out->count = list.last;
    return finish_curve(&s, out);
}
