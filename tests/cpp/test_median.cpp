#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <random>
#include <vector>

#include "camnorm/median.hpp"

namespace {

/// Place in a mirror that repeats the edge.
std::size_t mirrored(int place, int n) {
    while (place < 0 || place >= n) place = place < 0 ? -1 - place : 2 * n - 1 - place;
    return static_cast<std::size_t>(place);
}

std::vector<float> plain_medians(const std::vector<float>& image, int height, int width) {
    std::vector<float> out;
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) {
            std::vector<float> window;
            for (int dy = -3; dy <= 3; ++dy)
                for (int dx = -3; dx <= 3; ++dx)
                    window.push_back(image[mirrored(y + dy, height) * static_cast<std::size_t>(width) +
                                           mirrored(x + dx, width)]);
            std::nth_element(window.begin(), window.begin() + 24, window.end());
            out.push_back(window[24]);
        }
    return out;
}

}  // namespace

TEST_CASE("local medians are those of sorted windows, on any number of threads") {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    const int shapes[][2] = {{1, 1}, {2, 3}, {7, 7}, {5, 40}, {33, 70}, {40, 17}};
    for (const auto& [height, width] : shapes) {
        std::vector<float> image(static_cast<std::size_t>(height) * static_cast<std::size_t>(width));
        std::generate(image.begin(), image.end(), [&] { return normal(random); });
        const std::vector<float> expected = plain_medians(image, height, width);
        for (const int threads : {1, 3}) {
            std::vector<float> out(image.size(), -1.0f);
            camnorm::local_median(image.data(), static_cast<std::size_t>(height),
                                  static_cast<std::size_t>(width), out.data(), threads);
            CHECK(out == expected);
        }
    }
}
