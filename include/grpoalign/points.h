/*
 * Where training can end: all stationary policies, the folds where two of them meet, the curve they
 * form as beta changes, and the path of the one that pi_ref leads to.
 */
#ifndef GRPOALIGN_POINTS_H
#define GRPOALIGN_POINTS_H

#include <grpoalign/export.h>
#include <grpoalign/solve.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

/** A list of solutions, each with its own beta (see its report); it owns them. */
typedef struct grpoalign_points grpoalign_points;

/**
 * All stationary policies with full support at one beta.
 *
 * They are complete, and proved so, where the problem has one unknown (unscaled rewards, two reward
 * levels, the limit of large groups) or one solution (pairwise preferences). Elsewhere they are the
 * result of a search: the branch from large beta traced through its folds, Newton from policies
 * spread over the simplex, and deflation. grpoalign_points_complete tells which. With one unknown
 * they come in ascending order of expected reward.
 *
 * Arguments as for grpoalign_solve; options.start is not used, options.max_iterations is for each
 * solve of many.
 * Returns OK, also when there is none (count 0); or the errors of grpoalign_solve.
 *
 * @code
 * #include <grpoalign/grpoalign.h>
 *
 * int main(void)
 * {
 *     const double rewards[2] = {0.0, 1.0}, before[2] = {0.9, 0.1};
 *     grpoalign_model *model = NULL;
 *     grpoalign_penalty *penalty = NULL;
 *     grpoalign_reference *reference = NULL;
 *     grpoalign_problem *problem = NULL;
 *     grpoalign_points *points = NULL;
 *     int failed =
 *         grpoalign_model_new_group(rewards, 2, 32, NULL, &model, NULL) < 0 ||
 *         grpoalign_penalty_new(GRPOALIGN_PENALTY_DIRECT_KL, NULL, &penalty, NULL) < 0 ||
 *         grpoalign_reference_new(before, 2, NULL, &reference, NULL) < 0 ||
 *         grpoalign_problem_new(model, penalty, reference, NULL, &problem, NULL) < 0 ||
 *         grpoalign_points_new(problem, 0.7, NULL, &points, NULL) < 0;
 *     failed = failed || grpoalign_points_count(points) != 3; // two of them attract training
 *     grpoalign_points_free(points), grpoalign_problem_free(problem);
 *     grpoalign_reference_free(reference), grpoalign_penalty_free(penalty);
 *     grpoalign_model_free(model);
 *     return failed;
 * }
 * @endcode
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_points_new(const grpoalign_problem *problem, double beta,
                     const grpoalign_solve_options *options, grpoalign_points **out,
                     grpoalign_error *error);

/**
 * The folds with low <= beta <= high: the policies at which two stationary policies meet, so that
 * on one side of their beta there are two more than on the other. They come in the order met along
 * the curve from large beta on. Where a penalty empties an outcome the curve may have a corner;
 * that is no fold.
 *
 * low, high: 0 < low <= high, finite.
 * Complete where the problem has one unknown or always one solution, else the folds of the branch
 * from large beta.
 * Returns OK, also when there is none; or the errors of grpoalign_solve.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_points_new_folds(const grpoalign_problem *problem, double low, double high,
                           const grpoalign_solve_options *options, grpoalign_points **out,
                           grpoalign_error *error);

/**
 * The curve of stationary policies from the one at beta = high through all folds until it leaves
 * [low, high] for good, as many points as are needed to draw it. Points outside [low, high] are
 * where it leaves the interval and comes back.
 *
 * resolution: in (0, 1]: between neighbours no probability differs by more than this, and beta by
 *             no more than ten times this in decades (games: the length of a step in both
 *             together).
 * Complete as for folds: with one unknown all stationary policies lie on the curve. Empty where
 * there is none at high.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_points_new_curve(
    const grpoalign_problem *problem, double low, double high, double resolution,
    const grpoalign_solve_options *options, grpoalign_points **out, grpoalign_error *error);

/**
 * The stationary policies that pi_ref leads to at each of `count` betas: those of grpoalign_solve,
 * point by point, but cheaper where a point can be reached from the one before.
 *
 * betas: > 0, finite, in any order; solution k belongs to betas[k].
 * Returns OK; each solution has its own status (see its report). Errors as for grpoalign_solve, for
 * any beta.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_points_new_path(const grpoalign_problem *problem, const double *betas, int64_t count,
                          const grpoalign_solve_options *options, grpoalign_points **out,
                          grpoalign_error *error);

GRPOALIGN_API void grpoalign_points_free(grpoalign_points *points);

/** The number of solutions; 0 for NULL. */
GRPOALIGN_API int64_t grpoalign_points_count(const grpoalign_points *points);

/** 1 when the list is proved complete; 0 when it is what a search found, and for a path. */
GRPOALIGN_API int32_t grpoalign_points_complete(const grpoalign_points *points);

/** Of all stationary policies at one beta, the index of the one that pi_ref leads to, as
 *  grpoalign_solve gives it; -1 when there is none, and for other lists. */
GRPOALIGN_API int64_t grpoalign_points_from_reference(const grpoalign_points *points);

/** Solution k, borrowed: it lives as long as the list, and grpoalign_solution_free leaves it alone.
 *  NULL when k is out of range. */
GRPOALIGN_API const grpoalign_solution *grpoalign_points_solution(const grpoalign_points *points,
                                                                  int64_t k);

/**
 * The critical beta: below it no stationary policy has full support, and training collapses onto
 * the best outcomes. 0 where there is a stationary policy for every beta > 0. It is not zero only
 * for large groups with epsilon = 0 and no variance in the best outcomes, under direct KL, where it
 * is 1 / max over lambda of lambda sigma(lambda), pi ~ pi_ref exp(lambda r); chi-squared;
 * Jensen-Shannon; and alpha divergences, alpha >= 1/2.
 *
 * options: NULL for defaults; progress stops it.
 * beta:    receives the number; written on success only.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_critical_beta(const grpoalign_problem *problem, const grpoalign_solve_options *options,
                        double *beta, grpoalign_error *error);

GRPOALIGN_END

#endif
