/* grpoalign explain */
#include <math.h>

#include "commands/commands.h"
#include "commands/run.h"
#include "output/table.h"
#include "output/words.h"

static const char HELP[] =
    "usage: grpoalign explain [options] [FILE...]\n"
    "\n"
    "Says which problem each record states, in words and formulas, where its stationary policy "
    "lies, and which beta another\n"
    "convention would need for the same policy.\n"
    "\n";

/* ---- the same policy in other conventions ---------------------------------------------------- */

typedef struct equivalent {
    const char *convention, *why;
    double beta, epsilon; /* epsilon: NaN where it does not come into it */
} equivalent;

enum { MOST_EQUIVALENTS = 8 };

typedef struct equivalents {
    equivalent items[MOST_EQUIVALENTS];
    int count;
} equivalents;

/* Adds one, where its beta exists. */
static void add(equivalents *all, double beta, double epsilon, const char *convention,
                const char *why)
{
    if (all->count < MOST_EQUIVALENTS && isfinite(beta) && beta > 0.0) {
        all->items[all->count++] = (equivalent){convention, why, beta, epsilon};
    }
}

/* Differences of advantages over differences of rewards are taken to be one number when they agree
 * to this: the accuracy of advantages in groups of any size. */
static const double ONE_NUMBER = 1e-9;

/* What every advantage is per unit of reward at the policy; NaN where that is not one number. */
static double advantage_per_reward(const context *c, const result *r)
{
    int64_t worst = 0, best = 0;
    for (int64_t o = 1; c->rewards != NULL && o < c->outcomes; o++) {
        worst = c->rewards[o] < c->rewards[worst] ? o : worst;
        best = c->rewards[o] > c->rewards[best] ? o : best;
    }
    if (c->rewards == NULL) {
        return NAN;
    }
    double range = c->rewards[best] - c->rewards[worst];
    double ratio = (r->advantage[best] - r->advantage[worst]) / range;
    for (int64_t o = 0; o < c->outcomes; o++) {
        double expected = ratio * (c->rewards[o] - c->rewards[worst]);
        if (!(fabs((r->advantage[o] - r->advantage[worst]) - expected) <=
              ONE_NUMBER * fabs(ratio) * range)) {
            return NAN;
        }
    }
    return ratio;
}

/* The share of the penalty that two reward levels keep: D_G(p) = beta (p - p_ref) [1 - q p^(G-1) -
 * p q^(G-1)]. */
static double kept_share(const context *c, const result *r)
{
    double p = 0.0, q = 0.0, n = (double)c->settings.group_size - 1.0, top = -INFINITY,
           bottom = INFINITY;
    for (int64_t o = 0; c->rewards != NULL && o < c->outcomes; o++) {
        top = fmax(top, c->rewards[o]);
        bottom = fmin(bottom, c->rewards[o]);
    }
    for (int64_t o = 0; c->rewards != NULL && o < c->outcomes; o++) {
        if (c->rewards[o] != top && c->rewards[o] != bottom) {
            return NAN;
        }
        *(c->rewards[o] == top ? &p : &q) += r->policy[o];
    }
    return c->rewards != NULL && top > bottom ? 1.0 - q * pow(p, n) - p * pow(q, n) : NAN;
}

/* Other stds and baselines of the same groups. */
static void add_of_groups(const settings *s, equivalents *out)
{
    double size = (double)s->group_size, share = 1.0 - 1.0 / size;
    double shrink = sqrt((size - 1.0) / size);
    int inside = s->epsilon_place == GRPOALIGN_EPSILON_INSIDE;
    int others = s->baseline == GRPOALIGN_BASELINE_LEAVE_ONE_OUT;
    shrink = s->ddof == 1 ? 1.0 / shrink : shrink; /* what the other ddof's std is of this one's */
    if (s->scale == GRPOALIGN_SCALE_STD) {
        add(out, s->beta * shrink,
            s->epsilon > 0.0 ? s->epsilon / (inside ? shrink * shrink : shrink) : NAN,
            s->ddof == 1 ? "population std (ddof 0)" : "sample std (ddof 1)",
            "std1 = std0 sqrt(G/(G-1))");
    }
    if (s->scale == GRPOALIGN_SCALE_STD || s->scale == GRPOALIGN_SCALE_NONE) {
        add(out, others ? s->beta * share : s->beta / share, NAN,
            others ? "the mean of the whole group as baseline"
                   : "the mean of the others as baseline (leave one out)",
            "r - mean of others = (r - mean) G/(G-1)");
    }
}

/* What gives the same policy at this policy alone. */
static void add_of_policy(const context *c, const result *r, equivalents *out)
{
    const settings *s = &c->settings;
    int dropping = s->zero_variance == GRPOALIGN_ZERO_VARIANCE_DROP;
    double kept = !dropping                                    ? 1.0
                  : s->penalty == GRPOALIGN_PENALTY_REVERSE_KL ? kept_share(c, r)
                                                               : NAN;
    if (dropping && !isnan(kept)) {
        add(out, s->beta * kept, NAN, "groups without spread kept",
            "at this policy: the penalty of dropped groups is lost, 1 - q p^(G-1) - p q^(G-1) of "
            "it is left");
    }
    /* Total variation holds a whole range of policies at one beta, and this one at several. */
    int scaled = s->model != MODEL_PAIRWISE && s->scale != GRPOALIGN_SCALE_NONE &&
                 s->penalty != GRPOALIGN_PENALTY_TOTAL_VARIATION;
    double ratio = scaled ? advantage_per_reward(c, r) : NAN;
    if (!isnan(ratio) && !isnan(kept)) {
        add(out, s->beta * kept / ratio, NAN,
            "unscaled rewards, leave one out or large groups, the same penalty",
            "at this policy every advantage is the centred reward times one number");
    }
}

static void find_equivalents(const context *c, const result *r, equivalents *out)
{
    const settings *s = &c->settings;
    int groups = s->model == MODEL_GROUP, direct = s->penalty == GRPOALIGN_PENALTY_DIRECT_KL;
    int one = c->tokens == NULL && c->weights == NULL; /* decision, and weights that are equal */
    if (s->penalty == GRPOALIGN_PENALTY_KL_IN_REWARD) {
        add(out, s->beta, NAN, "RLHF: pi ~ pi_ref exp(r/beta)",
            "the group's normalisation has no effect here");
    }
    if (s->penalty == GRPOALIGN_PENALTY_KL_IN_REWARD || !has_effect(s)) {
        return;
    }
    if (c->table_success != NULL) { /* says itself what a group makes of its rewards */
        return;
    }
    if (groups) {
        add_of_groups(s, out);
    }
    if (s->model == MODEL_PAIRWISE && direct && one) {
        add(out, 0.5 * s->beta, NAN, "Nash learning from human feedback, its tau",
            "P(i beats j) = (1 + margin)/2");
    }
    add_of_policy(c, r, out);
    if (groups && direct && one && s->scale == GRPOALIGN_SCALE_NONE &&
        s->zero_variance == GRPOALIGN_ZERO_VARIANCE_KEEP &&
        s->baseline == GRPOALIGN_BASELINE_MEAN) {
        add(out, s->beta / (1.0 - 1.0 / (double)s->group_size), NAN,
            "RLHF: pi ~ pi_ref exp(r/beta)", "the mean contains the member itself");
    }
}

/* ---- writing --------------------------------------------------------------------------------- */

/* What a record tells of a context. */
typedef struct explanation {
    text advantage, stationary;
    const char *advantage_text, *stationary_text, *penalty;
    double beta;
} explanation;

/* clang-format off */
static const field EXPLANATION_FIELDS[] = {
    {"advantage", FIELD_TEXT, .at = offsetof(explanation, advantage_text)},
    {"penalty", FIELD_TEXT, .at = offsetof(explanation, penalty)},
    {"beta", FIELD_NUMBER, .at = offsetof(explanation, beta)},
    {"stationary", FIELD_TEXT, .at = offsetof(explanation, stationary_text)},
    {.name = NULL}};
static const field EQUIVALENT_FIELDS[] = {
    {"convention", FIELD_TEXT, .at = offsetof(equivalent, convention)},
    {"beta", FIELD_NUMBER, .at = offsetof(equivalent, beta)},
    {"epsilon", FIELD_NUMBER, .at = offsetof(equivalent, epsilon), OPTIONAL},
    {"because", FIELD_TEXT, .at = offsetof(equivalent, why)},
    {.name = NULL}};
/* clang-format on */

static void write_json(const context *c, const result *r, const equivalents *same, text *out)
{
    const settings *s = &c->settings;
    explanation e = {.penalty = setting_word(s, SETTING_PENALTY),
                     .beta = has_effect(s) && s->beta > 0.0 ? s->beta : NAN};
    text_advantage_of(&e.advantage, c);
    text_stationary_of(&e.stationary, c);
    e.advantage_text = e.advantage.bytes;
    e.stationary_text = e.stationary.bytes;
    json_start(out, c->id, grpoalign_status_name(r->report.status));
    json_fields(out, EXPLANATION_FIELDS, &e, 0);
    text_string(out, ", \"equivalents\": [");
    for (int i = 0; i < same->count; i++) {
        text_string(out, i > 0 ? ", {" : "{");
        json_fields(out, EQUIVALENT_FIELDS, &same->items[i], 0);
        text_string(out, "}");
    }
    text_string(out, "]");
    if (r->contexts > 0) {
        json_fields(out, BATCH_FIELDS, r, 0);
    }
    text_string(out, "}\n");
    out->failed = out->failed || e.advantage.failed || e.stationary.failed;
    text_free(&e.advantage);
    text_free(&e.stationary);
}

static const char *in_words(const settings *s)
{
    switch (s->penalty) {
    case GRPOALIGN_PENALTY_REVERSE_KL:
        return "The KL from the reference to the policy: no outcome of the reference is ever lost, "
               "and gains are rational,\n"
               "  not exponential, in the advantage. k3 in the loss is this.";
    case GRPOALIGN_PENALTY_DIRECT_KL:
        return "The KL from the policy to the reference: an exponential tilt by the advantage. k2 "
               "in the loss, k1 in the\n"
               "  reward after normalisation, and k1 or k3 times the ratio are this.";
    case GRPOALIGN_PENALTY_NONE:
        return "Nothing pulls back to the reference: any policy whose outcomes have equal "
               "advantages is stationary, and\n"
               "  training is attracted by those on the best outcomes alone.";
    case GRPOALIGN_PENALTY_KL_IN_REWARD:
        return "The KL is part of the reward that the group normalises: training comes to rest "
               "where r - beta log(pi/pi_ref)\n"
               "  is the same for all outcomes, whatever the std. That is RLHF's policy.";
    case GRPOALIGN_PENALTY_TOTAL_VARIATION:
        return "The sum of |pi - pi_ref|: it holds a policy at the reference until the advantages "
               "differ by more than a\n"
               "  multiple of beta.";
    case GRPOALIGN_PENALTY_SQUARED_LOG_RATIO:
    case GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED:
    case GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED:
        return "A penalty that has no hold on outcomes far below their reference probability: what "
               "falls there is lost.";
    case GRPOALIGN_PENALTY_SUM:
        return "Each penalty pulls with its own coefficient.";
    default:
        return "A divergence from the reference, by what its gradient does on policy.";
    }
}

static void write_preset(const settings *s, text *out)
{
    if (is_given(s, SETTING_PRESET)) {
        text_format(out, "  Preset %s: %s; KL term: %s.\n", s->preset.name, s->preset.trainer,
                    s->preset.kl);
        if (s->preset.warning != NULL) {
            text_format(out, "  ! %s\n", s->preset.warning);
        }
        text_string(out, "\n");
    }
}

static void write_equivalents(const equivalents *same, text *out)
{
    text_string(out, same->count > 0
                         ? "\n  The same policy elsewhere:\n"
                         : "\n  No rescaling of beta gives this policy in another convention.\n");
    for (int i = 0; i < same->count; i++) {
        const equivalent *e = &same->items[i];
        text_format(out, "    beta %-12.6g", e->beta);
        if (!isnan(e->epsilon)) {
            text_format(out, "epsilon %-9.4g", e->epsilon);
        }
        text_format(out, " %s\n%22s%s\n", e->convention, "", e->why);
    }
    text_string(out, "\n");
}

static void write_table(const context *c, const result *r, const equivalents *same, text *out)
{
    const settings *s = &c->settings;
    table_heading(out, c);
    write_preset(s, out);
    text_string(out, "  advantage     ");
    if (s->model == MODEL_PAIRWISE) {
        text_string(out,
                    "u_o = sum of pi_i margin[o][i], what o gains on average against the policy\n");
    } else {
        text_string(out, "u_o = E of ");
        text_advantage_of(out, c);
        text_format(out, "%s\n",
                    s->model == MODEL_LIMIT
                        ? ", in the limit of large groups"
                        : ", over groups of o and others drawn from the policy");
    }
    text_string(out, "  stationary    ");
    text_stationary_of(out, c);
    text_format(out, "\n  %s\n", in_words(s));
    if (r->report.unique == 0) {
        text_string(out, "  There are other stationary policies; this is the one that the "
                         "reference leads to.\n");
    }
    if (!isnan(r->report.expected_reward)) {
        text_format(
            out,
            "\n  expected reward %.6g -> %.6g, KL(pi||pi_ref) %.4g, KL(pi_ref||pi) %.4g (%s)\n",
            r->report.expected_reward_reference, r->report.expected_reward, r->report.kl_policy_ref,
            r->report.kl_ref_policy, grpoalign_status_name(r->report.status));
    }
    if (r->contexts > 0) {
        text_string(out, "\n");
        table_batch(out, r);
    }
    write_equivalents(same, out);
}

static void answer(const context *c, const result *r, const reply *to)
{
    equivalents same = {.count = 0};
    find_equivalents(c, r, &same);
    (to->how->format == FORMAT_TABLE ? write_table : write_json)(c, r, &same, to->out);
}

int command_explain(int argc, char **argv)
{
    static const action explain_action = {.command = "explain", .help = HELP, .answer = answer};
    return run_contexts(&explain_action, argc, argv);
}
