#include "input/problem.h"

#include <string.h>

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

static grpoalign_status open_model(const context *c, deadline *until, grpoalign_model **model,
                                   grpoalign_error *error)
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
    if (s->model == MODEL_PAIRWISE) {
        return open_preferences(c, until, model, error);
    }
    if (s->model == MODEL_LIMIT) {
        return grpoalign_model_new_limit(c->rewards, c->reward_variances, c->outcomes, &options,
                                         model, error);
    }
    if (c->support != NULL) {
        return grpoalign_model_new_group_random(c->support, c->levels, c->distribution, c->outcomes,
                                                c->levels, s->group_size, &options, model, error);
    }
    return grpoalign_model_new_group(c->rewards, c->outcomes, s->group_size, &options, model,
                                     error);
}

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
    grpoalign_penalty_options options = GRPOALIGN_PENALTY_OPTIONS_INIT;
    grpoalign_problem_options merging;
    grpoalign_problem_options_init(&merging, sizeof merging);
    merging.progress = is_over;
    merging.user = &self->until;
    options.alpha = c->settings.penalty == GRPOALIGN_PENALTY_ALPHA ? c->settings.alpha : 0.0;
    memset(self, 0, sizeof *self);
    self->outcomes = c->outcomes;
    self->beta = c->settings.beta;
    self->until = c->until;
    grpoalign_status status = open_reference(c, &self->reference, error);
    if (status >= 0) {
        status = open_model(c, &self->until, &model, error);
    }
    if (status >= 0) {
        status = grpoalign_penalty_new(c->settings.penalty, &options, &penalty, error);
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
