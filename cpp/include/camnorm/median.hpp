#pragma once

#include <cstddef>

#include "camnorm/export.h"

/// @file
/// Local medians of an image.

namespace camnorm {

/// Median of the 7 x 7 pixels around every pixel of an image. Beyond an edge, pixels repeat as in a mirror
/// (d c b a | a b c d). Threads do not change a bit.
/// @param image  height * width values, none of them NaN.
/// @param out    as many values, elsewhere in memory.
CAMNORM_EXPORT void local_median(const float* image, std::size_t height, std::size_t width, float* out,
                                 int threads = 0);

}  // namespace camnorm
