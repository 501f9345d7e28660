#pragma once

// Pixels of frames of any dtype and layout, as the pixel kernels take them.

#include <cstddef>

#include "blocks.hpp"
#include "kernels/pixels.hpp"

namespace camnorm::detail {

/// Kernels for the pixels that a PixelReader gives.
inline const PixelKernels& pixel_kernels(DType dtype) {
    const PixelKernelTable& kernels = pixel_kernels();
    switch (dtype) {
        case DType::uint8: return kernels.uint8;
        case DType::int8: return kernels.int8;
        case DType::uint16: return kernels.uint16;
        case DType::int16: return kernels.int16;
        case DType::uint32: return kernels.uint32;
        case DType::int32: return kernels.int32;
        case DType::float16:
        case DType::float32: return kernels.float32;
        case DType::float64: break;
    }
    return kernels.float64;
}

/// Reads stretches of frames without gaps between the pixels, float16 as float32.
class PixelReader {
public:
    explicit PixelReader(const FramesView& frames) : frames_(frames), dense_(frames.frames_contiguous()) {}

    /// Pixels [begin, begin + n) of a frame in (y, x, plane) order, n <= block_pixels; valid until the next
    /// call.
    const std::byte* read(std::size_t frame, std::size_t begin, std::size_t n) noexcept {
        const std::byte* x = gather(frames_, dense_, frame, begin, n, pixels_);
        if (frames_.dtype != DType::float16) return x;
        pixel_kernels().widen_float16(x, n, float32_);
        return reinterpret_cast<const std::byte*>(float32_);
    }

private:
    const FramesView& frames_;
    bool dense_;
    alignas(64) std::byte pixels_[block_pixels * sizeof(double)];
    alignas(64) float float32_[block_pixels];
};

}  // namespace camnorm::detail
