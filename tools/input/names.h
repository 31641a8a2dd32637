/* Names and their numbers: 0, 1, ... in the order in which they first came. */
#ifndef GPA_NAMES_H
#define GPA_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

/* All zeros: none. */
typedef struct names {
    list keys;     /* of char * */
    size_t *slots; /* index + 1, 0 for empty; a power of two of them */
    size_t slot_count;
} names;

/* The number of a name, which is added when it is new; -1 when memory is short. */
int64_t names_number(names *self, const char *key);

/* The number of a name, -1 when there is none such; the name of a number. */
int64_t names_find(const names *self, const char *key);
const char *names_key(const names *self, int64_t number);

void names_free(names *self);

#endif
