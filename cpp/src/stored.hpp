#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "camnorm/stored.hpp"

namespace camnorm::detail {

/// Reads bytes of a file.
/// @returns 0, the system's error (errno), or file_ended.
int read_bytes(int file, std::int64_t offset, std::size_t bytes, std::byte* out) noexcept;

/// Reads pixels [begin, begin + n) of a frame.
/// @returns as read_bytes().
int read_pixels(const StoredFrames& frames, std::size_t frame, std::size_t begin, std::size_t n,
                std::byte* out) noexcept;

/// Arrays that are used again and again, so that they are in the cache and their pages are there.
template <class T>
class Buffers {
public:
    /// This many at a time: none is made later, when memory could be short and the work half done.
    Buffers(std::size_t size, std::size_t count) {
        free_.reserve(count);
        while (free_.size() < count) free_.emplace_back(new T[size]);
    }

    /// One that nobody else uses until it is given back; what is in it is not told.
    std::unique_ptr<T[]> take() noexcept {
        const std::lock_guard<std::mutex> lock(mutex_);
        auto buffer = std::move(free_.back());
        free_.pop_back();
        return buffer;
    }

    void give_back(std::unique_ptr<T[]> buffer) noexcept {
        const std::lock_guard<std::mutex> lock(mutex_);
        free_.push_back(std::move(buffer));
    }

private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<T[]>> free_;
};

}  // namespace camnorm::detail
