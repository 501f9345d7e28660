#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "camnorm/export.h"

/// @file
/// Threads, instruction sets, and how the library was built.

namespace camnorm {

/// How this library was built and what it uses on this machine.
struct BuildInfo {
    std::string version;
    std::string compiler;
    std::string parallel;           ///< what runs a call on several threads: openmp, threads, or none
    std::string isa;                ///< kernels in use: baseline, avx2 or avx512
    bool vnni;                      ///< whether they use VNNI; CAMNORM_ISA=avx512bw does without
    std::vector<std::string> isas;  ///< kernels that this build and this processor have
};

CAMNORM_EXPORT BuildInfo build_info();

/// Most threads that a call may use.
inline constexpr int max_threads = 1024;

/// Threads that a call with `requested` threads uses: `requested` itself if positive; otherwise the
/// environment variable CAMNORM_THREADS; otherwise all the cores this process may run on.
/// @throws InvalidArgument if `requested` is negative, CAMNORM_THREADS is no positive number, or either is
/// more than max_threads.
CAMNORM_EXPORT int resolve_threads(std::int64_t requested);

}  // namespace camnorm
