#pragma once

// Sums of two spectra over rings, with and without what the edges of the images put into them.

#include <cstddef>
#include <cstdint>

#include "kernels/isa.hpp"

namespace camnorm::detail {

/// Sums over one ring, side by side for a vector unit to add four at once. Where the jumps at the edges are
/// known, power_product and the last three are of spectra without them.
struct alignas(64) RingSums {
    double cross;          ///< Re(A conj B)
    double power_a;        ///< |A|^2
    double power_b;        ///< |B|^2
    double power_product;  ///< |A|^2 |B|^2
    double smooth_cross;
    double smooth_power_a;
    double smooth_power_b;
};

/// Complex numbers as real and imaginary parts apart: by turns, GCC makes fused operations of their products
/// in spite of -ffp-contract=off, where there are any.
struct ComplexParts {
    const double* real;
    const double* imaginary;
};

/// A stretch of a spectrum along one axis, and what the jumps at the edges of the image put into it: at
/// place i, (along[i] * along_factor + across * across_factor[i]) / (divisors[i] + divisor).
struct EdgeStretch {
    ComplexParts along;
    double along_factor[2];
    double across[2];
    ComplexParts across_factor;
    const double* divisors;
    double divisor;
};

/// Frequencies whose edges are removed in one go.
inline constexpr std::size_t smooth_stretch = 256;

struct SmoothStretch {
    alignas(64) double real[smooth_stretch];
    alignas(64) double imaginary[smooth_stretch];
};

struct RingKernels {
    /// sums[rings[i * step]] += weight * products of a[i] and b[i], one i after the other; a and b hold
    /// real and imaginary parts by turns.
    void (*add_complex64)(const std::uint16_t* rings, std::ptrdiff_t step, const float* a, const float* b,
                          std::size_t n, double weight, RingSums* sums) noexcept;
    void (*add_complex128)(const std::uint16_t* rings, std::ptrdiff_t step, const double* a, const double* b,
                           std::size_t n, double weight, RingSums* sums) noexcept;

    /// out[i] = x[i] without the part of the edges, for no more than smooth_stretch of them.
    void (*remove_edges_complex64)(const float* x, const EdgeStretch& edges, std::size_t n,
                                   SmoothStretch& out) noexcept;
    void (*remove_edges_complex128)(const double* x, const EdgeStretch& edges, std::size_t n,
                                    SmoothStretch& out) noexcept;

    /// As add_complex64, but power_product is of the spectra sa and sb, which have sums of their own.
    void (*add_smooth_complex64)(const std::uint16_t* rings, std::ptrdiff_t step, const float* a,
                                 const float* b, const SmoothStretch& sa, const SmoothStretch& sb,
                                 std::size_t n, double weight, RingSums* sums) noexcept;
    void (*add_smooth_complex128)(const std::uint16_t* rings, std::ptrdiff_t step, const double* a,
                                  const double* b, const SmoothStretch& sa, const SmoothStretch& sb,
                                  std::size_t n, double weight, RingSums* sums) noexcept;
};

CAMNORM_DECLARE_KERNELS(RingKernels, ring_kernels)

}  // namespace camnorm::detail
