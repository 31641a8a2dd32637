/* grpoalign simulate */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/commands.h"
#include "commands/run.h"
#include "base/number.h"
#include "output/result.h"
#include "simulate/simulator.h"
#include "output/write.h"

static const char HELP[] =
    "usage: grpoalign simulate [options] [FILE...]\n"
    "\n"
    "Trains a tabular softmax policy on each context by sampled GRPO, as trainers run it, several "
    "times over, and puts "
    "the\n"
    "policy reached beside the one predicted. Records are those of `grpoalign solve`, but for the "
    "limit model, whose "
    "groups\n"
    "cannot be drawn.\n"
    "\n"
    "  --estimator k1|k2|k3|abs|none     of the divergence of a completion, l = log pi/pi_ref: l, "
    "l^2/2,\n"
    "                                    exp(-l) - 1 + l, |l|\n"
    "  --placement loss|loss-ratio|reward|reward-before   a term of the loss; the same times "
    "pi/pi_old, with its\n"
    "                                    gradient; in the advantage; in the reward before it is "
    "normalised.\n"
    "                                    Both by default as the preset has them, else as the "
    "penalty says. They say\n"
    "                                    which penalty is predicted\n"
    "  --clamp C                         of the estimate, without gradient beyond (default: the "
    "preset's, else none)\n"
    "  --groups N                        groups of a batch (default 128)\n"
    "  --steps N --inner-steps N         batches (default 4000) and gradient steps on each "
    "(default 1)\n"
    "  --learning-rate R                 of the logits, for a mean over completions (default 0.5)\n"
    "  --schedule constant|linear|cosine|inverse   of the learning rate (default constant)\n"
    "  --clip C                          of the ratio pi/pi_old, to [1 - C, 1 + C] (default 0.2)\n"
    "  --average-from SHARE              of the steps, after which policies are averaged (default "
    "0.5)\n"
    "  --repetitions N                   independent runs (default 16)\n"
    "  --no-extrapolation                of the learning rate: by default each run is done with "
    "the rate and with half "
    "of it,\n"
    "                                    and the part of the difference that is linear in the rate "
    "is taken off\n"
    "  --level P                         confidence of the intervals of all outcomes together "
    "(default 0.95)\n"
    "  --seed N                          (default 1)\n"
    "\n";

typedef struct simulate_options {
    sim_recipe recipe;
    int has_estimator, has_placement, has_clamp, plain;
    int64_t repetitions, seed;
    double level;
} simulate_options;

typedef struct simulation {
    int32_t penalty; /* predicted; 0 for none known */
    result predicted;
    int has_prediction;
    double *reached, *low, *high, *runs; /* runs: repetitions x outcomes */
    double clipped, silent;
    int64_t diverged; /* runs that left the numbers */
    double foldings;  /* e-foldings of the slowest disturbance before the average begins; NaN where
                         not known */
} simulation;

static void simulation_free(simulation *self)
{
    result_free(&self->predicted);
    free(self->reached);
    free(self->low);
    free(self->high);
    free(self->runs);
}

/* ---- statistics
 * ------------------------------------------------------------------------------------------------------------
 */

/* The regularised incomplete beta function by Lentz's continued fraction, for x < (a + 1)/(a + b +
 * 2). */
static double beta_fraction(double a, double b, double x)
{
    double c = 1.0, d = 1.0 - (a + b) * x / (a + 1.0), f;
    d = 1.0 / d;
    f = d;
    for (int m = 1; m < 300; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        d = 1.0 / (1.0 + even * d);
        c = 1.0 + even / c;
        f *= c * d;
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1.0 / (1.0 + odd * d);
        c = 1.0 + odd / c;
        f *= c * d;
        if (fabs(c * d - 1.0) < 1e-15) {
            break;
        }
    }
    return f * exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a;
}

/* P(|T| > t) of Student's distribution. */
static double outside(double t, double freedom)
{
    double x = freedom / (freedom + t * t), a = 0.5 * freedom, b = 0.5;
    return x < (a + 1.0) / (a + b + 2.0) ? beta_fraction(a, b, x)
                                         : 1.0 - beta_fraction(b, a, 1.0 - x);
}

/* The t with P(|T| > t) = 1 - level. */
static double student_quantile(double level, double freedom)
{
    double low = 0.0, high = 1.0;
    while (outside(high, freedom) > 1.0 - level) {
        high *= 2.0;
    }
    for (int i = 0; i < 100; i++) {
        double middle = 0.5 * (low + high);
        if (outside(middle, freedom) > 1.0 - level) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return high;
}

/* Means over the runs, and the intervals they leave: together they hold with the level (Sidak; of
 * two probabilities that sum to 1 one is the other). */
static void summarise(simulation *self, int64_t n, int64_t repetitions, double level)
{
    double each = pow(level, 1.0 / (double)(n > 2 ? n : 1));
    double quantile = student_quantile(each, (double)(repetitions - 1));
    for (int64_t o = 0; o < n; o++) {
        double mean = 0.0, squares = 0.0;
        for (int64_t k = 0; k < repetitions; k++) {
            mean += self->runs[k * n + o] / (double)repetitions;
        }
        for (int64_t k = 0; k < repetitions; k++) {
            double d = self->runs[k * n + o] - mean;
            squares += d * d;
        }
        double half = quantile * sqrt(squares / (double)(repetitions - 1) / (double)repetitions);
        self->reached[o] = mean;
        self->low[o] = mean - half < 0.0 ? 0.0 : mean - half; /* NaN stays NaN */
        self->high[o] = mean + half > 1.0 ? 1.0 : mean + half;
    }
}

/* ---- prediction
 * --------------------------------------------------------------------------------------------------------------
 */

/* The penalty that an estimator in its place amounts to on-policy, 0 where the library has none. */
static int32_t penalty_of(const sim_recipe *recipe)
{
    static const int32_t table[4][5] = {
        [IN_LOSS] = {GRPOALIGN_PENALTY_NONE, GRPOALIGN_PENALTY_NONE, GRPOALIGN_PENALTY_DIRECT_KL,
                     GRPOALIGN_PENALTY_REVERSE_KL, GRPOALIGN_PENALTY_TOTAL_VARIATION},
        [IN_LOSS_RATIO] = {GRPOALIGN_PENALTY_NONE, GRPOALIGN_PENALTY_DIRECT_KL,
                           GRPOALIGN_PENALTY_SQUARED_LOG_RATIO, GRPOALIGN_PENALTY_DIRECT_KL, 0},
        [IN_REWARD] = {GRPOALIGN_PENALTY_NONE, GRPOALIGN_PENALTY_DIRECT_KL, 0, 0, 0},
        [IN_REWARD_BEFORE] = {GRPOALIGN_PENALTY_NONE, GRPOALIGN_PENALTY_KL_IN_REWARD, 0, 0, 0},
    };
    int32_t penalty = table[recipe->placement][recipe->estimator];
    /* The library's clamp is the one trainers have; another has no prediction unless nothing
     * reaches it. */
    if (penalty == GRPOALIGN_PENALTY_REVERSE_KL && isfinite(recipe->clamp)) {
        return recipe->clamp == 10.0 ? GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED : 0;
    }
    return penalty;
}

/* Whether the clamp, which the predicted penalty is without, reaches the policy predicted. */
static int is_beyond_clamp(const context *c, const sim_recipe *recipe, const simulation *self)
{
    for (int64_t o = 0;
         recipe->placement == IN_LOSS_RATIO && isfinite(recipe->clamp) && o < c->outcomes; o++) {
        double l = log(self->predicted.policy[o] / self->predicted.reference[o]);
        if (!(expm1(-l) + l < recipe->clamp)) {
            return 1;
        }
    }
    return 0;
}

/* What the library says: the stationary policy, and where there are several the one that the
 * training flow reaches. */
static grpoalign_status predict(const context *c, simulation *self, grpoalign_error *error)
{
    handles h;
    context as_trained = *c;
    grpoalign_solution *solution = NULL;
    grpoalign_flow *flow = NULL;
    grpoalign_solve_options how;
    grpoalign_solve_options_init(&how, sizeof how);
    how.stability = GRPOALIGN_STABILITY_SPECTRUM; /* for the rate */
    as_trained.settings.penalty = self->penalty;
    as_trained.settings.has_alpha = 0;
    if (self->penalty == GRPOALIGN_PENALTY_KL_IN_REWARD) {
        as_trained.settings.has_zero_variance =
            0; /* rewards that contain a KL are hardly ever equal */
    }
    grpoalign_status status = handles_open(&as_trained, &h, error);
    if (status >= 0) {
        status = grpoalign_solve(h.problem, c->settings.beta, &how, &solution, error);
    }
    const grpoalign_solution *answer = solution;
    if (status == GRPOALIGN_ERR_UNSUPPORTED) {
        self->penalty = 0; /* the library has no answer; training goes on without */
        handles_close(&h);
        return GRPOALIGN_OK;
    }
    if (status == GRPOALIGN_NOT_UNIQUE) {
        status = grpoalign_flow_new(h.problem, c->settings.beta, NULL, &flow, error);
        answer = grpoalign_flow_end(flow) != NULL ? grpoalign_flow_end(flow) : solution;
    }
    if (status >= 0) {
        status = result_take(&self->predicted, answer, h.reference, c->outcomes, error);
        self->has_prediction = status >= 0;
    }
    grpoalign_flow_free(flow);
    grpoalign_solution_free(solution);
    handles_close(&h);
    return status;
}

/* ---- training
 * ----------------------------------------------------------------------------------------------------------------
 */

/* How trainers that say nothing else would put a penalty into practice: estimator and place. */
static void put_into_practice(int32_t penalty, sim_recipe *recipe)
{
    recipe->placement = penalty == GRPOALIGN_PENALTY_KL_IN_REWARD        ? IN_REWARD_BEFORE
                        : penalty == GRPOALIGN_PENALTY_SQUARED_LOG_RATIO ? IN_LOSS_RATIO
                                                                         : IN_LOSS;
    switch (penalty) {
    case GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED:
        recipe->placement = IN_LOSS_RATIO;
        recipe->clamp = 10.0;
        recipe->estimator = KL_K3;
        break;
    case GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED:
        recipe->clamp = 10.0;
        recipe->estimator = KL_K3;
        break;
    case GRPOALIGN_PENALTY_REVERSE_KL:
        recipe->estimator = KL_K3;
        break;
    case GRPOALIGN_PENALTY_NONE:
        recipe->estimator = KL_NONE;
        break;
    case GRPOALIGN_PENALTY_KL_IN_REWARD:
        recipe->estimator = KL_K1;
        break;
    case GRPOALIGN_PENALTY_TOTAL_VARIATION:
        recipe->estimator = KL_ABS;
        break;
    default:
        recipe->estimator = KL_K2;
        break;
    }
}

/* Whether training can put a penalty into practice. */
static int is_practical(int32_t penalty)
{
    return penalty != GRPOALIGN_PENALTY_CHI_SQUARED &&
           penalty != GRPOALIGN_PENALTY_JENSEN_SHANNON && penalty != GRPOALIGN_PENALTY_ALPHA;
}

/* The recipe for a context: what the record and the options say of rewards; the KL term as options
 * say, else as the preset has it (unless another penalty than the preset's is asked for), else as
 * the penalty says. */
static sim_recipe recipe_of(const simulate_options *options, const context *c)
{
    static const int scales[] = {[GRPOALIGN_SCALE_STD] = OVER_STD,
                                 [GRPOALIGN_SCALE_NONE] = OVER_NOTHING,
                                 [GRPOALIGN_SCALE_STD_OF_OTHERS] = OVER_STD_OF_OTHERS,
                                 [GRPOALIGN_SCALE_MEAN] = OVER_MEAN};
    const settings *s = &c->settings;
    const grpoalign_convention *preset = &s->preset;
    sim_recipe recipe = options->recipe;
    recipe.group_size = s->model == MODEL_PAIRWISE ? 2 : s->group_size;
    recipe.scale = scales[s->has_scale ? s->scale : GRPOALIGN_SCALE_STD];
    recipe.ddof = s->has_ddof ? s->ddof : 0;
    recipe.inside = s->has_epsilon_place && s->epsilon_place == GRPOALIGN_EPSILON_INSIDE;
    recipe.leave_one_out = s->has_baseline && s->baseline == GRPOALIGN_BASELINE_LEAVE_ONE_OUT;
    recipe.drops = s->has_zero_variance && s->zero_variance == GRPOALIGN_ZERO_VARIANCE_DROP;
    recipe.epsilon = s->has_epsilon ? s->epsilon : 0.0;
    recipe.beta = has_effect(s) || s->has_beta ? s->beta : 0.0;
    sim_recipe usual = {.clamp = INFINITY};
    if (s->has_preset && s->penalty == preset->penalty) {
        static const int estimators[] = {[GRPOALIGN_ESTIMATOR_NONE] = KL_NONE,
                                         [GRPOALIGN_ESTIMATOR_K1] = KL_K1,
                                         [GRPOALIGN_ESTIMATOR_K2] = KL_K2,
                                         [GRPOALIGN_ESTIMATOR_K3] = KL_K3,
                                         [GRPOALIGN_ESTIMATOR_ABS] = KL_ABS};
        static const int places[] = {[GRPOALIGN_PLACEMENT_LOSS] = IN_LOSS,
                                     [GRPOALIGN_PLACEMENT_LOSS_RATIO] = IN_LOSS_RATIO,
                                     [GRPOALIGN_PLACEMENT_REWARD] = IN_REWARD,
                                     [GRPOALIGN_PLACEMENT_REWARD_BEFORE] = IN_REWARD_BEFORE};
        usual.estimator = estimators[preset->estimator];
        usual.placement = places[preset->placement];
        usual.clamp = preset->clamp;
        /* Estimators without effect are trained with the trainer's beta all the same, to show it.
         */
        recipe.beta = recipe.beta > 0.0 ? recipe.beta : isfinite(preset->beta) ? preset->beta : 0.0;
    } else {
        put_into_practice(s->penalty, &usual);
        if (options->has_placement && !options->has_estimator &&
            options->recipe.placement == IN_REWARD) {
            usual.estimator = s->penalty == GRPOALIGN_PENALTY_REVERSE_KL ? KL_K3 : KL_K1;
        }
    }
    recipe.estimator = options->has_estimator ? recipe.estimator : usual.estimator;
    recipe.placement = options->has_placement ? recipe.placement : usual.placement;
    recipe.clamp = options->has_clamp ? recipe.clamp : usual.clamp;
    return recipe;
}

static int train(const simulate_options *options, const context *c, const sim_recipe *recipe,
                 const double *reference, simulation *self)
{
    size_t n = (size_t)c->outcomes;
    sim_task task = {.outcomes = c->outcomes,
                     .reference = reference,
                     .rewards = c->rewards,
                     .support = c->support,
                     .distribution = c->distribution,
                     .levels = c->levels,
                     .margins = c->margins,
                     .by_comparison = c->settings.model == MODEL_PAIRWISE};
    double *last = malloc(n * sizeof *last), *half = malloc(n * sizeof *half);
    self->reached = malloc(n * sizeof(double));
    self->low = malloc(n * sizeof(double));
    self->high = malloc(n * sizeof(double));
    self->runs = malloc(n * (size_t)options->repetitions * sizeof(double));
    int good = last && half && self->reached && self->low && self->high && self->runs;
    for (int64_t k = 0; good && k < options->repetitions; k++) {
        sim_recipe run = *recipe;
        sim_outcome out = {.average = self->runs + k * c->outcomes, .last = last};
        run.seed = (uint64_t)options->seed * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)k;
        good = simulate(&task, &run, &out);
        self->clipped += out.clipped / (double)options->repetitions;
        self->silent += out.silent / (double)options->repetitions;
        int diverged = out.diverged;
        if (good && !options->plain) {
            /* The average is off in proportion to a constant learning rate (Richardson's
             * extrapolation takes that off). */
            out.average = half;
            run.learning_rate *= 0.5;
            run.seed ^= UINT64_C(0x8000000000000000);
            good = simulate(&task, &run, &out);
            diverged = diverged || out.diverged;
            for (size_t o = 0; good && o < n; o++) {
                double *average = &self->runs[(size_t)k * n + o];
                *average = 2.0 * half[o] - *average;
            }
        }
        self->diverged += diverged;
    }
    free(last);
    free(half);
    if (good) {
        summarise(self, c->outcomes, options->repetitions, options->level);
    }
    return good;
}

/* Learning rate x steps of the slower of the runs, until the average begins. */
static double time_before_average(const simulate_options *options, const sim_recipe *recipe)
{
    double time = 0.0, steps = recipe->average_from * (double)recipe->steps;
    for (int64_t s = 0; (double)s < steps; s++) {
        time += sim_learning_rate(recipe, s) * (double)recipe->inner_steps;
    }
    return options->plain ? time : 0.5 * time;
}

/* The normalised reference, positive everywhere, in a new array; NULL with a status. */
static double *reference_of(const context *c, grpoalign_status *status, grpoalign_error *error)
{
    handles h;
    double *out = malloc((size_t)c->outcomes * sizeof *out);
    *status = out == NULL ? GRPOALIGN_ERR_MEMORY : handles_open(c, &h, error);
    if (out != NULL && *status >= 0) {
        *status = grpoalign_reference_probabilities(h.reference, out, c->outcomes, error);
    }
    if (out != NULL) {
        handles_close(&h);
    }
    if (*status < 0) {
        free(out);
        return NULL;
    }
    return out;
}

/* ---- writing
 * -------------------------------------------------------------------------------------------------------------------
 */

static const char *const ESTIMATORS[] = {"none", "k1", "k2", "k3", "abs"};
static const char *const PLACEMENTS[] = {"loss", "loss-ratio", "reward", "reward-before"};

/* Averages of policies are sums of as many roundings as there are steps. */
static const double ROUNDING_OF_MEANS = 1e-12;

static int is_inside(const simulation *self, int64_t o)
{
    return self->predicted.policy[o] >= self->low[o] - ROUNDING_OF_MEANS &&
           self->predicted.policy[o] <= self->high[o] + ROUNDING_OF_MEANS;
}

static void write_json(const simulate_options *options, const context *c, const sim_recipe *recipe,
                       const simulation *self, text *out)
{
    int64_t inside = 0;
    text_format(out, "{\"id\": %s, \"status\": \"%s\"", c->id != NULL ? c->id : "null",
                self->diverged > 0 ? "diverged" : "ok");
    if (self->diverged > 0) {
        text_format(out,
                    ", \"error\": \"%lld of %lld runs left the numbers: expected a smaller "
                    "--learning-rate\"",
                    (long long)self->diverged, (long long)options->repetitions);
    }
    json_labels(out, c);
    text_format(out, ", \"estimator\": \"%s\", \"placement\": \"%s\", \"predicted_penalty\": ",
                ESTIMATORS[recipe->estimator], PLACEMENTS[recipe->placement]);
    if (self->has_prediction) {
        text_quoted(out, grpoalign_penalty_name(self->penalty));
        json_array(out, "predicted", self->predicted.policy, c->outcomes);
    } else {
        text_string(out, "null, \"predicted\": null");
    }
    json_array(out, "reached", self->reached, c->outcomes);
    json_array(out, "low", self->low, c->outcomes);
    json_array(out, "high", self->high, c->outcomes);
    if (self->has_prediction) {
        for (int64_t o = 0; o < c->outcomes; o++) {
            inside += is_inside(self, o);
        }
        text_format(out, ", \"inside\": %lld", (long long)inside);
    } else {
        text_string(out, ", \"inside\": null");
    }
    json_number(out, "level", options->level);
    text_format(out, ", \"repetitions\": %lld, \"steps\": %lld, \"completions\": %lld",
                (long long)options->repetitions, (long long)recipe->steps,
                (long long)(options->repetitions * recipe->steps * recipe->groups *
                            recipe->group_size * (options->plain ? 1 : 2)));
    json_number(out, "foldings", self->foldings);
    text_format(out, ", \"diverged\": %lld", (long long)self->diverged);
    json_number(out, "clipped", self->clipped);
    json_number(out, "silent_groups", self->silent);
    text_string(out, "}\n");
}

enum { TABLE_ROWS = 30 };
/* With this many e-foldings what is left of the start is below a hundred-thousandth. */
static const double SETTLED = 12.0;

static void write_table(const simulate_options *options, const context *c, const sim_recipe *recipe,
                        const simulation *self, text *out)
{
    int64_t shown = c->outcomes < TABLE_ROWS ? c->outcomes : TABLE_ROWS, inside = 0;
    int width = 7;
    table_heading(out, c);
    for (int64_t o = 0; o < shown; o++) {
        int w = label_width(c, o);
        width = w > width ? w : width;
    }
    text_format(out, "  %-*s%14s%14s%14s   %.4g %% interval\n", width, "outcome", "reference",
                "predicted", "reached", 100.0 * options->level);
    for (int64_t o = 0; o < c->outcomes; o++) {
        int in = self->has_prediction && is_inside(self, o);
        inside += in;
        if (o >= shown) {
            continue;
        }
        table_label(out, c, o, width);
        if (self->has_prediction) {
            text_format(out, "%14.6f%14.6f", self->predicted.reference[o],
                        self->predicted.policy[o]);
        } else {
            text_format(out, "%14s%14s", "", "-");
        }
        if (isfinite(self->reached[o])) {
            text_format(out, "%14.6f   [%.6f, %.6f]%s\n", self->reached[o], self->low[o],
                        self->high[o], !self->has_prediction || in ? "" : "  outside");
        } else {
            text_format(out, "%14s\n", "-");
        }
    }
    if (shown < c->outcomes) {
        text_format(out, "  and %lld more\n", (long long)(c->outcomes - shown));
    }
    text_format(out, "\n  %s in the %s: ", ESTIMATORS[recipe->estimator],
                PLACEMENTS[recipe->placement]);
    if (self->has_prediction) {
        text_format(out, "predicted with %s; %lld of %lld inside\n",
                    grpoalign_penalty_name(self->penalty), (long long)inside,
                    (long long)c->outcomes);
    } else {
        text_string(out, "nothing to predict\n");
    }
    if (self->diverged > 0) {
        text_format(
            out,
            "  %lld of %lld runs diverged: they left the numbers (a smaller --learning-rate?)\n",
            (long long)self->diverged, (long long)options->repetitions);
    }
    if (self->foldings < SETTLED) {
        text_format(out,
                    "  it had not settled: the slowest disturbance had fallen by e^%.2g when "
                    "averaging began, better is "
                    "e^%g (--steps)\n",
                    self->foldings, SETTLED);
    }
    text_format(out,
                "  %lld runs of %lld batches of %lld groups; %.3g %% of gradients clipped, %.3g %% "
                "of groups silent\n\n",
                (long long)options->repetitions, (long long)recipe->steps,
                (long long)recipe->groups, 100.0 * self->clipped, 100.0 * self->silent);
}

/* Members of a group: 24 bytes each. */
static const int64_t MOST_MEMBERS = 1000000;

static int act(void *user, const context *self, const char *place, const style *how, text *out,
               text *aside)
{
    const simulate_options *options = user;
    grpoalign_error error = {.message = "out of memory"};
    grpoalign_status status = GRPOALIGN_OK;
    simulation done = {0};
    (void)aside;
    if (self->settings.model == MODEL_LIMIT) {
        write_error(
            out, how, self->id, "contradiction", place,
            "groups of the limit model are infinite and cannot be drawn: expected the group model");
        return 0;
    }
    sim_recipe recipe = recipe_of(options, self);
    if (recipe.group_size > MOST_MEMBERS) {
        text wrong = {0};
        text_format(&wrong,
                    "group_size is %lld: expected at most %lld here, where every member is drawn",
                    (long long)recipe.group_size, (long long)MOST_MEMBERS);
        write_error(out, how, self->id, "too_large", place,
                    wrong.bytes != NULL ? wrong.bytes : "group_size");
        text_free(&wrong);
        return 0;
    }
    if (!is_practical(self->settings.penalty) && !options->has_estimator) {
        write_error(out, how, self->id, "contradiction", place,
                    "no trainer has an estimator for this penalty: expected --estimator and "
                    "--placement, or another penalty");
        return 0;
    }
    double *reference = reference_of(self, &status, &error);
    for (int64_t o = 0; status >= 0 && o < self->outcomes; o++) {
        if (!(reference[o] > 0.0)) {
            free(reference);
            write_error(
                out, how, self->id, "probability", place,
                "reference must be > 0 for every outcome: the logits of the others are infinite");
            return 0;
        }
    }
    done.penalty = penalty_of(&recipe);
    if (status >= 0 && done.penalty != 0) {
        status = predict(self, &done, &error);
        done.has_prediction = done.has_prediction && !is_beyond_clamp(self, &recipe, &done);
    }
    if (status >= 0 && !train(options, self, &recipe, reference, &done)) {
        status = GRPOALIGN_ERR_MEMORY;
        (void)snprintf(error.message, sizeof error.message, "out of memory");
    }
    free(reference);
    done.foldings = done.has_prediction
                        ? -done.predicted.report.rate * time_before_average(options, &recipe)
                        : NAN;
    if (status < 0) {
        write_library_error(out, how, self, status, place, error.message);
    } else {
        (how->format == FORMAT_TABLE ? write_table : write_json)(options, self, &recipe, &done,
                                                                 out);
    }
    int settled = status >= 0 && done.diverged == 0;
    simulation_free(&done);
    return settled;
}

/* ---- options
 * -----------------------------------------------------------------------------------------------------------------
 */

/* The place of a name in a list, -1 if it is none. */
static int find_name(const char *value, const char *const *names, int count)
{
    for (int k = 0; k < count; k++) {
        if (strcmp(value, names[k]) == 0) {
            return k;
        }
    }
    return -1;
}

static int option(void *user, const char *name, const char *value, text *expected)
{
    static const char *const schedules[] = {"constant", "linear", "cosine", "inverse"};
    simulate_options *self = user;
    sim_recipe *recipe = &self->recipe;
    const struct {
        const char *name;
        int64_t *target, least, most;
    } counts[] = {{"groups", &recipe->groups, 1, 10000000},
                  {"steps", &recipe->steps, 1, 1000000000},
                  {"inner-steps", &recipe->inner_steps, 1, 1000},
                  {"repetitions", &self->repetitions, 2, 1000000},
                  {"seed", &self->seed, 0, INT64_MAX}};
    const struct {
        const char *name;
        double *target, least, most;
        const char *range;
    } numbers[] = {{"learning-rate", &recipe->learning_rate, 1e-300, 1e6, "a number > 0"},
                   {"clip", &recipe->clip, 0.0, 1e6, "a number >= 0"},
                   {"average-from", &recipe->average_from, 0.0, 0.999, "a number in [0, 1)"},
                   {"level", &self->level, 0.01, 0.999999, "a number in (0, 1)"}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (strcmp(name, counts[i].name) == 0) {
            text_format(expected, "an integer from %lld to %lld", (long long)counts[i].least,
                        (long long)counts[i].most);
            return parse_integer(value, counts[i].target) && *counts[i].target >= counts[i].least &&
                   *counts[i].target <= counts[i].most;
        }
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            text_string(expected, numbers[i].range);
            return parse_number(value, numbers[i].target) &&
                   *numbers[i].target >= numbers[i].least && *numbers[i].target <= numbers[i].most;
        }
    }
    if (strcmp(name, "estimator") == 0) {
        text_string(expected, "k1, k2, k3, abs or none");
        recipe->estimator = find_name(value, ESTIMATORS, 5);
        return self->has_estimator = recipe->estimator >= KL_NONE;
    }
    if (strcmp(name, "placement") == 0) {
        text_string(expected, "loss, loss-ratio, reward or reward-before");
        recipe->placement = find_name(value, PLACEMENTS, 4);
        return self->has_placement = recipe->placement >= 0;
    }
    if (strcmp(name, "clamp") == 0) {
        text_string(expected, "a number > 0");
        return self->has_clamp = parse_number(value, &recipe->clamp) && recipe->clamp > 0.0;
    }
    if (strcmp(name, "no-extrapolation") == 0) {
        return self->plain = 1;
    }
    if (strcmp(name, "schedule") == 0) {
        text_string(expected, "constant, linear, cosine or inverse");
        recipe->schedule = find_name(value, schedules, 4);
        return recipe->schedule >= 0;
    }
    return -1;
}

int command_simulate(int argc, char **argv)
{
    static const own_option options[] = {
        {"estimator", 1},     {"placement", 1},        {"clamp", 1}, {"groups", 1},
        {"steps", 1},         {"inner-steps", 1},      {"clip", 1},  {"level", 1},
        {"learning-rate", 1}, {"schedule", 1},         {"seed", 1},  {"repetitions", 1},
        {"average-from", 1},  {"no-extrapolation", 0}, {NULL, 0}};
    simulate_options own = {.recipe = {.groups = 128,
                                       .steps = 4000,
                                       .inner_steps = 1,
                                       .learning_rate = 0.5,
                                       .clip = 0.2,
                                       .average_from = 0.5,
                                       .placement = IN_LOSS},
                            .repetitions = 16,
                            .level = 0.95,
                            .seed = 1};
    const action simulate_action = {.command = "simulate",
                                    .help = HELP,
                                    .options = options,
                                    .option = option,
                                    .act = act,
                                    .user = &own};
    return run_contexts(&simulate_action, argc, argv);
}
