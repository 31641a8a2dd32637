/* What each penalty does in particular: every one with every kind of model, losing outcomes, the
 * clamp. */
#include "check.h"

enum { MOST = 6 };

typedef struct variant {
    int32_t kind;
    double alpha;
} variant;

enum { ANY_ALPHA = -1 };

static const variant VARIANTS[] = {
    {GRPOALIGN_PENALTY_REVERSE_KL, 0.0},
    {GRPOALIGN_PENALTY_DIRECT_KL, 0.0},
    {GRPOALIGN_PENALTY_TOTAL_VARIATION, 0.0},
    {GRPOALIGN_PENALTY_SQUARED_LOG_RATIO, 0.0},
    {GRPOALIGN_PENALTY_CHI_SQUARED, 0.0},
    {GRPOALIGN_PENALTY_JENSEN_SHANNON, 0.0},
    {GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED, 0.0},
    {GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED, 0.0},
    {GRPOALIGN_PENALTY_ALPHA, 0.0},
    {GRPOALIGN_PENALTY_ALPHA, ANY_ALPHA},
    {GRPOALIGN_PENALTY_ALPHA, 1.0},
    {GRPOALIGN_PENALTY_ALPHA, 0.1},
    {GRPOALIGN_PENALTY_ALPHA, 2.0},
    {GRPOALIGN_PENALTY_ALPHA, 1.5},
};
enum { VARIANT_COUNT = sizeof VARIANTS / sizeof *VARIANTS };

static int is_clamped(variant v)
{
    return v.kind == GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED ||
           v.kind == GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED;
}

static grpoalign_penalty *make_penalty(variant v)
{
    grpoalign_penalty *penalty;
    CHECK_OK(v.kind == GRPOALIGN_PENALTY_ALPHA
                 ? new_alpha(v.alpha, &penalty, NULL)
                 : grpoalign_penalty_new(v.kind, NULL, &penalty, NULL));
    assert_int_equal(grpoalign_penalty_kind(penalty), v.kind);
    return penalty;
}

typedef struct inputs {
    plain_context context;
    double rewards[MOST], variances[MOST], margins[MOST * MOST], support[3], distribution[MOST * 3],
        logs[MOST];
} inputs;

/* A context of one of six kinds. */
static void random_inputs(randomness *r, inputs *in)
{
    plain_context *c = &in->context;
    int64_t kind = random_below(r, 6);
    memset(c, 0, sizeof *c);
    c->n = 2 + random_below(r, MOST - 1);
    random_rewards(r, (int)random_below(r, 2) ? REWARDS_UNIFORM : REWARDS_INTEGER, c->n,
                   in->rewards);
    random_reference(r, (int)random_below(r, 2) ? REFERENCE_DIRICHLET : REFERENCE_UNIFORM, c->n,
                     in->logs);
    c->rewards = in->rewards;
    if (kind == 0) {
        random_margins(r, (int)random_below(r, MARGINS_KINDS), c->n, in->margins);
        c->margins = in->margins;
    } else if (kind >= 2 && kind <= 3) {
        c->group_size = 2 + random_below(r, 4);
        c->unscaled = random_below(r, 4) == 0;
        c->epsilon = c->unscaled || random_below(r, 2) ? 0.0 : random_uniform(r);
        c->ddof = c->unscaled ? 0 : (int)random_below(r, 2);
        if (kind == 3) {
            c->k = 2 + random_below(r, 2);
            random_rewards(r, REWARDS_UNIFORM, c->k, in->support);
            for (int64_t o = 0; o < c->n; o++) {
                random_policy(r, c->k, in->distribution + o * c->k);
            }
            c->support = in->support;
            c->distribution = in->distribution;
        }
    } else if (kind >= 4) {
        c->limit = 1;
        c->unscaled = random_below(r, 4) == 0;
        c->epsilon = c->unscaled || random_below(r, 2) ? 0.0 : random_uniform(r);
        for (int64_t o = 0; o < c->n; o++) {
            in->variances[o] = random_uniform(r);
        }
        c->variances = kind == 5 && !c->unscaled ? in->variances : NULL;
    }
}

static double largest_advantage(const solved *s, int64_t n)
{
    double largest = 1.0;
    for (int64_t o = 0; o < n; o++) {
        largest = isfinite(s->advantage[o]) ? fmax(largest, fabs(s->advantage[o])) : largest;
    }
    return largest;
}

/* For whoever has to look into a failure. */
static const char *describe(const inputs *in, variant v, double beta)
{
    static char text[2000];
    const plain_context *c = &in->context;
    int at =
        snprintf(text, sizeof text,
                 "penalty %s %g, beta %.17g, %s group_size %d unscaled %d epsilon %.17g ddof %d\n",
                 grpoalign_penalty_name(v.kind), v.alpha, beta,
                 c->margins        ? "margins"
                 : c->limit        ? "limit"
                 : c->distribution ? "random"
                                   : "rewards",
                 (int)c->group_size, c->unscaled, c->epsilon, c->ddof);
    for (int64_t o = 0; o < c->n; o++) {
        at += snprintf(text + at, sizeof text - (size_t)at,
                       "  log ref %.17g reward %.17g variance %.17g\n", in->logs[o], in->rewards[o],
                       c->variances != NULL ? in->variances[o] : 0.0);
    }
    for (int64_t k = 0; c->margins != NULL && k < c->n * c->n; k++) {
        at += snprintf(text + at, sizeof text - (size_t)at, "%.17g,", c->margins[k]);
    }
    return text;
}

static void every_penalty_is_solved_with_every_model(void **state)
{
    (void)state;
    randomness r = random_start(90);
    int counts[VARIANT_COUNT][3] = {{0}};
    for (int i = 0; i < 2600 * test_scale(); i++) {
        inputs in;
        int which = i % VARIANT_COUNT;
        variant v = VARIANTS[which];
        random_inputs(&r, &in);
        v.alpha = v.alpha == ANY_ALPHA ? 2.0 * random_uniform(&r) : v.alpha;
        double beta = pow(10.0, random_between(&r, -2.0, 2.0));
        grpoalign_penalty *penalty = make_penalty(v);
        grpoalign_model *model = make_model(&in.context);
        solved s = solve_penalised(model, penalty, beta, in.logs, NULL);
        if (s.status == GRPOALIGN_ERR_UNSUPPORTED) {
            assert_true(v.kind == GRPOALIGN_PENALTY_TOTAL_VARIATION || is_clamped(v));
            counts[which][2]++;
        } else if (s.status == GRPOALIGN_UNSETTLED) { /* what is lost comes back */
            assert_true(is_clamped(v) && in.context.margins != NULL);
            counts[which][2]++;
        } else if (s.status == GRPOALIGN_COLLAPSED) {
            if (!in.context.limit) {
                print_message("%s: collapsed\n", describe(&in, v, beta));
                fail();
            }
            counts[which][1]++;
        } else {
            if (s.status < GRPOALIGN_OK || s.status > GRPOALIGN_ACCURACY_LIMITED) {
                print_message("%s: %d %s\n", describe(&in, v, beta), s.status, s.error.message);
                fail();
            }
            double sum = 0.0;
            for (int64_t o = 0; o < in.context.n; o++) {
                sum += s.policy[o];
            }
            if (!(fabs(sum - 1.0) <= 1e-13)) {
                print_message("%s: sum %g\n", describe(&in, v, beta), sum);
                fail();
            }
            double off = plain_violation(&in.context, v.kind, v.alpha, beta, in.logs, s.policy,
                                         s.log_policy) /
                         fmin(1.0, beta);
            double allowed = 1e-11 + 1e-14 * largest_advantage(&s, in.context.n) / beta;
            /* A root where beta turns, or where the step ends, is known to less. */
            allowed +=
                100.0 * s.report.policy_error * (1.0 + largest_advantage(&s, in.context.n) / beta);
            if (!(off <= allowed)) {
                print_message("%s: off %g\n", describe(&in, v, beta), off);
            }
            assert_near(off, 0.0, allowed);
            assert_near(s.report.residual, 0.0, 10.0 * allowed);
            counts[which][0]++;
        }
        grpoalign_penalty_free(penalty);
        grpoalign_model_free(model);
        solved_free(&s);
    }
    for (int k = 0; k < VARIANT_COUNT; k++) {
        print_message("# %s %g: %d solved, %d collapsed, %d unsupported\n",
                      grpoalign_penalty_name(VARIANTS[k].kind), VARIANTS[k].alpha, counts[k][0],
                      counts[k][1], counts[k][2]);
        assert_true(counts[k][0] > 60);
    }
}

/* A model over the std of others keeps its levels when a penalty loses classes: what is left is
 * stationary all the same. */
static void losing_outcomes_over_the_std_of_others_stays_stationary(void **state)
{
    (void)state;
    double support[] = {0.0, 0.5, 1.0}, rewards[] = {0.0, 0.5, 0.8, 1.0};
    double distribution[] = {0.8, 0.1, 0.1, 0.1, 0.8, 0.1, 0.1, 0.1, 0.8, 0.0, 0.2, 0.8};
    double logs[] = {log(0.4), log(0.2), log(0.2), log(0.2)};
    grpoalign_reward_options o;
    grpoalign_reward_options_init(&o, sizeof o);
    o.scale = GRPOALIGN_SCALE_STD_OF_OTHERS;
    o.baseline = GRPOALIGN_BASELINE_LEAVE_ONE_OUT;
    for (int random = 0; random < 2; random++) {
        grpoalign_model *model;
        grpoalign_penalty *penalty;
        CHECK_OK(random ? grpoalign_model_new_group_random(support, 3, distribution, 4, 3, 4, &o,
                                                           &model, NULL)
                        : grpoalign_model_new_group(rewards, 4, 4, &o, &model, NULL));
        CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_SQUARED_LOG_RATIO, NULL, &penalty, NULL));
        solved s = solve_penalised(model, penalty, random ? 0.2 : 0.5, logs, NULL);
        assert_int_equal(s.status, GRPOALIGN_OK);
        assert_true(s.policy[0] == 0.0 && s.policy[2] > 0.0 && s.policy[3] > 0.0);
        assert_near(s.report.residual, 0.0, 1e-12);
        grpoalign_penalty_free(penalty);
        grpoalign_model_free(model);
        solved_free(&s);
    }
}

/* In the limit without a scale a policy is a softmax of rewards: inside the clamp, without what
 * would leave it below, and refused above. */
static void direct_kl_at_the_clamp_is_a_softmax_or_refused(void **state)
{
    (void)state;
    double rewards[] = {0.0, 1.0, 2.0}, logs[] = {log(0.5), log(0.3), log(0.2)};
    static const double BETAS[] = {1.0, 0.4, 0.3};
    static const int LOST[] = {0, 1, 1};
    plain_context context = {.n = 3, .rewards = rewards, .limit = 1, .unscaled = 1};
    grpoalign_model *model = make_model(&context);
    grpoalign_penalty *penalty;
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED, NULL, &penalty, NULL));
    for (int i = 0; i < 3; i++) {
        solved s = solve_penalised(model, penalty, BETAS[i], logs, NULL);
        double total = 0.0;
        for (int o = LOST[i]; o < 3; o++) {
            total += exp(logs[o] + rewards[o] / BETAS[i]);
        }
        assert_int_equal(s.status, GRPOALIGN_OK);
        for (int o = 0; o < 3; o++) {
            double wanted = o < LOST[i] ? 0.0 : exp(logs[o] + rewards[o] / BETAS[i]) / total;
            assert_near(s.policy[o], wanted, 1e-14);
        }
        assert_int_equal(s.report.unique, -1); /* others may be lost from elsewhere */
        assert_int_equal(s.report.stable, 1);
        assert_near(s.report.residual, 0.0, 1e-13);
        solved_free(&s);
    }
    double rare[] = {0.0, 0.0, log(1e-6)};
    solved s = solve_penalised(model, penalty, 0.08, rare, NULL);
    assert_int_equal(s.status, GRPOALIGN_ERR_UNSUPPORTED);
    assert_non_null(strstr(s.error.message, "nothing holds it back"));
    solved_free(&s);
    grpoalign_penalty_free(penalty);
    grpoalign_model_free(model);
}

/* Where direct KL keeps every outcome inside the clamp, the clamp changes nothing. */
static void the_clamp_is_not_felt_inside(void **state)
{
    (void)state;
    randomness r = random_start(91);
    int same = 0, lost = 0;
    for (int i = 0; i < 400 * test_scale(); i++) {
        inputs in;
        random_inputs(&r, &in);
        double beta = pow(10.0, random_between(&r, -1.0, 1.0));
        grpoalign_model *model = make_model(&in.context);
        for (int reverse = 0; reverse < 2; reverse++) {
            grpoalign_penalty *clamped;
            CHECK_OK(grpoalign_penalty_new(reverse ? GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED
                                                   : GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED,
                                           NULL, &clamped, NULL));
            solved a = solve_model(
                model, reverse ? GRPOALIGN_PENALTY_REVERSE_KL : GRPOALIGN_PENALTY_DIRECT_KL, beta,
                in.logs, NULL);
            solved b = solve_penalised(model, clamped, beta, in.logs, NULL);
            double least = INFINITY, most = -INFINITY, total = 0.0, off = 0.0;
            for (int64_t o = 0; o < in.context.n; o++) {
                total += exp(in.logs[o]);
            }
            for (int64_t o = 0; o < in.context.n && a.status == GRPOALIGN_OK; o++) {
                double l = a.log_policy[o] - in.logs[o] + log(total);
                least = fmin(least, l);
                most = fmax(most, l);
                off = b.status == GRPOALIGN_OK ? fmax(off, fabs(a.policy[o] - b.policy[o])) : off;
            }
            if (a.status == GRPOALIGN_OK && least > -2.61 && most < 10.99) {
                assert_int_equal(b.status, GRPOALIGN_OK);
                assert_near(off, 0.0, 1e-12 + 100.0 * a.report.policy_error);
                same++;
            } else if (a.status == GRPOALIGN_OK && b.status == GRPOALIGN_OK && least < -2.62) {
                assert_true(off > 0.0);
                lost++;
            }
            grpoalign_penalty_free(clamped);
            solved_free(&a);
            solved_free(&b);
        }
        grpoalign_model_free(model);
    }
    print_message("# %d the same, %d lose something\n", same, lost);
    assert_true(same > 200 && lost > 20);
}

/* ---- squared log ratio: beyond the end of its slack ---- */

static double squared(double log_ratio)
{
    return log_ratio + 0.5 * log_ratio * log_ratio;
}

/* What beta keeps the worse of two outcomes at log ratio l, the gap of their advantages being 1
 * (ranked), the gap of their rewards (unscaled: 0.5 here), or over their std. */
static double beta_of_two(int model, double reference, double l)
{
    double worse = reference * exp(l), better = 1.0 - worse;
    double gap = model == 0 ? 1.0 : model == 1 ? 0.5 : 1.0 / sqrt(worse * better);
    return gap / (squared(log(better / (1.0 - reference))) - squared(l));
}

/*
 * The branch of two outcomes, followed step by step: the first log ratio at which beta has come
 * down to the wanted one, or -INFINITY where no step leads there. *nearly tells that the fold is
 * too near to decide.
 */
static double follow_two(int model, double reference, double beta, int *nearly)
{
    const double step = 1e-3, end = -8.0;
    double least = INFINITY;
    for (double l = -step; l > end; l -= step) {
        double here = beta_of_two(model, reference, l);
        if (here > 0.0 && here <= beta) {
            double low = l, high = l + step;
            for (int i = 0; i < 60; i++) {
                double middle = 0.5 * (low + high), there = beta_of_two(model, reference, middle);
                *(there > 0.0 && there <= beta ? &low : &high) = middle;
            }
            *nearly = 0;
            return low;
        }
        least = here > 0.0 ? fmin(least, here) : least;
    }
    *nearly = least < beta * (1.0 + 1e-4);
    return -INFINITY;
}

static grpoalign_model *model_of_two(int model, const double *rewards)
{
    grpoalign_model *made;
    grpoalign_reward_options options = GRPOALIGN_REWARD_OPTIONS_INIT;
    options.scale = model == 1 ? GRPOALIGN_SCALE_NONE : GRPOALIGN_SCALE_STD;
    if (model == 0) {
        CHECK_OK(grpoalign_model_new_group(rewards, 2, 2, NULL, &made, NULL));
    } else {
        CHECK_OK(grpoalign_model_new_limit(rewards, NULL, 2, &options, &made, NULL));
    }
    return made;
}

/* Whether the policy and the status are what the branch of two outcomes says. */
static int check_two(int model, double reference, double beta)
{
    static const double REWARDS[] = {0.5, 0.0};
    int nearly;
    double logs[] = {log1p(-reference), log(reference)};
    double l = follow_two(model, reference, beta, &nearly), worse = reference * exp(l);
    if (nearly) {
        return 0;
    }
    grpoalign_model *made = model_of_two(model, REWARDS);
    solved s = solve_model(made, GRPOALIGN_PENALTY_SQUARED_LOG_RATIO, beta, logs, NULL);
    grpoalign_model_free(made);
    assert_true(s.status >= 0);
    assert_near(s.policy[1], worse, 1e-9);
    if (worse > 0.0) {
        assert_near(s.policy[1], worse, 10.0 * s.report.policy_error + 1e-12);
        assert_true(s.report.residual < 1e-13);
        assert_true(s.report.stable == 1);
    }
    solved_free(&s);
    return l < -1.0 && l > -INFINITY;
}

static void the_branch_goes_on_beyond_the_end_to_its_fold(void **state)
{
    (void)state;
    randomness r = random_start(77);
    int beyond = 0;
    for (int i = 0; i < 3000 * test_scale(); i++) {
        int model = (int)random_below(&r, 3);
        double reference = random_between(&r, 0.02, 0.98);
        /* near where the worse outcome comes to the end */
        double beta = beta_of_two(model, reference, -1.0) * random_between(&r, 0.7, 1.1);
        beyond += check_two(model, reference, beta);
    }
    assert_true(beyond > 100);
    (void)check_two(0, 0.7, 0.54);
}

/* The response to fixed advantages knows the same. */
static void responses_go_on_beyond_the_end(void **state)
{
    (void)state;
    static const double REFERENCE[] = {0.3, 0.7}, ADVANTAGE[] = {2.5, 1.5}, BETA = 0.54;
    double policy[2], normaliser;
    grpoalign_penalty *penalty;
    grpoalign_reference *reference;
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_SQUARED_LOG_RATIO, NULL, &penalty, NULL));
    CHECK_OK(grpoalign_reference_new(REFERENCE, 2, NULL, &reference, NULL));
    CHECK_OK(grpoalign_penalty_respond(penalty, reference, BETA, ADVANTAGE, 2, policy, &normaliser,
                                       NULL));
    assert_near(policy[0], 0.756828441102504, 1e-13);
    for (int o = 0; o < 2; o++) {
        assert_near(squared(log(policy[o] / REFERENCE[o])), ADVANTAGE[o] / BETA - normaliser,
                    1e-13);
    }
    grpoalign_penalty_free(penalty);
    grpoalign_reference_free(reference);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_penalty_is_solved_with_every_model),
        cmocka_unit_test(losing_outcomes_over_the_std_of_others_stays_stationary),
        cmocka_unit_test(direct_kl_at_the_clamp_is_a_softmax_or_refused),
        cmocka_unit_test(the_clamp_is_not_felt_inside),
        cmocka_unit_test(the_branch_goes_on_beyond_the_end_to_its_fold),
        cmocka_unit_test(responses_go_on_beyond_the_end),
    };
    return run_chosen(tests);
}
