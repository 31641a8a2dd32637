/* Tables for people. */
#ifndef GPA_TABLE_H
#define GPA_TABLE_H

#include "input/context.h"
#include "output/result.h"

/* The first line, which says what was asked. */
void table_heading(text *out, const context *c);

/* A line on what contexts in a batch share, where they do. */
void table_batch(text *out, const result *self);

/* The name of an outcome, padded to the width; and the width it takes, 40 at most. */
void table_label(text *out, const context *c, int64_t outcome, int width);
int label_width(const context *c, int64_t outcome);

#endif
