#pragma once

// How the pixels of frames come to the kernels: strip by strip, from memory, from files, or decoded.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <limits>
#include <memory>
#include <mutex>
#include <utility>

#include "blocks.hpp"
#include "camnorm/encoded.hpp"
#include "camnorm/frames.hpp"
#include "camnorm/stored.hpp"
#include "kernels/strips.hpp"
#include "pool.hpp"
#include "segments.hpp"
#include "stored.hpp"

namespace camnorm::detail {

/// Pixels that a thread works on at a time.
inline constexpr std::size_t pixels_per_block = 16 * strip_pixels;
static_assert(pixels_per_block % float_strip_pixels == 0);

/// Number of blocks of this many pixels.
inline std::size_t block_count(std::size_t pixels, std::size_t block) { return (pixels + block - 1) / block; }

/// Number of blocks in work at the same time: at most one per thread.
inline std::size_t blocks_at_once(std::size_t pixels, std::size_t block, int threads) {
    return std::min(block_count(pixels, block), static_cast<std::size_t>(threads));
}

/// For visit(): all frames are wanted.
inline constexpr auto no_limit = [](std::size_t, std::size_t) {
    return std::numeric_limits<std::size_t>::max();
};

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

/// Frames in memory.
class InMemory {
public:
    /// Whether visit() comes with some frames after others.
    static constexpr bool by_parts = false;

    explicit InMemory(const FramesView& frames) : frames_(frames) {}

    DType dtype() const { return frames_.dtype; }
    std::size_t count() const { return frames_.count; }
    std::size_t pixels() const { return frames_.shape.pixels(); }
    /// Pixels that a thread works on at a time.
    std::size_t block() const { return pixels_per_block; }

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

    InFiles(const StoredFrames& frames, int threads);

    DType dtype() const { return frames_.dtype; }
    std::size_t count() const { return frames_.count; }
    std::size_t pixels() const { return frames_.shape.pixels(); }
    std::size_t block() const { return pixels_per_block; }

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
    void check();

private:
    /// Reads n pixels from `begin` on of `count` frames. False once any frame could not be read.
    bool read(std::size_t first, std::size_t count, std::size_t begin, std::size_t n, std::byte* out);

    const StoredFrames& frames_;
    std::size_t pixels_;
    std::size_t step_;
    Buffers<std::byte> buffers_;
    std::atomic<int> error_{0};
    std::size_t unreadable_ = 0;
};

/// Frames in files that are decoded, a few at a time, where they are used.
class Decoded {
public:
    static constexpr bool by_parts = true;

    /// @throws InvalidArgument for frames of floats or an encoding that cannot be.
    Decoded(const EncodedFrames& frames, int threads);

    DType dtype() const { return frames_.dtype; }
    std::size_t count() const { return frames_.count; }
    std::size_t pixels() const { return frames_.shape.pixels(); }
    /// Whole rows of segments.
    std::size_t block() const { return rows_ * row_pixels_; }

    /// As above. Does nothing more once a frame could not be decoded.
    template <class Most, class Use>
    void visit(std::size_t begin, std::size_t end, const Most& most, const Use& use) {
        auto work = work_.take();
        const std::size_t n = end - begin;
        const std::size_t limit = std::min(most(begin, end), frames_.count);
        for (std::size_t first = 0; first < limit; first += step_) {
            const std::size_t count = std::min(step_, limit - first);
            if (!decode(first, count, begin, n, work)) break;
            const auto view = FramesView::contiguous(work.pixels.get(), frames_.dtype, count, {1, n, 1});
            Strips strips(view, begin);
            if (!use(strips, first, begin, end)) break;
        }
        work_.give_back(std::move(work));
    }

    /// @throws Unreadable if a frame could not be decoded.
    void check();

private:
    /// What one thread works with.
    struct Work {
        SegmentDecoder decoder;
        std::unique_ptr<std::byte[]> pixels;
    };

    std::size_t block_bytes() const { return block() * item_size(frames_.dtype); }
    /// Decodes n pixels from `begin` on of `count` frames. False once any frame could not be decoded.
    bool decode(std::size_t first, std::size_t count, std::size_t begin, std::size_t n, Work& work);

    const EncodedFrames& frames_;
    std::size_t row_pixels_;  // of a row of segments
    std::size_t rows_;        // of segments, in a block
    std::size_t step_;
    Pool<Work> work_;
    std::mutex mutex_;  // of what follows
    std::atomic<bool> failed_{false};
    std::size_t unreadable_ = 0;
    SegmentError error_;
};

}  // namespace camnorm::detail
