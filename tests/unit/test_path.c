/*
 * The bounds that carry "proved": over pieces of the regularisation path, for every divisor and
 * penalty that has them, log beta stays inside the bounds and goes the way that its sign says;
 * beyond a point 1/divisor stays below its ceiling; a path that is said to rise for ever rises.
 * Against many points in between, which the bounds have not seen.
 */
#include "check.h"

#include "solver/regularisation_path.h"

enum { N = 4, BETWEEN = 24 };

typedef struct subject {
    grpoalign_problem *problem;
    gra_call call;
    gra_path_context context;
    gra_path path;
    gra_path_point a, b, between;
} subject;

static const grpoalign_solve_options PLAIN = {
    .struct_size = sizeof PLAIN, .max_iterations = 100, .tolerance = 1e-11};

/* A random context of kind `kind`, all of them affine. 0 where this one has no affine structure. */
static int open_subject(subject *self, int kind, int32_t penalty, double alpha, randomness *r)
{
    double rewards[N], variances[N], logs[N], rows[N * 2], support[] = {0.0, 1.0};
    grpoalign_reward_options options = GRPOALIGN_REWARD_OPTIONS_INIT;
    grpoalign_model *model = NULL;
    grpoalign_penalty *law = NULL;
    grpoalign_reference *reference = NULL;
    for (int o = 0; o < N; o++) {
        rewards[o] = random_uniform(r);
        variances[o] = random_below(r, 2) ? random_uniform(r) : 0.0;
        logs[o] = random_between(r, -8.0, 0.0);
        rows[2 * o + 1] = random_uniform(r);
        rows[2 * o] = 1.0 - rows[2 * o + 1];
    }
    options.epsilon = kind % 2 == 1 ? 0.05 * random_uniform(r) : 0.0;
    if (kind < 4) {
        CHECK_OK(grpoalign_model_new_limit(rewards, kind < 2 ? NULL : variances, N, &options,
                                           &model, NULL));
    } else if (kind < 6) {
        for (int o = 0; o < N; o++) {
            rewards[o] = o == 0 ? 0.0 : o == 1 ? 1.0 : (double)random_below(r, 2);
        }
        CHECK_OK(
            grpoalign_model_new_group(rewards, N, 3 + random_below(r, 60), &options, &model, NULL));
    } else if (kind < 8) {
        CHECK_OK(grpoalign_model_new_group_random(support, 2, rows, N, 2, 3 + random_below(r, 60),
                                                  &options, &model, NULL));
    } else {
        for (int o = 0; o < N; o++) {
            rewards[o] = o == 0 ? 0.0 : o == 1 ? 1.0 : (double)random_below(r, 2);
        }
        options.scale = GRPOALIGN_SCALE_STD_OF_OTHERS;
        options.baseline = GRPOALIGN_BASELINE_LEAVE_ONE_OUT;
        CHECK_OK(
            grpoalign_model_new_group(rewards, N, 3 + random_below(r, 20), &options, &model, NULL));
    }
    CHECK_OK(penalty == GRPOALIGN_PENALTY_ALPHA ? new_alpha(alpha, &law, NULL)
                                                : grpoalign_penalty_new(penalty, NULL, &law, NULL));
    CHECK_OK(grpoalign_reference_new_log(logs, N, NULL, &reference, NULL));
    CHECK_OK(grpoalign_problem_new(model, law, reference, NULL, &self->problem, NULL));
    grpoalign_model_free(model);
    grpoalign_penalty_free(law);
    grpoalign_reference_free(reference);
    CHECK_OK(gra_call_open(&self->call, self->problem, 1.0, &PLAIN, NULL));
    if (self->call.at.structure->kind != GRA_AFFINE) {
        return 0;
    }
    const gra_affine *affine = &self->call.at.structure->affine;
    self->context = (gra_path_context){&self->call.at, affine->gap, 1.0};
    int by_theta = !self->call.at.penalty->exponential && !self->call.at.penalty->complementary;
    assert_true(gra_path_start(&self->path, &self->context, 1, &affine->divisor, by_theta,
                               &self->call.arena));
    assert_true(gra_path_is_bounded(&self->path));
    assert_true(gra_path_prepare(&self->path));
    assert_true(gra_path_point_take(&self->path, &self->a) &&
                gra_path_point_take(&self->path, &self->b) &&
                gra_path_point_take(&self->path, &self->between));
    return 1;
}

static void close_subject(subject *self)
{
    gra_call_close(&self->call);
    grpoalign_problem_free(self->problem);
}

static const struct {
    int32_t penalty;
    double alpha;
} LAWS[] = {{GRPOALIGN_PENALTY_REVERSE_KL, 0.0},  {GRPOALIGN_PENALTY_DIRECT_KL, 0.0},
            {GRPOALIGN_PENALTY_CHI_SQUARED, 0.0}, {GRPOALIGN_PENALTY_JENSEN_SHANNON, 0.0},
            {GRPOALIGN_PENALTY_ALPHA, 0.3},       {GRPOALIGN_PENALTY_ALPHA, 0.5},
            {GRPOALIGN_PENALTY_ALPHA, 1.7}};

/* What rounding may add to a comparison. */
static const double ROUNDING = 1e-11;

static void bounds_over_a_piece_hold_everywhere_in_it(void **state)
{
    (void)state;
    randomness r = random_start(71);
    int64_t pieces = 0, told = 0;
    for (int i = 0; i < 60 * test_scale(); i++) {
        for (size_t k = 0; k < sizeof LAWS / sizeof *LAWS; k++) {
            subject self = {.problem = NULL};
            if (!open_subject(&self, i % 10, LAWS[k].penalty, LAWS[k].alpha, &r)) {
                close_subject(&self);
                continue;
            }
            double x = random_between(&r, -6.0, 6.0), width = pow(10.0, random_between(&r, -6, 0));
            assert_true(gra_path_look(&self.path, x, 1, &self.a));
            assert_true(gra_path_look(&self.path, x + width, 1, &self.b));
            gra_piece piece = gra_path_bound(&self.path, &self.a, &self.b);
            double before = self.a.at.value;
            for (int s = 1; s <= BETWEEN && isfinite(self.b.at.value); s++) {
                assert_true(gra_path_look(&self.path, x + width * s / BETWEEN, 1, &self.between));
                double here = self.between.at.value, slack = ROUNDING * (1.0 + fabs(here));
                assert_true(here >= piece.value.low - slack && here <= piece.value.high + slack);
                assert_true(piece.slope <= 0 || here >= before - slack);
                assert_true(piece.slope >= 0 || here <= before + slack);
                before = here;
            }
            pieces++;
            told += piece.slope != 0;
            close_subject(&self);
        }
    }
    print_message("# %lld pieces, the slope of %lld is told\n", (long long)pieces, (long long)told);
    assert_true(told > pieces / 2);
}

static void the_rest_of_the_path_keeps_its_promises(void **state)
{
    (void)state;
    randomness r = random_start(72);
    int rises = 0;
    for (int i = 0; i < 60 * test_scale(); i++) {
        for (size_t k = 0; k < sizeof LAWS / sizeof *LAWS; k++) {
            subject self = {.problem = NULL};
            if (!open_subject(&self, i % 10, LAWS[k].penalty, LAWS[k].alpha, &r)) {
                close_subject(&self);
                continue;
            }
            const gra_divisor *divisor = &self.path.divisor;
            double x = random_between(&r, -4.0, 7.0);
            assert_true(gra_path_look(&self.path, x, 1, &self.a));
            double ceiling = divisor->kind->ceiling(divisor, self.a.of);
            int exponential =
                self.call.at.penalty->exponential && divisor->kind->tail_slope != NULL;
            double tail = exponential ? divisor->kind->tail_slope(divisor, self.a.of) : -INFINITY;
            int for_ever = tail - 1.0 / self.a.theta >= 0.0;
            double before = self.a.at.value;
            rises += for_ever;
            for (int s = 1; s <= BETWEEN; s++) {
                assert_true(gra_path_look(&self.path, x + 0.2 * s, 1, &self.between));
                double value = divisor->kind->inverse(divisor, self.between.of);
                double here = self.between.at.value;
                assert_true(!isfinite(value) || value <= ceiling * (1.0 + ROUNDING));
                assert_true(value >= divisor->low * (1.0 - ROUNDING));
                assert_true(value <= divisor->high * (1.0 + ROUNDING) || !isfinite(value));
                assert_true(!for_ever || !(here < before - ROUNDING * (1.0 + fabs(here))));
                before = here;
            }
            close_subject(&self);
        }
    }
    assert_true(rises > 5);
}

/* The gradient of 1/divisor against differences that keep the sum of the policy. */
static void gradients_of_divisors_are_derivatives(void **state)
{
    (void)state;
    randomness r = random_start(73);
    for (int i = 0; i < 100 * test_scale(); i++) {
        subject self = {.problem = NULL};
        double policy[N], moved[N], gradient[N], plus, minus, sum = 0.0;
        if (!open_subject(&self, i % 10, GRPOALIGN_PENALTY_DIRECT_KL, 0.0, &r)) {
            close_subject(&self);
            continue;
        }
        const gra_affine *affine = &self.call.at.structure->affine;
        const gra_divisor *divisor = &affine->divisor;
        for (int64_t c = 0; c < affine->classes; c++) {
            sum += policy[c] = 0.1 + random_uniform(&r);
        }
        for (int64_t c = 0; c < affine->classes; c++) {
            policy[c] /= sum;
        }
        assert_true(divisor->kind->gradient(divisor, policy, &self.call.arena, gradient));
        const double step = 1e-6;
        memcpy(moved, policy, sizeof moved);
        moved[0] += step, moved[1] -= step;
        assert_true(gra_affine_inverse(affine, moved, &self.call.arena, &plus));
        moved[0] -= 2.0 * step, moved[1] += 2.0 * step;
        assert_true(gra_affine_inverse(affine, moved, &self.call.arena, &minus));
        double told = gradient[0] - gradient[1];
        assert_near((plus - minus) / (2.0 * step), told, 1e-6 * (1.0 + fabs(told)));
        close_subject(&self);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_over_a_piece_hold_everywhere_in_it),
        cmocka_unit_test(the_rest_of_the_path_keeps_its_promises),
        cmocka_unit_test(gradients_of_divisors_are_derivatives),
    };
    return run_chosen(tests);
}
