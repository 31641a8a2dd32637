/* Answers: how they start, the trivial ones, lists of them, and those that follow beta where there
 * is one answer at each. */
#include "solver/solver.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/status.h"

void gra_answers_start(gra_answers *answers)
{
    memset(answers, 0, sizeof *answers);
    answers->connected = -1;
}

void gra_answer_start(gra_answer *answer, const gra_problem *problem)
{
    answer->beta = problem->beta;
    answer->status = GRPOALIGN_OK;
    answer->unique = answer->stable = -1;
    answer->on_branch = answer->regular = 0;
}

int gra_answer_take(gra_answer *answer, const gra_problem *problem)
{
    memset(answer, 0, sizeof *answer);
    gra_answer_start(answer, problem);
    answer->slack = gra_arena_doubles(problem->arena, problem->reference.classes);
    answer->policy = gra_arena_doubles(problem->arena, problem->reference.classes);
    return answer->slack != NULL && answer->policy != NULL;
}

void gra_answer_respond(const gra_problem *problem, gra_answer *answer)
{
    (void)problem->penalty->respond(problem->penalty, &problem->reference, answer->slack,
                                    answer->policy);
}

void gra_answer_reference(const gra_problem *problem, gra_answer *answer)
{
    for (int64_t c = 0; c < problem->reference.classes; c++) {
        answer->slack[c] = problem->penalty->slack(problem->penalty, 0.0);
        answer->policy[c] = problem->reference.mass[c];
    }
    if (problem->penalty->lets_go) { /* some of the reference may be lost */
        gra_answer_respond(problem, answer);
    }
    answer->method = GRPOALIGN_METHOD_TRIVIAL;
    answer->unique = answer->stable = 1;
    answer->policy_error = DBL_EPSILON;
}

void gra_collapse_affine(const gra_problem *problem, gra_answer *answer)
{
    const gra_class_reference *reference = &problem->reference;
    const double *gap = problem->structure->affine.gap;
    double top = -INFINITY, sum = 0.0;
    for (int64_t c = 0; c < reference->classes; c++) {
        top = gap[c] == 0.0 ? fmax(top, reference->log_mass[c]) : top;
    }
    for (int64_t c = 0; c < reference->classes; c++) {
        answer->policy[c] = gap[c] == 0.0 ? exp(reference->log_mass[c] - top) : 0.0;
        sum += answer->policy[c];
    }
    for (int64_t c = 0; c < reference->classes; c++) {
        answer->policy[c] /= sum;
        answer->slack[c] =
            gap[c] == 0.0 ? problem->penalty->slack(problem->penalty, -(top + log(sum))) : INFINITY;
    }
    answer->method = GRPOALIGN_METHOD_SCALAR;
    answer->status = GRPOALIGN_COLLAPSED;
    answer->unique = -1; /* no stationary policy: uniqueness has no meaning */
    answer->stable = 1;  /* where training ends */
    answer->policy_error = DBL_EPSILON;
    answer->beta = problem->beta;
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

grpoalign_status gra_report_progress(const gra_problem *problem, const gra_answer *answer,
                                     double beta, double change)
{
    if (problem->progress == NULL) {
        return GRPOALIGN_OK;
    }
    grpoalign_progress progress;
    memset(&progress, 0, sizeof progress);
    progress.struct_size = sizeof progress;
    progress.method = answer->method;
    progress.iteration = answer->iterations;
    progress.factorizations = answer->factorizations;
    progress.beta = beta;
    progress.change = change;
    if (problem->progress(problem->user, &progress) != 0) {
        return gra_fail(problem->error, GRPOALIGN_ERR_CANCELLED, 0, -1,
                        "stopped by the progress function after %d iterations",
                        (int)answer->iterations);
    }
    return GRPOALIGN_OK;
}

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

static grpoalign_status add_copy(const gra_problem *problem, const gra_answer *from,
                                 gra_answers *out)
{
    gra_answer *added = gra_answers_add(out, problem);
    if (added == NULL) {
        return gra_fail_memory(problem->error);
    }
    gra_answer_copy(from, added, problem->reference.classes);
    return GRPOALIGN_OK;
}

/* Halvings of a stretch of log beta: after so many its ends are neighbours in doubles. */
enum { DEEPEST = 64 };

/* The answers after `from`, which is the last in the list, up to `to`: the stretch between them is
 * halved in log beta until neighbours are near. */
static grpoalign_status fill(const gra_problem *problem, const gra_answer *to, double resolution,
                             gra_answers *out)
{
    int64_t n = problem->reference.classes;
    gra_problem here = *problem;
    gra_answer right[DEEPEST + 1] = {*to}; /* the ends to come, the nearest one last */
    for (int depth = 0; depth >= 0;) {
        const gra_answer *left = &out->items[out->count - 1], *next = &right[depth];
        here.beta = sqrt(left->beta) * sqrt(next->beta);
        if (gra_are_near(left->policy, left->beta, next->policy, next->beta, n, resolution) ||
            !(here.beta < left->beta && here.beta > next->beta) ||
            out->count >= GRA_LONGEST_CURVE || depth == DEEPEST) {
            GRA_TRY(add_copy(problem, next, out));
            depth--;
            continue;
        }
        if (!gra_answer_take(&right[depth + 1], &here)) {
            return gra_fail_memory(problem->error);
        }
        GRA_TRY(problem->solve(&here, &right[++depth]));
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_curve_single(const gra_problem *problem, double low, double high,
                                  double resolution, gra_answers *out)
{
    gra_answers ends;
    const double betas[] = {high, low};
    GRA_TRY(gra_path_single(problem, betas, 2, &ends));
    GRA_TRY(add_copy(problem, &ends.items[0], out));
    GRA_TRY(fill(problem, &ends.items[1], resolution, out));
    out->complete = 1;
    return GRPOALIGN_OK;
}
