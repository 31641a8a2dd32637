#include "base/list.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void *list_add(list *self, size_t size)
{
    if (self->count == self->room) {
        size_t room = self->room > 0 ? 2 * self->room : 16;
        void *grown = memory_realloc(self->items, room * size);
        if (grown == NULL) {
            return NULL;
        }
        self->items = grown;
        self->room = room;
    }
    return memset((char *)self->items + self->count++ * size, 0, size);
}

void list_free(list *self)
{
    free(self->items);
    memset(self, 0, sizeof *self);
}
