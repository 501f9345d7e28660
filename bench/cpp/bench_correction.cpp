// Rates of Correction, beside the rate of a loop that reads and writes as many bytes, past the caches
// where the processor can, with as many threads.
//
// camnorm_bench_correction [threads] [MiB of output in a call]

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "bandwidth.hpp"
#include "camnorm/correction.hpp"
#include "camnorm/runtime.hpp"

using namespace camnorm;

namespace {

constexpr FrameShape shape{4096, 4096, 1};
constexpr std::size_t state_bytes = 16 * shape.pixels();  // mean and sigma, read once a call

struct Job {
    DType in;
    DType out;
    bool in_place;
};

/// Numbers about the mean image's.
void fill(const bench::Buffer& buffer, DType dtype, std::size_t n) {
    std::uint32_t x = 1;
    for (std::size_t i = 0; i < n; ++i) {
        x = x * 1664525u + 1013904223u;
        const auto value = static_cast<std::uint8_t>(x >> 24);
        if (dtype == DType::float32) {
            reinterpret_cast<float*>(buffer.data())[i] = value;
        } else if (dtype == DType::uint16) {
            reinterpret_cast<std::uint16_t*>(buffer.data())[i] = value;
        } else {
            buffer.data()[i] = static_cast<std::byte>(value);
        }
    }
}

void run(const Correction& correction, const Job& job, std::size_t frames, const bench::Buffer& from,
         const bench::Buffer& to, double read, int threads) {
    const std::size_t bytes_in = frames * shape.pixels() * item_size(job.in);
    const std::size_t bytes_out = frames * shape.pixels() * item_size(job.out);
    const bench::Buffer& target = job.in_place ? from : to;
    const double copy = bench::copy_seconds(from, bytes_in, to, bytes_out, threads);
    fill(from, job.in, frames * shape.pixels());
    const auto in = FramesView::contiguous(from.data(), job.in, frames, shape);
    const auto out = MutableFramesView::contiguous(target.data(), job.out, frames, shape);
    const double time = bench::seconds([&] { correction.apply(in, out, threads); });
    const double with_state = copy + static_cast<double>(state_bytes) / read;
    std::printf(
        "%-8s %-8s %-8s %6zu %8.1f GB/s %8.1f GB/s %7.1f %% %9.1f %%\n", name(job.in), name(job.out),
        job.in_place ? "in place" : "", frames, static_cast<double>(bytes_in + bytes_out) / time / 1e9,
        static_cast<double>(bytes_in + bytes_out) / copy / 1e9, 100 * copy / time, 100 * with_state / time);
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    const int threads = resolve_threads(argc > 1 ? std::atoi(argv[1]) : 0);
    const std::size_t bytes = static_cast<std::size_t>(argc > 2 ? std::atoi(argv[2]) : 1024) << 20;
    const bench::Buffer from(bytes);
    const bench::Buffer to(bytes);
    const double read = bench::read_bandwidth(from, threads);
    const Correction correction(shape, std::vector<double>(shape.pixels(), 100.0),
                                std::vector<double>(shape.pixels(), 3.0), {90.0, 2.0, {}, {}});
    std::printf("isa %s, %d threads, streaming read %.1f GB/s\n", build_info().isa.c_str(), threads,
                read / 1e9);
    std::printf("%-26s %6s %13s %13s %9s %11s\n", "types", "frames", "frames' bytes", "copy of them",
                "of copy", "with state");
    for (const Job& job :
         {Job{DType::uint8, DType::float32, false}, Job{DType::float32, DType::float32, false},
          Job{DType::float32, DType::float32, true}, Job{DType::uint16, DType::float32, false},
          Job{DType::uint8, DType::uint8, false}, Job{DType::float32, DType::uint16, false},
          Job{DType::float32, DType::float16, false}}) {
        const std::size_t largest = std::max(item_size(job.in), item_size(job.out));
        for (const std::size_t frames : {std::size_t{1}, bytes / (shape.pixels() * largest)})
            run(correction, job, frames, from, to, read, threads);
    }
}
