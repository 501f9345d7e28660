// Work on stretches of pixels of one type: widening float16, adding, weighted sums, tapers.

#include "kernels/pixels.hpp"

#include "kernels/simd.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

void widen_float16(const std::byte* x, std::size_t n, float* out) noexcept {
    constexpr std::size_t pixels = width / sizeof(float);
    using Floats __attribute__((vector_size(width))) = float;
    using Halves __attribute__((vector_size(width / 2))) = std::uint16_t;
    const auto widen_halves = [](Halves halves) -> Floats {
#if defined(__AVX512BW__)
        return _mm512_maskz_cvtph_ps(0xFFFF, (__m256i)halves);
#elif defined(__F16C__)
        return _mm256_cvtph_ps((__m128i)halves);
#else
        const auto bits = __builtin_convertvector(halves, UnsignedIntegers);
        const UnsignedIntegers magnitude = (bits & 0x7FFFu) << 13;
        // The exponent's bias is 15 there and 127 here. Multiplying puts it right for subnormals too.
        const auto scaled = (UnsignedIntegers)((Floats)magnitude * 0x1p112f);
        const auto beyond = (UnsignedIntegers)((Integers)magnitude >= 0x0F800000);  // infinite or NaN
        return (Floats)(scaled | (beyond & (magnitude | 0x7F800000u)) | ((bits & 0x8000u) << 16));
#endif
    };
    std::size_t i = 0;
    for (; i + pixels <= n; i += pixels)
        store(out + i, widen_halves(load_as<Halves>(x + i * sizeof(std::uint16_t))));
    if (i == n) return;
    std::uint16_t padded[pixels] = {};
    float widened[pixels];
    __builtin_memcpy(padded, x + i * sizeof *padded, (n - i) * sizeof *padded);
    store(widened, widen_halves(load_as<Halves>(padded)));
    __builtin_memcpy(out + i, widened, (n - i) * sizeof *out);
}

template <class T>
double pixel(const std::byte* x, std::size_t i) noexcept {
    T value;
    __builtin_memcpy(&value, x + i * sizeof(T), sizeof(T));
    return static_cast<double>(value);
}

/// Bytes that are asked for ahead of those in use: the processor by itself does not read on beyond a page.
constexpr std::size_t ahead = 4096;
constexpr std::size_t line_bytes = 64;

/// Pixels that are worked on between two requests: half a line of 8-bit ones, whole lines of others.
constexpr std::size_t lanes = 32;

template <class T>
void ask_ahead(const std::byte* x) noexcept {
    for (std::size_t j = 0; j < lanes * sizeof(T); j += line_bytes) __builtin_prefetch(x + j + ahead);
}

template <class T>
void add(const std::byte* __restrict x, std::size_t n, double* __restrict sums) noexcept {
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        ask_ahead<T>(x + i * sizeof(T));
        for (std::size_t j = i; j < i + lanes; ++j) sums[j] += pixel<T>(x, j);
    }
    for (; i < n; ++i) sums[i] += pixel<T>(x, i);
}

/// Partial sums by place modulo `lanes`: the same bits whatever the width of the vectors, and enough of
/// them that no addition waits for the one before.
template <class T>
double weighted_sum(const std::byte* x, const double* weights, double origin, std::size_t n) noexcept {
    double partial[lanes] = {};
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        ask_ahead<T>(x + i * sizeof(T));
        for (std::size_t j = 0; j < lanes; ++j) partial[j] += weights[i + j] * (pixel<T>(x, i + j) - origin);
    }
    for (std::size_t j = 0; i + j < n; ++j) partial[j] += weights[i + j] * (pixel<T>(x, i + j) - origin);
    for (std::size_t width = lanes / 2; width > 0; width /= 2)
        for (std::size_t j = 0; j < width; ++j) partial[j] += partial[j + width];
    return partial[0];
}

template <class T, class Out>
void taper(const std::byte* __restrict x, const double* __restrict weights, double weight, double mean,
           std::size_t n, Out* __restrict out) noexcept {
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        ask_ahead<T>(x + i * sizeof(T));
        for (std::size_t j = i; j < i + lanes; ++j)
            out[j] = static_cast<Out>(weight * weights[j] * (pixel<T>(x, j) - mean));
    }
    for (; i < n; ++i) out[i] = static_cast<Out>(weight * weights[i] * (pixel<T>(x, i) - mean));
}

template <class T>
constexpr PixelKernels kernels_for = {add<T>, weighted_sum<T>, taper<T, float>, taper<T, double>};

}  // namespace

const PixelKernelTable pixel_kernels = {
    widen_float16,
    kernels_for<std::uint8_t>,
    kernels_for<std::int8_t>,
    kernels_for<std::uint16_t>,
    kernels_for<std::int16_t>,
    kernels_for<std::uint32_t>,
    kernels_for<std::int32_t>,
    kernels_for<float>,
    kernels_for<double>,
};

}  // namespace camnorm::detail::CAMNORM_ISA
