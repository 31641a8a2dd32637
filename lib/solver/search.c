#include <float.h>
#include <math.h>

#include "base/numeric.h"
#include "base/status.h"
#include "solver/scalar.h"

/* Points of a search; with many contexts each costs a response in all of them. */
static const int64_t MOST_POINTS = 200000, MOST_POINTS_OF_BATCH = 5000;
/* Below this theta the policy is the reference to the last bit, for all gaps that doubles have. */
static const double LEAST_THETA = 1e-300;

double gra_position_noise(double x)
{
    return DBL_EPSILON * (8.0 + fabs(x));
}

grpoalign_status gra_search_stopped(const gra_search *self)
{
    return self->stop == GRPOALIGN_ERR_MEMORY || self->isolation.short_memory
               ? gra_fail_memory(self->problem->error)
               : self->stop;
}

/* Looks at a point outside the isolation, and tells the host. */
static int look(gra_search *self, double x, int for_bounds, gra_path_point *out)
{
    const gra_problem *problem = self->problem;
    self->looks++;
    if (self->stop != GRPOALIGN_OK || !gra_path_look(&self->path, x, for_bounds, out)) {
        self->stop = self->stop != GRPOALIGN_OK ? self->stop : GRPOALIGN_ERR_MEMORY;
        return 0;
    }
    double off = fabs(out->at.value - log(problem->beta));
    if (off < self->nearest) {
        self->nearest = off;
        self->nearest_x = x;
    }
    const gra_answer state = {.method = GRPOALIGN_METHOD_SCALAR,
                              .iterations = (int32_t)self->looks};
    self->stop = gra_report_progress(problem, &state, exp(out->at.value), fmin(1.0, off));
    return self->stop == GRPOALIGN_OK;
}

static const gra_point *look_for_isolation(void *client, double x, int place)
{
    gra_search *self = client;
    if (self->place[place] == NULL) {
        gra_path_point *taken = gra_arena_take(self->path.arena, 1, sizeof *taken);
        if (taken == NULL || !gra_path_point_take(&self->path, taken)) {
            self->stop = GRPOALIGN_ERR_MEMORY;
            return NULL;
        }
        self->place[place] = taken;
    }
    return look(self, x, 1, self->place[place]) ? &self->place[place]->at : NULL;
}

static gra_piece bound_for_isolation(void *client, const gra_point *a, const gra_point *b)
{
    gra_search *self = client;
    return gra_path_bound(&self->path, (const gra_path_point *)a, (const gra_path_point *)b);
}

grpoalign_status gra_search_start(gra_search *self, const gra_problem *problem,
                                  const gra_path_context *contexts, int64_t count,
                                  const gra_divisor *divisor, int by_theta)
{
    *self = (gra_search){.problem = problem, .nearest = INFINITY};
    if (!gra_path_start(&self->path, contexts, count, divisor, by_theta, problem->arena) ||
        !gra_path_point_take(&self->path, &self->here)) {
        return gra_fail_memory(problem->error);
    }
    self->isolation = (gra_isolation){.client = self,
                                      .look = look_for_isolation,
                                      .bound = bound_for_isolation,
                                      .arena = problem->arena};
    return GRPOALIGN_OK;
}

int gra_search_look(gra_search *self, double x, int for_bounds)
{
    return look(self, x, for_bounds, &self->here);
}

double gra_search_equation(void *context, double x)
{
    gra_search *self = context;
    return look(self, x, 0, &self->here) ? self->here.at.value - log(self->problem->beta) : NAN;
}

double gra_search_refine(gra_search *self, gra_bracket bracket)
{
    double low = bracket.low, high = bracket.high;
    double at_low = gra_search_equation(self, low), at_high = gra_search_equation(self, high);
    /* Rounding may tell another story here than it did there. */
    return (at_low > 0.0) == (at_high > 0.0)
               ? (fabs(at_low) < fabs(at_high) ? low : high)
               : gra_root(gra_search_equation, self, low, at_low, high, at_high);
}

/* Whether log beta stays below `low` from a point on. */
static int is_done(const gra_search *self, const gra_path_point *at, double low, double ceiling)
{
    const gra_path *path = &self->path;
    const gra_divisor_kind *kind = path->divisor.kind;
    double margin = 1.0 - 1e-12;
    if (at->theta * low * margin >= ceiling) {
        return 1;
    }
    return path->penalty->std_ratio_falls && kind->ratio_part != NULL && low > 0.0 &&
           at->theta * low * margin * kind->ratio_part(&path->divisor, at->of) > 1.0;
}

/* Whether log beta rises for ever from a point on, as the tail of an exponential family tells. */
static int rises_for_ever(const gra_search *self, const gra_path_point *at)
{
    const gra_path *path = &self->path;
    const gra_divisor_kind *kind = path->divisor.kind;
    return !path->by_theta && path->penalty->exponential && kind->tail_slope != NULL &&
           kind->tail_slope(&path->divisor, at->of) - 1.0 / at->theta >= 0.0;
}

static int no_double_holds(const gra_search *self, const gra_path_point *at)
{
    const gra_divisor *divisor = &self->path.divisor;
    return divisor->kind->is_spent != NULL && divisor->kind->is_spent(divisor, at->of);
}

int gra_search_is_over(const gra_search *self)
{
    return self->stop != GRPOALIGN_OK || rises_for_ever(self, &self->here) ||
           no_double_holds(self, &self->here);
}

/* How a path ends whose last spread no double holds, or that leaves the doubles. */
static int end_of_doubles(const gra_search *self, const gra_path_point *at)
{
    int above = at->at.value > self->isolation.wanted.low;
    return above && !self->path.penalty->outlasts_std ? GRA_COLLAPSES : GRA_GAVE_UP;
}

/* Starts where log beta exceeds `high`, because 1/divisor is at least its lower bound. */
static double start_of_path(gra_search *self, double high)
{
    double theta = fmax(self->path.divisor.low / high * (1.0 - 1e-9), LEAST_THETA), x, unused;
    gra_path_bracket(&self->path, theta, theta, &x, &unused);
    return self->path.by_theta ? x : x - GRA_PATH_STRIDE;
}

int gra_search_path(gra_search *self, double low, double high, double finest)
{
    gra_isolation *isolation = &self->isolation;
    const gra_divisor *divisor = &self->path.divisor;
    isolation->wanted = (gra_interval){log(low), log(high)};
    isolation->finest = finest;
    isolation->most_points = self->path.by_theta ? MOST_POINTS_OF_BATCH : MOST_POINTS;
    isolation->points = 0;
    isolation->exhausted = 0;
    isolation->roots.count = isolation->unknown.count = 0;
    if (!gra_path_prepare(&self->path)) {
        self->stop = GRPOALIGN_ERR_MEMORY;
        return GRA_GAVE_UP;
    }
    const gra_point *first = gra_isolation_look(isolation, start_of_path(self, high), GRA_PLACE_A);
    int a = GRA_PLACE_A;
    while (first != NULL && self->stop == GRPOALIGN_OK && !isolation->short_memory) {
        const gra_path_point *from = self->place[a];
        double ceiling = divisor->kind->ceiling(divisor, from->of);
        int above = low < high || from->at.value > isolation->wanted.low;
        if (is_done(self, from, low, ceiling)) {
            return GRA_FOUND_ALL;
        }
        if (isinf(ceiling) && above && rises_for_ever(self, from)) {
            return GRA_COLLAPSES;
        }
        if (no_double_holds(self, from)) {
            return end_of_doubles(self, from);
        }
        if (from->at.x >= GRA_PATH_LARGEST) {
            return isfinite(ceiling) ? GRA_FOUND_ALL : end_of_doubles(self, from);
        }
        if (isolation->points >= isolation->most_points || isnan(from->at.value)) {
            isolation->exhausted = 1;
            return GRA_GAVE_UP;
        }
        double next = fmin(from->at.x + GRA_PATH_STRIDE, GRA_PATH_LARGEST);
        if (gra_isolation_look(isolation, next, 1 - a) == NULL) {
            break;
        }
        gra_isolate(isolation, &self->place[a]->at, &self->place[1 - a]->at);
        a = 1 - a;
    }
    isolation->exhausted = 1;
    return GRA_GAVE_UP;
}
