#pragma once

// The orthonormal Haar transform along one axis of any length.

#include <cstddef>
#include <vector>

namespace camnorm::detail {

/// Consecutive coefficients of similar scales.
struct ScaleRange {
    std::size_t begin;
    std::size_t end;
    double extent;  ///< pixels that the finest of them spans
};

/// Elements are put together two by two until one is left; an odd last one goes to the next level as it is.
/// An element that stands for p pixels is their sum over sqrt(p), so that the transform of white noise is
/// white. The coefficients lie in the order of their scales: first that of the mean, the finest ones last.
class HaarAxis {
public:
    explicit HaarAxis(std::size_t length);

    std::size_t length() const noexcept { return length_; }

    /// The mean, the three coarsest levels in one, and each finer level.
    const std::vector<ScaleRange>& ranges() const noexcept { return ranges_; }

    /// Transforms `lines` lines at a time: element i of line k is values[i * lines + k]. Takes the elements
    /// from `values`, which are lost, and gives the coefficients to store(number, elements of all lines).
    template <class Store>
    void forward(float* values, std::size_t lines, const Store& store) const {
        for (const Level& level : levels_) {
            for (std::size_t i = 0; i < level.pairs; ++i) {
                const bool last = 2 * i + 2 == level.nodes;
                const float p = last ? level.first : level.half, q = last ? level.second : level.half;
                const float* const x = values + 2 * i * lines;
                const float* const y = x + lines;
                float* const sum = values + i * lines;
                float* const detail = store(level.offset + i);
                for (std::size_t k = 0; k < lines; ++k) {
                    const float one = x[k], other = y[k];
                    sum[k] = p * one + q * other;
                    detail[k] = q * one - p * other;
                }
            }
            if (level.nodes % 2 == 1) move(values, level.nodes - 1, level.pairs, lines);
        }
        float* const mean = store(0);
        for (std::size_t k = 0; k < lines; ++k) mean[k] = values[k];
    }

    /// Undoes forward(): load(number) gives the coefficients.
    template <class Load>
    void inverse(float* values, std::size_t lines, const Load& load) const {
        const float* const mean = load(0);
        for (std::size_t k = 0; k < lines; ++k) values[k] = mean[k];
        for (auto level = levels_.rbegin(); level != levels_.rend(); ++level) {
            if (level->nodes % 2 == 1) move(values, level->pairs, level->nodes - 1, lines);
            for (std::size_t i = level->pairs; i-- > 0;) {
                const bool last = 2 * i + 2 == level->nodes;
                const float p = last ? level->first : level->half, q = last ? level->second : level->half;
                const float* const sum = values + i * lines;
                const float* const detail = load(level->offset + i);
                float* const x = values + 2 * i * lines;
                float* const y = x + lines;
                for (std::size_t k = 0; k < lines; ++k) {
                    const float s = sum[k], d = detail[k];
                    x[k] = p * s + q * d;
                    y[k] = q * s - p * d;
                }
            }
        }
    }

private:
    struct Level {
        std::size_t nodes;
        std::size_t pairs;
        std::size_t offset;  // of its coefficients
        float half;          // sqrt(1/2)
        float first;         // of the last pair, whose second element may be shorter: sqrt(p / (p + q))
        float second;        // sqrt(q / (p + q))
    };

    static void move(float* values, std::size_t from, std::size_t to, std::size_t lines) {
        if (from == to) return;
        for (std::size_t k = 0; k < lines; ++k) values[to * lines + k] = values[from * lines + k];
    }

    std::size_t length_;
    std::vector<Level> levels_;
    std::vector<ScaleRange> ranges_;
};

}  // namespace camnorm::detail
