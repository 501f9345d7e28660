#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "camnorm/average.hpp"
#include "camnorm/error.hpp"
#include "camnorm/frc.hpp"

using namespace camnorm;

namespace {

constexpr double pi = 3.14159265358979323846;

/// Signed frequency number of a transform's element.
long signed_frequency(std::size_t k, std::size_t n) {
    return 2 * k >= n + 1 ? static_cast<long>(k) - static_cast<long>(n) : static_cast<long>(k);
}

/// Ring by its definition in floating point; shapes with radii that are whole or half are tested apart.
std::size_t ring_of(std::size_t y, std::size_t x, std::size_t height, std::size_t width, Binning binning) {
    const long double fy =
        static_cast<long double>(signed_frequency(y, height)) / static_cast<long double>(height);
    const long double fx =
        static_cast<long double>(signed_frequency(x, width)) / static_cast<long double>(width);
    const long double r = std::sqrt(fy * fy + fx * fx) * static_cast<long double>(std::min(height, width));
    // Of whole and half radii the largest rounding error is far below the distance to the next radius.
    return static_cast<std::size_t>(std::floor(r + (binning == Binning::round ? 0.5L : 0.0L) + 1e-15L));
}

std::vector<std::complex<double>> naive_transform(const std::vector<double>& image, std::size_t height,
                                                  std::size_t width) {
    std::vector<std::complex<double>> result(height * width);
    for (std::size_t ky = 0; ky < height; ++ky)
        for (std::size_t kx = 0; kx < width; ++kx)
            for (std::size_t y = 0; y < height; ++y)
                for (std::size_t x = 0; x < width; ++x) {
                    const double phase = -2.0 * pi *
                                         (static_cast<double>(ky * y) / static_cast<double>(height) +
                                          static_cast<double>(kx * x) / static_cast<double>(width));
                    result[ky * width + kx] += image[y * width + x] * std::polar(1.0, phase);
                }
    return result;
}

template <class T>
std::vector<std::complex<T>> half_of(const std::vector<std::complex<double>>& full, std::size_t height,
                                     std::size_t width) {
    std::vector<std::complex<T>> half;
    for (std::size_t y = 0; y < height; ++y)
        for (std::size_t x = 0; x <= width / 2; ++x) half.emplace_back(full[y * width + x]);
    return half;
}

std::vector<double> random_image(std::size_t pixels, unsigned seed) {
    std::mt19937_64 engine(seed);
    std::normal_distribution<double> normal;
    std::vector<double> image(pixels);
    for (double& x : image) x = normal(engine);
    return image;
}

}  // namespace

TEST_CASE("the rings of the half plane are those of the definition and count the full plane") {
    for (const auto& [height, width] : {std::pair<std::size_t, std::size_t>{8, 8},
                                        {7, 7},
                                        {12, 9},
                                        {9, 12},
                                        {2, 2},
                                        {3, 2},
                                        {2, 31},
                                        {64, 16},
                                        {120, 136}}) {
        for (Binning binning : {Binning::round, Binning::floor}) {
            CAPTURE(height);
            CAPTURE(width);
            const RingIndex all(height, width, binning, true);
            const RingIndex inner(height, width, binning, false);
            CHECK(inner.rings() == std::min(height, width) / 2 + 1);
            std::vector<std::uint64_t> counts(all.rings());
            for (std::size_t y = 0; y < height; ++y) {
                const std::size_t ky = std::min(y, height - y);
                for (std::size_t x = 0; x < width; ++x) {
                    const std::size_t kx = std::min(x, width - x);
                    const std::size_t ring = ring_of(y, x, height, width, binning);
                    REQUIRE(all.row(ky)[kx] == ring);
                    REQUIRE((kx < inner.columns(ky)) == (ring < inner.rings()));
                    ++counts.at(ring);
                }
            }
            CHECK(all.counts() == counts);
            counts.resize(inner.rings());
            CHECK(inner.counts() == counts);
        }
    }
}

TEST_CASE("rings are exact where floating point is not") {
    // Radii on the axes of oblong planes are fractions: whole ones must not fall below their ring.
    const RingIndex thirds(90, 270, Binning::floor);
    for (std::size_t k = 1; k <= 45; ++k) {
        CHECK(thirds.row(0)[3 * k] == k);
        CHECK(thirds.row(0)[3 * k - 1] == k - 1);
        CHECK(thirds.row(k)[0] == k);
    }
    // Halves go up.
    const RingIndex halves(60, 120, Binning::round);
    for (std::size_t k = 0; k < 30; ++k) CHECK(halves.row(0)[2 * k + 1] == k + 1);
    // Pythagorean triples off the axes.
    const RingIndex square(1000, 1000, Binning::floor);
    CHECK(square.row(300)[400] == 500);
    CHECK(square.row(280)[96] == 296);
    CHECK(square.row(96)[280] == 296);
    // Planes whose squares do not fit 64 bits.
    const RingIndex tall(100000, 3, Binning::floor, true);
    CHECK(tall.row(50000)[0] == 1);
    CHECK(tall.row(33333)[0] == 0);
    CHECK(tall.row(33334)[0] == 1);
}

TEST_CASE("planes without rings or with too many are refused") {
    CHECK_THROWS_AS(RingIndex(0, 4), InvalidArgument);
    CHECK_THROWS_AS(RingIndex(4, 0), InvalidArgument);
    CHECK_THROWS_WITH_AS(RingIndex(200000, 200000),
                         "a plane of 200000 x 200000 frequencies has more than 65535 rings", InvalidArgument);
}

/// Sums of each ring over a full plane.
struct PlaneSums {
    PlaneSums(const std::vector<std::complex<double>>& a, const std::vector<std::complex<double>>& b,
              std::size_t height, std::size_t width, Binning binning, std::size_t rings)
        : cross(rings), power_a(rings), power_b(rings), product(rings), n(rings) {
        for (std::size_t i = 0; i < a.size(); ++i) {
            const std::size_t ring = ring_of(i / width, i % width, height, width, binning);
            cross[ring] += std::real(a[i] * std::conj(b[i]));
            power_a[ring] += std::norm(a[i]);
            power_b[ring] += std::norm(b[i]);
            product[ring] += std::norm(a[i]) * std::norm(b[i]);
            n[ring] += 1.0;
        }
    }

    std::vector<double> cross, power_a, power_b, product, n;
};

/// What the jumps at the edges put into the transform of an image: that of its smooth component.
std::vector<std::complex<double>> smooth_transform(const std::vector<double>& image, std::size_t height,
                                                   std::size_t width) {
    std::vector<double> jumps(image.size());
    for (std::size_t x = 0; x < width; ++x) {
        const double step = image[(height - 1) * width + x] - image[x];
        jumps[x] += step;
        jumps[(height - 1) * width + x] -= step;
    }
    for (std::size_t y = 0; y < height; ++y) {
        const double step = image[y * width + width - 1] - image[y * width];
        jumps[y * width] += step;
        jumps[y * width + width - 1] -= step;
    }
    auto result = naive_transform(jumps, height, width);
    const auto cosine = [](std::size_t k, std::size_t n) {
        return 2.0 * std::cos(6.28318530717958647693 * static_cast<double>(k) / static_cast<double>(n));
    };
    result[0] = 0.0;
    for (std::size_t i = 1; i < result.size(); ++i)
        result[i] /= cosine(i / width, height) + cosine(i % width, width) - 4.0;
    return result;
}

TEST_CASE_TEMPLATE("the correlation is that of the full plane", T, float, double) {
    const double tolerance = sizeof(T) == sizeof(float) ? 1e-6 : 1e-13;
    for (const auto& [height, width] :
         {std::pair<std::size_t, std::size_t>{16, 16}, {15, 15}, {14, 9}, {9, 14}, {6, 17}, {2, 2}, {3, 3}}) {
        for (Binning binning : {Binning::round, Binning::floor}) {
            CAPTURE(height);
            CAPTURE(width);
            const std::vector<double> x = random_image(height * width, 1);
            std::vector<double> y = random_image(height * width, 2);
            for (std::size_t i = 0; i < y.size(); ++i) y[i] += 0.3 * x[i];
            const auto a = naive_transform(x, height, width);
            const auto b = naive_transform(y, height, width);
            auto smooth_a = a, smooth_b = b;
            const auto edges_a = smooth_transform(x, height, width);
            const auto edges_b = smooth_transform(y, height, width);
            for (std::size_t i = 0; i < a.size(); ++i) {
                smooth_a[i] -= edges_a[i];
                smooth_b[i] -= edges_b[i];
            }
            const RingIndex index(height, width, binning, true);
            const PlaneSums sums(a, b, height, width, binning, index.rings());
            const PlaneSums smooth(smooth_a, smooth_b, height, width, binning, index.rings());
            const auto result = ring_correlation(index, half_of<T>(a, height, width).data(),
                                                 half_of<T>(b, height, width).data());
            REQUIRE(result.correlation.size() == index.rings());
            CHECK(std::isnan(result.correlation[0]));
            CHECK(std::isnan(result.z[0]));
            for (std::size_t r = 1; r < index.rings(); ++r) {
                const double correlation = sums.cross[r] / std::sqrt(sums.power_a[r] * sums.power_b[r]);
                CHECK(result.correlation[r] == doctest::Approx(correlation).epsilon(tolerance));
                if (smooth.product[r] < 1e-20) continue;  // nothing but edges
                const double z = smooth.cross[r] / std::sqrt(smooth.product[r]);
                const double evenness =
                    smooth.power_a[r] * smooth.power_b[r] / (smooth.n[r] * smooth.product[r]);
                CHECK(result.z[r] == doctest::Approx(z).epsilon(10 * tolerance));
                CHECK(result.evenness[r] == doctest::Approx(evenness).epsilon(10 * tolerance));
            }
        }
    }
}

TEST_CASE("threads do not change a bit") {
    const std::size_t side = 150;
    const RingIndex index(side, side, Binning::round, true);
    std::vector<std::complex<float>> a(side * (side / 2 + 1)), b(a.size());
    std::mt19937 engine(3);
    std::normal_distribution<float> normal;
    for (auto* spectrum : {&a, &b})
        for (auto& value : *spectrum) value = {normal(engine), normal(engine)};
    std::vector<double> plane(side * side);
    for (double& value : plane) value = normal(engine);
    const auto one = ring_correlation(index, a.data(), b.data(), 1);
    const auto sums = ring_sums(index, plane.data(), 1);
    for (int threads : {2, 3, 7}) {
        const auto many = ring_correlation(index, a.data(), b.data(), threads);
        for (std::size_t r = 1; r < index.rings(); ++r) {
            CHECK(many.correlation[r] == one.correlation[r]);
            CHECK(many.z[r] == one.z[r]);
        }
        CHECK(ring_sums(index, plane.data(), threads) == sums);
    }
}

TEST_CASE("spectra without power give NaN, spectra that are not finite are refused") {
    const RingIndex index(4, 4);
    std::vector<std::complex<double>> a(4 * 3, 1.0);
    std::vector<std::complex<double>> b(4 * 3, 0.0);
    for (double value : ring_correlation(index, a.data(), b.data()).correlation) CHECK(std::isnan(value));
    for (double value : ring_correlation(index, a.data(), b.data()).z) CHECK(std::isnan(value));
    for (double bad :
         {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), 1e160}) {
        b.assign(b.size(), bad);
        CHECK_THROWS_AS(ring_correlation(index, a.data(), b.data()), InvalidArgument);
    }
}

/// By the definition of the inverse transform.
template <class T>
Jumps jumps_of(const std::vector<std::complex<T>>& half, std::size_t height, std::size_t width) {
    const auto step = [](std::size_t k, std::size_t n) {
        return std::polar(1.0, -6.28318530717958647693 * static_cast<double>(k) / static_cast<double>(n)) -
               1.0;
    };
    const std::size_t columns = width / 2 + 1;
    Jumps jumps{std::vector<std::complex<double>>(columns), std::vector<std::complex<double>>(height)};
    for (std::size_t y = 0; y < height; ++y) {
        for (std::size_t x = 0; x < width; ++x) {
            const std::size_t mate = (height - y) % height;
            const std::complex<double> value =
                x < columns ? std::complex<double>(half[y * columns + x])
                            : std::conj(std::complex<double>(half[mate * columns + width - x]));
            if (x < columns) jumps.rows[x] += value * step(y, height) / static_cast<double>(height);
            jumps.columns[y] += value * step(x, width) / static_cast<double>(width);
        }
    }
    return jumps;
}

TEST_CASE("jumps of another plane are refused") {
    const RingIndex transposed(6, 4);  // of frames of 4 rows and 6 columns
    const Jumps right{std::vector<std::complex<double>>(4), std::vector<std::complex<double>>(4)};
    const Jumps wrong{std::vector<std::complex<double>>(3), std::vector<std::complex<double>>(4)};
    CHECK_NOTHROW(RingAccumulator(transposed, right, right));
    CHECK_THROWS_WITH_AS(RingAccumulator(transposed, right, wrong),
                         "jumps at the edges are not those of a plane of 4 x 6", InvalidArgument);
}

TEST_CASE_TEMPLATE("spectra that come in bands of columns give the correlation of whole ones", T, float,
                   double) {
    for (const auto& [height, width] :
         {std::pair<std::size_t, std::size_t>{2, 2}, {3, 3}, {15, 63}, {16, 64}, {64, 130}, {131, 40}}) {
        for (Binning binning : {Binning::round, Binning::floor}) {
            for (bool corners : {false, true}) {
                CAPTURE(height);
                CAPTURE(width);
                const std::size_t half = width / 2 + 1;
                std::vector<std::complex<T>> a(height * half), b(a.size());
                std::mt19937 engine(5);
                std::normal_distribution<T> normal;
                for (auto* spectrum : {&a, &b})
                    for (auto& value : *spectrum) value = {normal(engine), normal(engine)};
                const auto columns = [&](const std::vector<std::complex<T>>& spectrum) {
                    std::vector<std::complex<T>> result;
                    for (std::size_t x = 0; x < half; ++x)
                        for (std::size_t y = 0; y < height; ++y) result.push_back(spectrum[y * half + x]);
                    return result;
                };
                const auto column_a = columns(a), column_b = columns(b);
                const RingIndex transposed(width, height, binning, corners);
                const Jumps jumps_a = jumps_of(a, height, width);
                const Jumps jumps_b = jumps_of(b, height, width);
                RingAccumulator forwards(transposed, jumps_a, jumps_b);
                RingAccumulator backwards(transposed, jumps_a, jumps_b);
                const std::size_t band_size = height * RingAccumulator::band_columns;
                const std::size_t bands = forwards.bands();
                REQUIRE(bands == (half + RingAccumulator::band_columns - 1) / RingAccumulator::band_columns);
                for (std::size_t i = 0; i < bands; ++i) {
                    const std::size_t j = bands - 1 - i;
                    forwards.add(i, column_a.data() + i * band_size, column_b.data() + i * band_size);
                    backwards.add(j, column_a.data() + j * band_size, column_b.data() + j * band_size);
                }
                const RingIndex index(height, width, binning, corners);
                CHECK(transposed.counts() == index.counts());
                const auto whole = ring_correlation(index, a.data(), b.data());
                const auto result = forwards.correlation();
                const auto other = backwards.correlation();
                REQUIRE(result.correlation.size() == index.rings());
                CHECK(std::isnan(result.correlation[0]));
                for (std::size_t r = 1; r < index.rings(); ++r) {
                    CHECK(result.correlation[r] == doctest::Approx(whole.correlation[r]).epsilon(1e-12));
                    CHECK(result.z[r] == doctest::Approx(whole.z[r]).epsilon(1e-12));
                    CHECK(other.correlation[r] == result.correlation[r]);
                    CHECK(other.z[r] == result.z[r]);
                }
                CHECK_THROWS_AS(forwards.add(bands, a.data(), b.data()), InvalidArgument);
            }
        }
    }
}

TEST_CASE("sums over rings count a constant and find the centre") {
    for (const auto& [height, width] : {std::pair<std::size_t, std::size_t>{8, 8}, {7, 5}, {6, 9}}) {
        for (bool corners : {false, true}) {
            const RingIndex index(height, width, Binning::round, corners);
            std::vector<double> plane(height * width, 1.0);
            const auto counts = ring_sums(index, plane.data());
            for (std::size_t r = 0; r < index.rings(); ++r)
                CHECK(counts[r] == static_cast<double>(index.counts()[r]));
            plane[height / 2 * width + width / 2] = 5.0;
            CHECK(ring_sums(index, plane.data())[0] == counts[0] + 4.0);
        }
    }
}

TEST_CASE_TEMPLATE("a tapered frame is the window times the deviations from the weighted mean", T, float,
                   double) {
    const std::size_t height = 5;
    const std::size_t width = 4100;  // more than one block of pixels
    std::vector<std::uint16_t> pixels(height * width);
    std::mt19937 engine(4);
    for (auto& p : pixels) p = static_cast<std::uint16_t>(60000 + engine() % 100);
    const auto view = FramesView::contiguous(pixels.data(), DType::uint16, 1, {height, width, 1});
    std::vector<double> rows(height), columns(width);
    for (std::size_t y = 0; y < height; ++y) rows[y] = 0.5 + static_cast<double>(y);
    for (std::size_t x = 0; x < width; ++x) columns[x] = 1.0 / (1.0 + static_cast<double>(x % 13));

    long double sum = 0, weight = 0, plain = 0;
    for (std::size_t i = 0; i < pixels.size(); ++i) {
        const long double w = static_cast<long double>(rows[i / width]) * columns[i % width];
        sum += w * pixels[i];
        weight += w;
        plain += pixels[i];
    }
    std::vector<T> out(height * width);
    for (int threads : {1, 2}) {
        const double mean = taper(view, rows.data(), columns.data(), out.data(), threads);
        CHECK(mean == doctest::Approx(static_cast<double>(sum / weight)).epsilon(1e-15));
        for (std::size_t y = 0; y < height; ++y) {
            for (std::size_t x = 0; x < width; ++x) {
                const double exact = rows[y] * columns[x] * (pixels[y * width + x] - mean);
                REQUIRE(out[y * width + x] == static_cast<T>(exact));
            }
        }
    }
    const double mean = taper(view, nullptr, nullptr, out.data());
    CHECK(
        mean ==
        doctest::Approx(static_cast<double>(plain / static_cast<long double>(pixels.size()))).epsilon(1e-15));
    CHECK(out[1] == static_cast<T>(pixels[1] - mean));
}

TEST_CASE("every pixel type and stride is tapered alike") {
    // Values that all types hold exactly, in every second column of every second row, backwards.
    const std::size_t height = 4;
    const std::size_t width = 6;
    const auto value = [](std::size_t y, std::size_t x) { return static_cast<int>((3 * y + 5 * x) % 11); };
    double mean = 0.0;
    for (std::size_t i = 0; i < height * width; ++i) mean += value(i / width, i % width);
    mean /= static_cast<double>(height * width);
    const auto check = [&](DType dtype, const auto& encode) {
        using Pixel = decltype(encode(0));
        std::vector<Pixel> pixels(4 * height * width, encode(1));
        for (std::size_t y = 0; y < height; ++y)
            for (std::size_t x = 0; x < width; ++x)
                pixels[4 * width * (height - 1 - y) + 2 * x] = encode(value(y, x));
        FramesView view;
        view.dtype = dtype;
        view.count = 1;
        view.shape = {height, width, 1};
        view.data = reinterpret_cast<const std::byte*>(pixels.data() + 4 * width * (height - 1));
        const auto size = static_cast<std::ptrdiff_t>(sizeof(Pixel));
        view.strides = {0, -size * static_cast<std::ptrdiff_t>(4 * width), 2 * size, size};
        std::vector<double> out(height * width);
        CAPTURE(name(dtype));
        CHECK(taper(view, nullptr, nullptr, out.data()) == doctest::Approx(mean).epsilon(1e-15));
        for (std::size_t i = 0; i < out.size(); ++i)
            CHECK(out[i] == doctest::Approx(value(i / width, i % width) - mean).epsilon(1e-14));
    };
    check(DType::uint8, [](int v) { return static_cast<std::uint8_t>(v); });
    check(DType::int8, [](int v) { return static_cast<std::int8_t>(v); });
    check(DType::uint16, [](int v) { return static_cast<std::uint16_t>(v); });
    check(DType::int16, [](int v) { return static_cast<std::int16_t>(v); });
    check(DType::uint32, [](int v) { return static_cast<std::uint32_t>(v); });
    check(DType::int32, [](int v) { return static_cast<std::int32_t>(v); });
    check(DType::float32, [](int v) { return static_cast<float>(v); });
    check(DType::float64, [](int v) { return static_cast<double>(v); });
    // IEEE 754 binary16 of small whole numbers.
    check(DType::float16, [](int v) {
        if (v == 0) return std::uint16_t{0};
        const int exponent = static_cast<int>(std::log2(v));
        return static_cast<std::uint16_t>((exponent + 15) << 10 | (v << (10 - exponent) & 0x3FF));
    });
}

TEST_CASE("a constant frame becomes exact zeros, a bad one is refused") {
    std::vector<float> pixels(7 * 9, 0.1F);
    std::vector<float> out(pixels.size(), 1.0F);
    const FrameShape shape{7, 9, 1};
    const auto view = FramesView::contiguous(pixels.data(), DType::float32, 1, shape);
    taper(view, nullptr, nullptr, out.data());
    for (float value : out) CHECK(value == 0.0F);
    for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        for (std::size_t place : {std::size_t{0}, std::size_t{40}}) {
            pixels.assign(pixels.size(), 0.1F);
            pixels[place] = bad;
            CHECK_THROWS_AS(taper(view, nullptr, nullptr, out.data()), NonFinite);
        }
    }
    CHECK_THROWS_AS(taper(FramesView::contiguous(pixels.data(), DType::float32, 3, {7, 3, 1}), nullptr,
                          nullptr, out.data()),
                    InvalidArgument);
    CHECK_THROWS_AS(taper(FramesView::contiguous(pixels.data(), DType::float32, 1, {7, 3, 3}), nullptr,
                          nullptr, out.data()),
                    InvalidArgument);
}

TEST_CASE("rows of a tapered frame can be written piece by piece") {
    const std::size_t height = 600;
    const std::size_t width = 1700;  // more than one band to be summed
    std::vector<std::int16_t> pixels(height * width);
    std::mt19937 engine(6);
    for (auto& p : pixels) p = static_cast<std::int16_t>(engine() % 1000);
    const auto view = FramesView::contiguous(pixels.data(), DType::int16, 1, {height, width, 1});
    std::vector<float> whole(height * width), rows(100 * width);
    const double mean = taper(view, nullptr, nullptr, whole.data(), 2);

    Taper taper(view);
    REQUIRE(taper.bands() > 1);
    for (std::size_t band = taper.bands(); band-- > 0;) taper.sum(band);
    CHECK(taper.take_mean() == mean);
    for (std::size_t first = 0; first < height; first += 100) {
        taper.write(first, first + 100, rows.data());
        CHECK(
            std::equal(rows.begin(), rows.end(), whole.begin() + static_cast<std::ptrdiff_t>(first * width)));
    }
}

TEST_CASE("frames of every pixel type are added up") {
    const FrameShape shape{37, 1001, 3};  // several blocks, the last one cut off
    const std::size_t count = 3;
    const auto check = [&](DType dtype, const auto& encode) {
        using Pixel = decltype(encode(0));
        std::vector<Pixel> pixels;
        std::vector<double> expected(shape.pixels(), 0.5);
        for (std::size_t i = 0; i < count * shape.pixels(); ++i) {
            const int value = static_cast<int>(i % 101);
            pixels.push_back(encode(value));
            expected[i % shape.pixels()] += value;
        }
        const auto view = FramesView::contiguous(pixels.data(), dtype, count, shape);
        CAPTURE(name(dtype));
        for (int threads : {1, 3}) {
            std::vector<double> sums(shape.pixels(), 0.5);
            add_frames(view, sums.data(), threads);
            CHECK(sums == expected);
        }
    };
    check(DType::uint8, [](int v) { return static_cast<std::uint8_t>(v); });
    check(DType::int8, [](int v) { return static_cast<std::int8_t>(v); });
    check(DType::uint16, [](int v) { return static_cast<std::uint16_t>(v); });
    check(DType::int16, [](int v) { return static_cast<std::int16_t>(v); });
    check(DType::uint32, [](int v) { return static_cast<std::uint32_t>(v); });
    check(DType::int32, [](int v) { return static_cast<std::int32_t>(v); });
    check(DType::float32, [](int v) { return static_cast<float>(v); });
    check(DType::float64, [](int v) { return static_cast<double>(v); });
    check(DType::float16, [](int v) {
        if (v == 0) return std::uint16_t{0};
        const int exponent = static_cast<int>(std::log2(v));
        return static_cast<std::uint16_t>((exponent + 15) << 10 | (v << (10 - exponent) & 0x3FF));
    });
}
