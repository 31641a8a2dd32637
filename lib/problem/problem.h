/*
 * A problem: a model and a penalty joined over a reference policy, reduced once to classes of
 * outcomes with equal advantages. problem.c makes it, reduce.c finds the classes, surrogate.c says
 * what is solved in its place where groups are dropped or the KL is part of the reward, expand.c
 * turns answers over classes back into policies over outcomes.
 */
#ifndef GRA_PROBLEM_PROBLEM_H
#define GRA_PROBLEM_PROBLEM_H

#include <stdint.h>

#include <grpoalign/solve.h>

#include "base/alloc.h"
#include "base/handle.h"
#include "model/model.h"
#include "penalty/penalty.h"
#include "penalty/tree.h"

/* ---- the parts ------------------------------------------------------------------------------ */

struct grpoalign_reference {
    gra_handle handle;
    int64_t outcomes;
    int64_t supported;               /* outcomes with probability > 0 */
    double *probability, *logarithm; /* normalised */
    unsigned char *support;          /* per outcome: probability > 0 */
};

void gra_reference_free(grpoalign_reference *reference);

/* The outcomes behind the classes, as far as the reference supports them: what the training flow
 * moves. */
typedef struct gra_outcomes {
    const grpoalign_model *model;
    int64_t count;
    const int64_t *at;      /* the outcome's number in the model */
    const double *log_mass; /* logarithm of its reference probability */
    const double *share;    /* of the outcome in its class */
} gra_outcomes;

/* What a problem is once it is reduced; arrays are an arena's. */
typedef struct gra_reduction {
    gra_structure structure;
    gra_class_reference reference; /* as the penalty's slacks can have it */
    gra_outcomes outcomes;
    const double *log_mass; /* of the classes, exact */
    double *share;          /* of every outcome of the model in its class */
    const gra_tree *tree;   /* of a penalty per token: then every outcome is a class; or NULL */
} gra_reduction;

struct grpoalign_problem {
    gra_handle handle;
    const grpoalign_model *model;
    const grpoalign_penalty *penalty;
    const grpoalign_reference *reference;
    /* What is solved instead of the model, or NULL. Where groups without spread are dropped with
     * their penalty (filters), it depends on beta: each call makes its own, and its reduction. */
    grpoalign_model *surrogate;
    int filters;
    gra_arena arena;
    gra_reduction reduction;
};

#define GRA_REFERENCE_MAGIC UINT64_C(0x6665726f6d617267)
#define GRA_PROBLEM_MAGIC   UINT64_C(0x626f72706d617267)
#define GRA_SOLUTION_MAGIC  UINT64_C(0x6c6f736f6d617267)

/* A problem of parts that fit together; it takes a share of each. */
grpoalign_status gra_problem_new(const grpoalign_model *model, const grpoalign_penalty *penalty,
                                 const grpoalign_reference *reference,
                                 const grpoalign_problem_options *options, grpoalign_problem **out,
                                 grpoalign_error *error);
void gra_problem_free(grpoalign_problem *problem);

/* ---- one call ------------------------------------------------------------------------------- */

struct gra_answer;

struct gra_problem;
typedef grpoalign_status (*gra_solver)(const struct gra_problem *problem,
                                       struct gra_answer *answer);

/* A problem as the solvers see it: at one beta, with what belongs to one call. */
typedef struct gra_problem {
    const gra_structure *structure;
    gra_outcomes outcomes;
    const gra_penalty *penalty;
    const gra_tree *tree; /* of a penalty per token, or NULL */
    gra_class_reference reference;
    double beta;
    double tolerance;
    const double *start;              /* class probabilities, or NULL */
    const struct gra_answer *before;  /* an answer at a larger beta, to go on from where that is
                                         cheaper, or NULL, */
    const struct gra_answer *earlier; /* and the one before that */
    int32_t max_iterations;
    grpoalign_progress_fn progress;
    void *user;
    gra_arena *arena;
    grpoalign_error *error;
    /* Solves another problem with the engine that it needs: handed down to the engines. */
    gra_solver solve;
    const unsigned char
        *lost; /* of the outcomes, by their place in `outcomes`: those that a penalty
                                  has let go for good already; NULL for none */
    int inner; /* part of a solve that lets outcomes go: here its penalty counts as holding them */
} gra_problem;

typedef struct gra_answer {
    double beta;            /* that the policy is stationary at */
    double *slack, *policy; /* per class; a solver keeps policy = response(slack) */
    const double *share;    /* of every outcome of the model in its class, where some outcomes of a
                               class are lost; NULL: in proportion to the reference */
    int32_t status;         /* GRPOALIGN_OK or a qualification */
    int32_t method, iterations, factorizations;
    int32_t unique; /* 1, 0, -1 as in grpoalign_report */
    int32_t stable; /* as far as the solver knows, else -1 */
    int on_branch;  /* others at smaller beta may go on from it */
    int regular;    /* sign of the determinant of the stationarity equations, 0 if unknown */
    double policy_error;
    double rate; /* of the training flow, NaN where it is not known */
} gra_answer;

typedef struct gra_call {
    const grpoalign_problem *problem;
    grpoalign_solve_options options; /* loaded */
    gra_arena arena;
    grpoalign_model *surrogate; /* of this call alone, or NULL */
    gra_reduction own;          /* of the call's surrogate */
    const gra_reduction *reduction;
    gra_problem at; /* what the solvers are given */
} gra_call;

/* Sets up a call at a beta, with loaded options. Close it also after failure. */
grpoalign_status gra_call_open(gra_call *self, const grpoalign_problem *problem, double beta,
                               const grpoalign_solve_options *options, grpoalign_error *error);
void gra_call_close(gra_call *self);

/* What is solved in the place of the model, or NULL. */
static inline const grpoalign_model *gra_call_surrogate(const gra_call *self)
{
    return self->surrogate != NULL ? self->surrogate : self->problem->surrogate;
}

/* ---- reduce.c ------------------------------------------------------------------------------- */

/* Reduces a model over a reference for a penalty; call gra_structure_release on the structure, also
 * on failure. */
grpoalign_status gra_reduce(const grpoalign_model *model, const grpoalign_reference *reference,
                            const gra_penalty *law, gra_reduction *out, gra_arena *arena,
                            grpoalign_error *error);

/* The reference over the classes of a structure; share[o] is the part of an outcome in its class. 0
 * on short memory. */
int gra_reference_of_classes(const grpoalign_reference *reference, const gra_structure *structure,
                             gra_class_reference *out, double *share, gra_arena *arena);

/* ---- surrogate.c ---------------------------------------------------------------------------- */

/* The unscaled model that the direct KL inside the reward amounts to. */
grpoalign_status gra_surrogate_of_rewards(const grpoalign_model *model, grpoalign_model **out,
                                          grpoalign_error *error);

/* Whether a penalty can be solved where groups without spread are dropped. */
grpoalign_status gra_check_filter(const gra_penalty *law, grpoalign_error *error);

/* A model whose groups without spread are dropped (model->filtered), with the share of the penalty
 * that goes with them, at one beta. It borrows all it is given. */
grpoalign_status gra_surrogate_of_filter(const grpoalign_model *inner, const gra_penalty *law,
                                         const grpoalign_reference *reference, double beta,
                                         grpoalign_model **out, grpoalign_error *error);

/* ---- expand.c ------------------------------------------------------------------------------- */

struct grpoalign_solution {
    gra_handle handle;
    int borrowed; /* a list or a flow owns it */
    int64_t outcomes;
    double *policy, *log_policy, *advantage;
    grpoalign_report report;
};

void gra_solution_free(grpoalign_solution *solution);

/* What is told of a policy wherever one is; expected_reward is NaN without rewards. */
typedef struct gra_measures {
    double expected_reward, kl_ref_policy, kl_policy_ref, entropy;
} gra_measures;

gra_measures gra_measure(const grpoalign_problem *problem, const double *policy,
                         const double *log_policy);

/* The solution that an answer stands for; returns its status, >= 0, or an error with *out =
 * NULL. */
grpoalign_status gra_expand(gra_call *call, const gra_answer *answer, grpoalign_solution **out,
                            grpoalign_error *error);

#endif
