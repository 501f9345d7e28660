#include "kernels/moments.hpp"

#include "double_double.hpp"
#include "kernels/simd.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

constexpr std::size_t cache_line = 64;

inline void prefetch(const Group& group, std::size_t offset) {
    for (const std::byte* next : group.next) __builtin_prefetch(next + offset, 0, 3);
}

/// One line of memory for every two that are done with.
inline void prefetch_half(const std::byte* next, std::size_t done) {
    if (done % (2 * cache_line) == 0) __builtin_prefetch(next + done / 2, 0, 3);
}

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

template <class T>
inline std::int64_t sum_of_lanes(Bits a) {
    T lanes[width / sizeof(T)];
    store(lanes, a);
    std::int64_t sum = 0;
    for (const T lane : lanes) sum += static_cast<std::int64_t>(lane);
    return sum;
}

// 8-bit pixels: u = x ^ Flip lies between 0 and 255, and x = u + Offset. Bytes of four frames are
// interleaved, so that one lane of 32 bits holds the same pixel of all four.

inline void clear_bytes(IntegerSums& sums) noexcept {
    __builtin_memset(sums.sum, 0, sizeof sums.sum);
    __builtin_memset(sums.square_low, 0, sizeof sums.square_low);
}

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
        const Unevaluated<Piece> u = sums_at(place);
        const Piece x = u.high + shift;
        const Piece x2 = u.low + u.high * static_cast<std::uint64_t>(2 * Offset) + square_shift;
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
        return Unevaluated<Piece>{u, widen_signed(sums.square_low + i) + u * 128};
#else
        return Unevaluated<Piece>{u, widen_unsigned(sums.square_low + i)};
#endif
    });
}

template <int Flip, int Offset>
IntegerStrip tell_bytes(const std::byte* x, std::size_t n, const std::byte* next) noexcept {
    const Bits flip = every8(Flip);
    Bits sums{};
    Bits squares{};
    Bits low = every8(0xFF);
    Bits high{};
    const auto step = [&](Bits u) {
        sums += sum8(u);
        squares = square_four(squares, u);
        low = min8(low, u);
        high = max8(high, u);
    };
    std::size_t i = 0;
    for (; i + width <= n; i += width) {
        prefetch_half(next, i);
        step(load(x + i) ^ flip);
    }
    std::int64_t sum = sum_of_lanes<std::uint64_t>(sums);
    std::int64_t square_sum = sum_of_lanes<std::int32_t>(squares);
#if defined(__AVX512VNNI__)
    square_sum += 128 * sum;
#endif
    std::uint8_t lows[width];
    std::uint8_t highs[width];
    store(lows, low);
    store(highs, high);
    std::uint8_t least = 255;
    std::uint8_t most = 0;
    for (std::size_t j = 0; j < width; ++j) {
        least = lows[j] < least ? lows[j] : least;
        most = highs[j] > most ? highs[j] : most;
    }
    for (; i < n; ++i) {
        const auto u = static_cast<std::uint8_t>(static_cast<int>(x[i]) ^ Flip);
        sum += u;
        square_sum += u * u;
        least = u < least ? u : least;
        most = u > most ? u : most;
    }
    const auto count = static_cast<std::int64_t>(n);
    square_sum += 2 * Offset * sum + std::int64_t{Offset} * Offset * count;
    return {sum + Offset * count, static_cast<std::uint64_t>(square_sum), least + Offset, most + Offset};
}

// 16-bit pixels: s = x ^ Flip lies between -32768 and 32767, and x = s + Offset. Words of two frames
// are interleaved, so that one multiply-add gives s^2 of both: up to 2^31, as an unsigned number.

void clear_words(IntegerSums& sums) noexcept { __builtin_memset(&sums, 0, sizeof sums); }

/// A sum of at most 2^16 numbers of 32 bits, from its low 32 bits and the sum of the numbers' high
/// halves: what the latter lacks is less than 2^32.
template <class T>
inline T join(T low, T high) {
    const T least = high << 16;
    return least + ((low - least) & 0xFFFFFFFFu);
}

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
        return Unevaluated<Piece>{widen_signed(sums.sum + i), join(widen_unsigned(sums.square_low + i),
                                                                   widen_unsigned(sums.square_high + i))};
    });
}

template <int Flip, int Offset>
IntegerStrip tell_words(const std::byte* x, std::size_t n, const std::byte* next) noexcept {
    constexpr std::size_t pixels = width / 2;
    const Bits flip = every16(Flip);
    Bits sums{};
    Bits squares_low{};
    Bits squares_high{};
    Bits low = every16(32767);
    Bits high = every16(-32768);
    std::size_t i = 0;
    for (; i + pixels <= n; i += pixels) {
        prefetch_half(next, 2 * i);
        const Bits s = load(x + 2 * i) ^ flip;
        sums = add32(sums, multiply_add16(s, every16(1)));
        const Bits s2 = multiply_add16(s, s);
        squares_low = add32(squares_low, s2);
        squares_high = add32(squares_high, right32(s2, 16));
        low = min16(low, s);
        high = max16(high, s);
    }
    std::int64_t sum = sum_of_lanes<std::int32_t>(sums);
    std::int64_t square_sum = 0;
    {
        std::uint32_t lows[width / 4];
        std::uint32_t highs[width / 4];
        store(lows, squares_low);
        store(highs, squares_high);
        for (std::size_t j = 0; j < width / 4; ++j)
            square_sum += static_cast<std::int64_t>(join<std::uint64_t>(lows[j], highs[j]));
    }
    std::int16_t lows[pixels];
    std::int16_t highs[pixels];
    store(lows, low);
    store(highs, high);
    int least = 32767;
    int most = -32768;
    for (std::size_t j = 0; j < pixels; ++j) {
        least = lows[j] < least ? lows[j] : least;
        most = highs[j] > most ? highs[j] : most;
    }
    for (; i < n; ++i) {
        std::uint16_t bits;
        __builtin_memcpy(&bits, x + 2 * i, 2);
        const int s = static_cast<std::int16_t>(bits ^ static_cast<std::uint16_t>(Flip));
        sum += s;
        square_sum += static_cast<std::int64_t>(s) * s;
        least = s < least ? s : least;
        most = s > most ? s : most;
    }
    const auto count = static_cast<std::int64_t>(n);
    square_sum += 2 * Offset * sum + std::int64_t{Offset} * Offset * count;
    return {sum + Offset * count, static_cast<std::uint64_t>(square_sum), least + Offset, most + Offset};
}

// Float pixels and 32-bit integers, in float64: `lanes` of them a vector.

constexpr std::size_t lanes = width / sizeof(double);
using Doubles __attribute__((vector_size(width))) = double;
using Floats __attribute__((vector_size(width))) = float;
using HalfFloats __attribute__((vector_size(width / 2))) = float;
using HalfIntegers __attribute__((vector_size(width / 2))) = std::int32_t;

inline Doubles every(double x) { return Doubles{} + x; }

inline Doubles widen(HalfFloats v) {
#if defined(__AVX512BW__)
    return _mm512_maskz_cvtps_pd(0xFF, v);  // the compiler's own way goes by halves
#else
    return __builtin_convertvector(v, Doubles);
#endif
}

inline Doubles widen(HalfIntegers v) { return __builtin_convertvector(v, Doubles); }

/// What is particular to a type of pixels: how `lanes` of them become float64; whether squares are exact
/// there; magnitudes as integers, in vectors of Bound.
template <class T>
struct Pixel;

template <>
struct Pixel<double> {
    static constexpr bool exact_square = false;
    using Vector = Doubles;
    using Bound = Bits;
    static constexpr long long magnitude = 0x7FFFFFFFFFFFFFFF;
    static constexpr double highest = largest_pixel;
    static Doubles load(const std::byte* x) { return load_as<Doubles>(x); }
};

template <>
struct Pixel<float> {
    static constexpr bool exact_square = true;  // 24 bits, 48 in the square
    using Vector = Floats;
    using Bound = Integers;
    static constexpr std::int32_t magnitude = 0x7FFFFFFF;
    static constexpr float highest = __FLT_MAX__;
    static Doubles load(const std::byte* x) { return widen(load_as<HalfFloats>(x)); }
};

template <>
struct Pixel<std::int32_t> {
    static constexpr bool exact_square = false;
    using Vector = Integers;
    static Doubles load(const std::byte* x) { return widen(load_as<HalfIntegers>(x)); }
};

template <>
struct Pixel<std::uint32_t> {
    static constexpr bool exact_square = false;
    using Vector = UnsignedIntegers;
    // Only AVX-512 converts unsigned integers.
    static Doubles load(const std::byte* x) {
        constexpr std::int32_t sign_bit = -2147483647 - 1;
        return widen(load_as<HalfIntegers>(x) ^ sign_bit) + 2147483648.0;
    }
};

template <class T>
constexpr bool is_integer = static_cast<T>(0.5) == static_cast<T>(0);

/// The limits from the i-th pixel on.
template <class T>
inline Doubles limit_of(const FloatSums& sums, std::size_t i) {
    if constexpr (is_integer<T>) return every(0x1p32);
    return Pixel<T>::load(reinterpret_cast<const std::byte*>(sums.limit) + i * sizeof(T));
}

/// Where high begins: at 1.5 * 2^k, in the middle between powers of two, such that a batch of numbers up
/// to `limit` neither adds nor takes away more than 2^(k-1). At 0 for float64, whose squares have too
/// many bits to lose any.
template <class T>
inline Doubles origin_of(Doubles limit) {
    static_assert(frames_per_batch <= 32);
    constexpr long long exponent = 0x7FF0000000000000;
    constexpr long long step = 1ll << 52;
    if constexpr (sizeof(T) == sizeof(double)) return Doubles{};
    return (Doubles)((((Bits)limit & exponent) + 7 * step) | (step >> 1));
}

/// a + b and a - b in the units that multiply and add, since those that only add are all in use.
inline Doubles other_add(Doubles a, Doubles b) {
#if defined(__AVX512BW__)
    return _mm512_fmadd_pd(a, every(1.0), b);
#elif defined(__AVX2__)
    return _mm256_fmadd_pd(a, every(1.0), b);
#else
    return a + b;
#endif
}
inline Doubles other_subtract(Doubles a, Doubles b) {
#if defined(__AVX512BW__)
    return _mm512_fmsub_pd(a, every(1.0), b);
#elif defined(__AVX2__)
    return _mm256_fmsub_pd(a, every(1.0), b);
#else
    return a - b;
#endif
}

/// high + low += x, where high outweighs x unless they are float64.
template <class T>
inline void add_into(Doubles& high, Doubles& low, Doubles x) {
    const Doubles s = high + x;
    const Doubles t = other_subtract(s, high);
    if constexpr (sizeof(T) == sizeof(double)) {
        low += (high - other_subtract(s, t)) + (x - t);
    } else {
        low = other_add(x - t, low);
    }
    high = s;
}

/// v * v - p, exactly, where p is v * v rounded.
inline Doubles square_residue(Doubles v, [[maybe_unused]] Doubles p) {
#if defined(__AVX512BW__)
    return _mm512_fmsub_pd(v, v, p);
#elif defined(__AVX2__)
    return _mm256_fmsub_pd(v, v, p);
#else
    Doubles residue;
    for (std::size_t j = 0; j < lanes; ++j) residue[j] = two_product(v[j], v[j]).low;
    return residue;
#endif
}

/// Moves high from what outweighed its terms to what outweighs larger ones.
inline void raise(double* high, double* low, Doubles from, Doubles to) {
    const Doubles sum = load_as<Doubles>(high) - from;
    const Unevaluated<Doubles> raised = fast_two_sum(to, sum);
    store(high, raised.high);
    store(low, load_as<Doubles>(low) + raised.low);
}

/// Raises the limits of one vector of pixels, at the i-th, above `largest`. False if one of these is
/// not finite, or too large.
template <class T>
inline bool raise_limits(typename Pixel<T>::Vector largest, std::size_t i, bool first, FloatSums& sums) {
    using Vector = typename Pixel<T>::Vector;
    constexpr T margin = 8;  // to raise them seldom
    constexpr std::size_t parts = width / sizeof(T) / lanes;
    const Vector highest = Vector{} + Pixel<T>::highest;
    T* const place = reinterpret_cast<T*>(sums.limit) + i;
    const auto before = load_as<Vector>(place);
    const Vector limit = largest < highest / margin ? largest * margin : highest;
    Doubles from[parts];
    for (std::size_t k = 0; k < parts; ++k) from[k] = limit_of<T>(sums, i + k * lanes);
    const Vector raised = largest > before ? limit : before;
    store(place, first ? limit : raised);
    for (std::size_t k = 0; k < parts; ++k) {
        const std::size_t j = i + k * lanes;
        const Doubles to = limit_of<T>(sums, j);
        if (first) {
            store(sums.sum_high + j, origin_of<T>(to));
            store(sums.sum_low + j, Doubles{});
            store(sums.squares_high + j, origin_of<T>(to * to));
            store(sums.squares_low + j, Doubles{});
        } else {
            raise(sums.sum_high + j, sums.sum_low + j, origin_of<T>(from[k]), origin_of<T>(to));
            raise(sums.squares_high + j, sums.squares_low + j, origin_of<T>(from[k] * from[k]),
                  origin_of<T>(to * to));
        }
    }
    return !any(~(Bits)(largest <= highest));
}

template <class T>
bool add_floats(const Group& group, std::size_t n, bool first, FloatSums& sums) noexcept {
    bool usable = true;
    if constexpr (is_integer<T>) {  // of 32 bits: one limit for all
        for (std::size_t i = 0; first && i < float_strip_pixels; ++i) {
            sums.sum_high[i] = origin_of<T>(every(0x1p32))[0];
            sums.squares_high[i] = origin_of<T>(every(0x1p64))[0];
            sums.sum_low[i] = sums.squares_low[i] = 0.0;
        }
    }
    over_vectors<width / sizeof(T)>(group, n, [&](const std::byte* const* x, std::size_t begin) {
        if constexpr (!is_integer<T>) {
            // The bits of positive floats are ordered as integers, infinity and NaN above all.
            using Bound = typename Pixel<T>::Bound;
            Bound largest{};
            for (std::size_t f = 0; f < group_frames; ++f) {
                const Bound magnitude = load_as<Bound>(x[f]) & Pixel<T>::magnitude;
                largest = magnitude > largest ? magnitude : largest;
            }
            const auto limit = load_as<Bound>(reinterpret_cast<const T*>(sums.limit) + begin);
            if (first || any((Bits)(largest > limit)))
                usable = raise_limits<T>((typename Pixel<T>::Vector)largest, begin, first, sums) && usable;
        }
        for (std::size_t k = 0; k < width / sizeof(T); k += lanes) {
            const std::size_t i = begin + k;
            auto sum_high = load_as<Doubles>(sums.sum_high + i);
            auto sum_low = load_as<Doubles>(sums.sum_low + i);
            auto squares_high = load_as<Doubles>(sums.squares_high + i);
            auto squares_low = load_as<Doubles>(sums.squares_low + i);
            for (std::size_t f = 0; f < group_frames; ++f) {
                const Doubles v = Pixel<T>::load(x[f] + k * sizeof(T));
                const Doubles p = v * v;
                add_into<T>(sum_high, sum_low, v);
                add_into<T>(squares_high, squares_low, p);
                if constexpr (!Pixel<T>::exact_square) squares_low += square_residue(v, p);
            }
            store(sums.sum_high + i, sum_high);
            store(sums.sum_low + i, sum_low);
            store(sums.squares_high + i, squares_high);
            store(sums.squares_low + i, squares_low);
        }
    });
    return usable;
}

/// Adds a batch's sum high + low, of which high began at `origin`, to a sum of the state.
inline void drain_into(double* state_high, double* state_low, Doubles high, Doubles low, Doubles origin,
                       double sign) {
    const Unevaluated<Doubles> sum = two_sum(high - origin, low);
    const Unevaluated<Doubles> total =
        detail::add(Unevaluated<Doubles>{load_as<Doubles>(state_high), load_as<Doubles>(state_low)},
                    Unevaluated<Doubles>{sum.high * sign, sum.low * sign});
    store(state_high, total.high);
    store(state_low, total.low);
}

template <class T>
void drain_floats(const FloatSums& sums, std::size_t n, bool subtract, double* sum_high, double* sum_low,
                  double* squares_high, double* squares_low) noexcept {
    const double sign = subtract ? -1.0 : 1.0;
    double* const state[] = {sum_high, sum_low, squares_high, squares_low};
    const auto drain_lanes = [&](std::size_t i, double* const* place) {
        const Doubles limit = limit_of<T>(sums, i);
        drain_into(place[0], place[1], load_as<Doubles>(sums.sum_high + i),
                   load_as<Doubles>(sums.sum_low + i), origin_of<T>(limit), sign);
        drain_into(place[2], place[3], load_as<Doubles>(sums.squares_high + i),
                   load_as<Doubles>(sums.squares_low + i), origin_of<T>(limit * limit), sign);
    };
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        double* place[4];
        for (std::size_t part = 0; part < 4; ++part) {
            place[part] = state[part] + i;
        }
        drain_lanes(i, place);
    }
    if (i == n) return;
    double padded[4][lanes] = {};
    double* place[4];
    for (std::size_t part = 0; part < 4; ++part) {
        place[part] = padded[part];
        __builtin_memcpy(place[part], state[part] + i, (n - i) * sizeof(double));
    }
    drain_lanes(i, place);
    for (std::size_t part = 0; part < 4; ++part)
        __builtin_memcpy(state[part] + i, place[part], (n - i) * sizeof(double));
}

/// Partial results by pixel number modulo 32: the same lanes, so the same bits, whatever the width
/// of the vectors.
constexpr std::size_t partials = 32;

inline double total(double* partial) {
    for (std::size_t half = partials / 2; half > 0; half /= 2)
        for (std::size_t j = 0; j < half; ++j) partial[j] += partial[j + half];
    return partial[0];
}

template <class T>
FloatStrip tell_floats(const std::byte* x, std::size_t n, const std::byte* next, double origin) noexcept {
    using Vector = typename Pixel<T>::Vector;
    constexpr std::size_t vectors = partials / lanes;
    constexpr std::size_t whole_vectors = partials * sizeof(T) / width;
    Doubles sums[vectors] = {};
    Doubles squares[vectors] = {};
    Doubles residue[vectors] = {};  // stays 0 as long as all pixels are finite
    Vector low[whole_vectors];
    Vector high[whole_vectors];
    T first;
    __builtin_memcpy(&first, x, sizeof first);
    for (std::size_t j = 0; j < whole_vectors; ++j) low[j] = high[j] = Vector{} + first;
    std::size_t i = 0;
    for (; i + partials <= n; i += partials) {
        for (std::size_t k = 0; k < partials * sizeof(T); k += cache_line)
            prefetch_half(next, i * sizeof(T) + k);
        for (std::size_t j = 0; j < vectors; ++j) {
            const Doubles v = Pixel<T>::load(x + (i + j * lanes) * sizeof(T));
            const Doubles d = v - origin;
            sums[j] = other_add(d, sums[j]);
            squares[j] += d * d;
            if constexpr (sizeof(T) == sizeof(double)) residue[j] += v - v;
        }
        for (std::size_t j = 0; j < whole_vectors; ++j) {
            const auto v = load_as<Vector>(x + i * sizeof(T) + j * width);
            low[j] = v < low[j] ? v : low[j];
            high[j] = v > high[j] ? v : high[j];
        }
    }
    double sum[partials];
    double square[partials];
    double rest[partials];
    T lows[partials];
    T highs[partials];
    __builtin_memcpy(sum, sums, sizeof sum);
    __builtin_memcpy(square, squares, sizeof square);
    __builtin_memcpy(rest, residue, sizeof rest);
    __builtin_memcpy(lows, low, sizeof lows);
    __builtin_memcpy(highs, high, sizeof highs);
    for (std::size_t j = 0; i + j < n; ++j) {
        T pixel;
        __builtin_memcpy(&pixel, x + (i + j) * sizeof(T), sizeof pixel);
        const auto v = static_cast<double>(pixel);
        const double d = v - origin;
        sum[j] += d;
        square[j] += d * d;
        rest[j] += sizeof(T) == sizeof(double) ? v - v : 0.0;
        lows[j] = pixel < lows[j] ? pixel : lows[j];
        highs[j] = pixel > highs[j] ? pixel : highs[j];
    }
    for (std::size_t j = 1; j < partials; ++j) {
        lows[0] = lows[j] < lows[0] ? lows[j] : lows[0];
        highs[0] = highs[j] > highs[0] ? highs[j] : highs[0];
    }
    FloatStrip strip{total(sum), total(square), static_cast<double>(lows[0]), static_cast<double>(highs[0]),
                     total(rest) == 0.0};
    // The squares of finite float32 pixels cannot overflow.
    if (sizeof(T) != sizeof(double)) strip.finite = strip.sum_of_squares - strip.sum_of_squares == 0.0;
    return strip;
}

void widen_float16(const std::byte* x, std::size_t n, float* out) noexcept {
    constexpr std::size_t pixels = width / sizeof(float);
    using Halves __attribute__((vector_size(width / 2))) = std::uint16_t;
    const auto widen_halves = [](Halves halves) -> Floats {
#if defined(__AVX512BW__)
        return _mm512_maskz_cvtph_ps(0xFFFF, (__m256i)halves);
#elif defined(__F16C__)
        return _mm256_cvtph_ps((__m128i)halves);
#else
        const auto bits = __builtin_convertvector(halves, UnsignedIntegers);
        const UnsignedIntegers magnitude = (bits & 0x7FFFu) << 13;
        // The exponent's bias is 15 there and 127 here. Multiplying puts it right for subnormals too.
        const auto scaled = (UnsignedIntegers)((Floats)magnitude * 0x1p112f);
        const auto beyond = (UnsignedIntegers)((Integers)magnitude >= 0x0F800000);  // infinite or NaN
        return (Floats)(scaled | (beyond & (magnitude | 0x7F800000u)) | ((bits & 0x8000u) << 16));
#endif
    };
    std::size_t i = 0;
    for (; i + pixels <= n; i += pixels)
        store(out + i, widen_halves(load_as<Halves>(x + i * sizeof(std::uint16_t))));
    if (i == n) return;
    std::uint16_t padded[pixels] = {};
    float widened[pixels];
    __builtin_memcpy(padded, x + i * sizeof *padded, (n - i) * sizeof *padded);
    store(widened, widen_halves(load_as<Halves>(padded)));
    __builtin_memcpy(out + i, widened, (n - i) * sizeof *out);
}

}  // namespace

const MomentsKernels moments_kernels = {
    {clear_bytes, add_bytes<0>, drain_bytes<0>, tell_bytes<0, 0>},
    {clear_bytes, add_bytes<0x80>, drain_bytes<-128>, tell_bytes<0x80, -128>},
    {clear_words, add_words<0x8000>, drain_words<32768>, tell_words<0x8000, 32768>},
    {clear_words, add_words<0>, drain_words<0>, tell_words<0, 0>},
    {add_floats<std::uint32_t>, drain_floats<std::uint32_t>, tell_floats<std::uint32_t>},
    {add_floats<std::int32_t>, drain_floats<std::int32_t>, tell_floats<std::int32_t>},
    {add_floats<float>, drain_floats<float>, tell_floats<float>},
    {add_floats<double>, drain_floats<double>, tell_floats<double>},
    widen_float16,
};

}  // namespace camnorm::detail::CAMNORM_ISA
