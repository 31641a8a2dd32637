/*
 * The inside of a preference model: advantages, their Jacobian, and what structure a solver may
 * exploit. A model knows no penalty and no solver.
 */
#ifndef GRA_MODEL_MODEL_H
#define GRA_MODEL_MODEL_H

#include <stdint.h>

#include <grpoalign/compose.h>
#include <grpoalign/experimental.h>
#include <grpoalign/model.h>
#include <grpoalign/rule.h>

#include "base/accuracy.h"
#include "base/alloc.h"
#include "base/handle.h"
#include "model/affine.h"

/*
 * A game over classes of outcomes with equal advantages: class c has reward distribution row c of
 * `distribution` over the levels (NULL: class c is level c), the level weights are w =
 * distribution^T pi and the advantages u = distribution a(w).
 */
typedef struct gra_game gra_game;
struct gra_game {
    int64_t classes, levels;
    const double *distribution; /* classes x levels, or NULL for the identity (classes == levels) */
    /* a(w) - shift, rounded once where the game can do better than subtract; accuracy GRA_EXACT or
     * GRA_COARSE; 0 on short memory */
    int (*advantage)(const gra_game *self, const double *w, double shift, int accuracy, double *a,
                     gra_arena *arena);
    /* levels x levels, row-major; accuracy GRA_EXACT or GRA_COARSE; 0 on short memory */
    int (*jacobian)(const gra_game *self, const double *w, int accuracy, double *jacobian,
                    gra_arena *arena);
    /* a(w) in another way, to measure the error of the first; 0 on short memory, -1 if there is
     * none; may be NULL */
    int (*check)(const gra_game *self, const double *w, double shift, double *a, gra_arena *arena);
    const gra_affine *near; /* over the same classes, whose stationary policies lie near; or NULL */
    double coarse_error;    /* of a coarse advantage, absolute, roughly; 0 where coarse is exact */
    const double *margins;  /* advantages are margins * pi with an antisymmetric matrix, or NULL */
    double error;           /* of an advantage, absolute: a bound derived from the method */
    double contraction;     /* max |du| <= contraction * sum |dw|: above it direct KL has one
                              solution */
    int unheld;             /* nothing acts on a class that holds all: its groups are dropped */
    int unordered;          /* a later class need not have the better advantage */
    /* Two classes: a_1 - a_0 is the polynomial in w_1 with these Bernstein coefficients and this
     * degree (base/polynomial.h); or NULL */
    const double *contrast;
    int64_t degree;
    void *data;
    void (*release)(gra_game *self); /* frees data; may be NULL */
};

/* Weights of the levels from probabilities of the classes, w = distribution^T pi, and advantages of
 * the classes from those of the levels, u = distribution a. */
void gra_game_to_levels(const gra_game *game, const double *classes, double *levels);
void gra_game_to_classes(const gra_game *game, const double *levels, double *classes);

/* du/dpi over classes, classes x classes, at the level weights w. Returns 0 when memory is
 * short. */
int gra_game_class_jacobian(const gra_game *game, const double *w, int accuracy, double *jacobian,
                            gra_arena *arena);

/* What a solver may exploit. Classes partition the outcomes that the reference supports. */
enum {
    GRA_FLAT,   /* all advantages are always equal */
    GRA_AFFINE, /* u_c = (mean gap - gap_c) / divisor(pi): one unknown */
    GRA_RANKED, /* u_c = scale * (mass below - mass above), classes in ascending order */
    GRA_GAME    /* anything else */
};

typedef struct gra_structure {
    int32_t kind;
    int64_t classes;
    const int64_t *class_of; /* per outcome of the model; -1 outside the support */
    gra_affine affine;
    double ranked_scale;
    gra_game game;
} gra_structure;

typedef struct gra_model_ops {
    void (*release)(grpoalign_model *self);
    /* policy: normalised probabilities of all outcomes. Return GRPOALIGN_OK or an error. */
    grpoalign_status (*advantage)(const grpoalign_model *self, const double *policy,
                                  double *advantage, gra_arena *arena, grpoalign_error *error);
    grpoalign_status (*jacobian)(const grpoalign_model *self, const double *policy,
                                 double *jacobian, int64_t stride, gra_arena *arena,
                                 grpoalign_error *error);
    /* d u_o / d r_j, outcomes x outcomes; a column of NaN where it does not exist, because the reward
     * ties with another. NULL: the model has no rewards of its own to change. */
    grpoalign_status (*by_rewards)(const grpoalign_model *self, const double *policy,
                                   double *slopes, gra_arena *arena, grpoalign_error *error);
    /* The structure on the outcomes with supported[o] != 0 (at least one). Arrays come from the
     * arena; call gra_structure_release afterwards, also on failure. */
    grpoalign_status (*structure)(const grpoalign_model *self, const unsigned char *supported,
                                  gra_structure *out, gra_arena *arena, grpoalign_error *error);
    int has_margins; /* u = margins * policy, with numbers of the caller's */
} gra_model_ops;

struct grpoalign_model {
    gra_handle handle;
    const gra_model_ops *ops;
    int64_t outcomes;
    double *rewards; /* mean reward of each outcome in the caller's units, or NULL; owned */
    double
        *values; /* the same less a common origin, where the means themselves are rounded, or NULL;
                       owned */
    int32_t expectation; /* GRPOALIGN_EXPECTATION_* in use */
    double *deviations;  /* unscaled models: std of the reward within each outcome, like rewards; or
                            NULL; owned */
    double unscaled; /* u_o = unscaled (r_o - mean) for every policy; 0 where the model is scaled */
    int64_t group_size; /* unscaled models: G, or 0 in the limit of large groups */
    int by_mean_reward; /* whatever is added to the rewards, a better mean reward means a better
                           advantage */
    int64_t filtered;   /* G where groups whose rewards are all equal are dropped, penalty and all;
                           then the structure is a   game whose classes are the levels. Else 0 */
    int by_rule;        /* advantages by a rule that the caller has made */
};

#define GRA_MODEL_MAGIC UINT64_C(0x6c65646f6d617267)

/* The largest number of classes or levels for which a dense matrix is formed from rewards: 2 x 134
 * MB. */
#define GRA_DENSE_LIMIT INT64_C(4096)

void gra_structure_release(gra_structure *structure);

/* Frees a model; NULL is left alone. */
void gra_model_free(grpoalign_model *model);

/* Sets *out to a zeroed model of `size` bytes with its head filled. */
grpoalign_status gra_model_allocate(size_t size, const gra_model_ops *ops, int64_t outcomes,
                                    const double *rewards, grpoalign_model **out,
                                    grpoalign_error *error);

/*
 * Distinct rewards of a list, ascending: order is a permutation that sorts (keys, then ties);
 * level_of and level_value are filled, *levels is their number. `ties` (may be NULL) splits equal
 * rewards further. Returns 0 when memory is short.
 */
int gra_levels_build(const double *keys, const double *ties, int64_t n, int64_t *level_of,
                     int64_t *first, int64_t *levels, gra_arena *arena);

/*
 * Classes from levels: the levels with a supported outcome become classes, in the same order. Fills
 * classes and class_of of the structure, sets kind to GRA_FLAT, and gives the class of every level
 * (-1 for none) in *class_at unless NULL. Returns 0 when memory is short.
 */
int gra_classes_from_levels(const int64_t *level_of, int64_t outcomes, int64_t levels,
                            const unsigned char *supported, gra_structure *out, int64_t **class_at,
                            gra_arena *arena);

/*
 * Outcomes with equal rows have equal advantages whatever the policy: they form one class. Merging
 * them is what keeps the equations regular when several tied outcomes share the support of the
 * solution. Gives class_of[i] for the n rows of a matrix, and the first row of each class. Rows are
 * equal bit for bit: no -0. Returns 0 when memory is short.
 */
int gra_merge_equal_rows(const double *matrix, int64_t n, int64_t width, int64_t *class_of,
                         int64_t *first, int64_t *classes, gra_arena *arena);

/* The power of two that brings max - min into [1/2, 1): value = reward * 2^-exponent. 0 when all
 * are equal. */
int gra_range_exponent(const double *rewards, int64_t n);

/* reward * 2^-exponent; 0 for what is so near to 0 that it has too few digits to be divided by.
 * NULL on short memory. */
double *gra_scale_rewards(const double *rewards, int64_t n, int exponent, gra_arena *arena);

/* Makes a game of affine advantages (borrowed), for who needs a game. */
void gra_game_from_affine(gra_game *game, const gra_affine *affine);

/* A structure that is not flat as a game: *game may be `own`, whose arrays the arena keeps. 0 on
 * short memory. */
int gra_game_of(const gra_structure *structure, gra_game *own, const gra_game **game,
                gra_arena *arena);

/* Makes a game of an antisymmetric matrix (borrowed, classes x classes). */
void gra_game_from_margins(gra_game *game, const double *margins, int64_t classes);

/* The structure of an antisymmetric n x n matrix (borrowed): equal rows are merged,
 * class_of[0..n-1] is filled, and kind, classes and what goes with them are set. */
grpoalign_status gra_margins_structure(const double *margins, int64_t n, gra_structure *out,
                                       int64_t *class_of, gra_arena *arena, grpoalign_error *error);

/* Constructors after argument checks. */
grpoalign_status gra_margins_new(const double *margins, int64_t n, int64_t stride,
                                 grpoalign_model **out, grpoalign_error *error);
grpoalign_status gra_ranked_new(const double *rewards, int64_t n, double scale,
                                grpoalign_model **out, grpoalign_error *error);

/* The conventions of a model from rewards, as grpoalign_reward_options has them; group_size 0 in
 * the limit of large groups. */
typedef struct gra_convention {
    int64_t group_size;
    int32_t scale, ddof, expectation, baseline, epsilon_place, zero_variance;
    double epsilon;
} gra_convention;

/* Rewards of affine advantages: the mean of each outcome, the same less a common origin where that
 * keeps digits (NULL: the means themselves), and the std within each (NULL: 0). */
typedef struct gra_affine_rewards {
    int64_t outcomes;
    const double *rewards, *values, *deviations;
} gra_affine_rewards;

/* factor > 0: u = factor (r - mean reward); 0: over the divisor of the convention, in the limit of
 * large groups. */
grpoalign_status gra_affine_model_new(const gra_affine_rewards *rewards, double factor,
                                      const gra_convention *convention, grpoalign_model **out,
                                      grpoalign_error *error);

grpoalign_status gra_limit_new(const double *rewards, const double *variances, int64_t n,
                               const gra_convention *convention, grpoalign_model **out,
                               grpoalign_error *error);

/* Who is at which level of a rule: levels are those that somebody is at, and name[l] is the
 * caller's number of level l, of `all`. rewards may be NULL. */
typedef struct gra_rule_levels {
    int64_t outcomes, levels, all;
    const int64_t *level_of, *name;
    const double *rewards;
} gra_rule_levels;

/* What is asked for the advantages, and on the way, of the host. */
typedef struct gra_rule_host {
    grpoalign_rule_fn rule;
    void *rule_user;
    int32_t position; /* of the rule among the arguments */
    grpoalign_progress_fn progress;
    void *user;
} gra_rule_host;

/* Of a rule's advantages: so that their differences, times a group size, are doubles. */
#define GRA_LARGEST_ADVANTAGE 1e200

/* success and failure: G numbers each. */
grpoalign_status gra_rule_table_new(const double *rewards, int64_t n, const double *success,
                                    const double *failure, int64_t group_size,
                                    grpoalign_model **out, grpoalign_error *error);
grpoalign_status gra_rule_new(const gra_rule_levels *levels, int64_t group_size,
                              const gra_rule_host *host, grpoalign_model **out,
                              grpoalign_error *error);

/* u = sum weights[k] u^(k), over models of the same outcomes; it takes a share of each. */
grpoalign_status gra_sum_new(const grpoalign_model *const *models, const double *weights,
                             int64_t count, grpoalign_model **out, grpoalign_error *error);

/* distribution: NULL for one reward per outcome (then k == n), else n x k rows that sum to 1. */
grpoalign_status gra_group_new(const double *rewards, int64_t k, const double *distribution,
                               int64_t n, int64_t stride, const gra_convention *convention,
                               grpoalign_model **out, grpoalign_error *error);

#endif
