/*
 * Expectations over groups: the advantage of each reward level,
 *
 *     a_m(w) = factor E[(x_m - mean) / divisor],
 *
 * for a group of one member at level m and group_size - 1 others drawn from the level weights w;
 * mean is the group's and the divisor one of GRA_OVER_*, S being the std with divisor group_size
 * (doc/theory.md, section 2.3). Exact methods behind one interface.
 *
 * Where the divisor is the std of the others it does not depend on the member itself, so that a_m
 * is proportional to x_m less the mean of w: there the expectation is that one inverse divisor.
 */
#ifndef GRA_EXPECTATION_EXPECTATION_H
#define GRA_EXPECTATION_EXPECTATION_H

#include <stdint.h>

#include <grpoalign/experimental.h>
#include <grpoalign/status.h>

#include "base/accuracy.h"
#include "base/alloc.h"

/* Nodes of a quadrature for 1/(S + epsilon) = sum_k weight_k [...](t_k); see quadrature.c. */
typedef struct gra_scale_rule {
    int64_t count;
    double *t, *weight;
    double step; /* of the location rule, in units of 1/t */
} gra_scale_rule;

/* What x_m - mean is divided by; a group where that is 0 gives 0. */
enum {
    GRA_OVER_STD,           /* S + epsilon */
    GRA_OVER_STD_INSIDE,    /* sqrt(S^2 + epsilon) */
    GRA_OVER_MEAN,          /* mean + epsilon; all x >= 0 */
    GRA_OVER_STD_OF_OTHERS, /* s + epsilon, s being the std (ddof 1) of the other members; 1 / raw
                               where s = 0 */
};

/* A convention of groups, epsilon in the scale of x. */
typedef struct gra_group_rule {
    int64_t group_size; /* >= 2; >= 3 for the std of others */
    int32_t divisor;    /* GRA_OVER_* */
    int32_t ddof;       /* of the group's own std */
    double epsilon;
    double gain; /* of every advantage: 1, or G/(G-1) where the mean is that of the others */
    double raw;  /* std of others: the inverse divisor of a group whose others are equal */
} gra_group_rule;

typedef struct gra_expectation {
    int32_t method;  /* GRPOALIGN_EXPECTATION_*, never AUTO */
    int32_t divisor; /* GRA_OVER_* */
    int64_t levels;  /* >= 2 */
    double *x;       /* rewards, strictly ascending, scaled so that the range lies in [1/2, 1) */
    int64_t group_size;
    int64_t members; /* whose spread counts: group_size, or the others alone */
    double epsilon;  /* in the scale of x (inside the root: its square), for the std with divisor
                        `members` */
    double factor;   /* of every advantage: gain sqrt((G - ddof) / G) */
    double raw;
    double least_divisor; /* groups with spread weigh 1/this at most, or 1 */
    /* Quadrature: for values, for Newton directions, and a second one for values with other
     * nodes. */
    gra_scale_rule fine, coarse, check;
} gra_expectation;

/* The std of a group with one member the least gap away from all others: no group with spread has
 * less. */
double gra_least_std(const gra_expectation *self);

/* Largest number of compositions that enumeration may visit. */
#define GRA_ENUMERATION_LIMIT 2e9

/*
 * Sets up the expectation for `levels` strictly ascending rewards (copied), already scaled. method
 * may be AUTO. Free with gra_expectation_free, also after failure.
 */
grpoalign_status gra_expectation_init(gra_expectation *self, const double *x, int64_t levels,
                                      const gra_group_rule *rule, int32_t method,
                                      grpoalign_error *error);
void gra_expectation_free(gra_expectation *self);

/* The value of one reward that changes: an outcome that holds `own` of the weight of a level. */
typedef struct gra_level_change {
    const gra_group_rule *rule;
    const double *x, *w; /* the levels, ascending, and their weights */
    int64_t levels, level;
    double own;
    int alone;       /* no other outcome has that reward */
    double distance; /* to the next value at which advantages are not smooth */
} gra_level_change;

/* d a/d x of that reward: for every level, and last for the outcome itself (by_value.c). */
grpoalign_status gra_expectation_by_value(const gra_level_change *change, double *out,
                                          gra_arena *arena, grpoalign_error *error);

/* a[m] for every level m; w: level weights >= 0 summing to 1; accuracy: GRA_EXACT or GRA_COARSE.
 * Returns 0 when memory is short. */
int gra_expectation_advantage(const gra_expectation *self, const double *w, int accuracy, double *a,
                              gra_arena *arena);

/* jacobian[m][l] = d a_m / d w_l for changes of w that keep its sum, row-major with stride
 * `levels`; and the advantages in `a` unless NULL. Returns 0 when memory is short. */
int gra_expectation_jacobian(const gra_expectation *self, const double *w, int accuracy, double *a,
                             double *jacobian, gra_arena *arena);

/* The advantages once more with other roundings and other nodes, to measure the error of the first.
 * Returns 0 when memory is short, -1 when there is no second way. */
int gra_expectation_check(const gra_expectation *self, const double *w, double *a,
                          gra_arena *arena);

/* Std of others: a_m / (x_m - sum w x), and its derivatives in w in `gradient` unless NULL. 0 when
 * memory is short. */
int gra_expectation_inverse_divisor(const gra_expectation *self, const double *w,
                                    double *inverse_divisor, double *gradient, gra_arena *arena);

/* The methods, used through the interface above (and by the tests side by side). */
int gra_quadrature_evaluate(const gra_expectation *self, const gra_scale_rule *rule,
                            const double *w, double *a, double *jacobian, gra_arena *arena);
int gra_enumeration_advantage(const gra_expectation *self, const double *w, double *a,
                              gra_arena *arena);
int gra_enumeration_jacobian(const gra_expectation *self, const double *w, double *jacobian,
                             gra_arena *arena);
int gra_laplace_evaluate(const gra_expectation *self, const gra_scale_rule *rule, const double *w,
                         double *a, double *jacobian, gra_arena *arena);
int gra_quadrature_inverse_divisor(const gra_expectation *self, const double *w,
                                   double *inverse_divisor, double *gradient, gra_arena *arena);
int gra_enumeration_inverse_divisor(const gra_expectation *self, const double *w,
                                    double *inverse_divisor, double *gradient, gra_arena *arena);

/* Two levels, the unit of all lengths being their distance. */
typedef struct gra_contrast {
    int32_t divisor;
    int64_t group_size;
    double epsilon; /* for the std with divisor `members` */
    double floor;   /* over the mean: the lower level, epsilon included */
    double raw;     /* std of others */
    double factor;
} gra_contrast;

gra_contrast gra_contrast_of(const gra_expectation *self, double low, double high);

/*
 * The gap h = a_1 - a_0 of two levels when a member succeeds with probability p = 1 - q, and its
 * derivative in p (NULL to skip). Unless the divisor is the std of others, a_1 = q h and a_0 = -p
 * h. Over the group's own std h is a convex function of p, symmetric about 1/2; over the mean it
 * falls.
 */
double gra_bernstein_gap(const gra_contrast *self, double p, double q, double *derivative);

/* Cost in nanoseconds of one advantage and one Jacobian, roughly: for choosing a method. */
double gra_quadrature_cost(const gra_expectation *self);
double gra_enumeration_cost(const gra_expectation *self);

/* The number of compositions of group_size - 1 members over the levels. */
double gra_enumeration_count(int64_t levels, int64_t members);

/* Builds the rules of the quadratures. Return 0 when memory is short. */
int gra_scale_rules_init(gra_expectation *self);
int gra_laplace_rules_init(gra_expectation *self);
void gra_scale_rule_free(gra_scale_rule *rule);

#endif
