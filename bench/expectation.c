/*
 * The methods for expectations over groups beside each other. Baseline: enumeration of every
 * composition, where it is within reach; a ratio of 10 means ten times as fast. `chosen` is what
 * the cost model takes.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "expectation/expectation.h"

typedef struct job {
    gra_expectation expectation;
    int64_t levels;
    double *w, *a, *jacobian;
} job;

static void values(void *context)
{
    job *self = context;
    gra_arena arena = GRA_ARENA_INIT;
    (void)gra_expectation_advantage(&self->expectation, self->w, GRA_EXACT, self->a, &arena);
    gra_arena_free(&arena);
}

static void newton(void *context)
{
    job *self = context;
    gra_arena arena = GRA_ARENA_INIT;
    (void)gra_expectation_jacobian(&self->expectation, self->w, GRA_COARSE, self->a, self->jacobian,
                                   &arena);
    gra_arena_free(&arena);
}

static int start(job *self, const double *x, int64_t levels, int64_t size, int32_t method)
{
    uint64_t random = 7;
    double sum = 0.0;
    grpoalign_error error;
    gra_group_rule rule = {.group_size = size, .gain = 1.0};
    if (gra_expectation_init(&self->expectation, x, levels, &rule, method, &error) < 0) {
        return 0;
    }
    self->levels = levels;
    self->w = malloc((size_t)levels * sizeof(double));
    self->a = malloc((size_t)levels * sizeof(double));
    self->jacobian = malloc((size_t)(levels * levels) * sizeof(double));
    if (self->w == NULL || self->a == NULL || self->jacobian == NULL) {
        return 0;
    }
    for (int64_t l = 0; l < levels; l++) {
        sum += self->w[l] = 0.1 + bench_uniform(&random);
    }
    for (int64_t l = 0; l < levels; l++) {
        self->w[l] /= sum;
    }
    return 1;
}

static void stop(job *self)
{
    gra_expectation_free(&self->expectation);
    free(self->w);
    free(self->a);
    free(self->jacobian);
}

static void time_method(const double *x, int64_t levels, int64_t size, int32_t method,
                        double *value, double *step)
{
    job self = {.levels = levels};
    *value = *step = NAN;
    if (start(&self, x, levels, size, method)) {
        *value = bench_time(values, &self);
        *step = bench_time(newton, &self);
    }
    stop(&self);
}

static void show(double seconds)
{
    isnan(seconds) ? printf("%12s", "-") : printf("%12.4g", 1e6 * seconds);
}

int main(void)
{
    static const int64_t shapes[][2] = {{2, 8},    {2, 1024},   {3, 8},    {3, 64},     {3, 256},
                                        {4, 16},   {5, 8},      {8, 4},    {8, 8},      {16, 3},
                                        {16, 4},   {16, 8},     {16, 64},  {50, 4},     {64, 16},
                                        {200, 16}, {200, 1024}, {1000, 8}, {1000, 1024}};
    static const char *const names[] = {"auto", "bernstein", "enumeration", "quadrature"};
    printf("microseconds: advantages to full accuracy, and with the Jacobian of a Newton step\n");
    printf("%7s %6s %12s%12s%12s%12s%12s%12s  %-12s %s\n", "levels", "group", "enumerated",
           "with slopes", "quadrature", "with slopes", "bernstein", "with slopes", "chosen",
           "ratio to enumeration");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        int64_t levels = shapes[i][0], size = shapes[i][1];
        double value[4] = {NAN, NAN, NAN, NAN}, step[4] = {NAN, NAN, NAN, NAN};
        double *x = malloc((size_t)levels * sizeof(double));
        uint64_t random = 3;
        for (int64_t l = 0; x != NULL && l < levels; l++) {
            x[l] = 0.9 * ((double)l + 0.5 * bench_uniform(&random)) / (double)levels;
        }
        if (x == NULL) {
            return 1;
        }
        gra_expectation chosen;
        grpoalign_error error;
        gra_group_rule rule = {.group_size = size, .gain = 1.0};
        if (gra_expectation_init(&chosen, x, levels, &rule, GRPOALIGN_EXPECTATION_AUTO, &error) <
            0) {
            printf("%s\n", error.message);
            return 1;
        }
        int32_t method = chosen.method;
        gra_expectation_free(&chosen);
        for (int32_t m = GRPOALIGN_EXPECTATION_BERNSTEIN; m <= GRPOALIGN_EXPECTATION_QUADRATURE;
             m++) {
            if ((m == GRPOALIGN_EXPECTATION_BERNSTEIN && levels > 2) ||
                (m == GRPOALIGN_EXPECTATION_ENUMERATION &&
                 gra_enumeration_count(levels, size - 1) > 2e6)) {
                continue;
            }
            time_method(x, levels, size, m, &value[m], &step[m]);
        }
        printf("%7lld %6lld ", (long long)levels, (long long)size);
        show(value[2]), show(step[2]), show(value[3]), show(step[3]), show(value[1]), show(step[1]);
        printf("  %-12s ", names[method]);
        isnan(step[2]) ? printf("-\n") : printf("%.3g\n", step[2] / step[method]);
        free(x);
    }
    return 0;
}
