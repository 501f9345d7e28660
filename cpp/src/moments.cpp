#include "camnorm/moments.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "blocks.hpp"
#include "camnorm/error.hpp"
#include "camnorm/pages.hpp"
#include "camnorm/runtime.hpp"
#include "double_double.hpp"
#include "kernels/moments.hpp"
#include "pages.hpp"
#include "parallel.hpp"

namespace camnorm {
namespace {

using namespace detail;

__extension__ using uint128 = unsigned __int128;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// A block, the piece of work that a thread takes at a time, is some strips.
constexpr std::size_t pixels_per_block = 16 * strip_pixels;
static_assert(pixels_per_block % float_strip_pixels == 0);

/// Exact sums over the pixels of an integer frame, or of a part of it.
struct IntegerPart {
    std::int64_t sum = 0;
    std::uint64_t sum_of_squares = 0;
    std::int32_t min = std::numeric_limits<std::int32_t>::max();
    std::int32_t max = std::numeric_limits<std::int32_t>::min();

    template <class Part>
    void include(const Part& part) {
        sum += part.sum;
        sum_of_squares += part.sum_of_squares;
        min = std::min(min, part.min);
        max = std::max(max, part.max);
    }

    FrameStatistics statistics(std::size_t pixels, double) const {
        const auto n = static_cast<double>(pixels);
        const auto magnitude = static_cast<std::uint64_t>(std::abs(sum));
        const uint128 numerator =
            static_cast<uint128>(pixels) * sum_of_squares - static_cast<uint128>(magnitude) * magnitude;
        return {static_cast<double>(sum) / n, std::sqrt(static_cast<double>(numerator)) / n,
                static_cast<double>(min), static_cast<double>(max)};
    }
};

/// Sums over the pixels of a float frame, of their deviations from the frame's origin.
struct FloatPart {
    DoubleDouble sum{0.0, 0.0};
    DoubleDouble sum_of_squares{0.0, 0.0};
    double min = std::numeric_limits<double>::infinity();
    double max = -std::numeric_limits<double>::infinity();
    bool finite = true;

    void include(const FloatStrip& part) {
        sum = detail::add(sum, part.sum);
        sum_of_squares = detail::add(sum_of_squares, part.sum_of_squares);
        include_limits(part);
    }
    void include(const FloatPart& part) {
        sum = detail::add(sum, part.sum);
        sum_of_squares = detail::add(sum_of_squares, part.sum_of_squares);
        include_limits(part);
    }

    FrameStatistics statistics(std::size_t pixels, double origin) const {
        if (!finite) return {not_a_number, not_a_number, not_a_number, not_a_number};
        const DoubleDouble n{static_cast<double>(pixels), 0.0};
        const DoubleDouble mean = divide(sum, n);
        const DoubleDouble variance = detail::add(divide(sum_of_squares, n), negate(multiply(mean, mean)));
        return {detail::add(mean, origin).high, std::sqrt(std::max(variance.high, 0.0)), min, max};
    }

private:
    template <class Part>
    void include_limits(const Part& part) {
        min = std::min(min, part.min);
        max = std::max(max, part.max);
        finite = finite && part.finite;
    }
};

/// Has half of what comes next prefetched while a group is added, half while its frames are told of, so
/// that memory is read all the time. Gives what is to be prefetched with the j-th frame.
std::array<const std::byte*, group_frames> spread_prefetch(Group& group, std::size_t strip_bytes) {
    constexpr std::size_t half = group_frames / 2;
    std::array<const std::byte*, group_frames> later;
    for (std::size_t j = 0; j < group_frames; ++j)
        later[j] = group.next[half + j / 2] + j % 2 * (strip_bytes / 2);
    for (std::size_t j = half; j < group_frames; ++j) group.next[j] = group.x[j];
    return later;
}

constexpr std::array<const std::byte*, group_frames> no_more{};

/// The pixels of frames, strip by strip, as the kernels take them: without gaps, float16 as float32.
class Strips {
public:
    explicit Strips(const FramesView& frames)
        : frames_(frames),
          dense_(frames.frames_contiguous()),
          in_place_(dense_ && frames.dtype != DType::float16) {}

    /// Bytes of a pixel as read() gives it.
    std::size_t pixel_bytes() const {
        return frames_.dtype == DType::float16 ? sizeof(float) : item_size(frames_.dtype);
    }

    /// Pixels [begin, begin + n) of one frame; valid until the next call with the same slot.
    const std::byte* read(std::size_t frame, std::size_t begin, std::size_t n, std::size_t slot = 0) {
        std::byte* gathered = in_place_ ? nullptr : gathered_[slot];
        const std::byte* x = gather(frames_, dense_, frame, begin, n, gathered);
        if (frames_.dtype != DType::float16) return x;
        moments_kernels().widen_float16(x, n, widened_[slot]);
        return reinterpret_cast<const std::byte*>(widened_[slot]);
    }

    /// The same n pixels of up to group_frames frames, from the first one to before `count`; and what
    /// will come next: the same of the following frames, or the next strip of the first ones.
    Group group(std::size_t first, std::size_t count, std::size_t begin, std::size_t n, std::size_t strip) {
        Group group;
        const bool last = first + group_frames >= count;
        const std::size_t next = last ? 0 : first + group_frames;
        const std::size_t next_begin = last ? begin + strip : begin;
        for (std::size_t j = 0; j < group_frames; ++j) {
            group.x[j] = first + j < count ? read(first + j, begin, n, j) : zeros;
            group.next[j] = in_place_ && next + j < count
                                ? frames_.frame(next + j) + next_begin * item_size(frames_.dtype)
                                : zeros;
        }
        return group;
    }

private:
    const FramesView& frames_;
    bool dense_;
    bool in_place_;
    alignas(64) std::byte gathered_[group_frames][strip_pixels * sizeof(double)];
    alignas(64) float widened_[group_frames][strip_pixels];
};

/// Fetches the share of a group of frames, the first of which is `frame` of `count`, of the next n sums,
/// which are to be read and written when all groups have been added.
template <class Sum>
void prefetch_sums(const Sum* sums, std::size_t n, std::size_t frame, std::size_t count) {
    constexpr std::size_t line = 64 / sizeof(Sum);
    const std::size_t end = n * std::min(frame + group_frames, count) / count;
    for (std::size_t i = n * frame / count / line * line; i < end; i += line)
        __builtin_prefetch(sums + i, 1, 2);
}

/// Gives pages of mapped frames back when all the blocks that lie in them are done, many blocks at a
/// time since that takes the system a while.
class Releaser {
public:
    explicit Releaser(const FramesView& frames)
        : frames_(frames),
          blocks_(frames.mapped
                      ? std::max<std::size_t>(page_bytes / (pixels_per_block * item_size(frames.dtype)), 1)
                      : 0),
          done_(frames.mapped ? frames.shape.pixels() / (blocks_ * pixels_per_block) + 1 : 0) {}

    /// To be called after each block.
    void done(std::size_t block) {
        if (blocks_ == 0) return;
        const std::size_t pixels = frames_.shape.pixels();
        const std::size_t begin = block / blocks_ * blocks_ * pixels_per_block;
        const std::size_t end = std::min(begin + blocks_ * pixels_per_block, pixels);
        const std::size_t blocks = (end - begin + pixels_per_block - 1) / pixels_per_block;
        if (done_[block / blocks_].fetch_add(1, std::memory_order_relaxed) + 1 < blocks) return;
        const std::size_t size = item_size(frames_.dtype);
        for (std::size_t f = 0; f < frames_.count; ++f)
            release_pages(frames_.frame(f) + begin * size, (end - begin) * size);
    }

private:
    // Of a large page: systems map a file that is in their cache by these where they can.
    static constexpr std::size_t page_bytes = std::size_t{2} << 20;

    const FramesView& frames_;
    std::size_t blocks_;
    std::vector<std::atomic<std::size_t>> done_;
};

/// Calls work(strips, begin, end, parts) for each block of pixels; parts[f] takes what is told of frame f.
/// Then puts the parts together, in an order that threads do not change. `origins` has a value a frame,
/// or none.
template <class Part, class Work>
std::vector<FrameStatistics> over_blocks(const FramesView& frames, const std::vector<double>& origins,
                                         bool statistics, int threads, const Work& work) {
    const std::size_t pixels = frames.shape.pixels();
    const std::size_t blocks = (pixels + pixels_per_block - 1) / pixels_per_block;
    std::vector<Part> parts(statistics ? blocks * frames.count : 0);
    Releaser releaser(frames);
    parallel_for(blocks, threads, [&](std::size_t b) {
        Strips strips(frames);
        const std::size_t begin = b * pixels_per_block;
        work(strips, begin, std::min(pixels, begin + pixels_per_block),
             statistics ? parts.data() + b * frames.count : nullptr);
        releaser.done(b);
    });
    std::vector<FrameStatistics> result(statistics ? frames.count : 0);
    parallel_for(result.size(), threads, [&](std::size_t f) {
        Part total = parts[f];
        for (std::size_t b = 1; b < blocks; ++b) total.include(parts[b * frames.count + f]);
        result[f] = total.statistics(pixels, origins.empty() ? 0.0 : origins[f]);
    });
    return result;
}

const IntegerKernels& integer_kernels(DType dtype) {
    const MomentsKernels& k = moments_kernels();
    switch (dtype) {
        case DType::uint8: return k.uint8;
        case DType::int8: return k.int8;
        case DType::uint16: return k.uint16;
        default: return k.int16;
    }
}

const FloatKernels& float_kernels(DType dtype) {
    const MomentsKernels& k = moments_kernels();
    switch (dtype) {
        case DType::uint32: return k.uint32;
        case DType::int32: return k.int32;
        case DType::float64: return k.float64;
        default: return k.float32;
    }
}

/// Adds the frames to the exact sums, or takes them away.
std::vector<FrameStatistics> accumulate_integers(const FramesView& frames, int threads, bool subtract,
                                                 bool statistics, MomentsState& state) {
    const IntegerKernels& kernels = integer_kernels(frames.dtype);
    const auto accumulate_strip = [&](Strips& strips, std::size_t begin, std::size_t n, IntegerPart* parts) {
        IntegerSums sums;
        for (std::size_t first = 0; first < frames.count; first += frames_per_drain) {
            const std::size_t last = std::min(frames.count, first + frames_per_drain);
            kernels.clear(sums);
            std::size_t added = 0;
            for (std::size_t f = first; f < last; f += group_frames, added += group_frames) {
                Group group = strips.group(f, frames.count, begin, n, strip_pixels);
                const auto later =
                    parts == nullptr ? no_more : spread_prefetch(group, n * item_size(frames.dtype));
                prefetch_sums(state.sum.data() + begin + strip_pixels, n, f, frames.count);
                prefetch_sums(state.sum_of_squares.data() + begin + strip_pixels, n, f, frames.count);
                kernels.add(group, n, sums);
                for (std::size_t j = f; parts != nullptr && j < std::min(f + group_frames, last); ++j)
                    parts[j].include(kernels.tell(group.x[j - f], n, later[j - f]));
            }
            kernels.drain(sums, n, added, subtract, state.sum.data() + begin,
                          state.sum_of_squares.data() + begin);
        }
    };
    return over_blocks<IntegerPart>(
        frames, {}, statistics, threads,
        [&](Strips& strips, std::size_t begin, std::size_t end, IntegerPart* parts) {
            for (; begin < end; begin += strip_pixels)
                accumulate_strip(strips, begin, std::min(strip_pixels, end - begin), parts);
        });
}

/// A number near the mean of each frame: the median of a few of its pixels. Deviations from it are as
/// large as the standard deviation, so that their squares can be summed without cancellation.
std::vector<double> find_origins(const FramesView& frames) {
    constexpr std::size_t samples = 15;
    constexpr double golden_ratio = 0.6180339887498949;  // no period of the frame is hit again and again
    const auto tell = float_kernels(frames.dtype).tell;
    const auto strips = std::make_unique<Strips>(frames);
    const auto pixels = static_cast<double>(frames.shape.pixels());
    std::vector<double> origins(frames.count);
    for (std::size_t f = 0; f < frames.count; ++f) {
        double values[samples];
        for (std::size_t i = 0; i < samples; ++i) {
            const double place = golden_ratio * static_cast<double>(i + 1);
            const auto pixel = static_cast<std::size_t>((place - std::floor(place)) * pixels);
            const double value = tell(strips->read(f, pixel, 1), 1, zeros, 0.0).sum;
            values[i] = std::isfinite(value) ? value : 0.0;
        }
        std::nth_element(values, values + samples / 2, values + samples);
        origins[f] = values[samples / 2];
        // The samples lie in as many pages, which may be large.
        if (frames.mapped) release_pages(frames.frame(f), frames.shape.pixels() * item_size(frames.dtype));
    }
    return origins;
}

/// Adds the first `count` frames to one strip of the double-double sums, or takes them away. Gives the
/// number of frames that were, less than `count` if a pixel is not finite: frames come and go by whole
/// batches.
std::size_t accumulate_strip(Strips& strips, std::size_t count, std::size_t begin, std::size_t n,
                             bool subtract, const FloatKernels& kernels, MomentsState& state,
                             const std::vector<double>& origins, FloatPart* parts) {
    FloatSums sums;
    double* const places[] = {state.sum_high.data() + begin, state.sum_low.data() + begin,
                              state.sum_of_squares_high.data() + begin,
                              state.sum_of_squares_low.data() + begin};
    for (std::size_t first = 0; first < count; first += frames_per_batch) {
        const std::size_t last = std::min(count, first + frames_per_batch);
        for (std::size_t f = first; f < last; f += group_frames) {
            Group group = strips.group(f, count, begin, n, float_strip_pixels);
            const auto later = parts == nullptr ? no_more : spread_prefetch(group, n * strips.pixel_bytes());
            for (double* sums_of_state : places)
                prefetch_sums(sums_of_state + float_strip_pixels, n, f, count);
            if (!kernels.add(group, n, f == first, sums)) return first;
            for (std::size_t j = f; parts != nullptr && j < std::min(f + group_frames, last); ++j)
                parts[j].include(kernels.tell(group.x[j - f], n, later[j - f], origins[j]));
        }
        kernels.drain(sums, n, subtract, places[0], places[1], places[2], places[3]);
    }
    return count;
}

/// @throws NonFinite for the first frame that cannot be added.
void check_finite(const std::vector<FrameStatistics>& statistics) {
    for (std::size_t f = 0; f < statistics.size(); ++f) {
        const FrameStatistics& s = statistics[f];
        if (std::isnan(s.min))
            throw NonFinite(f, "frame " + std::to_string(f) + " has NaN or infinite pixels");
        if (s.min < -largest_pixel || s.max > largest_pixel)
            throw NonFinite(
                f, "frame " + std::to_string(f) + " has pixels beyond 3e144, whose squares overflow");
    }
}

/// Adds the frames to the double-double sums, or takes them away.
std::vector<FrameStatistics> accumulate_floats(const FramesView& frames, int threads, bool subtract,
                                               bool statistics, MomentsState& state) {
    const FloatKernels& kernels = float_kernels(frames.dtype);
    const std::vector<double> origins = statistics ? find_origins(frames) : std::vector<double>{};
    std::vector<std::size_t> added((frames.shape.pixels() + float_strip_pixels - 1) / float_strip_pixels);
    if (frames.count == 0) return {};
    std::vector<FrameStatistics> result = over_blocks<FloatPart>(
        frames, origins, statistics, threads,
        [&](Strips& strips, std::size_t begin, std::size_t end, FloatPart* parts) {
            for (; begin < end; begin += float_strip_pixels)
                added[begin / float_strip_pixels] =
                    accumulate_strip(strips, frames.count, begin, std::min(float_strip_pixels, end - begin),
                                     subtract, kernels, state, origins, parts);
        });
    if (std::all_of(added.begin(), added.end(), [&](std::size_t n) { return n == frames.count; }))
        return result;
    // To look for pixels that are not finite beforehand would read all frames twice. So what was added
    // is taken away.
    over_blocks<FloatPart>(frames, {}, false, threads,
                           [&](Strips& strips, std::size_t begin, std::size_t end, FloatPart*) {
                               for (; begin < end; begin += float_strip_pixels)
                                   accumulate_strip(strips, added[begin / float_strip_pixels], begin,
                                                    std::min(float_strip_pixels, end - begin), !subtract,
                                                    kernels, state, {}, nullptr);
                           });
    check_finite(frame_statistics(frames, threads));
    return result;
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

const std::byte detail::zeros[strip_pixels * sizeof(double)] = {};

std::vector<FrameStatistics> frame_statistics(const FramesView& frames, int threads) {
    if (frames.shape.pixels() == 0)
        throw InvalidArgument("frames of shape " + to_string(frames.shape) + " have no pixels");
    threads = resolve_threads(threads);
    // The strips in which accumulate_strip() tells of frames, so that both say the same to the bit.
    const bool integer = kind_of(frames.dtype) == Kind::integer;
    const std::size_t strip = integer ? strip_pixels : float_strip_pixels;
    const auto tell = [&](Strips& strips, std::size_t begin, std::size_t end, const auto& tell_strip) {
        for (std::size_t f = 0; f < frames.count; ++f) {
            for (std::size_t i = begin; i < end; i += strip) {
                const std::size_t n = std::min(strip, end - i);
                tell_strip(f, strips.read(f, i, n), n);
            }
        }
    };
    if (integer) {
        const IntegerKernels& kernels = integer_kernels(frames.dtype);
        return over_blocks<IntegerPart>(
            frames, {}, true, threads,
            [&](Strips& strips, std::size_t begin, std::size_t end, IntegerPart* parts) {
                tell(strips, begin, end, [&](std::size_t f, const std::byte* x, std::size_t n) {
                    parts[f].include(kernels.tell(x, n, x + n * item_size(frames.dtype)));
                });
            });
    }
    const FloatKernels& kernels = float_kernels(frames.dtype);
    const std::vector<double> origins = find_origins(frames);
    return over_blocks<FloatPart>(
        frames, origins, true, threads,
        [&](Strips& strips, std::size_t begin, std::size_t end, FloatPart* parts) {
            tell(strips, begin, end, [&](std::size_t f, const std::byte* x, std::size_t n) {
                parts[f].include(kernels.tell(x, n, x + n * item_size(frames.dtype), origins[f]));
            });
        });
}

PixelMoments::PixelMoments(FrameShape shape, Kind kind) {
    if (shape.pixels() == 0) throw InvalidArgument("frames of shape " + to_string(shape) + " have no pixels");
    state_.kind = kind;
    state_.shape = shape;
    if (kind == Kind::integer) {
        fill_with_zeros(state_.sum, shape.pixels());
        fill_with_zeros(state_.sum_of_squares, shape.pixels());
    } else {
        fill_with_zeros(state_.sum_high, shape.pixels());
        fill_with_zeros(state_.sum_low, shape.pixels());
        fill_with_zeros(state_.sum_of_squares_high, shape.pixels());
        fill_with_zeros(state_.sum_of_squares_low, shape.pixels());
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

std::vector<FrameStatistics> PixelMoments::add(const FramesView& frames, int threads, bool statistics) {
    check_frames(frames);
    threads = resolve_threads(threads);
    if (frames.count > max_count - state_.count)
        throw InvalidArgument("more than " + std::to_string(max_count) + " frames");
    auto result = state_.kind == Kind::integer
                      ? accumulate_integers(frames, threads, false, statistics, state_)
                      : accumulate_floats(frames, threads, false, statistics, state_);
    state_.count += frames.count;
    if (!statistics) result.clear();
    return result;
}

void PixelMoments::subtract(const FramesView& frames, int threads) {
    check_frames(frames);
    threads = resolve_threads(threads);
    if (frames.count > state_.count)
        throw InvalidArgument("cannot subtract " + std::to_string(frames.count) + " frames from " +
                              std::to_string(state_.count));
    if (state_.kind == Kind::integer)
        accumulate_integers(frames, threads, true, false, state_);
    else
        accumulate_floats(frames, threads, true, false, state_);
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
