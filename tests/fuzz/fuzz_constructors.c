/* Bytes become the arguments of every constructor, sizes and numbers of any kind: each refuses with
 * a reason and gives no handle, or gives one that can be asked. */
#include <string.h>

#include <grpoalign/grpoalign.h>

#include "fuzz.h"

enum { MOST = 4 };

typedef struct arguments {
    double x[MOST], y[MOST], matrix[MOST * MOST];
    int64_t n, k, stride, group_size;
    grpoalign_reward_options options;
    unsigned char newer[256]; /* room behind the options for what a newer caller may have */
} arguments;

/* Mostly what fits; any int32 beside it. */
static int32_t take_choice(bytes *b)
{
    unsigned value = take_byte(b);
    return value < 200 ? (int32_t)(value % 4) : (int32_t)(value * 16843009u);
}

static void take_arguments(bytes *b, arguments *a)
{
    memset(a, 0, sizeof *a);
    a->n = take_below(b, MOST + 1);
    a->k = take_below(b, MOST + 1);
    a->stride = take_below(b, MOST + 1);
    a->group_size = (int64_t)take_below(b, 12) - 1;
    a->options.struct_size = (uint32_t)(take_byte(b) < 230 ? sizeof a->options : take_byte(b));
    a->options.scale = take_choice(b);
    a->options.ddof = take_choice(b);
    a->options.expectation = take_choice(b);
    a->options.baseline = take_choice(b);
    a->options.epsilon_place = take_choice(b);
    a->options.zero_variance = take_choice(b);
    a->options.epsilon = take_number(b);
    for (int i = 0; i < MOST; i++) {
        a->x[i] = take_number(b);
        a->y[i] = take_number(b);
    }
    for (int i = 0; i < MOST * MOST; i++) {
        a->matrix[i] = take_number(b);
    }
}

/* What every call must keep to. */
static void told(grpoalign_status status, const void *handle, const grpoalign_error *error)
{
    promise((status >= 0) == (handle != NULL), "a handle or a failure", error->message);
    promise(error->status == status, "the status in the error", error->message);
    promise(status >= 0 || error->message[0] != '\0', "a failure says why", "");
    promise(memchr(error->message, '\0', sizeof error->message) != NULL, "an end of the message",
            "");
    promise(status != GRPOALIGN_ERR_INTERNAL, "a status that explains", error->message);
}

static void make_models(const arguments *a)
{
    for (int kind = 0; kind < 6; kind++) {
        grpoalign_model *model = (grpoalign_model *)(uintptr_t)a;
        grpoalign_error error;
        const grpoalign_reward_options *o = &a->options;
        grpoalign_status status =
            kind == 0
                ? grpoalign_model_new_pairwise(a->matrix, a->n, a->stride, NULL, &model, &error)
            : kind == 1 ? grpoalign_model_new_ranked(a->x, a->n, NULL, &model, &error)
            : kind == 2 ? grpoalign_model_new_group(a->x, a->n, a->group_size, o, &model, &error)
            : kind == 3 ? grpoalign_model_new_limit(a->x, a->y, a->n, o, &model, &error)
            : kind == 4 ? grpoalign_model_new_rule_table(a->x, a->n, a->matrix, a->matrix + MOST,
                                                         a->group_size, NULL, &model, &error)
                        : grpoalign_model_new_group_random(a->x, a->k, a->matrix, a->n, a->stride,
                                                           a->group_size, o, &model, &error);
        double advantage[MOST] = {0.0};
        told(status, model, &error);
        if (status >= 0) {
            promise(grpoalign_model_outcomes(model) == a->n, "the number of outcomes", "");
            status = grpoalign_model_advantage(model, a->y, a->n, advantage, &error);
            promise(status != GRPOALIGN_ERR_INTERNAL, "a status that explains", error.message);
        }
        grpoalign_model_free(model);
    }
}

static void make_references(const arguments *a)
{
    for (int kind = 0; kind < 3; kind++) {
        grpoalign_reference *reference = (grpoalign_reference *)(uintptr_t)a;
        grpoalign_error error;
        grpoalign_status status =
            kind == 0   ? grpoalign_reference_new(a->x, a->n, NULL, &reference, &error)
            : kind == 1 ? grpoalign_reference_new_log(a->x, a->n, NULL, &reference, &error)
                        : grpoalign_reference_new_uniform(a->n, NULL, &reference, &error);
        double p[MOST], sum = 0.0;
        told(status, reference, &error);
        if (status >= 0) {
            promise(grpoalign_reference_probabilities(reference, p, a->n, &error) == 0,
                    "probabilities can be read", error.message);
            for (int64_t o = 0; o < a->n; o++) {
                promise(p[o] >= 0.0 && p[o] <= 1.0, "probabilities in [0, 1]", "");
                sum += p[o];
            }
            promise(sum > 1.0 - 1e-13 && sum < 1.0 + 1e-13, "a sum of 1", "");
        }
        grpoalign_reference_free(reference);
    }
}

static void make_penalty(int32_t kind, double alpha)
{
    grpoalign_penalty *penalty = (grpoalign_penalty *)(uintptr_t)&kind;
    grpoalign_penalty_options options = GRPOALIGN_PENALTY_OPTIONS_INIT;
    grpoalign_error error;
    options.alpha = alpha;
    grpoalign_status status = grpoalign_penalty_new(kind, &options, &penalty, &error);
    told(status, penalty, &error);
    grpoalign_penalty_free(penalty);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bytes b = {data, size};
    arguments a, before;
    int32_t kind = (int32_t)take_below(&b, 14);
    take_arguments(&b, &a);
    memcpy(&before, &a, sizeof a);
    make_penalty(kind, a.x[0]);
    make_references(&a);
    make_models(&a);
    promise(memcmp(&before, &a, sizeof a) == 0, "inputs as they were", "");
    return 0;
}
