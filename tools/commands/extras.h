/* What is told beside a solution: metrics of the outcomes, groups without spread, and what a trainer
 * would compute for one group. */
#ifndef GPA_EXTRAS_H
#define GPA_EXTRAS_H

#include "output/result.h"

/* The probability of a group whose rewards are all equal; NaN where the model has no groups. */
double silent_of(const context *c, const double *policy);

/* `, "metrics": {...}, "silent_reference": ...`, as far as the context has them. */
void json_extras(text *out, const context *c, const result *r);

#endif
