/* Records in JSON. */
#ifndef GPA_RECORD_H
#define GPA_RECORD_H

#include "base/text.h"
#include "input/context.h"

/* A record longer than this, or nested deeper, or whose tree takes more memory, is refused before
 * it is parsed. */
#define RECORD_MOST_BYTES ((size_t)256 << 20)
#define RECORD_MOST_TREE  ((size_t)512 << 20)
enum { RECORD_MOST_DEPTH = 64 };

/* Once, before any record is parsed: what the parser cannot have is counted, too. */
void record_prepare(void);

/*
 * Parses one line into a context. On failure returns 0, with the status name in *status, the reason
 * in `message`, and the id in context->id if it could be read. Free the context in either case.
 */
int record_parse(const text *line, int ignore_unknown, context *out, const char **status,
                 text *message);

#endif
