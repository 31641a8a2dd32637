/*
 * libgrpoalign for C++, from C++11 on: header-only, above grpoalign.h, whose words are the manual.
 *
 *     grpoalign::reference before({0.6, 0.3, 0.1});
 *     grpoalign::model rewards = grpoalign::model::group({0.0, 0.5, 1.0}, 8);
 *     grpoalign::penalty kl(grpoalign::penalty_kind::reverse_kl);
 *     grpoalign::problem problem(rewards, kl, before);
 *     std::vector<double> after = problem.solve(0.5).policy();
 *
 * Objects own their handles: they move, they do not copy, and a problem keeps its parts alive. Arrays
 * go in as `numbers`, a view that std::vector, std::array, std::span, an array or a list in braces
 * turn into; they come out as std::vector, or in a `buffer` that is given. All that goes in is
 * borrowed for the call.
 *
 * What can fail has two names. `solve` throws `error`, with the status, the argument at fault and its
 * index; `try_solve` throws nothing of this library's and returns a `result`, which is a value or a
 * `failure`. A status above 0 qualifies a value and is no failure: `result::status` and
 * `solution::status` have it. An object that was moved from is empty: it turns into false, and what is
 * asked of it fails with GRPOALIGN_ERR_ARGUMENT.
 *
 * Without exceptions (-fno-exceptions) a failure that would be thrown ends the program. This header is
 * compiled into programs and is no part of the ABI; what stands in `detail` is no part of the API.
 */
#ifndef GRPOALIGN_GRPOALIGN_HPP
#define GRPOALIGN_GRPOALIGN_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <grpoalign/grpoalign.h>

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
#define GRPOALIGN_EXCEPTIONS 1
#else
#define GRPOALIGN_EXCEPTIONS 0
#endif

namespace grpoalign
{

/* ---- Views of arrays ---------------------------------------------------------------------- */

/** n numbers that somebody else keeps. */
template <class T> class view
{
  public:
    view() noexcept : data_(nullptr), size_(0)
    {
    }
    view(const T *data, std::size_t size) noexcept : data_(data), size_(size)
    {
    }
    template <std::size_t N> view(const T (&array)[N]) noexcept : data_(array), size_(N)
    {
    }
    /* Lives as long as the call that it is an argument of. */
    view(std::initializer_list<T> list) noexcept : data_(nullptr), size_(list.size())
    {
        data_ = list.begin();
    }
    /* std::vector, std::array, std::span, and all that has data() and size(). */
    template <class Container,
              class = typename std::enable_if<
                  std::is_convertible<decltype(std::declval<const Container &>().data()),
                                      const T *>::value &&
                  std::is_convertible<decltype(std::declval<const Container &>().size()),
                                      std::size_t>::value>::type>
    view(const Container &container) noexcept : data_(container.data()), size_(container.size())
    {
    }

    const T *data() const noexcept
    {
        return data_;
    }
    std::size_t size() const noexcept
    {
        return size_;
    }
    std::int64_t count() const noexcept
    {
        return static_cast<std::int64_t>(size_);
    }
    bool empty() const noexcept
    {
        return size_ == 0;
    }
    const T &operator[](std::size_t i) const noexcept
    {
        return data_[i];
    }
    const T *begin() const noexcept
    {
        return data_;
    }
    const T *end() const noexcept
    {
        return data_ + size_;
    }

  private:
    const T *data_;
    std::size_t size_;
};

using numbers = view<double>;
using integers = view<std::int64_t>;

/** Room for n numbers that somebody else keeps: std::vector, std::array, std::span, an array. */
class buffer
{
  public:
    buffer() noexcept : data_(nullptr), size_(0)
    {
    }
    buffer(double *data, std::size_t size) noexcept : data_(data), size_(size)
    {
    }
    template <std::size_t N> buffer(double (&array)[N]) noexcept : data_(array), size_(N)
    {
    }
    template <
        class Container,
        class = typename std::enable_if<
            std::is_convertible<decltype(std::declval<Container &>().data()), double *>::value &&
            std::is_convertible<decltype(std::declval<Container &>().size()),
                                std::size_t>::value>::type>
    buffer(Container &container) noexcept : data_(container.data()), size_(container.size())
    {
    }
    double *data() const noexcept
    {
        return data_;
    }
    std::size_t size() const noexcept
    {
        return size_;
    }
    std::int64_t count() const noexcept
    {
        return static_cast<std::int64_t>(size_);
    }

  private:
    double *data_;
    std::size_t size_;
};

/** A row-major matrix that somebody else keeps: element (i, j) is data[i * stride + j]. */
class matrix_view
{
  public:
    matrix_view(const double *data, std::size_t rows, std::size_t columns,
                std::size_t stride) noexcept
        : data_(data), rows_(rows), columns_(columns), stride_(stride)
    {
    }
    /** Rows one after the other. The numbers are as many as whole rows take: else there is none. */
    matrix_view(numbers values, std::size_t columns) noexcept
        : data_(values.data()), rows_(0), columns_(columns), stride_(columns)
    {
        if (columns > 0 && values.size() % columns == 0) {
            rows_ = values.size() / columns;
        }
    }
    const double *data() const noexcept
    {
        return data_;
    }
    std::size_t rows() const noexcept
    {
        return rows_;
    }
    std::size_t columns() const noexcept
    {
        return columns_;
    }
    std::size_t stride() const noexcept
    {
        return stride_;
    }

  private:
    const double *data_;
    std::size_t rows_, columns_, stride_;
};

/** A square matrix. */
class matrix
{
  public:
    explicit matrix(std::size_t n = 0) : values_(n * n), n_(n)
    {
    }
    std::size_t size() const noexcept
    {
        return n_;
    }
    double operator()(std::size_t i, std::size_t j) const noexcept
    {
        return values_[i * n_ + j];
    }
    const std::vector<double> &values() const noexcept
    {
        return values_;
    }
    double *data() noexcept
    {
        return values_.data();
    }
    const double *data() const noexcept
    {
        return values_.data();
    }
    operator matrix_view() const noexcept
    {
        return {values_.data(), n_, n_, n_};
    }

  private:
    std::vector<double> values_;
    std::size_t n_;
};

/* ---- Failures ----------------------------------------------------------------------------- */

/** Why there is no value: the error record. */
class failure
{
  public:
    failure() noexcept : record_()
    {
    }
    explicit failure(const grpoalign_error &record) noexcept : record_(record)
    {
    }
    grpoalign_status status() const noexcept
    {
        return record_.status;
    }
    /** The lower-case name of the status, such as "antisymmetry". */
    const char *name() const noexcept
    {
        return grpoalign_status_name(record_.status);
    }
    /** 1-based position of the argument at fault in the C function, 0 where no single one is. */
    std::int32_t argument() const noexcept
    {
        return record_.argument;
    }
    /** 0-based element of that argument, -1 where none is. */
    std::int64_t index() const noexcept
    {
        return record_.index;
    }
    /** One line that names the argument, the value and the rule. */
    const char *message() const noexcept
    {
        return record_.message;
    }
    const grpoalign_error &record() const noexcept
    {
        return record_;
    }

  private:
    grpoalign_error record_;
};

/** What is thrown. */
class error : public std::runtime_error
{
  public:
    explicit error(const failure &why) : std::runtime_error(why.message()), why_(why)
    {
    }
    grpoalign_status status() const noexcept
    {
        return why_.status();
    }
    const char *name() const noexcept
    {
        return why_.name();
    }
    std::int32_t argument() const noexcept
    {
        return why_.argument();
    }
    std::int64_t index() const noexcept
    {
        return why_.index();
    }
    const failure &why() const noexcept
    {
        return why_;
    }

  private:
    failure why_;
};

namespace detail
{
[[noreturn]] inline void raise(const failure &why)
{
#if GRPOALIGN_EXCEPTIONS
    throw error(why);
#else
    (void)why;
    std::abort();
#endif
}
} // namespace detail

/** A value, perhaps qualified, or a failure; T can be made without arguments. */
template <class T> class result
{
  public:
    result(T value, grpoalign_status status = GRPOALIGN_OK) : value_(std::move(value)), why_()
    {
        status_ = status;
    }
    result(const failure &why) : value_(), why_(why), status_(why.status())
    {
    }

    bool has_value() const noexcept
    {
        return status_ >= 0;
    }
    explicit operator bool() const noexcept
    {
        return has_value();
    }
    /** 0, above 0 for a value that is qualified, below 0 for none. */
    grpoalign_status status() const noexcept
    {
        return status_;
    }
    /** Why there is no value; its status is 0 where there is one. */
    const failure &error() const noexcept
    {
        return why_;
    }

    T &value() &
    {
        check();
        return value_;
    }
    const T &value() const &
    {
        check();
        return value_;
    }
    T &&value() &&
    {
        check();
        return std::move(value_);
    }
    /** Not checked: the value where there is one. */
    T &operator*() &noexcept
    {
        return value_;
    }
    const T &operator*() const &noexcept
    {
        return value_;
    }
    T &&operator*() &&noexcept
    {
        return std::move(value_);
    }
    T *operator->() noexcept
    {
        return &value_;
    }
    const T *operator->() const noexcept
    {
        return &value_;
    }
    T value_or(T other) &&
    {
        return has_value() ? std::move(value_) : std::move(other);
    }

  private:
    void check() const
    {
        if (!has_value()) {
            detail::raise(why_);
        }
    }
    T value_;
    failure why_;
    grpoalign_status status_;
};

/** Says to a constructor that it takes a handle of the C library over. */
struct adopt_t {
};
static const adopt_t adopt = adopt_t();

namespace detail
{

/* The one owner of a handle. */
template <class C, void (*Free)(C *)> class handle
{
  public:
    /** The handle of the C library, still owned here. */
    C *get() const noexcept
    {
        return pointer_.get();
    }
    /** The handle, which is the caller's to free from now on. */
    C *release() noexcept
    {
        return pointer_.release();
    }
    explicit operator bool() const noexcept
    {
        return pointer_ != nullptr;
    }

  protected:
    handle() noexcept = default;
    explicit handle(C *pointer) noexcept : pointer_(pointer)
    {
    }

  private:
    struct freer {
        void operator()(C *pointer) const noexcept
        {
            Free(pointer);
        }
    };
    std::unique_ptr<C, freer> pointer_;
};

/* An options struct whose fields start from their defaults. */
template <class C, void (*Init)(C *, std::uint32_t)> struct defaulted : C {
    defaulted() noexcept : C()
    {
        Init(this, static_cast<std::uint32_t>(sizeof(C)));
    }
};

/* A struct that the library fills. */
template <class C> C to_fill() noexcept
{
    C filled = C();
    filled.struct_size = static_cast<std::uint32_t>(sizeof(C));
    return filled;
}

/* One call that makes a C handle, as a result. */
template <class T, class C, class Call> result<T> make(Call call)
{
    C *out = nullptr;
    grpoalign_error why = grpoalign_error();
    grpoalign_status status = call(&out, &why);
    if (status < 0) {
        return failure(why);
    }
    return result<T>(T(adopt, out, status), status);
}

/* One call that fills n numbers. */
template <class Call> result<std::vector<double>> fill(std::int64_t n, Call call)
{
    std::vector<double> out(n > 0 ? static_cast<std::size_t>(n) : 1);
    grpoalign_error why = grpoalign_error();
    grpoalign_status status = call(out.data(), &why);
    if (status < 0) {
        return failure(why);
    }
    return result<std::vector<double>>(std::move(out), status);
}

/* One call that fills the caller's numbers. */
template <class Call> result<buffer> fill_buffer(buffer out, Call call)
{
    grpoalign_error why = grpoalign_error();
    grpoalign_status status = call(&why);
    if (status < 0) {
        return failure(why);
    }
    return result<buffer>(out, status);
}

/* One call that fills an n x n matrix. */
template <class Call> result<matrix> fill_matrix(std::int64_t n, Call call)
{
    matrix out(n > 0 ? static_cast<std::size_t>(n) : 1);
    grpoalign_error why = grpoalign_error();
    grpoalign_status status = call(out.data(), &why);
    if (status < 0) {
        return failure(why);
    }
    return result<matrix>(std::move(out), status);
}

/* One call that fills a number or a struct. */
template <class T, class Call> result<T> fill_one(T start, Call call)
{
    grpoalign_error why = grpoalign_error();
    grpoalign_status status = call(&start, &why);
    if (status < 0) {
        return failure(why);
    }
    return result<T>(start, status);
}

inline failure bad_argument(const char *message, std::int32_t argument) noexcept
{
    grpoalign_error record = grpoalign_error();
    record.status = GRPOALIGN_ERR_DIMENSION;
    record.argument = argument;
    record.index = -1;
    for (std::size_t i = 0; i + 1 < sizeof record.message && message[i] != '\0'; i++) {
        record.message[i] = message[i];
    }
    return failure(record);
}

/* The handles of several objects, one after the other. */
template <class C, class Object>
std::vector<const C *> handles(const std::vector<const Object *> &objects)
{
    std::vector<const C *> found;
    found.reserve(objects.size());
    for (const Object *object : objects) {
        found.push_back(object != nullptr ? object->get() : nullptr);
    }
    return found;
}

} // namespace detail

/* ---- Options and reports ------------------------------------------------------------------ */

using reward_options = detail::defaulted<grpoalign_reward_options, grpoalign_reward_options_init>;
using preference_options =
    detail::defaulted<grpoalign_preference_options, grpoalign_preference_options_init>;
using reference_options =
    detail::defaulted<grpoalign_reference_options, grpoalign_reference_options_init>;
using penalty_options =
    detail::defaulted<grpoalign_penalty_options, grpoalign_penalty_options_init>;
using problem_options =
    detail::defaulted<grpoalign_problem_options, grpoalign_problem_options_init>;
using solve_options = detail::defaulted<grpoalign_solve_options, grpoalign_solve_options_init>;
using flow_options = detail::defaulted<grpoalign_flow_options, grpoalign_flow_options_init>;
using inverse_options =
    detail::defaulted<grpoalign_inverse_options, grpoalign_inverse_options_init>;
using batch_options = detail::defaulted<grpoalign_batch_options, grpoalign_batch_options_init>;
using completions = detail::defaulted<grpoalign_completions, grpoalign_completions_init>;
using report = grpoalign_report;
using flow_state = grpoalign_flow_state;
using convention = grpoalign_convention;
using fit_report = grpoalign_fit_report;

enum class penalty_kind : std::int32_t {
    reverse_kl = GRPOALIGN_PENALTY_REVERSE_KL,
    direct_kl = GRPOALIGN_PENALTY_DIRECT_KL,
    none = GRPOALIGN_PENALTY_NONE,
    kl_in_reward = GRPOALIGN_PENALTY_KL_IN_REWARD,
    total_variation = GRPOALIGN_PENALTY_TOTAL_VARIATION,
    squared_log_ratio = GRPOALIGN_PENALTY_SQUARED_LOG_RATIO,
    chi_squared = GRPOALIGN_PENALTY_CHI_SQUARED,
    jensen_shannon = GRPOALIGN_PENALTY_JENSEN_SHANNON,
    alpha = GRPOALIGN_PENALTY_ALPHA,
    reverse_kl_clamped = GRPOALIGN_PENALTY_REVERSE_KL_CLAMPED,
    direct_kl_clamped = GRPOALIGN_PENALTY_DIRECT_KL_CLAMPED,
    sum = GRPOALIGN_PENALTY_SUM
};

enum class quantity : std::int32_t {
    kl_policy_ref = GRPOALIGN_QUANTITY_KL_POLICY_REF,
    kl_ref_policy = GRPOALIGN_QUANTITY_KL_REF_POLICY,
    entropy = GRPOALIGN_QUANTITY_ENTROPY,
    expected_reward = GRPOALIGN_QUANTITY_EXPECTED_REWARD,
    metric = GRPOALIGN_QUANTITY_METRIC
};

enum class input : std::int32_t {
    beta = GRPOALIGN_INPUT_BETA,
    coefficient = GRPOALIGN_INPUT_COEFFICIENT,
    entropy = GRPOALIGN_INPUT_ENTROPY,
    rewards = GRPOALIGN_INPUT_REWARDS,
    log_reference = GRPOALIGN_INPUT_LOG_REFERENCE,
    weights = GRPOALIGN_INPUT_WEIGHTS
};

/**
 * Has `watch`, a function of a const grpoalign_progress &, called while a call runs; it returns true
 * to stop it (GRPOALIGN_ERR_CANCELLED). It must outlive the call, and may throw: that stops the call,
 * too.
 */
template <class Options, class Watch> void on_progress(Options &options, Watch &watch) noexcept
{
    struct caller {
        static std::int32_t call(void *user, const grpoalign_progress *progress)
        {
#if GRPOALIGN_EXCEPTIONS
            try {
                return (*static_cast<Watch *>(user))(*progress) ? 1 : 0;
            } catch (...) {
                return 1;
            }
#else
            return (*static_cast<Watch *>(user))(*progress) ? 1 : 0;
#endif
        }
    };
    options.progress = &caller::call;
    options.user = &watch;
}

/* ---- The parts of a problem --------------------------------------------------------------- */

/** A reference policy; see reference.h. */
class reference : public detail::handle<grpoalign_reference, grpoalign_reference_free>
{
  public:
    /** Empty. */
    reference() noexcept = default;
    /** From probabilities. */
    explicit reference(numbers probabilities, const reference_options &options = {})
        : reference(try_of(probabilities, options).value())
    {
    }
    /** From logarithms of unnormalised probabilities. */
    static reference of_log(numbers logarithms, const reference_options &options = {})
    {
        return try_of_log(logarithms, options).value();
    }
    static reference uniform(std::int64_t n, const reference_options &options = {})
    {
        return try_uniform(n, options).value();
    }
    static result<reference> try_of(numbers probabilities, const reference_options &options = {})
    {
        return detail::make<reference, grpoalign_reference>(
            [&](grpoalign_reference **out, grpoalign_error *why) {
                return grpoalign_reference_new(probabilities.data(), probabilities.count(),
                                               &options, out, why);
            });
    }
    static result<reference> try_of_log(numbers logarithms, const reference_options &options = {})
    {
        return detail::make<reference, grpoalign_reference>(
            [&](grpoalign_reference **out, grpoalign_error *why) {
                return grpoalign_reference_new_log(logarithms.data(), logarithms.count(), &options,
                                                   out, why);
            });
    }
    static result<reference> try_uniform(std::int64_t n, const reference_options &options = {})
    {
        return detail::make<reference, grpoalign_reference>(
            [&](grpoalign_reference **out, grpoalign_error *why) {
                return grpoalign_reference_new_uniform(n, &options, out, why);
            });
    }

    std::int64_t outcomes() const noexcept
    {
        return grpoalign_reference_outcomes(get());
    }
    std::vector<double> probabilities() const
    {
        return try_probabilities().value();
    }
    result<std::vector<double>> try_probabilities() const
    {
        return detail::fill(outcomes(), [&](double *out, grpoalign_error *why) {
            return grpoalign_reference_probabilities(get(), out, outcomes(), why);
        });
    }
    /** Takes a handle of the C library over. */
    reference(adopt_t, grpoalign_reference *owned, grpoalign_status = GRPOALIGN_OK) noexcept
        : handle(owned)
    {
    }
};

/** A preference model; see model.h and compose.h. */
class model : public detail::handle<grpoalign_model, grpoalign_model_free>
{
  public:
    /** Empty. */
    model() noexcept = default;

    static model group(numbers rewards, std::int64_t group_size, const reward_options &options = {})
    {
        return try_group(rewards, group_size, options).value();
    }
    static result<model> try_group(numbers rewards, std::int64_t group_size,
                                   const reward_options &options = {})
    {
        return detail::make<model, grpoalign_model>(
            [&](grpoalign_model **out, grpoalign_error *why) {
                return grpoalign_model_new_group(rewards.data(), rewards.count(), group_size,
                                                 &options, out, why);
            });
    }

    /** Row o of the distribution is that of the reward of outcome o over the support. */
    static model group_random(numbers support, matrix_view distribution, std::int64_t group_size,
                              const reward_options &options = {})
    {
        return try_group_random(support, distribution, group_size, options).value();
    }
    static result<model> try_group_random(numbers support, matrix_view distribution,
                                          std::int64_t group_size,
                                          const reward_options &options = {})
    {
        if (distribution.columns() != support.size()) {
            return detail::bad_argument("the distribution must have a column for each reward", 3);
        }
        return detail::make<model, grpoalign_model>([&](grpoalign_model **out,
                                                        grpoalign_error *why) {
            return grpoalign_model_new_group_random(
                support.data(), support.count(), distribution.data(),
                static_cast<std::int64_t>(distribution.rows()),
                static_cast<std::int64_t>(distribution.stride()), group_size, &options, out, why);
        });
    }

    /** The limit of large groups; variances within the outcomes, or none. */
    static model limit(numbers rewards, const reward_options &options = {})
    {
        return try_limit(rewards, {}, options).value();
    }
    static model limit(numbers rewards, numbers variances, const reward_options &options = {})
    {
        return try_limit(rewards, variances, options).value();
    }
    static result<model> try_limit(numbers rewards, numbers variances = {},
                                   const reward_options &options = {})
    {
        if (!variances.empty() && variances.size() != rewards.size()) {
            return detail::bad_argument("there must be as many variances as rewards", 2);
        }
        return detail::make<model, grpoalign_model>(
            [&](grpoalign_model **out, grpoalign_error *why) {
                return grpoalign_model_new_limit(rewards.data(),
                                                 variances.empty() ? nullptr : variances.data(),
                                                 rewards.count(), &options, out, why);
            });
    }

    static model pairwise(matrix_view margins, const preference_options &options = {})
    {
        return try_pairwise(margins, options).value();
    }
    static result<model> try_pairwise(matrix_view margins, const preference_options &options = {})
    {
        if (margins.rows() != margins.columns()) {
            return detail::bad_argument("margins must be a square matrix", 2);
        }
        return detail::make<model, grpoalign_model>(
            [&](grpoalign_model **out, grpoalign_error *why) {
                return grpoalign_model_new_pairwise(
                    margins.data(), static_cast<std::int64_t>(margins.rows()),
                    static_cast<std::int64_t>(margins.stride()), &options, out, why);
            });
    }

    static model ranked(numbers rewards, const preference_options &options = {})
    {
        return try_ranked(rewards, options).value();
    }
    static result<model> try_ranked(numbers rewards, const preference_options &options = {})
    {
        return detail::make<model, grpoalign_model>([&](grpoalign_model **out,
                                                        grpoalign_error *why) {
            return grpoalign_model_new_ranked(rewards.data(), rewards.count(), &options, out, why);
        });
    }

    /** sum_k weights[k] models[k]; the sum keeps them alive. */
    static model sum(const std::vector<const model *> &models, numbers weights)
    {
        return try_sum(models, weights).value();
    }
    static result<model> try_sum(const std::vector<const model *> &models, numbers weights)
    {
        if (models.size() != weights.size()) {
            return detail::bad_argument("there must be as many weights as models", 2);
        }
        const std::vector<const grpoalign_model *> all = detail::handles<grpoalign_model>(models);
        return detail::make<model, grpoalign_model>([&](grpoalign_model **out,
                                                        grpoalign_error *why) {
            return grpoalign_model_new_sum(all.data(), weights.data(), weights.count(), out, why);
        });
    }

    std::int64_t outcomes() const noexcept
    {
        return grpoalign_model_outcomes(get());
    }
    std::vector<double> advantage(numbers policy) const
    {
        return try_advantage(policy).value();
    }
    result<std::vector<double>> try_advantage(numbers policy) const
    {
        return detail::fill(policy.count(), [&](double *out, grpoalign_error *why) {
            return grpoalign_model_advantage(get(), policy.data(), policy.count(), out, why);
        });
    }
    void advantage(numbers policy, buffer out) const
    {
        (void)try_advantage(policy, out).value();
    }
    result<buffer> try_advantage(numbers policy, buffer out) const
    {
        if (out.size() != policy.size()) {
            return detail::bad_argument("there must be room for as many advantages", 4);
        }
        return detail::fill_buffer(out, [&](grpoalign_error *why) {
            return grpoalign_model_advantage(get(), policy.data(), policy.count(), out.data(), why);
        });
    }
    matrix jacobian(numbers policy) const
    {
        return try_jacobian(policy).value();
    }
    result<matrix> try_jacobian(numbers policy) const
    {
        return detail::fill_matrix(policy.count(), [&](double *out, grpoalign_error *why) {
            return grpoalign_model_jacobian(get(), policy.data(), policy.count(), out,
                                            policy.count(), why);
        });
    }
    /** Takes a handle of the C library over. */
    model(adopt_t, grpoalign_model *owned, grpoalign_status = GRPOALIGN_OK) noexcept : handle(owned)
    {
    }
};

/** A penalty; see penalty.h and compose.h. */
class penalty : public detail::handle<grpoalign_penalty, grpoalign_penalty_free>
{
  public:
    /** Empty. */
    penalty() noexcept = default;
    explicit penalty(penalty_kind kind, const penalty_options &options = {})
        : penalty(try_of(kind, options).value())
    {
    }
    /** The alpha divergence. */
    static penalty alpha(double order)
    {
        penalty_options options;
        options.alpha = order;
        return penalty(penalty_kind::alpha, options);
    }
    static result<penalty> try_of(penalty_kind kind, const penalty_options &options = {})
    {
        return detail::make<penalty, grpoalign_penalty>(
            [&](grpoalign_penalty **out, grpoalign_error *why) {
                return grpoalign_penalty_new(static_cast<std::int32_t>(kind), &options, out, why);
            });
    }

    /** sum_i coefficients[i] penalties[i]. */
    static penalty sum(const std::vector<const penalty *> &penalties, numbers coefficients)
    {
        return try_sum(penalties, coefficients).value();
    }
    static result<penalty> try_sum(const std::vector<const penalty *> &penalties,
                                   numbers coefficients)
    {
        if (penalties.size() != coefficients.size()) {
            return detail::bad_argument("there must be as many coefficients as penalties", 2);
        }
        const std::vector<const grpoalign_penalty *> all =
            detail::handles<grpoalign_penalty>(penalties);
        return detail::make<penalty, grpoalign_penalty>(
            [&](grpoalign_penalty **out, grpoalign_error *why) {
                return grpoalign_penalty_new_sum(all.data(), coefficients.data(),
                                                 coefficients.count(), out, why);
            });
    }

    /** A penalty at every token of completions. */
    static penalty per_token(const penalty &base, const completions &how)
    {
        return try_per_token(base, how).value();
    }
    static result<penalty> try_per_token(const penalty &base, const completions &how)
    {
        return detail::make<penalty, grpoalign_penalty>(
            [&](grpoalign_penalty **out, grpoalign_error *why) {
                return grpoalign_penalty_new_per_token(base.get(), &how, out, why);
            });
    }

    /** The kind; 0, which is none of them, for an empty penalty. */
    penalty_kind kind() const noexcept
    {
        return static_cast<penalty_kind>(grpoalign_penalty_kind(get()));
    }
    const char *name() const noexcept
    {
        return grpoalign_penalty_name(grpoalign_penalty_kind(get()));
    }
    const char *formula() const noexcept
    {
        return grpoalign_penalty_formula(grpoalign_penalty_kind(get()));
    }

    /** The policy that answers to fixed advantages. */
    std::vector<double> respond(const reference &before, double beta, numbers advantage) const
    {
        return try_respond(before, beta, advantage).value();
    }
    result<std::vector<double>> try_respond(const reference &before, double beta,
                                            numbers advantage) const
    {
        return detail::fill(advantage.count(), [&](double *out, grpoalign_error *why) {
            return grpoalign_penalty_respond(get(), before.get(), beta, advantage.data(),
                                             advantage.count(), out, nullptr, why);
        });
    }
    void respond(const reference &before, double beta, numbers advantage, buffer out) const
    {
        (void)try_respond(before, beta, advantage, out).value();
    }
    result<buffer> try_respond(const reference &before, double beta, numbers advantage,
                               buffer out) const
    {
        if (out.size() != advantage.size()) {
            return detail::bad_argument("there must be room for as many probabilities", 6);
        }
        return detail::fill_buffer(out, [&](grpoalign_error *why) {
            return grpoalign_penalty_respond(get(), before.get(), beta, advantage.data(),
                                             advantage.count(), out.data(), nullptr, why);
        });
    }
    double divergence(const reference &before, numbers policy) const
    {
        return try_divergence(before, policy).value();
    }
    result<double> try_divergence(const reference &before, numbers policy) const
    {
        return detail::fill_one(0.0, [&](double *out, grpoalign_error *why) {
            return grpoalign_penalty_divergence(get(), before.get(), policy.data(), policy.count(),
                                                out, why);
        });
    }
    /** The advantages that a policy implies, if it is stationary. */
    std::vector<double> implied(const reference &before, numbers policy, double beta) const
    {
        return try_implied(before, policy, beta).value();
    }
    result<std::vector<double>> try_implied(const reference &before, numbers policy,
                                            double beta) const
    {
        return detail::fill(policy.count(), [&](double *out, grpoalign_error *why) {
            return grpoalign_penalty_implied(get(), before.get(), policy.data(), policy.count(),
                                             beta, out, why);
        });
    }
    /** Takes a handle of the C library over. */
    penalty(adopt_t, grpoalign_penalty *owned, grpoalign_status = GRPOALIGN_OK) noexcept
        : handle(owned)
    {
    }
};

/* ---- Solutions ---------------------------------------------------------------------------- */

namespace detail
{
/* What a solution tells, whoever owns it. */
template <class Self> class told
{
  public:
    std::int64_t outcomes() const noexcept
    {
        return grpoalign_solution_outcomes(c());
    }
    std::vector<double> policy() const
    {
        return try_policy().value();
    }
    void policy(buffer out) const
    {
        (void)try_policy(out).value();
    }
    result<buffer> try_policy(buffer out) const
    {
        return fill_buffer(out, [&](grpoalign_error *why) {
            return grpoalign_solution_policy(c(), out.data(), out.count(), why);
        });
    }
    result<std::vector<double>> try_policy() const
    {
        return fill(outcomes(), [&](double *out, grpoalign_error *why) {
            return grpoalign_solution_policy(c(), out, outcomes(), why);
        });
    }
    std::vector<double> log_policy() const
    {
        return try_log_policy().value();
    }
    void log_policy(buffer out) const
    {
        (void)try_log_policy(out).value();
    }
    result<buffer> try_log_policy(buffer out) const
    {
        return fill_buffer(out, [&](grpoalign_error *why) {
            return grpoalign_solution_log_policy(c(), out.data(), out.count(), why);
        });
    }
    result<std::vector<double>> try_log_policy() const
    {
        return fill(outcomes(), [&](double *out, grpoalign_error *why) {
            return grpoalign_solution_log_policy(c(), out, outcomes(), why);
        });
    }
    std::vector<double> advantage() const
    {
        return try_advantage().value();
    }
    void advantage(buffer out) const
    {
        (void)try_advantage(out).value();
    }
    result<buffer> try_advantage(buffer out) const
    {
        return fill_buffer(out, [&](grpoalign_error *why) {
            return grpoalign_solution_advantage(c(), out.data(), out.count(), why);
        });
    }
    result<std::vector<double>> try_advantage() const
    {
        return fill(outcomes(), [&](double *out, grpoalign_error *why) {
            return grpoalign_solution_advantage(c(), out, outcomes(), why);
        });
    }
    grpoalign_report report() const
    {
        return try_report().value();
    }
    result<grpoalign_report> try_report() const
    {
        return fill_one(to_fill<grpoalign_report>(),
                        [&](grpoalign_report *out, grpoalign_error *why) {
                            return grpoalign_solution_report(c(), out, why);
                        });
    }

  private:
    const grpoalign_solution *c() const noexcept
    {
        return static_cast<const Self *>(this)->get();
    }
};
} // namespace detail

/** A solution that a list or a flow owns, and lends as long as it lives. */
class solution_view : public detail::told<solution_view>
{
  public:
    solution_view() noexcept : pointer_(nullptr)
    {
    }
    solution_view(const grpoalign_solution *lent) noexcept : pointer_(lent)
    {
    }
    const grpoalign_solution *get() const noexcept
    {
        return pointer_;
    }
    explicit operator bool() const noexcept
    {
        return pointer_ != nullptr;
    }

  private:
    const grpoalign_solution *pointer_;
};

/** A stationary policy; see solve.h. */
class solution : public detail::handle<grpoalign_solution, grpoalign_solution_free>,
                 public detail::told<solution>
{
  public:
    /** Empty. */
    solution() noexcept : status_(GRPOALIGN_OK)
    {
    }
    /** Takes a handle of the C library over, with the status that came with it. */
    solution(adopt_t, grpoalign_solution *owned, grpoalign_status status = GRPOALIGN_OK) noexcept
        : handle(owned), status_(status)
    {
    }
    /** What the call returned that made it, >= 0: GRPOALIGN_OK, GRPOALIGN_NOT_UNIQUE, ... */
    grpoalign_status status() const noexcept
    {
        return status_;
    }
    operator solution_view() const noexcept
    {
        return solution_view(get());
    }

  private:
    grpoalign_status status_;
};

/** A list of solutions, which it owns; see points.h. */
class points : public detail::handle<grpoalign_points, grpoalign_points_free>
{
  public:
    class iterator
    {
      public:
        using iterator_category = std::input_iterator_tag;
        using value_type = solution_view;
        using difference_type = std::ptrdiff_t;
        using pointer = const solution_view *;
        using reference = solution_view;
        iterator(const grpoalign_points *list, std::int64_t k) noexcept : list_(list), k_(k)
        {
        }
        solution_view operator*() const noexcept
        {
            return grpoalign_points_solution(list_, k_);
        }
        iterator &operator++() noexcept
        {
            ++k_;
            return *this;
        }
        iterator operator++(int) noexcept
        {
            iterator before = *this;
            ++k_;
            return before;
        }
        bool operator==(const iterator &other) const noexcept
        {
            return k_ == other.k_;
        }
        bool operator!=(const iterator &other) const noexcept
        {
            return k_ != other.k_;
        }

      private:
        const grpoalign_points *list_;
        std::int64_t k_;
    };

    /** Empty. */
    points() noexcept = default;
    std::size_t size() const noexcept
    {
        return static_cast<std::size_t>(grpoalign_points_count(get()));
    }
    bool empty() const noexcept
    {
        return size() == 0;
    }
    /** Solution k, lent; empty beyond the last. */
    solution_view operator[](std::size_t k) const noexcept
    {
        return grpoalign_points_solution(get(), static_cast<std::int64_t>(k));
    }
    iterator begin() const noexcept
    {
        return iterator(get(), 0);
    }
    iterator end() const noexcept
    {
        return iterator(get(), grpoalign_points_count(get()));
    }
    /** Proved to be all. */
    bool complete() const noexcept
    {
        return grpoalign_points_complete(get()) == 1;
    }
    /** The index of the one that the reference leads to, or -1. */
    std::int64_t from_reference() const noexcept
    {
        return grpoalign_points_from_reference(get());
    }
    /** Takes a handle of the C library over. */
    points(adopt_t, grpoalign_points *owned, grpoalign_status = GRPOALIGN_OK) noexcept
        : handle(owned)
    {
    }
};

/** The way of training to its end; see flow.h. */
class flow : public detail::handle<grpoalign_flow, grpoalign_flow_free>
{
  public:
    /** Empty. */
    flow() noexcept : status_(GRPOALIGN_OK)
    {
    }
    std::size_t size() const noexcept
    {
        return static_cast<std::size_t>(grpoalign_flow_count(get()));
    }
    flow_state state(std::size_t k) const
    {
        return try_state(k).value();
    }
    result<flow_state> try_state(std::size_t k) const
    {
        return detail::fill_one(
            detail::to_fill<flow_state>(), [&](flow_state *out, grpoalign_error *why) {
                return grpoalign_flow_state_at(get(), static_cast<std::int64_t>(k), out, why);
            });
    }
    std::vector<double> policy(std::size_t k) const
    {
        return try_policy(k).value();
    }
    result<std::vector<double>> try_policy(std::size_t k) const
    {
        return detail::fill(outcomes_, [&](double *out, grpoalign_error *why) {
            return grpoalign_flow_policy_at(get(), static_cast<std::int64_t>(k), out, outcomes_,
                                            why);
        });
    }
    /** Where it ends, lent; empty where time or steps were over before. */
    solution_view end() const noexcept
    {
        return grpoalign_flow_end(get());
    }
    /** What the call returned that made it. */
    grpoalign_status status() const noexcept
    {
        return status_;
    }
    /** Takes a handle of the C library over: a flow of a problem with so many outcomes. */
    flow(adopt_t, grpoalign_flow *owned, grpoalign_status status, std::int64_t outcomes) noexcept
        : handle(owned), outcomes_(outcomes), status_(status)
    {
    }

  private:
    std::int64_t outcomes_ = 0;
    grpoalign_status status_;
};

/* ---- Derivatives -------------------------------------------------------------------------- */

/** From d loss/d pi to d loss by all that the policy depends on. */
struct gradient {
    double beta = 0.0;
    std::vector<double> rewards, log_reference, weights;
};

/** The derivatives of a solution; see sensitivity.h. */
class sensitivity : public detail::handle<grpoalign_sensitivity, grpoalign_sensitivity_free>
{
  public:
    /** Empty. */
    sensitivity() noexcept = default;
    std::int64_t outcomes() const noexcept
    {
        return outcomes_;
    }
    /** d pi by beta. */
    std::vector<double> by_beta() const
    {
        return vector(input::beta);
    }
    /** d pi by one number. */
    std::vector<double> vector(input by, std::int64_t index = 0) const
    {
        return try_vector(by, index).value();
    }
    result<std::vector<double>> try_vector(input by, std::int64_t index = 0) const
    {
        return detail::fill(outcomes_, [&](double *out, grpoalign_error *why) {
            return grpoalign_sensitivity_vector(get(), static_cast<std::int32_t>(by), index, out,
                                                outcomes_, why);
        });
    }
    /** d pi_o by x_j: row o, column j. */
    grpoalign::matrix matrix(input by) const
    {
        return try_matrix(by).value();
    }
    result<grpoalign::matrix> try_matrix(input by) const
    {
        return detail::fill_matrix(outcomes_, [&](double *out, grpoalign_error *why) {
            return grpoalign_sensitivity_matrix(get(), static_cast<std::int32_t>(by), out,
                                                outcomes_, outcomes_, why);
        });
    }
    /** The vector-Jacobian product: by beta, the reference and the weights, and by the rewards where
     *  each outcome has one. */
    gradient vjp(numbers cotangent) const
    {
        return try_vjp(cotangent).value();
    }
    result<gradient> try_vjp(numbers cotangent) const
    {
        gradient out;
        grpoalign_gradient into;
        grpoalign_error why = grpoalign_error();
        grpoalign_gradient_init(&into, static_cast<std::uint32_t>(sizeof into));
        const std::size_t n = outcomes_ > 0 ? static_cast<std::size_t>(outcomes_) : 1;
        out.rewards.resize(n);
        out.log_reference.resize(n);
        out.weights.resize(n);
        into.rewards = out.rewards.data();
        into.log_reference = out.log_reference.data();
        into.weights = out.weights.data();
        grpoalign_status status =
            grpoalign_sensitivity_vjp(get(), cotangent.data(), cotangent.count(), &into, &why);
        if (status == GRPOALIGN_ERR_UNSUPPORTED) {
            out.rewards.clear();
            into.rewards = nullptr;
            status =
                grpoalign_sensitivity_vjp(get(), cotangent.data(), cotangent.count(), &into, &why);
        }
        if (status < 0) {
            return failure(why);
        }
        out.beta = into.beta;
        return result<gradient>(std::move(out), status);
    }
    /** Takes a handle of the C library over: of a problem with so many outcomes. */
    sensitivity(adopt_t, grpoalign_sensitivity *owned, std::int64_t outcomes) noexcept
        : handle(owned), outcomes_(outcomes)
    {
    }

  private:
    std::int64_t outcomes_ = 0;
};

/* ---- Problems ----------------------------------------------------------------------------- */

/** A solution, and the beta that explains what was observed. */
struct fitted {
    grpoalign::solution solution;
    fit_report fit = fit_report();
};

/** Model, penalty and reference joined; see problem.h. */
class problem : public detail::handle<grpoalign_problem, grpoalign_problem_free>
{
  public:
    /** Empty. */
    problem() noexcept = default;
    problem(const model &rewards, const penalty &held_by, const reference &before,
            const problem_options &options = {})
        : problem(try_of(rewards, held_by, before, options).value())
    {
    }
    static result<problem> try_of(const model &rewards, const penalty &held_by,
                                  const reference &before, const problem_options &options = {})
    {
        return detail::make<problem, grpoalign_problem>(
            [&](grpoalign_problem **out, grpoalign_error *why) {
                return grpoalign_problem_new(rewards.get(), held_by.get(), before.get(), &options,
                                             out, why);
            });
    }
    std::int64_t outcomes() const noexcept
    {
        return grpoalign_problem_outcomes(get());
    }

    /** The stationary policy that the reference leads to. */
    solution solve(double beta, const solve_options &options = {}) const
    {
        return try_solve(beta, options).value();
    }
    result<solution> try_solve(double beta, const solve_options &options = {}) const
    {
        return detail::make<solution, grpoalign_solution>(
            [&](grpoalign_solution **out, grpoalign_error *why) {
                return grpoalign_solve(get(), beta, &options, out, why);
            });
    }

    /** All stationary policies. */
    points solve_all(double beta, const solve_options &options = {}) const
    {
        return try_solve_all(beta, options).value();
    }
    result<points> try_solve_all(double beta, const solve_options &options = {}) const
    {
        return detail::make<points, grpoalign_points>(
            [&](grpoalign_points **out, grpoalign_error *why) {
                return grpoalign_points_new(get(), beta, &options, out, why);
            });
    }
    points folds(double low, double high, const solve_options &options = {}) const
    {
        return try_folds(low, high, options).value();
    }
    result<points> try_folds(double low, double high, const solve_options &options = {}) const
    {
        return detail::make<points, grpoalign_points>(
            [&](grpoalign_points **out, grpoalign_error *why) {
                return grpoalign_points_new_folds(get(), low, high, &options, out, why);
            });
    }
    points curve(double low, double high, double resolution,
                 const solve_options &options = {}) const
    {
        return try_curve(low, high, resolution, options).value();
    }
    result<points> try_curve(double low, double high, double resolution,
                             const solve_options &options = {}) const
    {
        return detail::make<points, grpoalign_points>(
            [&](grpoalign_points **out, grpoalign_error *why) {
                return grpoalign_points_new_curve(get(), low, high, resolution, &options, out, why);
            });
    }
    /** The stationary policies that the reference leads to at several betas. */
    points path(numbers betas, const solve_options &options = {}) const
    {
        return try_path(betas, options).value();
    }
    result<points> try_path(numbers betas, const solve_options &options = {}) const
    {
        return detail::make<points, grpoalign_points>(
            [&](grpoalign_points **out, grpoalign_error *why) {
                return grpoalign_points_new_path(get(), betas.data(), betas.count(), &options, out,
                                                 why);
            });
    }
    double critical_beta(const solve_options &options = {}) const
    {
        return try_critical_beta(options).value();
    }
    result<double> try_critical_beta(const solve_options &options = {}) const
    {
        return detail::fill_one(0.0, [&](double *out, grpoalign_error *why) {
            return grpoalign_critical_beta(get(), &options, out, why);
        });
    }

    /** Follows training to its end. */
    flow follow(double beta, const flow_options &options = {}) const
    {
        return try_follow(beta, options).value();
    }
    result<flow> try_follow(double beta, const flow_options &options = {}) const
    {
        grpoalign_flow *out = nullptr;
        grpoalign_error why = grpoalign_error();
        grpoalign_status status = grpoalign_flow_new(get(), beta, &options, &out, &why);
        if (status < 0) {
            return failure(why);
        }
        return result<flow>(flow(adopt, out, status, outcomes()), status);
    }

    /** The largest beta at which a quantity reaches a target, with the solution there. */
    solution tune(quantity what, double target, const inverse_options &options = {}) const
    {
        return try_tune(what, target, options).value();
    }
    result<solution> try_tune(quantity what, double target,
                              const inverse_options &options = {}) const
    {
        return detail::make<solution, grpoalign_solution>(
            [&](grpoalign_solution **out, grpoalign_error *why) {
                return grpoalign_tune(get(), static_cast<std::int32_t>(what), nullptr, 0, target,
                                      &options, out, why);
            });
    }
    /** The same of a metric, one value per outcome. */
    solution tune(numbers metric, double target, const inverse_options &options = {}) const
    {
        return try_tune(metric, target, options).value();
    }
    result<solution> try_tune(numbers metric, double target,
                              const inverse_options &options = {}) const
    {
        return detail::make<solution, grpoalign_solution>(
            [&](grpoalign_solution **out, grpoalign_error *why) {
                return grpoalign_tune(get(), GRPOALIGN_QUANTITY_METRIC, metric.data(),
                                      metric.count(), target, &options, out, why);
            });
    }
    /** The beta that explains how often each outcome was observed. */
    fitted fit(numbers observed, const inverse_options &options = {}) const
    {
        return try_fit(observed, options).value();
    }
    result<fitted> try_fit(numbers observed, const inverse_options &options = {}) const
    {
        fitted found;
        grpoalign_solution *out = nullptr;
        grpoalign_error why = grpoalign_error();
        found.fit = detail::to_fill<fit_report>();
        grpoalign_status status = grpoalign_fit(get(), observed.data(), observed.count(), &options,
                                                &out, &found.fit, &why);
        if (status < 0) {
            return failure(why);
        }
        found.solution = solution(adopt, out, status);
        return result<fitted>(std::move(found), status);
    }

    /** The derivatives of a solution of this problem. */
    sensitivity differentiate(solution_view at) const
    {
        return try_differentiate(at).value();
    }
    result<sensitivity> try_differentiate(solution_view at) const
    {
        grpoalign_sensitivity *out = nullptr;
        grpoalign_error why = grpoalign_error();
        grpoalign_status status = grpoalign_sensitivity_new(get(), at.get(), &out, &why);
        if (status < 0) {
            return failure(why);
        }
        return result<sensitivity>(sensitivity(adopt, out, outcomes()), status);
    }
    /** Takes a handle of the C library over. */
    problem(adopt_t, grpoalign_problem *owned, grpoalign_status = GRPOALIGN_OK) noexcept
        : handle(owned)
    {
    }
};

/* ---- Batches and presets ------------------------------------------------------------------ */

/** Solution k for context k, and the std that they share. */
struct batch {
    grpoalign::points points;
    double std = 0.0;
    grpoalign_status status = GRPOALIGN_OK;
};

/** The stationary policies of contexts that are trained under one std; see batch.h. */
inline result<batch> try_solve_batch(const std::vector<const problem *> &problems, double beta,
                                     const batch_options &together = {},
                                     const solve_options &options = {})
{
    batch found;
    grpoalign_points *out = nullptr;
    grpoalign_error why = grpoalign_error();
    const std::vector<const grpoalign_problem *> all = detail::handles<grpoalign_problem>(problems);
    found.status = grpoalign_points_new_batch(all.data(), static_cast<std::int64_t>(all.size()),
                                              beta, &together, &options, &out, &found.std, &why);
    if (found.status < 0) {
        return failure(why);
    }
    found.points = points(adopt, out);
    const grpoalign_status status = found.status;
    return result<batch>(std::move(found), status);
}
inline batch solve_batch(const std::vector<const problem *> &problems, double beta,
                         const batch_options &together = {}, const solve_options &options = {})
{
    return try_solve_batch(problems, beta, together, options).value();
}

/** What a trainer computes, by its name, such as "trl-1.10"; see preset.h. */
inline result<convention> try_preset(const char *name)
{
    return detail::fill_one(
        detail::to_fill<convention>(),
        [&](convention *out, grpoalign_error *why) { return grpoalign_preset(name, out, why); });
}
inline convention preset(const char *name)
{
    return try_preset(name).value();
}

} // namespace grpoalign

#endif
