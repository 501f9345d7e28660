#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "camnorm/export.h"
#include "camnorm/frames.hpp"
#include "camnorm/moments.hpp"
#include "camnorm/sum_array.hpp"

/// @file
/// Exact sums of squared differences between each pixel and its neighbours: which pixels were made from them.

namespace camnorm {

/// The neighbours from which a pixel may have been made. The last four are copies of one neighbour.
enum class Stencil : std::uint8_t { left_right, up_down, four, eight, left, right, up, down };

/// Number of sums of squares for each pixel. The first four are those of the stencils of the same number, of
/// differences n * x - (sum over the n neighbours); the others are of the differences to the right neighbour
/// and to the lower one, which a copy of the left neighbour and of the upper one share.
inline constexpr std::size_t difference_count = 6;

/// Raw state of NeighbourSums: the moments, and one sum of squared differences for each pixel in
/// (y, x, plane) order; 0 where a neighbour lies outside the frame. Integer kind: `squares`. Float kind:
/// high + low, as in MomentsState.
struct NeighbourState {
    PixelMoments moments;
    std::array<SumArray<std::uint64_t>, difference_count> squares;
    std::array<SumArray<double>, difference_count> squares_high, squares_low;
};

/// Sums that tell how much of the variance of each pixel its neighbours explain.
///
/// For each stencil, q = Var(x - mean over its neighbours) / Var(x). q is 0 for a copy, near 0 for a pixel
/// that was interpolated, and near 1 + 1/n for an independent pixel. Neighbours are of the same plane.
///
/// Integer frames (8 and 16 bit): the differences and their squares are exact integers: the state is the same
/// to the bit for every order, batch, number of threads and instruction set, and after add and subtract.
/// |8 x - sum over 8 neighbours| is below 2^19, so that no sum overflows up to max_count = 2^26 frames. Float
/// frames and 32-bit integers: a difference is rounded to double once for each addition (exact for 32-bit
/// integers, and for float32 pixels whose magnitudes differ by less than 2^25), its square is exact, and the
/// sums are double-double. Threads and instruction sets do not change a bit.
///
/// Distinct objects may be used from distinct threads; a shared one needs the caller's lock.
class CAMNORM_EXPORT NeighbourSums {
public:
    NeighbourSums(FrameShape shape, Kind kind);

    /// Largest number of frames.
    static constexpr std::uint64_t max_count = std::uint64_t{1} << 26;

    FrameShape shape() const noexcept { return state_.moments.shape(); }
    Kind kind() const noexcept { return state_.moments.kind(); }
    std::uint64_t count() const noexcept { return state_.moments.count(); }
    const NeighbourState& state() const noexcept { return state_; }
    /// The same, for code that reads a state from elsewhere into its place.
    NeighbourState& state() noexcept { return state_; }

    /// Adds frames.
    /// @throws InvalidArgument for another shape or too many frames, WrongKind for frames of the other kind,
    /// NonFinite for a frame with NaN or infinite pixels; nothing is added then.
    void add(const FramesView& frames, int threads = 0);

    /// Takes frames back that were added before.
    /// @throws as add(), and InvalidArgument if there are fewer frames in the state than given.
    void subtract(const FramesView& frames, int threads = 0);

    /// @throws InvalidArgument for another shape or too many frames, WrongKind for the other kind.
    void merge(const NeighbourSums& other, int threads = 0);
    void unmerge(const NeighbourSums& other, int threads = 0);

    /// Writes q of every pixel; NaN where a neighbour lies outside the frame, or the pixel never changes.
    void ratio(Stencil stencil, double* out, int threads = 0) const;

    /// First pixel, in C order, whose sums no frames have; the number of pixels if there is none. The moments
    /// are taken for those of frames.
    std::size_t check(int threads = 0) const;

private:
    void accumulate(const FramesView& frames, bool subtract, int threads);
    void combine(const NeighbourSums& other, bool subtract, int threads);
    void check_addable(std::uint64_t count) const;
    void reset_if_empty();

    NeighbourState state_;
};

}  // namespace camnorm
