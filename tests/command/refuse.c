/*
 * Preloaded into the command by test_memory.py: refuses one allocation, number GRPOALIGN_REFUSE
 * from 0 on, and writes how many there were to the file GRPOALIGN_ALLOCATIONS when the program
 * ends. glibc's own allocator, by its other names, does the rest.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static atomic_long counted;
static long refused = -2; /* not read yet */
static char path[4096];   /* of the count */

static int is_refused(void)
{
    if (refused == -2) {
        const char *text = getenv("GRPOALIGN_REFUSE");
        refused = text != NULL ? strtol(text, NULL, 10) : -1;
        text = getenv("GRPOALIGN_ALLOCATIONS");
        (void)snprintf(path, sizeof path, "%s", text != NULL ? text : "");
        (void)unsetenv("LD_PRELOAD"); /* programs that the command calls have all memory */
    }
    if (atomic_fetch_add(&counted, 1) != refused) {
        return 0;
    }
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size)
{
    return is_refused() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return is_refused() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return is_refused() ? NULL : __libc_realloc(old, size);
}

/* By hand, because printing allocates. */
__attribute__((destructor)) static void report(void)
{
    FILE *file = path[0] != '\0' ? fopen(path, "w") : NULL;
    if (file != NULL) {
        fprintf(file, "%ld\n", atomic_load(&counted));
        (void)fclose(file);
    }
}
