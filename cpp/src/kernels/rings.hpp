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

struct RingKernels {
    /// sums[rings[i]] += weight * products of a[i] and b[i], one i after the other; a and b hold
    /// real and imaginary parts by turns.
    void (*add_complex64)(const std::uint16_t* rings, const float* a, const float* b, std::size_t n,
                          double weight, RingSums* sums) noexcept;
    void (*add_complex128)(const std::uint16_t* rings, const double* a, const double* b, std::size_t n,
                           double weight, RingSums* sums) noexcept;

    /// Pixels, which may be unaligned, as float64.
    using Widen = void (*)(const std::byte* x, std::size_t n, double* out) noexcept;
    Widen widen_uint8, widen_int8, widen_uint16, widen_int16, widen_uint32, widen_int32, widen_float32,
        widen_float64;

    /// Sum of weights[i] * (x[i] - origin).
    double (*weighted_sum)(const double* x, const double* weights, double origin, std::size_t n) noexcept;

    /// out[i] = weight * weights[i] * (x[i] - mean).
    void (*taper_float32)(const double* x, const double* weights, double weight, double mean, std::size_t n,
                          float* out) noexcept;
    void (*taper_float64)(const double* x, const double* weights, double weight, double mean, std::size_t n,
                          double* out) noexcept;
};

CAMNORM_DECLARE_KERNELS(RingKernels, ring_kernels)

}  // namespace camnorm::detail
