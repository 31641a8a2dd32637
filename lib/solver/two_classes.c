/*
 * Two classes whose advantages differ by a polynomial h(p) of the probability p of the second: one
 * unknown. With t = log(p/q), q = 1 - p, the stationary policies are the roots of
 *
 *     F(t) = A(t) - h(p(t)),   A = beta (slack of the first - slack of the second),
 *
 * A growing from -infinity to infinity. On a stretch A lies between its ends and h between the least
 * and the largest of its Bernstein coefficients there, and so do their slopes: a stretch has no
 * root, or F grows or falls all along it, or it is divided. So every root is found, unless two of
 * them are as near as doubles can tell.
 */
#include "solver/solver.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/interval.h"
#include "base/numeric.h"
#include "base/status.h"

typedef struct line {
    const gra_problem *problem;
    const gra_game *game;
    double rho[2]; /* log of the reference */
    int64_t looks;
} line;

typedef struct root_list {
    double *at;
    int64_t count, capacity;
    int complete;
} root_list;

static double log_share(double t)
{
    return t > 0.0 ? -log1p(exp(-t)) : t - log1p(exp(t)); /* log p; that of q is at -t */
}

static double share(double t)
{
    return t > 0.0 ? 1.0 / (1.0 + exp(-t)) : exp(t) / (1.0 + exp(t));
}

/* A, and its slope by t. */
static double pull(const line *self, double t, double *slope)
{
    const gra_penalty *law = self->problem->penalty;
    double by_first, by_second, first = law->score(law, log_share(-t) - self->rho[0], &by_first),
                                second = law->score(law, log_share(t) - self->rho[1], &by_second);
    *slope = -self->problem->beta * (by_first * share(t) + by_second * share(-t));
    return self->problem->beta * (first - second);
}

static double excess(void *context, double t)
{
    line *self = context;
    double slope, by_p;
    self->looks++;
    return pull(self, t, &slope) -
           gra_bernstein(self->game->bernstein, self->game->degree, share(t), share(-t), &by_p);
}

/* ---- bounds --------------------------------------------------------------------------------- */

/* The part of the polynomial between two shares, by de Casteljau's algorithm: its coefficients. */
static void cut(const double *of, int64_t degree, double low, double high, double high_left,
                double *out)
{
    memcpy(out, of, (size_t)(degree + 1) * sizeof(double));
    /* first [0, high], then what is beyond low in it */
    for (int64_t r = 1; r <= degree; r++) {
        for (int64_t k = degree; k >= r; k--) {
            out[k] = high_left * out[k - 1] + high * out[k];
        }
    }
    double part = high > 0.0 ? low / high : 0.0;
    for (int64_t r = 1; r <= degree; r++) {
        for (int64_t k = 0; k <= degree - r; k++) {
            out[k] = (1.0 - part) * out[k] + part * out[k + 1];
        }
    }
}

/* The least and the largest slope of -slack between two log ratios: that of every part is monotone. */
static gra_interval slopes_between(const gra_penalty *law, double a, double b)
{
    gra_interval sum = {0.0, 0.0};
    for (int64_t i = 0; i < (law->part_count > 0 ? law->part_count : 1); i++) {
        const gra_penalty *part = law->part_count > 0 ? &law->parts[i] : law;
        double at_a, at_b, coefficient = law->part_count > 0 ? law->coefficients[i] : 1.0;
        (void)part->score(part, a, &at_a);
        (void)part->score(part, b, &at_b);
        sum.low += coefficient * fmin(-at_a, -at_b);
        sum.high += coefficient * fmax(-at_a, -at_b);
    }
    return sum;
}

enum { NO_ROOT, ONE_AT_MOST, UNKNOWN };

/* What bounds tell of a stretch; `scratch` has room for the coefficients. */
static int tell(const line *self, double a, double b, double *scratch)
{
    const gra_penalty *law = self->problem->penalty;
    double slope, at_a = pull(self, a, &slope), at_b = pull(self, b, &slope);
    int64_t degree = self->game->degree;
    cut(self->game->bernstein, degree, share(a), share(b), share(-b), scratch);
    double low = gra_min(scratch, degree + 1), high = gra_max(scratch, degree + 1);
    double margin = 1e-13 * fmax(fabs(low), fabs(high));
    if (at_b < low - margin || at_a > high + margin) {
        return NO_ROOT;
    }
    double rises = -INFINITY, falls = INFINITY; /* d h / d(part of the stretch) */
    for (int64_t k = 0; k < degree; k++) {
        rises = fmax(rises, (double)degree * (scratch[k + 1] - scratch[k]));
        falls = fmin(falls, (double)degree * (scratch[k + 1] - scratch[k]));
    }
    /* d part/dt = p q/(p_b - p_a) */
    double pa = share(a), pb = share(b), qa = share(-a), qb = share(-b);
    double width = pb < 0.5 ? pb - pa : qa - qb;
    double widest = a < 0.0 && b > 0.0 ? 0.25 : fmax(pa * qa, pb * qb),
           narrowest = fmin(pa * qa, pb * qb);
    gra_interval first =
        slopes_between(law, log_share(-a) - self->rho[0], log_share(-b) - self->rho[0]);
    gra_interval second =
        slopes_between(law, log_share(a) - self->rho[1], log_share(b) - self->rho[1]);
    double beta = self->problem->beta;
    double least = beta * (first.low * pa + second.low * qb),
           most = beta * (first.high * pb + second.high * qa);
    int is_rising = least > rises * (rises > 0.0 ? widest : narrowest) / width;
    int is_falling = most < falls * (falls > 0.0 ? narrowest : widest) / width;
    return degree == 0 || is_rising || is_falling ? ONE_AT_MOST : UNKNOWN;
}

/* ---- all roots ------------------------------------------------------------------------------ */

static int add_root(root_list *roots, double t, gra_arena *arena)
{
    if (roots->count == roots->capacity) {
        int64_t more = roots->capacity > 0 ? 2 * roots->capacity : 8;
        double *longer = gra_arena_doubles(arena, more);
        if (longer == NULL) {
            return 0;
        }
        if (roots->count > 0) {
            memcpy(longer, roots->at, (size_t)roots->count * sizeof(double));
        }
        roots->at = longer;
        roots->capacity = more;
    }
    roots->at[roots->count++] = t;
    return 1;
}

/* Stretches narrower than this hold roots that doubles hardly part. */
static const double NARROW = 1e-10;
enum { MOST_PIECES = 200000, DEEPEST = 64 };

/* Roots of a stretch, from left to right. 0 on short memory. */
static int search(line *self, double a, double b, double *scratch, root_list *roots,
                  gra_arena *arena)
{
    double open[DEEPEST + 1]; /* right ends that are still to come */
    int64_t depth = 0, pieces = 0;
    open[0] = b;
    while (depth >= 0) {
        b = open[depth];
        int told = tell(self, a, b, scratch);
        int is_narrow =
            b - a <= NARROW * fmax(1.0, fabs(a)) || depth == DEEPEST || ++pieces > MOST_PIECES;
        if (told == UNKNOWN && !is_narrow) {
            open[++depth] = 0.5 * (a + b);
            continue;
        }
        double at_a = excess(self, a), at_b = excess(self, b);
        int crosses = told != NO_ROOT && (at_a < 0.0) != (at_b < 0.0);
        roots->complete = roots->complete && told != UNKNOWN;
        if (crosses && !add_root(roots, gra_root(excess, self, a, at_a, b, at_b), arena)) {
            return 0;
        }
        a = b;
        depth--;
    }
    return 1;
}

/* Log odds that no answer goes beyond. */
static const double FARTHEST = 1e9;

static int find_all(line *self, root_list *roots, gra_arena *arena)
{
    double *scratch = gra_arena_doubles(arena, self->game->degree + 1), slope;
    double most = 0.0, centre = self->rho[1] - self->rho[0], low = 1.0, high = 1.0;
    if (scratch == NULL) {
        return 0;
    }
    for (int64_t k = 0; k <= self->game->degree; k++) {
        most = fmax(most, fabs(self->game->bernstein[k]));
    }
    while (low < FARTHEST && pull(self, centre - low, &slope) > -1.001 * most) {
        low *= 2.0;
    }
    while (high < FARTHEST && pull(self, centre + high, &slope) < 1.001 * most) {
        high *= 2.0;
    }
    *roots = (root_list){.complete = 1};
    return search(self, centre - low, centre, scratch, roots, arena) &&
           search(self, centre, centre + high, scratch, roots, arena);
}

/* ---- answers -------------------------------------------------------------------------------- */

static line line_of(const gra_problem *problem)
{
    return (line){.problem = problem,
                  .game = &problem->structure->game,
                  .rho = {problem->reference.log_mass[0], problem->reference.log_mass[1]}};
}

static void finish(const line *self, double t, gra_answer *answer)
{
    const gra_penalty *law = self->problem->penalty;
    double by_p, by_t, a = pull(self, t, &by_t), p = share(t), q = share(-t);
    double h = gra_bernstein(self->game->bernstein, self->game->degree, p, q, &by_p);
    double slope = by_t - by_p * p * q, noise = 8.0 * DBL_EPSILON;
    answer->policy[0] = q;
    answer->policy[1] = p;
    answer->slack[0] = law->slack(law, log_share(-t) - self->rho[0]);
    answer->slack[1] = law->slack(law, log_share(t) - self->rho[1]);
    answer->beta = self->problem->beta;
    answer->method = GRPOALIGN_METHOD_SCALAR;
    answer->iterations = (int32_t)fmin((double)self->looks, 1e9);
    answer->stable = slope > 0.0 ? 1 : slope < 0.0 ? 0 : -1;
    /* The position is good to its own rounding, and to that of the equation over its slope. */
    double moved = p * q *
                   (DBL_EPSILON * fmax(1.0, fabs(t)) +
                    noise * (fabs(a) + fabs(h) + by_t) / fmax(fabs(slope), DBL_MIN));
    answer->policy_error = fmin(1.0, moved + 2.0 * DBL_EPSILON);
}

/* The first root on the way from pi_ref: towards the better class as beta falls from infinity. */
static int64_t first_root(line *self, const root_list *roots)
{
    double centre = self->rho[1] - self->rho[0], way = excess(self, centre);
    int64_t found = -1;
    for (int64_t k = 0; k < roots->count; k++) {
        double t = roots->at[k];
        if (way < 0.0 && t >= centre && found < 0) {
            found = k;
        } else if (way >= 0.0 && t <= centre) {
            found = k;
        }
    }
    return found;
}

grpoalign_status gra_points_two_classes(const gra_problem *problem, gra_answers *out)
{
    line self = line_of(problem);
    root_list roots;
    if (!find_all(&self, &roots, problem->arena)) {
        return gra_fail_memory(problem->error);
    }
    for (int64_t k = 0; k < roots.count; k++) {
        gra_answer *answer = gra_answers_add(out, problem);
        if (answer == NULL) {
            return gra_fail_memory(problem->error);
        }
        finish(&self, roots.at[k], answer);
        answer->unique = roots.count > 1 ? 0 : roots.complete ? 1 : -1;
    }
    out->complete = roots.complete;
    out->connected = first_root(&self, &roots);
    return GRPOALIGN_OK;
}

grpoalign_status gra_solve_two_classes(const gra_problem *problem, gra_answer *answer)
{
    line self = line_of(problem);
    root_list roots;
    if (!find_all(&self, &roots, problem->arena)) {
        return gra_fail_memory(problem->error);
    }
    int64_t found = first_root(&self, &roots);
    if (found < 0) { /* beyond what doubles hold */
        gra_answer_reference(problem, answer);
        answer->status = GRPOALIGN_NOT_CONVERGED;
        answer->unique = answer->stable = -1;
        answer->policy_error = 1.0;
        return GRPOALIGN_OK;
    }
    finish(&self, roots.at[found], answer);
    answer->unique = roots.count > 1 ? 0 : roots.complete ? 1 : -1;
    answer->status = roots.count > 1 ? GRPOALIGN_NOT_UNIQUE : GRPOALIGN_OK;
    answer->on_branch = 1;
    return GRPOALIGN_OK;
}
