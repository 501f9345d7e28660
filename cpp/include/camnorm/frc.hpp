#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "camnorm/export.h"
#include "camnorm/frames.hpp"

/// @file
/// Ring correlation of Fourier transforms that the caller has made. The function that takes images, frc(), is
/// in camnorm/fftw.hpp, since it needs FFTW: link camnorm::fftw for it.

namespace camnorm {

namespace detail {
struct RingSums;
class Edges;
}  // namespace detail

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
class CAMNORM_EXPORT RingIndex {
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
    /// over the ring. Where the jumps at the edges are known, A and B are without what these put into
    /// them. NaN where the correlation is.
    std::vector<double> z;
    /// mean |A|^2 * mean |B|^2 / mean |A|^2 |B|^2, of the same A and B as z: about 1 if the frequencies share
    /// the power of their ring, 1/n if both spectra have theirs in the same one. NaN where the correlation
    /// is.
    std::vector<double> evenness;
};

/// Sums over the frequencies of each ring in the full plane.
struct RingPowers {
    std::vector<double> cross;    ///< Re(A conj B)
    std::vector<double> power_a;  ///< |A|^2
    std::vector<double> power_b;  ///< |B|^2
};

/// Discrete Fourier transforms of the steps by which an image jumps where it goes on periodically over its
/// edges. They put a cross into its spectrum, in which the phases of all frequencies go together.
///
/// What they put in is L. Moisan's smooth component ("Periodic plus Smooth Image Decomposition", J. Math.
/// Imaging Vis. 39, 161-179 (2011)).
struct Jumps {
    std::vector<std::complex<double>> rows;     ///< of last row - first row, width/2 + 1 values
    std::vector<std::complex<double>> columns;  ///< of last column - first column, height values
};

/// Correlates two half spectra (real-to-complex transforms) of images without a window, each
/// (height, width/2 + 1) in C order. The jumps at the edges are taken from the spectra. Sums in float64 over
/// fixed bands of rows: neither threads nor the instruction set change a bit.
/// @throws InvalidArgument if a sum is not finite.
CAMNORM_EXPORT RingCorrelation ring_correlation(const RingIndex& index, const std::complex<float>* fa,
                                                const std::complex<float>* fb, int threads = 0);
CAMNORM_EXPORT RingCorrelation ring_correlation(const RingIndex& index, const std::complex<double>* fa,
                                                const std::complex<double>* fb, int threads = 0);

/// Ring correlation of spectra that come band by band, each right after the transforms of its columns:
/// they need never lie in memory whole.
class CAMNORM_EXPORT RingAccumulator {
public:
    /// Columns of a band; the last one may have fewer.
    static constexpr std::size_t band_columns = 32;

    /// @param transposed  rings of the transposed plane, RingIndex(width, height): its row kx has those of
    /// column kx. It must live as long as the accumulator.
    explicit RingAccumulator(const RingIndex& transposed);
    /// Of images without a window, whose jumps are known.
    /// @throws InvalidArgument if jumps are not of as many values as the plane has.
    RingAccumulator(const RingIndex& transposed, const Jumps& a, const Jumps& b);
    ~RingAccumulator();
    RingAccumulator(const RingAccumulator&) = delete;
    RingAccumulator& operator=(const RingAccumulator&) = delete;

    /// ceil((width/2 + 1) / band_columns).
    std::size_t bands() const noexcept { return bands_; }

    /// Adds columns [band * band_columns, (band + 1) * band_columns) of two half spectra, as far as there
    /// are. Several threads may add different bands at once; their order does not change a bit.
    /// @param fa, fb  the columns one after another, each of `height` values: (columns, height) in C order.
    /// @throws InvalidArgument if there is no such band.
    void add(std::size_t band, const std::complex<float>* fa, const std::complex<float>* fb);
    void add(std::size_t band, const std::complex<double>* fa, const std::complex<double>* fb);

    /// Of all that was added.
    /// @throws InvalidArgument if a sum is not finite.
    RingCorrelation correlation() const;

    /// Of all that was added, what the edges put into the spectra included.
    RingPowers powers() const;

private:
    detail::RingSums* band_sums(std::size_t band);

    const RingIndex* index_;
    std::size_t bands_;
    std::vector<detail::RingSums> sums_;
    std::unique_ptr<const detail::Edges> edges_;
};

/// Sums a real full-plane spectrum over each ring: (height, width) in C order with the zero
/// frequency at (height/2, width/2).
CAMNORM_EXPORT std::vector<double> ring_sums(const RingIndex& index, const double* spectrum, int threads = 0);

/// Makes one grey frame ready for its transform: removes the mean and lays a separable window,
/// out(y, x) = rows[y] * columns[x] * (frame(y, x) - mean), all in float64 until the result is
/// rounded. The mean is the window's weighted one, so that out sums to zero: else the window would
/// spread what is left of the mean over the innermost rings. A constant frame gives exact zeros.
///
/// First every band is summed, then the mean taken, then rows are written. Several threads may sum
/// different bands, or write, at once.
class CAMNORM_EXPORT Taper {
public:
    /// The frame's pixels must stay where they are.
    /// @param rows, columns  window of height and width values that do not sum to zero; nullptr for 1.
    /// @throws InvalidArgument if the view is not one grey frame.
    explicit Taper(const FramesView& frame, const double* rows = nullptr, const double* columns = nullptr);

    /// Bands of rows that are summed one by one: fixed by the shape, as the order of sums is.
    std::size_t bands() const noexcept { return sums_.size(); }

    /// @param band  less than bands().
    void sum(std::size_t band) noexcept;

    /// Takes the mean from the sums, and returns it.
    /// @throws NonFinite if the frame has NaN or infinite pixels.
    double take_mean();

    /// Writes rows [first, last) to out, (last - first, width) in C order.
    void write(std::size_t first, std::size_t last, float* out) const noexcept;
    void write(std::size_t first, std::size_t last, double* out) const noexcept;

private:
    template <class T>
    void write_rows(std::size_t first, std::size_t last, T* out) const noexcept;

    FramesView frame_;
    std::vector<double> rows_;
    std::vector<double> columns_;
    std::vector<double> sums_;
    double origin_ = 0.0;
    double mean_ = 0.0;
};

/// Tapers a whole frame, to (height, width) in C order, and returns the mean that was removed.
CAMNORM_EXPORT double taper(const FramesView& frame, const double* rows, const double* columns, float* out,
                            int threads = 0);
CAMNORM_EXPORT double taper(const FramesView& frame, const double* rows, const double* columns, double* out,
                            int threads = 0);

}  // namespace camnorm
