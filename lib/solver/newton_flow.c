/* Newton's equations as steps along the training flow in its natural metric, d slack/dt = -r: ends
 * where training ends. */
#include "solver/newton.h"

#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

/* Newton takes over when the damping is below READY, or in vain, some decades later; it must not
 * leave the region of AT_HAND. */
static const double READY = 1e-4, AT_HAND = 0.05;
/* Coarse Jacobians would rule a step with less damping than this. */
static const double EXACT_BELOW = 1e-3;

/*
 * Implicit Euler steps along d slack/dt = -r, lengthened as r falls, until Newton takes over: ends
 * where the flow ends. The damping is the inverse of the step.
 */
grpoalign_status gra_newton_flow(gra_newton *s, int limit, int *outcome, double *change)
{
    const gra_problem *problem = s->problem;
    int64_t n = s->game->classes;
    double damping = 1.0, ready = READY;
    double *slack = gra_arena_doubles(problem->arena, n),
           *policy = gra_arena_doubles(problem->arena, n);
    s->answer->method = GRPOALIGN_METHOD_FLOW;
    *outcome = NEWTON_FAILED;
    if (slack == NULL || policy == NULL || !gra_newton_evaluate(s)) {
        return gra_fail_memory(problem->error);
    }
    for (int i = 0; i < limit && s->answer->iterations < problem->max_iterations; i++) {
        double size = s->size;
        s->exact = damping < EXACT_BELOW;
        if (!gra_newton_factorise(s, damping)) {
            return gra_fail_memory(problem->error);
        }
        if (!s->factored) {
            damping *= 2.0;
            continue;
        }
        /* A long implicit step is drawn to points that the flow leaves; the determinant changes its
         * sign first. */
        if (gra_newton_direction(s, s->r, s->step) <= 0) {
            damping = 2.0 * damping + fmin(1e-3, sqrt(size));
            continue;
        }
        gra_newton_save(s);
        gra_newton_move(s, s->step, 1.0);
        if (!gra_newton_evaluate(s)) {
            return gra_fail_memory(problem->error);
        }
        *change = gra_largest_difference(s->answer->policy, s->saved_policy, s->game->classes);
        if (*change > 0.1 ||
            !(s->size <= 2.0 * size + 1.0)) { /* a step the flow would not have taken in one go */
            gra_newton_restore(s);
            if (!gra_newton_evaluate(s)) {
                return gra_fail_memory(problem->error);
            }
            damping *= 4.0;
            if (damping > 1e12) {
                return GRPOALIGN_OK;
            }
            continue;
        }
        s->answer->iterations++;
        GRA_TRY(gra_report_progress(problem, s->answer, s->beta, *change));
        damping *= fmin(fmax(s->size / size, 0.1), 1.0) * (*change < 0.03 ? 0.5 : 1.0);
        if (ready < READY && gra_largest_difference(policy, s->answer->policy, n) > AT_HAND) {
            ready = READY; /* the flow has passed what stopped Newton */
        }
        if (damping < ready) {
            memcpy(slack, s->answer->slack, (size_t)n * sizeof(double));
            memcpy(policy, s->answer->policy, (size_t)n * sizeof(double));
            GRA_TRY(gra_newton_run(s, 20, 0.0, outcome, change));
            if (*outcome == NEWTON_DONE &&
                gra_largest_difference(policy, s->answer->policy, n) < AT_HAND) {
                return GRPOALIGN_OK;
            }
            *outcome = NEWTON_FAILED;
            memcpy(s->answer->slack, slack, (size_t)n * sizeof(double));
            memcpy(s->answer->policy, policy, (size_t)n * sizeof(double));
            if (!gra_newton_evaluate(s)) {
                return gra_fail_memory(problem->error);
            }
            ready *= 0.01;
            damping = 0.1;
        }
    }
    return GRPOALIGN_OK;
}
