#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "camnorm/stored.hpp"

namespace camnorm::detail {

/// Reads pixels [begin, begin + n) of a frame.
/// @returns 0, the system's error (errno), or file_ended.
int read_pixels(const StoredFrames& frames, std::size_t frame, std::size_t begin, std::size_t n,
                std::byte* out) noexcept;

/// Arrays that are used again and again, so that they are in the cache and their pages are there.
template <class T>
class Buffers {
public:
    explicit Buffers(std::size_t size) : size_(size) {}

    /// One that nobody else uses until it is given back; what is in it is not told.
    std::unique_ptr<T[]> take() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (!free_.empty()) {
                auto buffer = std::move(free_.back());
                free_.pop_back();
                return buffer;
            }
        }
        return std::unique_ptr<T[]>(new T[size_]);
    }

    void give_back(std::unique_ptr<T[]> buffer) {
        const std::lock_guard<std::mutex> lock(mutex_);
        free_.push_back(std::move(buffer));
    }

private:
    std::size_t size_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<T[]>> free_;
};

}  // namespace camnorm::detail
