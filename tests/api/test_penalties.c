/* Penalties through the public header: responses put back into their definition, divergences
 * against long double. */
#include "check.h"

enum { MOST = 12 };

static void responses_are_policies_with_a_balanced_penalty(void **state)
{
    (void)state;
    randomness r = random_start(30);
    for (int i = 0; i < 4000 * test_scale(); i++) {
        int64_t n = 1 + random_below(&r, MOST);
        double logs[MOST], u[MOST], policy[MOST], reference[MOST], normaliser,
            beta = pow(10.0, random_between(&r, -8.0, 6.0));
        int32_t kind = i % 2 ? GRPOALIGN_PENALTY_REVERSE_KL : GRPOALIGN_PENALTY_DIRECT_KL;
        random_reference(&r, (int)random_below(&r, REFERENCE_KINDS), n, logs);
        for (int64_t o = 0; o < n; o++) {
            u[o] = random_below(&r, 3) == 0 ? 0.5 : random_normal(&r);
        }
        grpoalign_reference *ref;
        grpoalign_penalty *penalty;
        CHECK_OK(grpoalign_reference_new_log(logs, n, NULL, &ref, NULL));
        CHECK_OK(grpoalign_reference_probabilities(ref, reference, n, NULL));
        CHECK_OK(grpoalign_penalty_new(kind, NULL, &penalty, NULL));
        CHECK_OK(grpoalign_penalty_respond(penalty, ref, beta, u, n, policy, &normaliser, NULL));
        long double sum = 0.0L;
        for (int64_t o = 0; o < n; o++) {
            assert_true(policy[o] >= 0.0);
            sum += (long double)policy[o];
            if (kind == GRPOALIGN_PENALTY_DIRECT_KL && policy[o] > 1e-280 && reference[o] > 0.0) {
                long double lr = logl((long double)policy[o]) - logl((long double)reference[o]);
                assert_near(lr, (long double)u[o] / (long double)beta - (long double)normaliser,
                            1e-13 * (700.0 + fabs(u[o] / beta)));
            }
            if (kind == GRPOALIGN_PENALTY_REVERSE_KL) {
                /* pi (c - u/beta) = ref; c is known to rounding relative to |u|/beta */
                double off = policy[o] * (normaliser - u[o] / beta) - reference[o];
                assert_near(off, 0.0,
                            4e-16 * policy[o] * (fabs(u[o]) / beta + fabs(normaliser)) + 1e-15);
            }
        }
        assert_near((double)sum, 1.0, 4e-15);
        grpoalign_reference_free(ref);
        grpoalign_penalty_free(penalty);
    }
}

static void divergences_are_their_sums(void **state)
{
    (void)state;
    randomness r = random_start(31);
    for (int i = 0; i < 4000 * test_scale(); i++) {
        int64_t n = 1 + random_below(&r, MOST);
        double p[MOST], q[MOST], value;
        random_policy(&r, n, p);
        random_policy(&r, n, q);
        if (i % 3 == 0) { /* very near each other */
            for (int64_t o = 0; o < n; o++) {
                q[o] = p[o] * (1.0 + 1e-7 * random_normal(&r));
            }
        }
        long double sp = 0.0L, sq = 0.0L;
        for (int64_t o = 0; o < n; o++) {
            sp += (long double)p[o];
            sq += (long double)q[o];
        }
        for (int kind = 1; kind <= 2; kind++) {
            /* p is the policy, q the reference */
            long double expected = 0.0L;
            for (int64_t o = 0; o < n; o++) {
                long double a = (kind == 1 ? (long double)q[o] / sq : (long double)p[o] / sp);
                long double b = (kind == 1 ? (long double)p[o] / sp : (long double)q[o] / sq);
                expected += a > 0.0L ? a * (logl(a) - logl(b)) : 0.0L;
            }
            grpoalign_reference *ref;
            grpoalign_penalty *penalty;
            CHECK_OK(grpoalign_reference_new(q, n, NULL, &ref, NULL));
            CHECK_OK(grpoalign_penalty_new(kind, NULL, &penalty, NULL));
            CHECK_OK(grpoalign_penalty_divergence(penalty, ref, p, n, &value, NULL));
            if (isinf((double)expected)) {
                assert_true(isinf(value));
            } else {
                double about = fabs((double)expected);
                assert_near(value, (double)expected,
                            1e-12 * about + 2e-19 * (double)n + 1e-16 * sqrt(about));
                assert_true(value >= 0.0);
            }
            grpoalign_reference_free(ref);
            grpoalign_penalty_free(penalty);
        }
    }
}

static void references_are_normalised_and_keep_zeros(void **state)
{
    (void)state;
    double p[4], logs[] = {-1e5, -1e5 - 1.0, -INFINITY, -2e5};
    grpoalign_reference *ref;
    CHECK_OK(grpoalign_reference_new_log(logs, 4, NULL, &ref, NULL));
    CHECK_OK(grpoalign_reference_probabilities(ref, p, 4, NULL));
    assert_near(p[0], 1.0 / (1.0 + exp(-1.0)), 2e-11);
    assert_true(p[2] == 0.0 && p[3] == 0.0);
    grpoalign_reference_free(ref);
    CHECK_OK(grpoalign_reference_new_uniform(3, NULL, &ref, NULL));
    assert_int_equal(grpoalign_reference_outcomes(ref), 3);
    CHECK_OK(grpoalign_reference_probabilities(ref, p, 3, NULL));
    assert_near(p[1], 1.0 / 3.0, 0.0);
    grpoalign_reference_free(ref);
    double rounded[] = {0.33333, 0.33333, 0.33333}; /* within 1e-4 of 1: normalised */
    CHECK_OK(grpoalign_reference_new(rounded, 3, NULL, &ref, NULL));
    CHECK_OK(grpoalign_reference_probabilities(ref, p, 3, NULL));
    assert_near(p[0] + p[1] + p[2], 1.0, 2e-16);
    grpoalign_reference_free(ref);
}

/* Advantages that are enormous beside beta: all goes to the best, and the rest has its power of the
 * gap. */
static void enormous_advantages_leave_the_best_and_powers_of_the_gap(void **state)
{
    (void)state;
    static const double ALPHAS[] = {0.0, 0.2, 0.7, 1.0, 1.1, 1.25, 1.3, 1.7, 1.9, 2.0};
    static const double REFERENCE[] = {0.7, 0.3}, ADVANTAGE[] = {0.0, 1.0};
    grpoalign_reference *reference;
    CHECK_OK(grpoalign_reference_new(REFERENCE, 2, NULL, &reference, NULL));
    for (size_t i = 0; i < sizeof ALPHAS / sizeof *ALPHAS; i++) {
        grpoalign_penalty *penalty;
        CHECK_OK(new_alpha(ALPHAS[i], &penalty, NULL));
        for (int e = 0; e <= 144; e += 12) {
            double beta = pow(10.0, -e), policy[2];
            CHECK_OK(grpoalign_penalty_respond(penalty, reference, beta, ADVANTAGE, 2, policy, NULL,
                                               NULL));
            assert_true(policy[0] >= 0.0 && policy[1] <= 1.0);
            assert_near(policy[0] + policy[1], 1.0, 1e-15);
            if (e >= 12 && ALPHAS[i] < 1.0) {
                /* ((pi_0/.7)^(a-1) - (pi_1/.3)^(a-1))/(a-1) = -1/beta */
                double wanted =
                    0.7 * pow((1.0 - ALPHAS[i]) / beta + pow(1.0 / 0.3, ALPHAS[i] - 1.0),
                              1.0 / (ALPHAS[i] - 1.0));
                assert_near(policy[0], wanted, 1e-10 * wanted);
            }
        }
        grpoalign_penalty_free(penalty);
    }
    grpoalign_reference_free(reference);
}

/* The least and the greatest that references and advantages may be, by answers of 400 digits. */
static void responses_at_the_ends_of_doubles_have_their_digits(void **state)
{
    (void)state;
    static const struct {
        int32_t kind;
        double alpha, reference[2], advantage[2], policy[2];
    } CASES[] = {
        {GRPOALIGN_PENALTY_JENSEN_SHANNON,
         0.0,
         {1.0, 1e-20},
         {0.0, 1.0},
         {0.15651764274966565, 0.84348235725033435}},
        {GRPOALIGN_PENALTY_ALPHA,
         0.3,
         {1.0, 1e-50},
         {-136.0, 136.0},
         {0.00055377447887482207, 0.99944622552112518}},
        {GRPOALIGN_PENALTY_ALPHA,
         0.5,
         {1.0, 1e-50},
         {-136.0, 136.0},
         {5.4065743944636678e-5, 0.99994593425605536}},
        {GRPOALIGN_PENALTY_CHI_SQUARED, 0.0, {1.0, 1e-50}, {-1e20, 1e20}, {1.0, 2e-30}},
        {GRPOALIGN_PENALTY_CHI_SQUARED, 0.0, {1.0, 1e-100}, {0.0, 1e57}, {1.0, 1e-43}},
        {GRPOALIGN_PENALTY_ALPHA, 1.6, {1.0, 2e-300}, {0.0, 1e57}, {1.0, 8.5365439307758784e-206}},
        {GRPOALIGN_PENALTY_DIRECT_KL, 0.0, {0.9, 0.1}, {1e17, 1e17}, {0.9, 0.1}},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        grpoalign_penalty *penalty;
        grpoalign_reference *reference;
        double policy[2];
        if (CASES[i].kind == GRPOALIGN_PENALTY_ALPHA) {
            CHECK_OK(new_alpha(CASES[i].alpha, &penalty, NULL));
        } else {
            CHECK_OK(grpoalign_penalty_new(CASES[i].kind, NULL, &penalty, NULL));
        }
        CHECK_OK(grpoalign_reference_new(CASES[i].reference, 2, NULL, &reference, NULL));
        CHECK_OK(grpoalign_penalty_respond(penalty, reference, 1.0, CASES[i].advantage, 2, policy,
                                           NULL, NULL));
        for (int o = 0; o < 2; o++) {
            assert_near(policy[o], CASES[i].policy[o], 2e-13 * CASES[i].policy[o]);
        }
        grpoalign_penalty_free(penalty);
        grpoalign_reference_free(reference);
    }
}

/* k3 times the ratio, clamped: a softmax while all log ratios stay inside the clamp, and without
 * the outcomes that would leave it at the lower end; answers of 40 digits. */
static void clamped_direct_kl_is_a_softmax_without_what_it_loses(void **state)
{
    (void)state;
    static const double REFERENCE[] = {0.25, 0.25, 0.5};
    static const struct {
        double advantage[3], policy[3], normaliser;
    } CASES[] = {
        /* inside: the softmax */
        {{-1.0, 1.0, 0.0},
         {0.072329488128513268, 0.53444664538852303, 0.39322386648296371},
         0.24022901391655505},
        /* log(pi/pi_ref) of the first would be -4.17: it is lost */
        {{-4.0, 1.0, 0.0}, {0.0, 0.57611688476582911, 0.42388311523417089}, 0.16515035281216047},
    };
    grpoalign_penalty *penalty, *direct;
    grpoalign_reference *reference;
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED, NULL, &penalty, NULL));
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_DIRECT_KL, NULL, &direct, NULL));
    CHECK_OK(grpoalign_reference_new(REFERENCE, 3, NULL, &reference, NULL));
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        double policy[3], normaliser, value, wanted;
        CHECK_OK(grpoalign_penalty_respond(penalty, reference, 1.0, CASES[i].advantage, 3, policy,
                                           &normaliser, NULL));
        for (int o = 0; o < 3; o++) {
            assert_near(policy[o], CASES[i].policy[o], 1e-15);
        }
        assert_near(normaliser, CASES[i].normaliser, 1e-15);
        /* The divergence is that of the KL, the clamp left out. */
        CHECK_OK(grpoalign_penalty_divergence(penalty, reference, policy, 3, &value, NULL));
        CHECK_OK(grpoalign_penalty_divergence(direct, reference, policy, 3, &wanted, NULL));
        assert_near(value, wanted, 0.0);
        assert_true(value > 0.0);
    }
    grpoalign_penalty_free(penalty);
    grpoalign_penalty_free(direct);
    grpoalign_reference_free(reference);
}

/* The table of penalties: every kind once, found again by its name. */
static void every_penalty_is_found_by_its_name(void **state)
{
    (void)state;
    int64_t count = 0;
    int32_t kind;
    for (; (kind = grpoalign_penalty_kind_at(count)) != 0; count++) {
        const char *name = grpoalign_penalty_name(kind);
        assert_string_not_equal(name, "unknown");
        assert_string_not_equal(grpoalign_penalty_formula(kind), "?");
        assert_int_equal(grpoalign_penalty_find(name), kind);
        for (int64_t k = 0; k < count; k++) {
            assert_int_not_equal(grpoalign_penalty_kind_at(k), kind);
        }
        grpoalign_penalty *penalty;
        grpoalign_status status = grpoalign_penalty_new(kind, NULL, &penalty, NULL);
        assert_int_equal(status,
                         kind == GRPOALIGN_PENALTY_ALPHA ? GRPOALIGN_ERR_ARGUMENT : GRPOALIGN_OK);
        assert_int_equal(grpoalign_penalty_kind(penalty), status < 0 ? 0 : kind);
        grpoalign_penalty_free(penalty);
    }
    assert_int_equal(count, GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED);
    assert_string_equal(grpoalign_penalty_formula(GRPOALIGN_PENALTY_REVERSE_KL), "KL(pi_ref||pi)");
    assert_int_equal(grpoalign_penalty_kind_at(-1), 0);
    assert_int_equal(grpoalign_penalty_kind_at(INT64_MAX), 0);
    assert_int_equal(grpoalign_penalty_find(NULL), 0);
    assert_int_equal(grpoalign_penalty_find("Reverse_KL"), 0);
    assert_int_equal(grpoalign_penalty_find(""), 0);
    assert_string_equal(grpoalign_penalty_name(0), "unknown");
    assert_string_equal(grpoalign_penalty_formula(0), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(responses_are_policies_with_a_balanced_penalty),
        cmocka_unit_test(divergences_are_their_sums),
        cmocka_unit_test(references_are_normalised_and_keep_zeros),
        cmocka_unit_test(enormous_advantages_leave_the_best_and_powers_of_the_gap),
        cmocka_unit_test(responses_at_the_ends_of_doubles_have_their_digits),
        cmocka_unit_test(every_penalty_is_found_by_its_name),
        cmocka_unit_test(clamped_direct_kl_is_a_softmax_without_what_it_loses),
    };
    return run_chosen(tests);
}
