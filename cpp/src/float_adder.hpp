#pragma once

// Adding float frames and 32-bit integers to double-double sums, strip by strip, with the statistics of each
// frame.

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "camnorm/moments.hpp"
#include "double_double.hpp"
#include "frame_feeds.hpp"
#include "kernels/float_sums.hpp"
#include "share.hpp"

namespace camnorm::detail {

/// Sums over the pixels of a float frame, of their deviations from the frame's origin.
struct FloatFrameSums {
    DoubleDouble sum{0.0, 0.0};
    DoubleDouble sum_of_squares{0.0, 0.0};
    double min = std::numeric_limits<double>::infinity();
    double max = -std::numeric_limits<double>::infinity();
    bool finite = true;

    void include(const FloatStatistics& part) {
        sum = detail::add(sum, part.sum);
        sum_of_squares = detail::add(sum_of_squares, part.sum_of_squares);
        include_limits(part);
    }
    void include(const FloatFrameSums& part) {
        sum = detail::add(sum, part.sum);
        sum_of_squares = detail::add(sum_of_squares, part.sum_of_squares);
        include_limits(part);
    }

    FrameStatistics statistics(std::size_t pixels, double origin) const;

private:
    template <class Sums>
    void include_limits(const Sums& part) {
        min = std::min(min, part.min);
        max = std::max(max, part.max);
        finite = finite && part.finite;
    }
};

class FloatAdder {
public:
    using FrameSums = FloatFrameSums;
    /// Sums of a strip over the frames of a batch.
    using OpenSums = FloatSums;

    /// Pixels of a strip.
    static constexpr std::size_t strip = float_strip_pixels;

    explicit FloatAdder(DType dtype);

    /// A number near the mean of each frame: the median of a few of its pixels. Deviations from it are as
    /// large as the standard deviation, so that their squares can be summed without cancellation.
    std::vector<double> origins(InMemory& frames) const;
    std::vector<double> origins(InFiles& frames) const;

    /// As IntegerAdder::add(), but the state takes whole batches. False if a pixel is not finite.
    bool add(Strips& strips, const Share& share, MomentsState& state, FrameSums* frame_sums, OpenSums& open,
             std::size_t& added) const;

    /// Sums over n pixels of a frame, of their deviations from the origin; prefetches from `next` on.
    FloatStatistics describe(const std::byte* x, std::size_t n, const std::byte* next, double origin) const {
        return kernels_.describe(x, n, next, origin);
    }

private:
    FloatKernels kernels_;
};

}  // namespace camnorm::detail
