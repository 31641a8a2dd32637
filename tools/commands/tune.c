/* grpoalign tune */
#include <string.h>

#include "base/number.h"
#include "commands/commands.h"
#include "commands/inverse.h"

static const char HELP[] =
    "usage: grpoalign tune --target QUANTITY=VALUE [options] [FILE...]\n"
    "\n"
    "Reads what `grpoalign solve` reads, but for beta, and finds the largest beta at which the "
    "stationary policy that the\n"
    "reference leads to meets the target. Writes beta, the value met and what solve writes there; "
    "where no beta meets it,\n"
    "the status unreachable and the nearest. With the key metrics a record names numbers of its "
    "outcomes.\n"
    "\n"
    "  --target QUANTITY=VALUE           kl_policy_ref, kl_ref_policy, entropy, expected_reward or "
    "metric:NAME\n"
    "  --beta-range LOW:HIGH             where to look (default: wherever the policy changes)\n"
    "\n";

enum { MOST_NAME = 256 };

typedef struct target {
    int32_t quantity; /* 0: none given */
    double value;
    char metric[MOST_NAME];
} target;

typedef struct range {
    double low, high;
} range;

typedef struct tuning {
    target target;
    range range;
} tuning;

static const choice QUANTITIES[] = {{"kl_policy_ref", GRPOALIGN_QUANTITY_KL_POLICY_REF},
                                    {"kl_ref_policy", GRPOALIGN_QUANTITY_KL_REF_POLICY},
                                    {"entropy", GRPOALIGN_QUANTITY_ENTROPY},
                                    {"expected_reward", GRPOALIGN_QUANTITY_EXPECTED_REWARD},
                                    {NULL, 0}};

static int read_target(void *into, const char *value, text *expected)
{
    static const char METRIC[] = "metric:";
    target *self = into;
    char name[MOST_NAME];
    text words = {0};
    const char *equals = strrchr(value, '=');
    text_string(expected, "QUANTITY=VALUE, with kl_policy_ref, kl_ref_policy, entropy, "
                          "expected_reward or metric:NAME and a number");
    size_t length = equals != NULL ? (size_t)(equals - value) : 0;
    if (length == 0 || length >= sizeof name || !parse_number(equals + 1, &self->value)) {
        return 0;
    }
    memcpy(name, value, length);
    name[length] = '\0';
    int good = strncmp(name, METRIC, sizeof METRIC - 1) == 0 && name[sizeof METRIC - 1] != '\0';
    if (good) {
        self->quantity = GRPOALIGN_QUANTITY_METRIC;
        memcpy(self->metric, name + sizeof METRIC - 1, length + 1 - (sizeof METRIC - 1));
    } else {
        good = choose(QUANTITIES, name, &self->quantity, &words);
    }
    text_free(&words);
    return good && (self->value >= 0.0 || self->quantity > GRPOALIGN_QUANTITY_ENTROPY);
}

static int read_range(void *into, const char *value, text *expected)
{
    range *self = into;
    text_string(expected, "LOW:HIGH, 0 < LOW <= HIGH");
    return parse_interval(value, &self->low, &self->high);
}

static int begin(void *user, int format, text *out, text *wrong)
{
    const tuning *self = user;
    (void)format, (void)out;
    if (self->target.quantity == 0) {
        text_string(wrong, "--target is missing: expected QUANTITY=VALUE");
    }
    return self->target.quantity != 0;
}

static const field FIELDS[] = {{"beta", FIELD_NUMBER, .at = offsetof(inverse, beta)},
                               {"value", FIELD_NUMBER, .at = offsetof(inverse, value)},
                               {.name = NULL}};

/* Why a context has no such quantity; NULL when it has. */
static const char *lack(const tuning *self, const context *c)
{
    if (self->target.quantity == GRPOALIGN_QUANTITY_EXPECTED_REWARD && c->rewards == NULL &&
        c->support == NULL) {
        return "--target expected_reward: margins have no reward";
    }
    return self->target.quantity == GRPOALIGN_QUANTITY_METRIC &&
                   metrics_find(&c->metrics, self->target.metric) == NULL
               ? "--target names a metric that the record does not have: expected it under metrics"
               : NULL;
}

static double value_of(const tuning *self, const result *r, const double *metric, int64_t n)
{
    double sum = 0.0;
    for (int64_t o = 0; metric != NULL && o < n; o++) {
        sum += r->policy[o] * metric[o];
    }
    switch (self->target.quantity) {
    case GRPOALIGN_QUANTITY_KL_POLICY_REF:
        return r->report.kl_policy_ref;
    case GRPOALIGN_QUANTITY_KL_REF_POLICY:
        return r->report.kl_ref_policy;
    case GRPOALIGN_QUANTITY_ENTROPY:
        return r->report.entropy;
    case GRPOALIGN_QUANTITY_EXPECTED_REWARD:
        return r->report.expected_reward;
    default:
        return sum;
    }
}

static void write_found(const tuning *self, const context *c, const result *r, const inverse *found,
                        const reply *to)
{
    const char *word = word_of(QUANTITIES, self->target.quantity);
    text line = {0};
    text_format(&line, "%s %.6g, %s %.6g at beta %.6g\n", word != NULL ? word : self->target.metric,
                self->target.value,
                found->status == GRPOALIGN_UNREACHABLE ? "unreachable; the nearest is" : "met by",
                found->value, found->beta);
    inverse_write(c, r, FIELDS, found, line.bytes != NULL ? line.bytes : "", to);
    text_free(&line);
}

static grpoalign_status tune(const tuning *self, const context *c, const double *metric, result *r,
                             grpoalign_error *error)
{
    problem p;
    grpoalign_solution *solution = NULL;
    grpoalign_status status = problem_open(&p, c, error);
    if (status >= 0) {
        grpoalign_inverse_options how = problem_inverse_options(&p);
        how.beta_low = self->range.low;
        how.beta_high = self->range.high;
        status = grpoalign_tune(p.handle, self->target.quantity, metric,
                                metric != NULL ? c->outcomes : 0, self->target.value, &how,
                                &solution, error);
    }
    if (status >= 0) {
        grpoalign_status taken = result_take(r, &p, solution, error);
        status = taken < 0 ? taken : status;
    }
    grpoalign_solution_free(solution);
    problem_close(&p);
    return status;
}

static int act(void *user, const context *c, const reply *to)
{
    const tuning *self = user;
    const char *wrong = lack(self, c);
    const double *metric = self->target.quantity == GRPOALIGN_QUANTITY_METRIC
                               ? metrics_find(&c->metrics, self->target.metric)
                               : NULL;
    grpoalign_error error;
    result r = {.contexts = 0};
    if (inverse_refuses(c, "tune", to)) {
        return 0;
    }
    if (wrong != NULL) {
        write_error(to, c->id, "contradiction", "%s", wrong);
        return 0;
    }
    grpoalign_status status = tune(self, c, metric, &r, &error);
    if (status < 0) {
        write_library_error(to, c->id, status, error.message);
    } else {
        const inverse found = {.status = status,
                               .beta = r.report.beta,
                               .value = value_of(self, &r, metric, c->outcomes)};
        write_found(self, c, &r, &found, to);
    }
    result_free(&r);
    return status >= 0;
}

int command_tune(int argc, char **argv)
{
    static const parameter options[] = {
        {"target", SET_OTHER, offsetof(tuning, target), .read = read_target},
        {"beta_range", SET_OTHER, offsetof(tuning, range), .read = read_range},
        {.name = NULL}};
    tuning self = {.target = {.quantity = 0}};
    const action tune_action = {.command = "tune",
                                .help = HELP,
                                .options = options,
                                .begin = begin,
                                .prepare = inverse_prepare,
                                .cost = inverse_cost,
                                .act = act,
                                .user = &self};
    return run_contexts(&tune_action, argc, argv);
}
