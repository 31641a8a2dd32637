/* What follows from one answer at each beta: the path over a list of betas, and the curve where
 * there is no other. */
#include "solver/solver.h"

#include <math.h>

#include "base/status.h"

grpoalign_status gra_path_single(const gra_problem *problem, const double *betas, int64_t count,
                                 gra_answers *out)
{
    gra_problem here = *problem;
    gra_answers_start(out);
    for (int64_t i = 0; i < count; i++) {
        gra_answer *answer = gra_answers_add(out, problem);
        if (answer == NULL) {
            return gra_fail_memory(problem->error);
        }
        const gra_answer *before = i > 0 ? &out->items[i - 1] : NULL,
                         *earlier = i > 1 ? &out->items[i - 2] : NULL;
        here.beta = betas[i];
        here.before = before != NULL && before->on_branch ? before : NULL;
        here.earlier =
            here.before != NULL && earlier != NULL && earlier->on_branch ? earlier : NULL;
        GRA_TRY(problem->solve(&here, answer));
    }
    return GRPOALIGN_OK;
}

static grpoalign_status add_copy(const gra_problem *problem, const gra_answer *answer,
                                 gra_answers *out)
{
    gra_answer *added = gra_answers_add(out, problem);
    if (added == NULL) {
        return gra_fail_memory(problem->error);
    }
    gra_answer_copy(answer, added, problem->reference.classes);
    return GRPOALIGN_OK;
}

/* No stretch between two answers is halved more often than this. */
enum { DEEPEST = 60 };

/* The stretch between two answers, halved in log beta until neighbours are near. The second is not
 * added. */
static grpoalign_status fill(const gra_problem *problem, const gra_answer *from,
                             const gra_answer *to, double resolution, gra_answers *out)
{
    gra_answer room[DEEPEST + 1], left = *from;
    const gra_answer *right[DEEPEST + 1] = {to};
    gra_problem here = *problem;
    for (int depth = 0;;) {
        const gra_answer *end = right[depth];
        double middle = sqrt(left.beta) * sqrt(end->beta);
        int divisible = middle < left.beta && middle > end->beta && depth < DEEPEST;
        if (!divisible || out->count >= GRA_LONGEST_CURVE ||
            gra_are_near(left.policy, left.beta, end->policy, end->beta, problem->reference.classes,
                         resolution)) {
            GRA_TRY(add_copy(problem, &left, out));
            left = *end;
            if (depth-- == 0) {
                return GRPOALIGN_OK;
            }
            continue;
        }
        here.beta = middle;
        depth++;
        if (!gra_answer_take(&room[depth], problem)) {
            return gra_fail_memory(problem->error);
        }
        GRA_TRY(problem->solve(&here, &room[depth]));
        right[depth] = &room[depth];
    }
}

grpoalign_status gra_curve_single(const gra_problem *problem, double low, double high,
                                  double resolution, gra_answers *out)
{
    gra_answers ends;
    const double betas[] = {high, low};
    GRA_TRY(gra_path_single(problem, betas, 2, &ends));
    GRA_TRY(fill(problem, &ends.items[0], &ends.items[1], resolution, out));
    out->complete = 1;
    return add_copy(problem, &ends.items[1], out);
}
