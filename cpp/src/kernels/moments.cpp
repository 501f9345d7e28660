#include "kernels/moments.hpp"

#include "double_double.hpp"
#include "kernels/simd.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

constexpr std::size_t cache_line = 64;

// The second-level cache: the first, of 32 KiB and 8 ways in many processors, would lose the sums to frames
// that lie a power of two apart.
constexpr int fetch_to = 2;

inline void prefetch(const Group& group, std::size_t offset) {
    for (const std::byte* next : group.next) __builtin_prefetch(next + offset, 0, fetch_to);
}

/// One line of memory for every two that are done with.
inline void prefetch_half(const std::byte* next, std::size_t done) {
    if (done % (2 * cache_line) == 0) __builtin_prefetch(next + done / 2, 0, fetch_to);
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
        square_sum += std::int64_t{u} * u;
        least = u < least ? u : least;
        most = u > most ? u : most;
    }
    const auto count = static_cast<std::int64_t>(n);
    square_sum += std::int64_t{2} * Offset * sum + std::int64_t{Offset} * Offset * count;
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
    square_sum += std::int64_t{2} * Offset * sum + std::int64_t{Offset} * Offset * count;
    return {sum + Offset * count, static_cast<std::uint64_t>(square_sum), least + Offset, most + Offset};
}

// Float pixels and 32-bit integers, in float64: `lanes` of them a vector.

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
/// which numbers are in order; and a mask of those that may not be added, or told of. Of types with a
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

/// Sums of one frame by pixel number modulo `partials`: the same lanes, so the same bits, whatever the
/// width of the vectors.
constexpr std::size_t partials = 16;
struct Partials {
    Doubles sum[partials / lanes];
    Doubles square[partials / lanes];
};

/// Pixels of which all vectors, of any type, hold a divisor.
constexpr std::size_t granule = 32;

/// Adds up n pixels of each frame, a multiple of `granule`: their sums over frames, those over pixels, or
/// both. One part of the partial sums at a time, since the registers do not hold more, and two vectors
/// together, so that there is always something to do for the processor.
template <class T, std::size_t Frames, bool Add, bool Tell, bool Exact>
inline void add_up(const std::byte* const* frames, const std::byte* const* next, std::size_t n,
                   [[maybe_unused]] std::size_t begin, [[maybe_unused]] FloatSums* sums,
                   [[maybe_unused]] const double* origins, [[maybe_unused]] Partials* partial) {
    constexpr std::size_t parts = partials / lanes;
    constexpr std::size_t together = granule / partials;
    const std::byte* x[Frames];
    Doubles origin[Frames];
    for (std::size_t f = 0; f < Frames; ++f) {
        x[f] = frames[f];
        if constexpr (Tell) origin[f] = every(origins[f]);
    }
    for (std::size_t part = 0; part < parts; ++part) {
        Doubles sum[Frames];
        Doubles square[Frames];
        for (std::size_t f = 0; Tell && f < Frames; ++f) {
            sum[f] = partial[f].sum[part];
            square[f] = partial[f].square[part];
        }
        for (std::size_t first = 0; first < n; first += granule) {
            for (std::size_t f = 0; f < Frames; ++f) {
                if (f * parts / Frames != part) continue;
                for (std::size_t k = 0; k < granule * sizeof(T); k += cache_line)
                    __builtin_prefetch(next[f] + first * sizeof(T) + k, 0, fetch_to);
            }
            const std::size_t i = first + part * lanes;
            Doubles sum_high[together], sum_low[together], squares_high[together], squares_low[together];
            for (std::size_t k = 0; Add && k < together; ++k) {
                const std::size_t place = begin + i + k * partials;
                sum_high[k] = load_as<Doubles>(sums->sum_high + place);
                if constexpr (!Exact) sum_low[k] = load_as<Doubles>(sums->sum_low + place);
                squares_high[k] = load_as<Doubles>(sums->squares_high + place);
                squares_low[k] = load_as<Doubles>(sums->squares_low + place);
            }
            for (std::size_t f = 0; f < Frames; ++f) {
                for (std::size_t k = 0; k < together; ++k) {
                    const Doubles v = Pixel<T>::load(x[f] + (i + k * partials) * sizeof(T));
                    if constexpr (Add) {
                        add_pixels<T, Exact>(sum_high[k], sum_low[k], v);
                        add_squares<T>(squares_high[k], squares_low[k], v);
                    }
                    if constexpr (Tell) {
                        const Doubles d = v - origin[f];
                        sum[f] += d;
                        square[f] += d * d;
                    }
                }
            }
            for (std::size_t k = 0; Add && k < together; ++k) {
                const std::size_t place = begin + i + k * partials;
                store(sums->sum_high + place, sum_high[k]);
                if constexpr (!Exact) store(sums->sum_low + place, sum_low[k]);
                store(sums->squares_high + place, squares_high[k]);
                store(sums->squares_low + place, squares_low[k]);
            }
        }
        for (std::size_t f = 0; Tell && f < Frames; ++f) {
            partial[f].sum[part] = sum[f];
            partial[f].square[part] = square[f];
        }
    }
}

/// Puts the lanes of `Size` bytes together: the upper half to the lower half, and so on.
template <class Lane, std::size_t Size, class Operation>
inline Lane fold(const void* values, const Operation& operation) {
    if constexpr (Size == sizeof(Lane)) {
        Lane value;
        __builtin_memcpy(&value, values, sizeof value);
        return value;
    } else if constexpr (Size == 2 * sizeof(Lane)) {
        Lane value[2];
        __builtin_memcpy(value, values, sizeof value);
        return operation(value[0], value[1]);
    } else {
        using Half __attribute__((vector_size(Size / 2))) = Lane;
        const Half folded =
            operation(load_as<Half>(values), load_as<Half>(static_cast<const std::byte*>(values) + Size / 2));
        return fold<Lane, Size / 2>(&folded, operation);
    }
}

inline double total(const Doubles* partial) {
    constexpr std::size_t parts = partials / lanes;
    Doubles sums[parts];
    __builtin_memcpy(sums, partial, sizeof sums);
    for (std::size_t half = parts / 2; half > 0; half /= 2)
        for (std::size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
    return fold<double, width>(sums, [](auto a, auto b) { return a + b; });
}

template <class A>
inline A lesser(A a, A b) {
    return b < a ? b : a;
}
template <class A>
inline A greater(A a, A b) {
    return b > a ? b : a;
}

/// Raises the limits of n float32 pixels where one of them is larger. False if one is not finite.
template <std::size_t Frames>
inline bool raise_limits(const std::byte* const* x, std::size_t n, std::size_t begin, bool first,
                         FloatSums& sums) {
    bool usable = true;
    for (std::size_t i = 0; i < n; i += width / sizeof(float)) {
        Integers largest{};
        for (std::size_t f = 0; f < Frames; ++f)
            largest = greater(largest, Pixel<float>::magnitude(x[f] + i * sizeof(float)));
        if (first || any((Bits)(largest > load_as<Integers>(sums.limit + begin + i))))
            usable = raise_limits((Floats)largest, begin + i, first, sums) && usable;
    }
    return usable;
}

/// What is seen of the pixels before they are added up.
template <class T, std::size_t Frames>
struct Seen {
    Ordered<T> low[Frames], high[Frames];  ///< of each frame, if it is told of
    bool usable = true;
};

/// Looks at n pixels of each frame, a multiple of those of a vector. Of float32 to be added, it raises
/// the limits, and tells whether the sums of pixels are exact in their high parts alone.
template <class T, std::size_t Frames, bool Add, bool Tell>
inline bool look(const std::byte* const* frames, std::size_t n, [[maybe_unused]] std::size_t begin,
                 [[maybe_unused]] bool first, [[maybe_unused]] FloatSums* sums, Seen<T, Frames>& seen) {
    const std::byte* x[Frames];
    Ordered<T> low[Frames], high[Frames];
    for (std::size_t f = 0; f < Frames; ++f) {
        x[f] = frames[f];
        if constexpr (Tell) low[f] = seen.low[f];
        if constexpr (Tell) high[f] = seen.high[f];
    }
    if constexpr (Add && same<T, float>)
        if (first) seen.usable = raise_limits<Frames>(x, n, begin, true, *sums) && seen.usable;
    Bits refused{};
    Integers beyond{};
    Integers inexact{};
    for (std::size_t i = 0; i < n; i += width / sizeof(T)) {
        for (std::size_t f = 0; Tell && f < Frames; ++f) {
            const Ordered<T> v = Pixel<T>::ordered(x[f] + i * sizeof(T));
            low[f] = lesser(low[f], v);
            high[f] = greater(high[f], v);
        }
        if constexpr (Add && same<T, float>) {
            constexpr std::int32_t top = 0x7FFFFFFF;
            Integers largest{};
            Integers least = Integers{} + top;  // of magnitudes + top, which leaves zeros at the top
            for (std::size_t f = 0; f < Frames; ++f) {
                const Integers magnitude = Pixel<T>::magnitude(x[f] + i * sizeof(T));
                largest = greater(largest, magnitude);
                least = lesser(least, (Integers)((UnsignedIntegers)magnitude + top));
            }
            const auto limit = load_as<UnsignedIntegers>(sums->limit + begin + i);
            beyond |= largest > (Integers)limit;
            inexact |= least < (Integers)(limit - exact_range + top);
        } else if constexpr (!is_integer<T>) {
            for (std::size_t f = 0; f < Frames; ++f)
                refused |= Pixel<T>::template refused<Add>(x[f] + i * sizeof(T));
        }
    }
    for (std::size_t f = 0; Tell && f < Frames; ++f) {
        seen.low[f] = low[f];
        seen.high[f] = high[f];
    }
    seen.usable = seen.usable && !any(refused);
    if constexpr (Add && same<T, float>) {
        if (any((Bits)beyond)) {
            seen.usable = raise_limits<Frames>(x, n, begin, false, *sums) && seen.usable;
            return false;
        }
    }
    return !any((Bits)inexact);
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

/// Pixels after which the least and largest, and then sums, get their turn: they come from the first-level
/// cache the second time, and are few enough that memory is read all the while.
constexpr std::size_t piece_pixels = 128;

/// Adds n pixels of each frame to the sums, tells of them, or both. False if not all are finite, or fit
/// for the sums.
template <class T, std::size_t Frames, bool Add, bool Tell>
bool pass(const std::byte* const* frames, const std::byte* const* next, std::size_t n, bool first,
          FloatSums* sums, const double* origins, FloatStrip* told) noexcept {
    Partials partial[Frames];
    Seen<T, Frames> seen;
    for (std::size_t f = 0; Tell && f < Frames; ++f) {
        T pixel[width / sizeof(T)];
        for (T& p : pixel) __builtin_memcpy(&p, frames[f], sizeof p);
        seen.low[f] = seen.high[f] = Pixel<T>::ordered(reinterpret_cast<const std::byte*>(pixel));
        partial[f] = {};
    }
    if constexpr (Add && !same<T, float>)
        if (first) clear_floats<T>(*sums);

    const std::size_t whole = n / granule * granule;
    for (std::size_t begin = 0; begin < whole; begin += piece_pixels) {
        const std::size_t count = whole - begin < piece_pixels ? whole - begin : piece_pixels;
        const std::byte* x[Frames];
        const std::byte* later[Frames];
        for (std::size_t f = 0; f < Frames; ++f) {
            x[f] = frames[f] + begin * sizeof(T);
            later[f] = next[f] + begin * sizeof(T);
        }
        const bool exact = look<T, Frames, Add, Tell>(x, count, begin, first, sums, seen);
        if (bounded<T> || (same<T, float> && exact))
            add_up<T, Frames, Add, Tell, true>(x, later, count, begin, sums, origins, partial);
        else
            add_up<T, Frames, Add, Tell, false>(x, later, count, begin, sums, origins, partial);
    }
    if (whole < n) {
        // Filled up with a pixel that is there, which changes no extremes. Beyond n nobody looks at sums
        // of pixels; those of frames take origins there, which add nothing.
        std::byte padded[Frames][granule * sizeof(T)];
        double wide[Frames][granule];
        const std::byte* x[Frames];
        const std::byte* d[Frames];
        const std::byte* nothing[Frames];
        for (std::size_t f = 0; f < Frames; ++f) {
            x[f] = padded[f];
            d[f] = reinterpret_cast<const std::byte*>(wide[f]);
            nothing[f] = zeros;
            for (std::size_t i = 0; i < granule; ++i)
                __builtin_memcpy(padded[f] + i * sizeof(T),
                                 frames[f] + (whole + i < n ? whole + i : whole) * sizeof(T), sizeof(T));
            for (std::size_t i = 0; Tell && i < granule; i += lanes)
                store(wide[f] + i, Pixel<T>::load(padded[f] + i * sizeof(T)));
            for (std::size_t i = n - whole; Tell && i < granule; ++i) wide[f][i] = origins[f];
        }
        look<T, Frames, Add, Tell>(x, granule, whole, first, sums, seen);
        if constexpr (Add)
            add_up<T, Frames, true, false, bounded<T>>(x, nothing, granule, whole, sums, nullptr, nullptr);
        if constexpr (Tell)
            add_up<double, Frames, false, true, true>(d, nothing, granule, 0, nullptr, origins, partial);
    }
    for (std::size_t f = 0; Tell && f < Frames; ++f) {
        const auto low =
            fold<typename Pixel<T>::Lane, width>(&seen.low[f], [](auto a, auto b) { return lesser(a, b); });
        const auto high =
            fold<typename Pixel<T>::Lane, width>(&seen.high[f], [](auto a, auto b) { return greater(a, b); });
        // Which zero comes first depends on the width of the vectors: a positive one it shall be.
        told[f] = {total(partial[f].sum), total(partial[f].square), Pixel<T>::value(low) + 0.0,
                   Pixel<T>::value(high) + 0.0, seen.usable};
    }
    return seen.usable;
}

template <class T>
bool add_floats(const Group& group, std::size_t n, bool first, FloatSums& sums, const double* origins,
                FloatStrip* told) noexcept {
    if (told == nullptr)
        return pass<T, group_frames, true, false>(group.x, group.next, n, first, &sums, nullptr, nullptr);
    return pass<T, group_frames, true, true>(group.x, group.next, n, first, &sums, origins, told);
}

template <class T>
FloatStrip tell_floats(const std::byte* x, std::size_t n, const std::byte* next, double origin) noexcept {
    FloatStrip told;
    pass<T, 1, false, true>(&x, &next, n, false, nullptr, &origin, &told);
    return told;
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
        const Origins origins = origins_of<T>(sums, i);
        drain_into(place[0], place[1], load_as<Doubles>(sums.sum_high + i),
                   load_as<Doubles>(sums.sum_low + i), origins.sum, sign);
        drain_into(place[2], place[3], load_as<Doubles>(sums.squares_high + i),
                   load_as<Doubles>(sums.squares_low + i), origins.squares, sign);
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
    {add_floats<Float16>, drain_floats<Float16>, tell_floats<Float16>},
    {add_floats<float>, drain_floats<float>, tell_floats<float>},
    {add_floats<double>, drain_floats<double>, tell_floats<double>},
    widen_float16,
};

}  // namespace camnorm::detail::CAMNORM_ISA
