#include "output/derivatives.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "output/field.h"

/* What has no derivative is no failure of the context. */
static int is_none(grpoalign_status status)
{
    return status == GRPOALIGN_ERR_UNSUPPORTED || status == GRPOALIGN_ERR_SINGULAR ||
           status == GRPOALIGN_ERR_TOO_LARGE || status == GRPOALIGN_ERR_ARGUMENT;
}

static void note(derivatives *self, const char *reason)
{
    size_t length = strlen(self->note);
    (void)snprintf(self->note + length, sizeof self->note - length, "%s%s", length > 0 ? "; " : "",
                   reason);
}

static int make(double **vector, int64_t rows, int64_t columns)
{
    *vector = memory_malloc((size_t)rows * (size_t)columns * sizeof **vector);
    return *vector != NULL;
}

/* The parts of a penalty that is a sum, in the order in which the library has them. */
static void name_parts(derivatives *self, const settings *s)
{
    self->part_count = 0;
    if (s->penalty != GRPOALIGN_PENALTY_SUM) {
        return;
    }
    for (int32_t kind = 0; kind < PENALTY_KINDS; kind++) {
        if (s->parts.coefficients[kind] > 0.0) {
            self->parts[self->part_count++] = grpoalign_penalty_name(kind);
        }
    }
    if (s->parts.entropy > 0.0) {
        self->parts[self->part_count++] = "entropy";
    }
}

static grpoalign_status take_beta(derivatives *self, const settings *s,
                                  const grpoalign_sensitivity *from, grpoalign_error *error)
{
    int64_t n = self->outcomes;
    name_parts(self, s);
    if (!make(&self->by_beta, self->part_count > 0 ? self->part_count : 1, n)) {
        return GRPOALIGN_ERR_MEMORY;
    }
    grpoalign_status status =
        self->part_count == 0
            ? grpoalign_sensitivity_vector(from, GRPOALIGN_INPUT_BETA, 0, self->by_beta, n, error)
            : GRPOALIGN_OK;
    for (int k = 0; status >= 0 && k < self->part_count; k++) {
        int is_entropy = s->parts.entropy > 0.0 && k == self->part_count - 1;
        status = grpoalign_sensitivity_vector(
            from, is_entropy ? GRPOALIGN_INPUT_ENTROPY : GRPOALIGN_INPUT_COEFFICIENT,
            is_entropy ? 0 : k, self->by_beta + k * n, n, error);
    }
    return status;
}

/* One matrix, which may not exist. */
static grpoalign_status take_matrix(derivatives *self, const grpoalign_sensitivity *from,
                                    int32_t input, double **out, grpoalign_error *error)
{
    int64_t n = self->outcomes;
    if (!make(out, n, n)) {
        return GRPOALIGN_ERR_MEMORY;
    }
    grpoalign_status status = grpoalign_sensitivity_matrix(from, input, *out, n, n, error);
    if (status < 0) {
        free(*out);
        *out = NULL;
        if (is_none(status)) {
            note(self, error->message);
            return GRPOALIGN_OK;
        }
    }
    return status;
}

static void note_ties(derivatives *self)
{
    int64_t n = self->outcomes, ties = 0;
    for (int64_t j = 0; self->by_rewards != NULL && j < n; j++) {
        ties += isnan(self->by_rewards[j]);
    }
    if (ties > 0) {
        note(self, "dpolicy_drewards is null where a reward ties with another: a group of the tied "
                   "alone jumps when one of them changes (epsilon > 0 smooths that)");
    }
}

grpoalign_status derivatives_take(derivatives *self, const context *c,
                                  const grpoalign_problem *problem,
                                  const grpoalign_solution *solution, grpoalign_error *error)
{
    grpoalign_sensitivity *from = NULL;
    self->outcomes = c->outcomes;
    grpoalign_status status = grpoalign_sensitivity_new(problem, solution, &from, error);
    if (is_none(status)) {
        note(self, error->message);
        return GRPOALIGN_OK;
    }
    if (status >= 0) {
        status = take_beta(self, &c->settings, from, error);
    }
    if (status >= 0) {
        status = take_matrix(self, from, GRPOALIGN_INPUT_REWARDS, &self->by_rewards, error);
    }
    if (status >= 0) {
        status = take_matrix(self, from, GRPOALIGN_INPUT_LOG_REFERENCE, &self->by_reference, error);
    }
    if (status == GRPOALIGN_ERR_MEMORY) {
        (void)snprintf(error->message, sizeof error->message, "out of memory");
    }
    note_ties(self);
    grpoalign_sensitivity_free(from);
    return status;
}

void derivatives_free(derivatives *self)
{
    free(self->by_beta);
    free(self->by_rewards);
    free(self->by_reference);
    memset(self, 0, sizeof *self);
}

static void json_matrix(text *out, const char *key, const double *matrix, int64_t n)
{
    json_key(out, key);
    if (matrix == NULL) {
        text_string(out, "null");
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        text_string(out, i > 0 ? ", " : "[");
        json_numbers(out, matrix + i * n, n);
    }
    text_string(out, "]");
}

void json_derivatives(text *out, const derivatives *self)
{
    int64_t n = self->outcomes;
    if (!self->wanted) {
        return;
    }
    json_key(out, "dpolicy_dbeta");
    if (self->by_beta == NULL) {
        text_string(out, "null");
    } else if (self->part_count == 0) {
        json_numbers(out, self->by_beta, n);
    }
    for (int k = 0; self->by_beta != NULL && k < self->part_count; k++) {
        text_format(out, "%s\"%s\": ", k > 0 ? ", " : "{", self->parts[k]);
        json_numbers(out, self->by_beta + k * n, n);
        text_string(out, k + 1 == self->part_count ? "}" : "");
    }
    json_matrix(out, "dpolicy_drewards", self->by_rewards, n);
    json_matrix(out, "dpolicy_dlogreference", self->by_reference, n);
    if (self->note[0] != '\0') {
        json_key(out, "derivatives_note");
        text_quoted(out, self->note);
    }
}
