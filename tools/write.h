/* What all commands write alike. */
#ifndef GPA_WRITE_H
#define GPA_WRITE_H

#include "context.h"
#include "text.h"

/* How results are written. */
enum { FORMAT_JSONL, FORMAT_TABLE };

/* Appends an error record; `place` is file:line, id is JSON text or NULL. */
void write_error(text *out, int format, const char *id, const char *status, const char *place, const char *message);

/* The same for a status of the library, whose arguments are called as the record's keys. */
void write_library_error(text *out, int format, const context *c, grpoalign_status status, const char *place,
                         const char *message);

/* `, "key": value` */
void json_array(text *out, const char *key, const double *values, int64_t n);
void json_number(text *out, const char *key, double value);

/* "true" above 0, "false" at 0, "null" below. */
const char *json_truth(int32_t value);

#endif
