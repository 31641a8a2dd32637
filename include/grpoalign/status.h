/*
 * Status codes and the error record.
 *
 * Every function that can fail returns a grpoalign_status:
 *     0    the result is what was asked for;
 *   > 0    the result is there and valid as described, but qualified (see each code);
 *   < 0    there is no result; outputs are untouched or NULL.
 * A code means one thing for ever; codes are never reused.
 *
 * The library keeps no last error anywhere: pass a grpoalign_error (or NULL) and read it when the
 * status is not 0. It needs no initialisation and owns no memory.
 */
#ifndef GRPOALIGN_STATUS_H
#define GRPOALIGN_STATUS_H

#include <grpoalign/export.h>

GRPOALIGN_BEGIN

typedef int32_t grpoalign_status;

typedef enum grpoalign_status_code {
    GRPOALIGN_OK = 0,

    /* Qualified results. */
    GRPOALIGN_NOT_UNIQUE = 1, /* other stationary policies exist; this is the one reached from the
                                 reference policy */
    /* the estimated error of the policy exceeds the tolerance; whether other stationary policies
     * exist, the report's `unique` tells */
    GRPOALIGN_ACCURACY_LIMITED = 2,
    GRPOALIGN_COLLAPSED = 3, /* no stationary policy with full support exists; the policy given is
                                the limit of training, with the best outcomes alone */
    GRPOALIGN_NOT_CONVERGED = 4, /* the iteration limit was reached; the best iterate is given */
    /* Training has no end here. Without a penalty no outcome beats all others: the policy given is
     * what training circles around, a maximal lottery. With one that lets outcomes go, one that
     * was lost would come back to the policy given. */
    GRPOALIGN_UNSETTLED = 5,
    GRPOALIGN_UNREACHABLE = 6, /* no beta does what was asked for; the policy given comes nearest */

    /* The caller's fault. */
    GRPOALIGN_ERR_ARGUMENT = -1, /* a NULL pointer, or a value outside its range */
    GRPOALIGN_ERR_HANDLE = -2,   /* a handle of another type */
    /* struct_size is absurd, or newer than the library with fields set */
    GRPOALIGN_ERR_STRUCT_SIZE = -3,
    GRPOALIGN_ERR_DIMENSION = -4,    /* sizes that do not fit together */
    GRPOALIGN_ERR_NOT_FINITE = -5,   /* NaN or infinity where a number is needed */
    GRPOALIGN_ERR_PROBABILITY = -6,  /* negative, above one, or not summing to one */
    GRPOALIGN_ERR_ANTISYMMETRY = -7, /* margins with margin[i][j] != -margin[j][i] */

    /* The environment. */
    GRPOALIGN_ERR_MEMORY = -40,
    GRPOALIGN_ERR_CANCELLED = -41, /* the progress callback asked to stop */
    GRPOALIGN_ERR_TOO_LARGE = -42, /* the problem needs more memory than a method may take */
    /* no method is known for this combination of model and penalty */
    GRPOALIGN_ERR_UNSUPPORTED = -43,
    /* no derivative: two stationary policies meet here, in a fold */
    GRPOALIGN_ERR_SINGULAR = -44,

    GRPOALIGN_ERR_INTERNAL = -99 /* a fault of the library: please report it */
} grpoalign_status_code;

/**
 * What went wrong, or what qualifies the result: filled whenever the status is not 0, and cleared
 * where it is 0. Frozen layout, 256 bytes.
 * status:   the code returned.
 * argument: 1-based position of the argument at fault, 0 when no single one is.
 * index:    0-based element of that argument (row-major for a matrix), -1 when none is.
 * message:  one line, no newline, naming the argument, the value and the rule. NUL-terminated.
 *
 * @code
 * #include <stdio.h>
 * #include <grpoalign/grpoalign.h>
 *
 * int main(void)
 * {
 *     grpoalign_reference *reference = NULL;
 *     grpoalign_error error;
 *     if (grpoalign_reference_new_uniform(0, NULL, &reference, &error) < 0) {
 *         printf("%s: %s\n", grpoalign_status_name(error.status), error.message);
 *     }
 *     return error.argument != 1; // n, the first argument
 * }
 * @endcode
 */
typedef struct grpoalign_error {
    int32_t status;
    int32_t argument;
    int64_t index;
    char message[240];
} grpoalign_error;

/**
 * The lower-case name of a status, such as "ok", "not_unique" or "antisymmetry"; "unknown" for a
 * number that is no status. Static storage, safe from any thread.
 */
GRPOALIGN_API const char *grpoalign_status_name(grpoalign_status status);

GRPOALIGN_END

#endif
