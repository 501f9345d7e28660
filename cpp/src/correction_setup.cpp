// What a correction finds out before the first frame: targets, bad pixels, and how far their neighbours are.

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <utility>

#include "camnorm/correction.hpp"
#include "camnorm/error.hpp"
#include "double_double.hpp"

namespace camnorm {
namespace {

std::string text(double value) {
    std::ostringstream s;
    s << value;
    return s.str();
}

/// Mean over those pixels of every step-th from the first on that are used, summed in double-double; if any
/// are.
template <class Used>
std::optional<double> mean_of(const std::vector<double>& image, std::size_t first, std::size_t step,
                              const Used& used) {
    detail::DoubleDouble sum{0.0, 0.0};
    std::size_t count = 0;
    for (std::size_t i = first; i < image.size(); i += step) {
        if (!used(i)) continue;
        sum = detail::add(sum, image[i]);
        ++count;
    }
    return count == 0 ? std::nullopt : std::optional(sum.high / static_cast<double>(count));
}

void check_targets(const CorrectionOptions& options, std::size_t planes) {
    const auto check_count = [&](const std::vector<double>& values, const char* what) {
        if (!values.empty() && values.size() != planes)
            throw InvalidArgument(
                std::string(what) + " must be one number" +
                (planes == 1 ? " for grey frames"
                             : ", or one for each of the " + std::to_string(planes) + " colour planes") +
                ", not " + std::to_string(values.size()));
    };
    const auto check_mean = [](double mean) {
        if (!std::isfinite(mean)) throw InvalidArgument("target_mean must be finite, got " + text(mean));
    };
    const auto check_sigma = [](double sigma) {
        if (!(sigma > 0.0) || !std::isfinite(sigma))
            throw InvalidArgument("target_sigma must be positive and finite, got " + text(sigma));
    };
    check_count(options.target_means, "target_mean");
    check_count(options.target_sigmas, "target_sigma");
    if (options.target_mean) check_mean(*options.target_mean);
    if (options.target_sigma) check_sigma(*options.target_sigma);
    std::for_each(options.target_means.begin(), options.target_means.end(), check_mean);
    std::for_each(options.target_sigmas.begin(), options.target_sigmas.end(), check_sigma);
}

}  // namespace

Correction::Correction(FrameShape shape, std::vector<double> mean, std::vector<double> sigma,
                       CorrectionOptions options)
    : shape_(shape),
      mean_(std::move(mean)),
      sigma_(std::move(sigma)),
      bad_policy_(options.bad_policy),
      bad_(std::move(options.bad)),
      clipped_(std::make_unique<std::atomic<std::uint64_t>>(0)) {
    const std::size_t pixels = shape_.pixels();
    if (pixels == 0) throw InvalidArgument("frames of shape " + to_string(shape_) + " have no pixels");
    if (bad_.empty()) bad_.resize(pixels);
    if (mean_.size() != pixels || sigma_.size() != pixels || bad_.size() != pixels) {
        throw InvalidArgument("the mean image has " + std::to_string(mean_.size()) +
                              " pixels, the sigma image " + std::to_string(sigma_.size()) +
                              " and the bad pixel mask " + std::to_string(bad_.size()) + ", not the " +
                              std::to_string(pixels) + " of shape " + to_string(shape_));
    }
    const auto negative = std::find_if(sigma_.begin(), sigma_.end(), [](double s) { return s < 0.0; });
    if (negative != sigma_.end()) throw InvalidArgument("sigma must not be negative, got " + text(*negative));
    check_targets(options, shape_.planes);
    find_bad_pixels(options);
    if (bad_policy_ == BadPolicy::interpolate) find_radii();
}

void Correction::find_targets(const CorrectionOptions& options) {
    const std::size_t planes = shape_.planes;
    const auto good = [&](std::size_t i) { return bad_[i] == 0; };
    const auto finite = [&](std::size_t i) { return std::isfinite(mean_[i]); };
    target_means_ = options.target_means;
    target_sigmas_ = options.target_sigmas;
    for (std::size_t plane = 0; plane < planes && target_means_.size() < planes; ++plane) {
        std::optional<double> mean = options.target_mean;
        if (!mean) mean = mean_of(mean_, plane, planes, good);
        if (!mean) mean = mean_of(mean_, plane, planes, finite);
        target_means_.push_back(mean.value_or(0.0));
    }
    for (std::size_t plane = 0; plane < planes && target_sigmas_.size() < planes; ++plane) {
        std::optional<double> sigma = options.target_sigma;
        if (!sigma) sigma = mean_of(sigma_, plane, planes, good);
        if (!sigma) sigma = mean_of(sigma_, 0, 1, good);
        target_sigmas_.push_back(sigma.value_or(1.0));
    }
    const auto differ = [](const std::vector<double>& values) {
        return std::any_of(values.begin(), values.end(), [&](double value) { return value != values[0]; });
    };
    by_planes_ = differ(target_means_) || differ(target_sigmas_);
}

void Correction::find_bad_pixels(const CorrectionOptions& options) {
    const std::size_t pixels = bad_.size();
    const std::size_t planes = shape_.planes;
    const auto count_good = [&] {
        const auto good = static_cast<std::size_t>(std::count(bad_.begin(), bad_.end(), std::uint8_t{0}));
        if (good == 0) throw InvalidArgument("all pixels are bad");
        return good;
    };
    for (std::size_t i = 0; i < pixels; ++i)
        bad_[i] = bad_[i] != 0 || !std::isfinite(mean_[i]) || !std::isfinite(sigma_[i]) || sigma_[i] == 0.0;
    count_good();
    find_targets(options);
    constexpr double largest_pixel = 0x1p32;
    double reach = 0.0;
    for (std::size_t plane = 0; plane < planes; ++plane) {
        const double target = std::abs(target_means_[plane]);
        for (std::size_t i = plane; i < pixels; i += planes) {
            const double gain = target_sigmas_[plane] / sigma_[i];
            bad_[i] = bad_[i] != 0 || !std::isnormal(gain);
            if (bad_[i]) continue;
            const double mean = std::abs(mean_[i]);
            reach = std::max(
                {reach, (largest_pixel + mean) * gain + target, (largest_pixel + target) / gain + mean});
        }
    }
    exceeds_float32_ = !(reach < std::numeric_limits<float>::max());
    bad_pixels_.reserve(pixels - count_good());
    for (std::size_t i = 0; i < pixels; ++i)
        if (bad_[i]) bad_pixels_.push_back(i);
}

void Correction::find_radii() {
    // Chessboard distance to the next good pixel in two passes: Rosenfeld & Pfaltz, Pattern
    // Recognition 1, 33 (1968).
    constexpr std::uint32_t far = std::numeric_limits<std::uint32_t>::max() / 2;
    const auto height = static_cast<std::ptrdiff_t>(shape_.height);
    const auto width = static_cast<std::ptrdiff_t>(shape_.width);
    const auto planes = static_cast<std::ptrdiff_t>(shape_.planes);
    std::vector<std::uint32_t> distance(bad_.size());
    // Looks at the row at y - step and at the pixel at x - step, which were done before.
    const auto pass = [&](std::ptrdiff_t step, std::ptrdiff_t y_first, std::ptrdiff_t x_first) {
        for (std::ptrdiff_t y = y_first; y >= 0 && y < height; y += step) {
            for (std::ptrdiff_t x = x_first; x >= 0 && x < width; x += step) {
                for (std::ptrdiff_t plane = 0; plane < planes; ++plane) {
                    const auto at = [&](std::ptrdiff_t j, std::ptrdiff_t i) -> std::uint32_t& {
                        return distance[static_cast<std::size_t>((j * width + i) * planes + plane)];
                    };
                    std::uint32_t nearest = at(y, x);
                    if (y != y_first) {
                        for (std::ptrdiff_t i = std::max<std::ptrdiff_t>(x - 1, 0);
                             i <= std::min(x + 1, width - 1); ++i)
                            nearest = std::min(nearest, at(y - step, i) + 1);
                    }
                    if (x != x_first) nearest = std::min(nearest, at(y, x - step) + 1);
                    at(y, x) = nearest;
                }
            }
        }
    };
    for (std::size_t i = 0; i < distance.size(); ++i) distance[i] = bad_[i] ? far : 0;
    pass(1, 0, 0);
    pass(-1, height - 1, width - 1);
    radii_.reserve(bad_pixels_.size());
    for (const std::size_t i : bad_pixels_) {
        if (distance[i] >= far)
            throw InvalidArgument("all pixels of colour plane " + std::to_string(i % shape_.planes) +
                                  " are bad: there is nothing to interpolate from");
        radii_.push_back(distance[i]);
    }
}

}  // namespace camnorm
