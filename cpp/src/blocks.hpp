#pragma once

#include <algorithm>
#include <cstddef>

#include "camnorm/frames.hpp"
#include "camnorm/runtime.hpp"
#include "parallel.hpp"

namespace camnorm::detail {

/// Pixels that are worked on together: what a kernel keeps of them stays in the first-level cache.
inline constexpr std::size_t block_pixels = 4096;

constexpr std::size_t block_count(std::size_t pixels) noexcept {
    return (pixels + block_pixels - 1) / block_pixels;
}

/// Calls work(block, begin, n) for the n pixels from `begin` on of each block.
template <class Work>
void over_pixels(std::size_t pixels, int threads, const Work& work) {
    parallel_for(block_count(pixels), resolve_threads(threads), [&](std::size_t b) {
        const std::size_t begin = b * block_pixels;
        work(b, begin, std::min(block_pixels, pixels - begin));
    });
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
