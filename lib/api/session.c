#include "api/session.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

static const grpoalign_solve_options SOLVE_DEFAULTS = {
    .struct_size = sizeof(grpoalign_solve_options),
    .max_iterations = 2000,
    .tolerance = 1e-11,
};

void grpoalign_solve_options_init(grpoalign_solve_options *options, uint32_t size)
{
    gra_init_options(options, size, &SOLVE_DEFAULTS, sizeof SOLVE_DEFAULTS);
}

static grpoalign_status load_options(const grpoalign_solve_options *options, int32_t position,
                                     grpoalign_solve_options *loaded, grpoalign_error *error)
{
    *loaded = SOLVE_DEFAULTS;
    GRA_TRY(gra_load_options(loaded, sizeof *loaded, options, position, error));
    loaded->max_iterations =
        loaded->max_iterations == 0 ? SOLVE_DEFAULTS.max_iterations : loaded->max_iterations;
    loaded->tolerance = loaded->tolerance == 0.0 ? SOLVE_DEFAULTS.tolerance : loaded->tolerance;
    if (loaded->max_iterations < 0) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                        "options.max_iterations must be >= 0 (got %d)",
                        (int)loaded->max_iterations);
    }
    if (!(loaded->tolerance > 0.0 && loaded->tolerance < 1.0)) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                        "options.tolerance must lie in (0, 1) (got %g)", loaded->tolerance);
    }
    if (loaded->stability < GRPOALIGN_STABILITY_SIGN ||
        loaded->stability > GRPOALIGN_STABILITY_SKIP) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                        "options.stability must be 0, 1 or 2 (got %d)", (int)loaded->stability);
    }
    if (loaded->reserved != 0) {
        return gra_fail(error, GRPOALIGN_ERR_STRUCT_SIZE, position, -1,
                        "options.reserved must be 0 (got %d)", (int)loaded->reserved);
    }
    return GRPOALIGN_OK;
}

void grpoalign_solution_free(grpoalign_solution *solution)
{
    if (solution != NULL && solution->magic == GRA_SOLUTION_MAGIC) {
        solution->magic = 0;
        gra_release(solution->policy);
        gra_release(solution->log_policy);
        gra_release(solution->advantage);
        gra_release(solution);
    }
}

static grpoalign_solution *allocate_solution(int64_t outcomes)
{
    grpoalign_solution *solution = gra_alloc(1, sizeof *solution);
    if (solution == NULL) {
        return NULL;
    }
    solution->magic = GRA_SOLUTION_MAGIC;
    solution->outcomes = outcomes;
    solution->policy = gra_alloc(outcomes, sizeof(double));
    solution->log_policy = gra_alloc(outcomes, sizeof(double));
    solution->advantage = gra_alloc(outcomes, sizeof(double));
    if (solution->policy == NULL || solution->log_policy == NULL || solution->advantage == NULL) {
        grpoalign_solution_free(solution);
        return NULL;
    }
    return solution;
}

/*
 * The probability of every class and log(pi/pi_ref), with the exact mass where the solver worked
 * with a raised one: a class that holds no weight then follows its slack, one that does keeps its
 * probability.
 */
static void settle_classes(const gra_problem *problem, const gra_answer *answer,
                           double *probability, double *log_ratio)
{
    const double weightless = 1e-200;
    for (int64_t c = 0; c < problem->reference.classes; c++) {
        double log_mass = problem->reference.log_mass[c];
        int raised = problem->reference.mass[c] <= GRA_LEAST_MASS;
        probability[c] = answer->policy[c];
        log_ratio[c] = problem->penalty->log_ratio(problem->penalty, answer->slack[c]);
        if (raised && probability[c] < weightless) {
            probability[c] = exp(log_mass + log_ratio[c]);
        } else if (probability[c] >= DBL_MIN) {
            log_ratio[c] = log(probability[c]) - log_mass;
        }
    }
}

/* Outcomes of a class share its probability in proportion to the reference. */
static void expand(const grpoalign_reference *reference, const gra_problem *problem,
                   const double *share, const double *probability, const double *log_ratio,
                   grpoalign_solution *solution)
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
        solution->log_policy[o] = reference->logarithm[o] + log_ratio[c];
    }
}

/* Infinite terms turn a compensated sum into NaN; rounding may turn nothing into a negative number.
 */
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
    gra_sum level = {0.0, 0.0};
    for (int64_t c = 0; c < problem->reference.classes; c++) {
        gra_sum_add_product(&level, answer->policy[c],
                            answer->policy[c] > 0.0 ? answer->slack[c] : 0.0);
    }
    for (int64_t o = 0; o < solution->outcomes; o++) {
        int64_t c = problem->structure->class_of[o];
        if (c >= 0 && !isfinite(solution->advantage[o])) {
            solution->advantage[o] = answer->beta * (gra_sum_value(level) - answer->slack[c]);
        }
    }
}

gra_measures gra_measure(const grpoalign_model *model, const grpoalign_reference *reference,
                         const double *policy, const double *log_policy)
{
    gra_sum reverse = {0.0, 0.0}, direct = {0.0, 0.0}, entropy = {0.0, 0.0}, reward = {0.0, 0.0};
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
        if (model->rewards != NULL) {
            gra_sum_add(&reward, p * model->rewards[o]);
        }
    }
    return (gra_measures){.expected_reward = model->rewards != NULL ? gra_sum_value(reward) : NAN,
                          .kl_ref_policy = divergence_value(reverse),
                          .kl_policy_ref = divergence_value(direct),
                          .entropy = fmax(0.0, gra_sum_value(entropy))};
}

/* Everything that follows from policy and advantage, from the outcomes' own data. */
static grpoalign_status fill_report(const gra_session *self, double beta,
                                    grpoalign_solution *solution, gra_arena *arena,
                                    grpoalign_error *error)
{
    const grpoalign_reference *reference = self->reference;
    const gra_penalty *penalty = &self->penalty->law;
    grpoalign_report *report = &solution->report;
    int64_t n = solution->outcomes, kept = 0;
    double *scaled = gra_arena_doubles(arena, reference->supported), *u = solution->advantage;
    if (self->stand_in != NULL) { /* what is balanced against the penalty */
        const grpoalign_model *alone = self->stand_in;
        u = gra_arena_doubles(arena, n);
        GRA_TRY(u != NULL ? alone->ops->advantage(alone, solution->policy, u, arena, error)
                          : gra_fail_memory(error));
    }
    if (scaled == NULL) {
        return gra_fail_memory(error);
    }
    gra_sum mean = {0.0, 0.0}, mean_slack = {0.0, 0.0};
    for (int64_t o = 0; o < n; o++) {
        double p = solution->policy[o];
        if (reference->support[o]) {
            scaled[kept++] = u[o] / beta;
            if (p > 0.0) {
                gra_sum_add_product(&mean, p, u[o]);
                gra_sum_add_product(
                    &mean_slack, p,
                    penalty->slack(penalty, solution->log_policy[o] - reference->logarithm[o]));
            }
        }
    }
    gra_class_reference over_classes = {kept, NULL, self->problem.outcomes.log_mass};
    double residual = 0.0,
           normaliser = penalty->normaliser(penalty, &over_classes, scaled,
                                            gra_sum_value(mean) / beta, gra_sum_value(mean_slack));
    kept = 0;
    for (int64_t o = 0; o < n; o++) {
        if (reference->support[o]) {
            double p = solution->policy[o], ref = reference->probability[o];
            double log_ratio = solution->log_policy[o] - reference->logarithm[o];
            double r =
                fabs(penalty->residual(penalty, ref, p, log_ratio, scaled[kept++], normaliser));
            residual = isnan(r) || r > residual ? r : residual;
        }
    }
    gra_measures after =
        gra_measure(self->model, reference, solution->policy, solution->log_policy);
    report->residual = residual;
    report->normaliser = normaliser;
    report->kl_ref_policy = after.kl_ref_policy;
    report->kl_policy_ref = after.kl_policy_ref;
    report->entropy = after.entropy;
    report->expected_reward = after.expected_reward;
    report->expected_reward_reference =
        gra_measure(self->model, reference, reference->probability, reference->logarithm)
            .expected_reward;
    return GRPOALIGN_OK;
}

/* Whether the training flow is linear near a stationary policy. */
static int has_flow(const gra_penalty *penalty)
{
    return penalty->form == GRA_SMOOTH || penalty->form == GRA_ABSENT;
}

static grpoalign_status fill_solution(gra_session *self, const gra_answer *answer,
                                      grpoalign_solution *solution, grpoalign_error *error)
{
    const gra_problem *problem = &self->problem;
    gra_arena *arena = &self->arena;
    const grpoalign_model *model = self->model;
    double *probability = gra_arena_doubles(arena, self->structure.classes);
    double *log_ratio = gra_arena_doubles(arena, self->structure.classes);
    if (probability == NULL || log_ratio == NULL) {
        return gra_fail_memory(error);
    }
    settle_classes(problem, answer, probability, log_ratio);
    expand(self->reference, problem, self->share, probability, log_ratio, solution);
    GRA_TRY(model->ops->advantage(model, solution->policy, solution->advantage, arena, error));
    if (answer->status != GRPOALIGN_COLLAPSED && self->stand_in == NULL) {
        advantages_by_slack(problem, answer, solution);
    }
    GRA_TRY(fill_report(self, answer->beta, solution, arena, error));
    grpoalign_report *report = &solution->report;
    int32_t kind = self->structure.kind;
    report->struct_size = sizeof *report;
    report->method = answer->method;
    report->expectation = kind == GRA_GAME || kind == GRA_AFFINE ? model->expectation : 0;
    report->iterations = answer->iterations;
    report->factorizations = answer->factorizations;
    report->unique = answer->unique;
    report->policy_error = answer->policy_error;
    report->beta = problem->penalty->form == GRA_ABSENT ? 0.0 : answer->beta;
    report->rate = NAN;
    report->stable = -1;
    if (self->options.stability != GRPOALIGN_STABILITY_SKIP) {
        GRA_TRY(gra_stability(problem, answer, &report->stable));
        int spectrum =
            report->stable < 0 || self->options.stability == GRPOALIGN_STABILITY_SPECTRUM;
        if (spectrum && has_flow(problem->penalty)) {
            double rounding;
            GRA_TRY(gra_abscissa_of(problem, answer, &report->rate, &rounding));
            report->stable = report->stable < 0 && !isnan(report->rate) ? report->rate <= rounding
                                                                        : report->stable;
        }
    }
    report->status = answer->status;
    if (report->status == GRPOALIGN_COLLAPSED && problem->penalty->form != GRA_ABSENT) {
        report->residual = INFINITY; /* it is no stationary policy */
    }
    if (report->status == GRPOALIGN_OK && !(report->policy_error <= self->options.tolerance)) {
        report->status = GRPOALIGN_ACCURACY_LIMITED;
    }
    return report->status;
}

grpoalign_status gra_session_solution(gra_session *self, const gra_answer *answer,
                                      grpoalign_solution **out, grpoalign_error *error)
{
    gra_arena_mark_t mark = gra_arena_mark(&self->arena);
    grpoalign_solution *solution = allocate_solution(self->model->outcomes);
    *out = NULL;
    if (solution == NULL) {
        return gra_fail_memory(error);
    }
    grpoalign_status status = fill_solution(self, answer, solution, error);
    gra_arena_rewind(&self->arena, mark);
    if (status < 0) {
        grpoalign_solution_free(solution);
        return status;
    }
    *out = solution;
    return status;
}

/* The supported outcomes, packed. */
static int list_outcomes(gra_session *self)
{
    const grpoalign_reference *reference = self->reference;
    int64_t kept = 0;
    int64_t *at = gra_arena_take(&self->arena, reference->supported, sizeof *at);
    double *log_mass = gra_arena_doubles(&self->arena, reference->supported);
    double *share = gra_arena_doubles(&self->arena, reference->supported);
    if (at == NULL || log_mass == NULL || share == NULL) {
        return 0;
    }
    for (int64_t o = 0; o < reference->outcomes; o++) {
        if (reference->support[o]) {
            at[kept] = o;
            log_mass[kept] = reference->logarithm[o];
            share[kept++] = self->share[o];
        }
    }
    const grpoalign_model *solved = self->stand_in != NULL ? self->stand_in : self->model;
    self->problem.outcomes = (gra_outcomes){solved, kept, at, log_mass, share};
    return 1;
}

/* Class probabilities of options.start. */
static grpoalign_status load_start(gra_session *self, int32_t position, grpoalign_error *error)
{
    const gra_structure *structure = &self->structure;
    int64_t n = self->model->outcomes;
    double *own = gra_arena_doubles(&self->arena, n),
           *start = gra_arena_doubles(&self->arena, structure->classes);
    if (own == NULL || start == NULL) {
        return gra_fail_memory(error);
    }
    GRA_TRY(gra_load_policy(self->options.start, n, "options.start", position, own, error));
    memset(start, 0, (size_t)structure->classes * sizeof(double));
    for (int64_t o = 0; o < n; o++) {
        if (structure->class_of[o] >= 0) {
            start[structure->class_of[o]] += own[o];
        }
    }
    self->problem.start = start;
    return GRPOALIGN_OK;
}

/*
 * With the direct KL inside the reward, R = r - beta log(pi/pi_ref), a better E[R] is a better
 * advantage whatever the scale: the policy is stationary once E[R] is the same for all, which is
 * the direct KL with unscaled rewards.
 */
static grpoalign_status take_rewards_alone(gra_session *self, grpoalign_error *error)
{
    const grpoalign_model *model = self->model;
    if (model->dropping > 0) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 1, -1,
                        "with the KL inside the reward no group is without spread: zero_variance = "
                        "drop has no meaning");
    }
    if (!model->by_mean_reward) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 1, -1,
                        "the KL inside the reward is solved where a better mean reward is a better "
                        "advantage: not for %s",
                        model->rewards == NULL
                            ? "margins"
                            : "random rewards scaled by their std in finite groups");
    }
    gra_convention unscaled = {.scale = GRPOALIGN_SCALE_NONE};
    return gra_limit_new(model->rewards, NULL, model->outcomes, &unscaled, &self->stand_in, error);
}

static grpoalign_status drop_groups(gra_session *self, double beta, grpoalign_error *error)
{
    const gra_penalty *law = &self->penalty->law;
    if (!gra_penalty_holds(law)) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 2, -1,
                        "groups without spread that are dropped are solved with penalties whose "
                        "slack holds every outcome, "
                        "not with %s",
                        grpoalign_penalty_name(law->kind));
    }
    return gra_dropping_new(self->model, law, self->reference, beta, &self->stand_in, error);
}

grpoalign_status gra_session_open(gra_session *self, const grpoalign_model *model,
                                  const grpoalign_penalty *penalty,
                                  const grpoalign_reference *reference, double beta,
                                  int32_t beta_position, const grpoalign_solve_options *options,
                                  int32_t options_position, grpoalign_error *error)
{
    memset(self, 0, sizeof *self);
    GRA_TRY(gra_check_model(model, 1, error));
    GRA_TRY(gra_check_penalty(penalty, 2, error));
    GRA_TRY(gra_check_reference(reference, 3, error));
    if (penalty->law.form == GRA_ABSENT) {
        beta = 1.0; /* it has no meaning */
    }
    GRA_TRY(gra_check_beta(beta, "beta", beta_position, -1, error));
    GRA_TRY(load_options(options, options_position, &self->options, error));
    if (reference->outcomes != model->outcomes) {
        return gra_fail(error, GRPOALIGN_ERR_DIMENSION, 3, -1,
                        "reference has %lld outcomes, the model has %lld",
                        (long long)reference->outcomes, (long long)model->outcomes);
    }
    self->model = model;
    self->penalty = penalty;
    self->reference = reference;
    const grpoalign_model *solved = model;
    if (penalty->law.form == GRA_INSIDE_REWARD) {
        GRA_TRY(take_rewards_alone(self, error));
        solved = self->stand_in;
    } else if (model->dropping > 0 && penalty->law.form != GRA_ABSENT) {
        GRA_TRY(drop_groups(self, beta, error));
        solved = self->stand_in;
    }
    GRA_TRY(
        solved->ops->structure(solved, reference->support, &self->structure, &self->arena, error));
    self->problem = (gra_problem){.structure = &self->structure,
                                  .penalty = &penalty->law,
                                  .beta = beta,
                                  .tolerance = self->options.tolerance,
                                  .max_iterations = self->options.max_iterations,
                                  .progress = self->options.progress,
                                  .user = self->options.user,
                                  .arena = &self->arena,
                                  .error = error};
    self->share = gra_arena_doubles(&self->arena, model->outcomes);
    if (self->share == NULL ||
        !gra_reference_of_classes(reference, &self->structure, &self->problem.reference,
                                  self->share, &self->arena) ||
        !list_outcomes(self)) {
        return gra_fail_memory(error);
    }
    return self->options.start != NULL ? load_start(self, options_position, error) : GRPOALIGN_OK;
}

void gra_session_close(gra_session *self)
{
    gra_structure_release(&self->structure);
    grpoalign_model_free(self->stand_in);
    gra_arena_free(&self->arena);
}
