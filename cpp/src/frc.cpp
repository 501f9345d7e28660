#include "camnorm/frc.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "camnorm/error.hpp"
#include "camnorm/runtime.hpp"
#include "kernels/rings.hpp"
#include "parallel.hpp"
#include "pixels.hpp"

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
constexpr std::size_t most_bands = 64;

/// Pixels in a band of a frame, at least: for fewer it is not worth to call another thread.
constexpr std::size_t band_pixels = std::size_t{1} << 18;

/// Calls work(y, band) for the rows of every band in order.
template <class Work>
void for_each_row(std::size_t height, int threads, const Work& work) {
    parallel_for(most_bands, threads, [&](std::size_t band) {
        for (std::size_t y = height * band / most_bands; y < height * (band + 1) / most_bands; ++y)
            work(y, band);
    });
}

void add(RingSums& sum, const RingSums& term) {
    sum.cross += term.cross;
    sum.power_a += term.power_a;
    sum.power_b += term.power_b;
    sum.power_product += term.power_product;
    sum.smooth_cross += term.smooth_cross;
    sum.smooth_power_a += term.smooth_power_a;
    sum.smooth_power_b += term.smooth_power_b;
}

void add(double& sum, double term) { sum += term; }

/// The sums of several bands as one, in the order of the bands.
template <class Sum>
std::vector<Sum> total(const std::vector<Sum>& sums, std::size_t rings) {
    std::vector<Sum> result(sums.begin(), sums.begin() + static_cast<std::ptrdiff_t>(rings));
    for (std::size_t begin = rings; begin < sums.size(); begin += rings)
        for (std::size_t ring = 0; ring < rings; ++ring) add(result[ring], sums[begin + ring]);
    return result;
}

/// Calls work(y, sums) for every row, where `sums` has a place for each ring, and returns the sums.
template <class Sum, class Work>
std::vector<Sum> sum_rows(const RingIndex& index, int threads, const Work& work) {
    const std::size_t rings = index.rings();
    std::vector<Sum> sums(most_bands * rings);
    for_each_row(index.height(), resolve_threads(threads),
                 [&](std::size_t y, std::size_t band) { work(y, sums.data() + band * rings); });
    return total(sums, rings);
}

RingCorrelation correlation_of(const std::vector<RingSums>& sums, const RingIndex& index,
                               bool edges_removed) {
    RingCorrelation result;
    for (std::size_t ring = 0; ring < sums.size(); ++ring) {
        const RingSums& sum = sums[ring];
        if (!std::isfinite(sum.cross) || !std::isfinite(sum.power_product))
            throw InvalidArgument("the spectra have NaN, infinite or far too large values");
        const double power = std::sqrt(sum.power_a) * std::sqrt(sum.power_b);
        const double cross = edges_removed ? sum.smooth_cross : sum.cross;
        const double power_a = edges_removed ? sum.smooth_power_a : sum.power_a;
        const double power_b = edges_removed ? sum.smooth_power_b : sum.power_b;
        const auto n = static_cast<double>(index.counts()[ring]);
        const double mean_product = sum.power_product / n;
        const bool defined = ring > 0 && power > 0.0 && mean_product > 0.0;
        const auto put = [&](std::vector<double>& values, double value) {
            values.push_back(defined ? value : not_a_number);
        };
        put(result.correlation, sum.cross / power);
        put(result.z, cross / std::sqrt(sum.power_product));
        put(result.evenness, (power_a / n) * (power_b / n) / mean_product);
    }
    return result;
}

auto add_spectra(const float*) { return ring_kernels().add_complex64; }
auto add_spectra(const double*) { return ring_kernels().add_complex128; }
auto add_smooth_spectra(const float*) { return ring_kernels().add_smooth_complex64; }
auto add_smooth_spectra(const double*) { return ring_kernels().add_smooth_complex128; }
auto remove_edges(const float*) { return ring_kernels().remove_edges_complex64; }
auto remove_edges(const double*) { return ring_kernels().remove_edges_complex128; }

using Complex = std::complex<double>;

constexpr double pi = 3.14159265358979323846;

/// Complex numbers as the kernels take them.
struct Parts {
    explicit Parts(const std::vector<Complex>& values) {
        for (const Complex& value : values) {
            real.push_back(value.real());
            imaginary.push_back(value.imag());
        }
    }

    ComplexParts from(std::size_t first) const { return {real.data() + first, imaginary.data() + first}; }
    Complex at(std::size_t i) const { return {real[i], imaginary[i]}; }

    std::vector<double> real;
    std::vector<double> imaginary;
};

/// 1 - exp(2 pi i k / n) for the first `count` frequencies of an axis of n pixels.
std::vector<Complex> steps(std::size_t n, std::size_t count) {
    std::vector<Complex> result;
    for (std::size_t k = 0; k < count; ++k) {
        const double angle = pi * static_cast<double>(k) / static_cast<double>(n);
        const double sine = std::sin(angle);
        result.push_back(Complex(0.0, -2.0 * sine) * Complex(std::cos(angle), sine));
    }
    return result;
}

}  // namespace

namespace detail {

/// Takes from stretches of two spectra what the jumps at the edges of their images put into them.
class Edges {
public:
    Edges(std::size_t height, std::size_t width, const Jumps& a, const Jumps& b)
        : rows_(height, height), columns_(width, width / 2 + 1) {
        for (const Jumps* jumps : {&a, &b})
            if (jumps->rows.size() != width / 2 + 1 || jumps->columns.size() != height)
                throw InvalidArgument("jumps at the edges are not those of a plane of " +
                                      std::to_string(height) + " x " + std::to_string(width));
        for (const Jumps* jumps : {&a, &b}) {
            row_jumps_.emplace_back(jumps->rows);
            column_jumps_.emplace_back(jumps->columns);
        }
        // The zero frequency, to which jumps add nothing: 0 / tiny instead of 0 / 0.
        rows_.divisors[0] = std::numeric_limits<double>::min();
    }

    /// Of spectrum 0 or 1, frequencies (ky, kx) and on along ky.
    EdgeStretch down(std::size_t which, std::size_t ky, std::size_t kx) const {
        return stretch(column_jumps_[which], row_jumps_[which].at(kx), rows_, columns_, ky, kx);
    }

    /// The same along kx.
    EdgeStretch right(std::size_t which, std::size_t ky, std::size_t kx) const {
        return stretch(row_jumps_[which], column_jumps_[which].at(ky), columns_, rows_, kx, ky);
    }

private:
    struct Axis {
        Axis(std::size_t n, std::size_t count) : steps(camnorm::steps(n, count)) {
            for (std::size_t k = 0; k < count; ++k) {
                const double sine = std::sin(pi * static_cast<double>(k) / static_cast<double>(n));
                divisors.push_back(-4.0 * sine * sine);
            }
        }

        Parts steps;
        std::vector<double> divisors;  ///< 2 cos(2 pi k / n) - 2
    };

    static EdgeStretch stretch(const Parts& along, Complex across, const Axis& axis, const Axis& other,
                               std::size_t first, std::size_t place) {
        const Complex factor = other.steps.at(place);
        return {along.from(first),      {factor.real(), factor.imag()}, {across.real(), across.imag()},
                axis.steps.from(first), axis.divisors.data() + first,   other.divisors[place]};
    }

    Axis rows_;
    Axis columns_;
    std::vector<Parts> row_jumps_;
    std::vector<Parts> column_jumps_;
};

}  // namespace detail

namespace {

/// Adds n frequencies of two spectra along one axis to the sums. edges_at(which, i) gives the EdgeStretch
/// from the i-th of them on.
template <class T, class EdgesAt>
void add_smooth(const std::uint16_t* rings, std::ptrdiff_t step, const T* a, const T* b, std::size_t n,
                double weight, RingSums* sums, const EdgesAt& edges_at) {
    SmoothStretch smooth[2];
    const auto remove = remove_edges(a);
    const auto add = add_smooth_spectra(a);
    for (std::size_t i = 0; i < n; i += smooth_stretch) {
        const std::size_t count = std::min(smooth_stretch, n - i);
        remove(a + 2 * i, edges_at(0, i), count, smooth[0]);
        remove(b + 2 * i, edges_at(1, i), count, smooth[1]);
        add(rings + step * static_cast<std::ptrdiff_t>(i), step, a + 2 * i, b + 2 * i, smooth[0], smooth[1],
            count, weight, sums);
    }
}

/// The jumps of an image, from its half spectrum.
template <class T>
Jumps jumps_of(const std::complex<T>* spectrum, std::size_t height, std::size_t width, int threads) {
    const std::size_t half = width / 2 + 1;
    const std::vector<Complex> row_steps = steps(height, height);
    const std::vector<Complex> column_steps = steps(width, half);
    // A pixel is the mean of the spectrum times its phases, those of the last row the conjugate steps' + 1.
    std::vector<Complex> column_jumps(most_bands * half);
    std::vector<Complex> single(height);
    std::vector<Complex> paired(height);
    for_each_row(height, threads, [&](std::size_t y, std::size_t band) {
        const std::complex<T>* row = spectrum + y * half;
        const Complex row_step = -std::conj(row_steps[y]);
        Complex* sums = column_jumps.data() + band * half;
        for (std::size_t x = 0; x < half; ++x) {
            const Complex value(row[x]);
            sums[x] += value * row_step;
            (x == 0 || 2 * x == width ? single : paired)[y] -= value * std::conj(column_steps[x]);
        }
    });
    Jumps jumps{std::vector<Complex>(half), std::vector<Complex>(height)};
    for (std::size_t band = 0; band < most_bands; ++band)
        for (std::size_t x = 0; x < half; ++x)
            jumps.rows[x] += column_jumps[band * half + x] / static_cast<double>(height);
    for (std::size_t y = 0; y < height; ++y)
        jumps.columns[y] =
            (single[y] + paired[y] + std::conj(paired[(height - y) % height])) / static_cast<double>(width);
    return jumps;
}

template <class T>
RingCorrelation correlate(const RingIndex& index, const std::complex<T>* fa, const std::complex<T>* fb,
                          int threads) {
    const auto* a = reinterpret_cast<const T*>(fa);
    const auto* b = reinterpret_cast<const T*>(fb);
    const int n_threads = resolve_threads(threads);
    const Edges edges(index.height(), index.width(), jumps_of(fa, index.height(), index.width(), n_threads),
                      jumps_of(fb, index.height(), index.width(), n_threads));
    const std::size_t width = index.width() / 2 + 1;
    // Columns that have no mate in the other half of the plane: the first, and Nyquist of even widths.
    const std::size_t single = index.width() % 2 == 0 ? width - 1 : width;
    const auto sums = sum_rows<RingSums>(index, n_threads, [&](std::size_t y, RingSums* row_sums) {
        const std::size_t ky = std::min(y, index.height() - y);
        const std::uint16_t* rings = index.row(ky);
        const std::size_t columns = index.columns(ky);
        const auto add_columns = [&](std::size_t begin, std::size_t end, double weight) {
            end = std::min(end, columns);
            const std::size_t place = 2 * (y * width + begin);
            if (begin < end)
                add_smooth(
                    rings + begin, 1, a + place, b + place, end - begin, weight, row_sums,
                    [&](std::size_t which, std::size_t i) { return edges.right(which, y, begin + i); });
        };
        add_columns(0, 1, 1.0);
        add_columns(1, single, 2.0);
        add_columns(std::max<std::size_t>(single, 1), width, 1.0);
    });
    return correlation_of(sums, index, true);
}

template <class T>
void add_column_spectra(const RingIndex& index, const Edges* edges, std::size_t band,
                        const std::complex<T>* fa, const std::complex<T>* fb, RingSums* sums) {
    const auto* a = reinterpret_cast<const T*>(fa);
    const auto* b = reinterpret_cast<const T*>(fb);
    // The index is that of the transposed plane.
    const std::size_t height = index.width();
    const std::size_t width = index.height();
    const std::size_t first = band * RingAccumulator::band_columns;
    const std::size_t last = std::min(first + RingAccumulator::band_columns, width / 2 + 1);
    for (std::size_t kx = first; kx < last; ++kx, a += 2 * height, b += 2 * height) {
        const double weight = kx == 0 || 2 * kx == width ? 1.0 : 2.0;
        const std::uint16_t* rings = index.row(kx);
        const std::size_t positive = index.columns(kx);
        if (positive == 0) continue;
        const auto add = [&](const std::uint16_t* first_ring, std::ptrdiff_t step, std::size_t ky,
                             std::size_t n) {
            if (edges == nullptr) {
                add_spectra(a)(first_ring, step, a + 2 * ky, b + 2 * ky, n, weight, sums);
            } else {
                add_smooth(first_ring, step, a + 2 * ky, b + 2 * ky, n, weight, sums,
                           [&](std::size_t which, std::size_t i) { return edges->down(which, ky + i, kx); });
            }
        };
        add(rings, 1, 0, positive);
        // The negative frequencies of the same rings stand at the end, the lowest of them last.
        const std::size_t negative = std::min(positive - 1, (height - 1) / 2);
        add(rings + negative, -1, height - negative, negative);
    }
}

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

RingIndex::RingIndex(std::size_t height, std::size_t width, Binning binning, bool corners)
    : height_(height), width_(width) {
    if (height == 0 || width == 0) throw InvalidArgument("a plane of frequencies must not be empty");
    // |f|^2 = s / (height * width)^2 for s = (ky * width)^2 + (kx * height)^2, so that the radius
    // |f| * min(height, width) is sqrt(s) / max(height, width).
    const auto s = [&](std::size_t ky, std::size_t kx) { return square(ky * width) + square(kx * height); };
    const RingCounter origin(std::max(height, width), binning);
    constexpr std::size_t most_rings = std::numeric_limits<std::uint16_t>::max();
    const std::size_t nyquist = std::min(height, width) / 2;
    const std::size_t largest =
        nyquist > most_rings ? nyquist : RingCounter(origin).ring(s(height / 2, width / 2));
    const std::size_t last = corners ? largest : nyquist;
    if (largest > most_rings)
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

RingAccumulator::RingAccumulator(const RingIndex& transposed)
    : index_(&transposed),
      bands_((transposed.height() / 2 + band_columns) / band_columns),
      sums_(bands_ * transposed.rings()) {}

RingAccumulator::RingAccumulator(const RingIndex& transposed, const Jumps& a, const Jumps& b)
    : RingAccumulator(transposed) {
    edges_ = std::make_unique<const Edges>(transposed.width(), transposed.height(), a, b);
}

RingAccumulator::~RingAccumulator() = default;

RingSums* RingAccumulator::band_sums(std::size_t band) {
    if (band >= bands_) throw InvalidArgument("there is no band " + std::to_string(band) + " of columns");
    return sums_.data() + band * index_->rings();
}

void RingAccumulator::add(std::size_t band, const std::complex<float>* fa, const std::complex<float>* fb) {
    add_column_spectra(*index_, edges_.get(), band, fa, fb, band_sums(band));
}

void RingAccumulator::add(std::size_t band, const std::complex<double>* fa, const std::complex<double>* fb) {
    add_column_spectra(*index_, edges_.get(), band, fa, fb, band_sums(band));
}

RingCorrelation RingAccumulator::correlation() const {
    return correlation_of(total(sums_, index_->rings()), *index_, edges_ != nullptr);
}

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
