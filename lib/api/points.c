#include <grpoalign/points.h>

#include <stdio.h>
#include <stdlib.h>

#include "api/calls.h"

#define GRA_POINTS_MAGIC UINT64_C(0x746e696f70617267)

static int is_points(const grpoalign_points *points)
{
    return points != NULL && points->handle.magic == GRA_POINTS_MAGIC;
}

grpoalign_points *gra_points_allocate(int64_t count)
{
    grpoalign_points *points = gra_alloc(1, sizeof *points);
    if (points == NULL) {
        return NULL;
    }
    gra_handle_start(&points->handle, GRA_POINTS_MAGIC);
    points->connected = -1;
    points->items = gra_alloc(count, sizeof *points->items);
    if (points->items == NULL) {
        grpoalign_points_free(points);
        return NULL;
    }
    points->count = count;
    return points;
}

void gra_lend(grpoalign_solution *solution)
{
    if (solution != NULL) {
        solution->borrowed = 1;
    }
}

void gra_lent_free(grpoalign_solution *solution)
{
    gra_solution_free(solution);
}

/* Which list is wanted. */
typedef struct request {
    grpoalign_status (*find)(const gra_problem *at, const struct request *self, gra_answers *out);
    const double *betas; /* path: falling */
    const int64_t *index;
    int64_t count;
    double low, high, resolution;
} request;

/* The list that a request finds, answer i of it being solution index[i] (NULL: i). */
static grpoalign_status build(gra_call *call, const request *wanted, grpoalign_points **out,
                              grpoalign_error *error)
{
    gra_answers answers;
    GRA_TRY(wanted->find(&call->at, wanted, &answers));
    grpoalign_points *points = gra_points_allocate(answers.count);
    if (points == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < answers.count; i++) {
        int64_t k = wanted->index != NULL ? wanted->index[i] : i;
        grpoalign_status status = gra_assess(&call->at, &answers.items[i], call->options.stability);
        status =
            status < 0 ? status : gra_expand(call, &answers.items[i], &points->items[k], error);
        if (status < 0) {
            grpoalign_points_free(points);
            return status;
        }
        gra_lend(points->items[k]);
    }
    points->connected = answers.connected;
    points->complete = answers.complete;
    *out = points;
    return GRPOALIGN_OK;
}

static grpoalign_status find_points(const gra_problem *at, const request *self, gra_answers *out)
{
    (void)self;
    return gra_find_points(at, out);
}

static grpoalign_status find_folds(const gra_problem *at, const request *self, gra_answers *out)
{
    return gra_find_folds(at, self->low, self->high, out);
}

static grpoalign_status find_curve(const gra_problem *at, const request *self, gra_answers *out)
{
    return gra_find_curve(at, self->low, self->high, self->resolution, out);
}

static grpoalign_status find_path(const gra_problem *at, const request *self, gra_answers *out)
{
    return gra_find_path(at, self->betas, self->count, out);
}

grpoalign_status grpoalign_points_new(const grpoalign_problem *problem, double beta,
                                      const grpoalign_solve_options *options,
                                      grpoalign_points **out, grpoalign_error *error)
{
    gra_call call;
    const request wanted = {.find = find_points};
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 4, error));
    *out = NULL;
    grpoalign_status status = gra_open(&call, problem, beta, options, 3, error);
    status = status < 0 ? status : build(&call, &wanted, out, error);
    gra_call_close(&call);
    return status;
}

/* What the calls over an interval of beta have in common: low and high stand at 2 and 3, options
 * before out. The equations of dropped groups change with beta. */
static grpoalign_status new_interval(const grpoalign_problem *problem, const request *wanted,
                                     const grpoalign_solve_options *options, int32_t position,
                                     grpoalign_points **out, grpoalign_error *error)
{
    gra_call call;
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", position + 1, error));
    *out = NULL;
    GRA_TRY(gra_check_problem(problem, 1, error));
    GRA_TRY(gra_check_beta(wanted->low, "low", 2, -1, error));
    GRA_TRY(gra_check_beta(wanted->high, "high", 3, -1, error));
    if (!(wanted->high >= wanted->low)) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 3, -1, "high must be >= low (got %g and %g)",
                        wanted->high, wanted->low);
    }
    if (problem->model->filtered > 0) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 1, -1,
                        "folds and curves are not known where groups without spread are dropped "
                        "(zero_variance): solve at single values of beta");
    }
    grpoalign_status status = gra_open(&call, problem, wanted->high, options, position, error);
    status = status < 0 ? status : build(&call, wanted, out, error);
    gra_call_close(&call);
    return status;
}

grpoalign_status grpoalign_points_new_folds(const grpoalign_problem *problem, double low,
                                            double high, const grpoalign_solve_options *options,
                                            grpoalign_points **out, grpoalign_error *error)
{
    const request wanted = {.find = find_folds, .low = low, .high = high};
    return new_interval(problem, &wanted, options, 4, out, error);
}

grpoalign_status grpoalign_points_new_curve(const grpoalign_problem *problem, double low,
                                            double high, double resolution,
                                            const grpoalign_solve_options *options,
                                            grpoalign_points **out, grpoalign_error *error)
{
    const request wanted = {.find = find_curve, .low = low, .high = high, .resolution = resolution};
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 6, error));
    *out = NULL;
    if (!(resolution > 0.0 && resolution <= 1.0)) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 4, -1,
                        "resolution must lie in (0, 1] (got %g)", resolution);
    }
    return new_interval(problem, &wanted, options, 5, out, error);
}

typedef struct stop {
    double beta;
    int64_t index;
} stop;

static int from_large(const void *left, const void *right)
{
    const stop *a = left, *b = right;
    return (a->beta < b->beta) - (a->beta > b->beta);
}

/* The betas in falling order, and which is which. */
static grpoalign_status sort_stops(const double *betas, int64_t count, gra_arena *arena,
                                   request *wanted, grpoalign_error *error)
{
    stop *stops = gra_arena_take(arena, count, sizeof *stops);
    double *sorted = gra_arena_doubles(arena, count);
    int64_t *index = gra_arena_take(arena, count, sizeof *index);
    if (stops == NULL || sorted == NULL || index == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < count; i++) {
        stops[i] = (stop){betas[i], i};
    }
    qsort(stops, (size_t)count, sizeof *stops, from_large);
    for (int64_t i = 0; i < count; i++) {
        sorted[i] = stops[i].beta;
        index[i] = stops[i].index;
    }
    wanted->betas = sorted;
    wanted->index = index;
    wanted->count = count;
    return GRPOALIGN_OK;
}

/* One after the other: where groups are dropped every beta is a problem of its own. */
static grpoalign_status solve_each(const grpoalign_problem *problem, const double *betas,
                                   int64_t count, const grpoalign_solve_options *options,
                                   grpoalign_points **out, grpoalign_error *error)
{
    grpoalign_points *points = gra_points_allocate(count);
    if (points == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < count; i++) {
        grpoalign_status status =
            grpoalign_solve(problem, betas[i], options, &points->items[i], error);
        if (status < 0) {
            grpoalign_points_free(points);
            return status;
        }
        gra_lend(points->items[i]);
    }
    gra_clear(error);
    *out = points;
    return GRPOALIGN_OK;
}

grpoalign_status grpoalign_points_new_path(const grpoalign_problem *problem, const double *betas,
                                           int64_t count, const grpoalign_solve_options *options,
                                           grpoalign_points **out, grpoalign_error *error)
{
    gra_call call;
    request wanted = {.find = find_path};
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 5, error));
    *out = NULL;
    GRA_TRY(gra_check_problem(problem, 1, error));
    GRA_TRY(gra_check_pointer(betas, "betas", 2, error));
    if (count < 1) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 3, -1, "count must be >= 1 (got %lld)",
                        (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "betas[%lld]", (long long)i);
        GRA_TRY(gra_check_beta(betas[i], name, 2, i, error));
    }
    if (problem->filters) {
        return solve_each(problem, betas, count, options, out, error);
    }
    grpoalign_status status = gra_open(&call, problem, betas[0], options, 4, error);
    status = status < 0 ? status : sort_stops(betas, count, &call.arena, &wanted, error);
    status = status < 0 ? status : build(&call, &wanted, out, error);
    gra_call_close(&call);
    return status;
}

void grpoalign_points_free(grpoalign_points *points)
{
    if (is_points(points) && gra_handle_release(&points->handle)) {
        for (int64_t k = 0; k < points->count; k++) {
            gra_lent_free(points->items[k]);
        }
        gra_release(points->items);
        gra_release(points);
    }
}

int64_t grpoalign_points_count(const grpoalign_points *points)
{
    return is_points(points) ? points->count : 0;
}

int32_t grpoalign_points_complete(const grpoalign_points *points)
{
    return is_points(points) ? points->complete : 0;
}

int64_t grpoalign_points_from_reference(const grpoalign_points *points)
{
    return is_points(points) ? points->connected : -1;
}

const grpoalign_solution *grpoalign_points_solution(const grpoalign_points *points, int64_t k)
{
    return is_points(points) && k >= 0 && k < points->count ? points->items[k] : NULL;
}

grpoalign_status grpoalign_critical_beta(const grpoalign_problem *problem,
                                         const grpoalign_solve_options *options, double *beta,
                                         grpoalign_error *error)
{
    gra_call call;
    double found = 0.0;
    gra_clear(error);
    GRA_TRY(gra_check_pointer(beta, "beta", 3, error));
    grpoalign_status status = gra_open(&call, problem, 1.0, options, 2, error);
    status = status < 0 ? status : gra_find_critical(&call.at, &found);
    gra_call_close(&call);
    if (status >= 0) {
        *beta = found;
    }
    return status;
}
