#include "camnorm/encoded.hpp"

#include "camnorm/error.hpp"
#include "segments.hpp"

namespace camnorm {

void decode(const EncodedFrames& frames, std::byte* out) {
    detail::check_encoded(frames);
    detail::SegmentDecoder decoder(frames);
    const std::size_t frame_bytes = frames.shape.pixels() * item_size(frames.dtype);
    for (std::size_t f = 0; f < frames.count; ++f) {
        const auto error = decoder.decode(f, 0, frames.down(), out + f * frame_bytes);
        if (error.reason == 0) continue;
        throw detail::unreadable(f, error, frames);
    }
}

}  // namespace camnorm
