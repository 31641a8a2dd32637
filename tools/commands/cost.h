/* How long an answer may take, roughly: within a factor of five, on a processor of 2026. */
#ifndef GPA_COST_H
#define GPA_COST_H

#include "base/text.h"
#include "input/context.h"

/* Seconds for one stationary policy, for all of them, for the way there. */
double cost_of_solving(const context *c);
double cost_of_points(const context *c);
double cost_of_flow(const context *c);

/* What is worth telling beforehand. */
extern const double LONG_SECONDS;

/* "about 3 minutes" */
void text_duration(text *self, double seconds);

#endif
