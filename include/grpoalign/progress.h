/* What a call that takes long tells while it runs, and how to stop it. */
#ifndef GRPOALIGN_PROGRESS_H
#define GRPOALIGN_PROGRESS_H

#include <grpoalign/export.h>

GRPOALIGN_BEGIN

/** What a progress function is told. Only grows at its end. */
typedef struct grpoalign_progress {
    uint32_t struct_size;   /* set by the library */
    int32_t method;         /* GRPOALIGN_METHOD_* of the stage under way, 0 in a constructor */
    int32_t iteration;      /* counted from 1 over all stages */
    int32_t factorizations; /* matrices factorised so far */
    double beta;            /* of the stage under way (continuation); 0 in a constructor */
    double change;          /* largest change of a probability in this iteration; in a constructor
                               the part of the work that is left, from 1 down to 0 */
} grpoalign_progress;

/**
 * Called after every iteration on the calling thread; return non-zero to stop (ERR_CANCELLED). It
 * must return normally and must not free a handle in use.
 */
typedef int32_t (*grpoalign_progress_fn)(void *user, const grpoalign_progress *progress);

GRPOALIGN_END

#endif
