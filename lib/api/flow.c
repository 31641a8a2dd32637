#include <grpoalign/flow.h>

#include <math.h>
#include <string.h>

#include "api/calls.h"
#include "base/numeric.h"

/* One state and the policy at it. */
typedef struct record {
    grpoalign_flow_state state;
    double *policy;
} record;

struct grpoalign_flow {
    gra_handle handle;
    int64_t outcomes, count, capacity;
    record *records;
    grpoalign_solution *end;
};

/* Where the options stand among the arguments. */
enum { OPTIONS = 3 };

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

static int is_flow(const grpoalign_flow *flow)
{
    return flow != NULL && flow->handle.magic == GRA_FLOW_MAGIC;
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
    const gra_call *call;
    grpoalign_flow *flow;
    double *log_policy; /* scratch over all outcomes */
} recorder;

static int take_state(void *user, double time, const double *policy, double speed)
{
    recorder *self = user;
    grpoalign_flow *flow = self->flow;
    const gra_outcomes *outcomes = &self->call->at.outcomes;
    double *all = make_room(flow) ? gra_alloc(flow->outcomes, sizeof *all) : NULL;
    if (all == NULL) {
        return 0;
    }
    for (int64_t i = 0; i < outcomes->count; i++) {
        all[outcomes->at[i]] = policy[i];
        self->log_policy[outcomes->at[i]] = log(policy[i]);
    }
    gra_measures here = gra_measure(self->call->problem, all, self->log_policy);
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
static grpoalign_status load_start(gra_call *call, const double *given, int32_t position,
                                   double **start, grpoalign_error *error)
{
    const gra_outcomes *outcomes = &call->at.outcomes;
    int64_t n = call->problem->model->outcomes;
    double *packed = gra_arena_doubles(&call->arena, outcomes->count);
    double total = given != NULL ? gra_total(given, n) : 1.0;
    if (packed == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t i = 0; i < outcomes->count; i++) {
        int64_t o = outcomes->at[i];
        /* pi_ref may hold less than a double can tell from nothing. */
        packed[i] = given != NULL ? given[o] / total : fmax(exp(outcomes->log_mass[i]), 1e-300);
        if (!(packed[i] > 0.0)) {
            return gra_fail(error, GRPOALIGN_ERR_PROBABILITY, position, o,
                            "options.start[%lld] must be > 0, as the reference is there (got %g)",
                            (long long)o, packed[i]);
        }
    }
    *start = packed;
    return GRPOALIGN_OK;
}

static grpoalign_status check_size(const gra_call *call, const grpoalign_flow *flow,
                                   grpoalign_error *error)
{
    int32_t form = call->at.penalty->form;
    if (form == GRA_STEP || form == GRA_INSIDE_REWARD) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 1, -1, "the flow is not followed with %s",
                        form == GRA_STEP
                            ? "total variation, whose gradient jumps at the reference"
                            : "the KL inside a reward that is then normalised, which has no "
                              "gradient of its own");
    }
    if (call->at.tree != NULL) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 1, -1,
                        "the flow is not followed with a penalty per token or weights of "
                        "completions");
    }
    if (flow->outcomes > GRA_DENSE_LIMIT) {
        return gra_fail(error, GRPOALIGN_ERR_TOO_LARGE, 1, -1,
                        "the flow needs a dense matrix over %lld outcomes, the limit is %lld",
                        (long long)flow->outcomes, (long long)GRA_DENSE_LIMIT);
    }
    return GRPOALIGN_OK;
}

static grpoalign_status follow(gra_call *call, const grpoalign_flow_options *options,
                               grpoalign_flow *flow, grpoalign_error *error)
{
    double *start = NULL;
    gra_answer answer;
    recorder self = {.call = call, .flow = flow};
    GRA_TRY(check_size(call, flow, error));
    GRA_TRY(load_start(call, options->start, OPTIONS, &start, error));
    self.log_policy = gra_arena_doubles(&call->arena, flow->outcomes);
    if (self.log_policy == NULL || !gra_answer_take(&answer, &call->at)) {
        return gra_fail_memory(error);
    }
    gra_flow_limits limits = {options->max_steps, options->end_time, options->tolerance};
    GRA_TRY(gra_find_end(&call->at, start, &limits, take_state, &self, &answer));
    if (answer.status == GRPOALIGN_NOT_CONVERGED) {
        return GRPOALIGN_NOT_CONVERGED;
    }
    GRA_TRY(gra_assess(&call->at, &answer, GRPOALIGN_STABILITY_SPECTRUM));
    GRA_TRY(gra_expand(call, &answer, &flow->end, error));
    gra_lend(flow->end);
    return answer.status == GRPOALIGN_COLLAPSED ? GRPOALIGN_COLLAPSED : GRPOALIGN_OK;
}

grpoalign_status grpoalign_flow_new(const grpoalign_problem *problem, double beta,
                                    const grpoalign_flow_options *options, grpoalign_flow **out,
                                    grpoalign_error *error)
{
    gra_call call;
    grpoalign_flow_options loaded;
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 4, error));
    *out = NULL;
    GRA_TRY(gra_check_problem(problem, 1, error));
    int64_t n = problem->model->outcomes;
    GRA_TRY(load_options(options, OPTIONS, &loaded, error));
    GRA_TRY(gra_check_start(loaded.start, loaded.start_count, n, OPTIONS, error));
    grpoalign_flow *flow = gra_alloc(1, sizeof *flow);
    if (flow == NULL) {
        return gra_fail_memory(error);
    }
    gra_handle_start(&flow->handle, GRA_FLOW_MAGIC);
    flow->outcomes = n;
    grpoalign_status status = gra_open(&call, problem, beta, NULL, OPTIONS, error);
    if (status >= 0) {
        call.at.progress = loaded.progress;
        call.at.user = loaded.user;
        status = follow(&call, &loaded, flow, error);
    }
    gra_call_close(&call);
    if (status < 0) {
        grpoalign_flow_free(flow);
        return status;
    }
    *out = flow;
    return gra_qualify(status, error);
}

void grpoalign_flow_free(grpoalign_flow *flow)
{
    if (is_flow(flow) && gra_handle_release(&flow->handle)) {
        for (int64_t k = 0; k < flow->count; k++) {
            gra_release(flow->records[k].policy);
        }
        gra_release(flow->records);
        gra_lent_free(flow->end);
        gra_release(flow);
    }
}

int64_t grpoalign_flow_count(const grpoalign_flow *flow)
{
    return is_flow(flow) ? flow->count : 0;
}

static grpoalign_status check_state(const grpoalign_flow *flow, int64_t k, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_pointer(flow, "flow", 1, error));
    if (!is_flow(flow)) {
        return gra_fail(error, GRPOALIGN_ERR_HANDLE, 1, -1, "flow is not a handle of a flow");
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
    return is_flow(flow) ? flow->end : NULL;
}
