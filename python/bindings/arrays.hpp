#pragma once

// Every check of dtype, shape, stride and number at the border between Python and the core, in the words
// that the user sees.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

#include "camnorm/frames.hpp"

namespace camnorm::python {

namespace py = pybind11;

/// A numpy shape as Python writes it: (4096, 4096).
std::string shape_text(const py::array& array);

/// @throws py::type_error if the object is not an integer, py::value_error if no int64 holds it.
std::int64_t as_integer(const py::handle& object, const char* what);

/// @throws py::type_error if the object is not a number.
double as_number(const py::handle& object, const char* what);

/// @throws py::type_error if the object is an array with masked pixels, whose mask would be ignored.
void check_unmasked(const py::handle& object, const char* what);

/// The argument as the numpy array that it must be already: nothing is converted.
/// @throws py::type_error if it is no array, or has masked pixels.
py::array as_array(const py::handle& object, const char* what);

/// @throws py::type_error if camnorm does not read this dtype (complex, 64-bit integers, bool, other
/// byte order).
DType as_dtype(const py::dtype& dtype, const char* what);

py::dtype numpy_dtype(DType dtype);

/// (y, x) or (y, x, c), all positive.
/// @throws py::value_error if it is not, or no memory can hold such frames.
FrameShape as_shape(const std::vector<py::ssize_t>& shape);

/// A tuple of integers as a shape.
/// @throws py::type_error if they are none.
std::vector<py::ssize_t> as_sizes(const py::tuple& shape);

/// One frame or a stack of frames of the given shape, told apart by the number of dimensions;
/// `ndim` is 2 for grey frames, 3 for (y, x, c).
/// @throws py::type_error, py::value_error naming both shapes.
FramesView as_frames(const py::array& array, FrameShape shape, std::size_t ndim);

/// The same for an array that is written; it must be writeable.
MutableFramesView as_mutable_frames(py::array& array, FrameShape shape, std::size_t ndim);

/// The shape as numpy has it: (y, x), or (y, x, c) for ndim 3.
std::vector<py::ssize_t> numpy_shape(FrameShape shape, std::size_t ndim);

/// A C-contiguous float64 array of exactly the given shape: per-pixel images.
py::array_t<double, py::array::c_style> as_image(const py::handle& object,
                                                 const std::vector<py::ssize_t>& shape, const char* what);

}  // namespace camnorm::python
