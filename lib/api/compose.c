#include <grpoalign/compose.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/handles.h"
#include "penalty/tree.h"

/* ---- sums ----------------------------------------------------------------------------------- */

static grpoalign_status check_count(int64_t count, int32_t position, grpoalign_error *error)
{
    return count >= 1 ? GRPOALIGN_OK
                      : gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1,
                                 "count must be >= 1 (got %lld)", (long long)count);
}

grpoalign_status grpoalign_model_new_sum(const grpoalign_model *const *models,
                                         const double *weights, int64_t count,
                                         grpoalign_model **out, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 4, error));
    *out = NULL;
    GRA_TRY(gra_check_pointer(models, "models", 1, error));
    GRA_TRY(gra_check_pointer(weights, "weights", 2, error));
    GRA_TRY(check_count(count, 3, error));
    for (int64_t k = 0; k < count; k++) {
        if (models[k] == NULL || models[k]->handle.magic != GRA_MODEL_MAGIC) {
            return gra_fail(error, GRPOALIGN_ERR_HANDLE, 1, k, "models[%lld] is no model",
                            (long long)k);
        }
        if (models[k]->outcomes != models[0]->outcomes) {
            return gra_fail(error, GRPOALIGN_ERR_DIMENSION, 1, k,
                            "models[%lld] has %lld outcomes, models[0] has %lld", (long long)k,
                            (long long)models[k]->outcomes, (long long)models[0]->outcomes);
        }
        if (models[k]->filtered > 0) {
            return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 1, k,
                            "models[%lld] drops groups without spread, penalty and all: a group "
                            "that is dropped for one reward and kept for another has no meaning",
                            (long long)k);
        }
    }
    GRA_TRY(gra_check_finite(weights, count, "weights", 2, error));
    return gra_sum_new(models, weights, count, out, error);
}

/* ---- sums of penalties ---------------------------------------------------------------------- */

/* A law that holds every outcome, and has no tree of its own. */
static grpoalign_status check_law(const gra_penalty *law, const char *what, int32_t position,
                                  int64_t index, grpoalign_error *error)
{
    if (law->form != GRA_SMOOTH || law->lets_go) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, position, index,
                        "%s must hold every outcome whatever its advantage, which %s does not",
                        what, grpoalign_penalty_name(law->kind));
    }
    return law->completions == NULL ? GRPOALIGN_OK
                                    : gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, position, index,
                                               "%s is per token already: add up first", what);
}

static grpoalign_status check_coefficients(const double *coefficients, int64_t count,
                                           grpoalign_error *error)
{
    double most = 0.0;
    GRA_TRY(gra_check_finite(coefficients, count, "coefficients", 2, error));
    for (int64_t i = 0; i < count; i++) {
        if (coefficients[i] < 0.0) {
            return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, i,
                            "coefficients[%lld] must be >= 0 (got %g)", (long long)i,
                            coefficients[i]);
        }
        most = fmax(most, coefficients[i]);
    }
    return most > 0.0 ? GRPOALIGN_OK
                      : gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1,
                                 "one of the coefficients must be > 0");
}

/* The parts of sums among the penalties, with their coefficients. */
static int64_t list_parts(const grpoalign_penalty *const *penalties, const double *coefficients,
                          int64_t count, const gra_penalty **parts, double *factors)
{
    int64_t next = 0;
    for (int64_t i = 0; i < count; i++) {
        const gra_penalty *law = &penalties[i]->law;
        int64_t inside = law->part_count > 0 ? law->part_count : 1;
        for (int64_t k = 0; k < inside; k++, next++) {
            if (parts != NULL) {
                parts[next] = law->part_count > 0 ? &law->parts[k] : law;
                factors[next] =
                    coefficients[i] * (law->part_count > 0 ? law->coefficients[k] : 1.0);
            }
        }
    }
    return next;
}

/* A penalty without a law; NULL on short memory. */
static grpoalign_penalty *allocate(void)
{
    grpoalign_penalty *penalty = gra_alloc(1, sizeof *penalty);
    if (penalty != NULL) {
        gra_handle_start(&penalty->handle, GRA_PENALTY_MAGIC);
    }
    return penalty;
}

/* Fills the law of a new penalty with the sum. */
static grpoalign_status add_up(const grpoalign_penalty *const *penalties,
                               const double *coefficients, int64_t count,
                               grpoalign_penalty *penalty, grpoalign_error *error)
{
    gra_arena arena = GRA_ARENA_INIT;
    int64_t all = list_parts(penalties, coefficients, count, NULL, NULL);
    const gra_penalty **parts = gra_arena_take(&arena, all, sizeof(gra_penalty *));
    double *factors = gra_arena_doubles(&arena, all);
    grpoalign_status status = GRPOALIGN_OK;
    if (parts == NULL || factors == NULL) {
        status = gra_fail_memory(error);
    } else {
        (void)list_parts(penalties, coefficients, count, parts, factors);
        status = gra_penalty_sum(parts, factors, all, &penalty->law, error);
    }
    gra_arena_free(&arena);
    return status;
}

grpoalign_status grpoalign_penalty_new_sum(const grpoalign_penalty *const *penalties,
                                           const double *coefficients, int64_t count,
                                           grpoalign_penalty **out, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 4, error));
    *out = NULL;
    GRA_TRY(gra_check_pointer(penalties, "penalties", 1, error));
    GRA_TRY(gra_check_pointer(coefficients, "coefficients", 2, error));
    GRA_TRY(check_count(count, 3, error));
    for (int64_t i = 0; i < count; i++) {
        if (penalties[i] == NULL || penalties[i]->handle.magic != GRA_PENALTY_MAGIC) {
            return gra_fail(error, GRPOALIGN_ERR_HANDLE, 1, i, "penalties[%lld] is no penalty",
                            (long long)i);
        }
        GRA_TRY(check_law(&penalties[i]->law, "a part of a sum", 1, i, error));
    }
    GRA_TRY(check_coefficients(coefficients, count, error));
    grpoalign_penalty *penalty = allocate();
    if (penalty == NULL) {
        return gra_fail_memory(error);
    }
    grpoalign_status status = add_up(penalties, coefficients, count, penalty, error);
    if (status < 0) {
        gra_penalty_free(penalty);
        return status;
    }
    *out = penalty;
    return GRPOALIGN_OK;
}

/* ---- per token ------------------------------------------------------------------------------ */

static const grpoalign_completions COMPLETIONS_DEFAULTS = {.struct_size =
                                                               sizeof(grpoalign_completions)};

void grpoalign_completions_init(grpoalign_completions *completions, uint32_t size)
{
    gra_init_options(completions, size, &COMPLETIONS_DEFAULTS, sizeof COMPLETIONS_DEFAULTS);
}

static grpoalign_status check_offsets(const grpoalign_completions *of, grpoalign_error *error)
{
    if (of->offsets == NULL) {
        return of->tokens == NULL && of->token_count == 0
                   ? GRPOALIGN_OK
                   : gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1,
                              "completions.offsets must not be NULL beside completions.tokens");
    }
    if (of->tokens == NULL && of->token_count > 0) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1,
                        "completions.tokens must not be NULL beside completions.offsets");
    }
    for (int64_t o = 0; o <= of->count; o++) {
        int64_t least = o > 0 ? of->offsets[o - 1] : 0;
        if (of->offsets[o] < least || of->offsets[o] > of->token_count ||
            (o == 0 && of->offsets[o] != 0) ||
            (o == of->count && of->offsets[o] != of->token_count)) {
            return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, o,
                            "completions.offsets must go from 0 up to token_count = %lld (got %lld "
                            "at %lld)",
                            (long long)of->token_count, (long long)of->offsets[o], (long long)o);
        }
    }
    return GRPOALIGN_OK;
}

static grpoalign_status check_weights(const grpoalign_completions *of, grpoalign_error *error)
{
    double most = of->weights == NULL ? 1.0 : 0.0;
    for (int64_t o = 0; of->weights != NULL && o < of->count; o++) {
        if (!isfinite(of->weights[o]) || of->weights[o] < 0.0) {
            return gra_fail(
                error, isfinite(of->weights[o]) ? GRPOALIGN_ERR_ARGUMENT : GRPOALIGN_ERR_NOT_FINITE,
                2, o, "completions.weights[%lld] must be finite and >= 0 (got %g)", (long long)o,
                of->weights[o]);
        }
        most = fmax(most, of->weights[o]);
    }
    if (!(most > 0.0)) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1,
                        "one of completions.weights must be > 0: nothing would be trained");
    }
    return isfinite(of->entropy) && of->entropy >= 0.0
               ? GRPOALIGN_OK
               : gra_fail(error,
                          isfinite(of->entropy) ? GRPOALIGN_ERR_ARGUMENT : GRPOALIGN_ERR_NOT_FINITE,
                          2, -1, "completions.entropy must be finite and >= 0 (got %g)",
                          of->entropy);
}

/* What a completion is sorted by: its tokens, its end coming first. */
typedef struct sequence {
    const int64_t *tokens;
    int64_t length, index;
} sequence;

static int compare(const void *left, const void *right)
{
    const sequence *a = left, *b = right;
    int64_t shared = a->length < b->length ? a->length : b->length;
    for (int64_t i = 0; i < shared; i++) {
        if (a->tokens[i] != b->tokens[i]) {
            return a->tokens[i] < b->tokens[i] ? -1 : 1;
        }
    }
    return (a->length > b->length) - (a->length < b->length);
}

/* Sorts the completions of a copy; no two may be alike. */
static grpoalign_status sort(gra_completions *own, gra_arena *arena, grpoalign_error *error)
{
    sequence *all = gra_arena_take(arena, own->count, sizeof *all);
    if (all == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t o = 0; o < own->count; o++) {
        all[o] =
            (sequence){own->tokens + own->offsets[o], own->offsets[o + 1] - own->offsets[o], o};
    }
    qsort(all, (size_t)own->count, sizeof *all, compare);
    for (int64_t o = 0; o < own->count; o++) {
        own->order[o] = all[o].index;
        if (o > 0 && compare(&all[o - 1], &all[o]) == 0) {
            int64_t first = all[o - 1].index < all[o].index ? all[o - 1].index : all[o].index,
                    second = all[o - 1].index + all[o].index - first;
            return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, second,
                            "completions %lld and %lld have the same tokens: merge them",
                            (long long)first, (long long)second);
        }
    }
    return GRPOALIGN_OK;
}

/* A copy of an array; 0 on short memory. */
static int copy(void *to, const void *from, int64_t count, size_t size)
{
    void *own = from != NULL ? gra_alloc(count > 0 ? count : 1, size) : NULL;
    if (own != NULL && count > 0) {
        memcpy(own, from, (size_t)count * size);
    }
    memcpy(to, &own, sizeof own);
    return from == NULL || own != NULL;
}

static grpoalign_status keep(const grpoalign_completions *of, grpoalign_penalty *penalty,
                             grpoalign_error *error)
{
    gra_completions *own = gra_alloc(1, sizeof *own);
    penalty->law.completions = own;
    if (own == NULL) {
        return gra_fail_memory(error);
    }
    own->count = of->count;
    own->entropy = of->entropy;
    int has_tokens = of->offsets != NULL;
    int64_t nothing = 0;
    if (!copy(&own->offsets, of->offsets, of->count + 1, sizeof(int64_t)) ||
        !copy(&own->tokens, has_tokens && of->tokens == NULL ? &nothing : of->tokens,
              of->token_count, sizeof(int64_t)) ||
        !copy(&own->weights, of->weights, of->count, sizeof(double))) {
        return gra_fail_memory(error);
    }
    if (!has_tokens) {
        return GRPOALIGN_OK;
    }
    own->order = gra_alloc(of->count, sizeof(int64_t));
    gra_arena arena = GRA_ARENA_INIT;
    grpoalign_status status =
        own->order == NULL ? gra_fail_memory(error) : sort(own, &arena, error);
    gra_arena_free(&arena);
    return status;
}

/* The law of the base, with parts of its own. */
static grpoalign_status take_law(const grpoalign_penalty *base, grpoalign_penalty *penalty,
                                 grpoalign_error *error)
{
    const double one = 1.0;
    penalty->law = base->law;
    penalty->law.parts = NULL;
    penalty->law.coefficients = NULL;
    return base->law.part_count > 0 ? add_up(&base, &one, 1, penalty, error) : GRPOALIGN_OK;
}

grpoalign_status grpoalign_penalty_new_per_token(const grpoalign_penalty *base,
                                                 const grpoalign_completions *completions,
                                                 grpoalign_penalty **out, grpoalign_error *error)
{
    grpoalign_completions loaded = COMPLETIONS_DEFAULTS;
    gra_clear(error);
    GRA_TRY(gra_check_pointer(out, "out", 3, error));
    *out = NULL;
    GRA_TRY(gra_check_penalty(base, 1, error));
    GRA_TRY(check_law(&base->law, "base", 1, -1, error));
    GRA_TRY(gra_check_pointer(completions, "completions", 2, error));
    GRA_TRY(gra_load_options(&loaded, sizeof loaded, completions, 2, error));
    if (loaded.count < 1) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1,
                        "completions.count must be >= 1 (got %lld)", (long long)loaded.count);
    }
    GRA_TRY(check_offsets(&loaded, error));
    GRA_TRY(check_weights(&loaded, error));
    grpoalign_penalty *penalty = allocate();
    if (penalty == NULL) {
        return gra_fail_memory(error);
    }
    grpoalign_status status = take_law(base, penalty, error);
    if (status >= 0) {
        status = keep(&loaded, penalty, error);
    }
    if (status < 0) {
        gra_penalty_free(penalty);
        return status;
    }
    *out = penalty;
    return GRPOALIGN_OK;
}
