#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "camnorm/error.hpp"
#include "camnorm/pattern.hpp"
#include "haar.hpp"

using namespace camnorm;
using camnorm::detail::HaarAxis;

namespace {

std::vector<float> noise(std::size_t n, unsigned seed, double sigma = 1.0) {
    std::mt19937_64 engine(seed);
    std::normal_distribution<double> normal(0.0, sigma);
    std::vector<float> values(n);
    for (float& value : values) value = static_cast<float>(normal(engine));
    return values;
}

double rms_of_difference(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
        sum += d * d;
    }
    return std::sqrt(sum / static_cast<double>(a.size()));
}

/// The transform of one line, by the matrix whose rows forward() gives of unit vectors.
std::vector<float> transform(const HaarAxis& axis, std::vector<float> values) {
    std::vector<float> result(axis.length());
    axis.forward(values.data(), 1, [&](std::size_t i) { return &result[i]; });
    return result;
}

}  // namespace

TEST_CASE("the transform is orthonormal at any length, and is undone") {
    for (const std::size_t n : {1U, 2U, 3U, 5U, 7U, 8U, 13U, 31U, 64U, 97U, 480U}) {
        const HaarAxis axis(n);
        std::vector<std::vector<float>> columns;
        for (std::size_t i = 0; i < n; ++i) {
            std::vector<float> unit(n, 0.0F);
            unit[i] = 1.0F;
            columns.push_back(transform(axis, unit));
        }
        double worst = 0.0;
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t j = 0; j <= i; ++j) {
                double product = 0.0;
                for (std::size_t k = 0; k < n; ++k)
                    product += static_cast<double>(columns[i][k]) * static_cast<double>(columns[j][k]);
                worst = std::max(worst, std::fabs(product - (i == j ? 1.0 : 0.0)));
            }
        }
        CHECK(worst < 1e-6);
        const std::vector<float> values = noise(n, 3);
        const std::vector<float> coefficients = transform(axis, values);
        std::vector<float> back(n);
        axis.inverse(back.data(), 1, [&](std::size_t i) { return &coefficients[i]; });
        CHECK(rms_of_difference(values, back) < 1e-6);
        // A constant is the mean alone, and the ranges cover everything once.
        const std::vector<float> constant = transform(axis, std::vector<float>(n, 1.0F));
        CHECK(constant[0] == doctest::Approx(std::sqrt(static_cast<double>(n))));
        std::size_t next = 0;
        for (const auto& range : axis.ranges()) {
            CHECK(range.begin == next);
            next = range.end;
        }
        CHECK(next == n);
    }
}

TEST_CASE("noise alone is no pattern, and a pattern is found as far as the halves agree") {
    for (const auto& [height, width] : {std::pair{96U, 80U}, {97U, 61U}, {4U, 500U}, {1U, 700U}}) {
        const std::size_t n = std::size_t{height} * width;
        const std::vector<float> a = noise(n, 1), b = noise(n, 2);
        std::vector<float> pattern(n);
        estimate_pattern(height, width, a.data(), b.data(), pattern.data());
        CHECK(rms_of_difference(pattern, std::vector<float>(n, 0.0F)) < 0.1);
        const std::vector<float> truth = noise(n, 4, 2.0);
        std::vector<float> in_a = a, in_b = b;
        double mean = 0.0;
        for (const float t : truth) mean += static_cast<double>(t) / static_cast<double>(n);
        for (std::size_t i = 0; i < n; ++i) {
            in_a[i] += truth[i];
            in_b[i] += truth[i];
        }
        const auto bands = estimate_pattern(height, width, in_a.data(), in_b.data(), pattern.data());
        // Of white patterns, variance 4, under noise of variance 1/2: 4/9 of the variance of the noise is
        // left.
        const double error = rms_of_difference(pattern, truth);
        CHECK(error < std::sqrt(0.5) * 1.05);
        double expected = 0.0;
        for (const PatternBand& band : bands) expected += band.residual;
        CHECK(std::sqrt(expected / static_cast<double>(n)) == doctest::Approx(error).epsilon(0.1));
    }
}

TEST_CASE("columns are found in noise that hides every pixel of them") {
    constexpr std::size_t height = 200, width = 120;
    std::vector<float> a = noise(height * width, 1), b = noise(height * width, 2), pattern(height * width);
    const std::vector<float> columns = noise(width, 5, 0.3);
    std::vector<float> truth(height * width);
    for (std::size_t i = 0; i < truth.size(); ++i) {
        truth[i] = columns[i % width];
        a[i] += truth[i];
        b[i] += truth[i];
    }
    estimate_pattern(height, width, a.data(), b.data(), pattern.data());
    CHECK(rms_of_difference(pattern, truth) < 0.12);
}

TEST_CASE("halves of unequal numbers of frames count by them") {
    constexpr std::size_t side = 128, n = side * side;
    const std::vector<float> truth = noise(n, 9, 1.0);
    std::vector<float> a = noise(n, 1, 0.1), b = noise(n, 2, 1.0), pattern(n);
    for (std::size_t i = 0; i < n; ++i) {
        a[i] += truth[i];
        b[i] += truth[i];
    }
    PatternOptions options;
    options.frames_a = 100.0;
    options.frames_b = 1.0;
    estimate_pattern(side, side, a.data(), b.data(), pattern.data(), options);
    CHECK(rms_of_difference(pattern, truth) < 0.11);
    options.only_a = true;
    std::vector<float> of_a(n), with_another(n);
    estimate_pattern(side, side, a.data(), b.data(), of_a.data(), options);
    CHECK(rms_of_difference(of_a, truth) < 0.11);
}

TEST_CASE("neither threads nor the size of blocks change a bit of the pattern") {
    constexpr std::size_t height = 75, width = 133;
    const std::vector<float> a = noise(height * width, 1), b = a;
    std::vector<float> one(height * width), three(height * width);
    estimate_pattern(height, width, a.data(), b.data(), one.data(), {}, 1);
    estimate_pattern(height, width, a.data(), b.data(), three.data(), {}, 3);
    CHECK(one == three);
}

TEST_CASE("what cannot be estimated is refused") {
    const float pixel = 1.0F;
    float out = 0.0F;
    CHECK_THROWS_AS(estimate_pattern(0, 1, &pixel, &pixel, &out), InvalidArgument);
    CHECK_THROWS_AS(estimate_pattern(1, 1, &pixel, &pixel, &out, {0.0, 1.0}), InvalidArgument);
    CHECK_THROWS_AS(estimate_pattern(1, 1, &pixel, &pixel, &out, {1.0, 1.0, -1.0}), InvalidArgument);
    CHECK_THROWS_AS(estimate_pattern(1, 1, &pixel, &pixel, &out, {1.0, 1.0, 1.0, 0.0}), InvalidArgument);
    const std::uint8_t used = 1;
    CHECK_THROWS_AS(local_means(1, 0, &pixel, &used, 1, &out), InvalidArgument);
    CHECK(estimate_pattern(1, 1, &pixel, &pixel, &out).empty());
    CHECK(out == doctest::Approx(1.0));
}

TEST_CASE("local means are those of the used pixels within the image") {
    constexpr std::size_t height = 9, width = 7, radius = 2;
    const std::vector<float> values = noise(height * width, 6);
    std::vector<std::uint8_t> used(height * width, 1);
    for (std::size_t i = 0; i < used.size(); i += 3) used[i] = 0;
    for (std::size_t y = 0; y < 3; ++y)
        for (std::size_t x = 0; x < 3; ++x) used[y * width + x] = 0;
    std::vector<float> means(height * width);
    local_means(height, width, values.data(), used.data(), radius, means.data());
    for (std::size_t y = 0; y < height; ++y) {
        for (std::size_t x = 0; x < width; ++x) {
            double sum = 0.0, count = 0.0;
            for (std::size_t j = 0; j < height; ++j)
                for (std::size_t i = 0; i < width; ++i)
                    if (used[j * width + i] != 0 && j + radius >= y && y + radius >= j && i + radius >= x &&
                        x + radius >= i) {
                        sum += static_cast<double>(values[j * width + i]);
                        count += 1.0;
                    }
            if (count > 0.0)
                CHECK(means[y * width + x] == doctest::Approx(sum / count).epsilon(1e-5));
            else
                CHECK(std::isnan(means[y * width + x]));
        }
    }
}
