#include "camnorm/pattern.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "camnorm/error.hpp"
#include "camnorm/runtime.hpp"
#include "haar.hpp"
#include "parallel.hpp"

namespace camnorm {

namespace {

using detail::HaarAxis;
using detail::ScaleRange;

/// Cyclic shifts in pixels (y, x) over which the estimate is averaged: no block of the transform keeps its
/// edges.
constexpr std::array<std::pair<std::size_t, std::size_t>, 4> shifts{{{0, 0}, {5, 11}, {10, 21}, {19, 6}}};

/// Standard normal deviate beyond which the power of a band is not taken for noise.
constexpr double gate = 3.7;

/// The same of the logarithm of the ratio of power and noise, in its standard errors, both being estimates.
constexpr double ratio_gate = 3.1;

/// Coefficients of a band from which on deviant ones are left out of its power, and standard deviations
/// beyond which they are.
constexpr std::size_t many = 49;
constexpr double deviant = 4.0;

/// Standard deviations of its noise by which a coefficient is moved at most; somewhat more where the counts
/// behind it are few. It needs some to be told from noise at all.
constexpr double most_moved = 5.0;
constexpr double skewness_margin = 2.5;
constexpr double least_counts = 30.0;

/// Standard deviation of normal numbers over the median of their moduli.
constexpr double median_to_sigma = 1.4826;

/// Coefficients that a median is taken of, about: of more, every n-th.
constexpr std::size_t median_of = std::size_t{1} << 17;

/// Columns that are transformed at a time: one cache line or two of each row.
constexpr std::size_t strip = 32;

/// Rows that one thread transforms before the next ones.
constexpr std::size_t row_block = 16;

std::size_t blocks_of(std::size_t n, std::size_t block) { return (n + block - 1) / block; }

/// Both images of coefficients, and what is found of them.
class Transformed {
public:
    Transformed(std::size_t height, std::size_t width, const PatternOptions& options, int threads)
        : rows_(height),
          columns_(width),
          options_(options),
          threads_(threads),
          mean_(height * width),
          difference_(height * width) {
        const double total = options.frames_a + options.frames_b;
        share_a_ = options.frames_a / total;
        share_b_ = options.frames_b / total;
        of_a_ = options.only_a ? 1.0 : share_a_;
        of_b_ = options.only_a ? 0.0 : share_b_;
    }

    /// Takes the images apart, shifted cyclically: their weighted mean, and their difference scaled to its
    /// noise.
    void take(const float* a, const float* b, std::size_t down, std::size_t right) {
        const std::size_t height = rows_.length(), width = columns_.length();
        const auto of_a = static_cast<float>(of_a_), of_b = static_cast<float>(of_b_);
        const auto scale = static_cast<float>(std::sqrt(of_a_ * share_b_));
        detail::parallel_for(blocks_of(height, row_block), threads_, [&](std::size_t block) {
            std::vector<float> line(width), other(width);
            const std::size_t end = std::min((block + 1) * row_block, height);
            for (std::size_t y = block * row_block; y < end; ++y) {
                const std::size_t from = (y + height - down % height) % height * width;
                for (std::size_t x = 0; x < width; ++x) {
                    const std::size_t to =
                        x + right % width < width ? x + right % width : x + right % width - width;
                    const float in_a = a[from + x], in_b = b[from + x];
                    line[to] = of_a * in_a + of_b * in_b;
                    other[to] = scale * (in_a - in_b);
                }
                columns_.forward(line.data(), 1, [&](std::size_t i) { return &mean_[y * width + i]; });
                columns_.forward(other.data(), 1, [&](std::size_t i) { return &difference_[y * width + i]; });
            }
        });
        for (std::vector<float>* image : {&mean_, &difference_}) {
            for_each_strip([&](std::size_t x, std::size_t n, float* values) {
                for (std::size_t y = 0; y < height; ++y)
                    std::copy_n(&(*image)[y * width + x], n, values + y * n);
                rows_.forward(values, n, [&](std::size_t i) { return &(*image)[i * width + x]; });
            });
        }
    }

    /// Finds and shrinks all bands.
    std::vector<PatternBand> shrink() {
        std::vector<PatternBand> bands;
        for (std::size_t i = 0; i < rows_.ranges().size(); ++i)
            for (std::size_t j = 0; j < columns_.ranges().size(); ++j)
                if (i > 0 || j > 0) bands.push_back({i, j, size_of(i, j), 0, 0, 0, 0});
        if (bands.empty()) return bands;
        // Large bands first, so that threads end together; the last one is the largest.
        const auto for_each_band = [&](const auto& work) {
            detail::parallel_for(bands.size(), threads_,
                                 [&](std::size_t i) { work(bands[bands.size() - 1 - i]); });
        };
        for_each_band([&](PatternBand& band) {
            band.noise = sum(band, difference_, [](double d) { return d * d; }) / counted(band);
        });
        const double floor = bands.back().noise;
        for_each_band([&](PatternBand& band) { shrink(band, floor); });
        return bands;
    }

    /// Adds a share of the image of the coefficients, shifted back, to `pattern`.
    void put_together(float share, std::size_t down, std::size_t right, float* pattern) {
        const std::size_t height = rows_.length(), width = columns_.length();
        for_each_strip([&](std::size_t x, std::size_t n, float* values) {
            rows_.inverse(values, n, [&](std::size_t i) { return &mean_[i * width + x]; });
            for (std::size_t y = 0; y < height; ++y) std::copy_n(values + y * n, n, &mean_[y * width + x]);
        });
        detail::parallel_for(blocks_of(height, row_block), threads_, [&](std::size_t block) {
            std::vector<float> line(width);
            const std::size_t end = std::min((block + 1) * row_block, height);
            for (std::size_t y = block * row_block; y < end; ++y) {
                columns_.inverse(line.data(), 1, [&](std::size_t i) { return &mean_[y * width + i]; });
                float* const to = pattern + (y + height - down % height) % height * width;
                for (std::size_t x = 0; x < width; ++x) {
                    const std::size_t from =
                        x + right % width < width ? x + right % width : x + right % width - width;
                    to[x] += share * line[from];
                }
            }
        });
    }

private:
    std::size_t size_of(std::size_t i, std::size_t j) const {
        const ScaleRange &y = rows_.ranges()[i], &x = columns_.ranges()[j];
        return (y.end - y.begin) * (x.end - x.begin);
    }

    /// Coefficients of a band that were measured.
    double counted(const PatternBand& band) const { return static_cast<double>(band.size) * options_.used; }

    /// Calls work(column, columns, room for them) for each strip of columns.
    template <class Work>
    void for_each_strip(const Work& work) {
        const std::size_t height = rows_.length(), width = columns_.length();
        detail::parallel_for(blocks_of(width, strip), threads_, [&](std::size_t i) {
            const std::size_t n = std::min(strip, width - i * strip);
            std::vector<float> values(height * n);
            work(i * strip, n, values.data());
        });
    }

    /// Calls visit(number) for the coefficients of a band.
    template <class Visit>
    void for_each(const PatternBand& band, const Visit& visit) const {
        const ScaleRange &rows = rows_.ranges()[band.rows], &columns = columns_.ranges()[band.columns];
        for (std::size_t y = rows.begin; y < rows.end; ++y)
            for (std::size_t x = columns.begin; x < columns.end; ++x) visit(y * columns_.length() + x);
    }

    /// Sum of a function of a band's coefficients, in an order that depends on nothing but the band.
    template <class Function>
    double sum(const PatternBand& band, const std::vector<float>& values, const Function& function) const {
        double total = 0.0;
        const ScaleRange &rows = rows_.ranges()[band.rows], &columns = columns_.ranges()[band.columns];
        for (std::size_t y = rows.begin; y < rows.end; ++y) {
            const float* const row = values.data() + y * columns_.length();
            std::array<double, 8> parts{};  // independent sums, for the processor to form at once
            std::size_t x = columns.begin;
            for (; x + parts.size() <= columns.end; x += parts.size())
                for (std::size_t k = 0; k < parts.size(); ++k)
                    parts[k] += function(static_cast<double>(row[x + k]));
            for (; x < columns.end; ++x) parts[0] += function(static_cast<double>(row[x]));
            for (const double part : parts) total += part;
        }
        return total;
    }

    /// Median modulus of a band's coefficients, from some of them if they are many.
    double median(const PatternBand& band) const {
        std::vector<float> some;
        const std::size_t step = band.size / median_of + 1;
        some.reserve(band.size / step + 1);
        std::size_t number = 0;
        for_each(band, [&](std::size_t i) {
            if (number++ % step == 0) some.push_back(std::fabs(mean_[i]));
        });
        const auto middle = some.begin() + static_cast<std::ptrdiff_t>(some.size() / 2);
        std::nth_element(some.begin(), middle, some.end());
        return static_cast<double>(*middle);
    }

    /// Mean square of a band's coefficients, those that deviate most cut off.
    double power_of(const PatternBand& band, double sigma) const {
        if (band.size < many) return sum(band, mean_, [](double y) { return y * y; }) / counted(band);
        const double most = deviant * std::max(median_to_sigma * median(band), sigma);
        return sum(band, mean_, [&](double y) { return std::min(y * y, most * most); }) / counted(band);
    }

    void shrink(PatternBand& band, double floor) {
        const double own = band.noise;
        const double noise = std::max(own, floor);
        const double sigma = std::sqrt(noise), n = std::max(counted(band), 1.0);
        band.noise = noise;
        band.power = power_of(band, sigma);
        // The cube root of a chi-squared number is nearly normal (Wilson & Hilferty, 1931).
        const double c = 2.0 / (9.0 * n);
        const double root = 1.0 + gate * std::sqrt(c) - c;
        const bool seen = band.power > noise * root * root * root &&
                          std::log(band.power / own) > ratio_gate * 2.0 / std::sqrt(n);
        band.weight = seen ? (band.power - noise) / band.power : 0.0;
        band.residual = move_towards_zero(band, sigma, own);
    }

    /// Multiplies the coefficients by the weight, but moves none by more than some sigma; gives the sum
    /// of squared errors, by Stein's unbiased estimate for coefficients of this noise variance.
    double move_towards_zero(const PatternBand& band, double sigma, double noise) {
        const double area =
            rows_.ranges()[band.rows].extent * columns_.ranges()[band.columns].extent * options_.counts;
        const bool limited = area >= least_counts;
        const double most = sigma * (most_moved + (limited ? skewness_margin / std::sqrt(area) : 0.0));
        const double q = std::sqrt(share_b_ / share_a_);
        double moved = 0.0, free = 0.0;
        for_each(band, [&](std::size_t i) {
            const auto y = static_cast<double>(mean_[i]), d = static_cast<double>(difference_[i]);
            double step = (1.0 - band.weight) * y;
            const bool agree = options_.only_a || (y + q * d) * (y - d / q) > 0.0;
            if (limited && std::fabs(y) > most && agree && std::fabs(step) > most)
                step = std::copysign(most, step);
            else
                free += 1.0;
            moved += step * step;
            mean_[i] = static_cast<float>(y - step);
        });
        const double all = noise * counted(band);
        const double trace = 2.0 * noise * (1.0 - band.weight) * free * options_.used;
        return all + moved - trace;
    }

    HaarAxis rows_;
    HaarAxis columns_;
    PatternOptions options_;
    int threads_;
    double share_a_ = 0.5;
    double share_b_ = 0.5;
    double of_a_ = 0.5;  // weights of the halves in the estimate
    double of_b_ = 0.5;
    std::vector<float> mean_;
    std::vector<float> difference_;
};

void check_image(std::size_t height, std::size_t width) {
    if (height == 0 || width == 0) throw InvalidArgument("an image without pixels has no pattern");
}

}  // namespace

std::vector<PatternBand> estimate_pattern(std::size_t height, std::size_t width, const float* a,
                                          const float* b, float* pattern, const PatternOptions& options,
                                          int threads) {
    check_image(height, width);
    if (!(options.frames_a > 0.0) || !(options.frames_b > 0.0))
        throw InvalidArgument("both halves need frames");
    if (!(options.used > 0.0) || options.used > 1.0 || !(options.counts >= 0.0))
        throw InvalidArgument("a share of the pixels and a number of counts are wanted");
    Transformed images(height, width, options, resolve_threads(threads));
    const std::size_t passes = pattern == nullptr ? 1 : shifts.size();
    if (pattern != nullptr) std::fill_n(pattern, height * width, 0.0F);
    std::vector<PatternBand> bands;
    for (std::size_t i = 0; i < passes; ++i) {
        const auto [down, right] = shifts[i];
        images.take(a, b, down, right);
        const std::vector<PatternBand> found = images.shrink();
        if (bands.empty())
            for (const PatternBand& band : found)
                bands.push_back({band.rows, band.columns, band.size, 0.0, 0.0, 0.0, 0.0});
        const auto n = static_cast<double>(passes);
        for (std::size_t k = 0; k < bands.size(); ++k) {
            bands[k].noise += found[k].noise / n;
            bands[k].power += found[k].power / n;
            bands[k].weight += found[k].weight / n;
            bands[k].residual += found[k].residual / n;
        }
        if (pattern != nullptr) images.put_together(1.0F / static_cast<float>(n), down, right, pattern);
    }
    return bands;
}

void local_means(std::size_t height, std::size_t width, const float* values, const std::uint8_t* used,
                 std::size_t radius, float* means, int threads) {
    check_image(height, width);
    detail::parallel_for(blocks_of(height, row_block), resolve_threads(threads), [&](std::size_t block) {
        std::vector<float> sums(width), counts(width);
        const std::size_t end = std::min((block + 1) * row_block, height);
        for (std::size_t y = block * row_block; y < end; ++y) {
            std::fill(sums.begin(), sums.end(), 0.0F);
            std::fill(counts.begin(), counts.end(), 0.0F);
            const std::size_t bottom = std::min(y + radius + 1, height);
            for (std::size_t j = y - std::min(y, radius); j < bottom; ++j) {
                for (std::size_t x = 0; x < width; ++x) {
                    const bool counts_for = used[j * width + x] != 0;
                    sums[x] += counts_for ? values[j * width + x] : 0.0F;
                    counts[x] += counts_for ? 1.0F : 0.0F;
                }
            }
            for (std::size_t x = 0; x < width; ++x) {
                const std::size_t right = std::min(x + radius + 1, width);
                float total = 0.0F, number = 0.0F;
                for (std::size_t i = x - std::min(x, radius); i < right; ++i) {
                    total += sums[i];
                    number += counts[i];
                }
                means[y * width + x] =
                    number > 0.0F ? total / number : std::numeric_limits<float>::quiet_NaN();
            }
        }
    });
}

}  // namespace camnorm
