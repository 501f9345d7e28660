// Sums of squared differences between pixels and their neighbours, row by row.

#include "kernels/neighbours.hpp"

#include "double_double.hpp"
#include "kernels/simd.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

using Doubles __attribute__((vector_size(width))) = double;

template <class T>
T pixel(const std::byte* x, std::size_t i) noexcept {
    T value;
    __builtin_memcpy(&value, x + i * sizeof value, sizeof value);
    return value;
}

/// The differences of some pixels, in the order of NeighbourState. Doubles are rounded in this order of
/// operations on all instruction sets.
template <class Vector, class Value>
inline void subtract_neighbours(const Rows<Value>& rows, std::size_t i, std::size_t step, Vector* d) {
    const auto at = [](const Value* p) { return load_as<Vector>(p); };
    const Vector x = at(rows.here + i);
    const Vector right = at(rows.here + i + step);
    const Vector below = at(rows.below + i);
    const Vector twice = x + x;
    const Vector corners = (at(rows.above + i - step) + at(rows.above + i + step)) +
                           (at(rows.below + i - step) + at(rows.below + i + step));
    d[0] = twice - (at(rows.here + i - step) + right);
    d[1] = twice - (at(rows.above + i) + below);
    d[2] = d[0] + d[1];
    d[3] = d[2] + ((twice + twice) - corners);
    d[4] = x - right;
    d[5] = x - below;
}

template <class T>
void widen_pairs(const std::byte* first, const std::byte* second, std::size_t n,
                 TwoPixels* __restrict out) noexcept {
    for (std::size_t i = 0; i < n; ++i) {
        const auto low = static_cast<std::uint16_t>(pixel<T>(first, i));
        const auto high = static_cast<std::uint32_t>(pixel<T>(second, i));
        out[i] = low | high << 16;
    }
}

/// Differences of 8-bit pixels fit in 16 bits, those of two frames in the halves of a value; one
/// instruction squares and adds both.
void add_bytes(const Rows<TwoPixels>* pairs, std::size_t n, std::size_t step, std::size_t stride,
               std::uint32_t* sums) noexcept {
    constexpr std::size_t lanes = width / sizeof(TwoPixels);
    for (std::size_t i = 0; i < n; i += lanes) {
        UnsignedWords d[2][differences];
        for (std::size_t pair = 0; pair < 2; ++pair) subtract_neighbours(pairs[pair], i, step, d[pair]);
        for (std::size_t k = 0; k < differences; ++k) {
            std::uint32_t* sum = sums + k * stride + i;
            const Bits squares = add32(multiply_add16((Bits)d[0][k], (Bits)d[0][k]),
                                       multiply_add16((Bits)d[1][k], (Bits)d[1][k]));
            store(sum, add32(load(sum), squares));
        }
    }
}

template <class T>
void widen(const std::byte* x, std::size_t n, double* __restrict out) noexcept {
    for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<double>(pixel<T>(x, i));
}

/// Squares of 16-bit pixels' differences, and sums of not too many of them, are integers that a double holds.
void add_words(const Rows<double>* frames, std::size_t n, std::size_t step, std::size_t stride,
               double* sums) noexcept {
    constexpr std::size_t lanes = width / sizeof(double);
    for (std::size_t i = 0; i < n; i += lanes) {
        Doubles sum[differences];
        for (std::size_t k = 0; k < differences; ++k) sum[k] = load_as<Doubles>(sums + k * stride + i);
        for (std::size_t f = 0; f < neighbour_frames; ++f) {
            Doubles d[differences];
            subtract_neighbours(frames[f], i, step, d);
            for (std::size_t k = 0; k < differences; ++k) sum[k] += d[k] * d[k];
        }
        for (std::size_t k = 0; k < differences; ++k) store(sums + k * stride + i, sum[k]);
    }
}

void add_squares(const double* __restrict d, std::size_t n, double sign, double* __restrict high,
                 double* __restrict low) noexcept {
    for (std::size_t i = 0; i < n; ++i) {
        const DoubleDouble square = two_product(d[i], sign * d[i]);
        const DoubleDouble sum = two_sum(high[i], square.high);
        const DoubleDouble whole = fast_two_sum(sum.high, sum.low + (low[i] + square.low));
        high[i] = whole.high;
        low[i] = whole.low;
    }
}

void add_floats(const Rows<double>& frame, std::size_t n, std::size_t step, std::size_t stride, double sign,
                double* high, double* low) noexcept {
    constexpr std::size_t lanes = width / sizeof(double);
    alignas(64) double d[differences][tile_columns];
    for (std::size_t i = 0; i < n; i += lanes) {
        Doubles of_pixels[differences];
        subtract_neighbours(frame, i, step, of_pixels);
        for (std::size_t k = 0; k < differences; ++k) store(d[k] + i, of_pixels[k]);
    }
    for (std::size_t k = 0; k < differences; ++k)
        add_squares(d[k], n, sign, high + k * stride, low + k * stride);
}

template <class T>
constexpr ByteNeighbours bytes_of = {widen_pairs<T>, add_bytes};
template <class T>
constexpr WordNeighbours words_of = {widen<T>, add_words};
template <class T>
constexpr FloatNeighbours floats_of = {widen<T>, add_floats};

}  // namespace

const NeighbourKernels neighbour_kernels = {
    bytes_of<std::uint8_t>,   bytes_of<std::int8_t>,   words_of<std::uint16_t>, words_of<std::int16_t>,
    floats_of<std::uint32_t>, floats_of<std::int32_t>, floats_of<float>,        floats_of<double>,
};

}  // namespace camnorm::detail::CAMNORM_ISA
