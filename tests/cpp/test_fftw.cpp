#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <limits>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "camnorm/error.hpp"
#include "camnorm/fftw.hpp"

using namespace camnorm;

namespace {

struct Image {
    std::vector<float> pixels;
    FrameShape shape;

    FramesView view() const { return FramesView::contiguous(pixels.data(), DType::float32, 1, shape); }
};

Image noise(std::size_t height, std::size_t width, unsigned seed) {
    std::mt19937_64 engine(seed);
    std::normal_distribution<float> normal(100.0f, 3.0f);
    Image image{std::vector<float>(height * width), {height, width, 1}};
    for (float& x : image.pixels) x = normal(engine);
    return image;
}

/// The rings of transforms by FFT's definition, in float64, of images under a window.
RingCorrelation by_definition(const Image& a, const Image& b, const std::vector<double>& rows,
                              const std::vector<double>& columns, const RingIndex& index) {
    constexpr double pi = 3.14159265358979323846;
    const auto [height, width, planes] = a.shape;
    const auto transform = [&, height = height, width = width](const Image& image) {
        std::vector<double> tapered(height * width);
        taper(image.view(), rows.data(), columns.data(), tapered.data(), 1);
        std::vector<std::complex<double>> half(height * (width / 2 + 1));
        for (std::size_t ky = 0; ky < height; ++ky)
            for (std::size_t kx = 0; kx <= width / 2; ++kx)
                for (std::size_t y = 0; y < height; ++y)
                    for (std::size_t x = 0; x < width; ++x)
                        half[ky * (width / 2 + 1) + kx] +=
                            tapered[y * width + x] *
                            std::polar(
                                1.0, -2.0 * pi *
                                         (static_cast<double>(ky * y % height) / static_cast<double>(height) +
                                          static_cast<double>(kx * x % width) / static_cast<double>(width)));
        return half;
    };
    const auto fa = transform(a), fb = transform(b);
    if (rows.front() == 1.0) return ring_correlation(index, fa.data(), fb.data(), 1);
    // Under a window there are no edges that z would be without.
    std::vector<std::complex<double>> columns_a, columns_b;
    for (std::size_t x = 0; x <= width / 2; ++x) {
        for (std::size_t y = 0; y < height; ++y) {
            columns_a.push_back(fa[y * (width / 2 + 1) + x]);
            columns_b.push_back(fb[y * (width / 2 + 1) + x]);
        }
    }
    const RingIndex transposed(width, height);
    RingAccumulator sums(transposed);
    REQUIRE(sums.bands() == 1);
    sums.add(0, columns_a.data(), columns_b.data());
    return sums.correlation();
}

}  // namespace

TEST_CASE("golden correlations") {
    std::ifstream table(CAMNORM_TEST_DATA "/frc_golden.csv");
    std::string line;
    REQUIRE(std::getline(table, line));
    std::size_t rows = 0;
    while (std::getline(table, line)) {
        std::istringstream row(line);
        std::vector<std::string> cells;
        for (std::string cell; std::getline(row, cell, ',');) cells.push_back(cell);
        const std::size_t height = std::stoul(cells.at(0));
        const std::size_t width = std::stoul(cells.at(1));
        const std::size_t radius = std::stoul(cells.at(3));
        CAPTURE(line);
        std::vector<std::uint8_t> a, b;  // the images of make_frc_golden.py
        for (std::size_t y = 0; y < height; ++y)
            for (std::size_t x = 0; x < width; ++x) {
                a.push_back(static_cast<std::uint8_t>((7 * y * y + 3 * x * y + 5 * x + y) % 17));
                b.push_back(static_cast<std::uint8_t>(a.back() + (y * y + 11 * x * x + 2 * x * y) % 13));
            }
        FrcOptions options;
        options.binning = cells.at(2) == "round" ? Binning::round : Binning::floor;
        options.square = false;
        options.corners = true;
        const FrameShape shape{height, width, 1};
        const Frc rings = frc(FramesView::contiguous(a.data(), DType::uint8, 1, shape),
                              FramesView::contiguous(b.data(), DType::uint8, 1, shape), options, 1);
        CHECK(rings.counts.at(radius) == std::stoul(cells.at(4)));
        CHECK(std::abs(rings.correlation.at(radius) - std::stod(cells.at(5))) < 1e-6);
        CHECK(std::abs(rings.z.at(radius) - std::stod(cells.at(6))) < 1e-5);
        ++rows;
    }
    CHECK(rows == 38);
}

TEST_CASE("windows, crops and binnings are those of the definition") {
    const Image a = noise(38, 45, 1);
    const Image b = noise(38, 45, 2);
    for (const double alpha : {0.0, 0.5, 1.0}) {
        for (const bool square : {true, false}) {
            FrcOptions options;
            options.taper = alpha;
            options.square = square;
            const Frc rings = frc(a.view(), b.view(), options, 2);
            const std::size_t width = square ? 38 : 45;
            REQUIRE(rings.height == 38);
            REQUIRE(rings.width == width);
            const auto crop = [&](const Image& image) {
                Image part{{}, {38, width, 1}};
                const std::size_t left = (45 - width) / 2;
                for (std::size_t y = 0; y < 38; ++y)
                    for (std::size_t x = 0; x < width; ++x)
                        part.pixels.push_back(image.pixels[y * 45 + left + x]);
                return part;
            };
            const auto window = [&](std::size_t n) {
                std::vector<double> w(n, 1.0);
                for (std::size_t i = 0; i < n && alpha > 0.0; ++i) {
                    const double x = static_cast<double>(i) / static_cast<double>(n);
                    const double edge = std::min(x, 1.0 - x) / (alpha / 2.0);
                    if (edge < 1.0) w[i] = std::pow(std::sin(edge * 1.57079632679489661923), 2);
                }
                return w;
            };
            const RingCorrelation expected =
                by_definition(crop(a), crop(b), window(38), window(width), RingIndex(38, width));
            REQUIRE(rings.correlation.size() == expected.correlation.size());
            for (std::size_t r = 1; r < expected.correlation.size(); ++r) {
                CHECK(std::abs(rings.correlation[r] - expected.correlation[r]) < 1e-6);
                CHECK(std::abs(rings.z[r] - expected.z[r]) < 1e-5);
            }
            CHECK(std::isnan(rings.correlation[0]));
        }
    }
}

TEST_CASE("threads and layouts do not change a bit") {
    // Several pieces of rows, the last one smaller, and several bands of columns.
    const Image a = noise(1030, 700, 3);
    const Image b = noise(1030, 700, 4);
    const Frc one = frc(a.view(), b.view(), {}, 1);
    const auto same = [](const std::vector<double>& x, const std::vector<double>& y) {
        bool result = x.size() == y.size();
        for (std::size_t i = 1; result && i < x.size(); ++i) result = x[i] == y[i];
        return result;
    };
    for (const int threads : {2, 3, 64}) {
        const Frc more = frc(a.view(), b.view(), {}, threads);
        CHECK(same(more.correlation, one.correlation));
        CHECK(same(more.z, one.z));
    }
    std::vector<double> wide;
    for (const float x : a.pixels) wide.insert(wide.end(), {static_cast<double>(x), -1.0});
    FramesView strided = FramesView::contiguous(wide.data(), DType::float64, 1, a.shape);
    strided.strides = {0, 700 * 16, 16, 8};
    CHECK(same(frc(strided, b.view(), {}, 1).correlation, one.correlation));
    const Frc itself = frc(a.view(), a.view(), {}, 1);
    for (std::size_t r = 1; r < itself.correlation.size(); ++r)
        CHECK(itself.correlation[r] == doctest::Approx(1.0).epsilon(1e-12));
}

TEST_CASE("images that cannot be correlated") {
    const Image a = noise(8, 8, 1);
    const Image other = noise(8, 9, 1);
    const Image row = noise(1, 8, 1);
    CHECK_THROWS_WITH_AS(frc(a.view(), other.view()),
                         "frames of shapes (8, 8) and (8, 9) cannot be correlated", InvalidArgument);
    CHECK_THROWS_WITH_AS(frc(row.view(), row.view()), "frames of shape (1, 8) have no rings",
                         InvalidArgument);
    FramesView two = a.view();
    two.count = 2;
    CHECK_THROWS_AS(frc(two, a.view()), InvalidArgument);
    for (const double wrong : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN()}) {
        FrcOptions options;
        options.taper = wrong;
        CHECK_THROWS_WITH_AS(frc(a.view(), a.view(), options), "the taper must lie between 0 and 1",
                             InvalidArgument);
    }
    Image broken = a;
    broken.pixels[9] = std::numeric_limits<float>::infinity();
    CHECK_THROWS_AS(frc(a.view(), broken.view()), NonFinite);
    const Image flat{std::vector<float>(64, 5.0f), {8, 8, 1}};
    for (const double c : frc(a.view(), flat.view()).correlation) CHECK(std::isnan(c));
}
