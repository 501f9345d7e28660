#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include "camnorm/moments.hpp"
#include "camnorm/sum_array.hpp"

using namespace camnorm;

TEST_CASE("arrays of sums are zero to begin with, at any size") {
    for (const std::size_t size : {0u, 1u, 1000u, 1u << 19, (1u << 19) + 7, 3u << 20}) {
        for (int again = 0; again < 2; ++again) {  // memory that was used and given back
            SumArray<std::int64_t> sums(size);
            CHECK(sums.size() == size);
            CHECK(sums.empty() == (size == 0));
            CHECK(std::count(sums.begin(), sums.end(), 0) == static_cast<std::ptrdiff_t>(size));
            std::fill(sums.begin(), sums.end(), -1);
        }
    }
}

TEST_CASE("arrays of sums are values") {
    SumArray<double> a = {1.5, 2.5, 3.5};
    const SumArray<double> b = a;
    a[1] = 7.0;
    CHECK(b == SumArray<double>(std::vector<double>{1.5, 2.5, 3.5}));
    CHECK(a != b);
    SumArray<double> c = std::move(a);
    CHECK(c[1] == 7.0);
    a = b;
    CHECK(a == b);
    c.resize(2);
    CHECK(c == SumArray<double>{1.5, 7.0});
    c.resize(4);
    CHECK(c == SumArray<double>{1.5, 7.0, 0.0, 0.0});
    c = SumArray<double>{};
    CHECK(c.empty());
    CHECK(c != b);
    CHECK_THROWS_AS(SumArray<double>(std::numeric_limits<std::size_t>::max() / 2), std::bad_alloc);
    CHECK_THROWS_AS(c.resize(std::numeric_limits<std::size_t>::max()), std::bad_alloc);
}

#if defined(__linux__)
TEST_CASE("sums take memory when frames are added, and no sooner") {
    const auto resident = [] {
        std::size_t pages = 0;
        std::ifstream("/proc/self/statm") >> pages >> pages;
        return pages * 4096;
    };
    const FrameShape shape{2048, 2048, 1};
    const std::size_t before = resident();
    PixelMoments moments(shape, Kind::integer);
    CHECK(resident() < before + (std::size_t{8} << 20));
    const std::vector<std::uint8_t> frame(shape.pixels(), 3);
    moments.add(FramesView::contiguous(frame.data(), DType::uint8, 1, shape), 2);
    CHECK(resident() > before + (std::size_t{60} << 20));
    CHECK(moments.state().sum_of_squares[shape.pixels() - 1] == 9);
}
#endif
