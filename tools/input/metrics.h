/* Metrics of the outcomes of a context: what else is measured than the reward. */
#ifndef GPA_METRICS_H
#define GPA_METRICS_H

#include <stdint.h>

#include <jansson.h>

#include "base/text.h"

/* All zeros: none. */
typedef struct metrics {
    int64_t count;
    char **names;
    double **values; /* of each, one number per outcome */
    int64_t outcomes;
} metrics;

/* Reads the object of a record: names, each with equally many numbers. Returns 0, with the status
 * name and the reason, when it cannot be; free it in either case. */
int metrics_read(metrics *self, const json_t *value, const char **status, text *message);

/* One more, copied. 0 when memory is short; free it all the same. */
int metrics_add(metrics *self, const char *name, const double *values, int64_t n);

/* The numbers of a name; NULL when there is none such. */
const double *metrics_find(const metrics *self, const char *name);

void metrics_free(metrics *self);

#endif
