/* One call on a problem, for the files that make one. */
#ifndef GRA_API_CALLS_H
#define GRA_API_CALLS_H

#include <grpoalign/points.h>

#include "api/handles.h"
#include "solver/solver.h"

/* Checks problem, beta (the first two arguments) and the options, and opens a call. Close it also
 * after failure. */
grpoalign_status gra_open(gra_call *call, const grpoalign_problem *problem, double beta,
                          const grpoalign_solve_options *options, int32_t options_position,
                          grpoalign_error *error);

/* Lists of solutions, for the files that make them. */
struct grpoalign_points {
    gra_handle handle;
    int64_t count, connected;
    int32_t complete;
    grpoalign_solution **items;
};

/* Room for `count` solutions, none there yet; NULL on short memory. */
grpoalign_points *gra_points_allocate(int64_t count);

/* A solution becomes borrowed: its owner alone frees it, by gra_lent_free. */
void gra_lend(grpoalign_solution *solution);
void gra_lent_free(grpoalign_solution *solution);

#endif
