/* Random numbers, and drawing from a table of probabilities. */
#ifndef GPA_RANDOM_H
#define GPA_RANDOM_H

#include <stdint.h>

/* xoshiro256++ (Blackman and Vigna), seeded by splitmix64. */
typedef struct generator {
    uint64_t s[4];
} generator;

generator generator_new(uint64_t seed);
double next_uniform(generator *g);

/* Walker's alias method. */
typedef struct alias {
    int64_t n;
    double *keep;
    int64_t *other, *stack;
} alias;

/* Returns 0 when memory is short; free it in either case. */
int alias_new(alias *self, int64_t n);
void alias_free(alias *self);
void alias_set(alias *self, const double *probability);
int64_t alias_draw(const alias *self, generator *g);

#endif
