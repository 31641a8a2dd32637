/*
 * Total variation, sum |pi - pi_ref|, whose gradient the absolute log ratio in the loss gives:
 * g is 1 above pi_ref, -1 below, anything between at pi_ref. Only whether advantages differ by more
 * than 2 beta counts, not how far the policy has gone.
 */
#include "penalty/penalty.h"

#include <math.h>

#include "base/numeric.h"

/* Below this a difference of logarithms from the reference is rounding. */
static const double AT_REFERENCE = 1e-13;

static double slack(const gra_penalty *self, double ratio)
{
    (void)self;
    return ratio > 0.0 ? -1.0 : ratio < 0.0 ? 1.0 : 0.0;
}

static double log_ratio(const gra_penalty *self, double at)
{
    (void)self;
    return at > 1.0 ? -INFINITY : at < -1.0 ? INFINITY : 0.0;
}

static double log_slope(const gra_penalty *self, double at)
{
    (void)self, (void)at;
    return 0.0;
}

static double divergence(const gra_penalty *self, double reference, double policy, double ratio)
{
    (void)self;
    return fabs(ratio) < 0.5 ? fabs(reference * expm1(ratio)) : fabs(policy - reference);
}

/* For fixed advantages: what lies more than 2 beta below the best goes to the best, all of it. */
static double respond(const gra_penalty *self, const gra_class_reference *reference, double *slacks,
                      double *policy)
{
    double best = gra_min(slacks, reference->classes), taken = 0.0, gains = 0.0;
    (void)self;
    for (int64_t c = 0; c < reference->classes; c++) {
        int lost = slacks[c] > best + 2.0;
        policy[c] = lost ? 0.0 : reference->mass[c];
        taken += lost ? reference->mass[c] : 0.0;
        gains += slacks[c] == best ? reference->mass[c] : 0.0;
    }
    for (int64_t c = 0; c < reference->classes; c++) {
        policy[c] += slacks[c] == best ? taken * (reference->mass[c] / gains) : 0.0;
        slacks[c] -= best + 1.0;
    }
    return -1.0 - best;
}

/* lambda/beta: one less than the best when something moved to it, else the middle of those that
 * hold all at pi_ref. */
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
                       double advantage, double lambda)
{
    double asked = lambda - advantage, off = 0.0;
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
                                         .pole = INFINITY,
                                         .slack_most = 1.0,
                                         .rarest = -INFINITY,
                                         .loose_above = INFINITY,
                                         .outside = 1.0,
                                         .slack = slack,
                                         .log_ratio = log_ratio,
                                         .log_slope = log_slope,
                                         .divergence = divergence,
                                         .form = GRA_STEP,
                                         .respond = respond,
                                         .normaliser = normaliser,
                                         .residual = residual};
