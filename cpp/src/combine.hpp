#pragma once

// Sums of two states as one.

#include <cstddef>

#include "double_double.hpp"

namespace camnorm::detail {

/// Adds n integer sums to others, or subtracts them.
template <class Integer>
void combine(Integer* sums, const Integer* others, std::size_t n, bool subtract) {
    if (subtract)
        for (std::size_t i = 0; i < n; ++i) sums[i] -= others[i];
    else
        for (std::size_t i = 0; i < n; ++i) sums[i] += others[i];
}

/// The same for double-double sums.
inline void combine(double* high, double* low, const double* others_high, const double* others_low,
                    std::size_t n, bool subtract) {
    const double sign = subtract ? -1.0 : 1.0;
    for (std::size_t i = 0; i < n; ++i) {
        const DoubleDouble sum =
            add(DoubleDouble{high[i], low[i]}, DoubleDouble{sign * others_high[i], sign * others_low[i]});
        high[i] = sum.high;
        low[i] = sum.low;
    }
}

}  // namespace camnorm::detail
