#include "camnorm/moments.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "blocks.hpp"
#include "camnorm/error.hpp"
#include "camnorm/runtime.hpp"
#include "checks.hpp"
#include "double_double.hpp"
#include "kernels/finish.hpp"
#include "kernels/moments.hpp"
#include "pages.hpp"
#include "parallel.hpp"
#include "stored.hpp"

namespace camnorm {
namespace {

using namespace detail;

__extension__ using uint128 = unsigned __int128;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// A block, the piece of work that a thread takes at a time, is some strips.
constexpr std::size_t pixels_per_block = 16 * strip_pixels;
static_assert(pixels_per_block % float_strip_pixels == 0);

/// Sums of a strip that are yet to be put into the state.
struct OpenIntegers {
    IntegerSums sums;
    std::size_t frames;
};

/// Exact sums over the pixels of an integer frame, or of a part of it.
struct IntegerPart {
    static constexpr std::size_t strip = strip_pixels;
    using Open = OpenIntegers;

    std::int64_t sum = 0;
    std::uint64_t sum_of_squares = 0;
    std::int32_t min = std::numeric_limits<std::int32_t>::max();
    std::int32_t max = std::numeric_limits<std::int32_t>::min();

    template <class Part>
    void include(const Part& part) {
        sum += part.sum;
        sum_of_squares += part.sum_of_squares;
        min = std::min(min, part.min);
        max = std::max(max, part.max);
    }

    FrameStatistics statistics(std::size_t pixels, double) const {
        const auto n = static_cast<double>(pixels);
        const auto magnitude = static_cast<std::uint64_t>(std::abs(sum));
        const uint128 numerator =
            static_cast<uint128>(pixels) * sum_of_squares - static_cast<uint128>(magnitude) * magnitude;
        return {static_cast<double>(sum) / n, std::sqrt(static_cast<double>(numerator)) / n,
                static_cast<double>(min), static_cast<double>(max)};
    }
};

/// Sums over the pixels of a float frame, of their deviations from the frame's origin.
struct FloatPart {
    static constexpr std::size_t strip = float_strip_pixels;
    using Open = FloatSums;

    DoubleDouble sum{0.0, 0.0};
    DoubleDouble sum_of_squares{0.0, 0.0};
    double min = std::numeric_limits<double>::infinity();
    double max = -std::numeric_limits<double>::infinity();
    bool finite = true;

    void include(const FloatStrip& part) {
        sum = detail::add(sum, part.sum);
        sum_of_squares = detail::add(sum_of_squares, part.sum_of_squares);
        include_limits(part);
    }
    void include(const FloatPart& part) {
        sum = detail::add(sum, part.sum);
        sum_of_squares = detail::add(sum_of_squares, part.sum_of_squares);
        include_limits(part);
    }

    FrameStatistics statistics(std::size_t pixels, double origin) const {
        if (!finite) return {not_a_number, not_a_number, not_a_number, not_a_number};
        const DoubleDouble n{static_cast<double>(pixels), 0.0};
        const DoubleDouble mean = divide(sum, n);
        const DoubleDouble variance = detail::add(divide(sum_of_squares, n), negate(multiply(mean, mean)));
        return {detail::add(mean, origin).high, std::sqrt(std::max(variance.high, 0.0)), min, max};
    }

private:
    template <class Part>
    void include_limits(const Part& part) {
        min = std::min(min, part.min);
        max = std::max(max, part.max);
        finite = finite && part.finite;
    }
};

/// Has half of what comes next prefetched while a group is added, half while its frames are told of, so
/// that memory is read all the time. Gives what is to be prefetched with the j-th frame.
std::array<const std::byte*, group_frames> spread_prefetch(Group& group, std::size_t strip_bytes) {
    constexpr std::size_t half = group_frames / 2;
    std::array<const std::byte*, group_frames> later;
    for (std::size_t j = 0; j < group_frames; ++j)
        later[j] = group.next[half + j / 2] + j % 2 * (strip_bytes / 2);
    for (std::size_t j = half; j < group_frames; ++j) group.next[j] = group.x[j];
    return later;
}

constexpr std::array<const std::byte*, group_frames> no_more{};

/// The pixels of frames, strip by strip, as the kernels take them: without gaps.
class Strips {
public:
    /// Of frames that begin at pixel `origin`.
    Strips(const FramesView& frames, std::size_t origin)
        : frames_(frames), origin_(origin), dense_(frames.frames_contiguous()) {}

    std::size_t count() const { return frames_.count; }
    std::size_t pixel_bytes() const { return item_size(frames_.dtype); }

    /// Pixels [begin, begin + n) of one frame; valid until the next call with the same slot.
    const std::byte* read(std::size_t frame, std::size_t begin, std::size_t n, std::size_t slot = 0) {
        return gather(frames_, dense_, frame, begin - origin_, n, gathered_[slot]);
    }

    /// The same n pixels of up to group_frames frames, from the first one to before `count`; and what
    /// will come next: the same of the following frames, or the next strip of the first ones.
    Group group(std::size_t first, std::size_t count, std::size_t begin, std::size_t n, std::size_t strip) {
        Group group;
        const bool last = first + group_frames >= count;
        const std::size_t next = last ? 0 : first + group_frames;
        const std::size_t next_begin = last ? begin + strip : begin;
        for (std::size_t j = 0; j < group_frames; ++j) {
            group.x[j] = first + j < count ? read(first + j, begin, n, j) : zeros;
            group.next[j] = dense_ && next + j < count
                                ? frames_.frame(next + j) + (next_begin - origin_) * pixel_bytes()
                                : zeros;
        }
        return group;
    }

private:
    const FramesView& frames_;
    std::size_t origin_;
    bool dense_;
    alignas(64) std::byte gathered_[group_frames][strip_pixels * sizeof(double)];
};

/// Fetches the share of a group of frames, the first of which is `frame` of `count`, of the next n sums,
/// which are to be read and written when all groups have been added.
template <class Sum>
void prefetch_sums(const Sum* sums, std::size_t n, std::size_t frame, std::size_t count) {
    constexpr std::size_t line = 64 / sizeof(Sum);
    const std::size_t end = n * std::min(frame + group_frames, count) / count;
    for (std::size_t i = n * frame / count / line * line; i < end; i += line)
        __builtin_prefetch(sums + i, 1, 2);
}

constexpr auto no_limit = [](std::size_t, std::size_t) { return std::numeric_limits<std::size_t>::max(); };

/// Blocks that over_blocks() works on at a time.
std::size_t blocks_at_once(std::size_t pixels, int threads) {
    const std::size_t blocks = (pixels + pixels_per_block - 1) / pixels_per_block;
    return std::min(blocks, static_cast<std::size_t>(threads));
}

/// Frames in memory, as over_blocks() takes them.
class InMemory {
public:
    /// Whether visit() comes with some frames after others.
    static constexpr bool by_parts = false;

    explicit InMemory(const FramesView& frames) : frames_(frames) {}

    DType dtype() const { return frames_.dtype; }
    std::size_t count() const { return frames_.count; }
    std::size_t pixels() const { return frames_.shape.pixels(); }

    /// Calls use(strips, first, begin, end) with strips of the pixels from `begin` to before `end` of the
    /// frames from `first` on, until all frames, or most(begin, end) of them, have come or it returns false.
    template <class Most, class Use>
    void visit(std::size_t begin, std::size_t end, const Most&, const Use& use) {
        Strips strips(frames_, 0);
        use(strips, std::size_t{0}, begin, end);
    }

    void check() {}

private:
    const FramesView& frames_;
};

/// Frames in files, of which as many are read at a time as stay in the cache until they are used.
class InFiles {
public:
    static constexpr bool by_parts = true;

    InFiles(const StoredFrames& frames, int threads)
        : frames_(frames),
          // Sums of floats are put into the state after each batch, those of integers after all.
          pixels_(kind_of(frames.dtype) == Kind::integer ? pixels_per_block : pixels_per_block / 4),
          step_(kind_of(frames.dtype) == Kind::integer ? integer_bytes / (pixels_ * item_size(frames.dtype))
                                                       : frames_per_batch),
          buffers_(step_ * pixels_ * item_size(frames.dtype),
                   blocks_at_once(frames.shape.pixels(), threads)) {}

    DType dtype() const { return frames_.dtype; }
    std::size_t count() const { return frames_.count; }
    std::size_t pixels() const { return frames_.shape.pixels(); }

    /// As above. Does nothing more once a frame could not be read.
    template <class Most, class Use>
    void visit(std::size_t begin, std::size_t end, const Most& most, const Use& use) {
        auto buffer = buffers_.take();
        for (; begin < end; begin += pixels_) {
            const std::size_t n = std::min(pixels_, end - begin);
            const std::size_t limit = std::min(most(begin, begin + n), frames_.count);
            for (std::size_t first = 0; first < limit; first += step_) {
                const std::size_t count = std::min(step_, limit - first);
                if (!read(first, count, begin, n, buffer.get())) break;
                const auto view = FramesView::contiguous(buffer.get(), frames_.dtype, count, {1, n, 1});
                Strips strips(view, begin);
                if (!use(strips, first, begin, begin + n)) break;
            }
        }
        buffers_.give_back(std::move(buffer));
    }

    /// @throws Unreadable if a frame could not be read.
    void check() {
        if (error_ == 0) return;
        const int error = error_.exchange(0);
        throw Unreadable(unreadable_,
                         "frame " + std::to_string(unreadable_) + " cannot be read: " + reason_of(error));
    }

private:
    static constexpr std::size_t integer_bytes = std::size_t{1} << 20;

    bool read(std::size_t first, std::size_t count, std::size_t begin, std::size_t n, std::byte* out) {
        for (std::size_t j = 0; j < count; ++j) {
            if (error_ != 0) return false;
            const int error =
                read_pixels(frames_, first + j, begin, n, out + j * n * item_size(frames_.dtype));
            int none = 0;
            if (error != 0 && error_.compare_exchange_strong(none, error)) unreadable_ = first + j;
        }
        return error_ == 0;
    }

    const StoredFrames& frames_;
    std::size_t pixels_;
    std::size_t step_;
    Buffers<std::byte> buffers_;
    std::atomic<int> error_{0};
    std::size_t unreadable_ = 0;
};

/// Calls work(begin, end, parts) for each block of pixels, where parts[f] takes what is told of frame f.
/// Then puts the parts together, in an order that threads do not change. `origins` has a value a frame.
template <class Part, class Frames, class Work>
std::vector<FrameStatistics> over_blocks(Frames& frames, const std::vector<double>& origins, bool statistics,
                                         int threads, const Work& work) {
    const std::size_t pixels = frames.pixels();
    const std::size_t blocks = (pixels + pixels_per_block - 1) / pixels_per_block;
    std::vector<Part> parts(statistics ? blocks * frames.count() : 0);
    parallel_for(blocks, threads, [&](std::size_t b) {
        const std::size_t begin = b * pixels_per_block;
        work(begin, std::min(pixels, begin + pixels_per_block),
             statistics ? parts.data() + b * frames.count() : nullptr);
    });
    frames.check();
    std::vector<FrameStatistics> result(statistics ? frames.count() : 0);
    parallel_for(result.size(), threads, [&](std::size_t f) {
        Part total = parts[f];
        for (std::size_t b = 1; b < blocks; ++b) total.include(parts[b * frames.count() + f]);
        result[f] = total.statistics(pixels, origins[f]);
    });
    return result;
}

const IntegerKernels& integer_kernels(DType dtype) {
    const MomentsKernels& k = moments_kernels();
    switch (dtype) {
        case DType::uint8: return k.uint8;
        case DType::int8: return k.int8;
        case DType::uint16: return k.uint16;
        default: return k.int16;
    }
}

const FloatKernels& float_kernels(DType dtype) {
    const MomentsKernels& k = moments_kernels();
    switch (dtype) {
        case DType::uint32: return k.uint32;
        case DType::int32: return k.int32;
        case DType::float16: return k.float16;
        case DType::float64: return k.float64;
        default: return k.float32;
    }
}

/// A number near the mean of each frame: the median of a few of its pixels. Deviations from it are as
/// large as the standard deviation, so that their squares can be summed without cancellation.
template <class Frames>
std::vector<double> find_origins(Frames& frames) {
    constexpr std::size_t samples = 15;
    constexpr double golden_ratio = 0.6180339887498949;  // no period of the frame is hit again and again
    const auto tell = float_kernels(frames.dtype()).tell;
    std::vector<std::array<double, samples>> values(frames.count());
    for (std::size_t i = 0; i < samples; ++i) {
        const double place = golden_ratio * static_cast<double>(i + 1);
        const auto pixel =
            static_cast<std::size_t>((place - std::floor(place)) * static_cast<double>(frames.pixels()));
        frames.visit(pixel, pixel + 1, no_limit,
                     [&](Strips& strips, std::size_t first, std::size_t, std::size_t) {
                         for (std::size_t f = 0; f < strips.count(); ++f) {
                             const FloatStrip told = tell(strips.read(f, pixel, 1), 1, zeros, 0.0);
                             values[first + f][i] = told.finite ? told.sum : 0.0;
                         }
                         return true;
                     });
    }
    frames.check();
    std::vector<double> origins;
    for (auto& of_frame : values) {
        std::nth_element(of_frame.begin(), of_frame.begin() + samples / 2, of_frame.end());
        origins.push_back(of_frame[samples / 2]);
    }
    return origins;
}

/// Some frames of a call, of those that come by parts.
struct Share {
    std::size_t first, count;
    bool last;  ///< whether none comes after them
    const double* origins;
};

/// Adds frames to one strip of the exact sums, or takes them away. `added` tells how many of the call the
/// state has; others wait in `open` until the last has come.
bool accumulate_strip(Strips& strips, const Share& share, std::size_t begin, std::size_t n, bool subtract,
                      const IntegerKernels& kernels, MomentsState& state, IntegerPart* parts,
                      OpenIntegers& open, std::size_t& added) {
    const std::size_t count = share.count;
    if (share.first == 0) open.frames = 0;
    for (std::size_t f = 0; f < count; f += group_frames) {
        if (open.frames == 0) kernels.clear(open.sums);
        Group group = strips.group(f, count, begin, n, strip_pixels);
        const auto later = parts == nullptr ? no_more : spread_prefetch(group, n * strips.pixel_bytes());
        prefetch_sums(state.sum.data() + begin + strip_pixels, n, f, count);
        prefetch_sums(state.sum_of_squares.data() + begin + strip_pixels, n, f, count);
        kernels.add(group, n, open.sums);
        for (std::size_t j = f; parts != nullptr && j < std::min(f + group_frames, count); ++j)
            parts[j].include(kernels.tell(group.x[j - f], n, later[j - f]));
        open.frames += group_frames;
        const bool end = share.last && f + group_frames >= count;
        if (!end && open.frames < frames_per_drain) continue;
        kernels.drain(open.sums, n, open.frames, subtract, state.sum.data() + begin,
                      state.sum_of_squares.data() + begin);
        added = share.first + std::min(f + group_frames, count);
        open.frames = 0;
    }
    return true;
}

/// The same for the double-double sums, which take frames by whole batches. False if a pixel is not
/// finite.
bool accumulate_strip(Strips& strips, const Share& share, std::size_t begin, std::size_t n, bool subtract,
                      const FloatKernels& kernels, MomentsState& state, FloatPart* parts, FloatSums& sums,
                      std::size_t& added) {
    const std::size_t count = share.count;
    double* const places[] = {state.sum_high.data() + begin, state.sum_low.data() + begin,
                              state.sum_of_squares_high.data() + begin,
                              state.sum_of_squares_low.data() + begin};
    for (std::size_t first = 0; first < count; first += frames_per_batch) {
        const std::size_t last = std::min(count, first + frames_per_batch);
        for (std::size_t f = first; f < last; f += group_frames) {
            const Group group = strips.group(f, count, begin, n, float_strip_pixels);
            for (double* sums_of_state : places)
                prefetch_sums(sums_of_state + float_strip_pixels, n, f, count);
            const std::size_t end = std::min(f + group_frames, last);
            double origins[group_frames] = {};
            std::copy(share.origins + f, share.origins + end, origins);
            FloatStrip told[group_frames];
            if (!kernels.add(group, n, f == first, sums, origins, parts == nullptr ? nullptr : told))
                return false;
            for (std::size_t j = f; parts != nullptr && j < end; ++j) parts[j].include(told[j - f]);
        }
        kernels.drain(sums, n, subtract, places[0], places[1], places[2], places[3]);
        added = share.first + last;
    }
    return true;
}

IntegerStrip tell(const IntegerKernels& kernels, const std::byte* x, std::size_t n, const std::byte* next,
                  double) {
    return kernels.tell(x, n, next);
}

FloatStrip tell(const FloatKernels& kernels, const std::byte* x, std::size_t n, const std::byte* next,
                double origin) {
    return kernels.tell(x, n, next, origin);
}

/// Statistics of frames by the strips in which accumulate_strip() tells of them, so that both say the same
/// to the bit.
template <class Part, class Frames, class Kernels>
std::vector<FrameStatistics> statistics_of(Frames& frames, const Kernels& kernels,
                                           const std::vector<double>& origins, int threads) {
    return over_blocks<Part>(
        frames, origins, true, threads, [&](std::size_t from, std::size_t to, Part* parts) {
            frames.visit(from, to, no_limit,
                         [&](Strips& strips, std::size_t first, std::size_t begin, std::size_t end) {
                             for (std::size_t f = 0; f < strips.count(); ++f) {
                                 for (std::size_t i = begin; i < end; i += Part::strip) {
                                     const std::size_t n = std::min(Part::strip, end - i);
                                     const std::byte* x = strips.read(f, i, n);
                                     parts[first + f].include(tell(
                                         kernels, x, n, x + n * strips.pixel_bytes(), origins[first + f]));
                                 }
                             }
                             return true;
                         });
        });
}

/// Adds the frames to the sums, or takes them away.
template <class Part, class Frames, class Kernels>
std::vector<FrameStatistics> accumulate(Frames& frames, const Kernels& kernels,
                                        const std::vector<double>& origins, int threads, bool subtract,
                                        bool statistics, MomentsState& state) {
    // Where frames come by parts, the sums of all strips of a block are open at a time.
    Buffers<typename Part::Open> buffers(Frames::by_parts ? pixels_per_block / Part::strip : 1,
                                         blocks_at_once(frames.pixels(), threads));
    const std::size_t strips_in_all = (frames.pixels() + Part::strip - 1) / Part::strip;

    // Adds the first `limits` frames to each strip, or takes them away; `done` becomes what was.
    const auto pass = [&](bool take_away, bool tell, const std::vector<std::size_t>& limits,
                          std::vector<std::size_t>& done) {
        return over_blocks<Part>(
            frames, origins, tell, threads, [&](std::size_t from, std::size_t to, Part* parts) {
                auto open = buffers.take();
                const auto most = [&](std::size_t begin, std::size_t end) {
                    const auto limit = limits.begin();
                    return *std::max_element(limit + begin / Part::strip,
                                             limit + (end - 1) / Part::strip + 1);
                };
                frames.visit(
                    from, to, most,
                    [&](Strips& strips, std::size_t first, std::size_t begin, std::size_t end) {
                        for (std::size_t i = begin; i < end; i += Part::strip) {
                            const std::size_t limit = limits[i / Part::strip];
                            const std::size_t count =
                                std::min(strips.count(), limit - std::min(limit, first));
                            const Share share{first, count, first + count == limit, origins.data() + first};
                            const bool usable = accumulate_strip(
                                strips, share, i, std::min(Part::strip, end - i), take_away, kernels, state,
                                parts == nullptr ? nullptr : parts + first,
                                open[Frames::by_parts ? (i - from) / Part::strip : 0], done[i / Part::strip]);
                            if (!usable) return false;
                        }
                        return true;
                    });
                buffers.give_back(std::move(open));
            });
    };

    // To look for frames that cannot be added beforehand would read all of them twice: what has been added
    // until one is found is taken away again.
    const std::vector<std::size_t> all(strips_in_all, frames.count());
    std::vector<std::size_t> added(strips_in_all);
    const auto take_back = [&] {
        std::vector<std::size_t> taken(strips_in_all);
        pass(!subtract, false, added, taken);
    };
    try {
        auto result = pass(subtract, statistics, all, added);
        if (added == all) return result;
    } catch (const Unreadable&) {
        try {
            take_back();
        } catch (const Unreadable& again) {
            throw std::runtime_error(std::string("the moments are lost: ") + again.what());
        }
        throw;
    }
    take_back();
    check_finite(statistics_of<Part>(frames, kernels, find_origins(frames), threads));
    throw std::runtime_error("frames have changed while they were added");
}

template <class Frames>
std::vector<FrameStatistics> accumulate(Frames& frames, int threads, bool subtract, bool statistics,
                                        MomentsState& state) {
    if (frames.count() == 0) return {};
    if (kind_of(frames.dtype()) == Kind::integer)
        return accumulate<IntegerPart>(frames, integer_kernels(frames.dtype()),
                                       std::vector<double>(frames.count()), threads, subtract, statistics,
                                       state);
    const auto origins = statistics ? find_origins(frames) : std::vector<double>(frames.count());
    return accumulate<FloatPart>(frames, float_kernels(frames.dtype()), origins, threads, subtract,
                                 statistics, state);
}

/// Calls work(block, begin, n) for the n pixels from `begin` on of each block.
template <class Work>
void over_pixels(std::size_t pixels, int threads, const Work& work) {
    parallel_for(block_count(pixels), resolve_threads(threads), [&](std::size_t b) {
        const std::size_t begin = b * block_pixels;
        work(b, begin, std::min(block_pixels, pixels - begin));
    });
}

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

const std::byte detail::zeros[strip_pixels * sizeof(double)] = {};

void detail::check_frames(DType dtype, FrameShape frames, FrameShape shape, Kind kind, const char* what) {
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

void detail::check_finite(const std::vector<FrameStatistics>& statistics) {
    for (std::size_t f = 0; f < statistics.size(); ++f) {
        const FrameStatistics& s = statistics[f];
        if (std::isnan(s.min))
            throw NonFinite(f, "frame " + std::to_string(f) + " has NaN or infinite pixels");
        if (s.min < -largest_pixel || s.max > largest_pixel)
            throw NonFinite(
                f, "frame " + std::to_string(f) + " has pixels beyond 3e144, whose squares overflow");
    }
}

std::vector<FrameStatistics> frame_statistics(const FramesView& frames, int threads) {
    if (frames.shape.pixels() == 0)
        throw InvalidArgument("frames of shape " + to_string(frames.shape) + " have no pixels");
    threads = resolve_threads(threads);
    InMemory in_memory(frames);
    if (kind_of(frames.dtype) == Kind::integer)
        return statistics_of<IntegerPart>(in_memory, integer_kernels(frames.dtype),
                                          std::vector<double>(frames.count), threads);
    return statistics_of<FloatPart>(in_memory, float_kernels(frames.dtype), find_origins(in_memory), threads);
}

PixelMoments::PixelMoments(FrameShape shape, Kind kind) {
    if (shape.pixels() == 0) throw InvalidArgument("frames of shape " + to_string(shape) + " have no pixels");
    state_.kind = kind;
    state_.shape = shape;
    if (kind == Kind::integer) {
        fill_with_zeros(state_.sum, shape.pixels());
        fill_with_zeros(state_.sum_of_squares, shape.pixels());
    } else {
        fill_with_zeros(state_.sum_high, shape.pixels());
        fill_with_zeros(state_.sum_low, shape.pixels());
        fill_with_zeros(state_.sum_of_squares_high, shape.pixels());
        fill_with_zeros(state_.sum_of_squares_low, shape.pixels());
    }
}

PixelMoments::PixelMoments(MomentsState state) : state_(std::move(state)) {
    const std::size_t pixels = state_.shape.pixels();
    if (pixels == 0) throw InvalidArgument("frames of shape " + to_string(state_.shape) + " have no pixels");
    const bool integer = state_.kind == Kind::integer;
    const std::size_t integers = integer ? pixels : 0;
    const std::size_t floats = integer ? 0 : pixels;
    if (state_.sum.size() != integers || state_.sum_of_squares.size() != integers ||
        state_.sum_high.size() != floats || state_.sum_low.size() != floats ||
        state_.sum_of_squares_high.size() != floats || state_.sum_of_squares_low.size() != floats) {
        throw InvalidArgument("the state's sums do not have one value for each of the " +
                              std::to_string(pixels) + " pixels of shape " + to_string(state_.shape));
    }
    if (state_.count > max_count)
        throw InvalidArgument("a state of " + std::to_string(state_.count) +
                              " frames is beyond the largest count, " + std::to_string(max_count));
}

void PixelMoments::check_frames(DType dtype, FrameShape shape) const {
    detail::check_frames(dtype, shape, state_.shape, state_.kind, "the moments");
}

void PixelMoments::check_same(const PixelMoments& other) const {
    if (other.state_.shape != state_.shape)
        throw InvalidArgument("moments have shape " + to_string(other.state_.shape) + ", these " +
                              to_string(state_.shape));
    if (other.state_.kind != state_.kind)
        throw WrongKind("moments of integer frames and of float frames cannot be put together");
}

void PixelMoments::check_addable(const PixelMoments& other) const {
    check_same(other);
    if (other.count() > max_count - state_.count)
        throw InvalidArgument("more than " + std::to_string(max_count) + " frames");
}

void PixelMoments::reset_if_empty() {
    // Double-double sums keep a last rounding error; in place, since somebody may hold a view of them.
    if (state_.count != 0) return;
    std::fill(state_.sum.begin(), state_.sum.end(), 0);
    std::fill(state_.sum_of_squares.begin(), state_.sum_of_squares.end(), 0);
    for (auto* part :
         {&state_.sum_high, &state_.sum_low, &state_.sum_of_squares_high, &state_.sum_of_squares_low})
        std::fill(part->begin(), part->end(), 0.0);
}

template <class Frames>
std::vector<FrameStatistics> PixelMoments::add_any(Frames& frames, int threads, bool statistics) {
    if (frames.count() > max_count - state_.count)
        throw InvalidArgument("more than " + std::to_string(max_count) + " frames");
    auto result = accumulate(frames, threads, false, statistics, state_);
    state_.count += frames.count();
    return result;
}

std::vector<FrameStatistics> PixelMoments::add(const FramesView& frames, int threads, bool statistics) {
    check_frames(frames.dtype, frames.shape);
    InMemory in_memory(frames);
    return add_any(in_memory, resolve_threads(threads), statistics);
}

std::vector<FrameStatistics> PixelMoments::add(const StoredFrames& frames, int threads, bool statistics) {
    check_frames(frames.dtype, frames.shape);
    threads = resolve_threads(threads);
    InFiles in_files(frames, threads);
    return add_any(in_files, threads, statistics);
}

template <class Frames>
std::vector<FrameStatistics> PixelMoments::subtract_any(Frames& frames, int threads, bool statistics) {
    if (frames.count() > state_.count)
        throw InvalidArgument("cannot subtract " + std::to_string(frames.count()) + " frames from " +
                              std::to_string(state_.count));
    auto result = accumulate(frames, threads, true, statistics, state_);
    state_.count -= frames.count();
    reset_if_empty();
    return result;
}

void PixelMoments::subtract(const FramesView& frames, int threads) {
    check_frames(frames.dtype, frames.shape);
    InMemory in_memory(frames);
    subtract_any(in_memory, resolve_threads(threads), false);
}

std::vector<FrameStatistics> PixelMoments::subtract(const StoredFrames& frames, int threads) {
    check_frames(frames.dtype, frames.shape);
    threads = resolve_threads(threads);
    InFiles in_files(frames, threads);
    return subtract_any(in_files, threads, true);
}

void PixelMoments::combine(const PixelMoments& other, bool subtract, int threads) {
    const std::size_t pixels = state_.shape.pixels();
    const MomentsState& o = other.state_;
    parallel_for(block_count(pixels), resolve_threads(threads), [&](std::size_t b) {
        const std::size_t end = std::min(pixels, (b + 1) * block_pixels);
        for (std::size_t i = b * block_pixels; i < end; ++i) {
            if (state_.kind == Kind::integer) {
                state_.sum[i] = subtract ? state_.sum[i] - o.sum[i] : state_.sum[i] + o.sum[i];
                state_.sum_of_squares[i] = subtract ? state_.sum_of_squares[i] - o.sum_of_squares[i]
                                                    : state_.sum_of_squares[i] + o.sum_of_squares[i];
            } else {
                const double sign = subtract ? -1.0 : 1.0;
                const DoubleDouble s = detail::add({state_.sum_high[i], state_.sum_low[i]},
                                                   DoubleDouble{sign * o.sum_high[i], sign * o.sum_low[i]});
                state_.sum_high[i] = s.high;
                state_.sum_low[i] = s.low;
                const DoubleDouble q = detail::add(
                    {state_.sum_of_squares_high[i], state_.sum_of_squares_low[i]},
                    DoubleDouble{sign * o.sum_of_squares_high[i], sign * o.sum_of_squares_low[i]});
                state_.sum_of_squares_high[i] = q.high;
                state_.sum_of_squares_low[i] = q.low;
            }
        }
    });
}

void PixelMoments::merge(const PixelMoments& other, int threads) {
    check_addable(other);
    const std::uint64_t count = other.count();
    combine(other, false, threads);
    state_.count += count;
}

void PixelMoments::unmerge(const PixelMoments& other, int threads) {
    check_same(other);
    if (other.count() > state_.count)
        throw InvalidArgument("cannot subtract " + std::to_string(other.count()) + " frames from " +
                              std::to_string(state_.count));
    const std::uint64_t count = other.count();
    combine(other, true, threads);
    state_.count -= count;
    reset_if_empty();
}

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
