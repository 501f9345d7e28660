#include "camnorm/sum_array.hpp"

#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace camnorm::detail {

void* allocate_zeros(std::size_t count, std::size_t item_size) {
    if (count > static_cast<std::size_t>(PTRDIFF_MAX) / item_size) throw std::bad_alloc();
    void* const memory = std::calloc(count, item_size);
    if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // Sums that are walked through again and again would otherwise wait for the addresses of their pages.
    constexpr std::size_t huge = std::size_t{1} << 21;
    const std::size_t before = (huge - reinterpret_cast<std::uintptr_t>(memory) % huge) % huge;
    const std::size_t bytes = count * item_size;
    if (bytes >= before + huge)
        madvise(static_cast<char*>(memory) + before, (bytes - before) / huge * huge, MADV_HUGEPAGE);
#endif
    return memory;
}

void release_zeros(void* memory) noexcept { std::free(memory); }

}  // namespace camnorm::detail
