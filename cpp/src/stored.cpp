#include "stored.hpp"

#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>

namespace camnorm {

int detail::read_bytes(int file, std::int64_t offset, std::size_t bytes, std::byte* out) noexcept {
    while (bytes > 0) {
        const ssize_t got = pread(file, out, bytes, static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno;
        if (got == 0) return file_ended;
        out += got;
        offset += got;
        bytes -= static_cast<std::size_t>(got);
    }
    return 0;
}

namespace {

/// Whether a byte can be read without waiting; false also where the system cannot tell.
bool is_cached([[maybe_unused]] int file, [[maybe_unused]] std::int64_t offset) noexcept {
#if defined(RWF_NOWAIT)
    char byte;
    const iovec part{&byte, 1};
    return preadv2(file, &part, 1, static_cast<off_t>(offset), RWF_NOWAIT) == 1;
#else
    return false;
#endif
}

}  // namespace

int fetch(int file, std::int64_t offset, std::size_t bytes) noexcept {
    // Files come into the cache, and leave it, by larger parts.
    constexpr std::size_t sample = std::size_t{1} << 20;
    std::byte scratch[std::size_t{1} << 16];
    for (std::size_t i = 0; i < bytes; i += sample) {
        const std::size_t n = std::min(sample, bytes - i);
        const std::int64_t begin = offset + static_cast<std::int64_t>(i);
        if (is_cached(file, begin) && is_cached(file, begin + static_cast<std::int64_t>(n - 1))) continue;
        for (std::size_t j = 0; j < n; j += sizeof scratch) {
            const int error = detail::read_bytes(file, begin + static_cast<std::int64_t>(j),
                                                 std::min(sizeof scratch, n - j), scratch);
            if (error != 0) return error;
        }
    }
    return 0;
}

std::string reason_of(int error) {
    return error == file_ended ? "the file ends before the frame does"
                               : std::generic_category().message(error);
}

int detail::read_pixels(const StoredFrames& frames, std::size_t frame, std::size_t begin, std::size_t n,
                        std::byte* out) noexcept {
    const StoredFrames::Place& place = frames.places[frame];
    const std::size_t size = item_size(frames.dtype);
    return read_bytes(place.file, place.offset + static_cast<std::int64_t>(begin * size), n * size, out);
}

}  // namespace camnorm
