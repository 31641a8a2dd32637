/*
 * The largest beta at which a quantity reaches a target.
 *
 * Every quantity is a sum of parts, one per outcome, from which the target is taken:
 *
 *     f = sum_o part_o - rest,    f = 0 at the target.
 *
 * Between two samples that differ by df, the parts that rise may come before those that fall: f
 * goes beyond its two ends by at most (sum |d part| - |df|)/2, as long as each part only rises or
 * only falls. Stretches in which this matters are halved until they are short. Where three samples
 * then show f coming near 0 and leaving again, the nearest point is looked for.
 */
#include "solver/sampling.h"

#include <float.h>
#include <math.h>

#include "base/numeric.h"
#include "base/status.h"

/* f at a beta. */
typedef struct place {
    double beta, off;
} place;

typedef struct tuning {
    gra_sampling sampling;
    const gra_target *target;
    double unit;         /* of the values, so that no product leaves the doubles */
    double rest;         /* see above */
    int at_infinity;     /* the reference itself is at the target, */
    int left;            /* and the walk has left it */
    double nearest_beta; /* of the smallest |f|, */
    double nearest;
    double found; /* 0: no beta yet */
    place before; /* the upper end of the stretch before; beta 0: none */
    /* While a root is looked for: */
    const gra_sample *above;
    gra_sample here;
    grpoalign_status stop;
    double least, least_beta; /* |f|, in sizes of its parts */
    double sign;              /* of f around a point where it comes near 0 */
} tuning;

/* A root is one when |f| falls to so much of the sizes of its parts: a few roundings where the
 * policy is hard to solve for and f is steep, far less than a jump. */
static const double REACHED = 1e-10;
/* No more than rounding, in the same measure. */
static const double ROUNDING = 2.0 * DBL_EPSILON;
/* A stretch may be longer than this, in log beta, only where its ends tell what f does. */
static const double SURE_STRETCH = 1.0 / 64.0, HARDLY_BENT = 1e-3;

/* ---- the quantity ---------------------------------------------------------------------------- */

static double part(const tuning *self, const grpoalign_solution *solution, int64_t o)
{
    const grpoalign_reference *reference = self->sampling.problem->reference;
    double p = solution->policy[o], log_p = solution->log_policy[o];
    double ref = reference->probability[o], log_ratio = log_p - reference->logarithm[o];
    if (!reference->support[o]) {
        return 0.0;
    }
    switch (self->target->quantity) {
    case GRPOALIGN_QUANTITY_KL_POLICY_REF:
        return gra_direct_kl.divergence(&gra_direct_kl, ref, p, log_ratio);
    case GRPOALIGN_QUANTITY_KL_REF_POLICY:
        return fmin(DBL_MAX, gra_reverse_kl.divergence(&gra_reverse_kl, ref, p, log_ratio));
    case GRPOALIGN_QUANTITY_ENTROPY:
        return p > 0.0 ? -p * (log_p + self->target->value) : 0.0;
    default:
        return p * (self->unit * self->target->values[o] - self->unit * self->target->value);
    }
}

/* f, and the sizes of all that it is made of. */
static double off_target(const tuning *self, const gra_sample *at, double *size)
{
    gra_sum sum = {-self->rest, 0.0};
    *size = fabs(self->rest);
    for (int64_t o = 0; o < at->solution->outcomes; o++) {
        double added = part(self, at->solution, o);
        gra_sum_add(&sum, added);
        *size = fmin(DBL_MAX, *size + fabs(added));
    }
    double value = gra_sum_value(sum);
    return isfinite(value) ? value : DBL_MAX;
}

/* How far f may go beyond its ends between two samples. */
static double excursion(const tuning *self, const gra_sample *a, const gra_sample *b, double change)
{
    gra_sum sum = {0.0, 0.0};
    for (int64_t o = 0; o < a->solution->outcomes; o++) {
        gra_sum_add(&sum, fabs(part(self, a->solution, o) - part(self, b->solution, o)));
    }
    double travelled = gra_sum_value(sum);
    return isfinite(travelled) ? fmax(0.0, 0.5 * (travelled - fabs(change))) : 0.0;
}

static int is_divergence(int32_t quantity)
{
    return quantity == GRPOALIGN_QUANTITY_KL_POLICY_REF ||
           quantity == GRPOALIGN_QUANTITY_KL_REF_POLICY;
}

/* The most that f changes from the reference to a policy with |log(pi/pi_ref)| <= distance, which
 * is small. Each term of a divergence is at most pi_ref (pi/pi_ref - 1)^2 then. */
static double most_change(const tuning *self, double distance)
{
    const grpoalign_reference *reference = self->sampling.problem->reference;
    double grown = expm1(distance);
    gra_sum mean = {0.0, 0.0}, around = {0.0, 0.0};
    if (is_divergence(self->target->quantity)) {
        return grown * grown;
    }
    int entropy = self->target->quantity == GRPOALIGN_QUANTITY_ENTROPY;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t o = 0; o < reference->outcomes; o++) {
            if (reference->support[o]) {
                double value = entropy ? -reference->logarithm[o]
                                       : self->unit * self->target->values[o],
                       off = fabs(value - gra_sum_value(mean));
                gra_sum_add_product(pass == 0 ? &mean : &around, reference->probability[o],
                                    pass == 0 ? value : off);
            }
        }
    }
    return grown * gra_sum_value(around) + (entropy ? grown * grown : 0.0);
}

/* ---- the root -------------------------------------------------------------------------------- */

static void note(tuning *self, const gra_sample *at, double off)
{
    if (at->there && fabs(off) < self->nearest) {
        self->nearest = fabs(off);
        self->nearest_beta = at->beta;
    }
}

static double equation(void *context, double beta)
{
    tuning *self = context;
    double size, off = 0.0;
    if (self->stop < 0) {
        return 0.0; /* ends the search for a root */
    }
    self->stop = gra_sampling_look(&self->sampling, beta, self->above, &self->here);
    if (self->stop < 0) {
        return 0.0;
    }
    off = off_target(self, &self->here, &size);
    note(self, &self->here, off);
    if (self->here.there && fabs(off) / size < self->least) {
        self->least = fabs(off) / size;
        self->least_beta = beta;
    }
    return off;
}

/* Looks for a root between two betas where f has different signs. None is found where f jumps. */
static grpoalign_status find_root(tuning *self, const gra_sample *before, const place *above,
                                  const place *below)
{
    self->above = before;
    self->least = INFINITY;
    self->stop = GRPOALIGN_OK;
    (void)gra_root(equation, self, below->beta, below->off, above->beta, above->off);
    GRA_TRY(self->stop);
    self->found = self->least <= REACHED ? self->least_beta : 0.0;
    return GRPOALIGN_OK;
}

static double distance(void *context, double log_beta)
{
    tuning *self = context;
    return self->sign * equation(self, exp(log_beta));
}

/* Whether f may come to 0 between three samples, the middle one being the nearest: what a parabola
 * through them could do lies below the middle by an eighth of how far that lies below the ends. */
static int may_touch(const place *above, const place *middle, const place *below)
{
    double least = fabs(middle->off), most = fmax(fabs(above->off), fabs(below->off));
    int same =
        (above->off > 0.0) == (middle->off > 0.0) && (middle->off > 0.0) == (below->off > 0.0);
    return same && least <= fabs(above->off) && least <= fabs(below->off) &&
           least < 2.0 * (most - least);
}

/* Looks for the point where f comes nearest to 0, and for the root above it where it goes
 * beyond. */
static grpoalign_status find_touch(tuning *self, const place *above, const place *below)
{
    place nearest;
    self->above = NULL;
    self->sign = above->off > 0.0 ? 1.0 : -1.0;
    self->least = INFINITY;
    self->stop = GRPOALIGN_OK;
    nearest.off = self->sign * gra_golden_sections(distance, self, log(below->beta),
                                                   log(above->beta), 0.0, &nearest.beta);
    nearest.beta = exp(nearest.beta);
    GRA_TRY(self->stop);
    if (self->sign * nearest.off < 0.0) {
        return find_root(self, NULL, above, &nearest);
    }
    self->found = self->least <= ROUNDING ? self->least_beta : 0.0;
    return GRPOALIGN_OK;
}

static int is_hit(const tuning *self, const gra_sample *at)
{
    double size, off = off_target(self, at, &size);
    return at->there && fabs(off) <= ROUNDING * size;
}

/* The largest beta of those at which f is 0: `below` is one of them, `above` is not. */
static grpoalign_status find_edge(tuning *self, const gra_sample *above, const gra_sample *below)
{
    double high = above->beta, low = below->beta, middle = sqrt(low) * sqrt(high);
    while (middle > low && middle < high) {
        GRA_TRY(gra_sampling_look(&self->sampling, middle, above, &self->here));
        *(is_hit(self, &self->here) ? &low : &high) = middle;
        middle = sqrt(low) * sqrt(high);
    }
    self->found = low;
    return GRPOALIGN_OK;
}

/* ---- the walk -------------------------------------------------------------------------------- */

/* Whether f may do more in a stretch than its ends tell. */
static int is_bent(const tuning *self, const gra_sample *above, const gra_sample *below,
                   const place *from, const place *to)
{
    double change = from->off - to->off, beyond = excursion(self, above, below, change);
    int crosses = (from->off > 0.0) != (to->off > 0.0);
    return beyond > (crosses ? HARDLY_BENT * fabs(change) : fmin(fabs(from->off), fabs(to->off)));
}

/* A stretch that is not halved any more. */
static grpoalign_status settle(tuning *self, const gra_sample *above, const gra_sample *below,
                               const place *from, const place *to)
{
    if (is_hit(self, below)) {
        GRA_TRY(find_edge(self, above, below));
    } else if ((from->off > 0.0) != (to->off > 0.0)) {
        GRA_TRY(find_root(self, above, from, to));
    } else if (self->before.beta > 0.0 && may_touch(&self->before, from, to)) {
        GRA_TRY(find_touch(self, &self->before, to));
    }
    self->before = *from;
    return GRPOALIGN_OK;
}

static grpoalign_status judge(void *client, const gra_sample *above, const gra_sample *below,
                              int *verdict)
{
    tuning *self = client;
    double size, ignored;
    const place from = {above->beta, off_target(self, above, &size)},
                to = {below->beta, off_target(self, below, &ignored)};
    note(self, above, from.off);
    note(self, below, to.off);
    *verdict = GRA_STOP;
    if (self->left && is_hit(self, above)) {
        self->found = above->beta;
        return GRPOALIGN_OK;
    }
    self->left = self->left || fabs(from.off) > REACHED * size;
    *verdict = GRA_HALVE;
    if (gra_sampling_is_long(above, below) || (gra_sampling_stretch(above, below) > SURE_STRETCH &&
                                               is_bent(self, above, below, &from, &to))) {
        return GRPOALIGN_OK;
    }
    *verdict = GRA_GO_ON;
    if (!above->there || !below->there || !self->left || gra_sampling_is_jump(above, below)) {
        self->before.beta = 0.0;
        return GRPOALIGN_OK;
    }
    GRA_TRY(settle(self, above, below, &from, &to));
    *verdict = self->found > 0.0 ? GRA_STOP : GRA_GO_ON;
    return GRPOALIGN_OK;
}

/* ---- from the reference down ----------------------------------------------------------------- */

/* Log ratios below this are rounding. */
static const double NO_DISTANCE = 1e-13;

/* What f is at the reference. */
static double off_reference(const tuning *self, double *size)
{
    const grpoalign_reference *reference = self->sampling.problem->reference;
    grpoalign_solution same = {.outcomes = reference->outcomes,
                               .policy = reference->probability,
                               .log_policy = reference->logarithm};
    const gra_sample at = {.there = 1, .solution = &same};
    return off_target(self, &at, size);
}

/* A beta above which the target is not reached: the policy is too near to the reference there. From
 * the scale up, whose sample is in `here`. */
static grpoalign_status find_start(tuning *self, double *high)
{
    double size, off = fabs(off_reference(self, &size)),
                 distance = gra_sampling_distance(&self->sampling, &self->here);
    *high = self->sampling.scale;
    while (most_change(self, distance) >= off && distance > NO_DISTANCE) {
        double wanted = is_divergence(self->target->quantity) ? sqrt(off) / distance
                                                              : off / most_change(self, distance);
        *high *= fmin(fmax(2.0, 1.01 / wanted), 1e6);
        GRA_TRY(gra_sampling_look(&self->sampling, *high, NULL, &self->here));
        distance = gra_sampling_distance(&self->sampling, &self->here);
        note(self, &self->here, off_target(self, &self->here, &size));
    }
    self->at_infinity = most_change(self, distance) >= off;
    self->left = !self->at_infinity;
    if (self->at_infinity) {
        *high = self->sampling.scale; /* further up nothing is left but rounding */
    }
    return GRPOALIGN_OK;
}

static const char *reason(const tuning *self)
{
    return self->at_infinity
               ? "the target is the value at the reference itself, where beta is infinite; no beta "
                 "below reaches it again"
               : "no beta of the range reaches the target on the branch that the reference leads "
                 "to; the policy given is the nearest on the way";
}

static grpoalign_status tune(tuning *self, const gra_search_range *range)
{
    const gra_descent descent = {self, judge};
    double high, size;
    GRA_TRY(gra_sampling_find_scale(&self->sampling, &self->here));
    GRA_TRY(find_start(self, &high));
    double low = range->low > 0.0 ? range->low : fmax(1e-150, 1e-16 * self->sampling.scale);
    if (range->high > 0.0 && range->high < high) {
        high = range->high;
        self->left = 1;
        self->nearest = INFINITY;
    }
    high = fmax(low, high);
    self->nearest_beta = self->nearest < INFINITY ? self->nearest_beta : high;
    GRA_TRY(gra_sampling_descend(&self->sampling, &descent, high, low));
    const gra_sample *last = &self->sampling.ends[0];
    if (range->high == 0.0 && fabs(off_reference(self, &size)) < self->nearest) {
        self->nearest_beta = fmin(1e150, self->sampling.scale / NO_DISTANCE);
        self->nearest = fabs(off_reference(self, &size));
    }
    double off = off_target(self, last, &size);
    note(self, last, off);
    if (self->found == 0.0 && self->left && is_hit(self, last)) {
        self->found = last->beta;
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_tune(const grpoalign_problem *problem, const gra_target *target,
                          const gra_search_range *range, const grpoalign_solve_options *options,
                          grpoalign_solution **out, grpoalign_error *error)
{
    const double large = 1e280;
    const int64_t n = problem->model->outcomes;
    double top = target->values == NULL
                     ? 0.0
                     : fmax(fabs(target->value), fmax(fabs(gra_max(target->values, n)),
                                                      fabs(gra_min(target->values, n))));
    tuning self = {.target = target, .nearest = INFINITY, .unit = top > large ? 0x1p-64 : 1.0};
    self.rest = is_divergence(target->quantity) ? target->value : 0.0;
    grpoalign_status status = gra_sampling_open(&self.sampling, problem, options, error);
    status = status < 0 ? status : tune(&self, range);
    if (status >= 0) {
        double beta = self.found > 0.0 ? self.found : self.nearest_beta;
        status = gra_sampling_solve(&self.sampling, beta, options->stability, out);
    }
    if (status >= 0 && self.found == 0.0) {
        status = gra_fail(error, GRPOALIGN_UNREACHABLE, 0, -1, "%s", reason(&self));
    }
    gra_sample_clear(&self.here);
    gra_sampling_close(&self.sampling);
    return status;
}
