#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "camnorm/runtime.hpp"
#include "parallel.hpp"

using camnorm::detail::parallel_for;

TEST_CASE("every block is worked on once, whatever the number of threads") {
    for (const int threads : {1, 2, 3, 16}) {
        for (const std::size_t count : {0u, 1u, 2u, 15u, 1000u}) {
            std::vector<std::atomic<int>> visits(count);
            parallel_for(count, threads, [&](std::size_t i) { ++visits[i]; });
            CHECK(std::all_of(visits.begin(), visits.end(), [](const auto& n) { return n == 1; }));
        }
    }
}

TEST_CASE("that number of threads works at the same time, the calling one among them") {
    const bool alone = camnorm::build_info().parallel == "none";
    constexpr std::size_t count = 3;
    for (const int threads : {1, 2, 3, 8}) {
        const std::size_t team = alone ? 1 : std::min<std::size_t>(static_cast<std::size_t>(threads), count);
        std::atomic<std::size_t> inside{0};
        std::atomic<std::size_t> most{0};
        std::vector<std::thread::id> workers(count);
        parallel_for(count, threads, [&](std::size_t i) {
            workers[i] = std::this_thread::get_id();
            const std::size_t now = ++inside;
            for (std::size_t seen = most; seen < now && !most.compare_exchange_weak(seen, now);) continue;
            // The others must come, too: they are given time to start.
            const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
            while (most < team && std::chrono::steady_clock::now() < end) std::this_thread::yield();
            --inside;
        });
        CHECK(most == team);
        CHECK(std::count(workers.begin(), workers.end(), std::this_thread::get_id()) >= 1);
    }
}

TEST_CASE("what a block throws is thrown again when no thread is at work any more") {
    for (const int threads : {1, 2, 3, 16}) {
        std::atomic<int> inside{0};
        const auto work = [&](std::size_t i) {
            ++inside;
            const bool fails = i == 7;
            --inside;
            if (fails) throw std::bad_alloc();
        };
        CHECK_THROWS_AS(parallel_for(1000, threads, work), std::bad_alloc);
        CHECK(inside == 0);
        CHECK_THROWS_AS(parallel_for(1000, threads, [](std::size_t) { throw std::runtime_error("all"); }),
                        std::runtime_error);
    }
}
