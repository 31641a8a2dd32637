#include "commands/cost.h"

#include <math.h>

const double LONG_SECONDS = 10.0;

/* Measured, in seconds for all the steps of a solution: on margins, per outcome cubed; over groups,
 * per level and squared doubling of the group, which is how finely their sizes are summed, and per
 * outcome and level. */
static const double OF_MARGINS = 8e-10, OF_GROUPS = 2.3e-5, OF_LEVELS = 1e-5;
/* A flow takes some dozens of steps where a solution takes some; points are searched from many
 * places. */
static const double STEPS_OF_FLOW = 15.0, SEARCHES = 60.0;

static double levels_of(const context *c)
{
    return (double)(c->support != NULL ? c->levels : c->outcomes);
}

double cost_of_solving(const context *c)
{
    const settings *s = &c->settings;
    double outcomes = (double)c->outcomes;
    if (s->model == MODEL_GROUP) {
        double doublings = log2((double)s->group_size);
        return levels_of(c) * (OF_GROUPS * doublings * doublings + OF_LEVELS * outcomes);
    }
    return c->margins != NULL ? OF_MARGINS * pow(outcomes, 3.0) : 1e-5 * outcomes;
}

/* Groups alone may have several. */
double cost_of_points(const context *c)
{
    double searches = SEARCHES;
    return cost_of_solving(c) * (c->settings.model == MODEL_GROUP ? searches : 1.0);
}

double cost_of_flow(const context *c)
{
    return STEPS_OF_FLOW * cost_of_solving(c);
}

void text_duration(text *self, double seconds)
{
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"seconds", 1.0},
                 {"minutes", 60.0},
                 {"hours", 3600.0},
                 {"days", 86400.0},
                 {"years", 31557600.0}};
    enum { UNITS = sizeof units / sizeof *units };
    int k = 0;
    while (k + 1 < UNITS && seconds >= 2.0 * units[k + 1].seconds) {
        k++;
    }
    text_format(self, "about %.2g %s", seconds / units[k].seconds, units[k].unit);
}
