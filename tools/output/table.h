/* Tables for people. */
#ifndef GPA_TABLE_H
#define GPA_TABLE_H

#include "input/context.h"
#include "output/result.h"

/* The first line, which says what was asked. */
void table_heading(text *out, const context *c);

/* A line on what contexts in a batch share, where they do. */
void table_batch(text *out, const result *self);

/* The name of an outcome, padded to the width; and the width that the names of the first `count` in
 * an order take (NULL: as they are), at least `least` and at most 40. */
void table_label(text *out, const context *c, int64_t outcome, int width);
int labels_width(const context *c, const int64_t *order, int64_t count, int least);

#endif
