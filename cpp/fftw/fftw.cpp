#include "camnorm/fftw.hpp"

#include <fftw3.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <complex>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <type_traits>
#include <utility>

#include "camnorm/error.hpp"
#include "camnorm/runtime.hpp"
#include "parallel.hpp"

namespace camnorm {
namespace {

using detail::parallel_for;

constexpr std::size_t band_columns = RingAccumulator::band_columns;

/// Bytes of the rows that are transformed together: with their spectra they stay in the second-level cache.
constexpr std::size_t row_bytes = std::size_t{256} << 10;

constexpr std::size_t line_bytes = 64;

template <class T>
using Array = std::unique_ptr<T[], decltype(&fftwf_free)>;

/// Memory as FFTW's plans want it.
template <class T>
Array<T> allocate(std::size_t n) {
    Array<T> array(static_cast<T*>(fftwf_malloc(n * sizeof(T))), &fftwf_free);
    if (!array) throw std::bad_alloc();
    return array;
}

struct Destroy {
    void operator()(fftwf_plan plan) const;
};
using Plan = std::unique_ptr<std::remove_pointer_t<fftwf_plan>, Destroy>;

std::mutex& planner() {
    static std::mutex mutex;
    return mutex;
}

void Destroy::operator()(fftwf_plan plan) const {
    const std::lock_guard<std::mutex> lock(planner());
    fftwf_destroy_plan(plan);
}

/// A view of the central part of a frame.
FramesView central(FramesView view, std::size_t height, std::size_t width) {
    view.data = view.frame(0) +
                static_cast<std::ptrdiff_t>((view.shape.height - height) / 2) * view.strides[1] +
                static_cast<std::ptrdiff_t>((view.shape.width - width) / 2) * view.strides[2];
    view.places = nullptr;
    view.shape.height = height;
    view.shape.width = width;
    return view;
}

/// Periodic Tukey window: its value repeats after n pixels, so that Hann's has three harmonics only.
std::vector<double> tukey(std::size_t n, double alpha) {
    constexpr double pi = 3.14159265358979323846;
    std::vector<double> window(n, 1.0);
    for (std::size_t i = 0; alpha > 0.0 && i < n; ++i) {
        const auto distance = static_cast<double>(std::min(i, n - i));
        window[i] =
            0.5 - 0.5 * std::cos(pi * std::min(1.0, distance / (alpha * static_cast<double>(n) / 2.0)));
    }
    return window;
}

/// Transforms of two images at a time: rows of both, then columns band by band.
class Transforms {
public:
    Transforms(std::size_t height, std::size_t width)
        : height_(height),
          width_(width),
          piece_(std::clamp<std::size_t>(row_bytes / (width * sizeof(float)), 1, height)),
          pieces_((height + piece_ - 1) / piece_),
          bands_((width / 2 + band_columns) / band_columns),
          // An odd number of cache lines, so that a column does not fall into one set of the cache.
          row_(bands_ * band_columns + line_bytes / sizeof(fftwf_complex)),
          pixels_row_((width + 15) / 16 * 16) {
        const auto pixels = allocate<float>(pixels_size());
        const auto rows = allocate<fftwf_complex>(spectrum_size());
        const auto columns = allocate<fftwf_complex>(columns_size());
        const int sides[] = {static_cast<int>(width), static_cast<int>(height)};
        const std::lock_guard<std::mutex> lock(planner());
        // Estimated: planned in no time, and the same on every run.
        rows_.reset(fftwf_plan_many_dft_r2c(1, &sides[0], static_cast<int>(piece_), pixels.get(), nullptr, 1,
                                            static_cast<int>(pixels_row_), rows.get(), nullptr, 1,
                                            static_cast<int>(row_), FFTW_ESTIMATE));
        columns_.reset(fftwf_plan_many_dft(1, &sides[1], static_cast<int>(band_columns), rows.get(), nullptr,
                                           static_cast<int>(row_), 1, columns.get(), nullptr, 1,
                                           static_cast<int>(height), FFTW_FORWARD, FFTW_ESTIMATE));
        if (!rows_ || !columns_) throw std::bad_alloc();
    }

    std::size_t bands() const { return bands_; }
    std::size_t pieces() const { return pieces_; }
    /// Whole pieces of rows, whole bands of columns.
    std::size_t spectrum_size() const { return pieces_ * piece_ * row_; }
    std::size_t pixels_size() const { return piece_ * pixels_row_; }
    std::size_t columns_size() const { return band_columns * height_; }

    void transform_rows(const Taper& taper, std::size_t piece, float* pixels, fftwf_complex* spectrum) const {
        const std::size_t first = piece * piece_;
        const std::size_t last = std::min(first + piece_, height_);
        for (std::size_t y = first; y < last; ++y) taper.write(y, y + 1, pixels + (y - first) * pixels_row_);
        std::fill(pixels + (last - first) * pixels_row_, pixels + pixels_size(), 0.0f);
        fftwf_execute_dft_r2c(rows_.get(), pixels, spectrum + first * row_);
        for (std::size_t y = first; y < first + piece_; ++y)  // what the last band has beyond the spectrum
            std::memset(spectrum + y * row_ + half_width(), 0, (row_ - half_width()) * sizeof *spectrum);
    }

    void transform_columns(fftwf_complex* spectrum, std::size_t band, fftwf_complex* columns) const {
        fftwf_execute_dft(columns_.get(), spectrum + band * band_columns, columns);
    }

private:
    std::size_t half_width() const { return width_ / 2 + 1; }

    std::size_t height_;
    std::size_t width_;
    std::size_t piece_;
    std::size_t pieces_;
    std::size_t bands_;
    std::size_t row_;
    std::size_t pixels_row_;
    Plan rows_{nullptr};
    Plan columns_{nullptr};
};

/// Transform of real values, of which the first n/2 + 1 frequencies are returned.
std::vector<std::complex<double>> transform(const std::vector<float>& values) {
    const auto pixels = allocate<float>(values.size());
    const std::size_t half = values.size() / 2 + 1;
    const auto spectrum = allocate<fftwf_complex>(half);
    Plan plan{nullptr};
    {
        const std::lock_guard<std::mutex> lock(planner());
        plan.reset(fftwf_plan_dft_r2c_1d(static_cast<int>(values.size()), pixels.get(), spectrum.get(),
                                         FFTW_ESTIMATE));
    }
    if (!plan) throw std::bad_alloc();
    std::copy(values.begin(), values.end(), pixels.get());
    fftwf_execute(plan.get());
    std::vector<std::complex<double>> result(half);
    for (std::size_t k = 0; k < half; ++k) result[k] = {spectrum[k][0], spectrum[k][1]};
    return result;
}

/// Transform of the steps from the first row of a frame to its last, or the same of its columns.
std::vector<std::complex<double>> transformed_jump(FramesView frame, bool rows) {
    std::size_t& side = rows ? frame.shape.height : frame.shape.width;
    frame.strides[rows ? 1 : 2] *= static_cast<std::ptrdiff_t>(side - 1);
    side = 2;
    Taper taper(frame);  // a frame of its own, whose mean does not matter
    for (std::size_t band = 0; band < taper.bands(); ++band) taper.sum(band);
    taper.take_mean();
    std::vector<float> pixels(frame.shape.pixels());
    taper.write(0, frame.shape.height, pixels.data());
    const std::size_t n = pixels.size() / 2;
    std::vector<float> jump(n);
    for (std::size_t i = 0; i < n; ++i)
        jump[i] = rows ? pixels[n + i] - pixels[i] : pixels[2 * i + 1] - pixels[2 * i];
    return transform(jump);
}

/// How a frame without a window jumps at its edges.
Jumps jumps_of(const FramesView& frame) {
    Jumps jumps{transformed_jump(frame, true), transformed_jump(frame, false)};
    for (std::size_t k = jumps.columns.size(); k < frame.shape.height; ++k)
        jumps.columns.push_back(std::conj(jumps.columns[frame.shape.height - k]));
    return jumps;
}

/// Calls work(worker, piece) for every piece; each worker, one thread, takes the next one that is left.
template <class Work>
void share(std::size_t pieces, std::size_t workers, const Work& work) {
    std::atomic<std::size_t> next{0};
    parallel_for(workers, static_cast<int>(workers), [&](std::size_t worker) {
        for (std::size_t piece; (piece = next.fetch_add(1)) < pieces;) work(worker, piece);
    });
}

/// What one thread transforms at a time.
struct Worker {
    Array<float> pixels;
    Array<fftwf_complex> columns_a;
    Array<fftwf_complex> columns_b;
};

void check(const FramesView& a, const FramesView& b, const FrcOptions& options) {
    if (a.count != 1 || b.count != 1 || a.shape.planes != 1 || b.shape.planes != 1)
        throw InvalidArgument("one grey frame in each view is wanted");
    if (a.shape != b.shape)
        throw InvalidArgument("frames of shapes " + to_string(a.shape) + " and " + to_string(b.shape) +
                              " cannot be correlated");
    if (std::min(a.shape.height, a.shape.width) < 2)
        throw InvalidArgument("frames of shape " + to_string(a.shape) + " have no rings");
    if (!(options.taper >= 0.0 && options.taper <= 1.0))
        throw InvalidArgument("the taper must lie between 0 and 1");
    // FFTW counts in int.
    constexpr std::size_t most = std::numeric_limits<int>::max() / (2 * band_columns);
    if (std::max(a.shape.height, a.shape.width) > most)
        throw InvalidArgument("frames of shape " + to_string(a.shape) + " are too large to be transformed");
}

}  // namespace

Frc frc(const FramesView& a, const FramesView& b, const FrcOptions& options, int threads) {
    check(a, b, options);
    const std::size_t side = std::min(a.shape.height, a.shape.width);
    const std::size_t height = options.square ? side : a.shape.height;
    const std::size_t width = options.square ? side : a.shape.width;
    const auto n_threads = static_cast<std::size_t>(resolve_threads(threads));
    const std::vector<double> rows = tukey(height, options.taper);
    const std::vector<double> columns = tukey(width, options.taper);
    const FramesView central_a = central(a, height, width);
    const FramesView central_b = central(b, height, width);
    Taper taper_a(central_a, rows.data(), columns.data());
    Taper taper_b(central_b, rows.data(), columns.data());
    for (Taper* taper : {&taper_a, &taper_b}) {
        parallel_for(taper->bands(), static_cast<int>(n_threads),
                     [&](std::size_t band) { taper->sum(band); });
        taper->take_mean();
    }

    // Of the transposed plane, as the spectra come by columns.
    const RingIndex index(width, height, options.binning, options.corners);
    RingAccumulator sums = options.taper > 0.0
                               ? RingAccumulator(index)
                               : RingAccumulator(index, jumps_of(central_a), jumps_of(central_b));
    const Transforms transforms(height, width);
    const auto spectrum_a = allocate<fftwf_complex>(transforms.spectrum_size());
    const auto spectrum_b = allocate<fftwf_complex>(transforms.spectrum_size());
    const std::size_t pieces = transforms.pieces();
    std::vector<Worker> workers;
    for (std::size_t i = 0; i < std::min(n_threads, std::max(2 * pieces, transforms.bands())); ++i)
        workers.push_back({allocate<float>(transforms.pixels_size()),
                           allocate<fftwf_complex>(transforms.columns_size()),
                           allocate<fftwf_complex>(transforms.columns_size())});

    share(2 * pieces, workers.size(), [&](std::size_t worker, std::size_t i) {
        float* pixels = workers[worker].pixels.get();
        if (i < pieces)
            transforms.transform_rows(taper_a, i, pixels, spectrum_a.get());
        else
            transforms.transform_rows(taper_b, i - pieces, pixels, spectrum_b.get());
    });
    share(transforms.bands(), workers.size(), [&](std::size_t worker, std::size_t band) {
        fftwf_complex* column_a = workers[worker].columns_a.get();
        fftwf_complex* column_b = workers[worker].columns_b.get();
        transforms.transform_columns(spectrum_a.get(), band, column_a);
        transforms.transform_columns(spectrum_b.get(), band, column_b);
        sums.add(band, reinterpret_cast<const std::complex<float>*>(column_a),
                 reinterpret_cast<const std::complex<float>*>(column_b));
    });
    RingCorrelation rings = sums.correlation();
    return {height, width, index.counts(), std::move(rings.correlation), std::move(rings.z)};
}

}  // namespace camnorm
