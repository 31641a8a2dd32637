/*
 * Affine models: the advantages of all outcomes lie on one line,
 *
 *     u_c(pi) = strength(pi) * (m - gap_c),   m = sum pi gap,
 *
 * gap_c >= 0 being how far the mean reward of class c falls short of the best. Large groups,
 * unscaled rewards and two reward levels are of this kind; they differ in the strength.
 */
#ifndef GRA_MODEL_AFFINE_H
#define GRA_MODEL_AFFINE_H

#include <stdint.h>

#include "expectation/expectation.h"

/*
 * A policy of a penalty's path, slacks theta gap + level, seen by a affine. Between two of them
 * bounds on the slope of log strength follow from convexity; see the functions below.
 */
typedef struct gra_affine_sample {
    double x, theta, level; /* x: the path's parameter */
    double spread;          /* -d mean gap / d theta */
    double log_strength;
    double slope;    /* d log strength / d theta along the path */
    double mean_gap; /* m */
    double share; /* large groups: sigma / (sigma + epsilon); two levels: the derivative of the gap
                     in p */
    double log_sigma;   /* large groups; two levels: log of the gap of the advantages */
    double sigma_slope; /* large groups: d log sigma / d theta */
    double p;           /* two levels: probability of success */
} gra_affine_sample;

/* A piece of the path between two samples, with bounds on the spread in it. */
typedef struct gra_affine_piece {
    const gra_affine_sample *a, *b;
    double least_spread, most_spread;
} gra_affine_piece;

typedef struct gra_affine gra_affine;
struct gra_affine {
    int64_t classes;
    const double *gap;    /* >= 0, smallest 0, not all 0 */
    const double *reward; /* what the gaps are differences of, exact where the gaps are rounded;
                             NULL for -gap */
    /* All strengths lie in [low, high]; high may be infinite. */
    double low, high;
    double (*strength)(const gra_affine *self, const double *policy);
    /* log strength from log probabilities, for policies whose spread no double holds; NULL if that
     * cannot happen. */
    double (*log_strength)(const gra_affine *self, const double *log_policy);
    /* Fills a sample for a policy of the path, given theta, level and spread. */
    void (*sample)(const gra_affine *self, const double *policy, gra_affine_sample *sample);
    /* Bounds on d log strength / d theta over a piece; NULL where none are known. */
    void (*slope_bounds)(const gra_affine *self, const gra_affine_piece *piece, double *low,
                         double *high);
    /* An upper bound on the strength for all theta >= a->theta; infinite if there is none. */
    double (*ceiling)(const gra_affine *self, const gra_affine_sample *a, const double *policy);
    /* A lower bound on d log strength / d theta for all theta >= a->theta. */
    double (*tail_slope)(const gra_affine *self, const gra_affine_sample *a);
    /* d strength / d pi_c for every class, up to a common constant. */
    void (*gradient)(const gra_affine *self, const double *policy, double *gradient);
    int any_path;   /* slope bounds hold on the path of any penalty, by the spread; else on
                       exponential families */
    int over_sigma; /* large groups: the strength is 1/(sigma + epsilon) */
    int falling;    /* the strength never grows along a path: one stationary policy, whatever the
                       penalty */
    int reverse_unique; /* the stationary policy under reverse KL is proved unique */

    /* What the strengths need. */
    double constant;                 /* unscaled */
    const double *variance;          /* large groups: per class, or NULL */
    double epsilon;                  /* in units of the gaps */
    const double *success, *failure; /* two levels: probabilities of the upper and the lower */
    gra_contrast contrast;
    double end; /* what the gap has beyond a convex function of p: end (p^(G-1) + q^(G-1)) */
    const gra_expectation *expectation; /* the std of others: the strength over levels */
    const double *distribution;         /* classes x levels, or NULL where they are the same */
    gra_arena *arena;                   /* for scratch */
};

/* Each sets the strength-specific part; classes and gap are set before. */
void gra_affine_constant(gra_affine *affine, double strength);
void gra_affine_limit(gra_affine *affine, const double *variance, double epsilon);
void gra_affine_mean(gra_affine *affine, double best, double epsilon);
void gra_affine_two_levels(gra_affine *affine, const double *success, const double *failure,
                           const gra_contrast *contrast);
void gra_affine_others(gra_affine *affine, const gra_expectation *expectation,
                       const double *distribution, gra_arena *arena);

/*
 * The mean reward of a policy as pivot - offset, pivot being the reward of the class that weighs
 * most: differences from the mean then keep their digits when that class holds nearly everything.
 */
typedef struct gra_affine_centre {
    double pivot, offset;
} gra_affine_centre;

gra_affine_centre gra_affine_find_centre(const gra_affine *affine, const double *policy);

/* How far class c falls short of the mean reward (negative where it exceeds it). */
double gra_affine_deviation(const gra_affine *affine, gra_affine_centre centre, int64_t c);

double gra_affine_mean_gap(const gra_affine *affine, const double *policy);

#endif
