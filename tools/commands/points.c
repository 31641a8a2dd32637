/* grpoalign points */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/number.h"
#include "commands/commands.h"
#include "commands/cost.h"
#include "commands/run.h"
#include "output/table.h"

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

/* One stationary policy, as a record tells it. */
typedef struct point {
    result result;
    int32_t from_reference, reached;
} point;

typedef struct findings {
    list points; /* of point */
    list folds;  /* of result */
    int32_t complete, folds_complete;
    int64_t from_reference, reached;
    int32_t end;
    double critical_beta; /* NaN where there is none */
} findings;

static void findings_free(findings *self)
{
    point *points = self->points.items;
    result *folds = self->folds.items;
    for (size_t k = 0; k < self->points.count; k++) {
        result_free(&points[k].result);
    }
    for (size_t k = 0; k < self->folds.count; k++) {
        result_free(&folds[k]);
    }
    list_free(&self->points);
    list_free(&self->folds);
}

/* ---- finding --------------------------------------------------------------------------------- */

/* The solutions of the library's list into a list of structs that start with a result. */
static grpoalign_status take_list(list *into, size_t size, const problem *p,
                                  const grpoalign_points *from, grpoalign_error *error)
{
    grpoalign_status status = GRPOALIGN_OK;
    for (int64_t k = 0; status >= 0 && k < grpoalign_points_count(from); k++) {
        result *next = list_add(into, size);
        status = next != NULL ? result_take(next, p, grpoalign_points_solution(from, k), error)
                              : GRPOALIGN_ERR_MEMORY;
    }
    return status;
}

/* The point that a policy is at, -1 for none. */
static int64_t find_point(const findings *self, const double *policy, int64_t n)
{
    const double same = 1e-6;
    const point *points = self->points.items;
    for (size_t k = 0; k < self->points.count; k++) {
        double distance = 0.0;
        for (int64_t o = 0; o < n; o++) {
            distance = fmax(distance, fabs(points[k].result.policy[o] - policy[o]));
        }
        if (distance < same) {
            return (int64_t)k;
        }
    }
    return -1;
}

/* Where the training flow ends. */
static grpoalign_status follow(problem *p, findings *found, grpoalign_error *error)
{
    grpoalign_flow *flow = NULL;
    result end = {0};
    const grpoalign_flow_options how = problem_flow_options(p);
    grpoalign_status status = grpoalign_flow_new(p->handle, p->beta, &how, &flow, error);
    int unknown = status == GRPOALIGN_ERR_TOO_LARGE || status == GRPOALIGN_ERR_UNSUPPORTED ||
                  status == GRPOALIGN_NOT_CONVERGED;
    if (status >= 0 && !unknown) {
        status = result_take(&end, p, grpoalign_flow_end(flow), error);
    }
    if (status >= 0 && !unknown) {
        int collapsed = end.report.status == GRPOALIGN_COLLAPSED;
        found->reached = collapsed ? -1 : find_point(found, end.policy, p->outcomes);
        found->end = collapsed ? END_COLLAPSE : found->reached >= 0 ? END_POINT : END_UNKNOWN;
    }
    result_free(&end);
    grpoalign_flow_free(flow);
    return unknown ? GRPOALIGN_OK : status;
}

static grpoalign_status find_points(const problem *p, const grpoalign_solve_options *how,
                                    findings *found, grpoalign_error *error)
{
    grpoalign_points *points = NULL;
    grpoalign_status status = grpoalign_points_new(p->handle, p->beta, how, &points, error);
    if (status >= 0) {
        status = take_list(&found->points, sizeof(point), p, points, error);
        found->complete = grpoalign_points_complete(points);
        found->from_reference = grpoalign_points_from_reference(points);
    }
    grpoalign_points_free(points);
    return status;
}

static grpoalign_status find_folds(const points_options *options, const problem *p,
                                   const grpoalign_solve_options *how, findings *found,
                                   grpoalign_error *error)
{
    grpoalign_points *folds = NULL;
    grpoalign_status status =
        grpoalign_points_new_folds(p->handle, options->low, options->high, how, &folds, error);
    if (status >= 0) {
        status = take_list(&found->folds, sizeof(result), p, folds, error);
        found->folds_complete = grpoalign_points_complete(folds);
    }
    grpoalign_points_free(folds);
    return status;
}

/* Says of each point what is found out of all. */
static void mark_points(findings *self)
{
    point *points = self->points.items;
    for (size_t k = 0; k < self->points.count; k++) {
        points[k].from_reference = (int64_t)k == self->from_reference;
        points[k].reached = self->end == END_UNKNOWN ? -1 : (int64_t)k == self->reached;
    }
}

static grpoalign_status find(const points_options *options, const context *c, findings *found,
                             grpoalign_error *error)
{
    problem p;
    found->reached = -1;
    grpoalign_status status = problem_open(&p, c, error);
    grpoalign_solve_options how = problem_solve_options(&p);
    how.stability = GRPOALIGN_STABILITY_SPECTRUM;
    if (status >= 0) {
        status = find_points(&p, &how, found, error);
    }
    if (status >= 0) {
        status = grpoalign_critical_beta(p.handle, &how, &found->critical_beta, error);
        found->critical_beta = found->critical_beta > 0.0 ? found->critical_beta : NAN;
    }
    if (status >= 0 && options->folds) {
        status = find_folds(options, &p, &how, found, error);
    }
    /* The only stationary policy, proved and attracting, needs no flow to be found. */
    const point *points = found->points.items;
    if (status >= 0 && found->complete && found->points.count == 1 &&
        points[0].result.report.unique > 0) {
        found->reached = 0;
        found->end = END_POINT;
    } else if (status >= 0 && !options->no_flow) {
        status = follow(&p, found, error);
    }
    mark_points(found);
    problem_close(&p);
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

static const char *end_name(int32_t end)
{
    return end == END_POINT ? "point" : end == END_COLLAPSE ? "collapse" : "unknown";
}

/* clang-format off */
static const field POINT_FIELDS[] = {
    {"status", FIELD_NAME, .at = offsetof(point, result.report.status),
     .word = grpoalign_status_name},
    {"from_reference", FIELD_TRUTH, .at = offsetof(point, from_reference)},
    {"reached", FIELD_TRUTH, .at = offsetof(point, reached)},
    {.name = NULL}};
static const field ALL_FIELDS[] = {
    {"complete", FIELD_TRUTH, .at = offsetof(findings, complete)},
    {"training_ends", FIELD_NAME, .at = offsetof(findings, end), .word = end_name},
    {"critical_beta", FIELD_NUMBER, .at = offsetof(findings, critical_beta)},
    {.name = NULL}};
static const field FOLD_FIELDS[] = {
    {"beta", FIELD_NUMBER, .at = offsetof(result, report.beta)},
    {"policy", FIELD_NUMBERS, .at = offsetof(result, policy)},
    {.name = NULL}};
static const field FOLDS_COMPLETE[] = {
    {"folds_complete", FIELD_TRUTH, .at = offsetof(findings, folds_complete)},
    {.name = NULL}};
/* clang-format on */

static void write_json(const points_options *options, const context *c, const findings *found,
                       text *out)
{
    const point *points = found->points.items;
    const result *folds = found->folds.items;
    json_start(out, c->id, "ok");
    json_fields(out, CONTEXT_LABELS, c, c->outcomes);
    text_string(out, ", \"points\": [");
    for (size_t k = 0; k < found->points.count; k++) {
        text_string(out, k > 0 ? ", {" : "{");
        json_fields(out, POINT_FIELDS, &points[k], c->outcomes);
        json_result(out, &points[k].result, c->outcomes);
        text_string(out, "}");
    }
    text_string(out, "]");
    json_fields(out, ALL_FIELDS, found, c->outcomes);
    if (options->folds) {
        text_string(out, ", \"folds\": [");
        for (size_t k = 0; k < found->folds.count; k++) {
            text_string(out, k > 0 ? ", {" : "{");
            json_fields(out, FOLD_FIELDS, &folds[k], c->outcomes);
            text_string(out, "}");
        }
        text_string(out, "]");
        json_fields(out, FOLDS_COMPLETE, found, c->outcomes);
    }
    text_string(out, "}\n");
}

enum { TABLE_ROWS = 20, TABLE_COLUMNS = 8, COLUMN_WIDTH = 14 };

/* A line for a field, a column per point. */
static void write_measure(const char *name, const findings *found, int64_t columns, int width,
                          text *out)
{
    const field *measure = field_find(RESULT_FIELDS, name, strlen(name));
    const point *points = found->points.items;
    text_format(out, "\n  %-*s", width, measure->title);
    for (int64_t k = 0; k < columns; k++) {
        table_cell(out, COLUMN_WIDTH, measure, &points[k].result, 0);
    }
}

/* A column per stationary policy: what is told of it, and its outcomes. */
static void write_points(const context *c, const findings *found, text *out)
{
    static const char *const measures[] = {"expected_reward", "kl_policy_ref", "stable", "rate",
                                           "residual"};
    const point *points = found->points.items;
    int64_t count = (int64_t)found->points.count;
    int64_t columns = count < TABLE_COLUMNS ? count : TABLE_COLUMNS;
    int64_t rows = c->outcomes < TABLE_ROWS ? c->outcomes : TABLE_ROWS;
    int width = labels_width(c, NULL, rows, 18);
    text_format(out, "\n  %-*s", width, "");
    for (int64_t k = 0; k < columns; k++) {
        text_format(out, "%*lld", COLUMN_WIDTH, (long long)k + 1);
    }
    for (size_t j = 0; j < sizeof measures / sizeof *measures; j++) {
        if (j > 0 || !isnan(points[0].result.report.expected_reward)) {
            write_measure(measures[j], found, columns, width, out);
        }
    }
    text_string(out, "\n\n");
    for (int64_t o = 0; o < rows; o++) {
        table_label(out, c, o, width);
        for (int64_t k = 0; k < columns; k++) {
            table_number(out, COLUMN_WIDTH, 'g', 6, points[k].result.policy[o]);
        }
        text_string(out, "\n");
    }
    if (rows < c->outcomes) {
        text_format(out, "  and %lld outcomes more\n", (long long)(c->outcomes - rows));
    }
    if (columns < count) {
        text_format(out, "  and %lld stationary policies more\n", (long long)(count - columns));
    }
}

static void write_folds(const findings *found, text *out)
{
    const result *folds = found->folds.items;
    text_format(out, "  folds (%s)%*s",
                found->folds_complete ? "all" : "of the branch from large beta",
                found->folds_complete ? 18 : 1, "");
    for (size_t k = 0; k < found->folds.count; k++) {
        text_format(out, "%s%.9g", k > 0 ? ", " : "", folds[k].report.beta);
    }
    text_string(out, found->folds.count > 0 ? "\n" : "none\n");
}

static void write_table(const points_options *options, const context *c, const findings *found,
                        text *out)
{
    table_heading(out, c);
    text_format(out, "  %lld stationary polic%s, %s\n", (long long)found->points.count,
                found->points.count == 1 ? "y" : "ies",
                found->complete ? "proved to be all"
                                : "as many as a search found (no proof that they are all)");
    if (found->points.count > 0) {
        write_points(c, found, out);
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
    if (!isnan(found->critical_beta)) {
        text_format(out, "  critical beta                %.9g, below it there is none\n",
                    found->critical_beta);
    }
    if (options->folds) {
        write_folds(found, out);
    }
    text_string(out, "\n");
}

/* ---- the command ----------------------------------------------------------------------------- */

static int act(void *user, const context *self, const reply *to)
{
    const points_options *options = user;
    grpoalign_error error = {.message = "out of memory"};
    findings found = {.end = END_UNKNOWN};
    grpoalign_status status = find(options, self, &found, &error);
    if (status < 0) {
        write_library_error(to, self->id, status, error.message);
    } else {
        (to->how->format == FORMAT_TABLE ? write_table : write_json)(options, self, &found,
                                                                     to->out);
    }
    findings_free(&found);
    return status >= 0;
}

/* Folds and flow are looked for as well. */
static double cost(void *user, const context *self)
{
    const points_options *options = user;
    return cost_of_points(self) * (options->folds ? 2.0 : 1.0) +
           (options->no_flow ? 0.0 : cost_of_flow(self));
}

static int read_folds(void *into, const char *value, text *expected)
{
    points_options *self = into; /* all of them */
    (void)expected;
    return self->folds = parse_interval(value, &self->low, &self->high);
}

int command_points(int argc, char **argv)
{
    static const parameter options[] = {
        {"folds", SET_OTHER, .read = read_folds, .expected = "LOW:HIGH, 0 < LOW <= HIGH"},
        {"no_flow", SET_FLAG, .field = offsetof(points_options, no_flow)},
        {.name = NULL}};
    points_options own = {0};
    const action points_action = {.command = "points",
                                  .help = HELP,
                                  .options = options,
                                  .cost = cost,
                                  .act = act,
                                  .user = &own};
    return run_contexts(&points_action, argc, argv);
}
