#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <vector>

#include "arrays.hpp"
#include "camnorm/moments.hpp"

namespace camnorm::python {

/// Sums of the core with what only numpy knows of them: the dtype they were made for, and whether colour
/// planes are an axis of their own.
template <class Core>
struct BoundSums {
    Core core;
    DType dtype;
    std::size_t ndim;

    std::vector<py::ssize_t> shape() const { return numpy_shape(core.shape(), ndim); }
};

using Moments = BoundSums<PixelMoments>;

/// Puts an array into `state` that shows some sums in place, writeable; it keeps `self`, their owner, alive.
template <class Core, class Value>
void show(py::dict& state, const char* key, SumArray<Value>& values, const BoundSums<Core>& of,
          const py::object& self) {
    state[key] = py::array_t<Value>(of.shape(), values.data(), self);
}

/// An image of the sums, computed without the GIL.
template <class Core, class Compute>
py::array_t<double> image(const BoundSums<Core>& of, const Compute& compute) {
    py::array_t<double> out(of.shape());
    double* data = out.mutable_data();
    py::gil_scoped_release nogil;
    compute(data);
    return out;
}

}  // namespace camnorm::python
