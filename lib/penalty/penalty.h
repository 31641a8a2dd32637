/*
 * The inside of a penalty. A penalty knows no model.
 *
 * A penalty beta * D puts a slack on every outcome, which depends on l = log(pi/pi_ref) alone and
 * falls as the outcome gains probability. A policy is stationary for advantages u when, with some
 * level lambda,
 *
 *     beta p_o = lambda - u_o   for every outcome.
 *
 * For D = sum pi_ref f(pi/pi_ref) the slack is -f'; for an estimator of a trainer it is minus its
 * score coefficient, what multiplies grad log pi in its gradient. Both are known up to a constant
 * only, which is chosen freely:
 *
 *     reverse KL  KL(pi_ref||pi):  p = pi_ref/pi          (sum pi p = 1, so lambda = beta + mean u)
 *     direct KL   KL(pi||pi_ref):  p = -l                 (lambda = beta log Z)
 *     others:                      p = 0 at pi = pi_ref
 *
 * Some slacks end: beyond slack_most no probability is left. Where the slack reaches its end at pi
 * = 0 (chi-squared) that is an ordinary corner of a convex problem. Where it ends at some pi > 0
 * the penalty is lets_go: it cannot hold on to an outcome whose advantage is worse, and training
 * loses it for good.
 *
 * Solvers keep slacks rather than advantages: small differences of slacks keep their digits where
 * differences of advantages divided by a small beta do not.
 */
#ifndef GRA_PENALTY_PENALTY_H
#define GRA_PENALTY_PENALTY_H

#include <stdint.h>

#include <grpoalign/penalty.h>

/*
 * A reference policy over classes of outcomes: masses, raised to GRA_LEAST_MASS where they are
 * smaller, and their exact logarithms. Raising keeps quotients like mass / policy / theta above the
 * smallest double and moves no probability by more than a power of GRA_LEAST_MASS; what is
 * proportional to the mass is put right from the logarithm afterwards.
 */
#define GRA_LEAST_MASS 1e-280

typedef struct gra_class_reference {
    int64_t classes;
    const double *mass, *log_mass;
} gra_class_reference;

/* What kind of thing a penalty is, for those who choose a solver. */
enum {
    GRA_SMOOTH,       /* a slack as above */
    GRA_STEP,         /* total variation: the slack is a step, only its size counts */
    GRA_ABSENT,       /* no penalty */
    GRA_INSIDE_REWARD /* direct KL inside the reward, before it is normalised */
};

typedef struct gra_penalty gra_penalty;
struct gra_penalty {
    int32_t kind, form; /* GRPOALIGN_PENALTY_*, and one of the above */
    double parameter;   /* of a family */

    double barrier;     /* 1 where the slack is pi_ref/pi, a barrier; else 0 */
    double mean_slack;  /* sum pi p where it is the same for every policy, else NaN */
    double unit_slack;  /* at pi = pi_ref */
    double slack_most;  /* see above; infinite where slacks do not end */
    double outside;     /* the divergence for each unit of policy where the reference has nothing */
    double loose_above; /* log ratio above which nothing holds an outcome back any more; 0 where
                           there is none */
    int lets_go;
    int exponential; /* stationary policies of a affine form a family pi ~ pi_ref exp(-theta gap) */
    int convex; /* pi is a convex function of the slack: bounds on the slope of a affine hold along
                   the path */

    /* log(pi/pi_ref) of a slack below slack_most, the slack at it, and -d log pi/d slack, which
     * times pi is the slope q = -d pi/d slack. Beyond slack_most a lets_go penalty goes on in some
     * monotone way; otherwise the log ratio is -infinity and the slope 0. */
    double (*log_ratio)(const gra_penalty *self, double slack);
    double (*slack_of)(const gra_penalty *self, double log_ratio);
    double (*log_slope)(const gra_penalty *self, double slack);
    /* Where the slack of infinite gains is a number other than 0, a pole: the log ratio and the
     * slope at a slack that far beyond it, and the distance of a log ratio, all with digits that
     * the slack itself lacks there. NULL for other penalties. */
    double (*beyond)(const gra_penalty *self, double distance);
    double (*slope_beyond)(const gra_penalty *self, double distance);
    double (*distance_of)(const gra_penalty *self, double log_ratio);
    /* What training feels at a log ratio, and its derivative: the slack, but for lets_go penalties
     * beyond their end. */
    double (*score)(const gra_penalty *self, double log_ratio, double *slope);
    /* The term of the divergence for one outcome; sums to 0 at pi = pi_ref, never negative. */
    double (*divergence)(const gra_penalty *self, double reference, double policy,
                         double log_ratio);

    /* What follows from the above, for any penalty or in a better way for one. */

    /* The slack after the policy has grown by the factor 1 + growth, growth > -1. */
    double (*grown)(const gra_penalty *self, double slack, double growth);
    /* Shifts all slacks by the same amount so that the policy sums to 1; fills the policy, returns
     * the shift. */
    double (*respond)(const gra_penalty *self, const gra_class_reference *reference, double *slack,
                      double *policy);
    /*
     * The path of policies with slacks theta * gap + constant, gap >= 0 with smallest 0. `x` is a
     * parameter in which theta grows from 0 (at -infinity) to infinity. Fills the policy, and the
     * slacks unless NULL; returns theta.
     */
    double (*path)(const gra_penalty *self, const gra_class_reference *reference, const double *gap,
                   double x, double *slack, double *policy);
    /* An interval of x that contains low <= theta <= high (high may be infinite); `policy` is
     * scratch. */
    void (*path_bracket)(const gra_penalty *self, const gra_class_reference *reference,
                         const double *gap, double low, double high, double *x_low, double *x_high,
                         double *policy);
    double path_origin; /* an x at which the policy is pi_ref to the last bit */
    /* The policy of a class whose slack is level + slope * policy, slope > 0: their only meeting
     * point. */
    double (*resolvent)(const gra_penalty *self, double mass, double log_mass, double level,
                        double slope);
    /* The slack of a class that holds `policy` > 0. */
    double (*slack_at)(const gra_penalty *self, double mass, double log_mass, double policy);
    /* c or log Z, or the level in general, from advantages over beta per outcome, their mean and
     * the mean slack. */
    double (*normaliser)(const gra_penalty *self, const gra_class_reference *reference,
                         const double *advantage, double mean, double mean_slack);
    /* The residual of one outcome as grpoalign_report defines it; advantage is u / beta. */
    double (*residual)(const gra_penalty *self, double reference, double policy, double log_ratio,
                       double advantage, double normaliser);
};

struct grpoalign_penalty {
    uint64_t magic;
    gra_penalty law;
};

#define GRA_PENALTY_MAGIC UINT64_C(0x796c6e6570617267)

extern const gra_penalty gra_reverse_kl, gra_clamped_kl, gra_direct_kl, gra_kl_in_reward,
    gra_no_penalty;
extern const gra_penalty gra_alpha, gra_chi_squared, gra_jensen_shannon, gra_squared_log_ratio,
    gra_total_variation;

/* The penalty of GRPOALIGN_PENALTY_* (alpha divergences: with their parameter); NULL for another
 * number. */
const gra_penalty *gra_penalty_find(int32_t kind);

/* Whether it has a slack that changes smoothly and lets go of no outcome. */
int gra_penalty_holds(const gra_penalty *self);

/* Whether slacks are measured from a pole. */
int gra_penalty_has_pole(const gra_penalty *self);

/* Slacks along the path and in batches are measured from the pole of penalties that have one: the
 * level of a log ratio, and the log ratio and -d log pi/d level at one. */
double gra_penalty_level(const gra_penalty *self, double log_ratio);
double gra_penalty_level_ratio(const gra_penalty *self, double level);
double gra_penalty_level_slope(const gra_penalty *self, double level);

/* Whether, as b falls to 0 in pi(gap/b), the std of the rewards falls slower than b: like b^(1/(2(1
 * - alpha))), alpha < 1/2. There is then a stationary policy over that std for every beta. */
int gra_penalty_outlasts_std(const gra_penalty *self);

/* ---- for any penalty (common.c)
 * ------------------------------------------------------------------------------------------ */

/* The slack of all classes when all are equal: the unit slack, but for a reference that has lost
 * some of its mass. */
double gra_penalty_even_slack(const gra_penalty *self, const gra_class_reference *reference);

double gra_penalty_score(const gra_penalty *self, double log_ratio, double *slope);
double gra_penalty_grown(const gra_penalty *self, double slack, double growth);
double gra_penalty_respond(const gra_penalty *self, const gra_class_reference *reference,
                           double *slack, double *policy);
/* The same for penalties with a pole, slacks being distances from it and 0 the lowest on entry. */
double gra_penalty_respond_beyond(const gra_penalty *self, const gra_class_reference *reference,
                                  double *slack, double *policy);
double gra_penalty_path(const gra_penalty *self, const gra_class_reference *reference,
                        const double *gap, double x, double *slack, double *policy);
void gra_penalty_path_bracket(const gra_penalty *self, const gra_class_reference *reference,
                              const double *gap, double low, double high, double *x_low,
                              double *x_high, double *policy);
double gra_penalty_resolvent(const gra_penalty *self, double mass, double log_mass, double level,
                             double slope);
double gra_penalty_slack_at(const gra_penalty *self, double mass, double log_mass, double policy);
double gra_penalty_normaliser(const gra_penalty *self, const gra_class_reference *reference,
                              const double *advantage, double mean, double mean_slack);
double gra_penalty_residual(const gra_penalty *self, double reference, double policy,
                            double log_ratio, double advantage, double normaliser);

/* A penalty that is its slack and nothing else. */
#define GRA_BY_SLACK                                                                               \
    .mean_slack = NAN, .path_origin = -600.0, .score = gra_penalty_score,                          \
    .grown = gra_penalty_grown, .respond = gra_penalty_respond, .path = gra_penalty_path,          \
    .path_bracket = gra_penalty_path_bracket, .resolvent = gra_penalty_resolvent,                  \
    .slack_at = gra_penalty_slack_at, .normaliser = gra_penalty_normaliser,                        \
    .residual = gra_penalty_residual

#endif
