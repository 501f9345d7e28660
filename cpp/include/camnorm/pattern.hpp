#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "camnorm/export.h"

/// @file
/// The fixed pattern of a sensor by parts, from the mean images of two halves of its frames.

namespace camnorm {

/// Coefficients of one part of a pattern: two ranges of scales, one along each axis. Scales are numbered from
/// coarse to fine: 0 is the mean over the whole axis, 1 what varies over an eighth of it or more, and the
/// last one is differences of neighbouring pixels. So (0, j) are columns, (i, 0) rows, (1, 1) smooth parts.
struct PatternBand {
    std::size_t rows = 0;     ///< scale along y
    std::size_t columns = 0;  ///< scale along x
    std::size_t size = 0;     ///< number of coefficients
    double noise = 0.0;       ///< their noise variance, from the difference of the halves
    double power = 0.0;       ///< their mean square
    double weight = 0.0;      ///< what they are multiplied by
    double residual = 0.0;    ///< sum over them of the squared error that is expected of the estimate
};

/// What is known of the images of the halves.
struct PatternOptions {
    double frames_a = 1.0;  ///< frames behind the mean image of half A
    double frames_b = 1.0;  ///< the same of half B
    /// Counts in a pixel behind the estimate: few are far from normally distributed. With 0, coefficients are
    /// moved by any amount.
    double counts = std::numeric_limits<double>::infinity();
    double used = 1.0;    ///< share of the pixels that were measured; the others are fillings
    bool only_a = false;  ///< estimate from half A alone; half B only says how large the noise is
};

/// Estimates the pattern that the mean images of two halves have in common.
///
/// Both images are taken apart by an orthonormal tensor Haar transform, for frames of any size (the last
/// element of an odd number goes to the next scale as it is, with its weight). The coefficients of a band are
/// multiplied by their reliability (T - v) / T, with T the mean square of those of both halves, v the noise
/// variance from the difference of the halves; bands in which no pattern is seen become 0. A coefficient is
/// moved by at most five standard deviations of its noise, or somewhat more where counts are few, if both
/// halves agree in its sign (limited translation). The result is the average over four cyclic shifts.
///
/// @param a, b  height * width values in C order: finite deviations of the mean image of each half.
/// @param pattern  as many values, written; or null, to find only the bands, from one shift.
/// @returns the bands, averaged over the shifts. Neither threads nor instruction sets change a bit.
/// @throws InvalidArgument for an image without pixels, frames that are not positive, or negative threads.
CAMNORM_EXPORT std::vector<PatternBand> estimate_pattern(std::size_t height, std::size_t width,
                                                         const float* a, const float* b, float* pattern,
                                                         const PatternOptions& options = {}, int threads = 0);

/// Means over the used pixels of the square of (2 * radius + 1)^2 pixels around every pixel, as far as it
/// lies within the image; NaN where there are none.
/// @param used  not 0 where a pixel counts.
/// @throws InvalidArgument for an image without pixels or negative threads.
CAMNORM_EXPORT void local_means(std::size_t height, std::size_t width, const float* values,
                                const std::uint8_t* used, std::size_t radius, float* means, int threads = 0);

}  // namespace camnorm
