#include "kernels/rings.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

template <class T>
void add_spectra(const std::uint16_t* rings, const T* a, const T* b, std::size_t n, double weight,
                 RingSums* __restrict sums) noexcept {
    for (std::size_t i = 0; i < n; ++i) {
        const double ar = a[2 * i];
        const double ai = a[2 * i + 1];
        const double br = b[2 * i];
        const double bi = b[2 * i + 1];
        const double power_a = ar * ar + ai * ai;
        const double power_b = br * br + bi * bi;
        RingSums& sum = sums[rings[i]];
        sum.cross += weight * (ar * br + ai * bi);
        sum.power_a += weight * power_a;
        sum.power_b += weight * power_b;
        sum.power_product += weight * (power_a * power_b);
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
