/*
 * Gaussian location-scale quadrature (doc/theory.md, section 2.6): any number of levels, any
 * group size.
 *
 *   1/(S+eps) = int_0^inf W(t) exp(-t^2 S^2) dt,   W(t) = 2/sqrt(pi) - 2 eps t erfcx(eps t)
 *   exp(-t^2 S^2) = (1/sqrt(pi)) int prod_i k(y_i) dy,   y_i = t (x_i - c), k(y) = exp(-y^2/G)
 *
 * so that, with phi = sum_j w_j k(y_j) and psi = sum_j w_j y_j k(y_j),
 *
 *   a_m = (G-1)/(G sqrt(pi)) int W dt/t int dy k(y_m) phi^(G-2) [y_m phi - psi].
 *
 * Scale rule. The trapezoidal rule in log t with step h has relative error ~ exp(-pi^2/(2h)) for
 * every S at once. Its infinitely many nodes below t0, where t S <= 1, are compressed into a Gauss
 * rule for the discrete measure sum_k h e^(-kh) delta(e^(-kh)): nine nodes reproduce it to 1e-17 (h
 * = 1/7), five to 1e-9 (h = 2/5).
 *
 * Location rule. The trapezoidal rule in y with step s has relative error 2 exp(-pi^2/s^2) for
 * every group at once, because a group's integrand is a Gaussian of unit width.
 *
 * The same sums give the inverse divisor of the groups whose divisor is the std S of the n others:
 *
 *   E[1/(S+eps); S > 0] = 1/sqrt(pi) int W dt int dy [phi^n - sum_j (w_j k(y_j))^n],   k(y) =
 * exp(-y^2/n).
 *
 * The work is done in blocks of LANES consecutive locations: a block touches the levels within BAND
 * sqrt(G) of it, and is left out when no level lies within REACH (every group's integrand is at
 * most exp(-y^2) for the nearest level y), when it touches one level only (such a group has no
 * spread), or when a group is too unlikely to lie in it.
 */
#include "expectation/expectation.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/vector.h"
#include "linalg/linalg.h"

typedef struct node {
    double t, weight;
} node;

/* Compressed lower halves, for t in units of t0 (weights are for dt). */
static const node FINE_LOW[] = {
    {0.014704576916911100068, 0.037532933106445334322},
    {0.075707340605542186147, 0.083381400001745494109},
    {0.17842444698933215287, 0.12015139877438890813},
    {0.31157707525603040741, 0.1436688890825002136},
    {0.46041538890096821586, 0.15121088870017387984},
    {0.60848331693493654953, 0.14243140274467340419},
    {0.74243425992539414798, 0.12599920776182302488},
    {0.86631778671657649018, 0.12586568637635709434},
    {0.99999519383600852877, 0.14288686697083201462},
};
static const node COARSE_LOW[] = {
    {0.038951960738233159356, 0.098285627175456630794},
    {0.19095613999291931638, 0.19716257654515747524},
    {0.41319926700324288195, 0.23861220308369725842},
    {0.66702757950176898491, 0.27903164233719123943},
    {0.99996655210490657433, 0.40020586354639193885},
};
static const double FINE_SCALE_STEP = 1.0 / 7.0;      /* exp(-pi^2 7/2) = 1e-15 */
static const double COARSE_SCALE_STEP = 2.0 / 5.0;    /* 4e-6 */
static const double FINE_LOCATION_STEP = 33.0 / 64;   /* 2 exp(-pi^2/s^2) = 2e-16; dyadic, so that
                                                        node   offsets are exact */
static const double COARSE_LOCATION_STEP = 63.0 / 64; /* 8e-5 */
static const double CHECK_LOCATION_STEP = 31.0 / 64;  /* other nodes than the fine ones, */
static const double CHECK_SHIFT = 0.93;               /* in scale as well */

enum { VECTORS = 2, LANES = VECTORS * GRA_WIDTH, STACK_ROWS = 8 * LANES };
static const double REACH = 6.25; /* exp(-REACH^2) = 1e-17 */
static const double BAND = 6.25;  /* k(BAND sqrt(G)) = 1e-17 */
static const double NEGLIGIBLE_LOG_POWER =
    -46.0; /* log(1e-20): a bound on phi^(G-2) worth computing */
static const int64_t LARGE_GROUP =
    32; /* above, 1 - phi is summed instead of phi: phi^G loses G roundings */

/* W(t). Inside the root epsilon is one more squared distance. */
static double weight_at(const gra_expectation *self, double t)
{
    return self->divisor == GRA_OVER_STD_INSIDE ? gra_std_weight(0.0) * exp(-self->epsilon * t * t)
                                                : gra_std_weight(self->epsilon * t);
}

static int rule_build(const gra_expectation *self, gra_scale_rule *rule, const node *low, int lows,
                      double scale_step, double location_step, double t0, double end)
{
    int64_t highs = end > t0 ? (int64_t)ceil((log(end) - log(t0)) / scale_step) : 0;
    rule->step = location_step;
    rule->count = 0;
    rule->t = gra_alloc(lows + highs, sizeof(double));
    rule->weight = gra_alloc(lows + highs, sizeof(double));
    if (rule->t == NULL || rule->weight == NULL) {
        return 0;
    }
    /* The factor 1/t of the integrand is part of the weight; for t > t0, dt/t is the step. */
    for (int i = 0; i < lows; i++) {
        rule->t[rule->count] = t0 * low[i].t;
        rule->weight[rule->count++] = weight_at(self, t0 * low[i].t) * low[i].weight / low[i].t;
    }
    for (int64_t i = 1; i <= highs; i++) {
        double t = t0 * exp((double)i * scale_step);
        rule->t[rule->count] = t;
        rule->weight[rule->count++] = weight_at(self, t) * scale_step;
    }
    return 1;
}

/* Levels of a range of about 1 that differ by less than this differ by nothing that a double can
 * divide by: they count as one. */
static const double LEAST_GAP = 1e-300;

double gra_least_std(const gra_expectation *self)
{
    double members = (double)self->members, gap = self->x[self->levels - 1] - self->x[0];
    for (int64_t l = 1; l < self->levels; l++) {
        gap = fmin(gap, fmax(LEAST_GAP, self->x[l] - self->x[l - 1]));
    }
    return gap * sqrt(members - 1.0) / members;
}

int gra_scale_rules_init(gra_expectation *self)
{
    /* Half the range bounds S from above. With epsilon > 0 the groups with S < 1e-16 epsilon /
     * sqrt(G) cannot matter. */
    double size = (double)self->members, largest = 0.5 * (self->x[self->levels - 1] - self->x[0]);
    double smallest = gra_least_std(self), t0, end;
    if (self->divisor == GRA_OVER_STD_INSIDE) {
        t0 = 1.0 / hypot(largest, sqrt(self->epsilon));
        end = REACH / hypot(smallest, sqrt(self->epsilon)); /* squares could be no doubles */
    } else {
        t0 = 1.0 / fmax(largest, self->epsilon);
        end = REACH / fmax(smallest, 1e-16 * self->epsilon / sqrt(size));
    }
    return rule_build(self, &self->fine, FINE_LOW, (int)(sizeof FINE_LOW / sizeof *FINE_LOW),
                      FINE_SCALE_STEP, FINE_LOCATION_STEP, t0, end) &&
           rule_build(self, &self->check, FINE_LOW, (int)(sizeof FINE_LOW / sizeof *FINE_LOW),
                      FINE_SCALE_STEP, CHECK_LOCATION_STEP, CHECK_SHIFT * t0, end) &&
           rule_build(self, &self->coarse, COARSE_LOW,
                      (int)(sizeof COARSE_LOW / sizeof *COARSE_LOW), COARSE_SCALE_STEP,
                      COARSE_LOCATION_STEP, t0, end);
}

void gra_scale_rule_free(gra_scale_rule *rule)
{
    gra_release(rule->t);
    gra_release(rule->weight);
    rule->t = rule->weight = NULL;
}

typedef struct sweep {
    const gra_expectation *e;
    const double *w;
    const double *before;  /* before[l] = sum of w below level l */
    double least_mass;     /* a block with less mass in its band cannot matter */
    double step, constant; /* of the location rule; factor of the whole integral */
    double lane_scale[LANES], lane_offset[LANES]; /* exp(-(i s)^2 / G) and i s */
    double *y, *k;        /* positions about the block's centre, and kernels (levels x LANES) */
    double *d;            /* positions about the heaviest level of the block */
    double *low, *high;   /* per level and lane: sums for the advantages, or NULL */
    double *left, *right; /* levels x STACK_ROWS, rows for the Jacobian side by side, or NULL */
    int64_t rows, row_from, row_to; /* of the stack, with the levels it covers */
    double *jacobian;
    double inverse_divisor,
        *gradient; /* std of others, instead of all these; the gradient may be NULL */
    int wants_inverse;
} sweep;

static void flush_rows(sweep *s)
{
    if (s->rows > 0) {
        int64_t width = s->row_to - s->row_from, levels = s->e->levels;
        gra_matmul_by_transposed(width, width, s->rows, s->left, STACK_ROWS, s->right, STACK_ROWS,
                                 1.0, s->jacobian + s->row_from * levels + s->row_from, levels);
        s->rows = 0;
    }
}

/* 1 - exp(-a) for 0 <= a < 1/2 by its series, without the cancellation: the term left out is below
 * 1e-18. */
GRA_INLINE gra_vector gone_of(gra_vector a)
{
    gra_vector sum = 1.0 / 87178291200.0 - a * (1.0 / 1307674368000.0);
    sum = 1.0 / 6227020800.0 - a * sum;
    sum = 1.0 / 479001600.0 - a * sum;
    sum = 1.0 / 39916800.0 - a * sum;
    sum = 1.0 / 3628800.0 - a * sum;
    sum = 1.0 / 362880.0 - a * sum;
    sum = 1.0 / 40320.0 - a * sum;
    sum = 1.0 / 5040.0 - a * sum;
    sum = 1.0 / 720.0 - a * sum;
    sum = 1.0 / 120.0 - a * sum;
    sum = 1.0 / 24.0 - a * sum;
    sum = 1.0 / 6.0 - a * sum;
    sum = 0.5 - a * sum;
    return a * (1.0 - a * sum);
}

/* x^i for eight exponents i, each a sum of some of 1, 2 and 4 that the masks have. */
GRA_INLINE gra_vector powers(const int64_t masks[3][GRA_WIDTH], double x)
{
    const gra_vector one = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0};
    gra_vector x1 = x * one, x2 = x1 * x1, x4 = x2 * x2;
    return GRA_CHOOSE(*(const gra_vector_mask *)masks[2], x4, one) *
           (GRA_CHOOSE(*(const gra_vector_mask *)masks[1], x2, one) *
            GRA_CHOOSE(*(const gra_vector_mask *)masks[0], x1, one));
}

static const int64_t UPS[3][GRA_WIDTH] = {
    {0, -1, 0, -1, 0, -1, 0, -1}, {0, 0, -1, -1, 0, 0, -1, -1}, {0, 0, 0, 0, -1, -1, -1, -1}};
/* 7 to 0; times x they are 8 to 1 */
static const int64_t DOWNS[3][GRA_WIDTH] = {
    {-1, 0, -1, 0, -1, 0, -1, 0}, {-1, -1, 0, 0, -1, -1, 0, 0}, {-1, -1, -1, -1, 0, 0, 0, 0}};

/* k[j * LANES + i] = exp(-(y_j - i s)^2 / G), for the levels of a block; in the large-group form 1
 * minus it. */
GRA_INLINE void block_kernels(const sweep *s, int64_t count, int large)
{
    const double inverse = 1.0 / (double)s->e->members;
    for (int64_t j = 0; j < count; j++) {
        gra_vector *k = (gra_vector *)(s->k + j * LANES);
        double y = s->y[j];
        /* exp(-(y - is)^2/G) = exp(-y^2/G) exp(2ys/G)^i exp(-(is)^2/G), powers by doubling. */
        double centre = exp(-y * y * inverse), up = exp(2.0 * y * s->step * inverse),
               down = 1.0 / up;
        k[0] = centre * (powers(DOWNS, down) * down) * *(const gra_vector *)s->lane_scale;
        k[1] = centre * powers(UPS, up) * *(const gra_vector *)(s->lane_scale + GRA_WIDTH);
        for (int h = 0; large && h < VECTORS; h++) {
            gra_vector d = y - *(const gra_vector *)(s->lane_offset + h * GRA_WIDTH),
                       a = d * d * inverse;
            k[h] = GRA_CHOOSE(a < 0.5, gone_of(a), 1.0 - k[h]);
        }
    }
}

/* base^power by squaring. */
GRA_INLINE gra_vector whole_power(gra_vector base, int64_t power)
{
    gra_vector result = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0};
    for (; power > 0; power >>= 1, base *= base) {
        if (power & 1) {
            result *= base;
        }
    }
    return result;
}

/* phi^(G-2), the rest of the group. */
GRA_INLINE gra_vector rest_power(gra_vector phi, gra_vector short_of_one, int64_t power, int large)
{
    if (!large) {
        return whole_power(phi, power);
    }
    gra_vector result = short_of_one;
    for (int i = 0; i < GRA_WIDTH; i++) {
        double gone = short_of_one[i];
        result[i] = gone < 1.0 ? exp((double)power * log1p(-gone)) : 0.0;
    }
    return result;
}

/* e^(n log_total) - largest^n, where e^log_total = largest + rest: no difference of near numbers,
 * and no product of nothing and infinity. */
static double power_gained(double log_total, double ratio, double n)
{
    double growth = n * log1p(ratio);
    return growth < 1.0 ? -exp(n * log_total) * expm1(-growth)
                        : exp(n * log_total) - exp(n * log_total - growth);
}

/* Eight lanes of a block's share of the inverse divisor. */
typedef struct inverse_lanes {
    gra_vector largest, rest, pure; /* own mass of the top level; of the others; their powers */
    gra_vector_mask top;            /* which level that is */
    gra_vector others, without_top; /* for the gradient; 0 where a lane does not count */
} inverse_lanes;

/* Where one level holds nearly everything, what the others add to its own power is formed as that.
 * The powers of the others are at most (1/2)^n: they may lose what squaring loses. */
GRA_INLINE void weigh_levels(const sweep *s, int64_t from, int64_t count, int h, inverse_lanes *out)
{
    const gra_vector none = {0.0};
    out->largest = out->rest = out->pure = none;
    out->top = (gra_vector_mask){0};
    for (int64_t j = 0; j < count; j++) {
        gra_vector own = s->w[from + j] * *(const gra_vector *)(s->k + j * LANES + h * GRA_WIDTH);
        gra_vector_mask more = own > out->largest;
        out->top = (more & j) | (~more & out->top);
        out->largest = GRA_CHOOSE(more, own, out->largest);
    }
    for (int64_t j = 0; j < count; j++) {
        gra_vector own = s->w[from + j] * *(const gra_vector *)(s->k + j * LANES + h * GRA_WIDTH);
        own = GRA_CHOOSE(out->top != j, own, none);
        out->rest += own;
        out->pure += whole_power(own, s->e->members);
    }
}

/* In large groups `gone` is what the levels lack of 1, or NULL: a power of the sum would lose as
 * many roundings as it has factors. */
GRA_INLINE void add_powers(sweep *s, double weight, const double *gone, inverse_lanes *at)
{
    double n = (double)s->e->members;
    for (int i = 0; i < GRA_WIDTH; i++) {
        double largest = at->largest[i], rest = at->rest[i];
        at->others[i] = at->without_top[i] = 0.0;
        if (!(largest > 0.0) || (rest == 0.0 && s->gradient == NULL)) {
            at->top[i] = -1; /* a level without weight yet has its part in the gradient */
            continue;
        }
        int by_gone = gone != NULL && gone[i] < 0.5; /* where that is what keeps the digits */
        double log_total = by_gone ? log1p(-gone[i]) : log(largest + rest);
        s->inverse_divisor += weight * (power_gained(log_total, rest / largest, n) - at->pure[i]);
        if (s->gradient != NULL) {
            at->others[i] = exp((n - 1.0) * log_total);
            at->without_top[i] = power_gained(log_total, rest / largest, n - 1.0);
        }
    }
}

/* A block's share of the inverse divisor, and of its gradient. */
GRA_INLINE void add_inverse(sweep *s, double weight, int64_t from, int64_t count,
                            const double *gone)
{
    const gra_vector none = {0.0};
    double factor = weight * (double)s->e->members;
    for (int h = 0; h < VECTORS; h++) {
        inverse_lanes at;
        weigh_levels(s, from, count, h, &at);
        add_powers(s, weight, gone != NULL ? gone + h * GRA_WIDTH : NULL, &at);
        for (int64_t j = 0; s->gradient != NULL && j < count; j++) {
            gra_vector k = *(const gra_vector *)(s->k + j * LANES + h * GRA_WIDTH),
                       alone = whole_power(s->w[from + j] * k, s->e->members - 1),
                       part = k * GRA_CHOOSE(at.top != j, at.others - alone, at.without_top);
            part = GRA_CHOOSE(at.top >= 0, part, none);
            s->gradient[from + j] += factor * (((part[0] + part[1]) + (part[2] + part[3])) +
                                               ((part[4] + part[5]) + (part[6] + part[7])));
        }
    }
}

/* d a_m/d w_l = sum rest k_m k_l [(G-1) y_m - y_l - (G-2) psi/phi], as one product of stacked
 * rows. */
GRA_INLINE void stack_rows(sweep *s, int64_t from, int64_t to, const gra_vector *rest,
                           const gra_vector *phi, const gra_vector *psi)
{
    int64_t count = to - from;
    double size = (double)s->e->members;
    gra_vector shift[VECTORS];
    if (s->rows > 0 &&
        (s->row_from != from || s->row_to != to || s->rows + 2 * LANES > STACK_ROWS)) {
        flush_rows(s);
    }
    s->row_from = from;
    s->row_to = to;
    for (int h = 0; h < VECTORS; h++) { /* phi may be 0 for groups of two, and where rest is 0 */
        shift[h] = GRA_CHOOSE(phi[h] > 0.0, (size - 2.0) * psi[h] / phi[h], phi[h]);
    }
    double *left = s->left + s->rows, *right = s->right + s->rows;
    for (int64_t j = 0; j < count; j++) {
        const gra_vector *kernel = (const gra_vector *)(s->k + j * LANES);
        gra_vector *l = (gra_vector *)(left + j * STACK_ROWS),
                   *r = (gra_vector *)(right + j * STACK_ROWS);
        double d = s->d[j], own = (size - 1.0) * d;
        for (int h = 0; h < VECTORS; h++) {
            gra_vector k = kernel[h], part = rest[h] * k;
            l[h] = part * (own - shift[h]);
            r[h] = k;
            l[VECTORS + h] = -part;
            r[VECTORS + h] = k * d;
        }
    }
    s->rows += 2 * LANES;
}

/* phi and psi at the lanes, and in large groups 1 - phi; the kernels are then what they are. */
GRA_INLINE void block_sums(sweep *s, int64_t from, int64_t to, int large, gra_vector *phi,
                           gra_vector *psi, gra_vector *gone)
{
    double outside = s->before[from] + (s->before[s->e->levels] - s->before[to]);
    const gra_vector none = {0.0};
    for (int h = 0; h < VECTORS; h++) {
        phi[h] = psi[h] = none;
        gone[h] = outside + none;
    }
    for (int64_t j = 0; j < to - from; j++) {
        gra_vector *k = (gra_vector *)(s->k + j * LANES);
        double w = s->w[from + j], wd = w * s->d[j];
        for (int h = 0; h < VECTORS; h++) {
            if (large) {
                gone[h] += w * k[h];
                k[h] = 1.0 - k[h];
            }
            phi[h] += w * k[h];
            psi[h] += wd * k[h];
        }
    }
}

/*
 * One block: the levels [from, to) at y[], seen from LANES locations. The bracket y_m phi - psi
 * does not depend on where y is measured from: measured from the heaviest level it has no
 * cancellation when most groups hold little else.
 */
GRA_EVERY_MACHINE
static void block(sweep *s, double weight, int64_t from, int64_t to)
{
    int64_t count = to - from, others = s->e->members - 2;
    int large = s->e->members > LARGE_GROUP;
    gra_vector phi[VECTORS], psi[VECTORS], gone[VECTORS], rest[VECTORS], with_phi[VECTORS],
        with_psi[VECTORS];
    block_kernels(s, count, large);
    block_sums(s, from, to, large, phi, psi, gone);
    if (s->wants_inverse) {
        add_inverse(s, weight, from, count, large ? (const double *)gone : NULL);
        return;
    }
    double any = 0.0;
    for (int h = 0; h < VECTORS; h++) {
        gra_vector f = phi[h];
        if (large) {
            f = 1.0 - gone[h];
        }
        rest[h] = weight * rest_power(phi[h], gone[h], others, large);
        with_phi[h] = rest[h] * f;
        with_psi[h] = rest[h] * psi[h];
        for (int i = 0; i < GRA_WIDTH; i++) {
            any = rest[h][i] > any ? rest[h][i] : any;
        }
    }
    if (!(any > 0.0)) {
        return;
    }
    for (int64_t j = 0; s->low != NULL && j < count; j++) {
        const gra_vector *k = (const gra_vector *)(s->k + j * LANES);
        gra_vector *low = (gra_vector *)(s->low + (from + j) * LANES);
        double d = s->d[j];
        for (int h = 0; h < VECTORS; h++) {
            low[h] += k[h] * (d * with_phi[h] - with_psi[h]);
        }
    }
    if (s->jacobian != NULL) {
        stack_rows(s, from, to, rest, phi, psi);
    }
}

/* All locations of one scale for the levels [a, b), which groups may lie across. */
static void cluster(sweep *s, double t, double weight, int64_t a, int64_t b)
{
    const double *x = s->e->x;
    double step = s->step, width = LANES * step, band = BAND * sqrt((double)s->e->members);
    double extent = t * (x[b - 1] - x[a]);
    int64_t from = a, to = a, near = a;
    /* Blocks tile the grid y = i step, measured from level a; block n spans [left, left +
     * width). */
    for (double left = -REACH - step; left < extent + REACH; left += width) {
        double right = left + width - step;
        while (from < b && t * (x[from] - x[a]) < left - band) {
            from++;
        }
        while (to < b && t * (x[to] - x[a]) <= right + band) {
            to++;
        }
        while (near < b && t * (x[near] - x[a]) < left - REACH) {
            near++;
        }
        if (near == b) {
            break;
        }
        if (t * (x[near] - x[a]) > right + REACH || to - from < 2 ||
            s->before[to] - s->before[from] < s->least_mass) {
            continue;
        }
        /* Positions about the block's centre. The distance from the first level to the block's own
         * is carried with its rounding error, so that all blocks lie on one grid. The powers of two
         * keep the split of a huge t in range. */
        int64_t anchor = near;
        double e1, e2, distance = gra_two_sum(x[anchor], -x[a], &e1);
        double place = gra_two_product(t * 0x1p-60, distance * 0x1p60, &e2);
        double offset = ((left + 0.5 * width) - place) - (e2 + t * e1);
        int64_t heaviest = from;
        for (int64_t j = from; j < to; j++) {
            s->y[j - from] = t * (x[j] - x[anchor]) - offset;
            heaviest = s->w[j] > s->w[heaviest] ? j : heaviest;
        }
        for (int64_t j = from; j < to; j++) {
            s->d[j - from] = t * (x[j] - x[heaviest]);
        }
        block(s, weight, from, to);
    }
}

/* Scratch and what does not change from scale to scale; 0 when memory is short. */
static int start(sweep *s, const gra_expectation *self, const gra_scale_rule *rule, const double *w,
                 gra_arena *arena)
{
    int64_t levels = self->levels;
    double size = (double)self->members, *before = gra_arena_doubles(arena, levels + 1);
    s->e = self;
    s->w = w;
    s->step = rule->step;
    s->y = gra_arena_doubles(arena, levels);
    s->d = gra_arena_doubles(arena, levels);
    s->k = gra_arena_doubles(arena, levels * LANES);
    if (before == NULL || s->y == NULL || s->d == NULL || s->k == NULL) {
        return 0;
    }
    before[0] = 0.0;
    for (int64_t l = 0; l < levels; l++) {
        before[l + 1] = before[l] + w[l];
    }
    s->before = before;
    s->least_mass = self->members > 2
                        ? exp((NEGLIGIBLE_LOG_POWER + log(self->least_divisor)) / (size - 2.0))
                        : 0.0;
    for (int i = 0; i < LANES; i++) {
        s->lane_offset[i] = (i - LANES / 2) * s->step;
        s->lane_scale[i] = exp(-s->lane_offset[i] * s->lane_offset[i] / size);
    }
    return 1;
}

/* All scales; by_scale: the weights are for dt, not dt/t. */
static void integrate(sweep *s, const gra_scale_rule *rule, double constant, int by_scale)
{
    const gra_expectation *self = s->e;
    int64_t levels = self->levels;
    double size = (double)self->members;
    /* Two neighbouring levels part when even the tightest group over both, one member against G-1,
     * has t S > BAND. */
    double chain = BAND * size / sqrt(size - 1.0);
    for (int64_t n = 0; n < rule->count; n++) {
        double weight = constant * rule->weight[n] * (by_scale ? rule->t[n] : 1.0);
        for (int64_t first = 0, last; first < levels; first = last) {
            for (last = first + 1;
                 last < levels && rule->t[n] * (self->x[last] - self->x[last - 1]) <= chain;
                 last++) {
            }
            if (last - first > 1) {
                cluster(s, rule->t[n], weight, first, last);
            }
        }
    }
}

static const double INVERSE_ROOT_PI = 0.56418958354775628695;

int gra_quadrature_evaluate(const gra_expectation *self, const gra_scale_rule *rule,
                            const double *w, double *a, double *jacobian, gra_arena *arena)
{
    gra_arena_mark_t mark = gra_arena_mark(arena);
    int64_t levels = self->levels;
    double size = (double)self->members;
    sweep s = {.jacobian = jacobian};
    int ready = start(&s, self, rule, w, arena);
    s.low = a != NULL ? gra_arena_doubles(arena, levels * LANES) : NULL;
    if (jacobian != NULL) {
        s.left = gra_arena_doubles(arena, levels * STACK_ROWS);
        s.right = gra_arena_doubles(arena, levels * STACK_ROWS);
    }
    if (!ready || (a != NULL && s.low == NULL) ||
        (jacobian != NULL && (s.left == NULL || s.right == NULL))) {
        gra_arena_rewind(arena, mark);
        return 0;
    }
    if (a != NULL) {
        memset(s.low, 0, (size_t)(levels * LANES) * sizeof(double));
    }
    if (jacobian != NULL) {
        memset(jacobian, 0, (size_t)(levels * levels) * sizeof(double));
    }
    /* (G-1)/(G sqrt(pi)), the location step, and the factor for ddof. */
    integrate(&s, rule, (size - 1.0) / size * INVERSE_ROOT_PI * s.step * self->factor, 0);
    if (jacobian != NULL) {
        flush_rows(&s);
    }
    if (a != NULL) {
        for (int64_t l = 0; l < levels; l++) {
            double sum = 0.0;
            for (int i = 0; i < LANES; i++) {
                sum += s.low[l * LANES + i];
            }
            a[l] = sum;
        }
    }
    gra_arena_rewind(arena, mark);
    return 1;
}

int gra_quadrature_inverse_divisor(const gra_expectation *self, const double *w,
                                   double *inverse_divisor, double *gradient, gra_arena *arena)
{
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double n = (double)self->members, alike = 0.0;
    sweep s = {.gradient = gradient, .wants_inverse = 1};
    int ready = start(&s, self, &self->fine, w, arena);
    if (ready) {
        for (int64_t l = 0; l < self->levels; l++) {
            alike += pow(w[l], n);
            if (gradient != NULL) {
                gradient[l] = n * pow(w[l], n - 1.0) * self->raw;
            }
        }
        integrate(&s, &self->fine, INVERSE_ROOT_PI * s.step * self->factor, 1);
        *inverse_divisor = s.inverse_divisor + alike * self->raw;
    }
    gra_arena_rewind(arena, mark);
    return ready;
}

double gra_quadrature_cost(const gra_expectation *self)
{
    /* Counts blocks as `cluster` does, without the likelihood of groups; then measured nanoseconds
     * per kernel value and per product (bench/expectation.c). */
    const double *x = self->x;
    double size = (double)self->members, band = BAND * sqrt(size), cost = 0.0;
    if (self->divisor == GRA_OVER_MEAN) {
        return (double)self->fine.count * (double)self->levels * (20.0 + (double)self->levels);
    }
    const gra_scale_rule *rules[2] = {&self->fine, &self->coarse};
    for (int r = 0; r < 2; r++) {
        for (int64_t n = 0; n < rules[r]->count; n++) {
            double t = rules[r]->t[n], width = LANES * rules[r]->step;
            for (int64_t l = 0; l < self->levels; l++) {
                /* The locations this level calls for, shared with its neighbours, times the levels
                 * in reach. */
                double before = l > 0 ? t * (x[l] - x[l - 1]) : 2.0 * REACH;
                double locations = fmin(before, 2.0 * REACH + width);
                double reach = 2.0 * band + width;
                double in_reach = fmin((double)self->levels,
                                       1.0 + reach * (double)(self->levels - 1) /
                                                 fmax(t * (x[self->levels - 1] - x[0]), 1e-300));
                double kernels = locations / rules[r]->step * in_reach;
                cost += r == 0 ? 0.9 * kernels : kernels * (1.5 + 0.4 * in_reach);
            }
        }
    }
    return cost;
}
