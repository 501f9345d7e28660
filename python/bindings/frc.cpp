#include "camnorm/frc.hpp"

#include <pybind11/complex.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <complex>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "camnorm/average.hpp"
#include "camnorm/error.hpp"

namespace camnorm::python {
namespace {

Binning as_binning(const py::object& object) {
    const auto binning = py::str(object).cast<std::string>();
    if (binning == "round") return Binning::round;
    if (binning == "floor") return Binning::floor;
    throw InvalidArgument("binning must be 'round' or 'floor', not '" + binning + "'");
}

template <class T>
py::array_t<T> as_numpy(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

void check_c_contiguous(const py::array& array, const char* what) {
    if ((array.flags() & py::array::c_style) == 0)
        throw py::value_error(std::string(what) + " is not C-contiguous: pass numpy.ascontiguousarray(" +
                              what + ")");
}

/// Of a frame of shape (height, width).
py::array as_half_spectrum(const py::object& object, py::ssize_t height, py::ssize_t width,
                           const char* what) {
    py::array array = as_array(object, what);
    if (!array.dtype().equal(py::dtype::of<std::complex<float>>()) &&
        !array.dtype().equal(py::dtype::of<std::complex<double>>()))
        throw py::type_error(std::string(what) + " must be complex64 or complex128, not " +
                             py::str(array.dtype()).cast<std::string>());
    const py::tuple shape = py::make_tuple(height, width);
    const py::tuple wanted = py::make_tuple(height, width / 2 + 1);
    if (!py::tuple(array.attr("shape")).equal(wanted))
        throw py::value_error(std::string(what) + " has shape " + shape_text(array) +
                              ", but the half spectrum of a frame of shape " +
                              py::str(shape).cast<std::string>() + " has " +
                              py::str(wanted).cast<std::string>());
    check_c_contiguous(array, what);
    return array;
}

py::tuple as_tuple(const RingCorrelation& result) {
    return py::make_tuple(as_numpy(result.correlation), as_numpy(result.z), as_numpy(result.evenness));
}

py::tuple correlate(const RingIndex& index, const py::object& first, const py::object& second, int threads) {
    const auto height = static_cast<py::ssize_t>(index.height());
    const auto width = static_cast<py::ssize_t>(index.width());
    const py::array fa = as_half_spectrum(first, height, width, "fa");
    const py::array fb = as_half_spectrum(second, height, width, "fb");
    if (!fa.dtype().equal(fb.dtype()))
        throw py::type_error("fa is " + py::str(fa.dtype()).cast<std::string>() + " and fb " +
                             py::str(fb.dtype()).cast<std::string>() + ": both must be of one dtype");
    const auto run = [&](auto zero) {
        using Complex = decltype(zero);
        const auto* a = static_cast<const Complex*>(fa.data());
        const auto* b = static_cast<const Complex*>(fb.data());
        py::gil_scoped_release nogil;
        return ring_correlation(index, a, b, threads);
    };
    const RingCorrelation result = fa.itemsize() == sizeof(std::complex<float>) ? run(std::complex<float>())
                                                                                : run(std::complex<double>());
    return as_tuple(result);
}

py::array_t<double> sum_rings(const RingIndex& index, const py::object& spectrum, int threads) {
    const auto height = static_cast<py::ssize_t>(index.height());
    const auto width = static_cast<py::ssize_t>(index.width());
    const auto values = as_image(spectrum, {height, width}, "spectrum");
    std::vector<double> sums;
    {
        py::gil_scoped_release nogil;
        sums = ring_sums(index, values.data(), threads);
    }
    return as_numpy(sums);
}

/// The window along one axis, or nothing.
py::object as_window(const py::object& object, py::ssize_t size, const char* what) {
    return object.is_none() ? object : as_image(object, {size}, what);
}

const double* window_data(const py::object& window) {
    return window.is_none() ? nullptr : py::reinterpret_borrow<py::array_t<double>>(window).data();
}

Taper make_taper(const py::array& array, const py::object& row_window, const py::object& column_window,
                 const std::string& what) {
    FramesView frame;
    frame.dtype = as_dtype(array.dtype(), ("pixels of " + what).c_str());
    if (array.ndim() != 2 || array.size() == 0)
        throw py::value_error(what + " has shape " + shape_text(array) +
                              " where a grey frame (y, x) is wanted");
    frame.shape = {static_cast<std::size_t>(array.shape(0)), static_cast<std::size_t>(array.shape(1)), 1};
    frame.count = 1;
    frame.data = static_cast<const std::byte*>(array.data());
    frame.strides = {0, array.strides(0), array.strides(1), array.itemsize()};
    const py::object rows = as_window(row_window, array.shape(0), "rows");
    const py::object columns = as_window(column_window, array.shape(1), "columns");
    return Taper(frame, window_data(rows), window_data(columns));
}

/// A frame with its taper: the pixels stay while they are needed.
class TaperedFrame {
public:
    TaperedFrame(const py::object& frame, const py::object& rows, const py::object& columns, std::string what)
        : array_(as_array(frame, what.c_str())),
          taper_(make_taper(array_, rows, columns, what)),
          what_(std::move(what)) {}

    std::size_t bands() const { return taper_.bands(); }

    void sum(std::size_t band) {
        if (band >= taper_.bands()) throw py::index_error("there is no band " + std::to_string(band));
        py::gil_scoped_release nogil;
        taper_.sum(band);
    }

    double take_mean() {
        try {
            return taper_.take_mean();
        } catch (const NonFinite& error) {
            throw NonFinite(error.frame(), what_ + " has NaN or infinite pixels");
        }
    }

    void write(py::ssize_t first, py::array& out) const {
        if (out.ndim() != 2 || out.shape(1) != array_.shape(1) || first < 0 ||
            first + out.shape(0) > array_.shape(0))
            throw py::value_error("out has shape " + shape_text(out) + ", which are not rows of " +
                                  shape_text(array_) + " from " + std::to_string(first));
        check_c_contiguous(out, "out");
        const auto run = [&](auto* pixels) {
            const auto begin = static_cast<std::size_t>(first);
            const auto end = begin + static_cast<std::size_t>(out.shape(0));
            py::gil_scoped_release nogil;
            taper_.write(begin, end, pixels);
        };
        if (out.dtype().equal(py::dtype::of<float>())) return run(static_cast<float*>(out.mutable_data()));
        if (out.dtype().equal(py::dtype::of<double>())) return run(static_cast<double*>(out.mutable_data()));
        throw py::type_error("out must be float32 or float64, not " +
                             py::str(out.dtype()).cast<std::string>());
    }

private:
    py::array array_;
    Taper taper_;
    std::string what_;
};

/// Columns that a transform has just made: (band_columns, height), of which the last band uses fewer.
py::array as_columns(const py::array& array, const RingIndex& transposed, const char* what) {
    if (array.ndim() != 2 || array.shape(0) != static_cast<py::ssize_t>(RingAccumulator::band_columns) ||
        array.shape(1) != static_cast<py::ssize_t>(transposed.width()))
        throw py::value_error(std::string(what) + " has shape " + shape_text(array) + ", not (" +
                              std::to_string(RingAccumulator::band_columns) + ", " +
                              std::to_string(transposed.width()) + ")");
    check_c_contiguous(array, what);
    return array;
}

std::vector<std::complex<double>> as_vector(const py::array_t<std::complex<double>>& array) {
    if (array.ndim() != 1) throw py::value_error("jumps have shape " + shape_text(array));
    return {array.data(), array.data() + array.size()};
}

/// Transforms of the jumps over rows and over columns.
using JumpArrays = std::pair<py::array_t<std::complex<double>>, py::array_t<std::complex<double>>>;

Jumps as_jumps(const JumpArrays& arrays) { return {as_vector(arrays.first), as_vector(arrays.second)}; }

/// The core's accumulator, which needs the index to live as long as itself.
class Accumulator {
public:
    explicit Accumulator(const std::shared_ptr<RingIndex>& transposed)
        : index_(transposed), sums_(*transposed) {}
    Accumulator(const std::shared_ptr<RingIndex>& transposed, const JumpArrays& a, const JumpArrays& b)
        : index_(transposed), sums_(*transposed, as_jumps(a), as_jumps(b)) {}

    void add(std::size_t band, const py::array& fa, const py::array& fb) {
        as_columns(fa, *index_, "fa");
        as_columns(fb, *index_, "fb");
        const auto run = [&](auto zero) {
            using Complex = decltype(zero);
            const auto* a = static_cast<const Complex*>(fa.data());
            const auto* b = static_cast<const Complex*>(fb.data());
            py::gil_scoped_release nogil;
            sums_.add(band, a, b);
        };
        const auto both = [&](const py::dtype& dtype) {
            return fa.dtype().equal(dtype) && fb.dtype().equal(dtype);
        };
        if (both(py::dtype::of<std::complex<float>>())) return run(std::complex<float>());
        if (both(py::dtype::of<std::complex<double>>())) return run(std::complex<double>());
        throw py::type_error("fa and fb must both be complex64 or both complex128");
    }

    py::tuple correlation() const { return as_tuple(sums_.correlation()); }

private:
    std::shared_ptr<RingIndex> index_;
    RingAccumulator sums_;
};

void add_to_sums(const py::object& frames, py::array& sums, int threads) {
    const py::array array = as_array(frames, "frames");
    const std::vector<py::ssize_t> shape(sums.shape(), sums.shape() + sums.ndim());
    const auto ndim = static_cast<std::size_t>(sums.ndim());
    if (!sums.dtype().equal(py::dtype::of<double>())) throw py::type_error("sums must be float64");
    check_c_contiguous(sums, "sums");
    const FramesView view = as_frames(array, as_shape(shape), ndim);
    auto* values = static_cast<double*>(sums.mutable_data());
    py::gil_scoped_release nogil;
    add_frames(view, values, threads);
}

}  // namespace

void register_frc(py::module_& m) {
    py::class_<RingIndex, std::shared_ptr<RingIndex>>(m, "RingIndex")
        .def(py::init([](std::size_t height, std::size_t width, const py::object& binning, bool corners) {
                 const Binning rule = as_binning(binning);
                 py::gil_scoped_release nogil;
                 return std::make_shared<RingIndex>(height, width, rule, corners);
             }),
             py::arg("height"), py::arg("width"), py::arg("binning"), py::arg("corners"))
        .def_property_readonly("counts", [](const RingIndex& self) { return as_numpy(self.counts()); })
        .def_property_readonly("table", [](const RingIndex& self) {
            return py::array_t<std::uint16_t>({self.height() / 2 + 1, self.width() / 2 + 1}, self.row(0));
        });
    m.def(
        "check_half_spectrum",
        [](const py::object& spectrum, const py::object& height, const py::object& width,
           const std::string& what) {
            const auto rows = static_cast<py::ssize_t>(as_integer(height, "a size in shape"));
            const auto columns = static_cast<py::ssize_t>(as_integer(width, "a size in shape"));
            as_half_spectrum(spectrum, rows, columns, what.c_str());
        },
        py::arg("spectrum"), py::arg("height"), py::arg("width"), py::arg("what"));
    m.def("ring_correlation", &correlate, py::arg("index"), py::arg("fa"), py::arg("fb"), py::arg("threads"));
    m.def("ring_sums", &sum_rings, py::arg("index"), py::arg("spectrum"), py::arg("threads"));
    m.def("add_frames", &add_to_sums, py::arg("frames"), py::arg("sums"), py::arg("threads"));
    py::class_<Accumulator>(m, "RingAccumulator")
        .def(py::init<const std::shared_ptr<RingIndex>&>(), py::arg("transposed"))
        .def(py::init<const std::shared_ptr<RingIndex>&, const JumpArrays&, const JumpArrays&>(),
             py::arg("transposed"), py::arg("jumps_a"), py::arg("jumps_b"))
        .def_property_readonly_static(
            "band_columns", [](const py::object&) { return std::size_t{RingAccumulator::band_columns}; })
        .def("add", &Accumulator::add, py::arg("band"), py::arg("fa"), py::arg("fb"))
        .def("correlation", &Accumulator::correlation);
    py::class_<TaperedFrame>(m, "Taper")
        .def(py::init<const py::object&, const py::object&, const py::object&, std::string>(),
             py::arg("frame"), py::arg("rows"), py::arg("columns"), py::arg("what"))
        .def_property_readonly("bands", &TaperedFrame::bands)
        .def("sum", &TaperedFrame::sum, py::arg("band"))
        .def("take_mean", &TaperedFrame::take_mean)
        .def("write", &TaperedFrame::write, py::arg("first"), py::arg("out"));
}

}  // namespace camnorm::python
