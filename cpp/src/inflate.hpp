#pragma once

// Deflate, in the wrapping of zlib (RFC 1950, RFC 1951).

#include <cstddef>

#include "kernels/bytes.hpp"

namespace camnorm::detail {

/// Decodes a stream to its end.
/// @returns the number of bytes; damaged_codes if the stream is damaged, ends early, holds more than
/// `capacity` or has another checksum.
std::ptrdiff_t inflate(const std::byte* data, std::size_t bytes, std::byte* out, std::size_t capacity,
                       const ByteKernels& kernels) noexcept;

}  // namespace camnorm::detail
