/*
 * Games: which way to a stationary policy.
 *
 * Reverse KL starts from an affine problem nearby. Pairwise preferences come by the central path.
 * Direct KL follows the branch from large beta, where the stationary policy is unique, down to the
 * wanted one. Where that branch ends at a fold, and wherever Newton fails, implicit steps along the
 * training flow in its natural metric, d slack/dt = -r, lead on to where training ends.
 */
#include "solver/continuation.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"
#include "linalg/linalg.h"

/* Newton takes over when the damping is below READY. If it fails, the flow goes on, and Newton is
 * tried again some decades later. It must not move a probability by more than AT_HAND. */
static const double READY = 1e-4, AT_HAND = 0.05;
/* Coarse Jacobians would rule a step with less damping than this. */
static const double EXACT_BELOW = 1e-3;

/*
 * Implicit Euler steps along d slack/dt = -r until Newton takes over, so that it ends where the
 * flow ends. Steps grow as r falls; the damping is the inverse of the step.
 */
grpoalign_status gra_newton_flow(gra_newton *s, int limit, int *outcome, double *change)
{
    const gra_problem *problem = s->problem;
    int64_t n = s->game->classes;
    double damping = 1.0, ready = READY;
    double *slack = gra_arena_doubles(problem->arena, n),
           *policy = gra_arena_doubles(problem->arena, n);
    s->answer->method = GRPOALIGN_METHOD_FLOW;
    *outcome = NEWTON_FAILED;
    if (slack == NULL || policy == NULL || !gra_newton_evaluate(s)) {
        return gra_fail_memory(problem->error);
    }
    for (int i = 0; i < limit && s->answer->iterations < problem->max_iterations; i++) {
        double size = s->size;
        s->exact = damping < EXACT_BELOW;
        if (!gra_newton_factorise(s, damping)) {
            return gra_fail_memory(problem->error);
        }
        if (!s->equations.regular) {
            damping *= 2.0;
            continue;
        }
        /* A long implicit step is drawn to points that the flow leaves; the determinant changes its
         * sign first. */
        if (gra_newton_direction(s, s->r, s->step) <= 0) {
            damping = 2.0 * damping + fmin(1e-3, sqrt(size));
            continue;
        }
        gra_newton_save(s);
        gra_newton_move(s, s->step, 1.0);
        if (!gra_newton_evaluate(s)) {
            return gra_fail_memory(problem->error);
        }
        *change = gra_largest_difference(s->answer->policy, s->saved_policy, s->game->classes);
        if (*change > 0.1 ||
            !(s->size <= 2.0 * size + 1.0)) { /* a step the flow would not have taken in one go */
            gra_newton_restore(s);
            if (!gra_newton_evaluate(s)) {
                return gra_fail_memory(problem->error);
            }
            damping *= 4.0;
            if (damping > 1e12) {
                return GRPOALIGN_OK;
            }
            continue;
        }
        s->answer->iterations++;
        GRA_TRY(gra_report_progress(problem, s->answer, s->beta, *change));
        damping *= fmin(fmax(s->size / size, 0.1), 1.0) * (*change < 0.03 ? 0.5 : 1.0);
        if (ready < READY && gra_largest_difference(policy, s->answer->policy, n) > AT_HAND) {
            ready = READY; /* the flow has passed what stopped Newton */
        }
        if (damping < ready) {
            memcpy(slack, s->answer->slack, (size_t)n * sizeof(double));
            memcpy(policy, s->answer->policy, (size_t)n * sizeof(double));
            GRA_TRY(gra_newton_run(s, 20, 0.0, outcome, change));
            if (*outcome == NEWTON_DONE &&
                gra_largest_difference(policy, s->answer->policy, n) < AT_HAND) {
                return GRPOALIGN_OK;
            }
            *outcome = NEWTON_FAILED;
            memcpy(s->answer->slack, slack, (size_t)n * sizeof(double));
            memcpy(s->answer->policy, policy, (size_t)n * sizeof(double));
            if (!gra_newton_evaluate(s)) {
                return gra_fail_memory(problem->error);
            }
            ready *= 0.01;
            damping = 0.1;
        }
    }
    return GRPOALIGN_OK;
}

/* Points on the way to the wanted one are solved to this relative correction, with coarse
 * advantages where those move no slack by more than ON_THE_WAY. */
static const double NEAR_BRANCH = 1e-5, ON_THE_WAY = 0.01;

static int way_accuracy(const gra_newton *s)
{
    return s->game->coarse_error <= ON_THE_WAY * s->beta ? GRA_COARSE : GRA_EXACT;
}

/* Steps of the training flow before it is given up. */
enum { FLOW_STEPS = 2000 };

/* Where steps in log beta get shorter than this the branch turns back. */
static const double SHORTEST_STRIDE = 1e-4;
/* Near a fold Newton halves the distance: from a stride of SHORTEST_STRIDE to where rounding rules.
 */
enum { LAST_ITERATIONS = 40 };

/*
 * From beta_from (solved) down to problem->beta along the branch: tangent, then Newton. A step is
 * kept when Newton converges at once, to where the tangent pointed, and the determinant keeps its
 * sign. *outcome is NEWTON_FAILED at a fold, with the last point of the branch in the answer.
 */
static grpoalign_status follow_branch(gra_newton *s, double beta_from, int *outcome, double *change)
{
    const gra_problem *problem = s->problem;
    int64_t n = s->game->classes;
    double here = log(beta_from), end = log(problem->beta), stride = 1.0;
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    double *base_slack = gra_arena_doubles(problem->arena, n),
           *tangent = gra_arena_doubles(problem->arena, n);
    double *base_policy = gra_arena_doubles(problem->arena, n),
           *predicted = gra_arena_doubles(problem->arena, n);
    if (base_slack == NULL || tangent == NULL || base_policy == NULL || predicted == NULL) {
        gra_arena_rewind(problem->arena, mark);
        return gra_fail_memory(problem->error);
    }
    grpoalign_status status = GRPOALIGN_OK;
    size_t bytes = (size_t)n * sizeof(double);
    *outcome = NEWTON_DONE;
    while (here > end && status >= 0) {
        /* beta p + u = lambda, differentiated in log beta: dp + (1/beta) J dpi = dlambda - p. */
        memcpy(base_slack, s->answer->slack, bytes);
        memcpy(base_policy, s->answer->policy, bytes);
        if (!gra_newton_evaluate(s) || !gra_newton_factorise(s, 0.0)) {
            status = gra_fail_memory(problem->error);
            break;
        }
        if (!s->equations.regular) {
            *outcome = NEWTON_FAILED;
            break;
        }
        int sign = gra_newton_direction(s, base_slack, tangent);
        int accepted = 0;
        while (!accepted && status >= 0) {
            double next = fmax(end, here - stride);
            memcpy(s->answer->slack, base_slack, bytes);
            memcpy(s->answer->policy, base_policy, bytes);
            s->beta = next > end ? exp(next) : problem->beta;
            s->accuracy = next > end ? way_accuracy(s) : GRA_EXACT;
            gra_newton_move(s, tangent, next - here);
            memcpy(predicted, s->answer->policy, bytes);
            int found;
            status = gra_newton_run(s, next > end ? 5 : LAST_ITERATIONS,
                                    next > end ? NEAR_BRANCH : 0.0, &found, change);
            double correction = 0.0, travelled = 0.0;
            for (int64_t c = 0; c < n; c++) {
                correction += fabs(s->answer->policy[c] - predicted[c]);
                travelled += fabs(s->answer->policy[c] - base_policy[c]);
            }
            accepted = status >= 0 && found == NEWTON_DONE && s->answer->regular == sign &&
                       correction < 0.02 + 0.2 * travelled && travelled < 0.5;
            if (accepted) {
                here = next;
                stride *= correction < 0.005 ? 2.0 : 1.0;
            } else if (status >= 0) {
                stride = 0.4 * fmin(stride, here - next);
                if (stride < SHORTEST_STRIDE || s->answer->iterations >= problem->max_iterations) {
                    memcpy(s->answer->slack, base_slack, bytes);
                    memcpy(s->answer->policy, base_policy, bytes);
                    *outcome = NEWTON_FAILED;
                    here = -INFINITY;
                    break;
                }
            }
        }
    }
    s->beta = problem->beta;
    s->accuracy = GRA_EXACT;
    gra_arena_rewind(problem->arena, mark);
    return status;
}

/* The solution connected to pi_ref: at once where beta is large, else along the branch from there.
 */
static grpoalign_status from_large_beta(gra_newton *s, int *outcome, double *change)
{
    const gra_problem *problem = s->problem;
    double large = fmax(problem->beta, 1.001 * s->game->contraction);
    int on_the_way = problem->beta < large;
    s->beta = large;
    s->accuracy = on_the_way ? way_accuracy(s) : GRA_EXACT;
    if (problem->before != NULL && problem->before->beta > problem->beta) {
        memcpy(s->answer->slack, problem->before->slack, (size_t)s->game->classes * sizeof(double));
        memcpy(s->answer->policy, problem->before->policy,
               (size_t)s->game->classes * sizeof(double));
        s->answer->method = GRPOALIGN_METHOD_CONTINUATION;
        return follow_branch(s, problem->before->beta, outcome, change);
    }
    gra_newton_at_reference(s);
    GRA_TRY(gra_newton_respond(s, s->answer->policy));
    GRA_TRY(gra_newton_run(s, 60, on_the_way ? NEAR_BRANCH : 0.0, outcome, change));
    if (*outcome == NEWTON_DONE && on_the_way) {
        s->answer->method = GRPOALIGN_METHOD_CONTINUATION;
        GRA_TRY(follow_branch(s, large, outcome, change));
    }
    s->beta = problem->beta;
    s->accuracy = GRA_EXACT;
    return GRPOALIGN_OK;
}

/*
 * For reverse KL: tiny reference probabilities of good outcomes make corners that Newton cannot
 * turn. So it starts with a nearly uniform reference, raised by 1 everywhere, and lowers this
 * floor, faster and faster, down to the reference itself.
 */
static grpoalign_status ease_reference(gra_newton *s, int *outcome, double *change)
{
    const gra_problem *problem = s->problem;
    int64_t n = s->game->classes;
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    double *mass = gra_arena_doubles(problem->arena, n),
           *log_mass = gra_arena_doubles(problem->arena, n);
    double *slack = gra_arena_doubles(problem->arena, n),
           *policy = gra_arena_doubles(problem->arena, n);
    if (mass == NULL || log_mass == NULL || slack == NULL || policy == NULL) {
        gra_arena_rewind(problem->arena, mark);
        return gra_fail_memory(problem->error);
    }
    gra_problem eased = *problem;
    eased.reference.mass = mass;
    eased.reference.log_mass = log_mass;
    s->problem = &eased;
    size_t bytes = (size_t)n * sizeof(double);
    double floor = INFINITY, stride = log(10.0);
    grpoalign_status status = GRPOALIGN_OK;
    for (int i = 0; i < 200 && status >= 0; i++) {
        double next = isinf(floor) ? 0.0 : floor - stride;
        int last = next < log(GRA_LEAST_MASS);
        double raise = last ? 0.0 : exp(next), total = 1.0 + (double)n * raise;
        for (int64_t c = 0; c < n; c++) {
            mass[c] = (problem->reference.mass[c] + raise) / total;
            log_mass[c] = last ? problem->reference.log_mass[c] : log(mass[c]);
        }
        if (isinf(floor)) {
            status = from_large_beta(s, outcome, change);
        } else {
            /* A class with a stiff slack keeps its probability, another its slack. */
            for (int64_t c = 0; c < n; c++) {
                int stiff = policy[c] > s->beta * slack[c];
                s->answer->slack[c] = stiff ? mass[c] / policy[c] : slack[c];
            }
            (void)problem->penalty->respond(problem->penalty, &eased.reference, s->answer->slack,
                                            s->answer->policy);
        }
        if (status >= 0 && !isinf(floor)) {
            status = gra_newton_run(s, 15, last ? 0.0 : NEAR_BRANCH, outcome, change);
        }
        if (status >= 0 && *outcome == NEWTON_DONE) {
            if (last) {
                break;
            }
            memcpy(slack, s->answer->slack, bytes);
            memcpy(policy, s->answer->policy, bytes);
            floor = next;
            stride *= 3.0;
        } else {
            stride /= 4.0;
            if (isinf(floor) || stride < 1e-3) {
                break;
            }
        }
    }
    s->problem = problem;
    gra_arena_rewind(problem->arena, mark);
    return status;
}

/* Whether the answer is not known to repel. */
static grpoalign_status attracts(const gra_newton *s, int32_t *yes)
{
    double abscissa, rounding;
    GRA_TRY(gra_stability(s->problem, s->answer, yes));
    if (*yes < 0) {
        GRA_TRY(gra_abscissa_of(s->problem, s->answer, &abscissa, &rounding));
        *yes = !(abscissa > rounding);
    }
    return GRPOALIGN_OK;
}

/*
 * Looks for a second stationary policy where training would be if it had gone too far: nearly all
 * probability is on the class with the largest advantage. Nothing is proved when none is found.
 */
static grpoalign_status probe_beyond(gra_newton *s, int *another)
{
    const gra_problem *problem = s->problem;
    int64_t n = s->game->classes, best = 0;
    size_t bytes = (size_t)n * sizeof(double);
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    double *slack = gra_arena_doubles(problem->arena, n),
           *policy = gra_arena_doubles(problem->arena, n);
    gra_answer kept = *s->answer;
    *another = 0;
    if (slack == NULL || policy == NULL) {
        gra_arena_rewind(problem->arena, mark);
        return gra_fail_memory(problem->error);
    }
    memcpy(slack, s->answer->slack, bytes);
    memcpy(policy, s->answer->policy, bytes);
    grpoalign_status status =
        gra_newton_evaluate(s) ? GRPOALIGN_OK : gra_fail_memory(problem->error);
    for (int64_t c = 0; c < n; c++) {
        best = s->u[c] > s->u[best] ? c : best;
    }
    for (int64_t c = 0; c < n; c++) {
        s->work[c] = 1e-6 * problem->reference.mass[c] + (c == best ? 1.0 - 1e-6 : 0.0);
    }
    if (status >= 0) {
        status = gra_newton_respond(s, s->work);
    }
    int found = NEWTON_FAILED;
    double change = 0.0;
    if (status >= 0) {
        status = gra_newton_run(s, 30, 0.0, &found, &change);
    }
    *another = found == NEWTON_DONE && gra_largest_difference(s->answer->policy, policy, n) > 1e-7;
    int32_t iterations = s->answer->iterations, factorizations = s->answer->factorizations;
    *s->answer = kept;
    s->answer->iterations = iterations;
    s->answer->factorizations = factorizations;
    memcpy(s->answer->slack, slack, bytes);
    memcpy(s->answer->policy, policy, bytes);
    gra_arena_rewind(problem->arena, mark);
    return status;
}

/* The largest advantage at the reference. */
static double largest_advantage(gra_newton *s)
{
    double largest = 0.0;
    gra_matvec(s->game->classes, s->game->classes, s->game->margins, s->game->classes,
               s->problem->reference.mass, s->work);
    for (int64_t c = 0; c < s->game->classes; c++) {
        largest = fmax(largest, fabs(s->work[c]));
    }
    return largest;
}

/* Newton from the response to the advantages at a policy. */
static grpoalign_status from_policy(gra_newton *s, const double *policy, int limit, int *outcome,
                                    double *change)
{
    GRA_TRY(gra_newton_respond(s, policy));
    return gra_newton_run(s, limit, 0.0, outcome, change);
}

static grpoalign_status from_reference(gra_newton *s, int *outcome, double *change)
{
    gra_newton_at_reference(s);
    return from_policy(s, s->answer->policy, 60, outcome, change);
}

/* Newton from the stationary policy of the affine problem nearby. */
static grpoalign_status from_near(gra_newton *s, int *outcome, double *change)
{
    gra_structure structure = {.kind = GRA_AFFINE, .classes = s->game->classes};
    structure.affine = *s->game->near;
    gra_problem straightened = *s->problem;
    straightened.structure = &structure;
    straightened.progress = NULL;
    gra_answer start = {.slack = s->answer->slack, .policy = s->answer->policy};
    GRA_TRY(s->problem->solve(&straightened, &start));
    return from_policy(s, s->answer->policy, 30, outcome, change);
}

/* Newton from slacks that go on as they went between two answers at larger betas: straight in
 * logarithms, which keeps them positive. */
static grpoalign_status from_before(gra_newton *s, int *outcome, double *change)
{
    const gra_answer *before = s->problem->before, *earlier = s->problem->earlier;
    double stride = log(before->beta / s->problem->beta) / log(earlier->beta / before->beta);
    for (int64_t c = 0; c < s->game->classes; c++) {
        s->answer->slack[c] = before->slack[c] * pow(before->slack[c] / earlier->slack[c], stride);
    }
    gra_answer_respond(s->problem, s->answer);
    return gra_newton_run(s, 30, 0.0, outcome, change);
}

/* Slacks are carried on by at most this many times the last stride in log beta. */
static const double LONGEST_STRIDE = 1.5;

static int may_go_on(const gra_problem *problem)
{
    const gra_answer *before = problem->before, *earlier = problem->earlier;
    return earlier != NULL && earlier->beta > before->beta && before->beta > problem->beta &&
           log(before->beta / problem->beta) < LONGEST_STRIDE * log(earlier->beta / before->beta);
}

/* Pairwise preferences have one solution, whatever the start, because slacks fall with the policy.
 */
static grpoalign_status solve_margins(gra_newton *s, int *outcome, double *change)
{
    const gra_problem *problem = s->problem;
    s->answer->unique = s->answer->stable = 1;
    /* Far above the advantages Newton from pi_ref converges by itself. */
    if (problem->beta <= problem->penalty->newton_above * largest_advantage(s)) {
        GRA_TRY(gra_central_path(problem, s->answer));
        GRA_TRY(gra_newton_run(s, 60, 0.0, outcome, change));
        return *outcome == NEWTON_DONE ? GRPOALIGN_OK : from_large_beta(s, outcome, change);
    }
    return problem->start != NULL ? from_policy(s, problem->start, 100, outcome, change)
                                  : from_reference(s, outcome, change);
}

/* Reverse KL: from the affine problem nearby, else from the reference, else by easing it. */
static grpoalign_status solve_reverse(gra_newton *s, int *outcome, double *change)
{
    if (may_go_on(s->problem)) {
        GRA_TRY(from_before(s, outcome, change));
    }
    if (*outcome != NEWTON_DONE && s->game->near != NULL) {
        GRA_TRY(from_near(s, outcome, change));
    }
    if (*outcome != NEWTON_DONE) {
        GRA_TRY(from_reference(s, outcome, change));
    }
    if (*outcome != NEWTON_DONE) {
        GRA_TRY(ease_reference(s, outcome, change));
    }
    s->answer->on_branch = *outcome == NEWTON_DONE;
    return GRPOALIGN_OK;
}

/* Direct KL and others, where several solutions are common: the branch that comes from the
 * reference. */
static grpoalign_status follow_reference(gra_newton *s, int *outcome, double *change)
{
    GRA_TRY(from_large_beta(s, outcome, change));
    /* The response of the direct KL moves the policy by at most sum |dpi| <= max |du| / beta: above
     * this it is a contraction. */
    if (s->problem->penalty->exponential && s->problem->beta >= 1.001 * s->game->contraction &&
        *outcome == NEWTON_DONE) {
        s->answer->unique = 1;
    }
    if (*outcome == NEWTON_DONE) {
        int32_t yes;
        GRA_TRY(attracts(s, &yes));
        /* pi_ref is never connected to a point that repels: then the branch was lost. */
        *outcome = yes ? NEWTON_DONE : NEWTON_FAILED;
    }
    s->answer->on_branch = *outcome == NEWTON_DONE;
    return GRPOALIGN_OK;
}

grpoalign_status gra_solve_game(const gra_problem *problem, gra_answer *answer)
{
    const gra_game *game = &problem->structure->game;
    gra_newton s = {.problem = problem,
                    .game = game,
                    .answer = answer,
                    .beta = problem->beta,
                    .accuracy = GRA_EXACT};
    int outcome = NEWTON_FAILED, folds_rare = problem->penalty->folds_rare;
    double change = INFINITY;
    answer->method = GRPOALIGN_METHOD_NEWTON;
    if (!gra_newton_take(&s, problem->arena)) {
        return gra_fail_memory(problem->error);
    }
    if (game->margins != NULL) {
        GRA_TRY(solve_margins(&s, &outcome, &change));
    } else if (problem->start != NULL) {
        GRA_TRY(from_policy(&s, problem->start, 100, &outcome, &change));
    } else if (folds_rare) {
        GRA_TRY(solve_reverse(&s, &outcome, &change));
    } else {
        GRA_TRY(follow_reference(&s, &outcome, &change));
    }
    if (outcome != NEWTON_DONE) {
        gra_newton_at_reference(&s);
        GRA_TRY(gra_newton_flow(&s, FLOW_STEPS, &outcome, &change));
    }
    int valid = 0;
    if (outcome == NEWTON_DONE) {
        GRA_TRY(gra_newton_polish(&s, &valid));
    }
    if (!valid) {
        answer->status = GRPOALIGN_NOT_CONVERGED;
        answer->policy_error = 1.0;
        return GRPOALIGN_OK;
    }
    if (!folds_rare && answer->unique < 0) {
        int another;
        GRA_TRY(probe_beyond(&s, &another));
        if (another) {
            answer->unique = 0;
            answer->status = GRPOALIGN_NOT_UNIQUE;
        }
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_near_game(const gra_problem *problem, const double *policy, gra_answer *answer)
{
    gra_newton s = {.problem = problem,
                    .game = &problem->structure->game,
                    .answer = answer,
                    .beta = problem->beta,
                    .accuracy = GRA_EXACT};
    int outcome, valid = 0;
    double change;
    if (!gra_newton_take(&s, problem->arena)) {
        return gra_fail_memory(problem->error);
    }
    GRA_TRY(from_policy(&s, policy, 30, &outcome, &change));
    if (outcome == NEWTON_DONE) {
        GRA_TRY(gra_newton_polish(&s, &valid));
    }
    answer->status = valid ? GRPOALIGN_OK : GRPOALIGN_NOT_CONVERGED;
    return GRPOALIGN_OK;
}
