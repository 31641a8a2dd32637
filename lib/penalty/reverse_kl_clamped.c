/*
 * Reverse KL by the k3 estimator clamped at 10, as several trainers have it: g = 1 - exp(-l) while
 * exp(-l) - 1 + l <= 10, and 0 beyond. An outcome that falls below the lower end is lost; nothing
 * holds one back that rises above the upper end.
 */
#include "penalty/reverse_kl.h"

const gra_penalty gra_reverse_kl_clamped = {.kind = GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED,
                                            GRA_REVERSE_KL_LAW,
                                            .slack_most = 13.610868638149878,
                                            .rarest = -INFINITY,
                                            .loose_above = 10.999983298020256,
                                            .score = gra_penalty_score_clamped,
                                            GRA_REVERSE_KL_TRAITS,
                                            .lets_go = 1,
                                            GRA_REVERSE_KL_WAYS,
                                            .normaliser = gra_penalty_normaliser,
                                            .residual = gra_penalty_residual};
