/*
 * Ratios of kernels to what bounds them or to what they replace, as lines of JSON. Both sides of a
 * ratio are run in turns, and the medians are divided.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpoalign/grpoalign.h>

#include "base/vector.h"
#include "job.h"

enum { TURNS = 9 };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Medians of two pieces of work in turns, each repeated so often that a turn is not too short. */
static void in_turns(bench_fn first, void *a, int64_t often_a, bench_fn second, void *b,
                     int64_t often_b, double *out_a, double *out_b)
{
    double took[2][TURNS];
    for (int turn = 0; turn < TURNS; turn++) {
        double start = bench_now();
        for (int64_t i = 0; i < often_a; i++) {
            first(a);
        }
        took[0][turn] = (bench_now() - start) / (double)often_a;
        start = bench_now();
        for (int64_t i = 0; i < often_b; i++) {
            second(b);
        }
        took[1][turn] = (bench_now() - start) / (double)often_b;
    }
    qsort(took[0], TURNS, sizeof(double), ascending);
    qsort(took[1], TURNS, sizeof(double), ascending);
    *out_a = took[0][TURNS / 2];
    *out_b = took[1][TURNS / 2];
}

static void tell(const char *name, int is_bound, double ours, double baseline,
                 const char *baseline_name, int64_t n, double accuracy)
{
    printf("{\"name\": \"%s\", \"ratio\": %.4g, \"unit\": \"%s\", \"ours\": %.4g, \"baseline\": "
           "%.4g, \"baseline_name\": \"%s\", \"n\": %lld, \"accuracy\": %.2g}\n",
           name, is_bound ? ours / baseline : baseline / ours, is_bound ? "x bound" : "x", ours,
           baseline, baseline_name, (long long)n, accuracy);
    (void)fflush(stdout);
}

/* ---- expectations over groups ---------------------------------------------------------------- */

static double difference(const bench_job *a, const bench_job *b)
{
    double most = 0.0;
    for (int64_t l = 0; l < a->levels; l++) {
        most = fmax(most, fabs(a->a[l] - b->a[l]));
    }
    return most;
}

/* Another way to the same advantages, by an expectation of some method, `often` times a turn. */
typedef struct rival {
    bench_fn run;
    int32_t method;
    int64_t often;
    const char *name;
} rival;

/* The values by a method, beside a rival. */
static void against(const char *name, int64_t levels, int64_t size, int32_t method, int64_t often,
                    const rival *other)
{
    bench_job ours, theirs;
    double took, baseline;
    int ready = bench_job_start(&ours, levels, size, method);
    if (bench_job_start(&theirs, levels, size, other->method) && ready) {
        in_turns(bench_job_values, &ours, often, other->run, &theirs, other->often, &took,
                 &baseline);
        tell(name, 0, took, baseline, other->name, levels, difference(&ours, &theirs));
    }
    bench_job_stop(&ours);
    bench_job_stop(&theirs);
}

/*
 * The plain kernel: the quadrature's own nodes, each location and level by itself with its
 * exponential, as the formula reads. Levels out of reach are left out as the library does.
 */
static void plain(void *context)
{
    bench_job *self = context;
    const gra_expectation *e = &self->expectation;
    const gra_scale_rule *rule = &e->fine;
    const double reach = 6.25, size = (double)e->members, band = reach * sqrt(size);
    memset(self->a, 0, (size_t)self->levels * sizeof(double));
    for (int64_t n = 0; n < rule->count; n++) {
        double t = rule->t[n], from = t * self->x[0] - reach,
               to = t * self->x[self->levels - 1] + reach;
        int64_t first = 0, last = 0;
        for (double y = from; y < to; y += rule->step) {
            double phi = 0.0, psi = 0.0;
            while (first < self->levels && t * self->x[first] < y - band) {
                first++;
            }
            while (last < self->levels && t * self->x[last] <= y + band) {
                last++;
            }
            for (int64_t l = first; l < last; l++) {
                double at = t * self->x[l] - y, k = self->w[l] * exp(-at * at / size);
                phi += k;
                psi += at * k;
            }
            double rest = rule->weight[n] * pow(phi, size - 2.0);
            for (int64_t l = first; l < last; l++) {
                double at = t * self->x[l] - y, k = exp(-at * at / size);
                self->a[l] += rest * k * (at * phi - psi);
            }
        }
    }
    double factor =
        (size - 1.0) / size * 0.56418958354775628695 * rule->step * self->expectation.factor;
    for (int64_t l = 0; l < self->levels; l++) {
        self->a[l] *= factor;
    }
}

/* Groups drawn by inversion; each adds the advantage of its first member. */
enum { DRAWN = 20000 };

typedef struct drawn {
    bench_job job;
    double mean, std; /* of what was drawn last */
} drawn;

static void draw(void *context)
{
    drawn *out = context;
    const bench_job *self = &out->job;
    static uint64_t random = 11;
    int64_t size = self->expectation.members;
    double sum = 0.0, squares = 0.0;
    double cumulated[64] = {0.0};
    for (int64_t l = 0; l < self->levels; l++) {
        cumulated[l] = (l > 0 ? cumulated[l - 1] : 0.0) + self->w[l];
    }
    for (int k = 0; k < DRAWN; k++) {
        double total = 0.0, square = 0.0, own = 0.0;
        for (int64_t m = 0; m < size; m++) {
            double u = bench_uniform(&random);
            int64_t l = m == 0 ? self->levels - 1 : 0;
            while (m > 0 && l + 1 < self->levels && u > cumulated[l]) {
                l++;
            }
            total += self->x[l];
            square += self->x[l] * self->x[l];
            own = m == 0 ? self->x[l] : own;
        }
        double mean = total / (double)size,
               spread = sqrt(fmax(0.0, square / (double)size - mean * mean)),
               advantage = spread > 1e-9 ? (own - mean) / spread : 0.0;
        sum += advantage;
        squares += advantage * advantage;
    }
    out->mean = sum / DRAWN;
    out->std = sqrt(fmax(0.0, squares / DRAWN - out->mean * out->mean));
}

static void against_montecarlo(void)
{
    const double wanted = 1e-4;
    bench_job ours;
    drawn other;
    double took, baseline;
    int ready = bench_job_start(&ours, 16, 8, GRPOALIGN_EXPECTATION_AUTO);
    if (bench_job_start(&other.job, 16, 8, GRPOALIGN_EXPECTATION_ENUMERATION) && ready) {
        in_turns(bench_job_values, &ours, 200, draw, &other, 4, &took, &baseline);
        /* one level of 16, with a standard error of 1e-4; its own digits are those of a draw */
        double groups = other.std * other.std / (wanted * wanted);
        tell("group_vs_montecarlo", 0, took, baseline * groups / DRAWN,
             "drawn groups in C, one advantage to 1e-4 (time of 20000 groups scaled)", 16,
             fabs(ours.a[15] - other.mean));
    }
    bench_job_stop(&ours);
    bench_job_stop(&other.job);
}

/* ---- bulk ------------------------------------------------------------------------------------ */

enum { CONTEXTS = 100000, OUTCOMES = 16 };

typedef struct many {
    grpoalign_bulk bulk;
    grpoalign_columns columns;
    const double *rewards, *reference;
    double *policy, *advantage;
} many;

static void solve_all(void *context)
{
    many *self = context;
    (void)!grpoalign_solve_bulk(&self->bulk, &self->columns, NULL, NULL);
}

/* Reads what the solver reads, divides three times per outcome, writes what it writes. */
GRA_EVERY_MACHINE
static void bound(void *context)
{
    many *self = context;
    const gra_vector *r = (const gra_vector *)self->rewards,
                     *p = (const gra_vector *)self->reference;
    gra_vector *policy = (gra_vector *)self->policy, *advantage = (gra_vector *)self->advantage;
    for (int64_t i = 0; i < (int64_t)CONTEXTS * OUTCOMES / GRA_WIDTH; i++) {
        gra_vector a = p[i] / (r[i] + 1.0), b = r[i] / (a + 2.0);
        policy[i] = a;
        advantage[i] = b / (a + 3.0);
    }
}

static void against_bound(void)
{
    size_t all = (size_t)CONTEXTS * OUTCOMES;
    double *numbers = calloc(4 * all, sizeof(double)), beta = 0.5, took, baseline;
    uint64_t random = 5;
    grpoalign_penalty *penalty = NULL;
    if (numbers == NULL ||
        grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL) < 0) {
        free(numbers);
        return;
    }
    for (size_t k = 0; k < CONTEXTS; k++) {
        double sum = 0.0, *reference = numbers + all + k * OUTCOMES;
        for (int o = 0; o < OUTCOMES; o++) {
            numbers[k * OUTCOMES + (size_t)o] = bench_uniform(&random);
            sum += reference[o] = 0.1 + bench_uniform(&random);
        }
        for (int o = 0; o < OUTCOMES; o++) {
            reference[o] /= sum;
        }
    }
    many self = {.bulk = GRPOALIGN_BULK_INIT,
                 .columns = GRPOALIGN_COLUMNS_INIT,
                 .rewards = numbers,
                 .reference = numbers + all,
                 .policy = numbers + 2 * all,
                 .advantage = numbers + 3 * all};
    self.bulk.model = GRPOALIGN_BULK_LIMIT;
    self.bulk.contexts = CONTEXTS;
    self.bulk.outcomes = OUTCOMES;
    self.bulk.reward_count = (int64_t)all;
    self.bulk.rewards = self.rewards;
    self.bulk.reference = self.reference;
    self.bulk.beta = &beta;
    self.bulk.penalty = penalty;
    self.columns.policy = self.policy;
    self.columns.advantage = self.advantage;
    in_turns(solve_all, &self, 1, bound, &self, 2, &took, &baseline);
    double error = 0.0;
    solve_all(&self);
    for (size_t i = 0; i < all; i++) { /* (1 - u/beta) pi = pi_ref */
        error = fmax(error,
                     fabs((1.0 - self.advantage[i] / beta) * self.policy[i] - self.reference[i]));
    }
    tell("limit_bulk_vs_bound", 1, took, baseline,
         "inputs read, three divisions per outcome, outputs written", CONTEXTS, error);
    grpoalign_penalty_free(penalty);
    free(numbers);
}

int main(void)
{
    const rival enumerated = {bench_job_values, GRPOALIGN_EXPECTATION_ENUMERATION, 2,
                              "every composition in C"};
    const rival one_by_one = {plain, GRPOALIGN_EXPECTATION_QUADRATURE, 2,
                              "the same nodes, one by one, in C"};
    against_bound();
    against("group_vs_enumeration", 12, 8, GRPOALIGN_EXPECTATION_AUTO, 200, &enumerated);
    against_montecarlo();
    against("group_vs_plain", 200, 16, GRPOALIGN_EXPECTATION_QUADRATURE, 40, &one_by_one);
    return 0;
}
