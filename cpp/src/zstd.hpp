#pragma once

// Decoding by the zstd library that the program has given.

#include <cstddef>

#include "camnorm/encoded.hpp"

namespace camnorm::detail {

/// Whether use_zstd() was called.
bool has_zstd() noexcept;

/// A decoder of that library; nothing if there is none.
class Zstd {
public:
    Zstd() = default;
    /// @throws std::bad_alloc
    static Zstd make();
    Zstd(Zstd&& other) noexcept;
    Zstd& operator=(Zstd&& other) noexcept;
    ~Zstd();

    /// @returns the number of bytes; damaged_codes if they are damaged or more than `capacity`.
    std::ptrdiff_t decode(const std::byte* data, std::size_t bytes, std::byte* out,
                          std::size_t capacity) noexcept;

private:
    void* context_ = nullptr;
};

}  // namespace camnorm::detail
