#include "integer_adder.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace camnorm::detail {
namespace {

__extension__ using uint128 = unsigned __int128;

IntegerKernels sum_kernels(DType dtype) {
    const IntegerSumKernels& k = integer_sum_kernels();
    switch (dtype) {
        case DType::uint8: return k.uint8;
        case DType::int8: return k.int8;
        case DType::uint16: return k.uint16;
        default: return k.int16;
    }
}

DescribeIntegers statistics_kernel(DType dtype) {
    const IntegerStatisticsKernels& k = integer_statistics_kernels();
    switch (dtype) {
        case DType::uint8: return k.uint8;
        case DType::int8: return k.int8;
        case DType::uint16: return k.uint16;
        default: return k.int16;
    }
}

/// Splits the prefetching of what comes next: half of it while a group is added, half with the statistics of
/// its frames, so that memory is read all the time. Gives what to prefetch with the j-th frame.
std::array<const std::byte*, group_frames> spread_prefetch(Group& group, std::size_t strip_bytes) {
    constexpr std::size_t half = group_frames / 2;
    std::array<const std::byte*, group_frames> later;
    for (std::size_t j = 0; j < group_frames; ++j)
        later[j] = group.next[half + j / 2] + j % 2 * (strip_bytes / 2);
    for (std::size_t j = half; j < group_frames; ++j) group.next[j] = group.x[j];
    return later;
}

constexpr std::array<const std::byte*, group_frames> no_more{};

}  // namespace

FrameStatistics IntegerFrameSums::statistics(std::size_t pixels, double) const {
    const auto n = static_cast<double>(pixels);
    const auto magnitude = static_cast<std::uint64_t>(std::abs(sum));
    const uint128 numerator =
        static_cast<uint128>(pixels) * sum_of_squares - static_cast<uint128>(magnitude) * magnitude;
    return {static_cast<double>(sum) / n, std::sqrt(static_cast<double>(numerator)) / n,
            static_cast<double>(min), static_cast<double>(max)};
}

IntegerAdder::IntegerAdder(DType dtype) : kernels_(sum_kernels(dtype)), describe_(statistics_kernel(dtype)) {}

bool IntegerAdder::add(Strips& strips, const Share& share, MomentsState& state, FrameSums* frame_sums,
                       OpenSums& open, std::size_t& added) const {
    const std::size_t begin = share.begin, n = share.n, count = share.count;
    if (share.first == 0) open.frames = 0;
    for (std::size_t f = 0; f < count; f += group_frames) {
        if (open.frames == 0) kernels_.clear(open.sums);
        Group group = strips.group(f, count, begin, n, strip);
        const auto later = frame_sums == nullptr ? no_more : spread_prefetch(group, n * strips.pixel_bytes());
        prefetch_sums(state.sum.data() + begin + strip, n, f, count);
        prefetch_sums(state.sum_of_squares.data() + begin + strip, n, f, count);
        kernels_.add(group, n, open.sums);
        for (std::size_t j = f; frame_sums != nullptr && j < std::min(f + group_frames, count); ++j)
            frame_sums[j].include(describe_(group.x[j - f], n, later[j - f]));
        open.frames += group_frames;
        const bool end = share.last && f + group_frames >= count;
        if (!end && open.frames < frames_per_drain) continue;
        kernels_.drain(open.sums, n, open.frames, share.subtract, state.sum.data() + begin,
                       state.sum_of_squares.data() + begin);
        added = share.first + std::min(f + group_frames, count);
        open.frames = 0;
    }
    return true;
}

}  // namespace camnorm::detail
