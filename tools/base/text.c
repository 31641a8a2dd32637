#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static int reserve(text *self, size_t more)
{
    if (self->failed) {
        return 0;
    }
    if (self->capacity - self->length <= more) {
        size_t capacity = self->capacity > 0 ? self->capacity : 256;
        while (capacity - self->length <= more) {
            if (capacity > SIZE_MAX / 2) {
                self->failed = 1;
                return 0;
            }
            capacity *= 2;
        }
        char *bytes = memory_realloc(self->bytes, capacity);
        if (bytes == NULL) {
            self->failed = 1;
            return 0;
        }
        self->bytes = bytes;
        self->capacity = capacity;
    }
    return 1;
}

void text_add(text *self, const char *bytes, size_t length)
{
    if (reserve(self, length)) {
        memcpy(self->bytes + self->length, bytes, length);
        self->length += length;
        self->bytes[self->length] = '\0';
    }
}

void text_string(text *self, const char *string)
{
    text_add(self, string, strlen(string));
}

void text_arguments(text *self, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    if (length >= 0 && reserve(self, (size_t)length)) {
        (void)vsnprintf(self->bytes + self->length, (size_t)length + 1, format, again);
        self->length += (size_t)length;
    }
    va_end(again);
}

void text_format(text *self, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    text_arguments(self, format, arguments);
    va_end(arguments);
}

void text_number(text *self, double value)
{
    if (!isfinite(value)) {
        text_string(self, "null");
        return;
    }
    char digits[32];
    for (int precision = 15; precision <= 17; precision++) {
        (void)snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value) {
            break;
        }
    }
    text_string(self, digits);
    if (strpbrk(digits, ".en") == NULL) {
        text_string(self, ".0");
    }
}

/* The length of the UTF-8 sequence at `s`, 0 if it is none. */
static size_t sequence(const unsigned char *s)
{
    size_t length = s[0] < 0x80                   ? 1
                    : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
                    : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
                    : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                                  : 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) {
        return 0;
    }
    return length;
}

void text_quoted(text *self, const char *string)
{
    text_string(self, "\"");
    for (const unsigned char *s = (const unsigned char *)string; *s != '\0';) {
        size_t length = sequence(s);
        if (length == 0) {
            text_string(self, "\xef\xbf\xbd");
            s++;
        } else if (*s == '"' || *s == '\\') {
            text_format(self, "\\%c", *s++);
        } else if (*s < 0x20) {
            text_format(self, "\\u%04x", *s++);
        } else {
            text_add(self, (const char *)s, length);
            s += length;
        }
    }
    text_string(self, "\"");
}

void text_dashes(text *self)
{
    for (size_t i = 0; i < self->length; i++) {
        self->bytes[i] = self->bytes[i] == '_' ? '-' : self->bytes[i];
    }
}

void text_clear(text *self)
{
    self->length = 0;
    if (self->bytes != NULL) {
        self->bytes[0] = '\0';
    }
}

void text_free(text *self)
{
    free(self->bytes);
    memset(self, 0, sizeof *self);
}
