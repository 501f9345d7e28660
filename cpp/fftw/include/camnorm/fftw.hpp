#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "camnorm/export.h"
#include "camnorm/frames.hpp"
#include "camnorm/frc.hpp"

/// @file
/// Component camnorm::fftw: ring correlation of images, transformed by FFTW in single precision. FFTW is
/// under the GPL.

namespace camnorm {

/// As in Python's camnorm.frc.
struct FrcOptions {
    Binning binning = Binning::round;
    /// Fraction of each side that a window tapers: 0 none, 0.5 Tukey's window, 1 Hann's.
    double taper = 0.0;
    bool square = true;    ///< take the central square of the frames
    bool corners = false;  ///< go on beyond Nyquist into the corners of the Fourier plane
};

/// Fourier ring correlation of two images.
struct Frc {
    std::size_t height;  ///< of the images after cropping: ring r is at r / min(height, width) cycles/pixel
    std::size_t width;
    std::vector<std::uint64_t> counts;  ///< frequencies of the full plane in each ring
    std::vector<double> correlation;    ///< see RingCorrelation
    std::vector<double> z;              ///< see RingCorrelation; a window makes its variance larger than 1
};

/// Correlates two grey frames of one shape, of any dtypes and strides. Their means, weighted with the window,
/// are removed in float64, the transforms are in float32 throughout. Threads do not change a bit.
///
/// FFTW's planner is not thread-safe: calls of this function take turns in planning, but a program that
/// plans by itself meanwhile needs fftwf_make_planner_thread_safe().
/// @throws InvalidArgument unless there is one frame of at least 2 x 2 pixels in each view, both of one
/// shape; if the taper is not between 0 and 1; NonFinite for NaN or infinite pixels.
CAMNORM_EXPORT Frc frc(const FramesView& a, const FramesView& b, const FrcOptions& options = {},
                       int threads = 0);

}  // namespace camnorm
