/* What all commands write alike. */
#ifndef GPA_WRITE_H
#define GPA_WRITE_H

#include "input/context.h"
#include "base/text.h"

/* How results are written. Rows of CSV start with id, status and error; all have as many columns as
 * the header. */
enum { FORMAT_JSONL, FORMAT_TABLE, FORMAT_CSV };

typedef struct style {
    int format;
    int columns; /* of CSV */
} style;

/* Appends an error record; `place` is file:line, id is JSON text or NULL. */
void write_error(text *out, const style *how, const char *id, const char *status, const char *place,
                 const char *message);

/* The same for a status of the library, whose arguments are called as the record's keys. */
void write_library_error(text *out, const style *how, const context *c, grpoalign_status status,
                         const char *place, const char *message);

/* A field of CSV with the comma before it; text is quoted where it must be, a number that does not
 * exist is left out. */
void csv_text(text *out, const char *value);
void csv_number(text *out, double value);
void csv_integer(text *out, int64_t value);
/* The first field: an id, JSON text or NULL; and the same for people. */
void csv_id(text *out, const char *id);
void text_id(text *out, const char *id);

/* `, "key": value` */
void json_array(text *out, const char *key, const double *values, int64_t n);
void json_number(text *out, const char *key, double value);

/* "true" above 0, "false" at 0, "null" below. */
const char *json_truth(int32_t value);

#endif
