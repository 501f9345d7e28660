#include "located.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

namespace camnorm::python {
namespace {

Compression compression_named(const std::string& name) {
    if (name == "none") return Compression::none;
    if (name == "lzw") return Compression::lzw;
    if (name == "deflate") return Compression::deflate;
    if (name == "zstd") return Compression::zstd;
    throw py::value_error("unknown compression: " + name);
}

Encoding as_encoding(const py::tuple& t) {
    if (t.size() != 7) throw py::value_error("an encoding has 7 fields");
    return {compression_named(t[0].cast<std::string>()),
            t[1].cast<bool>(),
            t[2].cast<bool>(),
            t[3].cast<bool>(),
            t[4].cast<bool>(),
            t[5].cast<std::size_t>(),
            t[6].cast<std::size_t>()};
}

}  // namespace

Stored::Stored(const std::vector<std::pair<int, std::int64_t>>& places, const py::object& dtype,
               const py::tuple& shape)
    : dtype_(as_dtype(py::dtype::from_args(dtype), "frames")), shape_(as_shape(as_sizes(shape))) {
    for (const auto& [file, offset] : places) places_.push_back({file, offset});
}

Encoded::Encoded(std::vector<int> files, Segments segments, const py::tuple& encoding,
                 const py::object& dtype, const py::tuple& shape)
    : files_(std::move(files)),
      segments_(std::move(segments)),
      data_(reinterpret_cast<const EncodedFrames::Segment*>(segments_.data())),
      encoding_(as_encoding(encoding)),
      dtype_(as_dtype(py::dtype::from_args(dtype), "frames")),
      shape_(as_shape(as_sizes(shape))) {
    static_assert(sizeof(EncodedFrames::Segment) == 2 * sizeof(std::int64_t));
    if (encoding_.segment_height == 0 || encoding_.segment_width == 0)
        throw py::value_error("segments must have pixels");
    const EncodedFrames frames = view();
    if (segments_.ndim() != 3 || segments_.shape(0) != static_cast<py::ssize_t>(files_.size()) ||
        segments_.shape(1) != static_cast<py::ssize_t>(frames.across() * frames.down()) ||
        segments_.shape(2) != 2)
        throw py::value_error("segments must have the shape (frames, segments of a frame, 2)");
}

EncodedFrames Encoded::view() const noexcept {
    return {files_.data(), data_, encoding_, dtype_, files_.size(), shape_};
}

void register_located(py::module_& m) {
    py::class_<Stored>(m, "StoredFrames")
        .def(
            py::init<const std::vector<std::pair<int, std::int64_t>>&, const py::object&, const py::tuple&>(),
            py::arg("places"), py::arg("dtype"), py::arg("shape"));
    py::class_<Encoded>(m, "EncodedFrames")
        .def(py::init<std::vector<int>, Encoded::Segments, const py::tuple&, const py::object&,
                      const py::tuple&>(),
             py::arg("files"), py::arg("segments"), py::arg("encoding"), py::arg("dtype"), py::arg("shape"));
    m.def(
        "use_zstd",
        [](std::uintptr_t create, std::uintptr_t release, std::uintptr_t is_error,
           std::uintptr_t decompress) {
            use_zstd({reinterpret_cast<decltype(ZstdFunctions::create)>(create),
                      reinterpret_cast<decltype(ZstdFunctions::release)>(release),
                      reinterpret_cast<decltype(ZstdFunctions::is_error)>(is_error),
                      reinterpret_cast<decltype(ZstdFunctions::decompress)>(decompress)});
        },
        py::arg("create"), py::arg("release"), py::arg("is_error"), py::arg("decompress"));
    m.def(
        "decode",
        [](const Encoded& encoded, py::array& out) {
            const EncodedFrames frames = encoded.view();
            const auto ndim = static_cast<std::size_t>(out.ndim()) - 1;
            const MutableFramesView view = as_mutable_frames(out, frames.shape, ndim);
            if (view.count != frames.count || view.dtype != frames.dtype ||
                (out.flags() & py::array::c_style) == 0)
                throw py::value_error("out must be a C-contiguous array of the frames' shape and dtype");
            py::gil_scoped_release nogil;
            decode(frames, view.data);
        },
        py::arg("frames"), py::arg("out").noconvert());
    m.def(
        "fetch",
        [](int file, std::int64_t offset, std::size_t bytes) {
            const int error = fetch(file, offset, bytes);
            return error == 0 ? std::string() : reason_of(error);
        },
        py::arg("file"), py::arg("offset"), py::arg("bytes"), py::call_guard<py::gil_scoped_release>());
}

}  // namespace camnorm::python
