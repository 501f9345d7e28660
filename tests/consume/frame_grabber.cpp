// A frame grabber: a detector's thread copies frames into a ring buffer, another thread adds them to moments
// and corrects them where they lie. Tells the rate, the processor time, and what the machine's memory would
// allow.

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "camnorm/correction.hpp"
#include "camnorm/moments.hpp"
#include "camnorm/runtime.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using Pixels = std::vector<std::uint8_t>;

constexpr std::size_t slots = 128;
// Each call reads and writes all the sums, and forms the gain of every pixel: that costs as much as adding
// and correcting ten frames. A program that takes frames as they come has few at a time, and spends most of
// its time on that.
constexpr std::size_t least_at_once = 32;
constexpr std::size_t most_at_once = 64;
constexpr std::size_t scenes = 6;

struct Options {
    double seconds = 2.0;
    double rate = 400.0;
    std::size_t side = 4096;
    int threads = 0;
};

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; i += 2) {
        const std::string name = argv[i];
        if (i + 1 == argc) throw std::invalid_argument(name + " needs a value");
        const std::string value = argv[i + 1];
        if (name == "--seconds")
            options.seconds = std::stod(value);
        else if (name == "--rate")
            options.rate = std::stod(value);
        else if (name == "--side")
            options.side = std::stoul(value);
        else if (name == "--threads")
            options.threads = std::stoi(value);
        else
            throw std::invalid_argument("no option " + name +
                                        ": there are --seconds, --rate, --side and --threads");
    }
    return options;
}

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Frames of a sensor with a pattern: Poisson noise would take minutes at this size.
std::vector<Pixels> make_scenes(std::size_t pixels) {
    std::vector<Pixels> result(scenes, Pixels(pixels));
    std::mt19937_64 engine(1);
    for (Pixels& scene : result) {
        std::uint64_t bits = 0;
        for (std::size_t i = 0; i < pixels; ++i) {
            if (i % 8 == 0) bits = engine();
            const auto pattern = static_cast<unsigned>(i % 61 + i / 4096 % 7);
            scene[i] = static_cast<std::uint8_t>(60u + pattern + (bits >> (8 * (i % 8)) & 0x3F));
        }
    }
    return result;
}

/// Bytes per second at which threads read memory, the best of three passes.
double read_bandwidth(const Pixels& memory, int threads) {
    double best = 0.0;
    for (int pass = 0; pass < 3; ++pass) {
        std::vector<std::uint64_t> sums(static_cast<std::size_t>(threads));
        std::vector<std::thread> readers;
        const auto begin = Clock::now();
        for (std::size_t t = 0; t < sums.size(); ++t) {
            readers.emplace_back([&, t] {
                const std::size_t first = memory.size() / 8 * t / sums.size();
                const std::size_t last = memory.size() / 8 * (t + 1) / sums.size();
                std::uint64_t sum[8] = {};
                for (std::size_t i = first; i + 8 <= last; i += 8) {
                    for (std::size_t j = 0; j < 8; ++j) {
                        std::uint64_t word = 0;
                        __builtin_memcpy(&word, memory.data() + 8 * (i + j), 8);
                        sum[j] ^= word;
                    }
                }
                for (const std::uint64_t s : sum) sums[t] ^= s;
            });
        }
        for (std::thread& reader : readers) reader.join();
        volatile std::uint64_t sink = 0;  // so that nobody may skip the reading
        for (const std::uint64_t s : sums) sink = sink ^ s;
        best = std::max(best, static_cast<double>(memory.size()) / seconds_since(begin));
    }
    return best;
}

/// Slots between one thread that writes frames and one that uses them, both in order.
class Ring {
public:
    explicit Ring(std::size_t pixels) : pixels_(pixels), memory_(slots * pixels), scene_(slots) {}

    std::uint8_t* slot(std::size_t i) { return memory_.data() + i % slots * pixels_; }
    std::size_t& scene(std::size_t i) { return scene_[i % slots]; }
    const Pixels& memory() const { return memory_; }

    /// Slot to write, or false if all are in use.
    bool free(std::size_t& i) {
        const std::lock_guard<std::mutex> lock(mutex_);
        i = written_;
        return written_ - used_ < slots;
    }
    void written() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            ++written_;
        }
        changed_.notify_one();
    }
    void close() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            closed_ = true;
        }
        changed_.notify_one();
    }

    /// Waits until there are enough frames: the first, and how many lie one after another. Fewer at the end
    /// of the memory, and when the detector has stopped; none after the last.
    std::pair<std::size_t, std::size_t> wait() {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return written_ - used_ >= least_at_once || closed_; });
        return {used_, std::min({written_ - used_, slots - used_ % slots, most_at_once})};
    }
    void used(std::size_t count) {
        const std::lock_guard<std::mutex> lock(mutex_);
        used_ += count;
    }

private:
    std::size_t pixels_;
    Pixels memory_;
    std::vector<std::size_t> scene_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::size_t written_ = 0;
    std::size_t used_ = 0;
    bool closed_ = false;
};

int run(const Options& options) {
    const camnorm::FrameShape shape{options.side, options.side, 1};
    const std::size_t pixels = shape.pixels();
    const auto frames = [&](std::uint8_t* data, std::size_t count) {
        return camnorm::MutableFramesView::contiguous(data, camnorm::DType::uint8, count, shape);
    };
    std::vector<Pixels> prepared = make_scenes(pixels);

    // A correction from frames that were taken before.
    camnorm::PixelMoments before(shape, camnorm::Kind::integer);
    for (Pixels& scene : prepared) before.add(frames(scene.data(), 1).view(), options.threads, false);
    std::vector<double> mean(pixels);
    std::vector<double> sigma(pixels);
    before.mean(mean.data(), options.threads);
    before.standard_deviation(sigma.data(), 0, options.threads);
    const camnorm::Correction correction(shape, mean, sigma);

    Ring ring(pixels);
    const int threads = camnorm::resolve_threads(options.threads);
    const double bandwidth = read_bandwidth(ring.memory(), threads);

    // Whatever takes memory is there before the first frame comes: the system provides that of the sums when
    // they are first written.
    camnorm::PixelMoments moments(shape, camnorm::Kind::integer);
    moments.add(frames(prepared.front().data(), 1).view(), options.threads, false);
    moments.subtract(frames(prepared.front().data(), 1).view(), options.threads);
    std::vector<double> seen(scenes);
    std::size_t delivered = 0;
    std::size_t dropped = 0;
    std::thread detector([&] {
        const auto begin = Clock::now();
        const auto all = static_cast<std::size_t>(options.seconds * options.rate);
        for (std::size_t k = 0; k < all; ++k) {
            std::this_thread::sleep_until(
                begin + std::chrono::duration_cast<Clock::duration>(
                            std::chrono::duration<double>(static_cast<double>(k) / options.rate)));
            std::size_t i = 0;
            ++delivered;
            if (!ring.free(i)) {
                ++dropped;
                continue;
            }
            const Pixels& scene = prepared[k % scenes];
            std::copy(scene.begin(), scene.end(), ring.slot(i));
            ring.scene(i) = k % scenes;
            ring.written();
        }
        ring.close();
    });

    const auto begin = Clock::now();
    const std::clock_t busy = std::clock();
    for (;;) {
        const auto [first, count] = ring.wait();
        if (count == 0) break;
        const auto batch = frames(ring.slot(first), count);
        moments.add(batch.view(), options.threads, false);
        correction.apply(batch.view(), batch, options.threads);
        for (std::size_t i = first; i < first + count; ++i) seen[ring.scene(i)] += 1.0;
        ring.used(count);
    }
    const double seconds = seconds_since(begin);
    detector.join();
    const auto processor = static_cast<double>(std::clock() - busy) / CLOCKS_PER_SEC;

    const auto used = static_cast<double>(moments.count());
    const double rate = used * static_cast<double>(pixels) / seconds;
    std::printf("frames            %zu x %zu uint8, %.0f a second for %.1f s\n", options.side, options.side,
                options.rate, options.seconds);
    std::printf("threads           %d, and the detector's\n", threads);
    std::printf("delivered         %zu, of which %zu were dropped\n", delivered, dropped);
    std::printf("added, corrected  %.0f: %.1f frames/s, %.2f GB/s of raw frames\n", used, used / seconds,
                rate * 1e-9);
    std::printf("processor         %.2f ms a frame, with the detector's copy\n", 1e3 * processor / used);
    std::printf("memory            %.2f GB/s read: the frames are %.0f %% of it\n", bandwidth * 1e-9,
                100.0 * rate / bandwidth);

    // Whatever was dropped, the mean is that of the frames which came through.
    moments.mean(mean.data(), options.threads);
    for (std::size_t i = 0; i < pixels; ++i) {
        double sum = 0.0;
        for (std::size_t s = 0; s < scenes; ++s) sum += seen[s] * prepared[s][i];
        if (mean[i] != sum / used) {
            std::printf("the mean of pixel %zu is %.17g, not %.17g\n", i, mean[i], sum / used);
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(parse(argc, argv));
    } catch (const std::exception& e) {
        std::fprintf(stderr, "frame_grabber: %s\n", e.what());
        return EXIT_FAILURE;
    }
}
