#pragma once

// How vectors of 8-bit and 16-bit pixels are squared and summed.

#include "kernels/simd.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

#if defined(__AVX512VNNI__)

// One dot product with 1, 1, 1, 1 sums u; one with u - 128, which is signed as the instruction wants
// it, sums u * (u - 128).
inline Bits sum_four(Bits sums, Bits u) { return _mm512_dpbusd_epi32(sums, u, every8(1)); }
inline Bits square_four(Bits sums, Bits u) { return _mm512_dpbusd_epi32(sums, u, u ^ every8(0x80)); }
#else
inline Bits sum_four(Bits sums, Bits u) {
    const Bits pairs = add16(u & every16(0xFF), right16(u, 8));
    return add32(sums, multiply_add16(pairs, every16(1)));
}
inline Bits square_four(Bits sums, Bits u) {
    const Bits even = u & every16(0xFF);
    const Bits odd = right16(u, 8);
    return add32(sums, add32(multiply_add16(even, even), multiply_add16(odd, odd)));
}
#endif

/// A sum of at most 2^16 numbers of 32 bits, from its low 32 bits and the sum of the numbers' high
/// halves: what the latter lacks is less than 2^32.
template <class T>
inline T join(T low, T high) {
    const T least = high << 16;
    return least + ((low - least) & 0xFFFFFFFFu);
}

}  // namespace
}  // namespace camnorm::detail::CAMNORM_ISA
