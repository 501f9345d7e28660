#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "camnorm/export.h"
#include "camnorm/frames.hpp"

/// @file
/// The correction of frames by mean image and sigma image, and its inverse.

namespace camnorm {
namespace detail {
struct CorrectionDirection;
struct Tile;
}  // namespace detail

/// What a bad pixel becomes in a corrected frame.
enum class BadPolicy : std::uint8_t {
    neutral,      ///< the target mean: no contrast, no correlation
    interpolate,  ///< the mean of corrected good neighbours, see Correction
    nan,          ///< NaN, for float output only
};

/// What Correction can be told besides the mean and the sigma image.
struct CorrectionOptions {
    std::optional<double> target_mean;   ///< I0; by default the mean over the mean image's good pixels
    std::optional<double> target_sigma;  ///< s0; by default the mean over the sigma image's good pixels
    std::vector<std::uint8_t> bad;       ///< not 0 where a pixel is bad; empty: no pixel is known to be
    BadPolicy bad_policy = BadPolicy::neutral;
    std::vector<double> target_means = {};   ///< I0 of each colour plane; empty: target_mean is that of all
    std::vector<double> target_sigmas = {};  ///< s0 of each colour plane; empty: target_sigma is that of all
};

/// A posteriori correction of frames by the mean and the sigma image of their sensor: Afanasyev et
/// al., Sci. Rep. 5, 10317 (2015), Eq. (2),
///
///     Ic = (I - mean) / sigma * s0 + I0,
///
/// and with I0 = 0, s0 = 1 their Eq. (1). It is evaluated in float64 as (I - mean) * (s0 / sigma) + I0,
/// then rounded once to the output's type; the result differs from that of the formula as it is
/// written by at most 4 ulp (float64) of the larger of |Ic| and |Ic - I0|. Batches, threads and
/// instruction sets do not change a bit.
///
/// Colour planes have targets of their own, by default the means over the images of the plane, so that
/// colours are kept. Of a plane without good pixels, I0 is the mean over its finite means, s0 that of the
/// other planes.
///
/// Output saturates: a pixel beyond the range of the output's type becomes the largest or smallest number of
/// the type and counts as clipped. Integer output is rounded half to even; NaN becomes 0 and counts too. In
/// float output, NaN and infinite pixels of the frames stay what they are.
///
/// Bad pixels are those given, and those for which the formula has no meaning: mean or sigma not
/// finite, sigma 0, or s0 / sigma beyond the range of normal float64 numbers. With
/// BadPolicy::interpolate one becomes the mean of the corrected good pixels of its own colour plane in
/// the smallest square of (2r + 1) x (2r + 1) pixels around it that has any; what of the square lies
/// outside of the frame counts for nothing. A NaN among them makes it NaN.
///
/// All methods may be called from several threads at once.
class CAMNORM_EXPORT Correction {
public:
    /// @param mean, sigma one value per pixel, in (y, x, plane) order.
    /// @throws InvalidArgument for a shape without pixels; for images that do not have its size; a
    /// negative sigma; targets that are not finite or a target sigma that is not positive; if all
    /// pixels are bad, or with BadPolicy::interpolate all those of one colour plane.
    Correction(FrameShape shape, std::vector<double> mean, std::vector<double> sigma,
               CorrectionOptions options = {});

    FrameShape shape() const noexcept { return shape_; }
    /// Targets of the first colour plane, which are those of all planes of grey frames.
    double target_mean() const noexcept { return target_means_.front(); }
    double target_sigma() const noexcept { return target_sigmas_.front(); }
    /// One for each colour plane.
    const std::vector<double>& target_means() const noexcept { return target_means_; }
    const std::vector<double>& target_sigmas() const noexcept { return target_sigmas_; }
    BadPolicy bad_policy() const noexcept { return bad_policy_; }
    const std::vector<double>& mean() const noexcept { return mean_; }
    const std::vector<double>& sigma() const noexcept { return sigma_; }
    /// 1 for each bad pixel, 0 for the others.
    const std::vector<std::uint8_t>& bad() const noexcept { return bad_; }

    /// Pixels that saturated the output, or were NaN in integer output, since this object was made.
    std::uint64_t clipped() const noexcept { return *clipped_; }

    /// Writes the corrected frames to `out`, whose memory is either that of `frames` (same data,
    /// strides and type) or apart from it.
    /// @throws InvalidArgument for another shape or count, memory that overlaps otherwise, integer
    /// output with BadPolicy::nan, or negative `threads`. Nothing is written then.
    void apply(const FramesView& frames, const MutableFramesView& out, int threads = 0) const;

    /// The same for some rows of frames only, whose first is row `first_row` of the whole frame: gives the
    /// bits that apply() gives there.
    /// @throws InvalidArgument as apply(), if there are no such rows, and with BadPolicy::interpolate,
    /// which needs neighbours in other rows, unless they are all.
    void apply_rows(const FramesView& rows, const MutableFramesView& out, std::size_t first_row,
                    int threads = 0) const;

    /// Undoes apply(): I = (Ic - I0) * (sigma / s0) + mean, with the same rules of arithmetic,
    /// rounding and clipping. Bad pixels become their mean, whatever the policy.
    /// @throws InvalidArgument as apply() does, but for the policy.
    void inverse(const FramesView& frames, const MutableFramesView& out, int threads = 0) const;

private:
    static void check(const FramesView& frames, const MutableFramesView& out, FrameShape expected);
    void find_bad_pixels(const CorrectionOptions& options);
    void find_targets(const CorrectionOptions& options);
    void find_radii();

    /// What the formula multiplies n pixels by, from the given one of the whole frame on.
    void find_gains(const detail::CorrectionDirection& direction, std::size_t pixel, std::size_t n,
                    double* gain) const;

    /// The formula for the pixels of a tile, which begins at the given one of the whole frame, in float64.
    void find_values(const detail::CorrectionDirection& direction, DType dtype, const detail::Tile& tile,
                     std::size_t pixel, double* values) const;

    /// Eq. (2), for checked frames that begin at pixel `origin` of the whole frame.
    void run(const FramesView& frames, const MutableFramesView& out, std::size_t origin, int threads) const;

    /// Runs `count` frames from the first-th on through the formula, all frames of one block of pixels
    /// before the next block. They begin at pixel `origin` of the whole frame. replacement(frame, k), the
    /// frame counted from `first`, is the value of the k-th bad pixel.
    template <class Replacement>
    void process(const detail::CorrectionDirection& direction, const FramesView& frames,
                 const MutableFramesView& out, std::size_t origin, std::size_t first, std::size_t count,
                 int threads, const Replacement& replacement) const;

    /// Values of the bad pixels in `count` frames from the first-th on, those of one frame together,
    /// from the frames as they are before any is overwritten.
    std::vector<double> interpolate(const FramesView& frames, std::size_t first, std::size_t count,
                                    int threads) const;

    FrameShape shape_;
    std::vector<double> mean_;
    std::vector<double> sigma_;
    std::vector<double> target_means_;   // of each plane
    std::vector<double> target_sigmas_;  // of each plane
    bool by_planes_ = false;             // whether planes differ in a target
    BadPolicy bad_policy_;
    std::vector<std::uint8_t> bad_;
    std::vector<std::size_t> bad_pixels_;  // their numbers, ascending
    std::vector<std::uint32_t> radii_;     // r of each, for BadPolicy::interpolate
    bool exceeds_float32_ = false;         // what integer pixels may become, corrected or brought back
    std::unique_ptr<std::atomic<std::uint64_t>> clipped_;
};

}  // namespace camnorm
