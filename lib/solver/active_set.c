/*
 * Penalties that cannot hold on to every outcome. Their slack ends at some probability pi > 0: an
 * outcome whose advantage asks for more is pushed down without end, and lost. As beta falls from
 * infinity the class that is pressed hardest is lost first; what is left is a problem of its own,
 * in which the next may be lost.
 *
 * Beyond the end the slack goes on in some monotone way, so the smooth solvers always have an
 * answer; a class beyond the end in it is dropped, the one furthest beyond first, until none is.
 */
#include "solver/solver.h"

#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"
#include "linalg/linalg.h"

/* Rounding of a slack that is just at the end. */
static const double AT_THE_END = 1e-9;

/* The entries of `from` at the classes kept; NULL stays NULL. 0 on short memory. */
static int pack(const double *from, const int64_t *kept, int64_t count, const double **out,
                gra_arena *arena)
{
    double *packed = from != NULL ? gra_arena_doubles(arena, count) : NULL;
    *out = packed;
    for (int64_t k = 0; packed != NULL && k < count; k++) {
        packed[k] = from[kept[k]];
    }
    return from == NULL || packed != NULL;
}

/* The rows of a distribution over `levels` at the classes kept, NULL meaning that every class is
 * the level of its number. 0 on short memory. */
static int pack_distribution(const double *from, int64_t levels, const int64_t *kept, int64_t count,
                             const double **out, gra_arena *arena)
{
    double *distribution = gra_arena_doubles(arena, count * levels);
    *out = distribution;
    for (int64_t i = 0; distribution != NULL && i < count; i++) {
        for (int64_t l = 0; l < levels; l++) {
            distribution[i * levels + l] =
                from != NULL ? from[kept[i] * levels + l] : (double)(kept[i] == l);
        }
    }
    return distribution != NULL;
}

/* A game over the classes kept: the levels stay, some without a class. */
static int pack_game(const gra_game *from, const int64_t *kept, int64_t count, gra_game *out,
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
    return pack_distribution(from->distribution, levels, kept, count, &out->distribution, arena);
}

/* What is left of a problem with the classes kept. */
static int reduce(const gra_problem *problem, const int64_t *kept, int64_t count,
                  gra_structure *structure, gra_problem *out)
{
    gra_arena *arena = problem->arena;
    *out = *problem;
    *structure = *problem->structure;
    out->structure = structure;
    out->keeps_all = 1;
    out->start = NULL;
    out->before = out->earlier = NULL;
    structure->classes = out->reference.classes = count;
    if (count == 1) {
        structure->kind = GRA_FLAT;
    }
    int packed =
        pack(problem->reference.mass, kept, count, &out->reference.mass, arena) &&
        pack(problem->reference.log_mass, kept, count, &out->reference.log_mass, arena) &&
        (structure->kind != GRA_AFFINE || gra_affine_restrict(&problem->structure->affine, kept,
                                                              count, &structure->affine, arena)) &&
        (structure->kind != GRA_GAME ||
         pack_game(&problem->structure->game, kept, count, &structure->game, arena));
    if (packed && structure->kind == GRA_AFFINE && !(gra_max(structure->affine.gap, count) > 0.0)) {
        structure->kind = GRA_FLAT;
    }
    return packed;
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

/* The clamp has another end. */
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

grpoalign_status gra_solve_active_set(const gra_problem *problem, gra_answer *answer)
{
    int64_t n = problem->reference.classes, count = n;
    int64_t *kept = gra_arena_take(problem->arena, n, sizeof *kept);
    if (kept == NULL) {
        return gra_fail_memory(problem->error);
    }
    for (int64_t c = 0; c < n; c++) {
        kept[c] = c;
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
        if (worst < 0) {
            GRA_TRY(check_loose(problem, &part, count));
            part.stable = gra_stability(&left, &part);
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
