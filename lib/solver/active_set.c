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
#include "linalg/linalg.h"

/* A slack beyond the end by no more than this is at the end, but for rounding. */
static const double AT_THE_END = 1e-9;

/* A game over the classes kept: the levels stay, some without a class. 0 on short memory. */
static int keep_game(const gra_game *from, const int64_t *kept, int64_t count, gra_game *out,
                     gra_arena *arena)
{
    int64_t levels = from->levels;
    *out = *from;
    out->classes = count;
    out->near = NULL;
    if (from->margins != NULL) {
        double *margins = gra_arena_doubles(arena, count * count);
        for (int64_t i = 0; margins != NULL && i < count; i++) {
            for (int64_t j = 0; j < count; j++) {
                margins[i * count + j] = from->margins[kept[i] * levels + kept[j]];
            }
        }
        if (margins != NULL) {
            gra_game_from_margins(out, margins, count);
        }
        return margins != NULL;
    }
    out->distribution = gra_arena_rows(arena, from->distribution, levels, kept, count);
    return out->distribution != NULL;
}

/* The outcomes of the classes kept, and the new number of each one's class. 0 on short memory. */
static int keep_outcomes(const gra_problem *problem, const int64_t *kept, int64_t count,
                         gra_structure *structure, gra_outcomes *out)
{
    gra_arena *arena = problem->arena;
    const gra_outcomes *from = &problem->outcomes;
    int64_t *number = gra_arena_take(arena, problem->reference.classes, sizeof *number);
    int64_t *class_of = gra_arena_take(arena, from->model->outcomes, sizeof *class_of);
    int64_t *at = gra_arena_take(arena, from->count, sizeof *at);
    double *log_mass = gra_arena_doubles(arena, from->count),
           *share = gra_arena_doubles(arena, from->count);
    if (number == NULL || class_of == NULL || at == NULL || log_mass == NULL || share == NULL) {
        return 0;
    }
    for (int64_t c = 0; c < problem->reference.classes; c++) {
        number[c] = -1;
    }
    for (int64_t k = 0; k < count; k++) {
        number[kept[k]] = k;
    }
    for (int64_t o = 0; o < from->model->outcomes; o++) {
        class_of[o] = -1;
    }
    *out = (gra_outcomes){.model = from->model, .at = at, .log_mass = log_mass, .share = share};
    for (int64_t i = 0; i < from->count; i++) {
        int64_t c = number[problem->structure->class_of[from->at[i]]];
        if (c >= 0) {
            class_of[from->at[i]] = c;
            at[out->count] = from->at[i];
            log_mass[out->count] = from->log_mass[i];
            share[out->count++] = from->share[i];
        }
    }
    structure->class_of = class_of;
    return 1;
}

/* The problem without the outcomes that are lost already. Classes of which nothing is left keep
 * their numbers. 0 on short memory. */
static int leave_lost(const gra_problem *problem, gra_problem *out)
{
    gra_arena *arena = problem->arena;
    const gra_outcomes *from = &problem->outcomes;
    const int64_t *class_of = problem->structure->class_of;
    int64_t n = problem->reference.classes, kept = 0;
    int64_t *at = gra_arena_take(arena, from->count, sizeof *at);
    double *mass = gra_arena_doubles(arena, n), *log_mass = gra_arena_doubles(arena, n),
           *log_kept = gra_arena_doubles(arena, from->count),
           *share_kept = gra_arena_doubles(arena, from->count);
    *out = *problem;
    out->lost = NULL;
    if (!at || !mass || !log_mass || !log_kept || !share_kept) {
        return 0;
    }
    memset(mass, 0, (size_t)n * sizeof *mass);
    for (int64_t i = 0; i < from->count; i++) { /* what is left of each class, as a share */
        mass[class_of[from->at[i]]] += problem->lost[i] ? 0.0 : from->share[i];
    }
    for (int64_t i = 0; i < from->count; i++) {
        int64_t c = class_of[from->at[i]];
        if (!problem->lost[i]) {
            at[kept] = from->at[i];
            log_kept[kept] = from->log_mass[i];
            share_kept[kept++] = from->share[i] / mass[c];
        }
    }
    for (int64_t c = 0; c < n; c++) {
        log_mass[c] = problem->reference.log_mass[c] + log(mass[c]);
        mass[c] *= problem->reference.mass[c];
    }
    out->reference.mass = mass;
    out->reference.log_mass = log_mass;
    out->outcomes = (gra_outcomes){from->model, kept, at, log_kept, share_kept};
    return 1;
}

/* What is left of a problem with the classes kept. 0 on short memory. */
static int reduce(const gra_problem *problem, const int64_t *kept, int64_t count,
                  gra_structure *structure, gra_problem *out)
{
    gra_arena *arena = problem->arena;
    *out = *problem;
    *structure = *problem->structure;
    out->structure = structure;
    out->inner = 1;
    out->start = NULL;
    out->before = out->earlier = NULL;
    structure->classes = out->reference.classes = count;
    out->reference.mass = gra_arena_pick(arena, problem->reference.mass, kept, count);
    out->reference.log_mass = gra_arena_pick(arena, problem->reference.log_mass, kept, count);
    if (out->reference.mass == NULL || out->reference.log_mass == NULL ||
        !keep_outcomes(problem, kept, count, structure, &out->outcomes)) {
        return 0;
    }
    if (count == 1) {
        structure->kind = GRA_FLAT;
    }
    if (structure->kind == GRA_AFFINE) {
        if (!gra_affine_restrict(&problem->structure->affine, kept, count, &structure->affine,
                                 arena)) {
            return 0;
        }
        structure->kind = gra_max(structure->affine.gap, count) > 0.0 ? GRA_AFFINE : GRA_FLAT;
    }
    return structure->kind != GRA_GAME ||
           keep_game(&problem->structure->game, kept, count, &structure->game, arena);
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

/* Whether a class that was lost would come back in a game, as it may where preferences are cyclic:
 * then training has no end. */
static grpoalign_status check_lost(const gra_problem *problem, gra_answer *answer)
{
    const gra_penalty *penalty = problem->penalty;
    const gra_game *game = &problem->structure->game;
    int64_t n = problem->reference.classes;
    double slope, nothing = penalty->score(penalty, -INFINITY, &slope), lambda = -INFINITY;
    if (problem->structure->kind != GRA_GAME || isinf(nothing)) {
        return GRPOALIGN_OK;
    }
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
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

grpoalign_status gra_solve_active_set(const gra_problem *whole, gra_answer *answer)
{
    int64_t n = whole->reference.classes, count = 0;
    int64_t *kept = gra_arena_take(whole->arena, n, sizeof *kept);
    gra_problem without = *whole;
    const gra_problem *problem = &without;
    if (kept == NULL || (whole->lost != NULL && !leave_lost(whole, &without))) {
        return gra_fail_memory(whole->error);
    }
    for (int64_t c = 0; c < n; c++) {
        if (problem->reference.mass[c] > 0.0) {
            kept[count++] = c;
        }
    }
    for (;;) {
        gra_arena_mark_t mark = gra_arena_mark(problem->arena);
        gra_problem left;
        gra_structure structure;
        gra_answer part;
        if (!reduce(problem, kept, count, &structure, &left) || !gra_answer_take(&part, &left)) {
            return gra_fail_memory(problem->error);
        }
        part.iterations = answer->iterations;
        part.factorizations = answer->factorizations;
        GRA_TRY(problem->solve(&left, &part));
        int64_t worst = hardest_pressed(problem->penalty, &part, count);
        int stays = worst < 0,
            stationary = part.status == GRPOALIGN_OK || part.status == GRPOALIGN_NOT_UNIQUE;
        if (worst >= 0 && stationary && problem->penalty->turns_back) {
            GRA_TRY(gra_stay_beyond(&left, worst, &part, &stays));
        }
        if (stays) {
            GRA_TRY(check_loose(problem, &part, count));
            GRA_TRY(gra_stability(&left, &part, &part.stable));
            double *slack = answer->slack, *policy = answer->policy;
            *answer = part;
            answer->slack = slack;
            answer->policy = policy;
            answer->unique =
                count == 1 && n == 1 ? 1 : -1; /* other outcomes may be lost from elsewhere */
            answer->status = part.status == GRPOALIGN_NOT_UNIQUE ? GRPOALIGN_OK : part.status;
            answer->regular = answer->on_branch = 0;
            for (int64_t c = 0; c < n; c++) {
                slack[c] = INFINITY;
                policy[c] = 0.0;
            }
            for (int64_t k = 0; k < count; k++) {
                slack[kept[k]] = part.slack[k];
                policy[kept[k]] = part.policy[k];
            }
            gra_arena_rewind(problem->arena, mark);
            return check_lost(problem, answer);
        }
        answer->iterations = part.iterations;
        answer->factorizations = part.factorizations;
        memmove(kept + worst, kept + worst + 1, (size_t)(count - worst - 1) * sizeof *kept);
        count--;
        gra_arena_rewind(problem->arena, mark);
    }
}
