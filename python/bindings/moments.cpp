#include "camnorm/moments.hpp"

#include <pybind11/gil_safe_call_once.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "camnorm/error.hpp"
#include "camnorm/state.hpp"
#include "located.hpp"
#include "sums.hpp"

namespace camnorm::python {
namespace {

py::array_t<FrameStatistics> rows(const std::vector<FrameStatistics>& statistics) {
    // Not when the module is imported, which would import numpy: `camnorm --version` needs none.
    PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<bool> registered;
    registered.call_once_and_store_result([] {
        PYBIND11_NUMPY_DTYPE(FrameStatistics, mean, std, min, max);
        return true;
    });
    return py::array_t<FrameStatistics>(static_cast<py::ssize_t>(statistics.size()), statistics.data());
}

const PixelMoments* core_of(const Moments* m) { return m == nullptr ? nullptr : &m->core; }

/// Arrays that show the sums in place, writeable: how a state is read and written without a copy of
/// it. Each keeps the moments alive.
py::dict parts(const py::object& self) {
    auto& m = self.cast<Moments&>();
    MomentsState& s = m.core.state();
    py::dict state;
    if (s.kind == Kind::integer) {
        show(state, "sum", s.sum, m, self);
        show(state, "sum_of_squares", s.sum_of_squares, m, self);
    } else {
        show(state, "sum_high", s.sum_high, m, self);
        show(state, "sum_low", s.sum_low, m, self);
        show(state, "sum_of_squares_high", s.sum_of_squares_high, m, self);
        show(state, "sum_of_squares_low", s.sum_of_squares_low, m, self);
    }
    return state;
}

void set_count(Moments& m, const py::object& given) {
    const std::int64_t count = as_integer(given, "count");
    if (count < 0 || count > static_cast<std::int64_t>(PixelMoments::max_count))
        throw InvalidArgument("a count of " + std::to_string(count) + " frames is not between 0 and " +
                              std::to_string(PixelMoments::max_count));
    m.core.state().count = static_cast<std::uint64_t>(count);
}

std::uint64_t as_ddof(const py::object& object) {
    const std::int64_t ddof = as_integer(object, "ddof");
    if (ddof < 0) throw InvalidArgument("ddof must not be negative, got " + std::to_string(ddof));
    return static_cast<std::uint64_t>(ddof);
}

py::bytes to_bytes(const Moments& m) {
    auto bytes = py::reinterpret_steal<py::bytes>(
        PyBytes_FromStringAndSize(nullptr, static_cast<py::ssize_t>(state_size(m.core))));
    if (!bytes) throw py::error_already_set();
    char* data = PyBytes_AS_STRING(bytes.ptr());
    py::gil_scoped_release nogil;
    save_state(m.core, m.dtype, data, m.ndim == 3);
    return bytes;
}

/// Bounds as Python gives them: least and greatest sum, smallest and largest pixel, largest magnitude.
using Bounds = std::tuple<double, double, double, double, double>;

py::tuple check(const Moments& m, const std::optional<Bounds>& given, int threads) {
    CheckedSums checked{};
    {
        py::gil_scoped_release nogil;
        SumBounds bounds{};
        if (given) {
            const auto& [least, greatest, smallest, largest, rounding] = *given;
            bounds = {least, greatest, smallest, largest, rounding};
        }
        checked = m.core.check(given ? &bounds : nullptr, threads);
    }
    return py::make_tuple(checked.impossible, checked.sum, checked.sum_of_squares);
}

/// Bytes of any object that shows its memory as one stretch.
class BytesView {
public:
    explicit BytesView(const py::object& object) {
        if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw py::error_already_set();
    }
    ~BytesView() { PyBuffer_Release(&view_); }
    BytesView(const BytesView&) = delete;
    BytesView& operator=(const BytesView&) = delete;

    const void* data() const { return view_.buf; }
    std::size_t size() const { return static_cast<std::size_t>(view_.len); }

private:
    Py_buffer view_;
};

Moments from_bytes(const py::object& object) {
    const BytesView bytes(object);
    py::gil_scoped_release nogil;
    SavedMoments saved = load_state(bytes.data(), bytes.size());
    return {std::move(saved.moments), saved.dtype, saved.plane_axis ? std::size_t{3} : std::size_t{2}};
}

/// The statistics of frames that `work` gives without the GIL.
template <class Work>
py::array_t<FrameStatistics> told_by(const Work& work) {
    std::vector<FrameStatistics> told;
    {
        py::gil_scoped_release nogil;
        told = work();
    }
    return rows(told);
}

/// Adds or takes back frames that lie in files, and returns their statistics.
template <class Frames>
void register_located(py::class_<Moments>& c) {
    c.def(
         "add_located",
         [](Moments& self, const Frames& frames, int threads) {
             return told_by([&] { return self.core.add(frames.view(), threads); });
         },
         py::arg("frames"), py::arg("threads"))
        .def(
            "subtract_located",
            [](Moments& self, const Frames& frames, int threads) {
                return told_by([&] { return self.core.subtract(frames.view(), threads); });
            },
            py::arg("frames"), py::arg("threads"));
}

/// Frames and other moments that are added or taken away.
void register_sums(py::class_<Moments>& c) {
    c.def(
         "add",
         [](Moments& self, const py::object& frames, int threads, bool statistics) -> py::object {
             const FramesView view = as_frames(as_array(frames, "frames"), self.core.shape(), self.ndim);
             std::vector<FrameStatistics> told;
             {
                 py::gil_scoped_release nogil;
                 told = self.core.add(view, threads, statistics);
             }
             if (!statistics) return py::none();
             return rows(told);
         },
         py::arg("frames"), py::arg("threads"), py::arg("statistics"))
        .def(
            "add_stacks",
            [](Moments& self, const std::vector<py::array>& stacks, int threads) {
                std::vector<const std::byte*> places;
                const FramesView view = as_stacks(stacks, self.core.shape(), self.ndim, places);
                std::vector<FrameStatistics> told;
                {
                    py::gil_scoped_release nogil;
                    told = self.core.add(view, threads);
                }
                return rows(told);
            },
            py::arg("stacks"), py::arg("threads"))
        .def(
            "subtract",
            [](Moments& self, const py::object& frames, int threads) {
                const FramesView view = as_frames(as_array(frames, "frames"), self.core.shape(), self.ndim);
                py::gil_scoped_release nogil;
                self.core.subtract(view, threads);
            },
            py::arg("frames"), py::arg("threads"))
        .def(
            "merge",
            [](Moments& self, const Moments& other, int threads) { self.core.merge(other.core, threads); },
            py::arg("other"), py::arg("threads"), py::call_guard<py::gil_scoped_release>())
        .def(
            "unmerge",
            [](Moments& self, const Moments& other, int threads) { self.core.unmerge(other.core, threads); },
            py::arg("other"), py::arg("threads"), py::call_guard<py::gil_scoped_release>());
}

/// What the sums give: images, and the targets.
void register_images(py::class_<Moments>& c) {
    c.def(
         "mean",
         [](const Moments& self, int threads, const Moments* with) {
             return image(self, [&](double* out) { self.core.mean(out, threads, core_of(with)); });
         },
         py::arg("threads"), py::arg("with_") = py::none())
        .def(
            "var",
            [](const Moments& self, const py::object& given, int threads) {
                const std::uint64_t ddof = as_ddof(given);
                return image(self, [&](double* out) { self.core.variance(out, ddof, threads); });
            },
            py::arg("ddof"), py::arg("threads"))
        .def(
            "std",
            [](const Moments& self, const py::object& given, int threads, const Moments* with) {
                const std::uint64_t ddof = as_ddof(given);
                return image(self, [&](double* out) {
                    self.core.standard_deviation(out, ddof, threads, core_of(with));
                });
            },
            py::arg("ddof"), py::arg("threads"), py::arg("with_") = py::none())
        .def(
            "targets",
            [](const Moments& self, int threads, const Moments* with) {
                Targets targets;
                {
                    py::gil_scoped_release nogil;
                    targets = self.core.targets(threads, core_of(with));
                }
                return py::make_tuple(targets.mean, targets.sigma);
            },
            py::arg("threads"), py::arg("with_") = py::none())
        .def(
            "sum",
            [](const Moments& self, int threads) {
                return image(self, [&](double* out) { self.core.sum(out, threads); });
            },
            py::arg("threads"))
        .def(
            "sum_of_squares",
            [](const Moments& self, int threads) {
                return image(self, [&](double* out) { self.core.sum_of_squares(out, threads); });
            },
            py::arg("threads"));
}

/// The state itself: its parts, copies, bytes and count.
void register_state(py::class_<Moments>& c) {
    c.def("parts", &parts)
        .def(
            "copy", [](const Moments& self) { return self; }, py::call_guard<py::gil_scoped_release>())
        .def("check", &check, py::arg("bounds"), py::arg("threads"))
        .def("to_bytes", &to_bytes)
        .def_static("from_bytes", &from_bytes, py::arg("data"))
        .def_property(
            "count", [](const Moments& self) { return self.core.count(); }, &set_count)
        .def_property_readonly("traces", [](const Moments& self) { return self.core.traces(); })
        .def_property_readonly("shape", [](const Moments& self) { return py::tuple(py::cast(self.shape())); })
        .def_property_readonly("dtype", [](const Moments& self) { return numpy_dtype(self.dtype); });
}

}  // namespace

void register_moments(py::module_& m) {
    py::class_<Moments> c(m, "PixelMoments");
    c.def(py::init([](const py::tuple& shape, const py::object& dtype) {
              const FrameShape frame = as_shape(as_sizes(shape));
              const DType d = as_dtype(py::dtype::from_args(dtype), "frames");
              const std::size_t ndim = shape.size();
              py::gil_scoped_release nogil;
              return Moments{PixelMoments(frame, kind_of(d)), d, ndim};
          }),
          py::arg("shape"), py::arg("dtype"));
    register_sums(c);
    register_located<Stored>(c);
    register_located<Encoded>(c);
    register_images(c);
    register_state(c);

    m.def(
        "frame_statistics",
        [](const py::object& frames, std::size_t ndim, int threads) {
            const FramesView view = as_any_frames(as_array(frames, "frames"), ndim);
            std::vector<FrameStatistics> statistics;
            {
                py::gil_scoped_release nogil;
                statistics = frame_statistics(view, threads);
            }
            return rows(statistics);
        },
        py::arg("frames"), py::arg("ndim"), py::arg("threads"));
}

}  // namespace camnorm::python
