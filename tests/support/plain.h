/* Plain answers in long double, from the definitions in the headers; nothing here comes from the
 * library. */
#ifndef TESTS_SUPPORT_PLAIN_H
#define TESTS_SUPPORT_PLAIN_H

#include <stdint.h>

/* A context for the plain answers; what does not apply is NULL or 0. Without margins, group_size
 * and limit it is pairwise by reward. */
typedef struct plain_context {
    int64_t n;
    const double *margins;
    const double *rewards;   /* pairwise by reward, group, limit */
    const double *variances; /* limit */
    const double *support, *distribution;
    int64_t k, group_size;
    int limit;
    /* Conventions: the std with divisor group_size - ddof unless one of the first three is set. */
    int unscaled, over_others, over_mean;
    int leave_one_out; /* the baseline */
    int inside;        /* epsilon is added to the variance */
    int filtered;      /* groups whose rewards are all equal are left out */
    int ddof;
    double epsilon;
    /* A rule for rewards 0 and 1: what a success is given among 1 .. G of them, and a failure among
     * 0 .. G - 1. */
    const double *success, *failure;
} plain_context;

/* A[level] of the context's groups by the counts of the others; levels may be equal.
 * kept (or NULL): the probability of a group that is not all equal. */
void plain_by_counts(const plain_context *context, const double *levels, int64_t k,
                     const long double *w, long double *advantage, long double *kept);

/* A[level] for one member at each level and size-1 others drawn from w: every sequence of others,
 * one after the other. */
void plain_group_advantage(const double *levels, int64_t k, const double *w, int64_t size,
                           double epsilon, int ddof, long double *advantage);

void plain_advantage(const plain_context *context, const double *policy, long double *advantage);

/* g(l) of <grpoalign/penalty.h> for a penalty that has one, else 0; l may be -infinity. */
long double plain_score(int32_t penalty, long double alpha, long double l);

/*
 * A policy put back into the definition of stationarity: u_o - beta (what is kept) g(l_o) is the
 * same number lambda for all outcomes with probability, l_o = log(pi_o/pi_ref,o). Groups that are
 * filtered out count neither in u nor in what is kept. With the KL inside the reward u are the mean
 * rewards, because E[R], R = r - beta l, must be the same for all. Outcomes outside the reference
 * are left out.
 */
typedef struct plain_balance {
    double lambda;
    double off;      /* the largest distance from lambda, times pi_o */
    double relative; /* the largest distance over |u_o| + beta (1 + |g|) + |lambda|, whatever pi_o:
                        what is small has digits too */
    double returns;  /* how much more than lambda an outcome without probability would be worth: it
                        must not return; <= 0 where none does */
    double beyond;   /* how far the worst l_o lies outside the range where the penalty holds an
                        outcome; <= 0 inside */
    double size;     /* the largest of the |u_o| that are finite, at least 1 */
} plain_balance;

plain_balance plain_put_back(const plain_context *context, int32_t penalty, double alpha,
                             double beta, const double *log_reference, const double *policy,
                             const double *log_policy);

/* How far the nearest stationary policy with the same support is, by Newton in long double: what
 * the probabilities are off by. NaN where that cannot be told: Newton does not converge, or the
 * penalty has no slopes. Up to 15 outcomes. */
double plain_error(const plain_context *context, int32_t penalty, double alpha, double beta,
                   const double *log_reference, const double *policy, const double *log_policy);

/* The worst of the above, over max(1, beta): 0 where a policy is stationary. */
double plain_violation(const plain_context *context, int32_t penalty, double alpha, double beta,
                       const double *log_reference, const double *policy, const double *log_policy);

/* The normaliser that <grpoalign/penalty.h> defines for the penalty, from lambda. */
double plain_normaliser(const plain_balance *balance, int32_t penalty, double alpha, double beta);

/* The residual of a report by its definition in <grpoalign/penalty.h>, under the two KLs: reverse
 * |pi (1 - (u - mean)/beta) - ref|, direct |log(pi/ref) - u/beta + log Z| over outcomes with
 * pi > 1e-250. */
double plain_residual(const plain_context *context, int32_t penalty, double beta,
                      const double *log_reference, const double *policy);

#endif
