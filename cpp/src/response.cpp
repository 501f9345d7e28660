#include "camnorm/response.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "blocks.hpp"
#include "camnorm/error.hpp"
#include "camnorm/runtime.hpp"
#include "checks.hpp"
#include "combine.hpp"
#include "double_double.hpp"
#include "kernels/float_sums.hpp"
#include "kernels/products.hpp"
#include "pixels.hpp"

namespace camnorm {
namespace {

using namespace detail;

__extension__ using int128 = __int128;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// Exposures of integer frames count in units of 1 / this.
constexpr double units = 256.0;
constexpr double largest_exposure = 65536.0;

constexpr const char* too_large = "the sums would overflow: too many frames, or too large exposures";

AddIntegerProducts integer_adder(DType dtype) {
    const ProductKernels& k = product_kernels();
    switch (dtype) {
        case DType::uint8: return k.uint8;
        case DType::int8: return k.int8;
        case DType::uint16: return k.uint16;
        default: return k.int16;
    }
}

/// For the pixels that a PixelReader gives.
AddFloatProducts float_adder(DType dtype) {
    const ProductKernels& k = product_kernels();
    switch (dtype) {
        case DType::uint32: return k.uint32;
        case DType::int32: return k.int32;
        case DType::float64: return k.float64;
        default: return k.float32;
    }
}

void check_exposures(const double* exposures, std::size_t count, Kind kind) {
    const double limit = kind == Kind::integer ? largest_exposure : largest_pixel;
    for (std::size_t f = 0; f < count; ++f)
        if (!(std::abs(exposures[f]) <= limit))
            throw InvalidArgument("the exposure of frame " + std::to_string(f) + " is not a number between " +
                                  (kind == Kind::integer ? "-65536 and 65536" : "-3e144 and 3e144"));
}

/// Sums over exposures alone.
struct ExposureSums {
    std::int64_t sum = 0;
    std::uint64_t squares = 0;
    DoubleDouble float_sum{0.0, 0.0}, float_squares{0.0, 0.0};
};

std::int64_t in_units(double exposure) { return static_cast<std::int64_t>(std::nearbyint(exposure * units)); }

/// @throws InvalidArgument if the squares overflow.
ExposureSums exposure_sums(const double* exposures, std::size_t count, Kind kind) {
    ExposureSums sums;
    for (std::size_t f = 0; f < count; ++f) {
        if (kind == Kind::integer) {
            const std::int64_t w = in_units(exposures[f]);
            sums.sum += w;
            if (__builtin_add_overflow(sums.squares, static_cast<std::uint64_t>(w * w), &sums.squares))
                throw InvalidArgument(too_large);
        } else {
            sums.float_sum = detail::add(sums.float_sum, exposures[f]);
            sums.float_squares = detail::add(sums.float_squares, two_product(exposures[f], exposures[f]));
        }
    }
    return sums;
}

DoubleDouble sum_of(const ResponseState& s) { return {s.exposure_sum_high, s.exposure_sum_low}; }
DoubleDouble squares_of(const ResponseState& s) {
    return {s.exposure_sum_of_squares_high, s.exposure_sum_of_squares_low};
}
ExposureSums exposure_sums(const ResponseState& s) {
    return {s.exposure_sum, s.exposure_sum_of_squares, sum_of(s), squares_of(s)};
}

/// Adds to the sums over exposures and the count, or takes away. @throws InvalidArgument if they would
/// overflow, or more is taken away than there is; nothing has changed then.
void put(ResponseState& s, const ExposureSums& sums, std::uint64_t count, bool subtract) {
    if (subtract) check_subtractable(count, s.count);
    if (!subtract && count > PixelResponse::max_count - s.count) throw InvalidArgument(too_large);
    std::uint64_t squares = 0;
    if (subtract ? __builtin_sub_overflow(s.exposure_sum_of_squares, sums.squares, &squares)
                 : __builtin_add_overflow(s.exposure_sum_of_squares, sums.squares, &squares))
        throw InvalidArgument(subtract ? "frames were not added with these exposures" : too_large);
    s.exposure_sum_of_squares = squares;
    s.exposure_sum += subtract ? -sums.sum : sums.sum;
    const auto plus = [&](DoubleDouble a, DoubleDouble b) {
        return detail::add(a, subtract ? negate(b) : b);
    };
    const DoubleDouble sum = plus(sum_of(s), sums.float_sum);
    const DoubleDouble float_squares = plus(squares_of(s), sums.float_squares);
    s.exposure_sum_high = sum.high;
    s.exposure_sum_low = sum.low;
    s.exposure_sum_of_squares_high = float_squares.high;
    s.exposure_sum_of_squares_low = float_squares.low;
    s.count = subtract ? s.count - count : s.count + count;
}

void reset_if_empty(ResponseState& s) {
    // Double-double sums keep a last rounding error; in place, since somebody may hold a view of them.
    if (s.count != 0) return;
    s.exposure_sum = 0;
    s.exposure_sum_of_squares = 0;
    s.exposure_sum_high = s.exposure_sum_low = 0.0;
    s.exposure_sum_of_squares_high = s.exposure_sum_of_squares_low = 0.0;
    std::fill(s.products.begin(), s.products.end(), 0);
    std::fill(s.products_high.begin(), s.products_high.end(), 0.0);
    std::fill(s.products_low.begin(), s.products_low.end(), 0.0);
}

/// n² times the variance of the exposures: of integers exact, in units².
int128 scatter_of_integers(const ResponseState& s) {
    return static_cast<int128>(s.count) * s.exposure_sum_of_squares -
           static_cast<int128>(s.exposure_sum) * s.exposure_sum;
}
DoubleDouble scatter_of_floats(const ResponseState& s) {
    const DoubleDouble n{static_cast<double>(s.count), 0.0};
    return detail::add(multiply(n, squares_of(s)), negate(multiply(sum_of(s), sum_of(s))));
}

}  // namespace

PixelResponse::PixelResponse(FrameShape shape, Kind kind) {
    check_pixels(shape);
    state_.kind = kind;
    state_.shape = shape;
    if (kind == Kind::integer) {
        state_.products.resize(shape.pixels());
    } else {
        state_.products_high.resize(shape.pixels());
        state_.products_low.resize(shape.pixels());
    }
}

PixelResponse::PixelResponse(ResponseState state) : state_(std::move(state)) {
    const std::size_t pixels = state_.shape.pixels();
    check_pixels(state_.shape);
    const bool integer = state_.kind == Kind::integer;
    const std::size_t floats = integer ? 0 : pixels;
    const bool complete = state_.products.size() == (integer ? pixels : 0) &&
                          state_.products_high.size() == floats && state_.products_low.size() == floats;
    check_state(state_.shape, complete, state_.count, max_count);
}

void PixelResponse::accumulate(const FramesView& frames, const double* exposures, bool subtract,
                               int threads) {
    check_frames(frames.dtype, frames.shape, state_.shape, state_.kind, "the response");
    check_exposures(exposures, frames.count, state_.kind);
    threads = resolve_threads(threads);
    if (state_.kind == Kind::floating) check_finite(frame_statistics(frames, threads));
    put(state_, exposure_sums(exposures, frames.count, state_.kind), frames.count, subtract);
    const double sign = subtract ? -1.0 : 1.0;
    over_pixels(state_.shape.pixels(), threads, [&](std::size_t, std::size_t begin, std::size_t n) {
        PixelReader reader(frames);
        for (std::size_t f = 0; f < frames.count; ++f) {
            const std::byte* x = reader.read(f, begin, n);
            const double w = sign * exposures[f];
            if (state_.kind == Kind::integer)
                integer_adder(frames.dtype)(x, n, in_units(w), state_.products.data() + begin);
            else
                float_adder(frames.dtype)(x, n, w, state_.products_high.data() + begin,
                                          state_.products_low.data() + begin);
        }
    });
    reset_if_empty(state_);
}

void PixelResponse::add(const FramesView& frames, const double* exposures, int threads) {
    accumulate(frames, exposures, false, threads);
}

void PixelResponse::subtract(const FramesView& frames, const double* exposures, int threads) {
    accumulate(frames, exposures, true, threads);
}

void PixelResponse::combine(const PixelResponse& other, bool subtract, int threads) {
    const ResponseState& o = other.state_;
    if (o.shape != state_.shape)
        throw InvalidArgument("the response has shape " + to_string(o.shape) + ", this one " +
                              to_string(state_.shape));
    if (o.kind != state_.kind)
        throw WrongKind("responses of integer frames and of float frames cannot be put together");
    put(state_, exposure_sums(o), o.count, subtract);
    over_pixels(state_.shape.pixels(), threads, [&](std::size_t, std::size_t begin, std::size_t n) {
        if (state_.kind == Kind::integer)
            detail::combine(&state_.products[begin], &o.products[begin], n, subtract);
        else
            detail::combine(&state_.products_high[begin], &state_.products_low[begin],
                            &o.products_high[begin], &o.products_low[begin], n, subtract);
    });
    reset_if_empty(state_);
}

void PixelResponse::merge(const PixelResponse& other, int threads) { combine(other, false, threads); }

void PixelResponse::unmerge(const PixelResponse& other, int threads) { combine(other, true, threads); }

Exposures PixelResponse::exposures() const {
    if (state_.count == 0) return {not_a_number, not_a_number};
    const auto n = static_cast<double>(state_.count);
    if (state_.kind == Kind::integer)
        return {static_cast<double>(state_.exposure_sum) / n / units,
                static_cast<double>(scatter_of_integers(state_)) / (n * n) / (units * units)};
    return {state_.exposure_sum_high / n, std::max(scatter_of_floats(state_).high, 0.0) / (n * n)};
}

void PixelResponse::gain(const PixelMoments& moments, double* out, int threads) const {
    const MomentsState& m = moments.state();
    if (m.shape != state_.shape || m.kind != state_.kind || m.count != state_.count)
        throw InvalidArgument("these are not the moments of the " + std::to_string(state_.count) +
                              " frames of shape " + to_string(state_.shape) + " of the response");
    const int128 scatter = scatter_of_integers(state_);
    const DoubleDouble float_scatter = scatter_of_floats(state_);
    const DoubleDouble n{static_cast<double>(state_.count), 0.0};
    const DoubleDouble exposure_sum = sum_of(state_);
    over_pixels(state_.shape.pixels(), threads, [&](std::size_t, std::size_t begin, std::size_t pixels) {
        for (std::size_t i = begin; i < begin + pixels; ++i) {
            if (state_.kind == Kind::integer) {
                const int128 product = static_cast<int128>(state_.count) * state_.products[i] -
                                       static_cast<int128>(state_.exposure_sum) * m.sum[i];
                out[i] = scatter == 0 ? not_a_number
                                      : static_cast<double>(product) / static_cast<double>(scatter) * units;
            } else {
                const DoubleDouble product =
                    detail::add(multiply(n, {state_.products_high[i], state_.products_low[i]}),
                                negate(multiply(exposure_sum, {m.sum_high[i], m.sum_low[i]})));
                out[i] = float_scatter.high > 0 ? divide(product, float_scatter).high : not_a_number;
            }
        }
    });
}

}  // namespace camnorm
