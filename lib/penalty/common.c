/* What follows from the slack of any penalty. */
#include "penalty/penalty.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "base/numeric.h"

double gra_penalty_score(const gra_penalty *self, double log_ratio, double *slope)
{
    double slack = self->slack_of(self, log_ratio);
    *slope = -1.0 / self->log_slope(self, slack);
    return slack;
}

double gra_penalty_grown(const gra_penalty *self, double slack, double growth)
{
    return self->slack_of(self, self->log_ratio(self, slack) + log1p(growth));
}

double gra_penalty_slack_at(const gra_penalty *self, double mass, double log_mass, double policy)
{
    (void)mass;
    return self->slack_of(self, log(policy) - log_mass);
}

double gra_penalty_normaliser(const gra_penalty *self, const gra_class_reference *reference,
                              const double *advantage, double mean, double mean_slack)
{
    (void)self, (void)reference, (void)advantage;
    return mean_slack + mean;
}

double gra_penalty_residual(const gra_penalty *self, double reference, double policy,
                            double log_ratio, double advantage, double normaliser)
{
    (void)reference;
    return policy > 0.0 ? policy * (normaliser - advantage - self->slack_of(self, log_ratio)) : 0.0;
}

/* Newton's steps must at least halve, or they may crawl along where a slope is nearly infinite. */
static int is_crawling(double step, double before)
{
    return !(fabs(step) <= 0.5 * fabs(before));
}

/* The policy at slacks - origin + shift; returns its sum, and in *slope its derivative by -shift.
 */
static double total_at(const gra_penalty *self, const gra_class_reference *reference,
                       const double *slack, double origin, double shift, double *policy,
                       double *slope)
{
    gra_sum total = {0.0, 0.0};
    *slope = 0.0;
    for (int64_t c = 0; c < reference->classes; c++) {
        double p = (slack[c] - origin) + shift;
        policy[c] = exp(reference->log_mass[c] + self->log_ratio(self, p));
        gra_sum_add(&total, policy[c]);
        *slope += policy[c] > 0.0 ? policy[c] * self->log_slope(self, p) : 0.0;
    }
    return gra_sum_value(total);
}

/*
 * The log ratio at which the classes together hold everything, with equal slacks: 0, but for what
 * is left of a reference after a lets_go penalty has lost some of it.
 */
static double even_log_ratio(const gra_penalty *self, const gra_class_reference *reference)
{
    return self->lets_go ? -log(gra_total(reference->mass, reference->classes)) : 0.0;
}

double gra_penalty_even_slack(const gra_penalty *self, const gra_class_reference *reference)
{
    return self->lets_go ? self->slack_of(self, even_log_ratio(self, reference)) : self->unit_slack;
}

/* Enough for any bracket of doubles. */
static const int MOST_HALVINGS = 2200;
/* A slack that is the sum of two this much larger has lost digits that count. */
static const double LOST_DIGITS = 16.0;

/*
 * The level of slacks measured from `origin`. The sum of the policy falls as they rise: with all
 * slacks above the even slack it is at most 1; with all below at least 1, and so it is where one
 * class holds 1 alone. Newton on its logarithm inside that bracket.
 */
static double find_level(const gra_penalty *self, const gra_class_reference *reference,
                         const double *slack, double origin, double *policy)
{
    int64_t n = reference->classes;
    double even = gra_penalty_even_slack(self, reference), slope;
    double high = even - (gra_min(slack, n) - origin), low = even - (gra_max(slack, n) - origin);
    for (int64_t c = 0; c < n; c++) {
        low = fmax(low, self->slack_of(self, -reference->log_mass[c]) - (slack[c] - origin));
    }
    low = fmin(low, high);
    double shift = high, step = high - low;
    for (int i = 0; i < MOST_HALVINGS && low < high; i++) {
        double total = total_at(self, reference, slack, origin, shift, policy, &slope);
        if (total > 1.0) {
            low = fmax(low, shift);
        } else {
            high = fmin(high, shift);
        }
        if (fabs(total - 1.0) <= 2.0 * DBL_EPSILON) {
            return shift;
        }
        double next = shift + log(total) * total / slope;
        if (!(next > low && next < high) || is_crawling(next - shift, step)) {
            next = 0.5 * (low + high);
        }
        if (fabs(next - shift) <= DBL_EPSILON * fmax(fabs(next), DBL_MIN)) {
            if (fabs(total - 1.0) < 0.5) {
                return next;
            }
            /* The sum leaps over 1 within a rounding: from there on nobody is missing. */
            if (high - low <= 4.0 * DBL_EPSILON * fmax(fabs(low), fabs(high))) {
                return low;
            }
            next = 0.5 * (low + high);
        }
        step = next - shift;
        shift = next;
    }
    return shift;
}

/* Measured from the class that holds most: its own slack has then its digits, and those of classes
 * far from it need none. */
double gra_penalty_respond(const gra_penalty *self, const gra_class_reference *reference,
                           double *slack, double *policy)
{
    int64_t n = reference->classes, heaviest = 0;
    double origin = gra_min(slack, n), shift = 0.0, slope, total = 1.0;
    if (self->beyond != NULL) {
        double pole = self->slack_of(self, INFINITY);
        for (int64_t c = 0; c < n; c++) {
            slack[c] -= origin;
        }
        shift = pole + gra_penalty_respond_beyond(self, reference, slack, policy);
        for (int64_t c = 0; c < n; c++) {
            slack[c] += pole;
        }
        return shift - origin;
    }
    for (int i = 0; i < 3; i++) {
        shift = find_level(self, reference, slack, origin, policy);
        total = total_at(self, reference, slack, origin, shift, policy, &slope);
        for (int64_t c = 0; c < n; c++) {
            heaviest = policy[c] > policy[heaviest] ? c : heaviest;
        }
        double distance = fabs(slack[heaviest] - origin);
        if (!(distance > LOST_DIGITS * fmax(1.0, fabs(slack[heaviest] - origin + shift)))) {
            break;
        }
        origin = slack[heaviest];
    }
    for (int64_t c = 0; c < n; c++) {
        slack[c] = (slack[c] - origin) + shift;
        policy[c] /= total; /* 1 but for the rounding of the shift */
    }
    return shift - origin;
}

typedef struct beyond_pole {
    const gra_penalty *penalty;
    const gra_class_reference *reference;
    const double *slack;
    double *policy;
} beyond_pole;

/* log of the sum of the policy, against the logarithm of the lowest distance: falling. */
static double log_total_beyond(void *context, double log_distance)
{
    const beyond_pole *self = context;
    gra_sum total = {0.0, 0.0};
    double distance = exp(log_distance);
    for (int64_t c = 0; c < self->reference->classes; c++) {
        self->policy[c] = exp(self->reference->log_mass[c] +
                              self->penalty->beyond(self->penalty, distance + self->slack[c]));
        gra_sum_add(&total, self->policy[c]);
    }
    return log(gra_sum_value(total));
}

double gra_penalty_respond_beyond(const gra_penalty *self, const gra_class_reference *reference,
                                  double *slack, double *policy)
{
    beyond_pole at = {self, reference, slack, policy};
    /* Where a class without a gap holds 1 alone; where none gains. */
    double most = -INFINITY, low, high = log(self->distance_of(self, 0.0));
    for (int64_t c = 0; c < reference->classes; c++) {
        most = slack[c] == 0.0 ? fmax(most, reference->log_mass[c]) : most;
    }
    low = fmin(high, log(self->distance_of(self, -most)));
    double at_low = log_total_beyond(&at, low), at_high = log_total_beyond(&at, high);
    double found = at_low <= 0.0    ? low
                   : at_high >= 0.0 ? high
                                    : gra_root(log_total_beyond, &at, low, at_low, high, at_high);
    double total = exp(log_total_beyond(&at, found)), distance = exp(found);
    for (int64_t c = 0; c < reference->classes; c++) {
        slack[c] += distance;
        policy[c] /= total;
    }
    return distance;
}

double gra_penalty_level(const gra_penalty *self, double log_ratio)
{
    return self->beyond != NULL ? self->distance_of(self, log_ratio)
                                : self->slack_of(self, log_ratio);
}

double gra_penalty_level_ratio(const gra_penalty *self, double level)
{
    return self->beyond != NULL ? self->beyond(self, level) : self->log_ratio(self, level);
}

double gra_penalty_level_slope(const gra_penalty *self, double level)
{
    return self->beyond != NULL ? self->slope_beyond(self, level) : self->log_slope(self, level);
}

/* The policy of the classes with a gap, at slacks theta gap + level; returns its sum and the
 * derivative by -log theta. */
static double rest_at(const gra_penalty *self, const gra_class_reference *reference,
                      const double *gap, double theta, double level, double *policy, double *slope)
{
    gra_sum total = {0.0, 0.0};
    *slope = 0.0;
    for (int64_t c = 0; c < reference->classes; c++) {
        if (gap[c] > 0.0) {
            double slack = theta * gap[c] + level;
            policy[c] = exp(reference->log_mass[c] + gra_penalty_level_ratio(self, slack));
            gra_sum_add(&total, policy[c]);
            *slope += policy[c] > 0.0
                          ? policy[c] * gra_penalty_level_slope(self, slack) * theta * gap[c]
                          : 0.0;
        }
    }
    return gra_sum_value(total);
}

/*
 * The parameter is how far the best classes have come from where all slacks are equal to all:
 * log((l - l_even) / (l_most - l)), l = log(pi/pi_ref) of theirs, which resolves both ends. Their
 * slack is the level, and theta is what leaves the rest to the others.
 */
double gra_penalty_path(const gra_penalty *self, const gra_class_reference *reference,
                        const double *gap, double x, double *slack, double *policy)
{
    int64_t n = reference->classes;
    double top = -INFINITY, best = 0.0, others = 0.0;
    for (int64_t c = 0; c < n; c++) {
        top = gap[c] == 0.0 ? fmax(top, reference->log_mass[c]) : top;
    }
    for (int64_t c = 0; c < n; c++) {
        *(gap[c] == 0.0 ? &best : &others) += exp(reference->log_mass[c] - top);
    }
    /* The best hold nearly everything or nearly nothing: either way their way keeps its digits. */
    double even = even_log_ratio(self, reference),
           way = isinf(others) ? -(top + log(best)) - even : log1p(others / best);
    double left = way / (1.0 + exp(x)),
           log_ratio = even + (x > 0.0 ? way - left : way / (1.0 + exp(-x)));
    double level = gra_penalty_level(self, log_ratio), rest = -expm1(-left),
           widest = gra_max(gap, n), slope;
    /* log of the sum of the others against log theta: falling. */
    double low = -800.0, high = 800.0,
           at = log((gra_penalty_level(self, even) - level) / widest + DBL_MIN);
    double step = high - low, total = 0.0;
    at = isfinite(at) ? fmin(fmax(at, low), high) : 0.0;
    for (int i = 0; i < 200; i++) {
        total = rest_at(self, reference, gap, exp(at), level, policy, &slope);
        if (total > rest) {
            low = at;
        } else {
            high = at;
        }
        double next = at + log(total / rest) * total / slope;
        if (fabs(total - rest) <= 2.0 * DBL_EPSILON * rest ||
            high - low <= 4.0 * DBL_EPSILON * fabs(low)) {
            break;
        }
        next =
            next > low && next < high && !is_crawling(next - at, step) ? next : 0.5 * (low + high);
        step = next - at;
        at = next;
    }
    double theta = exp(at),
           share = total > 0.0 ? rest / total : 1.0; /* 1 but for the rounding of theta */
    /* Where slacks of the others leap over their end within a rounding, the nearest of them has
     * what is left. */
    int64_t nearest = -1;
    int leaps = !(total > 0.5 * rest && total < 2.0 * rest);
    for (int64_t c = 0; c < n && leaps; c++) {
        nearest = gap[c] > 0.0 && (nearest < 0 || gap[c] < gap[nearest]) ? c : nearest;
    }
    double pole = self->beyond != NULL ? self->slack_of(self, INFINITY) : 0.0;
    for (int64_t c = 0; c < n; c++) {
        policy[c] = gap[c] == 0.0 ? exp(-left) * (exp(reference->log_mass[c] - top) / best)
                    : leaps       ? 0.0
                                  : share * policy[c];
        if (slack != NULL) {
            slack[c] = theta * gap[c] + level + pole;
        }
    }
    if (nearest >= 0) {
        policy[nearest] = rest;
        if (slack != NULL) {
            slack[nearest] = self->slack_of(self, log(rest) - reference->log_mass[nearest]);
        }
    }
    return theta;
}

void gra_penalty_path_bracket(const gra_penalty *self, const gra_class_reference *reference,
                              const double *gap, double low, double high, double *x_low,
                              double *x_high, double *policy)
{
    const double end = 700.0;
    *x_low = -1.0;
    while (*x_low > -end &&
           !(self->path(self, reference, gap, *x_low, NULL, policy) <= low * (1.0 - 1e-12))) {
        *x_low *= 2.0;
    }
    *x_high = 1.0;
    while (*x_high < end &&
           !(self->path(self, reference, gap, *x_high, NULL, policy) >= high * (1.0 + 1e-12))) {
        *x_high *= 2.0;
    }
    *x_low = fmax(*x_low, -end);
    *x_high = fmin(*x_high, end);
}

typedef struct meeting {
    const gra_penalty *penalty;
    double level, slope, log_mass;
} meeting;

static double excess_slack(void *context, double log_ratio)
{
    const meeting *self = context;
    return self->penalty->slack_of(self->penalty, log_ratio) - self->level -
           self->slope * exp(self->log_mass + log_ratio);
}

double gra_penalty_resolvent(const gra_penalty *self, double mass, double log_mass, double level,
                             double slope)
{
    meeting where = {self, level, slope, log_mass};
    double low = 0.0, high = 0.0, f = excess_slack(&where, 0.0);
    (void)mass;
    if (!self->lets_go && level >= self->slack_most) {
        return 0.0;
    }
    if (f > 0.0) {
        for (double step = 1.0;
             excess_slack(&where, high = fmin(step, 705.0 - log_mass)) > 0.0 && step < 1e4;
             step *= 2.0) {
            low = high;
        }
    } else {
        for (double step = 1.0; excess_slack(&where, low = -step) < 0.0 && step < 1e6;
             step *= 2.0) {
            high = low;
        }
    }
    double log_ratio = gra_root(excess_slack, &where, low, excess_slack(&where, low), high,
                                excess_slack(&where, high));
    return exp(log_mass + log_ratio);
}

int gra_penalty_holds(const gra_penalty *self)
{
    return self->form != GRA_ABSENT && self->form != GRA_STEP && !self->lets_go;
}

const gra_penalty *gra_penalty_find(int32_t kind)
{
    static const gra_penalty *const all[] = {
        &gra_reverse_kl,      &gra_direct_kl,         &gra_no_penalty,  &gra_kl_in_reward,
        &gra_total_variation, &gra_squared_log_ratio, &gra_chi_squared, &gra_jensen_shannon,
        &gra_alpha,           &gra_clamped_kl};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i]->kind == kind) {
            return all[i];
        }
    }
    return NULL;
}

int gra_penalty_outlasts_std(const gra_penalty *self)
{
    return self->barrier > 0.0 || (self->kind == GRPOALIGN_PENALTY_ALPHA && self->parameter < 0.5);
}

int gra_penalty_has_pole(const gra_penalty *self)
{
    return self->beyond != NULL || self->barrier > 0.0;
}
