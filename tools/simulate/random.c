#include "simulate/random.h"

#include <stdlib.h>

#include "base/memory.h"

static uint64_t next_seed(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static uint64_t next_bits(generator *g)
{
    uint64_t *s = g->s, result = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

generator generator_new(uint64_t seed)
{
    generator g;
    for (int i = 0; i < 4; i++) {
        g.s[i] = next_seed(&seed);
    }
    return g;
}

double next_uniform(generator *g)
{
    return (double)(next_bits(g) >> 11) * 0x1p-53;
}

int alias_new(alias *self, int64_t n)
{
    self->n = n;
    self->keep = memory_malloc((size_t)n * sizeof *self->keep);
    self->other = memory_malloc((size_t)n * sizeof *self->other);
    self->stack = memory_malloc((size_t)n * sizeof *self->stack);
    return self->keep != NULL && self->other != NULL && self->stack != NULL;
}

void alias_free(alias *self)
{
    free(self->keep);
    free(self->other);
    free(self->stack);
}

void alias_set(alias *self, const double *probability)
{
    int64_t n = self->n, small = 0, large = n;
    for (int64_t i = 0; i < n; i++) {
        self->keep[i] = probability[i] * (double)n;
        self->other[i] = i;
        if (self->keep[i] < 1.0) {
            self->stack[small++] = i;
        } else {
            self->stack[--large] = i;
        }
    }
    while (small > 0 && large < n) {
        int64_t less = self->stack[--small], more = self->stack[large];
        self->other[less] = more;
        self->keep[more] -= 1.0 - self->keep[less];
        if (self->keep[more] < 1.0) {
            large++;
            self->stack[small++] = more;
        }
    }
    /* What rounding leaves on either stack is whole. */
    while (small > 0) {
        self->keep[self->stack[--small]] = 1.0;
    }
    for (; large < n; large++) {
        self->keep[self->stack[large]] = 1.0;
    }
}

int64_t alias_draw(const alias *self, generator *g)
{
    double place = next_uniform(g) * (double)self->n;
    int64_t cell = (int64_t)place;
    return place - (double)cell < self->keep[cell] ? cell : self->other[cell];
}
