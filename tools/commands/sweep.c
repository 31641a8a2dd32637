/* grpoalign sweep */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/number.h"
#include "commands/commands.h"
#include "commands/cost.h"
#include "commands/extras.h"
#include "commands/run.h"
#include "output/plot.h"

static const char HELP[] =
    "usage: grpoalign sweep [options] [FILE...]\n"
    "\n"
    "The stationary policy of each context over a grid of settings. Records are those of "
    "`grpoalign solve`; what the grid\n"
    "gives replaces what they say.\n"
    "\n"
    "Axes of the grid; VALUES is a list 0.1,0.2,0.5, or LOW:HIGH:logN or LOW:HIGH:linN for N "
    "values:\n"
    "  --beta VALUES   --group-size VALUES   --penalty NAMES   --scale NAMES\n"
    "  --reference-probability VALUES    two outcomes: of the better one (the second, between "
    "equals)\n"
    "  --margin VALUES                   pairwise, two outcomes: P(second beats first) - P(first "
    "beats second)\n"
    "\n"
    "  --all                             all stationary policies, not only the one the reference "
    "leads to\n"
    "  --summary                         CSV: a row per stationary policy, without its outcomes\n"
    "  --plot FILE.svg                   draw it along the axis with the most values: along beta "
    "the whole curve of\n"
    "                                    stationary policies, dashed where they repel training. "
    "Needs gnuplot\n"
    "  --mean                            draw the mean over contexts of the policies that the "
    "references lead to\n"
    "  --show QUANTITY                   what is drawn: expected_reward (default), kl_ref_policy, "
    "kl_policy_ref, entropy,\n"
    "                                    policy:K for the probability of outcome K (from 0), or "
    "metric:NAME;\n"
    "                                    several with commas between are lines in one plot\n"
    "\n";

/* ---- axes ------------------------------------------------------------------------------------ */

/* The last varies fastest, but for beta, whose values are solved together. */
enum { AXIS_BETA, AXIS_PENALTY, AXIS_SCALE, AXIS_GROUP_SIZE, AXIS_REFERENCE, AXIS_MARGIN, AXES };

/* An axis is one of numbers, in a range, or one of words. */
static const struct {
    setting_id setting; /* that it gives; SETTINGS: it gives data */
    int whole;          /* its numbers are integers */
    double low, high;
    const char *range, *symbol, *label; /* in words; for lines and axes of a plot */
} AXIS[AXES] = {
    [AXIS_BETA] = {SETTING_BETA, 0, ABOVE_ZERO, INFINITY, "numbers > 0", "β", "regularisation β"},
    [AXIS_PENALTY] = {.setting = SETTING_PENALTY},
    [AXIS_SCALE] = {.setting = SETTING_SCALE},
    [AXIS_GROUP_SIZE] = {SETTING_GROUP_SIZE, 1, 2.0, INT32_MAX, "integers from 2 on", "G",
                         "group size G"},
    [AXIS_REFERENCE] = {SETTINGS, 0, 0.0, 1.0, "numbers in [0, 1]", "π_{ref}",
                        "reference probability"},
    [AXIS_MARGIN] = {SETTINGS, 0, -1.0, 1.0, "numbers in [-1, 1]", "γ", "confidence margin γ"}};

/* Numbers first, in the order in which the names of lines have them. */
static const int NAMED[AXES] = {AXIS_BETA,   AXIS_GROUP_SIZE, AXIS_REFERENCE,
                                AXIS_MARGIN, AXIS_SCALE,      AXIS_PENALTY};

static int has_numbers(int axis)
{
    return AXIS[axis].range != NULL;
}

/* Of one setting. */
enum { MOST_WORDS = 10 };

/* The values of an axis. */
typedef struct axis_values {
    int axis;
    grid grid; /* words by their numbers, which are in `words` */
    double words[MOST_WORDS];
} axis_values;

typedef struct sweep {
    axis_values axes[AXES];
    int all, summary, mean;
    const char *plot_file;
    quantities show;
    int64_t contexts; /* drawn so far */
    plot plot;
} sweep;

static int read_numbers(void *into, const char *value, text *expected)
{
    int axis = ((axis_values *)into)->axis;
    grid *values = &((axis_values *)into)->grid;
    text_format(expected, "%s: a list a,b,c or LOW:HIGH:logN or LOW:HIGH:linN", AXIS[axis].range);
    grid_free(values);
    int good = parse_grid(value, values);
    for (int64_t i = 0; good && i < values->count; i++) {
        double x = values->values[i], whole = AXIS[axis].whole ? round(x) : x;
        /* A grid is rounded to integers, a list must have them. */
        good = whole >= AXIS[axis].low && whole <= AXIS[axis].high &&
               (whole == x || strchr(value, ':') != NULL);
        values->values[i] = whole;
    }
    return good;
}

/* Words of a setting, separated by commas, each once. */
static int read_words(void *into, const char *value, text *expected)
{
    setting_id setting = AXIS[((axis_values *)into)->axis].setting;
    grid *values = &((axis_values *)into)->grid;
    char all[256];
    if (strlen(value) >= sizeof all) {
        return 0;
    }
    (void)memcpy(all, value, strlen(value) + 1);
    values->values = ((axis_values *)into)->words;
    values->count = 0;
    for (char *rest = all, *word; (word = strsep(&rest, ",")) != NULL;) {
        settings probe = {.given = 0};
        text_clear(expected);
        if (!setting_read(&probe, setting, word, expected) || values->count == MOST_WORDS) {
            text_string(expected, ", or several with commas between them");
            return 0;
        }
        if (is_in_batch(&probe)) {
            text_clear(expected);
            text_string(expected, "std, none, std_of_others or mean: the std of a batch couples "
                                  "the contexts of a file");
            return 0;
        }
        double found = setting_value(&probe, setting);
        for (int64_t k = 0; k < values->count; k++) {
            if (values->values[k] == found) {
                text_string(expected, ", each once");
                return 0;
            }
        }
        values->values[values->count++] = found;
    }
    return values->count > 0;
}

/* The axis that is drawn along, the one with the most values; -1 where none has several. */
static int x_axis(const sweep *self)
{
    int best = -1;
    for (int axis = 0; axis < AXES; axis++) {
        if (has_numbers(axis) &&
            self->axes[axis].grid.count > (best < 0 ? 1 : self->axes[best].grid.count)) {
            best = axis;
        }
    }
    return best;
}

/* ---- cells ----------------------------------------------------------------------------------- */

/* A combination of everything but beta: a context of its own, with parts borrowed from the one it
 * comes from. Below it, what is told of each of its solutions; numbers below 0 are left out. */
typedef struct cell {
    context context;
    double reference[2], margins[4];
    double reference_probability, margin; /* NaN where not on an axis */
    int64_t number, group_size;
    const char *model, *scale, *penalty; /* in words */
    int64_t point, points;               /* which of how many at its beta; -1: not counted */
    int32_t from_reference, complete;
} cell;

/* A reason why the axes do not fit the context, or NULL. */
static const char *misfit(const sweep *self, const context *c)
{
    if (self->axes[AXIS_REFERENCE].grid.count > 0 && c->outcomes != 2) {
        return "--reference-probability is for contexts of two outcomes";
    }
    if (self->axes[AXIS_MARGIN].grid.count > 0 &&
        (c->outcomes != 2 || c->settings.model != MODEL_PAIRWISE)) {
        return "--margin is for pairwise contexts of two outcomes";
    }
    if (self->plot_file == NULL) {
        return NULL;
    }
    context shown = *c;
    shown.rewards =
        self->axes[AXIS_MARGIN].grid.count > 0 ? NULL : c->rewards; /* the axis replaces them */
    const char *lacks = NULL;
    for (int q = 0; lacks == NULL && q < self->show.count; q++) {
        lacks = quantity_lacks(&self->show.items[q], &shown);
    }
    return lacks;
}

static int64_t at_least_one(int64_t count)
{
    return count > 0 ? count : 1;
}

static int64_t combinations(const sweep *self)
{
    int64_t all = 1;
    for (int axis = AXIS_BETA + 1; axis < AXES; axis++) {
        all *= at_least_one(self->axes[axis].grid.count);
    }
    return all;
}

/* The value that a cell has on an axis other than beta, NaN where the axis is not given. */
static double value_on(const sweep *self, int64_t number, int axis)
{
    for (int faster = AXES - 1; faster > axis; faster--) {
        number /= at_least_one(self->axes[faster].grid.count);
    }
    const grid *values = &self->axes[axis].grid;
    return values->count > 0 ? values->values[number % values->count] : NAN;
}

/* Enough of the first cell for a context to be checked. */
static void prepare(void *user, settings *s)
{
    const sweep *self = user;
    for (int axis = 0; axis < AXES; axis++) {
        const grid *values = &self->axes[axis].grid;
        if (values->count > 0 && AXIS[axis].setting < SETTINGS && axis != AXIS_SCALE) {
            setting_give(s, AXIS[axis].setting, values->values[0]);
        }
    }
    /* Every setting goes with the std; each cell takes its own scale, and what goes with that. */
    const grid *scales = &self->axes[AXIS_SCALE].grid;
    if (scales->count == 1 || (scales->count > 1 && s->model != MODEL_PAIRWISE)) {
        settings_rescale(s, scales->count > 1 ? GRPOALIGN_SCALE_STD : (int32_t)scales->values[0]);
    }
}

/* Fills a cell from its number; the context is borrowed. */
static void make_cell(const sweep *self, const context *from, int64_t number, cell *out)
{
    memset(out, 0, sizeof *out);
    out->context = *from;
    out->number = number;
    out->margin = value_on(self, number, AXIS_MARGIN);
    out->reference_probability = value_on(self, number, AXIS_REFERENCE);
    if (!isnan(out->margin)) {
        out->margins[1] = -out->margin;
        out->margins[2] = out->margin;
        out->context.margins = out->margins;
        out->context.rewards = NULL;
    }
    if (!isnan(out->reference_probability)) {
        int better = from->rewards != NULL && from->rewards[0] > from->rewards[1] ? 0 : 1;
        out->reference[better] = out->reference_probability;
        out->reference[1 - better] = 1.0 - out->reference_probability;
        out->context.reference = out->reference;
        out->context.reference_logprobs = NULL;
    }
    for (int axis = AXIS_BETA + 1; axis < AXES; axis++) {
        double value = value_on(self, number, axis);
        if (axis == AXIS_SCALE && !isnan(value)) {
            settings_rescale(&out->context.settings, (int32_t)value);
        } else if (AXIS[axis].setting < SETTINGS && !isnan(value)) {
            setting_give(&out->context.settings, AXIS[axis].setting, value);
        }
    }
    const settings *s = &out->context.settings;
    out->model = setting_word(s, SETTING_MODEL);
    out->scale = setting_word(s, SETTING_SCALE);
    out->penalty = setting_word(s, SETTING_PENALTY);
    out->group_size = s->model == MODEL_GROUP ? s->group_size : -1;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* clang-format off */
#define AT(member) .at = offsetof(cell, member)
static const field CELL_FIELDS[] = {
    {"model", FIELD_TEXT, AT(model)},
    {"group_size", FIELD_INTEGER, AT(group_size), OPTIONAL},
    {"scale", FIELD_TEXT, AT(scale), OPTIONAL},
    {"penalty", FIELD_TEXT, AT(penalty)},
    {"reference_probability", FIELD_NUMBER, AT(reference_probability), OPTIONAL},
    {"margin", FIELD_NUMBER, AT(margin), OPTIONAL},
    {.name = NULL}};
static const field SOLUTION_FIELDS[] = {
    {"beta", FIELD_NUMBER, .at = offsetof(result, report.beta)},
    {.name = NULL}};
static const field POINT_FIELDS[] = {
    {"point", FIELD_INTEGER, AT(point), OPTIONAL},
    {"from_reference", FIELD_TRUTH, AT(from_reference)},
    {"points", FIELD_INTEGER, AT(points), OPTIONAL},
    {"complete", FIELD_TRUTH, AT(complete), OPTIONAL},
    {"outcomes", FIELD_LABELS, AT(context.labels), OPTIONAL},
    {.name = NULL}};
/* What CSV has beside these. */
static const field ID_FIELDS[] = {{"id", FIELD_ID, AT(context.id)}, {.name = NULL}};
static const field STATUS_FIELDS[] = {
    {"status", FIELD_NAME, .at = offsetof(result, report.status), .word = grpoalign_status_name},
    {.name = NULL}};
/* clang-format on */

static const char CSV_HEADER[] =
    "id,status,error,model,group_size,scale,penalty,reference_probability,margin,beta,point,"
    "from_reference,points,complete,stable,unique,expected_reward,kl_ref_policy,kl_policy_ref,"
    "entropy,residual,policy_error";
static const char CSV_OUTCOME[] = "outcome,reference,policy,advantage";

static void write_json(const cell *at, const result *r, text *out)
{
    int64_t outcomes = at->context.outcomes;
    json_start(out, at->context.id, grpoalign_status_name(r->report.status));
    json_fields(out, CELL_FIELDS, at, outcomes);
    json_fields(out, SOLUTION_FIELDS, r, outcomes);
    json_fields(out, POINT_FIELDS, at, outcomes);
    json_result(out, r, outcomes);
    json_extras(out, &at->context, r);
    text_string(out, "}\n");
}

static void write_csv(const sweep *self, const cell *at, const result *r, text *out)
{
    const part parts[] = {{ID_FIELDS, at},       {STATUS_FIELDS, r},           {CELL_FIELDS, at},
                          {SOLUTION_FIELDS, r},  {POINT_FIELDS, at},           {RESULT_FIELDS, r},
                          {RESULT_REFERENCE, r}, {CONTEXT_LABEL, &at->context}};
    enum { PARTS = sizeof parts / sizeof *parts };
    csv_rows(out, CSV_HEADER, self->summary ? NULL : CSV_OUTCOME, parts, PARTS,
             at->context.outcomes);
}

/* ---- drawing --------------------------------------------------------------------------------- */

/* One point to draw, as `act` hands it to `collect`. */
typedef struct drawn {
    double x, y, beta;
    int64_t cell, style, quantity;
} drawn;

/* Where the cell, or a beta of it, lies on the x axis. */
static double x_of(const sweep *self, const cell *here, double beta)
{
    int x = x_axis(self);
    return x == AXIS_BETA ? beta : value_on(self, here->number, x);
}

static void put_aside(const sweep *self, const cell *here, const result *r, int hidden, text *aside)
{
    const grpoalign_report *report = &r->report;
    int attracts = report->stable != 0 && report->status != GRPOALIGN_NOT_CONVERGED;
    for (int q = 0; q < self->show.count; q++) {
        double shown =
            quantity_of(&self->show.items[q], RESULT_FIELDS, r, r->policy, &here->context);
        drawn point = {.x = x_of(self, here, report->beta),
                       .y = hidden ? NAN : shown,
                       .beta = report->beta,
                       .cell = here->number,
                       .quantity = q,
                       .style = attracts ? PLOT_STABLE : PLOT_UNSTABLE};
        text_add(aside, (const char *)&point, sizeof point);
    }
}

static const char *word_in_plot(int axis, int32_t number)
{
    static const choice words[] = {{"unscaled", GRPOALIGN_SCALE_NONE},
                                   {"over std", GRPOALIGN_SCALE_STD},
                                   {"over mean", GRPOALIGN_SCALE_MEAN},
                                   {"over std of others", GRPOALIGN_SCALE_STD_OF_OTHERS},
                                   {NULL, 0}};
    return axis == AXIS_SCALE                       ? word_of(words, number)
           : number == GRPOALIGN_PENALTY_REVERSE_KL ? "KL(π_{ref}‖π)"
           : number == GRPOALIGN_PENALTY_DIRECT_KL  ? "KL(π‖π_{ref})"
                                                    : grpoalign_penalty_formula(number);
}

/* What tells the line of a cell from the others: the axes with several values but the one drawn
 * along, and what it shows. */
static void name_series(const sweep *self, const drawn *point, text *out)
{
    for (int k = 0; k < AXES; k++) {
        int axis = NAMED[k];
        if (self->axes[axis].grid.count < 2 || axis == x_axis(self)) {
            continue;
        }
        double value = axis == AXIS_BETA ? point->beta : value_on(self, point->cell, axis);
        text_string(out, out->length > 0 ? ", " : "");
        if (has_numbers(axis)) {
            text_format(out, "%s = %.4g", AXIS[axis].symbol, value);
        } else {
            text_string(out, word_in_plot(axis, (int32_t)value));
        }
    }
    if (self->show.count > 1) {
        text_string(out, out->length > 0 ? ", " : "");
        quantity_label(&self->show.items[point->quantity], out);
    }
    if (out->length == 0) {
        text_string(out, "stable");
    }
}

static void collect(void *user, const text *aside)
{
    sweep *self = user;
    size_t count = aside->length / sizeof(drawn);
    text name = {0};
    if (count == 0 || self->plot_file == NULL || (self->contexts > 0 && !self->mean)) {
        self->contexts += count > 0;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        drawn point;
        memcpy(&point, aside->bytes + i * sizeof point, sizeof point);
        text_clear(&name);
        name_series(self, &point, &name);
        plot_series *series = plot_find(&self->plot, name.bytes != NULL ? name.bytes : "");
        if (series == NULL) {
            break;
        }
        plot_point *points = series->points.items;
        if (self->contexts == 0) {
            plot_add(&self->plot, series, point.x, point.y, (int)point.style);
        } else if (series->cursor < series->points.count) {
            points[series->cursor].y += point.y; /* a sum, divided at the end */
            points[series->cursor].style = PLOT_STABLE;
        }
        series->cursor++;
    }
    plot_series *all = self->plot.series.items;
    for (size_t k = 0; k < self->plot.series.count; k++) {
        all[k].cursor = 0;
    }
    self->contexts++;
    text_free(&name);
}

static int finish(void *user, int whole, text *wrong)
{
    sweep *self = user;
    if (self->plot_file == NULL) {
        return 1;
    }
    if (!whole) {
        text_format(wrong, "%s is not written: the results did not all go out", self->plot_file);
        return 0;
    }
    if (self->contexts > 1 && !self->mean) {
        text_format(wrong,
                    "%s is not written: it would show one context, and there were %lld; --mean "
                    "draws their mean",
                    self->plot_file, (long long)self->contexts);
        return 0;
    }
    plot_series *series = self->plot.series.items;
    for (size_t k = 0; k < self->plot.series.count; k++) {
        plot_point *points = series[k].points.items;
        for (size_t i = 0; i < series[k].points.count; i++) {
            points[i].y /= (double)self->contexts;
        }
    }
    return plot_write(&self->plot, self->plot_file, wrong);
}

/* ---- solving --------------------------------------------------------------------------------- */

typedef struct work {
    const sweep *sweep;
    problem *problem;
    cell *cell;
    const reply *to;
    grpoalign_error *error;
    int grid_is_drawn; /* the solutions of the grid are what is drawn */
} work;

static grpoalign_status write_solution(const work *self, const grpoalign_solution *solution)
{
    const cell *here = self->cell;
    result r = {0};
    grpoalign_status status = result_take(&r, self->problem, solution, self->error);
    if (status >= 0 && self->to->how->format == FORMAT_CSV) {
        write_csv(self->sweep, here, &r, self->to->out);
    } else if (status >= 0) {
        write_json(here, &r, self->to->out);
    }
    if (status >= 0 && self->grid_is_drawn && here->from_reference) {
        put_aside(self->sweep, here, &r, 0, self->to->aside);
    }
    result_free(&r);
    return status;
}

static grpoalign_status along_path(const work *self, const double *betas, int64_t count)
{
    grpoalign_points *path = NULL;
    const grpoalign_solve_options how = problem_solve_options(self->problem);
    grpoalign_status status =
        grpoalign_points_new_path(self->problem->handle, betas, count, &how, &path, self->error);
    self->cell->points = self->cell->complete = -1;
    self->cell->from_reference = 1;
    for (int64_t k = 0; status >= 0 && k < count; k++) {
        status = write_solution(self, grpoalign_points_solution(path, k));
    }
    grpoalign_points_free(path);
    return status;
}

/* Where there is no stationary policy: what training ends in. */
static grpoalign_status write_end(const work *self, double beta)
{
    grpoalign_solution *end = NULL;
    const grpoalign_solve_options how = problem_solve_options(self->problem);
    grpoalign_status status = grpoalign_solve(self->problem->handle, beta, &how, &end, self->error);
    self->cell->point = -1;
    self->cell->from_reference = 1;
    if (status >= 0) {
        status = write_solution(self, end);
    }
    grpoalign_solution_free(end);
    return status;
}

static grpoalign_status all_points(const work *self, const double *betas, int64_t count)
{
    const grpoalign_solve_options how = problem_solve_options(self->problem);
    grpoalign_status status = GRPOALIGN_OK;
    for (int64_t i = 0; status >= 0 && i < count; i++) {
        grpoalign_points *points = NULL;
        cell *here = self->cell;
        status = grpoalign_points_new(self->problem->handle, betas[i], &how, &points, self->error);
        here->points = grpoalign_points_count(points);
        here->complete = grpoalign_points_complete(points);
        for (here->point = 0; status >= 0 && here->point < here->points; here->point++) {
            here->from_reference = here->point == grpoalign_points_from_reference(points);
            status = write_solution(self, grpoalign_points_solution(points, here->point));
        }
        if (status >= 0 && here->points == 0) {
            status = write_end(self, betas[i]);
        }
        grpoalign_points_free(points);
    }
    return status;
}

/* The whole curve between the ends of the grid, for drawing. */
static grpoalign_status curve(const work *self, const grid *betas)
{
    const double resolution = 0.01;
    double low = INFINITY, high = 0.0;
    grpoalign_points *points = NULL;
    const grpoalign_solve_options how = problem_solve_options(self->problem);
    for (int64_t i = 0; i < betas->count; i++) {
        low = fmin(low, betas->values[i]);
        high = fmax(high, betas->values[i]);
    }
    grpoalign_status status = grpoalign_points_new_curve(self->problem->handle, low, high,
                                                         resolution, &how, &points, self->error);
    for (int64_t k = 0; status >= 0 && k < grpoalign_points_count(points); k++) {
        result r = {0};
        status = result_take(&r, self->problem, grpoalign_points_solution(points, k), self->error);
        if (status >= 0) {
            /* The curve may leave the interval and come back. */
            int outside = r.report.beta < low * (1.0 - 1e-9) || r.report.beta > high * (1.0 + 1e-9);
            put_aside(self->sweep, self->cell, &r, outside, self->to->aside);
        }
        result_free(&r);
    }
    grpoalign_points_free(points);
    return status;
}

/* Solves and writes a cell at all its betas, which one problem serves. */
static grpoalign_status do_cell(const sweep *what, cell *here, const reply *to,
                                grpoalign_error *error)
{
    const grid *betas = &what->axes[AXIS_BETA].grid;
    const double *values = betas->count > 0 ? betas->values : &here->context.settings.beta;
    int drawn_as_curve = what->plot_file != NULL && x_axis(what) == AXIS_BETA && !what->mean;
    problem p;
    const work now = {.sweep = what,
                      .problem = &p,
                      .cell = here,
                      .to = to,
                      .error = error,
                      .grid_is_drawn = what->plot_file != NULL && !drawn_as_curve};
    grpoalign_status status = problem_open(&p, &here->context, error);
    if (status >= 0) {
        status = (what->all ? all_points : along_path)(&now, values, at_least_one(betas->count));
    }
    if (status >= 0 && drawn_as_curve) {
        status = curve(&now, betas);
    }
    problem_close(&p);
    return status;
}

static int act(void *user, const context *self, const reply *to)
{
    const sweep *what = user;
    const char *wrong = misfit(what, self);
    grpoalign_error error = {.message = "out of memory"};
    grpoalign_status status = GRPOALIGN_OK;
    if (wrong != NULL) {
        write_error(to, self->id, "contradiction", "%s", wrong);
        return 0;
    }
    for (int64_t k = 0; status >= 0 && k < combinations(what); k++) {
        cell here;
        make_cell(what, self, k, &here);
        status = do_cell(what, &here, to, &error);
    }
    if (status < 0) {
        text_clear(to->out);
        write_library_error(to, self->id, status, error.message);
    }
    return status >= 0;
}

/* Of all cells, as if each were the first; those of large groups make up for those of small. */
static double cost(void *user, const context *self)
{
    const sweep *what = user;
    double cells =
        (double)combinations(what) * (double)at_least_one(what->axes[AXIS_BETA].grid.count);
    return cells * (what->all ? cost_of_points : cost_of_solving)(self);
}

/* ---- the command ----------------------------------------------------------------------------- */

static int begin(void *user, int format, text *out, text *wrong)
{
    sweep *self = user;
    int x = x_axis(self);
    if (self->plot_file != NULL && x < 0) {
        text_string(wrong, "--plot needs an axis with several values, such as --beta 1e-3:1:log40");
        return 0;
    }
    if (self->plot_file != NULL && !plot_check(self->plot_file, wrong)) {
        return 0;
    }
    if (self->plot_file != NULL) {
        self->plot.x_label = AXIS[x].label;
        self->plot.log_x = self->axes[x].grid.logarithmic;
        self->plot.markers = x == AXIS_GROUP_SIZE;
        self->plot.log_y = 1;
        for (int q = 0; q < self->show.count; q++) {
            text_string(&self->plot.y_label, q > 0 ? "; " : "");
            quantity_label(&self->show.items[q], &self->plot.y_label);
            self->plot.log_y = self->plot.log_y && self->show.items[q].logarithmic;
        }
    }
    if (format == FORMAT_CSV) {
        csv_header(out, CSV_HEADER, self->summary ? NULL : CSV_OUTCOME);
    }
    return 1;
}

int command_sweep(int argc, char **argv)
{
    static const parameter options[] = {
        {"beta", SET_OTHER, .field = offsetof(sweep, axes[AXIS_BETA]), .read = read_numbers},
        {"group_size", SET_OTHER, .field = offsetof(sweep, axes[AXIS_GROUP_SIZE]),
         .read = read_numbers},
        {"penalty", SET_OTHER, .field = offsetof(sweep, axes[AXIS_PENALTY]), .read = read_words},
        {"scale", SET_OTHER, .field = offsetof(sweep, axes[AXIS_SCALE]), .read = read_words},
        {"reference_probability", SET_OTHER, .field = offsetof(sweep, axes[AXIS_REFERENCE]),
         .read = read_numbers},
        {"margin", SET_OTHER, .field = offsetof(sweep, axes[AXIS_MARGIN]), .read = read_numbers},
        {"plot", SET_OTHER, .field = offsetof(sweep, plot_file), .read = plot_file_read},
        {"show", SET_OTHER, .field = offsetof(sweep, show), .read = quantities_read},
        {"all", SET_FLAG, .field = offsetof(sweep, all)},
        {"summary", SET_FLAG, .field = offsetof(sweep, summary)},
        {"mean", SET_FLAG, .field = offsetof(sweep, mean)},
        {.name = NULL}};
    static const int formats[] = {FORMAT_CSV, FORMAT_JSONL, -1};
    sweep own = {.show = {.items = {quantity_default()}, .count = 1}};
    for (int axis = 0; axis < AXES; axis++) {
        own.axes[axis].axis = axis;
    }
    const action sweep_action = {.command = "sweep",
                                 .help = HELP,
                                 .options = options,
                                 .formats = formats,
                                 .begin = begin,
                                 .prepare = prepare,
                                 .cost = cost,
                                 .act = act,
                                 .collect = collect,
                                 .finish = finish,
                                 .user = &own};
    int status = run_contexts(&sweep_action, argc, argv);
    for (int axis = 0; axis < AXES; axis++) {
        if (has_numbers(axis)) {
            grid_free(&own.axes[axis].grid);
        }
    }
    plot_free(&own.plot);
    return status;
}
