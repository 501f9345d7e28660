#pragma once

#include <cstddef>
#include <vector>

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

/// The electrons of one raw frame as they are in the file.
struct EerFrame {
    const std::byte* data;
    std::size_t bytes;
};

/// Adds the electrons of raw frames to `counts`: of each at most one for each pixel of the sensor. Many
/// frames are added faster together.
/// @param sampling  pixels of `counts` along one of the sensor: 1, 2 or 4, at most what the bits tell apart.
/// @param counts    one frame of 8 or 16 bit unsigned pixels without gaps.
/// @throws InvalidArgument for a coding, sampling or counts that cannot be; Unreadable for a raw frame whose
/// electrons do not end with the last pixel. Some were added by then.
CAMNORM_EXPORT void add_electrons(const std::vector<EerFrame>& frames, EerCoding coding, int sampling,
                                  const MutableFramesView& counts);

/// The same of one raw frame.
/// @throws InvalidArgument, also if the electrons do not end with the last pixel.
CAMNORM_EXPORT void add_electrons(const std::byte* data, std::size_t bytes, EerCoding coding, int sampling,
                                  const MutableFramesView& counts);

}  // namespace camnorm
