#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/isa.hpp"

namespace camnorm::detail {

/// What a kernel tells of one block of one integer frame; exact.
struct IntegerBlock {
    std::int64_t sum;
    std::uint64_t sum_of_squares;
    std::int32_t min, max;
};

/// The same of a float frame: the sum of squared deviations is from the block's own mean.
struct FloatBlock {
    double sum;
    double sum_of_squared_deviations;
    double min, max;
    bool finite;
};

/// Frames after which the 32-bit sums of a block must be drained: 32768 * 65535 < 2^31, and for
/// 8-bit squares 32768 * 255^2 < 2^32.
inline constexpr std::size_t frames_per_drain = 32768;

/// Pixels may be unaligned everywhere; n is at most block_pixels.
struct MomentsKernels {
    /// sums[i] += x[i]; squares[i] += x[i]^2.
    void (*add_uint8)(const std::byte* x, std::size_t n, std::int32_t* sums, std::uint32_t* squares) noexcept;
    void (*add_int8)(const std::byte* x, std::size_t n, std::int32_t* sums, std::uint32_t* squares) noexcept;
    void (*add_uint16)(const std::byte* x, std::size_t n, std::int32_t* sums,
                       std::uint64_t* squares) noexcept;
    void (*add_int16)(const std::byte* x, std::size_t n, std::int32_t* sums, std::uint64_t* squares) noexcept;

    IntegerBlock (*block_uint8)(const std::byte* x, std::size_t n) noexcept;
    IntegerBlock (*block_int8)(const std::byte* x, std::size_t n) noexcept;
    IntegerBlock (*block_uint16)(const std::byte* x, std::size_t n) noexcept;
    IntegerBlock (*block_int16)(const std::byte* x, std::size_t n) noexcept;

    /// (high, low) sums of sign * x and sign * x^2 in double-double; sign is 1 or -1.
    using AddFloat = void (*)(const std::byte* x, std::size_t n, double sign, double* sum_high,
                              double* sum_low, double* squares_high, double* squares_low) noexcept;
    AddFloat add_uint32, add_int32, add_float32, add_float64;

    using BlockFloat = FloatBlock (*)(const std::byte* x, std::size_t n) noexcept;
    BlockFloat block_uint32, block_int32, block_float32, block_float64;

    /// float16 to float32, exactly.
    void (*widen_float16)(const std::byte* x, std::size_t n, float* out) noexcept;
};

CAMNORM_DECLARE_KERNELS(MomentsKernels, moments_kernels)

}  // namespace camnorm::detail
