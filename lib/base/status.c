#include "base/status.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(grpoalign_error) == 256, "the layout of grpoalign_error is frozen");

const char *grpoalign_status_name(grpoalign_status status)
{
    switch (status) {
    case GRPOALIGN_OK:
        return "ok";
    case GRPOALIGN_NOT_UNIQUE:
        return "not_unique";
    case GRPOALIGN_ACCURACY_LIMITED:
        return "accuracy_limited";
    case GRPOALIGN_COLLAPSED:
        return "collapsed";
    case GRPOALIGN_NOT_CONVERGED:
        return "not_converged";
    case GRPOALIGN_UNSETTLED:
        return "unsettled";
    case GRPOALIGN_UNREACHABLE:
        return "unreachable";
    case GRPOALIGN_ERR_ARGUMENT:
        return "argument";
    case GRPOALIGN_ERR_HANDLE:
        return "handle";
    case GRPOALIGN_ERR_STRUCT_SIZE:
        return "struct_size";
    case GRPOALIGN_ERR_DIMENSION:
        return "dimension";
    case GRPOALIGN_ERR_NOT_FINITE:
        return "not_finite";
    case GRPOALIGN_ERR_PROBABILITY:
        return "probability";
    case GRPOALIGN_ERR_ANTISYMMETRY:
        return "antisymmetry";
    case GRPOALIGN_ERR_MEMORY:
        return "memory";
    case GRPOALIGN_ERR_UNSUPPORTED:
        return "unsupported";
    case GRPOALIGN_ERR_SINGULAR:
        return "singular";
    case GRPOALIGN_ERR_CANCELLED:
        return "cancelled";
    case GRPOALIGN_ERR_TOO_LARGE:
        return "too_large";
    case GRPOALIGN_ERR_INTERNAL:
        return "internal";
    default:
        return "unknown";
    }
}

grpoalign_status gra_fail(grpoalign_error *error, grpoalign_status status, int32_t argument,
                          int64_t index, const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        error->status = status;
        error->argument = argument;
        error->index = index;
        va_start(arguments, format);
        (void)vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

void gra_note_memory(grpoalign_error *error)
{
    (void)gra_fail(error, GRPOALIGN_ERR_MEMORY, 0, -1, "out of memory");
}

grpoalign_status gra_ask_host(grpoalign_progress_fn progress, void *user, double left,
                              grpoalign_error *error)
{
    grpoalign_progress state = {.struct_size = sizeof state, .iteration = 1, .change = left};
    return progress != NULL && progress(user, &state) != 0
               ? gra_fail(error, GRPOALIGN_ERR_CANCELLED, 0, -1, "stopped by the progress function")
               : GRPOALIGN_OK;
}

void gra_clear(grpoalign_error *error)
{
    if (error != NULL) {
        memset(error, 0, sizeof *error);
        error->index = -1;
    }
}
