#pragma once

// How kernels ask for the memory that they need next.

#include <cstddef>

#include "kernels/strips.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

constexpr std::size_t cache_line = 64;

// The second-level cache: the first, of 32 KiB and 8 ways in many processors, would lose the sums to frames
// that lie a power of two apart.
constexpr int fetch_to = 2;

inline void prefetch(const Group& group, std::size_t offset) {
    for (const std::byte* next : group.next) __builtin_prefetch(next + offset, 0, fetch_to);
}

/// One line of memory for every two that are done with.
inline void prefetch_half(const std::byte* next, std::size_t done) {
    if (done % (2 * cache_line) == 0) __builtin_prefetch(next + done / 2, 0, fetch_to);
}

}  // namespace
}  // namespace camnorm::detail::CAMNORM_ISA
