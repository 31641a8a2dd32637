/*
 * Games: which way to a stationary policy.
 *
 * Reverse KL starts from an affine problem nearby. Direct KL follows the branch from large beta,
 * where the stationary policy is unique, down to the wanted one. Where that branch ends at a fold,
 * and wherever Newton fails, implicit steps along the training flow (newton_flow.c) lead on to
 * where training ends.
 */
#include "solver/newton.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

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
/* Near a fold Newton halves the distance: from a stride of SHORTEST_STRIDE to where rounding
 * rules. */
enum { LAST_ITERATIONS = 40 };

/* The branch on the way down from large beta. */
typedef struct branch {
    double here, end, stride; /* in log beta */
    double *slack, *policy;   /* of the last point */
    double *tangent;          /* of its slacks, in log beta */
    int sign;                 /* of the determinant there */
    double *predicted;        /* the policy that the tangent points to */
} branch;

static int branch_take(branch *self, int64_t n, gra_arena *arena)
{
    self->slack = gra_arena_doubles(arena, n);
    self->policy = gra_arena_doubles(arena, n);
    self->tangent = gra_arena_doubles(arena, n);
    self->predicted = gra_arena_doubles(arena, n);
    return self->slack != NULL && self->policy != NULL && self->tangent != NULL &&
           self->predicted != NULL;
}

static void return_to_branch(gra_newton *s, const branch *self)
{
    size_t bytes = (size_t)s->game->classes * sizeof(double);
    memcpy(s->answer->slack, self->slack, bytes);
    memcpy(s->answer->policy, self->policy, bytes);
}

/* The current slacks are a point of the branch: finds the tangent. s->equations.regular tells
 * whether there is one. */
static grpoalign_status add_point(gra_newton *s, branch *self)
{
    size_t bytes = (size_t)s->game->classes * sizeof(double);
    memcpy(self->slack, s->answer->slack, bytes);
    memcpy(self->policy, s->answer->policy, bytes);
    if (!gra_newton_evaluate(s) || !gra_newton_factorise(s, 0.0)) {
        return gra_fail_memory(s->problem->error);
    }
    if (s->equations.regular) {
        /* beta p + u = lambda, differentiated in log beta: dp + (1/beta) J dpi = dlambda - p. */
        self->sign = gra_newton_direction(s, self->slack, self->tangent);
    }
    return GRPOALIGN_OK;
}

/* Tries a stride along the tangent. It is accepted when Newton converges at once, to where the
 * tangent pointed, and the determinant keeps its sign; else the next one is shorter. */
static grpoalign_status try_stride(gra_newton *s, branch *self, int *accepted, double *change)
{
    int64_t n = s->game->classes;
    double next = fmax(self->end, self->here - self->stride), correction = 0.0, travelled = 0.0;
    int last = next <= self->end, found;
    return_to_branch(s, self);
    s->beta = last ? s->problem->beta : exp(next);
    s->accuracy = last ? GRA_EXACT : way_accuracy(s);
    gra_newton_move(s, self->tangent, next - self->here);
    memcpy(self->predicted, s->answer->policy, (size_t)n * sizeof(double));
    GRA_TRY(
        gra_newton_run(s, last ? LAST_ITERATIONS : 5, last ? 0.0 : NEAR_BRANCH, &found, change));
    for (int64_t c = 0; c < n; c++) {
        correction += fabs(s->answer->policy[c] - self->predicted[c]);
        travelled += fabs(s->answer->policy[c] - self->policy[c]);
    }
    *accepted = found == NEWTON_DONE && s->answer->regular == self->sign &&
                correction < 0.02 + 0.2 * travelled && travelled < 0.5;
    if (*accepted) {
        self->here = next;
        self->stride *= correction < 0.005 ? 2.0 : 1.0;
    } else {
        self->stride = 0.4 * fmin(self->stride, self->here - next);
    }
    return GRPOALIGN_OK;
}

static grpoalign_status walk_branch(gra_newton *s, branch *self, int *outcome, double *change)
{
    *outcome = NEWTON_DONE;
    while (self->here > self->end) {
        int accepted = 0;
        GRA_TRY(add_point(s, self));
        if (!s->equations.regular) {
            *outcome = NEWTON_FAILED;
            return GRPOALIGN_OK;
        }
        while (!accepted) {
            GRA_TRY(try_stride(s, self, &accepted, change));
            if (!accepted && (self->stride < SHORTEST_STRIDE ||
                              s->answer->iterations >= s->problem->max_iterations)) {
                return_to_branch(s, self);
                *outcome = NEWTON_FAILED;
                return GRPOALIGN_OK;
            }
        }
    }
    return GRPOALIGN_OK;
}

/*
 * From the current slacks, which are the answer at beta_from, down to problem->beta along the
 * branch. *outcome is NEWTON_FAILED at a fold, with the last point of the branch in the answer.
 */
static grpoalign_status follow_branch(gra_newton *s, double beta_from, int *outcome, double *change)
{
    const gra_problem *problem = s->problem;
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    branch self = {.here = log(beta_from), .end = log(problem->beta), .stride = 1.0};
    if (!branch_take(&self, s->game->classes, problem->arena)) {
        return gra_fail_memory(problem->error);
    }
    GRA_TRY(walk_branch(s, &self, outcome, change));
    s->beta = problem->beta;
    s->accuracy = GRA_EXACT;
    gra_arena_rewind(problem->arena, mark);
    return GRPOALIGN_OK;
}

/* The solution connected to pi_ref: at once where beta is large, else along the branch from
 * there. */
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

/* A reference that is raised on the way, and the last answer for one. */
typedef struct easing {
    gra_problem eased;
    double *mass, *log_mass;
    double *slack, *policy;
    double floor, stride; /* in logarithms; the floor is infinite at first */
} easing;

static int easing_take(easing *self, int64_t n, gra_arena *arena)
{
    self->mass = gra_arena_doubles(arena, n);
    self->log_mass = gra_arena_doubles(arena, n);
    self->slack = gra_arena_doubles(arena, n);
    self->policy = gra_arena_doubles(arena, n);
    return self->mass != NULL && self->log_mass != NULL && self->slack != NULL &&
           self->policy != NULL;
}

/* Raises the reference by exp(floor) everywhere, or not at all. */
static void raise_reference(easing *self, const gra_class_reference *reference, double floor,
                            int last)
{
    int64_t n = reference->classes;
    double raise = last ? 0.0 : exp(floor), total = 1.0 + (double)n * raise;
    for (int64_t c = 0; c < n; c++) {
        self->mass[c] = (reference->mass[c] + raise) / total;
        self->log_mass[c] = last ? reference->log_mass[c] : log(self->mass[c]);
    }
}

/* Newton for the raised reference: from the last answer, or along the branch if there is none. */
static grpoalign_status solve_eased(gra_newton *s, const easing *self, int last, int *outcome,
                                    double *change)
{
    if (isinf(self->floor)) {
        return from_large_beta(s, outcome, change);
    }
    /* A class with a stiff slack keeps its probability, another its slack. */
    for (int64_t c = 0; c < s->game->classes; c++) {
        int stiff = self->policy[c] > s->beta * self->slack[c];
        s->answer->slack[c] = stiff ? self->mass[c] / self->policy[c] : self->slack[c];
    }
    gra_answer_respond(s->problem, s->answer);
    return gra_newton_run(s, 15, last ? 0.0 : NEAR_BRANCH, outcome, change);
}

/*
 * For reverse KL: tiny reference probabilities of good outcomes make corners that Newton cannot
 * turn. So it starts with a nearly uniform reference, raised by 1 everywhere, and lowers this
 * floor, faster and faster, down to the reference itself.
 */
static grpoalign_status ease_reference(gra_newton *s, int *outcome, double *change)
{
    const gra_problem *problem = s->problem;
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    easing self = {.eased = *problem, .floor = INFINITY, .stride = log(10.0)};
    if (!easing_take(&self, s->game->classes, problem->arena)) {
        return gra_fail_memory(problem->error);
    }
    self.eased.reference.mass = self.mass;
    self.eased.reference.log_mass = self.log_mass;
    s->problem = &self.eased;
    size_t bytes = (size_t)s->game->classes * sizeof(double);
    for (int i = 0; i < 200; i++) {
        double next = isinf(self.floor) ? 0.0 : self.floor - self.stride;
        int last = next < log(GRA_LEAST_MASS);
        raise_reference(&self, &problem->reference, next, last);
        GRA_TRY(solve_eased(s, &self, last, outcome, change));
        if (*outcome == NEWTON_DONE) {
            if (last) {
                break;
            }
            memcpy(self.slack, s->answer->slack, bytes);
            memcpy(self.policy, s->answer->policy, bytes);
            self.floor = next;
            self.stride *= 3.0;
        } else {
            self.stride /= 4.0;
            if (isinf(self.floor) || self.stride < 1e-3) {
                break;
            }
        }
    }
    s->problem = problem;
    gra_arena_rewind(problem->arena, mark);
    return GRPOALIGN_OK;
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
    gra_arena_mark_t mark = gra_arena_mark(problem->arena);
    gra_answer *found = s->answer, probe;
    if (!gra_answer_take(&probe, problem) || !gra_newton_evaluate(s)) {
        return gra_fail_memory(problem->error);
    }
    for (int64_t c = 0; c < n; c++) {
        best = s->u[c] > s->u[best] ? c : best;
    }
    for (int64_t c = 0; c < n; c++) {
        s->work[c] = 1e-6 * problem->reference.mass[c] + (c == best ? 1.0 - 1e-6 : 0.0);
    }
    probe.method = found->method;
    probe.iterations = found->iterations;
    probe.factorizations = found->factorizations;
    s->answer = &probe;
    int outcome;
    double change;
    GRA_TRY(gra_newton_from_policy(s, s->work, 30, &outcome, &change));
    *another =
        outcome == NEWTON_DONE && gra_largest_difference(probe.policy, found->policy, n) > 1e-7;
    found->iterations = probe.iterations;
    found->factorizations = probe.factorizations;
    s->answer = found;
    gra_arena_rewind(problem->arena, mark);
    return GRPOALIGN_OK;
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
    return gra_newton_from_policy(s, s->answer->policy, 30, outcome, change);
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

/* Where folds are rare (reverse KL): from the affine problem nearby, else from the reference, else
 * by easing it. */
static grpoalign_status go_straight(gra_newton *s, int *outcome, double *change)
{
    if (may_go_on(s->problem)) {
        GRA_TRY(from_before(s, outcome, change));
    }
    if (*outcome != NEWTON_DONE && s->game->near != NULL) {
        GRA_TRY(from_near(s, outcome, change));
    }
    if (*outcome != NEWTON_DONE) {
        GRA_TRY(gra_newton_from_reference(s, outcome, change));
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

/* The first way that applies. */
static grpoalign_status find_solution(gra_newton *s, int *outcome, double *change)
{
    const gra_problem *problem = s->problem;
    *outcome = NEWTON_FAILED;
    if (problem->start != NULL) {
        return gra_newton_from_policy(s, problem->start, 100, outcome, change);
    }
    if (s->game->margins != NULL) { /* one solution, to which the central path did not lead */
        return from_large_beta(s, outcome, change);
    }
    return problem->penalty->folds_rare ? go_straight(s, outcome, change)
                                        : follow_reference(s, outcome, change);
}

/* Training is taken to one class that holds so much. */
static const double NEARLY_ALL = 1.0 - 1e-6;

/*
 * Whether training has gone on to one class alone. There nothing acts on it, and Newton's equations
 * are singular; it stays where every other class loses, at the end of its slack.
 */
static grpoalign_status end_in_one(gra_newton *s, int *ended)
{
    const gra_problem *problem = s->problem;
    const gra_penalty *penalty = problem->penalty;
    const gra_class_reference *reference = &problem->reference;
    int64_t n = reference->classes, best = 0;
    for (int64_t c = 0; c < n; c++) {
        best = s->answer->policy[c] > s->answer->policy[best] ? c : best;
    }
    *ended =
        s->game->unheld && isfinite(penalty->slack_most) && s->answer->policy[best] > NEARLY_ALL;
    if (!*ended) {
        return GRPOALIGN_OK;
    }
    for (int64_t c = 0; c < n; c++) {
        s->answer->policy[c] = c == best;
        s->answer->slack[c] =
            c == best ? penalty->slack(penalty, -reference->log_mass[c]) : penalty->slack_most;
    }
    gra_game_to_levels(s->game, s->answer->policy, s->w);
    if (!s->game->advantage(s->game, s->w, 0.0, GRA_EXACT, s->a, problem->arena)) {
        return gra_fail_memory(problem->error);
    }
    gra_game_to_classes(s->game, s->a, s->u);
    double held = s->u[best] + s->beta * s->answer->slack[best];
    for (int64_t c = 0; c < n; c++) {
        *ended = *ended && (c == best || s->u[c] + s->beta * penalty->slack_most < held);
    }
    s->answer->status = *ended ? GRPOALIGN_COLLAPSED : s->answer->status;
    s->answer->stable = *ended ? 1 : -1;
    s->answer->policy_error = DBL_EPSILON;
    return GRPOALIGN_OK;
}

grpoalign_status gra_solve_game(const gra_problem *problem, gra_answer *answer)
{
    gra_newton s;
    int outcome, another = 0;
    double change = INFINITY;
    answer->method = GRPOALIGN_METHOD_NEWTON;
    if (!gra_newton_start(&s, problem, answer)) {
        return gra_fail_memory(problem->error);
    }
    GRA_TRY(find_solution(&s, &outcome, &change));
    if (outcome != NEWTON_DONE) {
        gra_newton_at_reference(&s);
        GRA_TRY(gra_newton_flow(&s, FLOW_STEPS, 0.0, &outcome, &change));
    }
    if (outcome != NEWTON_DONE) {
        int ended;
        GRA_TRY(end_in_one(&s, &ended));
        if (ended) {
            return GRPOALIGN_OK;
        }
    }
    GRA_TRY(gra_newton_finish(&s, outcome));
    if (answer->status == GRPOALIGN_OK && answer->unique < 0 && !problem->penalty->folds_rare) {
        GRA_TRY(probe_beyond(&s, &another));
    }
    if (another) {
        answer->unique = 0;
        answer->status = GRPOALIGN_NOT_UNIQUE;
    }
    return GRPOALIGN_OK;
}

grpoalign_status gra_near_game(const gra_problem *problem, const double *policy, gra_answer *answer)
{
    gra_newton s;
    int outcome;
    double change;
    if (!gra_newton_start(&s, problem, answer)) {
        return gra_fail_memory(problem->error);
    }
    GRA_TRY(gra_newton_from_policy(&s, policy, 30, &outcome, &change));
    return gra_newton_finish(&s, outcome);
}
