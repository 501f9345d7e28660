#pragma once

// Sums over bytes.

#include <cstddef>
#include <cstdint>

#include "kernels/isa.hpp"

namespace camnorm::detail {

/// Sums over n bytes.
struct ByteSums {
    std::uint32_t sum;
    std::uint32_t weighted;  ///< of (n - i) times byte i
};

struct ByteKernels {
    /// Of at most bytes_summed bytes.
    ByteSums (*sums)(const std::byte* x, std::size_t n) noexcept;
};

/// 255 n (n + 1) / 2 < 2^32.
inline constexpr std::size_t bytes_summed = 5552;

CAMNORM_DECLARE_KERNELS(ByteKernels, byte_kernels)

}  // namespace camnorm::detail
