/* Contexts of a file that share the std of their batch: held back until all are read, then solved
 * together. */
#ifndef GPA_BATCH_H
#define GPA_BATCH_H

#include "base/list.h"
#include "commands/run.h"

typedef struct held {
    int joins; /* a context of the batch; else a result that has to wait for those before it */
    context context; /* of the batch */
    text place, output;
    int solved;
} held;

/* Takes over what it is given, in order; the context is NULL where the output is ready. Returns 0
 * when memory is short. A batch is a list of `held`. */
int batch_hold(list *self, context *joining, text *place, text *output, int solved);

/* Solves the contexts together and fills in their outputs; when `whole` and one of them is bad,
 * only that one's. */
void batch_solve(list *self, const action *what, const style *how, int whole);

/* Refuses all contexts, for a reason that is none of their own. */
void batch_refuse(list *self, const style *how, const char *status, const char *reason);

void batch_free(list *self);

#endif
