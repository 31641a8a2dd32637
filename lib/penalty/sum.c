/*
 * Sums of penalties, g = sum_i c_i g_i. Each g_i grows with l, so does the sum: one response per
 * outcome, found by Newton's method in l.
 *
 * The sum has a pole where all of its parts have one. Slacks of the others are then measured from
 * g = 0, as everywhere where there is no pole.
 */
#include "penalty/penalty.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

/* The slack of part i in that of the sum: from its pole, or from 0. */
static double part_slack(const gra_penalty *self, int64_t i, double log_ratio, double *slope)
{
    const gra_penalty *part = &self->parts[i];
    double slack = part->slack(part, log_ratio),
           moves = slack < part->slack_most ? part->log_slope(part, slack) : 0.0;
    *slope = moves > 0.0 ? -1.0 / moves : 0.0;
    return gra_penalty_has_pole(part) && !gra_penalty_has_pole(self) ? slack - part->pole : slack;
}

/* The slack, and its derivative by the log ratio, which is negative. */
static double slack_at(const gra_penalty *self, double log_ratio, double *slope)
{
    double slack = 0.0;
    *slope = 0.0;
    for (int64_t i = 0; i < self->part_count; i++) {
        double by_part, of_part = part_slack(self, i, log_ratio, &by_part);
        slack += self->coefficients[i] * of_part;
        *slope += self->coefficients[i] * by_part;
    }
    return slack;
}

static double slack(const gra_penalty *self, double log_ratio)
{
    double slope;
    return slack_at(self, log_ratio, &slope);
}

/*
 * A scale on which slacks are nearly straight in l at both ends: logarithms above a pole, and where
 * there is none what grows like an exponential on either side (asinh).
 */
static double straighten(const gra_penalty *self, double slack, double *slope)
{
    *slope = gra_penalty_has_pole(self) ? 1.0 / slack : 1.0 / hypot(1.0, slack);
    return gra_penalty_has_pole(self) ? log(slack) : asinh(slack);
}

/* Log ratios of doubles lie between these, by far. */
static const double FARTHEST = 4096.0;

/* Widens a bracket of the log ratio at a slack from l = 0, where it is `even`. */
static void bracket(const gra_penalty *self, double wanted, double *low, double *high)
{
    double side = slack(self, 0.0) < wanted ? -1.0 : 1.0, reach = 1.0;
    while (reach < FARTHEST && (slack(self, side * reach) - wanted) * side > 0.0) {
        reach *= 2.0;
    }
    *low = side < 0.0 ? -reach : reach > 1.0 ? 0.5 * reach : 0.0;
    *high = side > 0.0 ? reach : reach > 1.0 ? -0.5 * reach : 0.0;
}

/* Far more than Newton needs; bisection alone would need about 60. */
enum { MOST_STEPS = 200 };

static double log_ratio(const gra_penalty *self, double wanted)
{
    double low, high, by_slack, slope;
    if (!(wanted < self->slack_most)) {
        return -INFINITY;
    }
    double aim = straighten(self, wanted, &by_slack);
    bracket(self, wanted, &low, &high);
    double at = 0.5 * (low + high), before = high - low;
    for (int i = 0; i < MOST_STEPS; i++) {
        double here = slack_at(self, at, &slope), missing = straighten(self, here, &by_slack) - aim;
        if (missing > 0.0) {
            low = at;
        } else {
            high = at;
        }
        double next = at - missing / (by_slack * slope);
        if (!(next >= low && next <= high) || fabs(next - at) > 0.5 * fabs(before)) {
            next = 0.5 * (low + high);
        }
        before = next - at;
        at = next;
        if (fabs(before) <= DBL_EPSILON * fmax(1.0, fabs(at)) || missing == 0.0) {
            break;
        }
    }
    return at;
}

static double log_slope(const gra_penalty *self, double at)
{
    double slope, ratio = log_ratio(self, at);
    if (isinf(ratio)) {
        return 0.0;
    }
    (void)slack_at(self, ratio, &slope);
    return slope < 0.0 ? -1.0 / slope : 0.0;
}

static double score(const gra_penalty *self, double log_ratio, double *slope)
{
    return slack_at(self, log_ratio, slope);
}

static double grown(const gra_penalty *self, double at, double growth)
{
    return slack(self, log_ratio(self, at) + log1p(growth));
}

static double divergence(const gra_penalty *self, double reference, double policy, double ratio)
{
    double sum = 0.0;
    for (int64_t i = 0; i < self->part_count; i++) {
        const gra_penalty *part = &self->parts[i];
        sum += self->coefficients[i] * part->divergence(part, reference, policy, ratio);
    }
    return sum;
}

/* What the sum is, from its parts. */
static void add_up(gra_penalty *self)
{
    self->convex = 1;
    for (int64_t i = 0; i < self->part_count; i++) {
        self->pole += self->coefficients[i] * self->parts[i].pole;
    }
    for (int64_t i = 0; i < self->part_count; i++) {
        const gra_penalty *part = &self->parts[i];
        double coefficient = self->coefficients[i];
        self->slack_most += coefficient * part->slack_most;
        self->rarest = fmax(self->rarest, part->rarest);
        self->outside += coefficient * part->outside;
        self->newton_above = fmax(self->newton_above, part->newton_above);
        self->outlasts_std = self->outlasts_std || part->outlasts_std;
        /* pi is a convex function of the slack when the slack is one of pi. */
        self->convex = self->convex && part->convex;
    }
}

grpoalign_status gra_penalty_sum(const gra_penalty *const *parts, const double *coefficients,
                                 int64_t count, gra_penalty *out, grpoalign_error *error)
{
    gra_penalty *own = gra_alloc(count, sizeof *own);
    double *factors = gra_alloc(count, sizeof *factors);
    int64_t kept = 0;
    if (own == NULL || factors == NULL) {
        gra_release(own);
        gra_release(factors);
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t same = 0;
        while (same < kept &&
               (own[same].kind != parts[i]->kind || own[same].parameter != parts[i]->parameter)) {
            same++;
        }
        if (coefficients[i] > 0.0 && same == kept) {
            own[kept] = *parts[i];
            factors[kept++] = coefficients[i];
        } else if (coefficients[i] > 0.0) {
            factors[same] += coefficients[i];
        }
    }
    *out = (gra_penalty){.kind = GRPOALIGN_PENALTY_SUM,
                         .parts = own,
                         .coefficients = factors,
                         .part_count = kept,
                         .rarest = -INFINITY,
                         .loose_above = INFINITY,
                         .slack = slack,
                         .log_ratio = log_ratio,
                         .log_slope = log_slope,
                         .score = score,
                         .divergence = divergence,
                         .form = GRA_SMOOTH,
                         GRA_DERIVED};
    out->grown = grown;
    add_up(out);
    return GRPOALIGN_OK;
}
