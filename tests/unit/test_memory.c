/*
 * Short memory: whichever piece of memory a call cannot have, it says so, and never gives another
 * answer. The allocator below stands for base/alloc.c: every piece is one of its own, so that each
 * can be refused, and an address sanitizer knows the bounds of each.
 */
#include "check.h"

#include "base/alloc.h"

/* ---- an allocator that fails once ------------------------------------------------------------ */

struct gra_arena_chunk {
    gra_arena_chunk *previous;
    void *memory;
};

static long taken, refused = -1; /* pieces so far, and the number of the one that is not given */

static void *take(int64_t count, size_t size)
{
    size_t bytes;
    if (taken++ == refused || count < 0 || __builtin_mul_overflow((size_t)count, size, &bytes)) {
        return NULL;
    }
    return calloc(bytes > 0 ? bytes : 1, 1);
}

void *gra_alloc(int64_t count, size_t size)
{
    return take(count, size);
}

void gra_release(void *pointer)
{
    free(pointer);
}

void *gra_arena_take(gra_arena *arena, int64_t count, size_t size)
{
    void *memory = take(count, size);
    gra_arena_chunk *chunk = memory != NULL ? malloc(sizeof *chunk) : NULL;
    if (chunk == NULL) {
        free(memory);
        return NULL;
    }
    /* What an arena gives is not zero. */
    memset(memory, 0xff, (size_t)count * size);
    chunk->previous = arena->last;
    chunk->memory = memory;
    arena->last = chunk;
    return memory;
}

double *gra_arena_doubles(gra_arena *arena, int64_t count)
{
    return gra_arena_take(arena, count, sizeof(double));
}

double *gra_arena_pick(gra_arena *arena, const double *from, const int64_t *at, int64_t count)
{
    double *out = gra_arena_doubles(arena, count);
    for (int64_t i = 0; out != NULL && i < count; i++) {
        out[i] = from[at[i]];
    }
    return out;
}

double *gra_arena_rows(gra_arena *arena, const double *from, int64_t width, const int64_t *at,
                       int64_t count)
{
    double *out = gra_arena_doubles(arena, count * width);
    for (int64_t i = 0; out != NULL && i < count; i++) {
        for (int64_t j = 0; j < width; j++) {
            out[i * width + j] = from != NULL ? from[at[i] * width + j] : (double)(at[i] == j);
        }
    }
    return out;
}

void *gra_arena_grow(gra_arena *arena, void *items, int64_t count, int64_t *capacity, size_t size)
{
    if (count < *capacity) {
        return items;
    }
    int64_t room = 2 * *capacity + 8;
    void *grown = gra_arena_take(arena, room, size);
    if (grown != NULL) {
        if (count > 0) {
            memcpy(grown, items, (size_t)count * size);
        }
        *capacity = room;
    }
    return grown;
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
        free(chunk->memory);
        free(chunk);
    }
}

void gra_arena_free(gra_arena *arena)
{
    gra_arena_rewind(arena, (gra_arena_mark_t){NULL, 0});
}

/* ---- calls ----------------------------------------------------------------------------------- */

enum { OUTCOMES = 4 };
enum { SOLVE, POINTS, FOLDS, CURVE, PATH, FLOW, CRITICAL, CALLS };
static const char *const NAMES[] = {"solve", "points", "folds",   "curve",
                                    "path",  "flow",   "critical"};

/* What a call gave: its status, and one number from all its policies. */
typedef struct given {
    grpoalign_status status;
    double policies;
} given;

static void add(given *self, const grpoalign_solution *solution)
{
    double policy[OUTCOMES];
    CHECK_OK(grpoalign_solution_policy(solution, policy, OUTCOMES, NULL));
    for (int64_t i = 0; i < OUTCOMES; i++) {
        self->policies += (double)(i + 1) * policy[i];
    }
}

static given call(const handles *h, int what)
{
    const double betas[] = {2.0, 0.7, 0.5};
    given out = {.policies = 0.0};
    grpoalign_solution *solution = NULL;
    grpoalign_points *points = NULL;
    grpoalign_flow *flow = NULL;
    grpoalign_solve_options options;
    grpoalign_flow_options limits;
    grpoalign_solve_options_init(&options, sizeof options);
    grpoalign_flow_options_init(&limits, sizeof limits);
    options.stability = GRPOALIGN_STABILITY_SPECTRUM;
    limits.max_steps = 60;
    const grpoalign_model *m = h->model;
    const grpoalign_penalty *p = h->penalty;
    const grpoalign_reference *r = h->reference;
    switch (what) {
    case SOLVE:
        out.status = solve_parts(m, p, r, 0.5, &options, &solution, NULL);
        break;
    case POINTS:
        out.status = points_of_parts(m, p, r, 0.5, &options, &points, NULL);
        break;
    case FOLDS:
        out.status = folds_of_parts(m, p, r, 0.4, 0.9, &options, &points, NULL);
        break;
    case CURVE:
        out.status = curve_of_parts(m, p, r, 0.5, 0.7, 0.2, &options, &points, NULL);
        break;
    case PATH:
        out.status = path_of_parts(m, p, r, betas, 3, &options, &points, NULL);
        break;
    case FLOW:
        out.status = flow_of_parts(m, p, r, 0.5, &limits, &flow, NULL);
        break;
    default:
        out.status = critical_beta_of_parts(m, p, r, &out.policies, NULL);
    }
    if (solution != NULL) {
        add(&out, solution);
    }
    for (int64_t k = 0; k < grpoalign_points_count(points); k++) {
        add(&out, grpoalign_points_solution(points, k));
    }
    if (flow != NULL && grpoalign_flow_end(flow) != NULL) {
        add(&out, grpoalign_flow_end(flow));
    }
    grpoalign_solution_free(solution);
    grpoalign_points_free(points);
    grpoalign_flow_free(flow);
    return out;
}

/* Pieces that are refused one by one: the first ones, then every so many. */
enum { FIRST = 60, SPREAD = 60 };

static void check_calls(const handles *h, size_t context, int32_t penalty)
{
    for (int what = 0; what < CALLS; what++) {
        refused = -1;
        taken = 0;
        given plain = call(h, what);
        long all = taken, stride = 1 + all / (SPREAD * test_scale());
        assert_true(all > 0);
        for (long k = 0; k < all; k += k < FIRST ? 1 : stride) {
            refused = k;
            taken = 0;
            given now = call(h, what);
            refused = -1;
            if (now.status != GRPOALIGN_ERR_MEMORY) {
                fail_msg("%s, context %zu, penalty %d, piece %ld of %ld: status %d, not memory (%d "
                         "where none is refused), policies %.17g for %.17g",
                         NAMES[what], context, (int)penalty, k, all, (int)now.status,
                         (int)plain.status, now.policies, plain.policies);
            }
        }
    }
}

static void refused_pieces(void **state)
{
    (void)state;
    static const int32_t PENALTIES[] = {
        GRPOALIGN_PENALTY_REVERSE_KL,
        GRPOALIGN_PENALTY_DIRECT_KL,
        GRPOALIGN_PENALTY_NONE,
        GRPOALIGN_PENALTY_CHI_SQUARED,
        GRPOALIGN_PENALTY_SQUARED_LOG_RATIO,
        GRPOALIGN_PENALTY_TOTAL_VARIATION,
    };
    const double rewards[OUTCOMES] = {0.0, 1.0, 0.5, 0.0};
    const double log_reference[OUTCOMES] = {-1.0, -2.0, -0.7, -1.5};
    const double margins[] = {0.0, 0.3,  -0.8, 0.1, -0.3, 0.0, 0.6,  -0.2,
                              0.8, -0.6, 0.0,  0.4, -0.1, 0.2, -0.4, 0.0};
    const double support[] = {0.0, 0.5, 1.0};
    const double distribution[] = {0.6, 0.3, 0.1, 0.1, 0.2, 0.7, 0.3, 0.4, 0.3, 0.5, 0.5, 0.0};
    const plain_context contexts[] = {
        {.n = OUTCOMES, .margins = margins},
        {.n = OUTCOMES, .rewards = rewards},
        {.n = OUTCOMES, .rewards = rewards, .group_size = 6},
        {.n = OUTCOMES, .rewards = rewards, .limit = 1, .epsilon = 1e-4},
        {.n = OUTCOMES, .support = support, .distribution = distribution, .k = 3, .group_size = 5},
    };
    for (size_t k = 0; k < sizeof PENALTIES / sizeof *PENALTIES; k++) {
        for (size_t c = 0; c < sizeof contexts / sizeof *contexts; c++) {
            handles h = open_handles(&contexts[c], PENALTIES[k], log_reference);
            check_calls(&h, c, PENALTIES[k]);
            close_handles(&h);
        }
        /* Other divisors. */
        for (int32_t scale = GRPOALIGN_SCALE_NONE; scale <= GRPOALIGN_SCALE_MEAN; scale++) {
            grpoalign_reward_options options;
            grpoalign_reward_options_init(&options, sizeof options);
            options.scale = scale;
            options.epsilon = scale == GRPOALIGN_SCALE_NONE ? 0.0 : 1e-4;
            options.baseline = scale == GRPOALIGN_SCALE_STD_OF_OTHERS
                                   ? GRPOALIGN_BASELINE_LEAVE_ONE_OUT
                                   : GRPOALIGN_BASELINE_MEAN;
            handles h = open_handles(&contexts[2], PENALTIES[k], log_reference);
            grpoalign_model_free(h.model);
            CHECK_OK(grpoalign_model_new_group(rewards, OUTCOMES, 6, &options, &h.model, NULL));
            check_calls(&h, (size_t)(100 + scale), PENALTIES[k]);
            close_handles(&h);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_pieces),
    };
    return run_chosen(tests);
}
