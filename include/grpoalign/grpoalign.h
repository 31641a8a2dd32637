/*
 * libgrpoalign: the stationary policy of Group Relative Policy Optimisation.
 *
 * A preference model turns a policy into advantages (model.h), a penalty turns advantages into a
 * policy (penalty.h); a problem joins them over a reference policy (problem.h), and a stationary
 * policy is where the two agree (solve.h). The mathematics is that of Vojnovic and Yun, "What is
 * the Alignment Objective of GRPO?", arXiv 2502.18548.
 *
 * Solve one thing first: the example of grpoalign_solve in solve.h is a whole program. Then,
 * by use:
 *
 *   reference.h  the reference policy            points.h  all stationary policies, folds, paths
 *   model.h      rewards or preferences          flow.h    the way of training to its end
 *   penalty.h    what holds the policy back      batch.h   contexts that share one std
 *   compose.h    sums of them, tokens, weights   preset.h  the conventions of trainers
 *   problem.h    the three together              inverse.h the beta that does what is wanted
 *   solve.h      its stationary policy           sensitivity.h  its derivatives
 *   bulk.h       many contexts in one call       status.h  codes and the error record
 *   rule.h       models by any rule of a group
 *
 * experimental.h is not stable, and not included here. grpoalign.hpp is all of this for C++.
 *
 * Conventions of every function
 *   - Arrays are borrowed for the call; what an object needs to keep it copies.
 *   - Matrices are row-major: element (i, j) is data[i * stride + j], stride >= number of columns.
 *   - Handles are created by *_new*, released by *_free; *_free(NULL) does nothing. On failure a
 *     constructor sets its output to NULL. A handle that has been freed must not be used again.
 *   - `error` is last and may be NULL.
 *   - A handle is immutable once created and may be shared by any number of threads.
 *   - Options structs start from their *_INIT macro (or *_init function); NULL means defaults.
 *   - The library never prints, exits or aborts, starts no thread but those that
 *     grpoalign_bulk_options asks for, and keeps no mutable global state.
 */
#ifndef GRPOALIGN_GRPOALIGN_H
#define GRPOALIGN_GRPOALIGN_H

#include <grpoalign/batch.h>
#include <grpoalign/bulk.h>
#include <grpoalign/compose.h>
#include <grpoalign/export.h>
#include <grpoalign/flow.h>
#include <grpoalign/inverse.h>
#include <grpoalign/model.h>
#include <grpoalign/penalty.h>
#include <grpoalign/points.h>
#include <grpoalign/preset.h>
#include <grpoalign/problem.h>
#include <grpoalign/progress.h>
#include <grpoalign/reference.h>
#include <grpoalign/rule.h>
#include <grpoalign/sensitivity.h>
#include <grpoalign/solve.h>
#include <grpoalign/status.h>
#include <grpoalign/version.h>

#endif
