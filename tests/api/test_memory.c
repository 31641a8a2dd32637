/* Short memory: a call that cannot have its scratch says so, and never gives another answer. */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "check.h"

/* The library's scratch comes from aligned_alloc: the call with this number fails, if it is >= 0. */
static long countdown = -1, calls;

void *aligned_alloc(size_t alignment, size_t size)
{
    static void *(*real)(size_t, size_t);
    if (real == NULL) {
        void *found = dlsym(RTLD_NEXT, "aligned_alloc");
        memcpy(&real, &found, sizeof real);
    }
    calls++;
    return countdown >= 0 && countdown-- == 0 ? NULL : real(alignment, size);
}

enum { OUTCOMES = 40, FIRST_CALLS = 40 };

typedef struct outcome {
    grpoalign_status status;
    double policy[OUTCOMES];
    grpoalign_report report;
} outcome;

static outcome solve_or_follow(const handles *h, int follow)
{
    outcome out = {.report.struct_size = sizeof out.report};
    grpoalign_solution *solution = NULL;
    grpoalign_flow *flow = NULL;
    const grpoalign_solution *end = NULL;
    if (follow) {
        grpoalign_flow_options options;
        grpoalign_flow_options_init(&options, sizeof options);
        options.max_steps = 200;
        out.status =
            grpoalign_flow_new(h->model, h->penalty, h->reference, 0.5, &options, &flow, NULL);
        end = flow != NULL ? grpoalign_flow_end(flow) : NULL;
    } else {
        grpoalign_solve_options options;
        grpoalign_solve_options_init(&options, sizeof options);
        options.stability = GRPOALIGN_STABILITY_SPECTRUM;
        out.status =
            grpoalign_solve(h->model, h->penalty, h->reference, 0.5, &options, &solution, NULL);
        end = solution;
    }
    if (end != NULL) {
        CHECK_OK(grpoalign_solution_policy(end, out.policy, OUTCOMES, NULL));
        CHECK_OK(grpoalign_solution_report(end, &out.report, NULL));
    }
    grpoalign_solution_free(solution);
    grpoalign_flow_free(flow);
    return out;
}

static void check_failures(const handles *h, int follow)
{
    calls = 0;
    outcome plain = solve_or_follow(h, follow);
    long all = calls < FIRST_CALLS ? calls : FIRST_CALLS;
    assert_true(all > 0);
    for (long k = 0; k < all; k++) {
        countdown = k;
        outcome failed = solve_or_follow(h, follow);
        countdown = -1;
        if (failed.status != GRPOALIGN_ERR_MEMORY) {
            assert_int_equal(failed.status, plain.status);
            assert_int_equal(failed.report.stable, plain.report.stable);
            assert_memory_equal(&failed.report.rate, &plain.report.rate, sizeof plain.report.rate);
            assert_memory_equal(failed.policy, plain.policy, sizeof plain.policy);
        }
    }
}

static void failed_scratch(void **state)
{
    (void)state;
    static const int32_t PENALTIES[] = {GRPOALIGN_PENALTY_REVERSE_KL, GRPOALIGN_PENALTY_DIRECT_KL,
                                        GRPOALIGN_PENALTY_NONE, GRPOALIGN_PENALTY_CHI_SQUARED,
                                        GRPOALIGN_PENALTY_SQUARED_LOG_RATIO};
    double rewards[OUTCOMES], log_reference[OUTCOMES], margins[OUTCOMES * OUTCOMES];
    randomness random = random_start(7);
    for (int64_t i = 0; i < OUTCOMES; i++) {
        rewards[i] = (double)(i % 6);
        log_reference[i] = log(random_between(&random, 0.01, 1.0));
        for (int64_t j = 0; j <= i; j++) {
            double margin = i == j ? 0.0 : random_between(&random, -1.0, 1.0);
            margins[i * OUTCOMES + j] = margin;
            margins[j * OUTCOMES + i] = -margin;
        }
    }
    const plain_context contexts[] = {
        {.n = OUTCOMES, .margins = margins},
        {.n = OUTCOMES, .rewards = rewards},
        {.n = OUTCOMES, .rewards = rewards, .group_size = 8},
        {.n = OUTCOMES, .rewards = rewards, .limit = 1, .epsilon = 1e-4},
    };
    for (size_t c = 0; c < sizeof contexts / sizeof *contexts; c++) {
        for (size_t k = 0; k < sizeof PENALTIES / sizeof *PENALTIES; k++) {
            handles h = open_handles(&contexts[c], PENALTIES[k], log_reference);
            check_failures(&h, 0);
            check_failures(&h, 1);
            close_handles(&h);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_scratch),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
