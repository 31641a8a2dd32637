/*
 * Games: Newton on the prices.
 *
 * With prices p (the policy being the response to them) stationarity is r = p + (u(pi(p)) - level)/beta = 0. Linearised,
 *
 *     dp + (1/beta) (du/dpi) dpi = dlevel - r,   dpi = -q dp,   sum dpi = 0,
 *
 * one equation per class, or with u = mix a(mix^T pi) one per reward level, whichever are few. A class that gains moves
 * linearly in its probability, one that loses linearly in its price; so the iterate is a policy always.
 *
 * Reverse KL starts at the prices of u(pi_ref). Pairwise preferences come here from the central path. Direct KL follows the
 * branch from large beta, where the stationary policy is unique, down to the wanted one; where that branch ends at a fold,
 * and wherever Newton fails, implicit steps along the training flow in its natural metric, d price/dt = -r, lead on to
 * where training ends.
 */
#include "solver/solver.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"
#include "linalg/linalg.h"

typedef struct newton {
    const gra_problem *problem;
    const gra_game *game;
    gra_answer *answer;
    double beta;
    int accuracy; /* of the advantages: GRA_EXACT, or GRA_COARSE on the way */
    double level; /* what u is relative to */
    double size;  /* max |r - mean r| of the current prices */
    /* classes */
    double *u, *r, *step, *trial, *saved_price, *saved_policy, *work, *first;
    double *slope, *log_slope; /* q = -d pi/d price, and q / pi, where the equations were set up */
    double *q;                 /* q as used in the equations over levels */
    int32_t *stiff;            /* the unknown of a class in the equations over classes is its probability */
    int64_t stiff_count;
    double *w, *a;   /* levels */
    int over_levels; /* which equations */
    int64_t order;   /* of the matrix */
    double *slopes, *matrix, *spread, *y;
    double slack; /* of the last factors */
    int32_t *pivots;
    int factored;
    int valid; /* the answer, when it was last looked at */
} newton;

/* Over levels, -d pi/d price is cut off where it would make the equations stiffer than this. */
static const double STIFFEST = 1e10;
/* Corrections below which a solution is done: of any probability, and in proportion of the smallest. */
static const double STILL = 2e-15, SETTLED = 1e-13;
/* Iterations that only move probabilities below STILL: at ties of the support these halve nearly without end. */
static const int MOST_IDLE = 4;
/* Up to this many classes the equations are over classes, which can be as stiff as they like. */
static const int64_t FEW_CLASSES = 512;

static int newton_take(newton *s, gra_arena *arena)
{
    int64_t n = s->game->classes, k = s->game->levels;
    double **vectors[] = {&s->u,    &s->r,     &s->q,     &s->step,  &s->saved_price, &s->saved_policy,
                          &s->work, &s->slope, &s->trial, &s->first, &s->log_slope};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        *vectors[i] = gra_arena_doubles(arena, n);
        if (*vectors[i] == NULL) {
            return 0;
        }
    }
    s->over_levels = s->game->mix != NULL && n > FEW_CLASSES;
    s->order = s->over_levels ? k : n;
    s->stiff = gra_arena_take(arena, n, sizeof *s->stiff);
    s->w = gra_arena_doubles(arena, k);
    s->a = gra_arena_doubles(arena, k);
    s->y = gra_arena_doubles(arena, 2 * s->order);
    s->slopes = gra_arena_doubles(arena, s->order * s->order);
    s->matrix = gra_arena_doubles(arena, s->order * s->order);
    s->pivots = gra_arena_take(arena, s->order, sizeof *s->pivots);
    s->spread = s->over_levels ? gra_arena_doubles(arena, k * k) : NULL;
    return s->stiff && s->w && s->a && s->y && s->slopes && s->matrix && s->pivots &&
           (!s->over_levels || s->spread != NULL);
}

/* r and its size at the current prices. */
static int evaluate(newton *s)
{
    int64_t n = s->game->classes;
    const double *price = s->answer->price, *policy = s->answer->policy;
    gra_sum mean_price = {0.0, 0.0}, mean = {0.0, 0.0};
    for (int64_t c = 0; c < n; c++) {
        gra_sum_add_product(&mean_price, policy[c], policy[c] > 0.0 ? price[c] : 0.0);
    }
    s->level = s->beta * gra_sum_value(mean_price);
    gra_game_to_levels(s->game, policy, s->w);
    if (!s->game->advantage(s->game, s->w, s->level, s->accuracy, s->a, s->problem->arena)) {
        return 0;
    }
    gra_game_to_classes(s->game, s->a, s->u);
    for (int64_t c = 0; c < n; c++) {
        s->r[c] = price[c] + s->u[c] / s->beta;
        gra_sum_add_product(&mean, policy[c], s->r[c]);
    }
    s->size = 0.0;
    for (int64_t c = 0; c < n; c++) {
        s->r[c] -= gra_sum_value(mean);
        s->size = fmax(s->size, fabs(s->r[c]));
    }
    return 1;
}

/* The equations over levels, for many more classes than levels: I - (1/beta) A mix^T Q mix. */
static int fill_over_levels(newton *s)
{
    const gra_game *game = s->game;
    int64_t n = game->classes, k = game->levels;
    double largest = 0.0;
    for (int64_t i = 0; i < k * k; i++) {
        largest = fmax(largest, fabs(s->slopes[i]));
    }
    for (int64_t c = 0; c < n; c++) {
        s->q[c] = fmin(s->slope[c], STIFFEST * s->beta / fmax(largest, 1e-300)) / (1.0 + s->slack);
    }
    /* mix^T Q mix in strips of outcomes. */
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
                strip[i * k + l] = s->q[from + i] * game->mix[(from + i) * k + l];
            }
        }
        gra_matmul_transposed(k, k, rows, 1.0, strip, k, game->mix + from * k, k, from > 0 ? 1.0 : 0.0, s->spread, k);
    }
    gra_arena_rewind(s->problem->arena, mark);
    gra_matmul(k, k, k, -1.0 / s->beta, s->slopes, k, s->spread, k, 0.0, s->matrix, k);
    for (int64_t i = 0; i < k; i++) {
        s->matrix[i * k + i] += 1.0;
    }
    return 1;
}

/*
 * The equations over classes. The unknown of a class is the change of its price, or where that is stiff the change of its
 * probability: no entry is then larger than the slopes over beta, and no small change is a difference of large ones.
 */
static void fill_over_classes(newton *s)
{
    int64_t n = s->game->classes;
    double largest = 0.0, self = 1.0 + s->slack;
    for (int64_t i = 0; i < n * n; i++) {
        largest = fmax(largest, fabs(s->slopes[i]));
    }
    s->stiff_count = 0;
    for (int64_t c = 0; c < n; c++) {
        s->stiff[c] = s->slope[c] * largest > s->beta * self;
        s->stiff_count += s->stiff[c];
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            double slope = s->slopes[i * n + j] / s->beta;
            s->matrix[i * n + j] = s->stiff[j] ? slope : -slope * s->slope[j];
        }
        s->matrix[i * n + i] += s->stiff[i] ? -self / s->slope[i] : self;
    }
}

/* Factorises the equations at the current prices; slack > 0 shortens the step to an implicit step along the flow. */
static int factorise(newton *s, double slack)
{
    const gra_game *game = s->game;
    int accuracy = game->margins != NULL ? GRA_EXACT : GRA_COARSE;
    s->slack = slack;
    for (int64_t c = 0; c < game->classes; c++) {
        s->log_slope[c] = s->problem->penalty->log_slope(s->answer->price[c]);
        s->slope[c] = s->answer->policy[c] * s->log_slope[c];
    }
    gra_game_to_levels(game, s->answer->policy, s->w);
    if (s->over_levels) {
        if (!game->jacobian(game, s->w, accuracy, s->slopes, s->problem->arena) || !fill_over_levels(s)) {
            return 0;
        }
    } else {
        if (!gra_game_class_jacobian(game, s->w, accuracy, s->slopes, s->problem->arena)) {
            return 0;
        }
        fill_over_classes(s);
    }
    s->answer->factorizations++;
    s->factored = gra_lu_factor(s->order, s->matrix, s->order, s->pivots) == 0;
    return 1;
}

/* The change of prices for a right side -r, and for a rise of the level by one: dp = dlevel * by_level - by_r. */
static void solve_over_levels(newton *s, const double *r, double *by_r, double *by_level)
{
    const gra_game *game = s->game;
    int64_t n = game->classes, k = game->levels;
    for (int side = 0; side < 2; side++) {
        for (int64_t c = 0; c < n; c++) {
            by_level[c] = s->q[c] * (side == 0 ? r[c] : 1.0) / s->beta;
        }
        gra_game_to_levels(game, by_level, s->w);
        gra_matvec(k, k, s->slopes, k, s->w, s->y + side * k);
    }
    gra_lu_solve(k, s->matrix, k, s->pivots, 2, s->y);
    gra_game_to_classes(game, s->y, by_r);
    gra_game_to_classes(game, s->y + k, by_level);
    for (int64_t c = 0; c < n; c++) {
        /* In terms of the true slope: the probability moves as the equations say. */
        double scale = s->slope[c] > 0.0 ? s->q[c] / s->slope[c] : 1.0 / (1.0 + s->slack);
        by_r[c] = scale * (r[c] + by_r[c]);
        by_level[c] = scale * (1.0 + by_level[c]);
    }
}

static void solve_over_classes(newton *s, const double *r, double *by_r, double *by_level)
{
    int64_t n = s->game->classes;
    for (int64_t c = 0; c < n; c++) {
        s->y[c] = r[c];
        s->y[n + c] = 1.0;
    }
    gra_lu_solve(n, s->matrix, n, s->pivots, 2, s->y);
    for (int64_t c = 0; c < n; c++) {
        double scale = s->stiff[c] ? -1.0 / s->slope[c] : 1.0;
        by_r[c] = scale * s->y[c];
        by_level[c] = scale * s->y[n + c];
    }
}

/*
 * The change of prices for the right side -r, with the level that keeps the sum of the policy. Returns the sign of the
 * determinant of the whole system.
 */
static int direction(newton *s, const double *r, double *step)
{
    int64_t n = s->game->classes;
    int sign = gra_lu_sign(s->order, s->matrix, s->order, s->pivots);
    if (s->over_levels) {
        solve_over_levels(s, r, s->work, step);
    } else {
        solve_over_classes(s, r, s->work, step);
        sign = s->stiff_count % 2 != 0 ? -sign : sign;
    }
    gra_sum with_r = {0.0, 0.0}, with_level = {0.0, 0.0};
    for (int64_t c = 0; c < n; c++) {
        gra_sum_add_product(&with_r, s->slope[c], s->work[c]);
        gra_sum_add_product(&with_level, s->slope[c], step[c]);
    }
    double bottom = gra_sum_value(with_level), level = gra_sum_value(with_r) / bottom;
    for (int64_t c = 0; c < n; c++) {
        step[c] = level * step[c] - s->work[c];
    }
    return bottom < 0.0 ? -sign : bottom > 0.0 ? sign : 0;
}

/* How far a step goes: the largest change of a probability, and the largest relative change (the natural norm of
 * Newton's method here: it does not depend on the scale of prices or advantages), and that of the classes that gain. */
typedef struct extent {
    double change, relative, growth;
} extent;

static extent measure(const newton *s, const double *step)
{
    extent result = {0.0, 0.0, 0.0};
    for (int64_t c = 0; c < s->game->classes; c++) {
        double change = fabs(s->slope[c] * step[c]);
        if (isnan(change)) {
            result.change = result.relative = result.growth = INFINITY;
            break;
        }
        double relative = s->log_slope[c] * fabs(step[c]);
        result.change = fmax(result.change, change);
        result.relative = fmax(result.relative, relative);
        result.growth = step[c] < 0.0 ? fmax(result.growth, relative) : result.growth;
    }
    return result;
}

/* A class below this may gain by its price without disturbing the others. */
static const double SLIGHT = 1e-5;

/* Moves the prices by length * step and responds. */
static void move(newton *s, const double *step, double length)
{
    const gra_penalty_ops *penalty = s->problem->penalty;
    const gra_prior *prior = &s->problem->prior;
    for (int64_t c = 0; c < s->game->classes; c++) {
        double *price = &s->answer->price[c], d = length * step[c];
        if (d >= 0.0) {
            *price += d;
            continue;
        }
        double by_price = fmax(*price + d, penalty->price_at(prior->mass[c], prior->log_mass[c], SLIGHT));
        double by_policy = penalty->grown(*price, -d * s->log_slope[c]);
        *price = fmin(by_price, by_policy);
    }
    (void)penalty->respond(prior, s->answer->price, s->answer->policy);
}

static void save(newton *s)
{
    size_t bytes = (size_t)s->game->classes * sizeof(double);
    memcpy(s->saved_price, s->answer->price, bytes);
    memcpy(s->saved_policy, s->answer->policy, bytes);
}

static void restore(newton *s)
{
    size_t bytes = (size_t)s->game->classes * sizeof(double);
    memcpy(s->answer->price, s->saved_price, bytes);
    memcpy(s->answer->policy, s->saved_policy, bytes);
}

enum { NEWTON_DONE, NEWTON_FAILED };

/* A step is kept when it leaves at most 1 - length/2 of the relative correction; factors are kept while it leaves little. */
static const double KEEP_FACTORS = 0.03, SHORTEST = 1e-6;
/* Corrections of the policy below this are accepted unseen: rounding rules them. */
static const double ROUNDING_REGION = 1e-9;

/*
 * Newton from the current prices with Deuflhard's natural monotonicity test: a step is judged by the next correction that the
 * same factors give. Ends when the next relative correction is below `enough`, or with enough = 0 when nothing is left to
 * correct. *change is the last change of a probability; the sign of the determinant is left in the answer. Gives up after
 * `limit` iterations.
 */
static grpoalign_status newton_run(newton *s, int limit, double enough, int *outcome, double *change)
{
    const gra_problem *problem = s->problem;
    int have_step = 0, fresh = 0, idle = 0;
    /* Prices carry the rounding of advantages over beta. */
    double rounding = DBL_EPSILON * fmax(1.0, 1.0 / s->beta);
    double noise = fmax(0.01, 1e3 * rounding), settled = fmax(SETTLED, 16.0 * rounding);
    *outcome = NEWTON_FAILED;
    *change = INFINITY;
    if (!evaluate(s)) {
        return gra_fail_memory(problem->error);
    }
    for (int i = 0; i < limit && s->answer->iterations < problem->max_iterations; i++) {
        save(s);
        if (!have_step) {
            if (!factorise(s, 0.0)) {
                return gra_fail_memory(problem->error);
            }
            if (!s->factored) {
                return GRPOALIGN_OK;
            }
            s->answer->regular = direction(s, s->r, s->step);
            fresh = 1;
        }
        extent now = measure(s, s->step), next;
        double length = 1.0;
        if (!isfinite(now.change)) {
            return GRPOALIGN_OK;
        }
        for (;;) {
            move(s, s->step, length);
            if (!evaluate(s)) {
                return gra_fail_memory(problem->error);
            }
            (void)direction(s, s->r, s->trial);
            next = measure(s, s->trial);
            if (next.relative <= (1.0 - 0.5 * length) * now.relative || now.change < ROUNDING_REGION) {
                break;
            }
            restore(s);
            length *= 0.5;
            if (length < SHORTEST) {
                return evaluate(s) ? GRPOALIGN_OK : gra_fail_memory(problem->error);
            }
        }
        *change = 0.0;
        for (int64_t c = 0; c < s->game->classes; c++) {
            *change = fmax(*change, fabs(s->answer->policy[c] - s->saved_policy[c]));
        }
        s->answer->iterations++;
        GRA_TRY(gra_report_progress(problem, s->answer, s->beta, *change));
        /* Done when nothing is left to correct, or when new factors leave as much as there was: the last digits. */
        int stuck = next.relative > 0.3 * now.relative && next.relative < noise;
        idle = now.change <= STILL && next.change <= STILL && next.growth < 1.0 ? idle + 1 : 0;
        if ((next.change <= STILL && (next.relative <= settled || (stuck && fresh))) ||
            (*change < ROUNDING_REGION && stuck && fresh) || idle > MOST_IDLE || next.relative < enough) {
            *outcome = NEWTON_DONE;
            return GRPOALIGN_OK;
        }
        have_step = length == 1.0 && next.relative < KEEP_FACTORS * now.relative;
        fresh = 0;
        if (have_step) {
            double *swap = s->step;
            s->step = s->trial;
            s->trial = swap;
        }
    }
    return GRPOALIGN_OK;
}

/*
 * Implicit Euler steps along d price/dt = -r, lengthened as r falls, until Newton takes over: ends where the flow ends. The
 * slack is the inverse of the step.
 */
static grpoalign_status flow_run(newton *s, int *outcome, double *change)
{
    const gra_problem *problem = s->problem;
    double slack = 1.0;
    s->answer->method = GRPOALIGN_METHOD_FLOW;
    *outcome = NEWTON_FAILED;
    if (!evaluate(s)) {
        return gra_fail_memory(problem->error);
    }
    for (int i = 0; i < 2000 && s->answer->iterations < problem->max_iterations; i++) {
        double size = s->size;
        if (!factorise(s, slack)) {
            return gra_fail_memory(problem->error);
        }
        if (!s->factored) {
            slack *= 2.0;
            continue;
        }
        /* A long implicit step is drawn to points that the flow leaves; the determinant changes its sign first. */
        if (direction(s, s->r, s->step) <= 0) {
            slack = 2.0 * slack + 1e-3;
            continue;
        }
        save(s);
        move(s, s->step, 1.0);
        if (!evaluate(s)) {
            return gra_fail_memory(problem->error);
        }
        *change = 0.0;
        for (int64_t c = 0; c < s->game->classes; c++) {
            *change = fmax(*change, fabs(s->answer->policy[c] - s->saved_policy[c]));
        }
        if (*change > 0.1 || !(s->size <= 2.0 * size + 1.0)) { /* a step the flow would not have taken in one go */
            restore(s);
            if (!evaluate(s)) {
                return gra_fail_memory(problem->error);
            }
            slack *= 4.0;
            if (slack > 1e12) {
                return GRPOALIGN_OK;
            }
            continue;
        }
        s->answer->iterations++;
        GRA_TRY(gra_report_progress(problem, s->answer, s->beta, *change));
        slack *= fmin(fmax(s->size / size, 0.1), 1.0) * (*change < 0.03 ? 0.5 : 1.0);
        if (slack < 1e-4) {
            GRA_TRY(newton_run(s, 20, 0.0, outcome, change));
            if (*outcome == NEWTON_DONE) {
                return GRPOALIGN_OK;
            }
            slack = 0.1;
        }
    }
    return GRPOALIGN_OK;
}

/* Prices of the response to the advantages at a policy. */
static grpoalign_status respond_to(newton *s, const double *policy)
{
    gra_game_to_levels(s->game, policy, s->w);
    if (!s->game->advantage(s->game, s->w, 0.0, s->accuracy, s->a, s->problem->arena)) {
        return gra_fail_memory(s->problem->error);
    }
    gra_game_to_classes(s->game, s->a, s->answer->price);
    for (int64_t c = 0; c < s->game->classes; c++) {
        s->answer->price[c] = -s->answer->price[c] / s->beta;
    }
    (void)s->problem->penalty->respond(&s->problem->prior, s->answer->price, s->answer->policy);
    return GRPOALIGN_OK;
}

/* Prices at pi_ref itself. */
static void at_reference(newton *s)
{
    for (int64_t c = 0; c < s->game->classes; c++) {
        s->answer->price[c] = s->problem->penalty->unit_price;
    }
    (void)s->problem->penalty->respond(&s->problem->prior, s->answer->price, s->answer->policy);
}

/* Points on the way to the wanted one are solved to this relative correction, with coarse advantages where those move no
 * price by more than ON_THE_WAY. */
static const double NEAR_BRANCH = 1e-5, ON_THE_WAY = 0.01;

static int way_accuracy(const newton *s)
{
    return s->game->coarse_error <= ON_THE_WAY * s->beta ? GRA_COARSE : GRA_EXACT;
}

/* Where steps in log beta get shorter than this the branch turns back. */
static const double SHORTEST_STRIDE = 1e-4;

/*
 * From beta_from (solved) down to problem->beta along the branch: tangent, then Newton. A step is kept when Newton converges at
 * once, to where the tangent pointed, and the determinant keeps its sign. *outcome is NEWTON_FAILED at a fold, with the last
 * point of the branch in the answer.
 */
static grpoalign_status follow_branch(newton *s, double beta_from, int *outcome, double *change)
{
    const gra_problem *problem = s->problem;
    int64_t n = s->game->classes;
    double here = log(beta_from), end = log(problem->beta), stride = 1.0;
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    double *base_price = gra_arena_doubles(problem->arena, n), *tangent = gra_arena_doubles(problem->arena, n);
    double *base_policy = gra_arena_doubles(problem->arena, n), *predicted = gra_arena_doubles(problem->arena, n);
    if (base_price == NULL || tangent == NULL || base_policy == NULL || predicted == NULL) {
        gra_arena_rewind(problem->arena, mark);
        return gra_fail_memory(problem->error);
    }
    grpoalign_status status = GRPOALIGN_OK;
    size_t bytes = (size_t)n * sizeof(double);
    *outcome = NEWTON_DONE;
    while (here > end && status >= 0) {
        /* beta p + u = level, differentiated in log beta: dp + (1/beta) J dpi = dlevel - p. */
        memcpy(base_price, s->answer->price, bytes);
        memcpy(base_policy, s->answer->policy, bytes);
        if (!evaluate(s) || !factorise(s, 0.0)) {
            status = gra_fail_memory(problem->error);
            break;
        }
        if (!s->factored) {
            *outcome = NEWTON_FAILED;
            break;
        }
        int sign = direction(s, base_price, tangent);
        int accepted = 0;
        while (!accepted && status >= 0) {
            double next = fmax(end, here - stride);
            memcpy(s->answer->price, base_price, bytes);
            memcpy(s->answer->policy, base_policy, bytes);
            s->beta = next > end ? exp(next) : problem->beta;
            s->accuracy = next > end ? way_accuracy(s) : GRA_EXACT;
            move(s, tangent, next - here);
            memcpy(predicted, s->answer->policy, bytes);
            int found;
            status = newton_run(s, next > end ? 5 : 12, next > end ? NEAR_BRANCH : 0.0, &found, change);
            double correction = 0.0, travelled = 0.0;
            for (int64_t c = 0; c < n; c++) {
                correction += fabs(s->answer->policy[c] - predicted[c]);
                travelled += fabs(s->answer->policy[c] - base_policy[c]);
            }
            accepted = status >= 0 && found == NEWTON_DONE && s->answer->regular == sign &&
                       correction < 0.02 + 0.2 * travelled && travelled < 0.5;
            if (accepted) {
                here = next;
                stride *= correction < 0.005 ? 2.0 : 1.0;
            } else if (status >= 0) {
                stride = 0.4 * fmin(stride, here - next);
                if (stride < SHORTEST_STRIDE || s->answer->iterations >= problem->max_iterations) {
                    memcpy(s->answer->price, base_price, bytes);
                    memcpy(s->answer->policy, base_policy, bytes);
                    *outcome = NEWTON_FAILED;
                    here = -INFINITY;
                    break;
                }
            }
        }
    }
    s->beta = problem->beta;
    s->accuracy = GRA_EXACT;
    gra_arena_rewind(problem->arena, mark);
    return status;
}

/*
 * Classes so small, or so firmly priced, that their residual no longer moves the policy take their price straight from the
 * advantages: their probabilities then have all digits too, however few of them there are.
 */
static grpoalign_status settle_small(newton *s)
{
    if (!evaluate(s)) {
        return gra_fail_memory(s->problem->error);
    }
    for (int64_t c = 0; c < s->game->classes; c++) {
        double slope = s->answer->policy[c] * s->problem->penalty->log_slope(s->answer->price[c]);
        if (slope * fabs(s->r[c]) <= 0.01 * DBL_EPSILON) {
            s->answer->price[c] -= s->r[c];
        }
    }
    (void)s->problem->penalty->respond(&s->problem->prior, s->answer->price, s->answer->policy);
    return GRPOALIGN_OK;
}

/*
 * The last word on an answer: no class may be kept from probability it is due. One whose price is too high by more than rounding
 * explains would go on to gain, however little it holds now.
 */
static int holds(const newton *s)
{
    double rounding = 1e4 * DBL_EPSILON * fmax(1.0, 1.0 / s->beta);
    for (int64_t c = 0; c < s->game->classes; c++) {
        double due = s->r[c], price = fabs(s->answer->price[c]);
        if (!(due <= rounding) && !(due <= 1e-3 * price)) {
            return 0;
        }
    }
    return 1;
}

/*
 * The policy error: what is left to correct, by fresh residuals, and what the error of the advantages does to the policy, that
 * error being measured by computing them a second way, or else bounded with alternating signs standing for the worst ones.
 */
static grpoalign_status estimate_error(newton *s)
{
    const gra_game *game = s->game;
    int64_t n = game->classes;
    save(s);
    if (!evaluate(s)) {
        return gra_fail_memory(s->problem->error);
    }
    s->valid = holds(s);
    memcpy(s->first, s->u, (size_t)n * sizeof(double));
    (void)direction(s, s->r, s->step);
    double worst = 4.0 * measure(s, s->step).change;
    if (game->margins == NULL) {
        gra_game_to_levels(game, s->answer->policy, s->w);
        int checked = game->check != NULL ? game->check(game, s->w, s->level, s->a, s->problem->arena) : -1;
        if (checked == 0) {
            return gra_fail_memory(s->problem->error);
        }
        if (checked > 0) {
            gra_game_to_classes(game, s->a, s->u);
        }
        for (int64_t c = 0; c < n; c++) {
            double bound = (c & 1) != 0 ? game->error : -game->error;
            s->r[c] = (checked > 0 ? s->u[c] - s->first[c] : bound) / s->beta;
        }
        (void)direction(s, s->r, s->step);
        worst += measure(s, s->step).change;
    }
    s->answer->policy_error = fmin(1.0, worst + 2.0 * DBL_EPSILON);
    return GRPOALIGN_OK;
}

/* The solution connected to pi_ref: at once where beta is large, else along the branch from there. */
static grpoalign_status from_large_beta(newton *s, int *outcome, double *change)
{
    const gra_problem *problem = s->problem;
    double large = fmax(problem->beta, 1.001 * s->game->contraction);
    int on_the_way = problem->beta < large;
    s->beta = large;
    s->accuracy = on_the_way ? way_accuracy(s) : GRA_EXACT;
    at_reference(s);
    GRA_TRY(respond_to(s, s->answer->policy));
    GRA_TRY(newton_run(s, 60, on_the_way ? NEAR_BRANCH : 0.0, outcome, change));
    if (*outcome == NEWTON_DONE && on_the_way) {
        s->answer->method = GRPOALIGN_METHOD_CONTINUATION;
        GRA_TRY(follow_branch(s, large, outcome, change));
    }
    s->beta = problem->beta;
    s->accuracy = GRA_EXACT;
    return GRPOALIGN_OK;
}

/*
 * For reverse KL, where tiny reference probabilities on good outcomes make corners that Newton cannot turn: starts from a
 * nearly uniform reference, raised by 1 everywhere, and lowers the floor, faster and faster, to the reference itself.
 */
static grpoalign_status ease_reference(newton *s, int *outcome, double *change)
{
    const gra_problem *problem = s->problem;
    int64_t n = s->game->classes;
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    double *mass = gra_arena_doubles(problem->arena, n), *log_mass = gra_arena_doubles(problem->arena, n);
    double *price = gra_arena_doubles(problem->arena, n), *policy = gra_arena_doubles(problem->arena, n);
    if (mass == NULL || log_mass == NULL || price == NULL || policy == NULL) {
        gra_arena_rewind(problem->arena, mark);
        return gra_fail_memory(problem->error);
    }
    gra_problem eased = *problem;
    eased.prior.mass = mass;
    eased.prior.log_mass = log_mass;
    s->problem = &eased;
    size_t bytes = (size_t)n * sizeof(double);
    double floor = INFINITY, stride = log(10.0);
    grpoalign_status status = GRPOALIGN_OK;
    for (int i = 0; i < 200 && status >= 0; i++) {
        double next = isinf(floor) ? 0.0 : floor - stride;
        int last = next < log(GRA_LEAST_MASS);
        double raise = last ? 0.0 : exp(next), total = 1.0 + (double)n * raise;
        for (int64_t c = 0; c < n; c++) {
            mass[c] = (problem->prior.mass[c] + raise) / total;
            log_mass[c] = last ? problem->prior.log_mass[c] : log(mass[c]);
        }
        if (isinf(floor)) {
            status = from_large_beta(s, outcome, change);
        } else {
            /* A class with a stiff price keeps its probability, another its price. */
            for (int64_t c = 0; c < n; c++) {
                int stiff = policy[c] > s->beta * price[c];
                s->answer->price[c] = stiff ? mass[c] / policy[c] : price[c];
            }
            (void)problem->penalty->respond(&eased.prior, s->answer->price, s->answer->policy);
        }
        if (status >= 0 && !isinf(floor)) {
            status = newton_run(s, 15, last ? 0.0 : NEAR_BRANCH, outcome, change);
        }
        if (status >= 0 && *outcome == NEWTON_DONE) {
            if (last) {
                break;
            }
            memcpy(price, s->answer->price, bytes);
            memcpy(policy, s->answer->policy, bytes);
            floor = next;
            stride *= 3.0;
        } else {
            stride /= 4.0;
            if (isinf(floor) || stride < 1e-3) {
                break;
            }
        }
    }
    s->problem = problem;
    gra_arena_rewind(problem->arena, mark);
    return status;
}

/* Whether the answer is not known to repel. */
static int attracts(newton *s)
{
    const gra_problem *problem = s->problem;
    int64_t n = s->game->classes;
    int32_t stable = gra_stability(problem, s->answer);
    if (stable >= 0 || n > GRA_SPECTRUM_LIMIT) {
        return stable != 0;
    }
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    double *jacobian = gra_arena_doubles(problem->arena, n * n);
    gra_game_to_levels(s->game, s->answer->policy, s->w);
    if (jacobian != NULL && gra_game_class_jacobian(s->game, s->w, GRA_EXACT, jacobian, problem->arena)) {
        stable = gra_stability_spectrum(problem->penalty, s->beta, n, s->answer->price, s->answer->policy, jacobian,
                                        problem->arena);
    }
    gra_arena_rewind(problem->arena, mark);
    return stable != 0;
}

/*
 * Looks for a second stationary policy where training would be if it had gone too far: with nearly everything on the class
 * that the solution found likes best. Finding none proves nothing.
 */
static grpoalign_status probe_beyond(newton *s, int *another)
{
    const gra_problem *problem = s->problem;
    int64_t n = s->game->classes, best = 0;
    size_t bytes = (size_t)n * sizeof(double);
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    double *price = gra_arena_doubles(problem->arena, n), *policy = gra_arena_doubles(problem->arena, n);
    gra_answer kept = *s->answer;
    *another = 0;
    if (price == NULL || policy == NULL) {
        gra_arena_rewind(problem->arena, mark);
        return gra_fail_memory(problem->error);
    }
    memcpy(price, s->answer->price, bytes);
    memcpy(policy, s->answer->policy, bytes);
    grpoalign_status status = evaluate(s) ? GRPOALIGN_OK : gra_fail_memory(problem->error);
    for (int64_t c = 0; c < n; c++) {
        best = s->u[c] > s->u[best] ? c : best;
    }
    for (int64_t c = 0; c < n; c++) {
        s->work[c] = 1e-6 * problem->prior.mass[c] + (c == best ? 1.0 - 1e-6 : 0.0);
    }
    if (status >= 0) {
        status = respond_to(s, s->work);
    }
    int found = NEWTON_FAILED;
    double change = 0.0, distance = 0.0;
    if (status >= 0) {
        status = newton_run(s, 30, 0.0, &found, &change);
    }
    for (int64_t c = 0; c < n; c++) {
        distance = fmax(distance, fabs(s->answer->policy[c] - policy[c]));
    }
    *another = found == NEWTON_DONE && distance > 1e-7;
    int32_t iterations = s->answer->iterations, factorizations = s->answer->factorizations;
    *s->answer = kept;
    s->answer->iterations = iterations;
    s->answer->factorizations = factorizations;
    memcpy(s->answer->price, price, bytes);
    memcpy(s->answer->policy, policy, bytes);
    gra_arena_rewind(problem->arena, mark);
    return status;
}

/* The largest advantage at the reference. */
static double largest_advantage(newton *s)
{
    double largest = 0.0;
    gra_matvec(s->game->classes, s->game->classes, s->game->margins, s->game->classes, s->problem->prior.mass, s->work);
    for (int64_t c = 0; c < s->game->classes; c++) {
        largest = fmax(largest, fabs(s->work[c]));
    }
    return largest;
}

/* Newton from the response to the advantages at a policy. */
static grpoalign_status from_policy(newton *s, const double *policy, int limit, int *outcome, double *change)
{
    GRA_TRY(respond_to(s, policy));
    return newton_run(s, limit, 0.0, outcome, change);
}

static grpoalign_status from_reference(newton *s, int *outcome, double *change)
{
    at_reference(s);
    return from_policy(s, s->answer->policy, 60, outcome, change);
}

/* Newton from the stationary policy of a tilt that lies near. */
static grpoalign_status from_near(newton *s, int *outcome, double *change)
{
    gra_structure structure = {.kind = GRA_TILT, .classes = s->game->classes};
    structure.tilt = *s->game->near;
    gra_problem tilted = *s->problem;
    tilted.structure = &structure;
    tilted.progress = NULL;
    gra_answer start = {.price = s->answer->price, .policy = s->answer->policy};
    GRA_TRY(gra_solve_tilt(&tilted, &start));
    return from_policy(s, s->answer->policy, 30, outcome, change);
}

/* Pairwise preferences have one solution, whatever the start. */
static grpoalign_status solve_margins(newton *s, int *outcome, double *change)
{
    const gra_problem *problem = s->problem;
    s->answer->unique = s->answer->stable = 1;
    /* Far above the advantages Newton from pi_ref converges by itself. */
    if (problem->beta <= (problem->penalty->exponential ? 0.5 : 2.0) * largest_advantage(s)) {
        GRA_TRY(gra_central_path(problem, s->answer));
        return newton_run(s, 60, 0.0, outcome, change);
    }
    return problem->start != NULL ? from_policy(s, problem->start, 100, outcome, change)
                                  : from_reference(s, outcome, change);
}

/* Reverse KL: from the tilt nearby, else from the reference, else by easing the reference. */
static grpoalign_status solve_reverse(newton *s, int *outcome, double *change)
{
    if (s->game->near != NULL) {
        GRA_TRY(from_near(s, outcome, change));
    }
    if (*outcome != NEWTON_DONE) {
        GRA_TRY(from_reference(s, outcome, change));
    }
    return *outcome != NEWTON_DONE ? ease_reference(s, outcome, change) : GRPOALIGN_OK;
}

/* Direct KL, where several solutions are common: the branch that comes from the reference. */
static grpoalign_status solve_direct(newton *s, int *outcome, double *change)
{
    GRA_TRY(from_large_beta(s, outcome, change));
    /* The response moves the policy by at most sum |dpi| <= max |du| / beta: above this it is a contraction. */
    if (s->problem->beta >= 1.001 * s->game->contraction && *outcome == NEWTON_DONE) {
        s->answer->unique = 1;
    }
    if (*outcome == NEWTON_DONE && !attracts(s)) {
        *outcome = NEWTON_FAILED; /* the branch was lost: pi_ref is never connected to a point that repels */
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_solve_game(const gra_problem *problem, gra_answer *answer)
{
    const gra_game *game = &problem->structure->game;
    newton s = {.problem = problem, .game = game, .answer = answer, .beta = problem->beta, .accuracy = GRA_EXACT};
    int outcome = NEWTON_FAILED, exponential = problem->penalty->exponential;
    double change = INFINITY;
    answer->method = GRPOALIGN_METHOD_NEWTON;
    if (!newton_take(&s, problem->arena)) {
        return gra_fail_memory(problem->error);
    }
    if (game->margins != NULL) {
        GRA_TRY(solve_margins(&s, &outcome, &change));
    } else if (problem->start != NULL) {
        GRA_TRY(from_policy(&s, problem->start, 100, &outcome, &change));
    } else if (exponential) {
        GRA_TRY(solve_direct(&s, &outcome, &change));
    } else {
        GRA_TRY(solve_reverse(&s, &outcome, &change));
    }
    if (outcome != NEWTON_DONE) {
        at_reference(&s);
        GRA_TRY(flow_run(&s, &outcome, &change));
    }
    if (outcome == NEWTON_DONE) {
        GRA_TRY(settle_small(&s));
        GRA_TRY(estimate_error(&s));
    }
    if (outcome != NEWTON_DONE || !s.valid) {
        answer->status = GRPOALIGN_NOT_CONVERGED;
        answer->policy_error = 1.0;
        return GRPOALIGN_OK;
    }
    if (exponential && answer->unique < 0) {
        int another;
        GRA_TRY(probe_beyond(&s, &another));
        if (another) {
            answer->unique = 0;
            answer->status = GRPOALIGN_NOT_UNIQUE;
        }
    }
    return GRPOALIGN_OK;
}
