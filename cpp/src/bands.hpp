#pragma once

// Bands of rows of a plane, in which sums are made.

#include <cstddef>

#include "parallel.hpp"

namespace camnorm::detail {

/// Bands of rows that are worked on one by one: fixed, so that the order of sums is.
inline constexpr std::size_t most_bands = 64;

/// Calls work(y, band) for the rows of every band in order.
template <class Work>
void for_each_row(std::size_t height, int threads, const Work& work) {
    parallel_for(most_bands, threads, [&](std::size_t band) {
        for (std::size_t y = height * band / most_bands; y < height * (band + 1) / most_bands; ++y)
            work(y, band);
    });
}

}  // namespace camnorm::detail
