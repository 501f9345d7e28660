#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "camnorm/export.h"

/// @file
/// Pixel types, shapes, and views of the caller's frames.

namespace camnorm {

/// Pixel types that camnorm reads and writes.
enum class DType : std::uint8_t { uint8, int8, uint16, int16, uint32, int32, float16, float32, float64 };

/// Bytes a pixel.
constexpr std::size_t item_size(DType dtype) noexcept {
    switch (dtype) {
        case DType::uint8:
        case DType::int8: return 1;
        case DType::uint16:
        case DType::int16:
        case DType::float16: return 2;
        case DType::uint32:
        case DType::int32:
        case DType::float32: return 4;
        case DType::float64: return 8;
    }
    return 0;
}

CAMNORM_EXPORT const char* name(DType dtype) noexcept;

/// Frames whose moments are exact integers (8 and 16 bit), or all the rest.
enum class Kind : std::uint8_t { integer, floating };

constexpr Kind kind_of(DType dtype) noexcept {
    switch (dtype) {
        case DType::uint8:
        case DType::int8:
        case DType::uint16:
        case DType::int16: return Kind::integer;
        default: return Kind::floating;
    }
}

/// Shape of one frame: rows y, columns x, colour planes (1 for grey frames).
struct FrameShape {
    std::size_t height = 0;
    std::size_t width = 0;
    std::size_t planes = 1;

    constexpr std::size_t pixels() const noexcept { return height * width * planes; }
    constexpr bool operator==(const FrameShape& o) const noexcept {
        return height == o.height && width == o.width && planes == o.planes;
    }
    constexpr bool operator!=(const FrameShape& o) const noexcept { return !(*this == o); }
};

/// As numpy writes it: (height, width), or (height, width, planes).
CAMNORM_EXPORT std::string to_string(FrameShape shape);

/// A stack of frames in memory that somebody else owns. Strides are in bytes, may be negative and
/// need not be multiples of the pixel's size: nothing is assumed about alignment.
struct CAMNORM_EXPORT FramesView {
    const std::byte* data = nullptr;
    DType dtype = DType::uint8;
    std::size_t count = 0;
    FrameShape shape;
    /// Strides of frame, y, x, plane.
    std::array<std::ptrdiff_t, 4> strides{};
    /// Where each frame begins, if they do not lie at one stride; then `data` and the first stride mean
    /// nothing.
    const std::byte* const* places = nullptr;

    /// View of `count` frames that lie one after another without gaps.
    static FramesView contiguous(const void* data, DType dtype, std::size_t count, FrameShape shape) noexcept;

    /// True if the pixels of each frame lie without gaps in (y, x, plane) order.
    bool frames_contiguous() const noexcept;

    const std::byte* frame(std::size_t i) const noexcept {
        return places != nullptr ? places[i] : data + static_cast<std::ptrdiff_t>(i) * strides[0];
    }
};

/// FramesView for frames that are written.
struct CAMNORM_EXPORT MutableFramesView {
    std::byte* data = nullptr;
    DType dtype = DType::float32;
    std::size_t count = 0;
    FrameShape shape;
    std::array<std::ptrdiff_t, 4> strides{};

    static MutableFramesView contiguous(void* data, DType dtype, std::size_t count,
                                        FrameShape shape) noexcept;

    std::byte* frame(std::size_t i) const noexcept {
        return data + static_cast<std::ptrdiff_t>(i) * strides[0];
    }
    /// The same memory, to be read.
    FramesView view() const noexcept { return {data, dtype, count, shape, strides}; }
};

}  // namespace camnorm
