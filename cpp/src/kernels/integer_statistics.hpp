#pragma once

// Statistics of one strip of an integer frame.

#include <cstddef>
#include <cstdint>

#include "kernels/isa.hpp"

namespace camnorm::detail {

/// Exact sums over the pixels of one strip of a frame.
struct IntegerStatistics {
    std::int64_t sum;
    std::uint64_t sum_of_squares;
    std::int32_t min, max;
};

/// Statistics of n pixels of a strip; prefetches half as many from `next` on.
using DescribeIntegers = IntegerStatistics (*)(const std::byte* x, std::size_t n,
                                               const std::byte* next) noexcept;

struct IntegerStatisticsKernels {
    DescribeIntegers uint8, int8, uint16, int16;
};

CAMNORM_DECLARE_KERNELS_VNNI(IntegerStatisticsKernels, integer_statistics_kernels, avx512vnni)

}  // namespace camnorm::detail
