/* Lines of a file, in bounded memory. */
#ifndef GPA_LINES_H
#define GPA_LINES_H

#include <stdio.h>

#include "base/text.h"

enum { LINE_END, LINE_READ, LINE_TOO_LONG /* it is passed over */, LINE_NO_MEMORY };

/* The next line, without its newline, of at most `most` bytes. */
int next_line(FILE *file, size_t most, text *line);

/* Whether a line has nothing but spaces. */
int is_blank(const text *line);

/* How many bytes of UTF-8's mark of byte order a file starts with: 0 or 3. */
size_t byte_order_mark(const char *start, size_t length);

#endif
