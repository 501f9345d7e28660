#include "camnorm/neighbours.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "blocks.hpp"
#include "camnorm/error.hpp"
#include "camnorm/runtime.hpp"
#include "checks.hpp"
#include "combine.hpp"
#include "double_double.hpp"
#include "neighbour_adder.hpp"

namespace camnorm {

using namespace detail;

namespace {

__extension__ using int128 = __int128;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// Calls use(integer sums) or use(high, low) with the sums of each difference of a state.
template <class Integers, class Floats>
void over_differences(NeighbourState& s, const Integers& integers, const Floats& floats) {
    for (std::size_t k = 0; k < difference_count; ++k) {
        if (s.moments.kind() == Kind::integer)
            integers(k, s.squares[k]);
        else
            floats(k, s.squares_high[k], s.squares_low[k]);
    }
}

/// Where the sums for a stencil lie, as distances from the pixel's place.
struct Places {
    std::size_t difference;             ///< number of its sums of squares
    std::ptrdiff_t at;                  ///< where these are
    double neighbours;                  ///< their number
    std::vector<std::ptrdiff_t> of;     ///< where they are
    std::size_t left, right, up, down;  ///< columns and rows at the edges that have no such sums
};

Places places_of(Stencil stencil, FrameShape shape) {
    const auto x = static_cast<std::ptrdiff_t>(shape.planes);
    const auto y = static_cast<std::ptrdiff_t>(shape.width) * x;
    switch (stencil) {
        case Stencil::left_right: return {0, 0, 2.0, {-x, x}, 1, 1, 0, 0};
        case Stencil::up_down: return {1, 0, 2.0, {-y, y}, 0, 0, 1, 1};
        case Stencil::four: return {2, 0, 4.0, {-x, x, -y, y}, 1, 1, 1, 1};
        case Stencil::eight: return {3, 0, 8.0, {-x, x, -y, y, -y - x, x - y, y - x, y + x}, 1, 1, 1, 1};
        case Stencil::left: return {4, -x, 1.0, {-x}, 1, 0, 0, 0};
        case Stencil::right: return {4, 0, 1.0, {x}, 0, 1, 0, 0};
        case Stencil::up: return {5, -y, 1.0, {-y}, 0, 0, 1, 0};
        case Stencil::down: break;
    }
    return {5, 0, 1.0, {y}, 0, 0, 0, 1};
}

bool outside(const Places& p, FrameShape shape, std::size_t y, std::size_t x) {
    return y < p.up || y + p.down >= shape.height || x < p.left * shape.planes ||
           x + p.right * shape.planes >= shape.width * shape.planes;
}

/// q of a pixel, of which all neighbours lie in the frame, from integer sums.
double integer_ratio(const NeighbourState& s, const Places& p, std::size_t i) {
    const MomentsState& m = s.moments.state();
    const auto n = static_cast<int128>(m.count);
    const std::int64_t sum = m.sum[i];
    std::int64_t difference = static_cast<std::int64_t>(p.neighbours) * sum;
    for (const std::ptrdiff_t o : p.of) difference -= m.sum[i + static_cast<std::size_t>(o)];
    const int128 own = n * static_cast<int128>(m.sum_of_squares[i]) - static_cast<int128>(sum) * sum;
    const std::uint64_t squares = s.squares[p.difference][i + static_cast<std::size_t>(p.at)];
    const int128 rest = n * static_cast<int128>(squares) - static_cast<int128>(difference) * difference;
    if (own <= 0) return not_a_number;
    return static_cast<double>(rest) / (static_cast<double>(own) * (p.neighbours * p.neighbours));
}

/// The same from double-double sums.
double float_ratio(const NeighbourState& s, const Places& p, std::size_t i) {
    const MomentsState& m = s.moments.state();
    const DoubleDouble n{static_cast<double>(m.count), 0.0};
    const auto sum_at = [&](std::size_t j) { return DoubleDouble{m.sum_high[j], m.sum_low[j]}; };
    const auto scatter = [&](DoubleDouble squares, DoubleDouble sum) {
        return detail::add(multiply(n, squares), negate(multiply(sum, sum))).high;
    };
    DoubleDouble difference{p.neighbours * m.sum_high[i], p.neighbours * m.sum_low[i]};
    for (const std::ptrdiff_t o : p.of)
        difference = detail::add(difference, negate(sum_at(i + static_cast<std::size_t>(o))));
    const double own = scatter({m.sum_of_squares_high[i], m.sum_of_squares_low[i]}, sum_at(i));
    const std::size_t at = i + static_cast<std::size_t>(p.at);
    const double rest =
        scatter({s.squares_high[p.difference][at], s.squares_low[p.difference][at]}, difference);
    if (!(own > 0.0)) return not_a_number;
    return std::max(rest, 0.0) / own / (p.neighbours * p.neighbours);
}

/// Whether frames can have these sums of a difference d = k * x - (sum over k neighbours): the variance is
/// not negative, and d^2 <= (k^2 + k) * (x^2 + sum over their squares).
bool integers_possible(const NeighbourState& s, const Places& p, std::size_t i) {
    const MomentsState& m = s.moments.state();
    const auto k = static_cast<std::int64_t>(p.neighbours);
    std::int64_t sum = k * m.sum[i];
    auto squares = static_cast<int128>(m.sum_of_squares[i]);
    for (const std::ptrdiff_t o : p.of) {
        sum -= m.sum[i + static_cast<std::size_t>(o)];
        squares += m.sum_of_squares[i + static_cast<std::size_t>(o)];
    }
    const auto d2 = static_cast<int128>(s.squares[p.difference][i]);
    return static_cast<int128>(m.count) * d2 >= static_cast<int128>(sum) * sum && d2 <= (k * k + k) * squares;
}

/// The same within the rounding of float sums.
bool floats_possible(const NeighbourState& s, const Places& p, std::size_t i) {
    constexpr double slack = 1e-9;
    const MomentsState& m = s.moments.state();
    double sum = p.neighbours * m.sum_high[i];
    double squares = m.sum_of_squares_high[i];
    for (const std::ptrdiff_t o : p.of) {
        sum -= m.sum_high[i + static_cast<std::size_t>(o)];
        squares += m.sum_of_squares_high[i + static_cast<std::size_t>(o)];
    }
    const double most = (p.neighbours * p.neighbours + p.neighbours) * squares * (1.0 + slack);
    const double d2 = s.squares_high[p.difference][i];
    // NaN is not possible either.
    return static_cast<double>(m.count) * (d2 + slack * most) >= sum * sum && d2 <= most &&
           std::abs(s.squares_low[p.difference][i]) <= std::abs(d2) * slack;
}

bool nothing(const NeighbourState& s, std::size_t difference, std::size_t i) {
    if (s.moments.kind() == Kind::integer) return s.squares[difference][i] == 0;
    return s.squares_high[difference][i] == 0.0 && s.squares_low[difference][i] == 0.0;
}

}  // namespace

NeighbourSums::NeighbourSums(FrameShape shape, Kind kind) : state_{PixelMoments(shape, kind), {}, {}, {}} {
    const std::size_t pixels = shape.pixels();
    over_differences(
        state_, [&](std::size_t, auto& squares) { squares.resize(pixels); },
        [&](std::size_t, auto& high, auto& low) {
            high.resize(pixels);
            low.resize(pixels);
        });
}

void NeighbourSums::check_addable(std::uint64_t more) const {
    if (more > max_count - count())
        throw InvalidArgument("more than " + std::to_string(max_count) + " frames");
}

void NeighbourSums::reset_if_empty() {
    // Double-double sums keep a last rounding error; in place, since somebody may hold a view of them.
    if (count() != 0) return;
    over_differences(
        state_, [](std::size_t, auto& squares) { std::fill(squares.begin(), squares.end(), 0); },
        [](std::size_t, auto& high, auto& low) {
            std::fill(high.begin(), high.end(), 0.0);
            std::fill(low.begin(), low.end(), 0.0);
        });
}

void NeighbourSums::accumulate(const FramesView& frames, bool subtract, int threads) {
    check_frames(frames.dtype, frames.shape, shape(), kind(), "the neighbour sums");
    if (!subtract) check_addable(frames.count);
    threads = resolve_threads(threads);
    // All memory is there before a sum changes.
    const auto adder = neighbour_adder(frames, subtract, threads);
    if (subtract)
        state_.moments.subtract(frames, threads);
    else
        state_.moments.add(frames, threads, false);
    adder->run(state_);
    reset_if_empty();
}

void NeighbourSums::add(const FramesView& frames, int threads) { accumulate(frames, false, threads); }

void NeighbourSums::subtract(const FramesView& frames, int threads) { accumulate(frames, true, threads); }

void NeighbourSums::combine(const NeighbourSums& other, bool subtract, int threads) {
    if (other.shape() != shape())
        throw InvalidArgument("neighbour sums have shape " + to_string(other.shape()) + ", these " +
                              to_string(shape()));
    if (other.kind() != kind())
        throw WrongKind("neighbour sums of integer frames and of float frames cannot be put together");
    if (!subtract) check_addable(other.count());
    if (subtract)
        state_.moments.unmerge(other.state_.moments, threads);
    else
        state_.moments.merge(other.state_.moments, threads);
    const NeighbourState& o = other.state_;
    over_pixels(shape().pixels(), threads, [&](std::size_t, std::size_t begin, std::size_t n) {
        over_differences(
            state_,
            [&](std::size_t k, auto& squares) {
                detail::combine(&squares[begin], &o.squares[k][begin], n, subtract);
            },
            [&](std::size_t k, auto& high, auto& low) {
                detail::combine(&high[begin], &low[begin], &o.squares_high[k][begin],
                                &o.squares_low[k][begin], n, subtract);
            });
    });
    reset_if_empty();
}

void NeighbourSums::merge(const NeighbourSums& other, int threads) { combine(other, false, threads); }

void NeighbourSums::unmerge(const NeighbourSums& other, int threads) { combine(other, true, threads); }

void NeighbourSums::ratio(Stencil stencil, double* out, int threads) const {
    const FrameShape frame = shape();
    const Places p = places_of(stencil, frame);
    const std::size_t length = frame.width * frame.planes;
    parallel_for(frame.height, resolve_threads(threads), [&](std::size_t y) {
        for (std::size_t x = 0; x < length; ++x) {
            const std::size_t i = y * length + x;
            if (outside(p, frame, y, x))
                out[i] = not_a_number;
            else
                out[i] = kind() == Kind::integer ? integer_ratio(state_, p, i) : float_ratio(state_, p, i);
        }
    });
}

std::size_t NeighbourSums::check(int threads) const {
    const FrameShape frame = shape();
    const std::size_t length = frame.width * frame.planes;
    std::vector<std::size_t> first(frame.height, frame.pixels());
    std::vector<Places> places;
    for (const Stencil stencil : {Stencil::left_right, Stencil::up_down, Stencil::four, Stencil::eight,
                                  Stencil::right, Stencil::down})
        places.push_back(places_of(stencil, frame));
    const auto possible = [&](const Places& p, std::size_t y, std::size_t x) {
        const std::size_t i = y * length + x;
        if (outside(p, frame, y, x)) return nothing(state_, p.difference, i);
        return kind() == Kind::integer ? integers_possible(state_, p, i) : floats_possible(state_, p, i);
    };
    parallel_for(frame.height, resolve_threads(threads), [&](std::size_t y) {
        for (std::size_t x = 0; x < length; ++x) {
            for (const Places& p : places) {
                if (possible(p, y, x)) continue;
                first[y] = y * length + x;
                return;
            }
        }
    });
    return *std::min_element(first.begin(), first.end());
}

}  // namespace camnorm
