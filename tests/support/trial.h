/* A problem as raw data, and what a policy of it must satisfy, without any test framework: the
 * random tests, the fuzz targets and the soak share it. */
#ifndef TESTS_SUPPORT_TRIAL_H
#define TESTS_SUPPORT_TRIAL_H

#include <stdint.h>

#include <grpoalign/grpoalign.h>

#include "plain.h"

enum { TRIAL_MOST = 12, TRIAL_LEVELS = 4, TRIAL_SIZE = 8 };

typedef struct trial {
    plain_context context; /* points to the arrays below */
    const char *kind;
    int32_t penalty;
    double alpha, beta;
    double rewards[TRIAL_MOST], variances[TRIAL_MOST], margins[TRIAL_MOST * TRIAL_MOST],
        support[TRIAL_LEVELS], distribution[TRIAL_MOST * TRIAL_LEVELS], logs[TRIAL_MOST],
        success[TRIAL_SIZE], failure[TRIAL_SIZE];
} trial;

/* The trial as a record of `grpoalign solve`, for whoever looks into a failure. Static storage. */
const char *trial_record(const trial *t);

/* Handles of a trial; the status of the first call that fails. */
grpoalign_status trial_model(const plain_context *c, grpoalign_model **out, grpoalign_error *error);
grpoalign_status trial_penalty(const trial *t, grpoalign_penalty **out, grpoalign_error *error);
grpoalign_status trial_problem(const trial *t, grpoalign_problem **out, grpoalign_error *error);

/* Whether the headers say that no method is known for the two. */
int trial_may_be_unsupported(const trial *t);

/* Whether nothing bounds the advantages where the spread of rewards vanishes, or nothing holds. */
int trial_may_collapse(const trial *t);

/* What is wrong with a policy, by raw data alone; all is well where `what` is NULL. */
typedef struct trial_fault {
    const char *what;
    double value, most;
} trial_fault;

/* is_first: the answer of a solve, not one of the other points, which are roots beside a collapse
 * more often than not. */
trial_fault trial_check(const trial *t, const double *policy, const double *log_policy,
                        const grpoalign_report *report, int is_first);

/* What training collapses to in large groups: the best outcomes in proportion to the reference. */
trial_fault trial_check_collapsed(const trial *t, const double *policy, const double *log_policy);

#endif
