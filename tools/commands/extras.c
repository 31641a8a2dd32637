#include "commands/extras.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "simulate/advantages.h"

/* ---- groups without spread ------------------------------------------------------------------- */

typedef struct weighed {
    double reward, weight;
} weighed;

static int by_reward(const void *left, const void *right)
{
    double a = ((const weighed *)left)->reward, b = ((const weighed *)right)->reward;
    return (a > b) - (a < b);
}

/* sum W^G over the distinct rewards. */
static double sum_of_powers(weighed *levels, int64_t count, int64_t group_size)
{
    double sum = 0.0;
    qsort(levels, (size_t)count, sizeof *levels, by_reward);
    for (int64_t first = 0, last; first < count; first = last) {
        double weight = 0.0;
        for (last = first; last < count && levels[last].reward == levels[first].reward; last++) {
            weight += levels[last].weight;
        }
        sum += pow(fmin(1.0, weight), (double)group_size);
    }
    return fmin(1.0, sum);
}

double silent_of(const context *c, const double *policy)
{
    int64_t count = c->support != NULL ? c->levels : c->outcomes;
    if (c->settings.model != MODEL_GROUP || (c->rewards == NULL && c->support == NULL)) {
        return NAN;
    }
    weighed *levels = memory_malloc((size_t)count * sizeof *levels);
    if (levels == NULL) {
        return NAN;
    }
    for (int64_t l = 0; l < count; l++) {
        levels[l] = (weighed){c->support != NULL ? c->support[l] : c->rewards[l],
                              c->support != NULL ? 0.0 : policy[l]};
        for (int64_t o = 0; c->support != NULL && o < c->outcomes; o++) {
            levels[l].weight += policy[o] * c->distribution[o * c->levels + l];
        }
    }
    double silent = sum_of_powers(levels, count, c->settings.group_size);
    free(levels);
    return silent;
}

/* ---- one group ------------------------------------------------------------------------------- */

/* By the tables of a rule. */
static void by_table(const context *c, double *advantages)
{
    int64_t successes = 0;
    for (int64_t i = 0; i < c->group_count; i++) {
        successes += c->group[i] == 1.0;
    }
    for (int64_t i = 0; i < c->group_count; i++) {
        advantages[i] =
            c->group[i] == 1.0 ? c->table_success[successes - 1] : c->table_failure[successes];
    }
}

static void json_group(text *out, const context *c)
{
    static const int scales[] = {[GRPOALIGN_SCALE_STD] = OVER_STD,
                                 [GRPOALIGN_SCALE_NONE] = OVER_NOTHING,
                                 [GRPOALIGN_SCALE_STD_OF_OTHERS] = OVER_STD_OF_OTHERS,
                                 [GRPOALIGN_SCALE_MEAN] = OVER_MEAN};
    const settings *s = &c->settings;
    double *advantages = memory_malloc((size_t)c->group_count * sizeof *advantages);
    if (advantages == NULL) {
        return;
    }
    if (c->table_success != NULL) {
        by_table(c, advantages);
    } else {
        const sim_recipe recipe = {.group_size = c->group_count,
                                   .scale = scales[s->scale],
                                   .ddof = (int)s->ddof,
                                   .inside = s->epsilon_place == GRPOALIGN_EPSILON_INSIDE,
                                   .leave_one_out = s->baseline == GRPOALIGN_BASELINE_LEAVE_ONE_OUT,
                                   .epsilon = s->epsilon};
        (void)normalise(&recipe, c->group, advantages);
    }
    json_key(out, "group_advantages");
    json_numbers(out, advantages, c->group_count);
    free(advantages);
}

/* ---- metrics --------------------------------------------------------------------------------- */

static void json_metric(text *out, const char *name, const double *values, const context *c,
                        const result *r, int is_first)
{
    const double both[2] = {expectation_of(r->reference, values, c->outcomes),
                            expectation_of(r->policy, values, c->outcomes)};
    text_string(out, is_first ? "{" : ", ");
    text_quoted(out, name);
    text_string(out, ": {\"reference\": ");
    text_number(out, both[0]);
    text_string(out, ", \"policy\": ");
    text_number(out, both[1]);
    text_string(out, "}");
}

void json_extras(text *out, const context *c, const result *r)
{
    double silent = silent_of(c, r->policy);
    if (c->metrics.count > 0) {
        json_key(out, "metrics");
        for (int64_t k = 0; k < c->metrics.count; k++) {
            json_metric(out, c->metrics.names[k], c->metrics.values[k], c, r, k == 0);
        }
        text_string(out, "}");
    }
    if (!isnan(silent)) {
        json_key(out, "silent_reference");
        text_number(out, silent_of(c, r->reference));
        json_key(out, "silent");
        text_number(out, silent);
    }
    if (c->group != NULL) {
        json_group(out, c);
    }
}
