/* How a solution moves with beta, rewards and reference: what --derivatives tells. */
#ifndef GPA_DERIVATIVES_H
#define GPA_DERIVATIVES_H

#include <grpoalign/grpoalign.h>

#include "base/text.h"
#include "input/context.h"

enum { MOST_PARTS = PENALTY_KINDS + 1 };

/* All zeros: none were asked for. */
typedef struct derivatives {
    int wanted;
    int64_t outcomes;
    int part_count;                /* of a penalty that is a sum; 0: it is none */
    const char *parts[MOST_PARTS]; /* their names; the entropy's last */
    double *by_beta;               /* per part: outcomes */
    double *by_rewards;   /* outcomes x outcomes, or NULL; columns of NaN where there are none */
    double *by_reference; /* the same */
    char note[256];       /* why there are none */
} derivatives;

/* Takes those of a solution; what has none is noted. Returns a status of the library. */
grpoalign_status derivatives_take(derivatives *self, const context *c,
                                  const grpoalign_problem *problem,
                                  const grpoalign_solution *solution, grpoalign_error *error);
void derivatives_free(derivatives *self);
void json_derivatives(text *out, const derivatives *self);

#endif
