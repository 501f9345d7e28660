#pragma once

// What the jumps at the edges of an image put into its spectrum.

#include <complex>
#include <cstddef>
#include <vector>

#include "camnorm/frc.hpp"
#include "kernels/rings.hpp"

namespace camnorm::detail {

using Complex = std::complex<double>;

/// Complex numbers as the kernels take them.
struct Parts {
    explicit Parts(const std::vector<Complex>& values) {
        for (const Complex& value : values) {
            real.push_back(value.real());
            imaginary.push_back(value.imag());
        }
    }

    ComplexParts from(std::size_t first) const { return {real.data() + first, imaginary.data() + first}; }
    Complex at(std::size_t i) const { return {real[i], imaginary[i]}; }

    std::vector<double> real;
    std::vector<double> imaginary;
};

/// Takes from stretches of two spectra what the jumps at the edges of their images put into them.
class Edges {
public:
    /// @throws InvalidArgument if jumps are not of as many values as the plane has.
    Edges(std::size_t height, std::size_t width, const Jumps& a, const Jumps& b);

    /// Of spectrum 0 or 1, frequencies (ky, kx) and on along ky.
    EdgeStretch down(std::size_t which, std::size_t ky, std::size_t kx) const {
        return stretch(column_jumps_[which], row_jumps_[which].at(kx), rows_, columns_, ky, kx);
    }

    /// The same along kx.
    EdgeStretch right(std::size_t which, std::size_t ky, std::size_t kx) const {
        return stretch(row_jumps_[which], column_jumps_[which].at(ky), columns_, rows_, kx, ky);
    }

private:
    struct Axis {
        Axis(std::size_t n, std::size_t count);

        Parts steps;
        std::vector<double> divisors;  ///< 2 cos(2 pi k / n) - 2
    };

    static EdgeStretch stretch(const Parts& along, Complex across, const Axis& axis, const Axis& other,
                               std::size_t first, std::size_t place);

    Axis rows_;
    Axis columns_;
    std::vector<Parts> row_jumps_;
    std::vector<Parts> column_jumps_;
};

/// The jumps of an image, from its half spectrum.
Jumps jumps_of(const std::complex<float>* spectrum, std::size_t height, std::size_t width, int threads);
Jumps jumps_of(const std::complex<double>* spectrum, std::size_t height, std::size_t width, int threads);

}  // namespace camnorm::detail
