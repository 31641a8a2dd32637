/* Every composition of the group: exact, for few levels or small groups (doc/theory.md, section
 * 2.5). */
#include "expectation/expectation.h"

#include <math.h>
#include <string.h>

/*
 * A partial group, with mean and sum of squared deviations kept by Welford's update. Positions are
 * relative to its first level, so that nearly tied rewards keep their difference; their squares are
 * kept a second time, magnified, for those so near that they underflow.
 */
typedef struct partial_group {
    double members, mean, squares, magnified, probability;
    int64_t anchor; /* the level positions are relative to, -1 for an empty group */
} partial_group;

typedef struct enumeration {
    const gra_expectation *expectation;
    const double *w;
    const double *tail;      /* tail[l] = sum of w from level l on */
    double *a;               /* advantages, or NULL */
    double *jacobian;        /* or NULL */
    double *slopes;          /* scratch for one column of the Jacobian */
    double *inverse_divisor; /* std of others: this and its gradient are wanted, or NULL */
    double *gradient;
} enumeration;

/* Compositions less likely than this, times the least divisor, cannot change a result: their number
 * is at most GRA_ENUMERATION_LIMIT. */
static const double IMPOSSIBLE = 1e-30;

/* Distances are magnified by this where their squares fall below LEAST_SQUARES. */
static const double LENS = 0x1p700, LEAST_SQUARES = 0x1p-700;

static void add_members(const gra_expectation *e, partial_group *group, int64_t level, double count)
{
    if (group->anchor < 0) {
        group->anchor = level;
    }
    double distance = e->x[level] - e->x[group->anchor] - group->mean;
    double members = group->members + count;
    double share = group->members * count / members, magnified = distance * LENS;
    group->squares += distance * distance * share;
    group->magnified += magnified * magnified * share;
    group->mean += distance * (count / members);
    group->members = members;
}

/* As add_advantages, over the mean of the whole group: A(m) = (x_m - mean) / (mean + epsilon). */
static void add_over_mean(const gra_expectation *e, const partial_group *others, double *sum)
{
    double size = (double)e->group_size, share = (size - 1.0) / size;
    double origin = e->x[others->anchor], mean = others->mean;
    for (int64_t m = 0; m < e->levels; m++) {
        double distance = (e->x[m] - origin) - mean;
        double divisor = e->x[m] / size + share * (origin + mean) + e->epsilon;
        sum[m] +=
            divisor > 0.0 ? others->probability * share * e->factor * distance / divisor : 0.0;
    }
}

/* sum[m] += probability * A(m) with one member at level m added to the group of the others. */
static void add_advantages(const gra_expectation *e, const partial_group *others, double *sum)
{
    if (e->divisor == GRA_OVER_MEAN) {
        add_over_mean(e, others, sum);
        return;
    }
    double size = (double)e->group_size, share = (size - 1.0) / size;
    double origin = e->x[others->anchor], mean = others->mean;
    int inside = e->divisor == GRA_OVER_STD_INSIDE;
    double squares = others->squares / size + (inside ? e->epsilon : 0.0);
    double weight = others->probability * share * e->factor;
    double spread = share / size, epsilon = inside ? 0.0 : e->epsilon;
    for (int64_t m = 0; m < e->levels; m++) {
        double distance = (e->x[m] - origin) - mean;
        double variance = squares + distance * distance * spread;
        double std = sqrt(variance);
        if (variance < LEAST_SQUARES) {
            double magnified = distance * LENS;
            variance = (others->magnified / size + magnified * magnified * spread) +
                       (inside ? e->epsilon * LENS * LENS : 0.0);
            std = sqrt(variance) / LENS;
        }
        /* Without spread the distance is zero too: 0/0 stands for 0. */
        sum[m] += std > 0.0 ? weight * distance / (std + epsilon) : 0.0;
    }
}

/* The inverse divisor that the others give when their own std is the divisor. */
static double inverse_of(const gra_expectation *e, const partial_group *others)
{
    double spread = others->squares >= LEAST_SQUARES
                        ? sqrt(others->squares / others->members)
                        : sqrt(others->magnified / others->members) / LENS;
    return others->probability * (spread > 0.0 ? e->factor / (spread + e->epsilon) : e->raw);
}

static void finish(const enumeration *run, const partial_group *group)
{
    const gra_expectation *e = run->expectation;
    if (run->inverse_divisor != NULL) {
        if (run->gradient == NULL) {
            *run->inverse_divisor += inverse_of(e, group);
            return;
        }
        for (int64_t l = 0; l < e->levels; l++) {
            partial_group others = *group;
            others.probability *= (double)e->members;
            add_members(e, &others, l, 1.0);
            run->gradient[l] += inverse_of(e, &others);
        }
        return;
    }
    if (run->a != NULL) {
        add_advantages(e, group, run->a);
        return;
    }
    /* d a_m / d w_l = (G-1) E[A_m | one of the others is at level l]. */
    for (int64_t l = 0; l < e->levels; l++) {
        partial_group others = *group;
        others.probability *= (double)(e->group_size - 1);
        add_members(e, &others, l, 1.0);
        memset(run->slopes, 0, (size_t)e->levels * sizeof(double));
        add_advantages(e, &others, run->slopes);
        for (int64_t m = 0; m < e->levels; m++) {
            run->jacobian[m * e->levels + l] += run->slopes[m];
        }
    }
}

static void place(const enumeration *run, int64_t level, int64_t remaining,
                  const partial_group *group)
{
    if (remaining == 0) {
        finish(run, group);
        return;
    }
    for (int64_t l = level; l < run->expectation->levels; l++) {
        if (group->probability * pow(run->tail[l], (double)remaining) <
            IMPOSSIBLE * run->expectation->least_divisor) {
            return;
        }
        double ways = 1.0; /* choose(remaining, n) w^n */
        for (int64_t n = 1; n <= remaining; n++) {
            ways *= run->w[l] * (double)(remaining - n + 1) / (double)n;
            if (ways == 0.0) {
                break;
            }
            partial_group next = *group;
            next.probability *= ways;
            add_members(run->expectation, &next, l, (double)n);
            place(run, l + 1, remaining - n, &next);
        }
    }
}

/* Visits every composition of `members` others; run says what is wanted of them. */
static int enumerate(enumeration run, int64_t members, gra_arena *arena)
{
    const gra_expectation *self = run.expectation;
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *tail = gra_arena_doubles(arena, self->levels);
    double *slopes = gra_arena_doubles(arena, self->levels);
    if (tail != NULL && slopes != NULL) {
        double sum = 0.0;
        for (int64_t l = self->levels - 1; l >= 0; l--) {
            sum += run.w[l];
            tail[l] = sum;
        }
        run.tail = tail;
        run.slopes = slopes;
        partial_group empty = {.probability = 1.0, .anchor = -1};
        place(&run, 0, members, &empty);
    }
    gra_arena_rewind(arena, mark);
    return tail != NULL && slopes != NULL;
}

int gra_enumeration_advantage(const gra_expectation *self, const double *w, double *a,
                              gra_arena *arena)
{
    memset(a, 0, (size_t)self->levels * sizeof(double));
    enumeration run = {.expectation = self, .w = w, .a = a};
    return enumerate(run, self->group_size - 1, arena);
}

int gra_enumeration_jacobian(const gra_expectation *self, const double *w, double *jacobian,
                             gra_arena *arena)
{
    memset(jacobian, 0, (size_t)(self->levels * self->levels) * sizeof(double));
    enumeration run = {.expectation = self, .w = w, .jacobian = jacobian};
    return enumerate(run, self->group_size - 2, arena);
}

int gra_enumeration_inverse_divisor(const gra_expectation *self, const double *w,
                                    double *inverse_divisor, double *gradient, gra_arena *arena)
{
    enumeration run = {.expectation = self, .w = w, .inverse_divisor = inverse_divisor};
    *inverse_divisor = 0.0;
    int done = enumerate(run, self->members, arena);
    if (gradient != NULL) {
        memset(gradient, 0, (size_t)self->levels * sizeof(double));
        run.gradient = gradient;
        done = done && enumerate(run, self->members - 1, arena);
    }
    return done;
}

double gra_enumeration_count(int64_t levels, int64_t members)
{
    /* choose(members + levels - 1, levels - 1); exact enough for a limit and a cost. */
    double result = 1.0;
    int64_t few = levels - 1 < members ? levels - 1 : members;
    for (int64_t i = 1; i <= few && result < 1e300; i++) {
        result *= (double)(levels - 1 + members - few + i) / (double)i;
    }
    return result;
}

double gra_enumeration_cost(const gra_expectation *self)
{
    /* Measured (bench/expectation.c): a square root and a division per level of each
     * composition. */
    double levels = (double)self->levels;
    double values =
        gra_enumeration_count(self->levels, self->group_size - 1) * (20.0 + 4.0 * levels);
    double slopes =
        gra_enumeration_count(self->levels, self->group_size - 2) * levels * (15.0 + 5.0 * levels);
    return values + slopes;
}
