#include "base/number.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static int starts_badly(const char *value)
{
    return *value == '\0' || strchr(" \t\n", *value) != NULL;
}

int parse_number(const char *value, double *out)
{
    char *end;
    if (starts_badly(value)) {
        return 0;
    }
    *out = strtod(value, &end);
    return *end == '\0' && isfinite(*out);
}

int parse_integer(const char *value, int64_t *out)
{
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    *out = number;
    return !starts_badly(value) && *end == '\0' && errno == 0;
}

/* A number that ends at `stop`; returns what follows it, or NULL. */
static const char *number_until(const char *value, char stop, double *out)
{
    char *end;
    if (starts_badly(value)) {
        return NULL;
    }
    *out = strtod(value, &end);
    return *end == stop && isfinite(*out) ? end + 1 : NULL;
}

int parse_interval(const char *value, double *low, double *high)
{
    const char *rest = number_until(value, ':', low);
    return rest != NULL && parse_number(rest, high) && *low > 0.0 && *high >= *low;
}

/* LOW:HIGH:logN or linN; 0 when it is not of this form. */
static int parse_range(const char *value, grid *out)
{
    double low, high;
    int64_t count;
    const char *rest = number_until(value, ':', &low);
    rest = rest != NULL ? number_until(rest, ':', &high) : NULL;
    if (rest == NULL || (strncmp(rest, "log", 3) != 0 && strncmp(rest, "lin", 3) != 0)) {
        return 0;
    }
    out->logarithmic = rest[2] == 'g';
    if (!parse_integer(rest + 3, &count) || count < 2 || count > GRID_MOST || !(high > low) ||
        (out->logarithmic && !(low > 0.0))) {
        return 0;
    }
    out->values = memory_malloc((size_t)count * sizeof *out->values);
    if (out->values == NULL) {
        return 0;
    }
    out->count = count;
    for (int64_t i = 0; i < count; i++) {
        double share = (double)i / (double)(count - 1);
        out->values[i] = i == count - 1     ? high
                         : out->logarithmic ? low * pow(high / low, share)
                                            : low + (high - low) * share;
    }
    return 1;
}

int parse_grid(const char *value, grid *out)
{
    memset(out, 0, sizeof *out);
    if (strchr(value, ':') != NULL) {
        return parse_range(value, out);
    }
    int64_t room = 1;
    for (const char *at = value; *at != '\0'; at++) {
        room += *at == ',';
    }
    out->values = room <= GRID_MOST ? memory_malloc((size_t)room * sizeof *out->values) : NULL;
    for (const char *at = value; out->values != NULL && at != NULL;) {
        double *next = &out->values[out->count++];
        const char *rest = number_until(at, ',', next);
        if (rest == NULL && !parse_number(at, next)) {
            grid_free(out);
            return 0;
        }
        at = rest;
    }
    return out->values != NULL;
}

void grid_free(grid *self)
{
    free(self->values);
    memset(self, 0, sizeof *self);
}
