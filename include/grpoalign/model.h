/*
 * Preference models: policy -> advantages.
 *
 * The advantage of outcome o under a policy pi is u_o(pi) = E[A(o; o_2..o_G)], where o_2..o_G are
 * drawn independently from pi and A is the group-normalised reward of o (arXiv 2502.18548, section
 * 3). A constant added to all advantages changes no gradient; here sum_o pi_o u_o(pi) = 0 for every
 * model. Groups are zero-sum of themselves, but for SCALE_STD_OF_OTHERS, whose advantages are given
 * centred.
 */
#ifndef GRPOALIGN_MODEL_H
#define GRPOALIGN_MODEL_H

#include <grpoalign/export.h>
#include <grpoalign/progress.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

typedef struct grpoalign_model grpoalign_model;

/* Scale of the advantages: what r - baseline is divided by. std is that of the group's rewards,
 * divisor G - ddof. */
typedef enum grpoalign_scale {
    GRPOALIGN_SCALE_STD = 0,  /* std + epsilon; a group without spread gives 0 */
    GRPOALIGN_SCALE_NONE = 1, /* nothing: "unscaled rewards", shift normalisation only (Dr. GRPO) */
    GRPOALIGN_SCALE_STD_OF_OTHERS = 2, /* s + epsilon, s being the std (ddof 1) of the other G - 1
                                          rewards; nothing where s = 0 or G = 2. With the
                                          leave-one-out baseline only (NeMo-RL) */
    GRPOALIGN_SCALE_MEAN = 3 /* the group's mean reward + epsilon; a group of rewards 0 gives 0.
                                Rewards >= 0, with the mean as baseline (MaxRL, arXiv 2602.02710) */
} grpoalign_scale;

/* What the reward is compared with. */
typedef enum grpoalign_baseline {
    GRPOALIGN_BASELINE_MEAN = 0, /* the mean of the group, the member itself included */
    /* the mean of the other G - 1: G/(G-1) times as much (RLOO) */
    GRPOALIGN_BASELINE_LEAVE_ONE_OUT = 1
} grpoalign_baseline;

/* Where epsilon is added. */
typedef enum grpoalign_epsilon_place {
    GRPOALIGN_EPSILON_OUTSIDE = 0, /* std + epsilon */
    GRPOALIGN_EPSILON_INSIDE = 1   /* sqrt(std^2 + epsilon); arXiv 2503.06639 */
} grpoalign_epsilon_place;

/* What happens to a group whose rewards are all equal. */
typedef enum grpoalign_zero_variance {
    GRPOALIGN_ZERO_VARIANCE_KEEP = 0, /* its advantages are 0, its penalty counts */
    /* it is left out, its penalty too (DAPO's filter): solvers then balance u_o against the penalty
     * times 1 - W^(G-1), W being the probability of the rewards equal to o's. One reward per
     * outcome, finite groups; for penalties that hold every outcome */
    GRPOALIGN_ZERO_VARIANCE_DROP = 1
} grpoalign_zero_variance;

/** Options of the models from rewards. Start from GRPOALIGN_REWARD_OPTIONS_INIT. It only grows at
 *  its end; a new field means its default when 0. */
typedef struct grpoalign_reward_options {
    uint32_t struct_size;  /* sizeof the struct */
    int32_t scale;         /* GRPOALIGN_SCALE_*; default STD */
    int32_t ddof;          /* the divisor of the variance is group_size - ddof; 0 (default) or 1.
                              group models with scale STD only */
    int32_t expectation;   /* 0; see experimental.h */
    double epsilon;        /* >= 0, in units of the reward (inside the root, of its square); default
                              0. not with NONE */
    int32_t baseline;      /* GRPOALIGN_BASELINE_*; default MEAN */
    int32_t epsilon_place; /* GRPOALIGN_EPSILON_*; default OUTSIDE. scale STD only */
    int32_t zero_variance; /* GRPOALIGN_ZERO_VARIANCE_*; default KEEP. group models only */
    int32_t reserved;      /* 0 */
    GRPOALIGN_POINTER(grpoalign_progress_fn, progress); /* called between the stages; or NULL */
    GRPOALIGN_POINTER(void *, user);                    /* handed to progress */
} grpoalign_reward_options;

#define GRPOALIGN_REWARD_OPTIONS_INIT                                                              \
    {GRPOALIGN_SIZE(grpoalign_reward_options), 0, 0, 0, 0.0, 0, 0, 0, 0, GRPOALIGN_NO_POINTER,     \
     GRPOALIGN_NO_POINTER}

/** Sets every field within `size` bytes to its default. Pass sizeof *options. */
GRPOALIGN_API void grpoalign_reward_options_init(grpoalign_reward_options *options, uint32_t size);

/** Options of the models from preferences. Start from GRPOALIGN_PREFERENCE_OPTIONS_INIT. It only
 *  grows at its end; a new field means its default when 0. */
typedef struct grpoalign_preference_options {
    uint32_t struct_size; /* sizeof the struct */
    int32_t reserved;     /* 0 */
    GRPOALIGN_POINTER(grpoalign_progress_fn, progress); /* called while a large matrix is taken in;
                             or NULL */
    GRPOALIGN_POINTER(void *, user);                    /* handed to progress */
} grpoalign_preference_options;

#define GRPOALIGN_PREFERENCE_OPTIONS_INIT                                                          \
    {GRPOALIGN_SIZE(grpoalign_preference_options), 0, GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER}

/** Sets every field within `size` bytes to its default. Pass sizeof *options. */
GRPOALIGN_API void grpoalign_preference_options_init(grpoalign_preference_options *options,
                                                     uint32_t size);

/**
 * Pairwise preferences (group size 2, A = sign of the comparison): u = Gamma pi (paper, section
 * 3.1).
 *
 * margins: n x n, margins[i][j] = P(i preferred to j) - P(j preferred to i), in [-1, 1],
 *          antisymmetric within 1e-9 (the antisymmetric part is used), 0 on the diagonal. Copied.
 * stride:  elements between rows, >= n.
 * options: NULL for defaults.
 * Errors: ARGUMENT, NOT_FINITE and ANTISYMMETRY (index = i * n + j of the element), STRUCT_SIZE,
 * MEMORY, CANCELLED.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_model_new_pairwise(
    const double *margins, int64_t n, int64_t stride, const grpoalign_preference_options *options,
    grpoalign_model **out, grpoalign_error *error);

/**
 * Pairwise preferences induced by rewards: margin[i][j] = sign(r_i - r_j), never formed as a
 * matrix.
 * rewards: n finite numbers, any scale. Copied. options: NULL for defaults.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_model_new_ranked(
    const double *rewards, int64_t n, const grpoalign_preference_options *options,
    grpoalign_model **out, grpoalign_error *error);

/**
 * Groups of finite size, one reward per outcome.
 *
 * rewards:    n finite numbers, any scale. Copied.
 * group_size: G, 2 .. 2^31 - 1.
 * options:    NULL for defaults.
 * Errors: ARGUMENT, NOT_FINITE, STRUCT_SIZE, MEMORY, CANCELLED, TOO_LARGE (enumeration asked for
 * and out of reach).
 *
 * @code
 * #include <grpoalign/grpoalign.h>
 *
 * int main(void)
 * {
 *     const double rewards[3] = {0.0, 0.5, 1.0}, policy[3] = {0.6, 0.3, 0.1};
 *     double advantage[3];
 *     grpoalign_model *model = NULL;
 *     grpoalign_reward_options trl = GRPOALIGN_REWARD_OPTIONS_INIT;
 *     trl.ddof = 1;
 *     trl.epsilon = 1e-4;
 *     int failed = grpoalign_model_new_group(rewards, 3, 8, &trl, &model, NULL) < 0 ||
 *                  grpoalign_model_advantage(model, policy, 3, advantage, NULL) < 0;
 *     failed = failed || !(advantage[0] < 0.0 && advantage[2] > 0.0);
 *     grpoalign_model_free(model);
 *     return failed;
 * }
 * @endcode
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_model_new_group(
    const double *rewards, int64_t n, int64_t group_size, const grpoalign_reward_options *options,
    grpoalign_model **out, grpoalign_error *error);

/**
 * Groups of finite size, each outcome with its own distribution over k common reward levels.
 *
 * support:      k finite rewards, in any order; equal ones are merged. Copied.
 * distribution: n x k, row o = distribution of the reward of outcome o; entries >= 0, rows sum to 1
 *               within 1e-4 and are then normalised. Copied.
 * stride:       elements between rows, >= k.
 * Errors: as above; PROBABILITY (index = o * k + level, or o * k for a row's sum).
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_model_new_group_random(
    const double *support, int64_t k, const double *distribution, int64_t n, int64_t stride,
    int64_t group_size, const grpoalign_reward_options *options, grpoalign_model **out,
    grpoalign_error *error);

/**
 * The limit of large groups: u_o = (r_o - mean) / (sigma + epsilon), with mean = sum pi r and
 * sigma^2 = sum pi ((r - mean)^2 + variance) (paper, eq. (13) for variance = 0); unscaled:
 * u_o = r_o - mean; over the mean: u_o = (r_o - mean) / (mean + epsilon). Baseline LEAVE_ONE_OUT
 * and scale STD_OF_OTHERS change nothing here.
 *
 * rewards:   n finite mean rewards. Copied.
 * variances: n reward variances >= 0 within the outcomes, or NULL for 0. Copied.
 * options:   ddof, expectation and zero_variance must be 0; NULL for defaults.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status grpoalign_model_new_limit(
    const double *rewards, const double *variances, int64_t n,
    const grpoalign_reward_options *options, grpoalign_model **out, grpoalign_error *error);

GRPOALIGN_API void grpoalign_model_free(grpoalign_model *model);

/** The number of outcomes; 0 for NULL. */
GRPOALIGN_API int64_t grpoalign_model_outcomes(const grpoalign_model *model);

/**
 * Advantages u(pi).
 *
 * policy:    n probabilities summing to 1 within 1e-4; they are then normalised.
 * advantage: receives n numbers. May be the same array as policy. Infinite where a large group
 *            without spread (and epsilon = 0) meets an outcome worse or better than all it holds.
 * Errors: HANDLE, ARGUMENT, DIMENSION, NOT_FINITE, PROBABILITY, MEMORY. Outputs are written on
 * success only.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_model_advantage(const grpoalign_model *model, const double *policy, int64_t n,
                          double *advantage, grpoalign_error *error);

/**
 * The Jacobian J[o][j] = d u_o / d pi_j, for changes of the policy that keep its sum (sum_j d pi_j
 * = 0): a constant may be added to any row without changing its meaning.
 *
 * jacobian: n x n, row-major, `stride` >= n elements between rows.
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_model_jacobian(const grpoalign_model *model, const double *policy, int64_t n,
                         double *jacobian, int64_t stride, grpoalign_error *error);

GRPOALIGN_END

#endif
