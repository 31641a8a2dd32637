/* All penalties: a new one is a file with its law and a row here. */
#include "penalty/penalty.h"

#include "penalty/tree.h"

#include "base/alloc.h"

#include <stddef.h>

static const gra_penalty_row TABLE[] = {
    {GRPOALIGN_PENALTY_REVERSE_KL, "reverse_kl", "KL(pi_ref||pi)", &gra_reverse_kl, NULL},
    {GRPOALIGN_PENALTY_DIRECT_KL, "direct_kl", "KL(pi||pi_ref)", &gra_direct_kl, NULL},
    {GRPOALIGN_PENALTY_NONE, "none", "nothing", &gra_no_penalty, NULL},
    {GRPOALIGN_PENALTY_KL_IN_REWARD, "kl_in_reward", "KL(pi||pi_ref) in the reward",
     &gra_kl_in_reward, NULL},
    {GRPOALIGN_PENALTY_TOTAL_VARIATION, "total_variation", "sum |pi - pi_ref|",
     &gra_total_variation, NULL},
    {GRPOALIGN_PENALTY_SQUARED_LOG_RATIO, "squared_log_ratio", "E[l^2]/2", &gra_squared_log_ratio,
     NULL},
    {GRPOALIGN_PENALTY_CHI_SQUARED, "chi_squared", "chi^2(pi||pi_ref)/2", &gra_chi_squared, NULL},
    {GRPOALIGN_PENALTY_JENSEN_SHANNON, "jensen_shannon", "JS(pi, pi_ref)", &gra_jensen_shannon,
     NULL},
    {GRPOALIGN_PENALTY_ALPHA, "alpha", "D_alpha(pi||pi_ref)", NULL, gra_alpha_law},
    {GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED, "reverse_kl_clamped", "KL(pi_ref||pi), clamped",
     &gra_reverse_kl_clamped, NULL},
    {GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED, "direct_kl_clamped", "KL(pi||pi_ref), clamped",
     &gra_direct_kl_clamped, NULL},
};

const gra_penalty_row *gra_penalty_row_at(int64_t k)
{
    return k >= 0 && k < (int64_t)(sizeof TABLE / sizeof *TABLE) ? &TABLE[k] : NULL;
}

/* A sum has a name, and is made of others. */
static const gra_penalty_row SUM_ROW = {GRPOALIGN_PENALTY_SUM, "sum", "a sum of penalties", NULL,
                                        NULL};

const gra_penalty_row *gra_penalty_row_of(int32_t kind)
{
    const gra_penalty_row *row = NULL;
    if (kind == GRPOALIGN_PENALTY_SUM) {
        return &SUM_ROW;
    }
    for (int64_t k = 0; (row = gra_penalty_row_at(k)) != NULL && row->kind != kind; k++) {
    }
    return row;
}

void gra_penalty_free(grpoalign_penalty *penalty)
{
    if (penalty != NULL && gra_handle_release(&penalty->handle)) {
        gra_completions *of = (gra_completions *)(uintptr_t)penalty->law.completions;
        if (of != NULL) {
            gra_release(of->offsets);
            gra_release(of->tokens);
            gra_release(of->weights);
            gra_release(of->order);
            gra_release(of);
        }
        gra_release((void *)(uintptr_t)penalty->law.parts);
        gra_release((void *)(uintptr_t)penalty->law.coefficients);
        gra_release(penalty);
    }
}
