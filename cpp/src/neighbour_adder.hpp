#pragma once

// Adding the squared differences between neighbours to their sums: tile by tile, all frames of a call.

#include <memory>

#include "camnorm/frames.hpp"
#include "camnorm/neighbours.hpp"

namespace camnorm::detail {

/// One call that adds frames, or subtracts them. It holds the memory that this takes.
class NeighbourAdder {
public:
    NeighbourAdder() = default;
    NeighbourAdder(const NeighbourAdder&) = delete;
    NeighbourAdder& operator=(const NeighbourAdder&) = delete;
    virtual ~NeighbourAdder() = default;

    /// Changes the sums of squares of a state, but not its moments.
    virtual void run(NeighbourState& state) = 0;
};

/// @throws std::bad_alloc
std::unique_ptr<NeighbourAdder> neighbour_adder(const FramesView& frames, bool subtract, int threads);

}  // namespace camnorm::detail
