/*
 * Penalties per token. A trainer's KL term stands at every token and is differentiated there alone.
 * Outcomes are sequences of tokens, which form a prefix tree; pi(o) is the product of pi(a|s) over
 * the prefixes s on its way. A policy is stationary for advantages u when at each prefix
 *
 *     V_a - beta g(l_a) W_a - alpha (l_a + log pi_ref(a|s)) = c_s   for every next token a,
 *
 * l_a = log(pi(a|s)/pi_ref(a|s)), V_a = E_pi[omega u | s, a], W_a = E_pi[omega | s, a], omega being
 * the weights of the completions in the loss and alpha the bonus on the entropy at every token.
 * Given u this is explicit from the leaves up. One token per completion is the ordinary penalty, but
 * for the weights.
 *
 * Leaves are the outcomes in the order of their sequences, so that those below a prefix stand side
 * by side. Prefixes with one way on are no choice, and left out.
 */
#ifndef GRA_PENALTY_TREE_H
#define GRA_PENALTY_TREE_H

#include <stdint.h>

#include "base/alloc.h"
#include "penalty/penalty.h"

/* Completions as the caller gave them; owned by a penalty. */
typedef struct gra_completions {
    int64_t count;
    int64_t *offsets, *tokens; /* completion o is tokens[offsets[o] .. offsets[o + 1]]; or NULL:
                                  each is one token of its own */
    double *weights;           /* or NULL: 1 */
    int64_t *order;            /* that sorts them */
    double entropy;            /* alpha, over beta */
} gra_completions;

/* One choice at a prefix. */
typedef struct gra_edge {
    int64_t node;        /* where it leads; -1: to a leaf */
    int64_t first, last; /* the leaves below: first <= leaf < last */
    double log_mass;     /* log pi_ref(a|s) */
} gra_edge;

typedef struct gra_node {
    int64_t first, count; /* its edges */
} gra_node;

typedef struct gra_tree {
    int64_t leaves, nodes, edges;
    const gra_node *node; /* what a node leads to comes after it; the first is the root */
    const gra_edge *edge;
    const double *weight; /* of each leaf */
    const int64_t *leaf;  /* the number of the leaf among the supported outcomes */
    double entropy;
} gra_tree;

/* The tree of the supported outcomes, `at` being their numbers, with the logarithms of their
 * reference probabilities. 0 on short memory. */
int gra_tree_build(const gra_completions *of, int64_t count, const int64_t *at,
                   const double *log_mass, gra_tree *out, gra_arena *arena);

/* What responds to advantages; arrays over edges. */
typedef struct gra_tree_response {
    const gra_tree *tree;
    const gra_penalty *law;
    double beta;
    double *value, *weight; /* V_a and W_a */
    double *ratio;          /* l_a */
    double *policy;         /* pi(a|s) */
    double *level;          /* c_s, per node */
    double *log_policy;     /* of the leaves */
} gra_tree_response;

/* 0 on short memory. */
int gra_tree_response_take(gra_tree_response *out, const gra_tree *tree, const gra_penalty *law,
                           gra_arena *arena);

/* The response to advantages of the leaves. */
void gra_tree_respond(gra_tree_response *self, const double *advantage);

/* What may change: each per leaf, or NULL. */
typedef struct gra_tree_change {
    const double *advantage;
    const double *weight, *at;              /* and the advantages that are weighted */
    const double *log_reference, *log_mass; /* and the logarithms themselves */
    const double *pull;                     /* per edge: added to what an edge is worth */
} gra_tree_change;

/* The change of the leaves' probabilities at the response. 0 on short memory. */
int gra_tree_move(const gra_tree_response *self, const gra_tree_change *by, double *policy,
                  gra_arena *arena);

/* What one more of a law's coefficient pulls at an edge, -W g; of the bonus on the entropy, where
 * the law is NULL. */
double gra_tree_pull(const gra_tree_response *self, const gra_penalty *law, int64_t edge);

/* d pi_i/d u_j at the response, leaves x leaves. 0 on short memory. */
int gra_tree_slopes(const gra_tree_response *self, double *slopes, gra_arena *arena);

/* The same of a policy that need not be a response: the log ratios of its edges, V and W. A prefix
 * without probability has the reference's way on. */
void gra_tree_observe(gra_tree_response *self, const double *policy, const double *advantage);

/* The largest pi(s) pi(a|s) |V_a - beta g W_a - ... - c_s| / beta over all edges of a policy that
 * was observed; c_s is the mean of the terms. */
double gra_tree_residual(const gra_tree_response *self);

#endif
