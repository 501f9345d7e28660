#pragma once

// Frames whose segments are so large that their sums would not stay in the cache.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "camnorm/encoded.hpp"
#include "camnorm/moments.hpp"
#include "camnorm/sum_array.hpp"
#include "pool.hpp"
#include "segments.hpp"

namespace camnorm::detail {

/// Whether frames come in bands of rows that are small enough to be added one after another.
bool comes_in_bands(const EncodedFrames& frames) noexcept;

/// Frames that are decoded into memory as a whole, a few at a time, by a thread each.
class WholeFrames {
public:
    /// @throws InvalidArgument for frames of floats or an encoding that cannot be.
    WholeFrames(const EncodedFrames& frames, int threads);

    std::size_t count() const { return frames_.count; }
    /// Frames that are decoded before they are added.
    std::size_t together() const { return together_; }

    /// Decodes `count` frames from `first` on. @throws Unreadable
    FramesView decode(std::size_t first, std::size_t count, int threads);

private:
    const EncodedFrames& frames_;
    std::size_t frame_bytes_;
    std::size_t together_;
    SumArray<std::uint8_t> pixels_;
    Pool<SegmentDecoder> decoders_;
};

}  // namespace camnorm::detail
