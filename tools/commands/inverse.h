/* What the commands that look for a beta share. */
#ifndef GPA_INVERSE_H
#define GPA_INVERSE_H

#include "commands/run.h"

/* What was found beside the solution; NaN where there is none. */
typedef struct inverse {
    int32_t status;
    double beta;
    double value;                   /* tune */
    double beta_se, log_likelihood; /* fit */
    double log_likelihood_reference, log_likelihood_most;
} inverse;

/* A record's beta is not needed: it is looked for. One that is given is an error, which act tells
 * by inverse_refuses. */
void inverse_prepare(void *user, settings *self);
/* Writes the error and returns 1 where a beta is given. */
int inverse_refuses(const context *c, const char *command, const reply *to);
double inverse_cost(void *user, const context *c);

/* Writes what was found: the fields of `found` and those of the solution. `line` is for people. */
void inverse_write(const context *c, const result *r, const field *fields, const inverse *found,
                   const char *line, const reply *to);

/* In solve.c: a solution for people. */
void solution_table(const context *c, const result *r, text *out);

#endif
