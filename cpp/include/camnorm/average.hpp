#pragma once

#include "camnorm/export.h"
#include "camnorm/frames.hpp"

/// @file
/// Sums of frames in float64, for averages of groups.

namespace camnorm {

/// Adds frames pixel by pixel to `sums`, one after another in float64: divided by their number they are the
/// average of a group. Threads do not change a bit.
/// @param sums  pixels() values in (y, x, plane) order.
CAMNORM_EXPORT void add_frames(const FramesView& frames, double* sums, int threads = 0);

}  // namespace camnorm
