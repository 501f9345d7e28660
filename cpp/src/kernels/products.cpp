// Sums of pixels times the exposures of their frames.

#include "kernels/products.hpp"

#include "double_double.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

template <class T>
T pixel(const std::byte* x, std::size_t i) noexcept {
    T value;
    __builtin_memcpy(&value, x + i * sizeof value, sizeof value);
    return value;
}

template <class T>
void add_integer_products(const std::byte* __restrict x, std::size_t n, std::int64_t weight,
                          std::int64_t* __restrict products) noexcept {
    for (std::size_t i = 0; i < n; ++i) products[i] += weight * pixel<T>(x, i);
}

template <class T>
void add_float_products(const std::byte* __restrict x, std::size_t n, double weight, double* __restrict high,
                        double* __restrict low) noexcept {
    for (std::size_t i = 0; i < n; ++i) {
        const DoubleDouble sum =
            add(DoubleDouble{high[i], low[i]}, two_product(weight, static_cast<double>(pixel<T>(x, i))));
        high[i] = sum.high;
        low[i] = sum.low;
    }
}

}  // namespace

const ProductKernels product_kernels = {
    add_integer_products<std::uint8_t>,  add_integer_products<std::int8_t>,
    add_integer_products<std::uint16_t>, add_integer_products<std::int16_t>,
    add_float_products<std::uint32_t>,   add_float_products<std::int32_t>,
    add_float_products<float>,           add_float_products<double>,
};

}  // namespace camnorm::detail::CAMNORM_ISA
