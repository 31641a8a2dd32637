/* Reference policies of which a double knows nothing but the logarithm: every model, penalty and
 * scale answers with probabilities, or says why not. */
#include "check.h"

enum { MOST = 3, SCALES = 9 };

static const double LOGS[] = {-1.0, -700.0, -800.0, -1e4, -1e10, -1e100, -1e300};
static const double BETAS[] = {1e-8, 0.01, 0.5, 3.0, 1e6};
static const double ALPHAS[] = {0.05, 0.5, 0.96, 1.5};
static const double REWARDS[][MOST] = {{1, 0}, {0, 1}, {0, 0.5, 1}, {1, 0.3, 0}};
enum { COUNT_OF_LOGS = 7, COUNT_OF_BETAS = 5, COUNT_OF_ALPHAS = 4, COUNT_OF_REWARDS = 4 };

/* Every kind of model over the same rewards. */
static plain_context context_at(int which, const double *rewards, int64_t n, double *margins)
{
    plain_context out = {.n = n, .rewards = rewards, .group_size = 4};
    switch (which) {
    case 0: /* pairwise by reward */
        out.group_size = 0;
        break;
    case 1:
        for (int64_t i = 0; i < n * n; i++) {
            double a = rewards[i / n], b = rewards[i % n];
            margins[i] = (double)((a > b) - (a < b));
        }
        out = (plain_context){.n = n, .margins = margins};
        break;
    case 2:
        break;
    case 3:
        out.group_size = 12;
        break;
    case 4:
        out.over_mean = 1;
        break;
    case 5:
        out.over_others = out.leave_one_out = 1;
        break;
    case 6:
        out.limit = 1;
        break;
    case 7:
        out.limit = out.over_mean = 1;
        break;
    default:
        out.limit = out.unscaled = 1;
    }
    return out;
}

static void check_probabilities(const grpoalign_solution *solution, int64_t n, const char *where)
{
    double policy[MOST], sum = 0.0;
    grpoalign_report report = {.struct_size = sizeof report};
    CHECK_OK(grpoalign_solution_policy(solution, policy, n, NULL));
    CHECK_OK(grpoalign_solution_report(solution, &report, NULL));
    for (int64_t o = 0; o < n; o++) {
        if (!(policy[o] >= 0.0 && policy[o] <= 1.0)) {
            fail_msg("%s: probability %g", where, policy[o]);
        }
        sum += policy[o];
    }
    if (!(fabs(sum - 1.0) <= 1e-14)) {
        fail_msg("%s: the sum is %.17g", where, sum);
    }
    if (!(report.policy_error >= 0.0 && report.policy_error <= 1.0)) {
        fail_msg("%s: an error of %g", where, report.policy_error);
    }
    if (report.status <= GRPOALIGN_NOT_UNIQUE && isnan(report.residual)) {
        fail_msg("%s: no residual", where);
    }
}

/* Solves, and now and then lists all points. Returns the status. */
static grpoalign_status ask(const grpoalign_model *model, const grpoalign_penalty *penalty,
                            const double *logs, int64_t n, double beta, int all, const char *where)
{
    grpoalign_reference *reference;
    grpoalign_problem *problem;
    grpoalign_solution *solution = NULL;
    grpoalign_points *points = NULL;
    CHECK_OK(grpoalign_reference_new_log(logs, n, NULL, &reference, NULL));
    grpoalign_status status =
        grpoalign_problem_new(model, penalty, reference, NULL, &problem, NULL);
    grpoalign_reference_free(reference);
    if (status < 0) {
        assert_int_equal(status, GRPOALIGN_ERR_UNSUPPORTED);
        return status;
    }
    status = grpoalign_solve(problem, beta, NULL, &solution, NULL);
    if (status >= 0) {
        check_probabilities(solution, n, where);
    } else if (status != GRPOALIGN_ERR_UNSUPPORTED) {
        fail_msg("%s: status %d", where, (int)status);
    }
    if (all) {
        grpoalign_status listed = grpoalign_points_new(problem, beta, NULL, &points, NULL);
        if (listed < 0 && listed != GRPOALIGN_ERR_UNSUPPORTED) {
            fail_msg("%s: points, status %d", where, (int)listed);
        }
        for (int64_t k = 0; k < grpoalign_points_count(points); k++) {
            check_probabilities(grpoalign_points_solution(points, k), n, where);
        }
    }
    grpoalign_points_free(points);
    grpoalign_solution_free(solution);
    grpoalign_problem_free(problem);
    return status;
}

static void every_answer_is_a_policy_whatever_the_reference(void **state)
{
    (void)state;
    int64_t asked = 0, given_up = 0;
    for (int row = 0; grpoalign_penalty_kind_at(row) != 0; row++) {
        int32_t kind = grpoalign_penalty_kind_at(row);
        for (int a = 0; a < (kind == GRPOALIGN_PENALTY_ALPHA ? COUNT_OF_ALPHAS : 1); a++) {
            grpoalign_penalty *penalty;
            CHECK_OK(kind == GRPOALIGN_PENALTY_ALPHA
                         ? new_alpha(ALPHAS[a], &penalty, NULL)
                         : grpoalign_penalty_new(kind, NULL, &penalty, NULL));
            for (int each = 0; each < COUNT_OF_REWARDS * SCALES; each++) {
                int which = each % SCALES, rewards = each / SCALES;
                int64_t n = rewards < 2 ? 2 : 3;
                double margins[MOST * MOST];
                plain_context context = context_at(which, REWARDS[rewards], n, margins);
                grpoalign_model *model = make_model(&context);
                for (int l = 0; l < COUNT_OF_LOGS * COUNT_OF_BETAS; l++) {
                    double rare = LOGS[l % COUNT_OF_LOGS], beta = BETAS[l / COUNT_OF_LOGS];
                    double logs[] = {rare, n == 2 ? 0.0 : 0.5 * rare, 0.0};
                    char where[128];
                    snprintf(where, sizeof where, "%s %g, model %d, rewards %d, %g, beta %g",
                             grpoalign_penalty_name(kind), ALPHAS[a], which, rewards, rare, beta);
                    int all = test_scale() > 1 || asked % 40 == 0;
                    given_up +=
                        ask(model, penalty, logs, n, beta, all, where) == GRPOALIGN_NOT_CONVERGED;
                    asked++;
                }
                grpoalign_model_free(model);
            }
            grpoalign_penalty_free(penalty);
        }
    }
    print_message("# %lld problems, %lld given up\n", (long long)asked, (long long)given_up);
    assert_true(given_up < asked / 40);
}

/* The same scale of a group whose outcomes have random rewards; which >= 2. */
static plain_context random_context_at(int which, const double *support, const double *distribution)
{
    plain_context out = context_at(which, support, MOST, NULL);
    out.support = support;
    out.k = MOST;
    out.distribution = distribution;
    out.limit = 0;
    return out;
}

/* Rewards whose range is no double, or whose differences are hardly any. */
static void every_answer_is_a_policy_whatever_the_rewards(void **state)
{
    (void)state;
    static const double FAR[][MOST] = {{1e308, -1e308, 0},       {-1.7e308, 1e-300, 1.7e308},
                                       {0, 5e-324, 1},           {0, 2e-308, 1},
                                       {0, 1e-200, 1},           {-1, 1e-320, 2e-320},
                                       {1e-320, 2e-320, 3e-320}, {1, 1 + 2.2e-16, 1 + 4.5e-16}};
    static const double LOG_REFERENCE[] = {0.0, 0.0, -3.0};
    static const double ROWS[] = {0.5, 0.25, 0.25, 0.0, 1.0, 0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0};
    for (int row = 0; grpoalign_penalty_kind_at(row) != 0; row++) {
        int32_t kind = grpoalign_penalty_kind_at(row);
        grpoalign_penalty *penalty;
        CHECK_OK(kind == GRPOALIGN_PENALTY_ALPHA
                     ? new_alpha(0.5, &penalty, NULL)
                     : grpoalign_penalty_new(kind, NULL, &penalty, NULL));
        for (int each = 0; each < 2 * SCALES; each++) {
            int which = each % SCALES, is_random = each >= SCALES;
            for (size_t k = 0; (which >= 2 || !is_random) && k < sizeof FAR / sizeof *FAR; k++) {
                double margins[MOST * MOST];
                plain_context context = is_random ? random_context_at(which, FAR[k], ROWS)
                                                  : context_at(which, FAR[k], 3, margins);
                int negative = fmin(FAR[k][0], fmin(FAR[k][1], FAR[k][2])) < 0.0;
                if (context.over_mean && negative) {
                    continue; /* refused */
                }
                grpoalign_model *model = make_model(&context);
                for (int b = 0; b < COUNT_OF_BETAS; b++) {
                    char where[128];
                    snprintf(where, sizeof where, "%s, model %d, %s rewards %d, beta %g",
                             grpoalign_penalty_name(kind), which, is_random ? "random" : "certain",
                             (int)k, BETAS[b]);
                    (void)ask(model, penalty, LOG_REFERENCE, 3, BETAS[b], b == 2, where);
                }
                grpoalign_model_free(model);
            }
        }
        grpoalign_penalty_free(penalty);
    }
}

/* Over the std of the others powers have as many factors as the group has members. */
static void groups_of_any_size_are_solved_over_the_std_of_others(void **state)
{
    (void)state;
    static const int64_t SIZES[] = {32, 33, 640, 700, 1024, 4096, 20000};
    static const double LEVELS[] = {0.0, 0.3, 1.0};
    const double logs[] = {log(0.5), log(0.3), log(0.2)};
    for (size_t k = 0; k < sizeof SIZES / sizeof *SIZES; k++) {
        plain_context c = {.n = 3,
                           .rewards = LEVELS,
                           .group_size = SIZES[k],
                           .over_others = 1,
                           .leave_one_out = 1};
        solved s = solve_context(&c, GRPOALIGN_PENALTY_REVERSE_KL, 0.05, logs);
        assert_int_equal(s.status, GRPOALIGN_OK);
        assert_true(s.report.residual < 1e-14);
        solved_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_is_a_policy_whatever_the_reference),
        cmocka_unit_test(every_answer_is_a_policy_whatever_the_rewards),
        cmocka_unit_test(groups_of_any_size_are_solved_over_the_std_of_others),
    };
    return run_chosen(tests);
}
