#include "plain.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include <grpoalign/penalty.h>

/* ---- advantages ------------------------------------------------------------------------------ */

/* What the table gives a member of a group. */
static long double by_table(const plain_context *c, double own, int64_t successes)
{
    return own > 0.0 ? c->success[successes - 1] : c->failure[successes];
}

/* What one sequence of members gives its first: the reward less the baseline over the divisor. The
 * members are measured from the first, so that close rewards keep their difference. */
static long double advantage_of_first(const plain_context *c, const double *members, int64_t size)
{
    long double first = members[0], mean = 0.0L, others = 0.0L, squares = 0.0L, spread = 0.0L;
    long double apart = 0.0L;
    int equal = 1, equal_others = 1;
    int64_t successes = 0;
    for (int64_t i = 0; i < size; i++) {
        successes += members[i] > 0.0;
    }
    if (c->success != NULL) {
        return by_table(c, members[0], successes);
    }
    for (int64_t i = 0; i < size; i++) {
        mean += ((long double)members[i] - first) / (long double)size;
        equal = equal && members[i] == members[0];
    }
    for (int64_t i = 1; i < size; i++) {
        others += ((long double)members[i] - first) / (long double)(size - 1);
        equal_others = equal_others && members[i] == members[1];
    }
    for (int64_t i = 0; i < size; i++) {
        long double d = (long double)members[i] - first - mean;
        squares += d * d;
    }
    for (int64_t i = 1; i < size; i++) { /* from one of them, which may be far from the first */
        apart += ((long double)members[i] - members[1]) / (long double)(size - 1);
    }
    for (int64_t i = 1; i < size; i++) {
        long double d = (long double)members[i] - members[1] - apart;
        spread += d * d;
    }
    if (equal) {
        return 0.0L;
    }
    long double over = c->leave_one_out ? -others : -mean, epsilon = c->epsilon;
    if (c->unscaled) {
        return over;
    }
    if (c->over_mean) {
        return over / (first + mean + epsilon);
    }
    if (c->over_others) {
        return equal_others ? over : over / (sqrtl(spread / (long double)(size - 2)) + epsilon);
    }
    long double variance = squares / (long double)(size - c->ddof);
    return over / (c->inside ? sqrtl(variance + epsilon) : sqrtl(variance) + epsilon);
}

typedef struct sequences {
    const plain_context *context;
    const double *levels;
    int64_t k, size;
    const long double *w;
    double *members;
    long double *advantage;
    long double *kept; /* the probability of a group that is not all equal, or NULL */
} sequences;

static void each_sequence(const sequences *self, int64_t placed, long double probability)
{
    if (probability == 0.0L) {
        return;
    }
    if (placed < self->size) {
        for (int64_t l = 0; l < self->k; l++) {
            self->members[placed] = self->levels[l];
            each_sequence(self, placed + 1, probability * self->w[l]);
        }
        return;
    }
    for (int64_t m = 0; m < self->k; m++) {
        int equal = 1;
        self->members[0] = self->levels[m];
        for (int64_t i = 1; i < self->size; i++) {
            equal = equal && self->members[i] == self->members[0];
        }
        self->advantage[m] +=
            probability * advantage_of_first(self->context, self->members, self->size);
        if (self->kept != NULL && !equal) {
            self->kept[m] += probability;
        }
    }
}

/* The same where only how many members have each reward is gone through: own is the level of the
 * first, counts those of the others. */
static long double advantage_of_counts(const plain_context *c, const double *levels, int64_t k,
                                       const int64_t *counts, int64_t own)
{
    long double size = (long double)c->group_size, first = levels[own], sum = 0.0L;
    long double squares = 0.0L, spread = 0.0L, epsilon = c->epsilon, near = first, apart = 0.0L;
    int equal = 1, kinds = 0;
    if (c->success != NULL) {
        int64_t successes = levels[own] > 0.0;
        for (int64_t l = 0; l < k; l++) {
            successes += levels[l] > 0.0 ? counts[l] : 0;
        }
        return by_table(c, levels[own], successes);
    }
    for (int64_t l = 0; l < k; l++) {
        sum += (long double)counts[l] * ((long double)levels[l] - first);
        equal = equal && (counts[l] == 0 || levels[l] == levels[own]);
        near = counts[l] > 0 ? levels[l] : near;
        kinds += counts[l] > 0;
    }
    for (int64_t l = 0; l < k; l++) { /* from one of the others, which may be far from the first */
        apart += (long double)counts[l] * ((long double)levels[l] - near) / (size - 1.0L);
    }
    if (equal) {
        return 0.0L;
    }
    long double mean = sum / size, others = sum / (size - 1.0L);
    squares = mean * mean;
    for (int64_t l = 0; l < k; l++) {
        long double d = (long double)levels[l] - first;
        squares += (long double)counts[l] * (d - mean) * (d - mean);
        long double e = (long double)levels[l] - near - apart;
        spread += (long double)counts[l] * e * e;
    }
    long double over = c->leave_one_out ? -others : -mean;
    if (c->unscaled) {
        return over;
    }
    if (c->over_mean) {
        return over / (first + mean + epsilon);
    }
    if (c->over_others) {
        return kinds == 1 ? over : over / (sqrtl(spread / (size - 2.0L)) + epsilon);
    }
    long double variance = squares / (size - (long double)c->ddof);
    return over / (c->inside ? sqrtl(variance + epsilon) : sqrtl(variance) + epsilon);
}

/* All counts of the others from level `at` on, `left` of them: probability times the number of
 * their sequences. Levels are distinct. */
static void each_composition(const sequences *self, int64_t *counts, int64_t at, int64_t left,
                             long double probability)
{
    if (probability == 0.0L) {
        return;
    }
    if (at == self->k - 1) {
        counts[at] = left;
        probability *= powl(self->w[at], (long double)left);
        for (int64_t m = 0; m < self->k && probability > 0.0L; m++) {
            int equal = counts[m] == self->size - 1;
            self->advantage[m] +=
                probability * advantage_of_counts(self->context, self->levels, self->k, counts, m);
            if (self->kept != NULL && !equal) {
                self->kept[m] += probability;
            }
        }
        return;
    }
    for (counts[at] = 0; counts[at] <= left; counts[at]++) {
        each_composition(self, counts, at + 1, left - counts[at], probability);
        probability *=
            self->w[at] * (long double)(left - counts[at]) / (long double)(counts[at] + 1);
    }
}

/* Distinct levels, each with the weight of all that are equal to it. Returns how many. */
static int64_t merge_levels(const double *levels, int64_t k, const long double *w, double *distinct,
                            long double *weight, int64_t *level_of)
{
    int64_t count = 0;
    for (int64_t l = 0; l < k; l++) {
        int64_t at = 0;
        while (at < count && distinct[at] != levels[l]) {
            at++;
        }
        if (at == count) {
            distinct[count] = levels[l];
            weight[count++] = 0.0L;
        }
        weight[at] += w[l];
        level_of[l] = at;
    }
    return count;
}

void plain_by_counts(const plain_context *c, const double *levels, int64_t k, const long double *w,
                     long double *advantage, long double *kept)
{
    size_t count = (size_t)k;
    double *distinct = calloc(count, sizeof *distinct);
    long double *weight = calloc(3 * count, sizeof *weight);
    int64_t *number = calloc(2 * count, sizeof *number), *counts = number + k;
    sequences all = {c,
                     distinct,
                     merge_levels(levels, k, w, distinct, weight, number),
                     c->group_size,
                     weight,
                     NULL,
                     weight + k,
                     kept != NULL ? weight + 2 * k : NULL};
    each_composition(&all, counts, 0, c->group_size - 1, 1.0L);
    for (int64_t l = 0; l < k; l++) {
        advantage[l] = all.advantage[number[l]];
        if (kept != NULL) {
            kept[l] = all.kept[number[l]];
        }
    }
    free(distinct);
    free(weight);
    free(number);
}

/* Groups up to this size are gone through member by member. */
static const int64_t SMALL_GROUP = 5;

static void group_advantage(const plain_context *c, const double *levels, int64_t k,
                            const long double *w, long double *advantage, long double *kept)
{
    if (c->group_size > SMALL_GROUP) {
        plain_by_counts(c, levels, k, w, advantage, kept);
        return;
    }
    sequences all = {c, levels, k, c->group_size, w, NULL, advantage, kept};
    all.members = malloc((size_t)c->group_size * sizeof *all.members);
    for (int64_t m = 0; m < k; m++) {
        advantage[m] = 0.0L;
        if (kept != NULL) {
            kept[m] = 0.0L;
        }
    }
    each_sequence(&all, 1, 1.0L);
    free(all.members);
}

void plain_group_advantage(const double *levels, int64_t k, const double *w, int64_t size,
                           double epsilon, int ddof, long double *advantage)
{
    plain_context c = {.group_size = size, .epsilon = epsilon, .ddof = ddof};
    long double *weights = malloc((size_t)k * sizeof *weights);
    for (int64_t l = 0; l < k; l++) {
        weights[l] = w[l];
    }
    group_advantage(&c, levels, k, weights, advantage, NULL);
    free(weights);
}

/* The reward everything is measured from: that of the heaviest outcome, because its neighbours
 * decide small spreads. */
static long double origin_of(const plain_context *c, const long double *policy)
{
    int64_t heaviest = 0;
    for (int64_t o = 1; o < c->n; o++) {
        heaviest = policy[o] > policy[heaviest] ? o : heaviest;
    }
    return c->rewards[heaviest];
}

/* One reward per outcome, without groups: what is left of r - mean over the divisor. */
static void limit_advantage(const plain_context *c, const long double *policy,
                            long double *advantage)
{
    long double origin = origin_of(c, policy), mean = 0.0L, variance = 0.0L;
    for (int64_t o = 0; o < c->n; o++) {
        mean += policy[o] * ((long double)c->rewards[o] - origin);
    }
    for (int64_t o = 0; o < c->n; o++) {
        long double d = (long double)c->rewards[o] - origin - mean;
        variance +=
            policy[o] * (d * d + (c->variances != NULL ? (long double)c->variances[o] : 0.0L));
    }
    long double divisor = c->unscaled    ? 1.0L
                          : c->over_mean ? origin + mean + c->epsilon
                          : c->inside    ? sqrtl(variance + c->epsilon)
                                         : sqrtl(variance) + c->epsilon;
    for (int64_t o = 0; o < c->n; o++) {
        long double d = (long double)c->rewards[o] - origin - mean;
        advantage[o] = d == 0.0L ? 0.0L : d / divisor;
    }
}

static void pairwise_advantage(const plain_context *c, const long double *policy,
                               long double *advantage)
{
    for (int64_t i = 0; i < c->n; i++) {
        advantage[i] = 0.0L;
        for (int64_t j = 0; j < c->n; j++) {
            int sign = c->margins == NULL
                           ? (c->rewards[i] > c->rewards[j]) - (c->rewards[i] < c->rewards[j])
                           : 0;
            long double m = c->margins != NULL ? (long double)c->margins[i * c->n + j] : sign;
            advantage[i] += m * policy[j];
        }
    }
}

static void random_advantage(const plain_context *c, const long double *policy,
                             long double *advantage)
{
    long double *w = calloc((size_t)c->k, sizeof *w), *a = calloc((size_t)c->k, sizeof *a);
    long double *total = calloc((size_t)c->n, sizeof *total);
    for (int64_t o = 0; o < c->n; o++) {
        for (int64_t l = 0; l < c->k; l++) {
            total[o] += c->distribution[o * c->k + l];
        }
        for (int64_t l = 0; l < c->k; l++) {
            w[l] += policy[o] * c->distribution[o * c->k + l] / total[o];
        }
    }
    group_advantage(c, c->support, c->k, w, a, NULL);
    for (int64_t o = 0; o < c->n; o++) {
        advantage[o] = 0.0L;
        for (int64_t l = 0; l < c->k; l++) {
            advantage[o] += c->distribution[o * c->k + l] / total[o] * a[l];
        }
    }
    free(total);
    free(w);
    free(a);
}

/* Advantages at probabilities that sum to 1; kept (or NULL) receives the probability of a group
 * that counts, 1 but for the filter. */
static void advantage_at(const plain_context *c, const long double *policy, long double *advantage,
                         long double *kept)
{
    for (int64_t o = 0; kept != NULL && o < c->n; o++) {
        kept[o] = 1.0L;
    }
    if (c->margins != NULL || (c->group_size == 0 && !c->limit)) {
        pairwise_advantage(c, policy, advantage);
    } else if (c->support != NULL) {
        random_advantage(c, policy, advantage);
    } else if (c->limit) {
        limit_advantage(c, policy, advantage);
    } else if (c->unscaled && !c->filtered) { /* also where no group can be enumerated */
        long double part = c->leave_one_out ? 1.0L : 1.0L - 1.0L / (long double)c->group_size;
        limit_advantage(c, policy, advantage);
        for (int64_t o = 0; o < c->n; o++) {
            advantage[o] *= part;
        }
    } else {
        group_advantage(c, c->rewards, c->n, policy, advantage, c->filtered ? kept : NULL);
    }
    /* Groups are zero-sum of themselves, but over the std of others and by a rule. */
    long double mean = 0.0L;
    int centres = c->over_others || c->success != NULL;
    for (int64_t o = 0; centres && o < c->n; o++) {
        mean += policy[o] > 0.0L ? policy[o] * advantage[o] : 0.0L;
    }
    for (int64_t o = 0; centres && o < c->n; o++) {
        advantage[o] -= mean;
    }
}

void plain_advantage(const plain_context *c, const double *policy, long double *advantage)
{
    long double *pi = calloc((size_t)c->n, sizeof *pi), total = 0.0L;
    for (int64_t o = 0; o < c->n; o++) {
        total += policy[o];
    }
    for (int64_t o = 0; o < c->n; o++) {
        pi[o] = policy[o] / total;
    }
    advantage_at(c, pi, advantage, NULL);
    free(pi);
}

/* ---- penalties ------------------------------------------------------------------------------- */

long double plain_score(int32_t penalty, long double alpha, long double l)
{
    int is_clamped = !(expl(-l) - 1.0L + l <= 10.0L);
    switch (penalty) {
    case GRPOALIGN_PENALTY_REVERSE_KL:
        return -expm1l(-l);
    case GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED:
        return is_clamped ? 0.0L : -expm1l(-l);
    case GRPOALIGN_PENALTY_DIRECT_KL:
    case GRPOALIGN_PENALTY_KL_IN_REWARD:
        return l;
    case GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED:
        return is_clamped ? 0.0L : l;
    case GRPOALIGN_PENALTY_SQUARED_LOG_RATIO:
        return isinf(l) ? INFINITY : l + 0.5L * l * l;
    case GRPOALIGN_PENALTY_CHI_SQUARED:
        return expm1l(l);
    case GRPOALIGN_PENALTY_JENSEN_SHANNON: /* 1 is lost beside exp(100) */
        return l > -100.0L ? -0.5L * log1pl(0.5L * expm1l(-l)) : 0.5L * (l + logl(2.0L));
    case GRPOALIGN_PENALTY_ALPHA:
        return alpha == 1.0L ? l : expm1l((alpha - 1.0L) * l) / (alpha - 1.0L);
    default:
        return 0.0L;
    }
}

/* How far l lies outside the range where g is felt; <= 0 inside. */
static long double beyond_hold(int32_t penalty, long double l)
{
    /* The two roots of exp(-l) - 1 + l = 10. */
    static const long double LEAST = -2.610868638149876L, MOST = 10.999983298020256L;
    switch (penalty) {
    case GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED:
    case GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED:
        return fmaxl(LEAST - l, l - MOST);
    default:
        return -INFINITY;
    }
}

/* ---- stationarity ---------------------------------------------------------------------------- */

typedef struct state {
    const plain_context *context;
    int32_t penalty;
    long double alpha, beta;
    int64_t n;
    long double *policy, *l, *u, *kept;
} state;

/* The policy in long double: the heaviest outcome has what the others leave, because what it lacks
 * to 1 may be all that counts. What no double holds has its logarithm. */
static void take_policy(state *self, const double *log_reference, const double *policy,
                        const double *log_policy)
{
    long double top = -INFINITY, total = 0.0L, others = 0.0L;
    int64_t heaviest = 0;
    for (int64_t o = 0; o < self->n; o++) {
        top = fmaxl(top, log_reference[o]);
        heaviest = policy[o] > policy[heaviest] ? o : heaviest;
    }
    for (int64_t o = 0; o < self->n; o++) {
        total += expl(log_reference[o] - top);
    }
    for (int64_t o = 0; o < self->n; o++) {
        self->policy[o] = policy[o] >= DBL_MIN ? (long double)policy[o] : expl(log_policy[o]);
        others += o != heaviest ? self->policy[o] : 0.0L;
    }
    self->policy[heaviest] = 1.0L - others;
    for (int64_t o = 0; o < self->n; o++) {
        long double log_pi = self->policy[o] > 0.0L ? logl(self->policy[o]) : log_policy[o];
        self->l[o] = log_pi - (log_reference[o] - top - logl(total));
    }
}

static int is_supported(const state *self, int64_t o)
{
    return !isnan(self->l[o]) && !(self->l[o] == INFINITY);
}

/* What is balanced with the penalty. */
static void take_advantage(state *self)
{
    const plain_context *c = self->context;
    if (self->penalty != GRPOALIGN_PENALTY_KL_IN_REWARD) {
        advantage_at(c, self->policy, self->u, self->kept);
        return;
    }
    long double mean = 0.0L;
    for (int64_t o = 0; o < self->n; o++) {
        long double sum = 0.0L, total = 0.0L;
        for (int64_t l = 0; c->support != NULL && l < c->k; l++) {
            total += c->distribution[o * c->k + l];
            sum += (long double)c->distribution[o * c->k + l] * c->support[l];
        }
        self->u[o] = c->support != NULL ? sum / total : (long double)c->rewards[o];
        self->kept[o] = 1.0L;
        mean += self->policy[o] * self->u[o];
    }
    for (int64_t o = 0; o < self->n; o++) {
        self->u[o] -= mean;
    }
}

/* Total variation: g is 1 above the reference, -1 below it, anything between at it. lambda must lie
 * between u - beta and u + beta there, and is the one or the other elsewhere. */
static void interval_of(const state *self, int64_t o, long double *low, long double *high)
{
    const long double at_reference = 1e-12L;
    *low = self->u[o] + (self->l[o] < -at_reference ? self->beta : -self->beta);
    *high = self->u[o] + (self->l[o] > at_reference ? -self->beta : self->beta);
}

static void balance_steps(const state *self, plain_balance *out)
{
    long double most = -INFINITY, least = INFINITY, off = 0.0L, relative = 0.0L, highest = INFINITY;
    long double returns = -INFINITY, low, high, other_low, other_high;
    for (int64_t o = 0; o < self->n; o++) {
        for (int64_t p = 0; p < self->n && is_supported(self, o) && self->policy[o] > 0.0L; p++) {
            interval_of(self, o, &low, &high);
            interval_of(self, p, &other_low, &other_high);
            if (is_supported(self, p) && self->policy[p] > 0.0L) {
                long double apart = fmaxl(0.0L, 0.5L * (low - other_high));
                long double size = fabsl(self->u[o]) + fabsl(self->u[p]) + self->beta;
                off = fmaxl(off, apart * fminl(self->policy[o], self->policy[p]));
                relative = fmaxl(relative, apart / size);
            }
            highest = fminl(highest, high);
        }
    }
    for (int64_t o = 0; o < self->n; o++) {
        if (is_supported(self, o)) {
            most = fmaxl(most, self->u[o]);
            least = fminl(least, self->u[o]);
            interval_of(self, o, &low, &high);
            returns = isinf(self->l[o]) ? fmaxl(returns, low - highest) : returns;
        }
    }
    out->off = (double)off;
    out->relative = (double)relative;
    out->returns = (double)returns;
    /* Of the numbers that fit, the one that the header names. */
    out->lambda =
        (double)(most - least > 2.0L * self->beta ? most - self->beta : 0.5L * (most + least));
}

static void balance_slopes(const state *self, plain_balance *out)
{
    long double lambda = 0.0L, off = 0.0L, relative = 0.0L, returns = -INFINITY, beyond = -INFINITY;
    for (int64_t o = 0; o < self->n; o++) {
        if (is_supported(self, o) && self->policy[o] > 0.0L) {
            long double g = plain_score(self->penalty, self->alpha, self->l[o]);
            lambda += self->policy[o] * (self->u[o] - self->beta * self->kept[o] * g);
        }
    }
    for (int64_t o = 0; o < self->n; o++) {
        long double l = self->l[o];
        if (!is_supported(self, o)) {
            continue;
        }
        long double g = plain_score(self->penalty, self->alpha, l),
                    pull = self->beta * self->kept[o] * g;
        if (self->beta == 0.0L) {
            pull = 0.0L;
        }
        long double distance = self->u[o] - pull - lambda;
        if (isinf(l)) {
            returns = fmaxl(returns, distance);
        } else if (isfinite(g)) {
            long double size = fabsl(self->u[o]) + self->beta * (1.0L + fabsl(g)) + fabsl(lambda);
            off = fmaxl(off, self->policy[o] * fabsl(distance));
            relative = fmaxl(relative, distance == 0.0L ? 0.0L : fabsl(distance) / size);
            beyond = fmaxl(beyond, beyond_hold(self->penalty, l));
        }
    }
    out->lambda = (double)lambda;
    out->off = (double)off;
    out->relative = (double)relative;
    out->returns = (double)returns;
    out->beyond = (double)beyond;
}

plain_balance plain_put_back(const plain_context *c, int32_t penalty, double alpha, double beta,
                             const double *log_reference, const double *policy,
                             const double *log_policy)
{
    plain_balance out = {.returns = -INFINITY, .beyond = -INFINITY, .size = 1.0};
    size_t bytes = (size_t)c->n * sizeof(long double);
    state self = {c,
                  penalty,
                  alpha,
                  penalty == GRPOALIGN_PENALTY_NONE ? 0.0L : (long double)beta,
                  c->n,
                  malloc(bytes),
                  malloc(bytes),
                  malloc(bytes),
                  malloc(bytes)};
    take_policy(&self, log_reference, policy, log_policy);
    take_advantage(&self);
    if (penalty == GRPOALIGN_PENALTY_TOTAL_VARIATION) {
        balance_steps(&self, &out);
    } else {
        balance_slopes(&self, &out);
    }
    for (int64_t o = 0; o < c->n; o++) {
        out.size = isfinite(self.u[o]) ? fmax(out.size, (double)fabsl(self.u[o])) : out.size;
    }
    free(self.policy);
    free(self.l);
    free(self.u);
    free(self.kept);
    return out;
}

/* ---- the error of a policy ------------------------------------------------------------------- */

enum { UNKNOWNS = 16, NEWTON_STEPS = 6 };

/* Stationarity in long double: the unknowns are the logarithms of the probabilities that are not 0,
 * and lambda. */
typedef struct stationarity {
    state state;
    long double log_reference[UNKNOWNS];
    int64_t at[UNKNOWNS], count; /* outcomes with probability */
    long double y[UNKNOWNS], f[UNKNOWNS], matrix[UNKNOWNS + 1][UNKNOWNS + 2];
} stationarity;

/* u - beta g at the logarithms y. */
static void evaluate(stationarity *self, const long double *y, long double *f)
{
    state *s = &self->state;
    for (int64_t k = 0; k < self->count; k++) {
        s->policy[self->at[k]] = expl(y[k]);
        s->l[self->at[k]] = y[k] - self->log_reference[self->at[k]];
    }
    take_advantage(s);
    for (int64_t k = 0; k < self->count; k++) {
        int64_t o = self->at[k];
        f[k] = s->u[o] - s->beta * s->kept[o] * plain_score(s->penalty, s->alpha, s->l[o]);
    }
}

/* Solves the bordered system in place, rows scaled; 0 where it is singular. */
static int eliminate(stationarity *self, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        long double most = 0.0L;
        for (int64_t j = 0; j < n; j++) {
            most = fmaxl(most, fabsl(self->matrix[i][j]));
        }
        for (int64_t j = 0; j <= n; j++) {
            self->matrix[i][j] /= most;
        }
    }
    for (int64_t k = 0; k < n; k++) {
        int64_t best = k;
        for (int64_t i = k; i < n; i++) {
            best = fabsl(self->matrix[i][k]) > fabsl(self->matrix[best][k]) ? i : best;
        }
        for (int64_t j = 0; j <= n; j++) {
            long double swap = self->matrix[k][j];
            self->matrix[k][j] = self->matrix[best][j];
            self->matrix[best][j] = swap;
        }
        if (!(fabsl(self->matrix[k][k]) > 0.0L)) {
            return 0;
        }
        for (int64_t i = 0; i < n; i++) {
            long double factor = self->matrix[i][k] / self->matrix[k][k];
            for (int64_t j = k; i != k && j <= n; j++) {
                self->matrix[i][j] -= factor * self->matrix[k][j];
            }
        }
    }
    return 1;
}

/* One Newton step, slopes being differences. Returns how far a probability moves, NaN where it
 * cannot. */
static long double newton_step(stationarity *self)
{
    const long double h = 3e-10L;
    int64_t n = self->count;
    long double moved[UNKNOWNS], y[UNKNOWNS], sum = 0.0L, lambda = 0.0L, most = 0.0L;
    evaluate(self, self->y, self->f);
    for (int64_t k = 0; k < n; k++) {
        sum += expl(self->y[k]);
        lambda += expl(self->y[k]) * self->f[k];
    }
    for (int64_t j = 0; j < n; j++) {
        for (int64_t k = 0; k < n; k++) {
            y[k] = self->y[k] + (k == j ? h : 0.0L);
        }
        evaluate(self, y, moved);
        for (int64_t k = 0; k < n; k++) {
            self->matrix[k][j] = (moved[k] - self->f[k]) / h;
        }
        self->matrix[n][j] = expl(self->y[j]);
        self->matrix[j][n] = -1.0L;
        self->matrix[j][n + 1] = lambda - self->f[j];
    }
    self->matrix[n][n] = 0.0L;
    self->matrix[n][n + 1] = 1.0L - sum;
    if (!eliminate(self, n + 1)) {
        return NAN;
    }
    for (int64_t k = 0; k < n; k++) {
        long double change = self->matrix[k][n + 1] / self->matrix[k][k];
        if (!(fabsl(change) < 1.0L)) {
            return NAN;
        }
        self->y[k] += change;
        most = fmaxl(most, expl(self->y[k]) * fabsl(change));
    }
    return most;
}

double plain_error(const plain_context *c, int32_t penalty, double alpha, double beta,
                   const double *log_reference, const double *policy, const double *log_policy)
{
    const long double done = 1e-17L;
    long double room[4][UNKNOWNS], moved = NAN, error = 0.0L;
    stationarity self = {
        .state = {c, penalty, alpha, beta, c->n, room[0], room[1], room[2], room[3]}};
    if (c->n >= UNKNOWNS || penalty == GRPOALIGN_PENALTY_TOTAL_VARIATION ||
        penalty == GRPOALIGN_PENALTY_NONE) {
        return NAN;
    }
    take_policy(&self.state, log_reference, policy, log_policy);
    for (int64_t o = 0; o < c->n; o++) {
        if (is_supported(&self.state, o) && self.state.policy[o] > 0.0L) {
            self.y[self.count] = logl(self.state.policy[o]);
            self.log_reference[o] = self.y[self.count] - self.state.l[o];
            self.at[self.count++] = o;
        }
    }
    for (int i = 0; i < NEWTON_STEPS && !(moved <= done); i++) {
        moved = newton_step(&self);
        if (isnan(moved)) {
            return NAN;
        }
    }
    for (int64_t k = 0; k < self.count; k++) {
        error = fmaxl(error, fabsl(expl(self.y[k]) - (long double)policy[self.at[k]]));
    }
    return moved <= 1e-3L * error || moved <= 1e-15L ? (double)error : NAN;
}

double plain_violation(const plain_context *c, int32_t penalty, double alpha, double beta,
                       const double *log_reference, const double *policy, const double *log_policy)
{
    plain_balance b = plain_put_back(c, penalty, alpha, beta, log_reference, policy, log_policy);
    double unit = penalty == GRPOALIGN_PENALTY_NONE ? 1.0 : fmax(1.0, beta);
    return fmax(fmax(b.off, b.returns) / unit, b.beyond);
}

double plain_normaliser(const plain_balance *balance, int32_t penalty, double alpha, double beta)
{
    int has_c = penalty == GRPOALIGN_PENALTY_REVERSE_KL ||
                penalty == GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED ||
                (penalty == GRPOALIGN_PENALTY_ALPHA && alpha == 0.0);
    return penalty == GRPOALIGN_PENALTY_NONE ? balance->lambda
                                             : balance->lambda / beta + (has_c ? 1.0 : 0.0);
}

/* ---- residuals of reports ------------------------------------------------------------------- */

double plain_residual(const plain_context *c, int32_t penalty, double beta,
                      const double *log_reference, const double *policy)
{
    int64_t n = c->n;
    long double *u = malloc((size_t)n * sizeof *u), mean = 0.0L, total = 0.0L, top = -INFINITY,
                z = 0.0L, ref_top = -INFINITY;
    double worst = 0.0;
    plain_advantage(c, policy, u);
    for (int64_t o = 0; o < n; o++) {
        mean += (long double)policy[o] * u[o];
        ref_top = fmaxl(ref_top, (long double)log_reference[o]);
    }
    for (int64_t o = 0; o < n; o++) {
        total += expl((long double)log_reference[o] - ref_top);
    }
    long double shift = ref_top + logl(total);
    for (int64_t o = 0; o < n; o++) {
        top = fmaxl(top, (long double)log_reference[o] - shift + u[o] / (long double)beta);
    }
    for (int64_t o = 0; o < n; o++) {
        z += expl((long double)log_reference[o] - shift + u[o] / (long double)beta - top);
    }
    for (int64_t o = 0; o < n; o++) {
        long double lr = (long double)log_reference[o] - shift, r;
        if (penalty == GRPOALIGN_PENALTY_REVERSE_KL) {
            r = (long double)policy[o] * (1.0L - (u[o] - mean) / (long double)beta) - expl(lr);
        } else {
            r = policy[o] > 1e-250
                    ? logl((long double)policy[o]) - lr - u[o] / (long double)beta + top + logl(z)
                    : 0.0L;
        }
        worst = fmax(worst, (double)fabsl(r));
    }
    free(u);
    return worst;
}
