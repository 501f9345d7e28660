#pragma once

#include <cstddef>
#include <cstdint>

#include "camnorm/export.h"
#include "camnorm/frames.hpp"

/// @file
/// Frames that are decoded from open files where they are used.

namespace camnorm {

/// What turns the bytes of a segment into pixels.
enum class Compression : std::uint8_t { none, lzw, deflate, zstd };

/// Functions of the zstd library, to which camnorm is not linked.
struct ZstdFunctions {
    void* (*create)();                  ///< ZSTD_createDCtx
    std::size_t (*release)(void*);      ///< ZSTD_freeDCtx
    unsigned (*is_error)(std::size_t);  ///< ZSTD_isError
    /// ZSTD_decompressDCtx
    std::size_t (*decompress)(void* context, void* out, std::size_t capacity, const void* data,
                              std::size_t bytes);
};

/// Has segments of Compression::zstd decoded by a library that the program has loaded, and keeps so. Until
/// then they are refused.
CAMNORM_EXPORT void use_zstd(const ZstdFunctions& functions) noexcept;

/// How frames are written in the segments of a TIFF file: strips of rows, or tiles, row by row of segments.
/// The last ones may reach beyond the frame.
struct Encoding {
    Compression compression = Compression::none;
    bool differences = false;    ///< each value less the one to its left, of the same plane (predictor 2)
    bool reversed_bits = false;  ///< in each byte of the compressed data (fill order 2)
    bool swapped_bytes = false;  ///< in each value: not in the machine's byte order
    bool nibbles = false;        ///< two pixels of 4 bits in each byte, the left one in the low bits
    std::size_t segment_height = 1;
    std::size_t segment_width = 1;  ///< in values as they are stored: bytes, if these hold two pixels
};

/// Frames in open files, as segments.
struct EncodedFrames {
    /// Where the compressed bytes are.
    struct Segment {
        std::int64_t offset;
        std::int64_t bytes;
    };

    const int* files = nullptr;         ///< descriptor of each frame's file
    const Segment* segments = nullptr;  ///< of each frame in turn
    Encoding encoding;
    DType dtype = DType::uint8;
    std::size_t count = 0;
    FrameShape shape;

    /// Values in a row of a frame as they are stored.
    std::size_t stored_width() const noexcept { return encoding.nibbles ? shape.width / 2 : shape.width; }
    std::size_t across() const noexcept {
        return (stored_width() + encoding.segment_width - 1) / encoding.segment_width;
    }
    std::size_t down() const noexcept {
        return (shape.height + encoding.segment_height - 1) / encoding.segment_height;
    }
};

/// Decodes frames into memory, in the calling thread.
/// @param out  all pixels without gaps, in the machine's byte order.
/// @throws InvalidArgument for frames or an encoding that cannot be; Unreadable for a frame that is damaged
/// or cannot be read. The contents of `out` are undefined then.
CAMNORM_EXPORT void decode(const EncodedFrames& frames, std::byte* out);

}  // namespace camnorm
