#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "camnorm/encoded.hpp"
#include "camnorm/export.h"
#include "camnorm/frames.hpp"
#include "camnorm/stored.hpp"
#include "camnorm/sum_array.hpp"

/// @file
/// Exact, additive sums of every pixel vector, and statistics of single frames.

namespace camnorm {

/// Statistics of one frame over its pixels.
struct FrameStatistics {
    double mean;
    double std;  ///< population standard deviation (ddof 0)
    double min;
    double max;
};

/// Statistics of every frame. A frame with NaN or infinite pixels gets NaN in all four.
/// From exact sums for integer frames; for float frames from sums over deviations from a number near the
/// frame's mean, in a fixed order. Neither threads nor instruction sets change a bit.
/// @throws InvalidArgument for frames without pixels.
CAMNORM_EXPORT std::vector<FrameStatistics> frame_statistics(const FramesView& frames, int threads = 0);

/// Raw state of PixelMoments, one value per pixel in (y, x, plane) order. Integer kind: `sum` and
/// `sum_of_squares`. Float kind: the sums as unevaluated pairs high + low with |low| <= ulp(high)/2.
struct MomentsState {
    Kind kind = Kind::integer;
    FrameShape shape;
    std::uint64_t count = 0;
    SumArray<std::int64_t> sum;
    SumArray<std::uint64_t> sum_of_squares;
    SumArray<double> sum_high, sum_low, sum_of_squares_high, sum_of_squares_low;
};

/// What the statistics of its frames say about a state: no pixel has other sums.
struct SumBounds {
    double least_sum;     ///< sum over the frames of their smallest pixels
    double greatest_sum;  ///< sum over the frames of their largest pixels
    double smallest;      ///< smallest pixel of all frames
    double largest;       ///< largest pixel of all frames
    double rounding;  ///< largest magnitude of a pixel that was ever added; float sums keep rounding errors
                      ///< of it
};

/// Result of PixelMoments::check().
struct CheckedSums {
    std::size_t impossible;  ///< first pixel whose sums no frames have; the number of pixels if there is none
    double sum, sum_of_squares;  ///< over all pixels
};

/// Means over the mean and the standard deviation of all pixels that ever change; NaN if none does.
struct Targets {
    double mean;
    double sigma;
};

/// Count, sum and sum of squares of every pixel vector, kept exactly.
///
/// Integer frames (8 and 16 bit) are summed in 64-bit integers: the state is the same to the bit for
/// every order, batch, number of threads and instruction set, and after add and subtract. Float
/// frames and 32-bit integers are summed in double-double arithmetic: x*x exact by an error-free
/// product, the sums by two-sum (Dekker, Numer. Math. 18, 224 (1971); Joldes et al., ACM TOMS 44,
/// 15 (2017)); threads and instruction sets do not change a bit, order and batches the last one, at 2^-88.
/// The mean and the variance are formed once, at the end, from var = (n*sum(x^2) - sum(x)^2) / (n*(n - ddof))
/// without cancellation.
///
/// Distinct objects may be used from distinct threads; a shared one needs the caller's lock.
class CAMNORM_EXPORT PixelMoments {
public:
    PixelMoments(FrameShape shape, Kind kind);

    /// For frames of a pixel type, and all others of its kind.
    PixelMoments(FrameShape shape, DType dtype) : PixelMoments(shape, kind_of(dtype)) {}

    /// Restores a state. @throws InvalidArgument if its arrays do not have the shape's size.
    explicit PixelMoments(MomentsState state);

    /// Largest number of frames a pixel vector may have: below it no integer sum overflows.
    static constexpr std::uint64_t max_count = 0xFFFFFFFFu;

    FrameShape shape() const noexcept { return state_.shape; }
    Kind kind() const noexcept { return state_.kind; }
    std::uint64_t count() const noexcept { return state_.count; }
    const MomentsState& state() const noexcept { return state_; }
    /// The same, for code that reads a state from elsewhere into its place.
    MomentsState& state() noexcept { return state_; }

    /// Adds frames and returns their statistics from the same pass; none if they are not asked for.
    /// @throws InvalidArgument for another shape, WrongKind for frames of the other kind, NonFinite
    /// for a frame with NaN or infinite pixels; nothing is added then (float frames that had been added
    /// when the pixel was found are taken away again, as by subtract()).
    std::vector<FrameStatistics> add(const FramesView& frames, int threads = 0, bool statistics = true);

    /// Adds frames as they are read.
    /// @throws as for frames in memory, and Unreadable; std::runtime_error if frames that had been added
    /// until then cannot be read once more to be taken away: the moments are of no use then.
    std::vector<FrameStatistics> add(const StoredFrames& frames, int threads = 0, bool statistics = true);

    /// Adds frames of integers as they are decoded.
    /// @throws as for stored frames; InvalidArgument for frames of floats.
    std::vector<FrameStatistics> add(const EncodedFrames& frames, int threads = 0, bool statistics = true);

    /// Takes frames back that were added before. Integer sums are then as if they had never been there. Float
    /// sums are so to the last bit of mean and standard deviation, unless pixels taken back are so much
    /// larger than the rest (from 1e5 times the standard deviation on) that the sums have forgotten the
    /// rest's last digits beside them: exact() tells.
    /// @throws as add(), and InvalidArgument if there are fewer frames in the state than given.
    void subtract(const FramesView& frames, int threads = 0);

    /// Takes frames back as they are read, and tells their statistics: whether they are what was added.
    /// @throws as subtract() of frames in memory and as add() of stored ones.
    std::vector<FrameStatistics> subtract(const StoredFrames& frames, int threads = 0);

    /// The same of encoded frames, as they are decoded.
    std::vector<FrameStatistics> subtract(const EncodedFrames& frames, int threads = 0);

    /// Whether no frame that was taken away, by subtract(), unmerge() or after an error of add(), has left a
    /// trace since the moments were made or empty. A saved state does not hold it.
    bool exact() const noexcept { return traces_ == 0; }
    /// Pixels with such traces, counted once for each call that left them.
    std::size_t traces() const noexcept { return traces_; }

    /// @throws InvalidArgument for another shape or too many frames, WrongKind for the other kind.
    void merge(const PixelMoments& other, int threads = 0);
    void unmerge(const PixelMoments& other, int threads = 0);

    /// Writes one value per pixel. NaN where count() == 0, or count() <= ddof. `with` gives further frames
    /// that count as if they had been merged, without memory for that. @throws as merge().
    void mean(double* out, int threads = 0, const PixelMoments* with = nullptr) const;
    void variance(double* out, std::uint64_t ddof = 0, int threads = 0) const;
    void standard_deviation(double* out, std::uint64_t ddof = 0, int threads = 0,
                            const PixelMoments* with = nullptr) const;
    /// The targets that these images give; no image is kept.
    Targets targets(int threads = 0, const PixelMoments* with = nullptr) const;
    /// Tells whether there are frames with these sums: n * sum(x^2) >= sum(x)^2 for every pixel, exactly for
    /// integers, within the rounding of float sums; and, if they are given, whether the sums lie within
    /// bounds.
    CheckedSums check(const SumBounds* bounds = nullptr, int threads = 0) const;

    /// The exact sums, rounded to double.
    void sum(double* out, int threads = 0) const;
    void sum_of_squares(double* out, int threads = 0) const;

private:
    template <class Frames>
    std::vector<FrameStatistics> add_any(Frames& frames, int threads, bool statistics);
    template <class Frames>
    std::vector<FrameStatistics> subtract_any(Frames& frames, int threads, bool statistics);
    void check_frames(DType dtype, FrameShape shape) const;
    void check_same(const PixelMoments& other) const;
    void check_addable(const PixelMoments& other) const;
    void combine(const PixelMoments& other, bool subtract, int threads);
    void reset_if_empty();

    MomentsState state_;
    std::size_t traces_ = 0;
};

}  // namespace camnorm
