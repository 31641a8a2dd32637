/* Many contexts: what they share is checked once, then threads take pieces of the list, and from
 * each piece blocks of contexts with as many outcomes go through lanes. */
#include <grpoalign/bulk.h>

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "api/handles.h"
#include "base/numeric.h"
#include "solver/lanes.h"

static const grpoalign_bulk BULK_DEFAULTS = {.struct_size = sizeof(grpoalign_bulk),
                                             .beta_count = 1};
static const grpoalign_columns COLUMNS_DEFAULTS = {.struct_size = sizeof(grpoalign_columns)};
static const grpoalign_bulk_options OPTIONS_DEFAULTS = {
    .struct_size = sizeof(grpoalign_bulk_options), .threads = 1};

void grpoalign_bulk_init(grpoalign_bulk *bulk, uint32_t size)
{
    gra_init_options(bulk, size, &BULK_DEFAULTS, sizeof BULK_DEFAULTS);
}

void grpoalign_columns_init(grpoalign_columns *columns, uint32_t size)
{
    gra_init_options(columns, size, &COLUMNS_DEFAULTS, sizeof COLUMNS_DEFAULTS);
}

void grpoalign_bulk_options_init(grpoalign_bulk_options *options, uint32_t size)
{
    gra_init_options(options, size, &OPTIONS_DEFAULTS, sizeof OPTIONS_DEFAULTS);
}

/* ---- the work ------------------------------------------------------------------------------- */

typedef struct job {
    grpoalign_bulk bulk;
    grpoalign_columns columns;
    grpoalign_bulk_options options;
    grpoalign_solve_options how; /* of the ordinary engines */
    gra_lane_rule rule;
    int has_lanes;
    atomic_int_least64_t next, done, failed; /* contexts: not taken yet, done, failed */
    atomic_int stop;                         /* MEMORY or CANCELLED, or 0 */
} job;

/* Contexts that a thread takes at a time. */
enum { PIECE = 4096 };

/* Room of one thread, kept from block to block. */
typedef struct worker {
    job *of;
    int64_t room; /* outcomes that the block has room for */
    void *memory;
    gra_lane_block block;
    int64_t *order, *bound; /* of a piece: contexts by their number of outcomes */
    pthread_t thread;
    int is_running;
} worker;

static int64_t first_of(const job *j, int64_t k)
{
    return j->bulk.offsets != NULL ? j->bulk.offsets[k] : k * j->bulk.outcomes;
}

static int64_t size_of(const job *j, int64_t k)
{
    return j->bulk.offsets != NULL ? j->bulk.offsets[k + 1] - j->bulk.offsets[k] : j->bulk.outcomes;
}

static double beta_of(const job *j, int64_t k)
{
    return j->bulk.beta[j->bulk.beta_count > 1 ? k : 0];
}

/* ---- one after the other -------------------------------------------------------------------- */

static grpoalign_status make_model(const job *j, int64_t k, grpoalign_model **model,
                                   grpoalign_error *error)
{
    const double *rewards = j->bulk.rewards + first_of(j, k);
    int64_t n = size_of(j, k);
    switch (j->bulk.model) {
    case GRPOALIGN_BULK_RANKED:
        return grpoalign_model_new_ranked(rewards, n, NULL, model, error);
    case GRPOALIGN_BULK_GROUP:
        return grpoalign_model_new_group(rewards, n, j->bulk.group_size, j->bulk.options, model,
                                         error);
    default:
        return grpoalign_model_new_limit(rewards, NULL, n, j->bulk.options, model, error);
    }
}

static grpoalign_status make_reference(const job *j, int64_t k, grpoalign_reference **reference,
                                       grpoalign_error *error)
{
    const double *values = j->bulk.reference != NULL ? j->bulk.reference + first_of(j, k) : NULL;
    int64_t n = size_of(j, k);
    if (values == NULL) {
        return grpoalign_reference_new_uniform(n, NULL, reference, error);
    }
    if (j->bulk.reference_kind == GRPOALIGN_BULK_LOGARITHMS) {
        return grpoalign_reference_new_log(values, n, NULL, reference, error);
    }
    if (j->bulk.reference_kind == GRPOALIGN_BULK_PROBABILITIES) {
        return grpoalign_reference_new(values, n, NULL, reference, error);
    }
    double total = n > 0 ? gra_total(values, n) : 0.0;
    gra_arena arena = GRA_ARENA_INIT;
    double *shares = gra_arena_doubles(&arena, n);
    grpoalign_status status = shares == NULL ? gra_fail_memory(error) : GRPOALIGN_OK;
    for (int64_t o = 0; status >= 0 && o < n; o++) {
        shares[o] = total > 0.0 ? values[o] / total : values[o];
    }
    status = status < 0 ? status : grpoalign_reference_new(shares, n, NULL, reference, error);
    gra_arena_free(&arena);
    return status;
}

#define SET(column, value)                                                                         \
    do {                                                                                           \
        if ((column) != NULL) {                                                                    \
            (column)[k] = (value);                                                                 \
        }                                                                                          \
    } while (0)

static void write_report(job *j, int64_t k, const grpoalign_report *r)
{
    const grpoalign_columns *c = &j->columns;
    SET(c->status, r->status);
    SET(c->index, -1);
    SET(c->method, r->method);
    SET(c->stable, r->stable);
    SET(c->unique, r->unique);
    SET(c->iterations, r->iterations);
    SET(c->residual, r->residual);
    SET(c->policy_error, r->policy_error);
    SET(c->normaliser, r->normaliser);
    SET(c->expected_reward, r->expected_reward);
    SET(c->expected_reward_reference, r->expected_reward_reference);
    SET(c->kl_ref_policy, r->kl_ref_policy);
    SET(c->kl_policy_ref, r->kl_policy_ref);
    SET(c->entropy, r->entropy);
}

static void write_failure(job *j, int64_t k, grpoalign_status status, int64_t index)
{
    const grpoalign_columns *c = &j->columns;
    const grpoalign_report none = {.status = status,
                                   .method = -1,
                                   .stable = -1,
                                   .unique = -1,
                                   .iterations = -1,
                                   .residual = NAN,
                                   .policy_error = NAN,
                                   .normaliser = NAN,
                                   .expected_reward = NAN,
                                   .expected_reward_reference = NAN,
                                   .kl_ref_policy = NAN,
                                   .kl_policy_ref = NAN,
                                   .entropy = NAN};
    write_report(j, k, &none);
    SET(c->index, index);
    for (int64_t o = first_of(j, k); o < first_of(j, k) + size_of(j, k); o++) {
        if (c->policy != NULL) {
            c->policy[o] = NAN;
        }
        if (c->advantage != NULL) {
            c->advantage[o] = NAN;
        }
    }
    (void)atomic_fetch_add(&j->failed, 1);
}

static grpoalign_status solve_problem(job *j, int64_t k, const grpoalign_problem *problem,
                                      grpoalign_error *error)
{
    grpoalign_solution *solution = NULL;
    int64_t n = size_of(j, k), first = first_of(j, k);
    grpoalign_status status = grpoalign_solve(problem, beta_of(j, k), &j->how, &solution, error);
    if (status >= 0) {
        write_report(j, k, &solution->report);
        if (j->columns.policy != NULL) {
            memcpy(j->columns.policy + first, solution->policy, (size_t)n * sizeof(double));
        }
        if (j->columns.advantage != NULL) {
            memcpy(j->columns.advantage + first, solution->advantage, (size_t)n * sizeof(double));
        }
    }
    grpoalign_solution_free(solution);
    return status;
}

/* Returns MEMORY or OK: everything else is the context's own. */
static grpoalign_status solve_one(job *j, int64_t k)
{
    grpoalign_model *model = NULL;
    grpoalign_reference *reference = NULL;
    grpoalign_problem *problem = NULL;
    grpoalign_error error;
    grpoalign_status status = make_model(j, k, &model, &error);
    if (status >= 0) {
        status = make_reference(j, k, &reference, &error);
    }
    if (status >= 0) {
        status = grpoalign_problem_new(model, j->bulk.penalty, reference, NULL, &problem, &error);
    }
    if (status >= 0) {
        status = solve_problem(j, k, problem, &error);
    }
    grpoalign_problem_free(problem);
    grpoalign_reference_free(reference);
    grpoalign_model_free(model);
    if (status == GRPOALIGN_ERR_MEMORY) {
        return status;
    }
    if (status < 0) {
        write_failure(j, k, status, error.index);
    }
    return GRPOALIGN_OK;
}

/* ---- in lanes ------------------------------------------------------------------------------- */

/* What lanes are given lies far from the ends of doubles; the rest has engines that know them. */
static const double LEAST_RANGE = 1e-100, LARGEST_REWARD = 1e100, LEAST_BETA = 1e-4,
                    LARGEST_BETA = 1e6, LEAST_MASS = 1e-100;

/* Loads a context into a lane; 0 where it is none for lanes, or not what it should be. Extremes are
 * found without a branch: a NaN fails the comparisons at the end. */
static int load_lane(const job *j, int64_t k, gra_lane_block *block, int lane)
{
    int64_t n = size_of(j, k), first = first_of(j, k);
    const double *rewards = j->bulk.rewards + first,
                 *values = j->bulk.reference != NULL ? j->bulk.reference + first : NULL;
    double sum = 0.0, top = rewards[0], low = rewards[0], beta = beta_of(j, k), least = 1.0;
    double any = 0.0; /* NaN once a reward is none or infinite */
    for (int64_t o = 0; o < n; o++) {
        double reward = rewards[o];
        block->reward[o * GRA_LANES + lane] = reward;
        top = reward > top ? reward : top;
        low = reward < low ? reward : low;
        any += 0.0 * reward;
    }
    for (int64_t o = 0; values != NULL && o < n; o++) {
        double mass = values[o], counted = mass == 0.0 ? 1.0 : mass;
        block->mass[o * GRA_LANES + lane] = mass;
        sum += mass;
        least = counted < least ? counted : least;
    }
    for (int64_t o = 0; values == NULL && o < n; o++) {
        block->mass[o * GRA_LANES + lane] = 1.0;
    }
    block->beta[lane] = beta;
    int sums = values == NULL ? 1
               : j->bulk.reference_kind == GRPOALIGN_BULK_COUNTS
                   ? sum > 0.0 && sum < 1e200
                   : fabs(sum - 1.0) <= 0.5 * GRA_SUM_TOLERANCE;
    int tame = any == 0.0 && least > LEAST_MASS && top < LARGEST_REWARD && low > -LARGEST_REWARD &&
               beta >= LEAST_BETA && beta <= LARGEST_BETA;
    return tame && sums && (top == low || top - low > LEAST_RANGE);
}

/* Empty lanes repeat the first. */
static void copy_lane(gra_lane_block *block, int lane)
{
    for (int64_t o = 0; o < block->outcomes; o++) {
        block->reward[o * GRA_LANES + lane] = block->reward[o * GRA_LANES];
        block->mass[o * GRA_LANES + lane] = block->mass[o * GRA_LANES];
    }
    block->beta[lane] = block->beta[0];
}

/* What a report tells beside the policy, from one lane. */
static void measure(const job *j, const gra_lane_block *block, int lane, grpoalign_report *r)
{
    gra_sum after = {0.0, 0.0}, before = {0.0, 0.0}, reverse = {0.0, 0.0}, direct = {0.0, 0.0},
            entropy = {0.0, 0.0}, mean = {0.0, 0.0};
    double residual = 0.0, beta = block->beta[lane];
    for (int64_t o = 0; o < block->outcomes; o++) {
        int64_t at = o * GRA_LANES + lane;
        double p = block->policy[at], ref = block->mass[at], l = log(p) - log(ref);
        if (!(ref > 0.0)) {
            continue;
        }
        gra_sum_add_product(&after, p, block->reward[at]);
        gra_sum_add_product(&before, ref, block->reward[at]);
        gra_sum_add_product(&mean, p, block->advantage[at]);
        gra_sum_add_product(&entropy, -p, log(p));
        gra_sum_add(&reverse, gra_reverse_kl.divergence(&gra_reverse_kl, ref, p, l));
        gra_sum_add(&direct, gra_direct_kl.divergence(&gra_direct_kl, ref, p, l));
    }
    r->normaliser = 1.0 + gra_sum_value(mean) / beta;
    for (int64_t o = 0; j->columns.residual != NULL && o < block->outcomes; o++) {
        int64_t at = o * GRA_LANES + lane;
        double off =
            block->policy[at] * (r->normaliser - block->advantage[at] / beta) - block->mass[at];
        residual = block->mass[at] > 0.0 ? fmax(residual, fabs(off)) : residual;
    }
    r->residual = residual;
    r->expected_reward = gra_sum_value(after);
    r->expected_reward_reference = gra_sum_value(before);
    r->kl_ref_policy = fmax(0.0, gra_sum_value(reverse));
    r->kl_policy_ref = fmax(0.0, gra_sum_value(direct));
    r->entropy = fmax(0.0, gra_sum_value(entropy));
}

static int is_measured(const grpoalign_columns *c)
{
    return c->residual || c->normaliser || c->expected_reward || c->expected_reward_reference ||
           c->kl_ref_policy || c->kl_policy_ref || c->entropy;
}

static void unload_lane(job *j, int64_t k, const gra_lane_block *block, int lane)
{
    int64_t n = block->outcomes, first = first_of(j, k);
    int skips = j->how.stability == GRPOALIGN_STABILITY_SKIP;
    for (int64_t o = 0; j->columns.policy != NULL && o < n; o++) {
        j->columns.policy[first + o] = block->policy[o * GRA_LANES + lane];
    }
    for (int64_t o = 0; j->columns.advantage != NULL && o < n; o++) {
        j->columns.advantage[first + o] = block->advantage[o * GRA_LANES + lane];
    }
    int32_t method = j->rule.by_rank ? GRPOALIGN_METHOD_CLOSED_FORM : GRPOALIGN_METHOD_SCALAR;
    grpoalign_report r = {.method =
                              block->iterations[lane] > 0.0 ? method : GRPOALIGN_METHOD_TRIVIAL,
                          .stable = skips ? -1 : 1,
                          .unique = 1,
                          .iterations = (int32_t)block->iterations[lane],
                          .policy_error = block->error[lane]};
    if (is_measured(&j->columns)) {
        measure(j, block, lane, &r);
    }
    write_report(j, k, &r);
}

/* Room for blocks of so many outcomes. */
static int make_room(worker *w, int64_t outcomes)
{
    size_t each;
    if (outcomes <= w->room) {
        return 1;
    }
    gra_release(w->memory);
    w->memory = NULL;
    w->room = 0;
    if (__builtin_mul_overflow((size_t)outcomes, sizeof(double) * GRA_LANES, &each) ||
        each > SIZE_MAX / 8) {
        return 0;
    }
    w->memory = gra_alloc((int64_t)(6 * each + 64), 1);
    if (w->memory == NULL) {
        return 0;
    }
    char *start = (char *)(((uintptr_t)w->memory + 63) & ~(uintptr_t)63);
    double **arrays[] = {&w->block.reward,    &w->block.mass,   &w->block.gap,
                         &w->block.deviation, &w->block.policy, &w->block.advantage};
    for (int i = 0; i < 6; i++) {
        *arrays[i] = (double *)(void *)(start + (size_t)i * each);
    }
    w->room = outcomes;
    return 1;
}

/* Up to GRA_LANES contexts with as many outcomes; those that lanes cannot do are solved alone. */
static grpoalign_status solve_block(worker *w, const int64_t *contexts, int count)
{
    job *j = w->of;
    gra_lane_block *block = &w->block;
    int64_t n = size_of(j, contexts[0]);
    int lanes = 0;
    int64_t loaded[GRA_LANES];
    if (!make_room(w, n)) {
        return GRPOALIGN_ERR_MEMORY;
    }
    block->outcomes = n;
    for (int i = 0; i < count; i++) {
        if (load_lane(j, contexts[i], block, lanes)) {
            loaded[lanes++] = contexts[i];
        } else {
            GRA_TRY(solve_one(j, contexts[i]));
        }
    }
    for (int i = lanes; lanes > 0 && i < GRA_LANES; i++) {
        copy_lane(block, i);
    }
    if (lanes > 0) {
        gra_lanes_solve(&j->rule, block);
    }
    for (int i = 0; i < lanes; i++) {
        if (block->solved[i] > 0.0 && block->error[i] <= j->how.tolerance) {
            unload_lane(j, loaded[i], block, i);
        } else {
            GRA_TRY(solve_one(j, loaded[i]));
        }
    }
    return GRPOALIGN_OK;
}

/* ---- pieces --------------------------------------------------------------------------------- */

/* More outcomes than this fill no lanes: memory would be read eight ways at once for nothing. */
enum { MOST_IN_LANES = 4096 };

/* By rank each is compared with each. */
enum { MOST_RANKED = 64 };

static int64_t most_in_lanes(const job *j)
{
    return j->rule.by_rank ? MOST_RANKED : MOST_IN_LANES;
}

/* The contexts of a piece in the order of their sizes, by counting; sizes beyond stand first. */
static int64_t sort_piece(worker *w, int64_t from, int64_t to)
{
    const job *j = w->of;
    int64_t *bound = w->bound, most = most_in_lanes(j);
    memset(bound, 0, (size_t)(most + 2) * sizeof *bound);
    for (int64_t k = from; k < to; k++) {
        int64_t n = size_of(j, k);
        bound[(n <= most ? n : 0) + 1]++;
    }
    for (int64_t n = 0; n <= most; n++) {
        bound[n + 1] += bound[n];
    }
    for (int64_t k = from; k < to; k++) {
        int64_t n = size_of(j, k);
        w->order[bound[n <= most ? n : 0]++] = k;
    }
    return bound[0]; /* those that go alone: empty ones and large ones */
}

static grpoalign_status solve_piece(worker *w, int64_t from, int64_t to)
{
    job *j = w->of;
    int64_t at = 0, count = to - from;
    if (j->has_lanes) {
        int64_t alone = sort_piece(w, from, to);
        for (; at < alone; at++) {
            GRA_TRY(solve_one(j, w->order[at]));
        }
        while (at < count) {
            int same = 1;
            while (same < GRA_LANES && at + same < count &&
                   size_of(j, w->order[at + same]) == size_of(j, w->order[at])) {
                same++;
            }
            GRA_TRY(solve_block(w, w->order + at, same));
            at += same;
        }
        return GRPOALIGN_OK;
    }
    for (int64_t k = from; k < to; k++) {
        if (atomic_load(&j->stop) != 0) {
            return GRPOALIGN_OK;
        }
        GRA_TRY(solve_one(j, k));
    }
    return GRPOALIGN_OK;
}

/* Contexts of a piece: many where lanes are fast, few where engines are not. */
static int64_t piece_of(const job *j)
{
    return j->has_lanes ? PIECE : 16;
}

static void tell(job *j)
{
    int64_t done = atomic_load(&j->done);
    grpoalign_progress state = {.struct_size = sizeof state, .iteration = (int32_t)(done / 1000)};
    state.change = 1.0 - (double)done / (double)j->bulk.contexts;
    if (j->options.progress(j->options.user, &state) != 0) {
        atomic_store(&j->stop, GRPOALIGN_ERR_CANCELLED);
    }
}

static void work(worker *w, int is_caller)
{
    job *j = w->of;
    int64_t size = piece_of(j);
    while (atomic_load(&j->stop) == 0) {
        int64_t from = atomic_fetch_add(&j->next, size), to = from + size;
        if (from >= j->bulk.contexts) {
            break;
        }
        to = to < j->bulk.contexts ? to : j->bulk.contexts;
        if (solve_piece(w, from, to) < 0) {
            atomic_store(&j->stop, GRPOALIGN_ERR_MEMORY);
        }
        (void)atomic_fetch_add(&j->done, to - from);
        if (is_caller && j->options.progress != NULL) {
            tell(j);
        }
    }
}

static void *run(void *user)
{
    work(user, 0);
    return NULL;
}

static int worker_start(worker *w, job *of)
{
    memset(w, 0, sizeof *w);
    w->of = of;
    w->order = gra_alloc(PIECE, sizeof *w->order);
    w->bound = gra_alloc(MOST_IN_LANES + 2, sizeof *w->bound);
    return w->order != NULL && w->bound != NULL;
}

static void worker_end(worker *w)
{
    gra_release(w->order);
    gra_release(w->bound);
    gra_release(w->memory);
}

/* The caller works too; a thread that cannot be had is none. */
static grpoalign_status run_job(job *j, grpoalign_error *error)
{
    int64_t pieces = (j->bulk.contexts + piece_of(j) - 1) / piece_of(j);
    int64_t count = j->options.threads < pieces ? j->options.threads : pieces;
    worker *workers = gra_alloc(count > 0 ? count : 1, sizeof *workers);
    int64_t started = 0;
    int good = workers != NULL;
    while (good && started < count) {
        good = worker_start(&workers[started++], j);
    }
    for (int64_t t = 1; good && t < count; t++) {
        workers[t].is_running = pthread_create(&workers[t].thread, NULL, run, &workers[t]) == 0;
    }
    if (good && count > 0) {
        work(&workers[0], 1);
    }
    for (int64_t t = 0; t < started; t++) {
        if (workers[t].is_running) {
            (void)pthread_join(workers[t].thread, NULL);
        }
        worker_end(&workers[t]);
    }
    gra_release(workers);
    int stop = good ? atomic_load(&j->stop) : GRPOALIGN_ERR_MEMORY;
    return stop == GRPOALIGN_ERR_MEMORY ? gra_fail_memory(error)
           : stop != 0 ? gra_fail(error, stop, 0, -1, "stopped by the progress function")
                       : GRPOALIGN_OK;
}

/* ---- what is asked -------------------------------------------------------------------------- */

static grpoalign_status check_arrays(const grpoalign_bulk *b, grpoalign_error *error)
{
    int64_t all;
    GRA_TRY(gra_check_pointer(b->rewards, "bulk.rewards", 1, error));
    GRA_TRY(gra_check_pointer(b->beta, "bulk.beta", 1, error));
    GRA_TRY(gra_check_penalty(b->penalty, 1, error));
    if (b->beta_count != 1 && b->beta_count != b->contexts) {
        return gra_fail(error, GRPOALIGN_ERR_DIMENSION, 1, -1,
                        "bulk.beta_count must be 1 or the number of contexts (got %lld)",
                        (long long)b->beta_count);
    }
    for (int64_t k = 0; b->penalty->law.form != GRA_ABSENT && k < b->beta_count; k++) {
        GRA_TRY(gra_check_beta(b->beta[k], "bulk.beta", 1, k, error));
    }
    if (b->offsets == NULL) {
        int fits = b->outcomes >= 1 && !__builtin_mul_overflow(b->contexts, b->outcomes, &all) &&
                   all == b->reward_count;
        return fits ? GRPOALIGN_OK
                    : gra_fail(error, GRPOALIGN_ERR_DIMENSION, 1, -1,
                               "bulk.reward_count must be contexts * outcomes, outcomes >= 1 (got "
                               "%lld)",
                               (long long)b->reward_count);
    }
    for (int64_t k = 0; k <= b->contexts; k++) {
        int64_t least = k > 0 ? b->offsets[k - 1] : 0;
        if (b->offsets[k] < least || b->offsets[k] > b->reward_count || (k == 0 && b->offsets[0])) {
            return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 1, k,
                            "bulk.offsets must go from 0 up to reward_count = %lld (got %lld)",
                            (long long)b->reward_count, (long long)b->offsets[k]);
        }
    }
    return GRPOALIGN_OK;
}

static grpoalign_status check_bulk(const grpoalign_bulk *b, grpoalign_error *error)
{
    if (b->model < GRPOALIGN_BULK_RANKED || b->model > GRPOALIGN_BULK_LIMIT) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 1, -1,
                        "bulk.model must be 1 (ranked), 2 (group) or 3 (limit) (got %d)",
                        (int)b->model);
    }
    if (b->reference_kind < 0 || b->reference_kind > GRPOALIGN_BULK_COUNTS) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 1, -1,
                        "bulk.reference_kind must be 0 (probabilities), 1 (logarithms) or 2 "
                        "(counts) (got %d)",
                        (int)b->reference_kind);
    }
    if (b->contexts < 0 || b->reward_count < 0) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 1, -1,
                        "bulk.contexts and bulk.reward_count must be >= 0");
    }
    if (b->contexts > 0) {
        GRA_TRY(check_arrays(b, error));
        if (b->penalty->law.completions != NULL) {
            return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 1, -1,
                            "bulk.penalty is per token: contexts have completions of their own");
        }
    }
    return GRPOALIGN_OK;
}

/* The conventions that lanes know. */
static int lanes_of(const grpoalign_bulk *b, gra_lane_rule *rule)
{
    grpoalign_reward_options o = GRPOALIGN_REWARD_OPTIONS_INIT;
    if (b->options != NULL) {
        memcpy(&o, b->options,
               b->options->struct_size < sizeof o ? b->options->struct_size : sizeof o);
    }
    if (b->contexts < 1 || b->penalty->law.kind != GRPOALIGN_PENALTY_REVERSE_KL ||
        b->reference_kind == GRPOALIGN_BULK_LOGARITHMS) {
        return 0;
    }
    if (b->model == GRPOALIGN_BULK_RANKED) {
        *rule = (gra_lane_rule){.by_rank = 1};
        return 1;
    }
    int own = o.baseline == GRPOALIGN_BASELINE_MEAN;
    int std = b->model == GRPOALIGN_BULK_LIMIT && o.scale == GRPOALIGN_SCALE_STD &&
              o.epsilon_place == GRPOALIGN_EPSILON_OUTSIDE && o.ddof == 0;
    int none = o.scale == GRPOALIGN_SCALE_NONE && o.zero_variance == 0 && o.ddof == 0;
    *rule = (gra_lane_rule){.over_std = std, .epsilon = o.epsilon, .factor = 1.0};
    if (b->model == GRPOALIGN_BULK_GROUP && own && b->group_size >= 2) {
        rule->factor = 1.0 - 1.0 / (double)b->group_size;
    }
    return o.epsilon >= 0.0 && isfinite(o.epsilon) && o.expectation == 0 &&
           (std || (none && b->group_size != 1));
}

/* Conventions that no context could have are the call's fault. */
static grpoalign_status check_objective(const job *j, grpoalign_error *error)
{
    const double rewards[2] = {0.0, 1.0};
    grpoalign_model *model = NULL;
    grpoalign_status status =
        j->bulk.model == GRPOALIGN_BULK_GROUP
            ? grpoalign_model_new_group(rewards, 2, j->bulk.group_size, j->bulk.options, &model,
                                        error)
        : j->bulk.model == GRPOALIGN_BULK_LIMIT
            ? grpoalign_model_new_limit(rewards, NULL, 2, j->bulk.options, &model, error)
            : GRPOALIGN_OK;
    grpoalign_model_free(model);
    if (status < 0 && error != NULL) {
        error->argument = 1;
    }
    return status;
}

grpoalign_status grpoalign_solve_bulk(const grpoalign_bulk *bulk, grpoalign_columns *columns,
                                      const grpoalign_bulk_options *options, grpoalign_error *error)
{
    job j = {.bulk = BULK_DEFAULTS, .columns = COLUMNS_DEFAULTS, .options = OPTIONS_DEFAULTS};
    grpoalign_solve_options how = GRPOALIGN_SOLVE_OPTIONS_INIT;
    gra_clear(error);
    GRA_TRY(gra_check_pointer(bulk, "bulk", 1, error));
    GRA_TRY(gra_check_pointer(columns, "columns", 2, error));
    GRA_TRY(gra_load_options(&j.bulk, sizeof j.bulk, bulk, 1, error));
    GRA_TRY(gra_load_options(&j.columns, sizeof j.columns, columns, 2, error));
    GRA_TRY(gra_load_options(&j.options, sizeof j.options, options, 3, error));
    j.options.threads = j.options.threads == 0 ? 1 : j.options.threads;
    if (j.options.threads < 1 || j.options.threads > 1024) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 3, -1,
                        "options.threads must lie in [1, 1024] (got %d)", (int)j.options.threads);
    }
    how.max_iterations = j.options.max_iterations;
    how.tolerance = j.options.tolerance;
    how.stability = j.options.stability;
    GRA_TRY(gra_load_solve_options(&how, -1, 3, &j.how, error));
    GRA_TRY(check_bulk(&j.bulk, error));
    GRA_TRY(check_objective(&j, error));
    j.has_lanes = lanes_of(&j.bulk, &j.rule);
    atomic_init(&j.next, 0);
    atomic_init(&j.done, 0);
    atomic_init(&j.failed, 0);
    atomic_init(&j.stop, 0);
    GRA_TRY(run_job(&j, error));
    if (columns->struct_size > offsetof(grpoalign_columns, failed)) {
        columns->failed = atomic_load(&j.failed);
    }
    return GRPOALIGN_OK;
}
