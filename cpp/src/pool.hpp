#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace camnorm::detail {

/// Things that threads borrow, one at a time each.
template <class T>
class Pool {
public:
    /// As many as are made now: none is made later, when memory could be short and the work half done.
    template <class Make>
    Pool(std::size_t count, const Make& make) {
        free_.reserve(count);
        while (free_.size() < count) free_.push_back(make());
    }

    T take() noexcept {
        const std::lock_guard<std::mutex> lock(mutex_);
        T thing = std::move(free_.back());
        free_.pop_back();
        return thing;
    }

    void give_back(T thing) noexcept {
        const std::lock_guard<std::mutex> lock(mutex_);
        free_.push_back(std::move(thing));
    }

private:
    std::mutex mutex_;
    std::vector<T> free_;
};

/// Arrays that are used again and again, so that they are in the cache and their pages are there. Their
/// contents are undefined.
template <class T>
class Buffers : public Pool<std::unique_ptr<T[]>> {
public:
    Buffers(std::size_t size, std::size_t count)
        : Pool<std::unique_ptr<T[]>>(count, [size] { return std::unique_ptr<T[]>(new T[size]); }) {}
};

}  // namespace camnorm::detail
