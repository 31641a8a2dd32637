/* The last touch to an answer of a game that Newton has found: all digits, and an estimate of the
 * error. */
#include "solver/newton.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

/*
 * Some classes are so small, or held so firmly, that their residual does not move the policy. Their
 * slack is taken straight from the advantages, so that their probabilities have all digits, too.
 */
static grpoalign_status polish_small(gra_newton *s)
{
    if (!gra_newton_evaluate(s)) {
        return gra_fail_memory(s->problem->error);
    }
    for (int64_t c = 0; c < s->game->classes; c++) {
        double slope = s->answer->policy[c] *
                       s->problem->penalty->log_slope(s->problem->penalty, s->answer->slack[c]);
        if (slope * fabs(s->r[c]) <= 0.01 * DBL_EPSILON) {
            s->answer->slack[c] -= s->r[c];
        }
    }
    gra_answer_respond(s->problem, s->answer);
    return GRPOALIGN_OK;
}

/*
 * Whether no class is kept from probability that it is due. A class whose slack is too high by more
 * than rounding explains would go on to gain, however little it holds now.
 */
static int holds(const gra_newton *s)
{
    double rounding = 1e4 * DBL_EPSILON * fmax(1.0, 1.0 / s->beta);
    for (int64_t c = 0; c < s->game->classes; c++) {
        double due = s->r[c], slack = fabs(s->answer->slack[c]);
        if (!(due <= rounding) && !(due <= 1e-3 * slack)) {
            return 0;
        }
    }
    return 1;
}

/* What is left of the advantages' error where they are products with margins, rounded once: that of
 * a slack, relative to the slack itself, as often as it is rounded. */
static const double ROUNDED_SLACK = 2.0 * DBL_EPSILON;

/* Puts the error of the residuals, as far as it is that of the advantages, in the place of the
 * residuals. 0 on short memory. */
static int put_errors(gra_newton *s)
{
    const gra_game *game = s->game;
    int64_t n = game->classes;
    if (game->margins != NULL) {
        for (int64_t c = 0; c < n; c++) {
            s->r[c] = ((c & 1) != 0 ? ROUNDED_SLACK : -ROUNDED_SLACK) * s->answer->slack[c];
        }
        return 1;
    }
    memcpy(s->first, s->u, (size_t)n * sizeof(double));
    gra_game_to_levels(game, s->answer->policy, s->w);
    int checked =
        game->check != NULL ? game->check(game, s->w, s->lambda, s->a, s->problem->arena) : -1;
    if (checked > 0) {
        gra_game_to_classes(game, s->a, s->u);
    }
    for (int64_t c = 0; c < n; c++) {
        double bound = (c & 1) != 0 ? game->error : -game->error;
        s->r[c] = (checked > 0 ? s->u[c] - s->first[c] : bound) / s->beta;
    }
    return checked != 0;
}

/*
 * The policy error has two parts: what is left to correct, by fresh residuals, and what the error
 * of the advantages does to the policy. The advantages are computed a second way to measure their
 * error; where there is none the bound is used, with alternating signs for the worst ones.
 */
static grpoalign_status estimate_error(gra_newton *s, int *valid)
{
    gra_newton_save(s);
    if (!gra_newton_evaluate(s)) {
        return gra_fail_memory(s->problem->error);
    }
    *valid = holds(s) && (s->game->margins == NULL || gra_newton_is_settled(s));
    (void)gra_newton_direction(s, s->r, s->step);
    double worst = 4.0 * gra_newton_measure(s, s->step).change;
    if (!put_errors(s)) {
        return gra_fail_memory(s->problem->error);
    }
    (void)gra_newton_direction(s, s->r, s->step);
    worst += gra_newton_measure(s, s->step).change;
    s->answer->policy_error = fmin(1.0, worst + 2.0 * DBL_EPSILON);
    return GRPOALIGN_OK;
}

grpoalign_status gra_newton_polish(gra_newton *s, int *valid)
{
    GRA_TRY(polish_small(s));
    return estimate_error(s, valid);
}

grpoalign_status gra_newton_finish(gra_newton *s, int outcome)
{
    int valid = 0;
    if (outcome == NEWTON_DONE) {
        GRA_TRY(gra_newton_polish(s, &valid));
    }
    if (!valid) {
        s->answer->status = GRPOALIGN_NOT_CONVERGED;
        s->answer->policy_error = 1.0;
    }
    return GRPOALIGN_OK;
}
