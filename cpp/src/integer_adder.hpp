#pragma once

// Adding integer frames to exact sums, strip by strip, with the statistics of each frame.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "camnorm/moments.hpp"
#include "frame_feeds.hpp"
#include "kernels/integer_statistics.hpp"
#include "kernels/integer_sums.hpp"
#include "share.hpp"

namespace camnorm::detail {

/// Exact sums over the pixels of an integer frame, or of a part of it.
struct IntegerFrameSums {
    std::int64_t sum = 0;
    std::uint64_t sum_of_squares = 0;
    std::int32_t min = std::numeric_limits<std::int32_t>::max();
    std::int32_t max = std::numeric_limits<std::int32_t>::min();

    template <class Sums>
    void include(const Sums& part) {
        sum += part.sum;
        sum_of_squares += part.sum_of_squares;
        min = std::min(min, part.min);
        max = std::max(max, part.max);
    }

    FrameStatistics statistics(std::size_t pixels, double origin) const;
};

class IntegerAdder {
public:
    using FrameSums = IntegerFrameSums;

    /// Sums of a strip that are not in the state yet, and over how many frames they are.
    struct OpenSums {
        IntegerSums sums;
        std::size_t frames;
    };

    /// Pixels of a strip.
    static constexpr std::size_t strip = strip_pixels;

    explicit IntegerAdder(DType dtype);

    /// Integer sums need no origin.
    template <class Frames>
    std::vector<double> origins(Frames& frames) const {
        return std::vector<double>(frames.count());
    }

    /// Adds a share to the state, or subtracts it. `frame_sums`, unless null, take the sums over each frame.
    /// `added` becomes the number of the call's frames that the state has; others wait in `open` until the
    /// last one has come. Always true: all integers can be added.
    bool add(Strips& strips, const Share& share, MomentsState& state, FrameSums* frame_sums, OpenSums& open,
             std::size_t& added) const;

    /// Sums over n pixels of a frame; prefetches from `next` on.
    IntegerStatistics describe(const std::byte* x, std::size_t n, const std::byte* next, double) const {
        return describe_(x, n, next);
    }

private:
    IntegerKernels kernels_;
    DescribeIntegers describe_;
};

}  // namespace camnorm::detail
