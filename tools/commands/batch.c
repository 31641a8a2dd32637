#include "commands/batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

int batch_hold(list *self, context *joining, text *place, text *output, int solved)
{
    held *item = list_add(self, sizeof *item);
    if (item == NULL) {
        return 0;
    }
    if (joining != NULL) {
        item->joins = 1;
        item->context = *joining;
        memset(joining, 0, sizeof *joining);
    }
    item->place = *place;
    item->output = *output;
    item->solved = solved;
    memset(place, 0, sizeof *place);
    memset(output, 0, sizeof *output);
    return 1;
}

void batch_free(list *self)
{
    held *items = self->items;
    for (size_t k = 0; k < self->count; k++) {
        context_free(&items[k].context);
        text_free(&items[k].place);
        text_free(&items[k].output);
    }
    list_free(self);
}

/* ---- the contexts of a batch ----------------------------------------------------------------- */

typedef struct member {
    held *item;
    problem problem;
} member;

/* The batch as the library takes it. */
typedef struct call {
    int64_t count;
    member *members;
    const grpoalign_problem **problems;
    const style *how;
    int lost; /* memory was short for one that belongs to it */
} call;

static const char *place_of(const held *item)
{
    return item->place.bytes != NULL ? item->place.bytes : "?";
}

static reply reply_of(const call *self, held *item)
{
    return (reply){.how = self->how, .place = place_of(item), .out = &item->output};
}

/* Adds a context to the call, or writes why it cannot be of the batch. */
static void join(call *self, held *item)
{
    context unscaled = item->context;
    grpoalign_error error;
    problem *p = &self->members[self->count].problem;
    const held *first = self->count > 0 ? self->members[0].item : item;
    const reply to = reply_of(self, item);
    const char *key = settings_differ(&item->context.settings, &first->context.settings);
    if (key != NULL) {
        item->solved = 0;
        write_error(
            &to, item->context.id, "contradiction",
            "%s is not that of %s: expected one scale, epsilon, penalty and beta in a batch", key,
            place_of(first));
        return;
    }
    unscaled.settings.scale = GRPOALIGN_SCALE_NONE;
    unscaled.settings.epsilon = 0.0;
    unscaled.until = deadline_in(unscaled.seconds); /* it waited for the others */
    grpoalign_status status = problem_open(p, &unscaled, &error);
    if (status < 0) {
        item->solved = 0;
        write_library_error(&to, item->context.id, status, error.message);
        problem_close(p);
        self->lost |= status == GRPOALIGN_ERR_MEMORY;
        return;
    }
    self->members[self->count].item = item;
    self->problems[self->count++] = p->handle;
}

/* A batch has no answer when one context has none: each says which it is. The library's message
 * begins with its number. */
static void write_failure(const call *self, grpoalign_status status, const grpoalign_error *error)
{
    const held *cause =
        error->index >= 0 && error->index < self->count ? self->members[error->index].item : NULL;
    const char *after = cause != NULL ? strstr(error->message, ": ") : NULL;
    const char *reason = after != NULL ? after + 2 : error->message;
    for (int64_t k = 0; k < self->count; k++) {
        held *item = self->members[k].item;
        const reply to = reply_of(self, item);
        text message = {0};
        item->solved = 0;
        if (cause != NULL && cause != item) {
            text_format(&message, "the batch has no answer because of %s: ", place_of(cause));
        }
        text_string(&message, reason);
        write_library_error(&to, item->context.id, status,
                            message.bytes != NULL ? message.bytes : reason);
        text_free(&message);
    }
}

/* Advantages over the std, as in every other scale, from the unscaled ones of the library. */
static void scale_advantages(result *found, int64_t outcomes, double divisor)
{
    for (int64_t o = 0; o < outcomes; o++) {
        found->advantage[o] = found->advantage[o] == 0.0 ? 0.0 : found->advantage[o] / divisor;
    }
}

static void write_answer(const call *self, member *one, const grpoalign_solution *solution,
                         double std, const action *what)
{
    held *item = one->item;
    const reply to = reply_of(self, item);
    grpoalign_error error;
    result found = {.contexts = self->count, .std = std};
    grpoalign_status status = result_take(&found, &one->problem, solution, &error);
    item->solved = status >= 0;
    if (status < 0) {
        write_library_error(&to, item->context.id, status, error.message);
    } else {
        found.beta = isnan(std) ? NAN : found.report.beta;
        if (!isnan(std)) {
            scale_advantages(&found, item->context.outcomes,
                             found.report.beta / item->context.settings.beta);
        }
        what->answer(&item->context, &found, &to);
    }
    result_free(&found);
}

/* A batch has the time of its contexts together. */
static deadline time_of_all(const call *self)
{
    double seconds = 0.0;
    for (int64_t k = 0; k < self->count; k++) {
        seconds += self->members[k].item->context.seconds;
    }
    return deadline_in(seconds);
}

static void solve(const call *self, const action *what)
{
    const settings *s = &self->members[0].item->context.settings;
    grpoalign_batch_options options;
    grpoalign_solve_options how;
    deadline until = time_of_all(self);
    grpoalign_points *points = NULL;
    grpoalign_error error;
    double std = NAN;
    grpoalign_batch_options_init(&options, sizeof options);
    options.std = s->scale - SCALE_BATCH;
    options.epsilon = s->epsilon;
    grpoalign_solve_options_init(&how, sizeof how);
    how.progress = is_over;
    how.user = &until;
    grpoalign_status status =
        grpoalign_points_new_batch(self->problems, self->count, has_effect(s) ? s->beta : 1.0,
                                   &options, &how, &points, &std, &error);
    if (status < 0) {
        write_failure(self, status, &error);
    }
    for (int64_t k = 0; status >= 0 && k < self->count; k++) {
        write_answer(self, &self->members[k], grpoalign_points_solution(points, k), std, what);
    }
    grpoalign_points_free(points);
}

void batch_refuse(list *self, const style *how, const char *status, const char *reason)
{
    held *items = self->items;
    for (size_t k = 0; k < self->count; k++) {
        if (items[k].joins) {
            const reply to = {.how = how, .place = place_of(&items[k]), .out = &items[k].output};
            items[k].solved = 0;
            text_free(&items[k].output);
            write_error(&to, items[k].context.id, status, "%s", reason);
        }
    }
}

void batch_solve(list *self, const action *what, const style *how, int whole)
{
    held *items = self->items;
    size_t room = self->count > 0 ? self->count : 1;
    call all = {.members = memory_malloc(room * sizeof *all.members),
                .problems = memory_malloc(room * sizeof *all.problems),
                .how = how};
    int fits = all.members != NULL && all.problems != NULL;
    int64_t joining = 0;
    if (!fits) {
        batch_refuse(self, how, "memory", "out of memory");
    }
    for (size_t k = 0; fits && k < self->count; k++) {
        if (items[k].joins) {
            joining++;
            join(&all, &items[k]);
        }
    }
    if (all.lost) {
        batch_refuse(self, how, "memory",
                     "the batch is not whole: memory was short for one of its contexts");
    } else if (all.count > 0 && (all.count == joining || !whole)) {
        solve(&all, what);
    }
    for (int64_t k = 0; k < all.count; k++) {
        problem_close(&all.members[k].problem);
    }
    free(all.members);
    free(all.problems);
}
