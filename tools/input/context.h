/*
 * One context as a user states it: settings, filled up from options, and data.
 */
#ifndef GPA_CONTEXT_H
#define GPA_CONTEXT_H

#include <stdint.h>

#include "base/deadline.h"
#include "input/metrics.h"
#include "input/settings.h"

typedef struct context {
    char *id; /* JSON text, or NULL */
    settings settings;
    double seconds; /* that it may take; 0: no end */
    deadline until; /* what that comes to */
    int64_t outcomes;
    char **labels; /* outcomes names, or NULL */
    double *reference, *reference_logprobs;
    double *margins;                    /* outcomes x outcomes */
    double *rewards, *reward_variances; /* outcomes */
    double *support, *distribution;     /* levels; outcomes x levels */
    int64_t levels;
    /* Several rewards: reward_count lists of numbers; `rewards` is then their weighted sum. */
    double *reward_lists, *reward_weights;
    int64_t reward_count;
    double *table_success, *table_failure; /* of a group's rule: group_size numbers each */
    int64_t table_size;
    double *group; /* the rewards of one group that was drawn */
    int64_t group_count;
    double *weights, *lengths;       /* of completions in the loss; outcomes */
    int weighs_by_length;            /* weights are 1/length */
    int64_t *token_offsets, *tokens; /* completions as sequences, as the library takes them */
    double *observed;                /* outcomes: how often a trained policy gave each; or NULL */
    metrics metrics;
} context;

void context_free(context *self);

/* Gives the model where the data leave no choice. */
void context_imply(context *self);

/* What contradicts what, or is missing; NULL when all is well. */
const char *context_contradiction(const context *self);

#endif
