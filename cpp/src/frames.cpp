#include "camnorm/frames.hpp"

namespace camnorm {
namespace {

std::array<std::ptrdiff_t, 4> contiguous_strides(DType dtype, FrameShape shape) noexcept {
    const auto plane = static_cast<std::ptrdiff_t>(item_size(dtype));
    const auto x = plane * static_cast<std::ptrdiff_t>(shape.planes);
    const auto y = x * static_cast<std::ptrdiff_t>(shape.width);
    return {y * static_cast<std::ptrdiff_t>(shape.height), y, x, plane};
}

}  // namespace

const char* name(DType dtype) noexcept {
    switch (dtype) {
        case DType::uint8: return "uint8";
        case DType::int8: return "int8";
        case DType::uint16: return "uint16";
        case DType::int16: return "int16";
        case DType::uint32: return "uint32";
        case DType::int32: return "int32";
        case DType::float16: return "float16";
        case DType::float32: return "float32";
        case DType::float64: return "float64";
    }
    return "?";
}

std::string to_string(FrameShape shape) {
    std::string s = "(" + std::to_string(shape.height) + ", " + std::to_string(shape.width);
    if (shape.planes != 1) s += ", " + std::to_string(shape.planes);
    return s + ")";
}

FramesView FramesView::contiguous(const void* data, DType dtype, std::size_t count,
                                  FrameShape shape) noexcept {
    return {static_cast<const std::byte*>(data), dtype, count, shape, contiguous_strides(dtype, shape)};
}

bool FramesView::frames_contiguous() const noexcept {
    const auto dense = contiguous_strides(dtype, shape);
    return (shape.planes == 1 || strides[3] == dense[3]) && (shape.width == 1 || strides[2] == dense[2]) &&
           (shape.height == 1 || strides[1] == dense[1]);
}

MutableFramesView MutableFramesView::contiguous(void* data, DType dtype, std::size_t count,
                                                FrameShape shape) noexcept {
    return {static_cast<std::byte*>(data), dtype, count, shape, contiguous_strides(dtype, shape)};
}

}  // namespace camnorm
