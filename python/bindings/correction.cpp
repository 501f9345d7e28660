#include "camnorm/correction.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "camnorm/error.hpp"
#include "sums.hpp"

namespace camnorm::python {
namespace {

/// The correction with what only numpy knows of it: whether colour planes are an axis of their own.
struct Bound {
    Correction core;
    std::size_t ndim;

    std::vector<py::ssize_t> shape() const { return numpy_shape(core.shape(), ndim); }
};

BadPolicy as_policy(const py::object& object) {
    const auto name = py::str(object).cast<std::string>();
    if (name == "neutral") return BadPolicy::neutral;
    if (name == "interpolate") return BadPolicy::interpolate;
    if (name == "nan") return BadPolicy::nan;
    throw InvalidArgument("bad_policy must be 'neutral', 'interpolate' or 'nan', not '" + name + "'");
}

const char* policy_name(BadPolicy policy) {
    switch (policy) {
        case BadPolicy::neutral: return "neutral";
        case BadPolicy::interpolate: return "interpolate";
        case BadPolicy::nan: break;
    }
    return "nan";
}

/// Takes over a target: a number for all planes, a sequence of one for each, or None.
void take_target(const py::object& object, const char* what, std::optional<double>& of_all,
                 std::vector<double>& of_planes) {
    if (object.is_none()) return;
    if (!py::isinstance<py::sequence>(object) &&
        !(py::isinstance<py::array>(object) && py::len(object) > 0)) {
        of_all = as_number(object, what);
        return;
    }
    for (const py::handle value : object)
        of_planes.push_back(as_number(py::reinterpret_borrow<py::object>(value), what));
    if (of_planes.empty()) throw InvalidArgument(std::string(what) + " must not be empty");
}

/// One number for grey frames, a tuple of one for each plane for colour frames.
py::object targets_of(const Bound& self, const std::vector<double>& targets) {
    if (self.ndim == 2) return py::float_(targets.front());
    return py::tuple(py::cast(targets));
}

CorrectionOptions as_options(const py::object& target_mean, const py::object& target_sigma,
                             const py::object& bad_policy) {
    CorrectionOptions options;
    options.bad_policy = as_policy(bad_policy);
    take_target(target_mean, "target_mean", options.target_mean, options.target_means);
    take_target(target_sigma, "target_sigma", options.target_sigma, options.target_sigmas);
    return options;
}

Bound make(const py::object& mean, const py::object& sigma, const py::object& target_mean,
           const py::object& target_sigma, const py::object& bad, const py::object& bad_policy) {
    const py::array given = as_array(mean, "mean");
    const FrameShape shape = as_shape(sizes_of(given));
    const auto ndim = static_cast<std::size_t>(given.ndim());
    const std::vector<py::ssize_t> array_shape = numpy_shape(shape, ndim);
    std::vector<double> mean_pixels = as_pixels(mean, array_shape, "mean");
    std::vector<double> sigma_pixels = as_pixels(sigma, array_shape, "sigma");
    CorrectionOptions options = as_options(target_mean, target_sigma, bad_policy);
    if (!bad.is_none()) options.bad = as_mask(bad, array_shape, "bad");
    py::gil_scoped_release nogil;
    return {Correction(shape, std::move(mean_pixels), std::move(sigma_pixels), std::move(options)), ndim};
}

/// The correction by moments, whose images are in memory once; None if no pixel ever changes.
py::object of_moments(const Moments& moments, const Moments* with, const py::object& target_mean,
                      const py::object& target_sigma, const py::object& bad_policy, int threads) {
    CorrectionOptions options = as_options(target_mean, target_sigma, bad_policy);
    const PixelMoments* const others = with == nullptr ? nullptr : &with->core;
    std::unique_ptr<Bound> result;
    {
        py::gil_scoped_release nogil;
        const FrameShape shape = moments.core.shape();
        std::vector<double> sigma(shape.pixels());
        moments.core.standard_deviation(sigma.data(), 0, threads, others);
        if (std::any_of(sigma.begin(), sigma.end(), [](double value) { return value != 0.0; })) {
            std::vector<double> mean(shape.pixels());
            moments.core.mean(mean.data(), threads, others);
            result = std::make_unique<Bound>(Bound{
                Correction(shape, std::move(mean), std::move(sigma), std::move(options)), moments.ndim});
        }
    }
    return result ? py::cast(std::move(result)) : py::none();
}

/// Calls method(from, to) with frames of the given shape and the array that they are written to.
template <class Method>
py::array run(const Bound& self, FrameShape shape, const py::object& frames, const py::object& out,
              const py::object& dtype, const Method& method) {
    const py::array array = as_array(frames, "frames");
    const FramesView from = as_frames(array, shape, self.ndim);
    py::array result = as_output(array, out, dtype);
    const MutableFramesView to = as_mutable_frames(result, shape, self.ndim);
    py::gil_scoped_release nogil;
    method(from, to);
    return result;
}

py::array apply(const Bound& self, const py::object& frames, const py::object& out, const py::object& dtype,
                int threads, const py::object& first_row) {
    FrameShape shape = self.core.shape();
    if (first_row.is_none()) {
        return run(self, shape, frames, out, dtype, [&](const FramesView& from, const MutableFramesView& to) {
            self.core.apply(from, to, threads);
        });
    }
    const std::int64_t row = as_integer(first_row, "first_row");
    if (row < 0) throw py::value_error("first_row must not be negative, got " + std::to_string(row));
    const py::array array = as_array(frames, "frames");
    const auto ndim = static_cast<std::size_t>(array.ndim());
    // The only extent that may be another; that there are such rows is checked by the core.
    if (ndim == self.ndim || ndim == self.ndim + 1)
        shape.height =
            static_cast<std::size_t>(array.shape(array.ndim() - static_cast<py::ssize_t>(self.ndim)));
    return run(self, shape, frames, out, dtype, [&](const FramesView& from, const MutableFramesView& to) {
        self.core.apply_rows(from, to, static_cast<std::size_t>(row), threads);
    });
}

py::array inverse(const Bound& self, const py::object& frames, const py::object& out, const py::object& dtype,
                  int threads) {
    return run(
        self, self.core.shape(), frames, out, dtype,
        [&](const FramesView& from, const MutableFramesView& to) { self.core.inverse(from, to, threads); });
}

/// A read-only view of an image that `owner`, a Bound, holds.
template <class T>
py::array image(const py::object& owner, const py::dtype& dtype, const std::vector<T>& pixels) {
    const py::array view(dtype, owner.cast<const Bound&>().shape(), pixels.data(), owner);
    view.attr("flags").attr("writeable") = false;
    return view;
}

}  // namespace

void register_correction(py::module_& m) {
    py::class_<Bound>(m, "Correction")
        .def(py::init(&make), py::arg("mean"), py::arg("sigma"), py::arg("target_mean"),
             py::arg("target_sigma"), py::arg("bad"), py::arg("bad_policy"))
        .def_static("of_moments", &of_moments, py::arg("moments"), py::arg("with_"), py::arg("target_mean"),
                    py::arg("target_sigma"), py::arg("bad_policy"), py::arg("threads"))
        .def("apply", &apply, py::arg("frames"), py::arg("out"), py::arg("dtype"), py::arg("threads"),
             py::arg("first_row"))
        .def("inverse", &inverse, py::arg("frames"), py::arg("out"), py::arg("dtype"), py::arg("threads"))
        .def_property_readonly("shape", [](const Bound& self) { return py::tuple(py::cast(self.shape())); })
        .def_property_readonly("target_mean",
                               [](const Bound& self) { return targets_of(self, self.core.target_means()); })
        .def_property_readonly("target_sigma",
                               [](const Bound& self) { return targets_of(self, self.core.target_sigmas()); })
        .def_property_readonly("bad_policy",
                               [](const Bound& self) { return policy_name(self.core.bad_policy()); })
        .def_property_readonly("clipped", [](const Bound& self) { return self.core.clipped(); })
        .def_property_readonly("mean",
                               [](const py::object& self) {
                                   return image(self, py::dtype::of<double>(),
                                                self.cast<const Bound&>().core.mean());
                               })
        .def_property_readonly("sigma",
                               [](const py::object& self) {
                                   return image(self, py::dtype::of<double>(),
                                                self.cast<const Bound&>().core.sigma());
                               })
        .def_property_readonly("bad", [](const py::object& self) {
            return image(self, py::dtype::of<bool>(), self.cast<const Bound&>().core.bad());
        });
}

}  // namespace camnorm::python
