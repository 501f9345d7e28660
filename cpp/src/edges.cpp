#include "edges.hpp"

#include <cmath>
#include <limits>
#include <string>

#include "bands.hpp"
#include "camnorm/error.hpp"

namespace camnorm::detail {
namespace {

constexpr double pi = 3.14159265358979323846;

/// 1 - exp(2 pi i k / n) for the first `count` frequencies of an axis of n pixels.
std::vector<Complex> steps(std::size_t n, std::size_t count) {
    std::vector<Complex> result;
    for (std::size_t k = 0; k < count; ++k) {
        const double angle = pi * static_cast<double>(k) / static_cast<double>(n);
        const double sine = std::sin(angle);
        result.push_back(Complex(0.0, -2.0 * sine) * Complex(std::cos(angle), sine));
    }
    return result;
}

template <class T>
Jumps find_jumps(const std::complex<T>* spectrum, std::size_t height, std::size_t width, int threads) {
    const std::size_t half = width / 2 + 1;
    const std::vector<Complex> row_steps = steps(height, height);
    const std::vector<Complex> column_steps = steps(width, half);
    // A pixel is the mean of the spectrum times its phases, those of the last row the conjugate steps' + 1.
    std::vector<Complex> column_jumps(most_bands * half);
    std::vector<Complex> single(height);
    std::vector<Complex> paired(height);
    for_each_row(height, threads, [&](std::size_t y, std::size_t band) {
        const std::complex<T>* row = spectrum + y * half;
        const Complex row_step = -std::conj(row_steps[y]);
        Complex* sums = column_jumps.data() + band * half;
        for (std::size_t x = 0; x < half; ++x) {
            const Complex value(row[x]);
            sums[x] += value * row_step;
            (x == 0 || 2 * x == width ? single : paired)[y] -= value * std::conj(column_steps[x]);
        }
    });
    Jumps jumps{std::vector<Complex>(half), std::vector<Complex>(height)};
    for (std::size_t band = 0; band < most_bands; ++band)
        for (std::size_t x = 0; x < half; ++x)
            jumps.rows[x] += column_jumps[band * half + x] / static_cast<double>(height);
    for (std::size_t y = 0; y < height; ++y)
        jumps.columns[y] =
            (single[y] + paired[y] + std::conj(paired[(height - y) % height])) / static_cast<double>(width);
    return jumps;
}

}  // namespace

Edges::Edges(std::size_t height, std::size_t width, const Jumps& a, const Jumps& b)
    : rows_(height, height), columns_(width, width / 2 + 1) {
    for (const Jumps* jumps : {&a, &b})
        if (jumps->rows.size() != width / 2 + 1 || jumps->columns.size() != height)
            throw InvalidArgument("jumps at the edges are not those of a plane of " + std::to_string(height) +
                                  " x " + std::to_string(width));
    for (const Jumps* jumps : {&a, &b}) {
        row_jumps_.emplace_back(jumps->rows);
        column_jumps_.emplace_back(jumps->columns);
    }
    // The zero frequency, to which jumps add nothing: 0 / tiny instead of 0 / 0.
    rows_.divisors[0] = std::numeric_limits<double>::min();
}

Edges::Axis::Axis(std::size_t n, std::size_t count) : steps(detail::steps(n, count)) {
    for (std::size_t k = 0; k < count; ++k) {
        const double sine = std::sin(pi * static_cast<double>(k) / static_cast<double>(n));
        divisors.push_back(-4.0 * sine * sine);
    }
}

EdgeStretch Edges::stretch(const Parts& along, Complex across, const Axis& axis, const Axis& other,
                           std::size_t first, std::size_t place) {
    const Complex factor = other.steps.at(place);
    return {along.from(first),      {factor.real(), factor.imag()}, {across.real(), across.imag()},
            axis.steps.from(first), axis.divisors.data() + first,   other.divisors[place]};
}

Jumps jumps_of(const std::complex<float>* spectrum, std::size_t height, std::size_t width, int threads) {
    return find_jumps(spectrum, height, width, threads);
}

Jumps jumps_of(const std::complex<double>* spectrum, std::size_t height, std::size_t width, int threads) {
    return find_jumps(spectrum, height, width, threads);
}

}  // namespace camnorm::detail
