/*
 * Total variation, sum |pi - pi_ref|, which the absolute log ratio in the loss has for its
 * gradient: the slack is -1 above pi_ref, 1 below, anything between at pi_ref. Only the size of a
 * difference of advantages counts, 2 beta, not the policy.
 */
#include "penalty/penalty.h"

#include <math.h>

#include "base/numeric.h"

/* Below this a difference of logarithms from the reference is rounding. */
static const double AT_REFERENCE = 1e-13;

static double slack_of(const gra_penalty *self, double ratio)
{
    (void)self;
    return ratio > 0.0 ? -1.0 : ratio < 0.0 ? 1.0 : 0.0;
}

static double log_ratio(const gra_penalty *self, double slack)
{
    (void)self;
    return slack > 1.0 ? -INFINITY : slack < -1.0 ? INFINITY : 0.0;
}

static double log_slope(const gra_penalty *self, double slack)
{
    (void)self, (void)slack;
    return 0.0;
}

static double divergence(const gra_penalty *self, double reference, double policy, double ratio)
{
    (void)self;
    return fabs(ratio) < 0.5 ? fabs(reference * expm1(ratio)) : fabs(policy - reference);
}

/* For fixed advantages: what lies more than 2 beta below the best goes to the best, all of it. */
static double respond(const gra_penalty *self, const gra_class_reference *reference, double *slack,
                      double *policy)
{
    double best = gra_min(slack, reference->classes), taken = 0.0, gains = 0.0;
    (void)self;
    for (int64_t c = 0; c < reference->classes; c++) {
        int lost = slack[c] > best + 2.0;
        policy[c] = lost ? 0.0 : reference->mass[c];
        taken += lost ? reference->mass[c] : 0.0;
        gains += slack[c] == best ? reference->mass[c] : 0.0;
    }
    for (int64_t c = 0; c < reference->classes; c++) {
        policy[c] += slack[c] == best ? taken * (reference->mass[c] / gains) : 0.0;
        slack[c] -= best + 1.0;
    }
    return -1.0 - best;
}

/* The level: one above the slack of the best when something moved to it, else any that holds all at
 * pi_ref. */
static double normaliser(const gra_penalty *self, const gra_class_reference *reference,
                         const double *advantage, double mean, double mean_slack)
{
    double most = gra_max(advantage, reference->classes),
           least = gra_min(advantage, reference->classes);
    (void)self, (void)mean, (void)mean_slack;
    return most - least > 2.0 ? most - 1.0 : 0.5 * (most + least);
}

/* How far the slack asked for is from the step, weighted by the policy. */
static double residual(const gra_penalty *self, double reference, double policy, double ratio,
                       double advantage, double level)
{
    double asked = level - advantage, off = 0.0;
    (void)self, (void)reference;
    if (ratio > AT_REFERENCE) {
        off = asked + 1.0;
    } else if (ratio < -AT_REFERENCE) {
        off = asked - 1.0;
    } else {
        off = fmax(0.0, fabs(asked) - 1.0);
    }
    return policy > 0.0 ? policy * off : 0.0;
}

const gra_penalty gra_total_variation = {.kind = GRPOALIGN_PENALTY_TOTAL_VARIATION,
                                         .form = GRA_STEP,
                                         .mean_slack = NAN,
                                         .slack_most = 1.0,
                                         .outside = 1.0,
                                         .log_ratio = log_ratio,
                                         .slack_of = slack_of,
                                         .log_slope = log_slope,
                                         .divergence = divergence,
                                         .respond = respond,
                                         .normaliser = normaliser,
                                         .residual = residual};
