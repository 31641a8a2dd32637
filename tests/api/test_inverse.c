/* Inverse questions: a beta for a target, a beta that explains observations, and the advantages
 * that a policy implies. */
#include "check.h"

static grpoalign_problem *problem_of(const plain_context *context, int32_t penalty,
                                     const double *log_reference)
{
    handles h = open_handles(context, penalty, log_reference);
    grpoalign_problem *problem = NULL;
    CHECK_OK(grpoalign_problem_new(h.model, h.penalty, h.reference, NULL, &problem, NULL));
    close_handles(&h);
    return problem;
}

static grpoalign_report report_of(const grpoalign_solution *solution)
{
    grpoalign_report report = GRPOALIGN_REPORT_INIT;
    CHECK_OK(grpoalign_solution_report(solution, &report, NULL));
    return report;
}

/* A quantity of the policy that grpoalign_solve gives; NaN where there is no stationary one. */
static double quantity_at(const grpoalign_problem *problem, double beta, int32_t quantity,
                          const double *values)
{
    enum { MOST = 32 };
    double policy[MOST], sum = 0.0;
    int64_t n = grpoalign_problem_outcomes(problem);
    grpoalign_solution *solution = NULL;
    grpoalign_status status = grpoalign_solve(problem, beta, NULL, &solution, NULL);
    assert_true(status >= 0);
    grpoalign_report report = report_of(solution);
    CHECK_OK(grpoalign_solution_policy(solution, policy, n, NULL));
    grpoalign_solution_free(solution);
    for (int64_t o = 0; values != NULL && o < n; o++) {
        sum += policy[o] * values[o];
    }
    return status == GRPOALIGN_COLLAPSED                    ? NAN
           : quantity == GRPOALIGN_QUANTITY_KL_POLICY_REF   ? report.kl_policy_ref
           : quantity == GRPOALIGN_QUANTITY_KL_REF_POLICY   ? report.kl_ref_policy
           : quantity == GRPOALIGN_QUANTITY_ENTROPY         ? report.entropy
           : quantity == GRPOALIGN_QUANTITY_EXPECTED_REWARD ? report.expected_reward
                                                            : sum;
}

/* The beta that is tuned to a target; 0 where it is unreachable. */
static double tuned(const grpoalign_problem *problem, int32_t quantity, const double *values,
                    double target, double *value)
{
    grpoalign_solution *solution = NULL;
    grpoalign_error error;
    int64_t n = values != NULL ? grpoalign_problem_outcomes(problem) : 0;
    grpoalign_status status =
        grpoalign_tune(problem, quantity, values, n, target, NULL, &solution, &error);
    if (status < 0) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(error.status, status);
    double beta = report_of(solution).beta;
    *value = quantity_at(problem, beta, quantity, values);
    grpoalign_solution_free(solution);
    return status == GRPOALIGN_UNREACHABLE ? 0.0 : beta;
}

enum { MOST = 6 };

/* A random context, and the room that it is in. */
typedef struct scene {
    plain_context context;
    double rewards[MOST], margins[MOST * MOST], log_reference[MOST], values[MOST];
    int32_t penalty;
    double beta;
} scene;

static void random_scene(randomness *rng, scene *s)
{
    static const int32_t PENALTIES[] = {GRPOALIGN_PENALTY_REVERSE_KL, GRPOALIGN_PENALTY_DIRECT_KL,
                                        GRPOALIGN_PENALTY_CHI_SQUARED,
                                        GRPOALIGN_PENALTY_JENSEN_SHANNON};
    memset(s, 0, sizeof *s);
    int64_t n = s->context.n = 2 + random_below(rng, MOST - 1);
    random_reference(rng, (int)random_below(rng, 2), n, s->log_reference);
    for (int64_t o = 0; o < n; o++) {
        s->rewards[o] = random_uniform(rng);
        s->values[o] = random_normal(rng);
    }
    s->penalty = PENALTIES[random_below(rng, 4)];
    switch (random_below(rng, 5)) {
    case 0:
        random_margins(rng, MARGINS_DENSE, n, s->margins);
        s->context.margins = s->margins;
        break;
    case 1:
        s->context.rewards = s->rewards;
        break;
    case 2:
        s->context.rewards = s->rewards;
        s->context.limit = 1;
        break;
    case 3:
        s->context.rewards = s->rewards;
        s->context.group_size = 8;
        s->context.unscaled = 1;
        break;
    default:
        s->context.rewards = s->rewards;
        s->context.group_size = 2 + random_below(rng, 5);
    }
    s->beta = exp(random_between(rng, log(0.02), log(20.0)));
}

/* ---- tuning ---------------------------------------------------------------------------------- */

/* The largest beta above `beta` at which a dense scan shows the target crossed; `beta` if none. */
static double crossing_above(const grpoalign_problem *problem, int32_t quantity,
                             const double *values, double target, double beta)
{
    double high = 1e6, before = quantity_at(problem, high, quantity, values) - target;
    for (double here = high; here > 1.02 * beta; here /= 1.02) {
        double off = quantity_at(problem, here, quantity, values) - target;
        if ((off > 0.0) != (before > 0.0)) {
            return here;
        }
        before = off;
    }
    return beta;
}

static void a_planted_beta_is_found_again(void **state)
{
    (void)state;
    randomness rng = random_start(71);
    for (int i = 0; i < 60 * test_scale(); i++) {
        scene s;
        random_scene(&rng, &s);
        grpoalign_problem *problem = problem_of(&s.context, s.penalty, s.log_reference);
        for (int32_t quantity = 1; quantity <= 5; quantity++) {
            const double *values = quantity == GRPOALIGN_QUANTITY_METRIC ? s.values : NULL;
            double target = quantity_at(problem, s.beta, quantity, values), value;
            if (!isfinite(target)) { /* collapsed, no rewards, or an outcome lost */
                continue;
            }
            double nearby = quantity_at(problem, s.beta * (1.0 + 1e-4), quantity, values);
            double found = tuned(problem, quantity, values, target, &value);
            /* How many digits of beta the quantity can tell. */
            double slope = fabs(nearby - target) / 1e-4;
            if (!(slope > 1e-4)) {
                continue;
            }
            if (!(fabs(found / s.beta - 1.0) < 1e-10)) {
                double above = crossing_above(problem, quantity, values, target, s.beta);
                if (!(found > s.beta && found > 0.95 * above && found < 1.05 * above)) {
                    fail_msg("case %d, quantity %d, penalty %d: beta %.17g is found as %.17g, "
                             "above %.17g, value %.17g for %.17g",
                             i, quantity, s.penalty, s.beta, found, above, value, target);
                }
            }
            assert_near(value, target, 1e-12 * fmax(1.0, fabs(target)));
        }
        grpoalign_problem_free(problem);
    }
}

static const double THREE[3] = {0.0, 0.6, 1.0}, MIDDLE[3] = {0.0, 1.0, 0.0};
static const double THREE_LOGS[3] = {-0.020202707317519466, -3.9769683654889795,
                                     -6.907755278982137}; /* .98, .01874, .001 */

static grpoalign_problem *three(int64_t group_size, int32_t penalty)
{
    const plain_context context = {
        .n = 3, .rewards = THREE, .group_size = group_size, .unscaled = 1};
    return problem_of(&context, penalty, THREE_LOGS);
}

/* The largest value of the metric and where it is, by a dense scan and thirds. */
static double peak(const grpoalign_problem *problem, const double *values, double *at)
{
    double best = -INFINITY;
    for (double beta = 10.0; beta > 1e-3; beta /= 1.01) {
        double value = quantity_at(problem, beta, GRPOALIGN_QUANTITY_METRIC, values);
        *at = value > best ? beta : *at;
        best = fmax(best, value);
    }
    double low = *at / 1.01, high = *at * 1.01;
    for (int k = 0; k < 100; k++) {
        double a = low + (high - low) / 3.0, b = high - (high - low) / 3.0;
        double value_a = quantity_at(problem, a, GRPOALIGN_QUANTITY_METRIC, values),
               value_b = quantity_at(problem, b, GRPOALIGN_QUANTITY_METRIC, values);
        *(value_a < value_b ? &low : &high) = value_a < value_b ? a : b;
    }
    *at = low;
    return quantity_at(problem, low, GRPOALIGN_QUANTITY_METRIC, values);
}

/* What rises and falls again: the first crossing from above, however near to the top. */
static void a_metric_that_turns_is_met_at_the_largest_beta(void **state)
{
    (void)state;
    static const double BELOW[] = {0.3, 0.05, 1e-3, 1e-6, 1e-9, 1e-12};
    grpoalign_problem *problem = three(8, GRPOALIGN_PENALTY_DIRECT_KL);
    double top_at, value, top = peak(problem, MIDDLE, &top_at);
    for (size_t k = 0; k < sizeof BELOW / sizeof *BELOW; k++) {
        double found = tuned(problem, GRPOALIGN_QUANTITY_METRIC, MIDDLE, top - BELOW[k], &value);
        assert_true(found > top_at);

        assert_near(value, top - BELOW[k], 1e-14);
    }
    assert_true(tuned(problem, GRPOALIGN_QUANTITY_METRIC, MIDDLE, top + 1e-9, &value) == 0.0);
    assert_near(value, top, 1e-10);
    grpoalign_problem_free(problem);
}

static void metrics_agree_with_a_dense_scan(void **state)
{
    (void)state;
    randomness rng = random_start(72);
    for (int i = 0; i < 15 * test_scale(); i++) {
        scene s;
        random_scene(&rng, &s);
        grpoalign_problem *problem = problem_of(&s.context, s.penalty, s.log_reference);
        double low = INFINITY, high = -INFINITY, value;
        for (double beta = 100.0; beta > 0.03; beta /= 1.2) {
            double here = quantity_at(problem, beta, GRPOALIGN_QUANTITY_METRIC, s.values);
            low = here < low ? here : low;
            high = here > high ? here : high;
        }
        double target = random_between(&rng, low, high);
        double found = tuned(problem, GRPOALIGN_QUANTITY_METRIC, s.values, target, &value);
        double first = crossing_above(problem, GRPOALIGN_QUANTITY_METRIC, s.values, target, 0.02);
        if (!(found > 0.97 * first && found < 1.03 * first) && found > 0.0) {
            /* A scan may step over a touch, but not over a jump. */
            assert_true(found > first);
            assert_near(value, target, 1e-12);
        }
        grpoalign_problem_free(problem);
    }
}

static void targets_beyond_the_branch_are_unreachable(void **state)
{
    (void)state;
    const double rewards[2] = {0.0, 1.0}, logs[2] = {log(0.9), log(0.1)};
    const plain_context context = {.n = 2, .rewards = rewards, .group_size = 8};
    grpoalign_problem *problem = problem_of(&context, GRPOALIGN_PENALTY_REVERSE_KL, logs);
    grpoalign_solution *solution = NULL;
    grpoalign_error error;
    double value;
    /* All that is left to win is log(1/.1). */
    assert_true(tuned(problem, GRPOALIGN_QUANTITY_KL_POLICY_REF, NULL, 2.4, &value) == 0.0);
    assert_near(value, log(10.0), 1e-10);
    assert_true(tuned(problem, GRPOALIGN_QUANTITY_KL_POLICY_REF, NULL, 2.3, &value) > 0.0);
    assert_near(value, 2.3, 1e-12);
    /* Training does not lower the reward. */
    assert_true(tuned(problem, GRPOALIGN_QUANTITY_EXPECTED_REWARD, NULL, 0.05, &value) == 0.0);
    assert_near(value, 0.1, 1e-6);
    /* What the reference itself has. */
    assert_int_equal(grpoalign_tune(problem, GRPOALIGN_QUANTITY_KL_POLICY_REF, NULL, 0, 0.0, NULL,
                                    &solution, &error),
                     GRPOALIGN_UNREACHABLE);
    assert_non_null(strstr(error.message, "infinite"));
    assert_true(report_of(solution).kl_policy_ref < 1e-20);
    grpoalign_solution_free(solution);
    /* The entropy rises to log 2 and comes back to that of the reference where p is .9. */
    double entropy = -(0.9 * log(0.9) + 0.1 * log(0.1));
    assert_true(tuned(problem, GRPOALIGN_QUANTITY_ENTROPY, NULL, entropy, &value) > 0.0);
    assert_near(value, entropy, 1e-13);
    grpoalign_problem_free(problem);
}

static void a_branch_that_jumps_or_ends_is_not_guessed_across(void **state)
{
    (void)state;
    const double rewards[2] = {0.0, 1.0}, logs[2] = {log(0.9), log(0.1)};
    const plain_context group = {.n = 2, .rewards = rewards, .group_size = 32},
                        limit = {.n = 2, .rewards = rewards, .limit = 1};
    grpoalign_problem *problem = problem_of(&group, GRPOALIGN_PENALTY_DIRECT_KL, logs);
    grpoalign_points *folds = NULL;
    double value;
    CHECK_OK(grpoalign_points_new_folds(problem, 0.3, 2.0, NULL, &folds, NULL));
    grpoalign_report fold = report_of(grpoalign_points_solution(folds, 0));
    grpoalign_points_free(folds);
    double before = fold.expected_reward;
    double after = quantity_at(problem, fold.beta * (1.0 - 1e-9), 4, NULL);
    assert_true(after > before + 0.1);
    assert_true(tuned(problem, 4, NULL, before - 1e-3, &value) > fold.beta);
    assert_true(tuned(problem, 4, NULL, before - 1e-6, &value) > fold.beta);
    assert_true(tuned(problem, 4, NULL, 0.5 * (before + after), &value) == 0.0);
    assert_true(tuned(problem, 4, NULL, 0.5 * (1.0 + after), &value) > 0.0);
    assert_near(value, 0.5 * (1.0 + after), 1e-12);
    grpoalign_problem_free(problem);

    double critical;
    grpoalign_solution *solution = NULL;
    problem = problem_of(&limit, GRPOALIGN_PENALTY_DIRECT_KL, logs);
    CHECK_OK(grpoalign_critical_beta(problem, NULL, &critical, NULL));
    assert_int_equal(grpoalign_tune(problem, 4, NULL, 0, 0.9999, NULL, &solution, NULL),
                     GRPOALIGN_UNREACHABLE);
    assert_near(report_of(solution).beta / critical, 1.0, 1e-8);
    grpoalign_solution_free(solution);
    grpoalign_problem_free(problem);
}

/* Where a quantity stays at its target the upper end counts; one that grows beyond the doubles is met
 * before. */
static void a_target_that_lasts_is_met_at_its_upper_end(void **state)
{
    (void)state;
    grpoalign_problem *problem = three(8, GRPOALIGN_PENALTY_CHI_SQUARED);
    double value, beta = tuned(problem, 4, NULL, 1.0, &value);
    assert_near(value, 1.0, 0.0);
    assert_true(quantity_at(problem, beta * (1.0 + 1e-9), 4, NULL) < 1.0);
    assert_true(quantity_at(problem, 0.5 * beta, 4, NULL) == 1.0);
    assert_true(tuned(problem, 2, NULL, 3.0, &value) > beta);
    assert_near(value, 3.0, 1e-9);
    grpoalign_problem_free(problem);
}

static void the_range_bounds_the_search(void **state)
{
    (void)state;
    grpoalign_problem *problem = three(8, GRPOALIGN_PENALTY_DIRECT_KL);
    grpoalign_solution *solution = NULL;
    grpoalign_inverse_options options = GRPOALIGN_INVERSE_OPTIONS_INIT;
    double top_at, value, top = peak(problem, MIDDLE, &top_at);
    options.beta_high = top_at; /* on the other side of the top */
    CHECK_OK(grpoalign_tune(problem, 5, MIDDLE, 3, 0.5 * top, &options, &solution, NULL));
    assert_true(report_of(solution).beta < top_at);
    grpoalign_solution_free(solution);
    options.beta_low = options.beta_high = 1.1 * tuned(problem, 5, MIDDLE, 0.5 * top, &value);
    assert_int_equal(grpoalign_tune(problem, 5, MIDDLE, 3, 0.5 * top, &options, &solution, NULL),
                     GRPOALIGN_UNREACHABLE);
    assert_near(report_of(solution).beta, options.beta_low, 0.0);
    grpoalign_solution_free(solution);
    grpoalign_problem_free(problem);
}

/* ---- fitting --------------------------------------------------------------------------------- */

static grpoalign_fit_report fitted(const grpoalign_problem *problem, const double *observed,
                                   grpoalign_status *status)
{
    grpoalign_fit_report fit = GRPOALIGN_FIT_REPORT_INIT;
    grpoalign_solution *solution = NULL;
    grpoalign_error error;
    *status = grpoalign_fit(problem, observed, grpoalign_problem_outcomes(problem), NULL, &solution,
                            &fit, &error);
    if (*status < 0) {
        fail_msg("%s", error.message);
    }
    assert_near(report_of(solution).beta, fit.beta, 0.0);
    assert_int_equal(error.status, *status);
    grpoalign_solution_free(solution);
    return fit;
}

static void observing_the_policy_itself_gives_its_beta(void **state)
{
    (void)state;
    randomness rng = random_start(73);
    for (int i = 0; i < 40 * test_scale(); i++) {
        scene s;
        double policy[MOST], most = 0.0;
        random_scene(&rng, &s);
        grpoalign_problem *problem = problem_of(&s.context, s.penalty, s.log_reference);
        grpoalign_solution *solution = NULL;
        grpoalign_status status;
        assert_true(grpoalign_solve(problem, s.beta, NULL, &solution, NULL) >= 0);
        grpoalign_report report = report_of(solution);
        CHECK_OK(grpoalign_solution_policy(solution, policy, s.context.n, NULL));
        grpoalign_solution_free(solution);
        for (int64_t o = 0; o < s.context.n; o++) {
            policy[o] *= 1000.0;
            most += policy[o] > 0.0 ? policy[o] * log(policy[o] / 1000.0) : 0.0;
        }
        if (report.status != GRPOALIGN_COLLAPSED && report.kl_policy_ref > 1e-4 &&
            report.entropy > 0.1) {
            grpoalign_fit_report fit = fitted(problem, policy, &status);
            assert_true(status == GRPOALIGN_OK || status == GRPOALIGN_NOT_UNIQUE);
            assert_near(fit.beta / s.beta, 1.0, 1e-8);
            assert_near(fit.log_likelihood, most, 1e-9 * fabs(most));
            assert_near(fit.log_likelihood_most, most, 1e-9 * fabs(most));
            assert_near(fit.observations, 1000.0, 1e-9);
            assert_true(fit.log_likelihood_reference < most && fit.beta_se > 0.0);
        }
        grpoalign_problem_free(problem);
    }
}

/* Fisher's information in closed form: direct KL, unscaled, is an exponential family in 1/beta. */
static void the_standard_error_is_that_of_the_information(void **state)
{
    (void)state;
    grpoalign_problem *problem = three(8, GRPOALIGN_PENALTY_DIRECT_KL);
    for (double beta = 0.08; beta < 1.0; beta *= 1.5) {
        grpoalign_solution *solution = NULL;
        grpoalign_status status;
        double policy[3], mean = 0.0, square = 0.0;
        CHECK_OK(grpoalign_solve(problem, beta, NULL, &solution, NULL));
        CHECK_OK(grpoalign_solution_policy(solution, policy, 3, NULL));
        grpoalign_solution_free(solution);
        for (int o = 0; o < 3; o++) {
            mean += policy[o] * THREE[o];
            square += policy[o] * THREE[o] * THREE[o];
            policy[o] *= 400.0;
        }
        /* u = (7/8) r, so 1/beta has the information 400 (7/8)^2 var r. */
        double sd = sqrt(400.0 * (square - mean * mean)) * 0.875;
        grpoalign_fit_report fit = fitted(problem, policy, &status);
        assert_near(fit.beta_se / (beta * beta / sd), 1.0, 1e-6);
    }
    grpoalign_problem_free(problem);
}

/* Counts of draws scatter the fits as the standard error says. */
static void draws_scatter_as_the_standard_error_says(void **state)
{
    (void)state;
    enum { FITS = 200, DRAWS = 1000 };
    randomness rng = random_start(74);
    const double beta = 0.7, logs[3] = {log(0.6), log(0.3), log(0.1)};
    const plain_context context = {.n = 3, .rewards = THREE, .limit = 1};
    grpoalign_problem *problem = problem_of(&context, GRPOALIGN_PENALTY_REVERSE_KL, logs);
    grpoalign_solution *solution = NULL;
    grpoalign_status status;
    double policy[3], scatter = 0.0, expected = 0.0;
    CHECK_OK(grpoalign_solve(problem, beta, NULL, &solution, NULL));
    CHECK_OK(grpoalign_solution_policy(solution, policy, 3, NULL));
    grpoalign_solution_free(solution);
    for (int i = 0; i < FITS; i++) {
        double counts[3] = {0.0};
        for (int k = 0; k < DRAWS; k++) {
            double at = random_uniform(&rng);
            counts[at < policy[0] ? 0 : at < policy[0] + policy[1] ? 1 : 2] += 1.0;
        }
        grpoalign_fit_report fit = fitted(problem, counts, &status);
        scatter += (fit.beta - beta) * (fit.beta - beta) / FITS;
        expected += fit.beta_se * fit.beta_se / FITS;
    }
    /* A sum of 200 squares is off by 10 % one time in three. */
    assert_true(sqrt(scatter / expected) > 0.8 && sqrt(scatter / expected) < 1.25);
    grpoalign_problem_free(problem);
}

static void a_likelihood_that_is_largest_at_an_end_says_so(void **state)
{
    (void)state;
    const double logs[3] = {log(0.6), log(0.3), log(0.1)}, same[3] = {60.0, 30.0, 10.0},
                 worse[3] = {80.0, 20.0, 0.0}, best[3] = {0.0, 0.0, 7.0};
    const plain_context context = {.n = 3, .rewards = THREE, .limit = 1};
    grpoalign_problem *problem = problem_of(&context, GRPOALIGN_PENALTY_REVERSE_KL, logs);
    grpoalign_status status;
    grpoalign_fit_report fit = fitted(problem, same, &status);
    assert_int_equal(status, GRPOALIGN_UNREACHABLE);
    assert_true(isnan(fit.beta_se) && fit.beta > 1e6);
    assert_near(fit.log_likelihood, fit.log_likelihood_reference, 1e-12);
    fit = fitted(problem, worse, &status);
    assert_int_equal(status, GRPOALIGN_UNREACHABLE);
    assert_true(fit.beta > 1e6);
    fit = fitted(problem, best, &status);
    assert_int_equal(status, GRPOALIGN_UNREACHABLE);
    assert_true(isnan(fit.beta_se) && fit.beta < 1e-6 && fit.log_likelihood > -1e-6);
    grpoalign_problem_free(problem);
}

/* What lies between the two sides of a jump is explained by one of its edges, which has no
 * curvature. */
static void a_fit_across_a_jump_is_at_its_edge(void **state)
{
    (void)state;
    const double rewards[2] = {0.0, 1.0}, logs[2] = {log(0.9), log(0.1)};
    const plain_context group = {.n = 2, .rewards = rewards, .group_size = 32};
    grpoalign_problem *problem = problem_of(&group, GRPOALIGN_PENALTY_DIRECT_KL, logs);
    grpoalign_points *folds = NULL;
    grpoalign_status status;
    CHECK_OK(grpoalign_points_new_folds(problem, 0.3, 2.0, NULL, &folds, NULL));
    double fold = report_of(grpoalign_points_solution(folds, 0)).beta;
    grpoalign_points_free(folds);
    double after = quantity_at(problem, fold * (1.0 - 1e-9), 4, NULL);
    for (double p = 0.9; p < after; p += 0.02) {
        const double observed[2] = {1000.0 * (1.0 - p), 1000.0 * p};
        grpoalign_fit_report fit = fitted(problem, observed, &status);
        assert_true(status >= 0 && status != GRPOALIGN_UNREACHABLE);
        assert_near(fit.beta / fold, 1.0, 1e-6);
        assert_true(isnan(fit.beta_se) && fit.log_likelihood < fit.log_likelihood_most);
    }
    grpoalign_problem_free(problem);
}

/* ---- what a policy implies ------------------------------------------------------------------- */

static void a_stationary_policy_implies_its_advantages(void **state)
{
    (void)state;
    static const int32_t PENALTIES[] = {
        GRPOALIGN_PENALTY_REVERSE_KL,        GRPOALIGN_PENALTY_DIRECT_KL,
        GRPOALIGN_PENALTY_CHI_SQUARED,       GRPOALIGN_PENALTY_JENSEN_SHANNON,
        GRPOALIGN_PENALTY_SQUARED_LOG_RATIO, GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED};
    randomness rng = random_start(75);
    for (int i = 0; i < 60 * test_scale(); i++) {
        scene s;
        double policy[MOST], advantage[MOST], implied[MOST];
        random_scene(&rng, &s);
        s.beta = fmax(s.beta, 0.1);
        s.penalty = PENALTIES[i % 6];
        int64_t n = s.context.n;
        handles h = open_handles(&s.context, s.penalty, s.log_reference);
        grpoalign_solution *solution = NULL;
        assert_true(solve_parts(h.model, h.penalty, h.reference, s.beta, NULL, &solution, NULL) >=
                    0);
        int stationary = report_of(solution).residual < 1e-10;
        CHECK_OK(grpoalign_solution_policy(solution, policy, n, NULL));
        CHECK_OK(grpoalign_solution_advantage(solution, advantage, n, NULL));
        grpoalign_solution_free(solution);
        CHECK_OK(
            grpoalign_penalty_implied(h.penalty, h.reference, policy, n, s.beta, implied, NULL));
        for (int64_t o = 0; stationary && o < n; o++) {
            if (policy[o] > 1e-6) {
                assert_near(implied[o], advantage[o], 1e-9 * (1.0 + s.beta));
            } else if (policy[o] == 0.0 && s.penalty == GRPOALIGN_PENALTY_CHI_SQUARED) {
                assert_true(advantage[o] <= implied[o] + 1e-9);
            }
        }
        close_handles(&h);
    }
}

static void nothing_is_implied_where_there_is_nothing(void **state)
{
    (void)state;
    const double before[4] = {0.5, 0.25, 0.25, 0.0}, policy[4] = {0.5, 0.5, 0.0, 0.0},
                 outside[4] = {0.5, 0.25, 0.2, 0.05};
    double advantage[4];
    grpoalign_reference *reference = NULL;
    grpoalign_penalty *penalty = NULL;
    grpoalign_error error;
    CHECK_OK(grpoalign_reference_new(before, 4, NULL, &reference, NULL));
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL));
    CHECK_OK(grpoalign_penalty_implied(penalty, reference, policy, 4, 2.0, advantage, NULL));
    assert_near(advantage[0], -0.5, 1e-15); /* g is 0 and 1/2, its mean 1/4 */
    assert_near(advantage[1], 0.5, 1e-15);
    assert_true(isinf(advantage[2]) && advantage[2] < 0.0 && isnan(advantage[3]));
    assert_int_equal(
        grpoalign_penalty_implied(penalty, reference, outside, 4, 2.0, advantage, &error),
        GRPOALIGN_ERR_PROBABILITY);
    assert_true(error.argument == 3 && error.index == 3);
    grpoalign_penalty_free(penalty);
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_TOTAL_VARIATION, NULL, &penalty, NULL));
    assert_int_equal(
        grpoalign_penalty_implied(penalty, reference, policy, 4, 2.0, advantage, &error),
        GRPOALIGN_ERR_UNSUPPORTED);
    grpoalign_penalty_free(penalty);
    grpoalign_reference_free(reference);
}

/* ---- calls ----------------------------------------------------------------------------------- */

#define REFUSED(call, code, position, place)                                                       \
    do {                                                                                           \
        grpoalign_error error;                                                                     \
        grpoalign_solution *solution = (void *)1;                                                  \
        assert_int_equal(call, code);                                                              \
        assert_null(solution);                                                                     \
        assert_int_equal(error.argument, position);                                                \
        assert_int_equal(error.index, place);                                                      \
    } while (0)

static void faults_are_named(void **state)
{
    (void)state;
    const double bad[3] = {1.0, NAN, 0.0}, negative[3] = {1.0, -1.0, 3.0}, none[3] = {0.0};
    const double seen[3] = {1.0, 1.0, 1.0}, logs[3] = {-1.0, -INFINITY, -1.0};
    const plain_context limit = {.n = 3, .rewards = THREE, .limit = 1},
                        pairs = {.n = 3, .margins = (const double[9]){0.0}};
    grpoalign_fit_report fit = GRPOALIGN_FIT_REPORT_INIT, unset = {.struct_size = 3};
    grpoalign_inverse_options options = GRPOALIGN_INVERSE_OPTIONS_INIT;
    grpoalign_problem *p = problem_of(&limit, GRPOALIGN_PENALTY_REVERSE_KL, THREE_LOGS),
                      *margins = problem_of(&pairs, GRPOALIGN_PENALTY_REVERSE_KL, THREE_LOGS),
                      *free_of = problem_of(&limit, GRPOALIGN_PENALTY_NONE, THREE_LOGS),
                      *partly = problem_of(&limit, GRPOALIGN_PENALTY_REVERSE_KL, logs);
#define TUNE(problem, ...) grpoalign_tune(problem, __VA_ARGS__, &solution, &error)
#define FIT(problem, ...)  grpoalign_fit(problem, __VA_ARGS__, &error)
    REFUSED(TUNE(p, 0, NULL, 0, 1.0, NULL), GRPOALIGN_ERR_ARGUMENT, 2, -1);
    REFUSED(TUNE(p, 1, THREE, 3, 1.0, NULL), GRPOALIGN_ERR_ARGUMENT, 3, -1);
    REFUSED(TUNE(p, 1, NULL, 0, -1.0, NULL), GRPOALIGN_ERR_ARGUMENT, 5, -1);
    REFUSED(TUNE(p, 1, NULL, 0, INFINITY, NULL), GRPOALIGN_ERR_NOT_FINITE, 5, -1);
    REFUSED(TUNE(p, 5, THREE, 2, 0.1, NULL), GRPOALIGN_ERR_DIMENSION, 4, -1);
    REFUSED(TUNE(p, 5, bad, 3, 0.1, NULL), GRPOALIGN_ERR_NOT_FINITE, 3, 1);
    REFUSED(TUNE(margins, 4, NULL, 0, 0.1, NULL), GRPOALIGN_ERR_UNSUPPORTED, 2, -1);
    REFUSED(TUNE(free_of, 1, NULL, 0, 0.1, NULL), GRPOALIGN_ERR_UNSUPPORTED, 1, -1);
    options.beta_low = 2.0, options.beta_high = 1.0;
    REFUSED(TUNE(p, 1, NULL, 0, 0.1, &options), GRPOALIGN_ERR_ARGUMENT, 6, -1);
    options.beta_low = -2.0;
    REFUSED(TUNE(p, 1, NULL, 0, 0.1, &options), GRPOALIGN_ERR_ARGUMENT, 6, -1);
    REFUSED(FIT(p, NULL, 3, NULL, &solution, &fit), GRPOALIGN_ERR_ARGUMENT, 2, -1);
    REFUSED(FIT(p, seen, 2, NULL, &solution, &fit), GRPOALIGN_ERR_DIMENSION, 3, -1);
    REFUSED(FIT(p, bad, 3, NULL, &solution, &fit), GRPOALIGN_ERR_NOT_FINITE, 2, 1);
    REFUSED(FIT(p, negative, 3, NULL, &solution, &fit), GRPOALIGN_ERR_ARGUMENT, 2, 1);
    REFUSED(FIT(p, none, 3, NULL, &solution, &fit), GRPOALIGN_ERR_ARGUMENT, 2, -1);
    REFUSED(FIT(partly, seen, 3, NULL, &solution, &fit), GRPOALIGN_ERR_PROBABILITY, 2, 1);
    REFUSED(FIT(p, seen, 3, NULL, &solution, NULL), GRPOALIGN_ERR_ARGUMENT, 6, -1);
    REFUSED(FIT(p, seen, 3, NULL, &solution, &unset), GRPOALIGN_ERR_STRUCT_SIZE, 6, -1);
    grpoalign_problem_free(p);
    grpoalign_problem_free(margins);
    grpoalign_problem_free(free_of);
    grpoalign_problem_free(partly);
}

typedef struct listener {
    int32_t last, calls, stop_at;
} listener;

static int32_t listen(void *user, const grpoalign_progress *progress)
{
    listener *self = user;
    assert_true(progress->iteration >= self->last);
    self->last = progress->iteration;
    return ++self->calls == self->stop_at;
}

static void a_search_can_be_cancelled_anywhere(void **state)
{
    (void)state;
    const double observed[3] = {5.0, 3.0, 2.0};
    for (int32_t kind = 1; kind <= 2; kind++) {
        grpoalign_problem *problem = three(8, kind);
        listener ear = {.last = 0};
        grpoalign_inverse_options options = GRPOALIGN_INVERSE_OPTIONS_INIT;
        grpoalign_fit_report fit = GRPOALIGN_FIT_REPORT_INIT;
        grpoalign_solution *solution = NULL;
        options.progress = listen;
        options.user = &ear;
        CHECK_OK(grpoalign_tune(problem, 1, NULL, 0, 0.3, &options, &solution, NULL));
        grpoalign_solution_free(solution);
        int32_t calls = ear.calls;
        assert_true(calls > 10);
        for (int32_t stop = 1; stop <= calls; stop += 7) {
            ear = (listener){.stop_at = stop};
            assert_int_equal(grpoalign_tune(problem, 1, NULL, 0, 0.3, &options, &solution, NULL),
                             GRPOALIGN_ERR_CANCELLED);
            assert_null(solution);
            ear = (listener){.stop_at = stop};
            assert_int_equal(grpoalign_fit(problem, observed, 3, &options, &solution, &fit, NULL),
                             GRPOALIGN_ERR_CANCELLED);
        }
        grpoalign_problem_free(problem);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_planted_beta_is_found_again),
        cmocka_unit_test(a_metric_that_turns_is_met_at_the_largest_beta),
        cmocka_unit_test(metrics_agree_with_a_dense_scan),
        cmocka_unit_test(targets_beyond_the_branch_are_unreachable),
        cmocka_unit_test(a_branch_that_jumps_or_ends_is_not_guessed_across),
        cmocka_unit_test(a_target_that_lasts_is_met_at_its_upper_end),
        cmocka_unit_test(the_range_bounds_the_search),
        cmocka_unit_test(observing_the_policy_itself_gives_its_beta),
        cmocka_unit_test(the_standard_error_is_that_of_the_information),
        cmocka_unit_test(draws_scatter_as_the_standard_error_says),
        cmocka_unit_test(a_likelihood_that_is_largest_at_an_end_says_so),
        cmocka_unit_test(a_fit_across_a_jump_is_at_its_edge),
        cmocka_unit_test(a_stationary_policy_implies_its_advantages),
        cmocka_unit_test(nothing_is_implied_where_there_is_nothing),
        cmocka_unit_test(faults_are_named),
        cmocka_unit_test(a_search_can_be_cancelled_anywhere),
    };
    return run_chosen(tests);
}
