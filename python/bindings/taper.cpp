#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <string>
#include <utility>

#include "arrays.hpp"
#include "camnorm/error.hpp"
#include "camnorm/frc.hpp"

namespace camnorm::python {
namespace {

const double* window_data(const py::object& window) {
    return window.is_none() ? nullptr : py::reinterpret_borrow<py::array_t<double>>(window).data();
}

Taper make_taper(const py::array& array, const py::object& row_window, const py::object& column_window,
                 const std::string& what) {
    const FramesView frame = as_grey_frame(array, what);
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
        check_rows(out, array_, first);
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

}  // namespace

void register_taper(py::module_& m) {
    py::class_<TaperedFrame>(m, "Taper")
        .def(py::init<const py::object&, const py::object&, const py::object&, std::string>(),
             py::arg("frame"), py::arg("rows"), py::arg("columns"), py::arg("what"))
        .def_property_readonly("bands", &TaperedFrame::bands)
        .def("sum", &TaperedFrame::sum, py::arg("band"))
        .def("take_mean", &TaperedFrame::take_mean)
        .def("write", &TaperedFrame::write, py::arg("first"), py::arg("out"));
}

}  // namespace camnorm::python
