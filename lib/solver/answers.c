/* Lists of answers, and those that follow beta where there is one answer at each. */
#include "solver/solver.h"

#include <math.h>
#include <string.h>

#include "base/status.h"

void gra_answers_start(gra_answers *answers)
{
    memset(answers, 0, sizeof *answers);
    answers->connected = -1;
}

int gra_answer_take(gra_answer *answer, const gra_problem *problem)
{
    memset(answer, 0, sizeof *answer);
    answer->slack = gra_arena_doubles(problem->arena, problem->reference.classes);
    answer->policy = gra_arena_doubles(problem->arena, problem->reference.classes);
    answer->unique = answer->stable = -1;
    return answer->slack != NULL && answer->policy != NULL;
}

void gra_answer_respond(const gra_problem *problem, gra_answer *answer)
{
    (void)problem->penalty->respond(problem->penalty, &problem->reference, answer->slack,
                                    answer->policy);
}

gra_answer *gra_answers_add(gra_answers *answers, const gra_problem *problem)
{
    gra_answer *items = gra_arena_grow(problem->arena, answers->items, answers->count,
                                       &answers->capacity, sizeof *items);
    if (items == NULL) {
        return NULL;
    }
    answers->items = items;
    return gra_answer_take(&items[answers->count], problem) ? &items[answers->count++] : NULL;
}

void gra_answer_copy(const gra_answer *from, gra_answer *to, int64_t classes)
{
    double *slack = to->slack, *policy = to->policy;
    memcpy(slack, from->slack, (size_t)classes * sizeof(double));
    memcpy(policy, from->policy, (size_t)classes * sizeof(double));
    *to = *from;
    to->slack = slack;
    to->policy = policy;
}

int gra_are_near(const double *policy, double beta, const double *other_policy, double other_beta,
                 int64_t classes, double resolution)
{
    int near = fabs(log10(beta / other_beta)) <= 10.0 * resolution;
    for (int64_t c = 0; c < classes && near; c++) {
        near = fabs(policy[c] - other_policy[c]) <= resolution;
    }
    return near;
}

grpoalign_status gra_find_path(const gra_problem *problem, const double *betas, int64_t count,
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
        GRA_TRY(gra_solve_classes(&here, answer));
    }
    return GRPOALIGN_OK;
}

/* The stretch between two answers, halved in log beta until neighbours are near. The second is not
 * added. */
static grpoalign_status fill(const gra_problem *problem, const gra_answer *from,
                             const gra_answer *to, double resolution, gra_answers *out)
{
    int64_t n = problem->reference.classes;
    double middle = sqrt(from->beta) * sqrt(to->beta);
    if (gra_are_near(from->policy, from->beta, to->policy, to->beta, n, resolution) ||
        !(middle < from->beta && middle > to->beta) || out->count >= GRA_LONGEST_CURVE) {
        gra_answer *added = gra_answers_add(out, problem);
        if (added == NULL) {
            return gra_fail_memory(problem->error);
        }
        gra_answer_copy(from, added, n);
        return GRPOALIGN_OK;
    }
    gra_problem here = *problem;
    gra_answer answer;
    here.beta = middle;
    if (!gra_answer_take(&answer, problem)) {
        return gra_fail_memory(problem->error);
    }
    GRA_TRY(gra_solve_classes(&here, &answer));
    GRA_TRY(fill(problem, from, &answer, resolution, out));
    return fill(problem, &answer, to, resolution, out);
}

grpoalign_status gra_curve_single(const gra_problem *problem, double low, double high,
                                  double resolution, gra_answers *out)
{
    gra_answers ends;
    const double betas[] = {high, low};
    GRA_TRY(gra_find_path(problem, betas, 2, &ends));
    GRA_TRY(fill(problem, &ends.items[0], &ends.items[1], resolution, out));
    gra_answer *last = gra_answers_add(out, problem);
    if (last == NULL) {
        return gra_fail_memory(problem->error);
    }
    gra_answer_copy(&ends.items[1], last, problem->reference.classes);
    out->complete = 1;
    return GRPOALIGN_OK;
}
