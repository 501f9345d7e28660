#pragma once

// Traces of float frames that were taken away: sums of double-double numbers forget what is too small
// beside a pixel, and do not remember it when the pixel is taken away again.

#include <cstddef>
#include <cstdint>

#include "camnorm/moments.hpp"
#include "camnorm/sum_array.hpp"

namespace camnorm::detail {

/// Sums of squares before frames are taken away; they tell how large the pixels taken away can have been.
class Traces {
public:
    Traces(const MomentsState& before, int threads);

    /// Pixels of which the mean or the standard deviation may now differ by more than their last bit from
    /// what they would be without the frames taken away. `count` is the number of frames left.
    std::size_t left_in(const MomentsState& after, std::uint64_t count, int threads) const;

private:
    SumArray<std::int16_t> exponents_;  ///< a sum of squares is below two to that
};

}  // namespace camnorm::detail
