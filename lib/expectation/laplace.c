/*
 * Groups over their mean: any number of levels, any group size. With X = x + epsilon, phi = sum_l
 * w_l exp(-t X_l) and psi = sum_l w_l X_l exp(-t X_l),
 *
 *   1/sum X = int_0^inf exp(-t sum X) dt
 *   a_m = E[(x_m - mean) / (mean + epsilon)] = (G-1) int exp(-t X_m) phi^(G-2) [X_m phi - psi] dt.
 *
 * A group whose X are all 0 adds nothing. The trapezoidal rule in log t with step h has relative
 * error 2 |Gamma(1 + 2 pi i/h)| for every group at once; below t0 the integrand of the largest
 * group is t itself to rounding.
 */
#include "expectation/expectation.h"

#include <math.h>
#include <string.h>

#include "linalg/linalg.h"

static const double FINE_STEP = 1.0 / 4.0;   /* 2 |Gamma(1 + 2 pi i/h)| = 2e-16 */
static const double COARSE_STEP = 1.0 / 2.0; /* 5e-8 */
static const double CHECK_SHIFT = 0.93;
static const double LOG_ROUNDING = 39.0; /* exp(-39) = 1e-17 */

static int build(gra_scale_rule *rule, double step, double low, double high)
{
    double span = log(high) - log(low);
    rule->count = (int64_t)ceil(span / step) + 1;
    rule->t = gra_alloc(rule->count, sizeof(double));
    rule->weight = gra_alloc(rule->count, sizeof(double));
    if (rule->t == NULL || rule->weight == NULL) {
        return 0;
    }
    for (int64_t i = 0; i < rule->count; i++) {
        rule->t[i] = exp(log(low) + (double)i * step);
        rule->weight[i] = step * rule->t[i];
    }
    return 1;
}

int gra_laplace_rules_init(gra_expectation *self)
{
    double size = (double)self->group_size,
           most = size * (self->x[self->levels - 1] + self->epsilon);
    double least = size * (self->x[0] + self->epsilon);
    least = least > 0.0 ? least : self->x[1]; /* one member above 0 */
    least = fmax(least, 1e-300);              /* less divides by nothing that counts */
    double low = exp(-LOG_ROUNDING) / most, high = LOG_ROUNDING / least;
    return build(&self->fine, FINE_STEP, low, high) &&
           build(&self->check, FINE_STEP, CHECK_SHIFT * low, high) &&
           build(&self->coarse, COARSE_STEP, low, high);
}

/* Rows of the Jacobian's product gathered before it is formed. */
enum { STACK_ROWS = 128 };

int gra_laplace_evaluate(const gra_expectation *self, const gra_scale_rule *rule, const double *w,
                         double *a, double *jacobian, gra_arena *arena)
{
    gra_arena_mark_t mark = gra_arena_mark(arena);
    int64_t levels = self->levels, rows = 0;
    double n = (double)self->group_size - 1.0, least = self->x[0] + self->epsilon;
    double *k = gra_arena_doubles(arena, levels), *d = gra_arena_doubles(arena, levels);
    double *left = jacobian != NULL ? gra_arena_doubles(arena, levels * STACK_ROWS) : NULL;
    double *right = jacobian != NULL ? gra_arena_doubles(arena, levels * STACK_ROWS) : NULL;
    if (k == NULL || d == NULL || (jacobian != NULL && (left == NULL || right == NULL))) {
        gra_arena_rewind(arena, mark);
        return 0;
    }
    if (a != NULL) {
        memset(a, 0, (size_t)levels * sizeof(double));
    }
    if (jacobian != NULL) {
        memset(jacobian, 0, (size_t)(levels * levels) * sizeof(double));
    }
    for (int64_t i = 0; i < rule->count; i++) {
        double t = rule->t[i], phi = 0.0, psi = 0.0;
        int64_t heaviest = 0;
        for (int64_t l = 0; l < levels; l++) {
            k[l] = exp(-t * (self->x[l] - self->x[0]));
            heaviest = w[l] * k[l] > w[heaviest] * k[heaviest] ? l : heaviest;
        }
        /* Rewards are measured from the one that weighs most here: differences of near ones keep
         * their digits. */
        for (int64_t l = 0; l < levels; l++) {
            d[l] = self->x[l] - self->x[heaviest];
            phi += w[l] * k[l];
            psi += w[l] * d[l] * k[l];
        }
        /* Groups of two have no rest: phi, which may have underflowed, does not come in. */
        double log_rest = (n > 1.0 ? (n - 1.0) * log(phi) : 0.0) - (n + 1.0) * t * least;
        double rest = phi > 0.0 || n == 1.0 ? self->factor * rule->weight[i] * exp(log_rest) : 0.0;
        if (!(rest > 0.0)) {
            continue;
        }
        for (int64_t m = 0; a != NULL && m < levels; m++) {
            a[m] += n * rest * k[m] * (d[m] * phi - psi);
        }
        /* d a_m/d w_l = (G-1) sum rest k_m k_l [(G-1) X_m - X_l - (G-2) psi/phi]. */
        if (jacobian != NULL) {
            double shift = n > 1.0 ? (n - 1.0) * psi / phi : 0.0;
            for (int64_t l = 0; l < levels; l++) {
                left[rows * levels + l] = n * rest * k[l] * (n * d[l] - shift);
                right[rows * levels + l] = k[l];
                left[(rows + 1) * levels + l] = -n * rest * k[l];
                right[(rows + 1) * levels + l] = k[l] * d[l];
            }
            rows += 2;
        }
        if (rows == STACK_ROWS) {
            gra_matmul_transposed(levels, levels, rows, 1.0, left, levels, right, levels, 1.0,
                                  jacobian, levels);
            rows = 0;
        }
    }
    if (rows > 0) {
        gra_matmul_transposed(levels, levels, rows, 1.0, left, levels, right, levels, 1.0, jacobian,
                              levels);
    }
    gra_arena_rewind(arena, mark);
    return 1;
}
