/* Groups by any rule: tables beside callbacks, the group's own std as a rule beside the library's,
 * slopes beside differences, and all points beside a dense scan. */
#include "check.h"

enum { MOST = 6, LARGEST = 8 };

typedef struct tables {
    double success[LARGEST], failure[LARGEST];
    int64_t group_size;
} tables;

static tables random_tables(randomness *r)
{
    tables t = {.group_size = 2 + random_below(r, LARGEST - 1)};
    for (int64_t k = 0; k < t.group_size; k++) {
        t.success[k] = random_normal(r);
        t.failure[k] = random_normal(r);
    }
    return t;
}

/* The tables as a rule on two classes. */
static int32_t by_tables(void *user, const int64_t *counts, int64_t classes, double *advantage)
{
    const tables *t = user;
    assert_int_equal(classes, 2);
    assert_int_equal(counts[0] + counts[1], t->group_size);
    if (counts[0] > 0) {
        advantage[0] = t->failure[counts[1]];
    }
    if (counts[1] > 0) {
        advantage[1] = t->success[counts[1] - 1];
    }
    return 0;
}

static void inside(randomness *r, int64_t n, double *policy)
{
    random_policy(r, n, policy);
    for (int64_t o = 0; o < n; o++) {
        policy[o] = 0.8 * policy[o] + 0.2 / (double)n;
    }
}

static void compare_slopes(const grpoalign_model *model, const double *policy, int64_t n)
{
    double slopes[MOST * MOST], up[MOST], down[MOST], moved[MOST];
    const double step = 1e-5;
    CHECK_OK(grpoalign_model_jacobian(model, policy, n, slopes, n, NULL));
    for (int64_t j = 1; j < n; j++) { /* from the first outcome to another */
        memcpy(moved, policy, (size_t)n * sizeof *moved);
        moved[j] += step, moved[0] -= step;
        CHECK_OK(grpoalign_model_advantage(model, moved, n, up, NULL));
        moved[j] -= 2.0 * step, moved[0] += 2.0 * step;
        CHECK_OK(grpoalign_model_advantage(model, moved, n, down, NULL));
        for (int64_t i = 0; i < n; i++) {
            double found = slopes[i * n + j] - slopes[i * n];
            double lifted = slopes[j] - slopes[0]; /* a constant of the column changes nothing */
            double by = (up[i] - down[i]) / (2.0 * step), base = (up[0] - down[0]) / (2.0 * step);
            assert_near(found - lifted, by - base, 1e-6 * (1.0 + fabs(by)));
        }
    }
}

static void tables_are_rules(void **state)
{
    (void)state;
    randomness r = random_start(1);
    for (int trial = 0; trial < 60 * test_scale(); trial++) {
        tables t = random_tables(&r);
        int64_t n = 2 + random_below(&r, MOST - 1), class_of[MOST];
        double rewards[MOST], policy[MOST], left[MOST], right[MOST], mean = 0.0;
        grpoalign_model *table, *rule;
        for (int64_t o = 0; o < n; o++) {
            class_of[o] = o < 2 ? o : random_below(&r, 2);
            rewards[o] = (double)class_of[o];
        }
        CHECK_OK(grpoalign_model_new_rule_table(rewards, n, t.success, t.failure, t.group_size,
                                                &table, NULL));
        CHECK_OK(
            grpoalign_model_new_rule(class_of, n, 2, t.group_size, by_tables, &t, &rule, NULL));
        inside(&r, n, policy);
        CHECK_OK(grpoalign_model_advantage(table, policy, n, left, NULL));
        CHECK_OK(grpoalign_model_advantage(rule, policy, n, right, NULL));
        for (int64_t o = 0; o < n; o++) {
            assert_near(left[o], right[o], 1e-12);
            mean += policy[o] * left[o];
        }
        assert_near(mean, 0.0, 1e-14);
        compare_slopes(table, policy, n);
        compare_slopes(rule, policy, n);
        grpoalign_model_free(table), grpoalign_model_free(rule);
    }
}

/* The std of a group, by its definition, for rewards that stand in `user`. */
static int32_t by_std(void *user, const int64_t *counts, int64_t classes, double *advantage)
{
    const double *rewards = user;
    double size = 0.0, mean = 0.0, square = 0.0;
    int present = 0; /* a group of one class has no spread, whatever rounding says */
    for (int64_t k = 0; k < classes; k++) {
        present += counts[k] > 0;
        size += (double)counts[k];
        mean += (double)counts[k] * rewards[k];
    }
    mean /= size;
    for (int64_t k = 0; k < classes; k++) {
        square += (double)counts[k] * (rewards[k] - mean) * (rewards[k] - mean);
    }
    for (int64_t k = 0; k < classes && present > 1; k++) {
        advantage[k] = (rewards[k] - mean) / sqrt(square / size);
    }
    return 0;
}

static void the_std_is_a_rule(void **state)
{
    (void)state;
    randomness r = random_start(2);
    for (int trial = 0; trial < 20 * test_scale(); trial++) {
        int64_t n = 3 + random_below(&r, 3), class_of[MOST];
        double rewards[MOST], policy[MOST], left[MOST], right[MOST], logs[MOST];
        grpoalign_model *group, *rule;
        for (int64_t o = 0; o < n; o++) {
            class_of[o] = o;
            rewards[o] = (double)o + random_uniform(&r);
        }
        CHECK_OK(grpoalign_model_new_group(rewards, n, 5, NULL, &group, NULL));
        CHECK_OK(grpoalign_model_new_rule(class_of, n, n, 5, by_std, rewards, &rule, NULL));
        inside(&r, n, policy);
        CHECK_OK(grpoalign_model_advantage(group, policy, n, left, NULL));
        CHECK_OK(grpoalign_model_advantage(rule, policy, n, right, NULL));
        assert_near(largest_difference(left, right, n), 0.0, 1e-12);
        compare_slopes(rule, policy, n);
        random_reference(&r, REFERENCE_DIRICHLET, n, logs);
        solved a = solve_model(group, GRPOALIGN_PENALTY_REVERSE_KL, 0.5, logs, NULL),
               b = solve_model(rule, GRPOALIGN_PENALTY_REVERSE_KL, 0.5, logs, NULL);
        assert_near(largest_difference(a.policy, b.policy, n), 0.0, 1e-10);
        solved_free(&a), solved_free(&b);
        grpoalign_model_free(group), grpoalign_model_free(rule);
    }
}

/* What a policy of two outcomes lacks to be stationary, from the tables themselves. */
static double lacks(const tables *t, int32_t penalty, double beta, double rho, double p)
{
    double h = 0.0, n = (double)t->group_size - 1.0;
    for (int64_t k = 0; k < t->group_size; k++) {
        double chance =
            exp(lgamma(n + 1.0) - lgamma((double)k + 1.0) - lgamma(n - (double)k + 1.0) +
                (double)k * log(p) + (n - (double)k) * log1p(-p));
        h += chance * (t->success[k] - t->failure[k]);
    }
    double good = log(p / rho), bad = log((1.0 - p) / (1.0 - rho));
    return penalty == GRPOALIGN_PENALTY_DIRECT_KL ? beta * (good - bad) - h
                                                  : beta * (exp(-bad) - exp(-good)) - h;
}

static void points_are_all(void **state)
{
    (void)state;
    randomness r = random_start(3);
    const double rewards[2] = {0.0, 1.0};
    int several = 0;
    for (int trial = 0; trial < 60 * test_scale(); trial++) {
        enum { SCAN = 4000 };
        tables t = random_tables(&r);
        int32_t penalty = trial % 2 ? GRPOALIGN_PENALTY_DIRECT_KL : GRPOALIGN_PENALTY_REVERSE_KL;
        double beta = exp(random_between(&r, -4.0, 1.0)), rho = 0.02 + 0.96 * random_uniform(&r);
        double logs[2] = {log1p(-rho), log(rho)};
        int64_t crossings = 0;
        double before = lacks(&t, penalty, beta, rho, 1.0 / (1.0 + exp(30.0)));
        for (int i = 1; i <= SCAN; i++) {
            double x = -30.0 + 60.0 * (double)i / SCAN, now;
            now = lacks(&t, penalty, beta, rho, 1.0 / (1.0 + exp(-x)));
            crossings += (now > 0.0) != (before > 0.0);
            before = now;
        }
        grpoalign_model *model;
        grpoalign_penalty *law;
        grpoalign_reference *reference;
        grpoalign_points *points;
        CHECK_OK(grpoalign_model_new_rule_table(rewards, 2, t.success, t.failure, t.group_size,
                                                &model, NULL));
        CHECK_OK(grpoalign_penalty_new(penalty, NULL, &law, NULL));
        CHECK_OK(grpoalign_reference_new_log(logs, 2, NULL, &reference, NULL));
        CHECK_OK(points_of_parts(model, law, reference, beta, NULL, &points, NULL));
        assert_true(grpoalign_points_complete(points));
        assert_true(grpoalign_points_count(points) >= crossings);
        assert_true(grpoalign_points_from_reference(points) >= 0);
        several += grpoalign_points_count(points) > 1;
        for (int64_t k = 0; k < grpoalign_points_count(points); k++) {
            double policy[2];
            CHECK_OK(
                grpoalign_solution_policy(grpoalign_points_solution(points, k), policy, 2, NULL));
            if (policy[0] > 1e-9 && policy[1] > 1e-9) {
                assert_near(lacks(&t, penalty, beta, rho, policy[1]), 0.0, 1e-6);
            }
        }
        grpoalign_points_free(points), grpoalign_reference_free(reference);
        grpoalign_penalty_free(law), grpoalign_model_free(model);
    }
    assert_true(several > 0);
}

/* pass@k by its definition: the mean over all subsets of k members, the member's own part in it. */
static void pass_at_k_is_its_definition(void **state)
{
    (void)state;
    enum { G = 6 };
    for (int64_t k = 1; k <= G; k++) {
        double success[G], failure[G];
        CHECK_OK(grpoalign_rule_pass_at_k(G, k, success, failure, NULL));
        for (int c = 0; c <= G; c++) { /* members 0 .. c - 1 succeed */
            double passes = 0.0, subsets = 0.0, own[2] = {0.0, 0.0}, with[2] = {0.0, 0.0};
            for (int subset = 0; subset < 1 << G; subset++) {
                if (__builtin_popcount((unsigned)subset) == (int)k) {
                    int passed = (subset & ((1 << c) - 1)) != 0;
                    subsets += 1.0;
                    passes += passed;
                    for (int side = 0; side < 2; side++) {
                        int member = side ? 0 : G - 1; /* a success, a failure */
                        own[side] += (subset >> member & 1) && passed;
                        with[side] += subset >> member & 1;
                    }
                }
            }
            double m = passes / subsets, s = sqrt(m * (1.0 - m));
            if (c > 0) {
                assert_near(success[c - 1], s > 0.0 ? (own[1] / with[1] - m) / s : 0.0, 1e-12);
            }
            if (c < G) {
                assert_near(failure[c], s > 0.0 ? (own[0] / with[0] - m) / s : 0.0, 1e-12);
            }
            if (s > 0.0) { /* zero-sum */
                assert_near((double)c * success[c > 0 ? c - 1 : 0] + (double)(G - c) * failure[c],
                            0.0, 1e-12);
            }
        }
    }
}

static int32_t stops(void *user, const int64_t *counts, int64_t classes, double *advantage)
{
    (void)counts, (void)classes;
    advantage[0] = NAN;
    return user != NULL;
}

static void arguments_are_checked(void **state)
{
    (void)state;
    const double rewards[2] = {0.0, 0.5}, table[2] = {1.0, 2.0};
    double out[2];
    const int64_t class_of[2] = {0, 2}, good[2] = {0, 1};
    grpoalign_model *model;
    grpoalign_error error;
    int something = 1;
    assert_int_equal(grpoalign_model_new_rule_table(rewards, 2, table, table, 2, &model, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.index, 1);
    assert_int_equal(grpoalign_model_new_rule(class_of, 2, 2, 4, stops, NULL, &model, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.index, 1);
    assert_int_equal(grpoalign_model_new_rule(good, 2, 2, 4, stops, NULL, &model, &error),
                     GRPOALIGN_ERR_NOT_FINITE);
    assert_int_equal(grpoalign_model_new_rule(good, 2, 2, 4, stops, &something, &model, &error),
                     GRPOALIGN_ERR_CANCELLED);
    assert_int_equal(grpoalign_model_new_rule(good, 2, 40, 400, stops, NULL, &model, &error),
                     GRPOALIGN_ERR_TOO_LARGE);
    assert_null(model);
    assert_int_equal(grpoalign_rule_pass_at_k(4, 5, out, out, &error), GRPOALIGN_ERR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_rules), cmocka_unit_test(the_std_is_a_rule),
        cmocka_unit_test(points_are_all), cmocka_unit_test(pass_at_k_is_its_definition),
        cmocka_unit_test(arguments_are_checked)};
    return run_chosen(tests);
}
