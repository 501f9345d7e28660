#pragma once

// Vectors of float pixels and 32-bit integers, and how they become float64.

#include "kernels/float_sums.hpp"
#include "kernels/simd.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

constexpr std::size_t lanes = width / sizeof(double);
using Doubles __attribute__((vector_size(width))) = double;
using Floats __attribute__((vector_size(width))) = float;
using HalfFloats __attribute__((vector_size(width / 2))) = float;
using HalfIntegers __attribute__((vector_size(width / 2))) = std::int32_t;

inline Doubles every(double x) { return Doubles{} + x; }

// The compiler's own way goes by halves where vectors are wide.
#if defined(__AVX512BW__)
inline Doubles widen(HalfFloats v) { return _mm512_maskz_cvtps_pd(0xFF, v); }
inline Doubles widen(HalfIntegers v) { return _mm512_maskz_cvtepi32_pd(0xFF, (__m256i)v); }
#elif defined(__AVX2__)
inline Doubles widen(HalfFloats v) { return _mm256_cvtps_pd(v); }
inline Doubles widen(HalfIntegers v) { return _mm256_cvtepi32_pd((__m128i)v); }
#else
inline Doubles widen(HalfFloats v) { return __builtin_convertvector(v, Doubles); }
inline Doubles widen(HalfIntegers v) { return __builtin_convertvector(v, Doubles); }
#endif

struct Float16 {
    std::int16_t bits;
};

/// What is particular to a type of pixels: how `lanes` of them become float64; whole vectors of them, in
/// which numbers are in order; and a mask of those that may not be added, or described. Of types with a
/// `limit`, which no pixel exceeds, the sums of a batch are exact.
template <class T>
struct Pixel;

template <>
struct Pixel<double> {
    using Lane = double;
    static constexpr double limit = 0.0;
    static Doubles load(const std::byte* x) { return load_as<Doubles>(x); }
    static Doubles ordered(const std::byte* x) { return load_as<Doubles>(x); }
    static double value(double x) { return x; }
    template <bool Add>
    static Bits refused(const std::byte* x) {
        const auto magnitude = (Doubles)(detail::CAMNORM_ISA::load(x) & 0x7FFFFFFFFFFFFFFF);
        return ~(Bits)(magnitude <= every(Add ? largest_pixel : __DBL_MAX__));
    }
};

template <>
struct Pixel<float> {
    using Lane = float;
    static constexpr double limit = 0.0;
    static Doubles load(const std::byte* x) { return widen(load_as<HalfFloats>(x)); }
    static Floats ordered(const std::byte* x) { return load_as<Floats>(x); }
    static double value(float x) { return static_cast<double>(x); }
    static Integers magnitude(const std::byte* x) { return load_as<Integers>(x) & 0x7FFFFFFF; }
    template <bool Add>
    static Bits refused(const std::byte* x) {
        return (Bits)(magnitude(x) >= 0x7F800000);
    }
};

template <>
struct Pixel<Float16> {
    using Lane = std::int16_t;
    static constexpr double limit = 0x1p16;
    static Doubles load(const std::byte* x) {
#if defined(__AVX512BW__)
        return widen((HalfFloats)_mm256_cvtph_ps(load_as<__m128i>(x)));
#elif defined(__F16C__)
        return widen((HalfFloats)_mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x))));
#else
        static_assert(lanes == 2);
        std::uint32_t two;
        __builtin_memcpy(&two, x, sizeof two);
        const Bits top = low16(Bits{}, low16(Bits{}, Bits{two, 0}));     // at the upper end of 64 bits each
        const Bits bits = (Bits)((Integers)top >> 6) & ~(0x3Fll << 57);  // sign, exponent, fraction
        // The exponent's bias is 15 there and 1023 here. Multiplying puts it right for subnormals too.
        return (Doubles)bits * 0x1p1008;
#endif
    }
    static Words ordered(const std::byte* x) {
        const auto bits = load_as<Words>(x);
        return bits ^ ((bits >> 15) & 0x7FFF);
    }
    static double value(std::int16_t x) {
        const Float16 pixel[lanes] = {{static_cast<std::int16_t>(x < 0 ? x ^ 0x7FFF : x)}};
        return load(reinterpret_cast<const std::byte*>(pixel))[0];
    }
    template <bool Add>
    static Bits refused(const std::byte* x) {
        return (Bits)((load_as<Words>(x) & 0x7FFF) >= 0x7C00);
    }
};

template <>
struct Pixel<std::int32_t> {
    using Lane = std::int32_t;
    static constexpr double limit = 0x1p32;
    static Doubles load(const std::byte* x) { return widen(load_as<HalfIntegers>(x)); }
    static Integers ordered(const std::byte* x) { return load_as<Integers>(x); }
    static double value(std::int32_t x) { return static_cast<double>(x); }
};

template <>
struct Pixel<std::uint32_t> {
    using Lane = std::uint32_t;
    static constexpr double limit = 0x1p32;
    static Doubles load(const std::byte* x) {
#if defined(__AVX512BW__)
        return _mm512_maskz_cvtepu32_pd(0xFF, load_as<__m256i>(x));
#else
        constexpr std::int32_t sign_bit = -2147483647 - 1;
        return widen(load_as<HalfIntegers>(x) ^ sign_bit) + 2147483648.0;
#endif
    }
    static UnsignedIntegers ordered(const std::byte* x) { return load_as<UnsignedIntegers>(x); }
    static double value(std::uint32_t x) { return static_cast<double>(x); }
};

template <class T>
using Ordered = decltype(Pixel<T>::ordered(nullptr));

template <class T, class U>
constexpr bool same = false;
template <class T>
constexpr bool same<T, T> = true;

template <class T>
constexpr bool bounded = Pixel<T>::limit > 0.0;

template <class T>
constexpr bool is_integer = same<T, std::int32_t> || same<T, std::uint32_t>;

}  // namespace
}  // namespace camnorm::detail::CAMNORM_ISA
