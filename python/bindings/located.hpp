#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "camnorm/encoded.hpp"
#include "camnorm/stored.hpp"

namespace camnorm::python {

/// Frames in open files, as Python passes them.
class Stored {
public:
    /// @param places  of each frame the file descriptor and the offset in bytes.
    Stored(const std::vector<std::pair<int, std::int64_t>>& places, const py::object& dtype,
           const py::tuple& shape);

    StoredFrames view() const noexcept { return {places_.data(), dtype_, places_.size(), shape_}; }

private:
    std::vector<StoredFrames::Place> places_;
    DType dtype_;
    FrameShape shape_;
};

/// Frames that are decoded from open files.
class Encoded {
public:
    using Segments = py::array_t<std::int64_t, py::array::c_style>;

    /// @param files     descriptor of each frame's file.
    /// @param segments  shape (frames, segments, 2): offset and number of bytes.
    /// @param encoding  `camnorm.io.base.located.Encoding` as a tuple.
    Encoded(std::vector<int> files, Segments segments, const py::tuple& encoding, const py::object& dtype,
            const py::tuple& shape);

    EncodedFrames view() const noexcept;

private:
    std::vector<int> files_;
    Segments segments_;
    const EncodedFrames::Segment* data_;  // of `segments_`, to be used without the GIL
    Encoding encoding_;
    DType dtype_;
    FrameShape shape_;
};

}  // namespace camnorm::python
