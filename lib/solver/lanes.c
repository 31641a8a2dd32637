/*
 * Large groups and unscaled rewards under the reverse KL, in lanes.
 *
 * With gaps g_o from the best reward and one unknown e > 0 the policy is pi_o = R rho_o/(g_o + e),
 * R = 1/sum rho/(g + e), rho being the reference. With m the mean gap of the reference,
 *
 *     V = (1/(m + e)) sum rho (m - g)^2/(g + e) = sigma^2 of the policy / R^2,
 *
 * a sum of positive terms, the policy is stationary when V = (1/beta - epsilon/R)^2 over the std,
 * and when R = beta/factor without one. R (right side - left side) is an increasing, concave
 * function of e but for epsilon: Newton's method from below never passes the root.
 *
 * Lanes do not see each other: an answer is the same bit for bit whatever stands beside it, and
 * whatever instructions the machine has, because nothing but sums, products and quotients is asked
 * for, and none of them is contracted.
 */
#include "solver/lanes.h"

#include <float.h>
#include <math.h>

typedef gra_vector vector;
typedef gra_vector_mask mask;

#define LARGER(a, b) GRA_CHOOSE((a) > (b), a, b)

/* Newton takes 3 to 6 steps; a lane that has not come to rest has a reference too skewed. */
enum { MOST_STEPS = 40 };

static const double AT_REST = 4.0 * DBL_EPSILON;

#define ALL(value) ((value) - (vector){0.0})

/* Square roots keep their eight lanes. */
GRA_INLINE vector root(vector x)
{
    vector out = x;
    for (int k = 0; k < GRA_LANES; k++) {
        out[k] = sqrt(x[k]);
    }
    return out;
}

/*
 * By rank (doc/theory.md, section 2.2), with A the reference's mass above, and with a class' own:
 * where s(A) = sqrt(((1 - beta)/2)^2 + beta A) the policy's mass above is (1 - beta)/2 + s(A), and
 * 0 at the top, where s is (beta - 1)/2. So
 *
 *     pi_o = beta rho_o/(s(above) + s(with)),   u_o = beta - s(above) - s(with).
 *
 * Outcomes are compared each with each: for the few that fill lanes that beats sorting.
 */
GRA_EVERY_MACHINE
static void solve_by_rank(gra_lane_block *block)
{
    int64_t n = block->outcomes;
    const vector *reward = (const vector *)block->reward;
    vector *rho = (vector *)block->mass, *policy = (vector *)block->policy,
           *advantage = (vector *)block->advantage;
    const vector zero = ALL(0.0), one = ALL(1.0), beta = *(const vector *)block->beta,
                 half = 0.5 * (1.0 - beta);
    vector total = zero, top = ALL(-DBL_MAX), low = ALL(DBL_MAX);
    for (int64_t o = 0; o < n; o++) {
        total += rho[o];
        top = GRA_CHOOSE((reward[o] > top) & (rho[o] > zero), reward[o], top);
        low = GRA_CHOOSE((reward[o] < low) & (rho[o] > zero), reward[o], low);
    }
    vector share = one / total;
    for (int64_t o = 0; o < n; o++) {
        rho[o] *= share;
    }
    mask flat = top == low;
    for (int64_t o = 0; o < n; o++) {
        vector above = zero, own = zero, r = reward[o];
        for (int64_t i = 0; i < n; i++) {
            above += GRA_CHOOSE(reward[i] > r, rho[i], zero);
            own += GRA_CHOOSE(reward[i] == r, rho[i], zero);
        }
        vector with = root(half * half + beta * (above + own));
        with = GRA_CHOOSE(above + own == zero, -half, with);
        vector before = GRA_CHOOSE(above == zero, -half, root(half * half + beta * above));
        /* at the top and for beta < 1 the sum cancels, and the difference does not */
        vector taken = rho[o] / GRA_CHOOSE(own > zero, own, one) * (with - before);
        vector found = GRA_CHOOSE((before < zero), taken, beta * rho[o] / (with + before));
        found = GRA_CHOOSE(rho[o] > zero, found, zero);
        policy[o] = GRA_CHOOSE(flat, rho[o], found);
        vector u = beta - before - with;
        /* one class: only what has no probability is above or below */
        vector outside = GRA_CHOOSE(r > top, one, GRA_CHOOSE(r < low, -one, zero));
        advantage[o] = GRA_CHOOSE(flat, outside, u);
    }
    *(vector *)block->error = ALL(12.0 * DBL_EPSILON);
    *(vector *)block->iterations = GRA_CHOOSE(flat, zero, one);
    *(vector *)block->solved = one;
}

GRA_EVERY_MACHINE
static void solve_by_newton(const gra_lane_rule *rule, gra_lane_block *block)
{
    int64_t n = block->outcomes;
    const vector *reward = (const vector *)block->reward;
    vector *rho = (vector *)block->mass, *gap = (vector *)block->gap,
           *deviation = (vector *)block->deviation, *policy = (vector *)block->policy,
           *advantage = (vector *)block->advantage;
    const vector zero = ALL(0.0), one = ALL(1.0), epsilon = ALL(rule->epsilon),
                 factor = ALL(rule->factor), lowest = ALL(-DBL_MAX);
    vector beta = *(const vector *)block->beta, inverse_beta = one / beta;
    vector best = lowest, total = zero, mean = zero, top = zero;
    for (int64_t o = 0; o < n; o++) {
        best = LARGER(best, GRA_CHOOSE(rho[o] > zero, reward[o], lowest));
        total += rho[o];
    }
    vector share = one / total;
    for (int64_t o = 0; o < n; o++) {
        rho[o] *= share;
        vector g = best - reward[o];
        gap[o] = LARGER(g, zero); /* what has no probability may be better */
        mean += rho[o] * gap[o];
        top += GRA_CHOOSE(gap[o] == zero, rho[o], zero);
    }
    for (int64_t o = 0; o < n; o++) {
        deviation[o] = mean - gap[o];
    }
    /* From below the root: by the slope at e = 0; R lies between e and e/top, and below m + e. */
    vector wanted = beta / factor,
           from_std = mean / ((one + inverse_beta * inverse_beta) / top - one);
    vector e =
        rule->over_std ? LARGER(from_std, epsilon * beta) : LARGER(wanted - mean, top * wanted);
    mask flat = mean == zero, done = flat;
    e = GRA_CHOOSE(flat, one, e);
    vector r = one, v = zero, slope = one, steps = zero;
    for (int step = 0; step < MOST_STEPS; step++) {
        vector sum = zero, square = zero, spread = zero;
        for (int64_t o = 0; o < n; o++) {
            vector inverse = one / (gap[o] + e), part = rho[o] * inverse;
            sum += part;
            square += part * inverse;
            spread += part * deviation[o] * deviation[o];
            policy[o] = part; /* times R, once e has come to rest */
        }
        r = one / sum;
        v = spread / (mean + e);
        vector by_e = square * r * r, value;
        if (rule->over_std) {
            vector left = inverse_beta - epsilon * sum;
            value = r * (left * left - v);
            slope =
                (one + inverse_beta * inverse_beta - epsilon * epsilon * sum * sum) * by_e - one;
            value = GRA_CHOOSE(left < zero, zero - r, value); /* below where the std can be */
            slope = GRA_CHOOSE(left < zero, r / e, slope);
        } else {
            value = r - wanted;
            slope = by_e;
        }
        vector next = e - value / slope;
        next = GRA_CHOOSE(next > zero, next, ALL(0.25) * e);
        vector moved = next - e;
        moved = LARGER(moved, zero - moved);
        mask rests = moved <= ALL(AT_REST) * e;
        steps += GRA_CHOOSE(done, zero, one);
        e = GRA_CHOOSE(done | rests, e, next);
        done |= rests;
        int all = 1;
        for (int k = 0; k < GRA_LANES; k++) {
            all &= done[k] != 0;
        }
        if (all) {
            break;
        }
    }
    vector scale = factor;
    if (rule->over_std) { /* where all is flat nothing spreads but what has no probability */
        scale = GRA_CHOOSE(flat, one / epsilon, beta / r);
    }
    for (int64_t o = 0; o < n; o++) {
        policy[o] = GRA_CHOOSE(flat, rho[o], policy[o] * r);
        /* mean - g of the policy: that of the reference less what the spread adds */
        vector above = (mean - (best - reward[o])) - GRA_CHOOSE(flat, zero, r * v);
        advantage[o] = GRA_CHOOSE(above == zero, zero, scale * above);
    }
    vector rounding = r;
    if (rule->over_std) {
        rounding *= inverse_beta * inverse_beta;
    }
    vector error = ALL(4.0 * DBL_EPSILON) * (one + rounding / (slope * e));
    *(vector *)block->error = GRA_CHOOSE(flat, ALL(DBL_EPSILON), error);
    *(vector *)block->iterations = steps;
    *(vector *)block->solved =
        GRA_CHOOSE(done & (e > zero) & (error > zero) & (error < one), one, zero);
}

void gra_lanes_solve(const gra_lane_rule *rule, gra_lane_block *block)
{
    if (rule->by_rank) {
        solve_by_rank(block);
    } else {
        solve_by_newton(rule, block);
    }
}
