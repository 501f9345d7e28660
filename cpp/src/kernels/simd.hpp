#pragma once

// Vectors as wide as the instruction set that a kernel source is compiled for, and the few
// operations on them that the compiler does not find by itself in plain loops. Interleaving works
// within each 128 bits, as the processors do it.

#include <cstddef>
#include <cstdint>

#include "kernels/isa.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace camnorm::detail::CAMNORM_ISA {
namespace {

/// Bytes of a vector.
#if defined(__AVX512BW__)
constexpr std::size_t width = 64;
#elif defined(__AVX2__)
constexpr std::size_t width = 32;
#else
constexpr std::size_t width = 16;
#endif

using Bits __attribute__((vector_size(width))) = long long;
using Bytes __attribute__((vector_size(width))) = std::uint8_t;
using Words __attribute__((vector_size(width))) = std::int16_t;
using UnsignedWords __attribute__((vector_size(width))) = std::uint16_t;
using Integers __attribute__((vector_size(width))) = std::int32_t;
using UnsignedIntegers __attribute__((vector_size(width))) = std::uint32_t;
using Floats __attribute__((vector_size(width))) = float;

template <class Vector>
inline Vector load_as(const void* p) {
    Vector a;
    __builtin_memcpy(&a, p, sizeof a);
    return a;
}
inline Bits load(const void* p) { return load_as<Bits>(p); }
template <class Vector>
inline void store(void* p, Vector a) {
    __builtin_memcpy(p, &a, sizeof a);
}

inline Bits every8(int x) { return (Bits)(Bytes{} + static_cast<std::uint8_t>(x)); }
inline Bits every16(int x) { return (Bits)(UnsignedWords{} + static_cast<std::uint16_t>(x)); }
inline Bits add16(Bits a, Bits b) { return (Bits)((UnsignedWords)a + (UnsignedWords)b); }
inline Bits add32(Bits a, Bits b) { return (Bits)((UnsignedIntegers)a + (UnsignedIntegers)b); }
inline Bits right16(Bits a, int n) { return (Bits)((UnsignedWords)a >> n); }
inline Bits right32(Bits a, int n) { return (Bits)((UnsignedIntegers)a >> n); }

#if defined(__AVX512BW__)

inline Bits low8(Bits a, Bits b) { return _mm512_unpacklo_epi8(a, b); }
inline Bits high8(Bits a, Bits b) { return _mm512_unpackhi_epi8(a, b); }
inline Bits low16(Bits a, Bits b) { return _mm512_unpacklo_epi16(a, b); }
inline Bits high16(Bits a, Bits b) { return _mm512_unpackhi_epi16(a, b); }
inline Bits multiply_add16(Bits a, Bits b) { return _mm512_madd_epi16(a, b); }
inline Bits sum8(Bits a) { return _mm512_sad_epu8(a, _mm512_setzero_si512()); }
inline Bits min8(Bits a, Bits b) { return _mm512_min_epu8(a, b); }
inline Bits max8(Bits a, Bits b) { return _mm512_max_epu8(a, b); }
inline Bits min16(Bits a, Bits b) { return _mm512_min_epi16(a, b); }
inline Bits max16(Bits a, Bits b) { return _mm512_max_epi16(a, b); }
// With a mask: GCC 12 takes the undefined vector within the plain functions for a mistake of ours.
inline Floats min_float(Floats a, Floats b) { return _mm512_maskz_min_ps(0xFFFF, a, b); }
inline Floats max_float(Floats a, Floats b) { return _mm512_maskz_max_ps(0xFFFF, a, b); }
inline bool any(Bits a) { return _mm512_test_epi32_mask(a, a) != 0; }

#elif defined(__AVX2__)

inline Bits low8(Bits a, Bits b) { return _mm256_unpacklo_epi8(a, b); }
inline Bits high8(Bits a, Bits b) { return _mm256_unpackhi_epi8(a, b); }
inline Bits low16(Bits a, Bits b) { return _mm256_unpacklo_epi16(a, b); }
inline Bits high16(Bits a, Bits b) { return _mm256_unpackhi_epi16(a, b); }
inline Bits multiply_add16(Bits a, Bits b) { return _mm256_madd_epi16(a, b); }
inline Bits sum8(Bits a) { return _mm256_sad_epu8(a, _mm256_setzero_si256()); }
inline Bits min8(Bits a, Bits b) { return _mm256_min_epu8(a, b); }
inline Bits max8(Bits a, Bits b) { return _mm256_max_epu8(a, b); }
inline Bits min16(Bits a, Bits b) { return _mm256_min_epi16(a, b); }
inline Bits max16(Bits a, Bits b) { return _mm256_max_epi16(a, b); }
inline Floats min_float(Floats a, Floats b) { return _mm256_min_ps(a, b); }
inline Floats max_float(Floats a, Floats b) { return _mm256_max_ps(a, b); }
inline bool any(Bits a) { return _mm256_testz_si256(a, a) == 0; }

#elif defined(__SSE2__)

inline Bits low8(Bits a, Bits b) { return _mm_unpacklo_epi8(a, b); }
inline Bits high8(Bits a, Bits b) { return _mm_unpackhi_epi8(a, b); }
inline Bits low16(Bits a, Bits b) { return _mm_unpacklo_epi16(a, b); }
inline Bits high16(Bits a, Bits b) { return _mm_unpackhi_epi16(a, b); }
inline Bits multiply_add16(Bits a, Bits b) { return _mm_madd_epi16(a, b); }
inline Bits sum8(Bits a) { return _mm_sad_epu8(a, _mm_setzero_si128()); }
inline Bits min8(Bits a, Bits b) { return _mm_min_epu8(a, b); }
inline Bits max8(Bits a, Bits b) { return _mm_max_epu8(a, b); }
inline Bits min16(Bits a, Bits b) { return _mm_min_epi16(a, b); }
inline Bits max16(Bits a, Bits b) { return _mm_max_epi16(a, b); }
inline Floats min_float(Floats a, Floats b) { return _mm_min_ps(a, b); }
inline Floats max_float(Floats a, Floats b) { return _mm_max_ps(a, b); }
/// Whether a mask, of which all bits of an element are alike, is not zero everywhere.
inline bool any(Bits a) { return _mm_movemask_epi8(a) != 0; }

#else

inline Bits low8(Bits a, Bits b) {
    return (Bits)__builtin_shufflevector((Bytes)a, (Bytes)b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22,
                                         7, 23);
}
inline Bits high8(Bits a, Bits b) {
    return (Bits)__builtin_shufflevector((Bytes)a, (Bytes)b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14,
                                         30, 15, 31);
}
inline Bits low16(Bits a, Bits b) {
    return (Bits)__builtin_shufflevector((Words)a, (Words)b, 0, 8, 1, 9, 2, 10, 3, 11);
}
inline Bits high16(Bits a, Bits b) {
    return (Bits)__builtin_shufflevector((Words)a, (Words)b, 4, 12, 5, 13, 6, 14, 7, 15);
}
inline Bits multiply_add16(Bits a, Bits b) {
    const auto even = [](Bits x) { return (Integers)((UnsignedIntegers)x << 16) >> 16; };
    const auto odd = [](Bits x) { return (Integers)x >> 16; };
    return add32((Bits)(even(a) * even(b)), (Bits)(odd(a) * odd(b)));
}
inline Bits sum8(Bits a) {
    const Bits pairs = add16(a & every16(0xFF), right16(a, 8));
    const Bits fours = multiply_add16(pairs, every16(1));
    return (fours & 0xFFFFFFFFll) + (fours >> 32);
}
inline Bits min8(Bits a, Bits b) {
    const Bits less = (Bits)((Bytes)a < (Bytes)b);
    return (a & less) | (b & ~less);
}
inline Bits max8(Bits a, Bits b) {
    const Bits less = (Bits)((Bytes)a < (Bytes)b);
    return (b & less) | (a & ~less);
}
inline Bits min16(Bits a, Bits b) {
    const Bits less = (Bits)((Words)a < (Words)b);
    return (a & less) | (b & ~less);
}
inline Bits max16(Bits a, Bits b) {
    const Bits less = (Bits)((Words)a < (Words)b);
    return (b & less) | (a & ~less);
}
inline Floats min_float(Floats a, Floats b) { return a < b ? a : b; }
inline Floats max_float(Floats a, Floats b) { return a > b ? a : b; }
inline bool any(Bits a) { return (a[0] | a[1]) != 0; }

#endif

}  // namespace
}  // namespace camnorm::detail::CAMNORM_ISA
