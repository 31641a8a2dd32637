/* Stationary policies through the public header: put back into the definition by code that shares
 * nothing with the solvers, the paper's closed forms, and what every solution satisfies. */
#include "check.h"

enum { MOST = 8 };

static const int32_t PENALTIES[] = {GRPOALIGN_PENALTY_REVERSE_KL, GRPOALIGN_PENALTY_DIRECT_KL};

/* The residual by definition allows for the rounding of u over beta. */
static double allowed(double beta, double largest)
{
    return 1e-11 + 1e-14 * largest / beta;
}

static void both_kls_are_stationary_with_every_model(void **state)
{
    (void)state;
    randomness r = random_start(40);
    int statuses[5] = {0};
    for (int i = 0; i < 1200 * test_scale(); i++) {
        double rewards[MOST], variances[MOST], margins[MOST * MOST], support[3],
            distribution[MOST * 3], logs[MOST];
        int64_t n = 1 + random_below(&r, 5), kind = random_below(&r, 6);
        int32_t penalty = PENALTIES[random_below(&r, 2)];
        double beta = pow(
            10.0, random_between(&r, penalty == GRPOALIGN_PENALTY_REVERSE_KL ? -6.0 : -2.0, 3.0));
        plain_context c = {.n = n, .rewards = rewards};
        random_rewards(&r, (int)random_below(&r, REWARDS_KINDS), n, rewards);
        random_reference(&r, (int)random_below(&r, 3), n, logs);
        if (kind == 0) {
            random_margins(&r, (int)random_below(&r, MARGINS_KINDS), n, margins);
            c.margins = margins;
        } else if (kind == 1) {
            c.group_size = 0; /* pairwise by reward */
        } else if (kind <= 3) {
            c.group_size = 2 + random_below(&r, 4);
            c.unscaled = random_below(&r, 4) == 0;
            c.epsilon = c.unscaled || random_below(&r, 2) ? 0.0 : random_uniform(&r);
            c.ddof = c.unscaled ? 0 : (int)random_below(&r, 2);
            if (kind == 3) {
                c.k = 2 + random_below(&r, 2);
                random_rewards(&r, (int)random_below(&r, REWARDS_KINDS), c.k, support);
                for (int64_t o = 0; o < n; o++) {
                    random_policy(&r, c.k, distribution + o * c.k);
                }
                c.support = support;
                c.distribution = distribution;
            }
        } else {
            c.limit = 1;
            c.unscaled = random_below(&r, 4) == 0;
            c.epsilon = c.unscaled || random_below(&r, 2) ? 0.0 : random_uniform(&r);
            for (int64_t o = 0; o < n; o++) {
                variances[o] = random_uniform(&r);
            }
            c.variances = kind == 5 && !c.unscaled ? variances : NULL;
        }
        solved s = solve_context(&c, penalty, beta, logs);
        assert_in_range(s.status, GRPOALIGN_OK, GRPOALIGN_NOT_CONVERGED);
        statuses[s.status]++;
        assert_int_not_equal(s.status, GRPOALIGN_NOT_CONVERGED);
        double sum = 0.0, largest = 1.0;
        for (int64_t o = 0; o < n; o++) {
            sum += s.policy[o];
            largest = isfinite(s.advantage[o]) ? fmax(largest, fabs(s.advantage[o])) : largest;
        }
        assert_near(sum, 1.0, 1e-13);
        if (s.status != GRPOALIGN_COLLAPSED) {
            double residual = plain_residual(&c, penalty, beta, logs, s.policy);
            assert_near(residual, 0.0, allowed(beta, largest));
            assert_near(s.report.residual, 0.0, allowed(beta, largest));
            assert_true(s.report.policy_error < 1e-10);
        }
        solved_free(&s);
    }
    print_message("# %d ok, %d not unique, %d accuracy limited, %d collapsed\n", statuses[0],
                  statuses[1], statuses[2], statuses[3]);
}

/* Binary questions: the paper's (14), (15) and the shift-only forms; doc/theory.md, section 2.9. */
static void binary_answers_are_their_closed_forms(void **state)
{
    (void)state;
    double rewards[] = {0.0, 1.0};
    for (double p_ref = 1e-12; p_ref < 1.0; p_ref = p_ref < 0.05 ? p_ref * 7.0 : p_ref + 0.083) {
        double logs[] = {log1p(-p_ref), log(p_ref)};
        for (double beta = 1e-6; beta < 1e6; beta *= 3.7) {
            long double b = beta, q = p_ref;
            for (double gamma = 1.0; gamma > 1e-3; gamma *= 0.31) {
                double margins[] = {0.0, -gamma, gamma, 0.0};
                plain_context pair = {.n = 2, .margins = margins};
                solved s = solve_context(&pair, GRPOALIGN_PENALTY_REVERSE_KL, beta, logs);
                long double t = b / (long double)gamma,
                            root = sqrtl((1.0L - t) * (1.0L - t) + 4.0L * t * q);
                long double p =
                    t < 1.0L ? 0.5L * (1.0L - t + root) : 2.0L * t * q / (root + t - 1.0L);
                assert_near(s.policy[1], p, 4e-16);
                assert_int_equal(s.report.method, GRPOALIGN_METHOD_CLOSED_FORM);
                solved_free(&s);
            }
            plain_context limit = {.n = 2, .rewards = rewards, .limit = 1};
            solved s = solve_context(&limit, GRPOALIGN_PENALTY_REVERSE_KL, beta, logs);
            long double p =
                (2.0L * b * b * q + 1.0L + sqrtl(1.0L + 4.0L * b * b * q * (1.0L - q))) /
                (2.0L * (1.0L + b * b));
            assert_near(s.policy[1], p, 4e-15);
            assert_int_equal(s.report.unique, 1);
            solved_free(&s);
            plain_context shifted = {.n = 2, .rewards = rewards, .group_size = 4, .unscaled = 1};
            s = solve_context(&shifted, GRPOALIGN_PENALTY_DIRECT_KL, beta, logs);
            long double odds = q / (1.0L - q) * expl(0.75L / b);
            assert_near(s.policy[1], isinf((double)odds) ? 1.0L : odds / (1.0L + odds), 1e-13);
            solved_free(&s);
        }
    }
    /* beta = 0.3, p_ref = 0.1, reverse KL, groups of 2 to 512, population and sample std: roots of
     * 40 digits. */
    static const int64_t sizes[] = {2, 4, 8, 16, 64, 512};
    static const double population[] = {0.74051248379533272,  0.841722217227396187,
                                        0.883587151528006317, 0.908139255004409642,
                                        0.928622122980597643, 0.932574359019866603};
    static const double sample[] = {0.641837417031056702, 0.817154956878888115,
                                    0.874485684514313844, 0.90424220134035788,
                                    0.927664956450569096, 0.932454107439895355};
    double logs[] = {log(0.9), log(0.1)};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int ddof = 0; ddof < 2; ddof++) {
            plain_context c = {.n = 2, .rewards = rewards, .group_size = sizes[i], .ddof = ddof};
            solved s = solve_context(&c, GRPOALIGN_PENALTY_REVERSE_KL, 0.3, logs);
            assert_near(s.policy[1], (ddof ? sample : population)[i], 4e-16);
            solved_free(&s);
        }
    }
    plain_context pair = {.n = 2, .rewards = rewards};
    solved s = solve_context(&pair, GRPOALIGN_PENALTY_DIRECT_KL, 0.3, logs);
    assert_near(s.policy[1], 0.7569644857, 5.1e-11);
    solved_free(&s);
}

/* Direct KL can have several stationary policies, or none: doc/theory.md, sections 3.7 and 3.8. */
static void several_stationary_policies_and_none_are_said(void **state)
{
    (void)state;
    double rewards[] = {0.0, 1.0}, logs[] = {log(0.9), log(0.1)};
    plain_context c = {.n = 2, .rewards = rewards, .group_size = 32};
    solved s = solve_context(&c, GRPOALIGN_PENALTY_DIRECT_KL, 0.7, logs);
    assert_int_equal(s.status, GRPOALIGN_NOT_UNIQUE);
    assert_near(s.policy[1], 0.7065, 5e-5);
    assert_int_equal(s.report.unique, 0);
    assert_int_equal(s.report.stable, 1);
    solved_free(&s);
    c.group_size = 16;
    s = solve_context(&c, GRPOALIGN_PENALTY_DIRECT_KL, 0.7, logs);
    assert_int_equal(s.status, GRPOALIGN_OK);
    assert_int_equal(s.report.unique, 1);
    solved_free(&s);
    plain_context limit = {.n = 2, .rewards = rewards, .limit = 1};
    s = solve_context(&limit, GRPOALIGN_PENALTY_DIRECT_KL, 1.0, logs);
    assert_int_equal(s.status, GRPOALIGN_NOT_UNIQUE);
    assert_near(s.policy[1], 0.45305141925485372,
                1e-14); /* logit p = logit p_ref + 1/sqrt(p (1-p)), by 30 digits */
    assert_int_equal(s.report.stable, 1);
    solved_free(&s);
    s = solve_context(&limit, GRPOALIGN_PENALTY_DIRECT_KL, 0.1, logs);
    assert_int_equal(s.status, GRPOALIGN_COLLAPSED);
    assert_true(s.policy[0] == 0.0 && s.policy[1] == 1.0 && s.log_policy[0] == -INFINITY);
    assert_true(isinf(s.report.residual) && isinf(s.report.kl_ref_policy));
    assert_near(s.report.kl_policy_ref, log(10.0), 1e-15);
    solved_free(&s);
    limit.epsilon = 1e-4; /* any epsilon brings a solution back */
    s = solve_context(&limit, GRPOALIGN_PENALTY_DIRECT_KL, 0.1, logs);
    assert_int_equal(s.status, GRPOALIGN_OK);
    solved_free(&s);
    /* Three levels: the general method finds the same bistability when two of them nearly agree. */
    double three[] = {0.0, 1e-9, 1.0}, logs3[] = {log(0.45), log(0.45), log(0.1)};
    plain_context near = {.n = 3, .rewards = three, .group_size = 32};
    s = solve_context(&near, GRPOALIGN_PENALTY_DIRECT_KL, 0.7, logs3);
    assert_near(s.policy[2], 0.7065, 5e-5);
    assert_int_equal(s.status, GRPOALIGN_NOT_UNIQUE);
    assert_int_equal(s.report.stable, 1);
    solved_free(&s);
    /* A start chooses: from the far side the other one is found. */
    double start[] = {1e-4, 1e-4, 1.0 - 2e-4};
    grpoalign_solve_options options;
    grpoalign_solve_options_init(&options, sizeof options);
    options.start = start;
    options.start_count = 3;
    grpoalign_model *model = make_model(&near);
    s = solve_model(model, GRPOALIGN_PENALTY_DIRECT_KL, 0.7, logs3, &options);
    assert_near(s.policy[2], 0.99589, 5e-6);
    solved_free(&s);
    grpoalign_model_free(model);
}

static void permuted(const double *x, const int64_t *order, int64_t n, double *out)
{
    for (int64_t i = 0; i < n; i++) {
        out[i] = x[order[i]];
    }
}

static void order_merging_and_large_beta_change_nothing_else(void **state)
{
    (void)state;
    randomness r = random_start(41);
    for (int i = 0; i < 300 * test_scale(); i++) {
        double rewards[MOST], logs[MOST], other[MOST], other_logs[MOST], expected[MOST];
        int64_t order[MOST], n = 3 + random_below(&r, 4);
        int32_t penalty = PENALTIES[i % 2];
        plain_context c = {.n = n, .rewards = rewards};
        int kind = (int)random_below(&r, 4);
        c.group_size = kind == 0 ? 0 : 2 + random_below(&r, 20);
        c.limit = kind == 1;
        c.group_size = c.limit ? 0 : c.group_size;
        double beta = pow(10.0, random_between(&r, -2.0, 1.0));
        random_rewards(&r, REWARDS_INTEGER, n, rewards);
        random_reference(&r, REFERENCE_DIRICHLET, n, logs);
        solved s = solve_context(&c, penalty, beta, logs);
        /* Equal rewards keep the ratio of the reference. */
        for (int64_t a = 0; a < n; a++) {
            for (int64_t b = 0; b < a; b++) {
                if (rewards[a] == rewards[b] && s.policy[b] > 1e-280 && s.policy[a] > 1e-280) {
                    assert_near(log(s.policy[a] / s.policy[b]), logs[a] - logs[b], 1e-13);
                }
            }
        }
        /* The order of the outcomes does not matter. */
        for (int64_t o = 0; o < n; o++) {
            order[o] = o;
        }
        for (int64_t o = n - 1; o > 0; o--) {
            int64_t at = random_below(&r, o + 1), swap = order[o];
            order[o] = order[at];
            order[at] = swap;
        }
        permuted(rewards, order, n, other);
        permuted(logs, order, n, other_logs);
        permuted(s.policy, order, n, expected);
        plain_context turned = c;
        turned.rewards = other;
        solved t = solve_context(&turned, penalty, beta, other_logs);
        assert_near(largest_difference(t.policy, expected, n), 0.0, 1e-12);
        solved_free(&t);
        /* Merging equal outcomes adds their probabilities. */
        int64_t kept = 0;
        memset(expected, 0, sizeof expected);
        for (int64_t o = 0; o < n; o++) {
            int64_t at = 0;
            while (at < kept && other[at] != rewards[o]) {
                at++;
            }
            if (at == kept) {
                other[kept] = rewards[o];
                other_logs[kept++] = logs[o];
            } else {
                other_logs[at] = log(exp(other_logs[at]) + exp(logs[o]));
            }
            expected[at] += s.policy[o];
        }
        plain_context merged = c;
        merged.n = kept;
        merged.rewards = other;
        t = solve_context(&merged, penalty, beta, other_logs);
        assert_near(largest_difference(t.policy, expected, kept), 0.0, 1e-12);
        solved_free(&t);
        /* For large beta the policy is the reference, and off by u/beta. */
        t = solve_context(&c, penalty, 1e6, logs);
        assert_true(t.report.kl_policy_ref < 1e-10 && t.report.kl_ref_policy < 1e-10);
        assert_near(t.report.kl_policy_ref / (t.report.kl_ref_policy + 1e-300), 1.0,
                    t.report.kl_ref_policy > 0.0 ? 1e-3 : 1.0);
        solved_free(&t);
        /* Training does not lower the expected reward. */
        assert_true(s.report.expected_reward >= s.report.expected_reward_reference - 1e-12);
        solved_free(&s);
    }
}

static void single_flat_and_enormous_contexts_are_solved(void **state)
{
    (void)state;
    double one[] = {3.0}, equal[] = {2.0, 2.0, 2.0}, rewards[] = {0.0, 1.0, 2.0},
           variances[] = {1.0, 2.0, 3.0};
    double zero_margins[9] = {0};
    for (int p = 0; p < 2; p++) {
        plain_context singles[] = {{.n = 1, .rewards = one},
                                   {.n = 1, .rewards = one, .group_size = 8},
                                   {.n = 1, .rewards = one, .limit = 1},
                                   {.n = 1, .margins = zero_margins}};
        for (size_t i = 0; i < sizeof singles / sizeof *singles; i++) {
            solved s = solve_context(&singles[i], PENALTIES[p], 0.1, NULL);
            assert_int_equal(s.status, GRPOALIGN_OK);
            assert_true(s.policy[0] == 1.0 && s.advantage[0] == 0.0);
            solved_free(&s);
        }
        plain_context flat[] = {{.n = 3, .rewards = equal},
                                {.n = 3, .rewards = equal, .group_size = 8},
                                {.n = 3, .rewards = equal, .group_size = 8, .unscaled = 1},
                                {.n = 3, .rewards = equal, .limit = 1},
                                {.n = 3, .rewards = equal, .variances = variances, .limit = 1},
                                {.n = 3, .margins = zero_margins}};
        double logs[] = {log(0.2), log(0.5), log(0.3)}, reference[] = {0.2, 0.5, 0.3};
        for (size_t i = 0; i < sizeof flat / sizeof *flat; i++) {
            solved s = solve_context(&flat[i], PENALTIES[p], 1e-8, logs);
            assert_int_equal(s.status, GRPOALIGN_OK);
            assert_near(largest_difference(s.policy, reference, 3), 0.0, 4e-16);
            assert_near(s.report.kl_policy_ref + s.report.kl_ref_policy, 0.0, 1e-30);
            solved_free(&s);
        }
        plain_context all[] = {{.n = 3, .rewards = rewards},
                               {.n = 3, .rewards = rewards, .group_size = 8},
                               {.n = 3, .rewards = rewards, .group_size = 8, .unscaled = 1},
                               {.n = 3, .rewards = rewards, .limit = 1, .epsilon = 0.01},
                               {.n = 3, .rewards = rewards, .limit = 1, .unscaled = 1}};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            for (int64_t hold = 0; hold < 3; hold++) { /* one outcome holds all of the reference */
                double holds[] = {-INFINITY, -INFINITY, -INFINITY};
                holds[hold] = 0.0;
                solved s = solve_context(&all[i], PENALTIES[p], 0.1, holds);
                assert_int_equal(s.status, GRPOALIGN_OK);
                for (int64_t o = 0; o < 3; o++) {
                    assert_true(s.policy[o] == (o == hold ? 1.0 : 0.0));
                }
                solved_free(&s);
            }
            /* An outcome without reference changes nothing for the others. */
            double without[] = {log(0.4), -INFINITY, log(0.6)}, two_logs[] = {log(0.4), log(0.6)},
                   two[] = {0.0, 2.0};
            plain_context pair = all[i];
            pair.n = 2;
            pair.rewards = two;
            solved s = solve_context(&all[i], PENALTIES[p], 0.7, without),
                   t = solve_context(&pair, PENALTIES[p], 0.7, two_logs);
            assert_true(s.policy[1] == 0.0 && s.log_policy[1] == -INFINITY);
            assert_near(s.policy[0], t.policy[0], 1e-15);
            assert_near(s.policy[2], t.policy[1], 1e-15);
            assert_near(s.advantage[2], t.advantage[1], 1e-13);
            assert_true(isfinite(s.advantage[1]));
            solved_free(&s);
            solved_free(&t);
        }
    }
    /* A level repeated a million times, and a group larger than any double factorial. */
    int64_t many = 1000001;
    double *long_rewards = calloc((size_t)many, sizeof *long_rewards), sum = 0.0;
    long_rewards[many - 1] = 1.0;
    for (int p = 0; p < 2; p++) {
        plain_context c = {.n = many, .rewards = long_rewards, .group_size = 100000};
        solved s = solve_context(&c, PENALTIES[p], 0.5, NULL);
        assert_true(s.status == GRPOALIGN_OK || s.status == GRPOALIGN_NOT_UNIQUE);
        sum = 0.0;
        for (int64_t o = 0; o + 1 < many; o++) {
            assert_true(s.policy[o] == s.policy[0]);
            sum += s.policy[o];
        }
        assert_near(sum + s.policy[many - 1], 1.0, 1e-10);
        assert_near(s.report.residual, 0.0, 1e-9);
        solved_free(&s);
    }
    /* A million different rewards, pairwise: the closed form. */
    randomness r = random_start(42);
    for (int64_t o = 0; o < many; o++) {
        long_rewards[o] = random_normal(&r);
    }
    for (int p = 0; p < 2; p++) {
        plain_context c = {.n = many, .rewards = long_rewards};
        solved s = solve_context(&c, PENALTIES[p], 0.01, NULL);
        assert_int_equal(s.status, GRPOALIGN_OK);
        assert_near(s.report.residual, 0.0, p == 0 ? 1e-14 : 1e-11);
        solved_free(&s);
        plain_context limit = {.n = many, .rewards = long_rewards, .limit = 1, .epsilon = 1e-3};
        s = solve_context(&limit, PENALTIES[p], 3.0, NULL);
        assert_true(s.status == GRPOALIGN_OK || s.status == GRPOALIGN_NOT_UNIQUE);
        assert_near(s.report.residual, 0.0, 1e-11);
        solved_free(&s);
    }
    free(long_rewards);
}

/* Prices and probabilities beyond the doubles. */
static void answers_beyond_doubles_have_their_logarithms(void **state)
{
    (void)state;
    double rewards[] = {0.0, 1.0}, logs[] = {0.0, -5000.0};
    plain_context limit = {.n = 2, .rewards = rewards, .limit = 1};
    /* p -> 1/(1+beta^2) however small the reference of the better outcome */
    solved s = solve_context(&limit, GRPOALIGN_PENALTY_REVERSE_KL, 0.5, logs);
    assert_near(s.policy[1], 0.8, 1e-15);
    solved_free(&s);
    /* unscaled and direct: log pooling in logarithms */
    limit.unscaled = 1;
    s = solve_context(&limit, GRPOALIGN_PENALTY_DIRECT_KL, 1e-3, logs);
    assert_near(s.log_policy[1] - s.log_policy[0], -5000.0 + 1000.0, 1e-9);
    assert_true(s.policy[1] == 0.0);
    solved_free(&s);
    double huge[] = {-1.7e308, 1.7e308}, tiny[] = {0.0, 5e-324};
    for (int i = 0; i < 2; i++) {
        plain_context c = {.n = 2, .rewards = i ? tiny : huge, .group_size = 8};
        double reference[] = {log(0.9), log(0.1)};
        s = solve_context(&c, GRPOALIGN_PENALTY_REVERSE_KL, 0.3, reference);
        assert_near(s.policy[1], 0.8835871515, 5.1e-11);
        solved_free(&s);
    }
}

typedef struct watcher {
    int calls, stop_at;
    grpoalign_progress last;
} watcher;

static int32_t watch(void *user, const grpoalign_progress *progress)
{
    watcher *self = user;
    self->calls++;
    assert_int_equal(progress->struct_size, sizeof *progress);
    assert_true(progress->iteration >= self->last.iteration &&
                progress->factorizations >= self->last.factorizations);
    self->last = *progress;
    return self->calls == self->stop_at;
}

static void the_host_watches_stops_and_limits_a_solve(void **state)
{
    (void)state;
    randomness r = random_start(43);
    enum { N = 40 };
    static double margins[N * N];
    random_margins(&r, MARGINS_DENSE, N, margins);
    plain_context c = {.n = N, .margins = margins};
    grpoalign_model *model = make_model(&c);
    grpoalign_solve_options options;
    watcher w = {0};
    grpoalign_solve_options_init(&options, sizeof options);
    options.progress = watch;
    options.user = &w;
    solved s = solve_model(model, GRPOALIGN_PENALTY_REVERSE_KL, 1e-3, NULL, &options);
    assert_int_equal(s.status, GRPOALIGN_OK);
    assert_int_equal(w.calls, s.report.iterations);
    assert_int_equal(w.last.factorizations, s.report.factorizations);
    solved_free(&s);
    w = (watcher){.stop_at = 2};
    s = solve_model(model, GRPOALIGN_PENALTY_REVERSE_KL, 1e-3, NULL, &options);
    assert_int_equal(s.status, GRPOALIGN_ERR_CANCELLED);
    assert_int_equal(w.calls, 2);
    assert_non_null(strstr(s.error.message, "2 iterations"));
    /* The iteration limit gives the best iterate, and says so. */
    options.progress = NULL;
    options.max_iterations = 2;
    s = solve_model(model, GRPOALIGN_PENALTY_REVERSE_KL, 1e-3, NULL, &options);
    assert_int_equal(s.status, GRPOALIGN_NOT_CONVERGED);
    assert_true(s.report.residual > 1e-9);
    solved_free(&s);
    options.max_iterations = 0;
    options.tolerance = 1e-17;
    s = solve_model(model, GRPOALIGN_PENALTY_REVERSE_KL, 1e-3, NULL, &options);
    assert_int_equal(s.status, GRPOALIGN_ACCURACY_LIMITED);
    assert_true(s.report.policy_error > 1e-17 && s.report.policy_error < 1e-12);
    solved_free(&s);
    options.tolerance = 0.0;
    options.stability = GRPOALIGN_STABILITY_SKIP;
    plain_context group = {.n = N, .rewards = margins, .group_size = 4};
    grpoalign_model *other = make_model(&group);
    s = solve_model(other, GRPOALIGN_PENALTY_REVERSE_KL, 1.0, NULL, &options);
    assert_int_equal(s.report.stable, -1);
    solved_free(&s);
    grpoalign_model_free(other);
    grpoalign_model_free(model);
}

/* Two hundred rewards in groups of sixteen, and a thousand in groups of three: solved, and
 * stationary by the model's own advantages. */
/* Groups with many rewards under reverse KL: how many factorisations a solve takes. */
static void groups_take_few_factorisations(void **state)
{
    (void)state;
    enum { N = 48 };
    randomness r = random_start(48);
    double total = 0.0;
    int instances = 300 * test_scale(), worst = 0;
    for (int i = 0; i < instances; i++) {
        double rewards[N], log_reference[N];
        int64_t n = 3 + random_below(&r, N - 2);
        random_rewards(&r, REWARDS_UNIFORM, n, rewards);
        random_reference(&r, (int)random_below(&r, REFERENCE_TINY), n, log_reference);
        plain_context context = {
            .n = n, .rewards = rewards, .group_size = 3 + random_below(&r, 62)};
        double beta = pow(10.0, random_between(&r, -4.0, 1.0));
        solved got = solve_context(&context, GRPOALIGN_PENALTY_REVERSE_KL, beta, log_reference);
        assert_int_equal(got.status, GRPOALIGN_OK);
        total += got.report.factorizations;
        worst = got.report.factorizations > worst ? got.report.factorizations : worst;
        solved_free(&got);
    }
    print_message(
        "# groups, reverse_kl: %.1f factorisations on average, %d at worst, over %d instances\n",
        total / instances, worst, instances);
    assert_true(total / instances < 4.0);
    assert_true(worst <= 30);
}

static void groups_of_many_levels_are_solved(void **state)
{
    (void)state;
    randomness r = random_start(44);
    static double rewards[1000];
    for (int64_t o = 0; o < 1000; o++) {
        rewards[o] = random_normal(&r);
    }
    static const int64_t shapes[][2] = {{16, 8}, {200, 16}, {1000, 3}, {300, 1024}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        for (int p = 0; p < 2; p++) {
            plain_context c = {.n = shapes[i][0], .rewards = rewards, .group_size = shapes[i][1]};
            solved s = solve_context(&c, PENALTIES[p], p == 0 ? 0.04 : 2.0, NULL);
            assert_true(s.status == GRPOALIGN_OK || s.status == GRPOALIGN_NOT_UNIQUE);
            assert_near(s.report.residual, 0.0, 1e-11);
            assert_int_equal(s.report.stable, 1);
            solved_free(&s);
        }
    }
    static double more[5000];
    for (int64_t o = 0; o < 5000; o++) {
        more[o] = random_normal(&r);
    }
    plain_context too_many = {.n = 5000, .rewards = more, .group_size = 8};
    solved s = solve_context(&too_many, GRPOALIGN_PENALTY_REVERSE_KL, 0.1, NULL);
    assert_int_equal(s.status, GRPOALIGN_ERR_TOO_LARGE);
    assert_non_null(strstr(s.error.message, "5000"));
}

/* Many more outcomes than reward levels: the equations are over the levels. */
static void many_outcomes_share_few_levels(void **state)
{
    (void)state;
    enum { N = 700, K = 4 };
    static const double SUPPORT[K] = {0.0, 0.3, 0.7, 1.0};
    static double rows[N * K], logs[N], plain_policy[N];
    static long double advantage[N];
    randomness r = random_start(45);
    for (int64_t o = 0; o < N; o++) {
        random_policy(&r, K, rows + o * K);
        logs[o] = -fabs(random_normal(&r));
    }
    plain_context c = {.n = N, .k = K, .support = SUPPORT, .distribution = rows, .group_size = 3};
    for (int p = 0; p < 2; p++) {
        solved s = solve_context(&c, PENALTIES[p], 0.2, logs);
        assert_true(s.status == GRPOALIGN_OK || s.status == GRPOALIGN_NOT_UNIQUE);
        assert_near(s.report.residual, 0.0, 1e-11);
        memcpy(plain_policy, s.policy, sizeof plain_policy);
        plain_advantage(&c, plain_policy, advantage);
        for (int64_t o = 0; o < N; o++) {
            assert_near(s.advantage[o], advantage[o], 1e-12);
        }
        solved_free(&s);
    }
}

/* Beside a fold, where the branch from pi_ref has just ended, the answer is where training goes on
 * to. */
static void past_a_fold_the_answer_is_where_training_goes(void **state)
{
    (void)state;
    static const double rewards[3] = {0.0, 0.024359204216691747, 1.0};
    const double log_reference[3] = {log(0.9473312076838349), log(0.04800222786779666),
                                     log(0.004666564448368231)};
    static const double end[3] = {1.89698639e-05, 9.6131e-07, 0.99998006883};
    plain_context context = {.n = 3, .rewards = rewards, .group_size = 32};
    for (double near = 1e-4; near > 1e-12; near *= 1e-2) {
        solved got = solve_context(&context, GRPOALIGN_PENALTY_DIRECT_KL,
                                   0.3439315737183046514 * (1.0 - near), log_reference);
        assert_int_equal(got.status, GRPOALIGN_OK);
        assert_int_equal(got.report.stable, 1);
        assert_true(got.report.residual < 1e-13 && got.report.policy_error < 1e-13);
        assert_near(largest_difference(got.policy, end, 3), 0.0, 1e-7);
        solved_free(&got);
    }
}

/* References that hold the best outcome nearly alone, or penalties that do: the other's probability
 * is below what the best's distance from 1 can tell. */
static void nearly_certain_policies_keep_what_is_small(void **state)
{
    (void)state;
    static const struct {
        double rewards[2], log_reference[2], epsilon;
        int32_t penalty;
        grpoalign_status status;
    } CASES[] = {
        {{0.0, 0.5}, {-115.0, 0.0}, 0.0, GRPOALIGN_PENALTY_CHI_SQUARED, GRPOALIGN_COLLAPSED},
        {{3.0, 2.0}, {0.0, -100.0}, 0.0, GRPOALIGN_PENALTY_JENSEN_SHANNON, GRPOALIGN_COLLAPSED},
        /* u <= 1/epsilon, so the policy is e^-(some thousands), not nothing */
        {{0.0, 1.0}, {-6.0, -6.6}, 1e-4, GRPOALIGN_PENALTY_JENSEN_SHANNON, GRPOALIGN_OK},
        {{0.0, 1.0}, {-6.0, -6.6}, 1e-4, GRPOALIGN_PENALTY_DIRECT_KL, GRPOALIGN_OK},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        grpoalign_reward_options options;
        grpoalign_reward_options_init(&options, sizeof options);
        options.epsilon = CASES[i].epsilon;
        grpoalign_model *model;
        CHECK_OK(grpoalign_model_new_limit(CASES[i].rewards, NULL, 2, &options, &model, NULL));
        solved s = solve_model(model, CASES[i].penalty, 0.0651, CASES[i].log_reference, NULL);
        assert_int_equal(s.status, CASES[i].status);
        assert_near(s.policy[CASES[i].rewards[0] > CASES[i].rewards[1] ? 0 : 1], 1.0, 0.0);
        solved_free(&s);
        grpoalign_model_free(model);
    }
    /* 1/t = (1 + 1/t_best) exp(2/beta) - 1: what no double holds has a logarithm. */
    static const double REWARDS[] = {0.0, 1.0},
                        LOG_REFERENCE[] = {-0.10536051565782628, -2.3025850929940455};
    grpoalign_reward_options options;
    grpoalign_reward_options_init(&options, sizeof options);
    options.scale = GRPOALIGN_SCALE_NONE;
    grpoalign_model *model;
    CHECK_OK(grpoalign_model_new_limit(REWARDS, NULL, 2, &options, &model, NULL));
    solved s = solve_model(model, GRPOALIGN_PENALTY_JENSEN_SHANNON, 1e-3, LOG_REFERENCE, NULL);
    CHECK_OK(s.status);
    assert_near(s.policy[0], 0.0, 0.0);
    assert_near(s.report.kl_ref_policy, 0.9 * (log(1.1) + 2000.0) + 0.1 * log(0.1), 1e-9);
    solved_free(&s);
    /* And hardly any movement has its digits. */
    for (double beta = 1e6; beta < 1e100; beta *= 1e6) {
        s = solve_model(model, GRPOALIGN_PENALTY_JENSEN_SHANNON, beta, LOG_REFERENCE, NULL);
        CHECK_OK(s.status);
        assert_true(s.report.policy_error < 1e-14);
        assert_near(s.policy[1], 0.1 + 0.36 / beta,
                    1e-15 + 1.0 / beta / beta); /* -d log t/d slack = 4 at t = 1 */
        solved_free(&s);
    }
    grpoalign_model_free(model);
}

/* Jensen-Shannon in groups where the best outcome starts with next to nothing: its slack is the
 * pole but for a rounding. The answers are from the sum over all groups, to 50 digits. */
static void answers_beside_the_pole_agree_with_50_digits(void **state)
{
    (void)state;
    static const double TWO[] = {1.0, 0.0}, THREE[] = {1.0, 0.4, 0.0};
    static const double LOG_TWO[] = {-138.15510557964274, 0.0},
                        LOG_THREE[] = {-27.631021115928547, -1.2039728043259361,
                                       -0.35667494393873245};
    grpoalign_model *model;
    CHECK_OK(grpoalign_model_new_group(TWO, 2, 4, NULL, &model, NULL));
    solved s = solve_model(model, GRPOALIGN_PENALTY_JENSEN_SHANNON, 0.9, LOG_TWO, NULL);
    CHECK_OK(s.status);
    assert_near(s.policy[0], 0.977730115822204376, 2e-15);
    solved_free(&s);
    grpoalign_model_free(model);
    CHECK_OK(grpoalign_model_new_group(THREE, 3, 4, NULL, &model, NULL));
    s = solve_model(model, GRPOALIGN_PENALTY_JENSEN_SHANNON, 0.9, LOG_THREE, NULL);
    CHECK_OK(s.status);
    assert_near(s.policy[0], 0.9776565980987002, 1e-15);
    assert_near(s.policy[1], 0.0070557299600044956, 1e-15);
    solved_free(&s);
    grpoalign_model_free(model);
}

/* Chi-squared in the limit of two outcomes: beta = p q/((x - p) sqrt(x (1 - x))), so that the
 * critical beta is p/0.32475 where p is small. */
static void a_best_outcome_of_any_small_reference_is_solved(void **state)
{
    (void)state;
    static const double REWARDS[] = {1.0, 0.0};
    grpoalign_model *model;
    grpoalign_penalty *penalty;
    CHECK_OK(grpoalign_model_new_limit(REWARDS, NULL, 2, NULL, &model, NULL));
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_CHI_SQUARED, NULL, &penalty, NULL));
    for (int e = 3; e <= 140; e += 11) {
        double p = pow(10.0, -e), log_reference[] = {log(p), log1p(-p)}, critical;
        grpoalign_reference *reference;
        CHECK_OK(grpoalign_reference_new_log(log_reference, 2, NULL, &reference, NULL));
        CHECK_OK(critical_beta_of_parts(model, penalty, reference, &critical, NULL));
        if (e > 14) {
            assert_near(critical, p * 16.0 / (3.0 * sqrt(3.0)), 1e-10 * p);
        }
        solved s =
            solve_model(model, GRPOALIGN_PENALTY_CHI_SQUARED, 2.0 * critical, log_reference, NULL);
        assert_true(s.status >= 0 && s.status != GRPOALIGN_COLLAPSED);
        double x = s.policy[0], from = x - p;
        assert_near(2.0 * critical * from * sqrt(x * (1.0 - x)), p * (1.0 - p),
                    1e-9 * p + 10.0 * s.report.policy_error * p);
        solved_free(&s);
        grpoalign_reference_free(reference);
    }
    grpoalign_penalty_free(penalty);
    grpoalign_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_kls_are_stationary_with_every_model),
        cmocka_unit_test(binary_answers_are_their_closed_forms),
        cmocka_unit_test(several_stationary_policies_and_none_are_said),
        cmocka_unit_test(order_merging_and_large_beta_change_nothing_else),
        cmocka_unit_test(single_flat_and_enormous_contexts_are_solved),
        cmocka_unit_test(answers_beyond_doubles_have_their_logarithms),
        cmocka_unit_test(the_host_watches_stops_and_limits_a_solve),
        cmocka_unit_test(groups_of_many_levels_are_solved),
        cmocka_unit_test(many_outcomes_share_few_levels),
        cmocka_unit_test(groups_take_few_factorisations),
        cmocka_unit_test(past_a_fold_the_answer_is_where_training_goes),
        cmocka_unit_test(nearly_certain_policies_keep_what_is_small),
        cmocka_unit_test(answers_beside_the_pole_agree_with_50_digits),
        cmocka_unit_test(a_best_outcome_of_any_small_reference_is_solved),
    };
    return run_chosen(tests);
}
