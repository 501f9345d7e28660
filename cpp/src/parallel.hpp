#pragma once

// The only file that names OpenMP.

#include <algorithm>
#include <cstddef>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace camnorm::detail {

#ifdef _OPENMP
inline constexpr bool have_openmp = true;
inline int available_cores() { return omp_get_num_procs(); }
#else
inline constexpr bool have_openmp = false;
inline int available_cores() { return 1; }
#endif

/// Calls work(i) for every i in [0, count), on up to `threads` threads (resolved, positive).
///
/// The blocks are the caller's, fixed by the size of the data and never by the number of threads,
/// so whatever is put together from them afterwards does not depend on it either. `work` must not
/// throw.
template <class Work>
void parallel_for(std::size_t count, [[maybe_unused]] int threads, const Work& work) {
#ifdef _OPENMP
    if (threads > 1 && count > 1) {
        const auto n = static_cast<std::ptrdiff_t>(count);
        const auto team = static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(threads), count));
#pragma omp parallel for schedule(dynamic, 1) num_threads(team)
        for (std::ptrdiff_t i = 0; i < n; ++i) work(static_cast<std::size_t>(i));
        return;
    }
#endif
    for (std::size_t i = 0; i < count; ++i) work(i);
}

}  // namespace camnorm::detail
