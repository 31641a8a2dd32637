#include "input/gathered.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static int take_labels(const gathered *self, context *out)
{
    size_t n = self->outcomes.keys.count;
    out->labels = memory_calloc(n > 0 ? n : 1, sizeof *out->labels);
    out->outcomes = (int64_t)n;
    for (size_t o = 0; out->labels != NULL && o < n; o++) {
        out->labels[o] = memory_strdup(names_key(&self->outcomes, (int64_t)o));
        if (out->labels[o] == NULL) {
            return 0;
        }
    }
    return out->labels != NULL;
}

/* ---- battles --------------------------------------------------------------------------------- */

enum { MOST_PLAYERS = 30000 };

int gathered_battles(gathered *self, long line, context *out)
{
    size_t n = self->outcomes.keys.count;
    double *games = n <= MOST_PLAYERS ? memory_calloc(n * n, sizeof(double)) : NULL;
    out->margins = n <= MOST_PLAYERS ? memory_calloc(n * n, sizeof(double)) : NULL;
    if (games == NULL || out->margins == NULL || !take_labels(self, out)) {
        free(games);
        fault_add(&self->wrong, line, "memory", "no memory for a matrix over %zu outcomes", n);
        return 0;
    }
    const entry *entries = self->entries.items;
    for (size_t e = 0; e < self->entries.count; e++) {
        size_t i = (size_t)entries[e].first, j = (size_t)entries[e].second;
        double lead = entries[e].a - entries[e].b, all = entries[e].a + entries[e].b + entries[e].c;
        out->margins[i * n + j] += lead;
        out->margins[j * n + i] -= lead;
        games[i * n + j] += all;
        games[j * n + i] += all;
    }
    for (size_t i = 0; i < n * n; i++) {
        out->margins[i] = games[i] > 0.0 ? out->margins[i] / games[i] : 0.0;
    }
    free(games);
    return 1;
}

/* ---- rollouts -------------------------------------------------------------------------------- */

/* Outcomes drawn with different rewards, in the limit: mean and variance. */
static int spread_to_variances(const gathered *self, const double *weight, context *out)
{
    size_t n = self->outcomes.keys.count;
    const entry *entries = self->entries.items;
    out->reward_variances = memory_calloc(n, sizeof(double));
    if (out->reward_variances == NULL) {
        return 0;
    }
    memset(out->rewards, 0, n * sizeof(double));
    for (size_t e = 0; e < self->entries.count; e++) {
        size_t o = (size_t)entries[e].first;
        out->rewards[o] += entries[e].a * (entries[e].b / weight[o]);
    }
    for (size_t e = 0; e < self->entries.count; e++) {
        size_t o = (size_t)entries[e].first;
        double d = entries[e].a - out->rewards[o];
        out->reward_variances[o] += d * d * (entries[e].b / weight[o]);
    }
    return 1;
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* The same in groups: a distribution over the levels seen (pairwise: groups of two). */
static int spread_to_levels(const gathered *self, const double *weight, context *out)
{
    size_t n = self->outcomes.keys.count, all = self->entries.count, count = 0;
    const entry *entries = self->entries.items;
    double *levels = memory_malloc(all * sizeof *levels);
    if (levels == NULL) {
        return 0;
    }
    for (size_t e = 0; e < all; e++) {
        levels[e] = entries[e].a;
    }
    qsort(levels, all, sizeof *levels, compare_doubles);
    for (size_t e = 0; e < all; e++) {
        if (e == 0 || levels[e] != levels[count - 1]) {
            levels[count++] = levels[e];
        }
    }
    out->support = levels;
    out->levels = (int64_t)count;
    out->distribution =
        count > 0 && n <= SIZE_MAX / count ? memory_calloc(n * count, sizeof(double)) : NULL;
    if (out->distribution == NULL) {
        return 0;
    }
    for (size_t e = 0; e < all; e++) {
        size_t o = (size_t)entries[e].first;
        const double *level =
            bsearch(&entries[e].a, levels, count, sizeof *levels, compare_doubles);
        out->distribution[o * count + (size_t)(level - levels)] += entries[e].b / weight[o];
    }
    free(out->rewards);
    out->rewards = NULL;
    if (out->settings.model == MODEL_PAIRWISE) {
        setting_give(&out->settings, SETTING_MODEL, MODEL_GROUP);
        setting_give(&out->settings, SETTING_GROUP_SIZE, 2);
    }
    return 1;
}

/* The sums over the rows of a context. */
typedef struct sums {
    double *weight; /* per outcome */
    double total;
    int spread; /* some outcome was drawn with different rewards */
} sums;

/* Adds the rows up: an outcome has the reward and the reference of its first row. */
static void add_up(gathered *self, int given, long line, const context *out, double *reference,
                   int *seen, sums *found)
{
    const entry *entries = self->entries.items;
    for (size_t e = 0; e < self->entries.count; e++) {
        const entry *row = &entries[e];
        size_t o = (size_t)row->first;
        if (seen[o] && fabs(row->c - reference[o]) > 1e-9 * fmax(1.0, fabs(row->c))) {
            fault_add(&self->wrong, line, "value",
                      "outcome \"%.60s\" has %s %.17g and %.17g: expected one value",
                      names_key(&self->outcomes, (int64_t)o),
                      given == GIVEN_LOGPROBS ? "log-probabilities" : "reference probabilities",
                      reference[o], row->c);
        }
        found->spread = found->spread || (seen[o] && row->a != out->rewards[o]);
        out->rewards[o] = seen[o] ? out->rewards[o] : row->a;
        reference[o] = seen[o] ? reference[o] : row->c;
        seen[o] = 1;
        found->weight[o] += row->b;
        found->total += row->b;
    }
}

/* What follows from the sums. */
static void conclude(gathered *self, int given, long line, const sums *found, double *reference,
                     context *out)
{
    size_t n = self->outcomes.keys.count;
    if (given == GIVEN_NOTHING) {
        for (size_t o = 0; o < n; o++) {
            reference[o] = found->total > 0.0 ? found->weight[o] / found->total : 0.0;
        }
        if (!(found->total > 0.0)) {
            fault_add(&self->wrong, line, "value", "all counts are 0: expected one above");
        }
    }
    for (size_t o = 0; found->spread && o < n; o++) {
        if (!(found->weight[o] > 0.0)) {
            fault_add(&self->wrong, line, "value",
                      "outcome \"%.60s\" has several rewards and no count above 0",
                      names_key(&self->outcomes, (int64_t)o));
        }
    }
    if (found->spread && self->wrong.status == NULL &&
        !(out->settings.model == MODEL_LIMIT ? spread_to_variances
                                             : spread_to_levels)(self, found->weight, out)) {
        fault_add(&self->wrong, line, "memory", "out of memory");
    }
}

int gathered_rollouts(gathered *self, int given, long line, context *out)
{
    size_t n = self->outcomes.keys.count;
    sums found = {.weight = memory_calloc(n, sizeof(double))};
    int *seen = memory_calloc(n, sizeof *seen);
    double *reference = memory_calloc(n, sizeof *reference);
    out->rewards = memory_calloc(n, sizeof(double));
    *(given == GIVEN_LOGPROBS ? &out->reference_logprobs : &out->reference) = reference;
    if (found.weight == NULL || seen == NULL || out->rewards == NULL || reference == NULL ||
        !take_labels(self, out)) {
        fault_add(&self->wrong, line, "memory", "out of memory");
    } else {
        add_up(self, given, line, out, reference, seen, &found);
        conclude(self, given, line, &found, reference, out);
    }
    free(found.weight);
    free(seen);
    return self->wrong.status == NULL;
}

void gathered_free(gathered *self)
{
    names_free(&self->outcomes);
    list_free(&self->entries);
    text_free(&self->wrong.message);
}
