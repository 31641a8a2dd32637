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
    deadline until;
} problem;

/* Close it also after failure. */
grpoalign_status problem_open(problem *self, const context *c, grpoalign_error *error);
void problem_close(problem *self);

/* Options that have the library stop when the context's time is over. */
grpoalign_solve_options problem_solve_options(problem *self);
grpoalign_flow_options problem_flow_options(problem *self);
grpoalign_inverse_options problem_inverse_options(problem *self);

/* The progress function of these; `user` is the deadline. */
int32_t is_over(void *user, const grpoalign_progress *progress);

#endif
