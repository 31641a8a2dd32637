#include <grpoalign/preset.h>

#include <math.h>
#include <string.h>

#include <grpoalign/model.h>
#include <grpoalign/penalty.h>

#include "api/handles.h"

/* Short names for the table. */
#define SIZE           .struct_size = sizeof(grpoalign_convention)
#define OVER_STD(d, e) .scale = GRPOALIGN_SCALE_STD, .ddof = (d), .epsilon = (e)
#define UNSCALED       .scale = GRPOALIGN_SCALE_NONE
#define LEAVE_ONE_OUT  .baseline = GRPOALIGN_BASELINE_LEAVE_ONE_OUT
#define FILTERED       .zero_variance = GRPOALIGN_ZERO_VARIANCE_DROP
#define KL(e, p, c)                                                                                \
    .estimator = GRPOALIGN_ESTIMATOR_##e, .placement = GRPOALIGN_PLACEMENT_##p, .clamp = (c)
#define CHECKED(f, low, high) .family = (f), .from = (low), .to = (high)
#define TERM(kind, beta_, g)  .penalty = GRPOALIGN_PENALTY_##kind, .beta = (beta_), .group_size = (g)

static const char NO_KL_BY_DEFAULT[] =
    "beta is 0 by default: no reference policy at all, training ends on the best outcomes";

static const grpoalign_convention PRESETS[] = {
    {SIZE, OVER_STD(0, 0.0), TERM(REVERSE_KL, NAN, 0), KL(K3, LOSS, INFINITY), .name = "paper",
     .trainer = "the paper, arXiv 2502.18548", .kl = "k3 in the loss", .warning = NULL},
    {SIZE, OVER_STD(1, 1e-4), TERM(REVERSE_KL, 0.0, 8), KL(K3, LOSS, INFINITY),
     CHECKED("trl", "0.14", "1.9.2"), .name = "trl-1.9",
     .trainer = "TRL GRPO up to 1.9, scale_rewards=\"group\"", .kl = "k3 in the loss",
     .warning = NO_KL_BY_DEFAULT},
    {SIZE, OVER_STD(1, 1e-4), TERM(DIRECT_KL, 0.0, 8), KL(K3, LOSS_RATIO, INFINITY),
     CHECKED("trl", "1.10", "1.16.0"), .name = "trl-1.10",
     .trainer = "TRL GRPO from 1.10, use_bias_correction_kl=True",
     .kl = "k3 times the ratio in the loss",
     .warning = "beta is 0 by default: no reference policy at all; given one, the KL changed "
                "direction in 1.10"},
    {SIZE, UNSCALED, LEAVE_ONE_OUT, TERM(DIRECT_KL, 0.05, 2), KL(K1, REWARD_BEFORE, INFINITY),
     CHECKED(NULL, "1.9.2", "1.16.0"), .name = "trl-rloo", .trainer = "TRL RLOO",
     .kl = "k1 summed in the reward, before the baseline", .warning = NULL},
    {SIZE, OVER_STD(0, 1e-8), TERM(NONE, 0.0, 8), KL(NONE, LOSS, INFINITY), .name = "trl-async",
     .trainer = "TRL AsyncGRPO (experimental)", .kl = "none",
     .warning = "there is no reference policy: beta has no effect; the std is the population's, "
                "unlike TRL GRPO's"},
    {SIZE, OVER_STD(1, 1e-6), TERM(NONE, 0.001, 0), KL(K1, LOSS, INFINITY),
     CHECKED(NULL, "0.9.1", "0.9.1"), .name = "verl-k1",
     .trainer = "verl, use_kl_loss=True, kl_loss_type=k1", .kl = "k1 in the loss",
     .warning = "k1 in the loss has no gradient in expectation: beta has no effect"},
    {SIZE, OVER_STD(1, 1e-6), TERM(DIRECT_KL, 0.001, 0), KL(K2, LOSS, INFINITY),
     CHECKED(NULL, "0.9.1", "0.9.1"), .name = "verl-k2",
     .trainer = "verl, use_kl_loss=True, kl_loss_type=k2 (mse), or any with \"+\"",
     .kl = "k2 in the loss",
     .warning = "its gradient is that of KL(pi||pi_ref), although its value is not"},
    {SIZE, OVER_STD(1, 1e-6), TERM(REVERSE_KL_CLAMPED, 0.001, 0), KL(K3, LOSS, 10.0),
     CHECKED(NULL, "0.9.1", "0.9.1"), .name = "verl-k3",
     .trainer = "verl, use_kl_loss=True, kl_loss_type=low_var_kl (k3)",
     .kl = "k3 in the loss, clamped at 10",
     .warning = "estimates KL(pi||pi_ref), but its gradient is that of KL(pi_ref||pi)"},
    {SIZE, OVER_STD(1, 1e-6), TERM(TOTAL_VARIATION, 0.001, 0), KL(ABS, LOSS, INFINITY),
     .name = "verl-abs", .trainer = "verl, use_kl_loss=True, kl_loss_type=abs",
     .kl = "|log ratio| in the loss",
     .warning = "total variation: below a threshold of beta nothing holds, above it nothing moves"},
    {SIZE, OVER_STD(1, 1e-6), TERM(KL_IN_REWARD, 0.001, 0), KL(K1, REWARD_BEFORE, INFINITY),
     CHECKED(NULL, "0.9.1", "0.9.1"), .name = "verl-kl-in-reward",
     .trainer = "verl, use_kl_in_reward=True, adv_estimator=grpo",
     .kl = "k1 in the reward, before it is normalised",
     .warning = "the std has no effect on the stationary policy: it is RLHF's, pi_ref exp(r/beta)"},
    {SIZE, OVER_STD(1, 1e-9), TERM(DIRECT_KL, 0.01, 0), KL(K1, REWARD, INFINITY),
     CHECKED(NULL, "0.11.2", "0.11.2"), .name = "openrlhf-group-norm",
     .trainer = "OpenRLHF, advantage estimator group_norm",
     .kl = "k1 in the reward, after it is normalised", .warning = NULL},
    {SIZE, UNSCALED, LEAVE_ONE_OUT, TERM(DIRECT_KL, 0.01, 0), KL(K1, REWARD, INFINITY),
     CHECKED(NULL, "0.11.2", "0.11.2"), .name = "openrlhf-rloo",
     .trainer = "OpenRLHF, advantage estimator rloo", .kl = "k1 in the reward, after the baseline",
     .warning = NULL},
    {SIZE, .scale = GRPOALIGN_SCALE_STD_OF_OTHERS, .epsilon = 1e-6, LEAVE_ONE_OUT,
     TERM(REVERSE_KL_CLAMPED, 0.01, 16), KL(K3, LOSS, 10.0),
     CHECKED("nemo", "2025-05", "2026-06-23"), .name = "nemo-2026-05",
     .trainer = "NeMo-RL GRPO before 24 June 2026", .kl = "k3 in the loss, clamped at 10",
     .warning = "mean and std are those of the other members: no rescaling of beta gives the usual "
                "convention"},
    {SIZE, .scale = GRPOALIGN_SCALE_STD_OF_OTHERS, .epsilon = 1e-6, LEAVE_ONE_OUT,
     TERM(DIRECT_KL_CLAMPED, 0.01, 16), KL(K3, LOSS_RATIO, 10.0),
     CHECKED("nemo", "2026-06-24", "2026-08"), .name = "nemo-2026-06",
     .trainer = "NeMo-RL GRPO since 24 June 2026", .kl = "k3 times the ratio in the loss",
     .warning = "the KL changed direction that day; mean and std are those of the other members"},
    {SIZE, UNSCALED, FILTERED, TERM(REVERSE_KL, 0.05, 4), KL(K3, LOSS, INFINITY),
     CHECKED(NULL, "2026-03-20", "2026-08"), .name = "open-instruct",
     .trainer = "open-instruct since 20 March 2026, \"centered\", filter_zero_std_samples",
     .kl = "k3 in the loss",
     .warning =
         "groups without spread are dropped with their KL: beta counts less where they are common"},
    {SIZE, OVER_STD(0, 1e-8), FILTERED, TERM(REVERSE_KL, 0.05, 4), KL(K3, LOSS, INFINITY),
     .name = "open-instruct-standard",
     .trainer = "open-instruct, \"standard\" (the default before), filter_zero_std_samples",
     .kl = "k3 in the loss",
     .warning =
         "groups without spread are dropped with their KL: beta counts less where they are common"},
    {SIZE, UNSCALED, FILTERED, TERM(NONE, 0.0, 0), KL(NONE, LOSS, INFINITY), .name = "prime-rl",
     .trainer = "prime-rl, algorithm grpo", .kl = "to the behaviour policy only",
     .warning = "there is no reference policy: beta has no effect"},
    {SIZE, .scale = GRPOALIGN_SCALE_MEAN, TERM(NONE, 0.0, 0), KL(NONE, LOSS, INFINITY),
     .name = "prime-rl-maxrl", .trainer = "prime-rl, algorithm max_rl",
     .kl = "to the behaviour policy only",
     .warning = "there is no reference policy: beta has no effect"},
    {SIZE, OVER_STD(1, 1e-6), TERM(NONE, 0.0, 0), KL(K1, LOSS, INFINITY), .name = "slime",
     .trainer = "slime, estimator grpo, kl_loss_type=k1 (the default)", .kl = "k1 in the loss",
     .warning = "k1 in the loss has no gradient in expectation: beta has no effect (k2 or k3 has)"},
    {SIZE, OVER_STD(1, 1e-4), TERM(REVERSE_KL_CLAMPED, 0.04, 8), KL(K3, LOSS, 10.0),
     CHECKED(NULL, "4.6.0", "4.6.0"), .name = "ms-swift",
     .trainer = "ms-swift GRPO, scale_rewards=group", .kl = "k3 in the loss, clamped at 10",
     .warning = NULL},
    {SIZE, UNSCALED, TERM(REVERSE_KL, 0.0, 8), KL(K3, LOSS, INFINITY), .name = "drgrpo",
     .trainer = "Dr. GRPO (understand-r1-zero, oat), as its README runs it", .kl = "k3 in the loss",
     .warning = NO_KL_BY_DEFAULT},
    {SIZE, OVER_STD(1, 1e-6), TERM(REVERSE_KL_CLAMPED, 0.0, 8), KL(K3, LOSS, 10.0), .name = "roll",
     .trainer = "ROLL, adv_estimator=grpo, use_kl_loss", .kl = "k3 in the loss, clamped at 10",
     .warning = NO_KL_BY_DEFAULT},
    {SIZE, OVER_STD(1, 1e-5), TERM(DIRECT_KL, 0.0, 4), KL(K1, REWARD, INFINITY),
     CHECKED(NULL, "1.0.4", "1.0.4"), .name = "areal",
     .trainer = "AReaL, the GRPO example (reward norm group/group)",
     .kl = "k1 in the reward, after it is normalised",
     .warning = "beta is 0 in the example and 0.1 in the code; without a reference model the pull "
                "is towards uniform"},
    {SIZE, OVER_STD(1, 1e-4), TERM(REVERSE_KL, 0.01, 16), KL(K3, LOSS, INFINITY),
     .name = "torchtune", .trainer = "torchtune, its GRPO configurations", .kl = "k3 in the loss",
     .warning = "the configurations have beta 0.01, the loss itself 0.1"},
    {SIZE, OVER_STD(1, 1e-4), TERM(REVERSE_KL, 0.001, 8), KL(K3, LOSS, INFINITY), .name = "unsloth",
     .trainer = "Unsloth with TRL before 1.10", .kl = "k3 in the loss",
     .warning =
         "with TRL 1.10 and the Unsloth that follows it the KL changes direction: see trl-1.10"},
    {SIZE, OVER_STD(1, 1e-4), TERM(DIRECT_KL, 0.0, 8), KL(K3, LOSS_RATIO, INFINITY),
     CHECKED(NULL, "1.10", "1.16.0"), .name = "trl-cispo",
     .trainer = "TRL GRPO from 1.10, loss_type=\"cispo\"", .kl = "k3 times the ratio in the loss",
     .warning = "the advantage alone is multiplied by epsilon_high, 0.2 by default: give beta/0.2"},
    {SIZE, UNSCALED, TERM(DIRECT_KL, 0.01, 0), KL(K1, REWARD, INFINITY),
     CHECKED(NULL, "0.11.2", "0.11.2"), .name = "openrlhf-reinforce-baseline",
     .trainer = "OpenRLHF, advantage estimator reinforce_baseline",
     .kl = "k1 in the reward, whitened with it",
     .warning = "the batch's std divides reward and KL alike: beta counts in units of the reward"},
    {SIZE, UNSCALED, LEAVE_ONE_OUT, TERM(DIRECT_KL, 0.01, 0), KL(K1, REWARD, INFINITY),
     CHECKED(NULL, "0.11.2", "0.11.2"), .name = "openrlhf-flash-reinforce",
     .trainer = "OpenRLHF, advantage estimator flash_reinforce",
     .kl = "k1 in the reward, before the mean of the rollout batch",
     .warning = "there is no group: the stationary policy is RLHF's, pi_ref exp(r/beta)"},
    {SIZE, UNSCALED, TERM(KL_IN_REWARD, 0.04, 8), KL(K1, REWARD_BEFORE, INFINITY),
     CHECKED(NULL, "4.6.0", "4.6.0"), .name = "ms-swift-rf++",
     .trainer = "ms-swift, advantage_estimator=reinforce_plus_plus, kl_in_reward (the default)",
     .kl = "k1 in the reward, before it is normalised",
     .warning = "the std has no effect on the stationary policy: it is RLHF's, pi_ref exp(r/beta)"},
    {SIZE, OVER_STD(1, 1e-4), TERM(DIRECT_KL_CLAMPED, 0.0, 8), KL(K3, LOSS_RATIO, 10.0),
     CHECKED(NULL, "2026.10.9", "2026.10.9"), .name = "unsloth-2026.10",
     .trainer = "Unsloth from 2026.10, with TRL 1.10 to 1.15",
     .kl = "k3 times the ratio in the loss, clamped at 10", .warning = NO_KL_BY_DEFAULT},
    {SIZE, OVER_STD(1, 1e-6), TERM(REVERSE_KL_CLAMPED, 0.001, 5), KL(K3, LOSS, 10.0),
     CHECKED(NULL, "0.3", "0.4"), .name = "skyrl", .trainer = "SkyRL",
     .kl = "k3 in the loss, clamped at 10", .warning = NULL},
    {SIZE, OVER_STD(1, 1e-6), TERM(NONE, 0.04, 2), KL(K1, LOSS, INFINITY),
     CHECKED(NULL, "0.1.7", "0.1.7"), .name = "tunix",
     .trainer = "tunix, kl_loss_mode=\"kl\" (the default)", .kl = "k1 in the loss",
     .warning =
         "k1 in the loss has no gradient in expectation: the default beta 0.04 has no effect"},
    {SIZE, UNSCALED, TERM(DIRECT_KL, 0.0, 0), KL(K1, REWARD, INFINITY), .name = "tinker",
     .trainer = "tinker-cookbook", .kl = "k1 in the advantage", .warning = NO_KL_BY_DEFAULT},
};

enum { PRESET_COUNT = sizeof PRESETS / sizeof *PRESETS };

const char *grpoalign_preset_name(int64_t k)
{
    return k >= 0 && k < PRESET_COUNT ? PRESETS[k].name : NULL;
}

/* Compares versions number by number; what is missing is 0. */
static int compare_versions(const char *left, const char *right)
{
    while (*left != '\0' || *right != '\0') {
        long a = 0, b = 0;
        for (; *left >= '0' && *left <= '9'; left++) {
            a = a < 1000000 ? 10 * a + (*left - '0') : a;
        }
        for (; *right >= '0' && *right <= '9'; right++) {
            b = b < 1000000 ? 10 * b + (*right - '0') : b;
        }
        if (a != b) {
            return a < b ? -1 : 1;
        }
        left += *left != '\0';
        right += *right != '\0';
    }
    return 0;
}

/* Whether a name is a version: digits, parted by dots and dashes. */
static int is_version(const char *text)
{
    size_t length = strspn(text, "0123456789.-");
    return length > 0 && text[length] == '\0' && text[0] >= '0' && text[0] <= '9';
}

/* The newest convention of a family that is not above the version that a name ends in, or the newest
 * of all where it has none; NULL where there is no such family. */
static const grpoalign_convention *resolve(const char *name)
{
    const grpoalign_convention *found = NULL;
    for (int k = 0; k < PRESET_COUNT; k++) {
        const grpoalign_convention *preset = &PRESETS[k];
        size_t length = preset->family != NULL ? strlen(preset->family) : 0;
        if (length == 0 || strncmp(name, preset->family, length) != 0) {
            continue;
        }
        const char *rest = name + length;
        int is_any = *rest == '\0', is_dated = *rest == '-' && is_version(rest + 1);
        if ((is_any || (is_dated && compare_versions(preset->from, rest + 1) <= 0)) &&
            (found == NULL || compare_versions(found->from, preset->from) < 0)) {
            found = preset;
        }
    }
    return found;
}

grpoalign_status grpoalign_preset(const char *name, grpoalign_convention *out,
                                  grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_pointer(name, "name", 1, error));
    GRA_TRY(gra_check_pointer(out, "out", 2, error));
    const grpoalign_convention *found = NULL;
    for (int k = 0; found == NULL && k < PRESET_COUNT; k++) {
        found = strcmp(PRESETS[k].name, name) == 0 ? &PRESETS[k] : NULL;
    }
    found = found != NULL ? found : resolve(name);
    return found != NULL
               ? gra_fill_struct(out, "out", 2, found, sizeof *found, error)
               : gra_fail(
                     error, GRPOALIGN_ERR_ARGUMENT, 1, -1,
                     "name must be one of grpoalign_preset_name, or trl or nemo with a version "
                     "(got \"%.60s\")",
                     name);
}
