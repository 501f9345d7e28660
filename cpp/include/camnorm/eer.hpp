#pragma once

#include <cstddef>

#include "camnorm/export.h"
#include "camnorm/frames.hpp"

/// @file
/// Electrons of raw frames in EER files.

namespace camnorm {

/// How the electrons of a raw frame are written in EER files (Electron Event Representation, Thermo Fisher
/// Scientific): bits from the lowest to the highest, in bytes one after another. For every electron the
/// number of pixels from the one before, then its place within the pixel along x, then along y, each less
/// by half a pixel in two's complement. The largest number of pixels is no electron: more follow.
struct EerCoding {
    int skip_bits;
    int x_bits;
    int y_bits;
};

/// Adds the electrons of one raw frame to `counts`: at most one for each pixel of the sensor.
/// @param sampling  pixels of `counts` along one of the sensor: 1, 2 or 4, at most what the bits tell apart.
/// @param counts    one frame of 8 or 16 bit unsigned pixels without gaps.
/// @throws InvalidArgument if the electrons do not end with the last pixel. Some were added by then.
CAMNORM_EXPORT void add_electrons(const std::byte* data, std::size_t bytes, EerCoding coding, int sampling,
                                  const MutableFramesView& counts);

}  // namespace camnorm
