#include "base/text.h"

#include <float.h>
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

/* Decimal digits d of a number 0.d1 d2 ... times 10^(exponent + 1), and its sign. */
typedef struct decimal {
    char digits[24];
    int count, exponent, is_negative;
} decimal;

/* Seventeen digits, correctly rounded: one more than a double ever needs to be told apart. */
static void decimal_of(decimal *self, double value)
{
    char all[40];
    (void)snprintf(all, sizeof all, "%.16e", value);
    const char *at = all;
    self->is_negative = *at == '-';
    at += self->is_negative;
    self->digits[0] = at[0];
    memcpy(self->digits + 1, at + 2, 16);
    self->count = 17;
    self->exponent = (int)strtol(at + 19, NULL, 10);
}

/* The number in `precision` digits as printf writes it with %.*g. */
static void decimal_write(const decimal *self, int precision, char *out)
{
    int count = self->count, e = self->exponent;
    while (count > 1 && self->digits[count - 1] == '0') {
        count--;
    }
    *out = '-';
    out += self->is_negative;
    if (e < -4 || e >= precision) {
        *out++ = self->digits[0];
        *out = '.';
        out += count > 1;
        memcpy(out, self->digits + 1, (size_t)(count - 1));
        (void)snprintf(out + count - 1, 8, "e%c%02d", e < 0 ? '-' : '+', abs(e) % 1000);
        return;
    }
    for (int place = e < 0 ? e : 0; place < count || place <= e; place++) {
        *out++ = place < 0 || place >= count ? '0' : self->digits[place];
        *out = '.';
        out += place == e && place + 1 < count;
    }
    *out = '\0';
}

/* Rounds to fewer digits. 0 where it cannot be told from these digits which way. */
static int decimal_round(const decimal *from, int count, decimal *out)
{
    *out = *from;
    out->count = count;
    const char *rest = from->digits + count;
    int is_half = *rest == '5';
    for (int i = count + 1; is_half && i < from->count; i++) {
        is_half = from->digits[i] == '0';
    }
    if (is_half) {
        return 0;
    }
    int i = count - 1, carries = *rest >= '5';
    for (; carries && i >= 0; i--) {
        carries = out->digits[i] == '9';
        out->digits[i] = carries ? '0' : (char)(out->digits[i] + 1);
    }
    if (carries) { /* 99...9 */
        out->digits[0] = '1';
        out->exponent++;
    }
    return 1;
}

/* What is rounded to fifteen digits is another double, but for an end like 00, 07 or 94: a double
 * holds 12 units of the seventeenth digit at most. */
static int may_be_short(const decimal *self)
{
    int end = 10 * (self->digits[15] - '0') + (self->digits[16] - '0');
    return end <= 12 || end >= 88;
}

void text_number(text *self, double value)
{
    if (!isfinite(value)) {
        text_string(self, "null");
        return;
    }
    char out[40];
    decimal all, rounded;
    decimal_of(&all, value);
    int is_subnormal = fabs(value) < DBL_MIN;
    for (int precision = may_be_short(&all) || is_subnormal ? 15 : 16; precision <= 17;
         precision++) {
        if (precision == 17) {
            decimal_write(&all, precision, out);
        } else if (decimal_round(&all, precision, &rounded)) {
            decimal_write(&rounded, precision, out);
        } else {
            (void)snprintf(out, sizeof out, "%.*g", precision, value);
        }
        if (precision == 17 || strtod(out, NULL) == value) {
            break;
        }
    }
    text_string(self, out);
    if (strpbrk(out, ".en") == NULL) {
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
