#include "output/write.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "output/field.h"

void json_start(text *out, const char *id, const char *status)
{
    text_format(out, "{\"id\": %s, \"status\": \"%s\"", id != NULL ? id : "null", status);
}

static void put_error(const reply *to, const char *id, const char *status, const char *message)
{
    text all = {0};
    text_format(&all, "%s: %s", to->place, message);
    const char *reason = all.bytes != NULL ? all.bytes : "";
    if (to->how->format == FORMAT_TABLE) {
        text_format(to->out, "%s%s: %s (%s)\n\n  %s\n\n", id != NULL ? "context " : "error",
                    id != NULL ? id : "", status, to->place, message);
    } else if (to->how->format == FORMAT_CSV) {
        csv_id(to->out, id);
        text_format(to->out, ",%s,", status);
        csv_cell(to->out, reason, all.length);
        for (int k = 3; k < to->how->columns; k++) {
            text_string(to->out, ",");
        }
        text_string(to->out, "\n");
    } else {
        json_start(to->out, id, status);
        json_key(to->out, "error");
        text_quoted(to->out, reason);
        text_string(to->out, "}\n");
    }
    text_free(&all);
}

void write_error(const reply *to, const char *id, const char *status, const char *format, ...)
{
    va_list arguments;
    text message = {0};
    va_start(arguments, format);
    text_arguments(&message, format, arguments);
    va_end(arguments);
    put_error(to, id, status, message.bytes != NULL ? message.bytes : "out of memory");
    text_free(&message);
}

/* The library names its arguments; a record's keys are called otherwise here and there. Nothing
 * but the end of its time stops an answer. */
void write_library_error(const reply *to, const char *id, grpoalign_status status,
                         const char *message)
{
    static const struct {
        const char *argument, *key;
    } names[] = {{"log_probabilities", "reference_logprobs"},
                 {"probabilities", "reference"},
                 {"variances", "reward_variances"}};
    const char *key = "";
    message = status == GRPOALIGN_ERR_CANCELLED ? "it takes longer than --timeout allows" : message;
    for (size_t i = 0; i < sizeof names / sizeof *names && *key == '\0'; i++) {
        size_t length = strlen(names[i].argument);
        if (strncmp(message, names[i].argument, length) == 0) {
            key = names[i].key;
            message += length;
        }
    }
    write_error(to, id, grpoalign_status_name(status), "%s%s", key, message);
}
