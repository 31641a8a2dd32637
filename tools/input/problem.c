#include "input/problem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

int32_t is_over(void *user, const grpoalign_progress *progress)
{
    (void)progress;
    return deadline_passed(user);
}

grpoalign_solve_options problem_solve_options(problem *self)
{
    grpoalign_solve_options options;
    grpoalign_solve_options_init(&options, sizeof options);
    options.progress = is_over;
    options.user = &self->until;
    return options;
}

grpoalign_flow_options problem_flow_options(problem *self)
{
    grpoalign_flow_options options;
    grpoalign_flow_options_init(&options, sizeof options);
    options.progress = is_over;
    options.user = &self->until;
    return options;
}

grpoalign_inverse_options problem_inverse_options(problem *self)
{
    grpoalign_inverse_options options = GRPOALIGN_INVERSE_OPTIONS_INIT;
    options.progress = is_over;
    options.user = &self->until;
    return options;
}

static grpoalign_status open_preferences(const context *c, deadline *until, grpoalign_model **model,
                                         grpoalign_error *error)
{
    grpoalign_preference_options options;
    grpoalign_preference_options_init(&options, sizeof options);
    options.progress = is_over;
    options.user = until;
    return c->margins != NULL
               ? grpoalign_model_new_pairwise(c->margins, c->outcomes, c->outcomes, &options, model,
                                              error)
               : grpoalign_model_new_ranked(c->rewards, c->outcomes, &options, model, error);
}

/* A model from the rewards of one list. */
static grpoalign_status open_rewards(const context *c, const double *rewards, deadline *until,
                                     grpoalign_model **model, grpoalign_error *error)
{
    const settings *s = &c->settings;
    grpoalign_reward_options options;
    grpoalign_reward_options_init(&options, sizeof options);
    options.progress = is_over;
    options.user = until;
    options.scale = s->scale;
    options.epsilon = s->epsilon;
    options.ddof = (int32_t)s->ddof;
    options.baseline = s->baseline;
    options.epsilon_place = s->epsilon_place;
    options.zero_variance = s->zero_variance;
    if (s->model == MODEL_LIMIT) {
        return grpoalign_model_new_limit(rewards, c->reward_variances, c->outcomes, &options, model,
                                         error);
    }
    if (c->support != NULL) {
        return grpoalign_model_new_group_random(c->support, c->levels, c->distribution, c->outcomes,
                                                c->levels, s->group_size, &options, model, error);
    }
    return grpoalign_model_new_group(rewards, c->outcomes, s->group_size, &options, model, error);
}

/* Every reward normalised by itself, then added up. */
static grpoalign_status open_sum(const context *c, deadline *until, grpoalign_model **model,
                                 grpoalign_error *error)
{
    size_t count = (size_t)c->reward_count;
    grpoalign_model **terms = memory_calloc(count, sizeof *terms);
    double *weights = memory_malloc(count * sizeof *weights);
    grpoalign_status status = GRPOALIGN_OK;
    if (terms == NULL || weights == NULL) {
        (void)snprintf(error->message, sizeof error->message, "out of memory");
        status = GRPOALIGN_ERR_MEMORY;
    }
    for (size_t k = 0; status >= 0 && k < count; k++) {
        weights[k] = c->reward_weights != NULL ? c->reward_weights[k] : 1.0;
        status =
            open_rewards(c, c->reward_lists + (int64_t)k * c->outcomes, until, &terms[k], error);
    }
    if (status >= 0) {
        status = grpoalign_model_new_sum((const grpoalign_model *const *)terms, weights,
                                         c->reward_count, model, error);
    }
    for (size_t k = 0; terms != NULL && k < count; k++) {
        grpoalign_model_free(terms[k]);
    }
    free(terms);
    free(weights);
    return status;
}

static grpoalign_status open_model(const context *c, deadline *until, grpoalign_model **model,
                                   grpoalign_error *error)
{
    const settings *s = &c->settings;
    if (s->model == MODEL_PAIRWISE) {
        return open_preferences(c, until, model, error);
    }
    if (c->table_success != NULL) {
        grpoalign_preference_options options = GRPOALIGN_PREFERENCE_OPTIONS_INIT;
        options.progress = is_over;
        options.user = until;
        return grpoalign_model_new_rule_table(c->rewards, c->outcomes, c->table_success,
                                              c->table_failure, c->table_size, &options, model,
                                              error);
    }
    return c->reward_lists != NULL && s->aggregation == NORMALIZE_THEN_SUM
               ? open_sum(c, until, model, error)
               : open_rewards(c, c->rewards, until, model, error);
}

/* ---- penalties ------------------------------------------------------------------------------- */

static grpoalign_status open_kind(const settings *s, int32_t kind, grpoalign_penalty **penalty,
                                  grpoalign_error *error)
{
    grpoalign_penalty_options options = GRPOALIGN_PENALTY_OPTIONS_INIT;
    /* T equal decisions under reverse KL are an alpha divergence. */
    if (kind == GRPOALIGN_PENALTY_REVERSE_KL && s->decisions > 1.0) {
        kind = GRPOALIGN_PENALTY_ALPHA;
        options.alpha = 1.0 - 1.0 / s->decisions;
    } else if (kind == GRPOALIGN_PENALTY_ALPHA) {
        options.alpha = s->alpha;
    }
    return grpoalign_penalty_new(kind, &options, penalty, error);
}

/* A sum of penalties, whose beta is the sum of the coefficients. */
static grpoalign_status open_mixture(const settings *s, double *beta, grpoalign_penalty **penalty,
                                     grpoalign_error *error)
{
    grpoalign_penalty *parts[PENALTY_KINDS] = {NULL};
    double coefficients[PENALTY_KINDS], total = 0.0;
    int count = 0;
    grpoalign_status status = GRPOALIGN_OK;
    for (int32_t kind = 0; kind < PENALTY_KINDS; kind++) {
        total += s->parts.coefficients[kind];
    }
    for (int32_t kind = 0; status >= 0 && kind < PENALTY_KINDS; kind++) {
        if (s->parts.coefficients[kind] > 0.0) {
            coefficients[count] = s->parts.coefficients[kind] / total;
            status = open_kind(s, kind, &parts[count], error);
            count += status >= 0;
        }
    }
    if (status >= 0 && count == 1) {
        *penalty = parts[0];
        parts[0] = NULL;
    } else if (status >= 0) {
        status = grpoalign_penalty_new_sum((const grpoalign_penalty *const *)parts, coefficients,
                                           count, penalty, error);
    }
    for (int k = 0; k < count; k++) {
        grpoalign_penalty_free(parts[k]);
    }
    *beta = total;
    return status;
}

/* The same at every token, or with weights. */
static grpoalign_status open_completions(const context *c, double beta, grpoalign_penalty **penalty,
                                         grpoalign_error *error)
{
    grpoalign_completions completions = GRPOALIGN_COMPLETIONS_INIT;
    grpoalign_penalty *base = *penalty;
    completions.count = c->outcomes;
    completions.offsets = c->token_offsets;
    completions.tokens = c->tokens;
    completions.token_count = c->tokens != NULL ? c->token_offsets[c->outcomes] : 0;
    completions.weights = c->weights;
    completions.entropy = c->settings.parts.entropy / beta;
    grpoalign_status status = grpoalign_penalty_new_per_token(base, &completions, penalty, error);
    grpoalign_penalty_free(base);
    return status;
}

/* A preset's clamp is of one decision: over many a token hardly comes to it. */
static int32_t without_clamp(const settings *s)
{
    if (!is_given(s, SETTING_PRESET) || s->penalty != s->preset.penalty) {
        return s->penalty;
    }
    return s->penalty == GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED  ? GRPOALIGN_PENALTY_REVERSE_KL
           : s->penalty == GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED ? GRPOALIGN_PENALTY_DIRECT_KL
                                                               : s->penalty;
}

static grpoalign_status open_penalty(const context *c, double *beta, grpoalign_penalty **penalty,
                                     grpoalign_error *error)
{
    const settings *s = &c->settings;
    int is_sum = s->penalty == GRPOALIGN_PENALTY_SUM;
    int per_token = c->tokens != NULL || c->weights != NULL || (is_sum && s->parts.entropy > 0.0);
    *beta = s->beta;
    grpoalign_status status =
        is_sum ? open_mixture(s, beta, penalty, error)
               : open_kind(s, per_token ? without_clamp(s) : s->penalty, penalty, error);
    return status >= 0 && per_token ? open_completions(c, *beta, penalty, error) : status;
}

/* ---- the problem ----------------------------------------------------------------------------- */

static grpoalign_status open_reference(const context *c, grpoalign_reference **reference,
                                       grpoalign_error *error)
{
    if (c->reference_logprobs != NULL) {
        return grpoalign_reference_new_log(c->reference_logprobs, c->outcomes, NULL, reference,
                                           error);
    }
    if (c->reference != NULL) {
        return grpoalign_reference_new(c->reference, c->outcomes, NULL, reference, error);
    }
    return grpoalign_reference_new_uniform(c->outcomes, NULL, reference, error);
}

grpoalign_status problem_open(problem *self, const context *c, grpoalign_error *error)
{
    grpoalign_model *model = NULL;
    grpoalign_penalty *penalty = NULL;
    grpoalign_problem_options merging;
    grpoalign_problem_options_init(&merging, sizeof merging);
    merging.progress = is_over;
    merging.user = &self->until;
    memset(self, 0, sizeof *self);
    self->outcomes = c->outcomes;
    self->until = c->until;
    grpoalign_status status = open_reference(c, &self->reference, error);
    if (status >= 0) {
        status = open_model(c, &self->until, &model, error);
    }
    if (status >= 0) {
        status = open_penalty(c, &self->beta, &penalty, error);
    }
    if (status >= 0) {
        status =
            grpoalign_problem_new(model, penalty, self->reference, &merging, &self->handle, error);
    }
    grpoalign_penalty_free(penalty);
    grpoalign_model_free(model);
    return status;
}

void problem_close(problem *self)
{
    grpoalign_problem_free(self->handle);
    grpoalign_reference_free(self->reference);
    memset(self, 0, sizeof *self);
}
