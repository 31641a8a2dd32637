#include "context.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "number.h"

static int same(const char *value, const char *name)
{
    for (; *value != '\0' && *name != '\0'; value++, name++) {
        if ((*value == '-' ? '_' : *value) != *name) {
            return 0;
        }
    }
    return *value == *name;
}

int settings_parse(settings *self, const char *name, const char *value, text *expected)
{
    if (strcmp(name, "model") == 0) {
        self->model = same(value, "pairwise") ? MODEL_PAIRWISE
                      : same(value, "group")  ? MODEL_GROUP
                      : same(value, "limit")  ? MODEL_LIMIT
                                              : MODEL_NONE;
        text_string(expected, "pairwise, group or limit");
        return self->has_model = self->model != MODEL_NONE;
    }
    if (strcmp(name, "group_size") == 0) {
        text_string(expected, "an integer from 2 to 2147483647");
        return self->has_group_size =
                   parse_integer(value, &self->group_size) && self->group_size >= 2 && self->group_size <= INT32_MAX;
    }
    if (strcmp(name, "scale") == 0) {
        self->scale = same(value, "none") ? GRPOALIGN_SCALE_NONE : GRPOALIGN_SCALE_STD;
        text_string(expected, "std or none");
        return self->has_scale = same(value, "none") || same(value, "std");
    }
    if (strcmp(name, "epsilon") == 0) {
        text_string(expected, "a number >= 0");
        return self->has_epsilon = parse_number(value, &self->epsilon) && self->epsilon >= 0.0;
    }
    if (strcmp(name, "ddof") == 0) {
        int64_t ddof = -1;
        text_string(expected, "0 or 1");
        self->has_ddof = parse_integer(value, &ddof) && (ddof == 0 || ddof == 1);
        self->ddof = (int32_t)ddof;
        return self->has_ddof;
    }
    if (strcmp(name, "penalty") == 0) {
        self->penalty = same(value, "reverse_kl")  ? GRPOALIGN_PENALTY_REVERSE_KL
                        : same(value, "direct_kl") ? GRPOALIGN_PENALTY_DIRECT_KL
                                                   : 0;
        text_string(expected, "reverse_kl (KL(pi_ref||pi)) or direct_kl (KL(pi||pi_ref))");
        return self->has_penalty = self->penalty != 0;
    }
    if (strcmp(name, "beta") == 0) {
        text_string(expected, "a number > 0");
        return self->has_beta = parse_number(value, &self->beta) && self->beta > 0.0;
    }
    return -1;
}

void settings_fill(settings *self, const settings *other)
{
    if (!self->has_model && other->has_model) {
        self->has_model = 1;
        self->model = other->model;
    }
    if (!self->has_group_size && other->has_group_size) {
        self->has_group_size = 1;
        self->group_size = other->group_size;
    }
    if (!self->has_scale && other->has_scale) {
        self->has_scale = 1;
        self->scale = other->scale;
    }
    if (!self->has_epsilon && other->has_epsilon) {
        self->has_epsilon = 1;
        self->epsilon = other->epsilon;
    }
    if (!self->has_ddof && other->has_ddof) {
        self->has_ddof = 1;
        self->ddof = other->ddof;
    }
    if (!self->has_penalty && other->has_penalty) {
        self->has_penalty = 1;
        self->penalty = other->penalty;
    }
    if (!self->has_beta && other->has_beta) {
        self->has_beta = 1;
        self->beta = other->beta;
    }
}

void context_free(context *self)
{
    free(self->id);
    for (int64_t o = 0; self->labels != NULL && o < self->outcomes; o++) {
        free(self->labels[o]);
    }
    free(self->labels);
    free(self->reference);
    free(self->reference_logprobs);
    free(self->margins);
    free(self->rewards);
    free(self->reward_variances);
    free(self->support);
    free(self->distribution);
    memset(self, 0, sizeof *self);
}

/* ---- consistency ------------------------------------------------------------------------------------------ */

const char *context_contradiction(const context *c)
{
    const settings *s = &c->settings;
    if (!s->has_model) {
        return "model is missing: expected pairwise, group or limit in the record or as --model";
    }
    if (!s->has_penalty) {
        return "penalty is missing: expected reverse_kl or direct_kl in the record or as --penalty";
    }
    if (!s->has_beta) {
        return "beta is missing: expected a number > 0 in the record or as --beta";
    }
    if (c->reference != NULL && c->reference_logprobs != NULL) {
        return "reference and reference_logprobs contradict each other: expected one of them";
    }
    if (c->margins != NULL && (c->rewards != NULL || c->support != NULL)) {
        return "margins (or wins) and rewards contradict each other: expected one of them";
    }
    if (c->rewards != NULL && c->support != NULL) {
        return "rewards and support contradict each other: expected one of them";
    }
    if (s->model != MODEL_PAIRWISE && c->margins != NULL) {
        return "margins (or wins) belong to the pairwise model: expected rewards";
    }
    if (s->model != MODEL_GROUP && c->support != NULL) {
        return "support and distribution belong to the group model";
    }
    if (s->model != MODEL_LIMIT && c->reward_variances != NULL) {
        return "reward_variances belong to the limit model";
    }
    if (s->model != MODEL_GROUP && s->has_group_size) {
        return "group_size belongs to the group model: expected none here";
    }
    if (s->model == MODEL_GROUP && !s->has_group_size) {
        return "group_size is missing: the group model expects an integer >= 2";
    }
    if (s->model == MODEL_PAIRWISE && (s->has_scale || s->has_epsilon || s->has_ddof)) {
        return "scale, epsilon and ddof do not belong to the pairwise model: expected none of them";
    }
    if (s->model == MODEL_LIMIT && s->has_ddof && s->ddof != 0) {
        return "ddof has no meaning in the limit of large groups: expected none";
    }
    if (s->has_scale && s->scale == GRPOALIGN_SCALE_NONE &&
        ((s->has_epsilon && s->epsilon > 0.0) || (s->has_ddof && s->ddof != 0))) {
        return "epsilon and ddof belong to the std: expected none of them with scale none";
    }
    if (c->margins == NULL && c->rewards == NULL && c->support == NULL) {
        return s->model == MODEL_PAIRWISE ? "nothing to solve: the pairwise model expects margins, wins or rewards"
               : s->model == MODEL_GROUP  ? "nothing to solve: the group model expects rewards, or support and "
                                            "distribution"
                                          : "nothing to solve: the limit model expects rewards";
    }
    return NULL;
}

/* ---- handles --------------------------------------------------------------------------------------------------- */

static grpoalign_status build_model(const context *c, grpoalign_model **model, grpoalign_error *error)
{
    const settings *s = &c->settings;
    grpoalign_reward_options options;
    grpoalign_reward_options_init(&options, sizeof options);
    options.scale = s->has_scale ? s->scale : GRPOALIGN_SCALE_STD;
    options.epsilon = s->has_epsilon ? s->epsilon : 0.0;
    options.ddof = s->has_ddof ? s->ddof : 0;
    if (c->margins != NULL) {
        return grpoalign_model_new_pairwise(c->margins, c->outcomes, c->outcomes, model, error);
    }
    if (s->model == MODEL_PAIRWISE) {
        return grpoalign_model_new_ranked(c->rewards, c->outcomes, model, error);
    }
    if (s->model == MODEL_LIMIT) {
        return grpoalign_model_new_limit(c->rewards, c->reward_variances, c->outcomes, &options, model, error);
    }
    if (c->support != NULL) {
        return grpoalign_model_new_group_random(c->support, c->levels, c->distribution, c->outcomes, c->levels,
                                                s->group_size, &options, model, error);
    }
    return grpoalign_model_new_group(c->rewards, c->outcomes, s->group_size, &options, model, error);
}

static grpoalign_status build_reference(const context *c, grpoalign_reference **reference, grpoalign_error *error)
{
    if (c->reference_logprobs != NULL) {
        return grpoalign_reference_new_log(c->reference_logprobs, c->outcomes, reference, error);
    }
    if (c->reference != NULL) {
        return grpoalign_reference_new(c->reference, c->outcomes, reference, error);
    }
    return grpoalign_reference_new_uniform(c->outcomes, reference, error);
}

grpoalign_status handles_open(const context *self, handles *out, grpoalign_error *error)
{
    memset(out, 0, sizeof *out);
    grpoalign_status status = build_reference(self, &out->reference, error);
    if (status >= 0) {
        status = build_model(self, &out->model, error);
    }
    if (status >= 0) {
        status = grpoalign_penalty_new(self->settings.penalty, &out->penalty, error);
    }
    return status;
}

void handles_close(handles *self)
{
    grpoalign_penalty_free(self->penalty);
    grpoalign_reference_free(self->reference);
    grpoalign_model_free(self->model);
    memset(self, 0, sizeof *self);
}
