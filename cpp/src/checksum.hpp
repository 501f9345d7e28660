#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace camnorm::detail {

/// Tables of CRC-32C for eight bytes at a time: Kounavis & Berry, IEEE Trans. Comput. 57, 1550 (2008).
constexpr std::array<std::array<std::uint32_t, 256>, 8> crc32c_tables() {
    std::array<std::array<std::uint32_t, 256>, 8> tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0u);
        tables[0][byte] = crc;
    }
    for (std::size_t k = 1; k < 8; ++k)
        for (std::size_t byte = 0; byte < 256; ++byte)
            tables[k][byte] = (tables[k - 1][byte] >> 8) ^ tables[0][tables[k - 1][byte] & 0xFF];
    return tables;
}

/// CRC-32C of bytes that follow others, of which `crc` is that of the others; 0 if there are none.
inline std::uint32_t crc32c(const std::byte* data, std::size_t size, std::uint32_t crc = 0) noexcept {
    static constexpr auto tables = crc32c_tables();
    const auto at = [&](std::size_t i) { return std::to_integer<std::uint32_t>(data[i]); };
    crc = ~crc;
    for (; size >= 8; size -= 8, data += 8) {
        const std::uint32_t low = crc ^ (at(0) | at(1) << 8 | at(2) << 16 | at(3) << 24);
        crc = tables[7][low & 0xFF] ^ tables[6][low >> 8 & 0xFF] ^ tables[5][low >> 16 & 0xFF] ^
              tables[4][low >> 24] ^ tables[3][at(4)] ^ tables[2][at(5)] ^ tables[1][at(6)] ^
              tables[0][at(7)];
    }
    for (std::size_t i = 0; i < size; ++i) crc = (crc >> 8) ^ tables[0][(crc ^ at(i)) & 0xFF];
    return ~crc;
}

}  // namespace camnorm::detail
