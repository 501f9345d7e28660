#pragma once

#include <cstddef>
#include <cstdint>

#include "camnorm/frames.hpp"
#include "kernels/isa.hpp"

namespace camnorm::detail {

inline constexpr std::size_t dtypes = 9;

/// Bytes of a cache line.
inline constexpr std::size_t line_bytes = 64;

/// The formula in float32: factor[i] * x[i] + offset[i] counts from 1.5 * 2^23, in steps of 2^-14, by how
/// much it is above the middle between the lowest integer of the output's type and the one before it. That is
/// too much by at most 2 * margin steps, never too little.
struct Approximation {
    const float* factor;
    const float* offset;
    std::int32_t margin;
};

/// Eq. (2) or its inverse for n pixels, rounded to the type of the output: (x[i] - mean[i]) * gain[i] +
/// target_mean, or for the inverse (x[i] - target_mean) * gain[i] + mean[i]. Gives the number of finite
/// pixels that saturated the type, and for integer types of those that were infinite or NaN, which becomes 0.
/// From integers to float32 nothing saturates: results must not be beyond the range. x and out may be
/// unaligned, and the same memory if their types are.
///
/// If `streams`, whole cache lines of the output go past the caches, where there are such stores; `out`
/// must then be aligned to its type. Pixels of the same number at `next`, unless null, are fetched into the
/// cache meanwhile. The approximation, null if there is none, saves time where no pixel lies so close to the
/// middle between two integers that it could be rounded to the wrong one.
using Correct = std::uint64_t (*)(const std::byte* x, std::size_t n, const double* mean, const double* gain,
                                  double target_mean, std::byte* out, bool streams, const std::byte* next,
                                  const Approximation* approximation) noexcept;

/// Whether Correct has a use for an approximation.
constexpr bool approximates(DType in, DType out) { return item_size(in) == 1 && item_size(out) == 1; }

/// One a DType of the output.
struct CorrectTo {
    Correct to[dtypes];
};

struct CorrectionDirection {
    /// gain[i]: target_sigma / sigma[i], or sigma[i] / target_sigma for the inverse.
    void (*gain)(const double* sigma, std::size_t n, double target_sigma, double* gain) noexcept;

    /// Makes factor and offset of an approximation, and gives its margin, or 0 if it is of no use. `lowest`:
    /// of the output's type.
    std::int32_t (*approximate)(const double* mean, const double* gain, std::size_t n, double target_mean,
                                double lowest, float* factor, float* offset) noexcept;

    /// One a DType of the input, but none for float16, which PixelKernelTable::widen_float16 brings to
    /// float32.
    CorrectTo correct[dtypes];
};

struct CorrectionKernels {
    CorrectionDirection forward;
    CorrectionDirection inverse;

    /// Rounds to the type of the output, one a DType; the rest is as of Correct.
    std::uint64_t (*store[dtypes])(const double* values, std::size_t n, std::byte* out,
                                   bool streams) noexcept;

    /// To be called before another thread may read what was streamed.
    void (*finish_streams)() noexcept;
};

CAMNORM_DECLARE_KERNELS(CorrectionKernels, correction_kernels)

}  // namespace camnorm::detail
