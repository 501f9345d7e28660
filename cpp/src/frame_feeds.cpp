#include "frame_feeds.hpp"

#include <string>

#include "camnorm/error.hpp"
#include "kernels/float_sums.hpp"

namespace camnorm::detail {
namespace {

/// Bytes of integer frames that are read at a time.
constexpr std::size_t integer_bytes = std::size_t{1} << 20;

/// Bytes of pixels that are decoded at a time: with the sums of a block they stay in the second-level cache.
constexpr std::size_t decoded_bytes = std::size_t{1} << 18;

}  // namespace

const std::byte zeros[strip_pixels * sizeof(double)] = {};

InFiles::InFiles(const StoredFrames& frames, int threads)
    : frames_(frames),
      // Sums of floats are put into the state after each batch, those of integers after all.
      pixels_(kind_of(frames.dtype) == Kind::integer ? pixels_per_block : pixels_per_block / 4),
      step_(kind_of(frames.dtype) == Kind::integer ? integer_bytes / (pixels_ * item_size(frames.dtype))
                                                   : frames_per_batch),
      buffers_(step_ * pixels_ * item_size(frames.dtype),
               blocks_at_once(frames.shape.pixels(), pixels_per_block, threads)) {}

void InFiles::check() {
    if (error_ == 0) return;
    const int error = error_.exchange(0);
    throw Unreadable(unreadable_, "frame " + std::to_string(unreadable_) +
                                      " cannot be read: " + camnorm::reason_of(error));
}

bool InFiles::read(std::size_t first, std::size_t count, std::size_t begin, std::size_t n, std::byte* out) {
    for (std::size_t j = 0; j < count; ++j) {
        if (error_ != 0) return false;
        const int error = read_pixels(frames_, first + j, begin, n, out + j * n * item_size(frames_.dtype));
        int none = 0;
        if (error != 0 && error_.compare_exchange_strong(none, error)) unreadable_ = first + j;
    }
    return error_ == 0;
}

Decoded::Decoded(const EncodedFrames& frames, int threads)
    : frames_(frames),
      row_pixels_(
          (check_added(frames), frames.encoding.segment_height * frames.shape.width * frames.shape.planes)),
      rows_(std::min(std::max<std::size_t>(pixels_per_block / row_pixels_, 1), frames.down())),
      step_(std::max(decoded_bytes / block_bytes() / group_frames, std::size_t{1}) * group_frames),
      work_(blocks_at_once(pixels(), block(), threads), [&] {
          return Work{SegmentDecoder(frames),
                      std::unique_ptr<std::byte[]>(new std::byte[step_ * block_bytes()])};
      }) {}

void Decoded::check() {
    if (failed_.exchange(false)) throw unreadable(unreadable_, error_, frames_);
}

bool Decoded::decode(std::size_t first, std::size_t count, std::size_t begin, std::size_t n, Work& work) {
    const std::size_t row = begin / row_pixels_;
    const std::size_t rows = block_count(n, row_pixels_);
    const std::size_t bytes = n * item_size(frames_.dtype);
    for (std::size_t j = 0; j < count; ++j) {
        if (failed_) return false;
        const SegmentError error = work.decoder.decode(first + j, row, rows, work.pixels.get() + j * bytes);
        if (error.reason == 0) continue;
        const std::lock_guard<std::mutex> lock(mutex_);
        if (failed_.exchange(true)) return false;
        unreadable_ = first + j;
        error_ = error;
        return false;
    }
    return true;
}

}  // namespace camnorm::detail
