#include "camnorm/correction.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "blocks.hpp"
#include "camnorm/error.hpp"
#include "camnorm/runtime.hpp"
#include "kernels/correction.hpp"
#include "kernels/pixels.hpp"
#include "parallel.hpp"

namespace camnorm {
namespace detail {

/// Pixels to work on, without gaps, at most tile_pixels, and what the formula needs of them.
struct Tile {
    const std::byte* pixels;
    std::size_t n;
    const double* mean;
    const double* gain;
    const std::byte* next = nullptr;  // as many that will be worked on later, if known
    const Approximation* approximation = nullptr;
};

}  // namespace detail

namespace {

using detail::CorrectionDirection;
using detail::line_bytes;

/// Pixels that one thread works on in all frames before the next: few enough for their mean and gain to
/// stay in the first-level cache, as many as the memory needs to be read in long stretches.
constexpr std::size_t block_pixels = 2048;

/// Pixels of one frame that are worked on at a time.
constexpr std::size_t tile_pixels = 256;

/// Pieces of a frame that threads take in turn, if it has as many blocks.
constexpr std::size_t pieces = 256;

/// Output of a call from which on it is written past the caches: less than this may still be there when
/// it is read.
constexpr std::size_t streamed_bytes = std::size_t{32} << 20;

/// Bad pixels that one thread interpolates at a time.
constexpr std::size_t bad_group = 64;

/// Interpolated values that are held at a time, unless one frame alone has more.
constexpr std::size_t held_values = std::size_t{1} << 20;

bool is_integer(DType dtype) {
    return dtype != DType::float16 && dtype != DType::float32 && dtype != DType::float64;
}

/// First address of a view and the one after its last.
std::pair<std::uintptr_t, std::uintptr_t> extent(const FramesView& v) {
    auto low = reinterpret_cast<std::uintptr_t>(v.data);
    std::uintptr_t high = low + item_size(v.dtype);
    const std::array<std::size_t, 4> sizes{v.count, v.shape.height, v.shape.width, v.shape.planes};
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        const std::ptrdiff_t reach = v.strides[i] * static_cast<std::ptrdiff_t>(sizes[i] - 1);
        (reach < 0 ? low : high) += static_cast<std::uintptr_t>(reach);
    }
    return {low, high};
}

/// True if both views put each pixel at the same place.
bool same_memory(const FramesView& a, const FramesView& b) {
    const std::array<std::size_t, 4> sizes{a.count, a.shape.height, a.shape.width, a.shape.planes};
    bool same = a.data == b.data && a.dtype == b.dtype;
    for (std::size_t i = 0; i < sizes.size(); ++i)
        same = same && (sizes[i] == 1 || a.strides[i] == b.strides[i]);
    return same;
}

/// Has memory on its way to the second-level cache.
void prefetch(const void* memory, std::size_t bytes) {
    const auto* lines = static_cast<const std::byte*>(memory);
    for (std::size_t i = 0; i < bytes; i += line_bytes) __builtin_prefetch(lines + i, 0, 2);
}

using detail::Tile;

struct Ones {
    double values[tile_pixels]{};
    constexpr Ones() {
        for (double& value : values) value = 1.0;
    }
};

/// Runs them through the formula to another type; gives the number of clipped ones.
std::uint64_t correct(const CorrectionDirection& direction, DType dtype, const Tile& tile, double target_mean,
                      DType out_dtype, std::byte* out, bool streams = false) {
    const auto run = [&](DType type, const std::byte* pixels, const std::byte* next) {
        return direction.correct[static_cast<std::size_t>(type)].to[static_cast<std::size_t>(out_dtype)](
            pixels, tile.n, tile.mean, tile.gain, target_mean, out, streams, next, tile.approximation);
    };
    if (dtype != DType::float16) return run(dtype, tile.pixels, tile.next);
    if (tile.next != nullptr) prefetch(tile.next, tile.n * item_size(dtype));
    float wide[tile_pixels];
    detail::pixel_kernels().widen_float16(tile.pixels, tile.n, wide);
    return run(DType::float32, reinterpret_cast<const std::byte*>(wide), nullptr);
}

/// Approximations of a block's pixels, with a margin for every tile, so that a pixel that has none spoils no
/// other tile.
class Approximations {
public:
    void make(const CorrectionDirection& direction, const double* mean, const double* gain, std::size_t n,
              double target_mean, DType out) {
        const double lowest = out == DType::int8 ? -128.0 : 0.0;
        for (std::size_t i = 0; i < n; i += tile_pixels)
            margin_[i / tile_pixels] = direction.approximate(mean + i, gain + i, std::min(tile_pixels, n - i),
                                                             target_mean, lowest, factor_ + i, offset_ + i);
    }

    /// That of n pixels of the block, from the i-th on; none where any tile that they are of has none.
    std::optional<detail::Approximation> of(std::size_t i, std::size_t n) const {
        const auto [least, most] =
            std::minmax({margin_[i / tile_pixels], margin_[(i + n - 1) / tile_pixels]});
        if (least == 0) return std::nullopt;
        return detail::Approximation{factor_ + i, offset_ + i, most};
    }

private:
    float factor_[block_pixels];
    float offset_[block_pixels];
    std::int32_t margin_[block_pixels / tile_pixels];
};

/// Calls visit(y, x, pixel) for each good pixel of the pixel's own colour plane on the rim of the
/// square of (2 * radius + 1)^2 pixels around it.
template <class Visit>
void for_each_neighbour(FrameShape shape, const std::vector<std::uint8_t>& bad, std::size_t pixel,
                        std::size_t radius, const Visit& visit) {
    const std::size_t plane = pixel % shape.planes;
    const std::size_t x = pixel / shape.planes % shape.width;
    const std::size_t y = pixel / shape.planes / shape.width;
    const std::size_t x_end = std::min(x + radius + 1, shape.width);
    const std::size_t y_end = std::min(y + radius + 1, shape.height);
    const auto visit_good = [&](std::size_t j, std::size_t i) {
        const std::size_t p = (j * shape.width + i) * shape.planes + plane;
        if (!bad[p]) visit(j, i, p);
    };
    for (std::size_t j = y - std::min(y, radius); j < y_end; ++j) {
        if (j + radius == y || j == y + radius) {
            for (std::size_t i = x - std::min(x, radius); i < x_end; ++i) visit_good(j, i);
        } else {
            if (x >= radius) visit_good(j, x - radius);
            if (x + radius < shape.width) visit_good(j, x + radius);
        }
    }
}

}  // namespace

void Correction::check(const FramesView& frames, const MutableFramesView& out, FrameShape expected) {
    if (frames.shape != expected)
        throw InvalidArgument("frames have shape " + to_string(frames.shape) + ", the correction " +
                              to_string(expected));
    if (out.shape != expected)
        throw InvalidArgument("out has shape " + to_string(out.shape) + ", the correction " +
                              to_string(expected));
    if (out.count != frames.count)
        throw InvalidArgument("out holds " + std::to_string(out.count) + " frames, not " +
                              std::to_string(frames.count));
    if (frames.count == 0 || same_memory(frames, out.view())) return;
    const auto [in_low, in_high] = extent(frames);
    const auto [out_low, out_high] = extent(out.view());
    if (in_low < out_high && out_low < in_high)
        throw InvalidArgument(
            "frames and out overlap in memory: out must be the frames themselves or apart from them");
}

void Correction::find_gains(const CorrectionDirection& direction, std::size_t pixel, std::size_t n,
                            double* gain) const {
    if (!by_planes_) return direction.gain(&sigma_[pixel], n, target_sigma(), gain);
    double of_plane[tile_pixels];
    const std::size_t planes = shape_.planes;
    for (std::size_t plane = 0; plane < planes; ++plane) {
        direction.gain(&sigma_[pixel], n, target_sigmas_[plane], of_plane);
        for (std::size_t i = (plane + planes - pixel % planes) % planes; i < n; i += planes)
            gain[i] = of_plane[i];
    }
}

void Correction::find_values(const CorrectionDirection& direction, DType dtype, const Tile& tile,
                             std::size_t pixel, double* values) const {
    auto* const bytes = reinterpret_cast<std::byte*>(values);
    if (!by_planes_) {
        correct(direction, dtype, tile, target_mean(), DType::float64, bytes);
        return;
    }
    const auto for_each_target = [&](const auto& visit) {
        std::size_t plane = pixel % shape_.planes;
        for (std::size_t i = 0; i < tile.n; ++i, plane = plane + 1 < shape_.planes ? plane + 1 : 0)
            visit(values[i], target_means_[plane]);
    };
    // Added or subtracted alone, the targets are rounded as in the formula.
    if (&direction == &detail::correction_kernels().forward) {
        correct(direction, dtype, tile, 0.0, DType::float64, bytes);
        for_each_target([](double& value, double target) { value += target; });
        return;
    }
    static constexpr Ones ones;
    static constexpr double zeros[tile_pixels] = {};
    correct(direction, dtype, {tile.pixels, tile.n, zeros, ones.values}, 0.0, DType::float64, bytes);
    for_each_target([](double& value, double target) { value -= target; });
    double differences[tile_pixels];
    std::copy_n(values, tile.n, differences);
    correct(direction, DType::float64,
            {reinterpret_cast<const std::byte*>(differences), tile.n, tile.mean, tile.gain}, 0.0,
            DType::float64, bytes);
}

template <class Replacement>
void Correction::process(const CorrectionDirection& direction, const FramesView& frames,
                         const MutableFramesView& out, std::size_t origin, std::size_t first,
                         std::size_t count, int threads, const Replacement& replacement) const {
    const detail::CorrectionKernels& kernels = detail::correction_kernels();
    const auto store = kernels.store[static_cast<std::size_t>(out.dtype)];
    const std::size_t pixels = frames.shape.pixels();
    const double* const mean = mean_.data() + origin;
    const double* const sigma = sigma_.data() + origin;
    const bool dense_in = frames.frames_contiguous();
    const bool dense_out = out.view().frames_contiguous();
    const std::size_t in_size = item_size(frames.dtype);
    const std::size_t out_size = item_size(out.dtype);
    // In place, the lines to be overwritten are in the cache already.
    const bool large =
        dense_out && frames.data != out.data && out.count * pixels * out_size >= streamed_bytes;
    const bool approximates = !by_planes_ && detail::approximates(frames.dtype, out.dtype);
    const bool by_values =
        by_planes_ || (exceeds_float32_ && is_integer(frames.dtype) && out.dtype == DType::float32);
    const std::size_t blocks = (pixels + block_pixels - 1) / block_pixels;
    const std::size_t blocks_a_piece = threads == 1 ? blocks : (blocks + pieces - 1) / pieces;

    // All frames of the block at `begin`, while the block after it, if in the same piece, is fetched.
    const auto process_block = [&](std::size_t begin, std::size_t piece_end) {
        const std::size_t end = std::min(begin + block_pixels, pixels);
        const std::size_t next_pixels = std::min(end + block_pixels, piece_end) - end;
        const auto first_bad = std::lower_bound(bad_pixels_.begin(), bad_pixels_.end(), origin + begin);
        double gain[block_pixels];
        Approximations approximations;
        double values[tile_pixels];
        std::byte scratch_in[tile_pixels * sizeof(double)];
        std::byte scratch_out[tile_pixels * sizeof(double)];
        std::uint64_t clipped = 0;
        std::size_t fetched = 0;  // values of the next block's mean and sigma
        for (std::size_t f = 0; f < count; ++f) {
            if (f == 1 && approximates)
                approximations.make(direction, mean + begin, gain, end - begin, target_mean(), out.dtype);
            auto bad = first_bad;
            std::byte* const target = out.frame(first + f);
            const auto misaligned = reinterpret_cast<std::uintptr_t>(target + begin * out_size) % line_bytes;
            const bool streams = large && misaligned % out_size == 0;
            // Tiles end where lines of the output do, so that no two share one.
            std::size_t n = tile_pixels - (streams ? misaligned / out_size : 0);
            for (std::size_t i = begin; i < end; i += n, n = tile_pixels) {
                n = std::min(n, end - i);
                const std::size_t fetch =
                    next_pixels * (f * block_pixels + i + n - begin) / (count * block_pixels);
                prefetch(mean + end + fetched, (fetch - fetched) * sizeof(double));
                prefetch(sigma + end + fetched, (fetch - fetched) * sizeof(double));
                fetched = fetch;

                // A tile at a time, for the memory not to lie idle during all these divisions.
                if (f == 0) find_gains(direction, origin + i, n, gain + (i - begin));
                Tile tile{detail::gather(frames, dense_in, first + f, i, n, scratch_in), n, mean + i,
                          gain + (i - begin)};
                if (dense_in && f + 1 < count) {
                    tile.next = frames.frame(first + f + 1) + i * in_size;
                } else if (dense_in && i + block_pixels + n <= piece_end) {
                    tile.next = frames.frame(first) + (i + block_pixels) * in_size;
                }
                std::optional<detail::Approximation> approximation;
                if (f > 0 && approximates) approximation = approximations.of(i - begin, n);
                if (approximation) tile.approximation = &*approximation;

                std::byte* const place = dense_out ? target + i * out_size : scratch_out;
                if (!by_values && (bad == bad_pixels_.end() || *bad >= origin + i + n)) {
                    clipped +=
                        correct(direction, frames.dtype, tile, target_mean(), out.dtype, place, streams);
                } else {
                    find_values(direction, frames.dtype, tile, origin + i, values);
                    for (; bad != bad_pixels_.end() && *bad < origin + i + n; ++bad)
                        values[*bad - origin - i] =
                            replacement(f, static_cast<std::size_t>(bad - bad_pixels_.begin()));
                    clipped += store(values, n, place, streams);
                }
                if (!dense_out) detail::scatter(out, dense_out, first + f, i, n, scratch_out);
            }
        }
        if (large) kernels.finish_streams();
        clipped_->fetch_add(clipped, std::memory_order_relaxed);
    };
    detail::parallel_for((blocks + blocks_a_piece - 1) / blocks_a_piece, threads, [&](std::size_t piece) {
        const std::size_t begin = piece * blocks_a_piece * block_pixels;
        const std::size_t end = std::min(begin + blocks_a_piece * block_pixels, pixels);
        for (std::size_t i = begin; i < end; i += block_pixels) process_block(i, end);
    });
}

std::vector<double> Correction::interpolate(const FramesView& frames, std::size_t first, std::size_t count,
                                            int threads) const {
    std::vector<double> values(count * bad_pixels_.size());
    const CorrectionDirection& direction = detail::correction_kernels().forward;
    const std::size_t groups = (bad_pixels_.size() + bad_group - 1) / bad_group;
    detail::parallel_for(groups, threads, [&](std::size_t group) {
        const std::size_t end = std::min((group + 1) * bad_group, bad_pixels_.size());
        for (std::size_t k = group * bad_group; k < end; ++k) {
            std::size_t neighbours = 0;
            for_each_neighbour(
                shape_, bad_, bad_pixels_[k], radii_[k], [&](std::size_t y, std::size_t x, std::size_t p) {
                    const std::size_t plane = p % shape_.planes;
                    double gain = 0.0;
                    direction.gain(&sigma_[p], 1, target_sigmas_[plane], &gain);
                    const std::ptrdiff_t place = static_cast<std::ptrdiff_t>(y) * frames.strides[1] +
                                                 static_cast<std::ptrdiff_t>(x) * frames.strides[2] +
                                                 static_cast<std::ptrdiff_t>(plane) * frames.strides[3];
                    for (std::size_t f = 0; f < count; ++f) {
                        double value = 0.0;
                        correct(direction, frames.dtype,
                                {frames.frame(first + f) + place, 1, &mean_[p], &gain}, target_means_[plane],
                                DType::float64, reinterpret_cast<std::byte*>(&value));
                        values[f * bad_pixels_.size() + k] += value;
                    }
                    ++neighbours;
                });
            for (std::size_t f = 0; f < count; ++f)
                values[f * bad_pixels_.size() + k] /= static_cast<double>(neighbours);
        }
    });
    return values;
}

void Correction::apply(const FramesView& frames, const MutableFramesView& out, int threads) const {
    check(frames, out, shape_);
    run(frames, out, 0, threads);
}

void Correction::apply_rows(const FramesView& rows, const MutableFramesView& out, std::size_t first_row,
                            int threads) const {
    const std::size_t height = rows.shape.height;
    if (height == 0 || height > shape_.height || first_row > shape_.height - height)
        throw InvalidArgument("there are no rows " + std::to_string(first_row) + " to " +
                              std::to_string(first_row + height) + " in frames of shape " +
                              to_string(shape_));
    check(rows, out, {height, shape_.width, shape_.planes});
    if (bad_policy_ == BadPolicy::interpolate && height != shape_.height)
        throw InvalidArgument("bad_policy 'interpolate' needs whole frames, not rows of them");
    run(rows, out, first_row * shape_.width * shape_.planes, threads);
}

void Correction::run(const FramesView& frames, const MutableFramesView& out, std::size_t origin,
                     int threads) const {
    if (bad_policy_ == BadPolicy::nan && is_integer(out.dtype))
        throw InvalidArgument("bad_policy 'nan' needs float output, not " + std::string(name(out.dtype)));
    threads = resolve_threads(threads);
    const CorrectionDirection& direction = detail::correction_kernels().forward;
    if (bad_policy_ != BadPolicy::interpolate) {
        const auto neutral = [&](std::size_t, std::size_t k) {
            return bad_policy_ == BadPolicy::nan ? std::numeric_limits<double>::quiet_NaN()
                                                 : target_means_[bad_pixels_[k] % shape_.planes];
        };
        process(direction, frames, out, origin, 0, frames.count, threads, neutral);
        return;
    }
    const std::size_t bad = bad_pixels_.size();
    const std::size_t at_a_time = std::max(held_values / std::max<std::size_t>(bad, 1), std::size_t{1});
    for (std::size_t first = 0; first < frames.count; first += at_a_time) {
        const std::size_t count = std::min(at_a_time, frames.count - first);
        const std::vector<double> values = interpolate(frames, first, count, threads);
        process(direction, frames, out, 0, first, count, threads,
                [&](std::size_t f, std::size_t k) { return values[f * bad + k]; });
    }
}

void Correction::inverse(const FramesView& frames, const MutableFramesView& out, int threads) const {
    check(frames, out, shape_);
    process(detail::correction_kernels().inverse, frames, out, 0, 0, frames.count, resolve_threads(threads),
            [&](std::size_t, std::size_t k) { return mean_[bad_pixels_[k]]; });
}

}  // namespace camnorm
