#include <grpoalign/flow.h>

#include <math.h>
#include <string.h>

#include "api/session.h"
#include "base/status.h"

_Static_assert(sizeof(grpoalign_flow_options) == 48, "layout of version 0.1");
_Static_assert(sizeof(grpoalign_flow_state) == 56, "layout of version 0.1");

/* One state and the policy at it. */
typedef struct record {
    grpoalign_flow_state state;
    double *policy;
} record;

struct grpoalign_flow {
    uint64_t magic;
    int64_t outcomes, count, capacity;
    record *records;
    grpoalign_solution *end;
};

#define GRA_FLOW_MAGIC UINT64_C(0x776f6c6670617267)

static const grpoalign_flow_options FLOW_DEFAULTS = {
    .struct_size = sizeof(grpoalign_flow_options),
    .max_steps = 20000,
    .end_time = 1e30,
    .tolerance = 1e-5,
};

void grpoalign_flow_options_init(grpoalign_flow_options *options, uint32_t size)
{
    gra_init_options(options, size, &FLOW_DEFAULTS, sizeof FLOW_DEFAULTS);
}

static grpoalign_status load_options(const grpoalign_flow_options *options, int32_t position,
                                     grpoalign_flow_options *loaded, grpoalign_error *error)
{
    *loaded = FLOW_DEFAULTS;
    GRA_TRY(gra_load_options(loaded, sizeof *loaded, options, position, error));
    loaded->max_steps = loaded->max_steps == 0 ? FLOW_DEFAULTS.max_steps : loaded->max_steps;
    loaded->end_time = loaded->end_time == 0.0 ? FLOW_DEFAULTS.end_time : loaded->end_time;
    loaded->tolerance = loaded->tolerance == 0.0 ? FLOW_DEFAULTS.tolerance : loaded->tolerance;
    if (loaded->max_steps < 0) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                        "options.max_steps must be >= 0 (got %d)", (int)loaded->max_steps);
    }
    if (!(loaded->end_time > 0.0) || !isfinite(loaded->end_time)) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                        "options.end_time must be > 0 and finite (got %g)", loaded->end_time);
    }
    if (!(loaded->tolerance > 0.0 && loaded->tolerance <= 1e-2)) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                        "options.tolerance must lie in (0, 0.01] (got %g)", loaded->tolerance);
    }
    return GRPOALIGN_OK;
}

static int is_live(const grpoalign_flow *flow)
{
    return flow != NULL && flow->magic == GRA_FLOW_MAGIC;
}

/* Room for one more record; 0 on short memory. */
static int make_room(grpoalign_flow *flow)
{
    if (flow->count < flow->capacity) {
        return 1;
    }
    int64_t capacity = 2 * flow->capacity + 64;
    record *records = gra_alloc(capacity, sizeof *records);
    if (records == NULL) {
        return 0;
    }
    if (flow->count > 0) {
        memcpy(records, flow->records, (size_t)flow->count * sizeof *records);
    }
    gra_release(flow->records);
    flow->records = records;
    flow->capacity = capacity;
    return 1;
}

typedef struct recorder {
    const gra_session *session;
    grpoalign_flow *flow;
    double *log_policy; /* scratch over all outcomes */
} recorder;

static int take_state(void *user, double time, const double *policy, double speed)
{
    recorder *self = user;
    grpoalign_flow *flow = self->flow;
    const gra_session *session = self->session;
    const gra_outcomes *outcomes = &session->problem.outcomes;
    double *all = make_room(flow) ? gra_alloc(flow->outcomes, sizeof *all) : NULL;
    if (all == NULL) {
        return 0;
    }
    for (int64_t i = 0; i < outcomes->count; i++) {
        all[outcomes->at[i]] = policy[i];
        self->log_policy[outcomes->at[i]] = log(policy[i]);
    }
    gra_measures here = gra_measure(session->model, session->reference, all, self->log_policy);
    flow->records[flow->count++] = (record){.state = {.time = time,
                                                      .expected_reward = here.expected_reward,
                                                      .kl_ref_policy = here.kl_ref_policy,
                                                      .kl_policy_ref = here.kl_policy_ref,
                                                      .entropy = here.entropy,
                                                      .speed = speed},
                                            .policy = all};
    return 1;
}

/* options.start, or the reference, over the supported outcomes. */
static grpoalign_status load_start(gra_session *session, const double *given, int32_t position,
                                   double **start, grpoalign_error *error)
{
    const gra_outcomes *outcomes = &session->problem.outcomes;
    int64_t n = session->model->outcomes;
    double *own = gra_arena_doubles(&session->arena, n),
           *packed = gra_arena_doubles(&session->arena, outcomes->count);
    if (own == NULL || packed == NULL) {
        return gra_fail_memory(error);
    }
    if (given != NULL) {
        GRA_TRY(gra_load_policy(given, n, "options.start", position, own, error));
    }
    for (int64_t i = 0; i < outcomes->count; i++) {
        int64_t o = outcomes->at[i];
        /* pi_ref may hold less than a double can tell from nothing. */
        packed[i] = given != NULL ? own[o] : fmax(exp(outcomes->log_mass[i]), 1e-300);
        if (!(packed[i] > 0.0)) {
            return gra_fail(error, GRPOALIGN_ERR_PROBABILITY, position, o,
                            "options.start[%lld] must be > 0, as the reference is there (got %g)",
                            (long long)o, packed[i]);
        }
    }
    *start = packed;
    return GRPOALIGN_OK;
}

static grpoalign_status follow(gra_session *session, const grpoalign_flow_options *options,
                               int32_t position, grpoalign_flow *flow, grpoalign_error *error)
{
    double *start = NULL;
    gra_answer answer;
    recorder self = {.session = session, .flow = flow};
    int32_t form = session->penalty->law.form;
    if (form == GRA_STEP || form == GRA_INSIDE_REWARD) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 2, -1, "the flow is not followed with %s",
                        form == GRA_STEP ? "total variation, whose gradient jumps at the reference"
                                         : "the KL inside a reward that is then normalised, which "
                                           "has no gradient of its own");
    }
    if (session->problem.outcomes.count > GRA_DENSE_LIMIT || flow->outcomes > GRA_DENSE_LIMIT) {
        return gra_fail(error, GRPOALIGN_ERR_TOO_LARGE, 1, -1,
                        "the flow needs a dense matrix over %lld outcomes, the limit is %lld",
                        (long long)flow->outcomes, (long long)GRA_DENSE_LIMIT);
    }
    GRA_TRY(load_start(session, options->start, position, &start, error));
    self.log_policy = gra_arena_doubles(&session->arena, flow->outcomes);
    if (self.log_policy == NULL || !gra_answer_take(&answer, &session->problem)) {
        return gra_fail_memory(error);
    }
    gra_flow_limits limits = {options->max_steps, options->end_time, options->tolerance};
    GRA_TRY(gra_follow_flow(&session->problem, start, &limits, take_state, &self, &answer));
    if (answer.status == GRPOALIGN_NOT_CONVERGED) {
        return GRPOALIGN_NOT_CONVERGED;
    }
    GRA_TRY(gra_session_solution(session, &answer, &flow->end, error));
    return answer.status == GRPOALIGN_COLLAPSED ? GRPOALIGN_COLLAPSED : GRPOALIGN_OK;
}

grpoalign_status grpoalign_flow_new(const grpoalign_model *model, const grpoalign_penalty *penalty,
                                    const grpoalign_reference *reference, double beta,
                                    const grpoalign_flow_options *options, grpoalign_flow **out,
                                    grpoalign_error *error)
{
    gra_session session;
    grpoalign_flow_options loaded;
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 6, error));
    *out = NULL;
    GRA_TRY(load_options(options, 5, &loaded, error));
    grpoalign_flow *flow = gra_alloc(1, sizeof *flow);
    if (flow == NULL) {
        return gra_fail_memory(error);
    }
    flow->magic = GRA_FLOW_MAGIC;
    grpoalign_status status =
        gra_session_open(&session, model, penalty, reference, beta, 4, NULL, 5, error);
    if (status >= 0) {
        session.options.stability = GRPOALIGN_STABILITY_SPECTRUM;
        session.problem.progress = loaded.progress;
        session.problem.user = loaded.user;
        flow->outcomes = model->outcomes;
        status = follow(&session, &loaded, 5, flow, error);
    }
    gra_session_close(&session);
    if (status < 0) {
        grpoalign_flow_free(flow);
        return status;
    }
    *out = flow;
    return status;
}

void grpoalign_flow_free(grpoalign_flow *flow)
{
    if (is_live(flow)) {
        flow->magic = 0;
        for (int64_t k = 0; k < flow->count; k++) {
            gra_release(flow->records[k].policy);
        }
        gra_release(flow->records);
        grpoalign_solution_free(flow->end);
        gra_release(flow);
    }
}

int64_t grpoalign_flow_count(const grpoalign_flow *flow)
{
    return is_live(flow) ? flow->count : 0;
}

static grpoalign_status check_state(const grpoalign_flow *flow, int64_t k, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_pointer(flow, "flow", 1, error));
    if (!is_live(flow)) {
        return gra_fail(error, GRPOALIGN_ERR_HANDLE, 1, -1, "flow is not a live flow handle");
    }
    if (k < 0 || k >= flow->count) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1, "k must lie in [0, %lld) (got %lld)",
                        (long long)flow->count, (long long)k);
    }
    return GRPOALIGN_OK;
}

grpoalign_status grpoalign_flow_state_at(const grpoalign_flow *flow, int64_t k,
                                         grpoalign_flow_state *state, grpoalign_error *error)
{
    GRA_TRY(check_state(flow, k, error));
    GRA_TRY(gra_check_pointer(state, "state", 3, error));
    return gra_fill_struct(state, "state", 3, &flow->records[k].state, sizeof *state, error);
}

grpoalign_status grpoalign_flow_policy_at(const grpoalign_flow *flow, int64_t k, double *out,
                                          int64_t n, grpoalign_error *error)
{
    GRA_TRY(check_state(flow, k, error));
    GRA_TRY(gra_check_pointer(out, "out", 3, error));
    GRA_TRY(gra_check_outcomes(n, flow->outcomes, 4, error));
    memcpy(out, flow->records[k].policy, (size_t)n * sizeof(double));
    return GRPOALIGN_OK;
}

const grpoalign_solution *grpoalign_flow_end(const grpoalign_flow *flow)
{
    return is_live(flow) ? flow->end : NULL;
}
