#include "kernels/moments.hpp"

#include "double_double.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

template <class T>
inline T load(const std::byte* x, std::size_t i) {
    T value;
    __builtin_memcpy(&value, x + i * sizeof(T), sizeof(T));
    return value;
}

template <class T, class Square>
void add_integer(const std::byte* x, std::size_t n, std::int32_t* sums, Square* squares) noexcept {
    for (std::size_t i = 0; i < n; ++i) {
        const std::int32_t v = load<T>(x, i);
        sums[i] += v;
        // |v| <= 65535: the square fits 32 bits without a sign.
        squares[i] += static_cast<std::uint32_t>(v) * static_cast<std::uint32_t>(v);
    }
}

template <class T>
IntegerBlock block_integer(const std::byte* x, std::size_t n) noexcept {
    // Of at most block_pixels values: the sum fits 32 bits.
    std::int32_t sum = 0;
    std::uint64_t squares = 0;
    T min = load<T>(x, 0);
    T max = min;
    for (std::size_t i = 0; i < n; ++i) sum += load<T>(x, i);
    for (std::size_t i = 0; i < n; ++i) {
        const std::int32_t v = load<T>(x, i);
        const std::uint32_t square = static_cast<std::uint32_t>(v) * static_cast<std::uint32_t>(v);
        squares += square;
    }
    for (std::size_t i = 0; i < n; ++i) {
        const T v = load<T>(x, i);
        min = v < min ? v : min;
        max = v > max ? v : max;
    }
    return {sum, squares, min, max};
}

/// x^2 exactly. That of a float32 fits a double.
template <class T>
inline DoubleDouble square(double x) {
    return two_product(x, x);
}
template <>
inline DoubleDouble square<float>(double x) {
    return {x * x, 0.0};
}

template <class T>
void add_float(const std::byte* x, std::size_t n, double sign, double* sum_high, double* sum_low,
               double* squares_high, double* squares_low) noexcept {
    for (std::size_t i = 0; i < n; ++i) {
        const auto v = static_cast<double>(load<T>(x, i));
        const DoubleDouble s = add({sum_high[i], sum_low[i]}, sign * v);
        sum_high[i] = s.high;
        sum_low[i] = s.low;
        const DoubleDouble p = square<T>(v);
        const DoubleDouble q =
            add({squares_high[i], squares_low[i]}, DoubleDouble{sign * p.high, sign * p.low});
        squares_high[i] = q.high;
        squares_low[i] = q.low;
    }
}

/// Partial results by pixel number modulo 16: the same lanes, so the same bits, whatever the width
/// of the vectors.
constexpr std::size_t lanes = 16;

inline double total(double* partial) {
    for (std::size_t width = lanes / 2; width > 0; width /= 2)
        for (std::size_t j = 0; j < width; ++j) partial[j] += partial[j + width];
    return partial[0];
}

template <class T>
FloatBlock block_float(const std::byte* x, std::size_t n) noexcept {
    double sums[lanes] = {};
    double low[lanes];
    double high[lanes];
    double residue[lanes] = {};  // stays 0 as long as all pixels are finite
    const auto first = static_cast<double>(load<T>(x, 0));
    for (std::size_t j = 0; j < lanes; ++j) low[j] = high[j] = first;
    const auto pass = [&](std::size_t i, std::size_t j) {
        const auto v = static_cast<double>(load<T>(x, i + j));
        sums[j] += v;
        low[j] = v < low[j] ? v : low[j];
        high[j] = v > high[j] ? v : high[j];
        residue[j] += v - v;
    };
    const std::size_t whole = n - n % lanes;
    for (std::size_t i = 0; i < whole; i += lanes)
        for (std::size_t j = 0; j < lanes; ++j) pass(i, j);
    for (std::size_t j = 0; j < n - whole; ++j) pass(whole, j);

    FloatBlock block{total(sums), 0.0, low[0], high[0], total(residue) == 0.0};
    for (std::size_t j = 1; j < lanes; ++j) {
        block.min = low[j] < block.min ? low[j] : block.min;
        block.max = high[j] > block.max ? high[j] : block.max;
    }

    const double mean = block.sum / static_cast<double>(n);
    double squares[lanes] = {};
    double rest[lanes] = {};
    const auto second_pass = [&](std::size_t i, std::size_t j) {
        const double d = static_cast<double>(load<T>(x, i + j)) - mean;
        squares[j] += d * d;
        rest[j] += d;
    };
    for (std::size_t i = 0; i < whole; i += lanes)
        for (std::size_t j = 0; j < lanes; ++j) second_pass(i, j);
    for (std::size_t j = 0; j < n - whole; ++j) second_pass(whole, j);
    // The rounded mean's error taken out: Chan, Golub & LeVeque, Am. Stat. 37, 242 (1983), Eq. (1.7).
    const double r = total(rest);
    block.sum_of_squared_deviations = total(squares) - r * r / static_cast<double>(n);
    return block;
}

void widen_float16(const std::byte* x, std::size_t n, float* out) noexcept {
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint32_t bits = load<std::uint16_t>(x, i);
        const std::uint32_t magnitude = (bits & 0x7FFFu) << 13;
        // The exponent's bias is 15 there and 127 here. Multiplying puts it right for subnormals too.
        float scaled;
        __builtin_memcpy(&scaled, &magnitude, sizeof scaled);
        scaled *= 0x1p112f;
        std::uint32_t result;
        __builtin_memcpy(&result, &scaled, sizeof result);
        result = magnitude >= 0x0F800000u ? magnitude | 0x7F800000u : result;  // infinite or NaN
        result |= (bits & 0x8000u) << 16;
        __builtin_memcpy(&out[i], &result, sizeof result);
    }
}

}  // namespace

const MomentsKernels moments_kernels = {
    add_integer<std::uint8_t, std::uint32_t>,
    add_integer<std::int8_t, std::uint32_t>,
    add_integer<std::uint16_t, std::uint64_t>,
    add_integer<std::int16_t, std::uint64_t>,
    block_integer<std::uint8_t>,
    block_integer<std::int8_t>,
    block_integer<std::uint16_t>,
    block_integer<std::int16_t>,
    add_float<std::uint32_t>,
    add_float<std::int32_t>,
    add_float<float>,
    add_float<double>,
    block_float<std::uint32_t>,
    block_float<std::int32_t>,
    block_float<float>,
    block_float<double>,
    widen_float16,
};

}  // namespace camnorm::detail::CAMNORM_ISA
