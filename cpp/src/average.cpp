#include "camnorm/average.hpp"

#include <algorithm>

#include "camnorm/runtime.hpp"
#include "parallel.hpp"
#include "pixels.hpp"

namespace camnorm {

using namespace detail;

namespace {

/// Blocks whose sums stay in the second-level cache, while the stretches of the frames are long enough for
/// the processor to read ahead.
constexpr std::size_t blocks_together = 8;

}  // namespace

void add_frames(const FramesView& frames, double* sums, int threads) {
    constexpr std::size_t together = blocks_together * block_pixels;
    const std::size_t pixels = frames.shape.pixels();
    const auto add = pixel_kernels(frames.dtype).add;
    parallel_for((pixels + together - 1) / together, resolve_threads(threads), [&](std::size_t piece) {
        PixelReader reader(frames);
        const std::size_t end = std::min(pixels, (piece + 1) * together);
        for (std::size_t i = 0; i < frames.count; ++i) {
            for (std::size_t begin = piece * together; begin < end; begin += block_pixels) {
                const std::size_t n = std::min(block_pixels, end - begin);
                add(reader.read(i, begin, n), n, sums + begin);
            }
        }
    });
}

}  // namespace camnorm
