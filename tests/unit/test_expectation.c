/* lib/expectation: the three methods against each other, against every sequence of members, and
 * their slopes against differences. */
#include "check.h"

#include "expectation/expectation.h"

static void set_up_rule(gra_expectation *e, const double *x, int64_t k, const gra_group_rule *rule,
                        int32_t method)
{
    grpoalign_error error;
    grpoalign_status status = gra_expectation_init(e, x, k, rule, method, &error);
    if (status != GRPOALIGN_OK) {
        fail_msg("%s", error.message);
    }
}

static void set_up(gra_expectation *e, const double *x, int64_t k, int64_t size, double epsilon,
                   int ddof, int32_t method)
{
    gra_group_rule rule = {.group_size = size, .ddof = ddof, .epsilon = epsilon, .gain = 1.0};
    set_up_rule(e, x, k, &rule, method);
}

/* k strictly ascending levels whose range lies in [1/2, 1), some nearly tied. */
static void random_levels(randomness *r, int64_t k, double *x)
{
    double near = pow(10.0, -random_between(r, 1.0, 12.0)) * (random_below(r, 3) == 0 ? 1.0 : 0.0);
    x[0] = random_between(r, -1.0, 1.0);
    for (int64_t l = 1; l < k; l++) {
        double gap = (l == 1 && near > 0.0) ? near : random_between(r, 0.02, 1.0);
        x[l] = x[l - 1] + gap;
    }
    double range = x[k - 1] - x[0], first = x[0];
    for (int64_t l = 0; l < k; l++) {
        x[l] = (x[l] - first) / range * 0.9;
    }
}

enum { MOST_LEVELS = 12 };

/* The advantages of an expectation, by its method. */
static void advantages(const gra_expectation *e, const double *w, double *a)
{
    gra_arena arena = GRA_ARENA_INIT;
    assert_true(gra_expectation_advantage(e, w, GRA_EXACT, a, &arena));
    gra_arena_free(&arena);
}

static void advantages_are_the_sum_over_every_sequence(void **state)
{
    (void)state;
    randomness r = random_start(10);
    for (int i = 0; i < 150 * test_scale(); i++) {
        int64_t k = 2 + random_below(&r, 4), size = 2 + random_below(&r, k > 3 ? 4 : 6);
        int ddof = (int)random_below(&r, 2);
        double x[MOST_LEVELS], w[MOST_LEVELS], a[MOST_LEVELS];
        double epsilon = random_below(&r, 2) ? 0.0 : pow(10.0, random_between(&r, -8.0, 3.0));
        long double plain[MOST_LEVELS];
        random_levels(&r, k, x);
        random_policy(&r, k, w);
        plain_group_advantage(x, k, w, size, epsilon, ddof, plain);
        for (int32_t method = GRPOALIGN_EXPECTATION_AUTO;
             method <= GRPOALIGN_EXPECTATION_QUADRATURE; method++) {
            if (method == GRPOALIGN_EXPECTATION_BERNSTEIN && k > 2) {
                continue;
            }
            gra_expectation e;
            set_up(&e, x, k, size, epsilon, ddof, method);
            advantages(&e, w, a);
            for (int64_t l = 0; l < k; l++) {
                assert_near(a[l], plain[l],
                            1e-14 * sqrt((double)size) + 1e-13 * fabs((double)plain[l]));
            }
            gra_expectation_free(&e);
        }
    }
}

/* A convention at random, the std of others and the mean among them. */
static gra_group_rule random_rule(randomness *r, int64_t size)
{
    gra_group_rule rule = {.group_size = size, .gain = 1.0};
    rule.divisor = (int32_t)random_below(r, size > 2 ? 4 : 3);
    rule.epsilon = random_below(r, 2) ? 0.0 : pow(10.0, random_between(r, -6.0, 1.0));
    if (rule.divisor == GRA_OVER_STD_INSIDE && rule.epsilon == 0.0) {
        rule.epsilon = 0.01;
    }
    rule.ddof = rule.divisor == GRA_OVER_STD || rule.divisor == GRA_OVER_STD_INSIDE
                    ? (int)random_below(r, 2)
                    : 0;
    rule.gain = rule.divisor == GRA_OVER_STD && random_below(r, 2)
                    ? (double)size / ((double)size - 1.0)
                    : 1.0;
    rule.raw = random_between(r, 0.1, 3.0);
    return rule;
}

/* A of the first member of a group, by its definition; rewards are measured from one of those whose
 * spread counts, or near ties drown in the mean's rounding. */
static long double member_advantage(const gra_group_rule *rule, const double *group)
{
    int of_others = rule->divisor == GRA_OVER_STD_OF_OTHERS;
    int64_t size = rule->group_size, from = of_others ? 1 : 0, count = size - from;
    long double origin = (long double)group[from], mean = 0.0L, squares = 0.0L;
    for (int64_t i = from; i < size; i++) {
        mean += ((long double)group[i] - origin) / (long double)count;
    }
    for (int64_t i = from; i < size; i++) {
        long double d = (long double)group[i] - origin - mean;
        squares += d * d;
    }
    long double distance = (long double)group[0] - origin - mean,
                epsilon = (long double)rule->epsilon;
    if (rule->divisor == GRA_OVER_MEAN) {
        mean += origin;
        return mean + epsilon > 0.0L ? distance / (mean + epsilon) : 0.0L;
    }
    if (of_others) {
        int alike = 1;
        for (int64_t i = 2; i < size; i++) {
            alike = alike && group[i] == group[1];
        }
        return alike ? (long double)rule->raw * distance
                     : distance / (sqrtl(squares / (long double)(count - 1)) + epsilon);
    }
    long double variance = squares / (long double)(size - rule->ddof);
    long double divisor = rule->divisor == GRA_OVER_STD_INSIDE ? sqrtl(variance + epsilon)
                                                               : sqrtl(variance) + epsilon;
    int alike = 1;
    for (int64_t i = 1; i < size; i++) {
        alike = alike && group[i] == group[0];
    }
    return alike ? 0.0L : (long double)rule->gain * distance / divisor;
}

static void every_group(const gra_group_rule *rule, const double *x, int64_t k, const double *w,
                        int64_t member, double *group, long double probability, long double *sum)
{
    if (member == rule->group_size) {
        *sum += probability * member_advantage(rule, group);
        return;
    }
    for (int64_t l = 0; l < k; l++) {
        group[member] = x[l];
        every_group(rule, x, k, w, member + 1, group, probability * (long double)w[l], sum);
    }
}

/* Every convention and method against the sum over all groups. */
static void every_convention_is_the_sum_over_all_groups(void **state)
{
    (void)state;
    randomness r = random_start(21);
    for (int i = 0; i < 300 * test_scale(); i++) {
        int64_t k = 2 + random_below(&r, 3), size = 2 + random_below(&r, k > 3 ? 4 : 5);
        double x[MOST_LEVELS], w[MOST_LEVELS], a[MOST_LEVELS], group[8];
        long double plain[MOST_LEVELS], centre = 0.0L;
        random_levels(&r, k, x);
        random_policy(&r, k, w);
        if (random_below(&r, 3) == 0) {
            for (int64_t l = 0; l < k; l++) {
                x[l] += 0.3; /* no reward 0 */
            }
        }
        gra_group_rule rule = random_rule(&r, size);
        for (int64_t m = 0; m < k; m++) {
            plain[m] = 0.0L;
            group[0] = x[m];
            every_group(&rule, x, k, w, 1, group, 1.0L, &plain[m]);
            centre += (long double)w[m] * plain[m];
        }
        for (int32_t method = GRPOALIGN_EXPECTATION_AUTO;
             method <= GRPOALIGN_EXPECTATION_QUADRATURE; method++) {
            if (method == GRPOALIGN_EXPECTATION_BERNSTEIN && k > 2) {
                continue;
            }
            gra_expectation e;
            set_up_rule(&e, x, k, &rule, method);
            advantages(&e, w, a);
            double most = 0.0;
            for (int64_t l = 0; l < k; l++) {
                most = fmax(most, fabs((double)(plain[l] - centre)));
            }
            for (int64_t l = 0; l < k; l++) {
                double wanted =
                    (double)(plain[l] - (rule.divisor == GRA_OVER_STD_OF_OTHERS ? centre : 0.0L));
                assert_near(a[l], wanted, 1e-13 * (1.0 + most));
            }
            gra_expectation_free(&e);
        }
    }
}

/* Larger groups and more levels than sequences can be listed for: enumeration of compositions
 * against quadrature. */
static void enumeration_and_quadrature_agree(void **state)
{
    (void)state;
    randomness r = random_start(11);
    double worst = 0.0, closest = 0.0;
    for (int i = 0; i < 150 * test_scale(); i++) {
        int64_t k = 2 + random_below(&r, 9), size = 2 + random_below(&r, k == 2   ? 1000
                                                                         : k == 3 ? 300
                                                                         : k == 4 ? 40
                                                                                  : 7);
        int ddof = (int)random_below(&r, 2);
        double x[MOST_LEVELS], w[MOST_LEVELS], a[MOST_LEVELS], b[MOST_LEVELS];
        double epsilon = random_below(&r, 2) ? 0.0 : pow(10.0, random_between(&r, -8.0, 3.0));
        random_levels(&r, k, x);
        random_policy(&r, k, w);
        gra_expectation one, other, check;
        set_up(&one, x, k, size, epsilon, ddof, GRPOALIGN_EXPECTATION_QUADRATURE);
        set_up(&other, x, k, size, epsilon, ddof, GRPOALIGN_EXPECTATION_ENUMERATION);
        advantages(&one, w, a);
        advantages(&other, w, b);
        for (int64_t l = 0; l < k; l++) {
            /* Advantages reach sqrt(G); a probability of a composition carries up to G
             * roundings. */
            assert_near(a[l], b[l], 4e-14 * sqrt((double)size) + 4e-16 * (double)size * fabs(b[l]));
            worst = fmax(worst, fabs(a[l] - b[l]) / sqrt((double)size));
        }
        if (k == 2) {
            set_up(&check, x, k, size, epsilon, ddof, GRPOALIGN_EXPECTATION_BERNSTEIN);
            advantages(&check, w, b);
            assert_near(largest_difference(a, b, k), 0.0, 2e-14 * sqrt((double)size));
            closest = fmax(closest, largest_difference(a, b, k) / sqrt((double)size));
            gra_expectation_free(&check);
        }
        gra_expectation_free(&one);
        gra_expectation_free(&other);
    }
    print_message("# quadrature differs from enumeration by at most %.1e sqrt(G), from Bernstein "
                  "sums by %.1e sqrt(G)\n",
                  worst, closest);
}

/* Sums over the compositions of the other members of a group, in long double, whose exponents reach
 * far lower. */
typedef struct compositions {
    const gra_group_rule *rule;
    const double *x, *w;
    int64_t k, count[MOST_LEVELS];
    long double sum[4]; /* of the advantage of each level; others: sum[0] is the inverse divisor */
} compositions;

static void add_composition(compositions *c, long double probability)
{
    int of_others = c->rule->divisor == GRA_OVER_STD_OF_OTHERS;
    for (int64_t m = 0; m < (of_others ? 1 : c->k); m++) {
        long double members = 0.0L, mean = 0.0L, squares = 0.0L;
        for (int64_t l = 0; l < c->k; l++) {
            long double n = (long double)c->count[l] + (!of_others && l == m);
            members += n;
            mean += n * (long double)c->x[l];
        }
        mean /= members;
        for (int64_t l = 0; l < c->k; l++) {
            long double d = (long double)c->x[l] - mean,
                        n = (long double)c->count[l] + (!of_others && l == m);
            squares += n * d * d;
        }
        int alike = 0;
        for (int64_t l = 0; l < c->k; l++) {
            alike = alike || (long double)c->count[l] + (!of_others && l == m) == members;
        }
        long double std =
            sqrtl(squares / (members - (of_others ? 1.0L : (long double)c->rule->ddof)));
        long double inverse_divisor = alike ? (of_others ? (long double)c->rule->raw : 0.0L)
                                            : 1.0L / (std + c->rule->epsilon);
        c->sum[m] +=
            probability * inverse_divisor * (of_others ? 1.0L : (long double)c->x[m] - mean);
    }
}

static void compose(compositions *c, int64_t level, int64_t left, long double probability)
{
    if (level == c->k - 1) {
        c->count[level] = left;
        for (int64_t n = 1; n <= left; n++) {
            probability *= (long double)c->w[level];
        }
        add_composition(c, probability);
        return;
    }
    for (int64_t n = 0; n <= left; n++) {
        c->count[level] = n;
        compose(c, level + 1, left - n, probability);
        probability *= (long double)c->w[level] * (long double)(left - n) / (long double)(n + 1);
    }
}

/* Two levels a hair apart among others: groups of those two alone have a divisor that squares in
 * double cannot hold, and weigh what its inverse makes of their probability. */
static void levels_a_hair_apart_have_their_weight(void **state)
{
    (void)state;
    static const double GAPS[] = {1e-3, 1e-7, 1e-10, 1e-15, 1e-40, 1e-154, 1e-163, 1e-200, 1e-300};
    randomness r = random_start(23);
    for (size_t i = 0; i < 40 * sizeof GAPS / sizeof *GAPS; i++) {
        int of_others = i % 2 == 0;
        double x[4] = {0.0, GAPS[i / 40], 0.6, 0.9}, w[4], a[4];
        int64_t k = 3 + random_below(&r, 2), size = 3 + random_below(&r, 20);
        x[k - 1] = 0.9;
        gra_group_rule rule = {.group_size = size,
                               .divisor = of_others ? GRA_OVER_STD_OF_OTHERS : GRA_OVER_STD,
                               .gain = 1.0,
                               .raw = 1.0};
        random_policy(&r, k, w);
        compositions all = {.rule = &rule, .x = x, .w = w, .k = k};
        compose(&all, 0, size - 1, 1.0L);
        for (int32_t method = GRPOALIGN_EXPECTATION_ENUMERATION;
             method <= GRPOALIGN_EXPECTATION_QUADRATURE; method++) {
            gra_expectation e;
            set_up_rule(&e, x, k, &rule, method);
            advantages(&e, w, a);
            long double mean = 0.0L, most = 0.0L;
            for (int64_t l = 0; l < k; l++) {
                mean += (long double)w[l] * (long double)x[l];
                most = fmaxl(most, fabsl(all.sum[l]));
            }
            for (int64_t l = 0; l < k; l++) {
                long double wanted =
                    of_others ? all.sum[0] * ((long double)x[l] - mean) : all.sum[l];
                if (!(fabs(a[l] - (double)wanted) <=
                      4e-13 * (double)(of_others ? all.sum[0] : most))) {
                    fail_msg(
                        "gap %g, method %d, size %d, level %d of %d, w %g %g %g: %.17g, not %.17Lg",
                        GAPS[i / 40], (int)method, (int)size, (int)l, (int)k, w[0], w[1], w[2],
                        a[l], wanted);
                }
            }
            gra_expectation_free(&e);
        }
    }
}

/* What every expectation satisfies, at sizes where no other method reaches. */
static void expectations_are_zero_sum_ascending_and_symmetric(void **state)
{
    (void)state;
    randomness r = random_start(12);
    enum { K = 120 };
    static double x[K], w[K], a[K], b[K], turned[K], turned_w[K];
    for (int i = 0; i < 12; i++) {
        int64_t k = 5 + random_below(&r, K - 5),
                size = (int64_t)pow(2.0, random_between(&r, 1.0, 10.0));
        random_levels(&r, k, x);
        random_policy(&r, k, w);
        gra_expectation e;
        set_up(&e, x, k, size, 0.0, 0, GRPOALIGN_EXPECTATION_QUADRATURE);
        advantages(&e, w, a);
        double zero = 0.0;
        for (int64_t l = 0; l < k; l++) {
            zero += w[l] * a[l];
            assert_true(fabs(a[l]) <= sqrt((double)size - 1.0) * (1.0 + 1e-12));
            assert_true(l == 0 || a[l] >= a[l - 1] - 1e-12); /* a better reward is never worse */
            turned[k - 1 - l] = 0.95 - x[l];
            turned_w[k - 1 - l] = w[l];
        }
        assert_near(zero, 0.0, 1e-14 * sqrt((double)size));
        gra_expectation_free(&e);
        set_up(&e, turned, k, size, 0.0, 0, GRPOALIGN_EXPECTATION_QUADRATURE);
        advantages(&e, turned_w, b);
        for (int64_t l = 0; l < k; l++) {
            assert_near(a[l], -b[k - 1 - l],
                        2e-13 * sqrt((double)size) + 4e-16 * (double)size * fabs(a[l]));
        }
        gra_expectation_free(&e);
    }
}

/* As groups grow the advantage tends to (x - mean) / sigma; at 2^31 - 1 members it is there to nine
 * digits. */
static void enormous_groups_tend_to_the_limit(void **state)
{
    (void)state;
    double x[] = {0.0, 0.3, 0.9}, w[] = {0.5, 0.3, 0.2}, a[3];
    double mean = 0.27, sigma = sqrt(0.5 * mean * mean + 0.3 * 0.03 * 0.03 + 0.2 * 0.63 * 0.63);
    gra_expectation e;
    set_up(&e, x, 3, INT32_MAX, 0.0, 0, GRPOALIGN_EXPECTATION_AUTO);
    advantages(&e, w, a);
    for (int l = 0; l < 3; l++) {
        assert_near(a[l], (x[l] - mean) / sigma, 2e-9);
    }
    gra_expectation_free(&e);
    double two[] = {0.0, 0.5}, half[] = {0.75, 0.25};
    set_up(&e, two, 2, INT32_MAX, 0.0, 0, GRPOALIGN_EXPECTATION_AUTO);
    assert_int_equal(e.method, GRPOALIGN_EXPECTATION_BERNSTEIN);
    advantages(&e, half, a);
    assert_near(a[1], sqrt(3.0), 2e-9);
    gra_expectation_free(&e);
}

/* The quadrature of 1/S itself: two levels one gap apart in a group of two have one S, and A = 1/2
 * gap / (S + eps). */
static void the_quadrature_of_the_scale_is_exact(void **state)
{
    (void)state;
    for (double gap = 0.9; gap > 1e-15; gap *= 0.37) {
        for (double epsilon = 0.0; epsilon < 1e4;
             epsilon = epsilon == 0.0 ? 1e-12 : epsilon * 11.0) {
            double x[] = {0.0, gap, 0.95}, w[] = {1.0, 0.0, 0.0}, a[3];
            gra_expectation e;
            set_up(&e, x, 3, 2, epsilon, 0, GRPOALIGN_EXPECTATION_QUADRATURE);
            advantages(&e, w, a);
            assert_near(a[1] / (0.5 * gap / (0.5 * gap + epsilon)), 1.0, 1e-14);
            assert_near(a[2] / (0.475 / (0.475 + epsilon)), 1.0, 1e-14);
            gra_expectation_free(&e);
        }
    }
}

static void jacobians_are_derivatives_of_expectations(void **state)
{
    (void)state;
    randomness r = random_start(13);
    for (int i = 0; i < 120 * test_scale(); i++) {
        int64_t k = 2 + random_below(&r, 5), size = 2 + random_below(&r, 6);
        double x[MOST_LEVELS], w[MOST_LEVELS], a[MOST_LEVELS], jacobian[MOST_LEVELS * MOST_LEVELS];
        gra_group_rule rule = random_rule(&r, size);
        random_levels(&r, k, x);
        random_policy(&r, k, w);
        for (int32_t method = GRPOALIGN_EXPECTATION_BERNSTEIN;
             method <= GRPOALIGN_EXPECTATION_QUADRATURE; method++) {
            if (method == GRPOALIGN_EXPECTATION_BERNSTEIN && k > 2) {
                continue;
            }
            gra_expectation e;
            gra_arena arena = GRA_ARENA_INIT;
            set_up_rule(&e, x, k, &rule, method);
            assert_true(gra_expectation_jacobian(&e, w, GRA_EXACT, a, jacobian, &arena));
            /* Along the straight line to another policy the advantages are polynomials of degree
             * G-1: differences over several points of that line give the slope exactly but for
             * rounding. */
            double goal[MOST_LEVELS];
            random_policy(&r, k, goal);
            double values[9][MOST_LEVELS];
            for (int point = 0; point <= 8; point++) {
                double moved[MOST_LEVELS];
                for (int64_t l = 0; l < k; l++) {
                    moved[l] = w[l] + (goal[l] - w[l]) * point / 8.0;
                }
                advantages(&e, moved, values[point]);
            }
            static const double WEIGHTS[9] = {-761.0 / 280, 8.0,       -14.0,   56.0 / 3, -35.0 / 2,
                                              56.0 / 5,     -14.0 / 3, 8.0 / 7, -1.0 / 8};
            for (int64_t m = 0; m < k; m++) {
                double slope = 0.0, expected = 0.0, size_of = 0.0;
                for (int64_t l = 0; l < k; l++) {
                    slope += jacobian[m * k + l] * (goal[l] - w[l]);
                    size_of = fmax(size_of, fabs(jacobian[m * k + l]));
                }
                for (int point = 0; point <= 8; point++) {
                    expected += 8.0 * WEIGHTS[point] * values[point][m];
                    size_of = fmax(size_of, fabs(values[point][m]));
                }
                assert_near(slope, expected, 1e-11 * (1.0 + size_of));
            }
            gra_arena_free(&arena);
            gra_expectation_free(&e);
        }
    }
}

/* Over the mean in groups of two, towards levels without weight that are small beside all that have
 * any. A slope is a sum over some hundreds of nodes, whose rounding differs between processors:
 * 1.4e-13 was seen, a lost term costs 1. */
static void slopes_towards_levels_without_weight_are_exact(void **state)
{
    (void)state;
    static const double X[] = {0.0, 9e-8, 0.9}, W[] = {0.0, 0.0, 1.0};
    const gra_group_rule rule = {.group_size = 2, .divisor = GRA_OVER_MEAN, .gain = 1.0};
    for (int32_t method = GRPOALIGN_EXPECTATION_ENUMERATION;
         method <= GRPOALIGN_EXPECTATION_QUADRATURE; method++) {
        gra_expectation e;
        gra_arena arena = GRA_ARENA_INIT;
        double a[3], jacobian[9];
        set_up_rule(&e, X, 3, &rule, method);
        assert_true(gra_expectation_jacobian(&e, W, GRA_EXACT, a, jacobian, &arena));
        assert_near(jacobian[1], -1.0, 1e-12); /* 0 against 9e-8: the mean is half the other */
        assert_near(jacobian[3], 1.0, 1e-12);
        gra_arena_free(&arena);
        gra_expectation_free(&e);
    }
}

static void coarse_slopes_are_near_the_exact_ones(void **state)
{
    (void)state;
    randomness r = random_start(14);
    for (int i = 0; i < 40; i++) {
        int64_t k = 3 + random_below(&r, 8), size = 3 + random_below(&r, 60);
        double x[MOST_LEVELS], w[MOST_LEVELS], fine[MOST_LEVELS * MOST_LEVELS],
            coarse[MOST_LEVELS * MOST_LEVELS], largest = 0.0;
        gra_expectation e;
        gra_arena arena = GRA_ARENA_INIT;
        random_levels(&r, k, x);
        random_policy(&r, k, w);
        set_up(&e, x, k, size, 0.0, 0, GRPOALIGN_EXPECTATION_QUADRATURE);
        assert_true(gra_expectation_jacobian(&e, w, GRA_EXACT, NULL, fine, &arena));
        assert_true(gra_expectation_jacobian(&e, w, GRA_COARSE, NULL, coarse, &arena));
        for (int64_t j = 0; j < k * k; j++) {
            largest = fmax(largest, fabs(fine[j]));
        }
        assert_near(largest_difference(fine, coarse, k * k), 0.0, 2e-3 * largest);
        gra_arena_free(&arena);
        gra_expectation_free(&e);
    }
}

/* b_0..b_{G-1} is a convex sequence and so its Bernstein sum convex: what the search for all roots
 * rests on. */
static void the_gap_is_convex(void **state)
{
    (void)state;
    for (int64_t size = 2; size < 3000; size = size * 3 / 2 + 1) {
        for (double epsilon = 0.0; epsilon < 1e3; epsilon = epsilon == 0.0 ? 1e-4 : epsilon * 7.0) {
            for (int inside = 0; inside < 2; inside++) {
                gra_contrast contrast = {.divisor = inside ? GRA_OVER_STD_INSIDE : GRA_OVER_STD,
                                         .group_size = size,
                                         .epsilon = epsilon,
                                         .factor = 1.0};
                double before = -INFINITY;
                for (int i = 0; i <= 200; i++) {
                    double p = i / 200.0, slope,
                           gap = gra_bernstein_gap(&contrast, p, 1.0 - p, &slope);
                    assert_true(slope >= before - 1e-10 * gap * (double)size);
                    before = slope;
                    assert_near(gap, gra_bernstein_gap(&contrast, 1.0 - p, p, NULL), 1e-13 * gap);
                }
            }
        }
    }
}

/* Over the mean b_k falls: what the uniqueness of stationary policies rests on. */
static void the_gap_over_the_mean_falls(void **state)
{
    (void)state;
    for (int64_t size = 2; size < 3000; size = size * 3 / 2 + 1) {
        for (double floor = 0.0; floor < 1e6; floor = floor == 0.0 ? 1e-12 : floor * 5.0) {
            gra_contrast contrast = {
                .divisor = GRA_OVER_MEAN, .group_size = size, .floor = floor, .factor = 1.0};
            for (int i = 0; i <= 200; i++) {
                double p = i / 200.0, slope, gap = gra_bernstein_gap(&contrast, p, 1.0 - p, &slope);
                assert_true(gap > 0.0 && slope <= 1e-10 * (1.0 + floor));
            }
        }
    }
}

static void the_cheapest_method_is_chosen(void **state)
{
    (void)state;
    double x[40];
    gra_expectation e;
    grpoalign_error error;
    for (int l = 0; l < 40; l++) {
        x[l] = 0.95 * l / 39.0;
    }
    set_up(&e, x, 3, 4, 0.0, 0, GRPOALIGN_EXPECTATION_AUTO);
    assert_int_equal(e.method, GRPOALIGN_EXPECTATION_ENUMERATION);
    gra_expectation_free(&e);
    set_up(&e, x, 40, 16, 0.0, 0, GRPOALIGN_EXPECTATION_AUTO);
    assert_int_equal(e.method, GRPOALIGN_EXPECTATION_QUADRATURE);
    gra_expectation_free(&e);
    gra_group_rule rule = {.group_size = 4, .gain = 1.0};
    assert_int_equal(gra_expectation_init(&e, x, 3, &rule, GRPOALIGN_EXPECTATION_BERNSTEIN, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    gra_expectation_free(&e);
    rule.group_size = 40;
    assert_int_equal(
        gra_expectation_init(&e, x, 40, &rule, GRPOALIGN_EXPECTATION_ENUMERATION, &error),
        GRPOALIGN_ERR_TOO_LARGE);
    gra_expectation_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(advantages_are_the_sum_over_every_sequence),
        cmocka_unit_test(every_convention_is_the_sum_over_all_groups),
        cmocka_unit_test(enumeration_and_quadrature_agree),
        cmocka_unit_test(levels_a_hair_apart_have_their_weight),
        cmocka_unit_test(expectations_are_zero_sum_ascending_and_symmetric),
        cmocka_unit_test(enormous_groups_tend_to_the_limit),
        cmocka_unit_test(the_quadrature_of_the_scale_is_exact),
        cmocka_unit_test(jacobians_are_derivatives_of_expectations),
        cmocka_unit_test(slopes_towards_levels_without_weight_are_exact),
        cmocka_unit_test(coarse_slopes_are_near_the_exact_ones),
        cmocka_unit_test(the_gap_is_convex),
        cmocka_unit_test(the_gap_over_the_mean_falls),
        cmocka_unit_test(the_cheapest_method_is_chosen),
    };
    return run_chosen(tests);
}
