/* What the C tests share: random input that aims at corners, and answers by the plainest means. */
#ifndef TEST_CHECK_H
#define TEST_CHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <grpoalign/experimental.h>
#include <grpoalign/grpoalign.h>

#include "parts.h"
#include "plain.h"

/* ---- running: GRPOALIGN_TEST names the tests of a table that run (with * and ? as in file names),
 * all where it is not set; where it matches none, that is a failure. GRPOALIGN_TEST_LIST prints
 * their names instead ---- */

#define run_chosen(tests) run_table(tests, sizeof(tests) / sizeof *(tests))

int run_table(const struct CMUnitTest *tests, size_t count);

/* ---- random numbers: GRPOALIGN_TEST_SEED, printed when a test fails; GRPOALIGN_TEST_SCALE
 * multiplies the number of random cases ---- */

typedef struct randomness {
    uint64_t state;
} randomness;

randomness random_start(uint64_t salt);
uint64_t random_bits(randomness *self);
double random_uniform(randomness *self); /* [0, 1) */
double random_between(randomness *self, double low, double high);
double random_normal(randomness *self);
int64_t random_below(randomness *self, int64_t n);
int test_scale(void);

enum { REFERENCE_UNIFORM, REFERENCE_DIRICHLET, REFERENCE_SKEWED, REFERENCE_TINY, REFERENCE_KINDS };
/* n logarithms of reference probabilities, not normalised. */
void random_reference(randomness *self, int kind, int64_t n, double *log_probabilities);
/* n probabilities that sum to 1, some zero, some concentrated. */
void random_policy(randomness *self, int64_t n, double *policy);

enum {
    MARGINS_DENSE,
    MARGINS_SIGN,
    MARGINS_BRADLEY_TERRY,
    MARGINS_NOISY,
    MARGINS_SPARSE,
    MARGINS_CYCLE,
    MARGINS_RANKED,
    MARGINS_ZERO,
    MARGINS_KINDS
};
extern const char *const MARGINS_NAMES[];
void random_margins(randomness *self, int kind, int64_t n, double *margins);

enum {
    REWARDS_UNIFORM,
    REWARDS_INTEGER,
    REWARDS_GEOMETRIC,
    REWARDS_NEAR_TIES,
    REWARDS_EQUAL,
    REWARDS_KINDS
};
void random_rewards(randomness *self, int kind, int64_t n, double *rewards);

/* A scale and a baseline that belong together, epsilon left out; rewards are made >= 0 where a mean
 * divides. */
void random_scale(randomness *self, plain_context *c, double *rewards, int64_t count);

/* ---- the library in one call ---- */

typedef struct solved {
    grpoalign_status status;
    double *policy, *log_policy, *advantage; /* n each */
    grpoalign_report report;
    grpoalign_error error;
} solved;

grpoalign_model *make_model(const plain_context *context);

typedef struct handles {
    grpoalign_model *model;
    grpoalign_penalty *penalty;
    grpoalign_reference *reference;
} handles;

handles open_handles(const plain_context *context, int32_t penalty, const double *log_reference);
void close_handles(handles *self);

solved solve_model(const grpoalign_model *model, int32_t penalty, double beta,
                   const double *log_reference, const grpoalign_solve_options *options);
solved solve_penalised(const grpoalign_model *model, const grpoalign_penalty *penalty, double beta,
                       const double *log_reference, const grpoalign_solve_options *options);
solved solve_context(const plain_context *context, int32_t penalty, double beta,
                     const double *log_reference);
void solved_free(solved *self);

#define assert_near(actual, expected, tolerance)                                                   \
    _assert_near((double)(actual), (double)(expected), (double)(tolerance), #actual, __FILE__,     \
                 __LINE__)
void _assert_near(double actual, double expected, double tolerance, const char *what,
                  const char *file, int line);

double largest_difference(const double *a, const double *b, int64_t n);

#define CHECK_OK(expression) assert_int_equal((expression), GRPOALIGN_OK)

#endif
