/*
 * The inside of a penalty. A penalty knows no model.
 *
 * A penalty beta * D(pi, pi_ref), D = sum pi_ref f(pi/pi_ref), puts a price p = -f'(pi/pi_ref) on every outcome,
 * falling as the outcome gains probability. A policy is stationary for advantages u when, with some level lambda,
 *
 *     beta p_o = lambda - u_o   for every outcome.
 *
 * reverse KL  KL(pi_ref||pi):  p = pi_ref/pi          (sum pi p = 1, so lambda = beta + mean u)
 * direct KL   KL(pi||pi_ref):  p = -log(pi/pi_ref)    (lambda = beta log Z)
 *
 * Solvers keep prices rather than advantages: small differences of prices keep their digits where differences
 * of advantages divided by a small beta do not.
 */
#ifndef GRA_PENALTY_PENALTY_H
#define GRA_PENALTY_PENALTY_H

#include <stdint.h>

#include <grpoalign/penalty.h>

/*
 * A reference policy over classes of outcomes: masses, raised to GRA_LEAST_MASS where they are smaller, and their exact
 * logarithms. Raising keeps quotients like mass / policy / theta above the smallest double and moves no probability by
 * more than a power of GRA_LEAST_MASS; what is proportional to the mass is put right from the logarithm afterwards.
 */
#define GRA_LEAST_MASS 1e-280

typedef struct gra_prior {
    int64_t classes;
    const double *mass, *log_mass;
} gra_prior;

typedef struct gra_penalty_ops {
    int32_t kind;
    const char *name;
    /* The price as a sum of barrier * pi_ref/pi and -entropy * log(pi/pi_ref). */
    double barrier, entropy;
    /* sum pi p where it is the same for every policy, else NaN. */
    double mean_price;
    /* log(pi/pi_ref) of a price. */
    double (*log_ratio)(double price);
    /* The price at a log(pi/pi_ref). */
    double (*price_of)(double log_ratio);
    /* The price at pi = pi_ref. */
    double unit_price;
    /* -d log pi/d price; times pi it is the slope q = -d pi/d price. */
    double (*log_slope)(double price);
    /* The price after the policy has grown by the factor 1 + growth, growth > -1. */
    double (*grown)(double price, double growth);
    /* Shifts all prices by the same amount so that the policy sums to 1; fills the policy, returns the shift. */
    double (*respond)(const gra_prior *prior, double *price, double *policy);
    /*
     * The ray of policies with prices theta * gap + constant, gap >= 0 with smallest 0. `x` is a parameter in which
     * theta grows from 0 (at -infinity) to infinity. Fills the policy, and the prices unless NULL; returns theta.
     */
    double (*ray)(const gra_prior *prior, const double *gap, double x, double *price, double *policy);
    /* An interval of x that contains low <= theta <= high (high may be infinite). */
    void (*ray_bracket)(const gra_prior *prior, const double *gap, double low, double high, double *x_low,
                        double *x_high);
    /* The policy of a class whose price is level + slope * policy, slope > 0: their only meeting point. */
    double (*meet)(double mass, double log_mass, double level, double slope);
    /* The price of a class that holds `policy` > 0. */
    double (*price_at)(double mass, double log_mass, double policy);
    /* The term ref * f(pi/ref) of the divergence for one outcome, 0 at pi = ref and never negative. */
    double (*divergence)(double reference, double policy, double log_ratio);
    /* c or log Z, from advantages over beta per outcome and their mean under the policy. */
    double (*normaliser)(const gra_prior *prior, const double *advantage, double mean);
    /* The residual of one outcome as grpoalign_report defines it; advantage is u / beta. */
    double (*residual)(double reference, double policy, double log_ratio, double advantage, double normaliser);
    /* Stationary policies of a tilt form a family pi ~ pi_ref exp(-theta gap). */
    int exponential;
} gra_penalty_ops;

struct grpoalign_penalty {
    uint64_t magic;
    const gra_penalty_ops *ops;
};

#define GRA_PENALTY_MAGIC UINT64_C(0x796c6e6570617267)

extern const gra_penalty_ops gra_reverse_kl;
extern const gra_penalty_ops gra_direct_kl;

/* The operations of GRPOALIGN_PENALTY_*, NULL for another number. */
const gra_penalty_ops *gra_penalty_find(int32_t kind);

#endif
