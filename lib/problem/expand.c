#include "problem/problem.h"

#include <float.h>
#include <math.h>

#include "base/numeric.h"
#include "base/status.h"

static grpoalign_solution *allocate_solution(int64_t outcomes)
{
    grpoalign_solution *solution = gra_alloc(1, sizeof *solution);
    if (solution == NULL) {
        return NULL;
    }
    gra_handle_start(&solution->handle, GRA_SOLUTION_MAGIC);
    solution->outcomes = outcomes;
    solution->policy = gra_alloc(outcomes, sizeof(double));
    solution->log_policy = gra_alloc(outcomes, sizeof(double));
    solution->advantage = gra_alloc(outcomes, sizeof(double));
    if (solution->policy == NULL || solution->log_policy == NULL || solution->advantage == NULL) {
        gra_solution_free(solution);
        return NULL;
    }
    return solution;
}

void gra_solution_free(grpoalign_solution *solution)
{
    if (solution != NULL && gra_handle_release(&solution->handle)) {
        gra_release(solution->policy);
        gra_release(solution->log_policy);
        gra_release(solution->advantage);
        gra_release(solution);
    }
}

/* What a raised mass alone can have: the square root of one, and less. */
static const double WEIGHTLESS = 1e-100;
/* The same where it is the penalty that cannot tell how rare a class is. */
static const double HARDLY_ANY = 1e-20;

/*
 * The probability of every class and log(pi/pi_ref), with the exact mass where the solver worked
 * with a raised one: a class that holds no weight then follows its slack, one that does keeps its
 * probability.
 */
static void finish_classes(const gra_problem *problem, const double *exact,
                           const gra_answer *answer, double *probability, double *log_ratio)
{
    for (int64_t c = 0; c < problem->reference.classes; c++) {
        double log_mass = exact[c];
        int raised = problem->reference.mass[c] <= GRA_LEAST_MASS;
        probability[c] = fmin(1.0, answer->policy[c]);
        log_ratio[c] = problem->penalty->log_ratio(problem->penalty, answer->slack[c]);
        double nothing = log_mass < problem->reference.log_mass[c] ? HARDLY_ANY : WEIGHTLESS;
        if (raised && probability[c] < nothing) {
            probability[c] = exp(log_mass + log_ratio[c]);
        } else if (probability[c] >= DBL_MIN) {
            log_ratio[c] = log(probability[c]) - log_mass;
        }
    }
}

/* Outcomes of a class share its probability in proportion to the reference, but where some are
 * lost. */
static void spread_over_outcomes(const grpoalign_reference *reference, const gra_problem *problem,
                                 const double *share, int some_are_lost, const double *probability,
                                 const double *log_ratio, grpoalign_solution *solution)
{
    const int64_t *class_of = problem->structure->class_of;
    for (int64_t o = 0; o < solution->outcomes; o++) {
        int64_t c = class_of[o];
        if (c < 0) {
            solution->policy[o] = 0.0;
            solution->log_policy[o] = -INFINITY;
            continue;
        }
        solution->policy[o] = probability[c] * share[o];
        solution->log_policy[o] = some_are_lost ? log(solution->policy[o])
                                                : fmin(0.0, reference->logarithm[o] + log_ratio[c]);
    }
}

/* Infinite terms turn a compensated sum into NaN; rounding may turn nothing into a negative
 * number. */
static double divergence_value(gra_sum sum)
{
    double value = gra_sum_value(sum);
    return isnan(value) ? INFINITY : fmax(0.0, value);
}

/* Where probabilities too small for a double would leave a group without spread, the slacks still
 * know the advantages: u = beta (mean slack - slack). */
static void advantages_by_slack(const gra_problem *problem, const gra_answer *answer,
                                grpoalign_solution *solution)
{
    gra_sum mean_slack = {0.0, 0.0};
    for (int64_t c = 0; c < problem->reference.classes; c++) {
        gra_sum_add_product(&mean_slack, answer->policy[c],
                            answer->policy[c] > 0.0 ? answer->slack[c] : 0.0);
    }
    for (int64_t o = 0; o < solution->outcomes; o++) {
        int64_t c = problem->structure->class_of[o];
        if (c >= 0 && !isfinite(solution->advantage[o])) {
            solution->advantage[o] = answer->beta * (gra_sum_value(mean_slack) - answer->slack[c]);
        }
    }
}

/* sum pi r. Products of more than this could leave the doubles while their parts are found. */
static double expected_reward(const grpoalign_model *model, const double *policy,
                              const unsigned char *support)
{
    const double large = 1e280, down = 0x1p-64;
    double top = fmax(fabs(gra_max(model->rewards, model->outcomes)),
                      fabs(gra_min(model->rewards, model->outcomes))),
           unit = top > large ? down : 1.0;
    gra_sum sum = {0.0, 0.0};
    for (int64_t o = 0; o < model->outcomes; o++) {
        gra_sum_add_product(&sum, support[o] ? policy[o] : 0.0, unit * model->rewards[o]);
    }
    return gra_sum_value(sum) / unit;
}

gra_measures gra_measure(const grpoalign_problem *problem, const double *policy,
                         const double *log_policy)
{
    const grpoalign_model *model = problem->model;
    const grpoalign_reference *reference = problem->reference;
    gra_sum reverse = {0.0, 0.0}, direct = {0.0, 0.0}, entropy = {0.0, 0.0};
    for (int64_t o = 0; o < model->outcomes; o++) {
        if (!reference->support[o]) {
            continue;
        }
        double p = policy[o], ref = reference->probability[o],
               log_ratio = log_policy[o] - reference->logarithm[o];
        if (p > 0.0) {
            gra_sum_add_product(&entropy, -p, log_policy[o]);
        }
        gra_sum_add(&reverse, gra_reverse_kl.divergence(&gra_reverse_kl, ref, p, log_ratio));
        gra_sum_add(&direct, gra_direct_kl.divergence(&gra_direct_kl, ref, p, log_ratio));
    }
    return (gra_measures){
        .expected_reward =
            model->rewards != NULL ? expected_reward(model, policy, reference->support) : NAN,
        .kl_ref_policy = divergence_value(reverse),
        .kl_policy_ref = divergence_value(direct),
        .entropy = fmax(0.0, gra_sum_value(entropy))};
}

/* Divergences, entropy and rewards. */
static grpoalign_status fill_measures(const gra_call *self, grpoalign_solution *solution)
{
    const grpoalign_reference *reference = self->problem->reference;
    grpoalign_report *report = &solution->report;
    gra_measures after = gra_measure(self->problem, solution->policy, solution->log_policy);
    report->kl_ref_policy = after.kl_ref_policy;
    report->kl_policy_ref = after.kl_policy_ref;
    report->entropy = after.entropy;
    report->expected_reward = after.expected_reward;
    report->expected_reward_reference =
        gra_measure(self->problem, reference->probability, reference->logarithm).expected_reward;
    return GRPOALIGN_OK;
}

/* Residual and normaliser of a penalty per token. */
static grpoalign_status balance_tokens(const gra_problem *at, double beta,
                                       grpoalign_solution *solution, gra_arena *arena,
                                       grpoalign_error *error)
{
    int64_t n = at->outcomes.count;
    gra_tree_response observed;
    double *policy = gra_arena_doubles(arena, n), *advantage = gra_arena_doubles(arena, n);
    if (policy == NULL || advantage == NULL ||
        !gra_tree_response_take(&observed, at->tree, at->penalty, arena)) {
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t o = at->outcomes.at[at->tree->leaf[i]];
        policy[i] = solution->policy[o];
        advantage[i] = solution->advantage[o];
    }
    observed.beta = beta;
    gra_tree_observe(&observed, policy, advantage);
    solution->report.residual = gra_tree_residual(&observed);
    solution->report.normaliser = at->tree->nodes > 0 ? observed.level[0] / beta : 0.0;
    return GRPOALIGN_OK;
}

/* Everything that follows from policy and advantage, from the outcomes' own data. */
static grpoalign_status fill_report(const gra_call *self, double beta, grpoalign_solution *solution,
                                    gra_arena *arena, grpoalign_error *error)
{
    const grpoalign_reference *reference = self->problem->reference;
    const gra_penalty *penalty = self->at.penalty;
    const grpoalign_model *alone = gra_call_surrogate(self);
    grpoalign_report *report = &solution->report;
    int64_t n = solution->outcomes, kept = 0;
    double *scaled = gra_arena_doubles(arena, reference->supported);
    double *advantage = solution->advantage;
    if (alone != NULL) { /* what is balanced against the penalty */
        advantage = gra_arena_doubles(arena, n);
        GRA_TRY(advantage != NULL
                    ? alone->ops->advantage(alone, solution->policy, advantage, arena, error)
                    : gra_fail_memory(error));
    }
    if (scaled == NULL) {
        return gra_fail_memory(error);
    }
    gra_sum mean = {0.0, 0.0}, mean_slack = {0.0, 0.0};
    for (int64_t o = 0; o < n; o++) {
        double p = solution->policy[o];
        if (reference->support[o]) {
            scaled[kept++] = advantage[o] / beta;
            if (p > 0.0) {
                gra_sum_add_product(&mean, p, advantage[o]);
                gra_sum_add_product(
                    &mean_slack, p,
                    gra_penalty_felt(penalty, solution->log_policy[o] - reference->logarithm[o]));
            }
        }
    }
    if (self->at.tree != NULL) {
        GRA_TRY(balance_tokens(&self->at, beta, solution, arena, error));
        return fill_measures(self, solution);
    }
    gra_class_reference over_classes = {kept, NULL, self->at.outcomes.log_mass};
    double residual = 0.0,
           normaliser = penalty->normaliser(penalty, &over_classes, scaled,
                                            gra_sum_value(mean) / beta, gra_sum_value(mean_slack));
    kept = 0;
    for (int64_t o = 0; o < n; o++) {
        if (reference->support[o]) {
            double p = solution->policy[o], ref = reference->probability[o], u = scaled[kept++];
            double log_ratio = solution->log_policy[o] - reference->logarithm[o];
            /* Where the solver worked with a raised mass, what holds nothing balances nothing. */
            double r = p < WEIGHTLESS && ref <= GRA_LEAST_MASS
                           ? 0.0
                           : fabs(penalty->residual(penalty, ref, p, log_ratio, u, normaliser));
            residual = isnan(r) || r > residual ? r : residual;
        }
    }
    report->residual = isnan(residual) ? INFINITY : residual; /* advantages beyond the doubles */
    report->normaliser = normaliser;
    return fill_measures(self, solution);
}

static grpoalign_status fill_solution(gra_call *self, const gra_answer *answer,
                                      grpoalign_solution *solution, grpoalign_error *error)
{
    const gra_problem *at = &self->at;
    gra_arena *arena = &self->arena;
    const grpoalign_model *model = self->problem->model;
    int64_t classes = at->structure->classes;
    double *probability = gra_arena_doubles(arena, classes);
    double *log_ratio = gra_arena_doubles(arena, classes);
    if (probability == NULL || log_ratio == NULL) {
        return gra_fail_memory(error);
    }
    finish_classes(at, self->reduction->log_mass, answer, probability, log_ratio);
    const double *share = answer->share != NULL ? answer->share : self->reduction->share;
    spread_over_outcomes(self->problem->reference, at, share, answer->share != NULL, probability,
                         log_ratio, solution);
    GRA_TRY(model->ops->advantage(model, solution->policy, solution->advantage, arena, error));
    if (answer->status != GRPOALIGN_COLLAPSED && gra_call_surrogate(self) == NULL) {
        advantages_by_slack(at, answer, solution);
    }
    GRA_TRY(fill_report(self, answer->beta, solution, arena, error));
    int groups = at->structure->kind == GRA_GAME || at->structure->kind == GRA_AFFINE;
    grpoalign_report *report = &solution->report;
    report->struct_size = sizeof *report;
    report->method = answer->method;
    report->expectation = groups ? model->expectation : 0;
    report->iterations = answer->iterations;
    report->factorizations = answer->factorizations;
    report->unique = answer->unique;
    report->stable = answer->stable;
    report->policy_error = answer->policy_error;
    report->beta = at->penalty->form == GRA_ABSENT ? 0.0 : answer->beta;
    report->rate = answer->rate;
    report->status = answer->status;
    if (report->status == GRPOALIGN_COLLAPSED && at->penalty->form != GRA_ABSENT) {
        report->residual = INFINITY; /* it is no stationary policy */
    }
    /* That others exist, `unique` tells too. */
    int found = report->status == GRPOALIGN_OK || report->status == GRPOALIGN_NOT_UNIQUE;
    if (found && !(report->policy_error <= self->options.tolerance)) {
        report->status = GRPOALIGN_ACCURACY_LIMITED;
    }
    return report->status;
}

grpoalign_status gra_expand(gra_call *self, const gra_answer *answer, grpoalign_solution **out,
                            grpoalign_error *error)
{
    gra_arena_mark_t mark = gra_arena_mark(&self->arena);
    grpoalign_solution *solution = allocate_solution(self->problem->model->outcomes);
    *out = NULL;
    if (solution == NULL) {
        return gra_fail_memory(error);
    }
    grpoalign_status status = fill_solution(self, answer, solution, error);
    gra_arena_rewind(&self->arena, mark);
    if (status < 0) {
        gra_solution_free(solution);
        return status;
    }
    *out = solution;
    return status;
}
