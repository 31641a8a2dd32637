/*
 * Two classes of outcomes, one unknown: p, the probability of the second. With h(p) = u_1 - u_0 the
 * stationary policies are the roots of
 *
 *     s(log q/rho_0) - s(log p/rho_1) = h(p)/beta,   q = 1 - p, rho the reference, s the slack.
 *
 * The left side rises with p. h is a polynomial of any sign, whose Bernstein coefficients bound it
 * and its slope over a piece of the curve: a piece is divided until it is proved to have no root,
 * or exactly one (isolate.h). What is found is then all there is. The first stationary policy that
 * is met on the way from pi_ref in the direction of h(rho) is where training that started at pi_ref
 * ends, and what pi_ref continues to as beta falls from infinity.
 */
#include "solver/two_classes.h"

#include <float.h>
#include <math.h>

#include "base/numeric.h"
#include "base/status.h"

/* Of odds and slacks: beyond it nothing is left of one of the classes. */
static const double STEEPEST = 1e300;
/* Roundings of a contrast, of its largest coefficient; of a slack and of its log ratio. */
static const double CONTRAST_ROUNDINGS = 16.0 * DBL_EPSILON, SLACK_ROUNDINGS = 4.0 * DBL_EPSILON;

/* ---- one policy ------------------------------------------------------------------------------ */

/* log(exp a + exp b). */
static double log_sum(double a, double b)
{
    return fmax(a, b) + log1p(exp(-fabs(a - b)));
}

/* contrast/beta. */
static double wish(double contrast, double beta)
{
    return fmax(-STEEPEST, fmin(STEEPEST, contrast / beta));
}

/* Log ratios and shares from the odds, by the class that gains and the one that loses: either way
 * without a difference of two numbers that are nearly equal. */
static void find_shares(const gra_pairs *self, double odds, gra_pair *out)
{
    int gains = odds >= 0.0, loses = !gains;
    double away = fabs(odds), rest = self->share[loses] * exp(-away);
    double lost = self->share[loses] * expm1(-away), grown = self->share[gains] * expm1(away);
    double gain = lost > -0.5 ? -log1p(lost)
                              : -log_sum(self->log_share[gains], self->log_share[loses] - away);
    double loss = grown < 1.0 ? -log1p(grown) : gain - away;
    double total = self->share[gains] + rest;
    double gaining = self->share[gains] / total, losing = rest / total;
    if (fmin(self->share[0], self->share[1]) <=
        GRA_LEAST_MASS) { /* raised: no quotient of masses */
        gaining = exp(self->log_share[gains] + gain);
        losing = exp(self->log_share[loses] + loss);
    }
    out->ratio[gains] = gain + self->even;
    out->ratio[loses] = loss + self->even;
    out->share = gains ? (gra_share){gaining, losing} : (gra_share){losing, gaining};
}

/* contrast/distance on the side of the odds that is looked at. */
static double beta_of(const gra_pairs *self, const gra_pair *pair)
{
    double worth = (double)self->side * pair->contrast, way = (double)self->side * pair->distance;
    if (way > 0.0) {
        return worth / way;
    }
    return worth > 0.0 ? INFINITY : worth < 0.0 ? -INFINITY : 0.0;
}

static void find_slacks(const gra_pairs *self, double odds, gra_pair *out)
{
    const gra_penalty *penalty = self->problem->penalty;
    out->odds = odds;
    find_shares(self, odds, out);
    for (int c = 0; c < 2; c++) {
        out->slack[c] = penalty->slack(penalty, out->ratio[c]);
        double slope = penalty->log_slope(penalty, out->slack[c]);
        out->stiffness[c] = slope > 0.0 ? 1.0 / slope : 0.0;
    }
}

/* The slope of the distance along the odds. */
static double push_of(const gra_pair *pair)
{
    return pair->share.p * pair->stiffness[0] + pair->share.q * pair->stiffness[1];
}

/* Near pi_ref the slacks are nearly equal: there the slope half way is good to the square of the
 * odds. */
static const double NEARLY_EQUAL = 1e-5;

static double distance_of(const gra_pairs *self, const gra_pair *pair)
{
    gra_pair half;
    if (fabs(pair->odds) > NEARLY_EQUAL) {
        return pair->slack[0] - pair->slack[1];
    }
    find_slacks(self, 0.5 * pair->odds, &half);
    return pair->odds * push_of(&half);
}

void gra_pairs_place(gra_pairs *self, double odds, gra_pair *out)
{
    find_slacks(self, odds, out);
    out->distance = distance_of(self, out);
    out->contrast = gra_polynomial_value(self->contrast, self->degree, out->share.p, out->share.q);
    out->at.x = out->at.scale = asinh(odds);
    out->at.value = self->wanted == GRA_PAIR_BETA
                        ? beta_of(self, out)
                        : out->distance - wish(out->contrast, self->problem->beta);
}

/* The slope of the contrast along the odds: dp/d odds = p q. */
static double pull_of(const gra_pairs *self, const gra_pair *pair)
{
    return pair->share.p * pair->share.q *
           gra_polynomial_slope(self->difference, self->degree, pair->share.p, pair->share.q);
}

/* What rounding may do to a distance. */
static double noise_of(const gra_pair *pair)
{
    double noise = 0.0;
    for (int c = 0; c < 2; c++) {
        noise += fabs(pair->slack[c]) + pair->stiffness[c] * (1.0 + fabs(pair->ratio[c]));
    }
    return isfinite(noise) ? SLACK_ROUNDINGS * noise : 0.0;
}

/* ---- bounds ---------------------------------------------------------------------------------- */

/*
 * Bounds on the stiffness of a class between two log ratios: for every law it changes by no more
 * than the factor e for each unit of the log ratio, but where it grows faster, and so for sums of
 * them. A penalty that turns back loses all of it at the end of its slack, and beyond it goes on as
 * its mirror image.
 */
static gra_interval stiffness_between(const gra_pairs *self, const gra_pair *low,
                                      const gra_pair *high, int c)
{
    const gra_penalty *penalty = self->problem->penalty;
    double least = low->stiffness[c], most = high->stiffness[c];
    double factor = exp(high->ratio[c] - low->ratio[c]);
    if (penalty->turns_back && low->slack[c] >= penalty->slack_most) {
        int both = high->slack[c] >= penalty->slack_most;
        return (gra_interval){both ? most : 0.0, fmax(least, most)};
    }
    return (gra_interval){least / factor, fmax(least, most) * factor};
}

/* What is known between two policies. */
typedef struct stretch {
    gra_interval contrast, distance, pull, push;
} stretch;

static stretch stretch_between(gra_pairs *self, const gra_pair *a, const gra_pair *b)
{
    stretch found = {.distance = {a->distance, b->distance}};
    gra_interval slope = self->slopes;
    double width = a->share.p > 0.5 ? a->share.q - b->share.q : b->share.p - a->share.p;
    double noise = CONTRAST_ROUNDINGS * self->largest;
    if (slope.high > 0.0) { /* a contrast that falls everywhere needs no more */
        gra_interval here = gra_interval_times(
            (double)self->degree, gra_polynomial_bounds(self->difference, self->degree - 1,
                                                        a->share, b->share, self->work));
        slope = (gra_interval){fmax(slope.low, here.low), fmin(slope.high, here.high)};
    }
    double rise = fmax(0.0, slope.high) * width, fall = fmax(0.0, -slope.low) * width;
    found.contrast.low =
        fmax(self->range.low, fmax(a->contrast - fall, b->contrast - rise) - noise);
    found.contrast.high =
        fmin(self->range.high, fmin(a->contrast + rise, b->contrast + fall) + noise);
    found.pull = gra_interval_product(
        slope, (gra_interval){a->share.p * b->share.q, b->share.p * a->share.q});
    gra_interval first = stiffness_between(self, b, a, 0),
                 second = stiffness_between(self, a, b, 1);
    found.push.low = a->share.p * first.low + b->share.q * second.low;
    found.push.high = b->share.p * first.high + a->share.q * second.high;
    return found;
}

/* The quotient of a contrast and a distance >= 0. */
static gra_interval quotient(gra_interval worth, gra_interval way)
{
    double near = fabs(way.low), far = fabs(way.high); /* no -0 */
    double low = worth.low < 0.0 ? near : far, high = worth.high < 0.0 ? far : near;
    return (gra_interval){worth.low != 0.0 ? worth.low / low : 0.0,
                          worth.high != 0.0 ? worth.high / high : 0.0};
}

static gra_piece bound_beta(const gra_pairs *self, const stretch *of)
{
    double side = (double)self->side;
    gra_interval up = gra_interval_product(of->pull, of->distance),
                 down = gra_interval_product(of->contrast, of->push);
    return (gra_piece){.value = quotient(gra_interval_times(side, of->contrast),
                                         gra_interval_times(side, of->distance)),
                       .slope = up.low > down.high   ? 1
                                : up.high < down.low ? -1
                                                     : 0};
}

static gra_piece bound(void *client, const gra_point *left, const gra_point *right)
{
    gra_pairs *self = client;
    const gra_pair *a = (const gra_pair *)left, *b = (const gra_pair *)right;
    stretch of = stretch_between(self, a, b);
    double beta = self->problem->beta;
    if (self->wanted == GRA_PAIR_BETA) {
        return bound_beta(self, &of);
    }
    gra_piece piece = {.value = {of.distance.low - noise_of(a) - wish(of.contrast.high, beta),
                                 of.distance.high + noise_of(b) - wish(of.contrast.low, beta)}};
    if (of.pull.high <= 0.0 || of.push.low > wish(of.pull.high, beta)) {
        piece.slope = 1;
    } else if (of.push.high < wish(of.pull.low, beta)) {
        piece.slope = -1;
    }
    return piece;
}

/* ---- looking --------------------------------------------------------------------------------- */

static const gra_point *look(void *client, double x, int place)
{
    gra_pairs *self = client;
    gra_pair *pair = &self->place[place];
    gra_pairs_place(self, sinh(x), pair);
    const gra_answer state = {.method = GRPOALIGN_METHOD_SCALAR, .iterations = ++self->looks};
    self->stop = gra_report_progress(self->problem, &state, self->problem->beta,
                                     fmin(1.0, fabs(pair->at.value)));
    return self->stop == GRPOALIGN_OK ? &pair->at : NULL;
}

grpoalign_status gra_pairs_start(gra_pairs *self, const gra_problem *problem)
{
    const gra_game *game = &problem->structure->game;
    const gra_class_reference *reference = &problem->reference;
    *self = (gra_pairs){.problem = problem, .contrast = game->contrast, .degree = game->degree};
    self->difference = gra_arena_doubles(problem->arena, game->degree);
    self->work = gra_arena_doubles(problem->arena, game->degree + 1);
    if (self->difference == NULL || self->work == NULL) {
        return gra_fail_memory(problem->error);
    }
    for (int64_t k = 0; k < self->degree; k++) {
        self->difference[k] = self->contrast[k + 1] - self->contrast[k];
    }
    self->range = (gra_interval){gra_min(self->contrast, self->degree + 1),
                                 gra_max(self->contrast, self->degree + 1)};
    self->largest = fmax(fabs(self->range.low), fabs(self->range.high));
    self->slopes = gra_interval_times((double)self->degree,
                                      (gra_interval){gra_min(self->difference, self->degree),
                                                     gra_max(self->difference, self->degree)});
    double mass = reference->mass[0] + reference->mass[1];
    /* Some of the reference may be lost. */
    self->even = problem->penalty->lets_go ? -gra_log_sum_exp(reference->log_mass, 2) : 0.0;
    for (int c = 0; c < 2; c++) {
        self->share[c] = reference->mass[c] / mass;
        self->log_share[c] = reference->log_mass[c] + self->even;
    }
    return GRPOALIGN_OK;
}

int gra_pairs_have_corners(const gra_pairs *self)
{
    return isfinite(self->problem->penalty->slack_most) && !self->problem->penalty->lets_go;
}

/* Odds at which nothing is left of the class that loses. */
static double emptied(const gra_pairs *self)
{
    const double nothing = 800.0;
    return nothing + fabs(self->log_share[0]) + fabs(self->log_share[1]);
}

double gra_pairs_end(gra_pairs *self, int side, double beta)
{
    double most = wish(side > 0 ? self->range.high : -self->range.low, beta), away = 1.0;
    double end = gra_pairs_have_corners(self) ? emptied(self) : STEEPEST;
    for (; away < end; away *= 2.0) {
        gra_pairs_place(self, side > 0 ? away : -away, &self->here);
        if (fabs(self->here.distance) > most) {
            break;
        }
    }
    return (double)side * fmin(away, end);
}

/* Enough for any polynomial whose roots doubles can tell apart. */
static const int64_t MOST_POINTS = 20000;

/* Goes on with the lists where they are. */
static void isolate(gra_pairs *self, double low, double high)
{
    const gra_point *a = gra_isolation_look(&self->isolation, asinh(low), GRA_PLACE_A);
    const gra_point *b =
        a != NULL ? gra_isolation_look(&self->isolation, asinh(high), GRA_PLACE_B) : NULL;
    if (b != NULL) {
        gra_isolate(&self->isolation, a, b);
    }
}

static void start_isolation(gra_pairs *self, gra_interval wanted, double finest)
{
    self->isolation = (gra_isolation){.client = self,
                                      .look = look,
                                      .bound = bound,
                                      .arena = self->problem->arena,
                                      .wanted = wanted,
                                      .finest = finest,
                                      .most_points = MOST_POINTS};
}

void gra_pairs_isolate(gra_pairs *self, double low, double high, gra_interval wanted, double finest)
{
    start_isolation(self, wanted, finest);
    isolate(self, low, high);
}

grpoalign_status gra_pairs_stopped(const gra_pairs *self)
{
    return self->isolation.short_memory ? gra_fail_memory(self->problem->error) : self->stop;
}

/* ---- roots ----------------------------------------------------------------------------------- */

typedef struct equation {
    gra_pairs *pairs;
    double beta;
} equation;

static double equation_at(void *context, double odds)
{
    const equation *of = context;
    gra_pairs_place(of->pairs, odds, &of->pairs->here);
    return of->pairs->here.distance - wish(of->pairs->here.contrast, of->beta);
}

double gra_pairs_refine(gra_pairs *self, gra_bracket at, double beta)
{
    equation of = {self, beta};
    double low = sinh(at.low), high = sinh(at.high);
    return gra_root(equation_at, &of, low, equation_at(&of, low), high, equation_at(&of, high));
}

/* The first one from pi_ref in the direction in which pi_ref is pressed; where it is stationary
 * itself, that one. */
static int64_t connected_of(const gra_pair_roots *roots, double pressed)
{
    int64_t found = -1;
    for (int64_t k = 0; k < roots->count; k++) {
        double odds = roots->odds[k];
        int there = pressed > 0.0 ? odds >= 0.0 : pressed < 0.0 ? odds <= 0.0 : 1;
        if (there && (found < 0 || fabs(odds) < fabs(roots->odds[found]))) {
            found = k;
        }
    }
    return found;
}

grpoalign_status gra_pairs_roots(gra_pairs *self, double beta, gra_pair_roots *out)
{
    const gra_problem *kept = self->problem;
    const gra_brackets *found = &self->isolation.roots;
    self->at_beta = *kept;
    self->at_beta.beta = beta;
    self->problem = &self->at_beta;
    self->wanted = GRA_PAIR_EQUATION;
    equation of = {self, beta};
    double low = gra_pairs_end(self, -1, beta), high = gra_pairs_end(self, 1, beta);
    double pressed = -equation_at(&of, 0.0), at_low = equation_at(&of, low),
           at_high = equation_at(&of, high);
    start_isolation(self, (gra_interval){0.0, 0.0}, GRA_FINEST_ROOT);
    isolate(self, low, 0.0);
    if (!self->isolation.stopped) {
        isolate(self, 0.0, high);
    }
    *out = (gra_pair_roots){.odds = gra_arena_doubles(kept->arena, found->count + 2),
                            .proved = gra_isolation_is_proved(&self->isolation)};
    int corners = gra_pairs_have_corners(self);
    if (out->odds != NULL && corners && at_low > 0.0) {
        out->odds[out->count++] = -INFINITY;
    }
    for (int64_t k = 0; out->odds != NULL && k < found->count; k++) {
        out->odds[out->count++] = gra_pairs_refine(self, found->items[k], beta);
    }
    if (out->odds != NULL && corners && at_high < 0.0) {
        out->odds[out->count++] = INFINITY;
    }
    self->problem = kept;
    out->connected = connected_of(out, pressed);
    return out->odds == NULL ? gra_fail_memory(kept->error) : gra_pairs_stopped(self);
}

/* ---- answers --------------------------------------------------------------------------------- */

/* One class alone: its slack is what the reference leaves it, and the other's is beyond the end. */
static void finish_corner(gra_pairs *self, int holds, double beta, gra_answer *answer)
{
    const gra_penalty *penalty = self->problem->penalty;
    double sign = holds == 1 ? 1.0 : -1.0, worth = self->contrast[holds == 1 ? self->degree : 0];
    answer->policy[holds] = 1.0;
    answer->policy[!holds] = 0.0;
    answer->slack[holds] = penalty->slack(penalty, self->even - self->log_share[holds]);
    answer->slack[!holds] = answer->slack[holds] + sign * wish(worth, beta);
    answer->policy_error = DBL_EPSILON;
    answer->stable = 1;
}

/* Of the terms of a slope: what is left of them has a sign. */
static const double SLOPE_ROUNDINGS = 1e-9;

/* What a rounding of the equation's terms does to the policy, and whether the equation rises. */
static void judge(gra_pairs *self, double beta, gra_answer *answer)
{
    const gra_pair *here = &self->here;
    double pull = wish(pull_of(self, here), beta), push = push_of(here), slope = push - pull;
    double noise = noise_of(here) + CONTRAST_ROUNDINGS * wish(self->largest, beta);
    double moves = here->share.p * here->share.q;
    double off = slope != 0.0 ? moves * noise / fabs(slope) : 1.0;
    double position = moves * 2.0 * DBL_EPSILON * fabs(here->odds);
    answer->policy_error = fmin(1.0, (isnan(off) ? 1.0 : off) + position + 4.0 * DBL_EPSILON);
    int clear = fabs(slope) > SLOPE_ROUNDINGS * (push + fabs(pull));
    answer->stable = !clear || self->problem->penalty->lets_go ? -1 : slope > 0.0;
}

void gra_pairs_finish(gra_pairs *self, double odds, double beta, gra_answer *answer)
{
    answer->beta = beta;
    answer->method = GRPOALIGN_METHOD_SCALAR;
    answer->iterations = self->looks;
    if (isinf(odds)) {
        finish_corner(self, odds > 0.0, beta, answer);
        return;
    }
    gra_pairs_place(self, odds, &self->here);
    answer->policy[0] = self->here.share.q;
    answer->policy[1] = self->here.share.p;
    answer->slack[0] = self->here.slack[0];
    answer->slack[1] = self->here.slack[1];
    judge(self, beta, answer);
}

double gra_pairs_beta(gra_pairs *self, double odds)
{
    gra_pairs_place(self, odds, &self->here);
    return beta_of(self, &self->here);
}

double gra_pairs_turn(gra_pairs *self, double odds)
{
    gra_pairs_place(self, odds, &self->here);
    return pull_of(self, &self->here) * self->here.distance -
           self->here.contrast * push_of(&self->here);
}

static void qualify(const gra_pair_roots *roots, gra_answer *answer)
{
    answer->unique = roots->count > 1 ? 0 : roots->proved ? 1 : -1;
}

grpoalign_status gra_solve_two_classes(const gra_problem *problem, gra_answer *answer)
{
    gra_pairs self;
    gra_pair_roots roots;
    GRA_TRY(gra_pairs_start(&self, problem));
    GRA_TRY(gra_pairs_roots(&self, problem->beta, &roots));
    int found = roots.connected >= 0;
    gra_pairs_finish(&self, found ? roots.odds[roots.connected] : 0.0, problem->beta, answer);
    qualify(&roots, answer);
    answer->status = answer->unique == 0 ? GRPOALIGN_NOT_UNIQUE : GRPOALIGN_OK;
    if (!found) {
        answer->status = GRPOALIGN_NOT_CONVERGED;
        answer->policy_error = 1.0;
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_points_two_classes(const gra_problem *problem, gra_answers *out)
{
    gra_pairs self;
    gra_pair_roots roots;
    GRA_TRY(gra_pairs_start(&self, problem));
    GRA_TRY(gra_pairs_roots(&self, problem->beta, &roots));
    for (int64_t k = 0; k < roots.count; k++) {
        gra_answer *answer = gra_answers_add(out, problem);
        if (answer == NULL) {
            return gra_fail_memory(problem->error);
        }
        gra_pairs_finish(&self, roots.odds[k], problem->beta, answer);
        qualify(&roots, answer);
    }
    out->complete = roots.proved;
    out->connected = roots.connected;
    return GRPOALIGN_OK;
}
