// Rates of what a Fourier ring correlation does besides its transforms, and of group averages, beside the
// rate at which as many threads read the same memory.
//
// camnorm_bench_rings [threads] [side of the frames]

#include <complex>
#include <cstdio>
#include <cstdlib>

#include "bandwidth.hpp"
#include "camnorm/average.hpp"
#include "camnorm/frc.hpp"
#include "camnorm/runtime.hpp"

using namespace camnorm;

namespace {

/// Finite values of any bits that this makes of the buffer.
template <class T>
void fill(const bench::Buffer& buffer) {
    std::uint32_t x = 1;
    for (std::size_t i = 0; i < buffer.size() / sizeof(T); ++i) {
        x = x * 1664525u + 1013904223u;
        reinterpret_cast<T*>(buffer.data())[i] = static_cast<T>(x >> 24) - T{128};
    }
}

void print(const char* what, double bytes, double time, double read) {
    std::printf("%-44s %7.2f ms %7.1f GB/s %5.1f %%\n", what, 1e3 * time, bytes / time / 1e9,
                100 * bytes / time / read);
}

}  // namespace

int main(int argc, char** argv) {
    const int threads = resolve_threads(argc > 1 ? std::atoi(argv[1]) : 0);
    const std::size_t side = argc > 2 ? static_cast<std::size_t>(std::atoi(argv[2])) : 4096;
    const FrameShape shape{side, side, 1};
    const std::size_t pixels = shape.pixels();
    const std::size_t half = side * (side / 2 + 1);
    const bench::Buffer buffer(16 * 8 * pixels);
    const bench::Buffer out(8 * pixels);
    const double read = bench::read_bandwidth(buffer, threads);
    std::printf("isa %s, %d threads, %zu x %zu, streaming read %.1f GB/s\n", build_info().isa.c_str(),
                threads, side, side, read / 1e9);

    for (const DType dtype : {DType::uint8, DType::uint16, DType::float32}) {
        if (dtype == DType::float32) fill<float>(buffer);
        const std::size_t frame_bytes = pixels * item_size(dtype);
        const auto frames = FramesView::contiguous(buffer.data(), dtype, 16, shape);
        const auto frame = FramesView::contiguous(buffer.data(), dtype, 1, shape);
        auto* tapered = reinterpret_cast<float*>(out.data());
        auto* sums = reinterpret_cast<double*>(out.data());
        std::fill(sums, sums + pixels, 0.0);
        char what[64];
        std::snprintf(what, sizeof what, "add_frames, 16 of %s", name(dtype));
        print(what, 16.0 * static_cast<double>(frame_bytes) + 16.0 * static_cast<double>(pixels),
              bench::seconds([&] { add_frames(frames, sums, threads); }), read);
        // Two reads, and a write.
        std::snprintf(what, sizeof what, "taper, %s", name(dtype));
        print(what, 2.0 * static_cast<double>(frame_bytes) + 4.0 * static_cast<double>(pixels),
              bench::seconds([&] { taper(frame, nullptr, nullptr, tapered, threads); }), read);
    }

    const RingIndex index(side, side);
    const auto spectra = [&](auto zero) {
        using T = decltype(zero);
        fill<T>(buffer);
        const auto* a = reinterpret_cast<const std::complex<T>*>(buffer.data());
        const auto* b = a + half;
        char what[64];
        const double bytes = static_cast<double>(2 * half * sizeof(std::complex<T>));
        std::snprintf(what, sizeof what, "ring_correlation, complex%zu", 16 * sizeof(T));
        print(what, bytes, bench::seconds([&] { ring_correlation(index, a, b, threads); }), read);
    };
    spectra(0.0F);
    spectra(0.0);
}
