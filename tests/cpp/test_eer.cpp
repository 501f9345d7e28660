#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "camnorm/eer.hpp"
#include "camnorm/error.hpp"

using namespace camnorm;

namespace {

struct Electron {
    std::size_t pixel;
    unsigned x, y;  // place in the pixel, in its finest parts
};

/// Bits one after another, the lowest of each number first.
class Writer {
public:
    explicit Writer(EerCoding coding) : coding_(coding) {}

    std::vector<std::byte> write(const std::vector<Electron>& electrons, std::size_t pixels) {
        std::size_t position = 0;
        for (const Electron& e : electrons) {
            skip(e.pixel - position);
            put(e.x ^ (1U << (coding_.x_bits - 1)), coding_.x_bits);
            put(e.y ^ (1U << (coding_.y_bits - 1)), coding_.y_bits);
            position = e.pixel + 1;
        }
        skip(pixels - position);
        std::vector<std::byte> data((bits_.size() + 7) / 8);
        for (std::size_t i = 0; i < bits_.size(); ++i)
            if (bits_[i]) data[i / 8] |= std::byte{1} << i % 8;
        return data;
    }

private:
    void put(std::size_t value, int count) {
        for (int i = 0; i < count; ++i) bits_.push_back((value >> i & 1) != 0);
    }
    void skip(std::size_t pixels) {
        const std::size_t most = (std::size_t{1} << coding_.skip_bits) - 1;
        for (; pixels >= most; pixels -= most) put(most, coding_.skip_bits);
        put(pixels, coding_.skip_bits);
    }

    EerCoding coding_;
    std::vector<bool> bits_;
};

template <class Count>
MutableFramesView view(std::vector<Count>& counts, FrameShape shape) {
    const DType dtype = sizeof(Count) == 1 ? DType::uint8 : DType::uint16;
    return MutableFramesView::contiguous(counts.data(), dtype, 1, shape);
}

template <class Count>
void check_counts(EerCoding coding, int sampling, double rate) {
    constexpr std::size_t height = 24;
    constexpr std::size_t width = 40;
    std::mt19937 random(7);
    const FrameShape shape{height * static_cast<std::size_t>(sampling),
                           width * static_cast<std::size_t>(sampling)};
    std::vector<Electron> electrons;
    std::vector<Count> expected(shape.pixels(), 3);
    const unsigned x_parts = 1U << coding.x_bits;
    const unsigned y_parts = 1U << coding.y_bits;
    for (std::size_t pixel = 0; pixel < height * width; ++pixel) {
        if (std::generate_canonical<double, 32>(random) >= rate) continue;
        const Electron e{pixel, static_cast<unsigned>(random() % x_parts),
                         static_cast<unsigned>(random() % y_parts)};
        electrons.push_back(e);
        const auto samples = static_cast<unsigned>(sampling);
        const std::size_t x = pixel % width * samples + e.x * samples / x_parts;
        const std::size_t y = pixel / width * samples + e.y * samples / y_parts;
        ++expected[y * shape.width + x];
    }
    const auto data = Writer(coding).write(electrons, height * width);
    std::vector<Count> counts(shape.pixels(), 3);
    add_electrons(data.data(), data.size(), coding, sampling, view(counts, shape));
    CHECK(counts == expected);
}

}  // namespace

TEST_CASE("electrons are counted where they were written") {
    for (const EerCoding coding : {EerCoding{7, 2, 2}, EerCoding{8, 2, 2}, EerCoding{7, 1, 1},
                                   EerCoding{4, 1, 2}, EerCoding{12, 2, 2}})
        for (const int sampling : {1, 2, 4}) {
            if (sampling > 1 << coding.x_bits) continue;
            for (const double rate : {0.0, 0.003, 0.05, 1.0}) {
                CAPTURE(coding.skip_bits);
                CAPTURE(sampling);
                CAPTURE(rate);
                check_counts<std::uint8_t>(coding, sampling, rate);
                check_counts<std::uint16_t>(coding, sampling, rate);
            }
        }
}

TEST_CASE("raw frames are added together as one after another") {
    const EerCoding coding{7, 2, 2};
    constexpr std::size_t height = 300, width = 1000;  // several bands
    std::mt19937 random(3);
    std::vector<std::vector<std::byte>> data;
    for (const double rate : {0.0, 0.001, 0.02, 0.3, 1.0}) {
        std::vector<Electron> electrons;
        for (std::size_t pixel = 0; pixel < height * width; ++pixel)
            if (std::generate_canonical<double, 32>(random) < rate)
                electrons.push_back(
                    {pixel, static_cast<unsigned>(random() % 4), static_cast<unsigned>(random() % 4)});
        data.push_back(Writer(coding).write(electrons, height * width));
    }
    std::vector<EerFrame> frames;
    for (const auto& frame : data) frames.push_back({frame.data(), frame.size()});
    for (const std::size_t sampling : {1u, 2u, 4u}) {
        const FrameShape shape{height * sampling, width * sampling};
        std::vector<std::uint16_t> together(shape.pixels()), expected(shape.pixels());
        add_electrons(frames, coding, static_cast<int>(sampling), view(together, shape));
        for (const auto& frame : data)
            add_electrons(frame.data(), frame.size(), coding, static_cast<int>(sampling),
                          view(expected, shape));
        CHECK(together == expected);
        frames[3].bytes /= 2;
        try {
            add_electrons(frames, coding, static_cast<int>(sampling), view(together, shape));
            FAIL("nothing was thrown");
        } catch (const Unreadable& error) {
            CHECK(error.frame() == 3);
        }
        frames[3].bytes = data[3].size();
    }
}

TEST_CASE("electrons must end with the last pixel") {
    const EerCoding coding{7, 2, 2};
    const FrameShape shape{4, 50};
    std::vector<std::uint8_t> counts(200);
    const auto data = Writer(coding).write({{3, 0, 0}, {150, 1, 2}}, 200);  // 7 bits four times, 4 twice
    REQUIRE(data.size() == 5);
    CHECK_THROWS_WITH_AS(add_electrons(data.data(), 4, coding, 1, view(counts, shape)),
                         "the electrons end at pixel 151 of 200", InvalidArgument);
    CHECK_THROWS_WITH_AS(add_electrons(nullptr, 0, coding, 1, view(counts, shape)),
                         "the electrons end at pixel 0 of 200", InvalidArgument);
    const FrameShape smaller{4, 49};
    CHECK_THROWS_WITH_AS(add_electrons(data.data(), 5, coding, 1, view(counts, smaller)),
                         "the electrons end at pixel 200 of 196", InvalidArgument);
    CHECK_THROWS_AS(add_electrons(data.data(), 5, {7, 1, 2}, 4, view(counts, shape)), InvalidArgument);
}

TEST_CASE("any bits at all stay within the counts and the data") {
    std::mt19937 random(11);
    for (int i = 0; i < 2000; ++i) {
        const std::size_t size = random() % 60;
        const auto data = std::make_unique<std::byte[]>(size);  // for the address sanitizer
        for (std::size_t k = 0; k < size; ++k) data[k] = static_cast<std::byte>(random() % 256);
        const EerCoding coding{4 + static_cast<int>(random() % 9), 2, 2};
        const int sampling = 1 << random() % 3;
        const auto samples = static_cast<std::size_t>(sampling);
        const FrameShape shape{samples * (1 + random() % 9), samples * (1 + random() % 9)};
        std::vector<std::uint8_t> counts(shape.pixels());
        try {
            add_electrons(data.get(), size, coding, sampling, view(counts, shape));
        } catch (const InvalidArgument&) {
            continue;
        }
    }
}
