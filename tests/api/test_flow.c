/* The training flow: against small explicit steps in long double, its ends, and its states. */
#include "check.h"

static grpoalign_flow *flow_of(const handles *h, double beta, const grpoalign_flow_options *options,
                               grpoalign_status expected)
{
    grpoalign_flow *flow = NULL;
    grpoalign_error error;
    grpoalign_status status =
        flow_of_parts(h->model, h->penalty, h->reference, beta, options, &flow, &error);
    if (status != expected) {
        fail_msg("status %d instead of %d: %s", status, expected, status < 0 ? error.message : "");
    }
    return flow;
}

static grpoalign_flow_state state_of(const grpoalign_flow *flow, int64_t k)
{
    grpoalign_flow_state state = {.struct_size = sizeof state};
    CHECK_OK(grpoalign_flow_state_at(flow, k, &state, NULL));
    return state;
}

enum { MOST = 5 };

/* d theta / dt by its definition. */
static void plain_velocity(const plain_context *c, int32_t penalty, double beta,
                           const long double *log_reference, const long double *theta,
                           long double *velocity)
{
    long double top = -INFINITY, total = 0.0L, u[MOST], value[MOST], mean = 0.0L;
    double policy[MOST];
    for (int64_t o = 0; o < c->n; o++) {
        top = fmaxl(top, theta[o]);
    }
    for (int64_t o = 0; o < c->n; o++) {
        total += expl(theta[o] - top);
    }
    for (int64_t o = 0; o < c->n; o++) {
        policy[o] = (double)(expl(theta[o] - top) / total);
    }
    plain_advantage(c, policy, u);
    for (int64_t o = 0; o < c->n; o++) {
        long double log_ratio = theta[o] - top - logl(total) - log_reference[o];
        long double slack = penalty == GRPOALIGN_PENALTY_REVERSE_KL ? expl(-log_ratio) : -log_ratio;
        value[o] = u[o] + (long double)beta * slack;
        mean += (long double)policy[o] * value[o];
    }
    for (int64_t o = 0; o < c->n; o++) {
        velocity[o] = (long double)policy[o] * (value[o] - mean);
    }
}

/* The policy at a time, by classical Runge-Kutta steps. */
static void plain_flow(const plain_context *c, int32_t penalty, double beta,
                       const double *log_reference, double time, int steps, double *policy)
{
    long double log_prior[MOST], theta[MOST], k[4][MOST], at[MOST], total = 0.0L,
                                                                    h = (long double)time / steps;
    for (int64_t o = 0; o < c->n; o++) {
        total += expl((long double)log_reference[o]);
    }
    for (int64_t o = 0; o < c->n; o++) {
        theta[o] = log_prior[o] = (long double)log_reference[o] - logl(total);
    }
    for (int i = 0; i < steps; i++) {
        static const long double ahead[] = {0.0L, 0.5L, 0.5L, 1.0L},
                                 weight[] = {1.0L, 2.0L, 2.0L, 1.0L};
        for (int stage = 0; stage < 4; stage++) {
            for (int64_t o = 0; o < c->n; o++) {
                at[o] = theta[o] + (stage > 0 ? ahead[stage] * h * k[stage - 1][o] : 0.0L);
            }
            plain_velocity(c, penalty, beta, log_prior, at, k[stage]);
        }
        for (int stage = 0; stage < 4; stage++) {
            for (int64_t o = 0; o < c->n; o++) {
                theta[o] += h / 6.0L * weight[stage] * k[stage][o];
            }
        }
    }
    total = 0.0L;
    for (int64_t o = 0; o < c->n; o++) {
        total += expl(theta[o]);
    }
    for (int64_t o = 0; o < c->n; o++) {
        policy[o] = (double)(expl(theta[o]) / total);
    }
}

static plain_context random_context(randomness *r, int kind, double *rewards, double *margins,
                                    double *logs)
{
    int64_t n = 2 + random_below(r, MOST - 1);
    random_rewards(r, REWARDS_UNIFORM, n, rewards);
    for (int64_t o = 0; o < n; o++) {
        logs[o] = random_between(r, -5.0, 0.0);
    }
    plain_context c = {.n = n, .rewards = rewards};
    if (kind == 0) {
        random_margins(r, MARGINS_DENSE, n, margins);
        c.rewards = NULL;
        c.margins = margins;
    } else if (kind == 1) {
        c.limit = 1;
        c.epsilon = random_below(r, 2) ? 0.0 : 0.1;
    } else if (kind == 2) {
        c.group_size = 2 + random_below(r, 4);
        c.epsilon = 0.05;
    } else if (kind == 3) {
        c.group_size = 3 + random_below(r, 3);
        c.unscaled = 1;
    }
    return c;
}

static void the_flow_agrees_with_small_steps(void **state)
{
    (void)state;
    randomness r = random_start(70);
    double worst = 0.0;
    for (int i = 0; i < 40 * test_scale(); i++) {
        double rewards[MOST], margins[MOST * MOST], logs[MOST], expected[MOST], got[MOST];
        plain_context c = random_context(&r, i % 5, rewards, margins, logs);
        double beta = pow(10.0, random_between(&r, -1.5, 0.5)),
               time = pow(10.0, random_between(&r, -1.0, 1.5));
        for (int32_t penalty = GRPOALIGN_PENALTY_REVERSE_KL; penalty <= GRPOALIGN_PENALTY_DIRECT_KL;
             penalty++) {
            handles h = open_handles(&c, penalty, logs);
            grpoalign_flow_options options;
            grpoalign_flow_options_init(&options, sizeof options);
            options.end_time = time;
            options.tolerance = 1e-8;
            grpoalign_flow *flow = NULL;
            grpoalign_status status =
                flow_of_parts(h.model, h.penalty, h.reference, beta, &options, &flow, NULL);
            assert_in_range(status, GRPOALIGN_OK, GRPOALIGN_NOT_CONVERGED);
            int64_t last = grpoalign_flow_count(flow) - 1;
            if (status == GRPOALIGN_NOT_CONVERGED) {
                assert_near(state_of(flow, last).time / time, 1.0, 1e-12);
                assert_null(grpoalign_flow_end(flow));
            }
            CHECK_OK(grpoalign_flow_policy_at(flow, last, got, c.n, NULL));
            plain_flow(&c, penalty, beta, logs, state_of(flow, last).time, 400, expected);
            worst = fmax(worst, largest_difference(expected, got, c.n));
            assert_near(largest_difference(expected, got, c.n), 0.0, 2e-6);
            grpoalign_flow_free(flow);
            close_handles(&h);
        }
    }
    print_message("# largest difference from small steps %.1e\n", worst);
}

/* The order of the method: the error falls with the tolerance as its fourth root says. */
static void the_error_falls_as_the_order_says(void **state)
{
    (void)state;
    static const double rewards[3] = {0.0, 0.4, 1.0}, logs[3] = {-0.3, -1.8, -2.7};
    plain_context c = {.n = 3, .rewards = rewards, .limit = 1, .epsilon = 0.1};
    handles h = open_handles(&c, GRPOALIGN_PENALTY_REVERSE_KL, logs);
    double errors[3], expected[3], got[3];
    int64_t steps[3];
    plain_flow(&c, GRPOALIGN_PENALTY_REVERSE_KL, 0.3, logs, 12.0, 20000, expected);
    for (int i = 0; i < 3; i++) {
        grpoalign_flow_options options;
        grpoalign_flow_options_init(&options, sizeof options);
        options.end_time = 12.0;
        options.tolerance = pow(10.0, -6.0 - 2.0 * i);
        grpoalign_flow *flow = flow_of(&h, 0.3, &options, GRPOALIGN_NOT_CONVERGED);
        steps[i] = grpoalign_flow_count(flow) - 1;
        CHECK_OK(grpoalign_flow_policy_at(flow, steps[i], got, 3, NULL));
        errors[i] = largest_difference(expected, got, 3);
        grpoalign_flow_free(flow);
    }
    print_message("# errors %.1e %.1e %.1e in %lld, %lld, %lld steps\n", errors[0], errors[1],
                  errors[2], (long long)steps[0], (long long)steps[1], (long long)steps[2]);
    /* error ~ steps^-4 (at least 3.5 here, where rounding is far) */
    assert_true(log(errors[0] / errors[2]) > 3.5 * log((double)steps[2] / (double)steps[0]));
    assert_true(errors[2] < 1e-9);
    close_handles(&h);
}

/* Where there is one stationary policy the flow ends there, wherever it starts; its states belong
 * together. */
static void the_flow_ends_at_the_one_stationary_policy(void **state)
{
    (void)state;
    randomness r = random_start(71);
    for (int i = 0; i < 60 * test_scale(); i++) {
        double rewards[MOST], margins[MOST * MOST], logs[MOST], start[MOST], policy[MOST];
        plain_context c = random_context(&r, i % 5, rewards, margins, logs);
        double beta = pow(10.0, random_between(&r, -2.0, 1.0));
        handles h = open_handles(&c, GRPOALIGN_PENALTY_REVERSE_KL, logs);
        solved one = solve_context(&c, GRPOALIGN_PENALTY_REVERSE_KL, beta, logs);
        for (int from = 0; from < 2; from++) {
            grpoalign_flow_options options;
            grpoalign_flow_options_init(&options, sizeof options);
            double sum = 0.0;
            for (int64_t o = 0; o < c.n; o++) {
                sum += start[o] = 1e-4 + random_uniform(&r);
            }
            for (int64_t o = 0; o < c.n; o++) {
                start[o] /= sum;
            }
            options.start = from > 0 ? start : NULL;
            options.start_count = from > 0 ? c.n : 0;
            grpoalign_flow *flow = flow_of(&h, beta, &options, GRPOALIGN_OK);
            CHECK_OK(grpoalign_solution_policy(grpoalign_flow_end(flow), policy, c.n, NULL));
            assert_near(largest_difference(policy, one.policy, c.n), 0.0, 1e-10);
            int64_t count = grpoalign_flow_count(flow);
            CHECK_OK(grpoalign_flow_policy_at(flow, count - 1, start, c.n, NULL));
            assert_near(largest_difference(policy, start, c.n), 0.0, 1e-6);
            grpoalign_report report = {.struct_size = sizeof report};
            CHECK_OK(grpoalign_solution_report(grpoalign_flow_end(flow), &report, NULL));
            assert_int_equal(report.stable, 1);
            assert_true(c.n == 1 || report.rate < 0.0);
            assert_int_equal(report.method, GRPOALIGN_METHOD_FLOW);
            double before = -1.0;
            for (int64_t k = 0; k < count; k++) {
                grpoalign_flow_state s = state_of(flow, k);
                assert_true(s.time > before && s.speed >= 0.0 && s.entropy >= 0.0 &&
                            s.entropy <= log((double)c.n) + 1e-12);
                before = s.time;
                double here[MOST], kl = 0.0, reward = 0.0, total = 0.0;
                CHECK_OK(grpoalign_flow_policy_at(flow, k, here, c.n, NULL));
                for (int64_t o = 0; o < c.n; o++) {
                    total += exp(logs[o]);
                }
                for (int64_t o = 0; o < c.n; o++) {
                    kl += here[o] * (log(here[o]) - logs[o] + log(total));
                    reward += c.rewards != NULL ? here[o] * c.rewards[o] : 0.0;
                }
                assert_near(s.kl_policy_ref, kl, 1e-12);
                assert_true(c.rewards == NULL ? isnan(s.expected_reward)
                                              : fabs(s.expected_reward - reward) < 1e-12);
            }
            grpoalign_flow_free(flow);
        }
        solved_free(&one);
        close_handles(&h);
    }
}

/* Two points attract, one between them repels: which one depends on the start. Below the critical
 * beta all goes. */
static void the_start_decides_between_several_ends(void **state)
{
    (void)state;
    static const double rewards[2] = {0.0, 1.0};
    const double logs[2] = {log(0.9), log(0.1)};
    plain_context group = {.n = 2, .rewards = rewards, .group_size = 32};
    plain_context limit = {.n = 2, .rewards = rewards, .limit = 1};
    handles h = open_handles(&group, GRPOALIGN_PENALTY_DIRECT_KL, logs);
    static const double from[] = {0.02, 0.1, 0.87, 0.88, 0.9999},
                        to[] = {0.7065, 0.7065, 0.7065, 0.99589, 0.99589};
    for (int i = 0; i < 5; i++) {
        double start[2] = {1.0 - from[i], from[i]}, policy[2];
        grpoalign_flow_options options;
        grpoalign_flow_options_init(&options, sizeof options);
        options.start = start;
        options.start_count = 2;
        grpoalign_flow *flow = flow_of(&h, 0.7, &options, GRPOALIGN_OK);
        CHECK_OK(grpoalign_solution_policy(grpoalign_flow_end(flow), policy, 2, NULL));
        assert_near(policy[1], to[i], 1e-4);
        grpoalign_flow_free(flow);
    }
    /* On the point that repels it stays, and says that it repels. */
    grpoalign_points *points = NULL;
    CHECK_OK(points_of_parts(h.model, h.penalty, h.reference, 0.7, NULL, &points, NULL));
    double middle[2], policy[2];
    CHECK_OK(grpoalign_solution_policy(grpoalign_points_solution(points, 1), middle, 2, NULL));
    grpoalign_flow_options options;
    grpoalign_flow_options_init(&options, sizeof options);
    options.start = middle;
    options.start_count = 2;
    grpoalign_flow *flow = flow_of(&h, 0.7, &options, GRPOALIGN_OK);
    CHECK_OK(grpoalign_solution_policy(grpoalign_flow_end(flow), policy, 2, NULL));
    grpoalign_report report = {.struct_size = sizeof report};
    CHECK_OK(grpoalign_solution_report(grpoalign_flow_end(flow), &report, NULL));
    assert_true(report.stable == 0 ? fabs(policy[1] - middle[1]) < 1e-9 && report.rate > 0.0
                                   : report.stable == 1);
    grpoalign_flow_free(flow);
    grpoalign_points_free(points);
    close_handles(&h);

    h = open_handles(&limit, GRPOALIGN_PENALTY_DIRECT_KL, logs);
    flow = flow_of(&h, 0.3, NULL, GRPOALIGN_COLLAPSED);
    CHECK_OK(grpoalign_solution_policy(grpoalign_flow_end(flow), policy, 2, NULL));
    assert_true(policy[1] == 1.0);
    grpoalign_flow_free(flow);
    flow = flow_of(&h, 1.0, NULL, GRPOALIGN_OK);
    CHECK_OK(grpoalign_solution_policy(grpoalign_flow_end(flow), policy, 2, NULL));
    assert_near(policy[1], 0.45305141925485372, 1e-12);
    grpoalign_flow_free(flow);
    close_handles(&h);
}

/* Where the worse outcomes have nearly gone but a stationary policy keeps them, the flow ends
 * there: the best outcomes have to find their shares first. From near the boundary it comes back.
 */
static void the_flow_ends_where_worse_outcomes_nearly_go(void **state)
{
    (void)state;
    static const double rewards[5] = {0.0, 0.0, 0.0, 1.0, 1.0};
    const double logs[5] = {log(0.3), log(0.3), log(0.228125), log(0.1640625), log(0.0078125)};
    static const struct {
        double beta, epsilon;
        int64_t size;
        int32_t penalty;
    } cases[] = {{0.05, 0.0, 8, GRPOALIGN_PENALTY_DIRECT_KL},
                 {0.05, 0.2, 0, GRPOALIGN_PENALTY_DIRECT_KL},
                 {1.5, 0.0, 0, GRPOALIGN_PENALTY_REVERSE_KL},
                 {2.0, 0.0, 8, GRPOALIGN_PENALTY_DIRECT_KL}};
    for (int i = 0; i < 4; i++) {
        plain_context c = {.n = 5,
                           .rewards = rewards,
                           .group_size = cases[i].size,
                           .limit = cases[i].size == 0,
                           .epsilon = cases[i].epsilon};
        handles h = open_handles(&c, cases[i].penalty, logs);
        solved one = solve_context(&c, cases[i].penalty, cases[i].beta, logs);
        static const double start[5] = {1e-13, 1e-13, 1e-13, 0.9, 0.1 - 3e-13};
        for (int from = 0; from < 2; from++) {
            grpoalign_flow_options options;
            grpoalign_flow_options_init(&options, sizeof options);
            options.start = from == 0 ? NULL : start;
            options.start_count = from == 0 ? 0 : 5;
            grpoalign_flow *flow = flow_of(&h, cases[i].beta, &options, GRPOALIGN_OK);
            double policy[5];
            CHECK_OK(grpoalign_solution_policy(grpoalign_flow_end(flow), policy, 5, NULL));
            assert_near(largest_difference(policy, one.policy, 5), 0.0, 1e-12);
            assert_true(policy[0] > 0.0);
            grpoalign_flow_free(flow);
        }
        solved_free(&one);
        close_handles(&h);
    }
}

/* Three outcomes, the flow leaves the ray of stationary policies; probabilities far apart;
 * unsupported outcomes stay out. */
static void a_stiff_flow_ends_at_the_stationary_policy(void **state)
{
    (void)state;
    static const double rewards[4] = {0.0, 0.5, 1.0, 2.0};
    const double logs[4] = {0.0, -12.0, -25.0, -INFINITY};
    plain_context c = {.n = 4, .rewards = rewards, .group_size = 8};
    handles h = open_handles(&c, GRPOALIGN_PENALTY_REVERSE_KL, logs);
    solved one = solve_context(&c, GRPOALIGN_PENALTY_REVERSE_KL, 0.05, logs);
    grpoalign_flow *flow = flow_of(&h, 0.05, NULL, GRPOALIGN_OK);
    double policy[4];
    CHECK_OK(grpoalign_solution_policy(grpoalign_flow_end(flow), policy, 4, NULL));
    assert_near(largest_difference(policy, one.policy, 4), 0.0, 1e-10);
    int64_t count = grpoalign_flow_count(flow);
    assert_true(count < 1000 && state_of(flow, count - 1).time > 1e6);
    for (int64_t k = 0; k < count; k++) {
        CHECK_OK(grpoalign_flow_policy_at(flow, k, policy, 4, NULL));
        assert_true(policy[3] == 0.0);
    }
    print_message("# %lld steps to time %.1e\n", (long long)count, state_of(flow, count - 1).time);
    grpoalign_flow_free(flow);
    solved_free(&one);
    close_handles(&h);
}

static int32_t stop_at_five(void *user, const grpoalign_progress *progress)
{
    *(int *)user = progress->iteration;
    return progress->iteration >= 5;
}

/*
 * Outcomes with one reward have one advantage, but a rare one moves more slowly, and under the
 * squared log ratio it can be left behind so far that it falls for ever while the others of its
 * class gain. The end knows that.
 */
static void a_rare_outcome_is_lost_alone(void **state)
{
    (void)state;
    static const double REWARDS[] = {2.0, 2.0, 2.0, 1.0},
                        REFERENCE[] = {0.5664694804827191, 0.0019269423099858277,
                                       0.2688318924207624, 0.16277168478653267};
    double logs[4], last[4], end[4];
    grpoalign_model *model;
    grpoalign_penalty *penalty;
    grpoalign_reference *reference;
    for (int o = 0; o < 4; o++) {
        logs[o] = log(REFERENCE[o]);
    }
    CHECK_OK(grpoalign_model_new_group(REWARDS, 4, 8, NULL, &model, NULL));
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_SQUARED_LOG_RATIO, NULL, &penalty, NULL));
    CHECK_OK(grpoalign_reference_new_log(logs, 4, NULL, &reference, NULL));
    handles h = {model, penalty, reference};
    grpoalign_flow *flow = flow_of(&h, 1.8490536321986577, NULL, GRPOALIGN_OK);
    int64_t steps = grpoalign_flow_count(flow) - 1;
    CHECK_OK(grpoalign_flow_policy_at(flow, steps, last, 4, NULL));
    CHECK_OK(grpoalign_solution_policy(grpoalign_flow_end(flow), end, 4, NULL));
    assert_true(last[1] / REFERENCE[1] < 0.01); /* far below exp(-1), where it would turn back */
    assert_near(end[1], 0.0, 0.0);
    assert_near(end[3], 0.0, 0.0);
    assert_near(end[0], REFERENCE[0] / (REFERENCE[0] + REFERENCE[2]), 1e-15);
    assert_near(largest_difference(end, last, 4), 0.0, 1e-5);
    grpoalign_flow_free(flow);
    close_handles(&h);
}

static void bad_arguments_of_a_flow_are_named(void **state)
{
    (void)state;
    static const double rewards[2] = {0.0, 1.0}, logs[2] = {-1.0, -1.0};
    plain_context c = {.n = 2, .rewards = rewards, .group_size = 8};
    handles h = open_handles(&c, GRPOALIGN_PENALTY_REVERSE_KL, logs);
    grpoalign_flow *flow = (grpoalign_flow *)&h;
    grpoalign_error error;
    grpoalign_flow_options options;
    grpoalign_flow_options_init(&options, sizeof options);
    const double zero[2] = {0.0, 1.0};
    options.start = zero;
    options.start_count = 2;
    assert_int_equal(flow_of_parts(h.model, h.penalty, h.reference, 1.0, &options, &flow, &error),
                     GRPOALIGN_ERR_PROBABILITY);
    assert_int_equal(error.index, 0);
    assert_null(flow);
    options.start = NULL;
    options.start_count = 0;
    options.tolerance = 0.5;
    assert_int_equal(flow_of_parts(h.model, h.penalty, h.reference, 1.0, &options, &flow, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    options.tolerance = 0.0;
    options.end_time = -1.0;
    assert_int_equal(flow_of_parts(h.model, h.penalty, h.reference, 1.0, &options, &flow, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    options.end_time = 0.0;
    options.max_steps = -1;
    assert_int_equal(flow_of_parts(h.model, h.penalty, h.reference, 1.0, &options, &flow, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    options.max_steps = 0;
    options.struct_size = 3;
    assert_int_equal(flow_of_parts(h.model, h.penalty, h.reference, 1.0, &options, &flow, &error),
                     GRPOALIGN_ERR_STRUCT_SIZE);
    grpoalign_flow_options_init(&options, sizeof options);
    assert_int_equal(flow_of_parts(h.model, h.penalty, h.reference, -1.0, NULL, &flow, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.argument, 2);
    assert_int_equal(flow_of_parts(h.model, h.penalty, h.reference, 1.0, NULL, NULL, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    int seen = 0;
    options.progress = stop_at_five;
    options.user = &seen;
    assert_int_equal(flow_of_parts(h.model, h.penalty, h.reference, 1.0, &options, &flow, &error),
                     GRPOALIGN_ERR_CANCELLED);
    assert_int_equal(seen, 5);
    flow = flow_of(&h, 1.0, NULL, GRPOALIGN_OK);
    grpoalign_flow_state at = {.struct_size = sizeof at};
    double policy[2];
    assert_int_equal(grpoalign_flow_state_at(flow, -1, &at, &error), GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(grpoalign_flow_state_at(flow, grpoalign_flow_count(flow), &at, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    at.struct_size = 0;
    assert_int_equal(grpoalign_flow_state_at(flow, 0, &at, &error), GRPOALIGN_ERR_STRUCT_SIZE);
    assert_int_equal(grpoalign_flow_policy_at(flow, 0, policy, 3, &error), GRPOALIGN_ERR_DIMENSION);
    assert_int_equal(grpoalign_flow_policy_at(NULL, 0, policy, 2, &error), GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(grpoalign_flow_count(NULL), 0);
    assert_null(grpoalign_flow_end(NULL));
    grpoalign_flow_free(NULL);
    grpoalign_flow_free(flow);
    close_handles(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_flow_agrees_with_small_steps),
        cmocka_unit_test(the_error_falls_as_the_order_says),
        cmocka_unit_test(the_flow_ends_at_the_one_stationary_policy),
        cmocka_unit_test(the_start_decides_between_several_ends),
        cmocka_unit_test(a_stiff_flow_ends_at_the_stationary_policy),
        cmocka_unit_test(the_flow_ends_where_worse_outcomes_nearly_go),
        cmocka_unit_test(a_rare_outcome_is_lost_alone),
        cmocka_unit_test(bad_arguments_of_a_flow_are_named),
    };
    return run_chosen(tests);
}
