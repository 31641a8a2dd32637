/* grpoalign points */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands/commands.h"
#include "commands/run.h"
#include "base/number.h"
#include "output/result.h"
#include "output/write.h"

static const char HELP[] = "usage: grpoalign points [options] [FILE...]\n"
                           "\n"
                           "All stationary policies of each context: whether they attract "
                           "training, and which one training reaches from the\n"
                           "reference. Records are those of `grpoalign solve`.\n"
                           "\n"
                           "  --folds LOW:HIGH                  also the betas in between at which "
                           "stationary policies appear or vanish\n"
                           "  --no-flow                         do not follow the training flow to "
                           "see which one it reaches\n"
                           "\n";

typedef struct points_options {
    int folds, no_flow;
    double low, high;
} points_options;

/* How training from the reference ends. */
enum { END_UNKNOWN, END_POINT, END_COLLAPSE };

typedef struct findings {
    result *points, *folds;
    int64_t count, fold_count, from_reference, reached;
    int complete, folds_complete, end;
    double critical_beta;
} findings;

static void findings_free(findings *self)
{
    for (int64_t k = 0; k < self->count; k++) {
        result_free(&self->points[k]);
    }
    for (int64_t k = 0; k < self->fold_count; k++) {
        result_free(&self->folds[k]);
    }
    free(self->points);
    free(self->folds);
}

/* The solutions of a list into an array of results. */
static grpoalign_status take_list(const grpoalign_points *list,
                                  const grpoalign_reference *reference, int64_t n, result **out,
                                  int64_t *count, grpoalign_error *error)
{
    int64_t all = grpoalign_points_count(list);
    *out = calloc((size_t)all + 1, sizeof **out);
    grpoalign_status status = GRPOALIGN_OK;
    if (*out == NULL) {
        return GRPOALIGN_ERR_MEMORY;
    }
    for (int64_t k = 0; status >= 0 && k < all; k++) {
        *count = k + 1;
        status = result_take(&(*out)[k], grpoalign_points_solution(list, k), reference, n, error);
    }
    return status;
}

/* The point that a policy is at, -1 for none. */
static int64_t find_point(const findings *self, const double *policy, int64_t n)
{
    const double same = 1e-6;
    for (int64_t k = 0; k < self->count; k++) {
        double distance = 0.0;
        for (int64_t o = 0; o < n; o++) {
            distance = fmax(distance, fabs(self->points[k].policy[o] - policy[o]));
        }
        if (distance < same) {
            return k;
        }
    }
    return -1;
}

static grpoalign_status follow(const handles *h, const context *c, findings *found,
                               grpoalign_error *error)
{
    grpoalign_flow *flow = NULL;
    grpoalign_status status = grpoalign_flow_new(h->problem, c->settings.beta, NULL, &flow, error);
    if (status == GRPOALIGN_ERR_TOO_LARGE || status == GRPOALIGN_ERR_UNSUPPORTED ||
        status == GRPOALIGN_NOT_CONVERGED) {
        grpoalign_flow_free(flow);
        return GRPOALIGN_OK; /* the end stays unknown */
    }
    if (status >= 0) {
        result end = {0};
        status = result_take(&end, grpoalign_flow_end(flow), h->reference, c->outcomes, error);
        if (status >= 0) {
            found->reached = end.report.status == GRPOALIGN_COLLAPSED
                                 ? -1
                                 : find_point(found, end.policy, c->outcomes);
            found->end = end.report.status == GRPOALIGN_COLLAPSED ? END_COLLAPSE
                         : found->reached >= 0                    ? END_POINT
                                                                  : END_UNKNOWN;
        }
        result_free(&end);
    }
    grpoalign_flow_free(flow);
    return status;
}

static grpoalign_status find(const points_options *options, const context *c, findings *found,
                             grpoalign_error *error)
{
    handles h;
    grpoalign_points *points = NULL, *folds = NULL;
    grpoalign_solve_options how;
    grpoalign_solve_options_init(&how, sizeof how);
    how.stability = GRPOALIGN_STABILITY_SPECTRUM;
    grpoalign_status status = handles_open(c, &h, error);
    if (status >= 0) {
        status = grpoalign_points_new(h.problem, c->settings.beta, &how, &points, error);
    }
    if (status >= 0) {
        status = take_list(points, h.reference, c->outcomes, &found->points, &found->count, error);
        found->complete = grpoalign_points_complete(points);
        found->from_reference = grpoalign_points_from_reference(points);
        found->reached = -1;
    }
    if (status >= 0) {
        status = grpoalign_critical_beta(h.problem, NULL, &found->critical_beta, error);
    }
    if (status >= 0 && options->folds) {
        status =
            grpoalign_points_new_folds(h.problem, options->low, options->high, &how, &folds, error);
        if (status >= 0) {
            status = take_list(folds, h.reference, c->outcomes, &found->folds, &found->fold_count,
                               error);
            found->folds_complete = grpoalign_points_complete(folds);
        }
    }
    /* The only stationary policy, proved and attracting, needs no flow to be found. */
    int obvious = found->complete && found->count == 1 && found->points[0].report.unique > 0;
    if (status >= 0 && obvious) {
        found->reached = 0;
        found->end = END_POINT;
    } else if (status >= 0 && !options->no_flow) {
        status = follow(&h, c, found, error);
    }
    grpoalign_points_free(points);
    grpoalign_points_free(folds);
    handles_close(&h);
    return status;
}

static const char *end_name(int end)
{
    return end == END_POINT ? "point" : end == END_COLLAPSE ? "collapse" : "unknown";
}

static void write_json(const points_options *options, const context *c, const findings *found,
                       text *out)
{
    text_format(out, "{\"id\": %s, \"status\": \"ok\"", c->id != NULL ? c->id : "null");
    json_labels(out, c);
    text_string(out, ", \"points\": [");
    for (int64_t k = 0; k < found->count; k++) {
        const result *r = &found->points[k];
        text_format(out, "%s{\"status\": \"%s\", \"from_reference\": %s, \"reached\": %s",
                    k > 0 ? ", " : "", grpoalign_status_name(r->report.status),
                    json_truth(k == found->from_reference),
                    json_truth(found->end == END_UNKNOWN ? -1 : k == found->reached));
        json_result(out, r, c->outcomes);
        text_string(out, "}");
    }
    text_format(out, "], \"complete\": %s, \"training_ends\": \"%s\"", json_truth(found->complete),
                end_name(found->end));
    json_number(out, "critical_beta", found->critical_beta > 0.0 ? found->critical_beta : NAN);
    if (options->folds) {
        text_string(out, ", \"folds\": [");
        for (int64_t k = 0; k < found->fold_count; k++) {
            text_string(out, k > 0 ? ", {\"beta\": " : "{\"beta\": ");
            text_number(out, found->folds[k].report.beta);
            json_array(out, "policy", found->folds[k].policy, c->outcomes);
            text_string(out, "}");
        }
        text_format(out, "], \"folds_complete\": %s", json_truth(found->folds_complete));
    }
    text_string(out, "}\n");
}

enum { TABLE_ROWS = 20, TABLE_COLUMNS = 8 };

static void write_table(const points_options *options, const context *c, const findings *found,
                        text *out)
{
    int64_t columns = found->count < TABLE_COLUMNS ? found->count : TABLE_COLUMNS;
    int64_t rows = c->outcomes < TABLE_ROWS ? c->outcomes : TABLE_ROWS;
    int width = 18;
    table_heading(out, c);
    text_format(out, "  %lld stationary polic%s, %s\n", (long long)found->count,
                found->count == 1 ? "y" : "ies",
                found->complete ? "proved to be all"
                                : "as many as a search found (no proof that they are all)");
    if (columns > 0) {
        for (int64_t o = 0; o < rows; o++) {
            int w = label_width(c, o);
            width = w > width ? w : width;
        }
        text_format(out, "\n  %-*s", width, "");
        for (int64_t k = 0; k < columns; k++) {
            text_format(out, "%14lld", (long long)k + 1);
        }
        if (!isnan(found->points[0].report.expected_reward)) {
            text_format(out, "\n  %-*s", width, "expected reward");
            for (int64_t k = 0; k < columns; k++) {
                text_format(out, "%14.6g", found->points[k].report.expected_reward);
            }
        }
        text_format(out, "\n  %-*s", width, "KL(pi||pi_ref)");
        for (int64_t k = 0; k < columns; k++) {
            text_format(out, "%14.6g", found->points[k].report.kl_policy_ref);
        }
        text_format(out, "\n  %-*s", width, "attracts training");
        for (int64_t k = 0; k < columns; k++) {
            int32_t stable = found->points[k].report.stable;
            text_format(out, "%14s", stable > 0 ? "yes" : stable == 0 ? "no" : "unknown");
        }
        text_format(out, "\n  %-*s", width, "rate");
        for (int64_t k = 0; k < columns; k++) {
            text_format(out, "%14.4g", found->points[k].report.rate);
        }
        text_format(out, "\n  %-*s", width, "residual");
        for (int64_t k = 0; k < columns; k++) {
            text_format(out, "%14.1e", found->points[k].report.residual);
        }
        text_string(out, "\n\n");
        for (int64_t o = 0; o < rows; o++) {
            table_label(out, c, o, width);
            for (int64_t k = 0; k < columns; k++) {
                text_format(out, "%14.6g", found->points[k].policy[o]);
            }
            text_string(out, "\n");
        }
        if (rows < c->outcomes) {
            text_format(out, "  and %lld outcomes more\n", (long long)(c->outcomes - rows));
        }
        if (columns < found->count) {
            text_format(out, "  and %lld stationary policies more\n",
                        (long long)(found->count - columns));
        }
    }
    text_string(out, "\n");
    if (found->from_reference >= 0) {
        text_format(out, "  connected to the reference   %lld\n",
                    (long long)found->from_reference + 1);
    }
    if (found->end == END_POINT) {
        text_format(out, "  training ends at             %lld\n", (long long)found->reached + 1);
    } else {
        text_format(out, "  training ends at             %s\n",
                    found->end == END_COLLAPSE ? "the best outcomes alone (collapse)" : "unknown");
    }
    if (found->critical_beta > 0.0) {
        text_format(out, "  critical beta                %.9g, below it there is none\n",
                    found->critical_beta);
    }
    if (options->folds) {
        text_format(out, "  folds (%s)%*s",
                    found->folds_complete ? "all" : "of the branch from large beta",
                    found->folds_complete ? 18 : 1, "");
        for (int64_t k = 0; k < found->fold_count; k++) {
            text_format(out, "%s%.9g", k > 0 ? ", " : "", found->folds[k].report.beta);
        }
        text_string(out, found->fold_count > 0 ? "\n" : "none\n");
    }
    text_string(out, "\n");
}

static int act(void *user, const context *self, const char *place, const style *how, text *out,
               text *aside)
{
    const points_options *options = user;
    grpoalign_error error = {.message = "out of memory"};
    findings found = {0};
    (void)aside;
    grpoalign_status status = find(options, self, &found, &error);
    if (status < 0) {
        write_library_error(out, how, self, status, place, error.message);
    } else {
        (how->format == FORMAT_TABLE ? write_table : write_json)(options, self, &found, out);
    }
    findings_free(&found);
    return status >= 0;
}

static int option(void *user, const char *name, const char *value, text *expected)
{
    points_options *self = user;
    if (strcmp(name, "no-flow") == 0) {
        return self->no_flow = 1;
    }
    if (strcmp(name, "folds") == 0) {
        text_string(expected, "LOW:HIGH, 0 < LOW <= HIGH");
        return self->folds = parse_interval(value, &self->low, &self->high);
    }
    return -1;
}

int command_points(int argc, char **argv)
{
    static const own_option options[] = {{"folds", 1}, {"no-flow", 0}, {NULL, 0}};
    points_options own = {0};
    const action points_action = {.command = "points",
                                  .help = HELP,
                                  .options = options,
                                  .option = option,
                                  .act = act,
                                  .user = &own};
    return run_contexts(&points_action, argc, argv);
}
