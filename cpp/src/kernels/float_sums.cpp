// Sums and statistics of float frames and 32-bit integers, from one pass over the pixels.

#include "kernels/float_sums.hpp"

#include "double_double.hpp"
#include "kernels/float_batch.hpp"
#include "kernels/float_pixels.hpp"
#include "kernels/float_statistics.hpp"
#include "kernels/prefetch.hpp"
#include "kernels/simd.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

/// Pixels of which all vectors, of any type, hold a divisor.
constexpr std::size_t granule = 32;

/// Adds up n pixels of each frame, a multiple of `granule`: their sums over frames, those over pixels, or
/// both. One part of the partial sums at a time, since the registers do not hold more, and two vectors
/// together, so that there is always something to do for the processor.
template <class T, std::size_t Frames, bool Add, bool Describe, bool Exact>
inline void add_up(const std::byte* const* frames, const std::byte* const* next, std::size_t n,
                   [[maybe_unused]] std::size_t begin, [[maybe_unused]] FloatSums* sums,
                   [[maybe_unused]] const double* origins, [[maybe_unused]] Partials* partial) {
    constexpr std::size_t parts = partials / lanes;
    constexpr std::size_t together = granule / partials;
    const std::byte* x[Frames];
    Doubles origin[Frames];
    for (std::size_t f = 0; f < Frames; ++f) {
        x[f] = frames[f];
        if constexpr (Describe) origin[f] = every(origins[f]);
    }
    for (std::size_t part = 0; part < parts; ++part) {
        Doubles sum[Frames];
        Doubles square[Frames];
        for (std::size_t f = 0; Describe && f < Frames; ++f) {
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
                    if constexpr (Describe) {
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
        for (std::size_t f = 0; Describe && f < Frames; ++f) {
            partial[f].sum[part] = sum[f];
            partial[f].square[part] = square[f];
        }
    }
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
    Ordered<T> low[Frames], high[Frames];  ///< of each frame, if it is described
    bool usable = true;
};

/// Looks at n pixels of each frame, a multiple of those of a vector. Of float32 to be added, it raises
/// the limits. Gives whether the sums of pixels are exact in their high parts alone.
template <class T, std::size_t Frames, bool Add, bool Describe>
inline bool look(const std::byte* const* frames, std::size_t n, [[maybe_unused]] std::size_t begin,
                 [[maybe_unused]] bool first, [[maybe_unused]] FloatSums* sums, Seen<T, Frames>& seen) {
    const std::byte* x[Frames];
    Ordered<T> low[Frames], high[Frames];
    for (std::size_t f = 0; f < Frames; ++f) {
        x[f] = frames[f];
        if constexpr (Describe) low[f] = seen.low[f];
        if constexpr (Describe) high[f] = seen.high[f];
    }
    if constexpr (Add && same<T, float>)
        if (first) seen.usable = raise_limits<Frames>(x, n, begin, true, *sums) && seen.usable;
    Bits refused{};
    Integers beyond{};
    Integers inexact{};
    for (std::size_t i = 0; i < n; i += width / sizeof(T)) {
        for (std::size_t f = 0; Describe && f < Frames; ++f) {
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
    for (std::size_t f = 0; Describe && f < Frames; ++f) {
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

/// Pixels after which the least and largest, and then sums, get their turn: they come from the first-level
/// cache the second time, and are few enough that memory is read all the while.
constexpr std::size_t piece_pixels = 128;

/// The pixels from `whole` to before n, fewer than `granule`. They are filled up with an existing pixel,
/// which changes no extremes. Beyond n nobody looks at sums of pixels; those of frames take origins there,
/// which add nothing.
template <class T, std::size_t Frames, bool Add, bool Describe>
inline void pass_rest(const std::byte* const* frames, std::size_t whole, std::size_t n, bool first,
                      FloatSums* sums, [[maybe_unused]] const double* origins,
                      [[maybe_unused]] Partials* partial, Seen<T, Frames>& seen) {
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
        for (std::size_t i = 0; Describe && i < granule; i += lanes)
            store(wide[f] + i, Pixel<T>::load(padded[f] + i * sizeof(T)));
        for (std::size_t i = n - whole; Describe && i < granule; ++i) wide[f][i] = origins[f];
    }
    look<T, Frames, Add, Describe>(x, granule, whole, first, sums, seen);
    if constexpr (Add)
        add_up<T, Frames, true, false, bounded<T>>(x, nothing, granule, whole, sums, nullptr, nullptr);
    if constexpr (Describe)
        add_up<double, Frames, false, true, true>(d, nothing, granule, 0, nullptr, origins, partial);
}

/// Adds n pixels of each frame to the sums, describes them, or both. False if not all are finite, or fit
/// for the sums.
template <class T, std::size_t Frames, bool Add, bool Describe>
bool pass(const std::byte* const* frames, const std::byte* const* next, std::size_t n, bool first,
          FloatSums* sums, const double* origins, FloatStatistics* statistics) noexcept {
    Partials partial[Frames];
    Seen<T, Frames> seen;
    for (std::size_t f = 0; Describe && f < Frames; ++f) {
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
        const bool exact = look<T, Frames, Add, Describe>(x, count, begin, first, sums, seen);
        if (bounded<T> || (same<T, float> && exact))
            add_up<T, Frames, Add, Describe, true>(x, later, count, begin, sums, origins, partial);
        else
            add_up<T, Frames, Add, Describe, false>(x, later, count, begin, sums, origins, partial);
    }
    if (whole < n) pass_rest<T, Frames, Add, Describe>(frames, whole, n, first, sums, origins, partial, seen);
    for (std::size_t f = 0; Describe && f < Frames; ++f) {
        const auto low =
            fold<typename Pixel<T>::Lane, width>(&seen.low[f], [](auto a, auto b) { return lesser(a, b); });
        const auto high =
            fold<typename Pixel<T>::Lane, width>(&seen.high[f], [](auto a, auto b) { return greater(a, b); });
        // Which zero comes first depends on the width of the vectors: a positive one is taken.
        statistics[f] = {total(partial[f].sum), total(partial[f].square), Pixel<T>::value(low) + 0.0,
                         Pixel<T>::value(high) + 0.0, seen.usable};
    }
    return seen.usable;
}

template <class T>
bool add_floats(const Group& group, std::size_t n, bool first, FloatSums& sums, const double* origins,
                FloatStatistics* statistics) noexcept {
    if (statistics == nullptr)
        return pass<T, group_frames, true, false>(group.x, group.next, n, first, &sums, nullptr, nullptr);
    return pass<T, group_frames, true, true>(group.x, group.next, n, first, &sums, origins, statistics);
}

template <class T>
FloatStatistics describe_floats(const std::byte* x, std::size_t n, const std::byte* next,
                                double origin) noexcept {
    FloatStatistics statistics;
    pass<T, 1, false, true>(&x, &next, n, false, nullptr, &origin, &statistics);
    return statistics;
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

}  // namespace

const FloatSumKernels float_sum_kernels = {
    {add_floats<std::uint32_t>, drain_floats<std::uint32_t>, describe_floats<std::uint32_t>},
    {add_floats<std::int32_t>, drain_floats<std::int32_t>, describe_floats<std::int32_t>},
    {add_floats<Float16>, drain_floats<Float16>, describe_floats<Float16>},
    {add_floats<float>, drain_floats<float>, describe_floats<float>},
    {add_floats<double>, drain_floats<double>, describe_floats<double>},
};

}  // namespace camnorm::detail::CAMNORM_ISA
