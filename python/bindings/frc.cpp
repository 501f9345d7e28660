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

/// Transforms of the jumps over rows and over columns.
using JumpArrays = std::pair<py::array_t<std::complex<double>>, py::array_t<std::complex<double>>>;

Jumps as_jumps(const JumpArrays& arrays) {
    return {as_jump_values(arrays.first), as_jump_values(arrays.second)};
}

/// The core's accumulator, which needs the index to live as long as itself.
class Accumulator {
public:
    explicit Accumulator(const std::shared_ptr<RingIndex>& transposed)
        : index_(transposed), sums_(*transposed) {}
    Accumulator(const std::shared_ptr<RingIndex>& transposed, const JumpArrays& a, const JumpArrays& b)
        : index_(transposed), sums_(*transposed, as_jumps(a), as_jumps(b)) {}

    void add(std::size_t band, const py::array& fa, const py::array& fb) {
        // Columns that a transform has just made, of which the last band uses fewer.
        check_columns(fa, RingAccumulator::band_columns, index_->width(), "fa");
        check_columns(fb, RingAccumulator::band_columns, index_->width(), "fb");
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

    py::tuple powers() const {
        const RingPowers result = sums_.powers();
        return py::make_tuple(as_numpy(result.cross), as_numpy(result.power_a), as_numpy(result.power_b));
    }

private:
    std::shared_ptr<RingIndex> index_;
    RingAccumulator sums_;
};

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
    py::class_<Accumulator>(m, "RingAccumulator")
        .def(py::init<const std::shared_ptr<RingIndex>&>(), py::arg("transposed"))
        .def(py::init<const std::shared_ptr<RingIndex>&, const JumpArrays&, const JumpArrays&>(),
             py::arg("transposed"), py::arg("jumps_a"), py::arg("jumps_b"))
        .def_property_readonly_static(
            "band_columns", [](const py::object&) { return std::size_t{RingAccumulator::band_columns}; })
        .def("add", &Accumulator::add, py::arg("band"), py::arg("fa"), py::arg("fb"))
        .def("correlation", &Accumulator::correlation)
        .def("powers", &Accumulator::powers);
}

}  // namespace camnorm::python
