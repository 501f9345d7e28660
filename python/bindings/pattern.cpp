#include "camnorm/pattern.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "arrays.hpp"

namespace camnorm::python {
namespace {

/// The pixels of a C-contiguous float32 image.
const float* image_data(const py::array& array, const std::vector<py::ssize_t>& shape, const char* what) {
    if (!array.dtype().equal(py::dtype::of<float>()))
        throw py::type_error(std::string(what) + " must be float32");
    if (sizes_of(array) != shape || shape.size() != 2)
        throw py::value_error(std::string(what) + " has shape " + shape_text(array));
    check_c_contiguous(array, what);
    return static_cast<const float*>(array.data());
}

/// A row for each band: scale along y and x, size, noise, power, weight, residual.
py::array band_rows(const std::vector<PatternBand>& bands) {
    py::array_t<double> rows({static_cast<py::ssize_t>(bands.size()), py::ssize_t{7}});
    double* value = rows.mutable_data();
    for (const PatternBand& band : bands) {
        *value++ = static_cast<double>(band.rows);
        *value++ = static_cast<double>(band.columns);
        *value++ = static_cast<double>(band.size);
        *value++ = band.noise;
        *value++ = band.power;
        *value++ = band.weight;
        *value++ = band.residual;
    }
    return rows;
}

py::tuple estimate(const py::object& a, const py::object& b, double frames_a, double frames_b, double counts,
                   double used, bool only_a, bool only_bands, int threads) {
    const py::array first = as_array(a, "a"), second = as_array(b, "b");
    const std::vector<py::ssize_t> shape = sizes_of(first);
    const float* const of_a = image_data(first, shape, "a");
    const float* const of_b = image_data(second, shape, "b");
    py::object pattern = py::none();
    float* out = nullptr;
    if (!only_bands) {
        py::array_t<float> image(shape);
        out = image.mutable_data();
        pattern = image;
    }
    const auto height = static_cast<std::size_t>(shape[0]), width = static_cast<std::size_t>(shape[1]);
    std::vector<PatternBand> bands;
    {
        py::gil_scoped_release nogil;
        bands = estimate_pattern(height, width, of_a, of_b, out, {frames_a, frames_b, counts, used, only_a},
                                 threads);
    }
    return py::make_tuple(pattern, band_rows(bands));
}

py::array means(const py::object& values, const py::object& used, std::size_t radius, int threads) {
    const py::array array = as_array(values, "values");
    const std::vector<py::ssize_t> shape = sizes_of(array);
    const float* const pixels = image_data(array, shape, "values");
    const std::vector<std::uint8_t> mask = as_mask(used, shape, "used");
    py::array_t<float> result(shape);
    float* const out = result.mutable_data();
    py::gil_scoped_release nogil;
    local_means(static_cast<std::size_t>(shape[0]), static_cast<std::size_t>(shape[1]), pixels, mask.data(),
                radius, out, threads);
    return result;
}

}  // namespace

void register_pattern(py::module_& m) {
    m.def("estimate_pattern", &estimate, py::arg("a"), py::arg("b"), py::arg("frames_a"), py::arg("frames_b"),
          py::arg("counts"), py::arg("used"), py::arg("only_a"), py::arg("only_bands"), py::arg("threads"));
    m.def("local_means", &means, py::arg("values"), py::arg("used"), py::arg("radius"), py::arg("threads"));
}

}  // namespace camnorm::python
