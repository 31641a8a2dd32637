#include "simulate/choices.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* The token of an outcome at a depth, -1 for its end. */
static int64_t token_at(const int64_t *offsets, const int64_t *tokens, int64_t o, int64_t depth)
{
    return offsets[o] + depth < offsets[o + 1] ? tokens[offsets[o] + depth] : -1;
}

/* The first outcome before o that has the same `depth` first tokens; -1 for none. */
static int64_t companion(const int64_t *offsets, const int64_t *tokens, int64_t o, int64_t depth)
{
    for (int64_t p = 0; p < o; p++) {
        int64_t same = 0;
        while (same < depth && offsets[p] + same < offsets[p + 1] &&
               token_at(offsets, tokens, p, same) == token_at(offsets, tokens, o, same)) {
            same++;
        }
        if (same == depth) {
            return p;
        }
    }
    return -1;
}

/* The choice of a token at a node, made by an outcome before o; -1 for none. */
static int64_t same_choice(const choices *self, const int64_t *offsets, const int64_t *tokens,
                           int64_t o, int64_t depth, int64_t node)
{
    for (int64_t p = 0; p < o; p++) {
        int64_t at = self->offsets[p] + depth;
        if (at < self->offsets[p + 1] && self->node_of[self->path[at]] == node &&
            token_at(offsets, tokens, p, depth) == token_at(offsets, tokens, o, depth)) {
            return self->path[at];
        }
    }
    return -1;
}

int choices_make(choices *self, int64_t outcomes, const int64_t *offsets, const int64_t *tokens)
{
    size_t all = (size_t)(offsets[outcomes] + outcomes);
    self->node_of = memory_malloc(all * sizeof *self->node_of);
    self->path = memory_malloc(all * sizeof *self->path);
    self->offsets = memory_calloc((size_t)outcomes + 1, sizeof *self->offsets);
    if (self->node_of == NULL || self->path == NULL || self->offsets == NULL) {
        return 0;
    }
    for (int64_t o = 0; o < outcomes; o++) {
        int64_t length = offsets[o + 1] - offsets[o];
        self->offsets[o + 1] = self->offsets[o] + length + 1; /* the end is a choice */
        for (int64_t depth = 0; depth <= length; depth++) {
            int64_t with = companion(offsets, tokens, o, depth);
            int64_t node =
                with >= 0 ? self->node_of[self->path[self->offsets[with] + depth]] : self->nodes++;
            int64_t choice = with >= 0 ? same_choice(self, offsets, tokens, o, depth, node) : -1;
            if (choice < 0) {
                choice = self->count++;
                self->node_of[choice] = node;
            }
            self->path[self->offsets[o] + depth] = choice;
        }
    }
    return 1;
}

void choices_free(choices *self)
{
    free(self->node_of);
    free(self->path);
    free(self->offsets);
    memset(self, 0, sizeof *self);
}
