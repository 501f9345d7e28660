#include "kernels/correction.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

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

// Steps of approximations: 256 integers fill the lower half of the fraction of numbers from 2^23 to 2^24.
constexpr int step_bits = 14;
constexpr double steps = 16384.0;
constexpr double steps_zero = 12582912.0;  // 1.5 * 2^23
constexpr std::uint32_t steps_zero_bits = 0x4B400000u;

/// Of 256 pixels, one in four or so is then too close to the middle between two integers.
constexpr float largest_margin = 8.0f;

inline std::uint32_t bits_of(float value) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
}

/// Bits of |value|, in the order of the numbers, NaN last: of integers the compiler makes vectors of maxima.
inline std::int32_t magnitude(float value) { return static_cast<std::int32_t>(bits_of(value) & 0x7FFFFFFFu); }

inline float float_of(std::int32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

inline std::int32_t larger(std::int32_t a, std::int32_t b) { return a > b ? a : b; }

/// With |x| <= 255, and u = 2^-24 by which float32 rounds at most, the product of x and factor is off by 2u *
/// 255 * factor; the offset, of whole steps, and the sum by half a step each. What float64 adds to that, here
/// and in the formula, is a few 2^-53 of the parts of the offset, which may be far larger than their
/// difference.
template <bool Inverse>
std::int32_t approximate(const double* __restrict__ mean, const double* __restrict__ gain, std::size_t n,
                         double target_mean, double lowest, float* __restrict__ factor,
                         float* __restrict__ offset) noexcept {
    const auto from_middle = [&](std::size_t i, double part) {
        return (Inverse ? part - target_mean * gain[i] : target_mean - part) - (lowest - 0.5);
    };
    const auto part_of = [&](std::size_t i) { return Inverse ? mean[i] : mean[i] * gain[i]; };
    std::int32_t factors = 0;
    std::int32_t offsets = 0;
    std::int32_t parts = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const double part = part_of(i);
        factor[i] = static_cast<float>(gain[i] * steps);
        factors = larger(factors, magnitude(factor[i]));
        offsets = larger(offsets, magnitude(static_cast<float>(from_middle(i, part))));
        parts = larger(parts, magnitude(static_cast<float>(part)));
    }
    const float margin = 2.0f + 0x1.1p-23f * 255.0f * float_of(factors) + 0x1p-34f * float_of(parts);
    if (!(margin <= largest_margin && float_of(offsets) < 255.0f)) return 0;
    const auto whole = static_cast<std::int32_t>(margin);
    for (std::size_t i = 0; i < n; ++i)
        offset[i] = static_cast<float>(from_middle(i, part_of(i)) * steps + (steps_zero + whole));
    return whole;
}

// Added to a number, 1.5 * 2^52 rounds it half to even and leaves the integer in the low bits of the
// sum. Numbers from 2^51 on go beyond the limits of any integer type all the same.
constexpr double integer_zero = 6755399441055744.0;
constexpr std::uint64_t integer_zero_bits = 0x4338000000000000u;

template <class T>
[[gnu::noinline]] std::uint64_t saturate(const double* __restrict__ values, std::size_t n,
                                         std::byte* __restrict__ out) noexcept {
    constexpr bool has_sign = static_cast<T>(-1) < static_cast<T>(0);
    constexpr double range = static_cast<double>(std::uint64_t{1} << (8 * sizeof(T)));
    constexpr double low = has_sign ? integer_zero - range / 2 : integer_zero;
    constexpr double high = low + (range - 1);
    std::uint64_t clipped = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const double sum = values[i] + integer_zero;
        double saturated = sum < high ? sum : high;
        saturated = saturated > low ? saturated : low;
        saturated = sum == sum ? saturated : integer_zero;
        clipped += sum == saturated ? 0u : 1u;  // NaN equals nothing
        store(out, i, static_cast<T>(bits_of(saturated)));
    }
    return clipped;
}

template <class T>
[[gnu::noinline]] std::uint64_t round_integer(const double* __restrict__ values, std::size_t n,
                                              std::byte* __restrict__ out) noexcept {
    constexpr bool has_sign = static_cast<T>(-1) < static_cast<T>(0);
    constexpr std::uint64_t lowest =
        integer_zero_bits - (has_sign ? std::uint64_t{1} << (8 * sizeof(T) - 1) : 0u);
    // Without saturation and NaN, as nearly always, neither limits nor a count are needed.
    std::uint64_t above = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint64_t bits = bits_of(values[i] + integer_zero);
        above |= bits - lowest;
        store(out, i, static_cast<T>(bits));
    }
    return above >> (8 * sizeof(T)) == 0 ? 0 : saturate<T>(values, n, out);
}

/// a if true, else b. The compiler makes branches of ?:, and no vectors of branches.
inline std::uint32_t select(bool condition, std::uint32_t a, std::uint32_t b) {
    const std::uint32_t mask = 0u - static_cast<std::uint32_t>(condition);
    return (a & mask) | (b & ~mask);
}

/// Bits of the nearest float16, ties to even. By way of float32 it would be rounded twice.
inline std::uint16_t to_float16(double value) {
    const std::uint64_t bits = bits_of(value);
    const auto top = static_cast<std::uint32_t>(bits >> 32);
    // The upper half with 20 bits of the fraction is enough, if its last bit marks a rest. Compared
    // as int32, of which every instruction set has vectors.
    const std::uint32_t rest = static_cast<std::uint32_t>(bits) != 0;
    const std::uint32_t magnitude = (top & 0x7FFFFFFFu) | rest;
    const auto ordered = static_cast<std::int32_t>(magnitude);

    // From 20 to 10 bits of fraction; the exponent's bias is 1023 there and 15 here.
    const std::uint32_t normal = (magnitude - (1008u << 20) + 0x1FFu + ((magnitude >> 10) & 1u)) >> 10;
    // Added to a number, 2^28 rounds it to the step of the subnormals, 2^-24, and leaves their number of
    // steps in the low bits of the sum.
    const auto subnormal =
        static_cast<std::uint32_t>(bits_of(double_of(bits & 0x7FFFFFFFFFFFFFFFu) + 0x1p28));
    std::uint32_t half = select(ordered < 0x3F100000, subnormal, normal);  // 2^-14
    half = select(ordered >= 0x40EFFE00, 0x7C00u, half);                   // from 65520 on
    half = select(ordered > 0x7FF00000, 0x7E00u, half);                    // NaN
    return static_cast<std::uint16_t>(half | ((top >> 16) & 0x8000u));
}

struct Float16 {
    using Bits = std::uint16_t;
    static constexpr Bits infinity = 0x7C00;
    static constexpr std::int32_t overflow = 0x40EFFE00;  // upper half of 65520
    static Bits round(double value) { return to_float16(value); }
};

struct Float32 {
    using Bits = std::uint32_t;
    static constexpr Bits infinity = 0x7F800000;
    static constexpr std::int32_t overflow = 0x47EFFFFF;  // upper half of 2^128 - 2^103
    static Bits round(double value) { return bits_of(static_cast<float>(value)); }
};

template <class Float>
[[gnu::noinline]] std::uint64_t saturate_float(const double* __restrict__ values, std::size_t n,
                                               std::byte* __restrict__ out) noexcept {
    using Bits = typename Float::Bits;
    constexpr auto sign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
    std::uint64_t clipped = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const Bits bits = Float::round(values[i]);
        const bool is_finite = values[i] - values[i] == 0.0;
        const Bits beyond = is_finite && (bits | sign) == (Float::infinity | sign) ? 1 : 0;
        clipped += beyond;
        store(out, i, static_cast<Bits>(bits - beyond));  // the largest number comes before infinity
    }
    return clipped;
}

template <class Float>
[[gnu::noinline]] std::uint64_t round_float(const double* __restrict__ values, std::size_t n,
                                            std::byte* __restrict__ out) noexcept {
    std::int32_t largest = 0;
    for (std::size_t i = 0; i < n; ++i) {
        largest = larger(largest, static_cast<std::int32_t>(bits_of(values[i]) >> 32 & 0x7FFFFFFF));
        store(out, i, Float::round(values[i]));
    }
    return largest < Float::overflow ? 0 : saturate_float<Float>(values, n, out);
}

[[gnu::noinline]] std::uint64_t store_float64(const double* __restrict__ values, std::size_t n,
                                              std::byte* __restrict__ out) noexcept {
    for (std::size_t i = 0; i < n; ++i) store(out, i, values[i]);
    return 0;
}

#if defined(__SSE2__)
/// Whole lines, from and to an address that begins one.
inline void stream_lines(const std::byte* from, std::size_t n, std::byte* to) {
#if defined(__AVX512F__)
    for (std::size_t i = 0; i < n; i += 64)
        _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i), _mm512_load_si512(from + i));
#elif defined(__AVX__)
    for (std::size_t i = 0; i < n; i += 32)
        _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i),
                            _mm256_load_si256(reinterpret_cast<const __m256i*>(from + i)));
#else
    for (std::size_t i = 0; i < n; i += 16)
        _mm_stream_si128(reinterpret_cast<__m128i*>(to + i),
                         _mm_load_si128(reinterpret_cast<const __m128i*>(from + i)));
#endif
}

void finish_streams() noexcept { _mm_sfence(); }
#else
inline void stream_lines(const std::byte* from, std::size_t n, std::byte* to) {
    __builtin_memcpy(to, from, n);
}

void finish_streams() noexcept {}
#endif

template <bool Inverse>
inline double formula(double x, double mean, double gain, double target_mean) {
    return Inverse ? (x - target_mean) * gain + mean : (x - mean) * gain + target_mean;
}

/// Pixels that are worked on at a time: few, so that streaming stores come at an even pace. A burst of
/// them would fill the processor's queue of stores and hold up everything behind it.
template <class T>
constexpr std::size_t chunk = sizeof(T) < 4 ? 256 / sizeof(T) : 64;

/// Writes n pixels, of which make(first, count, result) makes up to a chunk in `result` and gives how
/// many were clipped.
template <class T, class Make>
inline std::uint64_t write(std::size_t n, std::byte* out, bool streams, const Make& make) {
    alignas(line_bytes) std::byte result[chunk<T> * sizeof(T)];
    std::uint64_t clipped = 0;
    const std::size_t misaligned = reinterpret_cast<std::uintptr_t>(out) % line_bytes;
    std::size_t count = streams && misaligned != 0 ? (line_bytes - misaligned) / sizeof(T) : chunk<T>;
    for (std::size_t i = 0; i < n; i += count, count = chunk<T>) {
        count = count < n - i ? count : n - i;
        std::byte* const place = out + i * sizeof(T);
        if (count == chunk<T>) {
            clipped += make(i, chunk<T>, result);
            if (streams) {
                stream_lines(result, sizeof result, place);
            } else {
                __builtin_memcpy(place, result, sizeof result);
            }
        } else {
            clipped += make(i, count, result);
            const std::size_t bytes = count * sizeof(T);
            const std::size_t lines = streams ? bytes - bytes % line_bytes : 0;
            stream_lines(result, lines, place);
            __builtin_memcpy(place + lines, result + lines, bytes - lines);
        }
    }
    return clipped;
}

using Round = std::uint64_t (*)(const double*, std::size_t, std::byte*) noexcept;

template <class Out, Round RoundTo>
std::uint64_t store_values(const double* values, std::size_t n, std::byte* out, bool streams) noexcept {
    return write<Out>(n, out, streams, [&](std::size_t first, std::size_t count, std::byte* result) {
        return RoundTo(values + first, count, result);
    });
}

/// The formula in float64: once for each input type, as rounding is once for each output type. Code for
/// all of their pairs would be megabytes.
template <bool Inverse, class In>
[[gnu::noinline]] void evaluate(const std::byte* __restrict__ x, std::size_t n,
                                const double* __restrict__ mean, const double* __restrict__ gain,
                                double target_mean, double* __restrict__ values) noexcept {
    for (std::size_t i = 0; i < n; ++i)
        values[i] = formula<Inverse>(load<In>(x, i), mean[i], gain[i], target_mean);
}

/// The same to 8-bit integers by an approximation. False, and no result, if one of them might be another by
/// the formula, or is none of the type's.
template <class In, class T>
[[gnu::noinline]] bool round_approximation(const std::byte* __restrict__ x, std::size_t n,
                                           const float* __restrict__ factor, const float* __restrict__ offset,
                                           std::int32_t margin, std::byte* __restrict__ out) noexcept {
    constexpr std::uint32_t sign = static_cast<T>(-1) < static_cast<T>(0) ? 0x80 : 0;
    std::uint32_t beyond = 0;
    std::int32_t closest = 1 << step_bits;  // to the middle below
    for (std::size_t i = 0; i < n; ++i) {
        In pixel;
        __builtin_memcpy(&pixel, x + i, sizeof pixel);
        const std::uint32_t bits = bits_of(static_cast<float>(pixel) * factor[i] + offset[i]);
        const auto above = static_cast<std::int32_t>(bits & ((1u << step_bits) - 1));
        closest = above < closest ? above : closest;
        beyond |= bits ^ steps_zero_bits;
        store(out, i, static_cast<std::uint8_t>((bits >> step_bits) ^ sign));
    }
    return beyond >> (step_bits + 8) == 0 && closest > 2 * margin;
}

template <class In>
constexpr bool is_integer = static_cast<In>(0.5) == static_cast<In>(0);

/// To float32, the usual output, without that detour. False, and no result, if a float may become infinite;
/// integers are not checked.
template <bool Inverse, class In>
inline bool to_float32(const std::byte* __restrict__ x, std::size_t n, const double* __restrict__ mean,
                       const double* __restrict__ gain, double target_mean, std::byte* __restrict__ out) {
    std::uint32_t large = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const auto value =
            static_cast<float>(formula<Inverse>(load<In>(x, i), mean[i], gain[i], target_mean));
        // From 2^65 on, the two highest bits of the exponent are set.
        if constexpr (!is_integer<In>) large |= bits_of(value) & (bits_of(value) << 1);
        store(out, i, value);
    }
    return (large & 0x40000000u) == 0;
}

template <bool Inverse, class In, class Out, Round RoundTo>
std::uint64_t correct(const std::byte* x, std::size_t n, const double* mean, const double* gain,
                      double target_mean, std::byte* out, bool streams, const std::byte* next,
                      [[maybe_unused]] const Approximation* approximation) noexcept {
    return write<Out>(n, out, streams, [&](std::size_t first, std::size_t count, std::byte* result) {
        const std::size_t place = first * sizeof(In);
        if (next != nullptr) {
            for (std::size_t k = 0; k < count * sizeof(In); k += line_bytes)
                __builtin_prefetch(next + place + k);
        }
        if constexpr (sizeof(In) == 1 && sizeof(Out) == 1) {
            if (approximation != nullptr &&
                round_approximation<In, Out>(x + place, count, approximation->factor + first,
                                             approximation->offset + first, approximation->margin, result))
                return std::uint64_t{0};
        }
        if constexpr (RoundTo == round_float<Float32>) {
            if (to_float32<Inverse, In>(x + place, count, mean + first, gain + first, target_mean, result))
                return std::uint64_t{0};
        }
        double values[chunk<Out>];
        evaluate<Inverse, In>(x + place, count, mean + first, gain + first, target_mean, values);
        return RoundTo(values, count, result);
    });
}

/// Of one input type to each output type, in the order of DType.
template <bool Inverse, class In>
constexpr CorrectTo correct_from = {
    correct<Inverse, In, std::uint8_t, round_integer<std::uint8_t>>,
    correct<Inverse, In, std::int8_t, round_integer<std::int8_t>>,
    correct<Inverse, In, std::uint16_t, round_integer<std::uint16_t>>,
    correct<Inverse, In, std::int16_t, round_integer<std::int16_t>>,
    correct<Inverse, In, std::uint32_t, round_integer<std::uint32_t>>,
    correct<Inverse, In, std::int32_t, round_integer<std::int32_t>>,
    correct<Inverse, In, std::uint16_t, round_float<Float16>>,
    correct<Inverse, In, float, round_float<Float32>>,
    correct<Inverse, In, double, store_float64>,
};

}  // namespace

// In the order of DType.
const CorrectionKernels correction_kernels = {
    {forward_gain,
     approximate<false>,
     {correct_from<false, std::uint8_t>, correct_from<false, std::int8_t>, correct_from<false, std::uint16_t>,
      correct_from<false, std::int16_t>, correct_from<false, std::uint32_t>,
      correct_from<false, std::int32_t>, CorrectTo{}, correct_from<false, float>,
      correct_from<false, double>}},
    {inverse_gain,
     approximate<true>,
     {correct_from<true, std::uint8_t>, correct_from<true, std::int8_t>, correct_from<true, std::uint16_t>,
      correct_from<true, std::int16_t>, correct_from<true, std::uint32_t>, correct_from<true, std::int32_t>,
      CorrectTo{}, correct_from<true, float>, correct_from<true, double>}},
    {store_values<std::uint8_t, round_integer<std::uint8_t>>,
     store_values<std::int8_t, round_integer<std::int8_t>>,
     store_values<std::uint16_t, round_integer<std::uint16_t>>,
     store_values<std::int16_t, round_integer<std::int16_t>>,
     store_values<std::uint32_t, round_integer<std::uint32_t>>,
     store_values<std::int32_t, round_integer<std::int32_t>>,
     store_values<std::uint16_t, round_float<Float16>>, store_values<float, round_float<Float32>>,
     store_values<double, store_float64>},
    finish_streams,
};

}  // namespace camnorm::detail::CAMNORM_ISA
