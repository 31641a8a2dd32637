/*
 * Many contexts in one call: arrays in, arrays out. The objective - model, conventions, penalty - is
 * given once; rewards, references and perhaps beta differ. Contexts stand one after the other in
 * flat arrays, as the values of an Arrow list column do, or all have the same number of outcomes.
 */
#ifndef GRPOALIGN_BULK_H
#define GRPOALIGN_BULK_H

#include <grpoalign/export.h>
#include <grpoalign/model.h>
#include <grpoalign/penalty.h>
#include <grpoalign/progress.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

/* The models that a list of rewards makes. */
typedef enum grpoalign_bulk_model {
    GRPOALIGN_BULK_RANKED = 1, /* grpoalign_model_new_ranked */
    GRPOALIGN_BULK_GROUP = 2,  /* grpoalign_model_new_group */
    GRPOALIGN_BULK_LIMIT = 3   /* grpoalign_model_new_limit */
} grpoalign_bulk_model;

/* What the numbers of a reference are. */
typedef enum grpoalign_bulk_reference {
    GRPOALIGN_BULK_PROBABILITIES = 0, /* each context's sum to 1 within 1e-4 */
    GRPOALIGN_BULK_LOGARITHMS = 1,    /* of probabilities, not normalised */
    GRPOALIGN_BULK_COUNTS = 2         /* >= 0, with a sum > 0 */
} grpoalign_bulk_reference;

/** The contexts and their objective. Start from GRPOALIGN_BULK_INIT. It only grows at its end; a new
 *  field means its default when 0. All arrays are borrowed for the call. */
typedef struct grpoalign_bulk {
    uint32_t struct_size;   /* sizeof the struct */
    int32_t model;          /* GRPOALIGN_BULK_RANKED, _GROUP or _LIMIT */
    int64_t contexts;       /* how many */
    int64_t outcomes;       /* of every context, where offsets is NULL; else 0 */
    int64_t reward_count;   /* of all contexts: contexts * outcomes, or the last offset */
    int64_t group_size;     /* of groups */
    int64_t beta_count;     /* 1, or the number of contexts */
    int32_t reference_kind; /* GRPOALIGN_BULK_PROBABILITIES, _LOGARITHMS or _COUNTS */
    int32_t reserved;       /* 0 */
    GRPOALIGN_POINTER(const int64_t *, offsets);  /* contexts + 1 numbers from 0 up: context k has
                             rewards[offsets[k]] .. rewards[offsets[k + 1] - 1]; or NULL */
    GRPOALIGN_POINTER(const double *, rewards);   /* reward_count finite numbers */
    GRPOALIGN_POINTER(const double *, reference); /* as many, or NULL: uniform */
    GRPOALIGN_POINTER(const double *, beta);      /* beta_count numbers > 0 */
    GRPOALIGN_POINTER(const grpoalign_penalty *, penalty);
    GRPOALIGN_POINTER(const grpoalign_reward_options *, options); /* of groups and of the limit; or
                             NULL */
} grpoalign_bulk;

#define GRPOALIGN_BULK_INIT                                                                        \
    {                                                                                              \
        GRPOALIGN_SIZE(grpoalign_bulk), 0, 0, 0, 0, 0, 1, 0, 0, GRPOALIGN_NO_POINTER,              \
            GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER,                      \
            GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER                                             \
    }

/** Sets every field within `size` bytes to its default. Pass sizeof *bulk. */
GRPOALIGN_API void grpoalign_bulk_init(grpoalign_bulk *bulk, uint32_t size);

/** What is asked for: arrays that are not NULL are filled. Start from GRPOALIGN_COLUMNS_INIT. */
typedef struct grpoalign_columns {
    uint32_t struct_size; /* sizeof the struct */
    int32_t reserved;     /* 0 */
    int64_t failed;       /* out: the contexts whose status is below 0 */
    /* reward_count numbers each; NaN for a context that failed */
    GRPOALIGN_POINTER(double *, policy);
    GRPOALIGN_POINTER(double *, advantage);
    /* one number for every context, as in grpoalign_report; NaN, or -1, for one that failed */
    GRPOALIGN_POINTER(int32_t *, status); /* what grpoalign_solve, or a constructor, returned */
    GRPOALIGN_POINTER(int64_t *, index);  /* of the number at fault within its context, or -1 */
    GRPOALIGN_POINTER(int32_t *, method);
    GRPOALIGN_POINTER(int32_t *, stable);
    GRPOALIGN_POINTER(int32_t *, unique);
    GRPOALIGN_POINTER(int32_t *, iterations);
    GRPOALIGN_POINTER(double *, residual);
    GRPOALIGN_POINTER(double *, policy_error);
    GRPOALIGN_POINTER(double *, normaliser);
    GRPOALIGN_POINTER(double *, expected_reward);
    GRPOALIGN_POINTER(double *, expected_reward_reference);
    GRPOALIGN_POINTER(double *, kl_ref_policy);
    GRPOALIGN_POINTER(double *, kl_policy_ref);
    GRPOALIGN_POINTER(double *, entropy);
} grpoalign_columns;

#define GRPOALIGN_COLUMNS_INIT                                                                     \
    {                                                                                              \
        GRPOALIGN_SIZE(grpoalign_columns), 0, 0, GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER,       \
            GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER,                      \
            GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER,                      \
            GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER,                      \
            GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER,                      \
            GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER                                             \
    }

/** Sets every field within `size` bytes to its default. Pass sizeof *columns. */
GRPOALIGN_API void grpoalign_columns_init(grpoalign_columns *columns, uint32_t size);

/** Options of grpoalign_solve_bulk. Start from GRPOALIGN_BULK_OPTIONS_INIT. */
typedef struct grpoalign_bulk_options {
    uint32_t struct_size;   /* sizeof the struct */
    int32_t threads;        /* that work, 1 .. 1024; default 1: the caller's alone */
    int32_t max_iterations; /* as in grpoalign_solve_options; default 2000 */
    int32_t stability;      /* GRPOALIGN_STABILITY_*; default SIGN */
    double tolerance;       /* default 1e-11 */
    GRPOALIGN_POINTER(grpoalign_progress_fn, progress); /* called by the caller's thread now and
                             then, `iteration` being the contexts done in thousands, `change` the
                             part that is left; or NULL */
    GRPOALIGN_POINTER(void *, user);                    /* handed to progress */
} grpoalign_bulk_options;

#define GRPOALIGN_BULK_OPTIONS_INIT                                                                \
    {                                                                                              \
        GRPOALIGN_SIZE(grpoalign_bulk_options), 0, 0, 0, 0.0, GRPOALIGN_NO_POINTER,                \
            GRPOALIGN_NO_POINTER                                                                   \
    }

/** Sets every field within `size` bytes to its default. Pass sizeof *options. */
GRPOALIGN_API void grpoalign_bulk_options_init(grpoalign_bulk_options *options, uint32_t size);

/**
 * Solves all contexts: each answer is that of grpoalign_solve to 1e-14, whatever the number of
 * threads and whatever stands beside it, bit for bit. Shapes with one unknown run eight at once
 * (large groups, unscaled rewards and ranks under the reverse KL); the others one after the other.
 *
 * Returns OK once all contexts have an answer or a status of their own; one that fails does not
 * stop the others. Or ARGUMENT, HANDLE, STRUCT_SIZE, NOT_FINITE (beta), MEMORY, CANCELLED, and
 * UNSUPPORTED (penalties per token): nothing is promised of the arrays then.
 *
 * @code
 * #include <grpoalign/grpoalign.h>
 *
 * int main(void)
 * {
 *     const double rewards[5] = {0.0, 1.0, 0.0, 0.5, 1.0}, beta[1] = {0.5};
 *     const int64_t offsets[3] = {0, 2, 5};
 *     double policy[5];
 *     grpoalign_penalty *penalty = NULL;
 *     grpoalign_bulk bulk = GRPOALIGN_BULK_INIT;
 *     grpoalign_columns columns = GRPOALIGN_COLUMNS_INIT;
 *     int failed = grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, NULL) < 0;
 *     bulk.model = GRPOALIGN_BULK_LIMIT;
 *     bulk.contexts = 2;
 *     bulk.offsets = offsets;
 *     bulk.rewards = rewards;
 *     bulk.reward_count = 5;
 *     bulk.beta = beta;
 *     bulk.penalty = penalty;
 *     columns.policy = policy;
 *     failed = failed || grpoalign_solve_bulk(&bulk, &columns, NULL, NULL) < 0;
 *     failed = failed || columns.failed > 0 || !(policy[1] > 0.5 && policy[4] > policy[3]);
 *     grpoalign_penalty_free(penalty);
 *     return failed;
 * }
 * @endcode
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_solve_bulk(const grpoalign_bulk *bulk, grpoalign_columns *columns,
                     const grpoalign_bulk_options *options, grpoalign_error *error);

GRPOALIGN_END

#endif
