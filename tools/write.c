#include "write.h"

#include <string.h>

void write_error(text *out, int format, const char *id, const char *status, const char *place, const char *message)
{
    if (format == FORMAT_TABLE) {
        text_format(out, "%s%s%s: %s (%s)\n\n", id != NULL ? "context " : "", id != NULL ? id : "",
                    id != NULL ? "" : "error", status, place);
        text_format(out, "  %s\n\n", message);
        return;
    }
    text_format(out, "{\"id\": %s, \"status\": \"%s\", \"error\": ", id != NULL ? id : "null", status);
    text all = {0};
    text_format(&all, "%s: %s", place, message);
    text_quoted(out, all.bytes != NULL ? all.bytes : "");
    text_free(&all);
    text_string(out, "}\n");
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
void write_library_error(text *out, int format, const context *c, grpoalign_status status, const char *place,
                         const char *message)
{
    static const struct {
        const char *argument, *key;
    } names[] = {
        {"log_probabilities", "reference_logprobs"}, {"probabilities", "reference"}, {"variances", "reward_variances"}};
    text renamed = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names && renamed.length == 0; i++) {
        size_t length = strlen(names[i].argument);
        if (strncmp(message, names[i].argument, length) == 0) {
            text_string(&renamed, names[i].key);
            text_string(&renamed, message + length);
        }
    }
    write_error(out, format, c->id, grpoalign_status_name(status), place, renamed.length > 0 ? renamed.bytes : message);
    text_free(&renamed);
}
