/* Models by any rule of a group: tables for rewards 0 and 1, rules over levels, pass@k. */
#include "check.h"

enum { MOST_SIZE = 40 };

typedef struct table {
    int64_t group_size;
    double success[MOST_SIZE], failure[MOST_SIZE];
} table;

enum { TABLE_ANY, TABLE_SMOOTH, TABLE_SPARSE, TABLE_PASS, TABLE_KINDS };

static table random_table(randomness *r, int kind)
{
    table t = {.group_size = 2 + random_below(r, kind == TABLE_SPARSE ? MOST_SIZE - 1 : 12)};
    double size = (double)t.group_size;
    if (kind == TABLE_PASS) {
        CHECK_OK(grpoalign_rule_pass_at_k(t.group_size, 1 + random_below(r, t.group_size),
                                          t.success, t.failure, NULL));
        return t;
    }
    double wave = random_between(r, 1.0, 9.0), phase = random_between(r, 0.0, 6.0);
    for (int64_t k = 0; k < t.group_size; k++) {
        int is_given = kind != TABLE_SPARSE || random_below(r, 4) == 0;
        double smooth = sin(phase + wave * (double)k / size);
        t.success[k] = !is_given ? 0.0 : kind == TABLE_SMOOTH ? smooth : random_normal(r);
        t.failure[k] = !is_given ? 0.0 : kind == TABLE_SMOOTH ? -smooth : random_normal(r);
    }
    return t;
}

/* u_1 - u_0, term by term. */
static long double contrast_at(const table *t, long double p)
{
    int64_t others = t->group_size - 1;
    long double sum = 0.0L, probability = powl(1.0L - p, (long double)others);
    for (int64_t k = 0; k <= others; k++) {
        sum += probability * ((long double)t->success[k] - (long double)t->failure[k]);
        probability *= p / (1.0L - p) * (long double)(others - k) / (long double)(k + 1);
    }
    return sum;
}

static const double BINARY[2] = {0.0, 1.0};

static plain_context context_of(const table *t)
{
    return (plain_context){.n = 2,
                           .rewards = BINARY,
                           .group_size = t->group_size,
                           .success = t->success,
                           .failure = t->failure};
}

/* ---- advantages ------------------------------------------------------------------------------ */

static void advantages_of_tables_are_those_of_all_groups(void **state)
{
    (void)state;
    randomness r = random_start(300);
    for (int i = 0; i < 200 * test_scale(); i++) {
        enum { N = 5 };
        table t = random_table(&r, (int)random_below(&r, TABLE_KINDS));
        double rewards[N], policy[N], advantage[N], jacobian[N * N];
        long double expected[N];
        for (int o = 0; o < N; o++) {
            rewards[o] = (double)random_below(&r, 2);
        }
        random_policy(&r, N, policy);
        plain_context c = context_of(&t);
        c.n = N;
        c.rewards = rewards;
        grpoalign_model *model = make_model(&c);
        CHECK_OK(grpoalign_model_advantage(model, policy, N, advantage, NULL));
        CHECK_OK(grpoalign_model_jacobian(model, policy, N, jacobian, N, NULL));
        plain_advantage(&c, policy, expected);
        double mean = 0.0;
        for (int o = 0; o < N; o++) {
            assert_near(advantage[o], expected[o], 1e-13);
            mean += policy[o] * advantage[o];
        }
        assert_near(mean, 0.0, 1e-14);
        /* From the policy towards outcome j. */
        for (int j = 0; j < N; j++) {
            const double step = 1e-6;
            double moved[N];
            long double there[N];
            for (int o = 0; o < N; o++) {
                moved[o] = (1.0 - step) * policy[o] + (o == j ? step : 0.0);
            }
            plain_advantage(&c, moved, there);
            for (int o = 0; o < N; o++) {
                double slope = 0.0;
                for (int l = 0; l < N; l++) {
                    slope += jacobian[o * N + l] * ((l == j) - policy[l]);
                }
                assert_near(slope, (double)(there[o] - expected[o]) / step, 1e-2);
            }
        }
        grpoalign_model_free(model);
    }
}

/* A rule of three levels: what a member is given depends on its level and on all counts. */
static double rule_of(const int64_t *counts, int64_t levels, int64_t own)
{
    double sum = 0.0;
    for (int64_t l = 0; l < levels; l++) {
        sum += (double)(counts[l] * counts[l]) * cos((double)(3 * l + 2 * own));
    }
    return sin(sum) + 0.3 * (double)own;
}

typedef struct asked {
    int64_t group_size, levels, calls, stop_at;
    double *numbers; /* a copy of what was given, or NULL */
} asked;

static int32_t rule(void *user, const int64_t *counts, int64_t levels, double *advantage)
{
    asked *self = user;
    int64_t members = 0;
    self->calls++;
    assert_int_equal(levels, self->levels);
    for (int64_t l = 0; l < levels; l++) {
        assert_true(counts[l] >= 0);
        members += counts[l];
        assert_true(advantage[l] == 0.0);
        advantage[l] = counts[l] > 0 ? rule_of(counts, levels, l) : NAN;
    }
    assert_int_equal(members, self->group_size);
    return self->calls == self->stop_at;
}

/* Every sequence of others, one after the other. */
static void each_group(const double *w, int64_t levels, int64_t left, int64_t *counts,
                       long double probability, long double *a)
{
    for (int64_t l = 0; l < levels; l++) {
        counts[l]++;
        if (left > 0) {
            each_group(w, levels, left - 1, counts, probability * (long double)w[l], a);
        } else {
            a[l] += probability * rule_of(counts, levels, l);
        }
        counts[l]--;
    }
}

static void advantages_of_rules_are_those_of_all_groups(void **state)
{
    (void)state;
    enum { N = 6, LEVELS = 3 };
    randomness r = random_start(301);
    static const int64_t labels[N] = {2, 0, 4, 2, 0, 4};
    static const double rewards[N] = {0.5, -1.0, 7.0, 0.5, -1.0, 7.0};
    for (int i = 0; i < 40 * test_scale(); i++) {
        int64_t size = 2 + random_below(&r, 5);
        asked by_rewards = {.group_size = size, .levels = LEVELS};
        grpoalign_model *model = NULL;
        CHECK_OK(grpoalign_model_new_rule(rewards, N, size, rule, &by_rewards, NULL, &model, NULL));
        assert_int_equal(by_rewards.calls, (size + 1) * (size + 2) / 2);
        double policy[N], advantage[N], w[LEVELS] = {0.0}, jacobian[N * N], moved[N], there[N];
        long double a[LEVELS] = {0.0L}, mean = 0.0L;
        int64_t counts[LEVELS] = {0};
        static const int level_of[N] = {1, 0, 2, 1, 0, 2};
        random_policy(&r, N, policy);
        for (int o = 0; o < N; o++) {
            w[level_of[o]] += policy[o];
        }
        each_group(w, LEVELS, size - 1, counts, 1.0L, a);
        for (int l = 0; l < LEVELS; l++) {
            mean += (long double)w[l] * a[l];
        }
        CHECK_OK(grpoalign_model_advantage(model, policy, N, advantage, NULL));
        CHECK_OK(grpoalign_model_jacobian(model, policy, N, jacobian, N, NULL));
        for (int o = 0; o < N; o++) {
            assert_near(advantage[o], a[level_of[o]] - mean, 1e-13);
        }
        int64_t j = random_below(&r, N);
        const double step = 1e-6;
        for (int o = 0; o < N; o++) {
            moved[o] = (1.0 - step) * policy[o] + (o == j ? step : 0.0);
        }
        CHECK_OK(grpoalign_model_advantage(model, moved, N, there, NULL));
        for (int o = 0; o < N; o++) {
            double slope = 0.0;
            for (int l = 0; l < N; l++) {
                slope += jacobian[o * N + l] * ((l == j) - policy[l]);
            }
            assert_near(slope, (there[o] - advantage[o]) / step, 1e-3);
        }
        grpoalign_model_free(model);
    }
    /* Labels that nobody has are told as 0. */
    asked by_labels = {.group_size = 4, .levels = 6};
    grpoalign_model *model = NULL;
    CHECK_OK(grpoalign_model_new_rule_labelled(labels, N, 6, rewards, 4, rule, &by_labels, NULL,
                                               &model, NULL));
    assert_int_equal(by_labels.calls, 15);
    grpoalign_model_free(model);
    CHECK_OK(grpoalign_model_new_rule_labelled(labels, N, 6, NULL, 4, rule, &by_labels, NULL,
                                               &model, NULL));
    grpoalign_model_free(model);
}

/* (r - mean)/std by a rule, for groups of three levels and, where one is not supported, of two. */
static int32_t standardised(void *user, const int64_t *counts, int64_t levels, double *advantage)
{
    const double *x = user;
    double size = 0.0, mean = 0.0, square = 0.0;
    for (int64_t l = 0; l < levels; l++) {
        size += (double)counts[l];
        mean += (double)counts[l] * x[l];
    }
    mean /= size;
    for (int64_t l = 0; l < levels; l++) {
        square += (double)counts[l] * (x[l] - mean) * (x[l] - mean);
    }
    for (int64_t l = 0; l < levels; l++) {
        advantage[l] = square > 1e-20 ? (x[l] - mean) / sqrt(square / size) : 0.0;
    }
    return 0;
}

static void the_rule_of_a_model_gives_its_policies(void **state)
{
    (void)state;
    enum { N = 4 };
    static const double rewards[N] = {0.0, 0.4, 1.0, 0.4}, x[3] = {0.0, 0.4, 1.0};
    static const double references[][N] = {{-0.5, -1.0, -2.0, -3.0},
                                           {-0.5, -INFINITY, -2.0, -INFINITY}};
    static const int32_t penalties[] = {
        GRPOALIGN_PENALTY_REVERSE_KL, GRPOALIGN_PENALTY_DIRECT_KL, GRPOALIGN_PENALTY_CHI_SQUARED,
        GRPOALIGN_PENALTY_JENSEN_SHANNON, GRPOALIGN_PENALTY_SQUARED_LOG_RATIO};
    plain_context c = {.n = N, .rewards = rewards, .group_size = 6};
    grpoalign_model *group = make_model(&c), *by_rule = NULL;
    CHECK_OK(grpoalign_model_new_rule(rewards, N, 6, standardised, (void *)(uintptr_t)x, NULL,
                                      &by_rule, NULL));
    for (size_t k = 0; k < sizeof penalties / sizeof *penalties; k++) {
        for (int which = 0; which < 2; which++) {
            for (double beta = 3.0; beta > 0.3; beta *= 0.6) {
                solved one = solve_model(group, penalties[k], beta, references[which], NULL);
                solved two = solve_model(by_rule, penalties[k], beta, references[which], NULL);
                assert_int_equal(one.status, two.status);
                if (one.status >= 0) {
                    assert_true(largest_difference(one.policy, two.policy, N) < 1e-11);
                    assert_true(largest_difference(one.advantage, two.advantage, N) < 1e-10);
                    assert_int_equal(one.report.stable, two.report.stable);
                    assert_near(one.report.expected_reward, two.report.expected_reward, 1e-11);
                }
                solved_free(&one);
                solved_free(&two);
            }
        }
    }
    grpoalign_model_free(group);
    grpoalign_model_free(by_rule);
}

/* ---- stationary policies --------------------------------------------------------------------- */

static const int32_t HOLDING[] = {GRPOALIGN_PENALTY_REVERSE_KL, GRPOALIGN_PENALTY_DIRECT_KL,
                                  GRPOALIGN_PENALTY_CHI_SQUARED, GRPOALIGN_PENALTY_JENSEN_SHANNON,
                                  GRPOALIGN_PENALTY_ALPHA};
enum { HOLDING_COUNT = sizeof HOLDING / sizeof *HOLDING };

/* beta (g(log p/rho) - g(log q/(1 - rho))) - h(p) at a logit. */
static double equation_at(const table *t, int32_t penalty, double alpha, double beta,
                          double reference, double logit)
{
    double p = 1.0 / (1.0 + exp(-logit)), up = -log1p(exp(-logit)) - log(reference),
           down = -log1p(exp(logit)) - log1p(-reference);
    return beta * (double)(plain_score(penalty, alpha, up) - plain_score(penalty, alpha, down)) -
           (double)contrast_at(t, p);
}

/* A table with penalty, beta and reference, by raw data and as handles. */
typedef struct binary_case {
    table t;
    plain_context context;
    int32_t penalty;
    double alpha, beta, rho, logs[2];
    int number;
    handles h;
} binary_case;

static void open_case(binary_case *self, randomness *r, int number, int kinds, int penalties)
{
    self->number = number;
    self->t = random_table(r, (int)random_below(r, kinds));
    self->context = context_of(&self->t);
    self->penalty = HOLDING[random_below(r, penalties)];
    self->alpha = random_below(r, 2) ? 0.6 : 1.5;
    self->beta = exp(random_between(r, -4.0, 1.0));
    self->rho = 1.0 / (1.0 + exp(random_between(r, -8.0, 8.0)));
    self->logs[0] = log1p(-self->rho);
    self->logs[1] = log(self->rho);
    self->h = (handles){.model = make_model(&self->context)};
    CHECK_OK(self->penalty == GRPOALIGN_PENALTY_ALPHA
                 ? new_alpha(self->alpha, &self->h.penalty, NULL)
                 : grpoalign_penalty_new(self->penalty, NULL, &self->h.penalty, NULL));
    CHECK_OK(grpoalign_reference_new_log(self->logs, 2, NULL, &self->h.reference, NULL));
}

static double equation_of(const binary_case *c, double logit)
{
    return equation_at(&c->t, c->penalty, c->alpha, c->beta, c->rho, logit);
}

/* A solution of a case, which must be stationary by raw data. */
static grpoalign_report read_point(const binary_case *c, const grpoalign_solution *at,
                                   double *policy, double *logit)
{
    double log_policy[2];
    grpoalign_report report = GRPOALIGN_REPORT_INIT;
    CHECK_OK(grpoalign_solution_policy(at, policy, 2, NULL));
    CHECK_OK(grpoalign_solution_log_policy(at, log_policy, 2, NULL));
    CHECK_OK(grpoalign_solution_report(at, &report, NULL));
    double off = plain_violation(&c->context, c->penalty, c->alpha, report.beta, c->logs, policy,
                                 log_policy);
    *logit = log_policy[1] - log_policy[0];
    if (!(off < 1e-11)) {
        fail_msg("case %d, %s, beta %g: a policy at logit %g is off by %g", c->number,
                 grpoalign_penalty_name(c->penalty), report.beta, *logit, off);
    }
    return report;
}

enum { GRID = 1500, MOST_ROOTS = 12 };
static const double FARTHEST = 30.0;

/* Where the equation changes its sign on a grid. */
static int64_t scan(const binary_case *c, double *at)
{
    int64_t seen = 0;
    double before = equation_of(c, -FARTHEST), stride = 2.0 * FARTHEST / GRID;
    for (int k = 1; k <= GRID; k++) {
        double logit = -FARTHEST + stride * k, here = equation_of(c, logit);
        if ((here > 0.0) != (before > 0.0) && seen < MOST_ROOTS) {
            at[seen++] = logit - 0.5 * stride;
        }
        before = here;
    }
    return seen;
}

/* A point on which training comes to rest, as far as the equation shows. */
static void check_stable(const binary_case *c, double logit, int32_t stable)
{
    double rise = equation_of(c, logit + 1e-5) - equation_of(c, logit - 1e-5);
    if (stable >= 0 && fabs(rise) > 1e-9) {
        assert_int_equal(stable, rise > 0.0);
    }
}

/* All points, in their order: each sign change is among them; the first from pi_ref in the
 * direction in which it is pressed is the one that it leads to, and solve gives that. */
static void check_points(const binary_case *c, const grpoalign_points *points)
{
    int64_t count = grpoalign_points_count(points), next = 0, first = -1;
    int complete = grpoalign_points_complete(points);
    double at[MOST_ROOTS], pressed = (double)contrast_at(&c->t, c->rho), first_policy[2] = {0.0};
    double way = log(c->rho / (1.0 - c->rho)), near = 61.0 / GRID;
    int64_t seen = scan(c, at);
    for (int64_t k = 0; k < count; k++) {
        double policy[2], logit;
        grpoalign_report report =
            read_point(c, grpoalign_points_solution(points, k), policy, &logit);
        if (next < seen && fabs(logit - at[next]) < near) {
            check_stable(c, logit, report.stable);
            next++;
        }
        assert_int_equal(report.unique, count > 1 ? 0 : complete ? 1 : -1);
        int there = pressed > 0.0 ? logit > way : logit < way;
        if (there && (first < 0 || pressed < 0.0)) {
            first = k;
            memcpy(first_policy, policy, sizeof policy);
        }
    }
    if (next < seen || grpoalign_points_from_reference(points) != first) {
        fail_msg("case %d, %s, beta %g, logit %g: %lld of %lld sign changes are among %lld points; "
                 "pi_ref leads to %lld, expected %lld",
                 c->number, grpoalign_penalty_name(c->penalty), c->beta, way, (long long)next,
                 (long long)seen, (long long)count,
                 (long long)grpoalign_points_from_reference(points), (long long)first);
    }
    solved one = solve_penalised(c->h.model, c->h.penalty, c->beta, c->logs, NULL);
    assert_true(largest_difference(first_policy, one.policy, 2) == 0.0);
    assert_int_equal(one.status, count > 1 ? GRPOALIGN_NOT_UNIQUE : GRPOALIGN_OK);
    solved_free(&one);
}

static void every_sign_change_on_a_grid_is_a_point(void **state)
{
    (void)state;
    randomness r = random_start(302);
    int several = 0, proved = 0, cases = 0;
    for (int i = 0; i < 300 * test_scale(); i++) {
        binary_case c;
        grpoalign_points *points = NULL;
        open_case(&c, &r, i, TABLE_KINDS, HOLDING_COUNT);
        /* Else nothing is given to anybody, or pi_ref is stationary. */
        if (fabs((double)contrast_at(&c.t, c.rho)) > 1e-12) {
            CHECK_OK(points_of_parts(c.h.model, c.h.penalty, c.h.reference, c.beta, NULL, &points,
                                     NULL));
            check_points(&c, points);
            several += grpoalign_points_count(points) > 1;
            proved += grpoalign_points_complete(points);
            cases++;
        }
        grpoalign_points_free(points);
        close_handles(&c.h);
    }
    print_message("# %d of %d proved, %d with several\n", proved, cases, several);
    assert_true(several > cases / 20);
    assert_true(proved >= cases - cases / 50);
}

/* ---- folds and curve ------------------------------------------------------------------------- */

static const double LOW = 0.02, HIGH = 3.0;

/* The number of points changes by two at each fold, and nowhere else: a fold between two betas of a
 * grid that has no other. Under chi-squared two appear, too, where a class is emptied: that is no
 * fold. */
static void check_folds(const binary_case *c, const double *betas, int64_t count)
{
    enum { BETAS = 200 };
    int64_t before = -1, counted = 0;
    for (int k = 0; k <= BETAS; k++) {
        double beta = HIGH * pow(LOW / HIGH, (double)k / BETAS);
        double above = HIGH * pow(LOW / HIGH, (double)(k - 1) / BETAS);
        grpoalign_points *points = NULL;
        CHECK_OK(
            points_of_parts(c->h.model, c->h.penalty, c->h.reference, beta, NULL, &points, NULL));
        int64_t here = grpoalign_points_count(points), between = 0;
        for (int64_t f = 0; f < count; f++) {
            between += betas[f] > beta && betas[f] <= above;
        }
        int smooth = c->penalty != GRPOALIGN_PENALTY_CHI_SQUARED;
        if (smooth && before >= 0 && (here - before + 2 * between) % 4 != 0) {
            fail_msg("case %d, %s: from %lld to %lld points at beta %g with %lld folds", c->number,
                     grpoalign_penalty_name(c->penalty), (long long)before, (long long)here, beta,
                     (long long)between);
        }
        counted += between;
        before = here;
        grpoalign_points_free(points);
    }
    assert_int_equal(counted, count);
}

/* From HIGH to where it leaves the range, in steps that are near, through stationary policies. */
static void check_curve(const binary_case *c)
{
    const double resolution = 0.05;
    grpoalign_points *curve = NULL;
    CHECK_OK(curve_of_parts(c->h.model, c->h.penalty, c->h.reference, LOW, HIGH, resolution, NULL,
                            &curve, NULL));
    int64_t length = grpoalign_points_count(curve);
    double last = NAN;
    assert_true(length >= 2);
    for (int64_t k = 0; k < length; k++) {
        double policy[2], logit;
        grpoalign_report report =
            read_point(c, grpoalign_points_solution(curve, k), policy, &logit);
        int at_low = fabs(report.beta - LOW) < 1e-9, at_high = fabs(report.beta - HIGH) < 1e-9;
        assert_true(k == 0 || fabs(policy[1] - last) <= resolution + 1e-12);
        assert_true(k > 0 || at_high);
        assert_true(k < length - 1 || at_low || at_high);
        last = policy[1];
    }
    grpoalign_points_free(curve);
}

static void folds_are_where_the_number_of_points_changes(void **state)
{
    (void)state;
    enum { MOST = 16 };
    randomness r = random_start(303);
    int64_t found = 0;
    for (int i = 0; i < 60 * test_scale(); i++) {
        binary_case c;
        grpoalign_points *folds = NULL;
        double betas[MOST];
        open_case(&c, &r, i, TABLE_PASS, HOLDING_COUNT - 1);
        CHECK_OK(
            folds_of_parts(c.h.model, c.h.penalty, c.h.reference, LOW, HIGH, NULL, &folds, NULL));
        int64_t count = grpoalign_points_count(folds);
        assert_true(count <= MOST);
        for (int64_t k = 0; k < count; k++) {
            grpoalign_report report = GRPOALIGN_REPORT_INIT;
            CHECK_OK(grpoalign_solution_report(grpoalign_points_solution(folds, k), &report, NULL));
            assert_true(report.residual < 1e-9 * fmax(1.0, 1.0 / report.beta));
            betas[k] = report.beta;
        }
        check_folds(&c, betas, count);
        check_curve(&c);
        found += count;
        grpoalign_points_free(folds);
        close_handles(&c.h);
    }
    print_message("# %lld folds\n", (long long)found);
    assert_true(found > 5);
}

/* ---- corners --------------------------------------------------------------------------------- */

/* A success always gains: one policy, whatever the reference and beta; and one that always loses.
 */
static void extremes_have_one_policy(void **state)
{
    (void)state;
    enum { SIZE = 6 };
    static const double references[] = {-1e-12, -1e-3, -0.7, -20.0, -690.0, -5000.0};
    double up[SIZE], down[SIZE];
    for (int sign = -1; sign <= 1; sign += 2) {
        for (int k = 0; k < SIZE; k++) {
            up[k] = sign * (1.0 - 0.1 * k);
            down[k] = -up[k];
        }
        table t = {.group_size = SIZE};
        memcpy(t.success, up, sizeof up);
        memcpy(t.failure, down, sizeof down);
        plain_context c = context_of(&t);
        grpoalign_model *model = make_model(&c);
        for (size_t which = 0; which < sizeof references / sizeof *references; which++) {
            double logs[2] = {log(-expm1(references[which])), references[which]};
            for (int p = 0; p < HOLDING_COUNT - 1; p++) {
                for (double beta = 1e-9; beta < 1e9; beta *= 30.0) {
                    solved s = solve_model(model, HOLDING[p], beta, logs, NULL);
                    assert_int_equal(s.status, GRPOALIGN_OK);
                    assert_int_equal(s.report.unique, 1);
                    assert_int_equal(s.report.stable, 1);
                    double off =
                        plain_violation(&c, HOLDING[p], 0.0, beta, logs, s.policy, s.log_policy);
                    if (!(off < 1e-10)) {
                        fail_msg("%s, beta %g, log reference %g, sign %d: off by %g",
                                 grpoalign_penalty_name(HOLDING[p]), beta, references[which], sign,
                                 off);
                    }
                    solved_free(&s);
                }
            }
        }
        grpoalign_model_free(model);
    }
}

/* Nothing is given, or only one level is there: the reference. */
static void flat_tables_keep_the_reference(void **state)
{
    (void)state;
    static const double same[4] = {0.3, -1.0, 2.0, 0.0}, failures[2] = {0.0, 0.0};
    double logs[2] = {log(0.3), log(0.7)};
    for (int which = 0; which < 2; which++) {
        plain_context c = {.n = 2, .group_size = 4, .success = same, .failure = same};
        c.rewards = which == 0 ? BINARY : failures;
        solved s = solve_context(&c, GRPOALIGN_PENALTY_DIRECT_KL, 0.1, logs);
        assert_int_equal(s.status, GRPOALIGN_OK);
        assert_near(s.policy[0], 0.3, 1e-15);
        assert_near(s.advantage[0], 0.0, 0.0);
        solved_free(&s);
    }
}

static void large_groups_are_traced(void **state)
{
    (void)state;
    enum { SIZE = 3000 };
    static double success[SIZE], failure[SIZE];
    double logs[2] = {log(0.9), log(0.1)};
    CHECK_OK(grpoalign_rule_pass_at_k(SIZE, 20, success, failure, NULL));
    plain_context c = {
        .n = 2, .rewards = BINARY, .group_size = SIZE, .success = success, .failure = failure};
    solved s = solve_context(&c, GRPOALIGN_PENALTY_REVERSE_KL, 0.05, logs);
    assert_int_equal(s.status, GRPOALIGN_OK);
    assert_true(s.report.residual < 1e-12);
    solved_free(&s);
}

static void penalties_without_a_method_are_named(void **state)
{
    (void)state;
    static const struct {
        int32_t penalty;
        const char *says;
    } rows[] = {{GRPOALIGN_PENALTY_NONE, "group rules"},
                {GRPOALIGN_PENALTY_TOTAL_VARIATION, "group rules"},
                {GRPOALIGN_PENALTY_KL_IN_REWARD, "group rules"}};
    static const double success[2] = {1.0, 0.0}, failure[2] = {0.0, -0.5};
    double logs[2] = {log(0.6), log(0.4)};
    plain_context c = {
        .n = 2, .rewards = BINARY, .group_size = 2, .success = success, .failure = failure};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        handles h = open_handles(&c, rows[k].penalty, logs);
        grpoalign_solution *solution = NULL;
        grpoalign_error error;
        assert_int_equal(solve_parts(h.model, h.penalty, h.reference, 0.5, NULL, &solution, &error),
                         GRPOALIGN_ERR_UNSUPPORTED);
        assert_non_null(strstr(error.message, rows[k].says));
        close_handles(&h);
    }
    /* Outcomes that are let go: the active set. */
    solved s = solve_context(&c, GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED, 0.02, logs);
    assert_true(s.status >= 0 && s.policy[0] == 0.0 && s.policy[1] == 1.0);
    solved_free(&s);
}

/* ---- pass@k ---------------------------------------------------------------------------------- */

static long double choose(int64_t n, int64_t k)
{
    long double ways = 1.0L;
    for (int64_t i = 1; i <= k; i++) {
        ways *= (long double)(n - k + i) / (long double)i;
    }
    return n < k || k < 0 ? 0.0L : ways;
}

static void pass_at_k_is_its_formula(void **state)
{
    (void)state;
    for (int64_t size = 2; size < MOST_SIZE; size++) {
        for (int64_t k = 1; k <= size; k++) {
            double success[MOST_SIZE], failure[MOST_SIZE];
            CHECK_OK(grpoalign_rule_pass_at_k(size, k, success, failure, NULL));
            for (int64_t c = 0; c <= size; c++) {
                long double m = 1.0L - choose(size - c, k) / choose(size, k);
                long double s = sqrtl(fmaxl(0.0L, m * (1.0L - m)));
                long double rest = choose(size - 1 - c, k - 1) / choose(size - 1, k - 1);
                int none = s < 1e-9L;
                if (c > 0) {
                    assert_near(success[c - 1], none ? 0.0L : (1.0L - m) / s, 1e-12);
                }
                if (c < size) {
                    assert_near(failure[c], none ? 0.0L : (1.0L - m - rest) / s, 1e-9);
                }
            }
        }
    }
    enum { LARGE = 100000 };
    double *both = malloc(2 * LARGE * sizeof *both);
    CHECK_OK(grpoalign_rule_pass_at_k(LARGE, LARGE / 2, both, both + LARGE, NULL));
    for (int c = 1; c < LARGE; c++) {
        assert_true(isfinite(both[c]) && isfinite(both[LARGE + c]));
    }
    assert_near(both[0], 1.0, 1e-12);
    free(both);
    assert_int_equal(grpoalign_rule_pass_at_k(4, 5, NULL, NULL, NULL), GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(grpoalign_rule_pass_at_k(4, 2, NULL, NULL, NULL), GRPOALIGN_ERR_ARGUMENT);
}

/* ---- errors ---------------------------------------------------------------------------------- */

static int32_t gives_nothing_finite(void *user, const int64_t *counts, int64_t levels,
                                    double *advantage)
{
    (void)user, (void)counts;
    advantage[levels - 1] = INFINITY;
    return 0;
}

static int32_t stop(void *user, const grpoalign_progress *progress)
{
    int *calls = user;
    (*calls)++;
    assert_true(progress->change >= 0.0 && progress->change <= 1.0);
    return 1;
}

static void errors_name_argument_and_index(void **state)
{
    (void)state;
    static const double rewards[3] = {0.0, 1.0, 0.5}, wrong[2] = {0.0, NAN}, huge[2] = {0.0, 1e201};
    static const int64_t labels[3] = {0, 1, 3};
    grpoalign_model *model = NULL;
    grpoalign_error error;
    assert_int_equal(
        grpoalign_model_new_rule_table(rewards, 3, rewards, rewards, 2, NULL, &model, &error),
        GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.argument, 1);
    assert_int_equal(error.index, 2);
    assert_int_equal(
        grpoalign_model_new_rule_table(BINARY, 2, BINARY, wrong, 2, NULL, &model, &error),
        GRPOALIGN_ERR_NOT_FINITE);
    assert_int_equal(error.argument, 4);
    assert_int_equal(error.index, 1);
    assert_int_equal(
        grpoalign_model_new_rule_table(BINARY, 2, huge, BINARY, 2, NULL, &model, &error),
        GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.argument, 3);
    assert_int_equal(
        grpoalign_model_new_rule_table(BINARY, 2, BINARY, BINARY, 1, NULL, &model, &error),
        GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.argument, 5);
    assert_int_equal(
        grpoalign_model_new_rule(rewards, 3, 2, gives_nothing_finite, NULL, NULL, &model, &error),
        GRPOALIGN_ERR_NOT_FINITE);
    assert_int_equal(error.argument, 4);
    assert_int_equal(error.index, 2);
    assert_int_equal(grpoalign_model_new_rule(rewards, 3, 2, NULL, NULL, NULL, &model, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.argument, 4);
    assert_int_equal(grpoalign_model_new_rule(rewards, 3, 100000, gives_nothing_finite, NULL, NULL,
                                              &model, &error),
                     GRPOALIGN_ERR_TOO_LARGE);
    assert_int_equal(grpoalign_model_new_rule_labelled(labels, 3, 3, NULL, 2, gives_nothing_finite,
                                                       NULL, NULL, &model, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.argument, 1);
    assert_int_equal(error.index, 2);
    asked stopped = {.group_size = 4, .levels = 3, .stop_at = 3};
    assert_int_equal(grpoalign_model_new_rule(rewards, 3, 4, rule, &stopped, NULL, &model, &error),
                     GRPOALIGN_ERR_CANCELLED);
    assert_int_equal(stopped.calls, 3);
    int calls = 0;
    grpoalign_preference_options options = GRPOALIGN_PREFERENCE_OPTIONS_INIT;
    options.progress = stop;
    options.user = &calls;
    assert_int_equal(
        grpoalign_model_new_rule(rewards, 3, 4, rule, &stopped, &options, &model, &error),
        GRPOALIGN_ERR_CANCELLED);
    assert_int_equal(
        grpoalign_model_new_rule_table(BINARY, 2, BINARY, BINARY, 2, &options, &model, &error),
        GRPOALIGN_ERR_CANCELLED);
    assert_int_equal(calls, 2);
    assert_null(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(advantages_of_tables_are_those_of_all_groups),
        cmocka_unit_test(advantages_of_rules_are_those_of_all_groups),
        cmocka_unit_test(the_rule_of_a_model_gives_its_policies),
        cmocka_unit_test(every_sign_change_on_a_grid_is_a_point),
        cmocka_unit_test(folds_are_where_the_number_of_points_changes),
        cmocka_unit_test(extremes_have_one_policy),
        cmocka_unit_test(flat_tables_keep_the_reference),
        cmocka_unit_test(large_groups_are_traced),
        cmocka_unit_test(penalties_without_a_method_are_named),
        cmocka_unit_test(pass_at_k_is_its_formula),
        cmocka_unit_test(errors_name_argument_and_index),
    };
    return run_chosen(tests);
}
