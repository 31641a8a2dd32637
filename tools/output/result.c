#include "output/result.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpoalign/experimental.h>

#include "base/memory.h"
#include "base/number.h"

static const char *expectation_word(int32_t expectation)
{
    return expectation != GRPOALIGN_EXPECTATION_AUTO ? grpoalign_expectation_name(expectation)
                                                     : NULL;
}

#define AT(member)     .at = offsetof(result, member)
#define REPORT(member) .at = offsetof(result, report.member)

/* clang-format off */
const field RESULT_FIELDS[] = {
    {"policy", FIELD_NUMBERS, AT(policy), .style = 'g', .precision = 6},
    {"advantage", FIELD_NUMBERS, AT(advantage), .style = 'g', .precision = 5},
    {"normaliser", FIELD_NUMBER, REPORT(normaliser)},
    {"residual", FIELD_NUMBER, REPORT(residual), .title = "residual", .style = 'e', .precision = 1},
    {"policy_error", FIELD_NUMBER, REPORT(policy_error)},
    {"iterations", FIELD_COUNT, REPORT(iterations)},
    {"factorizations", FIELD_COUNT, REPORT(factorizations)},
    {"method", FIELD_NAME, REPORT(method), .word = grpoalign_method_name},
    {"expectation", FIELD_NAME, REPORT(expectation), OPTIONAL, .word = expectation_word},
    {"stable", FIELD_TRUTH, REPORT(stable), .title = "attracts training"},
    {"unique", FIELD_TRUTH, REPORT(unique)},
    {"rate", FIELD_NUMBER, REPORT(rate), OPTIONAL, .title = "rate", .style = 'g', .precision = 4},
    {"expected_reward", FIELD_NUMBER, REPORT(expected_reward), .title = "expected reward",
     .style = 'g', .precision = 6},
    {"expected_reward_reference", FIELD_NUMBER, REPORT(expected_reward_reference)},
    {"kl_ref_policy", FIELD_NUMBER, REPORT(kl_ref_policy), .title = "KL(pi_ref||pi)", .style = 'g',
     .precision = 6},
    {"kl_policy_ref", FIELD_NUMBER, REPORT(kl_policy_ref), .title = "KL(pi||pi_ref)", .style = 'g',
     .precision = 6},
    {"entropy", FIELD_NUMBER, REPORT(entropy), .title = "entropy", .unit = " nats", .style = 'g',
     .precision = 6},
    {.name = NULL}};
const field RESULT_REFERENCE[] = {
    {"reference", FIELD_NUMBERS, AT(reference), .style = 'g', .precision = 6},
    {.name = NULL}};
const field BATCH_FIELDS[] = {
    {"batch_contexts", FIELD_INTEGER, AT(contexts)},
    {"batch_std", FIELD_NUMBER, AT(std)},
    {"batch_beta", FIELD_NUMBER, AT(beta)},
    {.name = NULL}};
const field CONTEXT_LABELS[] = {
    {"outcomes", FIELD_LABELS, .at = offsetof(context, labels), OPTIONAL},
    {.name = NULL}};
const field CONTEXT_LABEL[] = {
    {"outcome", FIELD_LABELS, .at = offsetof(context, labels)},
    {.name = NULL}};
/* clang-format on */

static int make(double **vector, int64_t n)
{
    *vector = *vector != NULL ? *vector : memory_malloc((size_t)n * sizeof **vector);
    return *vector != NULL;
}

grpoalign_status result_take(result *self, const problem *from, const grpoalign_solution *solution,
                             grpoalign_error *error)
{
    int64_t n = from->outcomes;
    if (!make(&self->policy, n) || !make(&self->advantage, n) || !make(&self->reference, n)) {
        (void)snprintf(error->message, sizeof error->message, "out of memory");
        return GRPOALIGN_ERR_MEMORY;
    }
    self->report.struct_size = sizeof self->report;
    const grpoalign_status got[] = {
        grpoalign_solution_policy(solution, self->policy, n, error),
        grpoalign_solution_advantage(solution, self->advantage, n, error),
        grpoalign_reference_probabilities(from->reference, self->reference, n, error),
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
    problem p;
    grpoalign_solution *solution = NULL;
    grpoalign_status status = problem_open(&p, c, error);
    if (status >= 0) {
        const grpoalign_solve_options how = problem_solve_options(&p);
        status = grpoalign_solve(p.handle, p.beta, &how, &solution, error);
    }
    if (status >= 0) {
        status = result_take(self, &p, solution, error);
    }
    self->derivatives.wanted = c->settings.derivatives;
    if (status >= 0 && c->settings.derivatives) {
        status = derivatives_take(&self->derivatives, c, p.handle, solution, error);
    }
    grpoalign_solution_free(solution);
    problem_close(&p);
    return status;
}

void result_free(result *self)
{
    free(self->policy);
    free(self->advantage);
    free(self->reference);
    derivatives_free(&self->derivatives);
    memset(self, 0, sizeof *self);
}

void json_result(text *out, const result *self, int64_t n)
{
    json_fields(out, RESULT_FIELDS, self, n);
    if (self->contexts > 0) {
        json_fields(out, BATCH_FIELDS, self, n);
    }
}

double expectation_of(const double *policy, const double *values, int64_t n)
{
    double sum = 0.0, low = 0.0; /* compensated */
    for (int64_t o = 0; o < n; o++) {
        double term = policy[o] > 0.0 ? policy[o] * values[o] : 0.0, next = sum + term;
        low += fabs(sum) >= fabs(term) ? (sum - next) + term : (term - next) + sum;
        sum = next;
    }
    return sum + low;
}

/* ---- quantities ------------------------------------------------------------------------------ */

static const quantity QUANTITIES[] = {
    {.name = "expected_reward", .label = "expected reward"},
    {.name = "kl_ref_policy", .label = "KL(π_{ref}‖π), nats", .logarithmic = 1},
    {.name = "kl_policy_ref", .label = "KL(π‖π_{ref}), nats", .logarithmic = 1},
    {.name = "entropy", .label = "entropy, nats"}};

quantity quantity_default(void)
{
    return QUANTITIES[0];
}

int quantity_read(void *into, const char *value, text *expected)
{
    static const char of_metric[] = "metric:", of_policy[] = "policy:";
    quantity *out = into;
    text_string(expected, "expected_reward, kl_ref_policy, kl_policy_ref, entropy, policy:K or "
                          "metric:NAME");
    for (size_t k = 0; k < sizeof QUANTITIES / sizeof *QUANTITIES; k++) {
        if (strcmp(value, QUANTITIES[k].name) == 0) {
            *out = QUANTITIES[k];
            return 1;
        }
    }
    memset(out, 0, sizeof *out);
    if (strncmp(value, of_metric, strlen(of_metric)) == 0) {
        out->metric = value + strlen(of_metric);
        return *out->metric != '\0';
    }
    return strncmp(value, of_policy, strlen(of_policy)) == 0 &&
           parse_integer(value + strlen(of_policy), &out->outcome) && out->outcome >= 0;
}

int quantities_read(void *into, const char *value, text *expected)
{
    quantities *out = into;
    out->count = 0;
    if (strlen(value) >= sizeof out->names) {
        text_string(expected, "names of fewer than 512 bytes in all");
        return 0;
    }
    (void)memcpy(out->names, value, strlen(value) + 1);
    for (char *rest = out->names, *name; (name = strsep(&rest, ",")) != NULL;) {
        text_clear(expected);
        if (out->count == MOST_QUANTITIES ||
            !quantity_read(&out->items[out->count], name, expected)) {
            text_format(expected, ", or up to %d of them with commas between", MOST_QUANTITIES);
            return 0;
        }
        out->count++;
    }
    return 1;
}

double quantity_of(const quantity *self, const field *fields, const void *from,
                   const double *policy, const context *c)
{
    if (self->metric != NULL) {
        return expectation_of(policy, metrics_find(&c->metrics, self->metric), c->outcomes);
    }
    return self->name == NULL
               ? policy[self->outcome]
               : field_number(field_find(fields, self->name, strlen(self->name)), from, 0);
}

const char *quantity_lacks(const quantity *self, const context *c)
{
    int of_reward = self->name != NULL && strcmp(self->name, "expected_reward") == 0;
    if (self->metric != NULL) {
        return metrics_find(&c->metrics, self->metric) != NULL
                   ? NULL
                   : "--show names a metric that the context does not have";
    }
    if (of_reward && c->rewards == NULL && c->support == NULL) {
        return "--show expected_reward: margins have no reward to show; expected kl_ref_policy, "
               "kl_policy_ref, entropy, policy:K or metric:NAME";
    }
    if (self->name == NULL && self->outcome >= c->outcomes) {
        return "--show names an outcome that the context does not have";
    }
    return NULL;
}

void quantity_label(const quantity *self, text *out)
{
    if (self->name != NULL) {
        text_string(out, self->label);
    } else if (self->metric == NULL) {
        text_format(out, "probability of outcome %lld", (long long)self->outcome);
    } else {
        for (const char *c = self->metric; *c != '\0'; c++) { /* a user's text, as it is */
            text_string(out, strchr("_^{}@&~\\", *c) != NULL ? "\\" : "");
            text_add(out, c, 1);
        }
    }
}
