#include "expectation/compositions.h"

#include <string.h>

#include "base/polynomial.h"

static int64_t number_of(const gra_compositions *self, int64_t levels, int64_t members)
{
    return self->number != NULL ? self->number[levels * (self->members + 1) + members]
           : levels == 2        ? members + 1
                                : 1;
}

int64_t gra_compositions_size(int64_t levels, int64_t members)
{
    /* choose(members + levels - 1, few), each step of which is a whole number. */
    int64_t few = levels - 1 < members ? levels - 1 : members, most = members + levels - 1;
    int64_t count = 1;
    for (int64_t i = 1; i <= few; i++) {
        if (__builtin_mul_overflow(count, most - few + i, &count) ||
            (count /= i) > GRA_COMPOSITIONS_LIMIT) {
            return -1;
        }
    }
    return count <= GRA_COMPOSITIONS_LIMIT / levels ? count * levels : -1;
}

/* Fills the numbers from those of fewer levels and members. */
static int count_all(gra_compositions *self)
{
    int64_t width = self->members + 1, elements;
    int fits = !__builtin_mul_overflow(self->levels + 1, width, &elements);
    self->number = fits ? gra_alloc(elements, sizeof *self->number) : NULL;
    if (self->number == NULL) {
        return 0;
    }
    for (int64_t k = 1; k <= self->levels; k++) {
        for (int64_t r = 0; r < width; r++) {
            int64_t *number = self->number + k * width + r;
            *number = k == 1 || r == 0 ? 1 : *(number - width) + *(number - 1);
        }
    }
    return 1;
}

int gra_compositions_init(gra_compositions *self, int64_t levels, int64_t members)
{
    int64_t elements;
    *self = (gra_compositions){.levels = levels, .members = members};
    if (levels > 2 && !count_all(self)) {
        return 0;
    }
    self->count = number_of(self, levels, members);
    int fits = !__builtin_mul_overflow(self->count, levels, &elements);
    self->table = fits ? gra_alloc(elements, sizeof(double)) : NULL;
    return self->table != NULL;
}

void gra_compositions_free(gra_compositions *self)
{
    gra_release(self->number);
    gra_release(self->table);
    self->number = NULL;
    self->table = NULL;
}

/* How many compositions of `left` members over the levels from `level` on have fewer than n at
 * `level`. */
static int64_t passed_by(const gra_compositions *self, int64_t level, int64_t left, int64_t n)
{
    int64_t levels = self->levels - level;
    return n > 0 ? number_of(self, levels, left) - number_of(self, levels, left - n) : 0;
}

double *gra_compositions_row(const gra_compositions *self, const int64_t *counts)
{
    int64_t at = 0, left = self->members;
    for (int64_t l = 0; l < self->levels && left > 0; l++) {
        at += passed_by(self, l, left, counts[l]);
        left -= counts[l];
    }
    return self->table + at * self->levels;
}

/* ---- every composition ----------------------------------------------------------------------- */

typedef struct walk {
    const gra_compositions *of;
    const double *w, *tail; /* tail[l] = sum of w from level l on */
    double *weights;        /* levels x (members + 1): scratch of each level */
    double *a;              /* advantages, or NULL */
    double *jacobian;
    int64_t *counts; /* of the way so far, for Jacobians */
} walk;

static void add_slopes(const walk *self, double probability)
{
    int64_t levels = self->of->levels;
    for (int64_t l = 0; l < levels; l++) {
        self->counts[l]++;
        const double *row = gra_compositions_row(self->of, self->counts);
        self->counts[l]--;
        for (int64_t m = 0; m < levels; m++) {
            self->jacobian[m * levels + l] += probability * row[m];
        }
    }
}

/* Spreads `left` members over the levels from `level` on; `at` is the number of the composition. */
static void visit(const walk *self, int64_t level, int64_t left, int64_t at, double probability)
{
    const gra_compositions *of = self->of;
    if (left == 0 && self->a != NULL) {
        const double *row = of->table + at * of->levels;
        for (int64_t m = 0; m < of->levels; m++) {
            self->a[m] += probability * row[m];
        }
        return;
    }
    if (left == 0) {
        add_slopes(self, probability);
        return;
    }
    double *weight = self->weights + level * (of->members + 1);
    int last = level == of->levels - 1;
    double rest = last ? 0.0 : self->tail[level + 1];
    gra_binomial(left, self->w[level] / self->tail[level], rest / self->tail[level], weight);
    for (int64_t n = last ? left : 0; n <= left; n++) {
        if (weight[n] > 0.0) {
            self->counts[level] = n;
            visit(self, level + 1, left - n, at + passed_by(of, level, left, n),
                  probability * weight[n]);
        }
    }
    self->counts[level] = 0;
}

static int walk_all(walk self, int64_t members, gra_arena *arena)
{
    int64_t levels = self.of->levels;
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *tail = gra_arena_doubles(arena, levels), sum = 0.0;
    self.weights = gra_arena_doubles(arena, levels * (self.of->members + 1));
    self.counts = gra_arena_take(arena, levels, sizeof *self.counts);
    int done = tail != NULL && self.weights != NULL && self.counts != NULL;
    if (done) {
        for (int64_t l = levels - 1; l >= 0; l--) {
            sum += self.w[l];
            tail[l] = sum;
            self.counts[l] = 0;
        }
        self.tail = tail;
        visit(&self, 0, members, 0, self.a != NULL ? 1.0 : (double)self.of->members);
    }
    gra_arena_rewind(arena, mark);
    return done;
}

int gra_compositions_advantage(const gra_compositions *self, const double *w, double *a,
                               gra_arena *arena)
{
    memset(a, 0, (size_t)self->levels * sizeof *a);
    return walk_all((walk){.of = self, .w = w, .a = a}, self->members, arena);
}

int gra_compositions_jacobian(const gra_compositions *self, const double *w, double *jacobian,
                              gra_arena *arena)
{
    memset(jacobian, 0, (size_t)(self->levels * self->levels) * sizeof *jacobian);
    return walk_all((walk){.of = self, .w = w, .jacobian = jacobian}, self->members - 1, arena);
}
