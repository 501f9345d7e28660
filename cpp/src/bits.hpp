#pragma once

// Bits one after another, as compressed data have them.

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace camnorm::detail {

/// The 8 bytes from here on, the first one lowest.
inline std::uint64_t load_low_first(const std::byte* data) noexcept {
    std::uint64_t word;
    std::memcpy(&word, data, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/// The same, the first one highest.
inline std::uint64_t load_high_first(const std::byte* data) noexcept {
    return __builtin_bswap64(load_low_first(data));
}

/// Copies bytes that may overlap those written: all are read before the first is written.
template <std::size_t bytes>
void copy_bytes(std::byte* to, const std::byte* from) noexcept {
    std::byte read[bytes];
    std::memcpy(read, from, bytes);
    std::memcpy(to, read, bytes);
}

/// Bits of which the highest of each byte comes first.
class HighBits {
public:
    HighBits(const std::byte* data, std::size_t bytes) noexcept : next_(data), end_(data + bytes) {}

    /// Makes at least 56 bits ready; false near the end of the data.
    bool refill() noexcept {
        if (end_ - next_ < 8) return false;
        word_ |= load_high_first(next_) >> count_;
        const unsigned bytes = (63 - count_) / 8;
        next_ += bytes;
        count_ += 8 * bytes;
        return true;
    }

    /// Makes ready what is left of the data; false if less than wanted.
    bool fill(unsigned wanted) noexcept {
        for (; count_ <= 56 && next_ < end_; count_ += 8)
            word_ |= std::to_integer<std::uint64_t>(*next_++) << (56 - count_);
        return count_ >= wanted;
    }

    /// The next bits, of those that are ready.
    std::uint32_t take(unsigned bits) noexcept {
        const auto value = static_cast<std::uint32_t>(word_ >> (64 - bits));
        word_ <<= bits;
        count_ -= bits;
        return value;
    }

private:
    const std::byte* next_;
    const std::byte* end_;
    std::uint64_t word_ = 0;  // from the highest bit on; bits beyond count_ are those that come next, or 0
    unsigned count_ = 0;
};

/// Bits of which the lowest of each byte comes first.
class LowBits {
public:
    LowBits(const std::byte* data, std::size_t bytes) noexcept : next_(data), end_(data + bytes) {}

    bool refill() noexcept {
        if (end_ - next_ < 8) return false;
        word_ |= load_low_first(next_) << count_;
        const unsigned bytes = (63 - count_) / 8;
        next_ += bytes;
        count_ += 8 * bytes;
        return true;
    }

    bool fill(unsigned wanted) noexcept {
        for (; count_ <= 56 && next_ < end_; count_ += 8)
            word_ |= std::to_integer<std::uint64_t>(*next_++) << count_;
        return count_ >= wanted;
    }

    std::uint32_t take(unsigned bits) noexcept {
        const auto value = static_cast<std::uint32_t>(word_ & ((std::uint64_t{1} << bits) - 1));
        word_ >>= bits;
        count_ -= bits;
        return value;
    }

    /// The bits that are ready, the first one lowest, and some that come next or 0.
    std::uint64_t next() const noexcept { return word_; }
    unsigned ready() const noexcept { return count_; }
    void drop(unsigned bits) noexcept {
        word_ >>= bits;
        count_ -= bits;
    }

    /// The data that are not ready yet.
    const std::byte* following() const noexcept { return next_; }
    /// Goes on elsewhere.
    void set(std::uint64_t next, unsigned ready, const std::byte* following) noexcept {
        word_ = next;
        count_ = ready;
        next_ = following;
    }

    /// Bytes of the data that are not ready yet.
    std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - next_); }

    /// Drops the rest of a byte, and takes whole bytes; null if there are fewer.
    const std::byte* take_bytes(std::size_t bytes) noexcept {
        next_ -= count_ / 8;
        word_ = 0;
        count_ = 0;
        if (left() < bytes) return nullptr;
        next_ += bytes;
        return next_ - bytes;
    }

private:
    const std::byte* next_;
    const std::byte* end_;
    std::uint64_t word_ = 0;  // from the lowest bit on; bits beyond count_ are those that come next, or 0
    unsigned count_ = 0;
};

}  // namespace camnorm::detail
