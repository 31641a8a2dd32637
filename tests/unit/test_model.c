/*
 * Preference models from inside: advantages and Jacobians against plain enumeration, the structures
 * that solvers exploit against the models they stand for, how outcomes become classes, and the
 * bounds on divisors that carry "proved" against many policies in between.
 */
#include "check.h"

#include <float.h>

#include "model/model.h"

enum { MOST = 6, LEVELS = 4 };

/* ---- the inside of the library: all that this file asks of it ------------------------------- */

static gra_structure open_structure(const grpoalign_model *model, const unsigned char *supported,
                                    gra_arena *arena)
{
    gra_structure out;
    memset(&out, 0, sizeof out);
    CHECK_OK(model->ops->structure(model, supported, &out, arena, NULL));
    return out;
}

/* Advantages of the classes at class probabilities. */
static void structure_advantage(const gra_structure *s, const double *policy, gra_arena *arena,
                                double *u)
{
    int64_t n = s->classes;
    double inverse, w[MOST], a[MOST];
    switch (s->kind) {
    case GRA_FLAT:
        memset(u, 0, (size_t)n * sizeof *u);
        break;
    case GRA_AFFINE: {
        gra_centre centre = gra_affine_centre(&s->affine, policy);
        assert_true(gra_affine_inverse(&s->affine, policy, arena, &inverse));
        for (int64_t c = 0; c < n; c++) {
            u[c] = -inverse * gra_affine_deviation(&s->affine, centre, c);
        }
        break;
    }
    case GRA_RANKED:
        for (int64_t c = 0; c < n; c++) {
            u[c] = 0.0;
            for (int64_t d = 0; d < n; d++) {
                u[c] += s->ranked_scale * ((d < c) - (d > c)) * policy[d];
            }
        }
        break;
    default:
        assert_int_equal(s->kind, GRA_GAME);
        gra_game_to_levels(&s->game, policy, w);
        assert_true(s->game.advantage(&s->game, w, 0.0, GRA_EXACT, a, arena));
        gra_game_to_classes(&s->game, a, u);
    }
}

/* A divisor at one policy, with all that its bounds need. */
static gra_moments moments_at(const gra_divisor *d, const double *policy, gra_arena *arena)
{
    gra_moments of;
    assert_true(d->kind->moments(d, 0, policy, 1, arena, &of));
    return of;
}

static double log_inverse_at(const gra_divisor *d, const double *policy, gra_arena *arena)
{
    gra_moments of = moments_at(d, policy, arena);
    return log(d->kind->inverse(d, &of));
}

static gra_divisor prepared(const gra_divisor *d, gra_arena *arena)
{
    gra_divisor out = *d;
    if (d->kind->prepare != NULL) {
        assert_true(d->kind->prepare(d, &out, arena));
    }
    return out;
}

/* ---- models --------------------------------------------------------------------------------- */

typedef struct input {
    plain_context context;
    double rewards[MOST], variances[MOST], margins[MOST * MOST], support[LEVELS],
        distribution[MOST * LEVELS];
} input;

enum { PAIRS, RANKED, GROUP, RANDOM, LIMIT, KINDS };

/* A model of a kind with conventions that belong together; rewards tie often. */
static void random_input(randomness *r, int kind, input *in)
{
    plain_context *c = &in->context;
    memset(in, 0, sizeof *in);
    c->n = 2 + random_below(r, MOST - 1);
    random_rewards(r, random_below(r, 2) ? REWARDS_UNIFORM : REWARDS_INTEGER, c->n, in->rewards);
    random_margins(r, (int)random_below(r, MARGINS_KINDS), c->n, in->margins);
    random_rewards(r, REWARDS_UNIFORM, LEVELS, in->support);
    c->rewards = in->rewards;
    c->margins = kind == PAIRS ? in->margins : NULL;
    c->limit = kind == LIMIT;
    c->group_size = kind == GROUP || kind == RANDOM ? 2 + random_below(r, 4) : 0;
    c->k = kind == RANDOM ? 2 + random_below(r, LEVELS - 1) : 0;
    for (int64_t o = 0; o < c->n; o++) {
        in->variances[o] = (double)random_below(r, 3) * 0.4;
        random_policy(r, c->k > 0 ? c->k : 1, in->distribution + o * c->k);
    }
    if (c->k > 2 && random_below(r, 2)) { /* a level that no outcome has */
        int64_t unused = random_below(r, c->k), other = unused == 0 ? 1 : 0;
        for (int64_t o = 0; o < c->n; o++) {
            in->distribution[o * c->k + other] += in->distribution[o * c->k + unused];
            in->distribution[o * c->k + unused] = 0.0;
        }
    }
    if (kind == PAIRS || kind == RANKED) {
        return;
    }
    c->support = kind == RANDOM ? in->support : NULL;
    c->distribution = kind == RANDOM ? in->distribution : NULL;
    random_scale(r, c, in->rewards, c->n);
    for (int64_t l = 0; c->over_mean && l < LEVELS; l++) {
        in->support[l] = fabs(in->support[l]);
    }
    if (!c->unscaled && random_below(r, 2)) {
        c->epsilon = 0.5 * random_uniform(r);
        c->inside = !c->over_others && !c->over_mean && random_below(r, 2);
    }
    c->epsilon = c->limit && c->over_mean && c->epsilon == 0.0 ? 0.1 : c->epsilon;
    c->variances = kind == LIMIT && !c->unscaled && !c->over_mean ? in->variances : NULL;
}

/* Probabilities none of which is small. */
static void inner_policy(randomness *r, int64_t n, double *policy)
{
    double sum = 0.0;
    for (int64_t o = 0; o < n; o++) {
        sum += policy[o] = 0.05 + random_uniform(r);
    }
    for (int64_t o = 0; o < n; o++) {
        policy[o] /= sum;
    }
}

static double size_of(const long double *u, int64_t n)
{
    double size = 1.0;
    for (int64_t o = 0; o < n; o++) {
        size = fmax(size, (double)fabsl(u[o]));
    }
    return size;
}

static void advantages_are_those_of_every_group(void **state)
{
    (void)state;
    randomness r = random_start(120);
    for (int i = 0; i < 600 * test_scale(); i++) {
        input in;
        gra_arena arena = GRA_ARENA_INIT;
        random_input(&r, i % KINDS, &in);
        int64_t n = in.context.n;
        double policy[MOST], u[MOST];
        long double plain[MOST];
        grpoalign_model *model = make_model(&in.context);
        inner_policy(&r, n, policy);
        CHECK_OK(model->ops->advantage(model, policy, u, &arena, NULL));
        plain_advantage(&in.context, policy, plain);
        double mean = 0.0; /* a common shift means nothing */
        for (int64_t o = 0; o < n; o++) {
            mean += policy[o] * u[o];
        }
        for (int64_t o = 0; o < n; o++) {
            assert_near(u[o] - mean, plain[o], 1e-12 * size_of(plain, n));
        }
        gra_arena_free(&arena);
        grpoalign_model_free(model);
    }
}

/* The two plain answers for groups: member by member, and by counts. */
static void plain_answers_agree(void **state)
{
    (void)state;
    static const double REWARDS[] = {0.25, 1.0, 0.25, 0.0};
    static const long double W[] = {0.1L, 0.2L, 0.3L, 0.4L};
    for (int64_t size = 2; size <= 5; size++) {
        for (int scale = 0; scale < 6; scale++) {
            plain_context c = {.n = 4,
                               .rewards = REWARDS,
                               .group_size = size,
                               .unscaled = scale == 1,
                               .over_others = scale == 2,
                               .over_mean = scale == 3,
                               .leave_one_out = scale == 2 || scale == 4,
                               .inside = scale == 4,
                               .ddof = scale == 5,
                               .epsilon = scale == 0 ? 0.0 : 0.01};
            const double policy[] = {0.1, 0.2, 0.3, 0.4};
            long double by_members[4], by_counts[4], kept[4], mean = 0.0L;
            plain_advantage(&c, policy, by_members);
            plain_by_counts(&c, REWARDS, 4, W, by_counts, kept);
            for (int o = 0; o < 4; o++) {
                mean += scale == 2 ? W[o] * by_counts[o] : 0.0L; /* as plain_advantage has it */
            }
            for (int o = 0; o < 4; o++) {
                long double own = o == 1 ? 0.2L : o == 3 ? 0.4L : 0.4L;
                if (scale != 1) {
                    assert_near(by_counts[o] - mean, by_members[o], 1e-15);
                }
                assert_near(kept[o], 1.0L - powl(own, (long double)(size - 1)), 1e-15);
            }
        }
    }
}

static void jacobians_are_derivatives_of_plain_advantages(void **state)
{
    (void)state;
    const double step = 1e-5;
    randomness r = random_start(121);
    for (int i = 0; i < 400 * test_scale(); i++) {
        input in;
        gra_arena arena = GRA_ARENA_INIT;
        random_input(&r, i % KINDS, &in);
        int64_t n = in.context.n, from = random_below(&r, n), to = random_below(&r, n);
        double policy[MOST], moved[MOST], jacobian[MOST * (MOST + 1)], told[MOST], shift = 0.0;
        long double plus[MOST], minus[MOST], slope[MOST], plain_shift = 0.0L;
        grpoalign_model *model = make_model(&in.context);
        inner_policy(&r, n, policy);
        CHECK_OK(model->ops->jacobian(model, policy, jacobian, n + 1, &arena, NULL));
        memcpy(moved, policy, sizeof moved);
        moved[to] += step, moved[from] -= step;
        plain_advantage(&in.context, moved, plus);
        memcpy(moved, policy, sizeof moved);
        moved[to] -= step, moved[from] += step;
        plain_advantage(&in.context, moved, minus);
        for (int64_t o = 0; o < n; o++) {
            slope[o] = (plus[o] - minus[o]) / (2.0L * step);
            told[o] = jacobian[o * (n + 1) + to] - jacobian[o * (n + 1) + from];
        }
        for (int64_t o = 0; o < n && in.context.over_others; o++) { /* given without a centre */
            shift += told[o] / (double)n;
            plain_shift += slope[o] / (long double)n;
        }
        for (int64_t o = 0; o < n; o++) {
            assert_near(told[o] - shift, slope[o] - plain_shift, 1e-6 * size_of(slope, n));
        }
        gra_arena_free(&arena);
        grpoalign_model_free(model);
    }
}

/* ---- structures ----------------------------------------------------------------------------- */

/* Over the supported outcomes: classes partition them, and their advantages are the outcomes'. */
static void structures_stand_for_their_models(void **state)
{
    (void)state;
    randomness r = random_start(122);
    int kinds[4] = {0};
    for (int i = 0; i < 800 * test_scale(); i++) {
        input in;
        gra_arena arena = GRA_ARENA_INIT;
        random_input(&r, i % KINDS, &in);
        int64_t n = in.context.n;
        unsigned char supported[MOST];
        double policy[MOST], masses[MOST] = {0.0}, u[MOST];
        long double plain[MOST], shift = NAN;
        random_policy(&r, n, policy);
        for (int64_t o = 0; o < n; o++) {
            supported[o] = policy[o] > 0.0;
        }
        grpoalign_model *model = make_model(&in.context);
        gra_structure s = open_structure(model, supported, &arena);
        kinds[s.kind]++;
        int64_t members[MOST] = {0};
        for (int64_t o = 0; o < n; o++) {
            assert_int_equal(s.class_of[o] >= 0, supported[o]);
            if (supported[o]) {
                assert_true(s.class_of[o] < s.classes);
                masses[s.class_of[o]] += policy[o];
                members[s.class_of[o]]++;
            }
        }
        for (int64_t c = 0; c < s.classes; c++) {
            assert_true(members[c] > 0);
        }
        if (s.kind == GRA_AFFINE) { /* the gaps are distances from the best */
            double best = -INFINITY, least = INFINITY;
            const gra_affine *a = &s.affine;
            for (int64_t c = 0; c < s.classes; c++) {
                best = a->reward != NULL ? fmax(best, a->reward[c]) : 0.0;
                least = fmin(least, a->gap[c]);
            }
            assert_true(least == 0.0);
            for (int64_t c = 0; c < s.classes && a->reward != NULL; c++) {
                assert_near(a->gap[c], best - a->reward[c], 1e-15);
            }
        }
        structure_advantage(&s, masses, &arena, u);
        plain_advantage(&in.context, policy, plain);
        double size = size_of(plain, n);
        for (int64_t o = 0; o < n; o++) { /* but for a common shift */
            if (supported[o] && policy[o] > 1e-6) {
                shift = isnan(shift) ? plain[o] - u[s.class_of[o]] : shift;
                assert_near(u[s.class_of[o]] + shift, plain[o], 1e-11 * size);
            }
        }
        gra_structure_release(&s);
        gra_arena_free(&arena);
        grpoalign_model_free(model);
    }
    print_message("# %d flat, %d affine, %d ranked, %d games\n", kinds[GRA_FLAT], kinds[GRA_AFFINE],
                  kinds[GRA_RANKED], kinds[GRA_GAME]);
    for (int k = 0; k < 4; k++) {
        assert_true(kinds[k] > 20);
    }
}

/* The class Jacobian of a game, and of affine advantages as one, against differences. */
static void slopes_of_structures_are_derivatives(void **state)
{
    (void)state;
    const double step = 1e-6;
    randomness r = random_start(123);
    int games = 0, affine = 0;
    for (int i = 0; i < 400 * test_scale(); i++) {
        input in;
        gra_arena arena = GRA_ARENA_INIT;
        unsigned char supported[MOST] = {1, 1, 1, 1, 1, 1};
        random_input(&r, i % KINDS, &in);
        grpoalign_model *model = make_model(&in.context);
        gra_structure s = open_structure(model, supported, &arena);
        gra_affine kept = s.affine;
        games += s.kind == GRA_GAME;
        affine += s.kind == GRA_AFFINE;
        if (s.kind == GRA_AFFINE) {
            gra_game_from_affine(&s.game, &kept);
            s.kind = GRA_GAME;
        }
        if (s.kind == GRA_GAME) {
            int64_t n = s.classes, from = random_below(&r, n), to = random_below(&r, n);
            double policy[MOST], w[MOST], jacobian[MOST * MOST], plus[MOST], minus[MOST];
            inner_policy(&r, n, policy);
            gra_game_to_levels(&s.game, policy, w);
            assert_true(gra_game_class_jacobian(&s.game, w, GRA_EXACT, jacobian, &arena));
            policy[to] += step, policy[from] -= step;
            structure_advantage(&s, policy, &arena, plus);
            policy[to] -= 2.0 * step, policy[from] += 2.0 * step;
            structure_advantage(&s, policy, &arena, minus);
            for (int64_t c = 0; c < n; c++) {
                double told = jacobian[c * n + to] - jacobian[c * n + from];
                assert_near((plus[c] - minus[c]) / (2.0 * step), told, 1e-6 * (1.0 + fabs(told)));
            }
        }
        gra_structure_release(&s);
        gra_arena_free(&arena);
        grpoalign_model_free(model);
    }
    assert_true(games > 50 && affine > 50);
}

static void expect_classes(const plain_context *context, const unsigned char *supported,
                           int64_t classes, const int64_t *class_of)
{
    gra_arena arena = GRA_ARENA_INIT;
    grpoalign_model *model = make_model(context);
    gra_structure s = open_structure(model, supported, &arena);
    assert_int_equal(s.classes, classes);
    for (int64_t o = 0; o < context->n; o++) {
        assert_int_equal(s.class_of[o], class_of[o]);
    }
    gra_structure_release(&s);
    gra_arena_free(&arena);
    grpoalign_model_free(model);
}

static void equal_outcomes_are_one_class(void **state)
{
    (void)state;
    static const unsigned char ALL[4] = {1, 1, 1, 1}, SOME[4] = {1, 0, 1, 1};
    /* Minus nothing is nothing. */
    static const double REWARDS[4] = {0.0, 2.0, -0.0, 1.0};
    static const double VARIANCES[4] = {0.0, 0.5, -0.0, 0.5}, APART[4] = {0.0, 0.5, 0.3, 0.5};
    plain_context plain[] = {{.n = 4, .rewards = REWARDS},
                             {.n = 4, .rewards = REWARDS, .group_size = 5},
                             {.n = 4, .rewards = REWARDS, .group_size = 5, .unscaled = 1},
                             {.n = 4, .rewards = REWARDS, .limit = 1},
                             {.n = 4, .rewards = REWARDS, .variances = VARIANCES, .limit = 1}};
    for (size_t k = 0; k < sizeof plain / sizeof *plain; k++) {
        expect_classes(&plain[k], ALL, 3, (const int64_t[]){0, 2, 0, 1});
        expect_classes(&plain[k], SOME, 2, (const int64_t[]){0, -1, 0, 1});
    }
    plain_context apart = {.n = 4, .rewards = REWARDS, .variances = APART, .limit = 1};
    expect_classes(&apart, ALL, 4, (const int64_t[]){0, 3, 1, 2});
    /* Equal rows of margins, -0 among them; without the outcome that tells them apart too. */
    static const double MARGINS[16] = {0.0,  0.0,  0.4, -0.2, -0.0, 0.0, 0.4,  -0.2,
                                       -0.4, -0.4, 0.0, 0.1,  0.2,  0.2, -0.1, -0.0};
    plain_context margins = {.n = 4, .margins = MARGINS};
    expect_classes(&margins, ALL, 3, (const int64_t[]){0, 0, 1, 2});
    expect_classes(&margins, (const unsigned char[]){1, 1, 0, 0}, 1,
                   (const int64_t[]){0, 0, -1, -1});
    /* Two classes ascend. */
    expect_classes(&margins, (const unsigned char[]){1, 0, 1, 0}, 2,
                   (const int64_t[]){1, -1, 0, -1});
    /* Random rewards of two levels: the same chance is the same class; a level given twice is
     * one. */
    static const double SUPPORT[3] = {1.0, 0.0, 1.0};
    static const double ROWS[12] = {0.25, 0.5, 0.25, 0.5, 0.5, 0.0, 0.0, 1.0, 0.0, 0.0, 0.5, 0.5};
    plain_context random = {
        .n = 4, .support = SUPPORT, .distribution = ROWS, .k = 3, .group_size = 6};
    expect_classes(&random, ALL, 2, (const int64_t[]){1, 1, 0, 1});
}

static void levels_ascend_and_ties_split_them(void **state)
{
    (void)state;
    gra_arena arena = GRA_ARENA_INIT;
    static const double KEYS[6] = {3.0, -1.0, 0.0, 3.0, -0.0, -1.0}, TIES[6] = {1, 0, 0, 2, 0, 0};
    int64_t level_of[6], first[6], levels, *class_at;
    assert_true(gra_levels_build(KEYS, NULL, 6, level_of, first, &levels, &arena));
    assert_int_equal(levels, 3);
    assert_memory_equal(level_of, ((const int64_t[]){2, 0, 1, 2, 1, 0}), sizeof level_of);
    assert_memory_equal(first, ((const int64_t[]){1, 2, 0}), 3 * sizeof *first);
    assert_true(gra_levels_build(KEYS, TIES, 6, level_of, first, &levels, &arena));
    assert_int_equal(levels, 4);
    assert_memory_equal(level_of, ((const int64_t[]){2, 0, 1, 3, 1, 0}), sizeof level_of);
    static const unsigned char SUPPORTED[6] = {1, 1, 0, 0, 0, 1};
    gra_structure s;
    assert_true(gra_classes_from_levels(level_of, 6, levels, SUPPORTED, &s, &class_at, &arena));
    assert_int_equal(s.kind, GRA_FLAT);
    assert_int_equal(s.classes, 2);
    assert_memory_equal(s.class_of, ((const int64_t[]){1, 0, -1, -1, -1, 0}), 6 * sizeof(int64_t));
    assert_memory_equal(class_at, ((const int64_t[]){0, -1, 1, -1}), 4 * sizeof(int64_t));
    gra_arena_free(&arena);
}

static void the_range_is_brought_between_a_half_and_one(void **state)
{
    (void)state;
    static const double ENDS[][2] = {
        {0.0, 1.0},       {0.0, 5e-324},       {-1e-310, 1e-310},        {-3.0, 4.0},
        {1e300, 1.7e308}, {-1.7e308, 1.7e308}, {1.0, 1.0 + DBL_EPSILON}, {-DBL_MAX, DBL_MAX}};
    for (size_t i = 0; i < sizeof ENDS / sizeof *ENDS; i++) {
        int exponent = gra_range_exponent(ENDS[i], 2);
        long double range = ldexpl((long double)ENDS[i][1] - (long double)ENDS[i][0], -exponent);
        assert_true(range >= 0.5L && range <= 1.0L);
    }
    assert_int_equal(gra_range_exponent((const double[]){7.0, 7.0}, 2), 0);
}

/* Rewards in the smallest and in the largest steps that doubles have: where the scale cancels the
 * advantages are those of 0, 1, 3. */
static void ranges_of_any_size_give_the_same(void **state)
{
    (void)state;
    static const double STEPS[] = {1.0, 0x1p-1074, 0x1p-1060, 0x1p-1022, 0x1p900, 0x1p1022 * 0.9};
    static const double POLICY[3] = {0.5, 0.2, 0.3};
    double first[4][3];
    for (size_t i = 0; i < sizeof STEPS / sizeof *STEPS; i++) {
        double rewards[3] = {0.0, STEPS[i], 3.0 * STEPS[i]};
        plain_context contexts[] = {
            {.n = 3, .rewards = rewards},
            {.n = 3, .rewards = rewards, .group_size = 4},
            {.n = 3, .rewards = rewards, .limit = 1},
            {.n = 3, .rewards = rewards, .group_size = 4, .over_others = 0, .ddof = 1}};
        for (size_t k = 0; k < 4; k++) {
            gra_arena arena = GRA_ARENA_INIT;
            double u[3];
            grpoalign_model *model = make_model(&contexts[k]);
            CHECK_OK(model->ops->advantage(model, POLICY, u, &arena, NULL));
            for (int o = 0; o < 3; o++) {
                first[k][o] = i == 0 ? u[o] : first[k][o];
                assert_near(u[o], first[k][o], 1e-13);
            }
            gra_arena_free(&arena);
            grpoalign_model_free(model);
        }
    }
}

/* ---- bounds on divisors --------------------------------------------------------------------- */

/* Two families of policies along which divisors are bounded: slacks theta gap + lambda under direct
 * KL, which makes an exponential family, and under reverse KL. */
typedef struct family {
    int is_exponential;
    int64_t n;
    const double *gap;
    double reference[MOST];
} family;

/* The policy at theta, and q = -d pi / d slack. */
static void policy_at(const family *f, double theta, double *policy, long double *q)
{
    long double pi[MOST], sum = 0.0L, low = 0.0L, high = 1.0L;
    if (f->is_exponential) {
        for (int64_t c = 0; c < f->n; c++) {
            sum += pi[c] = f->reference[c] * expl(-(long double)theta * f->gap[c]);
        }
        for (int64_t c = 0; c < f->n; c++) {
            q[c] = pi[c] /= sum;
        }
    } else {
        for (int step = 0; step < 120; step++) { /* the lambda that makes the sum 1 */
            long double lambda = 0.5L * (low + high);
            sum = 0.0L;
            for (int64_t c = 0; c < f->n; c++) {
                sum += f->reference[c] / (theta * (long double)f->gap[c] + lambda);
            }
            low = sum > 1.0L ? lambda : low;
            high = sum > 1.0L ? high : lambda;
        }
        for (int64_t c = 0; c < f->n; c++) {
            pi[c] = f->reference[c] / (theta * (long double)f->gap[c] + high);
            q[c] = pi[c] * pi[c] / f->reference[c];
        }
    }
    for (int64_t c = 0; c < f->n; c++) {
        policy[c] = (double)pi[c];
    }
}

/* Q and the covariances times Q, as the plain double sums that they are. */
static gra_covariance covariance_of(const family *f, const gra_divisor *d, const long double *q)
{
    const double *rising = d->rising != NULL ? d->rising[0] : NULL;
    const double *falling = d->falling != NULL ? d->falling[0] : NULL;
    long double total = 0.0L, gap = 0.0L, up = 0.0L, down = 0.0L;
    for (int64_t k = 0; k < f->n; k++) {
        total += q[k];
        for (int64_t l = 0; l < k; l++) {
            long double by = q[k] * q[l] * ((long double)f->gap[k] - f->gap[l]);
            gap += by * ((long double)f->gap[k] - f->gap[l]);
            up += rising != NULL ? by * ((long double)rising[k] - rising[l]) : 0.0L;
            down += falling != NULL ? by * ((long double)falling[k] - falling[l]) : 0.0L;
        }
    }
    return (gra_covariance){(double)total, (double)gap, (double)up,
                            (double)down,  (double)up,  (double)down};
}

enum { SAMPLES = 200 };

/* log(1/divisor) at points of a stretch, with the least and the largest q of each class there. */
typedef struct sampled {
    double theta[SAMPLES + 1], value[SAMPLES + 1];
    gra_moments first, last;
    gra_covariance least, most;
} sampled;

static void sample(const family *f, const gra_divisor *d, double from, double to, gra_arena *arena,
                   sampled *out)
{
    long double q[MOST], least[MOST], most[MOST];
    for (int s = 0; s <= SAMPLES; s++) {
        double policy[MOST];
        out->theta[s] = from + (to - from) * s / SAMPLES;
        policy_at(f, out->theta[s], policy, q);
        out->value[s] = log_inverse_at(d, policy, arena);
        for (int64_t c = 0; c < f->n; c++) {
            least[c] = s == 0 ? q[c] : fminl(least[c], q[c]);
            most[c] = s == 0 ? q[c] : fmaxl(most[c], q[c]);
        }
        if (s == 0 || s == SAMPLES) {
            *(s == 0 ? &out->first : &out->last) = moments_at(d, policy, arena);
        }
    }
    for (int64_t c = 0; c < f->n; c++) { /* what may lie between two samples */
        least[c] *= 0.999L;
        most[c] *= 1.001L;
    }
    out->least = covariance_of(f, d, least);
    out->most = covariance_of(f, d, most);
}

enum { DIVISORS = 12 };

/* Row `row` of the divisors, over random classes. */
static void random_divisor_input(randomness *r, int row, input *in)
{
    static const plain_context ROWS[DIVISORS] = {
        {.limit = 1},
        {.limit = 1, .epsilon = 0.05},
        {.limit = 1, .epsilon = 0.02, .inside = 1},
        {.limit = 1, .over_mean = 1, .epsilon = 0.05},
        {.group_size = 4, .unscaled = 1},
        {.group_size = 7, .ddof = 1, .epsilon = 0.01},
        {.group_size = 16, .epsilon = 0.1, .inside = 1},
        {.group_size = 9, .over_others = 1, .leave_one_out = 1},
        {.group_size = 3, .over_others = 1, .leave_one_out = 1},
        {.group_size = 8, .over_mean = 1, .epsilon = 0.1},
        {.group_size = 5, .over_others = 1, .leave_one_out = 1}, /* three levels */
        {.limit = 1}};
    memset(in, 0, sizeof *in);
    plain_context *c = &in->context;
    *c = ROWS[row];
    c->n = 4;
    int has_two_levels = !c->limit && row != 10 && !c->unscaled;
    for (int64_t o = 0; o < c->n; o++) {
        in->rewards[o] = random_uniform(r);
        in->variances[o] = random_below(r, 2) ? random_uniform(r) : 0.0;
        double p = random_below(r, 3) == 0 ? (double)random_below(r, 2) : random_uniform(r);
        in->distribution[2 * o] = 1.0 - p;
        in->distribution[2 * o + 1] = p;
    }
    in->rewards[0] = 0.0;
    in->support[1] = 1.0;
    c->rewards = in->rewards;
    c->variances = row == 11 || (c->limit && row != 3 && random_below(r, 2)) ? in->variances : NULL;
    if (has_two_levels) {
        c->k = 2;
        c->support = in->support;
        c->distribution = in->distribution;
    }
}

typedef struct subject {
    grpoalign_model *model;
    gra_arena arena;
    gra_structure structure;
    gra_divisor divisor;
    family family;
} subject;

static int open_subject(randomness *r, int row, subject *self)
{
    input in;
    unsigned char supported[MOST] = {1, 1, 1, 1, 1, 1};
    random_divisor_input(r, row, &in);
    *self = (subject){.model = make_model(&in.context), .arena = GRA_ARENA_INIT};
    self->structure = open_structure(self->model, supported, &self->arena);
    if (self->structure.kind != GRA_AFFINE) {
        return 0;
    }
    self->divisor = prepared(&self->structure.affine.divisor, &self->arena);
    self->family.n = self->structure.classes;
    self->family.gap = self->structure.affine.gap;
    self->family.is_exponential = (int)random_below(r, 2);
    double sum = 0.0;
    for (int64_t c = 0; c < self->family.n; c++) {
        sum += self->family.reference[c] = exp(random_between(r, -8.0, 0.0));
    }
    for (int64_t c = 0; c < self->family.n; c++) {
        self->family.reference[c] /= sum;
    }
    return 1;
}

static void close_subject(subject *self)
{
    gra_structure_release(&self->structure);
    gra_arena_free(&self->arena);
    grpoalign_model_free(self->model);
}

/* What rounding adds to a value, and to a secant over a width. */
static const double ROUNDING = 2e-13;

/* The slope between any two samples is a mean of slopes, so the bounds contain it. */
static void bounds_over_a_stretch_contain_every_value_and_slope(void **state)
{
    (void)state;
    randomness r = random_start(124);
    int checked[DIVISORS] = {0}, sharp = 0, all = 0;
    for (int i = 0; i < 60 * DIVISORS * test_scale(); i++) {
        subject self;
        int is_open = open_subject(&r, i % DIVISORS, &self);
        const gra_divisor *d = &self.divisor;
        if (is_open && d->kind->bounds != NULL) {
            sampled at;
            double from = pow(10.0, random_between(&r, -3.0, 1.5));
            double to = from * (1.0 + pow(10.0, random_between(&r, -4.0, 0.0))), rate = 1.0;
            sample(&self.family, d, from, to, &self.arena, &at);
            int by_ends = self.family.is_exponential && d->kind->convex_families;
            gra_stretch stretch = {.theta_a = from,
                                   .theta_b = to,
                                   .a = &at.first,
                                   .b = &at.last,
                                   .least = by_ends ? NULL : &at.least,
                                   .most = by_ends ? NULL : &at.most,
                                   .rate = &rate,
                                   .rounding = 1e-14};
            gra_divisor_bounds told = d->kind->bounds(d, &stretch);
            for (int s = 0; s <= SAMPLES; s++) {
                assert_true(at.value[s] >= told.value.low - ROUNDING);
                assert_true(at.value[s] <= told.value.high + ROUNDING);
                for (int t = s + 20; t <= SAMPLES; t += 20) {
                    double width = at.theta[t] - at.theta[s];
                    double secant = (at.value[t] - at.value[s]) / width, slack = ROUNDING / width;
                    assert_true(secant >= told.slope.low - slack);
                    assert_true(secant <= told.slope.high + slack);
                }
            }
            double slope = (at.value[SAMPLES] - at.value[0]) / (to - from);
            sharp += told.slope.high - told.slope.low < 0.1 * fabs(slope);
            all++;
            checked[i % DIVISORS]++;
        }
        close_subject(&self);
    }
    print_message("# %d stretches, the slope of %d is known to a tenth\n", all, sharp);
    assert_true(sharp > all / 4);
    for (int row = 0; row < DIVISORS; row++) { /* all but those without bounds */
        int has_none = row == 3 || row == 4 || row == 10;
        assert_true(has_none ? checked[row] == 0 : checked[row] > 10);
    }
}

/* From a point on: below the ceiling, above the slope of the tail; everywhere within the range of
 * all policies, and falling where that is said. */
static void the_rest_of_a_path_keeps_what_a_divisor_promises(void **state)
{
    (void)state;
    randomness r = random_start(125);
    int tails = 0, ceilings = 0, falls = 0, unique = 0;
    for (int i = 0; i < 60 * DIVISORS * test_scale(); i++) {
        subject self;
        if (open_subject(&r, i % DIVISORS, &self)) {
            const gra_divisor *d = &self.divisor;
            sampled at;
            double from = pow(10.0, random_between(&r, -3.0, 1.3)), to = 20.0 * from;
            sample(&self.family, d, from, to, &self.arena, &at);
            double ceiling = d->kind->ceiling != NULL ? d->kind->ceiling(d, &at.first) : INFINITY;
            int has_tail = self.family.is_exponential && d->kind->tail_slope != NULL;
            double tail = has_tail ? d->kind->tail_slope(d, &at.first) : -INFINITY;
            for (int s = 0; s <= SAMPLES && isfinite(at.value[s]); s++) {
                assert_true(at.value[s] <= log(ceiling) + ROUNDING);
                assert_true(at.value[s] >= log(d->low) - ROUNDING);
                assert_true(at.value[s] <= log(d->high) + ROUNDING);
                if (s > 0) {
                    double width = at.theta[s] - at.theta[s - 1];
                    double change = at.value[s] - at.value[s - 1];
                    assert_true(change >= tail * width - ROUNDING * (1.0 + fabs(at.value[s])));
                    assert_true(!d->falls || change <= ROUNDING);
                    assert_true(!d->constant || change == 0.0);
                    if (d->ratio_falls && !self.family.is_exponential) {
                        /* One policy at each beta under reverse KL: log beta falls. */
                        assert_true(change - log(at.theta[s] / at.theta[s - 1]) <= ROUNDING);
                        unique++;
                    }
                }
            }
            tails += isfinite(tail) && tail != 0.0;
            ceilings += isfinite(ceiling);
            falls += d->falls;
        }
        close_subject(&self);
    }
    print_message("# %d tails, %d ceilings, %d that fall\n", tails, ceilings, falls);
    assert_true(tails > 10 && ceilings > 100 && falls > 50 && unique > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(advantages_are_those_of_every_group),
        cmocka_unit_test(plain_answers_agree),
        cmocka_unit_test(jacobians_are_derivatives_of_plain_advantages),
        cmocka_unit_test(structures_stand_for_their_models),
        cmocka_unit_test(slopes_of_structures_are_derivatives),
        cmocka_unit_test(equal_outcomes_are_one_class),
        cmocka_unit_test(levels_ascend_and_ties_split_them),
        cmocka_unit_test(the_range_is_brought_between_a_half_and_one),
        cmocka_unit_test(ranges_of_any_size_give_the_same),
        cmocka_unit_test(bounds_over_a_stretch_contain_every_value_and_slope),
        cmocka_unit_test(the_rest_of_a_path_keeps_what_a_divisor_promises),
    };
    return run_chosen(tests);
}
