/*
 * Not stable yet: what stands here may change or vanish in any version. grpoalign.h does not
 * include it.
 */
#ifndef GRPOALIGN_EXPERIMENTAL_H
#define GRPOALIGN_EXPERIMENTAL_H

#include <grpoalign/export.h>
#include <grpoalign/model.h>

GRPOALIGN_BEGIN

/* How expectations over groups are computed: grpoalign_reward_options.expectation, group models
 * only. AUTO takes the cheapest by a cost model; all are exact to rounding or to about 1e-14. The
 * others are for tests and measurements. */
typedef enum grpoalign_expectation {
    GRPOALIGN_EXPECTATION_AUTO = 0,
    GRPOALIGN_EXPECTATION_BERNSTEIN = 1,   /* two reward levels: a Bernstein sum of group_size
                                              terms */
    GRPOALIGN_EXPECTATION_ENUMERATION = 2, /* every composition of a group */
    GRPOALIGN_EXPECTATION_QUADRATURE = 3   /* Gaussian location-scale quadrature, any levels and
                                              size */
} grpoalign_expectation;

/**
 * GRPOALIGN_EXPECTATION_* in use, AUTO for models that need none.
 *
 * @code
 * #include <string.h>
 * #include <grpoalign/experimental.h>
 * #include <grpoalign/grpoalign.h>
 *
 * int main(void)
 * {
 *     const double rewards[2] = {0.0, 1.0};
 *     grpoalign_model *model = NULL;
 *     int failed = grpoalign_model_new_group(rewards, 2, 8, NULL, &model, NULL) < 0;
 *     int32_t method = grpoalign_model_expectation(model);
 *     failed = failed || strcmp(grpoalign_expectation_name(method), "bernstein") != 0;
 *     grpoalign_model_free(model);
 *     return failed;
 * }
 * @endcode
 */
GRPOALIGN_API int32_t grpoalign_model_expectation(const grpoalign_model *model);

/** "auto", "bernstein", "enumeration", "quadrature"; "unknown" for another number. Static
 * storage. */
GRPOALIGN_API const char *grpoalign_expectation_name(int32_t expectation);

GRPOALIGN_END

#endif
