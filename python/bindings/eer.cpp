#include "camnorm/eer.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string_view>
#include <vector>

#include "arrays.hpp"

namespace camnorm::python {

void register_eer(py::module_& m) {
    m.def(
        "add_electrons",
        [](const std::vector<py::bytes>& data, int skip_bits, int x_bits, int y_bits, int sampling,
           py::array& counts) {
            const MutableFramesView view = as_mutable_frames(counts, as_shape(sizes_of(counts)), 2);
            std::vector<EerFrame> frames;
            for (const std::string_view bytes : data)
                frames.push_back({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()});
            py::gil_scoped_release nogil;
            add_electrons(frames, {skip_bits, x_bits, y_bits}, sampling, view);
        },
        py::arg("data"), py::arg("skip_bits"), py::arg("x_bits"), py::arg("y_bits"), py::arg("sampling"),
        py::arg("counts").noconvert());
}

}  // namespace camnorm::python
