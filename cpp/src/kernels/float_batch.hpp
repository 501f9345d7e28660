#pragma once

// Exact sums of a batch of float frames: how one term is added, and how the sums begin.

#include "double_double.hpp"
#include "kernels/float_pixels.hpp"
#include "kernels/float_sums.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

/// Where high begins: at 1.5 * 2^k, in the middle between powers of two, such that a batch of numbers up
/// to `limit` neither adds nor takes away more than 2^(k-1).
inline Doubles origin_of(Doubles limit) {
    static_assert(frames_per_batch <= 32);
    constexpr long long exponent = 0x7FF0000000000000;
    constexpr long long step = 1ll << 52;
    return (Doubles)((((Bits)limit & exponent) + 7 * step) | (step >> 1));
}

/// 2^22 as a difference of the bits of two float32: pixels down to limit / 2^22 are whole multiples of the
/// last bit of high, and so are their sums.
constexpr std::uint32_t exact_range = 22u << 23;

inline Doubles limit_of(const FloatSums& sums, std::size_t i) {
    return Pixel<float>::load(reinterpret_cast<const std::byte*>(sums.limit + i));
}

struct Origins {
    Doubles sum, squares;
};

/// Where the sums began from the i-th pixel on. At 0 those of float64, whose squares have too many bits
/// to lose any.
template <class T>
inline Origins origins_of([[maybe_unused]] const FloatSums& sums, [[maybe_unused]] std::size_t i) {
    if constexpr (same<T, double>) return {Doubles{}, Doubles{}};
    Doubles limit = every(Pixel<T>::limit);
    if constexpr (same<T, float>) limit = limit_of(sums, i);
    return {origin_of(limit), origin_of(limit * limit)};
}

/// v * v + a and v * v - a, rounded once: no other bits than without, where v * v is exact. And a + b in the
/// units that multiply, since those that only add have more to do.
#if defined(__AVX512BW__)
#define CAMNORM_FMA
inline Doubles add_to_square(Doubles v, Doubles a) { return _mm512_fmadd_pd(v, v, a); }
inline Doubles take_from_square(Doubles v, Doubles a) { return _mm512_fmsub_pd(v, v, a); }
inline Doubles other_add(Doubles a, Doubles b) { return _mm512_fmadd_pd(a, every(1.0), b); }
#elif defined(__AVX2__)
#define CAMNORM_FMA
inline Doubles add_to_square(Doubles v, Doubles a) { return _mm256_fmadd_pd(v, v, a); }
inline Doubles take_from_square(Doubles v, Doubles a) { return _mm256_fmsub_pd(v, v, a); }
inline Doubles other_add(Doubles a, Doubles b) { return _mm256_fmadd_pd(a, every(1.0), b); }
#endif

/// v * v - p, exactly, where p is v * v rounded.
inline Doubles square_residue(Doubles v, [[maybe_unused]] Doubles p) {
#if defined(CAMNORM_FMA)
    return take_from_square(v, p);
#else
    Doubles residue{};
    for (std::size_t j = 0; j < lanes; ++j) residue[j] = two_product(v[j], v[j]).low;
    return residue;
#endif
}

/// high + low += v. Exact says that the sum fits high alone.
template <class T, bool Exact>
inline void add_pixels(Doubles& high, [[maybe_unused]] Doubles& low, Doubles v) {
    if constexpr (same<T, double>) {
        const Unevaluated<Doubles> s = two_sum(high, v);
        high = s.high;
        low += s.low;
    } else {
        const Doubles s = high + v;
        if constexpr (!Exact) low += v - (s - high);
        high = s;
    }
}

/// high + low += v * v.
template <class T>
inline void add_squares(Doubles& high, Doubles& low, Doubles v) {
    if constexpr (same<T, double>) {
        const Doubles p = v * v;
        const Unevaluated<Doubles> s = two_sum(high, p);
        high = s.high;
        low += s.low;
        low += square_residue(v, p);
    } else {
#if defined(CAMNORM_FMA)
        const Doubles s = add_to_square(v, high);
        low = other_add(take_from_square(v, s - high), low);
#else
        const Doubles p = v * v;
        const Doubles s = high + p;
        low += p - (s - high);
        if constexpr (is_integer<T>) low += square_residue(v, p);
#endif
        high = s;
    }
}

/// Moves high from what outweighed its terms to what outweighs larger ones.
inline void raise(double* high, double* low, Doubles from, Doubles to) {
    const Doubles sum = load_as<Doubles>(high) - from;
    const Unevaluated<Doubles> raised = fast_two_sum(to, sum);
    store(high, raised.high);
    store(low, load_as<Doubles>(low) + raised.low);
}

/// Raises the limits of one vector of float32 pixels, at the i-th, above `largest`. False if one of these
/// is not finite.
inline bool raise_limits(Floats largest, std::size_t i, bool first, FloatSums& sums) {
    constexpr float margin = 8;  // to raise them seldom
    const Floats highest = Floats{} + __FLT_MAX__;
    const Floats limit = largest < highest / margin ? largest * margin : highest;
    const auto before = load_as<Floats>(sums.limit + i);
    Origins from[2];
    for (std::size_t k = 0; k < 2; ++k) from[k] = origins_of<float>(sums, i + k * lanes);
    const Floats raised = largest > before ? limit : before;
    store(sums.limit + i, first ? limit : raised);
    for (std::size_t k = 0; k < 2; ++k) {
        const std::size_t j = i + k * lanes;
        const Origins to = origins_of<float>(sums, j);
        if (first) {
            store(sums.sum_high + j, to.sum);
            store(sums.sum_low + j, Doubles{});
            store(sums.squares_high + j, to.squares);
            store(sums.squares_low + j, Doubles{});
        } else {
            raise(sums.sum_high + j, sums.sum_low + j, from[k].sum, to.sum);
            raise(sums.squares_high + j, sums.squares_low + j, from[k].squares, to.squares);
        }
    }
    return !any(~(Bits)(largest <= highest));
}

template <class T>
inline void clear_floats(FloatSums& sums) {
    const Origins origins = origins_of<T>(sums, 0);
    for (std::size_t i = 0; i < float_strip_pixels; i += lanes) {
        store(sums.sum_high + i, origins.sum);
        store(sums.sum_low + i, Doubles{});
        store(sums.squares_high + i, origins.squares);
        store(sums.squares_low + i, Doubles{});
    }
}

}  // namespace
}  // namespace camnorm::detail::CAMNORM_ISA
