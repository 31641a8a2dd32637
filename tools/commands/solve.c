/* grpoalign solve */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/memory.h"
#include "commands/commands.h"
#include "commands/extras.h"
#include "commands/inverse.h"
#include "commands/run.h"
#include "output/table.h"

static const char HELP[] =
    "usage: grpoalign solve [options] [FILE...]\n"
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
    "\n"
    "  --derivatives                     how the policy moves: dpolicy_dbeta, "
    "dpolicy_drewards,\n"
    "                                    dpolicy_dlogreference (JSON)\n";

static void write_json(const context *c, const result *r, text *out)
{
    json_start(out, c->id, grpoalign_status_name(r->report.status));
    json_fields(out, CONTEXT_LABELS, c, c->outcomes);
    json_result(out, r, c->outcomes);
    json_extras(out, c, r);
    json_derivatives(out, &r->derivatives);
    text_string(out, "}\n");
}

/* ---- tables for people ----------------------------------------------------------------------- */

/* Outcomes beyond this many are summed up in one line. */
enum { TABLE_ROWS = 20 };

static int by_policy(const void *left, const void *right, void *policy)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    double more = ((const double *)policy)[b], less = ((const double *)policy)[a];
    return more != less ? (more > less ? 1 : -1) : (a > b) - (a < b);
}

/* The outcomes in the order in which a table shows them; NULL when memory is short. */
static int64_t *rank(const result *r, int64_t n)
{
    int64_t *order = memory_malloc((size_t)n * sizeof *order);
    for (int64_t o = 0; order != NULL && o < n; o++) {
        order[o] = o;
    }
    if (order != NULL && n > TABLE_ROWS) {
        qsort_r(order, (size_t)n, sizeof *order, by_policy, r->policy);
    }
    return order;
}

static void write_outcome(const context *c, const result *r, int64_t o, int width, text *out)
{
    table_label(out, c, o, width);
    if (c->rewards != NULL) {
        table_number(out, 12, 'g', 6, c->rewards[o]);
    }
    table_number(out, 14, 'g', 6, r->reference[o]);
    table_number(out, 14, 'g', 6, r->policy[o]);
    if (r->reference[o] > 0.0) {
        table_number(out, 12, 'g', 4, r->policy[o] / r->reference[o]);
    } else {
        text_format(out, "%12s", "-");
    }
    table_number(out, 13, 'g', 5, r->advantage[o]);
    text_string(out, "\n");
}

static void write_outcomes(const context *c, const result *r, const int64_t *order, text *out)
{
    int64_t shown = c->outcomes < TABLE_ROWS ? c->outcomes : TABLE_ROWS;
    double rest = 0.0, rest_reference = 0.0;
    int width = labels_width(c, order, shown, 7);
    text_format(out, "  %-*s", width, "outcome");
    if (c->rewards != NULL) {
        text_format(out, "%12s", "reward");
    }
    text_format(out, "%14s%14s%12s%13s\n", "reference", "policy", "ratio", "advantage");
    for (int64_t i = 0; i < shown; i++) {
        write_outcome(c, r, order[i], width, out);
    }
    for (int64_t i = shown; i < c->outcomes; i++) {
        rest += r->policy[order[i]];
        rest_reference += r->reference[order[i]];
    }
    if (shown < c->outcomes) {
        text_format(out, "  and %lld more: reference %.6g, policy %.6g\n",
                    (long long)(c->outcomes - shown), rest_reference, rest);
    }
    text_string(out, "\n");
}

void solution_table(const context *c, const result *r, text *out)
{
    const grpoalign_report *report = &r->report;
    int64_t *order = rank(r, c->outcomes);
    table_heading(out, c);
    if (order == NULL) {
        out->failed = 1;
        return;
    }
    write_outcomes(c, r, order, out);
    free(order);
    if (!isnan(report->expected_reward)) {
        text_format(out, "  expected reward      %.6g -> %.6g\n", report->expected_reward_reference,
                    report->expected_reward);
    }
    table_lines(out, "kl_ref_policy,kl_policy_ref,entropy", RESULT_FIELDS, r);
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

static void answer(const context *c, const result *r, const reply *to)
{
    (to->how->format == FORMAT_TABLE ? solution_table : write_json)(c, r, to->out);
}

typedef struct solving {
    int derivatives;
} solving;

static void prepare(void *user, settings *self)
{
    self->derivatives = ((const solving *)user)->derivatives;
}

int command_solve(int argc, char **argv)
{
    static const parameter options[] = {
        {"derivatives", SET_FLAG, .field = offsetof(solving, derivatives)}, {.name = NULL}};
    solving user = {0};
    const action solve_action = {.command = "solve",
                                 .help = HELP,
                                 .options = options,
                                 .prepare = prepare,
                                 .answer = answer,
                                 .user = &user};
    return run_contexts(&solve_action, argc, argv);
}
