/*
 * The training flow from a policy to where it ends.
 *
 * Outcomes that differ by a factor of a billion in probability move at rates that differ as much,
 * so the integrator has to be implicit: RODAS, an L-stable, stiffly accurate Rosenbrock method of
 * order 4 with an embedded solution of order 3 (Hairer and Wanner, Solving Ordinary Differential
 * Equations II, section IV.10), one factorisation and six solves a step. It is 40 lines on top of
 * the library's own Jacobian and LU; the well-kept libraries for this bring a second set of vector
 * and matrix types, print on their own and have no pkg-config file, which a small shared library
 * would pass on to its users.
 *
 * A long implicit step damps what grows as well as what decays, and would take the flow into points
 * that repel. Near such a point steps are kept shorter than the time in which a disturbance grows.
 */
#include "solver/flow_field.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"
#include "linalg/linalg.h"

/* ---- the integrator -------------------------------------------------------------------------- */

enum { STAGES = 6 };
static const double GAMMA = 0.25;
/* Arguments of the stages, and what they take over of those before. The last stage starts at the
 * fifth, so that the sixth is the error. */
static const double STAGE[STAGES][STAGES - 1] = {
    {0.0},
    {1.544},
    {0.9466785280815826, 0.2557011698983284},
    {3.314825187068521, 2.896124015972201, 0.9986419139977817},
    {1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895},
    {1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895, 1.0},
};
static const double CARRY[STAGES][STAGES - 1] = {
    {0.0},
    {-5.6688},
    {-2.430093356833875, -0.2063599157091915},
    {-0.1073529058151375, -9.594562251023355, -20.47028614809616},
    {7.496443313967647, -10.24680431464352, -33.99990352819905, 11.7089089320616},
    {8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136,
     -6.058818238834054},
};

/* A state of training: logits over log pi_ref, and what the field tells of them. */
typedef struct state {
    double *logits, *policy, *velocity; /* per outcome */
} state;

/* What a step needs; all per logit that moves, which are all but the base's. */
typedef struct stages {
    int64_t order;
    double *stage[STAGES], *jacobian, *matrix;
    int32_t *pivots;
} stages;

typedef struct follower {
    const gra_problem *problem;
    gra_flow_field *field;
    int64_t n; /* outcomes */
    double time, step;
    state now, next;
    stages stages;
    double *classes;     /* class probabilities */
    unsigned char *lost; /* per outcome: a penalty that lets outcomes go has let it go */
    double *share;       /* of every outcome of the model in its class, the lost ones left out */
    double change;       /* of a probability in the last step */
    double speed;
    grpoalign_status status; /* why a function failed */
    gra_answer *answer;
} follower;

static int follower_take(follower *f)
{
    gra_arena *arena = f->problem->arena;
    stages *s = &f->stages;
    double **vectors[] = {&f->now.logits,  &f->now.policy,    &f->now.velocity, &f->next.logits,
                          &f->next.policy, &f->next.velocity, &s->stage[0],     &s->stage[1],
                          &s->stage[2],    &s->stage[3],      &s->stage[4],     &s->stage[5]};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        *vectors[i] = gra_arena_doubles(arena, f->n);
        if (*vectors[i] == NULL) {
            return 0;
        }
    }
    f->field = gra_flow_field_take(f->problem, f->problem->beta);
    s->order = f->n - 1;
    s->jacobian = gra_arena_doubles(arena, s->order * s->order);
    s->matrix = gra_arena_doubles(arena, s->order * s->order);
    s->pivots = gra_arena_take(arena, f->n, sizeof *s->pivots);
    f->classes = gra_arena_doubles(arena, f->problem->reference.classes);
    f->lost = gra_arena_take(arena, f->n, sizeof *f->lost);
    f->share = gra_arena_doubles(arena, f->problem->outcomes.model->outcomes);
    return f->field && s->jacobian && s->matrix && s->pivots && f->classes && f->lost && f->share;
}

/* The policy and the velocity at the logits of a state; 0 when the field fails. */
static int find_velocity(follower *f, state *at)
{
    f->status = gra_flow_velocity(f->field, at->logits, at->policy, at->velocity);
    return f->status >= 0;
}

/* The outcome of the k-th logit that moves. */
static int64_t outcome_of(const follower *f, int64_t k)
{
    return k + (k >= gra_flow_base(f->field));
}

static double largest_speed(const follower *f)
{
    double mean = 0.0, largest = 0.0;
    for (int64_t i = 0; i < f->n; i++) {
        mean += f->now.policy[i] * f->now.velocity[i];
    }
    for (int64_t i = 0; i < f->n; i++) {
        largest = fmax(largest, fabs(f->now.policy[i] * (f->now.velocity[i] - mean)));
    }
    return largest;
}

/* One try at a step of length f->step: fills next. Returns the error of a logit, or -1 when the
 * field fails. */
static double try_step(follower *f)
{
    int64_t n = f->stages.order;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            f->stages.matrix[i * n + j] = -f->stages.jacobian[i * n + j];
        }
        f->stages.matrix[i * n + i] += 1.0 / (f->step * GAMMA);
    }
    f->answer->factorizations++;
    if (gra_lu_factor(n, f->stages.matrix, n, f->stages.pivots) != 0) {
        return INFINITY;
    }
    memcpy(f->next.velocity, f->now.velocity, (size_t)f->n * sizeof(double));
    for (int k = 0; k < STAGES; k++) {
        double *stage = f->stages.stage[k];
        memcpy(f->next.logits, f->now.logits, (size_t)f->n * sizeof(double));
        for (int l = 0; l < k; l++) {
            for (int64_t i = 0; i < n; i++) {
                f->next.logits[outcome_of(f, i)] += STAGE[k][l] * f->stages.stage[l][i];
            }
        }
        if (k > 0 && !find_velocity(f, &f->next)) {
            return -1.0;
        }
        for (int64_t i = 0; i < n; i++) {
            stage[i] = f->next.velocity[outcome_of(f, i)];
        }
        for (int l = 0; l < k; l++) {
            for (int64_t i = 0; i < n; i++) {
                stage[i] += CARRY[k][l] / f->step * f->stages.stage[l][i];
            }
        }
        gra_lu_solve(n, f->stages.matrix, n, f->stages.pivots, 1, stage);
    }
    double error = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double last = f->stages.stage[STAGES - 1][i], *next = &f->next.logits[outcome_of(f, i)];
        *next += last;
        error = fmax(error, isfinite(*next) ? fabs(last) : INFINITY);
    }
    return error;
}

/* Between neighbouring states no probability changes by more than this. */
static const double LARGEST_CHANGE = 0.05;
/* A step that could change no logit by more than this means that something is wrong. */
static const double SHORTEST_CHANGE = 1e-14;

/* One step of the flow, as long as the tolerance allows. 1, 0 when it cannot go on, -1 when
 * the field fails. */
static int advance(follower *f, double tolerance, double longest)
{
    f->status = gra_flow_jacobian(f->field, f->stages.jacobian);
    if (f->status < 0) {
        return -1;
    }
    double fastest = 0.0;
    for (int64_t i = 0; i < f->n; i++) {
        fastest = fmax(fastest, fabs(f->now.velocity[i]));
    }
    f->step = fmin(f->step, longest);
    for (;;) {
        double error = try_step(f);
        if (error < 0.0) {
            return -1;
        }
        double factor = fmin(6.0, fmax(0.1, 0.9 * pow(error / tolerance, -0.25))), taken = f->step;
        f->change = INFINITY;
        if (error <= tolerance) {
            if (!find_velocity(f, &f->next)) {
                return -1;
            }
            f->change = 0.0;
            for (int64_t i = 0; i < f->n; i++) {
                f->change = fmax(f->change, fabs(f->next.policy[i] - f->now.policy[i]));
            }
        }
        f->step *= f->change > LARGEST_CHANGE ? fmin(factor, 0.5) : factor;
        if (f->change <= LARGEST_CHANGE) {
            f->time += taken;
            break;
        }
        if (f->step * fastest < SHORTEST_CHANGE) {
            return 0;
        }
    }
    memcpy(f->now.logits, f->next.logits, (size_t)f->n * sizeof(double));
    gra_flow_set_base(f->field, f->now.logits);
    if (!find_velocity(f, &f->now)) {
        return -1;
    }
    f->speed = largest_speed(f);
    return 1;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* The first step changes no logit by more than this. */
static const double FIRST_CHANGE = 0.01;
/* A flow within ARRIVED of a stationary policy that attracts has arrived; candidates are looked for
 * when a step changes no probability by more than SLOW, every so many steps. */
static const double ARRIVED = 1e-6, SLOW = 1e-3;
enum { LOOK_EVERY = 8 };
/* A flow that is still at a point that repels after so many e-foldings of a disturbance stays
 * there, by symmetry. */
static const double FOLDINGS = 40.0;
/* A collapse leaves less than this outside the best outcomes. */
static const double COLLAPSED = 1e-9;

static void to_classes(follower *f)
{
    const gra_problem *problem = f->problem;
    memset(f->classes, 0, (size_t)problem->reference.classes * sizeof(double));
    for (int64_t i = 0; i < f->n; i++) {
        f->classes[problem->structure->class_of[problem->outcomes.at[i]]] += f->now.policy[i];
    }
}

static double distance_to(const follower *f, const gra_answer *answer)
{
    const gra_outcomes *outcomes = &f->problem->outcomes;
    double largest = 0.0;
    for (int64_t i = 0; i < f->n; i++) {
        int64_t c = f->problem->structure->class_of[outcomes->at[i]];
        double share = answer->share != NULL ? answer->share[outcomes->at[i]] : outcomes->share[i];
        largest = fmax(largest, fabs(f->now.policy[i] - answer->policy[c] * share));
    }
    return largest;
}

/* Shares of the outcomes that are not lost. */
static void share_what_is_left(follower *f)
{
    const gra_outcomes *outcomes = &f->problem->outcomes;
    const int64_t *class_of = f->problem->structure->class_of;
    double *left = f->stages.stage[0]; /* as long as there are outcomes, and so classes */
    memset(left, 0, (size_t)f->n * sizeof(double));
    memset(f->share, 0, (size_t)outcomes->model->outcomes * sizeof(double));
    for (int64_t i = 0; i < f->n; i++) {
        left[class_of[outcomes->at[i]]] += f->lost[i] ? 0.0 : outcomes->share[i];
    }
    for (int64_t i = 0; i < f->n; i++) {
        f->share[outcomes->at[i]] =
            f->lost[i] ? 0.0 : outcomes->share[i] / left[class_of[outcomes->at[i]]];
    }
}

/* Which outcomes are lost: below the end of the slack, where nothing holds them, and falling. Those
 * of one class need not be lost together, because a rare one moves more slowly. Returns how
 * many. */
static int64_t find_lost(follower *f)
{
    const gra_penalty *penalty = f->problem->penalty;
    int64_t count = 0;
    double mean = 0.0, sum = 0.0;
    for (int64_t i = 0; i < f->n; i++) {
        mean += f->now.policy[i] * f->now.velocity[i];
        sum += exp(f->problem->outcomes.log_mass[i] + f->now.logits[i]);
    }
    for (int64_t i = 0; i < f->n; i++) {
        double log_ratio = f->now.logits[i] - log(sum);
        f->lost[i] =
            penalty->slack(penalty, log_ratio) > penalty->slack_most && f->now.velocity[i] <= mean;
        count += f->lost[i];
    }
    return count;
}

/* What policies of the classes have outside the best one. */
static double outside_best(const gra_affine *affine, const double *policy)
{
    double outside = 0.0;
    for (int64_t c = 0; c < affine->classes; c++) {
        outside += affine->gap[c] > 0.0 ? policy[c] : 0.0;
    }
    return outside;
}

/* Whether training takes the worse outcomes down further. */
static int is_falling(const follower *f)
{
    double mean = 0.0;
    gra_sum falls = {0.0, 0.0};
    for (int64_t i = 0; i < f->n; i++) {
        mean += f->now.policy[i] * f->now.velocity[i];
    }
    for (int64_t i = 0; i < f->n; i++) {
        int64_t c = f->problem->structure->class_of[f->problem->outcomes.at[i]];
        if (f->problem->structure->affine.gap[c] > 0.0) {
            gra_sum_add_product(&falls, f->now.policy[i], f->now.velocity[i] - mean);
        }
    }
    return gra_sum_value(falls) < 0.0;
}

/*
 * Whether training has collapsed: nearly everything is on the best outcomes, no stationary policy
 * lies there, and training does not come back to one farther away. Against a slack that holds every
 * outcome only advantages without bound win.
 */
static int has_collapsed(const follower *f, const gra_answer *candidate)
{
    const gra_structure *structure = f->problem->structure;
    if (structure->kind != GRA_AFFINE ||
        !(outside_best(&structure->affine, f->classes) < COLLAPSED)) {
        return 0;
    }
    if (!gra_penalty_holds(f->problem->penalty) || candidate->status == GRPOALIGN_NOT_CONVERGED) {
        return 1;
    }
    return !(outside_best(&structure->affine, candidate->policy) < COLLAPSED) &&
           isinf(structure->affine.divisor.high) && is_falling(f);
}

/* How fast the flow leaves a stationary policy: 0 when it attracts. */
static grpoalign_status leaving_rate(const gra_problem *problem, const gra_answer *answer,
                                     double *rate)
{
    int32_t stable;
    double rounding, abscissa;
    *rate = 0.0;
    GRA_TRY(gra_stability(problem, answer, &stable));
    if (stable <= 0) {
        GRA_TRY(gra_abscissa_of(problem, answer, &abscissa, &rounding));
        *rate = abscissa > rounding ? abscissa : 0.0;
    }
    return GRPOALIGN_OK;
}

/* The search for where the flow ends. */
typedef struct search {
    const gra_flow_calls *calls;
    gra_answers points;   /* of an affine problem, found at the first look */
    gra_answer candidate; /* the stationary policy nearest to the flow */
    double near_since;    /* the time since when the flow has been at it, or -1 */
    double rate;          /* of leaving it */
    double longest;       /* step: a longer one would be drawn to a point that repels */
} search;

/* Looks for the end. *ends tells whether the candidate is it. */
static grpoalign_status look(follower *f, search *self, int *ends)
{
    const gra_problem *problem = f->problem;
    gra_answer *candidate = &self->candidate;
    gra_problem left = *problem;
    left.lost = problem->penalty->lets_go && find_lost(f) > 0 ? f->lost : NULL;
    GRA_TRY(self->calls->near(&left, f->classes, &self->points, candidate));
    candidate->share = NULL;
    if (left.lost != NULL) {
        share_what_is_left(f);
        candidate->share = f->share;
    }
    self->longest = INFINITY;
    if (candidate->status != GRPOALIGN_NOT_CONVERGED && distance_to(f, candidate) < ARRIVED) {
        if (self->near_since < 0.0) {
            GRA_TRY(leaving_rate(problem, candidate, &self->rate));
            self->near_since = f->time;
        }
        *ends = self->rate == 0.0 || f->time - self->near_since > FOLDINGS / self->rate;
        self->longest = self->rate > 0.0 ? 1.0 / self->rate : INFINITY;
        return GRPOALIGN_OK;
    }
    self->near_since = -1.0;
    *ends = has_collapsed(f, candidate);
    if (*ends) {
        gra_answer_collapse(problem, candidate);
    }
    return GRPOALIGN_OK;
}

/* At the start, and what its first step may be. */
static grpoalign_status set_out(follower *f, const double *start, double end_time)
{
    double fastest = 0.0;
    for (int64_t i = 0; i < f->n; i++) {
        f->now.logits[i] = log(start[i]) - f->problem->outcomes.log_mass[i];
    }
    gra_flow_set_base(f->field, f->now.logits);
    if (!find_velocity(f, &f->now)) {
        return f->status;
    }
    f->speed = largest_speed(f);
    for (int64_t i = 0; i < f->n; i++) {
        fastest = fmax(fastest, fabs(f->now.velocity[i]));
    }
    f->step = fastest > 0.0 ? fmin(FIRST_CHANGE / fastest, end_time) : 1.0;
    return GRPOALIGN_OK;
}

/* A step further on; *went is 0 when the limits are reached, or no step leads on. */
static grpoalign_status go_on(follower *f, const gra_flow_limits *limits, double longest, int *went)
{
    int32_t steps = f->answer->iterations++;
    *went = 0;
    if (steps < limits->max_steps && f->time < limits->end_time) {
        *went = advance(f, limits->tolerance, fmin(longest, limits->end_time - f->time));
    }
    if (*went < 0) {
        return f->status;
    }
    return *went > 0 ? gra_report_progress(f->problem, f->answer, f->problem->beta, f->change)
                     : GRPOALIGN_OK;
}

grpoalign_status gra_follow_flow(const gra_problem *problem, const double *start,
                                 const gra_flow_limits *limits, const gra_flow_calls *calls,
                                 gra_answer *answer)
{
    follower f = {.problem = problem, .n = problem->outcomes.count, .answer = answer};
    search end = {.calls = calls, .points = {.count = -1}, .near_since = -1.0, .longest = INFINITY};
    if (!follower_take(&f) || !gra_answer_take(&end.candidate, problem)) {
        return gra_fail_memory(problem->error);
    }
    answer->method = GRPOALIGN_METHOD_FLOW;
    GRA_TRY(set_out(&f, start, limits->end_time));
    for (int32_t i = 0;; i++) {
        int ends = 0, went;
        if (!calls->sink(calls->user, f.time, f.now.policy, f.speed)) {
            return gra_fail_memory(problem->error);
        }
        to_classes(&f);
        if (i % LOOK_EVERY == 0 && (i == 0 ? f.speed < SLOW : f.change < SLOW)) {
            GRA_TRY(look(&f, &end, &ends));
        }
        if (ends) {
            break;
        }
        GRA_TRY(go_on(&f, limits, end.longest, &went));
        if (went == 0) {
            memcpy(answer->policy, f.classes, (size_t)problem->reference.classes * sizeof(double));
            answer->status = GRPOALIGN_NOT_CONVERGED;
            return GRPOALIGN_OK;
        }
    }
    end.candidate.iterations = answer->iterations;
    end.candidate.factorizations = answer->factorizations;
    end.candidate.method = GRPOALIGN_METHOD_FLOW;
    gra_answer_copy(&end.candidate, answer, problem->reference.classes);
    return GRPOALIGN_OK;
}
