#include "expectation/expectation.h"

#include <math.h>
#include <string.h>

#include "base/status.h"

/* No quadrature costs as many nanoseconds where enumeration does. */
static const double WORTH_COMPARING = 1e9;

grpoalign_status gra_expectation_init(gra_expectation *self, const double *x, int64_t levels, int64_t group_size,
                                      double epsilon, int32_t ddof, int32_t method, grpoalign_error *error)
{
    memset(self, 0, sizeof *self);
    self->levels = levels;
    self->group_size = group_size;
    /* A = (x - mean) / (S c + eps) with c = sqrt(G/(G - ddof)) is (1/c) (x - mean) / (S + eps/c). */
    self->factor = sqrt((double)(group_size - ddof) / (double)group_size);
    self->epsilon = epsilon * self->factor;
    self->x = gra_alloc(levels, sizeof(double));
    if (self->x == NULL) {
        return gra_fail_memory(error);
    }
    memcpy(self->x, x, (size_t)levels * sizeof(double));
    if (method == GRPOALIGN_EXPECTATION_BERNSTEIN && levels > 2) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 0, -1,
                        "expectation = bernstein needs two reward levels, these are %lld", (long long)levels);
    }
    if (method == GRPOALIGN_EXPECTATION_ENUMERATION &&
        gra_enumeration_count(levels, group_size - 1) > GRA_ENUMERATION_LIMIT) {
        return gra_fail(error, GRPOALIGN_ERR_TOO_LARGE, 0, -1,
                        "expectation = enumeration would visit %.2g compositions, the limit is %.2g",
                        gra_enumeration_count(levels, group_size - 1), GRA_ENUMERATION_LIMIT);
    }
    if (method == GRPOALIGN_EXPECTATION_AUTO && levels == 2) {
        method = GRPOALIGN_EXPECTATION_BERNSTEIN;
    }
    if (method == GRPOALIGN_EXPECTATION_AUTO || method == GRPOALIGN_EXPECTATION_QUADRATURE) {
        if (!gra_scale_rules_init(self)) {
            return gra_fail_memory(error);
        }
        if (method == GRPOALIGN_EXPECTATION_AUTO) {
            double enumeration = gra_enumeration_cost(self);
            method = enumeration < WORTH_COMPARING && enumeration < gra_quadrature_cost(self)
                         ? GRPOALIGN_EXPECTATION_ENUMERATION
                         : GRPOALIGN_EXPECTATION_QUADRATURE;
        }
    }
    self->method = method;
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

/* sum_m w_m a_m = 0 gives the advantage of a dominant level from the others without their cancellation. */
static void settle_dominant(const gra_expectation *self, const double *w, double *a)
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

int gra_expectation_advantage(const gra_expectation *self, const double *w, int accuracy, double *a, gra_arena *arena)
{
    int done = 1;
    if (self->method == GRPOALIGN_EXPECTATION_BERNSTEIN) {
        double epsilon = self->epsilon / (self->x[1] - self->x[0]);
        double gap = self->factor * gra_bernstein_gap(self->group_size, epsilon, w[1], w[0], NULL);
        a[0] = -w[1] * gap;
        a[1] = w[0] * gap;
        return 1;
    }
    if (self->method == GRPOALIGN_EXPECTATION_ENUMERATION) {
        done = gra_enumeration_advantage(self, w, a, arena);
    } else {
        done = gra_quadrature_evaluate(self, accuracy == GRA_COARSE ? &self->coarse : &self->fine, w, a, NULL, arena);
    }
    if (done) {
        settle_dominant(self, w, a);
    }
    return done;
}

int gra_expectation_check(const gra_expectation *self, const double *w, double *a, gra_arena *arena)
{
    if (self->check.t == NULL) {
        return -1;
    }
    if (!gra_quadrature_evaluate(self, &self->check, w, a, NULL, arena)) {
        return 0;
    }
    settle_dominant(self, w, a);
    return 1;
}

int gra_expectation_jacobian(const gra_expectation *self, const double *w, int accuracy, double *a, double *jacobian,
                             gra_arena *arena)
{
    int done;
    if (a != NULL && !gra_expectation_advantage(self, w, GRA_EXACT, a, arena)) {
        return 0;
    }
    if (self->method == GRPOALIGN_EXPECTATION_BERNSTEIN) {
        double epsilon = self->epsilon / (self->x[1] - self->x[0]), slope;
        double gap = self->factor * gra_bernstein_gap(self->group_size, epsilon, w[1], w[0], &slope);
        slope *= self->factor;
        jacobian[0] = 0.0;
        jacobian[1] = -gap - w[1] * slope;
        jacobian[2] = gap;
        jacobian[3] = w[0] * slope;
        return 1;
    }
    if (self->method == GRPOALIGN_EXPECTATION_ENUMERATION) {
        done = gra_enumeration_jacobian(self, w, jacobian, arena);
    } else {
        done = gra_quadrature_evaluate(self, accuracy == GRA_COARSE ? &self->coarse : &self->fine, w, NULL, jacobian,
                                       arena);
    }
    return done;
}
