#include "input/settings.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/number.h"

/* ---- values ---------------------------------------------------------------------------------- */

static const choice MODELS[] = {
    {"pairwise", MODEL_PAIRWISE}, {"group", MODEL_GROUP}, {"limit", MODEL_LIMIT}, {NULL, 0}};
static const choice SCALES[] = {
    {"std", GRPOALIGN_SCALE_STD},
    {"none", GRPOALIGN_SCALE_NONE},
    {"std_of_others", GRPOALIGN_SCALE_STD_OF_OTHERS},
    {"mean", GRPOALIGN_SCALE_MEAN},
    {"batch_std", SCALE_BATCH + GRPOALIGN_BATCH_STD_OF_REWARDS},
    {"batch_std_of_advantages", SCALE_BATCH + GRPOALIGN_BATCH_STD_OF_ADVANTAGES},
    {"batch", SCALE_BATCH + GRPOALIGN_BATCH_STD_OF_REWARDS}, /* TRL's word */
    {NULL, 0}};
static const choice BASELINES[] = {{"mean", GRPOALIGN_BASELINE_MEAN},
                                   {"leave_one_out", GRPOALIGN_BASELINE_LEAVE_ONE_OUT},
                                   {NULL, 0}};
static const choice PLACES[] = {
    {"outside", GRPOALIGN_EPSILON_OUTSIDE}, {"inside", GRPOALIGN_EPSILON_INSIDE}, {NULL, 0}};
static const choice ZERO_VARIANCES[] = {
    {"keep", GRPOALIGN_ZERO_VARIANCE_KEEP}, {"drop", GRPOALIGN_ZERO_VARIANCE_DROP}, {NULL, 0}};

static const choice AGGREGATIONS[] = {{"sum_then_normalize", SUM_THEN_NORMALIZE},
                                      {"normalize_then_sum", NORMALIZE_THEN_SUM},
                                      {NULL, 0}};

static int read_penalty_name(const char *value, int32_t *into, text *expected);

/* One part of a sum, NAME=NUMBER. */
static int read_part(const char *part, size_t length, mixture *into, int *penalties)
{
    char name[64], number[64];
    const char *equals = memchr(part, '=', length);
    size_t before = equals != NULL ? (size_t)(equals - part) : 0,
           after = equals != NULL ? length - before - 1 : 0;
    text ignored = {0};
    double coefficient;
    int32_t kind = 0;
    if (before == 0 || before >= sizeof name || after == 0 || after >= sizeof number) {
        return 0;
    }
    memcpy(name, part, before);
    memcpy(number, equals + 1, after);
    name[before] = number[after] = '\0';
    int is_entropy = same_name(name, "entropy");
    int good = parse_number(number, &coefficient) && coefficient > 0.0 && isfinite(coefficient) &&
               (is_entropy || read_penalty_name(name, &kind, &ignored));
    text_free(&ignored);
    double *at = is_entropy ? &into->entropy : &into->coefficients[good ? kind : 0];
    if (!good || kind >= PENALTY_KINDS || *at != 0.0) {
        return 0;
    }
    *at = coefficient;
    *penalties += !is_entropy;
    return 1;
}

/* A sum, NAME=NUMBER,NAME=NUMBER...: the penalties and the bonus on the entropy. */
static int read_sum(const char *value, settings *into, text *expected)
{
    mixture parts = {{0.0}, 0.0};
    int penalties = 0;
    text_clear(expected);
    text_string(expected,
                "penalties that hold every outcome, each once and with a coefficient > 0, "
                "and perhaps entropy beside them");
    for (const char *part = value, *end; *part != '\0'; part = *end != '\0' ? end + 1 : end) {
        end = strchr(part, ',') != NULL ? strchr(part, ',') : part + strlen(part);
        if (!read_part(part, (size_t)(end - part), &parts, &penalties)) {
            return 0;
        }
    }
    into->penalty = GRPOALIGN_PENALTY_SUM;
    into->parts = parts;
    return penalties > 0;
}

/* The penalties and their words are the library's. */
static int read_penalty(void *into, const char *value, text *expected)
{
    settings *self = (settings *)((char *)into - offsetof(settings, penalty));
    return strchr(value, '=') != NULL ? read_sum(value, self, expected)
                                      : read_penalty_name(value, into, expected);
}

static int read_penalty_name(const char *value, int32_t *into, text *expected)
{
    enum { MOST = 63 };
    choice words[MOST + 1] = {{NULL, 0}};
    int32_t kind = 0;
    for (int k = 0; k < MOST && (kind = grpoalign_penalty_kind_at(k)) != 0; k++) {
        words[k] = (choice){grpoalign_penalty_name(kind), kind};
    }
    return choose(words, value, into, expected);
}

static int read_preset(void *into, const char *value, text *expected)
{
    grpoalign_convention *preset = into;
    (void)expected;
    preset->struct_size = sizeof *preset;
    return grpoalign_preset(value, preset, NULL) >= 0;
}

/* ---- what goes with a preset ----------------------------------------------------------------- */

static int has_scale_of(const settings *s, const grpoalign_convention *p)
{
    return s->scale == p->scale;
}

static int goes_with_group_size(const settings *s, const grpoalign_convention *p)
{
    (void)s;
    return p->group_size >= 2;
}

/* The std of others has one baseline only. */
static int goes_with_baseline(const settings *s, const grpoalign_convention *p)
{
    return s->scale != GRPOALIGN_SCALE_STD_OF_OTHERS &&
           (has_scale_of(s, p) || s->scale != GRPOALIGN_SCALE_MEAN);
}

/* Trainers that offer both add the same epsilon to the std of a group and to that of the batch. */
static int goes_with_epsilon(const settings *s, const grpoalign_convention *p)
{
    return has_scale_of(s, p) || (is_in_batch(s) && p->scale == GRPOALIGN_SCALE_STD &&
                                  p->epsilon_place == GRPOALIGN_EPSILON_OUTSIDE);
}

static int has_beta(const settings *s, const grpoalign_convention *p)
{
    (void)s;
    return p->beta > 0.0;
}

/* ---- the table ------------------------------------------------------------------------------- */

#define BIT(number) (1U << (unsigned)(number))

/* Models, scales and penalties, as bits. */
enum {
    PAIRS = 1 << MODEL_PAIRWISE,
    GROUPS = 1 << MODEL_GROUP,
    LIMITS = 1 << MODEL_LIMIT,
    STD = 1 << GRPOALIGN_SCALE_STD,
    UNSCALED = 1 << GRPOALIGN_SCALE_NONE,
    OTHERS = 1 << GRPOALIGN_SCALE_STD_OF_OTHERS,
    MEAN = 1 << GRPOALIGN_SCALE_MEAN,
    BATCH = 3 << SCALE_BATCH,
    NO_PENALTY = 1 << GRPOALIGN_PENALTY_NONE,
    REVERSE = 1 << GRPOALIGN_PENALTY_REVERSE_KL,
    SUM = 1 << GRPOALIGN_PENALTY_SUM,
    ALPHA = 1 << GRPOALIGN_PENALTY_ALPHA
};

#define FIELD(name)     .field = offsetof(settings, name)
#define IN_PRESET(name) .preset = offsetof(grpoalign_convention, name)

typedef struct setting {
    parameter read;                /* key, values, field of the settings */
    int models, scales, penalties; /* that it belongs to; 0: all */
    int one_in_batch;              /* contexts that share their std share it too */
    size_t preset;                 /* the field of a preset; 0: none */
    /* Whether the preset's goes with what is given; NULL: always. */
    int (*goes)(const settings *s, const grpoalign_convention *p);
    const char *value, *help; /* of the option; NULL: another's help says it */
} setting;

/* Presets fill the settings in this order: what `goes` asks of others is above. */
/* clang-format off */
static const setting TABLE[SETTINGS] = {
[SETTING_MODEL] = {
    {"model", SET_WORD, FIELD(model), .choices = MODELS},
    .value = "pairwise|group|limit", .help = "the preference model"},
[SETTING_GROUP_SIZE] = {
    {"group_size", SET_INTEGER, FIELD(group_size), .least = 2, .most = INT32_MAX},
    .models = GROUPS, IN_PRESET(group_size), .goes = goes_with_group_size,
    .value = "G", .help = "members of a group (group)"},
[SETTING_SCALE] = {
    {"scale", SET_WORD, FIELD(scale), .choices = SCALES},
    .models = GROUPS | LIMITS, .one_in_batch = 1, IN_PRESET(scale),
    .value = "std|none|std-of-others|mean",
    .help = "what the centred reward is divided by (default std); batch-std or\n"
            "batch-std-of-advantages: the std of all contexts of a file (solve, explain)"},
[SETTING_BASELINE] = {
    {"baseline", SET_WORD, FIELD(baseline), .choices = BASELINES},
    .models = GROUPS | LIMITS, IN_PRESET(baseline), .goes = goes_with_baseline,
    .value = "mean|leave-one-out",
    .help = "what the reward is compared with (default mean, of the whole group)"},
[SETTING_EPSILON] = {
    {"epsilon", SET_NUMBER, FIELD(epsilon), .high = INFINITY, .expected = "a number >= 0"},
    .models = GROUPS | LIMITS, .scales = ~UNSCALED, .one_in_batch = 1,
    IN_PRESET(epsilon), .goes = goes_with_epsilon,
    .value = "E", .help = "added to the std, or the mean (default 0)"},
[SETTING_EPSILON_PLACE] = {
    {"epsilon_place", SET_WORD, FIELD(epsilon_place), .choices = PLACES},
    .models = GROUPS | LIMITS, .scales = STD, IN_PRESET(epsilon_place), .goes = has_scale_of,
    .value = "outside|inside", .help = "inside: sqrt(variance + epsilon) (default outside)"},
[SETTING_DDOF] = {
    {"ddof", SET_INTEGER, FIELD(ddof), .most = 1, .expected = "0 or 1"},
    .models = GROUPS, .scales = STD, IN_PRESET(ddof), .goes = has_scale_of,
    .value = "0|1", .help = "the variance is divided by G - ddof (default 0)"},
[SETTING_ZERO_VARIANCE] = {
    {"zero_variance", SET_WORD, FIELD(zero_variance), .choices = ZERO_VARIANCES},
    .models = GROUPS, .scales = ~BATCH, IN_PRESET(zero_variance),
    .value = "keep|drop",
    .help = "groups whose rewards are all equal, and their penalty (default keep)"},
[SETTING_PENALTY] = {
    {"penalty", SET_OTHER, FIELD(penalty), .read = read_penalty},
    .one_in_batch = 1, IN_PRESET(penalty),
    .value = "NAME|NAME=B,...", .help = "" /* the library's names are filled in */},
[SETTING_ALPHA] = {
    {"alpha", SET_NUMBER, FIELD(alpha), .high = 2.0, .expected = "a number from 0 to 2"},
    .penalties = ALPHA, .one_in_batch = 1},
[SETTING_BETA] = {
    {"beta", SET_NUMBER, FIELD(beta), .low = ABOVE_ZERO, .high = INFINITY,
     .expected = "a number > 0 (for none, the penalty none)"},
    .penalties = ~(NO_PENALTY | SUM), .one_in_batch = 1, IN_PRESET(beta), .goes = has_beta,
    .value = "B", .help = "regularisation constant, > 0"},
[SETTING_AGGREGATION] = {
    {"aggregation", SET_WORD, FIELD(aggregation), .choices = AGGREGATIONS},
    .models = GROUPS | LIMITS,
    .value = "sum-then-normalize|normalize-then-sum",
    .help = "of several rewards (default the first)"},
[SETTING_DECISIONS] = {
    {"decisions", SET_NUMBER, FIELD(decisions), .low = 1.0, .high = INFINITY,
     .expected = "a number >= 1"},
    .penalties = REVERSE, .one_in_batch = 1,
    .value = "T", .help = "equal decisions in which a completion reveals its value (reverse-kl)"},
[SETTING_PRESET] = {
    {"preset", SET_OTHER, FIELD(preset), .read = read_preset,
     .expected = "the name of a preset (grpoalign presets lists them)"},
    .value = "NAME",
    .help = "all of these as a trainer has them, where nothing else says otherwise;\n"
            "\"grpoalign presets\" lists the names"}};
/* clang-format on */

const parameter *setting_parameter(setting_id id)
{
    return &TABLE[id].read;
}

setting_id setting_find(const char *name)
{
    int id = 0;
    while (id < SETTINGS && !same_name(TABLE[id].read.name, name)) {
        id++;
    }
    return (setting_id)id;
}

/* ---- help ------------------------------------------------------------------------------------ */

enum { HELP_COLUMN = 36, HELP_WIDTH = 80 };

/* The names of all penalties, in lines. */
static void list_penalties(text *out)
{
    text item = {0};
    size_t start = out->length;
    for (int k = 0, kind; (kind = grpoalign_penalty_kind_at(k)) != 0; k++) {
        text_clear(&item);
        text_string(&item, grpoalign_penalty_name(kind));
        text_dashes(&item);
        if (kind == GRPOALIGN_PENALTY_REVERSE_KL || kind == GRPOALIGN_PENALTY_DIRECT_KL) {
            text_format(&item, ", %s", grpoalign_penalty_formula(kind));
        } else if (kind == GRPOALIGN_PENALTY_ALPHA) {
            text_string(&item, " (with --alpha A, 0 to 2)");
        }
        if (k > 0 && out->length - start + item.length + 3 > HELP_WIDTH) {
            text_string(out, ";\n");
            start = out->length;
        } else if (k > 0) {
            text_string(out, "; ");
        }
        text_string(out, item.bytes != NULL ? item.bytes : "");
    }
    text_free(&item);
}

void settings_help(text *out)
{
    for (int id = 0; id < SETTINGS; id++) {
        const setting *row = &TABLE[id];
        text option = {0}, lines = {0};
        if (row->help == NULL) {
            continue;
        }
        text_format(&option, "  --%s", row->read.name);
        text_dashes(&option);
        text_format(&option, " %s", row->value);
        text_format(out, option.length < HELP_COLUMN ? "%-*s" : "%*s   ", HELP_COLUMN,
                    option.bytes != NULL ? option.bytes : "");
        if (id == SETTING_PENALTY) {
            list_penalties(&lines);
        } else {
            text_string(&lines, row->help);
        }
        for (const char *c = lines.bytes; c != NULL && *c != '\0'; c++) {
            text_add(out, c, 1);
            text_format(out, "%*s", *c == '\n' ? HELP_COLUMN : 0, "");
        }
        text_string(out, "\n");
        text_free(&option);
        text_free(&lines);
    }
}

/* ---- one setting ----------------------------------------------------------------------------- */

int setting_read(settings *self, setting_id id, const char *value, text *expected)
{
    int good = parameter_set(&TABLE[id].read, self, value, expected);
    self->given |= good ? BIT(id) : 0;
    return good;
}

int is_given(const settings *self, setting_id id)
{
    return (self->given & BIT(id)) != 0;
}

double setting_value(const settings *self, setting_id id)
{
    const void *field = (const char *)self + TABLE[id].read.field;
    switch (TABLE[id].read.kind) {
    case SET_NUMBER:
        return *(const double *)field;
    case SET_INTEGER:
        return (double)*(const int64_t *)field;
    default:
        return *(const int32_t *)field;
    }
}

static void put(settings *self, setting_id id, double value)
{
    void *field = (char *)self + TABLE[id].read.field;
    switch (TABLE[id].read.kind) {
    case SET_NUMBER:
        *(double *)field = value;
        break;
    case SET_INTEGER:
        *(int64_t *)field = (int64_t)value;
        break;
    default:
        *(int32_t *)field = (int32_t)value;
        break;
    }
}

void setting_give(settings *self, setting_id id, double value)
{
    put(self, id, value);
    self->given |= BIT(id);
}

void setting_forget(settings *self, setting_id id)
{
    put(self, id, 0.0);
    self->given &= ~BIT(id);
}

const char *setting_word_of(setting_id id, int32_t number)
{
    return id == SETTING_PENALTY ? grpoalign_penalty_name(number)
                                 : word_of(TABLE[id].read.choices, number);
}

/* Whether bits, 0 for all, have that of a number. */
static int is_in(int bits, int32_t number)
{
    return bits == 0 || (bits >> number & 1);
}

const char *setting_word(const settings *self, setting_id id)
{
    return is_in(TABLE[id].models, self->model)
               ? setting_word_of(id, (int32_t)setting_value(self, id))
               : NULL;
}

/* ---- all settings ---------------------------------------------------------------------------- */

void settings_fill(settings *self, const settings *other)
{
    for (int id = 0; id < SETTINGS; id++) {
        if (is_given(self, id) || !is_given(other, id)) {
            continue;
        }
        self->given |= BIT(id);
        if (id == SETTING_PRESET) {
            self->preset = other->preset;
        } else if (id == SETTING_BETA && self->penalty == GRPOALIGN_PENALTY_SUM) {
            self->given &= ~BIT(id); /* the record's sum has its own */
        } else {
            self->parts = id == SETTING_PENALTY ? other->parts : self->parts;
            put(self, id, setting_value(other, id));
        }
    }
}

/* The std of others has one baseline only: takes it where none is given. */
static void imply_baseline(settings *self)
{
    if (self->scale == GRPOALIGN_SCALE_STD_OF_OTHERS && !is_given(self, SETTING_BASELINE)) {
        setting_give(self, SETTING_BASELINE, GRPOALIGN_BASELINE_LEAVE_ONE_OUT);
    }
}

void settings_fill_preset(settings *self)
{
    grpoalign_convention preset = self->preset;
    if (!is_given(self, SETTING_PRESET)) {
        return;
    }
    if (!is_given(self, SETTING_MODEL)) {
        setting_give(self, SETTING_MODEL, MODEL_GROUP);
    }
    /* Where the KL term is off by default it is the trainer's only once a beta is given. */
    if (preset.beta == 0.0 && !is_given(self, SETTING_BETA)) {
        preset.penalty = GRPOALIGN_PENALTY_NONE;
    }
    int own_penalty = !is_given(self, SETTING_PENALTY) && preset.penalty == self->preset.penalty;
    for (int id = 0; id < SETTINGS; id++) {
        const setting *row = &TABLE[id];
        const void *field = (const char *)&preset + row->preset;
        if (row->preset != 0 && !is_given(self, id) && is_in(row->models, self->model) &&
            is_in(row->penalties, self->penalty) &&
            (row->goes == NULL || row->goes(self, &preset))) {
            setting_give(self, id,
                         row->read.kind == SET_NUMBER ? *(const double *)field
                                                      : *(const int32_t *)field);
        }
    }
    if (self->model == MODEL_PAIRWISE) {
        return;
    }
    imply_baseline(self);
    /* What a KL in the reward amounts to before it is normalised depends on how it is. */
    int own_place = self->scale == preset.scale && self->baseline == preset.baseline;
    if (own_penalty && preset.placement == GRPOALIGN_PLACEMENT_REWARD_BEFORE && !own_place) {
        self->penalty = GRPOALIGN_PENALTY_KL_IN_REWARD;
    }
}

void settings_rescale(settings *self, int32_t scale)
{
    setting_give(self, SETTING_SCALE, scale);
    /* A preset's epsilon is that of its own scale. */
    int foreign = is_given(self, SETTING_PRESET) && scale != self->preset.scale &&
                  self->epsilon == self->preset.epsilon;
    for (int id = 0; id < SETTINGS; id++) {
        if (!is_in(TABLE[id].scales, self->scale) || (id == SETTING_EPSILON && foreign)) {
            setting_forget(self, id);
        }
    }
    imply_baseline(self);
}

const char *settings_differ(const settings *left, const settings *right)
{
    for (int id = 0; id < SETTINGS; id++) {
        if (TABLE[id].one_in_batch && is_in(TABLE[id].penalties, left->penalty) &&
            setting_value(left, id) != setting_value(right, id)) {
            return TABLE[id].read.name;
        }
    }
    return NULL;
}

int has_effect(const settings *self)
{
    return self->penalty != GRPOALIGN_PENALTY_NONE;
}

int is_in_batch(const settings *self)
{
    return self->scale >= SCALE_BATCH;
}

/* ---- what is missing, and what contradicts what ---------------------------------------------- */

enum { MISSING, GIVEN, CHANGED /* from its default */, UNCHANGED };

/* It holds where one of the settings is in the state, in the models, scales and penalties (as bits;
 * 0: in all), and beside the others. */
typedef struct rule {
    unsigned settings;
    int state, models, scales, penalties;
    unsigned beside;
    const char *message;
} rule;

static int holds(const rule *self, const settings *s)
{
    unsigned changed = 0;
    for (int id = 0; id < SETTINGS; id++) {
        changed |= id != SETTING_PRESET && setting_value(s, id) != 0.0 ? BIT(id) : 0;
    }
    unsigned in_state = self->state == MISSING   ? ~s->given
                        : self->state == GIVEN   ? s->given
                        : self->state == CHANGED ? changed
                                                 : ~changed;
    return (self->settings & in_state) != 0 && (self->beside & ~s->given) == 0 &&
           is_in(self->models, s->model) && is_in(self->scales, s->scale) &&
           is_in(self->penalties, s->penalty);
}

static const char *first_that_holds(const rule *rules, const settings *s)
{
    while (rules->message != NULL && !holds(rules, s)) {
        rules++;
    }
    return rules->message;
}

const char *settings_lack(const settings *self)
{
    static const rule rules[] = {
        {BIT(SETTING_MODEL), MISSING,
         .message =
             "model is missing: expected pairwise, group or limit in the record or as --model"},
        {BIT(SETTING_PENALTY), MISSING,
         .message = "penalty is missing: expected reverse_kl, direct_kl or another in the record "
                    "or as --penalty"},
        {BIT(SETTING_BETA), GIVEN, .penalties = SUM,
         .message = "a sum of penalties has their coefficients: expected no beta beside it"},
        {BIT(SETTING_BETA), MISSING, .penalties = ~(NO_PENALTY | SUM),
         .message = "beta is missing: expected a number > 0 in the record or as --beta"},
        {BIT(SETTING_ALPHA), GIVEN, .penalties = ~ALPHA,
         .message = "alpha belongs to the penalty alpha: expected none here"},
        {BIT(SETTING_ALPHA), MISSING, .penalties = ALPHA,
         .message = "alpha is missing: the penalty alpha expects a number from 0 to 2"},
        {BIT(SETTING_DECISIONS), CHANGED, .penalties = ~REVERSE,
         .message = "decisions belong to the penalty reverse_kl: expected none here"},
        {.message = NULL}};
    return first_that_holds(rules, self);
}

const char *settings_clash(const settings *self)
{
    static const rule rules[] = {
        {BIT(SETTING_GROUP_SIZE), GIVEN, .models = ~GROUPS,
         .message = "group_size belongs to the group model: expected none here"},
        {BIT(SETTING_GROUP_SIZE), MISSING, .models = GROUPS, .beside = BIT(SETTING_PRESET),
         .message = "group_size is missing: the preset has none (the trainer's default is a group "
                    "of one)"},
        {BIT(SETTING_GROUP_SIZE), MISSING, .models = GROUPS,
         .message = "group_size is missing: the group model expects an integer >= 2"},
        {BIT(SETTING_SCALE) | BIT(SETTING_EPSILON) | BIT(SETTING_DDOF) | BIT(SETTING_BASELINE) |
             BIT(SETTING_EPSILON_PLACE) | BIT(SETTING_ZERO_VARIANCE),
         GIVEN, .models = PAIRS,
         .message = "scale, epsilon, ddof, baseline, epsilon_place and zero_variance do not belong "
                    "to the pairwise model: expected none of them"},
        {BIT(SETTING_AGGREGATION), GIVEN, .models = PAIRS,
         .message = "aggregation does not belong to the pairwise model: expected none"},
        {BIT(SETTING_DDOF), CHANGED, .models = LIMITS,
         .message = "ddof has no meaning in the limit of large groups: expected none"},
        {BIT(SETTING_ZERO_VARIANCE), CHANGED, .models = LIMITS,
         .message = "zero_variance has no meaning in the limit of large groups, where all have "
                    "variance: expected none"},
        {BIT(SETTING_EPSILON) | BIT(SETTING_DDOF), CHANGED, .scales = UNSCALED,
         .message = "epsilon and ddof belong to the std: expected none of them with scale none"},
        {BIT(SETTING_DDOF) | BIT(SETTING_EPSILON_PLACE), CHANGED, .scales = ~STD,
         .message =
             "ddof and epsilon_place belong to scale std: expected none of them with another"},
        {BIT(SETTING_ZERO_VARIANCE), CHANGED, .scales = BATCH,
         .message =
             "zero_variance drop does not go with the std of a batch: expected keep, or none"},
        {BIT(SETTING_BASELINE), UNCHANGED, .scales = OTHERS,
         .message = "scale std_of_others goes with baseline leave_one_out: expected it"},
        {BIT(SETTING_BASELINE), CHANGED, .scales = MEAN,
         .message = "scale mean goes with baseline mean: expected it, or none"},
        {.message = NULL}};
    return first_that_holds(rules, self);
}
