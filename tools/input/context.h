/*
 * One context as a user states it: the keys of a record, filled up from options, before it becomes
 * handles.
 */
#ifndef GPA_CONTEXT_H
#define GPA_CONTEXT_H

#include <stdint.h>

#include <grpoalign/grpoalign.h>

#include "base/text.h"

enum { MODEL_NONE, MODEL_PAIRWISE, MODEL_GROUP, MODEL_LIMIT };

/* Scales of the command beside the library's: GRPOALIGN_BATCH_STD_OF_REWARDS and _OF_ADVANTAGES
 * after this. The contexts of a file are then solved together. */
enum { SCALE_BATCH = 1000 };

/* The settings a record or an option may give. */
typedef struct settings {
    int has_model, has_group_size, has_scale, has_epsilon, has_ddof, has_baseline,
        has_epsilon_place, has_zero_variance, has_penalty, has_alpha, has_beta, has_preset;
    int model;
    int64_t group_size;
    int32_t scale, ddof, baseline, epsilon_place, zero_variance, penalty;
    double epsilon, alpha, beta;
    grpoalign_convention preset;
} settings;

/* What `name=value` says, from text. Returns 0 and writes what was expected to `expected` when it
 * cannot be. The name uses underscores; values may use - for _. Unknown names return -1. */
int settings_parse(settings *self, const char *name, const char *value, text *expected);

/* Takes from `other` what `self` lacks. */
void settings_fill(settings *self, const settings *other);

/* Takes from the preset what is still missing, as far as it goes with the rest: the epsilon of
 * another scale does not. */
void settings_fill_preset(settings *self, int has_margins);

/* The std of others has one baseline only: takes it where none is given. */
void settings_imply_baseline(settings *self);

/* Whether a setting's value is a word rather than a number. */
int settings_is_word(const char *name);

/* The words of the command for a setting's number. */
const char *scale_name(int32_t scale);
const char *penalty_symbol(int32_t penalty);

/* Whether beta counts. */
int has_effect(const settings *self);

/* Whether the contexts of a file share their std. */
int is_in_batch(const settings *self);

typedef struct context {
    char *id; /* JSON text, or NULL */
    settings settings;
    int64_t outcomes;
    char **labels; /* outcomes names, or NULL */
    double *reference, *reference_logprobs;
    double *margins;                    /* outcomes x outcomes */
    double *rewards, *reward_variances; /* outcomes */
    double *support, *distribution;     /* levels; outcomes x levels */
    int64_t levels;
} context;

void context_free(context *self);

/* What contradicts what, or is missing; NULL when all is well. */
const char *context_contradiction(const context *self);

/* The library's view of a context. Close it also after failure. */
typedef struct handles {
    grpoalign_problem *problem;
    grpoalign_reference *reference; /* for its normalised probabilities */
} handles;

grpoalign_status handles_open(const context *self, handles *out, grpoalign_error *error);
void handles_close(handles *self);

#endif
