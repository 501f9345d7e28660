#pragma once

#include <cstddef>
#include <cstdint>

#include "double_double.hpp"
#include "kernels/isa.hpp"

namespace camnorm::detail {

/// Where the sums of some pixels lie, those of one kind.
struct Sums {
    const std::int64_t* sum = nullptr;
    const std::uint64_t* squares = nullptr;
    const double* sum_high = nullptr;
    const double* sum_low = nullptr;
    const double* squares_high = nullptr;
    const double* squares_low = nullptr;
};

/// What sums over n frames are divided by.
struct Divisors {
    double count;        ///< n
    DoubleDouble pairs;  ///< n * (n - ddof)
};

/// A value for each of some pixels, from their sums.
using Finish = void (*)(const Sums* sums, std::size_t pixels, const Divisors& divisors, double* out) noexcept;

/// Kernels of one kind of sums.
struct ImageKernels {
    Finish mean, variance, deviation;
};

/// Sums over the pixels whose sigma is above 0, and their number.
struct TargetSums {
    DoubleDouble mean{0.0, 0.0};
    DoubleDouble sigma{0.0, 0.0};
    double pixels = 0.0;
};

/// They take sums of one set of frames, or of two sets, which count as one.
struct FinishKernels {
    ImageKernels integer[2], floating[2];

    TargetSums (*targets)(const double* mean, const double* sigma, std::size_t pixels) noexcept;
};

CAMNORM_DECLARE_KERNELS(FinishKernels, finish_kernels)

}  // namespace camnorm::detail
