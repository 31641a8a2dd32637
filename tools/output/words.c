#include "output/words.h"

void text_advantage(text *out, const settings *s)
{
    int32_t scale = s->has_scale ? s->scale : GRPOALIGN_SCALE_STD;
    int others = s->has_baseline && s->baseline == GRPOALIGN_BASELINE_LEAVE_ONE_OUT;
    double epsilon = s->has_epsilon ? s->epsilon : 0.0;
    int inside =
        epsilon > 0.0 && s->has_epsilon_place && s->epsilon_place == GRPOALIGN_EPSILON_INSIDE;
    int limit = s->has_model && s->model == MODEL_LIMIT;
    text_string(out, others && !limit ? "(r - mean of others)" : "(r - mean)");
    if (scale != GRPOALIGN_SCALE_NONE) {
        text_string(out, inside ? " / sqrt(" : epsilon > 0.0 ? " / (" : " / ");
        if (is_in_batch(s)) {
            text_string(out, scale == SCALE_BATCH + GRPOALIGN_BATCH_STD_OF_ADVANTAGES
                                 ? "std(advantages of the batch)"
                                 : "std(rewards of the batch)");
        } else if (scale == GRPOALIGN_SCALE_MEAN) {
            text_string(out, "mean");
        } else if (limit) {
            text_string(out, "sigma");
        } else {
            text_string(out, scale == GRPOALIGN_SCALE_STD_OF_OTHERS ? "std(others)"
                             : s->has_ddof && s->ddof == 1          ? "std1"
                                                                    : "std0");
        }
        text_string(out, inside ? "^2" : "");
        if (epsilon > 0.0) {
            text_format(out, " + %g)", epsilon);
        }
    }
    if (s->has_zero_variance && s->zero_variance == GRPOALIGN_ZERO_VARIANCE_DROP) {
        text_string(out, ", equal groups dropped");
    }
}

/* Whether the advantages are the rewards but for a factor that is known. */
static int is_unscaled(const settings *s)
{
    return s->has_scale && s->scale == GRPOALIGN_SCALE_NONE && s->model != MODEL_PAIRWISE;
}

void text_stationary(text *out, const settings *s)
{
    int limit = s->has_model && s->model == MODEL_LIMIT;
    int others = limit || (s->has_baseline && s->baseline == GRPOALIGN_BASELINE_LEAVE_ONE_OUT);
    int dropping = s->has_zero_variance && s->zero_variance == GRPOALIGN_ZERO_VARIANCE_DROP;
    const char *u = !is_unscaled(s) ? "u" : others ? "r" : "(1-1/G) r";
    const char *centred = !is_unscaled(s) ? "u" : others ? "(r - Er)" : "(1-1/G) (r - Er)";
    const char *beta = dropping ? "(beta kept)" : "beta";
    switch (s->penalty) {
    case GRPOALIGN_PENALTY_REVERSE_KL:
    case GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED:
        text_format(out, "(1 - %s/%s) pi = pi_ref", centred, beta);
        break;
    case GRPOALIGN_PENALTY_DIRECT_KL:
        text_format(out, "pi ~ pi_ref exp(%s/%s)", u, beta);
        break;
    case GRPOALIGN_PENALTY_KL_IN_REWARD:
        text_string(out, "pi ~ pi_ref exp(r/beta)");
        break;
    case GRPOALIGN_PENALTY_NONE:
        text_string(out, s->model == MODEL_PAIRWISE ? "the outcomes that nothing beats"
                                                    : "the best outcomes alone");
        break;
    case GRPOALIGN_PENALTY_TOTAL_VARIATION:
        text_format(out, "%s - beta sign(pi - pi_ref) alike", u);
        break;
    case GRPOALIGN_PENALTY_SQUARED_LOG_RATIO:
        text_format(out, "%s - %s (l + l^2/2) alike", u, beta);
        break;
    case GRPOALIGN_PENALTY_CHI_SQUARED:
        text_format(out, "pi = pi_ref max(0, c + %s/%s)", u, beta);
        break;
    default:
        text_format(out, "%s - %s g(l) alike, l = log pi/pi_ref", u, beta);
        break;
    }
}
