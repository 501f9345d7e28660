#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "camnorm/error.hpp"
#include "camnorm/neighbours.hpp"

using namespace camnorm;

namespace {

// Several tiles in both directions, of which the last ones are not full.
constexpr FrameShape shape{19, 263, 2};
constexpr std::size_t frame_count = 11;

template <class T>
std::vector<T> noise(FrameShape of = shape, std::size_t count = frame_count) {
    std::vector<T> pixels(count * of.pixels());
    std::uint64_t state = 1;
    for (T& x : pixels) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x = static_cast<T>(state >> 40);
    }
    return pixels;
}

template <class T>
FramesView view(const std::vector<T>& pixels, DType dtype, FrameShape of = shape) {
    return FramesView::contiguous(pixels.data(), dtype, pixels.size() / of.pixels(), of);
}

struct Case {
    Stencil stencil;
    std::vector<std::pair<int, int>> neighbours;  ///< (y, x)
};

const std::vector<Case> cases = {
    {Stencil::left_right, {{0, -1}, {0, 1}}},
    {Stencil::up_down, {{-1, 0}, {1, 0}}},
    {Stencil::four, {{0, -1}, {0, 1}, {-1, 0}, {1, 0}}},
    {Stencil::eight, {{-1, -1}, {-1, 0}, {-1, 1}, {0, -1}, {0, 1}, {1, -1}, {1, 0}, {1, 1}}},
    {Stencil::left, {{0, -1}}},
    {Stencil::right, {{0, 1}}},
    {Stencil::up, {{-1, 0}}},
    {Stencil::down, {{1, 0}}},
};

/// q by plain loops over numbers that a long double holds.
template <class T>
double expected(const std::vector<T>& pixels, FrameShape of, const Case& c, int y, int x, int plane) {
    const auto at = [&](std::size_t f, int row, int column) {
        const std::size_t i =
            (static_cast<std::size_t>(row) * of.width + static_cast<std::size_t>(column)) * of.planes +
            static_cast<std::size_t>(plane);
        return static_cast<long double>(pixels[f * of.pixels() + i]);
    };
    for (const auto& [dy, dx] : c.neighbours)
        if (y + dy < 0 || y + dy >= static_cast<int>(of.height) || x + dx < 0 ||
            x + dx >= static_cast<int>(of.width))
            return std::numeric_limits<double>::quiet_NaN();
    const std::size_t n = pixels.size() / of.pixels();
    const auto variance = [&](const auto& value) {
        long double sum = 0, squares = 0;
        for (std::size_t f = 0; f < n; ++f) {
            sum += value(f);
            squares += value(f) * value(f);
        }
        return static_cast<long double>(n) * squares - sum * sum;
    };
    const auto k = static_cast<long double>(c.neighbours.size());
    const long double own = variance([&](std::size_t f) { return at(f, y, x); });
    const long double rest = variance([&](std::size_t f) {
        long double d = k * at(f, y, x);
        for (const auto& [dy, dx] : c.neighbours) d -= at(f, y + dy, x + dx);
        return d;
    });
    return static_cast<double>(rest / own / (k * k));
}

template <class T>
void check_ratios(DType dtype, double error) {
    const std::vector<T> pixels = noise<T>();
    NeighbourSums sums(shape, kind_of(dtype));
    sums.add(view(pixels, dtype));
    std::vector<double> q(shape.pixels());
    for (const Case& c : cases) {
        sums.ratio(c.stencil, q.data());
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < q.size(); ++i) {
            const auto plane = static_cast<int>(i % shape.planes);
            const auto x = static_cast<int>(i / shape.planes % shape.width);
            const auto y = static_cast<int>(i / shape.planes / shape.width);
            const double wanted = expected(pixels, shape, c, y, x, plane);
            const bool same =
                std::isnan(wanted) ? std::isnan(q[i]) : std::abs(q[i] - wanted) <= error * wanted;
            wrong += same ? 0 : 1;
        }
        CHECK(wrong == 0);
    }
}

bool equal(const NeighbourSums& a, const NeighbourSums& b) {
    const NeighbourState& s = a.state();
    const NeighbourState& t = b.state();
    const MomentsState& m = s.moments.state();
    const MomentsState& o = t.moments.state();
    return a.count() == b.count() && m.sum == o.sum && m.sum_of_squares == o.sum_of_squares &&
           m.sum_high == o.sum_high && s.squares == t.squares && s.squares_high == t.squares_high &&
           s.squares_low == t.squares_low;
}

}  // namespace

TEST_CASE("q is that of plain loops") {
    check_ratios<std::uint8_t>(DType::uint8, 1e-15);
    check_ratios<std::int8_t>(DType::int8, 1e-15);
    check_ratios<std::uint16_t>(DType::uint16, 1e-15);
    check_ratios<std::int16_t>(DType::int16, 1e-15);
    check_ratios<std::uint32_t>(DType::uint32, 1e-14);
    check_ratios<float>(DType::float32, 1e-14);
    check_ratios<double>(DType::float64, 1e-14);
}

TEST_CASE("neighbour sums are the same for every order, batch and number of threads, and after subtraction") {
    const auto check = [](auto pixel, DType dtype) {
        const auto pixels = noise<decltype(pixel)>();
        NeighbourSums whole(shape, kind_of(dtype));
        whole.add(view(pixels, dtype));
        NeighbourSums parts(shape, kind_of(dtype));
        const std::size_t split = 3 * shape.pixels();
        const std::vector<decltype(pixel)> a(pixels.begin(), pixels.begin() + split);
        const std::vector<decltype(pixel)> b(pixels.begin() + split, pixels.end());
        parts.add(view(a, dtype), 1);
        parts.add(view(b, dtype), 3);
        CHECK(equal(whole, parts));
        if (kind_of(dtype) == Kind::floating) return;
        NeighbourSums backwards(shape, kind_of(dtype));
        backwards.add(view(b, dtype));
        backwards.add(view(a, dtype));
        CHECK(equal(whole, backwards));
        NeighbourSums first(shape, kind_of(dtype));
        first.add(view(a, dtype));
        backwards.subtract(view(b, dtype));
        CHECK(equal(first, backwards));
        backwards.merge(whole);
        backwards.unmerge(first);
        CHECK(equal(whole, backwards));
    };
    check(std::uint8_t{}, DType::uint8);
    check(std::int16_t{}, DType::int16);
    check(std::uint16_t{}, DType::uint16);
    check(float{}, DType::float32);
}

TEST_CASE("neighbour sums of the largest pixels are exact, beyond what is summed between two drains") {
    constexpr FrameShape small{3, 3, 1};
    const auto check = [&](auto largest, DType dtype, std::size_t frames) {
        std::vector<decltype(largest)> pixels(frames * small.pixels());
        for (std::size_t f = 0; f < frames; f += 2) pixels[f * small.pixels() + 4] = largest;
        NeighbourSums sums(small, Kind::integer);
        sums.add(view(pixels, dtype, small));
        const auto x = static_cast<std::uint64_t>(largest);
        CHECK(sums.state().squares[3][4] == (frames + 1) / 2 * (64 * x * x));
        CHECK(sums.state().squares[4][4] == (frames + 1) / 2 * (x * x));
    };
    check(std::uint8_t{255}, DType::uint8, 4097);
    check(std::uint16_t{65535}, DType::uint16, 66001);
}

TEST_CASE("wrong frames leave neighbour sums as they are") {
    NeighbourSums sums(shape, Kind::integer);
    const auto pixels = noise<std::uint8_t>();
    CHECK_THROWS_AS(sums.subtract(view(pixels, DType::uint8)), InvalidArgument);
    CHECK_THROWS_AS(sums.add(view(noise<float>(), DType::float32)), WrongKind);
    CHECK_THROWS_AS(sums.add(view(pixels, DType::uint8, {1, 2, 1})), InvalidArgument);
    CHECK_THROWS_AS(sums.merge(NeighbourSums(shape, Kind::floating)), WrongKind);
    CHECK_THROWS_AS(sums.merge(NeighbourSums({2, 2, 1}, Kind::integer)), InvalidArgument);
    CHECK(equal(sums, NeighbourSums(shape, Kind::integer)));
    sums.state().moments.state().count = NeighbourSums::max_count;
    CHECK_THROWS_AS(sums.add(view(pixels, DType::uint8)), InvalidArgument);

    NeighbourSums floats(shape, Kind::floating);
    std::vector<float> broken = noise<float>();
    floats.add(view(broken, DType::float32));
    const NeighbourSums before = floats;
    broken.back() = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_AS(floats.add(view(broken, DType::float32)), NonFinite);
    CHECK(before.state().squares_high == floats.state().squares_high);
}
