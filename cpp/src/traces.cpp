#include "traces.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "blocks.hpp"
#include "double_double.hpp"

namespace camnorm::detail {
namespace {

// A sum that shrinks by a factor of 2^n loses n of its bits. Up to this many do no harm.
constexpr int harmless = 4;

// Relative rounding errors of a sum. Batches lose more where pixels differ by more than a factor of 2^20
// (see FloatSums), and their squares by the square of that.
constexpr double sum_error = 0x1p-101;
constexpr double batch_error = 0x1p-87;
constexpr double wide_range = 0x1p38;

// Below it nothing is scatter (see finish.cpp).
constexpr double resolution = 0x1p-80;

// Sums of squares that have vanished were lost, not zero, if what was taken away exceeds the sums of other
// pixels by two to that: a pixel of a float32 batch is forgotten beside one 2^89 times as large.
constexpr int forgotten = 150;

/// Exponent of zero.
constexpr int no_exponent = -1022;

/// A sum is below two to that, and not below half of it.
std::int16_t exponent_of(double sum) {
    std::uint64_t bits;
    std::memcpy(&bits, &sum, sizeof bits);
    return static_cast<std::int16_t>(static_cast<std::int16_t>(bits >> 52 & 0x7FF) + no_exponent);
}

/// Sums of one pixel that are left.
struct Left {
    DoubleDouble sum, squares;

    static Left of(const MomentsState& state, std::size_t i) {
        return {{state.sum_high[i], state.sum_low[i]},
                {state.sum_of_squares_high[i], state.sum_of_squares_low[i]}};
    }
};

/// Whether the sums of n frames are good to the last bit of mean and standard deviation, when the sum of
/// squares was as large as `before`.
bool is_exact(const Left& left, double n, double before) {
    if (!(left.squares.high > 0.0)) return false;
    const double relative = before > wide_range * (left.squares.high / n) ? batch_error : sum_error;
    const double error = relative * before;
    const double sum_error_now = relative * std::sqrt(before);
    // The mean, by its size or, where it is nearly zero, by that of the pixels.
    if (sum_error_now > 0x1p-53 * std::sqrt(left.squares.high / n)) return false;
    if (n == 1.0) return true;
    const DoubleDouble a = multiply(left.squares, {n, 0.0});
    const double scatter = add(a, negate(multiply(left.sum, left.sum))).high;
    if (!(scatter > (resolution + n * 0x1p-104) * a.high))
        return error * 2.0 < resolution * left.squares.high;
    return error * n + 2.0 * std::abs(left.sum.high) * sum_error_now <= 0x1p-52 * scatter;
}

/// Mean exponent of the sums of squares that are not zero: what is usual, whatever a few pixels are.
int usual_exponent(const MomentsState& state, int threads) {
    const std::size_t pixels = state.sum_of_squares_high.size();
    std::vector<double> sums(block_count(pixels)), counts(block_count(pixels));
    over_pixels(pixels, threads, [&](std::size_t block, std::size_t begin, std::size_t n) {
        for (std::size_t i = begin; i < begin + n; ++i) {
            const int exponent = exponent_of(state.sum_of_squares_high[i]);
            if (exponent == no_exponent) continue;
            sums[block] += exponent;
            counts[block] += 1.0;
        }
    });
    double sum = 0.0, count = 0.0;
    for (std::size_t block = 0; block < sums.size(); ++block) {
        sum += sums[block];
        count += counts[block];
    }
    return count > 0.0 ? static_cast<int>(sum / count) : 0;
}

}  // namespace

Traces::Traces(const MomentsState& before, int threads) : exponents_(before.sum_of_squares_high.size()) {
    over_pixels(exponents_.size(), threads, [&](std::size_t, std::size_t begin, std::size_t n) {
        for (std::size_t i = begin; i < begin + n; ++i)
            exponents_[i] = exponent_of(before.sum_of_squares_high[i]);
    });
}

std::size_t Traces::left_in(const MomentsState& after, std::uint64_t count, int threads) const {
    if (count == 0 || exponents_.empty()) return 0;
    std::vector<std::size_t> found(block_count(exponents_.size())), vanished(found.size());
    std::vector<int> largest(found.size(), no_exponent);  // of sums that have vanished
    over_pixels(exponents_.size(), threads, [&](std::size_t block, std::size_t begin, std::size_t n) {
        int suspicious = 0;  // a loop without branches first, as it is all there is as a rule
        for (std::size_t i = begin; i < begin + n; ++i)
            suspicious |= exponents_[i] > exponent_of(after.sum_of_squares_high[i]) + harmless ? 1 : 0;
        for (std::size_t i = begin; suspicious != 0 && i < begin + n; ++i) {
            const int before = exponents_[i];
            if (before <= exponent_of(after.sum_of_squares_high[i]) + harmless) continue;
            const Left left = Left::of(after, i);
            if (left.squares.high == 0.0 && left.sum.high == 0.0) {
                ++vanished[block];
                largest[block] = std::max(largest[block], before);
            } else if (!is_exact(left, static_cast<double>(count), std::ldexp(1.0, before))) {
                ++found[block];
            }
        }
    });
    std::size_t traces = 0;
    for (const std::size_t in_block : found) traces += in_block;
    const int most = *std::max_element(largest.begin(), largest.end());
    if (most > forgotten && most > usual_exponent(after, threads) + forgotten)
        for (const std::size_t in_block : vanished) traces += in_block;
    return traces;
}

}  // namespace camnorm::detail
