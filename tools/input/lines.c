#include "input/lines.h"

#include <string.h>

int next_line(FILE *file, size_t most, text *line)
{
    char piece[4096];
    size_t used = 0, length = 0;
    int byte;
    text_clear(line);
    while ((byte = getc_unlocked(file)) != EOF && byte != '\n') {
        if (length++ < most) {
            piece[used++] = (char)byte;
        }
        if (used == sizeof piece) {
            text_add(line, piece, used);
            used = 0;
        }
    }
    text_add(line, piece, used);
    return byte == EOF && length == 0 ? LINE_END
           : length > most            ? LINE_TOO_LONG
           : line->failed             ? LINE_NO_MEMORY
                                      : LINE_READ;
}

int is_blank(const text *line)
{
    for (size_t i = 0; i < line->length; i++) {
        if (line->bytes[i] == '\0' || strchr(" \t\r", line->bytes[i]) == NULL) {
            return 0;
        }
    }
    return 1;
}

size_t byte_order_mark(const char *start, size_t length)
{
    return length >= 3 && memcmp(start, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}
