#include "check.h"

#include "trial.h"

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

/* Whether a name matches a pattern with * and ?, as in file names. */
static int matches(const char *pattern, const char *name)
{
    if (*pattern == '*') {
        return matches(pattern + 1, name) || (*name != '\0' && matches(pattern, name + 1));
    }
    if (*pattern == '\0' || *name == '\0') {
        return *pattern == *name;
    }
    return (*pattern == '?' || *pattern == *name) && matches(pattern + 1, name + 1);
}

int run_table(const struct CMUnitTest *tests, size_t count)
{
    const char *chosen = getenv("GRPOALIGN_TEST");
    if (getenv("GRPOALIGN_TEST_LIST") != NULL) {
        for (size_t i = 0; i < count; i++) {
            puts(tests[i].name);
        }
        return 0;
    }
    if (chosen != NULL && chosen[0] != '\0') {
        size_t found = 0;
        for (size_t i = 0; i < count; i++) {
            found += (size_t)matches(chosen, tests[i].name);
        }
        if (found == 0) { /* nothing tested must not look like a success */
            fprintf(stderr, "no test here is called %s\n", chosen);
            return 1;
        }
        cmocka_set_test_filter(chosen);
    }
    int failed = _cmocka_run_group_tests("tests", tests, count, NULL, NULL);
    if (failed != 0) {
        print_message("# to repeat: GRPOALIGN_TEST_SEED=%llu GRPOALIGN_TEST_SCALE=%d\n",
                      (unsigned long long)seed_of_run(), test_scale());
    }
    return failed;
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

void random_scale(randomness *self, plain_context *c, double *rewards, int64_t count)
{
    switch (random_below(self, 6)) {
    case 0:
        c->unscaled = 1;
        c->leave_one_out = (int)random_below(self, 2);
        break;
    case 1:
        c->over_others = c->leave_one_out = 1;
        break;
    case 2:
        c->over_mean = 1;
        for (int64_t i = 0; i < count; i++) {
            rewards[i] = fabs(rewards[i]) + (random_below(self, 4) == 0 ? 0.5 : 0.0);
        }
        break;
    default:
        c->ddof = c->limit ? 0 : (int)random_below(self, 2);
        c->leave_one_out = (int)random_below(self, 2);
    }
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
    double *inverse_divisor = malloc((size_t)n * sizeof *inverse_divisor);
    for (int64_t i = 0; i < n; i++) {
        inverse_divisor[i] = kind == MARGINS_RANKED ? (double)random_below(self, n / 2 + 2)
                                                    : 1.5 * random_normal(self);
    }
    for (int64_t i = 0; i < n; i++) {
        margins[i * n + i] = 0.0;
        for (int64_t j = 0; j < i; j++) {
            double noise = random_between(self, -1.0, 1.0),
                   lead = inverse_divisor[i] - inverse_divisor[j], m = 0.0;
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
    free(inverse_divisor);
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

grpoalign_model *make_model(const plain_context *c)
{
    grpoalign_model *model = NULL;
    grpoalign_error error;
    if (trial_model(c, &model, &error) != GRPOALIGN_OK) {
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
