#pragma once

// The part of a call that an adder works on at a time.

#include <algorithm>
#include <cstddef>

#include "kernels/strips.hpp"

namespace camnorm::detail {

/// One strip of pixels in some frames of a call.
struct Share {
    std::size_t begin, n;      ///< pixels
    std::size_t first, count;  ///< frames
    bool last;                 ///< whether no frames come after them
    bool subtract;
    const double* origins;  ///< one a frame
};

/// Fetches the share of a group of frames, the first of which is `frame` of `count`, of the next n sums,
/// which are to be read and written when all groups have been added.
template <class Sum>
void prefetch_sums(const Sum* sums, std::size_t n, std::size_t frame, std::size_t count) {
    constexpr std::size_t line = 64 / sizeof(Sum);
    const std::size_t end = n * std::min(frame + group_frames, count) / count;
    for (std::size_t i = n * frame / count / line * line; i < end; i += line)
        __builtin_prefetch(sums + i, 1, 2);
}

}  // namespace camnorm::detail
