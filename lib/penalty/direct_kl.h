/* The law of direct KL, which others have in a place of their own. */
#ifndef GRA_PENALTY_DIRECT_KL_H
#define GRA_PENALTY_DIRECT_KL_H

#include "penalty/penalty.h"

double gra_direct_kl_slack(const gra_penalty *self, double ratio);
double gra_direct_kl_log_ratio(const gra_penalty *self, double slack);
double gra_direct_kl_log_slope(const gra_penalty *self, double slack);
double gra_direct_kl_divergence(const gra_penalty *self, double reference, double policy,
                                double ratio);

/* Better ways than those of any law: everything is an exponential. */
double gra_direct_kl_grown(const gra_penalty *self, double slack, double growth);
double gra_direct_kl_slack_at(const gra_penalty *self, double mass, double log_mass, double policy);
double gra_direct_kl_respond(const gra_penalty *self, const gra_class_reference *reference,
                             double *slack, double *policy);
double gra_direct_kl_path(const gra_penalty *self, const gra_class_reference *reference,
                          const double *gap, double x, double *slack, double *policy);
void gra_direct_kl_path_bracket(const gra_penalty *self, const gra_class_reference *reference,
                                const double *gap, double low, double high, double *x_low,
                                double *x_high, double *policy);
double gra_direct_kl_resolvent(const gra_penalty *self, double mass, double log_mass, double lambda,
                               double slope);
double gra_direct_kl_normaliser(const gra_penalty *self, const gra_class_reference *reference,
                                const double *advantage, double mean, double mean_slack);
double gra_direct_kl_residual(const gra_penalty *self, double reference, double policy,
                              double ratio, double advantage, double log_z);

#define GRA_DIRECT_KL_LAW                                                                          \
    .pole = INFINITY, .outside = INFINITY, .slack = gra_direct_kl_slack,                           \
    .log_ratio = gra_direct_kl_log_ratio, .log_slope = gra_direct_kl_log_slope,                    \
    .divergence = gra_direct_kl_divergence

#define GRA_DIRECT_KL_TRAITS .exponential = 1, .convex = 1, .newton_above = 0.5

/* All but the response. */
#define GRA_DIRECT_KL_WAYS                                                                         \
    .grown = gra_direct_kl_grown, .slack_at = gra_direct_kl_slack_at, .path = gra_direct_kl_path,  \
    .path_bracket = gra_direct_kl_path_bracket, .path_origin = -700.0,                             \
    .resolvent = gra_direct_kl_resolvent

#endif
