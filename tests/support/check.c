#include "check.h"

void choose_tests(void)
{
    const char *chosen = getenv("GRPOALIGN_TEST");
    if (chosen != NULL && chosen[0] != '\0') {
        cmocka_set_test_filter(chosen);
    }
}

static uint64_t seed_of_run(void)
{
    const char *given = getenv("GRPOALIGN_TEST_SEED");
    return given != NULL ? strtoull(given, NULL, 10) : 20241123;
}

int test_scale(void)
{
    const char *given = getenv("GRPOALIGN_TEST_SCALE");
    int scale = given != NULL ? atoi(given) : 1;
    return scale > 0 ? scale : 1;
}

randomness random_start(uint64_t salt)
{
    /* Well apart for neighbouring seeds and salts. */
    randomness made = {seed_of_run() ^ (salt << 32)};
    made.state = random_bits(&made);
    made.state ^= random_bits(&made) << 1;
    return made;
}

uint64_t random_bits(randomness *self)
{
    /* splitmix64 */
    uint64_t z = (self->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

double random_uniform(randomness *self)
{
    return (double)(random_bits(self) >> 11) * 0x1p-53;
}

double random_between(randomness *self, double low, double high)
{
    return low + (high - low) * random_uniform(self);
}

double random_normal(randomness *self)
{
    double u = 1.0 - random_uniform(self), v = random_uniform(self);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

int64_t random_below(randomness *self, int64_t n)
{
    return (int64_t)(random_bits(self) % (uint64_t)n);
}

void random_reference(randomness *self, int kind, int64_t n, double *log_probabilities)
{
    for (int64_t o = 0; o < n; o++) {
        log_probabilities[o] = kind == REFERENCE_UNIFORM ? 0.0
                               : kind == REFERENCE_DIRICHLET
                                   ? log(-log(1.0 - random_uniform(self)) + 1e-300)
                               : kind == REFERENCE_SKEWED ? 5.0 * random_normal(self)
                                                          : -690.0 * random_uniform(self);
    }
}

void random_policy(randomness *self, int64_t n, double *policy)
{
    int kind = (int)random_below(self, 4);
    double sum = 0.0;
    for (int64_t o = 0; o < n; o++) {
        policy[o] = -log(1.0 - random_uniform(self));
        if (kind == 1) {
            policy[o] = pow(policy[o], 12.0);
        } else if (kind == 2 && random_below(self, 2) == 0) {
            policy[o] = 0.0;
        }
    }
    if (kind == 3) {
        policy[random_below(self, n)] += 1e9;
    }
    policy[random_below(self, n)] += 1e-3;
    for (int64_t o = 0; o < n; o++) {
        sum += policy[o];
    }
    for (int64_t o = 0; o < n; o++) {
        policy[o] /= sum;
    }
}

const char *const MARGINS_NAMES[] = {"dense",  "sign",  "bradley-terry", "noisy",
                                     "sparse", "cycle", "ranked",        "zero"};

void random_margins(randomness *self, int kind, int64_t n, double *margins)
{
    double *strength = malloc((size_t)n * sizeof *strength);
    for (int64_t i = 0; i < n; i++) {
        strength[i] = kind == MARGINS_RANKED ? (double)random_below(self, n / 2 + 2)
                                             : 1.5 * random_normal(self);
    }
    for (int64_t i = 0; i < n; i++) {
        margins[i * n + i] = 0.0;
        for (int64_t j = 0; j < i; j++) {
            double noise = random_between(self, -1.0, 1.0), lead = strength[i] - strength[j],
                   m = 0.0;
            int64_t around = (i - j) % n;
            switch (kind) {
            case MARGINS_DENSE:
                m = noise;
                break;
            case MARGINS_SIGN:
                m = noise > 0.0 ? 1.0 : -1.0;
                break;
            case MARGINS_BRADLEY_TERRY:
                m = tanh(0.5 * lead);
                break;
            case MARGINS_NOISY:
                m = fmax(-1.0, fmin(1.0, tanh(0.5 * lead) + 0.3 * noise));
                break;
            case MARGINS_SPARSE:
                m = random_uniform(self) * (double)n < 4.0 ? noise : 0.0;
                break;
            case MARGINS_CYCLE:
                m = 2 * around == n ? 0.0 : 2 * around < n ? -1.0 : 1.0;
                break;
            case MARGINS_RANKED:
                m = (double)((lead > 0.0) - (lead < 0.0));
                break;
            default:
                break;
            }
            margins[i * n + j] = m;
            margins[j * n + i] = -m;
        }
    }
    free(strength);
}

void random_rewards(randomness *self, int kind, int64_t n, double *rewards)
{
    for (int64_t o = 0; o < n; o++) {
        rewards[o] = kind == REWARDS_UNIFORM     ? random_between(self, -1.0, 1.0)
                     : kind == REWARDS_INTEGER   ? (double)random_below(self, 4)
                     : kind == REWARDS_GEOMETRIC ? pow(10.0, -(double)o)
                     : kind == REWARDS_NEAR_TIES ? 1.0 + (double)random_below(self, 3) +
                                                       1e-9 * (double)random_below(self, 2)
                                                 : 0.7;
    }
}

static void each_sequence(const double *levels, int64_t k, const double *w, int64_t size,
                          double epsilon, int ddof, int64_t placed, double *members,
                          long double probability, long double *advantage)
{
    if (probability == 0.0L) {
        return;
    }
    if (placed < size) {
        for (int64_t l = 0; l < k; l++) {
            members[placed] = levels[l];
            each_sequence(levels, k, w, size, epsilon, ddof, placed + 1, members,
                          probability * (long double)w[l], advantage);
        }
        return;
    }
    for (int64_t m = 0; m < k; m++) {
        members[0] = levels[m];
        long double mean = 0.0L, squares = 0.0L;
        int equal = 1;
        for (int64_t i = 0; i < size; i++) {
            mean += ((long double)members[i] - (long double)members[0]) / (long double)size;
            equal = equal && members[i] == members[0];
        }
        for (int64_t i = 0; i < size; i++) {
            long double d = (long double)members[i] - (long double)members[0] - mean;
            squares += d * d;
        }
        if (!equal) {
            advantage[m] -= probability * mean /
                            (sqrtl(squares / (long double)(size - ddof)) + (long double)epsilon);
        }
    }
}

void plain_group_advantage(const double *levels, int64_t k, const double *w, int64_t size,
                           double epsilon, int ddof, long double *advantage)
{
    double *members = malloc((size_t)size * sizeof *members);
    for (int64_t m = 0; m < k; m++) {
        advantage[m] = 0.0L;
    }
    each_sequence(levels, k, w, size, epsilon, ddof, 1, members, 1.0L, advantage);
    free(members);
}

/* The reward everything is measured from: that of the heaviest outcome, because its neighbours
 * decide small spreads. */
static long double origin_of(const plain_context *c, const double *policy)
{
    int64_t heaviest = 0;
    for (int64_t o = 1; o < c->n; o++) {
        heaviest = policy[o] > policy[heaviest] ? o : heaviest;
    }
    return (long double)c->rewards[heaviest];
}

/* The mean is relative to the origin; policies sum to 1 only within rounding, which matters where
 * the spread is small. */
static void plain_moments(const plain_context *c, const double *policy, long double *mean,
                          long double *sigma)
{
    long double total = 0.0L, origin = origin_of(c, policy);
    *mean = 0.0L;
    for (int64_t o = 0; o < c->n; o++) {
        total += (long double)policy[o];
    }
    for (int64_t o = 0; o < c->n; o++) {
        *mean += (long double)policy[o] / total * ((long double)c->rewards[o] - origin);
    }
    long double variance = 0.0L;
    for (int64_t o = 0; o < c->n; o++) {
        long double d = (long double)c->rewards[o] - origin - *mean;
        variance += (long double)policy[o] / total *
                    (d * d + (c->variances != NULL ? (long double)c->variances[o] : 0.0L));
    }
    *sigma = sqrtl(variance);
}

void plain_advantage(const plain_context *c, const double *policy, long double *advantage)
{
    int64_t n = c->n;
    if (c->margins != NULL || (c->group_size == 0 && !c->limit)) {
        for (int64_t i = 0; i < n; i++) {
            advantage[i] = 0.0L;
            for (int64_t j = 0; j < n; j++) {
                long double m = c->margins != NULL ? (long double)c->margins[i * n + j]
                                                   : (long double)((c->rewards[i] > c->rewards[j]) -
                                                                   (c->rewards[i] < c->rewards[j]));
                advantage[i] += m * (long double)policy[j];
            }
        }
        return;
    }
    if (c->support != NULL) {
        double *w = calloc((size_t)c->k, sizeof *w);
        long double *a = calloc((size_t)c->k, sizeof *a), mean = 0.0L;
        for (int64_t o = 0; o < n; o++) {
            for (int64_t l = 0; l < c->k; l++) {
                w[l] += policy[o] * c->distribution[o * c->k + l];
                mean += (long double)policy[o] * (long double)c->distribution[o * c->k + l] *
                        ((long double)c->support[l] - (long double)c->support[0]);
            }
        }
        if (c->unscaled) {
            for (int64_t l = 0; l < c->k; l++) {
                a[l] = (1.0L - 1.0L / (long double)c->group_size) *
                       ((long double)c->support[l] - (long double)c->support[0] - mean);
            }
        } else {
            plain_group_advantage(c->support, c->k, w, c->group_size, c->epsilon, c->ddof, a);
        }
        for (int64_t o = 0; o < n; o++) {
            advantage[o] = 0.0L;
            for (int64_t l = 0; l < c->k; l++) {
                advantage[o] += (long double)c->distribution[o * c->k + l] * a[l];
            }
        }
        free(w);
        free(a);
        return;
    }
    if (c->limit || c->unscaled) {
        long double mean, sigma, share = c->limit ? 1.0L : 1.0L - 1.0L / (long double)c->group_size;
        plain_moments(c, policy, &mean, &sigma);
        for (int64_t o = 0; o < n; o++) {
            long double d = (long double)c->rewards[o] - origin_of(c, policy) - mean;
            advantage[o] = c->unscaled ? share * d
                           : d == 0.0L ? 0.0L
                                       : d / (sigma + (long double)c->epsilon);
        }
        return;
    }
    plain_group_advantage(c->rewards, n, policy, c->group_size, c->epsilon, c->ddof, advantage);
}

double plain_residual(const plain_context *c, int32_t penalty, double beta,
                      const double *log_reference, const double *policy)
{
    int64_t n = c->n;
    long double *u = malloc((size_t)n * sizeof *u), mean = 0.0L, total = 0.0L, top = -INFINITY,
                z = 0.0L, ref_top = -INFINITY;
    double worst = 0.0;
    plain_advantage(c, policy, u);
    for (int64_t o = 0; o < n; o++) {
        mean += (long double)policy[o] * u[o];
        ref_top = fmaxl(ref_top, (long double)log_reference[o]);
    }
    for (int64_t o = 0; o < n; o++) {
        total += expl((long double)log_reference[o] - ref_top);
    }
    long double shift = ref_top + logl(total);
    for (int64_t o = 0; o < n; o++) {
        top = fmaxl(top, (long double)log_reference[o] - shift + u[o] / (long double)beta);
    }
    for (int64_t o = 0; o < n; o++) {
        z += expl((long double)log_reference[o] - shift + u[o] / (long double)beta - top);
    }
    for (int64_t o = 0; o < n; o++) {
        long double lr = (long double)log_reference[o] - shift, r;
        if (penalty == GRPOALIGN_PENALTY_REVERSE_KL) {
            r = (long double)policy[o] * (1.0L - (u[o] - mean) / (long double)beta) - expl(lr);
        } else {
            r = policy[o] > 1e-250
                    ? logl((long double)policy[o]) - lr - u[o] / (long double)beta + top + logl(z)
                    : 0.0L;
        }
        worst = fmax(worst, (double)fabsl(r));
    }
    free(u);
    return worst;
}

/* g(l) of a penalty with a smooth one. */
static long double plain_g(int32_t penalty, long double alpha, long double l)
{
    switch (penalty) {
    case GRPOALIGN_PENALTY_REVERSE_KL:
        return -expm1l(-l);
    case GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED:
        return expl(-l) - 1.0L + l <= 10.0L ? -expm1l(-l) : 0.0L;
    case GRPOALIGN_PENALTY_DIRECT_KL:
    case GRPOALIGN_PENALTY_KL_IN_REWARD:
        return l;
    case GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED:
        return expl(-l) - 1.0L + l <= 10.0L ? l : 0.0L;
    case GRPOALIGN_PENALTY_SQUARED_LOG_RATIO:
        return l + 0.5L * l * l;
    case GRPOALIGN_PENALTY_CHI_SQUARED:
        return expm1l(l);
    case GRPOALIGN_PENALTY_JENSEN_SHANNON:
        return l > -30.0L ? -0.5L * log1pl(0.5L * expm1l(-l)) : 0.5L * (l + logl(2.0L));
    case GRPOALIGN_PENALTY_ALPHA:
        return alpha == 1.0L ? l : expm1l((alpha - 1.0L) * l) / (alpha - 1.0L);
    default:
        return 0.0L;
    }
}

/* What g is at least, where an outcome has no probability: minus infinity for most. */
static long double plain_g_of_nothing(int32_t penalty, long double alpha)
{
    switch (penalty) {
    case GRPOALIGN_PENALTY_CHI_SQUARED:
        return -1.0L;
    case GRPOALIGN_PENALTY_ALPHA:
        return alpha > 1.0L ? -1.0L / (alpha - 1.0L) : -INFINITY;
    case GRPOALIGN_PENALTY_NONE:
        return 0.0L;
    case GRPOALIGN_PENALTY_TOTAL_VARIATION:
        return -1.0L;
    default:
        return -INFINITY;
    }
}

static int plain_lets_go(int32_t penalty)
{
    return penalty == GRPOALIGN_PENALTY_SQUARED_LOG_RATIO ||
           penalty == GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED ||
           penalty == GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED;
}

/* The distance from u - lambda to beta times the step of total variation. */
static long double plain_off_step(long double l, long double due, long double beta)
{
    const long double at_reference = 1e-12L;
    if (l > at_reference) {
        return due - beta;
    }
    if (l < -at_reference) {
        return due + beta;
    }
    return fmaxl(0.0L, fabsl(due) - beta);
}

double plain_violation(const plain_context *c, int32_t penalty, double alpha, double beta,
                       const double *log_reference, const double *policy, const double *log_policy)
{
    int64_t n = c->n;
    long double *u = malloc((size_t)n * sizeof *u),
                b = penalty == GRPOALIGN_PENALTY_NONE ? 0.0L : beta;
    long double lambda = 0.0L, total = 0.0L, top = -INFINITY, worst = 0.0L;
    int steps = penalty == GRPOALIGN_PENALTY_TOTAL_VARIATION;
    plain_advantage(c, policy, u);
    for (int64_t o = 0; o < n; o++) {
        u[o] = penalty == GRPOALIGN_PENALTY_KL_IN_REWARD ? (long double)c->rewards[o] : u[o];
        top = fmaxl(top, (long double)log_reference[o]);
    }
    for (int64_t o = 0; o < n; o++) {
        total += expl((long double)log_reference[o] - top);
    }
    long double shift = top + logl(total), most = -INFINITY, least = INFINITY;
    int gained = 0;
    for (int64_t o = 0; o < n; o++) {
        long double l = (long double)log_policy[o] - ((long double)log_reference[o] - shift);
        if (policy[o] > 0.0 && !steps) {
            lambda += (long double)policy[o] * (u[o] - b * plain_g(penalty, alpha, l));
        }
        if (policy[o] > 0.0) {
            most = fmaxl(most, u[o]);
            least = fminl(least, u[o]);
            gained = gained || l > 1e-12L;
        }
    }
    if (steps) { /* what gains gives lambda; else any that holds what stands at the reference */
        lambda = gained ? most - b : 0.5L * (most + least);
    }
    for (int64_t o = 0; o < n; o++) {
        long double l = (long double)log_policy[o] - ((long double)log_reference[o] - shift);
        long double due = u[o] - lambda, off;
        if (policy[o] == 0.0) {
            long double floor = plain_g_of_nothing(penalty, alpha);
            off = plain_lets_go(penalty) || isinf(floor) ? 0.0L : fmaxl(0.0L, due - b * floor);
        } else if (steps) {
            off = (long double)policy[o] * fabsl(plain_off_step(l, due, b));
        } else {
            off = (long double)policy[o] * fabsl(due - b * plain_g(penalty, alpha, l));
        }
        worst = fmaxl(worst, off);
    }
    free(u);
    return (double)(worst / fmaxl(1.0L, b));
}

grpoalign_model *make_model(const plain_context *c)
{
    grpoalign_model *model = NULL;
    grpoalign_error error;
    grpoalign_reward_options options;
    grpoalign_reward_options_init(&options, sizeof options);
    options.scale = c->unscaled ? GRPOALIGN_SCALE_NONE : GRPOALIGN_SCALE_STD;
    options.ddof = c->ddof;
    options.epsilon = c->epsilon;
    grpoalign_status status =
        c->margins != NULL
            ? grpoalign_model_new_pairwise(c->margins, c->n, c->n, NULL, &model, &error)
        : c->support != NULL
            ? grpoalign_model_new_group_random(c->support, c->k, c->distribution, c->n, c->k,
                                               c->group_size, &options, &model, &error)
        : c->limit
            ? grpoalign_model_new_limit(c->rewards, c->variances, c->n, &options, &model, &error)
        : c->group_size > 0
            ? grpoalign_model_new_group(c->rewards, c->n, c->group_size, &options, &model, &error)
            : grpoalign_model_new_ranked(c->rewards, c->n, NULL, &model, &error);
    if (status != GRPOALIGN_OK) {
        fail_msg("%s", error.message);
    }
    return model;
}

handles open_handles(const plain_context *context, int32_t penalty, const double *log_reference)
{
    handles h = {.model = make_model(context)};
    CHECK_OK(grpoalign_penalty_new(penalty, NULL, &h.penalty, NULL));
    CHECK_OK(grpoalign_reference_new_log(log_reference, context->n, NULL, &h.reference, NULL));
    return h;
}

void close_handles(handles *self)
{
    grpoalign_model_free(self->model);
    grpoalign_penalty_free(self->penalty);
    grpoalign_reference_free(self->reference);
}

solved solve_model(const grpoalign_model *model, int32_t penalty, double beta,
                   const double *log_reference, const grpoalign_solve_options *options)
{
    grpoalign_penalty *made = NULL;
    CHECK_OK(grpoalign_penalty_new(penalty, NULL, &made, NULL));
    solved out = solve_penalised(model, made, beta, log_reference, options);
    grpoalign_penalty_free(made);
    return out;
}

solved solve_penalised(const grpoalign_model *model, const grpoalign_penalty *p, double beta,
                       const double *log_reference, const grpoalign_solve_options *options)
{
    int64_t n = grpoalign_model_outcomes(model);
    size_t bytes = (size_t)n * sizeof(double);
    solved out;
    grpoalign_reference *reference = NULL;
    grpoalign_solution *solution = NULL;
    memset(&out, 0, sizeof out);
    CHECK_OK(log_reference != NULL
                 ? grpoalign_reference_new_log(log_reference, n, NULL, &reference, &out.error)
                 : grpoalign_reference_new_uniform(n, NULL, &reference, &out.error));
    out.status = solve_parts(model, p, reference, beta, options, &solution, &out.error);
    if (out.status >= 0) {
        out.policy = malloc(bytes);
        out.log_policy = malloc(bytes);
        out.advantage = malloc(bytes);
        out.report.struct_size = sizeof out.report;
        CHECK_OK(grpoalign_solution_policy(solution, out.policy, n, NULL));
        CHECK_OK(grpoalign_solution_log_policy(solution, out.log_policy, n, NULL));
        CHECK_OK(grpoalign_solution_advantage(solution, out.advantage, n, NULL));
        CHECK_OK(grpoalign_solution_report(solution, &out.report, NULL));
    } else {
        assert_null(solution);
    }
    grpoalign_solution_free(solution);
    grpoalign_reference_free(reference);
    return out;
}

solved solve_context(const plain_context *context, int32_t penalty, double beta,
                     const double *log_reference)
{
    grpoalign_model *model = make_model(context);
    solved out = solve_model(model, penalty, beta, log_reference, NULL);
    grpoalign_model_free(model);
    return out;
}

void solved_free(solved *self)
{
    free(self->policy);
    free(self->log_policy);
    free(self->advantage);
    memset(self, 0, sizeof *self);
}

void _assert_near(double actual, double expected, double tolerance, const char *what,
                  const char *file, int line)
{
    if (!(fabs(actual - expected) <= tolerance)) {
        print_error("%s is %.17g: expected %.17g within %g (off by %.3g; seed %llu)\n", what,
                    actual, expected, tolerance, fabs(actual - expected),
                    (unsigned long long)seed_of_run());
        _fail(file, line);
    }
}

double largest_difference(const double *a, const double *b, int64_t n)
{
    double worst = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs(a[i] - b[i]);
        worst = d > worst || isnan(d) ? d : worst;
    }
    return worst;
}
