/* Advantages of one group, as the trainers' documentation has them. */
#ifndef GPA_ADVANTAGES_H
#define GPA_ADVANTAGES_H

#include "simulate/simulator.h"

/* From its rewards. Returns whether the rewards differ. */
int normalise(const sim_recipe *recipe, const double *rewards, double *advantages);

#endif
