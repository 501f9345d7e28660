#include <doctest/doctest.h>

#include <complex>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "camnorm/camnorm.h"
#include "camnorm/correction.hpp"
#include "camnorm/frc.hpp"
#include "camnorm/moments.hpp"
#include "camnorm/state.hpp"
#ifdef CAMNORM_TEST_FFTW
#include "camnorm/fftw.hpp"
#endif

// The library inside of a program's own threads, each call on its calling thread alone (threads = 1).

using namespace camnorm;

namespace {

constexpr FrameShape shape{60, 90, 1};
constexpr std::size_t workers = 4;
constexpr std::size_t batches = 12;
constexpr std::size_t batch = 3;

std::vector<std::uint16_t> some_frames() {
    std::mt19937_64 engine(1);
    std::vector<std::uint16_t> frames(batches * batch * shape.pixels());
    for (auto& x : frames) x = static_cast<std::uint16_t>(engine() & 0xFFF);
    return frames;
}

FramesView part(const std::vector<std::uint16_t>& frames, std::size_t i) {
    return FramesView::contiguous(frames.data() + i * batch * shape.pixels(), DType::uint16, batch, shape);
}

/// Runs work(worker) in threads of the program.
template <class Work>
void in_threads(const Work& work) {
    std::vector<std::thread> threads;
    for (std::size_t worker = 0; worker < workers; ++worker)
        threads.emplace_back([&, worker] { work(worker); });
    for (std::thread& thread : threads) thread.join();
}

}  // namespace

TEST_CASE("moments of one thread each, merged, and moments that threads share by a lock") {
    const auto frames = some_frames();
    PixelMoments whole(shape, Kind::integer);
    for (std::size_t i = 0; i < batches; ++i) whole.add(part(frames, i), 1);
    const auto expected = save_state(whole, DType::uint16);

    PixelMoments shared(shape, Kind::integer);
    PixelMoments merged(shape, Kind::integer);
    std::mutex lock;
    in_threads([&](std::size_t worker) {
        PixelMoments own(shape, Kind::integer);
        for (std::size_t i = worker; i < batches; i += workers) {
            own.add(part(frames, i), 1);
            const std::lock_guard<std::mutex> guard(lock);
            shared.add(part(frames, i), 1);
        }
        const std::lock_guard<std::mutex> guard(lock);
        merged.merge(own, 1);
    });
    CHECK(save_state(merged, DType::uint16) == expected);
    CHECK(save_state(shared, DType::uint16) == expected);
}

TEST_CASE("one correction and one ring index serve several threads") {
    const auto frames = some_frames();
    const std::size_t pixels = shape.pixels();
    std::vector<double> mean(pixels, 2000.0);
    std::vector<double> sigma(pixels, 700.0);
    sigma[7] = 0.0;
    CorrectionOptions options;
    options.bad_policy = BadPolicy::interpolate;
    const Correction correction(shape, mean, sigma, options);
    const auto corrected = [&](std::size_t i, int threads) {
        std::vector<std::uint8_t> out(batch * pixels);
        correction.apply(part(frames, i),
                         MutableFramesView::contiguous(out.data(), DType::uint8, batch, shape), threads);
        return out;
    };
    std::vector<std::vector<std::uint8_t>> expected;
    for (std::size_t i = 0; i < batches; ++i) expected.push_back(corrected(i, 1));
    const std::uint64_t clipped = correction.clipped();

    const RingIndex index(shape.height, shape.width);
    std::vector<std::complex<float>> spectrum(shape.height * (shape.width / 2 + 1));
    for (std::size_t i = 0; i < spectrum.size(); ++i)
        spectrum[i] = {static_cast<float>(i % 7), static_cast<float>(i % 5) - 2.0f};
    const auto rings = ring_correlation(index, spectrum.data(), spectrum.data(), 1);

    std::vector<int> right(workers);  // doctest's assertions are not for several threads
    in_threads([&](std::size_t worker) {
        bool good = true;
        for (std::size_t i = worker; i < batches; i += workers)
            good = good && corrected(i, worker % 2 == 0 ? 1 : 2) == expected[i];
        const auto again = ring_correlation(index, spectrum.data(), spectrum.data(), 1);
        for (std::size_t r = 1; r < index.rings(); ++r)
            good = good && again.correlation[r] == rings.correlation[r];
        right[worker] = good;
    });
    CHECK(right == std::vector<int>(workers, 1));
    CHECK(correction.clipped() == 2 * clipped);
}

#ifdef CAMNORM_TEST_FFTW
TEST_CASE("threads plan their transforms one after another") {
    const auto frames = some_frames();
    const auto frame = [&](std::size_t i) {
        return FramesView::contiguous(frames.data() + i * shape.pixels(), DType::uint16, 1, shape);
    };
    std::vector<double> expected;
    for (std::size_t i = 0; i < workers; ++i)
        expected.push_back(frc(frame(i), frame(i + 1), {}, 1).correlation[9]);
    std::vector<double> got(workers);
    in_threads([&](std::size_t i) {
        for (int repeat = 0; repeat < 5; ++repeat) got[i] = frc(frame(i), frame(i + 1), {}, 1).correlation[9];
    });
    CHECK(got == expected);
}
#endif

TEST_CASE("each thread has its own last error") {
    std::vector<int> right(workers);
    in_threads([&](std::size_t worker) {
        bool good = std::string(camnorm_last_error()).empty();
        for (int repeat = 0; repeat < 50; ++repeat) {
            camnorm_moments* moments = nullptr;
            const auto dtype = static_cast<camnorm_dtype>(100 + worker);
            good = good && camnorm_moments_create({2, 2, 1}, dtype, &moments) == CAMNORM_INVALID_ARGUMENT &&
                   camnorm_last_error() == "there is no dtype " + std::to_string(dtype);
        }
        right[worker] = good;
    });
    CHECK(right == std::vector<int>(workers, 1));
}
