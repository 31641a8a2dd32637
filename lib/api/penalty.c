#include <grpoalign/penalty.h>

#include <math.h>
#include <string.h>

#include "api/handles.h"
#include "base/numeric.h"
#include "penalty/tree.h"

static const grpoalign_penalty_options PENALTY_DEFAULTS = {
    .struct_size = sizeof(grpoalign_penalty_options), .alpha = 0.0};

void grpoalign_penalty_options_init(grpoalign_penalty_options *options, uint32_t size)
{
    gra_init_options(options, size, &PENALTY_DEFAULTS, sizeof PENALTY_DEFAULTS);
}

/* The parameter of a family. */
static grpoalign_status check_alpha(const grpoalign_penalty_options *options, int is_family,
                                    int is_given, grpoalign_error *error)
{
    double alpha = options->alpha;
    if (!is_family) {
        return alpha == 0.0 ? GRPOALIGN_OK
                            : gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1,
                                       "options.alpha belongs to kind 9 (alpha divergences); for "
                                       "another it must be 0 (got %g)",
                                       alpha);
    }
    if (!is_given) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1,
                        "options must not be NULL: an alpha divergence needs options.alpha");
    }
    if (!isfinite(alpha)) {
        return gra_fail(error, GRPOALIGN_ERR_NOT_FINITE, 2, -1,
                        "options.alpha must be finite (got %g)", alpha);
    }
    return alpha >= 0.0 && alpha <= 2.0
               ? GRPOALIGN_OK
               : gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1,
                          "options.alpha must lie in [0, 2] (got %g)", alpha);
}

grpoalign_status grpoalign_penalty_new(int32_t kind, const grpoalign_penalty_options *options,
                                       grpoalign_penalty **out, grpoalign_error *error)
{
    grpoalign_penalty_options loaded = PENALTY_DEFAULTS;
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 3, error));
    *out = NULL;
    const gra_penalty_row *row = gra_penalty_row_of(kind);
    if (row == NULL || kind == GRPOALIGN_PENALTY_SUM) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 1, -1,
                        "kind must be 1 (reverse KL), 2 (direct KL) or another of "
                        "GRPOALIGN_PENALTY_* (got %d)",
                        (int)kind);
    }
    GRA_TRY(gra_load_options(&loaded, sizeof loaded, options, 2, error));
    GRA_TRY(check_alpha(&loaded, row->law == NULL, options != NULL, error));
    grpoalign_penalty *penalty = gra_alloc(1, sizeof *penalty);
    if (penalty == NULL) {
        return gra_fail_memory(error);
    }
    gra_handle_start(&penalty->handle, GRA_PENALTY_MAGIC);
    penalty->law = row->law != NULL ? *row->law : row->family(loaded.alpha);
    *out = penalty;
    return GRPOALIGN_OK;
}

static int is_penalty(const grpoalign_penalty *penalty)
{
    return penalty != NULL && penalty->handle.magic == GRA_PENALTY_MAGIC;
}

void grpoalign_penalty_free(grpoalign_penalty *penalty)
{
    if (is_penalty(penalty)) {
        gra_penalty_free(penalty);
    }
}

int32_t grpoalign_penalty_kind(const grpoalign_penalty *penalty)
{
    return is_penalty(penalty) ? penalty->law.kind : 0;
}

const char *grpoalign_penalty_name(int32_t kind)
{
    const gra_penalty_row *row = gra_penalty_row_of(kind);
    return row != NULL ? row->name : "unknown";
}

const char *grpoalign_penalty_formula(int32_t kind)
{
    const gra_penalty_row *row = gra_penalty_row_of(kind);
    return row != NULL ? row->formula : "?";
}

int32_t grpoalign_penalty_find(const char *name)
{
    const gra_penalty_row *row = NULL;
    for (int64_t k = 0; name != NULL && (row = gra_penalty_row_at(k)) != NULL; k++) {
        if (strcmp(row->name, name) == 0) {
            return row->kind;
        }
    }
    return 0;
}

int32_t grpoalign_penalty_kind_at(int64_t k)
{
    const gra_penalty_row *row = gra_penalty_row_at(k);
    return row != NULL ? row->kind : 0;
}

/*
 * The response. A penalty that lets outcomes go loses the one that is furthest beyond the end of
 * its slack, then the next one among the others, and so on. The arrays are reordered alike, what is
 * lost coming last.
 */
static double respond_losing(const gra_penalty *law, int64_t n, double *mass, double *log_mass,
                             double *slack, int64_t *outcome, double *policy)
{
    double total_shift = 0.0;
    for (int64_t kept = n;; kept--) {
        gra_class_reference over_classes = {kept, mass, log_mass};
        int64_t worst = -1;
        total_shift += law->respond(law, &over_classes, slack, policy);
        for (int64_t k = 0; law->lets_go && k < kept; k++) {
            worst =
                slack[k] > law->slack_most && (worst < 0 || slack[k] > slack[worst]) ? k : worst;
        }
        if (worst < 0 || kept == 1) {
            return total_shift;
        }
        int64_t last = kept - 1, lost = outcome[worst];
        mass[worst] = mass[last];
        log_mass[worst] = log_mass[last];
        slack[worst] = slack[last];
        outcome[worst] = outcome[last];
        outcome[last] = lost;
        policy[last] = 0.0;
    }
}

/*
 * Where a penalty turns back an outcome may stay beyond the end of its slack: the stationary policy
 * for fixed advantages is that of unscaled rewards, and whoever solves for that knows. Its
 * normaliser goes with advantages less their mean.
 */
static grpoalign_status respond_as_to_rewards(const grpoalign_penalty *penalty,
                                              const grpoalign_reference *reference, double beta,
                                              const double *advantage, double *policy,
                                              double *normaliser, grpoalign_error *error)
{
    const gra_convention unscaled = {.scale = GRPOALIGN_SCALE_NONE};
    const grpoalign_problem_options defaults = {.struct_size = sizeof defaults};
    int64_t n = reference->outcomes;
    grpoalign_solve_options options = GRPOALIGN_SOLVE_OPTIONS_INIT;
    grpoalign_model *model = NULL;
    grpoalign_problem *problem = NULL;
    grpoalign_solution *solution = NULL;
    options.stability = GRPOALIGN_STABILITY_SKIP;
    grpoalign_status status = gra_limit_new(advantage, NULL, n, &unscaled, &model, error);
    if (status >= 0) {
        status = gra_problem_new(model, penalty, reference, &defaults, &problem, error);
    }
    if (status >= 0) {
        status = grpoalign_solve(problem, beta, &options, &solution, error);
    }
    if (status >= 0) {
        gra_sum mean = {0.0, 0.0};
        for (int64_t o = 0; o < n; o++) {
            gra_sum_add_product(&mean, solution->policy[o], advantage[o]);
        }
        if (normaliser != NULL) {
            *normaliser = solution->report.normaliser + gra_sum_value(mean) / beta;
        }
        memcpy(policy, solution->policy, (size_t)n * sizeof(double));
        status = GRPOALIGN_OK;
        gra_clear(error);
    }
    grpoalign_solution_free(solution);
    grpoalign_problem_free(problem);
    gra_model_free(model);
    return status;
}

static grpoalign_status check_completions(const gra_penalty *law, int64_t n, int32_t position,
                                          grpoalign_error *error)
{
    return law->completions == NULL || law->completions->count == n
               ? GRPOALIGN_OK
               : gra_fail(error, GRPOALIGN_ERR_DIMENSION, position, -1,
                          "the penalty has %lld completions, the reference has %lld outcomes",
                          (long long)law->completions->count, (long long)n);
}

/* Per token: from the leaves of the tree up. */
static grpoalign_status respond_per_token(const gra_penalty *law,
                                          const grpoalign_reference *reference, double beta,
                                          const double *advantage, double *policy,
                                          double *normaliser, grpoalign_error *error)
{
    gra_arena arena = GRA_ARENA_INIT;
    gra_tree tree;
    gra_tree_response response;
    int64_t kept = reference->supported, next = 0, *at = gra_arena_take(&arena, kept, sizeof *at);
    double *log_mass = gra_arena_doubles(&arena, kept), *u = gra_arena_doubles(&arena, kept);
    for (int64_t o = 0; at != NULL && log_mass != NULL && o < reference->outcomes; o++) {
        if (reference->support[o]) {
            log_mass[next] = reference->logarithm[o];
            at[next++] = o;
        }
    }
    if (at == NULL || log_mass == NULL || u == NULL ||
        !gra_tree_build(law->completions, kept, at, log_mass, &tree, &arena) ||
        !gra_tree_response_take(&response, &tree, law, &arena)) {
        gra_arena_free(&arena);
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < kept; i++) {
        u[i] = advantage[at[tree.leaf[i]]];
    }
    response.beta = beta;
    gra_tree_respond(&response, u);
    memset(policy, 0, (size_t)reference->outcomes * sizeof(double));
    for (int64_t i = 0; i < kept; i++) {
        policy[at[tree.leaf[i]]] = exp(response.log_policy[i]);
    }
    if (normaliser != NULL) {
        *normaliser = tree.nodes > 0 ? response.level[0] / beta : 0.0;
    }
    gra_arena_free(&arena);
    return GRPOALIGN_OK;
}

grpoalign_status grpoalign_penalty_respond(const grpoalign_penalty *penalty,
                                           const grpoalign_reference *reference, double beta,
                                           const double *advantage, int64_t n, double *policy,
                                           double *normaliser, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_penalty(penalty, 1, error));
    GRA_TRY(gra_check_reference(reference, 2, error));
    if (penalty->law.form != GRA_ABSENT) {
        GRA_TRY(gra_check_beta(beta, "beta", 3, -1, error));
    }
    GRA_TRY(gra_check_pointer(advantage, "advantage", 4, error));
    GRA_TRY(gra_check_outcomes(n, reference->outcomes, 5, error));
    GRA_TRY(gra_check_pointer(policy, "policy", 6, error));
    GRA_TRY(gra_check_finite(advantage, n, "advantage", 4, error));
    GRA_TRY(check_completions(&penalty->law, n, 2, error));
    if (penalty->law.completions != NULL) {
        return respond_per_token(&penalty->law, reference, beta, advantage, policy, normaliser,
                                 error);
    }
    if (penalty->law.turns_back) {
        return respond_as_to_rewards(penalty, reference, beta, advantage, policy, normaliser,
                                     error);
    }
    gra_arena arena = GRA_ARENA_INIT;
    int64_t kept = reference->supported, next = 0,
            *outcome = gra_arena_take(&arena, kept, sizeof *outcome);
    double *mass = gra_arena_doubles(&arena, kept), *log_mass = gra_arena_doubles(&arena, kept);
    double *slack = gra_arena_doubles(&arena, kept), *response = gra_arena_doubles(&arena, kept);
    if (mass == NULL || log_mass == NULL || slack == NULL || response == NULL || outcome == NULL) {
        gra_arena_free(&arena);
        return gra_fail_memory(error);
    }
    for (int64_t o = 0; o < n; o++) {
        if (reference->support[o]) {
            mass[next] = fmax(reference->probability[o], GRA_LEAST_MASS);
            log_mass[next] = reference->logarithm[o];
            outcome[next] = o;
            slack[next++] = -advantage[o] / (penalty->law.form != GRA_ABSENT ? beta : 1.0);
        }
    }
    double shift = respond_losing(&penalty->law, kept, mass, log_mass, slack, outcome, response);
    memset(policy, 0, (size_t)n * sizeof(double));
    for (int64_t k = 0; k < kept; k++) {
        policy[outcome[k]] = response[k];
    }
    if (normaliser != NULL) {
        *normaliser = shift - penalty->law.normaliser_from;
    }
    gra_arena_free(&arena);
    return GRPOALIGN_OK;
}

grpoalign_status grpoalign_penalty_divergence(const grpoalign_penalty *penalty,
                                              const grpoalign_reference *reference,
                                              const double *policy, int64_t n, double *divergence,
                                              grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_penalty(penalty, 1, error));
    GRA_TRY(gra_check_reference(reference, 2, error));
    GRA_TRY(gra_check_pointer(policy, "policy", 3, error));
    GRA_TRY(gra_check_outcomes(n, reference->outcomes, 4, error));
    GRA_TRY(gra_check_pointer(divergence, "divergence", 5, error));
    GRA_TRY(gra_check_distribution(policy, n, 0, GRA_SUM_TOLERANCE, "policy", 3, error));
    const gra_penalty *law = &penalty->law;
    if (law->completions != NULL) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 1, -1,
                        "a penalty per token is the gradient of no divergence");
    }
    double total = gra_total(policy, n);
    gra_sum sum = {0.0, 0.0};
    if (law->form == GRA_ABSENT) {
        *divergence = 0.0;
        return GRPOALIGN_OK;
    }
    for (int64_t o = 0; o < n; o++) {
        double p = policy[o] / total;
        if (reference->support[o]) {
            gra_sum_add(&sum, law->divergence(law, reference->probability[o], p,
                                              log(p) - reference->logarithm[o]));
        } else if (p > 0.0) {
            gra_sum_add(&sum, p * law->outside);
        }
    }
    *divergence = gra_sum_value(sum);
    if (isnan(*divergence)) {
        *divergence = INFINITY;
    }
    return GRPOALIGN_OK;
}
