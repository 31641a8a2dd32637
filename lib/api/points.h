/* Lists of solutions, for the files that make them. */
#ifndef GRA_API_POINTS_H
#define GRA_API_POINTS_H

#include <grpoalign/points.h>

struct grpoalign_points {
    uint64_t magic;
    int64_t count, connected;
    int32_t complete;
    grpoalign_solution **items;
};

/* Room for `count` solutions, none there yet; NULL on short memory. */
grpoalign_points *gra_points_allocate(int64_t count);

#endif
