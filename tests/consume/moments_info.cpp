// Tells of a file of saved moments, whichever language wrote it.

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "camnorm/state.hpp"

namespace {

double average(const std::vector<double>& image) {
    return std::accumulate(image.begin(), image.end(), 0.0) / static_cast<double>(image.size());
}

void tell(const char* path) {
    std::ifstream file(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    const auto [moments, dtype, plane_axis] = camnorm::load_state(bytes.data(), bytes.size());
    std::vector<double> image(moments.shape().pixels());
    std::printf("frames         %llu of %s %s\n", static_cast<unsigned long long>(moments.count()),
                camnorm::to_string(moments.shape()).c_str(), camnorm::name(dtype));
    moments.mean(image.data());
    std::printf("mean of mean   %.10g\n", average(image));
    moments.standard_deviation(image.data());
    std::printf("mean of sigma  %.10g\n", average(image));
}

}  // namespace

int main(int argc, char** argv) {
    try {
        if (argc != 2) throw std::invalid_argument("one file is wanted");
        tell(argv[1]);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "moments_info: %s\n", e.what());
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
