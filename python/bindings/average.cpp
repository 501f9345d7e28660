#include "camnorm/average.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>

#include "arrays.hpp"

namespace camnorm::python {

void register_average(py::module_& m) {
    m.def(
        "add_frames",
        [](const py::object& frames, py::array& sums, int threads) {
            const py::array array = as_array(frames, "frames");
            double* const values = as_frame_sums(sums);
            const FramesView view =
                as_frames(array, as_shape(sizes_of(sums)), static_cast<std::size_t>(sums.ndim()));
            py::gil_scoped_release nogil;
            add_frames(view, values, threads);
        },
        py::arg("frames"), py::arg("sums"), py::arg("threads"));
}

}  // namespace camnorm::python
