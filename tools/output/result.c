#include "output/result.h"

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
    quantity *out = into;
    text_string(expected, "expected_reward, kl_ref_policy, kl_policy_ref, entropy or policy:K");
    for (size_t k = 0; k < sizeof QUANTITIES / sizeof *QUANTITIES; k++) {
        if (strcmp(value, QUANTITIES[k].name) == 0) {
            *out = QUANTITIES[k];
            return 1;
        }
    }
    memset(out, 0, sizeof *out);
    if (strncmp(value, "policy:", 7) != 0 || !parse_integer(value + 7, &out->outcome) ||
        out->outcome < 0) {
        return 0;
    }
    (void)snprintf(out->label, sizeof out->label, "probability of outcome %lld",
                   (long long)out->outcome);
    return 1;
}

double quantity_of(const quantity *self, const field *fields, const void *from,
                   const double *policy)
{
    return self->name == NULL
               ? policy[self->outcome]
               : field_number(field_find(fields, self->name, strlen(self->name)), from, 0);
}

const char *quantity_lacks(const quantity *self, const context *c)
{
    int of_reward = self->name != NULL && strcmp(self->name, "expected_reward") == 0;
    if (of_reward && c->rewards == NULL && c->support == NULL) {
        return "--show expected_reward: margins have no reward to show; expected kl_ref_policy, "
               "kl_policy_ref, entropy or policy:K";
    }
    if (self->name == NULL && self->outcome >= c->outcomes) {
        return "--show names an outcome that the context does not have";
    }
    return NULL;
}
