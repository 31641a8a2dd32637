/* Memory: the only file of the library that calls malloc and free is alloc.c. */
#ifndef GRA_BASE_ALLOC_H
#define GRA_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* count objects of `size` bytes, zeroed; NULL when count * size overflows or memory is short. A
 * count of 0 gives a valid pointer. */
void *gra_alloc(int64_t count, size_t size);
void gra_release(void *pointer);

/*
 * An arena: scratch that is freed at once. Everything taken from it is 64-byte aligned and
 * uninitialised. gra_arena_mark / gra_arena_rewind give back what was taken since, for use in
 * loops.
 */
typedef struct gra_arena_chunk gra_arena_chunk;
typedef struct gra_arena {
    gra_arena_chunk *last;
    gra_arena_chunk *spare; /* the largest chunk given back, kept for the next need */
} gra_arena;

typedef struct gra_arena_mark_t {
    gra_arena_chunk *chunk;
    size_t used;
} gra_arena_mark_t;

#define GRA_ARENA_INIT                                                                             \
    {                                                                                              \
        NULL, NULL                                                                                 \
    }

void *gra_arena_take(gra_arena *arena, int64_t count, size_t size);
double *gra_arena_doubles(gra_arena *arena, int64_t count);

/* A copy of an array; NULL when memory is short. */
double *gra_arena_copy(gra_arena *arena, const double *from, int64_t count);

/* The entries of an array at `count` indices, as an array of their own; NULL when memory is
 * short. */
double *gra_arena_pick(gra_arena *arena, const double *from, const int64_t *at, int64_t count);

/* The items of a list, moved where they must be so that one more fits after `count` of them; NULL
 * when memory is short. */
void *gra_arena_grow(gra_arena *arena, void *items, int64_t count, int64_t *capacity, size_t size);
gra_arena_mark_t gra_arena_mark(const gra_arena *arena);
void gra_arena_rewind(gra_arena *arena, gra_arena_mark_t mark);
void gra_arena_free(gra_arena *arena);

#endif
