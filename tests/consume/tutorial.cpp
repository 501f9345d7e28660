// Corrects frames by a sensor that was measured in Python: the program of the tutorial in
// docs/tutorials/cpp.md.
//
//     tutorial moments.bin
//
// moments.bin holds the sums of a sensor, as PixelMoments.to_bytes() gives them.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "camnorm/correction.hpp"
#include "camnorm/state.hpp"

namespace {

camnorm::PixelMoments load(const char* path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(std::string(path) + ": cannot be opened");
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    return camnorm::load_state(bytes.data(), bytes.size()).moments;
}

/// Eq. (2) with the mean and the sigma image of a sensor.
camnorm::Correction correction_of(const camnorm::PixelMoments& moments) {
    std::vector<double> mean(moments.shape().pixels()), sigma(moments.shape().pixels());
    moments.mean(mean.data());
    moments.standard_deviation(sigma.data());
    return {moments.shape(), mean, sigma};
}

/// Corrects one frame that a camera or a file library holds in memory, as a std::span would describe it: a
/// pointer, and the number of pixels from each row to the next.
std::vector<float> correct(const camnorm::Correction& correction, const std::uint16_t* pixels,
                           std::size_t row_stride) {
    const camnorm::FrameShape shape = correction.shape();
    auto raw = camnorm::FramesView::contiguous(pixels, camnorm::DType::uint16, 1, shape);
    raw.strides[1] = static_cast<std::ptrdiff_t>(row_stride * sizeof *pixels);
    std::vector<float> corrected(shape.pixels());
    correction.apply(
        raw, camnorm::MutableFramesView::contiguous(corrected.data(), camnorm::DType::float32, 1, shape));
    return corrected;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        if (argc != 2) throw std::invalid_argument("usage: tutorial moments.bin");
        const camnorm::PixelMoments moments = load(argv[1]);
        const camnorm::Correction correction = correction_of(moments);

        // A frame in a buffer whose rows are longer than the frame, as those of frame grabbers are.
        const std::size_t height = moments.shape().height, width = moments.shape().width, stride = width + 8;
        std::vector<std::uint16_t> buffer(height * stride, 0);
        for (std::size_t y = 0; y < height; ++y)
            for (std::size_t x = 0; x < width; ++x)
                buffer[y * stride + x] = static_cast<std::uint16_t>(1000 + y + x);

        const std::vector<float> corrected = correct(correction, buffer.data(), stride);
        std::printf("%llu frames of %zu x %zu; the first pixel becomes %.3f, the last %.3f\n",
                    static_cast<unsigned long long>(moments.count()), height, width,
                    static_cast<double>(corrected.front()), static_cast<double>(corrected.back()));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "tutorial: %s\n", error.what());
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
