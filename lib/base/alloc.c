#include "base/alloc.h"

#include <stdlib.h>

enum { ALIGNMENT = 64, CHUNK_BYTES = 1 << 16 };

/* Under the address sanitizer only what was taken from an arena may be touched, and a gap lies
 * behind it. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
enum { GAP = ALIGNMENT };
#else
#define ASAN_POISON_MEMORY_REGION(from, bytes)   ((void)(from), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(from, bytes) ((void)(from), (void)(bytes))
enum { GAP = 0 };
#endif

/* Memory at a multiple of ALIGNMENT, which Windows alone keeps apart from other memory. */
#ifdef _WIN32
#include <malloc.h>
#define TAKE_ALIGNED(bytes)    _aligned_malloc(bytes, ALIGNMENT)
#define RELEASE_ALIGNED(chunk) _aligned_free(chunk)
#else
#define TAKE_ALIGNED(bytes)    aligned_alloc(ALIGNMENT, bytes)
#define RELEASE_ALIGNED(chunk) free(chunk)
#endif

static int product_overflows(int64_t count, size_t size, size_t *bytes)
{
    return count < 0 || __builtin_mul_overflow((size_t)count, size, bytes) ||
           *bytes > SIZE_MAX / 2 - CHUNK_BYTES;
}

void *gra_alloc(int64_t count, size_t size)
{
    size_t bytes;
    if (product_overflows(count, size, &bytes)) {
        return NULL;
    }
    return calloc(bytes > 0 ? bytes : 1, 1);
}

void gra_release(void *pointer)
{
    free(pointer);
}

struct gra_arena_chunk {
    gra_arena_chunk *previous;
    size_t capacity; /* bytes that follow the header */
    size_t used;
};

/* The header takes one alignment unit, so that what follows is aligned. */
_Static_assert(sizeof(struct gra_arena_chunk) <= ALIGNMENT, "chunk header fits its slot");

static unsigned char *chunk_bytes(gra_arena_chunk *chunk)
{
    return (unsigned char *)chunk + ALIGNMENT;
}

void *gra_arena_take(gra_arena *arena, int64_t count, size_t size)
{
    size_t wanted;
    if (product_overflows(count, size, &wanted)) {
        return NULL;
    }
    size_t bytes = (wanted + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + GAP;
    gra_arena_chunk *chunk = arena->last;
    if (chunk == NULL || chunk->capacity - chunk->used < bytes) {
        if (arena->spare != NULL && arena->spare->capacity >= bytes) {
            chunk = arena->spare;
            arena->spare = NULL;
        } else {
            size_t capacity = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
            chunk = TAKE_ALIGNED(ALIGNMENT + capacity);
            if (chunk == NULL) {
                return NULL;
            }
            chunk->capacity = capacity;
            ASAN_POISON_MEMORY_REGION(chunk_bytes(chunk), capacity);
        }
        chunk->previous = arena->last;
        chunk->used = 0;
        arena->last = chunk;
    }
    void *result = chunk_bytes(chunk) + chunk->used;
    chunk->used += bytes;
    ASAN_UNPOISON_MEMORY_REGION(result, wanted);
    return result;
}

gra_arena_mark_t gra_arena_mark(const gra_arena *arena)
{
    gra_arena_mark_t mark = {arena->last, arena->last != NULL ? arena->last->used : 0};
    return mark;
}

void gra_arena_rewind(gra_arena *arena, gra_arena_mark_t mark)
{
    while (arena->last != mark.chunk) {
        gra_arena_chunk *chunk = arena->last;
        arena->last = chunk->previous;
        ASAN_POISON_MEMORY_REGION(chunk_bytes(chunk), chunk->capacity);
        if (arena->spare == NULL || arena->spare->capacity < chunk->capacity) {
            RELEASE_ALIGNED(arena->spare);
            arena->spare = chunk;
        } else {
            RELEASE_ALIGNED(chunk);
        }
    }
    if (arena->last != NULL) {
        arena->last->used = mark.used;
        ASAN_POISON_MEMORY_REGION(chunk_bytes(arena->last) + mark.used,
                                  arena->last->capacity - mark.used);
    }
}

void gra_arena_free(gra_arena *arena)
{
    gra_arena_mark_t nothing = {NULL, 0};
    gra_arena_rewind(arena, nothing);
    RELEASE_ALIGNED(arena->spare);
    arena->spare = NULL;
}
