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

/// Bytes per second at which `threads` threads read memory that no cache holds.
inline double read_bandwidth(const Buffer& buffer, int threads) {
    return static_cast<double>(buffer.size()) /
           seconds([&] { read_all(buffer.data(), buffer.size(), threads); });
}

/// For each of `lines` cache lines, In lines are read and Out are written, past the caches where the
/// processor can.
template <int In, int Out>
void copy_lines(const std::byte* from, std::byte* to, std::size_t lines) {
    for (std::size_t i = 0; i < lines; ++i, from += 64 * In, to += 64 * Out) {
#if defined(__SSE2__)
        // Named one by one, the words stay in registers.
        const auto* source = reinterpret_cast<const __m128i*>(from);
        __m128i a = _mm_load_si128(source);
        __m128i b = _mm_load_si128(source + 1);
        __m128i c = _mm_load_si128(source + 2);
        __m128i d = _mm_load_si128(source + 3);
        for (int k = 1; k < In; ++k) {
            a = _mm_or_si128(a, _mm_load_si128(source + 4 * k));
            b = _mm_or_si128(b, _mm_load_si128(source + 4 * k + 1));
            c = _mm_or_si128(c, _mm_load_si128(source + 4 * k + 2));
            d = _mm_or_si128(d, _mm_load_si128(source + 4 * k + 3));
        }
        for (int k = 0; k < Out; ++k) {
            auto* target = reinterpret_cast<__m128i*>(to) + 4 * k;
            _mm_stream_si128(target, a);
            _mm_stream_si128(target + 1, b);
            _mm_stream_si128(target + 2, c);
            _mm_stream_si128(target + 3, d);
        }
#else
        std::uint64_t words[8];
        __builtin_memcpy(words, from, 64);
        for (int k = 1; k < In; ++k) {
            std::uint64_t more[8];
            __builtin_memcpy(more, from + 64 * k, 64);
            for (int j = 0; j < 8; ++j) words[j] |= more[j];
        }
        for (int k = 0; k < Out; ++k) __builtin_memcpy(to + 64 * k, words, 64);
#endif
    }
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

/// Seconds in which `threads` threads read `bytes_read` of one buffer and write `bytes_written` to the
/// other, both from the beginning and at one pace. One is 1, 2, 4 or 8 times the other.
inline double copy_seconds(const Buffer& from, std::size_t bytes_read, const Buffer& to,
                           std::size_t bytes_written, int threads) {
    const std::size_t bytes = std::min(bytes_read, bytes_written);
    const std::size_t in = bytes_read / bytes;
    const std::size_t out = bytes_written / bytes;
    void (*copy)(const std::byte*, std::byte*, std::size_t) = nullptr;
    if (in == 8) copy = copy_lines<8, 1>;
    if (in == 4) copy = copy_lines<4, 1>;
    if (in == 2) copy = copy_lines<2, 1>;
    if (in == 1 && out == 1) copy = copy_lines<1, 1>;
    if (out == 2) copy = copy_lines<1, 2>;
    if (out == 4) copy = copy_lines<1, 4>;
    if (out == 8) copy = copy_lines<1, 8>;
    return seconds([&] {
        over_pieces(bytes, threads, [&](std::size_t begin, std::size_t end) {
            copy(from.data() + in * begin, to.data() + out * begin, (end - begin) / 64);
        });
    });
}

}  // namespace camnorm::bench
