#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "camnorm/error.hpp"
#include "camnorm/moments.hpp"
#include "camnorm/state.hpp"

using namespace camnorm;

namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t header_bytes = 64;

/// CRC-32C bit by bit, by its definition.
std::uint32_t checksum(const std::byte* data, std::size_t size) {
    std::uint32_t crc = 0xFFFFFFFFu;
    for (std::size_t i = 0; i < size; ++i) {
        crc ^= std::to_integer<std::uint32_t>(data[i]);
        for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
    }
    return ~crc;
}

template <class T>
void put(Bytes& bytes, std::size_t place, T value) {
    std::memcpy(bytes.data() + place, &value, sizeof value);  // tests run on little-endian machines
}

/// Makes the checksums right again.
void seal(Bytes& bytes) {
    put(bytes, 60, checksum(bytes.data(), 60));
    put(bytes, bytes.size() - 4, checksum(bytes.data() + header_bytes, bytes.size() - header_bytes - 4));
}

template <class T>
PixelMoments some_moments(FrameShape shape, DType dtype, std::size_t count = 5) {
    std::mt19937_64 engine(7);
    std::vector<T> frames(count * shape.pixels());
    for (T& x : frames) {
        if constexpr (std::is_floating_point_v<T>)
            x = static_cast<T>(std::normal_distribution<double>(1e3, 1e2)(engine));
        else
            x = static_cast<T>(engine());
    }
    PixelMoments moments(shape, kind_of(dtype));
    moments.add(FramesView::contiguous(frames.data(), dtype, count, shape), 1);
    return moments;
}

bool equal(const PixelMoments& a, const PixelMoments& b) {
    const MomentsState& s = a.state();
    const MomentsState& t = b.state();
    return s.kind == t.kind && s.shape == t.shape && s.count == t.count && s.sum == t.sum &&
           s.sum_of_squares == t.sum_of_squares && s.sum_high == t.sum_high && s.sum_low == t.sum_low &&
           s.sum_of_squares_high == t.sum_of_squares_high && s.sum_of_squares_low == t.sum_of_squares_low;
}

SavedMoments load(const Bytes& bytes) { return load_state(bytes.data(), bytes.size()); }

std::string refusal(const Bytes& bytes) {
    try {
        load(bytes);
    } catch (const InvalidArgument& e) {
        return e.what();
    }
    return "";
}

}  // namespace

TEST_CASE("saved moments are the same again, of every kind and shape") {
    const auto check = [](const PixelMoments& moments, DType dtype) {
        const Bytes bytes = save_state(moments, dtype);
        CHECK(bytes.size() == state_size(moments));
        const SavedMoments saved = load(bytes);
        CHECK(equal(saved.moments, moments));
        CHECK(saved.dtype == dtype);
        CHECK(saved.plane_axis == (moments.shape().planes != 1));
        CHECK(save_state(saved.moments, saved.dtype) == bytes);
        std::ostringstream stream;
        save_state(moments, dtype, stream);
        CHECK(std::memcmp(stream.str().data(), bytes.data(), bytes.size()) == 0);
        CHECK(stream.str().size() == bytes.size());
    };
    // One pixel, and more than are written at a time.
    for (const FrameShape shape : {FrameShape{1, 1, 1}, {3, 5, 1}, {2, 3, 3}, {37, 41, 1}}) {
        check(some_moments<std::uint8_t>(shape, DType::uint8), DType::uint8);
        check(some_moments<std::int16_t>(shape, DType::int16), DType::int16);
        check(some_moments<float>(shape, DType::float32), DType::float32);
        check(some_moments<double>(shape, DType::float64), DType::uint32);
        check(PixelMoments(shape, Kind::integer), DType::uint16);
        check(PixelMoments(shape, Kind::floating), DType::float16);
    }
    CHECK_THROWS_WITH_AS(save_state(PixelMoments({1, 1, 1}, Kind::integer), DType::float32),
                         "dtype float32 is not of the moments' kind", WrongKind);
}

TEST_CASE("the bytes are those that the header documents") {
    PixelMoments moments({1, 2, 1}, Kind::integer);
    const std::int8_t frames[] = {-1, 2, -3, 4, 100, -128};
    moments.add(FramesView::contiguous(frames, DType::int8, 3, {1, 2, 1}), 1);
    Bytes expected(64 + 2 * 16 + 4);
    std::memcpy(expected.data(), "camnorm", 8);
    put(expected, 8, std::uint32_t{1});
    put(expected, 13, std::uint8_t{1});
    put(expected, 14, std::uint8_t{2});
    put(expected, 16, std::uint64_t{1});
    put(expected, 24, std::uint64_t{2});
    put(expected, 32, std::uint64_t{1});
    put(expected, 40, std::uint64_t{3});
    put(expected, 64, std::int64_t{96});
    put(expected, 72, std::int64_t{-122});
    put(expected, 80, std::uint64_t{10010});
    put(expected, 88, std::uint64_t{16404});
    seal(expected);
    CHECK(save_state(moments, DType::int8) == expected);

    const char digits[] = "123456789";  // the check value of CRC-32C
    CHECK(checksum(reinterpret_cast<const std::byte*>(digits), 9) == 0xE3069283u);

    Bytes with_axis(state_size(moments));
    save_state(moments, DType::int8, with_axis.data(), true);
    CHECK(load(with_axis).plane_axis);
    CHECK(with_axis != expected);
}

TEST_CASE("every truncation and every flipped bit is refused") {
    for (const Bytes& whole :
         {save_state(some_moments<std::uint16_t>({3, 4, 1}, DType::uint16), DType::uint16),
          save_state(some_moments<float>({3, 2, 2}, DType::float32), DType::float32)}) {
        for (std::size_t size = 0; size < whole.size(); ++size) {
            // In memory of its own, so that reading beyond it is found by the address sanitizer.
            const Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
            CHECK_FALSE(refusal(part).empty());
        }
        Bytes longer = whole;
        longer.push_back(std::byte{0});
        CHECK_FALSE(refusal(longer).empty());
        for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
            Bytes other = whole;
            other[bit / 8] ^= std::byte{1} << bit % 8;
            CHECK_FALSE(refusal(other).empty());
        }
    }
}

TEST_CASE("what the checksums hold is not trusted either") {
    const Bytes whole = save_state(some_moments<std::uint16_t>({3, 4, 1}, DType::uint16), DType::uint16);
    const Bytes floats = save_state(some_moments<float>({3, 4, 1}, DType::float32), DType::float32);
    const auto refused = [](Bytes bytes, std::size_t place, auto value, const std::string& reason) {
        CAPTURE(place);
        put(bytes, place, value);
        seal(bytes);
        CHECK(refusal(bytes).find(reason) != std::string::npos);
    };
    const auto max64 = std::numeric_limits<std::uint64_t>::max();
    refused(whole, 0, 'C', "begin otherwise");
    refused(whole, 8, std::uint32_t{2}, "version 2");
    refused(whole, 12, std::uint8_t{1}, "do not go together");
    refused(whole, 12, std::uint8_t{2}, "do not go together");
    refused(whole, 13, std::uint8_t{9}, "do not go together");
    refused(whole, 14, std::uint8_t{1}, "1 axes");
    refused(whole, 14, std::uint8_t{4}, "4 axes");
    refused(whole, 15, std::uint8_t{1}, "does not know");
    refused(whole, 48, std::uint8_t{1}, "does not know");
    refused(whole, 59, std::uint8_t{1}, "does not know");
    refused(whole, 32, std::uint64_t{2}, "2 planes");
    refused(whole, 40, PixelMoments::max_count + 1, "more than");
    // Sides that are another number, none, or whose product wraps around to the right one.
    refused(whole, 16, std::uint64_t{4}, "not those of frames");
    refused(whole, 16, std::uint64_t{0}, "not those of frames");
    refused(whole, 16, max64, "not those of frames");
    refused(whole, 16, (std::uint64_t{1} << 62) + 3, "not those of frames");
    // Sums that no frames have: too many, too large, or squares smaller than the sums say.
    refused(whole, 40, std::uint64_t{0}, "pixel 0");
    refused(whole, 64 + 8, std::int64_t{5 * 65535 + 1}, "pixel 1");
    refused(whole, 64 + 8, std::int64_t{-5 * 32768 - 1}, "pixel 1");
    refused(whole, 64, std::numeric_limits<std::int64_t>::min(), "pixel 0");
    refused(whole, 64 + 8 * 12 + 16, max64, "pixel 2");
    refused(whole, 64 + 8 * 12 + 16, std::uint64_t{0}, "pixel 2");
    refused(floats, 64, std::numeric_limits<double>::infinity(), "pixel 0");
    refused(floats, 64, std::numeric_limits<double>::quiet_NaN(), "pixel 0");
    refused(floats, 64 + 8 * 12, 1e3, "pixel 0");
    refused(floats, 64 + 8 * 36 + 8, std::numeric_limits<double>::quiet_NaN(), "pixel 1");
}

TEST_CASE("the extremes that frames can have are taken") {
    for (const auto& [dtype, value] : {std::pair{DType::uint16, std::uint16_t{65535}},
                                       {DType::int16, std::uint16_t{0x8000}},
                                       {DType::uint16, std::uint16_t{0}}}) {
        PixelMoments moments({1, 1, 1}, Kind::integer);
        const std::vector<std::uint16_t> frames(9, value);
        moments.add(FramesView::contiguous(frames.data(), dtype, 9, {1, 1, 1}), 1);
        CHECK(equal(load(save_state(moments, dtype)).moments, moments));
    }
    // Residues of rounding that frames leave when they are taken away.
    PixelMoments moments = some_moments<double>({5, 5, 1}, DType::float64, 9);
    const PixelMoments one = some_moments<double>({5, 5, 1}, DType::float64, 8);
    moments.unmerge(one, 1);
    CHECK(equal(load(save_state(moments, DType::float64)).moments, moments));
}
