#include "input/rows.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <csv.h>

#include "base/memory.h"
#include "input/lines.h"

/* A field longer than this is refused. */
static const size_t MOST_FIELD_BYTES = (size_t)16 << 20;

void fault_add(fault *self, long line, const char *status, const char *format, ...)
{
    va_list arguments;
    if (self->status != NULL) {
        return;
    }
    va_start(arguments, format);
    text_arguments(&self->message, format, arguments);
    va_end(arguments);
    self->status = status;
    self->line = line;
}

static void take_field(void *bytes, size_t length, void *user)
{
    rows *self = user;
    if (self->count >= MOST_COLUMNS) {
        fault_add(&self->fatal, self->line, "shape", "the row has more than %d fields",
                  MOST_COLUMNS);
        return;
    }
    self->starts[self->count++] = self->bytes.length;
    text_add(&self->bytes, bytes, length);
    text_add(&self->bytes, "", 1);
    if (self->bytes.failed) {
        fault_add(&self->fatal, self->line, "memory", "out of memory");
    }
}

static void take_header(rows *self)
{
    self->have_header = 1;
    for (int64_t i = 0; i < self->count; i++) {
        size_t before = self->header.keys.count;
        if (names_number(&self->header, self->fields[i]) < 0) {
            fault_add(&self->fatal, self->line, "memory", "out of memory");
        } else if (self->header.keys.count == before) {
            fault_add(&self->fatal, self->line, "column", "the header names \"%.60s\" twice",
                      self->fields[i]);
        }
    }
    if (self->fatal.status == NULL) {
        self->on_header(self->user);
    }
}

static void take_row(int terminator, void *user)
{
    rows *self = user;
    (void)terminator;
    if (self->fatal.status == NULL) {
        for (int64_t i = 0; i < self->count; i++) {
            self->fields[i] = self->bytes.bytes + self->starts[i];
        }
        if (self->have_header) {
            self->row_count++;
            self->on_row(self->user);
        } else {
            take_header(self);
        }
    }
    text_clear(&self->bytes);
    self->count = 0;
    self->line = self->last_line + 1;
}

/* Up to `room` bytes of a line into `piece`; 0 at the end of the file. */
static size_t read_piece(FILE *file, char *piece, size_t room)
{
    size_t length = 0;
    for (int byte; length < room && (byte = getc_unlocked(file)) != EOF;) {
        piece[length++] = (char)byte;
        if (byte == '\n') {
            break;
        }
    }
    return length;
}

static void take_piece(rows *self, struct csv_parser *parser, const char *bytes, size_t length)
{
    if (csv_parse(parser, bytes, length, take_field, take_row, self) != length) {
        int badly_quoted = csv_error(parser) == CSV_EPARSE;
        fault_add(
            &self->fatal, self->line, badly_quoted ? "csv" : "memory", "%s",
            badly_quoted
                ? "a quote stands inside a field or is not closed: expected \"\" inside quotes"
                : "out of memory");
    } else if (csv_get_buffer_size(parser) > MOST_FIELD_BYTES) {
        fault_add(&self->fatal, self->line, "too_large", "a field is longer than %zu bytes",
                  MOST_FIELD_BYTES);
    }
}

/* Feeds the file to the parser a line, or a piece of one, at a time, so that rows know their line.
 */
static void take_file(rows *self, struct csv_parser *parser, FILE *file)
{
    static const size_t PIECE = 1 << 16;
    char *piece = memory_malloc(PIECE);
    size_t length;
    if (piece == NULL) {
        fault_add(&self->fatal, self->line, "memory", "out of memory");
    }
    for (int first = 1, at_start = 1;
         self->fatal.status == NULL && (length = read_piece(file, piece, PIECE)) > 0; first = 0) {
        size_t mark = first ? byte_order_mark(piece, length) : 0;
        self->last_line += at_start;
        if (memchr(piece, '\0', length) != NULL) {
            fault_add(&self->fatal, self->last_line, "csv", "there is a NUL byte: expected text");
        } else {
            at_start = piece[length - 1] == '\n';
            take_piece(self, parser, piece + mark, length - mark);
        }
    }
    free(piece);
    if (self->fatal.status == NULL && ferror(file)) {
        fault_add(&self->fatal, self->line, "read", "cannot be read: %s", strerror(errno));
    }
    if (self->fatal.status == NULL && csv_fini(parser, take_field, take_row, self) != 0) {
        fault_add(&self->fatal, self->line, "csv", "the file ends inside quotes");
    }
}

void rows_read(rows *self, FILE *file)
{
    struct csv_parser parser;
    self->line = 1;
    if (csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL) != 0) {
        fault_add(&self->fatal, self->line, "memory", "out of memory");
        return;
    }
    csv_set_realloc_func(&parser, memory_realloc);
    take_file(self, &parser, file);
    csv_free(&parser);
    if (!self->have_header) {
        fault_add(&self->fatal, 1, "empty", "the file is empty: expected a header and rows");
    } else if (self->row_count == 0) {
        fault_add(&self->fatal, self->line, "empty", "there is a header but no row");
    }
}

void rows_free(rows *self)
{
    names_free(&self->header);
    text_free(&self->bytes);
    text_free(&self->fatal.message);
}
