/* No penalty: g = 0. Its slacks are those of direct KL, of which it is what is left at beta = 0. */
#include "penalty/direct_kl.h"

#include <stddef.h>

#include "base/numeric.h"

/* Everything goes to the best, in its reference proportions; there is no lambda. */
static double respond(const gra_penalty *self, const gra_class_reference *reference, double *slack,
                      double *policy)
{
    double best = gra_min(slack, reference->classes), top = -INFINITY, total = 0.0;
    (void)self;
    for (int64_t c = 0; c < reference->classes; c++) {
        top = slack[c] == best ? fmax(top, reference->log_mass[c]) : top;
    }
    for (int64_t c = 0; c < reference->classes; c++) {
        policy[c] = slack[c] == best ? exp(reference->log_mass[c] - top) : 0.0;
        total += policy[c];
    }
    for (int64_t c = 0; c < reference->classes; c++) {
        policy[c] /= total;
        slack[c] = policy[c] > 0.0 ? top + log(total) : INFINITY;
    }
    return NAN;
}

static double normaliser(const gra_penalty *self, const gra_class_reference *reference,
                         const double *advantage, double mean, double mean_slack)
{
    (void)self, (void)reference, (void)advantage, (void)mean_slack;
    return mean;
}

/* How far the advantages in the support are from equal. */
static double residual(const gra_penalty *self, double reference, double policy, double ratio,
                       double advantage, double mean)
{
    (void)self, (void)reference, (void)ratio;
    return policy > 0.0 ? policy * (mean - advantage) : 0.0;
}

static double score(const gra_penalty *self, double ratio, double *slope)
{
    (void)self, (void)ratio;
    return *slope = 0.0;
}

const gra_penalty gra_no_penalty = {.kind = GRPOALIGN_PENALTY_NONE,
                                    GRA_DIRECT_KL_LAW,
                                    .slack_most = INFINITY,
                                    .rarest = -INFINITY,
                                    .loose_above = INFINITY,
                                    .score = score,
                                    .form = GRA_ABSENT,
                                    GRA_DIRECT_KL_TRAITS,
                                    GRA_DIRECT_KL_WAYS,
                                    .respond = respond,
                                    .normaliser = normaliser,
                                    .residual = residual};
