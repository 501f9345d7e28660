#pragma once

// Strips of pixels, as the kernels that sum frames take them.

#include <cstddef>

namespace camnorm::detail {

/// Pixels whose sums a kernel keeps in the first-level cache while all frames of a call pass by.
inline constexpr std::size_t strip_pixels = 2048;

inline constexpr std::size_t float_strip_pixels = 512;

/// Frames that a kernel adds in one go. Where there are fewer, frames of zeros take their place.
inline constexpr std::size_t group_frames = 4;

/// The same stretch of pixels in each frame of a group, and in those that come next, which are
/// prefetched meanwhile. Nothing is assumed about alignment.
struct Group {
    const std::byte* x[group_frames];
    const std::byte* next[group_frames];
};

/// Where frames of zeros stand in for missing ones.
extern const std::byte zeros[strip_pixels * sizeof(double)];

}  // namespace camnorm::detail
