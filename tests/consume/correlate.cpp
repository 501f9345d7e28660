// Ring correlation by the component camnorm::fftw: of noise that shares a pattern, and of noise that does
// not.

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "camnorm/fftw.hpp"

int main() {
    constexpr std::size_t side = 256;
    std::mt19937_64 engine(1);
    std::normal_distribution<float> normal(100.0f, 10.0f);
    std::vector<float> pattern(side * side), a(side * side), b(side * side);
    for (auto* image : {&pattern, &a, &b})
        for (float& x : *image) x = normal(engine);
    const auto mean_correlation = [&] {
        const auto view = [](const std::vector<float>& image) {
            return camnorm::FramesView::contiguous(image.data(), camnorm::DType::float32, 1, {side, side, 1});
        };
        const camnorm::Frc rings = camnorm::frc(view(a), view(b));
        double sum = 0.0;
        for (std::size_t r = 1; r < rings.correlation.size(); ++r) sum += rings.correlation[r];
        return sum / static_cast<double>(rings.correlation.size() - 1);
    };
    const double apart = mean_correlation();
    for (std::size_t i = 0; i < a.size(); ++i) {
        a[i] += pattern[i];
        b[i] += pattern[i];
    }
    const double shared = mean_correlation();
    std::printf("mean correlation %.3f without a pattern, %.3f with one of the noise's power\n", apart,
                shared);
    return std::abs(apart) < 0.05 && std::abs(shared - 0.5) < 0.05 ? EXIT_SUCCESS : EXIT_FAILURE;
}
