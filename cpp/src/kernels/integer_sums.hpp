#pragma once

// Sums of integer frames over one strip of pixels.

#include <cstddef>
#include <cstdint>

#include "kernels/isa.hpp"
#include "kernels/strips.hpp"

namespace camnorm::detail {

/// Frames after which the 32-bit sums of a strip must be drained: 32768 * 65535 < 2^31.
inline constexpr std::size_t frames_per_drain = 32768;

/// Sums over the frames of a call, in the order in which the kernels unpack pixels, of numbers that
/// differ from the pixels by a constant: only drain() understands them.
struct IntegerSums {
    alignas(64) std::uint32_t sum[strip_pixels];
    alignas(64) std::uint32_t square_low[strip_pixels];
    alignas(64) std::uint32_t square_high[strip_pixels];  ///< of 16-bit pixels only
};

/// Kernels of one integer type, for n pixels of a strip.
struct IntegerKernels {
    void (*clear)(IntegerSums& sums) noexcept;
    void (*add)(const Group& group, std::size_t n, IntegerSums& sums) noexcept;

    /// Adds the sums over `frames` frames, those of zeros among them, to the state, or subtracts them.
    void (*drain)(const IntegerSums& sums, std::size_t n, std::size_t frames, bool subtract,
                  std::int64_t* sum, std::uint64_t* sum_of_squares) noexcept;
};

struct IntegerSumKernels {
    IntegerKernels uint8, int8, uint16, int16;
};

CAMNORM_DECLARE_KERNELS_VNNI(IntegerSumKernels, integer_sum_kernels, avx512vnni)

}  // namespace camnorm::detail
