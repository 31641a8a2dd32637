/* Filling a caller's error record. The error path allocates nothing. */
#ifndef GRA_BASE_STATUS_H
#define GRA_BASE_STATUS_H

#include <grpoalign/progress.h>
#include <grpoalign/status.h>

/* Fills `error` (may be NULL) and returns `status`. argument is 1-based, 0 for none; index is
 * 0-based, -1 for none. */
grpoalign_status gra_fail(grpoalign_error *error, grpoalign_status status, int32_t argument,
                          int64_t index, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* The one message for memory. Inline, so that analyzers see that it fails. */
void gra_note_memory(grpoalign_error *error);
static inline grpoalign_status gra_fail_memory(grpoalign_error *error)
{
    gra_note_memory(error);
    return GRPOALIGN_ERR_MEMORY;
}

/* Tells a host (NULL: none) which part of the work is left, and asks whether to go on. */
grpoalign_status gra_ask_host(grpoalign_progress_fn progress, void *user, double left,
                              grpoalign_error *error);

/* Marks success in `error` (may be NULL). */
void gra_clear(grpoalign_error *error);

#define GRA_TRY(expression)                                                                        \
    do {                                                                                           \
        grpoalign_status gra_try_status_ = (expression);                                           \
        if (gra_try_status_ < 0) {                                                                 \
            return gra_try_status_;                                                                \
        }                                                                                          \
    } while (0)

#endif
