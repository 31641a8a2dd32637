/* Means over independent runs, and what they leave open. */
#ifndef GPA_INTERVALS_H
#define GPA_INTERVALS_H

#include <stdint.h>

/*
 * Means over the runs, and intervals that hold together with the level (Sidak; of two probabilities
 * that sum to 1 one is the other), by Student's distribution. They may reach beyond what runs can
 * give.
 * runs: repetitions x n numbers; mean, low, high: n each.
 */
void intervals(const double *runs, int64_t repetitions, int64_t n, double level, double *mean,
               double *low, double *high);

#endif
