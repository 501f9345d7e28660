#include "camnorm/median.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "camnorm/runtime.hpp"
#include "kernels/median.hpp"
#include "parallel.hpp"

namespace camnorm {

using namespace detail;

namespace {

constexpr std::size_t side = median_side, reach = side / 2;

/// Rows of a block: few, so that their copies stay in the cache.
constexpr std::size_t block_rows = 16;

/// Place in [0, n) that a place within [-reach, n + reach) is the mirror image of.
std::size_t mirrored(std::ptrdiff_t place, std::size_t n) {
    const auto period = 2 * static_cast<std::ptrdiff_t>(n);
    const std::ptrdiff_t within = ((place % period) + period) % period;
    return static_cast<std::size_t>(std::min(within, period - 1 - within));
}

void copy_mirrored(const float* row, std::size_t width, float* to) {
    std::copy(row, row + width, to + reach);
    for (std::size_t i = 0; i < reach; ++i) {
        to[i] = row[mirrored(static_cast<std::ptrdiff_t>(i) - static_cast<std::ptrdiff_t>(reach), width)];
        to[reach + width + i] = row[mirrored(static_cast<std::ptrdiff_t>(width + i), width)];
    }
}

}  // namespace

void local_median(const float* image, std::size_t height, std::size_t width, float* out, int threads) {
    // Vectors reach beyond the end of a row.
    const std::size_t stride = width + 2 * reach + median_slack;
    const std::size_t blocks = (height + block_rows - 1) / block_rows;
    const MedianKernels& kernels = median_kernels();
    parallel_for(blocks, resolve_threads(threads), [&](std::size_t block) {
        const std::size_t first = block * block_rows, count = std::min(block_rows, height - first);
        std::vector<float> copies((count + 2 * reach) * stride), columns(side * stride), found(stride);
        for (std::size_t i = 0; i < count + 2 * reach; ++i) {
            const auto place = static_cast<std::ptrdiff_t>(first + i) - static_cast<std::ptrdiff_t>(reach);
            copy_mirrored(image + mirrored(place, height) * width, width, copies.data() + i * stride);
        }
        for (std::size_t i = 0; i < count; ++i) {
            kernels.sort_columns(copies.data() + i * stride, stride, width + 2 * reach, columns.data());
            kernels.medians(columns.data(), stride, width, found.data());
            std::copy(found.data(), found.data() + width, out + (first + i) * width);
        }
    });
}

}  // namespace camnorm
