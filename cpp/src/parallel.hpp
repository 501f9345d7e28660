#pragma once

// The only file that names OpenMP, or starts threads where it is not used.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>

#if defined(CAMNORM_PARALLEL_THREADS)
#include <thread>
#include <vector>
#ifdef __linux__
#include <sched.h>
#endif
#elif defined(_OPENMP)
#include <omp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#endif

namespace camnorm::detail {

#if defined(CAMNORM_PARALLEL_THREADS)
inline constexpr const char* parallel = "threads";
inline int available_cores() {
#ifdef __linux__
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed);
#endif
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}
#elif defined(_OPENMP)
inline constexpr const char* parallel = "openmp";
inline int available_cores() { return omp_get_num_procs(); }

/// Number of threads to start: at most `threads`, and fewer if the address space is limited and has no room
/// for the stacks of all, since OpenMP ends the process when a thread cannot start.
inline std::size_t startable(std::size_t threads) {
    constexpr std::size_t usual_stack = std::size_t{8} << 20;
    constexpr std::size_t for_others = std::size_t{32} << 20;  // what other threads may take meanwhile
    rlimit space{}, stack{};
    if (getrlimit(RLIMIT_AS, &space) != 0 || space.rlim_cur == RLIM_INFINITY) return threads;
    const bool told = getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur != RLIM_INFINITY;
    const std::size_t bytes = told ? static_cast<std::size_t>(stack.rlim_cur) : usual_stack;
    for (; threads > 1; threads /= 2) {
        const std::size_t wanted = (threads - 1) * 2 * bytes + for_others;
        void* const place = mmap(nullptr, wanted, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (place == MAP_FAILED) continue;
        munmap(place, wanted);
        break;
    }
    return threads;
}
#else
inline constexpr const char* parallel = "none";
inline int available_cores() { return 1; }
#endif

/// Calls work(i), which must not throw, for every i in [0, count).
template <class Work>
void run_blocks(std::size_t count, [[maybe_unused]] int threads, const Work& work) {
    [[maybe_unused]] const std::size_t team = std::min(static_cast<std::size_t>(threads), count);
#if defined(CAMNORM_PARALLEL_THREADS)
    if (team > 1) {
        std::atomic<std::size_t> next{0};
        const auto take_blocks = [&] {
            for (std::size_t i = next++; i < count; i = next++) work(i);
        };
        std::vector<std::thread> others;
        try {
            others.reserve(team - 1);
            while (others.size() < team - 1) others.emplace_back(take_blocks);
        } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
            // The system has no more threads, or no memory for them: those that there are do it all.
        }
        take_blocks();
        for (std::thread& other : others) other.join();
        return;
    }
#elif defined(_OPENMP)
    if (const std::size_t started = team > 1 ? startable(team) : 1; started > 1) {
        const auto n = static_cast<std::ptrdiff_t>(count);
#pragma omp parallel for schedule(dynamic, 1) num_threads(static_cast<int>(started))
        for (std::ptrdiff_t i = 0; i < n; ++i) work(static_cast<std::size_t>(i));
        return;
    }
#endif
    for (std::size_t i = 0; i < count; ++i) work(i);
}

/// Calls work(i) for every i in [0, count), on up to `threads` threads (resolved, positive), of which
/// the calling one is one.
///
/// The blocks are the caller's, fixed by the size of the data and never by the number of threads,
/// so whatever is put together from them afterwards does not depend on it either. If work(i) throws, the
/// blocks that have not begun are left out, and what the first one threw is thrown again.
template <class Work>
void parallel_for(std::size_t count, int threads, const Work& work) {
    // An exception that leaves a thread, or a region of OpenMP, would end the process.
    std::atomic<bool> failed{false};
    std::exception_ptr error;
    const auto try_work = [&](std::size_t i) noexcept {
        if (failed) return;
        try {
            work(i);
        } catch (...) {
            if (!failed.exchange(true)) error = std::current_exception();
        }
    };
    run_blocks(count, threads, try_work);
    if (error) std::rethrow_exception(error);
}

}  // namespace camnorm::detail
