/*
 * The inside of a penalty. A penalty knows no model.
 *
 * A penalty acts on an outcome by g(l), l = log(pi/pi_ref): g multiplies grad log pi in the
 * gradient of the penalty, and grows with l. A policy is stationary for advantages u when
 * u_o - beta g(l_o) is the same for every outcome. Here g is written as a slack, which falls with
 * l:
 *
 *     s(l) = pole - g(l)   where g has a pole, a finite supremum that it comes to as l grows,
 *     s(l) = -g(l)         where it has none.
 *
 * With a number lambda, the multiplier of sum pi = 1, a policy is stationary when
 *
 *     beta s(l_o) = lambda - u_o   for every outcome.
 *
 * A slack above a pole is positive, and is known to its last digit where g is not: near the pole
 * of reverse KL 1 - exp(-l) is 1, and its slack exp(-l) = pi_ref/pi has all digits.
 *
 *     penalty              g(l)                        pole         s(l)
 *     reverse KL           1 - exp(-l)                 1            exp(-l)
 *     direct KL            l                           none         -l
 *     squared log ratio    l + l^2/2                   none         -l - l^2/2
 *     chi-squared          exp(l) - 1                  none         1 - exp(l)
 *     Jensen-Shannon       -log((1 + exp(-l))/2)/2     log(2)/2     log(1 + exp(-l))/2
 *     alpha < 0.95         (exp((a-1) l) - 1)/(a-1)    1/(1 - a)    exp((a-1) l)/(1 - a)
 *     alpha > 0.95         the same                    none         (1 - exp((a-1) l))/(a-1)
 *
 * Some slacks end: above slack_most an outcome has no probability. Where the slack comes to its end
 * at pi = 0 (chi-squared) that is an ordinary corner of a convex problem. Where it ends at some
 * pi > 0 the penalty lets outcomes go: it cannot hold an outcome that is worse, and training loses
 * it for good.
 *
 * Solvers keep slacks rather than advantages: small differences of slacks keep their digits where
 * differences of advantages divided by a small beta do not.
 *
 * A penalty is one file, which gives its law, and one row of table.c. What follows from any law is
 * in derived.c.
 */
#ifndef GRA_PENALTY_PENALTY_H
#define GRA_PENALTY_PENALTY_H

#include <math.h>
#include <stdint.h>

#include <grpoalign/penalty.h>
#include <grpoalign/status.h>

#include "base/handle.h"

/*
 * A reference policy over classes of outcomes: masses, raised to GRA_LEAST_MASS where they are
 * smaller, and their exact logarithms. Raising keeps quotients like mass / policy / theta above the
 * smallest double and moves no probability by more than a power of GRA_LEAST_MASS; what is
 * proportional to the mass is put right from the logarithm afterwards.
 */
#define GRA_LEAST_MASS 1e-280

/* Its logarithm, rounded down. */
#define GRA_RAREST (-645.0)

typedef struct gra_class_reference {
    int64_t classes;
    const double *mass, *log_mass;
} gra_class_reference;

/* What a stationary policy solves: which equation an engine has to be chosen for. */
enum {
    GRA_SMOOTH,       /* beta s = lambda - u, with a slack as above */
    GRA_STEP,         /* total variation: g jumps at the reference, and only its size counts */
    GRA_ABSENT,       /* no penalty: beta has no meaning, the best outcomes alone are stationary */
    GRA_INSIDE_REWARD /* the KL is part of the reward: no std and no group size has an effect */
};

struct gra_completions;

typedef struct gra_penalty gra_penalty;
struct gra_penalty {
    int32_t kind;     /* GRPOALIGN_PENALTY_* */
    double parameter; /* of a family */
    /* Of a sum: its parts, which are no sums, and their coefficients > 0; the penalty owns both. */
    const gra_penalty *parts;
    const double *coefficients;
    int64_t part_count;
    /* Of a penalty per token, or with weights: the completions, which the penalty owns. The law is
     * then that of one choice (tree.h). */
    const struct gra_completions *completions;

    /* ---- the law ---- */

    double pole;        /* the supremum of g that slacks are measured from; INFINITY for none */
    double slack_most;  /* where slacks end; INFINITY where they do not */
    double rarest;      /* logarithm of a reference mass below which the slack of a class that holds
                           all is no double, or has no digits: rarer classes count as this one,
                           which moves no policy that a double can tell; or -INFINITY */
    double loose_above; /* the log ratio above which nothing holds an outcome back; INFINITY where
                           every outcome is held */
    double outside;     /* the divergence for each unit of policy where the reference has nothing */
    double (*slack)(const gra_penalty *self, double log_ratio);
    /* Its inverse, and -d log pi/d slack, which times pi is q = -d pi/d slack. Above slack_most a
     * penalty that lets outcomes go is continued in some monotone way; for others the log ratio is
     * -INFINITY there and the slope 0. */
    double (*log_ratio)(const gra_penalty *self, double slack);
    double (*log_slope)(const gra_penalty *self, double slack);
    /* What training feels, and its derivative: the slack, but where a penalty lets outcomes go. */
    double (*score)(const gra_penalty *self, double log_ratio, double *slope);
    /* The term of the divergence for one outcome; never negative, and 0 at pi = pi_ref. */
    double (*divergence)(const gra_penalty *self, double reference, double policy,
                         double log_ratio);

    /* ---- what engines ask, each by what it is used for ---- */

    int32_t form; /* see above */
    int lets_go;  /* outcomes may be lost: an active set, and no claim about other solutions */
    /* Below its end g rises again, without a jump: a stationary policy may have an outcome there,
     * and the branch of the reference goes on beyond the end as far as its fold. */
    int turns_back;
    /* pi s = pi_ref for every outcome: complementarity with a known product (central path), and
     * lambda from sum pi s = sum pi_ref without solving for it (ranked preferences). */
    int complementary;
    /* Policies along a path are pi ~ pi_ref exp(-theta gap): bounds on sums of exponentials hold,
     * and the response is a contraction of a known factor. */
    int exponential;
    /* pi is a convex function of the slack, so that q falls with the slack: bounds on slopes hold
     * between two policies of a path. */
    int convex;
    /* In pi(gap/b) the std of the rewards over b falls as b grows: an equation that divides by the
     * std has one root, and a search that has passed it may stop. */
    int std_ratio_falls;
    /* As b falls to 0 in pi(gap/b) the std of the rewards falls slower than b: over that std there
     * is a stationary policy for every beta, and training does not collapse. */
    int outlasts_std;
    /* Several stationary policies of one game are rare: Newton may start where it converges
     * fastest. Else the branch of the reference is followed, and others are looked for. */
    int folds_rare;
    /* Newton from the reference converges by itself at betas above so many times the largest
     * advantage (pairwise preferences). */
    double newton_above;

    /* ---- what follows from the law: derived.c, or a better way of one penalty ---- */

    /* The slack after the policy has grown by the factor 1 + growth, growth > -1. */
    double (*grown)(const gra_penalty *self, double slack, double growth);
    /* The slack of a class that holds `policy` > 0. */
    double (*slack_at)(const gra_penalty *self, double mass, double log_mass, double policy);
    /* Shifts all slacks by the same amount so that the policy sums to 1; fills the policy, returns
     * the shift: lambda/beta where the slacks were -u/beta. */
    double (*respond)(const gra_penalty *self, const gra_class_reference *reference, double *slack,
                      double *policy);
    /*
     * The regularisation path: the policies with slacks theta * gap + constant, gap >= 0 with
     * smallest 0. `x` is a parameter in which theta grows from 0 (at -infinity) to infinity. Fills
     * the policy, and the slacks unless NULL; returns theta.
     */
    double (*path)(const gra_penalty *self, const gra_class_reference *reference, const double *gap,
                   double x, double *slack, double *policy);
    /* An interval of x that contains low <= theta <= high (high may be infinite); `policy` is
     * scratch. */
    void (*path_bracket)(const gra_penalty *self, const gra_class_reference *reference,
                         const double *gap, double low, double high, double *x_low, double *x_high,
                         double *policy);
    double path_origin; /* an x at which the policy is pi_ref to the last bit */
    /* The policy of a class whose slack is lambda + slope * policy, slope > 0; there is one. */
    double (*resolvent)(const gra_penalty *self, double mass, double log_mass, double lambda,
                        double slope);
    /* The normaliser of a report, from advantages over beta per outcome, their mean and the mean
     * slack: lambda/beta less normaliser_from, or c or log Z by themselves; and the residual of one
     * outcome, advantage being u/beta. <grpoalign/penalty.h> defines both. */
    double normaliser_from;
    double (*normaliser)(const gra_penalty *self, const gra_class_reference *reference,
                         const double *advantage, double mean, double mean_slack);
    double (*residual)(const gra_penalty *self, double reference, double policy, double log_ratio,
                       double advantage, double normaliser);
};

struct grpoalign_penalty {
    gra_handle handle;
    gra_penalty law;
};

#define GRA_PENALTY_MAGIC UINT64_C(0x796c6e6570617267)

void gra_penalty_free(grpoalign_penalty *penalty);

/* ---- all penalties (table.c) ---- */

typedef struct gra_penalty_row {
    int32_t kind;
    const char *name, *formula; /* what grpoalign_penalty_name and _formula return */
    const gra_penalty *law;
    gra_penalty (*family)(double parameter); /* in the place of a law, where there is a parameter */
} gra_penalty_row;

/* In the order of their kinds; NULL beyond the end. */
const gra_penalty_row *gra_penalty_row_at(int64_t k);

/* NULL for another number. */
const gra_penalty_row *gra_penalty_row_of(int32_t kind);

/* ---- the laws, one a file ---- */

extern const gra_penalty gra_reverse_kl, gra_direct_kl, gra_no_penalty, gra_kl_in_reward,
    gra_total_variation, gra_squared_log_ratio, gra_chi_squared, gra_jensen_shannon,
    gra_reverse_kl_clamped, gra_direct_kl_clamped;

/* alpha in [0, 2]. */
gra_penalty gra_alpha_law(double alpha);

/* The sum of laws that hold every outcome and are no sums, sum_i coefficients[i] g_i; some
 * coefficient is > 0. gra_penalty_free releases what it takes. */
grpoalign_status gra_penalty_sum(const gra_penalty *const *parts, const double *coefficients,
                                 int64_t count, gra_penalty *out, grpoalign_error *error);

/* ---- questions to any law ---- */

static inline int gra_penalty_has_pole(const gra_penalty *self)
{
    return isfinite(self->pole);
}

/* Whether it has a slack that changes smoothly and lets no outcome go. */
int gra_penalty_holds(const gra_penalty *self);

/* The slack as training feels it, beyond the end too. */
static inline double gra_penalty_felt(const gra_penalty *self, double log_ratio)
{
    double slope;
    return self->turns_back ? self->score(self, log_ratio, &slope) : self->slack(self, log_ratio);
}

/* The slack of all classes when all are equal: that of log ratio 0, but for a reference that has
 * lost some of its mass. */
double gra_penalty_even_slack(const gra_penalty *self, const gra_class_reference *reference);

/* ---- what follows from any law (derived.c) ---- */

double gra_penalty_score(const gra_penalty *self, double log_ratio, double *slope);
/* Of an estimate that is clamped: no gradient beyond slack_most and loose_above. */
double gra_penalty_score_clamped(const gra_penalty *self, double log_ratio, double *slope);
double gra_penalty_grown(const gra_penalty *self, double slack, double growth);
double gra_penalty_slack_at(const gra_penalty *self, double mass, double log_mass, double policy);
double gra_penalty_respond(const gra_penalty *self, const gra_class_reference *reference,
                           double *slack, double *policy);
double gra_penalty_path(const gra_penalty *self, const gra_class_reference *reference,
                        const double *gap, double x, double *slack, double *policy);
void gra_penalty_path_bracket(const gra_penalty *self, const gra_class_reference *reference,
                              const double *gap, double low, double high, double *x_low,
                              double *x_high, double *policy);
double gra_penalty_resolvent(const gra_penalty *self, double mass, double log_mass, double lambda,
                             double slope);
double gra_penalty_normaliser(const gra_penalty *self, const gra_class_reference *reference,
                              const double *advantage, double mean, double mean_slack);
double gra_penalty_residual(const gra_penalty *self, double reference, double policy,
                            double log_ratio, double advantage, double normaliser);

/* Whether a policy tells the advantages; and those, less their mean, that n outcomes imply at a
 * beta (implied.c). `log_reference` is -infinity where the reference has nothing; advantage may be
 * the policy. */
int gra_penalty_implies(const gra_penalty *self);
void gra_penalty_implied(const gra_penalty *self, const double *log_reference, const double *policy,
                         int64_t n, double beta, double *advantage);

/* For a penalty that is its law and nothing else. */
#define GRA_DERIVED                                                                                \
    .grown = gra_penalty_grown, .slack_at = gra_penalty_slack_at, .respond = gra_penalty_respond,  \
    .path = gra_penalty_path, .path_bracket = gra_penalty_path_bracket, .path_origin = -600.0,     \
    .resolvent = gra_penalty_resolvent, .normaliser = gra_penalty_normaliser,                      \
    .residual = gra_penalty_residual

#endif
