/*
 * Central path for games with an antisymmetric margin matrix G (pairwise preferences), all
 * penalties.
 *
 * Stationarity is  G pi + z = lambda + value(pi),  pi z = barrier pi_ref,  sum pi = 1, pi, z > 0.
 * Reverse KL is the barrier, times beta; for the others value = - beta slack, which grows with pi.
 * The path replaces the right side of the second equation by barrier pi_ref + mu, from the uniform
 * centre (mu large) to mu = 0. Each step solves the Newton equations of one factorised matrix
 * diag(z/pi + value') - G for several targets mu, with the second-order terms of the product and of
 * the value iterated (a predictor and correctors after Mehrotra and Gondzio), and takes the target
 * that leads to the smallest mu inside a wide neighbourhood of the path. The products are kept to
 * their target, so that small probabilities and small z keep their digits.
 *
 * tests/api/test_pairwise.c measures the number of factorisations; doc/numerics.md discusses the
 * choice.
 */
#include "solver/solver.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"
#include "linalg/linalg.h"

enum { TARGETS = 8, CORRECTIONS = 3 };
/* A path that a steep slack bends too much is left after so many steps. */
enum { LONGEST_BENT = 100 };

/* The neighbourhood: CLOSE * max(barrier, mu) <= pi z <= FAR * max(barrier, mu). */
static const double CLOSE = 0.02, FAR = 50.0;
/* Reference probabilities below this count as it on the path: they move the solution by less than
 * its square root, and only as far as rounding. */
static const double LEAST_REFERENCE = 1e-32;
/* Where there is no barrier, mu has done its work when mu/pi is far below the slope of the value.
 */
static const double VALUE_END = 1e-10;
/* Newton for the reverse penalty converges at once when the products are off by less than this. */
static const double NEWTON_REGION = 0.25;

typedef struct path {
    const gra_problem *problem;
    int64_t n;
    const double *margins;
    int barred;            /* pi z = beta pi_ref: a barrier, and no value */
    double level, mu;      /* level = lambda */
    double *slack, *curve; /* of pi: value = -beta slack, curve = pi d value/d pi */
    double *pi, *z, *barrier;
    double *matrix, *row_scale, *unit; /* factors, row scaling, solution for a right side of ones */
    int32_t *pivots;
    double *residual;                 /* of the dual equation */
    double mass_missing;              /* 1 - sum pi */
    double *d_pi, *d_z, *image, *rhs; /* n x TARGETS, one target after the other */
    double *product, *bend;           /* second-order terms, the same shape */
    double *best_pi, *best_z;
    double d_level[TARGETS];
} path;

/* The slacks of pi and what follows from them. */
static void value_at(path *p)
{
    const gra_penalty *penalty = p->problem->penalty;
    for (int64_t i = 0; !p->barred && i < p->n; i++) {
        p->slack[i] = penalty->slack(penalty, log(p->pi[i]) - p->problem->reference.log_mass[i]);
        p->curve[i] = p->problem->beta / penalty->log_slope(penalty, p->slack[i]);
    }
}

/* What value(pi (1 + growth)) lacks of its linear part. */
static double value_bend(const path *p, int64_t i, double growth)
{
    const gra_penalty *penalty = p->problem->penalty;
    if (p->barred) {
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
        p->row_scale[i] = scale;
        for (int64_t j = 0; j < n; j++) {
            p->matrix[i * n + j] = -scale * p->margins[i * n + j];
        }
        p->matrix[i * n + i] = diagonal > 1.0 ? 1.0 : diagonal;
    }
    if (gra_lu_factor(n, p->matrix, n, p->pivots) != 0) {
        return 0;
    }
    memcpy(p->unit, p->row_scale, (size_t)n * sizeof(double));
    gra_lu_solve(n, p->matrix, n, p->pivots, 1, p->unit);
    return 1;
}

/*
 * For each target t: z dpi + pi dz = want_t - pi z - product_t,  dz = dlevel - G dpi + curve dpi/pi
 * + residual + bend_t, sum dpi = mass_missing. `want` gives the target of outcome i as barrier_i +
 * mu[t].
 */
static void solve_targets(path *p, int targets, const double *mu)
{
    int64_t n = p->n;
    for (int t = 0; t < targets; t++) {
        double *rhs = p->rhs + t * n;
        const double *product = p->product + t * n, *bend = p->bend + t * n;
        for (int64_t i = 0; i < n; i++) {
            double want = p->barrier[i] + mu[t] - p->pi[i] * p->z[i] - product[i];
            rhs[i] = p->row_scale[i] * (want / p->pi[i] - p->residual[i] - bend[i]);
        }
    }
    gra_lu_solve(n, p->matrix, n, p->pivots, targets, p->rhs);
    double unit_sum = gra_total(p->unit, n);
    for (int t = 0; t < targets; t++) {
        double *d_pi = p->d_pi + t * n;
        const double *rhs = p->rhs + t * n;
        p->d_level[t] = (gra_total(rhs, n) - p->mass_missing) / unit_sum;
        for (int64_t i = 0; i < n; i++) {
            d_pi[i] = rhs[i] - p->d_level[t] * p->unit[i];
        }
    }
    /* G dpi of all targets at once: (dpi) (G)^T = -(dpi) (G), rows being targets. */
    gra_matmul(targets, n, n, -1.0, p->d_pi, n, p->margins, n, 0.0, p->image, n);
    for (int t = 0; t < targets; t++) {
        double *d_pi = p->d_pi + t * n, *d_z = p->d_z + t * n;
        const double *product = p->product + t * n, *bend = p->bend + t * n,
                     *image = p->image + t * n;
        for (int64_t i = 0; i < n; i++) {
            double want = p->barrier[i] + mu[t] - p->pi[i] * p->z[i] - product[i];
            /* The larger of pi and z comes from its own equation, the smaller from the product. */
            if (p->z[i] > p->pi[i]) {
                d_z[i] = p->d_level[t] - image[i] + p->curve[i] * d_pi[i] / p->pi[i] +
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
            mu = product > FAR * p->barrier[i] ? fmax(mu, product / FAR) : mu;
        }
        for (int64_t i = 0; i < p->n && inside; i++) {
            double product = (p->pi[i] + *step * d_pi[i]) * (p->z[i] + *step * d_z[i]);
            inside = product >= CLOSE * fmax(p->barrier[i], mu);
        }
        if (inside) {
            return mu;
        }
        *step *= tries < 20 ? 0.9 : 0.5;
    }
    return INFINITY;
}

/* The second-order terms of a step: product = dpi dz, and what the value lacks of its linear part,
 * both for the step taken. */
static void second_order(const path *p, int target, double step, double mu, int predictor)
{
    const double *d_pi = p->d_pi + target * p->n, *d_z = p->d_z + target * p->n;
    double *product = p->product + target * p->n, *bend = p->bend + target * p->n;
    for (int64_t i = 0; i < p->n; i++) {
        double limit = 10.0 * fmax(p->barrier[i] + mu, p->pi[i] * p->z[i]);
        double share = predictor ? (step < 0.1 ? step * step : 1.0) : step;
        product[i] = d_pi[i] * d_z[i] * share;
        product[i] = predictor ? product[i] : fmax(-limit, fmin(limit, product[i]));
        double growth = fmax(step * d_pi[i] / p->pi[i], predictor ? -0.9 : -0.95);
        bend[i] = value_bend(p, i, growth);
    }
}

static int take(path *p, gra_arena *arena)
{
    int64_t n = p->n;
    p->pi = gra_arena_doubles(arena, n);
    p->z = gra_arena_doubles(arena, n);
    p->barrier = gra_arena_doubles(arena, n);
    p->matrix = gra_arena_doubles(arena, n * n);
    p->row_scale = gra_arena_doubles(arena, n);
    p->unit = gra_arena_doubles(arena, n);
    p->pivots = gra_arena_take(arena, n, sizeof *p->pivots);
    p->residual = gra_arena_doubles(arena, n);
    p->slack = gra_arena_doubles(arena, n);
    p->curve = gra_arena_doubles(arena, n);
    p->d_pi = gra_arena_doubles(arena, n * TARGETS);
    p->d_z = gra_arena_doubles(arena, n * TARGETS);
    p->image = gra_arena_doubles(arena, n * TARGETS);
    p->rhs = gra_arena_doubles(arena, n * TARGETS);
    p->product = gra_arena_doubles(arena, n * TARGETS);
    p->bend = gra_arena_doubles(arena, n * TARGETS);
    p->best_pi = gra_arena_doubles(arena, n);
    p->best_z = gra_arena_doubles(arena, n);
    return p->best_pi && p->best_z && p->pi && p->z && p->barrier && p->matrix && p->row_scale &&
           p->unit && p->pivots && p->residual && p->slack && p->curve && p->d_pi && p->d_z &&
           p->image && p->rhs && p->product && p->bend;
}

/* The uniform centre: pi = 1/n and z large enough to be on the path for some mu. */
static void start(path *p)
{
    int64_t n = p->n;
    double largest = 0.0, top = -INFINITY, bottom = INFINITY, most_barrier = 0.0;
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
        most_barrier = fmax(most_barrier, p->barrier[i]);
    }
    p->level = top + fmax(fmax(0.5 * (top - bottom), 2.0 * largest),
                          fmax(p->problem->beta, (double)n * most_barrier));
    p->mu = 0.0;
    for (int64_t i = 0; i < n; i++) {
        p->z[i] = p->level - p->z[i];
        p->mu += p->pi[i] * p->z[i] / (double)n;
    }
}

static void measure(path *p)
{
    value_at(p);
    gra_matvec(p->n, p->n, p->margins, p->n, p->pi, p->residual);
    for (int64_t i = 0; i < p->n; i++) {
        p->residual[i] = p->level - p->residual[i] - p->problem->beta * p->slack[i] - p->z[i];
    }
    p->mass_missing = 1.0 - gra_total(p->pi, p->n);
}

/* One step. Returns 1 to go on, 0 when the path has ended, -1 when it is stuck (singular matrix, no
 * step). */
static int advance(path *p, gra_answer *answer, double *change)
{
    int64_t n = p->n;
    double nothing[TARGETS] = {0.0}, mu[TARGETS], best_mu = INFINITY, best_step = 0.0,
           best_level = 0.0;
    double end = !p->barred ? VALUE_END * p->problem->beta / (double)n : 0.0;
    answer->factorizations++;
    if (!factorise(p)) {
        return -1;
    }
    measure(p);
    memset(p->product, 0, (size_t)n * sizeof(double));
    memset(p->bend, 0, (size_t)n * sizeof(double));
    solve_targets(p, 1, nothing);
    double reach = longest_step(p, p->d_pi, p->d_z);
    if (p->barred && reach >= 1.0) {
        double off = 0.0;
        for (int64_t i = 0; i < n; i++) {
            off = fmax(off, fabs(p->d_pi[i] * p->d_z[i]) / p->barrier[i]);
        }
        if (off < NEWTON_REGION) {
            return 0;
        }
    }
    double left = (1.0 - reach) * (1.0 - reach);
    const double shares[TARGETS] = {
        0.0, 0.1 * left, left, fmax(left, 1e-4), fmax(left, 1e-2), fmax(left, 0.1), fmax(left, 0.3),
        1.0};
    second_order(p, 0, reach, 0.0, 1);
    for (int t = 0; t < TARGETS; t++) {
        mu[t] = fmax(shares[t] * p->mu, 0.1 * end);
        if (t > 0) {
            memcpy(p->product + t * n, p->product, (size_t)n * sizeof(double));
            memcpy(p->bend + t * n, p->bend, (size_t)n * sizeof(double));
        }
    }
    for (int round = 0; round < CORRECTIONS; round++) {
        solve_targets(p, TARGETS, mu);
        for (int t = 0; t < TARGETS; t++) {
            const double *d_pi = p->d_pi + t * n, *d_z = p->d_z + t * n;
            double step = longest_step(p, d_pi, d_z);
            second_order(p, t, step, mu[t], 0);
            double reached = neighbourhood(p, d_pi, d_z, mu[t], &step);
            if (reached < best_mu) {
                best_mu = reached;
                best_step = step;
                best_level = p->d_level[t];
                memcpy(p->best_pi, d_pi, (size_t)n * sizeof(double));
                memcpy(p->best_z, d_z, (size_t)n * sizeof(double));
            }
        }
    }
    if (isinf(best_mu)) {
        return -1;
    }
    *change = 0.0;
    for (int64_t i = 0; i < n; i++) {
        *change = fmax(*change, fabs(best_step * p->best_pi[i]));
        p->pi[i] += best_step * p->best_pi[i];
        p->z[i] += best_step * p->best_z[i];
    }
    p->level += best_step * best_level;
    p->mu = best_mu;
    return !p->barred && p->mu <= end ? 0 : 1;
}

/* Slacks from the end of the path: from pi or from z, whichever is known better. */
static void set_slacks(path *p, gra_answer *answer)
{
    const gra_problem *problem = p->problem;
    int64_t n = p->n;
    if (p->barred) {
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

grpoalign_status gra_central_path(const gra_problem *problem, gra_answer *answer)
{
    int64_t n = problem->reference.classes;
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    path p = {.problem = problem, .n = n, .margins = problem->structure->game.margins};
    if (!take(&p, problem->arena)) {
        gra_arena_rewind(problem->arena, mark);
        return gra_fail_memory(problem->error);
    }
    p.barred = problem->penalty->complementary;
    for (int64_t i = 0; i < n; i++) {
        p.slack[i] = p.curve[i] = 0.0;
    }
    for (int64_t i = 0; i < n; i++) {
        p.barrier[i] =
            p.barred ? problem->beta * fmax(problem->reference.mass[i], LEAST_REFERENCE) : 0.0;
    }
    start(&p);
    answer->method = GRPOALIGN_METHOD_CENTRAL_PATH;
    grpoalign_status status = GRPOALIGN_OK;
    int32_t last = p.barred ? problem->max_iterations : answer->iterations + LONGEST_BENT;
    for (int more = 1; more > 0 && answer->iterations < last && status >= 0;) {
        double change = 0.0;
        more = advance(&p, answer, &change);
        answer->iterations++;
        status = gra_report_progress(problem, answer, problem->beta, change);
    }
    set_slacks(&p, answer);
    gra_arena_rewind(problem->arena, mark);
    return status;
}
