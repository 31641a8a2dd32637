// grpoalign.hpp as a user meets it: every class, both kinds of calls, moved-from objects, failures,
// progress. Prints what went wrong, and at the end the policy that policy.c prints.
#include <grpoalign/grpoalign.hpp>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>
#if __cplusplus >= 202002L
#include <span>
#endif

namespace
{

int failed = 0;

void that(bool condition, const char *what)
{
    if (!condition) {
        std::printf("FAILED: %s\n", what);
        failed++;
    }
}

bool near(double a, double b, double tolerance)
{
    return std::fabs(a - b) <= tolerance;
}

template <class Call> grpoalign_status thrown(Call call)
{
    try {
        call();
    } catch (const grpoalign::error &why) {
        return why.status();
    }
    return GRPOALIGN_OK;
}

static_assert(!std::is_copy_constructible<grpoalign::problem>::value, "handles have one owner");
static_assert(std::is_nothrow_move_constructible<grpoalign::problem>::value, "handles move");
static_assert(std::is_nothrow_move_assignable<grpoalign::solution>::value, "handles move");
static_assert(std::is_nothrow_move_constructible<grpoalign::model>::value, "handles move");
static_assert(sizeof(grpoalign::penalty) == sizeof(void *), "no more than a handle");
static_assert(std::is_base_of<std::runtime_error, grpoalign::error>::value, "an exception");

grpoalign::problem first()
{
    // The parts end here; the problem keeps what it needs of them.
    return grpoalign::problem(grpoalign::model::group({0.0, 0.5, 1.0}, 8),
                              grpoalign::penalty(grpoalign::penalty_kind::reverse_kl),
                              grpoalign::reference({0.6, 0.3, 0.1}));
}

void solves_tunes_and_differentiates()
{
    grpoalign::problem problem = first();
    that(problem.outcomes() == 3, "outcomes");
    grpoalign::solution solution = problem.solve(0.5);
    const std::vector<double> after = solution.policy();
    that(after.size() == 3 && near(after[2], 0.783234574, 1e-9), "the policy");
    that(solution.status() == GRPOALIGN_OK, "status");
    that(near(solution.log_policy()[0], std::log(after[0]), 1e-14), "its logarithm");
    const grpoalign::report report = solution.report();
    that(report.residual < 1e-13 && near(report.kl_policy_ref, 1.30649, 1e-5), "its report");
    double mean = 0.0;
    for (std::size_t i = 0; i < 3; i++) {
        mean += after[i] * solution.advantage()[i];
    }
    that(near(mean, 0.0, 1e-13), "advantages are centred");

    grpoalign::solution tuned = problem.tune(grpoalign::quantity::kl_policy_ref, 0.2);
    that(near(tuned.report().kl_policy_ref, 0.2, 1e-12), "tune reaches its target");
    grpoalign::solution as_metric = problem.tune({0.0, 0.5, 1.0}, 0.5);
    that(near(as_metric.report().expected_reward, 0.5, 1e-12), "tune by a metric");
    grpoalign::fitted fitted = problem.fit({127.0, 90.0, 783.0});
    that(near(fitted.fit.beta, 0.5, 0.05) && fitted.fit.observations == 1000.0, "fit");
    that(near(fitted.solution.report().beta, fitted.fit.beta, 1e-12), "the solution of a fit");

    grpoalign::sensitivity by = problem.differentiate(solution);
    const double h = 1e-5;
    const std::vector<double> up = problem.solve(0.5 + h).policy();
    const std::vector<double> down = problem.solve(0.5 - h).policy();
    const std::vector<double> slope = by.by_beta();
    for (std::size_t i = 0; i < 3; i++) {
        that(near(slope[i], (up[i] - down[i]) / (2.0 * h), 1e-7), "d pi / d beta by differences");
    }
    grpoalign::matrix jacobian = by.matrix(grpoalign::input::log_reference);
    const std::array<double, 3> cotangent = {{1.0, -2.0, 0.5}};
    grpoalign::gradient gradient = by.vjp(cotangent);
    for (std::size_t j = 0; j < 3; j++) {
        double sum = 0.0;
        for (std::size_t o = 0; o < 3; o++) {
            sum += cotangent[o] * jacobian(o, j);
        }
        that(near(sum, gradient.log_reference[j], 1e-12), "vjp and matrix agree");
    }
    that(gradient.rewards.size() == 3, "the gradient by rewards");
}

void lists_flows_batches_and_presets()
{
    grpoalign::problem problem(grpoalign::model::group({0.0, 1.0}, 32),
                               grpoalign::penalty(grpoalign::penalty_kind::direct_kl),
                               grpoalign::reference({0.9, 0.1}));
    grpoalign::points points = problem.solve_all(0.7);
    that(points.size() == 3 && points.complete() && !points.empty(), "three stationary policies");
    int attract = 0;
    for (grpoalign::solution_view point : points) {
        attract += point.report().stable == 1;
    }
    that(attract == 2, "two of them attract");
    that(points.from_reference() >= 0 && !points[3], "beyond the last there is none");
    that(problem.folds(0.1, 10.0).size() == 2, "two folds");
    that(problem.curve(0.3, 3.0, 0.1).size() > 10, "a curve");
    that(problem.path({2.0, 1.0, 0.5}).size() == 3, "a path");
    that(problem.critical_beta() == 0.0, "no critical beta");
    grpoalign::flow flow = problem.follow(0.7);
    that(flow.status() == GRPOALIGN_OK && flow.size() > 2 && flow.end(), "a flow");
    const std::size_t last = flow.size() - 1;
    that(near(flow.policy(last)[1], flow.end().policy()[1], 1e-5), "it ends where it says");
    that(flow.state(last).time > flow.state(0).time, "time goes on");

    grpoalign::reward_options unscaled;
    unscaled.scale = GRPOALIGN_SCALE_NONE;
    grpoalign::penalty kl(grpoalign::penalty_kind::reverse_kl);
    grpoalign::problem hard(grpoalign::model::group({0.0, 1.0}, 8, unscaled), kl,
                            grpoalign::reference({0.9, 0.1}));
    grpoalign::problem easy(grpoalign::model::group({0.0, 1.0}, 8, unscaled), kl,
                            grpoalign::reference({0.2, 0.8}));
    grpoalign::batch batch = grpoalign::solve_batch({&hard, &easy}, 0.5);
    that(batch.points.size() == 2 && batch.std > 0.0, "a batch");
    that(grpoalign::preset("trl-1.10").ddof == 1, "a preset");
    that(grpoalign::try_preset("no such").status() == GRPOALIGN_ERR_ARGUMENT, "no preset");
}

void all_models_and_penalties()
{
    const std::vector<double> policy = {0.5, 0.3, 0.2};
    grpoalign::model ranked = grpoalign::model::ranked({0.0, 0.5, 1.0});
    const double margins[9] = {0.0, -1.0, -1.0, 1.0, 0.0, -1.0, 1.0, 1.0, 0.0};
    grpoalign::model pairwise = grpoalign::model::pairwise({margins, 3});
    that(near(ranked.advantage(policy)[2], pairwise.advantage(policy)[2], 1e-15), "rank or margin");
    that(near(pairwise.jacobian(policy)(0, 1), -1.0, 1e-15), "the Jacobian is the matrix");
    grpoalign::model limit = grpoalign::model::limit({0.0, 0.5, 1.0}, {0.1, 0.1, 0.1});
    that(limit.outcomes() == 3, "the limit");
    const double rows[6] = {1.0, 0.0, 0.5, 0.5, 0.0, 1.0};
    grpoalign::model random = grpoalign::model::group_random({0.0, 1.0}, {rows, 2}, 8);
    that(random.outcomes() == 3, "random rewards");
    grpoalign::model sum = grpoalign::model::sum({&ranked, &pairwise}, {0.5, 0.5});
    that(near(sum.advantage(policy)[0], ranked.advantage(policy)[0], 1e-15), "a sum of models");

    grpoalign::penalty hellinger = grpoalign::penalty::alpha(0.5);
    grpoalign::penalty kl(grpoalign::penalty_kind::direct_kl);
    that(kl.kind() == grpoalign::penalty_kind::direct_kl, "the kind");
    that(std::strcmp(kl.name(), "direct_kl") == 0 && kl.formula() != nullptr, "the name");
    grpoalign::penalty both = grpoalign::penalty::sum({&hellinger, &kl}, {1.0, 2.0});
    that(both.kind() == grpoalign::penalty_kind::sum, "a sum of penalties");
    grpoalign::reference uniform = grpoalign::reference::uniform(3);
    that(near(uniform.probabilities()[1], 1.0 / 3.0, 1e-15), "uniform");
    grpoalign::reference logs = grpoalign::reference::of_log({0.0, 0.0, 0.0});
    const std::vector<double> moved = kl.respond(uniform, 1.0, {0.0, 1.0, 2.0});
    const std::vector<double> implied = kl.implied(logs, moved, 1.0);
    that(near(implied[2] - implied[0], 2.0, 1e-12), "implied advantages");
    that(near(kl.divergence(uniform, {1.0, 0.0, 0.0}), std::log(3.0), 1e-12), "a divergence");
    const std::int64_t offsets[4] = {0, 1, 3, 5}, tokens[5] = {1, 2, 3, 2, 4};
    grpoalign::completions how;
    how.count = 3;
    how.offsets = offsets;
    how.tokens = tokens;
    how.token_count = 5;
    grpoalign::penalty per_token = grpoalign::penalty::per_token(kl, how);
    that(bool(per_token), "a penalty per token");
}

void failures_are_told()
{
    grpoalign::result<grpoalign::reference> bad = grpoalign::reference::try_of({0.6, -0.3, 0.7});
    that(!bad && bad.status() == GRPOALIGN_ERR_PROBABILITY, "a negative probability");
    that(bad.error().argument() == 1 && bad.error().index() == 1, "argument and index");
    that(std::strcmp(bad.error().name(), "probability") == 0, "the name of a status");
    that(thrown([&] { (void)bad.value(); }) == GRPOALIGN_ERR_PROBABILITY, "value() throws");
    try {
        grpoalign::reference({0.6, -0.3, 0.7});
        that(false, "a constructor throws");
    } catch (const std::exception &why) {
        that(std::strstr(why.what(), "probabilities[1]") != nullptr, "the message");
    }
    that(thrown([] { (void)first().solve(-1.0); }) == GRPOALIGN_ERR_ARGUMENT, "beta below 0");
    that(thrown([] { (void)first().solve_all(NAN); }) == GRPOALIGN_ERR_NOT_FINITE, "beta NaN");
    that(first().try_solve(-1.0).error().argument() == 2, "which argument");
    that(grpoalign::model::try_sum({}, {1.0}).status() == GRPOALIGN_ERR_DIMENSION, "counts");
    that(grpoalign::model::try_pairwise({{0.0, 1.0, 2.0}, 2}).status() == GRPOALIGN_ERR_DIMENSION,
         "no matrix");
    that(grpoalign::model::try_limit({0.0, 1.0}, {0.1}).status() == GRPOALIGN_ERR_DIMENSION,
         "variances");
    that(grpoalign::reference::try_of(grpoalign::numbers()).status() == GRPOALIGN_ERR_ARGUMENT,
         "no numbers");
    // Qualified, and a value all the same.
    grpoalign::solve_options strict;
    strict.tolerance = 1e-300;
    grpoalign::result<grpoalign::solution> limited = first().try_solve(0.5, strict);
    that(limited && limited.status() == GRPOALIGN_ACCURACY_LIMITED, "qualified");
    that(limited->status() == GRPOALIGN_ACCURACY_LIMITED, "the solution knows, too");
    that(near((*limited).policy()[2], 0.783234574, 1e-9), "it is a value");
    grpoalign::solution out = std::move(limited).value();
    that(out && first().try_solve(-1.0).value_or(std::move(out)), "value_or");
}

void moved_from_objects_are_empty()
{
    grpoalign::problem problem = first();
    grpoalign::problem other = std::move(problem);
    that(!problem && other, "moved"); // NOLINT: what moved-from objects do is promised
    that(problem.outcomes() == 0, "no outcomes");
    that(problem.try_solve(0.5).status() == GRPOALIGN_ERR_ARGUMENT, "what is asked of it fails");
    that(thrown([&] { (void)problem.solve(0.5); }) == GRPOALIGN_ERR_ARGUMENT, "and throws");
    problem = std::move(other);
    that(problem.solve(0.5).outcomes() == 3, "moved back");
    grpoalign::solution empty;
    that(!empty && empty.try_policy().status() == GRPOALIGN_ERR_ARGUMENT, "an empty solution");
    that(empty.try_report().status() == GRPOALIGN_ERR_ARGUMENT, "has no report");
    that(problem.try_differentiate(empty).status() == GRPOALIGN_ERR_ARGUMENT, "nor derivatives");
    grpoalign::sensitivity none;
    that(none.try_vector(grpoalign::input::beta).status() == GRPOALIGN_ERR_ARGUMENT, "empty");
    that(none.try_vjp({1.0}).status() == GRPOALIGN_ERR_ARGUMENT, "empty");
    grpoalign::points points;
    that(points.empty() && points.begin() == points.end() && !points[0], "an empty list");
    grpoalign::flow flow;
    that(flow.size() == 0 && !flow.end(), "an empty flow");
    that(flow.try_state(0).status() == GRPOALIGN_ERR_ARGUMENT, "has no state");
    grpoalign::problem *alias = &problem;
    problem = std::move(*alias);
    that(bool(problem), "moved onto itself");
    // What others made and own.
    grpoalign_problem *raw = problem.release();
    that(!problem && raw != nullptr, "released");
    grpoalign::problem again(grpoalign::adopt, raw);
    that(again.outcomes() == 3, "adopted");
}

void numbers_come_from_anywhere()
{
    const std::vector<double> vector = {0.6, 0.3, 0.1};
    const std::array<double, 3> array = {{0.6, 0.3, 0.1}};
    const double plain[3] = {0.6, 0.3, 0.1};
    that(grpoalign::reference(vector).outcomes() == 3, "a vector");
    that(grpoalign::reference(array).outcomes() == 3, "an array");
    that(grpoalign::reference(plain).outcomes() == 3, "a C array");
    that(grpoalign::reference({plain, 3}).outcomes() == 3, "pointer and count");
    that(grpoalign::reference({0, 1}).outcomes() == 2, "integers in braces");
    // And go where they are wanted.
    grpoalign::solution solution = first().solve(0.5);
    double after[3];
    std::vector<double> logs(3), short_of(2);
    solution.policy(after);
    solution.log_policy(logs);
    that(near(std::log(after[2]), logs[2], 1e-14), "into an array and a vector");
    that(solution.try_policy(short_of).status() == GRPOALIGN_ERR_DIMENSION, "no room");
    grpoalign::model model = grpoalign::model::group({0.0, 0.5, 1.0}, 8);
    std::array<double, 3> advantage;
    model.advantage(after, advantage);
    that(advantage[0] < 0.0 && advantage[2] > 0.0, "advantages into an array");
    that(model.try_advantage(after, short_of).status() == GRPOALIGN_ERR_DIMENSION, "no room");
    grpoalign::penalty kl(grpoalign::penalty_kind::direct_kl);
    kl.respond(grpoalign::reference(vector), 1.0, advantage, logs);
    that(logs[2] > 0.1, "a response into a vector");
#if __cplusplus >= 202002L
    that(grpoalign::reference(std::span<const double>(vector)).outcomes() == 3, "a span");
#endif
}

void calls_can_be_stopped()
{
    int heard = 0;
    auto watch = [&heard](const grpoalign_progress &progress) {
        heard += progress.iteration > 0;
        return heard == 2;
    };
    grpoalign::solve_options options;
    grpoalign::on_progress(options, watch);
    grpoalign::problem problem(grpoalign::model::limit({0.0, 0.5, 1.0}),
                               grpoalign::penalty(grpoalign::penalty_kind::direct_kl),
                               grpoalign::reference({0.6, 0.3, 0.1}));
    that(problem.try_critical_beta(options).status() == GRPOALIGN_ERR_CANCELLED && heard == 2,
         "stopped");
    auto throws = [](const grpoalign_progress &) -> bool { throw 1; };
    grpoalign::solve_options other;
    grpoalign::on_progress(other, throws);
    that(problem.try_critical_beta(other).status() == GRPOALIGN_ERR_CANCELLED, "and so");
}

} // namespace

int main()
{
    try {
        solves_tunes_and_differentiates();
        lists_flows_batches_and_presets();
        all_models_and_penalties();
        failures_are_told();
        moved_from_objects_are_empty();
        numbers_come_from_anywhere();
        calls_can_be_stopped();
        const std::vector<double> after = first().solve(0.5).policy();
        std::printf("policy: %.9f %.9f %.9f\n", after[0], after[1], after[2]);
    } catch (const grpoalign::error &why) {
        std::printf("FAILED: %s: %s\n", why.name(), why.what());
        failed++;
    }
    return failed > 0;
}
