// Sum, sum of squares, minimum and maximum over the pixels of one integer frame.

#include "kernels/integer_statistics.hpp"

#include "kernels/integer_pixels.hpp"
#include "kernels/prefetch.hpp"
#include "kernels/simd.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

template <class T>
inline std::int64_t sum_of_lanes(Bits a) {
    T lanes[width / sizeof(T)];
    store(lanes, a);
    std::int64_t sum = 0;
    for (const T lane : lanes) sum += static_cast<std::int64_t>(lane);
    return sum;
}

template <int Flip, int Offset>
IntegerStatistics describe_bytes(const std::byte* x, std::size_t n, const std::byte* next) noexcept {
    const Bits flip = every8(Flip);
    Bits sums{};
    Bits squares{};
    Bits low = every8(0xFF);
    Bits high{};
    const auto step = [&](Bits u) {
        sums += sum8(u);
        squares = square_four(squares, u);
        low = min8(low, u);
        high = max8(high, u);
    };
    std::size_t i = 0;
    for (; i + width <= n; i += width) {
        prefetch_half(next, i);
        step(load(x + i) ^ flip);
    }
    std::int64_t sum = sum_of_lanes<std::uint64_t>(sums);
    std::int64_t square_sum = sum_of_lanes<std::int32_t>(squares);
#if defined(__AVX512VNNI__)
    square_sum += 128 * sum;
#endif
    std::uint8_t lows[width];
    std::uint8_t highs[width];
    store(lows, low);
    store(highs, high);
    std::uint8_t least = 255;
    std::uint8_t most = 0;
    for (std::size_t j = 0; j < width; ++j) {
        least = lows[j] < least ? lows[j] : least;
        most = highs[j] > most ? highs[j] : most;
    }
    for (; i < n; ++i) {
        const auto u = static_cast<std::uint8_t>(static_cast<int>(x[i]) ^ Flip);
        sum += u;
        square_sum += std::int64_t{u} * u;
        least = u < least ? u : least;
        most = u > most ? u : most;
    }
    const auto count = static_cast<std::int64_t>(n);
    square_sum += std::int64_t{2} * Offset * sum + std::int64_t{Offset} * Offset * count;
    return {sum + Offset * count, static_cast<std::uint64_t>(square_sum), least + Offset, most + Offset};
}

template <int Flip, int Offset>
IntegerStatistics describe_words(const std::byte* x, std::size_t n, const std::byte* next) noexcept {
    constexpr std::size_t pixels = width / 2;
    const Bits flip = every16(Flip);
    Bits sums{};
    Bits squares_low{};
    Bits squares_high{};
    Bits low = every16(32767);
    Bits high = every16(-32768);
    std::size_t i = 0;
    for (; i + pixels <= n; i += pixels) {
        prefetch_half(next, 2 * i);
        const Bits s = load(x + 2 * i) ^ flip;
        sums = add32(sums, multiply_add16(s, every16(1)));
        const Bits s2 = multiply_add16(s, s);
        squares_low = add32(squares_low, s2);
        squares_high = add32(squares_high, right32(s2, 16));
        low = min16(low, s);
        high = max16(high, s);
    }
    std::int64_t sum = sum_of_lanes<std::int32_t>(sums);
    std::int64_t square_sum = 0;
    {
        std::uint32_t lows[width / 4];
        std::uint32_t highs[width / 4];
        store(lows, squares_low);
        store(highs, squares_high);
        for (std::size_t j = 0; j < width / 4; ++j)
            square_sum += static_cast<std::int64_t>(join<std::uint64_t>(lows[j], highs[j]));
    }
    std::int16_t lows[pixels];
    std::int16_t highs[pixels];
    store(lows, low);
    store(highs, high);
    int least = 32767;
    int most = -32768;
    for (std::size_t j = 0; j < pixels; ++j) {
        least = lows[j] < least ? lows[j] : least;
        most = highs[j] > most ? highs[j] : most;
    }
    for (; i < n; ++i) {
        std::uint16_t bits;
        __builtin_memcpy(&bits, x + 2 * i, 2);
        const int s = static_cast<std::int16_t>(bits ^ static_cast<std::uint16_t>(Flip));
        sum += s;
        square_sum += static_cast<std::int64_t>(s) * s;
        least = s < least ? s : least;
        most = s > most ? s : most;
    }
    const auto count = static_cast<std::int64_t>(n);
    square_sum += std::int64_t{2} * Offset * sum + std::int64_t{Offset} * Offset * count;
    return {sum + Offset * count, static_cast<std::uint64_t>(square_sum), least + Offset, most + Offset};
}

}  // namespace

const IntegerStatisticsKernels integer_statistics_kernels = {
    describe_bytes<0, 0>,
    describe_bytes<0x80, -128>,
    describe_words<0x8000, 32768>,
    describe_words<0, 0>,
};

}  // namespace camnorm::detail::CAMNORM_ISA
