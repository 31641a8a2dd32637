/* The rows of one context, and the context that they make. */
#ifndef GPA_GATHERED_H
#define GPA_GATHERED_H

#include "base/list.h"
#include "input/context.h"
#include "input/names.h"
#include "input/rows.h"

/* What a row says of its context. */
typedef struct entry {
    int64_t first, second; /* outcomes; second is for battles */
    double a, b, c; /* rollouts: reward, count, reference or logprob; battles: wins, losses, ties */
} entry;

/* What the third number of rollouts is. */
enum { GIVEN_NOTHING, GIVEN_REFERENCE, GIVEN_LOGPROBS };

/* All zeros: no rows. */
typedef struct gathered {
    names outcomes;
    list entries;           /* of entry */
    const char *name;       /* of the file of the first row */
    long line;              /* of the first row */
    fault wrong;            /* why the context cannot be built, if anything, */
    const char *wrong_name; /* and in which file; NULL: after all of them */
} gathered;

/* Fills in the data and the labels of a context. Returns 0 when something is wrong; `line` is then
 * where it is said to be. */
int gathered_battles(gathered *self, long line, context *out);
int gathered_rollouts(gathered *self, int given, long line, context *out);

void gathered_free(gathered *self);

#endif
