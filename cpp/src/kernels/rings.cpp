#include "kernels/rings.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

/// Frequencies whose products are formed at once, before they are scattered over the rings.
constexpr std::size_t chunk = 128;

template <class T>
void add_spectra(const std::uint16_t* rings, const T* __restrict a, const T* __restrict b, std::size_t n,
                 double weight, RingSums* __restrict sums) noexcept {
    RingSums products[chunk];
    for (std::size_t begin = 0; begin < n; begin += chunk) {
        const std::size_t count = n - begin < chunk ? n - begin : chunk;
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t k = 2 * (begin + i);
            const double ar = a[k];
            const double ai = a[k + 1];
            const double br = b[k];
            const double bi = b[k + 1];
            const double power_a = ar * ar + ai * ai;
            const double power_b = br * br + bi * bi;
            products[i] = {weight * (ar * br + ai * bi), weight * power_a, weight * power_b,
                           weight * (power_a * power_b)};
        }
        for (std::size_t i = 0; i < count; ++i) {
            RingSums& sum = sums[rings[begin + i]];
            sum.cross += products[i].cross;
            sum.power_a += products[i].power_a;
            sum.power_b += products[i].power_b;
            sum.power_product += products[i].power_product;
        }
    }
}

template <class T>
void widen(const std::byte* x, std::size_t n, double* out) noexcept {
    for (std::size_t i = 0; i < n; ++i) {
        T value;
        __builtin_memcpy(&value, x + i * sizeof(T), sizeof(T));
        out[i] = static_cast<double>(value);
    }
}

/// Partial sums by place modulo 8: the same bits whatever the width of the vectors.
constexpr std::size_t lanes = 8;

double weighted_sum(const double* x, const double* weights, double origin, std::size_t n) noexcept {
    double partial[lanes] = {};
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes)
        for (std::size_t j = 0; j < lanes; ++j) partial[j] += weights[i + j] * (x[i + j] - origin);
    for (std::size_t j = 0; i + j < n; ++j) partial[j] += weights[i + j] * (x[i + j] - origin);
    for (std::size_t width = lanes / 2; width > 0; width /= 2)
        for (std::size_t j = 0; j < width; ++j) partial[j] += partial[j + width];
    return partial[0];
}

template <class T>
void taper(const double* __restrict x, const double* __restrict weights, double weight, double mean,
           std::size_t n, T* __restrict out) noexcept {
    for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<T>(weight * weights[i] * (x[i] - mean));
}

}  // namespace

const RingKernels ring_kernels = {
    add_spectra<float>,  add_spectra<double>,  widen<std::uint8_t>, widen<std::int8_t>, widen<std::uint16_t>,
    widen<std::int16_t>, widen<std::uint32_t>, widen<std::int32_t>, widen<float>,       widen<double>,
    weighted_sum,        taper<float>,         taper<double>,
};

}  // namespace camnorm::detail::CAMNORM_ISA
