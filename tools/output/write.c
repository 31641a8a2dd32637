#include "output/write.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void write_error(text *out, const style *how, const char *id, const char *status, const char *place,
                 const char *message)
{
    text all = {0};
    text_format(&all, "%s: %s", place, message);
    const char *reason = all.bytes != NULL ? all.bytes : "";
    if (how->format == FORMAT_TABLE) {
        text_format(out, "%s%s%s: %s (%s)\n\n", id != NULL ? "context " : "", id != NULL ? id : "",
                    id != NULL ? "" : "error", status, place);
        text_format(out, "  %s\n\n", message);
    } else if (how->format == FORMAT_CSV) {
        csv_id(out, id);
        csv_text(out, status);
        csv_text(out, reason);
        text_format(out, "%.*s\n", how->columns - 3,
                    ",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,");
    } else {
        text_format(out, "{\"id\": %s, \"status\": \"%s\", \"error\": ", id != NULL ? id : "null",
                    status);
        text_quoted(out, reason);
        text_string(out, "}\n");
    }
    text_free(&all);
}

/* A field, quoted where it holds a comma, a quote or a line's end. */
static void csv_field(text *out, const char *value, size_t length)
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

void csv_text(text *out, const char *value)
{
    text_string(out, ",");
    csv_field(out, value, strlen(value));
}

void csv_number(text *out, double value)
{
    text_string(out, ",");
    if (isfinite(value)) {
        text_number(out, value);
    }
}

void csv_integer(text *out, int64_t value)
{
    text_format(out, ",%lld", (long long)value);
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

void csv_id(text *out, const char *id)
{
    text bare = {0};
    text_id(&bare, id);
    csv_field(out, bare.bytes != NULL ? bare.bytes : "", bare.length);
    text_free(&bare);
}

void json_array(text *out, const char *key, const double *values, int64_t n)
{
    text_format(out, ", \"%s\": [", key);
    for (int64_t i = 0; i < n; i++) {
        text_string(out, i > 0 ? ", " : "");
        text_number(out, values[i]);
    }
    text_string(out, "]");
}

void json_number(text *out, const char *key, double value)
{
    text_format(out, ", \"%s\": ", key);
    text_number(out, value);
}

const char *json_truth(int32_t value)
{
    return value > 0 ? "true" : value == 0 ? "false" : "null";
}

/* The library names its arguments; a record's keys are called otherwise here and there. */
void write_library_error(text *out, const style *how, const context *c, grpoalign_status status,
                         const char *place, const char *message)
{
    static const struct {
        const char *argument, *key;
    } names[] = {{"log_probabilities", "reference_logprobs"},
                 {"probabilities", "reference"},
                 {"variances", "reward_variances"}};
    text renamed = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names && renamed.length == 0; i++) {
        size_t length = strlen(names[i].argument);
        if (strncmp(message, names[i].argument, length) == 0) {
            text_string(&renamed, names[i].key);
            text_string(&renamed, message + length);
        }
    }
    write_error(out, how, c->id, grpoalign_status_name(status), place,
                renamed.length > 0 ? renamed.bytes : message);
    text_free(&renamed);
}
