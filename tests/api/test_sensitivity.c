/* Derivatives of stationary policies: against differences of solutions, and against one another. */
#include "check.h"

enum { MOST = 6 };

/* What a problem is made of, so that one number of it can be changed. */
typedef struct recipe {
    int64_t n, group_size;
    int kind, per_token, weighted;
    double rewards[MOST], margins[MOST * MOST], logs[MOST], weights[MOST], coefficients[2];
    double beta, entropy;
    int32_t penalty, scale;
} recipe;

enum { MARGINS, GROUP, LIMIT, UNSCALED, KINDS };

static const int64_t OFFSETS[MOST + 1] = {0, 1, 3, 5, 6, 8, 11};
static const int64_t TOKENS[11] = {0, 0, 1, 0, 2, 1, 1, 1, 1, 1, 2};

static const int32_t PENALTIES[] = {
    GRPOALIGN_PENALTY_REVERSE_KL,     GRPOALIGN_PENALTY_DIRECT_KL,    GRPOALIGN_PENALTY_CHI_SQUARED,
    GRPOALIGN_PENALTY_JENSEN_SHANNON, GRPOALIGN_PENALTY_KL_IN_REWARD, GRPOALIGN_PENALTY_SUM};

static recipe random_recipe(randomness *r)
{
    recipe p = {.n = 2 + random_below(r, MOST - 1), .kind = (int)random_below(r, KINDS)};
    p.group_size = 2 + random_below(r, 5);
    p.scale = p.kind == UNSCALED ? GRPOALIGN_SCALE_NONE : GRPOALIGN_SCALE_STD;
    p.per_token = random_below(r, 3) == 0;
    p.weighted = p.per_token && random_below(r, 2);
    p.beta = exp(random_between(r, -0.5, 1.5));
    p.penalty = PENALTIES[random_below(r, 6)];
    if (p.penalty == GRPOALIGN_PENALTY_KL_IN_REWARD && (p.kind != UNSCALED || p.per_token)) {
        p.penalty = GRPOALIGN_PENALTY_REVERSE_KL;
    }
    p.entropy = p.per_token && random_below(r, 2) ? 0.3 : 0.0;
    random_margins(r, MARGINS_DENSE, p.n, p.margins);
    for (int64_t o = 0; o < p.n; o++) {
        p.rewards[o] = (double)o + 0.6 * random_uniform(r); /* no ties */
        p.logs[o] = -2.0 * random_uniform(r);
        p.weights[o] = 0.3 + random_uniform(r);
    }
    p.coefficients[0] = 0.4, p.coefficients[1] = 0.6;
    return p;
}

static grpoalign_penalty *penalty_of(const recipe *p)
{
    grpoalign_penalty *base = NULL, *parts[2], *penalty;
    if (p->penalty == GRPOALIGN_PENALTY_SUM) {
        CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &parts[0], NULL));
        CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_DIRECT_KL, NULL, &parts[1], NULL));
        CHECK_OK(grpoalign_penalty_new_sum((const grpoalign_penalty *const *)parts, p->coefficients,
                                           2, &base, NULL));
        grpoalign_penalty_free(parts[0]), grpoalign_penalty_free(parts[1]);
    } else {
        CHECK_OK(grpoalign_penalty_new(p->penalty, NULL, &base, NULL));
    }
    if (!p->per_token) {
        return base;
    }
    grpoalign_completions completions = GRPOALIGN_COMPLETIONS_INIT;
    completions.count = p->n;
    completions.offsets = OFFSETS;
    completions.tokens = TOKENS;
    completions.token_count = OFFSETS[p->n];
    completions.weights = p->weighted ? p->weights : NULL;
    completions.entropy = p->entropy;
    CHECK_OK(grpoalign_penalty_new_per_token(base, &completions, &penalty, NULL));
    grpoalign_penalty_free(base);
    return penalty;
}

static grpoalign_problem *problem_of(const recipe *p)
{
    grpoalign_model *model = NULL;
    grpoalign_reference *reference = NULL;
    grpoalign_problem *problem = NULL;
    grpoalign_reward_options options = GRPOALIGN_REWARD_OPTIONS_INIT;
    grpoalign_penalty *penalty = penalty_of(p);
    options.scale = p->scale;
    if (p->kind == MARGINS) {
        CHECK_OK(grpoalign_model_new_pairwise(p->margins, p->n, p->n, NULL, &model, NULL));
    } else if (p->kind == GROUP) {
        CHECK_OK(
            grpoalign_model_new_group(p->rewards, p->n, p->group_size, &options, &model, NULL));
    } else {
        options.epsilon = p->kind == LIMIT ? 0.05 : 0.0;
        CHECK_OK(grpoalign_model_new_limit(p->rewards, NULL, p->n, &options, &model, NULL));
    }
    CHECK_OK(grpoalign_reference_new_log(p->logs, p->n, NULL, &reference, NULL));
    CHECK_OK(grpoalign_problem_new(model, penalty, reference, NULL, &problem, NULL));
    grpoalign_model_free(model);
    grpoalign_penalty_free(penalty);
    grpoalign_reference_free(reference);
    return problem;
}

static int policy_of(const recipe *p, double *policy)
{
    grpoalign_problem *problem = problem_of(p);
    grpoalign_solution *solution = NULL;
    grpoalign_report report = GRPOALIGN_REPORT_INIT;
    grpoalign_status status = grpoalign_solve(problem, p->beta, NULL, &solution, NULL);
    assert_true(status >= 0);
    CHECK_OK(grpoalign_solution_policy(solution, policy, p->n, NULL));
    CHECK_OK(grpoalign_solution_report(solution, &report, NULL));
    grpoalign_solution_free(solution);
    grpoalign_problem_free(problem);
    return status == GRPOALIGN_OK && report.policy_error < 1e-13;
}

/* d policy by the number that `changed` points to, inside the recipe. */
static int differ(recipe *p, double *changed, double step, double *out)
{
    static const double shifts[4] = {1.0, -1.0, 2.0, -2.0}, factors[4] = {8.0, -8.0, -1.0, 1.0};
    double kept = *changed, policy[MOST];
    int good = 1;
    memset(out, 0, (size_t)p->n * sizeof(double));
    for (int k = 0; good && k < 4; k++) { /* of the fourth order */
        *changed = kept + shifts[k] * step;
        good = policy_of(p, policy);
        for (int64_t o = 0; o < p->n; o++) {
            out[o] += factors[k] * policy[o] / (12.0 * step);
        }
    }
    *changed = kept;
    return good;
}

static void compare(const double *found, int64_t stride, const double *expected, int64_t n)
{
    for (int64_t o = 0; o < n; o++) {
        assert_near(found[o * stride], expected[o], 3e-7 * (1.0 + fabs(expected[o])));
    }
}

static void derivatives_are_differences(void **state)
{
    (void)state;
    randomness r = random_start(1);
    const double step = 1e-4;
    int checked = 0;
    for (int trial = 0; trial < 80 * test_scale(); trial++) {
        recipe p = random_recipe(&r);
        double policy[MOST], expected[MOST], found[MOST * MOST];
        grpoalign_sensitivity *s = NULL;
        grpoalign_solution *solution = NULL;
        if (!policy_of(&p, policy)) {
            continue;
        }
        int64_t n = p.n;
        int inside = 1;
        for (int64_t o = 0; o < n; o++) {
            inside = inside && policy[o] > 1e-3; /* not at a corner */
        }
        if (!inside) {
            continue;
        }
        grpoalign_problem *problem = problem_of(&p);
        CHECK_OK(grpoalign_solve(problem, p.beta, NULL, &solution, NULL));
        CHECK_OK(grpoalign_sensitivity_new(problem, solution, &s, NULL));
        CHECK_OK(grpoalign_sensitivity_vector(s, GRPOALIGN_INPUT_BETA, 0, found, n, NULL));
        if (differ(&p, &p.beta, step, expected)) {
            compare(found, 1, expected, n);
            checked++;
        }
        if (p.penalty == GRPOALIGN_PENALTY_SUM) {
            CHECK_OK(
                grpoalign_sensitivity_vector(s, GRPOALIGN_INPUT_COEFFICIENT, 1, found, n, NULL));
            if (differ(&p, &p.coefficients[1], step, expected)) {
                for (int64_t o = 0; o < n; o++) {
                    expected[o] /= p.beta;
                }
                compare(found, 1, expected, n);
            }
        }
        if (p.entropy > 0.0) {
            CHECK_OK(grpoalign_sensitivity_vector(s, GRPOALIGN_INPUT_ENTROPY, 0, found, n, NULL));
            if (differ(&p, &p.entropy, step, expected)) {
                for (int64_t o = 0; o < n; o++) {
                    expected[o] /= p.beta;
                }
                compare(found, 1, expected, n);
            }
        }
        CHECK_OK(grpoalign_sensitivity_matrix(s, GRPOALIGN_INPUT_LOG_REFERENCE, found, n, n, NULL));
        for (int64_t j = 0; j < n; j++) {
            if (differ(&p, &p.logs[j], step, expected)) {
                compare(found + j, n, expected, n);
            }
        }
        if (p.kind != MARGINS) {
            CHECK_OK(grpoalign_sensitivity_matrix(s, GRPOALIGN_INPUT_REWARDS, found, n, n, NULL));
            for (int64_t j = 0; j < n; j++) {
                if (differ(&p, &p.rewards[j], step, expected)) {
                    compare(found + j, n, expected, n);
                }
            }
        }
        if (p.weighted) {
            CHECK_OK(grpoalign_sensitivity_matrix(s, GRPOALIGN_INPUT_WEIGHTS, found, n, n, NULL));
            for (int64_t j = 0; j < n; j++) {
                if (differ(&p, &p.weights[j], step, expected)) {
                    compare(found + j, n, expected, n);
                }
            }
        }
        grpoalign_sensitivity_free(s);
        grpoalign_solution_free(solution);
        grpoalign_problem_free(problem);
    }
    assert_true(checked > 30);
}

/* What is pulled back is what the matrices give. */
static void products_are_those_of_the_matrices(void **state)
{
    (void)state;
    randomness r = random_start(2);
    for (int trial = 0; trial < 60 * test_scale(); trial++) {
        recipe p = random_recipe(&r);
        int64_t n = p.n;
        double loss[MOST], matrix[MOST * MOST], vector[MOST];
        double rewards[MOST], logs[MOST], weights[MOST], margins[MOST * MOST];
        grpoalign_problem *problem = problem_of(&p);
        grpoalign_solution *solution = NULL;
        grpoalign_sensitivity *s = NULL;
        grpoalign_gradient gradient = GRPOALIGN_GRADIENT_INIT;
        if (grpoalign_solve(problem, p.beta, NULL, &solution, NULL) == GRPOALIGN_OK) {
            for (int64_t o = 0; o < n; o++) {
                loss[o] = random_normal(&r);
            }
            CHECK_OK(grpoalign_sensitivity_new(problem, solution, &s, NULL));
            gradient.rewards = p.kind != MARGINS ? rewards : NULL;
            gradient.log_reference = logs;
            gradient.weights = weights;
            gradient.margins = p.kind == MARGINS ? margins : NULL;
            CHECK_OK(grpoalign_sensitivity_vjp(s, loss, n, &gradient, NULL));
            CHECK_OK(grpoalign_sensitivity_vector(s, GRPOALIGN_INPUT_BETA, 0, vector, n, NULL));
            double beta = 0.0;
            for (int64_t o = 0; o < n; o++) {
                beta += loss[o] * vector[o];
            }
            assert_near(gradient.beta, beta, 1e-9 * (1.0 + fabs(beta)));
            const int32_t inputs[3] = {GRPOALIGN_INPUT_REWARDS, GRPOALIGN_INPUT_LOG_REFERENCE,
                                       GRPOALIGN_INPUT_WEIGHTS};
            const double *pulled[3] = {gradient.rewards, logs, weights};
            for (int k = 0; k < 3; k++) {
                if (pulled[k] == NULL) {
                    continue;
                }
                CHECK_OK(grpoalign_sensitivity_matrix(s, inputs[k], matrix, n, n, NULL));
                for (int64_t j = 0; j < n; j++) {
                    double sum = 0.0;
                    for (int64_t o = 0; o < n; o++) {
                        sum += loss[o] * matrix[o * n + j];
                    }
                    assert_near(pulled[k][j], sum, 1e-9 * (1.0 + fabs(sum)));
                }
            }
            if (p.kind == MARGINS) { /* against a difference of one margin */
                recipe up = p, down = p;
                double a[MOST], b[MOST], sum = 0.0, step = 1e-5;
                up.margins[1] += step, up.margins[n] -= step;
                down.margins[1] -= step, down.margins[n] += step;
                if (policy_of(&up, a) && policy_of(&down, b)) {
                    for (int64_t o = 0; o < n; o++) {
                        sum += loss[o] * (a[o] - b[o]) / (2.0 * step);
                    }
                    assert_near(2.0 * margins[1], sum, 1e-6 * (1.0 + fabs(sum)));
                }
            }
            grpoalign_sensitivity_free(s);
        }
        grpoalign_solution_free(solution);
        grpoalign_problem_free(problem);
    }
}

/* A reward that ties has no derivative in a group without epsilon, and one where epsilon smooths. */
static void ties_have_no_derivative(void **state)
{
    (void)state;
    const double rewards[4] = {0.0, 1.0, 1.0, 2.5};
    for (int smooth = 0; smooth < 2; smooth++) {
        double found[16];
        grpoalign_model *model;
        grpoalign_penalty *penalty;
        grpoalign_reference *reference;
        grpoalign_problem *problem;
        grpoalign_solution *solution;
        grpoalign_sensitivity *s;
        grpoalign_reward_options options = GRPOALIGN_REWARD_OPTIONS_INIT;
        options.epsilon = smooth ? 0.1 : 0.0;
        CHECK_OK(grpoalign_model_new_group(rewards, 4, 5, &options, &model, NULL));
        CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL));
        CHECK_OK(grpoalign_reference_new_uniform(4, NULL, &reference, NULL));
        CHECK_OK(grpoalign_problem_new(model, penalty, reference, NULL, &problem, NULL));
        CHECK_OK(grpoalign_solve(problem, 0.5, NULL, &solution, NULL));
        CHECK_OK(grpoalign_sensitivity_new(problem, solution, &s, NULL));
        CHECK_OK(grpoalign_sensitivity_matrix(s, GRPOALIGN_INPUT_REWARDS, found, 4, 4, NULL));
        for (int o = 0; o < 4; o++) {
            assert_true(isfinite(found[4 * o]) && isfinite(found[4 * o + 3]));
            assert_int_equal(isnan(found[4 * o + 1]), !smooth);
            assert_int_equal(isnan(found[4 * o + 2]), !smooth);
        }
        grpoalign_sensitivity_free(s), grpoalign_solution_free(solution);
        grpoalign_problem_free(problem), grpoalign_reference_free(reference);
        grpoalign_penalty_free(penalty), grpoalign_model_free(model);
    }
}

static void arguments_are_checked(void **state)
{
    (void)state;
    recipe p = {.n = 3, .kind = MARGINS, .beta = 1.0, .penalty = GRPOALIGN_PENALTY_REVERSE_KL};
    double out[9];
    grpoalign_problem *problem = problem_of(&p);
    grpoalign_solution *solution;
    grpoalign_sensitivity *s = NULL;
    grpoalign_gradient gradient = GRPOALIGN_GRADIENT_INIT;
    grpoalign_error error;
    CHECK_OK(grpoalign_solve(problem, 1.0, NULL, &solution, NULL));
    assert_int_equal(grpoalign_sensitivity_new(problem, NULL, &s, &error), GRPOALIGN_ERR_ARGUMENT);
    CHECK_OK(grpoalign_sensitivity_new(problem, solution, &s, NULL));
    assert_int_equal(grpoalign_sensitivity_vector(s, 9, 0, out, 3, &error), GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.argument, 2);
    assert_int_equal(
        grpoalign_sensitivity_vector(s, GRPOALIGN_INPUT_COEFFICIENT, 1, out, 3, &error),
        GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.argument, 3);
    assert_int_equal(grpoalign_sensitivity_vector(s, GRPOALIGN_INPUT_BETA, 0, out, 2, &error),
                     GRPOALIGN_ERR_DIMENSION);
    assert_int_equal(grpoalign_sensitivity_matrix(s, GRPOALIGN_INPUT_REWARDS, out, 3, 3, &error),
                     GRPOALIGN_ERR_UNSUPPORTED);
    assert_int_equal(grpoalign_sensitivity_matrix(s, GRPOALIGN_INPUT_WEIGHTS, out, 3, 2, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    out[0] = NAN, out[1] = out[2] = 0.0;
    assert_int_equal(grpoalign_sensitivity_vjp(s, out, 3, &gradient, &error),
                     GRPOALIGN_ERR_NOT_FINITE);
    grpoalign_sensitivity_free(s);
    grpoalign_sensitivity_free(NULL);
    grpoalign_solution_free(solution);
    grpoalign_problem_free(problem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(derivatives_are_differences),
                                       cmocka_unit_test(products_are_those_of_the_matrices),
                                       cmocka_unit_test(ties_have_no_derivative),
                                       cmocka_unit_test(arguments_are_checked)};
    return run_chosen(tests);
}
