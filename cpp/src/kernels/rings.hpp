#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/isa.hpp"

namespace camnorm::detail {

/// Sums over one ring; side by side, for a vector unit to add all four at once.
struct RingSums {
    double cross;          ///< Re(A conj B)
    double power_a;        ///< |A|^2
    double power_b;        ///< |B|^2
    double power_product;  ///< |A|^2 |B|^2
};

/// Works on pixels of one type, which may be unaligned, in float64.
struct PixelKernels {
    /// sums[i] += x[i].
    void (*add)(const std::byte* x, std::size_t n, double* sums) noexcept;

    /// Sum of weights[i] * (x[i] - origin).
    double (*weighted_sum)(const std::byte* x, const double* weights, double origin, std::size_t n) noexcept;

    /// out[i] = weight * weights[i] * (x[i] - mean).
    void (*taper_float32)(const std::byte* x, const double* weights, double weight, double mean,
                          std::size_t n, float* out) noexcept;
    void (*taper_float64)(const std::byte* x, const double* weights, double weight, double mean,
                          std::size_t n, double* out) noexcept;
};

struct RingKernels {
    /// sums[rings[i * step]] += weight * products of a[i] and b[i], one i after the other; a and b hold
    /// real and imaginary parts by turns.
    void (*add_complex64)(const std::uint16_t* rings, std::ptrdiff_t step, const float* a, const float* b,
                          std::size_t n, double weight, RingSums* sums) noexcept;
    void (*add_complex128)(const std::uint16_t* rings, std::ptrdiff_t step, const double* a, const double* b,
                           std::size_t n, double weight, RingSums* sums) noexcept;

    PixelKernels uint8, int8, uint16, int16, uint32, int32, float32, float64;
};

CAMNORM_DECLARE_KERNELS(RingKernels, ring_kernels)

}  // namespace camnorm::detail
