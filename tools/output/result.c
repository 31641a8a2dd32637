#include "output/result.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpoalign/experimental.h>

#include "base/number.h"
#include "output/words.h"
#include "output/write.h"

/* The status of the library for a host without memory. */
static grpoalign_status short_memory(grpoalign_error *error)
{
    (void)snprintf(error->message, sizeof error->message, "out of memory");
    return GRPOALIGN_ERR_MEMORY;
}

static int take_vector(double **vector, int64_t n)
{
    *vector = *vector != NULL ? *vector : malloc((size_t)n * sizeof **vector);
    return *vector != NULL;
}

grpoalign_status result_take(result *self, const grpoalign_solution *solution,
                             const grpoalign_reference *reference, int64_t n,
                             grpoalign_error *error)
{
    if (!take_vector(&self->policy, n) || !take_vector(&self->advantage, n) ||
        !take_vector(&self->reference, n)) {
        return short_memory(error);
    }
    self->report.struct_size = sizeof self->report;
    grpoalign_status got[] = {
        grpoalign_solution_policy(solution, self->policy, n, error),
        grpoalign_solution_advantage(solution, self->advantage, n, error),
        grpoalign_reference_probabilities(reference, self->reference, n, error),
        grpoalign_solution_report(solution, &self->report, error)};
    for (size_t i = 0; i < sizeof got / sizeof *got; i++) {
        if (got[i] < 0) {
            return got[i];
        }
    }
    return GRPOALIGN_OK;
}

grpoalign_status result_solve(result *self, const context *c, grpoalign_error *error)
{
    handles h;
    grpoalign_solution *solution = NULL;
    grpoalign_status status = handles_open(c, &h, error);
    if (status >= 0) {
        status = grpoalign_solve(h.problem, c->settings.beta, NULL, &solution, error);
    }
    if (status >= 0) {
        status = result_take(self, solution, h.reference, c->outcomes, error);
    }
    grpoalign_solution_free(solution);
    handles_close(&h);
    return status;
}

void result_free(result *self)
{
    free(self->policy);
    free(self->advantage);
    free(self->reference);
    memset(self, 0, sizeof *self);
}

int quantity_parse(const char *value, quantity *out)
{
    static const char *const names[][2] = {{"expected_reward", "expected reward"},
                                           {"kl_ref_policy", "KL(π_{ref}‖π), nats"},
                                           {"kl_policy_ref", "KL(π‖π_{ref}), nats"},
                                           {"entropy", "entropy, nats"}};
    for (int k = 0; k < SHOW_OUTCOME; k++) {
        if (strcmp(value, names[k][0]) == 0) {
            out->kind = k;
            (void)snprintf(out->label, sizeof out->label, "%s", names[k][1]);
            return 1;
        }
    }
    out->kind = SHOW_OUTCOME;
    if (strncmp(value, "policy:", 7) != 0 || !parse_integer(value + 7, &out->outcome) ||
        out->outcome < 0) {
        return 0;
    }
    (void)snprintf(out->label, sizeof out->label, "probability of outcome %lld",
                   (long long)out->outcome);
    return 1;
}

double quantity_of(const quantity *self, const double measures[4], const double *policy)
{
    return self->kind == SHOW_OUTCOME ? policy[self->outcome] : measures[self->kind];
}

int quantity_is_logarithmic(const quantity *self)
{
    return self->kind == SHOW_REF_POLICY || self->kind == SHOW_POLICY_REF;
}

const char *quantity_lacks(const quantity *self, const context *c)
{
    if (self->kind == SHOW_REWARD && c->rewards == NULL && c->support == NULL) {
        return "--show expected_reward: margins have no reward to show; expected kl_ref_policy, "
               "kl_policy_ref, entropy "
               "or policy:K";
    }
    if (self->kind == SHOW_OUTCOME && self->outcome >= c->outcomes) {
        return "--show names an outcome that the context does not have";
    }
    return NULL;
}

void json_result(text *out, const result *self, int64_t n)
{
    const grpoalign_report *report = &self->report;
    json_array(out, "policy", self->policy, n);
    json_array(out, "advantage", self->advantage, n);
    json_number(out, "normaliser", report->normaliser);
    json_number(out, "residual", report->residual);
    json_number(out, "policy_error", report->policy_error);
    text_format(out, ", \"iterations\": %d, \"factorizations\": %d, \"method\": \"%s\"",
                (int)report->iterations, (int)report->factorizations,
                grpoalign_method_name(report->method));
    if (report->expectation != GRPOALIGN_EXPECTATION_AUTO) {
        text_format(out, ", \"expectation\": \"%s\"",
                    grpoalign_expectation_name(report->expectation));
    }
    text_format(out, ", \"stable\": %s, \"unique\": %s", json_truth(report->stable),
                json_truth(report->unique));
    if (!isnan(report->rate)) {
        json_number(out, "rate", report->rate);
    }
    json_number(out, "expected_reward", report->expected_reward);
    json_number(out, "expected_reward_reference", report->expected_reward_reference);
    json_number(out, "kl_ref_policy", report->kl_ref_policy);
    json_number(out, "kl_policy_ref", report->kl_policy_ref);
    json_number(out, "entropy", report->entropy);
    json_batch(out, self);
}

void json_batch(text *out, const result *self)
{
    if (self->contexts > 0) {
        text_format(out, ", \"batch_contexts\": %lld", (long long)self->contexts);
        json_number(out, "batch_std", self->std);
        json_number(out, "batch_beta", isnan(self->std) ? NAN : self->report.beta);
    }
}

void json_labels(text *out, const context *c)
{
    if (c->labels != NULL) {
        text_string(out, ", \"outcomes\": [");
        for (int64_t o = 0; o < c->outcomes; o++) {
            text_string(out, o > 0 ? ", " : "");
            text_quoted(out, c->labels[o]);
        }
        text_string(out, "]");
    }
}

void csv_label(text *out, const context *c, int64_t outcome)
{
    if (c->labels != NULL) {
        csv_text(out, c->labels[outcome]);
    } else {
        csv_integer(out, outcome);
    }
}

void table_heading(text *out, const context *c)
{
    static const char *const models[] = {"", "pairwise", "group", "limit"};
    const settings *s = &c->settings;
    text_format(out, "%s%s%s%s", c->id != NULL ? "context " : "context", c->id != NULL ? c->id : "",
                ": ", models[s->model]);
    if (s->model == MODEL_GROUP) {
        text_format(out, " of %lld", (long long)s->group_size);
    }
    if (s->model != MODEL_PAIRWISE) {
        text_string(out, ", ");
        text_advantage(out, s);
    }
    if (has_effect(s)) {
        text_format(out, ", beta %g x %s", s->beta, penalty_symbol(s->penalty));
    } else {
        text_string(out, ", no penalty");
    }
    if (s->penalty == GRPOALIGN_PENALTY_ALPHA) {
        text_format(out, ", alpha %g", s->alpha);
    }
    text_string(out, "\n\n");
}

void table_batch(text *out, const result *self)
{
    if (self->contexts == 0) {
        return;
    }
    text_format(out, "  std of the batch     over %lld contexts: ", (long long)self->contexts);
    if (isnan(self->std)) {
        text_string(out, "without effect under this penalty\n");
    } else {
        text_format(out, "%.6g; each as if unscaled with beta %.6g\n", self->std,
                    self->report.beta);
    }
}

enum { WIDEST_LABEL = 40 };

/* One column per character, whatever its bytes. */
static int starts_character(char byte)
{
    return ((unsigned char)byte & 0xc0) != 0x80;
}

int label_width(const context *c, int64_t outcome)
{
    int width = 0;
    for (const char *label = c->labels != NULL ? c->labels[outcome] : ""; *label != '\0'; label++) {
        width += starts_character(*label);
    }
    return width < WIDEST_LABEL ? width : WIDEST_LABEL;
}

void table_label(text *out, const context *c, int64_t outcome, int width)
{
    if (c->labels == NULL) {
        text_format(out, "  %-*lld", width, (long long)outcome);
        return;
    }
    int used = 0;
    text_string(out, "  ");
    for (const char *label = c->labels[outcome];
         *label != '\0' && (used < width || !starts_character(*label)); label++) {
        used += starts_character(*label);
        char byte = (unsigned char)*label < 0x20 ? ' ' : *label;
        text_add(out, &byte, 1);
    }
    text_format(out, "%*s", width - used, "");
}
