/*
 * Eight doubles at once, and functions of which the loader takes the best version that the machine
 * has. Nothing but sums, products and quotients is asked for, and none is contracted: every version
 * gives the same bits.
 */
#ifndef GRA_VECTOR_H
#define GRA_VECTOR_H

#include <stdint.h>

enum { GRA_WIDTH = 8 };

/* Anywhere in an array of doubles. */
typedef double gra_vector __attribute__((vector_size(8 * GRA_WIDTH), aligned(8), may_alias));
typedef int64_t gra_vector_mask __attribute__((vector_size(8 * GRA_WIDTH), aligned(8), may_alias));

/* condition ? yes : no, lane by lane. */
#define GRA_CHOOSE(condition, yes, no)                                                             \
    ((gra_vector)(((condition) & (gra_vector_mask)(yes)) | (~(condition) & (gra_vector_mask)(no))))

/* Functions that it calls must be inlined into it: GRA_INLINE. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) &&   \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define GRA_EVERY_MACHINE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define GRA_EVERY_MACHINE
#endif
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi" /* how vectors are passed matters where calls are left */
#endif
#define GRA_INLINE static inline __attribute__((always_inline))

#endif
