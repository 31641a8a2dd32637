/* An expectation over groups with levels and weights to evaluate it at, the same in every run. */
#ifndef BENCH_JOB_H
#define BENCH_JOB_H

#include <stdint.h>
#include <stdlib.h>

#include "clock.h"
#include "expectation/expectation.h"

typedef struct bench_job {
    gra_expectation expectation;
    int64_t levels;
    double *x, *w, *a, *jacobian;
} bench_job;

/* Returns 0 where the method is none for these levels, or memory is short; stop it either way. */
static inline int bench_job_start(bench_job *self, int64_t levels, int64_t size, int32_t method)
{
    uint64_t random = 3;
    double sum = 0.0;
    grpoalign_error error;
    gra_group_rule rule = {.group_size = size, .gain = 1.0};
    *self = (bench_job){.levels = levels,
                        .x = calloc((size_t)levels, sizeof(double)),
                        .w = calloc((size_t)levels, sizeof(double)),
                        .a = calloc((size_t)levels, sizeof(double)),
                        .jacobian = calloc((size_t)(levels * levels), sizeof(double))};
    if (self->x == NULL || self->w == NULL || self->a == NULL || self->jacobian == NULL) {
        return 0;
    }
    for (int64_t l = 0; l < levels; l++) {
        self->x[l] = 0.9 * ((double)l + 0.5 * bench_uniform(&random)) / (double)levels;
    }
    random = 7;
    for (int64_t l = 0; l < levels; l++) {
        sum += self->w[l] = 0.1 + bench_uniform(&random);
    }
    for (int64_t l = 0; l < levels; l++) {
        self->w[l] /= sum;
    }
    return gra_expectation_init(&self->expectation, self->x, levels, &rule, method, &error) >= 0;
}

static inline void bench_job_stop(bench_job *self)
{
    gra_expectation_free(&self->expectation);
    free(self->x);
    free(self->w);
    free(self->a);
    free(self->jacobian);
}

static inline void bench_job_values(void *context)
{
    bench_job *self = context;
    gra_arena arena = GRA_ARENA_INIT;
    (void)gra_expectation_advantage(&self->expectation, self->w, GRA_EXACT, self->a, &arena);
    gra_arena_free(&arena);
}

#endif
