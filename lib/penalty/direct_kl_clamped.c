/*
 * Direct KL by the k3 estimator times the ratio, their product clamped at 10: g = l while
 * exp(-l) - 1 + l <= 10, and 0 beyond. An outcome that falls below the lower end is lost; nothing
 * holds one back that rises above the upper end.
 */
#include "penalty/direct_kl.h"

const gra_penalty gra_direct_kl_clamped = {.kind = GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED,
                                           GRA_DIRECT_KL_LAW,
                                           .slack_most = 2.6108686381498759,
                                           .rarest = -INFINITY,
                                           .loose_above = 10.999983298020256,
                                           .score = gra_penalty_score_clamped,
                                           .form = GRA_SMOOTH,
                                           GRA_DIRECT_KL_TRAITS,
                                           .lets_go = 1,
                                           GRA_DIRECT_KL_WAYS,
                                           .respond = gra_direct_kl_respond,
                                           .normaliser = gra_penalty_normaliser,
                                           .residual = gra_penalty_residual};
