/* Long tables in CSV: rollouts and battles. */
#ifndef GPA_TABLES_H
#define GPA_TABLES_H

#include <stdio.h>

#include "input/context.h"

/* Names of columns; NULL where not given. */
typedef struct columns {
    const char *prompt, *reward, *logprob, *outcome, *count, *reference, *weight;
} columns;

/* Receives each context in the order of its first row; or a status and a message about one that
 * could not be built (context->id is then the only thing set). `place` is file:line. Returns 0 to
 * stop. */
typedef int (*context_sink)(void *user, context *context, const char *place, const char *status,
                            const char *message);

/* What a table holds, and where it goes. */
typedef struct table_source {
    int battles; /* else rollouts */
    const columns *wanted;
    const settings *defaults;
    context_sink sink;
    void *user;
} table_source;

/* A table may be spread over files, each with its own header. */
typedef struct table_file {
    FILE *file;
    const char *name;
} table_file;

/*
 * Reads a whole table and hands on its contexts, which the sink may keep the contents of (they are
 * freed afterwards otherwise). Returns 0 when a file could not be read; the sink was then told why.
 */
int read_table(const table_file *files, int count, const table_source *source);

#endif
