#include "kernels/correction.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

template <class T>
inline double load(const std::byte* x, std::size_t i) {
    T value;
    __builtin_memcpy(&value, x + i * sizeof(T), sizeof(T));
    return static_cast<double>(value);
}

// Instruction sets before AVX-512 convert vectors of signed 32-bit integers only: uint32 takes a way
// round by 2^31, exact in both directions.
constexpr std::uint32_t sign_bit = 0x80000000u;
constexpr double two_to_31 = 2147483648.0;

template <>
inline double load<std::uint32_t>(const std::byte* x, std::size_t i) {
    std::uint32_t value;
    __builtin_memcpy(&value, x + i * sizeof value, sizeof value);
    return static_cast<double>(static_cast<std::int32_t>(value ^ sign_bit)) + two_to_31;
}

inline std::uint64_t bits_of(double value) {
    std::uint64_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline double double_of(std::uint64_t bits) {
    double value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

template <class T>
void store(std::byte* out, std::size_t i, T value) {
    __builtin_memcpy(out + i * sizeof(T), &value, sizeof(T));
}

void forward_gain(const double* __restrict__ sigma, std::size_t n, double target_sigma,
                  double* __restrict__ gain) noexcept {
    for (std::size_t i = 0; i < n; ++i) gain[i] = target_sigma / sigma[i];
}

void inverse_gain(const double* __restrict__ sigma, std::size_t n, double target_sigma,
                  double* __restrict__ gain) noexcept {
    for (std::size_t i = 0; i < n; ++i) gain[i] = sigma[i] / target_sigma;
}

template <class T>
void forward(const std::byte* __restrict__ x, std::size_t n, const double* __restrict__ mean,
             const double* __restrict__ gain, double target_mean, double* __restrict__ values) noexcept {
    for (std::size_t i = 0; i < n; ++i) values[i] = (load<T>(x, i) - mean[i]) * gain[i] + target_mean;
}

template <class T>
void inverse(const std::byte* __restrict__ x, std::size_t n, const double* __restrict__ mean,
             const double* __restrict__ gain, double target_mean, double* __restrict__ values) noexcept {
    for (std::size_t i = 0; i < n; ++i) values[i] = (load<T>(x, i) - target_mean) * gain[i] + mean[i];
}

template <class T>
std::uint64_t store_integer(const double* __restrict__ values, std::size_t n,
                            std::byte* __restrict__ out) noexcept {
    constexpr bool has_sign = static_cast<T>(-1) < static_cast<T>(0);
    constexpr double range = static_cast<double>(std::uint64_t{1} << (8 * sizeof(T)));
    // Added to a number, 1.5 * 2^52 rounds it half to even and leaves the integer in the low bits of
    // the sum. Numbers from 2^51 on go beyond the limits all the same.
    constexpr double zero = 6755399441055744.0;
    constexpr double low = has_sign ? zero - range / 2 : zero;
    constexpr double high = low + (range - 1);
    std::uint64_t clipped = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const double sum = values[i] + zero;
        double saturated = sum < high ? sum : high;
        saturated = saturated > low ? saturated : low;
        saturated = sum == sum ? saturated : zero;
        clipped += sum == saturated ? 0u : 1u;  // NaN equals nothing
        store(out, i, static_cast<T>(static_cast<std::uint32_t>(bits_of(saturated))));
    }
    return clipped;
}

/// All bits set if true. The compiler makes branches of ?:, and no vectors of branches.
inline std::uint64_t mask(bool condition) { return std::uint64_t{0} - static_cast<std::uint64_t>(condition); }

/// Bits of the nearest float16, ties to even. By way of float32 it would be rounded twice.
inline std::uint16_t to_float16(double value) {
    constexpr std::uint64_t smallest = 0x3F10000000000000u;  // bits of 2^-14, the smallest normal float16
    const std::uint64_t bits = bits_of(value);
    const std::uint64_t magnitude = bits & 0x7FFFFFFFFFFFFFFFu;

    // Added to a number, 2^42 times the power of two of its exponent rounds it to the 11 bits of a
    // normal float16; below 2^-14, to the fixed step of the subnormal ones.
    std::uint64_t power = bits & 0x7FF0000000000000u;
    power = power > smallest ? power : smallest;
    const double round = double_of(power + (std::uint64_t{42} << 52));
    const double rounded = (double_of(magnitude) + round) - round;

    // The exponent's bias is 1023 here and 15 there. Subnormals are moved up to the smallest normal
    // numbers, which have the same step, and their bits down again.
    const std::uint64_t subnormal = mask(rounded < 0x1p-14);
    const double moved = rounded + double_of(subnormal & smallest);
    const std::uint64_t finite = (bits_of(moved) >> 42) - (1008u << 10) - (subnormal & (1u << 10));

    const std::uint64_t beyond = mask(magnitude >= 0x40EFFE0000000000u);  // from 65520 on
    const std::uint64_t nan = mask(magnitude > 0x7FF0000000000000u);
    return static_cast<std::uint16_t>((finite & ~beyond) | (0x7C00u & beyond) | (0x0200u & nan) |
                                      ((bits >> 48) & 0x8000u));
}

std::uint64_t store_float16(const double* __restrict__ values, std::size_t n,
                            std::byte* __restrict__ out) noexcept {
    for (std::size_t i = 0; i < n; ++i) store(out, i, to_float16(values[i]));
    return 0;
}

template <class T>
std::uint64_t store_float(const double* __restrict__ values, std::size_t n,
                          std::byte* __restrict__ out) noexcept {
    for (std::size_t i = 0; i < n; ++i) store(out, i, static_cast<T>(values[i]));
    return 0;
}

}  // namespace

// In the order of DType.
const CorrectionKernels correction_kernels = {
    {forward_gain,
     {forward<std::uint8_t>, forward<std::int8_t>, forward<std::uint16_t>, forward<std::int16_t>,
      forward<std::uint32_t>, forward<std::int32_t>, nullptr, forward<float>, forward<double>}},
    {inverse_gain,
     {inverse<std::uint8_t>, inverse<std::int8_t>, inverse<std::uint16_t>, inverse<std::int16_t>,
      inverse<std::uint32_t>, inverse<std::int32_t>, nullptr, inverse<float>, inverse<double>}},
    {store_integer<std::uint8_t>, store_integer<std::int8_t>, store_integer<std::uint16_t>,
     store_integer<std::int16_t>, store_integer<std::uint32_t>, store_integer<std::int32_t>, store_float16,
     store_float<float>, store_float<double>},
};

}  // namespace camnorm::detail::CAMNORM_ISA
