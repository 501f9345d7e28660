#include "camnorm/stored.hpp"

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace camnorm::python {

namespace py = pybind11;

void register_stored(py::module_& m) {
    m.def(
        "fetch",
        [](int file, std::int64_t offset, std::size_t bytes) {
            const int error = fetch(file, offset, bytes);
            return error == 0 ? std::string() : reason_of(error);
        },
        py::arg("file"), py::arg("offset"), py::arg("bytes"), py::call_guard<py::gil_scoped_release>());
}

}  // namespace camnorm::python
