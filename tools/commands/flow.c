/* grpoalign flow */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/number.h"
#include "commands/commands.h"
#include "commands/cost.h"
#include "commands/run.h"
#include "output/plot.h"

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
    "kl_policy_ref, entropy,\n"
    "                                    policy:K for the probability of outcome K (from 0), or "
    "metric:NAME\n"
    "\n";

typedef struct flow_options {
    grid start;
    double end_time; /* 0: not given */
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
    out->states = memory_calloc((size_t)count + 1, sizeof *out->states);
    out->policies = memory_malloc(((size_t)count * (size_t)n + 1) * sizeof *out->policies);
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
    problem p;
    grpoalign_flow *flow = NULL;
    grpoalign_status status = problem_open(&p, c, error);
    grpoalign_flow_options how = problem_flow_options(&p);
    how.start = options->start.values;
    how.start_count = how.start != NULL ? options->start.count : 0;
    how.end_time = options->end_time > 0.0 ? options->end_time : how.end_time;
    if (status >= 0) {
        status = grpoalign_flow_new(p.handle, p.beta, &how, &flow, error);
        out->status = status;
    }
    if (status >= 0) {
        status = take_states(flow, c->outcomes, out, error);
    }
    if (status >= 0 && grpoalign_flow_end(flow) != NULL) {
        status = result_take(&out->end, &p, grpoalign_flow_end(flow), error);
    }
    grpoalign_flow_free(flow);
    problem_close(&p);
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* One state with its policy, as a row tells it. */
typedef struct step {
    const char *id;
    int32_t status;
    const double *policy;
} step;

/* clang-format off */
#define STATE(member) .at = offsetof(grpoalign_flow_state, member)
static const field STATE_FIELDS[] = {
    {"time", FIELD_NUMBER, STATE(time)},
    {"expected_reward", FIELD_NUMBER, STATE(expected_reward)},
    {"kl_ref_policy", FIELD_NUMBER, STATE(kl_ref_policy)},
    {"kl_policy_ref", FIELD_NUMBER, STATE(kl_policy_ref)},
    {"entropy", FIELD_NUMBER, STATE(entropy)},
    {"speed", FIELD_NUMBER, STATE(speed)},
    {.name = NULL}};
static const field STEP_FIELDS[] = {
    {"id", FIELD_ID, .at = offsetof(step, id)},
    {"status", FIELD_NAME, .at = offsetof(step, status), .word = grpoalign_status_name},
    {"policy", FIELD_NUMBERS, .at = offsetof(step, policy)},
    {.name = NULL}};
/* clang-format on */

static const char CSV_HEADER[] =
    "id,status,error,time,expected_reward,kl_ref_policy,kl_policy_ref,entropy,speed";
static const char CSV_OUTCOME[] = "outcome,policy";

static void write_json(const flow_options *options, const context *c, const course *way, text *out)
{
    json_start(out, c->id, grpoalign_status_name(way->status));
    json_fields(out, CONTEXT_LABELS, c, c->outcomes);
    json_key(out, "steps");
    text_format(out, "%lld", (long long)(way->count - 1));
    for (const field *f = STATE_FIELDS; f->name != NULL; f++) {
        json_series(out, f, way->states, sizeof *way->states, way->count);
    }
    if (options->policies) {
        json_key(out, "policies");
        for (int64_t k = 0; k < way->count; k++) {
            text_string(out, k > 0 ? ", " : "[");
            json_numbers(out, way->policies + k * c->outcomes, c->outcomes);
        }
        text_string(out, "]");
    }
    json_key(out, "end");
    if (way->end.policy != NULL) {
        text_format(out, "{\"status\": \"%s\"", grpoalign_status_name(way->end.report.status));
        json_result(out, &way->end, c->outcomes);
        text_string(out, "}");
    } else {
        text_string(out, "null");
    }
    text_string(out, "}\n");
}

static void write_csv(const flow_options *options, const context *c, const course *way, text *out)
{
    for (int64_t k = 0; k < way->count; k++) {
        const step at = {c->id, way->status, way->policies + k * c->outcomes};
        const part parts[] = {
            {STEP_FIELDS, &at}, {STATE_FIELDS, &way->states[k]}, {CONTEXT_LABEL, c}};
        csv_rows(out, CSV_HEADER, options->policies ? CSV_OUTCOME : NULL, parts, 3, c->outcomes);
    }
}

/* For `collect`: how many points, the points, the name of the line. */
static void put_aside(const flow_options *options, const context *c, const course *way, text *aside)
{
    text_add(aside, (const char *)&way->count, sizeof way->count);
    for (int64_t k = 0; k < way->count; k++) {
        const grpoalign_flow_state *state = &way->states[k];
        const plot_point point = {
            state->time,
            quantity_of(&options->show, STATE_FIELDS, state, way->policies + k * c->outcomes, c),
            PLOT_STABLE};
        text_add(aside, (const char *)&point, sizeof point);
    }
    text_id(aside, c->id != NULL ? c->id : "context");
}

static int act(void *user, const context *self, const reply *to)
{
    const flow_options *options = user;
    grpoalign_error error = {.message = "out of memory"};
    course way = {0};
    if (options->start.count > 0 && options->start.count != self->outcomes) {
        write_error(to, self->id, "dimension",
                    "--start has %lld probabilities, the context %lld outcomes",
                    (long long)options->start.count, (long long)self->outcomes);
        return 0;
    }
    const char *unseen = options->plot_file != NULL ? quantity_lacks(&options->show, self) : NULL;
    if (unseen != NULL) {
        write_error(to, self->id, "dimension", "%s", unseen);
        return 0;
    }
    grpoalign_status status = follow(options, self, &way, &error);
    if (status < 0) {
        write_library_error(to, self->id, status, error.message);
    } else {
        (to->how->format == FORMAT_CSV ? write_csv : write_json)(options, self, &way, to->out);
        if (options->plot_file != NULL) {
            put_aside(options, self, &way, to->aside);
        }
    }
    course_free(&way);
    return status >= 0;
}

static double cost(void *user, const context *self)
{
    (void)user;
    return cost_of_flow(self);
}

/* ---- options and drawing --------------------------------------------------------------------- */

static int read_start(void *into, const char *value, text *expected)
{
    grid *start = into;
    (void)expected;
    grid_free(start);
    return strchr(value, ':') == NULL && parse_grid(value, start);
}

static int begin(void *user, int format, text *out, text *wrong)
{
    const flow_options *self = user;
    if (self->plot_file != NULL && !plot_check(self->plot_file, wrong)) {
        return 0;
    }
    if (format == FORMAT_CSV) {
        csv_header(out, CSV_HEADER, self->policies ? CSV_OUTCOME : NULL);
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
    quantity_label(&self->show, &self->plot.y_label);
    self->plot.log_x = 1;
    self->plot.log_y = self->show.logarithmic;
    self->plot.plain_names = 1;
    return plot_write(&self->plot, self->plot_file, wrong);
}

int command_flow(int argc, char **argv)
{
    static const parameter options[] = {
        {"start", SET_OTHER, .field = offsetof(flow_options, start), .read = read_start,
         .expected = "probabilities with commas between them"},
        {"end_time", SET_NUMBER, .field = offsetof(flow_options, end_time), .low = ABOVE_ZERO,
         .high = INFINITY, .expected = "a number > 0"},
        {"policies", SET_FLAG, .field = offsetof(flow_options, policies)},
        {"plot", SET_OTHER, .field = offsetof(flow_options, plot_file), .read = plot_file_read},
        {"show", SET_OTHER, .field = offsetof(flow_options, show), .read = quantity_read},
        {.name = NULL}};
    static const int formats[] = {FORMAT_JSONL, FORMAT_CSV, -1};
    flow_options own = {.show = quantity_default()};
    const action flow_action = {.command = "flow",
                                .help = HELP,
                                .options = options,
                                .formats = formats,
                                .begin = begin,
                                .cost = cost,
                                .act = act,
                                .collect = collect,
                                .finish = finish,
                                .user = &own};
    int status = run_contexts(&flow_action, argc, argv);
    grid_free(&own.start);
    plot_free(&own.plot);
    return status;
}
