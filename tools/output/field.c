#include "output/field.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const field *field_find(const field *list, const char *name, size_t length)
{
    for (; list->name != NULL; list++) {
        if (strncmp(list->name, name, length) == 0 && list->name[length] == '\0') {
            return list;
        }
    }
    return NULL;
}

/* ---- values ---------------------------------------------------------------------------------- */

/* A field's value: text or a number, or neither. */
typedef struct told {
    const char *text;
    double number;
    int64_t integer;
    int is_none, is_integer;
} told;

static const void *place_of(const field *self, const void *from)
{
    return (const char *)from + self->at;
}

static told value_of(const field *self, const void *from, int64_t outcome)
{
    const void *at = place_of(self, from);
    told v = {.number = NAN, .is_integer = 1, .integer = -1};
    switch (self->kind) {
    case FIELD_ID:
    case FIELD_TEXT:
        v.text = *(const char *const *)at;
        break;
    case FIELD_NAME:
        v.text = self->word(*(const int32_t *)at);
        break;
    case FIELD_LABELS:
        v.text = *(char *const *const *)at != NULL ? (*(char *const *const *)at)[outcome] : NULL;
        v.integer = outcome; /* what has no label has a number */
        break;
    case FIELD_TRUTH:
        v.integer = *(const int32_t *)at;
        v.text = v.integer > 0 ? "true" : v.integer == 0 ? "false" : NULL;
        break;
    case FIELD_COUNT:
        v.integer = *(const int32_t *)at;
        break;
    case FIELD_INTEGER:
        v.integer = *(const int64_t *)at;
        break;
    case FIELD_NUMBERS:
        v.number = *(const double *const *)at != NULL ? (*(const double *const *)at)[outcome] : NAN;
        v.is_integer = 0;
        break;
    default:
        v.number = *(const double *)at;
        v.is_integer = 0;
        break;
    }
    v.number = v.is_integer && v.integer >= 0 ? (double)v.integer : v.number;
    v.is_none = v.text == NULL && (v.is_integer ? v.integer < 0 : !isfinite(v.number));
    return v;
}

double field_number(const field *self, const void *from, int64_t outcome)
{
    return value_of(self, from, outcome).number;
}

static void write_number(text *out, const told *v)
{
    if (v->is_integer) {
        text_format(out, "%lld", (long long)v->integer);
    } else {
        text_number(out, v->number);
    }
}

void text_id(text *out, const char *id)
{
    size_t length = id != NULL ? strlen(id) : 0;
    if (length < 2 || id[0] != '"') {
        text_add(out, id != NULL ? id : "", length);
        return;
    }
    /* text_quoted escapes quotes and backslashes by a backslash, controls as \u00 and two digits,
     * and nothing else. */
    for (const char *at = id + 1; at < id + length - 1; at++) {
        if (at[0] != '\\') {
            text_add(out, at, 1);
        } else if (at[1] != 'u') {
            text_add(out, ++at, 1);
        } else {
            const char digits[] = {at[4], at[5], '\0'};
            char control = (char)strtol(digits, NULL, 16);
            text_add(out, &control, 1);
            at += 5;
        }
    }
}

/* ---- JSON ------------------------------------------------------------------------------------ */

void json_key(text *out, const char *key)
{
    int opens = out->length > 0 && out->bytes[out->length - 1] == '{';
    text_format(out, "%s\"%s\": ", opens ? "" : ", ", key);
}

void json_numbers(text *out, const double *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        text_string(out, i > 0 ? ", " : "[");
        text_number(out, values[i]);
    }
    text_string(out, n > 0 ? "]" : "[]");
}

static void json_labels(text *out, char *const *labels, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        text_string(out, i > 0 ? ", " : "[");
        text_quoted(out, labels[i]);
    }
    text_string(out, n > 0 ? "]" : "[]");
}

static void json_field(text *out, const field *self, const void *from, int64_t n)
{
    const void *at = place_of(self, from);
    int is_list = self->kind == FIELD_NUMBERS || self->kind == FIELD_LABELS;
    told v = {.number = NAN, .is_none = is_list && *(const void *const *)at == NULL};
    if (!is_list) {
        v = value_of(self, from, 0);
    }
    if (v.is_none && self->optional && !isinf(v.number)) {
        return;
    }
    json_key(out, self->name);
    if (v.is_none) {
        text_string(out, "null");
    } else if (self->kind == FIELD_NUMBERS) {
        json_numbers(out, *(const double *const *)at, n);
    } else if (self->kind == FIELD_LABELS) {
        json_labels(out, *(char *const *const *)at, n);
    } else if (self->kind == FIELD_ID || self->kind == FIELD_TRUTH) {
        text_string(out, v.text);
    } else if (v.text != NULL) {
        text_quoted(out, v.text);
    } else {
        write_number(out, &v);
    }
}

void json_fields(text *out, const field *list, const void *from, int64_t n)
{
    for (; list->name != NULL; list++) {
        json_field(out, list, from, n);
    }
}

void json_series(text *out, const field *self, const void *from, size_t size, int64_t count)
{
    json_key(out, self->name);
    text_string(out, "[");
    for (int64_t k = 0; k < count; k++) {
        text_string(out, k > 0 ? ", " : "");
        text_number(out, field_number(self, (const char *)from + (size_t)k * size, 0));
    }
    text_string(out, "]");
}

/* ---- CSV ------------------------------------------------------------------------------------- */

void csv_cell(text *out, const char *value, size_t length)
{
    if (strcspn(value, ",\"\r\n") >= length) {
        text_add(out, value, length);
        return;
    }
    text_string(out, "\"");
    for (size_t i = 0; i < length; i++) {
        text_add(out, "\"", value[i] == '"');
        text_add(out, &value[i], 1);
    }
    text_string(out, "\"");
}

void csv_id(text *out, const char *id)
{
    text bare = {0};
    text_id(&bare, id);
    csv_cell(out, bare.bytes != NULL ? bare.bytes : "", bare.length);
    out->failed = out->failed || bare.failed;
    text_free(&bare);
}

static void csv_field(text *out, const field *self, const void *from, int64_t outcome)
{
    told v = value_of(self, from, outcome);
    if (v.is_none) {
        return;
    }
    if (self->kind == FIELD_ID) {
        csv_id(out, v.text);
    } else if (v.text != NULL) {
        csv_cell(out, v.text, strlen(v.text));
    } else {
        write_number(out, &v);
    }
}

/* The fields that a header names, with their structs; a name that no part has is an empty cell. */
enum { MOST_CELLS = 64 };
typedef struct cells {
    struct {
        const field *field; /* or NULL */
        const void *from;
    } items[MOST_CELLS];
    int count;
} cells;

static void find_cells(cells *self, const char *header, const part *parts, int count)
{
    self->count = 0;
    for (size_t length; *header != '\0' && self->count < MOST_CELLS; header += length) {
        length = strcspn(header, ",");
        const field *found = NULL;
        for (int k = 0; k < count && found == NULL; k++) {
            found = field_find(parts[k].fields, header, length);
            self->items[self->count].from = parts[k].from;
        }
        self->items[self->count++].field = found;
        length += header[length] == ',';
    }
}

static void write_cells(text *out, const cells *self, int64_t outcome)
{
    for (int k = 0; k < self->count; k++) {
        text_add(out, ",", k > 0);
        if (self->items[k].field != NULL) {
            csv_field(out, self->items[k].field, self->items[k].from, outcome);
        }
    }
}

void csv_rows(text *out, const char *header, const char *outcome, const part *parts, int count,
              int64_t n)
{
    cells found;
    text row = {0};
    find_cells(&found, header, parts, count);
    write_cells(&row, &found, 0);
    text_add(&row, ",", outcome != NULL);
    find_cells(&found, outcome != NULL ? outcome : "", parts, count);
    for (int64_t o = 0; o < (outcome != NULL ? n : 1); o++) {
        text_add(out, row.bytes != NULL ? row.bytes : "", row.length);
        write_cells(out, &found, o);
        text_add(out, "\n", 1);
    }
    out->failed = out->failed || row.failed;
    text_free(&row);
}

void csv_header(text *out, const char *header, const char *outcome)
{
    text_format(out, "%s%s%s\n", header, outcome != NULL ? "," : "",
                outcome != NULL ? outcome : "");
}

/* ---- tables for people ----------------------------------------------------------------------- */

void table_number(text *out, int width, char style, int precision, double value)
{
    if (style == 'e') {
        text_format(out, "%*.*e", width, precision, value);
    } else if (style == 'f') {
        text_format(out, "%*.*f", width, precision, value);
    } else {
        text_format(out, "%*.*g", width, precision, value);
    }
}

void table_cell(text *out, int width, const field *self, const void *from, int64_t outcome)
{
    if (self->kind == FIELD_TRUTH) {
        int32_t truth = *(const int32_t *)place_of(self, from);
        text_format(out, "%*s", width, truth > 0 ? "yes" : truth == 0 ? "no" : "unknown");
    } else {
        table_number(out, width, self->style, self->precision, field_number(self, from, outcome));
    }
}

void table_lines(text *out, const char *names, const field *list, const void *from)
{
    for (size_t length; *names != '\0'; names += length) {
        length = strcspn(names, ",");
        const field *found = field_find(list, names, length);
        if (found == NULL) {
            break; /* a name that no list has */
        }
        text_format(out, "  %-21s", found->title);
        table_cell(out, 0, found, from, 0);
        text_format(out, "%s\n", found->unit != NULL ? found->unit : "");
        length += names[length] == ',';
    }
}
