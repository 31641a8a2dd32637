/* The argument checks that the files of the API share. */
#ifndef GRA_API_HANDLES_H
#define GRA_API_HANDLES_H

#include <stdint.h>

#include <grpoalign/solve.h>

#include "base/status.h"
#include "problem/problem.h"

/* Sums of probabilities may be off by this much before they are normalised. */
#define GRA_SUM_TOLERANCE 1e-4

/* Each fails with a message that names the argument (`name`, the `position`-th), the index and the
 * rule. */
grpoalign_status gra_check_pointer(const void *pointer, const char *name, int32_t position,
                                   grpoalign_error *error);
grpoalign_status gra_check_finite(const double *values, int64_t n, const char *name,
                                  int32_t position, grpoalign_error *error);
/* n values >= 0, finite, summing to 1 within the tolerance: the part `name` of an argument, `first`
 * being the index of values[0] in it. */
grpoalign_status gra_check_distribution(const double *values, int64_t n, int64_t first,
                                        double tolerance, const char *name, int32_t position,
                                        grpoalign_error *error);
/* beta > 0 and finite. */
grpoalign_status gra_check_beta(double beta, const char *name, int32_t position, int64_t index,
                                grpoalign_error *error);
grpoalign_status gra_check_model(const grpoalign_model *model, int32_t position,
                                 grpoalign_error *error);
grpoalign_status gra_check_penalty(const grpoalign_penalty *penalty, int32_t position,
                                   grpoalign_error *error);
grpoalign_status gra_check_reference(const grpoalign_reference *reference, int32_t position,
                                     grpoalign_error *error);
grpoalign_status gra_check_problem(const grpoalign_problem *problem, int32_t position,
                                   grpoalign_error *error);
grpoalign_status gra_check_outcomes(int64_t given, int64_t expected, int32_t position,
                                    grpoalign_error *error);

/* A number of outcomes >= 1, and a group size of 2 or more. */
grpoalign_status gra_check_n(int64_t n, int32_t position, grpoalign_error *error);
grpoalign_status gra_check_group_size(int64_t group_size, int32_t position, grpoalign_error *error);

/* What every constructor of a model begins with: its first argument, n, and *out, which is NULL
 * from then on. */
grpoalign_status gra_begin_model(const void *values, const char *name, int64_t n,
                                 int32_t n_position, grpoalign_model **out, int32_t out_position,
                                 grpoalign_error *error);

/* Fills a caller's options of `size` bytes with our defaults; both start with their size. NULL is
 * left alone. */
void gra_init_options(void *theirs, uint32_t size, const void *defaults, uint32_t defaults_size);

/*
 * Loads a caller's options: defaults in *ours (size bytes, already set), then the caller's first
 * bytes. A struct newer than the library is taken as long as what the library does not know is
 * zero. theirs may be NULL.
 */
grpoalign_status gra_load_options(void *ours, uint32_t size, const void *theirs, int32_t position,
                                  grpoalign_error *error);

/* Fills a caller's struct, which starts with its size, as far as it goes with ours. */
grpoalign_status gra_fill_struct(void *theirs, const char *name, int32_t position, const void *ours,
                                 uint32_t ours_size, grpoalign_error *error);

grpoalign_status gra_load_preference_options(const grpoalign_preference_options *options,
                                             int32_t position, grpoalign_preference_options *loaded,
                                             grpoalign_error *error);

/* A copy of a policy, normalised, after checking it. */
grpoalign_status gra_load_policy(const double *policy, int64_t n, const char *name,
                                 int32_t position, double *out, grpoalign_error *error);

/* A policy that options point to, with its count: `name` (NULL: none) must have n entries. */
grpoalign_status gra_check_start(const double *start, int64_t count, int64_t n, int32_t position,
                                 grpoalign_error *error);

/* Options of a solve, their defaults filled in; start is checked against n outcomes (-1:
 * ignored). */
grpoalign_status gra_load_solve_options(const grpoalign_solve_options *options, int64_t n,
                                        int32_t position, grpoalign_solve_options *loaded,
                                        grpoalign_error *error);

/* The status that a call returns: one > 0 is explained in the error record. */
grpoalign_status gra_qualify(grpoalign_status status, grpoalign_error *error);

#endif
