#include "camnorm/moments.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "blocks.hpp"
#include "camnorm/error.hpp"
#include "camnorm/runtime.hpp"
#include "double_double.hpp"
#include "kernels/moments.hpp"
#include "parallel.hpp"

namespace camnorm {
namespace {

using namespace detail;

__extension__ using uint128 = unsigned __int128;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// Beyond it the square of a pixel, or the sum of squares, might overflow.
constexpr double largest_pixel = 0x1p480;

/// Scratch for one block of a frame that does not lie without gaps, or is widened.
struct Scratch {
    alignas(64) std::byte pixels[block_pixels * sizeof(double)];
    alignas(64) float widened[block_pixels];
};

/// Pixels of one block as the kernels take them: without gaps, float16 as float32.
const std::byte* block_of(const FramesView& frames, bool dense, std::size_t frame, std::size_t begin,
                          std::size_t n, Scratch& scratch) {
    const std::byte* x = gather(frames, dense, frame, begin, n, scratch.pixels);
    if (frames.dtype != DType::float16) return x;
    moments_kernels().widen_float16(x, n, scratch.widened);
    return reinterpret_cast<const std::byte*>(scratch.widened);
}

/// What the blocks of one frame, kept as they come, say of the whole frame.
FrameStatistics combine(const IntegerBlock* blocks, std::size_t block_stride, std::size_t count,
                        std::size_t pixels) {
    IntegerBlock total = blocks[0];
    for (std::size_t b = 1; b < count; ++b) {
        const IntegerBlock& block = blocks[b * block_stride];
        total.sum += block.sum;
        total.sum_of_squares += block.sum_of_squares;
        total.min = std::min(total.min, block.min);
        total.max = std::max(total.max, block.max);
    }
    const auto n = static_cast<double>(pixels);
    const auto magnitude = static_cast<std::uint64_t>(std::abs(total.sum));
    const uint128 numerator =
        static_cast<uint128>(pixels) * total.sum_of_squares - static_cast<uint128>(magnitude) * magnitude;
    return {static_cast<double>(total.sum) / n, std::sqrt(static_cast<double>(numerator)) / n,
            static_cast<double>(total.min), static_cast<double>(total.max)};
}

FrameStatistics combine(const FloatBlock* blocks, std::size_t block_stride, std::size_t count,
                        std::size_t pixels) {
    DoubleDouble sum{0.0, 0.0};
    double min = blocks[0].min;
    double max = blocks[0].max;
    bool finite = true;
    for (std::size_t b = 0; b < count; ++b) {
        const FloatBlock& block = blocks[b * block_stride];
        sum = detail::add(sum, block.sum);
        min = std::min(min, block.min);
        max = std::max(max, block.max);
        finite = finite && block.finite;
    }
    if (!finite) return {not_a_number, not_a_number, not_a_number, not_a_number};
    const auto n = static_cast<double>(pixels);
    const double mean = sum.high / n;
    DoubleDouble squares{0.0, 0.0};
    for (std::size_t b = 0; b < count; ++b) {
        const FloatBlock& block = blocks[b * block_stride];
        const auto block_n = static_cast<double>(std::min(block_pixels, pixels - b * block_pixels));
        const double d = block.sum / block_n - mean;
        squares = detail::add(detail::add(squares, block.sum_of_squared_deviations), block_n * d * d);
    }
    return {mean, std::sqrt(std::max(squares.high / n, 0.0)), min, max};
}

/// Calls work(first pixel, pixels n, pixels_of, slots) for every block, all frames of it in one call:
/// pixels_of(f) gives the block's pixels in frame f, slots[f] takes what is told of them. Then puts the
/// slots together to statistics a frame.
template <class Block, class Work>
std::vector<FrameStatistics> over_blocks(const FramesView& frames, int threads, const Work& work) {
    const std::size_t pixels = frames.shape.pixels();
    const std::size_t blocks = block_count(pixels);
    std::vector<Block> slots(blocks * frames.count);
    std::vector<FrameStatistics> result(frames.count);
    const bool dense = frames.frames_contiguous();
    parallel_for(blocks, threads, [&](std::size_t b) {
        Scratch scratch;
        const std::size_t begin = b * block_pixels;
        const std::size_t n = std::min(block_pixels, pixels - begin);
        work(
            begin, n, [&](std::size_t f) { return block_of(frames, dense, f, begin, n, scratch); },
            slots.data() + b * frames.count);
    });
    for (std::size_t f = 0; f < frames.count; ++f)
        result[f] = combine(slots.data() + f, frames.count, blocks, pixels);
    return result;
}

auto integer_block(DType dtype) {
    const MomentsKernels& k = moments_kernels();
    switch (dtype) {
        case DType::uint8: return k.block_uint8;
        case DType::int8: return k.block_int8;
        case DType::uint16: return k.block_uint16;
        default: return k.block_int16;
    }
}

auto float_block(DType dtype) {
    const MomentsKernels& k = moments_kernels();
    switch (dtype) {
        case DType::uint32: return k.block_uint32;
        case DType::int32: return k.block_int32;
        case DType::float64: return k.block_float64;
        default: return k.block_float32;
    }
}

auto float_add(DType dtype) {
    const MomentsKernels& k = moments_kernels();
    switch (dtype) {
        case DType::uint32: return k.add_uint32;
        case DType::int32: return k.add_int32;
        case DType::float64: return k.add_float64;
        default: return k.add_float32;
    }
}

/// Adds the frames' blocks to the exact sums, or takes them away, and tells of each frame.
template <class Square, class AddKernel>
std::vector<FrameStatistics> accumulate_integers(const FramesView& frames, int threads, bool subtract,
                                                 AddKernel add_kernel, MomentsState& state) {
    const auto block_kernel = integer_block(frames.dtype);
    return over_blocks<IntegerBlock>(
        frames, threads, [&](std::size_t begin, std::size_t n, const auto& pixels_of, IntegerBlock* slots) {
            alignas(64) std::int32_t sums[block_pixels];
            alignas(64) Square squares[block_pixels];
            std::int64_t* sum = state.sum.data() + begin;
            std::uint64_t* sum_of_squares = state.sum_of_squares.data() + begin;
            for (std::size_t first = 0; first < frames.count; first += frames_per_drain) {
                const std::size_t last = std::min(frames.count, first + frames_per_drain);
                std::fill_n(sums, n, 0);
                std::fill_n(squares, n, Square{0});
                for (std::size_t f = first; f < last; ++f) {
                    const std::byte* x = pixels_of(f);
                    add_kernel(x, n, sums, squares);
                    slots[f] = block_kernel(x, n);
                }
                if (subtract) {
                    for (std::size_t i = 0; i < n; ++i) sum[i] -= sums[i];
                    for (std::size_t i = 0; i < n; ++i) sum_of_squares[i] -= squares[i];
                } else {
                    for (std::size_t i = 0; i < n; ++i) sum[i] += sums[i];
                    for (std::size_t i = 0; i < n; ++i) sum_of_squares[i] += squares[i];
                }
            }
        });
}

std::vector<FrameStatistics> accumulate_integers(const FramesView& frames, int threads, bool subtract,
                                                 MomentsState& state) {
    const MomentsKernels& k = moments_kernels();
    switch (frames.dtype) {
        case DType::uint8:
            return accumulate_integers<std::uint32_t>(frames, threads, subtract, k.add_uint8, state);
        case DType::int8:
            return accumulate_integers<std::uint32_t>(frames, threads, subtract, k.add_int8, state);
        case DType::uint16:
            return accumulate_integers<std::uint64_t>(frames, threads, subtract, k.add_uint16, state);
        default: return accumulate_integers<std::uint64_t>(frames, threads, subtract, k.add_int16, state);
    }
}

/// Statistics first, since a frame that is not finite could not be taken back afterwards.
std::vector<FrameStatistics> accumulate_floats(const FramesView& frames, int threads, bool subtract,
                                               MomentsState& state) {
    std::vector<FrameStatistics> statistics = frame_statistics(frames, threads);
    for (std::size_t f = 0; f < frames.count; ++f) {
        const FrameStatistics& s = statistics[f];
        if (std::isnan(s.min))
            throw NonFinite(f, "frame " + std::to_string(f) + " has NaN or infinite pixels");
        if (s.min < -largest_pixel || s.max > largest_pixel)
            throw NonFinite(
                f, "frame " + std::to_string(f) + " has pixels beyond 3e144, whose squares overflow");
    }
    const std::size_t pixels = frames.shape.pixels();
    const bool dense = frames.frames_contiguous();
    const auto add_kernel = float_add(frames.dtype);
    parallel_for(block_count(pixels), threads, [&](std::size_t b) {
        Scratch scratch;
        const std::size_t begin = b * block_pixels;
        const std::size_t n = std::min(block_pixels, pixels - begin);
        for (std::size_t f = 0; f < frames.count; ++f) {
            add_kernel(block_of(frames, dense, f, begin, n, scratch), n, subtract ? -1.0 : 1.0,
                       state.sum_high.data() + begin, state.sum_low.data() + begin,
                       state.sum_of_squares_high.data() + begin, state.sum_of_squares_low.data() + begin);
        }
    });
    return statistics;
}

DoubleDouble exact(std::uint64_t value) {
    return two_sum(static_cast<double>(value >> 32) * 0x1p32, static_cast<double>(value & 0xFFFFFFFFu));
}

DoubleDouble exact(uint128 value) {
    const DoubleDouble high = exact(static_cast<std::uint64_t>(value >> 64));
    return detail::add(DoubleDouble{high.high * 0x1p64, high.low * 0x1p64},
                       exact(static_cast<std::uint64_t>(value)));
}

/// n * sum(x^2) - sum(x)^2, exactly.
DoubleDouble scatter_of_integers(std::uint64_t n, std::int64_t sum, std::uint64_t sum_of_squares) {
    const std::uint64_t magnitude =
        sum < 0 ? 0 - static_cast<std::uint64_t>(sum) : static_cast<std::uint64_t>(sum);
    const uint128 a = static_cast<uint128>(n) * sum_of_squares;
    const uint128 b = static_cast<uint128>(magnitude) * magnitude;
    return a > b ? exact(a - b)
                 : DoubleDouble{0.0, 0.0};  // a < b only if the user took away what he never added
}

/// n * sum(x^2) - sum(x)^2 of double-double sums. Each product is within 2^-102 of itself.
DoubleDouble scatter_of_floats(double n, DoubleDouble sum, DoubleDouble squares) {
    const DoubleDouble a = multiply(squares, {n, 0.0});
    const DoubleDouble scatter = detail::add(a, negate(multiply(sum, sum)));
    // The sums are rounded at 2^-105 of themselves with every frame, also with those that were taken
    // away again: what is below that is no scatter. 2^-80 is a sigma of 1e-12 of the mean.
    const double resolution = (0x1p-80 + n * 0x1p-104) * a.high;
    return scatter.high > resolution ? scatter : DoubleDouble{0.0, 0.0};
}

DoubleDouble square_root(DoubleDouble a) {
    if (a.high <= 0.0) return {0.0, 0.0};
    const double s = std::sqrt(a.high);
    const DoubleDouble r = detail::add(a, negate(two_product(s, s)));
    return fast_two_sum(s, r.high / (2.0 * s));
}

template <class Value>
void fill(double* out, std::size_t pixels, int threads, const Value& value) {
    parallel_for(block_count(pixels), resolve_threads(threads), [&](std::size_t b) {
        const std::size_t end = std::min(pixels, (b + 1) * block_pixels);
        for (std::size_t i = b * block_pixels; i < end; ++i) out[i] = value(i);
    });
}

template <class Value>
void fill_from_variance(const MomentsState& state, std::uint64_t ddof, double* out, int threads,
                        const Value& value) {
    const std::size_t pixels = state.shape.pixels();
    if (state.count <= ddof) {
        std::fill_n(out, pixels, not_a_number);
        return;
    }
    if (state.count == 1) {  // no scatter, whatever rounding errors other frames have left behind
        std::fill_n(out, pixels, 0.0);
        return;
    }
    const std::uint64_t n = state.count;
    const DoubleDouble divisor = exact(static_cast<uint128>(n) * (n - ddof));
    if (state.kind == Kind::integer) {
        fill(out, pixels, threads, [&](std::size_t i) {
            return value(divide(scatter_of_integers(n, state.sum[i], state.sum_of_squares[i]), divisor));
        });
    } else {
        fill(out, pixels, threads, [&](std::size_t i) {
            return value(
                divide(scatter_of_floats(static_cast<double>(n), {state.sum_high[i], state.sum_low[i]},
                                         {state.sum_of_squares_high[i], state.sum_of_squares_low[i]}),
                       divisor));
        });
    }
}

}  // namespace

std::vector<FrameStatistics> frame_statistics(const FramesView& frames, int threads) {
    if (frames.shape.pixels() == 0)
        throw InvalidArgument("frames of shape " + to_string(frames.shape) + " have no pixels");
    threads = resolve_threads(threads);
    if (kind_of(frames.dtype) == Kind::integer) {
        const auto kernel = integer_block(frames.dtype);
        return over_blocks<IntegerBlock>(
            frames, threads, [&](std::size_t, std::size_t n, const auto& pixels_of, IntegerBlock* slots) {
                for (std::size_t f = 0; f < frames.count; ++f) slots[f] = kernel(pixels_of(f), n);
            });
    }
    const auto kernel = float_block(frames.dtype);
    return over_blocks<FloatBlock>(frames, threads,
                                   [&](std::size_t, std::size_t n, const auto& pixels_of, FloatBlock* slots) {
                                       for (std::size_t f = 0; f < frames.count; ++f)
                                           slots[f] = kernel(pixels_of(f), n);
                                   });
}

PixelMoments::PixelMoments(FrameShape shape, Kind kind) {
    if (shape.pixels() == 0) throw InvalidArgument("frames of shape " + to_string(shape) + " have no pixels");
    state_.kind = kind;
    state_.shape = shape;
    if (kind == Kind::integer) {
        state_.sum.resize(shape.pixels());
        state_.sum_of_squares.resize(shape.pixels());
    } else {
        state_.sum_high.resize(shape.pixels());
        state_.sum_low.resize(shape.pixels());
        state_.sum_of_squares_high.resize(shape.pixels());
        state_.sum_of_squares_low.resize(shape.pixels());
    }
}

PixelMoments::PixelMoments(MomentsState state) : state_(std::move(state)) {
    const std::size_t pixels = state_.shape.pixels();
    if (pixels == 0) throw InvalidArgument("frames of shape " + to_string(state_.shape) + " have no pixels");
    const bool integer = state_.kind == Kind::integer;
    const std::size_t integers = integer ? pixels : 0;
    const std::size_t floats = integer ? 0 : pixels;
    if (state_.sum.size() != integers || state_.sum_of_squares.size() != integers ||
        state_.sum_high.size() != floats || state_.sum_low.size() != floats ||
        state_.sum_of_squares_high.size() != floats || state_.sum_of_squares_low.size() != floats) {
        throw InvalidArgument("the state's sums do not have one value for each of the " +
                              std::to_string(pixels) + " pixels of shape " + to_string(state_.shape));
    }
    if (state_.count > max_count)
        throw InvalidArgument("a state of " + std::to_string(state_.count) +
                              " frames is beyond the largest count, " + std::to_string(max_count));
}

void PixelMoments::check_frames(const FramesView& frames) const {
    if (frames.shape != state_.shape)
        throw InvalidArgument("frames have shape " + to_string(frames.shape) + ", the moments " +
                              to_string(state_.shape));
    if (kind_of(frames.dtype) != state_.kind) {
        throw WrongKind(std::string(name(frames.dtype)) + " frames are of the " +
                        (state_.kind == Kind::integer ? "float" : "integer") + " kind, the moments of the " +
                        (state_.kind == Kind::integer
                             ? "integer kind (uint8, int8, uint16, int16)"
                             : "float kind (uint32, int32, float16, float32, float64)"));
    }
}

void PixelMoments::check_same(const PixelMoments& other) const {
    if (other.state_.shape != state_.shape)
        throw InvalidArgument("moments have shape " + to_string(other.state_.shape) + ", these " +
                              to_string(state_.shape));
    if (other.state_.kind != state_.kind)
        throw WrongKind("moments of integer frames and of float frames cannot be put together");
}

void PixelMoments::reset_if_empty() {
    // Double-double sums keep a last rounding error; in place, since somebody may hold a view of them.
    if (state_.count != 0) return;
    std::fill(state_.sum.begin(), state_.sum.end(), 0);
    std::fill(state_.sum_of_squares.begin(), state_.sum_of_squares.end(), 0);
    for (auto* part :
         {&state_.sum_high, &state_.sum_low, &state_.sum_of_squares_high, &state_.sum_of_squares_low})
        std::fill(part->begin(), part->end(), 0.0);
}

std::vector<FrameStatistics> PixelMoments::add(const FramesView& frames, int threads) {
    check_frames(frames);
    threads = resolve_threads(threads);
    if (frames.count > max_count - state_.count)
        throw InvalidArgument("more than " + std::to_string(max_count) + " frames");
    auto statistics = state_.kind == Kind::integer ? accumulate_integers(frames, threads, false, state_)
                                                   : accumulate_floats(frames, threads, false, state_);
    state_.count += frames.count;
    return statistics;
}

void PixelMoments::subtract(const FramesView& frames, int threads) {
    check_frames(frames);
    threads = resolve_threads(threads);
    if (frames.count > state_.count)
        throw InvalidArgument("cannot subtract " + std::to_string(frames.count) + " frames from " +
                              std::to_string(state_.count));
    if (state_.kind == Kind::integer)
        accumulate_integers(frames, threads, true, state_);
    else
        accumulate_floats(frames, threads, true, state_);
    state_.count -= frames.count;
    reset_if_empty();
}

void PixelMoments::combine(const PixelMoments& other, bool subtract, int threads) {
    const std::size_t pixels = state_.shape.pixels();
    const MomentsState& o = other.state_;
    parallel_for(block_count(pixels), resolve_threads(threads), [&](std::size_t b) {
        const std::size_t end = std::min(pixels, (b + 1) * block_pixels);
        for (std::size_t i = b * block_pixels; i < end; ++i) {
            if (state_.kind == Kind::integer) {
                state_.sum[i] = subtract ? state_.sum[i] - o.sum[i] : state_.sum[i] + o.sum[i];
                state_.sum_of_squares[i] = subtract ? state_.sum_of_squares[i] - o.sum_of_squares[i]
                                                    : state_.sum_of_squares[i] + o.sum_of_squares[i];
            } else {
                const double sign = subtract ? -1.0 : 1.0;
                const DoubleDouble s = detail::add({state_.sum_high[i], state_.sum_low[i]},
                                                   DoubleDouble{sign * o.sum_high[i], sign * o.sum_low[i]});
                state_.sum_high[i] = s.high;
                state_.sum_low[i] = s.low;
                const DoubleDouble q = detail::add(
                    {state_.sum_of_squares_high[i], state_.sum_of_squares_low[i]},
                    DoubleDouble{sign * o.sum_of_squares_high[i], sign * o.sum_of_squares_low[i]});
                state_.sum_of_squares_high[i] = q.high;
                state_.sum_of_squares_low[i] = q.low;
            }
        }
    });
}

void PixelMoments::merge(const PixelMoments& other, int threads) {
    check_same(other);
    if (other.count() > max_count - state_.count)
        throw InvalidArgument("more than " + std::to_string(max_count) + " frames");
    const std::uint64_t count = other.count();
    combine(other, false, threads);
    state_.count += count;
}

void PixelMoments::unmerge(const PixelMoments& other, int threads) {
    check_same(other);
    if (other.count() > state_.count)
        throw InvalidArgument("cannot subtract " + std::to_string(other.count()) + " frames from " +
                              std::to_string(state_.count));
    const std::uint64_t count = other.count();
    combine(other, true, threads);
    state_.count -= count;
    reset_if_empty();
}

void PixelMoments::mean(double* out, int threads) const {
    const auto n = static_cast<double>(state_.count);
    if (state_.count == 0) {
        std::fill_n(out, state_.shape.pixels(), not_a_number);
    } else if (state_.kind == Kind::integer) {
        // |sum| < 2^48, so both operands are exact and the quotient is rounded once.
        fill(out, state_.shape.pixels(), threads,
             [&](std::size_t i) { return static_cast<double>(state_.sum[i]) / n; });
    } else {
        fill(out, state_.shape.pixels(), threads,
             [&](std::size_t i) { return divide({state_.sum_high[i], state_.sum_low[i]}, {n, 0.0}).high; });
    }
}

void PixelMoments::variance(double* out, std::uint64_t ddof, int threads) const {
    fill_from_variance(state_, ddof, out, threads, [](DoubleDouble v) { return v.high; });
}

void PixelMoments::standard_deviation(double* out, std::uint64_t ddof, int threads) const {
    fill_from_variance(state_, ddof, out, threads, [](DoubleDouble v) { return square_root(v).high; });
}

void PixelMoments::sum(double* out, int threads) const {
    fill(out, state_.shape.pixels(), threads, [&](std::size_t i) {
        return state_.kind == Kind::integer ? static_cast<double>(state_.sum[i]) : state_.sum_high[i];
    });
}

void PixelMoments::sum_of_squares(double* out, int threads) const {
    fill(out, state_.shape.pixels(), threads, [&](std::size_t i) {
        return state_.kind == Kind::integer ? static_cast<double>(state_.sum_of_squares[i])
                                            : state_.sum_of_squares_high[i];
    });
}

}  // namespace camnorm
