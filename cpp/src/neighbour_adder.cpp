#include "neighbour_adder.hpp"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "blocks.hpp"
#include "kernels/neighbours.hpp"
#include "kernels/pixels.hpp"
#include "parallel.hpp"
#include "pool.hpp"

namespace camnorm::detail {
namespace {

static_assert(differences == difference_count);

/// Rows of a tile. The rows above and below it are read as well.
constexpr std::size_t tile_rows = 16;
constexpr std::size_t tile_pixels = tile_rows * tile_columns;

/// Part of a frame, of which a row has `row` values: columns times planes.
struct Tile {
    std::size_t y, rows;
    std::size_t begin, n;  ///< values of each row
};

/// Where the sums of a difference are, within a row of a frame: nothing where a neighbour is missing.
std::pair<std::size_t, std::size_t> valid(std::size_t difference, FrameShape shape, std::size_t y) {
    const bool beside = difference == 0 || difference == 2 || difference == 3;
    const bool above = difference >= 1 && difference <= 3;
    const bool below = above || difference == 5;
    if ((above && y == 0) || (below && y + 1 == shape.height)) return {0, 0};
    const std::size_t row = shape.width * shape.planes;
    return {beside ? shape.planes : 0, beside || difference == 4 ? row - shape.planes : row};
}

/// 8-bit pixels of two frames at a time.
struct Bytes {
    using Value = TwoPixels;
    using Sum = std::uint32_t;
    static constexpr std::size_t frames = neighbour_frames;
    static constexpr std::size_t values = frames / 2;  ///< of a pixel in all of them
    static constexpr std::size_t parts = 1;            ///< of a sum
    static constexpr std::size_t most_frames = 1024;   ///< until sums are drained: 1024 * 2040^2 < 2^32
    ByteNeighbours kernels;

    void widen(const std::byte* const* x, std::size_t n, Value* const* out, float*) const {
        for (std::size_t v = 0; v < values; ++v) kernels.widen(x[2 * v], x[2 * v + 1], n, out[v]);
    }
    void add(const Rows<Value>* rows, std::size_t n, std::size_t step, bool, Sum* sums) const {
        kernels.add(rows, n, step, tile_pixels, sums);
    }
};

/// 16-bit pixels.
struct Words {
    using Value = double;
    using Sum = double;
    static constexpr std::size_t frames = neighbour_frames;
    static constexpr std::size_t values = frames;
    static constexpr std::size_t parts = 1;
    static constexpr std::size_t most_frames = 32768;  ///< 32768 * (8 * 65535)^2 < 2^53
    WordNeighbours kernels;

    void widen(const std::byte* const* x, std::size_t n, Value* const* out, float*) const {
        for (std::size_t v = 0; v < values; ++v) kernels.widen(x[v], n, out[v]);
    }
    void add(const Rows<Value>* rows, std::size_t n, std::size_t step, bool, Sum* sums) const {
        kernels.add(rows, n, step, tile_pixels, sums);
    }
};

/// Floats and 32-bit integers. Their sums are taken from the state, so that batches change no bit.
struct Floats {
    using Value = double;
    using Sum = double;
    static constexpr std::size_t frames = 1;
    static constexpr std::size_t values = 1;
    static constexpr std::size_t parts = 2;
    static constexpr std::size_t most_frames = static_cast<std::size_t>(-1);
    FloatNeighbours kernels;
    bool half;  ///< float16

    void widen(const std::byte* const* x, std::size_t n, Value* const* out, float* as_float) const {
        if (half) pixel_kernels().widen_float16(x[0], n, as_float);
        kernels.widen(half ? reinterpret_cast<const std::byte*>(as_float) : x[0], n, out[0]);
    }
    void add(const Rows<Value>* rows, std::size_t n, std::size_t step, bool subtract, Sum* sums) const {
        kernels.add(rows[0], n, step, tile_pixels, subtract ? -1.0 : 1.0, sums,
                    sums + differences * tile_pixels);
    }
};

template <class Family>
class Adder final : public NeighbourAdder {
public:
    Adder(const FramesView& frames, bool subtract, int threads, Family family)
        : frames_(frames),
          dense_(frames.frames_contiguous()),
          subtract_(subtract),
          threads_(threads),
          family_(family),
          step_(frames.shape.planes),
          row_(frames.shape.width * step_),
          across_((row_ + tile_columns - 1) / tile_columns),
          tiles_(across_ * ((frames.shape.height + tile_rows - 1) / tile_rows)),
          length_(tile_columns + 2 * step_),
          scratch_(std::min(tiles_, static_cast<std::size_t>(threads)),
                   [&] { return std::make_unique<Scratch>(length_, item_size(frames.dtype)); }) {}

    void run(NeighbourState& state) override {
        if (frames_.count == 0) return;
        parallel_for(tiles_, threads_, [&](std::size_t t) {
            auto scratch = scratch_.take();
            const std::size_t y = t / across_ * tile_rows;
            const std::size_t begin = t % across_ * tile_columns;
            add(state,
                {y, std::min(tile_rows, frames_.shape.height - y), begin,
                 std::min(tile_columns, row_ - begin)},
                *scratch);
            scratch_.give_back(std::move(scratch));
        });
    }

private:
    using Value = typename Family::Value;
    using Sum = typename Family::Sum;

    struct Scratch {
        Scratch(std::size_t length, std::size_t pixel_bytes)
            : sums(Family::parts * differences * tile_pixels),
              rows(3 * Family::values * length),
              gathered(Family::frames * length * pixel_bytes),
              zeros(length * pixel_bytes),
              floats(length) {}

        std::vector<Sum> sums;
        std::vector<Value> rows;  ///< the last three of each frame, widened
        std::vector<std::byte> gathered, zeros;
        std::vector<float> floats;
    };

    void add(NeighbourState& state, const Tile& tile, Scratch& scratch) const {
        std::size_t open = 0;
        for (std::size_t f = 0; f < frames_.count; f += Family::frames) {
            if (open == 0) start(state, tile, scratch.sums.data());
            widen_row(tile, f, tile.y, 0, scratch);
            widen_row(tile, f, tile.y, 1, scratch);
            for (std::size_t y = 0; y < tile.rows; ++y) {
                widen_row(tile, f, tile.y, y + 2, scratch);
                Rows<Value> rows[Family::values];
                for (std::size_t v = 0; v < Family::values; ++v)
                    rows[v] = {place(scratch, v, y), place(scratch, v, y + 1), place(scratch, v, y + 2)};
                family_.add(rows, tile.n, step_, subtract_, &scratch.sums[y * tile_columns]);
            }
            open += Family::frames;
            if (f + Family::frames < frames_.count && open < Family::most_frames) continue;
            finish(state, tile, scratch.sums.data());
            open = 0;
        }
    }

    /// The first value of a tile in a row: number 0 is the row above the tile.
    Value* place(Scratch& scratch, std::size_t value, std::size_t number) const {
        return &scratch.rows[(value * 3 + number % 3) * length_ + step_];
    }

    /// Widens a row of some frames, with the pixels beside the tile. Missing pixels are any numbers: no sum
    /// with them is used.
    void widen_row(const Tile& tile, std::size_t first, std::size_t top, std::size_t number,
                   Scratch& scratch) const {
        if (top + number == 0 || top + number > frames_.shape.height) return;
        const std::size_t begin = tile.begin - std::min(tile.begin, step_);
        const std::size_t n = std::min(tile.begin + tile.n + step_, row_) - begin;
        const std::byte* x[Family::frames];
        for (std::size_t j = 0; j < Family::frames; ++j)
            x[j] = first + j < frames_.count
                       ? gather(frames_, dense_, first + j, (top + number - 1) * row_ + begin, n,
                                &scratch.gathered[j * length_ * item_size(frames_.dtype)])
                       : scratch.zeros.data();
        Value* out[Family::values];
        for (std::size_t v = 0; v < Family::values; ++v)
            out[v] = place(scratch, v, number) - (tile.begin - begin);
        family_.widen(x, n, out, scratch.floats.data());
    }

    /// Calls move(sum of the tile, its difference, place in the state, number) for the rows of each
    /// difference.
    template <class Move>
    void over_rows(const Tile& tile, Sum* sums, const Move& move) const {
        for (std::size_t k = 0; k < differences; ++k) {
            for (std::size_t y = 0; y < tile.rows; ++y) {
                const auto [low, high] = valid(k, frames_.shape, tile.y + y);
                const std::size_t begin = std::max(low, tile.begin);
                const std::size_t end = std::min(high, tile.begin + tile.n);
                if (begin < end)
                    move(sums + k * tile_pixels + y * tile_columns + (begin - tile.begin), k,
                         (tile.y + y) * row_ + begin, end - begin);
            }
        }
    }

    void start(NeighbourState& state, const Tile& tile, Sum* sums) const {
        std::fill_n(sums, Family::parts * differences * tile_pixels, Sum{});
        if constexpr (Family::parts == 2) {
            over_rows(tile, sums, [&](Sum* high, std::size_t k, std::size_t i, std::size_t n) {
                std::copy_n(&state.squares_high[k][i], n, high);
                std::copy_n(&state.squares_low[k][i], n, high + differences * tile_pixels);
            });
        }
    }

    void finish(NeighbourState& state, const Tile& tile, Sum* sums) const {
        over_rows(tile, sums, [&](const Sum* part, std::size_t k, std::size_t i, std::size_t n) {
            if constexpr (Family::parts == 2) {
                std::copy_n(part, n, &state.squares_high[k][i]);
                std::copy_n(part + differences * tile_pixels, n, &state.squares_low[k][i]);
            } else {
                std::uint64_t* squares = &state.squares[k][i];
                for (std::size_t j = 0; j < n; ++j) {
                    const auto added = static_cast<std::uint64_t>(static_cast<std::int64_t>(part[j]));
                    squares[j] += subtract_ ? 0 - added : added;
                }
            }
        });
    }

    const FramesView& frames_;
    bool dense_;
    bool subtract_;
    int threads_;
    Family family_;
    std::size_t step_;    ///< from one column to the next
    std::size_t row_;     ///< values of a row of the frames
    std::size_t across_;  ///< tiles beside each other
    std::size_t tiles_;
    std::size_t length_;  ///< values of a row of a tile, with its neighbours
    Pool<std::unique_ptr<Scratch>> scratch_;
};

}  // namespace

std::unique_ptr<NeighbourAdder> neighbour_adder(const FramesView& frames, bool subtract, int threads) {
    const NeighbourKernels& k = neighbour_kernels();
    const auto make = [&](auto family) -> std::unique_ptr<NeighbourAdder> {
        return std::make_unique<Adder<decltype(family)>>(frames, subtract, threads, family);
    };
    switch (frames.dtype) {
        case DType::uint8: return make(Bytes{k.uint8});
        case DType::int8: return make(Bytes{k.int8});
        case DType::uint16: return make(Words{k.uint16});
        case DType::int16: return make(Words{k.int16});
        case DType::uint32: return make(Floats{k.uint32, false});
        case DType::int32: return make(Floats{k.int32, false});
        case DType::float16: return make(Floats{k.float32, true});
        case DType::float32: return make(Floats{k.float32, false});
        case DType::float64: break;
    }
    return make(Floats{k.float64, false});
}

}  // namespace camnorm::detail
