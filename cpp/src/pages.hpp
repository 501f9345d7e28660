#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace camnorm::detail {

/// Makes n zeros of an empty vector, in huge pages where the system has them: sums that are walked
/// through again and again would otherwise wait for the addresses of their pages.
template <class T>
void fill_with_zeros(std::vector<T>& values, std::size_t n) {
    values.reserve(n);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr std::size_t huge = std::size_t{1} << 21;
    const std::size_t before = (huge - reinterpret_cast<std::uintptr_t>(values.data()) % huge) % huge;
    const std::size_t bytes = n * sizeof(T);
    if (bytes >= before + huge)
        madvise(reinterpret_cast<char*>(values.data()) + before, (bytes - before) / huge * huge,
                MADV_HUGEPAGE);
#endif
    values.resize(n);
}

}  // namespace camnorm::detail
