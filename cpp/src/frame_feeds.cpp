#include "frame_feeds.hpp"

#include <string>

#include "camnorm/error.hpp"
#include "kernels/float_sums.hpp"

namespace camnorm::detail {
namespace {

/// Bytes of integer frames that are read at a time.
constexpr std::size_t integer_bytes = std::size_t{1} << 20;

}  // namespace

const std::byte zeros[strip_pixels * sizeof(double)] = {};

InFiles::InFiles(const StoredFrames& frames, int threads)
    : frames_(frames),
      // Sums of floats are put into the state after each batch, those of integers after all.
      pixels_(kind_of(frames.dtype) == Kind::integer ? pixels_per_block : pixels_per_block / 4),
      step_(kind_of(frames.dtype) == Kind::integer ? integer_bytes / (pixels_ * item_size(frames.dtype))
                                                   : frames_per_batch),
      buffers_(step_ * pixels_ * item_size(frames.dtype), blocks_at_once(frames.shape.pixels(), threads)) {}

void InFiles::check() {
    if (error_ == 0) return;
    const int error = error_.exchange(0);
    throw Unreadable(unreadable_,
                     "frame " + std::to_string(unreadable_) + " cannot be read: " + reason_of(error));
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

}  // namespace camnorm::detail
