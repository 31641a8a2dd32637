/* grpoalign sweep */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/commands.h"
#include "commands/run.h"
#include "base/number.h"
#include "output/plot.h"
#include "output/result.h"
#include "output/write.h"

static const char HELP[] =
    "usage: grpoalign sweep [options] [FILE...]\n"
    "\n"
    "The stationary policy of each context over a grid of settings. Records are those of "
    "`grpoalign solve`; what the "
    "grid\n"
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
    "kl_policy_ref, "
    "entropy,\n"
    "                                    or policy:K for the probability of outcome K (from 0)\n"
    "\n";

enum { AXIS_BETA, AXIS_GROUP_SIZE, AXIS_REFERENCE, AXIS_MARGIN, AXES };

static const char *const AXIS_NAMES[AXES] = {"beta", "group-size", "reference-probability",
                                             "margin"};
static const char *const AXIS_LABELS[AXES] = {"regularisation β", "group size G",
                                              "reference probability", "confidence margin γ"};

/* Of one setting. */
enum { MOST_WORDS = 10 };

typedef struct sweep {
    grid axes[AXES];
    int32_t penalties[MOST_WORDS], scales[MOST_WORDS];
    int penalty_count, scale_count;
    int all, summary, mean;
    const char *plot_file;
    quantity show;
    int64_t contexts; /* drawn so far */
    plot plot;
} sweep;

/* One point to draw, as `act` hands it to `collect`. */
typedef struct drawn {
    double x, y, beta;
    int64_t cell, style;
} drawn;

/* ---- options
 * -------------------------------------------------------------------------------------------------------
 */

/* Words of a setting, separated by commas, each once. */
static int parse_list(const char *name, const char *value, int32_t *out, int *count, text *expected)
{
    char text_of[256];
    if (strlen(value) >= sizeof text_of) {
        return 0;
    }
    (void)snprintf(text_of, sizeof text_of, "%s", value);
    *count = 0;
    for (char *rest = text_of, *word; (word = strsep(&rest, ",")) != NULL;) {
        settings probe = {.has_model = 0};
        text_clear(expected);
        if (settings_parse(&probe, name, word, expected) <= 0 || *count == MOST_WORDS) {
            text_string(expected, ", or several with commas between them");
            return 0;
        }
        int32_t found = strcmp(name, "scale") == 0 ? probe.scale : probe.penalty;
        if (is_in_batch(&probe)) {
            text_clear(expected);
            text_string(expected, "std, none, std_of_others or mean: the std of a batch couples "
                                  "the contexts of a file");
            return 0;
        }
        for (int k = 0; k < *count; k++) {
            if (out[k] == found) {
                text_string(expected, ", each once");
                return 0;
            }
        }
        out[(*count)++] = found;
    }
    return *count > 0;
}

static int are_integers(const grid *values)
{
    for (int64_t i = 0; i < values->count; i++) {
        if (values->values[i] != round(values->values[i])) {
            return 0;
        }
    }
    return 1;
}

static int axis_takes(int axis, const grid *values)
{
    for (int64_t i = 0; i < values->count; i++) {
        double x = values->values[i];
        int good = axis == AXIS_BETA        ? x > 0.0
                   : axis == AXIS_REFERENCE ? x >= 0.0 && x <= 1.0
                   : axis == AXIS_MARGIN    ? x >= -1.0 && x <= 1.0
                                            : round(x) >= 2.0 && round(x) <= INT32_MAX;
        if (!good) {
            return 0;
        }
        values->values[i] = axis == AXIS_GROUP_SIZE ? round(x) : x;
    }
    return 1;
}

static int option(void *user, const char *name, const char *value, text *expected)
{
    static const char *const ranges[AXES] = {"numbers > 0", "integers from 2 on",
                                             "numbers in [0, 1]", "numbers in [-1, 1]"};
    sweep *self = user;
    for (int axis = 0; axis < AXES; axis++) {
        if (strcmp(name, AXIS_NAMES[axis]) == 0) {
            text_format(expected, "%s: a list a,b,c or LOW:HIGH:logN or LOW:HIGH:linN",
                        ranges[axis]);
            grid_free(&self->axes[axis]);
            /* A grid is rounded to integers, a list must have them. */
            return parse_grid(value, &self->axes[axis]) &&
                   (axis != AXIS_GROUP_SIZE || strchr(value, ':') != NULL ||
                    are_integers(&self->axes[axis])) &&
                   axis_takes(axis, &self->axes[axis]);
        }
    }
    if (strcmp(name, "penalty") == 0) {
        return parse_list(name, value, self->penalties, &self->penalty_count, expected);
    }
    if (strcmp(name, "scale") == 0) {
        return parse_list(name, value, self->scales, &self->scale_count, expected);
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
    if (strcmp(name, "all") == 0) {
        return self->all = 1;
    }
    if (strcmp(name, "summary") == 0) {
        return self->summary = 1;
    }
    if (strcmp(name, "mean") == 0) {
        return self->mean = 1;
    }
    return -1;
}

/* The axis that is drawn along, the one with the most values; -1 where none has several. */
static int x_axis(const sweep *self)
{
    int best = -1;
    for (int axis = 0; axis < AXES; axis++) {
        if (self->axes[axis].count > (best < 0 ? 1 : self->axes[best].count)) {
            best = axis;
        }
    }
    return best;
}

static int begin(void *user, style *how, text *out, text *wrong)
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
        self->plot.x_label = AXIS_LABELS[x];
        self->plot.log_x = self->axes[x].logarithmic;
        self->plot.markers = x == AXIS_GROUP_SIZE;
        self->plot.y_label = self->show.label;
        self->plot.log_y = quantity_is_logarithmic(&self->show);
    }
    if (how->format == FORMAT_CSV) {
        static const char summary[] = "id,status,error,model,group_size,scale,penalty,reference_"
                                      "probability,margin,beta,point,"
                                      "from_reference,points,complete,stable,unique,expected_"
                                      "reward,kl_ref_policy,kl_policy_ref,entropy,"
                                      "residual,policy_error";
        text_string(out, summary);
        text_string(out, self->summary ? "\n" : ",outcome,reference,policy,advantage\n");
        how->columns = self->summary ? 22 : 26;
    }
    return 1;
}

/* Epsilon belongs to a divisor, ddof and its place to the std: they are left out where another
 * scale is swept. */
static void fit_to_scale(settings *s)
{
    int is_std = s->scale == GRPOALIGN_SCALE_STD, divides = s->scale != GRPOALIGN_SCALE_NONE;
    /* A preset's epsilon is that of its own scale. */
    int foreign = s->has_preset && s->scale != s->preset.scale && s->epsilon == s->preset.epsilon;
    s->has_ddof = s->has_ddof && is_std;
    s->has_epsilon_place = s->has_epsilon_place && is_std;
    s->has_epsilon = s->has_epsilon && divides && !foreign;
    settings_imply_baseline(s);
}

/* Enough of the first cell for a context to be checked. */
static void prepare(void *user, settings *s)
{
    const sweep *self = user;
    if (self->axes[AXIS_BETA].count > 0) {
        s->has_beta = 1;
        s->beta = self->axes[AXIS_BETA].values[0];
    }
    if (self->axes[AXIS_GROUP_SIZE].count > 0) {
        s->has_group_size = 1;
        s->group_size = (int64_t)self->axes[AXIS_GROUP_SIZE].values[0];
    }
    if (self->penalty_count > 0) {
        s->has_penalty = 1;
        s->penalty = self->penalties[0];
    }
    if (self->scale_count > 0 &&
        !(self->scale_count > 1 && s->has_model && s->model == MODEL_PAIRWISE)) {
        s->has_scale = 1;
        /* Every setting goes with the std; each cell takes its own scale, and what goes with that.
         */
        s->scale = self->scale_count > 1 ? GRPOALIGN_SCALE_STD : self->scales[0];
        fit_to_scale(s);
    }
}

/* ---- cells
 * ------------------------------------------------------------------------------------------------------------
 */

/* A combination of everything but beta: a context of its own, with parts borrowed from the one it
 * comes from. */
typedef struct cell {
    context context;
    double reference[2], margins[4];
    double reference_probability, margin; /* NaN where not on an axis */
    int64_t number;
} cell;

/* A reason why the axes do not fit the context, or NULL. */
static const char *misfit(const sweep *self, const context *c)
{
    if (self->axes[AXIS_REFERENCE].count > 0 && c->outcomes != 2) {
        return "--reference-probability is for contexts of two outcomes";
    }
    if (self->axes[AXIS_MARGIN].count > 0 &&
        (c->outcomes != 2 || c->settings.model != MODEL_PAIRWISE)) {
        return "--margin is for pairwise contexts of two outcomes";
    }
    if (self->plot_file == NULL) {
        return NULL;
    }
    context shown = *c;
    shown.rewards =
        self->axes[AXIS_MARGIN].count > 0 ? NULL : c->rewards; /* the axis replaces them */
    return quantity_lacks(&self->show, &shown);
}

static int64_t at_least_one(int64_t count)
{
    return count > 0 ? count : 1;
}

static int64_t combinations(const sweep *self)
{
    return at_least_one(self->penalty_count) * at_least_one(self->scale_count) *
           at_least_one(self->axes[AXIS_GROUP_SIZE].count) *
           at_least_one(self->axes[AXIS_REFERENCE].count) *
           at_least_one(self->axes[AXIS_MARGIN].count);
}

/* Which value of each axis a cell has; -1 where the axis is not given. */
typedef struct digits {
    int64_t axis[AXES], scale, penalty;
} digits;

static int64_t take_digit(int64_t *rest, int64_t count)
{
    if (count == 0) {
        return -1;
    }
    int64_t digit = *rest % count;
    *rest /= count;
    return digit;
}

static digits digits_of(const sweep *self, int64_t number)
{
    digits out = {.axis = {[AXIS_BETA] = -1}};
    for (int axis = AXES - 1; axis > AXIS_BETA; axis--) {
        out.axis[axis] = take_digit(&number, self->axes[axis].count);
    }
    out.scale = take_digit(&number, self->scale_count);
    out.penalty = take_digit(&number, self->penalty_count);
    return out;
}

/* Fills a cell from its number; the context is borrowed. */
static void make_cell(const sweep *self, const context *from, int64_t number, cell *out)
{
    digits at = digits_of(self, number);
    settings *s = &out->context.settings;
    memset(out, 0, sizeof *out);
    out->context = *from;
    out->number = number;
    out->reference_probability = out->margin = NAN;
    if (at.axis[AXIS_MARGIN] >= 0) {
        out->margin = self->axes[AXIS_MARGIN].values[at.axis[AXIS_MARGIN]];
        out->margins[1] = -out->margin;
        out->margins[2] = out->margin;
        out->context.margins = out->margins;
        out->context.rewards = NULL;
    }
    if (at.axis[AXIS_REFERENCE] >= 0) {
        int better = from->rewards != NULL && from->rewards[0] > from->rewards[1] ? 0 : 1;
        out->reference_probability = self->axes[AXIS_REFERENCE].values[at.axis[AXIS_REFERENCE]];
        out->reference[better] = out->reference_probability;
        out->reference[1 - better] = 1.0 - out->reference_probability;
        out->context.reference = out->reference;
        out->context.reference_logprobs = NULL;
    }
    if (at.axis[AXIS_GROUP_SIZE] >= 0) {
        s->group_size = (int64_t)self->axes[AXIS_GROUP_SIZE].values[at.axis[AXIS_GROUP_SIZE]];
    }
    if (at.scale >= 0) {
        s->scale = self->scales[at.scale];
        fit_to_scale(s);
    }
    if (at.penalty >= 0) {
        s->penalty = self->penalties[at.penalty];
    }
}

/* What tells the line of a cell from the others: the axes with several values but the one drawn
 * along. */
static void name_series(const sweep *self, const drawn *point, text *out)
{
    static const char *const symbols[AXES] = {"β", "G", "π_{ref}", "γ"};
    digits at = digits_of(self, point->cell);
    for (int axis = 0; axis < AXES; axis++) {
        if (self->axes[axis].count > 1 && axis != x_axis(self)) {
            double value = axis == AXIS_BETA ? point->beta : self->axes[axis].values[at.axis[axis]];
            text_format(out, "%s%s = %.4g", out->length > 0 ? ", " : "", symbols[axis], value);
        }
    }
    if (self->scale_count > 1) {
        text_format(out, "%s%s", out->length > 0 ? ", " : "",
                    self->scales[at.scale] == GRPOALIGN_SCALE_NONE   ? "unscaled"
                    : self->scales[at.scale] == GRPOALIGN_SCALE_STD  ? "over std"
                    : self->scales[at.scale] == GRPOALIGN_SCALE_MEAN ? "over mean"
                                                                     : "over std of others");
    }
    if (self->penalty_count > 1) {
        text_format(out, "%s%s", out->length > 0 ? ", " : "",
                    self->penalties[at.penalty] == GRPOALIGN_PENALTY_REVERSE_KL ? "KL(π_{ref}‖π)"
                    : self->penalties[at.penalty] == GRPOALIGN_PENALTY_DIRECT_KL
                        ? "KL(π‖π_{ref})"
                        : penalty_symbol(self->penalties[at.penalty]));
    }
    if (out->length == 0) {
        text_string(out, "stable");
    }
}

/* ---- writing
 * ------------------------------------------------------------------------------------------------------------
 */

/* One solution of a cell. */
typedef struct place_in_cell {
    int64_t point, points; /* points: -1 where they were not counted */
    int from_reference, complete;
} place_in_cell;

static const char *const MODELS[] = {"", "pairwise", "group", "limit"};

static const char *scale_of(const settings *s)
{
    return s->model == MODEL_PAIRWISE ? ""
                                      : scale_name(s->has_scale ? s->scale : GRPOALIGN_SCALE_STD);
}

static void write_json(const cell *here, const result *r, const place_in_cell *at, text *out)
{
    const context *c = &here->context;
    const settings *s = &c->settings;
    text_format(out, "{\"id\": %s, \"status\": \"%s\", \"model\": \"%s\"",
                c->id != NULL ? c->id : "null", grpoalign_status_name(r->report.status),
                MODELS[s->model]);
    if (s->model == MODEL_GROUP) {
        text_format(out, ", \"group_size\": %lld", (long long)s->group_size);
    }
    if (s->model != MODEL_PAIRWISE) {
        text_format(out, ", \"scale\": \"%s\"", scale_of(s));
    }
    text_format(out, ", \"penalty\": \"%s\"", grpoalign_penalty_name(s->penalty));
    if (!isnan(here->reference_probability)) {
        json_number(out, "reference_probability", here->reference_probability);
    }
    if (!isnan(here->margin)) {
        json_number(out, "margin", here->margin);
    }
    json_number(out, "beta", r->report.beta);
    if (at->points != 0) {
        text_format(out, ", \"point\": %lld", (long long)at->point);
    }
    text_format(out, ", \"from_reference\": %s", json_truth(at->from_reference));
    if (at->points >= 0) {
        text_format(out, ", \"points\": %lld, \"complete\": %s", (long long)at->points,
                    json_truth(at->complete));
    }
    json_labels(out, c);
    json_result(out, r, c->outcomes);
    text_string(out, "}\n");
}

static void csv_truth(text *out, int32_t value)
{
    csv_text(out, value < 0 ? "" : json_truth(value));
}

static void write_csv(const sweep *self, const cell *here, const result *r, const place_in_cell *at,
                      text *out)
{
    const context *c = &here->context;
    const settings *s = &c->settings;
    text row = {0};
    csv_id(&row, c->id);
    csv_text(&row, grpoalign_status_name(r->report.status));
    csv_text(&row, "");
    csv_text(&row, MODELS[s->model]);
    if (s->model == MODEL_GROUP) {
        csv_integer(&row, s->group_size);
    } else {
        csv_text(&row, "");
    }
    csv_text(&row, scale_of(s));
    csv_text(&row, grpoalign_penalty_name(s->penalty));
    csv_number(&row, here->reference_probability);
    csv_number(&row, here->margin);
    csv_number(&row, r->report.beta);
    if (at->points != 0) {
        csv_integer(&row, at->point);
    } else {
        csv_text(&row, "");
    }
    csv_truth(&row, at->from_reference);
    if (at->points >= 0) {
        csv_integer(&row, at->points);
        csv_truth(&row, at->complete);
    } else {
        text_string(&row, ",,");
    }
    csv_truth(&row, r->report.stable);
    csv_truth(&row, r->report.unique);
    csv_number(&row, r->report.expected_reward);
    csv_number(&row, r->report.kl_ref_policy);
    csv_number(&row, r->report.kl_policy_ref);
    csv_number(&row, r->report.entropy);
    csv_number(&row, r->report.residual);
    csv_number(&row, r->report.policy_error);
    for (int64_t o = 0; o < (self->summary ? 1 : c->outcomes); o++) {
        text_add(out, row.bytes != NULL ? row.bytes : "", row.length);
        if (!self->summary) {
            csv_label(out, c, o);
            csv_number(out, r->reference[o]);
            csv_number(out, r->policy[o]);
            csv_number(out, r->advantage[o]);
        }
        text_string(out, "\n");
    }
    out->failed = out->failed || row.failed;
    text_free(&row);
}

/* Where the cell, or a beta of it, lies on the x axis. */
static double x_of(const sweep *self, const cell *here, double beta)
{
    int x = x_axis(self);
    return x == AXIS_BETA         ? beta
           : x == AXIS_GROUP_SIZE ? (double)here->context.settings.group_size
           : x == AXIS_REFERENCE  ? here->reference_probability
                                  : here->margin;
}

static void put_aside(const sweep *self, const cell *here, const result *r, int hidden, text *aside)
{
    const grpoalign_report *report = &r->report;
    const double measures[4] = {report->expected_reward, report->kl_ref_policy,
                                report->kl_policy_ref, report->entropy};
    int attracts = report->stable != 0 && report->status != GRPOALIGN_NOT_CONVERGED;
    drawn point = {.x = x_of(self, here, report->beta),
                   .y = hidden ? NAN : quantity_of(&self->show, measures, r->policy),
                   .beta = report->beta,
                   .cell = here->number,
                   .style = attracts ? PLOT_STABLE : PLOT_UNSTABLE};
    text_add(aside, (const char *)&point, sizeof point);
}

/* ---- solving
 * ------------------------------------------------------------------------------------------------------------
 */

typedef struct work {
    const sweep *sweep;
    const handles *handles;
    const cell *cell;
    const style *how;
    text *out, *aside;
    grpoalign_error *error;
    int grid_is_drawn; /* the solutions of the grid are what is drawn */
} work;

static grpoalign_status write_solution(const work *self, const grpoalign_solution *solution,
                                       const place_in_cell *at)
{
    const cell *here = self->cell;
    result r = {0};
    grpoalign_status status =
        result_take(&r, solution, self->handles->reference, here->context.outcomes, self->error);
    if (status >= 0) {
        if (self->how->format == FORMAT_CSV) {
            write_csv(self->sweep, here, &r, at, self->out);
        } else {
            write_json(here, &r, at, self->out);
        }
        if (self->grid_is_drawn && at->from_reference) {
            put_aside(self->sweep, here, &r, 0, self->aside);
        }
    }
    result_free(&r);
    return status;
}

static grpoalign_status along_path(const work *self, const double *betas, int64_t count)
{
    const handles *h = self->handles;
    grpoalign_points *path = NULL;
    grpoalign_status status =
        grpoalign_points_new_path(h->problem, betas, count, NULL, &path, self->error);
    for (int64_t k = 0; status >= 0 && k < count; k++) {
        const place_in_cell at = {.points = -1, .from_reference = 1};
        status = write_solution(self, grpoalign_points_solution(path, k), &at);
    }
    grpoalign_points_free(path);
    return status;
}

/* Where there is no stationary policy: what training ends in. */
static grpoalign_status write_end(const work *self, double beta, int complete)
{
    const handles *h = self->handles;
    const place_in_cell at = {.points = 0, .from_reference = 1, .complete = complete};
    grpoalign_solution *end = NULL;
    grpoalign_status status = grpoalign_solve(h->problem, beta, NULL, &end, self->error);
    if (status >= 0) {
        status = write_solution(self, end, &at);
    }
    grpoalign_solution_free(end);
    return status;
}

static grpoalign_status all_points(const work *self, const double *betas, int64_t count)
{
    const handles *h = self->handles;
    grpoalign_status status = GRPOALIGN_OK;
    for (int64_t i = 0; status >= 0 && i < count; i++) {
        grpoalign_points *points = NULL;
        status = grpoalign_points_new(h->problem, betas[i], NULL, &points, self->error);
        int64_t found = grpoalign_points_count(points);
        for (int64_t k = 0; status >= 0 && k < found; k++) {
            const place_in_cell at = {.point = k,
                                      .points = found,
                                      .from_reference =
                                          k == grpoalign_points_from_reference(points),
                                      .complete = grpoalign_points_complete(points)};
            status = write_solution(self, grpoalign_points_solution(points, k), &at);
        }
        if (status >= 0 && found == 0) {
            status = write_end(self, betas[i], grpoalign_points_complete(points));
        }
        grpoalign_points_free(points);
    }
    return status;
}

/* The whole curve between the ends of the grid, for drawing. */
static grpoalign_status curve(const work *self, const grid *betas)
{
    const double resolution = 0.01;
    const handles *h = self->handles;
    double low = INFINITY, high = 0.0;
    grpoalign_points *points = NULL;
    for (int64_t i = 0; i < betas->count; i++) {
        low = fmin(low, betas->values[i]);
        high = fmax(high, betas->values[i]);
    }
    grpoalign_status status =
        grpoalign_points_new_curve(h->problem, low, high, resolution, NULL, &points, self->error);
    for (int64_t k = 0; status >= 0 && k < grpoalign_points_count(points); k++) {
        result r = {0};
        status = result_take(&r, grpoalign_points_solution(points, k), h->reference,
                             self->cell->context.outcomes, self->error);
        if (status >= 0) {
            /* The curve may leave the interval and come back. */
            int outside = r.report.beta < low * (1.0 - 1e-9) || r.report.beta > high * (1.0 + 1e-9);
            put_aside(self->sweep, self->cell, &r, outside, self->aside);
        }
        result_free(&r);
    }
    grpoalign_points_free(points);
    return status;
}

static int act(void *user, const context *self, const char *place, const style *how, text *out,
               text *aside)
{
    const sweep *what = user;
    const grid *betas = &what->axes[AXIS_BETA];
    const char *wrong = misfit(what, self);
    grpoalign_error error = {.message = "out of memory"};
    grpoalign_status status = GRPOALIGN_OK;
    if (wrong != NULL) {
        write_error(out, how, self->id, "contradiction", place, wrong);
        return 0;
    }
    for (int64_t k = 0; status >= 0 && k < combinations(what); k++) {
        cell here;
        handles h;
        make_cell(what, self, k, &here);
        const double *values = betas->count > 0 ? betas->values : &here.context.settings.beta;
        int drawn_as_curve = what->plot_file != NULL && x_axis(what) == AXIS_BETA && !what->mean;
        work now = {.sweep = what,
                    .handles = &h,
                    .cell = &here,
                    .how = how,
                    .out = out,
                    .aside = aside,
                    .error = &error,
                    .grid_is_drawn = what->plot_file != NULL && !drawn_as_curve};
        status = handles_open(&here.context, &h, &error);
        if (status >= 0) {
            status =
                (what->all ? all_points : along_path)(&now, values, at_least_one(betas->count));
        }
        if (status >= 0 && drawn_as_curve) {
            status = curve(&now, betas);
        }
        handles_close(&h);
    }
    if (status < 0) {
        text_clear(out);
        write_library_error(out, how, self, status, place, error.message);
    }
    return status >= 0;
}

/* ---- drawing
 * -------------------------------------------------------------------------------------------------------------
 */

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
        if (self->contexts == 0) {
            plot_add(&self->plot, series, point.x, point.y, (int)point.style);
        } else if (series->cursor < series->count) {
            series->points[series->cursor].y += point.y; /* a sum, divided at the end */
            series->points[series->cursor].style = PLOT_STABLE;
        }
        series->cursor++;
    }
    for (size_t k = 0; k < self->plot.count; k++) {
        self->plot.series[k].cursor = 0;
    }
    self->contexts++;
    text_free(&name);
}

static int finish(void *user, int whole, text *wrong)
{
    sweep *self = user;
    int good = 1;
    if (self->plot_file != NULL && !whole) {
        text_format(wrong, "%s is not written: the results did not all go out", self->plot_file);
        good = 0;
    } else if (self->plot_file != NULL && self->contexts > 1 && !self->mean) {
        text_format(wrong,
                    "%s is not written: it would show one context, and there were %lld; --mean "
                    "draws their mean",
                    self->plot_file, (long long)self->contexts);
        good = 0;
    } else if (self->plot_file != NULL) {
        for (size_t k = 0; k < self->plot.count; k++) {
            for (size_t i = 0; i < self->plot.series[k].count; i++) {
                self->plot.series[k].points[i].y /= (double)self->contexts;
            }
        }
        good = plot_write(&self->plot, self->plot_file, wrong);
    }
    return good;
}

int command_sweep(int argc, char **argv)
{
    static const own_option options[] = {{"reference-probability", 1},
                                         {"margin", 1},
                                         {"plot", 1},
                                         {"show", 1},
                                         {"all", 0},
                                         {"summary", 0},
                                         {"mean", 0},
                                         {NULL, 0}};
    static const int formats[] = {FORMAT_CSV, FORMAT_JSONL, -1};
    sweep own = {.penalty_count = 0};
    (void)quantity_parse("expected_reward", &own.show);
    const action sweep_action = {.command = "sweep",
                                 .help = HELP,
                                 .options = options,
                                 .formats = formats,
                                 .option = option,
                                 .begin = begin,
                                 .prepare = prepare,
                                 .act = act,
                                 .collect = collect,
                                 .finish = finish,
                                 .user = &own};
    int status = run_contexts(&sweep_action, argc, argv);
    for (int axis = 0; axis < AXES; axis++) {
        grid_free(&own.axes[axis]);
    }
    plot_free(&own.plot);
    return status;
}
