#pragma once

// The LZW of TIFF: codes of 9 to 12 bits, the highest bit first, which become wider one code early.

#include <cstddef>

namespace camnorm::detail {

/// A decoder's number of bytes if the data are damaged.
inline constexpr std::ptrdiff_t damaged_codes = -1;

/// Decodes until `out` is full, the codes end, or they say that they do.
/// @returns the number of bytes, at most `capacity`; or damaged_codes.
std::ptrdiff_t decode_lzw(const std::byte* data, std::size_t bytes, std::byte* out,
                          std::size_t capacity) noexcept;

}  // namespace camnorm::detail
