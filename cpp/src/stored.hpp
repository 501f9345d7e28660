#pragma once

#include <cstddef>

#include "camnorm/stored.hpp"

namespace camnorm::detail {

/// Reads bytes of a file.
/// @returns 0, the system's error (errno), or file_ended.
int read_bytes(int file, std::int64_t offset, std::size_t bytes, std::byte* out) noexcept;

/// Reads pixels [begin, begin + n) of a frame.
/// @returns as read_bytes().
int read_pixels(const StoredFrames& frames, std::size_t frame, std::size_t begin, std::size_t n,
                std::byte* out) noexcept;

}  // namespace camnorm::detail
