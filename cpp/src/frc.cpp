#include "camnorm/frc.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>

#include "bands.hpp"
#include "camnorm/error.hpp"
#include "camnorm/runtime.hpp"
#include "edges.hpp"
#include "kernels/rings.hpp"

namespace camnorm {

using namespace detail;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

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

}  // namespace

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

RingPowers RingAccumulator::powers() const {
    RingPowers result;
    for (const RingSums& sum : total(sums_, index_->rings())) {
        result.cross.push_back(sum.cross);
        result.power_a.push_back(sum.power_a);
        result.power_b.push_back(sum.power_b);
    }
    return result;
}

}  // namespace camnorm
