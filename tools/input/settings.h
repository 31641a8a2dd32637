/*
 * The settings that a record or an option may give: one row per setting, which says by what name it
 * is read, what its values are, what it belongs to, and where a preset has it.
 */
#ifndef GPA_SETTINGS_H
#define GPA_SETTINGS_H

#include <stdint.h>

#include <grpoalign/grpoalign.h>

#include "base/parameter.h"
#include "base/text.h"

enum { MODEL_NONE, MODEL_PAIRWISE, MODEL_GROUP, MODEL_LIMIT };

/* Scales of the command beside the library's: GRPOALIGN_BATCH_STD_OF_REWARDS and _OF_ADVANTAGES
 * after this. The contexts of a file are then solved together. */
enum { SCALE_BATCH = 16 };

typedef enum setting_id {
    SETTING_MODEL,
    SETTING_GROUP_SIZE,
    SETTING_SCALE,
    SETTING_BASELINE,
    SETTING_EPSILON,
    SETTING_EPSILON_PLACE,
    SETTING_DDOF,
    SETTING_ZERO_VARIANCE,
    SETTING_PENALTY,
    SETTING_ALPHA,
    SETTING_BETA,
    SETTING_AGGREGATION,
    SETTING_DECISIONS,
    SETTING_PRESET,
    SETTINGS
} setting_id;

/* A penalty that is a sum: its parts by their kinds, and the bonus on the entropy. */
enum { PENALTY_KINDS = 16 };

typedef struct mixture {
    double coefficients[PENALTY_KINDS]; /* 0: no part of it */
    double entropy;
} mixture;

/* Of several rewards. */
enum { SUM_THEN_NORMALIZE, NORMALIZE_THEN_SUM };

/* All zeros: nothing is given. What is not given has its default, which is 0 for every setting that
 * has one. */
typedef struct settings {
    unsigned given; /* a bit per setting */
    int32_t model, scale, baseline, epsilon_place, zero_variance, penalty, aggregation;
    int64_t group_size, ddof;
    double epsilon, alpha, beta, decisions;
    mixture parts;   /* of the penalty SUM */
    int derivatives; /* they are asked for, by an option of the command */
    grpoalign_convention preset;
} settings;

/* The row's part that is read: name, values and field. */
const parameter *setting_parameter(setting_id id);

/* The setting of a name, with - or _; SETTINGS for none. */
setting_id setting_find(const char *name);

/* What the help of the options says of all settings. */
void settings_help(text *out);

/* Reads a value. Returns 0, and what was expected, when it cannot be. */
int setting_read(settings *self, setting_id id, const char *value, text *expected);

int is_given(const settings *self, setting_id id);

/* A setting other than the preset as a number, that of its word where it has words; gives it one;
 * takes it back to its default. */
double setting_value(const settings *self, setting_id id);
void setting_give(settings *self, setting_id id, double value);
void setting_forget(settings *self, setting_id id);

/* The word of a setting, NULL where it does not belong to the model; and that of a number. */
const char *setting_word(const settings *self, setting_id id);
const char *setting_word_of(setting_id id, int32_t number);

/* Takes from `other` what `self` lacks. */
void settings_fill(settings *self, const settings *other);

/* Takes from the preset what is still missing, as far as it goes with the rest: the epsilon of
 * another scale does not. */
void settings_fill_preset(settings *self);

/* Gives another scale, and takes back what does not belong to it. */
void settings_rescale(settings *self, int32_t scale);

/* What is missing, and what contradicts what; NULL when all is well. */
const char *settings_lack(const settings *self);
const char *settings_clash(const settings *self);

/* The first setting that contexts of one batch must have in common and these have not, or NULL. */
const char *settings_differ(const settings *left, const settings *right);

/* Whether beta counts. */
int has_effect(const settings *self);

/* Whether the contexts of a file share their std. */
int is_in_batch(const settings *self);

#endif
