/* The contract of the public header: what wrong arguments give, that nothing is half done, and that
 * every status is produced. */
#include "check.h"

static void expect(grpoalign_status status, const grpoalign_error *error, grpoalign_status wanted,
                   int32_t argument, int64_t index, const char *word, int line)
{
    if (status != wanted || error->status != wanted || error->argument != argument ||
        error->index != index || strstr(error->message, word) == NULL ||
        strchr(error->message, '\n') != NULL) {
        print_error(
            "line %d: status %d (wanted %d), argument %d (%d), index %lld (%lld): %s (%s)\n", line,
            status, wanted, error->argument, argument, (long long)error->index, (long long)index,
            error->message, word);
        fail();
    }
}

#define EXPECT(call, wanted, argument, index, word)                                                \
    do {                                                                                           \
        memset(&error, 0x5a, sizeof error);                                                        \
        expect((call), &error, (wanted), (argument), (index), (word), __LINE__);                   \
    } while (0)

static void bad_references_are_refused_by_argument(void **state)
{
    (void)state;
    grpoalign_error error;
    grpoalign_reference *out = (grpoalign_reference *)&error;
    double good[] = {0.5, 0.5}, p[2];
    EXPECT(grpoalign_reference_new(NULL, 2, NULL, &out, &error), GRPOALIGN_ERR_ARGUMENT, 1, -1,
           "probabilities");
    assert_null(out);
    EXPECT(grpoalign_reference_new(good, 2, NULL, NULL, &error), GRPOALIGN_ERR_ARGUMENT, 4, -1,
           "out");
    EXPECT(grpoalign_reference_new(good, 0, NULL, &out, &error), GRPOALIGN_ERR_ARGUMENT, 2, -1,
           "n must be >= 1");
    EXPECT(grpoalign_reference_new(good, -5, NULL, &out, &error), GRPOALIGN_ERR_ARGUMENT, 2, -1,
           "-5");
    EXPECT(grpoalign_reference_new((double[]){0.5, NAN}, 2, NULL, &out, &error),
           GRPOALIGN_ERR_NOT_FINITE, 1, 1, "probabilities[1]");
    EXPECT(grpoalign_reference_new((double[]){-0.5, 1.5}, 2, NULL, &out, &error),
           GRPOALIGN_ERR_PROBABILITY, 1, 0, "[0, 1]");
    EXPECT(grpoalign_reference_new((double[]){0.5, 0.4}, 2, NULL, &out, &error),
           GRPOALIGN_ERR_PROBABILITY, 1, 0, "sum to 1");
    EXPECT(grpoalign_reference_new_log((double[]){0.0, INFINITY}, 2, NULL, &out, &error),
           GRPOALIGN_ERR_NOT_FINITE, 1, 1, "log_probabilities[1]");
    EXPECT(grpoalign_reference_new_log((double[]){-INFINITY, -INFINITY}, 2, NULL, &out, &error),
           GRPOALIGN_ERR_PROBABILITY, 1, -1, "finite");
    EXPECT(grpoalign_reference_new_uniform(0, NULL, &out, &error), GRPOALIGN_ERR_ARGUMENT, 1, -1,
           "n must be");
    EXPECT(grpoalign_reference_new_uniform(INT64_MAX, NULL, &out, &error), GRPOALIGN_ERR_MEMORY, 0,
           -1, "memory");
    assert_null(out);
    assert_int_equal(grpoalign_reference_outcomes(NULL), 0);
    CHECK_OK(grpoalign_reference_new(good, 2, NULL, &out, &error));
    EXPECT(grpoalign_reference_probabilities(out, p, 3, &error), GRPOALIGN_ERR_DIMENSION, 3, -1,
           "2");
    EXPECT(grpoalign_reference_probabilities(out, NULL, 2, &error), GRPOALIGN_ERR_ARGUMENT, 2, -1,
           "out");
    EXPECT(grpoalign_reference_probabilities(NULL, p, 2, &error), GRPOALIGN_ERR_ARGUMENT, 1, -1,
           "reference");
    CHECK_OK(grpoalign_reference_probabilities(out, p, 2, NULL));
    grpoalign_reference_free(out);
    grpoalign_reference_free(NULL);
}

static void bad_models_are_refused_by_argument(void **state)
{
    (void)state;
    grpoalign_error error;
    grpoalign_model *out = NULL;
    double r[] = {0.0, 1.0, 2.0}, bad[] = {0.0, NAN, 2.0}, u[3] = {7, 7, 7}, j[9],
           p[] = {0.2, 0.3, 0.5};
    double margins[] = {0, .5, -.2, -.5, 0, .1, .2, -.1, 0}, rows[] = {1, 0, .5, .5, 0, 1};
    grpoalign_reward_options o;
    grpoalign_reward_options_init(&o, sizeof o);
    EXPECT(grpoalign_model_new_ranked(bad, 3, NULL, &out, &error), GRPOALIGN_ERR_NOT_FINITE, 1, 1,
           "rewards[1]");
    EXPECT(grpoalign_model_new_ranked(NULL, 3, NULL, &out, &error), GRPOALIGN_ERR_ARGUMENT, 1, -1,
           "rewards");
    EXPECT(grpoalign_model_new_ranked(r, 0, NULL, &out, &error), GRPOALIGN_ERR_ARGUMENT, 2, -1,
           "n must");
    EXPECT(grpoalign_model_new_ranked(r, 3, NULL, NULL, &error), GRPOALIGN_ERR_ARGUMENT, 4, -1,
           "out");
    EXPECT(grpoalign_model_new_pairwise(margins, 3, 2, NULL, &out, &error), GRPOALIGN_ERR_ARGUMENT,
           3, -1, "stride");
    margins[5] = 0.2;
    EXPECT(grpoalign_model_new_pairwise(margins, 3, 3, NULL, &out, &error),
           GRPOALIGN_ERR_ANTISYMMETRY, 1, 7, "margins[2][1]");
    margins[5] = INFINITY;
    EXPECT(grpoalign_model_new_pairwise(margins, 3, 3, NULL, &out, &error),
           GRPOALIGN_ERR_NOT_FINITE, 1, 5, "margins[1][2]");
    margins[5] = -1.1;
    margins[7] = 1.1;
    EXPECT(grpoalign_model_new_pairwise(margins, 3, 3, NULL, &out, &error), GRPOALIGN_ERR_ARGUMENT,
           1, 7, "[-1, 1]");
    margins[5] = 0.1;
    margins[7] = -0.1;
    margins[4] = 1e-3;
    EXPECT(grpoalign_model_new_pairwise(margins, 3, 3, NULL, &out, &error),
           GRPOALIGN_ERR_ANTISYMMETRY, 1, 4, "margins[1][1]");
    margins[4] = 0.0;
    EXPECT(grpoalign_model_new_group(r, 3, 1, &o, &out, &error), GRPOALIGN_ERR_ARGUMENT, 3, -1,
           "group_size");
    EXPECT(grpoalign_model_new_group(r, 3, INT64_C(1) << 40, &o, &out, &error),
           GRPOALIGN_ERR_ARGUMENT, 3, -1, "group_size");
    o.scale = 2;
    EXPECT(grpoalign_model_new_group(r, 3, 4, &o, &out, &error), GRPOALIGN_ERR_ARGUMENT, 4, -1,
           "scale");
    o.scale = 0;
    o.ddof = 2;
    EXPECT(grpoalign_model_new_group(r, 3, 4, &o, &out, &error), GRPOALIGN_ERR_ARGUMENT, 4, -1,
           "ddof");
    o.ddof = 0;
    o.epsilon = -1.0;
    EXPECT(grpoalign_model_new_group(r, 3, 4, &o, &out, &error), GRPOALIGN_ERR_ARGUMENT, 4, -1,
           "epsilon");
    o.epsilon = NAN;
    EXPECT(grpoalign_model_new_group(r, 3, 4, &o, &out, &error), GRPOALIGN_ERR_NOT_FINITE, 4, -1,
           "epsilon");
    o.epsilon = 0.1;
    o.scale = 1;
    EXPECT(grpoalign_model_new_group(r, 3, 4, &o, &out, &error), GRPOALIGN_ERR_ARGUMENT, 4, -1,
           "scale none");
    o.scale = 0;
    o.expectation = 9;
    EXPECT(grpoalign_model_new_group(r, 3, 4, &o, &out, &error), GRPOALIGN_ERR_ARGUMENT, 4, -1,
           "expectation");
    o.expectation = GRPOALIGN_EXPECTATION_BERNSTEIN;
    EXPECT(grpoalign_model_new_group(r, 3, 4, &o, &out, &error), GRPOALIGN_ERR_ARGUMENT, 0, -1,
           "two reward levels");
    EXPECT(grpoalign_model_new_limit(r, NULL, 3, &o, &out, &error), GRPOALIGN_ERR_ARGUMENT, 4, -1,
           "finite groups");
    o.expectation = 0;
    o.struct_size = 3;
    EXPECT(grpoalign_model_new_group(r, 3, 4, &o, &out, &error), GRPOALIGN_ERR_STRUCT_SIZE, 4, -1,
           "struct_size");
    EXPECT(grpoalign_model_new_limit(r, bad, 3, NULL, &out, &error), GRPOALIGN_ERR_NOT_FINITE, 2, 1,
           "variances[1]");
    EXPECT(grpoalign_model_new_limit(r, (double[]){0, -1, 0}, 3, NULL, &out, &error),
           GRPOALIGN_ERR_ARGUMENT, 2, 1, "variances[1]");
    EXPECT(grpoalign_model_new_group_random(r, 2, NULL, 3, 2, 4, NULL, &out, &error),
           GRPOALIGN_ERR_ARGUMENT, 3, -1, "distribution");
    EXPECT(grpoalign_model_new_group_random(r, 2, rows, 3, 1, 4, NULL, &out, &error),
           GRPOALIGN_ERR_ARGUMENT, 5, -1, "stride");
    rows[3] = 0.4;
    EXPECT(grpoalign_model_new_group_random(r, 2, rows, 3, 2, 4, NULL, &out, &error),
           GRPOALIGN_ERR_PROBABILITY, 3, 2, "distribution[1] must sum");
    rows[3] = -0.5;
    EXPECT(grpoalign_model_new_group_random(r, 2, rows, 3, 2, 4, NULL, &out, &error),
           GRPOALIGN_ERR_PROBABILITY, 3, 3, "distribution[1][1]");
    assert_null(out);

    CHECK_OK(grpoalign_model_new_pairwise(margins, 3, 3, NULL, &out, NULL));
    EXPECT(grpoalign_model_advantage(out, p, 2, u, &error), GRPOALIGN_ERR_DIMENSION, 3, -1, "3");
    EXPECT(grpoalign_model_advantage(out, NULL, 3, u, &error), GRPOALIGN_ERR_ARGUMENT, 2, -1,
           "policy");
    EXPECT(grpoalign_model_advantage(out, p, 3, NULL, &error), GRPOALIGN_ERR_ARGUMENT, 4, -1,
           "advantage");
    EXPECT(grpoalign_model_advantage(NULL, p, 3, u, &error), GRPOALIGN_ERR_ARGUMENT, 1, -1,
           "model");
    EXPECT(grpoalign_model_advantage(out, (double[]){0.5, 0.5, 0.5}, 3, u, &error),
           GRPOALIGN_ERR_PROBABILITY, 2, 0, "policy must sum");
    EXPECT(grpoalign_model_jacobian(out, p, 3, j, 2, &error), GRPOALIGN_ERR_ARGUMENT, 5, -1,
           "stride");
    assert_true(u[0] == 7 && u[2] == 7); /* untouched by failures */
    /* Something that is no model, and one that is a penalty. */
    uint64_t nothing[8] = {0};
    EXPECT(grpoalign_model_advantage((grpoalign_model *)nothing, p, 3, u, &error),
           GRPOALIGN_ERR_HANDLE, 1, -1, "handle");
    assert_int_equal(grpoalign_model_outcomes((grpoalign_model *)nothing), 0);
    grpoalign_model_free((grpoalign_model *)nothing);
    grpoalign_model_free(out);
    grpoalign_model_free(NULL);
}

static void bad_calls_of_solve_are_refused_by_argument(void **state)
{
    (void)state;
    grpoalign_error error;
    double r[] = {0.0, 1.0}, out3[3];
    grpoalign_model *model;
    grpoalign_penalty *penalty = NULL;
    grpoalign_reference *reference, *other;
    grpoalign_solution *solution = NULL;
    grpoalign_solve_options o;
    grpoalign_solve_options_init(&o, sizeof o);
    EXPECT(grpoalign_penalty_new(99, NULL, &penalty, &error), GRPOALIGN_ERR_ARGUMENT, 1, -1,
           "kind");
    EXPECT(grpoalign_penalty_new(GRPOALIGN_PENALTY_ALPHA, NULL, &penalty, &error),
           GRPOALIGN_ERR_ARGUMENT, 2, -1, "alpha");
    EXPECT(new_alpha(2.5, &penalty, &error), GRPOALIGN_ERR_ARGUMENT, 2, -1, "alpha");
    EXPECT(new_alpha(NAN, &penalty, &error), GRPOALIGN_ERR_NOT_FINITE, 2, -1, "alpha");
    assert_null(penalty);
    EXPECT(grpoalign_penalty_new(1, NULL, NULL, &error), GRPOALIGN_ERR_ARGUMENT, 3, -1, "out");
    CHECK_OK(grpoalign_model_new_ranked(r, 2, NULL, &model, NULL));
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_DIRECT_KL, NULL, &penalty, NULL));
    CHECK_OK(grpoalign_reference_new_uniform(2, NULL, &reference, NULL));
    CHECK_OK(grpoalign_reference_new_uniform(3, NULL, &other, NULL));
    assert_int_equal(grpoalign_penalty_kind(penalty), GRPOALIGN_PENALTY_DIRECT_KL);
    assert_int_equal(grpoalign_penalty_kind(NULL), 0);
    EXPECT(solve_parts(NULL, penalty, reference, 1, NULL, &solution, &error),
           GRPOALIGN_ERR_ARGUMENT, 1, -1, "model");
    EXPECT(solve_parts(model, NULL, reference, 1, NULL, &solution, &error), GRPOALIGN_ERR_ARGUMENT,
           2, -1, "penalty");
    EXPECT(solve_parts(model, penalty, NULL, 1, NULL, &solution, &error), GRPOALIGN_ERR_ARGUMENT, 3,
           -1, "reference");
    EXPECT(solve_parts(model, penalty, reference, 1, NULL, NULL, &error), GRPOALIGN_ERR_ARGUMENT, 4,
           -1, "out");
    EXPECT(solve_parts(model, penalty, other, 1, NULL, &solution, &error), GRPOALIGN_ERR_DIMENSION,
           3, -1, "3 outcomes");
    EXPECT(solve_parts(model, penalty, reference, 0, NULL, &solution, &error),
           GRPOALIGN_ERR_ARGUMENT, 2, -1, "beta");
    EXPECT(solve_parts(model, penalty, reference, -1, NULL, &solution, &error),
           GRPOALIGN_ERR_ARGUMENT, 2, -1, "-1");
    EXPECT(solve_parts(model, penalty, reference, NAN, NULL, &solution, &error),
           GRPOALIGN_ERR_NOT_FINITE, 2, -1, "beta");
    EXPECT(solve_parts(model, penalty, reference, INFINITY, NULL, &solution, &error),
           GRPOALIGN_ERR_NOT_FINITE, 2, -1, "beta");
    EXPECT(solve_parts((grpoalign_model *)penalty, penalty, reference, 1, NULL, &solution, &error),
           GRPOALIGN_ERR_HANDLE, 1, -1, "model");
    EXPECT(solve_parts(model, (grpoalign_penalty *)model, reference, 1, NULL, &solution, &error),
           GRPOALIGN_ERR_HANDLE, 2, -1, "penalty");
    o.max_iterations = -1;
    EXPECT(solve_parts(model, penalty, reference, 1, &o, &solution, &error), GRPOALIGN_ERR_ARGUMENT,
           3, -1, "max_iterations");
    o.max_iterations = 0;
    o.tolerance = 2.0;
    EXPECT(solve_parts(model, penalty, reference, 1, &o, &solution, &error), GRPOALIGN_ERR_ARGUMENT,
           3, -1, "tolerance");
    o.tolerance = 0.0;
    o.reserved = 1;
    EXPECT(solve_parts(model, penalty, reference, 1, &o, &solution, &error),
           GRPOALIGN_ERR_STRUCT_SIZE, 3, -1, "reserved");
    o.reserved = 0;
    o.start = (double[]){0.5, 0.6};
    EXPECT(solve_parts(model, penalty, reference, 1, &o, &solution, &error),
           GRPOALIGN_ERR_DIMENSION, 3, -1, "start_count");
    o.start_count = 2;
    EXPECT(solve_parts(model, penalty, reference, 1, &o, &solution, &error),
           GRPOALIGN_ERR_PROBABILITY, 3, 0, "options.start");
    assert_null(solution);
    CHECK_OK(solve_parts(model, penalty, reference, 1, NULL, &solution, NULL));
    assert_int_equal(grpoalign_solution_outcomes(solution), 2);
    EXPECT(grpoalign_solution_policy(solution, out3, 3, &error), GRPOALIGN_ERR_DIMENSION, 3, -1,
           "2");
    EXPECT(grpoalign_solution_policy(NULL, out3, 3, &error), GRPOALIGN_ERR_ARGUMENT, 1, -1,
           "solution");
    EXPECT(grpoalign_solution_advantage(solution, NULL, 2, &error), GRPOALIGN_ERR_ARGUMENT, 2, -1,
           "out");
    grpoalign_report report;
    memset(&report, 0, sizeof report);
    EXPECT(grpoalign_solution_report(solution, &report, &error), GRPOALIGN_ERR_STRUCT_SIZE, 2, -1,
           "struct_size");
    EXPECT(grpoalign_solution_report(solution, NULL, &error), GRPOALIGN_ERR_ARGUMENT, 2, -1,
           "report");
    grpoalign_solution_free(solution);
    grpoalign_solution_free(NULL);
    grpoalign_reference_free(reference);
    grpoalign_reference_free(other);
    grpoalign_penalty_free(penalty);
    grpoalign_penalty_free(NULL);
    grpoalign_model_free(model);
}

/* Structs with a size: older, equal and newer callers, and newer ones that use what the library
 * does not know. */
static void structs_of_other_versions_are_understood(void **state)
{
    (void)state;
    grpoalign_error error;
    double r[] = {0.0, 1.0};
    grpoalign_model *model = NULL;
    union {
        grpoalign_reward_options options;
        unsigned char bytes[256];
    } newer;
    memset(&newer, 0xa5, sizeof newer);
    grpoalign_reward_options_init(&newer.options, 128);
    assert_int_equal(newer.options.struct_size, 128);
    for (size_t i = sizeof newer.options; i < 128; i++) {
        assert_int_equal(newer.bytes[i], 0);
    }
    assert_int_equal(newer.bytes[128], 0xa5); /* nothing beyond the size given */
    CHECK_OK(grpoalign_model_new_group(r, 2, 4, &newer.options, &model, &error));
    grpoalign_model_free(model);
    newer.bytes[100] = 1;
    EXPECT(grpoalign_model_new_group(r, 2, 4, &newer.options, &model, &error),
           GRPOALIGN_ERR_STRUCT_SIZE, 4, 100, "newer");
    grpoalign_reward_options_init(&newer.options, 8); /* a caller that knows size and scale only */
    newer.options.scale = GRPOALIGN_SCALE_NONE;
    newer.options.epsilon = 5.0; /* not the library's to read */
    CHECK_OK(grpoalign_model_new_group(r, 2, 4, &newer.options, &model, &error));
    grpoalign_model_free(model);
    grpoalign_reward_options_init(NULL, 24);
    grpoalign_solve_options_init(NULL, 48);
    grpoalign_reward_options_init(&newer.options, 2); /* too small to hold its size: left alone */
    solved s = solve_context(&(plain_context){.n = 2, .rewards = r}, GRPOALIGN_PENALTY_REVERSE_KL,
                             1.0, NULL);
    assert_int_equal(s.report.struct_size, sizeof s.report);
    solved_free(&s);
}

static void every_preset_is_filled_and_makes_a_model(void **state)
{
    (void)state;
    grpoalign_error error;
    grpoalign_convention c = {.struct_size = sizeof c};
    int64_t count = 0;
    for (const char *name; (name = grpoalign_preset_name(count)) != NULL; count++) {
        CHECK_OK(grpoalign_preset(name, &c, NULL));
        assert_string_equal(c.name, name);
        assert_int_equal(c.struct_size, sizeof c);
        assert_true(c.trainer[0] != '\0' && c.kl[0] != '\0' && c.clamp > 0.0 && c.epsilon >= 0.0);
        /* The rewards' part makes a model. */
        double rewards[] = {0.0, 1.0, 3.0};
        grpoalign_reward_options o;
        grpoalign_model *model = NULL;
        grpoalign_reward_options_init(&o, sizeof o);
        o.scale = c.scale;
        o.ddof = c.ddof;
        o.epsilon = c.epsilon;
        o.baseline = c.baseline;
        o.epsilon_place = c.epsilon_place;
        o.zero_variance = c.zero_variance;
        CHECK_OK(grpoalign_model_new_group(rewards, 3, 4, &o, &model, NULL));
        grpoalign_model_free(model);
    }
    assert_int_equal(count, 33);
    assert_null(grpoalign_preset_name(-1));
    EXPECT(grpoalign_preset("nobody", &c, &error), GRPOALIGN_ERR_ARGUMENT, 1, -1, "nobody");
    EXPECT(grpoalign_preset(NULL, &c, &error), GRPOALIGN_ERR_ARGUMENT, 1, -1, "name");
    EXPECT(grpoalign_preset("paper", NULL, &error), GRPOALIGN_ERR_ARGUMENT, 2, -1, "out");
    c.struct_size = 3;
    EXPECT(grpoalign_preset("paper", &c, &error), GRPOALIGN_ERR_STRUCT_SIZE, 2, -1, "struct_size");
    /* An older caller's struct is filled as far as it goes. */
    c.clamp = -7.0;
    c.struct_size = 80;
    CHECK_OK(grpoalign_preset("verl-k3", &c, NULL));
    assert_true(c.clamp == -7.0);
    assert_string_equal(c.name, "verl-k3");
}

static void contradicting_conventions_are_refused(void **state)
{
    (void)state;
    grpoalign_error error;
    double rewards[] = {-1.0, 0.0, 1.0}, distribution[] = {1, 0, 0, 0, 1, 0, 0, 0, 1},
           positive[] = {0.0, 1.0, 2.0};
    grpoalign_model *model = NULL;
    grpoalign_reward_options o;
    grpoalign_reward_options_init(&o, sizeof o);
#define REFUSED(field, value, words)                                                               \
    do {                                                                                           \
        grpoalign_reward_options_init(&o, sizeof o);                                               \
        o.field = (value);                                                                         \
        EXPECT(grpoalign_model_new_group(rewards, 3, 4, &o, &model, &error),                       \
               GRPOALIGN_ERR_ARGUMENT, 4, -1, words);                                              \
    } while (0)
    REFUSED(scale, 4, "scale");
    REFUSED(baseline, 2, "baseline");
    REFUSED(epsilon_place, -1, "epsilon_place");
    REFUSED(zero_variance, 2, "zero_variance");
    REFUSED(reserved, 1, "reserved");
    REFUSED(scale, GRPOALIGN_SCALE_STD_OF_OTHERS, "baseline");
#undef REFUSED
    grpoalign_reward_options_init(&o, sizeof o);
    o.scale = GRPOALIGN_SCALE_MEAN;
    EXPECT(grpoalign_model_new_group(rewards, 3, 4, &o, &model, &error), GRPOALIGN_ERR_ARGUMENT, 1,
           0, "rewards[0]");
    EXPECT(grpoalign_model_new_limit(rewards, NULL, 3, &o, &model, &error), GRPOALIGN_ERR_ARGUMENT,
           1, 0, "rewards[0]");
    CHECK_OK(grpoalign_model_new_group(positive, 3, 4, &o, &model, NULL));
    grpoalign_model_free(model);
    grpoalign_reward_options_init(&o, sizeof o);
    o.zero_variance = GRPOALIGN_ZERO_VARIANCE_DROP;
    EXPECT(grpoalign_model_new_group_random(rewards, 3, distribution, 3, 3, 4, &o, &model, &error),
           GRPOALIGN_ERR_UNSUPPORTED, 7, -1, "random");
    EXPECT(grpoalign_model_new_limit(positive, NULL, 3, &o, &model, &error), GRPOALIGN_ERR_ARGUMENT,
           4, -1, "zero_variance");
}

static void every_code_has_a_name(void **state)
{
    (void)state;
    static const int32_t statuses[] = {GRPOALIGN_OK,
                                       GRPOALIGN_NOT_UNIQUE,
                                       GRPOALIGN_ACCURACY_LIMITED,
                                       GRPOALIGN_COLLAPSED,
                                       GRPOALIGN_NOT_CONVERGED,
                                       GRPOALIGN_ERR_ARGUMENT,
                                       GRPOALIGN_ERR_HANDLE,
                                       GRPOALIGN_ERR_STRUCT_SIZE,
                                       GRPOALIGN_ERR_DIMENSION,
                                       GRPOALIGN_ERR_NOT_FINITE,
                                       GRPOALIGN_ERR_PROBABILITY,
                                       GRPOALIGN_ERR_ANTISYMMETRY,
                                       GRPOALIGN_ERR_MEMORY,
                                       GRPOALIGN_ERR_CANCELLED,
                                       GRPOALIGN_ERR_TOO_LARGE,
                                       GRPOALIGN_ERR_INTERNAL};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        assert_string_not_equal(grpoalign_status_name(statuses[i]), "unknown");
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(grpoalign_status_name(statuses[i]),
                                    grpoalign_status_name(statuses[j]));
        }
    }
    assert_string_equal(grpoalign_status_name(12345), "unknown");
    assert_string_equal(grpoalign_penalty_name(1), "reverse_kl");
    assert_string_equal(grpoalign_penalty_name(99), "unknown");
    for (int32_t i = GRPOALIGN_METHOD_TRIVIAL; i <= GRPOALIGN_METHOD_FLOW; i++) {
        assert_string_not_equal(grpoalign_method_name(i), "unknown");
    }
    assert_string_equal(grpoalign_method_name(0), "unknown");
    assert_string_equal(grpoalign_expectation_name(-1), "unknown");
    char version[32];
    (void)snprintf(version, sizeof version, "%d.%d.%d", grpoalign_version() / 1000000,
                   grpoalign_version() / 1000 % 1000, grpoalign_version() % 1000);
    assert_string_equal(version, grpoalign_version_string());
    assert_non_null(strstr(grpoalign_build_info(), version));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_references_are_refused_by_argument),
        cmocka_unit_test(bad_models_are_refused_by_argument),
        cmocka_unit_test(bad_calls_of_solve_are_refused_by_argument),
        cmocka_unit_test(structs_of_other_versions_are_understood),
        cmocka_unit_test(every_preset_is_filled_and_makes_a_model),
        cmocka_unit_test(contradicting_conventions_are_refused),
        cmocka_unit_test(every_code_has_a_name),
    };
    return run_chosen(tests);
}
