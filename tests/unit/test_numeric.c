/* lib/base: the small numerics everything rests on, against long double. */
#include "check.h"

#include "base/alloc.h"
#include "base/numeric.h"
#include "base/polynomial.h"

static void divergence_integrands_keep_their_digits(void **state)
{
    (void)state;
    randomness r = random_start(1);
    for (int i = 0; i < 20000; i++) {
        double d = random_below(&r, 2) ? random_between(&r, -0.999, 10.0)
                                       : pow(10.0, random_between(&r, -12.0, 0.0)) *
                                             (random_below(&r, 2) ? 1.0 : -1.0);
        d = d <= -1.0 ? -0.5 : d;
        long double x = d, k3, bregman;
        if (fabs(d) < 1e-3) { /* the series, where even long double cancels */
            k3 = x * x / 2 - x * x * x / 3 + x * x * x * x / 4 - x * x * x * x * x / 5 +
                 x * x * x * x * x * x / 6 - x * x * x * x * x * x * x / 7;
            bregman = x * x / 2 - x * x * x / 6 + x * x * x * x / 12 - x * x * x * x * x / 20 +
                      x * x * x * x * x * x / 30;
        } else {
            k3 = x - log1pl(x);
            bregman = (1 + x) * log1pl(x) - x;
        }
        assert_near(gra_k3(d) / (double)k3, 1.0, 1e-14);
        assert_near(gra_bregman(d) / (double)bregman, 1.0, 1e-14);
    }
    assert_true(isinf(gra_k3(-1.0)));
    assert_near(gra_bregman(-1.0), 1.0, 0.0);
    assert_near(gra_k3(0.0) + gra_bregman(0.0), 0.0, 0.0);
}

static void the_weight_of_a_std_keeps_its_digits(void **state)
{
    (void)state;
    /* 2/sqrt(pi) - 2 z exp(z^2) erfc(z); for large z it tends to 1/(sqrt(pi) z^2). */
    for (double z = 0.0; z < 5.0; z += 0.01) {
        long double zl = z,
                    direct = 1.12837916709551257390L - 2.0L * zl * expl(zl * zl) * erfcl(zl);
        assert_near(gra_std_weight(z) / (double)direct, 1.0, 3e-15 + 1e-18 / (double)direct);
    }
    for (double z = 20.0; z < 1e12; z *= 3.0) {
        double x = 1.0 / (z * z), series = 1.0 - 1.5 * x + 3.75 * x * x - 13.125 * x * x * x;
        assert_near(gra_std_weight(z) * z * z * 1.7724538509055160273 / series, 1.0,
                    100.0 * x * x * x * x + 4e-15);
    }
    assert_near(gra_std_weight(1e200), 0.0, 0.0);
}

static void wright_omega_solves_its_equation(void **state)
{
    (void)state;
    for (double x = -700.0; x < 1e8; x += 0.37 + fabs(x) * 0.01) {
        double w = gra_wright_omega(x);
        assert_true(w > 0.0);
        long double residual = (long double)w + logl((long double)w) - (long double)x;
        /* d(w + log w) = (1 + 1/w) dw */
        double relative = (double)(residual / ((long double)w + 1.0L));
        assert_near(relative, 0.0, 4e-16 * (1.0 + fabs(x) / (w + 1.0)));
    }
    assert_near(gra_wright_omega(1.0), 1.0, 2e-16);
}

static double cubic(void *context, double x)
{
    (*(int *)context)++;
    return x * x * x - 2.0;
}

static double steep(void *context, double x)
{
    (void)context;
    return tanh(1e6 * (x - 0.3));
}

static void roots_are_found_in_their_bracket(void **state)
{
    (void)state;
    int calls = 0;
    assert_near(gra_root(cubic, &calls, 0.0, -2.0, 10.0, 998.0), cbrt(2.0), 4e-16);
    assert_true(calls < 40);
    assert_near(gra_root(steep, NULL, 0.0, -1.0, 1.0, 1.0), 0.3, 1e-15);
    assert_near(gra_root(cubic, &calls, 3.0, 0.0, 10.0, 1.0), 3.0, 0.0);
}

static void sums_are_compensated(void **state)
{
    (void)state;
    double x[] = {1.0, 1e100, 1.0, -1e100};
    assert_near(gra_total(x, 4), 2.0, 0.0);
    gra_sum sum = {0.0, 0.0};
    gra_sum_add_product(&sum, 1.0 + 0x1p-30, 1.0 - 0x1p-30); /* 1 - 2^-60 */
    gra_sum_add(&sum, -1.0);
    assert_near(gra_sum_value(sum), -0x1p-60, 0.0);
    double logs[] = {-1e5, -1e5 + 1.0, -INFINITY};
    assert_near(gra_log_sum_exp(logs, 3), -1e5 + 1.0 + log1p(exp(-1.0)), 2e-11);
    assert_true(isinf(gra_log_sum_exp(logs + 2, 1)));
}

static void arenas_refuse_what_is_too_large_and_align_the_rest(void **state)
{
    (void)state;
    gra_arena arena = GRA_ARENA_INIT;
    assert_null(gra_arena_doubles(&arena, INT64_MAX));
    assert_null(gra_arena_take(&arena, INT64_MAX / 2, 16));
    assert_null(gra_arena_take(&arena, -1, 8));
    assert_null(gra_alloc(INT64_MAX, 8));
    for (int round = 0; round < 3; round++) {
        gra_arena_mark_t mark = gra_arena_mark(&arena);
        for (int i = 1; i < 200; i++) {
            double *block = gra_arena_doubles(&arena, i * 100);
            assert_non_null(block);
            assert_int_equal((uintptr_t)block % 64, 0);
            memset(block, 0xff, (size_t)i * 100 * sizeof(double));
        }
        gra_arena_rewind(&arena, mark);
    }
    gra_arena_free(&arena);
}

/* Values and slopes lie between the bounds over any piece, and the bounds come to them. */
static void polynomials_lie_between_their_bounds(void **state)
{
    (void)state;
    enum { MOST = 40 };
    randomness r = random_start(9);
    for (int i = 0; i < 300 * test_scale(); i++) {
        int64_t degree = random_below(&r, MOST);
        double b[MOST], work[MOST], x = random_between(&r, -12.0, 12.0);
        double width = pow(10.0, random_between(&r, -9.0, 1.0)), inside = random_uniform(&r);
        double mean = 0.0, probability[MOST];
        for (int64_t k = 0; k <= degree; k++) {
            b[k] = random_normal(&r);
        }
        const gra_share low = {1.0 / (1.0 + exp(-x)), 1.0 / (1.0 + exp(x))};
        const gra_share high = {1.0 / (1.0 + exp(-x - width)), 1.0 / (1.0 + exp(x + width))};
        double between = x + inside * width;
        const gra_share at = {1.0 / (1.0 + exp(-between)), 1.0 / (1.0 + exp(between))};
        gra_interval bounds = gra_polynomial_bounds(b, degree, low, high, work);
        double value = gra_polynomial_value(b, degree, at.p, at.q);
        gra_binomial(degree, at.p, at.q, probability);
        for (int64_t k = 0; k <= degree; k++) {
            mean += probability[k] * b[k];
        }
        assert_near(value, mean, 1e-13);
        assert_true(bounds.low <= value && value <= bounds.high);
        if (width < 1e-6) {
            double slope = (double)degree * 8.0 * (high.p - low.p);
            assert_true(bounds.high - bounds.low <= slope + 1e-11);
        }
    }
    static const double one[1] = {3.0};
    assert_near(gra_polynomial_value(one, 0, 0.3, 0.7), 3.0, 0.0);
    assert_near(gra_polynomial_slope(one, 0, 0.3, 0.7), 0.0, 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(polynomials_lie_between_their_bounds),
        cmocka_unit_test(divergence_integrands_keep_their_digits),
        cmocka_unit_test(the_weight_of_a_std_keeps_its_digits),
        cmocka_unit_test(wright_omega_solves_its_equation),
        cmocka_unit_test(roots_are_found_in_their_bracket),
        cmocka_unit_test(sums_are_compensated),
        cmocka_unit_test(arenas_refuse_what_is_too_large_and_align_the_rest),
    };
    return run_chosen(tests);
}
