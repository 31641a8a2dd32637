/*
 * The inside of the solvers: find where a structure (from a model) and a penalty agree, over classes of
 * outcomes. Which solver runs is decided by what structure and penalty declare, in choose.c.
 */
#ifndef GRA_SOLVER_SOLVER_H
#define GRA_SOLVER_SOLVER_H

#include <stdint.h>

#include <grpoalign/solve.h>

#include "base/alloc.h"
#include "model/model.h"
#include "penalty/penalty.h"

typedef struct gra_problem {
    const gra_structure *structure;
    const gra_penalty_ops *penalty;
    gra_prior prior;
    double beta;
    double tolerance;
    const double *start; /* class probabilities, or NULL */
    int32_t max_iterations;
    grpoalign_progress_fn progress;
    void *user;
    gra_arena *arena;
    grpoalign_error *error;
} gra_problem;

typedef struct gra_answer {
    double *price, *policy; /* per class; a solver keeps policy = response(price) */
    int32_t status;         /* GRPOALIGN_OK or a qualification */
    int32_t method, iterations, factorizations;
    int32_t unique; /* 1, 0, -1 as in grpoalign_report */
    int32_t stable; /* as far as the solver knows, else -1 */
    int regular;    /* sign of the determinant of the stationarity equations, 0 if unknown */
    double policy_error;
} gra_answer;

/* Returns GRPOALIGN_OK or an error; what qualifies the answer is in answer->status. */
grpoalign_status gra_solve_classes(const gra_problem *problem, gra_answer *answer);

/* The solvers behind it. */
grpoalign_status gra_solve_ranked(const gra_problem *problem, gra_answer *answer);
grpoalign_status gra_solve_tilt(const gra_problem *problem, gra_answer *answer);
grpoalign_status gra_solve_game(const gra_problem *problem, gra_answer *answer);

/* Central path for a game with margins: brings the answer near the solution, for Newton to finish. */
grpoalign_status gra_central_path(const gra_problem *problem, gra_answer *answer);

/* Calls the progress function; GRPOALIGN_ERR_CANCELLED when it asks to stop. */
grpoalign_status gra_report_progress(const gra_problem *problem, const gra_answer *answer, double beta, double change);

/* Whether the answer attracts mean-field GRPO: 1, 0, or -1 for unknown. The model gives the Jacobian over outcomes
 * where classes do not settle it; policy and price are per outcome of the support, listed in outcome_at. */
int32_t gra_stability(const gra_problem *problem, const gra_answer *answer);

/* The largest number of outcomes for which eigenvalues are computed. */
#define GRA_SPECTRUM_LIMIT INT64_C(400)

/* The same by the eigenvalues over n outcomes, `jacobian` being d u / d pi (overwritten), or -1. */
int32_t gra_stability_spectrum(const gra_penalty_ops *penalty, double beta, int64_t n, const double *price,
                               const double *policy, double *jacobian, gra_arena *arena);

#endif
