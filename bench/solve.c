/*
 * Whole solves through the public header, beside a baseline in the same run: for rewards one
 * evaluation of the advantages, for pairwise preferences one LU factorisation of a matrix of that
 * size, for preferences induced by rewards one sort of the rewards; other penalties beside reverse
 * KL, slow corners beside half a second (solve) and two (points, flow), and a batch beside the
 * solves of its contexts with the std known.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpoalign/grpoalign.h>

#include "clock.h"
#include "linalg/linalg.h"

typedef struct job {
    int64_t n;
    double *rewards, *margins, *policy, *work;
    int32_t *pivots;
    double beta;
    grpoalign_model *model;
    grpoalign_penalty *penalty;
    grpoalign_reference *reference;
    grpoalign_problem *kept; /* made once, or NULL: made at every call */
    grpoalign_report report;
} job;

static void fail(const char *message)
{
    fprintf(stderr, "bench: %s\n", message);
    exit(1);
}

/* The problem of a job; give it back with close_problem. */
static grpoalign_problem *open_problem(const job *self)
{
    grpoalign_problem *problem = self->kept;
    grpoalign_error error;
    if (problem == NULL && grpoalign_problem_new(self->model, self->penalty, self->reference, NULL,
                                                 &problem, &error) < 0) {
        fail(error.message);
    }
    return problem;
}

static void close_problem(const job *self, grpoalign_problem *problem)
{
    if (problem != self->kept) {
        grpoalign_problem_free(problem);
    }
}

static void solve(void *context)
{
    job *self = context;
    grpoalign_solution *solution = NULL;
    grpoalign_error error;
    grpoalign_solve_options options;
    grpoalign_solve_options_init(&options, sizeof options);
    options.stability = GRPOALIGN_STABILITY_SKIP;
    grpoalign_problem *problem = open_problem(self);
    if (grpoalign_solve(problem, self->beta, &options, &solution, &error) < 0) {
        fail(error.message);
    }
    self->report.struct_size = sizeof self->report;
    if (grpoalign_solution_report(solution, &self->report, NULL) < 0) {
        fail("no report");
    }
    grpoalign_solution_free(solution);
    close_problem(self, problem);
}

static void evaluate(void *context)
{
    job *self = context;
    if (grpoalign_model_advantage(self->model, self->policy, self->n, self->work, NULL) < 0) {
        fail("no advantage");
    }
}

static void factorise(void *context)
{
    job *self = context;
    memcpy(self->work, self->margins, (size_t)(self->n * self->n) * sizeof(double));
    for (int64_t i = 0; i < self->n; i++) {
        self->work[i * self->n + i] = 1.0;
    }
    (void)gra_lu_factor(self->n, self->work, self->n, self->pivots);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void sort(void *context)
{
    job *self = context;
    memcpy(self->work, self->rewards, (size_t)self->n * sizeof(double));
    qsort(self->work, (size_t)self->n, sizeof(double), compare);
}

static double *take(int64_t count)
{
    double *memory = malloc((size_t)count * sizeof(double));
    if (memory == NULL) {
        fail("no memory");
    }
    return memory;
}

static job start(int64_t n, int square)
{
    job self = {.n = n};
    uint64_t random = 11;
    grpoalign_error error;
    self.rewards = take(n);
    self.policy = take(n);
    self.work = take(square ? n * n : n);
    self.margins = square ? take(n * n) : NULL;
    self.pivots = square ? malloc((size_t)n * sizeof *self.pivots) : NULL;
    double sum = 0.0;
    for (int64_t o = 0; o < n; o++) {
        self.rewards[o] = bench_uniform(&random);
        sum += self.policy[o] = 0.05 + bench_uniform(&random);
    }
    for (int64_t o = 0; o < n; o++) {
        self.policy[o] /= sum;
    }
    for (int64_t i = 0; square && i < n; i++) {
        self.margins[i * n + i] = 0.0;
        for (int64_t j = 0; j < i; j++) {
            self.margins[i * n + j] = 2.0 * bench_uniform(&random) - 1.0;
            self.margins[j * n + i] = -self.margins[i * n + j];
        }
    }
    if ((square && self.pivots == NULL) ||
        grpoalign_reference_new(self.policy, n, NULL, &self.reference, &error) < 0) {
        fail("cannot start");
    }
    return self;
}

static void stop(job *self)
{
    grpoalign_model_free(self->model);
    grpoalign_penalty_free(self->penalty);
    grpoalign_reference_free(self->reference);
    free(self->rewards), free(self->policy), free(self->work), free(self->margins),
        free(self->pivots);
}

static void run(job *self, const char *name, int32_t kind, double beta, const char *baseline,
                bench_fn f)
{
    grpoalign_error error;
    grpoalign_penalty_free(self->penalty);
    if (grpoalign_penalty_new(kind, NULL, &self->penalty, &error) < 0) {
        fail(error.message);
    }
    self->beta = beta;
    double seconds = bench_time(solve, self), unit = bench_time(f, self);
    printf("%-44s %-11s %7g %12.4f %6d %9.1e   %9.3g x one %s\n", name,
           grpoalign_penalty_name(kind), beta, 1e3 * seconds, (int)self->report.factorizations,
           self->report.residual, seconds / unit, baseline);
}

/* ---- paths: 40 betas at once, beside a solve for each --------------------------------------- */

enum { STOPS = 40 };

static void fill_betas(double *betas)
{
    for (int k = 0; k < STOPS; k++) {
        betas[k] = 0.01 * pow(1000.0, (double)k / (STOPS - 1));
    }
}

static void path(void *context)
{
    job *self = context;
    double betas[STOPS];
    grpoalign_points *points = NULL;
    grpoalign_error error;
    grpoalign_solve_options options;
    grpoalign_solve_options_init(&options, sizeof options);
    options.stability = GRPOALIGN_STABILITY_SKIP;
    fill_betas(betas);
    grpoalign_problem *problem = open_problem(self);
    if (grpoalign_points_new_path(problem, betas, STOPS, &options, &points, &error) < 0) {
        fail(error.message);
    }
    grpoalign_points_free(points);
    close_problem(self, problem);
}

static void solve_each(void *context)
{
    job *self = context;
    double betas[STOPS], kept = self->beta;
    fill_betas(betas);
    for (int k = 0; k < STOPS; k++) {
        self->beta = betas[k];
        solve(self);
    }
    self->beta = kept;
}

static void solve_each_with_one_problem(void *context)
{
    job self = *(job *)context;
    self.kept = open_problem(&self);
    solve_each(&self);
    grpoalign_problem_free(self.kept);
}

static void all_points(void *context)
{
    job *self = context;
    grpoalign_points *points = NULL;
    grpoalign_error error;
    grpoalign_problem *problem = open_problem(self);
    if (grpoalign_points_new(problem, self->beta, NULL, &points, &error) < 0) {
        fail(error.message);
    }
    grpoalign_points_free(points);
    close_problem(self, problem);
}

static void flow(void *context)
{
    job *self = context;
    grpoalign_flow *way = NULL;
    grpoalign_error error;
    grpoalign_problem *problem = open_problem(self);
    if (grpoalign_flow_new(problem, self->beta, NULL, &way, &error) < 0) {
        fail(error.message);
    }
    grpoalign_flow_free(way);
    close_problem(self, problem);
}

static void run_ways(int quick)
{
    static const int64_t groups[][2] = {{2, 32}, {5, 8}, {16, 8}, {64, 16}};
    static const int32_t kinds[] = {GRPOALIGN_PENALTY_REVERSE_KL, GRPOALIGN_PENALTY_DIRECT_KL};
    grpoalign_error error;
    printf("\n%-28s %-11s %26s %26s %26s\n", "model", "penalty", "path of 40 betas",
           "all points (beta 0.3)", "flow (beta 0.3)");
    for (size_t i = 0; i < sizeof groups / sizeof *groups - (size_t)quick; i++) {
        job self = start(groups[i][0], 0);
        char name[64];
        if (grpoalign_model_new_group(self.rewards, self.n, groups[i][1], NULL, &self.model,
                                      &error) < 0) {
            fail(error.message);
        }
        snprintf(name, sizeof name, "group of %lld, %lld rewards", (long long)groups[i][1],
                 (long long)groups[i][0]);
        for (int k = 0; k < 2; k++) {
            grpoalign_penalty_free(self.penalty);
            if (grpoalign_penalty_new(kinds[k], NULL, &self.penalty, &error) < 0) {
                fail(error.message);
            }
            self.beta = 0.3;
            double once = bench_time(solve, &self), each = bench_time(solve_each, &self),
                   kept = bench_time(solve_each_with_one_problem, &self),
                   together = bench_time(path, &self);
            double points = bench_time(all_points, &self), way = bench_time(flow, &self);
            printf("%-28s %-11s %9.3f ms, %4.2f x one each, %4.2f with one problem %9.3f ms, "
                   "%5.0f x solve %9.3f ms, %5.0f x solve\n",
                   name, grpoalign_penalty_name(kinds[k]), 1e3 * together, together / each,
                   kept / each, 1e3 * points, points / once, 1e3 * way, way / once);
        }
        stop(&self);
    }
}

/* ---- every penalty, beside reverse KL ------------------------------------------------------- */

static void run_penalties(void)
{
    grpoalign_error error;
    printf("\n%-28s %-20s %12s %6s %9s   %s\n", "model", "penalty (beta 0.3)", "ms", "LU",
           "residual", "beside");
    for (int limit = 0; limit < 2; limit++) {
        job self = start(5, 0);
        if ((limit
                 ? grpoalign_model_new_limit(self.rewards, NULL, self.n, NULL, &self.model, &error)
                 : grpoalign_model_new_group(self.rewards, self.n, 8, NULL, &self.model, &error)) <
            0) {
            fail(error.message);
        }
        self.beta = 0.3;
        double unit = 0.0;
        for (int32_t kind = GRPOALIGN_PENALTY_REVERSE_KL;
             kind <= GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED; kind++) {
            grpoalign_penalty_free(self.penalty);
            grpoalign_penalty_options options = GRPOALIGN_PENALTY_OPTIONS_INIT;
            options.alpha = kind == GRPOALIGN_PENALTY_ALPHA ? 0.5 : 0.0;
            if (grpoalign_penalty_new(kind, &options, &self.penalty, &error) < 0) {
                fail(error.message);
            }
            double seconds = bench_time(solve, &self);
            unit = unit > 0.0 ? unit : seconds;
            printf("%-28s %-20s %12.4f %6d %9.1e   %9.3g x reverse_kl\n",
                   limit ? "limit, 5 rewards" : "group of 8, 5 rewards",
                   grpoalign_penalty_name(kind), 1e3 * seconds, (int)self.report.factorizations,
                   self.report.residual, seconds / unit);
        }
        stop(&self);
    }
}

/* ---- slow corners: 64 outcomes, beside what they should take --------------------------------- */

typedef struct corner {
    int64_t n, group_size; /* group_size 0: the limit */
    int32_t scale, penalty;
    double beta;
    const char *what; /* is asked */
    bench_fn ask;
    double bound; /* seconds */
} corner;

static void run_corners(void)
{
    static const corner CORNERS[] = {
        {64, 0, GRPOALIGN_SCALE_STD, GRPOALIGN_PENALTY_SQUARED_LOG_RATIO, 0.022, "solve", solve,
         0.5},
        {64, 1024, GRPOALIGN_SCALE_STD, GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED, 0.087, "solve", solve,
         0.5},
        {64, 16, GRPOALIGN_SCALE_STD, GRPOALIGN_PENALTY_CHI_SQUARED, 0.1, "solve", solve, 0.5},
        {64, 8, GRPOALIGN_SCALE_STD, GRPOALIGN_PENALTY_JENSEN_SHANNON, 0.33, "points", all_points,
         2.0},
        {64, 8, GRPOALIGN_SCALE_STD, GRPOALIGN_PENALTY_CHI_SQUARED, 0.1, "points", all_points, 2.0},
        {20, 16, GRPOALIGN_SCALE_STD_OF_OTHERS, GRPOALIGN_PENALTY_REVERSE_KL, 0.09, "flow", flow,
         2.0},
        {40, 8, GRPOALIGN_SCALE_STD_OF_OTHERS, GRPOALIGN_PENALTY_DIRECT_KL, 0.019, "flow", flow,
         2.0},
        {64, 8, GRPOALIGN_SCALE_STD, GRPOALIGN_PENALTY_JENSEN_SHANNON, 0.33, "flow", flow, 2.0},
    };
    printf("\n%-28s %-20s %-7s %12s   %s\n", "model", "penalty", "asked", "ms", "beside");
    for (size_t i = 0; i < sizeof CORNERS / sizeof *CORNERS; i++) {
        const corner *c = &CORNERS[i];
        job self = start(c->n, 0);
        char name[64];
        grpoalign_error error;
        grpoalign_reward_options options = GRPOALIGN_REWARD_OPTIONS_INIT;
        options.scale = c->scale;
        options.baseline = c->scale == GRPOALIGN_SCALE_STD_OF_OTHERS
                               ? GRPOALIGN_BASELINE_LEAVE_ONE_OUT
                               : GRPOALIGN_BASELINE_MEAN;
        if ((c->group_size == 0 ? grpoalign_model_new_limit(self.rewards, NULL, c->n, &options,
                                                            &self.model, &error)
                                : grpoalign_model_new_group(self.rewards, c->n, c->group_size,
                                                            &options, &self.model, &error)) < 0 ||
            grpoalign_penalty_new(c->penalty, NULL, &self.penalty, &error) < 0) {
            fail(error.message);
        }
        self.beta = c->beta;
        double seconds = bench_time(c->ask, &self);
        snprintf(name, sizeof name, "G = %lld%s, %lld rewards", (long long)c->group_size,
                 c->scale == GRPOALIGN_SCALE_STD_OF_OTHERS ? ", others" : "", (long long)c->n);
        printf("%-28s %-20s %-7s %12.1f   %9.3g x bound\n",
               c->group_size == 0 ? "limit, 64 rewards" : name, grpoalign_penalty_name(c->penalty),
               c->what, 1e3 * seconds, seconds / c->bound);
        stop(&self);
    }
}

/* ---- batches -------------------------------------------------------------------------------- */

enum { BATCH = 1000 };

typedef struct batch {
    grpoalign_model *models[BATCH];
    grpoalign_reference *references[BATCH];
    grpoalign_penalty *penalty;
    double beta, effective;
} batch;

static void together(void *context)
{
    batch *self = context;
    grpoalign_points *points = NULL;
    grpoalign_error error;
    grpoalign_report report = {.struct_size = sizeof report};
    grpoalign_problem *problems[BATCH] = {NULL};
    for (int k = 0; k < BATCH; k++) {
        if (grpoalign_problem_new(self->models[k], self->penalty, self->references[k], NULL,
                                  &problems[k], &error) < 0) {
            fail(error.message);
        }
    }
    if (grpoalign_points_new_batch((const grpoalign_problem *const *)problems, BATCH, self->beta,
                                   NULL, NULL, &points, NULL, &error) < 0 ||
        grpoalign_solution_report(grpoalign_points_solution(points, 0), &report, &error) < 0) {
        fail(error.message);
    }
    self->effective = report.beta;
    grpoalign_points_free(points);
    for (int k = 0; k < BATCH; k++) {
        grpoalign_problem_free(problems[k]);
    }
}

static void one_by_one(void *context)
{
    batch *self = context;
    for (int k = 0; k < BATCH; k++) {
        job one = {.model = self->models[k],
                   .penalty = self->penalty,
                   .reference = self->references[k],
                   .beta = self->effective};
        solve(&one);
    }
}

static void run_batches(void)
{
    static const int32_t kinds[] = {GRPOALIGN_PENALTY_REVERSE_KL, GRPOALIGN_PENALTY_DIRECT_KL,
                                    GRPOALIGN_PENALTY_CHI_SQUARED,
                                    GRPOALIGN_PENALTY_JENSEN_SHANNON};
    grpoalign_error error;
    grpoalign_reward_options options;
    uint64_t random = 12;
    batch all = {.beta = 0.3};
    grpoalign_reward_options_init(&options, sizeof options);
    options.scale = GRPOALIGN_SCALE_NONE;
    for (int k = 0; k < BATCH; k++) {
        int64_t n = 2 + (int64_t)(9.0 * bench_uniform(&random));
        double rewards[11], logits[11];
        for (int64_t o = 0; o < n; o++) {
            rewards[o] = bench_uniform(&random);
            logits[o] = -4.0 * bench_uniform(&random);
        }
        if (grpoalign_model_new_group(rewards, n, 8, &options, &all.models[k], &error) < 0 ||
            grpoalign_reference_new_log(logits, n, NULL, &all.references[k], &error) < 0) {
            fail(error.message);
        }
    }
    printf("\n%-44s %-16s %12s   %s\n", "std of a batch", "penalty (beta 0.3)", "ms", "beside");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (grpoalign_penalty_new(kinds[i], NULL, &all.penalty, &error) < 0) {
            fail(error.message);
        }
        double seconds = bench_time(together, &all), unit = bench_time(one_by_one, &all);
        printf("%-44s %-16s %12.3f   %9.3g x its contexts, the std known\n",
               "1000 contexts of 2 to 10 rewards", grpoalign_penalty_name(kinds[i]), 1e3 * seconds,
               seconds / unit);
        grpoalign_penalty_free(all.penalty);
    }
    for (int k = 0; k < BATCH; k++) {
        grpoalign_model_free(all.models[k]);
        grpoalign_reference_free(all.references[k]);
    }
}

int main(int count, char **arguments)
{
    int quick = count > 1 && strcmp(arguments[1], "--quick") == 0;
    static const int32_t kinds[] = {GRPOALIGN_PENALTY_REVERSE_KL, GRPOALIGN_PENALTY_DIRECT_KL};
    static const int64_t groups[][2] = {{2, 8},   {2, 1024}, {5, 8},   {16, 8},
                                        {64, 16}, {200, 16}, {1000, 8}};
    static const int64_t pairs[] = {50, 200, 500, 1000, 2000}, many[] = {1000, 1000000, 10000000};
    grpoalign_error error;
    char name[64];
    printf("%-44s %-11s %7s %12s %6s %9s   %s\n", "model", "penalty", "beta", "ms", "LU",
           "residual", "beside");
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        job self = start(groups[i][0], 0);
        if (grpoalign_model_new_group(self.rewards, self.n, groups[i][1], NULL, &self.model,
                                      &error) < 0) {
            fail(error.message);
        }
        snprintf(name, sizeof name, "group of %lld, %lld rewards", (long long)groups[i][1],
                 (long long)groups[i][0]);
        for (int k = 0; k < 2; k++) {
            run(&self, name, kinds[k], 0.04, "evaluation", evaluate);
        }
        stop(&self);
    }
    for (size_t i = 0; i < sizeof many / sizeof *many - (size_t)quick; i++) {
        job self = start(many[i], 0);
        for (int limit = 0; limit < 2; limit++) {
            grpoalign_model_free(self.model);
            if ((limit ? grpoalign_model_new_limit(self.rewards, NULL, self.n, NULL, &self.model,
                                                   &error)
                       : grpoalign_model_new_ranked(self.rewards, self.n, NULL, &self.model,
                                                    &error)) < 0) {
                fail(error.message);
            }
            snprintf(name, sizeof name, "%s, %lld rewards", limit ? "limit" : "pairwise by reward",
                     (long long)many[i]);
            for (int k = 0; k < 2 - limit; k++) {
                run(&self, name, kinds[k], 0.04, "sort", sort);
            }
        }
        stop(&self);
    }
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs - (size_t)quick; i++) {
        job self = start(pairs[i], 1);
        if (grpoalign_model_new_pairwise(self.margins, self.n, self.n, NULL, &self.model, &error) <
            0) {
            fail(error.message);
        }
        snprintf(name, sizeof name, "pairwise, random margins, %lld outcomes", (long long)pairs[i]);
        for (int k = 0; k < 2; k++) {
            for (double beta = 0.01; beta > 5e-7; beta *= 1e-4) {
                run(&self, name, kinds[k], beta, "LU", factorise);
            }
        }
        stop(&self);
    }
    run_ways(quick);
    run_penalties();
    run_corners();
    run_batches();
    return 0;
}
