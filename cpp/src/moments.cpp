#include "camnorm/moments.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "accumulation.hpp"
#include "blocks.hpp"
#include "camnorm/error.hpp"
#include "camnorm/runtime.hpp"
#include "checks.hpp"
#include "combine.hpp"
#include "frame_feeds.hpp"
#include "traces.hpp"
#include "whole_frames.hpp"

namespace camnorm {

using namespace detail;

namespace {

/// Calls use(decoded) with frames that are decoded band by band, or as a whole.
template <class Use>
auto with_decoded(const EncodedFrames& frames, int threads, const Use& use) {
    if (comes_in_bands(frames)) {
        Decoded decoded(frames, threads);
        return use(decoded);
    }
    WholeFrames decoded(frames, threads);
    return use(decoded);
}

}  // namespace

PixelMoments::PixelMoments(FrameShape shape, Kind kind) {
    check_pixels(shape);
    state_.kind = kind;
    state_.shape = shape;
    if (kind == Kind::integer) {
        state_.sum.resize(shape.pixels());
        state_.sum_of_squares.resize(shape.pixels());
    } else {
        state_.sum_high.resize(shape.pixels());
        state_.sum_low.resize(shape.pixels());
        state_.sum_of_squares_high.resize(shape.pixels());
        state_.sum_of_squares_low.resize(shape.pixels());
    }
}

PixelMoments::PixelMoments(MomentsState state) : state_(std::move(state)) {
    const std::size_t pixels = state_.shape.pixels();
    check_pixels(state_.shape);
    const bool integer = state_.kind == Kind::integer;
    const std::size_t integers = integer ? pixels : 0;
    const std::size_t floats = integer ? 0 : pixels;
    const bool complete = state_.sum.size() == integers && state_.sum_of_squares.size() == integers &&
                          state_.sum_high.size() == floats && state_.sum_low.size() == floats &&
                          state_.sum_of_squares_high.size() == floats &&
                          state_.sum_of_squares_low.size() == floats;
    check_state(state_.shape, complete, state_.count, max_count);
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
    traces_ = 0;
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
    try {
        auto result = accumulate(frames, threads, false, statistics, state_, traces_);
        state_.count += frames.count();
        return result;
    } catch (...) {
        reset_if_empty();
        throw;
    }
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

std::vector<FrameStatistics> PixelMoments::add(const EncodedFrames& frames, int threads, bool statistics) {
    check_frames(frames.dtype, frames.shape);
    threads = resolve_threads(threads);
    return with_decoded(frames, threads,
                        [&](auto& decoded) { return add_any(decoded, threads, statistics); });
}

template <class Frames>
std::vector<FrameStatistics> PixelMoments::subtract_any(Frames& frames, int threads, bool statistics) {
    check_subtractable(frames.count(), state_.count);
    const Traces before(state_, threads);
    auto result = accumulate(frames, threads, true, statistics, state_, traces_);
    state_.count -= frames.count();
    traces_ += before.left_in(state_, state_.count, threads);
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

std::vector<FrameStatistics> PixelMoments::subtract(const EncodedFrames& frames, int threads) {
    check_frames(frames.dtype, frames.shape);
    threads = resolve_threads(threads);
    return with_decoded(frames, threads, [&](auto& decoded) { return subtract_any(decoded, threads, true); });
}

void PixelMoments::combine(const PixelMoments& other, bool subtract, int threads) {
    MomentsState& s = state_;
    const MomentsState& o = other.state_;
    over_pixels(s.shape.pixels(), threads, [&](std::size_t, std::size_t begin, std::size_t n) {
        if (s.kind == Kind::integer) {
            detail::combine(&s.sum[begin], &o.sum[begin], n, subtract);
            detail::combine(&s.sum_of_squares[begin], &o.sum_of_squares[begin], n, subtract);
        } else {
            detail::combine(&s.sum_high[begin], &s.sum_low[begin], &o.sum_high[begin], &o.sum_low[begin], n,
                            subtract);
            detail::combine(&s.sum_of_squares_high[begin], &s.sum_of_squares_low[begin],
                            &o.sum_of_squares_high[begin], &o.sum_of_squares_low[begin], n, subtract);
        }
    });
}

void PixelMoments::merge(const PixelMoments& other, int threads) {
    check_addable(other);
    const std::uint64_t count = other.count();
    const std::size_t traces = other.traces_;
    combine(other, false, threads);
    state_.count += count;
    traces_ += traces;
}

void PixelMoments::unmerge(const PixelMoments& other, int threads) {
    check_same(other);
    check_subtractable(other.count(), state_.count);
    const std::uint64_t count = other.count();
    const Traces before(state_, threads);
    traces_ += other.traces_;
    combine(other, true, threads);
    state_.count -= count;
    traces_ += before.left_in(state_, state_.count, threads);
    reset_if_empty();
}

}  // namespace camnorm
