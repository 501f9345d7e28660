#pragma once

// Partial sums, least and largest pixel of one float frame: the same bits whatever the width of the vectors.

#include "kernels/float_pixels.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

/// Sums of one frame by pixel number modulo `partials`: the same lanes, so the same bits, whatever the
/// width of the vectors.
constexpr std::size_t partials = 16;
struct Partials {
    Doubles sum[partials / lanes];
    Doubles square[partials / lanes];
};

/// Puts the lanes of `Size` bytes together: the upper half to the lower half, and so on.
template <class Lane, std::size_t Size, class Operation>
inline Lane fold(const void* values, const Operation& operation) {
    if constexpr (Size == sizeof(Lane)) {
        Lane value;
        __builtin_memcpy(&value, values, sizeof value);
        return value;
    } else if constexpr (Size == 2 * sizeof(Lane)) {
        Lane value[2];
        __builtin_memcpy(value, values, sizeof value);
        return operation(value[0], value[1]);
    } else {
        using Half __attribute__((vector_size(Size / 2))) = Lane;
        const Half folded =
            operation(load_as<Half>(values), load_as<Half>(static_cast<const std::byte*>(values) + Size / 2));
        return fold<Lane, Size / 2>(&folded, operation);
    }
}

inline double total(const Doubles* partial) {
    constexpr std::size_t parts = partials / lanes;
    Doubles sums[parts];
    __builtin_memcpy(sums, partial, sizeof sums);
    for (std::size_t half = parts / 2; half > 0; half /= 2)
        for (std::size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
    return fold<double, width>(sums, [](auto a, auto b) { return a + b; });
}

template <class A>
inline A lesser(A a, A b) {
    return b < a ? b : a;
}
template <class A>
inline A greater(A a, A b) {
    return b > a ? b : a;
}

}  // namespace
}  // namespace camnorm::detail::CAMNORM_ISA
