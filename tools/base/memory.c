#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local long refused;
static atomic_long refused_to_all;

static void *count_refusal(void *piece)
{
    if (piece == NULL) {
        refused++;
        (void)atomic_fetch_add(&refused_to_all, 1);
    }
    return piece;
}

void *memory_malloc(size_t size)
{
    return count_refusal(malloc(size > 0 ? size : 1));
}

void *memory_calloc(size_t count, size_t size)
{
    return count_refusal(calloc(count > 0 ? count : 1, size > 0 ? size : 1));
}

void *memory_realloc(void *old, size_t size)
{
    return count_refusal(realloc(old, size > 0 ? size : 1));
}

char *memory_strdup(const char *string)
{
    size_t size = strlen(string) + 1;
    char *copy = memory_malloc(size);
    return copy != NULL ? memcpy(copy, string, size) : NULL;
}

long memory_refused(void)
{
    return refused;
}

long memory_refused_to_all(void)
{
    return atomic_load(&refused_to_all);
}
