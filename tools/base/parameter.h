/*
 * What a user may set: by an option, or by a key of a record. A parameter says how its value is
 * read and to which field of a struct it goes.
 */
#ifndef GPA_PARAMETER_H
#define GPA_PARAMETER_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/text.h"

/* A word and the number that it stands for; a list ends with NULL. */
typedef struct choice {
    const char *word;
    int32_t number;
} choice;

enum {
    SET_FLAG,    /* int: 1 once given; takes no value */
    SET_WORD,    /* int32_t, one of `choices` */
    SET_INTEGER, /* int64_t from `least` to `most` */
    SET_NUMBER,  /* double from `low` to `high` */
    SET_TEXT,    /* const char *: as it is */
    SET_TEXTS,   /* list of const char *: each time it is given, one more */
    SET_OTHER    /* what `read` makes of it */
};

typedef struct parameter {
    const char *name; /* of the key; the option has - for _; NULL ends a list */
    int kind;
    size_t field; /* where in the struct */
    const choice *choices;
    int64_t least, most;
    double low, high;
    const char *expected; /* the values in words; NULL: as choices or range say */
    /* Returns 0, and what was expected, when the value cannot be. */
    int (*read)(void *into, const char *value, text *expected);
} parameter;

/* The least number above 0. */
#define ABOVE_ZERO 0x1p-1074

/* Puts a value into its field of `target`. Returns 0 when it cannot be; `expected` then says what
 * can. */
int parameter_set(const parameter *self, void *target, const char *value, text *expected);

/* Whether two names are the same but for - and _. */
int same_name(const char *left, const char *right);

/* The number of a word in a list. Returns 0 when there is no such word; `expected` names all. */
int choose(const choice *words, const char *value, int32_t *number, text *expected);

/* The word of a number, NULL for none. */
const char *word_of(const choice *words, int32_t number);

#endif
