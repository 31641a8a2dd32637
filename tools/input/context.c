#include "input/context.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"

static int same(const char *value, const char *name)
{
    for (; *value != '\0' && *name != '\0'; value++, name++) {
        if ((*value == '-' ? '_' : *value) != *name) {
            return 0;
        }
    }
    return *value == *name;
}

/* A word and the number it stands for; a list ends with NULL. */
typedef struct choice {
    const char *word;
    int32_t number;
} choice;

static const choice MODEL_CHOICES[] = {
    {"pairwise", MODEL_PAIRWISE}, {"group", MODEL_GROUP}, {"limit", MODEL_LIMIT}, {NULL, 0}};
static const choice SCALE_CHOICES[] = {
    {"std", GRPOALIGN_SCALE_STD},
    {"none", GRPOALIGN_SCALE_NONE},
    {"std_of_others", GRPOALIGN_SCALE_STD_OF_OTHERS},
    {"mean", GRPOALIGN_SCALE_MEAN},
    {"batch_std", SCALE_BATCH + GRPOALIGN_BATCH_STD_OF_REWARDS},
    {"batch_std_of_advantages", SCALE_BATCH + GRPOALIGN_BATCH_STD_OF_ADVANTAGES},
    {"batch", SCALE_BATCH + GRPOALIGN_BATCH_STD_OF_REWARDS}, /* TRL's word */
    {NULL, 0}};
static const choice BASELINE_CHOICES[] = {{"mean", GRPOALIGN_BASELINE_MEAN},
                                          {"leave_one_out", GRPOALIGN_BASELINE_LEAVE_ONE_OUT},
                                          {NULL, 0}};
static const choice PLACE_CHOICES[] = {
    {"outside", GRPOALIGN_EPSILON_OUTSIDE}, {"inside", GRPOALIGN_EPSILON_INSIDE}, {NULL, 0}};
static const choice ZERO_VARIANCE_CHOICES[] = {
    {"keep", GRPOALIGN_ZERO_VARIANCE_KEEP}, {"drop", GRPOALIGN_ZERO_VARIANCE_DROP}, {NULL, 0}};
/* The number of a word, and all words of the list for a message. Returns 0 when there is no such
 * word. */
static int choose(const choice *list, const char *value, int32_t *number, text *expected)
{
    int found = 0;
    for (const choice *c = list; c->word != NULL; c++) {
        text_format(expected, "%s%s", c == list ? "" : c[1].word == NULL ? " or " : ", ", c->word);
        if (same(value, c->word)) {
            *number = c->number;
            found = 1;
        }
    }
    return found;
}

static const char *word_of(const choice *list, int32_t number)
{
    for (; list->word != NULL; list++) {
        if (list->number == number) {
            return list->word;
        }
    }
    return "unknown";
}

const char *scale_name(int32_t scale)
{
    return word_of(SCALE_CHOICES, scale);
}

/* The same for penalties, whose words are the library's. */
static int choose_penalty(const char *value, int32_t *kind, text *expected)
{
    choice list[32] = {{NULL, 0}};
    int count = 0;
    for (int32_t k = GRPOALIGN_PENALTY_REVERSE_KL;
         count < 31 && strcmp(grpoalign_penalty_name(k), "unknown") != 0; k++) {
        list[count++] = (choice){grpoalign_penalty_name(k), k};
    }
    return choose(list, value, kind, expected);
}

const char *penalty_symbol(int32_t penalty)
{
    switch (penalty) {
    case GRPOALIGN_PENALTY_REVERSE_KL:
        return "KL(pi_ref||pi)";
    case GRPOALIGN_PENALTY_DIRECT_KL:
        return "KL(pi||pi_ref)";
    case GRPOALIGN_PENALTY_NONE:
        return "nothing";
    case GRPOALIGN_PENALTY_KL_IN_REWARD:
        return "KL(pi||pi_ref) in the reward";
    case GRPOALIGN_PENALTY_TOTAL_VARIATION:
        return "sum |pi - pi_ref|";
    case GRPOALIGN_PENALTY_SQUARED_LOG_RATIO:
        return "E[l^2]/2";
    case GRPOALIGN_PENALTY_CHI_SQUARED:
        return "chi^2(pi||pi_ref)/2";
    case GRPOALIGN_PENALTY_JENSEN_SHANNON:
        return "JS(pi, pi_ref)";
    case GRPOALIGN_PENALTY_ALPHA:
        return "D_alpha(pi||pi_ref)";
    case GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED:
        return "KL(pi_ref||pi), clamped";
    case GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED:
        return "KL(pi||pi_ref), clamped";
    default:
        return "?";
    }
}

int settings_is_word(const char *name)
{
    static const char *const words[] = {"model",         "scale",   "baseline", "epsilon_place",
                                        "zero_variance", "penalty", "preset"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(name, words[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

static int parse_preset(settings *self, const char *value, text *expected)
{
    self->preset.struct_size = sizeof self->preset;
    text_string(expected, "the name of a preset (grpoalign presets lists them)");
    return self->has_preset = grpoalign_preset(value, &self->preset, NULL) >= 0;
}

int settings_parse(settings *self, const char *name, const char *value, text *expected)
{
    if (strcmp(name, "model") == 0) {
        int32_t model = MODEL_NONE;
        self->has_model = choose(MODEL_CHOICES, value, &model, expected);
        self->model = model;
        return self->has_model;
    }
    if (strcmp(name, "group_size") == 0) {
        text_string(expected, "an integer from 2 to 2147483647");
        return self->has_group_size = parse_integer(value, &self->group_size) &&
                                      self->group_size >= 2 && self->group_size <= INT32_MAX;
    }
    if (strcmp(name, "scale") == 0) {
        return self->has_scale = choose(SCALE_CHOICES, value, &self->scale, expected);
    }
    if (strcmp(name, "baseline") == 0) {
        return self->has_baseline = choose(BASELINE_CHOICES, value, &self->baseline, expected);
    }
    if (strcmp(name, "epsilon_place") == 0) {
        return self->has_epsilon_place =
                   choose(PLACE_CHOICES, value, &self->epsilon_place, expected);
    }
    if (strcmp(name, "zero_variance") == 0) {
        return self->has_zero_variance =
                   choose(ZERO_VARIANCE_CHOICES, value, &self->zero_variance, expected);
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
        return self->has_penalty = choose_penalty(value, &self->penalty, expected);
    }
    if (strcmp(name, "alpha") == 0) {
        text_string(expected, "a number from 0 to 2");
        return self->has_alpha =
                   parse_number(value, &self->alpha) && self->alpha >= 0.0 && self->alpha <= 2.0;
    }
    if (strcmp(name, "beta") == 0) {
        text_string(expected, "a number > 0 (for none, the penalty none)");
        return self->has_beta = parse_number(value, &self->beta) && self->beta > 0.0;
    }
    if (strcmp(name, "preset") == 0) {
        return parse_preset(self, value, expected);
    }
    return -1;
}

/* Takes one setting from `other` where it is missing. */
#define TAKE(name)                                                                                 \
    do {                                                                                           \
        if (!self->has_##name && other->has_##name) {                                              \
            self->has_##name = 1;                                                                  \
            self->name = other->name;                                                              \
        }                                                                                          \
    } while (0)

void settings_fill(settings *self, const settings *other)
{
    TAKE(model);
    TAKE(group_size);
    TAKE(scale);
    TAKE(epsilon);
    TAKE(ddof);
    TAKE(baseline);
    TAKE(epsilon_place);
    TAKE(zero_variance);
    TAKE(penalty);
    TAKE(alpha);
    TAKE(beta);
    TAKE(preset);
}

void settings_fill_preset(settings *self, int has_margins)
{
    const grpoalign_convention *p = &self->preset;
    if (!self->has_preset) {
        return;
    }
    settings from = {.has_model = 1, .model = has_margins ? MODEL_PAIRWISE : MODEL_GROUP};
    settings *other = &from;
    TAKE(model);
    /* Where the KL term is off by default it is the trainer's only once a beta is given. */
    from.has_penalty = 1;
    from.penalty = p->beta == 0.0 && !self->has_beta ? GRPOALIGN_PENALTY_NONE : p->penalty;
    int own_penalty = !self->has_penalty && from.penalty == p->penalty;
    TAKE(penalty);
    from.has_beta = p->beta > 0.0 && self->penalty != GRPOALIGN_PENALTY_NONE;
    from.beta = p->beta;
    TAKE(beta);
    if (self->model == MODEL_PAIRWISE) {
        return;
    }
    from.has_scale = 1;
    from.scale = p->scale;
    TAKE(scale);
    int groups = self->model == MODEL_GROUP, same_scale = self->scale == p->scale;
    int batch = is_in_batch(self);
    from.has_baseline = same_scale || batch || self->scale == GRPOALIGN_SCALE_NONE ||
                        self->scale == GRPOALIGN_SCALE_STD;
    from.baseline = p->baseline;
    settings_imply_baseline(self);
    TAKE(baseline);
    /* Trainers that offer both add the same epsilon to the std of a group and to that of the batch.
     */
    int same_epsilon = same_scale || (batch && p->scale == GRPOALIGN_SCALE_STD &&
                                      p->epsilon_place == GRPOALIGN_EPSILON_OUTSIDE);
    from.has_epsilon = same_epsilon && p->epsilon > 0.0;
    from.epsilon = p->epsilon;
    TAKE(epsilon);
    from.has_epsilon_place = same_scale && p->epsilon_place != 0;
    from.epsilon_place = p->epsilon_place;
    TAKE(epsilon_place);
    from.has_ddof = same_scale && p->ddof != 0 && groups;
    from.ddof = p->ddof;
    TAKE(ddof);
    from.has_zero_variance = groups && p->zero_variance != 0;
    from.zero_variance = p->zero_variance;
    TAKE(zero_variance);
    from.has_group_size = groups && p->group_size >= 2;
    from.group_size = p->group_size;
    TAKE(group_size);
    /* What a KL in the reward amounts to before it is normalised depends on how it is. */
    int own_place = self->scale == p->scale && self->baseline == p->baseline;
    if (own_penalty && p->placement == GRPOALIGN_PLACEMENT_REWARD_BEFORE && !own_place) {
        self->penalty = GRPOALIGN_PENALTY_KL_IN_REWARD;
    }
}

#undef TAKE

void settings_imply_baseline(settings *self)
{
    if (self->scale == GRPOALIGN_SCALE_STD_OF_OTHERS && !self->has_baseline) {
        self->has_baseline = 1;
        self->baseline = GRPOALIGN_BASELINE_LEAVE_ONE_OUT;
    }
}

int has_effect(const settings *self)
{
    return self->penalty != GRPOALIGN_PENALTY_NONE;
}

int is_in_batch(const settings *self)
{
    return self->has_scale && self->scale >= SCALE_BATCH;
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

/* ---- consistency
 * ------------------------------------------------------------------------------------------ */

const char *context_contradiction(const context *c)
{
    const settings *s = &c->settings;
    if (!s->has_model) {
        return "model is missing: expected pairwise, group or limit in the record or as --model";
    }
    if (!s->has_penalty) {
        return "penalty is missing: expected reverse_kl, direct_kl or another in the record or as "
               "--penalty";
    }
    if (!s->has_beta && has_effect(s)) {
        return "beta is missing: expected a number > 0 in the record or as --beta";
    }
    if (s->has_alpha != (s->penalty == GRPOALIGN_PENALTY_ALPHA)) {
        return s->has_alpha ? "alpha belongs to the penalty alpha: expected none here"
                            : "alpha is missing: the penalty alpha expects a number from 0 to 2";
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
        return s->has_preset ? "group_size is missing: the preset has none (the trainer's default "
                               "is a group of one)"
                             : "group_size is missing: the group model expects an integer >= 2";
    }
    if (s->model == MODEL_PAIRWISE &&
        (s->has_scale || s->has_epsilon || s->has_ddof || s->has_baseline || s->has_epsilon_place ||
         s->has_zero_variance)) {
        return "scale, epsilon, ddof, baseline, epsilon_place and zero_variance do not belong to "
               "the pairwise model: "
               "expected none of them";
    }
    if (s->model == MODEL_LIMIT && s->has_ddof && s->ddof != 0) {
        return "ddof has no meaning in the limit of large groups: expected none";
    }
    if (s->model == MODEL_LIMIT && s->has_zero_variance && s->zero_variance != 0) {
        return "zero_variance has no meaning in the limit of large groups, where all have "
               "variance: expected none";
    }
    if (s->has_scale && s->scale == GRPOALIGN_SCALE_NONE &&
        ((s->has_epsilon && s->epsilon > 0.0) || (s->has_ddof && s->ddof != 0))) {
        return "epsilon and ddof belong to the std: expected none of them with scale none";
    }
    if (s->has_scale && s->scale != GRPOALIGN_SCALE_STD &&
        ((s->has_ddof && s->ddof != 0) || (s->has_epsilon_place && s->epsilon_place != 0))) {
        return "ddof and epsilon_place belong to scale std: expected none of them with another";
    }
    if (is_in_batch(s) && s->has_zero_variance &&
        s->zero_variance != GRPOALIGN_ZERO_VARIANCE_KEEP) {
        return "zero_variance drop does not go with the std of a batch: expected keep, or none";
    }
    int others = s->has_baseline && s->baseline == GRPOALIGN_BASELINE_LEAVE_ONE_OUT;
    if (s->has_scale && s->scale == GRPOALIGN_SCALE_STD_OF_OTHERS && !others) {
        return "scale std_of_others goes with baseline leave_one_out: expected it";
    }
    if (s->has_scale && s->scale == GRPOALIGN_SCALE_MEAN && others) {
        return "scale mean goes with baseline mean: expected it, or none";
    }
    if (c->margins == NULL && c->rewards == NULL && c->support == NULL) {
        return s->model == MODEL_PAIRWISE
                   ? "nothing to solve: the pairwise model expects margins, wins or rewards"
               : s->model == MODEL_GROUP
                   ? "nothing to solve: the group model expects rewards, or support and "
                     "distribution"
                   : "nothing to solve: the limit model expects rewards";
    }
    return NULL;
}

/* ---- handles
 * ---------------------------------------------------------------------------------------------------
 */

static grpoalign_status build_model(const context *c, grpoalign_model **model,
                                    grpoalign_error *error)
{
    const settings *s = &c->settings;
    grpoalign_reward_options options;
    grpoalign_reward_options_init(&options, sizeof options);
    options.scale = s->has_scale ? s->scale : GRPOALIGN_SCALE_STD;
    options.epsilon = s->has_epsilon ? s->epsilon : 0.0;
    options.ddof = s->has_ddof ? s->ddof : 0;
    options.baseline = s->has_baseline ? s->baseline : GRPOALIGN_BASELINE_MEAN;
    options.epsilon_place = s->has_epsilon_place ? s->epsilon_place : GRPOALIGN_EPSILON_OUTSIDE;
    options.zero_variance = s->has_zero_variance ? s->zero_variance : GRPOALIGN_ZERO_VARIANCE_KEEP;
    if (c->margins != NULL) {
        return grpoalign_model_new_pairwise(c->margins, c->outcomes, c->outcomes, NULL, model,
                                            error);
    }
    if (s->model == MODEL_PAIRWISE) {
        return grpoalign_model_new_ranked(c->rewards, c->outcomes, NULL, model, error);
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

static grpoalign_status build_reference(const context *c, grpoalign_reference **reference,
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

grpoalign_status handles_open(const context *self, handles *out, grpoalign_error *error)
{
    grpoalign_model *model = NULL;
    grpoalign_penalty *penalty = NULL;
    memset(out, 0, sizeof *out);
    grpoalign_status status = build_reference(self, &out->reference, error);
    if (status >= 0) {
        status = build_model(self, &model, error);
    }
    if (status >= 0) {
        const settings *s = &self->settings;
        grpoalign_penalty_options options = GRPOALIGN_PENALTY_OPTIONS_INIT;
        options.alpha = s->penalty == GRPOALIGN_PENALTY_ALPHA ? s->alpha : 0.0;
        status = grpoalign_penalty_new(s->penalty, &options, &penalty, error);
    }
    if (status >= 0) {
        status = grpoalign_problem_new(model, penalty, out->reference, NULL, &out->problem, error);
    }
    grpoalign_penalty_free(penalty);
    grpoalign_model_free(model);
    return status;
}

void handles_close(handles *self)
{
    grpoalign_problem_free(self->problem);
    grpoalign_reference_free(self->reference);
    memset(self, 0, sizeof *self);
}
