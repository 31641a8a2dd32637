/* Bytes become a problem of any model, convention and penalty; it is solved, and the policy is put
 * back into the definition of stationarity. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "fuzz.h"
#include "trial.h"

static void take_convention(bytes *b, plain_context *c)
{
    static const double EPSILONS[] = {0.0, 0.0, 1e-4, 1e-8, 0.25};
    switch (take_below(b, 6)) {
    case 0:
        c->unscaled = 1;
        c->leave_one_out = (int)take_below(b, 2);
        break;
    case 1:
        c->over_others = c->leave_one_out = 1;
        break;
    case 2:
        c->over_mean = 1;
        break;
    default:
        c->ddof = c->limit ? 0 : (int)take_below(b, 2);
        c->leave_one_out = (int)take_below(b, 2);
    }
    if (!c->unscaled) {
        c->epsilon = EPSILONS[take_below(b, 5)];
        c->inside = !c->over_others && !c->over_mean && c->epsilon > 0.0 && take_below(b, 3) == 0;
    }
}

static void take_distribution(bytes *b, trial *t)
{
    plain_context *c = &t->context;
    c->k = 2 + take_below(b, 2);
    for (int64_t l = 0; l < c->k; l++) {
        t->support[l] = take_number(b);
    }
    for (int64_t o = 0; o < c->n; o++) {
        double sum = 0.0, *row = t->distribution + o * c->k;
        for (int64_t l = 0; l < c->k; l++) {
            row[l] = take_byte(b) / 255.0;
            sum += row[l];
        }
        row[0] += sum == 0.0;
        for (int64_t l = 0; l < c->k && sum > 0.0; l++) {
            row[l] /= sum;
        }
    }
    c->support = t->support;
    c->distribution = t->distribution;
}

static void take_trial(bytes *b, trial *t)
{
    plain_context *c = &t->context;
    unsigned kind = take_below(b, 7);
    memset(t, 0, sizeof *t);
    t->penalty = grpoalign_penalty_kind_at(take_below(b, 11));
    t->alpha = t->penalty == GRPOALIGN_PENALTY_ALPHA ? take_byte(b) / 127.5 : 0.0;
    t->beta = pow(10.0, take_byte(b) / 255.0 * 14.0 - 8.0);
    c->n = 2 + take_below(b, 4);
    c->limit = kind >= 5;
    c->group_size = kind >= 2 && kind < 5 ? 2 + take_below(b, 4) : 0;
    c->filtered = kind == 4;
    c->rewards = t->rewards;
    if (kind >= 2) {
        take_convention(b, c);
    }
    for (int64_t o = 0; o < c->n; o++) {
        /* Mostly tame references; by the exponent down to probabilities no double holds. */
        unsigned exponent = take_byte(b);
        t->logs[o] = exponent < 200   ? -(double)exponent / 16.0
                     : exponent < 254 ? -pow(10.0, (exponent - 200) / 10.0)
                                      : -INFINITY;
        t->rewards[o] = take_number(b);
        t->variances[o] = kind == 6 ? fabs(take_number(b)) : 0.0;
        for (int64_t p = 0; kind == 0 && p < o; p++) {
            t->margins[o * c->n + p] = take_byte(b) / 127.5 - 1.0;
            t->margins[p * c->n + o] = -t->margins[o * c->n + p];
        }
    }
    c->margins = kind == 0 ? t->margins : NULL;
    c->variances = kind == 6 ? t->variances : NULL;
    if (kind == 3) {
        take_distribution(b, t);
    }
}

/* Rewards whose differences a double still holds beside them: only then does it make sense to ask
 * what is stationary. */
static int is_tame(const trial *t)
{
    int64_t n = t->context.support != NULL ? t->context.k : t->context.n;
    const double *x = t->context.support != NULL ? t->support : t->rewards;
    for (int64_t i = 0; i < n; i++) {
        int is_zero = x[i] == 0.0 && t->variances[i] == 0.0;
        if (!is_zero && !(fabs(x[i]) > 1e-14 && fabs(x[i]) < 1e14)) {
            return 0;
        }
    }
    return 1;
}

static void check_solution(const trial *t, const grpoalign_solution *solution)
{
    double policy[TRIAL_MOST], log_policy[TRIAL_MOST], sum = 0.0;
    grpoalign_report report = GRPOALIGN_REPORT_INIT;
    int64_t n = t->context.n;
    int read = grpoalign_solution_policy(solution, policy, n, NULL) == 0 &&
               grpoalign_solution_log_policy(solution, log_policy, n, NULL) == 0 &&
               grpoalign_solution_report(solution, &report, NULL) == 0;
    promise(read, "a solution can be read", trial_record(t));
    for (int64_t o = 0; o < n; o++) {
        promise(policy[o] >= 0.0 && policy[o] <= 1.0, "probabilities in [0, 1]", trial_record(t));
        promise(!isnan(log_policy[o]), "a logarithm that is a number", trial_record(t));
        sum += policy[o];
    }
    promise(fabs(sum - 1.0) <= 1e-13, "a sum of 1", trial_record(t));
    promise(report.policy_error >= 0.0, "an estimate of the error", trial_record(t));
    trial_fault fault = {0};
    if (is_tame(t) && (report.status == GRPOALIGN_OK || report.status == GRPOALIGN_NOT_UNIQUE)) {
        fault = trial_check(t, policy, log_policy, &report, 0);
    } else if (is_tame(t) && report.status == GRPOALIGN_COLLAPSED && t->context.limit) {
        fault = trial_check_collapsed(t, policy, log_policy);
    }
    promise(fault.what == NULL, fault.what, trial_record(t));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bytes b = {data, size};
    trial t, before;
    grpoalign_problem *problem = NULL;
    grpoalign_solution *solution = NULL;
    grpoalign_error error;
    take_trial(&b, &t);
    memcpy(&before, &t, sizeof t);
    grpoalign_status status = trial_problem(&t, &problem, &error);
    promise(status >= 0 || problem == NULL, "no problem on failure", trial_record(&t));
    if (status >= 0) {
        status = grpoalign_solve(problem, t.beta, NULL, &solution, &error);
        promise((status >= 0) == (solution != NULL), "a solution or a failure", trial_record(&t));
    }
    promise(memcmp(&before, &t, sizeof t) == 0, "inputs as they were", trial_record(&t));
    promise(status != GRPOALIGN_ERR_INTERNAL && status != GRPOALIGN_ERR_MEMORY,
            "a status that explains", trial_record(&t));
    if (solution != NULL) {
        check_solution(&t, solution);
    }
    grpoalign_solution_free(solution);
    grpoalign_problem_free(problem);
    return 0;
}
