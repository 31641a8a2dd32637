#include <grpoalign/penalty.h>

#include <math.h>
#include <string.h>

#include "api/handles.h"
#include "base/numeric.h"

grpoalign_status grpoalign_penalty_new(int32_t kind, grpoalign_penalty **out, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 2, error));
    *out = NULL;
    const gra_penalty_ops *ops = gra_penalty_find(kind);
    if (ops == NULL) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 1, -1, "kind must be 1 (reverse KL) or 2 (direct KL) (got %d)",
                        (int)kind);
    }
    grpoalign_penalty *penalty = gra_alloc(1, sizeof *penalty);
    if (penalty == NULL) {
        return gra_fail_memory(error);
    }
    penalty->magic = GRA_PENALTY_MAGIC;
    penalty->ops = ops;
    *out = penalty;
    return GRPOALIGN_OK;
}

void grpoalign_penalty_free(grpoalign_penalty *penalty)
{
    if (penalty != NULL && penalty->magic == GRA_PENALTY_MAGIC) {
        penalty->magic = 0;
        gra_release(penalty);
    }
}

int32_t grpoalign_penalty_kind(const grpoalign_penalty *penalty)
{
    return penalty != NULL && penalty->magic == GRA_PENALTY_MAGIC ? penalty->ops->kind : 0;
}

const char *grpoalign_penalty_name(int32_t kind)
{
    const gra_penalty_ops *ops = gra_penalty_find(kind);
    return ops != NULL ? ops->name : "unknown";
}

grpoalign_status grpoalign_penalty_respond(const grpoalign_penalty *penalty, const grpoalign_reference *reference,
                                           double beta, const double *advantage, int64_t n, double *policy,
                                           double *normaliser, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_penalty(penalty, 1, error));
    GRA_TRY(gra_check_reference(reference, 2, error));
    GRA_TRY(gra_check_beta(beta, "beta", 3, -1, error));
    GRA_TRY(gra_check_pointer(advantage, "advantage", 4, error));
    GRA_TRY(gra_check_outcomes(n, reference->outcomes, 5, error));
    GRA_TRY(gra_check_pointer(policy, "policy", 6, error));
    GRA_TRY(gra_check_finite(advantage, n, "advantage", 4, error));
    gra_arena arena = GRA_ARENA_INIT;
    int64_t kept = reference->supported, next = 0;
    double *mass = gra_arena_doubles(&arena, kept), *log_mass = gra_arena_doubles(&arena, kept);
    double *price = gra_arena_doubles(&arena, kept), *response = gra_arena_doubles(&arena, kept);
    if (mass == NULL || log_mass == NULL || price == NULL || response == NULL) {
        gra_arena_free(&arena);
        return gra_fail_memory(error);
    }
    for (int64_t o = 0; o < n; o++) {
        if (reference->support[o]) {
            mass[next] = fmax(reference->probability[o], GRA_LEAST_MASS);
            log_mass[next] = reference->logarithm[o];
            price[next++] = -advantage[o] / beta;
        }
    }
    gra_prior prior = {kept, mass, log_mass};
    double shift = penalty->ops->respond(&prior, price, response);
    next = 0;
    for (int64_t o = 0; o < n; o++) {
        policy[o] = reference->support[o] ? response[next++] : 0.0;
    }
    if (normaliser != NULL) {
        *normaliser = shift;
    }
    gra_arena_free(&arena);
    return GRPOALIGN_OK;
}

grpoalign_status grpoalign_penalty_divergence(const grpoalign_penalty *penalty, const grpoalign_reference *reference,
                                              const double *policy, int64_t n, double *divergence,
                                              grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_penalty(penalty, 1, error));
    GRA_TRY(gra_check_reference(reference, 2, error));
    GRA_TRY(gra_check_pointer(policy, "policy", 3, error));
    GRA_TRY(gra_check_outcomes(n, reference->outcomes, 4, error));
    GRA_TRY(gra_check_pointer(divergence, "divergence", 5, error));
    GRA_TRY(gra_check_distribution(policy, n, 0, "policy", 3, error));
    double total = gra_total(policy, n);
    gra_sum sum = {0.0, 0.0};
    for (int64_t o = 0; o < n; o++) {
        double p = policy[o] / total;
        if (reference->support[o]) {
            gra_sum_add(&sum, penalty->ops->divergence(reference->probability[o], p, log(p) - reference->logarithm[o]));
        } else if (p > 0.0) {
            /* Mass where the reference has none: infinite for direct KL, nothing but the missing rest for reverse. */
            gra_sum_add(&sum, penalty->ops->exponential ? INFINITY : p);
        }
    }
    *divergence = gra_sum_value(sum);
    if (isnan(*divergence)) {
        *divergence = INFINITY;
    }
    return GRPOALIGN_OK;
}
