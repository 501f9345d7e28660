#include "checks.hpp"

#include <cmath>
#include <string>

#include "camnorm/error.hpp"
#include "kernels/float_sums.hpp"

namespace camnorm::detail {

void check_pixels(FrameShape shape) {
    if (shape.pixels() == 0) throw InvalidArgument("frames of shape " + to_string(shape) + " have no pixels");
}

void check_state(FrameShape shape, bool complete, std::uint64_t count, std::uint64_t max_count) {
    if (!complete)
        throw InvalidArgument("the state's sums do not have one value for each of the " +
                              std::to_string(shape.pixels()) + " pixels of shape " + to_string(shape));
    if (count > max_count)
        throw InvalidArgument("a state of " + std::to_string(count) +
                              " frames is beyond the largest count, " + std::to_string(max_count));
}

void check_subtractable(std::uint64_t frames, std::uint64_t count) {
    if (frames > count)
        throw InvalidArgument("cannot subtract " + std::to_string(frames) + " frames from " +
                              std::to_string(count));
}

void check_frames(DType dtype, FrameShape frames, FrameShape shape, Kind kind, const char* what) {
    if (frames != shape)
        throw InvalidArgument("frames have shape " + to_string(frames) + ", " + what + " " +
                              to_string(shape));
    if (kind_of(dtype) != kind) {
        throw WrongKind(std::string(name(dtype)) + " frames are of the " +
                        (kind == Kind::integer ? "float" : "integer") + " kind, " + what + " of the " +
                        (kind == Kind::integer ? "integer kind (uint8, int8, uint16, int16)"
                                               : "float kind (uint32, int32, float16, float32, float64)"));
    }
}

void check_finite(const std::vector<FrameStatistics>& statistics) {
    for (std::size_t f = 0; f < statistics.size(); ++f) {
        const FrameStatistics& s = statistics[f];
        if (std::isnan(s.min))
            throw NonFinite(f, "frame " + std::to_string(f) + " has NaN or infinite pixels");
        if (s.min < -largest_pixel || s.max > largest_pixel)
            throw NonFinite(
                f, "frame " + std::to_string(f) + " has pixels beyond 3e144, whose squares overflow");
    }
}

}  // namespace camnorm::detail
