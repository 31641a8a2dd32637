#include "solver/arclength.h"

#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

/* One point of the branch with its unit tangent: changes of slacks and of log beta along the
 * arclength of the policy. */
typedef struct station {
    double *slack, *policy, *tangent; /* tangent: of the slacks */
    double log_beta, slope;           /* slope: d log beta along the arclength */
    double bend;                      /* folds: d slope along the arclength */
} station;

/* Arclength^2 = sum d pi^2 + (BETA_WEIGHT d log beta)^2. */
static const double BETA_WEIGHT = 0.05;
static const double SHORTEST_STEP = 1e-7, FIRST_STEP = 0.02;
/* A correction of this size is the last one of a station: on the way, and where the station is an
 * answer. */
static const double ON_THE_WAY = 1e-6, AS_ANSWER = 1e-9;
/* The branch is followed as far as this, in units of the arclength. */
static const double LONGEST_BRANCH = 60.0;
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

/* A step of the given length along the tangent, corrected at right angles to it. `ready`: the
 * equations are those of `from`. 1 when it arrived, 0 if not, -1 on short memory. */
static int advance(gra_newton *s, const station *from, int ready, double length, double accuracy)
{
    int64_t n = s->game->classes;
    double before = INFINITY;
    if (!ready) {
        return_to(s, from);
        if (!gra_newton_evaluate(s) || !gra_newton_factorise(s, 0.0)) {
            return -1;
        }
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
        int arrived = advance(s, from, 0, at, AS_ANSWER),
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
        int arrived = advance(s, from, 0, at, AS_ANSWER),
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

/* Newton at a beta between two stations, one of them a fold or none: from a mean of their slacks,
 * or from the parabola of the fold. */
static grpoalign_status solve_between(gra_newton *s, const station *a, const station *b,
                                      const station *fold, double beta, int *outcome)
{
    double change, log_beta = log(beta),
                   part = (log_beta - a->log_beta) / (b->log_beta - a->log_beta);
    if (fold != NULL) { /* beta goes with the square of the way from a fold */
        part = fold == b ? 1.0 - sqrt(1.0 - part) : sqrt(part);
    }
    int started = fold != NULL ? start_from_fold(s, fold, fold == a, log_beta) : 0;
    if (started < 0) {
        return gra_fail_memory(s->problem->error);
    }
    if (started == 0) {
        for (int64_t c = 0; c < s->game->classes; c++) {
            s->answer->slack[c] = a->slack[c] + part * (b->slack[c] - a->slack[c]);
        }
        gra_answer_respond(s->problem, s->answer);
    }
    s->beta = beta;
    return gra_newton_run(s, 40, 0.0, outcome, &change);
}

/* Visits the marks between two stations. */
static grpoalign_status cross(gra_newton *s, const station *a, const station *b,
                              const station *fold, gra_visitor *visit)
{
    int falls = b->log_beta < a->log_beta;
    for (int k = 0; k < 2 && visit->crossing != NULL; k++) {
        double beta = visit->marks[falls ? k : 1 - k];
        int outcome;
        if (beta == 0.0 || (a->log_beta > log(beta)) == (b->log_beta > log(beta))) {
            continue;
        }
        GRA_TRY(solve_between(s, a, b, fold, beta, &outcome));
        if (outcome == NEWTON_DONE && !visit->crossing(visit, s)) {
            return gra_fail_memory(s->problem->error);
        }
    }
    return GRPOALIGN_OK;
}

/* Whether a mark lies between two stations. */
static int has_mark(const station *a, const station *b, const gra_visitor *visit)
{
    int found = 0;
    for (int k = 0; k < 2 && visit->crossing != NULL; k++) {
        double mark = log(visit->marks[k]);
        found |= visit->marks[k] != 0.0 && (a->log_beta > mark) != (b->log_beta > mark);
    }
    return found;
}

/* Visits all that lies between two stations and the second one; `fold` is room. *ready tells
 * whether the equations are still those of the second one. */
static grpoalign_status visit_stretch(gra_newton *s, const station *from, double length,
                                      const station *to, station *fold, gra_visitor *visit,
                                      int *ready)
{
    int folds = (from->slope > 0.0) != (to->slope > 0.0);
    *ready = !folds && !has_mark(from, to, visit) && visit->station == NULL;
    int found = folds ? locate_fold(s, from, length, to->slope, fold) : 0;
    if (found < 0) {
        return gra_fail_memory(s->problem->error);
    }
    if (found > 0) {
        GRA_TRY(cross(s, from, fold, fold, visit));
        return_to(s, fold);
        if (visit->fold != NULL && !visit->fold(visit, s)) {
            return gra_fail_memory(s->problem->error);
        }
        GRA_TRY(cross(s, fold, to, fold, visit));
    } else {
        GRA_TRY(cross(s, from, to, NULL, visit));
    }
    return_to(s, to);
    return visit->station == NULL || visit->station(visit, s) ? GRPOALIGN_OK
                                                              : gra_fail_memory(s->problem->error);
}

/* The first station, at a beta where the stationary policy is unique. *made is 0 where there is
 * none. */
static grpoalign_status set_out(gra_newton *s, double beta, station *out, int *made)
{
    int outcome;
    double change;
    s->beta = beta;
    GRA_TRY(gra_newton_from_reference(s, &outcome, &change));
    *made = outcome == NEWTON_DONE ? make_station(s, NULL, out) : 0;
    return *made < 0 ? gra_fail_memory(s->problem->error) : GRPOALIGN_OK;
}

/* A step further on; `ready` as above. *bent is how far the tangent turns; *made is 0 where no
 * station was found. */
static grpoalign_status step_on(gra_newton *s, const station *from, int ready, double step,
                                double accuracy, station *to, int *made, double *bent)
{
    s->exact = 0;
    int arrived = advance(s, from, ready, step, accuracy);
    *made = arrived > 0 ? make_station(s, from, to) : arrived;
    if (*made < 0) {
        return gra_fail_memory(s->problem->error);
    }
    s->answer->iterations++;
    *bent = *made > 0 ? fabs(to->slope - from->slope) * BETA_WEIGHT : 1.0;
    return gra_report_progress(s->problem, s->answer, s->beta, step);
}

grpoalign_status gra_trace_branch(gra_newton *s, double low, double high, gra_visitor *visit)
{
    station stations[3] = {{.slope = 0.0}};
    double large = 1.5 * fmax(high, s->game->contraction), step = fmin(FIRST_STEP, visit->longest);
    double accuracy = visit->as_answers ? AS_ANSWER : ON_THE_WAY, way = 0.0, bent = 0.0;
    int made = 0, at = 0, ready = 0;
    for (int k = 0; k < 3; k++) {
        if (!station_take(&stations[k], s->game->classes, s->problem->arena)) {
            return gra_fail_memory(s->problem->error);
        }
    }
    GRA_TRY(set_out(s, large, &stations[0], &made));
    while (made > 0 && way < LONGEST_BRANCH) {
        const station *from = &stations[at];
        station *to = &stations[1 - at];
        GRA_TRY(step_on(s, from, ready, step, accuracy, to, &made, &bent));
        ready = 0;
        if (made == 0 || (bent > 0.5 && step > 1e-3)) {
            step *= 0.4;
            made = step > SHORTEST_STEP;
            continue;
        }
        GRA_TRY(visit_stretch(s, from, step, to, &stations[2], visit, &ready));
        way += step;
        at = 1 - at;
        if (to->log_beta < log(low) || to->log_beta > log(large) + 1.0) {
            break;
        }
        step = fmin(visit->longest, step * (bent < 0.1 ? 1.6 : 1.0));
    }
    s->beta = s->problem->beta;
    return GRPOALIGN_OK;
}
