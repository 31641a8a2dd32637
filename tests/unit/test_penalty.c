/*
 * lib/penalty: every row of the table against its definition. g is written here once more, in long
 * double, and a penalty is held to what it declares of itself.
 */
#include "check.h"

#include <float.h>

#include "penalty/penalty.h"

enum { MOST = 8, MOST_LAWS = 64 };

/* Both sides of where slacks are measured from another place, and the two with laws of their
 * own. */
static const double ALPHAS[] = {0.0,  0.1,   0.3, 0.5,   0.7, 0.95, 0.951,
                                0.99, 0.999, 1.0, 1.001, 1.3, 1.7,  2.0};

typedef struct laws {
    gra_penalty items[MOST_LAWS];
    int count;
} laws;

static laws all_laws(void)
{
    laws all;
    const gra_penalty_row *row;
    all.count = 0;
    for (int64_t k = 0; (row = gra_penalty_row_at(k)) != NULL; k++) {
        assert_true((row->law == NULL) != (row->family == NULL));
        for (size_t i = 0; i < (row->family != NULL ? sizeof ALPHAS / sizeof *ALPHAS : 1); i++) {
            assert_true(all.count < MOST_LAWS);
            all.items[all.count] = row->family != NULL ? row->family(ALPHAS[i]) : *row->law;
            assert_int_equal(all.items[all.count].kind, row->kind);
            all.count++;
        }
    }
    return all;
}

/* Names the law when an assertion fails: the last line printed is about it. */
static void check(int holds, const gra_penalty *law, const char *what, double at, double found)
{
    if (!holds) {
        print_message("# %s %g: %s at %.17g: %.17g\n", gra_penalty_row_of(law->kind)->name,
                      law->parameter, what, at, found);
        fail();
    }
}

/* The penalties whose policies are found by a slack. */
static int has_slack(const gra_penalty *law)
{
    return law->form == GRA_SMOOTH || law->form == GRA_INSIDE_REWARD;
}

/* g(l) of <grpoalign/penalty.h>, between the ends of a clamp. */
static long double g_of(const gra_penalty *law, long double l)
{
    long double a = (long double)law->parameter;
    switch (law->kind) {
    case GRPOALIGN_PENALTY_REVERSE_KL:
    case GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED:
        return -expm1l(-l);
    case GRPOALIGN_PENALTY_DIRECT_KL:
    case GRPOALIGN_PENALTY_KL_IN_REWARD:
    case GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED:
        return l;
    case GRPOALIGN_PENALTY_SQUARED_LOG_RATIO:
        return l + 0.5L * l * l;
    case GRPOALIGN_PENALTY_CHI_SQUARED:
        return expm1l(l);
    case GRPOALIGN_PENALTY_JENSEN_SHANNON:
        return -0.5L * log1pl(0.5L * expm1l(-l));
    case GRPOALIGN_PENALTY_ALPHA:
        return a == 1.0L ? l : expm1l((a - 1.0L) * l) / (a - 1.0L);
    default:
        fail_msg("no g for penalty %d: write it here", law->kind);
        return 0.0L;
    }
}

/* pole - g where g comes so near to its pole that even long double would cancel. */
static long double distance_of(const gra_penalty *law, long double l)
{
    long double a = (long double)law->parameter;
    switch (law->kind) {
    case GRPOALIGN_PENALTY_JENSEN_SHANNON:
        return 0.5L * log1pl(expl(-l));
    case GRPOALIGN_PENALTY_ALPHA:
        return expl((a - 1.0L) * l) / (1.0L - a);
    default:
        return expl(-l);
    }
}

/* The log ratios at which a penalty has its law: from its end, or the last that doubles tell from
 * the end. */
static double lowest(const gra_penalty *law)
{
    return fmax(law->lets_go ? law->log_ratio(law, law->slack_most) : -60.0,
                isfinite(law->slack_most) ? -15.0 : -INFINITY);
}

static double highest(const gra_penalty *law)
{
    return fmin(law->loose_above, 60.0);
}

/* What a rounding of the slack and one of the log ratio do to the log ratio. */
static double rounding_of(const gra_penalty *law, double l)
{
    double s = law->slack(law, l);
    return DBL_EPSILON * (1.0 + fabs(l) + fabs(s) * law->log_slope(law, s));
}

static void slacks_and_log_ratios_are_inverse(void **state)
{
    (void)state;
    laws all = all_laws();
    for (int k = 0; k < all.count; k++) {
        const gra_penalty *law = &all.items[k];
        double before = INFINITY, q_before = 0.0;
        int poled = gra_penalty_has_pole(law);
        for (double l = lowest(law); has_slack(law) && l <= highest(law); l += 0.0437) {
            double s = law->slack(law, l), q = law->log_slope(law, s);
            /* the definition */
            long double wanted = (poled ? (long double)law->pole : 0.0L) - g_of(law, l);
            check(fabs((double)(s - wanted)) <=
                      4.0 * DBL_EPSILON *
                          (fabs(s) * (1.0 + fabs(l)) + (poled ? law->pole : 0.0) +
                           (law->lets_go ? 1.0 : fabs(l))),
                  law, "slack", l, s);
            check(!poled || s > 0.0, law, "positive", l, s);
            check(s < before, law, "falling", l, s);
            check(s <= law->slack_most * (1.0 + DBL_EPSILON), law, "below its end", l, s);
            /* the inverse, and its slope */
            check(fabs(law->log_ratio(law, s) - l) <= 8.0 * rounding_of(law, l), law, "inverse", l,
                  law->log_ratio(law, s));
            const double h = 1e-4;
            double slope = (law->slack(law, l + h) - law->slack(law, l - h)) / (2.0 * h);
            int at_end = law->lets_go && l - lowest(law) < 0.01;
            check(at_end || fabs(-slope * q - 1.0) <= 1e-6 + 1e-11 * fabs(s) * q, law, "slope", l,
                  q);
            /* what is declared */
            check(!law->complementary || fabs(exp(l) * s - 1.0) <= 1e-13, law, "product", l, s);
            check(!law->exponential || s == -l, law, "exponential", l, s);
            q *= exp(l);
            check(!law->convex || q >= q_before * (1.0 - 8.0 * rounding_of(law, l) - 1e-13), law,
                  "convex", l, q);
            q_before = q;
            before = s;
        }
    }
}

/* Far up, where g is its pole to the last bit. */
static void digits_are_kept_at_the_pole(void **state)
{
    (void)state;
    laws all = all_laws();
    int poles = 0;
    for (int k = 0; k < all.count; k++) {
        const gra_penalty *law = &all.items[k];
        poles += gra_penalty_has_pole(law);
        for (double l = 1.0; gra_penalty_has_pole(law) && l < 600.0; l *= 1.3) {
            double s = law->slack(law, l), wanted = (double)distance_of(law, l);
            check(fabs(s / wanted - 1.0) <= DBL_EPSILON * (4.0 + l), law, "slack", l, s);
            check(fabs(law->log_ratio(law, s) - l) <=
                      8.0 * DBL_EPSILON * (l + 1.0 / (1.0 - law->parameter)),
                  law, "inverse", l, law->log_ratio(law, s));
        }
    }
    assert_true(poles > 5);
}

static void scores_are_those_of_the_header(void **state)
{
    (void)state;
    laws all = all_laws();
    for (int k = 0; k < all.count; k++) {
        const gra_penalty *law = &all.items[k];
        for (double l = -20.0; law->score != NULL && l < 20.0; l += 0.0437) {
            double slope, ignored, s = law->score(law, l, &slope);
            const double h = 1e-5;
            double up = law->score(law, l + h, &ignored), down = law->score(law, l - h, &ignored);
            int inside = l >= lowest(law) && l <= highest(law) && has_slack(law);
            check(!inside || s == law->slack(law, l) ||
                      (law->lets_go && fabs(s - law->slack(law, l)) <= 1e-14 * (1.0 + fabs(s))),
                  law, "score", l, s);
            /* The ends of a clamp are steps. */
            if (!(fabs(l - lowest(law)) < 2.0 * h || fabs(l - highest(law)) < 2.0 * h)) {
                check(fabs((up - down) / (2.0 * h) - slope) <= 1e-5 * (1.0 + fabs(s) + fabs(slope)),
                      law, "slope of the score", l, slope);
            }
            /* Who lets an outcome go does not ask it back. */
            if (law->lets_go && l < lowest(law)) {
                check(s < law->slack_most, law, "score below the end", l, s);
            }
        }
    }
}

typedef struct classes {
    gra_class_reference reference;
    double mass[MOST], log_mass[MOST];
} classes;

static void random_classes(randomness *r, classes *out)
{
    int64_t n = 1 + random_below(r, MOST);
    long double total = 0.0L;
    random_reference(r, (int)random_below(r, REFERENCE_TINY), n, out->log_mass);
    for (int64_t c = 0; c < n; c++) {
        total += expl((long double)out->log_mass[c]);
    }
    for (int64_t c = 0; c < n; c++) {
        out->log_mass[c] -= (double)logl(total);
        out->mass[c] = exp(out->log_mass[c]);
    }
    out->reference = (gra_class_reference){n, out->mass, out->log_mass};
}

static double sum_of(const double *policy, int64_t n)
{
    long double sum = 0.0L;
    for (int64_t c = 0; c < n; c++) {
        sum += (long double)policy[c];
    }
    return (double)sum;
}

/*
 * A policy and its slacks belong together, but for rounding. Slacks are sums of theta times a gap
 * and of the least of them, theta being the exponential of a logarithm; what this moves in one
 * class is made up for by those that share `rest`.
 */
static const double ROUNDINGS = 64.0;

static void check_pair(const gra_penalty *law, const classes *over, const double *slack,
                       const double *policy, double rest)
{
    int64_t n = over->reference.classes;
    double largest = 0.0, most = 0.0, moved = 0.0;
    for (int64_t c = 0; c < n; c++) {
        largest = fmax(largest, fabs(slack[c]));
        most = fmax(most, fabs(over->log_mass[c]));
    }
    for (int64_t c = 0; c < n; c++) {
        double least = slack[c] - ROUNDINGS * DBL_EPSILON * largest,
               q = exp(over->log_mass[c] + law->log_ratio(law, least)) * law->log_slope(law, least);
        moved += isfinite(q) ? ROUNDINGS * DBL_EPSILON * largest * q : 0.0;
    }
    for (int64_t c = 0; c < n; c++) {
        double l = law->log_ratio(law, slack[c]), wanted = exp(over->log_mass[c] + l);
        double relative = 16.0 * DBL_EPSILON * (1.0 + most + (isfinite(l) ? fabs(l) : 0.0));
        check(fabs(policy[c] - wanted) <=
                  relative * fmax(policy[c], wanted) + moved * fmin(1.0, policy[c] / rest) + moved,
              law, "policy of its slack", wanted, policy[c]);
    }
}

static void responses_balance_every_outcome(void **state)
{
    (void)state;
    laws all = all_laws();
    randomness r = random_start(40);
    for (int i = 0; i < 200 * test_scale(); i++) {
        for (int k = 0; k < all.count; k++) {
            const gra_penalty *law = &all.items[k];
            classes over;
            double u[MOST], slack[MOST], policy[MOST],
                size = pow(10.0, random_between(&r, -6.0, 3.0));
            random_classes(&r, &over);
            int64_t n = over.reference.classes;
            for (int64_t c = 0; c < n; c++) {
                u[c] = size * (random_below(&r, 4) == 0 ? 0.5 : random_normal(&r));
                slack[c] = -u[c];
            }
            double shift = law->respond(law, &over.reference, slack, policy);
            check(fabs(sum_of(policy, n) - 1.0) <= 4e-15, law, "sum", shift, sum_of(policy, n));
            double mean = 0.0, mean_slack = 0.0, largest = 0.0;
            for (int64_t c = 0; c < n; c++) {
                check(policy[c] >= 0.0, law, "probability", shift, policy[c]);
                mean += policy[c] * u[c];
                mean_slack += policy[c] > 0.0 ? policy[c] * slack[c] : 0.0;
                largest = fmax(largest, fabs(u[c]));
            }
            if (!has_slack(law)) {
                continue;
            }
            check_pair(law, &over, slack, policy, 1.0);
            for (int64_t c = 0; c < n; c++) {
                /* stationary: slack + u is lambda for all */
                check(fabs(slack[c] + u[c] - shift) <=
                          4.0 * DBL_EPSILON * (fabs(shift) + largest + fabs(slack[c])),
                      law, "stationary", shift, slack[c] + u[c]);
            }
            /* The report's numbers are those of the response. */
            double size_of = 1.0 + fabs(shift) + largest + fabs(law->normaliser_from),
                   normaliser = law->normaliser(law, &over.reference, u, mean, mean_slack);
            check(fabs(normaliser - (shift - law->normaliser_from)) <= 1e-12 * size_of, law,
                  "normaliser", shift, normaliser);
            for (int64_t c = 0; c < n; c++) {
                double residual =
                    law->residual(law, over.mass[c], policy[c], log(policy[c]) - over.log_mass[c],
                                  u[c], normaliser);
                int at_end = law->lets_go && slack[c] > law->slack_most;
                check(at_end || fabs(residual) <= 1e-12 * size_of, law, "residual", u[c], residual);
            }
        }
    }
}

static void the_resolvent_of_one_class_solves_its_equation(void **state)
{
    (void)state;
    laws all = all_laws();
    randomness r = random_start(41);
    for (int i = 0; i < 400 * test_scale(); i++) {
        for (int k = 0; k < all.count; k++) {
            const gra_penalty *law = &all.items[k];
            if (!has_slack(law)) {
                continue;
            }
            double log_mass = random_between(&r, -20.0, 0.0), mass = exp(log_mass),
                   lambda = 3.0 * random_normal(&r),
                   slope = pow(10.0, random_between(&r, -3.0, 3.0)),
                   policy = law->resolvent(law, mass, log_mass, lambda, slope);
            if (policy == 0.0) {
                check(lambda >= law->slack_most, law, "nothing left", lambda, law->slack_most);
            } else {
                double l = log(policy) - log_mass, s = law->slack(law, l),
                       wanted = lambda + slope * policy;
                double stiff = (1.0 / law->log_slope(law, s) + slope * policy) *
                               (1e-14 + DBL_EPSILON * fabs(l));
                check(fabs(s - wanted) <= stiff + 1e-14 * (fabs(s) + fabs(wanted)), law,
                      "resolvent", wanted, s);
                double at = law->slack_at(law, mass, log_mass, policy);
                check(fabs(at - s) <= 1e-14 * (fabs(s) + 1.0 / law->log_slope(law, s) * 30.0), law,
                      "slack_at", s, at);
            }
            double l = random_between(&r, fmax(-5.0, lowest(law)), 5.0),
                   growth = expm1(random_between(&r, -1.0, 2.0)), s = law->slack(law, l);
            double grown = law->grown(law, s, growth), wanted = law->slack(law, l + log1p(growth));
            check(fabs(grown - wanted) <=
                      1e-13 * (1.0 + fabs(wanted) + fabs(s) / law->log_slope(law, wanted)),
                  law, "grown", wanted, grown);
        }
    }
}

static void paths_start_at_the_reference_and_rise_with_theta(void **state)
{
    (void)state;
    laws all = all_laws();
    randomness r = random_start(42);
    for (int i = 0; i < 20 * test_scale(); i++) {
        for (int k = 0; k < all.count; k++) {
            const gra_penalty *law = &all.items[k];
            classes over;
            double gap[MOST], slack[MOST], policy[MOST], x_low, x_high, before = 0.0;
            if (!has_slack(law)) {
                continue;
            }
            random_classes(&r, &over);
            int64_t n = over.reference.classes;
            if (n < 2) {
                continue;
            }
            for (int64_t c = 0; c < n; c++) {
                gap[c] = c == 0 ? 0.0 : c == 1 ? 1.0 : fabs(random_normal(&r));
            }
            (void)law->path(law, &over.reference, gap, law->path_origin, NULL, policy);
            for (int64_t c = 0; c < n; c++) {
                check(fabs(policy[c] - over.mass[c]) <= 4e-15, law, "origin", over.mass[c],
                      policy[c]);
            }
            for (double x = -12.0; x < 12.0; x += 0.5) {
                double theta = law->path(law, &over.reference, gap, x, slack, policy);
                check(theta > before, law, "theta", before, theta);
                check(fabs(sum_of(policy, n) - 1.0) <= 1e-14, law, "sum", x, sum_of(policy, n));
                for (int64_t c = 0; c < n; c++) {
                    double d = slack[c] - slack[0] - theta * gap[c];
                    check(fabs(d) <= 1e-13 * (theta * gap[c] + fabs(slack[0])) ||
                              slack[c] >= law->slack_most * (1.0 - 1e-9),
                          law, "slack along the path", x, d);
                }
                check_pair(law, &over, slack, policy, 1.0 - policy[0]);
                before = theta;
            }
            double low = pow(10.0, random_between(&r, -5.0, 1.0)), high = 3.0 * low;
            law->path_bracket(law, &over.reference, gap, low, high, &x_low, &x_high, policy);
            double at_low = law->path(law, &over.reference, gap, x_low, NULL, policy),
                   at_high = law->path(law, &over.reference, gap, x_high, NULL, policy);
            check(at_low <= low * (1.0 + 1e-9), law, "bracket from", low, at_low);
            /* A path that comes to its corner ends there. */
            check(at_high >= high * (1.0 - 1e-9) || isfinite(law->slack_most), law, "bracket to",
                  high, at_high);
        }
    }
}

static double divergence_of(const gra_penalty *law, const classes *over, const double *policy)
{
    long double sum = 0.0L;
    for (int64_t c = 0; c < over->reference.classes; c++) {
        double term =
            law->divergence(law, over->mass[c], policy[c], log(policy[c]) - over->log_mass[c]);
        check(term >= 0.0, law, "term of the divergence", policy[c], term);
        sum += (long double)term;
    }
    return (double)sum;
}

/* 0 at the reference and above elsewhere; and its slope from one outcome to another is that of
 * g. */
static void divergences_are_least_at_the_reference(void **state)
{
    (void)state;
    laws all = all_laws();
    randomness r = random_start(43);
    for (int i = 0; i < 200 * test_scale(); i++) {
        for (int k = 0; k < all.count; k++) {
            const gra_penalty *law = &all.items[k];
            classes over;
            double policy[MOST];
            if (law->form == GRA_ABSENT) {
                continue;
            }
            random_classes(&r, &over);
            int64_t n = over.reference.classes;
            double at_reference = 0.0;
            for (int64_t c = 0; c < n; c++) {
                at_reference += law->divergence(law, over.mass[c], over.mass[c], 0.0);
            }
            check(at_reference == 0.0, law, "divergence at the reference", 0.0, at_reference);
            for (int64_t c = 0; c < n; c++) {
                policy[c] = 0.01 + random_uniform(&r);
            }
            double total = sum_of(policy, n);
            for (int64_t c = 0; c < n; c++) {
                policy[c] /= total;
            }
            double value = divergence_of(law, &over, policy);
            check(n == 1 || value > 0.0, law, "divergence", 0.0, value);
            if (n == 1 || !has_slack(law)) {
                continue;
            }
            const double h = 1e-6 * fmin(policy[0], policy[1]);
            double l0 = log(policy[0]) - over.log_mass[0], l1 = log(policy[1]) - over.log_mass[1];
            double wanted = (double)(g_of(law, l0) - g_of(law, l1));
            policy[0] += h;
            policy[1] -= h;
            double up = divergence_of(law, &over, policy);
            policy[0] -= 2.0 * h;
            policy[1] += 2.0 * h;
            double down = divergence_of(law, &over, policy);
            double slope = (up - down) / (2.0 * h);
            double size = fabs((double)g_of(law, l0)) + fabs((double)g_of(law, l1));
            check(fabs(slope - wanted) <= 1e-5 * (1.0 + size) + 1e-14 * value / h, law,
                  "slope of the divergence", wanted, slope);
        }
    }
}

/* What lets outcomes go says where, and declares nothing that needs all of them. */
static void a_law_declares_only_what_it_keeps(void **state)
{
    (void)state;
    laws all = all_laws();
    for (int k = 0; k < all.count; k++) {
        const gra_penalty *law = &all.items[k];
        check(!law->lets_go || isfinite(law->slack_most), law, "an end", law->slack_most, 0.0);
        check(!isfinite(law->loose_above) || law->lets_go, law, "loose", law->loose_above, 0.0);
        check(gra_penalty_holds(law) == (has_slack(law) && !law->lets_go), law, "holds", 0.0, 0.0);
        check(!law->std_ratio_falls || law->outlasts_std, law, "std", 0.0, 0.0);
        check(!gra_penalty_has_pole(law) || law->normaliser_from == 0.0 ||
                  law->normaliser_from == law->pole,
              law, "normaliser_from", law->pole, law->normaliser_from);
        check(law->form == GRA_STEP || law->newton_above > 0.0, law, "newton_above", 0.0,
              law->newton_above);
        if (isfinite(law->loose_above)) { /* both ends of the clamp of k3 at 10 */
            double low = lowest(law), high = highest(law);
            assert_near(expm1(-low) + low, 10.0, 1e-13);
            assert_near(expm1(-high) + high, 10.0, 1e-13);
        }
    }
    assert_null(gra_penalty_row_at(-1));
    assert_null(gra_penalty_row_of(0));
}

/* What bounds on pieces of two classes take for granted: -d slack/d log ratio falls by no more than
 * the factor e for each unit, short of the end of a penalty that turns back. */
static void stiffness_falls_no_faster_than_exponentially(void **state)
{
    (void)state;
    laws all = all_laws();
    randomness r = random_start(210);
    for (int k = 0; k < all.count; k++) {
        const gra_penalty *law = &all.items[k];
        for (int i = 0; has_slack(law) && i < 400 * test_scale(); i++) {
            double low = random_between(&r, law->turns_back ? -1.0 : -40.0, 20.0);
            double high = low + pow(10.0, random_between(&r, -3.0, 1.5));
            double at_low = law->log_slope(law, law->slack(law, low)),
                   at_high = law->log_slope(law, law->slack(law, high));
            if (at_low > 0.0 && at_high > 0.0) {
                double fall = log(at_high) - log(at_low);
                check(fall <= (high - low) * (1.0 + 1e-9) + 1e-6, law, "stiffness falls", low,
                      fall);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stiffness_falls_no_faster_than_exponentially),
        cmocka_unit_test(slacks_and_log_ratios_are_inverse),
        cmocka_unit_test(digits_are_kept_at_the_pole),
        cmocka_unit_test(scores_are_those_of_the_header),
        cmocka_unit_test(responses_balance_every_outcome),
        cmocka_unit_test(the_resolvent_of_one_class_solves_its_equation),
        cmocka_unit_test(paths_start_at_the_reference_and_rise_with_theta),
        cmocka_unit_test(divergences_are_least_at_the_reference),
        cmocka_unit_test(a_law_declares_only_what_it_keeps),
    };
    return run_chosen(tests);
}
