#include "output/words.h"

#include <grpoalign/penalty.h>

static const char *divisor(const settings *s)
{
    switch (s->scale) {
    case SCALE_BATCH + GRPOALIGN_BATCH_STD_OF_ADVANTAGES:
        return "std(advantages of the batch)";
    case SCALE_BATCH + GRPOALIGN_BATCH_STD_OF_REWARDS:
        return "std(rewards of the batch)";
    case GRPOALIGN_SCALE_MEAN:
        return "mean";
    case GRPOALIGN_SCALE_STD_OF_OTHERS:
        return s->model == MODEL_LIMIT ? "sigma" : "std(others)";
    default:
        return s->model == MODEL_LIMIT ? "sigma" : s->ddof == 1 ? "std1" : "std0";
    }
}

void text_advantage(text *out, const settings *s)
{
    int others = s->baseline == GRPOALIGN_BASELINE_LEAVE_ONE_OUT && s->model != MODEL_LIMIT;
    int inside = s->epsilon > 0.0 && s->epsilon_place == GRPOALIGN_EPSILON_INSIDE;
    text_string(out, others ? "(r - mean of others)" : "(r - mean)");
    if (s->scale != GRPOALIGN_SCALE_NONE) {
        text_format(out, "%s%s%s",
                    inside             ? " / sqrt("
                    : s->epsilon > 0.0 ? " / ("
                                       : " / ",
                    divisor(s), inside ? "^2" : "");
        if (s->epsilon > 0.0) {
            text_format(out, " + %g)", s->epsilon);
        }
    }
    if (s->zero_variance == GRPOALIGN_ZERO_VARIANCE_DROP) {
        text_string(out, ", equal groups dropped");
    }
}

void text_stationary(text *out, const settings *s)
{
    /* Without a scale the advantages are the rewards but for a factor that is known. */
    int unscaled = s->scale == GRPOALIGN_SCALE_NONE && s->model != MODEL_PAIRWISE;
    int others = s->model == MODEL_LIMIT || s->baseline == GRPOALIGN_BASELINE_LEAVE_ONE_OUT;
    int dropping = s->zero_variance == GRPOALIGN_ZERO_VARIANCE_DROP;
    const char *u = !unscaled ? "u" : others ? "r" : "(1-1/G) r";
    const char *centred = !unscaled ? "u" : others ? "(r - Er)" : "(1-1/G) (r - Er)";
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

void text_advantage_of(text *out, const context *c)
{
    const settings *s = &c->settings;
    if (s->model == MODEL_PAIRWISE) {
        text_string(out, "margins");
    } else if (c->table_success != NULL) {
        text_string(out, "group_table");
    } else {
        int is_sum = c->reward_count > 1 && s->aggregation == NORMALIZE_THEN_SUM;
        text_string(out, is_sum ? "sum over rewards of weight x " : "");
        text_advantage(out, s);
    }
}

void text_stationary_of(text *out, const context *c)
{
    const settings *s = &c->settings;
    const char *w = c->weights != NULL ? "w " : "";
    if (c->tokens != NULL && s->penalty != GRPOALIGN_PENALTY_NONE) {
        text_format(out,
                    "at every prefix, for its next tokens a: E[%su | a] - beta g(l)%s alike, "
                    "l = log pi(a)/pi_ref(a)",
                    w, c->weights != NULL ? " E[w | a]" : "");
    } else if (s->penalty == GRPOALIGN_PENALTY_SUM) {
        text_format(out, "%s(u - sum of beta_k g_k(l)) alike, l = log pi/pi_ref", w);
    } else if (c->weights != NULL && s->penalty != GRPOALIGN_PENALTY_NONE) {
        text_string(out, "w (u - beta g(l)) alike, l = log pi/pi_ref");
    } else if (s->decisions > 1.0 && s->penalty == GRPOALIGN_PENALTY_REVERSE_KL) {
        text_format(out, "(c - u/(%g beta))^%g pi = pi_ref", s->decisions, s->decisions);
    } else {
        text_stationary(out, s);
    }
}

void text_penalty_of(text *out, const context *c)
{
    const settings *s = &c->settings;
    const mixture *parts = &s->parts;
    int more = 0;
    if (!has_effect(s)) {
        text_string(out, "no penalty");
    } else if (s->penalty != GRPOALIGN_PENALTY_SUM) {
        text_format(out, "beta %g x %s", s->beta, grpoalign_penalty_formula(s->penalty));
    } else {
        for (int kind = 0; kind < PENALTY_KINDS; kind++) {
            if (parts->coefficients[kind] > 0.0) {
                text_format(out, "%s%g x %s", more++ > 0 ? " + " : "", parts->coefficients[kind],
                            grpoalign_penalty_formula(kind));
            }
        }
        if (parts->entropy > 0.0) {
            text_format(out, " - %g x H(pi)", parts->entropy);
        }
    }
    if (s->penalty == GRPOALIGN_PENALTY_ALPHA) {
        text_format(out, ", alpha %g", s->alpha);
    }
    if (s->decisions > 1.0) {
        text_format(out, ", %g decisions", s->decisions);
    }
    text_string(out, c->tokens != NULL ? ", per token" : "");
    text_string(out, c->weights != NULL ? ", with weights" : "");
}
