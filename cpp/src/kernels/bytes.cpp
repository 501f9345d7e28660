// Sums over bytes.

#include "kernels/bytes.hpp"

#include "kernels/simd.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

template <class Element>
std::uint32_t total(Bits a) noexcept {
    constexpr std::size_t count = width / sizeof(Element);
    Element elements[count];
    store(elements, a);
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += elements[i];
    return static_cast<std::uint32_t>(sum);
}

ByteSums sums(const std::byte* x, std::size_t n) noexcept {
    // Of the bytes of a vector, the first counts `width` times, the last once, and all once more for every
    // byte that comes after the vector.
    std::int16_t low[width / 2], high[width / 2];
    for (std::size_t i = 0; i < width / 2; ++i) {
        const std::size_t place = i / 8 * 16 + i % 8;
        low[i] = static_cast<std::int16_t>(width - place);
        high[i] = static_cast<std::int16_t>(width - place - 8);
    }
    const Bits low_weights = load(low), high_weights = load(high);
    Bits sum{}, before{}, within{};
    std::size_t i = 0;
    for (; i + width <= n; i += width) {
        const Bits bytes = load(x + i);
        before += sum;
        sum += sum8(bytes);
        within = add32(within, multiply_add16(low8(bytes, Bits{}), low_weights));
        within = add32(within, multiply_add16(high8(bytes, Bits{}), high_weights));
    }
    const auto rest = static_cast<std::uint32_t>(n - i);
    ByteSums result{total<std::uint64_t>(sum), 0};
    result.weighted = static_cast<std::uint32_t>(width) * total<std::uint64_t>(before) +
                      total<std::uint32_t>(within) + rest * result.sum;
    for (; i < n; ++i) {
        const auto byte = static_cast<std::uint32_t>(x[i]);
        result.sum += byte;
        result.weighted += static_cast<std::uint32_t>(n - i) * byte;
    }
    return result;
}

}  // namespace

extern const ByteKernels byte_kernels;
const ByteKernels byte_kernels = {sums};

}  // namespace camnorm::detail::CAMNORM_ISA
