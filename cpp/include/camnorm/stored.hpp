#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "camnorm/export.h"
#include "camnorm/frames.hpp"

/// @file
/// Frames that are read from open files where they are used.

namespace camnorm {

/// Frames in open files, each without gaps in (y, x, plane) order and in the machine's byte order. They
/// are read where they are used, by blocks of pixels, so that they never take memory as a whole.
struct StoredFrames {
    struct Place {
        int file;             ///< descriptor
        std::int64_t offset;  ///< of the first pixel, in bytes
    };

    const Place* places = nullptr;
    DType dtype = DType::uint8;
    std::size_t count = 0;
    FrameShape shape;
};

/// Has a part of a file in the system's cache, so that it can be read in any order without waiting for
/// the disk.
/// @returns 0, the system's error (errno), or file_ended.
CAMNORM_EXPORT int fetch(int file, std::int64_t offset, std::size_t bytes) noexcept;

inline constexpr int file_ended = -1;

/// In the user's words.
CAMNORM_EXPORT std::string reason_of(int error);

}  // namespace camnorm
