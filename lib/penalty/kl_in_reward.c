/* Direct KL inside the reward, before it is normalised: a policy is stationary once
 * reward - beta log(pi/pi_ref) is the same for all outcomes, whatever the std. */
#include "penalty/direct_kl.h"

const gra_penalty gra_kl_in_reward = {.kind = GRPOALIGN_PENALTY_KL_IN_REWARD,
                                      GRA_DIRECT_KL_LAW,
                                      .slack_most = INFINITY,
                                      .rarest = -INFINITY,
                                      .loose_above = INFINITY,
                                      .score = gra_penalty_score,
                                      .form = GRA_INSIDE_REWARD,
                                      GRA_DIRECT_KL_TRAITS,
                                      GRA_DIRECT_KL_WAYS,
                                      .respond = gra_direct_kl_respond,
                                      .normaliser = gra_direct_kl_normaliser,
                                      .residual = gra_direct_kl_residual};
