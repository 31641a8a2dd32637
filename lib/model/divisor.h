/*
 * Divisors: what affine advantages divide by.
 *
 *     u_c(pi) = (m - gap_c) / divisor(pi),   m = sum pi gap
 *
 * A divisor is kept as its inverse, 1/divisor, which is a number also where the divisor is
 * infinitely small. It sees a policy through a few sums, the moments, one set per context: the std
 * of a batch is taken over several contexts, every other divisor has one.
 *
 * Solvers follow the regularisation path: policies with slacks theta gap + lambda, theta growing
 * from 0 (the reference policy) to infinity (the best classes alone). Along it every sum pi f with
 * a growing function f of the gap falls, and
 *
 *     d/dtheta sum pi f = -cov(f, gap) = -(1/2Q) sum q_k q_l (f_k - f_l)(gap_k - gap_l),
 *
 * q = -d pi/d slack, Q = sum q. Bounds over a stretch of the path follow from bounds on q
 * (doc/theory.md, section 2.11).
 */
#ifndef GRA_MODEL_DIVISOR_H
#define GRA_MODEL_DIVISOR_H

#include <stdint.h>

#include "base/alloc.h"
#include "base/interval.h"
#include "expectation/expectation.h"

/* Sums over the policy of one context; each divisor fills what it needs. */
typedef struct gra_moments {
    double mean_gap; /* m */
    /* sigma: variance = rising - falling - mean_gap^2, both growing functions of the gap; third is
     * sum pi d (d^2 + v), d = gap - m; the mean reward is pivot - offset, pivot being that of the
     * heaviest class, so that what is small keeps its digits. */
    double rising, falling, variance, third, pivot, offset;
    double success, failure; /* two levels: the probabilities of the upper and the lower */
    /* sigma: what the variances of the best classes contribute; over the mean: the mean reward;
     * else 1/divisor itself, and its derivative in success */
    double own, slope;
} gra_moments;

/* Q and the covariances with the gap, all times Q, of the gap itself and of the functions that
 * `rising` and `falling` are sums of; and the size of the terms that they are differences of. */
typedef struct gra_covariance {
    double total, gap, rising, falling;
    double size_rising, size_falling;
} gra_covariance;

/* A stretch of the regularisation path, theta_a < theta_b. */
typedef struct gra_stretch {
    double theta_a, theta_b;
    const gra_moments *a, *b; /* per context */
    /* Per context, with the least and with the largest q of the stretch; NULL on an exponential
     * family, pi ~ pi_ref exp(-theta gap), for a divisor whose bounds need none there. */
    const gra_covariance *least, *most;
    const double *rate; /* per context: its slacks are rate gap theta + lambda */
    double rounding;    /* of the sums, relative to the size of their terms */
} gra_stretch;

/* What is known of log(1/divisor) over a stretch. */
typedef struct gra_divisor_bounds {
    gra_interval value, slope; /* slope: its derivative in theta */
    int rough;                 /* they are mostly rounding: a shorter stretch tells no more */
} gra_divisor_bounds;

typedef struct gra_divisor gra_divisor;

typedef struct gra_divisor_kind {
    /* The moments of context k: what 1/divisor needs, and with for_bounds what the bounds need too.
     * Returns 0 when memory is short. */
    int (*moments)(const gra_divisor *self, int64_t k, const double *policy, int for_bounds,
                   gra_arena *arena, gra_moments *out);
    /* 1/divisor, from the moments of all contexts. */
    double (*inverse)(const gra_divisor *self, const gra_moments *of);
    /* log(1/divisor) from log probabilities, where no double holds the spread of the policy; NULL
     * where that cannot happen. */
    double (*log_inverse)(const gra_divisor *self, const double *log_policy);
    /* d (1/divisor) / d pi_c for every class, up to a common constant. Returns 0 when memory is
     * short. */
    int (*gradient)(const gra_divisor *self, const double *policy, gra_arena *arena,
                    double *gradient);
    /* Makes what bounds need, once before the first of them; NULL for nothing. 0 on short
     * memory. */
    int (*prepare)(const gra_divisor *self, gra_divisor *out, gra_arena *arena);
    int convex_families; /* on exponential families bounds follow from the ends of a stretch */
    /* Bounds over a stretch; NULL where none are known. */
    gra_divisor_bounds (*bounds)(const gra_divisor *self, const gra_stretch *stretch);
    /* An upper bound on 1/divisor from the policy with these moments on; infinite if there is
     * none. */
    double (*ceiling)(const gra_divisor *self, const gra_moments *of);
    /* Exponential families: a lower bound on d log(1/divisor) / dtheta from there on; NULL for
     * none. */
    double (*tail_slope)(const gra_divisor *self, const gra_moments *of);
    /* A part of the divisor whose ratio to b grows along the path where std/b falls as b grows;
     * NULL for none. */
    double (*ratio_part)(const gra_divisor *self, const gra_moments *of);
    /* Whether no spread is left that a double could hold, nor will there be; NULL for never. */
    int (*is_spent)(const gra_divisor *self, const gra_moments *of);
} gra_divisor_kind;

struct gra_divisor {
    const gra_divisor_kind *kind;
    const void *data; /* of the kind */
    int64_t classes;
    double low, high; /* 1/divisor lies between them; high may be infinite */
    int constant;     /* 1/divisor is `low` for every policy */
    int falls;        /* 1/divisor never grows along a path: one stationary policy, whatever the
                         penalty */
    int ratio_falls;  /* one stationary policy, proved, under penalties that let std/b fall as b
                         grows (gra_penalty: std_ratio_falls) */
    /* Per context and class: the functions whose sums are `rising` and `falling`. NULL for a
     * divisor or a context that has none. */
    const double *const *rising, *const *falling;
};

/* The constructors set all of *out; arrays are borrowed, `arena` holds what they make. Each returns
 * 0 when memory is short. */

/* No divisor but a constant, 1/divisor = inverse: unscaled rewards. */
void gra_divisor_constant(gra_divisor *out, int64_t classes, double inverse);

/* Large groups over their mean: mean reward + epsilon. */
int gra_divisor_mean(gra_divisor *out, int64_t classes, const double *reward, double best,
                     double least, double epsilon, gra_arena *arena);

/* Rewards of one context as a std sees them, all contexts in one unit. */
typedef struct gra_sigma_context {
    int64_t classes;
    const double *gap, *reward; /* as in gra_affine; gap NULL where all rewards are equal */
    const double *variance;     /* of the rewards within the classes, or NULL */
    double best;                /* the best reward; only differences between contexts matter */
    double weight;              /* of the context; all sum to 1 */
    double factor;              /* of its variance */
} gra_sigma_context;

/*
 * sigma + epsilon, sigma^2 = sum weight factor variance (+ the variance of the mean rewards between
 * the contexts where `between` is set): the limit of large groups with one context, a batch with
 * several. `contexts` is borrowed.
 */
int gra_divisor_sigma(gra_divisor *out, const gra_sigma_context *contexts, int64_t count,
                      int between, double epsilon, gra_arena *arena);

/* One context: the limit of large groups. */
int gra_divisor_limit(gra_divisor *out, int64_t classes, const double *gap, const double *reward,
                      const double *variance, double epsilon, gra_arena *arena);

/* sigma of the policies whose moments these are. */
double gra_sigma_value(const gra_divisor *self, const gra_moments *of);

/* The mean reward over all contexts. */
double gra_sigma_mean(const gra_divisor *self, const gra_moments *of);

/* d sigma^2 / d pi_c of context k over its weight, up to a constant of the context; mean is
 * gra_sigma_mean. */
double gra_sigma_derivative(const gra_divisor *self, int64_t k, const gra_moments *of, double mean,
                            int64_t c);

/* Two reward levels: 1/divisor is the gap of their advantages, a function of the probability of
 * success. success, failure: per class. */
int gra_divisor_two_levels(gra_divisor *out, int64_t classes, const double *success,
                           const double *failure, const gra_contrast *contrast, gra_arena *arena);

/* The std of the other members: 1/divisor = E[1/(s + epsilon)]. distribution: classes x levels of
 * the expectation, or NULL where they are the same. */
int gra_divisor_others(gra_divisor *out, int64_t classes, const gra_expectation *expectation,
                       const double *distribution, gra_arena *arena);

#endif
