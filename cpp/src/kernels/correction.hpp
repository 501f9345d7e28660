#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/isa.hpp"

namespace camnorm::detail {

inline constexpr std::size_t dtypes = 9;

/// Eq. (2) or its inverse, for n pixels. Nothing is assumed about the alignment of x.
struct CorrectionDirection {
    /// gain[i]: target_sigma / sigma[i], or sigma[i] / target_sigma for the inverse.
    void (*gain)(const double* sigma, std::size_t n, double target_sigma, double* gain) noexcept;

    /// values[i]: (x[i] - mean[i]) * gain[i] + target_mean, or for the inverse
    /// (x[i] - target_mean) * gain[i] + mean[i]. One a DType, but none for float16, which
    /// MomentsKernels::widen_float16 brings to float32.
    void (*evaluate[dtypes])(const std::byte* x, std::size_t n, const double* mean, const double* gain,
                             double target_mean, double* values) noexcept;
};

struct CorrectionKernels {
    CorrectionDirection forward;
    CorrectionDirection inverse;

    /// Rounds to the type of the output, one a DType. Gives the number of pixels that saturated an
    /// integer type or were NaN, which becomes 0 there.
    std::uint64_t (*store[dtypes])(const double* values, std::size_t n, std::byte* out) noexcept;
};

CAMNORM_DECLARE_KERNELS(CorrectionKernels, correction_kernels)

}  // namespace camnorm::detail
