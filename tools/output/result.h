/* A solution, copied out of the library, and what is told of it. */
#ifndef GPA_RESULT_H
#define GPA_RESULT_H

#include <grpoalign/grpoalign.h>

#include "input/context.h"
#include "input/problem.h"
#include "output/derivatives.h"
#include "output/field.h"

/* All zeros: none yet. */
typedef struct result {
    double *policy, *advantage, *reference; /* one number per outcome each */
    grpoalign_report report;
    int64_t contexts; /* that share a std; 0: none do */
    double std,
        beta; /* theirs, and the beta of each as if unscaled; NaN where they have no effect */
    derivatives derivatives;
} result;

extern const field RESULT_FIELDS[];
extern const field RESULT_REFERENCE[]; /* the reference of a result */
extern const field BATCH_FIELDS[];     /* of a result that shares its std */
extern const field CONTEXT_LABELS[];   /* the outcomes of a context, where they have names */
extern const field CONTEXT_LABEL[];    /* for a row of CSV: one, by name or number */

/* Copies a solution of a problem. Returns a status of the library. */
grpoalign_status result_take(result *self, const problem *from, const grpoalign_solution *solution,
                             grpoalign_error *error);
/* Solves a context. Returns a status of the library. */
grpoalign_status result_solve(result *self, const context *c, grpoalign_error *error);
void result_free(result *self);

/* sum policy value. */
double expectation_of(const double *policy, const double *values, int64_t n);

/* `, "policy": [...], ...`: what is told of a solution everywhere. */
void json_result(text *out, const result *self, int64_t n);

/* ---- quantities that a plot may show --------------------------------------------------------- */

typedef struct quantity {
    const char *name;   /* of a field; NULL: a metric, or the probability of an outcome */
    const char *metric; /* its name, which the quantity does not own; NULL: none */
    int64_t outcome;
    int logarithmic;
    const char *label; /* of a field, in gnuplot's enhanced text */
} quantity;

/* Several, in one plot; `names` holds what --show says. */
enum { MOST_QUANTITIES = 6 };
typedef struct quantities {
    quantity items[MOST_QUANTITIES];
    int count;
    char names[512];
} quantities;

/* The expected reward. */
quantity quantity_default(void);
/* Reads what --show says, one quantity or several with commas, as a parameter is read. */
int quantity_read(void *into, const char *value, text *expected);
int quantities_read(void *into, const char *value, text *expected);
/* From the struct that the fields describe, or the policy over the outcomes of a context. */
double quantity_of(const quantity *self, const field *fields, const void *from,
                   const double *policy, const context *c);
/* Why a context has no such quantity, or NULL. */
const char *quantity_lacks(const quantity *self, const context *c);
/* What an axis or a line says of it, in gnuplot's enhanced text. */
void quantity_label(const quantity *self, text *out);

#endif
