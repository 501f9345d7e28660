#pragma once

// Work on stretches of pixels of one type: widening float16, adding, weighted sums, tapers.

#include <cstddef>

#include "kernels/isa.hpp"

namespace camnorm::detail {

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

struct PixelKernelTable {
    /// float16 to float32, exactly; the kernels below are for every other type.
    void (*widen_float16)(const std::byte* x, std::size_t n, float* out) noexcept;

    PixelKernels uint8, int8, uint16, int16, uint32, int32, float32, float64;
};

CAMNORM_DECLARE_KERNELS(PixelKernelTable, pixel_kernels)

}  // namespace camnorm::detail
