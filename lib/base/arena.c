/* Arrays from an arena. Apart from alloc.c, so that tests can put another allocator in its place
 * and have these all the same. */
#include "base/alloc.h"

#include <string.h>

double *gra_arena_doubles(gra_arena *arena, int64_t count)
{
    return gra_arena_take(arena, count, sizeof(double));
}

double *gra_arena_copy(gra_arena *arena, const double *from, int64_t count)
{
    double *copy = gra_arena_doubles(arena, count);
    if (copy != NULL) {
        memcpy(copy, from, (size_t)count * sizeof(double));
    }
    return copy;
}

double *gra_arena_pick(gra_arena *arena, const double *from, const int64_t *at, int64_t count)
{
    double *picked = gra_arena_doubles(arena, count);
    for (int64_t k = 0; picked != NULL && k < count; k++) {
        picked[k] = from[at[k]];
    }
    return picked;
}

void *gra_arena_grow(gra_arena *arena, void *items, int64_t count, int64_t *capacity, size_t size)
{
    if (count < *capacity) {
        return items;
    }
    int64_t room = 2 * *capacity + 8;
    void *grown = gra_arena_take(arena, room, size);
    if (grown != NULL) {
        if (count > 0) {
            memcpy(grown, items, (size_t)count * size);
        }
        *capacity = room;
    }
    return grown;
}
