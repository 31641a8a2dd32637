/*
 * The soak: soak N SEED [SAMPLE] solves N random problems that aim at corners and puts every policy
 * back into the definition of stationarity, by long double and raw data alone (tests/support). What
 * breaks a promise is printed as a record; a table of what came out goes to standard output, as
 * Markdown. Every thousandth problem that was solved goes to the file SAMPLE, with its policy, for
 * exact.py to check with 400 bits; and so does every answer that long double finds fault with,
 * because its own digits may not be enough for clusters of rewards.
 *
 * sh ./dev soak N SEED runs all of it; doc/accuracy.md is made from a long run.
 */
#include "check.h"

#include <float.h>
#include <time.h>

#include "trial.h"

/* ---- random problems ------------------------------------------------------------------------- */

enum {
    MARGINS,
    BLOCKS, /* of cycles of three, which beat, tie with or lose to each other */
    RANKED,
    BINARY, /* groups of up to 4096, two rewards */
    LEVELS, /* groups, three to five rewards */
    RANDOM, /* groups, random rewards */
    FILTER, /* groups that are all equal are dropped */
    LIMIT,
    VARIANCES, /* limit, with variances within the outcomes */
    BATCH,     /* two to four contexts over the std of the batch */
    MODELS
};
static const char *const MODEL_NAMES[] = {"pairwise margins",
                                          "pairwise, cycles of blocks",
                                          "pairwise by reward",
                                          "groups, two rewards, G to 4096",
                                          "groups, three to five rewards",
                                          "groups, random rewards",
                                          "groups, equal ones dropped",
                                          "limit of large groups",
                                          "limit, random rewards",
                                          "batch"};

static double power_between(randomness *r, double low, double high)
{
    return pow(10.0, random_between(r, low, high));
}

/* Rewards: ordinary, nearly tied, in clusters 1e-12 apart, or of very different sizes. */
static void draw_rewards(randomness *r, int64_t n, double *rewards)
{
    int kind = (int)random_below(r, 6);
    double unit = random_below(r, 4) == 0 ? power_between(r, -6.0, 6.0) : 1.0,
           shift = random_below(r, 4) == 0 ? 10.0 * random_normal(r) : 0.0;
    for (int64_t o = 0; o < n; o++) {
        double reward = random_uniform(r);
        switch (kind) {
        case 0:
            reward = (double)random_below(r, 3);
            break;
        case 1:
            reward = 1.0 + DBL_EPSILON * (double)random_below(r, 4);
            break;
        case 2:
            reward = (double)random_below(r, 2) + 1e-12 * (double)random_below(r, 5);
            break;
        case 3:
            reward = power_between(r, -12.0, 3.0);
            break;
        default:
            break;
        }
        rewards[o] = shift + unit * reward;
    }
}

/* Logarithms of the reference: even, one that holds all but 1e-16, tiny ones, some zero. */
static void draw_reference(randomness *r, int64_t n, double *logs)
{
    int kind = (int)random_below(r, 6);
    random_reference(r, kind < 3 ? kind : (int)REFERENCE_DIRICHLET, n, logs);
    if (kind == 3) {
        logs[random_below(r, n)] += random_between(r, 5.0, 37.0);
    }
    for (int64_t o = 0; o < n; o++) {
        if (kind == 4 && random_below(r, 2)) {
            logs[o] = -power_between(r, 0.0, 3.0);
        }
        if (kind == 5 && o > 0 && random_below(r, 3) == 0) {
            logs[o] = random_below(r, 2) ? -INFINITY : -power_between(r, 2.0, 6.0);
        }
    }
}

static void draw_blocks(randomness *r, int64_t n, double *margins)
{
    int between[4][4] = {{0}};
    for (int a = 0; a < 4; a++) {
        for (int b = 0; b < a; b++) {
            between[a][b] = (int)random_below(r, 3) - 1;
            between[b][a] = -between[a][b];
        }
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            int64_t around = (i - j + 3) % 3;
            double within = around == 1 ? 1.0 : around == 2 ? -1.0 : 0.0;
            margins[i * n + j] = i / 3 == j / 3 ? within : (double)between[i / 3][j / 3];
        }
    }
}

static void draw_convention(randomness *r, plain_context *c, double *rewards, int64_t count)
{
    static const double EPSILONS[] = {1e-8, 1e-6, 1e-4, 1e-2, 1.0, 1e3};
    random_scale(r, c, rewards, count);
    if (!c->unscaled && random_below(r, 2)) {
        c->epsilon = EPSILONS[random_below(r, 6)];
        c->inside = !c->over_others && !c->over_mean && random_below(r, 3) == 0;
    }
    c->epsilon = c->over_mean && c->epsilon == 0.0 ? 0.25 : c->epsilon;
}

/* The largest group that the check can go through. */
static int64_t draw_group_size(randomness *r, int64_t levels)
{
    static const double MOST[] = {4096.0, 4096.0, 4096.0, 48.0, 16.0, 10.0};
    return (int64_t)(2.0 * pow(MOST[levels] / 2.0, random_uniform(r)) + 0.5);
}

static void draw_group(randomness *r, trial *t, int model)
{
    plain_context *c = &t->context;
    int64_t levels = model == BINARY   ? 2
                     : model == LEVELS ? 3 + random_below(r, 3)
                                       : 2 + random_below(r, 2);
    double values[8];
    draw_rewards(r, levels, values);
    c->filtered = model == FILTER;
    if (model == RANDOM) {
        c->k = levels;
        memcpy(t->support, values, (size_t)levels * sizeof *values);
        for (int64_t o = 0; o < c->n; o++) {
            random_policy(r, c->k, t->distribution + o * c->k);
        }
        c->support = t->support;
        c->distribution = t->distribution;
    } else {
        for (int64_t o = 0; o < c->n; o++) {
            t->rewards[o] = values[o < levels ? o : random_below(r, levels)];
        }
    }
    c->group_size = draw_group_size(r, levels);
    draw_convention(r, c, model == RANDOM ? t->support : t->rewards, model == RANDOM ? c->k : c->n);
}

static void draw_strength(randomness *r, trial *t)
{
    static const double ALPHAS[] = {0.0, 1.0, 2.0, 0.5};
    int64_t penalties = 0;
    while (grpoalign_penalty_kind_at(penalties) != 0) {
        penalties++;
    }
    t->penalty = grpoalign_penalty_kind_at(random_below(r, penalties));
    if (t->penalty == GRPOALIGN_PENALTY_ALPHA) {
        t->alpha = random_below(r, 2) ? ALPHAS[random_below(r, 4)] : 2.0 * random_uniform(r);
    }
    t->beta = random_below(r, 2) ? power_between(r, -8.0, 6.0) : power_between(r, -2.0, 1.0);
}

static void draw_trial(randomness *r, trial *t, int model)
{
    plain_context *c = &t->context;
    memset(t, 0, sizeof *t);
    t->kind = MODEL_NAMES[model];
    c->n = 2 + random_below(r, model == MARGINS || model == LIMIT ? TRIAL_MOST - 1 : 5);
    c->n = model == BLOCKS ? 3 * (1 + random_below(r, 4)) : c->n;
    draw_strength(r, t);
    draw_rewards(r, c->n, t->rewards);
    draw_reference(r, c->n, t->logs);
    c->rewards = t->rewards;
    switch (model) {
    case MARGINS:
        random_margins(r, (int)random_below(r, MARGINS_KINDS), c->n, t->margins);
        c->margins = t->margins;
        break;
    case BLOCKS:
        draw_blocks(r, c->n, t->margins);
        c->margins = t->margins;
        break;
    case RANKED:
        break;
    case LIMIT:
    case VARIANCES:
        c->limit = 1;
        draw_convention(r, c, t->rewards, c->n);
        for (int64_t o = 0; o < c->n; o++) {
            t->variances[o] = random_below(r, 3) == 0 ? 0.0 : power_between(r, -6.0, 2.0);
        }
        c->variances = model == VARIANCES && !c->unscaled && !c->over_mean ? t->variances : NULL;
        break;
    case BATCH:
        c->limit = c->unscaled = 1;
        break;
    default:
        draw_group(r, t, model);
    }
}

/* ---- what came out --------------------------------------------------------------------------- */

enum { OK, NOT_UNIQUE, LIMITED, COLLAPSED, UNSETTLED, NOT_CONVERGED, UNSUPPORTED, OUTCOMES };
static const char *const OUTCOME_NAMES[] = {"ok",         "not unique", "accuracy limited",
                                            "collapsed",  "unsettled",  "not converged",
                                            "unsupported"};

typedef struct tally {
    long count[OUTCOMES], total;
    double error, ratio; /* the worst, and the worst over its estimate where above 1e-13 */
    double off;          /* the worst residual over max(1, |u|, beta) */
    double seconds;      /* the slowest */
} tally;

typedef struct soak {
    tally by_model[MODELS], by_penalty[16];
    long broken, sampled, suspects, solved;
    FILE *sample;
} soak;

static int outcome_of(grpoalign_status status)
{
    switch (status) {
    case GRPOALIGN_OK:
        return OK;
    case GRPOALIGN_NOT_UNIQUE:
        return NOT_UNIQUE;
    case GRPOALIGN_ACCURACY_LIMITED:
        return LIMITED;
    case GRPOALIGN_COLLAPSED:
        return COLLAPSED;
    case GRPOALIGN_UNSETTLED:
        return UNSETTLED;
    case GRPOALIGN_NOT_CONVERGED:
        return NOT_CONVERGED;
    case GRPOALIGN_ERR_UNSUPPORTED:
        return UNSUPPORTED;
    default:
        return -1;
    }
}

static void note(tally *self, int outcome, double error, double estimate, double off,
                 double seconds)
{
    self->total++;
    self->count[outcome]++;
    self->seconds = fmax(self->seconds, seconds);
    if (outcome == OK || outcome == NOT_UNIQUE || outcome == LIMITED) {
        self->off = fmax(self->off, off);
        if (outcome != LIMITED) {
            self->error = fmax(self->error, error);
        }
        self->ratio = error > 1e-13 ? fmax(self->ratio, error / estimate) : self->ratio;
    }
}

/* The penalty's place in the list of all. */
static int64_t row_of(int32_t kind)
{
    int64_t row = 0;
    while (grpoalign_penalty_kind_at(row) != kind) {
        row++;
    }
    return row;
}

static void broken(soak *self, const trial *t, const char *what, double value)
{
    self->broken++;
    fprintf(stderr, "%s (%.3g): %s\n", what, value, trial_record(t));
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Estimates below a tenth of the error are a broken promise; so is much that is off. */
static const double TENTH = 10.0, FINE = 1e-13;

/* A line for exact.py; `why` is NULL for a sample. */
static void hand_over(soak *self, const trial *t, const solved *s, const char *why)
{
    if (self->sample == NULL) {
        return;
    }
    fprintf(self->sample, "{\"policy_error\": %.17g, \"policy\": [", s->report.policy_error);
    for (int64_t o = 0; o < t->context.n; o++) {
        fprintf(self->sample, "%s%.17g", o > 0 ? ", " : "", s->policy[o]);
    }
    fprintf(self->sample, "], \"why\": \"%s\", \"record\": %s}\n", why != NULL ? why : "",
            trial_record(t));
    self->suspects += why != NULL;
    self->sampled += why == NULL;
}

/* One answer beside raw data. */
static void judge(soak *self, const trial *t, int model, const solved *s, double seconds)
{
    int outcome = outcome_of(s->status);
    double error = NAN, off = 0.0;
    if (outcome < 0 || (outcome == UNSUPPORTED && !trial_may_be_unsupported(t))) {
        broken(self, t, s->error.message, (double)s->status);
        return;
    }
    if (outcome == OK || outcome == NOT_UNIQUE || outcome == LIMITED) {
        plain_balance b = plain_put_back(&t->context, t->penalty, t->alpha, t->beta, t->logs,
                                         s->policy, s->log_policy);
        trial_fault fault = trial_check(t, s->policy, s->log_policy, &s->report, 0);
        const char *why = fault.what;
        off = b.off / (b.size + fmax(1.0, t->beta));
        error = plain_error(&t->context, t->penalty, t->alpha, t->beta, t->logs, s->policy,
                            s->log_policy);
        if (why == NULL && error > FINE && error > TENTH * s->report.policy_error) {
            why = "an estimate below a tenth of the error";
        }
        if (why != NULL || (self->solved++ % 1000 == 0 && model != BATCH)) {
            hand_over(self, t, s, why);
        }
        if (why != NULL) {
            error = off = NAN; /* not known in long double */
        }
    } else if (outcome == COLLAPSED && !trial_may_collapse(t)) {
        broken(self, t, "a collapse where none may be", 0.0);
    }
    error = isnan(error) ? 0.0 : error;
    off = isnan(off) ? 0.0 : off;
    note(&self->by_model[model], outcome, error, s->report.policy_error, off, seconds);
    note(&self->by_penalty[row_of(t->penalty)], outcome, error, s->report.policy_error, off,
         seconds);
}

static void solve_one(soak *self, randomness *r, int model)
{
    trial t;
    grpoalign_model *made = NULL;
    grpoalign_penalty *penalty = NULL;
    solved s = {.status = GRPOALIGN_ERR_ARGUMENT};
    draw_trial(r, &t, model);
    double began = now();
    s.status = trial_model(&t.context, &made, &s.error);
    s.status = s.status < 0 ? s.status : trial_penalty(&t, &penalty, &s.error);
    if (s.status >= 0) {
        s = solve_penalised(made, penalty, t.beta, t.logs, NULL);
    }
    judge(self, &t, model, &s, now() - began);
    solved_free(&s);
    grpoalign_penalty_free(penalty);
    grpoalign_model_free(made);
}

/* ---- batches --------------------------------------------------------------------------------- */

enum { CONTEXTS = 4 };

/* What a batch is solved from, and its answers as solutions of unscaled problems at b. */
static void judge_batch(soak *self, trial *t, int64_t count, const grpoalign_points *points,
                        grpoalign_status status, double std, double seconds)
{
    double variance = 0.0, mean = 0.0, each[CONTEXTS];
    for (int64_t k = 0; k < count; k++) {
        solved s = {.status = status};
        double policy[TRIAL_MOST], log_policy[TRIAL_MOST], advantage[TRIAL_MOST];
        const grpoalign_solution *one = grpoalign_points_solution(points, k);
        s.policy = policy;
        s.log_policy = log_policy;
        s.advantage = advantage;
        s.report.struct_size = sizeof s.report;
        CHECK_OK(grpoalign_solution_policy(one, policy, t[k].context.n, NULL));
        CHECK_OK(grpoalign_solution_log_policy(one, log_policy, t[k].context.n, NULL));
        CHECK_OK(grpoalign_solution_report(one, &s.report, NULL));
        each[k] = 0.0; /* from one origin, so that nearly equal rewards keep their differences */
        for (int64_t o = 0; o < t[k].context.n; o++) {
            each[k] += policy[o] * (t[k].rewards[o] - t[0].rewards[0]);
        }
        mean += each[k] / (double)count;
        for (int64_t o = 0; o < t[k].context.n; o++) {
            double d = (t[k].rewards[o] - t[0].rewards[0]) - each[k];
            variance += policy[o] * d * d / (double)count;
        }
        /* Each is the stationary policy of its unscaled problem at b, to what b is known. */
        t[k].beta = s.report.beta;
        if (status <= GRPOALIGN_ACCURACY_LIMITED && s.report.beta > 0.0) {
            judge(self, &t[k], BATCH, &s, seconds);
        }
    }
    for (int64_t k = 0; k < count; k++) {
        variance += (each[k] - mean) * (each[k] - mean) / (double)count;
    }
    double expected = sqrt(variance);
    /* Below that these sums have too few digits. */
    int has_std = status <= GRPOALIGN_NOT_UNIQUE && !isnan(std) && std > 1e-6;
    if (has_std && !(fabs(std - expected) <= 1e-6 * expected)) {
        broken(self, &t[0], "a std of the batch that is not that of its policies", std - expected);
    }
}

static void solve_batch(soak *self, randomness *r)
{
    trial t[CONTEXTS];
    int64_t count = 2 + random_below(r, CONTEXTS - 1);
    grpoalign_problem *problems[CONTEXTS] = {NULL};
    grpoalign_points *points = NULL;
    grpoalign_error error;
    double std = NAN, began = now();
    grpoalign_status status = GRPOALIGN_OK;
    for (int64_t k = 0; k < count; k++) {
        draw_trial(r, &t[k], BATCH);
        t[k].penalty = t[0].penalty;
        t[k].alpha = t[0].alpha;
        t[k].beta = t[0].beta;
        status = status < 0 ? status : trial_problem(&t[k], &problems[k], &error);
    }
    if (status >= 0) {
        status = grpoalign_points_new_batch((const grpoalign_problem *const *)problems, count,
                                            t[0].beta, NULL, NULL, &points, &std, &error);
    }
    int outcome = outcome_of(status);
    if (outcome < 0) {
        broken(self, &t[0], error.message, (double)status);
    } else if (status >= 0) {
        judge_batch(self, t, count, points, status, std, now() - began);
    }
    if (outcome > LIMITED) { /* the others were counted by context */
        note(&self->by_model[BATCH], outcome, 0.0, 1.0, 0.0, now() - began);
        note(&self->by_penalty[row_of(t[0].penalty)], outcome, 0.0, 1.0, 0.0, now() - began);
    }
    grpoalign_points_free(points);
    for (int64_t k = 0; k < count; k++) {
        grpoalign_problem_free(problems[k]);
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

static void print_head(const char *what)
{
    printf("| %s | problems |", what);
    for (int k = 0; k < OUTCOMES; k++) {
        printf(" %s |", OUTCOME_NAMES[k]);
    }
    printf(" off | error | error/estimate | slowest, s |\n|---|");
    for (int k = 0; k < OUTCOMES + 5; k++) {
        printf("---|");
    }
    printf("\n");
}

static void print_row(const char *name, const tally *t)
{
    printf("| %s | %ld |", name, t->total);
    for (int k = 0; k < OUTCOMES; k++) {
        printf(" %ld |", t->count[k]);
    }
    printf(" %.1e | %.1e | %.2g | %.3g |\n", t->off, t->error, t->ratio, t->seconds);
}

int main(int count, char **arguments)
{
    static soak self;
    if (count < 3) {
        fprintf(stderr, "usage: soak N SEED [SAMPLE]\n");
        return 2;
    }
    long problems = strtol(arguments[1], NULL, 10);
    randomness r = {strtoull(arguments[2], NULL, 10)};
    self.sample = count > 3 ? fopen(arguments[3], "w") : NULL;
    for (long i = 0; i < problems; i++) {
        int model = (int)random_below(&r, MODELS);
        if (model == BATCH) {
            solve_batch(&self, &r);
        } else {
            solve_one(&self, &r, model);
        }
    }
    print_head("model");
    for (int k = 0; k < MODELS; k++) {
        print_row(MODEL_NAMES[k], &self.by_model[k]);
    }
    printf("\n");
    print_head("penalty");
    for (int64_t row = 0; grpoalign_penalty_kind_at(row) != 0; row++) {
        print_row(grpoalign_penalty_name(grpoalign_penalty_kind_at(row)), &self.by_penalty[row]);
    }
    printf("\n%ld problems, seed %s: %ld broken promises; %ld answers and %ld that long double "
           "doubts are left to 400 bits\n",
           problems, arguments[2], self.broken, self.sampled, self.suspects);
    if (self.sample != NULL) {
        (void)fclose(self.sample);
    }
    return self.broken > 0;
}
