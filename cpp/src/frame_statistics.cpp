#include "frame_statistics.hpp"

#include "adders.hpp"
#include "camnorm/runtime.hpp"
#include "checks.hpp"

namespace camnorm {

std::vector<FrameStatistics> frame_statistics(const FramesView& frames, int threads) {
    detail::check_pixels(frames.shape);
    threads = resolve_threads(threads);
    detail::InMemory in_memory(frames);
    return detail::with_adder(
        frames.dtype, [&](const auto& adder) { return detail::statistics_of(in_memory, adder, threads); });
}

}  // namespace camnorm
