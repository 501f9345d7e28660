#include "camnorm/median.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <string>

#include "arrays.hpp"

namespace camnorm::python {

void register_median(py::module_& m) {
    m.def(
        "local_median",
        [](const py::object& image, int threads) {
            const py::array array = as_array(image, "image");
            if (!array.dtype().equal(py::dtype::of<float>()))
                throw py::type_error("image must be float32, not " +
                                     py::str(array.dtype()).cast<std::string>());
            if (array.ndim() != 2 || array.size() == 0)
                throw py::value_error("image must have the shape (y, x), not " + shape_text(array));
            check_c_contiguous(array, "image");
            py::array_t<float> out({array.shape(0), array.shape(1)});
            const auto* const pixels = static_cast<const float*>(array.data());
            float* const medians = out.mutable_data();
            const auto height = static_cast<std::size_t>(array.shape(0));
            const auto width = static_cast<std::size_t>(array.shape(1));
            {
                py::gil_scoped_release nogil;
                local_median(pixels, height, width, medians, threads);
            }
            return out;
        },
        py::arg("image"), py::arg("threads") = 0);
}

}  // namespace camnorm::python
