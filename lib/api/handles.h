/* Handle bodies that only the API knows, and the argument checks shared by its files. */
#ifndef GRA_API_HANDLES_H
#define GRA_API_HANDLES_H

#include <stdint.h>

#include <grpoalign/solve.h>

#include "base/status.h"
#include "model/model.h"
#include "penalty/penalty.h"

struct grpoalign_reference {
    uint64_t magic;
    int64_t outcomes;
    int64_t supported;               /* outcomes with probability > 0 */
    double *probability, *logarithm; /* normalised */
    unsigned char *support;          /* per outcome: probability > 0 */
};

struct grpoalign_solution {
    uint64_t magic;
    int64_t outcomes;
    double *policy, *log_policy, *advantage;
    grpoalign_report report;
};

#define GRA_REFERENCE_MAGIC UINT64_C(0x6665726f6d617267)
#define GRA_SOLUTION_MAGIC  UINT64_C(0x6c6f736f6d617267)

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
                                        const char *name, int32_t position, grpoalign_error *error);
/* beta > 0 and finite. */
grpoalign_status gra_check_beta(double beta, const char *name, int32_t position, int64_t index,
                                grpoalign_error *error);
grpoalign_status gra_check_model(const grpoalign_model *model, int32_t position,
                                 grpoalign_error *error);
grpoalign_status gra_check_penalty(const grpoalign_penalty *penalty, int32_t position,
                                   grpoalign_error *error);
grpoalign_status gra_check_reference(const grpoalign_reference *reference, int32_t position,
                                     grpoalign_error *error);
grpoalign_status gra_check_outcomes(int64_t given, int64_t expected, int32_t position,
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

/* A copy of a policy, normalised, after checking it. */
grpoalign_status gra_load_policy(const double *policy, int64_t n, const char *name,
                                 int32_t position, double *out, grpoalign_error *error);

#endif
