/* Answers: started, listed, and those that need no search; and what the host is told. */
#include "solver/solver.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

void gra_answers_start(gra_answers *answers)
{
    memset(answers, 0, sizeof *answers);
    answers->connected = -1;
}

void gra_answer_start(gra_answer *answer, const gra_problem *problem)
{
    double *slack = answer->slack, *policy = answer->policy;
    int32_t iterations = answer->iterations, factorizations = answer->factorizations;
    *answer = (gra_answer){.beta = problem->beta,
                           .slack = slack,
                           .policy = policy,
                           .iterations = iterations,
                           .factorizations = factorizations,
                           .unique = -1,
                           .stable = -1,
                           .rate = NAN};
}

int gra_answer_take(gra_answer *answer, const gra_problem *problem)
{
    *answer = (gra_answer){.beta = 0.0};
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

/* The best classes alone, where training ends that nothing holds. */
void gra_answer_collapse(const gra_problem *problem, gra_answer *answer)
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

int gra_as_game(const gra_problem *problem, gra_game *own, const gra_game **game)
{
    return gra_game_of(problem->structure, own, game, problem->arena);
}
