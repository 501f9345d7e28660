#include "arrays.hpp"

#include <cstdint>
#include <limits>
#include <string>

namespace camnorm::python {
namespace {

template <class Size>
std::string text(const std::vector<Size>& shape) {
    std::string s = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) s += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
    return s + (shape.size() == 1 ? ",)" : ")");
}

std::vector<std::size_t> shape_of(const py::array& array) {
    return {array.shape(), array.shape() + array.ndim()};
}

std::string type_name(const py::handle& object) {
    return py::str(py::type::handle_of(object).attr("__name__")).cast<std::string>();
}

/// Checks that the array is one frame or a stack of them, and gives the view of it.
FramesView checked_view(const py::array& array, FrameShape shape, std::size_t ndim, const char* what) {
    FramesView view;
    view.dtype = as_dtype(array.dtype(), what);
    view.shape = shape;
    const auto dims = static_cast<std::size_t>(array.ndim());
    const std::size_t first = dims == ndim + 1 ? 1 : 0;
    std::vector<std::size_t> wanted{shape.height, shape.width};
    if (ndim == 3) wanted.push_back(shape.planes);
    const std::vector<std::size_t> got = shape_of(array);
    if ((dims != ndim && dims != ndim + 1) ||
        !std::equal(wanted.begin(), wanted.end(), got.begin() + static_cast<std::ptrdiff_t>(first))) {
        throw py::value_error(std::string(what) + " of shape " + text(got) + " where a frame of " +
                              text(wanted) + " or a stack of them is wanted");
    }
    view.count = first == 1 ? got[0] : 1;
    view.data = static_cast<const std::byte*>(array.data());
    view.strides[0] = first == 1 ? array.strides(0) : 0;
    for (std::size_t i = 0; i < ndim; ++i)
        view.strides[i + 1] = array.strides(static_cast<py::ssize_t>(first + i));
    if (ndim == 2) view.strides[3] = static_cast<std::ptrdiff_t>(item_size(view.dtype));
    return view;
}

}  // namespace

std::string shape_text(const py::array& array) { return text(shape_of(array)); }

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
    if (py::module_::import("numpy.ma").attr("is_masked")(object).cast<bool>())
        throw py::type_error(std::string(what) +
                             " must not have masked pixels: fill them with numpy.ma.filled, or leave such "
                             "frames out");
}

py::array as_array(const py::handle& object, const char* what) {
    if (!py::isinstance<py::array>(object))
        throw py::type_error(std::string(what) + " must be a numpy array, not " + type_name(object));
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
        throw py::type_error(std::string(what) + " must be of a float dtype, not " +
                             py::str(array.dtype()).cast<std::string>());
    const std::vector<std::size_t> wanted(shape.begin(), shape.end());
    if (shape_of(array) != wanted)
        throw py::value_error(std::string(what) + " has shape " + shape_text(array) + ", not " +
                              text(wanted));
    return py::array_t<double, py::array::c_style>(array);
}

}  // namespace camnorm::python
