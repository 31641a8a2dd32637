#include "context.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int same(const char *value, const char *name)
{
    for (; *value != '\0' && *name != '\0'; value++, name++) {
        if ((*value == '-' ? '_' : *value) != *name) {
            return 0;
        }
    }
    return *value == *name;
}

static int parse_number(const char *value, double *out)
{
    char *end;
    if (*value == '\0' || strchr(" \t\n", *value) != NULL) {
        return 0;
    }
    *out = strtod(value, &end);
    return *end == '\0' && isfinite(*out);
}

static int parse_integer(const char *value, int64_t *out)
{
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    *out = number;
    return *value != '\0' && strchr(" \t\n", *value) == NULL && *end == '\0' && errno == 0;
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

/* What contradicts what; NULL when all is well. */
static const char *contradiction(const context *c)
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

/* ---- output --------------------------------------------------------------------------------------------------- */

void write_error(text *out, int format, const char *id, const char *status, const char *place, const char *message)
{
    if (format == FORMAT_TABLE) {
        text_format(out, "%s%s%s: %s (%s)\n\n", id != NULL ? "context " : "", id != NULL ? id : "",
                    id != NULL ? "" : "error", status, place);
        text_format(out, "  %s\n\n", message);
        return;
    }
    text_format(out, "{\"id\": %s, \"status\": \"%s\", \"error\": ", id != NULL ? id : "null", status);
    text all = {0};
    text_format(&all, "%s: %s", place, message);
    text_quoted(out, all.bytes != NULL ? all.bytes : "");
    text_free(&all);
    text_string(out, "}\n");
}

static void json_array(text *out, const char *key, const double *values, int64_t n)
{
    text_format(out, ", \"%s\": [", key);
    for (int64_t i = 0; i < n; i++) {
        text_string(out, i > 0 ? ", " : "");
        text_number(out, values[i]);
    }
    text_string(out, "]");
}

static void json_number(text *out, const char *key, double value)
{
    text_format(out, ", \"%s\": ", key);
    text_number(out, value);
}

static const char *truth(int32_t value)
{
    return value > 0 ? "true" : value == 0 ? "false" : "null";
}

typedef struct result {
    double *policy, *advantage, *reference;
    grpoalign_report report;
} result;

static void write_json(const context *c, const result *r, text *out)
{
    const grpoalign_report *report = &r->report;
    text_format(out, "{\"id\": %s, \"status\": \"%s\"", c->id != NULL ? c->id : "null",
                grpoalign_status_name(report->status));
    if (c->labels != NULL) {
        text_string(out, ", \"outcomes\": [");
        for (int64_t o = 0; o < c->outcomes; o++) {
            text_string(out, o > 0 ? ", " : "");
            text_quoted(out, c->labels[o]);
        }
        text_string(out, "]");
    }
    json_array(out, "policy", r->policy, c->outcomes);
    json_array(out, "advantage", r->advantage, c->outcomes);
    json_number(out, "normaliser", report->normaliser);
    json_number(out, "residual", report->residual);
    json_number(out, "policy_error", report->policy_error);
    text_format(out, ", \"iterations\": %d, \"factorizations\": %d, \"method\": \"%s\"", (int)report->iterations,
                (int)report->factorizations, grpoalign_method_name(report->method));
    if (report->expectation != GRPOALIGN_EXPECTATION_AUTO) {
        text_format(out, ", \"expectation\": \"%s\"", grpoalign_expectation_name(report->expectation));
    }
    text_format(out, ", \"stable\": %s, \"unique\": %s", truth(report->stable), truth(report->unique));
    json_number(out, "expected_reward", report->expected_reward);
    json_number(out, "expected_reward_reference", report->expected_reward_reference);
    json_number(out, "kl_ref_policy", report->kl_ref_policy);
    json_number(out, "kl_policy_ref", report->kl_policy_ref);
    json_number(out, "entropy", report->entropy);
    text_string(out, "}\n");
}

/* Outcomes of a table beyond this many are summed up in one line. */
enum { TABLE_ROWS = 20 };

typedef struct ranked {
    double policy;
    int64_t outcome;
} ranked;

static int by_policy(const void *left, const void *right)
{
    const ranked *a = left, *b = right;
    if (a->policy != b->policy) {
        return a->policy > b->policy ? -1 : 1;
    }
    return (a->outcome > b->outcome) - (a->outcome < b->outcome);
}

/* The columns a label takes on a terminal: one per character, whatever its bytes. */
static int label_width(const char *label)
{
    int width = 0;
    for (; *label != '\0'; label++) {
        width += ((unsigned char)*label & 0xc0) != 0x80;
    }
    return width;
}

static void write_table(const context *c, const result *r, text *out)
{
    static const char *const models[] = {"", "pairwise", "group", "limit"};
    const settings *s = &c->settings;
    const grpoalign_report *report = &r->report;
    text_format(out, "%s%s%s%s", c->id != NULL ? "context " : "context", c->id != NULL ? c->id : "", ": ",
                models[s->model]);
    if (s->model == MODEL_GROUP) {
        text_format(out, " of %lld", (long long)s->group_size);
    }
    if (s->model != MODEL_PAIRWISE) {
        text_string(out, s->has_scale && s->scale == GRPOALIGN_SCALE_NONE ? ", unscaled" : ", over std");
        if (s->has_epsilon && s->epsilon > 0.0) {
            text_format(out, " + %g", s->epsilon);
        }
    }
    text_format(out, ", beta %g x %s\n\n", s->beta,
                s->penalty == GRPOALIGN_PENALTY_REVERSE_KL ? "KL(pi_ref||pi)" : "KL(pi||pi_ref)");
    ranked *order = malloc((size_t)c->outcomes * sizeof *order);
    int64_t shown = c->outcomes;
    if (order == NULL) {
        out->failed = 1;
        return;
    }
    for (int64_t o = 0; o < c->outcomes; o++) {
        order[o].policy = r->policy[o];
        order[o].outcome = o;
    }
    if (c->outcomes > TABLE_ROWS) {
        qsort(order, (size_t)c->outcomes, sizeof *order, by_policy);
        shown = TABLE_ROWS;
    }
    int width = 7;
    for (int64_t i = 0; c->labels != NULL && i < shown; i++) {
        int w = label_width(c->labels[order[i].outcome]);
        width = w > width ? (w > 40 ? 40 : w) : width;
    }
    text_format(out, "  %-*s", width, "outcome");
    if (c->rewards != NULL) {
        text_format(out, "%12s", "reward");
    }
    text_format(out, "%14s%14s%12s%13s\n", "reference", "policy", "ratio", "advantage");
    double rest = 0.0, rest_reference = 0.0;
    for (int64_t i = 0; i < c->outcomes; i++) {
        int64_t o = order[i].outcome;
        if (i >= shown) {
            rest += r->policy[o];
            rest_reference += r->reference[o];
            continue;
        }
        if (c->labels != NULL) {
            const char *label = c->labels[o];
            int used = 0;
            text_string(out, "  ");
            for (; *label != '\0' && (used < width || ((unsigned char)*label & 0xc0) == 0x80); label++) {
                used += ((unsigned char)*label & 0xc0) != 0x80;
                char byte = (unsigned char)*label < 0x20 ? ' ' : *label;
                text_add(out, &byte, 1);
            }
            text_format(out, "%*s", width - used, "");
        } else {
            text_format(out, "  %-*lld", width, (long long)o);
        }
        if (c->rewards != NULL) {
            text_format(out, "%12.6g", c->rewards[o]);
        }
        text_format(out, "%14.6g%14.6g", r->reference[o], r->policy[o]);
        if (r->reference[o] > 0.0) {
            text_format(out, "%12.4g", r->policy[o] / r->reference[o]);
        } else {
            text_format(out, "%12s", "-");
        }
        text_format(out, "%13.5g\n", r->advantage[o]);
    }
    if (shown < c->outcomes) {
        text_format(out, "  and %lld more: reference %.6g, policy %.6g\n", (long long)(c->outcomes - shown),
                    rest_reference, rest);
    }
    free(order);
    text_string(out, "\n");
    if (!isnan(report->expected_reward)) {
        text_format(out, "  expected reward      %.6g -> %.6g\n", report->expected_reward_reference,
                    report->expected_reward);
    }
    text_format(out, "  KL(pi_ref||pi)       %.6g\n  KL(pi||pi_ref)       %.6g\n  entropy              %.6g nats\n",
                report->kl_ref_policy, report->kl_policy_ref, report->entropy);
    text_format(out, "  status               %s; %s, %s; residual %.1e, policy good to %.1e (%s)\n\n",
                grpoalign_status_name(report->status),
                report->status == GRPOALIGN_COLLAPSED ? "no stationary policy, training ends here"
                : report->unique > 0                  ? "the only stationary policy"
                : report->unique == 0                 ? "others exist"
                                                      : "uniqueness not proved",
                report->stable > 0    ? "stable"
                : report->stable == 0 ? "unstable"
                                      : "stability unknown",
                report->residual, report->policy_error, grpoalign_method_name(report->method));
}

/* ---- solving --------------------------------------------------------------------------------------------------- */

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

static grpoalign_status solve(const context *c, result *r, grpoalign_error *error)
{
    grpoalign_model *model = NULL;
    grpoalign_reference *reference = NULL;
    grpoalign_penalty *penalty = NULL;
    grpoalign_solution *solution = NULL;
    int64_t n = c->outcomes;
    grpoalign_status status = build_reference(c, &reference, error);
    if (status >= 0) {
        status = build_model(c, &model, error);
    }
    if (status >= 0) {
        status = grpoalign_penalty_new(c->settings.penalty, &penalty, error);
    }
    if (status >= 0) {
        status = grpoalign_solve(model, penalty, reference, c->settings.beta, NULL, &solution, error);
    }
    if (status >= 0) {
        memset(&r->report, 0, sizeof r->report);
        r->report.struct_size = sizeof r->report;
        grpoalign_status got[] = {grpoalign_solution_policy(solution, r->policy, n, error),
                                  grpoalign_solution_advantage(solution, r->advantage, n, error),
                                  grpoalign_reference_probabilities(reference, r->reference, n, error),
                                  grpoalign_solution_report(solution, &r->report, error)};
        for (size_t i = 0; i < sizeof got / sizeof *got; i++) {
            status = got[i] < 0 ? got[i] : status;
        }
    }
    grpoalign_solution_free(solution);
    grpoalign_penalty_free(penalty);
    grpoalign_reference_free(reference);
    grpoalign_model_free(model);
    return status;
}

/* The library names its arguments; a record's keys are called otherwise here and there. */
static void write_library_error(text *out, int format, const context *c, grpoalign_status status, const char *place,
                                const char *message)
{
    static const struct {
        const char *argument, *key;
    } names[] = {
        {"log_probabilities", "reference_logprobs"}, {"probabilities", "reference"}, {"variances", "reward_variances"}};
    text renamed = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names && renamed.length == 0; i++) {
        size_t length = strlen(names[i].argument);
        if (strncmp(message, names[i].argument, length) == 0) {
            text_string(&renamed, names[i].key);
            text_string(&renamed, message + length);
        }
    }
    write_error(out, format, c->id, grpoalign_status_name(status), place, renamed.length > 0 ? renamed.bytes : message);
    text_free(&renamed);
}

int context_solve(const context *self, const char *place, int format, text *out)
{
    const char *wrong = contradiction(self);
    if (wrong != NULL) {
        write_error(out, format, self->id, "contradiction", place, wrong);
        return 0;
    }
    grpoalign_error error;
    result r = {.policy = malloc((size_t)self->outcomes * sizeof(double)),
                .advantage = malloc((size_t)self->outcomes * sizeof(double)),
                .reference = malloc((size_t)self->outcomes * sizeof(double))};
    int solved = 0;
    if (r.policy == NULL || r.advantage == NULL || r.reference == NULL) {
        write_error(out, format, self->id, "memory", place, "out of memory");
    } else {
        grpoalign_status status = solve(self, &r, &error);
        if (status < 0) {
            write_library_error(out, format, self, status, place, error.message);
        } else {
            (format == FORMAT_TABLE ? write_table : write_json)(self, &r, out);
            solved = 1;
        }
    }
    free(r.policy);
    free(r.advantage);
    free(r.reference);
    return solved;
}
