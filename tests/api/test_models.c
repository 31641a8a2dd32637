/* Preference models through the public header: advantages against plain enumeration, slopes against
 * differences, and what every model satisfies. */
#include "check.h"

enum { MOST = 8 };

/* A context with its own storage, of any kind. */
typedef struct any_context {
    plain_context context;
    double rewards[MOST], variances[MOST], margins[MOST * MOST], support[4], distribution[MOST * 4];
} any_context;

enum {
    PAIRWISE,
    RANKED,
    GROUP,
    GROUP_UNSCALED,
    GROUP_RANDOM,
    LIMIT,
    LIMIT_NOISY,
    LIMIT_UNSCALED,
    KINDS
};

static void random_context(randomness *r, int kind, int64_t n, any_context *out)
{
    memset(out, 0, sizeof *out);
    plain_context *c = &out->context;
    c->n = n;
    c->rewards = out->rewards;
    random_rewards(r, (int)random_below(r, REWARDS_KINDS), n, out->rewards);
    if (kind == PAIRWISE) {
        random_margins(r, (int)random_below(r, MARGINS_KINDS), n, out->margins);
        c->margins = out->margins;
        c->rewards = NULL;
    }
    if (kind == GROUP || kind == GROUP_UNSCALED || kind == GROUP_RANDOM) {
        c->group_size = 2 + random_below(r, n > 4 ? 3 : 4);
    }
    if (kind == GROUP || kind == GROUP_RANDOM || kind == LIMIT || kind == LIMIT_NOISY) {
        c->epsilon = random_below(r, 2) ? 0.0 : random_uniform(r);
    }
    if (kind == GROUP || kind == GROUP_RANDOM) {
        c->ddof = (int)random_below(r, 2);
    }
    if (kind == GROUP_RANDOM) {
        c->k = 1 + random_below(r, 4);
        random_rewards(r, (int)random_below(r, REWARDS_KINDS), c->k, out->support);
        for (int64_t o = 0; o < n; o++) {
            random_policy(r, c->k, out->distribution + o * c->k);
        }
        c->support = out->support;
        c->distribution = out->distribution;
        c->rewards = NULL;
        c->unscaled = random_below(r, 4) == 0;
        c->epsilon = c->unscaled ? 0.0 : c->epsilon;
        c->ddof = c->unscaled ? 0 : c->ddof;
    }
    c->limit = kind == LIMIT || kind == LIMIT_NOISY || kind == LIMIT_UNSCALED;
    c->unscaled = c->unscaled || kind == GROUP_UNSCALED || kind == LIMIT_UNSCALED;
    if (kind == LIMIT_NOISY) {
        for (int64_t o = 0; o < n; o++) {
            out->variances[o] = random_below(r, 3) == 0 ? 0.0 : random_uniform(r);
        }
        c->variances = out->variances;
    }
}

static void advantages_of_every_model_are_their_definition(void **state)
{
    (void)state;
    randomness r = random_start(20);
    for (int i = 0; i < 600 * test_scale(); i++) {
        any_context any;
        double policy[MOST], u[MOST], zero = 0.0;
        long double plain[MOST];
        int64_t n = 1 + random_below(&r, 6);
        random_context(&r, i % KINDS, n, &any);
        random_policy(&r, n, policy);
        grpoalign_model *model = make_model(&any.context);
        assert_int_equal(grpoalign_model_outcomes(model), n);
        CHECK_OK(grpoalign_model_advantage(model, policy, n, u, NULL));
        plain_advantage(&any.context, policy, plain);
        for (int64_t o = 0; o < n; o++) {
            if (isfinite((double)plain[o]) && fabs((double)plain[o]) < 1e6) {
                assert_near(u[o], plain[o], 2e-13 + 2e-11 * fabs((double)plain[o]));
            }
            zero += policy[o] > 0.0 ? policy[o] * u[o] : 0.0;
        }
        assert_near(zero, 0.0, 1e-13);
        grpoalign_model_free(model);
    }
}

/* Slopes along random directions that keep the sum, against Richardson differences. */
static void jacobians_agree_with_differences(void **state)
{
    (void)state;
    randomness r = random_start(21);
    for (int i = 0; i < 400 * test_scale(); i++) {
        any_context any;
        double policy[MOST], goal[MOST], jacobian[MOST * (MOST + 3)], u[4][MOST];
        int64_t n = 2 + random_below(&r, 4), stride = n + random_below(&r, 3);
        random_context(&r, i % KINDS, n, &any);
        for (int64_t o = 0; o < n; o++) {
            policy[o] = 0.2 + random_uniform(&r);
            goal[o] = 0.2 + random_uniform(&r);
        }
        double sum = 0.0, goal_sum = 0.0;
        for (int64_t o = 0; o < n; o++) {
            sum += policy[o];
            goal_sum += goal[o];
        }
        for (int64_t o = 0; o < n; o++) {
            policy[o] /= sum;
            goal[o] = goal[o] / goal_sum - policy[o];
        }
        grpoalign_model *model = make_model(&any.context);
        CHECK_OK(grpoalign_model_jacobian(model, policy, n, jacobian, stride, NULL));
        const double step = 1e-3, at[4] = {-2.0, -1.0, 1.0, 2.0};
        for (int point = 0; point < 4; point++) {
            double moved[MOST];
            for (int64_t o = 0; o < n; o++) {
                moved[o] = policy[o] + at[point] * step * goal[o];
            }
            CHECK_OK(grpoalign_model_advantage(model, moved, n, u[point], NULL));
        }
        for (int64_t o = 0; o < n; o++) {
            double slope = 0.0;
            for (int64_t j = 0; j < n; j++) {
                slope += jacobian[o * stride + j] * goal[j];
            }
            double expected = (u[0][o] - 8.0 * u[1][o] + 8.0 * u[2][o] - u[3][o]) / (12.0 * step);
            assert_near(slope, expected, 1e-8 * (1.0 + fabs(expected)));
        }
        grpoalign_model_free(model);
    }
}

/* Shifting rewards changes nothing; scaling them, with epsilon, nothing when divided by the std. */
static void shifts_and_scales_of_rewards_change_nothing(void **state)
{
    (void)state;
    randomness r = random_start(22);
    for (int i = 0; i < 300 * test_scale(); i++) {
        any_context any;
        double policy[MOST], u[MOST], v[MOST];
        int64_t n = 2 + random_below(&r, 5);
        random_context(&r, RANKED + (int)random_below(&r, KINDS - RANKED), n, &any);
        random_policy(&r, n, policy);
        /* Powers of two move doubles without rounding. */
        double scale = ldexp(1.0, (int)random_below(&r, 900) - 450),
               shift = any.context.epsilon > 0.0 ? 0.0 : 4.0;
        grpoalign_model *before = make_model(&any.context);
        for (int64_t o = 0; o < n; o++) {
            any.rewards[o] = (round(any.rewards[o] * 1048576.0) / 1048576.0);
        }
        for (int64_t l = 0; l < any.context.k; l++) {
            any.support[l] = (round(any.support[l] * 1048576.0) / 1048576.0);
        }
        grpoalign_model_free(before);
        before = make_model(&any.context);
        for (int64_t o = 0; o < n; o++) {
            any.rewards[o] = (any.rewards[o] + shift) * scale;
            any.variances[o] *= scale;
            any.variances[o] *= scale;
        }
        for (int64_t l = 0; l < any.context.k; l++) {
            any.support[l] = (any.support[l] + shift) * scale;
        }
        any.context.epsilon *= scale;
        grpoalign_model *after = make_model(&any.context);
        CHECK_OK(grpoalign_model_advantage(before, policy, n, u, NULL));
        CHECK_OK(grpoalign_model_advantage(after, policy, n, v, NULL));
        double factor = any.context.unscaled ? scale : 1.0;
        for (int64_t o = 0; o < n; o++) {
            if (isfinite(u[o])) {
                assert_near(v[o] / factor, u[o], 1e-13 * (1.0 + fabs(u[o])));
            }
        }
        grpoalign_model_free(before);
        grpoalign_model_free(after);
    }
}

/* In-place evaluation, and outcomes without probability. */
static void advantages_may_be_written_in_place_and_nothing_counts_as_nothing(void **state)
{
    (void)state;
    double rewards[] = {0.0, 1.0, 5.0}, policy[] = {0.5, 0.5, 0.0}, u[3];
    plain_context limit = {.n = 3, .rewards = rewards, .limit = 1};
    grpoalign_model *model = make_model(&limit);
    memcpy(u, policy, sizeof u);
    CHECK_OK(grpoalign_model_advantage(model, u, 3, u, NULL));
    assert_near(u[0], -1.0, 1e-15);
    assert_near(u[1], 1.0, 1e-15);
    assert_near(u[2], 9.0, 1e-14);
    double certain[] = {0.0, 1.0, 0.0};
    CHECK_OK(grpoalign_model_advantage(model, certain, 3, u, NULL));
    assert_true(isinf(u[0]) && u[0] < 0.0 && u[1] == 0.0 && isinf(u[2]) && u[2] > 0.0);
    grpoalign_model_free(model);
    plain_context group = {.n = 3, .rewards = rewards, .group_size = 1000000};
    model = make_model(&group);
    CHECK_OK(grpoalign_model_advantage(model, policy, 3, u, NULL));
    assert_near(u[1], 1.0, 2e-6);
    assert_string_equal(grpoalign_expectation_name(grpoalign_model_expectation(model)),
                        "quadrature");
    grpoalign_model_free(model);
}

/* The mean std of a group, p q h(p), at p = 0.3 and G = 8 (doc/theory.md, section 2.4). */
static void binary_advantages_are_the_published_ones(void **state)
{
    (void)state;
    double rewards[] = {0.0, 1.0}, policy[] = {0.7, 0.3}, u[2];
    plain_context c = {.n = 2, .rewards = rewards, .group_size = 8};
    grpoalign_model *model = make_model(&c);
    CHECK_OK(grpoalign_model_advantage(model, policy, 2, u, NULL));
    assert_near(0.3 * u[1], 0.41217153394, 2e-11);
    grpoalign_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(advantages_of_every_model_are_their_definition),
        cmocka_unit_test(jacobians_agree_with_differences),
        cmocka_unit_test(shifts_and_scales_of_rewards_change_nothing),
        cmocka_unit_test(advantages_may_be_written_in_place_and_nothing_counts_as_nothing),
        cmocka_unit_test(binary_advantages_are_the_published_ones),
    };
    return run_chosen(tests);
}
