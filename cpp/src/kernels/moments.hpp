#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/isa.hpp"

namespace camnorm::detail {

/// Pixels whose sums a kernel keeps in the first-level cache while all frames of a call pass by.
inline constexpr std::size_t strip_pixels = 2048;

inline constexpr std::size_t float_strip_pixels = 512;

/// Frames that a kernel adds in one go. Where there are fewer, frames of zeros take their place.
inline constexpr std::size_t group_frames = 4;

/// Frames after which the 32-bit sums of a strip must be drained: 32768 * 65535 < 2^31.
inline constexpr std::size_t frames_per_drain = 32768;

/// The same stretch of pixels in each frame of a group, and in those that come next, which are
/// prefetched meanwhile. Nothing is assumed about alignment.
struct Group {
    const std::byte* x[group_frames];
    const std::byte* next[group_frames];
};

/// Sums over the frames of a call, in the order in which the kernels unpack pixels, of numbers that
/// differ from the pixels by a constant: only drain() understands them.
struct IntegerSums {
    alignas(64) std::uint32_t sum[strip_pixels];
    alignas(64) std::uint32_t square_low[strip_pixels];
    alignas(64) std::uint32_t square_high[strip_pixels];  ///< of 16-bit pixels only
};

/// What a kernel tells of one strip of one integer frame; exact.
struct IntegerStrip {
    std::int64_t sum;
    std::uint64_t sum_of_squares;
    std::int32_t min, max;
};

/// Beyond it the square of a pixel, or the sum of squares, might overflow.
inline constexpr double largest_pixel = 0x1p480;

/// The same of a float frame, of deviations from a number near its mean.
struct FloatStrip {
    double sum;
    double sum_of_squares;
    double min, max;
    bool finite;
};

/// Where frames of zeros stand in for missing ones.
extern const std::byte zeros[strip_pixels * sizeof(double)];

/// Kernels of one integer type, for n pixels of a strip.
struct IntegerKernels {
    void (*clear)(IntegerSums& sums) noexcept;
    void (*add)(const Group& group, std::size_t n, IntegerSums& sums) noexcept;

    /// Adds the sums over `frames` frames, those of zeros among them, to the state, or subtracts them.
    void (*drain)(const IntegerSums& sums, std::size_t n, std::size_t frames, bool subtract,
                  std::int64_t* sum, std::uint64_t* sum_of_squares) noexcept;

    /// Statistics of n pixels; prefetches half as many from `next` on.
    IntegerStrip (*tell)(const std::byte* x, std::size_t n, const std::byte* next) noexcept;
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

inline constexpr std::size_t frames_per_batch = 32;

/// Kernels of one float type, or of 32-bit integers, for n pixels of a strip.
struct FloatKernels {
    /// Adds to the sums, or makes them if the group is the first. False if a pixel is not finite, or its
    /// square cannot be summed: the sums are of no use then. Tells of each frame, in deviations from its
    /// origin, unless `told` is null.
    bool (*add)(const Group& group, std::size_t n, bool first, FloatSums& sums, const double* origins,
                FloatStrip* told) noexcept;

    /// Adds the sums to the double-double ones of the state, or subtracts them.
    void (*drain)(const FloatSums& sums, std::size_t n, bool subtract, double* sum_high, double* sum_low,
                  double* squares_high, double* squares_low) noexcept;

    /// Statistics of n pixels, the same as add() tells; prefetches as many from `next` on.
    FloatStrip (*tell)(const std::byte* x, std::size_t n, const std::byte* next, double origin) noexcept;
};

struct MomentsKernels {
    IntegerKernels uint8, int8, uint16, int16;
    FloatKernels uint32, int32, float16, float32, float64;

    /// float16 to float32, exactly.
    void (*widen_float16)(const std::byte* x, std::size_t n, float* out) noexcept;
};

CAMNORM_DECLARE_KERNELS_VNNI(MomentsKernels, moments_kernels, avx512vnni)

}  // namespace camnorm::detail
