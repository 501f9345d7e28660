#include "stored.hpp"

#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "camnorm/error.hpp"

namespace camnorm {

Unreadable::Unreadable(std::size_t frame, int error)
    : std::runtime_error(
          "frame " + std::to_string(frame) + " cannot be read: " +
          (error == 0 ? "its file ends before it does" : std::generic_category().message(error))),
      frame_(frame),
      error_(error) {}

namespace detail {

int read_pixels(const StoredFrames& frames, std::size_t frame, std::size_t begin, std::size_t n,
                std::byte* out) noexcept {
    const StoredFrames::Place& place = frames.places[frame];
    const std::size_t size = item_size(frames.dtype);
    std::size_t left = n * size;
    auto offset = place.offset + static_cast<std::int64_t>(begin * size);
    while (left > 0) {
        const ssize_t got = pread(place.file, out, left, static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno;
        if (got == 0) return file_ended;
        out += got;
        offset += got;
        left -= static_cast<std::size_t>(got);
    }
    return 0;
}

}  // namespace detail
}  // namespace camnorm
