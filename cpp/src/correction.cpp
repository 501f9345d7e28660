#include "camnorm/correction.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <utility>

#include "blocks.hpp"
#include "camnorm/error.hpp"
#include "camnorm/runtime.hpp"
#include "double_double.hpp"
#include "kernels/correction.hpp"
#include "kernels/pixels.hpp"
#include "parallel.hpp"

namespace camnorm {
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

std::string text(double value) {
    std::ostringstream s;
    s << value;
    return s.str();
}

bool is_integer(DType dtype) {
    return dtype != DType::float16 && dtype != DType::float32 && dtype != DType::float64;
}

/// Mean over the good pixels, summed in double-double.
double mean_of_good(const std::vector<double>& image, const std::vector<std::uint8_t>& bad,
                    std::size_t good) {
    detail::DoubleDouble sum{0.0, 0.0};
    for (std::size_t i = 0; i < image.size(); ++i)
        if (!bad[i]) sum = detail::add(sum, image[i]);
    return sum.high / static_cast<double>(good);
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

/// Pixels to work on, without gaps, at most tile_pixels, and what the formula needs of them.
struct Tile {
    const std::byte* pixels;
    std::size_t n;
    const double* mean;
    const double* gain;
    const std::byte* next = nullptr;  // as many that will be worked on later, if known
    const detail::Approximation* approximation = nullptr;
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

Correction::Correction(FrameShape shape, std::vector<double> mean, std::vector<double> sigma,
                       CorrectionOptions options)
    : shape_(shape),
      mean_(std::move(mean)),
      sigma_(std::move(sigma)),
      bad_policy_(options.bad_policy),
      bad_(std::move(options.bad)),
      clipped_(std::make_unique<std::atomic<std::uint64_t>>(0)) {
    const std::size_t pixels = shape_.pixels();
    if (pixels == 0) throw InvalidArgument("frames of shape " + to_string(shape_) + " have no pixels");
    if (bad_.empty()) bad_.resize(pixels);
    if (mean_.size() != pixels || sigma_.size() != pixels || bad_.size() != pixels) {
        throw InvalidArgument("the mean image has " + std::to_string(mean_.size()) +
                              " pixels, the sigma image " + std::to_string(sigma_.size()) +
                              " and the bad pixel mask " + std::to_string(bad_.size()) + ", not the " +
                              std::to_string(pixels) + " of shape " + to_string(shape_));
    }
    const auto negative = std::find_if(sigma_.begin(), sigma_.end(), [](double s) { return s < 0.0; });
    if (negative != sigma_.end()) throw InvalidArgument("sigma must not be negative, got " + text(*negative));
    if (options.target_mean && !std::isfinite(*options.target_mean))
        throw InvalidArgument("target_mean must be finite, got " + text(*options.target_mean));
    if (options.target_sigma && !(std::isfinite(*options.target_sigma) && *options.target_sigma > 0.0))
        throw InvalidArgument("target_sigma must be positive and finite, got " + text(*options.target_sigma));
    find_bad_pixels(options.target_mean, options.target_sigma);
    if (bad_policy_ == BadPolicy::interpolate) find_radii();
}

void Correction::find_bad_pixels(std::optional<double> target_mean, std::optional<double> target_sigma) {
    const std::size_t pixels = bad_.size();
    const auto count_good = [&] {
        const auto good = static_cast<std::size_t>(std::count(bad_.begin(), bad_.end(), std::uint8_t{0}));
        if (good == 0) throw InvalidArgument("all pixels are bad");
        return good;
    };
    for (std::size_t i = 0; i < pixels; ++i)
        bad_[i] = bad_[i] != 0 || !std::isfinite(mean_[i]) || !std::isfinite(sigma_[i]) || sigma_[i] == 0.0;
    const std::size_t good = count_good();
    target_mean_ = target_mean ? *target_mean : mean_of_good(mean_, bad_, good);
    target_sigma_ = target_sigma ? *target_sigma : mean_of_good(sigma_, bad_, good);
    for (std::size_t i = 0; i < pixels; ++i)
        bad_[i] = bad_[i] != 0 || !std::isnormal(target_sigma_ / sigma_[i]);
    bad_pixels_.reserve(pixels - count_good());
    constexpr double largest_pixel = 0x1p32;
    double reach = 0.0;
    for (std::size_t i = 0; i < pixels; ++i) {
        if (bad_[i]) {
            bad_pixels_.push_back(i);
            continue;
        }
        const double gain = target_sigma_ / sigma_[i];
        const double mean = std::abs(mean_[i]);
        const double target = std::abs(target_mean_);
        reach =
            std::max({reach, (largest_pixel + mean) * gain + target, (largest_pixel + target) / gain + mean});
    }
    exceeds_float32_ = !(reach < std::numeric_limits<float>::max());
}

void Correction::find_radii() {
    // Chessboard distance to the next good pixel in two passes: Rosenfeld & Pfaltz, Pattern
    // Recognition 1, 33 (1968).
    constexpr std::uint32_t far = std::numeric_limits<std::uint32_t>::max() / 2;
    const auto height = static_cast<std::ptrdiff_t>(shape_.height);
    const auto width = static_cast<std::ptrdiff_t>(shape_.width);
    const auto planes = static_cast<std::ptrdiff_t>(shape_.planes);
    std::vector<std::uint32_t> distance(bad_.size());
    // Looks at the row at y - step and at the pixel at x - step, which were done before.
    const auto pass = [&](std::ptrdiff_t step, std::ptrdiff_t y_first, std::ptrdiff_t x_first) {
        for (std::ptrdiff_t y = y_first; y >= 0 && y < height; y += step) {
            for (std::ptrdiff_t x = x_first; x >= 0 && x < width; x += step) {
                for (std::ptrdiff_t plane = 0; plane < planes; ++plane) {
                    const auto at = [&](std::ptrdiff_t j, std::ptrdiff_t i) -> std::uint32_t& {
                        return distance[static_cast<std::size_t>((j * width + i) * planes + plane)];
                    };
                    std::uint32_t nearest = at(y, x);
                    if (y != y_first) {
                        for (std::ptrdiff_t i = std::max<std::ptrdiff_t>(x - 1, 0);
                             i <= std::min(x + 1, width - 1); ++i)
                            nearest = std::min(nearest, at(y - step, i) + 1);
                    }
                    if (x != x_first) nearest = std::min(nearest, at(y, x - step) + 1);
                    at(y, x) = nearest;
                }
            }
        }
    };
    for (std::size_t i = 0; i < distance.size(); ++i) distance[i] = bad_[i] ? far : 0;
    pass(1, 0, 0);
    pass(-1, height - 1, width - 1);
    radii_.reserve(bad_pixels_.size());
    for (const std::size_t i : bad_pixels_) {
        if (distance[i] >= far)
            throw InvalidArgument("all pixels of colour plane " + std::to_string(i % shape_.planes) +
                                  " are bad: there is nothing to interpolate from");
        radii_.push_back(distance[i]);
    }
}

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
    const bool approximates = detail::approximates(frames.dtype, out.dtype);
    const bool by_values = exceeds_float32_ && is_integer(frames.dtype) && out.dtype == DType::float32;
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
                approximations.make(direction, mean + begin, gain, end - begin, target_mean_, out.dtype);
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
                if (f == 0) direction.gain(sigma + i, n, target_sigma_, gain + (i - begin));
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
                        correct(direction, frames.dtype, tile, target_mean_, out.dtype, place, streams);
                } else {
                    correct(direction, frames.dtype, tile, target_mean_, DType::float64,
                            reinterpret_cast<std::byte*>(values));
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
                    double gain = 0.0;
                    direction.gain(&sigma_[p], 1, target_sigma_, &gain);
                    const std::ptrdiff_t place =
                        static_cast<std::ptrdiff_t>(y) * frames.strides[1] +
                        static_cast<std::ptrdiff_t>(x) * frames.strides[2] +
                        static_cast<std::ptrdiff_t>(p % shape_.planes) * frames.strides[3];
                    for (std::size_t f = 0; f < count; ++f) {
                        double value = 0.0;
                        correct(direction, frames.dtype,
                                {frames.frame(first + f) + place, 1, &mean_[p], &gain}, target_mean_,
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
        const double neutral =
            bad_policy_ == BadPolicy::nan ? std::numeric_limits<double>::quiet_NaN() : target_mean_;
        process(direction, frames, out, origin, 0, frames.count, threads,
                [&](std::size_t, std::size_t) { return neutral; });
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
