#include "haar.hpp"

#include <algorithm>
#include <cmath>

namespace camnorm::detail {

namespace {

/// Levels that are one range of scales.
constexpr std::size_t coarse_levels = 3;

}  // namespace

HaarAxis::HaarAxis(std::size_t length) : length_(length) {
    std::size_t nodes = length;
    std::size_t pixels = 1;       // that an element stands for, but for the last one
    std::size_t last_pixels = 1;  // that the last one stands for
    std::size_t end = length;
    for (; nodes > 1; nodes = (nodes + 1) / 2, pixels *= 2) {
        const std::size_t pairs = nodes / 2;
        end -= pairs;
        const auto p = static_cast<double>(pixels), q = static_cast<double>(last_pixels);
        levels_.push_back({nodes, pairs, end, static_cast<float>(std::sqrt(0.5)),
                           static_cast<float>(std::sqrt(p / (p + q))),
                           static_cast<float>(std::sqrt(q / (p + q)))});
        if (nodes % 2 == 0) last_pixels += pixels;
    }
    ranges_.push_back({0, 1, static_cast<double>(length)});
    const std::size_t fine = levels_.size() - std::min(coarse_levels, levels_.size());
    if (fine < levels_.size()) {
        const Level& finest = levels_[fine];
        ranges_.push_back({1, finest.offset + finest.pairs, std::ldexp(2.0, static_cast<int>(fine))});
    }
    for (std::size_t i = fine; i-- > 0;) {
        const Level& level = levels_[i];
        ranges_.push_back({level.offset, level.offset + level.pairs, std::ldexp(2.0, static_cast<int>(i))});
    }
}

}  // namespace camnorm::detail
