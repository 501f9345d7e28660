// Frames made ready for their transforms: without their mean, under a window.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "bands.hpp"
#include "blocks.hpp"
#include "camnorm/error.hpp"
#include "camnorm/frc.hpp"
#include "camnorm/runtime.hpp"
#include "parallel.hpp"
#include "pixels.hpp"

namespace camnorm {

using namespace detail;

namespace {

/// Pixels in a band of a frame, at least: for fewer it is not worth to call another thread.
constexpr std::size_t band_pixels = std::size_t{1} << 18;

/// Calls work(begin, n, pixels) for the stretches of row y.
template <class Work>
void for_each_stretch(PixelReader& reader, std::size_t y, std::size_t width, const Work& work) {
    for (std::size_t begin = 0; begin < width; begin += block_pixels) {
        const std::size_t n = std::min(block_pixels, width - begin);
        work(begin, n, reader.read(0, y * width + begin, n));
    }
}

std::vector<double> window_values(const double* values, std::size_t n) {
    return values == nullptr ? std::vector<double>(n, 1.0) : std::vector<double>(values, values + n);
}

auto taper_kernel(const PixelKernels& kernels, const float*) { return kernels.taper_float32; }
auto taper_kernel(const PixelKernels& kernels, const double*) { return kernels.taper_float64; }

template <class T>
double taper_frame(const FramesView& frame, const double* rows, const double* columns, T* out, int threads) {
    const int n_threads = resolve_threads(threads);
    Taper taper(frame, rows, columns);
    parallel_for(taper.bands(), n_threads, [&](std::size_t band) { taper.sum(band); });
    const double mean = taper.take_mean();
    for_each_row(frame.shape.height, n_threads,
                 [&](std::size_t y, std::size_t) { taper.write(y, y + 1, out + y * frame.shape.width); });
    return mean;
}

}  // namespace

Taper::Taper(const FramesView& frame, const double* rows, const double* columns)
    : frame_(frame),
      rows_(window_values(rows, frame.shape.height)),
      columns_(window_values(columns, frame.shape.width)) {
    const std::size_t pixels = frame.shape.height * frame.shape.width;
    if (frame.count != 1 || frame.shape.planes != 1 || pixels == 0)
        throw InvalidArgument("one grey frame with pixels is wanted");
    sums_.resize(std::clamp<std::size_t>(pixels / band_pixels, 1, most_bands));
    const double one = 1.0;
    pixel_kernels(frame.dtype).taper_float64(PixelReader(frame).read(0, 0, 1), &one, 1.0, 0.0, 1, &origin_);
}

void Taper::sum(std::size_t band) noexcept {
    const auto weighted_sum = pixel_kernels(frame_.dtype).weighted_sum;
    const std::size_t height = frame_.shape.height;
    PixelReader reader(frame_);
    double sum = 0.0;
    for (std::size_t y = height * band / bands(); y < height * (band + 1) / bands(); ++y) {
        for_each_stretch(reader, y, frame_.shape.width,
                         [&](std::size_t begin, std::size_t n, const std::byte* x) {
                             sum += rows_[y] * weighted_sum(x, columns_.data() + begin, origin_, n);
                         });
    }
    sums_[band] = sum;
}

double Taper::take_mean() {
    const auto total = [](const std::vector<double>& values) {
        double sum = 0.0;
        for (double value : values) sum += value;
        return sum;
    };
    // Deviations from the first pixel were summed: a constant frame has none, so its mean is exact.
    const double sum = total(sums_);
    if (!std::isfinite(sum)) throw NonFinite(0, "the frame has NaN or infinite pixels");
    mean_ = origin_ + sum / (total(rows_) * total(columns_));
    return mean_;
}

template <class T>
void Taper::write_rows(std::size_t first, std::size_t last, T* out) const noexcept {
    const std::size_t width = frame_.shape.width;
    const auto kernel = taper_kernel(pixel_kernels(frame_.dtype), out);
    PixelReader reader(frame_);
    for (std::size_t y = first; y < last; ++y, out += width) {
        for_each_stretch(reader, y, width, [&](std::size_t begin, std::size_t n, const std::byte* x) {
            kernel(x, columns_.data() + begin, rows_[y], mean_, n, out + begin);
        });
    }
}

void Taper::write(std::size_t first, std::size_t last, float* out) const noexcept {
    write_rows(first, last, out);
}

void Taper::write(std::size_t first, std::size_t last, double* out) const noexcept {
    write_rows(first, last, out);
}

double taper(const FramesView& frame, const double* rows, const double* columns, float* out, int threads) {
    return taper_frame(frame, rows, columns, out, threads);
}

double taper(const FramesView& frame, const double* rows, const double* columns, double* out, int threads) {
    return taper_frame(frame, rows, columns, out, threads);
}

}  // namespace camnorm
