#pragma once

#include <cstddef>
#include <iosfwd>
#include <vector>

#include "camnorm/export.h"
#include "camnorm/frames.hpp"
#include "camnorm/moments.hpp"

/// @file
/// Moments as bytes that every language and machine reads alike, version 1 of the format. Numbers are
/// little-endian, signed ones in two's complement, floats of IEEE 754 binary64.
///
///     offset  bytes  what
///          0      8  "camnorm" and a zero
///          8      4  version, 1
///         12      1  kind of the sums: 0 integer, 1 float
///         13      1  pixel type that they were made for, the number of the DType, of this kind
///         14      1  axes of a frame: 2 (y, x), or 3 (y, x, plane)
///         15      1  0
///         16     24  height, width, planes; planes is 1 if there are 2 axes
///         40      8  count of frames, at most 4294967295
///         48     12  0
///         60      4  CRC-32C (Castagnoli) of bytes 0 to 59
///         64         the sums, each an array of height * width * planes values of 8 bytes in (y, x, plane)
///                    order. Integer kind: sum (signed), sum of squares (unsigned). Float kind, each sum
///                    being high + low: high and low of the sum, high and low of the sum of squares
///        end      4  CRC-32C of the sums' bytes
///
/// Equal moments of one pixel type have equal bytes. Write files of them atomically: under
/// a temporary name, renamed when complete.

namespace camnorm {

/// Moments with what is saved of the frames that they were made for.
struct SavedMoments {
    PixelMoments moments;
    DType dtype;
    bool plane_axis;  ///< whether planes are an axis of the frames in Python, even if there is one only
};

/// Bytes that save_state() writes.
CAMNORM_EXPORT std::size_t state_size(const PixelMoments& moments) noexcept;

/// Writes state_size() bytes to `out`.
/// @param dtype  pixel type of the moments' kind, which Python's PixelMoments tells again.
/// @param plane_axis  see SavedMoments; frames of several planes have the axis anyway.
/// @throws WrongKind if the dtype is of the other kind; nothing is written then.
CAMNORM_EXPORT void save_state(const PixelMoments& moments, DType dtype, void* out, bool plane_axis = false);

/// The same bytes in a vector, or written to a stream, whose state tells whether that failed.
CAMNORM_EXPORT std::vector<std::byte> save_state(const PixelMoments& moments, DType dtype);
CAMNORM_EXPORT void save_state(const PixelMoments& moments, DType dtype, std::ostream& out);

/// @throws InvalidArgument, saying what is wrong, unless the bytes are just what save_state() writes: sizes
/// and checksums are compared before memory is taken, and sums that no frames have are refused.
CAMNORM_EXPORT SavedMoments load_state(const void* data, std::size_t size);

}  // namespace camnorm
