/* All stationary policies, folds, critical betas and paths. */
#include "check.h"

static grpoalign_points *points_at(const handles *h, double beta)
{
    grpoalign_points *points = NULL;
    grpoalign_error error;
    grpoalign_status status =
        points_of_parts(h->model, h->penalty, h->reference, beta, NULL, &points, &error);
    if (status != GRPOALIGN_OK) {
        fail_msg("%s", error.message);
    }
    return points;
}

static grpoalign_report report_of(const grpoalign_points *points, int64_t k)
{
    grpoalign_report report = {.struct_size = sizeof report};
    CHECK_OK(grpoalign_solution_report(grpoalign_points_solution(points, k), &report, NULL));
    return report;
}

/* The betas of the folds in [low, high]. */
static int64_t folds_of(const handles *h, double low, double high, double *betas, int64_t most,
                        int *complete)
{
    grpoalign_points *folds = NULL;
    CHECK_OK(folds_of_parts(h->model, h->penalty, h->reference, low, high, NULL, &folds, NULL));
    int64_t count = grpoalign_points_count(folds);
    *complete = grpoalign_points_complete(folds);
    assert_int_equal(grpoalign_points_from_reference(folds), -1);
    for (int64_t k = 0; k < count && k < most; k++) {
        betas[k] = report_of(folds, k).beta;
        assert_true(betas[k] >= low && betas[k] <= high);
        assert_true(report_of(folds, k).residual < 1e-9);
    }
    grpoalign_points_free(folds);
    return count;
}

static double success_of(const grpoalign_points *points, int64_t k)
{
    double policy[2];
    CHECK_OK(grpoalign_solution_policy(grpoalign_points_solution(points, k), policy, 2, NULL));
    return policy[1];
}

static const double BINARY[2] = {0.0, 1.0};

static handles binary(int64_t group_size, double p, int32_t penalty)
{
    double log_reference[2] = {log1p(-p), log(p)};
    plain_context context = {
        .n = 2, .rewards = BINARY, .group_size = group_size, .limit = group_size == 0};
    return open_handles(&context, penalty, log_reference);
}

/* The cases of doc/theory.md, sections 3.7 and 3.8. */
static void points_of_known_binary_groups_are_all_found(void **state)
{
    (void)state;
    handles h = binary(32, 0.1, GRPOALIGN_PENALTY_DIRECT_KL);
    grpoalign_points *points = points_at(&h, 0.7);
    assert_int_equal(grpoalign_points_count(points), 3);
    assert_int_equal(grpoalign_points_complete(points), 1);
    assert_int_equal(grpoalign_points_from_reference(points), 0);
    static const double at[] = {0.7065, 0.8775, 0.99589};
    static const int32_t stable[] = {1, 0, 1};
    for (int64_t k = 0; k < 3; k++) {
        grpoalign_report report = report_of(points, k);
        assert_near(success_of(points, k), at[k], 1e-4);
        assert_int_equal(report.stable, stable[k]);
        assert_int_equal(report.unique, 0);
        assert_true(report.residual < 1e-12);
    }
    assert_null(grpoalign_points_solution(points, 3));
    assert_null(grpoalign_points_solution(points, -1));
    grpoalign_points_free(points);
    close_handles(&h);

    h = binary(16, 0.1, GRPOALIGN_PENALTY_DIRECT_KL);
    points = points_at(&h, 0.7);
    assert_int_equal(grpoalign_points_count(points), 1);
    assert_int_equal(report_of(points, 0).unique, 1);
    grpoalign_points_free(points);
    close_handles(&h);

    /* The root for epsilon = 0; 0.4530422409 belongs to an epsilon of 1e-5 inside the root. */
    h = binary(0, 0.1, GRPOALIGN_PENALTY_DIRECT_KL);
    points = points_at(&h, 1.0);
    assert_int_equal(grpoalign_points_count(points), 2);
    assert_int_equal(grpoalign_points_complete(points), 1);
    assert_near(success_of(points, 0), 0.45305141925485372, 1e-14);
    assert_int_equal(report_of(points, 0).stable, 1);
    assert_int_equal(report_of(points, 1).stable, 0);
    assert_true(success_of(points, 1) > success_of(points, 0));
    grpoalign_points_free(points);
    points = points_at(&h, 0.3);
    assert_int_equal(grpoalign_points_count(points), 0);
    assert_int_equal(grpoalign_points_from_reference(points), -1);
    assert_int_equal(grpoalign_points_complete(points), 1);
    grpoalign_points_free(points);

    /* doc/theory.md, section 3.8: least gap 2 sqrt(1 + b^2)/b - 2 asinh(b) + logit(pi_ref) = 0 at
     * the critical beta. */
    double beta = 0.0;
    CHECK_OK(critical_beta_of_parts(h.model, h.penalty, h.reference, &beta, NULL));
    assert_near(2.0 * sqrt(1.0 + beta * beta) / beta - 2.0 * asinh(beta) + log(0.1 / 0.9), 0.0,
                1e-13);
    close_handles(&h);
}

/* Every sign change of the equation on a fine grid is a root found, and nothing else is. */
static void every_sign_change_on_a_grid_is_a_point(void **state)
{
    (void)state;
    enum { GRID = 4000, MOST = 8 };
    randomness r = random_start(60);
    int several = 0;
    for (int i = 0; i < 250 * test_scale(); i++) {
        int limit = random_below(&r, 3) == 0;
        double rewards[4], log_reference[4], total = 0.0;
        int64_t n = limit ? 2 + random_below(&r, 3) : 2, size = 3 + random_below(&r, 126);
        double beta = pow(10.0, random_between(&r, -1.5, 0.7));
        double epsilon = random_below(&r, 2) ? 0.0 : pow(10.0, random_between(&r, -4.0, 0.0));
        for (int64_t o = 0; o < n; o++) {
            rewards[o] = limit ? random_between(&r, 0.0, 1.0) : BINARY[o];
            log_reference[o] = random_between(&r, -8.0, 0.0);
            total += exp(log_reference[o]);
        }
        for (int64_t o = 0; o < n; o++) {
            log_reference[o] -= log(total);
        }
        plain_context context = {
            .n = n, .rewards = rewards, .group_size = size, .limit = limit, .epsilon = epsilon};
        handles h = open_handles(&context, GRPOALIGN_PENALTY_DIRECT_KL, log_reference);
        grpoalign_points *points = points_at(&h, beta);
        assert_int_equal(grpoalign_points_complete(points), 1);
        /* pi(theta) ~ pi_ref exp(theta r) is stationary where the advantages of any two outcomes
         * differ by theta beta times the difference of their rewards. */
        int64_t best = 0, worst = 0, changes = 0;
        for (int64_t o = 0; o < n; o++) {
            best = rewards[o] > rewards[best] ? o : best;
            worst = rewards[o] < rewards[worst] ? o : worst;
        }
        double gap = rewards[best] - rewards[worst], roots[MOST], before = 0.0;
        for (int64_t g = 0; g <= GRID; g++) {
            double theta = pow(10.0, -5.0 + 10.0 * (double)g / GRID) / gap, policy[4], u[4],
                   sum = 0.0, top = -INFINITY;
            for (int64_t o = 0; o < n; o++) {
                top = fmax(top, log_reference[o] + theta * rewards[o]);
            }
            for (int64_t o = 0; o < n; o++) {
                sum += policy[o] = exp(log_reference[o] + theta * rewards[o] - top);
            }
            for (int64_t o = 0; o < n; o++) {
                policy[o] /= sum;
            }
            CHECK_OK(grpoalign_model_advantage(h.model, policy, n, u, NULL));
            double f = (u[best] - u[worst]) / (theta * gap) - beta;
            if (!isfinite(f)) {
                break;
            }
            if (g > 0 && (f > 0.0) != (before > 0.0) && changes < MOST) {
                roots[changes++] = theta;
            }
            before = f;
        }
        int64_t count = grpoalign_points_count(points);
        if (count < changes || (count - changes) % 2 != 0) {
            fail_msg("%lld found, %lld on the grid (beta %g)", (long long)count, (long long)changes,
                     beta);
        }
        for (int64_t k = 0; k < count; k++) {
            double log_policy[4], close = INFINITY;
            CHECK_OK(grpoalign_solution_log_policy(grpoalign_points_solution(points, k), log_policy,
                                                   n, NULL));
            double theta = ((log_policy[best] - log_reference[best]) -
                            (log_policy[worst] - log_reference[worst])) /
                           gap;
            for (int64_t g = 0; g < changes; g++) {
                close = fmin(close, fabs(log(theta / roots[g])));
            }
            if (count == changes) {
                assert_true(close < 0.01);
            }
            assert_true(report_of(points, k).residual < 1e-9);
        }
        several += count > 1;
        grpoalign_points_free(points);
        close_handles(&h);
    }
    print_message("# %d problems with several stationary policies\n", several);
    assert_true(several > 20 * test_scale());
}

/* Two stationary policies meet at a fold: on one side two more than on the other, however near. */
static void two_points_meet_at_every_fold(void **state)
{
    (void)state;
    randomness r = random_start(61);
    int met = 0;
    for (int i = 0; i < 120 * test_scale(); i++) {
        int limit = random_below(&r, 2) == 0;
        double rewards[5], log_reference[5];
        int64_t n = limit ? 2 + random_below(&r, 4) : 2;
        for (int64_t o = 0; o < n; o++) {
            rewards[o] = limit ? random_between(&r, 0.0, 1.0) : BINARY[o];
            log_reference[o] = random_between(&r, -9.0, 0.0);
        }
        plain_context context = {
            .n = n, .rewards = rewards, .group_size = 24 + random_below(&r, 100), .limit = limit};
        handles h = open_handles(&context, GRPOALIGN_PENALTY_DIRECT_KL, log_reference);
        double betas[8], critical = -1.0;
        int complete = -1;
        int64_t count = folds_of(&h, 1e-3, 1e3, betas, 8, &complete);
        assert_int_equal(complete, 1);
        assert_true(count >= 0 && count <= 8);
        for (int64_t k = 0; k < count; k++) {
            for (double near = 1e-3; near > 1e-11; near *= 1e-4) {
                grpoalign_points *below = points_at(&h, betas[k] * (1.0 - near));
                grpoalign_points *above = points_at(&h, betas[k] * (1.0 + near));
                int64_t difference = grpoalign_points_count(above) - grpoalign_points_count(below);
                int another = 0; /* a second fold as near as that */
                for (int64_t l = 0; l < count; l++) {
                    another = another || (l != k && fabs(log(betas[l] / betas[k])) < 2.0 * near);
                }
                if (!another) {
                    assert_int_equal(llabs(difference), 2);
                }
                grpoalign_points_free(below);
                grpoalign_points_free(above);
            }
            met++;
        }
        CHECK_OK(critical_beta_of_parts(h.model, h.penalty, h.reference, &critical, NULL));
        if (limit) {
            /* 1 / max of lambda sigma(lambda), on a fine grid. */
            double largest = 0.0;
            for (double theta = 1e-2; theta < 1e5; theta *= 1.0005) {
                double policy[5], u[5], sum = 0.0, mean = 0.0, square = 0.0, top = -INFINITY;
                for (int64_t o = 0; o < n; o++) {
                    top = fmax(top, log_reference[o] + theta * rewards[o]);
                }
                for (int64_t o = 0; o < n; o++) {
                    sum += policy[o] = exp(log_reference[o] + theta * rewards[o] - top);
                }
                for (int64_t o = 0; o < n; o++) {
                    mean += policy[o] / sum * rewards[o];
                }
                for (int64_t o = 0; o < n; o++) {
                    square += policy[o] / sum * (rewards[o] - mean) * (rewards[o] - mean);
                }
                (void)u;
                largest = fmax(largest, theta * sqrt(square));
            }
            assert_near(critical * largest, 1.0, 1e-5);
            grpoalign_points *none = points_at(&h, critical * (1.0 - 1e-9)),
                             *two = points_at(&h, critical * (1.0 + 1e-9));
            assert_int_equal(grpoalign_points_count(none), 0);
            assert_true(grpoalign_points_count(two) >= 2);
            grpoalign_points_free(none);
            grpoalign_points_free(two);
        } else {
            assert_true(critical == 0.0);
        }
        close_handles(&h);
    }
    print_message("# %d folds\n", met);
    assert_true(met > 60 * test_scale());
}

/* Two reward levels under reverse KL, outcomes that succeed with any probability: the count is
 * proved. */
static void points_of_random_successes_are_stationary_and_counted(void **state)
{
    (void)state;
    randomness r = random_start(62);
    for (int i = 0; i < 150 * test_scale(); i++) {
        double support[2] = {0.0, 1.0}, distribution[12], log_reference[6];
        int64_t n = 2 + random_below(&r, 5);
        for (int64_t o = 0; o < n; o++) {
            double p = random_below(&r, 4) == 0 ? (double)random_below(&r, 2) : random_uniform(&r);
            distribution[2 * o] = 1.0 - p;
            distribution[2 * o + 1] = p;
            log_reference[o] = random_between(&r, -12.0, 0.0);
        }
        plain_context context = {.n = n,
                                 .support = support,
                                 .distribution = distribution,
                                 .k = 2,
                                 .group_size = 2 + random_below(&r, 10)};
        double beta = pow(10.0, random_between(&r, -3.0, 1.0));
        for (int32_t penalty = GRPOALIGN_PENALTY_REVERSE_KL; penalty <= GRPOALIGN_PENALTY_DIRECT_KL;
             penalty++) {
            handles h = open_handles(&context, penalty, log_reference);
            grpoalign_points *points = points_at(&h, beta);
            int64_t count = grpoalign_points_count(points);
            assert_int_equal(grpoalign_points_complete(points), 1);
            assert_true(count >= 1 && (penalty == GRPOALIGN_PENALTY_DIRECT_KL || count == 1));
            solved got = solve_context(&context, penalty, beta, log_reference);
            double policy[6];
            CHECK_OK(grpoalign_solution_policy(
                grpoalign_points_solution(points, grpoalign_points_from_reference(points)), policy,
                n, NULL));
            assert_near(largest_difference(policy, got.policy, n), 0.0, 1e-14);
            assert_int_equal(got.report.unique, count == 1);
            for (int64_t k = 0; k < count; k++) {
                CHECK_OK(grpoalign_solution_policy(grpoalign_points_solution(points, k), policy, n,
                                                   NULL));
                assert_near(plain_residual(&context, penalty, beta, log_reference, policy), 0.0,
                            1e-9);
            }
            solved_free(&got);
            grpoalign_points_free(points);
            close_handles(&h);
        }
    }
}

/* The search for games against the proof for one unknown: two levels whose expectations are asked
 * of the quadrature. */
static void the_search_finds_what_is_proved(void **state)
{
    (void)state;
    randomness r = random_start(63);
    int missed = 0, wanted = 0, found_folds = 0, all_folds = 0;
    for (int i = 0; i < 12 * test_scale(); i++) {
        double p = pow(10.0, random_between(&r, -4.0, -0.5)),
               log_reference[2] = {log1p(-p), log(p)};
        double beta = pow(10.0, random_between(&r, -0.6, 0.3));
        int64_t size = 16 + random_below(&r, 100);
        handles h = binary(size, p, GRPOALIGN_PENALTY_DIRECT_KL);
        grpoalign_points *proved = points_at(&h, beta);
        handles game = h;
        grpoalign_reward_options options;
        grpoalign_reward_options_init(&options, sizeof options);
        options.expectation = GRPOALIGN_EXPECTATION_QUADRATURE;
        CHECK_OK(grpoalign_model_new_group(BINARY, 2, size, &options, &game.model, NULL));
        grpoalign_points *searched = points_at(&game, beta);
        assert_int_equal(grpoalign_points_complete(searched), 0);
        for (int64_t k = 0; k < grpoalign_points_count(proved); k++) {
            double nearest = INFINITY;
            for (int64_t l = 0; l < grpoalign_points_count(searched); l++) {
                nearest = fmin(nearest, fabs(success_of(searched, l) - success_of(proved, k)));
            }
            wanted++;
            missed += nearest > 1e-10;
        }
        assert_true(grpoalign_points_count(searched) <= grpoalign_points_count(proved));
        assert_near(success_of(searched, grpoalign_points_from_reference(searched)),
                    success_of(proved, 0), 1e-10);
        double betas[8], traced[8];
        int complete;
        int64_t count = folds_of(&h, 0.05, 10.0, betas, 8, &complete);
        int64_t count_traced = folds_of(&game, 0.05, 10.0, traced, 8, &complete);
        assert_int_equal(complete, 0);
        assert_true(count_traced <= count);
        for (int64_t k = 0; k < count_traced; k++) {
            assert_near(traced[k] / betas[k], 1.0, 1e-12);
        }
        found_folds += (int)count_traced;
        all_folds += (int)count;
        grpoalign_model_free(game.model);
        grpoalign_points_free(proved);
        grpoalign_points_free(searched);
        close_handles(&h);
        (void)log_reference;
    }
    print_message("# the search found %d of %d stationary policies and %d of %d folds\n",
                  wanted - missed, wanted, found_folds, all_folds);
    assert_true(missed == 0);
    assert_true(found_folds == all_folds && all_folds > 10);
}

/* Games of more levels: whatever is listed is stationary, and the connected one is solve's. */
static void the_point_from_the_reference_is_that_of_solve(void **state)
{
    (void)state;
    randomness r = random_start(64);
    int several = 0;
    for (int i = 0; i < 30 * test_scale(); i++) {
        double rewards[5], log_reference[5];
        int64_t n = 3 + random_below(&r, 3);
        random_rewards(&r, REWARDS_UNIFORM, n, rewards);
        for (int64_t o = 0; o < n; o++) {
            log_reference[o] = random_between(&r, -6.0, 0.0);
        }
        plain_context context = {.n = n, .rewards = rewards, .group_size = 3 + random_below(&r, 4)};
        double beta = pow(10.0, random_between(&r, -1.5, 0.5));
        for (int32_t penalty = GRPOALIGN_PENALTY_REVERSE_KL; penalty <= GRPOALIGN_PENALTY_DIRECT_KL;
             penalty++) {
            handles h = open_handles(&context, penalty, log_reference);
            grpoalign_points *points = points_at(&h, beta);
            solved got = solve_context(&context, penalty, beta, log_reference);
            int64_t from = grpoalign_points_from_reference(points);
            double policy[5];
            assert_true(from >= 0 && got.status >= 0);
            CHECK_OK(grpoalign_solution_policy(grpoalign_points_solution(points, from), policy, n,
                                               NULL));
            assert_near(largest_difference(policy, got.policy, n), 0.0, 1e-10);
            for (int64_t k = 0; k < grpoalign_points_count(points); k++) {
                CHECK_OK(grpoalign_solution_policy(grpoalign_points_solution(points, k), policy, n,
                                                   NULL));
                assert_near(plain_residual(&context, penalty, beta, log_reference, policy), 0.0,
                            1e-9);
            }
            several += grpoalign_points_count(points) > 1;
            if (penalty == GRPOALIGN_PENALTY_REVERSE_KL) {
                assert_int_equal(grpoalign_points_count(points), 1);
            }
            solved_free(&got);
            grpoalign_points_free(points);
            close_handles(&h);
        }
    }
    print_message("# %d games with several stationary policies\n", several);
}

/* Where games have several stationary policies: Newton and the flow from many more starts find none
 * that is not listed. */
static void no_start_leads_to_a_point_that_is_not_listed(void **state)
{
    (void)state;
    enum { N = 3, STARTS = 20, GAMES = 8 };
    randomness r = random_start(66);
    int several = 0, listed = 0;
    for (int i = 0; i < GAMES * test_scale(); i++) {
        double rewards[N] = {0.0, random_between(&r, 0.2, 0.8), 1.0}, log_reference[N];
        for (int64_t o = 0; o < N; o++) {
            log_reference[o] = o == 0 ? 0.0 : random_between(&r, -6.0, -1.5);
        }
        plain_context context = {
            .n = N, .rewards = rewards, .group_size = 32 + random_below(&r, 65)};
        handles h = open_handles(&context, GRPOALIGN_PENALTY_DIRECT_KL, log_reference);
        double beta = random_between(&r, 0.35, 0.8);
        grpoalign_points *points = points_at(&h, beta);
        int64_t count = grpoalign_points_count(points);
        double found[16][N];
        assert_true(count >= 1 && count <= 16);
        for (int64_t k = 0; k < count; k++) {
            CHECK_OK(
                grpoalign_solution_policy(grpoalign_points_solution(points, k), found[k], N, NULL));
            grpoalign_report report = report_of(points, k);
            assert_true(report.residual < 1e-10 && report.beta == beta);
            for (int64_t l = 0; l < k; l++) {
                assert_true(largest_difference(found[k], found[l], N) > 1e-8);
            }
        }
        several += count > 1;
        listed += (int)count;
        for (int j = 0; j < STARTS; j++) {
            double start[N];
            grpoalign_solve_options options;
            grpoalign_solve_options_init(&options, sizeof options);
            random_policy(&r, N, start);
            options.start = start;
            options.start_count = N;
            solved got =
                solve_model(h.model, GRPOALIGN_PENALTY_DIRECT_KL, beta, log_reference, &options);
            assert_in_range(got.status, GRPOALIGN_OK, GRPOALIGN_NOT_CONVERGED);
            double nearest = INFINITY;
            for (int64_t k = 0; k < count; k++) {
                nearest = fmin(nearest, largest_difference(found[k], got.policy, N));
            }
            if (got.status != GRPOALIGN_NOT_CONVERGED && !(nearest < 1e-7)) {
                fail_msg("a start leads to (%.6f, %.6f, %.6f), %g from all that is listed",
                         got.policy[0], got.policy[1], got.policy[2], nearest);
            }
            solved_free(&got);
        }
        grpoalign_points_free(points);
        close_handles(&h);
    }
    print_message("# %d of %d games have several stationary policies, %d in all\n", several,
                  GAMES * test_scale(), listed);
    assert_true(several > 2);
}

/* The policy that training reaches from pi_ref and all others, at a beta beside a fold. */
static int64_t count_beside_fold(const handles *h, double beta)
{
    grpoalign_points *points = points_at(h, beta);
    int64_t count = grpoalign_points_count(points);
    for (int64_t k = 0; k < count; k++) {
        assert_true(report_of(points, k).residual < 2e-13);
    }
    int64_t from = grpoalign_points_from_reference(points);
    assert_true(from >= 0 && report_of(points, from).stable == 1);
    grpoalign_points_free(points);
    return count;
}

/* Games of three levels: folds against 40 digits, and two points more on one side of each than on
 * the other, however near. */
static void folds_of_games_agree_with_40_digits(void **state)
{
    (void)state;
    enum { N = 3 };
    /* By enumeration of the groups in 40 digits: stationarity and a singular Jacobian. */
    static const struct {
        double rewards[N], reference[N];
        int64_t group_size;
        double folds[3];
    } cases[] = {
        {{0.0, 0.024359204216691747, 1.0},
         {0.9473312076838349, 0.04800222786779666, 0.004666564448368231},
         32,
         {0.3439315737183046514, 0.51777292232280963467, 0.0}},
        {{0.0, 0.9308912730921685, 1.0},
         {0.9896228447797975, 0.010267508544079214, 0.00010964667612322635},
         64,
         {0.39967387049358414234, 0.71079471189275135191, 0.40106575189222644908}},
        {{0.0, 0.830035693274327, 1.0},
         {0.9857129336166789, 0.013269977260418144, 0.001017089122902802},
         64,
         {0.0, 0.594472749453788743, 0.0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double log_reference[N], betas[8];
        int complete;
        for (int64_t o = 0; o < N; o++) {
            log_reference[o] = log(cases[i].reference[o]);
        }
        plain_context context = {
            .n = N, .rewards = cases[i].rewards, .group_size = cases[i].group_size};
        handles h = open_handles(&context, GRPOALIGN_PENALTY_DIRECT_KL, log_reference);
        int64_t count = folds_of(&h, 0.15, 1.6, betas, 8, &complete);
        /* By default the nearest distance, and for one case one that is further away. */
        int all = test_scale() > 1;
        double start = i == 0 ? 1e-5 : all ? 1e-8 : 1e-11, step = i > 0 ? 1e-3 : all ? 1e-2 : 1e-6;
        for (int64_t k = 0; k < 3; k++) {
            if (cases[i].folds[k] == 0.0) {
                continue;
            }
            assert_true(k < count);
            assert_near(betas[k] / cases[i].folds[k], 1.0, 1e-13);
            for (double near = start; near > 1e-12; near *= step) {
                int64_t above = count_beside_fold(&h, betas[k] * (1.0 + near));
                int64_t below = count_beside_fold(&h, betas[k] * (1.0 - near));
                if (llabs(above - below) != 2) {
                    fail_msg("%lld above and %lld below the fold at %.17g, %g from it",
                             (long long)above, (long long)below, betas[k], near);
                }
            }
        }
        close_handles(&h);
    }
}

/* Points of a curve are stationary, near their neighbours, and cut every beta as often as there are
 * stationary policies. */
static void check_curve(const handles *h, int64_t n, double low, double high, double resolution,
                        int strict)
{
    grpoalign_points *curve = NULL;
    CHECK_OK(curve_of_parts(h->model, h->penalty, h->reference, low, high, resolution, NULL, &curve,
                            NULL));
    int64_t count = grpoalign_points_count(curve);
    double *betas = malloc((size_t)(count + 1) * sizeof *betas), before[8], here[8], folds[16];
    int complete, turns = 0;
    assert_true(count >= 2);
    for (int64_t k = 0; k < count; k++) {
        grpoalign_report report = report_of(curve, k);
        betas[k] = report.beta;
        assert_true(report.residual < 1e-9);
        CHECK_OK(grpoalign_solution_policy(grpoalign_points_solution(curve, k), here, n, NULL));
        if (k > 0) {
            assert_true(largest_difference(before, here, n) <= resolution * 1.01);
            assert_true(fabs(log10(betas[k] / betas[k - 1])) <= 10.0 * resolution * 1.01);
        }
        turns += k > 1 && (betas[k] > betas[k - 1]) != (betas[k - 1] > betas[k - 2]) &&
                 betas[k - 1] > low && betas[k - 1] < high;
        memcpy(before, here, sizeof before);
    }
    assert_near(betas[0] / high, 1.0, 1e-11);
    int64_t all = folds_of(h, low, high, folds, 16, &complete);
    assert_int_equal(turns, all);
    for (int j = 1; j < 12; j++) {
        double beta = low * pow(high / low, j / 12.0);
        grpoalign_points *points = points_at(h, beta);
        int64_t cuts = 0;
        for (int64_t k = 1; k < count; k++) {
            cuts += (betas[k] > beta) != (betas[k - 1] > beta);
        }
        if (strict) {
            assert_int_equal(cuts, grpoalign_points_count(points));
        } else {
            assert_true(cuts <= grpoalign_points_count(points));
        }
        grpoalign_points_free(points);
    }
    free(betas);
    grpoalign_points_free(curve);
}

static void curves_cut_every_beta_at_its_points(void **state)
{
    (void)state;
    enum { N = 4 };
    randomness r = random_start(67);
    for (int i = 0; i < 2 * test_scale(); i++) {
        double rewards[N], log_reference[N], margins[N * N];
        for (int64_t o = 0; o < N; o++) {
            rewards[o] = random_uniform(&r);
            log_reference[o] = random_between(&r, -6.0, 0.0);
        }
        random_margins(&r, MARGINS_DENSE, N, margins);
        plain_context contexts[] = {
            {.n = N, .rewards = rewards, .limit = 1},
            {.n = N, .rewards = rewards, .limit = 1, .epsilon = 0.01},
            {.n = 2, .rewards = BINARY, .group_size = 3 + random_below(&r, 60)},
            {.n = N, .margins = margins},
            {.n = N, .rewards = rewards},
            {.n = N, .rewards = rewards, .group_size = 8, .unscaled = 1},
            {.n = N, .rewards = rewards, .group_size = 3 + random_below(&r, 20)},
        };
        for (size_t k = 0; k < sizeof contexts / sizeof *contexts; k++) {
            for (int32_t penalty = GRPOALIGN_PENALTY_REVERSE_KL;
                 penalty <= GRPOALIGN_PENALTY_DIRECT_KL; penalty++) {
                handles h = open_handles(&contexts[k], penalty, log_reference);
                check_curve(&h, contexts[k].n, 0.05, 20.0, i % 2 == 0 ? 0.02 : 0.07, k < 6);
                close_handles(&h);
            }
        }
    }
}

/* A path is solve at each beta. */
static void a_path_is_solve_at_each_beta(void **state)
{
    (void)state;
    enum { STOPS = 25, N = 6 };
    randomness r = random_start(65);
    for (int i = 0; i < 12 * test_scale(); i++) {
        double rewards[N], log_reference[N], betas[STOPS], margins[N * N];
        random_rewards(&r, REWARDS_UNIFORM, N, rewards);
        random_reference(&r, REFERENCE_DIRICHLET, N, log_reference);
        random_margins(&r, MARGINS_DENSE, N, margins);
        plain_context context = {.n = N, .rewards = rewards};
        if (i % 3 == 0) {
            context.rewards = NULL;
            context.margins = margins;
        } else if (i % 3 == 1) {
            context.limit = 1;
        } else {
            context.group_size = 4 + random_below(&r, 20);
        }
        for (int k = 0; k < STOPS; k++) {
            betas[k] = k == 7 ? betas[3] : pow(10.0, random_between(&r, -2.0, 1.5));
        }
        for (int32_t penalty = GRPOALIGN_PENALTY_REVERSE_KL; penalty <= GRPOALIGN_PENALTY_DIRECT_KL;
             penalty++) {
            handles h = open_handles(&context, penalty, log_reference);
            grpoalign_points *path = NULL;
            CHECK_OK(
                path_of_parts(h.model, h.penalty, h.reference, betas, STOPS, NULL, &path, NULL));
            assert_int_equal(grpoalign_points_count(path), STOPS);
            assert_int_equal(grpoalign_points_from_reference(path), -1);
            for (int k = 0; k < STOPS; k++) {
                double policy[N];
                solved got = solve_context(&context, penalty, betas[k], log_reference);
                CHECK_OK(
                    grpoalign_solution_policy(grpoalign_points_solution(path, k), policy, N, NULL));
                assert_near(largest_difference(policy, got.policy, N), 0.0, 1e-10);
                assert_int_equal(report_of(path, k).status, got.status);
                solved_free(&got);
            }
            grpoalign_points_free(path);
            close_handles(&h);
        }
    }
}

/* An outcome too unlikely for a double leaves the stability of the others as it is. */
static void outcomes_that_underflow_leave_stability_alone(void **state)
{
    (void)state;
    static const double rewards[4] = {1.000244446493942, 1.0002178658571586, 1.0689149449227832e-06,
                                      1.0000838905608256};
    static const double variances[4] = {0.0, 0.0, 0.10004868143906398, 0.0};
    const double log_reference[4] = {log(0.08221521772180068), log(0.36108564237004814),
                                     log(0.26360710862440023), log(0.29309203128375083)};
    plain_context context = {
        .n = 4, .rewards = rewards, .variances = variances, .limit = 1, .epsilon = 1e-6};
    handles h = open_handles(&context, GRPOALIGN_PENALTY_DIRECT_KL, log_reference);
    grpoalign_points *points = points_at(&h, 1.633046529664027);
    assert_int_equal(grpoalign_points_count(points), 5);
    for (int64_t k = 0; k < 5; k++) {
        double policy[4];
        CHECK_OK(grpoalign_solution_policy(grpoalign_points_solution(points, k), policy, 4, NULL));
        assert_true(policy[2] == 0.0);
        assert_int_equal(report_of(points, k).stable, k % 2 == 0);
    }
    assert_near(report_of(points, 0).rate, -0.00426131697, 1e-9);
    grpoalign_points_free(points);
    close_handles(&h);
}

/* One outcome is lost, and only eigenvalues tell that the policy of the others attracts: they are
 * those of the outcomes that are left. */
static void stability_is_that_of_the_outcomes_left(void **state)
{
    (void)state;
    const double rewards[] = {0.0, 3.0, 6.0, 7.0};
    const double log_reference[] = {log(0.55), log(0.45), log(0.25), log(0.08)};
    plain_context context = {.n = 4, .rewards = rewards, .group_size = 16};
    handles h = open_handles(&context, GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED, log_reference);
    grpoalign_points *points = points_at(&h, 0.7);
    double policy[4];
    assert_int_equal(grpoalign_points_count(points), 1);
    CHECK_OK(grpoalign_solution_policy(grpoalign_points_solution(points, 0), policy, 4, NULL));
    assert_true(policy[0] == 0.0 && policy[1] > 0.0);
    assert_true(report_of(points, 0).residual < 1e-12);
    grpoalign_points_free(points);
    close_handles(&h);
}

static int32_t stop_later(void *user, const grpoalign_progress *progress)
{
    int *left = user;
    (void)progress;
    return (*left)-- <= 0;
}

/* Whenever a search is told to stop it is cancelled, and nothing else. */
static void a_search_told_to_stop_is_cancelled(void **state)
{
    (void)state;
    const double rewards[] = {0.0, 0.5, 1.0};
    const double log_reference[] = {log(0.6), log(0.3), log(0.1)};
    plain_context context = {.n = 3, .rewards = rewards, .group_size = 8};
    handles h = open_handles(&context, GRPOALIGN_PENALTY_DIRECT_KL, log_reference);
    int left, stopped[3] = {0};
    grpoalign_solve_options options;
    grpoalign_solve_options_init(&options, sizeof options);
    options.progress = stop_later;
    options.user = &left;
    for (int search = 0; search < 3; search++) {
        for (int after = 0;; after += 1 + after / 20) {
            grpoalign_points *points = NULL;
            left = after;
            grpoalign_status status =
                search == 0
                    ? points_of_parts(h.model, h.penalty, h.reference, 0.3, &options, &points, NULL)
                : search == 1 ? folds_of_parts(h.model, h.penalty, h.reference, 0.1, 1.0, &options,
                                               &points, NULL)
                              : curve_of_parts(h.model, h.penalty, h.reference, 0.2, 0.6, 0.02,
                                               &options, &points, NULL);
            grpoalign_points_free(points);
            if (left >= 0) {
                break;
            }
            assert_int_equal(status, GRPOALIGN_ERR_CANCELLED);
            stopped[search]++;
        }
        assert_true(stopped[search] > 10);
    }
    close_handles(&h);
}

static void bad_arguments_of_points_are_named(void **state)
{
    (void)state;
    handles h = binary(8, 0.3, GRPOALIGN_PENALTY_DIRECT_KL);
    grpoalign_points *points = (grpoalign_points *)&h;
    grpoalign_error error;
    double beta[2] = {1.0, -1.0}, out = 5.0;
    assert_int_equal(points_of_parts(NULL, h.penalty, h.reference, 1.0, NULL, &points, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_null(points);
    assert_int_equal(error.argument, 1);
    assert_int_equal(points_of_parts(h.model, h.penalty, h.reference, 0.0, NULL, &points, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.argument, 2);
    assert_int_equal(points_of_parts(h.model, h.penalty, h.reference, 1.0, NULL, NULL, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(path_of_parts(h.model, h.penalty, h.reference, beta, 2, NULL, &points, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.index, 1);
    assert_non_null(strstr(error.message, "betas[1]"));
    assert_int_equal(path_of_parts(h.model, h.penalty, h.reference, beta, 0, NULL, &points, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(
        folds_of_parts(h.model, h.penalty, h.reference, 0.0, 1.0, NULL, &points, &error),
        GRPOALIGN_ERR_ARGUMENT);
    assert_non_null(strstr(error.message, "low"));
    assert_int_equal(
        folds_of_parts(h.model, h.penalty, h.reference, 2.0, 1.0, NULL, &points, &error),
        GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.argument, 3);
    assert_int_equal(
        folds_of_parts(h.model, h.penalty, h.reference, 1.0, INFINITY, NULL, &points, &error),
        GRPOALIGN_ERR_NOT_FINITE);
    assert_int_equal(folds_of_parts(h.model, h.penalty, h.reference, 1.0, 2.0, NULL, NULL, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    for (double resolution = -0.5; resolution < 2.0; resolution += 2.0) {
        assert_int_equal(curve_of_parts(h.model, h.penalty, h.reference, 1.0, 2.0, resolution, NULL,
                                        &points, &error),
                         GRPOALIGN_ERR_ARGUMENT);
        assert_int_equal(error.argument, 4);
    }
    assert_null(points);
    CHECK_OK(folds_of_parts(h.model, h.penalty, h.reference, 1.0, 2.0, NULL, &points, &error));
    assert_int_equal(grpoalign_points_count(points), 0);
    grpoalign_points_free(points);
    assert_int_equal(critical_beta_of_parts(h.model, NULL, h.reference, &out, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_true(out == 5.0);
    assert_int_equal(grpoalign_points_count(NULL), 0);
    assert_int_equal(grpoalign_points_from_reference(NULL), -1);
    assert_null(grpoalign_points_solution(NULL, 0));
    grpoalign_points_free(NULL);
    close_handles(&h);
}

/* Under chi-squared an outcome can be emptied. There the curve has a corner, around which rounding
 * turns it this way and that: no fold. */
static void a_corner_is_no_fold(void **state)
{
    (void)state;
    static const double REWARDS[] = {0.0, 1.0}, SHARES[] = {0.25, 0.5, 0.95};
    static const int64_t SIZES[] = {64, 128, 512};
    for (int k = 0; k < 9; k++) {
        double logs[] = {log(SHARES[k / 3]), log(1.0 - SHARES[k / 3])};
        plain_context c = {.n = 2, .rewards = REWARDS, .group_size = SIZES[k % 3]};
        handles h = open_handles(&c, GRPOALIGN_PENALTY_CHI_SQUARED, logs);
        grpoalign_points *folds;
        CHECK_OK(folds_of_parts(h.model, h.penalty, h.reference, 1e-3, 1e3, NULL, &folds, NULL));
        assert_int_equal(grpoalign_points_count(folds), 1);
        assert_int_equal(grpoalign_points_complete(folds), 1);
        if (k == 0) {
            grpoalign_report report = {.struct_size = sizeof report};
            CHECK_OK(grpoalign_solution_report(grpoalign_points_solution(folds, 0), &report, NULL));
            assert_near(report.beta, 3.9355432611158396, 1e-9);
        }
        grpoalign_points_free(folds);
        close_handles(&h);
    }
}

/* Close to a fold rounding moves the policy far: the status says so, and that there are others. */
static void beside_a_fold_the_accuracy_is_limited(void **state)
{
    (void)state;
    static const double REWARDS[] = {0.0, 1.0}, FOLD = 0.67934707065891;
    double logs[] = {log(0.9), log(0.1)};
    plain_context c = {.n = 2, .rewards = REWARDS, .group_size = 32};
    for (int k = 4; k < 12; k++) {
        double away = pow(10.0, -k);
        solved s = solve_context(&c, GRPOALIGN_PENALTY_DIRECT_KL, FOLD * (1.0 + away), logs);
        assert_int_equal(s.status, s.report.policy_error > 1e-11 ? GRPOALIGN_ACCURACY_LIMITED
                                                                 : GRPOALIGN_NOT_UNIQUE);
        assert_int_equal(s.report.unique, 0);
        assert_true(k < 10 || s.status == GRPOALIGN_ACCURACY_LIMITED);
        assert_true(k > 6 || s.status == GRPOALIGN_NOT_UNIQUE);
        solved_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_of_known_binary_groups_are_all_found),
        cmocka_unit_test(every_sign_change_on_a_grid_is_a_point),
        cmocka_unit_test(two_points_meet_at_every_fold),
        cmocka_unit_test(points_of_random_successes_are_stationary_and_counted),
        cmocka_unit_test(the_search_finds_what_is_proved),
        cmocka_unit_test(the_point_from_the_reference_is_that_of_solve),
        cmocka_unit_test(no_start_leads_to_a_point_that_is_not_listed),
        cmocka_unit_test(folds_of_games_agree_with_40_digits),
        cmocka_unit_test(curves_cut_every_beta_at_its_points),
        cmocka_unit_test(a_path_is_solve_at_each_beta),
        cmocka_unit_test(outcomes_that_underflow_leave_stability_alone),
        cmocka_unit_test(stability_is_that_of_the_outcomes_left),
        cmocka_unit_test(a_search_told_to_stop_is_cancelled),
        cmocka_unit_test(bad_arguments_of_points_are_named),
        cmocka_unit_test(a_corner_is_no_fold),
        cmocka_unit_test(beside_a_fold_the_accuracy_is_limited),
    };
    return run_chosen(tests);
}
