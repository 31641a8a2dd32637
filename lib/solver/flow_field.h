/*
 * The training flow over the supported outcomes. States are logits over log pi_ref,
 * relative to a base outcome: only differences mean anything, and where the base holds nearly
 * everything the differences keep their digits.
 */
#ifndef GRA_SOLVER_FLOW_FIELD_H
#define GRA_SOLVER_FLOW_FIELD_H

#include "solver/solver.h"

typedef struct gra_flow_field gra_flow_field;

/* Scratch for the functions below; NULL when memory is short. */
gra_flow_field *gra_flow_field_take(const gra_problem *problem, double beta);

/* Makes the heaviest outcome the base, and shifts a state to it. */
void gra_flow_set_base(gra_flow_field *field, double *state);

int64_t gra_flow_base(const gra_flow_field *field);

/* The policy of a state, and d state / dt, 0 for the base. */
grpoalign_status gra_flow_velocity(gra_flow_field *field, const double *state, double *policy,
                                   double *velocity);

/* d velocity / d state over all outcomes but the base, at what gra_flow_velocity saw last.
 * TOO_LARGE where the model has too many outcomes or levels for a dense matrix. */
grpoalign_status gra_flow_jacobian(gra_flow_field *field, double *jacobian);

#endif
