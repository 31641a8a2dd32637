/* Pairwise preferences with cycles, both penalties: 1,000 random instances with the number of
 * factorisations, the definition put back, and the limit of small beta against a linear program. */
#include "check.h"

#include <float.h>

#ifdef HAVE_GLPK
#include <glpk.h>
#endif

static const int32_t PENALTIES[] = {GRPOALIGN_PENALTY_REVERSE_KL, GRPOALIGN_PENALTY_DIRECT_KL};
static const int MOST_FACTORIZATIONS[] = {30, 50};

static double lowest(const double *x, int64_t n)
{
    double least = x[0];
    for (int64_t i = 1; i < n; i++) {
        least = fmin(least, x[i]);
    }
    return least;
}

/* A thousand instances of all kinds: margins x reference x size x beta. */
static void a_thousand_games_are_solved_in_few_factorisations(void **state)
{
    (void)state;
    randomness r = random_start(50);
    static const int64_t sizes[] = {2, 3, 5, 10, 20, 50, 100, 200};
    enum { LARGEST = 200 };
    static double margins[LARGEST * LARGEST], logs[LARGEST];
    int64_t total[2] = {0, 0}, worst[2] = {0, 0}, by_kind[2][MARGINS_KINDS] = {{0}},
            of_kind[MARGINS_KINDS] = {0};
    int instances = 1000 * test_scale();
    for (int i = 0; i < instances; i++) {
        int kind = (int)random_below(&r, MARGINS_KINDS),
            reference = (int)random_below(&r, REFERENCE_KINDS);
        int64_t n = sizes[random_below(&r, 8)];
        double beta = pow(10.0, random_between(&r, -6.0, 2.0));
        random_margins(&r, kind, n, margins);
        random_reference(&r, reference, n, logs);
        plain_context c = {.n = n, .margins = margins};
        grpoalign_model *model = make_model(&c);
        of_kind[kind]++;
        for (int p = 0; p < 2; p++) {
            solved s = solve_model(model, PENALTIES[p], beta, logs, NULL);
            if (s.status != GRPOALIGN_OK) {
                fail_msg("%s, %s, n = %lld, beta = %g: %s", MARGINS_NAMES[kind],
                         grpoalign_penalty_name(PENALTIES[p]), (long long)n, beta,
                         grpoalign_status_name(s.status));
            }
            total[p] += s.report.factorizations;
            by_kind[p][kind] += s.report.factorizations;
            worst[p] = s.report.factorizations > worst[p] ? s.report.factorizations : worst[p];
            assert_true(s.report.factorizations <= MOST_FACTORIZATIONS[p]);
            assert_int_equal(s.report.unique, 1);
            assert_int_equal(s.report.stable, 1);
            assert_true(s.report.policy_error < 1e-12);
            /* The solver keeps log(pi/pi_ref): its rounding moves pi, and through u/beta the
             * residual. */
            double rounding = DBL_EPSILON * (20.0 - lowest(logs, n)) / beta;
            assert_near(plain_residual(&c, PENALTIES[p], beta, logs, s.policy), 0.0,
                        1e-12 + rounding);
            solved_free(&s);
        }
        grpoalign_model_free(model);
    }
    for (int p = 0; p < 2; p++) {
        print_message("# %s: %.1f factorisations on average, %lld at worst, over %d instances (",
                      grpoalign_penalty_name(PENALTIES[p]), (double)total[p] / instances,
                      (long long)worst[p], instances);
        for (int kind = 0; kind < MARGINS_KINDS; kind++) {
            print_message("%s%s %.1f", kind > 0 ? ", " : "", MARGINS_NAMES[kind],
                          (double)by_kind[p][kind] / (double)(of_kind[kind] + !of_kind[kind]));
        }
        print_message(")\n");
    }
}

/* A thousand, or two where more work is asked for. */
static void thousands_of_outcomes_take_few_factorisations(void **state)
{
    (void)state;
    randomness r = random_start(51);
    enum { LARGEST = 2000 };
    int64_t n = test_scale() > 1 ? LARGEST : LARGEST / 2;
    double *margins = malloc((size_t)(n * n) * sizeof *margins);
    double *logs = malloc((size_t)n * sizeof *logs);
    static const struct {
        int kind, reference;
        double beta;
    } cases[] = {{MARGINS_DENSE, REFERENCE_SKEWED, 1e-6}, {MARGINS_CYCLE, REFERENCE_SKEWED, 1e-2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        random_margins(&r, cases[i].kind, n, margins);
        random_reference(&r, cases[i].reference, n, logs);
        plain_context c = {.n = n, .margins = margins};
        grpoalign_model *model = make_model(&c);
        for (int p = 0; p < 2; p++) {
            solved s = solve_model(model, PENALTIES[p], cases[i].beta, logs, NULL);
            assert_int_equal(s.status, GRPOALIGN_OK);
            assert_true(s.report.factorizations <= MOST_FACTORIZATIONS[p]);
            assert_true(s.report.policy_error < 1e-12);
            print_message("# %d outcomes, %s, %s, beta %g: %d factorisations, residual %.1e\n",
                          (int)n, MARGINS_NAMES[cases[i].kind],
                          grpoalign_penalty_name(PENALTIES[p]), cases[i].beta,
                          s.report.factorizations, s.report.residual);
            assert_near(s.report.residual, 0.0, 1e-11 + 3e-15 / cases[i].beta);
            solved_free(&s);
        }
        grpoalign_model_free(model);
    }
    free(margins);
    free(logs);
}

#ifdef HAVE_GLPK
/* A maximal lottery by linear programming: pi >= 0, sum pi = 1, margins' pi >= 0 (nothing beats
 * it). Among all of them the one with the most weight on outcome `favour`. */
static void lottery(const double *margins, int64_t n, int64_t favour, double *pi)
{
    glp_prob *lp = glp_create_prob();
    glp_smcp settings;
    int *index = malloc((size_t)(n + 1) * sizeof *index);
    double *row = malloc((size_t)(n + 1) * sizeof *row);
    glp_set_obj_dir(lp, GLP_MAX);
    glp_add_cols(lp, (int)n);
    glp_add_rows(lp, (int)n + 1);
    for (int64_t j = 0; j < n; j++) {
        glp_set_col_bnds(lp, (int)j + 1, GLP_LO, 0.0, 0.0);
        glp_set_obj_coef(lp, (int)j + 1, j == favour ? 1.0 : 0.0);
        index[j + 1] = (int)j + 1;
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            row[j + 1] = margins[i * n + j]; /* outcome i against the policy */
        }
        glp_set_row_bnds(lp, (int)i + 1, GLP_UP, 0.0, 0.0);
        glp_set_mat_row(lp, (int)i + 1, (int)n, index, row);
    }
    for (int64_t j = 0; j < n; j++) {
        row[j + 1] = 1.0;
    }
    glp_set_row_bnds(lp, (int)n + 1, GLP_FX, 1.0, 1.0);
    glp_set_mat_row(lp, (int)n + 1, (int)n, index, row);
    glp_init_smcp(&settings);
    settings.msg_lev = GLP_MSG_OFF;
    settings.tol_bnd = settings.tol_dj = 1e-11;
    assert_int_equal(glp_simplex(lp, &settings), 0);
    assert_int_equal(glp_get_status(lp), GLP_OPT);
    for (int64_t j = 0; j < n; j++) {
        pi[j] = glp_get_col_prim(lp, (int)j + 1);
    }
    glp_delete_prob(lp);
    free(index);
    free(row);
}

/* As beta -> 0 the policy tends to a maximal lottery, under both penalties. Dense random margins
 * have exactly one. */
static void small_beta_tends_to_the_maximal_lottery(void **state)
{
    (void)state;
    randomness r = random_start(52);
    enum { LARGEST = 40 };
    static double margins[LARGEST * LARGEST], pi[LARGEST], other[LARGEST], logs[LARGEST];
    int compared = 0;
    for (int i = 0; i < 60 * test_scale(); i++) {
        int64_t n = 3 + random_below(&r, LARGEST - 3);
        random_margins(&r, i % 2 ? MARGINS_DENSE : MARGINS_NOISY, n, margins);
        random_reference(&r, i % 3 ? REFERENCE_DIRICHLET : REFERENCE_UNIFORM, n, logs);
        lottery(margins, n, 0, pi);
        lottery(margins, n, n - 1, other);
        int unique = largest_difference(pi, other, n) < 1e-9;
        plain_context c = {.n = n, .margins = margins};
        grpoalign_model *model = make_model(&c);
        for (int p = 0; p < 2; p++) {
            double distance[2];
            for (int step = 0; step < 2; step++) {
                double beta = step == 0 ? 1e-5 : 1e-8;
                solved s = solve_model(model, PENALTIES[p], beta, logs, NULL);
                assert_int_equal(s.status, GRPOALIGN_OK);
                distance[step] = largest_difference(s.policy, pi, n);
                solved_free(&s);
            }
            if (unique) {
                /* The distance is proportional to beta. */
                compared++;
                assert_true(distance[1] < 1e-4);
                assert_true(distance[1] < 0.02 * distance[0] + 1e-8);
            }
        }
        grpoalign_model_free(model);
    }
    print_message("# %d policies at beta 1e-8 compared with the one maximal lottery\n", compared);
    assert_true(compared > 60);
}
#endif

/* Rock, paper, scissors and a Condorcet winner; with several lotteries the policy is one of them.
 */
static void known_games_have_their_known_policies(void **state)
{
    (void)state;
    double cycle[] = {0, 1, -1, -1, 0, 1, 1, -1, 0}, uniform[] = {1.0 / 3, 1.0 / 3, 1.0 / 3};
    plain_context c = {.n = 3, .margins = cycle};
    for (int p = 0; p < 2; p++) {
        solved s = solve_context(&c, PENALTIES[p], 1e-8, NULL);
        assert_near(largest_difference(s.policy, uniform, 3), 0.0, 1e-15);
        solved_free(&s);
    }
    double winner[] = {0, .1, .1, -.1, 0, 1, -.1, -1, 0};
    plain_context w = {.n = 3, .margins = winner};
    solved s = solve_context(&w, GRPOALIGN_PENALTY_REVERSE_KL, 1e-6, NULL);
    assert_near(s.policy[0], 1.0, 1e-4);
    solved_free(&s);
    /* Two that tie and beat the rest: their shares follow from the rest's, and the reference when
     * there is none. */
    double tie[] = {0, 0, 1, 0, 0, 1, -1, -1, 0}, logs[] = {log(0.1), log(0.3), log(0.6)};
    plain_context t = {.n = 3, .margins = tie};
    s = solve_context(&t, GRPOALIGN_PENALTY_REVERSE_KL, 1e-6, logs);
    assert_near(s.policy[1] / s.policy[0], 3.0, 1e-13);
    solved_free(&s);
}

/* Degenerate supports, exact ties at beta, references of 1e-300: the policy is right to rounding of
 * its largest entries. */
static void degenerate_games_are_right_to_rounding(void **state)
{
    (void)state;
    double ranked[] = {0, 1, 1, -1, 0, 1, -1, -1, 0}, logs[] = {-685.7432, -1.7495, -0.8298};
    plain_context c = {.n = 3, .margins = ranked};
    solved s =
        solve_context(&c, GRPOALIGN_PENALTY_REVERSE_KL, 1.0, logs); /* the best has sqrt(1e-298) */
    assert_int_equal(s.status, GRPOALIGN_OK);
    assert_true(s.policy[0] < 1e-14);
    assert_near(s.policy[1], 0.5338717311397063, 1e-14);
    solved_free(&s);
    /* beta equal to the margin: p = sqrt(p_ref) */
    double pair[] = {0, -0.25, 0.25, 0}, tiny[] = {0.0, -600.0};
    plain_context two = {.n = 2, .margins = pair};
    s = solve_context(&two, GRPOALIGN_PENALTY_REVERSE_KL, 0.25, tiny);
    assert_near(s.policy[1] / exp(-300.0), 1.0, 1e-12);
    solved_free(&s);
    /* the same among duplicates of rock, paper and scissors */
    enum { N = 9 };
    double many[N * N], reference[N];
    for (int i = 0; i < N; i++) {
        reference[i] = -70.0 * i;
        for (int j = 0; j < N; j++) {
            int around = (i % 3 - j % 3 + 3) % 3;
            many[i * N + j] = around == 1 ? -1.0 : around == 2 ? 1.0 : 0.0;
        }
    }
    plain_context nine = {.n = N, .margins = many};
    for (int p = 0; p < 2; p++) {
        s = solve_context(&nine, PENALTIES[p], 1e-3, reference);
        assert_int_equal(s.status, GRPOALIGN_OK);
        for (int i = 3; i < N; i++) { /* copies share in proportion to the reference */
            assert_near(s.log_policy[i] - s.log_policy[i - 3], -210.0, 1e-10);
        }
        solved_free(&s);
    }
}

/* Without a penalty training circles around the maximal lottery. That of three outcomes which beat
 * each other in a circle is known: each has what the other two win of each other. */
static void circles_are_around_the_exact_lottery(void **state)
{
    (void)state;
    randomness r = random_start(1905);
    for (int k = 0; k < 300 * test_scale(); k++) {
        double win[3], logs[3], sum = 0.0;
        for (int i = 0; i < 3; i++) {
            win[i] = pow(10.0, random_between(&r, -6.0, 0.0));
            logs[i] = random_between(&r, -20.0, 0.0);
        }
        double margins[] = {0, win[2], -win[1], -win[2], 0, win[0], win[1], -win[0], 0};
        sum = win[0] + win[1] + win[2];
        plain_context c = {.n = 3, .margins = margins};
        solved s = solve_context(&c, GRPOALIGN_PENALTY_NONE, 1.0, logs);
        assert_int_equal(s.status, GRPOALIGN_UNSETTLED);
        double error = 0.0;
        for (int i = 0; i < 3; i++) {
            error = fmax(error, fabs(s.policy[i] - win[i] / sum));
        }
        assert_true(error < 1e-12);
        assert_true(error < 1e-13 || s.report.policy_error > 0.1 * error);
        solved_free(&s);
    }
}

/* Without a penalty outcomes that tie, and lose to none, end together. */
static void tied_winners_share_what_the_losers_had(void **state)
{
    (void)state;
    double logs[] = {log(0.1), log(0.3), log(0.6)};
    double margins[] = {0, 0, 1.0, 0, 0, 0.5, -1.0, -0.5, 0};
    plain_context pairs = {.n = 3, .margins = margins};
    double support[] = {0.0, 0.5, 1.0}, distribution[] = {0, 0, 1, 0, 0, 1, 0.3, 0.3, 0.4};
    plain_context groups = {
        .n = 3, .support = support, .k = 3, .distribution = distribution, .group_size = 8};
    const plain_context *contexts[] = {&pairs, &groups};
    for (int k = 0; k < 2; k++) {
        solved s = solve_context(contexts[k], GRPOALIGN_PENALTY_NONE, 1.0, logs);
        assert_int_equal(s.status, GRPOALIGN_COLLAPSED);
        assert_near(s.policy[0], 0.25, 1e-15);
        assert_near(s.policy[1], 0.75, 1e-15);
        assert_near(s.policy[2], 0.0, 0.0);
        solved_free(&s);
    }
    /* One that ties with the winners and loses to an outcome which they beat is no winner, but no
     * winner beats it either: there training has no such end. */
    double chain[] = {0, 1.0, 0, -1.0, 0, 1.0, 0, -1.0, 0};
    plain_context three = {.n = 3, .margins = chain};
    solved s = solve_context(&three, GRPOALIGN_PENALTY_NONE, 1.0, logs);
    assert_int_equal(s.status, GRPOALIGN_UNSETTLED);
    solved_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thousand_games_are_solved_in_few_factorisations),
        cmocka_unit_test(thousands_of_outcomes_take_few_factorisations),
#ifdef HAVE_GLPK
        cmocka_unit_test(small_beta_tends_to_the_maximal_lottery),
#endif
        cmocka_unit_test(circles_are_around_the_exact_lottery),
        cmocka_unit_test(tied_winners_share_what_the_losers_had),
        cmocka_unit_test(known_games_have_their_known_policies),
        cmocka_unit_test(degenerate_games_are_right_to_rounding),
    };
    return run_chosen(tests);
}
