#include "kernels/rings.hpp"

namespace camnorm::detail::CAMNORM_ISA {
namespace {

template <class T>
void add_spectra(const std::uint16_t* rings, std::ptrdiff_t step, const T* a, const T* b, std::size_t n,
                 double weight, RingSums* __restrict sums) noexcept {
    for (std::size_t i = 0; i < n; ++i, rings += step) {
        const double ar = a[2 * i];
        const double ai = a[2 * i + 1];
        const double br = b[2 * i];
        const double bi = b[2 * i + 1];
        const double power_a = ar * ar + ai * ai;
        const double power_b = br * br + bi * bi;
        RingSums& sum = sums[*rings];
        sum.cross += weight * (ar * br + ai * bi);
        sum.power_a += weight * power_a;
        sum.power_b += weight * power_b;
        sum.power_product += weight * (power_a * power_b);
    }
}

template <class T>
void add_smooth_spectra(const std::uint16_t* rings, std::ptrdiff_t step, const T* a, const T* b,
                        const SmoothStretch& sa, const SmoothStretch& sb, std::size_t n, double weight,
                        RingSums* __restrict sums) noexcept {
    for (std::size_t i = 0; i < n; ++i, rings += step) {
        const double ar = a[2 * i];
        const double ai = a[2 * i + 1];
        const double br = b[2 * i];
        const double bi = b[2 * i + 1];
        const double sar = sa.real[i];
        const double sai = sa.imaginary[i];
        const double sbr = sb.real[i];
        const double sbi = sb.imaginary[i];
        const double smooth_power_a = sar * sar + sai * sai;
        const double smooth_power_b = sbr * sbr + sbi * sbi;
        RingSums& sum = sums[*rings];
        sum.cross += weight * (ar * br + ai * bi);
        sum.power_a += weight * (ar * ar + ai * ai);
        sum.power_b += weight * (br * br + bi * bi);
        sum.power_product += weight * (smooth_power_a * smooth_power_b);
        sum.smooth_cross += weight * (sar * sbr + sai * sbi);
        sum.smooth_power_a += weight * smooth_power_a;
        sum.smooth_power_b += weight * smooth_power_b;
    }
}

template <class T>
void remove_edges(const T* __restrict x, const EdgeStretch& edges, std::size_t n,
                  SmoothStretch& __restrict out) noexcept {
    const EdgeStretch e = edges;
    for (std::size_t i = 0; i < n; ++i) {
        const double lr = e.along.real[i];
        const double li = e.along.imaginary[i];
        const double cr = e.across_factor.real[i];
        const double ci = e.across_factor.imaginary[i];
        const double scale = 1.0 / (e.divisors[i] + e.divisor);
        const double real =
            (lr * e.along_factor[0] - li * e.along_factor[1]) + (cr * e.across[0] - ci * e.across[1]);
        const double imaginary =
            (lr * e.along_factor[1] + li * e.along_factor[0]) + (cr * e.across[1] + ci * e.across[0]);
        out.real[i] = static_cast<double>(x[2 * i]) - real * scale;
        out.imaginary[i] = static_cast<double>(x[2 * i + 1]) - imaginary * scale;
    }
}
}  // namespace

const RingKernels ring_kernels = {
    add_spectra<float>,   add_spectra<double>,       remove_edges<float>,
    remove_edges<double>, add_smooth_spectra<float>, add_smooth_spectra<double>,
};

}  // namespace camnorm::detail::CAMNORM_ISA
