/*
 * libgrpoalign: the stationary policy of Group Relative Policy Optimisation.
 *
 * A preference model turns a policy into advantages (model.h), a penalty turns advantages into a policy
 * (penalty.h), and a stationary policy is where the two agree (solve.h). The mathematics is that of
 * Vojnovic and Yun, "What is the Alignment Objective of GRPO?", arXiv 2502.18548.
 *
 * One context: outcomes 0..n-1, a reference policy pi_ref over them (reference.h), and a regularisation
 * constant beta > 0.
 *
 * Conventions of every function
 *   - Arrays are borrowed for the call; what an object needs to keep it copies.
 *   - Matrices are row-major: element (i, j) is data[i * stride + j], stride >= number of columns.
 *   - Handles are created by *_new*, released by *_free; *_free(NULL) does nothing. On failure a
 *     constructor sets its output to NULL.
 *   - `error` is last and may be NULL.
 *   - A handle is immutable once created and may be shared by any number of threads.
 *   - The library never prints, exits, aborts or starts a thread, and keeps no mutable global state.
 */
#ifndef GRPOALIGN_GRPOALIGN_H
#define GRPOALIGN_GRPOALIGN_H

#include <grpoalign/batch.h>
#include <grpoalign/export.h>
#include <grpoalign/flow.h>
#include <grpoalign/model.h>
#include <grpoalign/penalty.h>
#include <grpoalign/points.h>
#include <grpoalign/preset.h>
#include <grpoalign/reference.h>
#include <grpoalign/solve.h>
#include <grpoalign/status.h>
#include <grpoalign/version.h>

#endif
