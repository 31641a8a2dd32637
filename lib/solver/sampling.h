/*
 * The stationary policy that the reference leads to as a function of beta: looked at where it is
 * asked for, and gone down along until a question is answered. tune.c and fit.c ask.
 */
#ifndef GRA_SOLVER_SAMPLING_H
#define GRA_SOLVER_SAMPLING_H

#include <stdint.h>

#include <grpoalign/inverse.h>

#include "solver/solver.h"

/* What was found at one beta. */
typedef struct gra_sample {
    double beta;
    int there;                    /* a stationary policy, not what stands for one */
    int over;                     /* training collapses: nothing below is looked at */
    grpoalign_solution *solution; /* NULL before the first look */
    gra_answer answer;            /* to go on from */
} gra_sample;

/* Where to look, and how long. */
typedef struct gra_search_range {
    double low, high; /* 0: wherever there is something to see */
} gra_search_range;

/* No stretch is halved more often, which is as far as doubles go. */
enum { GRA_SAMPLE_DEPTH = 64 };

typedef struct gra_sampling {
    const grpoalign_problem *problem;
    grpoalign_solve_options options; /* of every look */
    grpoalign_progress_fn progress;  /* the host's */
    void *user;
    grpoalign_error *error;
    gra_arena arena;
    gra_call call; /* one for all betas, unless groups are dropped */
    int64_t looks;
    int32_t iterations, factorizations; /* so far */
    double scale;                       /* a beta at which the policy is near the reference */
    gra_sample ends[GRA_SAMPLE_DEPTH + 2];
} gra_sampling;

/* Close it also after failure. Options are those of each solve; progress hears of all of them. */
grpoalign_status gra_sampling_open(gra_sampling *self, const grpoalign_problem *problem,
                                   const grpoalign_solve_options *options, grpoalign_error *error);
void gra_sampling_close(gra_sampling *self);

/* Looks at a beta; `before` is a sample at a larger one, or NULL. The sample is all zeros, or one of
 * the same sampling before; what it holds outside its arena gra_sample_clear gives back. */
grpoalign_status gra_sampling_look(gra_sampling *self, double beta, const gra_sample *before,
                                   gra_sample *out);
void gra_sample_clear(gra_sample *self);

/* The solution at a beta as gra_solve_classes gives it by itself, its stability assessed. */
grpoalign_status gra_sampling_solve(gra_sampling *self, double beta, int32_t stability,
                                    grpoalign_solution **out);

/* The largest |log(pi/pi_ref)| of a sample. */
double gra_sampling_distance(const gra_sampling *self, const gra_sample *at);

/* Finds self->scale, and leaves the sample there. */
grpoalign_status gra_sampling_find_scale(gra_sampling *self, gra_sample *at);

/* How far two samples are from each other: sum |pi - pi'|, and log(beta/beta'). */
double gra_sampling_travelled(const gra_sample *a, const gra_sample *b);
double gra_sampling_stretch(const gra_sample *a, const gra_sample *b);

/* What a stretch between a sample and the next one below it calls for. */
enum { GRA_GO_ON, GRA_HALVE, GRA_STOP };

typedef struct gra_descent {
    void *client;
    grpoalign_status (*judge)(void *client, const gra_sample *above, const gra_sample *below,
                              int *verdict);
} gra_descent;

/* Whether a stretch is too long to judge by its ends: the policy changes by much between them, or
 * only one is there. Where doubles do not divide it any more it is a jump. */
int gra_sampling_is_long(const gra_sample *above, const gra_sample *below);
int gra_sampling_is_jump(const gra_sample *above, const gra_sample *below);

/* Goes down from beta `high` to `low`, judging stretch after stretch, until one says stop or there
 * is no stationary policy any more. */
grpoalign_status gra_sampling_descend(gra_sampling *self, const gra_descent *descent, double high,
                                      double low);

/* ---- the questions --------------------------------------------------------------------------- */

typedef struct gra_target {
    int32_t quantity;     /* GRPOALIGN_QUANTITY_* */
    const double *values; /* per outcome, of a reward or a metric; else NULL */
    double value;
} gra_target;

/* The solution at the largest beta that reaches the target, and its status; or UNREACHABLE with the
 * nearest, and the reason in the error record. */
grpoalign_status gra_tune(const grpoalign_problem *problem, const gra_target *target,
                          const gra_search_range *range, const grpoalign_solve_options *options,
                          grpoalign_solution **out, grpoalign_error *error);

/* The same for the largest likelihood of what was observed. */
grpoalign_status gra_fit(const grpoalign_problem *problem, const double *observed,
                         const gra_search_range *range, const grpoalign_solve_options *options,
                         grpoalign_solution **out, grpoalign_fit_report *fit,
                         grpoalign_error *error);

#endif
