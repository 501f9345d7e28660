// The ring of every frequency, found in integer arithmetic.

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string>

#include "camnorm/error.hpp"
#include "camnorm/frc.hpp"

namespace camnorm {
namespace {

__extension__ using uint128 = unsigned __int128;

constexpr uint128 square(std::size_t x) { return static_cast<uint128>(x) * x; }

/// Gives the ring of radius sqrt(s) / scale, for one s after the other that never shrinks. Ring k
/// begins at radius k (floor) or k - 1/2 (round); both sides are doubled and squared.
class RingCounter {
public:
    RingCounter(std::size_t scale, Binning binning)
        : scale_(square(scale)), half_(binning == Binning::round ? 1 : 0), next_(begin(1)) {}

    std::size_t ring(uint128 s) {
        while (4 * s >= next_) next_ = begin(++ring_ + 1);
        return ring_;
    }

private:
    uint128 begin(std::size_t ring) const { return square(2 * ring - half_) * scale_; }

    uint128 scale_;
    std::size_t half_;
    std::size_t ring_ = 0;
    uint128 next_;
};

}  // namespace

RingIndex::RingIndex(std::size_t height, std::size_t width, Binning binning, bool corners)
    : height_(height), width_(width) {
    if (height == 0 || width == 0) throw InvalidArgument("a plane of frequencies must not be empty");
    // |f|^2 = s / (height * width)^2 for s = (ky * width)^2 + (kx * height)^2, so that the radius
    // |f| * min(height, width) is sqrt(s) / max(height, width).
    const auto s = [&](std::size_t ky, std::size_t kx) { return square(ky * width) + square(kx * height); };
    const RingCounter origin(std::max(height, width), binning);
    constexpr std::size_t most_rings = std::numeric_limits<std::uint16_t>::max();
    const std::size_t nyquist = std::min(height, width) / 2;
    const std::size_t largest =
        nyquist > most_rings ? nyquist : RingCounter(origin).ring(s(height / 2, width / 2));
    const std::size_t last = corners ? largest : nyquist;
    if (largest > most_rings)
        throw InvalidArgument("a plane of " + std::to_string(height) + " x " + std::to_string(width) +
                              " frequencies has more than 65535 rings");

    const std::size_t half_width = width / 2 + 1;
    table_.resize((height / 2 + 1) * half_width);
    columns_.resize(height / 2 + 1);
    counts_.resize(last + 1);
    RingCounter first_column = origin;
    for (std::size_t ky = 0; ky <= height / 2; ++ky) {
        first_column.ring(s(ky, 0));
        RingCounter counter = first_column;
        const std::uint64_t rows = ky == 0 || 2 * ky == height ? 1 : 2;
        for (std::size_t kx = 0; kx < half_width; ++kx) {
            const std::size_t ring = counter.ring(s(ky, kx));
            table_[ky * half_width + kx] = static_cast<std::uint16_t>(ring);
            if (ring > last) continue;
            columns_[ky] = kx + 1;
            counts_[ring] += rows * (kx == 0 || 2 * kx == width ? 1 : 2);
        }
    }
}

}  // namespace camnorm
