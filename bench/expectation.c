/*
 * The methods for expectations over groups beside each other. Baseline: enumeration of every
 * composition, where it is within reach; a ratio of 10 means ten times as fast. `chosen` is what
 * the cost model takes.
 */
#include <math.h>
#include <stdio.h>

#include "job.h"

static void newton(void *context)
{
    bench_job *self = context;
    gra_arena arena = GRA_ARENA_INIT;
    (void)gra_expectation_jacobian(&self->expectation, self->w, GRA_COARSE, self->a, self->jacobian,
                                   &arena);
    gra_arena_free(&arena);
}

static void time_method(int64_t levels, int64_t size, int32_t method, double *value, double *step)
{
    bench_job self;
    *value = *step = NAN;
    if (bench_job_start(&self, levels, size, method)) {
        *value = bench_time(bench_job_values, &self);
        *step = bench_time(newton, &self);
    }
    bench_job_stop(&self);
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
        bench_job chosen;
        int known = bench_job_start(&chosen, levels, size, GRPOALIGN_EXPECTATION_AUTO);
        int32_t method = chosen.expectation.method;
        bench_job_stop(&chosen);
        if (!known) {
            printf("%lld levels, groups of %lld: no expectation\n", (long long)levels,
                   (long long)size);
            return 1;
        }
        for (int32_t m = GRPOALIGN_EXPECTATION_BERNSTEIN; m <= GRPOALIGN_EXPECTATION_QUADRATURE;
             m++) {
            if ((m == GRPOALIGN_EXPECTATION_BERNSTEIN && levels > 2) ||
                (m == GRPOALIGN_EXPECTATION_ENUMERATION &&
                 gra_enumeration_count(levels, size - 1) > 2e6)) {
                continue;
            }
            time_method(levels, size, m, &value[m], &step[m]);
        }
        printf("%7lld %6lld ", (long long)levels, (long long)size);
        show(value[2]), show(step[2]), show(value[3]), show(step[3]), show(value[1]), show(step[1]);
        printf("  %-12s ", names[method]);
        isnan(step[2]) ? printf("-\n") : printf("%.3g\n", step[2] / step[method]);
    }
    return 0;
}
