/* Growing text, and numbers that read back to the same double. */
#ifndef GPA_TEXT_H
#define GPA_TEXT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

typedef struct text {
    char *bytes; /* NUL-terminated once anything was added */
    size_t length, capacity;
    int failed; /* memory ran out; nothing more is added */
} text;

void text_add(text *self, const char *bytes, size_t length);
void text_string(text *self, const char *string);
void text_format(text *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_arguments(text *self, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
/* A JSON number that reads back to the same double; null when it is not finite. */
void text_number(text *self, double value);
/* A JSON string. Bytes that are not UTF-8 become U+FFFD. */
void text_quoted(text *self, const char *string);
/* Puts - for every _. */
void text_dashes(text *self);
void text_clear(text *self);
void text_free(text *self);

#endif
