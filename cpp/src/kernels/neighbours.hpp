#pragma once

// Sums of squared differences between pixels and their neighbours, row by row.

#include <cstddef>
#include <cstdint>

#include "kernels/isa.hpp"

namespace camnorm::detail {

/// Most pixels of a row that a kernel works on: sums and rows of a few frames stay in the caches.
inline constexpr std::size_t tile_columns = 256;

/// Frames that a kernel adds in one go. Where there are fewer, frames of zeros take their place.
inline constexpr std::size_t neighbour_frames = 4;

/// Sums of squares of a pixel, in the order of NeighbourState.
inline constexpr std::size_t differences = 6;

/// Three rows that lie on each other, widened, from the first pixel that is worked on. Pixels before and
/// behind them, at the distance of the next column, and up to a full vector, are there too.
template <class Value>
struct Rows {
    const Value* above;
    const Value* here;
    const Value* below;
};

/// Two frames of 8-bit pixels in one row: a pixel of the one in the low half of a value, that of the other in
/// the high half.
using TwoPixels = std::uint32_t;

/// The sums of a difference begin at multiples of `stride`; `step` is the distance of the next column.
struct ByteNeighbours {
    void (*widen)(const std::byte* first, const std::byte* second, std::size_t n, TwoPixels* out) noexcept;
    void (*add)(const Rows<TwoPixels>* pairs, std::size_t n, std::size_t step, std::size_t stride,
                std::uint32_t* sums) noexcept;
};

struct WordNeighbours {
    void (*widen)(const std::byte* x, std::size_t n, double* out) noexcept;
    void (*add)(const Rows<double>* frames, std::size_t n, std::size_t step, std::size_t stride,
                double* sums) noexcept;
};

/// Adds sign times the squares of one frame.
struct FloatNeighbours {
    void (*widen)(const std::byte* x, std::size_t n, double* out) noexcept;
    void (*add)(const Rows<double>& frame, std::size_t n, std::size_t step, std::size_t stride, double sign,
                double* high, double* low) noexcept;
};

struct NeighbourKernels {
    ByteNeighbours uint8, int8;
    WordNeighbours uint16, int16;
    FloatNeighbours uint32, int32, float32, float64;
};

CAMNORM_DECLARE_KERNELS(NeighbourKernels, neighbour_kernels)

}  // namespace camnorm::detail
