#include "kernels/finish.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

inline double double_of(std::uint64_t bits) {
    double value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

/// The compiler would make a branch of ?:, and no vectors of branches.
inline double zero_unless(bool condition, double x) {
    std::uint64_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return double_of(bits & (0u - static_cast<std::uint64_t>(condition)));
}

// Integers become doubles by way of the bits, since instruction sets before AVX-512 have no vectors of that
// for 64 bits: below the first bit of 2^84 and of 2^52 lie those of 32-bit integers, times 2^32 and times 1.
inline double upper_half(std::uint64_t x) { return double_of(x >> 32 | 0x4530000000000000u) - 0x1p84; }
inline double lower_half(std::uint64_t x) {
    return double_of((x & 0xFFFFFFFFu) | 0x4330000000000000u) - 0x1p52;
}

/// A signed integer, rounded once, as the bits of its two's complement.
inline double signed_value(std::uint64_t x) {
    return (upper_half(x ^ 0x8000000000000000u) - 0x1p63) + lower_half(x);
}

template <std::size_t sets>
struct Integers {
    static double sum(const Sums* sums, std::size_t i) {
        std::uint64_t sum = 0;
        for (std::size_t k = 0; k < sets; ++k) sum += static_cast<std::uint64_t>(sums[k].sum[i]);
        return signed_value(sum);
    }

    /// |sum| < 2^48, so both operands are exact and the quotient is rounded once.
    static double mean(const Sums* sums, std::size_t i, double n) { return sum(sums, i) / n; }

    /// n * sum(x^2) - sum(x)^2, exactly: the products are below 2^96, so that what their high parts leave
    /// are integers below 2^44.
    static DoubleDouble scatter(const Sums* sums, std::size_t i, double n) {
        std::uint64_t x = 0;
        for (std::size_t k = 0; k < sets; ++k) x += sums[k].squares[i];
        const double s = sum(sums, i);
        const DoubleDouble squares = fast_two_sum(upper_half(x), lower_half(x));
        const DoubleDouble a = two_product(n, squares.high);
        const DoubleDouble b = two_product(s, s);
        const DoubleDouble high = two_sum(a.high, -b.high);
        const DoubleDouble scatter = two_sum(high.high, high.low + ((a.low + n * squares.low) - b.low));
        // Below 0 only if the user took away what he never added.
        return {zero_unless(scatter.high > 0.0, scatter.high), zero_unless(scatter.high > 0.0, scatter.low)};
    }
};

template <std::size_t sets>
struct Floats {
    static DoubleDouble sum(const Sums* sums, std::size_t i) {
        DoubleDouble sum{sums[0].sum_high[i], sums[0].sum_low[i]};
        if constexpr (sets == 2) sum = add(sum, DoubleDouble{sums[1].sum_high[i], sums[1].sum_low[i]});
        return sum;
    }

    static DoubleDouble squares(const Sums* sums, std::size_t i) {
        DoubleDouble sum{sums[0].squares_high[i], sums[0].squares_low[i]};
        if constexpr (sets == 2)
            sum = add(sum, DoubleDouble{sums[1].squares_high[i], sums[1].squares_low[i]});
        return sum;
    }

    static double mean(const Sums* sums, std::size_t i, double n) {
        return divide(sum(sums, i), {n, 0.0}).high;
    }

    /// n * sum(x^2) - sum(x)^2. Each product is within 2^-102 of itself.
    static DoubleDouble scatter(const Sums* sums, std::size_t i, double n) {
        const DoubleDouble s = sum(sums, i);
        const DoubleDouble a = multiply(squares(sums, i), {n, 0.0});
        const DoubleDouble scatter = add(a, negate(multiply(s, s)));
        // The sums are rounded at 2^-105 of themselves with every frame, also with those that were taken
        // away again: what is below that is no scatter. 2^-80 is a sigma of 1e-12 of the mean.
        const double resolution = (0x1p-80 + n * 0x1p-104) * a.high;
        const bool resolved = scatter.high > resolution;
        return {zero_unless(resolved, scatter.high), zero_unless(resolved, scatter.low)};
    }
};

inline double square_root(DoubleDouble a) {
    const double s = __builtin_sqrt(a.high);
    const DoubleDouble r = add(a, negate(two_product(s, s)));
    const double root = s + r.high / (2.0 * s);
    return zero_unless(a.high > 0.0, root);
}

template <class Kind>
void mean(const Sums* sums, std::size_t pixels, const Divisors& divisors, double* __restrict out) noexcept {
    const double n = divisors.count;
    for (std::size_t i = 0; i < pixels; ++i) out[i] = Kind::mean(sums, i, n);
}

template <class Kind>
void variance(const Sums* sums, std::size_t pixels, const Divisors& divisors,
              double* __restrict out) noexcept {
    const Divisors d = divisors;
    for (std::size_t i = 0; i < pixels; ++i) out[i] = divide(Kind::scatter(sums, i, d.count), d.pairs).high;
}

template <class Kind>
void deviation(const Sums* sums, std::size_t pixels, const Divisors& divisors,
               double* __restrict out) noexcept {
    const Divisors d = divisors;
    for (std::size_t i = 0; i < pixels; ++i)
        out[i] = square_root(divide(Kind::scatter(sums, i, d.count), d.pairs));
}

/// Partial sums by place modulo `lanes`: the same bits whatever the width of the vectors.
constexpr std::size_t lanes = 8;

struct PartialSums {
    double high[lanes] = {};
    double low[lanes] = {};

    void add(std::size_t j, double x) {
        const DoubleDouble s = two_sum(high[j], x);
        high[j] = s.high;
        low[j] += s.low;
    }

    DoubleDouble total() const {
        DoubleDouble sum{0.0, 0.0};
        for (std::size_t j = 0; j < lanes; ++j) sum = detail::add(sum, two_sum(high[j], low[j]));
        return sum;
    }
};

TargetSums targets(const double* mean, const double* sigma, std::size_t pixels) noexcept {
    PartialSums means;
    PartialSums sigmas;
    double good[lanes] = {};
    const auto add_lane = [&](std::size_t j, std::size_t i) {
        const bool changes = sigma[i] > 0.0;
        means.add(j, zero_unless(changes, mean[i]));
        sigmas.add(j, zero_unless(changes, sigma[i]));
        good[j] += zero_unless(changes, 1.0);
    };
    std::size_t i = 0;
    for (; i + lanes <= pixels; i += lanes)
        for (std::size_t j = 0; j < lanes; ++j) add_lane(j, i + j);
    for (std::size_t j = 0; i + j < pixels; ++j) add_lane(j, i + j);
    TargetSums sums{means.total(), sigmas.total(), 0.0};
    for (std::size_t j = 0; j < lanes; ++j) sums.pixels += good[j];
    return sums;
}

template <class Kind>
constexpr ImageKernels images_of = {mean<Kind>, variance<Kind>, deviation<Kind>};

}  // namespace

const FinishKernels finish_kernels = {
    {images_of<Integers<1>>, images_of<Integers<2>>},
    {images_of<Floats<1>>, images_of<Floats<2>>},
    targets,
};

}  // namespace camnorm::detail::CAMNORM_ISA
