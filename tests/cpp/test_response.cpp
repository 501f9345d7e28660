#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "camnorm/error.hpp"
#include "camnorm/moments.hpp"
#include "camnorm/response.hpp"

using namespace camnorm;

namespace {

constexpr FrameShape shape{37, 131, 2};
constexpr std::size_t frame_count = 9;

template <class T>
struct Set {
    std::vector<T> pixels;
    std::vector<double> exposures;
    DType dtype;

    FramesView view(std::size_t first, std::size_t count) const {
        return FramesView::contiguous(pixels.data() + first * shape.pixels(), dtype, count, shape);
    }
    FramesView view() const { return view(0, frame_count); }
};

/// Frames whose pixels lie on a line over the exposures, exactly: x = offset + gain * w.
template <class T>
Set<T> line(DType dtype) {
    Set<T> set{{}, {}, dtype};
    for (std::size_t f = 0; f < frame_count; ++f) {
        set.exposures.push_back(static_cast<double>(f * f));
        for (std::size_t i = 0; i < shape.pixels(); ++i)
            set.pixels.push_back(static_cast<T>(i % 7 + (i % 3 + 1) * f * f));
    }
    return set;
}

template <class T>
void check_line(DType dtype) {
    const Set<T> set = line<T>(dtype);
    PixelMoments moments(shape, kind_of(dtype));
    moments.add(set.view());
    PixelResponse response(shape, kind_of(dtype));
    response.add(set.view(), set.exposures.data());
    std::vector<double> gain(shape.pixels());
    response.gain(moments, gain.data());
    for (std::size_t i = 0; i < gain.size(); ++i) CHECK(gain[i] == static_cast<double>(i % 3 + 1));
    CHECK(response.exposures().mean == doctest::Approx(204.0 / 9));
    CHECK(response.exposures().variance == doctest::Approx(8772.0 / 9 - 204.0 * 204.0 / 81));
}

bool equal(const PixelResponse& a, const PixelResponse& b) {
    const ResponseState& s = a.state();
    const ResponseState& t = b.state();
    return s.count == t.count && s.exposure_sum == t.exposure_sum &&
           s.exposure_sum_of_squares == t.exposure_sum_of_squares && s.products == t.products &&
           s.exposure_sum_high == t.exposure_sum_high && s.products_high == t.products_high &&
           s.products_low == t.products_low;
}

}  // namespace

TEST_CASE("response: gains of pixels on a line") {
    check_line<std::uint8_t>(DType::uint8);
    check_line<std::int16_t>(DType::int16);
    check_line<std::uint16_t>(DType::uint16);
    check_line<std::uint32_t>(DType::uint32);
    check_line<std::int32_t>(DType::int32);
    check_line<float>(DType::float32);
    check_line<double>(DType::float64);
}

TEST_CASE("response: batches, threads, merging and taking back leave the same bits") {
    const auto set = line<std::uint16_t>(DType::uint16);
    PixelResponse whole(shape, Kind::integer);
    whole.add(set.view(), set.exposures.data(), 2);
    PixelResponse a(shape, Kind::integer);
    PixelResponse b(shape, Kind::integer);
    for (std::size_t f = frame_count; f-- > 4;) a.add(set.view(f, 1), set.exposures.data() + f, 1);
    b.add(set.view(0, 4), set.exposures.data());
    PixelResponse both(a.state());
    both.merge(b);
    CHECK(equal(both, whole));
    both.unmerge(b);
    CHECK(equal(both, a));
    whole.subtract(set.view(0, 4), set.exposures.data());
    CHECK(equal(whole, a));
    whole.subtract(set.view(4, 5), set.exposures.data() + 4);
    CHECK(equal(whole, PixelResponse(shape, Kind::integer)));
}

TEST_CASE("response: what is refused changes nothing") {
    const auto set = line<std::uint16_t>(DType::uint16);
    PixelResponse response(shape, Kind::integer);
    response.add(set.view(), set.exposures.data());
    const PixelResponse before(response.state());
    std::vector<double> exposures(frame_count, std::numeric_limits<double>::infinity());
    CHECK_THROWS_AS(response.add(set.view(), exposures.data()), InvalidArgument);
    CHECK_THROWS_AS(response.merge(PixelResponse({2, 3, 1}, Kind::integer)), InvalidArgument);
    CHECK_THROWS_AS(response.merge(PixelResponse(shape, Kind::floating)), WrongKind);
    const auto floats = line<float>(DType::float32);
    CHECK_THROWS_AS(response.add(floats.view(), floats.exposures.data()), WrongKind);
    PixelResponse more(shape, Kind::integer);
    more.add(set.view(0, 1), set.exposures.data());
    CHECK_THROWS_AS(more.unmerge(response), InvalidArgument);
    CHECK_THROWS_AS(PixelResponse({0, 3, 1}, Kind::integer), InvalidArgument);
    ResponseState state = response.state();
    state.products.resize(state.products.size() - 1);
    CHECK_THROWS_AS(PixelResponse{state}, InvalidArgument);
    state = response.state();
    state.count = PixelResponse::max_count + 1;
    CHECK_THROWS_AS(PixelResponse{state}, InvalidArgument);
    std::vector<double> gain(shape.pixels());
    CHECK_THROWS_AS(response.gain(PixelMoments(shape, Kind::integer), gain.data()), InvalidArgument);
    CHECK(equal(response, before));

    auto bad = line<float>(DType::float32);
    bad.pixels[3 * shape.pixels() + 5] = std::numeric_limits<float>::quiet_NaN();
    PixelResponse floating(shape, Kind::floating);
    CHECK_THROWS_AS(floating.add(bad.view(), bad.exposures.data()), NonFinite);
    CHECK(equal(floating, PixelResponse(shape, Kind::floating)));
}

TEST_CASE("response: without frames, or without differences of exposure") {
    PixelResponse response(shape, Kind::integer);
    CHECK(std::isnan(response.exposures().mean));
    const auto set = line<std::uint16_t>(DType::uint16);
    const std::vector<double> same(frame_count, 12.0);
    response.add(set.view(), same.data());
    PixelMoments moments(shape, Kind::integer);
    moments.add(set.view());
    std::vector<double> gain(shape.pixels());
    response.gain(moments, gain.data());
    for (const double g : gain) CHECK(std::isnan(g));
    CHECK(response.exposures().variance == 0.0);
}
