/* The law of reverse KL, which its clamped form has between the ends of the clamp. */
#ifndef GRA_PENALTY_REVERSE_KL_H
#define GRA_PENALTY_REVERSE_KL_H

#include "penalty/penalty.h"

double gra_reverse_kl_slack(const gra_penalty *self, double ratio);
double gra_reverse_kl_log_ratio(const gra_penalty *self, double slack);
double gra_reverse_kl_log_slope(const gra_penalty *self, double slack);
double gra_reverse_kl_divergence(const gra_penalty *self, double reference, double policy,
                                 double ratio);

/* Better ways than those of any law: everything is a quotient or a quadratic equation. */
double gra_reverse_kl_grown(const gra_penalty *self, double slack, double growth);
double gra_reverse_kl_slack_at(const gra_penalty *self, double mass, double log_mass,
                               double policy);
double gra_reverse_kl_respond(const gra_penalty *self, const gra_class_reference *reference,
                              double *slack, double *policy);
double gra_reverse_kl_path(const gra_penalty *self, const gra_class_reference *reference,
                           const double *gap, double x, double *slack, double *policy);
void gra_reverse_kl_path_bracket(const gra_penalty *self, const gra_class_reference *reference,
                                 const double *gap, double low, double high, double *x_low,
                                 double *x_high, double *policy);
double gra_reverse_kl_resolvent(const gra_penalty *self, double mass, double log_mass,
                                double lambda, double slope);

#define GRA_REVERSE_KL_LAW                                                                         \
    .pole = 1.0, .outside = 1.0, .slack = gra_reverse_kl_slack,                                    \
    .log_ratio = gra_reverse_kl_log_ratio, .log_slope = gra_reverse_kl_log_slope,                  \
    .divergence = gra_reverse_kl_divergence

#define GRA_REVERSE_KL_TRAITS                                                                      \
    .form = GRA_SMOOTH, .complementary = 1, .convex = 1, .std_ratio_falls = 1, .outlasts_std = 1,  \
    .folds_rare = 1, .newton_above = 2.0

#define GRA_REVERSE_KL_WAYS                                                                        \
    .grown = gra_reverse_kl_grown, .slack_at = gra_reverse_kl_slack_at,                            \
    .respond = gra_reverse_kl_respond, .path = gra_reverse_kl_path,                                \
    .path_bracket = gra_reverse_kl_path_bracket, .path_origin = -600.0,                            \
    .resolvent = gra_reverse_kl_resolvent

#endif
