/* What follows from the law of any penalty. */
#include "penalty/penalty.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "base/numeric.h"

double gra_penalty_score(const gra_penalty *self, double log_ratio, double *slope)
{
    double slack = self->slack(self, log_ratio);
    *slope = -1.0 / self->log_slope(self, slack);
    return slack;
}

double gra_penalty_score_clamped(const gra_penalty *self, double log_ratio, double *slope)
{
    double slack = self->slack(self, log_ratio);
    int inside = log_ratio <= self->loose_above && slack <= self->slack_most;
    *slope = inside ? -1.0 / self->log_slope(self, slack) : 0.0;
    return inside ? slack : self->slack(self, 0.0); /* g = 0 */
}

double gra_penalty_grown(const gra_penalty *self, double slack, double growth)
{
    return self->slack(self, self->log_ratio(self, slack) + log1p(growth));
}

double gra_penalty_slack_at(const gra_penalty *self, double mass, double log_mass, double policy)
{
    (void)mass;
    return self->slack(self, log(policy) - log_mass);
}

double gra_penalty_normaliser(const gra_penalty *self, const gra_class_reference *reference,
                              const double *advantage, double mean, double mean_slack)
{
    (void)reference, (void)advantage;
    return mean_slack + mean - self->normaliser_from;
}

double gra_penalty_residual(const gra_penalty *self, double reference, double policy,
                            double log_ratio, double advantage, double normaliser)
{
    (void)reference;
    double slack = gra_penalty_felt(self, log_ratio) - self->normaliser_from;
    return policy > 0.0 ? policy * (normaliser - advantage - slack) : 0.0;
}

/* Newton's steps must at least halve, or they may crawl along where a slope is nearly infinite. */
static int is_crawling(double step, double before)
{
    return !(fabs(step) <= 0.5 * fabs(before));
}

/*
 * The log ratio at which the classes together hold everything, with equal slacks: 0, but for what
 * is left of a reference after a penalty has let some of it go.
 */
static double even_log_ratio(const gra_penalty *self, const gra_class_reference *reference)
{
    return self->lets_go ? -gra_log_sum_exp(reference->log_mass, reference->classes) : 0.0;
}

double gra_penalty_even_slack(const gra_penalty *self, const gra_class_reference *reference)
{
    return self->slack(self, even_log_ratio(self, reference));
}

/* A policy's exponential. Far from an answer slacks may ask for more than a double has. */
static double bounded_exp(double logarithm)
{
    const double most = 700.0;
    return exp(fmin(logarithm, most));
}

/* ---- the response without a pole ---- */

/* The policy at slacks - origin + shift; returns its sum, and in *slope its derivative by -shift.
 */
static double total_at(const gra_penalty *self, const gra_class_reference *reference,
                       const double *slack, double origin, double shift, double *policy,
                       double *slope)
{
    gra_sum total = {0.0, 0.0};
    *slope = 0.0;
    for (int64_t c = 0; c < reference->classes; c++) {
        double s = (slack[c] - origin) + shift;
        policy[c] = bounded_exp(reference->log_mass[c] + self->log_ratio(self, s));
        gra_sum_add(&total, policy[c]);
        *slope += policy[c] > 0.0 ? policy[c] * self->log_slope(self, s) : 0.0;
    }
    return gra_sum_value(total);
}

/* Enough for any bracket of doubles. */
static const int MOST_HALVINGS = 2200;

/*
 * The shift of slacks measured from `origin`. The sum of the policy falls as they rise: with all
 * slacks above the even slack it is at most 1; with all below at least 1, and so it is where one
 * class holds 1 alone. Newton on its logarithm inside that bracket.
 */
static double find_shift(const gra_penalty *self, const gra_class_reference *reference,
                         const double *slack, double origin, double *policy)
{
    int64_t n = reference->classes;
    double even = gra_penalty_even_slack(self, reference), slope;
    double high = even - (gra_min(slack, n) - origin), low = even - (gra_max(slack, n) - origin);
    for (int64_t c = 0; c < n; c++) {
        low = fmax(low, self->slack(self, -reference->log_mass[c]) - (slack[c] - origin));
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
            /* The sum leaps over 1 within a rounding: below the leap no class lacks probability. */
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

/* A slack that is the sum of two this much larger has lost digits that count. */
static const double LOST_DIGITS = 16.0;

/* Slacks are measured from the class whose probability moves most with its slack: its own slack
 * then has all its digits, and those of classes far from it need none. (It may hold little: under
 * chi-squared the others may have grown by 1e6, and move with 1e-6 of their slacks.) */
static double respond_without_pole(const gra_penalty *self, const gra_class_reference *reference,
                                   double *slack, double *policy)
{
    int64_t n = reference->classes, stiffest = 0;
    double origin = gra_min(slack, n), shift = 0.0, slope, total = 1.0;
    for (int i = 0; i < 3; i++) {
        shift = find_shift(self, reference, slack, origin, policy);
        total = total_at(self, reference, slack, origin, shift, policy, &slope);
        double most = 0.0;
        for (int64_t c = 0; c < n; c++) {
            double s = (slack[c] - origin) + shift;
            double moves = policy[c] > 0.0 ? policy[c] * self->log_slope(self, s) : 0.0;
            stiffest = moves > most ? c : stiffest;
            most = fmax(most, moves);
        }
        double distance = fabs(slack[stiffest] - origin);
        if (!(distance > LOST_DIGITS * fmax(1.0, fabs(slack[stiffest] - origin + shift)))) {
            break;
        }
        origin = slack[stiffest];
    }
    for (int64_t c = 0; c < n; c++) {
        slack[c] = (slack[c] - origin) + shift;
        policy[c] /= total; /* 1 but for the rounding of the shift */
    }
    return shift - origin;
}

/* ---- the response above a pole ---- */

typedef struct above_pole {
    const gra_penalty *penalty;
    const gra_class_reference *reference;
    const double *gap; /* of the slacks from the least */
    double *policy;
} above_pole;

/* log of the sum of the policy, against the logarithm of the least slack: falling. */
static double log_total(void *context, double log_least)
{
    const above_pole *self = context;
    gra_sum total = {0.0, 0.0};
    double least = exp(log_least);
    for (int64_t c = 0; c < self->reference->classes; c++) {
        self->policy[c] =
            bounded_exp(self->reference->log_mass[c] +
                        self->penalty->log_ratio(self->penalty, least + self->gap[c]));
        gra_sum_add(&total, self->policy[c]);
    }
    return log(gra_sum_value(total));
}

static double respond_above_pole(const gra_penalty *self, const gra_class_reference *reference,
                                 double *slack, double *policy)
{
    above_pole at = {self, reference, slack, policy};
    int64_t n = reference->classes;
    double before = gra_min(slack, n), most = -INFINITY;
    for (int64_t c = 0; c < n; c++) {
        slack[c] -= before;
        most = slack[c] == 0.0 ? fmax(most, reference->log_mass[c]) : most;
    }
    /* From where a class without a gap holds 1 alone to where no class gains. */
    double high = log(gra_penalty_even_slack(self, reference)),
           low = fmin(high, log(self->slack(self, -most)));
    double at_low = log_total(&at, low), at_high = log_total(&at, high);
    double found = at_low <= 0.0    ? low
                   : at_high >= 0.0 ? high
                                    : gra_root(log_total, &at, low, at_low, high, at_high);
    double total = exp(log_total(&at, found)), least = exp(found);
    for (int64_t c = 0; c < n; c++) {
        slack[c] += least;
        policy[c] /= total; /* 1 but for the rounding of the least slack */
    }
    return least - before;
}

double gra_penalty_respond(const gra_penalty *self, const gra_class_reference *reference,
                           double *slack, double *policy)
{
    return gra_penalty_has_pole(self) ? respond_above_pole(self, reference, slack, policy)
                                      : respond_without_pole(self, reference, slack, policy);
}

/* ---- the path ---- */

/* The policy of the classes with a gap, at slacks theta gap + least; returns its sum and the
 * derivative by -log theta. */
static double rest_at(const gra_penalty *self, const gra_class_reference *reference,
                      const double *gap, double theta, double least, double *policy, double *slope)
{
    gra_sum total = {0.0, 0.0};
    *slope = 0.0;
    for (int64_t c = 0; c < reference->classes; c++) {
        if (gap[c] > 0.0) {
            double slack = theta * gap[c] + least;
            policy[c] = bounded_exp(reference->log_mass[c] + self->log_ratio(self, slack));
            gra_sum_add(&total, policy[c]);
            *slope +=
                policy[c] > 0.0 ? policy[c] * self->log_slope(self, slack) * theta * gap[c] : 0.0;
        }
    }
    return gra_sum_value(total);
}

/* Of the sum before a leap: a class with less does not leap. */
static const double LEAPING = 1e-3;

/*
 * The parameter is how far the best classes have come from where all slacks are equal to all:
 * log((l - l_even) / (l_most - l)), l = log(pi/pi_ref) of theirs, which resolves both ends. Theirs
 * is the least slack, and theta is what leaves the rest to the others.
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
    /* The best hold nearly everything or nearly nothing: their way keeps its digits in both. */
    double even = even_log_ratio(self, reference),
           way = isinf(others) ? -(top + log(best)) - even : log1p(others / best);
    double left = way / (1.0 + exp(x)),
           log_ratio = even + (x > 0.0 ? way - left : way / (1.0 + exp(-x)));
    double least = self->slack(self, log_ratio), rest = -expm1(-left), widest = gra_max(gap, n),
           slope;
    /* log of the sum of the others against log theta: falling. */
    double low = -800.0, high = 800.0,
           at = log((self->slack(self, even) - least) / widest + DBL_MIN);
    double step = high - low, total = 0.0;
    at = isfinite(at) ? fmin(fmax(at, low), high) : 0.0;
    for (int i = 0; i < 200; i++) {
        total = rest_at(self, reference, gap, exp(at), least, policy, &slope);
        if (total > rest) {
            low = at;
        } else {
            high = at;
        }
        double next = at + log(total / rest) * total / slope;
        /* A rounding of the position is all that is left; where the sum leaps within one it is not
         * near. */
        int is_still =
            fabs(next - at) <= DBL_EPSILON * fmax(1.0, fabs(at)) && fabs(total - rest) < 0.5 * rest;
        if (is_still || fabs(total - rest) <= 2.0 * DBL_EPSILON * rest ||
            high - low <= 4.0 * DBL_EPSILON * fabs(low)) {
            break;
        }
        next =
            next > low && next < high && !is_crawling(next - at, step) ? next : 0.5 * (low + high);
        step = next - at;
        at = next;
    }
    double share = total > 0.0 ? rest / total : 1.0; /* 1 but for the rounding of theta */
    /* Where slacks of the others leap over their end within a rounding, those that leap have what
     * the rest of them leave. They hold nearly all before it, and are tied if they are several. */
    double leaping = INFINITY, alone = NAN;
    if (!(total > 0.5 * rest && total < 2.0 * rest)) {
        double sum = 0.0, left_of_rest = rest;
        int64_t tied = 0;
        /* before the leap */
        leaping = LEAPING * rest_at(self, reference, gap, exp(low), least, policy, &slope);
        for (int64_t c = 0; c < n; c++) {
            tied += gap[c] > 0.0 && policy[c] >= leaping;
            sum += gap[c] > 0.0 && policy[c] >= leaping ? policy[c] : 0.0;
            left_of_rest -= gap[c] > 0.0 && policy[c] < leaping ? policy[c] : 0.0;
        }
        left_of_rest = fmax(0.0, left_of_rest);
        share = sum > 0.0 ? left_of_rest / sum : 0.0;
        alone = tied == 1 ? left_of_rest : NAN; /* without a rounding */
    }
    double theta = exp(at);
    for (int64_t c = 0; c < n; c++) {
        int leaps = gap[c] > 0.0 && policy[c] >= leaping;
        policy[c] = gap[c] == 0.0 ? exp(-left) * (exp(reference->log_mass[c] - top) / best)
                    : leaps || isinf(leaping) ? share * policy[c]
                                              : policy[c];
        policy[c] = leaps && !isnan(alone) ? alone : policy[c];
        if (slack != NULL) {
            slack[c] = gap[c] == 0.0 ? least
                       : leaps && policy[c] > 0.0
                           ? self->slack(self, log(policy[c]) - reference->log_mass[c])
                           : theta * gap[c] + least;
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

/* ---- one class ---- */

typedef struct meeting {
    const gra_penalty *penalty;
    double lambda, slope, log_mass;
} meeting;

/* The slack at the logarithm of a policy less what it should be: falling. It is the policy that
 * must have its digits, not its ratio to a tiny reference. */
static double excess_slack(void *context, double log_policy)
{
    const meeting *self = context;
    return self->penalty->slack(self->penalty, log_policy - self->log_mass) - self->lambda -
           self->slope * exp(log_policy);
}

double gra_penalty_resolvent(const gra_penalty *self, double mass, double log_mass, double lambda,
                             double slope)
{
    meeting where = {self, lambda, slope, log_mass};
    double low = log_mass, high = log_mass, excess = excess_slack(&where, log_mass);
    (void)mass;
    if (!self->lets_go && lambda >= self->slack_most) {
        return 0.0;
    }
    if (excess > 0.0) {
        for (double step = 1.0;
             excess_slack(&where, high = fmin(log_mass + step, 705.0)) > 0.0 && high < 705.0;
             step *= 2.0) {
            low = high;
        }
    } else {
        for (double step = 1.0; excess_slack(&where, low = log_mass - step) < 0.0 && step < 1e6;
             step *= 2.0) {
            high = low;
        }
    }
    return exp(gra_root(excess_slack, &where, low, excess_slack(&where, low), high,
                        excess_slack(&where, high)));
}

int gra_penalty_holds(const gra_penalty *self)
{
    return self->form != GRA_ABSENT && self->form != GRA_STEP && !self->lets_go;
}
