#pragma once

// Decoding the segments of frames.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "camnorm/encoded.hpp"
#include "camnorm/error.hpp"
#include "kernels/bytes.hpp"
#include "zstd.hpp"

namespace camnorm::detail {

/// Why a segment could not be decoded.
struct SegmentError {
    static constexpr int damaged = -2;

    /// The system's error (errno), file_ended, or `damaged`; 0 if there is none.
    int reason = 0;
    std::size_t segment = 0;
};

/// The error of a frame, in the user's words.
Unreadable unreadable(std::size_t frame, const SegmentError& error, const EncodedFrames& frames);

/// @throws InvalidArgument for frames or an encoding that cannot be.
void check_encoded(const EncodedFrames& frames);

/// The same for frames that are to be added as they are decoded, which must be integers: sums of floats would
/// be put together in another order than of frames in memory.
void check_added(const EncodedFrames& frames);

/// Decodes segments, one decoder a thread.
class SegmentDecoder {
public:
    explicit SegmentDecoder(const EncodedFrames& frames);

    /// Decodes rows of segments of a frame, from `first` on: the pixels that they cover, without gaps.
    SegmentError decode(std::size_t frame, std::size_t first, std::size_t rows, std::byte* out) noexcept;

private:
    using Segment = EncodedFrames::Segment;

    /// The bytes of a segment, read together with those that follow it in the file up to `last`.
    const std::byte* read(int file, const Segment* segment, const Segment* last, int& error) noexcept;
    std::size_t bytes_to_read(const Segment& segment) const noexcept;
    /// Turns the bytes of a segment into `rows` rows of values. Unless it is `whole`, there may be more, for
    /// which `out` has room.
    bool decode(const std::byte* data, std::size_t bytes, std::size_t rows, std::byte* out,
                bool whole) noexcept;
    /// @returns the number of bytes in `out`; damaged_codes.
    std::ptrdiff_t decompress(const std::byte* data, std::size_t bytes, std::byte* out,
                              std::size_t capacity) noexcept;

    EncodedFrames frames_;
    const ByteKernels& kernels_;
    std::size_t value_bytes_;    // of all planes
    std::size_t row_bytes_;      // of a row of a segment
    std::size_t segment_bytes_;  // as decoded
    std::size_t most_bytes_;     // that a segment needs in the file
    std::size_t read_bytes_;     // that are read at a time
    std::unique_ptr<std::byte[]> data_, values_;
    Zstd zstd_;
    const Segment* read_from_ = nullptr;
    const Segment* read_to_ = nullptr;
};

}  // namespace camnorm::detail
