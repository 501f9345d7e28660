#include "camnorm/frc.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "blocks.hpp"
#include "camnorm/error.hpp"
#include "camnorm/runtime.hpp"
#include "kernels/moments.hpp"
#include "kernels/rings.hpp"
#include "parallel.hpp"

namespace camnorm {
namespace {

using namespace detail;

__extension__ using uint128 = unsigned __int128;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

constexpr uint128 square(std::size_t x) { return static_cast<uint128>(x) * x; }

/// Gives the ring of radius sqrt(s) / scale, for one s after the other that never shrinks. Ring k
/// begins at radius k (floor) or k - 1/2 (round); both sides are doubled and squared.
class RingCounter {
public:
    RingCounter(std::size_t scale, Binning binning)
        : scale_(square(scale)), half_(binning == Binning::round ? 1 : 0), next_(begin(1)) {}

    std::size_t ring(uint128 s) {
        while (4 * s >= next_) next_ = begin(++ring_ + 1);
        return ring_;
    }

private:
    uint128 begin(std::size_t ring) const { return square(2 * ring - half_) * scale_; }

    uint128 scale_;
    std::size_t half_;
    std::size_t ring_ = 0;
    uint128 next_;
};

/// Bands of rows that are worked on one by one: fixed, so that the order of sums is.
constexpr std::size_t bands = 64;

/// Calls work(y, band) for the rows of every band in order.
template <class Work>
void for_each_row(std::size_t height, int threads, const Work& work) {
    parallel_for(bands, threads, [&](std::size_t band) {
        for (std::size_t y = height * band / bands; y < height * (band + 1) / bands; ++y) work(y, band);
    });
}

void add(RingSums& sum, const RingSums& term) {
    sum.cross += term.cross;
    sum.power_a += term.power_a;
    sum.power_b += term.power_b;
    sum.power_product += term.power_product;
}

void add(double& sum, double term) { sum += term; }

/// Calls work(y, sums) for every row, where `sums` has a place for each ring, and returns the sums.
template <class Sum, class Work>
std::vector<Sum> sum_rows(const RingIndex& index, int threads, const Work& work) {
    const std::size_t rings = index.rings();
    std::vector<Sum> sums(bands * rings);
    for_each_row(index.height(), resolve_threads(threads),
                 [&](std::size_t y, std::size_t band) { work(y, sums.data() + band * rings); });
    for (std::size_t i = rings; i < sums.size(); ++i) add(sums[i % rings], sums[i]);
    sums.resize(rings);
    return sums;
}

auto add_spectra(const float*) { return ring_kernels().add_complex64; }
auto add_spectra(const double*) { return ring_kernels().add_complex128; }

template <class T>
RingCorrelation correlate(const RingIndex& index, const std::complex<T>* fa, const std::complex<T>* fb,
                          int threads) {
    const auto* a = reinterpret_cast<const T*>(fa);
    const auto* b = reinterpret_cast<const T*>(fb);
    const auto kernel = add_spectra(a);
    const std::size_t width = index.width() / 2 + 1;
    // Columns that have no mate in the other half of the plane: the first, and Nyquist of even widths.
    const std::size_t single = index.width() % 2 == 0 ? width - 1 : width;
    const auto sums = sum_rows<RingSums>(index, threads, [&](std::size_t y, RingSums* row_sums) {
        const std::size_t ky = std::min(y, index.height() - y);
        const std::uint16_t* rings = index.row(ky);
        const std::size_t columns = index.columns(ky);
        const auto add_columns = [&](std::size_t begin, std::size_t end, double weight) {
            end = std::min(end, columns);
            const std::size_t place = 2 * (y * width + begin);
            if (begin < end) kernel(rings + begin, a + place, b + place, end - begin, weight, row_sums);
        };
        add_columns(0, 1, 1.0);
        add_columns(1, single, 2.0);
        add_columns(std::max<std::size_t>(single, 1), width, 1.0);
    });

    RingCorrelation result;
    result.correlation.reserve(sums.size());
    result.z.reserve(sums.size());
    for (const RingSums& sum : sums) {
        if (!std::isfinite(sum.cross) || !std::isfinite(sum.power_product))
            throw InvalidArgument("the spectra have NaN, infinite or far too large values");
        const double power = std::sqrt(sum.power_a) * std::sqrt(sum.power_b);
        const bool defined = !result.z.empty() && power > 0.0 && sum.power_product > 0.0;
        result.correlation.push_back(defined ? sum.cross / power : not_a_number);
        result.z.push_back(defined ? sum.cross / std::sqrt(sum.power_product) : not_a_number);
    }
    return result;
}

RingKernels::Widen widen(DType dtype) {
    const RingKernels& kernels = ring_kernels();
    switch (dtype) {
        case DType::uint8: return kernels.widen_uint8;
        case DType::int8: return kernels.widen_int8;
        case DType::uint16: return kernels.widen_uint16;
        case DType::int16: return kernels.widen_int16;
        case DType::uint32: return kernels.widen_uint32;
        case DType::int32: return kernels.widen_int32;
        case DType::float16:
        case DType::float32: return kernels.widen_float32;
        case DType::float64: break;
    }
    return kernels.widen_float64;
}

/// Reads stretches of a grey frame as float64.
class Reader {
public:
    explicit Reader(const FramesView& frame)
        : frame_(frame), dense_(frame.frames_contiguous()), widen_(widen(frame.dtype)) {}

    /// Pixels [begin, begin + n) of row y, n <= block_pixels; valid until the next call.
    const double* read(std::size_t y, std::size_t begin, std::size_t n) {
        const std::byte* x = gather(frame_, dense_, 0, y * frame_.shape.width + begin, n, pixels_);
        if (frame_.dtype == DType::float16) {
            moments_kernels().widen_float16(x, n, float32_);
            x = reinterpret_cast<const std::byte*>(float32_);
        }
        widen_(x, n, float64_);
        return float64_;
    }

private:
    const FramesView& frame_;
    bool dense_;
    RingKernels::Widen widen_;
    alignas(64) std::byte pixels_[block_pixels * sizeof(double)];
    alignas(64) float float32_[block_pixels];
    alignas(64) double float64_[block_pixels];
};

auto taper_kernel(const float*) { return ring_kernels().taper_float32; }
auto taper_kernel(const double*) { return ring_kernels().taper_float64; }

template <class T>
double taper_frame(const FramesView& frame, const double* rows, const double* columns, T* out, int threads) {
    const std::size_t height = frame.shape.height;
    const std::size_t width = frame.shape.width;
    if (frame.count != 1 || frame.shape.planes != 1 || height == 0 || width == 0)
        throw InvalidArgument("one grey frame with pixels is wanted");
    const int n_threads = resolve_threads(threads);
    const std::vector<double> ones(rows == nullptr || columns == nullptr ? std::max(height, width) : 0, 1.0);
    if (rows == nullptr) rows = ones.data();
    if (columns == nullptr) columns = ones.data();

    const auto for_each_stretch = [&](const auto& work) {
        for_each_row(height, n_threads, [&](std::size_t y, std::size_t band) {
            Reader reader(frame);
            for (std::size_t begin = 0; begin < width; begin += block_pixels) {
                const std::size_t n = std::min(block_pixels, width - begin);
                work(y, band, begin, n, reader.read(y, begin, n));
            }
        });
    };

    // Deviations from the first pixel are summed: a constant frame has none, so its mean is exact.
    const double origin = *Reader(frame).read(0, 0, 1);
    const auto weighted_sum = ring_kernels().weighted_sum;
    std::array<double, bands> sums{};
    for_each_stretch([&](std::size_t y, std::size_t band, std::size_t begin, std::size_t n, const double* x) {
        sums[band] += rows[y] * weighted_sum(x, columns + begin, origin, n);
    });
    double sum = 0.0;
    for (double s : sums) sum += s;
    if (!std::isfinite(sum)) throw NonFinite(0, "the frame has NaN or infinite pixels");
    double row_weight = 0.0;
    double column_weight = 0.0;
    for (std::size_t y = 0; y < height; ++y) row_weight += rows[y];
    for (std::size_t x = 0; x < width; ++x) column_weight += columns[x];
    const double mean = origin + sum / (row_weight * column_weight);

    const auto kernel = taper_kernel(out);
    for_each_stretch([&](std::size_t y, std::size_t, std::size_t begin, std::size_t n, const double* x) {
        kernel(x, columns + begin, rows[y], mean, n, out + y * width + begin);
    });
    return mean;
}

}  // namespace

RingIndex::RingIndex(std::size_t height, std::size_t width, Binning binning, bool corners)
    : height_(height), width_(width) {
    if (height == 0 || width == 0) throw InvalidArgument("a plane of frequencies must not be empty");
    // |f|^2 = s / (height * width)^2 for s = (ky * width)^2 + (kx * height)^2, so that the radius
    // |f| * min(height, width) is sqrt(s) / max(height, width).
    const auto s = [&](std::size_t ky, std::size_t kx) { return square(ky * width) + square(kx * height); };
    const RingCounter origin(std::max(height, width), binning);
    const std::size_t largest = RingCounter(origin).ring(s(height / 2, width / 2));
    const std::size_t last = corners ? largest : std::min(height, width) / 2;
    if (largest > std::numeric_limits<std::uint16_t>::max())
        throw InvalidArgument("a plane of " + std::to_string(height) + " x " + std::to_string(width) +
                              " frequencies has more than 65535 rings");

    const std::size_t half_width = width / 2 + 1;
    table_.resize((height / 2 + 1) * half_width);
    columns_.resize(height / 2 + 1);
    counts_.resize(last + 1);
    RingCounter first_column = origin;
    for (std::size_t ky = 0; ky <= height / 2; ++ky) {
        first_column.ring(s(ky, 0));
        RingCounter counter = first_column;
        const std::uint64_t rows = ky == 0 || 2 * ky == height ? 1 : 2;
        for (std::size_t kx = 0; kx < half_width; ++kx) {
            const std::size_t ring = counter.ring(s(ky, kx));
            table_[ky * half_width + kx] = static_cast<std::uint16_t>(ring);
            if (ring > last) continue;
            columns_[ky] = kx + 1;
            counts_[ring] += rows * (kx == 0 || 2 * kx == width ? 1 : 2);
        }
    }
}

RingCorrelation ring_correlation(const RingIndex& index, const std::complex<float>* fa,
                                 const std::complex<float>* fb, int threads) {
    return correlate(index, fa, fb, threads);
}

RingCorrelation ring_correlation(const RingIndex& index, const std::complex<double>* fa,
                                 const std::complex<double>* fb, int threads) {
    return correlate(index, fa, fb, threads);
}

std::vector<double> ring_sums(const RingIndex& index, const double* spectrum, int threads) {
    const std::size_t y_zero = index.height() / 2;
    const std::size_t x_zero = index.width() / 2;
    return sum_rows<double>(index, threads, [&](std::size_t y, double* sums) {
        const std::size_t ky = y < y_zero ? y_zero - y : y - y_zero;
        const std::uint16_t* rings = index.row(ky);
        const double* values = spectrum + y * index.width();
        for (std::size_t x = 0; x < index.width(); ++x) {
            const std::size_t kx = x < x_zero ? x_zero - x : x - x_zero;
            if (kx < index.columns(ky)) sums[rings[kx]] += values[x];
        }
    });
}

double taper(const FramesView& frame, const double* rows, const double* columns, float* out, int threads) {
    return taper_frame(frame, rows, columns, out, threads);
}

double taper(const FramesView& frame, const double* rows, const double* columns, double* out, int threads) {
    return taper_frame(frame, rows, columns, out, threads);
}

}  // namespace camnorm
