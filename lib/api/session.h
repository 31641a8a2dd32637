/* One call of a solver: from handles to classes of outcomes, and from answers back to solutions. */
#ifndef GRA_API_SESSION_H
#define GRA_API_SESSION_H

#include "api/handles.h"
#include "base/alloc.h"
#include "solver/solver.h"

typedef struct gra_session {
    const grpoalign_model *model;
    const grpoalign_penalty *penalty;
    const grpoalign_reference *reference;
    grpoalign_solve_options options; /* loaded */
    gra_arena arena;
    /* What is solved instead of the model when the penalty is inside the reward, or groups are
     * dropped with their penalty, else NULL. */
    grpoalign_model *stand_in;
    gra_structure structure;
    gra_problem problem;
    double *share; /* of an outcome in its class */
} gra_session;

/*
 * Checks the arguments (model, penalty and reference being the first three, then beta and the
 * options at the positions given) and sets up the problem. Close it also after failure.
 */
grpoalign_status gra_session_open(gra_session *self, const grpoalign_model *model,
                                  const grpoalign_penalty *penalty,
                                  const grpoalign_reference *reference, double beta,
                                  int32_t beta_position, const grpoalign_solve_options *options,
                                  int32_t options_position, grpoalign_error *error);
void gra_session_close(gra_session *self);

/* The reference over the classes of a structure; share[o] is the part of an outcome in its class. 0
 * on short memory. */
int gra_reference_of_classes(const grpoalign_reference *reference, const gra_structure *structure,
                             gra_class_reference *over_classes, double *share, gra_arena *arena);

/* A model of which groups without spread are dropped (model->dropping), with the share of the
 * penalty that goes with them. It borrows all it is given. */
grpoalign_status gra_dropping_new(const grpoalign_model *inner, const gra_penalty *law,
                                  const grpoalign_reference *reference, double beta,
                                  grpoalign_model **out, grpoalign_error *error);

/* What is told of a policy wherever one is; expected_reward is NaN without rewards. */
typedef struct gra_measures {
    double expected_reward, kl_ref_policy, kl_policy_ref, entropy;
} gra_measures;

gra_measures gra_measure(const grpoalign_model *model, const grpoalign_reference *reference,
                         const double *policy, const double *log_policy);

/* The solution that an answer stands for; returns its status, >= 0, or an error with *out = NULL.
 */
grpoalign_status gra_session_solution(gra_session *self, const gra_answer *answer,
                                      grpoalign_solution **out, grpoalign_error *error);

#endif
