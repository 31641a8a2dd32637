/*
 * Presets: what a trainer computes, by the name of the trainer, as its source and documentation had
 * it in 2026.
 */
#ifndef GRPOALIGN_PRESET_H
#define GRPOALIGN_PRESET_H

#include <grpoalign/export.h>
#include <grpoalign/status.h>

GRPOALIGN_BEGIN

/* Estimators of the divergence of a completion in a KL term, l = log(pi/pi_ref). */
typedef enum grpoalign_estimator {
    GRPOALIGN_ESTIMATOR_NONE = 0,
    GRPOALIGN_ESTIMATOR_K1 = 1, /* l */
    GRPOALIGN_ESTIMATOR_K2 = 2, /* l^2 / 2 */
    GRPOALIGN_ESTIMATOR_K3 = 3, /* exp(-l) - 1 + l */
    GRPOALIGN_ESTIMATOR_ABS = 4 /* |l| */
} grpoalign_estimator;

/* Where the KL term stands. */
typedef enum grpoalign_placement {
    GRPOALIGN_PLACEMENT_LOSS = 0,       /* a term of the loss, differentiated */
    GRPOALIGN_PLACEMENT_LOSS_RATIO = 1, /* the same times pi/pi_old, differentiated too */
    GRPOALIGN_PLACEMENT_REWARD = 2,     /* subtracted from the advantage, a constant */
    /* subtracted from the reward before the group normalises it, a constant */
    GRPOALIGN_PLACEMENT_REWARD_BEFORE = 3
} grpoalign_placement;

/** A trainer's convention. Strings are static. Only grows at its end. */
typedef struct grpoalign_convention {
    uint32_t struct_size; /* in: sizeof the caller's struct; out: how many bytes were filled */
    int32_t scale;        /* GRPOALIGN_SCALE_*, and so on as in grpoalign_reward_options: */
    int32_t ddof;
    int32_t baseline;
    int32_t epsilon_place;
    int32_t zero_variance;
    double epsilon;
    int32_t penalty;      /* GRPOALIGN_PENALTY_*: what the trainer's KL term amounts to, on policy,
                             where it is on and with the scale and baseline above (a placement
                             before normalisation is KL_IN_REWARD with any other); NONE where it has
                             no effect whatever beta is */
    int32_t group_size;   /* the trainer's default, or its examples'; 0 where it must be given */
    double beta;          /* the trainer's default; 0 where the KL term is off unless asked for; NaN
                             where it must be given */
    GRPOALIGN_POINTER(const char *, name);    /* of the preset */
    GRPOALIGN_POINTER(const char *, trainer); /* trainer, versions and options meant */
    GRPOALIGN_POINTER(const char *, kl);      /* the KL term as the trainer words it */
    GRPOALIGN_POINTER(const char *, warning); /* where the default has no effect, or the name
                             suggests something else; NULL for none */
    int32_t estimator;    /* GRPOALIGN_ESTIMATOR_*: the KL term itself, which `penalty` says the
                             effect of */
    int32_t placement;    /* GRPOALIGN_PLACEMENT_* */
    double clamp;         /* the estimate is cut off here, without gradient; infinite for none */
    /* The versions of the trainer whose code was found to do so: the first and the last. NULL where
     * it was read, not run. */
    GRPOALIGN_POINTER(const char *, from);
    GRPOALIGN_POINTER(const char *, to);
    GRPOALIGN_POINTER(const char *, family); /* of presets that follow one another; NULL for none */
} grpoalign_convention;

#define GRPOALIGN_CONVENTION_INIT                                                                  \
    {GRPOALIGN_SIZE(grpoalign_convention), 0, 0, 0, 0, 0, 0.0, 0, 0, 0.0, GRPOALIGN_NO_POINTER,  \
     GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER, 0, 0, 0.0,                  \
     GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER, GRPOALIGN_NO_POINTER}

/**
 * The preset of a name, e.g. "trl-1.10"; start from GRPOALIGN_CONVENTION_INIT. "trl-1.16" is the
 * newest convention of TRL that is not above that version, "trl" the newest known; "nemo" likewise,
 * by dates. Errors: ARGUMENT, STRUCT_SIZE.
 *
 * @code
 * #include <grpoalign/grpoalign.h>
 *
 * int main(void)
 * {
 *     grpoalign_convention trl = GRPOALIGN_CONVENTION_INIT;
 *     int failed = grpoalign_preset("trl-1.10", &trl, NULL) < 0;
 *     return failed || trl.penalty != GRPOALIGN_PENALTY_DIRECT_KL || trl.ddof != 1;
 * }
 * @endcode
 */
GRPOALIGN_API GRPOALIGN_NODISCARD grpoalign_status
grpoalign_preset(const char *name, grpoalign_convention *out, grpoalign_error *error);

/** The names of all presets, k = 0, 1, ...; NULL beyond the last. Static storage. */
GRPOALIGN_API const char *grpoalign_preset_name(int64_t k);

GRPOALIGN_END

#endif
