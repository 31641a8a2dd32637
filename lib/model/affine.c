#include "model/affine.h"

#include "base/numeric.h"

gra_centre gra_find_centre(int64_t classes, const double *gap, const double *reward,
                           const double *policy)
{
    gra_centre centre = {0, 0.0, 0.0};
    gra_sum sum = {0.0, 0.0};
    for (int64_t c = 1; c < classes; c++) {
        centre.heaviest = policy[c] > policy[centre.heaviest] ? c : centre.heaviest;
    }
    centre.pivot = reward != NULL ? reward[centre.heaviest] : -gap[centre.heaviest];
    for (int64_t c = 0; c < classes; c++) {
        gra_sum_add(&sum, policy[c] * gra_deviation(gap, reward, centre, c));
    }
    centre.offset = gra_sum_value(sum);
    return centre;
}

int gra_affine_inverse(const gra_affine *self, const double *policy, gra_arena *arena,
                       double *inverse)
{
    gra_moments of;
    if (!self->divisor.kind->moments(&self->divisor, 0, policy, 0, arena, &of)) {
        return 0;
    }
    *inverse = self->divisor.kind->inverse(&self->divisor, &of);
    return 1;
}
