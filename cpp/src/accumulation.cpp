#include "accumulation.hpp"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

#include "adders.hpp"
#include "camnorm/error.hpp"
#include "checks.hpp"
#include "frame_statistics.hpp"
#include "share.hpp"
#include "stored.hpp"
#include "traces.hpp"

namespace camnorm::detail {
namespace {

/// One call that adds frames to the sums, or subtracts them.
template <class Adder, class Frames>
class Accumulation {
public:
    Accumulation(Frames& frames, const Adder& adder, int threads, bool statistics, MomentsState& state,
                 std::size_t& traces)
        : frames_(frames),
          adder_(adder),
          threads_(threads),
          statistics_(statistics),
          state_(state),
          traces_(traces),
          origins_(statistics ? adder.origins(frames) : std::vector<double>(frames.count())),
          strips_per_block_(block_count(frames.block(), strip)),
          strips_(strip_at(frames.pixels() - 1) + 1),
          // Where frames come by parts, the sums of all strips of a block are open at a time.
          open_sums_(Frames::by_parts ? strips_per_block_ : 1,
                     blocks_at_once(frames.pixels(), frames.block(), threads)) {}

    std::vector<FrameStatistics> run(bool subtract) {
        // To look for frames that cannot be added beforehand would read all of them twice: what has been
        // added until one is found is taken away again.
        const Counts all(strips_, frames_.count());
        Counts added(strips_);
        try {
            auto result = pass(subtract, statistics_, all, added);
            if (added == all) return result;
        } catch (const Unreadable&) {
            try {
                take_back(subtract, added);
            } catch (const Unreadable& again) {
                throw std::runtime_error(std::string("the moments are lost: ") + again.what());
            }
            throw;
        }
        take_back(subtract, added);
        check_finite(statistics_of(frames_, adder_, threads_));
        throw std::runtime_error("frames have changed while they were added");
    }

private:
    using FrameSums = typename Adder::FrameSums;
    static constexpr std::size_t strip = Adder::strip;

    /// A number of frames for each strip.
    using Counts = std::vector<std::size_t>;

    /// Adds the first frames, up to its limit, to each strip; `done` becomes how many the state then has.
    std::vector<FrameStatistics> pass(bool subtract, bool statistics, const Counts& limits, Counts& done) {
        const auto most = [&](std::size_t begin, std::size_t end) {
            return *std::max_element(&limits[strip_at(begin)], &limits[strip_at(end - 1)] + 1);
        };
        const auto work = [&](std::size_t from, std::size_t to, FrameSums* sums) {
            auto open = open_sums_.take();
            const auto use = [&](Strips& strips, std::size_t first, std::size_t begin, std::size_t end) {
                for (std::size_t i = begin; i < end; i += strip) {
                    const std::size_t limit = limits[strip_at(i)];
                    const std::size_t count = std::min(strips.count(), limit - std::min(limit, first));
                    const Share share{
                        i,        std::min(strip, end - i), first, count, first + count == limit,
                        subtract, origins_.data() + first};
                    if (!adder_.add(strips, share, state_, sums == nullptr ? nullptr : sums + first,
                                    open[Frames::by_parts ? (i - from) / strip : 0], done[strip_at(i)]))
                        return false;
                }
                return true;
            };
            frames_.visit(from, to, most, use);
            open_sums_.give_back(std::move(open));
        };
        return over_blocks<FrameSums>(frames_, origins_, statistics, threads_, work);
    }

    /// Number of the strip that a pixel is in. The last one of a block may be shorter.
    std::size_t strip_at(std::size_t pixel) const {
        const std::size_t block = frames_.block();
        return pixel / block * strips_per_block_ + pixel % block / strip;
    }

    void take_back(bool subtract, const Counts& added) {
        const Traces before(state_, threads_);
        Counts taken(strips_);
        pass(!subtract, false, added, taken);
        traces_ += before.left_in(state_, state_.count, threads_);
    }

    Frames& frames_;
    const Adder& adder_;
    int threads_;
    bool statistics_;
    MomentsState& state_;
    std::size_t& traces_;
    std::vector<double> origins_;
    std::size_t strips_per_block_;
    std::size_t strips_;
    Buffers<typename Adder::OpenSums> open_sums_;
};

template <class Frames>
std::vector<FrameStatistics> accumulate_any(Frames& frames, int threads, bool subtract, bool statistics,
                                            MomentsState& state, std::size_t& traces) {
    if (frames.count() == 0) return {};
    return with_adder(frames.dtype(), [&](const auto& adder) {
        return Accumulation(frames, adder, threads, statistics, state, traces).run(subtract);
    });
}

}  // namespace

std::vector<FrameStatistics> accumulate(InMemory& frames, int threads, bool subtract, bool statistics,
                                        MomentsState& state, std::size_t& traces) {
    return accumulate_any(frames, threads, subtract, statistics, state, traces);
}

std::vector<FrameStatistics> accumulate(InFiles& frames, int threads, bool subtract, bool statistics,
                                        MomentsState& state, std::size_t& traces) {
    return accumulate_any(frames, threads, subtract, statistics, state, traces);
}

std::vector<FrameStatistics> accumulate(Decoded& frames, int threads, bool subtract, bool statistics,
                                        MomentsState& state, std::size_t& traces) {
    if (frames.count() == 0) return {};
    const IntegerAdder adder(frames.dtype());
    return Accumulation(frames, adder, threads, statistics, state, traces).run(subtract);
}

std::vector<FrameStatistics> accumulate(WholeFrames& frames, int threads, bool subtract, bool statistics,
                                        MomentsState& state, std::size_t& traces) {
    // Gives how many of the first `count` frames have been added, and why not all.
    const auto pass = [&](std::size_t count, bool subtracted, std::vector<FrameStatistics>* rows) {
        std::size_t first = 0;
        std::exception_ptr error;
        try {
            while (first < count) {
                const FramesView view =
                    frames.decode(first, std::min(frames.together(), count - first), threads);
                InMemory in_memory(view);
                const auto part = accumulate(in_memory, threads, subtracted, rows != nullptr, state, traces);
                if (rows != nullptr) rows->insert(rows->end(), part.begin(), part.end());
                first += view.count;
            }
        } catch (const Unreadable&) {
            error = std::current_exception();
        }
        return std::pair(first, error);
    };
    std::vector<FrameStatistics> result;
    const auto [added, error] = pass(frames.count(), subtract, statistics ? &result : nullptr);
    if (!error) return result;
    if (pass(added, !subtract, nullptr).second)
        throw std::runtime_error("the moments are lost: frames that were added cannot be read again");
    std::rethrow_exception(error);
}

}  // namespace camnorm::detail
