#include "trial.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- as a record ----------------------------------------------------------------------------- */

static int print_list(char *text, int at, int room, const char *key, const double *x, int64_t n)
{
    at += snprintf(text + at, (size_t)(room - at), "%s[", key);
    for (int64_t i = 0; i < n; i++) {
        at += snprintf(text + at, (size_t)(room - at), "%s%.17g", i > 0 ? ", " : "", x[i]);
    }
    return at + snprintf(text + at, (size_t)(room - at), "]");
}

static int print_matrix(char *text, int at, int room, const char *key, const double *x, int64_t n,
                        int64_t k)
{
    at += snprintf(text + at, (size_t)(room - at), "%s", key);
    for (int64_t o = 0; o < n; o++) {
        at = print_list(text, at, room, o > 0 ? ", " : "[", x + o * k, k);
    }
    return at + snprintf(text + at, (size_t)(room - at), "]");
}

const char *trial_record(const trial *t)
{
    static char text[16000];
    const plain_context *c = &t->context;
    int room = (int)sizeof text, at = 0;
    int from_rewards = c->limit || c->group_size > 0;
    at += snprintf(text, (size_t)room, "{\"model\": \"%s\", \"penalty\": \"%s\", \"beta\": %.17g",
                   c->limit            ? "limit"
                   : c->group_size > 0 ? "group"
                                       : "pairwise",
                   grpoalign_penalty_name(t->penalty), t->beta);
    if (t->penalty == GRPOALIGN_PENALTY_ALPHA) {
        at += snprintf(text + at, (size_t)(room - at), ", \"alpha\": %.17g", t->alpha);
    }
    if (from_rewards && c->success == NULL) {
        at += snprintf(text + at, (size_t)(room - at),
                       ", \"scale\": \"%s\", \"baseline\": \"%s\", \"epsilon\": %.17g, "
                       "\"ddof\": %d, \"epsilon_place\": \"%s\"",
                       c->unscaled      ? "none"
                       : c->over_others ? "std_of_others"
                       : c->over_mean   ? "mean"
                                        : "std",
                       c->leave_one_out ? "leave_one_out" : "mean", c->epsilon, c->ddof,
                       c->inside ? "inside" : "outside");
    }
    if (c->success != NULL) {
        at = print_list(text, at, room, ", \"group_table\": {\"success\": ", c->success,
                        c->group_size);
        at = print_list(text, at, room, ", \"failure\": ", c->failure, c->group_size);
        at += snprintf(text + at, (size_t)(room - at), "}");
    } else if (c->group_size > 0) {
        at += snprintf(text + at, (size_t)(room - at),
                       ", \"group_size\": %lld, \"zero_variance\": \"%s\"",
                       (long long)c->group_size, c->filtered ? "drop" : "keep");
    }
    if (c->margins != NULL) {
        at = print_matrix(text, at, room, ", \"margins\": ", c->margins, c->n, c->n);
    } else if (c->support != NULL) {
        at = print_list(text, at, room, ", \"support\": ", c->support, c->k);
        at = print_matrix(text, at, room, ", \"distribution\": ", c->distribution, c->n, c->k);
    } else {
        at = print_list(text, at, room, ", \"rewards\": ", t->rewards, c->n);
    }
    if (c->variances != NULL) {
        at = print_list(text, at, room, ", \"reward_variances\": ", t->variances, c->n);
    }
    at = print_list(text, at, room, ", \"reference_logprobs\": ", t->logs, c->n);
    (void)snprintf(text + at, (size_t)(room - at), "}");
    return text;
}

/* ---- as handles ------------------------------------------------------------------------------ */

grpoalign_status trial_model(const plain_context *c, grpoalign_model **out, grpoalign_error *error)
{
    grpoalign_reward_options options = GRPOALIGN_REWARD_OPTIONS_INIT;
    options.scale = c->unscaled      ? GRPOALIGN_SCALE_NONE
                    : c->over_others ? GRPOALIGN_SCALE_STD_OF_OTHERS
                    : c->over_mean   ? GRPOALIGN_SCALE_MEAN
                                     : GRPOALIGN_SCALE_STD;
    options.baseline =
        c->leave_one_out ? GRPOALIGN_BASELINE_LEAVE_ONE_OUT : GRPOALIGN_BASELINE_MEAN;
    options.epsilon_place = c->inside ? GRPOALIGN_EPSILON_INSIDE : GRPOALIGN_EPSILON_OUTSIDE;
    options.zero_variance =
        c->filtered ? GRPOALIGN_ZERO_VARIANCE_DROP : GRPOALIGN_ZERO_VARIANCE_KEEP;
    options.ddof = c->ddof;
    options.epsilon = c->epsilon;
    return c->margins != NULL
               ? grpoalign_model_new_pairwise(c->margins, c->n, c->n, NULL, out, error)
           : c->support != NULL
               ? grpoalign_model_new_group_random(c->support, c->k, c->distribution, c->n, c->k,
                                                  c->group_size, &options, out, error)
           : c->limit
               ? grpoalign_model_new_limit(c->rewards, c->variances, c->n, &options, out, error)
           : c->success != NULL
               ? grpoalign_model_new_rule_table(c->rewards, c->n, c->success, c->failure,
                                                c->group_size, NULL, out, error)
           : c->group_size > 0
               ? grpoalign_model_new_group(c->rewards, c->n, c->group_size, &options, out, error)
               : grpoalign_model_new_ranked(c->rewards, c->n, NULL, out, error);
}

grpoalign_status trial_penalty(const trial *t, grpoalign_penalty **out, grpoalign_error *error)
{
    grpoalign_penalty_options options = GRPOALIGN_PENALTY_OPTIONS_INIT;
    options.alpha = t->alpha;
    return grpoalign_penalty_new(t->penalty, &options, out, error);
}

grpoalign_status trial_problem(const trial *t, grpoalign_problem **out, grpoalign_error *error)
{
    grpoalign_model *model = NULL;
    grpoalign_penalty *penalty = NULL;
    grpoalign_reference *reference = NULL;
    *out = NULL;
    grpoalign_status status = trial_model(&t->context, &model, error);
    status = status >= 0 ? trial_penalty(t, &penalty, error) : status;
    status = status >= 0
                 ? grpoalign_reference_new_log(t->logs, t->context.n, NULL, &reference, error)
                 : status;
    status =
        status >= 0 ? grpoalign_problem_new(model, penalty, reference, NULL, out, error) : status;
    grpoalign_reference_free(reference);
    grpoalign_penalty_free(penalty);
    grpoalign_model_free(model);
    return status;
}

/* ---- what may be ----------------------------------------------------------------------------- */

int trial_may_be_unsupported(const trial *t)
{
    const plain_context *c = &t->context;
    int has_no_reward_order = c->margins != NULL || c->support != NULL || c->success != NULL;
    switch (t->penalty) {
    case GRPOALIGN_PENALTY_KL_IN_REWARD:
        return has_no_reward_order || c->filtered;
    case GRPOALIGN_PENALTY_TOTAL_VARIATION:
        return has_no_reward_order || c->filtered || c->group_size == 2;
    case GRPOALIGN_PENALTY_NONE:
        return c->success != NULL;
    case GRPOALIGN_PENALTY_SQUARED_LOG_RATIO:
        return c->filtered;
    case GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED:
    case GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED:
        return 1; /* beyond exp(11) of its reference nothing holds an outcome */
    default:
        return 0;
    }
}

int trial_may_collapse(const trial *t)
{
    const plain_context *c = &t->context;
    int bounded = t->penalty == GRPOALIGN_PENALTY_CHI_SQUARED ||
                  (t->penalty == GRPOALIGN_PENALTY_ALPHA && t->alpha > 1.0);
    return t->penalty == GRPOALIGN_PENALTY_NONE || (c->filtered && bounded) ||
           (c->limit && !c->unscaled && !c->over_mean && c->epsilon == 0.0);
}

/* ---- what must be ---------------------------------------------------------------------------- */

/* Keeps the first fault. */
static void need_small(trial_fault *self, double value, double most, const char *what)
{
    if (self->what == NULL && !(value <= most)) {
        *self = (trial_fault){what, value, most};
    }
}

/* Probabilities: numbers in [0, 1] that sum to 1. Logarithms have the rounding of the reference's,
 * a few units of the last place of 1. */
static void check_probabilities(trial_fault *fault, int64_t n, const double *policy,
                                const double *log_policy)
{
    double sum = 0.0;
    for (int64_t o = 0; o < n; o++) {
        int inside = policy[o] >= 0.0 && policy[o] <= 1.0 && log_policy[o] <= 4.0 * DBL_EPSILON;
        need_small(fault, inside ? 0.0 : NAN, 0.0, "the distance of a probability from [0, 1]");
        sum += policy[o];
    }
    need_small(fault, fabs(sum - 1.0), 1e-13, "the distance of the sum from 1");
}

/* Under the squared log ratio g grows above l = -1 alone. One class may lie below and attract all
 * the same, two may not. */
static int attracts_as_it_may(const trial *t, const double *policy, const double *log_policy,
                              const grpoalign_report *report)
{
    double first = NAN, total = 0.0;
    for (int64_t o = 0; o < t->context.n; o++) {
        total += exp(t->logs[o]);
    }
    for (int64_t o = 0; o < t->context.n; o++) {
        double l = log_policy[o] - (t->logs[o] - log(total));
        if (policy[o] > 0.0 && l < -1.0 - 1e-6) {
            if (!isnan(first) && fabs(l - first) > 1e-6) {
                return 0;
            }
            first = l;
        }
    }
    return isnan(first) || report->stable == 1;
}

trial_fault trial_check(const trial *t, const double *policy, const double *log_policy,
                        const grpoalign_report *report, int is_first)
{
    int64_t n = t->context.n;
    trial_fault fault = {0};
    double longest = 0.0, most = 0.0, rest = 0.0;
    check_probabilities(&fault, n, policy, log_policy);
    for (int64_t o = 0; o < n; o++) {
        rest += fmin(policy[o], most); /* all but the heaviest */
        most = fmax(policy[o], most);
        longest = isfinite(log_policy[o]) ? fmax(longest, fabs(log_policy[o])) : longest;
    }
    plain_balance b =
        plain_put_back(&t->context, t->penalty, t->alpha, t->beta, t->logs, policy, log_policy);
    double beta = t->penalty == GRPOALIGN_PENALTY_NONE ? 1.0 : t->beta;
    double size = b.size + fmax(1.0, beta);
    /* A root where beta turns, or where a step ends, is known to less. */
    double error = 1e-11 + 100.0 * report->policy_error;
    need_small(&fault, b.off, error * size, "what is off");
    /* Of what is small the digits count too, but where all spread hangs on a probability that is
     * smaller than what is promised of it: here `rest`, with random rewards that of a level. */
    if (is_first && t->context.support == NULL) {
        double known = 1e-8 + 1e-15 * longest + 100.0 * (DBL_EPSILON + report->policy_error) / rest;
        need_small(&fault, b.relative, known, "what is off, relative");
    }
    need_small(&fault, b.returns, error * size, "the gain of an outcome that was let go");
    need_small(&fault, b.beyond, 0.0, "the distance beyond what the penalty holds");
    if (t->penalty == GRPOALIGN_PENALTY_SQUARED_LOG_RATIO) {
        int may = attracts_as_it_may(t, policy, log_policy, report);
        need_small(&fault, may ? 0.0 : 1.0, 0.0, "classes below the end of the slack that repel");
    }
    /* Random rewards over a tiny std of the others are centred: what they were before is known no
     * more. */
    int is_centred = t->context.over_others && t->context.support != NULL;
    double normaliser = plain_normaliser(&b, t->penalty, t->alpha, t->beta);
    need_small(&fault, is_centred ? 0.0 : fabs(report->normaliser - normaliser),
               error * size / beta, "the error of the normaliser");
    if (t->penalty != GRPOALIGN_PENALTY_TOTAL_VARIATION) { /* of the normaliser's rounding there */
        need_small(&fault, report->residual, 10.0 * error * size / beta + 1e-15 * longest,
                   "the residual");
    }
    return fault;
}

trial_fault trial_check_collapsed(const trial *t, const double *policy, const double *log_policy)
{
    const plain_context *c = &t->context;
    trial_fault fault = {0};
    double best = -INFINITY, shift = NAN, rarest = 0.0;
    check_probabilities(&fault, c->n, policy, log_policy);
    for (int64_t o = 0; o < c->n; o++) {
        best = t->logs[o] > -INFINITY ? fmax(best, t->rewards[o]) : best;
        rarest = t->logs[o] > -INFINITY ? fmax(rarest, fabs(t->logs[o])) : rarest;
    }
    for (int64_t o = 0; o < c->n; o++) {
        int is_best = t->logs[o] > -INFINITY && t->rewards[o] == best;
        int holds =
            is_best ? isfinite(log_policy[o]) : policy[o] == 0.0; /* or less than a double */
        need_small(&fault, holds ? 0.0 : 1.0, 0.0, "outcomes beside the best that hold something");
        if (is_best) {
            shift = isnan(shift) ? log_policy[o] - t->logs[o] : shift;
            need_small(&fault, fabs(log_policy[o] - t->logs[o] - shift),
                       1e-12 + 4.0 * DBL_EPSILON * rarest,
                       "the distance from the ratio of the reference");
        }
    }
    return fault;
}
