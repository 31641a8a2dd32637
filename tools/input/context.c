#include "input/context.h"

#include <stdlib.h>
#include <string.h>

void context_free(context *self)
{
    double *arrays[] = {self->reference,
                        self->reference_logprobs,
                        self->margins,
                        self->rewards,
                        self->reward_variances,
                        self->support,
                        self->distribution,
                        self->reward_lists,
                        self->reward_weights,
                        self->weights,
                        self->table_success,
                        self->table_failure,
                        self->group,
                        self->lengths,
                        self->observed};
    for (int64_t o = 0; self->labels != NULL && o < self->outcomes; o++) {
        free(self->labels[o]);
    }
    for (size_t k = 0; k < sizeof arrays / sizeof *arrays; k++) {
        free(arrays[k]);
    }
    free(self->token_offsets);
    free(self->tokens);
    metrics_free(&self->metrics);
    free(self->labels);
    free(self->id);
    memset(self, 0, sizeof *self);
}

void context_imply(context *self)
{
    if (self->margins != NULL && !is_given(&self->settings, SETTING_MODEL)) {
        setting_give(&self->settings, SETTING_MODEL, MODEL_PAIRWISE);
    }
    if (self->table_success != NULL && !is_given(&self->settings, SETTING_MODEL)) {
        setting_give(&self->settings, SETTING_MODEL, MODEL_GROUP);
    }
    if (self->table_success != NULL && !is_given(&self->settings, SETTING_GROUP_SIZE)) {
        setting_give(&self->settings, SETTING_GROUP_SIZE, (double)self->table_size);
    }
}

/* What is wrong with the data, for the model. */
static const char *data_clash(const context *c)
{
    int32_t model = c->settings.model;
    if (c->reference != NULL && c->reference_logprobs != NULL) {
        return "reference and reference_logprobs contradict each other: expected one of them";
    }
    if (c->margins != NULL && (c->rewards != NULL || c->support != NULL)) {
        return "margins (or wins) and rewards contradict each other: expected one of them";
    }
    if (c->rewards != NULL && c->support != NULL) {
        return "rewards and support contradict each other: expected one of them";
    }
    if (model != MODEL_PAIRWISE && c->margins != NULL) {
        return "margins (or wins) belong to the pairwise model: expected rewards";
    }
    if (model != MODEL_GROUP && c->support != NULL) {
        return "support and distribution belong to the group model";
    }
    if (model == MODEL_PAIRWISE && c->reward_lists != NULL && c->reward_count > 1) {
        return "several rewards belong to the group and limit models: add them up first";
    }
    if (c->reward_weights != NULL && c->reward_lists == NULL) {
        return "reward_weights belong to several rewards: expected rewards to be a list of lists";
    }
    if (c->reward_lists != NULL && c->reward_variances != NULL) {
        return "reward_variances belong to one reward: expected none beside several";
    }
    if (c->settings.aggregation == NORMALIZE_THEN_SUM && is_in_batch(&c->settings)) {
        return "aggregation normalize_then_sum normalises every reward by its group: expected "
               "scale std, std_of_others, mean or none";
    }
    if (c->table_success != NULL) {
        const unsigned settings_of_std = 1U << SETTING_SCALE | 1U << SETTING_EPSILON |
                                         1U << SETTING_DDOF | 1U << SETTING_BASELINE |
                                         1U << SETTING_EPSILON_PLACE | 1U << SETTING_ZERO_VARIANCE;
        if (model != MODEL_GROUP || c->support != NULL || c->reward_count > 1) {
            return "group_table belongs to the group model with one reward, 0 or 1, per outcome";
        }
        if ((c->settings.given & settings_of_std) != 0 && !is_given(&c->settings, SETTING_PRESET)) {
            return "group_table says what a group makes of its rewards: expected no scale, "
                   "epsilon, "
                   "ddof, baseline, epsilon_place or zero_variance beside it";
        }
        if (c->table_size != c->settings.group_size) {
            return "group_table: success and failure must have group_size numbers each";
        }
    }
    if (c->group != NULL) {
        if (model != MODEL_GROUP || is_in_batch(&c->settings) || c->reward_lists != NULL) {
            return "group belongs to the group model with one reward, normalised by its own group";
        }
        if (c->group_count != c->settings.group_size) {
            return "group must have group_size numbers, the rewards of its members";
        }
        for (int64_t i = 0; c->table_success != NULL && i < c->group_count; i++) {
            if (c->group[i] != 0.0 && c->group[i] != 1.0) {
                return "group must have rewards 0 and 1 beside group_table";
            }
        }
    }
    if (c->weighs_by_length && c->lengths == NULL) {
        return "weights per_sequence are 1/length: lengths are missing";
    }
    if (c->tokens != NULL && c->settings.decisions > 1.0) {
        return "decisions and tokens contradict each other: expected one of them";
    }
    if (model != MODEL_LIMIT && c->reward_variances != NULL) {
        return "reward_variances belong to the limit model";
    }
    return NULL;
}

static const char *data_lack(const context *c)
{
    static const char *const expected[] = {
        [MODEL_PAIRWISE] = "nothing to solve: the pairwise model expects margins, wins or rewards",
        [MODEL_GROUP] =
            "nothing to solve: the group model expects rewards, or support and distribution",
        [MODEL_LIMIT] = "nothing to solve: the limit model expects rewards"};
    return c->margins == NULL && c->rewards == NULL && c->support == NULL
               ? expected[c->settings.model]
               : NULL;
}

const char *context_contradiction(const context *self)
{
    const char *wrong = settings_lack(&self->settings);
    wrong = wrong != NULL ? wrong : data_clash(self);
    wrong = wrong != NULL ? wrong : settings_clash(&self->settings);
    return wrong != NULL ? wrong : data_lack(self);
}
