/* Numbers, intervals and grids as users write them. */
#ifndef GPA_NUMBER_H
#define GPA_NUMBER_H

#include <stdint.h>

/* Each returns 0 when the text is not wholly what it should be. */
int parse_number(const char *value, double *out); /* finite */
int parse_integer(const char *value, int64_t *out);
int parse_interval(const char *value, double *low, double *high); /* LOW:HIGH, 0 < LOW <= HIGH */

/*
 * A grid: numbers with commas between them, or LOW:HIGH:logN or LOW:HIGH:linN for N of them, N
 * >= 2. Fills a new array.
 */
typedef struct grid {
    double *values;
    int64_t count;
    int logarithmic;
} grid;

int parse_grid(const char *value, grid *out);
void grid_free(grid *self);

/* The most values a grid may have. */
enum { GRID_MOST = 100000 };

#endif
