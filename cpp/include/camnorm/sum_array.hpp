#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "camnorm/export.h"

/// @file
/// One number per pixel, in memory that suits sums.

namespace camnorm {

namespace detail {

/// Memory of zeros, which the system provides page by page when they are first touched, by whichever thread.
/// @throws std::bad_alloc
CAMNORM_EXPORT void* allocate_zeros(std::size_t count, std::size_t item_size);
CAMNORM_EXPORT void release_zeros(void* memory) noexcept;

struct ReleaseZeros {
    void operator()(void* memory) const noexcept { release_zeros(memory); }
};

}  // namespace detail

/// Numbers that are zero to begin with. To make many of them takes no time: the threads that work on them
/// share what their memory costs, and huge pages are used where the system has them.
template <class T>
class SumArray {
    static_assert(std::is_arithmetic_v<T>, "zero must be all bits zero");

public:
    using value_type = T;

    SumArray() noexcept = default;
    /// @throws std::bad_alloc
    explicit SumArray(std::size_t size)
        : values_(size == 0 ? nullptr : static_cast<T*>(detail::allocate_zeros(size, sizeof(T)))),
          size_(size) {}
    SumArray(std::initializer_list<T> values) : SumArray(values.begin(), values.size()) {}
    SumArray(const std::vector<T>& values) : SumArray(values.data(), values.size()) {}
    SumArray(const SumArray& other) : SumArray(other.data(), other.size()) {}
    SumArray(SumArray&& other) noexcept
        : values_(std::move(other.values_)), size_(std::exchange(other.size_, 0)) {}
    ~SumArray() = default;

    SumArray& operator=(SumArray other) noexcept {
        std::swap(values_, other.values_);
        std::swap(size_, other.size_);
        return *this;
    }

    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    T* data() noexcept { return values_.get(); }
    const T* data() const noexcept { return values_.get(); }
    T* begin() noexcept { return data(); }
    const T* begin() const noexcept { return data(); }
    T* end() noexcept { return data() + size_; }
    const T* end() const noexcept { return data() + size_; }
    T& operator[](std::size_t i) noexcept { return values_.get()[i]; }
    const T& operator[](std::size_t i) const noexcept { return values_.get()[i]; }

    /// Keeps the first numbers; further ones are zero. @throws std::bad_alloc
    void resize(std::size_t size) {
        SumArray other(size);
        std::copy_n(data(), std::min(size, size_), other.data());
        *this = std::move(other);
    }

    friend bool operator==(const SumArray& a, const SumArray& b) noexcept {
        return std::equal(a.begin(), a.end(), b.begin(), b.end());
    }
    friend bool operator!=(const SumArray& a, const SumArray& b) noexcept { return !(a == b); }

private:
    SumArray(const T* values, std::size_t size) : SumArray(size) { std::copy_n(values, size, data()); }

    std::unique_ptr<T[], detail::ReleaseZeros> values_;
    std::size_t size_ = 0;
};

}  // namespace camnorm
