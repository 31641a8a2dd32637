/* What callers of other ages, languages and habits may rely on: layouts, sizes, counts beside
 * pointers, shared and borrowed handles, the error record, progress and cancellation. */
#include "check.h"

#include <pthread.h>

static const double REWARDS[] = {0.0, 0.5, 1.0}, LOGS[] = {-0.5, -1.2, -2.3};

static grpoalign_problem *problem_of(int64_t group_size, int32_t kind)
{
    grpoalign_model *model = NULL;
    grpoalign_penalty *penalty = NULL;
    grpoalign_reference *reference = NULL;
    grpoalign_problem *problem = NULL;
    CHECK_OK(group_size > 0 ? grpoalign_model_new_group(REWARDS, 3, group_size, NULL, &model, NULL)
                            : grpoalign_model_new_limit(REWARDS, NULL, 3, NULL, &model, NULL));
    CHECK_OK(grpoalign_penalty_new(kind, NULL, &penalty, NULL));
    CHECK_OK(grpoalign_reference_new_log(LOGS, 3, NULL, &reference, NULL));
    CHECK_OK(grpoalign_problem_new(model, penalty, reference, NULL, &problem, NULL));
    /* The problem keeps its parts alive. */
    grpoalign_reference_free(reference);
    grpoalign_model_free(model);
    grpoalign_penalty_free(penalty);
    return problem;
}

static void a_problem_outlives_its_parts_in_any_order(void **state)
{
    (void)state;
    static const int ORDERS[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    double first[3] = {0.0};
    for (int i = 0; i < 6; i++) {
        grpoalign_model *model = NULL;
        grpoalign_penalty *penalty = NULL;
        grpoalign_reference *reference = NULL;
        grpoalign_problem *problem = NULL, *other = NULL;
        grpoalign_solution *solution = NULL;
        double policy[3];
        CHECK_OK(grpoalign_model_new_group(REWARDS, 3, 8, NULL, &model, NULL));
        CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_DIRECT_KL, NULL, &penalty, NULL));
        CHECK_OK(grpoalign_reference_new_log(LOGS, 3, NULL, &reference, NULL));
        CHECK_OK(grpoalign_problem_new(model, penalty, reference, NULL, &problem, NULL));
        CHECK_OK(grpoalign_problem_new(model, penalty, reference, NULL, &other, NULL));
        for (int k = 0; k < 3; k++) {
            ORDERS[i][k] == 0   ? grpoalign_model_free(model)
            : ORDERS[i][k] == 1 ? grpoalign_penalty_free(penalty)
                                : grpoalign_reference_free(reference);
        }
        grpoalign_problem_free(other);
        assert_int_equal(grpoalign_problem_outcomes(problem), 3);
        CHECK_OK(grpoalign_solve(problem, 0.9, NULL, &solution, NULL));
        CHECK_OK(grpoalign_solution_policy(solution, policy, 3, NULL));
        grpoalign_problem_free(problem);
        memcpy(i == 0 ? first : policy, policy, sizeof policy);
        assert_memory_equal(first, policy, sizeof first);
        grpoalign_solution_free(solution);
    }
}

/* One problem, many calls: what a path, single solves and a fresh problem give is the same. */
static void a_problem_gives_the_same_bits_at_every_call(void **state)
{
    (void)state;
    grpoalign_problem *kept = problem_of(8, GRPOALIGN_PENALTY_REVERSE_KL);
    for (double beta = 0.05; beta < 3.0; beta *= 1.7) {
        grpoalign_problem *fresh = problem_of(8, GRPOALIGN_PENALTY_REVERSE_KL);
        grpoalign_solution *one = NULL, *two = NULL;
        double a[3], b[3];
        CHECK_OK(grpoalign_solve(kept, beta, NULL, &one, NULL));
        CHECK_OK(grpoalign_solve(fresh, beta, NULL, &two, NULL));
        CHECK_OK(grpoalign_solution_policy(one, a, 3, NULL));
        CHECK_OK(grpoalign_solution_policy(two, b, 3, NULL));
        assert_memory_equal(a, b, sizeof a);
        grpoalign_solution_free(one);
        grpoalign_solution_free(two);
        grpoalign_problem_free(fresh);
    }
    grpoalign_problem_free(kept);
}

typedef struct worker {
    const grpoalign_problem *problem;
    double policies[20][3];
} worker;

static void *work(void *context)
{
    worker *self = context;
    for (int k = 0; k < 20; k++) {
        grpoalign_solution *solution = NULL;
        double beta = 0.05 * pow(1.25, k);
        if (grpoalign_solve(self->problem, beta, NULL, &solution, NULL) >= 0 &&
            grpoalign_solution_policy(solution, self->policies[k], 3, NULL) < 0) {
            self->policies[k][0] = -1.0;
        }
        grpoalign_solution_free(solution);
    }
    return NULL;
}

static void threads_share_a_problem(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    static const int64_t SIZES[] = {0, 8};
    for (int i = 0; i < 2; i++) {
        grpoalign_problem *problem = problem_of(SIZES[i], GRPOALIGN_PENALTY_DIRECT_KL);
        worker workers[THREADS];
        pthread_t threads[THREADS];
        memset(workers, 0, sizeof workers);
        for (int k = 0; k < THREADS; k++) {
            workers[k].problem = problem;
            assert_int_equal(pthread_create(&threads[k], NULL, work, &workers[k]), 0);
        }
        for (int k = 0; k < THREADS; k++) {
            assert_int_equal(pthread_join(threads[k], NULL), 0);
            assert_memory_equal(workers[k].policies, workers[0].policies,
                                sizeof workers[0].policies);
        }
        grpoalign_problem_free(problem);
    }
}

static void borrowed_solutions_are_not_freed_by_mistake(void **state)
{
    (void)state;
    grpoalign_problem *problem = problem_of(8, GRPOALIGN_PENALTY_REVERSE_KL);
    grpoalign_points *points = NULL;
    grpoalign_flow *flow = NULL;
    double policy[3];
    CHECK_OK(grpoalign_points_new(problem, 0.5, NULL, &points, NULL));
    const grpoalign_solution *point = grpoalign_points_solution(points, 0);
    grpoalign_solution_free((grpoalign_solution *)(uintptr_t)point); /* refused */
    CHECK_OK(grpoalign_solution_policy(point, policy, 3, NULL));
    CHECK_OK(grpoalign_flow_new(problem, 0.5, NULL, &flow, NULL));
    const grpoalign_solution *end = grpoalign_flow_end(flow);
    grpoalign_solution_free((grpoalign_solution *)(uintptr_t)end); /* refused */
    CHECK_OK(grpoalign_solution_policy(end, policy, 3, NULL));
    grpoalign_points_free(points);
    grpoalign_flow_free(flow);
    grpoalign_problem_free(problem);
}

static void a_status_above_zero_is_explained(void **state)
{
    (void)state;
    grpoalign_error error;
    grpoalign_solution *solution = NULL;
    grpoalign_problem *problem = problem_of(0, GRPOALIGN_PENALTY_DIRECT_KL);
    double beta = 0.0;
    CHECK_OK(grpoalign_critical_beta(problem, NULL, &beta, &error));
    assert_int_equal(error.status, 0);
    assert_int_equal(grpoalign_solve(problem, 0.5 * beta, NULL, &solution, &error),
                     GRPOALIGN_COLLAPSED);
    assert_int_equal(error.status, GRPOALIGN_COLLAPSED);
    assert_non_null(strstr(error.message, "full support"));
    grpoalign_solution_free(solution);
    assert_int_equal(grpoalign_solve(problem, 1.1 * beta, NULL, &solution, &error),
                     GRPOALIGN_NOT_UNIQUE);
    assert_int_equal(error.status, GRPOALIGN_NOT_UNIQUE);
    assert_int_equal(error.argument, 0);
    assert_int_equal(error.index, -1);
    assert_non_null(strstr(error.message, "other stationary policies"));
    grpoalign_solution_free(solution);
    grpoalign_solve_options strict = GRPOALIGN_SOLVE_OPTIONS_INIT;
    strict.tolerance = 1e-300;
    grpoalign_problem_free(problem);
    problem = problem_of(8, GRPOALIGN_PENALTY_REVERSE_KL);
    assert_int_equal(grpoalign_solve(problem, 0.5, &strict, &solution, &error),
                     GRPOALIGN_ACCURACY_LIMITED);
    assert_int_equal(error.status, GRPOALIGN_ACCURACY_LIMITED);
    assert_non_null(strstr(error.message, "policy_error"));
    grpoalign_solution_free(solution);
    grpoalign_problem_free(problem);
}

/* An older caller knows less of a struct, a newer one more. */
static void structs_say_how_much_was_filled(void **state)
{
    (void)state;
    struct {
        grpoalign_report known;
        double later[2];
    } newer;
    grpoalign_solution *solution = NULL;
    grpoalign_problem *problem = problem_of(8, GRPOALIGN_PENALTY_REVERSE_KL);
    CHECK_OK(grpoalign_solve(problem, 0.5, NULL, &solution, NULL));
    grpoalign_report report = GRPOALIGN_REPORT_INIT;
    report.struct_size = 40; /* up to `residual` */
    report.policy_error = 7.0;
    CHECK_OK(grpoalign_solution_report(solution, &report, NULL));
    assert_int_equal(report.struct_size, 40);
    assert_true(report.residual < 1e-12 && report.policy_error == 7.0);
    memset(&newer, 0x5a, sizeof newer);
    newer.known.struct_size = sizeof newer;
    CHECK_OK(grpoalign_solution_report(solution, &newer.known, NULL));
    assert_int_equal(newer.known.struct_size, sizeof newer.known);
    assert_true(newer.later[0] == 0.0 && newer.later[1] == 0.0);
    grpoalign_convention convention = GRPOALIGN_CONVENTION_INIT;
    CHECK_OK(grpoalign_preset("paper", &convention, NULL));
    assert_int_equal(convention.struct_size, sizeof convention);
    struct {
        grpoalign_solve_options known;
        int64_t later;
    } options = {.known = GRPOALIGN_SOLVE_OPTIONS_INIT, .later = 0};
    options.known.struct_size = sizeof options;
    grpoalign_solution *again = NULL;
    CHECK_OK(grpoalign_solve(problem, 0.5, &options.known, &again, NULL));
    grpoalign_solution_free(again);
    options.later = 1; /* asks for what this library does not know */
    assert_int_equal(grpoalign_solve(problem, 0.5, &options.known, &again, NULL),
                     GRPOALIGN_ERR_STRUCT_SIZE);
    assert_null(again);
    grpoalign_solution_free(solution);
    grpoalign_problem_free(problem);
}

/* The macro and the function give the same options, which NULL stands for. */
static void initialisers_agree(void **state)
{
    (void)state;
#define AGREE(name, NAME)                                                                          \
    do {                                                                                           \
        grpoalign_##name by_macro = GRPOALIGN_##NAME##_INIT, by_function;                          \
        memset(&by_function, 0x5a, sizeof by_function);                                            \
        grpoalign_##name##_init(&by_function, sizeof by_function);                                 \
        assert_int_equal(by_macro.struct_size, sizeof by_macro);                                   \
        assert_int_equal(by_function.struct_size, sizeof by_function);                             \
        assert_int_equal(sizeof by_macro % 8, 0);                                                  \
        assert_true(by_macro.struct_size == by_function.struct_size);                              \
    } while (0)
    AGREE(reference_options, REFERENCE_OPTIONS);
    AGREE(penalty_options, PENALTY_OPTIONS);
    AGREE(preference_options, PREFERENCE_OPTIONS);
    AGREE(reward_options, REWARD_OPTIONS);
    AGREE(problem_options, PROBLEM_OPTIONS);
    AGREE(solve_options, SOLVE_OPTIONS);
    AGREE(flow_options, FLOW_OPTIONS);
    AGREE(batch_options, BATCH_OPTIONS);
    AGREE(inverse_options, INVERSE_OPTIONS);
    AGREE(completions, COMPLETIONS);
    AGREE(gradient, GRADIENT);
    grpoalign_solve_options filled;
    grpoalign_solve_options_init(&filled, sizeof filled);
    assert_int_equal(filled.max_iterations, 2000);
    assert_true(filled.tolerance == 1e-11);
}

typedef struct watcher {
    int calls, stop_at;
} watcher;

static int32_t watch(void *user, const grpoalign_progress *progress)
{
    watcher *self = user;
    assert_true(progress->struct_size >= 32);
    return ++self->calls == self->stop_at;
}

static void what_takes_long_can_be_stopped(void **state)
{
    (void)state;
    enum { MANY = 64 };
    grpoalign_error error;
    double *margins = calloc(MANY * MANY, sizeof *margins), beta = 7.0;
    grpoalign_model *model = NULL;
    watcher at_three = {.stop_at = 3};
    grpoalign_preference_options pairwise = GRPOALIGN_PREFERENCE_OPTIONS_INIT;
    pairwise.progress = watch;
    pairwise.user = &at_three;
    assert_int_equal(grpoalign_model_new_pairwise(margins, MANY, MANY, &pairwise, &model, &error),
                     GRPOALIGN_ERR_CANCELLED);
    assert_int_equal(at_three.calls, 3);
    assert_null(model);
    free(margins);

    watcher at_once = {.stop_at = 1};
    grpoalign_reward_options rewards = GRPOALIGN_REWARD_OPTIONS_INIT;
    rewards.progress = watch;
    rewards.user = &at_once;
    assert_int_equal(grpoalign_model_new_group(REWARDS, 3, 8, &rewards, &model, &error),
                     GRPOALIGN_ERR_CANCELLED);
    assert_null(model);

    watcher building = {.stop_at = 1};
    grpoalign_problem_options making = GRPOALIGN_PROBLEM_OPTIONS_INIT;
    grpoalign_penalty *penalty = NULL;
    grpoalign_reference *reference = NULL;
    grpoalign_problem *problem = NULL;
    making.progress = watch;
    making.user = &building;
    CHECK_OK(grpoalign_model_new_group(REWARDS, 3, 8, NULL, &model, NULL));
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL));
    CHECK_OK(grpoalign_reference_new_uniform(3, NULL, &reference, NULL));
    assert_int_equal(grpoalign_problem_new(model, penalty, reference, &making, &problem, &error),
                     GRPOALIGN_ERR_CANCELLED);
    assert_null(problem);
    grpoalign_model_free(model);
    grpoalign_penalty_free(penalty);
    grpoalign_reference_free(reference);

    watcher searching = {.stop_at = 4};
    grpoalign_solve_options options = GRPOALIGN_SOLVE_OPTIONS_INIT;
    options.progress = watch;
    options.user = &searching;
    problem = problem_of(0, GRPOALIGN_PENALTY_DIRECT_KL);
    assert_int_equal(grpoalign_critical_beta(problem, &options, &beta, &error),
                     GRPOALIGN_ERR_CANCELLED);
    assert_int_equal(searching.calls, 4);
    assert_true(beta == 7.0);
    grpoalign_problem_free(problem);
}

static void pointers_travel_with_their_counts(void **state)
{
    (void)state;
    grpoalign_error error;
    grpoalign_solution *solution = NULL;
    grpoalign_flow *flow = NULL;
    grpoalign_points *points = NULL;
    const double start[] = {0.3, 0.3, 0.4};
    grpoalign_problem *problem = problem_of(8, GRPOALIGN_PENALTY_DIRECT_KL);
    for (int64_t count = 0; count < 5; count++) {
        grpoalign_solve_options how = GRPOALIGN_SOLVE_OPTIONS_INIT;
        grpoalign_flow_options follow = GRPOALIGN_FLOW_OPTIONS_INIT;
        how.start = follow.start = start;
        how.start_count = follow.start_count = count;
        grpoalign_status wanted = count == 3 ? GRPOALIGN_OK : GRPOALIGN_ERR_DIMENSION;
        assert_int_equal(grpoalign_solve(problem, 2.0, &how, &solution, &error), wanted);
        grpoalign_solution_free(solution);
        assert_int_equal(grpoalign_flow_new(problem, 2.0, &follow, &flow, &error), wanted);
        grpoalign_flow_free(flow);
        how.start = follow.start = NULL;
        wanted = count == 0 ? GRPOALIGN_OK : GRPOALIGN_ERR_ARGUMENT;
        assert_int_equal(grpoalign_solve(problem, 2.0, &how, &solution, &error), wanted);
        grpoalign_solution_free(solution);
    }
    grpoalign_batch_options batch = GRPOALIGN_BATCH_OPTIONS_INIT;
    batch.weights = start;
    const grpoalign_problem *problems[] = {problem};
    assert_int_equal(
        grpoalign_points_new_batch(problems, 1, 1.0, &batch, NULL, &points, NULL, &error),
        GRPOALIGN_ERR_DIMENSION);
    grpoalign_problem_free(problem);
}

/* ---- every struct, as callers of all ages have it ---- */

/* What the calls below are asked of: made once per test. */
typedef struct world {
    grpoalign_problem *problem, *unscaled;
    grpoalign_solution *solution;
    grpoalign_flow *flow;
    grpoalign_sensitivity *sensitivity;
} world;

static world world_new(void)
{
    world self = {0};
    grpoalign_model *model = NULL;
    grpoalign_penalty *penalty = NULL;
    grpoalign_reference *reference = NULL;
    grpoalign_reward_options plain = GRPOALIGN_REWARD_OPTIONS_INIT;
    plain.scale = GRPOALIGN_SCALE_NONE;
    self.problem = problem_of(8, GRPOALIGN_PENALTY_REVERSE_KL);
    CHECK_OK(grpoalign_model_new_group(REWARDS, 3, 8, &plain, &model, NULL));
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL));
    CHECK_OK(grpoalign_reference_new_log(LOGS, 3, NULL, &reference, NULL));
    CHECK_OK(grpoalign_problem_new(model, penalty, reference, NULL, &self.unscaled, NULL));
    grpoalign_model_free(model);
    grpoalign_penalty_free(penalty);
    grpoalign_reference_free(reference);
    CHECK_OK(grpoalign_solve(self.problem, 0.5, NULL, &self.solution, NULL));
    CHECK_OK(grpoalign_flow_new(self.problem, 0.5, NULL, &self.flow, NULL));
    CHECK_OK(grpoalign_sensitivity_new(self.problem, self.solution, &self.sensitivity, NULL));
    return self;
}

static void world_free(world *self)
{
    grpoalign_sensitivity_free(self->sensitivity);
    grpoalign_flow_free(self->flow);
    grpoalign_solution_free(self->solution);
    grpoalign_problem_free(self->unscaled);
    grpoalign_problem_free(self->problem);
}

/* One call with a struct; what it makes is checked to be there or not, and freed. */
typedef grpoalign_status use_fn(const world *with, void *given, grpoalign_error *error);

#define USES(name, handle, call)                                                                   \
    static grpoalign_status use_##name(const world *with, void *given, grpoalign_error *error)     \
    {                                                                                              \
        grpoalign_##handle *out = (grpoalign_##handle *)(uintptr_t)8;                              \
        (void)with;                                                                                \
        grpoalign_status status = call;                                                            \
        assert_true((status >= 0) == (out != NULL));                                               \
        grpoalign_##handle##_free(out);                                                            \
        return status;                                                                             \
    }
USES(reward, model, grpoalign_model_new_group(REWARDS, 3, 8, given, &out, error))
USES(preference, model, grpoalign_model_new_ranked(REWARDS, 3, given, &out, error))
USES(reference, reference, grpoalign_reference_new_log(LOGS, 3, given, &out, error))
USES(penalty, penalty, grpoalign_penalty_new(GRPOALIGN_PENALTY_DIRECT_KL, given, &out, error))
USES(solve, solution, grpoalign_solve(with->problem, 0.5, given, &out, error))
USES(flow, flow, grpoalign_flow_new(with->problem, 0.5, given, &out, error))
USES(inverse, solution,
     grpoalign_tune(with->problem, GRPOALIGN_QUANTITY_KL_POLICY_REF, NULL, 0, 0.1, given, &out,
                    error))
USES(batch, points,
     grpoalign_points_new_batch((const grpoalign_problem *const *)&with->unscaled, 1, 0.5, given,
                                NULL, &out, NULL, error))

static grpoalign_status use_problem(const world *with, void *given, grpoalign_error *error)
{
    grpoalign_model *model = NULL;
    grpoalign_penalty *penalty = NULL;
    grpoalign_reference *reference = NULL;
    grpoalign_problem *out = NULL;
    (void)with;
    CHECK_OK(grpoalign_model_new_ranked(REWARDS, 3, NULL, &model, NULL));
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_DIRECT_KL, NULL, &penalty, NULL));
    CHECK_OK(grpoalign_reference_new_log(LOGS, 3, NULL, &reference, NULL));
    grpoalign_status status = grpoalign_problem_new(model, penalty, reference, given, &out, error);
    assert_true((status >= 0) == (out != NULL));
    grpoalign_problem_free(out);
    grpoalign_model_free(model);
    grpoalign_penalty_free(penalty);
    grpoalign_reference_free(reference);
    return status;
}

static grpoalign_status use_completions(const world *with, void *given, grpoalign_error *error)
{
    grpoalign_penalty *base = NULL, *out = NULL;
    (void)with;
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_DIRECT_KL, NULL, &base, NULL));
    grpoalign_status status = grpoalign_penalty_new_per_token(base, given, &out, error);
    assert_true((status >= 0) == (out != NULL));
    grpoalign_penalty_free(out);
    grpoalign_penalty_free(base);
    return status;
}

static grpoalign_status use_gradient(const world *with, void *given, grpoalign_error *error)
{
    static const double cotangent[] = {1.0, 2.0, 4.0};
    return grpoalign_sensitivity_vjp(with->sensitivity, cotangent, 3, given, error);
}

static grpoalign_bulk one_context(const grpoalign_penalty *penalty)
{
    static const double beta[] = {0.5};
    grpoalign_bulk bulk = GRPOALIGN_BULK_INIT;
    bulk.model = GRPOALIGN_BULK_LIMIT;
    bulk.contexts = 1;
    bulk.outcomes = bulk.reward_count = 3;
    bulk.rewards = REWARDS;
    bulk.beta = beta;
    bulk.penalty = penalty;
    return bulk;
}

static grpoalign_status solve_one(void *bulk, void *columns, const void *options,
                                  grpoalign_error *error)
{
    grpoalign_columns none = GRPOALIGN_COLUMNS_INIT;
    grpoalign_penalty *penalty = NULL;
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_DIRECT_KL, NULL, &penalty, NULL));
    grpoalign_bulk one = one_context(penalty);
    if (bulk != NULL) {
        /* What the call cannot do without, in the caller's struct. */
        grpoalign_bulk filled = one;
        memcpy(&filled.struct_size, bulk, sizeof filled.struct_size);
        memcpy(bulk, &filled, offsetof(grpoalign_bulk, options));
    }
    grpoalign_status status = grpoalign_solve_bulk(
        bulk != NULL ? bulk : &one, columns != NULL ? columns : &none, options, error);
    grpoalign_penalty_free(penalty);
    return status;
}

static grpoalign_status use_bulk(const world *with, void *given, grpoalign_error *error)
{
    (void)with;
    return solve_one(given, NULL, NULL, error);
}

static grpoalign_status use_columns(const world *with, void *given, grpoalign_error *error)
{
    (void)with;
    return solve_one(NULL, given, NULL, error);
}

static grpoalign_status use_bulk_options(const world *with, void *given, grpoalign_error *error)
{
    (void)with;
    return solve_one(NULL, NULL, given, error);
}

static grpoalign_status use_report(const world *with, void *given, grpoalign_error *error)
{
    return grpoalign_solution_report(with->solution, given, error);
}

static grpoalign_status use_state(const world *with, void *given, grpoalign_error *error)
{
    return grpoalign_flow_state_at(with->flow, 0, given, error);
}

static grpoalign_status use_convention(const world *with, void *given, grpoalign_error *error)
{
    (void)with;
    return grpoalign_preset("trl-1.10", given, error);
}

static grpoalign_status use_fit(const world *with, void *given, grpoalign_error *error)
{
    static const double observed[] = {1.0, 1.0, 5.0};
    grpoalign_solution *out = NULL;
    grpoalign_status status = grpoalign_fit(with->problem, observed, 3, NULL, &out, given, error);
    assert_true((status >= 0) == (out != NULL));
    grpoalign_solution_free(out);
    return status;
}

/* Every struct with a struct_size but grpoalign_progress, which the library alone makes. `least` is
 * how much of it the call cannot do without. */
static const struct aged {
    const char *name;
    size_t size, least;
    use_fn *use;
    int filled;
} AGED[] = {
    {"reward_options", sizeof(grpoalign_reward_options), 8, use_reward, 0},
    {"preference_options", sizeof(grpoalign_preference_options), 8, use_preference, 0},
    {"reference_options", sizeof(grpoalign_reference_options), 8, use_reference, 0},
    {"penalty_options", sizeof(grpoalign_penalty_options), 8, use_penalty, 0},
    {"problem_options", sizeof(grpoalign_problem_options), 8, use_problem, 0},
    {"solve_options", sizeof(grpoalign_solve_options), 8, use_solve, 0},
    {"flow_options", sizeof(grpoalign_flow_options), 8, use_flow, 0},
    {"inverse_options", sizeof(grpoalign_inverse_options), 8, use_inverse, 0},
    {"batch_options", sizeof(grpoalign_batch_options), 8, use_batch, 0},
    {"completions", sizeof(grpoalign_completions), 16, use_completions, 0},
    {"gradient", sizeof(grpoalign_gradient), 8, use_gradient, 0},
    {"bulk", sizeof(grpoalign_bulk), offsetof(grpoalign_bulk, options), use_bulk, 0},
    {"columns", sizeof(grpoalign_columns), 8, use_columns, 0},
    {"bulk_options", sizeof(grpoalign_bulk_options), 8, use_bulk_options, 0},
    {"report", sizeof(grpoalign_report), 8, use_report, 1},
    {"flow_state", sizeof(grpoalign_flow_state), 8, use_state, 1},
    {"convention", sizeof(grpoalign_convention), 8, use_convention, 1},
    {"fit_report", sizeof(grpoalign_fit_report), 8, use_fit, 1},
};
enum { STRUCTS = sizeof AGED / sizeof *AGED, BEHIND = 64, BYTES = 4096 + BEHIND };

/* A struct of that size, zero but for its size and, for completions, their count; what lies behind
 * it is marked. */
static void *aged_struct(const struct aged *self, uint32_t size, uint32_t room)
{
    static uint64_t place[BYTES / 8 + 1];
    const int64_t three = 3;
    unsigned char *bytes = (unsigned char *)place;
    memset(bytes, 0xa5, sizeof place);
    memset(bytes, 0, room);
    memcpy(bytes, &size, sizeof size);
    if (self->use == use_completions && room >= 16) {
        memcpy(bytes + 8, &three, sizeof three);
    }
    return bytes;
}

static int untouched_behind(const void *given, size_t size)
{
    const unsigned char *bytes = given;
    for (size_t i = size; i < BYTES; i++) {
        if (bytes[i] != 0xa5) {
            return 0;
        }
    }
    return 1;
}

static uint32_t size_of(const void *given)
{
    uint32_t size;
    memcpy(&size, given, sizeof size);
    return size;
}

static void structs_of_older_callers_are_enough(void **state)
{
    (void)state;
    world with = world_new();
    for (int i = 0; i < STRUCTS; i++) {
        for (size_t size = AGED[i].least; size <= AGED[i].size; size += 8) {
            grpoalign_error error;
            void *given = aged_struct(&AGED[i], (uint32_t)size, (uint32_t)size);
            grpoalign_status status = AGED[i].use(&with, given, &error);
            if (status < 0 || size_of(given) != size || !untouched_behind(given, size)) {
                fail_msg("%s of %zu bytes: status %d, size %u, written behind: %d", AGED[i].name,
                         size, (int)status, size_of(given), !untouched_behind(given, size));
            }
        }
    }
    world_free(&with);
}

static void structs_of_newer_callers_may_ask_for_nothing_new(void **state)
{
    (void)state;
    world with = world_new();
    for (int i = 0; i < STRUCTS; i++) {
        for (size_t size = AGED[i].size + 8; size <= 4096; size += size < 256 ? 8 : 1280) {
            grpoalign_error error;
            void *given = aged_struct(&AGED[i], (uint32_t)size, (uint32_t)size);
            assert_true(AGED[i].use(&with, given, &error) >= 0);
            assert_true(untouched_behind(given, size));
            /* One that is filled says how much of it was, and the rest is zero. */
            assert_int_equal(size_of(given), AGED[i].filled ? AGED[i].size : size);
            given = aged_struct(&AGED[i], (uint32_t)size, (uint32_t)size);
            ((unsigned char *)given)[size - 1] = 1;
            grpoalign_status status = AGED[i].use(&with, given, &error);
            if (AGED[i].filled) {
                assert_true(status >= 0);
                assert_int_equal(((unsigned char *)given)[size - 1], 0);
            } else {
                assert_int_equal(status, GRPOALIGN_ERR_STRUCT_SIZE);
                assert_int_equal(error.index, size - 1);
                assert_non_null(strstr(error.message, "newer than this library"));
            }
        }
    }
    world_free(&with);
}

static void absurd_sizes_are_refused(void **state)
{
    (void)state;
    static const uint32_t SIZES[] = {0,    1,    4,          7,          12,
                                     4100, 4104, 0x7fffffff, 0xfffffff8, UINT32_MAX};
    world with = world_new();
    for (int i = 0; i < STRUCTS; i++) {
        for (size_t k = 0; k < sizeof SIZES / sizeof *SIZES; k++) {
            grpoalign_error error;
            void *given = aged_struct(&AGED[i], SIZES[k], (uint32_t)AGED[i].size);
            assert_int_equal(AGED[i].use(&with, given, &error), GRPOALIGN_ERR_STRUCT_SIZE);
            assert_int_equal(error.status, GRPOALIGN_ERR_STRUCT_SIZE);
            assert_true(error.argument > 0);
            assert_true(untouched_behind(given, AGED[i].size));
        }
    }
    world_free(&with);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_problem_outlives_its_parts_in_any_order),
        cmocka_unit_test(a_problem_gives_the_same_bits_at_every_call),
        cmocka_unit_test(threads_share_a_problem),
        cmocka_unit_test(borrowed_solutions_are_not_freed_by_mistake),
        cmocka_unit_test(a_status_above_zero_is_explained),
        cmocka_unit_test(structs_say_how_much_was_filled),
        cmocka_unit_test(structs_of_older_callers_are_enough),
        cmocka_unit_test(structs_of_newer_callers_may_ask_for_nothing_new),
        cmocka_unit_test(absurd_sizes_are_refused),
        cmocka_unit_test(initialisers_agree),
        cmocka_unit_test(what_takes_long_can_be_stopped),
        cmocka_unit_test(pointers_travel_with_their_counts),
    };
    return run_chosen(tests);
}
