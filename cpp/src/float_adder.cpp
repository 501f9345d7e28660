#include "float_adder.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace camnorm::detail {
namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

FloatKernels kernels_of(DType dtype) {
    const FloatSumKernels& k = float_sum_kernels();
    switch (dtype) {
        case DType::uint32: return k.uint32;
        case DType::int32: return k.int32;
        case DType::float16: return k.float16;
        case DType::float64: return k.float64;
        default: return k.float32;
    }
}

/// Medians of a few pixels of each frame.
template <class Frames>
std::vector<double> find_origins(const FloatKernels& kernels, Frames& frames) {
    constexpr std::size_t samples = 15;
    constexpr double golden_ratio = 0.6180339887498949;  // no period of the frame is hit again and again
    std::vector<std::array<double, samples>> values(frames.count());
    for (std::size_t i = 0; i < samples; ++i) {
        const double place = golden_ratio * static_cast<double>(i + 1);
        const auto pixel =
            static_cast<std::size_t>((place - std::floor(place)) * static_cast<double>(frames.pixels()));
        frames.visit(
            pixel, pixel + 1, no_limit, [&](Strips& strips, std::size_t first, std::size_t, std::size_t) {
                for (std::size_t f = 0; f < strips.count(); ++f) {
                    const FloatStatistics value = kernels.describe(strips.read(f, pixel, 1), 1, zeros, 0.0);
                    values[first + f][i] = value.finite ? value.sum : 0.0;
                }
                return true;
            });
    }
    frames.check();
    std::vector<double> origins;
    for (auto& of_frame : values) {
        std::nth_element(of_frame.begin(), of_frame.begin() + samples / 2, of_frame.end());
        origins.push_back(of_frame[samples / 2]);
    }
    return origins;
}

}  // namespace

FrameStatistics FloatFrameSums::statistics(std::size_t pixels, double origin) const {
    if (!finite) return {not_a_number, not_a_number, not_a_number, not_a_number};
    const DoubleDouble n{static_cast<double>(pixels), 0.0};
    const DoubleDouble mean = divide(sum, n);
    const DoubleDouble variance = detail::add(divide(sum_of_squares, n), negate(multiply(mean, mean)));
    return {detail::add(mean, origin).high, std::sqrt(std::max(variance.high, 0.0)), min, max};
}

FloatAdder::FloatAdder(DType dtype) : kernels_(kernels_of(dtype)) {}

std::vector<double> FloatAdder::origins(InMemory& frames) const { return find_origins(kernels_, frames); }
std::vector<double> FloatAdder::origins(InFiles& frames) const { return find_origins(kernels_, frames); }

bool FloatAdder::add(Strips& strips, const Share& share, MomentsState& state, FrameSums* frame_sums,
                     OpenSums& open, std::size_t& added) const {
    const std::size_t begin = share.begin, n = share.n, count = share.count;
    double* const places[] = {state.sum_high.data() + begin, state.sum_low.data() + begin,
                              state.sum_of_squares_high.data() + begin,
                              state.sum_of_squares_low.data() + begin};
    for (std::size_t first = 0; first < count; first += frames_per_batch) {
        const std::size_t last = std::min(count, first + frames_per_batch);
        for (std::size_t f = first; f < last; f += group_frames) {
            const Group group = strips.group(f, count, begin, n, strip);
            for (double* sums_of_state : places) prefetch_sums(sums_of_state + strip, n, f, count);
            const std::size_t end = std::min(f + group_frames, last);
            double origins[group_frames] = {};
            std::copy(share.origins + f, share.origins + end, origins);
            FloatStatistics statistics[group_frames];
            if (!kernels_.add(group, n, f == first, open, origins,
                              frame_sums == nullptr ? nullptr : statistics))
                return false;
            for (std::size_t j = f; frame_sums != nullptr && j < end; ++j)
                frame_sums[j].include(statistics[j - f]);
        }
        kernels_.drain(open, n, share.subtract, places[0], places[1], places[2], places[3]);
        added = share.first + last;
    }
    return true;
}

}  // namespace camnorm::detail
