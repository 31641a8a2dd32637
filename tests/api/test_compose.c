/* Sums of models and penalties, weights and tokens: against the sums of their parts, and against the
 * definition of stationarity by raw data. */
#include "check.h"

enum { MOST = 8, LONGEST = 4 };

/* ---- any models ---- */

enum { MARGINS, RANKED, GROUP, GROUP_OF_OTHERS, LIMIT, UNSCALED, MODELS };

static grpoalign_model *random_model(randomness *r, int kind, int64_t n)
{
    double rewards[MOST], margins[MOST * MOST];
    grpoalign_model *model = NULL;
    grpoalign_reward_options options = GRPOALIGN_REWARD_OPTIONS_INIT;
    random_rewards(r, (int)random_below(r, REWARDS_GEOMETRIC), n, rewards);
    options.epsilon = kind == UNSCALED ? 0.0 : 0.05 + random_uniform(r);
    switch (kind) {
    case MARGINS:
        random_margins(r, (int)random_below(r, MARGINS_KINDS), n, margins);
        CHECK_OK(grpoalign_model_new_pairwise(margins, n, n, NULL, &model, NULL));
        break;
    case RANKED:
        CHECK_OK(grpoalign_model_new_ranked(rewards, n, NULL, &model, NULL));
        break;
    case GROUP:
        options.ddof = (int32_t)random_below(r, 2);
        CHECK_OK(
            grpoalign_model_new_group(rewards, n, 2 + random_below(r, 6), &options, &model, NULL));
        break;
    case GROUP_OF_OTHERS:
        options.scale = GRPOALIGN_SCALE_STD_OF_OTHERS;
        options.baseline = GRPOALIGN_BASELINE_LEAVE_ONE_OUT;
        CHECK_OK(
            grpoalign_model_new_group(rewards, n, 3 + random_below(r, 4), &options, &model, NULL));
        break;
    default:
        options.scale = kind == UNSCALED ? GRPOALIGN_SCALE_NONE : GRPOALIGN_SCALE_STD;
        CHECK_OK(grpoalign_model_new_limit(rewards, NULL, n, &options, &model, NULL));
    }
    return model;
}

typedef struct terms {
    grpoalign_model *parts[3], *sum;
    double weights[3];
    int64_t count;
} terms;

/* `kinds`: so many of the models, in the order above, may occur. */
static terms random_sum(randomness *r, int64_t n, int antisymmetric)
{
    static const int antisymmetric_kinds[] = {MARGINS, RANKED, UNSCALED};
    terms t = {.count = 1 + random_below(r, 3)};
    for (int64_t k = 0; k < t.count; k++) {
        int kind =
            antisymmetric ? antisymmetric_kinds[random_below(r, 3)] : (int)random_below(r, MODELS);
        t.parts[k] = random_model(r, kind, n);
        t.weights[k] = antisymmetric || random_below(r, 3) > 0 ? 0.2 + 2.0 * random_uniform(r)
                                                               : -0.5 * random_uniform(r);
    }
    CHECK_OK(grpoalign_model_new_sum((const grpoalign_model *const *)t.parts, t.weights, t.count,
                                     &t.sum, NULL));
    return t;
}

static void free_terms(terms *t)
{
    for (int64_t k = 0; k < t->count; k++) {
        grpoalign_model_free(t->parts[k]);
    }
    grpoalign_model_free(t->sum);
}

static void sums_are_those_of_their_parts(void **state)
{
    (void)state;
    randomness r = random_start(1);
    for (int trial = 0; trial < 200 * test_scale(); trial++) {
        int64_t n = 1 + random_below(&r, MOST);
        double policy[MOST], part[MOST], sum[MOST], plain[MOST] = {0.0};
        double slopes[MOST * MOST], part_slopes[MOST * MOST], plain_slopes[MOST * MOST] = {0.0};
        terms t = random_sum(&r, n, 0);
        random_policy(&r, n, policy);
        for (int64_t o = 0; o < n; o++) { /* inside, where slopes are finite */
            policy[o] = 0.9 * policy[o] + 0.1 / (double)n;
        }
        for (int64_t k = 0; k < t.count; k++) {
            CHECK_OK(grpoalign_model_advantage(t.parts[k], policy, n, part, NULL));
            CHECK_OK(grpoalign_model_jacobian(t.parts[k], policy, n, part_slopes, n, NULL));
            for (int64_t i = 0; i < n * n; i++) {
                plain_slopes[i] += t.weights[k] * part_slopes[i];
                plain[i % n] += i < n ? t.weights[k] * part[i] : 0.0;
            }
        }
        CHECK_OK(grpoalign_model_advantage(t.sum, policy, n, sum, NULL));
        CHECK_OK(grpoalign_model_jacobian(t.sum, policy, n, slopes, n, NULL));
        for (int64_t i = 0; i < n; i++) {
            assert_near(sum[i], plain[i], 1e-12);
            for (int64_t j = 0; j < n; j++) { /* a constant may be added to any row */
                assert_near(slopes[i * n + j] - slopes[i * n],
                            plain_slopes[i * n + j] - plain_slopes[i * n], 1e-9);
            }
        }
        free_terms(&t);
    }
}

/* ---- any penalties ---- */

static const int32_t KINDS[] = {GRPOALIGN_PENALTY_REVERSE_KL, GRPOALIGN_PENALTY_DIRECT_KL,
                                GRPOALIGN_PENALTY_CHI_SQUARED, GRPOALIGN_PENALTY_JENSEN_SHANNON,
                                GRPOALIGN_PENALTY_ALPHA};
enum { KIND_COUNT = sizeof KINDS / sizeof *KINDS };

typedef struct mixture {
    int64_t count;
    int32_t kinds[3];
    double coefficients[3];
    grpoalign_penalty *penalty;
} mixture;

static mixture random_mixture(randomness *r, int64_t count)
{
    mixture m = {.count = count};
    grpoalign_penalty *parts[3] = {NULL};
    for (int64_t i = 0; i < count; i++) {
        m.kinds[i] = KINDS[random_below(r, KIND_COUNT)];
        m.coefficients[i] = exp(random_between(r, -3.0, 1.0));
        if (m.kinds[i] == GRPOALIGN_PENALTY_ALPHA) {
            CHECK_OK(new_alpha(0.5, &parts[i], NULL));
        } else {
            CHECK_OK(grpoalign_penalty_new(m.kinds[i], NULL, &parts[i], NULL));
        }
    }
    CHECK_OK(grpoalign_penalty_new_sum((const grpoalign_penalty *const *)parts, m.coefficients,
                                       count, &m.penalty, NULL));
    for (int64_t i = 0; i < count; i++) {
        grpoalign_penalty_free(parts[i]);
    }
    return m;
}

static double mixture_at(const mixture *m, double l)
{
    double g = 0.0;
    for (int64_t i = 0; i < m->count; i++) {
        g += m->coefficients[i] * (double)plain_score(m->kinds[i], 0.5L, l);
    }
    return g;
}

/* ---- solutions ---- */

/* u - beta g is the same for all outcomes that hold something, less at those that hold nothing. */
static double violation(int64_t n, const double *u, const double *policy, const double *log_policy,
                        const double *log_reference, double beta, const mixture *m)
{
    double level = 0.0, worst = 0.0;
    for (int64_t o = 0; o < n; o++) {
        level += policy[o] > 0.0
                     ? policy[o] * (u[o] - beta * mixture_at(m, log_policy[o] - log_reference[o]))
                     : 0.0;
    }
    for (int64_t o = 0; o < n; o++) {
        double off = u[o] - beta * mixture_at(m, log_policy[o] - log_reference[o]) - level;
        worst = policy[o] > 0.0 ? fmax(worst, policy[o] * fabs(off)) : fmax(worst, off);
    }
    return worst;
}

static void normalise(int64_t n, double *logs)
{
    double sum = 0.0;
    for (int64_t o = 0; o < n; o++) {
        sum += exp(logs[o]);
    }
    for (int64_t o = 0; o < n; o++) {
        logs[o] -= log(sum);
    }
}

static void sums_are_solved(void **state)
{
    (void)state;
    randomness r = random_start(2);
    int settled = 0, trials = 150 * test_scale();
    for (int trial = 0; trial < trials; trial++) {
        int64_t n = 2 + random_below(&r, MOST - 1);
        int antisymmetric = (int)random_below(&r, 2);
        double log_reference[MOST], beta = exp(random_between(&r, -2.0, 2.0));
        terms t = random_sum(&r, n, antisymmetric);
        mixture m = random_mixture(&r, 1 + random_below(&r, 3));
        random_reference(&r, REFERENCE_DIRICHLET, n, log_reference);
        normalise(n, log_reference);
        solved s = solve_penalised(t.sum, m.penalty, beta, log_reference, NULL);
        assert_true(s.status >= 0);
        if (s.status == GRPOALIGN_OK || s.status == GRPOALIGN_NOT_UNIQUE) {
            settled++;
            assert_true(violation(n, s.advantage, s.policy, s.log_policy, log_reference, beta, &m) <
                        1e-9);
            /* An antisymmetric game has one stationary policy, whatever the penalty. */
            assert_true(!antisymmetric || s.report.unique == 1);
        }
        solved_free(&s);
        free_terms(&t);
        grpoalign_penalty_free(m.penalty);
    }
    assert_true(settled > 9 * trials / 10);
}

/* Unscaled rewards add up to the unscaled sum of rewards, bit for bit nearly. */
static void unscaled_rewards_add_up(void **state)
{
    (void)state;
    const double a[4] = {0.0, 1.0, 3.0, -2.0}, b[4] = {1.0, 0.5, 0.25, 4.0},
                 weights[2] = {0.5, 2.0};
    const double logs[4] = {-1.0, -2.0, -1.5, -1.2};
    double sum[4];
    grpoalign_reward_options none = GRPOALIGN_REWARD_OPTIONS_INIT;
    grpoalign_model *parts[2], *added, *one;
    none.scale = GRPOALIGN_SCALE_NONE;
    for (int o = 0; o < 4; o++) {
        sum[o] = weights[0] * a[o] + weights[1] * b[o];
    }
    CHECK_OK(grpoalign_model_new_limit(a, NULL, 4, &none, &parts[0], NULL));
    CHECK_OK(grpoalign_model_new_limit(b, NULL, 4, &none, &parts[1], NULL));
    CHECK_OK(
        grpoalign_model_new_sum((const grpoalign_model *const *)parts, weights, 2, &added, NULL));
    CHECK_OK(grpoalign_model_new_limit(sum, NULL, 4, &none, &one, NULL));
    solved left = solve_model(added, GRPOALIGN_PENALTY_DIRECT_KL, 0.7, logs, NULL),
           right = solve_model(one, GRPOALIGN_PENALTY_DIRECT_KL, 0.7, logs, NULL);
    assert_int_equal(left.report.method, GRPOALIGN_METHOD_SCALAR);
    assert_near(left.report.expected_reward, right.report.expected_reward, 1e-14);
    assert_near(largest_difference(left.policy, right.policy, 4), 0.0, 1e-15);
    solved_free(&left), solved_free(&right);
    grpoalign_model_free(parts[0]), grpoalign_model_free(parts[1]);
    grpoalign_model_free(added), grpoalign_model_free(one);
}

/* ---- completions ---- */

typedef struct sequences {
    int64_t n, offsets[MOST + 1], tokens[MOST * LONGEST];
    double weights[MOST], entropy;
} sequences;

static int64_t length(const sequences *s, int64_t o)
{
    return s->offsets[o + 1] - s->offsets[o];
}

/* The token of a completion at a depth, -1 for its end. */
static int64_t token(const sequences *s, int64_t o, int64_t depth)
{
    return depth < length(s, o) ? s->tokens[s->offsets[o] + depth] : -1;
}

static int share(const sequences *s, int64_t a, int64_t b, int64_t depth)
{
    for (int64_t i = 0; i < depth; i++) {
        if (token(s, a, i) != token(s, b, i) || token(s, a, i) < 0) {
            return 0;
        }
    }
    return 1;
}

/* Different sequences of tokens 0 to 2. */
static sequences random_sequences(randomness *r, int64_t n)
{
    sequences s = {.n = n};
    for (int64_t o = 0; o < n; o++) {
        int again = 1;
        while (again) {
            int64_t count = random_below(r, LONGEST + 1);
            s.offsets[o + 1] = s.offsets[o] + count;
            for (int64_t i = 0; i < count; i++) {
                s.tokens[s.offsets[o] + i] = random_below(r, 3);
            }
            again = 0;
            for (int64_t p = 0; p < o; p++) {
                again = again || (length(&s, p) == count && share(&s, p, o, count));
            }
        }
        s.weights[o] = 1.0 / (1.0 + (double)length(&s, o));
    }
    return s;
}

static grpoalign_completions completions_of(const sequences *s, int weighted)
{
    grpoalign_completions c = GRPOALIGN_COMPLETIONS_INIT;
    c.count = s->n;
    c.offsets = s->offsets;
    c.tokens = s->tokens;
    c.token_count = s->offsets[s->n];
    c.weights = weighted ? s->weights : NULL;
    c.entropy = s->entropy;
    return c;
}

/* What a completion's next token is worth less what holds it back, by sums over all completions. */
static double term(const sequences *s, int weighted, const double *u, const double *policy,
                   const double *reference, double beta, const mixture *m, int64_t o, int64_t depth)
{
    double here = 0.0, there = 0.0, here_reference = 0.0, there_reference = 0.0, v = 0.0, w = 0.0;
    for (int64_t p = 0; p < s->n; p++) {
        if (share(s, o, p, depth)) {
            int same = token(s, o, depth) == token(s, p, depth);
            double weight = weighted ? s->weights[p] : 1.0;
            here += policy[p];
            here_reference += reference[p];
            there += same ? policy[p] : 0.0;
            there_reference += same ? reference[p] : 0.0;
            v += same ? policy[p] * weight * u[p] : 0.0;
            w += same ? policy[p] * weight : 0.0;
        }
    }
    double chance = there / here, before = there_reference / here_reference;
    return v / there - beta * mixture_at(m, log(chance / before)) * w / there -
           beta * s->entropy * log(chance);
}

/* Two completions that part at a depth have the same term there. */
static double token_violation(const sequences *s, int weighted, const double *u,
                              const double *policy, const double *reference, double beta,
                              const mixture *m)
{
    double worst = 0.0;
    for (int64_t o = 0; o < s->n; o++) {
        for (int64_t p = 0; p < o; p++) {
            for (int64_t depth = 0; depth <= LONGEST && share(s, o, p, depth); depth++) {
                double left = term(s, weighted, u, policy, reference, beta, m, o, depth),
                       right = term(s, weighted, u, policy, reference, beta, m, p, depth);
                worst = fmax(worst, fmin(policy[o], policy[p]) * fabs(left - right));
            }
        }
    }
    return worst;
}

static void tokens_are_solved(void **state)
{
    (void)state;
    randomness r = random_start(3);
    int settled = 0, trials = 200 * test_scale();
    for (int trial = 0; trial < trials; trial++) {
        int64_t n = 1 + random_below(&r, MOST);
        int weighted = (int)random_below(&r, 2);
        double log_reference[MOST], reference[MOST], beta = exp(random_between(&r, -1.5, 2.0));
        double respond[MOST];
        sequences tokens = random_sequences(&r, n);
        tokens.entropy = random_below(&r, 3) == 0 ? random_uniform(&r) : 0.0;
        terms t = random_sum(&r, n, (int)random_below(&r, 2));
        mixture m = random_mixture(&r, 1 + random_below(&r, 2));
        grpoalign_completions completions = completions_of(&tokens, weighted);
        grpoalign_penalty *penalty = NULL;
        grpoalign_reference *made = NULL;
        CHECK_OK(grpoalign_penalty_new_per_token(m.penalty, &completions, &penalty, NULL));
        grpoalign_penalty_free(m.penalty);
        random_reference(&r, REFERENCE_DIRICHLET, n, log_reference);
        normalise(n, log_reference);
        for (int64_t o = 0; o < n; o++) {
            reference[o] = exp(log_reference[o]);
        }
        solved s = solve_penalised(t.sum, penalty, beta, log_reference, NULL);
        assert_true(s.status >= 0);
        if (s.status == GRPOALIGN_OK) {
            double off =
                token_violation(&tokens, weighted, s.advantage, s.policy, reference, beta, &m);
            settled++;
            assert_true(off < 1e-9);
            assert_true(s.report.residual * beta < 1e-10);
            /* The response to the advantages is the policy. */
            CHECK_OK(grpoalign_reference_new_log(log_reference, n, NULL, &made, NULL));
            CHECK_OK(grpoalign_penalty_respond(penalty, made, beta, s.advantage, n, respond, NULL,
                                               NULL));
            assert_near(largest_difference(respond, s.policy, n), 0.0,
                        1e-11 + 1e3 * s.report.policy_error);
            grpoalign_reference_free(made);
        }
        solved_free(&s);
        free_terms(&t);
        grpoalign_penalty_free(penalty);
    }
    assert_true(settled > 9 * trials / 10);
}

/* With one token each, all weights alike, it is the ordinary penalty. */
static void one_decision_is_the_base(void **state)
{
    (void)state;
    randomness r = random_start(4);
    for (int trial = 0; trial < 60 * test_scale(); trial++) {
        int64_t n = 2 + random_below(&r, MOST - 1);
        double logs[MOST], beta = exp(random_between(&r, -1.0, 2.0));
        grpoalign_model *model = random_model(&r, (int)random_below(&r, MODELS), n);
        mixture m = random_mixture(&r, 1 + random_below(&r, 2));
        grpoalign_completions completions = GRPOALIGN_COMPLETIONS_INIT;
        grpoalign_penalty *penalty;
        completions.count = n;
        CHECK_OK(grpoalign_penalty_new_per_token(m.penalty, &completions, &penalty, NULL));
        random_reference(&r, REFERENCE_DIRICHLET, n, logs);
        solved left = solve_penalised(model, penalty, beta, logs, NULL),
               right = solve_penalised(model, m.penalty, beta, logs, NULL);
        if (left.status == GRPOALIGN_OK && right.report.unique == 1) {
            assert_near(largest_difference(left.policy, right.policy, n), 0.0, 1e-11);
        }
        solved_free(&left), solved_free(&right);
        grpoalign_model_free(model);
        grpoalign_penalty_free(penalty), grpoalign_penalty_free(m.penalty);
    }
}

/* Two tokens each, V being the value of each prefix. Reverse KL: pi/pi_ref = prod 1/(1 - dV/beta).
 * Direct KL: log(pi/pi_ref) = u/beta + the KL(pi||pi_ref) at each prefix. */
static void values_along_the_way(int32_t kind)
{
    const int64_t offsets[5] = {0, 2, 4, 6, 8}, tokens[8] = {0, 0, 0, 1, 1, 0, 1, 1};
    const double rewards[4] = {0.0, 0.4, 0.5, 1.0}, logs[4] = {-0.5, -2.0, -1.5, -2.5};
    const double beta = kind == GRPOALIGN_PENALTY_DIRECT_KL ? 1.5 : 0.6;
    double reference[4], total = 0.0, mass[2], mass_before[2], divergence[3] = {0.0, 0.0, 0.0};
    grpoalign_model *model;
    grpoalign_penalty *base, *penalty;
    grpoalign_completions completions = GRPOALIGN_COMPLETIONS_INIT;
    completions.count = 4;
    completions.offsets = offsets;
    completions.tokens = tokens;
    completions.token_count = 8;
    CHECK_OK(grpoalign_model_new_group(rewards, 4, 8, NULL, &model, NULL));
    CHECK_OK(grpoalign_penalty_new(kind, NULL, &base, NULL));
    CHECK_OK(grpoalign_penalty_new_per_token(base, &completions, &penalty, NULL));
    solved s = solve_penalised(model, penalty, beta, logs, NULL);
    CHECK_OK(s.status);
    for (int o = 0; o < 4; o++) {
        total += reference[o] = exp(logs[o]);
    }
    for (int a = 0; a < 2; a++) {
        mass[a] = s.policy[2 * a] + s.policy[2 * a + 1];
        mass_before[a] = (reference[2 * a] + reference[2 * a + 1]) / total;
        divergence[2] += mass[a] * log(mass[a] / mass_before[a]);
    }
    for (int o = 0; o < 4; o++) {
        double chance = s.policy[o] / mass[o / 2];
        divergence[o / 2] += chance * log(chance / (reference[o] / total / mass_before[o / 2]));
    }
    for (int o = 0; o < 4; o++) {
        int other = o ^ 1;
        double value = (s.policy[o] * s.advantage[o] + s.policy[other] * s.advantage[other]) /
                       (s.policy[o] + s.policy[other]);
        double ratio = kind == GRPOALIGN_PENALTY_DIRECT_KL
                           ? exp(s.advantage[o] / beta + divergence[2] + divergence[o / 2])
                           : 1.0 / (1.0 - value / beta) / (1.0 - (s.advantage[o] - value) / beta);
        assert_near(s.policy[o], ratio * reference[o] / total, 1e-14);
    }
    solved_free(&s);
    grpoalign_model_free(model);
    grpoalign_penalty_free(penalty), grpoalign_penalty_free(base);
}

static void reverse_kl_per_token_is_a_product(void **state)
{
    (void)state;
    values_along_the_way(GRPOALIGN_PENALTY_REVERSE_KL);
}

static void direct_kl_per_token_adds_divergences(void **state)
{
    (void)state;
    values_along_the_way(GRPOALIGN_PENALTY_DIRECT_KL);
}

/* T fair coins whose mean is the reward, large groups: under the direct KL they are one coin at beta
 * sqrt(T), which has a stationary policy from beta = 1.508880 on. */
static void coins_collapse_where_nothing_is_stationary(void **state)
{
    (void)state;
    enum { MOST_FLIPS = 5, MOST_WAYS = 1 << MOST_FLIPS };
    grpoalign_penalty *base;
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_DIRECT_KL, NULL, &base, NULL));
    for (int flips = 1; flips <= MOST_FLIPS; flips++) {
        int64_t ways = 1 << flips, offsets[MOST_WAYS + 1] = {0}, tokens[MOST_WAYS * MOST_FLIPS];
        double rewards[MOST_WAYS], logs[MOST_WAYS];
        grpoalign_model *model;
        grpoalign_penalty *penalty;
        grpoalign_completions completions = GRPOALIGN_COMPLETIONS_INIT;
        for (int64_t o = 0; o < ways; o++) {
            offsets[o + 1] = offsets[o] + flips;
            rewards[o] = logs[o] = 0.0;
            for (int t = 0; t < flips; t++) {
                tokens[offsets[o] + t] = o >> t & 1;
                rewards[o] += (double)(o >> t & 1) / flips;
            }
        }
        completions.count = ways;
        completions.offsets = offsets;
        completions.tokens = tokens;
        completions.token_count = offsets[ways];
        CHECK_OK(grpoalign_model_new_limit(rewards, NULL, ways, NULL, &model, NULL));
        CHECK_OK(grpoalign_penalty_new_per_token(base, &completions, &penalty, NULL));
        for (int above = 0; above < 2; above++) {
            double beta = (above ? 1.52 : 1.0) / sqrt(flips);
            solved s = solve_penalised(model, penalty, beta, logs, NULL);
            assert_int_equal(s.status, above ? GRPOALIGN_OK : GRPOALIGN_COLLAPSED);
            assert_true(above || s.policy[ways - 1] > 1.0 - 1e-6);
            solved_free(&s);
        }
        grpoalign_model_free(model), grpoalign_penalty_free(penalty);
    }
    grpoalign_penalty_free(base);
}

/* ---- errors ---- */

static void arguments_are_checked(void **state)
{
    (void)state;
    const double rewards[3] = {0.0, 1.0, 2.0}, weights[2] = {1.0, NAN};
    const int64_t offsets[3] = {0, 1, 2}, tokens[2] = {5, 5};
    grpoalign_model *three, *two, *sum = NULL, *models[2];
    grpoalign_penalty *kl, *clamped, *penalties[2], *out = NULL;
    grpoalign_completions completions = GRPOALIGN_COMPLETIONS_INIT;
    grpoalign_error error;
    CHECK_OK(grpoalign_model_new_group(rewards, 3, 4, NULL, &three, NULL));
    CHECK_OK(grpoalign_model_new_group(rewards, 2, 4, NULL, &two, NULL));
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &kl, NULL));
    CHECK_OK(grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED, NULL, &clamped, NULL));
    const grpoalign_model *const *list = (const grpoalign_model *const *)models;
    models[0] = three, models[1] = two;
    assert_int_equal(grpoalign_model_new_sum(list, weights, 2, &sum, &error),
                     GRPOALIGN_ERR_DIMENSION);
    assert_int_equal(error.index, 1);
    models[1] = three;
    assert_int_equal(grpoalign_model_new_sum(list, weights, 2, &sum, &error),
                     GRPOALIGN_ERR_NOT_FINITE);
    assert_int_equal(error.index, 1);
    models[1] = NULL;
    assert_int_equal(grpoalign_model_new_sum(list, weights, 2, &sum, &error), GRPOALIGN_ERR_HANDLE);
    assert_int_equal(grpoalign_model_new_sum(list, weights, 0, &sum, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_null(sum);
    const double half[2] = {0.5, -0.5}, nothing[2] = {0.0, 0.0};
    const grpoalign_penalty *const *parts = (const grpoalign_penalty *const *)penalties;
    penalties[0] = kl, penalties[1] = clamped;
    assert_int_equal(grpoalign_penalty_new_sum(parts, half, 2, &out, &error),
                     GRPOALIGN_ERR_UNSUPPORTED);
    assert_int_equal(error.index, 1);
    penalties[1] = kl;
    assert_int_equal(grpoalign_penalty_new_sum(parts, half, 2, &out, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(grpoalign_penalty_new_sum(parts, nothing, 2, &out, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(grpoalign_penalty_new(GRPOALIGN_PENALTY_SUM, NULL, &out, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    completions.count = 2;
    completions.offsets = offsets;
    completions.tokens = tokens;
    completions.token_count = 2;
    assert_int_equal(grpoalign_penalty_new_per_token(kl, &completions, &out, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.index, 1);
    assert_non_null(strstr(error.message, "same tokens"));
    completions.token_count = 1;
    assert_int_equal(grpoalign_penalty_new_per_token(kl, &completions, &out, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    completions.offsets = completions.tokens = NULL;
    completions.token_count = 0;
    completions.weights = nothing;
    assert_int_equal(grpoalign_penalty_new_per_token(kl, &completions, &out, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    completions.weights = half;
    assert_int_equal(grpoalign_penalty_new_per_token(kl, &completions, &out, &error),
                     GRPOALIGN_ERR_ARGUMENT);
    assert_int_equal(error.index, 1);
    assert_null(out);
    grpoalign_model_free(three), grpoalign_model_free(two);
    grpoalign_penalty_free(kl), grpoalign_penalty_free(clamped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_are_those_of_their_parts),
                                       cmocka_unit_test(unscaled_rewards_add_up),
                                       cmocka_unit_test(sums_are_solved),
                                       cmocka_unit_test(tokens_are_solved),
                                       cmocka_unit_test(one_decision_is_the_base),
                                       cmocka_unit_test(reverse_kl_per_token_is_a_product),
                                       cmocka_unit_test(direct_kl_per_token_adds_divergences),
                                       cmocka_unit_test(coins_collapse_where_nothing_is_stationary),
                                       cmocka_unit_test(arguments_are_checked)};
    return run_chosen(tests);
}
