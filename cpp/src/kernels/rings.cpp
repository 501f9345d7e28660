#include "kernels/rings.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

template <class T>
void add_spectra(const std::uint16_t* rings, std::ptrdiff_t step, const T* a, const T* b, std::size_t n,
                 double weight, RingSums* __restrict sums) noexcept {
    for (std::size_t i = 0; i < n; ++i, rings += step) {
        const double ar = a[2 * i];
        const double ai = a[2 * i + 1];
        const double br = b[2 * i];
        const double bi = b[2 * i + 1];
        const double power_a = ar * ar + ai * ai;
        const double power_b = br * br + bi * bi;
        RingSums& sum = sums[*rings];
        sum.cross += weight * (ar * br + ai * bi);
        sum.power_a += weight * power_a;
        sum.power_b += weight * power_b;
        sum.power_product += weight * (power_a * power_b);
    }
}

template <class T>
void add_smooth_spectra(const std::uint16_t* rings, std::ptrdiff_t step, const T* a, const T* b,
                        const SmoothStretch& sa, const SmoothStretch& sb, std::size_t n, double weight,
                        RingSums* __restrict sums) noexcept {
    for (std::size_t i = 0; i < n; ++i, rings += step) {
        const double ar = a[2 * i];
        const double ai = a[2 * i + 1];
        const double br = b[2 * i];
        const double bi = b[2 * i + 1];
        const double sar = sa.real[i];
        const double sai = sa.imaginary[i];
        const double sbr = sb.real[i];
        const double sbi = sb.imaginary[i];
        const double smooth_power_a = sar * sar + sai * sai;
        const double smooth_power_b = sbr * sbr + sbi * sbi;
        RingSums& sum = sums[*rings];
        sum.cross += weight * (ar * br + ai * bi);
        sum.power_a += weight * (ar * ar + ai * ai);
        sum.power_b += weight * (br * br + bi * bi);
        sum.power_product += weight * (smooth_power_a * smooth_power_b);
        sum.smooth_cross += weight * (sar * sbr + sai * sbi);
        sum.smooth_power_a += weight * smooth_power_a;
        sum.smooth_power_b += weight * smooth_power_b;
    }
}

template <class T>
void remove_edges(const T* __restrict x, const EdgeStretch& edges, std::size_t n,
                  SmoothStretch& __restrict out) noexcept {
    const EdgeStretch e = edges;
    for (std::size_t i = 0; i < n; ++i) {
        const double lr = e.along.real[i];
        const double li = e.along.imaginary[i];
        const double cr = e.across_factor.real[i];
        const double ci = e.across_factor.imaginary[i];
        const double scale = 1.0 / (e.divisors[i] + e.divisor);
        const double real =
            (lr * e.along_factor[0] - li * e.along_factor[1]) + (cr * e.across[0] - ci * e.across[1]);
        const double imaginary =
            (lr * e.along_factor[1] + li * e.along_factor[0]) + (cr * e.across[1] + ci * e.across[0]);
        out.real[i] = static_cast<double>(x[2 * i]) - real * scale;
        out.imaginary[i] = static_cast<double>(x[2 * i + 1]) - imaginary * scale;
    }
}

template <class T>
double pixel(const std::byte* x, std::size_t i) noexcept {
    T value;
    __builtin_memcpy(&value, x + i * sizeof(T), sizeof(T));
    return static_cast<double>(value);
}

/// Bytes that are asked for ahead of those in use: the processor by itself does not read on beyond a page.
constexpr std::size_t ahead = 4096;
constexpr std::size_t line_bytes = 64;

/// Pixels that are worked on between two requests: half a line of 8-bit ones, whole lines of others.
constexpr std::size_t lanes = 32;

template <class T>
void ask_ahead(const std::byte* x) noexcept {
    for (std::size_t j = 0; j < lanes * sizeof(T); j += line_bytes) __builtin_prefetch(x + j + ahead);
}

template <class T>
void add(const std::byte* __restrict x, std::size_t n, double* __restrict sums) noexcept {
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        ask_ahead<T>(x + i * sizeof(T));
        for (std::size_t j = i; j < i + lanes; ++j) sums[j] += pixel<T>(x, j);
    }
    for (; i < n; ++i) sums[i] += pixel<T>(x, i);
}

/// Partial sums by place modulo `lanes`: the same bits whatever the width of the vectors, and enough of
/// them that no addition waits for the one before.
template <class T>
double weighted_sum(const std::byte* x, const double* weights, double origin, std::size_t n) noexcept {
    double partial[lanes] = {};
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        ask_ahead<T>(x + i * sizeof(T));
        for (std::size_t j = 0; j < lanes; ++j) partial[j] += weights[i + j] * (pixel<T>(x, i + j) - origin);
    }
    for (std::size_t j = 0; i + j < n; ++j) partial[j] += weights[i + j] * (pixel<T>(x, i + j) - origin);
    for (std::size_t width = lanes / 2; width > 0; width /= 2)
        for (std::size_t j = 0; j < width; ++j) partial[j] += partial[j + width];
    return partial[0];
}

template <class T, class Out>
void taper(const std::byte* __restrict x, const double* __restrict weights, double weight, double mean,
           std::size_t n, Out* __restrict out) noexcept {
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        ask_ahead<T>(x + i * sizeof(T));
        for (std::size_t j = i; j < i + lanes; ++j)
            out[j] = static_cast<Out>(weight * weights[j] * (pixel<T>(x, j) - mean));
    }
    for (; i < n; ++i) out[i] = static_cast<Out>(weight * weights[i] * (pixel<T>(x, i) - mean));
}

template <class T>
constexpr PixelKernels kernels_of = {add<T>, weighted_sum<T>, taper<T, float>, taper<T, double>};

}  // namespace

const RingKernels ring_kernels = {
    add_spectra<float>,       add_spectra<double>,       remove_edges<float>,
    remove_edges<double>,     add_smooth_spectra<float>, add_smooth_spectra<double>,
    kernels_of<std::uint8_t>, kernels_of<std::int8_t>,   kernels_of<std::uint16_t>,
    kernels_of<std::int16_t>, kernels_of<std::uint32_t>, kernels_of<std::int32_t>,
    kernels_of<float>,        kernels_of<double>,
};

}  // namespace camnorm::detail::CAMNORM_ISA
