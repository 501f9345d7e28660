#include "camnorm/response.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "arrays.hpp"
#include "camnorm/error.hpp"
#include "sums.hpp"

namespace camnorm::python {
namespace {

using Response = BoundSums<PixelResponse>;

/// Arrays that show the sums in place, writeable; each keeps the response alive.
py::dict parts(const py::object& self) {
    auto& r = self.cast<Response&>();
    ResponseState& s = r.core.state();
    py::dict state;
    if (s.kind == Kind::integer) {
        show(state, "sum_of_products", s.products, r, self);
    } else {
        show(state, "sum_of_products_high", s.products_high, r, self);
        show(state, "sum_of_products_low", s.products_low, r, self);
    }
    return state;
}

/// Calls visit(name, number) for the count and each sum over exposures.
template <class State, class Visit>
void over_numbers(State& s, const Visit& visit) {
    visit("count", s.count);
    if (s.kind == Kind::integer) {
        visit("exposure_sum", s.exposure_sum);
        visit("exposure_sum_of_squares", s.exposure_sum_of_squares);
    } else {
        visit("exposure_sum_high", s.exposure_sum_high);
        visit("exposure_sum_low", s.exposure_sum_low);
        visit("exposure_sum_of_squares_high", s.exposure_sum_of_squares_high);
        visit("exposure_sum_of_squares_low", s.exposure_sum_of_squares_low);
    }
}

py::dict numbers(const Response& r) {
    py::dict result;
    over_numbers(r.core.state(), [&](const char* name, auto number) { result[name] = number; });
    return result;
}

/// A number of a state.
template <class Number>
Number as_number(const py::dict& given, const char* name) {
    try {
        return given[name].cast<Number>();
    } catch (const py::cast_error&) {
        throw InvalidArgument(std::string(name) + " is no number that a state can have: " +
                              py::repr(given[name]).cast<std::string>());
    }
}

void set_numbers(Response& r, const py::dict& given) {
    const auto count = as_number<std::int64_t>(given, "count");
    if (count < 0 || count > static_cast<std::int64_t>(PixelResponse::max_count))
        throw InvalidArgument("a count of " + std::to_string(count) + " frames is not between 0 and " +
                              std::to_string(PixelResponse::max_count));
    over_numbers(r.core.state(), [&](const char* name, auto& number) {
        number = as_number<std::decay_t<decltype(number)>>(given, name);
    });
}

}  // namespace

void register_response(py::module_& m) {
    py::class_<Response>(m, "PixelResponse")
        .def(py::init([](const py::tuple& shape, const py::object& dtype) {
                 const FrameShape frame = as_shape(as_sizes(shape));
                 const DType d = as_dtype(py::dtype::from_args(dtype), "frames");
                 const std::size_t ndim = shape.size();
                 py::gil_scoped_release nogil;
                 return Response{PixelResponse(frame, kind_of(d)), d, ndim};
             }),
             py::arg("shape"), py::arg("dtype"))
        .def("parts", &parts)
        .def("numbers", &numbers)
        .def("set_numbers", &set_numbers, py::arg("numbers"))
        .def(
            "add",
            [](Response& self, const py::object& frames, const py::object& exposures, int threads) {
                const FramesView view = as_frames(as_array(frames, "frames"), self.core.shape(), self.ndim);
                const std::vector<double> of_frames = as_exposures(exposures, view.count);
                py::gil_scoped_release nogil;
                self.core.add(view, of_frames.data(), threads);
            },
            py::arg("frames"), py::arg("exposures"), py::arg("threads"))
        .def(
            "subtract",
            [](Response& self, const py::object& frames, const py::object& exposures, int threads) {
                const FramesView view = as_frames(as_array(frames, "frames"), self.core.shape(), self.ndim);
                const std::vector<double> of_frames = as_exposures(exposures, view.count);
                py::gil_scoped_release nogil;
                self.core.subtract(view, of_frames.data(), threads);
            },
            py::arg("frames"), py::arg("exposures"), py::arg("threads"))
        .def(
            "merge",
            [](Response& self, const Response& other, int threads) { self.core.merge(other.core, threads); },
            py::arg("other"), py::arg("threads"), py::call_guard<py::gil_scoped_release>())
        .def(
            "unmerge",
            [](Response& self, const Response& other, int threads) {
                self.core.unmerge(other.core, threads);
            },
            py::arg("other"), py::arg("threads"), py::call_guard<py::gil_scoped_release>())
        .def(
            "copy", [](const Response& self) { return self; }, py::call_guard<py::gil_scoped_release>())
        .def("exposures",
             [](const Response& self) {
                 const Exposures exposures = self.core.exposures();
                 return py::make_tuple(exposures.mean, exposures.variance);
             })
        .def(
            "gain",
            [](const Response& self, const Moments& moments, int threads) {
                return image(self, [&](double* out) { self.core.gain(moments.core, out, threads); });
            },
            py::arg("moments"), py::arg("threads"))
        .def_property_readonly("count", [](const Response& self) { return self.core.count(); })
        .def_property_readonly("shape",
                               [](const Response& self) { return py::tuple(py::cast(self.shape())); })
        .def_property_readonly("dtype", [](const Response& self) { return numpy_dtype(self.dtype); });
}

}  // namespace camnorm::python
