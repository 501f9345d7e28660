#pragma once

// What the machine's memory gives: the measure of every rate in these benchmarks.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace camnorm::bench {

/// Seconds of the fastest of several calls of each job. They take turns, so that a time in which other
/// programs hold the machine up is not that of one job alone.
template <std::size_t Jobs>
std::array<double, Jobs> seconds(const std::array<std::function<void()>, Jobs>& jobs, int repeats = 7) {
    std::array<double, Jobs> best;
    best.fill(1e300);
    for (int i = 0; i <= repeats; ++i) {
        for (std::size_t j = 0; j < Jobs; ++j) {
            const auto begin = std::chrono::steady_clock::now();
            jobs[j]();
            const double time =
                std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
            if (i > 0) best[j] = std::min(best[j], time);  // the first is to warm up
        }
    }
    return best;
}

inline double seconds(const std::function<void()>& job, int repeats = 7) {
    return seconds<1>({job}, repeats)[0];
}

/// Memory in huge pages where the system has them, as NumPy takes for its arrays.
class Buffer {
public:
    explicit Buffer(std::size_t bytes) : bytes_(bytes) {
        constexpr std::size_t huge = std::size_t{1} << 21;
        data_.reset(static_cast<std::byte*>(std::aligned_alloc(huge, (bytes + huge - 1) / huge * huge)));
        if (!data_) throw std::bad_alloc();
#if defined(__linux__)
        madvise(data_.get(), bytes, MADV_HUGEPAGE);
#endif
        // Noise of a linear congruential generator, so that every page is there.
        std::uint32_t x = 1;
        for (std::size_t i = 0; i < bytes; ++i)
            data_[i] = static_cast<std::byte>((x = x * 1664525u + 1013904223u) >> 24);
    }
    std::byte* data() const { return data_.get(); }
    std::size_t size() const { return bytes_; }

private:
    struct Free {
        void operator()(std::byte* p) const { std::free(p); }
    };
    std::unique_ptr<std::byte[], Free> data_;
    std::size_t bytes_;
};

/// Runs work(begin, end) on `threads` threads, over pieces of 1 MiB that each takes in turn.
template <class Work>
void over_pieces(std::size_t bytes, int threads, const Work& work) {
    constexpr std::size_t piece = std::size_t{1} << 20;
    std::atomic<std::size_t> next{0};
    const auto run = [&] {
        for (std::size_t begin; (begin = next.fetch_add(piece)) < bytes;)
            work(begin, std::min(begin + piece, bytes));
    };
    std::vector<std::thread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back(run);
    run();
    for (auto& other : others) other.join();
}

/// Reads memory as fast as `threads` threads can: a plain loop, which the processor prefetches for.
inline void read_all(const std::byte* data, std::size_t bytes, int threads) {
    std::atomic<std::uint64_t> sink{0};
    over_pieces(bytes, threads, [&](std::size_t begin, std::size_t end) {
        std::uint64_t bits[8] = {};
        for (std::size_t i = begin; i + 64 <= end; i += 64) {
            std::uint64_t words[8];
            __builtin_memcpy(words, data + i, 64);
            for (int j = 0; j < 8; ++j) bits[j] |= words[j];
        }
        for (const std::uint64_t b : bits) sink.fetch_or(b, std::memory_order_relaxed);
    });
}

/// Seconds in which `threads` threads read `bytes_read` and write `bytes_written`, past the caches where
/// the processor can. Both buffers are gone through at one pace.
inline double copy_seconds(const Buffer& from, std::size_t bytes_read, const Buffer& to,
                           std::size_t bytes_written, int threads) {
    const std::size_t ratio_in = std::max<std::size_t>(bytes_read / std::min(bytes_read, bytes_written), 1);
    const std::size_t ratio_out =
        std::max<std::size_t>(bytes_written / std::min(bytes_read, bytes_written), 1);
    const std::size_t lines = std::min(bytes_read, bytes_written);
    return seconds([&] {
        over_pieces(lines, threads, [&](std::size_t begin, std::size_t end) {
            std::uint64_t bits[8] = {};
            for (std::size_t i = begin; i + 64 <= end; i += 64) {
                for (std::size_t k = 0; k < ratio_in; ++k) {
                    std::uint64_t words[8];
                    __builtin_memcpy(words, from.data() + i * ratio_in + k * 64, 64);
                    for (int j = 0; j < 8; ++j) bits[j] ^= words[j];
                }
                for (std::size_t k = 0; k < ratio_out; ++k) {
                    std::byte* target = to.data() + i * ratio_out + k * 64;
#if defined(__SSE2__)
                    for (int j = 0; j < 4; ++j) {
                        __m128i word;
                        __builtin_memcpy(&word, &bits[2 * j], 16);
                        _mm_stream_si128(reinterpret_cast<__m128i*>(target) + j, word);
                    }
#else
                    __builtin_memcpy(target, bits, 64);
#endif
                }
            }
        });
    });
}

}  // namespace camnorm::bench
