/* grpoalign flow */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands/commands.h"
#include "commands/run.h"
#include "base/number.h"
#include "output/plot.h"
#include "output/result.h"
#include "output/write.h"

static const char HELP[] =
    "usage: grpoalign flow [options] [FILE...]\n"
    "\n"
    "Mean-field training of each context from the reference to its end, and what happens on the "
    "way. Time is learning\n"
    "rate x steps, for a loss that is the mean over completions. Records are those of `grpoalign "
    "solve`.\n"
    "\n"
    "  --start P,P,...                   start from these probabilities instead of the reference\n"
    "  --end-time T                      stop at this time (default: when it has arrived)\n"
    "  --policies                        the policies on the way, too (CSV: a row per outcome)\n"
    "  --plot FILE.svg                   draw it against time, a line per context. Needs gnuplot\n"
    "  --show QUANTITY                   what is drawn: expected_reward (default), kl_ref_policy, "
    "kl_policy_ref, "
    "entropy,\n"
    "                                    or policy:K for the probability of outcome K (from 0)\n"
    "\n";

typedef struct flow_options {
    grid start;
    double end_time;
    int policies;
    const char *plot_file;
    quantity show;
    plot plot;
} flow_options;

typedef struct course {
    int64_t count;
    grpoalign_flow_state *states;
    double *policies; /* count x outcomes */
    grpoalign_status status;
    result end; /* when there is one */
} course;

static void course_free(course *self)
{
    free(self->states);
    free(self->policies);
    result_free(&self->end);
}

static grpoalign_status take_states(const grpoalign_flow *flow, int64_t n, course *out,
                                    grpoalign_error *error)
{
    int64_t count = grpoalign_flow_count(flow);
    out->states = calloc((size_t)count + 1, sizeof *out->states);
    out->policies = malloc(((size_t)count * (size_t)n + 1) * sizeof *out->policies);
    if (out->states == NULL || out->policies == NULL) {
        return GRPOALIGN_ERR_MEMORY;
    }
    out->count = count;
    for (int64_t k = 0; k < count; k++) {
        out->states[k].struct_size = sizeof out->states[k];
        grpoalign_status status = grpoalign_flow_state_at(flow, k, &out->states[k], error);
        status = status < 0 ? status
                            : grpoalign_flow_policy_at(flow, k, out->policies + k * n, n, error);
        if (status < 0) {
            return status;
        }
    }
    return GRPOALIGN_OK;
}

static grpoalign_status follow(const flow_options *options, const context *c, course *out,
                               grpoalign_error *error)
{
    handles h;
    grpoalign_flow *flow = NULL;
    grpoalign_flow_options how;
    grpoalign_flow_options_init(&how, sizeof how);
    how.start = options->start.values;
    how.start_count = how.start != NULL ? options->start.count : 0;
    how.end_time = options->end_time > 0.0 ? options->end_time : how.end_time;
    grpoalign_status status = handles_open(c, &h, error);
    if (status >= 0) {
        status = grpoalign_flow_new(h.problem, c->settings.beta, &how, &flow, error);
        out->status = status;
    }
    if (status >= 0) {
        status = take_states(flow, c->outcomes, out, error);
    }
    if (status >= 0 && grpoalign_flow_end(flow) != NULL) {
        status = result_take(&out->end, grpoalign_flow_end(flow), h.reference, c->outcomes, error);
    }
    grpoalign_flow_free(flow);
    handles_close(&h);
    return status;
}

/* ---- writing
 * ------------------------------------------------------------------------------------------------------------
 */

/* The numbers of a state in the order they are written. */
enum { NUMBERS = 6 };
static const char *const NUMBER_NAMES[NUMBERS] = {
    "time", "expected_reward", "kl_ref_policy", "kl_policy_ref", "entropy", "speed"};

static void numbers_of(const grpoalign_flow_state *state, double out[NUMBERS])
{
    const double numbers[NUMBERS] = {state->time,          state->expected_reward,
                                     state->kl_ref_policy, state->kl_policy_ref,
                                     state->entropy,       state->speed};
    memcpy(out, numbers, sizeof numbers);
}

static void write_json(const flow_options *options, const context *c, const course *way, text *out)
{
    text_format(out, "{\"id\": %s, \"status\": \"%s\"", c->id != NULL ? c->id : "null",
                grpoalign_status_name(way->status));
    json_labels(out, c);
    text_format(out, ", \"steps\": %lld", (long long)(way->count - 1));
    for (int j = 0; j < NUMBERS; j++) {
        text_format(out, ", \"%s\": [", NUMBER_NAMES[j]);
        for (int64_t k = 0; k < way->count; k++) {
            double numbers[NUMBERS];
            numbers_of(&way->states[k], numbers);
            text_string(out, k > 0 ? ", " : "");
            text_number(out, numbers[j]);
        }
        text_string(out, "]");
    }
    if (options->policies) {
        text_string(out, ", \"policies\": [");
        for (int64_t k = 0; k < way->count; k++) {
            for (int64_t o = 0; o < c->outcomes; o++) {
                text_string(out, o > 0 ? ", " : k > 0 ? "], [" : "[");
                text_number(out, way->policies[k * c->outcomes + o]);
            }
        }
        text_string(out, "]]");
    }
    if (way->end.policy != NULL) {
        text_format(out, ", \"end\": {\"status\": \"%s\"",
                    grpoalign_status_name(way->end.report.status));
        json_result(out, &way->end, c->outcomes);
        text_string(out, "}");
    } else {
        text_string(out, ", \"end\": null");
    }
    text_string(out, "}\n");
}

static void write_csv(const flow_options *options, const context *c, const course *way, text *out)
{
    for (int64_t k = 0; k < way->count; k++) {
        double numbers[NUMBERS];
        text row = {0};
        numbers_of(&way->states[k], numbers);
        csv_id(&row, c->id);
        csv_text(&row, grpoalign_status_name(way->status));
        csv_text(&row, "");
        for (int j = 0; j < NUMBERS; j++) {
            csv_number(&row, numbers[j]);
        }
        for (int64_t o = 0; o < (options->policies ? c->outcomes : 1); o++) {
            text_add(out, row.bytes != NULL ? row.bytes : "", row.length);
            if (options->policies) {
                csv_label(out, c, o);
                csv_number(out, way->policies[k * c->outcomes + o]);
            }
            text_string(out, "\n");
        }
        out->failed = out->failed || row.failed;
        text_free(&row);
    }
}

/* For `collect`: how many points, the points, the name of the line. */
static void put_aside(const flow_options *options, const context *c, const course *way, text *aside)
{
    text_add(aside, (const char *)&way->count, sizeof way->count);
    for (int64_t k = 0; k < way->count; k++) {
        double numbers[NUMBERS];
        numbers_of(&way->states[k], numbers);
        const plot_point point = {
            numbers[0], quantity_of(&options->show, numbers + 1, way->policies + k * c->outcomes),
            PLOT_STABLE};
        text_add(aside, (const char *)&point, sizeof point);
    }
    text_id(aside, c->id != NULL ? c->id : "context");
}

static int act(void *user, const context *self, const char *place, const style *how, text *out,
               text *aside)
{
    const flow_options *options = user;
    grpoalign_error error = {.message = "out of memory"};
    course way = {0};
    if (options->start.count > 0 && options->start.count != self->outcomes) {
        text wrong = {0};
        text_format(&wrong, "--start has %lld probabilities, the context %lld outcomes",
                    (long long)options->start.count, (long long)self->outcomes);
        write_error(out, how, self->id, "dimension", place,
                    wrong.bytes != NULL ? wrong.bytes : "out of memory");
        text_free(&wrong);
        return 0;
    }
    const char *unseen = options->plot_file != NULL ? quantity_lacks(&options->show, self) : NULL;
    if (unseen != NULL) {
        write_error(out, how, self->id, "dimension", place, unseen);
        return 0;
    }
    grpoalign_status status = follow(options, self, &way, &error);
    if (status < 0) {
        write_library_error(out, how, self, status, place, error.message);
    } else {
        (how->format == FORMAT_CSV ? write_csv : write_json)(options, self, &way, out);
        if (options->plot_file != NULL) {
            put_aside(options, self, &way, aside);
        }
    }
    course_free(&way);
    return status >= 0;
}

/* ---- options and drawing
 * ------------------------------------------------------------------------------------------------
 */

static int option(void *user, const char *name, const char *value, text *expected)
{
    flow_options *self = user;
    if (strcmp(name, "start") == 0) {
        text_string(expected, "probabilities with commas between them");
        grid_free(&self->start);
        return strchr(value, ':') == NULL && parse_grid(value, &self->start);
    }
    if (strcmp(name, "end-time") == 0) {
        text_string(expected, "a number > 0");
        return parse_number(value, &self->end_time) && self->end_time > 0.0;
    }
    if (strcmp(name, "policies") == 0) {
        return self->policies = 1;
    }
    if (strcmp(name, "plot") == 0) {
        text_string(expected, "a file name that ends in .svg");
        self->plot_file = value;
        return plot_takes(value);
    }
    if (strcmp(name, "show") == 0) {
        text_string(expected, QUANTITY_NAMES);
        return quantity_parse(value, &self->show);
    }
    return -1;
}

static int begin(void *user, style *how, text *out, text *wrong)
{
    const flow_options *self = user;
    if (self->plot_file != NULL && !plot_check(self->plot_file, wrong)) {
        return 0;
    }
    if (how->format == FORMAT_CSV) {
        text_string(out, "id,status,error");
        for (int j = 0; j < NUMBERS; j++) {
            text_format(out, ",%s", NUMBER_NAMES[j]);
        }
        text_string(out, self->policies ? ",outcome,policy\n" : "\n");
        how->columns = 3 + NUMBERS + (self->policies ? 2 : 0);
    }
    return 1;
}

static void collect(void *user, const text *aside)
{
    flow_options *self = user;
    int64_t count;
    if (aside->length < sizeof count) {
        return;
    }
    memcpy(&count, aside->bytes, sizeof count);
    const char *points = aside->bytes + sizeof count,
               *id = points + (size_t)count * sizeof(plot_point);
    plot_series *series = plot_find(&self->plot, id);
    for (int64_t k = 0; k < count; k++) {
        plot_point point;
        memcpy(&point, points + (size_t)k * sizeof point, sizeof point);
        if (point.x > 0.0) { /* the axis is logarithmic */
            plot_add(&self->plot, series, point.x, point.y, point.style);
        }
    }
}

static int finish(void *user, int whole, text *wrong)
{
    flow_options *self = user;
    if (self->plot_file == NULL) {
        return 1;
    }
    if (!whole) {
        text_format(wrong, "%s is not written: the results did not all go out", self->plot_file);
        return 0;
    }
    self->plot.x_label = "learning rate × steps";
    self->plot.y_label = self->show.label;
    self->plot.log_x = 1;
    self->plot.log_y = quantity_is_logarithmic(&self->show);
    self->plot.plain_names = 1;
    return plot_write(&self->plot, self->plot_file, wrong);
}

int command_flow(int argc, char **argv)
{
    static const own_option options[] = {{"start", 1}, {"end-time", 1}, {"policies", 0},
                                         {"plot", 1},  {"show", 1},     {NULL, 0}};
    static const int formats[] = {FORMAT_JSONL, FORMAT_CSV, -1};
    flow_options own = {.end_time = 0.0};
    const action flow_action = {.command = "flow",
                                .help = HELP,
                                .options = options,
                                .formats = formats,
                                .option = option,
                                .begin = begin,
                                .act = act,
                                .collect = collect,
                                .finish = finish,
                                .user = &own};
    (void)quantity_parse("expected_reward", &own.show);
    int status = run_contexts(&flow_action, argc, argv);
    grid_free(&own.start);
    plot_free(&own.plot);
    return status;
}
