#pragma once

#include <cstddef>

namespace camnorm {

/// Reads the pages of memory that is mapped from a file from its disk, if they are not in the system's
/// cache, and counts them as nobody's memory again: to be touched, they need not be waited for.
/// @returns false if the file cannot be read, or has become shorter.
bool fetch_pages(const void* data, std::size_t bytes) noexcept;

/// Takes pages from a process that were mapped from a file; touched again, they come back.
/// Must not be called for other memory.
void release_pages(const void* data, std::size_t bytes) noexcept;

}  // namespace camnorm
