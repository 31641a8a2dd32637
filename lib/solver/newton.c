#include "solver/newton.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"
#include "linalg/linalg.h"

/* Over levels, -d pi/d slack is cut off where it would make the equations stiffer than this. */
static const double STIFFEST = 1e10;
/* Corrections below which a solution is done: of any probability, and in proportion of the
 * smallest. */
static const double STILL = 2e-15, FINISHED = 1e-13;
/* Iterations that only move probabilities below STILL: at ties of the support these halve nearly
 * without end. */
static const int MOST_IDLE = 4;
/* Up to this many classes the equations are over classes, which can be as stiff as they like. */
static const int64_t FEW_CLASSES = 512;

int gra_newton_start(gra_newton *s, const gra_problem *problem, gra_answer *answer)
{
    *s = (gra_newton){.problem = problem,
                      .game = &problem->structure->game,
                      .answer = answer,
                      .beta = problem->beta,
                      .accuracy = GRA_EXACT};
    gra_arena *arena = problem->arena;
    gra_equations *e = &s->equations;
    int64_t n = s->game->classes, k = s->game->levels;
    double **vectors[] = {
        &s->u,    &s->r,     &e->q,     &s->step,  &s->saved_slack, &s->saved_policy,
        &s->work, &e->slope, &s->trial, &s->first, &e->log_slope};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        *vectors[i] = gra_arena_doubles(arena, n);
        if (*vectors[i] == NULL) {
            return 0;
        }
    }
    e->over_levels = s->game->distribution != NULL && n > FEW_CLASSES;
    e->order = e->over_levels ? k : n;
    e->stiff = gra_arena_take(arena, n, sizeof *e->stiff);
    s->w = gra_arena_doubles(arena, k);
    s->a = gra_arena_doubles(arena, k);
    e->y = gra_arena_doubles(arena, 2 * e->order);
    e->slopes = gra_arena_doubles(arena, e->order * e->order);
    e->matrix = gra_arena_doubles(arena, e->order * e->order);
    e->pivots = gra_arena_take(arena, e->order, sizeof *e->pivots);
    e->spread = e->over_levels ? gra_arena_doubles(arena, k * k) : NULL;
    return e->stiff && s->w && s->a && e->y && e->slopes && e->matrix && e->pivots &&
           (!e->over_levels || e->spread != NULL);
}

int gra_newton_evaluate(gra_newton *s)
{
    int64_t n = s->game->classes;
    const double *slack = s->answer->slack, *policy = s->answer->policy;
    gra_sum mean_slack = {0.0, 0.0}, mean = {0.0, 0.0};
    for (int64_t c = 0; c < n; c++) {
        gra_sum_add_product(&mean_slack, policy[c], policy[c] > 0.0 ? slack[c] : 0.0);
    }
    s->lambda = s->beta * gra_sum_value(mean_slack);
    gra_game_to_levels(s->game, policy, s->w);
    if (!s->game->advantage(s->game, s->w, s->lambda, s->accuracy, s->a, s->problem->arena)) {
        return 0;
    }
    gra_game_to_classes(s->game, s->a, s->u);
    for (int64_t c = 0; c < n; c++) {
        s->r[c] = slack[c] + s->u[c] / s->beta;
        gra_sum_add_product(&mean, policy[c], s->r[c]);
    }
    s->size = 0.0;
    for (int64_t c = 0; c < n; c++) {
        s->r[c] -= gra_sum_value(mean);
        s->size = fmax(s->size, fabs(s->r[c]));
    }
    return 1;
}

/* The equations over levels, for many more classes than levels: I - (1/beta) A distribution^T Q
 * distribution. */
static int fill_over_levels(gra_newton *s)
{
    gra_equations *e = &s->equations;
    const gra_game *game = s->game;
    int64_t n = game->classes, k = game->levels;
    double largest = 0.0;
    for (int64_t i = 0; i < k * k; i++) {
        largest = fmax(largest, fabs(e->slopes[i]));
    }
    for (int64_t c = 0; c < n; c++) {
        e->q[c] =
            fmin(e->slope[c], STIFFEST * s->beta / fmax(largest, 1e-300)) / (1.0 + e->damping);
    }
    /* distribution^T Q distribution in strips of outcomes. */
    enum { STRIP = 256 };
    gra_arena_mark_t mark = gra_arena_mark(s->problem->arena);
    double *strip = gra_arena_doubles(s->problem->arena, STRIP * k);
    if (strip == NULL) {
        return 0;
    }
    for (int64_t from = 0; from < n; from += STRIP) {
        int64_t rows = n - from < STRIP ? n - from : STRIP;
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t l = 0; l < k; l++) {
                strip[i * k + l] = e->q[from + i] * game->distribution[(from + i) * k + l];
            }
        }
        gra_matmul_transposed(k, k, rows, 1.0, strip, k, game->distribution + from * k, k,
                              from > 0 ? 1.0 : 0.0, e->spread, k);
    }
    gra_arena_rewind(s->problem->arena, mark);
    gra_matmul(k, k, k, -1.0 / s->beta, e->slopes, k, e->spread, k, 0.0, e->matrix, k);
    for (int64_t i = 0; i < k; i++) {
        e->matrix[i * k + i] += 1.0;
    }
    return 1;
}

/*
 * The equations over classes. The unknown of a class is the change of its slack, or where that is
 * stiff the change of its probability: no entry is then larger than the slopes over beta, and no
 * small change is a difference of large ones.
 */
static void fill_over_classes(gra_newton *s)
{
    gra_equations *e = &s->equations;
    int64_t n = s->game->classes;
    double largest = 0.0, self = 1.0 + e->damping;
    for (int64_t i = 0; i < n * n; i++) {
        largest = fmax(largest, fabs(e->slopes[i]));
    }
    e->stiff_count = 0;
    for (int64_t c = 0; c < n; c++) {
        e->stiff[c] = e->slope[c] * largest > s->beta * self;
        e->stiff_count += e->stiff[c];
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            double slope = e->slopes[i * n + j] / s->beta;
            e->matrix[i * n + j] = e->stiff[j] ? slope : -slope * e->slope[j];
        }
        e->matrix[i * n + i] += e->stiff[i] ? -self / e->slope[i] : self;
    }
}

int gra_newton_factorise(gra_newton *s, double damping)
{
    gra_equations *e = &s->equations;
    const gra_game *game = s->game;
    int exact = s->exact && s->accuracy == GRA_EXACT; /* that of the advantages */
    int accuracy = game->margins != NULL || exact ? GRA_EXACT : GRA_COARSE;
    e->damping = damping;
    for (int64_t c = 0; c < game->classes; c++) {
        e->log_slope[c] = s->problem->penalty->log_slope(s->problem->penalty, s->answer->slack[c]);
        e->slope[c] = s->answer->policy[c] * e->log_slope[c];
    }
    gra_game_to_levels(game, s->answer->policy, s->w);
    if (e->over_levels) {
        if (!game->jacobian(game, s->w, accuracy, e->slopes, s->problem->arena) ||
            !fill_over_levels(s)) {
            return 0;
        }
    } else {
        if (!gra_game_class_jacobian(game, s->w, accuracy, e->slopes, s->problem->arena)) {
            return 0;
        }
        fill_over_classes(s);
    }
    s->answer->factorizations++;
    e->regular = gra_lu_factor(e->order, e->matrix, e->order, e->pivots) == 0;
    return 1;
}

/* The change of slacks for a right side -r, and for a rise of lambda by one: dp = dlambda *
 * by_lambda - by_r. */
static void solve_over_levels(gra_newton *s, const double *r, double *by_r, double *by_lambda)
{
    gra_equations *e = &s->equations;
    const gra_game *game = s->game;
    int64_t n = game->classes, k = game->levels;
    for (int side = 0; side < 2; side++) {
        for (int64_t c = 0; c < n; c++) {
            by_lambda[c] = e->q[c] * (side == 0 ? r[c] : 1.0) / s->beta;
        }
        gra_game_to_levels(game, by_lambda, s->w);
        gra_matvec(k, k, e->slopes, k, s->w, e->y + side * k);
    }
    gra_lu_solve(k, e->matrix, k, e->pivots, 2, e->y);
    gra_game_to_classes(game, e->y, by_r);
    gra_game_to_classes(game, e->y + k, by_lambda);
    for (int64_t c = 0; c < n; c++) {
        /* In terms of the true slope: the probability moves as the equations say. */
        double scale = e->slope[c] > 0.0 ? e->q[c] / e->slope[c] : 1.0 / (1.0 + e->damping);
        by_r[c] = scale * (r[c] + by_r[c]);
        by_lambda[c] = scale * (1.0 + by_lambda[c]);
    }
}

static void solve_over_classes(gra_newton *s, const double *r, double *by_r, double *by_lambda)
{
    gra_equations *e = &s->equations;
    int64_t n = s->game->classes;
    for (int64_t c = 0; c < n; c++) {
        e->y[c] = r[c];
        e->y[n + c] = 1.0;
    }
    gra_lu_solve(n, e->matrix, n, e->pivots, 2, e->y);
    for (int64_t c = 0; c < n; c++) {
        double scale = e->stiff[c] ? -1.0 / e->slope[c] : 1.0;
        by_r[c] = scale * e->y[c];
        by_lambda[c] = scale * e->y[n + c];
    }
}

int gra_newton_direction(gra_newton *s, const double *r, double *step)
{
    gra_equations *e = &s->equations;
    int64_t n = s->game->classes;
    int sign = gra_lu_sign(e->order, e->matrix, e->order, e->pivots);
    if (e->over_levels) {
        solve_over_levels(s, r, s->work, step);
    } else {
        solve_over_classes(s, r, s->work, step);
        sign = e->stiff_count % 2 != 0 ? -sign : sign;
    }
    gra_sum with_r = {0.0, 0.0}, with_lambda = {0.0, 0.0};
    for (int64_t c = 0; c < n; c++) {
        gra_sum_add_product(&with_r, e->slope[c], s->work[c]);
        gra_sum_add_product(&with_lambda, e->slope[c], step[c]);
    }
    double bottom = gra_sum_value(with_lambda), lambda = gra_sum_value(with_r) / bottom;
    for (int64_t c = 0; c < n; c++) {
        step[c] = lambda * step[c] - s->work[c];
    }
    return bottom < 0.0 ? -sign : bottom > 0.0 ? sign : 0;
}

gra_extent gra_newton_measure(const gra_newton *s, const double *step)
{
    gra_extent result = {0.0, 0.0, 0.0};
    int ends = isfinite(s->problem->penalty->slack_most) && !s->problem->penalty->lets_go;
    for (int64_t c = 0; c < s->game->classes; c++) {
        double change = fabs(s->equations.slope[c] * step[c]);
        if (isnan(change)) {
            result.change = result.relative = result.growth = INFINITY;
            break;
        }
        double relative = s->equations.log_slope[c] * fabs(step[c]);
        if (ends) { /* at the end itself the logarithm has no scale: relative to the reference there
                     */
            relative *= fmin(1.0, s->answer->policy[c] / s->problem->reference.mass[c]);
        }
        result.change = fmax(result.change, change);
        result.relative = fmax(result.relative, relative);
        result.growth = step[c] < 0.0 ? fmax(result.growth, relative) : result.growth;
    }
    return result;
}

/* A class below this may gain by its slack without disturbing the others. */
static const double SLIGHT = 1e-5;
/* A class that grows by more than this factor has left what the factors know of it; in
 * logarithms. */
static const double JUMP = 7.0;

void gra_newton_move(gra_newton *s, const double *step, double length)
{
    const gra_penalty *penalty = s->problem->penalty;
    const gra_class_reference *reference = &s->problem->reference;
    s->jumped = 0;
    for (int64_t c = 0; c < s->game->classes; c++) {
        double *slack = &s->answer->slack[c], d = length * step[c];
        if (d >= 0.0 ||
            s->equations.log_slope[c] ==
                0.0) { /* or there is nothing to gain from: the slack is beyond its end */
            *slack += d;
            continue;
        }
        double before = *slack;
        double by_slack = fmax(*slack + d, penalty->slack_at(penalty, reference->mass[c],
                                                             reference->log_mass[c], SLIGHT));
        double by_policy = penalty->grown(penalty, *slack, -d * s->equations.log_slope[c]);
        *slack = fmin(by_slack, by_policy);
        s->jumped |=
            penalty->log_ratio(penalty, *slack) - penalty->log_ratio(penalty, before) > JUMP;
    }
    gra_answer_respond(s->problem, s->answer);
}

void gra_newton_save(gra_newton *s)
{
    size_t bytes = (size_t)s->game->classes * sizeof(double);
    memcpy(s->saved_slack, s->answer->slack, bytes);
    memcpy(s->saved_policy, s->answer->policy, bytes);
}

void gra_newton_restore(gra_newton *s)
{
    size_t bytes = (size_t)s->game->classes * sizeof(double);
    memcpy(s->answer->slack, s->saved_slack, bytes);
    memcpy(s->answer->policy, s->saved_policy, bytes);
}

/* A step is kept when it leaves at most 1 - length/2 of the relative correction; factors are kept
 * while it leaves little. */
static const double KEEP_FACTORS = 0.03, SHORTEST = 1e-6;
/* On the way a start that needs shorter steps than this is not worth them. */
static const double SHORT_ENOUGH = 0.05;
/* Corrections of the policy below this are accepted as they are: they are rounding. */
static const double ROUNDING_REGION = 1e-9;
/* Near a solution exact factors leave far less than this of a correction, other than at a fold;
 * coarse ones that leave more are no better than none. */
static const double POOR_FACTORS = 0.1, NEARBY = 0.1;
/* Corrections of the policy that rounding explains away from folds. */
static const double EXPLAINED = 1e-12;

/*
 * Whether the residual is nothing but rounding: beside a fold, where there is no solution, Newton
 * gets stuck with a residual as large as the distance to the fold. Classes that hold too little to
 * move the others do not count.
 */
static int residual_is_within(const gra_newton *s, double roundings)
{
    double most = 0.0;
    for (int64_t c = 0; c < s->game->classes; c++) {
        most = s->answer->policy[c] > 0.0 ? fmax(most, fabs(s->u[c])) : most;
    }
    /* The bound of the error is mostly smooth in the policy and moves the fold with it; what is not
     * is far below. */
    double common =
        roundings * (DBL_EPSILON * (1.0 + most / s->beta) + s->game->error / s->beta / 160.0);
    for (int64_t c = 0; c < s->game->classes; c++) {
        double counts = s->answer->policy[c] *
                        s->problem->penalty->log_slope(s->problem->penalty, s->answer->slack[c]) *
                        fabs(s->r[c]);
        if (counts > 0.01 * DBL_EPSILON &&
            fabs(s->r[c]) > common + roundings * DBL_EPSILON * fabs(s->answer->slack[c])) {
            return 0;
        }
    }
    return 1;
}

static int residual_is_rounding(const gra_newton *s)
{
    return residual_is_within(s, 16.0);
}

int gra_newton_is_settled(const gra_newton *s)
{
    return residual_is_within(s, 1e5);
}

/* Where a run stands. The step is the next correction. */
typedef struct run {
    double noise;    /* a relative correction below this may be rounding */
    double finished; /* one below this is the last */
    double enough;
    int have_step; /* the factors were kept, and have given the step */
    int fresh;     /* the factors are those of the slacks that the step starts from */
    int idle;      /* iterations without a gain */
    double length;
    gra_extent now, next; /* of the step, and of the one after it */
} run;

/* The next step. *found is 0 where there is none. */
static grpoalign_status find_step(gra_newton *s, run *self, int *found)
{
    *found = 1;
    gra_newton_save(s);
    if (!self->have_step) {
        if (!gra_newton_factorise(s, 0.0)) {
            return gra_fail_memory(s->problem->error);
        }
        if (!s->equations.regular) {
            *found = 0;
            return GRPOALIGN_OK;
        }
        s->answer->regular = gra_newton_direction(s, s->r, s->step);
        self->fresh = 1;
    }
    self->now = gra_newton_measure(s, s->step);
    *found = isfinite(self->now.change);
    return GRPOALIGN_OK;
}

enum { TAKEN, POOR, STUCK };

/* Goes along the step as far as it helps. It is not taken where the factors are too POOR for it, or
 * where no length helps. */
static grpoalign_status take_step(gra_newton *s, run *self, int *how)
{
    for (self->length = 1.0;;) {
        gra_newton_move(s, s->step, self->length);
        if (!gra_newton_evaluate(s)) {
            return gra_fail_memory(s->problem->error);
        }
        (void)gra_newton_direction(s, s->r, s->trial);
        self->next = gra_newton_measure(s, s->trial);
        if (self->next.relative <= (1.0 - 0.5 * self->length) * self->now.relative ||
            self->now.change < ROUNDING_REGION) {
            *how = TAKEN;
            return GRPOALIGN_OK;
        }
        gra_newton_restore(s);
        self->length *= 0.5;
        int poor = !s->exact && self->now.relative < NEARBY;
        if (self->length < (self->enough > 0.0 ? SHORT_ENOUGH : SHORTEST) || poor) {
            *how = poor ? POOR : STUCK;
            return gra_newton_evaluate(s) ? GRPOALIGN_OK : gra_fail_memory(s->problem->error);
        }
    }
}

/* Whether nothing is left to correct, or new factors leave as much as there was: the last
 * digits. */
static int is_done(const gra_newton *s, const run *self, double change)
{
    const gra_extent *now = &self->now, *next = &self->next;
    int stuck = next->relative > 0.3 * now->relative && next->relative < self->noise;
    int last =
        s->exact && self->fresh && stuck && (next->change <= EXPLAINED || residual_is_rounding(s));
    return (next->change <= STILL &&
            (next->relative <= self->finished || (stuck && self->fresh))) ||
           (change < ROUNDING_REGION && last) || self->idle > MOST_IDLE ||
           next->relative < self->enough;
}

/* Keeps factors that are good enough for another step: the trial step is then that one. */
static void keep_factors(gra_newton *s, run *self)
{
    const gra_extent *now = &self->now, *next = &self->next;
    s->exact |=
        self->fresh && now->relative < NEARBY && next->relative > POOR_FACTORS * now->relative;
    self->have_step = self->length == 1.0 && next->relative < KEEP_FACTORS * now->relative;
    self->fresh = 0;
    if (self->have_step) {
        double *swap = s->step;
        s->step = s->trial;
        s->trial = swap;
    }
}

grpoalign_status gra_newton_run(gra_newton *s, int limit, double enough, int *outcome,
                                double *change)
{
    const gra_problem *problem = s->problem;
    /* Slacks carry the rounding of advantages over beta. */
    double rounding = DBL_EPSILON * fmax(1.0, 1.0 / s->beta);
    run self = {.noise = fmax(0.01, 1e3 * rounding),
                .finished = fmax(FINISHED, 16.0 * rounding),
                .enough = enough};
    *outcome = NEWTON_FAILED;
    *change = INFINITY;
    s->exact = s->game->margins != NULL;
    if (!gra_newton_evaluate(s)) {
        return gra_fail_memory(problem->error);
    }
    for (int i = 0; i < limit && s->answer->iterations < problem->max_iterations; i++) {
        int found, how = STUCK;
        GRA_TRY(find_step(s, &self, &found));
        if (found) {
            GRA_TRY(take_step(s, &self, &how));
        }
        if (how == STUCK) {
            return GRPOALIGN_OK;
        }
        if (how == POOR) {
            s->exact = 1;
            self.have_step = self.fresh = 0;
            continue;
        }
        *change = gra_largest_difference(s->answer->policy, s->saved_policy, s->game->classes);
        s->answer->iterations++;
        GRA_TRY(gra_report_progress(problem, s->answer, s->beta, *change));
        int idles = self.now.change <= STILL && self.next.change <= STILL && self.next.growth < 1.0;
        self.idle = idles ? self.idle + 1 : 0;
        if (s->jumped) {
            self.have_step = self.fresh = 0;
            continue;
        }
        if (is_done(s, &self, *change)) {
            /* Factors of another point may call a correction small that is not. */
            if (self.fresh || enough > 0.0 || residual_is_rounding(s)) {
                *outcome = NEWTON_DONE;
                return GRPOALIGN_OK;
            }
            self.have_step = self.fresh = 0;
            continue;
        }
        keep_factors(s, &self);
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_newton_respond(gra_newton *s, const double *policy)
{
    gra_game_to_levels(s->game, policy, s->w);
    if (!s->game->advantage(s->game, s->w, 0.0, s->accuracy, s->a, s->problem->arena)) {
        return gra_fail_memory(s->problem->error);
    }
    gra_game_to_classes(s->game, s->a, s->answer->slack);
    for (int64_t c = 0; c < s->game->classes; c++) {
        s->answer->slack[c] = -s->answer->slack[c] / s->beta;
    }
    gra_answer_respond(s->problem, s->answer);
    return GRPOALIGN_OK;
}

void gra_newton_at_reference(gra_newton *s)
{
    for (int64_t c = 0; c < s->game->classes; c++) {
        s->answer->slack[c] = s->problem->penalty->slack(s->problem->penalty, 0.0);
    }
    gra_answer_respond(s->problem, s->answer);
}

grpoalign_status gra_newton_from_policy(gra_newton *s, const double *policy, int limit,
                                        int *outcome, double *change)
{
    GRA_TRY(gra_newton_respond(s, policy));
    return gra_newton_run(s, limit, 0.0, outcome, change);
}

grpoalign_status gra_newton_from_reference(gra_newton *s, int *outcome, double *change)
{
    gra_newton_at_reference(s);
    return gra_newton_from_policy(s, s->answer->policy, 60, outcome, change);
}
