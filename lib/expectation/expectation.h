/*
 * Expectations over groups: the advantage of each reward level,
 *
 *     a_m(w) = E[(x_m - mean) / (S + epsilon)],
 *
 * for a group of one member at level m and group_size - 1 others drawn from the level weights w; S is the
 * std with divisor group_size (theory: section 2, "Finite group"). Three exact methods behind one interface.
 */
#ifndef GRA_EXPECTATION_EXPECTATION_H
#define GRA_EXPECTATION_EXPECTATION_H

#include <stdint.h>

#include <grpoalign/model.h>
#include <grpoalign/status.h>

#include "base/accuracy.h"
#include "base/alloc.h"

/* Nodes of a quadrature for 1/(S + epsilon) = sum_k weight_k [...](t_k); see quadrature.c. */
typedef struct gra_scale_rule {
    int64_t count;
    double *t, *weight;
    double step; /* of the location rule, in units of 1/t */
} gra_scale_rule;

typedef struct gra_expectation {
    int32_t method;     /* GRPOALIGN_EXPECTATION_*, never AUTO */
    int64_t levels;     /* >= 2 */
    double *x;          /* rewards, strictly ascending, scaled so that the range lies in [1/2, 1) */
    int64_t group_size; /* >= 2 */
    double epsilon;     /* in the scale of x, for the std with divisor group_size */
    double factor;      /* of every advantage: sqrt((G - ddof) / G) */
    /* Quadrature: for values, for Newton directions, and a second one for values with other nodes. */
    gra_scale_rule fine, coarse, check;
} gra_expectation;

/* Largest number of compositions that enumeration may visit. */
#define GRA_ENUMERATION_LIMIT 2e9

/*
 * Sets up the expectation for `levels` strictly ascending rewards (copied), already scaled. method may be
 * AUTO. Free with gra_expectation_free, also after failure.
 */
grpoalign_status gra_expectation_init(gra_expectation *self, const double *x, int64_t levels, int64_t group_size,
                                      double epsilon, int32_t ddof, int32_t method, grpoalign_error *error);
void gra_expectation_free(gra_expectation *self);

/* a[m] for every level m; w: level weights >= 0 summing to 1; accuracy: GRA_EXACT or GRA_COARSE. Returns 0 when memory is
 * short. */
int gra_expectation_advantage(const gra_expectation *self, const double *w, int accuracy, double *a, gra_arena *arena);

/* jacobian[m][l] = d a_m / d w_l for changes of w that keep its sum, row-major with stride `levels`; and the
 * advantages in `a` unless NULL. Returns 0 when memory is short. */
int gra_expectation_jacobian(const gra_expectation *self, const double *w, int accuracy, double *a, double *jacobian,
                             gra_arena *arena);

/* The advantages once more with other roundings and other nodes, to measure the error of the first. Returns 0 when memory is
 * short, -1 when there is no second way. */
int gra_expectation_check(const gra_expectation *self, const double *w, double *a, gra_arena *arena);

/* The methods, used through the interface above (and by the tests side by side). */
int gra_quadrature_evaluate(const gra_expectation *self, const gra_scale_rule *rule, const double *w, double *a,
                            double *jacobian, gra_arena *arena);
int gra_enumeration_advantage(const gra_expectation *self, const double *w, double *a, gra_arena *arena);
int gra_enumeration_jacobian(const gra_expectation *self, const double *w, double *jacobian, gra_arena *arena);

/* Two levels one unit apart: the gap h = a_1 - a_0 when a member succeeds with probability p = 1 - q, and
 * its derivative in p (NULL to skip). a_1 = q h, a_0 = -p h. epsilon in units of the distance of the levels.
 * h is a convex function of p, symmetric about 1/2. */
double gra_bernstein_gap(int64_t group_size, double epsilon, double p, double q, double *derivative);

/* Cost in nanoseconds of one advantage and one Jacobian, roughly: for choosing a method. */
double gra_quadrature_cost(const gra_expectation *self);
double gra_enumeration_cost(const gra_expectation *self);

/* The number of compositions of group_size - 1 members over the levels. */
double gra_enumeration_count(int64_t levels, int64_t members);

/* Builds the rules of the quadrature. Returns 0 when memory is short. */
int gra_scale_rules_init(gra_expectation *self);
void gra_scale_rule_free(gra_scale_rule *rule);

#endif
