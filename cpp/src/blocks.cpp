#include "blocks.hpp"

#include <algorithm>
#include <cstring>

namespace camnorm::detail {
namespace {

/// Calls run(first pixel's place in the frame, stride, pixels of the run, pixels already done) for
/// each stretch of the block that one stride describes.
template <class Run>
void for_each_run(FrameShape shape, const std::array<std::ptrdiff_t, 4>& strides, std::size_t begin,
                  std::size_t count, const Run& run) {
    // A row is one run if planes follow each other at the same step as columns; otherwise a pixel is.
    const auto planes = static_cast<std::ptrdiff_t>(shape.planes);
    const bool rows = shape.planes == 1 || shape.width == 1 || strides[2] == planes * strides[3];
    const std::ptrdiff_t step = shape.planes == 1 ? strides[2] : strides[3];
    const std::size_t length = rows ? shape.width * shape.planes : shape.planes;
    for (std::size_t done = 0; done < count;) {
        const std::size_t pixel = begin + done;
        const std::size_t outer = pixel / length;
        const std::size_t inner = pixel % length;
        const std::size_t y = rows ? outer : outer / shape.width;
        const std::size_t x = rows ? 0 : outer % shape.width;
        const std::size_t n = std::min(length - inner, count - done);
        const std::ptrdiff_t place = static_cast<std::ptrdiff_t>(y) * strides[1] +
                                     static_cast<std::ptrdiff_t>(x) * strides[2] +
                                     static_cast<std::ptrdiff_t>(inner) * step;
        run(place, step, n, done);
        done += n;
    }
}

template <std::size_t Size>
void copy_run(const std::byte* from, std::ptrdiff_t from_step, std::byte* to, std::ptrdiff_t to_step,
              std::size_t n) {
    for (std::size_t i = 0; i < n; ++i)
        std::memcpy(to + static_cast<std::ptrdiff_t>(i) * to_step,
                    from + static_cast<std::ptrdiff_t>(i) * from_step, Size);
}

void copy_pixels(const std::byte* from, std::ptrdiff_t from_step, std::byte* to, std::ptrdiff_t to_step,
                 std::size_t n, std::size_t size) {
    const auto dense = static_cast<std::ptrdiff_t>(size);
    if (from_step == dense && to_step == dense) {
        std::memcpy(to, from, n * size);
        return;
    }
    switch (size) {
        case 1: copy_run<1>(from, from_step, to, to_step, n); break;
        case 2: copy_run<2>(from, from_step, to, to_step, n); break;
        case 4: copy_run<4>(from, from_step, to, to_step, n); break;
        default: copy_run<8>(from, from_step, to, to_step, n); break;
    }
}

}  // namespace

const std::byte* gather(const FramesView& frames, bool dense, std::size_t frame, std::size_t begin,
                        std::size_t count, std::byte* scratch) noexcept {
    const std::size_t size = item_size(frames.dtype);
    const std::byte* base = frames.frame(frame);
    if (dense) return base + begin * size;
    for_each_run(frames.shape, frames.strides, begin, count,
                 [&](std::ptrdiff_t place, std::ptrdiff_t step, std::size_t n, std::size_t done) {
                     copy_pixels(base + place, step, scratch + done * size, static_cast<std::ptrdiff_t>(size),
                                 n, size);
                 });
    return scratch;
}

void scatter(const MutableFramesView& frames, bool dense, std::size_t frame, std::size_t begin,
             std::size_t count, const std::byte* source) noexcept {
    const std::size_t size = item_size(frames.dtype);
    std::byte* base = frames.frame(frame);
    if (dense) {
        std::memcpy(base + begin * size, source, count * size);
        return;
    }
    for_each_run(frames.shape, frames.strides, begin, count,
                 [&](std::ptrdiff_t place, std::ptrdiff_t step, std::size_t n, std::size_t done) {
                     copy_pixels(source + done * size, static_cast<std::ptrdiff_t>(size), base + place, step,
                                 n, size);
                 });
}

}  // namespace camnorm::detail
