#include <grpoalign/inverse.h>

#include <math.h>

#include "api/handles.h"
#include "base/numeric.h"
#include "solver/sampling.h"

static const grpoalign_inverse_options INVERSE_DEFAULTS = {
    .struct_size = sizeof(grpoalign_inverse_options),
    .max_iterations = 2000,
    .tolerance = 1e-11,
};

void grpoalign_inverse_options_init(grpoalign_inverse_options *options, uint32_t size)
{
    gra_init_options(options, size, &INVERSE_DEFAULTS, sizeof INVERSE_DEFAULTS);
}

/* ---- checks ---------------------------------------------------------------------------------- */

/* An end of the range; 0 is the default. */
static grpoalign_status check_end(double beta, const char *name, int32_t position,
                                  grpoalign_error *error)
{
    return beta == 0.0 ? GRPOALIGN_OK : gra_check_beta(beta, name, position, -1, error);
}

/* The range, and the options of each solve. */
static grpoalign_status load_options(const grpoalign_inverse_options *options, int32_t position,
                                     gra_search_range *range, grpoalign_solve_options *solve,
                                     grpoalign_error *error)
{
    grpoalign_inverse_options loaded = INVERSE_DEFAULTS;
    GRA_TRY(gra_load_options(&loaded, sizeof loaded, options, position, error));
    GRA_TRY(check_end(loaded.beta_low, "options.beta_low", position, error));
    GRA_TRY(check_end(loaded.beta_high, "options.beta_high", position, error));
    if (loaded.beta_high > 0.0 && loaded.beta_low > loaded.beta_high) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                        "options.beta_high must be >= options.beta_low (got %g and %g)",
                        loaded.beta_high, loaded.beta_low);
    }
    const grpoalign_solve_options given = {.struct_size = sizeof given,
                                           .max_iterations = loaded.max_iterations,
                                           .tolerance = loaded.tolerance,
                                           .progress = loaded.progress,
                                           .user = loaded.user,
                                           .stability = loaded.stability,
                                           .reserved = loaded.reserved};
    *range = (gra_search_range){loaded.beta_low, loaded.beta_high};
    return gra_load_solve_options(&given, -1, position, solve, error);
}

/* A problem whose policy depends on beta. */
static grpoalign_status check_penalised(const grpoalign_problem *problem, grpoalign_error *error)
{
    GRA_TRY(gra_check_problem(problem, 1, error));
    return problem->penalty->law.form != GRA_ABSENT
               ? GRPOALIGN_OK
               : gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 1, -1,
                          "without a penalty beta has no meaning: there is none to look for");
}

static grpoalign_status check_target(double target, int32_t quantity, grpoalign_error *error)
{
    int may_be_negative =
        quantity == GRPOALIGN_QUANTITY_EXPECTED_REWARD || quantity == GRPOALIGN_QUANTITY_METRIC;
    if (!isfinite(target)) {
        return gra_fail(error, GRPOALIGN_ERR_NOT_FINITE, 5, -1, "target must be finite (got %g)",
                        target);
    }
    return may_be_negative || target >= 0.0
               ? GRPOALIGN_OK
               : gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 5, -1,
                          "target must be >= 0 for a divergence or the entropy (got %g)", target);
}

static grpoalign_status load_values(const grpoalign_problem *problem, int32_t quantity,
                                    const double *values, int64_t n, gra_target *target,
                                    grpoalign_error *error)
{
    if (quantity < GRPOALIGN_QUANTITY_KL_POLICY_REF || quantity > GRPOALIGN_QUANTITY_METRIC) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1,
                        "quantity must be one of GRPOALIGN_QUANTITY_*, 1 to 5 (got %d)",
                        (int)quantity);
    }
    if (quantity == GRPOALIGN_QUANTITY_METRIC) {
        GRA_TRY(gra_check_pointer(values, "values", 3, error));
        GRA_TRY(gra_check_outcomes(n, problem->model->outcomes, 4, error));
        GRA_TRY(gra_check_finite(values, n, "values", 3, error));
    } else if (values != NULL || n != 0) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, values != NULL ? 3 : 4, -1,
                        "values and n belong to quantity 5 (METRIC): for another they must be NULL "
                        "and 0");
    }
    target->values =
        quantity == GRPOALIGN_QUANTITY_EXPECTED_REWARD ? problem->model->rewards : values;
    return quantity == GRPOALIGN_QUANTITY_EXPECTED_REWARD && target->values == NULL
               ? gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 2, -1,
                          "quantity 4 (EXPECTED_REWARD) needs rewards: margins have none")
               : GRPOALIGN_OK;
}

/* ---- calls ----------------------------------------------------------------------------------- */

grpoalign_status grpoalign_tune(const grpoalign_problem *problem, int32_t quantity,
                                const double *values, int64_t n, double target,
                                const grpoalign_inverse_options *options, grpoalign_solution **out,
                                grpoalign_error *error)
{
    gra_target wanted = {.quantity = quantity, .value = target};
    gra_search_range range;
    grpoalign_solve_options solve;
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 7, error));
    *out = NULL;
    GRA_TRY(check_penalised(problem, error));
    GRA_TRY(load_values(problem, quantity, values, n, &wanted, error));
    GRA_TRY(check_target(target, quantity, error));
    GRA_TRY(load_options(options, 6, &range, &solve, error));
    return gra_qualify(gra_tune(problem, &wanted, &range, &solve, out, error), error);
}

static grpoalign_status check_observed(const grpoalign_problem *problem, const double *observed,
                                       int64_t n, grpoalign_error *error)
{
    GRA_TRY(gra_check_pointer(observed, "observed", 2, error));
    GRA_TRY(gra_check_outcomes(n, problem->model->outcomes, 3, error));
    GRA_TRY(gra_check_finite(observed, n, "observed", 2, error));
    for (int64_t o = 0; o < n; o++) {
        if (observed[o] < 0.0) {
            return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, o,
                            "observed[%lld] must be >= 0 (got %g)", (long long)o, observed[o]);
        }
        if (observed[o] > 0.0 && !problem->reference->support[o]) {
            return gra_fail(error, GRPOALIGN_ERR_PROBABILITY, 2, o,
                            "observed[%lld] must be 0, because the reference has no probability "
                            "there (got %g)",
                            (long long)o, observed[o]);
        }
    }
    double sum = gra_total(observed, n);
    return sum > 0.0 && isfinite(sum)
               ? GRPOALIGN_OK
               : gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1,
                          "observed must have a sum > 0 and finite (got %g)", sum);
}

grpoalign_status grpoalign_fit(const grpoalign_problem *problem, const double *observed, int64_t n,
                               const grpoalign_inverse_options *options, grpoalign_solution **out,
                               grpoalign_fit_report *fit, grpoalign_error *error)
{
    gra_search_range range;
    grpoalign_solve_options solve;
    grpoalign_fit_report found = GRPOALIGN_FIT_REPORT_INIT;
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 5, error));
    *out = NULL;
    GRA_TRY(check_penalised(problem, error));
    GRA_TRY(check_observed(problem, observed, n, error));
    GRA_TRY(load_options(options, 4, &range, &solve, error));
    GRA_TRY(gra_check_pointer(fit, "fit", 6, error));
    grpoalign_status status = gra_fit(problem, observed, &range, &solve, out, &found, error);
    if (status >= 0) {
        grpoalign_status filled = gra_fill_struct(fit, "fit", 6, &found, sizeof found, error);
        if (filled < 0) {
            gra_solution_free(*out);
            *out = NULL;
            return filled;
        }
    }
    return gra_qualify(status, error);
}

grpoalign_status grpoalign_penalty_implied(const grpoalign_penalty *penalty,
                                           const grpoalign_reference *reference,
                                           const double *policy, int64_t n, double beta,
                                           double *advantage, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_penalty(penalty, 1, error));
    GRA_TRY(gra_check_reference(reference, 2, error));
    GRA_TRY(gra_check_pointer(policy, "policy", 3, error));
    GRA_TRY(gra_check_outcomes(n, reference->outcomes, 4, error));
    GRA_TRY(gra_check_beta(beta, "beta", 5, -1, error));
    GRA_TRY(gra_check_pointer(advantage, "advantage", 6, error));
    GRA_TRY(gra_check_distribution(policy, n, 0, GRA_SUM_TOLERANCE, "policy", 3, error));
    if (!gra_penalty_implies(&penalty->law)) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 1, -1,
                        "under this penalty a policy does not tell the advantages");
    }
    for (int64_t o = 0; o < n; o++) {
        if (policy[o] > 0.0 && !reference->support[o]) {
            return gra_fail(error, GRPOALIGN_ERR_PROBABILITY, 3, o,
                            "policy[%lld] must be 0, because the reference has no probability "
                            "there (got %g)",
                            (long long)o, policy[o]);
        }
    }
    GRA_TRY(gra_load_policy(policy, n, "policy", 3, advantage, error));
    gra_penalty_implied(&penalty->law, reference->logarithm, advantage, n, beta, advantage);
    return GRPOALIGN_OK;
}
