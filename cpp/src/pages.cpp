#include "camnorm/pages.hpp"

#include <algorithm>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#endif

namespace camnorm {
namespace {

#if defined(__linux__)

constexpr std::size_t step = std::size_t{8} << 20;

std::uintptr_t page_of(std::uintptr_t address) {
    static const auto size = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    return address / size * size;
}

#endif

/// A byte of each page, the old way: a file that has become shorter then ends the process.
void touch(const void* data, std::size_t bytes) {
    const auto* bytes_of = static_cast<const volatile char*>(data);
    for (std::size_t i = 0; i < bytes; i += 4096) (void)bytes_of[i];
    if (bytes > 0) (void)bytes_of[bytes - 1];
}

}  // namespace

bool fetch_pages(const void* data, std::size_t bytes) noexcept {
#if defined(__linux__)
    constexpr int populate_read = 22;  // MADV_POPULATE_READ, of Linux 5.14
    const auto address = reinterpret_cast<std::uintptr_t>(data);
    for (std::size_t i = 0; i < bytes; i += step) {
        const std::size_t n = std::min(step, bytes - i);
        const std::uintptr_t begin = page_of(address + i);
        int failed = 0;
        do {
            failed = madvise(reinterpret_cast<void*>(begin), address + i + n - begin, populate_read);
        } while (failed != 0 && errno == EINTR);
        if (failed != 0 && errno != EINVAL) return false;
        if (failed != 0) touch(static_cast<const char*>(data) + i, n);  // an older system
        release_pages(static_cast<const char*>(data) + i, n);
    }
#else
    touch(data, bytes);
#endif
    return true;
}

void release_pages([[maybe_unused]] const void* data, [[maybe_unused]] std::size_t bytes) noexcept {
#if defined(__linux__)
    const std::uintptr_t begin = page_of(reinterpret_cast<std::uintptr_t>(data));
    const std::uintptr_t end = page_of(reinterpret_cast<std::uintptr_t>(data) + bytes);
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
#endif
}

}  // namespace camnorm
