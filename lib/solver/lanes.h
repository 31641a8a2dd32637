/*
 * Contexts side by side: a block of them with the same number of outcomes is solved in vector lanes,
 * where the model has one unknown. What a lane cannot do it leaves to the ordinary engines.
 */
#ifndef GRA_SOLVER_LANES_H
#define GRA_SOLVER_LANES_H

#include <stdint.h>

#include "base/vector.h"

enum { GRA_LANES = GRA_WIDTH };

/* u = (r - mean)/(sigma + epsilon) in large groups, or factor (r - mean), or by rank; under the
 * reverse KL. */
typedef struct gra_lane_rule {
    int over_std;
    int by_rank;    /* mass of the policy below less mass above */
    double epsilon; /* of the std */
    double factor;  /* of unscaled rewards */
} gra_lane_rule;

/* Arrays are outcomes x GRA_LANES: outcome o of lane k at [o * GRA_LANES + k], aligned to 64
 * bytes. */
typedef struct gra_lane_block {
    int64_t outcomes;
    double *reward;             /* in */
    double *mass;               /* in: >= 0, any sum > 0; out: the reference */
    double *gap, *deviation;    /* scratch */
    double *policy, *advantage; /* out */
    double beta[GRA_LANES];     /* in */
    double error[GRA_LANES];    /* out: estimated, of a probability */
    double iterations[GRA_LANES];
    double solved[GRA_LANES]; /* out: 1, or 0 where the lane has no answer */
} gra_lane_block;

void gra_lanes_solve(const gra_lane_rule *rule, gra_lane_block *block);

#endif
