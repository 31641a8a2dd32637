/*
 * Total variation: a step for a slack. While the best class is worth more than 2 beta above the
 * worst that has anything, probability goes from the worst to the best; where the difference is 2
 * beta exactly, or falls below it between two classes, it rests. So stationary policies lie on one
 * ladder, from pi_ref to the best class alone, emptying classes in the order of their rewards; the
 * first one on it is where training that starts at pi_ref ends.
 *
 * That holds where a better reward means a better advantage, whatever the policy.
 */
#include "solver/solver.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

typedef struct ladder {
    const gra_problem *problem;
    gra_answer *answer;
    int64_t best, emptying;
    double *a;   /* advantages */
    double base; /* what the best class has when `emptying` is still full */
    int short_memory;
} ladder;

static int is_better(const gra_structure *structure, int64_t c, int64_t than)
{
    return structure->kind == GRA_AFFINE ? structure->affine.gap[c] < structure->affine.gap[than]
                                         : c > than;
}

/* (u of the best - u of class j)/beta - 2 at the current policy. */
static double excess(ladder *self, int64_t j)
{
    const gra_problem *problem = self->problem;
    const gra_structure *structure = problem->structure;
    const double *policy = self->answer->policy;
    double difference;
    self->answer->iterations++;
    if (structure->kind == GRA_AFFINE) {
        double inverse = NAN;
        self->short_memory |=
            !gra_affine_inverse(&structure->affine, policy, problem->arena, &inverse);
        difference = inverse * structure->affine.gap[j];
    } else if (structure->kind == GRA_RANKED) {
        /* The mass between the two counts twice, their own once. */
        gra_sum mass = {policy[j], 0.0};
        for (int64_t c = j + 1; c < structure->classes - 1; c++) {
            gra_sum_add(&mass, 2.0 * policy[c]);
        }
        gra_sum_add(&mass, policy[structure->classes - 1]);
        difference = structure->ranked_scale * gra_sum_value(mass);
    } else {
        const gra_game *game = &structure->game;
        self->short_memory |=
            !game->advantage(game, policy, 0.0, GRA_EXACT, self->a, problem->arena);
        difference = self->a[self->best] - self->a[j];
    }
    return difference / problem->beta - 2.0;
}

/* The excess when so much of the class that is being emptied has moved. What moves keeps its digits,
 * because the best class may have next to nothing before. */
static double excess_at(void *context, double moved)
{
    ladder *self = context;
    self->answer->policy[self->emptying] = self->problem->reference.mass[self->emptying] - moved;
    self->answer->policy[self->best] = self->base + moved;
    return excess(self, self->emptying);
}

/* The classes but the best, worst first. */
static void sort_classes(const gra_structure *structure, int64_t best, int64_t *order)
{
    int64_t count = 0;
    for (int64_t c = 0; c < structure->classes; c++) {
        if (c != best && is_better(structure, best, c)) {
            int64_t at = count++;
            for (; at > 0 && is_better(structure, order[at - 1], c); at--) {
                order[at] = order[at - 1];
            }
            order[at] = c;
        }
    }
    for (; count < structure->classes; count++) {
        order[count] = -1;
    }
}

/* Looks for the first place on a rung where the excess is gone; a rung is tried in so many parts.
 */
enum { PARTS = 32 };

/* Empties a class until the excess is gone: 1 with the policy there, 0 with the class empty and
 * excess left. */
static int descend(ladder *self)
{
    double full = self->problem->reference.mass[self->emptying];
    double before = 0.0, f_before = excess_at(self, before);
    for (int part = 1; part <= PARTS; part++) {
        double after = part < PARTS ? full * (double)part / PARTS : full,
               f_after = excess_at(self, after);
        if (f_after <= 0.0) {
            double moved = gra_root(excess_at, self, before, f_before, after, f_after);
            double step = 1e-6 * fmax(moved, 1e-3 * full), here = excess_at(self, moved);
            double slope = (excess_at(self, fmin(full, moved + step)) - here) / step;
            double noise = 64.0 * DBL_EPSILON * (2.0 + 1.0 / self->problem->beta);
            (void)excess_at(self, moved);
            self->answer->policy_error = fmin(1.0, noise / fmax(fabs(slope), 1e-300) + DBL_EPSILON);
            return 1;
        }
        before = after;
        f_before = f_after;
    }
    return 0;
}

static grpoalign_status climb(ladder *self, const int64_t *order)
{
    const gra_problem *problem = self->problem;
    gra_answer *answer = self->answer;
    int64_t n = problem->reference.classes;
    memcpy(answer->policy, problem->reference.mass, (size_t)n * sizeof(double));
    answer->policy_error = 2.0 * DBL_EPSILON;
    for (int64_t c = 0; c < n; c++) {
        answer->slack[c] = 0.0;
    }
    for (int64_t k = 0; k < n && order[k] >= 0; k++) {
        int64_t j = order[k];
        self->emptying = j;
        self->base = answer->policy[self->best];
        if (excess(self, j) <= 0.0) {
            break;
        }
        answer->slack[self->best] = -1.0;
        if (descend(self)) {
            answer->slack[j] = 1.0;
            break;
        }
        answer->policy[j] = 0.0;
        answer->slack[j] = INFINITY;
    }
    return self->short_memory ? gra_fail_memory(problem->error) : GRPOALIGN_OK;
}

grpoalign_status gra_solve_total_variation(const gra_problem *problem, gra_answer *answer)
{
    const gra_structure *structure = problem->structure;
    int64_t n = structure->classes;
    if (structure->kind == GRA_GAME &&
        (structure->game.distribution != NULL || structure->game.margins != NULL ||
         structure->game.unordered)) {
        return gra_fail(
            problem->error, GRPOALIGN_ERR_UNSUPPORTED, 2, -1,
            "total variation is solved where a better reward is a better advantage: not for %s",
            structure->game.margins != NULL ? "margins"
            : structure->game.unordered     ? "group rules"
                                            : "random rewards of three levels or more");
    }
    ladder self = {.problem = problem, .answer = answer, .a = gra_arena_doubles(problem->arena, n)};
    int64_t *order = gra_arena_take(problem->arena, n, sizeof *order);
    if (self.a == NULL || order == NULL) {
        return gra_fail_memory(problem->error);
    }
    for (int64_t c = 1; c < n; c++) {
        self.best = is_better(structure, c, self.best) ? c : self.best;
    }
    sort_classes(structure, self.best, order);
    answer->method = GRPOALIGN_METHOD_SCALAR;
    answer->stable =
        1; /* probability flows to it from the side of pi_ref, and the excess is below 0 beyond */
    return climb(&self, order);
}
