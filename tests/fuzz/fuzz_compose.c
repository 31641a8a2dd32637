/* Bytes become sums of models, sums of penalties, tokens and weights: the problem is solved, the
 * policy put back into model and penalty, and differentiated. */
#include <float.h>
#include <math.h>
#include <string.h>

#include <grpoalign/grpoalign.h>

#include "fuzz.h"

enum { MOST = 5, TERMS = 3, LONGEST = 3 };

typedef struct made {
    int64_t n;
    grpoalign_model *parts[TERMS], *model;
    grpoalign_penalty *laws[TERMS], *base, *penalty;
    grpoalign_reference *reference;
    grpoalign_problem *problem;
} made;

static double take_share(bytes *b)
{
    return (1.0 + take_byte(b)) / 256.0;
}

static grpoalign_model *take_model(bytes *b, int64_t n)
{
    double rewards[MOST], margins[MOST * MOST] = {0.0};
    grpoalign_model *model = NULL;
    grpoalign_reward_options options = GRPOALIGN_REWARD_OPTIONS_INIT;
    unsigned kind = take_below(b, 5);
    int tame = take_below(b, 4) > 0;
    for (int64_t o = 0; o < n; o++) {
        rewards[o] = tame ? (double)take_below(b, 16) / 4.0 : take_number(b);
        for (int64_t p = 0; p < o; p++) {
            margins[o * n + p] = take_byte(b) / 127.5 - 1.0;
            margins[p * n + o] = -margins[o * n + p];
        }
    }
    options.epsilon = kind == 4 || take_below(b, 2) ? 0.0 : take_share(b);
    options.scale = kind == 4 ? GRPOALIGN_SCALE_NONE : GRPOALIGN_SCALE_STD;
    grpoalign_status status =
        kind == 0   ? grpoalign_model_new_pairwise(margins, n, n, NULL, &model, NULL)
        : kind == 1 ? grpoalign_model_new_ranked(rewards, n, NULL, &model, NULL)
        : kind == 2
            ? grpoalign_model_new_group(rewards, n, 2 + take_below(b, 5), &options, &model, NULL)
            : grpoalign_model_new_limit(rewards, NULL, n, &options, &model, NULL);
    promise((status >= 0) == (model != NULL), "a model or a failure", "");
    return model;
}

static void take_models(bytes *b, made *m)
{
    double weights[TERMS];
    grpoalign_error error;
    int64_t count = 1 + take_below(b, TERMS);
    for (int64_t k = 0; k < count; k++) {
        m->parts[k] = take_model(b, m->n);
        weights[k] = take_share(b) * (take_below(b, 8) == 0 ? -1.0 : 2.0);
        if (m->parts[k] == NULL) { /* a reward that is no number */
            return;
        }
    }
    grpoalign_status status = grpoalign_model_new_sum((const grpoalign_model *const *)m->parts,
                                                      weights, count, &m->model, &error);
    promise((status >= 0) == (m->model != NULL), "a sum or a failure", "");
    promise(status >= 0 || error.message[0] != '\0', "a reason", "");
}

static void take_penalty(bytes *b, made *m)
{
    static const int32_t kinds[] = {
        GRPOALIGN_PENALTY_REVERSE_KL,  GRPOALIGN_PENALTY_DIRECT_KL,
        GRPOALIGN_PENALTY_CHI_SQUARED, GRPOALIGN_PENALTY_JENSEN_SHANNON,
        GRPOALIGN_PENALTY_ALPHA,       GRPOALIGN_PENALTY_TOTAL_VARIATION};
    double coefficients[TERMS];
    int64_t count = 1 + take_below(b, TERMS);
    for (int64_t k = 0; k < count; k++) {
        grpoalign_penalty_options options = GRPOALIGN_PENALTY_OPTIONS_INIT;
        unsigned which = take_below(b, 24);
        int32_t kind = kinds[which == 23 ? 5 : which % 5];
        options.alpha = kind == GRPOALIGN_PENALTY_ALPHA ? take_byte(b) / 127.5 : 0.0;
        promise(grpoalign_penalty_new(kind, &options, &m->laws[k], NULL) == 0, "a penalty", "");
        coefficients[k] = take_share(b);
    }
    grpoalign_status status = grpoalign_penalty_new_sum((const grpoalign_penalty *const *)m->laws,
                                                        coefficients, count, &m->base, NULL);
    promise((status >= 0) == (m->base != NULL), "a sum or a failure", "");
}

static void take_completions(bytes *b, made *m)
{
    int64_t offsets[MOST + 1] = {0}, tokens[MOST * LONGEST];
    double weights[MOST];
    grpoalign_completions completions = GRPOALIGN_COMPLETIONS_INIT;
    unsigned how = take_below(b, 4);
    for (int64_t o = 0; o < m->n; o++) {
        int64_t count = take_below(b, LONGEST + 1);
        offsets[o + 1] = offsets[o] + count;
        for (int64_t i = offsets[o]; i < offsets[o + 1]; i++) {
            tokens[i] = take_below(b, 3);
        }
        weights[o] = take_below(b, 6) == 0 ? 0.0 : take_share(b);
    }
    completions.count = m->n;
    completions.offsets = how & 1 ? offsets : NULL;
    completions.tokens = how & 1 ? tokens : NULL;
    completions.token_count = how & 1 ? offsets[m->n] : 0;
    completions.weights = how & 2 ? weights : NULL;
    completions.entropy = take_below(b, 3) == 0 ? take_share(b) : 0.0;
    grpoalign_status status =
        grpoalign_penalty_new_per_token(m->base, &completions, &m->penalty, NULL);
    promise((status >= 0) == (m->penalty != NULL), "a penalty or a failure", "");
}

static void take_reference(bytes *b, made *m)
{
    double logs[MOST];
    for (int64_t o = 0; o < m->n; o++) {
        unsigned exponent = take_byte(b);
        logs[o] = exponent < 230 ? -(double)exponent / 16.0 : -pow(10.0, (exponent - 230) / 8.0);
    }
    promise(grpoalign_reference_new_log(logs, m->n, NULL, &m->reference, NULL) == 0, "a reference",
            "");
}

static void check_numbers(const double *policy, int64_t n)
{
    double sum = 0.0;
    for (int64_t o = 0; o < n; o++) {
        promise(policy[o] >= 0.0 && policy[o] <= 1.0, "probabilities in [0, 1]", "");
        sum += policy[o];
    }
    promise(fabs(sum - 1.0) <= 1e-12, "a sum of 1", "");
}

/* The response to the advantages at a policy is that policy, as far as slopes let it be. */
static void check_solution(const made *m, double beta, const grpoalign_solution *solution)
{
    double policy[MOST], advantage[MOST], again[MOST];
    grpoalign_report report = GRPOALIGN_REPORT_INIT;
    int64_t n = m->n;
    int read = grpoalign_solution_policy(solution, policy, n, NULL) == 0 &&
               grpoalign_solution_advantage(solution, advantage, n, NULL) == 0 &&
               grpoalign_solution_report(solution, &report, NULL) == 0;
    promise(read, "a solution can be read", "");
    check_numbers(policy, n);
    promise(report.policy_error >= 0.0, "an estimate of the error", "");
    int settled = report.status == GRPOALIGN_OK || report.status == GRPOALIGN_NOT_UNIQUE;
    double largest = 1.0;
    for (int64_t o = 0; o < n; o++) {
        settled = settled && isfinite(advantage[o]) && policy[o] > 1e-12;
        largest = fmax(largest, fabs(advantage[o]) / beta);
    }
    if (!settled || report.policy_error > 1e-10) {
        return;
    }
    promise(grpoalign_penalty_respond(m->penalty, m->reference, beta, advantage, n, again, NULL,
                                      NULL) == 0,
            "a response", "");
    check_numbers(again, n);
    for (int64_t o = 0; o < n; o++) {
        promise(fabs(again[o] - policy[o]) <= 1e-9 * largest * largest, "the same policy", "");
    }
}

static void check_derivatives(const made *m, const grpoalign_solution *solution)
{
    double vector[MOST], matrix[MOST * MOST];
    grpoalign_sensitivity *s = NULL;
    grpoalign_error error;
    grpoalign_status status = grpoalign_sensitivity_new(m->problem, solution, &s, &error);
    promise((status >= 0) == (s != NULL), "derivatives or a failure", "");
    promise(status != GRPOALIGN_ERR_INTERNAL, "a status that explains", error.message);
    if (status >= 0) {
        promise(grpoalign_sensitivity_vector(s, GRPOALIGN_INPUT_BETA, 0, vector, m->n, NULL) == 0 &&
                    grpoalign_sensitivity_matrix(s, GRPOALIGN_INPUT_LOG_REFERENCE, matrix, m->n,
                                                 m->n, NULL) == 0,
                "derivatives can be read", "");
        for (int64_t o = 0; o < m->n; o++) {
            promise(isfinite(vector[o]), "a derivative that is a number", "");
        }
    }
    grpoalign_sensitivity_free(s);
}

static void ask(const made *m, double beta)
{
    grpoalign_solution *solution = NULL;
    grpoalign_points *points = NULL;
    grpoalign_error error;
    grpoalign_status status = grpoalign_solve(m->problem, beta, NULL, &solution, &error);
    promise((status >= 0) == (solution != NULL), "a solution or a failure", "");
    promise(status != GRPOALIGN_ERR_INTERNAL && status != GRPOALIGN_ERR_MEMORY,
            "a status that explains", error.message);
    if (status >= 0) {
        check_solution(m, beta, solution);
        check_derivatives(m, solution);
    }
    grpoalign_solution_free(solution);
    status = grpoalign_points_new(m->problem, beta, NULL, &points, &error);
    promise(status != GRPOALIGN_ERR_INTERNAL && status != GRPOALIGN_ERR_MEMORY,
            "a status that explains", error.message);
    grpoalign_points_free(points);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bytes b = {data, size};
    made m = {.n = 1 + take_below(&b, MOST)};
    double beta = pow(10.0, take_byte(&b) / 255.0 * 8.0 - 4.0);
    take_models(&b, &m);
    take_penalty(&b, &m);
    take_reference(&b, &m);
    if (m.model != NULL && m.base != NULL) {
        take_completions(&b, &m);
    }
    if (m.penalty != NULL) {
        grpoalign_error error;
        grpoalign_status status =
            grpoalign_problem_new(m.model, m.penalty, m.reference, NULL, &m.problem, &error);
        promise((status >= 0) == (m.problem != NULL), "a problem or a failure", "");
    }
    if (m.problem != NULL) {
        ask(&m, beta);
    }
    grpoalign_problem_free(m.problem);
    grpoalign_reference_free(m.reference);
    grpoalign_penalty_free(m.penalty), grpoalign_penalty_free(m.base);
    grpoalign_model_free(m.model);
    for (int k = 0; k < TERMS; k++) {
        grpoalign_model_free(m.parts[k]);
        grpoalign_penalty_free(m.laws[k]);
    }
    return 0;
}
