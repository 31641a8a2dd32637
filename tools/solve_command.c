/* grpoalign solve */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "input.h"
#include "write.h"

static const char HELP[] =
    "usage: grpoalign solve [options] [FILE...]\n"
    "\n"
    "Reads one context per line (JSON Lines) from each FILE, or from standard input (also as -), and writes one\n"
    "result per line. Keys of a record: id; reference or reference_logprobs (else uniform); model; rewards, or\n"
    "margins or wins (pairwise), or support and distribution (group); reward_variances (limit); group_size, scale,\n"
    "epsilon, ddof, penalty, beta.\n"
    "\n";

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
    text_format(out, ", \"stable\": %s, \"unique\": %s", json_truth(report->stable), json_truth(report->unique));
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

static grpoalign_status solve(const context *c, result *r, grpoalign_error *error)
{
    handles h;
    grpoalign_solution *solution = NULL;
    int64_t n = c->outcomes;
    grpoalign_status status = handles_open(c, &h, error);
    if (status >= 0) {
        status = grpoalign_solve(h.model, h.penalty, h.reference, c->settings.beta, NULL, &solution, error);
    }
    if (status >= 0) {
        memset(&r->report, 0, sizeof r->report);
        r->report.struct_size = sizeof r->report;
        grpoalign_status got[] = {grpoalign_solution_policy(solution, r->policy, n, error),
                                  grpoalign_solution_advantage(solution, r->advantage, n, error),
                                  grpoalign_reference_probabilities(h.reference, r->reference, n, error),
                                  grpoalign_solution_report(solution, &r->report, error)};
        for (size_t i = 0; i < sizeof got / sizeof *got; i++) {
            status = got[i] < 0 ? got[i] : status;
        }
    }
    grpoalign_solution_free(solution);
    handles_close(&h);
    return status;
}

static int act(void *user, const context *self, const char *place, int format, text *out)
{
    (void)user;
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

int command_solve(int argc, char **argv)
{
    static const action solve_action = {.command = "solve", .help = HELP, .act = act};
    return run_contexts(&solve_action, argc, argv);
}
