#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>

#include "arrays.hpp"
#include "camnorm/error.hpp"
#include "camnorm/runtime.hpp"
#include "camnorm/version.hpp"

namespace py = pybind11;

namespace camnorm::python {

void register_average(py::module_& m);
void register_pattern(py::module_& m);
void register_correction(py::module_& m);
void register_eer(py::module_& m);
void register_frc(py::module_& m);
void register_median(py::module_& m);
void register_moments(py::module_& m);
void register_neighbours(py::module_& m);
void register_response(py::module_& m);
void register_located(py::module_& m);
void register_taper(py::module_& m);

namespace {

void set_frame_error(const char* name, const char* what, std::size_t frame) {
    const py::object type = py::module_::import("camnorm.errors").attr(name);
    const py::object error = type(what, frame);
    PyErr_SetObject(type.ptr(), error.ptr());
}

constexpr const char* too_large = "the sums or images do not fit";

void register_errors() {
    // InvalidArgument is a std::invalid_argument, which pybind11 makes a ValueError.
    py::register_exception_translator([](std::exception_ptr p) {
        try {
            if (p) std::rethrow_exception(p);
        } catch (const WrongKind& e) {
            PyErr_SetString(PyExc_TypeError, e.what());
        } catch (const NonFinite& e) {
            set_frame_error("NonFiniteError", e.what(), e.frame());
        } catch (const Unreadable& e) {
            set_frame_error("UnreadableError", e.what(), e.frame());
        } catch (const std::bad_alloc&) {
            PyErr_SetString(PyExc_MemoryError, too_large);
        } catch (const std::length_error&) {
            PyErr_SetString(PyExc_MemoryError, too_large);
        }
    });
}

void register_runtime(py::module_& m) {
    m.def(
        "build_info",
        [] {
            const BuildInfo info = build_info();
            py::dict d;
            d["version"] = info.version;
            d["compiler"] = info.compiler;
            d["parallel"] = info.parallel;
            d["isa"] = info.isa;
            d["isas"] = info.isas;
            return d;
        },
        R"(How the compiled core was built, and what it uses on this machine.

Returns
-------
dict
    ``version``; ``compiler``; ``parallel``, what runs a call on several threads: openmp, threads (its
    own, started for each call), or none; ``isa``, the instruction set in use: baseline, avx2 or avx512;
    ``isas``, those that the build and the processor have. The environment variable CAMNORM_ISA forces
    one of them (avx512bw: AVX-512 without VNNI).
)");
    m.def(
        "resolve_threads",
        [](const py::object& given) {
            if (given.is_none()) return resolve_threads(0);
            const std::int64_t threads = as_integer(given, "threads");
            if (threads < 1)
                throw InvalidArgument("threads must be positive, got " + std::to_string(threads));
            return resolve_threads(threads);
        },
        py::arg("threads") = py::none());
}

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "Compiled core of camnorm. Use it through the package camnorm.";
    m.attr("version") = CAMNORM_VERSION;
    m.def("check_array", &as_array, py::arg("object"), py::arg("what"));
    m.def("check_unmasked", &check_unmasked, py::arg("object"), py::arg("what"));
    register_errors();
    register_runtime(m);
    register_median(m);
    register_moments(m);
    register_neighbours(m);
    register_response(m);
    register_correction(m);
    register_eer(m);
    register_frc(m);
    register_taper(m);
    register_average(m);
    register_pattern(m);
    register_located(m);
}

}  // namespace camnorm::python
