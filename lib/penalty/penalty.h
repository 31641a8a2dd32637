/*
 * The inside of a penalty. A penalty knows no model.
 *
 * A penalty beta * D puts a price on every outcome, which depends on l = log(pi/pi_ref) alone and falls as the outcome gains
 * probability. A policy is stationary for advantages u when, with some level lambda,
 *
 *     beta p_o = lambda - u_o   for every outcome.
 *
 * For D = sum pi_ref f(pi/pi_ref) the price is -f'; for an estimator of a trainer it is minus its score coefficient, what
 * multiplies grad log pi in its gradient. Both are known up to a constant only, which is chosen freely:
 *
 *     reverse KL  KL(pi_ref||pi):  p = pi_ref/pi          (sum pi p = 1, so lambda = beta + mean u)
 *     direct KL   KL(pi||pi_ref):  p = -l                 (lambda = beta log Z)
 *     others:                      p = 0 at pi = pi_ref
 *
 * Some prices end: beyond price_most no probability is left. Where the price reaches its end at pi = 0 (chi-squared) that is an
 * ordinary corner of a convex problem. Where it ends at some pi > 0 the penalty is lossy: it cannot hold on to an outcome whose
 * advantage is worse, and training loses it for good.
 *
 * Solvers keep prices rather than advantages: small differences of prices keep their digits where differences of advantages
 * divided by a small beta do not.
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

/* What kind of thing a penalty is, for those who choose a solver. */
enum {
    GRA_SMOOTH,       /* a price as above */
    GRA_STEP,         /* total variation: the price is a step, only its size counts */
    GRA_ABSENT,       /* no penalty */
    GRA_INSIDE_REWARD /* direct KL inside the reward, before it is normalised */
};

typedef struct gra_penalty gra_penalty;
struct gra_penalty {
    int32_t kind, form; /* GRPOALIGN_PENALTY_*, and one of the above */
    double parameter;   /* of a family */

    double barrier;     /* 1 where the price is pi_ref/pi, a barrier; else 0 */
    double mean_price;  /* sum pi p where it is the same for every policy, else NaN */
    double unit_price;  /* at pi = pi_ref */
    double price_most;  /* see above; infinite where prices do not end */
    double outside;     /* the divergence for each unit of policy where the reference has nothing */
    double loose_above; /* log ratio above which nothing holds an outcome back any more; 0 where there is none */
    int lossy;
    int exponential; /* stationary policies of a tilt form a family pi ~ pi_ref exp(-theta gap) */
    int convex;      /* pi is a convex function of the price: bounds on the slope of a tilt hold along the ray */

    /* log(pi/pi_ref) of a price below price_most, the price at it, and -d log pi/d price, which times pi is the slope
     * q = -d pi/d price. Beyond price_most a lossy penalty goes on in some monotone way; otherwise the log ratio is -infinity
     * and the slope 0. */
    double (*log_ratio)(const gra_penalty *self, double price);
    double (*price_of)(const gra_penalty *self, double log_ratio);
    double (*log_slope)(const gra_penalty *self, double price);
    /* Where the price of infinite gains is a number other than 0, a pole: the log ratio and the slope at a price that far beyond it,
     * and the distance of a log ratio, all with digits that the price itself lacks there. NULL for other penalties. */
    double (*beyond)(const gra_penalty *self, double distance);
    double (*slope_beyond)(const gra_penalty *self, double distance);
    double (*distance_of)(const gra_penalty *self, double log_ratio);
    /* What training feels at a log ratio, and its derivative: the price, but for lossy penalties beyond their end. */
    double (*drive)(const gra_penalty *self, double log_ratio, double *slope);
    /* The term of the divergence for one outcome; sums to 0 at pi = pi_ref, never negative. */
    double (*divergence)(const gra_penalty *self, double reference, double policy, double log_ratio);

    /* What follows from the above, for any penalty or in a better way for one. */

    /* The price after the policy has grown by the factor 1 + growth, growth > -1. */
    double (*grown)(const gra_penalty *self, double price, double growth);
    /* Shifts all prices by the same amount so that the policy sums to 1; fills the policy, returns the shift. */
    double (*respond)(const gra_penalty *self, const gra_prior *prior, double *price, double *policy);
    /*
     * The ray of policies with prices theta * gap + constant, gap >= 0 with smallest 0. `x` is a parameter in which
     * theta grows from 0 (at -infinity) to infinity. Fills the policy, and the prices unless NULL; returns theta.
     */
    double (*ray)(const gra_penalty *self, const gra_prior *prior, const double *gap, double x, double *price,
                  double *policy);
    /* An interval of x that contains low <= theta <= high (high may be infinite); `policy` is scratch. */
    void (*ray_bracket)(const gra_penalty *self, const gra_prior *prior, const double *gap, double low, double high,
                        double *x_low, double *x_high, double *policy);
    double ray_origin; /* an x at which the policy is pi_ref to the last bit */
    /* The policy of a class whose price is level + slope * policy, slope > 0: their only meeting point. */
    double (*meet)(const gra_penalty *self, double mass, double log_mass, double level, double slope);
    /* The price of a class that holds `policy` > 0. */
    double (*price_at)(const gra_penalty *self, double mass, double log_mass, double policy);
    /* c or log Z, or the level in general, from advantages over beta per outcome, their mean and the mean price. */
    double (*normaliser)(const gra_penalty *self, const gra_prior *prior, const double *advantage, double mean,
                         double mean_price);
    /* The residual of one outcome as grpoalign_report defines it; advantage is u / beta. */
    double (*residual)(const gra_penalty *self, double reference, double policy, double log_ratio, double advantage,
                       double normaliser);
};

struct grpoalign_penalty {
    uint64_t magic;
    gra_penalty law;
};

#define GRA_PENALTY_MAGIC UINT64_C(0x796c6e6570617267)

extern const gra_penalty gra_reverse_kl, gra_clamped_kl, gra_direct_kl, gra_kl_in_reward, gra_no_penalty;
extern const gra_penalty gra_alpha, gra_chi_squared, gra_jensen_shannon, gra_squared_log_ratio, gra_total_variation;

/* The penalty of GRPOALIGN_PENALTY_* (alpha divergences: with their parameter); NULL for another number. */
const gra_penalty *gra_penalty_find(int32_t kind);

/* Whether it has a price that changes smoothly and lets go of no outcome. */
int gra_penalty_holds(const gra_penalty *self);

/* Prices along the ray and in batches are measured from the pole of penalties that have one: the level of a log ratio, and the log
 * ratio and -d log pi/d level at one. */
double gra_penalty_level(const gra_penalty *self, double log_ratio);
double gra_penalty_level_ratio(const gra_penalty *self, double level);
double gra_penalty_level_slope(const gra_penalty *self, double level);

/* Whether, as b falls to 0 in pi(gap/b), the std of the rewards falls slower than b: like b^(1/(2(1 - alpha))), alpha < 1/2. There
 * is then a stationary policy over that std for every beta. */
int gra_penalty_outlasts_std(const gra_penalty *self);

/* ---- for any penalty (common.c) ------------------------------------------------------------------------------------------ */

/* The price of all classes when all are equal: the unit price, but for a prior that has lost some of its mass. */
double gra_penalty_even_price(const gra_penalty *self, const gra_prior *prior);

double gra_penalty_drive(const gra_penalty *self, double log_ratio, double *slope);
double gra_penalty_grown(const gra_penalty *self, double price, double growth);
double gra_penalty_respond(const gra_penalty *self, const gra_prior *prior, double *price, double *policy);
/* The same for penalties with a pole, prices being distances from it and 0 the lowest on entry. */
double gra_penalty_respond_beyond(const gra_penalty *self, const gra_prior *prior, double *price, double *policy);
double gra_penalty_ray(const gra_penalty *self, const gra_prior *prior, const double *gap, double x, double *price,
                       double *policy);
void gra_penalty_ray_bracket(const gra_penalty *self, const gra_prior *prior, const double *gap, double low,
                             double high, double *x_low, double *x_high, double *policy);
double gra_penalty_meet(const gra_penalty *self, double mass, double log_mass, double level, double slope);
double gra_penalty_price_at(const gra_penalty *self, double mass, double log_mass, double policy);
double gra_penalty_normaliser(const gra_penalty *self, const gra_prior *prior, const double *advantage, double mean,
                              double mean_price);
double gra_penalty_residual(const gra_penalty *self, double reference, double policy, double log_ratio,
                            double advantage, double normaliser);

/* A penalty that is its price and nothing else. */
#define GRA_BY_PRICE                                                                                                   \
    .mean_price = NAN, .ray_origin = -600.0, .drive = gra_penalty_drive, .grown = gra_penalty_grown,                   \
    .respond = gra_penalty_respond, .ray = gra_penalty_ray, .ray_bracket = gra_penalty_ray_bracket,                    \
    .meet = gra_penalty_meet, .price_at = gra_penalty_price_at, .normaliser = gra_penalty_normaliser,                  \
    .residual = gra_penalty_residual

#endif
