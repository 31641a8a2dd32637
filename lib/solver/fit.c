/*
 * The beta of largest likelihood.
 *
 * The gain of a policy over the reference is the mean of log(pi/pi_ref) over what was observed. The
 * branch is gone down, every maximum that the samples show is refined, and the best one is brought
 * to the root of the gain's slope in log beta. Slope and curvature come from differences of log pi
 * at seven betas.
 */
#include "solver/sampling.h"

#include <float.h>
#include <math.h>

#include "base/numeric.h"
#include "base/status.h"

/* The gain at a beta. */
typedef struct gain {
    double beta, value;
    int apart; /* from the one above: the branch jumps between them */
} gain;

typedef struct fitting {
    gra_sampling sampling;
    double *weight;     /* per outcome: the part of it in the observations */
    double total, size; /* of the observations; of what rounding the gain is subject to */
    gain *gains;
    int64_t count, capacity;
    gra_sample here;
    grpoalign_status stop;
} fitting;

/* ---- the gain -------------------------------------------------------------------------------- */

/* The mean of log(pi/pi_ref), or of log pi less `from` where that is given. */
static double mean_gain(const fitting *self, const grpoalign_solution *solution, const double *from)
{
    const double *base = from != NULL ? from : self->sampling.problem->reference->logarithm;
    gra_sum sum = {0.0, 0.0};
    for (int64_t o = 0; o < solution->outcomes; o++) {
        if (self->weight[o] > 0.0) {
            gra_sum_add_product(&sum, self->weight[o], solution->log_policy[o] - base[o]);
        }
    }
    double value = gra_sum_value(sum);
    return isfinite(value) ? value : -DBL_MAX; /* something observed was lost */
}

static grpoalign_status add_gain(fitting *self, const gra_sample *at, int apart)
{
    gain *gains = gra_arena_grow(&self->sampling.arena, self->gains, self->count, &self->capacity,
                                 sizeof *gains);
    if (gains == NULL) {
        return gra_fail_memory(self->sampling.error);
    }
    self->gains = gains;
    gains[self->count++] = (gain){at->beta, mean_gain(self, at->solution, NULL), apart};
    return GRPOALIGN_OK;
}

static grpoalign_status judge(void *client, const gra_sample *above, const gra_sample *below,
                              int *verdict)
{
    fitting *self = client;
    *verdict = gra_sampling_is_long(above, below) ? GRA_HALVE : GRA_GO_ON;
    if (*verdict == GRA_HALVE) {
        return GRPOALIGN_OK;
    }
    if (self->count == 0 && above->there) {
        GRA_TRY(add_gain(self, above, 1));
    }
    return below->there ? add_gain(self, below, gra_sampling_is_jump(above, below)) : GRPOALIGN_OK;
}

static double loss(void *context, double log_beta)
{
    fitting *self = context;
    if (self->stop >= 0) {
        self->stop = gra_sampling_look(&self->sampling, exp(log_beta), NULL, &self->here);
    }
    return self->stop >= 0 && self->here.there ? -mean_gain(self, self->here.solution, NULL)
                                               : DBL_MAX;
}

/* ---- slope and curvature --------------------------------------------------------------------- */

enum { REACH = 3 };

typedef struct slopes {
    double slope, curvature; /* of the gain, in log beta */
    double off;              /* how far two formulas for the curvature are apart, relative */
} slopes;

/* Central differences of orders four and six, by what the neighbours gain over the middle. */
static slopes slopes_of(const double *left, const double *right, double h)
{
    double odd[REACH], even[REACH];
    for (int k = 0; k < REACH; k++) {
        odd[k] = right[k] - left[k];
        even[k] = right[k] + left[k];
    }
    double fourth = (16.0 * even[0] - even[1]) / (12.0 * h * h);
    slopes found = {.slope = (45.0 * odd[0] - 9.0 * odd[1] + odd[2]) / (60.0 * h),
                    .curvature =
                        (270.0 * even[0] - 27.0 * even[1] + 2.0 * even[2]) / (180.0 * h * h)};
    found.off = fabs(found.curvature - fourth) / fabs(found.curvature);
    return found;
}

static grpoalign_status differences(fitting *self, double beta, double h, slopes *out)
{
    gra_sample middle = {.beta = 0.0};
    double side[2][REACH];
    int whole = 1;
    grpoalign_status status = gra_sampling_look(&self->sampling, beta, NULL, &middle);
    for (int k = 0; k < 2 * REACH && status >= 0; k++) {
        double away = (k % 2 == 0 ? -h : h) * (double)(k / 2 + 1);
        status = gra_sampling_look(&self->sampling, beta * exp(away), NULL, &self->here);
        if (status >= 0) {
            side[k % 2][k / 2] = mean_gain(self, self->here.solution, middle.solution->log_policy);
            whole = whole && self->here.there && middle.there;
        }
    }
    *out = whole && status >= 0 ? slopes_of(side[0], side[1], h)
                                : (slopes){.curvature = NAN, .off = INFINITY};
    gra_sample_clear(&middle);
    return status < 0 ? status : GRPOALIGN_OK;
}

/* Steps of differences in log beta, the first that is good enough; where none is the curvature is
 * NaN. */
static const double WIDEST = 0.02, NARROWER = 0.25, GOOD_ENOUGH = 1e-7, HARDLY_ENOUGH = 1e-2;
enum { STEPS = 5 };

static grpoalign_status find_slopes(fitting *self, double beta, slopes *out)
{
    slopes best = {.curvature = NAN, .off = INFINITY};
    double h = WIDEST;
    for (int k = 0; k < STEPS && !(best.off <= GOOD_ENOUGH); k++, h *= NARROWER) {
        slopes found;
        GRA_TRY(differences(self, beta, h, &found));
        best = found.off < best.off ? found : best;
    }
    best.curvature = best.off <= HARDLY_ENOUGH ? best.curvature : NAN;
    *out = best;
    return GRPOALIGN_OK;
}

/* ---- the best -------------------------------------------------------------------------------- */

/* What rounding leaves of the gain. */
static double rounding(const fitting *self)
{
    return 8.0 * DBL_EPSILON * self->size;
}

/* The best of the maxima that the samples show; *inside is 0 where it is an end of the range. */
static grpoalign_status find_best(fitting *self, gain *best, int *inside)
{
    const gain *gains = self->gains;
    *best = (gain){.value = -INFINITY};
    for (int64_t i = 0; i < self->count; i++) {
        int edge_above = i == 0 || gains[i].apart,
            edge_below = i + 1 == self->count || gains[i + 1].apart;
        if ((!edge_above && gains[i - 1].value > gains[i].value) ||
            (!edge_below && gains[i + 1].value > gains[i].value)) {
            continue;
        }
        gain found = gains[i];
        if (!edge_above || !edge_below) {
            double low = log(gains[edge_below ? i : i + 1].beta), at,
                   high = log(gains[edge_above ? i : i - 1].beta);
            double value = -gra_golden_sections(loss, self, low, high, -INFINITY, &at);
            GRA_TRY(self->stop);
            found = value > found.value ? (gain){exp(at), value, 0} : found;
        }
        *best = found.value > best->value ? found : *best;
    }
    double end = fmax(gains[0].value, gains[self->count - 1].value);
    *inside = best->value > end + rounding(self);
    return GRPOALIGN_OK;
}

/* Newton on the slope takes the beta of the best to more digits than values tell. */
static grpoalign_status sharpen(fitting *self, gain *best, double *curvature)
{
    const double farthest = 1e-3;
    enum { NEWTON_STEPS = 3 };
    for (int k = 0; k < NEWTON_STEPS; k++) {
        slopes here;
        GRA_TRY(find_slopes(self, best->beta, &here));
        *curvature = here.curvature;
        double step = -here.slope / here.curvature;
        if (!(here.curvature < 0.0) || !(fabs(step) < farthest)) {
            return GRPOALIGN_OK;
        }
        best->beta *= exp(step);
        if (fabs(step) < 4.0 * DBL_EPSILON) {
            break;
        }
    }
    return GRPOALIGN_OK;
}

/* ---- the fit --------------------------------------------------------------------------------- */

/* Log ratios below this tell observations from the reference no more. */
static const double TOO_NEAR = 1e-8;

/* Above this beta the observations do not tell. */
static double start(const fitting *self)
{
    double distance = gra_sampling_distance(&self->sampling, &self->here);
    return self->sampling.scale * fmax(1.0, distance / TOO_NEAR);
}

static int load(fitting *self, const double *observed)
{
    const grpoalign_reference *reference = self->sampling.problem->reference;
    int64_t n = reference->outcomes;
    self->weight = gra_arena_doubles(&self->sampling.arena, n);
    self->total = gra_total(observed, n);
    for (int64_t o = 0; self->weight != NULL && o < n; o++) {
        self->weight[o] = observed[o] / self->total;
        self->size += self->weight[o] > 0.0 ? self->weight[o] * fabs(reference->logarithm[o]) : 0.0;
    }
    return self->weight != NULL;
}

/* What the observed frequencies themselves are worth, and the reference, per observation. */
static void fill(const fitting *self, const gain *best, double curvature, grpoalign_fit_report *fit)
{
    const grpoalign_reference *reference = self->sampling.problem->reference;
    gra_sum most = {0.0, 0.0}, before = {0.0, 0.0};
    for (int64_t o = 0; o < reference->outcomes; o++) {
        double w = self->weight[o];
        if (w > 0.0) {
            gra_sum_add_product(&most, w, log(w));
            gra_sum_add_product(&before, w, reference->logarithm[o]);
        }
    }
    fit->struct_size = sizeof *fit;
    fit->beta = best->beta;
    fit->beta_se = curvature < 0.0 ? best->beta / sqrt(-curvature * self->total) : NAN;
    fit->log_likelihood = self->total * (gra_sum_value(before) + best->value);
    fit->log_likelihood_reference = self->total * gra_sum_value(before);
    fit->log_likelihood_most = self->total * gra_sum_value(most);
    fit->observations = self->total;
}

/* Finds the best, its curvature (NaN: none), and why it is no maximum inside the range, or NULL. */
static grpoalign_status find(fitting *self, const gra_search_range *range, gain *best,
                             double *curvature, const char **why)
{
    const gra_descent descent = {self, judge};
    int inside = 0;
    GRA_TRY(gra_sampling_find_scale(&self->sampling, &self->here));
    double high = start(self);
    double low = range->low > 0.0 ? range->low : fmax(1e-150, 1e-16 * self->sampling.scale);
    int open_above = range->high == 0.0 || range->high > high;
    high = fmax(low, open_above ? high : range->high);
    GRA_TRY(gra_sampling_descend(&self->sampling, &descent, high, low));
    *curvature = NAN;
    if (self->count == 0) { /* one beta only, or none that has a stationary policy */
        GRA_TRY(add_gain(self, &self->sampling.ends[0], 1));
    }
    GRA_TRY(find_best(self, best, &inside));
    if (open_above && best->value <= rounding(self)) {
        *best = self->gains[0];
        *why = "the likelihood is the largest at the reference itself, where beta is infinite: "
               "what was observed shows no training";
    } else if (!inside) {
        *why = self->gains[0].value < best->value - rounding(self)
                   ? "the likelihood is the largest at the lowest beta of the range, or the lowest "
                     "that has a stationary policy"
                   : "the likelihood is the largest at beta_high";
    }
    return *why == NULL ? sharpen(self, best, curvature) : GRPOALIGN_OK;
}

grpoalign_status gra_fit(const grpoalign_problem *problem, const double *observed,
                         const gra_search_range *range, const grpoalign_solve_options *options,
                         grpoalign_solution **out, grpoalign_fit_report *fit,
                         grpoalign_error *error)
{
    fitting self = {.stop = GRPOALIGN_OK};
    gain best = {.beta = 0.0};
    double curvature = NAN;
    const char *why = NULL;
    grpoalign_status status = gra_sampling_open(&self.sampling, problem, options, error);
    if (status >= 0) {
        status = load(&self, observed) ? find(&self, range, &best, &curvature, &why)
                                       : gra_fail_memory(error);
    }
    if (status >= 0) {
        status = gra_sampling_solve(&self.sampling, best.beta, options->stability, out);
    }
    if (status >= 0) {
        best.value = mean_gain(&self, *out, NULL);
        fill(&self, &best, curvature, fit);
    }
    if (status >= 0 && why != NULL) {
        status = gra_fail(error, GRPOALIGN_UNREACHABLE, 0, -1, "%s", why);
    }
    gra_sample_clear(&self.here);
    gra_sampling_close(&self.sampling);
    return status;
}
