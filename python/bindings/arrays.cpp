#include "arrays.hpp"

#include <pybind11/complex.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

namespace camnorm::python {
namespace {

std::string text(const std::vector<py::ssize_t>& shape) {
    std::string s = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) s += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
    return s + (shape.size() == 1 ? ",)" : ")");
}

std::string dtype_name(const py::array& array) { return py::str(array.dtype()).cast<std::string>(); }

std::string type_name(const py::handle& object) {
    return py::str(py::type::handle_of(object).attr("__name__")).cast<std::string>();
}

/// Whether numpy.asarray makes an array of numbers of it: a list, a dataset of HDF5, a tensor.
bool is_array_like(const py::handle& object) {
    return py::isinstance<py::list>(object) || py::isinstance<py::tuple>(object) ||
           (py::hasattr(object, "__array__") && !py::isinstance<py::type>(object));
}

/// Checks that the array is one frame or a stack of them, and gives the view of it.
FramesView checked_view(const py::array& array, FrameShape shape, std::size_t ndim, const char* what) {
    FramesView view;
    view.dtype = as_dtype(array.dtype(), what);
    view.shape = shape;
    const auto dims = static_cast<std::size_t>(array.ndim());
    const std::size_t first = dims == ndim + 1 ? 1 : 0;
    const std::vector<py::ssize_t> wanted = numpy_shape(shape, ndim);
    const std::vector<py::ssize_t> got = sizes_of(array);
    if ((dims != ndim && dims != ndim + 1) ||
        !std::equal(wanted.begin(), wanted.end(), got.begin() + static_cast<std::ptrdiff_t>(first))) {
        throw py::value_error(std::string(what) + " of shape " + text(got) + " where a frame of " +
                              text(wanted) + " or a stack of them is wanted");
    }
    view.count = first == 1 ? static_cast<std::size_t>(got[0]) : 1;
    view.data = static_cast<const std::byte*>(array.data());
    view.strides[0] = first == 1 ? array.strides(0) : 0;
    for (std::size_t i = 0; i < ndim; ++i)
        view.strides[i + 1] = array.strides(static_cast<py::ssize_t>(first + i));
    if (ndim == 2) view.strides[3] = static_cast<std::ptrdiff_t>(item_size(view.dtype));
    return view;
}

}  // namespace

std::vector<py::ssize_t> sizes_of(const py::array& array) {
    return {array.shape(), array.shape() + array.ndim()};
}

std::string shape_text(const py::array& array) { return text(sizes_of(array)); }

std::int64_t as_integer(const py::handle& object, const char* what) {
    if (PyIndex_Check(object.ptr()) == 0)
        throw py::type_error(std::string(what) + ": '" + type_name(object) +
                             "' object cannot be interpreted as an integer");
    const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(object.ptr()));
    if (!number) throw py::error_already_set();
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    if (overflow != 0)
        throw py::value_error(std::string(what) + " is too " + (overflow > 0 ? "large" : "small") + ": " +
                              py::str(number).cast<std::string>());
    return value;
}

double as_number(const py::handle& object, const char* what) {
    const double value = PyFloat_AsDouble(object.ptr());
    if (PyErr_Occurred() == nullptr) return value;
    const bool too_large = PyErr_ExceptionMatches(PyExc_OverflowError) != 0;
    PyErr_Clear();
    if (too_large) throw py::value_error(std::string(what) + " is too large for a float");
    throw py::type_error(std::string(what) + " must be a number, not " + type_name(object));
}

void check_unmasked(const py::handle& object, const char* what) {
    // Nearly always an array proper, for which nothing need be imported.
    if (Py_TYPE(object.ptr()) == py::detail::npy_api::get().PyArray_Type_) return;
    const py::module_ ma = py::module_::import("numpy.ma");
    py::object mask = ma.attr("getmask")(object);
    if (py::isinstance<py::array>(mask) && !mask.attr("dtype").attr("names").is_none())
        mask = ma.attr("flatten_mask")(mask);  // a table has one for each field
    if (mask.attr("any")().cast<bool>())
        throw py::type_error(std::string(what) +
                             " must not have masked pixels: fill them with numpy.ma.filled, or leave such "
                             "frames out");
}

py::array as_array(const py::handle& object, const char* what) {
    if (!py::isinstance<py::array>(object))
        throw py::type_error(std::string(what) + " must be a numpy array, not " + type_name(object) +
                             (is_array_like(object) ? ": convert it with numpy.asarray" : ""));
    check_unmasked(object, what);
    return py::reinterpret_borrow<py::array>(object);
}

DType as_dtype(const py::dtype& dtype, const char* what) {
    const char kind = dtype.kind();
    const auto size = dtype.itemsize();
    // numpy says '=' or '|' for native order, but '<' or '>' if that was asked for, be it native or not.
    const std::uint16_t one = 1;
    const char here = *reinterpret_cast<const unsigned char*>(&one) == 1 ? '<' : '>';
    const char order = dtype.byteorder();
    const bool native = order == '=' || order == '|' || order == here;
    if (native) {
        if (kind == 'u' && size == 1) return DType::uint8;
        if (kind == 'i' && size == 1) return DType::int8;
        if (kind == 'u' && size == 2) return DType::uint16;
        if (kind == 'i' && size == 2) return DType::int16;
        if (kind == 'u' && size == 4) return DType::uint32;
        if (kind == 'i' && size == 4) return DType::int32;
        if (kind == 'f' && size == 2) return DType::float16;
        if (kind == 'f' && size == 4) return DType::float32;
        if (kind == 'f' && size == 8) return DType::float64;
    }
    throw py::type_error(
        std::string(what) + " of dtype " + py::str(dtype).cast<std::string>() +
        " are not supported: uint8, int8, uint16, int16, uint32, int32, float16, float32 and "
        "float64 in native byte order are");
}

py::dtype numpy_dtype(DType dtype) { return py::dtype(std::string(name(dtype))); }

FrameShape as_shape(const std::vector<py::ssize_t>& shape) {
    if (shape.size() != 2 && shape.size() != 3)
        throw py::value_error("a frame's shape is (y, x) or (y, x, c), not " + text(shape));
    for (py::ssize_t n : shape)
        if (n < 1) throw py::value_error("frames of shape " + text(shape) + " have no pixels");
    constexpr py::ssize_t most_bytes_a_pixel = 32;  // sums of float frames
    py::ssize_t left = std::numeric_limits<py::ssize_t>::max() / most_bytes_a_pixel;
    for (py::ssize_t n : shape) left /= n;
    if (left == 0) throw py::value_error("frames of shape " + text(shape) + " are larger than memory can be");
    const auto size = [&](std::size_t i) { return static_cast<std::size_t>(shape[i]); };
    return {size(0), size(1), shape.size() == 3 ? size(2) : 1};
}

std::vector<py::ssize_t> as_sizes(const py::tuple& shape) {
    std::vector<py::ssize_t> sizes;
    for (const py::handle size : shape)
        sizes.push_back(static_cast<py::ssize_t>(as_integer(size, "a size in shape")));
    return sizes;
}

FramesView as_frames(const py::array& array, FrameShape shape, std::size_t ndim) {
    return checked_view(array, shape, ndim, "frames");
}

MutableFramesView as_mutable_frames(py::array& array, FrameShape shape, std::size_t ndim) {
    const FramesView view = checked_view(array, shape, ndim, "out");
    if (!array.writeable()) throw py::value_error("out is read-only");
    return {static_cast<std::byte*>(array.mutable_data()), view.dtype, view.count, view.shape, view.strides};
}

std::vector<py::ssize_t> numpy_shape(FrameShape shape, std::size_t ndim) {
    std::vector<py::ssize_t> s{static_cast<py::ssize_t>(shape.height), static_cast<py::ssize_t>(shape.width)};
    if (ndim == 3) s.push_back(static_cast<py::ssize_t>(shape.planes));
    return s;
}

py::array_t<double, py::array::c_style> as_image(const py::handle& object,
                                                 const std::vector<py::ssize_t>& shape, const char* what) {
    const py::array array = as_array(object, what);
    if (array.dtype().kind() != 'f')
        throw py::type_error(std::string(what) + " must be of a float dtype, not " + dtype_name(array));
    if (sizes_of(array) != shape)
        throw py::value_error(std::string(what) + " has shape " + shape_text(array) + ", not " + text(shape));
    return py::array_t<double, py::array::c_style>(array);
}

std::vector<std::uint8_t> as_mask(const py::object& object, const std::vector<py::ssize_t>& shape,
                                  const char* what) {
    const py::array array = as_array(object, what);
    if (array.dtype().kind() != 'b')
        throw py::type_error(std::string(what) + " must be of dtype bool, not " + dtype_name(array));
    if (sizes_of(array) != shape)
        throw py::value_error(std::string(what) + " has shape " + shape_text(array) + ", not " + text(shape));
    const py::array_t<bool, py::array::c_style> dense(array);
    return {dense.data(), dense.data() + dense.size()};
}

std::vector<double> as_pixels(const py::object& object, const std::vector<py::ssize_t>& shape,
                              const char* what) {
    const py::dtype dtype = as_array(object, what).dtype();
    if (dtype.kind() != 'f' || (dtype.itemsize() != 4 && dtype.itemsize() != 8))
        throw py::type_error(std::string(what) + " must be of dtype float32 or float64, not " +
                             py::str(dtype).cast<std::string>());
    const auto image = as_image(object, shape, what);
    return {image.data(), image.data() + image.size()};
}

std::vector<double> as_exposures(const py::object& object, std::size_t frames) {
    const py::array array = as_array(object, "exposures");
    if (array.dtype().kind() != 'f' || array.dtype().itemsize() != 8)
        throw py::type_error("exposures must be of dtype float64, not " + dtype_name(array));
    if (array.ndim() != 1 || static_cast<std::size_t>(array.shape(0)) != frames)
        throw py::value_error("exposures have shape " + shape_text(array) + ", one for each of " +
                              std::to_string(frames) + " frames is wanted");
    const py::array_t<double, py::array::c_style> dense(array);
    return {dense.data(), dense.data() + dense.size()};
}

FramesView as_any_frames(const py::array& array, std::size_t ndim) {
    const auto dims = static_cast<std::size_t>(array.ndim());
    if (dims != ndim && dims != ndim + 1)
        throw py::value_error("frames of shape " + shape_text(array) + " are neither one frame nor a stack");
    const std::vector<py::ssize_t> shape(array.shape() + (dims - ndim), array.shape() + dims);
    return as_frames(array, as_shape(shape), ndim);
}

FramesView as_stacks(const std::vector<py::array>& stacks, FrameShape shape, std::size_t ndim,
                     std::vector<const std::byte*>& places) {
    FramesView view;
    for (const py::array& stack : stacks) {
        const FramesView part = as_frames(stack, shape, ndim);
        const bool alike = part.dtype == view.dtype &&
                           std::equal(part.strides.begin() + 1, part.strides.end(), view.strides.begin() + 1);
        if (!places.empty() && !alike) throw py::value_error("stacks of one dtype and layout are wanted");
        view = part;
        for (std::size_t i = 0; i < part.count; ++i) places.push_back(part.frame(i));
    }
    view.count = places.size();
    view.places = places.data();
    return view;
}

FramesView as_grey_frame(const py::array& array, const std::string& what) {
    FramesView frame;
    frame.dtype = as_dtype(array.dtype(), ("pixels of " + what).c_str());
    if (array.ndim() != 2 || array.size() == 0)
        throw py::value_error(what + " has shape " + shape_text(array) +
                              " where a grey frame (y, x) is wanted");
    frame.shape = {static_cast<std::size_t>(array.shape(0)), static_cast<std::size_t>(array.shape(1)), 1};
    frame.count = 1;
    frame.data = static_cast<const std::byte*>(array.data());
    frame.strides = {0, array.strides(0), array.strides(1), array.itemsize()};
    return frame;
}

py::array as_output(const py::array& frames, const py::object& out, const py::object& dtype) {
    const auto wanted = [&] { return as_dtype(py::dtype::from_args(dtype), "corrected frames"); };
    if (out.is_none())
        return py::array(numpy_dtype(dtype.is_none() ? DType::float32 : wanted()), sizes_of(frames));
    py::array array = as_array(out, "out");
    if (!dtype.is_none() && as_dtype(array.dtype(), "out") != wanted()) {
        throw py::type_error("out is of dtype " + dtype_name(array) + ", but dtype " + name(wanted()) +
                             " was asked for");
    }
    if (sizes_of(array) != sizes_of(frames))
        throw py::value_error("out has shape " + shape_text(array) + ", not that of the frames, " +
                              shape_text(frames));
    return array;
}

void check_c_contiguous(const py::array& array, const char* what) {
    if ((array.flags() & py::array::c_style) == 0)
        throw py::value_error(std::string(what) + " is not C-contiguous: pass numpy.ascontiguousarray(" +
                              what + ")");
}

double* as_frame_sums(py::array& sums) {
    if (!sums.dtype().equal(py::dtype::of<double>())) throw py::type_error("sums must be float64");
    check_c_contiguous(sums, "sums");
    return static_cast<double*>(sums.mutable_data());
}

void check_rows(const py::array& out, const py::array& frame, py::ssize_t first) {
    if (out.ndim() != 2 || out.shape(1) != frame.shape(1) || first < 0 ||
        first + out.shape(0) > frame.shape(0))
        throw py::value_error("out has shape " + shape_text(out) + ", which are not rows of " +
                              shape_text(frame) + " from " + std::to_string(first));
    check_c_contiguous(out, "out");
}

py::object as_window(const py::object& object, py::ssize_t size, const char* what) {
    return object.is_none() ? object : as_image(object, {size}, what);
}

py::array as_half_spectrum(const py::object& object, py::ssize_t height, py::ssize_t width,
                           const char* what) {
    py::array array = as_array(object, what);
    if (!array.dtype().equal(py::dtype::of<std::complex<float>>()) &&
        !array.dtype().equal(py::dtype::of<std::complex<double>>()))
        throw py::type_error(std::string(what) + " must be complex64 or complex128, not " +
                             dtype_name(array));
    const std::vector<py::ssize_t> shape{height, width};
    const std::vector<py::ssize_t> wanted{height, width / 2 + 1};
    if (sizes_of(array) != wanted)
        throw py::value_error(std::string(what) + " has shape " + shape_text(array) +
                              ", but the half spectrum of a frame of shape " + text(shape) + " has " +
                              text(wanted));
    check_c_contiguous(array, what);
    return array;
}

void check_columns(const py::array& array, std::size_t columns, std::size_t height, const char* what) {
    if (array.ndim() != 2 || array.shape(0) != static_cast<py::ssize_t>(columns) ||
        array.shape(1) != static_cast<py::ssize_t>(height))
        throw py::value_error(std::string(what) + " has shape " + shape_text(array) + ", not (" +
                              std::to_string(columns) + ", " + std::to_string(height) + ")");
    check_c_contiguous(array, what);
}

std::vector<std::complex<double>> as_jump_values(const py::array_t<std::complex<double>>& array) {
    if (array.ndim() != 1) throw py::value_error("jumps have shape " + shape_text(array));
    return {array.data(), array.data() + array.size()};
}

}  // namespace camnorm::python
