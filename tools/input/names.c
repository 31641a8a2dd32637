#include "input/names.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static uint64_t hash_of(const char *key)
{
    uint64_t hash = UINT64_C(1469598103934665603);
    for (; *key != '\0'; key++) {
        hash = (hash ^ (unsigned char)*key) * UINT64_C(1099511628211);
    }
    return hash ^ (hash >> 31);
}

const char *names_key(const names *self, int64_t number)
{
    return ((char *const *)self->keys.items)[number];
}

/* The slot of a name, or the empty one where it belongs. */
static size_t slot_of(const names *self, const char *key)
{
    size_t at = hash_of(key) & (self->slot_count - 1);
    while (self->slots[at] != 0 &&
           strcmp(names_key(self, (int64_t)self->slots[at] - 1), key) != 0) {
        at = (at + 1) & (self->slot_count - 1);
    }
    return at;
}

static int grow(names *self)
{
    size_t count = self->slot_count > 0 ? 2 * self->slot_count : 16;
    size_t *fresh = memory_calloc(count, sizeof *fresh);
    if (fresh == NULL) {
        return 0;
    }
    free(self->slots);
    self->slots = fresh;
    self->slot_count = count;
    for (size_t i = 0; i < self->keys.count; i++) {
        fresh[slot_of(self, names_key(self, (int64_t)i))] = i + 1;
    }
    return 1;
}

int64_t names_find(const names *self, const char *key)
{
    return self->slot_count > 0 ? (int64_t)self->slots[slot_of(self, key)] - 1 : -1;
}

int64_t names_number(names *self, const char *key)
{
    if (2 * (self->keys.count + 1) > self->slot_count && !grow(self)) {
        return -1;
    }
    size_t slot = slot_of(self, key);
    if (self->slots[slot] == 0) {
        char *copy = memory_strdup(key),
             **place = copy != NULL ? list_add(&self->keys, sizeof copy) : NULL;
        if (place == NULL) {
            free(copy);
            return -1;
        }
        *place = copy;
        self->slots[slot] = self->keys.count;
    }
    return (int64_t)self->slots[slot] - 1;
}

void names_free(names *self)
{
    for (size_t i = 0; i < self->keys.count; i++) {
        free(((char **)self->keys.items)[i]);
    }
    list_free(&self->keys);
    free(self->slots);
    memset(self, 0, sizeof *self);
}
