#include "input/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define FAIL(name, ...) (*status = (name), text_format(message, __VA_ARGS__), 0)

/* The numbers of one metric, which is the last. */
static int read_values(metrics *self, const char *name, const json_t *value, const char **status,
                       text *message)
{
    size_t n = json_array_size(value);
    double *numbers = memory_malloc((n > 0 ? n : 1) * sizeof *numbers);
    char *copy = memory_malloc(strlen(name) + 1);
    self->values[self->count] = numbers;
    self->names[self->count++] = copy;
    if (numbers == NULL || copy == NULL) {
        return FAIL("memory", "out of memory");
    }
    memcpy(copy, name, strlen(name) + 1);
    if (!json_is_array(value) || n == 0) {
        return FAIL("shape", "metrics: \"%.60s\" is no array: expected one number per outcome",
                    name);
    }
    if (self->count > 1 && (int64_t)n != self->outcomes) {
        return FAIL("shape", "metrics: \"%.60s\" has %zu numbers: expected %lld as the one before",
                    name, n, (long long)self->outcomes);
    }
    self->outcomes = (int64_t)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(value, i);
        if (!json_is_number(item)) {
            return FAIL("shape", "metrics: \"%.60s\"[%zu] is no number: expected one", name, i);
        }
        numbers[i] = json_number_value(item);
    }
    return 1;
}

int metrics_read(metrics *self, const json_t *value, const char **status, text *message)
{
    const char *name;
    json_t *numbers;
    size_t count = json_object_size(value);
    if (!json_is_object(value)) {
        return FAIL("shape", "metrics is no object: expected names, each with one number per "
                             "outcome");
    }
    self->names = memory_calloc(count > 0 ? count : 1, sizeof *self->names);
    self->values = memory_calloc(count > 0 ? count : 1, sizeof *self->values);
    if (self->names == NULL || self->values == NULL) {
        return FAIL("memory", "out of memory");
    }
    json_object_foreach((json_t *)(uintptr_t)value, name, numbers)
    {
        if (!read_values(self, name, numbers, status, message)) {
            return 0;
        }
    }
    return 1;
}

int metrics_add(metrics *self, const char *name, const double *values, int64_t n)
{
    size_t count = (size_t)self->count + 1;
    char **names = memory_realloc(self->names, count * sizeof *names);
    self->names = names != NULL ? names : self->names;
    double **all = memory_realloc(self->values, count * sizeof *all);
    self->values = all != NULL ? all : self->values;
    if (names == NULL || all == NULL) {
        return 0;
    }
    names[self->count] = memory_strdup(name);
    all[self->count] = memory_malloc((size_t)(n > 0 ? n : 1) * sizeof **all);
    int good = names[self->count] != NULL && all[self->count] != NULL;
    if (good) {
        memcpy(all[self->count], values, (size_t)n * sizeof *values);
    }
    self->count++;
    self->outcomes = n;
    return good;
}

const double *metrics_find(const metrics *self, const char *name)
{
    for (int64_t k = 0; k < self->count; k++) {
        if (strcmp(self->names[k], name) == 0) {
            return self->values[k];
        }
    }
    return NULL;
}

void metrics_free(metrics *self)
{
    for (int64_t k = 0; k < self->count; k++) {
        free(self->names[k]);
        free(self->values[k]);
    }
    free(self->names);
    free(self->values);
    memset(self, 0, sizeof *self);
}
