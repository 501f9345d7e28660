// Rates of PixelMoments, beside the rate at which as many threads read the same memory.
//
// camnorm_bench_moments [threads] [MiB of frames in a call]

#include <cstdio>
#include <cstdlib>

#include "bandwidth.hpp"
#include "camnorm/moments.hpp"
#include "camnorm/runtime.hpp"

using namespace camnorm;

namespace {

constexpr FrameShape shape{4096, 4096, 1};

/// Bytes a pixel of the state, which is read and written once a call.
std::size_t state_bytes(DType dtype) { return kind_of(dtype) == Kind::integer ? 2 * 16 : 2 * 32; }

void fill(const bench::Buffer& buffer, DType dtype) {
    const std::size_t n = buffer.size() / item_size(dtype);
    if (dtype != DType::float16 && dtype != DType::float32 && dtype != DType::float64) return;
    std::uint32_t x = 1;
    for (std::size_t i = 0; i < n; ++i) {
        const auto value = static_cast<float>((x = x * 1664525u + 1013904223u) >> 8) * 0x1p-14f;
        if (dtype == DType::float32) {
            reinterpret_cast<float*>(buffer.data())[i] = value;
        } else if (dtype == DType::float64) {
            reinterpret_cast<double*>(buffer.data())[i] = value;
        } else {  // any finite bits
            reinterpret_cast<std::uint16_t*>(buffer.data())[i] =
                static_cast<std::uint16_t>((x >> 16) & 0x3FFFu);
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    const int threads = resolve_threads(argc > 1 ? std::atoi(argv[1]) : 0);
    const std::size_t bytes = static_cast<std::size_t>(argc > 2 ? std::atoi(argv[2]) : 2048) << 20;
    const bench::Buffer buffer(bytes);
    std::printf("isa %s, %d threads; shares are of the streaming read of the same bytes\n",
                build_info().isa.c_str(), threads);
    std::printf("%-8s %7s %10s %23s %23s %23s\n", "dtype", "frames", "read", "add with statistics", "without",
                "without, with state");
    for (const DType dtype : {DType::uint8, DType::int8, DType::uint16, DType::int16, DType::float16,
                              DType::float32, DType::uint32, DType::float64}) {
        fill(buffer, dtype);
        const std::size_t frame_bytes = shape.pixels() * item_size(dtype);
        for (const std::size_t frames : {std::size_t{1}, std::size_t{8}, bytes / frame_bytes}) {
            const auto view = FramesView::contiguous(buffer.data(), dtype, frames, shape);
            PixelMoments moments(shape, kind_of(dtype));
            const auto frame_total = static_cast<double>(frames * frame_bytes);
            const auto total = frame_total + static_cast<double>(shape.pixels() * state_bytes(dtype));
            const auto [read, with, without] = bench::seconds<3>(
                {[&] { bench::read_all(buffer.data(), frames * frame_bytes, threads); },
                 [&] { moments.add(view, threads); }, [&] { moments.add(view, threads, false); }},
                5);
            const auto rate = [](double size, double time) { return size / time / 1e9; };
            std::printf(
                "%-8s %7zu %5.1f GB/s %10.1f GB/s %5.1f %% %10.1f GB/s %5.1f %% %10.1f GB/s %5.1f %%\n",
                name(dtype), frames, rate(frame_total, read), rate(frame_total, with), 100 * read / with,
                rate(frame_total, without), 100 * read / without, rate(total, without),
                100 * read / without * total / frame_total);
        }
    }
}
