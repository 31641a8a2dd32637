/* A table in CSV, row by row, in bounded memory. */
#ifndef GPA_ROWS_H
#define GPA_ROWS_H

#include <stdio.h>

#include "base/text.h"
#include "input/names.h"

/* The first thing that is wrong, and where; all zeros: nothing is. */
typedef struct fault {
    text message;
    const char *status;
    long line;
} fault;

/* Keeps what is wrong, unless something was before. */
void fault_add(fault *self, long line, const char *status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

enum { MOST_COLUMNS = 4096 };

/* The row at hand. */
typedef struct rows {
    names header;
    const char *fields[MOST_COLUMNS];
    int64_t count; /* of the fields */
    long line;     /* on which the row starts, from 1 */
    fault fatal;   /* of the file as a whole; ends the reading */
    /* Called after the header, and after each row that follows. */
    void (*on_header)(void *user);
    void (*on_row)(void *user);
    void *user;
    /* the reader's own */
    text bytes;
    size_t starts[MOST_COLUMNS];
    long last_line, row_count;
    int have_header;
} rows;

/* Reads a whole file. */
void rows_read(rows *self, FILE *file);
void rows_free(rows *self);

#endif
