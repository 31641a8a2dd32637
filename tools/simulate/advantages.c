#include "simulate/advantages.h"

#include <math.h>

typedef struct moments {
    double least, factor; /* rewards are taken less the least of them, and times a power of two
                             where squares need it */
    double mean, squares; /* of those; squares: the sum of squared deviations */
    int spread;
} moments;

/* Ranges whose squares are far from the ends of doubles. */
static const double SMALL_RANGE = 1e-100, LARGE_RANGE = 1e100;

/* A reward as moments have it. Differences are halved where they could overflow. */
static double measured(const moments *m, double reward)
{
    if (m->factor == 1.0) {
        return reward - m->least;
    }
    return m->factor < 1.0 ? reward * m->factor - m->least * m->factor
                           : (reward - m->least) * m->factor;
}

/* Of a group's rewards, without member `but` (-1: of all). */
static moments moments_of(const double *rewards, int64_t size, int64_t but)
{
    int64_t first = but == 0 ? 1 : 0;
    double count = (double)(but < 0 ? size : size - 1), most = rewards[first];
    moments m = {.least = rewards[first], .factor = 1.0};
    for (int64_t i = 0; i < size; i++) {
        m.least = i != but && rewards[i] < m.least ? rewards[i] : m.least;
        most = i != but && rewards[i] > most ? rewards[i] : most;
    }
    m.spread = most > m.least;
    if (!m.spread) {
        return m;
    }
    if (!(most - m.least > SMALL_RANGE && most - m.least < LARGE_RANGE)) {
        int exponent = -1023; /* the half of the least double is none */
        double half = 0.5 * most - 0.5 * m.least;
        if (half > 0.0) {
            (void)frexp(half, &exponent);
        }
        m.factor = ldexp(1.0, exponent > -1023 ? -exponent : 1023);
    }
    for (int64_t i = 0; i < size; i++) {
        m.mean += i != but ? measured(&m, rewards[i]) / count : 0.0;
    }
    for (int64_t i = 0; i < size; i++) {
        double d = measured(&m, rewards[i]) - m.mean;
        m.squares += i != but ? d * d : 0.0;
    }
    return m;
}

/* A centred reward over the divisor that its moments give; epsilon is in units of the reward, or of
 * its square. */
static double over_std(const sim_recipe *recipe, const moments *m, double centred, double count)
{
    double std = sqrt(m->squares / count);
    return recipe->inside ? centred / sqrt(std * std + recipe->epsilon * m->factor * m->factor)
                          : centred / (std + recipe->epsilon * m->factor);
}

/* Large groups take long where each member has a divisor of its own. */
enum { MEMBERS_BETWEEN_LOOKS = 8 };

int normalise(const sim_recipe *recipe, const double *rewards, double *advantages)
{
    int64_t size = recipe->group_size;
    double members = (double)size;
    moments all = moments_of(rewards, size, -1);
    for (int64_t i = 0; i < size; i++) {
        if (recipe->scale == OVER_STD_OF_OTHERS) {
            if (i % MEMBERS_BETWEEN_LOOKS == 0 && deadline_passed(&recipe->until)) {
                break; /* the batch is not used then */
            }
            moments others = moments_of(rewards, size, i);
            double centred = measured(&others, rewards[i]) - others.mean;
            /* Two others have the sample std; one alone, or equal ones, divide by nothing. */
            advantages[i] = others.spread ? over_std(recipe, &others, centred, members - 2.0)
                                          : centred / others.factor;
            continue;
        }
        double reward = measured(&all, rewards[i]), centred = reward - all.mean;
        if (recipe->leave_one_out) {
            centred = reward - (all.mean * members - reward) / (members - 1.0);
        }
        advantages[i] = !all.spread                     ? 0.0
                        : recipe->scale == OVER_NOTHING ? centred / all.factor
                        : recipe->scale == OVER_MEAN
                            ? centred / (all.mean + (all.least + recipe->epsilon) * all.factor)
                            : over_std(recipe, &all, centred, members - (double)recipe->ddof);
    }
    return all.spread;
}
