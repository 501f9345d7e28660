// Whether there are frames with the sums of a state.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "blocks.hpp"
#include "camnorm/moments.hpp"
#include "camnorm/runtime.hpp"
#include "double_double.hpp"

namespace camnorm {

using namespace detail;

namespace {

__extension__ using int128 = __int128;
__extension__ using uint128 = unsigned __int128;

// Frames of 8 or 16 bit.
constexpr std::int64_t smallest_integer = -32768;
constexpr std::int64_t largest_integer = 65535;

// Relative errors of double-double sums, and of what is formed of them here in double precision.
constexpr double sum_error = 0x1p-90;
constexpr double double_error = 0x1p-44;

/// Of one block.
struct Part {
    std::size_t impossible = std::numeric_limits<std::size_t>::max();
    double sum = 0.0, sum_of_squares = 0.0;
};

/// Bounds of integer sums.
class IntegerCheck {
public:
    IntegerCheck(const MomentsState& state, const SumBounds* bounds)
        : state_(state), count_(static_cast<std::int64_t>(state.count)) {
        if (bounds != nullptr) {
            smallest_ = static_cast<std::int64_t>(bounds->smallest);
            largest_ = static_cast<std::int64_t>(bounds->largest);
            least_ = static_cast<std::int64_t>(bounds->least_sum);
            greatest_ = static_cast<std::int64_t>(bounds->greatest_sum);
        } else {
            least_ = count_ * smallest_;
            greatest_ = count_ * largest_;
        }
        // Of all x between a and b, (x - a)(b - x) >= 0: sum(x^2) <= (a + b) * sum(x) - n * a * b.
        slope_ = smallest_ + largest_;
        offset_ = static_cast<int128>(count_) * (smallest_ * largest_);
    }

    Part operator()(std::size_t begin, std::size_t n) const {
        Part part;
        std::int64_t total = 0;
        uint128 squares = 0;
        for (std::size_t i = begin; i < begin + n; ++i) {
            const std::int64_t sum = state_.sum[i];
            const std::uint64_t square = state_.sum_of_squares[i];
            if (!possible(sum, square)) {
                part.impossible = i;
                return part;
            }
            total += sum;
            squares += square;
        }
        part.sum = static_cast<double>(total);
        part.sum_of_squares = static_cast<double>(squares);
        return part;
    }

private:
    bool possible(std::int64_t sum, std::uint64_t square) const {
        // x and x^2 are both odd or both even.
        if (sum < least_ || sum > greatest_ || ((static_cast<std::uint64_t>(sum) ^ square) & 1u) != 0)
            return false;
        return static_cast<int128>(sum) * sum <=
                   static_cast<int128>(static_cast<uint128>(square) * state_.count) &&
               static_cast<int128>(square) <= static_cast<int128>(slope_) * sum - offset_;
    }

    const MomentsState& state_;
    std::int64_t count_;
    std::int64_t smallest_ = smallest_integer, largest_ = largest_integer;
    std::int64_t least_ = 0, greatest_ = 0, slope_ = 0;
    int128 offset_ = 0;
};

/// Bounds of double-double sums.
class FloatCheck {
public:
    FloatCheck(const MomentsState& state, const SumBounds* bounds)
        : state_(state), count_(static_cast<double>(state.count)) {
        if (bounds == nullptr) return;
        bounded_ = true;
        const double largest = std::max(std::abs(bounds->smallest), std::abs(bounds->largest));
        residue_ = (count_ + 1) * bounds->rounding * bounds->rounding * sum_error;
        const double error = count_ * (largest * double_error + bounds->rounding * sum_error);
        least_ = bounds->least_sum - error;
        greatest_ = bounds->greatest_sum + error;
        slope_ = bounds->smallest + bounds->largest;
        offset_ = count_ * bounds->smallest * bounds->largest - count_ * largest * largest * double_error * 4;
    }

    Part operator()(std::size_t begin, std::size_t n) const {
        Part part;
        DoubleDouble total{0.0, 0.0}, squares{0.0, 0.0};
        for (std::size_t i = begin; i < begin + n; ++i) {
            if (!possible(i)) {
                part.impossible = i;
                return part;
            }
            total = detail::add(total, state_.sum_high[i]);
            squares = detail::add(squares, state_.sum_of_squares_high[i]);
        }
        part.sum = total.high;
        part.sum_of_squares = squares.high;
        return part;
    }

private:
    /// Whether high + low is a sum as it is kept.
    static bool normal(double high, double low) { return std::isfinite(high) && high + low == high; }

    bool possible(std::size_t i) const {
        const double sum = state_.sum_high[i];
        const double square = state_.sum_of_squares_high[i];
        if (!normal(sum, state_.sum_low[i]) || !normal(square, state_.sum_of_squares_low[i])) return false;
        if (!bounded_) return true;
        // Divided: the square of a sum may overflow.
        const double mean = count_ > 0 ? sum / count_ : sum;
        return sum >= least_ && sum <= greatest_ &&
               mean * sum <= square + std::abs(square) * double_error + residue_ &&
               square <= slope_ * sum - offset_ + residue_;
    }

    const MomentsState& state_;
    double count_;
    bool bounded_ = false;
    double least_ = 0.0, greatest_ = 0.0, slope_ = 0.0, offset_ = 0.0, residue_ = 0.0;
};

template <class Check>
CheckedSums check_blocks(std::size_t pixels, int threads, const Check& check) {
    std::vector<Part> parts(block_count(pixels));
    over_pixels(pixels, threads,
                [&](std::size_t block, std::size_t begin, std::size_t n) { parts[block] = check(begin, n); });
    CheckedSums result{pixels, 0.0, 0.0};
    DoubleDouble sum{0.0, 0.0}, squares{0.0, 0.0};
    for (const Part& part : parts) {
        result.impossible = std::min(result.impossible, part.impossible);
        sum = detail::add(sum, part.sum);
        squares = detail::add(squares, part.sum_of_squares);
    }
    result.sum = sum.high;
    result.sum_of_squares = squares.high;
    return result;
}

}  // namespace

CheckedSums PixelMoments::check(const SumBounds* bounds, int threads) const {
    const std::size_t pixels = state_.shape.pixels();
    if (state_.kind == Kind::integer) return check_blocks(pixels, threads, IntegerCheck(state_, bounds));
    return check_blocks(pixels, threads, FloatCheck(state_, bounds));
}

}  // namespace camnorm
