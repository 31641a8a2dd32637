#include "commands/batch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int batch_hold(batch *self, context *joining, text *place, text *output, int solved)
{
    if (self->count == self->room) {
        size_t room = self->room > 0 ? 2 * self->room : 64;
        held *grown = realloc(self->items, room * sizeof *grown);
        if (grown == NULL) {
            return 0;
        }
        self->items = grown;
        self->room = room;
    }
    held *item = &self->items[self->count++];
    memset(item, 0, sizeof *item);
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

void batch_free(batch *self)
{
    for (size_t k = 0; k < self->count; k++) {
        context_free(&self->items[k].context);
        text_free(&self->items[k].place);
        text_free(&self->items[k].output);
    }
    free(self->items);
    memset(self, 0, sizeof *self);
}

/* The batch as the library takes it. */
typedef struct call {
    int64_t count;
    held **items;
    handles *handles;
    grpoalign_problem **problems;
    const grpoalign_reference **references;
} call;

static const char *place_of(const held *item)
{
    return item->place.bytes != NULL ? item->place.bytes : "?";
}

/* What a context must have in common with the first of its batch; NULL when it has. */
static const char *differs(const settings *a, const settings *b)
{
    return a->scale != b->scale                                                         ? "scale"
           : (a->has_epsilon ? a->epsilon : 0.0) != (b->has_epsilon ? b->epsilon : 0.0) ? "epsilon"
           : a->penalty != b->penalty                                                   ? "penalty"
           : a->has_alpha && a->alpha != b->alpha                                       ? "alpha"
           : has_effect(a) && a->beta != b->beta                                        ? "beta"
                                                                                        : NULL;
}

/* Adds a context to the call, or writes why it cannot be of the batch. */
static void join(call *self, held *item, const style *how)
{
    context unscaled = item->context;
    grpoalign_error error;
    handles *h = &self->handles[self->count];
    const held *first = self->count > 0 ? self->items[0] : item;
    const char *key = differs(&item->context.settings, &first->context.settings);
    if (key != NULL) {
        item->solved = 0;
        text message = {0};
        text_format(
            &message,
            "%s is not that of %s: expected one scale, epsilon, penalty and beta in a batch", key,
            place_of(first));
        write_error(&item->output, how, item->context.id, "contradiction", place_of(item),
                    message.bytes != NULL ? message.bytes : key);
        text_free(&message);
        return;
    }
    unscaled.settings.scale = GRPOALIGN_SCALE_NONE;
    unscaled.settings.has_epsilon = 0;
    grpoalign_status status = handles_open(&unscaled, h, &error);
    if (status < 0) {
        item->solved = 0;
        write_library_error(&item->output, how, &item->context, status, place_of(item),
                            error.message);
        handles_close(h);
        return;
    }
    self->items[self->count] = item;
    self->problems[self->count] = h->problem;
    self->references[self->count++] = h->reference;
}

/* A batch has no answer when one context has none: each says which it is. The library's message
 * begins with its number. */
static void write_failure(const call *self, grpoalign_status status, const grpoalign_error *error,
                          const style *how)
{
    const held *cause =
        error->index >= 0 && error->index < self->count ? self->items[error->index] : NULL;
    const char *after = cause != NULL ? strstr(error->message, ": ") : NULL;
    const char *reason = after != NULL ? after + 2 : error->message;
    for (int64_t k = 0; k < self->count; k++) {
        held *item = self->items[k];
        text message = {0};
        item->solved = 0;
        if (cause != NULL && cause != item) {
            text_format(&message, "the batch has no answer because of %s: ", place_of(cause));
        }
        text_string(&message, reason);
        write_library_error(&item->output, how, &item->context, status, place_of(item),
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

static void write_answers(const call *self, const grpoalign_points *points, double std,
                          const action *what, const style *how)
{
    for (int64_t k = 0; k < self->count; k++) {
        held *item = self->items[k];
        const settings *s = &item->context.settings;
        grpoalign_error error;
        result found = {.contexts = self->count, .std = std};
        grpoalign_status status = result_take(&found, grpoalign_points_solution(points, k),
                                              self->references[k], item->context.outcomes, &error);
        item->solved = status >= 0;
        if (status < 0) {
            write_library_error(&item->output, how, &item->context, status, place_of(item),
                                error.message);
        } else {
            if (!isnan(std)) {
                scale_advantages(&found, item->context.outcomes, found.report.beta / s->beta);
            }
            what->answer(&item->context, &found, how, &item->output);
        }
        result_free(&found);
    }
}

static void solve(const call *self, const action *what, const style *how)
{
    const settings *s = &self->items[0]->context.settings;
    grpoalign_batch_options options;
    grpoalign_points *points = NULL;
    grpoalign_error error;
    double std = NAN;
    grpoalign_batch_options_init(&options, sizeof options);
    options.std = s->scale - SCALE_BATCH;
    options.epsilon = s->has_epsilon ? s->epsilon : 0.0;
    grpoalign_status status = grpoalign_points_new_batch(
        (const grpoalign_problem *const *)self->problems, self->count,
        has_effect(s) ? s->beta : 1.0, &options, NULL, &points, &std, &error);
    if (status < 0) {
        write_failure(self, status, &error, how);
    } else {
        write_answers(self, points, std, what, how);
    }
    grpoalign_points_free(points);
}

void batch_refuse(batch *self, const style *how, const char *status, const char *reason)
{
    for (size_t k = 0; k < self->count; k++) {
        held *item = &self->items[k];
        if (item->joins) {
            item->solved = 0;
            write_error(&item->output, how, item->context.id, status, place_of(item), reason);
        }
    }
}

void batch_solve(batch *self, const action *what, const style *how, int whole)
{
    size_t room = self->count > 0 ? self->count : 1;
    call all = {.items = malloc(room * sizeof *all.items),
                .handles = malloc(room * sizeof *all.handles),
                .problems = malloc(room * sizeof *all.problems),
                .references = malloc(room * sizeof *all.references)};
    int fits =
        all.items != NULL && all.handles != NULL && all.problems != NULL && all.references != NULL;
    int64_t joining = 0;
    if (!fits) {
        batch_refuse(self, how, "memory", "out of memory");
    }
    for (size_t k = 0; k < self->count; k++) {
        held *item = &self->items[k];
        if (item->joins && fits) {
            joining++;
            join(&all, item, how);
        }
    }
    if (all.count > 0 && (all.count == joining || !whole)) {
        solve(&all, what, how);
    }
    for (int64_t k = 0; k < all.count; k++) {
        handles_close(&all.handles[k]);
    }
    free(all.items);
    free(all.handles);
    free(all.problems);
    free(all.references);
}
