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
    double *logits, *policy, *old_policy, *log_ratio,
        *gradient;          /* per outcome; log_ratio is to the reference */
    alias actions, *scores; /* scores: one table per outcome, for random rewards */
    int64_t *taken;         /* one group: outcomes, rewards, advantages */
    double *rewards, *advantages;
    /* The batch, per outcome: how often it was drawn, and sums and numbers of its advantages by
     * their sign. Completions of one outcome differ in nothing else. */
    double *drawn, *gain, *loss, *gains, *losses;
    double clipped;
    int64_t silent, kept; /* groups: without spread, all in all; of this batch, not dropped */
} trainer;

static void softmax(trainer *t)
{
    int64_t n = t->task->outcomes;
    double top = -INFINITY, total = 0.0;
    for (int64_t o = 0; o < n; o++) {
        top = t->logits[o] > top ? t->logits[o] : top;
    }
    for (int64_t o = 0; o < n; o++) {
        total += t->policy[o] = exp(t->logits[o] - top);
    }
    for (int64_t o = 0; o < n; o++) {
        t->policy[o] /= total;
        t->log_ratio[o] = t->logits[o] - top - log(total) - log(t->task->reference[o]);
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
    } else {
        for (int64_t i = 0; i < size; i++) {
            t->rewards[i] = score(t, t->taken[i]);
        }
        for (int64_t i = 0; recipe->placement == IN_REWARD_BEFORE && i < size; i++) {
            t->rewards[i] -= recipe->beta * divergence(recipe, t->log_ratio[t->taken[i]]);
        }
        spread = normalise(recipe, t->rewards, t->advantages);
    }
    t->silent += !spread;
    for (int64_t i = 0; recipe->placement == IN_REWARD && i < size; i++) {
        t->advantages[i] -= recipe->beta * divergence(recipe, t->log_ratio[t->taken[i]]);
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
    memcpy(t->old_policy, t->policy, bytes);
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

/* One gradient step on the batch: d loss / d logit by hand. */
static void step(trainer *t, double learning_rate)
{
    const sim_recipe *recipe = t->recipe;
    int64_t n = t->task->outcomes;
    double count = (double)(t->kept * recipe->group_size), total = 0.0;
    if (t->kept == 0) {
        return;
    }
    for (int64_t o = 0; o < n; o++) {
        /* -min(ratio A, clip(ratio) A): no gradient where the ratio has gone too far in the
         * direction of A. */
        double ratio = t->policy[o] / t->old_policy[o];
        int too_high = ratio > 1.0 + recipe->clip, too_low = ratio < 1.0 - recipe->clip;
        double push = ratio * ((too_high ? 0.0 : t->gain[o]) + (too_low ? 0.0 : t->loss[o]));
        t->clipped += (too_high ? t->gains[o] : 0.0) + (too_low ? t->losses[o] : 0.0);
        if (recipe->placement == IN_LOSS || recipe->placement == IN_LOSS_RATIO) {
            double l = t->log_ratio[o], slope = divergence_slope(recipe, l),
                   k = divergence(recipe, l);
            int clamped =
                fabs(k) >= recipe->clamp; /* the product with the ratio is what is cut off */
            push -= recipe->beta * t->drawn[o] *
                    (recipe->placement == IN_LOSS ? slope
                     : clamped                    ? 0.0
                                                  : ratio * (k + slope));
        }
        t->gradient[o] = push;
        total += push;
    }
    for (int64_t o = 0; o < n; o++) {
        t->logits[o] += learning_rate * (t->gradient[o] - total * t->policy[o]) / count;
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

static int trainer_new(trainer *t, const sim_task *task, const sim_recipe *recipe)
{
    size_t n = (size_t)task->outcomes, size = (size_t)recipe->group_size;
    memset(t, 0, sizeof *t);
    t->task = task;
    t->recipe = recipe;
    t->random = generator_new(recipe->seed);
    double **vectors[] = {&t->logits, &t->policy, &t->old_policy, &t->log_ratio, &t->gradient,
                          &t->drawn,  &t->gain,   &t->loss,       &t->gains,     &t->losses};
    int good = 1;
    for (size_t k = 0; k < sizeof vectors / sizeof *vectors; k++) {
        *vectors[k] = memory_malloc(n * sizeof(double));
        good = good && *vectors[k] != NULL;
    }
    t->taken = memory_malloc(size * sizeof *t->taken);
    t->rewards = memory_malloc(size * sizeof(double));
    t->advantages = memory_malloc(size * sizeof(double));
    good =
        good && t->taken && t->rewards && t->advantages && alias_new(&t->actions, task->outcomes);
    if (good && task->support != NULL) {
        t->scores = memory_calloc(n, sizeof *t->scores);
        good = t->scores != NULL;
        for (size_t o = 0; good && o < n; o++) {
            good = alias_new(&t->scores[o], task->levels);
            if (good) {
                alias_set(&t->scores[o], task->distribution + o * (size_t)task->levels);
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
    double *vectors[] = {t->logits,   t->policy, t->old_policy, t->log_ratio,
                         t->gradient, t->drawn,  t->gain,       t->loss,
                         t->gains,    t->losses, t->rewards,    t->advantages};
    for (size_t k = 0; k < sizeof vectors / sizeof *vectors; k++) {
        free(vectors[k]);
    }
    free(t->taken);
}

static int has_numbers(const trainer *t)
{
    for (int64_t o = 0; o < t->task->outcomes; o++) {
        if (!isfinite(t->logits[o])) {
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
        t.logits[o] = log(task->reference[o]);
        out->average[o] = 0.0;
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
