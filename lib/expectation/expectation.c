#include "expectation/expectation.h"

#include <math.h>
#include <string.h>

#include "base/status.h"

/* No quadrature costs as many nanoseconds where enumeration does. */
static const double WORTH_COMPARING = 1e9;

/* What the method AUTO stands for, its rules being built. */
static int32_t cheapest(const gra_expectation *self)
{
    double enumeration = gra_enumeration_cost(self);
    return self->levels == 2 ? GRPOALIGN_EXPECTATION_BERNSTEIN
           : enumeration < WORTH_COMPARING && enumeration < gra_quadrature_cost(self)
               ? GRPOALIGN_EXPECTATION_ENUMERATION
               : GRPOALIGN_EXPECTATION_QUADRATURE;
}

grpoalign_status gra_expectation_init(gra_expectation *self, const double *x, int64_t levels,
                                      const gra_group_rule *rule, int32_t method,
                                      grpoalign_error *error)
{
    int64_t group_size = rule->group_size;
    int of_others = rule->divisor == GRA_OVER_STD_OF_OTHERS;
    memset(self, 0, sizeof *self);
    self->divisor = rule->divisor;
    self->levels = levels;
    self->group_size = group_size;
    self->members = of_others ? group_size - 1 : group_size;
    self->raw = rule->raw;
    /* A = (x - mean) / (S c + eps) with c = sqrt(G/(G - ddof)) is (1/c) (x - mean) / (S +
     * eps/c). */
    int64_t ddof = of_others ? 1 : rule->ddof;
    double shrink = sqrt((double)(self->members - ddof) / (double)self->members);
    shrink = rule->divisor == GRA_OVER_MEAN ? 1.0 : shrink;
    self->factor = rule->gain * shrink;
    self->epsilon =
        rule->epsilon * (rule->divisor == GRA_OVER_STD_INSIDE ? shrink * shrink : shrink);
    self->x = gra_alloc(levels, sizeof(double));
    if (self->x == NULL) {
        return gra_fail_memory(error);
    }
    memcpy(self->x, x, (size_t)levels * sizeof(double));
    /* Advantages are bounded by sqrt(G) where the divisor sees the member itself; strengths are
     * not. */
    self->least_divisor = of_others ? fmin(1.0, gra_least_std(self) + self->epsilon) : 1.0;
    if (method == GRPOALIGN_EXPECTATION_BERNSTEIN && levels > 2) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 0, -1,
                        "expectation = bernstein needs two reward levels, these are %lld",
                        (long long)levels);
    }
    if (method == GRPOALIGN_EXPECTATION_ENUMERATION &&
        gra_enumeration_count(levels, group_size - 1) > GRA_ENUMERATION_LIMIT) {
        return gra_fail(
            error, GRPOALIGN_ERR_TOO_LARGE, 0, -1,
            "expectation = enumeration would visit %.2g compositions, the limit is %.2g",
            gra_enumeration_count(levels, group_size - 1), GRA_ENUMERATION_LIMIT);
    }
    if (method == GRPOALIGN_EXPECTATION_QUADRATURE ||
        (method == GRPOALIGN_EXPECTATION_AUTO && levels > 2)) {
        if (!(rule->divisor == GRA_OVER_MEAN ? gra_laplace_rules_init(self)
                                             : gra_scale_rules_init(self))) {
            return gra_fail_memory(error);
        }
    }
    self->method = method == GRPOALIGN_EXPECTATION_AUTO ? cheapest(self) : method;
    return GRPOALIGN_OK;
}

void gra_expectation_free(gra_expectation *self)
{
    gra_release(self->x);
    self->x = NULL;
    gra_scale_rule_free(&self->fine);
    gra_scale_rule_free(&self->coarse);
    gra_scale_rule_free(&self->check);
}

/* sum_m w_m a_m = 0 gives the advantage of a dominant level from the others without their
 * cancellation. */
static void finish_dominant(const gra_expectation *self, const double *w, double *a)
{
    for (int64_t m = 0; m < self->levels; m++) {
        if (w[m] > 0.5) {
            double sum = 0.0;
            for (int64_t l = 0; l < self->levels; l++) {
                sum += l != m ? w[l] * a[l] : 0.0;
            }
            a[m] = -sum / w[m];
        }
    }
}

/* The integral over the nodes of a rule. */
static int integrate(const gra_expectation *self, const gra_scale_rule *rule, const double *w,
                     double *a, double *jacobian, gra_arena *arena)
{
    return self->divisor == GRA_OVER_MEAN
               ? gra_laplace_evaluate(self, rule, w, a, jacobian, arena)
               : gra_quadrature_evaluate(self, rule, w, a, jacobian, arena);
}

/* a_m = inverse divisor (x_m - sum w x): what is known of the std of others. */
static int by_divisor(const gra_expectation *self, const double *w, double *a, double *jacobian,
                      gra_arena *arena)
{
    int64_t levels = self->levels;
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *gradient = gra_arena_doubles(arena, levels), sum = 0.0;
    int64_t heaviest = 0;
    if (gradient == NULL) {
        return 0;
    }
    double inverse_divisor;
    int done = gra_expectation_inverse_divisor(self, w, &inverse_divisor,
                                               jacobian != NULL ? gradient : NULL, arena);
    for (int64_t l = 1; l < levels; l++) {
        heaviest = w[l] > w[heaviest] ? l : heaviest;
    }
    for (int64_t l = 0; l < levels; l++) {
        sum += w[l] * (self->x[l] - self->x[heaviest]);
    }
    for (int64_t m = 0; done && m < levels; m++) {
        double distance = (self->x[m] - self->x[heaviest]) - sum;
        if (a != NULL) {
            a[m] = inverse_divisor * distance;
        }
        for (int64_t l = 0; jacobian != NULL && l < levels; l++) {
            jacobian[m * levels + l] =
                distance * gradient[l] - inverse_divisor * (self->x[l] - self->x[heaviest]);
        }
    }
    gra_arena_rewind(arena, mark);
    return done;
}

int gra_expectation_advantage(const gra_expectation *self, const double *w, int accuracy, double *a,
                              gra_arena *arena)
{
    int done = 1;
    if (self->divisor == GRA_OVER_STD_OF_OTHERS) {
        return by_divisor(self, w, a, NULL, arena);
    }
    if (self->method == GRPOALIGN_EXPECTATION_BERNSTEIN) {
        gra_contrast contrast = gra_contrast_of(self, self->x[0], self->x[1]);
        double gap = gra_bernstein_gap(&contrast, w[1], w[0], NULL);
        a[0] = -w[1] * gap;
        a[1] = w[0] * gap;
        return 1;
    }
    if (self->method == GRPOALIGN_EXPECTATION_ENUMERATION) {
        done = gra_enumeration_advantage(self, w, a, arena);
    } else {
        done = integrate(self, accuracy == GRA_COARSE ? &self->coarse : &self->fine, w, a, NULL,
                         arena);
    }
    if (done) {
        finish_dominant(self, w, a);
    }
    return done;
}

int gra_expectation_check(const gra_expectation *self, const double *w, double *a, gra_arena *arena)
{
    if (self->check.t == NULL || self->divisor == GRA_OVER_STD_OF_OTHERS) {
        return -1;
    }
    if (!integrate(self, &self->check, w, a, NULL, arena)) {
        return 0;
    }
    finish_dominant(self, w, a);
    return 1;
}

int gra_expectation_jacobian(const gra_expectation *self, const double *w, int accuracy, double *a,
                             double *jacobian, gra_arena *arena)
{
    if (self->divisor == GRA_OVER_STD_OF_OTHERS) {
        return by_divisor(self, w, a, jacobian, arena);
    }
    if (a != NULL && !gra_expectation_advantage(self, w, GRA_EXACT, a, arena)) {
        return 0;
    }
    if (self->method == GRPOALIGN_EXPECTATION_BERNSTEIN) {
        gra_contrast contrast = gra_contrast_of(self, self->x[0], self->x[1]);
        double slope, gap = gra_bernstein_gap(&contrast, w[1], w[0], &slope);
        jacobian[0] = 0.0;
        jacobian[1] = -gap - w[1] * slope;
        jacobian[2] = gap;
        jacobian[3] = w[0] * slope;
        return 1;
    }
    return self->method == GRPOALIGN_EXPECTATION_ENUMERATION
               ? gra_enumeration_jacobian(self, w, jacobian, arena)
               : integrate(self, accuracy == GRA_COARSE ? &self->coarse : &self->fine, w, NULL,
                           jacobian, arena);
}

int gra_expectation_inverse_divisor(const gra_expectation *self, const double *w,
                                    double *inverse_divisor, double *gradient, gra_arena *arena)
{
    if (self->method == GRPOALIGN_EXPECTATION_BERNSTEIN) {
        gra_contrast contrast = gra_contrast_of(self, self->x[0], self->x[1]);
        double distance = self->x[1] - self->x[0];
        *inverse_divisor =
            gra_bernstein_gap(&contrast, w[1], w[0], gradient != NULL ? &gradient[1] : NULL) /
            distance;
        if (gradient != NULL) {
            gradient[0] = 0.0;
            gradient[1] /= distance;
        }
        return 1;
    }
    return self->method == GRPOALIGN_EXPECTATION_ENUMERATION
               ? gra_enumeration_inverse_divisor(self, w, inverse_divisor, gradient, arena)
               : gra_quadrature_inverse_divisor(self, w, inverse_divisor, gradient, arena);
}
