/* A context as the library has it. */
#ifndef GPA_PROBLEM_H
#define GPA_PROBLEM_H

#include <grpoalign/grpoalign.h>

#include "input/context.h"

typedef struct problem {
    grpoalign_problem *handle;
    grpoalign_reference *reference; /* for its normalised probabilities */
    int64_t outcomes;
    double beta;
} problem;

/* Close it also after failure. */
grpoalign_status problem_open(problem *self, const context *c, grpoalign_error *error);
void problem_close(problem *self);

#endif
