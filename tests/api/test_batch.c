/* Batches that share one std: against the large-group limit, which a batch of one context is;
 * against the definition; against a search along b; and against the training flow. */
#include "check.h"

enum { MOST = 6, CONTEXTS = 5 };

/* One context, by its numbers. */
typedef struct prompt {
    int64_t n, group_size; /* group_size 0: the limit */
    int leave_one_out;
    double rewards[MOST], variances[MOST], log_reference[MOST];
    double support[2], distribution[2 * MOST];
    int random; /* rewards over the support */
    grpoalign_model *model;
    grpoalign_reference *reference;
} prompt;

static void open_prompt(prompt *p)
{
    grpoalign_reward_options options;
    grpoalign_reward_options_init(&options, sizeof options);
    options.scale = GRPOALIGN_SCALE_NONE;
    options.baseline =
        p->leave_one_out ? GRPOALIGN_BASELINE_LEAVE_ONE_OUT : GRPOALIGN_BASELINE_MEAN;
    if (p->random) {
        CHECK_OK(grpoalign_model_new_group_random(p->support, 2, p->distribution, p->n, 2,
                                                  p->group_size, &options, &p->model, NULL));
    } else if (p->group_size > 0) {
        CHECK_OK(
            grpoalign_model_new_group(p->rewards, p->n, p->group_size, &options, &p->model, NULL));
    } else {
        CHECK_OK(
            grpoalign_model_new_limit(p->rewards, p->variances, p->n, &options, &p->model, NULL));
    }
    CHECK_OK(grpoalign_reference_new_log(p->log_reference, p->n, NULL, &p->reference, NULL));
}

static void close_prompt(prompt *p)
{
    grpoalign_model_free(p->model);
    grpoalign_reference_free(p->reference);
}

/* A context of the limit, with two outcomes or one. */
static prompt plain_prompt(int64_t n, double reward, double log_first, double log_second,
                           double variance)
{
    prompt p;
    memset(&p, 0, sizeof p);
    p.n = n;
    p.rewards[n - 1] = reward;
    p.log_reference[0] = log_first;
    p.log_reference[1] = log_second;
    p.variances[n - 1] = variance;
    return p;
}

static void random_prompt(randomness *r, prompt *p)
{
    memset(p, 0, sizeof *p);
    p->n = 2 + random_below(r, MOST - 1);
    p->group_size = random_below(r, 3) == 0 ? 0 : 2 + random_below(r, 15);
    p->leave_one_out = (int)random_below(r, 2);
    random_reference(r, (int)random_below(r, REFERENCE_KINDS), p->n, p->log_reference);
    random_rewards(r, (int)random_below(r, REWARDS_KINDS), p->n, p->rewards);
    if (random_below(r, 6) == 0) { /* nothing to learn, yet it has a spread */
        for (int64_t o = 1; o < p->n; o++) {
            p->rewards[o] = p->rewards[0];
        }
    }
    p->random = p->group_size > 0 && random_below(r, 3) == 0;
    p->support[1] = 1.0;
    for (int64_t o = 0; o < p->n; o++) {
        double success = random_uniform(r);
        p->variances[o] = p->group_size == 0 && random_below(r, 2) ? random_uniform(r) : 0.0;
        p->distribution[2 * o] = 1.0 - success;
        p->distribution[2 * o + 1] = success;
        if (p->random) {
            p->rewards[o] = success;
            p->variances[o] = success * (1.0 - success);
        }
    }
}

static double own_share(const prompt *p)
{
    return p->group_size == 0 || p->leave_one_out ? 1.0 : 1.0 - 1.0 / (double)p->group_size;
}

/* The std of a batch from the policies of its contexts, by the definition. */
static double plain_std(const prompt *prompts, double *const *policies, int64_t count,
                        int of_advantages)
{
    long double within = 0.0L, mean = 0.0L, between = 0.0L, means[CONTEXTS];
    for (int64_t k = 0; k < count; k++) {
        const prompt *p = &prompts[k];
        long double variance = 0.0L, share = 1.0L, size = (long double)p->group_size;
        means[k] = 0.0L;
        for (int64_t o = 0; o < p->n; o++) {
            means[k] += policies[k][o] * (long double)p->rewards[o];
        }
        for (int64_t o = 0; o < p->n; o++) {
            long double d = p->rewards[o] - means[k];
            variance += policies[k][o] * (d * d + (long double)p->variances[o]);
        }
        if (of_advantages && p->group_size > 0) {
            share = p->leave_one_out ? size / (size - 1.0L) : 1.0L - 1.0L / size;
        }
        within += share * variance / (long double)count;
        mean += means[k] / (long double)count;
    }
    for (int64_t k = 0; k < count && !of_advantages; k++) {
        between += (means[k] - mean) * (means[k] - mean) / (long double)count;
    }
    return (double)sqrtl(within + between);
}

typedef struct outcome {
    grpoalign_status status;
    double std, *policies[CONTEXTS];
    grpoalign_report reports[CONTEXTS];
    grpoalign_error error;
} outcome;

static outcome solve_prompts(const prompt *prompts, int64_t count, const grpoalign_penalty *penalty,
                             double beta, const grpoalign_batch_options *batch)
{
    outcome out;
    const grpoalign_model *models[CONTEXTS] = {NULL};
    const grpoalign_reference *references[CONTEXTS] = {NULL};
    grpoalign_points *points;
    memset(&out, 0, sizeof out);
    for (int64_t k = 0; k < count; k++) {
        models[k] = prompts[k].model;
        references[k] = prompts[k].reference;
    }
    out.status = batch_of_parts(models, penalty, references, count, beta, batch, NULL, &points,
                                &out.std, &out.error);
    for (int64_t k = 0; k < count && out.status >= 0; k++) {
        const grpoalign_solution *solution = grpoalign_points_solution(points, k);
        out.policies[k] = calloc(MOST, sizeof(double));
        out.reports[k].struct_size = sizeof out.reports[k];
        CHECK_OK(grpoalign_solution_policy(solution, out.policies[k], prompts[k].n, NULL));
        CHECK_OK(grpoalign_solution_report(solution, &out.reports[k], NULL));
    }
    grpoalign_points_free(points);
    return out;
}

static void release(outcome *self)
{
    for (int k = 0; k < CONTEXTS; k++) {
        free(self->policies[k]);
    }
}

static const int32_t KINDS[] = {GRPOALIGN_PENALTY_REVERSE_KL,     GRPOALIGN_PENALTY_DIRECT_KL,
                                GRPOALIGN_PENALTY_JENSEN_SHANNON, GRPOALIGN_PENALTY_CHI_SQUARED,
                                GRPOALIGN_PENALTY_ALPHA,          GRPOALIGN_PENALTY_ALPHA};
enum { KIND_COUNT = sizeof KINDS / sizeof *KINDS };

static grpoalign_penalty *random_penalty(randomness *r, int32_t kind)
{
    grpoalign_penalty *penalty;
    if (kind == GRPOALIGN_PENALTY_ALPHA) {
        CHECK_OK(new_alpha(random_between(r, 0.0, 2.0), &penalty, NULL));
    } else {
        CHECK_OK(grpoalign_penalty_new(kind, NULL, &penalty, NULL));
    }
    return penalty;
}

/* Whether rounding or a fold decides more than the equations: the two ways may then part. */
static int is_near_fold(const outcome *o)
{
    return o->reports[0].policy_error > 1e-12;
}

/* Whether the policy has no spread that its square could hold: a batch takes that for none. */
static int is_certain(const prompt *p, const solved *o)
{
    double *policies[] = {o->policy};
    return o->status != GRPOALIGN_COLLAPSED && plain_std(p, policies, 1, 0) < 1e-140;
}

static void a_batch_of_one_context_is_the_limit(void **state)
{
    (void)state;
    randomness r = random_start(71);
    int several = 0, collapsed = 0, compared = 0;
    for (int trial = 0; trial < 400 * test_scale(); trial++) {
        prompt p;
        random_prompt(&r, &p);
        p.group_size = p.random = p.leave_one_out = 0;
        int32_t kind = KINDS[random_below(&r, 2)]; /* the others are solved as batches themselves */
        double beta = exp(random_between(&r, log(0.02), log(4.0))),
               epsilon = random_below(&r, 2) ? 0.0 : exp(random_between(&r, -9.0, 0.0));
        grpoalign_reward_options options;
        grpoalign_batch_options batch;
        grpoalign_reward_options_init(&options, sizeof options);
        grpoalign_batch_options_init(&batch, sizeof batch);
        options.epsilon = batch.epsilon = epsilon;
        batch.std = (int32_t)random_below(&r, 2); /* of one context they are the same */
        grpoalign_model *limit;
        grpoalign_penalty *penalty = random_penalty(&r, kind);
        CHECK_OK(grpoalign_model_new_limit(p.rewards, p.variances, p.n, &options, &limit, NULL));
        open_prompt(&p);
        prompt twins[2] = {p, p};
        solved expected = solve_penalised(limit, penalty, beta, p.log_reference, NULL);
        outcome actual =
            solve_prompts(twins, 1 + (int64_t)random_below(&r, 2), penalty, beta, &batch);
        int flat = expected.report.method == GRPOALIGN_METHOD_TRIVIAL;
        if (!flat && !is_near_fold(&actual) && expected.report.policy_error < 1e-12) {
            /* An ordinary solve looks for the first alone where that is all it can find. */
            if ((expected.report.unique >= 0 || expected.status == GRPOALIGN_COLLAPSED) &&
                !is_certain(&p, &expected)) {
                assert_int_equal(actual.status, expected.status);
            }
            if (expected.report.unique >= 0 || actual.status != GRPOALIGN_NOT_UNIQUE) {
                assert_near(largest_difference(actual.policies[0], expected.policy, p.n), 0.0,
                            1e-11);
                compared++;
            }
            several += expected.status == GRPOALIGN_NOT_UNIQUE;
            collapsed += expected.status == GRPOALIGN_COLLAPSED;
            if (expected.report.unique > 0 && actual.std > 1e-4) {
                assert_int_equal(actual.reports[0].unique, 1);
            }
        }
        release(&actual);
        solved_free(&expected);
        close_prompt(&p);
        grpoalign_model_free(limit);
        grpoalign_penalty_free(penalty);
    }
    assert_true(several > 3 && collapsed > 3 && compared > 150 * test_scale());
}

/* H of the header's equation at b, with policies by the library's ordinary solver. */
static double equation(const prompt *prompts, int64_t count, const grpoalign_penalty *penalty,
                       double beta, double epsilon, int of_advantages, double log_b)
{
    double *policies[CONTEXTS] = {NULL};
    solved each[CONTEXTS];
    for (int64_t k = 0; k < count; k++) {
        each[k] =
            solve_penalised(prompts[k].model, penalty, exp(log_b), prompts[k].log_reference, NULL);
        policies[k] = each[k].policy;
    }
    double value =
        log_b - log(plain_std(prompts, policies, count, of_advantages) + epsilon) - log(beta);
    for (int64_t k = 0; k < count; k++) {
        solved_free(&each[k]);
    }
    return value;
}

static void policies_of_a_batch_divide_by_its_own_std(void **state)
{
    (void)state;
    randomness r = random_start(72);
    int proved = 0, several = 0, looked = 0, stable = 0;
    for (int trial = 0; trial < 150 * test_scale(); trial++) {
        prompt prompts[CONTEXTS];
        int64_t count = 2 + random_below(&r, CONTEXTS - 1);
        for (int64_t k = 0; k < count; k++) {
            random_prompt(&r, &prompts[k]);
            open_prompt(&prompts[k]);
        }
        double beta = exp(random_between(&r, log(0.02), log(4.0))),
               epsilon = random_below(&r, 2) ? 0.0 : exp(random_between(&r, -9.0, 0.0));
        int32_t kind = KINDS[random_below(&r, KIND_COUNT)];
        grpoalign_batch_options batch;
        grpoalign_batch_options_init(&batch, sizeof batch);
        batch.epsilon = epsilon;
        batch.std = (int32_t)random_below(&r, 2);
        grpoalign_penalty *penalty = random_penalty(&r, kind);
        outcome found = solve_prompts(prompts, count, penalty, beta, &batch);
        if (found.status < 0) {
            fail_msg("trial %d: %s", trial, found.error.message);
        }
        if (found.status == GRPOALIGN_OK || found.status == GRPOALIGN_NOT_UNIQUE) {
            double std = plain_std(prompts, found.policies, count, batch.std),
                   b = beta * (std + epsilon);
            assert_near(found.std, std, 1e-11 * (1.0 + std));
            /* A policy that turns over within a rounding of b leaves b and the std apart, and says
             * so. */
            int agrees = found.reports[0].policy_error < 1e-8;
            for (int64_t k = 0; agrees && k < count; k++) {
                if (std < 1e-4) { /* what is left of it in the sums of this file is rounding */
                    assert_near(found.reports[k].beta, b, 1e-8);
                    continue;
                }
                solved alone =
                    solve_penalised(prompts[k].model, penalty, b, prompts[k].log_reference, NULL);
                assert_near(largest_difference(found.policies[k], alone.policy, prompts[k].n), 0.0,
                            1e-9);
                assert_near(found.reports[k].beta, b, 1e-11 * b);
                assert_int_equal(found.reports[k].unique, found.reports[0].unique);
                assert_int_equal(found.reports[k].stable, found.reports[0].stable);
                solved_free(&alone);
            }
        }
        /* The roots between the largest b there can be and 1e-6 of it. */
        if (found.reports[0].policy_error < 1e-10 &&
            (found.std > 1e-4 || found.status == GRPOALIGN_COLLAPSED)) {
            double top = log(beta * (20.0 + epsilon)), step = 0.05;
            double first = NAN,
                   before = equation(prompts, count, penalty, beta, epsilon, batch.std, top);
            int roots = 0;
            for (double at = top - step; at > top - 14.0; at -= step) {
                double here = equation(prompts, count, penalty, beta, epsilon, batch.std, at);
                if ((here > 0.0) != (before > 0.0)) {
                    first = roots++ == 0 ? at : first;
                }
                before = here;
            }
            assert_true(roots == 0 || found.status != GRPOALIGN_COLLAPSED);
            if (roots > 0) {
                double at = log(found.reports[0].beta);
                assert_near(equation(prompts, count, penalty, beta, epsilon, batch.std, at), 0.0,
                            1e-7);
                /* The search may have stepped over two roots that are near. */
                assert_true(at >= first - 1e-9 &&
                            (at <= first + step + 1e-9 || found.reports[0].unique <= 0));
                assert_true(found.reports[0].unique <= 0 || roots == 1);
                assert_true(roots == 1 || found.reports[0].unique == 0);
                looked++;
            }
            proved += found.reports[0].unique > 0;
            several += roots > 1;
            stable += found.reports[0].stable > 0;
        }
        release(&found);
        grpoalign_penalty_free(penalty);
        for (int64_t k = 0; k < count; k++) {
            close_prompt(&prompts[k]);
        }
    }
    print_message("# %d of %d proved unique, %d with several, %d proved stable\n", proved, looked,
                  several, stable);
    assert_true(looked > 100 && proved > looked / 2 && stable > looked / 2);
}

/* All points of the limit with penalties other than the KLs are found and proved as those of a
 * batch of one: every sign change of the equation along b is one of them. */
static void points_of_the_limit_are_found_under_every_penalty(void **state)
{
    (void)state;
    randomness r = random_start(74);
    int complete = 0, several = 0, searched = 0;
    for (int trial = 0; trial < 120 * test_scale(); trial++) {
        prompt p;
        random_prompt(&r, &p);
        p.group_size = p.random = p.leave_one_out = 0;
        random_reference(&r, REFERENCE_DIRICHLET, p.n, p.log_reference);
        int32_t kind = KINDS[2 + random_below(&r, KIND_COUNT - 2)];
        grpoalign_penalty *penalty = random_penalty(&r, kind);
        double beta = exp(random_between(&r, log(0.1), log(4.0))),
               epsilon = random_below(&r, 2) ? 0.0 : exp(random_between(&r, -9.0, 0.0));
        grpoalign_reward_options options;
        grpoalign_reward_options_init(&options, sizeof options);
        options.epsilon = epsilon;
        grpoalign_model *limit;
        grpoalign_points *points;
        CHECK_OK(grpoalign_model_new_limit(p.rewards, p.variances, p.n, &options, &limit, NULL));
        open_prompt(&p);
        CHECK_OK(points_of_parts(limit, penalty, p.reference, beta, NULL, &points, NULL));
        int64_t count = grpoalign_points_count(points), found = 0;
        double log_b[8], top = log(beta * (20.0 + epsilon)), step = 0.02;
        for (int64_t k = 0; k < count && k < 8; k++) {
            double policy[MOST], *policies[] = {policy};
            CHECK_OK(
                grpoalign_solution_policy(grpoalign_points_solution(points, k), policy, p.n, NULL));
            double std = plain_std(&p, policies, 1, 0);
            log_b[k] = log(beta * (std + epsilon));
            if (std > 1e-4) {
                assert_near(equation(&p, 1, penalty, beta, epsilon, 0, log_b[k]), 0.0, 1e-6);
            }
            assert_true(k == 0 || log_b[k] < log_b[k - 1]);
        }
        double before = equation(&p, 1, penalty, beta, epsilon, 0, top);
        for (double at = top - step; at > top - 11.0; at -= step) {
            double here = equation(&p, 1, penalty, beta, epsilon, 0, at);
            if ((here > 0.0) != (before > 0.0)) {
                int matches = 0;
                for (int64_t k = 0; k < count && k < 8; k++) {
                    matches += log_b[k] >= at - 1e-6 && log_b[k] <= at + step + 1e-6;
                }
                assert_true(matches >= 1);
                found++;
            }
            before = here;
        }
        /* Two that are near may lie within a step. */
        assert_true(found <= count &&
                    (log_b[count > 0 ? count - 1 : 0] < top - 10.9 || (count - found) % 2 == 0));
        complete += grpoalign_points_complete(points);
        several += count > 1;
        searched++;
        grpoalign_points_free(points);
        grpoalign_penalty_free(penalty);
        grpoalign_model_free(limit);
        close_prompt(&p);
    }
    print_message("# the limit: %d of %d proved complete, %d with several points\n", complete,
                  searched, several);
    assert_true(complete > searched / 2 && several > 5);
}

/* Below the critical beta training collapses, above it there is a stationary policy. */
static void training_collapses_below_the_critical_beta_alone(void **state)
{
    (void)state;
    static const double REWARDS[] = {0.0, 1.0, 0.4}, LOG_REFERENCE[] = {-0.2, -2.3, -2.3},
                        ALPHAS[] = {0.3, 0.6, 1.3, 2.0};
    for (int k = 0; k < 6; k++) {
        grpoalign_model *limit;
        grpoalign_penalty *penalty;
        grpoalign_reference *reference;
        double beta;
        CHECK_OK(grpoalign_model_new_limit(REWARDS, NULL, 3, NULL, &limit, NULL));
        CHECK_OK(grpoalign_reference_new_log(LOG_REFERENCE, 3, NULL, &reference, NULL));
        if (k < 4) {
            CHECK_OK(new_alpha(ALPHAS[k], &penalty, NULL));
        } else {
            CHECK_OK(grpoalign_penalty_new(k == 4 ? GRPOALIGN_PENALTY_JENSEN_SHANNON
                                                  : GRPOALIGN_PENALTY_CHI_SQUARED,
                                           NULL, &penalty, NULL));
        }
        CHECK_OK(critical_beta_of_parts(limit, penalty, reference, &beta, NULL));
        if (k == 0) {
            assert_near(beta, 0.0, 0.0);
        } else {
            /* Its logarithm is the least of log b - log sigma(b). */
            prompt p = plain_prompt(3, 0.0, 0.0, 0.0, 0.0);
            memcpy(p.rewards, REWARDS, sizeof REWARDS);
            memcpy(p.log_reference, LOG_REFERENCE, sizeof LOG_REFERENCE);
            open_prompt(&p);
            double least = INFINITY;
            for (double y = 3.0; y > -12.0; y -= 0.002) {
                least = fmin(least, equation(&p, 1, penalty, 1.0, 0.0, 0, y));
            }
            close_prompt(&p);
            assert_near(log(beta), least, 1e-5);
            for (int above = 0; above < 2; above++) {
                solved s = solve_penalised(limit, penalty, beta * (above ? 1.0 + 1e-9 : 1.0 - 1e-9),
                                           LOG_REFERENCE, NULL);
                assert_true((s.status == GRPOALIGN_COLLAPSED) == !above);
                solved_free(&s);
            }
        }
        grpoalign_model_free(limit);
        grpoalign_penalty_free(penalty);
        grpoalign_reference_free(reference);
    }
}

/* Two prompts, one that most policies fail and one that most pass: direct KL has several stationary
 * policies. */
static void two_prompts_have_several_stationary_policies(void **state)
{
    (void)state;
    prompt prompts[] = {plain_prompt(2, 1.0, log(0.9), log(0.1), 0.0),
                        plain_prompt(2, 1.0, log(0.88), log(0.12), 0.0)};
    open_prompt(&prompts[0]);
    open_prompt(&prompts[1]);
    grpoalign_penalty *direct;
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_DIRECT_KL, NULL, &direct, NULL));
    /* epsilon keeps the batch from collapsing, and the third root with it. */
    grpoalign_batch_options batch;
    grpoalign_batch_options_init(&batch, sizeof batch);
    batch.epsilon = 1e-3;
    outcome found = solve_prompts(prompts, 2, direct, 0.75, &batch);
    assert_int_equal(found.status, GRPOALIGN_NOT_UNIQUE);
    assert_int_equal(found.reports[0].unique, 0);
    assert_int_equal(found.reports[0].stable, 1);
    /* It is the first from above. */
    for (double y = log(found.reports[0].beta) + 1e-6; y < log(2.0); y += 0.01) {
        assert_true(equation(prompts, 2, direct, 0.75, 1e-3, 0, y) > 0.0);
    }
    release(&found);
    batch.epsilon = 0.0;
    found = solve_prompts(prompts, 2, direct, 0.05, &batch);
    assert_int_equal(found.status, GRPOALIGN_COLLAPSED);
    assert_near(found.policies[0][1], 1.0, 0.0);
    assert_near(found.std, 0.0, 0.0);
    assert_near(found.reports[1].beta, 0.0, 0.0);
    release(&found);
    grpoalign_penalty_free(direct);
    close_prompt(&prompts[0]);
    close_prompt(&prompts[1]);
}

/* Euler steps of the flow d logits = (diag pi - pi pi^T)(u/(sigma + epsilon) - beta g), from near a
 * stable point. */
static void stable_points_of_a_batch_draw_the_flow_back(void **state)
{
    (void)state;
    randomness r = random_start(73);
    int checked = 0;
    for (int trial = 0; trial < 20 * test_scale(); trial++) {
        prompt prompts[CONTEXTS];
        int64_t count = 2 + random_below(&r, 2);
        for (int64_t k = 0; k < count; k++) {
            random_prompt(&r, &prompts[k]);
            random_reference(&r, REFERENCE_DIRICHLET, prompts[k].n, prompts[k].log_reference);
            open_prompt(&prompts[k]);
        }
        double beta = random_between(&r, 0.3, 2.0);
        int reverse = (int)random_below(&r, 2);
        grpoalign_penalty *penalty;
        grpoalign_batch_options batch;
        grpoalign_batch_options_init(&batch, sizeof batch);
        batch.epsilon = 1e-4;
        batch.std = (int32_t)random_below(&r, 2);
        CHECK_OK(grpoalign_penalty_new(reverse ? GRPOALIGN_PENALTY_REVERSE_KL
                                               : GRPOALIGN_PENALTY_DIRECT_KL,
                                       NULL, &penalty, NULL));
        outcome found = solve_prompts(prompts, count, penalty, beta, &batch);
        double policy[CONTEXTS][MOST], logit[CONTEXTS][MOST], least = 1.0, start = 0.0, end = 0.0;
        double *policies[CONTEXTS] = {NULL};
        for (int64_t k = 0; k < count; k++) {
            policies[k] = policy[k];
            for (int64_t o = 0; o < prompts[k].n; o++) {
                least = fmin(least, found.policies[k][o]);
                logit[k][o] = log(found.policies[k][o]) + 1e-3 * random_normal(&r);
            }
        }
        int usable = found.status >= 0 && found.reports[0].stable > 0 && least > 0.02;
        for (int step = 0; usable && step <= 20000; step++) {
            end = 0.0;
            for (int64_t k = 0; k < count; k++) {
                double sum = 0.0;
                for (int64_t o = 0; o < prompts[k].n; o++) {
                    sum += policy[k][o] = exp(logit[k][o]);
                }
                for (int64_t o = 0; o < prompts[k].n; o++) {
                    policy[k][o] /= sum;
                }
                end = fmax(end, largest_difference(policy[k], found.policies[k], prompts[k].n));
            }
            start = step == 0 ? end : start;
            double divisor = plain_std(prompts, policies, count, batch.std) + batch.epsilon;
            for (int64_t k = 0; k < count; k++) {
                double force[MOST], mean = 0.0, total = 0.0;
                for (int64_t o = 0; o < prompts[k].n; o++) {
                    total += exp(prompts[k].log_reference[o]);
                }
                for (int64_t o = 0; o < prompts[k].n; o++) {
                    double l = log(policy[k][o]) - prompts[k].log_reference[o] + log(total);
                    force[o] = own_share(&prompts[k]) * prompts[k].rewards[o] / divisor -
                               beta * (reverse ? -exp(-l) : l);
                    mean += policy[k][o] * force[o];
                }
                for (int64_t o = 0; o < prompts[k].n; o++) {
                    logit[k][o] += 0.05 * policy[k][o] * (force[o] - mean);
                }
            }
        }
        if (usable) {
            assert_true(end < 0.1 * start);
            checked++;
        }
        release(&found);
        grpoalign_penalty_free(penalty);
        for (int64_t k = 0; k < count; k++) {
            close_prompt(&prompts[k]);
        }
    }
    assert_true(checked >= 3);
}

static outcome solve_plain(prompt *prompts, int64_t count, double alpha, int32_t kind, double beta,
                           int32_t std)
{
    grpoalign_penalty *penalty;
    grpoalign_batch_options batch;
    grpoalign_batch_options_init(&batch, sizeof batch);
    batch.std = std;
    if (kind == GRPOALIGN_PENALTY_ALPHA) {
        CHECK_OK(new_alpha(alpha, &penalty, NULL));
    } else {
        CHECK_OK(grpoalign_penalty_new(kind, NULL, &penalty, NULL));
    }
    for (int64_t k = 0; k < count; k++) {
        open_prompt(&prompts[k]);
    }
    outcome out = solve_prompts(prompts, count, penalty, beta, &batch);
    for (int64_t k = 0; k < count; k++) {
        close_prompt(&prompts[k]);
    }
    grpoalign_penalty_free(penalty);
    return out;
}

/* What a context in which nothing moves adds to the std counts: without it the first two roots are
 * missed. */
static void spread_of_a_context_that_does_not_move_counts(void **state)
{
    (void)state;
    prompt prompts[] = {
        plain_prompt(2, 1.0, 0.0, log(0.0053104648203615434 / 0.9946895351796384), 0.0),
        plain_prompt(1, 0.61, 0.0, 0.0, 0.11590815161648828)};
    outcome found = solve_plain(prompts, 2, 0.0, GRPOALIGN_PENALTY_DIRECT_KL, 0.4055311994395461,
                                GRPOALIGN_BATCH_STD_OF_ADVANTAGES);
    assert_int_equal(found.status, GRPOALIGN_NOT_UNIQUE);
    assert_near(found.reports[0].beta, 0.15822777312951, 1e-13);
    release(&found);
}

/* Where training takes the batch to one answer each, a context without anything to learn still has
 * its reference as its policy, and an equation that this meets. */
static void a_flat_context_of_a_collapsed_batch_keeps_its_reference(void **state)
{
    (void)state;
    for (int spread = 0; spread < 2; spread++) {
        prompt prompts[] = {plain_prompt(2, spread ? 1.0 : 0.0, log(0.9), log(0.1), 0.0),
                            plain_prompt(2, 0.0, log(0.3), log(0.7), 0.0)};
        outcome found = solve_plain(prompts, 2, 0.0, GRPOALIGN_PENALTY_DIRECT_KL, 0.001,
                                    GRPOALIGN_BATCH_STD_OF_ADVANTAGES);
        assert_int_equal(found.status, spread ? GRPOALIGN_COLLAPSED : GRPOALIGN_OK);
        assert_near(found.std, 0.0, 0.0);
        for (int k = 0; k < 2; k++) {
            assert_near(found.reports[k].beta, 0.0, 0.0);
            assert_true(isfinite(found.reports[k].normaliser));
        }
        assert_int_equal(found.reports[1].status, GRPOALIGN_OK);
        assert_near(found.reports[1].residual, 0.0, 1e-15);
        assert_near(found.policies[1][0], 0.3, 1e-15);
        assert_near(found.policies[1][1], 0.7, 1e-15);
        release(&found);
    }
}

/* Where policies are nearly certain at the beginning, where the std ends in nothing, or where
 * numbers do. */
static void batches_end_where_policies_are_nearly_certain(void **state)
{
    (void)state;
    /* A reference that gives the better outcome e^-680: sigma is e^-340 at first, and grows. */
    for (int k = 0; k < 3; k++) {
        prompt p = plain_prompt(2, 1.0, 0.0, -600.0 - 60.0 * k, 0.0);
        grpoalign_model *limit;
        CHECK_OK(grpoalign_model_new_limit(p.rewards, NULL, 2, NULL, &limit, NULL));
        solved expected =
            solve_model(limit, GRPOALIGN_PENALTY_DIRECT_KL, 1.0, p.log_reference, NULL);
        outcome found = solve_plain(&p, 1, 0.0, GRPOALIGN_PENALTY_DIRECT_KL, 1.0, 0);
        assert_int_equal(found.status, GRPOALIGN_NOT_UNIQUE);
        assert_near(found.policies[0][1], expected.policy[1], 1e-12);
        release(&found);
        solved_free(&expected);
        grpoalign_model_free(limit);
    }
    /* An outcome that nobody has does not set the unit. */
    prompt far = plain_prompt(3, 1e5, 0.0, -690.0, 0.0);
    far.rewards[1] = 1.0;
    far.log_reference[2] = -INFINITY;
    outcome found = solve_plain(&far, 1, 0.0, GRPOALIGN_PENALTY_REVERSE_KL, 8.0, 0);
    CHECK_OK(found.status);
    assert_near(found.policies[0][1], 1.0 / 65.0, 1e-13); /* beta^2 = (1 - p)/p */
    release(&found);
    /* sigma goes like b^(1/(2(1 - alpha))): below 1/2 there is a root for every beta. */
    static const double ALPHAS[] = {0.1, 0.3, 0.45};
    for (int k = 0; k < 9; k++) {
        prompt p = plain_prompt(2, 1.0, log(0.9), log(0.1), 0.0);
        found = solve_plain(&p, 1, ALPHAS[k / 3], GRPOALIGN_PENALTY_ALPHA, 0.2 + 1.4 * (k % 3), 0);
        CHECK_OK(found.status);
        assert_true(found.reports[0].unique != 0);
        release(&found);
    }
    /* Responses to slacks of 1e84 have numbers. */
    prompt noisy = plain_prompt(2, 1.0, log(0.7), log(0.3), 0.01);
    found = solve_plain(&noisy, 1, 1.9, GRPOALIGN_PENALTY_ALPHA, 0.1, 0);
    CHECK_OK(found.status);
    assert_near(found.reports[0].beta, 0.01, 1e-16);
    assert_int_equal(found.reports[0].unique, 1);
    release(&found);
    /* At the critical beta of alpha = 1/2, H is all but flat. */
    prompt critical = plain_prompt(2, 1.0, log(0.25), log(0.75), 0.0);
    found = solve_plain(&critical, 1, 0.5, GRPOALIGN_PENALTY_ALPHA, 1.0, 0);
    assert_int_equal(found.status, GRPOALIGN_NOT_CONVERGED);
    assert_near(found.reports[0].policy_error, 1.0, 0.0);
    release(&found);
    /* 1 - p = beta^2/(1 + beta^2) for rewards 0 and 1, each 1/2: sigma^2/b is constant. */
    for (int e = 20; e <= 149; e += 43) {
        double beta = pow(10.0, -e);
        prompt p = plain_prompt(2, 1.0, 0.0, 0.0, 0.0);
        found = solve_plain(&p, 1, 0.0, GRPOALIGN_PENALTY_REVERSE_KL, beta, 0);
        CHECK_OK(found.status);
        assert_int_equal(found.reports[0].unique, 1);
        assert_int_equal(found.reports[0].stable, 1);
        assert_true(found.reports[0].policy_error < 1e-13);
        assert_near(found.policies[0][0], 0.25 * beta * beta, 1e-12 * beta * beta);
        release(&found);
    }
}

static int32_t stop_at_once(void *user, const grpoalign_progress *progress)
{
    (void)progress;
    ++*(int *)user;
    return 1;
}

/* A start is not read: contexts have different sizes. And the host may stop the search. */
static void a_start_is_not_read_and_the_host_may_stop(void **state)
{
    (void)state;
    int calls = 0;
    double start[] = {7.0};
    grpoalign_solve_options options;
    grpoalign_solve_options_init(&options, sizeof options);
    options.start = start;
    options.start_count = 1;
    prompt prompts[] = {plain_prompt(2, 1.0, 0.0, 0.0, 0.0), plain_prompt(5, 1.0, 0.0, 0.0, 0.0)};
    grpoalign_penalty *penalty;
    grpoalign_points *points = NULL;
    grpoalign_error error;
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL));
    open_prompt(&prompts[0]);
    open_prompt(&prompts[1]);
    const grpoalign_model *models[] = {prompts[0].model, prompts[1].model};
    const grpoalign_reference *references[] = {prompts[0].reference, prompts[1].reference};
    CHECK_OK(
        batch_of_parts(models, penalty, references, 2, 0.3, NULL, &options, &points, NULL, &error));
    grpoalign_points_free(points);
    options.start = NULL;
    options.start_count = 0;
    options.progress = stop_at_once;
    options.user = &calls;
    assert_int_equal(
        batch_of_parts(models, penalty, references, 2, 0.3, NULL, &options, &points, NULL, &error),
        GRPOALIGN_ERR_CANCELLED);
    assert_int_equal(calls, 1);
    assert_null(points);
    close_prompt(&prompts[0]);
    close_prompt(&prompts[1]);
    grpoalign_penalty_free(penalty);
}

static void weights_count_and_some_penalties_need_no_std(void **state)
{
    (void)state;
    prompt prompts[3];
    for (int k = 0; k < 3; k++) {
        prompts[k] = plain_prompt(2, 1.0, log(k == 0 ? 0.7 : 0.4), log(k == 0 ? 0.3 : 0.6), 0.0);
        prompts[k].group_size = 8;
        open_prompt(&prompts[k]);
    }
    grpoalign_penalty *penalty;
    double weights[] = {1.0, 2.0};
    grpoalign_batch_options batch;
    grpoalign_batch_options_init(&batch, sizeof batch);
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL));
    outcome plain = solve_prompts(prompts, 3, penalty, 0.2, &batch);
    batch.weight_count = 2;
    batch.weights = weights; /* prompts 1 and 2 are one that comes twice as often */
    outcome weighted = solve_prompts(prompts, 2, penalty, 0.2, &batch);
    assert_near(plain.std, weighted.std, 1e-15);
    release(&weighted);
    release(&plain);
    grpoalign_penalty_free(penalty);
    for (int32_t kind = GRPOALIGN_PENALTY_NONE; kind <= GRPOALIGN_PENALTY_KL_IN_REWARD; kind++) {
        CHECK_OK(grpoalign_penalty_new(kind, NULL, &penalty, NULL));
        outcome found = solve_prompts(prompts, 2, penalty, 0.2, NULL);
        solved alone = solve_model(prompts[0].model, kind, 0.2, prompts[0].log_reference, NULL);
        assert_true(isnan(found.std));
        assert_near(largest_difference(found.policies[0], alone.policy, 2), 0.0, 0.0);
        assert_int_equal(found.reports[0].stable, alone.report.stable);
        assert_int_equal(found.reports[0].unique, alone.report.unique);
        solved_free(&alone);
        release(&found);
        grpoalign_penalty_free(penalty);
    }
    for (int k = 0; k < 3; k++) {
        close_prompt(&prompts[k]);
    }
}

static void expect(grpoalign_status wanted, int argument, int64_t index, const char *words,
                   const outcome *found)
{
    assert_int_equal(found->status, wanted);
    assert_int_equal(found->error.argument, argument);
    assert_int_equal(found->error.index, index);
    if (strstr(found->error.message, words) == NULL) {
        fail_msg("\"%s\" does not speak of \"%s\"", found->error.message, words);
    }
}

static void bad_arguments_of_a_batch_are_named(void **state)
{
    (void)state;
    prompt prompts[] = {plain_prompt(2, 1.0, 0.0, 0.0, 0.0), plain_prompt(2, 1.0, 0.0, 0.0, 0.0)};
    open_prompt(&prompts[0]);
    open_prompt(&prompts[1]);
    grpoalign_penalty *reverse, *clamped;
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &reverse, NULL));
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED, NULL, &clamped, NULL));
    outcome found;
    grpoalign_batch_options batch;
    grpoalign_batch_options_init(&batch, sizeof batch);
    found = solve_prompts(prompts, 0, reverse, 0.1, NULL);
    expect(GRPOALIGN_ERR_ARGUMENT, 2, -1, "count must be >= 1", &found);
    found = solve_prompts(prompts, 2, reverse, -1.0, NULL);
    expect(GRPOALIGN_ERR_ARGUMENT, 3, -1, "beta must be > 0", &found);
    found = solve_prompts(prompts, 2, NULL, 1.0, NULL);
    expect(GRPOALIGN_ERR_ARGUMENT, 2, 0, "penalty must not be NULL", &found);
    found = solve_prompts(prompts, 2, clamped, 1.0, NULL);
    expect(GRPOALIGN_ERR_UNSUPPORTED, 1, -1, "reverse_kl_clamped", &found);
    batch.epsilon = NAN;
    found = solve_prompts(prompts, 2, reverse, 1.0, &batch);
    expect(GRPOALIGN_ERR_NOT_FINITE, 4, -1, "batch.epsilon", &found);
    batch.epsilon = 0.0;
    batch.std = 2;
    found = solve_prompts(prompts, 2, reverse, 1.0, &batch);
    expect(GRPOALIGN_ERR_ARGUMENT, 4, -1, "batch.std", &found);
    batch.std = 0;
    double weights[] = {1.0, 0.0};
    batch.weights = weights;
    batch.weight_count = 1;
    found = solve_prompts(prompts, 2, reverse, 1.0, &batch);
    expect(GRPOALIGN_ERR_DIMENSION, 4, -1, "batch.weight_count", &found);
    batch.weight_count = 2;
    found = solve_prompts(prompts, 2, reverse, 1.0, &batch);
    expect(GRPOALIGN_ERR_ARGUMENT, 4, 1, "batch.weights[1]", &found);
    grpoalign_model *kept = prompts[1].model, *other;
    CHECK_OK(grpoalign_model_new_ranked(prompts[1].rewards, 2, NULL, &other, NULL));
    prompts[1].model = other;
    found = solve_prompts(prompts, 2, reverse, 1.0, NULL);
    expect(GRPOALIGN_ERR_UNSUPPORTED, 1, 1, "context 1: ", &found);
    grpoalign_model_free(other);
    CHECK_OK(grpoalign_model_new_group(prompts[1].rewards, 2, 4, NULL, &other, NULL));
    prompts[1].model = other;
    found = solve_prompts(prompts, 2, reverse, 1.0, NULL);
    expect(GRPOALIGN_ERR_UNSUPPORTED, 1, 1, "options.scale none", &found);
    grpoalign_model_free(other);
    prompts[1].model = NULL;
    found = solve_prompts(prompts, 2, reverse, 1.0, NULL);
    expect(GRPOALIGN_ERR_ARGUMENT, 1, 1, "model must not be NULL", &found);
    double three[] = {0.0, 1.0, 2.0};
    CHECK_OK(grpoalign_model_new_limit(three, NULL, 3, NULL, &other, NULL));
    prompts[1].model = other;
    found = solve_prompts(prompts, 2, reverse, 1.0, NULL);
    expect(GRPOALIGN_ERR_DIMENSION, 3, 1, "reference has 2 outcomes", &found);
    grpoalign_model_free(other);
    prompts[1].model = kept;
    close_prompt(&prompts[0]);
    close_prompt(&prompts[1]);
    grpoalign_penalty_free(reverse);
    grpoalign_penalty_free(clamped);
}

/* Rewards of any size and offset, and one context whose rewards hardly differ beside one whose
 * do. */
static void rewards_of_any_size_and_offset_give_the_same(void **state)
{
    (void)state;
    grpoalign_penalty *reverse;
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &reverse, NULL));
    prompt prompts[2];
    for (int e = -120; e <= 120; e += 40) {
        outcome at[2];
        for (int scaled = 0; scaled < 2; scaled++) {
            memset(prompts, 0, sizeof prompts);
            for (int k = 0; k < 2; k++) {
                prompts[k].n = 3;
                for (int64_t o = 0; o < 3; o++) {
                    prompts[k].rewards[o] = ldexp((double)(o * (k + 1)) + 3.0, scaled ? e : 0);
                    prompts[k].log_reference[o] = (double)(o * k) - 1.0;
                }
                open_prompt(&prompts[k]);
            }
            at[scaled] = solve_prompts(prompts, 2, reverse, 0.3, NULL);
            close_prompt(&prompts[0]);
            close_prompt(&prompts[1]);
        }
        CHECK_OK(at[1].status);
        assert_near(at[1].std, ldexp(at[0].std, e), ldexp(4e-15, e));
        assert_near(largest_difference(at[0].policies[0], at[1].policies[0], 3), 0.0, 1e-14);
        release(&at[0]);
        release(&at[1]);
    }
    memset(prompts, 0, sizeof prompts);
    for (int k = 0; k < 2; k++) {
        prompts[k].n = 2;
        prompts[k].rewards[1] = k == 0 ? 1.0 : 1e-30;
        open_prompt(&prompts[k]);
    }
    outcome found = solve_prompts(prompts, 2, reverse, 0.3, NULL);
    CHECK_OK(found.status);
    assert_near(found.policies[1][0], 0.5, 1e-15);
    assert_int_equal(found.reports[0].unique, 1);
    release(&found);
    close_prompt(&prompts[0]);
    close_prompt(&prompts[1]);
    /* Nothing to learn anywhere. */
    memset(prompts, 0, sizeof prompts);
    prompts[0].n = 2;
    open_prompt(&prompts[0]);
    found = solve_prompts(prompts, 1, reverse, 0.3, NULL);
    CHECK_OK(found.status);
    assert_near(found.policies[0][0], 0.5, 0.0);
    assert_near(found.std, 0.0, 0.0);
    release(&found);
    close_prompt(&prompts[0]);
    grpoalign_penalty_free(reverse);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_of_one_context_is_the_limit),
        cmocka_unit_test(policies_of_a_batch_divide_by_its_own_std),
        cmocka_unit_test(two_prompts_have_several_stationary_policies),
        cmocka_unit_test(stable_points_of_a_batch_draw_the_flow_back),
        cmocka_unit_test(weights_count_and_some_penalties_need_no_std),
        cmocka_unit_test(bad_arguments_of_a_batch_are_named),
        cmocka_unit_test(rewards_of_any_size_and_offset_give_the_same),
        cmocka_unit_test(spread_of_a_context_that_does_not_move_counts),
        cmocka_unit_test(a_flat_context_of_a_collapsed_batch_keeps_its_reference),
        cmocka_unit_test(batches_end_where_policies_are_nearly_certain),
        cmocka_unit_test(a_start_is_not_read_and_the_host_may_stop),
        cmocka_unit_test(points_of_the_limit_are_found_under_every_penalty),
        cmocka_unit_test(training_collapses_below_the_critical_beta_alone),
    };
    return run_chosen(tests);
}
