/*
 * Problems from inside: outcomes become classes and classes outcomes again, without a digit lost;
 * and what is solved in the place of a model has the advantages that training balances.
 */
#include "check.h"

#include <float.h>

#include "problem/problem.h"

enum { MOST = 6 };

static const grpoalign_solve_options OPTIONS = {
    .struct_size = sizeof(grpoalign_solve_options), .tolerance = 1e-11, .max_iterations = 100};

static grpoalign_problem *open_problem(const handles *h)
{
    grpoalign_problem *problem;
    CHECK_OK(grpoalign_problem_new(h->model, h->penalty, h->reference, NULL, &problem, NULL));
    return problem;
}

/* Rewards of which some are equal, and some outcomes that the reference does not support. */
static plain_context random_context(randomness *r, double *rewards, double *log_reference)
{
    int64_t n = 2 + random_below(r, MOST - 1);
    for (int64_t o = 0; o < n; o++) {
        rewards[o] = (double)random_below(r, 4) / 3.0;
    }
    random_reference(r, (int)random_below(r, REFERENCE_KINDS), n, log_reference);
    for (int64_t o = 1; o < n; o++) {
        log_reference[o] = random_below(r, 5) == 0 ? -INFINITY : log_reference[o];
    }
    return (plain_context){.n = n, .rewards = rewards, .group_size = 2 + random_below(r, 5)};
}

/* ---- reduce --------------------------------------------------------------------------------- */

/* Sums and shares in long double, whose exponents reach further. */
static void check_classes(const grpoalign_reference *reference, const gra_reduction *reduced)
{
    const gra_class_reference *classes = &reduced->reference;
    for (int64_t c = 0; c < classes->classes; c++) {
        long double mass = 0.0L;
        for (int64_t o = 0; o < reference->outcomes; o++) {
            mass += reduced->structure.class_of[o] == c ? expl(reference->logarithm[o]) : 0.0L;
        }
        double logarithm = (double)logl(mass);
        assert_near(classes->log_mass[c], logarithm, 4.0 * DBL_EPSILON * (1.0 + fabs(logarithm)));
        double raised = fmax((double)mass, GRA_LEAST_MASS);
        assert_near(classes->mass[c], raised, 1e-13 * raised);
        double whole = 0.0;
        for (int64_t o = 0; o < reference->outcomes; o++) {
            if (reduced->structure.class_of[o] == c) {
                assert_near(reduced->share[o], (double)(expl(reference->logarithm[o]) / mass),
                            1e-12);
                whole += reduced->share[o];
            }
        }
        assert_near(whole, 1.0, 4.0 * DBL_EPSILON);
    }
}

static void classes_hold_the_mass_of_their_outcomes(void **state)
{
    (void)state;
    randomness r = random_start(71);
    for (int k = 0; k < 300 * test_scale(); k++) {
        double rewards[MOST], log_reference[MOST];
        plain_context context = random_context(&r, rewards, log_reference);
        handles h = open_handles(&context, GRPOALIGN_PENALTY_REVERSE_KL, log_reference);
        gra_arena arena = GRA_ARENA_INIT;
        gra_reduction reduced;
        CHECK_OK(gra_reduce(h.model, h.reference, &h.penalty->law, &reduced, &arena, NULL));
        int64_t listed = 0;
        for (int64_t o = 0; o < context.n; o++) {
            int64_t c = reduced.structure.class_of[o];
            assert_true((c >= 0) == isfinite(log_reference[o]));
            for (int64_t p = 0; c >= 0 && p < o; p++) { /* equal rewards, and only those */
                int64_t d = reduced.structure.class_of[p];
                assert_true(d < 0 || reduced.structure.kind == GRA_FLAT ||
                            (c == d) == (rewards[o] == rewards[p]));
            }
            if (c >= 0) {
                assert_int_equal(reduced.outcomes.at[listed], o);
                assert_near(reduced.outcomes.share[listed], reduced.share[o], 0.0);
                assert_near(reduced.outcomes.log_mass[listed++], h.reference->logarithm[o], 0.0);
            }
        }
        assert_int_equal(reduced.outcomes.count, listed);
        check_classes(h.reference, &reduced);
        gra_structure_release(&reduced.structure);
        gra_arena_free(&arena);
        close_handles(&h);
    }
}

/* ---- surrogates ----------------------------------------------------------------------------- */

/* With the KL inside the reward no scale matters: the advantages are rewards less their mean. */
static void the_kl_inside_the_reward_is_solved_unscaled(void **state)
{
    (void)state;
    double rewards[] = {0.0, 0.25, 1.0}, policy[] = {0.5, 0.2, 0.3}, u[3];
    double margins[] = {0.0, 1.0, -1.0, 0.0};
    grpoalign_model *model, *surrogate, *pairs;
    gra_arena arena = GRA_ARENA_INIT;
    grpoalign_error error;
    CHECK_OK(grpoalign_model_new_group(rewards, 3, 4, NULL, &model, NULL));
    CHECK_OK(gra_surrogate_of_rewards(model, &surrogate, &error));
    CHECK_OK(surrogate->ops->advantage(surrogate, policy, u, &arena, NULL));
    for (int o = 0; o < 3; o++) {
        assert_near(u[o], rewards[o] - 0.35, 1e-16);
    }
    CHECK_OK(grpoalign_model_new_pairwise(margins, 2, 2, NULL, &pairs, NULL));
    gra_model_free(surrogate);
    assert_int_equal(gra_surrogate_of_rewards(pairs, &surrogate, &error),
                     GRPOALIGN_ERR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "margins"));
    grpoalign_model_free(pairs);
    grpoalign_model_free(model);
    gra_arena_free(&arena);
}

/* Central differences, in directions that keep the sum: the error is of the order of the step
 * squared. */
static void check_slopes(const grpoalign_model *model, const double *policy, gra_arena *arena)
{
    const double step = 1e-5;
    int64_t n = model->outcomes;
    double jacobian[MOST * MOST], ahead[MOST], behind[MOST];
    CHECK_OK(model->ops->jacobian(model, policy, jacobian, n, arena, NULL));
    for (int64_t j = 1; j < n; j++) {
        double there[MOST], back[MOST];
        memcpy(there, policy, (size_t)n * sizeof *there);
        memcpy(back, policy, (size_t)n * sizeof *back);
        there[j] += step, there[0] -= step;
        back[j] -= step, back[0] += step;
        CHECK_OK(model->ops->advantage(model, there, ahead, arena, NULL));
        CHECK_OK(model->ops->advantage(model, back, behind, arena, NULL));
        for (int64_t o = 1; o < n; o++) { /* a constant in a row has no meaning, so has one in u */
            double slope = (ahead[o] - behind[o] - ahead[0] + behind[0]) / (2.0 * step);
            double own = jacobian[o * n + j] - jacobian[o * n] - jacobian[j] + jacobian[0];
            assert_near(own, slope, 1e-7);
        }
    }
}

/* The share W^(G-1) of an outcome's groups has no spread, and no penalty: it comes back as an
 * advantage. */
static void a_filter_gives_its_part_of_the_penalty_back(void **state)
{
    (void)state;
    static const int32_t KINDS[] = {GRPOALIGN_PENALTY_REVERSE_KL, GRPOALIGN_PENALTY_DIRECT_KL,
                                    GRPOALIGN_PENALTY_JENSEN_SHANNON};
    double rewards[] = {0.0, 0.0, 0.5, 1.0}, log_reference[] = {-1.0, -2.0, -1.5, -1.2};
    double policy[] = {0.2, 0.1, 0.4, 0.3}, mass[] = {0.3, 0.3, 0.4, 0.3}, beta = 0.7;
    for (int k = 0; k < 3; k++) {
        grpoalign_reward_options options;
        grpoalign_reward_options_init(&options, sizeof options);
        options.zero_variance = GRPOALIGN_ZERO_VARIANCE_DROP;
        plain_context context = {.n = 4, .rewards = rewards, .group_size = 3};
        handles h = open_handles(&context, KINDS[k], log_reference);
        grpoalign_model *inner, *filter;
        CHECK_OK(grpoalign_model_new_group(rewards, 4, 3, &options, &inner, NULL));
        CHECK_OK(gra_surrogate_of_filter(inner, &h.penalty->law, h.reference, beta, &filter, NULL));
        gra_arena arena = GRA_ARENA_INIT;
        double u[4], kept[4];
        CHECK_OK(filter->ops->advantage(filter, policy, u, &arena, NULL));
        CHECK_OK(inner->ops->advantage(inner, policy, kept, &arena, NULL));
        for (int o = 0; o < 4; o++) {
            double l = log(policy[o]) - h.reference->logarithm[o];
            double g = KINDS[k] == GRPOALIGN_PENALTY_REVERSE_KL  ? 1.0 - exp(-l)
                       : KINDS[k] == GRPOALIGN_PENALTY_DIRECT_KL ? l
                                                                 : -0.5 * log((1.0 + exp(-l)) / 2);
            assert_near(u[o], kept[o] + beta * mass[o] * mass[o] * g, 1e-14);
        }
        check_slopes(filter, policy, &arena);
        gra_model_free(filter);
        grpoalign_model_free(inner);
        gra_arena_free(&arena);
        close_handles(&h);
    }
}

/* ---- expand --------------------------------------------------------------------------------- */

/* An answer of class probabilities, whatever they are, with the slacks that go with them. */
static gra_answer answer_of(gra_call *call, const double *policy)
{
    gra_answer answer = {.beta = call->at.beta, .unique = -1, .stable = -1, .rate = NAN};
    answer.slack = gra_arena_doubles(&call->arena, call->at.reference.classes);
    answer.policy = gra_arena_doubles(&call->arena, call->at.reference.classes);
    for (int64_t c = 0; c < call->at.reference.classes; c++) {
        answer.policy[c] = policy[c];
        answer.slack[c] = call->at.penalty->slack(call->at.penalty,
                                                  log(policy[c]) - call->at.reference.log_mass[c]);
    }
    return answer;
}

/* Outcomes of a class keep the proportions that the reference gives them. */
static void outcomes_share_the_policy_of_their_class(void **state)
{
    (void)state;
    double rewards[] = {1.0, 0.0, 1.0, 0.0}, before[] = {0.1, 0.2, 0.3, 0.4};
    double log_reference[4];
    for (int o = 0; o < 4; o++) {
        log_reference[o] = log(before[o]);
    }
    plain_context context = {.n = 4, .rewards = rewards, .group_size = 4};
    handles h = open_handles(&context, GRPOALIGN_PENALTY_REVERSE_KL, log_reference);
    grpoalign_problem *problem = open_problem(&h);
    gra_call call;
    CHECK_OK(gra_call_open(&call, problem, 0.5, &OPTIONS, NULL));
    int64_t best = call.at.structure->class_of[0];
    double policy[2];
    policy[best] = 0.8;
    policy[1 - best] = 0.2;
    gra_answer answer = answer_of(&call, policy);
    grpoalign_solution *solution;
    CHECK_OK(gra_expand(&call, &answer, &solution, NULL));
    static const double AFTER[] = {0.2, 0.2 / 3.0, 0.6, 0.4 / 3.0};
    for (int o = 0; o < 4; o++) {
        assert_near(solution->policy[o], AFTER[o], 1e-15);
        assert_near(solution->log_policy[o], log(AFTER[o]), 1e-15);
    }
    assert_near(solution->report.expected_reward, 0.8, 1e-15);
    assert_near(solution->report.expected_reward_reference, 0.4, 1e-15);
    grpoalign_solution_free(solution);
    gra_call_close(&call);
    grpoalign_problem_free(problem);
    close_handles(&h);
}

/* The residual comes from the outcomes' own rewards, and does not believe the solver. */
static void a_wrong_answer_has_a_residual(void **state)
{
    (void)state;
    double rewards[] = {0.0, 1.0}, log_reference[] = {log(0.9), log(0.1)};
    plain_context context = {.n = 2, .rewards = rewards, .group_size = 2};
    solved right = solve_context(&context, GRPOALIGN_PENALTY_REVERSE_KL, 0.5, log_reference);
    CHECK_OK(right.status);
    handles h = open_handles(&context, GRPOALIGN_PENALTY_REVERSE_KL, log_reference);
    grpoalign_problem *problem = open_problem(&h);
    for (int k = 0; k < 4; k++) {
        double off = k == 0 ? 0.0 : pow(10.0, -3.0 * k);
        gra_call call;
        CHECK_OK(gra_call_open(&call, problem, 0.5, &OPTIONS, NULL));
        int64_t good = call.at.structure->class_of[1];
        double policy[2];
        policy[good] = right.policy[1] + off;
        policy[1 - good] = right.policy[0] - off;
        gra_answer answer = answer_of(&call, policy);
        answer.policy_error = off;
        grpoalign_solution *solution;
        /* The status follows what the solver estimates, against the tolerance. */
        assert_int_equal(gra_expand(&call, &answer, &solution, NULL),
                         off > 1e-11 ? GRPOALIGN_ACCURACY_LIMITED : GRPOALIGN_OK);
        assert_true(solution->report.residual >= 0.1 * off);
        assert_true(solution->report.residual <= 100.0 * off + 1e-14);
        grpoalign_solution_free(solution);
        gra_call_close(&call);
    }
    grpoalign_problem_free(problem);
    close_handles(&h);
    solved_free(&right);
}

/* Where a reference is too small for the solvers' masses, or for a double, its class follows its
 * slack. */
static void tiny_probabilities_follow_their_slack(void **state)
{
    (void)state;
    static const double LOG_MASS[] = {-680.0, -2000.0};
    for (int k = 0; k < 2; k++) {
        double rewards[] = {0.0, 1.0}, log_reference[] = {0.0, LOG_MASS[k]};
        plain_context context = {.n = 2, .rewards = rewards, .group_size = 2};
        handles h = open_handles(&context, GRPOALIGN_PENALTY_DIRECT_KL, log_reference);
        grpoalign_problem *problem = open_problem(&h);
        gra_call call;
        CHECK_OK(gra_call_open(&call, problem, 0.5, &OPTIONS, NULL));
        int64_t rare = call.at.structure->class_of[1];
        assert_near(call.at.reference.mass[rare], GRA_LEAST_MASS, 0.0);
        assert_near(call.at.reference.log_mass[rare], LOG_MASS[k], 1e-12);
        double policy[2] = {1.0, 1.0}, log_ratio = 3.0;
        gra_answer answer = answer_of(&call, policy);
        answer.policy[rare] = 0.0;
        answer.slack[rare] = -log_ratio;
        grpoalign_solution *solution;
        assert_true(gra_expand(&call, &answer, &solution, NULL) >= 0);
        double expected = exp(LOG_MASS[k] + log_ratio);
        assert_near(solution->policy[1], expected, 1e-12 * expected);
        assert_near(solution->log_policy[1], LOG_MASS[k] + log_ratio, 1e-12);
        grpoalign_solution_free(solution);
        gra_call_close(&call);
        grpoalign_problem_free(problem);
        close_handles(&h);
    }
}

/* A start over outcomes reaches the solvers over classes, and sums to 1. */
static void a_start_is_gathered_over_classes(void **state)
{
    (void)state;
    double rewards[] = {0.0, 0.5, 0.5, 1.0}, log_reference[] = {0.0, 0.0, 0.0, -INFINITY};
    const double start[] = {2.0, 3.0, 5.0, 0.0};
    plain_context context = {.n = 4, .rewards = rewards, .group_size = 4};
    handles h = open_handles(&context, GRPOALIGN_PENALTY_REVERSE_KL, log_reference);
    grpoalign_problem *problem = open_problem(&h);
    grpoalign_solve_options options = OPTIONS;
    options.start = start;
    options.start_count = 4;
    gra_call call;
    CHECK_OK(gra_call_open(&call, problem, 0.5, &options, NULL));
    assert_int_equal(call.at.reference.classes, 2);
    assert_near(call.at.start[call.at.structure->class_of[0]], 0.2, 1e-16);
    assert_near(call.at.start[call.at.structure->class_of[1]], 0.8, 1e-16);
    gra_call_close(&call);
    grpoalign_problem_free(problem);
    close_handles(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_hold_the_mass_of_their_outcomes),
        cmocka_unit_test(the_kl_inside_the_reward_is_solved_unscaled),
        cmocka_unit_test(a_filter_gives_its_part_of_the_penalty_back),
        cmocka_unit_test(outcomes_share_the_policy_of_their_class),
        cmocka_unit_test(a_wrong_answer_has_a_residual),
        cmocka_unit_test(tiny_probabilities_follow_their_slack),
        cmocka_unit_test(a_start_is_gathered_over_classes),
    };
    return run_chosen(tests);
}
