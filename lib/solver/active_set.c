/*
 * Penalties that cannot hold on to every outcome. Their slack ends at some probability pi > 0: an
 * outcome whose advantage asks for more is pushed down without end, and lost. As beta falls from
 * infinity the class that is pressed hardest is lost first; what is left is a problem of its own,
 * in which the next may be lost.
 *
 * Beyond the end the slack goes on in some monotone way, so that the problem has an answer with all
 * outcomes kept (inner). The class that is furthest beyond the end in this answer is taken out,
 * and what is left is solved again, until no class is beyond the end. Before it is taken out it is
 * asked whether training holds it beyond the end (beyond.c).
 */
#include "solver/solver.h"

#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

/* A slack beyond the end by no more than this is at the end, but for rounding. */
static const double AT_THE_END = 1e-9;

/*
 * What is left of a problem, as a problem of its own. Its classes are not those of the whole: two
 * of margins may become one, and levels that nobody has are gone.
 */
typedef struct rest {
    const gra_problem *whole;
    grpoalign_reference reference; /* 0 for what is lost, else as it was: it sums to less than 1 */
    gra_reduction reduction;
    gra_problem problem;
} rest;

/* Of every outcome of the model, with the lost ones left out. 0 on short memory. */
static int rest_start(rest *self, const gra_problem *whole)
{
    const gra_outcomes *outcomes = &whole->outcomes;
    int64_t all = outcomes->model->outcomes;
    grpoalign_reference *reference = &self->reference;
    *self = (rest){.whole = whole};
    reference->outcomes = all;
    reference->probability = gra_arena_doubles(whole->arena, all);
    reference->logarithm = gra_arena_doubles(whole->arena, all);
    reference->support = gra_arena_take(whole->arena, all, sizeof *reference->support);
    if (!reference->probability || !reference->logarithm || !reference->support) {
        return 0;
    }
    for (int64_t o = 0; o < all; o++) {
        reference->probability[o] = 0.0;
        reference->logarithm[o] = -INFINITY;
        reference->support[o] = 0;
    }
    for (int64_t i = 0; i < outcomes->count; i++) {
        if (whole->lost == NULL || !whole->lost[i]) {
            int64_t o = outcomes->at[i];
            reference->probability[o] =
                outcomes->share[i] * whole->reference.mass[whole->structure->class_of[o]];
            reference->logarithm[o] = outcomes->log_mass[i];
            reference->support[o] = 1;
            reference->supported++;
        }
    }
    return 1;
}

/* Reduces what is left; call gra_structure_release on the structure, also on failure. */
static grpoalign_status rest_reduce(rest *self)
{
    const gra_problem *whole = self->whole;
    GRA_TRY(gra_reduce(whole->outcomes.model, &self->reference, whole->penalty, &self->reduction,
                       whole->arena, whole->error));
    self->problem = *whole;
    self->problem.structure = &self->reduction.structure;
    self->problem.reference = self->reduction.reference;
    self->problem.outcomes = self->reduction.outcomes;
    self->problem.inner = 1;
    self->problem.lost = NULL;
    self->problem.start = NULL;
    self->problem.before = self->problem.earlier = NULL;
    return GRPOALIGN_OK;
}

/* Takes the outcomes of the classes with a mark out. */
static void rest_take_out(rest *self, const unsigned char *mark)
{
    const gra_outcomes *outcomes = &self->reduction.outcomes;
    for (int64_t i = 0; i < outcomes->count; i++) {
        int64_t o = outcomes->at[i];
        if (mark[self->reduction.structure.class_of[o]]) {
            self->reference.support[o] = 0;
            self->reference.probability[o] = 0.0;
            self->reference.logarithm[o] = -INFINITY;
            self->reference.supported--;
        }
    }
}

/* An answer to what is left as one to the whole: what is lost has no probability. */
static void rest_answer(const rest *self, const gra_answer *part, gra_answer *answer)
{
    const gra_problem *whole = self->whole;
    const gra_outcomes *outcomes = &self->reduction.outcomes;
    double *slack = answer->slack, *policy = answer->policy;
    *answer = *part;
    answer->slack = slack;
    answer->policy = policy;
    for (int64_t c = 0; c < whole->reference.classes; c++) {
        slack[c] = INFINITY;
        policy[c] = 0.0;
    }
    for (int64_t i = 0; i < outcomes->count; i++) {
        int64_t c = whole->structure->class_of[outcomes->at[i]],
                d = self->reduction.structure.class_of[outcomes->at[i]];
        slack[c] = part->slack[d];
        policy[c] += part->policy[d] * outcomes->share[i];
    }
}

/* The class furthest beyond the end, -1 for none. */
static int64_t hardest_pressed(const gra_penalty *penalty, const gra_answer *part, int64_t count)
{
    int64_t worst = -1;
    for (int64_t k = 0; k < count; k++) {
        if (part->slack[k] > penalty->slack_most * (1.0 + AT_THE_END) &&
            (worst < 0 || part->slack[k] > part->slack[worst])) {
            worst = k;
        }
    }
    return worst;
}

/* Classes so many times beyond the end go together, as long as they hold no more than this. */
static const double HARD_PRESSED = 2.0, LITTLE = 0.25;

/*
 * Whether a class that is far beyond the end stays there when worse ones are gone that hold little.
 * Where better rewards have better advantages it does: without the worse ones the mean is higher
 * and the spread smaller, and the multiplier falls by no more than the part that they held.
 */
static int stays_pressed(const gra_problem *problem)
{
    const gra_structure *structure = problem->structure;
    return problem->outcomes.model->by_mean_reward && structure->kind != GRA_RANKED &&
           (structure->kind != GRA_GAME || structure->game.margins == NULL);
}

/* Marks the class that is pressed hardest, and with it the next ones that are lost for sure. */
static void mark_lost(const gra_problem *problem, const gra_answer *part, int64_t worst,
                      unsigned char *mark)
{
    const double sure = HARD_PRESSED * problem->penalty->slack_most;
    int64_t n = problem->reference.classes;
    double gone = 0.0;
    int many = stays_pressed(problem);
    memset(mark, 0, (size_t)n * sizeof *mark);
    do {
        gone += part->policy[worst];
        mark[worst] = 1;
        worst = -1;
        for (int64_t k = 0; many && k < n; k++) {
            int next = !mark[k] && part->slack[k] > sure;
            worst = next && (worst < 0 || part->slack[k] > part->slack[worst]) ? k : worst;
        }
    } while (worst >= 0 && gone + part->policy[worst] <= LITTLE);
}

/* Fails where a class gains beyond the other end of the clamp: there nothing holds it. */
static grpoalign_status check_loose(const gra_problem *problem, const gra_answer *part,
                                    int64_t count)
{
    const gra_penalty *penalty = problem->penalty;
    for (int64_t k = 0; k < count; k++) {
        if (penalty->log_ratio(penalty, part->slack[k]) > penalty->loose_above) {
            return gra_fail(problem->error, GRPOALIGN_ERR_UNSUPPORTED, 2, -1,
                            "an outcome comes to more than exp(%.4g) times its reference "
                            "probability, beyond the other end of "
                            "the clamp, where nothing holds it back",
                            penalty->loose_above);
        }
    }
    return GRPOALIGN_OK;
}

/* Whether a class that was lost would come back: without the penalty it is worth more than those
 * that are held back. Then training has no end. */
static grpoalign_status check_lost(const gra_problem *problem, gra_answer *answer)
{
    const gra_penalty *penalty = problem->penalty;
    const gra_game *game;
    gra_game own;
    int64_t n = problem->reference.classes;
    double slope, nothing = penalty->score(penalty, -INFINITY, &slope), lambda = -INFINITY;
    int changes = problem->structure->kind == GRA_GAME || problem->structure->kind == GRA_AFFINE;
    if (!changes || isinf(nothing)) { /* elsewhere a loss leaves the differences as they were */
        return GRPOALIGN_OK;
    }
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    if (!gra_as_game(problem, &own, &game)) {
        return gra_fail_memory(problem->error);
    }
    double *w = gra_arena_doubles(problem->arena, game->levels),
           *a = gra_arena_doubles(problem->arena, game->levels);
    double *u = gra_arena_doubles(problem->arena, n);
    if (w == NULL || a == NULL || u == NULL) {
        return gra_fail_memory(problem->error);
    }
    gra_game_to_levels(game, answer->policy, w);
    if (!game->advantage(game, w, 0.0, GRA_EXACT, a, problem->arena)) {
        return gra_fail_memory(problem->error);
    }
    gra_game_to_classes(game, a, u);
    for (int64_t c = 0; c < n; c++) {
        lambda = answer->policy[c] > 0.0 ? fmax(lambda, u[c] / problem->beta + answer->slack[c])
                                         : lambda;
    }
    for (int64_t c = 0; c < n; c++) {
        if (answer->policy[c] == 0.0 && u[c] / problem->beta + nothing > lambda) {
            answer->status = GRPOALIGN_UNSETTLED;
            answer->stable = 0;
        }
    }
    gra_arena_rewind(problem->arena, mark);
    return GRPOALIGN_OK;
}

/* Solves what is left, all outcomes held, and asks which classes are beyond the end. *stays tells
 * that none is lost. The counts of the answer go on. */
static grpoalign_status look_at_rest(rest *self, gra_answer *part, unsigned char **mark, int *stays)
{
    const gra_problem *problem = &self->problem;
    int32_t iterations = part->iterations, factorizations = part->factorizations;
    GRA_TRY(rest_reduce(self));
    int64_t n = problem->reference.classes;
    *mark = gra_arena_take(problem->arena, n, sizeof **mark);
    if (*mark == NULL || !gra_answer_take(part, problem)) {
        return gra_fail_memory(problem->error);
    }
    part->iterations = iterations;
    part->factorizations = factorizations;
    GRA_TRY(problem->solve(problem, part));
    int64_t worst = hardest_pressed(problem->penalty, part, n);
    *stays = worst < 0;
    int stationary = part->status == GRPOALIGN_OK || part->status == GRPOALIGN_NOT_UNIQUE;
    if (worst >= 0 && stationary && problem->penalty->turns_back) {
        GRA_TRY(gra_stay_beyond(problem, worst, part, stays));
    }
    if (*stays) {
        GRA_TRY(check_loose(problem, part, n));
        return gra_stability(problem, part, &part->stable);
    }
    mark_lost(problem, part, worst, *mark);
    return GRPOALIGN_OK;
}

grpoalign_status gra_solve_active_set(const gra_problem *problem, gra_answer *answer)
{
    rest left;
    if (!rest_start(&left, problem)) {
        return gra_fail_memory(problem->error);
    }
    int64_t all = left.reference.supported;
    for (int stays = 0; !stays;) {
        gra_arena_mark_t arena = gra_arena_mark(problem->arena);
        unsigned char *mark;
        gra_answer part = {.iterations = answer->iterations,
                           .factorizations = answer->factorizations};
        grpoalign_status status = look_at_rest(&left, &part, &mark, &stays);
        if (status >= 0 && stays) {
            rest_answer(&left, &part, answer);
            answer->unique = problem->reference.classes == 1 && left.reference.supported == all
                                 ? 1
                                 : -1; /* other outcomes may be lost from elsewhere */
            answer->status = part.status == GRPOALIGN_NOT_UNIQUE ? GRPOALIGN_OK : part.status;
            answer->regular = answer->on_branch = 0;
        } else if (status >= 0) {
            answer->iterations = part.iterations;
            answer->factorizations = part.factorizations;
            rest_take_out(&left, mark);
        }
        gra_structure_release(&left.reduction.structure);
        gra_arena_rewind(problem->arena, arena);
        GRA_TRY(status);
    }
    return check_lost(problem, answer);
}
