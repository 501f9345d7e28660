#pragma once

// Sums and statistics of float frames and 32-bit integers over one strip of pixels.

#include <cstddef>
#include <cstdint>

#include "kernels/isa.hpp"
#include "kernels/strips.hpp"

namespace camnorm::detail {

/// Beyond it the square of a pixel, or the sum of squares, might overflow.
inline constexpr double largest_pixel = 0x1p480;

/// Sums over the pixels of one strip of a frame, of deviations from an origin near the mean of the frame.
struct FloatStatistics {
    double sum;
    double sum_of_squares;
    double min, max;
    bool finite;
};

/// Sums over up to frames_per_batch frames of one strip, each as an unevaluated sum high + low. Of all
/// types but float64, high began not at 0 but at a number so large that it outweighs all that is added to
/// it: then the rounding error of an addition takes two operations (Dekker's fast two-sum), not five.
/// That number follows from `limit`, pixel by pixel; where a pixel exceeds it, both are raised. Nothing
/// is lost then of 32-bit integers and float16, nor of float32 pixels within a factor of 2^20, and 2^-89 of
/// the sum at most of others. Sums of pixels are often exact in high alone, and low is left as it is.
struct FloatSums {
    alignas(64) float limit[float_strip_pixels];  ///< of |x|, if they are float32
    alignas(64) double sum_high[float_strip_pixels];
    alignas(64) double sum_low[float_strip_pixels];
    alignas(64) double squares_high[float_strip_pixels];
    alignas(64) double squares_low[float_strip_pixels];
};

/// Frames after which the sums of a strip must be drained.
inline constexpr std::size_t frames_per_batch = 32;

/// Kernels of one float type, or of 32-bit integers, for n pixels of a strip.
struct FloatKernels {
    /// Adds to the sums, or makes them if the group is the first. False if a pixel is not finite, or its
    /// square cannot be summed: the sums are of no use then. Gives the statistics of each frame too,
    /// unless `statistics` is null.
    bool (*add)(const Group& group, std::size_t n, bool first, FloatSums& sums, const double* origins,
                FloatStatistics* statistics) noexcept;

    /// Adds the sums to the double-double ones of the state, or subtracts them.
    void (*drain)(const FloatSums& sums, std::size_t n, bool subtract, double* sum_high, double* sum_low,
                  double* squares_high, double* squares_low) noexcept;

    /// Statistics of n pixels, the same as of add(); prefetches as many from `next` on.
    FloatStatistics (*describe)(const std::byte* x, std::size_t n, const std::byte* next,
                                double origin) noexcept;
};

struct FloatSumKernels {
    FloatKernels uint32, int32, float16, float32, float64;
};

CAMNORM_DECLARE_KERNELS(FloatSumKernels, float_sum_kernels)

}  // namespace camnorm::detail
