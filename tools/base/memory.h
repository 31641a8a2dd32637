/*
 * Memory for the command. What cannot be had is counted, so that a result that came out without
 * some of its parts is not taken for whole: whoever finishes one asks whether the count has gone up
 * since it was begun, and the command does not end well when it has.
 */
#ifndef COMMAND_MEMORY_H
#define COMMAND_MEMORY_H

#include <stddef.h>

/* As malloc, calloc, realloc and strdup; give it back with free. */
void *memory_malloc(size_t size);
void *memory_calloc(size_t count, size_t size);
void *memory_realloc(void *old, size_t size);
char *memory_strdup(const char *string);

/* How many pieces this thread could not have so far, and all threads together. */
long memory_refused(void);
long memory_refused_to_all(void);

#endif
