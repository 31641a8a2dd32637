/* grpoalign simulate */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "commands/commands.h"
#include "commands/cost.h"
#include "commands/run.h"
#include "output/table.h"
#include "simulate/choices.h"
#include "simulate/intervals.h"
#include "simulate/simulator.h"

static const char HELP[] =
    "usage: grpoalign simulate [options] [FILE...]\n"
    "\n"
    "Trains a tabular softmax policy on each context by sampled GRPO, as trainers run it, several "
    "times over, and puts the\n"
    "policy reached beside the one predicted. Records are those of `grpoalign solve`, but for the "
    "limit model, whose groups\n"
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
    "                                    which penalty is predicted; with an estimator none needs "
    "to be given\n"
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
    "the rate and with half of it,\n"
    "                                    and the part of the difference that is linear in the rate "
    "is taken off\n"
    "  --level P                         confidence of the intervals of all outcomes together "
    "(default 0.95)\n"
    "  --seed N                          (default 1)\n"
    "\n";

typedef struct simulate_options {
    sim_recipe recipe;            /* what it says of the reward is the context's */
    int32_t estimator, placement; /* -1: not given */
    double clamp;                 /* NaN: not given */
    int plain;
    int64_t repetitions, seed;
    double level;
} simulate_options;

typedef struct simulation {
    sim_recipe recipe;
    int32_t penalty; /* predicted; 0 for none known */
    result predicted;
    int has_prediction;
    double *reached, *low, *high;
    double *runs, *gaps; /* repetitions x outcomes; gaps: what halving the rate changes, or NULL */
    double clipped, silent;
    int64_t diverged; /* runs that left the numbers */
    int too_fast;     /* the learning rate is too large for extrapolation */
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
    free(self->gaps);
}

/* Whether no policy was reached. */
static int is_lost(const simulation *self)
{
    return self->diverged > 0 || self->too_fast;
}

/* ---- prediction ------------------------------------------------------------------------------ */

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
    if (penalty == GRPOALIGN_PENALTY_DIRECT_KL && recipe->estimator == KL_K3 &&
        recipe->clamp == 10.0) {
        return GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED;
    }
    return penalty;
}

/* Whether the clamp, which the predicted penalty is without, reaches the policy predicted. */
static int is_beyond_clamp(const simulation *self, int64_t outcomes)
{
    const sim_recipe *recipe = &self->recipe;
    for (int64_t o = 0; recipe->placement == IN_LOSS_RATIO && isfinite(recipe->clamp) &&
                        self->penalty != GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED && o < outcomes;
         o++) {
        double l = log(self->predicted.policy[o] / self->predicted.reference[o]);
        if (!(expm1(-l) + l < recipe->clamp)) {
            return 1;
        }
    }
    return 0;
}

/* The stationary policy, and where there are several the one that the training flow reaches. */
static grpoalign_status solve(problem *p, result *predicted, grpoalign_error *error)
{
    grpoalign_solution *solution = NULL;
    grpoalign_flow *flow = NULL;
    grpoalign_solve_options how = problem_solve_options(p);
    const grpoalign_flow_options along = problem_flow_options(p);
    how.stability = GRPOALIGN_STABILITY_SPECTRUM; /* for the rate */
    grpoalign_status status = grpoalign_solve(p->handle, p->beta, &how, &solution, error);
    const grpoalign_solution *answer = solution;
    if (status == GRPOALIGN_NOT_UNIQUE) {
        status = grpoalign_flow_new(p->handle, p->beta, &along, &flow, error);
        answer = grpoalign_flow_end(flow) != NULL ? grpoalign_flow_end(flow) : solution;
        status = status == GRPOALIGN_ERR_UNSUPPORTED ? GRPOALIGN_NOT_UNIQUE : status;
    }
    if (status >= 0) {
        status = result_take(predicted, p, answer, error);
    }
    grpoalign_flow_free(flow);
    grpoalign_solution_free(solution);
    return status;
}

/* What the library says of the penalty that is trained with, if anything. */
static grpoalign_status predict(const context *c, simulation *self, grpoalign_error *error)
{
    problem p;
    context as_trained = *c;
    int is_sum = c->settings.penalty == GRPOALIGN_PENALTY_SUM;
    self->penalty = is_sum ? GRPOALIGN_PENALTY_SUM : penalty_of(&self->recipe);
    if (self->penalty == 0) {
        return GRPOALIGN_OK;
    }
    as_trained.settings.penalty = self->penalty;
    if (self->penalty == GRPOALIGN_PENALTY_KL_IN_REWARD) {
        /* rewards that contain a KL are hardly ever equal */
        setting_forget(&as_trained.settings, SETTING_ZERO_VARIANCE);
    }
    grpoalign_status status = problem_open(&p, &as_trained, error);
    if (status >= 0) {
        status = solve(&p, &self->predicted, error);
    }
    problem_close(&p);
    if (status == GRPOALIGN_ERR_UNSUPPORTED) {
        self->penalty = 0; /* the library has no answer; training goes on without */
        return GRPOALIGN_OK;
    }
    self->has_prediction = status >= 0 && !is_beyond_clamp(self, c->outcomes);
    return status;
}

/* ---- training -------------------------------------------------------------------------------- */

/* How trainers that say nothing else would put a penalty into practice: estimator, place and clamp
 * (0: none). An estimator of -1: no trainer has one. */
static const struct {
    int estimator, placement;
    double clamp;
} PRACTICE[] = {[GRPOALIGN_PENALTY_REVERSE_KL] = {KL_K3, IN_LOSS, 0.0},
                [GRPOALIGN_PENALTY_DIRECT_KL] = {KL_K2, IN_LOSS, 0.0},
                [GRPOALIGN_PENALTY_NONE] = {KL_NONE, IN_LOSS, 0.0},
                [GRPOALIGN_PENALTY_KL_IN_REWARD] = {KL_K1, IN_REWARD_BEFORE, 0.0},
                [GRPOALIGN_PENALTY_TOTAL_VARIATION] = {KL_ABS, IN_LOSS, 0.0},
                [GRPOALIGN_PENALTY_SQUARED_LOG_RATIO] = {KL_K2, IN_LOSS_RATIO, 0.0},
                [GRPOALIGN_PENALTY_CHI_SQUARED] = {-1, IN_LOSS, 0.0},
                [GRPOALIGN_PENALTY_JENSEN_SHANNON] = {-1, IN_LOSS, 0.0},
                [GRPOALIGN_PENALTY_ALPHA] = {-1, IN_LOSS, 0.0},
                [GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED] = {KL_K3, IN_LOSS, 10.0},
                [GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED] = {KL_K3, IN_LOSS_RATIO, 10.0}};
enum { PRACTICES = sizeof PRACTICE / sizeof *PRACTICE };

/* Whether training can put a penalty into practice. */
static int is_practical(const settings *s)
{
    if (s->penalty ==
        GRPOALIGN_PENALTY_SUM) { /* k3 and k2 in the loss, each with its coefficient */
        for (int32_t kind = 0; kind < PENALTY_KINDS; kind++) {
            int is_trained =
                kind == GRPOALIGN_PENALTY_REVERSE_KL || kind == GRPOALIGN_PENALTY_DIRECT_KL;
            if (s->parts.coefficients[kind] > 0.0 && !is_trained) {
                return 0;
            }
        }
        return 1;
    }
    return s->penalty < PRACTICES && PRACTICE[s->penalty].estimator >= 0;
}

/* The parts of a sum of penalties, as trainers add them to the loss. */
static void take_parts(sim_recipe *recipe, const settings *s)
{
    recipe->with_k3 = s->parts.coefficients[GRPOALIGN_PENALTY_REVERSE_KL];
    recipe->with_k2 = s->parts.coefficients[GRPOALIGN_PENALTY_DIRECT_KL];
    recipe->with_entropy = s->parts.entropy;
    recipe->estimator = KL_NONE;
    recipe->beta = recipe->with_k3 + recipe->with_k2;
}

/* An estimator says what is trained: it needs no penalty beside it. Where the library has none for
 * it, the one that has a beta stands in. */
static void imply_penalty(void *user, settings *s)
{
    const simulate_options *options = user;
    const sim_recipe recipe = {.estimator = options->estimator,
                               .placement = options->placement >= 0 ? options->placement : IN_LOSS,
                               .clamp = isnan(options->clamp) ? INFINITY : options->clamp};
    if (options->estimator < 0 || is_given(s, SETTING_PENALTY) || is_given(s, SETTING_PRESET)) {
        return;
    }
    int32_t penalty = penalty_of(&recipe);
    int stands_in =
        penalty == 0 || (penalty == GRPOALIGN_PENALTY_NONE && options->estimator != KL_NONE);
    setting_give(s, SETTING_PENALTY, stands_in ? GRPOALIGN_PENALTY_REVERSE_KL : penalty);
}

/* What the record and the options say of rewards. */
static void take_rewards(sim_recipe *recipe, const settings *s)
{
    static const int scales[] = {[GRPOALIGN_SCALE_STD] = OVER_STD,
                                 [GRPOALIGN_SCALE_NONE] = OVER_NOTHING,
                                 [GRPOALIGN_SCALE_STD_OF_OTHERS] = OVER_STD_OF_OTHERS,
                                 [GRPOALIGN_SCALE_MEAN] = OVER_MEAN};
    recipe->group_size = s->model == MODEL_PAIRWISE ? 2 : s->group_size;
    /* The std of a batch is no matter of one context: it is refused where contexts are opened. */
    recipe->scale =
        s->scale < (int)(sizeof scales / sizeof *scales) ? scales[s->scale] : OVER_NOTHING;
    recipe->ddof = (int)s->ddof;
    recipe->inside = s->epsilon_place == GRPOALIGN_EPSILON_INSIDE;
    recipe->leave_one_out = s->baseline == GRPOALIGN_BASELINE_LEAVE_ONE_OUT;
    recipe->drops = s->zero_variance == GRPOALIGN_ZERO_VARIANCE_DROP;
    recipe->epsilon = s->epsilon;
    recipe->beta = s->beta;
}

/* The KL term of a preset. */
static void take_preset(sim_recipe *recipe, const grpoalign_convention *preset)
{
    static const int estimators[] = {[GRPOALIGN_ESTIMATOR_NONE] = KL_NONE,
                                     [GRPOALIGN_ESTIMATOR_K1] = KL_K1,
                                     [GRPOALIGN_ESTIMATOR_K2] = KL_K2,
                                     [GRPOALIGN_ESTIMATOR_K3] = KL_K3,
                                     [GRPOALIGN_ESTIMATOR_ABS] = KL_ABS};
    static const int places[] = {[GRPOALIGN_PLACEMENT_LOSS] = IN_LOSS,
                                 [GRPOALIGN_PLACEMENT_LOSS_RATIO] = IN_LOSS_RATIO,
                                 [GRPOALIGN_PLACEMENT_REWARD] = IN_REWARD,
                                 [GRPOALIGN_PLACEMENT_REWARD_BEFORE] = IN_REWARD_BEFORE};
    recipe->estimator = estimators[preset->estimator];
    recipe->placement = places[preset->placement];
    recipe->clamp = preset->clamp;
    /* Estimators without effect are trained with the trainer's beta all the same, to show it. */
    recipe->beta = recipe->beta > 0.0 ? recipe->beta : isfinite(preset->beta) ? preset->beta : 0.0;
}

/* The recipe for a context: the KL term as options say, else as the preset has it (unless another
 * penalty than the preset's is asked for), else as the penalty says. */
static sim_recipe recipe_of(const simulate_options *options, const context *c)
{
    const settings *s = &c->settings;
    sim_recipe recipe = options->recipe;
    recipe.until = c->until;
    take_rewards(&recipe, s);
    recipe.estimator = KL_K2;
    recipe.placement = IN_LOSS;
    recipe.clamp = INFINITY;
    if (is_given(s, SETTING_PRESET) && s->penalty == s->preset.penalty) {
        take_preset(&recipe, &s->preset);
    } else if (s->penalty == GRPOALIGN_PENALTY_SUM) {
        take_parts(&recipe, s);
        return recipe;
    } else if (is_practical(s)) {
        recipe.estimator = PRACTICE[s->penalty].estimator;
        recipe.placement = PRACTICE[s->penalty].placement;
        recipe.clamp = PRACTICE[s->penalty].clamp > 0.0 ? PRACTICE[s->penalty].clamp : INFINITY;
        if (options->placement == IN_REWARD) {
            recipe.estimator = s->penalty == GRPOALIGN_PENALTY_REVERSE_KL ? KL_K3 : KL_K1;
        }
    }
    recipe.estimator = options->estimator >= 0 ? options->estimator : recipe.estimator;
    recipe.placement = options->placement >= 0 ? options->placement : recipe.placement;
    recipe.clamp = isnan(options->clamp) ? recipe.clamp : options->clamp;
    return recipe;
}

/* What one training needs and gives. */
typedef struct training {
    sim_task task;
    sim_outcome out;
    simulation *whole;
    int64_t repetitions;
} training;

static grpoalign_status train_at(training *self, const sim_recipe *recipe, double *average)
{
    self->out.average = average;
    if (!simulate(&self->task, recipe, &self->out)) {
        return GRPOALIGN_ERR_MEMORY;
    }
    return self->out.given_up ? GRPOALIGN_ERR_CANCELLED : GRPOALIGN_OK;
}

/* One repetition: the average policy, and unless `gap` is NULL what halving the rate changes. */
static grpoalign_status train_once(training *self, sim_recipe recipe, double *average, double *gap)
{
    grpoalign_status status = train_at(self, &recipe, average);
    int diverged = self->out.diverged;
    if (status >= 0) {
        self->whole->clipped += self->out.clipped / (double)self->repetitions;
        self->whole->silent += self->out.silent / (double)self->repetitions;
    }
    if (status >= 0 && gap != NULL) {
        /* The average is off in proportion to a constant learning rate (Richardson's extrapolation
         * takes that off). */
        recipe.learning_rate *= 0.5;
        recipe.seed ^= UINT64_C(0x8000000000000000);
        status = train_at(self, &recipe, gap);
        diverged = diverged || self->out.diverged;
    }
    for (int64_t o = 0; status >= 0 && gap != NULL && o < self->task.outcomes; o++) {
        double half = gap[o];
        gap[o] = average[o] - half;
        average[o] = half - gap[o];
    }
    self->whole->diverged += diverged;
    return status;
}

/* Room for what is reached, and for `runs` and `gaps`. Returns 0 when memory is short. */
static int make_room(const simulate_options *options, int64_t outcomes, simulation *self)
{
    size_t n = (size_t)outcomes, all = n * (size_t)options->repetitions;
    self->reached = memory_malloc(n * sizeof(double));
    self->low = memory_malloc(n * sizeof(double));
    self->high = memory_malloc(n * sizeof(double));
    self->runs = memory_malloc(all * sizeof(double));
    self->gaps = options->plain ? NULL : memory_malloc(all * sizeof(double));
    return self->reached && self->low && self->high && self->runs && (options->plain || self->gaps);
}

/* A rate whose half changes a probability by more than this, in the root mean square over the runs,
 * has effects that are not in proportion to it: nothing is left to extrapolate. */
static const double LARGEST_GAP = 0.25;

static int is_beyond_extrapolation(int64_t repetitions, int64_t n, const double *gaps)
{
    int beyond = 0;
    for (int64_t o = 0; gaps != NULL && o < n; o++) {
        double squares = 0.0;
        for (int64_t k = 0; k < repetitions; k++) {
            squares += gaps[k * n + o] * gaps[k * n + o] / (double)repetitions;
        }
        beyond = beyond || sqrt(squares) > LARGEST_GAP;
    }
    return beyond;
}

/* What is reached is a policy: extrapolation and intervals may lead beyond the simplex, by as much
 * as the runs differ. */
static void confine(int64_t n, simulation *self)
{
    double total = 0.0;
    for (int64_t o = 0; o < n; o++) {
        total += self->reached[o] = fmin(fmax(self->reached[o], 0.0), 1.0);
    }
    for (int64_t o = 0; o < n; o++) {
        self->reached[o] /= total;
        self->low[o] = fmin(fmax(self->low[o], 0.0), self->reached[o]);
        self->high[o] = fmax(fmin(self->high[o], 1.0), self->reached[o]);
    }
}

/* The mean over the runs, with its interval; NaN where there is none. */
static void conclude(const simulate_options *options, int64_t n, simulation *self)
{
    intervals(self->runs, options->repetitions, n, options->level, self->reached, self->low,
              self->high);
    self->too_fast =
        self->diverged == 0 && is_beyond_extrapolation(options->repetitions, n, self->gaps);
    if (!is_lost(self)) {
        confine(n, self);
    }
    for (int64_t o = 0; is_lost(self) && o < n; o++) {
        self->reached[o] = self->low[o] = self->high[o] = NAN;
    }
}

static grpoalign_status train(const simulate_options *options, const context *c,
                              const double *reference, simulation *self)
{
    choices tree = {.nodes = 0};
    training each = {.task = {.outcomes = c->outcomes,
                              .reference = reference,
                              .rewards = c->rewards,
                              .support = c->support,
                              .distribution = c->distribution,
                              .levels = c->levels,
                              .margins = c->margins,
                              .by_comparison = c->settings.model == MODEL_PAIRWISE,
                              .weights = c->weights},
                     .out = {.last = memory_malloc((size_t)c->outcomes * sizeof(double))},
                     .whole = self,
                     .repetitions = options->repetitions};
    int fits = make_room(options, c->outcomes, self) && each.out.last != NULL &&
               (c->tokens == NULL || choices_make(&tree, c->outcomes, c->token_offsets, c->tokens));
    if (c->reward_lists != NULL && c->settings.aggregation == NORMALIZE_THEN_SUM) {
        each.task.reward_lists = c->reward_lists;
        each.task.reward_weights = c->reward_weights;
        each.task.lists = c->reward_count;
    }
    each.task.nodes = tree.nodes;
    each.task.choices = tree.count;
    each.task.node_of = tree.node_of;
    each.task.offsets = tree.offsets;
    each.task.path = tree.path;
    grpoalign_status status = fits ? GRPOALIGN_OK : GRPOALIGN_ERR_MEMORY;
    for (int64_t k = 0; status >= 0 && k < options->repetitions; k++) {
        sim_recipe recipe = self->recipe;
        recipe.seed = (uint64_t)options->seed * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)k;
        status = train_once(&each, recipe, self->runs + k * c->outcomes,
                            self->gaps != NULL ? self->gaps + k * c->outcomes : NULL);
    }
    free(each.out.last);
    choices_free(&tree);
    if (status >= 0) {
        conclude(options, c->outcomes, self);
    }
    return status;
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

/* The normalised reference in a new array; NULL with a status. */
static double *reference_of(const context *c, grpoalign_status *status, grpoalign_error *error)
{
    problem p;
    double *out = memory_malloc((size_t)c->outcomes * sizeof *out);
    if (out == NULL) {
        *status = GRPOALIGN_ERR_MEMORY;
        return NULL;
    }
    *status = problem_open(&p, c, error);
    if (*status >= 0) {
        *status = grpoalign_reference_probabilities(p.reference, out, c->outcomes, error);
    }
    problem_close(&p);
    if (*status < 0) {
        free(out);
        return NULL;
    }
    return out;
}

/* ---- writing --------------------------------------------------------------------------------- */

static const choice ESTIMATORS[] = {{"k1", KL_K1},   {"k2", KL_K2},     {"k3", KL_K3},
                                    {"abs", KL_ABS}, {"none", KL_NONE}, {NULL, 0}};
static const choice PLACEMENTS[] = {{"loss", IN_LOSS},
                                    {"loss-ratio", IN_LOSS_RATIO},
                                    {"reward", IN_REWARD},
                                    {"reward-before", IN_REWARD_BEFORE},
                                    {NULL, 0}};

/* Averages of policies are sums of as many roundings as there are steps. */
static const double ROUNDING_OF_MEANS = 1e-12;

static int is_inside(const simulation *self, int64_t o)
{
    return self->predicted.policy[o] >= self->low[o] - ROUNDING_OF_MEANS &&
           self->predicted.policy[o] <= self->high[o] + ROUNDING_OF_MEANS;
}

/* How many outcomes are inside; -1 where nothing is predicted. */
static int64_t count_inside(const simulation *self, int64_t n)
{
    int64_t inside = self->has_prediction ? 0 : -1;
    for (int64_t o = 0; self->has_prediction && o < n; o++) {
        inside += is_inside(self, o);
    }
    return inside;
}

/* What a record tells. */
typedef struct outcome {
    const char *error, *estimator, *placement, *penalty;
    const double *predicted;
    simulation simulation;
    int64_t inside, repetitions, completions;
    double level;
} outcome;

/* clang-format off */
#define AT(member) .at = offsetof(outcome, member)
static const field ERROR_FIELDS[] = {{"error", FIELD_TEXT, AT(error), OPTIONAL}, {.name = NULL}};
static const field FIELDS[] = {
    {"estimator", FIELD_TEXT, AT(estimator)},
    {"placement", FIELD_TEXT, AT(placement)},
    {"predicted_penalty", FIELD_TEXT, AT(penalty)},
    {"predicted", FIELD_NUMBERS, AT(predicted)},
    {"reached", FIELD_NUMBERS, AT(simulation.reached)},
    {"low", FIELD_NUMBERS, AT(simulation.low)},
    {"high", FIELD_NUMBERS, AT(simulation.high)},
    {"inside", FIELD_INTEGER, AT(inside)},
    {"level", FIELD_NUMBER, AT(level)},
    {"repetitions", FIELD_INTEGER, AT(repetitions)},
    {"steps", FIELD_INTEGER, AT(simulation.recipe.steps)},
    {"completions", FIELD_INTEGER, AT(completions)},
    {"foldings", FIELD_NUMBER, AT(simulation.foldings)},
    {"diverged", FIELD_INTEGER, AT(simulation.diverged)},
    {"clipped", FIELD_NUMBER, AT(simulation.clipped)},
    {"silent_groups", FIELD_NUMBER, AT(simulation.silent)},
    {.name = NULL}};
/* clang-format on */

static void say_why_lost(const simulate_options *options, const simulation *self, text *out)
{
    if (self->diverged > 0) {
        text_format(out, "%lld of %lld runs diverged, their logits left the numbers",
                    (long long)self->diverged, (long long)options->repetitions);
    } else {
        text_format(out, "the runs diverged, half the learning rate leads elsewhere");
    }
    text_string(out, ": expected a smaller --learning-rate");
}

/* Drawn in all. */
static double completions_of(const simulate_options *options, const sim_recipe *recipe)
{
    return (double)options->repetitions * (double)recipe->steps * (double)recipe->groups *
           (double)recipe->group_size * (options->plain ? 1.0 : 2.0);
}

static void write_json(const simulate_options *options, const context *c, const simulation *self,
                       text *out)
{
    const sim_recipe *recipe = &self->recipe;
    text error = {0};
    if (is_lost(self)) {
        say_why_lost(options, self, &error);
    }
    const outcome told = {.error = error.bytes,
                          .estimator = word_of(ESTIMATORS, recipe->estimator),
                          .placement = word_of(PLACEMENTS, recipe->placement),
                          .penalty =
                              self->has_prediction ? grpoalign_penalty_name(self->penalty) : NULL,
                          .predicted = self->has_prediction ? self->predicted.policy : NULL,
                          .simulation = *self,
                          .inside = count_inside(self, c->outcomes),
                          .repetitions = options->repetitions,
                          .completions = (int64_t)fmin(completions_of(options, recipe), 9e18),
                          .level = options->level};
    json_start(out, c->id, is_lost(self) ? "diverged" : "ok");
    json_fields(out, ERROR_FIELDS, &told, 0);
    json_fields(out, CONTEXT_LABELS, c, c->outcomes);
    json_fields(out, FIELDS, &told, c->outcomes);
    text_string(out, "}\n");
    text_free(&error);
}

enum { TABLE_ROWS = 30 };
/* With this many e-foldings what is left of the start is below a hundred-thousandth. */
static const double SETTLED = 12.0;

static void write_outcomes(const simulate_options *options, const context *c,
                           const simulation *self, text *out)
{
    int64_t shown = c->outcomes < TABLE_ROWS ? c->outcomes : TABLE_ROWS;
    int width = labels_width(c, NULL, shown, 7);
    text_format(out, "  %-*s%14s%14s%14s   %.4g %% interval\n", width, "outcome", "reference",
                "predicted", "reached", 100.0 * options->level);
    for (int64_t o = 0; o < shown; o++) {
        table_label(out, c, o, width);
        if (self->has_prediction) {
            text_format(out, "%14.6f%14.6f", self->predicted.reference[o],
                        self->predicted.policy[o]);
        } else {
            text_format(out, "%14s%14s", "", "-");
        }
        if (isfinite(self->reached[o])) {
            text_format(out, "%14.6f   [%.6f, %.6f]%s\n", self->reached[o], self->low[o],
                        self->high[o],
                        !self->has_prediction || is_inside(self, o) ? "" : "  outside");
        } else {
            text_format(out, "%14s\n", "-");
        }
    }
    if (shown < c->outcomes) {
        text_format(out, "  and %lld more\n", (long long)(c->outcomes - shown));
    }
}

static void write_table(const simulate_options *options, const context *c, const simulation *self,
                        text *out)
{
    const sim_recipe *recipe = &self->recipe;
    table_heading(out, c);
    write_outcomes(options, c, self, out);
    text_format(out, "\n  %s in the %s: ", word_of(ESTIMATORS, recipe->estimator),
                word_of(PLACEMENTS, recipe->placement));
    if (self->has_prediction) {
        text_format(out, "predicted with %s; %lld of %lld inside\n",
                    grpoalign_penalty_name(self->penalty),
                    (long long)count_inside(self, c->outcomes), (long long)c->outcomes);
    } else {
        text_string(out, "nothing to predict\n");
    }
    if (is_lost(self)) {
        text_string(out, "  ");
        say_why_lost(options, self, out);
        text_string(out, "\n");
    }
    if (self->foldings < SETTLED) {
        text_format(out,
                    "  it had not settled: the slowest disturbance had fallen by e^%.2g when "
                    "averaging began, better is e^%g (--steps)\n",
                    self->foldings, SETTLED);
    }
    text_format(out,
                "  %lld runs of %lld batches of %lld groups; %.3g %% of gradients clipped, %.3g %% "
                "of groups silent\n\n",
                (long long)options->repetitions, (long long)recipe->steps,
                (long long)recipe->groups, 100.0 * self->clipped, 100.0 * self->silent);
}

/* ---- the command ----------------------------------------------------------------------------- */

/* Members of a group: 24 bytes each. */
static const int64_t MOST_MEMBERS = 1000000;

/* Whether the context can be trained on; writes why not. */
static int can_be_trained(const simulate_options *options, const context *c, int64_t group_size,
                          const reply *to)
{
    if (c->settings.model == MODEL_LIMIT) {
        write_error(to, c->id, "contradiction",
                    "groups of the limit model are infinite and cannot be drawn: expected the "
                    "group model");
        return 0;
    }
    if (group_size > MOST_MEMBERS) {
        write_error(to, c->id, "too_large",
                    "group_size is %lld: expected at most %lld here, where every member is drawn",
                    (long long)group_size, (long long)MOST_MEMBERS);
        return 0;
    }
    if (c->settings.decisions > 1.0 || c->table_success != NULL) {
        write_error(to, c->id, "unsupported",
                    c->table_success != NULL
                        ? "group_table is not simulated: no trainer's rule is known by it"
                        : "decisions are not simulated: give the completions as tokens");
        return 0;
    }
    if (c->settings.penalty == GRPOALIGN_PENALTY_SUM && options->estimator >= 0) {
        write_error(to, c->id, "contradiction",
                    "a sum of penalties says what stands in the loss: expected no --estimator");
        return 0;
    }
    if (!is_practical(&c->settings) && options->estimator < 0) {
        write_error(to, c->id, "contradiction",
                    "no trainer has an estimator for this penalty: expected --estimator and "
                    "--placement, or another penalty");
        return 0;
    }
    return 1;
}

/* Predicts and trains. */
static grpoalign_status run_both(const simulate_options *options, const context *c,
                                 const double *reference, simulation *self, grpoalign_error *error)
{
    grpoalign_status status = predict(c, self, error);
    if (status >= 0) {
        status = train(options, c, reference, self);
        (void)snprintf(error->message, sizeof error->message, "out of memory");
    }
    self->foldings =
        status >= 0 && self->has_prediction
            ? -self->predicted.report.rate * time_before_average(options, &self->recipe)
            : NAN;
    return status;
}

static int act(void *user, const context *self, const reply *to)
{
    const simulate_options *options = user;
    grpoalign_error error = {.message = "out of memory"};
    grpoalign_status status = GRPOALIGN_OK;
    simulation done = {.recipe = recipe_of(options, self)};
    if (!can_be_trained(options, self, done.recipe.group_size, to)) {
        return 0;
    }
    double *reference = reference_of(self, &status, &error);
    for (int64_t o = 0; status >= 0 && o < self->outcomes; o++) {
        if (!(reference[o] > 0.0)) {
            free(reference);
            write_error(
                to, self->id, "probability",
                "reference must be > 0 for every outcome: the logits of the others are infinite");
            return 0;
        }
    }
    if (status >= 0) {
        status = run_both(options, self, reference, &done, &error);
    }
    free(reference);
    if (status < 0) {
        write_library_error(to, self->id, status, error.message);
    } else {
        (to->how->format == FORMAT_TABLE ? write_table : write_json)(options, self, &done, to->out);
    }
    int went_well = status >= 0 && !is_lost(&done);
    simulation_free(&done);
    return went_well;
}

/* Drawing, once where a divisor serves a group and once per member where each has its own; and the
 * steps, which go over all outcomes. */
static double cost(void *user, const context *self)
{
    const double draw = 3e-8, visit = 1e-8, move = 5e-8;
    const simulate_options *options = user;
    sim_recipe recipe = recipe_of(options, self);
    double drawn = completions_of(options, &recipe), members = (double)recipe.group_size;
    double moves = drawn / ((double)recipe.groups * members) * (double)recipe.inner_steps;
    return drawn * (draw + (recipe.scale == OVER_STD_OF_OTHERS ? visit * members : 0.0)) +
           moves * move * (double)self->outcomes;
}

int command_simulate(int argc, char **argv)
{
    static const choice schedules[] = {{"constant", SCHEDULE_CONSTANT},
                                       {"linear", SCHEDULE_LINEAR},
                                       {"cosine", SCHEDULE_COSINE},
                                       {"inverse", SCHEDULE_INVERSE},
                                       {NULL, 0}};
    /* clang-format off */
#define OPTION(member) .field = offsetof(simulate_options, member)
    static const parameter options[] = {
        {"estimator", SET_WORD, OPTION(estimator), .choices = ESTIMATORS},
        {"placement", SET_WORD, OPTION(placement), .choices = PLACEMENTS},
        {"clamp", SET_NUMBER, OPTION(clamp), .low = ABOVE_ZERO, .high = INFINITY,
         .expected = "a number > 0"},
        {"groups", SET_INTEGER, OPTION(recipe.groups), .least = 1, .most = 10000000},
        {"steps", SET_INTEGER, OPTION(recipe.steps), .least = 1, .most = 1000000000},
        {"inner_steps", SET_INTEGER, OPTION(recipe.inner_steps), .least = 1, .most = 1000},
        {"learning_rate", SET_NUMBER, OPTION(recipe.learning_rate), .low = 1e-300, .high = 1e6,
         .expected = "a number > 0"},
        {"schedule", SET_WORD, OPTION(recipe.schedule), .choices = schedules},
        {"clip", SET_NUMBER, OPTION(recipe.clip), .high = 1e6, .expected = "a number >= 0"},
        {"average_from", SET_NUMBER, OPTION(recipe.average_from), .high = 0.999,
         .expected = "a number in [0, 1)"},
        {"repetitions", SET_INTEGER, OPTION(repetitions), .least = 2, .most = 1000000},
        {"no_extrapolation", SET_FLAG, OPTION(plain)},
        {"level", SET_NUMBER, OPTION(level), .low = 0.01, .high = 0.999999,
         .expected = "a number in (0, 1)"},
        {"seed", SET_INTEGER, OPTION(seed), .most = INT64_MAX},
        {.name = NULL}};
    /* clang-format on */
    simulate_options own = {.recipe = {.groups = 128,
                                       .steps = 4000,
                                       .inner_steps = 1,
                                       .learning_rate = 0.5,
                                       .clip = 0.2,
                                       .average_from = 0.5},
                            .estimator = -1,
                            .placement = -1,
                            .clamp = NAN,
                            .repetitions = 16,
                            .level = 0.95,
                            .seed = 1};
    const action simulate_action = {.command = "simulate",
                                    .help = HELP,
                                    .options = options,
                                    .prepare = imply_penalty,
                                    .cost = cost,
                                    .act = act,
                                    .user = &own};
    return run_contexts(&simulate_action, argc, argv);
}
