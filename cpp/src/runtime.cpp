#include "camnorm/runtime.hpp"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "camnorm/error.hpp"
#include "camnorm/version.hpp"
#include "kernels/isa.hpp"
#include "parallel.hpp"

#if defined(CAMNORM_X86_KERNELS)
#include <cpuid.h>
#endif

namespace camnorm {
namespace detail {
namespace {

const char* name(Isa isa) {
    switch (isa) {
        case Isa::avx512vnni:
        case Isa::avx512: return "avx512";
        case Isa::avx2: return "avx2";
        case Isa::baseline: break;
    }
    return "baseline";
}

#if defined(CAMNORM_X86_KERNELS)
/// __builtin_cpu_supports("f16c"), which older versions of clang do not know.
bool have_f16c() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

bool have(Isa isa) {
#if defined(CAMNORM_X86_KERNELS)
    if (isa == Isa::avx2) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && have_f16c();
    }
    if (isa == Isa::avx512) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && have(Isa::avx2);
    }
    if (isa == Isa::avx512vnni) return __builtin_cpu_supports("avx512vnni") && have(Isa::avx512);
#endif
    return isa == Isa::baseline;
}

Isa choose() {
    constexpr Isa all[] = {Isa::avx512vnni, Isa::avx512, Isa::avx2, Isa::baseline};
    const char* variable = std::getenv("CAMNORM_ISA");
    const std::string forced = variable == nullptr ? "" : variable;
    bool known = forced.empty();
    for (Isa isa : all) {
        // "avx512" is with VNNI where the processor has it, "avx512bw" without.
        const bool wanted =
            forced.empty() || (forced == "avx512bw" ? isa == Isa::avx512 : forced == name(isa));
        if (wanted && have(isa)) return isa;
        known = known || wanted;
    }
    if (known) throw InvalidArgument("CAMNORM_ISA=" + forced + ": not available on this machine");
    throw InvalidArgument("CAMNORM_ISA=" + forced + ": must be baseline, avx2 or avx512");
}

}  // namespace

Isa active_isa() {
    static const Isa isa = choose();
    return isa;
}

}  // namespace detail

BuildInfo build_info() {
    BuildInfo info;
    info.version = CAMNORM_VERSION;
#if defined(__clang__)
    info.compiler = "clang " __clang_version__;
#elif defined(__GNUC__)
    info.compiler = "gcc " __VERSION__;
#else
    info.compiler = "unknown";
#endif
    info.parallel = detail::parallel;
    info.isa = detail::name(detail::active_isa());
    info.vnni = detail::active_isa() == detail::Isa::avx512vnni;
    for (detail::Isa isa : {detail::Isa::baseline, detail::Isa::avx2, detail::Isa::avx512})
        if (detail::have(isa)) info.isas.emplace_back(detail::name(isa));
    return info;
}

int resolve_threads(std::int64_t requested) {
    if (requested > max_threads)
        throw InvalidArgument("threads must be at most " + std::to_string(max_threads) + ", got " +
                              std::to_string(requested));
    if (requested > 0) return static_cast<int>(requested);
    if (requested < 0) throw InvalidArgument("threads must be positive, got " + std::to_string(requested));
    const char* text = std::getenv("CAMNORM_THREADS");
    if (text == nullptr || *text == '\0') return std::min(detail::available_cores(), max_threads);
    char* end = nullptr;
    const long value = std::strtol(text, &end, 10);
    if (*end != '\0' || value < 1)
        throw InvalidArgument("CAMNORM_THREADS must be a positive number, got '" + std::string(text) + "'");
    if (value > max_threads)
        throw InvalidArgument("CAMNORM_THREADS must be at most " + std::to_string(max_threads) + ", got '" +
                              std::string(text) + "'");
    return static_cast<int>(value);
}

}  // namespace camnorm
