#include "camnorm/neighbours.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "camnorm/error.hpp"
#include "sums.hpp"

namespace camnorm::python {
namespace {

using Neighbours = BoundSums<NeighbourSums>;

constexpr const char* difference_names[difference_count] = {"left_right", "up_down", "four",
                                                            "eight",      "right",   "down"};

/// Arrays that show the sums in place, writeable; each keeps the neighbour sums alive.
py::dict parts(const py::object& self) {
    auto& n = self.cast<Neighbours&>();
    NeighbourState& s = n.core.state();
    MomentsState& m = s.moments.state();
    py::dict state;
    const bool integer = m.kind == Kind::integer;
    if (integer) {
        show(state, "sum", m.sum, n, self);
        show(state, "sum_of_squares", m.sum_of_squares, n, self);
    } else {
        show(state, "sum_high", m.sum_high, n, self);
        show(state, "sum_low", m.sum_low, n, self);
        show(state, "sum_of_squares_high", m.sum_of_squares_high, n, self);
        show(state, "sum_of_squares_low", m.sum_of_squares_low, n, self);
    }
    for (std::size_t k = 0; k < difference_count; ++k) {
        const std::string name = std::string(difference_names[k]) + "_squares";
        if (integer) {
            show(state, name.c_str(), s.squares[k], n, self);
        } else {
            show(state, (name + "_high").c_str(), s.squares_high[k], n, self);
            show(state, (name + "_low").c_str(), s.squares_low[k], n, self);
        }
    }
    return state;
}

Stencil as_stencil(const std::string& name) {
    constexpr const char* names[] = {"left-right", "up-down", "four", "eight", "left", "right", "up", "down"};
    std::string known;
    for (std::size_t i = 0; i < std::size(names); ++i) {
        if (name == names[i]) return static_cast<Stencil>(i);
        known += (known.empty() ? "" : ", ") + std::string(names[i]);
    }
    throw InvalidArgument("stencil must be one of " + known + ", not '" + name + "'");
}

void set_count(Neighbours& n, const py::object& given) {
    const std::int64_t count = as_integer(given, "count");
    if (count < 0 || count > static_cast<std::int64_t>(NeighbourSums::max_count))
        throw InvalidArgument("a count of " + std::to_string(count) + " frames is not between 0 and " +
                              std::to_string(NeighbourSums::max_count));
    n.core.state().moments.state().count = static_cast<std::uint64_t>(count);
}

}  // namespace

void register_neighbours(py::module_& m) {
    py::class_<Neighbours>(m, "NeighbourSums")
        .def(py::init([](const py::tuple& shape, const py::object& dtype) {
                 const FrameShape frame = as_shape(as_sizes(shape));
                 const DType d = as_dtype(py::dtype::from_args(dtype), "frames");
                 const std::size_t ndim = shape.size();
                 py::gil_scoped_release nogil;
                 return Neighbours{NeighbourSums(frame, kind_of(d)), d, ndim};
             }),
             py::arg("shape"), py::arg("dtype"))
        .def("parts", &parts)
        .def(
            "add",
            [](Neighbours& self, const py::object& frames, int threads) {
                const FramesView view = as_frames(as_array(frames, "frames"), self.core.shape(), self.ndim);
                py::gil_scoped_release nogil;
                self.core.add(view, threads);
            },
            py::arg("frames"), py::arg("threads"))
        .def(
            "add_stacks",
            [](Neighbours& self, const std::vector<py::array>& stacks, int threads) {
                std::vector<const std::byte*> places;
                const FramesView view = as_stacks(stacks, self.core.shape(), self.ndim, places);
                py::gil_scoped_release nogil;
                self.core.add(view, threads);
            },
            py::arg("stacks"), py::arg("threads"))
        .def(
            "subtract",
            [](Neighbours& self, const py::object& frames, int threads) {
                const FramesView view = as_frames(as_array(frames, "frames"), self.core.shape(), self.ndim);
                py::gil_scoped_release nogil;
                self.core.subtract(view, threads);
            },
            py::arg("frames"), py::arg("threads"))
        .def(
            "merge",
            [](Neighbours& self, const Neighbours& other, int threads) {
                self.core.merge(other.core, threads);
            },
            py::arg("other"), py::arg("threads"), py::call_guard<py::gil_scoped_release>())
        .def(
            "unmerge",
            [](Neighbours& self, const Neighbours& other, int threads) {
                self.core.unmerge(other.core, threads);
            },
            py::arg("other"), py::arg("threads"), py::call_guard<py::gil_scoped_release>())
        .def(
            "copy", [](const Neighbours& self) { return self; }, py::call_guard<py::gil_scoped_release>())
        .def(
            "ratio",
            [](const Neighbours& self, const std::string& stencil, int threads) {
                const Stencil s = as_stencil(stencil);
                return image(self, [&](double* out) { self.core.ratio(s, out, threads); });
            },
            py::arg("stencil"), py::arg("threads"))
        .def(
            "check", [](const Neighbours& self, int threads) { return self.core.check(threads); },
            py::arg("threads"), py::call_guard<py::gil_scoped_release>())
        .def_property(
            "count", [](const Neighbours& self) { return self.core.count(); }, &set_count)
        .def_property_readonly("shape",
                               [](const Neighbours& self) { return py::tuple(py::cast(self.shape())); })
        .def_property_readonly("dtype", [](const Neighbours& self) { return numpy_dtype(self.dtype); });
}

}  // namespace camnorm::python
