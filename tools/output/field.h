/*
 * What is told of something, field by field: its name, where it is found in a struct, and how
 * people see it. Records in JSON, rows of CSV and tables for people are all written from lists of
 * these.
 */
#ifndef GPA_FIELD_H
#define GPA_FIELD_H

#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* The type in the struct, and the value that stands for none. */
enum {
    FIELD_ID,      /* char *: JSON text; NULL */
    FIELD_TEXT,    /* const char *; NULL */
    FIELD_NAME,    /* int32_t, in words by `word`, which has NULL for none */
    FIELD_TRUTH,   /* int32_t: 1, 0; below 0 */
    FIELD_COUNT,   /* int32_t; below 0 */
    FIELD_INTEGER, /* int64_t; below 0 */
    FIELD_NUMBER,  /* double; not finite */
    FIELD_NUMBERS, /* double *, one per outcome; NULL */
    FIELD_LABELS   /* char **, one per outcome; NULL */
};

/* In a row: left out of records in JSON where there is no value. What is infinite has one, null. */
#define OPTIONAL .optional = 1

typedef struct field {
    const char *name; /* NULL ends a list */
    int kind;
    size_t at;
    int optional;
    const char *(*word)(int32_t value);
    /* For people: */
    const char *title, *unit;
    char style; /* of its digits: e, f or g */
    int precision;
} field;

/* Some fields and the struct they are taken from. */
typedef struct part {
    const field *fields;
    const void *from;
} part;

const field *field_find(const field *list, const char *name, size_t length);

/* A number of any kind; NaN for none. `outcome` counts for arrays alone. */
double field_number(const field *self, const void *from, int64_t outcome);

/* ---- JSON ------------------------------------------------------------------------------------ */

/* `"key": ` with a comma before it, unless it opens an object. */
void json_key(text *out, const char *key);
void json_numbers(text *out, const double *values, int64_t n);
/* All fields of a list; arrays have n entries. */
void json_fields(text *out, const field *list, const void *from, int64_t n);
/* One number field of `count` structs of a size as an array. */
void json_series(text *out, const field *self, const void *from, size_t size, int64_t count);

/* ---- CSV: cells as a header names them ------------------------------------------------------- */

/* Rows: the cells that `header` names, then those that `outcome` names, for each of n outcomes; one
 * row without these where `outcome` is NULL. And the header of such rows. */
void csv_rows(text *out, const char *header, const char *outcome, const part *parts, int count,
              int64_t n);
void csv_header(text *out, const char *header, const char *outcome);

/* An id, JSON text or NULL, and text as cells, quoted where they must be. */
void csv_id(text *out, const char *id);
void csv_cell(text *out, const char *value, size_t length);

/* ---- tables for people ----------------------------------------------------------------------- */

/* A number with the digits of its field, in a column of a width. */
void table_number(text *out, int width, char style, int precision, double value);
/* A field in a column: a number, yes, no or unknown. */
void table_cell(text *out, int width, const field *self, const void *from, int64_t outcome);
/* A line for each field that `names` lists, with commas between them. */
void table_lines(text *out, const char *names, const field *list, const void *from);

/* An id without the quotes of JSON. */
void text_id(text *out, const char *id);

#endif
