/* A solution as the commands write it. */
#ifndef GPA_RESULT_H
#define GPA_RESULT_H

#include "input/context.h"
#include "base/text.h"

typedef struct result {
    double *policy, *advantage, *reference; /* n each */
    grpoalign_report report;
    int64_t contexts; /* that share a std; 0: none do */
    double std;       /* theirs; NaN where it has no effect */
} result;

/* Copies out of the handles; the arrays are made when they are NULL. Returns a status of the
 * library. */
grpoalign_status result_take(result *self, const grpoalign_solution *solution,
                             const grpoalign_reference *reference, int64_t n,
                             grpoalign_error *error);
/* Solves a context. Returns a status of the library. */
grpoalign_status result_solve(result *self, const context *c, grpoalign_error *error);
void result_free(result *self);

/* What a plot may show of a policy. */
enum { SHOW_REWARD, SHOW_REF_POLICY, SHOW_POLICY_REF, SHOW_ENTROPY, SHOW_OUTCOME };

typedef struct quantity {
    int kind;
    int64_t outcome; /* of SHOW_OUTCOME */
    char label[64];  /* for an axis, in gnuplot's enhanced text */
} quantity;

#define QUANTITY_NAMES "expected_reward, kl_ref_policy, kl_policy_ref, entropy or policy:K"

/* Returns 0 when the value is none of QUANTITY_NAMES. */
int quantity_parse(const char *value, quantity *out);
/* `measures` in the order of the first four kinds. */
double quantity_of(const quantity *self, const double measures[4], const double *policy);
int quantity_is_logarithmic(const quantity *self);
/* Why a context has no such quantity, or NULL. */
const char *quantity_lacks(const quantity *self, const context *c);

/* `, "policy": [...], ...`: what is told of a solution everywhere. */
void json_result(text *out, const result *self, int64_t n);

/* What contexts in a batch share, where they do. */
void json_batch(text *out, const result *self);

/* `, "outcomes": [...]` where outcomes have names. */
void json_labels(text *out, const context *c);

/* The name or number of an outcome as a field of CSV. */
void csv_label(text *out, const context *c, int64_t outcome);

/* The first line of a table, which says what was asked. */
void table_heading(text *out, const context *c);

/* A line on what contexts in a batch share, where they do. */
void table_batch(text *out, const result *self);

/* The name of an outcome, padded to the width; and the width it takes, 40 at most. */
void table_label(text *out, const context *c, int64_t outcome, int width);
int label_width(const context *c, int64_t outcome);

#endif
