#pragma once

#include <cstddef>
#include <cstdint>

#include "camnorm/export.h"
#include "camnorm/frames.hpp"
#include "camnorm/moments.hpp"

/// @file
/// Exact sums of pixels times exposures: how each pixel follows the light.

namespace camnorm {

/// Raw state of PixelResponse, a product a pixel in (y, x, plane) order. Integer kind: exposures count in
/// units of 1/256. Float kind: each sum is high + low, as in MomentsState.
struct ResponseState {
    Kind kind = Kind::integer;
    FrameShape shape;
    std::uint64_t count = 0;

    std::int64_t exposure_sum = 0;
    std::uint64_t exposure_sum_of_squares = 0;
    SumArray<std::int64_t> products;

    double exposure_sum_high = 0.0, exposure_sum_low = 0.0;
    double exposure_sum_of_squares_high = 0.0, exposure_sum_of_squares_low = 0.0;
    SumArray<double> products_high, products_low;
};

/// Mean of the exposures, and their population variance.
struct Exposures {
    double mean;
    double variance;
};

/// How every pixel follows the exposure w of the frames: with the moments of the same frames, the sums of w,
/// w^2 and w*x give the straight line of least squares x = offset + gain * w.
///
/// Integer frames: w is rounded to a multiple of 1/256, half to even, and the sums are exact integers: the
/// state is the same to the bit for every order, batch and number of threads, and after add and subtract. As
/// long as the sum of (256 w)^2 fits 64 bits and there are at most max_count frames, no sum overflows
/// (Cauchy-Schwarz: (sum 256 w x)^2 < 2^64 * 2^30 * 2^32); that is so for 65,536 frames of exposure 65,536,
/// or 2^48 / w^2 of exposure w. Float frames and 32-bit integers: double-double sums of exact products, which
/// threads do not change, order and batches in a last bit at 2^-100.
///
/// Distinct objects may be used from distinct threads; a shared one needs the caller's lock.
class CAMNORM_EXPORT PixelResponse {
public:
    PixelResponse(FrameShape shape, Kind kind);

    /// Restores a state. @throws InvalidArgument if its arrays do not have the shape's size.
    explicit PixelResponse(ResponseState state);

    /// Largest number of frames.
    static constexpr std::uint64_t max_count = std::uint64_t{1} << 30;

    FrameShape shape() const noexcept { return state_.shape; }
    Kind kind() const noexcept { return state_.kind; }
    std::uint64_t count() const noexcept { return state_.count; }
    const ResponseState& state() const noexcept { return state_; }
    /// The same, for code that reads a state from elsewhere into its place.
    ResponseState& state() noexcept { return state_; }

    /// Adds frames, each with its exposure: the mean over its pixels, or what else the light is known by.
    /// @throws InvalidArgument for another shape, an exposure that is not finite or beyond 65,536 (float
    /// kind: 3e144), or sums that would overflow; WrongKind for frames of the other kind; NonFinite for a
    /// frame with NaN or infinite pixels. Nothing is added then.
    void add(const FramesView& frames, const double* exposures, int threads = 0);

    /// Takes frames back that were added with the same exposures.
    /// @throws as add(), and InvalidArgument if there are fewer frames in the state than given.
    void subtract(const FramesView& frames, const double* exposures, int threads = 0);

    /// @throws InvalidArgument for another shape, or sums that would overflow, WrongKind for the other kind.
    void merge(const PixelResponse& other, int threads = 0);
    void unmerge(const PixelResponse& other, int threads = 0);

    /// NaN without frames.
    Exposures exposures() const;

    /// Writes the gain of every pixel, cov(w, x) / var(w), of which integer sums are exact up to the
    /// division; NaN if all exposures are the same.
    /// @throws InvalidArgument unless the moments are of as many frames of the same shape and kind.
    void gain(const PixelMoments& moments, double* out, int threads = 0) const;

private:
    void accumulate(const FramesView& frames, const double* exposures, bool subtract, int threads);
    void combine(const PixelResponse& other, bool subtract, int threads);

    ResponseState state_;
};

}  // namespace camnorm
