/*
 * Sampled GRPO on a tabular softmax policy, the way trainers run it: sample groups, score them,
 * normalise within the group, take clipped policy-gradient steps with a KL estimator, and again. It
 * shares nothing with the library: no expectation over groups, no stationarity condition.
 */
#ifndef GPA_SIMULATOR_H
#define GPA_SIMULATOR_H

#include <stdint.h>

#include "base/deadline.h"

/* Estimators of the divergence of a completion, l = log pi/pi_ref: k1 = l, k2 = l^2/2, k3 = exp(-l)
 * - 1 + l, |l|. */
enum { KL_NONE, KL_K1, KL_K2, KL_K3, KL_ABS };

/* Where the estimator enters: a term of the loss; the same times the differentiable ratio
 * pi/pi_old; subtracted from the normalised advantage, without gradient; subtracted from the reward
 * before it is normalised. */
enum { IN_LOSS, IN_LOSS_RATIO, IN_REWARD, IN_REWARD_BEFORE };

/* What the centred reward is divided by. */
enum { OVER_STD, OVER_NOTHING, OVER_STD_OF_OTHERS, OVER_MEAN };

enum { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_INVERSE };

/* What is trained on. Rewards are fixed, or drawn from a distribution over levels, or a comparison
 * decides (groups of two). */
typedef struct sim_task {
    int64_t outcomes;
    const double *reference;    /* probabilities */
    const double *rewards;      /* or NULL */
    const double *support;      /* levels, or NULL */
    const double *distribution; /* outcomes x levels */
    int64_t levels;
    const double *margins; /* outcomes x outcomes, or NULL */
    int by_comparison;     /* rewards decide comparisons of two: the better wins */
    /* Several rewards, each normalised by itself and then added up: lists x outcomes; or NULL. */
    const double *reward_lists, *reward_weights;
    int64_t lists;
    const double *weights; /* of completions in the loss, or NULL */
    /* Completions as sequences of choices: choice e is made at a node, and outcome o makes the
     * choices path[offsets[o]] .. path[offsets[o + 1] - 1]. Without nodes (0) each outcome is one
     * choice of its own at one node. The first node is the root. */
    int64_t nodes, choices;
    const int64_t *node_of, *offsets, *path;
} sim_task;

/* How it is trained. */
typedef struct sim_recipe {
    int64_t group_size, groups; /* groups of a batch */
    int scale, ddof, inside;    /* inside: epsilon is added to the variance */
    int leave_one_out;          /* the baseline is the mean of the others */
    int drops;                  /* groups without spread */
    double epsilon, beta;
    /* Beside the estimator, in the loss: coefficients of k3 and of k2, and of the entropy of the
     * policy at every choice. */
    double with_k3, with_k2, with_entropy;
    int estimator, placement;
    double clamp;               /* of the estimate; no gradient beyond */
    int64_t steps, inner_steps; /* batches; gradient steps on each */
    double learning_rate, clip;
    int32_t schedule;
    double average_from; /* share of the steps after which policies are averaged */
    uint64_t seed;
    deadline until; /* when to give up */
} sim_recipe;

typedef struct sim_outcome {
    double *average; /* the mean policy of the steps averaged, outcomes long; the caller's */
    double *last;    /* the policy at the end */
    double clipped;  /* share of the completions whose gradient was clipped */
    double silent;   /* share of groups without spread */
    int diverged;    /* a logit left the numbers; the policies are NaN */
    int given_up;    /* its time was over; nothing else here counts */
} sim_outcome;

/* The learning rate of a step, counted from 0. */
double sim_learning_rate(const sim_recipe *recipe, int64_t step_number);

/* One training run. Returns 0 when memory is short. */
int simulate(const sim_task *task, const sim_recipe *recipe, sim_outcome *out);

#endif
