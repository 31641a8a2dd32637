/* A list that grows: items of one size, one after the other. All zeros is an empty list. */
#ifndef GPA_LIST_H
#define GPA_LIST_H

#include <stddef.h>

typedef struct list {
    void *items;
    size_t count, room;
} list;

/* Adds an item of `size` bytes, all zeros, and gives it back; NULL when memory is short. Pointers
 * to earlier items are then no longer valid. */
void *list_add(list *self, size_t size);

void list_free(list *self);

#endif
