#include "whole_frames.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "camnorm/error.hpp"
#include "parallel.hpp"

namespace camnorm::detail {
namespace {

/// Pixels in a row of segments.
constexpr std::size_t most_band_pixels = std::size_t{1} << 18;

/// Bytes of pixels that are decoded before they are added: the more, the less often the sums are read and
/// written.
constexpr std::size_t bytes_together = std::size_t{144} << 20;

/// As many for each thread, so that none waits for others.
std::size_t taken_together(std::size_t frame_bytes, std::size_t threads) noexcept {
    return std::max(bytes_together / std::max<std::size_t>(frame_bytes, 1) / threads, std::size_t{1}) *
           threads;
}

}  // namespace

bool comes_in_bands(const EncodedFrames& frames) noexcept {
    return frames.encoding.segment_height * frames.shape.width * frames.shape.planes <= most_band_pixels;
}

WholeFrames::WholeFrames(const EncodedFrames& frames, int threads)
    : frames_(frames),
      frame_bytes_(frames.shape.pixels() * item_size(frames.dtype)),
      together_(std::min(frames.count, taken_together(frame_bytes_, static_cast<std::size_t>(threads)))),
      pixels_((check_added(frames), together_ * frame_bytes_)),
      decoders_(std::min(together_, static_cast<std::size_t>(threads)),
                [&] { return SegmentDecoder(frames); }) {}

FramesView WholeFrames::decode(std::size_t first, std::size_t count, int threads) {
    auto* const pixels = reinterpret_cast<std::byte*>(pixels_.data());
    std::vector<SegmentError> errors(count);
    parallel_for(count, threads, [&](std::size_t i) {
        auto decoder = decoders_.take();
        errors[i] = decoder.decode(first + i, 0, frames_.down(), pixels + i * frame_bytes_);
        decoders_.give_back(std::move(decoder));
    });
    for (std::size_t i = 0; i < count; ++i)
        if (errors[i].reason != 0) throw unreadable(first + i, errors[i], frames_);
    return FramesView::contiguous(pixels, frames_.dtype, count, frames_.shape);
}

}  // namespace camnorm::detail
