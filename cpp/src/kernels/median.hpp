#pragma once

// Medians of 7 x 7 pixels, by networks of minima and maxima.

#include <cstddef>

#include "kernels/isa.hpp"

namespace camnorm::detail {

inline constexpr std::size_t median_side = 7;

/// Floats that may be read and written beyond the end of a row.
inline constexpr std::size_t median_slack = 16;

struct MedianKernels {
    /// Sorts each column of 7 rows, which lie `stride` apart, into 7 rows that lie so as well.
    void (*sort_columns)(const float* rows, std::size_t stride, std::size_t n, float* sorted) noexcept;
    /// out[i] = median of the columns i to i + 6, sorted before.
    void (*medians)(const float* sorted, std::size_t stride, std::size_t n, float* out) noexcept;
};

CAMNORM_DECLARE_KERNELS(MedianKernels, median_kernels)

}  // namespace camnorm::detail
