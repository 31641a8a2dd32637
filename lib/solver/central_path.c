/*
 * Central path for games with an antisymmetric margin matrix G (pairwise preferences), all
 * penalties.
 *
 * Stationarity is  G pi + z = lambda + value(pi),  pi z = target,  sum pi = 1,  pi, z > 0. For
 * reverse KL target = beta pi_ref and value = 0; for the others target = 0 and value = - beta
 * slack, which grows with pi. The path replaces the target by target + mu, from the uniform centre
 * (mu large) to mu = 0. Each step solves the Newton equations of one factorised matrix
 * diag(z/pi + value') - G for several trial values of mu, with the second-order terms of the
 * product and of the value iterated (a predictor and correctors after Mehrotra and Gondzio), and
 * takes the trial that leads to the smallest mu inside a wide neighbourhood of the path. The
 * products are kept to their targets, so that small probabilities and small z keep their digits.
 *
 * tests/api/test_pairwise.c measures the number of factorisations; doc/numerics.md discusses the
 * choice.
 */
#include "solver/newton.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"
#include "linalg/linalg.h"

enum { TRIALS = 8, CORRECTIONS = 3 };
/* A path that a steep slack bends too much is left after so many steps. */
enum { LONGEST_BENT = 100 };

/* The neighbourhood: CLOSE * max(target, mu) <= pi z <= FAR * max(target, mu). */
static const double CLOSE = 0.02, FAR = 50.0;
/* Reference probabilities below this count as it on the path: they move the solution by less than
 * its square root, and only as far as rounding. */
static const double LEAST_REFERENCE = 1e-32;
/* Where pi z has no target, mu has done its work when mu/pi is far below the slope of the
 * value. */
static const double VALUE_END = 1e-10;
/* Newton for reverse KL converges at once when the products are off by less than this. */
static const double NEWTON_REGION = 0.25;

/* The equations of a step, factorised. */
typedef struct factors {
    double *matrix, *row_scale;
    double *unit; /* the solution for a right side of ones */
    int32_t *pivots;
} factors;

/* Steps towards several mu at once: TRIALS rows of n. */
typedef struct trials {
    double *rhs, *d_pi, *d_z, *image; /* image: G d_pi */
    double *cross, *bend;             /* second-order terms */
    double d_lambda[TRIALS];
} trials;

/* The trial that leads to the smallest mu. */
typedef struct best {
    double *d_pi, *d_z;
    double d_lambda, step, mu;
} best;

typedef struct path {
    const gra_problem *problem;
    int64_t n;
    const double *margins;
    int complementary; /* pi z = beta pi_ref, and the penalty has no value of its own */
    double lambda, mu;
    double *pi, *z, *target; /* target: of pi z, where mu is 0 */
    double *slack, *curve;   /* of pi: value = -beta slack, curve = pi d value/d pi */
    double *residual;        /* of the dual equation */
    double mass_missing;     /* 1 - sum pi */
    factors factors;
    trials trials;
    best best;
} path;

/* The slacks of pi and what follows from them. */
static void value_at(path *p)
{
    const gra_penalty *penalty = p->problem->penalty;
    for (int64_t i = 0; !p->complementary && i < p->n; i++) {
        p->slack[i] = penalty->slack(penalty, log(p->pi[i]) - p->problem->reference.log_mass[i]);
        p->curve[i] = p->problem->beta / penalty->log_slope(penalty, p->slack[i]);
    }
}

/* What value(pi (1 + growth)) lacks of its linear part. */
static double value_bend(const path *p, int64_t i, double growth)
{
    const gra_penalty *penalty = p->problem->penalty;
    if (p->complementary) {
        return 0.0;
    }
    return p->problem->beta * (p->slack[i] - penalty->grown(penalty, p->slack[i], growth)) -
           p->curve[i] * growth;
}

/* Factorises diag(z/pi + value') - G with rows scaled so that no entry exceeds one. */
static int factorise(path *p)
{
    int64_t n = p->n;
    for (int64_t i = 0; i < n; i++) {
        double diagonal = (p->z[i] + p->curve[i]) / p->pi[i];
        double scale = diagonal > 1.0 ? 1.0 / diagonal : 1.0;
        p->factors.row_scale[i] = scale;
        for (int64_t j = 0; j < n; j++) {
            p->factors.matrix[i * n + j] = -scale * p->margins[i * n + j];
        }
        p->factors.matrix[i * n + i] = diagonal > 1.0 ? 1.0 : diagonal;
    }
    if (gra_lu_factor(n, p->factors.matrix, n, p->factors.pivots) != 0) {
        return 0;
    }
    memcpy(p->factors.unit, p->factors.row_scale, (size_t)n * sizeof(double));
    gra_lu_solve(n, p->factors.matrix, n, p->factors.pivots, 1, p->factors.unit);
    return 1;
}

/*
 * For each trial t: z dpi + pi dz = want_t - pi z - cross_t,  dz = dlambda - G dpi + curve dpi/pi
 * + residual + bend_t, sum dpi = mass_missing, where want_t = target + mu[t].
 */
static void solve_trials(path *p, int count, const double *mu)
{
    int64_t n = p->n;
    for (int t = 0; t < count; t++) {
        double *rhs = p->trials.rhs + t * n;
        const double *cross = p->trials.cross + t * n, *bend = p->trials.bend + t * n;
        for (int64_t i = 0; i < n; i++) {
            double want = p->target[i] + mu[t] - p->pi[i] * p->z[i] - cross[i];
            rhs[i] = p->factors.row_scale[i] * (want / p->pi[i] - p->residual[i] - bend[i]);
        }
    }
    gra_lu_solve(n, p->factors.matrix, n, p->factors.pivots, count, p->trials.rhs);
    double unit_sum = gra_total(p->factors.unit, n);
    for (int t = 0; t < count; t++) {
        double *d_pi = p->trials.d_pi + t * n;
        const double *rhs = p->trials.rhs + t * n;
        p->trials.d_lambda[t] = (gra_total(rhs, n) - p->mass_missing) / unit_sum;
        for (int64_t i = 0; i < n; i++) {
            d_pi[i] = rhs[i] - p->trials.d_lambda[t] * p->factors.unit[i];
        }
    }
    /* G dpi of all trials at once: (dpi) (G)^T = -(dpi) (G), rows being trials. */
    gra_matmul(count, n, n, -1.0, p->trials.d_pi, n, p->margins, n, 0.0, p->trials.image, n);
    for (int t = 0; t < count; t++) {
        double *d_pi = p->trials.d_pi + t * n, *d_z = p->trials.d_z + t * n;
        const double *cross = p->trials.cross + t * n, *bend = p->trials.bend + t * n,
                     *image = p->trials.image + t * n;
        for (int64_t i = 0; i < n; i++) {
            double want = p->target[i] + mu[t] - p->pi[i] * p->z[i] - cross[i];
            /* The larger of pi and z comes from its own equation, the smaller from the other. */
            if (p->z[i] > p->pi[i]) {
                d_z[i] = p->trials.d_lambda[t] - image[i] + p->curve[i] * d_pi[i] / p->pi[i] +
                         p->residual[i] + bend[i];
                d_pi[i] = (want - p->pi[i] * d_z[i]) / p->z[i];
            } else {
                d_z[i] = (want - p->z[i] * d_pi[i]) / p->pi[i];
            }
        }
    }
}

/* The longest step in [0, 1] that keeps pi and z from turning negative. */
static double longest_step(const path *p, const double *d_pi, const double *d_z)
{
    double step = 1.0;
    for (int64_t i = 0; i < p->n; i++) {
        step = d_pi[i] < 0.0 ? fmin(step, -p->pi[i] / d_pi[i]) : step;
        step = d_z[i] < 0.0 ? fmin(step, -p->z[i] / d_z[i]) : step;
    }
    return step;
}

/* Shortens *step until the point lies in the neighbourhood; returns its mu, or infinity if there is
 * none. */
static double neighbourhood(const path *p, const double *d_pi, const double *d_z, double mu_target,
                            double *step)
{
    for (int tries = 0; tries < 40; tries++) {
        double mu = (1.0 - *step) * p->mu + *step * mu_target;
        int inside = 1;
        for (int64_t i = 0; i < p->n && inside; i++) {
            double pi = p->pi[i] + *step * d_pi[i], z = p->z[i] + *step * d_z[i];
            inside = pi > 0.0 && z > 0.0;
            double product = pi * z;
            mu = product > FAR * p->target[i] ? fmax(mu, product / FAR) : mu;
        }
        for (int64_t i = 0; i < p->n && inside; i++) {
            double product = (p->pi[i] + *step * d_pi[i]) * (p->z[i] + *step * d_z[i]);
            inside = product >= CLOSE * fmax(p->target[i], mu);
        }
        if (inside) {
            return mu;
        }
        *step *= tries < 20 ? 0.9 : 0.5;
    }
    return INFINITY;
}

/* The second-order terms of a step: cross = dpi dz, and what the value lacks of its linear part,
 * both for the step taken. */
static void second_order(const path *p, int trial, double step, double mu, int predictor)
{
    const double *d_pi = p->trials.d_pi + trial * p->n, *d_z = p->trials.d_z + trial * p->n;
    double *cross = p->trials.cross + trial * p->n, *bend = p->trials.bend + trial * p->n;
    for (int64_t i = 0; i < p->n; i++) {
        double limit = 10.0 * fmax(p->target[i] + mu, p->pi[i] * p->z[i]);
        double weight = predictor ? (step < 0.1 ? step * step : 1.0) : step;
        cross[i] = d_pi[i] * d_z[i] * weight;
        cross[i] = predictor ? cross[i] : fmax(-limit, fmin(limit, cross[i]));
        double growth = fmax(step * d_pi[i] / p->pi[i], predictor ? -0.9 : -0.95);
        bend[i] = value_bend(p, i, growth);
    }
}

static int take(path *p, gra_arena *arena)
{
    int64_t n = p->n;
    p->pi = gra_arena_doubles(arena, n);
    p->z = gra_arena_doubles(arena, n);
    p->target = gra_arena_doubles(arena, n);
    p->factors.matrix = gra_arena_doubles(arena, n * n);
    p->factors.row_scale = gra_arena_doubles(arena, n);
    p->factors.unit = gra_arena_doubles(arena, n);
    p->factors.pivots = gra_arena_take(arena, n, sizeof *p->factors.pivots);
    p->residual = gra_arena_doubles(arena, n);
    p->slack = gra_arena_doubles(arena, n);
    p->curve = gra_arena_doubles(arena, n);
    p->trials.d_pi = gra_arena_doubles(arena, n * TRIALS);
    p->trials.d_z = gra_arena_doubles(arena, n * TRIALS);
    p->trials.image = gra_arena_doubles(arena, n * TRIALS);
    p->trials.rhs = gra_arena_doubles(arena, n * TRIALS);
    p->trials.cross = gra_arena_doubles(arena, n * TRIALS);
    p->trials.bend = gra_arena_doubles(arena, n * TRIALS);
    p->best.d_pi = gra_arena_doubles(arena, n);
    p->best.d_z = gra_arena_doubles(arena, n);
    return p->best.d_pi && p->best.d_z && p->pi && p->z && p->target && p->factors.matrix &&
           p->factors.row_scale && p->factors.unit && p->factors.pivots && p->residual &&
           p->slack && p->curve && p->trials.d_pi && p->trials.d_z && p->trials.image &&
           p->trials.rhs && p->trials.cross && p->trials.bend;
}

/* The uniform centre: pi = 1/n and z large enough to be on the path for some mu. */
static void start(path *p)
{
    int64_t n = p->n;
    double largest = 0.0, top = -INFINITY, bottom = INFINITY, largest_target = 0.0;
    for (int64_t i = 0; i < n; i++) {
        p->pi[i] = 1.0 / (double)n;
    }
    value_at(p);
    gra_matvec(n, n, p->margins, n, p->pi, p->residual);
    for (int64_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(p->residual[i]));
        p->z[i] = p->residual[i] + p->problem->beta * p->slack[i];
        top = fmax(top, p->z[i]);
        bottom = fmin(bottom, p->z[i]);
        largest_target = fmax(largest_target, p->target[i]);
    }
    p->lambda = top + fmax(fmax(0.5 * (top - bottom), 2.0 * largest),
                           fmax(p->problem->beta, (double)n * largest_target));
    p->mu = 0.0;
    for (int64_t i = 0; i < n; i++) {
        p->z[i] = p->lambda - p->z[i];
        p->mu += p->pi[i] * p->z[i] / (double)n;
    }
}

static void measure(path *p)
{
    value_at(p);
    gra_matvec(p->n, p->n, p->margins, p->n, p->pi, p->residual);
    for (int64_t i = 0; i < p->n; i++) {
        p->residual[i] = p->lambda - p->residual[i] - p->problem->beta * p->slack[i] - p->z[i];
    }
    p->mass_missing = 1.0 - gra_total(p->pi, p->n);
}

/* The step for mu = 0, which tells how small mu may be chosen. Returns 1 where the step is as good
 * as the answer. */
static int predict(path *p, double end, double *mu)
{
    int64_t n = p->n;
    const double nothing[TRIALS] = {0.0};
    memset(p->trials.cross, 0, (size_t)n * sizeof(double));
    memset(p->trials.bend, 0, (size_t)n * sizeof(double));
    solve_trials(p, 1, nothing);
    double reach = longest_step(p, p->trials.d_pi, p->trials.d_z), off = 0.0;
    if (p->complementary && reach >= 1.0) {
        for (int64_t i = 0; i < n; i++) {
            off = fmax(off, fabs(p->trials.d_pi[i] * p->trials.d_z[i]) / p->target[i]);
        }
        if (off < NEWTON_REGION) {
            return 1;
        }
    }
    double left = (1.0 - reach) * (1.0 - reach);
    const double parts[TRIALS] = {
        0.0, 0.1 * left, left, fmax(left, 1e-4), fmax(left, 1e-2), fmax(left, 0.1), fmax(left, 0.3),
        1.0};
    second_order(p, 0, reach, 0.0, 1);
    for (int t = 0; t < TRIALS; t++) {
        mu[t] = fmax(parts[t] * p->mu, 0.1 * end);
        if (t > 0) {
            memcpy(p->trials.cross + t * n, p->trials.cross, (size_t)n * sizeof(double));
            memcpy(p->trials.bend + t * n, p->trials.bend, (size_t)n * sizeof(double));
        }
    }
    return 0;
}

/* Corrects the steps to all mu by their second-order terms, and finds the best of them. */
static void find_best(path *p, const double *mu)
{
    int64_t n = p->n;
    p->best.mu = INFINITY;
    for (int round = 0; round < CORRECTIONS; round++) {
        solve_trials(p, TRIALS, mu);
        for (int t = 0; t < TRIALS; t++) {
            const double *d_pi = p->trials.d_pi + t * n, *d_z = p->trials.d_z + t * n;
            double step = longest_step(p, d_pi, d_z);
            second_order(p, t, step, mu[t], 0);
            double reached = neighbourhood(p, d_pi, d_z, mu[t], &step);
            if (reached < p->best.mu) {
                p->best.mu = reached;
                p->best.step = step;
                p->best.d_lambda = p->trials.d_lambda[t];
                memcpy(p->best.d_pi, d_pi, (size_t)n * sizeof(double));
                memcpy(p->best.d_z, d_z, (size_t)n * sizeof(double));
            }
        }
    }
}

/* One step. Returns 1 to go on, 0 when the path has ended, -1 when it is stuck (singular matrix, no
 * step). */
static int advance(path *p, gra_answer *answer, double *change)
{
    double mu[TRIALS], end = !p->complementary ? VALUE_END * p->problem->beta / (double)p->n : 0.0;
    answer->factorizations++;
    if (!factorise(p)) {
        return -1;
    }
    measure(p);
    if (predict(p, end, mu)) {
        return 0;
    }
    find_best(p, mu);
    if (isinf(p->best.mu)) {
        return -1;
    }
    *change = 0.0;
    for (int64_t i = 0; i < p->n; i++) {
        *change = fmax(*change, fabs(p->best.step * p->best.d_pi[i]));
        p->pi[i] += p->best.step * p->best.d_pi[i];
        p->z[i] += p->best.step * p->best.d_z[i];
    }
    p->lambda += p->best.step * p->best.d_lambda;
    p->mu = p->best.mu;
    return !p->complementary && p->mu <= end ? 0 : 1;
}

/* Slacks from the end of the path: from pi or from z, whichever is known better. */
static void set_slacks(path *p, gra_answer *answer)
{
    const gra_problem *problem = p->problem;
    int64_t n = p->n;
    if (p->complementary) {
        for (int64_t i = 0; i < n; i++) {
            answer->slack[i] = p->z[i] >= p->pi[i] ? p->z[i] / problem->beta
                                                   : problem->reference.mass[i] / p->pi[i];
        }
    } else {
        /* The slack each outcome has by its advantage; that of pi itself where mu does not hold it
         * up. */
        double shift = 0.0;
        value_at(p);
        gra_matvec(n, n, p->margins, n, p->pi, p->residual);
        for (int64_t i = 0; i < n; i++) {
            shift += p->pi[i] * (p->slack[i] + p->residual[i] / problem->beta);
        }
        for (int64_t i = 0; i < n; i++) {
            double by_advantage = shift - p->residual[i] / problem->beta;
            double held_up = fmin(p->slack[i] + 2.0, problem->penalty->slack_most);
            answer->slack[i] = by_advantage > held_up ? by_advantage : p->slack[i];
        }
    }
    gra_answer_respond(problem, answer);
}

/* Brings the answer near the solution, for Newton to finish. */
static grpoalign_status follow_path(const gra_problem *problem, gra_answer *answer)
{
    int64_t n = problem->reference.classes;
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    path p = {.problem = problem,
              .n = n,
              .margins = problem->structure->game.margins,
              .complementary = problem->penalty->complementary};
    if (!take(&p, problem->arena)) {
        return gra_fail_memory(problem->error);
    }
    for (int64_t i = 0; i < n; i++) {
        p.slack[i] = p.curve[i] = 0.0;
        p.target[i] = p.complementary
                          ? problem->beta * fmax(problem->reference.mass[i], LEAST_REFERENCE)
                          : 0.0;
    }
    start(&p);
    answer->method = GRPOALIGN_METHOD_CENTRAL_PATH;
    int32_t last = p.complementary ? problem->max_iterations : answer->iterations + LONGEST_BENT;
    for (int more = 1; more > 0 && answer->iterations < last;) {
        double change = 0.0;
        more = advance(&p, answer, &change);
        answer->iterations++;
        GRA_TRY(gra_report_progress(problem, answer, problem->beta, change));
    }
    set_slacks(&p, answer);
    gra_arena_rewind(problem->arena, mark);
    return GRPOALIGN_OK;
}

/* The largest advantage at the reference. */
static double largest_advantage(gra_newton *s)
{
    double largest = 0.0;
    gra_matvec(s->game->classes, s->game->classes, s->game->margins, s->game->classes,
               s->problem->reference.mass, s->work);
    for (int64_t c = 0; c < s->game->classes; c++) {
        largest = fmax(largest, fabs(s->work[c]));
    }
    return largest;
}

/*
 * Another way, where Newton fails at the end of the path. If that fails, too, the end of the path
 * is the best there is: where preferences leave several policies equal, reference probabilities too
 * small for the equations decide between them.
 */
static grpoalign_status fall_back(const gra_problem *problem, gra_solver fallback,
                                  const double *end_slack, const double *end_policy,
                                  gra_answer *answer)
{
    size_t bytes = (size_t)problem->reference.classes * sizeof(double);
    gra_problem plain = *problem;
    plain.start = NULL;
    GRA_TRY(fallback(&plain, answer));
    if (answer->status == GRPOALIGN_NOT_CONVERGED && end_policy != NULL) {
        memcpy(answer->slack, end_slack, bytes);
        memcpy(answer->policy, end_policy, bytes);
    }
    return GRPOALIGN_OK;
}

/* Pairwise preferences have one solution, whatever the start, because slacks fall with the
 * policy. */
grpoalign_status gra_solve_margins(const gra_problem *problem, gra_solver fallback,
                                   gra_answer *answer)
{
    gra_newton s;
    int64_t n = problem->reference.classes;
    double *end_slack = NULL, *end_policy = NULL;
    int outcome;
    double change;
    answer->method = GRPOALIGN_METHOD_NEWTON;
    answer->unique = answer->stable = 1;
    if (!gra_newton_start(&s, problem, answer)) {
        return gra_fail_memory(problem->error);
    }
    /* Far above the advantages Newton converges by itself. */
    if (problem->beta <= problem->penalty->newton_above * largest_advantage(&s)) {
        GRA_TRY(follow_path(problem, answer));
        end_slack = gra_arena_copy(problem->arena, answer->slack, n);
        end_policy = gra_arena_copy(problem->arena, answer->policy, n);
        if (end_slack == NULL || end_policy == NULL) {
            return gra_fail_memory(problem->error);
        }
        GRA_TRY(gra_newton_run(&s, 60, 0.0, &outcome, &change));
    } else if (problem->start != NULL) {
        GRA_TRY(gra_newton_from_policy(&s, problem->start, 100, &outcome, &change));
    } else {
        GRA_TRY(gra_newton_from_reference(&s, &outcome, &change));
    }
    /* There is one solution and no fold. */
    if (outcome != NEWTON_DONE || !gra_newton_is_settled(&s)) {
        return fall_back(problem, fallback, end_slack, end_policy, answer);
    }
    return gra_newton_finish(&s, outcome);
}
