// Sums and sums of squares of integer frames, pixel by pixel.

#include "kernels/integer_sums.hpp"

#include "kernels/integer_pixels.hpp"
#include "kernels/prefetch.hpp"
#include "kernels/simd.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

/// Calls step(pixels of each frame, first pixel) for each vector of `Pixels` pixels; the last one may
/// be filled up with zeros.
template <std::size_t Pixels, class Step>
inline void over_vectors(const Group& group, std::size_t n, const Step& step) {
    static_assert(strip_pixels % Pixels == 0);
    constexpr std::size_t size = width / Pixels;
    std::size_t i = 0;
    for (; i + Pixels <= n; i += Pixels) {
        const std::size_t offset = i * size;
        if (offset % cache_line == 0) prefetch(group, offset);
        const std::byte* x[group_frames];
        for (std::size_t f = 0; f < group_frames; ++f) x[f] = group.x[f] + offset;
        step(x, i);
    }
    if (i == n) return;
    std::byte padded[group_frames][width] = {};
    const std::byte* x[group_frames];
    for (std::size_t f = 0; f < group_frames; ++f) {
        __builtin_memcpy(padded[f], group.x[f] + i * size, (n - i) * size);
        x[f] = padded[f];
    }
    step(x, i);
}

inline void add_to(std::uint32_t* sums, Bits a) { store(sums, add32(load(sums), a)); }

// 8-bit pixels: u = x ^ Flip lies between 0 and 255, and x = u + Offset. Bytes of four frames are
// interleaved, so that one lane of 32 bits holds the same pixel of all four.

inline void clear_bytes(IntegerSums& sums) noexcept {
    __builtin_memset(sums.sum, 0, sizeof sums.sum);
    __builtin_memset(sums.square_low, 0, sizeof sums.square_low);
}

template <int Flip>
void add_bytes(const Group& group, std::size_t n, IntegerSums& sums) noexcept {
    const Bits flip = every8(Flip);
    over_vectors<width>(group, n, [&](const std::byte* const* x, std::size_t i) {
        const Bits a = load(x[0]) ^ flip;
        const Bits b = load(x[1]) ^ flip;
        const Bits c = load(x[2]) ^ flip;
        const Bits d = load(x[3]) ^ flip;
        const Bits ab_low = low8(a, b);
        const Bits ab_high = high8(a, b);
        const Bits cd_low = low8(c, d);
        const Bits cd_high = high8(c, d);
        const Bits u[4] = {low16(ab_low, cd_low), high16(ab_low, cd_low), low16(ab_high, cd_high),
                           high16(ab_high, cd_high)};
        for (std::size_t k = 0; k < 4; ++k) {
            std::uint32_t* sum = sums.sum + i + k * (width / 4);
            std::uint32_t* square = sums.square_low + i + k * (width / 4);
            store(sum, sum_four(load(sum), u[k]));
            store(square, square_four(load(square), u[k]));
        }
    });
}

/// Pixels that are drained together: they lie together in both orders.
constexpr std::size_t piece = width < 32 ? 2 : 4;
using Piece __attribute__((vector_size(piece * 8))) = std::uint64_t;
using SignedPiece __attribute__((vector_size(piece * 8))) = std::int64_t;
using SmallPiece __attribute__((vector_size(piece * 4))) = std::uint32_t;
using SignedSmallPiece __attribute__((vector_size(piece * 4))) = std::int32_t;

struct PieceSums {
    Piece sum, squares;
};

inline Piece widen_unsigned(const std::uint32_t* p) {
    return __builtin_convertvector(load_as<SmallPiece>(p), Piece);
}
inline Piece widen_signed(const std::uint32_t* p) {
    return (Piece) __builtin_convertvector(load_as<SignedSmallPiece>(p), SignedPiece);
}

/// Adds the sums of x = u + Offset to the state: sum(x) and sum(x^2) from sum(u) and sum(u^2), which
/// sums_at(place) gives of four pixels. Each vector of `Pixels` pixels was unpacked into Parts vectors of
/// sums, of which four lie together in both orders.
template <std::size_t Pixels, std::size_t Parts, long long Offset, class SumsAt>
inline void drain(std::size_t n, std::size_t frames, bool subtract, std::int64_t* sum,
                  std::uint64_t* sum_of_squares, const SumsAt& sums_at) {
    constexpr std::size_t per_lane = 4 * Parts;  // pixels of one lane of 128 bits
    const std::uint64_t sign = subtract ? ~std::uint64_t{0} : 0;
    const std::uint64_t shift = static_cast<std::uint64_t>(Offset) * frames;
    const std::uint64_t square_shift = static_cast<std::uint64_t>(Offset * Offset) * frames;
    const auto drain_piece = [&](std::size_t place, std::int64_t* s, std::uint64_t* q) {
        const PieceSums u = sums_at(place);
        const Piece x = u.sum + shift;
        const Piece x2 = u.squares + u.sum * static_cast<std::uint64_t>(2 * Offset) + square_shift;
        store(s, load_as<Piece>(s) + ((x ^ sign) - sign));
        store(q, load_as<Piece>(q) + ((x2 ^ sign) - sign));
    };
    for (std::size_t base = 0; base < n; base += Pixels) {
        for (std::size_t k = 0; k < Pixels; k += piece) {
            const std::size_t pixel = base + k;
            const std::size_t part = k % per_lane / 4;
            const std::size_t place = base + part * (width / 4) + k / per_lane * 4 + k % 4;
            if (pixel + piece <= n) {
                drain_piece(place, sum + pixel, sum_of_squares + pixel);
            } else if (pixel < n) {
                std::int64_t s[piece] = {};
                std::uint64_t q[piece] = {};
                __builtin_memcpy(s, sum + pixel, (n - pixel) * sizeof *s);
                __builtin_memcpy(q, sum_of_squares + pixel, (n - pixel) * sizeof *q);
                drain_piece(place, s, q);
                __builtin_memcpy(sum + pixel, s, (n - pixel) * sizeof *s);
                __builtin_memcpy(sum_of_squares + pixel, q, (n - pixel) * sizeof *q);
            }
        }
    }
}

template <int Offset>
void drain_bytes(const IntegerSums& sums, std::size_t n, std::size_t frames, bool subtract, std::int64_t* sum,
                 std::uint64_t* sum_of_squares) noexcept {
    drain<width, 4, Offset>(n, frames, subtract, sum, sum_of_squares, [&](std::size_t i) {
        const Piece u = widen_unsigned(sums.sum + i);
#if defined(__AVX512VNNI__)
        return PieceSums{u, widen_signed(sums.square_low + i) + u * 128};
#else
        return PieceSums{u, widen_unsigned(sums.square_low + i)};
#endif
    });
}

// 16-bit pixels: s = x ^ Flip lies between -32768 and 32767, and x = s + Offset. Words of two frames
// are interleaved, so that one multiply-add gives s^2 of both: up to 2^31, as an unsigned number.

void clear_words(IntegerSums& sums) noexcept { __builtin_memset(&sums, 0, sizeof sums); }

template <int Flip>
void add_words(const Group& group, std::size_t n, IntegerSums& sums) noexcept {
    const Bits flip = every16(Flip);
    const Bits one = every16(1);
    over_vectors<width / 2>(group, n, [&](const std::byte* const* x, std::size_t i) {
        const Bits a = load(x[0]) ^ flip;
        const Bits b = load(x[1]) ^ flip;
        const Bits c = load(x[2]) ^ flip;
        const Bits d = load(x[3]) ^ flip;
        const Bits ab[2] = {low16(a, b), high16(a, b)};
        const Bits cd[2] = {low16(c, d), high16(c, d)};
        for (std::size_t k = 0; k < 2; ++k) {
            const std::size_t place = i + k * (width / 4);
            add_to(sums.sum + place, add32(multiply_add16(ab[k], one), multiply_add16(cd[k], one)));
            const Bits ab2 = multiply_add16(ab[k], ab[k]);
            const Bits cd2 = multiply_add16(cd[k], cd[k]);
            add_to(sums.square_low + place, add32(ab2, cd2));
            add_to(sums.square_high + place, add32(right32(ab2, 16), right32(cd2, 16)));
        }
    });
}

template <int Offset>
void drain_words(const IntegerSums& sums, std::size_t n, std::size_t frames, bool subtract, std::int64_t* sum,
                 std::uint64_t* sum_of_squares) noexcept {
    drain<width / 2, 2, Offset>(n, frames, subtract, sum, sum_of_squares, [&](std::size_t i) {
        return PieceSums{widen_signed(sums.sum + i),
                         join(widen_unsigned(sums.square_low + i), widen_unsigned(sums.square_high + i))};
    });
}

}  // namespace

const IntegerSumKernels integer_sum_kernels = {
    {clear_bytes, add_bytes<0>, drain_bytes<0>},
    {clear_bytes, add_bytes<0x80>, drain_bytes<-128>},
    {clear_words, add_words<0x8000>, drain_words<32768>},
    {clear_words, add_words<0>, drain_words<0>},
};

}  // namespace camnorm::detail::CAMNORM_ISA
