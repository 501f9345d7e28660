#include "kernels/median.hpp"

#include "kernels/simd.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

constexpr std::size_t side = median_side, lanes = width / sizeof(float);

inline void order(Floats& a, Floats& b) {
    const Floats low = min_float(a, b);
    b = max_float(a, b);
    a = low;
}

/// The shortest network that sorts seven values.
inline void sort7(Floats (&v)[side]) {
    constexpr unsigned char pairs[][2] = {{0, 6}, {2, 3}, {4, 5}, {0, 2}, {1, 4}, {3, 6}, {0, 1}, {2, 5},
                                          {3, 4}, {1, 2}, {4, 6}, {2, 3}, {4, 5}, {1, 2}, {3, 4}, {5, 6}};
#pragma GCC unroll 16
    for (const auto& pair : pairs) order(v[pair[0]], v[pair[1]]);
}

/// Moves the smallest of the first n values to the front, the largest to the end.
template <std::size_t n>
inline void part_extremes(Floats* v) {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < n / 2; ++i) order(v[i], v[n - 1 - i]);
#pragma GCC unroll 16
    for (std::size_t i = 1; i < (n + 1) / 2; ++i) order(v[0], v[i]);
#pragma GCC unroll 16
    for (std::size_t i = n / 2; i < n - 1; ++i) order(v[i], v[n - 1]);
}

/// The median of n + further values: neither the smallest nor the largest of n of them is the median if
/// there are fewer than n - 1 others; both are left out, and one of the others takes part.
template <std::size_t n>
inline Floats median_of(Floats* v, const Floats* others) {
    part_extremes<n>(v);
    if constexpr (n == 3) {
        return v[1];
    } else {
        v[0] = *others;
        return median_of<n - 1>(v, others + 1);
    }
}

void sort_columns(const float* rows, std::size_t stride, std::size_t n, float* sorted) noexcept {
    for (std::size_t i = 0; i < n; i += lanes) {
        Floats v[side];
#pragma GCC unroll 7
        for (std::size_t j = 0; j < side; ++j) v[j] = load_as<Floats>(rows + j * stride + i);
        sort7(v);
#pragma GCC unroll 7
        for (std::size_t j = 0; j < side; ++j) store(sorted + j * stride + i, v[j]);
    }
}

/// Once the columns are sorted, and then each row of 7 of them, a value has all those before it in both
/// directions below it, and all those behind it above. 20 of the 49 values cannot be the median.
void medians(const float* sorted, std::size_t stride, std::size_t n, float* out) noexcept {
    constexpr std::size_t first_of[side] = {4, 3, 2, 1, 0, 0, 0}, end_of[side] = {7, 7, 7, 6, 5, 4, 3};
    constexpr std::size_t candidates = 29, kept = 16;
    for (std::size_t i = 0; i < n; i += lanes) {
        Floats chosen[candidates];
        std::size_t count = 0;
#pragma GCC unroll 7
        for (std::size_t j = 0; j < side; ++j) {
            Floats v[side];
#pragma GCC unroll 7
            for (std::size_t k = 0; k < side; ++k) v[k] = load_as<Floats>(sorted + j * stride + i + k);
            sort7(v);
#pragma GCC unroll 7
            for (std::size_t k = first_of[j]; k < end_of[j]; ++k) chosen[count++] = v[k];
        }
        store(out + i, median_of<kept>(chosen, chosen + kept));
    }
}

}  // namespace

const MedianKernels median_kernels = {sort_columns, medians};

}  // namespace camnorm::detail::CAMNORM_ISA
