#include "simulate/simulator.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "simulate/advantages.h"
#include "simulate/random.h"

typedef struct trainer {
    const sim_task *task;
    const sim_recipe *recipe;
    generator random;
    int64_t nodes, choices;
    const int64_t *node_of, *offsets, *path; /* as the task has them, or one node */
    int64_t *plain;                          /* those of one node */
    /* per choice; log_ratio is to the reference */
    double *logits, *chance, *old_chance, *reference, *log_ratio, *gradient;
    double *node_top, *node_sum;    /* per node */
    double *policy, *outcome_ratio; /* per outcome */
    double *summand;                /* of a group: the advantages of one reward */
    alias actions, *scores;         /* scores: one table per outcome, for random rewards */
    int64_t *taken;                 /* one group: outcomes, rewards, advantages */
    double *rewards, *advantages;
    /* The batch, per outcome: how often it was drawn, and sums and numbers of its advantages by
     * their sign. Completions of one outcome differ in nothing else. */
    double *drawn, *gain, *loss, *gains, *losses;
    double clipped;
    int64_t silent, kept; /* groups: without spread, all in all; of this batch, not dropped */
} trainer;

/* The policy: a softmax at every node, and their products. */
static void softmax(trainer *t)
{
    for (int64_t s = 0; s < t->nodes; s++) {
        t->node_top[s] = -INFINITY;
        t->node_sum[s] = 0.0;
    }
    for (int64_t e = 0; e < t->choices; e++) {
        double *top = &t->node_top[t->node_of[e]];
        *top = t->logits[e] > *top ? t->logits[e] : *top;
    }
    for (int64_t e = 0; e < t->choices; e++) {
        t->node_sum[t->node_of[e]] += t->chance[e] = exp(t->logits[e] - t->node_top[t->node_of[e]]);
    }
    for (int64_t e = 0; e < t->choices; e++) {
        double top = t->node_top[t->node_of[e]], total = t->node_sum[t->node_of[e]];
        t->chance[e] /= total;
        t->log_ratio[e] = t->logits[e] - top - log(total) - log(t->reference[e]);
    }
    for (int64_t o = 0; o < t->task->outcomes; o++) {
        t->policy[o] = 1.0;
        t->outcome_ratio[o] = 0.0;
        for (int64_t i = t->offsets[o]; i < t->offsets[o + 1]; i++) {
            t->policy[o] *= t->chance[t->path[i]];
            t->outcome_ratio[o] += t->log_ratio[t->path[i]];
        }
    }
}

static double score(trainer *t, int64_t outcome)
{
    const sim_task *task = t->task;
    return task->support != NULL ? task->support[alias_draw(&t->scores[outcome], &t->random)]
                                 : task->rewards[outcome];
}

/* Which of two completions wins: 1, -1, or 0 for a tie of rewards. */
static double compare(trainer *t, int64_t first, int64_t second)
{
    const sim_task *task = t->task;
    if (task->margins != NULL) {
        double margin = task->margins[first * task->outcomes + second];
        return next_uniform(&t->random) < 0.5 * (1.0 + margin) ? 1.0 : -1.0;
    }
    return (double)((task->rewards[first] > task->rewards[second]) -
                    (task->rewards[first] < task->rewards[second]));
}

static int is_clamped(const sim_recipe *recipe, double estimate)
{
    return fabs(estimate) > recipe->clamp;
}

/* The estimator of a completion and its derivative by log pi. */
static double divergence(const sim_recipe *recipe, double l)
{
    int e = recipe->estimator;
    double k = e == KL_K1    ? l
               : e == KL_K2  ? 0.5 * l * l
               : e == KL_K3  ? expm1(-l) + l
               : e == KL_ABS ? fabs(l)
                             : 0.0;
    return is_clamped(recipe, k) ? copysign(recipe->clamp, k) : k;
}

static double divergence_slope(const sim_recipe *recipe, double l)
{
    int e = recipe->estimator;
    return e != KL_NONE && is_clamped(recipe, divergence(recipe, l) * (1.0 + 1e-12)) ? 0.0
           : e == KL_K1                                                              ? 1.0
           : e == KL_K2                                                              ? l
           : e == KL_K3                                                              ? -expm1(-l)
           : e == KL_ABS ? (double)((l > 0.0) - (l < 0.0))
                         : 0.0;
}

/* Every reward normalised in the group by itself, then added up. Returns whether one has spread. */
static int add_rewards(trainer *t)
{
    const sim_task *task = t->task;
    int spread = 0;
    for (int64_t i = 0; i < t->recipe->group_size; i++) {
        t->advantages[i] = 0.0;
    }
    for (int64_t k = 0; k < task->lists; k++) {
        for (int64_t i = 0; i < t->recipe->group_size; i++) {
            t->rewards[i] = task->reward_lists[k * task->outcomes + t->taken[i]];
        }
        spread |= normalise(t->recipe, t->rewards, t->summand);
        for (int64_t i = 0; i < t->recipe->group_size; i++) {
            t->advantages[i] +=
                (task->reward_weights != NULL ? task->reward_weights[k] : 1.0) * t->summand[i];
        }
    }
    return spread;
}

/* Returns whether the group is kept. */
static int sample_group(trainer *t)
{
    const sim_recipe *recipe = t->recipe;
    int64_t size = recipe->group_size;
    int spread = 0;
    for (int64_t i = 0; i < size; i++) {
        t->taken[i] = alias_draw(&t->actions, &t->random);
    }
    if (t->task->margins != NULL || t->task->by_comparison) {
        t->advantages[0] = compare(t, t->taken[0], t->taken[1]);
        t->advantages[1] = -t->advantages[0];
        spread = t->advantages[0] != 0.0;
    } else if (t->task->reward_lists != NULL) {
        spread = add_rewards(t);
    } else {
        for (int64_t i = 0; i < size; i++) {
            t->rewards[i] = score(t, t->taken[i]);
        }
        for (int64_t i = 0; recipe->placement == IN_REWARD_BEFORE && i < size; i++) {
            t->rewards[i] -= recipe->beta * divergence(recipe, t->outcome_ratio[t->taken[i]]);
        }
        spread = normalise(recipe, t->rewards, t->advantages);
    }
    t->silent += !spread;
    for (int64_t i = 0; recipe->placement == IN_REWARD && i < size; i++) {
        t->advantages[i] -= recipe->beta * divergence(recipe, t->outcome_ratio[t->taken[i]]);
    }
    return spread || !recipe->drops;
}

/* Groups between two looks at the clock. */
enum { BETWEEN_LOOKS = 64 };

/* A batch that takes too long is left unfinished. */
static void sample_batch(trainer *t)
{
    size_t bytes = (size_t)t->task->outcomes * sizeof(double);
    double *sums[] = {t->drawn, t->gain, t->loss, t->gains, t->losses};
    for (size_t k = 0; k < sizeof sums / sizeof *sums; k++) {
        memset(sums[k], 0, bytes);
    }
    alias_set(&t->actions, t->policy);
    memcpy(t->old_chance, t->chance, (size_t)t->choices * sizeof(double));
    t->kept = 0;
    for (int64_t g = 0; g < t->recipe->groups; g++) {
        if (g % BETWEEN_LOOKS == 0 && deadline_passed(&t->recipe->until)) {
            return;
        }
        if (!sample_group(t)) {
            continue;
        }
        t->kept++;
        for (int64_t i = 0; i < t->recipe->group_size; i++) {
            int64_t o = t->taken[i];
            double a = t->advantages[i];
            t->drawn[o] += 1.0;
            t->gain[o] += a > 0.0 ? a : 0.0;
            t->loss[o] += a < 0.0 ? a : 0.0;
            t->gains[o] += a > 0.0;
            t->losses[o] += a < 0.0;
        }
    }
}

/* What the KL terms of the loss push a choice by, for so many completions. */
static double held_back(const sim_recipe *recipe, double l, double ratio, double drawn)
{
    double push = 0.0;
    if (recipe->placement == IN_LOSS || recipe->placement == IN_LOSS_RATIO) {
        double slope = divergence_slope(recipe, l), k = divergence(recipe, l);
        /* the product with the ratio is what is cut off */
        int clamped = fabs(k) >= recipe->clamp;
        push += recipe->beta * drawn *
                (recipe->placement == IN_LOSS ? slope
                 : clamped                    ? 0.0
                                              : ratio * (k + slope));
    }
    if (recipe->with_k3 > 0.0 || recipe->with_k2 > 0.0) {
        push += drawn * (recipe->with_k2 * l - recipe->with_k3 * expm1(-l));
    }
    return push;
}

/* What the completions that are one outcome push their choices by. */
static void push_outcome(trainer *t, int64_t o)
{
    const sim_recipe *recipe = t->recipe;
    double weight = t->task->weights != NULL ? t->task->weights[o] : 1.0;
    for (int64_t i = t->offsets[o]; i < t->offsets[o + 1]; i++) {
        int64_t e = t->path[i];
        /* -min(ratio A, clip(ratio) A): no gradient where the ratio has gone too far in the
         * direction of A. */
        double ratio = t->chance[e] / t->old_chance[e];
        int too_high = ratio > 1.0 + recipe->clip, too_low = ratio < 1.0 - recipe->clip;
        double push = ratio * ((too_high ? 0.0 : t->gain[o]) + (too_low ? 0.0 : t->loss[o]));
        t->clipped += ((too_high ? t->gains[o] : 0.0) + (too_low ? t->losses[o] : 0.0)) /
                      (double)(t->offsets[o + 1] - t->offsets[o]);
        push -= held_back(recipe, t->log_ratio[e], ratio, t->drawn[o]);
        t->gradient[e] += weight * push;
        /* d(-sum p log p)/d logits, at every choice that is come to */
        t->node_top[t->node_of[e]] += recipe->with_entropy > 0.0 ? t->drawn[o] : 0.0;
    }
}

/* One gradient step on the batch: d loss / d logit by hand. */
static void step(trainer *t, double learning_rate)
{
    const sim_recipe *recipe = t->recipe;
    double count = (double)(t->kept * recipe->group_size);
    if (t->kept == 0) {
        return;
    }
    memset(t->gradient, 0, (size_t)t->choices * sizeof(double));
    for (int64_t s = 0; s < t->nodes; s++) {
        t->node_top[s] = t->node_sum[s] = 0.0;
    }
    for (int64_t o = 0; o < t->task->outcomes; o++) {
        push_outcome(t, o);
    }
    for (int64_t e = 0; e < t->choices; e++) {
        int64_t s = t->node_of[e];
        if (recipe->with_entropy > 0.0) {
            t->gradient[e] -=
                recipe->with_entropy * t->node_top[s] * t->chance[e] * log(t->chance[e]);
        }
        t->node_sum[s] += t->gradient[e];
    }
    for (int64_t e = 0; e < t->choices; e++) {
        t->logits[e] +=
            learning_rate * (t->gradient[e] - t->node_sum[t->node_of[e]] * t->chance[e]) / count;
    }
    softmax(t);
}

/* Trainers' schedules, and 1/t^(2/3), whose average converges fastest to where the noise of the
 * samples would hide it. */
double sim_learning_rate(const sim_recipe *recipe, int64_t step_number)
{
    double share = (double)step_number / (double)recipe->steps;
    switch (recipe->schedule) {
    case SCHEDULE_LINEAR:
        return recipe->learning_rate * (1.0 - share);
    case SCHEDULE_COSINE:
        return recipe->learning_rate * 0.5 * (1.0 + cos(3.14159265358979323846 * share));
    case SCHEDULE_INVERSE:
        return recipe->learning_rate * pow(1.0 + 100.0 * share, -2.0 / 3.0);
    default:
        return recipe->learning_rate;
    }
}

/* The choices of a task, or one for every outcome. Returns 0 when memory is short. */
static int take_choices(trainer *t)
{
    const sim_task *task = t->task;
    int64_t n = task->outcomes;
    t->nodes = task->nodes;
    t->choices = task->choices;
    t->node_of = task->node_of;
    t->offsets = task->offsets;
    t->path = task->path;
    if (task->nodes > 0) {
        return 1;
    }
    t->plain = memory_calloc(3 * (size_t)n + 1, sizeof *t->plain);
    for (int64_t o = 0; t->plain != NULL && o < n; o++) {
        t->plain[n + o] = t->plain[2 * n + o] = o;
    }
    if (t->plain != NULL) {
        t->plain[3 * n] = n;
    }
    t->nodes = 1;
    t->choices = n;
    t->node_of = t->plain;
    t->path = t->plain + n;
    t->offsets = t->plain + 2 * n;
    return t->plain != NULL;
}

/* Of every choice, from that of the outcomes: the part of those that come to its node. */
static void share_reference(trainer *t)
{
    const double *of = t->task->reference;
    for (int64_t e = 0; e < t->choices; e++) {
        t->reference[e] = 0.0;
    }
    for (int64_t s = 0; s < t->nodes; s++) {
        t->node_sum[s] = 0.0;
    }
    for (int64_t o = 0; o < t->task->outcomes; o++) {
        for (int64_t i = t->offsets[o]; i < t->offsets[o + 1]; i++) {
            t->reference[t->path[i]] += of[o];
            t->node_sum[t->node_of[t->path[i]]] += of[o];
        }
    }
    for (int64_t e = 0; e < t->choices; e++) {
        t->reference[e] /= t->node_of[e] > 0 ? t->node_sum[t->node_of[e]] : 1.0;
    }
}

static int trainer_new(trainer *t, const sim_task *task, const sim_recipe *recipe)
{
    memset(t, 0, sizeof *t);
    t->task = task;
    t->recipe = recipe;
    t->random = generator_new(recipe->seed);
    if (!take_choices(t)) {
        return 0;
    }
    const struct {
        double **vector;
        int64_t count;
    } rows[] = {{&t->logits, t->choices},
                {&t->chance, t->choices},
                {&t->old_chance, t->choices},
                {&t->reference, t->choices},
                {&t->log_ratio, t->choices},
                {&t->gradient, t->choices},
                {&t->node_top, t->nodes},
                {&t->node_sum, t->nodes},
                {&t->policy, task->outcomes},
                {&t->outcome_ratio, task->outcomes},
                {&t->drawn, task->outcomes},
                {&t->gain, task->outcomes},
                {&t->loss, task->outcomes},
                {&t->gains, task->outcomes},
                {&t->losses, task->outcomes},
                {&t->rewards, recipe->group_size},
                {&t->advantages, recipe->group_size},
                {&t->summand, recipe->group_size}};
    int good = 1;
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        *rows[k].vector = memory_malloc((size_t)rows[k].count * sizeof(double));
        good = good && *rows[k].vector != NULL;
    }
    t->taken = memory_malloc((size_t)recipe->group_size * sizeof *t->taken);
    good = good && t->taken && alias_new(&t->actions, task->outcomes);
    if (good) {
        share_reference(t);
    }
    if (good && task->support != NULL) {
        t->scores = memory_calloc((size_t)task->outcomes, sizeof *t->scores);
        good = t->scores != NULL;
        for (int64_t o = 0; good && o < task->outcomes; o++) {
            good = alias_new(&t->scores[o], task->levels);
            if (good) {
                alias_set(&t->scores[o], task->distribution + o * task->levels);
            }
        }
    }
    return good;
}

static void trainer_free(trainer *t)
{
    for (int64_t o = 0; t->scores != NULL && o < t->task->outcomes; o++) {
        alias_free(&t->scores[o]);
    }
    free(t->scores);
    alias_free(&t->actions);
    double *vectors[] = {t->logits,   t->chance,   t->old_chance, t->reference, t->log_ratio,
                         t->gradient, t->node_top, t->node_sum,   t->policy,    t->outcome_ratio,
                         t->drawn,    t->gain,     t->loss,       t->gains,     t->losses,
                         t->rewards,  t->summand,  t->advantages};
    for (size_t k = 0; k < sizeof vectors / sizeof *vectors; k++) {
        free(vectors[k]);
    }
    free(t->plain);
    free(t->taken);
}

static int has_numbers(const trainer *t)
{
    for (int64_t e = 0; e < t->choices; e++) {
        if (!isfinite(t->logits[e])) {
            return 0;
        }
    }
    return 1;
}

int simulate(const sim_task *task, const sim_recipe *recipe, sim_outcome *out)
{
    trainer t;
    int good = trainer_new(&t, task, recipe);
    int64_t averaged = 0, n = task->outcomes;
    for (int64_t o = 0; good && o < n; o++) {
        out->average[o] = 0.0;
    }
    for (int64_t e = 0; good && e < t.choices; e++) {
        t.logits[e] = log(t.reference[e]);
    }
    if (good) {
        softmax(&t);
    }
    out->diverged = out->given_up = 0;
    for (int64_t s = 0; good && s < recipe->steps; s++) {
        double rate = sim_learning_rate(recipe, s);
        sample_batch(&t);
        for (int64_t k = 0; k < recipe->inner_steps; k++) {
            step(&t, rate);
        }
        if (deadline_passed(&recipe->until)) {
            out->given_up = 1;
            break;
        }
        if (!has_numbers(&t)) {
            out->diverged = 1;
            break;
        }
        if (s >= (int64_t)(recipe->average_from * (double)recipe->steps)) {
            averaged++;
            for (int64_t o = 0; o < n; o++) {
                out->average[o] += t.policy[o];
            }
        }
    }
    for (int64_t o = 0; good && o < n; o++) {
        out->average[o] = out->diverged ? NAN : out->average[o] / (double)averaged;
        out->last[o] = out->diverged ? NAN : t.policy[o];
    }
    if (good) {
        double groups = (double)recipe->steps * (double)recipe->groups;
        double completions = groups * (double)recipe->group_size;
        out->clipped = t.clipped / (completions * (double)recipe->inner_steps);
        out->silent = (double)t.silent / groups;
    }
    trainer_free(&t);
    return good;
}
