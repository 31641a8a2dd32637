/*
 * Any rule of a group: the advantage of a member at each of K levels, for every composition of the
 * G - 1 others, as a table; and its expectation over others drawn from the level weights.
 *
 * Compositions are in the order of their counts, those of the first level first.
 */
#ifndef GRA_EXPECTATION_COMPOSITIONS_H
#define GRA_EXPECTATION_COMPOSITIONS_H

#include <stdint.h>

#include "base/alloc.h"

/* The most numbers that a table may have: 32 MB. */
#define GRA_COMPOSITIONS_LIMIT (INT64_C(1) << 22)

typedef struct gra_compositions {
    int64_t levels, members; /* members: of the others */
    int64_t count;           /* of compositions */
    /* number[k * (members + 1) + r]: in how many ways r members are spread over k levels, up to
     * all levels and members; NULL for two levels */
    int64_t *number;
    double *table; /* count x levels */
} gra_compositions;

/* How many numbers the table would have, or -1 beyond the limit. */
int64_t gra_compositions_size(int64_t levels, int64_t members);

/* A table of zeros, its size being within the limit or its levels two. 0 on short memory; free it
 * in either case. */
int gra_compositions_init(gra_compositions *self, int64_t levels, int64_t members);
void gra_compositions_free(gra_compositions *self);

/* The row of the table for counts of the others. */
double *gra_compositions_row(const gra_compositions *self, const int64_t *counts);

/* a[m] = E[A(m)] over others drawn from w. 0 on short memory. */
int gra_compositions_advantage(const gra_compositions *self, const double *w, double *a,
                               gra_arena *arena);

/* levels x levels: the derivative of a[m] by w[l], as a homogeneous polynomial. 0 on short
 * memory. */
int gra_compositions_jacobian(const gra_compositions *self, const double *w, double *jacobian,
                              gra_arena *arena);

#endif
