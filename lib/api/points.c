#include <grpoalign/points.h>

#include <stdio.h>
#include <stdlib.h>

#include "api/points.h"
#include "api/session.h"
#include "base/status.h"

#define GRA_POINTS_MAGIC UINT64_C(0x746e696f70617267)

static int is_live(const grpoalign_points *points)
{
    return points != NULL && points->magic == GRA_POINTS_MAGIC;
}

grpoalign_points *gra_points_allocate(int64_t count)
{
    grpoalign_points *points = gra_alloc(1, sizeof *points);
    if (points == NULL) {
        return NULL;
    }
    points->magic = GRA_POINTS_MAGIC;
    points->connected = -1;
    points->items = gra_alloc(count, sizeof *points->items);
    if (points->items == NULL) {
        grpoalign_points_free(points);
        return NULL;
    }
    points->count = count;
    return points;
}

/* Which list is wanted. */
typedef struct request {
    grpoalign_status (*find)(gra_session *session, const struct request *self, gra_answers *out);
    const double *betas; /* path: falling */
    const int64_t *index;
    int64_t count;
    double low, high, resolution;
} request;

/* The list that a request finds, answer i of it being solution index[i] (NULL: i). */
static grpoalign_status build(gra_session *session, const request *wanted, grpoalign_points **out,
                              grpoalign_error *error)
{
    gra_answers answers;
    GRA_TRY(wanted->find(session, wanted, &answers));
    grpoalign_points *points = gra_points_allocate(answers.count);
    if (points == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < answers.count; i++) {
        int64_t k = wanted->index != NULL ? wanted->index[i] : i;
        grpoalign_status status =
            gra_session_solution(session, &answers.items[i], &points->items[k], error);
        if (status < 0) {
            grpoalign_points_free(points);
            return status;
        }
    }
    points->connected = answers.connected;
    points->complete = answers.complete;
    *out = points;
    return GRPOALIGN_OK;
}

static grpoalign_status find_points(gra_session *session, const request *self, gra_answers *out)
{
    (void)self;
    return gra_find_points(&session->problem, out);
}

static grpoalign_status find_folds(gra_session *session, const request *self, gra_answers *out)
{
    return gra_find_folds(&session->problem, self->low, self->high, out);
}

static grpoalign_status find_curve(gra_session *session, const request *self, gra_answers *out)
{
    return gra_find_curve(&session->problem, self->low, self->high, self->resolution, out);
}

static grpoalign_status find_path(gra_session *session, const request *self, gra_answers *out)
{
    return gra_find_path(&session->problem, self->betas, self->count, out);
}

grpoalign_status grpoalign_points_new(const grpoalign_model *model,
                                      const grpoalign_penalty *penalty,
                                      const grpoalign_reference *reference, double beta,
                                      const grpoalign_solve_options *options,
                                      grpoalign_points **out, grpoalign_error *error)
{
    gra_session session;
    const request wanted = {.find = find_points};
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 6, error));
    *out = NULL;
    grpoalign_status status =
        gra_session_open(&session, model, penalty, reference, beta, 4, options, 5, error);
    status = status < 0 ? status : build(&session, &wanted, out, error);
    gra_session_close(&session);
    return status;
}

/* low, high and out, which stand at 4, 5 and out_position. */
static grpoalign_status begin_interval(double low, double high, grpoalign_points **out,
                                       int32_t out_position, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", out_position, error));
    *out = NULL;
    GRA_TRY(gra_check_beta(low, "low", 4, -1, error));
    GRA_TRY(gra_check_beta(high, "high", 5, -1, error));
    if (!(high >= low)) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 5, -1, "high must be >= low (got %g and %g)",
                        high, low);
    }
    return GRPOALIGN_OK;
}

/* Opens a session over an interval of beta; the equations of dropped groups change with beta. */
static grpoalign_status open_interval(gra_session *session, const grpoalign_model *model,
                                      const grpoalign_penalty *penalty,
                                      const grpoalign_reference *reference, double high,
                                      const grpoalign_solve_options *options,
                                      int32_t options_position, grpoalign_error *error)
{
    GRA_TRY(gra_session_open(session, model, penalty, reference, high, 5, options, options_position,
                             error));
    return model->dropping == 0 ? GRPOALIGN_OK
                                : gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 1, -1,
                                           "folds and curves are not known where groups without "
                                           "spread are dropped (zero_variance): "
                                           "solve at single values of beta");
}

grpoalign_status grpoalign_points_new_folds(const grpoalign_model *model,
                                            const grpoalign_penalty *penalty,
                                            const grpoalign_reference *reference, double low,
                                            double high, const grpoalign_solve_options *options,
                                            grpoalign_points **out, grpoalign_error *error)
{
    gra_session session;
    const request wanted = {.find = find_folds, .low = low, .high = high};
    GRA_TRY(begin_interval(low, high, out, 7, error));
    grpoalign_status status =
        open_interval(&session, model, penalty, reference, high, options, 6, error);
    status = status < 0 ? status : build(&session, &wanted, out, error);
    gra_session_close(&session);
    return status;
}

grpoalign_status grpoalign_points_new_curve(const grpoalign_model *model,
                                            const grpoalign_penalty *penalty,
                                            const grpoalign_reference *reference, double low,
                                            double high, double resolution,
                                            const grpoalign_solve_options *options,
                                            grpoalign_points **out, grpoalign_error *error)
{
    gra_session session;
    const request wanted = {.find = find_curve, .low = low, .high = high, .resolution = resolution};
    GRA_TRY(begin_interval(low, high, out, 8, error));
    if (!(resolution > 0.0 && resolution <= 1.0)) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 6, -1,
                        "resolution must lie in (0, 1] (got %g)", resolution);
    }
    grpoalign_status status =
        open_interval(&session, model, penalty, reference, high, options, 7, error);
    status = status < 0 ? status : build(&session, &wanted, out, error);
    gra_session_close(&session);
    return status;
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
static grpoalign_status solve_each(const grpoalign_model *model, const grpoalign_penalty *penalty,
                                   const grpoalign_reference *reference, const double *betas,
                                   int64_t count, const grpoalign_solve_options *options,
                                   grpoalign_points **out, grpoalign_error *error)
{
    grpoalign_points *points = gra_points_allocate(count);
    if (points == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < count; i++) {
        grpoalign_status status =
            grpoalign_solve(model, penalty, reference, betas[i], options, &points->items[i], error);
        if (status < 0) {
            grpoalign_points_free(points);
            return status;
        }
    }
    *out = points;
    return GRPOALIGN_OK;
}

grpoalign_status grpoalign_points_new_path(const grpoalign_model *model,
                                           const grpoalign_penalty *penalty,
                                           const grpoalign_reference *reference,
                                           const double *betas, int64_t count,
                                           const grpoalign_solve_options *options,
                                           grpoalign_points **out, grpoalign_error *error)
{
    gra_session session;
    request wanted = {.find = find_path};
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 7, error));
    *out = NULL;
    GRA_TRY(gra_check_pointer(betas, "betas", 4, error));
    if (count < 1) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 5, -1, "count must be >= 1 (got %lld)",
                        (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "betas[%lld]", (long long)i);
        GRA_TRY(gra_check_beta(betas[i], name, 4, i, error));
    }
    grpoalign_status status =
        gra_session_open(&session, model, penalty, reference, betas[0], 4, options, 6, error);
    int separate = status >= 0 && model->dropping > 0;
    if (!separate) {
        status = status < 0 ? status : sort_stops(betas, count, &session.arena, &wanted, error);
        status = status < 0 ? status : build(&session, &wanted, out, error);
    }
    gra_session_close(&session);
    if (separate) {
        return solve_each(model, penalty, reference, betas, count, options, out, error);
    }
    return status;
}

void grpoalign_points_free(grpoalign_points *points)
{
    if (is_live(points)) {
        points->magic = 0;
        for (int64_t k = 0; k < points->count; k++) {
            grpoalign_solution_free(points->items[k]);
        }
        gra_release(points->items);
        gra_release(points);
    }
}

int64_t grpoalign_points_count(const grpoalign_points *points)
{
    return is_live(points) ? points->count : 0;
}

int32_t grpoalign_points_complete(const grpoalign_points *points)
{
    return is_live(points) ? points->complete : 0;
}

int64_t grpoalign_points_from_reference(const grpoalign_points *points)
{
    return is_live(points) ? points->connected : -1;
}

const grpoalign_solution *grpoalign_points_solution(const grpoalign_points *points, int64_t k)
{
    return is_live(points) && k >= 0 && k < points->count ? points->items[k] : NULL;
}

grpoalign_status grpoalign_critical_beta(const grpoalign_model *model,
                                         const grpoalign_penalty *penalty,
                                         const grpoalign_reference *reference, double *beta,
                                         grpoalign_error *error)
{
    gra_session session;
    gra_clear(error);
    GRA_TRY(gra_check_pointer(beta, "beta", 4, error));
    grpoalign_status status =
        gra_session_open(&session, model, penalty, reference, 1.0, 4, NULL, 0, error);
    double critical = 0.0;
    if (status >= 0) {
        status = gra_find_critical(&session.problem, &critical);
    }
    if (status >= 0) {
        *beta = critical;
    }
    gra_session_close(&session);
    return status < 0 ? status : GRPOALIGN_OK;
}
