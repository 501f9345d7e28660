#pragma once

#include <cstddef>

#include "camnorm/frames.hpp"

namespace camnorm::detail {

/// Pixels that are worked on together: what a kernel keeps of them stays in the first-level cache.
inline constexpr std::size_t block_pixels = 4096;

constexpr std::size_t block_count(std::size_t pixels) noexcept {
    return (pixels + block_pixels - 1) / block_pixels;
}

/// Pixels [begin, begin + count) of one frame, in (y, x, plane) order and without gaps: in place if
/// they lie so (`dense`, as told by frames_contiguous()), else copied to `scratch`, which must hold
/// count pixels.
const std::byte* gather(const FramesView& frames, bool dense, std::size_t frame, std::size_t begin,
                        std::size_t count, std::byte* scratch) noexcept;

/// Writes pixels [begin, begin + count) of one frame from `source`, which has no gaps.
void scatter(const MutableFramesView& frames, bool dense, std::size_t frame, std::size_t begin,
             std::size_t count, const std::byte* source) noexcept;

}  // namespace camnorm::detail
