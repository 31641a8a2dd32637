/* Records in JSON. */
#ifndef GPA_RECORD_H
#define GPA_RECORD_H

#include "base/text.h"
#include "input/context.h"

/* A record longer than this, or with more values, is refused before it is parsed: memory stays
 * bounded. */
#define RECORD_MOST_BYTES  ((size_t)256 << 20)
#define RECORD_MOST_VALUES ((size_t)20 << 20)

/*
 * Parses one line into a context. On failure returns 0, with the status name in *status, the reason
 * in `message`, and the id in context->id if it could be read. Free the context in either case.
 */
int record_parse(const text *line, context *out, const char **status, text *message);

#endif
