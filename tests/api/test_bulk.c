/* Many contexts in one call: each answer is that of grpoalign_solve, whatever stands beside it. */
#include "check.h"

enum { CONTEXTS = 300, WIDEST = 24, ALL = CONTEXTS * WIDEST };

typedef struct lot {
    grpoalign_bulk bulk;
    grpoalign_reward_options options;
    int64_t offsets[CONTEXTS + 1];
    double rewards[ALL], reference[ALL], beta[CONTEXTS];
} lot;

static double *doubles(void)
{
    double *memory = calloc(ALL, sizeof *memory);
    assert_non_null(memory);
    return memory;
}

/* Contexts of different sizes, or of one. */
static lot *random_lot(randomness *r, int32_t model, int strided, const grpoalign_penalty *penalty)
{
    lot *l = calloc(1, sizeof *l);
    assert_non_null(l);
    int64_t outcomes = 1 + random_below(r, WIDEST);
    for (int64_t k = 0; k < CONTEXTS; k++) {
        int64_t n = strided ? outcomes : 1 + random_below(r, WIDEST), first = l->offsets[k];
        double sum = 0.0, logs[WIDEST];
        l->offsets[k + 1] = first + n;
        random_rewards(r, (int)random_below(r, REWARDS_KINDS), n, l->rewards + first);
        random_reference(r, (int)random_below(r, REFERENCE_KINDS), n, logs);
        for (int64_t o = 0; o < n; o++) {
            int absent = n > 2 && o > 0 && random_below(r, 8) == 0;
            sum += l->reference[first + o] = absent ? 0.0 : exp(logs[o]);
        }
        for (int64_t o = 0; o < n; o++) {
            l->reference[first + o] /= sum;
        }
        l->beta[k] = exp(random_between(r, -4.0, 4.0));
    }
    grpoalign_bulk_init(&l->bulk, sizeof l->bulk);
    grpoalign_reward_options_init(&l->options, sizeof l->options);
    l->bulk.model = model;
    l->bulk.contexts = CONTEXTS;
    l->bulk.offsets = strided ? NULL : l->offsets;
    l->bulk.outcomes = strided ? outcomes : 0;
    l->bulk.reward_count = l->offsets[CONTEXTS];
    l->bulk.rewards = l->rewards;
    l->bulk.reference = l->reference;
    l->bulk.beta = l->beta;
    l->bulk.beta_count = CONTEXTS;
    l->bulk.group_size = 2 + random_below(r, 4);
    l->bulk.penalty = penalty;
    l->bulk.options = &l->options;
    return l;
}

static solved solve_alone(const lot *l, int64_t k)
{
    const double *rewards = l->rewards + l->offsets[k], *reference = l->reference + l->offsets[k];
    int64_t n = l->offsets[k + 1] - l->offsets[k];
    double logs[WIDEST];
    grpoalign_model *model = NULL;
    const grpoalign_bulk *b = &l->bulk;
    CHECK_OK(b->model == GRPOALIGN_BULK_RANKED
                 ? grpoalign_model_new_ranked(rewards, n, NULL, &model, NULL)
             : b->model == GRPOALIGN_BULK_GROUP
                 ? grpoalign_model_new_group(rewards, n, b->group_size, &l->options, &model, NULL)
                 : grpoalign_model_new_limit(rewards, NULL, n, &l->options, &model, NULL));
    for (int64_t o = 0; o < n; o++) {
        logs[o] = log(reference[o]);
    }
    solved s = solve_penalised(model, b->penalty, l->beta[k], logs, NULL);
    grpoalign_model_free(model);
    return s;
}

static void compare(const lot *l)
{
    double *policy = doubles(), *advantage = doubles(), *numbers = doubles();
    int32_t status[CONTEXTS], unique[CONTEXTS];
    double residual[CONTEXTS], kl[CONTEXTS], reward[CONTEXTS], error[CONTEXTS];
    grpoalign_columns columns = GRPOALIGN_COLUMNS_INIT;
    columns.policy = policy;
    columns.advantage = advantage;
    columns.status = status;
    columns.unique = unique;
    columns.residual = residual;
    columns.kl_ref_policy = kl;
    columns.expected_reward = reward;
    columns.policy_error = error;
    CHECK_OK(grpoalign_solve_bulk(&l->bulk, &columns, NULL, NULL));
    assert_int_equal(columns.failed, 0);
    for (int64_t k = 0; k < CONTEXTS; k++) {
        solved s = solve_alone(l, k);
        int64_t n = l->offsets[k + 1] - l->offsets[k], first = l->offsets[k];
        double slack = 1e-14 + 2.0 * (s.report.policy_error + error[k]), most = 1.0;
        for (int64_t o = 0; o < n; o++) {
            most = fmax(most, fabs(s.advantage[o]));
        }
        /* Which of two roundings is too large is no matter of the answer. */
        int is_limited = s.status == GRPOALIGN_ACCURACY_LIMITED && status[k] == GRPOALIGN_OK;
        if (s.status != status[k] && !is_limited) {
            print_message("context %lld: %d, alone %d (estimates %g, %g)\n", (long long)k,
                          (int)status[k], (int)s.status, error[k], s.report.policy_error);
        }
        assert_true(s.status == status[k] || is_limited);
        assert_int_equal(s.report.unique, unique[k]);
        assert_near(largest_difference(policy + first, s.policy, n), 0.0, slack);
        for (int64_t o = 0; o < n; o++) {
            if (isfinite(s.advantage[o])) {
                assert_near(advantage[first + o], s.advantage[o],
                            1e-12 * most + 1e3 * slack * most);
            }
        }
        if (s.status == GRPOALIGN_OK) {
            assert_true(residual[k] < 1e-11 + 10.0 * s.report.residual);
            assert_near(reward[k], s.report.expected_reward,
                        (1e-12 + 10.0 * slack) * (1.0 + fabs(s.report.expected_reward)));
            if (isfinite(s.report.kl_ref_policy)) {
                assert_near(kl[k], s.report.kl_ref_policy,
                            1e-9 * (1.0 + fabs(s.report.kl_ref_policy)));
            }
        }
        solved_free(&s);
    }
    free(policy), free(advantage), free(numbers);
}

static void answers_are_those_of_single_contexts(void **state)
{
    (void)state;
    randomness r = random_start(1);
    const int32_t kinds[] = {GRPOALIGN_PENALTY_REVERSE_KL, GRPOALIGN_PENALTY_REVERSE_KL,
                             GRPOALIGN_PENALTY_DIRECT_KL, GRPOALIGN_PENALTY_CHI_SQUARED};
    for (int trial = 0; trial < 24 * test_scale(); trial++) {
        grpoalign_penalty *penalty;
        int32_t model = 1 + trial % 3;
        CHECK_OK(grpoalign_penalty_new(kinds[(trial / 3) % 4], NULL, &penalty, NULL));
        lot *l = random_lot(&r, model, trial % 2, penalty);
        if (model != GRPOALIGN_BULK_RANKED) {
            l->options.scale = random_below(&r, 2) ? GRPOALIGN_SCALE_NONE : GRPOALIGN_SCALE_STD;
            l->options.epsilon =
                l->options.scale == GRPOALIGN_SCALE_STD && random_below(&r, 2) ? 1e-4 : 0.0;
        }
        compare(l);
        free(l);
        grpoalign_penalty_free(penalty);
    }
}

/* The same bits with any number of threads, and for each context in any company. */
static void company_changes_nothing(void **state)
{
    (void)state;
    randomness r = random_start(2);
    double *policy = doubles(), *again = doubles(), *alone = doubles();
    grpoalign_penalty *penalty;
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL));
    for (int model = GRPOALIGN_BULK_RANKED; model <= GRPOALIGN_BULK_LIMIT; model++) {
        lot *l = random_lot(&r, model, 0, penalty);
        grpoalign_columns columns = GRPOALIGN_COLUMNS_INIT;
        grpoalign_bulk_options options = GRPOALIGN_BULK_OPTIONS_INIT;
        size_t bytes = (size_t)l->bulk.reward_count * sizeof(double);
        columns.policy = policy;
        CHECK_OK(grpoalign_solve_bulk(&l->bulk, &columns, NULL, NULL));
        columns.policy = again;
        options.threads = 3;
        CHECK_OK(grpoalign_solve_bulk(&l->bulk, &columns, &options, NULL));
        assert_memory_equal(policy, again, bytes);
        for (int64_t k = 0; k < CONTEXTS; k += 17) {
            grpoalign_bulk one = l->bulk;
            int64_t offsets[2] = {0, l->offsets[k + 1] - l->offsets[k]};
            one.contexts = 1;
            one.offsets = offsets;
            one.reward_count = offsets[1];
            one.rewards = l->rewards + l->offsets[k];
            one.reference = l->reference + l->offsets[k];
            one.beta = &l->beta[k];
            one.beta_count = 1;
            columns.policy = alone;
            CHECK_OK(grpoalign_solve_bulk(&one, &columns, NULL, NULL));
            assert_memory_equal(policy + l->offsets[k], alone, (size_t)offsets[1] * sizeof(double));
        }
        free(l);
    }
    grpoalign_penalty_free(penalty);
    free(policy), free(again), free(alone);
}

/* A context that is bad says so, and the others have their answers. */
static void bad_contexts_fail_alone(void **state)
{
    (void)state;
    const double rewards[8] = {0.0, 1.0, NAN, 1.0, 0.0, 1.0, 0.0, 2.0}, beta[1] = {0.5};
    const double reference[8] = {0.5, 0.5, 0.5, 0.5, 0.9, 0.3, 0.25, 0.75};
    const int64_t offsets[6] = {0, 2, 4, 6, 6, 8};
    double policy[8];
    int32_t status[5];
    int64_t index[5];
    grpoalign_penalty *penalty;
    grpoalign_bulk bulk = GRPOALIGN_BULK_INIT;
    grpoalign_columns columns = GRPOALIGN_COLUMNS_INIT;
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL));
    bulk.model = GRPOALIGN_BULK_LIMIT;
    bulk.contexts = 5;
    bulk.offsets = offsets;
    bulk.reward_count = 8;
    bulk.rewards = rewards;
    bulk.reference = reference;
    bulk.beta = beta;
    bulk.penalty = penalty;
    columns.policy = policy;
    columns.status = status;
    columns.index = index;
    CHECK_OK(grpoalign_solve_bulk(&bulk, &columns, NULL, NULL));
    assert_int_equal(columns.failed, 3);
    assert_int_equal(status[0], GRPOALIGN_OK);
    assert_int_equal(status[1], GRPOALIGN_ERR_NOT_FINITE);
    assert_int_equal(index[1], 0);
    assert_int_equal(status[2], GRPOALIGN_ERR_PROBABILITY);
    assert_int_equal(status[3], GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(status[4], GRPOALIGN_OK);
    assert_true(isnan(policy[2]) && isnan(policy[5]) && policy[7] > 0.75);
    bulk.reference_kind = GRPOALIGN_BULK_COUNTS; /* then 0.9 and 0.3 are three to one */
    CHECK_OK(grpoalign_solve_bulk(&bulk, &columns, NULL, NULL));
    assert_int_equal(status[2], GRPOALIGN_OK);
    assert_true(policy[5] > 0.25);
    grpoalign_penalty_free(penalty);
}

static int32_t stop(void *user, const grpoalign_progress *progress)
{
    (void)progress;
    return ++*(int *)user >= 2;
}

static void calls_are_checked(void **state)
{
    (void)state;
    randomness r = random_start(3);
    grpoalign_penalty *penalty;
    grpoalign_error error;
    int calls = 0;
    double *policy = doubles();
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_DIRECT_KL, NULL, &penalty, NULL));
    lot *l = random_lot(&r, GRPOALIGN_BULK_GROUP, 0, penalty);
    grpoalign_columns columns = GRPOALIGN_COLUMNS_INIT;
    grpoalign_bulk_options options = GRPOALIGN_BULK_OPTIONS_INIT;
    columns.policy = policy;
    options.progress = stop;
    options.user = &calls;
    assert_int_equal(grpoalign_solve_bulk(&l->bulk, &columns, &options, &error),
                     GRPOALIGN_ERR_CANCELLED);
    grpoalign_bulk wrong = l->bulk;
    wrong.model = 9;
    assert_int_equal(grpoalign_solve_bulk(&wrong, &columns, NULL, &error), GRPOALIGN_ERR_ARGUMENT);
    wrong = l->bulk;
    wrong.beta_count = 7;
    assert_int_equal(grpoalign_solve_bulk(&wrong, &columns, NULL, &error), GRPOALIGN_ERR_DIMENSION);
    wrong = l->bulk;
    l->beta[5] = -1.0;
    assert_int_equal(grpoalign_solve_bulk(&wrong, &columns, NULL, &error), GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.index, 5);
    l->beta[5] = 1.0;
    wrong.group_size = 1;
    assert_int_equal(grpoalign_solve_bulk(&wrong, &columns, NULL, &error), GRPOALIGN_ERR_ARGUMENT);
    wrong = l->bulk;
    l->offsets[7] = -1;
    assert_int_equal(grpoalign_solve_bulk(&wrong, &columns, NULL, &error), GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.index, 7);
    wrong = l->bulk;
    wrong.contexts = 0;
    CHECK_OK(grpoalign_solve_bulk(&wrong, &columns, NULL, NULL));
    free(l), free(policy);
    grpoalign_penalty_free(penalty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers_are_those_of_single_contexts),
                                       cmocka_unit_test(company_changes_nothing),
                                       cmocka_unit_test(bad_contexts_fail_alone),
                                       cmocka_unit_test(calls_are_checked)};
    return run_chosen(tests);
}
