/* Solved policies put back into the definition of stationarity, from raw data alone: every kind of
 * model, every convention of groups, every penalty, beta and reference with their corners. */
#include "check.h"

#include "trial.h"

enum { MOST = 5, LEVELS = 3 };

/* Fails with the record unless a number is as small as it must be. */
static void check_small(double value, double most, const char *what, const trial *t)
{
    if (!(value <= most)) {
        fail_msg("%s is %g, more than %g: %s", what, value, most, trial_record(t));
    }
}

static void check_true(int holds, const char *what, const trial *t)
{
    if (!holds) {
        fail_msg("%s: %s", what, trial_record(t));
    }
}

/* One of the conventions that belong together; rewards are made >= 0 where a mean divides. */
static void random_convention(randomness *r, plain_context *c, double *rewards, int64_t count)
{
    random_scale(r, c, rewards, count);
    if (!c->unscaled && random_below(r, 2)) {
        c->epsilon = random_below(r, 2) ? 1e-4 : random_uniform(r);
        c->inside = !c->over_others && !c->over_mean && random_below(r, 3) == 0;
    }
    /* Two levels of which the lower is 0 have no bounded advantage over a mean without epsilon. */
    c->epsilon = c->over_mean && c->limit && c->epsilon == 0.0 ? 0.25 : c->epsilon;
}

/* Rewards 0 and 1, and what a group gives: anything, or nothing to some. */
static void random_table(randomness *r, trial *t)
{
    plain_context *c = &t->context;
    int64_t given = 1 + random_below(r, 4);
    c->group_size = 2 + random_below(r, 4);
    for (int64_t o = 0; o < c->n; o++) {
        t->rewards[o] = (double)random_below(r, 2);
    }
    for (int64_t k = 0; k < c->group_size; k++) {
        t->success[k] = random_below(r, given) == 0 ? random_normal(r) : 0.0;
        t->failure[k] = random_below(r, given) == 0 ? random_normal(r) : 0.0;
    }
    c->success = t->success;
    c->failure = t->failure;
}

static void random_trial(randomness *r, trial *t, int64_t kind)
{
    static const char *const KINDS[] = {
        "margins", "ranked", "group", "random", "filter", "limit", "limit with variances", "table"};
    static const int REWARDS[] = {REWARDS_UNIFORM, REWARDS_INTEGER, REWARDS_GEOMETRIC};
    plain_context *c = &t->context;
    memset(t, 0, sizeof *t);
    t->kind = KINDS[kind];
    c->n = 2 + random_below(r, MOST - 1);
    random_rewards(r, REWARDS[random_below(r, 3)], c->n, t->rewards);
    random_reference(r, (int)random_below(r, 3), c->n, t->logs);
    if (random_below(r, 8) == 0) {
        t->logs[random_below(r, c->n)] = random_below(r, 2) ? -INFINITY : -600.0;
    }
    t->logs[0] = t->logs[0] == -INFINITY && c->n == 1 ? 0.0 : t->logs[0];
    c->rewards = t->rewards;
    if (kind == 0) {
        random_margins(r, (int)random_below(r, MARGINS_KINDS), c->n, t->margins);
        c->margins = t->margins;
    } else if (kind == 7) {
        random_table(r, t);
    } else if (kind >= 2) {
        c->limit = kind >= 5;
        c->group_size = c->limit ? 0 : 2 + random_below(r, 4);
        c->filtered = kind == 4;
        c->k = kind == 3 ? 2 + random_below(r, LEVELS - 1) : 0;
        random_rewards(r, REWARDS_UNIFORM, c->k, t->support);
        random_convention(r, c, c->k > 0 ? t->support : t->rewards, c->k > 0 ? c->k : c->n);
        for (int64_t o = 0; o < c->n; o++) {
            t->variances[o] = random_below(r, 3) == 0 ? 0.0 : random_uniform(r);
            if (c->k > 0) {
                random_policy(r, c->k, t->distribution + o * c->k);
            }
        }
        c->support = c->k > 0 ? t->support : NULL;
        c->distribution = c->k > 0 ? t->distribution : NULL;
        c->variances = kind == 6 && !c->unscaled && !c->over_mean ? t->variances : NULL;
    }
}

static void random_strength(randomness *r, trial *t, int64_t row)
{
    static const double ALPHAS[] = {0.0, 1.0, 2.0, 0.5};
    static const double CORNERS[] = {1e-4, 1.0, 1e4};
    t->penalty = grpoalign_penalty_kind_at(row);
    if (t->penalty == GRPOALIGN_PENALTY_ALPHA) {
        t->alpha = random_below(r, 2) ? ALPHAS[random_below(r, 4)] : 2.0 * random_uniform(r);
    }
    t->beta = random_below(r, 6) == 0 ? CORNERS[random_below(r, 3)]
                                      : pow(10.0, random_between(r, -2.0, 2.0));
}

static grpoalign_penalty *penalty_of(const trial *t)
{
    grpoalign_penalty *penalty = NULL;
    CHECK_OK(trial_penalty(t, &penalty, NULL));
    return penalty;
}

static void check_fault(trial_fault fault, const trial *t)
{
    if (fault.what != NULL) {
        check_small(fault.value, fault.most, fault.what, t);
    }
}

enum { KINDS = 8, PENALTIES = 11 };

static void every_solved_policy_is_stationary_by_definition(void **state)
{
    (void)state;
    randomness r = random_start(110);
    int solved_count = 0, collapsed = 0, unsettled = 0, unsupported = 0, given_up = 0, filtered = 0;
    int met[KINDS][PENALTIES + 1] = {{0}};
    for (int i = 0; i < 1000 * test_scale(); i++) {
        for (int64_t row = 0; grpoalign_penalty_kind_at(row) != 0; row++) {
            trial t;
            int64_t kind = random_below(&r, KINDS);
            random_trial(&r, &t, kind);
            random_strength(&r, &t, row);
            grpoalign_penalty *penalty = penalty_of(&t);
            grpoalign_model *model = make_model(&t.context);
            solved s = solve_penalised(model, penalty, t.beta, t.logs, NULL);
            int is_none = t.penalty == GRPOALIGN_PENALTY_NONE;
            switch (s.status) {
            case GRPOALIGN_ERR_UNSUPPORTED:
                check_true(trial_may_be_unsupported(&t), s.error.message, &t);
                unsupported++;
                break;
            case GRPOALIGN_COLLAPSED:
                check_true(trial_may_collapse(&t), "collapsed", &t);
                if (t.context.limit) {
                    check_fault(trial_check_collapsed(&t, s.policy, s.log_policy), &t);
                }
                collapsed++;
                break;
            case GRPOALIGN_UNSETTLED:
                check_true(is_none || trial_may_be_unsupported(&t), "unsettled", &t);
                unsettled++;
                break;
            case GRPOALIGN_NOT_CONVERGED: /* said, not hidden: counted below */
                given_up += !t.context.filtered;
                filtered += t.context.filtered;
                break;
            default:
                check_true(s.status >= 0, s.error.message, &t);
                check_fault(trial_check(&t, s.policy, s.log_policy, &s.report, 1), &t);
                met[kind][row]++;
                solved_count++;
            }
            if (is_none && s.status >= 0) { /* stationary too where it collapses or circles */
                plain_balance b =
                    plain_put_back(&t.context, t.penalty, 0.0, 0.0, t.logs, s.policy, s.log_policy);
                check_small(fmax(b.off, b.returns), 1e-11 * b.size, "what is off", &t);
            }
            solved_free(&s);
            grpoalign_model_free(model);
            grpoalign_penalty_free(penalty);
        }
    }
    print_message("# %d stationary, %d collapsed, %d unsettled, %d unsupported; given up: %d, and "
                  "%d with a filter\n",
                  solved_count, collapsed, unsettled, unsupported, given_up, filtered);
    int solved_pairs = 0;
    for (int64_t kind = 0; kind < KINDS; kind++) {
        for (int64_t row = 0; grpoalign_penalty_kind_at(row) != 0; row++) {
            solved_pairs += met[kind][row] > 0;
        }
    }
    /* All pairs but a filter with the clamped ones, the KL in the reward, the log ratio and steps,
     * and margins and tables with the KL in the reward. */
    assert_int_equal(solved_pairs, KINDS * PENALTIES - 7);
    assert_true(given_up <= solved_count / 500);
}

static void every_listed_point_is_stationary_by_definition(void **state)
{
    (void)state;
    randomness r = random_start(111);
    int points_met = 0, several = 0;
    for (int i = 0; i < 30 * test_scale(); i++) {
        for (int64_t row = 0; grpoalign_penalty_kind_at(row) != 0; row++) {
            trial t;
            random_trial(&r, &t, random_below(&r, KINDS));
            random_strength(&r, &t, row);
            handles h = {.model = make_model(&t.context), .penalty = penalty_of(&t)};
            grpoalign_points *points = NULL;
            CHECK_OK(grpoalign_reference_new_log(t.logs, t.context.n, NULL, &h.reference, NULL));
            grpoalign_status status =
                points_of_parts(h.model, h.penalty, h.reference, t.beta, NULL, &points, NULL);
            int64_t count = grpoalign_points_count(points);
            check_true(status >= 0 || trial_may_be_unsupported(&t), "no points", &t);
            for (int64_t k = 0; k < count; k++) {
                const grpoalign_solution *point = grpoalign_points_solution(points, k);
                double policy[MOST], log_policy[MOST];
                grpoalign_report report = GRPOALIGN_REPORT_INIT;
                CHECK_OK(grpoalign_solution_policy(point, policy, t.context.n, NULL));
                CHECK_OK(grpoalign_solution_log_policy(point, log_policy, t.context.n, NULL));
                CHECK_OK(grpoalign_solution_report(point, &report, NULL));
                if (report.status == GRPOALIGN_OK || report.status == GRPOALIGN_NOT_UNIQUE) {
                    check_fault(trial_check(&t, policy, log_policy, &report, 0), &t);
                    points_met++;
                }
            }
            several += count > 1;
            grpoalign_points_free(points);
            close_handles(&h);
        }
    }
    print_message("# %d points, %d trials with several\n", points_met, several);
    assert_true(points_met > 150 * test_scale() && several > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_solved_policy_is_stationary_by_definition),
        cmocka_unit_test(every_listed_point_is_stationary_by_definition),
    };
    return run_chosen(tests);
}
