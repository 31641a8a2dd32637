/* The shortest of repeated runs: what the machine can do when it is not disturbed. */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

typedef void (*bench_fn)(void *context);

static inline double bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Seconds of one call of f: the fastest of at least three runs, and of as many as fit in a fifth of
 * a second. */
static inline double bench_time(bench_fn f, void *context)
{
    double best = 1e300, began = bench_now();
    for (int run = 0; run < 3 || (bench_now() - began < 0.2 && run < 100000); run++) {
        double start = bench_now();
        f(context);
        double took = bench_now() - start;
        best = took < best ? took : best;
    }
    return best;
}

/* The same random numbers in every run. */
static inline double bench_uniform(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(*state >> 11) * 0x1p-53;
}

#endif
