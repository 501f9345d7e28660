#pragma once

// Checks of arguments that several classes share.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "camnorm/frames.hpp"
#include "camnorm/moments.hpp"

namespace camnorm::detail {

/// @throws InvalidArgument if frames of this shape have no pixels.
void check_pixels(FrameShape shape);

/// @throws InvalidArgument unless a state's sums have a value for each pixel (`complete`), and its count is
/// at most max_count.
void check_state(FrameShape shape, bool complete, std::uint64_t count, std::uint64_t max_count);

/// @throws InvalidArgument if there are fewer frames than are to be subtracted.
void check_subtractable(std::uint64_t frames, std::uint64_t count);

/// @throws InvalidArgument, WrongKind unless frames are of this shape and kind; `what` has these.
void check_frames(DType dtype, FrameShape frames, FrameShape shape, Kind kind, const char* what);

/// @throws NonFinite for the first frame that cannot be summed.
void check_finite(const std::vector<FrameStatistics>& statistics);

}  // namespace camnorm::detail
