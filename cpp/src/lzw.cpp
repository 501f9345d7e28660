#include "lzw.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "bits.hpp"

namespace camnorm::detail {
namespace {

constexpr std::uint32_t clear_code = 256;
constexpr std::uint32_t end_code = 257;
constexpr std::uint32_t first_free = 258;
constexpr unsigned least_width = 9;
constexpr unsigned most_width = 12;
constexpr std::uint32_t table_size = std::uint32_t{1} << most_width;
constexpr std::size_t copied = 16;  // bytes at a time
constexpr unsigned codes_at_once = 56 / most_width;

/// Copies a string of the output to its end, up to 15 bytes too many. The string ends before `to`.
void copy_string(std::byte* to, const std::byte* from, std::size_t length) noexcept {
    copy_bytes<copied>(to, from);
    for (std::size_t i = copied; i < length; i += copied) copy_bytes<copied>(to + i, from + i);
}

/// A string is the one before it with one more byte, which follows it in the output. So the table only says
/// where in the output each string is. Codes become wider when the table has `spare` codes left to give.
template <class Bits, std::uint32_t spare>
class Decoder {
public:
    Decoder(const std::byte* data, std::size_t bytes, std::byte* out, std::size_t capacity) noexcept
        : bits_(data, bytes), out_(out), end_(out + capacity) {}

    std::ptrdiff_t decode() noexcept {
        Bits bits = bits_;  // which writing bytes cannot change
        std::byte* const out = out_;
        std::byte* const end = end_;
        std::byte* to = out;
        std::byte* last = out;  // the string before
        std::size_t last_length = 0;
        // The code of the next string. The first code after a clear code adds no string: it takes the place
        // of the end code, which is not looked up.
        std::uint32_t next = first_free - 1;
        unsigned width = least_width;
        std::uint32_t widens = (std::uint32_t{1} << least_width) - spare;
        for (;;) {
            unsigned ready = 1;
            if (bits.refill())
                ready = codes_at_once;
            else if (!bits.fill(width))
                return to - out;
            do {
                const std::uint32_t code = bits.take(width);
                begin_[next] = static_cast<std::uint32_t>(last - out);
                length_[next] = static_cast<std::uint16_t>(last_length + 1);
                if (code < clear_code) {
                    last = to;
                    last_length = 1;
                    *to++ = static_cast<std::byte>(code);
                    if (to == end) return to - out;
                } else if (code == clear_code) {
                    next = first_free - 1;
                    width = least_width;
                    widens = (std::uint32_t{1} << least_width) - spare;
                    continue;
                } else if (code == end_code) {
                    return to - out;
                } else if (code > next) {
                    return damaged_codes;
                } else {
                    const std::size_t length = length_[code];
                    const std::byte* from = out + begin_[code];
                    const auto room = static_cast<std::size_t>(end - to);
                    last = to;
                    last_length = length;
                    if (code == next) {
                        // Its last byte is its first, which is not in the output before.
                        for (std::size_t i = 0; i < std::min(length, room); ++i) to[i] = from[i];
                    } else if (room >= length + copied) {
                        copy_string(to, from, length);
                    } else {
                        std::memcpy(to, from, std::min(length, room));
                    }
                    if (room <= length) return end - out;
                    to += length;
                }
                if (++next < widens) continue;
                if (width == most_width) return damaged_codes;  // the table is full
                ++width;
                widens = width < most_width ? (std::uint32_t{1} << width) - spare : table_size + 1;
            } while (--ready > 0);
        }
    }

private:
    Bits bits_;
    std::byte* out_;
    std::byte* end_;
    std::uint32_t begin_[table_size + 1];
    std::uint16_t length_[table_size + 1];
};

/// Until 1988, programs wrote the lowest bit of each code first. Their first code, which clears the table,
/// tells them apart.
bool lowest_bit_first(const std::byte* data, std::size_t bytes) noexcept {
    return bytes >= 2 && data[0] == std::byte{0} && (data[1] & std::byte{1}) != std::byte{0};
}

}  // namespace

std::ptrdiff_t decode_lzw(const std::byte* data, std::size_t bytes, std::byte* out,
                          std::size_t capacity) noexcept {
    if (capacity == 0) return 0;
    return lowest_bit_first(data, bytes) ? Decoder<LowBits, 0>(data, bytes, out, capacity).decode()
                                         : Decoder<HighBits, 1>(data, bytes, out, capacity).decode();
}

}  // namespace camnorm::detail
