#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "camnorm/frames.hpp"

namespace camnorm {

/// How the radius r of a frequency becomes the number of its ring.
enum class Binning : std::uint8_t {
    round,  ///< floor(r + 1/2), as EMAN2, RELION, Xmipp and cisTEM
    floor   ///< floor(r)
};

/// The ring of every frequency of a (height, width) discrete Fourier transform.
///
/// The radius of (ky, kx) is r = sqrt((ky/height)^2 + (kx/width)^2) * min(height, width), so ring
/// min(height, width)/2 is Nyquist and the rings of oblong frames are circles in frequency. Its
/// ring is found in integer arithmetic: exact, ties included. May be shared between threads.
class RingIndex {
public:
    /// Rings 0 to floor(min(height, width)/2), or with `corners` to the largest one of the plane.
    /// @throws InvalidArgument for an empty plane, and if a ring's number exceeds 65535.
    RingIndex(std::size_t height, std::size_t width, Binning binning = Binning::round, bool corners = false);

    std::size_t height() const noexcept { return height_; }
    std::size_t width() const noexcept { return width_; }
    /// Number of rings; they are numbered from 0.
    std::size_t rings() const noexcept { return counts_.size(); }
    /// Frequencies of the full plane in each ring, Hermitian mates included.
    const std::vector<std::uint64_t>& counts() const noexcept { return counts_; }
    /// Rings of (ky, 0), (ky, 1), ... (ky, width/2) for 0 <= ky <= height/2.
    const std::uint16_t* row(std::size_t ky) const noexcept { return table_.data() + ky * (width_ / 2 + 1); }
    /// How many entries of row(ky) lie within the last ring: the rings grow along a row.
    std::size_t columns(std::size_t ky) const noexcept { return columns_[ky]; }

private:
    std::size_t height_;
    std::size_t width_;
    std::vector<std::uint16_t> table_;
    std::vector<std::size_t> columns_;
    std::vector<std::uint64_t> counts_;
};

/// A value a ring, from the sums over the ring's frequencies in the full plane.
struct RingCorrelation {
    /// Fourier ring correlation, sum Re(A conj B) / sqrt(sum |A|^2 * sum |B|^2). NaN for ring 0 and
    /// where a spectrum has no power.
    std::vector<double> correlation;
    /// sum Re(A conj B) / sqrt(sum |A|^2 |B|^2): given the moduli, a sum of cosines of random
    /// phases with unit variance if the spectra are independent, however the power is spread
    /// over the ring. NaN where the correlation is.
    std::vector<double> z;
};

/// Correlates two half spectra (real-to-complex transforms), each (height, width/2 + 1) in C order.
/// Sums in float64 over fixed bands of rows: neither threads nor the instruction set change a bit.
/// @throws InvalidArgument if a sum is not finite.
RingCorrelation ring_correlation(const RingIndex& index, const std::complex<float>* fa,
                                 const std::complex<float>* fb, int threads = 0);
RingCorrelation ring_correlation(const RingIndex& index, const std::complex<double>* fa,
                                 const std::complex<double>* fb, int threads = 0);

/// Sums a real full-plane spectrum over each ring: (height, width) in C order with the zero
/// frequency at (height/2, width/2).
std::vector<double> ring_sums(const RingIndex& index, const double* spectrum, int threads = 0);

/// Makes one grey frame ready for its transform: removes the mean and lays a separable window,
/// out(y, x) = rows[y] * columns[x] * (frame(y, x) - mean), all in float64 until the result is
/// rounded. The mean is the window's weighted one, so that out sums to zero: else the window would
/// spread what is left of the mean over the innermost rings. A constant frame gives exact zeros.
/// @param rows, columns  window of height and width values that do not sum to zero; nullptr for 1.
/// @param out  (height, width) in C order.
/// @returns the mean that was removed.
/// @throws NonFinite if the frame has NaN or infinite pixels, InvalidArgument if the view is not
/// one grey frame.
double taper(const FramesView& frame, const double* rows, const double* columns, float* out, int threads = 0);
double taper(const FramesView& frame, const double* rows, const double* columns, double* out,
             int threads = 0);

}  // namespace camnorm
