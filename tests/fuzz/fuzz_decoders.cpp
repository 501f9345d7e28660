// libFuzzer target: bytes that are to be LZW codes or a deflate stream. Memory that a decoder may touch is
// there, of just that size. What LZW codes give is compared with a textbook decoder.

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
        const auto n = inflate(data.data(), data.size(), out.data(), capacity, byte_kernels());
        require(n == damaged_codes || static_cast<std::size_t>(n) <= capacity);
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
