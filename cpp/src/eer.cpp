#include "camnorm/eer.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "camnorm/error.hpp"

namespace camnorm {

namespace {

/// Electrons one after another.
class Stream {
public:
    Stream(const std::byte* data, std::size_t bytes) noexcept : data_(data), bytes_(bytes) {}

    bool has(int bits) const noexcept { return position_ + static_cast<std::size_t>(bits) <= 8 * bytes_; }
    void advance(int bits) noexcept { position_ += static_cast<std::size_t>(bits); }

    /// What comes next: 16 bits or more, zeros beyond the end.
    std::uint32_t next() const noexcept {
        const std::size_t first = position_ / 8;
        std::uint32_t word = 0;
        if (first + 4 <= bytes_)
            word = byte(first) | byte(first + 1) << 8 | byte(first + 2) << 16 | byte(first + 3) << 24;
        else
            for (std::size_t i = first; i < bytes_; ++i) word |= byte(i) << 8 * (i - first);
        return word >> position_ % 8;
    }

private:
    std::uint32_t byte(std::size_t i) const noexcept { return std::to_integer<std::uint32_t>(data_[i]); }

    const std::byte* data_;
    std::size_t bytes_;
    std::size_t position_ = 0;  // in bits
};

/// Place within a pixel, in pixels of which it has 2^level.
std::uint32_t within(std::uint32_t code, int bits, int level) noexcept {
    const std::uint32_t half = 1U << (bits - 1);
    return ((code & (2 * half - 1)) ^ half) >> (bits - level);
}

/// How far the electrons of a raw frame have been added.
struct Progress {
    Stream stream;
    std::size_t pixel = 0;  // that the next skip counts from
};

/// Adds electrons up to the pixel `limit`. After the last pixel, or where the data end, `pixel` is where the
/// electrons end: beyond the last pixel if they do not end with it.
template <int level, class Count>
void add(Progress& progress, const EerCoding& coding, std::size_t limit, bool last, std::size_t width,
         Count* counts) noexcept {
    Stream stream = progress.stream;
    std::size_t pixel = progress.pixel;
    const std::uint32_t most = (1U << coding.skip_bits) - 1;
    std::size_t row = pixel / width;
    std::size_t row_begin = row * width;
    while (stream.has(coding.skip_bits)) {
        std::uint32_t code = stream.next();
        const std::uint32_t skip = code & most;
        if (pixel + skip >= limit) {
            if (last) pixel += skip;
            break;  // if there is more, the same skip leads there
        }
        stream.advance(coding.skip_bits);
        pixel += skip;
        if (skip == most) continue;
        if (!stream.has(coding.x_bits + coding.y_bits)) break;
        stream.advance(coding.x_bits + coding.y_bits);
        if constexpr (level == 0) {
            ++counts[pixel];
        } else {
            code >>= coding.skip_bits;
            for (; pixel >= row_begin + width; row_begin += width) ++row;
            const std::size_t x = (pixel - row_begin) << level | within(code, coding.x_bits, level);
            const std::size_t y = row << level | within(code >> coding.x_bits, coding.y_bits, level);
            ++counts[y * (width << level) + x];
        }
        ++pixel;
    }
    progress = {stream, pixel};
}

/// Adds all electrons, band by band of rows: the counts of a band stay in the cache while all raw frames are
/// added to it.
template <int level, class Count>
void add_all(std::vector<Progress>& frames, const EerCoding& coding, std::size_t height, std::size_t width,
             Count* counts) noexcept {
    constexpr std::size_t band_bytes = std::size_t{1} << 18;
    const std::size_t rows = std::max<std::size_t>(band_bytes / ((width * sizeof(Count)) << 2 * level), 1);
    for (std::size_t row = 0; row < height; row += rows) {
        const std::size_t end = std::min(row + rows, height);
        for (Progress& frame : frames) add<level>(frame, coding, end * width, end == height, width, counts);
    }
}

template <class Count>
void add_all(std::vector<Progress>& frames, const EerCoding& coding, int sampling, std::size_t height,
             std::size_t width, std::byte* data) noexcept {
    auto* counts = reinterpret_cast<Count*>(data);
    switch (sampling) {
        case 1: return add_all<0>(frames, coding, height, width, counts);
        case 2: return add_all<1>(frames, coding, height, width, counts);
        default: return add_all<2>(frames, coding, height, width, counts);
    }
}

void check(const EerCoding& coding, int sampling, const MutableFramesView& counts) {
    const auto known = [](int bits) { return bits == 1 || bits == 2; };
    if (coding.skip_bits < 4 || coding.skip_bits > 12 || !known(coding.x_bits) || !known(coding.y_bits))
        throw InvalidArgument("electrons of " + std::to_string(coding.skip_bits) + " + " +
                              std::to_string(coding.x_bits) + " + " + std::to_string(coding.y_bits) +
                              " bits are not supported");
    if (sampling != 1 && sampling != 2 && sampling != 4)
        throw InvalidArgument("sampling must be 1, 2 or 4, not " + std::to_string(sampling));
    if (sampling > 1 << coding.x_bits || sampling > 1 << coding.y_bits)
        throw InvalidArgument("the places of the electrons are not known to 1/" + std::to_string(sampling) +
                              " pixel");
    if (counts.dtype != DType::uint8 && counts.dtype != DType::uint16)
        throw WrongKind("electrons are counted in uint8 or uint16, not " + std::string(name(counts.dtype)));
    const auto samples = static_cast<std::size_t>(sampling);
    if (counts.count != 1 || counts.shape.planes != 1 || counts.shape.height % samples != 0 ||
        counts.shape.width % samples != 0 || !counts.view().frames_contiguous())
        throw InvalidArgument("counts must be one frame without gaps, of whole pixels of the sensor");
}

}  // namespace

void add_electrons(const std::vector<EerFrame>& frames, EerCoding coding, int sampling,
                   const MutableFramesView& counts) {
    check(coding, sampling, counts);
    std::vector<Progress> progress;
    progress.reserve(frames.size());
    for (const EerFrame& frame : frames) progress.push_back({Stream(frame.data, frame.bytes)});
    const std::size_t height = counts.shape.height / static_cast<std::size_t>(sampling);
    const std::size_t width = counts.shape.width / static_cast<std::size_t>(sampling);
    if (counts.dtype == DType::uint8)
        add_all<std::uint8_t>(progress, coding, sampling, height, width, counts.data);
    else
        add_all<std::uint16_t>(progress, coding, sampling, height, width, counts.data);
    for (std::size_t i = 0; i < frames.size(); ++i)
        if (progress[i].pixel != height * width)
            throw Unreadable(i, "the electrons end at pixel " + std::to_string(progress[i].pixel) + " of " +
                                    std::to_string(height * width));
}

void add_electrons(const std::byte* data, std::size_t bytes, EerCoding coding, int sampling,
                   const MutableFramesView& counts) {
    try {
        add_electrons({{data, bytes}}, coding, sampling, counts);
    } catch (const Unreadable& error) {
        throw InvalidArgument(error.what());
    }
}

}  // namespace camnorm
