// Images of the sums: mean, sigma, targets, and the sums themselves.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "blocks.hpp"
#include "camnorm/moments.hpp"
#include "camnorm/runtime.hpp"
#include "double_double.hpp"
#include "kernels/finish.hpp"

namespace camnorm {

using namespace detail;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

template <class Value>
void fill(double* out, std::size_t pixels, int threads, const Value& value) {
    over_pixels(pixels, threads, [&](std::size_t, std::size_t begin, std::size_t n) {
        for (std::size_t i = begin; i < begin + n; ++i) out[i] = value(i);
    });
}

DoubleDouble exact(std::uint64_t value) {
    return two_sum(static_cast<double>(value >> 32) * 0x1p32, static_cast<double>(value & 0xFFFFFFFFu));
}

Sums sums_from(const MomentsState& state, std::size_t pixel) {
    Sums sums;
    if (state.kind == Kind::integer) {
        sums.sum = state.sum.data() + pixel;
        sums.squares = state.sum_of_squares.data() + pixel;
    } else {
        sums.sum_high = state.sum_high.data() + pixel;
        sums.sum_low = state.sum_low.data() + pixel;
        sums.squares_high = state.sum_of_squares_high.data() + pixel;
        sums.squares_low = state.sum_of_squares_low.data() + pixel;
    }
    return sums;
}

/// Makes images of the sums of one state, or of two that count as one.
class Finisher {
public:
    Finisher(const MomentsState& state, const PixelMoments* with, std::uint64_t ddof)
        : state_(state),
          with_(with == nullptr ? nullptr : &with->state()),
          count_(state.count + (with == nullptr ? 0 : with->count())),
          ddof_(ddof),
          kernels_(kernels_of(state.kind)[with != nullptr]),
          divisors_{static_cast<double>(count_), exact(count_ * (count_ - ddof))} {}

    /// Writes the values of n pixels from `begin` on.
    void finish(Finish ImageKernels::* kernel, std::size_t begin, std::size_t n, double* out) const {
        if (count_ <= ddof_) {
            std::fill_n(out, n, not_a_number);
        } else if (count_ == 1 && kernel != &ImageKernels::mean) {
            // No scatter, whatever rounding errors other frames have left behind.
            std::fill_n(out, n, 0.0);
        } else {
            const Sums sums[] = {sums_from(state_, begin),
                                 with_ == nullptr ? Sums{} : sums_from(*with_, begin)};
            (kernels_.*kernel)(sums, n, divisors_, out);
        }
    }

    /// Writes all pixels.
    void finish(Finish ImageKernels::* kernel, double* out, int threads) const {
        over_pixels(state_.shape.pixels(), threads, [&](std::size_t, std::size_t begin, std::size_t n) {
            finish(kernel, begin, n, out + begin);
        });
    }

private:
    static const ImageKernels* kernels_of(Kind kind) {
        return kind == Kind::integer ? finish_kernels().integer : finish_kernels().floating;
    }

    const MomentsState& state_;
    const MomentsState* with_;
    std::uint64_t count_;
    std::uint64_t ddof_;
    const ImageKernels& kernels_;
    Divisors divisors_;
};

}  // namespace

void PixelMoments::mean(double* out, int threads, const PixelMoments* with) const {
    if (with != nullptr) check_addable(*with);
    Finisher(state_, with, 0).finish(&ImageKernels::mean, out, threads);
}

void PixelMoments::variance(double* out, std::uint64_t ddof, int threads) const {
    Finisher(state_, nullptr, ddof).finish(&ImageKernels::variance, out, threads);
}

void PixelMoments::standard_deviation(double* out, std::uint64_t ddof, int threads,
                                      const PixelMoments* with) const {
    if (with != nullptr) check_addable(*with);
    Finisher(state_, with, ddof).finish(&ImageKernels::deviation, out, threads);
}

Targets PixelMoments::targets(int threads, const PixelMoments* with) const {
    if (with != nullptr) check_addable(*with);
    const std::size_t pixels = state_.shape.pixels();
    const Finisher finisher(state_, with, 0);
    std::vector<TargetSums> parts(block_count(pixels));
    over_pixels(pixels, threads, [&](std::size_t block, std::size_t begin, std::size_t n) {
        double means[block_pixels];
        double sigmas[block_pixels];
        finisher.finish(&ImageKernels::mean, begin, n, means);
        finisher.finish(&ImageKernels::deviation, begin, n, sigmas);
        parts[block] = finish_kernels().targets(means, sigmas, n);
    });
    TargetSums total;
    for (const TargetSums& part : parts) {
        total.mean = detail::add(total.mean, part.mean);
        total.sigma = detail::add(total.sigma, part.sigma);
        total.pixels += part.pixels;
    }
    return {total.mean.high / total.pixels, total.sigma.high / total.pixels};
}

void PixelMoments::sum(double* out, int threads) const {
    fill(out, state_.shape.pixels(), threads, [&](std::size_t i) {
        return state_.kind == Kind::integer ? static_cast<double>(state_.sum[i]) : state_.sum_high[i];
    });
}

void PixelMoments::sum_of_squares(double* out, int threads) const {
    fill(out, state_.shape.pixels(), threads, [&](std::size_t i) {
        return state_.kind == Kind::integer ? static_cast<double>(state_.sum_of_squares[i])
                                            : state_.sum_of_squares_high[i];
    });
}

}  // namespace camnorm
