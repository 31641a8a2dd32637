/*
 * The curve of stationary policies of two classes: at every odds one beta, contrast/distance, where
 * that is positive. Two policies meet where it turns. The curve that pi_ref continues to starts at
 * pi_ref, at an infinite beta, and ends where the contrast is 0, or a class is empty, or nowhere.
 */
#include "solver/two_classes.h"

#include <float.h>
#include <math.h>

#include "base/numeric.h"
#include "base/status.h"

/* Width of the smallest pieces of positions: the beta of a fold is good to its square. */
static const double FINEST_FOLD = 1e-9;
/* Where slacks end the curve runs into a corner: what is nearer to it than this many units of the
 * odds is there but for rounding. */
static const double NEARLY_EMPTY = 32.0;

/* The odds up to where the curve is looked at for betas from `low` on. */
static double reach(gra_pairs *self, int side, double low)
{
    double end = gra_pairs_end(self, side, low);
    double empty = NEARLY_EMPTY + fabs(self->log_share[0]) + fabs(self->log_share[1]);
    return gra_pairs_have_corners(self) ? (double)side * fmin(fabs(end), empty) : end;
}

/* Looks along one side, from pi_ref on; the lists are in the order of positions. */
static void look_along(gra_pairs *self, int side, double end, gra_interval betas, double finest)
{
    self->wanted = GRA_PAIR_BETA;
    self->side = side;
    gra_pairs_isolate(self, side > 0 ? 0.0 : end, side > 0 ? end : 0.0, betas, finest);
}

/* The k-th item of a list from pi_ref on. */
static gra_bracket nth(const gra_brackets *list, int side, int64_t k)
{
    return list->items[side > 0 ? k : list->count - 1 - k];
}

static double middle_of(gra_bracket at)
{
    return sinh(0.5 * (at.low + at.high));
}

/* Whether the curve turns in a piece that no bound decides. */
static int turns(gra_pairs *self, gra_bracket at)
{
    return (gra_pairs_turn(self, sinh(at.low)) > 0.0) !=
           (gra_pairs_turn(self, sinh(at.high)) > 0.0);
}

/* ---- folds ----------------------------------------------------------------------------------- */

static grpoalign_status folds_of_side(gra_pairs *self, int side, gra_interval betas,
                                      gra_answers *out)
{
    const gra_brackets *list = &self->isolation.unknown;
    look_along(self, side, reach(self, side, betas.low), betas, FINEST_FOLD);
    GRA_TRY(gra_pairs_stopped(self));
    out->complete = out->complete && !self->isolation.exhausted;
    for (int64_t k = 0; k < list->count; k++) {
        gra_bracket at = nth(list, side, k);
        double odds = middle_of(at), beta = gra_pairs_beta(self, odds);
        if (!turns(self, at)) {
            out->complete = 0; /* it only slows down there, or two folds are one within rounding */
            continue;
        }
        if (beta >= betas.low && beta <= betas.high) {
            gra_answer *answer = gra_answers_add(out, self->problem);
            if (answer == NULL) {
                return gra_fail_memory(self->problem->error);
            }
            gra_pairs_finish(self, odds, beta, answer);
            answer->policy_error = fmax(at.high - at.low, FINEST_FOLD);
            answer->unique = 0;
            answer->stable = -1;
        }
    }
    return GRPOALIGN_OK;
}

/* The direction in which pi_ref is pressed: 1, -1, or 0 where it is stationary at every beta. */
static int side_of_reference(gra_pairs *self)
{
    gra_pairs_place(self, 0.0, &self->here);
    return (self->here.contrast > 0.0) - (self->here.contrast < 0.0);
}

grpoalign_status gra_folds_two_classes(const gra_problem *problem, double low, double high,
                                       gra_answers *out)
{
    gra_pairs self;
    const gra_interval betas = {low, high};
    GRA_TRY(gra_pairs_start(&self, problem));
    int side = side_of_reference(&self);
    /* Where pi_ref is stationary at every beta, other curves cross it without a turn. */
    out->complete = side != 0;
    side = side != 0 ? side : 1;
    GRA_TRY(folds_of_side(&self, side, betas, out));
    return folds_of_side(&self, -side, betas, out);
}

/* ---- the curve ------------------------------------------------------------------------------- */

typedef struct curve {
    gra_pairs pairs;
    int side;
    double zero; /* odds at which the contrast is 0 and the curve ends, or its reach */
    int ends_in_corner;
    gra_answers *out;
} curve;

static grpoalign_status add_at(curve *self, double odds, double beta)
{
    gra_answer *answer = gra_answers_add(self->out, self->pairs.problem);
    if (answer == NULL) {
        return gra_fail_memory(self->pairs.problem->error);
    }
    gra_pairs_finish(&self->pairs, odds, beta, answer);
    /* A pair of policy and beta is known as well as the policy, also at a fold. */
    answer->policy_error = DBL_EPSILON * (4.0 + (isfinite(odds) ? fabs(odds) : 0.0));
    return GRPOALIGN_OK;
}

/* The odds after `low` up to `high`, halved in position until neighbours are near. */
static grpoalign_status fill(curve *self, double low, double high, double resolution)
{
    double right[GRA_DEEPEST + 1] = {asinh(high)}, left = asinh(low);
    for (int depth = 0; depth >= 0;) {
        const gra_answer *before = &self->out->items[self->out->count - 1];
        double x = right[depth], odds = depth == 0 ? high : sinh(x), middle = 0.5 * (left + x);
        double beta = gra_pairs_beta(&self->pairs, odds);
        const double policy[2] = {self->pairs.here.share.q, self->pairs.here.share.p};
        int is_between = fmin(left, x) < middle && middle < fmax(left, x);
        if (gra_are_near(before->policy, before->beta, policy, beta, 2, resolution) ||
            !is_between || self->out->count >= GRA_LONGEST_CURVE || depth == GRA_DEEPEST) {
            GRA_TRY(add_at(self, odds, beta));
            left = x;
            depth--;
        } else {
            right[++depth] = middle;
        }
    }
    return GRPOALIGN_OK;
}

static double contrast_at(void *context, double odds)
{
    gra_pairs *self = context;
    gra_pairs_place(self, odds, &self->here);
    return self->here.contrast;
}

/* Where the curve from pi_ref ends for good. */
static grpoalign_status find_zero(curve *self, double low)
{
    gra_pairs *pairs = &self->pairs;
    const gra_brackets *roots = &pairs->isolation.roots;
    self->zero = reach(pairs, self->side, low);
    self->ends_in_corner = gra_pairs_have_corners(pairs);
    look_along(pairs, self->side, self->zero, (gra_interval){0.0, 0.0}, GRA_FINEST_ROOT);
    GRA_TRY(gra_pairs_stopped(pairs));
    self->out->complete = self->out->complete && !pairs->isolation.exhausted;
    if (roots->count > 0) {
        gra_bracket first = nth(roots, self->side, 0);
        double from = sinh(first.low), to = sinh(first.high);
        self->zero = gra_root(contrast_at, pairs, from, contrast_at(pairs, from), to,
                              contrast_at(pairs, to));
        self->ends_in_corner = 0;
    }
    return GRPOALIGN_OK;
}

/* The last odds of the curve at a beta, no less than `least` away. */
static grpoalign_status last_at(curve *self, double beta, double *least)
{
    gra_pairs *pairs = &self->pairs;
    const gra_brackets *roots = &pairs->isolation.roots;
    look_along(pairs, self->side, self->zero, (gra_interval){beta, beta}, GRA_FINEST_ROOT);
    GRA_TRY(gra_pairs_stopped(pairs));
    self->out->complete = self->out->complete && !pairs->isolation.exhausted;
    if (roots->count > 0) {
        double odds = gra_pairs_refine(pairs, nth(roots, self->side, roots->count - 1), beta);
        *least = fabs(odds) > fabs(*least) ? odds : *least;
    }
    return GRPOALIGN_OK;
}

/* From `from` to `to` through all turns, so that none is stepped over. */
static grpoalign_status go_along(curve *self, double from, double to, gra_interval betas,
                                 double resolution)
{
    gra_pairs *pairs = &self->pairs;
    const gra_brackets *list = &pairs->isolation.unknown;
    look_along(pairs, self->side, self->zero, betas, FINEST_FOLD);
    GRA_TRY(gra_pairs_stopped(pairs));
    self->out->complete = self->out->complete && !pairs->isolation.exhausted;
    GRA_TRY(add_at(self, from, betas.high));
    for (int64_t k = 0; k <= list->count; k++) {
        double next = k < list->count ? middle_of(nth(list, self->side, k)) : to;
        if (fabs(next) > fabs(from) && fabs(next) <= fabs(to)) {
            GRA_TRY(fill(self, from, next, resolution));
            from = next;
        }
    }
    return GRPOALIGN_OK;
}

/* A policy that is stationary at every beta from high to low. */
static grpoalign_status stay(curve *self, double odds, double low, double high)
{
    GRA_TRY(add_at(self, odds, high));
    return low < high ? add_at(self, odds, low) : GRPOALIGN_OK;
}

grpoalign_status gra_curve_two_classes(const gra_problem *problem, double low, double high,
                                       double resolution, gra_answers *out)
{
    curve self = {.out = out};
    gra_pair_roots roots;
    GRA_TRY(gra_pairs_start(&self.pairs, problem));
    self.side = side_of_reference(&self.pairs);
    GRA_TRY(gra_pairs_roots(&self.pairs, high, &roots));
    out->complete = roots.connected >= 0;
    if (roots.connected < 0) {
        return GRPOALIGN_OK;
    }
    double from = roots.odds[roots.connected], to = from;
    if (self.side == 0 || isinf(from) || from == 0.0) {
        return stay(&self, from, low, high);
    }
    GRA_TRY(find_zero(&self, low));
    GRA_TRY(last_at(&self, high, &to));
    GRA_TRY(last_at(&self, low, &to));
    double at_end = gra_pairs_beta(&self.pairs, self.zero);
    int corner = self.ends_in_corner && at_end >= low;
    to = corner && at_end <= high ? self.zero : to;
    GRA_TRY(go_along(&self, from, to, (gra_interval){low, high}, resolution));
    return corner ? add_at(&self, (double)self.side * INFINITY, low) : GRPOALIGN_OK;
}
