#pragma once

// Sums of pixels times the exposures of their frames.

#include <cstddef>
#include <cstdint>

#include "kernels/isa.hpp"

namespace camnorm::detail {

/// products[i] += weight * x[i].
using AddIntegerProducts = void (*)(const std::byte* x, std::size_t n, std::int64_t weight,
                                    std::int64_t* products) noexcept;

/// The same for double-double sums high + low; the products are exact.
using AddFloatProducts = void (*)(const std::byte* x, std::size_t n, double weight, double* high,
                                  double* low) noexcept;

/// Pixels may be unaligned.
struct ProductKernels {
    AddIntegerProducts uint8, int8, uint16, int16;
    AddFloatProducts uint32, int32, float32, float64;
};

CAMNORM_DECLARE_KERNELS(ProductKernels, product_kernels)

}  // namespace camnorm::detail
