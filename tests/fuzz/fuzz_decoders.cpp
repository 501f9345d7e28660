// libFuzzer target: bytes that are to be LZW codes or a deflate stream. Memory that a decoder may touch is
// there, of just that size. What it gives is compared with textbook decoders.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "inflate.hpp"
#include "kernels/bytes.hpp"
#include "lzw.hpp"

namespace {

using namespace camnorm::detail;

using Bytes = std::vector<std::byte>;

/// At most `size` bytes of LZW codes with the highest bit first; nothing if they are damaged.
std::optional<std::string> textbook_lzw(const Bytes& data, std::size_t size) {
    std::vector<std::string> table;
    for (int i = 0; i < 256; ++i) table.emplace_back(1, static_cast<char>(i));
    table.resize(258);
    std::string out, old;
    std::size_t position = 0, width = 9;
    while (out.size() < size && position + width <= 8 * data.size()) {
        std::size_t code = 0;
        for (const std::size_t end = position + width; position < end; ++position)
            code = code << 1 | (std::to_integer<std::size_t>(data[position / 8]) >> (7 - position % 8) & 1);
        if (code == 257) break;
        if (code == 256) {
            table.resize(258);
            width = 9;
            old.clear();
            continue;
        }
        if (code > table.size() || (old.empty() && code > 255)) return std::nullopt;
        const std::string string = code < table.size() ? table[code] : old + old[0];
        if (!old.empty()) table.push_back(old + string[0]);
        out += string;
        if (out.size() >= size) break;
        if (table.size() > 4096) return std::nullopt;
        while (width < 12 && table.size() + 1 >= std::size_t{1} << width) ++width;
        old = string;
    }
    out.resize(std::min(out.size(), size));
    return out;
}

/// Decodes deflate bit by bit. Says where the data end and gives what they hold, without the checksum.
class TextbookInflate {
public:
    TextbookInflate(const Bytes& data, std::size_t size) : data_(data), size_(size) {}

    std::optional<std::string> run() {
        position_ = 16;
        for (bool last = false; !last;) {
            last = bits(1) == 1;
            const std::size_t kind = bits(2);
            if (!(kind == 0 ? stored() : kind == 1 ? fixed() : kind == 2 && dynamic())) return std::nullopt;
            if (short_ || out_.size() > size_) return std::nullopt;
        }
        return out_;
    }
    std::size_t end() const { return (position_ + 7) / 8; }

private:
    using Lengths = std::vector<std::size_t>;

    std::size_t bits(std::size_t n) {
        std::size_t value = 0;
        for (std::size_t i = 0; i < n; ++i, ++position_) {
            if (position_ >= 8 * data_.size())
                short_ = true;
            else
                value |= (std::to_integer<std::size_t>(data_[position_ / 8]) >> position_ % 8 & 1) << i;
        }
        return value;
    }

    /// Whether there is a code for everything, or just one of one bit.
    static bool possible(const Lengths& lengths) {
        std::size_t used = 0, codes = 0;
        for (const std::size_t n : lengths)
            if (n > 0) used += std::size_t{1} << (15 - n), ++codes;
        return used == std::size_t{1} << 15 || (codes <= 1 && (used == 0 || used == std::size_t{1} << 14));
    }

    /// The next symbol; nothing if there is none.
    std::optional<std::size_t> symbol(const Lengths& lengths) {
        std::size_t code = 0, first = 0;
        for (std::size_t n = 1; n <= 15; ++n) {
            code = code << 1 | bits(1);
            for (std::size_t i = 0; i < lengths.size(); ++i)
                if (lengths[i] == n && first++ == code) return i;
            first <<= 1;
        }
        return std::nullopt;
    }

    bool stored() {
        position_ = 8 * end();
        const std::size_t n = bits(16);
        if (bits(16) != (n ^ 0xFFFF)) return false;
        for (std::size_t i = 0; i < n && !short_; ++i) out_ += static_cast<char>(bits(8));
        return true;
    }

    bool fixed() {
        Lengths lengths(288, 8);
        std::fill(lengths.begin() + 144, lengths.begin() + 256, 9);
        std::fill(lengths.begin() + 256, lengths.begin() + 280, 7);
        return codes(lengths, Lengths(32, 5));
    }

    bool dynamic() {
        const std::size_t first = 257 + bits(5), second = 1 + bits(5), count = 4 + bits(4);
        if (first > 286 || second > 30) return false;
        constexpr std::size_t places[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
        Lengths own(19), lengths;
        for (std::size_t i = 0; i < count; ++i) own[places[i]] = bits(3);
        if (!possible(own)) return false;
        while (lengths.size() < first + second) {
            const auto found = symbol(own);
            if (!found || short_ || (*found == 16 && lengths.empty())) return false;
            if (*found < 16)
                lengths.push_back(*found);
            else if (*found == 16)
                lengths.insert(lengths.end(), 3 + bits(2), std::size_t{lengths.back()});
            else
                lengths.insert(lengths.end(), *found == 17 ? 3 + bits(3) : 11 + bits(7), 0);
        }
        const auto middle = lengths.begin() + static_cast<std::ptrdiff_t>(first);
        const Lengths literals(lengths.begin(), middle), distances(middle, lengths.end());
        return lengths.size() == first + second && literals[256] > 0 && possible(literals) &&
               possible(distances) && codes(literals, distances);
    }

    bool codes(const Lengths& literals, const Lengths& distances) {
        while (!short_ && out_.size() <= size_) {
            const auto found = symbol(literals);
            if (!found || *found > 285) return false;
            if (*found == 256) return true;
            if (*found < 256) {
                out_ += static_cast<char>(*found);
                continue;
            }
            std::size_t length = *found - 254;
            if (*found == 285) {
                length = 258;
            } else if (*found > 264) {
                const std::size_t extra = (*found - 261) / 4;
                length = 3 + ((4 + (*found - 261) % 4) << extra) + bits(extra);
            }
            const auto code = symbol(distances);
            if (!code || *code > 29) return false;
            std::size_t distance = *code + 1;
            if (*code > 3) {
                const std::size_t extra = *code / 2 - 1;
                distance = 1 + ((2 + *code % 2) << extra) + bits(extra);
            }
            if (short_ || distance > out_.size()) return false;
            while (length-- > 0) out_ += char{out_[out_.size() - distance]};
        }
        return false;
    }

    const Bytes& data_;
    std::size_t size_;
    std::size_t position_ = 0;  // in bits
    bool short_ = false;        // whether the data ended early
    std::string out_;
};

std::uint32_t textbook_adler32(const std::string& data) {
    std::uint32_t a = 1, b = 0;
    for (const char x : data) {
        a = (a + static_cast<unsigned char>(x)) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

void require(bool condition) {
    if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* input, std::size_t size) {
    if (size < 3) return 0;
    const std::size_t capacity = (input[0] | std::size_t{input[1]} << 8) % 40'000;
    const bool deflated = input[2] % 2 != 0;
    Bytes data(size - 3);
    if (!data.empty()) std::memcpy(data.data(), input + 3, data.size());
    Bytes out(capacity);
    if (deflated) {
        auto n = inflate(data.data(), data.size(), out.data(), capacity, byte_kernels());
        require(n == damaged_codes || static_cast<std::size_t>(n) <= capacity);
        if (data.size() < 2) return 0;
        // Once more with a right head and checksum.
        data[0] = std::byte{0x78};
        data[1] = std::byte{0x01};
        TextbookInflate textbook(data, capacity);
        const auto expected = textbook.run();
        if (expected) {
            data.resize(textbook.end());
            const std::uint32_t sum = textbook_adler32(*expected);
            for (int shift = 24; shift >= 0; shift -= 8)
                data.push_back(static_cast<std::byte>(sum >> shift & 0xFF));
        }
        n = inflate(data.data(), data.size(), out.data(), capacity, byte_kernels());
        require(expected.has_value() == (n != damaged_codes));
        if (!expected) return 0;
        require(expected->size() == static_cast<std::size_t>(n));
        require(n == 0 || std::memcmp(expected->data(), out.data(), expected->size()) == 0);
        return 0;
    }
    const auto n = decode_lzw(data.data(), data.size(), out.data(), capacity);
    require(n == damaged_codes || static_cast<std::size_t>(n) <= capacity);
    if (data.size() >= 2 && data[0] == std::byte{0}) return 0;  // maybe with the lowest bit first
    const auto expected = textbook_lzw(data, capacity);
    require(expected.has_value() == (n != damaged_codes));
    if (!expected) return 0;
    require(expected->size() == static_cast<std::size_t>(n));
    require(n == 0 || std::memcmp(expected->data(), out.data(), expected->size()) == 0);
    return 0;
}
