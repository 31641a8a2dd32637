/* Newton's equations as steps along the training flow in its natural metric, d slack/dt = -r: they
 * end where training ends. */
#include "solver/newton.h"

#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

/* Newton takes over when the damping is below READY. If it fails, the flow goes on, and Newton is
 * tried again some decades later. It must not move a probability by more than AT_HAND. */
static const double READY = 1e-4, AT_HAND = 0.05;
/* Coarse Jacobians would rule a step with less damping than this. */
static const double EXACT_BELOW = 1e-3;

/* The way along the flow, and where Newton was tried last. */
typedef struct way {
    double damping; /* the inverse of the step */
    double ready;   /* the damping that Newton is tried at */
    double *slack, *policy;
} way;

enum { STEPPED, AGAIN, LOST };

/* One implicit step; *how tells whether it was taken, is to be tried AGAIN with another damping, or
 * is LOST. */
static grpoalign_status take_step(gra_newton *s, way *self, int *how, double *change)
{
    double size = s->size;
    *how = AGAIN;
    s->exact = self->damping < EXACT_BELOW;
    if (!gra_newton_factorise(s, self->damping)) {
        return gra_fail_memory(s->problem->error);
    }
    if (!s->equations.regular) {
        self->damping *= 2.0;
        return GRPOALIGN_OK;
    }
    /* A long implicit step is drawn to points that the flow leaves; the determinant changes its
     * sign first. */
    if (gra_newton_direction(s, s->r, s->step) <= 0) {
        self->damping = 2.0 * self->damping + fmin(1e-3, sqrt(size));
        return GRPOALIGN_OK;
    }
    gra_newton_save(s);
    gra_newton_move(s, s->step, 1.0);
    if (!gra_newton_evaluate(s)) {
        return gra_fail_memory(s->problem->error);
    }
    *change = gra_largest_difference(s->answer->policy, s->saved_policy, s->game->classes);
    if (*change > 0.1 || !(s->size <= 2.0 * size + 1.0)) {
        /* The flow would not have taken this step in one go. */
        gra_newton_restore(s);
        self->damping *= 4.0;
        *how = self->damping > 1e12 ? LOST : AGAIN;
        return gra_newton_evaluate(s) ? GRPOALIGN_OK : gra_fail_memory(s->problem->error);
    }
    *how = STEPPED;
    self->damping *= fmin(fmax(s->size / size, 0.1), 1.0) * (*change < 0.03 ? 0.5 : 1.0);
    return GRPOALIGN_OK;
}

/* Newton from where the flow is. If it fails, or goes too far, the flow goes on from there. */
static grpoalign_status try_newton(gra_newton *s, way *self, double enough, int *outcome,
                                   double *change)
{
    int64_t n = s->game->classes;
    size_t bytes = (size_t)n * sizeof(double);
    memcpy(self->slack, s->answer->slack, bytes);
    memcpy(self->policy, s->answer->policy, bytes);
    GRA_TRY(gra_newton_run(s, 20, enough, outcome, change));
    if (*outcome == NEWTON_DONE &&
        gra_largest_difference(self->policy, s->answer->policy, n) < AT_HAND) {
        return GRPOALIGN_OK;
    }
    *outcome = NEWTON_FAILED;
    memcpy(s->answer->slack, self->slack, bytes);
    memcpy(s->answer->policy, self->policy, bytes);
    self->ready *= 0.01;
    self->damping = 0.1;
    return gra_newton_evaluate(s) ? GRPOALIGN_OK : gra_fail_memory(s->problem->error);
}

/*
 * Implicit Euler steps along d slack/dt = -r until Newton takes over, so that it ends where the
 * flow ends. Steps grow as r falls.
 */
grpoalign_status gra_newton_flow(gra_newton *s, int limit, double enough, int *outcome,
                                 double *change)
{
    const gra_problem *problem = s->problem;
    int64_t n = s->game->classes;
    int how = AGAIN;
    way self = {.damping = 1.0,
                .ready = READY,
                .slack = gra_arena_doubles(problem->arena, n),
                .policy = gra_arena_doubles(problem->arena, n)};
    s->answer->method = GRPOALIGN_METHOD_FLOW;
    *outcome = NEWTON_FAILED;
    if (self.slack == NULL || self.policy == NULL || !gra_newton_evaluate(s)) {
        return gra_fail_memory(problem->error);
    }
    for (int i = 0; i < limit && s->answer->iterations < problem->max_iterations; i++) {
        GRA_TRY(take_step(s, &self, &how, change));
        if (how == LOST) {
            break;
        }
        if (how == AGAIN) {
            continue;
        }
        s->answer->iterations++;
        GRA_TRY(gra_report_progress(problem, s->answer, s->beta, *change));
        if (self.ready < READY &&
            gra_largest_difference(self.policy, s->answer->policy, n) > AT_HAND) {
            self.ready = READY; /* the flow has passed what stopped Newton */
        }
        if (self.damping < self.ready) {
            GRA_TRY(try_newton(s, &self, enough, outcome, change));
            if (*outcome == NEWTON_DONE) {
                break;
            }
        }
    }
    return GRPOALIGN_OK;
}
