#pragma once

// Statistics of frames, put together from those of their blocks.

#include <algorithm>
#include <cstddef>
#include <vector>

#include "camnorm/moments.hpp"
#include "frame_feeds.hpp"
#include "parallel.hpp"

namespace camnorm::detail {

/// Calls work(begin, end, sums) for each block of pixels, where sums[f] takes the sums over the block in
/// frame f; null unless `statistics`. Then puts them together, in an order that threads do not change.
/// `origins` has a value a frame.
template <class FrameSums, class Frames, class Work>
std::vector<FrameStatistics> over_blocks(Frames& frames, const std::vector<double>& origins, bool statistics,
                                         int threads, const Work& work) {
    const std::size_t pixels = frames.pixels();
    const std::size_t block = frames.block();
    const std::size_t blocks = block_count(pixels, block);
    std::vector<FrameSums> sums(statistics ? blocks * frames.count() : 0);
    parallel_for(blocks, threads, [&](std::size_t b) {
        const std::size_t begin = b * block;
        work(begin, std::min(pixels, begin + block), statistics ? sums.data() + b * frames.count() : nullptr);
    });
    frames.check();
    std::vector<FrameStatistics> result(statistics ? frames.count() : 0);
    parallel_for(result.size(), threads, [&](std::size_t f) {
        FrameSums total = sums[f];
        for (std::size_t b = 1; b < blocks; ++b) total.include(sums[b * frames.count() + f]);
        result[f] = total.statistics(pixels, origins[f]);
    });
    return result;
}

/// Statistics of frames by the strips in which `adder` adds them, so that both give the same bits.
template <class Adder, class Frames>
std::vector<FrameStatistics> statistics_of(Frames& frames, const Adder& adder, int threads) {
    using FrameSums = typename Adder::FrameSums;
    const std::vector<double> origins = adder.origins(frames);
    const auto work = [&](std::size_t from, std::size_t to, FrameSums* sums) {
        const auto use = [&](Strips& strips, std::size_t first, std::size_t begin, std::size_t end) {
            for (std::size_t f = 0; f < strips.count(); ++f) {
                for (std::size_t i = begin; i < end; i += Adder::strip) {
                    const std::size_t n = std::min(Adder::strip, end - i);
                    const std::byte* x = strips.read(f, i, n);
                    sums[first + f].include(
                        adder.describe(x, n, x + n * strips.pixel_bytes(), origins[first + f]));
                }
            }
            return true;
        };
        frames.visit(from, to, no_limit, use);
    };
    return over_blocks<FrameSums>(frames, origins, true, threads, work);
}

}  // namespace camnorm::detail
