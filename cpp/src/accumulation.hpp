#pragma once

// Adding frames to the sums of a state: one pass over the frames.

#include <vector>

#include "camnorm/moments.hpp"
#include "frame_feeds.hpp"
#include "whole_frames.hpp"

namespace camnorm::detail {

/// Adds frames to the sums of the state, or subtracts them; the count stays as it is. Gives the statistics of
/// each frame if they are asked for. `traces` grows by the pixels in which frames that were taken back, after
/// an error, left a trace.
/// @throws NonFinite, Unreadable; the state is as before then. std::runtime_error if it cannot be restored.
std::vector<FrameStatistics> accumulate(InMemory& frames, int threads, bool subtract, bool statistics,
                                        MomentsState& state, std::size_t& traces);
std::vector<FrameStatistics> accumulate(InFiles& frames, int threads, bool subtract, bool statistics,
                                        MomentsState& state, std::size_t& traces);
std::vector<FrameStatistics> accumulate(Decoded& frames, int threads, bool subtract, bool statistics,
                                        MomentsState& state, std::size_t& traces);
std::vector<FrameStatistics> accumulate(WholeFrames& frames, int threads, bool subtract, bool statistics,
                                        MomentsState& state, std::size_t& traces);

}  // namespace camnorm::detail
