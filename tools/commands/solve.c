/* grpoalign solve */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands/commands.h"
#include "commands/run.h"
#include "output/result.h"
#include "output/write.h"

static const char HELP[] = "usage: grpoalign solve [options] [FILE...]\n"
                           "\n"
                           "Reads one context per line (JSON Lines) from each FILE, or from "
                           "standard input (also as -), and writes one\n"
                           "result per line. Keys of a record: id; reference or reference_logprobs "
                           "(else uniform); model; rewards, or\n"
                           "margins or wins (pairwise), or support and distribution (group); "
                           "reward_variances (limit); and settings by the\n"
                           "names of the options below, with _ for -. With the std of a batch as "
                           "scale all contexts of a FILE are solved\n"
                           "together.\n"
                           "\n";

static void write_json(const context *c, const result *r, text *out)
{
    text_format(out, "{\"id\": %s, \"status\": \"%s\"", c->id != NULL ? c->id : "null",
                grpoalign_status_name(r->report.status));
    json_labels(out, c);
    json_result(out, r, c->outcomes);
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

static void write_table(const context *c, const result *r, text *out)
{
    const grpoalign_report *report = &r->report;
    table_heading(out, c);
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
    for (int64_t i = 0; i < shown; i++) {
        int w = label_width(c, order[i].outcome);
        width = w > width ? w : width;
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
        table_label(out, c, o, width);
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
        text_format(out, "  and %lld more: reference %.6g, policy %.6g\n",
                    (long long)(c->outcomes - shown), rest_reference, rest);
    }
    free(order);
    text_string(out, "\n");
    if (!isnan(report->expected_reward)) {
        text_format(out, "  expected reward      %.6g -> %.6g\n", report->expected_reward_reference,
                    report->expected_reward);
    }
    text_format(out,
                "  KL(pi_ref||pi)       %.6g\n  KL(pi||pi_ref)       %.6g\n  entropy              "
                "%.6g nats\n",
                report->kl_ref_policy, report->kl_policy_ref, report->entropy);
    text_format(out, "  status               %s; %s, %s; residual %.1e, policy good to %.1e (%s)\n",
                grpoalign_status_name(report->status),
                report->status == GRPOALIGN_COLLAPSED ? "no stationary policy, training ends here"
                : report->unique > 0                  ? "the only stationary policy"
                : report->unique == 0                 ? "others exist"
                                                      : "uniqueness not proved",
                report->stable > 0    ? "stable"
                : report->stable == 0 ? "unstable"
                                      : "stability unknown",
                report->residual, report->policy_error, grpoalign_method_name(report->method));
    table_batch(out, r);
    text_string(out, "\n");
}

static void answer(const context *c, const result *r, const style *how, text *out)
{
    (how->format == FORMAT_TABLE ? write_table : write_json)(c, r, out);
}

int command_solve(int argc, char **argv)
{
    static const action solve_action = {.command = "solve", .help = HELP, .answer = answer};
    return run_contexts(&solve_action, argc, argv);
}
