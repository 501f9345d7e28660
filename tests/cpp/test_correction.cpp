#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "camnorm/correction.hpp"
#include "camnorm/error.hpp"

using camnorm::BadPolicy;
using camnorm::Correction;
using camnorm::CorrectionOptions;
using camnorm::DType;
using camnorm::FrameShape;
using camnorm::FramesView;
using camnorm::InvalidArgument;
using camnorm::MutableFramesView;

static_assert(std::is_nothrow_move_constructible_v<Correction> &&
              std::is_nothrow_move_assignable_v<Correction>);

namespace {

constexpr FrameShape shape{60, 70, 1};  // one whole block of pixels and the part of another

std::vector<double> ramp(std::size_t n, double first, double step) {
    std::vector<double> v(n);
    for (std::size_t i = 0; i < n; ++i) v[i] = first + step * static_cast<double>(i);
    return v;
}

std::string message_of(const Correction& c, const FramesView& frames, const MutableFramesView& out,
                       int threads = 1) {
    try {
        c.apply(frames, out, threads);
    } catch (const InvalidArgument& e) {
        return e.what();
    }
    return "";
}

std::string message_of(FrameShape s, std::vector<double> mean, std::vector<double> sigma,
                       CorrectionOptions options = {}) {
    try {
        const Correction c(s, std::move(mean), std::move(sigma), std::move(options));
    } catch (const InvalidArgument& e) {
        return e.what();
    }
    return "";
}

}  // namespace

TEST_CASE("apply is Eq. (2), and inverse undoes it") {
    const auto mean = ramp(shape.pixels(), 90.0, 0.01);
    const auto sigma = ramp(shape.pixels(), 2.0, 0.001);
    const Correction c(shape, mean, sigma, {50.0, 4.0, {}, BadPolicy::neutral});
    std::vector<std::uint16_t> frames(3 * shape.pixels());
    for (std::size_t i = 0; i < frames.size(); ++i) frames[i] = static_cast<std::uint16_t>(i * 7919 % 200);
    const auto in = FramesView::contiguous(frames.data(), DType::uint16, 3, shape);

    std::vector<double> corrected(frames.size());
    c.apply(in, MutableFramesView::contiguous(corrected.data(), DType::float64, 3, shape), 2);
    for (std::size_t i = 0; i < frames.size(); ++i) {
        const std::size_t p = i % shape.pixels();
        const double longhand = (frames[i] - mean[p]) / sigma[p] * 4.0 + 50.0;
        CHECK(std::abs(corrected[i] - longhand) <= 1e-13 * (std::abs(longhand) + 50.0));
    }

    std::vector<std::uint16_t> back(frames.size());
    c.inverse(FramesView::contiguous(corrected.data(), DType::float64, 3, shape),
              MutableFramesView::contiguous(back.data(), DType::uint16, 3, shape), 2);
    CHECK(back == frames);
    CHECK(c.clipped() == 0);
}

TEST_CASE("output beyond the caches has the same bits at every address, and nothing else is written") {
    constexpr std::size_t count = 8000;  // 33.6 MB in uint8
    std::vector<std::uint8_t> bad(shape.pixels());
    bad[0] = bad[255] = bad[2048] = bad[4199] = 1;
    const Correction c(shape, ramp(shape.pixels(), 90.0, 0.01), ramp(shape.pixels(), 2.0, 0.001),
                       {50.0, 4.0, bad, BadPolicy::neutral});
    std::vector<std::uint16_t> frames(count * shape.pixels());
    for (std::size_t i = 0; i < frames.size(); ++i) frames[i] = static_cast<std::uint16_t>(i * 7919 % 200);
    for (const DType dtype : {DType::uint8, DType::float32}) {
        const std::size_t size = item_size(dtype);
        const std::size_t used = dtype == DType::uint8 ? count : count / 4;
        for (const std::size_t offset : {std::size_t{0}, size, std::size_t{7}}) {
            std::vector<std::uint8_t> out(offset + used * shape.pixels() * size + 64, 0xA5);
            c.apply(FramesView::contiguous(frames.data(), DType::uint16, used, shape),
                    MutableFramesView::contiguous(out.data() + offset, dtype, used, shape), 2);
            std::size_t different = 0;
            std::vector<std::uint8_t> frame(shape.pixels() * size);
            for (std::size_t f = 0; f < used; ++f) {
                c.apply(FramesView::contiguous(&frames[f * shape.pixels()], DType::uint16, 1, shape),
                        MutableFramesView::contiguous(frame.data(), dtype, 1, shape), 1);
                different += std::memcmp(&out[offset + f * frame.size()], frame.data(), frame.size()) != 0;
            }
            CHECK(different == 0);
            CHECK(std::count(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(offset), 0xA5) ==
                  static_cast<std::ptrdiff_t>(offset));
            CHECK(std::count(out.end() - 64, out.end(), 0xA5) == 64);
        }
    }
}

TEST_CASE("targets are by default the means over the good pixels") {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const Correction c({1, 5, 1}, {1.0, 3.0, nan, 9.0, 9.0}, {2.0, 6.0, 1.0, 0.0, 1.0},
                       {{}, {}, {0, 0, 0, 0, 1}, {}});
    CHECK(c.target_mean() == 2.0);
    CHECK(c.target_sigma() == 4.0);
    CHECK(c.bad() == std::vector<std::uint8_t>{0, 0, 1, 1, 1});
}

TEST_CASE("integers are rounded half to even, saturate and are counted; the count moves along") {
    Correction c({1, 6, 1}, std::vector<double>(6, 0.0), std::vector<double>(6, 1.0), {0.0, 1.0, {}, {}});
    const std::array<float, 6> in{0.5f, 1.5f, -0.5f, -1.0f, 255.5f, std::numeric_limits<float>::quiet_NaN()};
    std::array<std::uint8_t, 6> out{};
    const auto frames = FramesView::contiguous(in.data(), DType::float32, 1, c.shape());
    c.apply(frames, MutableFramesView::contiguous(out.data(), DType::uint8, 1, c.shape()));
    CHECK(out == std::array<std::uint8_t, 6>{0, 2, 0, 0, 255, 0});
    CHECK(c.clipped() == 3);
    const Correction moved = std::move(c);
    CHECK(moved.clipped() == 3);
}

namespace {

/// Each pixel's results for all values of 8-bit input, by the formula in float64; `clipped` counts them.
std::vector<std::uint8_t> longhand(const Correction& c, DType in, DType out,
                                   std::vector<std::uint64_t>& clipped) {
    const std::size_t pixels = c.shape().pixels();
    const double low = out == DType::int8 ? -128.0 : 0.0;
    std::vector<std::uint8_t> results(pixels * 256);
    clipped.assign(results.size(), 0);
    for (std::size_t i = 0; i < results.size(); ++i) {
        const std::size_t p = i / 256;
        const auto byte = static_cast<std::uint8_t>(i % 256);
        const double x = in == DType::int8 ? static_cast<double>(static_cast<std::int8_t>(byte)) : byte;
        double value = c.target_mean();
        if (c.bad()[p] == 0) value = (x - c.mean()[p]) * (c.target_sigma() / c.sigma()[p]) + c.target_mean();
        const double rounded = std::nearbyint(value);
        const double saturated = std::min(std::max(rounded, low), low + 255.0);
        clipped[i] = rounded != saturated;
        results[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(saturated));
    }
    return results;
}

}  // namespace

TEST_CASE("8-bit integers are rounded as float64 is, however close to the middle between two") {
    const std::size_t pixels = shape.pixels();
    const std::size_t count = 8000;  // 33.6 MB
    std::vector<std::uint8_t> frames(count * pixels);
    for (std::size_t i = 0; i < frames.size(); ++i)
        frames[i] = static_cast<std::uint8_t>(i / pixels + i % pixels * 31);
    std::vector<std::uint8_t> out(frames.size() + 7);
    const double gains[] = {1.0, 0.4, 1.7, 5.9, 30.0};
    for (std::size_t k = 0; k < 15; ++k) {
        // Pixels with a value whose result is the middle between two integers, or next to it by up to
        // 2^-12, but also 2^-50: some in each tile, or all of them.
        std::vector<double> mean(pixels), sigma(pixels, 1.0);
        const double target = k % 3 == 1 ? 1e12 : 100.0;
        for (std::size_t p = 0; p < pixels; ++p) {
            const double gain = gains[k % 5] * (1.0 + static_cast<double>(p % 97) * 0x1p-9);
            sigma[p] = 1.0 / gain;
            const double off = std::ldexp(static_cast<double>(p % 5) - 2.0, -12 - static_cast<int>(p % 40));
            const bool middle = k < 5 || p % 50 == 7;
            const double result = static_cast<double>(p % 256) + (middle ? 0.5 + off : 0.25);
            mean[p] = static_cast<double>(p % 211) - (result - target) / gain;
        }
        std::vector<std::uint8_t> bad(pixels);
        if (k > 9) bad[3] = bad[2047] = bad[4199] = 1;
        if (k > 9) sigma[700] = 0.0;
        const Correction c(shape, mean, sigma, {target, 1.0, bad, BadPolicy::neutral});
        for (const DType in : {DType::uint8, DType::int8}) {
            for (const DType to : {DType::uint8, DType::int8}) {
                std::vector<std::uint64_t> clips;
                const std::vector<std::uint8_t> expected = longhand(c, in, to, clips);
                const bool streams = k == 10 && in == DType::uint8 && to == DType::uint8;
                const std::size_t used = streams ? count : 300;
                for (const std::size_t offset : {std::size_t{0}, std::size_t{7}}) {
                    const std::uint64_t before = c.clipped();
                    c.apply(FramesView::contiguous(frames.data(), in, used, shape),
                            MutableFramesView::contiguous(out.data() + offset, to, used, shape), 2);
                    std::size_t different = 0;
                    std::uint64_t clipped = 0;
                    for (std::size_t i = 0; i < used * pixels; ++i) {
                        const std::size_t entry = i % pixels * 256 + frames[i];
                        different += out[offset + i] != expected[entry];
                        clipped += clips[entry];
                    }
                    CHECK(different == 0);
                    CHECK(c.clipped() - before == clipped);
                }
            }
        }
    }
}

TEST_CASE("bad pixels follow the policy") {
    const FrameShape colour{3, 3, 2};
    std::vector<std::uint8_t> bad(colour.pixels());
    bad[8] = 1;  // the middle one of plane 0
    std::vector<float> frame(colour.pixels());
    for (std::size_t i = 0; i < frame.size(); ++i) frame[i] = static_cast<float>(i);
    const auto corrected = [&](BadPolicy policy) {
        const Correction c(colour, std::vector<double>(18, 0.0), std::vector<double>(18, 1.0),
                           {1.0, 2.0, bad, policy});
        std::vector<float> out = frame;  // in place
        const auto view = MutableFramesView::contiguous(out.data(), DType::float32, 1, colour);
        c.apply(view.view(), view);
        CHECK(out[9] == 19.0f);  // plane 1 of the same pixel
        return out[8];
    };
    CHECK(corrected(BadPolicy::neutral) == 1.0f);
    CHECK(std::isnan(corrected(BadPolicy::nan)));
    CHECK(corrected(BadPolicy::interpolate) == 17.0f);  // 2 * 8 + 1: the neighbours lie symmetrically
}

TEST_CASE("strided frames, also with negative strides, are read and written in place") {
    const Correction c({2, 3, 1}, std::vector<double>(6, 0.0), std::vector<double>(6, 1.0),
                       {1.0, 1.0, {}, {}});
    std::vector<std::int16_t> memory(24);
    for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<std::int16_t>(i);
    const MutableFramesView view{
        reinterpret_cast<std::byte*>(&memory[23]), DType::int16, 2, {2, 3, 1}, {-24, -12, -4, 2}};
    c.apply(view.view(), view);
    for (std::size_t i = 0; i < memory.size(); ++i)
        CHECK(memory[i] == static_cast<std::int16_t>(i % 2 == 1 ? i + 1 : i));
}

TEST_CASE("wrong arguments") {
    const std::vector<double> one(6, 1.0);
    const FrameShape s{2, 3, 1};
    CHECK(message_of({0, 3, 1}, {}, {}) == "frames of shape (0, 3) have no pixels");
    CHECK(
        message_of(s, one, {1.0}) ==
        "the mean image has 6 pixels, the sigma image 1 and the bad pixel mask 6, not the 6 of shape (2, 3)");
    CHECK(message_of(s, one, {1, 1, 1, 1, 1, -0.25}) == "sigma must not be negative, got -0.25");
    CHECK(message_of(s, one, one, {INFINITY, {}, {}, {}}) == "target_mean must be finite, got inf");
    CHECK(message_of(s, one, one, {{}, 0.0, {}, {}}) == "target_sigma must be positive and finite, got 0");
    CHECK(message_of(s, one, std::vector<double>(6, 0.0)) == "all pixels are bad");
    CHECK(message_of({1, 2, 3}, one, one, {{}, {}, {0, 1, 0, 0, 1, 0}, BadPolicy::interpolate}) ==
          "all pixels of colour plane 1 are bad: there is nothing to interpolate from");

    const Correction c(s, one, one, {{}, {}, {}, BadPolicy::nan});
    std::vector<float> memory(24, 7.0f);
    const auto in = FramesView::contiguous(memory.data(), DType::float32, 2, s);
    const auto at = [&](std::size_t offset, DType dtype, std::size_t count, FrameShape shape_of_out) {
        return MutableFramesView::contiguous(memory.data() + offset, dtype, count, shape_of_out);
    };
    CHECK(message_of(c, FramesView::contiguous(memory.data(), DType::float32, 1, {3, 2, 1}),
                     at(12, DType::float32, 1, s)) == "frames have shape (3, 2), the correction (2, 3)");
    CHECK(message_of(c, in, at(12, DType::float32, 2, {3, 2, 2})) ==
          "out has shape (3, 2, 2), the correction (2, 3)");
    CHECK(message_of(c, in, at(12, DType::float32, 1, s)) == "out holds 1 frames, not 2");
    CHECK(message_of(c, in, at(11, DType::float32, 2, s)) ==
          "frames and out overlap in memory: out must be the frames themselves or apart from them");
    CHECK(message_of(c, in, at(0, DType::int32, 2, s)) ==
          "frames and out overlap in memory: out must be the frames themselves or apart from them");
    CHECK(message_of(c, in, at(12, DType::int32, 2, s)) == "bad_policy 'nan' needs float output, not int32");
    CHECK(message_of(c, in, at(12, DType::float32, 2, s), -1) == "threads must be positive, got -1");
    CHECK(memory == std::vector<float>(24, 7.0f));
    CHECK(message_of(c, in, at(12, DType::float32, 2, s)).empty());
}

TEST_CASE("rows are those of whole frames") {
    const std::size_t n = shape.pixels();
    std::vector<std::uint8_t> bad(n);
    for (std::size_t i = 0; i < n; i += 37) bad[i] = 1;
    const Correction c(shape, ramp(n, 100.0, 0.01), ramp(n, 2.0, 0.001), {{}, {}, bad, {}});
    std::vector<float> frames(3 * n);
    for (std::size_t i = 0; i < frames.size(); ++i) frames[i] = static_cast<float>(i % 251);
    std::vector<float> whole(frames.size());
    c.apply(FramesView::contiguous(frames.data(), DType::float32, 3, shape),
            MutableFramesView::contiguous(whole.data(), DType::float32, 3, shape));
    for (const std::size_t first : {0u, 1u, 59u, 31u}) {
        const std::size_t height = std::min<std::size_t>(29, shape.height - first);
        const FrameShape part{height, shape.width, shape.planes};
        FramesView rows = FramesView::contiguous(frames.data(), DType::float32, 3, shape);
        rows.data += first * shape.width * sizeof(float);
        rows.shape = part;
        std::vector<float> out(3 * part.pixels());
        c.apply_rows(rows, MutableFramesView::contiguous(out.data(), DType::float32, 3, part), first, 2);
        for (std::size_t f = 0; f < 3; ++f) {
            const float* const expected = whole.data() + f * n + first * shape.width;
            CHECK(std::equal(expected, expected + part.pixels(), out.data() + f * part.pixels()));
        }
        CHECK_THROWS_AS(c.apply_rows(rows, MutableFramesView::contiguous(out.data(), DType::float32, 3, part),
                                     61 - height),
                        InvalidArgument);
    }
}

TEST_CASE("colour planes have targets of their own") {
    const FrameShape shape{2, 2, 3};
    const std::vector<double> mean{10, 20, 30, 12, 22, 32, 14, 24, 34, 16, 26, 36};
    const std::vector<double> sigma{1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3};
    const Correction c(shape, mean, sigma);
    CHECK(c.target_means() == std::vector<double>{13, 23, 33});
    CHECK(c.target_sigmas() == std::vector<double>{1, 2, 3});
    CHECK(c.target_mean() == 13.0);

    CorrectionOptions options;
    options.target_means = {1, 2};
    CHECK_THROWS_AS(Correction(shape, mean, sigma, options), InvalidArgument);
    options.target_means = {1, 2, 3};
    const Correction given(shape, mean, sigma, options);
    CHECK(given.target_means() == options.target_means);
    CHECK(given.target_sigmas() == std::vector<double>{1, 2, 3});
}
