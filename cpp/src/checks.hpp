#pragma once

#include <vector>

#include "camnorm/frames.hpp"
#include "camnorm/moments.hpp"

namespace camnorm::detail {

/// @throws InvalidArgument, WrongKind unless frames are of this shape and kind; `what` has these.
void check_frames(DType dtype, FrameShape frames, FrameShape shape, Kind kind, const char* what);

/// @throws NonFinite for the first frame that cannot be summed.
void check_finite(const std::vector<FrameStatistics>& statistics);

}  // namespace camnorm::detail
