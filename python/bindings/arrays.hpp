#pragma once

// Every check of dtype, shape, stride and number at the border between Python and the core, in the words
// that the user sees.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <complex>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "camnorm/frames.hpp"

namespace camnorm::python {

namespace py = pybind11;

/// The shape of an array.
std::vector<py::ssize_t> sizes_of(const py::array& array);

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

/// The same for frames whose shape is not known beforehand.
FramesView as_any_frames(const py::array& array, std::size_t ndim);

/// All frames of some stacks as one view, which refers to `places`.
/// @throws py::value_error also if stacks differ in dtype or strides.
FramesView as_stacks(const std::vector<py::array>& stacks, FrameShape shape, std::size_t ndim,
                     std::vector<const std::byte*>& places);

/// One frame (y, x); `what` names it.
FramesView as_grey_frame(const py::array& array, const std::string& what);

/// The array that corrected frames are written to: `out`, or a new one of `dtype`.
py::array as_output(const py::array& frames, const py::object& out, const py::object& dtype);

/// The shape as numpy has it: (y, x), or (y, x, c) for ndim 3.
std::vector<py::ssize_t> numpy_shape(FrameShape shape, std::size_t ndim);

/// A C-contiguous float64 array of exactly the given shape: per-pixel images.
py::array_t<double, py::array::c_style> as_image(const py::handle& object,
                                                 const std::vector<py::ssize_t>& shape, const char* what);

/// The mean or the sigma image, one value per pixel.
/// @throws py::type_error unless it is float32 or float64.
std::vector<double> as_pixels(const py::object& object, const std::vector<py::ssize_t>& shape,
                              const char* what);

/// One value per pixel, not 0 where the bool array is true.
std::vector<std::uint8_t> as_mask(const py::object& object, const std::vector<py::ssize_t>& shape,
                                  const char* what);

/// Float64 exposures: an array of shape (frames,).
std::vector<double> as_exposures(const py::object& object, std::size_t frames);

/// @throws py::value_error if the array has gaps or another order.
void check_c_contiguous(const py::array& array, const char* what);

/// Float64 sums over frames, to be added to in place.
double* as_frame_sums(py::array& sums);

/// @throws py::value_error unless `out` takes whole rows of the frame from the first one on.
void check_rows(const py::array& out, const py::array& frame, py::ssize_t first);

/// The window along one axis, or None.
py::object as_window(const py::object& object, py::ssize_t size, const char* what);

/// The C-contiguous half spectrum of a frame of shape (height, width), complex64 or complex128.
py::array as_half_spectrum(const py::object& object, py::ssize_t height, py::ssize_t width, const char* what);

/// @throws py::value_error unless the array is C-contiguous and of shape (columns, height).
void check_columns(const py::array& array, std::size_t columns, std::size_t height, const char* what);

/// Transforms of jumps at the edges, one axis.
std::vector<std::complex<double>> as_jump_values(const py::array_t<std::complex<double>>& array);

}  // namespace camnorm::python
