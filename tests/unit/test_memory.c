/*
 * Short memory: whichever piece of memory a call cannot have, it says so, and never gives another
 * answer; what it was to make is NULL, its input is as it was, nothing is lost, and the same call
 * answers as before once there is memory.
 *
 * The allocator below stands for base/alloc.c. It is put in its place by the linker, because this
 * program links the archive of objects that the library is made of: so the library itself has no
 * hook for tests, and no state. Every piece is one of its own, those of arenas too, so that each
 * can be refused, and an address sanitizer knows the bounds of each.
 *
 * GRPOALIGN_TEST_MEMORY=whole refuses every piece of every call; else some at the start, then some
 * of the others, in some of the calls: other ones for another GRPOALIGN_TEST_SEED.
 */
#include "check.h"

#include "base/alloc.h"

/* ---- an allocator that refuses --------------------------------------------------------------- */

struct gra_arena_chunk {
    gra_arena_chunk *previous;
    void *memory;
};

static long taken, live;     /* pieces asked for, and those that are not given back */
static long refused = -1;    /* the number of the one that is not given; -1: none */
static int refused_for_good; /* those after it are not given either */

static void *take(int64_t count, size_t size)
{
    size_t bytes;
    long number = taken++;
    if ((refused >= 0 && (number == refused || (refused_for_good && number > refused))) ||
        count < 0 || __builtin_mul_overflow((size_t)count, size, &bytes)) {
        return NULL;
    }
    void *memory = calloc(bytes > 0 ? bytes : 1, 1);
    live += memory != NULL;
    return memory;
}

static void give_back(void *memory)
{
    live -= memory != NULL;
    free(memory);
}

void *gra_alloc(int64_t count, size_t size)
{
    return take(count, size);
}

void gra_release(void *pointer)
{
    give_back(pointer);
}

void *gra_arena_take(gra_arena *arena, int64_t count, size_t size)
{
    void *memory = take(count, size);
    gra_arena_chunk *chunk = memory != NULL ? malloc(sizeof *chunk) : NULL;
    if (chunk == NULL) {
        give_back(memory);
        return NULL;
    }
    /* What an arena gives is not zero. */
    memset(memory, 0xff, (size_t)count * size);
    chunk->previous = arena->last;
    chunk->memory = memory;
    arena->last = chunk;
    return memory;
}

gra_arena_mark_t gra_arena_mark(const gra_arena *arena)
{
    return (gra_arena_mark_t){arena->last, 0};
}

void gra_arena_rewind(gra_arena *arena, gra_arena_mark_t mark)
{
    while (arena->last != mark.chunk) {
        gra_arena_chunk *chunk = arena->last;
        arena->last = chunk->previous;
        give_back(chunk->memory);
        free(chunk);
    }
}

void gra_arena_free(gra_arena *arena)
{
    gra_arena_rewind(arena, (gra_arena_mark_t){NULL, 0});
}

/* ---- contexts -------------------------------------------------------------------------------- */

enum { MOST_OUTCOMES = 8 };

/* A context, what is asked of it, and the handles that are open while it is asked. All that is not
 * a handle is input, and must not change. */
typedef struct scene {
    const char *name;
    plain_context context;
    int32_t ddof, expectation;
    int added;     /* to the model: unscaled rewards, the values */
    int per_token; /* the penalty, with weights */
    int32_t penalty, by_rule;
    grpoalign_reward_options reward_options;
    grpoalign_penalty_options penalty_options;
    grpoalign_solve_options solve_options;
    grpoalign_flow_options flow_options;
    double log_reference[MOST_OUTCOMES], policy[MOST_OUTCOMES], values[MOST_OUTCOMES];
    double betas[3], weights[2];
} scene;

typedef struct opened {
    grpoalign_model *model;
    grpoalign_penalty *penalty;
    grpoalign_reference *reference;
    grpoalign_problem *problem;
} opened;

static uint64_t digest(uint64_t hash, const void *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * UINT64_C(1099511628211);
    }
    return hash;
}

static uint64_t digest_of_input(const scene *s)
{
    const plain_context *c = &s->context;
    size_t n = (size_t)c->n, k = (size_t)c->k;
    uint64_t hash = digest(0, s, sizeof *s);
    hash = c->margins != NULL ? digest(hash, c->margins, n * n * sizeof(double)) : hash;
    hash = c->rewards != NULL ? digest(hash, c->rewards, n * sizeof(double)) : hash;
    hash = c->variances != NULL ? digest(hash, c->variances, n * sizeof(double)) : hash;
    hash = c->support != NULL ? digest(hash, c->support, k * sizeof(double)) : hash;
    size_t size = c->success != NULL ? (size_t)c->group_size * sizeof(double) : 0;
    hash = digest(digest(hash, c->success, size), c->failure, size);
    return c->distribution != NULL ? digest(hash, c->distribution, n * k * sizeof(double)) : hash;
}

/* The best level alone, if one member has it; the more others, the less the rest. */
static int32_t rule(void *user, const int64_t *counts, int64_t levels, double *advantage)
{
    (void)user;
    for (int64_t l = 0; l < levels; l++) {
        advantage[l] = l == levels - 1 ? 1.0 / (double)(counts[l] + 1) : -0.1 * (double)counts[l];
    }
    return 0;
}

static grpoalign_status new_model(const scene *s, grpoalign_model **out, grpoalign_error *error)
{
    const plain_context *c = &s->context;
    const grpoalign_reward_options *options = &s->reward_options;
    return c->margins != NULL
               ? grpoalign_model_new_pairwise(c->margins, c->n, c->n, NULL, out, error)
           : c->support != NULL
               ? grpoalign_model_new_group_random(c->support, c->k, c->distribution, c->n, c->k,
                                                  c->group_size, options, out, error)
           : c->limit
               ? grpoalign_model_new_limit(c->rewards, c->variances, c->n, options, out, error)
           : c->success != NULL
               ? grpoalign_model_new_rule_table(c->rewards, c->n, c->success, c->failure,
                                                c->group_size, NULL, out, error)
           : s->by_rule ? grpoalign_model_new_rule(c->rewards, c->n, c->group_size, rule, NULL,
                                                   NULL, out, error)
           : c->group_size > 0
               ? grpoalign_model_new_group(c->rewards, c->n, c->group_size, options, out, error)
               : grpoalign_model_new_ranked(c->rewards, c->n, NULL, out, error);
}

/* The sum of the scene's model and another. */
static grpoalign_status new_sum(const scene *s, grpoalign_model **out, grpoalign_error *error)
{
    static const double weights[] = {1.0, 0.3};
    grpoalign_reward_options unscaled = GRPOALIGN_REWARD_OPTIONS_INIT;
    grpoalign_model *parts[2] = {NULL, NULL};
    unscaled.scale = GRPOALIGN_SCALE_NONE;
    *out = NULL;
    grpoalign_status status = new_model(s, &parts[0], error);
    if (status >= 0) {
        status =
            grpoalign_model_new_limit(s->values, NULL, s->context.n, &unscaled, &parts[1], error);
    }
    if (status >= 0) {
        status =
            grpoalign_model_new_sum((const grpoalign_model *const *)parts, weights, 2, out, error);
    }
    grpoalign_model_free(parts[0]);
    grpoalign_model_free(parts[1]);
    return status;
}

static grpoalign_status new_any_model(const scene *s, grpoalign_model **out, grpoalign_error *error)
{
    return s->added ? new_sum(s, out, error) : new_model(s, out, error);
}

static grpoalign_status new_base(const scene *s, grpoalign_penalty **out, grpoalign_error *error)
{
    static const double coefficients[] = {0.4, 0.6};
    grpoalign_penalty *parts[2] = {NULL, NULL};
    if (s->penalty != GRPOALIGN_PENALTY_SUM) {
        return grpoalign_penalty_new(s->penalty, &s->penalty_options, out, error);
    }
    *out = NULL;
    grpoalign_status status =
        grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &parts[0], error);
    if (status >= 0) {
        status = grpoalign_penalty_new(GRPOALIGN_PENALTY_DIRECT_KL, NULL, &parts[1], error);
    }
    if (status >= 0) {
        status = grpoalign_penalty_new_sum((const grpoalign_penalty *const *)parts, coefficients, 2,
                                           out, error);
    }
    grpoalign_penalty_free(parts[0]);
    grpoalign_penalty_free(parts[1]);
    return status;
}

static grpoalign_status new_penalty(const scene *s, grpoalign_penalty **out, grpoalign_error *error)
{
    static const int64_t offsets[] = {0, 1, 3, 5, 6}, tokens[] = {0, 0, 1, 1, 0, 1};
    static const double weights[] = {0.5, 1.0, 0.25, 0.5};
    grpoalign_penalty *base = NULL;
    grpoalign_completions completions = GRPOALIGN_COMPLETIONS_INIT;
    *out = NULL;
    grpoalign_status status = new_base(s, s->per_token ? &base : out, error);
    if (status < 0 || !s->per_token) {
        return status;
    }
    completions.count = 4;
    completions.offsets = offsets;
    completions.tokens = tokens;
    completions.token_count = 6;
    completions.weights = weights;
    status = grpoalign_penalty_new_per_token(base, &completions, out, error);
    grpoalign_penalty_free(base);
    return status;
}

/* The handles; 0 where the library has no method for them together. */
static int open_scene(const scene *s, opened *h)
{
    CHECK_OK(new_any_model(s, &h->model, NULL));
    grpoalign_status made = new_penalty(s, &h->penalty, NULL);
    if (made == GRPOALIGN_ERR_UNSUPPORTED) { /* per token */
        CHECK_OK(new_base(s, &h->penalty, NULL));
        return 0;
    }
    CHECK_OK(made);
    CHECK_OK(
        grpoalign_reference_new_log(s->log_reference, s->context.n, NULL, &h->reference, NULL));
    grpoalign_status status =
        grpoalign_problem_new(h->model, h->penalty, h->reference, NULL, &h->problem, NULL);
    assert_true(status == GRPOALIGN_OK || status == GRPOALIGN_ERR_UNSUPPORTED);
    return status == GRPOALIGN_OK;
}

static void close_scene(opened *h)
{
    grpoalign_problem_free(h->problem);
    grpoalign_reference_free(h->reference);
    grpoalign_penalty_free(h->penalty);
    grpoalign_model_free(h->model);
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* What a call gave. */
typedef struct given {
    grpoalign_status status;
    grpoalign_error error;
    void *made; /* a handle, or NULL */
    double numbers[MOST_OUTCOMES * MOST_OUTCOMES + 1];
    uint64_t digest; /* of all that the handle tells, and the numbers */
} given;

/* Where nothing may be written, this stays. */
static const double UNTOUCHED = 0x1.23456789abcdep+77;
static char somewhere; /* *out before a call */

static void add_solution(given *out, const grpoalign_solution *solution)
{
    double numbers[MOST_OUTCOMES];
    int64_t n = grpoalign_solution_outcomes(solution);
    grpoalign_report report = GRPOALIGN_REPORT_INIT;
    size_t bytes = (size_t)n * sizeof *numbers;
    CHECK_OK(grpoalign_solution_policy(solution, numbers, n, NULL));
    out->digest = digest(out->digest, numbers, bytes);
    CHECK_OK(grpoalign_solution_log_policy(solution, numbers, n, NULL));
    out->digest = digest(out->digest, numbers, bytes);
    CHECK_OK(grpoalign_solution_advantage(solution, numbers, n, NULL));
    out->digest = digest(out->digest, numbers, bytes);
    CHECK_OK(grpoalign_solution_report(solution, &report, NULL));
    out->digest = digest(out->digest, &report, sizeof report);
}

static void read_solution(given *out)
{
    add_solution(out, out->made);
    grpoalign_solution_free(out->made);
}

static void read_points(given *out)
{
    int64_t count = grpoalign_points_count(out->made);
    int64_t of_reference = grpoalign_points_from_reference(out->made);
    int32_t complete = grpoalign_points_complete(out->made);
    out->digest = digest(out->digest, &of_reference, sizeof of_reference);
    out->digest = digest(out->digest, &complete, sizeof complete);
    for (int64_t k = 0; k < count; k++) {
        add_solution(out, grpoalign_points_solution(out->made, k));
    }
    grpoalign_points_free(out->made);
}

static void read_flow(given *out)
{
    int64_t count = grpoalign_flow_count(out->made);
    double policy[MOST_OUTCOMES];
    const grpoalign_solution *end = grpoalign_flow_end(out->made);
    for (int64_t k = 0; k < count; k++) {
        grpoalign_flow_state state = GRPOALIGN_FLOW_STATE_INIT;
        int64_t n = end != NULL ? grpoalign_solution_outcomes(end) : 0;
        CHECK_OK(grpoalign_flow_state_at(out->made, k, &state, NULL));
        out->digest = digest(out->digest, &state, sizeof state);
        if (n > 0) {
            CHECK_OK(grpoalign_flow_policy_at(out->made, k, policy, n, NULL));
            out->digest = digest(out->digest, policy, (size_t)n * sizeof *policy);
        }
    }
    if (end != NULL) {
        add_solution(out, end);
    }
    grpoalign_flow_free(out->made);
}

#define FREES(kind)                                                                                \
    static void read_##kind(given *out)                                                            \
    {                                                                                              \
        grpoalign_##kind##_free(out->made);                                                        \
    }
FREES(model)
FREES(reference)
FREES(penalty)
FREES(problem)

#define HANDLE_CALL(name, type, call)                                                              \
    static void name(const scene *s, const opened *h, given *out)                                  \
    {                                                                                              \
        type *made = (type *)(void *)&somewhere;                                                   \
        grpoalign_error *error = &out->error;                                                      \
        (void)s;                                                                                   \
        (void)h;                                                                                   \
        out->status = call;                                                                        \
        out->made = made;                                                                          \
    }

#define N s->context.n
HANDLE_CALL(make_model_, grpoalign_model, new_any_model(s, &made, error))
HANDLE_CALL(make_reference, grpoalign_reference,
            grpoalign_reference_new(s->policy, N, NULL, &made, error))
HANDLE_CALL(make_reference_log, grpoalign_reference,
            grpoalign_reference_new_log(s->log_reference, N, NULL, &made, error))
HANDLE_CALL(make_reference_uniform, grpoalign_reference,
            grpoalign_reference_new_uniform(N, NULL, &made, error))
HANDLE_CALL(make_penalty, grpoalign_penalty, new_penalty(s, &made, error))
HANDLE_CALL(make_problem, grpoalign_problem,
            grpoalign_problem_new(h->model, h->penalty, h->reference, NULL, &made, error))
HANDLE_CALL(solve, grpoalign_solution,
            grpoalign_solve(h->problem, s->betas[2], &s->solve_options, &made, error))
HANDLE_CALL(solve_high, grpoalign_solution,
            grpoalign_solve(h->problem, 20.0 * s->betas[0], NULL, &made, error))
HANDLE_CALL(points, grpoalign_points,
            grpoalign_points_new(h->problem, s->betas[2], &s->solve_options, &made, error))
HANDLE_CALL(folds, grpoalign_points,
            grpoalign_points_new_folds(h->problem, 0.4, 0.9, &s->solve_options, &made, error))
HANDLE_CALL(curve, grpoalign_points,
            grpoalign_points_new_curve(h->problem, s->betas[2], s->betas[1], 0.2, &s->solve_options,
                                       &made, error))
HANDLE_CALL(path, grpoalign_points,
            grpoalign_points_new_path(h->problem, s->betas, 3, &s->solve_options, &made, error))
HANDLE_CALL(flow, grpoalign_flow,
            grpoalign_flow_new(h->problem, s->betas[2], &s->flow_options, &made, error))

/* A solution from a start that the caller gives. */
static void solve_from(const scene *s, const opened *h, given *out)
{
    grpoalign_solution *made = (grpoalign_solution *)(void *)&somewhere;
    grpoalign_solve_options options = s->solve_options;
    options.start = s->policy;
    options.start_count = s->context.n;
    out->status = grpoalign_solve(h->problem, s->betas[2], &options, &made, &out->error);
    out->made = made;
}

static void flow_from(const scene *s, const opened *h, given *out)
{
    grpoalign_flow *made = (grpoalign_flow *)(void *)&somewhere;
    grpoalign_flow_options options = s->flow_options;
    options.start = s->policy;
    options.start_count = s->context.n;
    out->status = grpoalign_flow_new(h->problem, s->betas[2], &options, &made, &out->error);
    out->made = made;
}

static void batch(const scene *s, const opened *h, given *out)
{
    const grpoalign_problem *problems[] = {h->problem, h->problem};
    grpoalign_points *made = (grpoalign_points *)(void *)&somewhere;
    grpoalign_batch_options options = GRPOALIGN_BATCH_OPTIONS_INIT;
    options.weights = s->weights;
    options.weight_count = 2;
    options.epsilon = 1e-3;
    double std = UNTOUCHED;
    out->status = grpoalign_points_new_batch(problems, 2, s->betas[1], &options, NULL, &made, &std,
                                             &out->error);
    if (out->status >= 0) {
        out->numbers[0] = std;
    }
    out->made = made;
}

/* All derivatives of a solution, with what solves before. */
static void sensitivity(const scene *s, const opened *h, given *out)
{
    grpoalign_solution *solution = NULL;
    grpoalign_sensitivity *made = NULL;
    grpoalign_gradient gradient = GRPOALIGN_GRADIENT_INIT;
    double matrix[MOST_OUTCOMES * MOST_OUTCOMES], vector[MOST_OUTCOMES], pulled[MOST_OUTCOMES];
    gradient.log_reference = pulled;
    out->status = grpoalign_solve(h->problem, s->betas[1], NULL, &solution, &out->error);
    if (out->status >= 0) {
        out->status = grpoalign_sensitivity_new(h->problem, solution, &made, &out->error);
    }
    if (out->status >= 0) {
        out->status =
            grpoalign_sensitivity_vector(made, GRPOALIGN_INPUT_BETA, 0, vector, N, &out->error);
    }
    if (out->status >= 0) {
        out->status = grpoalign_sensitivity_matrix(made, GRPOALIGN_INPUT_LOG_REFERENCE, matrix, N,
                                                   N, &out->error);
    }
    if (out->status >= 0) {
        out->status = grpoalign_sensitivity_vjp(made, s->values, N, &gradient, &out->error);
    }
    if (out->status >= 0) {
        memcpy(out->numbers, matrix, (size_t)(N * N) * sizeof *matrix);
        out->status =
            grpoalign_sensitivity_matrix(made, GRPOALIGN_INPUT_REWARDS, matrix, N, N, &out->error);
        if (out->status == GRPOALIGN_ERR_MEMORY) {
            for (int64_t i = 0; i < N * N; i++) {
                out->numbers[i] = UNTOUCHED;
            }
        }
    }
    grpoalign_sensitivity_free(made);
    grpoalign_solution_free(solution);
}

static void critical_beta(const scene *s, const opened *h, given *out)
{
    out->status = grpoalign_critical_beta(h->problem, &s->solve_options, out->numbers, &out->error);
}

/* The range of an inverse question: short, because each beta is a solve. */
static grpoalign_inverse_options inverse_options(const scene *s)
{
    grpoalign_inverse_options options = GRPOALIGN_INVERSE_OPTIONS_INIT;
    options.beta_low = 0.9 * s->betas[1];
    options.beta_high = 1.2 * s->betas[1];
    options.max_iterations = s->solve_options.max_iterations;
    return options;
}

static void tune(const scene *s, const opened *h, given *out)
{
    grpoalign_solution *made = (grpoalign_solution *)(void *)&somewhere;
    const grpoalign_inverse_options options = inverse_options(s);
    out->status = grpoalign_tune(h->problem, GRPOALIGN_QUANTITY_METRIC, s->values, N, 0.0, &options,
                                 &made, &out->error);
    out->made = made;
}

static void fit(const scene *s, const opened *h, given *out)
{
    grpoalign_solution *made = (grpoalign_solution *)(void *)&somewhere;
    grpoalign_fit_report found = GRPOALIGN_FIT_REPORT_INIT;
    const grpoalign_inverse_options options = inverse_options(s);
    out->status = grpoalign_fit(h->problem, s->policy, N, &options, &made, &found, &out->error);
    out->made = made;
    if (found.observations > 0.0) {
        out->numbers[0] = found.beta;
        out->numbers[1] = found.log_likelihood;
    }
}

static void implied(const scene *s, const opened *h, given *out)
{
    out->status = grpoalign_penalty_implied(h->penalty, h->reference, s->policy, N, s->betas[1],
                                            out->numbers, &out->error);
}

static void advantage(const scene *s, const opened *h, given *out)
{
    out->status = grpoalign_model_advantage(h->model, s->policy, N, out->numbers, &out->error);
}

static void jacobian(const scene *s, const opened *h, given *out)
{
    out->status = grpoalign_model_jacobian(h->model, s->policy, N, out->numbers, N, &out->error);
}

static void respond(const scene *s, const opened *h, given *out)
{
    out->status = grpoalign_penalty_respond(h->penalty, h->reference, s->betas[1], s->values, N,
                                            out->numbers, out->numbers + N, &out->error);
}

static void divergence(const scene *s, const opened *h, given *out)
{
    out->status = grpoalign_penalty_divergence(h->penalty, h->reference, s->policy, N, out->numbers,
                                               &out->error);
}

static const struct {
    const char *name;
    void (*ask)(const scene *s, const opened *h, given *out);
    void (*read)(given *out); /* what it made, and frees it; NULL where it makes nothing */
    int needs_problem;
} CALLS[] = {
    {"model_new", make_model_, read_model, 0},
    {"reference_new", make_reference, read_reference, 0},
    {"reference_new_log", make_reference_log, read_reference, 0},
    {"reference_new_uniform", make_reference_uniform, read_reference, 0},
    {"penalty_new", make_penalty, read_penalty, 0},
    {"problem_new", make_problem, read_problem, 0},
    {"advantage", advantage, NULL, 0},
    {"jacobian", jacobian, NULL, 0},
    {"respond", respond, NULL, 0},
    {"divergence", divergence, NULL, 0},
    {"solve", solve, read_solution, 1},
    {"solve, large beta", solve_high, read_solution, 1},
    {"solve from a start", solve_from, read_solution, 1},
    {"points", points, read_points, 1},
    {"folds", folds, read_points, 1},
    {"curve", curve, read_points, 1},
    {"path", path, read_points, 1},
    {"flow", flow, read_flow, 1},
    {"flow from a start", flow_from, read_flow, 1},
    {"batch", batch, read_points, 1},
    {"critical_beta", critical_beta, NULL, 1},
    {"sensitivity", sensitivity, NULL, 1},
    {"tune", tune, read_solution, 1},
    {"fit", fit, read_solution, 1},
    {"implied", implied, NULL, 0},
};
enum { CALL_COUNT = sizeof CALLS / sizeof *CALLS };

/* Calls, with piece `k` refused (-1: none) and for good the later ones; frees what was made. */
static given call(const scene *s, const opened *h, int which, long k, int for_good)
{
    given out;
    memset(&out, 0, sizeof out);
    for (size_t i = 0; i < sizeof out.numbers / sizeof *out.numbers; i++) {
        out.numbers[i] = UNTOUCHED;
    }
    taken = 0;
    refused = k;
    refused_for_good = for_good;
    CALLS[which].ask(s, h, &out);
    refused = -1;
    if (out.status >= 0 && CALLS[which].read != NULL) {
        CALLS[which].read(&out);
    }
    out.digest = digest(out.digest, out.numbers, sizeof out.numbers);
    return out;
}

/* ---- refusing -------------------------------------------------------------------------------- */

static int is_whole(void)
{
    const char *asked = getenv("GRPOALIGN_TEST_MEMORY");
    return asked != NULL && strcmp(asked, "whole") == 0;
}

static int wrote(const given *out)
{
    for (size_t i = 0; i < sizeof out->numbers / sizeof *out->numbers; i++) {
        if (out->numbers[i] != UNTOUCHED) {
            return 1;
        }
    }
    return 0;
}

/* What is wrong with an answer where a piece was refused; NULL when nothing is. */
static const char *wrong_with(const given *now, long live_before)
{
    return now->status != GRPOALIGN_ERR_MEMORY         ? "its status is not MEMORY"
           : now->error.status != GRPOALIGN_ERR_MEMORY ? "the error record does not say so"
           : now->error.message[0] == '\0'             ? "it has no message"
           : now->made != NULL                         ? "what it was to make is not NULL"
           : wrote(now)                                ? "it has written numbers"
           : live != live_before                       ? "a piece is not given back"
                                                       : NULL;
}

/* Refuses one piece after the other of a call; returns how many. */
static long sweep(const scene *s, const opened *h, int which, randomness *chance)
{
    enum { FIRST = 8, SPREAD = 8 };
    long before = live, done = 0;
    uint64_t input = digest_of_input(s);
    given plain = call(s, h, which, -1, 0);
    long all = taken, stride = is_whole() ? 1 : 1 + all / (SPREAD * test_scale());
    if (live != before) {
        fail_msg("%s, %s, penalty %s: %ld pieces are not given back", CALLS[which].name, s->name,
                 grpoalign_penalty_name(s->penalty), live - before);
    }
    for (long k = 0; k < all; k += k < FIRST ? 1 : 1 + random_below(chance, 2 * stride - 1)) {
        for (int for_good = 0; for_good < 2; for_good++) {
            if (!is_whole() && for_good != (k & 1)) {
                continue;
            }
            given now = call(s, h, which, k, for_good);
            const char *wrong = wrong_with(&now, before);
            done++;
            if (wrong != NULL || digest_of_input(s) != input) {
                fail_msg("%s, %s, penalty %s, piece %ld of %ld%s: %s (status %d, and %d where none "
                         "is refused)",
                         CALLS[which].name, s->name, grpoalign_penalty_name(s->penalty), k, all,
                         for_good ? " and all after it" : "",
                         wrong != NULL ? wrong : "the input has changed", (int)now.status,
                         (int)plain.status);
            }
        }
    }
    given again = call(s, h, which, -1, 0);
    if (again.status != plain.status || again.digest != plain.digest || taken != all ||
        live != before) {
        fail_msg("%s, %s, penalty %s: another answer afterwards", CALLS[which].name, s->name,
                 grpoalign_penalty_name(s->penalty));
    }
    return done;
}

/* ---- the scenes ------------------------------------------------------------------------------ */

static const double REWARDS[] = {0.0, 1.0, 0.5, 0.0}, PASSES[] = {0.0, 1.0, 1.0, 0.0};
static const double VARIANCES[] = {0.2, 0.1, 0.0, 0.3};
static const double MARGINS[] = {0.0, 0.3,  -0.8, 0.1, -0.3, 0.0, 0.6,  -0.2,
                                 0.8, -0.6, 0.0,  0.4, -0.1, 0.2, -0.4, 0.0};
/* Two blocks: the first three beat the others, and each other in a circle. */
static const double CIRCLE[] = {0.0, 0.5, -0.5, 1.0,  1.0,  -0.5, 0.0,  0.5,  1.0,
                                1.0, 0.5, -0.5, 0.0,  1.0,  1.0,  -1.0, -1.0, -1.0,
                                0.0, 0.2, -1.0, -1.0, -1.0, -0.2, 0.0};
/* Two policies attract. */
static const double SUCCESS[] = {0.2, -0.5, 1.5, 0.4}, FAILURE[] = {-0.1, 0.3, -0.6, 0.0};
static const double SUPPORT[] = {0.0, 0.5, 1.0};
static const double DISTRIBUTION[] = {0.6, 0.3, 0.1, 0.1, 0.2, 0.7, 0.3, 0.4, 0.3, 0.5, 0.5, 0.0};

/* clang-format off */
static const scene SCENES[] = {
    {.name = "margins", .context = {.n = 4, .margins = MARGINS}},
    {.name = "margins in a circle", .context = {.n = 5, .margins = CIRCLE}},
    {.name = "ranked", .context = {.n = 4, .rewards = REWARDS}},
    {.name = "groups of 6",
     .context = {.n = 4, .rewards = REWARDS, .group_size = 6, .epsilon = 1e-4}},
    {.name = "two levels, ddof 1",
     .context = {.n = 4, .rewards = PASSES, .group_size = 8, .ddof = 1}},
    {.name = "large groups", .context = {.n = 4, .rewards = REWARDS, .group_size = 3000}},
    {.name = "quadrature", .context = {.n = 4, .rewards = REWARDS, .group_size = 6},
     .expectation = GRPOALIGN_EXPECTATION_QUADRATURE},
    {.name = "unscaled", .context = {.n = 4, .rewards = REWARDS, .group_size = 6, .unscaled = 1}},
    {.name = "std of others",
     .context = {.n = 4, .rewards = REWARDS, .group_size = 6, .over_others = 1,
                 .leave_one_out = 1}},
    {.name = "mean", .context = {.n = 4, .rewards = REWARDS, .group_size = 6, .over_mean = 1}},
    {.name = "leave one out, epsilon inside",
     .context = {.n = 4, .rewards = REWARDS, .group_size = 4, .leave_one_out = 1, .inside = 1,
                 .epsilon = 1e-2}},
    {.name = "filtered", .context = {.n = 4, .rewards = REWARDS, .group_size = 6, .filtered = 1}},
    {.name = "filtered, two levels",
     .context = {.n = 4, .rewards = PASSES, .group_size = 6, .filtered = 1}},
    {.name = "limit", .context = {.n = 4, .rewards = REWARDS, .limit = 1, .epsilon = 1e-4}},
    {.name = "limit with variances",
     .context = {.n = 4, .rewards = REWARDS, .variances = VARIANCES, .limit = 1}},
    {.name = "random rewards",
     .context = {.n = 4, .support = SUPPORT, .distribution = DISTRIBUTION, .k = 3,
                 .group_size = 5}},
    {.name = "a sum of groups and rewards", .added = 1,
     .context = {.n = 4, .rewards = REWARDS, .group_size = 4, .epsilon = 1e-3}},
    {.name = "a sum of margins and rewards", .added = 1, .context = {.n = 4, .margins = MARGINS}},
    {.name = "tokens", .per_token = 1,
     .context = {.n = 4, .rewards = REWARDS, .group_size = 4, .epsilon = 1e-3}},
    {.name = "a table", .context = {.n = 4, .rewards = PASSES, .group_size = 4, .success = SUCCESS,
                                    .failure = FAILURE}},
    {.name = "a rule", .context = {.n = 4, .rewards = REWARDS, .group_size = 4}, .by_rule = 1},
};
/* clang-format on */
enum { SCENE_COUNT = sizeof SCENES / sizeof *SCENES };

/* A scene with all that is asked of it. */
static scene complete(int which, int32_t penalty)
{
    static const double log_reference[MOST_OUTCOMES] = {-1.0, -2.0, -0.7, -1.5, -1.2};
    static const double betas[] = {2.0, 0.7, 0.5};
    scene s = SCENES[which];
    const plain_context *c = &s.context;
    s.penalty = penalty;
    grpoalign_reward_options_init(&s.reward_options, sizeof s.reward_options);
    grpoalign_penalty_options_init(&s.penalty_options, sizeof s.penalty_options);
    grpoalign_solve_options_init(&s.solve_options, sizeof s.solve_options);
    grpoalign_flow_options_init(&s.flow_options, sizeof s.flow_options);
    s.reward_options.scale = c->unscaled      ? GRPOALIGN_SCALE_NONE
                             : c->over_others ? GRPOALIGN_SCALE_STD_OF_OTHERS
                             : c->over_mean   ? GRPOALIGN_SCALE_MEAN
                                              : GRPOALIGN_SCALE_STD;
    s.reward_options.baseline =
        c->leave_one_out ? GRPOALIGN_BASELINE_LEAVE_ONE_OUT : GRPOALIGN_BASELINE_MEAN;
    s.reward_options.epsilon_place =
        c->inside ? GRPOALIGN_EPSILON_INSIDE : GRPOALIGN_EPSILON_OUTSIDE;
    s.reward_options.zero_variance =
        c->filtered ? GRPOALIGN_ZERO_VARIANCE_DROP : GRPOALIGN_ZERO_VARIANCE_KEEP;
    s.reward_options.ddof = c->ddof;
    s.reward_options.epsilon = c->epsilon;
    s.reward_options.expectation = s.expectation;
    s.penalty_options.alpha = penalty == GRPOALIGN_PENALTY_ALPHA ? 0.5 : 0.0;
    s.solve_options.stability = GRPOALIGN_STABILITY_SPECTRUM;
    s.flow_options.max_steps = 40;
    memcpy(s.log_reference, log_reference, sizeof log_reference);
    memcpy(s.betas, betas, sizeof betas);
    for (int64_t o = 0; o < c->n; o++) {
        s.policy[o] = 2.0 * (double)(o + 1) / (double)(c->n * (c->n + 1));
        s.values[o] = sin((double)(3 * o + 1));
    }
    s.weights[0] = 1.0;
    s.weights[1] = 2.5;
    return s;
}

/* Whether a call is swept. The quick test asks all that is cheap and every plain solve, and each of
 * the others in each scene under one penalty, by the seed. */
static int is_swept(int which, int scene_number, int32_t penalty, int64_t turn)
{
    enum { PENALTIES = 12 };
    return is_whole() || !CALLS[which].needs_problem || CALLS[which].ask == solve ||
           (which + scene_number + penalty + turn) % PENALTIES == 0;
}

static void check_penalty(int32_t penalty)
{
    randomness turns = random_start(7000);
    int64_t turn = random_below(&turns, 1000);
    randomness chance = random_start((uint64_t)(7000 + penalty));
    long done = 0;
    for (int c = 0; c < SCENE_COUNT; c++) {
        scene s = complete(c, penalty);
        opened h = {NULL, NULL, NULL, NULL};
        long before = live;
        int solvable = open_scene(&s, &h);
        for (int which = 0; which < CALL_COUNT; which++) {
            if ((solvable || !CALLS[which].needs_problem) && is_swept(which, c, penalty, turn)) {
                done += sweep(&s, &h, which, &chance);
            }
        }
        close_scene(&h);
        assert_int_equal(live, before);
    }
    assert_true(done > 500);
    print_message("# %ld pieces refused\n", done);
}

#define FOR_PENALTY(name, code)                                                                    \
    static void refused_under_##name(void **state)                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        check_penalty(GRPOALIGN_PENALTY_##code);                                                   \
    }
FOR_PENALTY(reverse_kl, REVERSE_KL)
FOR_PENALTY(direct_kl, DIRECT_KL)
FOR_PENALTY(none, NONE)
FOR_PENALTY(kl_in_reward, KL_IN_REWARD)
FOR_PENALTY(total_variation, TOTAL_VARIATION)
FOR_PENALTY(squared_log_ratio, SQUARED_LOG_RATIO)
FOR_PENALTY(chi_squared, CHI_SQUARED)
FOR_PENALTY(jensen_shannon, JENSEN_SHANNON)
FOR_PENALTY(alpha, ALPHA)
FOR_PENALTY(reverse_kl_clamped, REVERSE_KL_CLAMPED)
FOR_PENALTY(direct_kl_clamped, DIRECT_KL_CLAMPED)
FOR_PENALTY(sum, SUM)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_under_reverse_kl),
        cmocka_unit_test(refused_under_direct_kl),
        cmocka_unit_test(refused_under_none),
        cmocka_unit_test(refused_under_kl_in_reward),
        cmocka_unit_test(refused_under_total_variation),
        cmocka_unit_test(refused_under_squared_log_ratio),
        cmocka_unit_test(refused_under_chi_squared),
        cmocka_unit_test(refused_under_jensen_shannon),
        cmocka_unit_test(refused_under_alpha),
        cmocka_unit_test(refused_under_reverse_kl_clamped),
        cmocka_unit_test(refused_under_direct_kl_clamped),
        cmocka_unit_test(refused_under_sum),
    };
    return run_chosen(tests);
}
