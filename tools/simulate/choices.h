/* Completions as sequences of choices: at every prefix one of the next tokens, the end being one. */
#ifndef GPA_CHOICES_H
#define GPA_CHOICES_H

#include <stdint.h>

/* All zeros: none. */
typedef struct choices {
    int64_t nodes, count;
    int64_t *node_of;        /* per choice */
    int64_t *offsets, *path; /* per outcome: the choices that it makes */
} choices;

/* From outcomes of tokens[offsets[o]] .. tokens[offsets[o + 1] - 1]. Returns 0 when memory is
 * short. */
int choices_make(choices *self, int64_t outcomes, const int64_t *offsets, const int64_t *tokens);
void choices_free(choices *self);

#endif
