#include "segments.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "camnorm/error.hpp"
#include "camnorm/stored.hpp"
#include "inflate.hpp"
#include "lzw.hpp"
#include "stored.hpp"

namespace camnorm::detail {
namespace {

/// Bytes that are read in one go at least, where segments follow one another.
constexpr std::size_t read_together = std::size_t{1} << 17;

std::byte reversed(std::byte byte) noexcept {
    auto x = std::to_integer<unsigned>(byte);
    x = (x & 0x0F) << 4 | x >> 4;
    x = (x & 0x33) << 2 | (x & 0xCC) >> 2;
    x = (x & 0x55) << 1 | (x & 0xAA) >> 1;
    return static_cast<std::byte>(x);
}

template <class Value>
Value swapped(Value x) noexcept {
    if constexpr (sizeof(Value) == 2)
        return __builtin_bswap16(x);
    else if constexpr (sizeof(Value) == 4)
        return __builtin_bswap32(x);
    else
        return __builtin_bswap64(x);
}

template <class Value>
void swap(std::byte* data, std::size_t count) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
        Value x;
        std::memcpy(&x, data + i * sizeof x, sizeof x);
        x = swapped(x);
        std::memcpy(data + i * sizeof x, &x, sizeof x);
    }
}

void swap(std::byte* data, std::size_t bytes, std::size_t size) noexcept {
    if (size == 2) swap<std::uint16_t>(data, bytes / size);
    if (size == 4) swap<std::uint32_t>(data, bytes / size);
    if (size == 8) swap<std::uint64_t>(data, bytes / size);
}

/// Turns differences into the values of a row.
template <class Value>
void sum_up(std::byte* row, std::size_t count, std::size_t planes) noexcept {
    for (std::size_t plane = 0; plane < planes; ++plane) {
        Value sum = 0;
        for (std::size_t i = plane; i < count; i += planes) {
            Value x;
            std::memcpy(&x, row + i * sizeof x, sizeof x);
            sum = static_cast<Value>(sum + x);
            std::memcpy(row + i * sizeof x, &sum, sizeof x);
        }
    }
}

void sum_up(std::byte* row, std::size_t bytes, std::size_t size, std::size_t planes) noexcept {
    if (size == 1) sum_up<std::uint8_t>(row, bytes, planes);
    if (size == 2) sum_up<std::uint16_t>(row, bytes / size, planes);
    if (size == 4) sum_up<std::uint32_t>(row, bytes / size, planes);
}

void unpack_nibbles(const std::byte* packed, std::size_t bytes, std::byte* out) noexcept {
    for (std::size_t i = 0; i < bytes; ++i) {
        out[2 * i] = packed[i] & std::byte{0x0F};
        out[2 * i + 1] = packed[i] >> 4;
    }
}

}  // namespace

Unreadable unreadable(std::size_t frame, const SegmentError& error, const EncodedFrames& frames) {
    const std::string reason =
        error.reason == SegmentError::damaged
            ? (frames.across() > 1 ? "tile " : "strip ") + std::to_string(error.segment) + " is damaged"
            : reason_of(error.reason);
    return {frame, "frame " + std::to_string(frame) + " cannot be read: " + reason};
}

void check_encoded(const EncodedFrames& frames) {
    const Encoding& e = frames.encoding;
    const std::size_t size = item_size(frames.dtype);
    const bool integer = frames.dtype != DType::float16 && frames.dtype != DType::float32 && size != 8;
    std::size_t bytes = 0;
    if (frames.shape.pixels() == 0 || e.segment_height == 0 || e.segment_width == 0 ||
        __builtin_mul_overflow(e.segment_height, e.segment_width, &bytes) ||
        __builtin_mul_overflow(bytes, frames.shape.planes * size, &bytes) || bytes >= std::size_t{1} << 31)
        throw InvalidArgument("segments of (" + std::to_string(e.segment_height) + ", " +
                              std::to_string(e.segment_width) + ") are not supported");
    if (e.compression == Compression::zstd && !has_zstd())
        throw InvalidArgument("segments of zstd need use_zstd()");
    if (e.differences && !integer)
        throw InvalidArgument("differences of " + std::string(name(frames.dtype)) + " are not supported");
    if (e.nibbles && (size != 1 || frames.shape.planes != 1 || frames.shape.width % 2 != 0))
        throw InvalidArgument("pixels of 4 bits must be grey, an even number in a row");
}

void check_added(const EncodedFrames& frames) {
    check_encoded(frames);
    if (kind_of(frames.dtype) != Kind::integer)
        throw InvalidArgument("frames of " + std::string(name(frames.dtype)) +
                              " are not added as they are decoded");
}

SegmentDecoder::SegmentDecoder(const EncodedFrames& frames)
    : frames_(frames),
      kernels_(byte_kernels()),
      value_bytes_(item_size(frames.dtype) * frames.shape.planes),
      row_bytes_(frames.encoding.segment_width * value_bytes_),
      segment_bytes_(frames.encoding.segment_height * row_bytes_),
      // No compressor writes more; a damaged file may claim anything.
      most_bytes_(2 * segment_bytes_ + 4096),
      read_bytes_(std::max(most_bytes_, read_together)),
      data_(new std::byte[read_bytes_]),
      values_(new std::byte[segment_bytes_]) {
    if (frames.encoding.compression == Compression::zstd) zstd_ = Zstd::make();
}

SegmentError SegmentDecoder::decode(std::size_t frame, std::size_t first, std::size_t rows,
                                    std::byte* out) noexcept {
    const std::size_t across = frames_.across();
    const std::size_t height = frames_.encoding.segment_height;
    const std::size_t width = frames_.stored_width() * value_bytes_;  // of the frame, in bytes
    const std::size_t packing = frames_.encoding.nibbles ? 2 : 1;
    const Segment* const begin = frames_.segments + frame * across * frames_.down();
    const Segment* const end = begin + (first + rows) * across;
    read_from_ = read_to_ = nullptr;
    for (std::size_t row = first; row < first + rows; ++row) {
        const std::size_t lines = std::min(height, frames_.shape.height - row * height);
        for (std::size_t column = 0; column < across; ++column) {
            const Segment* const segment = begin + row * across + column;
            SegmentError error{0, static_cast<std::size_t>(segment - begin)};
            const std::byte* const data = read(frames_.files[frame], segment, end, error.reason);
            if (data == nullptr) return error;
            // In place, if nothing of the segment is beyond the frame and nothing more is to be done.
            const bool whole = row_bytes_ == width && lines == height && packing == 1;
            std::byte* const values = whole ? out : values_.get();
            if (!decode(data, bytes_to_read(*segment), lines, values, whole)) {
                error.reason = SegmentError::damaged;
                return error;
            }
            if (whole) continue;
            const std::size_t from = column * row_bytes_;
            const std::size_t used = std::min(row_bytes_, width - from);
            for (std::size_t line = 0; line < lines; ++line) {
                const std::byte* const source = values + line * row_bytes_;
                std::byte* const target = out + packing * (line * width + from);
                if (frames_.encoding.nibbles)
                    unpack_nibbles(source, used, target);
                else
                    std::memcpy(target, source, used);
            }
        }
        out += packing * lines * width;
    }
    return {};
}

std::size_t SegmentDecoder::bytes_to_read(const Segment& segment) const noexcept {
    return static_cast<std::size_t>(
        std::clamp<std::int64_t>(segment.bytes, 0, static_cast<std::int64_t>(most_bytes_)));
}

const std::byte* SegmentDecoder::read(int file, const Segment* segment, const Segment* last,
                                      int& error) noexcept {
    if (segment >= read_from_ && segment < read_to_)
        return data_.get() + (segment->offset - read_from_->offset);
    std::size_t bytes = bytes_to_read(*segment);
    const Segment* next = segment + 1;
    while (next < last && next->offset == segment->offset + static_cast<std::int64_t>(bytes) &&
           bytes + bytes_to_read(*next) <= read_bytes_)
        bytes += bytes_to_read(*next++);
    error = read_bytes(file, segment->offset, bytes, data_.get());
    if (error != 0) return nullptr;
    if (frames_.encoding.reversed_bits)
        std::transform(data_.get(), data_.get() + bytes, data_.get(), reversed);
    read_from_ = segment;
    read_to_ = next;
    return data_.get();
}

bool SegmentDecoder::decode(const std::byte* data, std::size_t bytes, std::size_t rows, std::byte* out,
                            bool whole) noexcept {
    const std::size_t size = item_size(frames_.dtype);
    const std::size_t wanted = rows * row_bytes_;
    // What is beyond the frame may be there or not.
    if (decompress(data, bytes, out, whole ? wanted : segment_bytes_) < static_cast<std::ptrdiff_t>(wanted))
        return false;
    if (frames_.encoding.swapped_bytes) swap(out, wanted, size);
    if (frames_.encoding.differences)
        for (std::size_t row = 0; row < rows; ++row)
            sum_up(out + row * row_bytes_, row_bytes_, size, frames_.shape.planes);
    return true;
}

std::ptrdiff_t SegmentDecoder::decompress(const std::byte* data, std::size_t bytes, std::byte* out,
                                          std::size_t capacity) noexcept {
    switch (frames_.encoding.compression) {
        case Compression::lzw: return decode_lzw(data, bytes, out, capacity);
        case Compression::deflate: return inflate(data, bytes, out, capacity, kernels_);
        case Compression::zstd: return zstd_.decode(data, bytes, out, capacity);
        default: break;
    }
    bytes = std::min(bytes, capacity);
    std::memcpy(out, data, bytes);
    return static_cast<std::ptrdiff_t>(bytes);
}

}  // namespace camnorm::detail
