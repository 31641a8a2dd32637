/* grpoalign summary */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/number.h"
#include "base/output.h"
#include "commands/commands.h"
#include "commands/extras.h"
#include "commands/run.h"

static const char HELP[] =
    "usage: grpoalign summary [options] [FILE...]\n"
    "\n"
    "Reads what `grpoalign solve` reads, and writes one object: how many contexts there were, how "
    "many failed, collapsed\n"
    "or have several stationary policies, and means over those that were answered. Errors go to "
    "standard error.\n"
    "\n"
    "  --pass-at K,...                   pass@k before and after, from rewards 0 and 1\n"
    "  --pass-metric NAME                from the metric of a name instead\n"
    "\n";

/* ---- what is summed up ----------------------------------------------------------------------- */

enum {
    REWARD_BEFORE,
    REWARD_AFTER,
    KL_REF_POLICY,
    KL_POLICY_REF,
    ENTROPY,
    SILENT_BEFORE,
    SILENT_AFTER,
    NUMBERS
};

static const char *const NAMES[NUMBERS] = {
    "expected_reward_reference", "expected_reward", "kl_ref_policy", "kl_policy_ref", "entropy",
    "silent_reference",          "silent"};

/* A mean over the contexts that have a number. */
typedef struct mean {
    double sum, low;
    int64_t count;
} mean;

static void add(mean *self, double value)
{
    double next = self->sum + value;
    if (!isfinite(value)) {
        return;
    }
    self->low +=
        fabs(self->sum) >= fabs(value) ? (self->sum - next) + value : (value - next) + self->sum;
    self->sum = next;
    self->count++;
}

static double value_of(const mean *self)
{
    return self->count > 0 ? (self->sum + self->low) / (double)self->count : NAN;
}

typedef struct named {
    char *name;
    mean before, after;
} named;

enum { MOST_PASSES = 64 };

typedef struct summary {
    int format;
    struct {
        int64_t k[MOST_PASSES];
        int count;
    } pass_at;
    const char *pass_metric;
    int64_t contexts, failed, collapsed, not_unique;
    mean numbers[NUMBERS], pass_before[MOST_PASSES], pass_after[MOST_PASSES];
    list metrics; /* of named */
    int is_short; /* of memory */
} summary;

/* What one context hands over, followed by its metrics: a name, its end, and two numbers. */
typedef struct handed {
    int32_t status;
    double numbers[NUMBERS];
    double pass[2]; /* the probability of a success before and after; NaN for none */
} handed;

static int read_pass_at(void *into, const char *value, text *expected)
{
    summary *self = (summary *)((char *)into - offsetof(summary, pass_at));
    text_string(expected, "numbers >= 1, as 1,8");
    self->pass_at.count = 0;
    for (const char *at = value; *at != '\0';) {
        char word[32];
        size_t length = strcspn(at, ",");
        int64_t k;
        if (length == 0 || length >= sizeof word || self->pass_at.count == MOST_PASSES) {
            return 0;
        }
        memcpy(word, at, length);
        word[length] = '\0';
        if (!parse_integer(word, &k) || k < 1) {
            return 0;
        }
        self->pass_at.k[self->pass_at.count++] = k;
        at += length + (at[length] == ',');
    }
    return self->pass_at.count > 0;
}

static int begin(void *user, int format, text *out, text *wrong)
{
    summary *self = user;
    (void)out;
    self->format = format;
    if (self->pass_metric != NULL && self->pass_at.count == 0) {
        text_string(wrong, "--pass-metric belongs to --pass-at");
        return 0;
    }
    return 1;
}

/* ---- one context ----------------------------------------------------------------------------- */

/* The numbers that say which outcomes pass; NULL, with the reason, where there are none. */
static const double *passes_of(const summary *self, const context *c, const char **wrong)
{
    const double *passes =
        self->pass_metric != NULL ? metrics_find(&c->metrics, self->pass_metric) : c->rewards;
    if (passes == NULL) {
        *wrong = self->pass_metric != NULL
                     ? "--pass-metric names a metric that the record does not have"
                     : "--pass-at: outcomes have no reward of their own: expected --pass-metric";
        return NULL;
    }
    for (int64_t o = 0; o < c->outcomes; o++) {
        if (passes[o] != 0.0 && passes[o] != 1.0) {
            *wrong = "--pass-at: rewards are not 0 or 1: expected --pass-metric NAME";
            return NULL;
        }
    }
    return passes;
}

static void hand_over(const summary *self, const context *c, const result *r, const double *passes,
                      text *aside)
{
    const grpoalign_report *report = &r->report;
    handed own = {.status = report->status,
                  .numbers = {report->expected_reward_reference, report->expected_reward,
                              report->kl_ref_policy, report->kl_policy_ref, report->entropy,
                              silent_of(c, r->reference), silent_of(c, r->policy)},
                  .pass = {NAN, NAN}};
    (void)self;
    if (passes != NULL) {
        own.pass[0] = expectation_of(r->reference, passes, c->outcomes);
        own.pass[1] = expectation_of(r->policy, passes, c->outcomes);
    }
    text_add(aside, (const char *)&own, sizeof own);
    for (int64_t k = 0; k < c->metrics.count; k++) {
        const double both[2] = {expectation_of(r->reference, c->metrics.values[k], c->outcomes),
                                expectation_of(r->policy, c->metrics.values[k], c->outcomes)};
        text_add(aside, c->metrics.names[k], strlen(c->metrics.names[k]) + 1);
        text_add(aside, (const char *)both, sizeof both);
    }
}

static int act(void *user, const context *c, const reply *to)
{
    const summary *self = user;
    const char *wrong = NULL;
    const double *passes = self->pass_at.count > 0 ? passes_of(self, c, &wrong) : NULL;
    result found = {.contexts = 0};
    grpoalign_error error;
    if (wrong != NULL) {
        write_error(to, c->id, "contradiction", "%s", wrong);
        return 0;
    }
    grpoalign_status status = result_solve(&found, c, &error);
    if (status < 0) {
        write_library_error(to, c->id, status, error.message);
    } else {
        hand_over(self, c, &found, passes, to->aside);
    }
    result_free(&found);
    return status >= 0;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static named *metric_of(summary *self, const char *name)
{
    named *known = self->metrics.items;
    for (size_t k = 0; k < self->metrics.count; k++) {
        if (strcmp(known[k].name, name) == 0) {
            return &known[k];
        }
    }
    named *added = list_add(&self->metrics, sizeof *added);
    if (added == NULL) {
        return NULL;
    }
    memset(added, 0, sizeof *added);
    added->name = memory_strdup(name);
    return added->name != NULL ? added : NULL;
}

static void collect_metrics(summary *self, const char *at, const char *end)
{
    while (at < end) {
        const char *name = at;
        double both[2];
        at += strlen(at) + 1;
        memcpy(both, at, sizeof both);
        at += sizeof both;
        named *metric = metric_of(self, name);
        if (metric == NULL) {
            self->is_short = 1;
            return;
        }
        add(&metric->before, both[0]);
        add(&metric->after, both[1]);
    }
}

static void collect(void *user, const text *aside)
{
    summary *self = user;
    handed own;
    self->contexts++;
    if (aside->length < sizeof own) {
        self->failed++;
        return;
    }
    memcpy(&own, aside->bytes, sizeof own);
    self->collapsed += own.status == GRPOALIGN_COLLAPSED;
    self->not_unique += own.status == GRPOALIGN_NOT_UNIQUE;
    for (int k = 0; k < NUMBERS; k++) {
        add(&self->numbers[k], own.numbers[k]);
    }
    for (int k = 0; k < self->pass_at.count; k++) {
        double power = (double)self->pass_at.k[k];
        add(&self->pass_before[k], -expm1(power * log1p(-fmin(1.0, own.pass[0]))));
        add(&self->pass_after[k], -expm1(power * log1p(-fmin(1.0, own.pass[1]))));
    }
    collect_metrics(self, aside->bytes + sizeof own, aside->bytes + aside->length);
}

static void put_pair(text *out, const char *name, const mean *before, const mean *after, int first)
{
    text_string(out, first ? "{" : ", ");
    text_quoted(out, name);
    text_string(out, ": {\"reference\": ");
    text_number(out, value_of(before));
    text_string(out, ", \"policy\": ");
    text_number(out, value_of(after));
    text_string(out, "}");
}

static void write_json(const summary *self, text *out)
{
    const named *sums = self->metrics.items;
    text_format(out,
                "{\"contexts\": %lld, \"failed\": %lld, \"collapsed\": %lld, \"not_unique\": %lld",
                (long long)self->contexts, (long long)self->failed, (long long)self->collapsed,
                (long long)self->not_unique);
    for (int k = 0; k < NUMBERS; k++) {
        json_key(out, NAMES[k]);
        text_number(out, value_of(&self->numbers[k]));
    }
    for (size_t k = 0; k < self->metrics.count; k++) {
        if (k == 0) {
            json_key(out, "metrics");
        }
        put_pair(out, sums[k].name, &sums[k].before, &sums[k].after, k == 0);
        text_string(out, k + 1 == self->metrics.count ? "}" : "");
    }
    for (int k = 0; k < self->pass_at.count; k++) {
        char name[32];
        if (k == 0) {
            json_key(out, "pass_at");
        }
        (void)snprintf(name, sizeof name, "%lld", (long long)self->pass_at.k[k]);
        put_pair(out, name, &self->pass_before[k], &self->pass_after[k], k == 0);
        text_string(out, k + 1 == self->pass_at.count ? "}" : "");
    }
    text_string(out, "}\n");
}

static void put_line(text *out, const char *name, double before, double after)
{
    if (isnan(before)) {
        text_format(out, "  %-28s %.6g\n", name, after);
    } else {
        text_format(out, "  %-28s %.6g -> %.6g\n", name, before, after);
    }
}

static void write_table(const summary *self, text *out)
{
    const named *sums = self->metrics.items;
    text_format(out, "%lld contexts, %lld failed, %lld collapsed, %lld not unique\n",
                (long long)self->contexts, (long long)self->failed, (long long)self->collapsed,
                (long long)self->not_unique);
    put_line(out, "expected reward", value_of(&self->numbers[REWARD_BEFORE]),
             value_of(&self->numbers[REWARD_AFTER]));
    put_line(out, "KL(pi_ref||pi)", NAN, value_of(&self->numbers[KL_REF_POLICY]));
    put_line(out, "KL(pi||pi_ref)", NAN, value_of(&self->numbers[KL_POLICY_REF]));
    put_line(out, "entropy", NAN, value_of(&self->numbers[ENTROPY]));
    if (self->numbers[SILENT_AFTER].count > 0) {
        put_line(out, "groups without spread", value_of(&self->numbers[SILENT_BEFORE]),
                 value_of(&self->numbers[SILENT_AFTER]));
    }
    for (size_t k = 0; k < self->metrics.count; k++) {
        put_line(out, sums[k].name, value_of(&sums[k].before), value_of(&sums[k].after));
    }
    for (int k = 0; k < self->pass_at.count; k++) {
        char name[32];
        (void)snprintf(name, sizeof name, "pass@%lld", (long long)self->pass_at.k[k]);
        put_line(out, name, value_of(&self->pass_before[k]), value_of(&self->pass_after[k]));
    }
}

static int finish(void *user, int whole, text *wrong)
{
    const summary *self = user;
    text out = {0};
    if (!whole) {
        text_string(wrong, "the summary is not whole");
        return 0;
    }
    (self->format == FORMAT_TABLE ? write_table : write_json)(self, &out);
    int good = !out.failed && !self->is_short && output_write(out.bytes, out.length);
    if (!good) {
        text_format(wrong, "the summary cannot be written: %s",
                    out.failed || self->is_short ? "out of memory" : strerror(errno));
    }
    text_free(&out);
    return good;
}

int command_summary(int argc, char **argv)
{
    static const parameter options[] = {
        {"pass_at", SET_OTHER, .field = offsetof(summary, pass_at), .read = read_pass_at},
        {"pass_metric", SET_TEXT, .field = offsetof(summary, pass_metric)},
        {.name = NULL}};
    summary *self = memory_calloc(1, sizeof *self);
    if (self == NULL) {
        fputs("grpoalign: out of memory\n", stderr);
        return 1;
    }
    const action summary_action = {.command = "summary",
                                   .help = HELP,
                                   .options = options,
                                   .begin = begin,
                                   .act = act,
                                   .sums = 1,
                                   .collect = collect,
                                   .finish = finish,
                                   .user = self};
    int status = run_contexts(&summary_action, argc, argv);
    named *sums = self->metrics.items;
    for (size_t k = 0; k < self->metrics.count; k++) {
        free(sums[k].name);
    }
    list_free(&self->metrics);
    free(self);
    return status;
}
