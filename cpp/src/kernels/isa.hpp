#pragma once

// Every kernel source is compiled once an instruction set, with CAMNORM_ISA naming it. What a
// source defines lies in a namespace of that name, and kernel sources use no templates of the
// standard library: the linker could otherwise keep the AVX-512 copy of one for everybody.

#if !defined(CAMNORM_ISA)
#define CAMNORM_ISA baseline
#endif

namespace camnorm::detail {

enum class Isa : unsigned char { baseline, avx2, avx512, avx512vnni };

/// Instruction set in use, chosen once: the best that the processor has, or what CAMNORM_ISA in the
/// environment asks for. Throws InvalidArgument if that is unknown or missing here.
Isa active_isa();

/// Declares KERNELS as the table of one job's kernels, with a copy an instruction set, and
/// NAME() that gives the copy in use. VNNI names the copy for processors that have AVX-512 with VNNI,
/// avx512 if there is none of their own.
#if defined(CAMNORM_X86_KERNELS)
#define CAMNORM_DECLARE_KERNELS_VNNI(KERNELS, NAME, VNNI) \
    namespace baseline {                                  \
    extern const KERNELS NAME;                            \
    }                                                     \
    namespace avx2 {                                      \
    extern const KERNELS NAME;                            \
    }                                                     \
    namespace avx512 {                                    \
    extern const KERNELS NAME;                            \
    }                                                     \
    namespace avx512vnni {                                \
    extern const KERNELS NAME;                            \
    }                                                     \
    inline const KERNELS& NAME() {                        \
        const Isa isa = active_isa();                     \
        if (isa == Isa::avx512vnni) return VNNI::NAME;    \
        if (isa == Isa::avx512) return avx512::NAME;      \
        if (isa == Isa::avx2) return avx2::NAME;          \
        return baseline::NAME;                            \
    }
#define CAMNORM_DECLARE_KERNELS(KERNELS, NAME) CAMNORM_DECLARE_KERNELS_VNNI(KERNELS, NAME, avx512)
#else
#define CAMNORM_DECLARE_KERNELS(KERNELS, NAME) \
    namespace baseline {                       \
    extern const KERNELS NAME;                 \
    }                                          \
    inline const KERNELS& NAME() {             \
        active_isa();                          \
        return baseline::NAME;                 \
    }
#define CAMNORM_DECLARE_KERNELS_VNNI(KERNELS, NAME, VNNI) CAMNORM_DECLARE_KERNELS(KERNELS, NAME)
#endif

}  // namespace camnorm::detail
