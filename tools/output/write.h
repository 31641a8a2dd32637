/* How results and errors are written. */
#ifndef GPA_WRITE_H
#define GPA_WRITE_H

#include <grpoalign/grpoalign.h>

#include "base/text.h"

enum { FORMAT_JSONL, FORMAT_TABLE, FORMAT_CSV };

/* Rows of CSV start with id, status and error; all have as many columns as the header. */
typedef struct style {
    int format;
    int columns; /* of CSV */
} style;

/* Where the answer to one context goes. */
typedef struct reply {
    const style *how;
    const char *place; /* file:line, where the context came from */
    text *out;
    text *aside; /* for what is drawn at the end */
} reply;

/* The start of a record in JSON; id is JSON text or NULL. */
void json_start(text *out, const char *id, const char *status);

/* Writes an error. */
void write_error(const reply *to, const char *id, const char *status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same for an error of the library, whose arguments are called as the record's keys. */
void write_library_error(const reply *to, const char *id, grpoalign_status status,
                         const char *message);

#endif
